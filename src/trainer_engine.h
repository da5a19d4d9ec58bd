/* A trainer's engine: turns bytes and calls into inputs of weft_trainer_step and carries out its
 * actions on plan, base, transport and links. trainer.c owns the life of a trainer, its pushes and
 * actions; trainer_link.c the sans-IO side, trainer_transfer.c its part in collectives,
 * trainer_vllm.c the push to receivers that are not weft's. */
#ifndef WEFT_SRC_TRAINER_ENGINE_H
#define WEFT_SRC_TRAINER_ENGINE_H

#include "device_model.h"
#include "link.h"
#include "plan.h"
#include "protocol.h"
#include "transport.h"
#include "weft.h"

typedef struct weft_peer { /* the worker on a link, or the last one that was there */
    bool open;
    weft_link link;
    weft_trainer_worker_info said;
    uint64_t document_sent, payload_sent; /* of the present update */
    uint32_t peers_sent;                  /* of the list of addresses */
    bool payload_begun;
    uint64_t group; /* that it was invited to; 0: none */
    uint32_t rank;
    char address[WEFT_PEER_ADDRESS_MAX + 1]; /* where other workers reach it; "": not known */
    char name[WEFT_TEXT_MAX + 1];
    char text[WEFT_TEXT_MAX + 1];
} weft_peer;

/* A push to receivers that are not weft's. */
typedef enum weft_vllm {
    WEFT_VLLM_NONE = 0,
    WEFT_VLLM_PLANNED,
    WEFT_VLLM_SENDING,
    WEFT_VLLM_SENT,
    WEFT_VLLM_FAILED
} weft_vllm;

struct weft_trainer {
    weft_trainer_core core;
    weft_plan plan;  /* of the running push, or of one that is in doubt */
    char *addresses; /* of its workers, a line for each; NULL: not all are known */
    uint32_t addresses_bytes;
    char *name;
    size_t name_bytes;
    weft_model *model;
    weft_model *base;
    weft_device_model own_base; /* where the user gave none: base is its model */
    const weft_device *device;
    weft_device_result advanced;     /* of `advancing` */
    const weft_transport *transport; /* or NULL */
    weft_group group;                /* number 0: none, or given up */
    weft_load load;
    weft_action last; /* of the session that is `ending` */
    uint64_t vllm_version;
    uint64_t leave_ns; /* until then what was cancelled is waited for */
    weft_allocator allocator;
    weft_hooks hooks;
    uint64_t budget_bytes, update_bytes;
    uint64_t now_ns, began_ns;
    uint64_t state_range; /* weft_device_mark */
    weft_peer *peers[WEFT_WORKERS_MAX];
    uint32_t peers_end; /* one past the last slot that was ever used */
    uint32_t timeout_ms, keepalive_ms;
    weft_vllm vllm;
    bool advancing, base_is_lost; /* the device writes the new version into it; or failed to */
    bool transfer_due, moving;    /* to begin when nothing moves; the transport is busy */
    bool ending;                  /* the session is over, and `last` is told when nothing moves */
    bool planned; /* a push began, and no tick has passed the time that its plan took */
    bool pushed;  /* there was a push */
    weft_push push;
    weft_detail detail;
};

void weft_trainer_drive(weft_trainer *trainer, const weft_input *input);
/* What a push does first: refuses where one runs, and makes the plan, in vLLM's words. */
weft_status weft_trainer_plan_vllm(weft_trainer *trainer, weft_kind kind, uint64_t version);
/* The plan is over, without a session; kept: its version is the base from now on. Waits for the
 * device. Returns: DEVICE_FAILED. */
weft_status weft_trainer_end_plan(weft_trainer *trainer, bool kept, uint64_t version);
/* Asks transport and device, and carries out what waits for them. */
void weft_trainer_poll_work(weft_trainer *trainer);
/* One of them is busy, and wants to be asked again at once. */
bool weft_trainer_is_busy(const weft_trainer *trainer);

/* ---- trainer_link.c ---- */

/* Ranks for those who will take part, and the list of their addresses. Returns: OUT_OF_MEMORY. */
weft_status weft_trainer_seat_workers(weft_trainer *trainer);
void weft_trainer_release_addresses(weft_trainer *trainer);

/* ---- trainer_transfer.c ---- */

/* The members of the push that begins, as a group: the one that there is, or a new one. Returns:
 * COLLECTIVE. */
weft_status weft_trainer_make_group(weft_trainer *trainer);
void weft_trainer_transfer(weft_trainer *trainer);
/* The group did not stay together. */
void weft_trainer_cancel_transfer(weft_trainer *trainer);
void weft_trainer_poll_transfer(weft_trainer *trainer);
/* START of a collective: the group. */
void weft_trainer_invite(const weft_trainer *trainer, weft_message *start,
                         char text[WEFT_UNIQUE_ID_MAX + 1]);
void weft_trainer_trace(const weft_trainer *trainer, weft_trace_kind kind, uint32_t link,
                        const weft_message *message, weft_status status);

#endif
