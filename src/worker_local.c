/* A control plane of the process's own, in the place of a trainer: the calls become the messages
 * that a trainer would send, on the link WEFT_LINK_LOCAL, so that session, table and guards are the
 * same. */
#include <string.h>

#include "detail.h"
#include "worker_engine.h"

#define PIECE_MAX (UINT32_C(1) << 30) /* a message's tail is counted in 32 bits */

static bool is_owner(const weft_worker *worker)
{
    return worker->core.owner == WEFT_LINK_LOCAL;
}

static weft_status wrong_state(weft_worker *worker, const char *call)
{
    const weft_worker_core *core = &worker->core;
    bool trainers = weft_session_active(&core->machine) && !is_owner(worker);
    return weft_detail_set(&worker->detail, WEFT_E_WRONG_STATE, "%s is illegal: %s %s", call,
                           trainers ? "a trainer's session is in state" : "the session is in state",
                           weft_state_name(weft_session_state(&core->machine)));
}

/* The answer of a call: what went wrong in it, or WEFT_OK. */
static weft_status tell(weft_worker *worker, const weft_message *message, bool unannounced)
{
    worker->local_status = WEFT_OK;
    worker->local_called = true;
    weft_worker_drive(worker, &(weft_input){.type = WEFT_INPUT_MESSAGE,
                                            .link = WEFT_LINK_LOCAL,
                                            .unannounced = unannounced,
                                            .message = *message});
    return worker->local_status;
}

weft_status weft_worker_start(weft_worker *worker, const weft_session *session)
{
    if (worker == NULL || session == NULL || session->size != sizeof *session ||
        session->epoch > WEFT_EPOCH_MAX ||
        (session->kind != WEFT_SPARSE && session->kind != WEFT_BASELINE)) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (is_owner(worker)) {
        return wrong_state(worker, "weft_worker_start");
    }
    if (session->receives && worker->transport == NULL) {
        return weft_detail_set(&worker->detail, WEFT_E_TRANSPORT,
                               "the session receives by a transport, and worker %s has none",
                               worker->name);
    }
    worker->local_finish = false;
    const weft_worker_core *core = &worker->core;
    weft_message start = {
        .type = WEFT_MESSAGE_START,
        .epoch = session->epoch != 0 ? session->epoch : core->last_epoch + 1,
        .kind = (uint8_t)session->kind,
        /* bytes from memory come as those of frames would */
        .transport = session->receives ? WEFT_TRANSPORT_NCCL : WEFT_TRANSPORT_TCP,
        .base_version = session->check_base ? session->base_version : core->version,
        .base_digest = session->check_base ? session->base_digest : core->digest,
        .target_version = session->target_version,
        .target_digest = session->check_target ? session->target_digest : 0,
        .timeout_ms = session->timeout_ms,
    };
    return tell(worker, &start, !session->check_target);
}

/* Bytes in pieces, as frames would bring them, as long as the session takes them. */
static weft_status give(weft_worker *worker, weft_message_type type, const uint8_t *bytes,
                        uint64_t length)
{
    weft_message piece = {
        .type = (uint8_t)type, .epoch = worker->core.epoch, .update = worker->core.update};
    weft_status status = WEFT_OK;
    do {
        uint64_t left = length - piece.offset;
        piece.tail = left < PIECE_MAX ? (uint32_t)left : PIECE_MAX;
        status = tell(worker, &piece, false);
        if (status == WEFT_OK && worker->taking == WEFT_LINK_LOCAL) {
            weft_worker_take_tail(worker, bytes + piece.offset, piece.tail, piece.offset);
            status = worker->local_status;
        }
        piece.offset += piece.tail;
    } while (status == WEFT_OK && piece.offset < length);
    return status;
}

static weft_status announce(weft_worker *worker, const char *document, size_t document_length,
                            uint64_t payload_length)
{
    weft_message update = {.type = WEFT_MESSAGE_UPDATE,
                           .epoch = worker->core.epoch,
                           .update = worker->core.update,
                           .document_bytes = document_length,
                           .payload_bytes = payload_length};
    weft_status status = tell(worker, &update, false);
    return status == WEFT_OK
               ? give(worker, WEFT_MESSAGE_DOCUMENT, (const uint8_t *)document, document_length)
               : status;
}

/* May an update begin, with a payload of this kind? */
static bool takes_update(const weft_worker *worker, uint8_t transport)
{
    return is_owner(worker) && !weft_worker_is_busy(worker) && worker->core.transport == transport;
}

weft_status weft_worker_update(weft_worker *worker, const char *document, size_t document_length,
                               const void *payload, size_t payload_length)
{
    static const uint8_t NOTHING[1];
    if (worker == NULL || document == NULL || document_length == 0 ||
        (payload == NULL && payload_length > 0)) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (!takes_update(worker, WEFT_TRANSPORT_TCP)) {
        return wrong_state(worker, "weft_worker_update");
    }
    weft_status status = announce(worker, document, document_length, payload_length);
    if (status == WEFT_OK) {
        status =
            give(worker, WEFT_MESSAGE_PAYLOAD, payload != NULL ? payload : NOTHING, payload_length);
    }
    return status == WEFT_OK ? weft_worker_poll(worker) : status;
}

/* How long the payload is follows from the document alone. */
weft_status weft_worker_update_receive(weft_worker *worker, const char *document,
                                       size_t document_length)
{
    if (worker == NULL || document == NULL || document_length == 0) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (!takes_update(worker, WEFT_TRANSPORT_NCCL)) {
        return wrong_state(worker, "weft_worker_update_receive");
    }
    weft_status status = announce(worker, document, document_length, 0);
    weft_message go = {
        .type = WEFT_MESSAGE_PAYLOAD, .epoch = worker->core.epoch, .update = worker->core.update};
    status = status == WEFT_OK ? tell(worker, &go, false) : status;
    return status == WEFT_OK ? weft_worker_poll(worker) : status;
}

weft_status weft_worker_finish(weft_worker *worker)
{
    if (worker == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    bool receiving = weft_session_state(&worker->core.machine) == WEFT_RECEIVING;
    if (!is_owner(worker) || !receiving || weft_worker_is_busy(worker)) {
        return wrong_state(worker, "weft_worker_finish");
    }
    weft_message apply = {.type = WEFT_MESSAGE_APPLY, .epoch = worker->core.epoch};
    weft_status status = tell(worker, &apply, false);
    worker->local_finish = status == WEFT_OK;
    return status == WEFT_OK ? weft_worker_poll(worker) : status;
}

/* Lets in what the device has done; after finish it commits what was written. */
weft_status weft_worker_poll(weft_worker *worker)
{
    if (worker == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    weft_worker_poll_work(worker);
    weft_worker_drive_ready(worker);
    if (is_owner(worker) && weft_worker_is_busy(worker)) { /* not with a trainer's session */
        return WEFT_AGAIN;
    }
    bool finished = weft_session_state(&worker->core.machine) == WEFT_FINISHED;
    if (worker->local_finish && is_owner(worker) && finished) {
        weft_message commit = {.type = WEFT_MESSAGE_COMMIT, .epoch = worker->core.epoch};
        worker->local_finish = false;
        return tell(worker, &commit, false);
    }
    return worker->local_status;
}

weft_status weft_worker_abort(weft_worker *worker)
{
    if (worker == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (!is_owner(worker)) {
        return wrong_state(worker, "weft_worker_abort");
    }
    weft_message message = {
        .type = WEFT_MESSAGE_ABORT, .epoch = worker->core.epoch, .code = WEFT_E_ABORTED};
    return tell(worker, &message, false);
}
