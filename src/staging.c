#include "staging.h"

#include <string.h>

#include "digest.h"
#include "invariant.h"
#include "memory.h"
#include "model.h"

struct weft_staged {
    weft_staged *older;
    uint8_t *payload;
    uint8_t *undo;
    uint64_t payload_bytes, undo_bytes;
    uint64_t values_offset; /* in the payload: the undo log has the layout of what follows */
};

void weft_staging_init(weft_staging *staging, const weft_allocator *allocator,
                       const weft_device *device, const weft_model *model, uint64_t budget_bytes)
{
    *staging = (weft_staging){
        .allocator = allocator, .device = device, .model = model, .budget_bytes = budget_bytes};
}

uint64_t weft_staging_budget_left(const weft_staging *staging)
{
    return staging->budget_bytes - staging->held_bytes;
}

/* True, and counted, if so much is left of the budget. */
static bool hold(weft_staging *staging, uint64_t bytes)
{
    if (bytes > weft_staging_budget_left(staging)) {
        return false;
    }
    staging->held_bytes += bytes;
    if (staging->held_bytes > staging->peak_bytes) {
        staging->peak_bytes = staging->held_bytes;
    }
    return true;
}

void *weft_staging_allocate(weft_staging *staging, uint64_t bytes, weft_memory where,
                            weft_status *status)
{
    if (bytes > weft_staging_budget_left(staging)) {
        *status = WEFT_E_OVER_BUDGET;
        return NULL;
    }
    void *pointer = weft_memory_allocate(staging->allocator, bytes, where);
    if (pointer == NULL) {
        *status = WEFT_E_OUT_OF_MEMORY;
        return NULL;
    }
    (void)hold(staging, bytes);
    return pointer;
}

void weft_staging_free(weft_staging *staging, void *pointer, uint64_t bytes, weft_memory where)
{
    if (pointer != NULL) {
        weft_invariant(staging->held_bytes >= bytes);
        staging->held_bytes -= bytes;
        weft_memory_release(staging->allocator, pointer, bytes, where);
    }
}

/* ---- Reserve ---- */

static uint64_t table_bytes(const weft_staging *staging)
{
    return weft_model_count(staging->model) * sizeof(weft_segment);
}

/* The table stays from session to session: fresh memory costs a page fault every 4 KiB, which is
 * most of the time that a table of many tensors takes. It counts against the budget while it is
 * used. */
static weft_status open_table(weft_staging *staging)
{
    uint64_t count = weft_model_count(staging->model);
    weft_status status = WEFT_OK;
    if (staging->table_is_open || count == 0) {
        return WEFT_OK;
    }
    if (staging->segments != NULL) {
        return hold(staging, table_bytes(staging) + count) ? WEFT_OK : WEFT_E_OVER_BUDGET;
    }
    staging->segments =
        weft_staging_allocate(staging, table_bytes(staging), WEFT_MEMORY_HOST, &status);
    if (status == WEFT_OK) {
        staging->seen = weft_staging_allocate(staging, count, WEFT_MEMORY_HOST, &status);
    }
    if (status != WEFT_OK) {
        weft_staging_free(staging, staging->segments, table_bytes(staging), WEFT_MEMORY_HOST);
        staging->segments = NULL;
    }
    return status;
}

static void free_staged(weft_staging *staging, weft_staged *staged)
{
    weft_memory where = staging->device->memory;
    weft_staging_free(staging, staged->payload, staged->payload_bytes, where);
    weft_staging_free(staging, staged->undo, staged->undo_bytes, where);
    weft_staging_free(staging, staged, sizeof *staged, WEFT_MEMORY_HOST);
}

/* The values stand at the end of the payload, each patch's at a multiple of 8; the undo log is
 * their mirror. */
static weft_staged *open_staged(weft_staging *staging, const weft_update *update, bool streamed,
                                weft_status *status)
{
    weft_staged *staged = weft_staging_allocate(staging, sizeof *staged, WEFT_MEMORY_HOST, status);
    if (staged == NULL) {
        return NULL;
    }
    *staged = (weft_staged){.payload_bytes = update->payload_bytes};
    staged->values_offset = update->values_offset;
    staged->undo_bytes = staged->payload_bytes - staged->values_offset;
    if (streamed) {
        return staged;
    }
    weft_memory where = staging->device->memory;
    if (staged->payload_bytes > 0) {
        staged->payload = weft_staging_allocate(staging, staged->payload_bytes, where, status);
    }
    if (*status == WEFT_OK && staged->undo_bytes > 0) {
        staged->undo = weft_staging_allocate(staging, staged->undo_bytes, where, status);
    }
    if (*status != WEFT_OK) {
        free_staged(staging, staged);
        return NULL;
    }
    return staged;
}

static weft_segment segment_of(const weft_patch *patch, const weft_ordered *tensor,
                               const weft_staged *staged, const weft_sections *at)
{
    weft_segment segment = {
        .target = tensor->data,
        .count = patch->count,
        .elements = tensor->elements,
        .seed = tensor->seed,
        .tensor = patch->tensor,
        .index_bytes = patch->index_bytes,
        .element_bytes = patch->element_bytes,
    };
    if (staged->payload != NULL) {
        segment.indices = patch->index_bytes != 0 ? staged->payload + at->indices : NULL;
        segment.values = staged->payload + at->values;
        segment.undo = staged->undo + (at->values - staged->values_offset);
    } else { /* streamed: what was written is what arrived */
        segment.values = segment.target;
    }
    return segment;
}

/* One for each patch of the newest update that has elements: another has no memory, and touches
 * nothing. Patches come mostly in canonical order, in which their tensors stand close together. */
static void append_segments(weft_staging *staging, const weft_update *update)
{
    const weft_ordered *order = weft_model_order(staging->model);
    weft_sections at = weft_sections_begin(update);

    for (size_t i = 0; i < update->count; i++) {
        const weft_patch *patch = &update->patches[i];
        staging->seen[patch->tensor] = 1;
        if (patch->count > 0) {
            size_t position = weft_model_position(staging->model, patch->tensor);
            staging->segments[staging->count++] =
                segment_of(patch, &order[position], staging->updates, &at);
            weft_sections_step(&at, patch);
        }
    }
}

static void begin_table(weft_staging *staging)
{
    if (!staging->table_is_open && staging->seen != NULL) {
        memset(staging->seen, 0, weft_model_count(staging->model));
    }
    staging->table_is_open = true;
}

static weft_status check_unseen(const weft_staging *staging, const weft_update *update,
                                uint32_t *tensor)
{
    for (size_t i = 0; i < update->count; i++) {
        if (staging->seen[update->patches[i].tensor] != 0) {
            *tensor = update->patches[i].tensor;
            return WEFT_E_META_DUPLICATE_TENSOR;
        }
    }
    return WEFT_OK;
}

/* The newest update was not to be. */
static void take_back(weft_staging *staging, const weft_update *update)
{
    weft_staged *staged = staging->updates;
    staging->updates = staged->older;
    staging->count = staging->newest;
    for (size_t i = 0; i < update->count; i++) {
        staging->seen[update->patches[i].tensor] = 0;
    }
    free_staged(staging, staged);
}

weft_status weft_staging_reserve(weft_staging *staging, const weft_update *update, bool streamed,
                                 uint32_t *tensor)
{
    weft_status status = open_table(staging);
    if (status == WEFT_OK) {
        begin_table(staging);
        status = check_unseen(staging, update, tensor);
    }
    if (status != WEFT_OK) {
        return status;
    }
    weft_staged *staged = open_staged(staging, update, streamed, &status);
    if (staged == NULL) {
        return status;
    }
    staged->older = staging->updates;
    staging->updates = staged;
    staging->streamed = streamed;
    staging->newest = staging->cursor = staging->count;
    staging->cursor_begin = 0;
    append_segments(staging, update);
    if (staging->device->reserve != NULL) {
        status = staging->device->reserve(staging->device, staging->segments, staging->count);
    }
    if (status != WEFT_OK) {
        take_back(staging, update);
    }
    return status;
}

/* ---- Take ---- */

static uint64_t segment_bytes(const weft_segment *segment)
{
    return segment->count * segment->element_bytes;
}

/* Values of a streamed baseline stand one behind the other, each tensor's at a multiple of 8, and
 * come in order. */
static weft_status stream(weft_staging *staging, uint64_t offset, const uint8_t *bytes,
                          uint64_t length)
{
    while (staging->cursor < staging->count) {
        const weft_segment *segment = &staging->segments[staging->cursor];
        uint64_t begin = staging->cursor_begin;
        uint64_t end = begin + segment_bytes(segment);
        uint64_t from = offset > begin ? offset : begin;
        uint64_t to = offset + length < end ? offset + length : end;
        if (from < to) {
            weft_status status =
                staging->device->copy(staging->device, (uint8_t *)segment->target + (from - begin),
                                      bytes + (from - offset), to - from);
            if (status != WEFT_OK) {
                return status;
            }
        }
        if (offset + length < end) {
            break;
        }
        staging->cursor++;
        if (!weft_size_align8(end, &staging->cursor_begin)) {
            return WEFT_E_SIZE_OVERFLOW;
        }
    }
    return WEFT_OK;
}

weft_status weft_staging_take(weft_staging *staging, uint64_t offset, const void *bytes,
                              uint64_t length)
{
    const weft_staged *staged = staging->updates;
    weft_invariant(staged != NULL && offset <= staged->payload_bytes &&
                   length <= staged->payload_bytes - offset);
    if (staging->streamed) {
        return stream(staging, offset, bytes, length);
    }
    return staging->device->copy(staging->device, staged->payload + offset, bytes, length);
}

void weft_staging_load(const weft_staging *staging, bool vllm_order, weft_load *load)
{
    const weft_staged *staged = staging->updates;
    *load = (weft_load){.segments = staging->segments + staging->newest,
                        .count = staging->count - staging->newest,
                        .vllm_order = vllm_order};
    if (staged->values_offset > 0 && !vllm_order) {
        *load =
            (weft_load){.runs = {{staged->payload, staged->values_offset},
                                 {staged->payload + staged->values_offset, staged->undo_bytes}}};
    }
}

uint8_t *weft_staging_writable(const weft_staging *staging, const void *place)
{
    uint8_t *payload = staging->updates->payload;
    return payload + ((const uint8_t *)place - payload);
}

weft_status weft_staging_digest(const weft_staging *staging, uint64_t begin, uint64_t end,
                                weft_device_result *result)
{
    const weft_staged *staged = staging->updates;
    weft_invariant(!staging->streamed && begin <= end && end <= staged->payload_bytes);
    return staging->device->submit_payload_digest(staging->device, staged->payload + begin,
                                                  end - begin, begin, result);
}

weft_status weft_staging_streamed_digest(const weft_staging *staging, uint64_t *digest)
{
    const weft_device *device = staging->device;
    uint64_t total = 0, part = 0, begin = 0;
    weft_status status = WEFT_OK;
    for (size_t i = staging->newest; status == WEFT_OK && i < staging->count; i++) {
        const weft_segment *segment = &staging->segments[i];
        status =
            device->payload_digest(device, segment->target, segment_bytes(segment), begin, &part);
        total += part;
        if (!weft_size_align8(begin + segment_bytes(segment), &begin)) {
            return WEFT_E_SIZE_OVERFLOW;
        }
    }
    if (status == WEFT_OK) {
        *digest = total;
    }
    return status;
}

/* ---- The rest ---- */

const weft_segment *weft_staging_newest(const weft_staging *staging, size_t *count)
{
    *count = staging->count - staging->newest;
    return staging->segments + staging->newest;
}

static uint64_t changed_from(const weft_staging *staging, size_t first)
{
    uint64_t changed = 0;
    for (size_t i = first; i < staging->count; i++) {
        changed += staging->segments[i].count;
    }
    return changed;
}

uint64_t weft_staging_newest_changed(const weft_staging *staging)
{
    return changed_from(staging, staging->newest);
}

uint64_t weft_staging_changed(const weft_staging *staging)
{
    return changed_from(staging, 0);
}

void weft_staging_release(weft_staging *staging)
{
    if (staging->device->forget != NULL && staging->segments != NULL) {
        staging->device->forget(staging->device, staging->segments);
    }
    while (staging->updates != NULL) {
        weft_staged *older = staging->updates->older;
        free_staged(staging, staging->updates);
        staging->updates = older;
    }
    if (staging->table_is_open && staging->segments != NULL) {
        staging->held_bytes -= table_bytes(staging) + weft_model_count(staging->model);
    }
    staging->table_is_open = false;
    staging->count = staging->newest = staging->cursor = 0;
    staging->streamed = false;
}

void weft_staging_destroy(weft_staging *staging)
{
    weft_staging_release(staging);
    weft_memory_release(staging->allocator, staging->segments, table_bytes(staging),
                        WEFT_MEMORY_HOST);
    weft_memory_release(staging->allocator, staging->seen, weft_model_count(staging->model),
                        WEFT_MEMORY_HOST);
    staging->segments = NULL;
    staging->seen = NULL;
}
