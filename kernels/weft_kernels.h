/* The C face of the CUDA kernels. A function here enqueues one operation on a stream, over all
 * tensors at once, and returns; it knows no session, allocates nothing, and never waits.
 *
 * What a launch works through is a table in device memory:
 *
 *      segments  | segment 0 | segment 1        | 2 | segment 3 ...      one for each tensor
 *      work      | 0,0 | 0,1 | 1,0 | 1,1 | 1,2 | 2,0 | 3,0 ...           {segment, chunk}
 *
 * There is a block for each chunk, so that nobody searches, and a tensor of three elements costs as
 * little as the chunk of a large one. The weft_kernel_work_* functions build the list on the
 * host.
 *
 * Pointers: targets, values and undo are aligned to the element, indices to the index. Widths were
 * checked by the caller: elements of 1, 2, 4 or 8 bytes, indices of 4 or 8 bytes.
 * An `int` that is returned is a cudaError_t: 0, or why nothing more was enqueued. */
#ifndef WEFT_KERNELS_H
#define WEFT_KERNELS_H

#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct CUstream_st *weft_kernel_stream; /* cudaStream_t */

/* ---- Work lists: plain C, host memory ---- */

/* What a chunk is. Entries are few, so that the blocks that run at one time write to one small
 * window of memory: random writes are as fast as the memory's rows stay open (bench/README.md). */
#define WEFT_KERNEL_ENTRIES       256u   /* changed elements of a sparse segment */
#define WEFT_KERNEL_DENSE_ENTRIES 16384u /* elements of a dense one */
#define WEFT_KERNEL_TARGET_BYTES  65536u /* of a tensor, for DIGEST */
#define WEFT_KERNEL_DIFF_BYTES    8192u  /* of each version, for diff */

typedef struct weft_kernel_work {
    uint32_t segment;
    uint32_t chunk; /* of this segment */
} weft_kernel_work;

/* Each returns the number of chunks, and writes them where work is not NULL; `first_segment` is the
 * number of segments[0] in the table. No memory is large enough for a chunk number to overflow. */
uint64_t weft_kernel_work_entries(const weft_segment *segments, size_t count,
                                  uint32_t first_segment, weft_kernel_work *work);
uint64_t weft_kernel_work_targets(const weft_segment *segments, size_t count,
                                  uint32_t first_segment, weft_kernel_work *work);
/* first (count + 1 numbers, or NULL): where the chunks of each tensor begin. */
uint64_t weft_kernel_work_comparisons(const weft_comparison *tensors, size_t count,
                                      weft_kernel_work *work, uint64_t *first);

/* ---- Operations on segments ---- */

typedef struct weft_kernel_table {
    const weft_segment *segments; /* device memory, as is the next */
    const weft_kernel_work *work;
    uint64_t work_count;
} weft_kernel_table;

/* Device memory in which the blocks of one launch add up what they found. */
typedef struct weft_kernel_sums {
    unsigned long long digest;
    unsigned long long nearest; /* greatest of UINT64_MAX - ordinal of a faulty entry; 0: none */
    unsigned long long used;    /* diff: bytes of the pool */
} weft_kernel_sums;

/* One launch each; work is of entries. */
int weft_kernel_put(weft_kernel_stream stream, const weft_kernel_table *table);
int weft_kernel_rollback(weft_kernel_stream stream, const weft_kernel_table *table);
/* Work is of entries. One pass checks, gathers into undo and digests the change; result (device or
 * pinned host memory) is written at the end. With a fault the digest is 0, and undo holds anything.
 * No target is read at an index that is out of bounds. result->segment is the table's number. */
int weft_kernel_verify(weft_kernel_stream stream, const weft_kernel_table *table,
                       weft_kernel_sums *sums, weft_device_result *result);
/* Work is of targets. */
int weft_kernel_digest(weft_kernel_stream stream, const weft_kernel_table *table,
                       weft_kernel_sums *sums, weft_device_result *result);
/* weft_digest_payload: bytes begin at a multiple of 8, and offset is one. */
int weft_kernel_payload_digest(weft_kernel_stream stream, const void *bytes, uint64_t length,
                               uint64_t offset, weft_kernel_sums *sums, weft_device_result *result);

/* ---- Diff ----
 *
 * mark reads both versions once. Each warp compacts what differs in a chunk into a piece of the
 * pool, wherever there is room, then a scan finds where each piece belongs:
 *
 *      pool      | values, positions of chunk 5 | of chunk 0 | of chunk 7 ...
 *      payload   | indices of tensor 0 | of tensor 2 ... | values of tensor 0 | of tensor 2 ...
 *
 * emit copies the pieces there. How much the pool and the payload must hold is in the result; emit
 * does nothing where the pool or the payload turned out too small, so both may be enqueued at once
 * on a guess, or emit after the result was read. */

typedef struct weft_kernel_diff_result {
    uint64_t changed;       /* elements */
    uint64_t digest;        /* right if the pool was large enough, as all else is in any case */
    uint64_t pool_bytes;    /* needed */
    uint64_t index_bytes;   /* of the payload: where the values begin */
    uint64_t payload_bytes; /* needed, rounded up to 8 */
} weft_kernel_diff_result;

typedef struct weft_kernel_place {
    uint64_t indices; /* where a tensor's indices begin in the payload */
    uint64_t values;  /* and its values, from where the values begin */
    uint64_t before;  /* changed elements of the tensors before it */
} weft_kernel_place;

/* All pointers are device memory, but result may be pinned host memory. */
typedef struct weft_kernel_diff {
    const weft_comparison *tensors; /* tensor_count */
    const weft_kernel_work *work;   /* work_count, of comparisons */
    const uint64_t *first;          /* tensor_count + 1 */
    uint64_t tensor_count;
    uint64_t work_count;
    uint8_t *pool; /* begins at a multiple of 8 */
    uint64_t pool_bytes;
    uint64_t *where;           /* work_count: in the pool */
    uint32_t *found;           /* work_count: elements that differ */
    uint32_t *prefix;          /* work_count: found before it in its block of the scan */
    uint64_t *blocks;          /* weft_kernel_diff_blocks(work_count) */
    weft_kernel_place *places; /* tensor_count */
    uint64_t *counts;          /* tensor_count: elements that differ */
    weft_kernel_sums *sums;
    weft_kernel_diff_result *result;
} weft_kernel_diff;

uint64_t weft_kernel_diff_blocks(uint64_t work_count);
int weft_kernel_diff_mark(weft_kernel_stream stream, const weft_kernel_diff *diff);
/* payload: begins at a multiple of 8; sections are padded with zeros, the last one too. */
int weft_kernel_diff_emit(weft_kernel_stream stream, const weft_kernel_diff *diff, void *payload,
                          uint64_t payload_bytes);

#ifdef __cplusplus
}
#endif

#endif
