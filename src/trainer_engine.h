/* A trainer's engine: turns bytes and calls into inputs of weft_trainer_step and carries out its
 * actions on plan, base and links. trainer.c owns the life of a trainer, its pushes and actions;
 * trainer_link.c the sans-IO side. */
#ifndef WEFT_SRC_TRAINER_ENGINE_H
#define WEFT_SRC_TRAINER_ENGINE_H

#include "device_model.h"
#include "link.h"
#include "plan.h"
#include "protocol.h"
#include "weft.h"

typedef struct weft_peer { /* the worker on a link, or the last one that was there */
    bool open;
    weft_link link;
    weft_trainer_worker_info said;
    uint64_t document_sent, payload_sent; /* of the present update */
    bool payload_begun;
    char name[WEFT_TEXT_MAX + 1];
    char text[WEFT_TEXT_MAX + 1];
} weft_peer;

struct weft_trainer {
    weft_trainer_core core;
    weft_plan plan; /* of the running push, or of one that is in doubt */
    char *name;
    size_t name_bytes;
    weft_model *model;
    weft_model *base;
    weft_device_model own_base; /* where the user gave none: base is its model */
    const weft_device *device;
    weft_allocator allocator;
    weft_hooks hooks;
    uint64_t budget_bytes, update_bytes;
    uint32_t timeout_ms, keepalive_ms;
    uint64_t now_ns, began_ns;
    bool planned; /* a push began, and no tick has passed the time that its plan took */
    weft_peer *peers[WEFT_WORKERS_MAX];
    uint32_t peers_end; /* one past the last slot that was ever used */
    weft_detail detail;
    uint64_t state_range; /* weft_device_mark */
    bool pushed;          /* there was a push */
    weft_push push;
};

void weft_trainer_drive(weft_trainer *trainer, const weft_input *input);
void weft_trainer_trace(const weft_trainer *trainer, weft_trace_kind kind, uint32_t link,
                        const weft_message *message, weft_status status);

#endif
