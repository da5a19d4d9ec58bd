#include "transport.h"

#include "clock.h"

#define NS_PER_MS UINT64_C(1000000)

void weft_transport_settle(const weft_transport *transport, uint32_t timeout_ms)
{
    uint64_t end_ns = weft_clock_ns() + timeout_ms * NS_PER_MS;
    transport->cancel(transport);
    while (transport->poll(transport, NULL) == WEFT_POLL_AGAIN && weft_clock_ns() < end_ns) {
    }
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
