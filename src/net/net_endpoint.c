/* Worker and trainer as one kind of thing: what section 7 of weft.h offers for both. */
#include <stdlib.h>

#include "net.h"

weft_endpoint *weft_endpoint_acquire(weft_net *net, weft_worker *worker, weft_trainer *trainer)
{
    weft_endpoint *endpoint = net->endpoints;
    while (endpoint != NULL && (endpoint->worker != worker || endpoint->trainer != trainer)) {
        endpoint = endpoint->next;
    }
    if (endpoint == NULL) {
        endpoint = calloc(1, sizeof *endpoint);
        if (endpoint == NULL) {
            return NULL;
        }
        *endpoint = (weft_endpoint){.next = net->endpoints, .worker = worker, .trainer = trainer};
        net->endpoints = endpoint;
    }
    endpoint->users++;
    return endpoint;
}

void weft_endpoint_release(weft_net *net, weft_endpoint *endpoint)
{
    if (--endpoint->users > 0) {
        return;
    }
    weft_endpoint **at = &net->endpoints;
    while (*at != endpoint) {
        at = &(*at)->next;
    }
    *at = endpoint->next;
    free(endpoint);
}

void weft_endpoint_tick(weft_net *net, weft_endpoint *endpoint)
{
    if (endpoint->turn == net->turn) {
        return;
    }
    uint64_t now_ns = weft_net_now_ns();
    endpoint->turn = net->turn;
    if (now_ns >= weft_endpoint_next_ns(endpoint)) {
        net->happened = true;
    }
    if (endpoint->worker != NULL) {
        weft_worker_tick(endpoint->worker, now_ns);
    } else {
        weft_trainer_tick(endpoint->trainer, now_ns);
    }
}

bool weft_endpoint_in_session(const weft_endpoint *endpoint)
{
    weft_worker_info worker = {.state = WEFT_IDLE};
    weft_trainer_info trainer = {.state = WEFT_IDLE};
    weft_worker_get_info(endpoint->worker, &worker);
    weft_trainer_get_info(endpoint->trainer, &trainer);
    return worker.state != WEFT_IDLE || trainer.state != WEFT_IDLE;
}

uint64_t weft_endpoint_next_ns(const weft_endpoint *endpoint)
{
    return endpoint->worker != NULL ? weft_worker_next_ns(endpoint->worker)
                                    : weft_trainer_next_ns(endpoint->trainer);
}

weft_status weft_endpoint_link_open(weft_endpoint *endpoint, const weft_dialer *dialer,
                                    uint32_t *link)
{
    if (endpoint->worker != NULL) {
        return dialer == NULL ? weft_worker_link_open(endpoint->worker, link)
                              : weft_worker_peer_open(endpoint->worker, dialer->rank, link);
    }
    weft_status status = weft_trainer_link_open(endpoint->trainer, link);
    if (status == WEFT_OK && dialer != NULL) { /* too long for its peers' list: without one */
        (void)weft_trainer_link_address(endpoint->trainer, *link, dialer->address.text);
    }
    return status;
}

void weft_endpoint_link_close(weft_endpoint *endpoint, uint32_t link, weft_status status)
{
    if (endpoint->worker != NULL) {
        (void)weft_worker_link_close(endpoint->worker, link, status);
    } else {
        (void)weft_trainer_link_close(endpoint->trainer, link, status);
    }
}

weft_status weft_endpoint_link_status(const weft_endpoint *endpoint, uint32_t link)
{
    return endpoint->worker != NULL ? weft_worker_link_status(endpoint->worker, link)
                                    : weft_trainer_link_status(endpoint->trainer, link);
}

weft_status weft_endpoint_receive(weft_endpoint *endpoint, uint32_t link, const void *bytes,
                                  size_t length)
{
    return endpoint->worker != NULL ? weft_worker_receive(endpoint->worker, link, bytes, length)
                                    : weft_trainer_receive(endpoint->trainer, link, bytes, length);
}

size_t weft_endpoint_send(weft_endpoint *endpoint, uint32_t link, weft_span spans[WEFT_SPANS_MAX])
{
    return endpoint->worker != NULL ? weft_worker_send(endpoint->worker, link, spans)
                                    : weft_trainer_send(endpoint->trainer, link, spans);
}

void weft_endpoint_sent(weft_endpoint *endpoint, uint32_t link, size_t length)
{
    if (endpoint->worker != NULL) {
        weft_worker_sent(endpoint->worker, link, length);
    } else {
        weft_trainer_sent(endpoint->trainer, link, length);
    }
}

void weft_endpoint_service(weft_net *net, weft_endpoint *endpoint)
{
    uint32_t rank;
    const char *text;
    weft_address address;
    while (weft_worker_peer_wanted(endpoint->worker, &rank, &text)) {
        if (weft_address_parse(&address, text) != WEFT_OK || address.number == 0) {
            weft_net_say(net, "\"%.300s\", where a peer should be asked, is no address", text);
            weft_worker_peer_failed(endpoint->worker, rank);
        } else if (weft_dialer_create_once(net, endpoint->worker, rank, &address) == NULL) {
            weft_worker_peer_failed(endpoint->worker, rank);
        }
    }
}
