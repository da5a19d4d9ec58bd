/* Sentences and names in a detail: set, cleared, cut. */
#include "detail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void a_detail_is_set_and_the_rest_cleared(void **state)
{
    weft_detail detail;

    (void)state;
    memset(&detail, 0xff, sizeof detail);
    assert_int_equal(weft_detail_set(&detail, WEFT_E_LIMIT, "at most %u, found %s", 8u, "nine"),
                     WEFT_E_LIMIT);
    assert_int_equal(detail.status, WEFT_E_LIMIT);
    assert_string_equal(detail.text, "at most 8, found nine");
    assert_string_equal(detail.tensor, "");
    assert_int_equal(detail.state, WEFT_IDLE);
    assert_true(detail.epoch == 0 && detail.line == 0 && detail.column == 0);
}

static void a_detail_may_be_left_out(void **state)
{
    (void)state;
    assert_int_equal(weft_detail_set(NULL, WEFT_E_LIMIT, "%s", "x"), WEFT_E_LIMIT);
    weft_detail_tensor(NULL, "x", 1);
}

static void a_long_sentence_is_cut_between_characters(void **state)
{
    weft_detail detail;
    char text[WEFT_TEXT_MAX + 10];

    (void)state;
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    weft_detail_set(&detail, WEFT_E_LIMIT, "%s", text);
    assert_int_equal(strlen(detail.text), WEFT_TEXT_MAX);
    /* A character of two bytes, half of which would fit. */
    memcpy(text + WEFT_TEXT_MAX - 1, "\xc3\xa9", 2);
    weft_detail_set(&detail, WEFT_E_LIMIT, "%s", text);
    assert_int_equal(strlen(detail.text), WEFT_TEXT_MAX - 1);
}

static void a_tensor_is_named_beside_the_sentence(void **state)
{
    weft_detail detail;
    char name[WEFT_NAME_MAX + 10];

    (void)state;
    weft_detail_set(&detail, WEFT_E_LIMIT, "%s", "sentence");
    weft_detail_tensor(&detail, "layer.0.weight", 7);
    assert_string_equal(detail.tensor, "layer.0");
    assert_string_equal(detail.text, "sentence");
    memset(name, 'n', sizeof name);
    weft_detail_tensor(&detail, name, sizeof name);
    assert_int_equal(strlen(detail.tensor), WEFT_NAME_MAX);
    name[WEFT_NAME_MAX - 1] = (char)0xc3;
    name[WEFT_NAME_MAX] = (char)0xa9;
    weft_detail_tensor(&detail, name, sizeof name);
    assert_int_equal(strlen(detail.tensor), WEFT_NAME_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_detail_is_set_and_the_rest_cleared),
        cmocka_unit_test(a_detail_may_be_left_out),
        cmocka_unit_test(a_long_sentence_is_cut_between_characters),
        cmocka_unit_test(a_tensor_is_named_beside_the_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
