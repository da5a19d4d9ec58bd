#include "base64.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/*@ requires value < 64;
    assigns \nothing;
@*/
static char letter(uint32_t value)
{
    return ALPHABET[value];
}

/* Four letters for one to three bytes. */
/*@ requires 1 <= part <= 3 && \valid_read(bytes + (0 .. part - 1)) && \valid(text + (0 .. 3));
    requires \separated(bytes + (0 .. part - 1), text + (0 .. 3));
    assigns text[0 .. 3];
@*/
static void encode_group(const uint8_t *bytes, size_t part, char *text)
{
    uint32_t first = bytes[0];
    uint32_t second = part > 1 ? bytes[1] : 0;
    uint32_t third = part > 2 ? bytes[2] : 0;
    text[0] = letter(first / 4);
    text[1] = letter(first % 4 * 16 + second / 16);
    text[2] = '=';
    text[3] = '=';
    if (part > 1) {
        text[2] = letter(second % 16 * 4 + third / 64);
    }
    if (part > 2) {
        text[3] = letter(third % 64);
    }
}

void weft_base64_encode(const uint8_t *bytes, size_t count, char *text)
{
    size_t groups = (count + 2) / 3;
    /*@ loop invariant 0 <= i <= groups;
        loop assigns i, text[0 .. 4 * groups - 1];
        loop variant groups - i;
    @*/
    for (size_t i = 0; i < groups; i++) {
        size_t left = count - 3 * i;
        encode_group(bytes + 3 * i, left < 3 ? left : 3, text + 4 * i);
    }
    text[4 * groups] = '\0';
}

/* 64: no character of the alphabet. */
/*@ assigns \nothing;
    ensures \result <= 64;
@*/
static uint32_t value_of(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return (uint32_t)(c - 'A');
    }
    if (c >= 'a' && c <= 'z') {
        return (uint32_t)(c - 'a') + 26;
    }
    if (c >= '0' && c <= '9') {
        return (uint32_t)(c - '0') + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

/* One to three bytes of four letters; padding counts as 0 and stands where it belongs. */
/*@ requires 1 <= part <= 3 && \valid_read(text + (0 .. 3)) && \valid(bytes + (0 .. part - 1));
    requires \separated(bytes + (0 .. part - 1), text + (0 .. 3));
    assigns bytes[0 .. part - 1];
@*/
static bool decode_group(const char *text, size_t part, uint8_t *bytes)
{
    uint32_t first = value_of(text[0]);
    uint32_t second = value_of(text[1]);
    uint32_t third = part > 1 ? value_of(text[2]) : text[2] == '=' ? 0 : 64;
    uint32_t fourth = part > 2 ? value_of(text[3]) : text[3] == '=' ? 0 : 64;
    if (first > 63 || second > 63 || third > 63 || fourth > 63) {
        return false;
    }
    if ((part == 1 && second % 16 != 0) || (part == 2 && third % 4 != 0)) {
        return false; /* bits that no byte takes */
    }
    bytes[0] = (uint8_t)(first * 4 + second / 16);
    if (part > 1) {
        bytes[1] = (uint8_t)(second % 16 * 16 + third / 4);
    }
    if (part > 2) {
        bytes[2] = (uint8_t)(third % 4 * 64 + fourth);
    }
    return true;
}

bool weft_base64_decode(const char *text, size_t length, uint8_t *bytes, size_t count)
{
    size_t groups = (count + 2) / 3;
    if (length != WEFT_BASE64_LENGTH(count)) {
        return false;
    }
    /*@ loop invariant 0 <= i <= groups;
        loop assigns i, bytes[0 .. count - 1];
        loop variant groups - i;
    @*/
    for (size_t i = 0; i < groups; i++) {
        size_t left = count - 3 * i;
        if (!decode_group(text + 4 * i, left < 3 ? left : 3, bytes + 3 * i)) {
            return false;
        }
    }
    return true;
}
