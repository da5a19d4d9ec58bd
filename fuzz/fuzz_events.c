/* One trainer and two workers as pure cores, joined by queues (tests/graph_world.h, the world of
 * tla/WeightUpdate.tla): the input says what happens next. Pushes, aborts, calls of local control,
 * frames that arrive, links that break at either end, connections, results of devices and
 * transports, deadlines, processes that start again, workers in doubt that ask each other. After
 * each, what tla/Properties.tla says must hold; in the end, without any more faults, everybody
 * comes back to idle.
 *
 * The input: a byte of options, then one byte for each event: the low 5 bits say what, the others
 * to whom and how; the enum below lists them. What cannot happen is skipped.
 *
 * Covers: src/protocol_*.c src/session.c */
#include <stdint.h>
#include <string.h>

#include "graph_world.h"
#include "harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WORKERS    2u
#define EVENTS_MAX 256u
#define DRAIN_MAX  400u

static graph_world w;
static uint64_t newest[WORKERS]; /* what each has committed last */
static bool streams;             /* GO_ON streams baselines */

/* ---- what must hold: tla/Properties.tla ---- */

static bool is_in_session(const weft_worker_core *c)
{
    return c->epoch != 0 || c->updates != 0 || c->update != 0 || c->kind != 0 || c->paused ||
           c->written || c->streamed || c->owner != WEFT_LINK_NONE || c->cause != WEFT_OK;
}

static void check_types(const graph_end *e)
{
    const weft_worker_core *c = &e->core;
    fuzz_expect(weft_state_name((weft_state)c->machine.state)[0] != '?' &&
                c->awaits <= WEFT_AWAITS_UNDO);
    fuzz_expect(c->condition <= WEFT_LOST && c->last_outcome <= WEFT_OUTCOME_UNDECIDED);
    fuzz_expect(c->updates == 0 || c->update <= c->updates);
    fuzz_expect(e->down.count <= GRAPH_FRAMES_MAX && e->up.count <= GRAPH_FRAMES_MAX);
}

static void check_consistent(const graph_end *e)
{
    const weft_worker_core *c = &e->core;
    bool idle = c->machine.state == WEFT_IDLE;
    fuzz_expect(!idle || (!is_in_session(c) && !e->staging && c->awaits == WEFT_AWAITS_NOTHING));
    fuzz_expect((c->condition == WEFT_INTACT) == (c->version != 0));
    fuzz_expect(c->epoch <= c->last_epoch);
}

/* Who is idle and intact holds exactly the version that it says, and that is what the newest
 * session that it committed led to. */
static void check_content(const graph_end *e, uint64_t committed)
{
    const weft_worker_core *c = &e->core;
    if (c->condition == WEFT_INTACT) {
        fuzz_expect(c->version == committed && c->digest == graph_digest_of(c->version));
    }
    if (c->condition == WEFT_INTACT && c->machine.state == WEFT_IDLE) {
        fuzz_expect(e->weights == c->version);
        fuzz_expect(c->version == GRAPH_FIRST || (w.kept & 1u << c->version) != 0);
    }
}

static void check_pause(const graph_end *e)
{
    uint8_t state = e->core.machine.state;
    fuzz_expect(!e->paused || state == WEFT_APPLYING || state == WEFT_FINISHED ||
                state == WEFT_FAILED || e->core.streamed);
}

static void check_agreement(void)
{
    for (uint32_t v = 0; v < GRAPH_VERSIONS_MAX; v++) {
        bool committed = false, aborted = false;
        for (uint32_t i = 0; i < WORKERS; i++) {
            committed |= w.ends[i].told[v] == WEFT_OUTCOME_COMMITTED;
            aborted |= w.ends[i].told[v] == WEFT_OUTCOME_ABORTED;
        }
        fuzz_expect(!(committed && aborted));
    }
}

static void check_trainer(const weft_trainer_core *c)
{
    bool kept = (w.kept & 1u << c->target_version) != 0, idle = c->phase == WEFT_PHASE_NONE;
    uint32_t members = 0;
    for (uint32_t i = 0; i < WORKERS; i++) {
        members += c->slots[i].member ? 1 : 0;
    }
    fuzz_expect(c->base_version == GRAPH_FIRST || (w.kept & 1u << c->base_version) != 0);
    fuzz_expect(c->base_digest == graph_digest_of(c->base_version));
    fuzz_expect(!idle || c->outcome != WEFT_OUTCOME_COMMITTED || kept);
    fuzz_expect(!idle || c->outcome != WEFT_OUTCOME_ABORTED || !kept);
    fuzz_expect(idle == (c->machine.state == WEFT_IDLE));
    fuzz_expect(idle ? members == 0 : (c->pending > 0 && c->pending <= members));
}

static void check(void)
{
    weft_trainer_core trainer;
    graph_trainer_get(&w, &trainer);
    for (uint32_t i = 0; i < WORKERS; i++) {
        check_types(&w.ends[i]);
        check_consistent(&w.ends[i]);
        check_content(&w.ends[i], newest[i]);
        check_pause(&w.ends[i]);
    }
    check_agreement();
    check_trainer(&trainer);
    fuzz_expect(!w.fouled);
}

/* ---- single steps ---- */

/* At most two rows of the table in one step: fault and reset, apply and applied. */
static bool follows(uint8_t from, uint8_t to)
{
    bool found = from == to;
    for (uint32_t first = 0; first < WEFT_EVENT_COUNT && !found; first++) {
        weft_machine machine = {from};
        weft_transition transition;
        if (!weft_session_commit(&machine, (weft_event)first, &transition)) {
            continue;
        }
        found = machine.state == to;
        for (uint32_t second = 0; second < WEFT_EVENT_COUNT && !found; second++) {
            weft_machine next = machine;
            found = weft_session_commit(&next, (weft_event)second, &transition) && next.state == to;
        }
    }
    return found;
}

static void note_commits(const graph_world *before)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        for (uint64_t v = 0; v < GRAPH_VERSIONS_MAX; v++) {
            if (w.ends[i].told[v] == WEFT_OUTCOME_COMMITTED &&
                before->ends[i].told[v] != WEFT_OUTCOME_COMMITTED) {
                newest[i] = v;
            }
        }
    }
}

/* States move along the table, and weights change while inference stands still only; or the process
 * is another one. */
static void check_step(const graph_world *before, bool worker_restarted)
{
    for (uint32_t i = 0; i < WORKERS && !worker_restarted; i++) {
        const graph_end *a = &before->ends[i], *b = &w.ends[i];
        fuzz_expect(follows(a->core.machine.state, b->core.machine.state));
        fuzz_expect(a->weights == b->weights || a->paused || b->paused ||
                    b->core.condition == WEFT_LOST);
    }
    note_commits(before);
}

/* ---- what can happen ---- */

/* There is room in the queues for what an event may send. */
static bool has_room(void)
{
    bool room = true;
    for (uint32_t i = 0; i < WORKERS; i++) {
        room = room && w.ends[i].up.count + 3u <= GRAPH_FRAMES_MAX &&
               w.ends[i].down.count + 3u <= GRAPH_FRAMES_MAX;
    }
    return room;
}

/* Nothing of an epoch that is over moves a worker, nor what comes on a connection that is not the
 * session's. */
static bool deliver(uint32_t i, bool past)
{
    graph_end *e = &w.ends[i];
    graph_queue *queue = past ? &e->past : &e->down;
    if (queue->count == 0) {
        return false;
    }
    graph_end before = *e;
    uint8_t epoch = queue->list[0].epoch;
    bool over = epoch < e->core.last_epoch ||
                (epoch == e->core.last_epoch && e->core.machine.state == WEFT_IDLE);
    bool foreign = past && e->core.owner == e->number;
    graph_deliver(&w, i, past);
    if (over || foreign) {
        /* A step changes a core in place, so that what is equal has equal padding.
         * NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c) */
        fuzz_expect(memcmp(&before.core, &e->core, sizeof e->core) == 0);
        fuzz_expect(before.weights == e->weights && before.owes == e->owes);
    }
    return true;
}

static bool good_result(uint32_t i, bool streamed)
{
    const graph_end *e = &w.ends[i];
    weft_input input = {.type = e->owes};
    weft_worker_core before = e->core;
    if (e->owes == 0 || e->owes == GRAPH_NEVER) {
        return false;
    }
    if (e->owes == WEFT_INPUT_VALIDATED && e->core.kind == WEFT_BASELINE) {
        input.streamed = e->core.update > 0 ? e->core.streamed : streamed;
    }
    if (input.type == WEFT_INPUT_VERIFIED && before.updates == 0 && e->wrong) {
        input.digest = 1; /* a later update of local control does not make good an earlier one */
    }
    graph_result(&w, i, input);
    (void)before;
#ifdef WEFT_PLANTED_BUG /* a device that skips an undo: of a baseline, after a deadline */
    if (input.type == WEFT_INPUT_UNDONE && before.cause == WEFT_E_DEADLINE &&
        before.kind == WEFT_BASELINE && before.failed_in == WEFT_FINISHED) {
        w.ends[i].weights = (uint8_t)before.target_version;
    }
#endif
    return true;
}

static void bad_result(uint32_t i, bool gone)
{
    const graph_end *e = &w.ends[i];
    weft_input bad = {.type = e->owes, .status = WEFT_E_DEVICE_FAILED, .gone = gone};
    if (e->core.awaits == WEFT_AWAITS_DOCUMENT) {
        bad.type = WEFT_INPUT_VALIDATED; /* no memory for it */
    } else if (e->core.awaits == WEFT_AWAITS_PAYLOAD) {
        bad.type = WEFT_INPUT_RECEIVED;
    }
    if (bad.type != 0 && bad.type != GRAPH_NEVER &&
        (bad.type != WEFT_INPUT_UNDONE || e->core.awaits == WEFT_AWAITS_UNDO)) {
        graph_result(&w, i, bad);
    }
}

static void odd_result(uint32_t i, uint32_t how)
{
    graph_end *e = &w.ends[i];
    if (how < 2) {
        bad_result(i, how == 1);
    } else if (how == 2 && e->owes == WEFT_INPUT_VERIFIED) { /* another change than announced */
        graph_result(&w, i, (weft_input){.type = WEFT_INPUT_VERIFIED, .digest = 1});
    } else if (how == 3 && e->owes == WEFT_INPUT_RECEIVED &&
               e->core.awaits == WEFT_AWAITS_TRANSFER) {
        e->owes = GRAPH_NEVER; /* the collective hangs */
    }
}

static bool connects(uint32_t i)
{
    const graph_end *e = &w.ends[i];
    bool can = !e->there && !(e->here && e->half);
    if (can) {
        graph_connect(&w, i);
    }
    return can;
}

static void loses(uint32_t i, uint32_t how)
{
    const graph_end *e = &w.ends[i];
    if (how == 0 && e->here) {
        graph_worker_loses(&w, i, false);
    } else if (how == 1 && e->half) {
        graph_worker_loses(&w, i, true);
    } else if (how == 2 && e->there) {
        graph_trainer_loses(&w, i);
    } else if (how == 3 && e->here && e->there) {
        graph_trainer_loses(&w, i);
        graph_worker_loses(&w, i, false);
    }
}

static bool can_begin(uint32_t reserve)
{
    return w.pushes + GRAPH_FIRST + 1u + reserve < GRAPH_VERSIONS_MAX;
}

static bool push(weft_kind kind, uint32_t updates, uint32_t reserve)
{
    weft_trainer_core trainer;
    graph_trainer_get(&w, &trainer);
    bool can = trainer.phase == WEFT_PHASE_NONE && weft_trainer_core_known(&trainer) > 0 &&
               can_begin(reserve);
    if (can) {
        graph_push(&w, kind, updates);
    }
    return can;
}

static void stop(bool transfer)
{
    weft_trainer_core trainer;
    graph_trainer_get(&w, &trainer);
    if (!transfer) {
        graph_stop(&w);
    } else if (trainer.phase == WEFT_PHASE_PAYLOAD && w.transport == WEFT_TRANSPORT_NCCL) {
        graph_transfer_fails(&w);
    }
}

static bool deadline(uint32_t i, bool of_trainer)
{
    weft_trainer_core trainer;
    graph_trainer_get(&w, &trainer);
    bool passes =
        of_trainer ? trainer.phase != WEFT_PHASE_NONE : w.ends[i].core.machine.state != WEFT_IDLE;
    if (passes && of_trainer) {
        graph_trainer_deadline(&w);
    } else if (passes) {
        graph_worker_deadline(&w, i);
    }
    return passes;
}

/* weft_worker_start, _update, _finish, _abort; what they refuse themselves does not get so far. */
static void local(uint32_t i, uint32_t how)
{
    const graph_end *e = &w.ends[i];
    bool owner = e->core.owner == WEFT_LINK_LOCAL, free = owner && e->owes == 0;
    if (how < 2 && !owner && can_begin(1)) {
        graph_local(&w, i, WEFT_MESSAGE_START, how == 0 ? WEFT_SPARSE : WEFT_BASELINE);
    } else if (how == 2 && free && e->core.awaits == WEFT_AWAITS_UPDATE) {
        graph_local(&w, i, WEFT_MESSAGE_UPDATE, WEFT_SPARSE);
        graph_local(&w, i, WEFT_MESSAGE_DOCUMENT, WEFT_SPARSE);
    } else if (how == 2 && free && e->core.awaits == WEFT_AWAITS_PAYLOAD) {
        graph_local(&w, i, WEFT_MESSAGE_PAYLOAD, WEFT_SPARSE);
    } else if (how == 3 && free && e->core.machine.state == WEFT_RECEIVING) {
        graph_local(&w, i, WEFT_MESSAGE_APPLY, WEFT_SPARSE);
    } else if (how == 3 && free && e->core.awaits == WEFT_AWAITS_DECISION) {
        graph_local(&w, i, WEFT_MESSAGE_COMMIT, WEFT_SPARSE);
    } else if (how >= 6 && owner) {
        graph_local(&w, i, WEFT_MESSAGE_ABORT, WEFT_SPARSE);
    }
}

static bool hear(uint32_t i)
{
    bool can = w.ends[i].up.count > 0;
    if (can) {
        graph_hear(&w, i);
    }
    return can;
}

static bool take_turn(uint32_t turn, uint32_t i)
{
    graph_world before = w;
    bool moved = turn == 0   ? deliver(i, false)
                 : turn == 1 ? good_result(i, streams)
                 : turn == 2 ? deliver(i, true)
                             : hear(i);
    check_step(&before, false);
    check();
    return moved;
}

/* A worker in doubt asks the other one; true when the answer told it something. */
static bool asks(uint32_t i)
{
    graph_world before = w;
    const graph_end *e = &w.ends[i];
    uint32_t peer = 1u - i;
    if (e->core.awaits != WEFT_AWAITS_PEERS || (e->peers & 1u << peer) == 0) {
        return false;
    }
    weft_outcome said = graph_says(&w, i, peer);
    bool tells = said == WEFT_OUTCOME_COMMITTED || said == WEFT_OUTCOME_ABORTED ||
                 (said == WEFT_OUTCOME_IN_DOUBT && !graph_knows_of_doubt(&w, i, peer));
    graph_learns(&w, i, peer, said);
    /* It is the same object, copied: padding too.
     * NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c) */
    fuzz_expect(tells == (memcmp(&before, &w, sizeof w) != 0));
    check_step(&before, false);
    check();
    return tells;
}

/* Everything that moves by itself takes a step; false when nothing does. */
static bool goes_on(void)
{
    bool moved = false;
    for (uint32_t i = 0; i < WORKERS; i++) {
        for (uint32_t turn = 0; turn < 4 && has_room(); turn++) {
            moved |= take_turn(turn, i);
        }
    }
    for (uint32_t i = 0; i < WORKERS && !moved; i++) {
        moved = asks(i);
    }
    return moved;
}

enum {
    DELIVER,
    HEAR,
    RESULT,
    ODD_RESULT,
    DELIVER_PAST,
    CONNECT,
    LOSE,
    GO_ON,
    PUSH,
    STOP,
    WORKER_LATE,
    TRAINER_LATE,
    WORKER_CRASH,
    TRAINER_CRASH,
    LOCAL,
    GO_FAR
};

static void to_worker(uint32_t what, uint32_t i, uint32_t how)
{
    if (what == DELIVER) {
        (void)deliver(i, false);
    } else if (what == HEAR) {
        (void)hear(i);
    } else if (what == RESULT) {
        (void)good_result(i, (how & 1u) != 0);
    } else if (what == ODD_RESULT) {
        odd_result(i, how & 3u);
    } else if (what == DELIVER_PAST) {
        (void)(deliver(i, true) || asks(i));
    } else if (what == CONNECT) {
        (void)connects(i);
    } else if (what == LOSE) {
        loses(i, how & 3u);
    } else if (what == WORKER_LATE) {
        (void)deadline(i, false);
    } else if (what == WORKER_CRASH) {
        graph_worker_crashes(&w, i);
        newest[i] = GRAPH_FIRST;
    } else if (what == LOCAL) {
        local(i, how);
    }
}

static void to_all(uint32_t what, uint32_t how)
{
    if (what == PUSH) {
        (void)push((how & 1u) != 0 ? WEFT_BASELINE : WEFT_SPARSE, 1u + ((how >> 1) & 1u), 1);
    } else if (what == STOP) {
        stop((how & 1u) != 0);
    } else if (what == TRAINER_LATE) {
        (void)deadline(0, true);
    } else if (what == TRAINER_CRASH) {
        graph_trainer_crashes(&w, WORKERS);
    }
}

static void happen(uint8_t event)
{
    graph_world before;
    uint32_t what = event & 15u, worker = (event >> 4) & 1u, how = event >> 5;
    uint32_t turns = what == GO_ON ? 1u + how : what == GO_FAR ? 8u + 4u * how : 0;
    if (!has_room()) {
        return;
    }
    while (turns > 0 && goes_on()) {
        turns--;
    }
    before = w;
    to_worker(what, worker, how);
    to_all(what, how);
    check_step(&before, what == WORKER_CRASH);
    check();
}

/* ---- the end ---- */

static bool notices(void)
{
    bool moved = false;
    for (uint32_t i = 0; i < WORKERS; i++) {
        const graph_end *e = &w.ends[i];
        if (e->half) {
            moved = true;
            graph_worker_loses(&w, i, true);
        }
        if (e->here != e->there) {
            moved = true;
            loses(i, e->here ? 0 : 2);
        }
    }
    return moved;
}

static bool time_passes(void)
{
    bool moved = deadline(0, true);
    for (uint32_t i = 0; i < WORKERS; i++) {
        moved |= deadline(i, false);
    }
    return moved;
}

/* No more faults: frames arrive, results come, silence ends. */
static void come_home(void)
{
    uint32_t steps = 0;
    while (goes_on() || notices() || time_passes()) {
        fuzz_expect(++steps < DRAIN_MAX);
        check();
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        fuzz_expect(w.ends[i].core.machine.state == WEFT_IDLE && w.ends[i].core.epoch == 0);
    }
}

/* Everybody is idle, and says HELLO anew: a baseline reaches all who have not lost their device. */
static void commit_next(void)
{
    bool lost = false;
    for (uint32_t i = 0; i < WORKERS; i++) {
        lost = lost || w.ends[i].core.condition == WEFT_LOST;
        loses(i, 3);
        (void)connects(i);
    }
    while (goes_on()) {
    }
    if (!push(WEFT_BASELINE, 1, 0) || lost) {
        come_home();
        return;
    }
    come_home();
    for (uint32_t i = 0; i < WORKERS; i++) {
        fuzz_expect(w.ends[i].core.version == w.pushes + GRAPH_FIRST);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    uint8_t options = fuzz_u8(&in);
    graph_world_begin(&w, WORKERS, (options & 1u) != 0 ? WEFT_TRANSPORT_NCCL : WEFT_TRANSPORT_TCP,
                      (options & 4u) != 0);
    streams = (options & 2u) != 0;
    for (uint32_t i = 0; i < WORKERS; i++) {
        newest[i] = GRAPH_FIRST;
        graph_connect(&w, i);
    }
    check();
    for (uint32_t i = 0; i < EVENTS_MAX && in.left > 0; i++) {
        happen(fuzz_u8(&in));
    }
    come_home();
    commit_next();
    return 0;
}
