/* Every value has one text, and every other text is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base64.h"
#include "support.h"

/* RFC 4648, section 10. */
static void test_examples(void **state)
{
    static const char *const texts[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                        "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    (void)state;
    for (size_t n = 0; n < 7; n++) {
        char text[9];
        uint8_t bytes[6];
        weft_base64_encode((const uint8_t *)"foobar", n, text);
        assert_string_equal(text, texts[n]);
        assert_int_equal(strlen(text), WEFT_BASE64_LENGTH(n));
        assert_true(weft_base64_decode(text, strlen(text), bytes, n));
        assert_memory_equal(bytes, "foobar", n);
    }
}

static void test_strict(void **state)
{
    static const char *const wrong[] = {"Zg=",  "Zg",   "Zg=a", "Zh==", "Z===", "Zg==\n", "=Zg=",
                                        "Z-==", "Z_==", "Zm8=", "Zm9v", "Zg= ", "\xc3g=="};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint8_t byte;
        assert_false(weft_base64_decode(wrong[i], strlen(wrong[i]), &byte, 1));
    }
}

/* Of every text of one group of four, only those that encode gives are accepted. */
static void test_every_pair_of_bytes(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 65536; value++) {
        uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value}, back[2];
        char text[5];
        weft_base64_encode(bytes, 2, text);
        assert_true(weft_base64_decode(text, 4, back, 2));
        assert_memory_equal(back, bytes, 2);
        for (unsigned c = 0; c < 256; c++) { /* the third character carries two unused bits */
            char other[4] = {text[0], text[1], (char)c, '='};
            bool same = weft_base64_decode(other, 4, back, 2) && memcmp(back, bytes, 2) == 0;
            assert_int_equal(same, other[2] == text[2]);
        }
    }
}

static void test_random_bytes(void **state)
{
    test_random random = test_random_start();
    (void)state;
    for (unsigned round = 0; round < 2000; round++) {
        size_t n = (size_t)test_random_below(&random, 200);
        uint8_t *bytes = malloc(n + 1), *back = malloc(n + 1);
        char *text = malloc(WEFT_BASE64_LENGTH(n) + 1);
        assert_true(bytes != NULL && back != NULL && text != NULL);
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (uint8_t)test_random_below(&random, 256);
        }
        weft_base64_encode(bytes, n, text);
        assert_true(weft_base64_decode(text, strlen(text), back, n));
        assert_memory_equal(back, bytes, n);
        assert_false(weft_base64_decode(text, strlen(text), back, n + 3));
        free(bytes);
        free(back);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_strict),
        cmocka_unit_test(test_every_pair_of_bytes),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
