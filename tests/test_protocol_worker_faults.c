/* A worker's half of the protocol: pieces that do not fit, time, lost links, failing results. */
#include "worker_bench.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- pieces ---- */

static void test_pieces_that_do_not_continue(void **state)
{
    static const struct {
        stage at;
        uint32_t type, update, tail;
        uint64_t offset;
        const char *code;
    } cases[] = {
        {AT_DOCUMENT, WEFT_MESSAGE_DOCUMENT, 0, 5, 1, "PAYLOAD_OFFSET"},
        {AT_DOCUMENT, WEFT_MESSAGE_DOCUMENT, 0, 31, 0, "PAYLOAD_OFFSET"},
        {AT_DOCUMENT, WEFT_MESSAGE_DOCUMENT, 0, 0, 0, "UNEXPECTED_MESSAGE"},
        {AT_DOCUMENT, WEFT_MESSAGE_DOCUMENT, 1, 5, 0, "UNEXPECTED_MESSAGE"},
        {AT_PAYLOAD, WEFT_MESSAGE_PAYLOAD, 0, 5, 8, "PAYLOAD_OFFSET"},
        {AT_PAYLOAD, WEFT_MESSAGE_PAYLOAD, 0, 1, UINT64_MAX, "PAYLOAD_OFFSET"},
        {AT_PAYLOAD, WEFT_MESSAGE_PAYLOAD, 0, 81, 0, "PAYLOAD_OFFSET"},
        {AT_PAYLOAD, WEFT_MESSAGE_PAYLOAD, 0, 0, 0, "UNEXPECTED_MESSAGE"},
        {AT_PAYLOAD, WEFT_MESSAGE_PAYLOAD, 1, 5, 0, "UNEXPECTED_MESSAGE"},
        {AT_STARTED, WEFT_MESSAGE_UPDATE, 1, 0, 0, "UNEXPECTED_MESSAGE"},
        {AT_STAGED, WEFT_MESSAGE_UPDATE, 1, 0, 0, "UNEXPECTED_MESSAGE"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weft_message message = bench_any_message((uint8_t)cases[i].type);
        bench b;
        bench_reach(&b, cases[i].at);
        message.update = cases[i].update;
        message.offset = cases[i].offset;
        message.tail = cases[i].tail;
        bench_hear(&b, message);
        bench_assert_rolled_back(&b, cases[i].at, cases[i].code, true, WEFT_OUTCOME_ABORTED);
    }
}

/* Over the end, in a second piece: of the document and of the payload. */
static void test_a_piece_over_the_end(void **state)
{
    bench b;

    (void)state;
    bench_reach(&b, AT_DOCUMENT);
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 20));
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_DOCUMENT, 0, 20, 11));
    bench_assert_rolled_back(&b, AT_DOCUMENT, "PAYLOAD_OFFSET", true, WEFT_OUTCOME_ABORTED);
    bench_reach(&b, AT_PAYLOAD);
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_PAYLOAD, 0, 0, 79));
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_PAYLOAD, 0, 79, 2));
    bench_assert_rolled_back(&b, AT_PAYLOAD, "PAYLOAD_OFFSET", true, WEFT_OUTCOME_ABORTED);
}

static void test_an_empty_payload_is_one_empty_piece(void **state)
{
    weft_message update = bench_update_of(0);
    bench b;

    (void)state;
    bench_reach(&b, AT_STARTED);
    update.payload_bytes = 0;
    bench_hear(&b, update);
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 30));
    bench_result(&b, WEFT_INPUT_VALIDATED, WEFT_OK);
    assert_int_equal(b.core.awaits, WEFT_AWAITS_PAYLOAD);
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_PAYLOAD, 0, 0, 0));
    bench_assert_did(&b, "take");
    assert_int_equal(b.core.awaits, WEFT_AWAITS_VERIFICATION);
}

static void test_limits_of_an_update(void **state)
{
    weft_message update = bench_update_of(0);
    bench b;

    (void)state;
    bench_reach(&b, AT_STARTED);
    update.document_bytes = 0;
    bench_hear(&b, update);
    bench_assert_rolled_back(&b, AT_STARTED, "META_TOO_LARGE", true, WEFT_OUTCOME_ABORTED);
    bench_reach(&b, AT_STARTED);
    update.document_bytes = WEFT_DOCUMENT_MAX + 1;
    bench_hear(&b, update);
    bench_assert_rolled_back(&b, AT_STARTED, "META_TOO_LARGE", true, WEFT_OUTCOME_ABORTED);
    bench_reach(&b, AT_STARTED);
    update.document_bytes = WEFT_DOCUMENT_MAX;
    bench_hear(&b, update);
    bench_assert_did(&b, "open");
    bench_begin(&b);
    bench_hear(&b, bench_start_of(WEFT_SPARSE, WEFT_UPDATES_MAX + 1));
    b.core.update = WEFT_UPDATES_MAX - 1; /* as after so many updates */
    bench_hear(&b, bench_update_of(WEFT_UPDATES_MAX - 1));
    bench_assert_did(&b, "open");
    b.core.awaits = WEFT_AWAITS_UPDATE;
    b.core.update = WEFT_UPDATES_MAX;
    bench_hear(&b, bench_update_of(WEFT_UPDATES_MAX));
    bench_assert_did(&b, "->failed cancel ->idle release FAILED(LIMIT):0 failed(LIMIT)");
}

/* ---- time, links, results ---- */

static void test_deadline_at_every_stage(void **state)
{
    (void)state;
    for (int at = AT_STARTED; at < AT_UNDO; at++) {
        bench b;
        bench_reach(&b, (stage)at);
        bench_pass(&b, 400 * MS - 1);
        bench_assert_did(&b, "");
        bench_pass(&b, 1);
        bench_assert_rolled_back(&b, (stage)at, "DEADLINE", true,
                                 at == AT_DECISION ? WEFT_OUTCOME_UNCONFIRMED
                                                   : WEFT_OUTCOME_ABORTED);
    }
}

static void test_an_undo_that_does_not_end(void **state)
{
    bench b;

    (void)state;
    bench_reach(&b, AT_UNDO);
    bench_pass(&b, 400 * MS - 1);
    bench_assert_did(&b, "");
    bench_pass(&b, 1);
    bench_assert_did(&b, "->idle resume release ABORTED:0 failed(ABORTED)");
    bench_assert_holds(&b, WEFT_LOST, 0, 0, WEFT_OUTCOME_ABORTED);
    assert_int_equal(bench_composed(&b, 3).condition, WEFT_LOST);
    bench_assert_idle(&b);
}

static void test_an_undo_that_fails(void **state)
{
    bench b;

    (void)state;
    bench_reach(&b, AT_UNDO);
    bench_result(&b, WEFT_INPUT_UNDONE, WEFT_E_DEVICE_FAILED);
    bench_assert_did(&b, "->idle resume release ABORTED:0 failed(ABORTED)");
    bench_assert_holds(&b, WEFT_LOST, 0, 0, WEFT_OUTCOME_ABORTED);
    bench_assert_idle(&b);
}

static void test_link_loss_at_every_stage(void **state)
{
    (void)state;
    for (int at = AT_STARTED; at < AT_UNDO; at++) {
        bool in_doubt = at == AT_DECISION;
        bench b;
        bench_reach(&b, (stage)at);
        bench_lose(&b, 0, WEFT_E_LINK_SILENT);
        bench_assert_rolled_back(&b, (stage)at, in_doubt ? "IN_DOUBT" : "LINK_SILENT", false,
                                 in_doubt ? WEFT_OUTCOME_UNCONFIRMED : WEFT_OUTCOME_ABORTED);
        if (in_doubt) { /* and stays so, whatever is said of this epoch later */
            bench_hear(&b, bench_plain(WEFT_MESSAGE_ABORT));
            bench_assert_did(&b, "ABORTED:0");
            assert_int_equal(bench_composed(&b, 0).outcome, WEFT_OUTCOME_UNCONFIRMED);
        }
    }
}

/* The link goes while the undo runs: there is nobody to answer, and the number may be another's. */
static void test_link_loss_during_the_undo(void **state)
{
    weft_message start = bench_start_of(WEFT_BASELINE, 1);
    bench b;

    (void)state;
    bench_reach(&b, AT_UNDO);
    bench_lose(&b, 0, WEFT_E_LINK_CLOSED);
    bench_assert_did(&b, "");
    assert_int_equal(b.core.awaits, WEFT_AWAITS_UNDO);
    start.epoch = EPOCH + 1;
    bench_hear_from(&b, 0, start);
    bench_assert_did(&b, "FAILED(BUSY):0");
    bench_result(&b, WEFT_INPUT_UNDONE, WEFT_OK);
    bench_assert_did(&b, "->idle resume release failed(ABORTED)");
    bench_assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_ABORTED);
    bench_lose(&b, 0, WEFT_E_LINK_CLOSED); /* idle: nothing to lose */
    bench_assert_did(&b, "");
    bench_hear_from(&b, 0, start);
    bench_assert_did(&b, "->started STARTED:0");
}

static void test_failing_results(void **state)
{
    static const struct {
        stage at;
        uint8_t input;
    } cases[] = {
        {AT_DOCUMENT, WEFT_INPUT_VALIDATED}, /* no memory for the document */
        {AT_VALIDATION, WEFT_INPUT_VALIDATED},
        {AT_PAYLOAD, WEFT_INPUT_RECEIVED}, /* a copy to the device failed */
        {AT_VERIFICATION, WEFT_INPUT_RECEIVED},
        {AT_VERIFICATION, WEFT_INPUT_VERIFIED},
        {AT_WRITE, WEFT_INPUT_WRITTEN},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench b;
        bench_reach(&b, cases[i].at);
        bench_result(&b, (weft_input_type)cases[i].input, WEFT_E_DEVICE_FAILED);
        bench_assert_rolled_back(&b, cases[i].at, "DEVICE_FAILED", true, WEFT_OUTCOME_ABORTED);
    }
}

/* Results of what was cancelled, and inputs of the other end, are nobody's. */
static void test_results_that_are_not_awaited(void **state)
{
    static const bool awaited[STAGES][WEFT_INPUT_STOP + 1] = {
        [AT_VALIDATION] = {[WEFT_INPUT_VALIDATED] = true},
        [AT_VERIFICATION] = {[WEFT_INPUT_RECEIVED] = true, [WEFT_INPUT_VERIFIED] = true},
        [AT_WRITE] = {[WEFT_INPUT_WRITTEN] = true},
        [AT_UNDO] = {[WEFT_INPUT_UNDONE] = true},
    };

    (void)state;
    for (int at = AT_IDLE; at < STAGES; at++) {
        for (int type = WEFT_INPUT_VALIDATED; type <= WEFT_INPUT_STOP; type++) {
            bench b;
            bench_reach(&b, (stage)at);
            weft_worker_core before = b.core;
            bench_result(&b, (weft_input_type)type, WEFT_OK);
            assert_int_equal(b.actions.count > 0, awaited[at][type]);
            if (!awaited[at][type]) {
                assert_memory_equal(&b.core, &before, sizeof before);
            }
        }
    }
}

static void test_compose_hello(void **state)
{
    weft_action action = {.type = WEFT_ACTION_SEND, .message = WEFT_MESSAGE_HELLO};
    weft_message hello;
    bench b;

    (void)state;
    bench_reach(&b, AT_DECISION);
    bench_lose(&b, 0, WEFT_E_LINK_CLOSED);
    bench_result(&b, WEFT_INPUT_UNDONE, WEFT_OK);
    weft_worker_compose(&b.core, &action, &hello);
    assert_int_equal(hello.type, WEFT_MESSAGE_HELLO);
    assert_int_equal(hello.epoch, 0);
    assert_int_equal(hello.protocol, WEFT_PROTOCOL_VERSION);
    assert_int_equal(hello.condition, WEFT_INTACT);
    assert_int_equal(hello.outcome, WEFT_OUTCOME_UNCONFIRMED);
    assert_int_equal(hello.version, VERSION);
    assert_int_equal(hello.digest, DIGEST);
    assert_int_equal(hello.last_epoch, EPOCH);
    assert_int_equal(hello.tail, 0);
}

/* What neither an engine nor a peer gives, but a wrong one might. */
static void test_what_is_no_input(void **state)
{
    (void)state;
    for (int at = AT_IDLE; at < STAGES; at++) {
        bench b;
        bench_reach(&b, (stage)at);
        weft_worker_core before = b.core;
        bench_step(&b, (weft_input){.type = WEFT_INPUT_STOP + 1});
        assert_int_equal(b.actions.count, 0);
        assert_memory_equal(&b.core, &before, sizeof before);
    }
}

static void test_a_message_of_no_type(void **state)
{
    bench b;

    (void)state;
    assert_false(weft_message_known(0));
    bench_reach(&b, AT_PAYLOAD);
    bench_hear(&b, bench_plain((weft_message_type)0));
    bench_assert_did(&b, "->failed cancel ->idle release FAILED(UNEXPECTED_MESSAGE):0 "
                         "failed(UNEXPECTED_MESSAGE)");
}

/* An idle worker has no owner: the number that stands for none names no link either. */
static void test_no_link_is_lost_while_idle(void **state)
{
    bench b;

    (void)state;
    bench_begin(&b);
    weft_worker_core before = b.core;
    bench_lose(&b, WEFT_LINK_NONE, WEFT_E_LINK_CLOSED);
    assert_int_equal(b.actions.count, 0);
    assert_memory_equal(&b.core, &before, sizeof before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_that_do_not_continue),
        cmocka_unit_test(test_a_piece_over_the_end),
        cmocka_unit_test(test_an_empty_payload_is_one_empty_piece),
        cmocka_unit_test(test_limits_of_an_update),
        cmocka_unit_test(test_deadline_at_every_stage),
        cmocka_unit_test(test_an_undo_that_does_not_end),
        cmocka_unit_test(test_an_undo_that_fails),
        cmocka_unit_test(test_link_loss_at_every_stage),
        cmocka_unit_test(test_link_loss_during_the_undo),
        cmocka_unit_test(test_failing_results),
        cmocka_unit_test(test_results_that_are_not_awaited),
        cmocka_unit_test(test_compose_hello),
        cmocka_unit_test(test_what_is_no_input),
        cmocka_unit_test(test_a_message_of_no_type),
        cmocka_unit_test(test_no_link_is_lost_while_idle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
