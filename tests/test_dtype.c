/* The table of element types, against the one in weft.h. */
#include "dtype.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static const struct {
    weft_dtype dtype;
    uint32_t bytes;
    const char *name;
    const char *file_name;
} EXPECTED[] = {
    {WEFT_BF16, 2, "bfloat16", "BF16"},
    {WEFT_F16, 2, "float16", "F16"},
    {WEFT_F32, 4, "float32", "F32"},
    {WEFT_F64, 8, "float64", "F64"},
    {WEFT_F8_E4M3, 1, "float8_e4m3fn", "F8_E4M3"},
    {WEFT_F8_E5M2, 1, "float8_e5m2", "F8_E5M2"},
    {WEFT_I8, 1, "int8", "I8"},
    {WEFT_U8, 1, "uint8", "U8"},
    {WEFT_I16, 2, "int16", "I16"},
    {WEFT_I32, 4, "int32", "I32"},
    {WEFT_I64, 8, "int64", "I64"},
    {WEFT_BOOL, 1, "bool", "BOOL"},
};

static void every_dtype_has_width_and_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof EXPECTED / sizeof EXPECTED[0]; i++) {
        weft_dtype found = (weft_dtype)0;

        assert_int_equal(EXPECTED[i].dtype, i + 1);
        assert_int_equal(weft_dtype_bytes(EXPECTED[i].dtype), EXPECTED[i].bytes);
        assert_string_equal(weft_dtype_name(EXPECTED[i].dtype), EXPECTED[i].name);
        assert_string_equal(weft_dtype_file_name(EXPECTED[i].dtype), EXPECTED[i].file_name);
        assert_true(weft_dtype_from_name(EXPECTED[i].name, strlen(EXPECTED[i].name), &found));
        assert_int_equal(found, EXPECTED[i].dtype);
        assert_true(weft_dtype_from_file_name(EXPECTED[i].file_name, strlen(EXPECTED[i].file_name),
                                              &found));
        assert_int_equal(found, EXPECTED[i].dtype);
    }
}

static void other_numbers_and_names_are_none(void **state)
{
    static const int NUMBERS[] = {-1, 0, 13, 255};
    static const char *const NAMES[] = {"", "?", "BF1", "BF167", "bf16", "F4", "C64", "bfloat"};
    weft_dtype found = WEFT_I8;

    (void)state;
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        assert_int_equal(weft_dtype_bytes((weft_dtype)NUMBERS[i]), 0);
        assert_string_equal(weft_dtype_name((weft_dtype)NUMBERS[i]), "?");
        assert_string_equal(weft_dtype_file_name((weft_dtype)NUMBERS[i]), "?");
    }
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        assert_false(weft_dtype_from_name(NAMES[i], strlen(NAMES[i]), &found));
        assert_false(weft_dtype_from_file_name(NAMES[i], strlen(NAMES[i]), &found));
    }
    assert_int_equal(found, WEFT_I8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dtype_has_width_and_names),
        cmocka_unit_test(other_numbers_and_names_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
