/* One step of the worker from every core that the invariant allows, with any input. So what is
 * proved here for a step holds, by induction, for every run of a worker. PROVE_CASE narrows it, for
 * twins. */
#include "../../src/invariant.h"
#include "../../src/protocol.h"

/* The actions are carried out as they are added, and the list stays short: when add() asks how many
 * there may be, the action before, which is complete by then, is noted and taken off. More than 7
 * are never given: stronger than what the code asks for. */
#define ACTIONS_MAX 7
_Static_assert(ACTIONS_MAX <= WEFT_ACTIONS_MAX, "stronger");
static uint32_t room(weft_actions *actions);
#undef WEFT_ACTIONS_MAX
#define WEFT_ACTIONS_MAX room(actions)

#ifndef PROVE_CASE
#define PROVE_CASE true
#endif

#include "../../src/protocol_worker.c"
#include "../../src/session.c"

extern weft_worker_core any_core(void);
extern weft_input any_input(void);
void __ESBMC_assume(_Bool condition);

#define IMPLIES(a, b) (!(a) || (b))

typedef struct told { /* by the actions */
    uint8_t at;       /* the state that the transitions lead to */
    bool by_table, commits, faults, well_sent, commit_is_said, with_cause;
    uint32_t count, pauses, resumes, releases, committed, failed;
} told;

static told all;
static weft_worker_core before;
static weft_input input;

/* Without branches: it stands in every add() that ESBMC comes by. */
static void note(const weft_action *action)
{
    const weft_transition *move = &action->transition;
    bool moves = action->type == WEFT_ACTION_TRANSITION, sends = action->type == WEFT_ACTION_SEND;
    bool fails = action->type == WEFT_ACTION_FAILED;
    bool ended_so =
        before.awaits == WEFT_AWAITS_NOTHING && before.last_outcome == WEFT_OUTCOME_COMMITTED &&
        input.message.type == WEFT_MESSAGE_ABORT && input.message.epoch == before.last_epoch;
    all.by_table =
        all.by_table &
        ((!moves) |
         ((move->from == all.at) &
          (move->to ==
           SESSION_TABLE[move->from % WEFT_STATE_COUNT][move->event % WEFT_EVENT_COUNT]) &
          (move->event < WEFT_EVENT_COUNT) & (move->to < WEFT_STATE_COUNT)));
    all.at = moves ? move->to : all.at;
    all.commits = all.commits | (moves & (move->event == WEFT_EVENT_COMMIT));
    all.faults = all.faults | (moves & (move->event == WEFT_EVENT_FAULT));
    all.well_sent = all.well_sent &
                    ((!sends) | ((action->link != WEFT_LINK_NONE) &
                                 ((action->link == before.owner) | (action->link == input.link))));
    all.commit_is_said =
        all.commit_is_said &
        ((!sends) | (action->message != WEFT_MESSAGE_COMMITTED) | all.commits | ended_so);
    all.with_cause =
        all.with_cause &
        ((!fails) | ((action->status != WEFT_OK) &
                     ((before.machine.state != WEFT_FAILED) | (action->status == before.cause))));
    all.pauses += action->type == WEFT_ACTION_PAUSE ? 1 : 0;
    all.resumes += action->type == WEFT_ACTION_RESUME ? 1 : 0;
    all.releases += action->type == WEFT_ACTION_RELEASE ? 1 : 0;
    all.committed += action->type == WEFT_ACTION_COMMITTED ? 1 : 0;
    all.failed += fails ? 1 : 0;
}

static uint32_t room(weft_actions *actions)
{
    if (actions->count != 0) {
        note(&actions->list[0]);
    }
    actions->count = 0;
    return all.count++ < ACTIONS_MAX ? 1 : 0;
}

/* ---- The invariant ---- */

static uint32_t bits(uint64_t word) /* of as many as there are workers */
{
    _Static_assert(WEFT_WORKERS_MAX == 3, "three bits");
    return (uint32_t)((word & 1) + ((word >> 1) & 1) + ((word >> 2) & 1));
}

static bool state_fits(const weft_worker_core *core)
{
    uint8_t state = core->machine.state;
    switch ((weft_awaits)core->awaits) {
    case WEFT_AWAITS_NOTHING:
        return state == WEFT_IDLE;
    case WEFT_AWAITS_UPDATE:
        return state == (core->update == 0 ? WEFT_STARTED : WEFT_RECEIVING);
    case WEFT_AWAITS_DOCUMENT:
    case WEFT_AWAITS_VALIDATION:
        return state == (core->update == 0 ? WEFT_STARTED : WEFT_RECEIVING);
    case WEFT_AWAITS_PAYLOAD:
    case WEFT_AWAITS_TRANSFER:
    case WEFT_AWAITS_VERIFICATION:
        return state == WEFT_RECEIVING;
    case WEFT_AWAITS_WRITE:
        return state == WEFT_APPLYING;
    case WEFT_AWAITS_DECISION:
    case WEFT_AWAITS_PEERS:
        return state == WEFT_FINISHED;
    case WEFT_AWAITS_UNDO:
        return state == WEFT_FAILED;
    }
    return false;
}

static bool runs(const weft_worker_core *core) /* and can still fail */
{
    return core->machine.state != WEFT_IDLE && core->machine.state != WEFT_FAILED;
}

static bool receives(const weft_worker_core *core) /* an update is under way */
{
    return core->awaits >= WEFT_AWAITS_DOCUMENT && core->awaits <= WEFT_AWAITS_VERIFICATION;
}

static bool idle_is_zero(const weft_worker_core *core)
{
    return core->kind == 0 && core->transport == 0 && core->failed_in == 0 && !core->check_target &&
           !core->streamed && !core->written && !core->paused && core->owner == WEFT_LINK_NONE &&
           core->cause == WEFT_OK && core->session_timeout_ms == 0 && core->update == 0 &&
           core->updates == 0 && core->epoch == 0 && core->deadline_ns == 0 &&
           core->target_version == 0 && core->target_digest == 0 && core->content_digest == 0 &&
           core->changed == 0 && core->document_bytes == 0 && core->document_taken == 0 &&
           core->payload_bytes == 0 && core->payload_taken == 0 && core->payload_digest == 0 &&
           core->ranks == 0 && core->doubters == 0 && core->peers_bytes == 0 &&
           core->peers_taken == 0 && core->in_doubt[0] == 0;
}

static bool weights_are_told(const weft_worker_core *core)
{
    bool intact = core->condition == WEFT_INTACT;
    return core->condition <= WEFT_LOST &&
           IMPLIES(!intact, core->version == 0 && core->digest == 0) &&
           IMPLIES(runs(core), core->condition != WEFT_LOST) &&
           IMPLIES(runs(core) && core->kind == WEFT_SPARSE, intact) &&
           IMPLIES(core->streamed, !intact);
}

static bool outcome_fits(const weft_worker_core *core)
{
    switch ((weft_outcome)core->last_outcome) {
    case WEFT_OUTCOME_NONE:
    case WEFT_OUTCOME_COMMITTED:
        return core->machine.state == WEFT_IDLE;
    case WEFT_OUTCOME_ABORTED:
    case WEFT_OUTCOME_UNCONFIRMED:
        return !runs(core);
    case WEFT_OUTCOME_UNDECIDED:
        return runs(core);
    case WEFT_OUTCOME_IN_DOUBT: /* is told, and kept nowhere */
        break;
    }
    return false;
}

static bool session_is_named(const weft_worker_core *core)
{
    bool ownerless = core->awaits == WEFT_AWAITS_PEERS || core->awaits == WEFT_AWAITS_UNDO;
    return core->epoch == core->last_epoch && core->epoch > 0 &&
           core->target_version == core->last_target_version &&
           core->target_digest == core->last_target_digest &&
           (core->kind == WEFT_SPARSE || core->kind == WEFT_BASELINE) &&
           (core->transport == WEFT_TRANSPORT_TCP || core->transport == WEFT_TRANSPORT_NCCL) &&
           core->session_timeout_ms <= core->timeout_ms &&
           (core->owner != WEFT_LINK_NONE || ownerless) && (core->cause == WEFT_OK) == runs(core) &&
           (runs(core) ? core->failed_in == 0
                       : core->failed_in > WEFT_IDLE && core->failed_in < WEFT_FAILED);
}

/* Written means paused; and what is written can be undone, or is torn. */
static bool writing_fits(const weft_worker_core *core)
{
    bool late = core->machine.state == WEFT_APPLYING || core->machine.state == WEFT_FINISHED;
    return core->paused == core->written && IMPLIES(core->streamed, core->written) &&
           IMPLIES(late, core->written) &&
           IMPLIES(core->machine.state == WEFT_STARTED, !core->written) &&
           IMPLIES(core->machine.state == WEFT_RECEIVING, core->written == core->streamed) &&
           IMPLIES(core->streamed, core->kind == WEFT_BASELINE) &&
           IMPLIES(core->awaits == WEFT_AWAITS_WRITE, !core->streamed);
}

static bool counts_fit(const weft_worker_core *core)
{
    bool more = core->updates == 0 || core->update < core->updates;
    bool late = core->machine.state == WEFT_APPLYING || core->machine.state == WEFT_FINISHED;
    return core->document_taken <= core->document_bytes &&
           core->document_bytes <= WEFT_DOCUMENT_MAX &&
           core->payload_taken <= core->payload_bytes && core->update <= WEFT_UPDATES_MAX &&
           (core->updates == 0 || core->update <= core->updates) &&
           IMPLIES(receives(core), more && core->update < WEFT_UPDATES_MAX) &&
           IMPLIES(late, core->updates == 0 || core->update == core->updates) &&
           IMPLIES(core->awaits == WEFT_AWAITS_DOCUMENT,
                   core->document_taken < core->document_bytes) &&
           IMPLIES(core->awaits == WEFT_AWAITS_DOCUMENT || core->awaits == WEFT_AWAITS_VALIDATION,
                   core->payload_taken == 0) &&
           IMPLIES(core->awaits == WEFT_AWAITS_TRANSFER, core->transport == WEFT_TRANSPORT_NCCL) &&
           IMPLIES(core->awaits == WEFT_AWAITS_PAYLOAD && core->payload_taken != 0,
                   core->transport == WEFT_TRANSPORT_TCP &&
                       core->payload_taken < core->payload_bytes);
}

/* What would be kept is what was announced, and all of it. */
static bool content_fits(const weft_worker_core *core)
{
    bool late = core->machine.state == WEFT_APPLYING || core->machine.state == WEFT_FINISHED;
    return IMPLIES(late,
                   (!core->check_target || core->content_digest == core->target_digest) &&
                       (core->kind != WEFT_BASELINE || core->changed == core->model_elements));
}

static uint64_t peers_of(const weft_worker_core *core) /* bit rank - 1 of each */
{
    uint64_t all = (UINT64_C(1) << (core->ranks - 1)) - 1;
    return all & ~(UINT64_C(1) << (core->last_rank - 1));
}

static bool doubt_fits(const weft_worker_core *core)
{
    bool heard = core->machine.state > WEFT_STARTED || core->awaits == WEFT_AWAITS_VALIDATION;
    bool peers = core->peers_bytes != 0;
    return core->peers_taken <= core->peers_bytes && core->peers_bytes <= WEFT_PEERS_BYTES_MAX &&
           IMPLIES(heard && runs(core), core->peers_taken == core->peers_bytes) &&
           IMPLIES(peers, core->last_rank >= 1 && core->last_rank < core->ranks &&
                              core->ranks <= WEFT_WORKERS_MAX + 1) &&
           core->doubters == bits(core->in_doubt[0]) &&
           IMPLIES(core->doubters == 0, core->in_doubt[0] == 0) &&
           IMPLIES(core->doubters != 0,
                   peers && (core->in_doubt[0] & ~peers_of(core)) == 0 &&
                       (core->awaits == WEFT_AWAITS_PEERS || core->awaits == WEFT_AWAITS_UNDO)) &&
           IMPLIES(core->awaits == WEFT_AWAITS_PEERS, peers && core->doubters + 2 < core->ranks);
}

static bool is_sound(const weft_worker_core *core)
{
    return state_fits(core) && weights_are_told(core) && outcome_fits(core) &&
           (core->machine.state == WEFT_IDLE
                ? idle_is_zero(core)
                : session_is_named(core) && writing_fits(core) && counts_fit(core) &&
                      content_fits(core) && doubt_fits(core));
}

/* What the engine keeps to. */
static bool is_given(const weft_worker_core *core, const weft_input *input)
{
    return IMPLIES(input->type == WEFT_INPUT_MESSAGE, input->link != WEFT_LINK_NONE) &&
           IMPLIES(input->type == WEFT_INPUT_LINK_LOST, input->status != WEFT_OK) &&
           IMPLIES(input->type == WEFT_INPUT_VALIDATED && input->status == WEFT_OK,
                   core->update == 0 ? !input->streamed || core->kind == WEFT_BASELINE
                                     : input->streamed == core->streamed);
}

/* ---- What a step does ---- */

static void check_told(const weft_worker_core *core)
{
    bool ends = before.machine.state != WEFT_IDLE && core->machine.state == WEFT_IDLE;
    __ESBMC_assert(all.by_table, "moves by the table");
    __ESBMC_assert(all.well_sent, "sent to the owner, or as the answer");
    __ESBMC_assert(all.commit_is_said, "COMMITTED is said of a commit");
    __ESBMC_assert(all.with_cause, "the first cause is told");
    __ESBMC_assert(all.at == core->machine.state, "every move is told");
    __ESBMC_assert(all.releases == (ends ? 1 : 0), "an end releases once");
    __ESBMC_assert(all.committed == (all.commits ? 1 : 0), "a commit is told once");
    __ESBMC_assert(all.committed + all.failed == (ends ? 1 : 0), "an end is told once");
    __ESBMC_assert(before.paused + all.pauses == core->paused + all.resumes,
                   "resumed as often as paused");
    __ESBMC_assert(!all.faults || core->machine.state == WEFT_IDLE ||
                       (core->machine.state == WEFT_FAILED && core->awaits == WEFT_AWAITS_UNDO),
                   "a fault leads to idle or to the undo");
    __ESBMC_assert(before.machine.state != WEFT_FAILED || core->machine.state == WEFT_IDLE ||
                       core->cause == before.cause,
                   "the first cause is kept");
}

/* COMMIT is the trainer's decision, or in doubt a peer's word that it was. */
static bool may_commit(const weft_worker_core *before, const weft_input *input)
{
    const weft_message *message = &input->message;
    bool decided = before->awaits == WEFT_AWAITS_DECISION && message->type == WEFT_MESSAGE_COMMIT &&
                   input->link == before->owner;
    bool heard = before->awaits == WEFT_AWAITS_PEERS && message->type == WEFT_MESSAGE_OUTCOME &&
                 message->outcome == WEFT_OUTCOME_COMMITTED && message->rank >= 1 &&
                 message->rank < before->ranks && message->rank != before->last_rank;
    return input->type == WEFT_INPUT_MESSAGE && message->epoch == before->epoch &&
           (decided || heard);
}

static void check_weights(bool commits, const weft_worker_core *before,
                          const weft_worker_core *core, const weft_input *input)
{
    bool holds_none = core->version == 0 && core->digest == 0;
    bool same = core->condition == before->condition && core->version == before->version &&
                core->digest == before->digest;
    bool first_streamed = input->type == WEFT_INPUT_VALIDATED && input->status == WEFT_OK &&
                          input->streamed && !before->streamed &&
                          before->awaits == WEFT_AWAITS_VALIDATION;
    bool result = input->type >= WEFT_INPUT_VALIDATED && input->type <= WEFT_INPUT_UNDONE &&
                  input->status != WEFT_OK;
    bool lost = (result && (input->gone || input->type == WEFT_INPUT_UNDONE)) ||
                (input->type == WEFT_INPUT_TIME && before->awaits == WEFT_AWAITS_UNDO);
    __ESBMC_assert(!commits || may_commit(before, input), "committed by a decision");
    __ESBMC_assert(
        commits ? core->condition == WEFT_INTACT && core->version == before->target_version &&
                      core->digest == before->content_digest &&
                      core->last_outcome == WEFT_OUTCOME_COMMITTED
                : same || (first_streamed && core->condition == WEFT_TORN && holds_none) ||
                      (lost && core->condition == WEFT_LOST && holds_none),
        "weights change by a commit, torn or lost");
    __ESBMC_assert(!commits || !before->check_target || core->digest == before->target_digest,
                   "what is kept was announced");
}

static bool same_session(const weft_worker_core *a, const weft_worker_core *b)
{
    return a->machine.state == b->machine.state && a->awaits == b->awaits && a->kind == b->kind &&
           a->transport == b->transport && a->failed_in == b->failed_in &&
           a->check_target == b->check_target && a->streamed == b->streamed &&
           a->written == b->written && a->paused == b->paused && a->owner == b->owner &&
           a->cause == b->cause && a->session_timeout_ms == b->session_timeout_ms &&
           a->update == b->update && a->updates == b->updates && a->epoch == b->epoch &&
           a->deadline_ns == b->deadline_ns && a->target_version == b->target_version &&
           a->target_digest == b->target_digest && a->content_digest == b->content_digest &&
           a->changed == b->changed && a->document_bytes == b->document_bytes &&
           a->document_taken == b->document_taken && a->payload_bytes == b->payload_bytes &&
           a->payload_taken == b->payload_taken && a->payload_digest == b->payload_digest &&
           a->ranks == b->ranks && a->doubters == b->doubters && a->peers_bytes == b->peers_bytes &&
           a->peers_taken == b->peers_taken && a->in_doubt[0] == b->in_doubt[0];
}

static void check_message(const weft_worker_core *before, const weft_worker_core *core,
                          const weft_input *input)
{
    uint8_t type = input->message.type;
    bool of_peers = type == WEFT_MESSAGE_ASK ||
                    (type == WEFT_MESSAGE_OUTCOME && before->awaits != WEFT_AWAITS_PEERS);
    bool of_others = type != WEFT_MESSAGE_OUTCOME && input->link != before->owner &&
                     (type != WEFT_MESSAGE_START || before->machine.state != WEFT_IDLE);
    bool of_another = type != WEFT_MESSAGE_OUTCOME && type != WEFT_MESSAGE_START &&
                      input->message.epoch != before->epoch;
    __ESBMC_assert(input->type != WEFT_INPUT_MESSAGE || !(of_peers || of_others || of_another) ||
                       same_session(before, core),
                   "a foreign message changes nothing of the session");
}

/* How many deadlines are left until idle. */
static uint32_t way_home(const weft_worker_core *core)
{
    return core->awaits == WEFT_AWAITS_NOTHING                              ? 0
           : core->awaits == WEFT_AWAITS_UNDO                               ? 1
           : core->awaits == WEFT_AWAITS_DECISION && core->peers_bytes != 0 ? 3
                                                                            : 2;
}

static void check_way_home(const weft_worker_core *before, const weft_worker_core *core,
                           const weft_input *input)
{
    bool active = before->machine.state != WEFT_IDLE;
    __ESBMC_assert(!active || input->type != WEFT_INPUT_TIME ||
                       input->now_ns < before->deadline_ns || way_home(core) < way_home(before),
                   "a deadline leads nearer to idle");
    __ESBMC_assert(before->awaits != WEFT_AWAITS_UNDO || input->type != WEFT_INPUT_UNDONE ||
                       core->machine.state == WEFT_IDLE,
                   "after the undo it is idle");
}

static void check_step(const weft_worker_core *core, weft_actions *actions)
{
    room(actions); /* the last one */
    check_told(core);
    check_weights(all.commits, &before, core, &input);
    check_way_home(&before, core, &input);
    check_message(&before, core, &input);
    __ESBMC_assert(core->last_epoch >= before.last_epoch, "epochs only grow");
    __ESBMC_assert(is_sound(core), "sound after a step");
}

static void check_init(const weft_worker_core *any)
{
    weft_worker_core core;
    weft_worker_core_init(&core, any->model_elements, any->version, any->digest, any->timeout_ms);
    __ESBMC_assert(is_sound(&core), "sound at first");
}

int main(void)
{
    weft_worker_core core = any_core();
    weft_actions actions;
    check_init(&core);
    input = any_input();
    __ESBMC_assume((PROVE_CASE) && is_sound(&core) && is_given(&core, &input));
    before = core;
    all = (told){.at = core.machine.state,
                 .by_table = true,
                 .well_sent = true,
                 .commit_is_said = true,
                 .with_cause = true};
    weft_worker_step(&core, &input, &actions);
    check_step(&core, &actions);
    return 0;
}
