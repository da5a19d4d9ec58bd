/* A trainer's part in collectives: who belongs to the group, and when its payload moves. */
#include <string.h>

#include "base64.h"
#include "detail.h"
#include "trainer_engine.h"

#define NS_PER_MS UINT64_C(1000000)

/* ---- Group ---- */

static bool is_member(const weft_trainer *trainer, uint32_t link)
{
    return trainer->core.slots[link].known;
}

/* Everybody who would take part is in the group, and nobody of it is missing. A peer that came back
 * is a new one. */
static bool is_same_group(const weft_trainer *trainer)
{
    uint32_t members = 0;
    if (trainer->group.number == 0 ||
        trainer->transport->group(trainer->transport) != trainer->group.number) {
        return false;
    }
    for (uint32_t link = 0; link < trainer->peers_end; link++) {
        if (is_member(trainer, link)) {
            members++;
            if (trainer->peers[link]->group != trainer->group.number) {
                return false;
            }
        }
    }
    return members + 1 == trainer->group.ranks;
}

weft_status weft_trainer_make_group(weft_trainer *trainer)
{
    weft_group group = {.number = trainer->core.highest_epoch + 1, .ranks = 1};
    if (trainer->transport == NULL || is_same_group(trainer)) {
        return WEFT_OK;
    }
    weft_status status = trainer->transport->invite(trainer->transport, group.unique_id);
    if (status != WEFT_OK) {
        return weft_detail_set(&trainer->detail, status, "%s",
                               weft_transport_text(trainer->transport));
    }
    for (uint32_t link = 0; link < trainer->peers_end; link++) {
        if (is_member(trainer, link)) {
            trainer->peers[link]->group = group.number;
            group.ranks++; /* each has the rank that weft_trainer_seat_workers gave it */
        }
    }
    trainer->group = group;
    trainer->transport->join(trainer->transport, &group);
    return WEFT_OK;
}

void weft_trainer_invite(const weft_trainer *trainer, weft_message *start,
                         char text[WEFT_UNIQUE_ID_MAX + 1])
{
    start->group = trainer->group.number;
    weft_base64_encode(trainer->group.unique_id, WEFT_UNIQUE_ID_BYTES, text);
}

/* ---- Transfer ---- */

static void transfer_failed(weft_trainer *trainer)
{
    weft_trainer_drive(trainer, &(weft_input){.type = WEFT_INPUT_STOP,
                                              .link = WEFT_LINK_NONE,
                                              .status = WEFT_E_COLLECTIVE});
}

static void begin(weft_trainer *trainer)
{
    trainer->transfer_due = false;
    weft_plan_load(&trainer->plan, trainer->core.update, false, &trainer->load);
    if (trainer->plan.updates[trainer->core.update].payload_bytes == 0) {
        return; /* nothing moves; every worker knows */
    }
    trainer->moving = true;
    if (trainer->transport->begin(trainer->transport, &trainer->load) != WEFT_OK) {
        transfer_failed(trainer);
    }
}

void weft_trainer_transfer(weft_trainer *trainer)
{
    trainer->transfer_due = true;
}

void weft_trainer_cancel_transfer(weft_trainer *trainer)
{
    trainer->transfer_due = false;
    trainer->group.number = 0;
    if (trainer->moving) {
        trainer->leave_ns = trainer->now_ns + trainer->timeout_ms * NS_PER_MS;
        trainer->transport->cancel(trainer->transport);
    }
}

void weft_trainer_poll_transfer(weft_trainer *trainer)
{
    if (trainer->vllm != WEFT_VLLM_NONE) {
        return; /* its own poll */
    }
    if (trainer->moving) {
        weft_poll poll = trainer->transport->poll(trainer->transport, NULL);
        bool cancelled = trainer->group.number == 0;
        if (poll == WEFT_POLL_GONE && !cancelled) {
            transfer_failed(trainer);
            return;
        }
        /* A collective that cannot be left only reads here, so nobody waits for it without end. */
        bool waited = cancelled && trainer->now_ns >= trainer->leave_ns;
        trainer->moving = poll == WEFT_POLL_AGAIN && !waited;
    }
    if (trainer->transfer_due && !trainer->moving) {
        begin(trainer);
    }
}
