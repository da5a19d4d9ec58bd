/* What must hold whatever comes from outside. Checked in release builds too: a core that is wrong
 * about itself must not go on writing weights. */
#ifndef WEFT_SRC_INVARIANT_H
#define WEFT_SRC_INVARIANT_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__FRAMAC__) /* to be proved where it stands (spec/proofs.md) */
/*@ requires condition;
    assigns \nothing;
@*/
void weft_invariant(bool condition);
#elif defined(WEFT_PROVE) /* the same, by ESBMC */
void __ESBMC_assert(_Bool condition, const char *what);
#define weft_invariant(condition) __ESBMC_assert(condition, "weft_invariant: " #condition)
#else
#define weft_invariant(condition)                                                                  \
    ((condition) ? (void)0                                                                         \
                 : (fprintf(stderr, "weft: invariant broken at %s:%d: %s\n", __FILE__, __LINE__,   \
                            #condition),                                                           \
                    abort()))
#endif

#endif
