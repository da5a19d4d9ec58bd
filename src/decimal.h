/* Decimal numbers as text. */
#ifndef WEFT_SRC_DECIMAL_H
#define WEFT_SRC_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

#include "weft_errors.h"

/*@ logic integer decimal(char *text, integer length) =
      length <= 0 ? 0 : 10 * decimal(text, length - 1) + (text[length - 1] - '0');

    predicate are_digits(char *text, integer length) =
      \forall integer i; 0 <= i < length ==> '0' <= text[i] <= '9';
@*/

/* Digits only, at least one, zeros in front too. Returns: WEFT_OK, META_NOT_AN_INTEGER,
 * META_OVERFLOW (beyond 64 bits; the rest of the text was not looked at); *value is set on success
 * only. */
/*@ requires \valid_read(text + (0 .. length - 1)) && \valid(value);
    requires \separated(value, text + (0 .. length - 1));
    assigns *value;
    ensures \result == WEFT_OK || \result == WEFT_E_META_NOT_AN_INTEGER ||
            \result == WEFT_E_META_OVERFLOW;
    ensures \result == WEFT_OK ==> length > 0 && \old(are_digits(text, length)) &&
            *value == \old(decimal(text, length));
    ensures \result == WEFT_E_META_NOT_AN_INTEGER ==> length == 0 || !are_digits(text, length);
    ensures \result == WEFT_E_META_OVERFLOW ==>
            \exists integer n; 0 < n <= length && decimal(text, n) > UINT64_MAX;
    ensures \result != WEFT_OK ==> *value == \old(*value);
@*/
weft_status weft_decimal_parse(const char *text, size_t length, uint64_t *value);

#endif
