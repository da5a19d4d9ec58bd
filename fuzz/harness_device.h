/* A device that is late, fails or goes away when told to. What is submitted is done only when poll
 * says so, so that a sanitizer sees memory that was given back too early. */
#ifndef WEFT_FUZZ_HARNESS_DEVICE_H
#define WEFT_FUZZ_HARNESS_DEVICE_H

#include "device.h"
#include "harness.h"

#define FUZZ_PENDING_MAX 4u

typedef struct fuzz_pending {
    weft_device_operation operation; /* 0: the digest of a payload */
    const weft_segment *segments;
    size_t count;
    const void *bytes;
    uint64_t length, offset;
    weft_device_result *result;
} fuzz_pending;

typedef struct fuzz_device {
    weft_device face;
    uint8_t late; /* polls that say AGAIN before what was submitted is done */
    bool refuses; /* the next submit fails */
    bool bad;     /* the next operation is done, and says that it failed */
    bool going;   /* the next poll finds that it is gone, for ever */
    bool gone;
    bool failed; /* once, in whatever way */
    uint8_t planted;
    uint32_t count;
    fuzz_pending pending[FUZZ_PENDING_MAX];
} fuzz_device;

#ifdef WEFT_PLANTED_BUG
enum { PLANTED_IN_CHECK = 1, PLANTED_IN_PUT };

/* The check of the indices is off by one; or a scalar that stands behind one other tensor is not
 * written. */
static inline weft_status fuzz_device_run(const fuzz_device *device, const fuzz_pending *p)
{
    const weft_device *host = weft_device_host();
    weft_segment segments[FUZZ_TENSORS];
    size_t count = p->count;
    for (size_t i = 0; i < count; i++) {
        bool wider = device->planted == PLANTED_IN_CHECK && p->segments[i].indices != NULL;
        segments[i] = p->segments[i];
        segments[i].elements += wider ? 1u : 0;
    }
    if (device->planted == PLANTED_IN_PUT && p->operation == WEFT_DEVICE_PUT && count == 2 &&
        segments[1].elements == 1) {
        count--;
    }
    return host->submit(host, p->operation, segments, count, p->result);
}
#else
static inline weft_status fuzz_device_run(const fuzz_device *device, const fuzz_pending *p)
{
    const weft_device *host = weft_device_host();
    (void)device;
    return host->submit(host, p->operation, p->segments, p->count, p->result);
}
#endif

static inline void fuzz_device_flush(fuzz_device *device)
{
    const weft_device *host = weft_device_host();
    for (uint32_t i = 0; i < device->count && !device->gone; i++) {
        const fuzz_pending *p = &device->pending[i];
        if (p->operation == 0) {
            (void)host->submit_payload_digest(host, p->bytes, p->length, p->offset, p->result);
        } else if (fuzz_device_run(device, p) != WEFT_OK || device->bad) {
            p->result->status = WEFT_E_DEVICE_FAILED;
            device->bad = false;
            device->failed = true;
        }
    }
    device->count = 0;
}

static inline weft_status fuzz_device_begin(fuzz_device *device, const fuzz_pending *pending)
{
    if (device->gone || device->refuses) {
        device->refuses = false;
        device->failed = true;
        return WEFT_E_DEVICE_FAILED;
    }
    fuzz_expect(device->count < FUZZ_PENDING_MAX);
    device->pending[device->count++] = *pending;
    return WEFT_OK;
}

static inline weft_status fuzz_device_submit(const weft_device *face, weft_device_operation op,
                                             const weft_segment *segments, size_t count,
                                             weft_device_result *result)
{
    return fuzz_device_begin(face->context,
                             &(fuzz_pending){op, segments, count, NULL, 0, 0, result});
}

static inline weft_status fuzz_device_digest(const weft_device *face, const void *bytes,
                                             uint64_t length, uint64_t offset,
                                             weft_device_result *result)
{
    return fuzz_device_begin(
        face->context,
        &(fuzz_pending){.bytes = bytes, .length = length, .offset = offset, .result = result});
}

static inline weft_poll fuzz_device_poll(const weft_device *face)
{
    fuzz_device *device = face->context;
    device->gone = device->gone || device->going;
    if (device->gone) {
        device->count = 0;
        return WEFT_POLL_GONE;
    }
    if (device->late > 0 && device->count > 0) {
        device->late--;
        return WEFT_POLL_AGAIN;
    }
    fuzz_device_flush(device);
    return WEFT_POLL_DONE;
}

static inline void fuzz_device_forget(const weft_device *face, const weft_segment *segments)
{
    (void)segments;
    fuzz_device_flush(face->context);
}

static inline weft_status fuzz_device_copy(const weft_device *face, void *to, const void *from,
                                           uint64_t bytes)
{
    fuzz_device *device = face->context;
    fuzz_device_flush(device);
    if (device->gone) {
        return WEFT_E_DEVICE_FAILED;
    }
    return weft_device_host()->copy(weft_device_host(), to, from, bytes);
}

static inline weft_status fuzz_device_digest_now(const weft_device *face, const void *bytes,
                                                 uint64_t length, uint64_t offset, uint64_t *digest)
{
    fuzz_device *device = face->context;
    fuzz_device_flush(device);
    if (device->gone) {
        return WEFT_E_DEVICE_FAILED;
    }
    return weft_device_host()->payload_digest(weft_device_host(), bytes, length, offset, digest);
}

static inline void fuzz_device_start(fuzz_device *device)
{
    *device = (fuzz_device){.face = *weft_device_host()};
    device->face.context = device;
    device->face.submit = fuzz_device_submit;
    device->face.poll = fuzz_device_poll;
    device->face.copy = fuzz_device_copy;
    device->face.fetch = fuzz_device_copy;
    device->face.forget = fuzz_device_forget;
    device->face.submit_payload_digest = fuzz_device_digest;
    device->face.payload_digest = fuzz_device_digest_now;
}

#endif
