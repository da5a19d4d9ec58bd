/* What a trainer sends in one session: the difference of the weights (or all of them), cut into
 * updates, each with its document. Everything is made before START, so that nothing is allocated
 * while a session runs. Tensors are taken in the canonical order of the model (model.h), which a
 * sparse update's document counts them in.
 *
 *   sparse     difference.payload   | indices of all patches ....... | values of all patches .... |
 *                update k                     | its indices |                  | its values |
 *   baseline   the tensors themselves, borrowed; no copy is made
 *
 * What stands in device memory and goes through the control connection has a copy in host memory
 * (wire), from which it is sent.
 */
#ifndef WEFT_SRC_PLAN_H
#define WEFT_SRC_PLAN_H

#include "device.h"
#include "transport.h"
#include "weft.h"

typedef struct weft_planned_update {
    char *document;
    uint64_t document_bytes;
    uint64_t payload_bytes, payload_digest;
    size_t first, count;               /* patches: plan->segments[first .. first + count) */
    uint64_t index_begin, index_bytes; /* sparse: where its indices stand in the difference ... */
    uint64_t value_begin;              /* ... and its values */
    uint64_t wire_begin;               /* where its payload stands in plan->wire */
} weft_planned_update;

typedef struct weft_plan {
    weft_kind kind;
    weft_allocator allocator;
    weft_memory where;
    weft_difference difference; /* sparse */
    uint64_t *counts;           /* for each tensor of the model, in canonical order */
    weft_segment
        *segments; /* for each patch: target is the base's tensor, values are the new ones */
    uint64_t
        *offsets; /* for each patch of a baseline: where its values begin in its update's payload */
    weft_planned_update *updates;
    uint8_t *wire; /* the payloads of all updates, one behind the other; or NULL */
    size_t tensors, segment_count, update_count, update_capacity;
    uint64_t target_digest, changed, payload_bytes, document_bytes;
    uint64_t held_bytes;
} weft_plan;

typedef struct weft_plan_request {
    weft_kind kind;
    const weft_model *model, *base; /* model must be sorted */
    const weft_device *device;
    const weft_allocator *allocator;
    uint64_t budget_bytes, update_bytes;
    bool by_transport; /* nothing of the payload goes through the control connection */
    bool vllm; /* the document in vLLM's form; one update; without changes it has no document */
    uint64_t epoch, base_version, base_digest, target_version;
} weft_plan_request;

/* Returns: OVER_BUDGET, OUT_OF_MEMORY, SIZE_OVERFLOW, LIMIT, DEVICE_FAILED; nothing is held then.
 */
weft_status weft_plan_make(weft_plan *plan, const weft_plan_request *request);
void weft_plan_release(weft_plan *plan);
/* A contiguous run of an update's payload at this offset: at most `most` bytes, at least one. NULL:
 * zeros (padding). */
const uint8_t *weft_plan_payload(const weft_plan *plan, size_t update, uint64_t offset,
                                 uint32_t most, uint32_t *length);
/* What a transport sends of this update; in vLLM's order, or in weft's. */
void weft_plan_load(const weft_plan *plan, size_t update, bool vllm_order, weft_load *load);

#endif
