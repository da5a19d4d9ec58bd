/* A trainer's half of the protocol: the group moves in step, one answer of every member at a time.
 *
 *      phase     sent               answer      then
 *      START     START              STARTED     PREPARE
 *      PREPARE   UPDATE, document   READY       PAYLOAD
 *      PAYLOAD   payload            STAGED      PREPARE again, or APPLY after the last update
 *      APPLY     APPLY              APPLIED     COMMIT: this is the decision
 *      COMMIT    COMMIT             COMMITTED   idle
 *      ABORT     ABORT              ABORTED     idle
 */
#include <string.h>

#include "invariant.h"
#include "protocol.h"

#define NS_PER_MS UINT64_C(1000000)

/* Which answer completes a phase. */
static const uint8_t ANSWERS[] = {
    [WEFT_PHASE_NONE] = 0,
    [WEFT_PHASE_START] = WEFT_MESSAGE_STARTED,
    [WEFT_PHASE_PREPARE] = WEFT_MESSAGE_READY,
    [WEFT_PHASE_PAYLOAD] = WEFT_MESSAGE_STAGED,
    [WEFT_PHASE_APPLY] = WEFT_MESSAGE_APPLIED,
    [WEFT_PHASE_COMMIT] = WEFT_MESSAGE_COMMITTED,
    [WEFT_PHASE_ABORT] = WEFT_MESSAGE_ABORTED,
};

void weft_trainer_core_init(weft_trainer_core *core, uint64_t fingerprint, uint64_t base_version,
                            uint64_t base_digest)
{
    memset(core, 0, sizeof *core);
    core->fingerprint = fingerprint;
    core->base_version = base_version;
    core->base_digest = base_digest;
    core->culprit = WEFT_LINK_NONE;
    weft_session_init(&core->machine);
}

void weft_trainer_core_open(weft_trainer_core *core, uint32_t link)
{
    weft_invariant(link < WEFT_WORKERS_MAX && core->slots[link] == 0);
    core->slots[link] = WEFT_SLOT_OPEN;
}

void weft_trainer_core_rebase(weft_trainer_core *core, uint64_t version, uint64_t digest)
{
    weft_invariant(!weft_session_active(&core->machine));
    core->base_version = version;
    core->base_digest = digest;
}

void weft_trainer_core_forget_doubt(weft_trainer_core *core)
{
    core->doubt_epoch = 0;
}

static bool has(const weft_trainer_core *core, uint32_t link, uint8_t flag)
{
    return (core->slots[link] & flag) != 0;
}

static void set(weft_trainer_core *core, uint32_t link, uint8_t flag)
{
    core->slots[link] = (uint8_t)(core->slots[link] | flag);
}

static void clear(weft_trainer_core *core, uint32_t link, uint8_t flag)
{
    core->slots[link] = (uint8_t)(core->slots[link] & ~flag);
}

uint32_t weft_trainer_core_known(const weft_trainer_core *core)
{
    uint32_t known = 0;
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        known += has(core, link, WEFT_SLOT_KNOWN) ? 1 : 0;
    }
    return known;
}

static weft_action *add(weft_actions *actions, weft_action_type type, uint64_t epoch)
{
    weft_invariant(actions->count < WEFT_ACTIONS_MAX);
    weft_action *action = &actions->list[actions->count++];
    memset(action, 0, sizeof *action);
    action->type = (uint8_t)type;
    action->link = WEFT_LINK_NONE;
    action->epoch = epoch;
    return action;
}

static void about_link(weft_actions *actions, weft_action_type type, uint32_t link,
                       weft_status status)
{
    weft_action *action = add(actions, type, 0);
    action->link = link;
    action->status = status;
}

/* Moves the machine: the only place in this file. */
static void commit_event(weft_trainer_core *core, weft_event event, weft_actions *actions)
{
    weft_action *action = add(actions, WEFT_ACTION_TRANSITION, core->epoch);
    bool legal = weft_session_commit(&core->machine, event, &action->transition);
    weft_invariant(legal);
    action->status = event == WEFT_EVENT_FAULT ? core->cause : WEFT_OK;
}

/* The members are asked for the next answer, and have until the deadline. */
static void enter_phase(weft_trainer_core *core, weft_phase phase, uint64_t now_ns)
{
    core->phase = (uint8_t)phase;
    core->pending = 0;
    core->deadline_ns = now_ns + core->timeout_ms * NS_PER_MS;
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        clear(core, link, WEFT_SLOT_ANSWERED);
        core->pending += has(core, link, WEFT_SLOT_MEMBER) ? 1 : 0;
    }
}

static void ask(weft_trainer_core *core, weft_phase phase, weft_message_type message,
                uint64_t now_ns, weft_actions *actions)
{
    enter_phase(core, phase, now_ns);
    weft_action *action = add(actions, WEFT_ACTION_SEND, core->epoch);
    action->link = WEFT_LINK_ALL;
    action->message = (uint8_t)message;
    action->status = core->cause;
}

/* ---- The end of a session ---- */

static void end_session(weft_trainer_core *core, weft_outcome outcome, weft_actions *actions)
{
    core->outcome = (uint8_t)outcome;
    core->phase = WEFT_PHASE_NONE;
    core->deadline_ns = 0;
    core->pending = 0;
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        clear(core, link, WEFT_SLOT_MEMBER | WEFT_SLOT_ANSWERED);
    }
    bool committed = outcome == WEFT_OUTCOME_COMMITTED;
    weft_action *action =
        add(actions, committed ? WEFT_ACTION_COMMITTED : WEFT_ACTION_FAILED, core->epoch);
    action->status = core->cause;
    action->link = core->culprit;
}

static void record_cause(weft_trainer_core *core, weft_status cause, uint32_t culprit)
{
    core->cause = cause;
    core->culprit = culprit;
}

static void end_aborted(weft_trainer_core *core, weft_actions *actions)
{
    commit_event(core, WEFT_EVENT_RESET, actions);
    end_session(core, WEFT_OUTCOME_ABORTED, actions);
}

/* Nobody is left to confirm or deny. */
static void end_decided(weft_trainer_core *core, weft_actions *actions)
{
    if (core->committed > 0) {
        if (core->committed < core->members) {
            core->cause = WEFT_E_UNCONFIRMED;
        }
        commit_event(core, WEFT_EVENT_COMMIT, actions);
        end_session(core, WEFT_OUTCOME_COMMITTED, actions);
        return;
    }
    bool known = core->denied == core->members; /* everybody said that it went back */
    record_cause(core, known ? WEFT_E_PEER_FAILED : WEFT_E_IN_DOUBT, core->culprit);
    core->doubt_epoch = known ? 0 : core->epoch;
    commit_event(core, WEFT_EVENT_FAULT, actions);
    commit_event(core, WEFT_EVENT_RESET, actions);
    end_session(core, known ? WEFT_OUTCOME_ABORTED : WEFT_OUTCOME_UNDECIDED, actions);
}

/* Before the decision: everybody goes back. */
static void fault(weft_trainer_core *core, weft_status cause, uint32_t culprit, uint64_t now_ns,
                  weft_actions *actions)
{
    record_cause(core, cause, culprit);
    commit_event(core, WEFT_EVENT_FAULT, actions);
    if (core->phase == WEFT_PHASE_PAYLOAD && core->transport == WEFT_TRANSPORT_NCCL) {
        add(actions, WEFT_ACTION_CANCEL, core->epoch);
    }
    ask(core, WEFT_PHASE_ABORT, WEFT_MESSAGE_ABORT, now_ns, actions);
    if (core->pending == 0) {
        end_aborted(core, actions);
    }
}

/* ---- The way forward ---- */

static void prepare_update(weft_trainer_core *core, uint64_t now_ns, weft_actions *actions)
{
    commit_event(core, WEFT_EVENT_UPDATE, actions);
    ask(core, WEFT_PHASE_PREPARE, WEFT_MESSAGE_UPDATE, now_ns, actions);
}

/* Every member has answered. */
static void advance(weft_trainer_core *core, uint64_t now_ns, weft_actions *actions)
{
    switch ((weft_phase)core->phase) {
    case WEFT_PHASE_START:
        prepare_update(core, now_ns, actions);
        break;
    case WEFT_PHASE_PREPARE: /* only now may a payload move: a mismatch is found before it can hang
                                a collective */
        if (core->transport == WEFT_TRANSPORT_NCCL) {
            ask(core, WEFT_PHASE_PAYLOAD, WEFT_MESSAGE_PAYLOAD, now_ns, actions);
            add(actions, WEFT_ACTION_TRANSFER, core->epoch);
        } else {
            enter_phase(core, WEFT_PHASE_PAYLOAD, now_ns);
        }
        break;
    case WEFT_PHASE_PAYLOAD:
        core->update++;
        if (core->update < core->updates) {
            prepare_update(core, now_ns, actions);
        } else {
            commit_event(core, WEFT_EVENT_APPLY, actions);
            ask(core, WEFT_PHASE_APPLY, WEFT_MESSAGE_APPLY, now_ns, actions);
        }
        break;
    case WEFT_PHASE_APPLY: /* the decision */
        commit_event(core, WEFT_EVENT_APPLIED, actions);
        ask(core, WEFT_PHASE_COMMIT, WEFT_MESSAGE_COMMIT, now_ns, actions);
        break;
    case WEFT_PHASE_COMMIT:
        end_decided(core, actions);
        break;
    case WEFT_PHASE_ABORT:
        end_aborted(core, actions);
        break;
    case WEFT_PHASE_NONE:
        break;
    }
}

static void answered(weft_trainer_core *core, uint32_t link, uint64_t now_ns, weft_actions *actions)
{
    set(core, link, WEFT_SLOT_ANSWERED);
    core->pending--;
    if (core->pending == 0) {
        advance(core, now_ns, actions);
    }
}

/* The member is out: it failed, or its link is gone. It counts no more, and gets no more messages
 * of this session. */
static void remove_member(weft_trainer_core *core, uint32_t link, weft_status cause,
                          uint64_t now_ns, weft_actions *actions)
{
    bool waited_for = !has(core, link, WEFT_SLOT_ANSWERED);
    clear(core, link, WEFT_SLOT_MEMBER | WEFT_SLOT_ANSWERED);
    if (core->phase != WEFT_PHASE_COMMIT && core->phase != WEFT_PHASE_ABORT) {
        fault(core, cause, link, now_ns, actions);
        return;
    }
    if (core->phase == WEFT_PHASE_COMMIT && waited_for) {
        core->culprit = link;
        core->denied += cause == WEFT_E_PEER_FAILED ? 1 : 0;
    }
    if (waited_for) {
        core->pending--;
        if (core->pending == 0) {
            advance(core, now_ns, actions);
        }
    }
}

static void confirm(weft_trainer_core *core, weft_actions *actions)
{
    core->base_version = core->target_version;
    core->base_digest = core->target_digest;
    add(actions, WEFT_ACTION_ADVANCE, core->epoch);
}

static void on_answer(weft_trainer_core *core, const weft_input *input, weft_actions *actions)
{
    uint32_t link = input->link;
    bool right_update = input->message.update == core->update ||
                        (core->phase != WEFT_PHASE_PREPARE && core->phase != WEFT_PHASE_PAYLOAD);
    if (core->phase == WEFT_PHASE_ABORT && input->message.type != WEFT_MESSAGE_ABORTED) {
        return; /* sent before ABORT arrived there */
    }
    if (input->message.type != ANSWERS[core->phase] || has(core, link, WEFT_SLOT_ANSWERED) ||
        !right_update) {
        add(actions, WEFT_ACTION_CLOSE, core->epoch)->link = link;
        actions->list[actions->count - 1].status = WEFT_E_UNEXPECTED_MESSAGE;
        remove_member(core, link, WEFT_E_UNEXPECTED_MESSAGE, input->now_ns, actions);
        return;
    }
    if (core->phase == WEFT_PHASE_APPLY && input->message.digest != core->target_digest) {
        fault(core, WEFT_E_DIGEST_MISMATCH, link, input->now_ns, actions);
        return;
    }
    if (core->phase == WEFT_PHASE_COMMIT && core->committed++ == 0) {
        confirm(core, actions);
    }
    answered(core, link, input->now_ns, actions);
}

static void on_hello(weft_trainer_core *core, const weft_input *input, weft_actions *actions)
{
    const weft_message *message = &input->message;
    if (has(core, input->link, WEFT_SLOT_KNOWN | WEFT_SLOT_REFUSED)) {
        about_link(actions, WEFT_ACTION_CLOSE, input->link, WEFT_E_UNEXPECTED_MESSAGE);
        return;
    }
    if (message->last_epoch > WEFT_EPOCH_MAX) {
        about_link(actions, WEFT_ACTION_CLOSE, input->link, WEFT_E_FRAME_MALFORMED);
        return;
    }
    if (message->last_epoch > core->highest_epoch) {
        core->highest_epoch = message->last_epoch;
    }
    bool same_model = message->fingerprint == core->fingerprint;
    set(core, input->link, same_model ? WEFT_SLOT_KNOWN : WEFT_SLOT_REFUSED);
    /* The epoch alone proves nothing: a trainer that died may have used it too, with a worker that
     * was not connected when this one chose it. The content does. */
    bool tells = core->doubt_epoch != 0 && message->last_epoch == core->doubt_epoch &&
                 message->version == core->target_version && message->digest == core->target_digest;
    if (same_model && tells && message->outcome == WEFT_OUTCOME_COMMITTED) {
        core->doubt_epoch = 0;
        core->outcome = WEFT_OUTCOME_COMMITTED;
        core->cause = WEFT_E_UNCONFIRMED;
        core->committed = 1;
        confirm(core, actions);
    }
}

static void on_message(weft_trainer_core *core, const weft_input *input, weft_actions *actions)
{
    uint32_t link = input->link;
    if (input->message.type == WEFT_MESSAGE_HELLO) {
        on_hello(core, input, actions);
    } else if (!has(core, link, WEFT_SLOT_KNOWN | WEFT_SLOT_REFUSED)) {
        about_link(actions, WEFT_ACTION_CLOSE, link, WEFT_E_HELLO_MISSING);
    } else if (!has(core, link, WEFT_SLOT_MEMBER) || input->message.epoch != core->epoch) {
        about_link(actions, WEFT_ACTION_DROP, link, WEFT_E_STALE_EPOCH);
    } else if (input->message.type == WEFT_MESSAGE_FAILED) {
        remove_member(core, link, WEFT_E_PEER_FAILED, input->now_ns, actions);
    } else {
        on_answer(core, input, actions);
    }
}

static void on_push(weft_trainer_core *core, const weft_input *input, weft_actions *actions)
{
    weft_invariant(!weft_session_active(&core->machine) && input->message.updates > 0);
    core->doubt_epoch = 0; /* whoever could have told has had its say in HELLO */
    core->epoch = ++core->highest_epoch;
    record_cause(core, WEFT_OK, WEFT_LINK_NONE);
    core->outcome = WEFT_OUTCOME_UNDECIDED;
    core->kind = input->message.kind;
    core->transport = input->message.transport;
    core->target_version = input->message.target_version;
    core->target_digest = input->message.target_digest;
    core->timeout_ms = input->message.timeout_ms;
    core->update = 0;
    core->updates = input->message.updates;
    core->members = core->committed = core->denied = 0;
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        if (has(core, link, WEFT_SLOT_KNOWN)) {
            set(core, link, WEFT_SLOT_MEMBER);
            core->members++;
        }
    }
    weft_invariant(core->members > 0);
    commit_event(core, WEFT_EVENT_START, actions);
    ask(core, WEFT_PHASE_START, WEFT_MESSAGE_START, input->now_ns, actions);
}

static void on_link_lost(weft_trainer_core *core, const weft_input *input, weft_actions *actions)
{
    bool member = has(core, input->link, WEFT_SLOT_MEMBER);
    if (member) {
        remove_member(core, input->link, (weft_status)input->status, input->now_ns, actions);
    }
    core->slots[input->link] = 0;
}

static uint32_t first_pending(const weft_trainer_core *core)
{
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        if (has(core, link, WEFT_SLOT_MEMBER) && !has(core, link, WEFT_SLOT_ANSWERED)) {
            return link;
        }
    }
    return WEFT_LINK_NONE;
}

static void on_time(weft_trainer_core *core, const weft_input *input, weft_actions *actions)
{
    if (core->phase == WEFT_PHASE_NONE || input->now_ns < core->deadline_ns) {
        return;
    }
    if (core->phase == WEFT_PHASE_COMMIT) {
        core->culprit = first_pending(core);
        end_decided(core, actions);
    } else if (core->phase == WEFT_PHASE_ABORT) {
        end_aborted(core, actions);
    } else {
        fault(core, WEFT_E_DEADLINE, first_pending(core), input->now_ns, actions);
    }
}

static bool undecided(const weft_trainer_core *core)
{
    return core->phase != WEFT_PHASE_NONE && core->phase != WEFT_PHASE_COMMIT &&
           core->phase != WEFT_PHASE_ABORT;
}

void weft_trainer_step(weft_trainer_core *core, const weft_input *input, weft_actions *actions)
{
    actions->count = 0;
    switch ((weft_input_type)input->type) {
    case WEFT_INPUT_MESSAGE:
        on_message(core, input, actions);
        break;
    case WEFT_INPUT_LINK_LOST:
        on_link_lost(core, input, actions);
        break;
    case WEFT_INPUT_TIME:
        on_time(core, input, actions);
        break;
    case WEFT_INPUT_PUSH:
        on_push(core, input, actions);
        break;
    case WEFT_INPUT_STOP:
        if (undecided(core)) {
            fault(core, (weft_status)input->status, WEFT_LINK_NONE, input->now_ns, actions);
        }
        break;
    case WEFT_INPUT_VALIDATED: /* a worker's */
    case WEFT_INPUT_RECEIVED:
    case WEFT_INPUT_VERIFIED:
    case WEFT_INPUT_WRITTEN:
    case WEFT_INPUT_UNDONE:
        break;
    }
}

void weft_trainer_compose(const weft_trainer_core *core, const weft_action *action,
                          weft_message *message)
{
    bool sparse = core->kind == WEFT_SPARSE;
    memset(message, 0, sizeof *message);
    message->type = action->message;
    message->epoch = action->epoch;
    message->kind = core->kind;
    message->transport = core->transport;
    message->base_version = sparse ? core->base_version : 0;
    message->base_digest = sparse ? core->base_digest : 0;
    message->target_version = core->target_version;
    message->target_digest = core->target_digest;
    message->updates = core->updates;
    message->update = core->update;
    message->timeout_ms = core->timeout_ms;
    message->code = action->status;
}
