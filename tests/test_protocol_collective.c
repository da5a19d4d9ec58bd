/* Both halves of the protocol where the payload moves by a collective: nobody enters it before all
 * are ready, and nobody is idle before it is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trainer_bench.h"

#define VERSION 9u
#define DIGEST  UINT64_C(0xd9)
#define UPDATES 2u

typedef struct worker {
    weft_worker_core core;
    weft_actions actions;
    uint64_t now_ns;
} worker;

static void step(worker *w, weft_input input)
{
    input.now_ns = w->now_ns;
    weft_worker_step(&w->core, &input, &w->actions);
}

static void hear(worker *w, weft_message message)
{
    message.epoch = message.epoch == 0 ? 1 : message.epoch;
    step(w, (weft_input){.type = WEFT_INPUT_MESSAGE, .message = message});
}

static void result(worker *w, weft_input_type type, weft_status status)
{
    step(w, (weft_input){.type = (uint8_t)type, .status = status, .digest = 1, .changed = 1});
}

static void assert_did(const weft_actions *actions, const char *expected)
{
    char text[512];
    test_actions_text(actions, text, sizeof text);
    assert_string_equal(text, expected);
}

static weft_message start_of(weft_kind kind)
{
    return (weft_message){.type = WEFT_MESSAGE_START,
                          .kind = (uint8_t)kind,
                          .transport = WEFT_TRANSPORT_NCCL,
                          .target_version = VERSION,
                          .target_digest = UPDATES,
                          .updates = UPDATES,
                          .timeout_ms = 100};
}

static const weft_message GO = {.type = WEFT_MESSAGE_PAYLOAD};

/* Ready for the payload of its first update. */
static worker ready(weft_kind kind, bool streamed)
{
    worker w = {.now_ns = MS};
    weft_worker_core_init(&w.core, UPDATES, 0, 0, 1000);
    hear(&w, start_of(kind));
    assert_did(&w.actions, "->started STARTED:0");
    hear(&w, (weft_message){.type = WEFT_MESSAGE_UPDATE, .document_bytes = 3, .payload_bytes = 8});
    hear(&w, (weft_message){.type = WEFT_MESSAGE_DOCUMENT, .tail = 3});
    step(&w, (weft_input){.type = WEFT_INPUT_VALIDATED, .streamed = streamed});
    assert_int_equal(w.core.awaits, WEFT_AWAITS_PAYLOAD);
    return w;
}

static worker transferring(weft_kind kind, bool streamed)
{
    worker w = ready(kind, streamed);
    hear(&w, GO);
    assert_did(&w.actions, "transfer");
    assert_int_equal(w.core.awaits, WEFT_AWAITS_TRANSFER);
    return w;
}

static void assert_idle(const worker *w, weft_condition condition)
{
    assert_int_equal(w->core.machine.state, WEFT_IDLE);
    assert_int_equal(w->core.awaits, WEFT_AWAITS_NOTHING);
    assert_int_equal(w->core.transport, 0);
    assert_int_equal(w->core.condition, condition);
}

static void test_a_worker_commits(void **state)
{
    worker w = transferring(WEFT_SPARSE, false);
    (void)state;
    result(&w, WEFT_INPUT_RECEIVED, WEFT_OK);
    assert_did(&w.actions, "verify");
    result(&w, WEFT_INPUT_VERIFIED, WEFT_OK);
    assert_did(&w.actions, "STAGED:0");
    hear(&w, (weft_message){.type = WEFT_MESSAGE_UPDATE, .update = 1, .document_bytes = 3});
    hear(&w, (weft_message){.type = WEFT_MESSAGE_DOCUMENT, .update = 1, .tail = 3});
    result(&w, WEFT_INPUT_VALIDATED, WEFT_OK);
    hear(&w, (weft_message){.type = WEFT_MESSAGE_PAYLOAD, .update = 1}); /* of no byte */
    assert_did(&w.actions, "transfer");
    result(&w, WEFT_INPUT_RECEIVED, WEFT_OK);
    result(&w, WEFT_INPUT_VERIFIED, WEFT_OK);
    hear(&w, (weft_message){.type = WEFT_MESSAGE_APPLY});
    result(&w, WEFT_INPUT_WRITTEN, WEFT_OK);
    hear(&w, (weft_message){.type = WEFT_MESSAGE_COMMIT});
    assert_idle(&w, WEFT_INTACT);
    assert_int_equal(w.core.version, VERSION);
}

/* The collective runs on other ranks too, and memory is its own until it is left: so whatever the
 * fault is, idle comes after UNDONE. */
static void test_nobody_is_idle_before_the_collective_is_left(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        worker w = transferring(WEFT_SPARSE, false);
        const char *answer = "->idle release ABORTED:0 failed(ABORTED)";
        if (i == 0) {
            hear(&w, (weft_message){.type = WEFT_MESSAGE_ABORT, .code = WEFT_E_ABORTED});
        } else if (i == 1) {
            step(&w, (weft_input){.type = WEFT_INPUT_LINK_LOST, .status = WEFT_E_LINK_CLOSED});
            answer = "->idle release failed(LINK_CLOSED)";
        } else if (i == 2) {
            w.now_ns += 100 * MS;
            step(&w, (weft_input){.type = WEFT_INPUT_TIME});
            answer = "->idle release FAILED(DEADLINE):0 failed(DEADLINE)";
        } else if (i == 3) {
            result(&w, WEFT_INPUT_RECEIVED, WEFT_E_COLLECTIVE);
            answer = "->idle release FAILED(COLLECTIVE):0 failed(COLLECTIVE)";
        } else {
            hear(&w, GO);
            answer = "->idle release FAILED(UNEXPECTED_MESSAGE):0 failed(UNEXPECTED_MESSAGE)";
        }
        assert_did(&w.actions, "->failed cancel undo");
        result(&w, WEFT_INPUT_RECEIVED, WEFT_OK); /* too late */
        assert_did(&w.actions, "");
        result(&w, WEFT_INPUT_UNDONE, WEFT_OK);
        assert_did(&w.actions, answer);
        assert_idle(&w, WEFT_INTACT);
    }
}

/* It cannot be left: what is staged may be written to for ever, so this process is done. */
static void test_a_collective_that_cannot_be_left(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        worker w = transferring(WEFT_SPARSE, false);
        hear(&w, (weft_message){.type = WEFT_MESSAGE_ABORT, .code = WEFT_E_ABORTED});
        if (i == 0) {
            w.now_ns += 100 * MS;
            step(&w, (weft_input){.type = WEFT_INPUT_TIME});
        } else {
            result(&w, WEFT_INPUT_UNDONE, WEFT_E_DEVICE_FAILED);
        }
        assert_idle(&w, WEFT_LOST);
    }
}

static void test_a_streamed_baseline_stays_torn(void **state)
{
    worker w = transferring(WEFT_BASELINE, true);
    (void)state;
    hear(&w, (weft_message){.type = WEFT_MESSAGE_ABORT, .code = WEFT_E_ABORTED});
    assert_did(&w.actions, "->failed cancel undo");
    result(&w, WEFT_INPUT_UNDONE, WEFT_OK);
    assert_did(&w.actions, "->idle resume release ABORTED:0 failed(ABORTED)");
    assert_idle(&w, WEFT_TORN);
}

static void test_go_brings_no_byte(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        worker w = ready(WEFT_SPARSE, false);
        hear(&w, (weft_message){.type = WEFT_MESSAGE_PAYLOAD, .tail = i, .offset = 1 - i});
        assert_did(
            &w.actions,
            "->failed cancel ->idle release FAILED(PAYLOAD_OFFSET):0 failed(PAYLOAD_OFFSET)");
    }
}

/* What the engine found about START's group. */
static void test_a_group_that_cannot_be_joined(void **state)
{
    worker w = {.now_ns = MS};
    weft_message start = start_of(WEFT_SPARSE);
    (void)state;
    weft_worker_core_init(&w.core, UPDATES, 0, 0, 1000);
    start.epoch = 1;
    step(&w,
         (weft_input){.type = WEFT_INPUT_MESSAGE, .status = WEFT_E_TRANSPORT, .message = start});
    assert_did(&w.actions, "FAILED(TRANSPORT):0");
    assert_int_equal(w.core.last_epoch, 0);
}

/* ---- trainer ---- */

static bench pushed(uint32_t workers)
{
    bench b;
    trainer_bench_begin(&b, workers);
    trainer_bench_step(&b, (weft_input){.type = WEFT_INPUT_PUSH,
                                        .message = {.kind = WEFT_SPARSE,
                                                    .transport = WEFT_TRANSPORT_NCCL,
                                                    .target_version = VERSION,
                                                    .target_digest = DIGEST,
                                                    .updates = 1,
                                                    .timeout_ms = 100}});
    return b;
}

static void answer(bench *b, uint32_t link, weft_message_type type)
{
    trainer_bench_hear(
        b, link, (weft_message){.type = (uint8_t)type, .epoch = b->core.epoch, .digest = DIGEST});
}

static bench moving(uint32_t workers)
{
    bench b = pushed(workers);
    for (uint32_t link = 0; link < workers; link++) {
        answer(&b, link, WEFT_MESSAGE_STARTED);
    }
    for (uint32_t link = 0; link < workers; link++) {
        assert_int_equal(b.core.phase, WEFT_PHASE_PREPARE);
        answer(&b, link, WEFT_MESSAGE_READY);
    }
    assert_did(&b.actions, "PAYLOAD:all transfer");
    return b;
}

static void test_a_push_says_go_when_all_are_ready(void **state)
{
    bench b = moving(3);
    weft_message start, go;
    (void)state;
    weft_trainer_compose(&b.core, &b.actions.list[0], &go);
    assert_int_equal(go.type, WEFT_MESSAGE_PAYLOAD);
    assert_int_equal(go.tail, 0);
    assert_int_equal(go.offset, 0);
    weft_trainer_compose(
        &b.core, &(weft_action){.type = WEFT_ACTION_SEND, .message = WEFT_MESSAGE_START}, &start);
    assert_int_equal(start.transport, WEFT_TRANSPORT_NCCL);
    for (uint32_t link = 0; link < 3; link++) {
        answer(&b, link, WEFT_MESSAGE_STAGED);
    }
    assert_did(&b.actions, "->applying APPLY:all");
}

/* Its own part fails, a worker fails, one is silent: each time the trainer leaves the collective
 * too.
 */
static void test_a_failing_transfer_is_left(void **state)
{
    bench b = moving(2);
    (void)state;
    trainer_bench_step(&b, (weft_input){.type = WEFT_INPUT_STOP, .status = WEFT_E_COLLECTIVE});
    assert_did(&b.actions, "->failed cancel ABORT(COLLECTIVE):all");
    b = moving(2);
    answer(&b, 0, WEFT_MESSAGE_STAGED);
    answer(&b, 1, WEFT_MESSAGE_FAILED);
    assert_did(&b.actions, "->failed cancel ABORT(PEER_FAILED):all");
    b = moving(2);
    b.now_ns = b.core.deadline_ns;
    trainer_bench_step(&b, (weft_input){.type = WEFT_INPUT_TIME});
    assert_did(&b.actions, "->failed cancel ABORT(DEADLINE):all");
    answer(&b, 0, WEFT_MESSAGE_ABORTED);
    answer(&b, 1, WEFT_MESSAGE_ABORTED);
    assert_int_equal(b.core.machine.state, WEFT_IDLE);
}

/* Before and after it there is nothing to leave, and the communicator may stay. */
static void test_no_cancel_outside_of_it(void **state)
{
    bench b = pushed(2);
    (void)state;
    answer(&b, 0, WEFT_MESSAGE_FAILED);
    assert_did(&b.actions, "->failed ABORT(PEER_FAILED):all");
    b = moving(2);
    answer(&b, 0, WEFT_MESSAGE_STAGED);
    answer(&b, 1, WEFT_MESSAGE_STAGED);
    answer(&b, 0, WEFT_MESSAGE_FAILED);
    assert_did(&b.actions, "->failed ABORT(PEER_FAILED):all");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_worker_commits),
        cmocka_unit_test(test_nobody_is_idle_before_the_collective_is_left),
        cmocka_unit_test(test_a_collective_that_cannot_be_left),
        cmocka_unit_test(test_a_streamed_baseline_stays_torn),
        cmocka_unit_test(test_go_brings_no_byte),
        cmocka_unit_test(test_a_group_that_cannot_be_joined),
        cmocka_unit_test(test_a_push_says_go_when_all_are_ready),
        cmocka_unit_test(test_a_failing_transfer_is_left),
        cmocka_unit_test(test_no_cancel_outside_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
