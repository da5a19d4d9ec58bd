/* A trainer's half of the protocol: each way through it by hand, long random walks, and then both
 * halves connected over links that are cut at any moment, where all must agree in the end. */
#include "protocol.h"
#include "support.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS             UINT64_C(1000000)
#define FINGERPRINT    UINT64_C(0xf0)
#define BASE           3u
#define BASE_DIGEST    UINT64_C(0xb0)
#define VERSION        4u
#define DIGEST         UINT64_C(0xd0)
#define TIMEOUT_MS     300u
#define ONE_IN(rnd, n) (test_random_below(rnd, n) == 0)

/* ---- a core, and what its last step did ---- */

typedef struct bench {
    weft_trainer_core core;
    weft_actions actions;
    uint64_t now_ns;
} bench;

static void step(bench *b, weft_input input)
{
    input.now_ns = b->now_ns;
    weft_trainer_step(&b->core, &input, &b->actions);
}

static void assert_did(const bench *b, const char *expected)
{
    char text[1024];

    test_actions_text(&b->actions, text, sizeof text);
    assert_string_equal(text, expected);
}

static void hear(bench *b, uint32_t link, weft_message message)
{
    step(b, (weft_input){.type = WEFT_INPUT_MESSAGE, .link = link, .message = message});
}

static weft_message hello_of(uint64_t last_epoch, weft_outcome outcome)
{
    return (weft_message){.type = WEFT_MESSAGE_HELLO,
                          .fingerprint = FINGERPRINT,
                          .last_epoch = last_epoch,
                          .outcome = (uint8_t)outcome};
}

static void answer(bench *b, uint32_t link, weft_message_type type)
{
    hear(b, link,
         (weft_message){.type = (uint8_t)type,
                        .epoch = b->core.epoch,
                        .update = b->core.update,
                        .digest = DIGEST,
                        .code = WEFT_E_OUT_OF_MEMORY});
}

static void lose(bench *b, uint32_t link)
{
    step(b, (weft_input){.type = WEFT_INPUT_LINK_LOST, .link = link, .status = WEFT_E_LINK_CLOSED});
}

static void pass(bench *b, uint64_t ns)
{
    b->now_ns += ns;
    step(b, (weft_input){.type = WEFT_INPUT_TIME});
}

static void begin(bench *b, uint32_t workers)
{
    memset(b, 0, sizeof *b);
    weft_trainer_core_init(&b->core, FINGERPRINT, BASE, BASE_DIGEST);
    b->now_ns = 7 * MS;
    for (uint32_t link = 0; link < workers; link++) {
        weft_trainer_core_open(&b->core, link);
        hear(b, link, hello_of(0, WEFT_OUTCOME_NONE));
        assert_did(b, "");
    }
    assert_int_equal(weft_trainer_core_known(&b->core), workers);
}

static void push(bench *b, weft_kind kind, uint32_t updates)
{
    weft_message message = {.kind = (uint8_t)kind,
                            .target_version = VERSION,
                            .target_digest = DIGEST,
                            .updates = updates,
                            .timeout_ms = TIMEOUT_MS};

    step(b, (weft_input){.type = WEFT_INPUT_PUSH, .message = message});
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
        assert_int_equal(b->core.slots[link] & (WEFT_SLOT_MEMBER | WEFT_SLOT_ANSWERED), 0);
    }
}

static const weft_message_type answers[] = {
    [WEFT_PHASE_NONE] = WEFT_MESSAGE_HELLO,    [WEFT_PHASE_START] = WEFT_MESSAGE_STARTED,
    [WEFT_PHASE_PREPARE] = WEFT_MESSAGE_READY, [WEFT_PHASE_PAYLOAD] = WEFT_MESSAGE_STAGED,
    [WEFT_PHASE_APPLY] = WEFT_MESSAGE_APPLIED, [WEFT_PHASE_COMMIT] = WEFT_MESSAGE_COMMITTED,
    [WEFT_PHASE_ABORT] = WEFT_MESSAGE_ABORTED,
};

/* Two workers, a sparse session of one update, and both have answered everything before. */
static void reach(bench *b, weft_phase phase)
{
    begin(b, 2);
    push(b, WEFT_SPARSE, 1);
    for (int at = WEFT_PHASE_START; at < (int)phase && at < WEFT_PHASE_COMMIT; at++) {
        answer(b, 0, answers[at]);
        answer(b, 1, answers[at]);
    }
    if (phase == WEFT_PHASE_ABORT) {
        begin(b, 2);
        push(b, WEFT_SPARSE, 1);
        step(b, (weft_input){.type = WEFT_INPUT_STOP, .status = WEFT_E_ABORTED});
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
    begin(&b, 2);
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
    begin(&b, 1);
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
    begin(&b, 0);
    for (uint32_t link = 0; link < 3; link++) {
        weft_message hello = hello_of(link == 1 ? 41 : 7, WEFT_OUTCOME_ABORTED);
        weft_trainer_core_open(&b.core, link);
        hear(&b, link, hello);
    }
    push(&b, WEFT_SPARSE, 1);
    assert_int_equal(b.core.epoch, 42);
    weft_trainer_core_open(&b.core, 3); /* comes while a session runs, and is no member of it */
    hear(&b, 3, hello_of(50, WEFT_OUTCOME_ABORTED));
    assert_did(&b, "");
    assert_int_equal(b.core.members, 3);
    assert_int_equal(b.core.epoch, 42);
    answer(&b, 3, WEFT_MESSAGE_STARTED);
    assert_did(&b, "drop(STALE_EPOCH)");
    step(&b, (weft_input){.type = WEFT_INPUT_STOP, .status = WEFT_E_ABORTED});
    for (uint32_t link = 0; link < 3; link++) {
        answer(&b, link, WEFT_MESSAGE_ABORTED);
    }
    push(&b, WEFT_SPARSE, 1);
    assert_int_equal(b.core.epoch, 51);
    assert_int_equal(b.core.members, 4);
}

static void test_another_model_is_no_member(void **state)
{
    weft_message hello = hello_of(9, WEFT_OUTCOME_ABORTED);
    bench b;

    (void)state;
    begin(&b, 1);
    weft_trainer_core_open(&b.core, 1);
    hello.fingerprint++;
    hear(&b, 1, hello);
    assert_did(&b, "");
    assert_int_equal(b.core.slots[1], WEFT_SLOT_OPEN | WEFT_SLOT_REFUSED);
    assert_int_equal(weft_trainer_core_known(&b.core), 1);
    push(&b, WEFT_SPARSE, 1);
    assert_int_equal(b.core.members, 1);
    assert_int_equal(b.core.epoch, 10);
    answer(&b, 1, WEFT_MESSAGE_STARTED);
    assert_did(&b, "drop(STALE_EPOCH)");
    hear(&b, 1, hello_of(0, WEFT_OUTCOME_NONE)); /* nor can it say another one later */
    assert_did(&b, "close(UNEXPECTED_MESSAGE):1");
}

static void test_hello_once_and_first(void **state)
{
    bench b;

    (void)state;
    begin(&b, 1);
    hear(&b, 0, hello_of(99, WEFT_OUTCOME_ABORTED));
    assert_did(&b, "close(UNEXPECTED_MESSAGE):0");
    assert_int_equal(b.core.highest_epoch, 0);
    weft_trainer_core_open(&b.core, 1);
    for (uint8_t type = WEFT_MESSAGE_START; type < WEFT_MESSAGE_TYPE_END; type++) {
        hear(&b, 1, (weft_message){.type = type});
        assert_did(&b, "close(HELLO_MISSING):1");
    }
    lose(&b, 1);
    assert_did(&b, "");
    assert_int_equal(b.core.slots[1], 0);
    weft_trainer_core_open(&b.core, 1);
    hear(&b, 1, hello_of(0, WEFT_OUTCOME_NONE));
    assert_int_equal(b.core.slots[1], WEFT_SLOT_OPEN | WEFT_SLOT_KNOWN);
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
            if (type == (uint8_t)answers[phase] || type == WEFT_MESSAGE_FAILED) {
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
        answer(&b, 1, answers[phase]);
        answer(&b, 1, answers[phase]);
        if (is_undecided(phase)) {
            assert_goes_back(&b, "close(UNEXPECTED_MESSAGE):1 ", "UNEXPECTED_MESSAGE",
                             WEFT_E_UNEXPECTED_MESSAGE, 1, false);
            continue;
        }
        assert_did(&b, "close(UNEXPECTED_MESSAGE):1");
        assert_int_equal(b.core.pending, 1);
        answer(&b, 0, answers[phase]);
        assert_did(&b, phase == WEFT_PHASE_COMMIT ? "->idle committed" : "->idle failed(ABORTED)");
    }
}

static void test_an_answer_for_another_update(void **state)
{
    (void)state;
    for (int phase = WEFT_PHASE_PREPARE; phase <= WEFT_PHASE_PAYLOAD; phase++) {
        bench b;
        reach(&b, (weft_phase)phase);
        hear(&b, 1,
             (weft_message){.type = (uint8_t)answers[phase], .epoch = b.core.epoch, .update = 1});
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
            hear(&b, 1, (weft_message){.type = type, .epoch = b.core.epoch - 1});
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
            answer(&b, 0, answers[phase]);
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
                answer(&b, 1, answers[phase]);
            }
            lose(&b, 1);
            assert_int_equal(b.core.slots[1], 0);
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
    begin(&b, 1);
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
        answer(&b, 0, answers[phase]);
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
        step(&b, (weft_input){.type = WEFT_INPUT_STOP, .status = WEFT_E_OUT_OF_MEMORY});
        if (is_undecided(phase)) {
            assert_goes_back(&b, "", "OUT_OF_MEMORY", WEFT_E_OUT_OF_MEMORY, WEFT_LINK_NONE, true);
        } else {
            assert_did(&b, ""); /* decided, or over already */
            assert_int_equal(b.core.phase, phase);
        }
    }
    bench b;
    begin(&b, 1);
    step(&b, (weft_input){.type = WEFT_INPUT_STOP, .status = WEFT_E_ABORTED});
    assert_did(&b, "");
    assert_int_equal(b.core.phase, WEFT_PHASE_NONE);
}

static void test_applied_with_another_digest(void **state)
{
    bench b;

    (void)state;
    reach(&b, WEFT_PHASE_APPLY);
    answer(&b, 0, WEFT_MESSAGE_APPLIED);
    hear(&b, 1,
         (weft_message){.type = WEFT_MESSAGE_APPLIED, .epoch = b.core.epoch, .digest = DIGEST + 1});
    assert_goes_back(&b, "", "DIGEST_MISMATCH", WEFT_E_DIGEST_MISMATCH, 1, true);
}

static void test_results_of_a_worker_mean_nothing_here(void **state)
{
    (void)state;
    for (int type = WEFT_INPUT_VALIDATED; type <= WEFT_INPUT_UNDONE; type++) {
        bench b;
        reach(&b, WEFT_PHASE_PAYLOAD);
        step(&b, (weft_input){.type = (uint8_t)type});
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

static void return_with(bench *b, uint32_t link, uint64_t epoch, weft_outcome outcome)
{
    weft_trainer_core_open(&b->core, link);
    hear(b, link, hello_of(epoch, outcome));
}

static void test_doubt_is_resolved_by_hello(void **state)
{
    weft_message stranger = hello_of(1, WEFT_OUTCOME_COMMITTED);
    bench b;

    (void)state;
    lose_all_in_commit(&b);
    return_with(&b, 0, 1, WEFT_OUTCOME_UNCONFIRMED);
    assert_did(&b, "");
    return_with(&b, 1, 2, WEFT_OUTCOME_COMMITTED); /* of another epoch: tells nothing */
    assert_did(&b, "");
    weft_trainer_core_open(&b.core, 2);
    stranger.fingerprint++;
    hear(&b, 2, stranger);
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
    begin(&b, 2);
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

/* ---- random walks ---- */

#define STEPS 300000u
#define LINKS 4u
#define WALK  3000u

static weft_message walk_message(test_random *random, const weft_trainer_core *core)
{
    static const uint8_t others[] = {WEFT_MESSAGE_FAILED, WEFT_MESSAGE_HELLO, WEFT_MESSAGE_ABORTED,
                                     WEFT_MESSAGE_COMMITTED, WEFT_MESSAGE_APPLIED};
    weft_message m = {.type = (uint8_t)answers[core->phase],
                      .epoch = ONE_IN(random, 40) ? test_random_below(random, core->epoch + 2)
                                                  : core->epoch,
                      .fingerprint = ONE_IN(random, 20) ? 1 : FINGERPRINT,
                      .update = core->update + (ONE_IN(random, 80) ? 1u : 0u),
                      .digest = core->target_digest + (ONE_IN(random, 60) ? 1 : 0),
                      .last_epoch = test_random_below(random, core->highest_epoch + 2),
                      .outcome = (uint8_t)test_random_below(random, WEFT_OUTCOME_UNDECIDED)};

    if (core->doubt_epoch != 0 && ONE_IN(random, 3)) {
        m.last_epoch = core->doubt_epoch;
    }
    if (ONE_IN(random, 40)) {
        m.type = others[test_random_below(random, sizeof others)];
    } else if (ONE_IN(random, 100)) {
        m.type = (uint8_t)(1 + test_random_below(random, WEFT_MESSAGE_TYPE_END - 1));
    }
    return m;
}

static uint32_t first_open_question(const weft_trainer_core *core)
{
    uint32_t link = 0;

    while (link + 1 < LINKS && (core->slots[link] & WEFT_SLOT_ANSWERED) != 0) {
        link++;
    }
    return link;
}

/* Opens a link now and then; gives an input that an engine could give. */
static weft_input walk_input(test_random *random, bench *b)
{
    uint32_t link = (uint32_t)test_random_below(random, LINKS);
    bool idle = b->core.phase == WEFT_PHASE_NONE;
    weft_input input = {.type = WEFT_INPUT_MESSAGE, .link = link};

    if ((b->core.slots[link] & WEFT_SLOT_ANSWERED) != 0 && !ONE_IN(random, 20)) {
        input.link = link = first_open_question(&b->core);
    }
    if (b->core.slots[link] == 0) {
        weft_trainer_core_open(&b->core, link);
    }
    input.message = walk_message(random, &b->core);
    if ((b->core.slots[link] & (WEFT_SLOT_KNOWN | WEFT_SLOT_REFUSED)) == 0 && !ONE_IN(random, 5)) {
        input.message.type = WEFT_MESSAGE_HELLO;
    } else if (idle && weft_trainer_core_known(&b->core) > 0 &&
               ONE_IN(random, b->core.doubt_epoch != 0 ? 30 : 3)) {
        input.type = WEFT_INPUT_PUSH;
        input.message = (weft_message){.kind = (uint8_t)(1 + test_random_below(random, 2)),
                                       .target_version = test_random_below(random, 9),
                                       .target_digest = test_random_below(random, 3),
                                       .updates = 1 + (uint32_t)test_random_below(random, 3),
                                       .timeout_ms = 5};
    } else if (ONE_IN(random, b->core.phase == WEFT_PHASE_COMMIT ? 3 : 60)) {
        input.type = WEFT_INPUT_LINK_LOST;
        input.status = WEFT_E_LINK_CLOSED;
    } else if (ONE_IN(random, 15)) {
        input.type = WEFT_INPUT_TIME;
    } else if (ONE_IN(random, 100)) {
        input.type = WEFT_INPUT_STOP;
        input.status = WEFT_E_ABORTED;
    }
    return input;
}

static const weft_state state_of[] = {
    [WEFT_PHASE_NONE] = WEFT_IDLE,         [WEFT_PHASE_START] = WEFT_STARTED,
    [WEFT_PHASE_PREPARE] = WEFT_RECEIVING, [WEFT_PHASE_PAYLOAD] = WEFT_RECEIVING,
    [WEFT_PHASE_APPLY] = WEFT_APPLYING,    [WEFT_PHASE_COMMIT] = WEFT_FINISHED,
    [WEFT_PHASE_ABORT] = WEFT_FAILED,
};

/* What the steps of a session have told. */
typedef struct shadow {
    bool applied[LINKS]; /* has said APPLIED with the right digest */
    bool decided, stopped;
    unsigned ends, advances;
} shadow;

typedef struct totals {
    uint32_t most_actions;
    unsigned phases[WEFT_PHASE_ABORT + 1], outcomes[WEFT_OUTCOME_UNDECIDED + 1];
    unsigned doubts_resolved, unconfirmed;
} totals;

static void check_actions(const bench *b, const weft_trainer_core *before, const weft_input *input,
                          shadow *s)
{
    for (uint32_t i = 0; i < b->actions.count; i++) {
        const weft_action *action = &b->actions.list[i];
        if (action->type == WEFT_ACTION_SEND) {
            assert_int_equal(action->link, WEFT_LINK_ALL);
            assert_int_equal(action->epoch, b->core.epoch);
            if (action->message == WEFT_MESSAGE_COMMIT) { /* only when all have applied */
                assert_false(s->decided || s->stopped);
                s->decided = true;
                for (uint32_t link = 0; link < LINKS; link++) {
                    assert_true((b->core.slots[link] & WEFT_SLOT_MEMBER) == 0 || s->applied[link]);
                }
            } else if (action->message == WEFT_MESSAGE_ABORT) {
                assert_false(s->decided || s->stopped);
                s->stopped = true;
            }
        } else if (action->type == WEFT_ACTION_COMMITTED || action->type == WEFT_ACTION_FAILED) {
            s->ends++;
            assert_int_equal(action->type == WEFT_ACTION_COMMITTED,
                             b->core.outcome == WEFT_OUTCOME_COMMITTED);
        } else if (action->type == WEFT_ACTION_ADVANCE) {
            s->advances++;
            assert_true(s->decided);
            assert_true(input->message.type == WEFT_MESSAGE_COMMITTED ||
                        (input->message.type == WEFT_MESSAGE_HELLO && before->doubt_epoch != 0));
        } else if (action->type == WEFT_ACTION_TRANSITION) {
            assert_true(weft_session_legal((weft_state)action->transition.from,
                                           (weft_event)action->transition.event));
        }
    }
}

static void check_core(const bench *b, const weft_trainer_core *before, const shadow *s,
                       unsigned advances)
{
    const weft_trainer_core *core = &b->core;
    uint32_t pending = 0;

    for (uint32_t link = 0; link < LINKS; link++) {
        uint8_t slot = core->slots[link];
        bool member = (slot & WEFT_SLOT_MEMBER) != 0,
             has_answered = (slot & WEFT_SLOT_ANSWERED) != 0;
        pending += member && !has_answered ? 1 : 0;
        assert_true(!has_answered || member);
        assert_true(!member || (slot & WEFT_SLOT_KNOWN) != 0);
        assert_true(!member || core->phase != WEFT_PHASE_NONE);
    }
    assert_int_equal(core->pending, pending);
    assert_int_equal(core->machine.state, state_of[core->phase]);
    assert_int_equal(core->deadline_ns != 0, core->phase != WEFT_PHASE_NONE);
    assert_true(core->phase == WEFT_PHASE_NONE || pending > 0);
    assert_true(core->committed <= core->members);
    assert_true(core->highest_epoch >= before->highest_epoch);
    assert_true(core->epoch <= core->highest_epoch);
    assert_int_equal(advances, s->advances <= 1 ? advances : 0); /* once in a session at most */
    if (advances == 0) {
        assert_int_equal(core->base_version, before->base_version);
        assert_int_equal(core->base_digest, before->base_digest);
    } else {
        assert_int_equal(core->base_version, core->target_version);
        assert_int_equal(core->base_digest, core->target_digest);
    }
}

static void check_way_home(const bench *b)
{
    bench copy = *b;

    for (unsigned i = 0; i < 2 && copy.core.phase != WEFT_PHASE_NONE; i++) {
        copy.now_ns = copy.core.deadline_ns;
        step(&copy, (weft_input){.type = WEFT_INPUT_TIME});
    }
    assert_int_equal(copy.core.phase, WEFT_PHASE_NONE);
    assert_int_equal(copy.core.machine.state, WEFT_IDLE);
}

static void walk_step(test_random *random, bench *b, shadow *s, totals *t)
{
    weft_input input = walk_input(random, b);
    weft_trainer_core before = b->core;
    unsigned advances = s->advances, ends = s->ends;

    if (input.type == WEFT_INPUT_PUSH) {
        *s = (shadow){0};
        advances = ends = 0;
    } else if (input.type == WEFT_INPUT_MESSAGE && input.message.type == WEFT_MESSAGE_APPLIED &&
               input.message.epoch == before.epoch &&
               input.message.digest == before.target_digest) {
        s->applied[input.link] = true;
    }
    b->now_ns += test_random_below(random, MS / (ONE_IN(random, 20) ? 1 : 100));
    step(b, input);
    check_actions(b, &before, &input, s);
    check_core(b, &before, s, s->advances - advances);
    assert_int_equal(s->ends - ends,
                     before.phase != WEFT_PHASE_NONE && b->core.phase == WEFT_PHASE_NONE ? 1 : 0);
    t->most_actions = b->actions.count > t->most_actions ? b->actions.count : t->most_actions;
    t->phases[b->core.phase]++;
    t->outcomes[b->core.outcome]++;
    t->unconfirmed += b->core.cause == WEFT_E_UNCONFIRMED ? 1 : 0;
    t->doubts_resolved += before.doubt_epoch != 0 && s->advances > advances ? 1 : 0;
}

static void test_random_walks(void **state)
{
    test_random random = test_random_start();
    totals t = {0};
    shadow s = {0};
    bench b;

    (void)state;
    begin(&b, 0);
    for (unsigned i = 0; i < STEPS; i++) {
        if (i % WALK == 0) {
            begin(&b, 0);
            s = (shadow){0};
        }
        walk_step(&random, &b, &s, &t);
        if (i % 8 == 0) {
            check_way_home(&b);
        }
    }
    for (unsigned i = 0; i <= WEFT_PHASE_ABORT; i++) {
        assert_true(t.phases[i] > 100);
    }
    assert_true(t.outcomes[WEFT_OUTCOME_COMMITTED] > 100);
    assert_true(t.outcomes[WEFT_OUTCOME_ABORTED] > 100);
    assert_true(t.unconfirmed > 100 && t.doubts_resolved > 0);
    assert_true(t.most_actions < WEFT_ACTIONS_MAX);
    (void)fprintf(stderr, "%u steps, at most %" PRIu32 " actions, %u doubts resolved\n", STEPS,
                  t.most_actions, t.doubts_resolved);
}

/* ---- both halves connected ---- */

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
    uint8_t outcomes[EPOCHS_MAX];
} end;

typedef struct world {
    test_random *random;
    bench trainer;
    uint32_t workers;
    end ends[WORKERS];
    uint64_t now_ns;
    uint64_t versions[EPOCHS_MAX], digests[EPOCHS_MAX]; /* that the epoch led to */
    uint32_t sent_update;
    uint64_t sent_epoch;
    unsigned commits, aborts, unconfirmed, doubts;
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
    case WEFT_ACTION_CANCEL:
        e->result.type = 0;
        break;
    case WEFT_ACTION_COMMITTED:
    case WEFT_ACTION_FAILED:
        worker_ended(w, e, action->epoch);
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
        if ((w->trainer.core.slots[i] & WEFT_SLOT_MEMBER) != 0 && e->open_there && !e->cut) {
            enqueue(&e->to_worker, message);
        }
    }
}

static void trainer_send(world *w, const weft_action *action)
{
    weft_message message;

    weft_trainer_compose(&w->trainer.core, action, &message);
    if (message.type == WEFT_MESSAGE_UPDATE) {
        message.document_bytes = message.payload_bytes = 9;
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
    step(t, input);
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
    if (t->core.phase == WEFT_PHASE_PAYLOAD &&
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

static void move(world *w, bool calm)
{
    end *e = &w->ends[test_random_below(w->random, w->workers)];

    switch (test_random_below(w->random, 8)) {
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
        } else if (!calm && ONE_IN(w->random, 30)) {
            cut(w, e);
        }
        break;
    case 7:
        if (!calm) {
            try_push(w);
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
        w->now_ns += 100 * MS;
        drive_worker(w, &w->ends[k], (weft_input){.type = WEFT_INPUT_TIME});
    }
    assert_true(all_idle(w));
    check_agreement(w);
    check_content(w);
}

static void test_all_agree(void **state)
{
    test_random random = test_random_start();
    unsigned commits = 0, aborts = 0, unconfirmed = 0, doubts = 0;
    world *w = malloc(sizeof *w);

    (void)state;
    assert_non_null(w);
    for (unsigned i = 0; i < WORLDS; i++) {
        memset(w, 0, sizeof *w);
        w->random = &random;
        w->workers = 2 + i % 2;
        w->now_ns = MS;
        weft_trainer_core_init(&w->trainer.core, FINGERPRINT, BASE, BASE_DIGEST);
        run_world(w);
        commits += w->commits;
        aborts += w->aborts;
        unconfirmed += w->unconfirmed;
        doubts += w->doubts;
    }
    free(w);
    (void)fprintf(stderr, "%u worlds: %u commits, %u aborts, %u unconfirmed, %u pushes in doubt\n",
                  WORLDS, commits, aborts, unconfirmed, doubts);
    assert_true(commits > 1000 && aborts > 1000 && unconfirmed > 50 && doubts > 20);
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
        cmocka_unit_test(test_a_new_push_ends_the_doubt),
        cmocka_unit_test(test_all_deny_the_commit),
        cmocka_unit_test(test_hello_with_an_impossible_epoch),
        cmocka_unit_test(test_nobody_confirms_until_the_deadline),
        cmocka_unit_test(test_random_walks),
        cmocka_unit_test(test_all_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
