/* Models in other memory: the same registry and bits, in one block of the kind that was asked for,
 * and whatever fails leaves nothing behind. */
#include "device_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support.h"

static void test_there_and_back(void **state)
{
    test_random random = test_random_start();
    test_model *from = test_model_create(&random, 40), *to = test_model_copy(&random, from);
    test_allocator memory;
    weft_device_model made;
    (void)state;
    for (unsigned where = WEFT_MEMORY_HOST; where <= WEFT_MEMORY_PINNED; where++) {
        test_allocator_start(&memory, 0);
        assert_int_equal(weft_device_model_create(&made, from->model, weft_device_host(),
                                                  &memory.allocator, (weft_memory)where),
                         WEFT_OK);
        assert_true(memory.live_of[where] >= made.bytes);
        assert_int_equal(weft_model_fingerprint(made.model), weft_model_fingerprint(from->model));
        test_model_change(&random, from, 300); /* not the copy */
        assert_int_equal(weft_device_model_fetch(&made, to->model), WEFT_OK);
        assert_false(test_model_equal(to, from));
        assert_int_equal(weft_device_model_fill(&made, from->model), WEFT_OK);
        assert_int_equal(weft_device_model_fetch(&made, to->model), WEFT_OK);
        assert_true(test_model_equal(to, from));
        weft_device_model_destroy(&made);
        assert_null(made.model);
        test_allocator_finish(&memory);
    }
    test_model_destroy(from);
    test_model_destroy(to);
}

/* Every tensor is aligned, and they lie in order without a common byte. */
static void test_places(void **state)
{
    test_random random = test_random_start();
    test_model *from = test_model_create(&random, 40);
    weft_device_model made;
    (void)state;
    assert_int_equal(
        weft_device_model_create(&made, from->model, weft_device_host(), NULL, WEFT_MEMORY_HOST),
        WEFT_OK);
    uintptr_t end = (uintptr_t)made.memory;
    for (size_t i = 0; i < weft_model_count(made.model); i++) {
        const weft_tensor *tensor = weft_model_tensor(made.model, i);
        uint64_t bytes = weft_model_elements(made.model, i) * weft_dtype_bytes(tensor->dtype);
        if (bytes == 0) {
            assert_null(tensor->data);
            continue;
        }
        assert_int_equal((uintptr_t)tensor->data % 64, 0);
        assert_true((uintptr_t)tensor->data >= end);
        end = (uintptr_t)tensor->data + bytes;
    }
    assert_true(end <= (uintptr_t)made.memory + made.bytes);
    weft_device_model_destroy(&made);
    test_model_destroy(from);
}

static void test_nothing_to_hold(void **state)
{
    weft_model *empty = NULL;
    weft_device_model made;
    (void)state;
    assert_int_equal(weft_model_create(&empty, NULL), WEFT_OK);
    for (unsigned tensors = 0; tensors < 2; tensors++) {
        assert_int_equal(
            weft_device_model_create(&made, empty, weft_device_host(), NULL, WEFT_MEMORY_HOST),
            WEFT_OK);
        assert_int_equal(weft_model_count(made.model), tensors);
        assert_null(made.memory);
        assert_int_equal(weft_device_model_fetch(&made, empty), WEFT_OK);
        weft_device_model_destroy(&made);
        weft_tensor none = {.name = "none", .dtype = WEFT_BF16, .rank = 1, .shape = {0}};
        assert_true(tensors > 0 || weft_model_add(empty, &none) == WEFT_OK);
    }
    weft_device_model_destroy(&made); /* of zeros */
    weft_model_destroy(empty);
}

static void test_every_allocation_fails_once(void **state)
{
    test_random random = test_random_start();
    test_model *from = test_model_create(&random, 40);
    weft_status status = WEFT_E_OUT_OF_MEMORY;
    uint64_t n = 0;
    (void)state;
    while (status != WEFT_OK) {
        test_allocator memory;
        weft_device_model made = {.model = NULL};
        test_allocator_start(&memory, ++n);
        status = weft_device_model_create(&made, from->model, weft_device_host(), &memory.allocator,
                                          WEFT_MEMORY_HOST);
        assert_true(status == WEFT_OK || (status == WEFT_E_OUT_OF_MEMORY && made.model == NULL));
        weft_device_model_destroy(&made);
        test_allocator_finish(&memory);
    }
    assert_true(n > 2);
    test_model_destroy(from);
}

static void test_too_large(void **state)
{
    static char byte;
    weft_model *model = NULL;
    weft_device_model made = {.model = NULL};
    (void)state;
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    for (unsigned i = 0; i < 2; i++) {
        weft_tensor half = {.name = i == 0 ? "a" : "b",
                            .dtype = WEFT_U8,
                            .rank = 1,
                            .shape = {UINT64_C(1) << 63},
                            .data = &byte};
        assert_int_equal(weft_model_add(model, &half), WEFT_OK);
    }
    assert_int_equal(
        weft_device_model_create(&made, model, weft_device_host(), NULL, WEFT_MEMORY_HOST),
        WEFT_E_SIZE_OVERFLOW);
    assert_null(made.model);
    weft_model_destroy(model);
}

static weft_status refuse(const weft_device *device, void *to, const void *from, uint64_t bytes)
{
    (void)device;
    (void)to;
    (void)from;
    (void)bytes;
    return WEFT_E_DEVICE_FAILED;
}

static void test_a_device_that_fails(void **state)
{
    test_random random = test_random_start();
    test_model *from = test_model_create(&random, 10);
    weft_device device = *weft_device_host();
    test_allocator memory;
    weft_device_model made = {.model = NULL};
    (void)state;
    test_allocator_start(&memory, 0);
    device.allocator = memory.allocator; /* taken, because none is given */
    device.copy = refuse;
    assert_int_equal(
        weft_device_model_create(&made, from->model, &device, NULL, WEFT_MEMORY_DEVICE),
        WEFT_E_DEVICE_FAILED);
    assert_null(made.model);
    assert_int_equal(memory.live_bytes, 0);
    device.copy = weft_device_host()->copy;
    device.fetch = refuse;
    assert_int_equal(
        weft_device_model_create(&made, from->model, &device, NULL, WEFT_MEMORY_DEVICE), WEFT_OK);
    assert_true(memory.live_of[WEFT_MEMORY_DEVICE] == made.bytes);
    assert_int_equal(weft_device_model_fetch(&made, from->model), WEFT_E_DEVICE_FAILED);
    weft_device_model_destroy(&made);
    test_allocator_finish(&memory);
    test_model_destroy(from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),  cmocka_unit_test(test_places),
        cmocka_unit_test(test_nothing_to_hold), cmocka_unit_test(test_every_allocation_fails_once),
        cmocka_unit_test(test_too_large),       cmocka_unit_test(test_a_device_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
