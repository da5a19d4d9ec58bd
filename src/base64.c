#include "base64.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void weft_base64_encode(const uint8_t *bytes, size_t count, char *text)
{
    for (size_t i = 0; i < count; i += 3) {
        size_t part = count - i < 3 ? count - i : 3;
        uint32_t bits = (uint32_t)bytes[i] << 16;
        bits |= part > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        bits |= part > 2 ? (uint32_t)bytes[i + 2] : 0;
        *text++ = ALPHABET[bits >> 18];
        *text++ = ALPHABET[bits >> 12 & 63];
        *text++ = '=';
        *text++ = '=';
        if (part > 1) {
            text[-2] = ALPHABET[bits >> 6 & 63];
        }
        if (part > 2) {
            text[-1] = ALPHABET[bits & 63];
        }
    }
    *text = '\0';
}

/* 64: no character of the alphabet. */
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

bool weft_base64_decode(const char *text, size_t length, uint8_t *bytes, size_t count)
{
    if (length != WEFT_BASE64_LENGTH(count)) {
        return false;
    }
    for (size_t i = 0; i < count; i += 3, text += 4) {
        size_t part = count - i < 3 ? count - i : 3;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            uint32_t value = k <= part ? value_of(text[k]) : text[k] == '=' ? 0 : 64;
            if (value > 63) {
                return false;
            }
            bits = bits << 6 | value;
        }
        for (size_t k = 0; k < part; k++) {
            bytes[i + k] = (uint8_t)(bits >> (16 - 8 * k));
        }
        uint32_t unused = part == 1 ? 0xffff : part == 2 ? 0xff : 0;
        if ((bits & unused) != 0) {
            return false;
        }
    }
    return true;
}
