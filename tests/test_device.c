/* What devices have in common, on machines with and without a GPU. */
#include "device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support.h"

static void test_the_host_is_static(void **state)
{
    const weft_device *host = weft_device_host();
    (void)state;
    weft_device_destroy(host);
    weft_device_destroy(NULL);
    assert_ptr_equal(weft_device_host(), host);
    assert_string_equal(weft_device_text(host), "");
    assert_string_equal(weft_device_text(NULL), "");
}

static void test_whose_allocator_is_used(void **state)
{
    test_allocator configured, of_device;
    weft_device device = *weft_device_host();
    weft_allocator none = {0};
    (void)state;
    test_allocator_start(&configured, 0);
    test_allocator_start(&of_device, 0);
    assert_ptr_equal(weft_device_allocator(&device, &none).context, NULL);
    assert_true(weft_device_allocator(&device, &none).allocate != NULL);
    device.allocator = of_device.allocator;
    assert_ptr_equal(weft_device_allocator(&device, &none).context, &of_device);
    assert_ptr_equal(weft_device_allocator(&device, &configured.allocator).context, &configured);
}

static unsigned polls_left;

static weft_poll poll_slowly(const weft_device *device)
{
    (void)device;
    if (polls_left == 0) {
        return WEFT_POLL_GONE;
    }
    return --polls_left == 0 ? WEFT_POLL_DONE : WEFT_POLL_AGAIN;
}

static void test_run_waits(void **state)
{
    weft_device device = *weft_device_host();
    uint16_t weights[3] = {1, 2, 3};
    weft_segment segment = {.target = weights, .elements = 3, .element_bytes = 2};
    weft_device_result result;
    (void)state;
    device.poll = poll_slowly;
    polls_left = 5;
    assert_int_equal(weft_device_run(&device, WEFT_DEVICE_DIGEST, &segment, 1, &result), WEFT_OK);
    assert_int_equal(polls_left, 0);
    assert_int_equal(weft_device_run(&device, WEFT_DEVICE_DIGEST, &segment, 1, &result),
                     WEFT_E_DEVICE_FAILED); /* it is gone */
    segment.element_bytes = 3;
    assert_int_equal(weft_device_run(&device, WEFT_DEVICE_DIGEST, &segment, 1, &result),
                     WEFT_E_DEVICE_FAILED); /* nothing was begun */
}

static void test_arguments_of_cuda(void **state)
{
    const weft_device *device = NULL;
    weft_cuda_config config = WEFT_CUDA_CONFIG_INIT;
    (void)state;
    assert_int_equal(weft_device_cuda_create(NULL, &config), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_device_cuda_create(&device, NULL), WEFT_E_INVALID_ARGUMENT);
    config.number = 1000;
    assert_int_equal(weft_device_cuda_create(&device, &config), WEFT_E_NO_DEVICE);
    config.size--;
    assert_int_equal(weft_device_cuda_create(&device, &config), WEFT_E_INVALID_ARGUMENT);
    assert_null(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_host_is_static),
        cmocka_unit_test(test_whose_allocator_is_used),
        cmocka_unit_test(test_run_waits),
        cmocka_unit_test(test_arguments_of_cuda),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
