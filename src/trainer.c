/* A trainer's life, its pushes, and the actions of its protocol. */
#include <inttypes.h>
#include <string.h>

#include "detail.h"
#include "invariant.h"
#include "memory.h"
#include "model.h"
#include "trace.h"
#include "trainer_engine.h"

/* ---- What is wrong, in words ---- */

static void describe(weft_trainer *trainer, weft_status status, uint32_t link)
{
    weft_state state = weft_session_state(&trainer->core.machine);
    const weft_peer *peer = NULL;
    if (link < trainer->peers_end) {
        /* cppcheck-suppress arrayIndexOutOfBounds ; WEFT_LINK_NONE is not below */
        peer = trainer->peers[link];
    }
    const char *text = weft_status_text(status);
    if (peer == NULL && status == WEFT_E_COLLECTIVE) {
        weft_detail_set(&trainer->detail, status, "%s: %s", text,
                        weft_transport_text(trainer->transport));
    } else if (peer == NULL) {
        weft_detail_set(&trainer->detail, status, "%s", text);
    } else if (status == WEFT_E_PEER_FAILED) {
        weft_detail_set(&trainer->detail, status,
                        "worker %s on link %" PRIu32 " failed with %s: %s", peer->name, link,
                        weft_status_name(peer->said.status), peer->text);
    } else if (status == WEFT_E_DEADLINE) {
        weft_detail_set(&trainer->detail, status,
                        "worker %s on link %" PRIu32 " did not answer within %" PRIu32 " ms",
                        peer->name, link, trainer->core.timeout_ms);
    } else {
        weft_detail_set(&trainer->detail, status, "worker %s on link %" PRIu32 ": %s", peer->name,
                        link, text);
    }
    trainer->detail.state = state;
    trainer->detail.epoch = trainer->core.epoch;
}

/* ---- Base ---- */

/* Beside the weights, or where the configuration wants it. */
static weft_status copy_base(weft_trainer *trainer, bool pinned)
{
    weft_memory where = pinned ? WEFT_MEMORY_PINNED : trainer->device->memory;
    weft_status status = weft_device_model_create(&trainer->own_base, trainer->model,
                                                  trainer->device, &trainer->allocator, where);
    trainer->base = trainer->own_base.model;
    return status;
}

/* A worker has committed, so the base is the new version: put into it what was sent. Nobody waits
 * for a GPU's answer before the workers have given theirs. */
static void do_advance(weft_trainer *trainer)
{
    const weft_plan *plan = &trainer->plan;
    weft_status status = trainer->device->submit(trainer->device, WEFT_DEVICE_PUT, plan->segments,
                                                 plan->segment_count, &trainer->advanced);
    trainer->advancing = status == WEFT_OK;
    trainer->base_is_lost = status != WEFT_OK;
}

/* Is the base what it should be, or lost? */
static bool has_advanced(weft_trainer *trainer)
{
    if (trainer->advancing) {
        weft_poll poll = trainer->device->poll(trainer->device);
        trainer->advancing = poll == WEFT_POLL_AGAIN;
        trainer->base_is_lost = poll == WEFT_POLL_GONE ||
                                (poll == WEFT_POLL_DONE && trainer->advanced.status != WEFT_OK);
    }
    return !trainer->advancing;
}

/* ---- Actions ---- */

void weft_trainer_trace(const weft_trainer *trainer, weft_trace_kind kind, uint32_t link,
                        const weft_message *message, weft_status status)
{
    weft_trace_frame(&trainer->hooks, trainer->now_ns, weft_session_state(&trainer->core.machine),
                     kind, link, message, status);
}

static void do_transition(weft_trainer *trainer, const weft_action *action)
{
    if (action->transition.event == WEFT_EVENT_FAULT) {
        describe(trainer, (weft_status)action->status, trainer->core.culprit);
        trainer->detail.state = (weft_state)action->transition.from;
    }
    weft_device_mark_state(trainer->device, &trainer->state_range, "trainer",
                           (weft_state)action->transition.to);
    weft_trace_transition(&trainer->hooks, trainer->now_ns, action);
}

static void send_to(weft_trainer *trainer, uint32_t link, const weft_message *message)
{
    weft_peer *peer = trainer->peers[link];
    weft_message own = *message;
    char id[WEFT_UNIQUE_ID_MAX + 1] = "";
    if (message->type == WEFT_MESSAGE_START) {
        own.rank = peer->rank;
        own.ranks = trainer->push.workers + 1;
        own.peers_bytes = trainer->addresses_bytes;
        peer->peers_sent = 0;
    }
    if (message->type == WEFT_MESSAGE_START && trainer->transport != NULL) {
        weft_trainer_invite(trainer, &own, id);
    }
    if (message->type == WEFT_MESSAGE_UPDATE) {
        peer->document_sent = peer->payload_sent = 0;
        peer->payload_begun = false;
    }
    weft_link_put(&peer->link, &own, id);
    weft_trainer_trace(trainer, WEFT_TRACE_SENT, link, &own, (weft_status)own.code);
}

static void do_send(weft_trainer *trainer, const weft_action *action)
{
    weft_message message;
    weft_trainer_compose(&trainer->core, action, &message);
    if (message.type == WEFT_MESSAGE_UPDATE) {
        const weft_planned_update *update = &trainer->plan.updates[message.update];
        message.document_bytes = update->document_bytes;
        message.payload_bytes = update->payload_bytes;
        message.payload_digest = update->payload_digest;
    }
    for (uint32_t link = 0; link < trainer->peers_end; link++) {
        if (trainer->core.slots[link].member) {
            send_to(trainer, link, &message);
        }
    }
}

static void release_plan(weft_trainer *trainer)
{
    while (!has_advanced(trainer)) { /* it reads the plan's memory */
    }
    for (uint32_t link = 0; link < trainer->peers_end; link++) {
        if (trainer->peers[link]->open) {
            weft_link_drop_piece(&trainer->peers[link]->link);
        }
    }
    weft_plan_release(&trainer->plan);
}

/* A plan that is in doubt is kept until a worker tells, or the next push begins. */
static void end(weft_trainer *trainer)
{
    const weft_trainer_core *core = &trainer->core;
    const weft_action *action = &trainer->last;
    trainer->ending = false;
    trainer->push.status = (weft_status)action->status;
    trainer->push.outcome = (weft_outcome)core->outcome;
    trainer->push.committed = core->committed;
    if (action->status == WEFT_E_UNCONFIRMED) {
        describe(trainer, WEFT_E_UNCONFIRMED, core->culprit);
    }
    if (core->doubt_epoch == 0) {
        release_plan(trainer);
    }
    /* No link borrows it any more: dropped with the plan, or sent long before the decision. */
    weft_trainer_release_addresses(trainer);
    if (action->type == WEFT_ACTION_COMMITTED && trainer->hooks.committed != NULL) {
        trainer->hooks.committed(trainer->hooks.context, core->base_version, core->base_digest);
    } else if (action->type == WEFT_ACTION_FAILED && trainer->hooks.failed != NULL) {
        trainer->hooks.failed(trainer->hooks.context, &trainer->detail);
    }
}

static void try_to_end(weft_trainer *trainer)
{
    if (trainer->ending && !trainer->moving && has_advanced(trainer)) {
        end(trainer);
    }
}

static void do_end(weft_trainer *trainer, const weft_action *action)
{
    trainer->last = *action;
    trainer->ending = true;
    trainer->push.session_ns = trainer->now_ns - trainer->began_ns;
    try_to_end(trainer);
}

static void do_close(weft_trainer *trainer, const weft_action *action)
{
    weft_peer *peer = trainer->peers[action->link];
    peer->link.status = (weft_status)action->status;
    peer->said.status = (weft_status)action->status;
}

static void perform(weft_trainer *trainer, const weft_action *action, const weft_input *input)
{
    switch ((weft_action_type)action->type) {
    case WEFT_ACTION_TRANSITION:
        do_transition(trainer, action);
        break;
    case WEFT_ACTION_SEND:
        do_send(trainer, action);
        break;
    case WEFT_ACTION_DROP:
        weft_trainer_trace(trainer, WEFT_TRACE_DROPPED, action->link, &input->message,
                           (weft_status)action->status);
        break;
    case WEFT_ACTION_CLOSE:
        do_close(trainer, action);
        break;
    case WEFT_ACTION_ADVANCE:
        do_advance(trainer);
        break;
    case WEFT_ACTION_COMMITTED:
    case WEFT_ACTION_FAILED:
        do_end(trainer, action);
        break;
    case WEFT_ACTION_TRANSFER:
        weft_trainer_transfer(trainer);
        break;
    case WEFT_ACTION_CANCEL:
        weft_trainer_cancel_transfer(trainer);
        break;
    case WEFT_ACTION_TAKE: /* a worker's */
    case WEFT_ACTION_ASK:
    case WEFT_ACTION_OPEN:
    case WEFT_ACTION_VERIFY:
    case WEFT_ACTION_PAUSE:
    case WEFT_ACTION_PUT:
    case WEFT_ACTION_UNDO:
    case WEFT_ACTION_RELEASE:
    case WEFT_ACTION_RESUME:
        break;
    }
}

/* A baseline's values are the weights themselves, and since its push is over they are the user's
 * again: once they have changed, nothing can bring the base to what was sent. */
static void check_doubt(weft_trainer *trainer, const weft_input *input)
{
    weft_trainer_core *core = &trainer->core;
    bool asks = input->type == WEFT_INPUT_MESSAGE && input->message.type == WEFT_MESSAGE_HELLO &&
                core->doubt_epoch != 0 && input->message.last_epoch == core->doubt_epoch;
    uint64_t digest = 0;
    if (!asks || core->kind != WEFT_BASELINE) {
        return;
    }
    if (weft_model_digest(trainer->model, trainer->device, &digest) != WEFT_OK ||
        digest != core->target_digest) {
        weft_trainer_core_forget_doubt(core);
    }
}

/* After a doubt is resolved by a HELLO, what the last push came to is known after all. */
static void settle_doubt(weft_trainer *trainer, uint64_t doubt_before)
{
    const weft_trainer_core *core = &trainer->core;
    if (doubt_before != 0 && core->doubt_epoch == 0 && core->outcome == WEFT_OUTCOME_COMMITTED) {
        trainer->push.status = (weft_status)core->cause;
        trainer->push.outcome = WEFT_OUTCOME_COMMITTED;
        trainer->push.committed = core->committed;
        release_plan(trainer);
        if (trainer->hooks.committed != NULL) {
            trainer->hooks.committed(trainer->hooks.context, core->base_version, core->base_digest);
        }
    }
}

void weft_trainer_drive(weft_trainer *trainer, const weft_input *input)
{
    weft_actions actions;
    weft_input now = *input;
    now.now_ns = trainer->now_ns;
    check_doubt(trainer, input);
    uint64_t doubt_before = trainer->core.doubt_epoch;
    weft_trainer_step(&trainer->core, &now, &actions);
    for (uint32_t i = 0; i < actions.count; i++) {
        perform(trainer, &actions.list[i], &now);
    }
    settle_doubt(trainer, doubt_before);
}

void weft_trainer_poll_work(weft_trainer *trainer)
{
    weft_trainer_poll_transfer(trainer);
    try_to_end(trainer);
}

bool weft_trainer_is_busy(const weft_trainer *trainer)
{
    return trainer->moving || trainer->transfer_due || trainer->advancing;
}

/* ---- Push ---- */

static weft_status refuse(weft_trainer *trainer, weft_status status, const char *text)
{
    weft_state state = weft_session_state(&trainer->core.machine);
    weft_detail_set(&trainer->detail, status, "%s", text);
    trainer->detail.state = state;
    return status;
}

static weft_status check_workers(weft_trainer *trainer)
{
    for (uint32_t link = 0; link < trainer->peers_end; link++) {
        if (trainer->core.slots[link].refused) {
            weft_detail_set(&trainer->detail, WEFT_E_MODEL_MISMATCH,
                            "worker %s on link %" PRIu32
                            " holds a model with other names, dtypes or shapes",
                            trainer->peers[link]->name, link);
            return WEFT_E_MODEL_MISMATCH;
        }
    }
    return weft_trainer_core_known(&trainer->core) > 0
               ? WEFT_OK
               : refuse(trainer, WEFT_E_NO_WORKERS, "no worker is connected");
}

static weft_status make_plan(weft_trainer *trainer, weft_kind kind, uint64_t version, bool vllm)
{
    const weft_trainer_core *core = &trainer->core;
    weft_plan plan;
    weft_device_mark(trainer->device, &trainer->state_range, "weft trainer diff");
    weft_status status = weft_plan_make(&plan, &(weft_plan_request){
                                                   .kind = kind,
                                                   .model = trainer->model,
                                                   .base = trainer->base,
                                                   .device = trainer->device,
                                                   .allocator = &trainer->allocator,
                                                   .budget_bytes = trainer->budget_bytes,
                                                   .update_bytes = vllm ? 0 : trainer->update_bytes,
                                                   .vllm = vllm,
                                                   .by_transport = trainer->transport != NULL,
                                                   .epoch = core->highest_epoch + 1,
                                                   .base_version = core->base_version,
                                                   .base_digest = core->base_digest,
                                                   .target_version = version,
                                               });
    weft_device_mark(trainer->device, &trainer->state_range, NULL);
    if (status != WEFT_OK) {
        weft_detail_set(&trainer->detail, status,
                        "planning version %" PRIu64 " within %" PRIu64 " bytes: %s", version,
                        trainer->budget_bytes, weft_status_text(status));
        return status;
    }
    release_plan(trainer); /* one in doubt, which nobody can tell about any more */
    trainer->plan = plan;
    return WEFT_OK;
}

static void begin_push(weft_trainer *trainer, uint64_t version)
{
    const weft_plan *plan = &trainer->plan;
    uint64_t elements = 0;
    for (size_t i = 0; i < weft_model_count(trainer->model); i++) {
        elements += weft_model_elements(trainer->model, i);
    }
    trainer->pushed = trainer->planned = true;
    trainer->began_ns = trainer->now_ns;
    trainer->push = (weft_push){.status = WEFT_AGAIN,
                                .outcome = WEFT_OUTCOME_UNDECIDED,
                                .epoch = trainer->core.highest_epoch + 1,
                                .version = version,
                                .digest = plan->target_digest,
                                .elements = elements,
                                .changed = plan->changed,
                                .payload_bytes = plan->payload_bytes,
                                .document_bytes = plan->document_bytes,
                                .updates = (uint32_t)plan->update_count,
                                .workers = weft_trainer_core_known(&trainer->core)};
}

static weft_status check_idle(weft_trainer *trainer)
{
    if (weft_session_active(&trainer->core.machine) || trainer->ending ||
        trainer->vllm != WEFT_VLLM_NONE) {
        return refuse(trainer, WEFT_E_WRONG_STATE, "a push runs");
    }
    return !trainer->base_is_lost
               ? WEFT_OK
               : refuse(trainer, WEFT_E_DEVICE_FAILED,
                        "the device failed while the base was written; a new trainer is needed");
}

weft_status weft_trainer_plan_vllm(weft_trainer *trainer, weft_kind kind, uint64_t version)
{
    weft_status status = check_idle(trainer);
    return status == WEFT_OK ? make_plan(trainer, kind, version, true) : status;
}

weft_status weft_trainer_end_plan(weft_trainer *trainer, bool kept, uint64_t version)
{
    if (kept) {
        weft_trainer_core_rebase(&trainer->core, version, trainer->plan.target_digest);
        do_advance(trainer);
    }
    release_plan(trainer); /* after the device has read it */
    return trainer->base_is_lost ? WEFT_E_DEVICE_FAILED : WEFT_OK;
}

weft_status weft_trainer_push(weft_trainer *trainer, weft_kind kind, uint64_t version)
{
    if (trainer == NULL || (kind != WEFT_SPARSE && kind != WEFT_BASELINE)) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    weft_status status = check_idle(trainer);
    if (status != WEFT_OK) {
        return status;
    }
    if (trainer->core.highest_epoch == WEFT_EPOCH_MAX) {
        return refuse(trainer, WEFT_E_LIMIT, "the epochs of these workers are used up");
    }
    status = check_workers(trainer);
    if (status == WEFT_OK) {
        status = weft_trainer_make_group(trainer);
    }
    if (status == WEFT_OK) {
        status = weft_trainer_seat_workers(trainer);
    }
    if (status == WEFT_OK) {
        status = make_plan(trainer, kind, version, false);
    }
    if (status != WEFT_OK) {
        weft_trainer_release_addresses(trainer);
        return status;
    }
    uint8_t transport = trainer->transport != NULL ? WEFT_TRANSPORT_NCCL : WEFT_TRANSPORT_TCP;
    begin_push(trainer, version);
    weft_trainer_drive(trainer,
                       &(weft_input){.type = WEFT_INPUT_PUSH,
                                     .link = WEFT_LINK_NONE,
                                     .message = {.kind = (uint8_t)kind,
                                                 .transport = transport,
                                                 .target_version = version,
                                                 .target_digest = trainer->plan.target_digest,
                                                 .updates = (uint32_t)trainer->plan.update_count,
                                                 .timeout_ms = trainer->timeout_ms}});
    return WEFT_OK;
}

weft_status weft_trainer_result(const weft_trainer *trainer, weft_push *push)
{
    if (trainer == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (!trainer->pushed) {
        return WEFT_E_WRONG_STATE;
    }
    if (push != NULL) {
        *push = trainer->push;
    }
    return trainer->push.status;
}

weft_status weft_trainer_abort(weft_trainer *trainer)
{
    if (trainer == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    weft_phase phase = (weft_phase)trainer->core.phase;
    if (phase == WEFT_PHASE_NONE || phase == WEFT_PHASE_COMMIT || phase == WEFT_PHASE_ABORT) {
        return refuse(trainer, WEFT_E_WRONG_STATE, "no push runs that could still be aborted");
    }
    weft_trainer_drive(
        trainer,
        &(weft_input){.type = WEFT_INPUT_STOP, .link = WEFT_LINK_NONE, .status = WEFT_E_ABORTED});
    return WEFT_OK;
}

/* ---- Life ---- */

static weft_status check_config(const weft_trainer_config *config)
{
    bool right = config != NULL && config->size == sizeof *config && config->model != NULL &&
                 config->name != NULL && config->model != config->base &&
                 !(config->pinned_base && config->base != NULL) && config->budget_bytes > 0 &&
                 config->timeout_ms > 0 && config->keepalive_ms > 0 &&
                 (config->allocator.allocate == NULL) == (config->allocator.release == NULL);
    size_t number;
    if (!right) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    return config->base == NULL || weft_model_same(config->model, config->base, &number)
               ? WEFT_OK
               : WEFT_E_MODEL_MISMATCH;
}

static void copy_config(weft_trainer *trainer, const weft_trainer_config *config)
{
    trainer->model = config->model;
    trainer->base = config->base;
    trainer->hooks = config->hooks;
    trainer->budget_bytes = config->budget_bytes;
    trainer->update_bytes = config->update_bytes;
    trainer->timeout_ms = config->timeout_ms;
    trainer->keepalive_ms = config->keepalive_ms;
}

weft_status weft_trainer_create(weft_trainer **trainer, const weft_trainer_config *config)
{
    weft_status status = trainer == NULL ? WEFT_E_INVALID_ARGUMENT : check_config(config);
    if (status == WEFT_OK) {
        status = weft_model_sort(config->model);
    }
    if (status != WEFT_OK) {
        return status;
    }
    const weft_device *device = config->device != NULL ? config->device : weft_device_host();
    weft_allocator allocator = weft_device_allocator(device, &config->allocator);
    weft_trainer *made = weft_memory_allocate(&allocator, sizeof *made, WEFT_MEMORY_HOST);
    size_t name_bytes = strlen(config->name) + 1;
    char *name = weft_memory_allocate(&allocator, name_bytes, WEFT_MEMORY_HOST);
    if (made == NULL || name == NULL) {
        weft_memory_release(&allocator, made, sizeof *made, WEFT_MEMORY_HOST);
        weft_memory_release(&allocator, name, name_bytes, WEFT_MEMORY_HOST);
        return WEFT_E_OUT_OF_MEMORY;
    }
    memset(made, 0, sizeof *made);
    memcpy(name, config->name, name_bytes);
    made->name = name;
    made->name_bytes = name_bytes;
    made->allocator = allocator;
    made->device = device;
    made->transport = config->transport;
    copy_config(made, config);
    weft_model_acquire(made->model);
    uint64_t digest = 0;
    status = config->base == NULL ? copy_base(made, config->pinned_base) : WEFT_OK;
    if (made->base != NULL) {
        weft_model_acquire(made->base);
    }
    if (status == WEFT_OK) {
        status = weft_model_digest(made->base, made->device, &digest);
    }
    if (status != WEFT_OK) {
        weft_trainer_destroy(made);
        return status;
    }
    weft_trainer_core_init(&made->core, weft_model_fingerprint(made->model), config->base_version,
                           digest);
    *trainer = made;
    return WEFT_OK;
}

void weft_trainer_destroy(weft_trainer *trainer)
{
    if (trainer == NULL) {
        return;
    }
    for (uint32_t link = 0; link < trainer->peers_end; link++) {
        weft_memory_release(&trainer->allocator, trainer->peers[link], sizeof(weft_peer),
                            WEFT_MEMORY_HOST);
    }
    if (trainer->moving) {
        weft_transport_settle(trainer->transport, trainer->timeout_ms);
    }
    while (!has_advanced(trainer)) {
    }
    weft_plan_release(&trainer->plan);
    weft_trainer_release_addresses(trainer);
    weft_device_mark(trainer->device, &trainer->state_range, NULL);
    if (trainer->base != NULL) {
        weft_model_release(trainer->base);
    }
    weft_device_model_destroy(&trainer->own_base);
    weft_model_release(trainer->model);
    weft_allocator allocator = trainer->allocator;
    weft_memory_release(&allocator, trainer->name, trainer->name_bytes, WEFT_MEMORY_HOST);
    weft_memory_release(&allocator, trainer, sizeof *trainer, WEFT_MEMORY_HOST);
}

void weft_trainer_get_info(const weft_trainer *trainer, weft_trainer_info *info)
{
    if (trainer == NULL || info == NULL) {
        return;
    }
    const weft_trainer_core *core = &trainer->core;
    *info = (weft_trainer_info){.state = weft_session_state(&core->machine),
                                .base_version = core->base_version,
                                .base_digest = core->base_digest,
                                .epoch = core->highest_epoch,
                                .workers = weft_trainer_core_known(core),
                                .session_bytes = trainer->plan.held_bytes};
    for (uint32_t link = 0; link < trainer->peers_end; link++) {
        info->links += trainer->peers[link]->open ? 1 : 0;
    }
}

const weft_detail *weft_trainer_detail(const weft_trainer *trainer)
{
    return trainer == NULL ? NULL : &trainer->detail;
}

weft_status weft_trainer_worker(const weft_trainer *trainer, uint32_t index,
                                weft_trainer_worker_info *info)
{
    if (trainer == NULL || info == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (index >= trainer->peers_end) {
        return WEFT_E_UNKNOWN_LINK;
    }
    const weft_peer *peer = trainer->peers[index];
    *info = peer->said;
    info->link = index;
    info->open = peer->open;
    info->known = trainer->core.slots[index].known;
    info->name = peer->name;
    info->text = peer->text;
    return WEFT_OK;
}
