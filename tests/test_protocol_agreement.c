/* Both halves of the protocol connected over links that are cut at any moment: all must agree in
 * the end, and all must come home. */
#include "trainer_bench.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORLDS     2000u
#define WORKERS    3u
#define QUEUE      64u
#define EPOCHS_MAX 80u
#define MOVES      600u

/* One direction of one connection: what is under way, in order. */
typedef struct queue {
    uint32_t count;
    weft_message list[QUEUE];
} queue;

typedef struct end { /* a worker, and the connection to it */
    weft_worker_core core;
    weft_input result;          /* of its device, not told yet; type 0: none */
    bool open_here, open_there; /* the worker's and the trainer's end of the connection */
    bool cut;
    queue to_worker, to_trainer;
    weft_input answer; /* of a peer, on its way; type 0: none */
    uint8_t outcomes[EPOCHS_MAX];
} end;

typedef struct world {
    test_random *random;
    bench trainer;
    uint32_t workers;
    end ends[WORKERS];
    uint64_t now_ns;
    uint64_t versions[EPOCHS_MAX], digests[EPOCHS_MAX]; /* that the epoch led to */
    bool addresses;                                     /* START names the workers to each other */
    uint32_t seats[EPOCHS_MAX][WORKERS + 1];            /* who has which rank in an epoch */
    uint32_t sent_update;
    uint64_t sent_epoch;
    unsigned commits, aborts, unconfirmed, doubts, transfers;
    unsigned asked, told[WEFT_OUTCOME_IN_DOUBT + 1];
} world;

static void enqueue(queue *q, weft_message message)
{
    assert_true(q->count < QUEUE);
    q->list[q->count++] = message;
}

static weft_message dequeue(queue *q)
{
    weft_message first = q->list[0];

    memmove(q->list, q->list + 1, --q->count * sizeof *q->list);
    return first;
}

/* A connection breaks: some of what is under way still arrives, then each end sees it. */
static void cut(world *w, end *e)
{
    if (!e->cut) {
        e->cut = true;
        e->to_worker.count =
            (uint32_t)test_random_below(w->random, e->to_worker.count + UINT64_C(1));
        e->to_trainer.count =
            (uint32_t)test_random_below(w->random, e->to_trainer.count + UINT64_C(1));
    }
}

static void connect_worker(world *w, end *e)
{
    weft_action hello = {.type = WEFT_ACTION_SEND, .message = WEFT_MESSAGE_HELLO};
    weft_message message;

    e->open_here = e->open_there = true;
    e->cut = false;
    e->to_worker.count = e->to_trainer.count = 0;
    weft_trainer_core_open(&w->trainer.core, (uint32_t)(e - w->ends));
    weft_worker_compose(&e->core, &hello, &message);
    message.fingerprint = FINGERPRINT;
    enqueue(&e->to_trainer, message);
}

/* ---- a worker's engine ---- */

static void worker_result(world *w, end *e, weft_input_type type)
{
    bool last = e->core.update + 1 == e->core.updates;
    weft_input r = {.type = (uint8_t)type};

    r.status =
        ONE_IN(w->random, type == WEFT_INPUT_UNDONE ? 400 : 60) ? WEFT_E_DEVICE_FAILED : WEFT_OK;
    r.streamed = e->core.kind == WEFT_BASELINE &&
                 (e->core.update == 0 ? ONE_IN(w->random, 2) : e->core.streamed);
    r.changed = last ? e->core.model_elements - e->core.changed : 1;
    r.digest = last ? e->core.target_digest - e->core.content_digest : 5;
    r.digest += ONE_IN(w->random, 100) ? 1 : 0;
    e->result = r;
}

static void worker_ended(world *w, end *e, uint64_t epoch)
{
    uint8_t outcome = e->core.last_outcome;

    assert_int_equal(e->core.last_epoch, epoch);
    e->outcomes[epoch] = outcome;
    w->commits += outcome == WEFT_OUTCOME_COMMITTED ? 1 : 0;
    w->aborts += outcome == WEFT_OUTCOME_ABORTED ? 1 : 0;
    w->unconfirmed += outcome == WEFT_OUTCOME_UNCONFIRMED ? 1 : 0;
}

static void worker_action(world *w, end *e, const weft_action *action)
{
    weft_message message;

    switch ((weft_action_type)action->type) {
    case WEFT_ACTION_SEND:
        if (e->open_here && !e->cut) {
            weft_worker_compose(&e->core, action, &message);
            enqueue(&e->to_trainer, message);
        }
        break;
    case WEFT_ACTION_TAKE:
        if (e->core.awaits == WEFT_AWAITS_VALIDATION) {
            worker_result(w, e, WEFT_INPUT_VALIDATED);
        } else if (e->core.awaits == WEFT_AWAITS_VERIFICATION) {
            worker_result(w, e, WEFT_INPUT_RECEIVED);
        }
        break;
    case WEFT_ACTION_VERIFY:
        worker_result(w, e, WEFT_INPUT_VERIFIED);
        break;
    case WEFT_ACTION_PUT:
        worker_result(w, e, WEFT_INPUT_WRITTEN);
        break;
    case WEFT_ACTION_UNDO:
        worker_result(w, e, WEFT_INPUT_UNDONE);
        break;
    case WEFT_ACTION_TRANSFER: /* a collective may complete here and hang there */
        if (!ONE_IN(w->random, 20)) {
            worker_result(w, e, WEFT_INPUT_RECEIVED);
        }
        w->transfers++;
        break;
    case WEFT_ACTION_CANCEL:
        e->result.type = 0;
        break;
    case WEFT_ACTION_COMMITTED:
    case WEFT_ACTION_FAILED:
        worker_ended(w, e, action->epoch);
        break;
    case WEFT_ACTION_ASK:
        w->asked++;
        break;
    case WEFT_ACTION_TRANSITION:
    case WEFT_ACTION_DROP:
    case WEFT_ACTION_CLOSE:
    case WEFT_ACTION_OPEN:
    case WEFT_ACTION_PAUSE:
    case WEFT_ACTION_RELEASE:
    case WEFT_ACTION_RESUME:
    case WEFT_ACTION_ADVANCE:
        break;
    }
}

static void drive_worker(world *w, end *e, weft_input input)
{
    weft_actions actions;

    input.now_ns = w->now_ns;
    weft_worker_step(&e->core, &input, &actions);
    for (uint32_t i = 0; i < actions.count; i++) {
        worker_action(w, e, &actions.list[i]);
    }
}

/* ---- the trainer's engine ---- */

static void send_to_members(world *w, weft_message message)
{
    for (uint32_t i = 0; i < w->workers; i++) {
        end *e = &w->ends[i];
        if (w->trainer.core.slots[i].member && e->open_there && !e->cut) {
            enqueue(&e->to_worker, message);
        }
    }
}

static void send_start(world *w, weft_message message)
{
    uint32_t *seats = w->seats[message.epoch];

    message.ranks = 1;
    for (uint32_t i = 0; i < w->workers; i++) {
        if (w->trainer.core.slots[i].member) {
            seats[message.ranks++] = i;
        }
    }
    message.peers_bytes = w->addresses ? 9 : 0;
    for (uint32_t rank = 1; rank < message.ranks; rank++) {
        end *e = &w->ends[seats[rank]];
        message.rank = rank;
        if (e->open_there && !e->cut) {
            enqueue(&e->to_worker, message);
        }
    }
}

static void trainer_send(world *w, const weft_action *action)
{
    weft_message message;

    weft_trainer_compose(&w->trainer.core, action, &message);
    if (message.type == WEFT_MESSAGE_START) {
        send_start(w, message);
        return;
    }
    if (message.type == WEFT_MESSAGE_UPDATE) {
        message.document_bytes = message.payload_bytes = 9;
    }
    if (message.type == WEFT_MESSAGE_UPDATE && message.update == 0 && w->addresses) {
        send_to_members(
            w, (weft_message){.type = WEFT_MESSAGE_PEERS, .epoch = message.epoch, .tail = 9});
    }
    send_to_members(w, message);
    if (message.type == WEFT_MESSAGE_UPDATE) {
        message.type = WEFT_MESSAGE_DOCUMENT;
        message.tail = 9;
        send_to_members(w, message);
    }
}

/* The base is a version that some worker has committed. */
static void check_advance(const world *w)
{
    const weft_trainer_core *core = &w->trainer.core;
    uint64_t epoch = core->epoch;
    bool somebody = false;

    for (uint32_t i = 0; i < w->workers; i++) {
        somebody |= w->ends[i].outcomes[epoch] == WEFT_OUTCOME_COMMITTED;
    }
    assert_true(somebody);
    assert_int_equal(core->base_version, w->versions[epoch]);
    assert_int_equal(core->base_digest, w->digests[epoch]);
}

static void drive_trainer(world *w, weft_input input)
{
    bench *t = &w->trainer;

    t->now_ns = w->now_ns;
    trainer_bench_step(t, input);
    for (uint32_t i = 0; i < t->actions.count; i++) {
        const weft_action *action = &t->actions.list[i];
        if (action->type == WEFT_ACTION_SEND) {
            trainer_send(w, action);
        } else if (action->type == WEFT_ACTION_CLOSE) {
            cut(w, &w->ends[action->link]);
        } else if (action->type == WEFT_ACTION_ADVANCE) {
            check_advance(w);
        } else if (action->type == WEFT_ACTION_FAILED && t->core.cause == WEFT_E_IN_DOUBT) {
            w->doubts++;
        }
    }
    if (t->core.phase == WEFT_PHASE_PAYLOAD && t->core.transport == WEFT_TRANSPORT_TCP &&
        (w->sent_epoch != t->core.epoch || w->sent_update != t->core.update)) {
        w->sent_epoch = t->core.epoch;
        w->sent_update = t->core.update;
        send_to_members(w, (weft_message){.type = WEFT_MESSAGE_PAYLOAD,
                                          .epoch = t->core.epoch,
                                          .update = t->core.update,
                                          .tail = 9});
    }
}

static void try_push(world *w)
{
    const weft_trainer_core *core = &w->trainer.core;
    uint64_t epoch = core->highest_epoch + 1;
    bool sparse = !ONE_IN(w->random, 3);
    weft_message message = {.kind = sparse ? WEFT_SPARSE : WEFT_BASELINE,
                            .transport =
                                ONE_IN(w->random, 2) ? WEFT_TRANSPORT_TCP : WEFT_TRANSPORT_NCCL,
                            .target_version = 1000 + epoch,
                            .target_digest = test_random_next(w->random),
                            .updates = 1 + (uint32_t)test_random_below(w->random, 2),
                            .timeout_ms = 20};

    if (core->phase != WEFT_PHASE_NONE || weft_trainer_core_known(core) == 0 ||
        epoch >= EPOCHS_MAX) {
        return;
    }
    w->versions[epoch] = message.target_version;
    w->digests[epoch] = message.target_digest;
    w->sent_epoch = 0;
    drive_trainer(w, (weft_input){.type = WEFT_INPUT_PUSH, .message = message});
}

/* ---- the schedule ---- */

static void deliver_to_worker(world *w, end *e)
{
    if (e->open_here && e->to_worker.count > 0) {
        drive_worker(w, e,
                     (weft_input){.type = WEFT_INPUT_MESSAGE, .message = dequeue(&e->to_worker)});
    } else if (e->open_here && e->cut) {
        e->open_here = false;
        drive_worker(w, e,
                     (weft_input){.type = WEFT_INPUT_LINK_LOST, .status = WEFT_E_LINK_CLOSED});
    }
}

static void deliver_to_trainer(world *w, end *e)
{
    uint32_t link = (uint32_t)(e - w->ends);

    if (e->open_there && e->to_trainer.count > 0) {
        drive_trainer(w, (weft_input){.type = WEFT_INPUT_MESSAGE,
                                      .link = link,
                                      .message = dequeue(&e->to_trainer)});
    } else if (e->open_there && e->cut) {
        e->open_there = false;
        drive_trainer(
            w,
            (weft_input){.type = WEFT_INPUT_LINK_LOST, .link = link, .status = WEFT_E_LINK_CLOSED});
    }
}

static void tell_result(world *w, end *e)
{
    weft_input result = e->result;

    if (result.type != 0) {
        e->result.type = 0;
        drive_worker(w, e, result);
    }
}

/* A worker in doubt asks a peer; the answer takes its time, and may be lost. */
static void ask_peer(world *w, end *e)
{
    uint32_t rank = 1 + (uint32_t)test_random_below(w->random, e->core.ranks - UINT64_C(1));
    end *peer = &w->ends[w->seats[e->core.epoch][rank]];
    weft_input ask = {.type = WEFT_INPUT_MESSAGE, .link = 7, .now_ns = w->now_ns};
    weft_action hers = {
        .type = WEFT_ACTION_SEND, .message = WEFT_MESSAGE_ASK, .epoch = e->core.epoch};
    weft_actions actions;

    weft_worker_compose(&e->core, &hers, &ask.message);
    ask.message.rank = rank;
    weft_worker_step(&peer->core, &ask, &actions);
    assert_int_equal(actions.count, 1);
    e->answer = (weft_input){.type = WEFT_INPUT_MESSAGE, .link = 7};
    weft_worker_compose(&peer->core, &actions.list[0], &e->answer.message);
    assert_int_equal(e->answer.message.type, WEFT_MESSAGE_OUTCOME);
    e->answer.message.rank = rank;
    w->told[e->answer.message.outcome]++;
}

static void resolve_doubt(world *w, end *e)
{
    if (e->answer.type == 0 && e->core.awaits == WEFT_AWAITS_PEERS) {
        ask_peer(w, e);
    } else if (e->answer.type != 0) {
        weft_input answer = e->answer;
        e->answer.type = 0;
        if (!ONE_IN(w->random, 4)) {
            drive_worker(w, e, answer);
        }
    }
}

static void move(world *w, bool calm)
{
    end *e = &w->ends[test_random_below(w->random, w->workers)];

    switch (test_random_below(w->random, 9)) {
    case 8:
        resolve_doubt(w, e);
        break;
    case 0:
    case 1:
        deliver_to_worker(w, e);
        break;
    case 2:
    case 3:
        deliver_to_trainer(w, e);
        break;
    case 4:
        tell_result(w, e);
        break;
    case 5: /* time passes, and each hears of it when it does */
        w->now_ns += test_random_below(w->random, (ONE_IN(w->random, 60) ? 25 : 1) * MS / 4 + 1);
        drive_worker(w, e, (weft_input){.type = WEFT_INPUT_TIME});
        drive_trainer(w, (weft_input){.type = WEFT_INPUT_TIME});
        break;
    case 6:
        if (!e->open_here && !e->open_there) {
            connect_worker(w, e);
        } else if (!calm && ONE_IN(w->random, e->core.awaits == WEFT_AWAITS_DECISION ? 3 : 30)) {
            cut(w, e);
        }
        break;
    case 7:
        if (!calm) {
            try_push(w);
        }
        if (!calm && w->trainer.core.transport == WEFT_TRANSPORT_NCCL &&
            w->trainer.core.phase == WEFT_PHASE_PAYLOAD && ONE_IN(w->random, 30)) {
            drive_trainer(w, (weft_input){.type = WEFT_INPUT_STOP, .status = WEFT_E_COLLECTIVE});
        }
        break;
    }
}

static bool all_idle(const world *w)
{
    bool idle = w->trainer.core.phase == WEFT_PHASE_NONE;

    for (uint32_t i = 0; i < w->workers; i++) {
        idle = idle && w->ends[i].core.machine.state == WEFT_IDLE;
    }
    return idle;
}

/* No two differ on an epoch, unless the one that went back says that it could not know. */
static void check_agreement(const world *w)
{
    for (uint64_t epoch = 0; epoch < EPOCHS_MAX; epoch++) {
        bool committed = false, aborted = false;
        for (uint32_t i = 0; i < w->workers; i++) {
            committed |= w->ends[i].outcomes[epoch] == WEFT_OUTCOME_COMMITTED;
            aborted |= w->ends[i].outcomes[epoch] == WEFT_OUTCOME_ABORTED;
        }
        assert_false(committed && aborted);
    }
}

/* Who is intact holds the first content or what some epoch led to that it committed. */
static void check_content(const world *w)
{
    for (uint32_t i = 0; i < w->workers; i++) {
        const end *e = &w->ends[i];
        bool known = e->core.version == BASE && e->core.digest == BASE_DIGEST;
        for (uint64_t epoch = 1; epoch < EPOCHS_MAX; epoch++) {
            known |= e->outcomes[epoch] == WEFT_OUTCOME_COMMITTED &&
                     e->core.version == w->versions[epoch] && e->core.digest == w->digests[epoch];
        }
        assert_true(known || e->core.condition != WEFT_INTACT);
    }
}

static void run_world(world *w)
{
    for (uint32_t i = 0; i < w->workers; i++) {
        weft_worker_core_init(&w->ends[i].core, 50, BASE, BASE_DIGEST, 30);
        connect_worker(w, &w->ends[i]);
    }
    for (unsigned i = 0; i < MOVES; i++) {
        move(w, false);
    }
    check_agreement(w);
    for (unsigned i = 0; i < 4;
         i++) { /* whatever is silent by now stays so: deadlines are enough */
        w->now_ns += 100 * MS;
        drive_trainer(w, (weft_input){.type = WEFT_INPUT_TIME});
        for (uint32_t k = 0; k < w->workers; k++) {
            drive_worker(w, &w->ends[k], (weft_input){.type = WEFT_INPUT_TIME});
        }
    }
    assert_true(all_idle(w));
    check_agreement(w);
    for (unsigned i = 0; i < MOVES; i++) { /* what was under way arrives now, and hurts nobody */
        move(w, true);
    }
    w->now_ns += 100 * MS;
    for (uint32_t k = 0; k < w->workers; k++) {
        drive_worker(w, &w->ends[k], (weft_input){.type = WEFT_INPUT_TIME});
        for (unsigned i = 0; i < 2; i++) {
            w->now_ns += 100 * MS;
            drive_worker(w, &w->ends[k], (weft_input){.type = WEFT_INPUT_TIME});
        }
    }
    assert_true(all_idle(w));
    check_agreement(w);
    check_content(w);
}

static void test_all_agree(void **state)
{
    test_random random = test_random_start();
    unsigned commits = 0, aborts = 0, unconfirmed = 0, doubts = 0, transfers = 0, asked = 0;
    unsigned told[WEFT_OUTCOME_IN_DOUBT + 1] = {0};
    world *w = malloc(sizeof *w);

    (void)state;
    assert_non_null(w);
    for (unsigned i = 0; i < WORLDS; i++) {
        memset(w, 0, sizeof *w);
        w->random = &random;
        w->workers = 2 + i % 2;
        w->addresses = i % 4 > 1;
        w->now_ns = MS;
        weft_trainer_core_init(&w->trainer.core, FINGERPRINT, BASE, BASE_DIGEST);
        run_world(w);
        commits += w->commits;
        aborts += w->aborts;
        unconfirmed += w->unconfirmed;
        doubts += w->doubts;
        transfers += w->transfers;
        asked += w->asked;
        for (unsigned k = 0; k <= WEFT_OUTCOME_IN_DOUBT; k++) {
            told[k] += w->told[k];
        }
    }
    free(w);
    (void)fprintf(stderr,
                  "%u worlds: %u commits, %u aborts, %u unconfirmed, %u pushes in doubt, %u "
                  "workers in a collective\n",
                  WORLDS, commits, aborts, unconfirmed, doubts, transfers);
    (void)fprintf(stderr,
                  "%u workers asked their peers, who said: committed %u, aborted %u, in doubt %u, "
                  "something else %u times\n",
                  asked, told[WEFT_OUTCOME_COMMITTED], told[WEFT_OUTCOME_ABORTED],
                  told[WEFT_OUTCOME_IN_DOUBT],
                  told[WEFT_OUTCOME_NONE] + told[WEFT_OUTCOME_UNDECIDED] +
                      told[WEFT_OUTCOME_UNCONFIRMED]);
    assert_true(asked > 50 && told[WEFT_OUTCOME_COMMITTED] > 20 &&
                told[WEFT_OUTCOME_ABORTED] > 20 && told[WEFT_OUTCOME_IN_DOUBT] > 20);
    assert_true(commits > 1000 && aborts > 1000 && unconfirmed > 50 && doubts > 20 &&
                transfers > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
