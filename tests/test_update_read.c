/* Which plain scalars are strings, by YAML's core schema: a name that is a number, a boolean or
 * null is none. */
#include <stdio.h>

#include "model.h"
#include "update_support.h"

/* Of a name that no tensor has the answer is UNKNOWN_TENSOR, of what is no string WRONG_TYPE. */
static weft_status answer_for_name(const char *name)
{
    char document[256];
    weft_detail detail;
    weft_model *model;

    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    assert_int_equal(weft_model_sort(model), WEFT_OK);
    int length =
        snprintf(document, sizeof document,
                 "names: [%s]\ndtype_names: [bool]\nshapes: [[1]]\nnum_updates_list: [1]\n", name);
    weft_status status = answer(document, (size_t)length, model, &detail);
    weft_model_destroy(model);
    return status;
}

static void test_numbers(void **state)
{
    static const char *const numbers[] = {
        "0",     "12",   "-1",   "+1",   "1.5",   "1.",   "-.5",        "+.5",  "1e5",  "1E5",
        "1e-5",  "1E+5", ".5e1", "0o17", "0x1f",  "0x1F", "-12.25e-10", "01",   ".inf", "-.Inf",
        "+.INF", ".nan", ".NaN", "true", "False", "TRUE", "null",       "Null", "~",
    };

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (answer_for_name(numbers[i]) != WEFT_E_META_WRONG_TYPE) {
            fail_msg("%s was taken for a string", numbers[i]);
        }
    }
}

static void test_strings(void **state)
{
    static const char *const strings[] = {
        "w",    "0.w",   "+",   "+x",  "-x",  ".",   "+.",  "1e",    "1e+",    "1e-", "1E-x",
        "1e5x", "0o",    "0x",  "0o8", "0xg", "0z1", "1x",  "1_000", "1.5.2",  ".e5", "e5",
        "tRUE", "truex", "yes", "nul", "nan", "inf", "'1'", "\"1\"", "-.infx", "0b1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        if (answer_for_name(strings[i]) != WEFT_E_META_UNKNOWN_TENSOR) {
            fail_msg("%s was not taken for a string", strings[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_strings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
