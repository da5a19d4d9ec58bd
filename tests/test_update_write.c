/* Updates written in weft's own form and read again: random models, and names that are hard to
 * write. */
#include <stdio.h>

#include "model.h"
#include "support.h"
#include "update_support.h"

/* Random updates of random models, written and read again. */
static void test_random_round_trips(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        test_model *model = test_model_create(&random, 1 + (size_t)test_random_below(&random, 40));
        weft_patch patches[40];
        weft_update u = {.kind = i % 2 == 0 ? WEFT_SPARSE : WEFT_BASELINE,
                         .has_session = true,
                         .patches = patches};
        u.epoch = 1 + test_random_next(&random) / 2;
        u.of = 1 + (uint32_t)test_random_below(&random, WEFT_UPDATES_MAX);
        u.number = (uint32_t)test_random_below(&random, u.of);
        u.target_version = test_random_next(&random);
        u.target_digest = test_random_next(&random);
        u.base_version = u.kind == WEFT_SPARSE ? test_random_next(&random) : 0;
        u.base_digest = u.kind == WEFT_SPARSE ? test_random_next(&random) : 0;
        memset(patches, 0, sizeof patches);
        for (size_t tensor = 0; tensor < model->count; tensor++) {
            uint64_t elements = weft_model_elements(model->model, tensor);
            patches[u.count].tensor = (uint32_t)tensor;
            patches[u.count++].count =
                u.kind == WEFT_SPARSE ? test_random_below(&random, elements + 1) : elements;
        }
        assert_int_equal(weft_update_layout(model->model, &u), WEFT_OK);
        check_round_trip(&u, model->model);
        test_model_destroy(model);
    }
}

/* Names that JSON and YAML must escape, or that YAML would take for something else. */
static void test_names_that_need_escapes(void **state)
{
    static const char *const names[] = {"a\"b\\c",
                                        "\x01\x1f\x7f",
                                        "tab\tand\nlines\r",
                                        "\xc2\x85\xe2\x80\xa8\xe2\x80\xa9",
                                        "\xf0\x9f\x98\x80, # [{",
                                        " leading and trailing ",
                                        "12",
                                        "null",
                                        "%",
                                        "---"};
    static char content;
    weft_model *model;
    weft_patch patches[10];
    weft_update u = {.kind = WEFT_BASELINE,
                     .has_session = true,
                     .epoch = 1,
                     .of = 1,
                     .count = 10,
                     .patches = patches};

    (void)state;
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    memset(patches, 0, sizeof patches);
    for (uint32_t i = 0; i < 10; i++) {
        weft_tensor tensor = {.name = names[i], .dtype = WEFT_U8, .data = &content};
        assert_int_equal(weft_model_add(model, &tensor), WEFT_OK);
        patches[i].tensor = i;
        patches[i].count = 1;
    }
    assert_int_equal(weft_update_layout(model, &u), WEFT_OK);
    assert_int_equal(weft_model_sort(model), WEFT_OK);
    check_round_trip(&u, model);
    weft_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_round_trips),
        cmocka_unit_test(test_names_that_need_escapes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
