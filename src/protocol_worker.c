/* A worker's half of the protocol. */
#include "invariant.h"
#include "protocol_contract.h"
#include "size.h"

#define NS_PER_MS   UINT64_C(1000000)
#define DOUBT_WORDS ((WEFT_WORKERS_MAX + 63) / 64)
#define HIGHEST_BIT (UINT64_C(1) << 63)

/* Zero in every byte, for cores are compared and hashed byte by byte. */
static const weft_worker_core NOBODY;

/*@ requires \valid(core);
    assigns *core;
    ensures worker_sound(*core) && core->machine.state == WEFT_IDLE;
    ensures core->version == version && core->digest == digest && core->last_epoch == 0 &&
            core->condition == WEFT_INTACT;
@*/
void weft_worker_core_init(weft_worker_core *core, uint64_t model_elements, uint64_t version,
                           uint64_t digest, uint32_t timeout_ms)
{
    *core = NOBODY;
    core->model_elements = model_elements;
    core->version = version;
    core->digest = digest;
    core->timeout_ms = timeout_ms;
    core->owner = WEFT_LINK_NONE;
    weft_session_init(&core->machine);
}

/*@ requires \valid(actions) && room(*actions, 1);
    assigns actions->count, actions->list[actions->count];
    ensures actions->count == \old(actions->count) + 1;
    ensures actions->list[\old(actions->count)] == action;
@*/
static void add(weft_actions *actions, weft_action action)
{
    weft_invariant(actions->count < WEFT_ACTIONS_MAX);
    actions->list[actions->count] = action;
    actions->count++;
}

/*@ requires \valid(actions) && room(*actions, 1) && type <= WEFT_ACTION_ASK;
    assigns actions->count, actions->list[actions->count];
    ensures actions->count == \old(actions->count) + 1;
    ensures actions->list[\old(actions->count)].type == type;
@*/
static void act(weft_actions *actions, weft_action_type type)
{
    add(actions, (weft_action){.type = (uint8_t)type, .link = WEFT_LINK_NONE});
}

/*@ requires \valid(actions) && room(*actions, 1) && message < WEFT_MESSAGE_TYPE_END;
    assigns actions->count, actions->list[actions->count];
    ensures actions->count == \old(actions->count) + 1;
    ensures actions->list[\old(actions->count)].type == WEFT_ACTION_SEND &&
            actions->list[\old(actions->count)].message == message &&
            actions->list[\old(actions->count)].link == link &&
            actions->list[\old(actions->count)].epoch == epoch;
@*/
static void send(weft_actions *actions, uint32_t link, weft_message_type message, uint64_t epoch)
{
    add(actions,
        (weft_action){
            .type = WEFT_ACTION_SEND, .message = (uint8_t)message, .link = link, .epoch = epoch});
}

/*@ requires \valid(actions) && room(*actions, 1);
    assigns actions->count, actions->list[actions->count];
    ensures actions->count == \old(actions->count) + 1;
    ensures actions->list[\old(actions->count)].type == WEFT_ACTION_SEND;
@*/
static void send_failed(weft_actions *actions, uint32_t link, weft_status status, uint8_t state,
                        uint64_t epoch)
{
    add(actions, (weft_action){.type = WEFT_ACTION_SEND,
                               .message = WEFT_MESSAGE_FAILED,
                               .link = link,
                               .status = status,
                               .state = state,
                               .epoch = epoch});
}

/*@ requires \valid(actions) && room(*actions, 1) && \valid_read(core) && \separated(core, actions);
    requires type <= WEFT_ACTION_ASK;
    assigns actions->count, actions->list[actions->count];
    ensures actions->count == \old(actions->count) + 1;
    ensures actions->list[\old(actions->count)].type == type;
@*/
static void add_of_session(weft_actions *actions, weft_action_type type,
                           const weft_worker_core *core)
{
    add(actions, (weft_action){.type = (uint8_t)type,
                               .link = WEFT_LINK_NONE,
                               .status = core->cause,
                               .epoch = core->epoch});
}

/*@ requires \valid(actions) && room(*actions, 1);
    assigns actions->count, actions->list[actions->count];
    ensures actions->count == \old(actions->count) + 1;
    ensures actions->list[\old(actions->count)].type == WEFT_ACTION_DROP;
@*/
static void drop(weft_actions *actions, uint32_t link, weft_status status)
{
    add(actions, (weft_action){.type = WEFT_ACTION_DROP, .link = link, .status = status});
}

/* Moves the machine: the only place in this file. Each new state has a new deadline. */
/*@ requires \valid(core) && \valid(actions) && room(*actions, 1) && \separated(core, actions) &&
             is_time(now_ns);
    requires is_state(core->machine.state) && session_next(core->machine.state, event) != -1;
    assigns core->machine.state, core->deadline_ns, actions->count, actions->list[actions->count];
    ensures core->machine.state == session_next(\old(core->machine.state), event);
    ensures core->machine.state == WEFT_IDLE ==> core->deadline_ns == 0;
    ensures actions->count == \old(actions->count) + 1;
    ensures actions->list[\old(actions->count)].type == WEFT_ACTION_TRANSITION;
    ensures actions->list[\old(actions->count)].transition.from == \old(core->machine.state) &&
            actions->list[\old(actions->count)].transition.to == core->machine.state;
@*/
static void commit_event(weft_worker_core *core, weft_event event, uint64_t now_ns,
                         weft_actions *actions)
{
    weft_transition transition;
    bool legal = weft_session_commit(&core->machine, event, &transition);
    weft_invariant(legal);
    add(actions, (weft_action){.type = WEFT_ACTION_TRANSITION,
                               .link = WEFT_LINK_NONE,
                               .transition = transition,
                               .status = event == WEFT_EVENT_FAULT ? core->cause : WEFT_OK,
                               .epoch = core->epoch});
    core->deadline_ns =
        weft_session_active(&core->machine) ? now_ns + core->session_timeout_ms * NS_PER_MS : 0;
}

/* Everything that belongs to the session only goes; the epoch's outcome stays. */
/*@ requires \valid(core) && core->deadline_ns == 0;
    assigns core->awaits, core->kind, core->transport, core->failed_in, core->cause,
            core->check_target, core->streamed, core->written, core->paused, core->owner,
            core->session_timeout_ms, core->update, core->updates, core->epoch,
            core->target_version, core->target_digest, core->content_digest, core->changed,
            core->document_bytes, core->document_taken, core->payload_bytes, core->payload_taken,
            core->payload_digest, core->ranks, core->doubters, core->peers_bytes,
            core->peers_taken, core->in_doubt[0 .. DOUBT_WORDS - 1];
    ensures forgotten(*core);
@*/
static void forget_session(weft_worker_core *core)
{
    core->awaits = WEFT_AWAITS_NOTHING;
    core->kind = core->transport = core->failed_in = 0;
    core->cause = WEFT_OK;
    core->check_target = core->streamed = core->written = core->paused = false;
    core->owner = WEFT_LINK_NONE;
    core->session_timeout_ms = 0;
    core->update = core->updates = 0;
    core->epoch = 0;
    core->target_version = core->target_digest = 0;
    core->content_digest = core->changed = 0;
    core->document_bytes = core->document_taken = 0;
    core->payload_bytes = core->payload_taken = core->payload_digest = 0;
    core->ranks = core->doubters = 0;
    core->peers_bytes = core->peers_taken = 0;
    /*@ loop invariant 0 <= word <= DOUBT_WORDS;
        loop assigns word, core->in_doubt[0 .. DOUBT_WORDS - 1];
        loop variant DOUBT_WORDS - word;
    @*/
    for (size_t word = 0; word < DOUBT_WORDS; word++) {
        core->in_doubt[word] = 0;
    }
}

/* The clean-up is over, whatever came of it: idle. */
/*@ requires \valid(core) && \valid(actions) && room(*actions, 5) && \separated(core, actions) &&
             is_time(now_ns);
    requires core->machine.state == WEFT_FAILED && core->condition <= WEFT_LOST &&
             core->epoch <= core->last_epoch;
    assigns *core, *actions;
    ensures core->machine.state == WEFT_IDLE && worker_sound(*core);
    ensures same_worker(\old(*core), *core) && same_weights(\old(*core), *core) &&
            same_epoch(\old(*core), *core) && core->last_outcome == \old(core->last_outcome);
    ensures actions->count <= \old(actions->count) + 5;
@*/
static void reset(weft_worker_core *core, uint64_t now_ns, weft_actions *actions)
{
    commit_event(core, WEFT_EVENT_RESET, now_ns, actions);
    if (core->paused) {
        add_of_session(actions, WEFT_ACTION_RESUME, core);
    }
    act(actions, WEFT_ACTION_RELEASE);
    if (core->owner != WEFT_LINK_NONE && core->cause == WEFT_E_ABORTED) {
        send(actions, core->owner, WEFT_MESSAGE_ABORTED, core->epoch);
    } else if (core->owner != WEFT_LINK_NONE) {
        send_failed(actions, core->owner, (weft_status)core->cause, core->failed_in, core->epoch);
    }
    add_of_session(actions, WEFT_ACTION_FAILED, core);
    forget_session(core);
}

/*@ requires \valid(core);
    assigns core->condition, core->version, core->digest;
    ensures lost(*core);
@*/
static void lose_weights(weft_worker_core *core)
{
    core->condition = WEFT_LOST;
    core->version = core->digest = 0;
}

/*@ requires \valid(core) && \valid(actions) && room(*actions, 7) && \separated(core, actions) &&
             is_time(now_ns);
    requires can_fail(*core) && bounded(*core) && outcome <= WEFT_OUTCOME_IN_DOUBT;
    assigns *core, *actions;
    ensures goes_back(*core) && worker_sound(*core);
    ensures same_worker(\old(*core), *core) && same_weights(\old(*core), *core) &&
            same_epoch(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures core->last_outcome == outcome;
    ensures core->machine.state == WEFT_FAILED <==>
            \old((core->written && !core->streamed) || core->awaits == WEFT_AWAITS_TRANSFER);
    ensures core->machine.state == WEFT_FAILED ==>
            core->cause == cause && core->failed_in == \old(core->machine.state);
@*/
static void fail(weft_worker_core *core, weft_status cause, weft_outcome outcome, uint64_t now_ns,
                 weft_actions *actions)
{
    /* Memory that a collective still writes to cannot be given back. */
    bool transferring = core->awaits == WEFT_AWAITS_TRANSFER;
    core->last_outcome = (uint8_t)outcome;
    core->cause = cause;
    core->failed_in = core->machine.state;
    commit_event(core, WEFT_EVENT_FAULT, now_ns, actions);
    act(actions, WEFT_ACTION_CANCEL);
    if ((core->written && !core->streamed) || transferring) {
        core->awaits = WEFT_AWAITS_UNDO;
        act(actions, WEFT_ACTION_UNDO);
    } else {
        reset(core, now_ns, actions);
    }
}

/* From finished on, the trainer may have decided COMMIT; only its own word says that it did not. */
/*@ requires \valid(core) && \valid(actions) && room(*actions, 7) && \separated(core, actions) &&
             is_time(now_ns);
    requires can_fail(*core) && bounded(*core);
    assigns *core, *actions;
    ensures goes_back(*core) && worker_sound(*core);
    ensures same_worker(\old(*core), *core) && same_weights(\old(*core), *core) &&
            same_epoch(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures core->last_outcome ==
            (\old(core->machine.state) == WEFT_FINISHED && cause != WEFT_E_ABORTED ?
               WEFT_OUTCOME_UNCONFIRMED : WEFT_OUTCOME_ABORTED);
@*/
static void fault(weft_worker_core *core, weft_status cause, uint64_t now_ns, weft_actions *actions)
{
    bool doubtful = core->machine.state == WEFT_FINISHED && cause != WEFT_E_ABORTED;
    fail(core, cause, doubtful ? WEFT_OUTCOME_UNCONFIRMED : WEFT_OUTCOME_ABORTED, now_ns, actions);
}

/* In doubt, and its peers have told that nobody has committed, and nobody will. */
/*@ requires \valid(core) && \valid(actions) && room(*actions, 7) && \separated(core, actions) &&
             is_time(now_ns);
    requires can_fail(*core) && bounded(*core);
    assigns *core, *actions;
    ensures goes_back(*core) && worker_sound(*core);
    ensures same_worker(\old(*core), *core) && same_weights(\old(*core), *core) &&
            same_epoch(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures core->last_outcome == WEFT_OUTCOME_ABORTED;
@*/
static void go_back(weft_worker_core *core, uint64_t now_ns, weft_actions *actions)
{
    fail(core, WEFT_E_IN_DOUBT, WEFT_OUTCOME_ABORTED, now_ns, actions);
}

/* ---- START ---- */

/* The worker's place among the workers of the session, and what it will hear of them. */
/*@ requires \valid_read(message);
    assigns \nothing;
    ensures \result <==> (message->peers_bytes != 0 ==>
              message->peers_bytes <= WEFT_PEERS_BYTES_MAX &&
              1 <= message->rank < message->ranks && message->ranks <= WEFT_WORKERS_MAX + 1);
@*/
static bool place_is_right(const weft_message *message)
{
    return message->peers_bytes == 0 ||
           (message->peers_bytes <= WEFT_PEERS_BYTES_MAX && message->rank >= 1 &&
            message->rank < message->ranks && message->ranks <= WEFT_WORKERS_MAX + 1);
}

/*@ requires \valid_read(core) && \valid(input) && worker_sound(*core);
    assigns \nothing;
    ensures \result == WEFT_OK ==>
      core->machine.state == WEFT_IDLE && input->message.epoch > core->last_epoch &&
      core->condition != WEFT_LOST && input->status == WEFT_OK &&
      (input->message.peers_bytes != 0 ==>
         input->message.peers_bytes <= WEFT_PEERS_BYTES_MAX &&
         1 <= input->message.rank < input->message.ranks &&
         input->message.ranks <= WEFT_WORKERS_MAX + 1);
    ensures \result == WEFT_OK && input->message.kind != WEFT_BASELINE ==>
      core->condition == WEFT_INTACT && input->message.base_version == core->version &&
      input->message.base_digest == core->digest;
@*/
static weft_status start_refusal(const weft_worker_core *core, const weft_input *input)
{
    const weft_message *message = &input->message;
    if (weft_session_active(&core->machine)) {
        return WEFT_E_BUSY;
    }
    if (message->epoch <= core->last_epoch) {
        return WEFT_E_STALE_EPOCH;
    }
    if (core->condition == WEFT_LOST) {
        return WEFT_E_LOST;
    }
    if ((message->kind != WEFT_SPARSE && message->kind != WEFT_BASELINE) ||
        (message->updates == 0 && input->link != WEFT_LINK_LOCAL) || !place_is_right(message)) {
        return WEFT_E_FRAME_MALFORMED;
    }
    if (message->transport != WEFT_TRANSPORT_TCP && message->transport != WEFT_TRANSPORT_NCCL) {
        return WEFT_E_TRANSPORT;
    }
    if (input->status != WEFT_OK) {
        return (weft_status)input->status;
    }
    if (message->kind == WEFT_BASELINE) {
        return WEFT_OK;
    }
    if (core->condition == WEFT_TORN) {
        return WEFT_E_TORN;
    }
    bool same = message->base_version == core->version && message->base_digest == core->digest;
    return same ? WEFT_OK : WEFT_E_BASE_MISMATCH;
}

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && worker_sound(*core);
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_weights(\old(*core), *core);
    ensures core->machine.state == \old(core->machine.state) ==>
            same_epoch(\old(*core), *core) && core->last_outcome == \old(core->last_outcome);
    ensures \old(core->machine.state) == WEFT_IDLE ==>
            core->machine.state == WEFT_IDLE || core->machine.state == WEFT_STARTED;
    ensures \old(core->machine.state) != WEFT_IDLE ==>
            core->machine.state == \old(core->machine.state) || goes_back(*core);
    ensures \old(core->machine.state) == WEFT_FAILED ==> core->machine.state == WEFT_FAILED;
@*/
static void on_start(weft_worker_core *core, const weft_input *input, weft_actions *actions)
{
    const weft_message *message = &input->message;
    if (input->link == core->owner) { /* its own session runs already */
        if (weft_session_can_fail(&core->machine)) {
            fault(core, WEFT_E_UNEXPECTED_MESSAGE, input->now_ns, actions);
        } else {
            drop(actions, input->link, WEFT_E_UNEXPECTED_MESSAGE);
        }
        return;
    }
    weft_status refusal = start_refusal(core, input);
    if (refusal != WEFT_OK) { /* a refused START changes nothing and does not use up its epoch */
        send_failed(actions, input->link, refusal, core->machine.state, message->epoch);
        return;
    }
    bool own = message->timeout_ms == 0 || message->timeout_ms > core->timeout_ms;
    core->session_timeout_ms = own ? core->timeout_ms : message->timeout_ms;
    core->epoch = core->last_epoch = message->epoch;
    core->last_outcome = WEFT_OUTCOME_UNDECIDED;
    core->owner = input->link;
    core->cause = WEFT_OK;
    core->kind = message->kind;
    core->transport = message->transport;
    core->updates = message->updates;
    core->target_version = message->target_version;
    core->target_digest = message->target_digest;
    core->last_target_version = message->target_version;
    core->last_target_digest = message->target_digest;
    core->last_rank = message->rank;
    core->ranks = message->ranks;
    core->peers_bytes = message->peers_bytes;
    core->check_target = !input->unannounced;
    core->content_digest = message->kind == WEFT_SPARSE ? core->digest : 0;
    core->awaits = WEFT_AWAITS_UPDATE;
    commit_event(core, WEFT_EVENT_START, input->now_ns, actions);
    send(actions, input->link, WEFT_MESSAGE_STARTED, core->epoch);
}

/* ---- The session's messages ---- */

/* A piece continues where the last one ended, and does not reach over the end. */
/*@ requires \valid_read(message) && taken <= bytes;
    assigns \nothing;
    ensures \result <==> message->offset == taken && taken + message->tail <= bytes;
@*/
static bool continues(uint64_t taken, uint64_t bytes, const weft_message *message)
{
    return message->offset == taken && message->tail <= bytes - taken;
}

/*@ requires \valid(core) && \valid_read(message) && \separated(core, message, actions);
    requires \valid(actions) && room(*actions, 7) && worker_sound(*core);
    assigns core->peers_taken,
            actions->count, actions->list[actions->count];
    ensures worker_sound(*core);
    ensures \result == WEFT_OK ==> core->peers_taken > \old(core->peers_taken);
    ensures \result != WEFT_OK ==> core->peers_taken == \old(core->peers_taken);
    ensures actions->count == \old(actions->count) + (\result == WEFT_OK ? 1 : 0);
@*/
static weft_status on_peers(weft_worker_core *core, const weft_message *message,
                            weft_actions *actions)
{
    bool due = core->update == 0 &&
               (core->awaits == WEFT_AWAITS_UPDATE || core->awaits == WEFT_AWAITS_DOCUMENT);
    if (!due || core->peers_taken == core->peers_bytes || message->tail == 0) {
        return WEFT_E_UNEXPECTED_MESSAGE;
    }
    if (!continues(core->peers_taken, core->peers_bytes, message)) {
        return WEFT_E_PAYLOAD_OFFSET;
    }
    core->peers_taken += message->tail;
    act(actions, WEFT_ACTION_TAKE);
    return WEFT_OK;
}

/*@ requires \valid(core) && \valid_read(message) && \separated(core, message, actions);
    requires \valid(actions) && room(*actions, 7) && worker_sound(*core);
    assigns core->document_bytes, core->payload_bytes, core->payload_digest, core->document_taken,
            core->payload_taken, core->awaits,
            actions->count, actions->list[actions->count];
    ensures worker_sound(*core);
    ensures \result == WEFT_OK ==>
            core->awaits == WEFT_AWAITS_DOCUMENT && 0 < core->document_bytes <= WEFT_DOCUMENT_MAX;
    ensures \result != WEFT_OK ==> core->awaits == \old(core->awaits);
    ensures actions->count == \old(actions->count) + (\result == WEFT_OK ? 1 : 0);
@*/
static weft_status on_update(weft_worker_core *core, const weft_message *message,
                             weft_actions *actions)
{
    bool more = core->updates == 0 || core->update < core->updates;
    if (core->awaits != WEFT_AWAITS_UPDATE || !more || message->update != core->update) {
        return WEFT_E_UNEXPECTED_MESSAGE;
    }
    if (core->update >= WEFT_UPDATES_MAX) {
        return WEFT_E_LIMIT;
    }
    if (message->document_bytes == 0 || message->document_bytes > WEFT_DOCUMENT_MAX) {
        return WEFT_E_META_TOO_LARGE;
    }
    core->document_bytes = message->document_bytes;
    core->payload_bytes = message->payload_bytes;
    core->payload_digest = message->payload_digest;
    core->document_taken = core->payload_taken = 0;
    core->awaits = WEFT_AWAITS_DOCUMENT;
    act(actions, WEFT_ACTION_OPEN);
    return WEFT_OK;
}

/*@ requires \valid(core) && \valid_read(message) && \separated(core, message, actions);
    requires \valid(actions) && room(*actions, 7) && worker_sound(*core);
    assigns core->document_taken, core->awaits,
            actions->count, actions->list[actions->count];
    ensures worker_sound(*core);
    ensures \result == WEFT_OK ==> core->document_taken > \old(core->document_taken);
    ensures \result == WEFT_OK && core->document_taken == core->document_bytes ==>
            core->awaits == WEFT_AWAITS_VALIDATION;
    ensures \result != WEFT_OK ==> core->awaits == \old(core->awaits) &&
            core->document_taken == \old(core->document_taken);
    ensures actions->count == \old(actions->count) + (\result == WEFT_OK ? 1 : 0);
@*/
static weft_status on_document(weft_worker_core *core, const weft_message *message,
                               weft_actions *actions)
{
    if (core->awaits != WEFT_AWAITS_DOCUMENT || message->update != core->update ||
        message->tail == 0 || core->peers_taken != core->peers_bytes) {
        return WEFT_E_UNEXPECTED_MESSAGE;
    }
    if (!continues(core->document_taken, core->document_bytes, message)) {
        return WEFT_E_PAYLOAD_OFFSET;
    }
    core->document_taken += message->tail;
    if (core->document_taken == core->document_bytes) {
        core->awaits = WEFT_AWAITS_VALIDATION;
    }
    act(actions, WEFT_ACTION_TAKE);
    return WEFT_OK;
}

/* Every worker is READY: the collective begins. */
/*@ requires \valid(core) && \valid_read(message) && \separated(core, message, actions);
    requires \valid(actions) && room(*actions, 7) && worker_sound(*core) &&
             core->awaits == WEFT_AWAITS_PAYLOAD;
    assigns core->awaits, actions->count, actions->list[actions->count];
    ensures worker_sound(*core);
    ensures core->awaits == (\result == WEFT_OK ? WEFT_AWAITS_TRANSFER : WEFT_AWAITS_PAYLOAD);
    ensures actions->count == \old(actions->count) + (\result == WEFT_OK ? 1 : 0);
@*/
static weft_status on_go(weft_worker_core *core, const weft_message *message, weft_actions *actions)
{
    if (message->tail != 0 || message->offset != 0) {
        return WEFT_E_PAYLOAD_OFFSET;
    }
    core->awaits = WEFT_AWAITS_TRANSFER;
    act(actions, WEFT_ACTION_TRANSFER);
    return WEFT_OK;
}

/* An empty payload is one empty piece, so that a worker never runs ahead of the others' READY. */
/*@ requires \valid(core) && \valid_read(message) && \separated(core, message, actions);
    requires \valid(actions) && room(*actions, 7) && worker_sound(*core);
    assigns core->payload_taken, core->awaits,
            actions->count, actions->list[actions->count];
    ensures worker_sound(*core);
    ensures \result != WEFT_OK ==> core->awaits == \old(core->awaits) &&
            core->payload_taken == \old(core->payload_taken);
    ensures actions->count == \old(actions->count) + (\result == WEFT_OK ? 1 : 0);
@*/
static weft_status on_payload(weft_worker_core *core, const weft_message *message,
                              weft_actions *actions)
{
    bool tcp = core->transport == WEFT_TRANSPORT_TCP;
    bool empty_piece = tcp && message->tail == 0 && core->payload_bytes != 0;
    if (core->awaits != WEFT_AWAITS_PAYLOAD || message->update != core->update || empty_piece) {
        return WEFT_E_UNEXPECTED_MESSAGE;
    }
    if (!tcp) {
        return on_go(core, message, actions);
    }
    if (!continues(core->payload_taken, core->payload_bytes, message)) {
        return WEFT_E_PAYLOAD_OFFSET;
    }
    core->payload_taken += message->tail;
    if (core->payload_taken == core->payload_bytes) {
        core->awaits = WEFT_AWAITS_VERIFICATION;
    }
    act(actions, WEFT_ACTION_TAKE);
    return WEFT_OK;
}

/* What the weights would be after all updates: complete, and what was announced? Each element is
 * written at most once, so counting them is enough. */
/*@ requires \valid_read(core);
    assigns \nothing;
    ensures \result == WEFT_OK <==> announced(*core);
@*/
static weft_status content_fault(const weft_worker_core *core)
{
    if (core->kind == WEFT_BASELINE && core->changed != core->model_elements) {
        return WEFT_E_BASELINE_INCOMPLETE;
    }
    bool right = !core->check_target || core->content_digest == core->target_digest;
    return right ? WEFT_OK : WEFT_E_DIGEST_MISMATCH;
}

/*@ requires \valid(core) && \valid(actions) && room(*actions, 2) && \separated(core, actions) &&
             is_time(now_ns);
    requires core->machine.state == WEFT_APPLYING && bounded(*core) && core->doubters == 0;
    assigns core->machine.state, core->deadline_ns, core->awaits, *actions;
    ensures core->awaits == WEFT_AWAITS_DECISION && core->machine.state == WEFT_FINISHED;
    ensures worker_sound(*core);
    ensures actions->count == \old(actions->count) + 2;
@*/
static void on_written(weft_worker_core *core, uint64_t now_ns, weft_actions *actions)
{
    commit_event(core, WEFT_EVENT_APPLIED, now_ns, actions);
    core->awaits = WEFT_AWAITS_DECISION;
    send(actions, core->owner, WEFT_MESSAGE_APPLIED, core->epoch);
}

/*@ requires \valid(core) && \valid(actions) && room(*actions, 7) && \separated(core, actions) &&
             is_time(now_ns);
    requires worker_sound(*core);
    assigns core->machine.state, core->deadline_ns, core->awaits, core->paused, core->written,
            *actions;
    ensures worker_sound(*core);
    ensures \result == WEFT_OK ==>
            core->machine.state == WEFT_APPLYING || core->machine.state == WEFT_FINISHED;
    ensures \result != WEFT_OK ==> core->machine.state == \old(core->machine.state) &&
            core->awaits == \old(core->awaits) && actions->count == \old(actions->count);
    ensures actions->count <= \old(actions->count) + 3;
@*/
static weft_status on_apply(weft_worker_core *core, uint64_t now_ns, weft_actions *actions)
{
    bool last = core->updates == 0 || core->update == core->updates;
    if (core->machine.state != WEFT_RECEIVING || core->awaits != WEFT_AWAITS_UPDATE || !last) {
        return WEFT_E_UNEXPECTED_MESSAGE;
    }
    weft_status status = content_fault(core);
    if (status != WEFT_OK) {
        return status;
    }
    commit_event(core, WEFT_EVENT_APPLY, now_ns, actions);
    if (core->streamed) { /* written as it arrived, and paused since then */
        on_written(core, now_ns, actions);
        return WEFT_OK;
    }
    core->awaits = WEFT_AWAITS_WRITE;
    core->paused = core->written = true;
    add_of_session(actions, WEFT_ACTION_PAUSE, core);
    act(actions, WEFT_ACTION_PUT);
    return WEFT_OK;
}

/* The decision is COMMIT. */
/*@ requires \valid(core) && \valid(actions) && room(*actions, 5) && \separated(core, actions) &&
             is_time(now_ns);
    requires core->machine.state == WEFT_FINISHED && worker_sound(*core);
    assigns *core, *actions;
    ensures kept(\old(*core), *core) && worker_sound(*core);
    ensures same_worker(\old(*core), *core) && same_epoch(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 5;
@*/
static void keep(weft_worker_core *core, uint64_t now_ns, weft_actions *actions)
{
    core->condition = WEFT_INTACT;
    core->version = core->target_version;
    core->digest = core->content_digest;
    core->last_outcome = WEFT_OUTCOME_COMMITTED;
    commit_event(core, WEFT_EVENT_COMMIT, now_ns, actions);
    add_of_session(actions, WEFT_ACTION_COMMITTED, core);
    add_of_session(actions, WEFT_ACTION_RESUME, core);
    act(actions, WEFT_ACTION_RELEASE);
    if (core->owner != WEFT_LINK_NONE) { /* which a peer's word may have outlived */
        send(actions, core->owner, WEFT_MESSAGE_COMMITTED, core->epoch);
    }
    forget_session(core);
}

/*@ requires \valid(core) && \valid(actions) && room(*actions, 5) && \separated(core, actions) &&
             is_time(now_ns);
    requires worker_sound(*core);
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core) &&
             same_epoch(\old(*core), *core);
    ensures \result == WEFT_OK <==> \old(core->awaits) == WEFT_AWAITS_DECISION;
    ensures \result == WEFT_OK ==> kept(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 5;
    ensures \result != WEFT_OK ==> same_weights(\old(*core), *core) &&
            core->machine.state == \old(core->machine.state) &&
            core->awaits == \old(core->awaits) && actions->count == \old(actions->count);
@*/
static weft_status on_commit(weft_worker_core *core, uint64_t now_ns, weft_actions *actions)
{
    if (core->awaits != WEFT_AWAITS_DECISION) {
        return WEFT_E_UNEXPECTED_MESSAGE;
    }
    keep(core, now_ns, actions);
    return WEFT_OK;
}

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && worker_sound(*core);
    requires core->machine.state != WEFT_IDLE;
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_weights(\old(*core), *core) || kept(\old(*core), *core);
    ensures \old(core->awaits) == WEFT_AWAITS_PEERS ==> same_weights(\old(*core), *core);
    ensures \old(core->machine.state) == WEFT_FAILED ==> core->machine.state == WEFT_FAILED;
@*/
static void on_session_message(weft_worker_core *core, const weft_input *input,
                               weft_actions *actions)
{
    weft_status status = WEFT_E_UNEXPECTED_MESSAGE;
    if (!weft_session_can_fail(
            &core->machine)) { /* the undo runs; its end is the answer to all that still comes */
        drop(actions, input->link, WEFT_E_STALE_EPOCH);
        return;
    }
    if (core->awaits == WEFT_AWAITS_PEERS && input->message.type != WEFT_MESSAGE_ABORT) {
        /* In doubt: a commit is its peers' to tell. That all are in doubt means an abort only if
         * none of them takes COMMIT any more. */
        drop(actions, input->link, WEFT_E_IN_DOUBT);
        return;
    }
    switch ((weft_message_type)input->message.type) {
    case WEFT_MESSAGE_PEERS:
        status = on_peers(core, &input->message, actions);
        break;
    case WEFT_MESSAGE_UPDATE:
        status = on_update(core, &input->message, actions);
        break;
    case WEFT_MESSAGE_DOCUMENT:
        status = on_document(core, &input->message, actions);
        break;
    case WEFT_MESSAGE_PAYLOAD:
        status = on_payload(core, &input->message, actions);
        break;
    case WEFT_MESSAGE_APPLY:
        status = on_apply(core, input->now_ns, actions);
        break;
    case WEFT_MESSAGE_COMMIT:
        status = on_commit(core, input->now_ns, actions);
        break;
    case WEFT_MESSAGE_ABORT:
        status = WEFT_E_ABORTED;
        break;
    case WEFT_MESSAGE_START:   /* on_start */
    case WEFT_MESSAGE_ASK:     /* on_ask */
    case WEFT_MESSAGE_OUTCOME: /* on_outcome */
    case WEFT_MESSAGE_HELLO:   /* these come from workers only, or concern the link only */
    case WEFT_MESSAGE_STARTED:
    case WEFT_MESSAGE_READY:
    case WEFT_MESSAGE_STAGED:
    case WEFT_MESSAGE_APPLIED:
    case WEFT_MESSAGE_COMMITTED:
    case WEFT_MESSAGE_ABORTED:
    case WEFT_MESSAGE_FAILED:
    case WEFT_MESSAGE_PING:
    case WEFT_MESSAGE_PONG:
        break;
    }
    if (status != WEFT_OK) {
        fault(core, status, input->now_ns, actions);
    }
}

/* A message that is not of the running session. */
/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && worker_sound(*core);
    assigns core->last_epoch, core->last_outcome, core->last_target_version,
            core->last_target_digest, core->last_rank, actions->count,
            actions->list[actions->count];
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures core->machine.state != WEFT_IDLE ==>
            same_epoch(\old(*core), *core) && core->last_outcome == \old(core->last_outcome);
@*/
static void on_foreign_message(weft_worker_core *core, const weft_input *input,
                               weft_actions *actions)
{
    const weft_message *message = &input->message;
    bool idle = !weft_session_active(&core->machine);
    bool over = idle ? message->epoch <= core->last_epoch : message->epoch < core->epoch;
    if (idle && message->type == WEFT_MESSAGE_ABORT && message->epoch >= core->last_epoch) {
        /* The session ended here already, or never began. Either way its epoch is over from now on.
         */
        bool committed =
            message->epoch == core->last_epoch && core->last_outcome == WEFT_OUTCOME_COMMITTED;
        if (message->epoch > core->last_epoch) {
            core->last_epoch = message->epoch;
            core->last_outcome = WEFT_OUTCOME_ABORTED;
            core->last_target_version = message->target_version;
            core->last_target_digest = message->target_digest;
            core->last_rank = 0;
        }
        send(actions, input->link, committed ? WEFT_MESSAGE_COMMITTED : WEFT_MESSAGE_ABORTED,
             message->epoch);
    } else if (over) {
        drop(actions, input->link, WEFT_E_STALE_EPOCH);
    } else {
        weft_status status = idle ? WEFT_E_UNEXPECTED_MESSAGE : WEFT_E_BUSY;
        send_failed(actions, input->link, status, core->machine.state, message->epoch);
    }
}

/* ---- Doubt ---- */

/* It has waited long enough for its trainer. Who is alone in its session knows that nobody has
 * committed; who has peers asks them, and has a new deadline for that. */
/*@ requires \valid(core) && \valid(actions) && room(*actions, 7) && \separated(core, actions) &&
             is_time(now_ns);
    requires worker_sound(*core) && core->awaits == WEFT_AWAITS_DECISION && core->peers_bytes != 0;
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_weights(\old(*core), *core) && same_epoch(\old(*core), *core);
    ensures core->awaits == WEFT_AWAITS_PEERS || goes_back(*core);
@*/
static void ask(weft_worker_core *core, uint64_t now_ns, weft_actions *actions)
{
    if (core->ranks == 2) { /* the trainer's and its own */
        go_back(core, now_ns, actions);
        return;
    }
    core->awaits = WEFT_AWAITS_PEERS;
    core->deadline_ns = now_ns + core->session_timeout_ms * NS_PER_MS;
    add_of_session(actions, WEFT_ACTION_ASK, core);
}

/*@ requires \valid_read(core);
    assigns \nothing;
    ensures \result <==> core->awaits == WEFT_AWAITS_DECISION && core->peers_bytes != 0;
@*/
static bool has_peers(const weft_worker_core *core)
{
    return core->awaits == WEFT_AWAITS_DECISION && core->peers_bytes != 0;
}

/* Somebody asks how a session ended: of the newest epoch only, and only if it is the same session.
 * Whoever has met no START of it cannot have been in it; its rank is not known then. */
/*@ requires \valid_read(core) && \valid(input) && \valid(actions) && room(*actions, 1) &&
             \separated(core, input, actions);
    assigns actions->count, actions->list[actions->count];
    ensures actions->count == \old(actions->count) + 1;
    ensures actions->list[\old(actions->count)].type == WEFT_ACTION_SEND;
    ensures actions->list[\old(actions->count)].outcome == WEFT_OUTCOME_COMMITTED ==>
            core->last_outcome == WEFT_OUTCOME_COMMITTED &&
            input->message.epoch == core->last_epoch &&
            input->message.target_digest == core->last_target_digest;
@*/
static void on_ask(const weft_worker_core *core, const weft_input *input, weft_actions *actions)
{
    const weft_message *message = &input->message;
    bool same = message->epoch == core->last_epoch && message->epoch != 0 &&
                message->target_version == core->last_target_version &&
                message->target_digest == core->last_target_digest &&
                (core->last_rank == 0 || message->rank == core->last_rank);
    uint8_t outcome = WEFT_OUTCOME_NONE;
    if (same) {
        outcome = core->awaits == WEFT_AWAITS_PEERS ? WEFT_OUTCOME_IN_DOUBT : core->last_outcome;
    }
    add(actions, (weft_action){.type = WEFT_ACTION_SEND,
                               .message = WEFT_MESSAGE_OUTCOME,
                               .outcome = outcome,
                               .link = input->link,
                               .epoch = message->epoch});
}

/* One more is in doubt. When all are, nobody takes COMMIT any more, and nobody has. */
/*@ requires \valid(core) && \valid(actions) && room(*actions, 7) && \separated(core, actions) &&
             is_time(now_ns);
    requires worker_sound(*core) && core->awaits == WEFT_AWAITS_PEERS && 1 <= rank < core->ranks;
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_weights(\old(*core), *core) && same_epoch(\old(*core), *core);
    ensures core->awaits == WEFT_AWAITS_PEERS || goes_back(*core);
@*/
static void note_doubt(weft_worker_core *core, uint32_t rank, uint64_t now_ns,
                       weft_actions *actions)
{
    uint32_t word = (rank - 1) / 64;
    uint64_t bit = HIGHEST_BIT >> (63 - (rank - 1) % 64);
    if ((core->in_doubt[word] & bit) == 0) {
        core->in_doubt[word] |= bit;
        core->doubters++;
    }
    if (core->doubters + 2 == core->ranks) { /* all but the trainer and this one */
        go_back(core, now_ns, actions);
    }
}

/* A peer answers; the engine has put its rank into the message. */
/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && worker_sound(*core);
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_weights(\old(*core), *core) || kept(\old(*core), *core);
    ensures \old(core->awaits) != WEFT_AWAITS_PEERS ==>
            same_weights(\old(*core), *core) &&
            core->machine.state == \old(core->machine.state);
    ensures !same_weights(\old(*core), *core) ==>
            input->message.outcome == WEFT_OUTCOME_COMMITTED;
@*/
static void on_outcome(weft_worker_core *core, const weft_input *input, weft_actions *actions)
{
    const weft_message *message = &input->message;
    bool of_peer =
        message->rank >= 1 && message->rank < core->ranks && message->rank != core->last_rank;
    if (core->awaits != WEFT_AWAITS_PEERS || message->epoch != core->epoch || !of_peer) {
        drop(actions, input->link, WEFT_E_STALE_EPOCH);
    } else if (message->outcome == WEFT_OUTCOME_COMMITTED) {
        keep(core, input->now_ns, actions);
    } else if (message->outcome == WEFT_OUTCOME_ABORTED) {
        go_back(core, input->now_ns, actions);
    } else if (message->outcome == WEFT_OUTCOME_IN_DOUBT) {
        note_doubt(core, message->rank, input->now_ns, actions);
    }
}

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && worker_sound(*core);
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_weights(\old(*core), *core) || kept(\old(*core), *core);
    ensures \old(core->machine.state) == WEFT_FAILED ==> core->machine.state == WEFT_FAILED;
@*/
static void on_message(weft_worker_core *core, const weft_input *input, weft_actions *actions)
{
    if (input->message.type == WEFT_MESSAGE_START) {
        on_start(core, input, actions);
    } else if (input->message.type == WEFT_MESSAGE_ASK) {
        on_ask(core, input, actions);
    } else if (input->message.type == WEFT_MESSAGE_OUTCOME) {
        on_outcome(core, input, actions);
    } else if (!weft_session_active(&core->machine) || input->message.epoch != core->epoch) {
        on_foreign_message(core, input, actions);
    } else if (input->link != core->owner) {
        send_failed(actions, input->link, WEFT_E_BUSY, core->machine.state, input->message.epoch);
    } else {
        on_session_message(core, input, actions);
    }
}

/* ---- What became of an action ---- */

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && worker_sound(*core);
    requires core->awaits == WEFT_AWAITS_VALIDATION;
    requires core->update == 0 || core->streamed == input->streamed;
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_weights(\old(*core), *core) || torn(\old(*core), *core);
    ensures core->machine.state == WEFT_RECEIVING;
@*/
static void on_validated(weft_worker_core *core, const weft_input *input, weft_actions *actions)
{
    weft_invariant(core->update == 0 || core->streamed == input->streamed);
    commit_event(core, WEFT_EVENT_UPDATE, input->now_ns, actions);
    core->awaits = WEFT_AWAITS_PAYLOAD;
    if (input->streamed && !core->streamed) { /* from here on the old content is gone */
        core->streamed = core->written = core->paused = true;
        core->condition = WEFT_TORN;
        core->version = core->digest = 0;
        add_of_session(actions, WEFT_ACTION_PAUSE, core);
    }
    send(actions, core->owner, WEFT_MESSAGE_READY, core->epoch);
}

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && worker_sound(*core);
    requires core->awaits == WEFT_AWAITS_VERIFICATION;
    requires core->changed + input->changed <= UINT64_MAX;
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_weights(\old(*core), *core);
    ensures core->machine.state == WEFT_RECEIVING || goes_back(*core);
@*/
static void on_verified(weft_worker_core *core, const weft_input *input, weft_actions *actions)
{
    core->content_digest = weft_size_wrapped_sum(core->content_digest, input->digest);
    core->changed += input->changed;
    core->update++;
    core->awaits = WEFT_AWAITS_UPDATE;
    weft_status status = core->updates == core->update ? content_fault(core) : WEFT_OK;
    if (status != WEFT_OK) {
        fault(core, status, input->now_ns, actions);
    } else {
        send(actions, core->owner, WEFT_MESSAGE_STAGED, core->epoch);
    }
}

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && worker_sound(*core);
    requires core->machine.state == WEFT_FAILED;
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_weights(\old(*core), *core) || lost(*core);
    ensures core->machine.state == WEFT_IDLE;
@*/
static void on_undone(weft_worker_core *core, const weft_input *input, weft_actions *actions)
{
    if (input->status != WEFT_OK) {
        lose_weights(core);
    }
    reset(core, input->now_ns, actions);
}

/* Is this the result that the core waits for? Results of a session that ended in the meantime are
 * nobody's. */
/*@ requires \valid_read(core) && \valid(input) && worker_sound(*core);
    assigns \nothing;
    ensures \result ==> core->machine.state != WEFT_IDLE &&
      (core->machine.state == WEFT_FAILED <==> input->type == WEFT_INPUT_UNDONE);
    ensures \result && input->status == WEFT_OK ==>
      (input->type == WEFT_INPUT_VALIDATED ==> core->awaits == WEFT_AWAITS_VALIDATION) &&
      (input->type == WEFT_INPUT_RECEIVED ==> core->awaits == WEFT_AWAITS_VERIFICATION ||
                                              core->awaits == WEFT_AWAITS_TRANSFER) &&
      (input->type == WEFT_INPUT_VERIFIED ==> core->awaits == WEFT_AWAITS_VERIFICATION) &&
      (input->type == WEFT_INPUT_WRITTEN ==> core->awaits == WEFT_AWAITS_WRITE);
    ensures core->awaits == WEFT_AWAITS_UNDO && input->type == WEFT_INPUT_UNDONE ==> \result;
    ensures \result ==> WEFT_INPUT_VALIDATED <= input->type <= WEFT_INPUT_UNDONE;
@*/
static bool expected(const weft_worker_core *core, const weft_input *input)
{
    bool failed = input->status != WEFT_OK; /* which can be found before everything is here */
    switch ((weft_input_type)input->type) {
    case WEFT_INPUT_VALIDATED:
        return core->awaits == WEFT_AWAITS_VALIDATION ||
               (failed && core->awaits == WEFT_AWAITS_DOCUMENT);
    case WEFT_INPUT_RECEIVED:
        return core->awaits == WEFT_AWAITS_VERIFICATION || core->awaits == WEFT_AWAITS_TRANSFER ||
               (failed && core->awaits == WEFT_AWAITS_PAYLOAD);
    case WEFT_INPUT_VERIFIED:
        return core->awaits == WEFT_AWAITS_VERIFICATION;
    case WEFT_INPUT_WRITTEN:
        return core->awaits == WEFT_AWAITS_WRITE;
    case WEFT_INPUT_UNDONE:
        return core->awaits == WEFT_AWAITS_UNDO;
    case WEFT_INPUT_MESSAGE:
    case WEFT_INPUT_LINK_LOST:
    case WEFT_INPUT_TIME:
    case WEFT_INPUT_PUSH:
    case WEFT_INPUT_STOP:
        break;
    }
    return false;
}

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && worker_sound(*core);
    requires promised(*core, *input);
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_weights(\old(*core), *core) || torn(\old(*core), *core) || lost(*core);
    ensures \old(core->machine.state) == WEFT_FAILED && input->type == WEFT_INPUT_UNDONE ==>
            core->machine.state == WEFT_IDLE;
@*/
static void on_result(weft_worker_core *core, const weft_input *input, weft_actions *actions)
{
    if (!expected(core, input)) {
        return;
    }
    if (input->status != WEFT_OK && input->gone) {
        lose_weights(core);
    }
    if (input->type == WEFT_INPUT_UNDONE) {
        on_undone(core, input, actions);
    } else if (input->status != WEFT_OK) {
        fault(core, (weft_status)input->status, input->now_ns, actions);
    } else if (input->type == WEFT_INPUT_VALIDATED) {
        on_validated(core, input, actions);
    } else if (input->type == WEFT_INPUT_RECEIVED) {
        core->awaits = WEFT_AWAITS_VERIFICATION;
        act(actions, WEFT_ACTION_VERIFY);
    } else if (input->type == WEFT_INPUT_VERIFIED) {
        on_verified(core, input, actions);
    } else {
        on_written(core, input->now_ns, actions);
    }
}

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && worker_sound(*core);
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_weights(\old(*core), *core);
@*/
static void on_link_lost(weft_worker_core *core, const weft_input *input, weft_actions *actions)
{
    if (input->link != core->owner || !weft_session_active(&core->machine)) {
        return;
    }
    core->owner = WEFT_LINK_NONE; /* nobody to answer */
    if (has_peers(core)) {
        ask(core, input->now_ns, actions);
    } else if (core->awaits != WEFT_AWAITS_PEERS && weft_session_can_fail(&core->machine)) {
        bool in_doubt = core->machine.state == WEFT_FINISHED;
        fault(core, in_doubt ? WEFT_E_IN_DOUBT : (weft_status)input->status, input->now_ns,
              actions);
    }
}

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && worker_sound(*core);
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_weights(\old(*core), *core) || lost(*core);
    ensures input->now_ns >= \old(core->deadline_ns) ==>
            goes_back(*core) || core->awaits == WEFT_AWAITS_PEERS;
    ensures input->now_ns >= \old(core->deadline_ns) &&
            \old(core->machine.state) == WEFT_FAILED ==> core->machine.state == WEFT_IDLE;
@*/
static void on_time(weft_worker_core *core, const weft_input *input, weft_actions *actions)
{
    if (!weft_session_active(&core->machine) || input->now_ns < core->deadline_ns) {
        return;
    }
    if (has_peers(core)) {
        ask(core, input->now_ns, actions);
    } else if (weft_session_can_fail(&core->machine)) {
        bool unheard = core->awaits == WEFT_AWAITS_PEERS;
        fault(core, unheard ? WEFT_E_IN_DOUBT : WEFT_E_DEADLINE, input->now_ns, actions);
    } else { /* the undo did not come to an end */
        lose_weights(core);
        reset(core, input->now_ns, actions);
    }
}

/*@ requires \valid(core) && \valid(input) && \valid(actions);
    requires \separated(core, input, actions) && is_time(input->now_ns) && worker_sound(*core);
    requires promised(*core, *input);
    assigns *core, *actions;
    ensures worker_sound(*core) && same_worker(\old(*core), *core);
    ensures actions->count <= 7;
    ensures same_weights(\old(*core), *core) || kept(\old(*core), *core) ||
            torn(\old(*core), *core) || lost(*core);
    ensures \old(core->machine.state) != WEFT_IDLE && input->type == WEFT_INPUT_TIME &&
            input->now_ns >= \old(core->deadline_ns) ==>
            goes_back(*core) || core->awaits == WEFT_AWAITS_PEERS;
    ensures \old(core->machine.state) == WEFT_FAILED &&
            (input->type == WEFT_INPUT_UNDONE ||
             (input->type == WEFT_INPUT_TIME && input->now_ns >= \old(core->deadline_ns))) ==>
            core->machine.state == WEFT_IDLE;
@*/
void weft_worker_step(weft_worker_core *core, const weft_input *input, weft_actions *actions)
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
    case WEFT_INPUT_VALIDATED:
    case WEFT_INPUT_RECEIVED:
    case WEFT_INPUT_VERIFIED:
    case WEFT_INPUT_WRITTEN:
    case WEFT_INPUT_UNDONE:
        on_result(core, input, actions);
        break;
    case WEFT_INPUT_PUSH: /* a trainer's */
    case WEFT_INPUT_STOP:
        break;
    }
}

/*@ requires \valid_read(core) && \valid_read(action) && \valid(message);
    requires \separated(core, action, message);
    requires action->message == WEFT_MESSAGE_STAGED ==> core->update > 0;
    assigns *message;
    ensures message->type == action->message && message->epoch == action->epoch &&
            message->tail == 0;
@*/
void weft_worker_compose(const weft_worker_core *core, const weft_action *action,
                         weft_message *message)
{
    bool outcome = action->message == WEFT_MESSAGE_OUTCOME;
    bool applied = action->message == WEFT_MESSAGE_APPLIED;
    /* of the update that is over, which was the last number */
    bool staged = action->message == WEFT_MESSAGE_STAGED;
    *message = (weft_message){.type = action->message,
                              .epoch = action->epoch,
                              .protocol = WEFT_PROTOCOL_VERSION,
                              .condition = core->condition,
                              .outcome = outcome ? action->outcome : core->last_outcome,
                              .target_version = core->target_version, /* of ASK */
                              .target_digest = core->target_digest,
                              .version = core->version,
                              .digest = applied ? core->content_digest : core->digest,
                              .last_epoch = core->last_epoch,
                              .update = staged ? core->update - 1 : core->update,
                              .changed = core->changed,
                              .code = action->status,
                              .state = action->state};
}
