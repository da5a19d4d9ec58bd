/* The sans-IO side of a worker: links, bytes, time. */
#include <string.h>

#include "memory.h"
#include "trace.h"
#include "worker_engine.h"

static weft_link *link_of(const weft_worker *worker, uint32_t link)
{
    return worker != NULL && link < WEFT_LINKS_MAX ? worker->links[link] : NULL;
}

static void say_hello(weft_worker *worker, uint32_t link)
{
    weft_message hello;
    weft_action action = {.type = WEFT_ACTION_SEND, .message = WEFT_MESSAGE_HELLO, .link = link};
    weft_worker_compose(&worker->core, &action, &hello);
    hello.fingerprint = worker->fingerprint;
    weft_link_put(worker->links[link], &hello, worker->name);
    weft_worker_trace(worker, WEFT_TRACE_SENT, link, &hello, WEFT_OK);
}

weft_status weft_worker_add_link(weft_worker *worker, weft_sender peer, uint32_t *link)
{
    uint32_t free_link = 0;
    while (free_link < WEFT_LINKS_MAX && worker->links[free_link] != NULL) {
        free_link++;
    }
    if (free_link == WEFT_LINKS_MAX) {
        return WEFT_E_TOO_MANY_LINKS;
    }
    worker->links[free_link] =
        weft_memory_allocate(&worker->allocator, sizeof(weft_link), WEFT_MEMORY_HOST);
    if (worker->links[free_link] == NULL) {
        return WEFT_E_OUT_OF_MEMORY;
    }
    weft_link_init(worker->links[free_link], peer, worker->now_ns);
    *link = free_link;
    return WEFT_OK;
}

weft_status weft_worker_link_open(weft_worker *worker, uint32_t *link)
{
    if (worker == NULL || link == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    weft_status status = weft_worker_add_link(worker, WEFT_SENDER_TRAINER, link);
    if (status == WEFT_OK) {
        say_hello(worker, *link);
    }
    return status;
}

void weft_worker_lose_link(weft_worker *worker, uint32_t link, weft_status status)
{
    if (link < WEFT_LINKS_MAX) {
        weft_trace_lost(&worker->hooks, worker->now_ns, weft_session_state(&worker->core.machine),
                        link, status);
    }
    weft_worker_drive(worker,
                      &(weft_input){.type = WEFT_INPUT_LINK_LOST, .link = link, .status = status});
}

weft_status weft_worker_link_close(weft_worker *worker, uint32_t link, weft_status status)
{
    weft_link *closed = link_of(worker, link);
    if (closed == NULL) {
        return WEFT_E_UNKNOWN_LINK;
    }
    if (status == WEFT_E_LINK_CLOSED && weft_link_in_frame(closed)) {
        status = WEFT_E_FRAME_TRUNCATED;
    }
    weft_worker_lose_link(worker, link, status);
    if (worker->taking == link) {
        worker->taking = WEFT_LINK_NONE;
    }
    weft_worker_peer_closed(worker, link);
    weft_memory_release(&worker->allocator, closed, sizeof *closed, WEFT_MEMORY_HOST);
    worker->links[link] = NULL;
    return WEFT_OK;
}

static void on_message(weft_worker *worker, uint32_t link, const weft_link_item *item)
{
    if (worker->taking == link) { /* the tail before it was let in; its own may be refused */
        worker->taking = WEFT_LINK_NONE;
    }
    if (item->message->type == WEFT_MESSAGE_PING) {
        weft_message pong = {.type = WEFT_MESSAGE_PONG};
        weft_link_put(worker->links[link], &pong, NULL);
    } else if (item->message->type != WEFT_MESSAGE_PONG) {
        weft_worker_trace(worker, WEFT_TRACE_RECEIVED, link, item->message, WEFT_OK);
        if (worker->links[link]->peer == WEFT_SENDER_WORKER) {
            weft_worker_on_peer_message(worker, link, item->message);
            return;
        }
        if (item->message->type == WEFT_MESSAGE_START) {
            weft_worker_on_start(worker, link, item->message, item->text);
            return;
        }
        weft_worker_drive(
            worker,
            &(weft_input){.type = WEFT_INPUT_MESSAGE, .link = link, .message = *item->message});
        if (item->message->tail == 0 &&
            worker->taking == link) { /* an empty payload is complete as it comes */
            weft_worker_take_tail(worker, NULL, 0, item->message->offset);
        }
    }
}

weft_status weft_worker_receive(weft_worker *worker, uint32_t link, const void *bytes,
                                size_t length)
{
    weft_link *from = link_of(worker, link);
    if (from == NULL) {
        return WEFT_E_UNKNOWN_LINK;
    }
    if (bytes == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    const uint8_t *next = bytes;
    weft_link_item item;
    from->heard_ns = worker->now_ns;
    while (weft_link_take(from, &next, &length, &item) == WEFT_OK) {
        if (item.is_message) {
            on_message(worker, link, &item);
        } else if (worker->taking == link) {
            weft_worker_take_tail(worker, item.bytes, item.length, item.offset);
        }
    }
    return from->status;
}

size_t weft_worker_send(weft_worker *worker, uint32_t link, weft_span spans[WEFT_SPANS_MAX])
{
    const weft_link *to = link_of(worker, link);
    return to == NULL || spans == NULL ? 0 : weft_link_spans(to, spans);
}

void weft_worker_sent(weft_worker *worker, uint32_t link, size_t length)
{
    weft_link *to = link_of(worker, link);
    if (to != NULL) {
        weft_link_sent(to, length, worker->now_ns);
    }
}

void weft_worker_tick(weft_worker *worker, uint64_t now_ns)
{
    if (worker == NULL) {
        return;
    }
    uint64_t passed_ns = now_ns > worker->now_ns ? now_ns - worker->now_ns : 0;
    worker->now_ns += passed_ns;
    if (worker->local_called && worker->core.deadline_ns != 0) { /* it counts from here */
        worker->core.deadline_ns += passed_ns;
    }
    worker->local_called = false;
    weft_worker_poll_work(worker);
    weft_worker_drive_ready(worker);
    weft_worker_drive(worker, &(weft_input){.type = WEFT_INPUT_TIME, .link = WEFT_LINK_NONE});
    weft_worker_tick_peers(worker);
    for (uint32_t i = 0; i < WEFT_LINKS_MAX; i++) {
        if (worker->links[i] != NULL) {
            weft_link_keep_alive(worker->links[i], worker->now_ns, worker->keepalive_ms);
        }
    }
}

uint64_t weft_worker_next_ns(const weft_worker *worker)
{
    uint64_t next = UINT64_MAX;
    if (worker == NULL) {
        return next;
    }
    if (weft_session_active(&worker->core.machine)) {
        uint64_t peers_ns = weft_worker_peers_next_ns(worker);
        next = worker->core.deadline_ns < peers_ns ? worker->core.deadline_ns : peers_ns;
    }
    for (uint32_t i = 0; i < WEFT_LINKS_MAX; i++) {
        if (worker->links[i] != NULL && worker->links[i]->status == WEFT_OK) {
            uint64_t due = weft_link_next_ns(worker->links[i], worker->keepalive_ms);
            next = due < next ? due : next;
        }
    }
    return weft_worker_is_busy(worker) ? worker->now_ns : next;
}

weft_status weft_worker_link_status(const weft_worker *worker, uint32_t link)
{
    const weft_link *asked = link_of(worker, link);
    return asked == NULL ? WEFT_E_UNKNOWN_LINK : asked->status;
}
