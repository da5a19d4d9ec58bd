#include "decimal.h"

weft_status weft_decimal_parse(const char *text, size_t length, uint64_t *value)
{
    uint64_t sum = 0;
    if (length == 0) {
        return WEFT_E_META_NOT_AN_INTEGER;
    }
    /*@ loop invariant 0 <= i <= length && are_digits(text, i) && sum == decimal(text, i);
        loop assigns i, sum;
        loop variant length - i;
    @*/
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return WEFT_E_META_NOT_AN_INTEGER;
        }
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (sum > (UINT64_MAX - digit) / 10) {
            /*@ assert decimal(text, i + 1) == 10 * decimal(text, i) + digit; @*/
            return WEFT_E_META_OVERFLOW;
        }
        /*@ assert decimal(text, i + 1) == 10 * decimal(text, i) + digit; @*/
        sum = sum * 10 + digit;
    }
    *value = sum;
    return WEFT_OK;
}
