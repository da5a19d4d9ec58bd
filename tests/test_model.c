/* The registry: what is accepted and refused, lookup, growth, memory that runs out, digest. */
#include "model.h"

#include "device.h"
#include "digest.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char data[64];

static weft_tensor simple(const char *name)
{
    return (weft_tensor){
        .name = name, .dtype = WEFT_BF16, .rank = 2, .shape = {2, 3}, .data = data};
}

static weft_model *new_model(void)
{
    weft_model *model = NULL;

    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    return model;
}

static void a_tensor_is_copied_but_for_its_data(void **state)
{
    weft_model *model = new_model();
    char name[] = "layer.weight";
    weft_tensor tensor = simple(name);
    size_t number = 99;

    (void)state;
    tensor.shape[5] = 77; /* past the rank: not part of it */
    assert_int_equal(weft_model_add(model, &tensor), WEFT_OK);
    memset(name, 'x', sizeof name - 1);
    assert_int_equal(weft_model_count(model), 1);
    assert_string_equal(weft_model_tensor(model, 0)->name, "layer.weight");
    assert_int_equal(weft_model_tensor(model, 0)->shape[1], 3);
    assert_int_equal(weft_model_tensor(model, 0)->shape[5], 0);
    assert_ptr_equal(weft_model_tensor(model, 0)->data, data);
    assert_int_equal(weft_model_elements(model, 0), 6);
    assert_int_equal(weft_model_find(model, "layer.weight and more", 12, &number), WEFT_OK);
    assert_int_equal(number, 0);
    assert_int_equal(weft_model_seed(model, 0),
                     weft_digest_tensor_seed(weft_model_tensor(model, 0)));
    weft_model_destroy(model);
}

static void what_is_not_there_has_no_number(void **state)
{
    weft_model *model = new_model();
    char long_name[WEFT_NAME_MAX + 1];
    size_t number = 99;

    (void)state;
    memset(long_name, 'n', sizeof long_name);
    assert_int_equal(weft_model_find(model, "a", 1, &number), WEFT_E_UNKNOWN_TENSOR_NAME);
    assert_int_equal(weft_model_add(model, &(weft_tensor){"a", WEFT_I8, 0, {0}, data}), WEFT_OK);
    assert_int_equal(weft_model_find(model, "b", 1, &number), WEFT_E_UNKNOWN_TENSOR_NAME);
    assert_int_equal(weft_model_find(model, "a", 0, &number), WEFT_E_UNKNOWN_TENSOR_NAME);
    assert_int_equal(weft_model_find(model, long_name, sizeof long_name, &number),
                     WEFT_E_UNKNOWN_TENSOR_NAME);
    assert_int_equal(number, 99);
    assert_null(weft_model_tensor(model, 1));
    assert_int_equal(weft_model_elements(model, 1), 0);
    assert_int_equal(weft_model_seed(model, 1), 0);
    weft_model_destroy(model);
}

static void null_is_refused_or_empty(void **state)
{
    weft_model *model = new_model();
    weft_tensor tensor = simple("a");
    size_t number = 0;
    uint64_t digest = 0;

    (void)state;
    assert_int_equal(weft_model_create(NULL, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_model_add(NULL, &tensor), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_model_add(model, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_model_find(NULL, "a", 1, &number), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_model_find(model, NULL, 1, &number), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_model_find(model, "a", 1, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_model_digest(NULL, weft_device_host(), &digest), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_model_digest(model, NULL, &digest), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_model_digest(model, weft_device_host(), NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_model_count(NULL), 0);
    assert_null(weft_model_tensor(NULL, 0));
    assert_int_equal(weft_model_fingerprint(NULL), 0);
    weft_model_destroy(NULL);
    weft_model_destroy(model);
}

static void tensors_that_are_not_allowed_change_nothing(void **state)
{
    static const uint64_t BIG = UINT64_C(1) << 32;
    char name_of_limit[WEFT_NAME_MAX + 1];
    char name_too_long[WEFT_NAME_MAX + 2];
    const struct {
        weft_tensor tensor;
        weft_status status;
    } CASES[] = {
        {{NULL, WEFT_I8, 0, {0}, data}, WEFT_E_INVALID_ARGUMENT},
        {{"", WEFT_I8, 0, {0}, data}, WEFT_E_INVALID_ARGUMENT},
        {{"\xff", WEFT_I8, 0, {0}, data}, WEFT_E_INVALID_ARGUMENT},
        {{name_too_long, WEFT_I8, 0, {0}, data}, WEFT_E_INVALID_ARGUMENT},
        {{"a", (weft_dtype)0, 0, {0}, data}, WEFT_E_INVALID_ARGUMENT},
        {{"a", (weft_dtype)13, 0, {0}, data}, WEFT_E_INVALID_ARGUMENT},
        {{"a", WEFT_I8, WEFT_RANK_MAX + 1, {0}, data}, WEFT_E_INVALID_ARGUMENT},
        {{"a", WEFT_I8, 1, {1}, NULL}, WEFT_E_INVALID_ARGUMENT},
        {{"a", WEFT_I8, 0, {0}, NULL}, WEFT_E_INVALID_ARGUMENT},
        {{"a", WEFT_I8, 2, {BIG, BIG}, data}, WEFT_E_SIZE_OVERFLOW},
        {{"a", WEFT_F64, 2, {BIG, BIG / 8}, data}, WEFT_E_SIZE_OVERFLOW},
        {{"held", WEFT_I8, 0, {0}, data}, WEFT_E_DUPLICATE_TENSOR},
        /* And these are allowed. */
        {{name_of_limit, WEFT_I8, 0, {0}, data}, WEFT_OK},
        {{"empty", WEFT_F64, 3, {BIG, 0, BIG}, NULL}, WEFT_OK},
        {{"big", WEFT_I8, 2, {BIG, BIG - 1}, data}, WEFT_OK},
        {{"rank", WEFT_I8, WEFT_RANK_MAX, {1, 1, 1, 1, 1, 1, 1, 2}, data}, WEFT_OK},
    };
    weft_model *model = new_model();
    size_t count = 1;

    (void)state;
    memset(name_of_limit, 'n', WEFT_NAME_MAX);
    name_of_limit[WEFT_NAME_MAX] = '\0';
    memset(name_too_long, 'n', WEFT_NAME_MAX + 1);
    name_too_long[WEFT_NAME_MAX + 1] = '\0';
    assert_int_equal(weft_model_add(model, &(weft_tensor){"held", WEFT_I8, 0, {0}, data}), WEFT_OK);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        uint64_t fingerprint = weft_model_fingerprint(model);
        assert_int_equal(weft_model_add(model, &CASES[i].tensor), CASES[i].status);
        if (CASES[i].status == WEFT_OK) {
            count++;
        } else {
            assert_true(weft_model_fingerprint(model) == fingerprint);
        }
        assert_int_equal(weft_model_count(model), count);
    }
    weft_model_destroy(model);
}

static void indices_are_wide_from_two_to_the_31_elements(void **state)
{
    weft_model *model = new_model();

    (void)state;
    assert_int_equal(weft_model_add(model, &(weft_tensor){"a", WEFT_I8, 1, {INT32_MAX}, data}),
                     WEFT_OK);
    assert_int_equal(
        weft_model_add(model, &(weft_tensor){"b", WEFT_I8, 1, {UINT64_C(1) << 31}, data}), WEFT_OK);
    assert_int_equal(weft_model_index_bytes(model, 0), 4);
    assert_int_equal(weft_model_index_bytes(model, 1), 8);
    weft_model_destroy(model);
}

static void a_model_in_use_is_frozen(void **state)
{
    weft_model *model = new_model();
    weft_tensor tensor = simple("a");

    (void)state;
    weft_model_acquire(model);
    weft_model_acquire(model);
    assert_int_equal(weft_model_add(model, &tensor), WEFT_E_MODEL_IN_USE);
    weft_model_release(model);
    assert_int_equal(weft_model_add(model, &tensor), WEFT_E_MODEL_IN_USE);
    weft_model_release(model);
    assert_int_equal(weft_model_add(model, &tensor), WEFT_OK);
    weft_model_destroy(model);
}

static void the_fingerprint_does_not_depend_on_the_order(void **state)
{
    const weft_tensor tensors[] = {simple("a"), simple("b"), simple("c")};
    weft_tensor other = simple("b");
    weft_model *forward = new_model();
    weft_model *backward = new_model();
    weft_model *different = new_model();
    size_t number = 99;

    (void)state;
    other.dtype = WEFT_F16;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(weft_model_add(forward, &tensors[i]), WEFT_OK);
        assert_int_equal(weft_model_add(backward, &tensors[2 - i]), WEFT_OK);
        assert_int_equal(weft_model_add(different, i == 1 ? &other : &tensors[i]), WEFT_OK);
    }
    assert_true(weft_model_fingerprint(forward) == weft_model_fingerprint(backward));
    assert_true(weft_model_fingerprint(forward) != weft_model_fingerprint(different));
    assert_true(weft_model_same(forward, forward, &number));
    assert_int_equal(number, 99);
    assert_false(weft_model_same(forward, different, &number));
    assert_int_equal(number, 1);
    assert_false(weft_model_same(forward, backward, &number));
    assert_int_equal(number, 0);
    assert_int_equal(weft_model_add(different, &(weft_tensor){"d", WEFT_I8, 0, {0}, data}),
                     WEFT_OK);
    weft_model_destroy(backward);
    backward = new_model();
    assert_int_equal(weft_model_add(backward, &tensors[0]), WEFT_OK);
    assert_false(weft_model_same(forward, backward, &number));
    assert_int_equal(number, 1);
    weft_model_destroy(forward);
    weft_model_destroy(backward);
    weft_model_destroy(different);
}

static void many_tensors_are_all_found(void **state)
{
    enum { COUNT = 20000 };
    weft_model *model = new_model();
    const weft_tensor *first = NULL;
    char name[WEFT_NAME_MAX + 1];

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        weft_tensor tensor = simple(name);
        /* Lengths from 6 to 512, so that blocks of names end in all ways. */
        (void)snprintf(name, sizeof name, "%06d%.*s", i, i % 507, "");
        memset(name + 6, 'p', (size_t)(i % 507));
        name[6 + i % 507] = '\0';
        assert_int_equal(weft_model_add(model, &tensor), WEFT_OK);
        if (i == 0) {
            first = weft_model_tensor(model, 0);
        }
        assert_int_equal(weft_model_add(model, &tensor), WEFT_E_DUPLICATE_TENSOR);
    }
    assert_ptr_equal(first, weft_model_tensor(model, 0));
    for (size_t i = 0; i < COUNT; i++) {
        const char *held = weft_model_tensor(model, i)->name;
        size_t number = 0;
        assert_int_equal(strlen(held), 6 + i % 507);
        assert_int_equal(weft_model_find(model, held, strlen(held), &number), WEFT_OK);
        assert_int_equal(number, i);
    }
    weft_model_destroy(model);
}

static void the_number_of_tensors_has_a_limit(void **state)
{
    weft_model *model = new_model();
    char name[16];
    weft_tensor tensor = {.name = name, .dtype = WEFT_I8, .data = data};

    (void)state;
    for (unsigned i = 0; i < WEFT_TENSORS_MAX; i++) {
        (void)snprintf(name, sizeof name, "%u", i);
        if (weft_model_add(model, &tensor) != WEFT_OK) {
            fail_msg("tensor %u is refused", i);
        }
    }
    (void)snprintf(name, sizeof name, "more");
    assert_int_equal(weft_model_add(model, &tensor), WEFT_E_LIMIT);
    assert_int_equal(weft_model_count(model), WEFT_TENSORS_MAX);
    weft_model_destroy(model);
}

/* Adds tensors until one is refused; returns how many were taken. */
static size_t add_until_refused(weft_model *model, size_t count, weft_status *status)
{
    for (size_t i = 0; i < count; i++) {
        char name[WEFT_NAME_MAX + 1];
        weft_tensor tensor = simple(name);
        (void)snprintf(name, sizeof name, "%0*zu", (int)WEFT_NAME_MAX, i);
        *status = weft_model_add(model, &tensor);
        if (*status != WEFT_OK) {
            return i;
        }
    }
    return count;
}

static void memory_may_run_out_at_any_call(void **state)
{
    enum {
        COUNT = 1100
    }; /* three chunks of entries, several tables of slots, many blocks of names */
    weft_model *model = NULL;
    bool complete = false;
    uint64_t at = 1;

    (void)state;
    for (; !complete; at++) {
        test_allocator memory;
        weft_status status = WEFT_OK;
        test_allocator_start(&memory, at);
        status = weft_model_create(&model, &memory.allocator);
        if (status == WEFT_OK) {
            size_t taken = add_until_refused(model, COUNT, &status);
            uint64_t fingerprint = weft_model_fingerprint(model);
            assert_int_equal(weft_model_count(model), taken);
            complete = taken == COUNT;
            if (!complete) {
                char name[WEFT_NAME_MAX + 1];
                weft_tensor tensor = simple(name);
                size_t number = 0;
                assert_int_equal(status, WEFT_E_OUT_OF_MEMORY);
                /* Unchanged, and the same call succeeds when there is memory again. */
                (void)snprintf(name, sizeof name, "%0*zu", (int)WEFT_NAME_MAX, taken);
                assert_int_equal(weft_model_find(model, name, WEFT_NAME_MAX, &number),
                                 WEFT_E_UNKNOWN_TENSOR_NAME);
                assert_int_equal(weft_model_add(model, &tensor), WEFT_OK);
                assert_int_equal(weft_model_find(model, name, WEFT_NAME_MAX, &number), WEFT_OK);
                assert_int_equal(number, taken);
                assert_true(weft_model_fingerprint(model) != fingerprint);
            }
            weft_model_destroy(model);
        } else {
            assert_int_equal(status, WEFT_E_OUT_OF_MEMORY);
        }
        test_allocator_finish(&memory);
    }
    assert_true(at > 40);
}

/* ---- the canonical order ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void check_order(const weft_model *model)
{
    size_t count = weft_model_count(model);
    const weft_ordered *order = weft_model_order(model);
    const char **names = calloc(count + 1, sizeof *names);

    assert_non_null(names);
    for (size_t i = 0; i < count; i++) {
        names[i] = weft_model_tensor(model, i)->name;
    }
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++) {
        const weft_tensor *tensor = weft_model_tensor(model, order[i].tensor);
        assert_string_equal(tensor->name, names[i]);
        assert_ptr_equal(order[i].data, tensor->data);
        assert_int_equal(order[i].elements, weft_model_elements(model, order[i].tensor));
        assert_int_equal(order[i].seed, weft_model_seed(model, order[i].tensor));
        assert_int_equal(order[i].index_bytes, weft_model_index_bytes(model, order[i].tensor));
        assert_int_equal(order[i].element_bytes, weft_dtype_bytes(tensor->dtype));
        assert_int_equal(weft_model_position(model, order[i].tensor), i);
    }
    free(names);
}

/* Names of few letters, so that many begin alike, one is another's beginning, and bytes above 127
 * are above all others. */
static void add_random_tensor(test_random *random, weft_model *model)
{
    static const char *const letters[] = {"a", "b", ".", "\x7f", "\xc3\xb6", "\xf0\x9f\x98\x80"};
    weft_status status = WEFT_E_DUPLICATE_TENSOR;

    while (status == WEFT_E_DUPLICATE_TENSOR) {
        char name[64];
        size_t used = 0;
        weft_tensor tensor = {.name = name, .rank = 1, .data = data};
        for (uint64_t n = 1 + test_random_below(random, 8); n > 0; n--) {
            used += (size_t)snprintf(name + used, sizeof name - used, "%s",
                                     letters[test_random_below(random, 6)]);
        }
        tensor.dtype = (weft_dtype)(1 + test_random_below(random, TEST_DTYPES));
        tensor.shape[0] = test_random_below(random, 5) == 0 ? UINT64_C(1) << 33 : 7;
        status = weft_model_add(model, &tensor);
    }
    assert_int_equal(status, WEFT_OK);
}

static void the_order_is_that_of_the_names(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (size_t count = 0; count < 70; count++) {
        weft_model *model = new_model();
        for (size_t i = 0; i < count; i++) {
            add_random_tensor(&random, model);
        }
        assert_false(weft_model_is_sorted(model));
        assert_int_equal(weft_model_sort(model), WEFT_OK);
        check_order(model);
        assert_int_equal(weft_model_sort(model), WEFT_OK); /* has nothing to do */
        add_random_tensor(&random, model);
        assert_false(weft_model_is_sorted(model));
        assert_int_equal(weft_model_sort(model), WEFT_OK);
        check_order(model);
        weft_model_destroy(model);
    }
}

static void an_order_without_memory(void **state)
{
    test_random random = test_random_start();
    test_allocator memory;
    weft_model *model = NULL;
    uint64_t refused = 0;
    weft_status status;

    (void)state;
    test_allocator_start(&memory, 0);
    assert_int_equal(weft_model_create(&model, &memory.allocator), WEFT_OK);
    for (unsigned i = 0; i < 50; i++) {
        add_random_tensor(&random, model);
    }
    uint64_t live = memory.live_bytes;
    do {
        memory.fail_at = memory.calls + refused + 1;
        status = weft_model_sort(model);
        assert_true(status == WEFT_OK || status == WEFT_E_OUT_OF_MEMORY);
        assert_int_equal(weft_model_is_sorted(model), status == WEFT_OK);
        assert_true(status == WEFT_OK || memory.live_bytes == live);
        refused += status != WEFT_OK;
    } while (status != WEFT_OK);
    assert_int_equal(refused, 3);
    check_order(model);
    memory.fail_at = 0;
    weft_model_destroy(model);
    test_allocator_finish(&memory);
}

/* ---- digest ---- */

static void the_digest_is_the_sum_of_its_definition(void **state)
{
    test_random random = test_random_start();
    test_model *model = test_model_create(&random, 150); /* more than two batches of segments */
    uint64_t expected = 0;
    uint64_t digest = 0;

    (void)state;
    for (size_t i = 0; i < model->count; i++) {
        const weft_tensor *tensor = weft_model_tensor(model->model, i);
        uint64_t seed = weft_digest_tensor_seed(tensor);
        for (uint64_t index = 0; index < weft_model_elements(model->model, i); index++) {
            uint64_t bits =
                test_bits_get(tensor->data, index, (uint8_t)weft_dtype_bytes(tensor->dtype));
            expected += weft_digest_term(seed, index, bits);
        }
    }
    assert_int_equal(weft_model_digest(model->model, weft_device_host(), &digest), WEFT_OK);
    assert_true(digest == expected);
    test_model_destroy(model);
}

static void an_empty_model_has_digest_zero(void **state)
{
    weft_model *model = new_model();
    uint64_t digest = 99;

    (void)state;
    assert_int_equal(weft_model_add(model, &(weft_tensor){"a", WEFT_F32, 1, {0}, NULL}), WEFT_OK);
    assert_int_equal(weft_model_digest(model, weft_device_host(), &digest), WEFT_OK);
    assert_true(digest == 0);
    weft_model_destroy(model);
}

/* A device that is busy a few times before it ends as told. */
static struct {
    weft_status submit, result;
    weft_poll end;
    int busy;
} script;

static weft_status scripted_submit(const weft_device *device, weft_device_operation operation,
                                   const weft_segment *segments, size_t count,
                                   weft_device_result *result)
{
    (void)device;
    (void)segments;
    assert_int_equal(operation, WEFT_DEVICE_DIGEST);
    assert_int_equal(count, 1);
    result->status = script.result;
    result->digest = 5;
    return script.submit;
}

static weft_poll scripted_poll(const weft_device *device)
{
    (void)device;
    return script.busy-- > 0 ? WEFT_POLL_AGAIN : script.end;
}

static void a_device_may_be_slow_or_fail(void **state)
{
    const weft_device device = {
        .name = "scripted", .submit = scripted_submit, .poll = scripted_poll};
    weft_model *model = new_model();
    weft_tensor tensor = simple("a");
    uint64_t digest = 99;

    (void)state;
    assert_int_equal(weft_model_add(model, &tensor), WEFT_OK);
    script.submit = WEFT_E_DEVICE_FAILED;
    assert_int_equal(weft_model_digest(model, &device, &digest), WEFT_E_DEVICE_FAILED);
    script.submit = WEFT_OK;
    script.busy = 3;
    script.end = WEFT_POLL_GONE;
    assert_int_equal(weft_model_digest(model, &device, &digest), WEFT_E_DEVICE_FAILED);
    script.end = WEFT_POLL_DONE;
    script.result = WEFT_E_DEVICE_FAILED;
    assert_int_equal(weft_model_digest(model, &device, &digest), WEFT_E_DEVICE_FAILED);
    assert_true(digest == 99);
    script.result = WEFT_OK;
    script.busy = 3;
    assert_int_equal(weft_model_digest(model, &device, &digest), WEFT_OK);
    assert_true(digest == 5);
    assert_true(script.busy < 0);
    weft_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tensor_is_copied_but_for_its_data),
        cmocka_unit_test(what_is_not_there_has_no_number),
        cmocka_unit_test(null_is_refused_or_empty),
        cmocka_unit_test(tensors_that_are_not_allowed_change_nothing),
        cmocka_unit_test(indices_are_wide_from_two_to_the_31_elements),
        cmocka_unit_test(a_model_in_use_is_frozen),
        cmocka_unit_test(the_fingerprint_does_not_depend_on_the_order),
        cmocka_unit_test(many_tensors_are_all_found),
        cmocka_unit_test(the_number_of_tensors_has_a_limit),
        cmocka_unit_test(memory_may_run_out_at_any_call),
        cmocka_unit_test(the_order_is_that_of_the_names),
        cmocka_unit_test(an_order_without_memory),
        cmocka_unit_test(the_digest_is_the_sum_of_its_definition),
        cmocka_unit_test(an_empty_model_has_digest_zero),
        cmocka_unit_test(a_device_may_be_slow_or_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
