/* The host device: weights in ordinary memory, every operation done within submit, in plain C. It
 * is the reference that every other device is compared with.
 *
 * Each operation on a sparse segment is one loop over its indices. The loops are written once, with
 * the widths of index and element as parameters, and compiled for each pair of widths. */
#include "device.h"

#include "device_host.h"
#include "digest.h"
#include "index_check.h"

/* Calls function(segment, index_bytes, element_bytes) with constants. The widths were checked. */
#define WITH_WIDTHS(function, segment)                                                             \
    ((segment)->index_bytes == 4 ? WITH_ELEMENT(function, segment, 4)                              \
                                 : WITH_ELEMENT(function, segment, 8))
#define WITH_ELEMENT(function, segment, index_bytes)                                               \
    ((segment)->element_bytes == 1   ? function(segment, index_bytes, 1)                           \
     : (segment)->element_bytes == 2 ? function(segment, index_bytes, 2)                           \
     : (segment)->element_bytes == 4 ? function(segment, index_bytes, 4)                           \
                                     : function(segment, index_bytes, 8))

static bool is_dense(const weft_segment *segment)
{
    return segment->indices == NULL;
}

/* Whether the operation can be carried out at all; what the indices are, VERIFY says. */
static bool is_well_formed(const weft_segment *segment, weft_device_operation operation)
{
    if (!weft_host_is_element(segment->element_bytes)) {
        return false;
    }
    if (operation == WEFT_DEVICE_DIGEST || segment->count == 0) {
        return true;
    }
    if (operation == WEFT_DEVICE_ROLLBACK ? segment->undo == NULL : segment->values == NULL) {
        return false;
    }
    return is_dense(segment) ? segment->count == segment->elements
                             : weft_host_is_index(segment->index_bytes);
}

/* Nothing may come from nowhere: memcpy may not be given NULL, not even with 0 bytes. */
static void copy_bytes(void *to, const void *from, uint64_t bytes)
{
    if (bytes != 0) {
        memcpy(to, from, bytes);
    }
}

/* ---- check ---- */

static bool are_sound(const weft_segment *segment)
{
    return segment->index_bytes == 4
               ? weft_indices_are_sound(segment->indices, segment->count, segment->elements, 4)
               : weft_indices_are_sound(segment->indices, segment->count, segment->elements, 8);
}

static bool check(const weft_segment *segments, size_t count, weft_device_result *result)
{
    for (size_t i = 0; i < count; i++) {
        const weft_segment *segment = &segments[i];
        if (segment->count == 0 || is_dense(segment)) {
            continue;
        }
        if (!are_sound(segment)) {
            result->segment = (uint32_t)i;
            result->status =
                weft_indices_fault(segment->indices, segment->count, segment->elements,
                                   segment->index_bytes, &result->position, &result->found);
            return false;
        }
    }
    return true;
}

/* ---- verify ---- */

/* Gathers the old bits, and gives the digest of the change. */
WEFT_ALWAYS_INLINE uint64_t gather(const weft_segment *segment, unsigned index_bytes,
                                   unsigned element_bytes)
{
    uint8_t *undo = segment->undo;
    uint64_t digest = 0;

    for (uint64_t i = 0; i < segment->count; i++) {
        uint64_t index = weft_host_load(segment->indices, i, index_bytes);
        uint64_t before = weft_host_load(segment->target, index, element_bytes);
        uint64_t after = weft_host_load(segment->values, i, element_bytes);
        if (undo != NULL) {
            weft_host_store(undo, i, element_bytes, before);
        }
        digest += weft_digest_key(segment->seed, index) *
                  (weft_digest_fold(after) - weft_digest_fold(before));
    }
    return digest;
}

static uint64_t digest_elements(const weft_segment *segment, const void *elements, uint64_t count)
{
    return weft_digest_elements(elements, 0, count, segment->element_bytes, segment->seed);
}

static uint64_t gather_dense(const weft_segment *segment)
{
    if (segment->undo != NULL) {
        copy_bytes(segment->undo, segment->target, segment->count * segment->element_bytes);
    }
    return digest_elements(segment, segment->values, segment->count);
}

static uint64_t verify_segment(const weft_segment *segment)
{
    return is_dense(segment) ? gather_dense(segment) : WITH_WIDTHS(gather, segment);
}

/* ---- put and rollback ---- */

WEFT_ALWAYS_INLINE void put(const weft_segment *segment, const uint8_t *values,
                            unsigned index_bytes, unsigned element_bytes)
{
    for (uint64_t i = 0; i < segment->count; i++) {
        weft_host_store(segment->target, weft_host_load(segment->indices, i, index_bytes),
                        element_bytes, weft_host_load(values, i, element_bytes));
    }
}

static void put_segment(const weft_segment *segment, const void *values)
{
#define PUT(s, index_bytes, element_bytes) put(s, values, index_bytes, element_bytes)
    if (is_dense(segment)) {
        copy_bytes(segment->target, values, segment->count * segment->element_bytes);
    } else {
        WITH_WIDTHS(PUT, segment);
    }
#undef PUT
}

/* ---- the device ---- */

static void run(weft_device_operation operation, const weft_segment *segment,
                weft_device_result *result)
{
    switch (operation) {
    case WEFT_DEVICE_VERIFY:
        result->digest += verify_segment(segment);
        break;
    case WEFT_DEVICE_PUT:
        put_segment(segment, segment->values);
        break;
    case WEFT_DEVICE_ROLLBACK:
        put_segment(segment, segment->undo);
        break;
    case WEFT_DEVICE_DIGEST:
        result->digest += digest_elements(segment, segment->target, segment->elements);
        break;
    }
}

static weft_status host_submit(const weft_device *device, weft_device_operation operation,
                               const weft_segment *segments, size_t count,
                               weft_device_result *result)
{
    (void)device;
    for (size_t i = 0; i < count; i++) {
        if (!is_well_formed(&segments[i], operation)) {
            return WEFT_E_DEVICE_FAILED;
        }
    }
    *result = (weft_device_result){.status = WEFT_OK};
    if (operation == WEFT_DEVICE_VERIFY && !check(segments, count, result)) {
        return WEFT_OK;
    }
    for (size_t i = 0; i < count; i++) {
        run(operation, &segments[i], result);
    }
    return WEFT_OK;
}

static weft_poll host_poll(const weft_device *device)
{
    (void)device;
    return WEFT_POLL_DONE;
}

static weft_status host_copy(const weft_device *device, void *to, const void *from, uint64_t bytes)
{
    (void)device;
    copy_bytes(to, from, bytes);
    return WEFT_OK;
}

static weft_status host_payload_digest(const weft_device *device, const void *bytes,
                                       uint64_t length, uint64_t offset, uint64_t *digest)
{
    (void)device;
    *digest = weft_digest_payload(bytes, (size_t)length, offset);
    return WEFT_OK;
}

static weft_status host_submit_payload_digest(const weft_device *device, const void *bytes,
                                              uint64_t length, uint64_t offset,
                                              weft_device_result *result)
{
    *result = (weft_device_result){.status = WEFT_OK};
    return host_payload_digest(device, bytes, length, offset, &result->digest);
}

static const weft_device host = {.name = "host",
                                 .memory = WEFT_MEMORY_HOST,
                                 .submit = host_submit,
                                 .poll = host_poll,
                                 .copy = host_copy,
                                 .fetch = host_copy,
                                 .submit_payload_digest = host_submit_payload_digest,
                                 .payload_digest = host_payload_digest,
                                 .diff = weft_host_diff};

const weft_device *weft_device_host(void)
{
    return &host;
}
