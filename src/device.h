/* Device ops: everything that touches weights. A device is a table of functions and a context;
 * `host` (device_host.c) is plain C, and the reference that every other device is compared with.
 *
 * submit begins an operation over all segments of an update at once, in order after every operation
 * submitted before, and does not wait; poll says whether everything submitted is done. The host
 * device does the work within submit. */
#ifndef WEFT_SRC_DEVICE_H
#define WEFT_SRC_DEVICE_H

#include "weft.h"

/* One tensor's part of one update. Memory of one segment in the device's memory:
 *
 *      indices   count * index_bytes     strictly increasing flat indices, 4 or 8 bytes each
 *      values    count * element_bytes   new bits
 *      undo      count * element_bytes   old bits, written by VERIFY, read by ROLLBACK
 *      target    elements * element_bytes   the tensor
 *
 * Dense (every element, for a baseline): indices == NULL, count == elements. Nothing is aligned
 * beyond 1 byte. */
typedef struct weft_segment {
    void *target;
    const void *indices;
    const void *values;
    void *undo;
    uint64_t count;
    uint64_t elements;
    uint64_t seed;         /* weft_digest_tensor_seed */
    uint32_t tensor;       /* number in the model, for messages */
    uint8_t index_bytes;   /* 4, or 8 where the tensor has 2^31 elements or more; 0 if dense */
    uint8_t element_bytes; /* 1, 2, 4, 8 */
} weft_segment;

typedef struct weft_device_result {
    weft_status status; /* WEFT_OK, INDEX_OUT_OF_BOUNDS, INDEX_ORDER, DEVICE_FAILED */
    uint32_t segment; /* where the first fault is: segment, position in its indices, the index found
                         there */
    uint64_t position;
    uint64_t found;
    uint64_t digest; /* sum of terms (digest.h); VERIFY: new - old; DIGEST: of the whole targets */
} weft_device_result;

typedef enum weft_device_operation {
    WEFT_DEVICE_VERIFY = 1, /* check all indices; then gather into undo (where undo is not NULL) and
                               digest the change. A dense segment's digest is that of its values
                               alone: a baseline does not build on what was there. */
    WEFT_DEVICE_PUT,        /* target[indices] = values */
    WEFT_DEVICE_ROLLBACK,   /* target[indices] = undo */
    WEFT_DEVICE_DIGEST /* digest of the whole targets; indices, values and undo are not looked at */
} weft_device_operation;

typedef enum weft_poll {
    WEFT_POLL_AGAIN = 0, /* not yet */
    WEFT_POLL_DONE,      /* all submitted operations are over and their results are written */
    WEFT_POLL_GONE       /* the device is lost, with all that it holds */
} weft_poll;

/* One tensor to compare. */
typedef struct weft_comparison {
    const void *before;
    const void *after;
    uint64_t elements;
    uint64_t seed;
    uint8_t index_bytes;
    uint8_t element_bytes;
} weft_comparison;

/* What differs, in the payload layout of spec/metadata.md: every section begins at a multiple of 8,
 * and zeros fill the rest. */
typedef struct weft_difference {
    void *payload;             /* allocated; release with payload_capacity */
    uint64_t payload_bytes;    /* used */
    uint64_t payload_capacity; /* allocated */
    uint64_t changed;          /* elements */
    uint64_t digest;           /* sum of terms (digest.h): after - before */
    uint64_t *counts;          /* the caller's array: elements changed in each tensor */
} weft_difference;

struct weft_device {
    const char *name;
    const char *text; /* the last failure in words, or "" */
    void *context;
    weft_memory memory;       /* where payload, undo and weights live; a base may be PINNED */
    weft_allocator allocator; /* used where a configuration has none */
    /* Makes ready what submit needs for these segments, before it may not allocate any more. Called
     * with all segments of a session each time that some were added, at the same address.
     * Returns: WEFT_OK, OUT_OF_MEMORY, DEVICE_FAILED. NULL: nothing has to be made ready. */
    weft_status (*reserve)(const weft_device *device, const weft_segment *segments, size_t count);
    void (*destroy)(const weft_device *device); /* NULL: it is static */
    /* The segments at this address are gone, and after it so is what they point to: what still runs
     * on them ends first, or the device is lost. */
    void (*forget)(const weft_device *device, const weft_segment *segments);
    /* segments and result must live until poll says DONE. Returns: WEFT_OK, DEVICE_FAILED (nothing
     * was begun). */
    weft_status (*submit)(const weft_device *device, weft_device_operation operation,
                          const weft_segment *segments, size_t count, weft_device_result *result);
    weft_poll (*poll)(const weft_device *device);
    /* Bytes from host or device memory into device or pinned memory; ordered like an operation. */
    weft_status (*copy)(const weft_device *device, void *to, const void *from, uint64_t bytes);
    /* Bytes from device memory into host memory, after everything submitted before. Waits.
     * Returns: WEFT_OK, DEVICE_FAILED. */
    weft_status (*fetch)(const weft_device *device, void *to, const void *from, uint64_t bytes);
    /* The digest of device memory as a payload (digest.h: weft_digest_payload), as an operation:
     * result->digest. offset and the address are multiples of 8. Returns: WEFT_OK, DEVICE_FAILED
     * (nothing was begun). */
    weft_status (*submit_payload_digest)(const weft_device *device, const void *bytes,
                                         uint64_t length, uint64_t offset,
                                         weft_device_result *result);
    /* The same for any address, waiting for it.
     * Returns: WEFT_OK, DEVICE_FAILED. */
    weft_status (*payload_digest)(const weft_device *device, const void *bytes, uint64_t length,
                                  uint64_t offset, uint64_t *digest);
    /* Compares; fills counts, and a payload of patches with count > 0 in order. Peak memory at most
     * budget_bytes. On an error counts holds anything, and the rest is unchanged. Returns: WEFT_OK,
     * OVER_BUDGET, OUT_OF_MEMORY, DEVICE_FAILED. */
    weft_status (*diff)(const weft_device *device, const weft_comparison *tensors, size_t count,
                        const weft_allocator *allocator, uint64_t budget_bytes,
                        weft_difference *difference);
    /* For the timeline of a profiler: ends the range that is open in *range, and begins one of this
     * name; none for NULL. *range is 0 while none is open. Ranges overlap. NULL: nobody looks. */
    void (*mark)(const weft_device *device, uint64_t *range, const char *name);
};

/* The configured one; where that has no function, the device's own; otherwise the default. */
weft_allocator weft_device_allocator(const weft_device *device, const weft_allocator *configured);

/* weft_device.mark, where the device has it. */
void weft_device_mark(const weft_device *device, uint64_t *range, const char *name);
/* The range of a session's state: "weft worker receiving", say. At idle none is open. */
void weft_device_mark_state(const weft_device *device, uint64_t *range, const char *role,
                            weft_state state);

/* Submits one operation and waits for its end: for callers that may block (digests of whole models,
 * files). Returns: result->status, DEVICE_FAILED. */
weft_status weft_device_run(const weft_device *device, weft_device_operation operation,
                            const weft_segment *segments, size_t count, weft_device_result *result);

#endif
