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
#include "invariant.h"
#include "protocol_contract.h"

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

/* Zero in every byte, for cores are compared and hashed byte by byte. */
static const weft_trainer_core NOTHING;
static const weft_trainer_slot NOBODY;

/*@ requires \valid(core);
    assigns *core;
    ensures trainer_sound(*core) && core->phase == WEFT_PHASE_NONE;
    ensures core->base_version == base_version && core->base_digest == base_digest;
@*/
void weft_trainer_core_init(weft_trainer_core *core, uint64_t fingerprint, uint64_t base_version,
                            uint64_t base_digest)
{
    *core = NOTHING;
    core->fingerprint = fingerprint;
    core->base_version = base_version;
    core->base_digest = base_digest;
    core->culprit = WEFT_LINK_NONE;
    weft_session_init(&core->machine);
    /*@ ghost
        /@ loop invariant 0 <= i <= WEFT_WORKERS_MAX;
           loop invariant waiting(core->slots, i) == 0 && enrolled(core->slots, i) == 0;
           loop assigns i;
           loop variant WEFT_WORKERS_MAX - i;
        @/
        for (uint32_t i = 0; i < WEFT_WORKERS_MAX; i++) { }
    @*/
}

/* Everything that becomes of one slot. */
/*@ requires \valid(core) && link < WEFT_WORKERS_MAX;
    assigns core->slots[link];
    ensures core->slots[link] == slot;
    ensures waiting(core->slots, WEFT_WORKERS_MAX) ==
            waiting(\old(core->slots), WEFT_WORKERS_MAX) -
            waits(\old(core->slots[link])) + waits(slot);
    ensures enrolled(core->slots, WEFT_WORKERS_MAX) ==
            enrolled(\old(core->slots), WEFT_WORKERS_MAX) -
            takes_part(\old(core->slots[link])) + takes_part(slot);
    ensures 0 <= waiting(core->slots, WEFT_WORKERS_MAX) &&
            0 <= enrolled(core->slots, WEFT_WORKERS_MAX);
@*/
static void put(weft_trainer_core *core, uint32_t link, weft_trainer_slot slot)
{
    core->slots[link] = slot;
    /*@ ghost
        /@ loop invariant 0 <= i <= WEFT_WORKERS_MAX;
           loop invariant waiting(core->slots, i) == waiting(\at(core->slots, Pre), i) +
             (i > link ? waits(slot) - waits(\at(core->slots[link], Pre)) : 0);
           loop invariant 0 <= waiting(core->slots, i) && 0 <= enrolled(core->slots, i);
           loop invariant enrolled(core->slots, i) == enrolled(\at(core->slots, Pre), i) +
             (i > link ? takes_part(slot) - takes_part(\at(core->slots[link], Pre)) : 0);
           loop assigns i;
           loop variant WEFT_WORKERS_MAX - i;
        @/
        for (uint32_t i = 0; i < WEFT_WORKERS_MAX; i++) { }
    @*/
}

/*@ requires \valid(core) && trainer_sound(*core);
    requires link < WEFT_WORKERS_MAX && empty(core->slots[link]);
    assigns core->slots[link];
    ensures trainer_sound(*core);
@*/
void weft_trainer_core_open(weft_trainer_core *core, uint32_t link)
{
    weft_trainer_slot slot = NOBODY;
    weft_invariant(link < WEFT_WORKERS_MAX && !core->slots[link].open);
    slot.open = true;
    put(core, link, slot);
}

/*@ requires \valid(core) && trainer_sound(*core) && core->phase == WEFT_PHASE_NONE;
    assigns core->base_version, core->base_digest;
    ensures trainer_sound(*core);
    ensures core->base_version == version && core->base_digest == digest;
@*/
void weft_trainer_core_rebase(weft_trainer_core *core, uint64_t version, uint64_t digest)
{
    weft_invariant(!weft_session_active(&core->machine));
    core->base_version = version;
    core->base_digest = digest;
}

/*@ requires \valid(core) && trainer_sound(*core);
    assigns core->doubt_epoch;
    ensures trainer_sound(*core) && core->doubt_epoch == 0;
@*/
void weft_trainer_core_forget_doubt(weft_trainer_core *core)
{
    core->doubt_epoch = 0;
}

/*@ requires \valid_read(core);
    assigns \nothing;
    ensures \result <= WEFT_WORKERS_MAX;
    ensures \result > 0 <==>
      \exists integer k; 0 <= k < WEFT_WORKERS_MAX && core->slots[k].known;
@*/
uint32_t weft_trainer_core_known(const weft_trainer_core *core)
{
    uint32_t known = 0;
    /*@ loop invariant 0 <= link <= WEFT_WORKERS_MAX && known <= link;
        loop invariant known > 0 <==> \exists integer k; 0 <= k < link && core->slots[k].known;
        loop assigns link, known;
        loop variant WEFT_WORKERS_MAX - link;
    @*/
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        known += core->slots[link].known ? 1 : 0;
    }
    return known;
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
static void act(weft_actions *actions, weft_action_type type, uint64_t epoch)
{
    add(actions, (weft_action){.type = (uint8_t)type, .link = WEFT_LINK_NONE, .epoch = epoch});
}

/*@ requires \valid(actions) && room(*actions, 1) && type <= WEFT_ACTION_ASK;
    assigns actions->count, actions->list[actions->count];
    ensures actions->count == \old(actions->count) + 1;
    ensures actions->list[\old(actions->count)].type == type &&
            actions->list[\old(actions->count)].link == link &&
            actions->list[\old(actions->count)].status == status;
@*/
static void about_link(weft_actions *actions, weft_action_type type, uint32_t link,
                       weft_status status, uint64_t epoch)
{
    add(actions,
        (weft_action){.type = (uint8_t)type, .link = link, .status = status, .epoch = epoch});
}

/* Moves the machine: the only place in this file. */
/*@ requires \valid(core) && \valid(actions) && \separated(core, actions) && room(*actions, 1);
    requires is_state(core->machine.state) && session_next(core->machine.state, event) != -1;
    assigns core->machine.state, actions->count, actions->list[actions->count];
    ensures core->machine.state == session_next(\old(core->machine.state), event);
    ensures actions->count == \old(actions->count) + 1;
    ensures actions->list[\old(actions->count)].type == WEFT_ACTION_TRANSITION;
    ensures actions->list[\old(actions->count)].transition.from == \old(core->machine.state) &&
            actions->list[\old(actions->count)].transition.to == core->machine.state;
@*/
static void commit_event(weft_trainer_core *core, weft_event event, weft_actions *actions)
{
    weft_transition transition;
    bool legal = weft_session_commit(&core->machine, event, &transition);
    weft_invariant(legal);
    add(actions, (weft_action){.type = WEFT_ACTION_TRANSITION,
                               .link = WEFT_LINK_NONE,
                               .transition = transition,
                               .status = event == WEFT_EVENT_FAULT ? core->cause : WEFT_OK,
                               .epoch = core->epoch});
}

/* The members are asked for the next answer, and have until the deadline. */
/*@ requires \valid(core) && phase <= WEFT_PHASE_ABORT && is_time(now_ns);
    assigns core->phase, core->pending, core->deadline_ns,
            core->slots[0 .. WEFT_WORKERS_MAX - 1];
    ensures core->phase == phase;
    ensures core->pending == waiting(core->slots, WEFT_WORKERS_MAX) &&
            core->pending == enrolled(core->slots, WEFT_WORKERS_MAX) &&
            enrolled(core->slots, WEFT_WORKERS_MAX) ==
            enrolled(\old(core->slots), WEFT_WORKERS_MAX) && core->pending <= WEFT_WORKERS_MAX;
    ensures \forall integer k; 0 <= k < WEFT_WORKERS_MAX ==>
            same_slot(core->slots[k], \old(core->slots)[k]) && !core->slots[k].answered;
    ensures \forall integer k; 0 <= k < WEFT_WORKERS_MAX && core->slots[k].member ==>
            core->pending > 0;
@*/
static void enter_phase(weft_trainer_core *core, weft_phase phase, uint64_t now_ns)
{
    core->phase = (uint8_t)phase;
    core->pending = 0;
    core->deadline_ns = now_ns + core->timeout_ms * NS_PER_MS;
    /*@ loop invariant 0 <= link <= WEFT_WORKERS_MAX;
        loop invariant \forall integer k; 0 <= k < WEFT_WORKERS_MAX ==>
          same_slot(core->slots[k], \at(core->slots, Pre)[k]);
        loop invariant \forall integer k; 0 <= k < link ==> !core->slots[k].answered;
        loop assigns link, core->slots[0 .. WEFT_WORKERS_MAX - 1];
        loop variant WEFT_WORKERS_MAX - link;
    @*/
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        core->slots[link].answered = false;
    }
    /*@ loop invariant 0 <= link <= WEFT_WORKERS_MAX && core->pending <= link;
        loop invariant core->pending == waiting(core->slots, link);
        loop invariant core->pending == enrolled(core->slots, link);
        loop invariant enrolled(core->slots, link) == enrolled(\at(core->slots, Pre), link);
        loop invariant \forall integer k; 0 <= k < link && core->slots[k].member ==>
          core->pending > 0;
        loop assigns link, core->pending;
        loop variant WEFT_WORKERS_MAX - link;
    @*/
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        core->pending += core->slots[link].member ? 1 : 0;
    }
}

/*@ requires \valid(core) && \valid(actions) && \separated(core, actions) && room(*actions, 1);
    requires phase <= WEFT_PHASE_ABORT && message < WEFT_MESSAGE_TYPE_END && is_time(now_ns);
    assigns core->phase, core->pending, core->deadline_ns,
            core->slots[0 .. WEFT_WORKERS_MAX - 1],
            actions->count, actions->list[actions->count];
    ensures core->phase == phase;
    ensures core->pending == waiting(core->slots, WEFT_WORKERS_MAX) &&
            core->pending == enrolled(core->slots, WEFT_WORKERS_MAX) &&
            enrolled(core->slots, WEFT_WORKERS_MAX) ==
            enrolled(\old(core->slots), WEFT_WORKERS_MAX) && core->pending <= WEFT_WORKERS_MAX;
    ensures \forall integer k; 0 <= k < WEFT_WORKERS_MAX ==>
            same_slot(core->slots[k], \old(core->slots)[k]) && !core->slots[k].answered;
    ensures \forall integer k; 0 <= k < WEFT_WORKERS_MAX && core->slots[k].member ==>
            core->pending > 0;
    ensures actions->count == \old(actions->count) + 1;
@*/
static void ask(weft_trainer_core *core, weft_phase phase, weft_message_type message,
                uint64_t now_ns, weft_actions *actions)
{
    enter_phase(core, phase, now_ns);
    add(actions, (weft_action){.type = WEFT_ACTION_SEND,
                               .message = (uint8_t)message,
                               .link = WEFT_LINK_ALL,
                               .status = core->cause,
                               .epoch = core->epoch});
}

/* ---- The end of a session ---- */

/*@ requires \valid(core) && \valid(actions) && \separated(core, actions) && room(*actions, 1);
    requires outcome <= WEFT_OUTCOME_IN_DOUBT && trainer_bounded(*core);
    assigns core->outcome, core->phase, core->deadline_ns, core->pending,
            core->slots[0 .. WEFT_WORKERS_MAX - 1],
            actions->count, actions->list[actions->count];
    ensures core->outcome == outcome && core->phase == WEFT_PHASE_NONE && core->pending == 0;
    ensures nobody_new(\old(*core), *core);
    ensures core->machine.state == WEFT_IDLE ==> trainer_sound(*core);
    ensures actions->count == \old(actions->count) + 1;
@*/
static void end_session(weft_trainer_core *core, weft_outcome outcome, weft_actions *actions)
{
    core->outcome = (uint8_t)outcome;
    core->phase = WEFT_PHASE_NONE;
    core->deadline_ns = 0;
    core->pending = 0;
    /*@ loop invariant 0 <= link <= WEFT_WORKERS_MAX;
        loop invariant \forall integer k; 0 <= k < link ==>
          !core->slots[k].member && !core->slots[k].answered;
        loop assigns link, core->slots[0 .. WEFT_WORKERS_MAX - 1];
        loop variant WEFT_WORKERS_MAX - link;
    @*/
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        core->slots[link].member = core->slots[link].answered = false;
    }
    /*@ ghost
        /@ loop invariant 0 <= i <= WEFT_WORKERS_MAX;
           loop invariant waiting(core->slots, i) == 0 && enrolled(core->slots, i) == 0;
           loop assigns i;
           loop variant WEFT_WORKERS_MAX - i;
        @/
        for (uint32_t i = 0; i < WEFT_WORKERS_MAX; i++) { }
    @*/
    bool committed = outcome == WEFT_OUTCOME_COMMITTED;
    about_link(actions, committed ? WEFT_ACTION_COMMITTED : WEFT_ACTION_FAILED, core->culprit,
               (weft_status)core->cause, core->epoch);
}

/*@ requires \valid(core);
    assigns core->cause, core->culprit;
    ensures core->cause == cause && core->culprit == culprit;
@*/
static void record_cause(weft_trainer_core *core, weft_status cause, uint32_t culprit)
{
    core->cause = cause;
    core->culprit = culprit;
}

/*@ requires \valid(core) && \valid(actions) && \separated(core, actions) && room(*actions, 2);
    requires trainer_bounded(*core) && core->machine.state == WEFT_FAILED;
    assigns *core, *actions;
    ensures trainer_sound(*core) && same_trainer(\old(*core), *core);
    ensures nobody_new(\old(*core), *core);
    ensures core->phase == WEFT_PHASE_NONE;
    ensures same_base(\old(*core), *core) && core->outcome == WEFT_OUTCOME_ABORTED;
    ensures core->cause == \old(core->cause) && core->culprit == \old(core->culprit);
    ensures actions->count == \old(actions->count) + 2;
@*/
static void end_aborted(weft_trainer_core *core, weft_actions *actions)
{
    commit_event(core, WEFT_EVENT_RESET, actions);
    end_session(core, WEFT_OUTCOME_ABORTED, actions);
}

/* Nobody is left to confirm or deny. */
/*@ requires \valid(core) && \valid(actions) && \separated(core, actions) && room(*actions, 3);
    requires trainer_in_step(*core) && core->phase == WEFT_PHASE_COMMIT;
    assigns *core, *actions;
    ensures trainer_sound(*core) && same_trainer(\old(*core), *core);
    ensures nobody_new(\old(*core), *core);
    ensures core->phase == WEFT_PHASE_NONE;
    ensures same_base(\old(*core), *core);
    ensures core->outcome == WEFT_OUTCOME_COMMITTED <==> \old(core->committed) > 0;
    ensures core->outcome == WEFT_OUTCOME_ABORTED ==> \old(core->denied == core->members);
    ensures core->outcome == WEFT_OUTCOME_UNDECIDED ==> core->doubt_epoch == core->epoch;
    ensures core->outcome == WEFT_OUTCOME_COMMITTED || core->outcome == WEFT_OUTCOME_ABORTED ||
            core->outcome == WEFT_OUTCOME_UNDECIDED;
    ensures actions->count <= \old(actions->count) + 3;
@*/
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
    commit_event(core, WEFT_EVENT_FAULT, actions);
    commit_event(core, WEFT_EVENT_RESET, actions);
    end_session(core, known ? WEFT_OUTCOME_ABORTED : WEFT_OUTCOME_UNDECIDED, actions);
    core->doubt_epoch = known ? 0 : core->epoch;
}

/* Before the decision: everybody goes back. */
/*@ requires \valid(core) && \valid(actions) && \separated(core, actions) && room(*actions, 5);
    requires trainer_in_step(*core) && undecided_phase(core->phase) && is_time(now_ns);
    assigns *core, *actions;
    ensures trainer_sound(*core) && same_trainer(\old(*core), *core);
    ensures nobody_new(\old(*core), *core);
    ensures same_base(\old(*core), *core);
    ensures core->phase == WEFT_PHASE_ABORT || core->phase == WEFT_PHASE_NONE;
    ensures core->cause == cause && core->culprit == culprit;
    ensures actions->count <= \old(actions->count) + 5;
@*/
static void fault(weft_trainer_core *core, weft_status cause, uint32_t culprit, uint64_t now_ns,
                  weft_actions *actions)
{
    record_cause(core, cause, culprit);
    commit_event(core, WEFT_EVENT_FAULT, actions);
    if (core->phase == WEFT_PHASE_PAYLOAD && core->transport == WEFT_TRANSPORT_NCCL) {
        act(actions, WEFT_ACTION_CANCEL, core->epoch);
    }
    ask(core, WEFT_PHASE_ABORT, WEFT_MESSAGE_ABORT, now_ns, actions);
    if (core->pending == 0) {
        end_aborted(core, actions);
    }
}

/* ---- The way forward ---- */

/*@ requires \valid(core) && \valid(actions) && \separated(core, actions) && room(*actions, 2);
    requires trainer_bounded(*core) && is_time(now_ns) && core->update < core->updates;
    requires core->machine.state == WEFT_STARTED || core->machine.state == WEFT_RECEIVING;
    requires undecided_phase(core->phase);
    requires \exists integer k; 0 <= k < WEFT_WORKERS_MAX && core->slots[k].member;
    assigns core->machine.state, core->phase, core->pending, core->deadline_ns,
            core->slots[0 .. WEFT_WORKERS_MAX - 1], *actions;
    ensures trainer_sound(*core) && core->phase == WEFT_PHASE_PREPARE;
    ensures nobody_new(\old(*core), *core);
    ensures actions->count == \old(actions->count) + 2;
@*/
static void prepare_update(weft_trainer_core *core, uint64_t now_ns, weft_actions *actions)
{
    commit_event(core, WEFT_EVENT_UPDATE, actions);
    ask(core, WEFT_PHASE_PREPARE, WEFT_MESSAGE_UPDATE, now_ns, actions);
}

/* Every member has answered. */
/*@ requires \valid(core) && \valid(actions) && \separated(core, actions) && room(*actions, 3);
    requires trainer_in_step(*core) && is_time(now_ns) && core->phase != WEFT_PHASE_NONE;
    requires undecided_phase(core->phase) ==>
             \exists integer k; 0 <= k < WEFT_WORKERS_MAX && core->slots[k].member;
    assigns *core, *actions;
    ensures trainer_sound(*core) && same_trainer(\old(*core), *core);
    ensures same_base(\old(*core), *core) && nobody_new(\old(*core), *core);
    ensures core->phase == next_phase(\old(*core));
    ensures actions->count <= \old(actions->count) + 3;
@*/
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
            act(actions, WEFT_ACTION_TRANSFER, core->epoch);
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

/*@ requires \valid(core) && \valid(actions) && \separated(core, actions) && room(*actions, 3);
    requires trainer_in_step(*core) && is_time(now_ns) && core->phase != WEFT_PHASE_NONE;
    requires core->pending == waiting(core->slots, WEFT_WORKERS_MAX);
    requires core->phase == WEFT_PHASE_COMMIT ==>
             core->committed + core->denied + core->pending <= core->members + 1;
    requires link < WEFT_WORKERS_MAX && core->slots[link].member && !core->slots[link].answered;
    assigns *core, *actions;
    ensures trainer_sound(*core) && same_trainer(\old(*core), *core);
    ensures same_base(\old(*core), *core);
    ensures core->phase == (\old(core->pending) == 1 ? next_phase(\old(*core)) :
                                                       \old(core->phase));
    ensures actions->count <= \old(actions->count) + 3;
@*/
static void answered(weft_trainer_core *core, uint32_t link, uint64_t now_ns, weft_actions *actions)
{
    weft_trainer_slot slot = core->slots[link];
    slot.answered = true;
    put(core, link, slot);
    core->pending--;
    if (core->pending == 0) {
        advance(core, now_ns, actions);
    }
}

/* The member is out: it failed, or its link is gone. It counts no more, and gets no more messages
 * of this session. */
/*@ requires \valid(core) && \valid(actions) && \separated(core, actions) && room(*actions, 5);
    requires trainer_sound(*core) && is_time(now_ns);
    requires link < WEFT_WORKERS_MAX && core->slots[link].member;
    assigns *core, *actions;
    ensures trainer_sound(*core) && same_trainer(\old(*core), *core);
    ensures same_base(\old(*core), *core);
    ensures core->phase != WEFT_PHASE_NONE && core->phase != WEFT_PHASE_ABORT ==>
            core->phase == WEFT_PHASE_COMMIT && \old(core->phase) == WEFT_PHASE_COMMIT;
    ensures \old(core->phase) == WEFT_PHASE_COMMIT ==> core->phase != WEFT_PHASE_ABORT;
    ensures !core->slots[link].member;
    ensures actions->count <= \old(actions->count) + 5;
@*/
static void remove_member(weft_trainer_core *core, uint32_t link, weft_status cause,
                          uint64_t now_ns, weft_actions *actions)
{
    weft_trainer_slot slot = core->slots[link];
    bool waited_for = !slot.answered;
    slot.member = slot.answered = false;
    put(core, link, slot);
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

/*@ requires \valid(core) && \valid(actions) && \separated(core, actions) && room(*actions, 1);
    assigns core->base_version, core->base_digest, actions->count,
            actions->list[actions->count];
    ensures core->base_version == core->target_version &&
            core->base_digest == core->target_digest;
    ensures actions->count == \old(actions->count) + 1;
@*/
static void confirm(weft_trainer_core *core, weft_actions *actions)
{
    core->base_version = core->target_version;
    core->base_digest = core->target_digest;
    act(actions, WEFT_ACTION_ADVANCE, core->epoch);
}

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && trainer_sound(*core);
    requires input->link < WEFT_WORKERS_MAX;
    requires core->slots[input->link].member && input->type == WEFT_INPUT_MESSAGE;
    assigns *core, *actions;
    ensures trainer_sound(*core) && same_trainer(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_base(\old(*core), *core) || moved_base(\old(*core), *core);
    ensures core->phase == WEFT_PHASE_COMMIT && \old(core->phase) != WEFT_PHASE_COMMIT ==>
            decides(\old(*core), *input);
    ensures \old(core->phase) == WEFT_PHASE_COMMIT ==> core->phase != WEFT_PHASE_ABORT;
    ensures !same_base(\old(*core), *core) ==>
            input->message.type == WEFT_MESSAGE_COMMITTED;
@*/
static void on_answer(weft_trainer_core *core, const weft_input *input, weft_actions *actions)
{
    uint32_t link = input->link;
    bool right_update = input->message.update == core->update ||
                        (core->phase != WEFT_PHASE_PREPARE && core->phase != WEFT_PHASE_PAYLOAD);
    if (core->phase == WEFT_PHASE_ABORT && input->message.type != WEFT_MESSAGE_ABORTED) {
        return; /* sent before ABORT arrived there */
    }
    if (input->message.type != ANSWERS[core->phase] || core->slots[link].answered ||
        !right_update) {
        about_link(actions, WEFT_ACTION_CLOSE, link, WEFT_E_UNEXPECTED_MESSAGE, core->epoch);
        remove_member(core, link, WEFT_E_UNEXPECTED_MESSAGE, input->now_ns, actions);
        return;
    }
    if (core->phase == WEFT_PHASE_APPLY && input->message.digest != core->target_digest) {
        fault(core, WEFT_E_DIGEST_MISMATCH, link, input->now_ns, actions);
        return;
    }
    if (core->phase == WEFT_PHASE_COMMIT) {
        core->committed++;
        if (core->committed == 1) {
            confirm(core, actions);
        }
    }
    answered(core, link, input->now_ns, actions);
}

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && trainer_sound(*core);
    requires input->link < WEFT_WORKERS_MAX;
    assigns *core, *actions;
    ensures trainer_sound(*core) && same_trainer(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_base(\old(*core), *core) || moved_base(\old(*core), *core);
    ensures core->phase == \old(core->phase) && core->machine.state == \old(core->machine.state);
    ensures !same_base(\old(*core), *core) ==>
            \old(core->doubt_epoch) != 0 && input->message.last_epoch == \old(core->doubt_epoch) &&
            input->message.digest == core->target_digest;
@*/
static void on_hello(weft_trainer_core *core, const weft_input *input, weft_actions *actions)
{
    const weft_message *message = &input->message;
    weft_trainer_slot slot = core->slots[input->link];
    if (slot.known || slot.refused) {
        about_link(actions, WEFT_ACTION_CLOSE, input->link, WEFT_E_UNEXPECTED_MESSAGE, 0);
        return;
    }
    if (message->last_epoch > WEFT_EPOCH_MAX) {
        about_link(actions, WEFT_ACTION_CLOSE, input->link, WEFT_E_FRAME_MALFORMED, 0);
        return;
    }
    if (message->last_epoch > core->highest_epoch) {
        core->highest_epoch = message->last_epoch;
    }
    bool same_model = message->fingerprint == core->fingerprint;
    slot.known = same_model;
    slot.refused = !same_model;
    put(core, input->link, slot);
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

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && trainer_sound(*core);
    requires input->link < WEFT_WORKERS_MAX;
    requires input->type == WEFT_INPUT_MESSAGE;
    assigns *core, *actions;
    ensures trainer_sound(*core) && same_trainer(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_base(\old(*core), *core) || moved_base(\old(*core), *core);
    ensures core->phase == WEFT_PHASE_COMMIT && \old(core->phase) != WEFT_PHASE_COMMIT ==>
            decides(\old(*core), *input);
    ensures \old(core->phase) == WEFT_PHASE_COMMIT ==> core->phase != WEFT_PHASE_ABORT;
    ensures !same_base(\old(*core), *core) ==>
            input->message.type == WEFT_MESSAGE_COMMITTED ||
            input->message.type == WEFT_MESSAGE_HELLO;
@*/
static void on_message(weft_trainer_core *core, const weft_input *input, weft_actions *actions)
{
    uint32_t link = input->link;
    if (input->message.type == WEFT_MESSAGE_HELLO) {
        on_hello(core, input, actions);
    } else if (!core->slots[link].known && !core->slots[link].refused) {
        about_link(actions, WEFT_ACTION_CLOSE, link, WEFT_E_HELLO_MISSING, 0);
    } else if (!core->slots[link].member || input->message.epoch != core->epoch) {
        about_link(actions, WEFT_ACTION_DROP, link, WEFT_E_STALE_EPOCH, 0);
    } else if (input->message.type == WEFT_MESSAGE_FAILED) {
        remove_member(core, link, WEFT_E_PEER_FAILED, input->now_ns, actions);
    } else {
        on_answer(core, input, actions);
    }
}

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && trainer_sound(*core);
    requires core->phase == WEFT_PHASE_NONE && input->message.updates > 0;
    requires core->highest_epoch < WEFT_EPOCH_MAX;
    requires \exists integer k; 0 <= k < WEFT_WORKERS_MAX && core->slots[k].known;
    assigns *core, *actions;
    ensures trainer_sound(*core) && core->phase == WEFT_PHASE_START;
    ensures same_base(\old(*core), *core);
    ensures core->epoch == \old(core->highest_epoch) + 1 && core->highest_epoch == core->epoch;
    ensures core->fingerprint == \old(core->fingerprint);
    ensures actions->count <= \old(actions->count) + 7;
@*/
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
    core->committed = core->denied = 0;
    /*@ loop invariant 0 <= link <= WEFT_WORKERS_MAX;
        loop invariant \forall integer k; 0 <= k < WEFT_WORKERS_MAX ==>
          core->slots[k].known == \at(core->slots, Pre)[k].known && !core->slots[k].answered;
        loop invariant \forall integer k; 0 <= k < link ==>
          core->slots[k].member == core->slots[k].known;
        loop assigns link, core->slots[0 .. WEFT_WORKERS_MAX - 1];
        loop variant WEFT_WORKERS_MAX - link;
    @*/
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        core->slots[link].member = core->slots[link].known;
    }
    commit_event(core, WEFT_EVENT_START, actions);
    ask(core, WEFT_PHASE_START, WEFT_MESSAGE_START, input->now_ns, actions);
    core->members = core->pending;
    weft_invariant(core->members > 0);
}

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && trainer_sound(*core);
    requires input->link < WEFT_WORKERS_MAX;
    assigns *core, *actions;
    ensures trainer_sound(*core) && same_trainer(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_base(\old(*core), *core);
    ensures core->phase == WEFT_PHASE_COMMIT ==> \old(core->phase) == WEFT_PHASE_COMMIT;
    ensures \old(core->phase) == WEFT_PHASE_COMMIT ==> core->phase != WEFT_PHASE_ABORT;
    ensures empty(core->slots[input->link]);
@*/
static void on_link_lost(weft_trainer_core *core, const weft_input *input, weft_actions *actions)
{
    if (core->slots[input->link].member) {
        remove_member(core, input->link, (weft_status)input->status, input->now_ns, actions);
    }
    put(core, input->link, NOBODY);
}

/*@ requires \valid_read(core);
    assigns \nothing;
    ensures \result == WEFT_LINK_NONE ||
            (\result < WEFT_WORKERS_MAX && waits(core->slots[\result]) == 1);
    ensures \result == WEFT_LINK_NONE ==> waiting(core->slots, WEFT_WORKERS_MAX) == 0;
@*/
static uint32_t first_pending(const weft_trainer_core *core)
{
    /*@ loop invariant 0 <= link <= WEFT_WORKERS_MAX && waiting(core->slots, link) == 0;
        loop assigns link;
        loop variant WEFT_WORKERS_MAX - link;
    @*/
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        if (core->slots[link].member && !core->slots[link].answered) {
            return link;
        }
    }
    return WEFT_LINK_NONE;
}

/*@ requires \valid(core) && \valid(input) && \valid(actions) && room(*actions, 7);
    requires \separated(core, input, actions) && is_time(input->now_ns) && trainer_sound(*core);
    assigns *core, *actions;
    ensures trainer_sound(*core) && same_trainer(\old(*core), *core);
    ensures actions->count <= \old(actions->count) + 7;
    ensures same_base(\old(*core), *core);
    ensures core->phase == WEFT_PHASE_COMMIT ==> \old(core->phase) == WEFT_PHASE_COMMIT;
    ensures \old(core->phase) == WEFT_PHASE_COMMIT ==> core->phase != WEFT_PHASE_ABORT;
    ensures input->now_ns >= \old(core->deadline_ns) ==>
            core->phase == WEFT_PHASE_NONE ||
            (core->phase == WEFT_PHASE_ABORT && undecided_phase(\old(core->phase)));
@*/
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

/*@ requires \valid_read(core) && core->phase <= WEFT_PHASE_ABORT;
    assigns \nothing;
    ensures \result <==> undecided_phase(core->phase);
@*/
static bool undecided(const weft_trainer_core *core)
{
    return core->phase != WEFT_PHASE_NONE && core->phase != WEFT_PHASE_COMMIT &&
           core->phase != WEFT_PHASE_ABORT;
}

/*@ requires \valid(core) && \valid(input) && \valid(actions);
    requires \separated(core, input, actions) && is_time(input->now_ns) && trainer_sound(*core);
    requires told(*core, *input);
    assigns *core, *actions;
    ensures trainer_sound(*core) && same_trainer(\old(*core), *core);
    ensures actions->count <= 7;
    ensures same_base(\old(*core), *core) || moved_base(\old(*core), *core);
    ensures core->phase == WEFT_PHASE_COMMIT && \old(core->phase) != WEFT_PHASE_COMMIT ==>
            decides(\old(*core), *input);
    ensures \old(core->phase) == WEFT_PHASE_COMMIT ==> core->phase != WEFT_PHASE_ABORT;
    ensures \old(core->phase) != WEFT_PHASE_NONE && input->type == WEFT_INPUT_TIME &&
            input->now_ns >= \old(core->deadline_ns) ==>
            core->phase == WEFT_PHASE_NONE || core->phase == WEFT_PHASE_ABORT;
    ensures \old(core->phase) == WEFT_PHASE_ABORT && input->type == WEFT_INPUT_TIME &&
            input->now_ns >= \old(core->deadline_ns) ==> core->machine.state == WEFT_IDLE;
@*/
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

/*@ requires \valid(core) && \valid(action) && \valid(message);
    requires \separated(core, action, message);
    assigns *message;
    ensures message->type == action->message && message->epoch == action->epoch &&
            message->tail == 0;
@*/
void weft_trainer_compose(const weft_trainer_core *core, const weft_action *action,
                          weft_message *message)
{
    bool sparse = core->kind == WEFT_SPARSE;
    *message = (weft_message){.type = action->message,
                              .epoch = action->epoch,
                              .kind = core->kind,
                              .transport = core->transport,
                              .base_version = sparse ? core->base_version : 0,
                              .base_digest = sparse ? core->base_digest : 0,
                              .target_version = core->target_version,
                              .target_digest = core->target_digest,
                              .updates = core->updates,
                              .update = core->update,
                              .timeout_ms = core->timeout_ms,
                              .code = action->status};
}
