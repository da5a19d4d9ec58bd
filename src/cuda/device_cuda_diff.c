/* The diff of the CUDA device: one pass that marks what differs, one that brings it into the
 * payload's layout. All memory but the payload is given back at the end. */
#include <string.h>

#include "device_cuda.h"
#include "memory.h"

#define POOL_BYTES_MIN (UINT64_C(1) << 20)
#define POOL_SHARE     32u /* of the bytes compared: enough for 1 % of bf16 elements, twice */

typedef struct diffing {
    weft_cuda_device *device;
    const weft_allocator *allocator;
    uint64_t budget_left;
    weft_kernel_diff diff;
    uint8_t *scratch; /* all arrays of diff but the pool */
    uint64_t scratch_bytes;
} diffing;

static void *take(diffing *d, uint64_t bytes, weft_status *status)
{
    if (*status != WEFT_OK || bytes == 0) {
        return NULL;
    }
    if (bytes > d->budget_left) {
        *status = WEFT_E_OVER_BUDGET;
        return NULL;
    }
    void *pointer = weft_memory_allocate(d->allocator, bytes, WEFT_MEMORY_DEVICE);
    if (pointer == NULL) {
        *status = WEFT_E_OUT_OF_MEMORY;
        return NULL;
    }
    d->budget_left -= bytes;
    return pointer;
}

static void give_back(diffing *d, void *pointer, uint64_t bytes)
{
    if (pointer != NULL) {
        d->budget_left += bytes;
        weft_memory_release(d->allocator, pointer, bytes, WEFT_MEMORY_DEVICE);
    }
}

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + 15) & ~UINT64_C(15);
}

/* The arrays one behind the other; without memory only how many bytes they are. */
static uint64_t lay_out(diffing *d, uint8_t *scratch, uint64_t tensors, uint64_t work)
{
    uint64_t at = 0;
    weft_kernel_diff *diff = &d->diff;
#define PLACE(member, type, number)                                                                \
    do {                                                                                           \
        diff->member = scratch == NULL ? NULL : (type *)(void *)(scratch + at);                    \
        at += aligned((number) * sizeof(type));                                                    \
    } while (0)
    PLACE(tensors, weft_comparison, tensors);
    PLACE(work, weft_kernel_work, work);
    PLACE(first, uint64_t, tensors + 1);
    PLACE(where, uint64_t, work);
    PLACE(found, uint32_t, work);
    PLACE(prefix, uint32_t, work);
    PLACE(blocks, uint64_t, weft_kernel_diff_blocks(work) + 1);
    PLACE(places, weft_kernel_place, tensors);
    PLACE(counts, uint64_t, tensors);
#undef PLACE
    return at;
}

static cudaError_t upload(const diffing *d, const void *to, const void *from, uint64_t bytes)
{
    union {
        const void *constant;
        void *writable;
    } view = {.constant = to}; /* the kernels only read it */
    return bytes == 0 ? cudaSuccess
                      : cudaMemcpyAsync(view.writable, from, bytes, cudaMemcpyHostToDevice,
                                        d->device->stream);
}

/* The arrays that the host fills. */
static weft_status upload_tables(diffing *d, const weft_comparison *tensors, size_t count)
{
    uint64_t work_bytes = d->diff.work_count * sizeof(weft_kernel_work);
    uint64_t first_bytes = (count + 1) * sizeof(uint64_t);
    const weft_allocator *host = &d->device->allocator;
    uint64_t *first = weft_memory_allocate(host, first_bytes, WEFT_MEMORY_HOST);
    weft_kernel_work *work = weft_memory_allocate(host, work_bytes + 1, WEFT_MEMORY_HOST);
    weft_status status = first == NULL || work == NULL ? WEFT_E_OUT_OF_MEMORY : WEFT_OK;
    if (status == WEFT_OK) {
        (void)weft_kernel_work_comparisons(tensors, count, work, first);
        cudaError_t error = upload(d, d->diff.tensors, tensors, count * sizeof *tensors);
        error = error == cudaSuccess ? upload(d, d->diff.work, work, work_bytes) : error;
        error = error == cudaSuccess ? upload(d, d->diff.first, first, first_bytes) : error;
        error = error == cudaSuccess ? cudaStreamSynchronize(d->device->stream) : error;
        status = weft_cuda_check(d->device, error, "the tables of a diff");
    }
    weft_memory_release(host, first, first_bytes, WEFT_MEMORY_HOST);
    weft_memory_release(host, work, work_bytes + 1, WEFT_MEMORY_HOST);
    return status;
}

static weft_status open_diff(diffing *d, const weft_comparison *tensors, size_t count)
{
    weft_status status = WEFT_OK;
    d->diff.tensor_count = count;
    d->diff.work_count = weft_kernel_work_comparisons(tensors, count, NULL, NULL);
    d->diff.sums = d->device->sums;
    d->diff.result = d->device->marked;
    d->scratch_bytes = lay_out(d, NULL, count, d->diff.work_count);
    d->scratch = take(d, d->scratch_bytes, &status);
    if (status == WEFT_OK) {
        (void)lay_out(d, d->scratch, count, d->diff.work_count);
        status = upload_tables(d, tensors, count);
    }
    return status;
}

static weft_status mark_with(diffing *d, uint64_t pool_bytes)
{
    weft_status status = WEFT_OK;
    d->diff.pool = take(d, pool_bytes, &status);
    d->diff.pool_bytes = status == WEFT_OK ? pool_bytes : 0;
    if (status != WEFT_OK) {
        return status;
    }
    cudaError_t error = (cudaError_t)weft_kernel_diff_mark(d->device->stream, &d->diff);
    error = error == cudaSuccess ? cudaStreamSynchronize(d->device->stream) : error;
    return weft_cuda_check(d->device, error, "diff");
}

/* With a pool of a guessed size; where that was too small, again with what is needed. */
static weft_status mark(diffing *d, const weft_comparison *tensors, size_t count)
{
    uint64_t guess = 0;
    for (size_t i = 0; i < count; i++) {
        guess += tensors[i].elements * tensors[i].element_bytes / POOL_SHARE;
    }
    guess = guess > POOL_BYTES_MIN ? guess : POOL_BYTES_MIN;
    guess = guess < d->budget_left / 2 ? guess : d->budget_left / 2 & ~UINT64_C(15);
    weft_status status = mark_with(d, guess);
    if (status == WEFT_OK && d->device->marked->pool_bytes > guess) {
        uint64_t needed = aligned(d->device->marked->pool_bytes);
        give_back(d, d->diff.pool, d->diff.pool_bytes);
        status = mark_with(d, needed);
    }
    return status;
}

static weft_status emit(diffing *d, weft_difference *difference, size_t count)
{
    const weft_kernel_diff_result found = *d->device->marked;
    weft_status status = WEFT_OK;
    void *payload = take(d, found.payload_bytes, &status);
    cudaError_t error = cudaSuccess;
    if (status == WEFT_OK && found.payload_bytes > 0) {
        error = (cudaError_t)weft_kernel_diff_emit(d->device->stream, &d->diff, payload,
                                                   found.payload_bytes);
    }
    if (status == WEFT_OK && error == cudaSuccess && count > 0) {
        error = cudaMemcpyAsync(difference->counts, d->diff.counts, count * sizeof(uint64_t),
                                cudaMemcpyDeviceToHost, d->device->stream);
        error = error == cudaSuccess ? cudaStreamSynchronize(d->device->stream) : error;
    }
    status = status == WEFT_OK ? weft_cuda_check(d->device, error, "diff") : status;
    if (status != WEFT_OK) {
        give_back(d, payload, found.payload_bytes);
        return status;
    }
    difference->payload = payload;
    difference->payload_bytes = difference->payload_capacity = found.payload_bytes;
    difference->changed = found.changed;
    difference->digest = found.digest;
    return WEFT_OK;
}

weft_status weft_cuda_diff(const weft_device *device, const weft_comparison *tensors, size_t count,
                           const weft_allocator *allocator, uint64_t budget_bytes,
                           weft_difference *difference)
{
    diffing d = {.device = device->context, .allocator = allocator, .budget_left = budget_bytes};
    int before = weft_cuda_enter(d.device);
    weft_status status = open_diff(&d, tensors, count);
    if (status == WEFT_OK) {
        status = mark(&d, tensors, count);
    }
    if (status == WEFT_OK) {
        status = emit(&d, difference, count);
    }
    give_back(&d, d.diff.pool, d.diff.pool_bytes);
    give_back(&d, d.scratch, d.scratch_bytes);
    weft_cuda_leave(d.device, before);
    return status;
}
