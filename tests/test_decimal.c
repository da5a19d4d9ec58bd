/* Decimal numbers as text. */
#include "decimal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static weft_status parse(const char *text, uint64_t *value)
{
    return weft_decimal_parse(text, strlen(text), value);
}

static void numbers_of_64_bits_are_read(void **state)
{
    uint64_t value = 1;

    (void)state;
    assert_int_equal(parse("0", &value), WEFT_OK);
    assert_true(value == 0);
    assert_int_equal(parse("007", &value), WEFT_OK);
    assert_true(value == 7);
    assert_int_equal(parse("18446744073709551615", &value), WEFT_OK);
    assert_true(value == UINT64_MAX);
    assert_int_equal(weft_decimal_parse("123", 2, &value), WEFT_OK);
    assert_true(value == 12);
}

static void anything_else_is_refused(void **state)
{
    static const char *const TEXTS[] = {"", "-1", "+1", " 1", "1 ", "0x1", "1e3", "/", ":", "1.0"};
    uint64_t value = 5;

    (void)state;
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        assert_int_equal(parse(TEXTS[i], &value), WEFT_E_META_NOT_AN_INTEGER);
    }
    assert_int_equal(parse("18446744073709551616", &value), WEFT_E_META_OVERFLOW);
    assert_int_equal(parse("184467440737095516150", &value), WEFT_E_META_OVERFLOW);
    assert_true(value == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_64_bits_are_read),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
