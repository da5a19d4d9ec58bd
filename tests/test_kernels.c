/* The kernels against the host device, bit for bit, over random cases. Every case has one block of
 * memory on the host and a copy of it on the device, laid out alike, so that comparing the whole
 * blocks also finds writes to where nothing should be written.
 *
 *   test_kernels [--small]      --small: for compute-sanitizer
 *   WEFT_SEED                   repeats a run */
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "digest.h"
#include "support.h"
#include "weft_kernels.h"

#define CHECK(condition) ((condition) ? (void)0 : fail(__FILE__, __LINE__, #condition, cudaSuccess))
#define CUDA(call)                                                                                 \
    do {                                                                                           \
        int error = (int)(call);                                                                   \
        if (error != 0) {                                                                          \
            fail(__FILE__, __LINE__, #call, error);                                                \
        }                                                                                          \
    } while (0)

static unsigned long long checks;

__attribute__((noreturn)) static void fail(const char *file, int line, const char *text, int error)
{
    (void)fprintf(stderr, "%s:%d: %s (%s)\n", file, line, text,
                  cudaGetErrorString((cudaError_t)error));
    exit(1);
}

/* ---- memory ---- */

typedef struct test_block {
    uint8_t *host, *device, *copy;
    uint64_t bytes;
} test_block;

typedef struct test_layout {
    uint64_t used;
} test_layout;

static uint64_t place(test_layout *at, uint64_t bytes, uint64_t align, uint64_t shift)
{
    uint64_t begin = (at->used + 15) / 16 * 16 + shift * align;
    at->used = begin + bytes;
    return begin;
}

static void *device_allocate(uint64_t bytes)
{
    void *pointer = NULL;
    CUDA(cudaMalloc(&pointer, bytes == 0 ? 8 : bytes));
    return pointer;
}

static void *upload(const void *from, uint64_t bytes)
{
    void *pointer = device_allocate(bytes);
    if (bytes != 0) {
        CUDA(cudaMemcpy(pointer, from, bytes, cudaMemcpyHostToDevice));
    }
    return pointer;
}

static test_block block_create(test_random *random, uint64_t bytes)
{
    test_block made = {.bytes = bytes + 64};
    made.host = malloc(made.bytes);
    made.copy = malloc(made.bytes);
    CHECK(made.host != NULL && made.copy != NULL);
    test_random_fill(random, made.host, made.bytes);
    made.device = device_allocate(made.bytes);
    return made;
}

static void block_upload(const test_block *block)
{
    CUDA(cudaMemcpy(block->device, block->host, block->bytes, cudaMemcpyHostToDevice));
}

static void block_compare(const test_block *block)
{
    CUDA(cudaMemcpy(block->copy, block->device, block->bytes, cudaMemcpyDeviceToHost));
    CHECK(memcmp(block->copy, block->host, block->bytes) == 0);
    checks++;
}

static void block_release(test_block *block)
{
    free(block->host);
    free(block->copy);
    CUDA(cudaFree(block->device));
}

/* ---- a case of segments ---- */

typedef struct test_shape {
    size_t segments;
    uint64_t most; /* elements of a segment */
    unsigned per_mille;
    unsigned dense_of_8;
    uint8_t element_bytes, index_bytes; /* 0: any */
} test_shape;

typedef struct test_scene {
    test_block memory;
    size_t count;
    weft_segment *host, *device; /* both in host memory; pointers into memory.host, memory.device */
    weft_segment *table;         /* on the device */
    weft_kernel_table entries, targets;
    weft_kernel_sums *sums;
    weft_device_result *result; /* pinned */
} test_scene;

static const uint8_t WIDTHS[4] = {1, 2, 4, 8};

static uint64_t fill_indices(test_random *random, uint8_t *to, const weft_segment *segment,
                             unsigned per_mille, bool write)
{
    uint64_t count = 0;
    uint64_t state = test_random_next(random);
    for (uint64_t i = 0; i < segment->elements; i++) {
        state = weft_digest_mix(state + i);
        if (state % 1000 < per_mille) {
            if (write) {
                test_bits_set(to, count, segment->index_bytes, i);
            }
            count++;
        }
    }
    return count;
}

static weft_segment draw_segment(test_random *random, const test_shape *shape)
{
    weft_segment made = {.seed = test_random_next(random)};
    made.element_bytes =
        shape->element_bytes != 0 ? shape->element_bytes : WIDTHS[test_random_below(random, 4)];
    made.index_bytes =
        shape->index_bytes != 0 ? shape->index_bytes : (test_random_below(random, 2) != 0 ? 4 : 8);
    made.elements = test_random_below(random, 8) == 0 ? 0
                    : test_random_below(random, 8) == 0
                        ? 1
                        : 1 + test_random_below(random, shape->most);
    if (test_random_below(random, 8) < shape->dense_of_8) {
        made.index_bytes = 0;
    }
    return made;
}

static weft_segment at_base(const weft_segment *offsets, uint8_t *base, bool undo)
{
    weft_segment made = *offsets;
    made.target = base + (uintptr_t)offsets->target;
    made.indices = offsets->index_bytes == 0 ? NULL : base + (uintptr_t)offsets->indices;
    made.values = base + (uintptr_t)offsets->values;
    made.undo = undo ? base + (uintptr_t)offsets->undo : NULL;
    return made;
}

/* Draws segments with offsets in the place of pointers. The same random numbers are drawn twice:
 * once to count, once to write. */
static void draw_layout(test_random *random, test_scene *scene, const test_shape *shape)
{
    test_random *seeds = malloc(scene->count * sizeof *seeds);
    test_layout at = {0};
    CHECK(seeds != NULL);
    for (size_t i = 0; i < scene->count; i++) {
        weft_segment *segment = &scene->host[i];
        *segment = draw_segment(random, shape);
        seeds[i].state = test_random_next(random);
        test_random own = seeds[i];
        segment->count = segment->index_bytes == 0
                             ? segment->elements
                             : fill_indices(&own, NULL, segment, shape->per_mille, false);
        uint64_t value_bytes = segment->count * segment->element_bytes;
        uint64_t element = segment->element_bytes;
        segment->target = (void *)(uintptr_t)place(&at, segment->elements * element, element,
                                                   test_random_below(random, 4));
        segment->indices = (void *)(uintptr_t)place(&at, segment->count * segment->index_bytes, 8,
                                                    test_random_below(random, 2));
        segment->values =
            (void *)(uintptr_t)place(&at, value_bytes, 8, test_random_below(random, 2));
        segment->undo =
            (void *)(uintptr_t)place(&at, value_bytes, element, test_random_below(random, 4));
    }
    scene->memory = block_create(random, at.used);
    for (size_t i = 0; i < scene->count; i++) {
        test_random own = seeds[i];
        weft_segment offsets = scene->host[i];
        bool undo = offsets.count == 0 || test_random_below(random, 8) != 0;
        scene->host[i] = at_base(&offsets, scene->memory.host, undo);
        scene->device[i] = at_base(&offsets, scene->memory.device, undo);
        if (offsets.index_bytes != 0) {
            fill_indices(&own, scene->memory.host + (uintptr_t)offsets.indices, &offsets,
                         shape->per_mille, true);
        }
    }
    free(seeds);
}

typedef uint64_t work_function(const weft_segment *segments, size_t count, uint32_t first_segment,
                               weft_kernel_work *work);

static weft_kernel_table table_of(const test_scene *scene, work_function *build)
{
    uint64_t count = build(scene->device, scene->count, 0, NULL);
    weft_kernel_work *work = malloc(count * sizeof *work + 1);
    CHECK(work != NULL && build(scene->device, scene->count, 0, work) == count);
    weft_kernel_table table = {
        .segments = scene->table, .work = upload(work, count * sizeof *work), .work_count = count};
    free(work);
    return table;
}

static test_scene scene_create(test_random *random, const test_shape *shape)
{
    test_scene made = {.count = shape->segments};
    made.host = calloc(made.count, sizeof *made.host);
    made.device = calloc(made.count, sizeof *made.device);
    CHECK(made.host != NULL && made.device != NULL);
    draw_layout(random, &made, shape);
    block_upload(&made.memory);
    made.table = upload(made.device, made.count * sizeof *made.device);
    made.entries = table_of(&made, weft_kernel_work_entries);
    made.targets = table_of(&made, weft_kernel_work_targets);
    made.sums = device_allocate(sizeof *made.sums);
    CUDA(cudaHostAlloc((void **)&made.result, sizeof *made.result, cudaHostAllocDefault));
    return made;
}

static void scene_release(test_scene *scene)
{
    block_release(&scene->memory);
    CUDA(cudaFree(scene->table));
    CUDA(cudaFree((void *)(uintptr_t)scene->entries.work));
    CUDA(cudaFree((void *)(uintptr_t)scene->targets.work));
    CUDA(cudaFree(scene->sums));
    CUDA(cudaFreeHost(scene->result));
    free(scene->host);
    free(scene->device);
}

/* ---- running both ---- */

static bool has_undo(const test_scene *scene)
{
    for (size_t i = 0; i < scene->count; i++) {
        if (scene->host[i].undo == NULL) {
            return false;
        }
    }
    return true;
}

static weft_device_result run_host(const test_scene *scene, weft_device_operation operation)
{
    weft_device_result result;
    const weft_device *host = weft_device_host();
    CHECK(host->submit(host, operation, scene->host, scene->count, &result) == WEFT_OK);
    return result;
}

static void run_both(const test_scene *scene, weft_device_operation operation)
{
    weft_device_result host = run_host(scene, operation);
    memset(scene->result, 0xa5, sizeof *scene->result);
    switch (operation) {
    case WEFT_DEVICE_VERIFY:
        CUDA(weft_kernel_verify(NULL, &scene->entries, scene->sums, scene->result));
        break;
    case WEFT_DEVICE_PUT:
        CUDA(weft_kernel_put(NULL, &scene->entries));
        break;
    case WEFT_DEVICE_ROLLBACK:
        CUDA(weft_kernel_rollback(NULL, &scene->entries));
        break;
    case WEFT_DEVICE_DIGEST:
        CUDA(weft_kernel_digest(NULL, &scene->targets, scene->sums, scene->result));
        break;
    }
    CUDA(cudaStreamSynchronize(NULL));
    if (operation == WEFT_DEVICE_VERIFY || operation == WEFT_DEVICE_DIGEST) {
        CHECK(scene->result->status == host.status);
        CHECK(scene->result->segment == host.segment);
        CHECK(scene->result->position == host.position);
        CHECK(scene->result->found == host.found);
        CHECK(scene->result->digest == host.digest);
        checks++;
    }
}

static void check_payload_digest(test_random *random, const test_scene *scene)
{
    uint64_t begin = test_random_below(random, scene->memory.bytes / 8) * 8;
    uint64_t length = test_random_below(random, scene->memory.bytes - begin + 1);
    uint64_t offset = test_random_below(random, 100) * 8;
    if (test_random_below(random, 4) == 0) {
        length = test_random_below(random, length + 1) % 200;
    }
    CUDA(weft_kernel_payload_digest(NULL, scene->memory.device + begin, length, offset, scene->sums,
                                    scene->result));
    CUDA(cudaStreamSynchronize(NULL));
    CHECK(scene->result->status == WEFT_OK);
    CHECK(scene->result->digest ==
          weft_digest_payload(scene->memory.host + begin, (size_t)length, offset));
    checks++;
}

/* Spoils one index, now and then at the border of a chunk. */
static void plant_fault(test_random *random, const test_scene *scene)
{
    const weft_segment *segment = &scene->host[test_random_below(random, scene->count)];
    if (segment->count == 0 || segment->indices == NULL) {
        return;
    }
    uint8_t *indices =
        scene->memory.host + ((const uint8_t *)segment->indices - scene->memory.host);
    uint8_t width = segment->index_bytes;
    uint64_t position = test_random_below(random, segment->count);
    if (segment->count > WEFT_KERNEL_ENTRIES && test_random_below(random, 2) == 0) {
        position = position / WEFT_KERNEL_ENTRIES * WEFT_KERNEL_ENTRIES;
    }
    uint64_t previous = position > 0 ? test_bits_get(indices, position - 1, width) : 0;
    switch (test_random_below(random, 5)) {
    case 0:
        test_bits_set(indices, position, width, segment->elements);
        break;
    case 1:
        test_bits_set(indices, position, width, UINT64_MAX - test_random_below(random, 100));
        break;
    case 2:
        test_bits_set(indices, position, width, previous);
        break;
    case 3:
        test_bits_set(indices, position, width, test_random_below(random, previous + 1));
        break;
    default: /* a late one as well: the first must win */
        test_bits_set(indices, position, width, segment->elements);
        test_bits_set(indices, segment->count - 1, width, segment->elements + 1);
        break;
    }
}

static void check_faults(test_random *random, const test_scene *scene, unsigned rounds)
{
    uint8_t *saved = malloc(scene->memory.bytes);
    CHECK(saved != NULL);
    memcpy(saved, scene->memory.host, scene->memory.bytes);
    for (unsigned round = 0; round < rounds; round++) {
        memcpy(scene->memory.host, saved, scene->memory.bytes);
        for (uint64_t i = 0; i <= test_random_below(random, 4); i++) {
            plant_fault(random, scene);
        }
        block_upload(&scene->memory);
        run_both(scene, WEFT_DEVICE_VERIFY);
    }
    free(saved);
}

static void check_scene(test_random *random, const test_shape *shape, unsigned faults)
{
    test_scene scene = scene_create(random, shape);
    run_both(&scene, WEFT_DEVICE_DIGEST);
    run_both(&scene, WEFT_DEVICE_VERIFY);
    block_compare(&scene.memory);
    run_both(&scene, WEFT_DEVICE_PUT);
    block_compare(&scene.memory);
    run_both(&scene, WEFT_DEVICE_DIGEST);
    if (has_undo(&scene)) {
        run_both(&scene, WEFT_DEVICE_ROLLBACK);
        block_compare(&scene.memory);
    }
    for (unsigned i = 0; i < 4; i++) {
        check_payload_digest(random, &scene);
    }
    check_faults(random, &scene, faults);
    scene_release(&scene);
}

/* ---- diff ---- */

typedef struct test_pair {
    test_block memory; /* both versions */
    size_t count;
    weft_comparison *host, *device;
} test_pair;

static test_pair pair_create(test_random *random, const test_shape *shape)
{
    test_pair made = {.count = shape->segments};
    test_layout at = {0};
    made.host = calloc(made.count, sizeof *made.host);
    made.device = calloc(made.count, sizeof *made.device);
    CHECK(made.host != NULL && made.device != NULL);
    for (size_t i = 0; i < made.count; i++) {
        weft_segment drawn = draw_segment(random, shape);
        uint64_t bytes = drawn.elements * drawn.element_bytes;
        uint64_t shift = test_random_below(random, 2) * test_random_below(random, 4);
        made.device[i] = made.host[i] =
            (weft_comparison){.elements = drawn.elements,
                              .seed = drawn.seed,
                              .index_bytes = drawn.index_bytes == 8 ? 8 : 4,
                              .element_bytes = drawn.element_bytes};
        made.host[i].before = (void *)(uintptr_t)place(&at, bytes, drawn.element_bytes, shift);
        shift = test_random_below(random, 4) == 0 ? test_random_below(random, 4) : shift;
        made.host[i].after = (void *)(uintptr_t)place(&at, bytes, drawn.element_bytes, shift);
    }
    made.memory = block_create(random, at.used);
    for (size_t i = 0; i < made.count; i++) {
        weft_comparison *host = &made.host[i];
        uint64_t before = (uintptr_t)host->before;
        uint64_t after = (uintptr_t)host->after;
        host->before = made.memory.host + before;
        host->after = made.memory.host + after;
        made.device[i].before = made.memory.device + before;
        made.device[i].after = made.memory.device + after;
        memcpy(made.memory.host + after, made.memory.host + before,
               host->elements * host->element_bytes);
        for (uint64_t k = 0; k < host->elements; k++) {
            uint64_t drawn = weft_digest_mix(host->seed + k);
            if (drawn % 1000 < shape->per_mille) {
                made.memory
                    .host[after + k * host->element_bytes + (drawn >> 32) % host->element_bytes] ^=
                    (uint8_t)(1 + (drawn >> 40) % 255);
            }
        }
    }
    block_upload(&made.memory);
    return made;
}

static weft_kernel_diff diff_create(const test_pair *pair, uint64_t pool_bytes)
{
    weft_kernel_diff diff = {.tensor_count = pair->count, .pool_bytes = pool_bytes};
    uint64_t *first = malloc((pair->count + 1) * sizeof *first);
    diff.work_count = weft_kernel_work_comparisons(pair->device, pair->count, NULL, NULL);
    weft_kernel_work *work = malloc(diff.work_count * sizeof *work + 1);
    CHECK(first != NULL && work != NULL);
    CHECK(weft_kernel_work_comparisons(pair->device, pair->count, work, first) == diff.work_count);
    diff.tensors = upload(pair->device, pair->count * sizeof *pair->device);
    diff.work = upload(work, diff.work_count * sizeof *work);
    diff.first = upload(first, (pair->count + 1) * sizeof *first);
    diff.pool = device_allocate(pool_bytes);
    diff.where = device_allocate(diff.work_count * sizeof *diff.where);
    diff.found = device_allocate(diff.work_count * sizeof *diff.found);
    diff.prefix = device_allocate(diff.work_count * sizeof *diff.prefix);
    diff.blocks = device_allocate(weft_kernel_diff_blocks(diff.work_count) * sizeof *diff.blocks);
    diff.places = device_allocate(pair->count * sizeof *diff.places);
    diff.counts = device_allocate(pair->count * sizeof *diff.counts);
    diff.sums = device_allocate(sizeof *diff.sums);
    CUDA(cudaHostAlloc((void **)&diff.result, sizeof *diff.result, cudaHostAllocDefault));
    free(first);
    free(work);
    return diff;
}

static void diff_release(weft_kernel_diff *diff)
{
    CUDA(cudaFree((void *)(uintptr_t)diff->tensors));
    CUDA(cudaFree((void *)(uintptr_t)diff->work));
    CUDA(cudaFree((void *)(uintptr_t)diff->first));
    CUDA(cudaFree(diff->pool));
    CUDA(cudaFree(diff->where));
    CUDA(cudaFree(diff->found));
    CUDA(cudaFree(diff->prefix));
    CUDA(cudaFree(diff->blocks));
    CUDA(cudaFree(diff->places));
    CUDA(cudaFree(diff->counts));
    CUDA(cudaFree(diff->sums));
    CUDA(cudaFreeHost(diff->result));
}

static uint64_t align8(uint64_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

/* Runs with this pool; the payload is compared if it fits. Returns the pool that is needed. */
static uint64_t check_diff_with(const test_pair *pair, const weft_difference *host,
                                uint64_t pool_bytes, uint64_t payload_bytes)
{
    CHECK(payload_bytes <= UINT64_MAX / 2);
    weft_kernel_diff diff = diff_create(pair, pool_bytes);
    uint8_t *payload = device_allocate(payload_bytes + 8);
    uint8_t *copy = malloc(payload_bytes + 8);
    uint64_t *counts = malloc((pair->count + 1) * sizeof *counts);
    CHECK(copy != NULL && counts != NULL);
    CUDA(cudaMemset(payload, 0x5a, payload_bytes + 8));
    CUDA(weft_kernel_diff_mark(NULL, &diff));
    CUDA(weft_kernel_diff_emit(NULL, &diff, payload, payload_bytes));
    CUDA(cudaStreamSynchronize(NULL));
    CHECK(diff.result->changed == host->changed);
    CHECK(diff.result->payload_bytes == align8(host->payload_bytes));
    CUDA(cudaMemcpy(counts, diff.counts, pair->count * sizeof *counts, cudaMemcpyDeviceToHost));
    CHECK(memcmp(counts, host->counts, pair->count * sizeof *counts) == 0);
    CUDA(cudaMemcpy(copy, payload, payload_bytes + 8, cudaMemcpyDeviceToHost));
    bool fits = diff.result->pool_bytes <= pool_bytes;
    uint64_t written =
        fits && diff.result->payload_bytes <= payload_bytes ? host->payload_bytes : 0;
    if (fits) {
        CHECK(diff.result->digest == host->digest);
    }
    CHECK(written == 0 || memcmp(copy, host->payload, written) == 0);
    for (uint64_t i = written; i < payload_bytes + 8; i++) {
        CHECK(copy[i] == (i < align8(written) ? 0 : 0x5a));
    }
    uint64_t needed = diff.result->pool_bytes;
    diff_release(&diff);
    CUDA(cudaFree(payload));
    free(copy);
    free(counts);
    checks++;
    return needed;
}

static void check_diff(test_random *random, const test_shape *shape)
{
    test_pair pair = pair_create(random, shape);
    const weft_device *device = weft_device_host();
    weft_allocator allocator = weft_allocator_default();
    weft_difference host = {.counts = calloc(pair.count, sizeof(uint64_t))};
    CHECK(host.counts != NULL);
    CHECK(device->diff(device, pair.host, pair.count, &allocator, UINT64_MAX, &host) == WEFT_OK);
    uint64_t payload = align8(host.payload_bytes);
    uint64_t needed = check_diff_with(&pair, &host, payload / 2, payload);
    CHECK(check_diff_with(&pair, &host, needed, payload) == needed);
    if (payload > 0) {
        CHECK(check_diff_with(&pair, &host, needed, payload - 8) == needed);
    }
    if (host.payload != NULL) {
        allocator.release(allocator.context, host.payload, host.payload_capacity, WEFT_MEMORY_HOST);
    }
    free(host.counts);
    free(pair.host);
    free(pair.device);
    block_release(&pair.memory);
}

/* ---- the cases ---- */

static void check_widths(test_random *random, uint64_t most)
{
    for (unsigned element = 0; element < 4; element++) {
        for (uint8_t index = 4; index <= 8; index = (uint8_t)(index + 4)) {
            for (unsigned dense = 0; dense <= 8; dense += 4) {
                test_shape shape = {.segments = 1 + test_random_below(random, 8),
                                    .most = 1 + test_random_below(random, most),
                                    .per_mille = 1 + (unsigned)test_random_below(random, 1000),
                                    .dense_of_8 = dense,
                                    .element_bytes = WIDTHS[element],
                                    .index_bytes = index};
                check_scene(random, &shape, 6);
            }
        }
    }
}

static void check_densities(test_random *random, size_t segments, uint64_t most)
{
    static const unsigned PER_MILLE[] = {0, 1, 10, 500, 1000};
    for (unsigned i = 0; i < sizeof PER_MILLE / sizeof *PER_MILLE; i++) {
        test_shape shape = {.segments = segments, .most = most, .per_mille = PER_MILLE[i]};
        check_diff(random, &shape);
        check_scene(random, &shape, 2);
        for (unsigned element = 0; element < 4; element++) {
            shape.element_bytes = WIDTHS[element];
            shape.segments = 1 + segments / 4;
            check_diff(random, &shape);
        }
    }
}

int main(int count, char **arguments)
{
    bool small = count > 1 && strcmp(arguments[1], "--small") == 0;
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        printf("test_kernels: skipped, for there is no GPU here\n");
        return 77;
    }
    test_random random = test_random_start();
    check_widths(&random, small ? 9000 : 300000);
    check_densities(&random, 12, small ? 40000 : 1000000);
    check_scene(&random, &(test_shape){.segments = 1, .most = 1, .per_mille = 1000}, 4);
    check_diff(&random, &(test_shape){.segments = 1, .most = 1, .per_mille = 1000});
    test_shape many = {
        .segments = small ? 300 : 20000, .most = 40, .per_mille = 300, .dense_of_8 = 1};
    check_scene(&random, &many, 20);
    check_diff(&random, &many);
    if (!small) {
        test_shape large = {.segments = 4, .most = 40000000, .per_mille = 10};
        check_scene(&random, &large, 4);
        check_diff(&random, &large);
        check_diff(&random, &(test_shape){.segments = 20000, .most = 20000, .per_mille = 2});
    }
    printf("test_kernels: %llu comparisons, all bits equal\n", checks);
    return 0;
}
