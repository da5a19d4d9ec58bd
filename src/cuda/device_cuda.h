/* What the files of the CUDA device share. */
#ifndef WEFT_SRC_CUDA_DEVICE_CUDA_H
#define WEFT_SRC_CUDA_DEVICE_CUDA_H

#include <cuda_runtime_api.h>

#include "device.h"
#include "weft_kernels.h"

#define WEFT_CUDA_PENDING_MAX 16u
#define WEFT_CUDA_SPARES_MAX  2u

typedef struct weft_cuda_table { /* of segments in host memory, as device memory has it */
    struct weft_cuda_table *next;
    const weft_segment *host; /* NULL: for one submit, and gone when that is over */
    size_t count, segments_capacity;
    uint64_t work_count, work_capacity;
    weft_segment *segments; /* device */
    weft_kernel_work *work; /* device */
    uint64_t *first;        /* host: where each segment's work begins; segments_capacity + 1 */
    weft_segment *staged_segments; /* page-locked: what is uploaded ... */
    weft_kernel_work *staged_work;
    cudaEvent_t uploaded; /* ... until then */
} weft_cuda_table;

typedef struct weft_cuda_pending { /* a submit whose result is still to be handed over */
    weft_device_result *to;
    const weft_device_result *from; /* pinned; NULL: it has none but its status */
    uint32_t first_segment;
    weft_cuda_table *own; /* to be freed with it */
} weft_cuda_pending;

typedef struct weft_cuda_device {
    weft_device face;
    weft_allocator allocator; /* of host memory */
    int number;
    cudaStream_t stream, put;
    cudaMemPool_t pool;
    bool put_is_ours;
    cudaEvent_t done, ready;
    weft_kernel_sums *sums;           /* device */
    weft_device_result *pinned;       /* WEFT_CUDA_PENDING_MAX, and one for digests of payloads */
    weft_kernel_diff_result *marked;  /* pinned */
    weft_cuda_table *tables, *spares; /* in use; of sessions that are over */
    size_t spare_count;
    weft_cuda_pending pendings[WEFT_CUDA_PENDING_MAX];
    size_t pending_count;
    bool lost;
    char text[256];
} weft_cuda_device;

/* Keeps CUDA's answer in words. Returns: WEFT_OK, OUT_OF_MEMORY, DEVICE_FAILED. */
weft_status weft_cuda_check(weft_cuda_device *device, cudaError_t error, const char *what);
/* Makes the device the thread's current one; what was that before goes to leave. */
int weft_cuda_enter(const weft_cuda_device *device);
void weft_cuda_leave(const weft_cuda_device *device, int before);

/* weft_device.mark (device_cuda_mark.c): NVTX. Needs no GPU. */
void weft_cuda_mark(const weft_device *device, uint64_t *range, const char *name);

/* weft_device.diff (device_cuda_diff.c). */
weft_status weft_cuda_diff(const weft_device *device, const weft_comparison *tensors, size_t count,
                           const weft_allocator *allocator, uint64_t budget_bytes,
                           weft_difference *difference);

#endif
