#include "stand_in.h"

static stand_in *of(const weft_device *device)
{
    return device->context;
}

static weft_status submit(const weft_device *device, weft_device_operation operation,
                          const weft_segment *segments, size_t count, weft_device_result *result)
{
    stand_in *s = of(device);
    const weft_device *host = weft_device_host();
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
    return s->polls > 0 ? WEFT_POLL_AGAIN : WEFT_POLL_DONE;
}

void stand_in_start(stand_in *device, test_random *random)
{
    *device = (stand_in){.face = *weft_device_host(), .random = random};
    device->face.context = device;
    device->face.submit = submit;
    device->face.poll = poll;
}
