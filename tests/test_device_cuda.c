/* Sessions whose weights live on a GPU: the same bits as on the host, rolled back where they fail,
 * and written between two steps of inference. Without a GPU everything is skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <cuda_runtime_api.h>

#include "bytes.h"
#include "device_model.h"
#include "support.h"
#include "weft.h"

#define MUST(call) assert_int_equal((int)(call), 0)

static bool is_there(void)
{
    int devices = 0;
    return cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0;
}

/* ---- models in device memory ---- */

typedef struct gpu_model {
    weft_model *model;
    uint8_t *memory;
    size_t bytes;
} gpu_model;

static size_t aligned(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

static size_t tensor_bytes(const weft_model *model, size_t i)
{
    return (size_t)weft_model_elements(model, i) *
           weft_dtype_bytes(weft_model_tensor(model, i)->dtype);
}

/* The same registry in device memory; only the elements' alignment is kept. */
static gpu_model gpu_create(const test_model *from)
{
    gpu_model made = {.bytes = 16};
    size_t at = 0;
    for (size_t i = 0; i < weft_model_count(from->model); i++) {
        made.bytes += aligned(tensor_bytes(from->model, i)) + 16;
    }
    void *memory = NULL;
    MUST(cudaMalloc(&memory, made.bytes));
    made.memory = memory;
    assert_int_equal(weft_model_create(&made.model, NULL), WEFT_OK);
    for (size_t i = 0; i < weft_model_count(from->model); i++) {
        weft_tensor tensor = *weft_model_tensor(from->model, i);
        at += i % 2 == 0 ? 0 : weft_dtype_bytes(tensor.dtype);
        tensor.data = made.memory + at;
        assert_int_equal(weft_model_add(made.model, &tensor), WEFT_OK);
        at = aligned(at + tensor_bytes(from->model, i));
    }
    return made;
}

static void gpu_destroy(gpu_model *gpu)
{
    weft_model_destroy(gpu->model);
    MUST(cudaFree(gpu->memory));
}

static void gpu_fill(const gpu_model *gpu, const test_model *from)
{
    for (size_t i = 0; i < weft_model_count(from->model); i++) {
        MUST(cudaMemcpy(weft_model_tensor(gpu->model, i)->data,
                        weft_model_tensor(from->model, i)->data, tensor_bytes(from->model, i),
                        cudaMemcpyHostToDevice));
    }
}

static bool gpu_equal(const gpu_model *gpu, const test_model *expected)
{
    bool equal = true;
    for (size_t i = 0; i < weft_model_count(expected->model); i++) {
        size_t bytes = tensor_bytes(expected->model, i);
        uint8_t *copy = malloc(bytes + 1);
        assert_non_null(copy);
        MUST(cudaMemcpy(copy, weft_model_tensor(gpu->model, i)->data, bytes,
                        cudaMemcpyDeviceToHost));
        equal = equal && memcmp(copy, weft_model_tensor(expected->model, i)->data, bytes) == 0;
        free(copy);
    }
    return equal;
}

/* ---- a trainer and a worker on one GPU ---- */

typedef struct pair {
    test_random random;
    test_model *current, *base; /* what the trainer's and the worker's weights should be */
    gpu_model training, serving;
    const weft_device *train_device, *serve_device;
    weft_trainer *trainer;
    weft_worker *worker;
    uint32_t here, there;
    uint64_t now_ns;
    cudaStream_t inference;
} pair;

static pair *create_with(size_t tensors, weft_baseline_policy baseline, uint64_t update_bytes,
                         bool pinned_base)
{
    pair *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->random = test_random_start();
    p->current = test_model_create(&p->random, tensors);
    p->base = test_model_copy(&p->random, p->current);
    p->training = gpu_create(p->current);
    p->serving = gpu_create(p->base);
    gpu_fill(&p->training, p->current);
    gpu_fill(&p->serving, p->base);
    MUST(cudaStreamCreateWithFlags(&p->inference, cudaStreamNonBlocking));
    weft_cuda_config cuda = WEFT_CUDA_CONFIG_INIT;
    assert_int_equal(weft_device_cuda_create(&p->train_device, &cuda), WEFT_OK);
    cuda.put_stream = p->inference;
    assert_int_equal(weft_device_cuda_create(&p->serve_device, &cuda), WEFT_OK);
    weft_trainer_config trainer = WEFT_TRAINER_CONFIG_INIT;
    weft_worker_config worker = WEFT_WORKER_CONFIG_INIT;
    trainer.model = p->training.model;
    trainer.device = p->train_device;
    trainer.update_bytes = update_bytes;
    trainer.pinned_base = pinned_base;
    worker.model = p->serving.model;
    worker.device = p->serve_device;
    worker.baseline = baseline;
    assert_int_equal(weft_trainer_create(&p->trainer, &trainer), WEFT_OK);
    assert_int_equal(weft_worker_create(&p->worker, &worker), WEFT_OK);
    assert_int_equal(weft_worker_link_open(p->worker, &p->here), WEFT_OK);
    assert_int_equal(weft_trainer_link_open(p->trainer, &p->there), WEFT_OK);
    return p;
}

static pair *create(size_t tensors, weft_baseline_policy baseline, uint64_t update_bytes)
{
    return create_with(tensors, baseline, update_bytes, false);
}

static void destroy(pair *p)
{
    weft_worker_destroy(p->worker);
    weft_trainer_destroy(p->trainer);
    weft_device_destroy(p->serve_device);
    weft_device_destroy(p->train_device);
    MUST(cudaStreamDestroy(p->inference));
    gpu_destroy(&p->training);
    gpu_destroy(&p->serving);
    test_model_destroy(p->current);
    test_model_destroy(p->base);
    MUST(cudaGetLastError());
    free(p);
}

static bool move(pair *p)
{
    weft_span spans[WEFT_SPANS_MAX];
    if (weft_worker_send(p->worker, p->here, spans) > 0) {
        size_t length = spans[0].length;
        assert_int_equal(weft_trainer_receive(p->trainer, p->there, spans[0].data, length),
                         WEFT_OK);
        weft_worker_sent(p->worker, p->here, length);
        return true;
    }
    if (weft_trainer_send(p->trainer, p->there, spans) > 0) {
        size_t length = spans[0].length;
        assert_int_equal(weft_worker_receive(p->worker, p->here, spans[0].data, length), WEFT_OK);
        weft_trainer_sent(p->trainer, p->there, length);
        return true;
    }
    return false;
}

static void turn(pair *p)
{
    p->now_ns += 1000;
    weft_trainer_tick(p->trainer, p->now_ns);
    weft_worker_tick(p->worker, p->now_ns);
    while (move(p)) {
    }
}

static weft_status push(pair *p, weft_kind kind, uint64_t version)
{
    turn(p);
    weft_status status = weft_trainer_push(p->trainer, kind, version);
    assert_int_equal(status, WEFT_OK);
    while ((status = weft_trainer_result(p->trainer, NULL)) == WEFT_AGAIN) {
        turn(p);
    }
    return status;
}

static void check_held(const pair *p, const test_model *content, uint64_t version)
{
    weft_worker_info info;
    uint64_t digest;
    weft_worker_get_info(p->worker, &info);
    assert_int_equal(weft_model_digest(content->model, weft_device_host(), &digest), WEFT_OK);
    assert_int_equal(info.state, WEFT_IDLE);
    assert_int_equal(info.condition, WEFT_INTACT);
    assert_int_equal(info.version, version);
    assert_int_equal(info.digest, digest);
    assert_int_equal(info.session_bytes, 0);
    assert_true(gpu_equal(&p->serving, content));
}

static void push_and_check(pair *p, weft_kind kind, unsigned per_mille, uint64_t version)
{
    weft_trainer_info info;
    test_model_change(&p->random, p->current, per_mille);
    gpu_fill(&p->training, p->current);
    assert_int_equal(push(p, kind, version), WEFT_OK);
    check_held(p, p->current, version);
    weft_trainer_get_info(p->trainer, &info);
    assert_int_equal(info.base_version, version);
}

static void test_sessions(void **state)
{
    (void)state;
    pair *p = create(60, WEFT_BASELINE_AUTO, 0);
    check_held(p, p->base, 0);
    push_and_check(p, WEFT_SPARSE, 10, 1);
    push_and_check(p, WEFT_SPARSE, 500, 2);
    push_and_check(p, WEFT_SPARSE, 0, 3);
    push_and_check(p, WEFT_BASELINE, 1000, 4);
    push_and_check(p, WEFT_SPARSE, 1000, 5);
    destroy(p);
}

/* Diff, digest and put work on host memory as they stand; each push builds on what the last one put
 * there. */
static void test_pinned_base(void **state)
{
    (void)state;
    pair *p = create_with(60, WEFT_BASELINE_AUTO, 0, true);
    push_and_check(p, WEFT_SPARSE, 10, 1);
    push_and_check(p, WEFT_SPARSE, 500, 2);
    push_and_check(p, WEFT_BASELINE, 1000, 3);
    push_and_check(p, WEFT_SPARSE, 1000, 4);
    push_and_check(p, WEFT_SPARSE, 0, 5);
    destroy(p);
}

/* It is page-locked memory, which the device knows, and other memory than the device's. */
static void test_kinds_of_memory(void **state)
{
    (void)state;
    static const enum cudaMemoryType EXPECTED[3] = {cudaMemoryTypeUnregistered,
                                                    cudaMemoryTypeDevice, cudaMemoryTypeHost};
    const weft_device *device;
    weft_cuda_config cuda = WEFT_CUDA_CONFIG_INIT;
    assert_int_equal(weft_device_cuda_create(&device, &cuda), WEFT_OK);
    const weft_allocator *allocator = &device->allocator;
    for (unsigned where = 0; where < 3; where++) {
        struct cudaPointerAttributes about;
        void *memory = allocator->allocate(allocator->context, 1000, (weft_memory)where);
        assert_non_null(memory);
        MUST(cudaPointerGetAttributes(&about, memory));
        assert_int_equal(about.type, EXPECTED[where]);
        if (where == WEFT_MEMORY_PINNED) {
            assert_ptr_equal(about.devicePointer, memory); /* one address on both sides */
        }
        allocator->release(allocator->context, memory, 1000, (weft_memory)where);
    }
    weft_device_destroy(device);
}

/* A model goes there and comes back to the bit. */
static void test_model_there_and_back(void **state)
{
    (void)state;
    test_random random = test_random_start();
    test_model *from = test_model_create(&random, 60), *to = test_model_copy(&random, from);
    const weft_device *device;
    weft_cuda_config cuda = WEFT_CUDA_CONFIG_INIT;
    weft_device_model there;
    uint64_t expected, digest;
    assert_int_equal(weft_device_cuda_create(&device, &cuda), WEFT_OK);
    assert_int_equal(weft_device_model_create(&there, from->model, device, NULL, device->memory),
                     WEFT_OK);
    assert_int_equal(weft_model_digest(there.model, device, &digest), WEFT_OK);
    assert_int_equal(weft_model_digest(from->model, weft_device_host(), &expected), WEFT_OK);
    assert_int_equal(digest, expected);
    test_model_change(&random, to, 1000);
    assert_int_equal(weft_device_model_fetch(&there, to->model), WEFT_OK);
    assert_true(test_model_equal(to, from));
    assert_non_null(device->mark); /* NVTX: tests/test_device_cuda_mark.c */
    weft_device_model_destroy(&there);
    weft_device_destroy(device);
    test_model_destroy(from);
    test_model_destroy(to);
}

static void test_several_updates(void **state)
{
    (void)state;
    pair *p = create(60, WEFT_BASELINE_STAGED, 3000);
    push_and_check(p, WEFT_SPARSE, 200, 1);
    push_and_check(p, WEFT_BASELINE, 200, 2);
    destroy(p);
    p = create(60, WEFT_BASELINE_STREAMED, 3000);
    push_and_check(p, WEFT_BASELINE, 200, 1);
    push_and_check(p, WEFT_SPARSE, 200, 2);
    destroy(p);
}

/* ---- the way back ---- */

static void test_abort_in_every_turn(void **state)
{
    (void)state;
    pair *p = create(40, WEFT_BASELINE_AUTO, 8000);
    turn(p);
    for (unsigned moves = 0, version = 1;; moves++, version++) {
        test_model *before = test_model_copy(&p->random, p->current);
        uint64_t held = version - 1;
        test_model_change(&p->random, p->current, 100);
        gpu_fill(&p->training, p->current);
        assert_int_equal(weft_trainer_push(p->trainer, WEFT_SPARSE, version), WEFT_OK);
        for (unsigned i = 0; i < moves; i++) {
            weft_worker_tick(p->worker, ++p->now_ns);
            (void)move(p);
        }
        weft_status aborted = weft_trainer_abort(p->trainer);
        while (weft_trainer_result(p->trainer, NULL) == WEFT_AGAIN) {
            turn(p);
        }
        if (aborted == WEFT_OK) {
            check_held(p, before, held);
        }
        test_model_destroy(before);
        if (aborted != WEFT_OK) {
            assert_true(moves > 10);
            break;
        }
        assert_int_equal(push(p, WEFT_SPARSE, version), WEFT_OK); /* and then for good */
        check_held(p, p->current, version);
    }
    destroy(p);
}

static void test_local_control(void **state)
{
    (void)state;
    void *weights = NULL;
    uint16_t before[8], after[8];
    weft_worker *worker;
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    weft_cuda_config cuda = WEFT_CUDA_CONFIG_INIT;
    weft_session session = WEFT_SESSION_INIT;
    weft_worker_info info;
    static const char DOCUMENT[] = "{\"names\":[\"w\"],\"dtype_names\":[\"bfloat16\"],"
                                   "\"shapes\":[[8]],\"num_updates_list\":[3]}";
    static const uint32_t INDICES[4][3] = {{0, 1, 8}, {0, 1, UINT32_MAX}, {2, 1, 3}, {0, 1, 1}};
    static const weft_status EXPECTED[4] = {WEFT_E_INDEX_OUT_OF_BOUNDS, WEFT_E_INDEX_OUT_OF_BOUNDS,
                                            WEFT_E_INDEX_ORDER, WEFT_E_INDEX_ORDER};
    memset(before, 0x5a, sizeof before);
    MUST(cudaMalloc(&weights, sizeof before));
    MUST(cudaMemcpy(weights, before, sizeof before, cudaMemcpyHostToDevice));
    assert_int_equal(weft_model_create(&config.model, NULL), WEFT_OK);
    assert_int_equal(weft_model_add(config.model, &(weft_tensor){.name = "w",
                                                                 .dtype = WEFT_BF16,
                                                                 .rank = 1,
                                                                 .shape = {8},
                                                                 .data = weights}),
                     WEFT_OK);
    assert_int_equal(weft_device_cuda_create(&config.device, &cuda), WEFT_OK);
    assert_int_equal(weft_worker_create(&worker, &config), WEFT_OK);
    for (size_t i = 0; i < 4; i++) {
        uint8_t payload[24] = {0};
        for (size_t k = 0; k < 3; k++) {
            weft_put32(payload + 4 * k, INDICES[i][k]);
            weft_put16(payload + 16 + 2 * k, (uint16_t)(0x100 + k));
        }
        assert_int_equal(weft_worker_start(worker, &session), WEFT_OK);
        weft_status status =
            weft_worker_update(worker, DOCUMENT, strlen(DOCUMENT), payload, sizeof payload);
        while (status == WEFT_AGAIN) {
            status = weft_worker_poll(worker);
        }
        assert_int_equal(status, EXPECTED[i]);
        weft_worker_get_info(worker, &info);
        assert_int_equal(info.state, WEFT_IDLE);
        assert_int_equal(weft_worker_detail(worker)->status, EXPECTED[i]);
        assert_string_equal(weft_worker_detail(worker)->tensor, "w");
        MUST(cudaMemcpy(after, weights, sizeof after, cudaMemcpyDeviceToHost));
        assert_memory_equal(after, before, sizeof after);
    }
    static const uint32_t RIGHT[3] = {0, 1, 7}; /* and then one that is right */
    uint8_t payload[24] = {0};
    for (size_t k = 0; k < 3; k++) {
        weft_put32(payload + 4 * k, RIGHT[k]);
        weft_put16(payload + 16 + 2 * k, (uint16_t)(0x100 + k));
        before[RIGHT[k]] = (uint16_t)(0x100 + k);
    }
    assert_int_equal(weft_worker_start(worker, &session), WEFT_OK);
    weft_status status =
        weft_worker_update(worker, DOCUMENT, strlen(DOCUMENT), payload, sizeof payload);
    while (status == WEFT_AGAIN) {
        status = weft_worker_poll(worker);
    }
    assert_int_equal(status, WEFT_OK);
    status = weft_worker_finish(worker);
    while (status == WEFT_AGAIN) {
        status = weft_worker_poll(worker);
    }
    assert_int_equal(status, WEFT_OK);
    MUST(cudaMemcpy(after, weights, sizeof after, cudaMemcpyDeviceToHost));
    assert_memory_equal(after, before, sizeof after);
    weft_worker_destroy(worker);
    weft_device_destroy(config.device);
    weft_model_destroy(config.model);
    MUST(cudaFree(weights));
}

/* ---- inference goes on ---- */

#define SNAPSHOTS 400u

/* Copies of all weights in the stream of inference stand for its forward steps: each must have seen
 * one version and no mixture, though no thread waits for anything. */
static void test_inference_sees_no_mixture(void **state)
{
    (void)state;
    pair *p = create(60, WEFT_BASELINE_AUTO, 0);
    test_model *before = test_model_copy(&p->random, p->base);
    size_t bytes = p->serving.bytes;
    void *snapshots = NULL;
    unsigned taken = 0, of_new = 0, of_old = 0;
    MUST(cudaMalloc(&snapshots, SNAPSHOTS * bytes));
    test_model_change(&p->random, p->current, 500);
    gpu_fill(&p->training, p->current);
    turn(p);
    assert_int_equal(weft_trainer_push(p->trainer, WEFT_SPARSE, 1), WEFT_OK);
    while (weft_trainer_result(p->trainer, NULL) == WEFT_AGAIN || taken < SNAPSHOTS) {
        if (taken < SNAPSHOTS) {
            MUST(cudaMemcpyAsync((uint8_t *)snapshots + taken++ * bytes, p->serving.memory, bytes,
                                 cudaMemcpyDeviceToDevice, p->inference));
        }
        weft_trainer_tick(p->trainer, ++p->now_ns);
        weft_worker_tick(p->worker, p->now_ns);
        (void)move(p);
    }
    MUST(cudaDeviceSynchronize());
    assert_int_equal(weft_trainer_result(p->trainer, NULL), WEFT_OK);
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        gpu_model seen = {.memory = (uint8_t *)snapshots + i * bytes};
        assert_int_equal(weft_model_create(&seen.model, NULL), WEFT_OK);
        for (size_t t = 0; t < weft_model_count(p->serving.model); t++) {
            weft_tensor tensor = *weft_model_tensor(p->serving.model, t);
            tensor.data = seen.memory + ((uint8_t *)tensor.data - p->serving.memory);
            assert_int_equal(weft_model_add(seen.model, &tensor), WEFT_OK);
        }
        bool is_new = gpu_equal(&seen, p->current);
        assert_true(is_new || gpu_equal(&seen, before));
        assert_true(is_new || of_new == 0); /* once new, always new */
        of_new += is_new ? 1 : 0;
        of_old += is_new ? 0 : 1;
        weft_model_destroy(seen.model);
    }
    assert_true(of_new > 0 && of_old > 0);
    MUST(cudaFree(snapshots));
    test_model_destroy(before);
    destroy(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions),        cmocka_unit_test(test_pinned_base),
        cmocka_unit_test(test_kinds_of_memory), cmocka_unit_test(test_model_there_and_back),
        cmocka_unit_test(test_several_updates), cmocka_unit_test(test_abort_in_every_turn),
        cmocka_unit_test(test_local_control),   cmocka_unit_test(test_inference_sees_no_mixture),
    };
    if (!is_there()) {
        (void)fprintf(stderr, "skipped: there is no GPU here\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
