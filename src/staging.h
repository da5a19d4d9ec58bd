/* Staging: the memory of one session on a worker. It grows with the number of changed elements,
 * never with tensor size.
 *
 *      table           one weft_segment for each tensor that the session touches, as they arrive
 *      for each update:
 *        payload       indices and values as they arrived (update.h has the layout)
 *        undo          the old elements, in the layout of the values
 *
 * A streamed baseline has neither payload nor undo: its values go straight to the tensors.
 * A tensor belongs to at most one update of a session. So no element is written twice, and neither
 * the digest of the change nor a roll-back depends on an order. */
#ifndef WEFT_SRC_STAGING_H
#define WEFT_SRC_STAGING_H

#include "device.h"
#include "transport.h"
#include "update.h"
#include "weft.h"

typedef struct weft_staged weft_staged; /* one update's payload and undo log */

typedef struct weft_staging {
    const weft_allocator *allocator;
    const weft_device *device;
    const weft_model *model;
    uint64_t budget_bytes, held_bytes, peak_bytes;
    bool streamed, table_is_open;
    weft_segment *segments; /* capacity: the model's tensors */
    size_t count;           /* of all updates */
    size_t newest;          /* first segment of the newest update */
    size_t cursor;          /* streamed: the segment that the next byte belongs to ... */
    uint64_t cursor_begin;  /* ... and where in the payload its values begin */
    uint8_t *seen;          /* for each tensor of the model: 1 if a segment has it */
    weft_staged *updates;   /* newest first */
} weft_staging;

/* The model must be sorted (model.h) before an update is reserved. */
void weft_staging_init(weft_staging *staging, const weft_allocator *allocator,
                       const weft_device *device, const weft_model *model, uint64_t budget_bytes);
/* Memory that counts against the budget but is not a segment's: documents. NULL, and *status
 * OVER_BUDGET or OUT_OF_MEMORY. */
void *weft_staging_allocate(weft_staging *staging, uint64_t bytes, weft_memory where,
                            weft_status *status);
void weft_staging_free(weft_staging *staging, void *pointer, uint64_t bytes, weft_memory where);
uint64_t weft_staging_budget_left(const weft_staging *staging);

/* Takes a valid update in: segments, payload and undo memory. streamed: only segments. After an
 * error nothing of this update is held. Returns: META_DUPLICATE_TENSOR (in the session; *tensor
 * says which), OVER_BUDGET, OUT_OF_MEMORY, SIZE_OVERFLOW, DEVICE_FAILED. */
weft_status weft_staging_reserve(weft_staging *staging, const weft_update *update, bool streamed,
                                 uint32_t *tensor);
/* Bytes of the newest update's payload. Returns: DEVICE_FAILED. */
weft_status weft_staging_take(weft_staging *staging, uint64_t offset, const void *bytes,
                              uint64_t length);
/* What a transport brings of the newest update. Not streamed: without vllm_order, a sparse update's
 * indices and values as two runs, and a baseline's values segment by segment; otherwise each
 * segment's indices and then its values. */
void weft_staging_load(const weft_staging *staging, bool vllm_order, weft_load *load);
/* A place in the newest update's payload, to write to. */
uint8_t *weft_staging_writable(const weft_staging *staging, const void *place);
/* Submits the digest of the newest update's payload from `begin` (a multiple of 8) to `end`; not
 * for a streamed one. Returns: DEVICE_FAILED. */
weft_status weft_staging_digest(const weft_staging *staging, uint64_t begin, uint64_t end,
                                weft_device_result *result);
/* The digest of a streamed update's payload, which is what the tensors hold; waits. Returns:
 * DEVICE_FAILED. */
weft_status weft_staging_streamed_digest(const weft_staging *staging, uint64_t *digest);
/* The newest update's segments, for VERIFY; all of them are staging->segments, for PUT and
 * ROLLBACK. */
const weft_segment *weft_staging_newest(const weft_staging *staging, size_t *count);
uint64_t weft_staging_newest_changed(const weft_staging *staging);
uint64_t weft_staging_changed(const weft_staging *staging);
/* Frees everything but the table. */
void weft_staging_release(weft_staging *staging);
void weft_staging_destroy(weft_staging *staging);

#endif
