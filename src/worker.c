/* A worker's life, and the actions of its protocol. */
#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "detail.h"
#include "digest.h"
#include "invariant.h"
#include "memory.h"
#include "model.h"
#include "trace.h"
#include "worker_engine.h"

/* ---- What is wrong, in words ---- */

static void describe_message(weft_worker *worker, weft_status status, const weft_message *message)
{
    const weft_worker_core *core = &worker->before;
    const char *name = weft_message_name(message->type);
    if (status == WEFT_E_BASE_MISMATCH) {
        weft_detail_set(&worker->detail, status,
                        "the update builds on version %" PRIu64 " (digest 0x%016" PRIx64
                        "), and %s holds version %" PRIu64 " (digest 0x%016" PRIx64 ")",
                        message->base_version, message->base_digest, worker->name, core->version,
                        core->digest);
    } else if (status == WEFT_E_STALE_EPOCH) {
        weft_detail_set(&worker->detail, status,
                        "%s has epoch %" PRIu64 ", and an epoch above %" PRIu64 " is expected",
                        name, message->epoch, core->last_epoch);
    } else if (status == WEFT_E_UNEXPECTED_MESSAGE) {
        weft_detail_set(&worker->detail, status,
                        "%s (update %" PRIu32 ", epoch %" PRIu64
                        ") is illegal here: state %s, update %" PRIu32 ", epoch %" PRIu64,
                        name, message->update, message->epoch,
                        weft_state_name(weft_session_state(&core->machine)), core->update,
                        core->epoch);
    } else if (status == WEFT_E_BUSY) {
        weft_detail_set(&worker->detail, status,
                        "%s with epoch %" PRIu64 " came while the session of epoch %" PRIu64
                        " runs",
                        name, message->epoch, core->epoch);
    } else if (status == WEFT_E_PAYLOAD_OFFSET) {
        bool document = message->type == WEFT_MESSAGE_DOCUMENT;
        weft_detail_set(&worker->detail, status,
                        "%s brings %" PRIu32 " bytes at %" PRIu64 ", and they belong at %" PRIu64
                        " of %" PRIu64,
                        name, message->tail, message->offset,
                        document ? core->document_taken : core->payload_taken,
                        document ? core->document_bytes : core->payload_bytes);
    } else {
        weft_detail_set(&worker->detail, status, "the trainer ended the session: %s",
                        weft_status_text((weft_status)message->code));
    }
}

/* The trainer was lost after APPLIED, and the worker goes back; whose word is that? */
static void describe_doubt(weft_worker *worker, weft_status status, const weft_worker_core *core)
{
    uint32_t peers = core->ranks > 2 ? core->ranks - 2 : 0;
    if (worker->core.last_outcome == WEFT_OUTCOME_ABORTED) {
        weft_detail_set(&worker->detail, status,
                        "the trainer was lost after APPLIED; by the word of the other workers of "
                        "the session (%" PRIu32 ") nobody has committed",
                        peers);
    } else if (core->peers_bytes != 0) {
        weft_detail_set(&worker->detail, status,
                        "the trainer was lost after APPLIED, and of the %" PRIu32
                        " other workers %" PRIu32 " were in doubt as well and none knew the "
                        "outcome within %" PRIu32 " ms",
                        peers, core->doubters, core->session_timeout_ms);
    } else {
        weft_detail_set(&worker->detail, status,
                        "the trainer was lost after APPLIED, and had not told the addresses of "
                        "the other workers");
    }
}

/* A fault that is not about one message's form: what the core knew before the step, and what the
 * step added to it. */
static void describe_state(weft_worker *worker, weft_status status, const weft_input *input)
{
    const weft_worker_core *core = &worker->before;
    uint64_t digest =
        core->content_digest + (input->type == WEFT_INPUT_VERIFIED ? input->digest : 0);
    uint64_t changed = core->changed + (input->type == WEFT_INPUT_VERIFIED ? input->changed : 0);
    if (status == WEFT_E_DEADLINE) {
        weft_detail_set(&worker->detail, status, "state %s has lasted longer than %" PRIu32 " ms",
                        weft_state_name(weft_session_state(&core->machine)),
                        core->session_timeout_ms);
    } else if (status == WEFT_E_DIGEST_MISMATCH) {
        weft_detail_set(&worker->detail, status,
                        "the content would have digest 0x%016" PRIx64 ", and 0x%016" PRIx64
                        " was announced",
                        digest, core->target_digest);
    } else if (status == WEFT_E_BASELINE_INCOMPLETE) {
        weft_detail_set(&worker->detail, status,
                        "the baseline has %" PRIu64 " of the model's %" PRIu64 " elements", changed,
                        core->model_elements);
    } else if (status == WEFT_E_IN_DOUBT) {
        describe_doubt(worker, status, core);
    } else {
        weft_detail_set(&worker->detail, status, "%s", weft_status_text(status));
    }
}

static bool is_about_a_message(weft_status status)
{
    return status == WEFT_E_BASE_MISMATCH || status == WEFT_E_STALE_EPOCH ||
           status == WEFT_E_UNEXPECTED_MESSAGE || status == WEFT_E_BUSY ||
           status == WEFT_E_PAYLOAD_OFFSET || status == WEFT_E_ABORTED;
}

/* Records what is wrong, for hooks, detail and FAILED; unless who found it has said more already.
 */
static void describe(weft_worker *worker, weft_status status, const weft_input *input)
{
    bool message = input->type == WEFT_INPUT_MESSAGE;
    if (!worker->detail_is_fresh || worker->detail.status != status) {
        if (message && is_about_a_message(status)) {
            describe_message(worker, status, &input->message);
        } else {
            describe_state(worker, status, input);
        }
    }
    worker->detail.epoch = message ? input->message.epoch : worker->before.epoch;
    worker->detail.state = weft_session_state(&worker->before.machine);
    worker->detail_is_fresh = true;
}

/* ---- Actions ---- */

void weft_worker_make_ready(weft_worker *worker, weft_input_type type, weft_status status)
{
    worker->ready = (weft_input){.type = (uint8_t)type, .status = status, .link = WEFT_LINK_NONE};
    worker->ready.gone =
        status == WEFT_E_DEVICE_FAILED && worker->device->poll(worker->device) == WEFT_POLL_GONE;
}

void weft_worker_trace(const weft_worker *worker, weft_trace_kind kind, uint32_t link,
                       const weft_message *message, weft_status status)
{
    weft_trace_frame(&worker->hooks, worker->now_ns, weft_session_state(&worker->core.machine),
                     kind, link, message, status);
}

static void do_transition(weft_worker *worker, const weft_action *action, const weft_input *input)
{
    const weft_transition *transition = &action->transition;
    if (transition->event == WEFT_EVENT_FAULT) {
        describe(worker, (weft_status)action->status, input);
        worker->detail.epoch = action->epoch; /* not that of a message that does not belong to it */
        worker->fault = worker->detail;
    }
    weft_device_mark_state(worker->device, &worker->state_range, "worker",
                           (weft_state)transition->to);
    weft_trace_transition(&worker->hooks, worker->now_ns, action);
}

static void do_send(weft_worker *worker, const weft_action *action, const weft_input *input)
{
    bool failed = action->message == WEFT_MESSAGE_FAILED;
    /* The session's cause was described when it was found; others may have been refused since. */
    bool own = action->link == worker->before.owner && action->epoch == worker->before.epoch;
    if (failed && !own) {
        describe(worker, (weft_status)action->status, input);
    }
    if (action->link == WEFT_LINK_LOCAL) {
        worker->local_status = failed ? (weft_status)action->status : WEFT_OK;
        return;
    }
    weft_message message;
    weft_worker_compose(&worker->core, action, &message);
    const char *text = own ? worker->fault.text : worker->detail.text;
    weft_link_put(worker->links[action->link], &message, failed ? text : NULL);
    weft_worker_trace(worker, WEFT_TRACE_SENT, action->link, &message, (weft_status)action->status);
}

static void free_document(weft_worker *worker)
{
    weft_staging_free(&worker->staging, worker->document.bytes, worker->document.length,
                      WEFT_MEMORY_HOST);
    worker->document = (weft_document){0};
}

static void do_open(weft_worker *worker)
{
    weft_status status = WEFT_OK;
    uint64_t length = worker->core.document_bytes;
    worker->document.bytes =
        weft_staging_allocate(&worker->staging, length, WEFT_MEMORY_HOST, &status);
    if (worker->document.bytes == NULL) {
        weft_detail_set(&worker->detail, status,
                        "the document has %" PRIu64 " bytes, and %" PRIu64
                        " of the budget are left",
                        length, weft_staging_budget_left(&worker->staging));
        worker->detail_is_fresh = true;
        weft_worker_make_ready(worker, WEFT_INPUT_VALIDATED, status);
        return;
    }
    worker->document.length = length;
    worker->document.taken = 0;
    worker->payload_landed = 0;
    worker->digest = (weft_worker_digest){0};
}

static void describe_result(weft_worker *worker)
{
    const weft_device_result *result = &worker->result;
    size_t count;
    const weft_segment *segments = weft_staging_newest(&worker->staging, &count);
    if (result->segment < count) {
        const weft_segment *segment = &segments[result->segment];
        const char *name = weft_model_tensor(worker->model, segment->tensor)->name;
        weft_detail_set(&worker->detail, result->status,
                        "index %" PRIu64 " at position %" PRIu64 " of tensor %s: %s (%" PRIu64
                        " elements)",
                        result->found, result->position, name, weft_status_text(result->status),
                        segment->elements);
        weft_detail_tensor(&worker->detail, name, strlen(name));
        worker->detail_is_fresh = true;
    }
}

static void poll_device(weft_worker *worker)
{
    if (worker->device_input == 0) {
        return;
    }
    weft_poll poll = worker->device->poll(worker->device);
    if (poll == WEFT_POLL_AGAIN) {
        return;
    }
    weft_status status = poll == WEFT_POLL_GONE ? WEFT_E_DEVICE_FAILED : worker->result.status;
    weft_input_type type = (weft_input_type)worker->device_input;
    worker->device_input = 0;
    if (type == WEFT_INPUT_VERIFIED && poll == WEFT_POLL_DONE) { /* the bytes first */
        weft_status bytes = weft_worker_check_digest(worker);
        status = bytes != WEFT_OK ? bytes : status;
    }
    weft_worker_make_ready(worker, type, status);
    if (type == WEFT_INPUT_VERIFIED && status == WEFT_OK) {
        worker->ready.digest = worker->result.digest;
        worker->ready.changed = weft_staging_newest_changed(&worker->staging);
    } else if (type == WEFT_INPUT_VERIFIED && status == worker->result.status) {
        describe_result(worker);
    }
}

static void submit(weft_worker *worker, weft_device_operation operation,
                   const weft_segment *segments, size_t count, weft_input_type then)
{
    worker->result = (weft_device_result){0};
    weft_status status =
        worker->device->submit(worker->device, operation, segments, count, &worker->result);
    if (status != WEFT_OK) {
        weft_worker_make_ready(worker, then, status);
        return;
    }
    worker->device_input = (uint8_t)then;
    poll_device(worker);
}

/* The bytes, and what they say. */
static void do_verify(weft_worker *worker)
{
    weft_status status = weft_worker_begin_digest(worker);
    if (status != WEFT_OK) {
        weft_worker_make_ready(worker, WEFT_INPUT_VERIFIED, status);
        return;
    }
    size_t count;
    const weft_segment *segments = weft_staging_newest(&worker->staging, &count);
    submit(worker, WEFT_DEVICE_VERIFY, segments, count, WEFT_INPUT_VERIFIED);
}

static void do_cancel(weft_worker *worker)
{
    worker->taking = WEFT_LINK_NONE;
    worker->ready.type = 0;
    worker->device_input = 0;
    weft_worker_cancel_transfer(worker);
}

void weft_worker_undo(weft_worker *worker)
{
    if (worker->moving) {
        return; /* its end comes back here */
    }
    if (worker->core.written && !worker->core.streamed) {
        submit(worker, WEFT_DEVICE_ROLLBACK, worker->staging.segments, worker->staging.count,
               WEFT_INPUT_UNDONE);
    } else {
        weft_worker_make_ready(worker, WEFT_INPUT_UNDONE, WEFT_OK);
    }
}

static void do_pause(weft_worker *worker, const weft_action *action)
{
    if (worker->hooks.pause != NULL) {
        worker->hooks.pause(worker->hooks.context, action->epoch);
    }
    weft_device_mark(worker->device, &worker->pause_range, "weft pause");
    worker->pause_began_ns = worker->now_ns;
}

static void do_resume(weft_worker *worker, const weft_action *action)
{
    worker->info.pause_ns = worker->now_ns - worker->pause_began_ns;
    weft_device_mark(worker->device, &worker->pause_range, NULL);
    if (worker->hooks.resume != NULL) {
        worker->hooks.resume(worker->hooks.context, action->epoch);
    }
}

static void do_release(weft_worker *worker)
{
    free_document(worker);
    weft_worker_release_peers(worker);
    weft_staging_release(&worker->staging);
    weft_invariant(worker->staging.held_bytes == 0);
}

static void do_committed(weft_worker *worker)
{
    worker->info.sessions_committed++;
    worker->info.changed = weft_staging_changed(&worker->staging);
    if (worker->hooks.committed != NULL) {
        worker->hooks.committed(worker->hooks.context, worker->core.version, worker->core.digest);
    }
}

static void do_failed(weft_worker *worker)
{
    worker->info.sessions_failed++;
    worker->detail = worker->fault;
    if (worker->hooks.failed != NULL) {
        worker->hooks.failed(worker->hooks.context, &worker->detail);
    }
}

static void do_drop(weft_worker *worker, const weft_action *action, const weft_input *input)
{
    worker->info.stale_frames++;
    weft_worker_trace(worker, WEFT_TRACE_DROPPED, action->link, &input->message,
                      (weft_status)action->status);
}

static void perform(weft_worker *worker, const weft_action *action, const weft_input *input)
{
    switch ((weft_action_type)action->type) {
    case WEFT_ACTION_TRANSITION:
        do_transition(worker, action, input);
        break;
    case WEFT_ACTION_SEND:
        do_send(worker, action, input);
        break;
    case WEFT_ACTION_DROP:
        do_drop(worker, action, input);
        break;
    case WEFT_ACTION_TAKE:
        worker->taking = input->link;
        break;
    case WEFT_ACTION_OPEN:
        do_open(worker);
        break;
    case WEFT_ACTION_VERIFY:
        do_verify(worker);
        break;
    case WEFT_ACTION_PAUSE:
        do_pause(worker, action);
        break;
    case WEFT_ACTION_PUT:
        submit(worker, WEFT_DEVICE_PUT, worker->staging.segments, worker->staging.count,
               WEFT_INPUT_WRITTEN);
        break;
    case WEFT_ACTION_CANCEL:
        do_cancel(worker);
        break;
    case WEFT_ACTION_UNDO:
        weft_worker_undo(worker);
        break;
    case WEFT_ACTION_TRANSFER:
        weft_worker_transfer(worker);
        break;
    case WEFT_ACTION_ASK:
        weft_worker_ask(worker);
        break;
    case WEFT_ACTION_COMMITTED:
        do_committed(worker);
        break;
    case WEFT_ACTION_RELEASE:
        do_release(worker);
        break;
    case WEFT_ACTION_RESUME:
        do_resume(worker, action);
        break;
    case WEFT_ACTION_FAILED:
        do_failed(worker);
        break;
    case WEFT_ACTION_CLOSE: /* a trainer's */
    case WEFT_ACTION_ADVANCE:
        break;
    }
}

void weft_worker_drive(weft_worker *worker, const weft_input *input)
{
    weft_input next = *input;
    do {
        weft_actions actions;
        next.now_ns = worker->now_ns;
        worker->before = worker->core;
        weft_worker_step(&worker->core, &next, &actions);
        for (uint32_t i = 0; i < actions.count; i++) {
            perform(worker, &actions.list[i], &next);
        }
        next = worker->ready;
        worker->ready.type = 0;
    } while (next.type != 0);
    worker->detail_is_fresh = false;
}

void weft_worker_drive_ready(weft_worker *worker)
{
    weft_input ready = worker->ready;
    worker->ready.type = 0;
    if (ready.type != 0) {
        weft_worker_drive(worker, &ready);
    }
}

/* ---- Document and payload ---- */

/* A control plane of the process's own announces no length where it has no bytes to give. */
static bool is_received_locally(const weft_worker_core *core)
{
    return core->owner == WEFT_LINK_LOCAL && core->transport == WEFT_TRANSPORT_NCCL;
}

/* A weft document repeats what START said; a contradiction means that trainer and session have
 * drifted apart. */
static weft_status check_session(weft_worker *worker, const weft_update *update)
{
    const weft_worker_core *core = &worker->core;
    weft_status status = WEFT_OK;
    if (update->kind != (weft_kind)core->kind) {
        status = weft_detail_set(&worker->detail, WEFT_E_META_SESSION_MISMATCH,
                                 "the document is %s and the session is %s",
                                 update->kind == WEFT_SPARSE ? "sparse" : "a baseline",
                                 core->kind == WEFT_SPARSE ? "sparse" : "a baseline");
    } else if (update->has_session &&
               (update->epoch != core->epoch || update->target_version != core->target_version ||
                update->number != core->update ||
                (core->updates != 0 && update->of != core->updates))) {
        status =
            weft_detail_set(&worker->detail, WEFT_E_META_SESSION_MISMATCH,
                            "the document is update %" PRIu32 " of %" PRIu32 " in epoch %" PRIu64
                            " to version %" PRIu64 ", and the session is at update %" PRIu32
                            " of %" PRIu32 " in epoch %" PRIu64 " to version %" PRIu64,
                            update->number, update->of, update->epoch, update->target_version,
                            core->update, core->updates, core->epoch, core->target_version);
    } else if (update->has_session && core->check_target &&
               update->target_digest != core->target_digest) {
        status = weft_detail_set(&worker->detail, WEFT_E_META_SESSION_MISMATCH,
                                 "the document leads to digest 0x%016" PRIx64
                                 ", and the session to 0x%016" PRIx64,
                                 update->target_digest, core->target_digest);
    } else if (update->has_session && update->kind == WEFT_SPARSE &&
               (update->base_version != core->version || update->base_digest != core->digest)) {
        status =
            weft_detail_set(&worker->detail, WEFT_E_META_SESSION_MISMATCH,
                            "the document builds on version %" PRIu64 " (digest 0x%016" PRIx64
                            "), and the session on version %" PRIu64 " (digest 0x%016" PRIx64 ")",
                            update->base_version, update->base_digest, core->version, core->digest);
    } else if (update->payload_bytes != core->payload_bytes && !is_received_locally(core)) {
        status = weft_detail_set(&worker->detail, WEFT_E_META_WRONG_LAYOUT,
                                 "the document's patches take %" PRIu64 " bytes, and %" PRIu64
                                 " were announced",
                                 update->payload_bytes, core->payload_bytes);
    }
    return status;
}

/* Decided once in a session, from what the whole baseline takes: payload and undo log, twice the
 * model. */
static bool use_stream(const weft_worker *worker, const weft_update *update)
{
    if (update->kind != WEFT_BASELINE || worker->baseline == WEFT_BASELINE_STAGED) {
        return false;
    }
    if (worker->core.update > 0) {
        return worker->core.streamed;
    }
    uint64_t model_bytes = 0;
    for (size_t i = 0; i < weft_model_count(worker->model); i++) {
        uint64_t bytes = weft_model_elements(worker->model, i) *
                         weft_dtype_bytes(weft_model_tensor(worker->model, i)->dtype);
        if (!weft_size_align8(bytes, &bytes) ||
            !weft_size_add(model_bytes, 2 * bytes + sizeof(weft_segment), &model_bytes)) {
            return true;
        }
    }
    return worker->baseline == WEFT_BASELINE_STREAMED ||
           model_bytes > weft_staging_budget_left(&worker->staging);
}

static weft_status reserve(weft_worker *worker, const weft_update *update, bool streamed)
{
    uint32_t tensor = 0;
    weft_status status = weft_staging_reserve(&worker->staging, update, streamed, &tensor);
    if (status == WEFT_E_META_DUPLICATE_TENSOR) {
        const char *name = weft_model_tensor(worker->model, tensor)->name;
        weft_detail_set(&worker->detail, status,
                        "tensor %s stands in an earlier update of this session", name);
        weft_detail_tensor(&worker->detail, name, strlen(name));
    } else if (status != WEFT_OK) {
        weft_detail_set(&worker->detail, status,
                        "staging a payload of %" PRIu64 " bytes and its undo log with %" PRIu64
                        " bytes of the budget left",
                        update->payload_bytes, weft_staging_budget_left(&worker->staging));
    }
    return status;
}

/* The whole document is here. It is freed before staging is reserved: the budget counts both. */
static void validate(weft_worker *worker)
{
    weft_update update;
    weft_document *document = &worker->document;
    uint64_t hash = weft_digest_bytes(document->bytes, (size_t)document->length, 0);
    weft_update_limits limits = {.document_bytes = WEFT_DOCUMENT_MAX,
                                 .payload_bytes = weft_staging_budget_left(&worker->staging)};
    if (worker->core.kind == WEFT_BASELINE && worker->baseline != WEFT_BASELINE_STAGED) {
        limits.payload_bytes = UINT64_MAX; /* what does not fit is streamed */
    }
    weft_status status = weft_update_parse(document->bytes, (size_t)document->length, worker->model,
                                           &limits, &worker->allocator, &update, &worker->detail);
    free_document(worker);
    worker->document.hash = hash;
    bool streamed = false;
    if (status == WEFT_OK) {
        status = check_session(worker, &update);
        streamed = status == WEFT_OK && use_stream(worker, &update);
        status = status == WEFT_OK ? reserve(worker, &update, streamed) : status;
        weft_update_release(&update, &worker->allocator);
    }
    worker->detail_is_fresh = status != WEFT_OK;
    weft_worker_make_ready(worker, WEFT_INPUT_VALIDATED, status);
    worker->ready.streamed = streamed;
}

void weft_worker_take_tail(weft_worker *worker, const uint8_t *bytes, uint32_t length,
                           uint64_t offset)
{
    weft_status status = WEFT_OK;
    if (weft_worker_takes_peers(worker)) {
        weft_worker_take_peers(worker, bytes, length, offset);
    } else if (worker->core.awaits == WEFT_AWAITS_DOCUMENT ||
               worker->core.awaits == WEFT_AWAITS_VALIDATION) {
        memcpy(worker->document.bytes + offset, bytes, length);
        worker->document.taken += length;
        if (worker->document.taken == worker->document.length) {
            worker->taking = WEFT_LINK_NONE;
            validate(worker);
        }
    } else {
        status = length == 0 ? WEFT_OK : weft_staging_take(&worker->staging, offset, bytes, length);
        worker->payload_landed += length;
        if (status != WEFT_OK || worker->payload_landed == worker->core.payload_bytes) {
            worker->taking = WEFT_LINK_NONE;
            weft_worker_make_ready(worker, WEFT_INPUT_RECEIVED, status);
        }
    }
    weft_worker_drive_ready(worker);
}

/* ---- Work under way ---- */

void weft_worker_poll_work(weft_worker *worker)
{
    weft_worker_poll_transfer(worker);
    poll_device(worker);
}

bool weft_worker_is_busy(const weft_worker *worker)
{
    return worker->device_input != 0 || worker->moving;
}

/* ---- Life ---- */

static weft_status check_config(const weft_worker_config *config)
{
    bool right = config != NULL && config->size == sizeof *config && config->model != NULL &&
                 config->name != NULL && config->budget_bytes > 0 && config->timeout_ms > 0 &&
                 config->keepalive_ms > 0 && (unsigned)config->baseline <= WEFT_BASELINE_STREAMED &&
                 (config->allocator.allocate == NULL) == (config->allocator.release == NULL);
    return right ? WEFT_OK : WEFT_E_INVALID_ARGUMENT;
}

static uint64_t model_elements(const weft_model *model)
{
    uint64_t elements = 0;
    for (size_t i = 0; i < weft_model_count(model); i++) {
        elements += weft_model_elements(model, i);
    }
    return elements;
}

weft_status weft_worker_create(weft_worker **worker, const weft_worker_config *config)
{
    weft_status status = worker == NULL ? WEFT_E_INVALID_ARGUMENT : check_config(config);
    if (status != WEFT_OK) {
        return status;
    }
    const weft_device *device = config->device != NULL ? config->device : weft_device_host();
    weft_allocator allocator = weft_device_allocator(device, &config->allocator);
    uint64_t digest = 0;
    status = weft_model_sort(config->model);
    if (status == WEFT_OK) {
        status = weft_model_digest(config->model, device, &digest);
    }
    if (status != WEFT_OK) {
        return status;
    }
    weft_worker *made = weft_memory_allocate(&allocator, sizeof *made, WEFT_MEMORY_HOST);
    size_t name_bytes = strlen(config->name) + 1;
    char *name = weft_memory_allocate(&allocator, name_bytes, WEFT_MEMORY_HOST);
    if (made == NULL || name == NULL) {
        weft_memory_release(&allocator, made, sizeof *made, WEFT_MEMORY_HOST);
        weft_memory_release(&allocator, name, name_bytes, WEFT_MEMORY_HOST);
        return WEFT_E_OUT_OF_MEMORY;
    }
    memcpy(name, config->name, name_bytes);
    memset(made, 0, sizeof *made);
    made->name = name;
    made->name_bytes = name_bytes;
    made->model = config->model;
    made->device = device;
    made->transport = config->transport;
    made->allocator = allocator;
    made->hooks = config->hooks;
    made->baseline = config->baseline;
    made->keepalive_ms = config->keepalive_ms;
    made->taking = WEFT_LINK_NONE;
    made->fingerprint = weft_model_fingerprint(config->model);
    weft_worker_core_init(&made->core, model_elements(config->model), config->version, digest,
                          config->timeout_ms);
    weft_staging_init(&made->staging, &made->allocator, device, made->model, config->budget_bytes);
    weft_model_acquire(config->model);
    *worker = made;
    return WEFT_OK;
}

/* What a GPU or a transport still does with the session's memory comes to its end, or to the
 * deadline. Nobody passes the time any more, so here it is read. */
static void end_work(weft_worker *worker)
{
    uint64_t began_ns = weft_clock_ns(), then_ns = worker->now_ns;
    while (weft_session_active(&worker->core.machine)) {
        worker->now_ns = then_ns + (weft_clock_ns() - began_ns);
        weft_worker_poll_work(worker);
        weft_worker_drive_ready(worker);
        weft_worker_drive(worker, &(weft_input){.type = WEFT_INPUT_TIME, .link = WEFT_LINK_NONE});
    }
}

void weft_worker_destroy(weft_worker *worker)
{
    if (worker == NULL) {
        return;
    }
    weft_worker_lose_link(worker, worker->core.owner, WEFT_E_CANCELLED);
    end_work(worker);
    for (uint32_t i = 0; i < WEFT_LINKS_MAX; i++) {
        weft_memory_release(&worker->allocator, worker->links[i], sizeof(weft_link),
                            WEFT_MEMORY_HOST);
    }
    weft_staging_destroy(&worker->staging);
    weft_model_release(worker->model);
    weft_allocator allocator = worker->allocator;
    weft_memory_release(&allocator, worker->name, worker->name_bytes, WEFT_MEMORY_HOST);
    weft_memory_release(&allocator, worker, sizeof *worker, WEFT_MEMORY_HOST);
}

void weft_worker_get_info(const weft_worker *worker, weft_worker_info *info)
{
    if (worker == NULL || info == NULL) {
        return;
    }
    *info = worker->info;
    info->state = weft_session_state(&worker->core.machine);
    info->condition = (weft_condition)worker->core.condition;
    info->version = worker->core.version;
    info->digest = worker->core.digest;
    info->epoch = worker->core.epoch;
    info->last_epoch = worker->core.last_epoch;
    info->last_outcome = worker->core.awaits == WEFT_AWAITS_PEERS
                             ? WEFT_OUTCOME_IN_DOUBT
                             : (weft_outcome)worker->core.last_outcome;
    info->session_bytes = worker->staging.held_bytes;
    info->session_bytes_peak = worker->staging.peak_bytes;
}

const weft_detail *weft_worker_detail(const weft_worker *worker)
{
    return worker == NULL ? NULL : &worker->detail;
}
