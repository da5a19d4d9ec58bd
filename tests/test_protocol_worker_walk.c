/* A worker's half of the protocol in long random walks, with everything that a peer, an engine or
 * a clock can do, and what must hold after every step. */
#include "worker_bench.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STEPS             1000000u
#define WALK              2000u /* steps until a new worker begins */
#define ONE_IN(random, n) (test_random_below(random, n) == 0)

/* What the actions have told so far. */
typedef struct shadow {
    bool paused;
    bool undo_due, transferring;
    unsigned undos, releases, cancels; /* of the session */
    unsigned pauses, resumes;          /* of the whole walk */
    unsigned committed, failed;
} shadow;

typedef struct totals {
    uint32_t most_actions;
    unsigned states[WEFT_STATE_COUNT], awaits[WEFT_AWAITS_UNDO + 1];
    unsigned outcomes[WEFT_OUTCOME_UNDECIDED + 1], conditions[WEFT_LOST + 1];
    unsigned told[WEFT_OUTCOME_IN_DOUBT + 1], asks, by_peers; /* in OUTCOME; commits by a peer */
    unsigned committed, failed;
} totals;

static uint64_t one_of(test_random *random, uint64_t a, uint64_t b, uint64_t c)
{
    switch (test_random_below(random, 4)) {
    case 0:
        return b;
    case 1:
        return c;
    }
    return a;
}

/* Values that are right more often than not, and otherwise wrong in the ways that matter. */
static weft_message walk_message(test_random *random, const weft_worker_core *core, uint8_t type)
{
    uint64_t epoch = core->epoch != 0 ? core->epoch : core->last_epoch + 1;
    bool document = type == WEFT_MESSAGE_DOCUMENT, peers = type == WEFT_MESSAGE_PEERS;
    bool finished = core->machine.state == WEFT_IDLE && ONE_IN(random, 2); /* ask of the last one */
    uint64_t taken = peers      ? core->peers_taken
                     : document ? core->document_taken
                                : core->payload_taken;
    uint64_t left = (peers      ? core->peers_bytes
                     : document ? core->document_bytes
                                : core->payload_bytes) -
                    taken;
    weft_message m = {
        .type = type,
        .epoch = ONE_IN(random, 12) ? epoch + test_random_below(random, 5) - 2 : epoch,
        .kind = (uint8_t)(ONE_IN(random, 20) ? test_random_below(random, 5)
                                             : 1 + test_random_below(random, 2)),
        .transport = (uint8_t)one_of(random, WEFT_TRANSPORT_TCP, WEFT_TRANSPORT_NCCL,
                                     ONE_IN(random, 8) ? 0 : 1),
        .base_version = core->version,
        .base_digest = core->digest + (ONE_IN(random, 10) ? 1 : 0),
        .target_version = core->version + 1 + test_random_below(random, 2),
        .target_digest = test_random_below(random, 3),
        .updates = (uint32_t)test_random_below(random, 4),
        .timeout_ms = (uint32_t)one_of(random, 10, 0, 5000),
        .rank = 1 + (uint32_t)test_random_below(random, 3),
        .ranks = 2 + (uint32_t)test_random_below(random, 3),
        .outcome = (uint8_t)test_random_below(random, 8),
        .peers_bytes = (uint32_t)one_of(random, 6, 0, ONE_IN(random, 8) ? 1u << 30 : 0)};
    if (type == WEFT_MESSAGE_ASK && ONE_IN(random, 2)) { /* of the session that it knows */
        m.epoch = finished || core->epoch == 0 ? core->last_epoch : core->epoch;
        m.target_version = core->last_target_version;
        m.target_digest = core->last_target_digest;
        m.rank = core->last_rank;
    }
    m.update = core->update + (ONE_IN(random, 15) ? 1u : 0u);
    m.document_bytes = ONE_IN(random, 30) ? one_of(random, 0, WEFT_DOCUMENT_MAX + 1, 1) : 4;
    m.payload_bytes = one_of(random, 5, 0, 1);
    m.offset = ONE_IN(random, 25) ? taken + 1 : taken;
    m.tail = (uint32_t)one_of(random, left, left / 2, ONE_IN(random, 8) ? left + 1 : left);
    if (type == WEFT_MESSAGE_PAYLOAD && core->transport == WEFT_TRANSPORT_NCCL) {
        m.tail = ONE_IN(random, 20) ? 1 : 0; /* go */
    }
    return m;
}

/* The message or result that leads on from here. */
static weft_input forward(test_random *random, const weft_worker_core *core)
{
    weft_input input = {.type = WEFT_INPUT_MESSAGE, .link = core->owner};
    uint8_t type = WEFT_MESSAGE_APPLY;

    if (core->owner == WEFT_LINK_NONE) {
        input.link = ONE_IN(random, 8) ? WEFT_LINK_LOCAL : (uint32_t)test_random_below(random, 2);
        input.unannounced = input.link == WEFT_LINK_LOCAL && ONE_IN(random, 2);
    }
    switch ((weft_awaits)core->awaits) {
    case WEFT_AWAITS_NOTHING:
        type = WEFT_MESSAGE_START;
        break;
    case WEFT_AWAITS_UPDATE:
        if (core->peers_taken < core->peers_bytes && !ONE_IN(random, 8)) {
            type = WEFT_MESSAGE_PEERS;
        } else if (core->updates == 0 ? ONE_IN(random, 2) : core->update < core->updates) {
            type = WEFT_MESSAGE_UPDATE;
        }
        break;
    case WEFT_AWAITS_PEERS:
        type = WEFT_MESSAGE_OUTCOME;
        input.link = 2;
        break;
    case WEFT_AWAITS_DOCUMENT:
        type = core->peers_taken < core->peers_bytes ? WEFT_MESSAGE_PEERS : WEFT_MESSAGE_DOCUMENT;
        break;
    case WEFT_AWAITS_PAYLOAD:
        type = WEFT_MESSAGE_PAYLOAD;
        break;
    case WEFT_AWAITS_DECISION:
        type = ONE_IN(random, 4) ? WEFT_MESSAGE_ABORT : WEFT_MESSAGE_COMMIT;
        break;
    case WEFT_AWAITS_VALIDATION:
        input.type = WEFT_INPUT_VALIDATED;
        break;
    case WEFT_AWAITS_VERIFICATION:
        input.type = ONE_IN(random, 2) && core->transport == WEFT_TRANSPORT_TCP
                         ? WEFT_INPUT_RECEIVED
                         : WEFT_INPUT_VERIFIED;
        break;
    case WEFT_AWAITS_TRANSFER:
        input.type = WEFT_INPUT_RECEIVED;
        break;
    case WEFT_AWAITS_WRITE:
        input.type = WEFT_INPUT_WRITTEN;
        break;
    case WEFT_AWAITS_UNDO:
        input.type = WEFT_INPUT_UNDONE;
        break;
    }
    input.message = walk_message(random, core, type);
    return input;
}

/* Results as an engine gives them: a baseline is streamed whole or not at all; what is verified
 * leads to what was announced, mostly. */
static void fill_result(test_random *random, const weft_worker_core *core, weft_input *input)
{
    input->status =
        ONE_IN(random, input->type == WEFT_INPUT_UNDONE ? 50 : 15) ? WEFT_E_DEVICE_FAILED : WEFT_OK;
    input->gone = input->status != WEFT_OK && ONE_IN(random, 20);
    input->streamed =
        core->kind == WEFT_BASELINE && (core->update == 0 ? ONE_IN(random, 2) : core->streamed);
    input->digest = core->target_digest - core->content_digest;
    input->changed = ELEMENTS - core->changed;
    if (core->update + 1 < core->updates || ONE_IN(random, 20)) {
        input->digest = 1;
        input->changed = 1;
    }
}

static weft_input walk_input(test_random *random, const bench *b)
{
    weft_input input = forward(random, &b->core);

    bool decided = b->core.awaits == WEFT_AWAITS_DECISION;

    if (decided && ONE_IN(random, 3)) { /* the trainer is lost, or silent */
        input = (weft_input){.type = ONE_IN(random, 2) ? WEFT_INPUT_LINK_LOST : WEFT_INPUT_TIME,
                             .link = b->core.owner};
    } else if (ONE_IN(random, 20)) {
        input = (weft_input){.type = WEFT_INPUT_MESSAGE, .link = 2};
        input.message = walk_message(random, &b->core, WEFT_MESSAGE_ASK);
    } else if (ONE_IN(random, 8)) { /* anything */
        input = (weft_input){.type = (uint8_t)(1 + test_random_below(random, WEFT_INPUT_STOP))};
        input.link = (uint32_t)one_of(random, test_random_below(random, 3), WEFT_LINK_LOCAL, 0);
        input.message = walk_message(
            random, &b->core, (uint8_t)(1 + test_random_below(random, WEFT_MESSAGE_TYPE_END - 1)));
    }
    if (input.type == WEFT_INPUT_LINK_LOST) {
        input.status = WEFT_E_LINK_CLOSED;
    } else if (input.type != WEFT_INPUT_MESSAGE && input.type != WEFT_INPUT_TIME) {
        fill_result(random, &b->core, &input);
    }
    return input;
}

static void check_transition(const weft_action *action, shadow *s, uint8_t *at,
                             const weft_worker_core *before)
{
    assert_int_equal(action->transition.from, *at);
    assert_true(weft_session_legal((weft_state)*at, (weft_event)action->transition.event));
    *at = action->transition.to;
    if (action->transition.event == WEFT_EVENT_START) {
        s->undos = s->releases = s->cancels = 0;
        s->undo_due = s->transferring = false;
    } else if (action->transition.event == WEFT_EVENT_FAULT) {
        assert_int_not_equal(action->status, WEFT_OK);
        s->undo_due = (before->written && !before->streamed) || s->transferring;
    }
}

static void check_action(const weft_action *action, shadow *s, const weft_worker_core *before,
                         const weft_input *input)
{
    if (action->type == WEFT_ACTION_TRANSFER) { /* only at the trainer's word, and once at a time */
        assert_int_equal(before->transport, WEFT_TRANSPORT_NCCL);
        assert_int_equal(input->message.type, WEFT_MESSAGE_PAYLOAD);
        assert_false(s->transferring);
        s->transferring = true;
    } else if (action->type == WEFT_ACTION_VERIFY) {
        s->transferring = false;
    }
    switch ((weft_action_type)action->type) {
    case WEFT_ACTION_PAUSE:
        assert_false(s->paused);
        s->paused = true;
        s->pauses++;
        break;
    case WEFT_ACTION_RESUME:
        assert_true(s->paused);
        s->paused = false;
        s->resumes++;
        break;
    case WEFT_ACTION_CANCEL:
        assert_int_equal(s->cancels++, 0);
        break;
    case WEFT_ACTION_UNDO:
        assert_true(s->undo_due);
        assert_int_equal(s->cancels, 1);
        assert_int_equal(s->releases, 0);
        assert_int_equal(s->undos++, 0);
        break;
    case WEFT_ACTION_RELEASE:
        assert_int_equal(s->undos, s->undo_due ? 1 : 0);
        assert_int_equal(s->releases++, 0);
        break;
    case WEFT_ACTION_COMMITTED:
        s->committed++;
        break;
    case WEFT_ACTION_FAILED:
        assert_int_equal(s->releases, 1);
        assert_int_not_equal(action->status, WEFT_OK);
        s->failed++;
        break;
    case WEFT_ACTION_SEND:
        assert_true(weft_message_from_worker(action->message));
        assert_true(action->link == before->owner || action->link == input->link);
        assert_true(action->link != WEFT_LINK_NONE);
        break;
    case WEFT_ACTION_ASK:
        assert_int_equal(before->awaits, WEFT_AWAITS_DECISION);
        assert_true(before->peers_bytes > 0 && before->ranks > 2);
        break;
    case WEFT_ACTION_DROP:
    case WEFT_ACTION_TAKE:
    case WEFT_ACTION_OPEN:
    case WEFT_ACTION_VERIFY:
    case WEFT_ACTION_TRANSFER:
    case WEFT_ACTION_PUT:
        break;
    case WEFT_ACTION_TRANSITION: /* check_transition */
    case WEFT_ACTION_CLOSE:      /* a trainer's */
    case WEFT_ACTION_ADVANCE:
        fail();
    }
}

static void check_actions(const bench *b, shadow *s, const weft_worker_core *before,
                          const weft_input *input)
{
    uint8_t at = before->machine.state;

    for (uint32_t i = 0; i < b->actions.count; i++) {
        if (b->actions.list[i].type == WEFT_ACTION_TRANSITION) {
            check_transition(&b->actions.list[i], s, &at, before);
        } else {
            check_action(&b->actions.list[i], s, before, input);
        }
    }
    assert_int_equal(at, b->core.machine.state);
}

/* Idle is one and the same, but for what lives as long as the worker. */
static void check_idle(const weft_worker_core *core)
{
    weft_worker_core fresh;

    weft_worker_core_init(&fresh, core->model_elements, core->version, core->digest,
                          core->timeout_ms);
    fresh.condition = core->condition;
    fresh.last_epoch = core->last_epoch;
    fresh.last_outcome = core->last_outcome;
    fresh.last_rank = core->last_rank;
    fresh.last_target_version = core->last_target_version;
    fresh.last_target_digest = core->last_target_digest;
    assert_memory_equal(core, &fresh, sizeof fresh);
    assert_int_not_equal(core->last_outcome, WEFT_OUTCOME_UNDECIDED);
}

static void check_core(const bench *b, const shadow *s, const weft_worker_core *before,
                       unsigned committed)
{
    const weft_worker_core *core = &b->core;
    weft_state at = weft_session_state(&core->machine);

    if (at == WEFT_IDLE) {
        check_idle(core);
        assert_true(before->machine.state == WEFT_IDLE || s->releases == 1);
    } else {
        assert_int_not_equal(core->awaits, WEFT_AWAITS_NOTHING);
        assert_int_equal(core->epoch, core->last_epoch);
        assert_true(core->deadline_ns > 0);
        assert_true(core->deadline_ns <= b->now_ns + TIMEOUT_MS * MS);
        assert_true(core->owner != WEFT_LINK_NONE || at == WEFT_FAILED ||
                    core->awaits == WEFT_AWAITS_PEERS);
        assert_true(core->doubters == 0 || core->awaits == WEFT_AWAITS_PEERS || at == WEFT_FAILED);
        assert_int_equal(core->last_outcome == WEFT_OUTCOME_UNDECIDED, at != WEFT_FAILED);
        assert_int_equal(core->awaits == WEFT_AWAITS_UNDO, at == WEFT_FAILED);
        assert_int_equal(s->releases, 0);
    }
    assert_int_equal(core->paused, s->paused);
    assert_true(!core->paused || core->streamed || at == WEFT_APPLYING || at == WEFT_FINISHED ||
                at == WEFT_FAILED);
    assert_int_equal(core->paused, core->written);
    assert_true(core->document_taken <= core->document_bytes);
    assert_true(core->payload_taken <= core->payload_bytes);
    assert_true(core->peers_taken <= core->peers_bytes);
    assert_true(core->peers_bytes <= WEFT_PEERS_BYTES_MAX);
    assert_true(core->last_epoch >= before->last_epoch);
    assert_true(core->condition == WEFT_INTACT || (core->version == 0 && core->digest == 0));
    if (committed == 0 && core->condition == WEFT_INTACT) {
        assert_int_equal(before->condition, WEFT_INTACT);
        assert_int_equal(core->version, before->version);
        assert_int_equal(core->digest, before->digest);
    } else if (committed > 0) {
        assert_int_equal(core->version, before->target_version);
        assert_int_equal(core->digest, before->content_digest);
        assert_int_equal(core->last_outcome, WEFT_OUTCOME_COMMITTED);
    }
}

/* Three deadlines, and nothing else, lead home from everywhere: for the trainer's word, the peers'
 * and the undo. */
static void check_way_home(const bench *b)
{
    bench copy = *b;

    for (unsigned i = 0; i < 3 && copy.core.deadline_ns != 0; i++) {
        copy.now_ns = copy.core.deadline_ns;
        bench_step(&copy, (weft_input){.type = WEFT_INPUT_TIME});
    }
    check_idle(&copy.core);
}

/* Told by ASK and OUTCOME. */
static void count_doubt(totals *t, const bench *b, const weft_worker_core *before,
                        const weft_input *input)
{
    for (uint32_t i = 0; i < b->actions.count; i++) {
        const weft_action *action = &b->actions.list[i];
        if (action->type == WEFT_ACTION_ASK) {
            t->asks++;
        } else if (action->type == WEFT_ACTION_SEND && action->message == WEFT_MESSAGE_OUTCOME) {
            assert_int_equal(input->message.type, WEFT_MESSAGE_ASK);
            assert_memory_equal(before, &b->core, sizeof *before);
            t->told[action->outcome]++;
        } else if (action->type == WEFT_ACTION_COMMITTED && before->awaits == WEFT_AWAITS_PEERS) {
            assert_int_equal(input->message.outcome, WEFT_OUTCOME_COMMITTED);
            t->by_peers++;
        }
    }
}

static void count_totals(totals *t, const bench *b)
{
    t->most_actions = b->actions.count > t->most_actions ? b->actions.count : t->most_actions;
    t->states[b->core.machine.state]++;
    t->awaits[b->core.awaits]++;
    t->outcomes[b->core.last_outcome]++;
    t->conditions[b->core.condition]++;
}

static void check_totals(const totals *t)
{
    for (unsigned i = 0; i < WEFT_STATE_COUNT; i++) { /* the walks came everywhere */
        assert_true(t->states[i] > 100);
    }
    for (unsigned i = 0; i <= WEFT_AWAITS_UNDO; i++) {
        assert_true(t->awaits[i] > 100);
    }
    for (unsigned i = WEFT_OUTCOME_NONE; i <= WEFT_OUTCOME_UNDECIDED; i++) {
        assert_true(t->outcomes[i] > 100);
    }
    for (unsigned i = WEFT_INTACT; i <= WEFT_LOST; i++) {
        assert_true(t->conditions[i] > 100);
    }
    for (unsigned i = WEFT_OUTCOME_NONE; i <= WEFT_OUTCOME_IN_DOUBT; i++) {
        assert_true(t->told[i] > 100);
    }
    assert_true(t->asks > 1000 && t->by_peers > 100);
    assert_true(t->committed > 1000 && t->failed > 1000);
    assert_true(t->most_actions < WEFT_ACTIONS_MAX);
    (void)fprintf(stderr, "%u steps, %u committed, %u failed, at most %" PRIu32 " actions\n", STEPS,
                  t->committed, t->failed, t->most_actions);
}

static void test_random_walks(void **state)
{
    test_random random = test_random_start();
    totals t = {0};
    shadow s = {0};
    bench b;

    (void)state;
    bench_begin(&b);
    for (unsigned i = 0; i < STEPS; i++) {
        if (i % WALK == 0 || (b.core.condition == WEFT_LOST && ONE_IN(&random, 50))) {
            bench_begin(&b);
            s = (shadow){0};
        }
        weft_worker_core before = b.core;
        unsigned committed = s.committed, failed = s.failed;
        if (ONE_IN(&random, 3)) {
            b.now_ns += test_random_below(&random, (ONE_IN(&random, 20) ? 2000 : 2) * MS);
        }
        weft_input input = walk_input(&random, &b);
        bench_step(&b, input);
        check_actions(&b, &s, &before, &input);
        check_core(&b, &s, &before, s.committed - committed);
        check_way_home(&b);
        count_totals(&t, &b);
        count_doubt(&t, &b, &before, &input);
        t.committed += s.committed - committed;
        t.failed += s.failed - failed;
        if (b.core.machine.state == WEFT_IDLE) {
            assert_int_equal(s.pauses, s.resumes);
        }
    }
    check_totals(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_walks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
