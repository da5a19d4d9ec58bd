/* What must hold whatever comes from outside. Checked in release builds too: a core that is wrong
 * about itself must not go on writing weights. */
#ifndef WEFT_SRC_INVARIANT_H
#define WEFT_SRC_INVARIANT_H

#include <stdio.h>
#include <stdlib.h>

#define weft_invariant(condition)                                                                  \
    ((condition) ? (void)0                                                                         \
                 : (fprintf(stderr, "weft: invariant broken at %s:%d: %s\n", __FILE__, __LINE__,   \
                            #condition),                                                           \
                    abort()))

#endif
