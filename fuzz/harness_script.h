/* The frames of one right session, as a real trainer would send them, to be sent in any order and
 * with any byte changed: so that an input of a few bytes reaches the end of a session. */
#ifndef WEFT_FUZZ_HARNESS_SCRIPT_H
#define WEFT_FUZZ_HARNESS_SCRIPT_H

#include "base64.h"
#include "digest.h"
#include "frame.h"
#include "harness.h"
#include "plan.h"
#include "protocol.h"
#include "transport.h"

#define SCRIPT_UPDATES_MAX  6u
#define SCRIPT_FRAMES_MAX   64u
#define SCRIPT_BYTES        8192u
#define SCRIPT_DOCUMENT_MAX 1024u
#define SCRIPT_PAYLOAD_MAX  512u

typedef struct script_update {
    uint32_t document_bytes, payload_bytes;
    char document[SCRIPT_DOCUMENT_MAX];
    uint8_t payload[SCRIPT_PAYLOAD_MAX];
} script_update;

typedef struct script {
    weft_kind kind;
    uint64_t epoch, target_version, target_digest;
    uint32_t updates;
    script_update update[SCRIPT_UPDATES_MAX];
    uint32_t frames, next; /* next: to be sent */
    uint32_t begin[SCRIPT_FRAMES_MAX + 1];
    uint8_t bytes[SCRIPT_BYTES];
} script;

/* The worker's place in the session, and the list of addresses. */
#define SCRIPT_RANK  2u
#define SCRIPT_RANKS 4u
#define SCRIPT_PEERS "a:1\nb:2\nc:3\n"

typedef struct script_request {
    weft_kind kind;
    fuzz_model *held, *wanted; /* what the worker has; what it shall have */
    uint64_t epoch, base_version, base_digest, target_version, update_bytes;
    uint32_t piece_bytes; /* longest tail of a frame */
    uint8_t transport;    /* WEFT_TRANSPORT_ */
    bool peers;           /* START and PEERS tell of other workers */
} script_request;

/* ---- what the trainer's plan says ---- */

static inline void script_take_update(script *s, const weft_plan *plan, uint32_t number)
{
    const weft_planned_update *planned = &plan->updates[number];
    script_update *update = &s->update[number];
    fuzz_expect(planned->document_bytes <= SCRIPT_DOCUMENT_MAX &&
                planned->payload_bytes <= SCRIPT_PAYLOAD_MAX);
    update->document_bytes = (uint32_t)planned->document_bytes;
    update->payload_bytes = (uint32_t)planned->payload_bytes;
    memcpy(update->document, planned->document, update->document_bytes);
    memset(update->payload, 0, sizeof update->payload);
    uint32_t length = 0;
    for (uint32_t at = 0; at < update->payload_bytes; at += length) {
        const uint8_t *bytes = weft_plan_payload(plan, number, at, SCRIPT_PAYLOAD_MAX, &length);
        if (bytes != NULL) {
            memcpy(update->payload + at, bytes, length);
        }
    }
}

/* Documents and payloads of the session; false if it would be too long. */
static inline bool script_plan(script *s, const script_request *request)
{
    const weft_allocator allocator = weft_allocator_default();
    weft_plan plan;
    fuzz_expect(weft_plan_make(&plan, &(weft_plan_request){
                                          .kind = request->kind,
                                          .model = request->wanted->model,
                                          .base = request->held->model,
                                          .device = weft_device_host(),
                                          .allocator = &allocator,
                                          .budget_bytes = UINT64_C(1) << 20,
                                          .update_bytes = request->update_bytes,
                                          .epoch = request->epoch,
                                          .base_version = request->base_version,
                                          .base_digest = request->base_digest,
                                          .target_version = request->target_version,
                                      }) == WEFT_OK);
    bool fits = plan.update_count <= SCRIPT_UPDATES_MAX;
    s->kind = request->kind;
    s->epoch = request->epoch;
    s->target_version = request->target_version;
    s->target_digest = plan.target_digest;
    s->updates = fits ? (uint32_t)plan.update_count : 0;
    for (uint32_t i = 0; i < s->updates; i++) {
        script_take_update(s, &plan, i);
    }
    weft_plan_release(&plan);
    return fits;
}

/* ---- the frames ---- */

static inline void script_frame(script *s, weft_message *message, const void *tail)
{
    uint32_t at = s->begin[s->frames];
    bool fits =
        s->frames < SCRIPT_FRAMES_MAX && message->tail + WEFT_FRAME_HEAD_MAX <= SCRIPT_BYTES - at;
    if (!fits) {
        return; /* a session without an end is a session too */
    }
    uint32_t length = weft_frame_encode_head(message, s->bytes + at);
    if (tail != NULL && message->tail > 0) {
        memcpy(s->bytes + at + length, tail, message->tail);
    }
    s->begin[++s->frames] = at + length + message->tail;
}

static inline void script_pieces(script *s, weft_message_type type, uint32_t update,
                                 const void *bytes, uint32_t length, uint32_t piece_bytes)
{
    uint32_t at = 0;
    do {
        uint32_t left = length - at;
        weft_message piece = {.type = (uint8_t)type,
                              .epoch = s->epoch,
                              .update = update,
                              .offset = at,
                              .tail = left < piece_bytes ? left : piece_bytes};
        script_frame(s, &piece, (const uint8_t *)bytes + at);
        at += piece.tail;
    } while (at < length);
}

/* The digest is that of what is sent, be it right or not. */
static inline void script_frames_of_update(script *s, const script_request *request,
                                           uint32_t number)
{
    const script_update *update = &s->update[number];
    weft_message announced = {.type = WEFT_MESSAGE_UPDATE,
                              .epoch = s->epoch,
                              .update = number,
                              .document_bytes = update->document_bytes,
                              .payload_bytes = update->payload_bytes};
    announced.payload_digest = weft_digest_bytes(update->document, update->document_bytes, 0) +
                               weft_digest_payload(update->payload, update->payload_bytes, 0);
    script_frame(s, &announced, NULL);
    script_pieces(s, WEFT_MESSAGE_DOCUMENT, number, update->document, update->document_bytes,
                  request->piece_bytes);
    script_pieces(s, WEFT_MESSAGE_PAYLOAD, number, update->payload,
                  request->transport == WEFT_TRANSPORT_TCP ? update->payload_bytes : 0,
                  request->piece_bytes);
}

static inline void script_write(script *s, const script_request *request)
{
    bool sparse = request->kind == WEFT_SPARSE;
    bool collective = request->transport == WEFT_TRANSPORT_NCCL;
    const uint8_t id[WEFT_UNIQUE_ID_BYTES] = {0};
    char text[WEFT_UNIQUE_ID_MAX + 1];
    weft_message start = {.type = WEFT_MESSAGE_START,
                          .epoch = s->epoch,
                          .kind = (uint8_t)request->kind,
                          .transport = request->transport,
                          .base_version = sparse ? request->base_version : 0,
                          .base_digest = sparse ? request->base_digest : 0,
                          .target_version = s->target_version,
                          .target_digest = s->target_digest,
                          .updates = s->updates};
    weft_message apply = {.type = WEFT_MESSAGE_APPLY, .epoch = s->epoch};
    weft_message commit = {.type = WEFT_MESSAGE_COMMIT, .epoch = s->epoch};
    s->frames = s->next = s->begin[0] = 0;
    if (request->peers) {
        start.rank = SCRIPT_RANK;
        start.ranks = SCRIPT_RANKS;
        start.peers_bytes = sizeof SCRIPT_PEERS - 1;
    }
    if (collective) {
        start.group = s->epoch;
        start.rank = SCRIPT_RANK;
        start.ranks = SCRIPT_RANKS;
        start.tail = WEFT_UNIQUE_ID_MAX;
    }
    weft_base64_encode(id, sizeof id, text);
    script_frame(s, &start, text);
    if (request->peers) {
        script_pieces(s, WEFT_MESSAGE_PEERS, 0, SCRIPT_PEERS, sizeof SCRIPT_PEERS - 1,
                      request->piece_bytes);
    }
    for (uint32_t i = 0; i < s->updates; i++) {
        script_frames_of_update(s, request, i);
    }
    script_frame(s, &apply, NULL);
    script_frame(s, &commit, NULL);
}

#endif
