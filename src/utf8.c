/* One check of UTF-8, for names, sentences and the headers of files. */
#include "utf8.h"

#define BLOCK 32u /* bytes that are looked at together; compilers make a few vectors of them */

/* Length of the valid sequence at text, 0 if there is none. The second byte's range depends on the
 * first: that is what keeps overlong forms (E0, F0), surrogates (ED) and numbers above U+10FFFF
 * (F4) out. */
/*@ requires length > 0 && \valid_read(text + (0 .. length - 1));
    assigns \nothing;
    ensures \result <= 4 && \result <= length;
@*/
static size_t sequence_length(const char *text, size_t length)
{
    uint8_t first = (uint8_t)text[0];
    uint8_t low = 0x80;
    uint8_t high = 0xbf;
    size_t need = 0;

    if (first < 0x80) {
        return 1;
    } else if (first >= 0xc2 && first <= 0xdf) {
        need = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        need = 3;
        low = first == 0xe0 ? 0xa0 : 0x80;
        high = first == 0xed ? 0x9f : 0xbf;
    } else if (first >= 0xf0 && first <= 0xf4) {
        need = 4;
        low = first == 0xf0 ? 0x90 : 0x80;
        high = first == 0xf4 ? 0x8f : 0xbf;
    }
    if (need == 0 || length < need || (uint8_t)text[1] < low || (uint8_t)text[1] > high) {
        return 0;
    }
    /*@ loop invariant 2 <= i <= need;
        loop assigns i;
        loop variant need - i;
    @*/
    for (size_t i = 2; i < need; i++) {
        if (((uint8_t)text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return need;
}

/*@ requires \valid_read(text + (0 .. BLOCK - 1));
    assigns \nothing;
@*/
static bool is_ascii_block(const char *text)
{
    uint8_t all = 0;

    /*@ loop invariant 0 <= i <= BLOCK;
        loop assigns i, all;
        loop variant BLOCK - i;
    @*/
    for (size_t i = 0; i < BLOCK; i++) {
        all |= (uint8_t)text[i];
    }
    return all < 0x80;
}

size_t weft_utf8_prefix(const char *text, size_t length)
{
    size_t at = 0;

    /*@ loop invariant at <= length;
        loop assigns at;
        loop variant length - at;
    @*/
    while (at < length) {
        size_t stop = length - at < BLOCK ? length : at + BLOCK;
        if (stop - at == BLOCK && is_ascii_block(text + at)) {
            at = stop;
        }
        /*@ loop invariant at <= length;
            loop assigns at;
            loop variant length - at;
        @*/
        while (at < stop) { /* the last sequence may reach beyond */
            size_t step = sequence_length(text + at, length - at);
            if (step == 0) {
                return at;
            }
            at += step;
        }
    }
    return at;
}

size_t weft_utf8_control(const char *text, size_t length)
{
    unsigned char lead = length > 0 ? (unsigned char)text[0] : ' ';
    if (lead < 0x20 || lead == 0x7f) {
        return 1;
    }
    return lead == 0xc2 && length > 1 && (unsigned char)text[1] < 0xa0 ? 2 : 0;
}
