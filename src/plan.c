#include "plan.h"

#include <string.h>

#include "digest.h"
#include "memory.h"
#include "model.h"
#include "size.h"
#include "update.h"

/* With names of full length a baseline's document of so many patches stays below
 * WEFT_DOCUMENT_MAX. One with counts does so whatever they are: each takes 20 digits and a space,
 * or four bytes where a string ends. */
#define DENSE_PATCHES_MAX 80000u
_Static_assert(WEFT_DOCUMENT_MAX / (20 + 4) > WEFT_TENSORS_MAX, "counts of all tensors fit");

/* Not cleared. */
static void *hold(weft_plan *plan, const weft_plan_request *request, uint64_t bytes,
                  weft_status *status)
{
    if (bytes == 0 || *status != WEFT_OK) {
        return NULL;
    }
    if (bytes > request->budget_bytes - plan->held_bytes) {
        *status = WEFT_E_OVER_BUDGET;
        return NULL;
    }
    void *pointer = weft_memory_allocate(&plan->allocator, bytes, WEFT_MEMORY_HOST);
    if (pointer == NULL) {
        *status = WEFT_E_OUT_OF_MEMORY;
        return NULL;
    }
    plan->held_bytes += bytes;
    return pointer;
}

void weft_plan_release(weft_plan *plan)
{
    const weft_allocator *allocator = &plan->allocator;
    if (allocator->allocate == NULL) {
        return; /* nothing was ever planned */
    }
    for (size_t i = 0; i < plan->update_count; i++) {
        weft_memory_release(allocator, plan->updates[i].document, plan->updates[i].document_bytes,
                            WEFT_MEMORY_HOST);
    }
    weft_memory_release(allocator, plan->updates, plan->update_capacity * sizeof *plan->updates,
                        WEFT_MEMORY_HOST);
    weft_memory_release(allocator, plan->segments, plan->tensors * sizeof *plan->segments,
                        WEFT_MEMORY_HOST);
    weft_memory_release(allocator, plan->offsets, plan->tensors * sizeof *plan->offsets,
                        WEFT_MEMORY_HOST);
    weft_memory_release(allocator, plan->counts, plan->tensors * sizeof *plan->counts,
                        WEFT_MEMORY_HOST);
    weft_memory_release(allocator, plan->wire, plan->payload_bytes, WEFT_MEMORY_HOST);
    weft_memory_release(allocator, plan->difference.payload, plan->difference.payload_capacity,
                        plan->where);
    *plan = (weft_plan){0};
}

/* ---- What changed ---- */

static weft_status compare(weft_plan *plan, const weft_plan_request *request)
{
    weft_status status = WEFT_OK;
    uint64_t bytes = plan->tensors * sizeof(weft_comparison);
    weft_comparison *tensors = hold(plan, request, bytes, &status);
    const weft_ordered *order = weft_model_order(request->model);
    for (size_t i = 0; tensors != NULL && i < plan->tensors; i++) {
        tensors[i] = (weft_comparison){
            .before = weft_model_tensor(request->base, order[i].tensor)->data,
            .after = weft_model_tensor(request->model, order[i].tensor)->data,
            .elements = order[i].elements,
            .seed = weft_model_seed(request->model, order[i].tensor),
            .index_bytes = order[i].index_bytes,
            .element_bytes = order[i].element_bytes,
        };
    }
    if (status == WEFT_OK) {
        plan->difference.counts = plan->counts;
        status = request->device->diff(request->device, tensors, plan->tensors, &plan->allocator,
                                       request->budget_bytes - plan->held_bytes, &plan->difference);
    }
    if (status == WEFT_OK) {
        plan->held_bytes += plan->difference.payload_capacity;
        plan->target_digest = request->base_digest + plan->difference.digest;
    }
    if (tensors != NULL) {
        weft_memory_release(&plan->allocator, tensors, bytes, WEFT_MEMORY_HOST);
        plan->held_bytes -= bytes;
    }
    return status;
}

static weft_status take_all(weft_plan *plan, const weft_plan_request *request)
{
    const weft_ordered *order = weft_model_order(request->model);
    for (size_t i = 0; i < plan->tensors; i++) {
        plan->counts[i] = order[i].elements;
    }
    return weft_model_digest(request->model, request->device, &plan->target_digest);
}

/* ---- Updates ---- */

/*@ logic integer index_bytes_of(weft_segment *segment) =
      padded(segment->count * segment->index_bytes);
    logic integer value_bytes_of(weft_segment *segment) =
      padded(segment->count * segment->element_bytes);
    // Of the patches [from .. to).
    logic integer payload_of(weft_segment *segments, integer from, integer to) =
      to <= from ? 0 : payload_of(segments, from, to - 1) + index_bytes_of(segments + (to - 1)) +
        value_bytes_of(segments + (to - 1));
    // Assumed, not checked: each of these bytes stands in memory (spec/proofs.md).
    predicate payload_fits(weft_segment *segments, integer count) =
      \valid_read(segments + (0 .. count - 1)) &&
      \forall integer from, to; 0 <= from < to <= count ==>
        payload_of(segments, from, to) <= UINT64_MAX;
@*/

/*@ requires padded(bytes) <= UINT64_MAX;
    assigns \nothing;
    ensures \result == padded(bytes);
@*/
static uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

/*@ requires \valid_read(segment) && index_bytes_of(segment) <= UINT64_MAX;
    assigns \nothing;
    ensures \result == index_bytes_of(segment);
@*/
static uint64_t index_section(const weft_segment *segment)
{
    return padded(segment->count * segment->index_bytes);
}

/*@ requires \valid_read(segment) && value_bytes_of(segment) <= UINT64_MAX;
    assigns \nothing;
    ensures \result == value_bytes_of(segment);
@*/
static uint64_t value_section(const weft_segment *segment)
{
    return padded(segment->count * segment->element_bytes);
}

static void add_segment(weft_plan *plan, const weft_plan_request *request, size_t position)
{
    const weft_ordered *tensor = &weft_model_order(request->model)[position];
    bool dense = plan->kind == WEFT_BASELINE;
    plan->segments[plan->segment_count++] = (weft_segment){
        .target = weft_model_tensor(request->base, tensor->tensor)->data,
        .values = dense ? weft_model_tensor(request->model, tensor->tensor)->data : NULL,
        .count = plan->counts[position],
        .elements = tensor->elements,
        .seed = weft_model_seed(request->model, tensor->tensor),
        .tensor = tensor->tensor,
        .index_bytes = dense ? 0 : tensor->index_bytes,
        .element_bytes = tensor->element_bytes,
    };
    plan->changed += plan->counts[position];
}

/* Tensors that did not change have no patch; a baseline names them all. */
static void make_segments(weft_plan *plan, const weft_plan_request *request)
{
    uint64_t index_bytes = 0;
    for (size_t i = 0; i < plan->tensors; i++) {
        if (plan->counts[i] > 0 || plan->kind == WEFT_BASELINE) {
            add_segment(plan, request, i);
            index_bytes += index_section(&plan->segments[plan->segment_count - 1]);
        }
    }
    if (plan->kind == WEFT_SPARSE && plan->segment_count > 0) { /* otherwise there is no payload */
        const uint8_t *index = plan->difference.payload, *value = index + index_bytes;
        for (size_t i = 0; i < plan->segment_count; i++) {
            plan->segments[i].indices = index;
            plan->segments[i].values = value;
            index += index_section(&plan->segments[i]);
            value += value_section(&plan->segments[i]);
        }
    }
}

/* How many patches from `first` on make the next update: at least one, and together about
 * request->update_bytes. */
/*@ requires \valid_read(plan) && \valid_read(request) && first <= plan->segment_count;
    requires payload_fits(plan->segments, plan->segment_count);
    assigns \nothing;
    ensures first < plan->segment_count ==> \result >= 1;
    ensures first + \result <= plan->segment_count;
    ensures \result <= (plan->kind == WEFT_BASELINE ? DENSE_PATCHES_MAX : WEFT_TENSORS_MAX);
    ensures \result > 1 && request->update_bytes != 0 ==>
            payload_of(plan->segments, first, first + \result) <= request->update_bytes;
@*/
static size_t update_length(const weft_plan *plan, const weft_plan_request *request, size_t first)
{
    uint64_t bytes = 0;
    size_t count = 0;
    size_t most = plan->kind == WEFT_BASELINE ? DENSE_PATCHES_MAX : WEFT_TENSORS_MAX;
    /*@ loop invariant first + count <= plan->segment_count && count <= most;
        loop invariant bytes == payload_of(plan->segments, first, first + count);
        loop invariant count > 1 && request->update_bytes != 0 ==> bytes <= request->update_bytes;
        loop assigns bytes, count;
        loop variant most - count;
    @*/
    while (first + count < plan->segment_count && count < most) {
        /*@ assert payload_of(plan->segments, first, first + count + 1) <= UINT64_MAX; @*/
        const weft_segment *segment = &plan->segments[first + count];
        bytes += index_section(segment) + value_section(segment);
        if (count > 0 && request->update_bytes != 0 && bytes > request->update_bytes) {
            break;
        }
        count++;
    }
    return count;
}

/* One at least, though nothing changed. */
/*@ requires \valid_read(plan) && \valid_read(request) && plan->segment_count <= WEFT_TENSORS_MAX;
    requires payload_fits(plan->segments, plan->segment_count);
    assigns \nothing;
    ensures 1 <= \result && (\result == 1 || \result <= plan->segment_count);
@*/
static size_t count_updates(const weft_plan *plan, const weft_plan_request *request)
{
    size_t updates = 1;
    size_t first = update_length(plan, request, 0);
    /*@ loop invariant 1 <= updates && first <= plan->segment_count;
        loop invariant updates == 1 || updates <= first;
        loop invariant first == 0 ==> plan->segment_count == 0;
        loop assigns first, updates;
        loop variant plan->segment_count - first;
    @*/
    while (first < plan->segment_count) {
        first += update_length(plan, request, first);
        updates++;
    }
    return updates;
}

static weft_status cut(weft_plan *plan, const weft_plan_request *request)
{
    weft_status status = WEFT_OK;
    size_t updates = count_updates(plan, request);
    if (updates > WEFT_UPDATES_MAX) {
        return WEFT_E_LIMIT;
    }
    plan->updates = hold(plan, request, updates * sizeof *plan->updates, &status);
    if (status != WEFT_OK) {
        return status;
    }
    plan->update_capacity = updates;
    uint64_t index_begin = 0, value_begin = 0;
    size_t first = 0;
    for (size_t i = 0; i < plan->segment_count; i++) {
        value_begin += index_section(&plan->segments[i]);
    }
    for (size_t i = 0; i < updates; i++) {
        weft_planned_update *update = &plan->updates[i];
        *update = (weft_planned_update){.first = first,
                                        .count = update_length(plan, request, first),
                                        .index_begin = index_begin,
                                        .value_begin = value_begin};
        for (size_t k = first; k < first + update->count; k++) {
            if (plan->kind == WEFT_BASELINE) {
                plan->offsets[k] = update->payload_bytes;
            }
            update->index_bytes += index_section(&plan->segments[k]);
            update->payload_bytes +=
                index_section(&plan->segments[k]) + value_section(&plan->segments[k]);
        }
        update->wire_begin = plan->payload_bytes;
        index_begin += update->index_bytes;
        value_begin += update->payload_bytes - update->index_bytes;
        first += update->count;
        plan->payload_bytes += update->payload_bytes;
    }
    return WEFT_OK;
}

static weft_status write_document(weft_plan *plan, const weft_plan_request *request,
                                  weft_update *words, weft_planned_update *update)
{
    for (size_t i = 0; i < update->count; i++) {
        const weft_segment *segment = &plan->segments[update->first + i];
        words->patches[i] = (weft_patch){.tensor = segment->tensor,
                                         .index_bytes = segment->index_bytes,
                                         .count = segment->count};
    }
    words->count = update->count;
    words->payload_bytes = update->payload_bytes;
    if (request->vllm && words->count == 0) {
        return WEFT_OK; /* its form cannot say that nothing changed */
    }
    size_t length = 0;
    weft_status status = weft_update_write(words, request->model, NULL, 0, &length);
    if (status != WEFT_OK || length > WEFT_DOCUMENT_MAX) { /* or an index that has no form */
        status = WEFT_E_LIMIT;
    }
    char *document = hold(plan, request, length, &status);
    if (status != WEFT_OK) {
        return status;
    }
    update->document = document;
    update->document_bytes = length;
    plan->document_bytes += length;
    return weft_update_write(words, request->model, document, length, &length);
}

static weft_status write_documents(weft_plan *plan, const weft_plan_request *request)
{
    weft_status status = WEFT_OK;
    size_t most = 1;
    for (size_t i = 0; i < plan->update_capacity; i++) {
        most = plan->updates[i].count > most ? plan->updates[i].count : most;
    }
    uint64_t bytes = most * sizeof(weft_patch);
    bool sparse = plan->kind == WEFT_SPARSE;
    weft_update words = {
        .form = request->vllm ? (sparse ? WEFT_FORM_VLLM_SPARSE : WEFT_FORM_VLLM_DENSE)
                              : (sparse ? WEFT_FORM_WEFT_COUNTS : WEFT_FORM_WEFT),
        .kind = plan->kind,
        .has_session = true,
        .epoch = request->epoch,
        .of = (uint32_t)plan->update_capacity,
        .base_version = plan->kind == WEFT_SPARSE ? request->base_version : 0,
        .base_digest = plan->kind == WEFT_SPARSE ? request->base_digest : 0,
        .target_version = request->target_version,
        .target_digest = plan->target_digest,
        .patches = hold(plan, request, bytes, &status),
    };
    for (size_t i = 0; status == WEFT_OK && i < plan->update_capacity; i++) {
        words.number = (uint32_t)i;
        plan->update_count = i + 1; /* from here on release frees its document */
        status = write_document(plan, request, &words, &plan->updates[i]);
    }
    if (words.patches != NULL) {
        weft_memory_release(&plan->allocator, words.patches, bytes, WEFT_MEMORY_HOST);
        plan->held_bytes -= bytes;
    }
    return status;
}

/* Over the document, and over the payload in the pieces in which it stands in memory. */
static weft_status digest_payload(const weft_plan *plan, const weft_plan_request *request,
                                  size_t number)
{
    weft_planned_update *update = &plan->updates[number];
    update->payload_digest = weft_digest_bytes(update->document, (size_t)update->document_bytes, 0);
    uint64_t offset = 0;
    while (offset < update->payload_bytes) {
        uint32_t length;
        uint64_t part = 0;
        const uint8_t *bytes = weft_plan_payload(plan, number, offset, UINT32_C(1) << 30, &length);
        if (bytes != NULL) { /* padding is zero and adds nothing */
            weft_status status =
                request->device->payload_digest(request->device, bytes, length, offset, &part);
            if (status != WEFT_OK) {
                return status;
            }
        }
        update->payload_digest += part;
        offset += length;
    }
    return WEFT_OK;
}

/* Copies what is sent into host memory, run by run, padding as zeros. */
static weft_status mirror(weft_plan *plan, const weft_plan_request *request)
{
    weft_status status = WEFT_OK;
    uint8_t *wire = hold(plan, request, plan->payload_bytes, &status);
    if (wire != NULL) {
        memset(wire, 0, (size_t)plan->payload_bytes);
    }
    for (size_t i = 0; status == WEFT_OK && i < plan->update_count; i++) {
        const weft_planned_update *update = &plan->updates[i];
        uint32_t length = 0;
        for (uint64_t at = 0; status == WEFT_OK && at < update->payload_bytes; at += length) {
            const uint8_t *bytes = weft_plan_payload(plan, i, at, UINT32_C(1) << 30, &length);
            if (bytes != NULL) {
                status = request->device->fetch(request->device, wire + update->wire_begin + at,
                                                bytes, length);
            }
        }
    }
    plan->wire = wire; /* from here on weft_plan_payload reads it */
    return status;
}

weft_status weft_plan_make(weft_plan *plan, const weft_plan_request *request)
{
    weft_status status = WEFT_OK;
    *plan = (weft_plan){.kind = request->kind,
                        .allocator = *request->allocator,
                        .where = request->device->memory,
                        .tensors = weft_model_count(request->model)};
    plan->counts = hold(plan, request, plan->tensors * sizeof *plan->counts, &status);
    plan->segments = hold(plan, request, plan->tensors * sizeof *plan->segments, &status);
    if (plan->kind == WEFT_BASELINE) {
        plan->offsets = hold(plan, request, plan->tensors * sizeof *plan->offsets, &status);
    }
    if (status == WEFT_OK) {
        status = plan->kind == WEFT_SPARSE ? compare(plan, request) : take_all(plan, request);
    }
    if (status == WEFT_OK) {
        make_segments(plan, request);
        status = cut(plan, request);
    }
    if (status == WEFT_OK) {
        status = write_documents(plan, request);
    }
    if (status == WEFT_OK && request->vllm && plan->update_count > 1) {
        status = WEFT_E_LIMIT;
    }
    for (size_t i = 0; status == WEFT_OK && !request->vllm && i < plan->update_count; i++) {
        status = digest_payload(plan, request, i);
    }
    if (status == WEFT_OK && plan->where == WEFT_MEMORY_DEVICE && !request->by_transport) {
        status = mirror(plan, request);
    }
    if (status != WEFT_OK) {
        weft_plan_release(plan);
    }
    return status;
}

/* ---- Bytes to send ---- */

/*@ // Patch behind patch, from 0 to the end of the payload.
    predicate dense_tiles(weft_segment *segments, uint64_t *offsets, integer from, integer to,
                          integer bytes) =
      from < to <= SIZE_MAX && \valid_read(segments + (from .. to - 1)) &&
      \valid_read(offsets + (from .. to - 1)) && offsets[from] == 0 &&
      (\forall integer k; from < k < to ==>
        offsets[k] == offsets[k - 1] + value_bytes_of(segments + (k - 1))) &&
      offsets[to - 1] + value_bytes_of(segments + (to - 1)) == bytes &&
      \forall integer k; from <= k < to ==> offsets[k] + value_bytes_of(segments + k) <= bytes;

    predicate payload_tiles(weft_plan *plan, weft_planned_update *update) =
      plan->kind == WEFT_SPARSE ? update->index_bytes <= update->payload_bytes :
      dense_tiles(plan->segments, plan->offsets, update->first, update->first + update->count,
                  update->payload_bytes);
@*/

/*@ requires \valid(length);
    assigns *length;
    ensures *length == (left < most ? left : most) && \result == bytes;
@*/
static const uint8_t *run(const uint8_t *bytes, uint64_t left, uint32_t most, uint32_t *length)
{
    *length = left < most ? (uint32_t)left : most;
    return bytes;
}

/*@ requires \valid_read(plan) && \valid_read(update) && \valid(length);
    requires \separated(length, plan, update) && most > 0;
    requires offset < update->payload_bytes && update->index_bytes <= update->payload_bytes;
    assigns *length;
    ensures 1 <= *length <= most && offset + *length <= update->payload_bytes;
@*/
static const uint8_t *sparse_run(const weft_plan *plan, const weft_planned_update *update,
                                 uint64_t offset, uint32_t most, uint32_t *length)
{
    const uint8_t *payload = plan->difference.payload;
    if (offset < update->index_bytes) {
        return run(payload + update->index_begin + offset, update->index_bytes - offset, most,
                   length);
    }
    return run(payload + update->value_begin + (offset - update->index_bytes),
               update->payload_bytes - offset, most, length);
}

/* The last patch that begins at or before the offset and is not empty there. */
/*@ requires \valid_read(plan) && \valid_read(update) && \valid(length);
    requires \separated(length, plan, update) && most > 0;
    requires offset < update->payload_bytes;
    requires dense_tiles(plan->segments, plan->offsets, update->first,
                         update->first + update->count, update->payload_bytes);
    assigns *length;
    ensures 1 <= *length <= most && offset + *length <= update->payload_bytes;
@*/
static const uint8_t *dense_run(const weft_plan *plan, const weft_planned_update *update,
                                uint64_t offset, uint32_t most, uint32_t *length)
{
    size_t low = update->first, high = update->first + update->count;
    /*@ loop invariant update->first <= low < high <= update->first + update->count;
        loop invariant plan->offsets[low] <= offset;
        loop invariant high < update->first + update->count ==> offset < plan->offsets[high];
        loop assigns low, high;
        loop variant high - low;
    @*/
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (plan->offsets[middle] <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    /*@ assert offset < plan->offsets[low] + value_bytes_of(plan->segments + low); @*/
    const weft_segment *segment = &plan->segments[low];
    uint64_t within = offset - plan->offsets[low];
    uint64_t bytes = segment->count * segment->element_bytes;
    if (within < bytes) {
        return run((const uint8_t *)segment->values + within, bytes - within, most, length);
    }
    return run(NULL, padded(bytes) - within, most, length);
}

/*@ requires \valid_read(plan) && \valid_read(plan->updates + (0 .. plan->update_count - 1));
    requires update < plan->update_count && payload_tiles(plan, plan->updates + update);
    requires offset < plan->updates[update].payload_bytes;
    requires plan->wire != \null ==> plan->updates[update].wire_begin + offset <= UINT64_MAX;
    requires \valid(length) && most > 0;
    requires \separated(length, plan, plan->updates + update);
    assigns *length;
    ensures 1 <= *length <= most;
    ensures offset + *length <= \old(plan->updates[update].payload_bytes);
@*/
const uint8_t *weft_plan_payload(const weft_plan *plan, size_t update, uint64_t offset,
                                 uint32_t most, uint32_t *length)
{
    const weft_planned_update *planned = &plan->updates[update];
    if (plan->wire != NULL) {
        return run(plan->wire + planned->wire_begin + offset, planned->payload_bytes - offset, most,
                   length);
    }
    return plan->kind == WEFT_SPARSE ? sparse_run(plan, planned, offset, most, length)
                                     : dense_run(plan, planned, offset, most, length);
}

void weft_plan_load(const weft_plan *plan, size_t update, bool vllm_order, weft_load *load)
{
    const weft_planned_update *planned = &plan->updates[update];
    uint8_t *payload = plan->difference.payload;
    *load = (weft_load){0};
    if (plan->kind == WEFT_BASELINE || vllm_order) {
        load->segments = plan->segments + planned->first;
        load->count = planned->count;
        load->vllm_order = vllm_order;
    } else if (planned->payload_bytes > 0) {
        load->runs[0] = (weft_run){payload + planned->index_begin, planned->index_bytes};
        load->runs[1] = (weft_run){payload + planned->value_begin,
                                   planned->payload_bytes - planned->index_bytes};
    }
}
