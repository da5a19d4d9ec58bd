/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef WEFT_SRC_UTF8_H
#define WEFT_SRC_UTF8_H

#include "weft.h"

/* How many of the leading bytes are whole, valid sequences: length if all are, otherwise where the
 * first fault begins. */
/*@ requires \valid_read(text + (0 .. length - 1));
    assigns \nothing;
    ensures \result <= length;
@*/
size_t weft_utf8_prefix(const char *text, size_t length);

/* Bytes of the control character that the text begins with, 0 if it begins with something else: 1
 * below U+0020 and for DEL, 2 from U+0080 to U+009F, which terminals obey as well. */
/*@ requires \valid_read(text + (0 .. length - 1));
    assigns \nothing;
    ensures \result <= 2 && \result <= length;
    ensures \result == 1 <==> length > 0 && (0 <= text[0] < 0x20 || text[0] == 0x7f);
@*/
size_t weft_utf8_control(const char *text, size_t length);

#endif
