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
                                        "---",
                                        "\xc2\xa0\xe2\x82\xac\xe2\x80\x99"};
    static char content;
    weft_model *model;
    weft_patch patches[11];
    weft_update u = {.kind = WEFT_BASELINE,
                     .has_session = true,
                     .epoch = 1,
                     .of = 1,
                     .count = 11,
                     .patches = patches};

    (void)state;
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    memset(patches, 0, sizeof patches);
    for (uint32_t i = 0; i < 11; i++) {
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

/* vLLM's forms have int32 indices, a dense form and a sparse one, and no word for "nothing". */
static void test_what_vllm_cannot_say(void **state)
{
    static uint8_t content[4];
    weft_tensor tensor = {.name = "w", .dtype = WEFT_U8, .rank = 1, .shape = {4}, .data = content};
    weft_patch patch = {.tensor = 0, .count = 2};
    weft_update good = {
        .form = WEFT_FORM_VLLM_SPARSE, .kind = WEFT_SPARSE, .count = 1, .patches = &patch};
    weft_model *model;
    size_t length = 7;

    (void)state;
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    assert_int_equal(weft_model_add(model, &tensor), WEFT_OK);
    assert_int_equal(weft_update_layout(model, &good), WEFT_OK);
    for (int wrong = 0; wrong < 3; wrong++) {
        weft_update u = good;
        weft_patch wide = {.tensor = 0, .count = 2, .index_bytes = 8};
        u.count = wrong == 0 ? 0 : 1;
        u.kind = wrong == 1 ? WEFT_BASELINE : WEFT_SPARSE;
        u.patches = wrong == 2 ? &wide : &patch;
        assert_int_equal(weft_update_write(&u, model, NULL, 0, &length), WEFT_E_INVALID_ARGUMENT);
        assert_int_equal(length, 7);
    }
    assert_int_equal(weft_update_write(&good, model, NULL, 0, &length), WEFT_OK);
    assert_true(length > 7);
    weft_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_round_trips),
        cmocka_unit_test(test_names_that_need_escapes),
        cmocka_unit_test(test_what_vllm_cannot_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
