/* A GPU whose context dies in the middle of a session: the weights are freed under the worker, so
 * that the write in the pause is an illegal access, after which every call of CUDA fails. The
 * worker says that its weights are lost, is idle, lets inference go on, and ends. A process of its
 * own, because nothing else can run in it afterwards. Without a GPU it is skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <cuda_runtime_api.h>

#include "bytes.h"
#include "weft.h"

#define MUST(call) assert_int_equal((int)(call), 0)
#define ELEMENTS   (UINT64_C(64) << 20) /* so many that freeing them unmaps their memory */

typedef struct seen {
    unsigned pauses, resumes, failures;
    weft_status cause;
} seen;

static void on_pause(void *context, uint64_t epoch)
{
    (void)epoch;
    ((seen *)context)->pauses++;
}

static void on_resume(void *context, uint64_t epoch)
{
    (void)epoch;
    ((seen *)context)->resumes++;
}

static void on_failed(void *context, const weft_detail *detail)
{
    seen *s = context;
    s->failures++;
    s->cause = detail->status;
}

static weft_status wait_for(weft_worker *worker, weft_status status)
{
    while (status == WEFT_AGAIN) {
        status = weft_worker_poll(worker);
    }
    return status;
}

static void test_weights_freed_before_the_write(void **state)
{
    (void)state;
    static const char DOCUMENT[] = "{\"names\":[\"w\"],\"dtype_names\":[\"bfloat16\"],"
                                   "\"shapes\":[[67108864]],\"num_updates_list\":[3]}";
    static const uint32_t INDICES[3] = {0, 1000, 67108863};
    seen s = {0};
    void *weights = NULL;
    uint8_t payload[24] = {0};
    weft_worker *worker;
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    weft_cuda_config cuda = WEFT_CUDA_CONFIG_INIT;
    weft_session session = WEFT_SESSION_INIT;
    weft_worker_info info;
    MUST(cudaMalloc(&weights, 2 * ELEMENTS));
    MUST(cudaMemset(weights, 0x3c, 2 * ELEMENTS));
    assert_int_equal(weft_model_create(&config.model, NULL), WEFT_OK);
    assert_int_equal(weft_model_add(config.model, &(weft_tensor){.name = "w",
                                                                 .dtype = WEFT_BF16,
                                                                 .rank = 1,
                                                                 .shape = {ELEMENTS},
                                                                 .data = weights}),
                     WEFT_OK);
    assert_int_equal(weft_device_cuda_create(&config.device, &cuda), WEFT_OK);
    config.hooks =
        (weft_hooks){.context = &s, .pause = on_pause, .resume = on_resume, .failed = on_failed};
    assert_int_equal(weft_worker_create(&worker, &config), WEFT_OK);
    for (size_t k = 0; k < 3; k++) {
        weft_put32(payload + 4 * k, INDICES[k]);
        weft_put16(payload + 16 + 2 * k, (uint16_t)(0x100 + k));
    }
    assert_int_equal(weft_worker_start(worker, &session), WEFT_OK);
    weft_status status =
        weft_worker_update(worker, DOCUMENT, strlen(DOCUMENT), payload, sizeof payload);
    assert_int_equal(wait_for(worker, status), WEFT_OK);
    MUST(cudaFree(weights));
    status = wait_for(worker, weft_worker_finish(worker));
    assert_int_equal(status, WEFT_E_DEVICE_FAILED);
    (void)fprintf(stderr, "CUDA says: %s\n", weft_device_text(config.device));
    assert_int_not_equal(cudaDeviceSynchronize(), cudaSuccess); /* it is a sticky one */
    assert_true(weft_device_text(config.device)[0] != '\0');
    weft_worker_get_info(worker, &info);
    assert_int_equal(info.state, WEFT_IDLE);
    assert_int_equal(info.condition, WEFT_LOST);
    assert_int_equal(info.version, 0);
    assert_int_equal(info.digest, 0);
    assert_int_equal(info.session_bytes, 0);
    assert_int_equal(s.failures, 1);
    assert_int_equal(s.cause, WEFT_E_DEVICE_FAILED);
    assert_true(s.pauses == 1 && s.resumes == 1);
    assert_int_equal(weft_worker_start(worker, &session), WEFT_E_LOST);
    weft_worker_destroy(worker);
    weft_device_destroy(config.device);
    weft_model_destroy(config.model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_freed_before_the_write),
    };
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        (void)fprintf(stderr, "skipped: there is no GPU here\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
