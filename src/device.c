/* What devices have in common: who frees and allocates, marks for profilers, and waiting, for those
 * who may. */
#include "device.h"

#include <sched.h>
#include <stdio.h>

void weft_device_destroy(const weft_device *device)
{
    if (device != NULL && device->destroy != NULL) {
        device->destroy(device);
    }
}

const char *weft_device_text(const weft_device *device)
{
    return device == NULL || device->text == NULL ? "" : device->text;
}

weft_allocator weft_device_allocator(const weft_device *device, const weft_allocator *configured)
{
    if (configured->allocate != NULL) {
        return *configured;
    }
    return device->allocator.allocate != NULL ? device->allocator : weft_allocator_default();
}

void weft_device_mark(const weft_device *device, uint64_t *range, const char *name)
{
    if (device->mark != NULL) {
        device->mark(device, range, name);
    }
}

void weft_device_mark_state(const weft_device *device, uint64_t *range, const char *role,
                            weft_state state)
{
    char name[40];
    if (device->mark == NULL) {
        return;
    }
    (void)snprintf(name, sizeof name, "weft %s %s", role, weft_state_name(state));
    device->mark(device, range, state == WEFT_IDLE ? NULL : name);
}

weft_status weft_device_run(const weft_device *device, weft_device_operation operation,
                            const weft_segment *segments, size_t count, weft_device_result *result)
{
    weft_status status = device->submit(device, operation, segments, count, result);
    weft_poll poll;

    if (status != WEFT_OK) {
        return status;
    }
    while ((poll = device->poll(device)) == WEFT_POLL_AGAIN) {
        (void)sched_yield();
    }
    return poll == WEFT_POLL_GONE ? WEFT_E_DEVICE_FAILED : result->status;
}
