/* One step of the trainer from every core that the invariant allows, with any input. So what is
 * proved here for a step holds, by induction, for every run of a trainer with so many workers.
 * PROVE_CASE narrows it, for twins. */
#include "../../src/frame.h"
#include "../../src/invariant.h"
#include "../../src/session.h"
#include "../../src/weft.h"

/* ESBMC 6.7 loses its way in structs of truths within an array: here they are bytes. */
#undef bool
#define bool uint8_t
#include "../../src/protocol.h"
#undef bool
#define bool _Bool

/* The actions are carried out as they are added, and the list stays short: when add() asks how many
 * there may be, the action before, which is complete by then, is noted and taken off. More than 6
 * are never given: stronger than what the code asks for. */
#define ACTIONS_MAX 6
_Static_assert(ACTIONS_MAX <= WEFT_ACTIONS_MAX, "stronger");
static uint32_t room(weft_actions *actions);
#undef WEFT_ACTIONS_MAX
#define WEFT_ACTIONS_MAX room(actions)

#ifndef PROVE_CASE
#define PROVE_CASE true
#endif

#include "../../src/protocol_trainer.c"
#include "../../src/session.c"

extern weft_trainer_core any_core(void);
extern weft_input any_input(void);
void __ESBMC_assume(_Bool condition);

#define IMPLIES(a, b) (!(a) || (b))

typedef struct told { /* by the actions */
    uint8_t at;       /* the state that the transitions lead to */
    bool by_table, well_sent;
    uint32_t count, commits, aborts, advances, ends;
} told;

static told all;
static weft_trainer_core core;

/* Without branches: it stands in every add() that ESBMC comes by. */
static void note(const weft_action *action)
{
    const weft_transition *move = &action->transition;
    bool moves = action->type == WEFT_ACTION_TRANSITION, sends = action->type == WEFT_ACTION_SEND;
    bool in_table = (move->from < WEFT_STATE_COUNT) & (move->event < WEFT_EVENT_COUNT) &
                    (move->to < WEFT_STATE_COUNT);
    all.by_table =
        all.by_table &
        ((!moves) |
         (in_table & (move->from == all.at) &
          (move->to ==
           SESSION_TABLE[move->from % WEFT_STATE_COUNT][move->event % WEFT_EVENT_COUNT])));
    all.at = moves ? move->to : all.at;
    all.well_sent = all.well_sent &
                    ((!sends) | ((action->link == WEFT_LINK_ALL) & (action->epoch == core.epoch)));
    all.commits += sends & (action->message == WEFT_MESSAGE_COMMIT) ? 1 : 0;
    all.aborts += sends & (action->message == WEFT_MESSAGE_ABORT) ? 1 : 0;
    all.advances += action->type == WEFT_ACTION_ADVANCE ? 1 : 0;
    all.ends +=
        (action->type == WEFT_ACTION_COMMITTED) | (action->type == WEFT_ACTION_FAILED) ? 1 : 0;
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

/* Open before it is anything else, known or refused, a member only if known, and so on. */
static bool slot_fits(const weft_trainer_core *core, uint32_t link)
{
    weft_trainer_slot slot = core->slots[link];
    bool truths = slot.open <= 1 && slot.known <= 1 && slot.refused <= 1 && slot.member <= 1 &&
                  slot.answered <= 1;
    return truths && IMPLIES(slot.known || slot.refused, slot.open) &&
           !(slot.known && slot.refused) &&
           IMPLIES(slot.member, slot.known && core->phase != WEFT_PHASE_NONE) &&
           IMPLIES(slot.answered, slot.member);
}

static uint32_t waited_for(const weft_trainer_core *core)
{
    uint32_t count = 0;
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        count += core->slots[link].member && !core->slots[link].answered ? 1 : 0;
    }
    return count;
}

static uint32_t answers(const weft_trainer_core *core)
{
    uint32_t count = 0;
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        count += core->slots[link].answered;
    }
    return count;
}

static uint8_t state_of(uint8_t phase)
{
    switch ((weft_phase)phase) {
    case WEFT_PHASE_NONE:
        return WEFT_IDLE;
    case WEFT_PHASE_START:
        return WEFT_STARTED;
    case WEFT_PHASE_PREPARE:
    case WEFT_PHASE_PAYLOAD:
        return WEFT_RECEIVING;
    case WEFT_PHASE_APPLY:
        return WEFT_APPLYING;
    case WEFT_PHASE_COMMIT:
        return WEFT_FINISHED;
    case WEFT_PHASE_ABORT:
        return WEFT_FAILED;
    }
    return WEFT_STATE_ILLEGAL;
}

static bool is_undecided(const weft_trainer_core *core)
{
    return core->phase >= WEFT_PHASE_START && core->phase <= WEFT_PHASE_APPLY;
}

/* The counts of the session's members. */
static bool counts_fit(const weft_trainer_core *core)
{
    bool commits = core->phase == WEFT_PHASE_COMMIT;
    uint32_t told = answers(core);
    return core->pending > 0 && core->members <= WEFT_WORKERS_MAX &&
           core->pending + told <= core->members &&
           IMPLIES(!commits, core->committed == 0 && core->denied == 0) &&
           IMPLIES(is_undecided(core), core->pending + told == core->members) &&
           IMPLIES(commits, core->committed >= told && core->committed <= core->members &&
                                core->denied <= core->members &&
                                core->pending + core->committed + core->denied <= core->members);
}

static bool session_fits(const weft_trainer_core *core)
{
    return core->doubt_epoch == 0 && core->epoch > 0 && core->outcome == WEFT_OUTCOME_UNDECIDED &&
           IMPLIES(is_undecided(core),
                   core->update < core->updates ||
                       (core->phase == WEFT_PHASE_APPLY && core->update == core->updates)) &&
           (core->cause != WEFT_OK) == (core->phase == WEFT_PHASE_ABORT) && counts_fit(core);
}

static bool is_sound(const weft_trainer_core *core)
{
    bool slots = true;
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        slots = slots && slot_fits(core, link);
    }
    return slots && core->phase <= WEFT_PHASE_ABORT &&
           core->machine.state == state_of(core->phase) && core->pending == waited_for(core) &&
           core->epoch <= core->highest_epoch && core->highest_epoch <= WEFT_EPOCH_MAX &&
           core->doubt_epoch <= core->epoch &&
           (core->phase == WEFT_PHASE_NONE ? core->pending == 0 && core->deadline_ns == 0
                                           : session_fits(core));
}

/* What the engine keeps to. */
static bool is_given(const weft_trainer_core *core, const weft_input *input)
{
    bool message = input->type == WEFT_INPUT_MESSAGE;
    bool of_link = message || input->type == WEFT_INPUT_LINK_LOST;
    bool known = false;
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        known = known || core->slots[link].known;
    }
    return IMPLIES(of_link, input->link < WEFT_WORKERS_MAX && core->slots[input->link].open) &&
           IMPLIES(input->type == WEFT_INPUT_LINK_LOST || input->type == WEFT_INPUT_STOP,
                   input->status != WEFT_OK) &&
           IMPLIES(input->type == WEFT_INPUT_PUSH, core->phase == WEFT_PHASE_NONE && known &&
                                                       input->message.updates > 0 &&
                                                       core->highest_epoch < WEFT_EPOCH_MAX);
}

/* ---- What a step does ---- */

/* COMMIT is said when the last member that was waited for has applied what was announced. */
static bool all_have_applied(const weft_trainer_core *before, const weft_input *input)
{
    weft_trainer_slot slot = before->slots[input->link % WEFT_WORKERS_MAX];
    bool last = before->pending == 1 && slot.member && !slot.answered;
    return before->phase == WEFT_PHASE_APPLY && last && input->type == WEFT_INPUT_MESSAGE &&
           input->message.type == WEFT_MESSAGE_APPLIED && input->message.epoch == before->epoch &&
           input->message.digest == before->target_digest &&
           before->pending + answers(before) == before->members;
}

/* A worker says that it has committed: the first of the session, or after a doubt. */
static bool may_advance(const weft_trainer_core *before, const weft_input *input)
{
    const weft_message *message = &input->message;
    bool confirms = before->phase == WEFT_PHASE_COMMIT && before->committed == 0 &&
                    message->type == WEFT_MESSAGE_COMMITTED && message->epoch == before->epoch;
    bool resolves =
        before->phase == WEFT_PHASE_NONE && before->doubt_epoch != 0 &&
        message->type == WEFT_MESSAGE_HELLO && message->outcome == WEFT_OUTCOME_COMMITTED &&
        message->last_epoch == before->doubt_epoch && message->version == before->target_version &&
        message->digest == before->target_digest;
    return input->type == WEFT_INPUT_MESSAGE && (confirms || resolves);
}

/* Who has newly answered has sent what its phase asks for; a new phase begins without answers. */
static bool answers_are_said(const weft_trainer_core *before, const weft_input *input)
{
    const weft_message *message = &input->message;
    bool right = true;
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        bool said = input->type == WEFT_INPUT_MESSAGE && input->link == link &&
                    message->epoch == before->epoch && message->type == ANSWERS[before->phase] &&
                    (before->phase != WEFT_PHASE_APPLY || message->digest == before->target_digest);
        bool news = core.slots[link].answered && !before->slots[link].answered;
        right = right && (!news || said);
    }
    return right && (core.phase == before->phase || answers(&core) == 0);
}

static void check_told(const weft_trainer_core *before, const weft_input *input)
{
    bool ends = before->phase != WEFT_PHASE_NONE && core.phase == WEFT_PHASE_NONE;
    __ESBMC_assert(answers_are_said(before, input), "answers are said");
    __ESBMC_assert(all.by_table, "moves by the table");
    __ESBMC_assert(all.well_sent, "sent to all, of this epoch");
    __ESBMC_assert(all.at == core.machine.state, "every move is told");
    __ESBMC_assert(all.ends == (ends ? 1 : 0), "an end is told once");
    __ESBMC_assert(all.commits <= 1 && (all.commits == 0 || all_have_applied(before, input)),
                   "COMMIT only when all have applied");
    __ESBMC_assert(all.aborts <= 1 && (all.aborts == 0 || is_undecided(before)),
                   "ABORT only before the decision");
    __ESBMC_assert(all.advances <= 1 && (all.advances == 0 || may_advance(before, input)),
                   "the base moves by a worker's word");
    __ESBMC_assert(all.advances == 1 ? core.base_version == before->target_version &&
                                           core.base_digest == before->target_digest
                                     : core.base_version == before->base_version &&
                                           core.base_digest == before->base_digest,
                   "the base moves only when that is told");
}

/* How many deadlines are left until idle. */
static uint32_t way_home(const weft_trainer_core *core)
{
    return core->phase == WEFT_PHASE_NONE ? 0 : is_undecided(core) ? 2 : 1;
}

static void check_step(const weft_trainer_core *before, const weft_input *input,
                       weft_actions *actions)
{
    room(actions); /* the last one */
    check_told(before, input);
    __ESBMC_assert(input->type != WEFT_INPUT_TIME || before->phase == WEFT_PHASE_NONE ||
                       input->now_ns < before->deadline_ns || way_home(&core) < way_home(before),
                   "a deadline leads nearer to idle");
    __ESBMC_assert(core.highest_epoch >= before->highest_epoch, "epochs only grow");
    __ESBMC_assert(core.pending == waited_for(&core), "as many are waited for as are counted");
    __ESBMC_assert(is_sound(&core), "sound after a step");
}

/* The functions beside the step that write a core. */
static void check_others(weft_trainer_core other, const weft_input *input)
{
    weft_trainer_core fresh;
    weft_trainer_core_init(&fresh, other.fingerprint, other.base_version, other.base_digest);
    __ESBMC_assert(is_sound(&fresh), "sound at first");
    if (input->link < WEFT_WORKERS_MAX && !other.slots[input->link].open) {
        weft_trainer_core_open(&other, input->link);
    }
    if (other.phase == WEFT_PHASE_NONE) {
        weft_trainer_core_rebase(&other, input->digest, input->changed);
    }
    weft_trainer_core_forget_doubt(&other);
    __ESBMC_assert(is_sound(&other), "sound after the others");
}

int main(void)
{
    weft_input input = any_input();
    weft_actions actions;
    core = any_core();
    __ESBMC_assume((PROVE_CASE) && is_sound(&core));
    check_others(core, &input);
    __ESBMC_assume(is_given(&core, &input));
    weft_trainer_core before = core;
    all = (told){.at = core.machine.state, .by_table = true, .well_sent = true};
    weft_trainer_step(&core, &input, &actions);
    check_step(&before, &input, &actions);
    return 0;
}
