/* The device `cuda`: the kernels of kernels/ behind the device operations, on one GPU.
 *
 *      stream   weft's own: uploads, verify, digest, diff
 *      put      the user's, in which inference runs: put and rollback; the two streams wait for
 *               each other by events, and no thread waits
 *
 * What a submit needs is made ready by reserve: the segments and their work list in device memory.
 * Segments that nobody reserved (the digest of a whole model, a trainer's base) get a table for one
 * submit. Every entry point sets the device and restores what the thread had. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "device_cuda.h"
#include "digest.h"
#include "memory.h"

#define PIECE_BYTES   (UINT64_C(1) << 20)
#define END_WITHIN_NS UINT64_C(2000000000) /* of kernels on memory that is given back */

static weft_cuda_device *of(const weft_device *device)
{
    return device->context;
}

/* ---- CUDA's answers, and the thread's device ---- */

weft_status weft_cuda_check(weft_cuda_device *d, cudaError_t error, const char *what)
{
    if (error == cudaSuccess) {
        return WEFT_OK;
    }
    (void)snprintf(d->text, sizeof d->text, "%s: %s (%s)", what, cudaGetErrorString(error),
                   cudaGetErrorName(error));
    return error == cudaErrorMemoryAllocation ? WEFT_E_OUT_OF_MEMORY : WEFT_E_DEVICE_FAILED;
}

int weft_cuda_enter(const weft_cuda_device *d)
{
    int before = -1;
    (void)cudaGetDevice(&before);
    if (before != d->number) {
        (void)cudaSetDevice(d->number);
    }
    return before;
}

void weft_cuda_leave(const weft_cuda_device *d, int before)
{
    if (before >= 0 && before != d->number) {
        (void)cudaSetDevice(before);
    }
}

/* ---- Memory: stream-ordered, so that nothing synchronizes the device ---- */

/* Page-locked: kernels reach it at the address that the host uses. */
static void *allocate_pinned(weft_cuda_device *d, size_t bytes)
{
    void *pointer = NULL;
    int before = weft_cuda_enter(d);
    weft_status status =
        weft_cuda_check(d, cudaHostAlloc(&pointer, bytes, cudaHostAllocDefault), "cudaHostAlloc");
    weft_cuda_leave(d, before);
    return status == WEFT_OK ? pointer : NULL;
}

/* Waits for what still uses it. */
static void release_pinned(weft_cuda_device *d, void *pointer)
{
    int before = weft_cuda_enter(d);
    (void)cudaStreamSynchronize(d->stream);
    (void)weft_cuda_check(d, cudaFreeHost(pointer), "cudaFreeHost");
    weft_cuda_leave(d, before);
}

static void *allocate(void *context, size_t bytes, weft_memory where)
{
    weft_cuda_device *d = context;
    void *pointer = NULL;
    if (where == WEFT_MEMORY_HOST) {
        return weft_memory_allocate(&d->allocator, bytes, where);
    }
    if (where == WEFT_MEMORY_PINNED) {
        return allocate_pinned(d, bytes);
    }
    int before = weft_cuda_enter(d);
    weft_status status = weft_cuda_check(
        d, cudaMallocFromPoolAsync(&pointer, bytes, d->pool, d->stream), "cudaMallocFromPoolAsync");
    if (status == WEFT_OK) { /* it may be used in any stream from now on */
        status = weft_cuda_check(d, cudaStreamSynchronize(d->stream), "cudaMallocAsync");
    }
    weft_cuda_leave(d, before);
    return status == WEFT_OK ? pointer : NULL;
}

static void release(void *context, void *pointer, size_t bytes, weft_memory where)
{
    weft_cuda_device *d = context;
    if (where == WEFT_MEMORY_HOST) {
        weft_memory_release(&d->allocator, pointer, bytes, where);
        return;
    }
    if (where == WEFT_MEMORY_PINNED) {
        release_pinned(d, pointer);
        return;
    }
    int before = weft_cuda_enter(d);
    (void)weft_cuda_check(d, cudaFreeAsync(pointer, d->stream), "cudaFreeAsync");
    weft_cuda_leave(d, before);
}

/* ---- Tables ---- */

static void free_arrays(weft_cuda_device *d, weft_cuda_table *t)
{
    (void)cudaFreeAsync(t->segments, d->stream);
    (void)cudaFreeAsync(t->work, d->stream);
    (void)cudaFreeHost(t->staged_segments);
    (void)cudaFreeHost(t->staged_work);
    weft_memory_release(&d->allocator, t->first, (t->segments_capacity + 1) * sizeof *t->first,
                        WEFT_MEMORY_HOST);
    t->first = NULL;
    t->segments = t->staged_segments = NULL;
    t->work = t->staged_work = NULL;
    t->segments_capacity = 0;
    t->work_capacity = 0;
}

static void destroy_table(weft_cuda_device *d, weft_cuda_table *t)
{
    free_arrays(d, t);
    if (t->uploaded != NULL) {
        (void)cudaEventDestroy(t->uploaded);
    }
    weft_memory_release(&d->allocator, t, sizeof *t, WEFT_MEMORY_HOST);
}

/* Keeps it for the next session, which needs about the same. */
static void give_back_table(weft_cuda_device *d, weft_cuda_table *t)
{
    if (d->spare_count == WEFT_CUDA_SPARES_MAX) {
        destroy_table(d, t);
        return;
    }
    t->host = NULL;
    t->next = d->spares;
    d->spares = t;
    d->spare_count++;
}

/* A spare one or a new one; NULL if there is no memory. What was last uploaded from its page-locked
 * arrays is done. */
static weft_cuda_table *take_table(weft_cuda_device *d)
{
    weft_cuda_table *t = d->spares;
    if (t != NULL) {
        d->spares = t->next;
        d->spare_count--;
        (void)cudaEventSynchronize(t->uploaded);
        return t;
    }
    t = weft_memory_allocate(&d->allocator, sizeof *t, WEFT_MEMORY_HOST);
    if (t == NULL) {
        return NULL;
    }
    *t = (weft_cuda_table){0};
    cudaError_t error = cudaEventCreateWithFlags(&t->uploaded, cudaEventDisableTiming);
    if (weft_cuda_check(d, error, "a table") != WEFT_OK) {
        weft_memory_release(&d->allocator, t, sizeof *t, WEFT_MEMORY_HOST);
        return NULL;
    }
    return t;
}

static uint64_t work_of(const weft_segment *segments, size_t count, bool of_targets,
                        uint32_t first_segment, weft_kernel_work *work)
{
    return of_targets ? weft_kernel_work_targets(segments, count, first_segment, work)
                      : weft_kernel_work_entries(segments, count, first_segment, work);
}

/* Larger arrays for so many segments and chunks; what the old ones held is uploaded again. */
static weft_status grow(weft_cuda_device *d, weft_cuda_table *t, size_t count, uint64_t work_count)
{
    size_t segments = count > t->segments_capacity ? count + count / 2 : t->segments_capacity;
    uint64_t work = work_count > t->work_capacity ? work_count + work_count / 2 : t->work_capacity;
    (void)cudaEventSynchronize(t->uploaded);
    free_arrays(d, t);
    t->segments_capacity = segments;
    t->work_capacity = work;
    t->first =
        weft_memory_allocate(&d->allocator, (segments + 1) * sizeof *t->first, WEFT_MEMORY_HOST);
    if (t->first == NULL) {
        return WEFT_E_OUT_OF_MEMORY;
    }
    void *pointers[4] = {NULL};
    uint64_t bytes[2] = {(segments + 1) * sizeof *t->segments, (work + 1) * sizeof *t->work};
    cudaError_t error = cudaMallocFromPoolAsync(&pointers[0], bytes[0], d->pool, d->stream);
    error = error == cudaSuccess
                ? cudaMallocFromPoolAsync(&pointers[1], bytes[1], d->pool, d->stream)
                : error;
    error = error == cudaSuccess ? cudaHostAlloc(&pointers[2], bytes[0], 0) : error;
    error = error == cudaSuccess ? cudaHostAlloc(&pointers[3], bytes[1], 0) : error;
    t->segments = pointers[0];
    t->work = pointers[1];
    t->staged_segments = pointers[2];
    t->staged_work = pointers[3];
    return weft_cuda_check(d, error, "a table");
}

/* Both arrays anew, from page-locked memory, so that nobody waits for the copy. */
static weft_status upload(weft_cuda_device *d, weft_cuda_table *t, const weft_segment *segments,
                          size_t count, bool of_targets)
{
    uint64_t work_count = work_of(segments, count, of_targets, 0, NULL);
    weft_status status = WEFT_OK;
    if (count > t->segments_capacity || work_count > t->work_capacity || t->first == NULL) {
        status = grow(d, t, count, work_count);
    }
    if (status != WEFT_OK) {
        return status;
    }
    (void)cudaEventSynchronize(t->uploaded);
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        t->first[i] = at;
        at += work_of(segments + i, 1, of_targets, (uint32_t)i, t->staged_work + at);
    }
    t->first[count] = at;
    t->count = count;
    t->work_count = at;
    memcpy(t->staged_segments, segments, count * sizeof *segments);
    cudaError_t error = cudaMemcpyAsync(t->work, t->staged_work, at * sizeof *t->work,
                                        cudaMemcpyHostToDevice, d->stream);
    error = error == cudaSuccess
                ? cudaMemcpyAsync(t->segments, t->staged_segments, count * sizeof *segments,
                                  cudaMemcpyHostToDevice, d->stream)
                : error;
    error = error == cudaSuccess ? cudaEventRecord(t->uploaded, d->stream) : error;
    return weft_cuda_check(d, error, "a table");
}

static weft_status make_table(weft_cuda_device *d, const weft_segment *segments, size_t count,
                              bool of_targets, weft_cuda_table **made)
{
    weft_cuda_table *t = take_table(d);
    if (t == NULL) {
        return WEFT_E_OUT_OF_MEMORY;
    }
    weft_status status = upload(d, t, segments, count, of_targets);
    if (status != WEFT_OK) {
        destroy_table(d, t);
        return status;
    }
    *made = t;
    return WEFT_OK;
}

static weft_cuda_table *find(const weft_cuda_device *d, const weft_segment *segments, size_t count)
{
    for (weft_cuda_table *t = d->tables; t != NULL; t = t->next) {
        if (segments >= t->host && segments + count <= t->host + t->count) {
            return t;
        }
    }
    return NULL;
}

static bool is_aligned(const weft_segment *segment)
{
    uintptr_t element =
        (uintptr_t)segment->target | (uintptr_t)segment->values | (uintptr_t)segment->undo;
    uintptr_t index = (uintptr_t)segment->indices;
    return element % segment->element_bytes == 0 &&
           (segment->indices == NULL || index % segment->index_bytes == 0);
}

static weft_status check_alignment(weft_cuda_device *d, const weft_segment *segments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!is_aligned(&segments[i])) {
            (void)snprintf(d->text, sizeof d->text, "tensor %u is not aligned to its elements",
                           segments[i].tensor);
            return WEFT_E_DEVICE_FAILED;
        }
    }
    return WEFT_OK;
}

static weft_status reserve(const weft_device *device, const weft_segment *segments, size_t count)
{
    weft_cuda_device *d = of(device);
    int before = weft_cuda_enter(d);
    weft_status status = check_alignment(d, segments, count);
    weft_cuda_table *t = d->tables;
    while (t != NULL && t->host != segments) {
        t = t->next;
    }
    if (status == WEFT_OK && t == NULL) {
        status = make_table(d, segments, count, false, &t);
        if (status == WEFT_OK) {
            t->host = segments;
            t->next = d->tables;
            d->tables = t;
        }
    } else if (status == WEFT_OK) {
        status = upload(d, t, segments, count, false);
    }
    weft_cuda_leave(d, before);
    return status;
}

static void forget(const weft_device *device, const weft_segment *segments)
{
    weft_cuda_device *d = of(device);
    int before = weft_cuda_enter(d);
    uint64_t end_ns = weft_clock_ns() + END_WITHIN_NS;
    while (!d->lost && device->poll(device) == WEFT_POLL_AGAIN) {
        d->lost = weft_clock_ns() > end_ns;
    }
    for (weft_cuda_table **at = &d->tables; *at != NULL; at = &(*at)->next) {
        weft_cuda_table *t = *at;
        if (t->host == segments) {
            *at = t->next;
            give_back_table(d, t);
            break;
        }
    }
    weft_cuda_leave(d, before);
}

/* ---- Operations ---- */

static cudaError_t launch(weft_cuda_device *d, weft_device_operation operation,
                          const weft_kernel_table *work, weft_device_result *result)
{
    switch (operation) {
    case WEFT_DEVICE_VERIFY:
        return (cudaError_t)weft_kernel_verify(d->stream, work, d->sums, result);
    case WEFT_DEVICE_DIGEST:
        return (cudaError_t)weft_kernel_digest(d->stream, work, d->sums, result);
    case WEFT_DEVICE_PUT:
        return (cudaError_t)weft_kernel_put(d->put, work);
    case WEFT_DEVICE_ROLLBACK:
        return (cudaError_t)weft_kernel_rollback(d->put, work);
    }
    return cudaErrorInvalidValue;
}

static bool writes(weft_device_operation operation)
{
    return operation == WEFT_DEVICE_PUT || operation == WEFT_DEVICE_ROLLBACK;
}

/* Writing happens in the stream of inference, after what weft's own has done so far, and what that
 * does next comes after the writing. */
static weft_status enqueue(weft_cuda_device *d, weft_device_operation operation,
                           const weft_kernel_table *work, weft_device_result *result)
{
    cudaError_t error = cudaSuccess;
    if (writes(operation)) {
        error = cudaEventRecord(d->ready, d->stream);
        error = error == cudaSuccess ? cudaStreamWaitEvent(d->put, d->ready, 0) : error;
    }
    error = error == cudaSuccess ? launch(d, operation, work, result) : error;
    if (writes(operation)) {
        error = error == cudaSuccess ? cudaEventRecord(d->ready, d->put) : error;
        error = error == cudaSuccess ? cudaStreamWaitEvent(d->stream, d->ready, 0) : error;
    }
    error = error == cudaSuccess ? cudaEventRecord(d->done, d->stream) : error;
    return weft_cuda_check(d, error, "a kernel");
}

static weft_status submit(const weft_device *device, weft_device_operation operation,
                          const weft_segment *segments, size_t count, weft_device_result *result)
{
    weft_cuda_device *d = of(device);
    if (d->lost || d->pending_count == WEFT_CUDA_PENDING_MAX) {
        return WEFT_E_DEVICE_FAILED;
    }
    int before = weft_cuda_enter(d);
    weft_cuda_table *t = operation == WEFT_DEVICE_DIGEST ? NULL : find(d, segments, count);
    weft_status status = t == NULL ? check_alignment(d, segments, count) : WEFT_OK;
    weft_cuda_pending p = {.to = result};
    if (status == WEFT_OK && t == NULL) {
        status = make_table(d, segments, count, operation == WEFT_DEVICE_DIGEST, &p.own);
        t = p.own;
    } else if (status == WEFT_OK) {
        p.first_segment = (uint32_t)(segments - t->host);
    }
    if (status == WEFT_OK) {
        weft_device_result *pinned = &d->pinned[d->pending_count];
        p.from = writes(operation) ? NULL : pinned;
        weft_kernel_table table = {.segments = t->segments,
                                   .work = t->work + t->first[p.first_segment],
                                   .work_count = t->first[p.first_segment + count] -
                                                 t->first[p.first_segment]};
        status = enqueue(d, operation, &table, pinned);
    }
    if (status == WEFT_OK) {
        d->pendings[d->pending_count++] = p;
    } else if (p.own != NULL) {
        destroy_table(d, p.own);
    }
    weft_cuda_leave(d, before);
    return status == WEFT_OK ? WEFT_OK : WEFT_E_DEVICE_FAILED;
}

static void hand_over(weft_cuda_device *d)
{
    for (size_t i = 0; i < d->pending_count; i++) {
        const weft_cuda_pending *p = &d->pendings[i];
        *p->to = p->from != NULL ? *p->from : (weft_device_result){.status = WEFT_OK};
        if (p->to->status != WEFT_OK) {
            p->to->segment -= p->first_segment;
        }
        if (p->own != NULL) {
            give_back_table(d, p->own);
        }
    }
    d->pending_count = 0;
}

static weft_poll poll(const weft_device *device)
{
    weft_cuda_device *d = of(device);
    if (d->lost) {
        return WEFT_POLL_GONE;
    }
    int before = weft_cuda_enter(d);
    /* With nothing pending: what an upload or another user of the context may have broken. */
    cudaError_t error = d->pending_count > 0 ? cudaEventQuery(d->done) : cudaStreamQuery(d->stream);
    if (d->pending_count == 0 && error == cudaErrorNotReady) {
        error = cudaSuccess;
    }
    weft_poll answer = WEFT_POLL_DONE;
    if (error == cudaErrorNotReady) {
        answer = WEFT_POLL_AGAIN;
    } else if (error != cudaSuccess) { /* sticky: every later call fails too */
        (void)weft_cuda_check(d, error, "the device");
        d->lost = true;
        answer = WEFT_POLL_GONE;
    } else {
        hand_over(d);
    }
    weft_cuda_leave(d, before);
    return answer;
}

static weft_status copy(const weft_device *device, void *to, const void *from, uint64_t bytes)
{
    weft_cuda_device *d = of(device);
    int before = weft_cuda_enter(d);
    weft_status status = weft_cuda_check(
        d, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, d->stream), "copying to the device");
    weft_cuda_leave(d, before);
    return status;
}

static weft_status fetch(const weft_device *device, void *to, const void *from, uint64_t bytes)
{
    weft_cuda_device *d = of(device);
    int before = weft_cuda_enter(d);
    weft_status status = weft_cuda_check(
        d, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, d->stream), "fetching");
    if (status == WEFT_OK) {
        status = weft_cuda_check(d, cudaStreamSynchronize(d->stream), "fetching");
    }
    weft_cuda_leave(d, before);
    return status;
}

/* What does not begin at a multiple of 8 (a tensor that is sent as it stands, say) is digested on
 * the host, piece by piece: slow, and rare. */
static weft_status digest_unaligned(const weft_device *device, const uint8_t *bytes,
                                    uint64_t length, uint64_t offset, uint64_t *digest)
{
    const weft_allocator *host = &of(device)->allocator;
    uint64_t most = length < PIECE_BYTES ? length : PIECE_BYTES, sum = 0;
    uint8_t *piece = weft_memory_allocate(host, most, WEFT_MEMORY_HOST);
    weft_status status = piece == NULL ? WEFT_E_OUT_OF_MEMORY : WEFT_OK;
    for (uint64_t at = 0; status == WEFT_OK && at < length; at += most) {
        uint64_t part = length - at < most ? length - at : most;
        status = fetch(device, piece, bytes + at, part);
        sum += status == WEFT_OK ? weft_digest_payload(piece, (size_t)part, offset + at) : 0;
    }
    weft_memory_release(host, piece, most, WEFT_MEMORY_HOST);
    if (status == WEFT_OK) {
        *digest = sum;
    }
    return status;
}

static weft_status submit_payload_digest(const weft_device *device, const void *bytes,
                                         uint64_t length, uint64_t offset,
                                         weft_device_result *result)
{
    weft_cuda_device *d = of(device);
    if (d->lost || d->pending_count == WEFT_CUDA_PENDING_MAX || (uintptr_t)bytes % 8 != 0) {
        return WEFT_E_DEVICE_FAILED;
    }
    int before = weft_cuda_enter(d);
    weft_device_result *pinned = &d->pinned[d->pending_count];
    cudaError_t error =
        (cudaError_t)weft_kernel_payload_digest(d->stream, bytes, length, offset, d->sums, pinned);
    error = error == cudaSuccess ? cudaEventRecord(d->done, d->stream) : error;
    weft_status status = weft_cuda_check(d, error, "digesting");
    if (status == WEFT_OK) {
        d->pendings[d->pending_count++] = (weft_cuda_pending){.to = result, .from = pinned};
    }
    weft_cuda_leave(d, before);
    return status == WEFT_OK ? WEFT_OK : WEFT_E_DEVICE_FAILED;
}

/* For a trainer's plan, which waits for the diff too. */
static weft_status payload_digest(const weft_device *device, const void *bytes, uint64_t length,
                                  uint64_t offset, uint64_t *digest)
{
    weft_cuda_device *d = of(device);
    weft_device_result *pinned = &d->pinned[WEFT_CUDA_PENDING_MAX];
    if (length == 0) {
        *digest = 0;
        return WEFT_OK;
    }
    if ((uintptr_t)bytes % 8 != 0) {
        return digest_unaligned(device, bytes, length, offset, digest);
    }
    int before = weft_cuda_enter(d);
    weft_status status = weft_cuda_check(
        d,
        (cudaError_t)weft_kernel_payload_digest(d->stream, bytes, length, offset, d->sums, pinned),
        "digesting");
    if (status == WEFT_OK) {
        status = weft_cuda_check(d, cudaStreamSynchronize(d->stream), "digesting");
    }
    if (status == WEFT_OK) {
        *digest = pinned->digest;
    }
    weft_cuda_leave(d, before);
    return status;
}

/* ---- Life ---- */

static void destroy(const weft_device *device)
{
    weft_cuda_device *d = of(device);
    int before = weft_cuda_enter(d);
    (void)cudaStreamSynchronize(d->stream);
    hand_over(d);
    while (d->tables != NULL) {
        weft_cuda_table *next = d->tables->next;
        destroy_table(d, d->tables);
        d->tables = next;
    }
    while (d->spares != NULL) {
        weft_cuda_table *next = d->spares->next;
        destroy_table(d, d->spares);
        d->spares = next;
    }
    (void)cudaFreeAsync(d->sums, d->stream);
    (void)cudaStreamSynchronize(d->stream);
    (void)cudaFreeHost(d->pinned);
    (void)cudaFreeHost(d->marked);
    (void)cudaEventDestroy(d->done);
    (void)cudaEventDestroy(d->ready);
    if (d->put_is_ours) {
        (void)cudaStreamDestroy(d->put);
    }
    (void)cudaStreamDestroy(d->stream);
    if (d->pool != NULL) {
        (void)cudaMemPoolDestroy(d->pool);
    }
    weft_cuda_leave(d, before);
    weft_memory_release(&d->allocator, d, sizeof *d, WEFT_MEMORY_HOST);
}

/* A pool of its own: what a session gave back stays mapped for the next one, which otherwise pays
 * for the mapping (1.7 ms for 650 MB), and other users of the device's default pool see nothing of
 * it. */
static cudaError_t open_pool(weft_cuda_device *d, uint64_t keep_bytes)
{
    struct cudaMemPoolProps properties = {
        .allocType = cudaMemAllocationTypePinned,
        .location = {.type = cudaMemLocationTypeDevice, .id = d->number}};
    cudaError_t error = cudaMemPoolCreate(&d->pool, &properties);
    return error == cudaSuccess
               ? cudaMemPoolSetAttribute(d->pool, cudaMemPoolAttrReleaseThreshold, &keep_bytes)
               : error;
}

static weft_status open_device(weft_cuda_device *d, uint64_t keep_bytes)
{
    void *sums = NULL, *pinned = NULL, *marked = NULL;
    cudaError_t error = cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking);
    if (error == 0 && d->put_is_ours) {
        error = cudaStreamCreateWithFlags(&d->put, cudaStreamNonBlocking);
    }
    error =
        error == cudaSuccess ? cudaEventCreateWithFlags(&d->done, cudaEventDisableTiming) : error;
    error =
        error == cudaSuccess ? cudaEventCreateWithFlags(&d->ready, cudaEventDisableTiming) : error;
    error = error == cudaSuccess ? open_pool(d, keep_bytes) : error;
    error = error == cudaSuccess
                ? cudaMallocFromPoolAsync(&sums, sizeof *d->sums, d->pool, d->stream)
                : error;
    error = error == cudaSuccess
                ? cudaMallocHost(&pinned, (WEFT_CUDA_PENDING_MAX + 1) * sizeof *d->pinned)
                : error;
    error = error == cudaSuccess ? cudaMallocHost(&marked, sizeof *d->marked) : error;
    d->sums = sums;
    d->pinned = pinned;
    d->marked = marked;
    return weft_cuda_check(d, error, "opening the device");
}

static const weft_device FACE = {.name = "cuda",
                                 .memory = WEFT_MEMORY_DEVICE,
                                 .reserve = reserve,
                                 .forget = forget,
                                 .destroy = destroy,
                                 .submit = submit,
                                 .poll = poll,
                                 .copy = copy,
                                 .fetch = fetch,
                                 .submit_payload_digest = submit_payload_digest,
                                 .payload_digest = payload_digest,
                                 .diff = weft_cuda_diff,
                                 .mark = weft_cuda_mark};

weft_status weft_device_cuda_create(const weft_device **device, const weft_cuda_config *config)
{
    int count = 0, number = -1;
    if (device == NULL || config == NULL || config->size != sizeof *config || config->number < -1) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (cudaGetDeviceCount(&count) != cudaSuccess || config->number >= count || count == 0) {
        (void)cudaGetLastError();
        return WEFT_E_NO_DEVICE;
    }
    if (config->number >= 0) {
        number = config->number;
    } else if (cudaGetDevice(&number) != cudaSuccess) {
        return WEFT_E_NO_DEVICE;
    }
    weft_allocator allocator = weft_allocator_default();
    weft_cuda_device *d = weft_memory_allocate(&allocator, sizeof *d, WEFT_MEMORY_HOST);
    if (d == NULL) {
        return WEFT_E_OUT_OF_MEMORY;
    }
    *d = (weft_cuda_device){.face = FACE, .allocator = allocator, .number = number};
    d->face.context = d;
    d->face.text = d->text;
    d->face.allocator = (weft_allocator){.allocate = allocate, .release = release, .context = d};
    d->put = config->put_stream;
    d->put_is_ours = config->put_stream == NULL;
    int before = weft_cuda_enter(d);
    weft_status status = open_device(d, config->keep_bytes);
    weft_cuda_leave(d, before);
    if (status != WEFT_OK) {
        destroy(&d->face);
        return status;
    }
    *device = &d->face;
    return WEFT_OK;
}
