/* A worker's half of the protocol: each way through it by hand, and what does not belong. Pieces
 * and faults are in test_protocol_worker_faults.c, random walks in test_protocol_worker_walk.c. */
#include "worker_bench.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the way forward ---- */

static void test_sparse_session_of_one_update(void **state)
{
    bench b;

    (void)state;
    bench_begin(&b);
    bench_enter(&b, AT_STARTED);
    bench_assert_did(&b, "->started STARTED:0");
    assert_int_equal(b.core.deadline_ns, b.now_ns + 400 * MS);
    bench_assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_UNDECIDED);
    bench_enter(&b, AT_DOCUMENT);
    bench_assert_did(&b, "open");
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 10));
    bench_assert_did(&b, "take");
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_DOCUMENT, 0, 10, 20));
    bench_assert_did(&b, "take");
    assert_int_equal(b.core.awaits, WEFT_AWAITS_VALIDATION);
    bench_pass(&b, 100 * MS);
    bench_result(&b, WEFT_INPUT_VALIDATED, WEFT_OK);
    bench_assert_did(&b, "->receiving READY:0");
    assert_int_equal(b.core.deadline_ns, b.now_ns + 400 * MS); /* counted anew */
    assert_int_equal(bench_composed(&b, 1).update, 0);
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_PAYLOAD, 0, 0, 79));
    bench_assert_did(&b, "take");
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_PAYLOAD, 0, 79, 1));
    bench_assert_did(&b, "take");
    bench_result(&b, WEFT_INPUT_RECEIVED, WEFT_OK);
    bench_assert_did(&b, "verify");
    bench_verified(&b, TARGET - DIGEST, 3);
    bench_assert_did(&b, "STAGED:0");
    assert_int_equal(bench_composed(&b, 0).update, 0);
    assert_int_equal(bench_composed(&b, 0).changed, 3);
    bench_enter(&b, AT_WRITE);
    bench_assert_did(&b, "->applying pause put");
    bench_assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_UNDECIDED);
    bench_enter(&b, AT_DECISION);
    bench_assert_did(&b, "->finished APPLIED:0");
    assert_int_equal(bench_composed(&b, 1).digest, TARGET);
    bench_assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_UNDECIDED);
    bench_hear(&b, bench_plain(WEFT_MESSAGE_COMMIT));
    bench_assert_did(&b, "->idle committed resume release COMMITTED:0");
    assert_int_equal(bench_composed(&b, 4).version, VERSION + 1);
    assert_int_equal(bench_composed(&b, 4).digest, TARGET);
    assert_int_equal(bench_composed(&b, 4).epoch, EPOCH);
    bench_assert_holds(&b, WEFT_INTACT, VERSION + 1, TARGET, WEFT_OUTCOME_COMMITTED);
    assert_int_equal(b.core.last_epoch, EPOCH);
    bench_assert_idle(&b);
}

/* One update of a session of several; `digest` and `changed` are what VERIFIED tells. */
static void whole_update(bench *b, uint32_t number, bool streamed, uint64_t digest,
                         uint64_t changed)
{
    bench_hear(b, bench_update_of(number));
    bench_hear(b, bench_piece_of(WEFT_MESSAGE_DOCUMENT, number, 0, 30));
    bench_step(b, (weft_input){.type = WEFT_INPUT_VALIDATED, .streamed = streamed});
    bench_hear(b, bench_piece_of(WEFT_MESSAGE_PAYLOAD, number, 0, 80));
    bench_result(b, WEFT_INPUT_RECEIVED, WEFT_OK);
    bench_verified(b, digest, changed);
}

static void test_session_of_several_updates(void **state)
{
    bench b;

    (void)state;
    bench_begin(&b);
    bench_hear(&b, bench_start_of(WEFT_SPARSE, 3));
    for (uint32_t i = 0; i < 3; i++) {
        whole_update(&b, i, false, i == 2 ? TARGET - DIGEST - 2 : 1, 4);
        bench_assert_did(&b, "STAGED:0");
        assert_int_equal(bench_composed(&b, 0).update, i);
        assert_int_equal(bench_composed(&b, 0).changed, 4 * (i + 1));
        assert_int_equal(b.core.awaits, WEFT_AWAITS_UPDATE);
    }
    bench_hear(&b, bench_plain(WEFT_MESSAGE_APPLY));
    bench_assert_did(&b, "->applying pause put");
}

static void test_baseline_staged_whole(void **state)
{
    weft_message start = bench_start_of(WEFT_BASELINE, 2);
    bench b;

    (void)state;
    bench_begin(&b);
    start.base_version = start.base_digest = 0; /* needs no base */
    bench_hear(&b, start);
    bench_assert_did(&b, "->started STARTED:0");
    whole_update(&b, 0, false, 1, ELEMENTS - 1);
    bench_assert_did(&b, "STAGED:0");
    whole_update(&b, 1, false, TARGET - 1, 1);
    bench_assert_did(&b, "STAGED:0");
    bench_assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_UNDECIDED);
    bench_hear(&b, bench_plain(WEFT_MESSAGE_APPLY));
    bench_assert_did(&b, "->applying pause put");
    bench_hear(&b, bench_plain(WEFT_MESSAGE_ABORT)); /* and can be undone */
    bench_assert_did(&b, "->failed cancel undo");
    bench_result(&b, WEFT_INPUT_UNDONE, WEFT_OK);
    bench_assert_did(&b, "->idle resume release ABORTED:0 failed(ABORTED)");
    bench_assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_ABORTED);
}

static void test_baseline_streamed(void **state)
{
    bench b;

    (void)state;
    bench_begin(&b);
    bench_hear(&b, bench_start_of(WEFT_BASELINE, 2));
    bench_hear(&b, bench_update_of(0));
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 30));
    bench_step(&b, (weft_input){.type = WEFT_INPUT_VALIDATED, .streamed = true});
    bench_assert_did(&b, "->receiving pause READY:0");
    bench_assert_holds(&b, WEFT_TORN, 0, 0, WEFT_OUTCOME_UNDECIDED);
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_PAYLOAD, 0, 0, 80));
    bench_result(&b, WEFT_INPUT_RECEIVED, WEFT_OK);
    bench_verified(&b, 1, ELEMENTS - 1);
    whole_update(&b, 1, true, TARGET - 1, 1);
    bench_assert_did(&b, "STAGED:0");
    bench_hear(&b, bench_plain(WEFT_MESSAGE_APPLY)); /* nothing is left to be written */
    bench_assert_did(&b, "->applying ->finished APPLIED:0");
    bench_assert_holds(&b, WEFT_TORN, 0, 0, WEFT_OUTCOME_UNDECIDED);
    bench_hear(&b, bench_plain(WEFT_MESSAGE_COMMIT));
    bench_assert_did(&b, "->idle committed resume release COMMITTED:0");
    bench_assert_holds(&b, WEFT_INTACT, VERSION + 1, TARGET, WEFT_OUTCOME_COMMITTED);
    bench_assert_idle(&b);
}

/* What was streamed cannot be undone: torn, until a baseline is complete. */
static void test_torn_is_mended_by_a_baseline_only(void **state)
{
    weft_message start = bench_start_of(WEFT_SPARSE, 1);
    bench b;

    (void)state;
    bench_begin(&b);
    bench_hear(&b, bench_start_of(WEFT_BASELINE, 1));
    bench_hear(&b, bench_update_of(0));
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 30));
    bench_step(&b, (weft_input){.type = WEFT_INPUT_VALIDATED, .streamed = true});
    bench_lose(&b, 0, WEFT_E_LINK_CLOSED);
    bench_assert_did(&b, "->failed cancel ->idle resume release failed(LINK_CLOSED)");
    bench_assert_holds(&b, WEFT_TORN, 0, 0, WEFT_OUTCOME_ABORTED);
    start.epoch = EPOCH + 1;
    bench_hear_from(&b, 0, start);
    bench_assert_did(&b, "FAILED(TORN):0");
    assert_int_equal(bench_composed(&b, 0).condition, WEFT_TORN);
    start.kind = WEFT_BASELINE;
    bench_hear_from(&b, 0, start);
    bench_assert_did(&b, "->started STARTED:0");
}

static void test_content_that_is_not_the_announced_one(void **state)
{
    bench b;

    (void)state;
    bench_reach(&b, AT_VERIFICATION);
    bench_result(&b, WEFT_INPUT_RECEIVED, WEFT_OK);
    bench_verified(&b, TARGET - DIGEST + 1, 3);
    bench_assert_did(&b, "->failed cancel ->idle release FAILED(DIGEST_MISMATCH):0 "
                         "failed(DIGEST_MISMATCH)");
    bench_assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_ABORTED);
    bench_begin(&b);
    bench_hear(&b, bench_start_of(WEFT_BASELINE, 1));
    whole_update(&b, 0, false, TARGET, ELEMENTS - 1);
    bench_assert_did(&b, "->failed cancel ->idle release FAILED(BASELINE_INCOMPLETE):0 "
                         "failed(BASELINE_INCOMPLETE)");
    bench_begin(&b);
    bench_hear(&b, bench_start_of(WEFT_BASELINE, 1));
    whole_update(&b, 0, true, TARGET, ELEMENTS + 1);
    bench_assert_did(&b, "->failed cancel ->idle resume release FAILED(BASELINE_INCOMPLETE):0 "
                         "failed(BASELINE_INCOMPLETE)");
    bench_assert_holds(&b, WEFT_TORN, 0, 0, WEFT_OUTCOME_ABORTED);
}

/* A control plane of the process's own: no count of updates, no announced digest. */
static void test_local_session(void **state)
{
    weft_message start = bench_start_of(WEFT_SPARSE, 0);
    bench b;

    (void)state;
    bench_begin(&b);
    start.target_digest = 0;
    start.timeout_ms = 0;
    bench_step(&b, (weft_input){.type = WEFT_INPUT_MESSAGE,
                                .link = WEFT_LINK_LOCAL,
                                .unannounced = true,
                                .message = start});
    bench_assert_did(&b, "->started STARTED:local");
    assert_int_equal(b.core.deadline_ns, b.now_ns + TIMEOUT_MS * MS);
    for (uint32_t i = 0; i < 2; i++) {
        bench_hear_from(&b, WEFT_LINK_LOCAL, bench_update_of(i));
        bench_hear_from(&b, WEFT_LINK_LOCAL, bench_piece_of(WEFT_MESSAGE_DOCUMENT, i, 0, 30));
        bench_result(&b, WEFT_INPUT_VALIDATED, WEFT_OK);
        bench_hear_from(&b, WEFT_LINK_LOCAL, bench_piece_of(WEFT_MESSAGE_PAYLOAD, i, 0, 80));
        bench_result(&b, WEFT_INPUT_RECEIVED, WEFT_OK);
        bench_verified(&b, 100, 1);
        bench_assert_did(&b, "STAGED:local");
    }
    bench_hear_from(&b, WEFT_LINK_LOCAL, bench_plain(WEFT_MESSAGE_APPLY));
    bench_result(&b, WEFT_INPUT_WRITTEN, WEFT_OK);
    bench_hear_from(&b, WEFT_LINK_LOCAL, bench_plain(WEFT_MESSAGE_COMMIT));
    bench_assert_did(&b, "->idle committed resume release COMMITTED:local");
    bench_assert_holds(&b, WEFT_INTACT, VERSION + 1, DIGEST + 200, WEFT_OUTCOME_COMMITTED);
}

/* Where the count is open, completeness and digest are looked at by APPLY. */
static void test_local_content_is_checked_before_anything_is_written(void **state)
{
    bench b;

    (void)state;
    bench_begin(&b);
    bench_hear_from(&b, WEFT_LINK_LOCAL, bench_start_of(WEFT_BASELINE, 0));
    bench_hear_from(&b, WEFT_LINK_LOCAL,
                    bench_plain(WEFT_MESSAGE_APPLY)); /* and not before an update */
    bench_assert_did(&b, "->failed cancel ->idle release FAILED(UNEXPECTED_MESSAGE):local "
                         "failed(UNEXPECTED_MESSAGE)");
    bench_begin(&b);
    bench_hear_from(&b, WEFT_LINK_LOCAL, bench_start_of(WEFT_SPARSE, 0));
    bench_hear_from(&b, WEFT_LINK_LOCAL, bench_update_of(0));
    bench_hear_from(&b, WEFT_LINK_LOCAL, bench_piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 30));
    bench_result(&b, WEFT_INPUT_VALIDATED, WEFT_OK);
    bench_hear_from(&b, WEFT_LINK_LOCAL, bench_piece_of(WEFT_MESSAGE_PAYLOAD, 0, 0, 80));
    bench_result(&b, WEFT_INPUT_RECEIVED, WEFT_OK);
    bench_verified(&b, 1, 1);
    bench_assert_did(&b, "STAGED:local");
    bench_hear_from(&b, WEFT_LINK_LOCAL, bench_plain(WEFT_MESSAGE_APPLY));
    bench_assert_did(&b, "->failed cancel ->idle release FAILED(DIGEST_MISMATCH):local "
                         "failed(DIGEST_MISMATCH)");
    bench_assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_ABORTED);
}

/* ---- START ---- */

static void assert_refused(bench *b, weft_message start, const char *expected)
{
    weft_worker_core before = b->core;

    bench_hear_from(b, 1, start);
    bench_assert_did(b, expected);
    assert_memory_equal(&b->core, &before, sizeof before); /* nothing changed; epoch not used up */
    assert_int_equal(bench_composed(b, 0).epoch, start.epoch);
    assert_int_equal(bench_composed(b, 0).version, before.version);
    assert_int_equal(bench_composed(b, 0).digest, before.digest);
    assert_int_equal(bench_composed(b, 0).state, before.machine.state);
}

static void test_start_is_refused(void **state)
{
    weft_message start = bench_start_of(WEFT_SPARSE, 1);
    bench b;

    (void)state;
    bench_begin(&b);
    b.core.last_epoch = EPOCH - 1;
    start.base_version++;
    assert_refused(&b, start, "FAILED(BASE_MISMATCH):1");
    start = bench_start_of(WEFT_SPARSE, 1);
    start.base_digest++;
    assert_refused(&b, start, "FAILED(BASE_MISMATCH):1");
    start = bench_start_of(WEFT_SPARSE, 0);
    start.base_digest++; /* malformed comes before the base */
    assert_refused(&b, start, "FAILED(FRAME_MALFORMED):1");
    assert_refused(&b, bench_start_of(WEFT_BASELINE, 0), "FAILED(FRAME_MALFORMED):1");
    start = bench_start_of(WEFT_BASELINE, 1);
    start.transport = WEFT_TRANSPORT_NCCL + 1;
    assert_refused(&b, start, "FAILED(TRANSPORT):1");
    assert_refused(&b, bench_start_of((weft_kind)0, 1), "FAILED(FRAME_MALFORMED):1");
    assert_refused(&b, bench_start_of((weft_kind)3, 1), "FAILED(FRAME_MALFORMED):1");
    b.core.condition = WEFT_TORN;
    b.core.version = b.core.digest = 0;
    assert_refused(&b, bench_start_of(WEFT_SPARSE, 1), "FAILED(TORN):1");
    b.core.condition = WEFT_LOST;
    assert_refused(&b, bench_start_of(WEFT_SPARSE, 1), "FAILED(LOST):1");
    assert_refused(&b, bench_start_of(WEFT_BASELINE, 1), "FAILED(LOST):1");
    assert_refused(&b, bench_start_of((weft_kind)3, 1), "FAILED(LOST):1");
    b.core.last_epoch = EPOCH;
    assert_refused(&b, bench_start_of(WEFT_BASELINE, 1), "FAILED(STALE_EPOCH):1");
    for (int at = AT_STARTED; at < STAGES; at++) { /* a second trainer */
        bench_reach(&b, (stage)at);
        start = bench_start_of(WEFT_BASELINE, 1);
        start.epoch = at % 2 == 0 ? EPOCH : EPOCH + 1;
        assert_refused(&b, start, "FAILED(BUSY):1");
    }
}

static void test_the_shorter_time_counts(void **state)
{
    static const uint32_t cases[][2] = {{0, 1000},    {1, 1},       {999, 999},
                                        {1000, 1000}, {1001, 1000}, {UINT32_MAX, 1000}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weft_message start = bench_start_of(WEFT_SPARSE, 1);
        bench b;
        bench_begin(&b);
        start.timeout_ms = cases[i][0];
        bench_hear(&b, start);
        assert_int_equal(b.core.deadline_ns, b.now_ns + cases[i][1] * MS);
        bench_pass(&b, cases[i][1] * MS - 1);
        bench_assert_did(&b, "");
        bench_pass(&b, 1);
        bench_assert_did(&b, "->failed cancel ->idle release FAILED(DEADLINE):0 failed(DEADLINE)");
        bench_assert_idle(&b);
    }
}

/* ---- messages that do not belong ---- */

static bool is_legal(stage at, uint8_t type)
{
    return type == WEFT_MESSAGE_ABORT || (at == AT_IDLE && type == WEFT_MESSAGE_START) ||
           (at == AT_STARTED && type == WEFT_MESSAGE_UPDATE) ||
           (at == AT_DOCUMENT && type == WEFT_MESSAGE_DOCUMENT) ||
           (at == AT_PAYLOAD && type == WEFT_MESSAGE_PAYLOAD) ||
           (at == AT_STAGED && type == WEFT_MESSAGE_APPLY) ||
           (at == AT_DECISION && type == WEFT_MESSAGE_COMMIT);
}

/* Between workers: test_protocol_doubt.c. */
static bool is_of_doubt(uint8_t type)
{
    return type == WEFT_MESSAGE_ASK || type == WEFT_MESSAGE_OUTCOME;
}

static void test_every_illegal_message_at_every_stage(void **state)
{
    unsigned tried = 0;

    (void)state;
    for (int at = AT_IDLE; at < STAGES; at++) {
        for (uint8_t type = 1; type < WEFT_MESSAGE_TYPE_END; type++) {
            bench b;
            weft_outcome outcome =
                at == AT_DECISION ? WEFT_OUTCOME_UNCONFIRMED : WEFT_OUTCOME_ABORTED;
            if (is_legal((stage)at, type) || is_of_doubt(type)) {
                continue;
            }
            tried++;
            bench_reach(&b, (stage)at);
            weft_worker_core before = b.core;
            bench_hear(&b, bench_any_message(type));
            if (at == AT_IDLE) { /* no session that could fail */
                bench_assert_did(&b, "FAILED(UNEXPECTED_MESSAGE):0");
                assert_memory_equal(&b.core, &before, sizeof before);
            } else if (at == AT_UNDO) {
                bench_assert_did(&b, type == WEFT_MESSAGE_START ? "drop(UNEXPECTED_MESSAGE)"
                                                                : "drop(STALE_EPOCH)");
                assert_memory_equal(&b.core, &before, sizeof before);
            } else {
                bench_assert_rolled_back(&b, (stage)at, "UNEXPECTED_MESSAGE", true, outcome);
            }
        }
    }
    assert_int_equal(tried, STAGES * 18 - STAGES - 6);
}

static void test_abort_at_every_stage(void **state)
{
    (void)state;
    for (int at = AT_STARTED; at < AT_UNDO; at++) {
        bool written = at == AT_WRITE || at == AT_DECISION;
        bench b;
        bench_reach(&b, (stage)at);
        bench_hear(&b, bench_plain(WEFT_MESSAGE_ABORT));
        if (written) {
            bench_assert_did(&b, "->failed cancel undo");
            bench_result(&b, WEFT_INPUT_UNDONE, WEFT_OK);
        }
        bench_assert_did(&b, written ? "->idle resume release ABORTED:0 failed(ABORTED)"
                                     : "->failed cancel ->idle release ABORTED:0 failed(ABORTED)");
        /* even in finished: who says ABORT has not decided COMMIT */
        bench_assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_ABORTED);
        bench_assert_idle(&b);
        bench_hear(&b, bench_plain(WEFT_MESSAGE_ABORT)); /* again: the same answer */
        bench_assert_did(&b, "ABORTED:0");
        assert_int_equal(bench_composed(&b, 0).version, VERSION);
        assert_int_equal(bench_composed(&b, 0).digest, DIGEST);
    }
}

static void test_other_links_and_epochs_do_not_touch_a_session(void **state)
{
    (void)state;
    for (int at = AT_STARTED; at < STAGES; at++) {
        for (uint8_t type = 1; type < WEFT_MESSAGE_TYPE_END; type++) {
            weft_message message = bench_any_message(type);
            bench b;
            if (is_of_doubt(type)) {
                continue;
            }
            bench_reach(&b, (stage)at);
            weft_worker_core before = b.core;
            if (type != WEFT_MESSAGE_START) {
                message.epoch = EPOCH - 1;
                bench_hear_from(&b, 0, message);
                bench_assert_did(&b, "drop(STALE_EPOCH)");
                bench_hear_from(&b, 1, message);
                bench_assert_did(&b, "drop(STALE_EPOCH)");
                message.epoch = EPOCH + 1;
                bench_hear_from(&b, 0, message);
                bench_assert_did(&b, "FAILED(BUSY):0");
            }
            message.epoch = EPOCH + 1;
            bench_hear_from(&b, 1, message);
            bench_assert_did(&b, "FAILED(BUSY):1");
            message.epoch = EPOCH;
            bench_hear_from(&b, 1, message);
            bench_assert_did(&b, "FAILED(BUSY):1");
            assert_int_equal(bench_composed(&b, 0).state, bench_state_at[at]);
            bench_lose(&b, 1, WEFT_E_LINK_CLOSED);
            bench_assert_did(&b, "");
            assert_memory_equal(&b.core, &before, sizeof before);
        }
    }
}

static void test_abort_while_idle(void **state)
{
    weft_message abort_of = bench_plain(WEFT_MESSAGE_ABORT), start = bench_start_of(WEFT_SPARSE, 1);
    bench b;

    (void)state;
    bench_reach(&b, AT_DECISION);
    bench_hear(&b, bench_plain(WEFT_MESSAGE_COMMIT));
    bench_hear(&b, abort_of); /* too late: it is committed, and says so */
    bench_assert_did(&b, "COMMITTED:0");
    bench_assert_holds(&b, WEFT_INTACT, VERSION + 1, TARGET, WEFT_OUTCOME_COMMITTED);
    abort_of.epoch = EPOCH - 1;
    bench_hear_from(&b, 0, abort_of);
    bench_assert_did(&b, "drop(STALE_EPOCH)");
    abort_of.epoch = EPOCH + 3; /* of a START that never arrived: over all the same */
    bench_hear_from(&b, 0, abort_of);
    bench_assert_did(&b, "ABORTED:0");
    assert_int_equal(bench_composed(&b, 0).epoch, EPOCH + 3);
    assert_int_equal(b.core.last_epoch, EPOCH + 3);
    bench_assert_holds(&b, WEFT_INTACT, VERSION + 1, TARGET, WEFT_OUTCOME_ABORTED);
    start.epoch = EPOCH + 3;
    bench_hear_from(&b, 0, start);
    bench_assert_did(&b, "FAILED(STALE_EPOCH):0");
    bench_hear(&b, bench_plain(WEFT_MESSAGE_COMMIT));
    bench_assert_did(&b, "drop(STALE_EPOCH)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sparse_session_of_one_update),
        cmocka_unit_test(test_session_of_several_updates),
        cmocka_unit_test(test_baseline_staged_whole),
        cmocka_unit_test(test_baseline_streamed),
        cmocka_unit_test(test_torn_is_mended_by_a_baseline_only),
        cmocka_unit_test(test_content_that_is_not_the_announced_one),
        cmocka_unit_test(test_local_session),
        cmocka_unit_test(test_local_content_is_checked_before_anything_is_written),
        cmocka_unit_test(test_start_is_refused),
        cmocka_unit_test(test_the_shorter_time_counts),
        cmocka_unit_test(test_every_illegal_message_at_every_stage),
        cmocka_unit_test(test_abort_at_every_stage),
        cmocka_unit_test(test_other_links_and_epochs_do_not_touch_a_session),
        cmocka_unit_test(test_abort_while_idle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
