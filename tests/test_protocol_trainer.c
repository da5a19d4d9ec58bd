/* A trainer's half of the protocol: each way through it by hand. The random walks are in
 * test_protocol_trainer_walk.c, both halves together in test_protocol_agreement.c. */
#include "trainer_bench.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VERSION    4u
#define DIGEST     UINT64_C(0xd0)
#define TIMEOUT_MS 300u

/* ---- a core, and what its last step did ---- */

static void assert_did(const bench *b, const char *expected)
{
    char text[1024];

    test_actions_text(&b->actions, text, sizeof text);
    assert_string_equal(text, expected);
}

static void answer(bench *b, uint32_t link, weft_message_type type)
{
    trainer_bench_hear(b, link,
                       (weft_message){.type = (uint8_t)type,
                                      .epoch = b->core.epoch,
                                      .update = b->core.update,
                                      .digest = DIGEST,
                                      .code = WEFT_E_OUT_OF_MEMORY});
}

static void lose(bench *b, uint32_t link)
{
    trainer_bench_step(
        b, (weft_input){.type = WEFT_INPUT_LINK_LOST, .link = link, .status = WEFT_E_LINK_CLOSED});
}

static void pass(bench *b, uint64_t ns)
{
    b->now_ns += ns;
    trainer_bench_step(b, (weft_input){.type = WEFT_INPUT_TIME});
}

static void push(bench *b, weft_kind kind, uint32_t updates)
{
    weft_message message = {.kind = (uint8_t)kind,
                            .transport = WEFT_TRANSPORT_TCP,
                            .target_version = VERSION,
                            .target_digest = DIGEST,
                            .updates = updates,
                            .timeout_ms = TIMEOUT_MS};

    trainer_bench_step(b, (weft_input){.type = WEFT_INPUT_PUSH, .message = message});
}

static void assert_base(const bench *b, uint64_t version, uint64_t digest)
{
    assert_int_equal(b->core.base_version, version);
    assert_int_equal(b->core.base_digest, digest);
}

static void assert_idle(const bench *b, weft_outcome outcome, weft_status cause, uint32_t culprit)
{
    assert_int_equal(weft_session_state(&b->core.machine), WEFT_IDLE);
    assert_int_equal(b->core.phase, WEFT_PHASE_NONE);
    assert_int_equal(b->core.pending, 0);
    assert_int_equal(b->core.deadline_ns, 0);
    assert_int_equal(b->core.outcome, outcome);
    assert_int_equal(b->core.cause, cause);
    assert_int_equal(b->core.culprit, culprit);
    for (uint32_t link = 0; link < WEFT_WORKERS_MAX; link++) {
        assert_false(b->core.slots[link].member || b->core.slots[link].answered);
    }
}

static void assert_slot(const weft_trainer_slot *found, weft_trainer_slot expected)
{
    assert_memory_equal(found, &expected, sizeof expected);
}

/* Two workers, a sparse session of one update, and both have answered everything before. */
static void reach(bench *b, weft_phase phase)
{
    trainer_bench_begin(b, 2);
    push(b, WEFT_SPARSE, 1);
    for (int at = WEFT_PHASE_START; at < (int)phase && at < WEFT_PHASE_COMMIT; at++) {
        answer(b, 0, trainer_bench_answers[at]);
        answer(b, 1, trainer_bench_answers[at]);
    }
    if (phase == WEFT_PHASE_ABORT) {
        trainer_bench_begin(b, 2);
        push(b, WEFT_SPARSE, 1);
        trainer_bench_step(b, (weft_input){.type = WEFT_INPUT_STOP, .status = WEFT_E_ABORTED});
    }
    assert_int_equal(b->core.phase, phase);
    assert_int_equal(b->core.pending, 2);
    assert_int_equal(b->core.deadline_ns, b->now_ns + TIMEOUT_MS * MS);
}

static bool is_undecided(int phase)
{
    return phase >= WEFT_PHASE_START && phase <= WEFT_PHASE_APPLY;
}

/* ---- the way forward ---- */

static void test_sparse_push(void **state)
{
    bench b;
    weft_message start;

    (void)state;
    trainer_bench_begin(&b, 2);
    push(&b, WEFT_SPARSE, 2);
    assert_did(&b, "->started START:all");
    weft_trainer_compose(&b.core, &b.actions.list[1], &start);
    assert_int_equal(start.type, WEFT_MESSAGE_START);
    assert_int_equal(start.epoch, 1);
    assert_int_equal(start.kind, WEFT_SPARSE);
    assert_int_equal(start.transport, 1);
    assert_int_equal(start.base_version, BASE);
    assert_int_equal(start.base_digest, BASE_DIGEST);
    assert_int_equal(start.target_version, VERSION);
    assert_int_equal(start.target_digest, DIGEST);
    assert_int_equal(start.updates, 2);
    assert_int_equal(start.timeout_ms, TIMEOUT_MS);
    answer(&b, 1, WEFT_MESSAGE_STARTED);
    assert_did(&b, "");
    answer(&b, 0, WEFT_MESSAGE_STARTED);
    assert_did(&b, "->receiving UPDATE:all");
    for (uint32_t update = 0; update < 2; update++) {
        assert_int_equal(b.core.update, update);
        answer(&b, 0, WEFT_MESSAGE_READY);
        assert_did(&b, "");
        pass(&b, 10 * MS);
        answer(&b, 1, WEFT_MESSAGE_READY);
        assert_did(&b, ""); /* the engine sees the phase, and sends */
        assert_int_equal(b.core.phase, WEFT_PHASE_PAYLOAD);
        assert_int_equal(b.core.deadline_ns, b.now_ns + TIMEOUT_MS * MS);
        answer(&b, 0, WEFT_MESSAGE_STAGED);
        answer(&b, 1, WEFT_MESSAGE_STAGED);
        assert_did(&b, update == 0 ? "->receiving UPDATE:all" : "->applying APPLY:all");
    }
    answer(&b, 0, WEFT_MESSAGE_APPLIED);
    answer(&b, 1, WEFT_MESSAGE_APPLIED);
    assert_did(&b, "->finished COMMIT:all");
    assert_base(&b, BASE, BASE_DIGEST);
    answer(&b, 1, WEFT_MESSAGE_COMMITTED);
    assert_did(&b, "advance");
    assert_base(&b, VERSION, DIGEST);
    answer(&b, 0, WEFT_MESSAGE_COMMITTED);
    assert_did(&b, "->idle committed");
    assert_idle(&b, WEFT_OUTCOME_COMMITTED, WEFT_OK, WEFT_LINK_NONE);
    push(&b, WEFT_SPARSE, 1);
    weft_trainer_compose(&b.core, &b.actions.list[1], &start);
    assert_int_equal(start.epoch, 2);
    assert_int_equal(start.base_version, VERSION);
    assert_int_equal(start.base_digest, DIGEST);
}

static void test_a_baseline_names_no_base(void **state)
{
    bench b;
    weft_message start;

    (void)state;
    trainer_bench_begin(&b, 1);
    push(&b, WEFT_BASELINE, 1);
    weft_trainer_compose(&b.core, &b.actions.list[1], &start);
    assert_int_equal(start.kind, WEFT_BASELINE);
    assert_int_equal(start.base_version, 0);
    assert_int_equal(start.base_digest, 0);
}

/* ---- HELLO ---- */

static void test_epoch_is_above_all_that_was_heard(void **state)
{
    bench b;

    (void)state;
    trainer_bench_begin(&b, 0);
    for (uint32_t link = 0; link < 3; link++) {
        weft_message hello = trainer_bench_hello_of(link == 1 ? 41 : 7, WEFT_OUTCOME_ABORTED);
        weft_trainer_core_open(&b.core, link);
        trainer_bench_hear(&b, link, hello);
    }
    push(&b, WEFT_SPARSE, 1);
    assert_int_equal(b.core.epoch, 42);
    weft_trainer_core_open(&b.core, 3); /* comes while a session runs, and is no member of it */
    trainer_bench_hear(&b, 3, trainer_bench_hello_of(50, WEFT_OUTCOME_ABORTED));
    assert_did(&b, "");
    assert_int_equal(b.core.members, 3);
    assert_int_equal(b.core.epoch, 42);
    answer(&b, 3, WEFT_MESSAGE_STARTED);
    assert_did(&b, "drop(STALE_EPOCH)");
    trainer_bench_step(&b, (weft_input){.type = WEFT_INPUT_STOP, .status = WEFT_E_ABORTED});
    for (uint32_t link = 0; link < 3; link++) {
        answer(&b, link, WEFT_MESSAGE_ABORTED);
    }
    push(&b, WEFT_SPARSE, 1);
    assert_int_equal(b.core.epoch, 51);
    assert_int_equal(b.core.members, 4);
}

static void test_another_model_is_no_member(void **state)
{
    weft_message hello = trainer_bench_hello_of(9, WEFT_OUTCOME_ABORTED);
    bench b;

    (void)state;
    trainer_bench_begin(&b, 1);
    weft_trainer_core_open(&b.core, 1);
    hello.fingerprint++;
    trainer_bench_hear(&b, 1, hello);
    assert_did(&b, "");
    assert_slot(&b.core.slots[1], (weft_trainer_slot){.open = true, .refused = true});
    assert_int_equal(weft_trainer_core_known(&b.core), 1);
    push(&b, WEFT_SPARSE, 1);
    assert_int_equal(b.core.members, 1);
    assert_int_equal(b.core.epoch, 10);
    answer(&b, 1, WEFT_MESSAGE_STARTED);
    assert_did(&b, "drop(STALE_EPOCH)");
    trainer_bench_hear(
        &b, 1, trainer_bench_hello_of(0, WEFT_OUTCOME_NONE)); /* nor can it say another one later */
    assert_did(&b, "close(UNEXPECTED_MESSAGE):1");
}

static void test_hello_once_and_first(void **state)
{
    bench b;

    (void)state;
    trainer_bench_begin(&b, 1);
    trainer_bench_hear(&b, 0, trainer_bench_hello_of(99, WEFT_OUTCOME_ABORTED));
    assert_did(&b, "close(UNEXPECTED_MESSAGE):0");
    assert_int_equal(b.core.highest_epoch, 0);
    weft_trainer_core_open(&b.core, 1);
    for (uint8_t type = WEFT_MESSAGE_START; type < WEFT_MESSAGE_TYPE_END; type++) {
        trainer_bench_hear(&b, 1, (weft_message){.type = type});
        assert_did(&b, "close(HELLO_MISSING):1");
    }
    lose(&b, 1);
    assert_did(&b, "");
    assert_slot(&b.core.slots[1], (weft_trainer_slot){0});
    weft_trainer_core_open(&b.core, 1);
    trainer_bench_hear(&b, 1, trainer_bench_hello_of(0, WEFT_OUTCOME_NONE));
    assert_slot(&b.core.slots[1], (weft_trainer_slot){.open = true, .known = true});
}

/* ---- faults ---- */

static void assert_goes_back(bench *b, const char *before, const char *code, weft_status cause,
                             uint32_t culprit, bool waits_for_1)
{
    char expected[256];

    (void)snprintf(expected, sizeof expected, "%s->failed ABORT(%s):all", before, code);
    assert_did(b, expected);
    assert_int_equal(b->core.pending, waits_for_1 ? 2 : 1);
    if (waits_for_1) {
        answer(b, 1, WEFT_MESSAGE_ABORTED);
        assert_did(b, "");
    }
    answer(b, 0, WEFT_MESSAGE_ABORTED);
    (void)snprintf(expected, sizeof expected, "->idle failed(%s)", code);
    assert_did(b, expected);
    assert_idle(b, WEFT_OUTCOME_ABORTED, cause, culprit);
    assert_base(b, BASE, BASE_DIGEST);
}

static void test_every_answer_out_of_phase(void **state)
{
    (void)state;
    for (int phase = WEFT_PHASE_START; phase <= WEFT_PHASE_ABORT; phase++) {
        for (uint8_t type = WEFT_MESSAGE_START; type < WEFT_MESSAGE_TYPE_END; type++) {
            bench b;
            if (type == (uint8_t)trainer_bench_answers[phase] || type == WEFT_MESSAGE_FAILED) {
                continue;
            }
            reach(&b, (weft_phase)phase);
            answer(&b, 1, (weft_message_type)type);
            if (is_undecided(phase)) {
                assert_goes_back(&b, "close(UNEXPECTED_MESSAGE):1 ", "UNEXPECTED_MESSAGE",
                                 WEFT_E_UNEXPECTED_MESSAGE, 1, false);
            } else if (phase == WEFT_PHASE_COMMIT) {
                assert_did(&b, "close(UNEXPECTED_MESSAGE):1");
                answer(&b, 0, WEFT_MESSAGE_COMMITTED);
                assert_did(&b, "advance ->idle committed(UNCONFIRMED)");
                assert_idle(&b, WEFT_OUTCOME_COMMITTED, WEFT_E_UNCONFIRMED, 1);
            } else { /* it was sent before ABORT arrived there */
                assert_did(&b, "");
                assert_int_equal(b.core.pending, 2);
            }
        }
    }
}

static void test_an_answer_given_twice(void **state)
{
    (void)state;
    for (int phase = WEFT_PHASE_START; phase <= WEFT_PHASE_ABORT; phase++) {
        bench b;
        reach(&b, (weft_phase)phase);
        answer(&b, 1, trainer_bench_answers[phase]);
        answer(&b, 1, trainer_bench_answers[phase]);
        if (is_undecided(phase)) {
            assert_goes_back(&b, "close(UNEXPECTED_MESSAGE):1 ", "UNEXPECTED_MESSAGE",
                             WEFT_E_UNEXPECTED_MESSAGE, 1, false);
            continue;
        }
        assert_did(&b, "close(UNEXPECTED_MESSAGE):1");
        assert_int_equal(b.core.pending, 1);
        answer(&b, 0, trainer_bench_answers[phase]);
        assert_did(&b, phase == WEFT_PHASE_COMMIT ? "->idle committed" : "->idle failed(ABORTED)");
    }
}

static void test_an_answer_for_another_update(void **state)
{
    (void)state;
    for (int phase = WEFT_PHASE_PREPARE; phase <= WEFT_PHASE_PAYLOAD; phase++) {
        bench b;
        reach(&b, (weft_phase)phase);
        trainer_bench_hear(&b, 1,
                           (weft_message){.type = (uint8_t)trainer_bench_answers[phase],
                                          .epoch = b.core.epoch,
                                          .update = 1});
        assert_goes_back(&b, "close(UNEXPECTED_MESSAGE):1 ", "UNEXPECTED_MESSAGE",
                         WEFT_E_UNEXPECTED_MESSAGE, 1, false);
    }
}

static void test_answers_of_another_epoch_are_dropped(void **state)
{
    (void)state;
    for (int phase = WEFT_PHASE_START; phase <= WEFT_PHASE_ABORT; phase++) {
        for (uint8_t type = WEFT_MESSAGE_START; type < WEFT_MESSAGE_TYPE_END; type++) {
            bench b;
            reach(&b, (weft_phase)phase);
            trainer_bench_hear(&b, 1, (weft_message){.type = type, .epoch = b.core.epoch - 1});
            assert_did(&b, "drop(STALE_EPOCH)");
            assert_int_equal(b.core.pending, 2);
        }
    }
}

static void test_failed_in_each_phase(void **state)
{
    (void)state;
    for (int phase = WEFT_PHASE_START; phase <= WEFT_PHASE_ABORT; phase++) {
        bench b;
        reach(&b, (weft_phase)phase);
        answer(&b, 1, WEFT_MESSAGE_FAILED);
        if (is_undecided(phase)) {
            assert_goes_back(&b, "", "PEER_FAILED", WEFT_E_PEER_FAILED, 1, false);
        } else {
            assert_did(&b, "");
            answer(&b, 0, trainer_bench_answers[phase]);
            assert_did(&b, phase == WEFT_PHASE_COMMIT ? "advance ->idle committed(UNCONFIRMED)"
                                                      : "->idle failed(ABORTED)");
        }
        answer(&b, 1, WEFT_MESSAGE_FAILED); /* no member any more */
        assert_did(&b, "drop(STALE_EPOCH)");
    }
}

static void test_link_loss_in_each_phase(void **state)
{
    (void)state;
    for (int phase = WEFT_PHASE_START; phase <= WEFT_PHASE_ABORT; phase++) {
        for (int has_answered = 0; has_answered < 2; has_answered++) {
            bench b;
            reach(&b, (weft_phase)phase);
            if (has_answered) {
                answer(&b, 1, trainer_bench_answers[phase]);
            }
            lose(&b, 1);
            assert_slot(&b.core.slots[1], (weft_trainer_slot){0});
            if (is_undecided(phase)) {
                assert_goes_back(&b, "", "LINK_CLOSED", WEFT_E_LINK_CLOSED, 1, false);
            } else if (phase == WEFT_PHASE_ABORT) {
                answer(&b, 0, WEFT_MESSAGE_ABORTED);
                assert_did(&b, "->idle failed(ABORTED)");
            } else if (has_answered) {
                answer(&b, 0, WEFT_MESSAGE_COMMITTED);
                assert_did(&b, "->idle committed");
                assert_idle(&b, WEFT_OUTCOME_COMMITTED, WEFT_OK, WEFT_LINK_NONE);
            } else {
                answer(&b, 0, WEFT_MESSAGE_COMMITTED);
                assert_did(&b, "advance ->idle committed(UNCONFIRMED)");
                assert_idle(&b, WEFT_OUTCOME_COMMITTED, WEFT_E_UNCONFIRMED, 1);
            }
        }
    }
}

static void test_the_last_worker_lost(void **state)
{
    bench b;

    (void)state;
    trainer_bench_begin(&b, 1);
    push(&b, WEFT_SPARSE, 1);
    lose(&b, 0);
    assert_did(&b, "->failed ABORT(LINK_CLOSED):all ->idle failed(LINK_CLOSED)");
    assert_idle(&b, WEFT_OUTCOME_ABORTED, WEFT_E_LINK_CLOSED, 0);
}

static void test_deadline_in_each_phase(void **state)
{
    (void)state;
    for (int phase = WEFT_PHASE_START; phase <= WEFT_PHASE_ABORT; phase++) {
        bench b;
        reach(&b, (weft_phase)phase);
        answer(&b, 0, trainer_bench_answers[phase]);
        pass(&b, TIMEOUT_MS * MS - 1);
        assert_did(&b, "");
        pass(&b, 1);
        if (is_undecided(phase)) {
            assert_goes_back(&b, "", "DEADLINE", WEFT_E_DEADLINE, 1, true);
        } else if (phase == WEFT_PHASE_COMMIT) {
            assert_did(&b, "->idle committed(UNCONFIRMED)");
            assert_idle(&b, WEFT_OUTCOME_COMMITTED, WEFT_E_UNCONFIRMED, 1);
        } else {
            assert_did(&b, "->idle failed(ABORTED)");
            assert_idle(&b, WEFT_OUTCOME_ABORTED, WEFT_E_ABORTED, WEFT_LINK_NONE);
        }
    }
}

static void test_stop_in_each_phase(void **state)
{
    (void)state;
    for (int phase = WEFT_PHASE_START; phase <= WEFT_PHASE_ABORT; phase++) {
        bench b;
        reach(&b, (weft_phase)phase);
        trainer_bench_step(&b,
                           (weft_input){.type = WEFT_INPUT_STOP, .status = WEFT_E_OUT_OF_MEMORY});
        if (is_undecided(phase)) {
            assert_goes_back(&b, "", "OUT_OF_MEMORY", WEFT_E_OUT_OF_MEMORY, WEFT_LINK_NONE, true);
        } else {
            assert_did(&b, ""); /* decided, or over already */
            assert_int_equal(b.core.phase, phase);
        }
    }
    bench b;
    trainer_bench_begin(&b, 1);
    trainer_bench_step(&b, (weft_input){.type = WEFT_INPUT_STOP, .status = WEFT_E_ABORTED});
    assert_did(&b, "");
    assert_int_equal(b.core.phase, WEFT_PHASE_NONE);
}

static void test_applied_with_another_digest(void **state)
{
    bench b;

    (void)state;
    reach(&b, WEFT_PHASE_APPLY);
    answer(&b, 0, WEFT_MESSAGE_APPLIED);
    trainer_bench_hear(
        &b, 1,
        (weft_message){.type = WEFT_MESSAGE_APPLIED, .epoch = b.core.epoch, .digest = DIGEST + 1});
    assert_goes_back(&b, "", "DIGEST_MISMATCH", WEFT_E_DIGEST_MISMATCH, 1, true);
}

static void test_results_of_a_worker_mean_nothing_here(void **state)
{
    (void)state;
    for (int type = WEFT_INPUT_VALIDATED; type <= WEFT_INPUT_UNDONE; type++) {
        bench b;
        reach(&b, WEFT_PHASE_PAYLOAD);
        trainer_bench_step(&b, (weft_input){.type = (uint8_t)type});
        assert_did(&b, "");
        assert_int_equal(b.core.pending, 2);
    }
}

/* ---- the decision and doubt ---- */

static void lose_all_in_commit(bench *b)
{
    reach(b, WEFT_PHASE_COMMIT);
    lose(b, 0);
    assert_did(b, "");
    lose(b, 1);
    assert_did(b, "->failed ->idle failed(IN_DOUBT)");
    assert_idle(b, WEFT_OUTCOME_UNDECIDED, WEFT_E_IN_DOUBT, 1);
    assert_int_equal(b->core.doubt_epoch, b->core.epoch);
    assert_base(b, BASE, BASE_DIGEST);
}

/* A worker connects that holds what the push in doubt leads to. */
static weft_message hello_with_target(uint64_t epoch, weft_outcome outcome)
{
    weft_message hello = trainer_bench_hello_of(epoch, outcome);

    hello.version = VERSION;
    hello.digest = DIGEST;
    return hello;
}

static void return_with(bench *b, uint32_t link, uint64_t epoch, weft_outcome outcome)
{
    weft_trainer_core_open(&b->core, link);
    trainer_bench_hear(b, link, hello_with_target(epoch, outcome));
}

static void test_doubt_is_resolved_by_hello(void **state)
{
    weft_message stranger = hello_with_target(1, WEFT_OUTCOME_COMMITTED);
    bench b;

    (void)state;
    lose_all_in_commit(&b);
    return_with(&b, 0, 1, WEFT_OUTCOME_UNCONFIRMED);
    assert_did(&b, "");
    return_with(&b, 1, 2, WEFT_OUTCOME_COMMITTED); /* of another epoch: tells nothing */
    assert_did(&b, "");
    weft_trainer_core_open(&b.core, 2);
    stranger.fingerprint++;
    trainer_bench_hear(&b, 2, stranger);
    assert_did(&b, "");
    assert_base(&b, BASE, BASE_DIGEST);
    return_with(&b, 3, 1, WEFT_OUTCOME_COMMITTED);
    assert_did(&b, "advance");
    assert_base(&b, VERSION, DIGEST);
    assert_int_equal(b.core.doubt_epoch, 0);
    assert_idle(&b, WEFT_OUTCOME_COMMITTED, WEFT_E_UNCONFIRMED, 1);
    return_with(&b, 4, 1, WEFT_OUTCOME_COMMITTED); /* heard already */
    assert_did(&b, "");
}

/* A trainer that died has led a worker through the same epoch to something else, before this one
 * began and could hear of it. */
static void test_doubt_is_not_resolved_by_another_session(void **state)
{
    weft_message other_version = hello_with_target(1, WEFT_OUTCOME_COMMITTED);
    weft_message other_digest = other_version;
    bench b;

    (void)state;
    lose_all_in_commit(&b);
    other_version.version++;
    other_digest.digest++;
    weft_trainer_core_open(&b.core, 0);
    trainer_bench_hear(&b, 0, other_version);
    assert_did(&b, "");
    weft_trainer_core_open(&b.core, 1);
    trainer_bench_hear(&b, 1, other_digest);
    assert_did(&b, "");
    assert_base(&b, BASE, BASE_DIGEST);
    assert_int_equal(b.core.doubt_epoch, 1);
}

static void test_a_new_push_ends_the_doubt(void **state)
{
    bench b;

    (void)state;
    lose_all_in_commit(&b);
    return_with(&b, 0, 1, WEFT_OUTCOME_UNCONFIRMED);
    push(&b, WEFT_SPARSE, 1);
    assert_int_equal(b.core.doubt_epoch, 0);
    return_with(&b, 1, 1, WEFT_OUTCOME_COMMITTED); /* too late: the base is what START said */
    assert_did(&b, "");
    assert_base(&b, BASE, BASE_DIGEST);
}

/* Everybody is heard, and everybody went back: that is no doubt. */
static void test_all_deny_the_commit(void **state)
{
    bench b;

    (void)state;
    reach(&b, WEFT_PHASE_COMMIT);
    answer(&b, 0, WEFT_MESSAGE_FAILED);
    assert_did(&b, "");
    answer(&b, 1, WEFT_MESSAGE_FAILED);
    assert_did(&b, "->failed ->idle failed(PEER_FAILED)");
    assert_idle(&b, WEFT_OUTCOME_ABORTED, WEFT_E_PEER_FAILED, 1);
    assert_int_equal(b.core.doubt_epoch, 0);
    assert_base(&b, BASE, BASE_DIGEST);
    reach(&b, WEFT_PHASE_COMMIT); /* one says so, the other is lost: it may have committed */
    answer(&b, 0, WEFT_MESSAGE_FAILED);
    lose(&b, 1);
    assert_did(&b, "->failed ->idle failed(IN_DOUBT)");
    assert_idle(&b, WEFT_OUTCOME_UNDECIDED, WEFT_E_IN_DOUBT, 1);
}

/* One frame with the largest number would use up all epochs. */
static void test_hello_with_an_impossible_epoch(void **state)
{
    bench b;

    (void)state;
    trainer_bench_begin(&b, 2);
    uint64_t before = b.core.highest_epoch;
    return_with(&b, 5, WEFT_EPOCH_MAX + 1, WEFT_OUTCOME_COMMITTED);
    assert_did(&b, "close(FRAME_MALFORMED):5");
    assert_int_equal(b.core.highest_epoch, before);
}

static void test_nobody_confirms_until_the_deadline(void **state)
{
    bench b;

    (void)state;
    reach(&b, WEFT_PHASE_COMMIT);
    pass(&b, TIMEOUT_MS * MS);
    assert_did(&b, "->failed ->idle failed(IN_DOUBT)");
    assert_idle(&b, WEFT_OUTCOME_UNDECIDED, WEFT_E_IN_DOUBT, 0);
    assert_base(&b, BASE, BASE_DIGEST);
    answer(&b, 0, WEFT_MESSAGE_COMMITTED); /* no member any more: its next HELLO will tell */
    assert_did(&b, "drop(STALE_EPOCH)");
}

/* What no engine gives, but a wrong one might. */
static void test_what_is_no_input(void **state)
{
    bench b;

    (void)state;
    reach(&b, WEFT_PHASE_PAYLOAD);
    weft_trainer_core before = b.core;
    trainer_bench_step(&b, (weft_input){.type = WEFT_INPUT_STOP + 1});
    assert_int_equal(b.actions.count, 0);
    assert_memory_equal(&b.core, &before, sizeof before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sparse_push),
        cmocka_unit_test(test_a_baseline_names_no_base),
        cmocka_unit_test(test_epoch_is_above_all_that_was_heard),
        cmocka_unit_test(test_another_model_is_no_member),
        cmocka_unit_test(test_hello_once_and_first),
        cmocka_unit_test(test_every_answer_out_of_phase),
        cmocka_unit_test(test_an_answer_given_twice),
        cmocka_unit_test(test_an_answer_for_another_update),
        cmocka_unit_test(test_answers_of_another_epoch_are_dropped),
        cmocka_unit_test(test_failed_in_each_phase),
        cmocka_unit_test(test_link_loss_in_each_phase),
        cmocka_unit_test(test_the_last_worker_lost),
        cmocka_unit_test(test_deadline_in_each_phase),
        cmocka_unit_test(test_stop_in_each_phase),
        cmocka_unit_test(test_applied_with_another_digest),
        cmocka_unit_test(test_results_of_a_worker_mean_nothing_here),
        cmocka_unit_test(test_doubt_is_resolved_by_hello),
        cmocka_unit_test(test_doubt_is_not_resolved_by_another_session),
        cmocka_unit_test(test_a_new_push_ends_the_doubt),
        cmocka_unit_test(test_all_deny_the_commit),
        cmocka_unit_test(test_hello_with_an_impossible_epoch),
        cmocka_unit_test(test_nobody_confirms_until_the_deadline),
        cmocka_unit_test(test_what_is_no_input),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
