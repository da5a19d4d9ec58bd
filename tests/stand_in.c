#include "stand_in.h"

static stand_in *of(const weft_device *device)
{
    return device->context;
}

/* An element that the operation writes gets bits that nobody asked for, again and again others. */
static void spoil(const stand_in *s)
{
    for (size_t i = 0; i < s->count; i++) {
        const weft_segment *segment = &s->segments[i];
        if (segment->count > 0) {
            uint64_t index = segment->indices == NULL
                                 ? 0
                                 : test_bits_get(segment->indices, 0, segment->index_bytes);
            ((uint8_t *)segment->target)[index * segment->element_bytes] ^=
                s->operation == WEFT_DEVICE_PUT ? 0xa5 : 0x3c;
            return;
        }
    }
}

static bool writes(weft_device_operation operation)
{
    return operation == WEFT_DEVICE_PUT || operation == WEFT_DEVICE_ROLLBACK;
}

static weft_status hold(stand_in *s, weft_device_operation operation, const weft_segment *segments,
                        size_t count, weft_device_result *result)
{
    s->held = s->alive = true;
    s->operation = operation;
    s->segments = segments;
    s->count = count;
    s->result = result;
    if (writes(operation)) {
        spoil(s);
    }
    return WEFT_OK;
}

static weft_status submit(const weft_device *device, weft_device_operation operation,
                          const weft_segment *segments, size_t count, weft_device_result *result)
{
    stand_in *s = of(device);
    const weft_device *host = weft_device_host();

    if (s->holds && operation != WEFT_DEVICE_DIGEST) {
        return hold(s, operation, segments, count, result);
    }
    weft_status status = host->submit(host, operation, segments, count, result);
    s->polls = (unsigned)test_random_below(s->random, s->slowest + UINT64_C(1));
    if (s->fails_one_in > 0 && test_random_below(s->random, s->fails_one_in) == 0) {
        result->status = WEFT_E_DEVICE_FAILED;
        result->segment = UINT32_MAX; /* about none */
    }
    return status;
}

static weft_poll poll(const weft_device *device)
{
    stand_in *s = of(device);

    s->polls -= s->polls > 0 ? 1 : 0;
    return s->polls > 0 || s->held ? WEFT_POLL_AGAIN : WEFT_POLL_DONE;
}

static weft_status copy(const weft_device *device, void *to, const void *from, uint64_t bytes)
{
    const weft_device *host = weft_device_host();

    return of(device)->copies_fail ? WEFT_E_DEVICE_FAILED : host->copy(host, to, from, bytes);
}

/* The session is over; what is held touches its memory no more. */
static void forget(const weft_device *device, const weft_segment *segments)
{
    (void)segments;
    of(device)->alive = false;
}

void stand_in_start(stand_in *device, test_random *random)
{
    *device = (stand_in){.face = *weft_device_host(), .random = random};
    device->face.context = device;
    device->face.submit = submit;
    device->face.poll = poll;
    device->face.copy = copy;
    device->face.forget = forget;
}

void stand_in_release(stand_in *device, weft_status status, uint64_t wrong)
{
    const weft_device *host = weft_device_host();

    if (device->held && device->alive) {
        if (status == WEFT_OK) {
            (void)host->submit(host, device->operation, device->segments, device->count,
                               device->result);
        }
        device->result->status = status == WEFT_OK ? device->result->status : status;
        device->result->segment = status == WEFT_OK ? device->result->segment : UINT32_MAX;
        device->result->digest += wrong;
    }
    device->held = false;
}
