/* Every value has exactly one text: whatever is encoded is decoded, and whatever is decoded is what would
 * have been encoded. Any bytes, any text, up to four bytes: one group and every remainder. */
#include "../../src/base64.c"

#define MOST 4

extern uint8_t any_byte(void);
extern char any_char(void);
void __ESBMC_assume(_Bool condition);
void __ESBMC_assert(_Bool condition, const char *what);

static void encoded_is_decoded(size_t count)
{
    uint8_t bytes[MOST], again[MOST];
    char text[WEFT_BASE64_LENGTH(MOST) + 1];
    for (size_t i = 0; i < MOST; i++) {
        bytes[i] = any_byte();
    }
    weft_base64_encode(bytes, count, text);
    __ESBMC_assert(weft_base64_decode(text, WEFT_BASE64_LENGTH(count), again, count), "decodes");
    for (size_t i = 0; i < count; i++) {
        __ESBMC_assert(bytes[i] == again[i], "bytes survive");
    }
}

static void decoded_is_encoded(size_t count)
{
    uint8_t bytes[MOST];
    char text[WEFT_BASE64_LENGTH(MOST) + 1], again[WEFT_BASE64_LENGTH(MOST) + 1];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = any_char();
    }
    if (weft_base64_decode(text, WEFT_BASE64_LENGTH(count), bytes, count)) {
        weft_base64_encode(bytes, count, again);
        for (size_t i = 0; i < WEFT_BASE64_LENGTH(count); i++) {
            __ESBMC_assert(text[i] == again[i], "one text only");
        }
    }
}

int main(void)
{
    for (size_t count = 0; count <= MOST; count++) {
        encoded_is_decoded(count);
        decoded_is_encoded(count);
    }
    return 0;
}
