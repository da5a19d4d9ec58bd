#include "worker_bench.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void bench_begin(bench *b)
{
    memset(b, 0, sizeof *b);
    weft_worker_core_init(&b->core, ELEMENTS, VERSION, DIGEST, TIMEOUT_MS);
    b->now_ns = 50 * MS;
}

void bench_step(bench *b, weft_input input)
{
    input.now_ns = b->now_ns;
    weft_worker_step(&b->core, &input, &b->actions);
}

void bench_assert_did(const bench *b, const char *expected)
{
    char text[1024];

    test_actions_text(&b->actions, text, sizeof text);
    assert_string_equal(text, expected);
}

void bench_hear_from(bench *b, uint32_t link, weft_message message)
{
    bench_step(b, (weft_input){.type = WEFT_INPUT_MESSAGE, .link = link, .message = message});
}

void bench_hear(bench *b, weft_message message)
{
    message.epoch = EPOCH;
    bench_hear_from(b, 0, message);
}

void bench_result(bench *b, weft_input_type type, weft_status status)
{
    bench_step(b, (weft_input){.type = (uint8_t)type, .status = status});
}

void bench_verified(bench *b, uint64_t digest, uint64_t changed)
{
    bench_step(b, (weft_input){.type = WEFT_INPUT_VERIFIED, .digest = digest, .changed = changed});
}

void bench_lose(bench *b, uint32_t link, weft_status status)
{
    bench_step(b, (weft_input){.type = WEFT_INPUT_LINK_LOST, .link = link, .status = status});
}

void bench_pass(bench *b, uint64_t ns)
{
    b->now_ns += ns;
    bench_step(b, (weft_input){.type = WEFT_INPUT_TIME});
}

weft_message bench_start_of(weft_kind kind, uint32_t updates)
{
    return (weft_message){.type = WEFT_MESSAGE_START,
                          .epoch = EPOCH,
                          .kind = (uint8_t)kind,
                          .transport = 1,
                          .base_version = VERSION,
                          .base_digest = DIGEST,
                          .target_version = VERSION + 1,
                          .target_digest = TARGET,
                          .updates = updates,
                          .timeout_ms = 400};
}

weft_message bench_update_of(uint32_t number)
{
    return (weft_message){.type = WEFT_MESSAGE_UPDATE,
                          .epoch = EPOCH,
                          .update = number,
                          .document_bytes = 30,
                          .payload_bytes = 80,
                          .payload_digest = 7};
}

weft_message bench_piece_of(weft_message_type type, uint32_t number, uint64_t offset, uint32_t tail)
{
    return (weft_message){
        .type = (uint8_t)type, .epoch = EPOCH, .update = number, .offset = offset, .tail = tail};
}

weft_message bench_plain(weft_message_type type)
{
    return (weft_message){.type = (uint8_t)type, .epoch = EPOCH};
}

weft_message bench_composed(const bench *b, uint32_t action)
{
    weft_message message;

    memset(&message, 0xa5, sizeof message);
    weft_worker_compose(&b->core, &b->actions.list[action], &message);
    return message;
}

void bench_assert_idle(const bench *b)
{
    assert_int_equal(weft_session_state(&b->core.machine), WEFT_IDLE);
    assert_int_equal(b->core.awaits, WEFT_AWAITS_NOTHING);
    assert_int_equal(b->core.owner, WEFT_LINK_NONE);
    assert_int_equal(b->core.epoch, 0);
    assert_int_equal(b->core.deadline_ns, 0);
    assert_false(b->core.paused);
}

void bench_assert_holds(const bench *b, weft_condition condition, uint64_t version, uint64_t digest,
                        weft_outcome outcome)
{
    assert_int_equal(b->core.condition, condition);
    assert_int_equal(b->core.version, version);
    assert_int_equal(b->core.digest, digest);
    assert_int_equal(b->core.last_outcome, outcome);
}

static const uint8_t awaits_at[STAGES] = {
    WEFT_AWAITS_NOTHING,  WEFT_AWAITS_UPDATE,       WEFT_AWAITS_DOCUMENT, WEFT_AWAITS_VALIDATION,
    WEFT_AWAITS_PAYLOAD,  WEFT_AWAITS_VERIFICATION, WEFT_AWAITS_UPDATE,   WEFT_AWAITS_WRITE,
    WEFT_AWAITS_DECISION, WEFT_AWAITS_UNDO,
};

const weft_state bench_state_at[STAGES] = {
    WEFT_IDLE,      WEFT_STARTED,   WEFT_STARTED,  WEFT_STARTED,  WEFT_RECEIVING,
    WEFT_RECEIVING, WEFT_RECEIVING, WEFT_APPLYING, WEFT_FINISHED, WEFT_FAILED,
};

/* The step that leads from the stage before to this one, in a sparse session of one update. */
void bench_enter(bench *b, stage to)
{
    switch (to) {
    case AT_IDLE:
        bench_begin(b);
        break;
    case AT_STARTED:
        bench_hear(b, bench_start_of(WEFT_SPARSE, 1));
        break;
    case AT_DOCUMENT:
        bench_hear(b, bench_update_of(0));
        break;
    case AT_VALIDATION:
        bench_hear(b, bench_piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 30));
        break;
    case AT_PAYLOAD:
        bench_result(b, WEFT_INPUT_VALIDATED, WEFT_OK);
        break;
    case AT_VERIFICATION:
        bench_hear(b, bench_piece_of(WEFT_MESSAGE_PAYLOAD, 0, 0, 80));
        break;
    case AT_STAGED:
        bench_result(b, WEFT_INPUT_RECEIVED, WEFT_OK);
        bench_verified(b, TARGET - DIGEST, 3);
        break;
    case AT_WRITE:
        bench_hear(b, bench_plain(WEFT_MESSAGE_APPLY));
        break;
    case AT_DECISION:
        bench_result(b, WEFT_INPUT_WRITTEN, WEFT_OK);
        break;
    case AT_UNDO:
        bench_hear(b, bench_plain(WEFT_MESSAGE_ABORT));
        break;
    case STAGES:
        break;
    }
}

void bench_reach(bench *b, stage to)
{
    for (int at = AT_IDLE; at <= (int)to; at++) {
        bench_enter(b, (stage)at);
    }
    assert_int_equal(b->core.awaits, awaits_at[to]);
    assert_int_equal(weft_session_state(&b->core.machine), bench_state_at[to]);
}

/* After a fault at this stage: home, and it was said to link 0 if it is still there. */
void bench_assert_rolled_back(bench *b, stage at, const char *code, bool told, weft_outcome outcome)
{
    char expected[256];
    bool written = at == AT_WRITE || at == AT_DECISION;

    if (written) {
        bench_assert_did(b, "->failed cancel undo");
        assert_int_equal(b->core.awaits, WEFT_AWAITS_UNDO);
        bench_result(b, WEFT_INPUT_UNDONE, WEFT_OK);
    }
    (void)snprintf(expected, sizeof expected, "%s%srelease %s%s%s%sfailed(%s)",
                   written ? "->idle " : "->failed cancel ->idle ", written ? "resume " : "",
                   told ? "FAILED(" : "", told ? code : "", told ? ")" : "", told ? ":0 " : "",
                   code);
    bench_assert_did(b, expected);
    bench_assert_idle(b);
    bench_assert_holds(b, WEFT_INTACT, VERSION, DIGEST, outcome);
    assert_int_equal(b->core.last_epoch, EPOCH);
}

weft_message bench_any_message(uint8_t type)
{
    weft_message message = {.type = type, .epoch = EPOCH};

    if (type == WEFT_MESSAGE_START) {
        return bench_start_of(WEFT_SPARSE, 1);
    }
    if (type == WEFT_MESSAGE_UPDATE) {
        return bench_update_of(0);
    }
    if (type == WEFT_MESSAGE_DOCUMENT || type == WEFT_MESSAGE_PAYLOAD) {
        return bench_piece_of((weft_message_type)type, 0, 0, 1);
    }
    return message;
}
