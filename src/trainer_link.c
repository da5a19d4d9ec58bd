/* The sans-IO side of a trainer: links, bytes, time. */
#include <stdio.h>
#include <string.h>

#include "detail.h"
#include "memory.h"
#include "trace.h"
#include "trainer_engine.h"

static weft_peer *peer_of(const weft_trainer *trainer, uint32_t link)
{
    bool there = trainer != NULL && link < trainer->peers_end && trainer->peers[link]->open;
    return there ? trainer->peers[link] : NULL;
}

weft_status weft_trainer_link_open(weft_trainer *trainer, uint32_t *link)
{
    if (trainer == NULL || link == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    uint32_t slot = 0;
    while (slot < trainer->peers_end && trainer->peers[slot]->open) {
        slot++;
    }
    if (slot == WEFT_WORKERS_MAX) {
        return WEFT_E_TOO_MANY_LINKS;
    }
    if (slot == trainer->peers_end) {
        trainer->peers[slot] =
            weft_memory_allocate(&trainer->allocator, sizeof(weft_peer), WEFT_MEMORY_HOST);
        if (trainer->peers[slot] == NULL) {
            return WEFT_E_OUT_OF_MEMORY;
        }
        trainer->peers_end++;
    }
    weft_peer *peer = trainer->peers[slot];
    memset(peer, 0, sizeof *peer);
    peer->open = true;
    weft_link_init(&peer->link, WEFT_SENDER_WORKER, trainer->now_ns);
    weft_trainer_core_open(&trainer->core, slot);
    *link = slot;
    return WEFT_OK;
}

weft_status weft_trainer_link_close(weft_trainer *trainer, uint32_t link, weft_status status)
{
    weft_peer *peer = peer_of(trainer, link);
    if (peer == NULL) {
        return WEFT_E_UNKNOWN_LINK;
    }
    if (status == WEFT_E_LINK_CLOSED && weft_link_in_frame(&peer->link)) {
        status = WEFT_E_FRAME_TRUNCATED;
    }
    if (peer->said.status == WEFT_OK) {
        peer->said.status = status;
    }
    peer->open = false;
    weft_trace_lost(&trainer->hooks, trainer->now_ns, weft_session_state(&trainer->core.machine),
                    link, status);
    weft_trainer_drive(trainer,
                       &(weft_input){.type = WEFT_INPUT_LINK_LOST, .link = link, .status = status});
    return WEFT_OK;
}

weft_status weft_trainer_link_address(weft_trainer *trainer, uint32_t link, const char *address)
{
    weft_peer *peer = peer_of(trainer, link);
    if (peer == NULL) {
        return WEFT_E_UNKNOWN_LINK;
    }
    size_t length = address == NULL ? 0 : strlen(address);
    if (length == 0 || length > WEFT_PEER_ADDRESS_MAX || strchr(address, '\n') != NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    memcpy(peer->address, address, length + 1);
    return WEFT_OK;
}

/* ---- Who takes part, and where its peers reach it ---- */

weft_status weft_trainer_seat_workers(weft_trainer *trainer)
{
    uint32_t rank = 0;
    size_t bytes = 0;
    bool all_known = true;
    for (uint32_t link = 0; link < trainer->peers_end; link++) {
        weft_peer *peer = trainer->peers[link];
        if (trainer->core.slots[link].known) {
            peer->rank = ++rank;
            bytes += strlen(peer->address) + 1;
            all_known = all_known && peer->address[0] != '\0';
        }
    }
    if (!all_known) {
        return WEFT_OK;
    }
    trainer->addresses = weft_memory_allocate(&trainer->allocator, bytes, WEFT_MEMORY_HOST);
    if (trainer->addresses == NULL) {
        return weft_detail_set(&trainer->detail, WEFT_E_OUT_OF_MEMORY,
                               "there is no memory for the addresses of %u workers (%zu bytes)",
                               rank, bytes);
    }
    trainer->addresses_bytes = (uint32_t)bytes;
    char *at = trainer->addresses;
    for (uint32_t link = 0; link < trainer->peers_end; link++) {
        if (trainer->core.slots[link].known) {
            size_t length = strlen(trainer->peers[link]->address);
            memcpy(at, trainer->peers[link]->address, length);
            at[length] = '\n';
            at += length + 1;
        }
    }
    return WEFT_OK;
}

void weft_trainer_release_addresses(weft_trainer *trainer)
{
    weft_memory_release(&trainer->allocator, trainer->addresses, trainer->addresses_bytes,
                        WEFT_MEMORY_HOST);
    trainer->addresses = NULL;
    trainer->addresses_bytes = 0;
}

/* Keeps what a worker says of itself, for weft_trainer_worker. */
static void note(weft_peer *peer, const weft_link_item *item)
{
    const weft_message *message = item->message;
    bool tells_content =
        message->type == WEFT_MESSAGE_HELLO || message->type == WEFT_MESSAGE_COMMITTED ||
        message->type == WEFT_MESSAGE_ABORTED || message->type == WEFT_MESSAGE_FAILED;
    if (!tells_content) {
        return;
    }
    peer->said.version = message->version;
    peer->said.digest = message->digest;
    peer->said.condition = (weft_condition)message->condition;
    if (message->type == WEFT_MESSAGE_HELLO) {
        (void)snprintf(peer->name, sizeof peer->name, "%s", item->text);
        peer->said.last_epoch = message->last_epoch;
        peer->said.last_outcome = (weft_outcome)message->outcome;
        return;
    }
    peer->said.last_epoch = message->epoch;
    peer->said.last_outcome = message->type == WEFT_MESSAGE_COMMITTED ? WEFT_OUTCOME_COMMITTED
                              : message->type == WEFT_MESSAGE_ABORTED
                                  ? WEFT_OUTCOME_ABORTED
                                  : (weft_outcome)message->outcome;
    peer->said.status = message->type == WEFT_MESSAGE_FAILED ? (weft_status)message->code : WEFT_OK;
    (void)snprintf(peer->text, sizeof peer->text, "%s", item->text);
}

static void on_message(weft_trainer *trainer, uint32_t link, const weft_link_item *item)
{
    weft_peer *peer = trainer->peers[link];
    if (item->message->type == WEFT_MESSAGE_PING) {
        weft_message pong = {.type = WEFT_MESSAGE_PONG};
        weft_link_put(&peer->link, &pong, NULL);
    } else if (item->message->type != WEFT_MESSAGE_PONG) {
        note(peer, item); /* so that a hook that asks who says HELLO is told */
        weft_trainer_trace(trainer, WEFT_TRACE_RECEIVED, link, item->message, WEFT_OK);
        weft_trainer_drive(
            trainer,
            &(weft_input){.type = WEFT_INPUT_MESSAGE, .link = link, .message = *item->message});
    }
}

weft_status weft_trainer_receive(weft_trainer *trainer, uint32_t link, const void *bytes,
                                 size_t length)
{
    weft_peer *peer = peer_of(trainer, link);
    if (peer == NULL) {
        return WEFT_E_UNKNOWN_LINK;
    }
    if (bytes == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    const uint8_t *next = bytes;
    weft_link_item item;
    peer->link.heard_ns = trainer->now_ns;
    while (weft_link_take(&peer->link, &next, &length, &item) == WEFT_OK) {
        on_message(trainer, link, &item);
    }
    return peer->link.status;
}

/* ---- List, document and payload, as fast as the worker takes them ---- */

static bool next_peers(const weft_trainer *trainer, uint32_t link, weft_peer *peer)
{
    uint32_t left = trainer->addresses_bytes - peer->peers_sent;
    if (left == 0) {
        return false;
    }
    weft_message message = {.type = WEFT_MESSAGE_PEERS,
                            .epoch = trainer->core.epoch,
                            .offset = peer->peers_sent,
                            .tail = left < WEFT_PEERS_TAIL_MAX ? left : WEFT_PEERS_TAIL_MAX};
    weft_link_put_piece(&peer->link, &message, trainer->addresses + peer->peers_sent);
    peer->peers_sent += message.tail;
    weft_trainer_trace(trainer, WEFT_TRACE_SENT, link, &message, WEFT_OK);
    return true;
}

static bool next_document(const weft_trainer *trainer, uint32_t link, weft_peer *peer)
{
    const weft_planned_update *update = &trainer->plan.updates[trainer->core.update];
    uint64_t left = update->document_bytes - peer->document_sent;
    if (left == 0) {
        return false;
    }
    weft_message message = {.type = WEFT_MESSAGE_DOCUMENT,
                            .epoch = trainer->core.epoch,
                            .update = trainer->core.update,
                            .offset = peer->document_sent,
                            .tail = left < WEFT_DOCUMENT_TAIL_MAX ? (uint32_t)left
                                                                  : WEFT_DOCUMENT_TAIL_MAX};
    weft_link_put_piece(&peer->link, &message, update->document + peer->document_sent);
    peer->document_sent += message.tail;
    weft_trainer_trace(trainer, WEFT_TRACE_SENT, link, &message, WEFT_OK);
    return true;
}

static bool next_payload(const weft_trainer *trainer, uint32_t link, weft_peer *peer)
{
    const weft_planned_update *update = &trainer->plan.updates[trainer->core.update];
    if (peer->payload_begun && peer->payload_sent == update->payload_bytes) {
        return false;
    }
    weft_message message = {.type = WEFT_MESSAGE_PAYLOAD,
                            .epoch = trainer->core.epoch,
                            .update = trainer->core.update,
                            .offset = peer->payload_sent};
    const uint8_t *bytes = NULL;
    if (update->payload_bytes > 0) { /* otherwise one empty piece */
        bytes = weft_plan_payload(&trainer->plan, trainer->core.update, peer->payload_sent,
                                  WEFT_PAYLOAD_TAIL_MAX, &message.tail);
    }
    peer->payload_begun = true;
    peer->payload_sent += message.tail;
    weft_link_put_piece(&peer->link, &message, bytes);
    weft_trainer_trace(trainer, WEFT_TRACE_SENT, link, &message, WEFT_OK);
    return true;
}

size_t weft_trainer_send(weft_trainer *trainer, uint32_t link, weft_span spans[WEFT_SPANS_MAX])
{
    weft_peer *peer = peer_of(trainer, link);
    if (peer == NULL || spans == NULL) {
        return 0;
    }
    size_t count = weft_link_spans(&peer->link, spans);
    bool member = trainer->core.slots[link].member;
    if (count > 0 || !member) {
        return count;
    }
    bool more =
        (trainer->core.phase == WEFT_PHASE_PREPARE &&
         (next_peers(trainer, link, peer) || next_document(trainer, link, peer))) ||
        (trainer->core.phase == WEFT_PHASE_PAYLOAD &&
         trainer->core.transport == WEFT_TRANSPORT_TCP && next_payload(trainer, link, peer));
    return more ? weft_link_spans(&peer->link, spans) : 0;
}

void weft_trainer_sent(weft_trainer *trainer, uint32_t link, size_t length)
{
    weft_peer *peer = peer_of(trainer, link);
    if (peer != NULL) {
        weft_link_sent(&peer->link, length, trainer->now_ns);
    }
}

/* ---- Time ---- */

void weft_trainer_tick(weft_trainer *trainer, uint64_t now_ns)
{
    if (trainer == NULL) {
        return;
    }
    uint64_t passed_ns = now_ns > trainer->now_ns ? now_ns - trainer->now_ns : 0;
    trainer->now_ns += passed_ns;
    if (trainer->planned) { /* the diff took that time; nobody has been waited for yet */
        trainer->planned = false;
        trainer->began_ns += passed_ns;
        trainer->core.deadline_ns += trainer->core.deadline_ns != 0 ? passed_ns : 0;
    }
    weft_trainer_poll_work(trainer);
    weft_trainer_drive(trainer, &(weft_input){.type = WEFT_INPUT_TIME, .link = WEFT_LINK_NONE});
    for (uint32_t link = 0; link < trainer->peers_end; link++) {
        if (trainer->peers[link]->open) {
            weft_link_keep_alive(&trainer->peers[link]->link, trainer->now_ns,
                                 trainer->keepalive_ms);
        }
    }
}

uint64_t weft_trainer_next_ns(const weft_trainer *trainer)
{
    uint64_t next = UINT64_MAX;
    if (trainer == NULL) {
        return next;
    }
    if (trainer->core.phase != WEFT_PHASE_NONE) {
        next = trainer->core.deadline_ns;
    }
    for (uint32_t link = 0; link < trainer->peers_end; link++) {
        const weft_peer *peer = trainer->peers[link];
        if (peer->open && peer->link.status == WEFT_OK) {
            uint64_t due = weft_link_next_ns(&peer->link, trainer->keepalive_ms);
            next = due < next ? due : next;
        }
    }
    return weft_trainer_is_busy(trainer) ? trainer->now_ns : next;
}

weft_status weft_trainer_link_status(const weft_trainer *trainer, uint32_t link)
{
    const weft_peer *peer = peer_of(trainer, link);
    return peer == NULL ? WEFT_E_UNKNOWN_LINK : peer->link.status;
}
