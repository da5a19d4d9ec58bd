/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef WEFT_SRC_UTF8_H
#define WEFT_SRC_UTF8_H

#include "weft.h"

/* How many of the leading bytes are whole, valid sequences: length if all are, otherwise where the
 * first fault begins. */
size_t weft_utf8_prefix(const void *text, size_t length);

#endif
