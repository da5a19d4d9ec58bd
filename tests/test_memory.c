/* The default allocator. */
#include "memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void default_memory_is_aligned_and_writable(void **state)
{
    const weft_allocator allocator = weft_allocator_default();
    static const uint64_t SIZES[] = {1, 63, 64, 65, 4096, 100001};

    (void)state;
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        void *memory = weft_memory_allocate(&allocator, SIZES[i], WEFT_MEMORY_HOST);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 64, 0);
        memset(memory, 0xa5, (size_t)SIZES[i]);
        weft_memory_release(&allocator, memory, SIZES[i], WEFT_MEMORY_HOST);
    }
}

static void there_is_no_memory_for_some_requests(void **state)
{
    const weft_allocator allocator = weft_allocator_default();

    (void)state;
    assert_null(weft_memory_allocate(&allocator, 0, WEFT_MEMORY_HOST));
    assert_null(weft_memory_allocate(&allocator, SIZE_MAX, WEFT_MEMORY_HOST));
    assert_null(weft_memory_allocate(&allocator, 64, WEFT_MEMORY_DEVICE));
    weft_memory_release(&allocator, NULL, 0, WEFT_MEMORY_HOST);
}

static void pinned_memory_is_plain_without_a_device(void **state)
{
    const weft_allocator allocator = weft_allocator_default();
    void *memory = weft_memory_allocate(&allocator, 100, WEFT_MEMORY_PINNED);

    (void)state;
    assert_non_null(memory);
    memset(memory, 0xa5, 100);
    weft_memory_release(&allocator, memory, 100, WEFT_MEMORY_PINNED);
}

/* What an allocator was asked for. */
typedef struct request {
    size_t bytes;
    weft_memory where;
    void *released;
} request;

static char place;

static void *record_allocate(void *context, size_t bytes, weft_memory where)
{
    request *seen = context;

    seen->bytes = bytes;
    seen->where = where;
    return &place;
}

static void record_release(void *context, void *pointer, size_t bytes, weft_memory where)
{
    request *seen = context;

    seen->bytes = bytes;
    seen->where = where;
    seen->released = pointer;
}

static void requests_go_to_the_given_allocator(void **state)
{
    request seen = {.bytes = 0};
    const weft_allocator given = {record_allocate, record_release, &seen};
    const weft_allocator chosen = weft_memory_allocator(&given);

    (void)state;
    assert_ptr_equal(weft_memory_allocate(&chosen, 77, WEFT_MEMORY_DEVICE), &place);
    assert_int_equal(seen.bytes, 77);
    assert_int_equal(seen.where, WEFT_MEMORY_DEVICE);
    weft_memory_release(&chosen, &place, 77, WEFT_MEMORY_HOST);
    assert_ptr_equal(seen.released, &place);
    assert_int_equal(seen.where, WEFT_MEMORY_HOST);
}

static void an_allocator_that_is_left_out_is_the_default(void **state)
{
    const weft_allocator empty = {.allocate = NULL};

    (void)state;
    assert_true(weft_memory_allocator(NULL).allocate == weft_allocator_default().allocate);
    assert_true(weft_memory_allocator(&empty).allocate == weft_allocator_default().allocate);
    assert_true(weft_memory_allocator(&empty).release == weft_allocator_default().release);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_memory_is_aligned_and_writable),
        cmocka_unit_test(there_is_no_memory_for_some_requests),
        cmocka_unit_test(pinned_memory_is_plain_without_a_device),
        cmocka_unit_test(requests_go_to_the_given_allocator),
        cmocka_unit_test(an_allocator_that_is_left_out_is_the_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
