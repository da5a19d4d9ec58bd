/* A worker's half of the protocol: each way through it by hand, then long random walks with
 * everything that a peer, an engine or a clock can do, and what must hold after every step. */
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

#define MS         UINT64_C(1000000)
#define ELEMENTS   100u
#define VERSION    10u
#define DIGEST     UINT64_C(0xd1)
#define TARGET     UINT64_C(0xe2)
#define TIMEOUT_MS 1000u
#define EPOCH      5u

/* ---- a core, and what its last step did ---- */

typedef struct bench {
    weft_worker_core core;
    weft_actions actions;
    uint64_t now_ns;
} bench;

static void begin(bench *b)
{
    memset(b, 0, sizeof *b);
    weft_worker_core_init(&b->core, ELEMENTS, VERSION, DIGEST, TIMEOUT_MS);
    b->now_ns = 50 * MS;
}

static void step(bench *b, weft_input input)
{
    input.now_ns = b->now_ns;
    weft_worker_step(&b->core, &input, &b->actions);
}

static void assert_did(const bench *b, const char *expected)
{
    char text[1024];

    test_actions_text(&b->actions, text, sizeof text);
    assert_string_equal(text, expected);
}

static void hear_from(bench *b, uint32_t link, weft_message message)
{
    step(b, (weft_input){.type = WEFT_INPUT_MESSAGE, .link = link, .message = message});
}

static void hear(bench *b, weft_message message)
{
    message.epoch = EPOCH;
    hear_from(b, 0, message);
}

static void result(bench *b, weft_input_type type, weft_status status)
{
    step(b, (weft_input){.type = (uint8_t)type, .status = status});
}

static void verified(bench *b, uint64_t digest, uint64_t changed)
{
    step(b, (weft_input){.type = WEFT_INPUT_VERIFIED, .digest = digest, .changed = changed});
}

static void lose(bench *b, uint32_t link, weft_status status)
{
    step(b, (weft_input){.type = WEFT_INPUT_LINK_LOST, .link = link, .status = status});
}

static void pass(bench *b, uint64_t ns)
{
    b->now_ns += ns;
    step(b, (weft_input){.type = WEFT_INPUT_TIME});
}

static weft_message start_of(weft_kind kind, uint32_t updates)
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

static weft_message update_of(uint32_t number)
{
    return (weft_message){.type = WEFT_MESSAGE_UPDATE,
                          .epoch = EPOCH,
                          .update = number,
                          .document_bytes = 30,
                          .payload_bytes = 80,
                          .payload_digest = 7};
}

static weft_message piece_of(weft_message_type type, uint32_t number, uint64_t offset,
                             uint32_t tail)
{
    return (weft_message){
        .type = (uint8_t)type, .epoch = EPOCH, .update = number, .offset = offset, .tail = tail};
}

static weft_message plain(weft_message_type type)
{
    return (weft_message){.type = (uint8_t)type, .epoch = EPOCH};
}

static weft_message composed(const bench *b, uint32_t action)
{
    weft_message message;

    memset(&message, 0xa5, sizeof message);
    weft_worker_compose(&b->core, &b->actions.list[action], &message);
    return message;
}

static void assert_idle(const bench *b)
{
    assert_int_equal(weft_session_state(&b->core.machine), WEFT_IDLE);
    assert_int_equal(b->core.awaits, WEFT_AWAITS_NOTHING);
    assert_int_equal(b->core.owner, WEFT_LINK_NONE);
    assert_int_equal(b->core.epoch, 0);
    assert_int_equal(b->core.deadline_ns, 0);
    assert_false(b->core.paused);
}

static void assert_holds(const bench *b, weft_condition condition, uint64_t version,
                         uint64_t digest, weft_outcome outcome)
{
    assert_int_equal(b->core.condition, condition);
    assert_int_equal(b->core.version, version);
    assert_int_equal(b->core.digest, digest);
    assert_int_equal(b->core.last_outcome, outcome);
}

/* ---- every place in a session ---- */

typedef enum stage {
    AT_IDLE,
    AT_STARTED,
    AT_DOCUMENT,
    AT_VALIDATION,
    AT_PAYLOAD,
    AT_VERIFICATION,
    AT_STAGED,
    AT_WRITE,
    AT_DECISION,
    AT_UNDO,
    STAGES
} stage;

static const uint8_t awaits_at[STAGES] = {
    WEFT_AWAITS_NOTHING,  WEFT_AWAITS_UPDATE,       WEFT_AWAITS_DOCUMENT, WEFT_AWAITS_VALIDATION,
    WEFT_AWAITS_PAYLOAD,  WEFT_AWAITS_VERIFICATION, WEFT_AWAITS_UPDATE,   WEFT_AWAITS_WRITE,
    WEFT_AWAITS_DECISION, WEFT_AWAITS_UNDO,
};

static const weft_state state_at[STAGES] = {
    WEFT_IDLE,      WEFT_STARTED,   WEFT_STARTED,  WEFT_STARTED,  WEFT_RECEIVING,
    WEFT_RECEIVING, WEFT_RECEIVING, WEFT_APPLYING, WEFT_FINISHED, WEFT_FAILED,
};

/* The step that leads from the stage before to this one, in a sparse session of one update. */
static void enter(bench *b, stage to)
{
    switch (to) {
    case AT_IDLE:
        begin(b);
        break;
    case AT_STARTED:
        hear(b, start_of(WEFT_SPARSE, 1));
        break;
    case AT_DOCUMENT:
        hear(b, update_of(0));
        break;
    case AT_VALIDATION:
        hear(b, piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 30));
        break;
    case AT_PAYLOAD:
        result(b, WEFT_INPUT_VALIDATED, WEFT_OK);
        break;
    case AT_VERIFICATION:
        hear(b, piece_of(WEFT_MESSAGE_PAYLOAD, 0, 0, 80));
        break;
    case AT_STAGED:
        result(b, WEFT_INPUT_RECEIVED, WEFT_OK);
        verified(b, TARGET - DIGEST, 3);
        break;
    case AT_WRITE:
        hear(b, plain(WEFT_MESSAGE_APPLY));
        break;
    case AT_DECISION:
        result(b, WEFT_INPUT_WRITTEN, WEFT_OK);
        break;
    case AT_UNDO:
        hear(b, plain(WEFT_MESSAGE_ABORT));
        break;
    case STAGES:
        break;
    }
}

static void reach(bench *b, stage to)
{
    for (int at = AT_IDLE; at <= (int)to; at++) {
        enter(b, (stage)at);
    }
    assert_int_equal(b->core.awaits, awaits_at[to]);
    assert_int_equal(weft_session_state(&b->core.machine), state_at[to]);
}

/* ---- the way forward ---- */

static void test_sparse_session_of_one_update(void **state)
{
    bench b;

    (void)state;
    begin(&b);
    enter(&b, AT_STARTED);
    assert_did(&b, "->started STARTED:0");
    assert_int_equal(b.core.deadline_ns, b.now_ns + 400 * MS);
    assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_UNDECIDED);
    enter(&b, AT_DOCUMENT);
    assert_did(&b, "open");
    hear(&b, piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 10));
    assert_did(&b, "take");
    hear(&b, piece_of(WEFT_MESSAGE_DOCUMENT, 0, 10, 20));
    assert_did(&b, "take");
    assert_int_equal(b.core.awaits, WEFT_AWAITS_VALIDATION);
    pass(&b, 100 * MS);
    result(&b, WEFT_INPUT_VALIDATED, WEFT_OK);
    assert_did(&b, "->receiving READY:0");
    assert_int_equal(b.core.deadline_ns, b.now_ns + 400 * MS); /* counted anew */
    assert_int_equal(composed(&b, 1).update, 0);
    hear(&b, piece_of(WEFT_MESSAGE_PAYLOAD, 0, 0, 79));
    assert_did(&b, "take");
    hear(&b, piece_of(WEFT_MESSAGE_PAYLOAD, 0, 79, 1));
    assert_did(&b, "take");
    result(&b, WEFT_INPUT_RECEIVED, WEFT_OK);
    assert_did(&b, "verify");
    verified(&b, TARGET - DIGEST, 3);
    assert_did(&b, "STAGED:0");
    assert_int_equal(composed(&b, 0).update, 0);
    assert_int_equal(composed(&b, 0).changed, 3);
    enter(&b, AT_WRITE);
    assert_did(&b, "->applying pause put");
    assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_UNDECIDED);
    enter(&b, AT_DECISION);
    assert_did(&b, "->finished APPLIED:0");
    assert_int_equal(composed(&b, 1).digest, TARGET);
    assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_UNDECIDED);
    hear(&b, plain(WEFT_MESSAGE_COMMIT));
    assert_did(&b, "->idle committed resume release COMMITTED:0");
    assert_int_equal(composed(&b, 4).version, VERSION + 1);
    assert_int_equal(composed(&b, 4).digest, TARGET);
    assert_int_equal(composed(&b, 4).epoch, EPOCH);
    assert_holds(&b, WEFT_INTACT, VERSION + 1, TARGET, WEFT_OUTCOME_COMMITTED);
    assert_int_equal(b.core.last_epoch, EPOCH);
    assert_idle(&b);
}

/* One update of a session of several; `digest` and `changed` are what VERIFIED tells. */
static void whole_update(bench *b, uint32_t number, bool streamed, uint64_t digest,
                         uint64_t changed)
{
    hear(b, update_of(number));
    hear(b, piece_of(WEFT_MESSAGE_DOCUMENT, number, 0, 30));
    step(b, (weft_input){.type = WEFT_INPUT_VALIDATED, .streamed = streamed});
    hear(b, piece_of(WEFT_MESSAGE_PAYLOAD, number, 0, 80));
    result(b, WEFT_INPUT_RECEIVED, WEFT_OK);
    verified(b, digest, changed);
}

static void test_session_of_several_updates(void **state)
{
    bench b;

    (void)state;
    begin(&b);
    hear(&b, start_of(WEFT_SPARSE, 3));
    for (uint32_t i = 0; i < 3; i++) {
        whole_update(&b, i, false, i == 2 ? TARGET - DIGEST - 2 : 1, 4);
        assert_did(&b, "STAGED:0");
        assert_int_equal(composed(&b, 0).update, i);
        assert_int_equal(composed(&b, 0).changed, 4 * (i + 1));
        assert_int_equal(b.core.awaits, WEFT_AWAITS_UPDATE);
    }
    hear(&b, plain(WEFT_MESSAGE_APPLY));
    assert_did(&b, "->applying pause put");
}

static void test_baseline_staged_whole(void **state)
{
    weft_message start = start_of(WEFT_BASELINE, 2);
    bench b;

    (void)state;
    begin(&b);
    start.base_version = start.base_digest = 0; /* needs no base */
    hear(&b, start);
    assert_did(&b, "->started STARTED:0");
    whole_update(&b, 0, false, 1, ELEMENTS - 1);
    assert_did(&b, "STAGED:0");
    whole_update(&b, 1, false, TARGET - 1, 1);
    assert_did(&b, "STAGED:0");
    assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_UNDECIDED);
    hear(&b, plain(WEFT_MESSAGE_APPLY));
    assert_did(&b, "->applying pause put");
    hear(&b, plain(WEFT_MESSAGE_ABORT)); /* and can be undone */
    assert_did(&b, "->failed cancel undo");
    result(&b, WEFT_INPUT_UNDONE, WEFT_OK);
    assert_did(&b, "->idle resume release ABORTED:0 failed(ABORTED)");
    assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_ABORTED);
}

static void test_baseline_streamed(void **state)
{
    bench b;

    (void)state;
    begin(&b);
    hear(&b, start_of(WEFT_BASELINE, 2));
    hear(&b, update_of(0));
    hear(&b, piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 30));
    step(&b, (weft_input){.type = WEFT_INPUT_VALIDATED, .streamed = true});
    assert_did(&b, "->receiving pause READY:0");
    assert_holds(&b, WEFT_TORN, 0, 0, WEFT_OUTCOME_UNDECIDED);
    hear(&b, piece_of(WEFT_MESSAGE_PAYLOAD, 0, 0, 80));
    result(&b, WEFT_INPUT_RECEIVED, WEFT_OK);
    verified(&b, 1, ELEMENTS - 1);
    whole_update(&b, 1, true, TARGET - 1, 1);
    assert_did(&b, "STAGED:0");
    hear(&b, plain(WEFT_MESSAGE_APPLY)); /* nothing is left to be written */
    assert_did(&b, "->applying ->finished APPLIED:0");
    assert_holds(&b, WEFT_TORN, 0, 0, WEFT_OUTCOME_UNDECIDED);
    hear(&b, plain(WEFT_MESSAGE_COMMIT));
    assert_did(&b, "->idle committed resume release COMMITTED:0");
    assert_holds(&b, WEFT_INTACT, VERSION + 1, TARGET, WEFT_OUTCOME_COMMITTED);
    assert_idle(&b);
}

/* What was streamed cannot be undone: torn, until a baseline is complete. */
static void test_torn_is_mended_by_a_baseline_only(void **state)
{
    weft_message start = start_of(WEFT_SPARSE, 1);
    bench b;

    (void)state;
    begin(&b);
    hear(&b, start_of(WEFT_BASELINE, 1));
    hear(&b, update_of(0));
    hear(&b, piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 30));
    step(&b, (weft_input){.type = WEFT_INPUT_VALIDATED, .streamed = true});
    lose(&b, 0, WEFT_E_LINK_CLOSED);
    assert_did(&b, "->failed cancel ->idle resume release failed(LINK_CLOSED)");
    assert_holds(&b, WEFT_TORN, 0, 0, WEFT_OUTCOME_ABORTED);
    start.epoch = EPOCH + 1;
    hear_from(&b, 0, start);
    assert_did(&b, "FAILED(TORN):0");
    assert_int_equal(composed(&b, 0).condition, WEFT_TORN);
    start.kind = WEFT_BASELINE;
    hear_from(&b, 0, start);
    assert_did(&b, "->started STARTED:0");
}

static void test_content_that_is_not_the_announced_one(void **state)
{
    bench b;

    (void)state;
    reach(&b, AT_VERIFICATION);
    result(&b, WEFT_INPUT_RECEIVED, WEFT_OK);
    verified(&b, TARGET - DIGEST + 1, 3);
    assert_did(&b, "->failed cancel ->idle release FAILED(DIGEST_MISMATCH):0 "
                   "failed(DIGEST_MISMATCH)");
    assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_ABORTED);
    begin(&b);
    hear(&b, start_of(WEFT_BASELINE, 1));
    whole_update(&b, 0, false, TARGET, ELEMENTS - 1);
    assert_did(&b, "->failed cancel ->idle release FAILED(BASELINE_INCOMPLETE):0 "
                   "failed(BASELINE_INCOMPLETE)");
    begin(&b);
    hear(&b, start_of(WEFT_BASELINE, 1));
    whole_update(&b, 0, true, TARGET, ELEMENTS + 1);
    assert_did(&b, "->failed cancel ->idle resume release FAILED(BASELINE_INCOMPLETE):0 "
                   "failed(BASELINE_INCOMPLETE)");
    assert_holds(&b, WEFT_TORN, 0, 0, WEFT_OUTCOME_ABORTED);
}

/* A control plane of the process's own: no count of updates, no announced digest. */
static void test_local_session(void **state)
{
    weft_message start = start_of(WEFT_SPARSE, 0);
    bench b;

    (void)state;
    begin(&b);
    start.target_digest = 0;
    start.timeout_ms = 0;
    step(&b, (weft_input){.type = WEFT_INPUT_MESSAGE,
                          .link = WEFT_LINK_LOCAL,
                          .unannounced = true,
                          .message = start});
    assert_did(&b, "->started STARTED:local");
    assert_int_equal(b.core.deadline_ns, b.now_ns + TIMEOUT_MS * MS);
    for (uint32_t i = 0; i < 2; i++) {
        hear_from(&b, WEFT_LINK_LOCAL, update_of(i));
        hear_from(&b, WEFT_LINK_LOCAL, piece_of(WEFT_MESSAGE_DOCUMENT, i, 0, 30));
        result(&b, WEFT_INPUT_VALIDATED, WEFT_OK);
        hear_from(&b, WEFT_LINK_LOCAL, piece_of(WEFT_MESSAGE_PAYLOAD, i, 0, 80));
        result(&b, WEFT_INPUT_RECEIVED, WEFT_OK);
        verified(&b, 100, 1);
        assert_did(&b, "STAGED:local");
    }
    hear_from(&b, WEFT_LINK_LOCAL, plain(WEFT_MESSAGE_APPLY));
    result(&b, WEFT_INPUT_WRITTEN, WEFT_OK);
    hear_from(&b, WEFT_LINK_LOCAL, plain(WEFT_MESSAGE_COMMIT));
    assert_did(&b, "->idle committed resume release COMMITTED:local");
    assert_holds(&b, WEFT_INTACT, VERSION + 1, DIGEST + 200, WEFT_OUTCOME_COMMITTED);
}

/* Where the count is open, completeness and digest are looked at by APPLY. */
static void test_local_content_is_checked_before_anything_is_written(void **state)
{
    bench b;

    (void)state;
    begin(&b);
    hear_from(&b, WEFT_LINK_LOCAL, start_of(WEFT_BASELINE, 0));
    hear_from(&b, WEFT_LINK_LOCAL, plain(WEFT_MESSAGE_APPLY)); /* and not before an update */
    assert_did(&b, "->failed cancel ->idle release FAILED(UNEXPECTED_MESSAGE):local "
                   "failed(UNEXPECTED_MESSAGE)");
    begin(&b);
    hear_from(&b, WEFT_LINK_LOCAL, start_of(WEFT_SPARSE, 0));
    hear_from(&b, WEFT_LINK_LOCAL, update_of(0));
    hear_from(&b, WEFT_LINK_LOCAL, piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 30));
    result(&b, WEFT_INPUT_VALIDATED, WEFT_OK);
    hear_from(&b, WEFT_LINK_LOCAL, piece_of(WEFT_MESSAGE_PAYLOAD, 0, 0, 80));
    result(&b, WEFT_INPUT_RECEIVED, WEFT_OK);
    verified(&b, 1, 1);
    assert_did(&b, "STAGED:local");
    hear_from(&b, WEFT_LINK_LOCAL, plain(WEFT_MESSAGE_APPLY));
    assert_did(&b, "->failed cancel ->idle release FAILED(DIGEST_MISMATCH):local "
                   "failed(DIGEST_MISMATCH)");
    assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_ABORTED);
}

/* ---- START ---- */

static void assert_refused(bench *b, weft_message start, const char *expected)
{
    weft_worker_core before = b->core;

    hear_from(b, 1, start);
    assert_did(b, expected);
    assert_memory_equal(&b->core, &before, sizeof before); /* nothing changed; epoch not used up */
    assert_int_equal(composed(b, 0).epoch, start.epoch);
    assert_int_equal(composed(b, 0).version, before.version);
    assert_int_equal(composed(b, 0).digest, before.digest);
    assert_int_equal(composed(b, 0).state, before.machine.state);
}

static void test_start_is_refused(void **state)
{
    weft_message start = start_of(WEFT_SPARSE, 1);
    bench b;

    (void)state;
    begin(&b);
    b.core.last_epoch = EPOCH - 1;
    start.base_version++;
    assert_refused(&b, start, "FAILED(BASE_MISMATCH):1");
    start = start_of(WEFT_SPARSE, 1);
    start.base_digest++;
    assert_refused(&b, start, "FAILED(BASE_MISMATCH):1");
    start = start_of(WEFT_SPARSE, 0);
    start.base_digest++; /* malformed comes before the base */
    assert_refused(&b, start, "FAILED(FRAME_MALFORMED):1");
    assert_refused(&b, start_of(WEFT_BASELINE, 0), "FAILED(FRAME_MALFORMED):1");
    start = start_of(WEFT_BASELINE, 1);
    start.transport = WEFT_TRANSPORT_TCP + 1;
    assert_refused(&b, start, "FAILED(TRANSPORT):1");
    assert_refused(&b, start_of((weft_kind)0, 1), "FAILED(FRAME_MALFORMED):1");
    assert_refused(&b, start_of((weft_kind)3, 1), "FAILED(FRAME_MALFORMED):1");
    b.core.condition = WEFT_TORN;
    b.core.version = b.core.digest = 0;
    assert_refused(&b, start_of(WEFT_SPARSE, 1), "FAILED(TORN):1");
    b.core.condition = WEFT_LOST;
    assert_refused(&b, start_of(WEFT_SPARSE, 1), "FAILED(LOST):1");
    assert_refused(&b, start_of(WEFT_BASELINE, 1), "FAILED(LOST):1");
    assert_refused(&b, start_of((weft_kind)3, 1), "FAILED(LOST):1");
    b.core.last_epoch = EPOCH;
    assert_refused(&b, start_of(WEFT_BASELINE, 1), "FAILED(STALE_EPOCH):1");
    for (int at = AT_STARTED; at < STAGES; at++) { /* a second trainer */
        reach(&b, (stage)at);
        start = start_of(WEFT_BASELINE, 1);
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
        weft_message start = start_of(WEFT_SPARSE, 1);
        bench b;
        begin(&b);
        start.timeout_ms = cases[i][0];
        hear(&b, start);
        assert_int_equal(b.core.deadline_ns, b.now_ns + cases[i][1] * MS);
        pass(&b, cases[i][1] * MS - 1);
        assert_did(&b, "");
        pass(&b, 1);
        assert_did(&b, "->failed cancel ->idle release FAILED(DEADLINE):0 failed(DEADLINE)");
        assert_idle(&b);
    }
}

/* ---- messages that do not belong ---- */

/* After a fault at this stage: home, and it was said to link 0 if it is still there. */
static void assert_rolled_back(bench *b, stage at, const char *code, bool told,
                               weft_outcome outcome)
{
    char expected[256];
    bool written = at == AT_WRITE || at == AT_DECISION;

    if (written) {
        assert_did(b, "->failed cancel undo");
        assert_int_equal(b->core.awaits, WEFT_AWAITS_UNDO);
        result(b, WEFT_INPUT_UNDONE, WEFT_OK);
    }
    (void)snprintf(expected, sizeof expected, "%s%srelease %s%s%s%sfailed(%s)",
                   written ? "->idle " : "->failed cancel ->idle ", written ? "resume " : "",
                   told ? "FAILED(" : "", told ? code : "", told ? ")" : "", told ? ":0 " : "",
                   code);
    assert_did(b, expected);
    assert_idle(b);
    assert_holds(b, WEFT_INTACT, VERSION, DIGEST, outcome);
    assert_int_equal(b->core.last_epoch, EPOCH);
}

static weft_message any_message(uint8_t type)
{
    weft_message message = {.type = type, .epoch = EPOCH};

    if (type == WEFT_MESSAGE_START) {
        return start_of(WEFT_SPARSE, 1);
    }
    if (type == WEFT_MESSAGE_UPDATE) {
        return update_of(0);
    }
    if (type == WEFT_MESSAGE_DOCUMENT || type == WEFT_MESSAGE_PAYLOAD) {
        return piece_of((weft_message_type)type, 0, 0, 1);
    }
    return message;
}

static bool is_legal(stage at, uint8_t type)
{
    return type == WEFT_MESSAGE_ABORT || (at == AT_IDLE && type == WEFT_MESSAGE_START) ||
           (at == AT_STARTED && type == WEFT_MESSAGE_UPDATE) ||
           (at == AT_DOCUMENT && type == WEFT_MESSAGE_DOCUMENT) ||
           (at == AT_PAYLOAD && type == WEFT_MESSAGE_PAYLOAD) ||
           (at == AT_STAGED && type == WEFT_MESSAGE_APPLY) ||
           (at == AT_DECISION && type == WEFT_MESSAGE_COMMIT);
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
            if (is_legal((stage)at, type)) {
                continue;
            }
            tried++;
            reach(&b, (stage)at);
            weft_worker_core before = b.core;
            hear(&b, any_message(type));
            if (at == AT_IDLE) { /* no session that could fail */
                assert_did(&b, "FAILED(UNEXPECTED_MESSAGE):0");
                assert_memory_equal(&b.core, &before, sizeof before);
            } else if (at == AT_UNDO) {
                assert_did(&b, type == WEFT_MESSAGE_START ? "drop(UNEXPECTED_MESSAGE)"
                                                          : "drop(STALE_EPOCH)");
                assert_memory_equal(&b.core, &before, sizeof before);
            } else {
                assert_rolled_back(&b, (stage)at, "UNEXPECTED_MESSAGE", true, outcome);
            }
        }
    }
    assert_int_equal(tried, STAGES * 17 - STAGES - 6);
}

static void test_abort_at_every_stage(void **state)
{
    (void)state;
    for (int at = AT_STARTED; at < AT_UNDO; at++) {
        bool written = at == AT_WRITE || at == AT_DECISION;
        bench b;
        reach(&b, (stage)at);
        hear(&b, plain(WEFT_MESSAGE_ABORT));
        if (written) {
            assert_did(&b, "->failed cancel undo");
            result(&b, WEFT_INPUT_UNDONE, WEFT_OK);
        }
        assert_did(&b, written ? "->idle resume release ABORTED:0 failed(ABORTED)"
                               : "->failed cancel ->idle release ABORTED:0 failed(ABORTED)");
        /* even in finished: who says ABORT has not decided COMMIT */
        assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_ABORTED);
        assert_idle(&b);
        hear(&b, plain(WEFT_MESSAGE_ABORT)); /* again: the same answer */
        assert_did(&b, "ABORTED:0");
        assert_int_equal(composed(&b, 0).version, VERSION);
        assert_int_equal(composed(&b, 0).digest, DIGEST);
    }
}

static void test_other_links_and_epochs_do_not_touch_a_session(void **state)
{
    (void)state;
    for (int at = AT_STARTED; at < STAGES; at++) {
        for (uint8_t type = 1; type < WEFT_MESSAGE_TYPE_END; type++) {
            weft_message message = any_message(type);
            bench b;
            reach(&b, (stage)at);
            weft_worker_core before = b.core;
            if (type != WEFT_MESSAGE_START) {
                message.epoch = EPOCH - 1;
                hear_from(&b, 0, message);
                assert_did(&b, "drop(STALE_EPOCH)");
                hear_from(&b, 1, message);
                assert_did(&b, "drop(STALE_EPOCH)");
                message.epoch = EPOCH + 1;
                hear_from(&b, 0, message);
                assert_did(&b, "FAILED(BUSY):0");
            }
            message.epoch = EPOCH + 1;
            hear_from(&b, 1, message);
            assert_did(&b, "FAILED(BUSY):1");
            message.epoch = EPOCH;
            hear_from(&b, 1, message);
            assert_did(&b, "FAILED(BUSY):1");
            assert_int_equal(composed(&b, 0).state, state_at[at]);
            lose(&b, 1, WEFT_E_LINK_CLOSED);
            assert_did(&b, "");
            assert_memory_equal(&b.core, &before, sizeof before);
        }
    }
}

static void test_abort_while_idle(void **state)
{
    weft_message abort_of = plain(WEFT_MESSAGE_ABORT), start = start_of(WEFT_SPARSE, 1);
    bench b;

    (void)state;
    reach(&b, AT_DECISION);
    hear(&b, plain(WEFT_MESSAGE_COMMIT));
    hear(&b, abort_of); /* too late: it is committed, and says so */
    assert_did(&b, "COMMITTED:0");
    assert_holds(&b, WEFT_INTACT, VERSION + 1, TARGET, WEFT_OUTCOME_COMMITTED);
    abort_of.epoch = EPOCH - 1;
    hear_from(&b, 0, abort_of);
    assert_did(&b, "drop(STALE_EPOCH)");
    abort_of.epoch = EPOCH + 3; /* of a START that never arrived: over all the same */
    hear_from(&b, 0, abort_of);
    assert_did(&b, "ABORTED:0");
    assert_int_equal(composed(&b, 0).epoch, EPOCH + 3);
    assert_int_equal(b.core.last_epoch, EPOCH + 3);
    assert_holds(&b, WEFT_INTACT, VERSION + 1, TARGET, WEFT_OUTCOME_ABORTED);
    start.epoch = EPOCH + 3;
    hear_from(&b, 0, start);
    assert_did(&b, "FAILED(STALE_EPOCH):0");
    hear(&b, plain(WEFT_MESSAGE_COMMIT));
    assert_did(&b, "drop(STALE_EPOCH)");
}

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
        weft_message message = any_message((uint8_t)cases[i].type);
        bench b;
        reach(&b, cases[i].at);
        message.update = cases[i].update;
        message.offset = cases[i].offset;
        message.tail = cases[i].tail;
        hear(&b, message);
        assert_rolled_back(&b, cases[i].at, cases[i].code, true, WEFT_OUTCOME_ABORTED);
    }
}

/* Over the end, in a second piece: of the document and of the payload. */
static void test_a_piece_over_the_end(void **state)
{
    bench b;

    (void)state;
    reach(&b, AT_DOCUMENT);
    hear(&b, piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 20));
    hear(&b, piece_of(WEFT_MESSAGE_DOCUMENT, 0, 20, 11));
    assert_rolled_back(&b, AT_DOCUMENT, "PAYLOAD_OFFSET", true, WEFT_OUTCOME_ABORTED);
    reach(&b, AT_PAYLOAD);
    hear(&b, piece_of(WEFT_MESSAGE_PAYLOAD, 0, 0, 79));
    hear(&b, piece_of(WEFT_MESSAGE_PAYLOAD, 0, 79, 2));
    assert_rolled_back(&b, AT_PAYLOAD, "PAYLOAD_OFFSET", true, WEFT_OUTCOME_ABORTED);
}

static void test_an_empty_payload_is_one_empty_piece(void **state)
{
    weft_message update = update_of(0);
    bench b;

    (void)state;
    reach(&b, AT_STARTED);
    update.payload_bytes = 0;
    hear(&b, update);
    hear(&b, piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 30));
    result(&b, WEFT_INPUT_VALIDATED, WEFT_OK);
    assert_int_equal(b.core.awaits, WEFT_AWAITS_PAYLOAD);
    hear(&b, piece_of(WEFT_MESSAGE_PAYLOAD, 0, 0, 0));
    assert_did(&b, "take");
    assert_int_equal(b.core.awaits, WEFT_AWAITS_VERIFICATION);
}

static void test_limits_of_an_update(void **state)
{
    weft_message update = update_of(0);
    bench b;

    (void)state;
    reach(&b, AT_STARTED);
    update.document_bytes = 0;
    hear(&b, update);
    assert_rolled_back(&b, AT_STARTED, "META_TOO_LARGE", true, WEFT_OUTCOME_ABORTED);
    reach(&b, AT_STARTED);
    update.document_bytes = WEFT_DOCUMENT_MAX + 1;
    hear(&b, update);
    assert_rolled_back(&b, AT_STARTED, "META_TOO_LARGE", true, WEFT_OUTCOME_ABORTED);
    reach(&b, AT_STARTED);
    update.document_bytes = WEFT_DOCUMENT_MAX;
    hear(&b, update);
    assert_did(&b, "open");
    begin(&b);
    hear(&b, start_of(WEFT_SPARSE, WEFT_UPDATES_MAX + 1));
    b.core.update = WEFT_UPDATES_MAX - 1; /* as after so many updates */
    hear(&b, update_of(WEFT_UPDATES_MAX - 1));
    assert_did(&b, "open");
    b.core.awaits = WEFT_AWAITS_UPDATE;
    b.core.update = WEFT_UPDATES_MAX;
    hear(&b, update_of(WEFT_UPDATES_MAX));
    assert_did(&b, "->failed cancel ->idle release FAILED(LIMIT):0 failed(LIMIT)");
}

/* ---- time, links, results ---- */

static void test_deadline_at_every_stage(void **state)
{
    (void)state;
    for (int at = AT_STARTED; at < AT_UNDO; at++) {
        bench b;
        reach(&b, (stage)at);
        pass(&b, 400 * MS - 1);
        assert_did(&b, "");
        pass(&b, 1);
        assert_rolled_back(&b, (stage)at, "DEADLINE", true,
                           at == AT_DECISION ? WEFT_OUTCOME_UNCONFIRMED : WEFT_OUTCOME_ABORTED);
    }
}

static void test_an_undo_that_does_not_end(void **state)
{
    bench b;

    (void)state;
    reach(&b, AT_UNDO);
    pass(&b, 400 * MS - 1);
    assert_did(&b, "");
    pass(&b, 1);
    assert_did(&b, "->idle resume release ABORTED:0 failed(ABORTED)");
    assert_holds(&b, WEFT_LOST, 0, 0, WEFT_OUTCOME_ABORTED);
    assert_int_equal(composed(&b, 3).condition, WEFT_LOST);
    assert_idle(&b);
}

static void test_an_undo_that_fails(void **state)
{
    bench b;

    (void)state;
    reach(&b, AT_UNDO);
    result(&b, WEFT_INPUT_UNDONE, WEFT_E_DEVICE_FAILED);
    assert_did(&b, "->idle resume release ABORTED:0 failed(ABORTED)");
    assert_holds(&b, WEFT_LOST, 0, 0, WEFT_OUTCOME_ABORTED);
    assert_idle(&b);
}

static void test_link_loss_at_every_stage(void **state)
{
    (void)state;
    for (int at = AT_STARTED; at < AT_UNDO; at++) {
        bool in_doubt = at == AT_DECISION;
        bench b;
        reach(&b, (stage)at);
        lose(&b, 0, WEFT_E_LINK_SILENT);
        assert_rolled_back(&b, (stage)at, in_doubt ? "IN_DOUBT" : "LINK_SILENT", false,
                           in_doubt ? WEFT_OUTCOME_UNCONFIRMED : WEFT_OUTCOME_ABORTED);
        if (in_doubt) { /* and stays so, whatever is said of this epoch later */
            hear(&b, plain(WEFT_MESSAGE_ABORT));
            assert_did(&b, "ABORTED:0");
            assert_int_equal(composed(&b, 0).outcome, WEFT_OUTCOME_UNCONFIRMED);
        }
    }
}

/* The link goes while the undo runs: there is nobody to answer, and the number may be another's. */
static void test_link_loss_during_the_undo(void **state)
{
    weft_message start = start_of(WEFT_BASELINE, 1);
    bench b;

    (void)state;
    reach(&b, AT_UNDO);
    lose(&b, 0, WEFT_E_LINK_CLOSED);
    assert_did(&b, "");
    assert_int_equal(b.core.awaits, WEFT_AWAITS_UNDO);
    start.epoch = EPOCH + 1;
    hear_from(&b, 0, start);
    assert_did(&b, "FAILED(BUSY):0");
    result(&b, WEFT_INPUT_UNDONE, WEFT_OK);
    assert_did(&b, "->idle resume release failed(ABORTED)");
    assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_ABORTED);
    lose(&b, 0, WEFT_E_LINK_CLOSED); /* idle: nothing to lose */
    assert_did(&b, "");
    hear_from(&b, 0, start);
    assert_did(&b, "->started STARTED:0");
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
        reach(&b, cases[i].at);
        result(&b, (weft_input_type)cases[i].input, WEFT_E_DEVICE_FAILED);
        assert_rolled_back(&b, cases[i].at, "DEVICE_FAILED", true, WEFT_OUTCOME_ABORTED);
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
            reach(&b, (stage)at);
            weft_worker_core before = b.core;
            result(&b, (weft_input_type)type, WEFT_OK);
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
    reach(&b, AT_DECISION);
    lose(&b, 0, WEFT_E_LINK_CLOSED);
    result(&b, WEFT_INPUT_UNDONE, WEFT_OK);
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

/* ---- random walks ---- */

#define STEPS             1000000u
#define WALK              2000u /* steps until a new worker begins */
#define ONE_IN(random, n) (test_random_below(random, n) == 0)

/* What the actions have told so far. */
typedef struct shadow {
    bool paused;
    bool undo_due;
    unsigned undos, releases, cancels; /* of the session */
    unsigned pauses, resumes;          /* of the whole walk */
    unsigned committed, failed;
} shadow;

typedef struct totals {
    uint32_t most_actions;
    unsigned states[WEFT_STATE_COUNT], awaits[WEFT_AWAITS_UNDO + 1];
    unsigned outcomes[WEFT_OUTCOME_UNDECIDED + 1], conditions[WEFT_LOST + 1];
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
    bool document = type == WEFT_MESSAGE_DOCUMENT;
    uint64_t taken = document ? core->document_taken : core->payload_taken;
    uint64_t left = (document ? core->document_bytes : core->payload_bytes) - taken;
    weft_message m = {.type = type,
                      .epoch =
                          ONE_IN(random, 12) ? epoch + test_random_below(random, 5) - 2 : epoch,
                      .kind = (uint8_t)(ONE_IN(random, 20) ? test_random_below(random, 5)
                                                           : 1 + test_random_below(random, 2)),
                      .transport = (uint8_t)(ONE_IN(random, 20) ? 0 : WEFT_TRANSPORT_TCP),
                      .base_version = core->version,
                      .base_digest = core->digest + (ONE_IN(random, 10) ? 1 : 0),
                      .target_version = core->version + 1 + test_random_below(random, 2),
                      .target_digest = test_random_below(random, 3),
                      .updates = (uint32_t)test_random_below(random, 4),
                      .timeout_ms = (uint32_t)one_of(random, 10, 0, 5000)};
    m.update = core->update + (ONE_IN(random, 15) ? 1u : 0u);
    m.document_bytes = ONE_IN(random, 30) ? one_of(random, 0, WEFT_DOCUMENT_MAX + 1, 1) : 4;
    m.payload_bytes = one_of(random, 5, 0, 1);
    m.offset = ONE_IN(random, 25) ? taken + 1 : taken;
    m.tail = (uint32_t)one_of(random, left, left / 2, ONE_IN(random, 8) ? left + 1 : left);
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
        if (core->updates == 0 ? ONE_IN(random, 2) : core->update < core->updates) {
            type = WEFT_MESSAGE_UPDATE;
        }
        break;
    case WEFT_AWAITS_DOCUMENT:
        type = WEFT_MESSAGE_DOCUMENT;
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
        input.type = ONE_IN(random, 2) ? WEFT_INPUT_RECEIVED : WEFT_INPUT_VERIFIED;
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

    if (ONE_IN(random, 8)) { /* anything */
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
        s->undo_due = false;
    } else if (action->transition.event == WEFT_EVENT_FAULT) {
        assert_int_not_equal(action->status, WEFT_OK);
        s->undo_due = before->written && !before->streamed;
    }
}

static void check_action(const weft_action *action, shadow *s, const weft_worker_core *before,
                         const weft_input *input)
{
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
    case WEFT_ACTION_DROP:
    case WEFT_ACTION_TAKE:
    case WEFT_ACTION_OPEN:
    case WEFT_ACTION_VERIFY:
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
        assert_true(core->owner != WEFT_LINK_NONE || at == WEFT_FAILED);
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

/* Two deadlines, and nothing else, lead home from everywhere. */
static void check_way_home(const bench *b)
{
    bench copy = *b;

    for (unsigned i = 0; i < 2 && copy.core.deadline_ns != 0; i++) {
        copy.now_ns = copy.core.deadline_ns;
        step(&copy, (weft_input){.type = WEFT_INPUT_TIME});
    }
    check_idle(&copy.core);
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
    begin(&b);
    for (unsigned i = 0; i < STEPS; i++) {
        if (i % WALK == 0 || (b.core.condition == WEFT_LOST && ONE_IN(&random, 50))) {
            begin(&b);
            s = (shadow){0};
        }
        weft_worker_core before = b.core;
        unsigned committed = s.committed, failed = s.failed;
        if (ONE_IN(&random, 3)) {
            b.now_ns += test_random_below(&random, (ONE_IN(&random, 20) ? 2000 : 2) * MS);
        }
        weft_input input = walk_input(&random, &b);
        step(&b, input);
        check_actions(&b, &s, &before, &input);
        check_core(&b, &s, &before, s.committed - committed);
        check_way_home(&b);
        count_totals(&t, &b);
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
        cmocka_unit_test(test_random_walks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
