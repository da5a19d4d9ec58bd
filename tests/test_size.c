/* The arithmetic of sizes. */
#include "size.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void sums_and_products_do_not_wrap(void **state)
{
    uint64_t result = 99;

    (void)state;
    assert_true(weft_size_add(UINT64_MAX - 1, 1, &result));
    assert_true(result == UINT64_MAX);
    assert_false(weft_size_add(UINT64_MAX, 1, &result));
    assert_false(weft_size_add(1, UINT64_MAX, &result));
    assert_true(result == UINT64_MAX);

    assert_true(weft_size_multiply(UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1, &result));
    assert_true(result == UINT64_MAX - UINT32_MAX);
    assert_false(weft_size_multiply(UINT64_C(1) << 32, UINT64_C(1) << 32, &result));
    assert_true(result == UINT64_MAX - UINT32_MAX);
    assert_true(weft_size_multiply(UINT64_MAX, 0, &result));
    assert_true(result == 0);
    assert_true(weft_size_multiply(0, UINT64_MAX, &result));
    assert_true(result == 0);
}

static void alignment_goes_up_to_eight(void **state)
{
    uint64_t result = 99;

    (void)state;
    assert_true(weft_size_align8(0, &result) && result == 0);
    assert_true(weft_size_align8(1, &result) && result == 8);
    assert_true(weft_size_align8(8, &result) && result == 8);
    assert_true(weft_size_align8(UINT64_MAX - 7, &result) && result == UINT64_MAX - 7);
    assert_false(weft_size_align8(UINT64_MAX - 6, &result));
    assert_true(result == UINT64_MAX - 7);
}

static void a_section_ends_at_a_multiple_of_eight(void **state)
{
    uint64_t end = 16;

    (void)state;
    assert_true(weft_size_section(3, 4, &end));
    assert_true(end == 32);
    assert_true(weft_size_section(0, 8, &end));
    assert_true(end == 32);
    assert_false(weft_size_section(UINT64_MAX / 4, 8, &end)); /* the product */
    assert_false(weft_size_section(UINT64_MAX, 1, &end));     /* the padding */
    end = UINT64_MAX - 15;
    assert_false(weft_size_section(4, 4, &end)); /* the sum */
    assert_true(end == UINT64_MAX - 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_products_do_not_wrap),
        cmocka_unit_test(alignment_goes_up_to_eight),
        cmocka_unit_test(a_section_ends_at_a_multiple_of_eight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
