#include "transport.h"

#include <string.h>

#include "base64.h"
#include "clock.h"

#define NS_PER_MS UINT64_C(1000000)

_Static_assert(WEFT_BASE64_LENGTH(WEFT_UNIQUE_ID_BYTES) == WEFT_UNIQUE_ID_MAX, "base64 of an id");

size_t weft_load_parts(const weft_load *load)
{
    return load->segments == NULL ? 2 : load->count * (load->vllm_order ? 2 : 1);
}

weft_run weft_load_part(const weft_load *load, size_t part)
{
    if (load->segments == NULL) {
        return load->runs[part];
    }
    const weft_segment *segment = &load->segments[load->vllm_order ? part / 2 : part];
    bool index = load->vllm_order && part % 2 == 0;
    union {
        const void *constant;
        void *writable;
    } view = {.constant =
                  index ? segment->indices : segment->values}; /* written on receivers only */
    uint64_t width = index ? segment->index_bytes : segment->element_bytes;
    return (weft_run){view.writable,
                      segment->indices == NULL && index ? 0 : segment->count * width};
}

void weft_transport_settle(const weft_transport *transport, uint32_t timeout_ms)
{
    uint64_t end_ns = weft_clock_ns() + timeout_ms * NS_PER_MS;
    transport->cancel(transport);
    while (transport->poll(transport, NULL) == WEFT_POLL_AGAIN && weft_clock_ns() < end_ns) {
    }
}

/* The number is one that no epoch has; groups of the same one differ by their ids. To move nothing
 * is to connect. */
weft_status weft_transport_join(const weft_transport *transport, const char *unique_id,
                                uint32_t rank, uint32_t ranks)
{
    static const weft_load nothing;
    weft_group group = {.number = UINT64_MAX, .rank = rank, .ranks = ranks, .greets = true};
    if (transport == NULL || unique_id == NULL || ranks < 2 || rank >= ranks ||
        !weft_base64_decode(unique_id, strlen(unique_id), group.unique_id, WEFT_UNIQUE_ID_BYTES)) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (transport->poll(transport, NULL) != WEFT_POLL_DONE) {
        return WEFT_E_WRONG_STATE;
    }
    transport->join(transport, &group);
    return transport->begin(transport, &nothing);
}

weft_status weft_transport_poll(const weft_transport *transport)
{
    if (transport == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    switch (transport->poll(transport, NULL)) {
    case WEFT_POLL_AGAIN:
        return WEFT_AGAIN;
    case WEFT_POLL_DONE:
        return transport->group(transport) != 0 ? WEFT_OK : WEFT_E_COLLECTIVE;
    case WEFT_POLL_GONE:
        break;
    }
    return WEFT_E_COLLECTIVE;
}

void weft_transport_leave(const weft_transport *transport)
{
    if (transport != NULL) {
        transport->cancel(transport);
    }
}

weft_status weft_transport_unique_id(const weft_transport *transport,
                                     char unique_id[WEFT_UNIQUE_ID_MAX + 1])
{
    uint8_t id[WEFT_UNIQUE_ID_BYTES];
    if (transport == NULL || unique_id == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    weft_status status = transport->invite(transport, id);
    if (status == WEFT_OK) {
        weft_base64_encode(id, sizeof id, unique_id);
    }
    return status;
}

void weft_transport_destroy(const weft_transport *transport)
{
    if (transport != NULL) {
        transport->destroy(transport);
    }
}

const char *weft_transport_text(const weft_transport *transport)
{
    return transport == NULL ? NULL : transport->text;
}
