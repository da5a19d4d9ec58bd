/* A worker whose trainer is lost after APPLIED: what it asks its peers, what it answers them, and
 * what it makes of what they say. */
#include "worker_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RANK       2u
#define RANKS      4u /* the trainer, this worker, and peers 1 and 3 */
#define LIST_BYTES 40u
#define PEER_LINK  6u

static weft_message start_with_peers(uint32_t rank, uint32_t ranks, uint32_t bytes)
{
    weft_message start = bench_start_of(WEFT_SPARSE, 1);

    start.rank = rank;
    start.ranks = ranks;
    start.peers_bytes = bytes;
    return start;
}

static weft_message list_piece(uint64_t offset, uint32_t tail)
{
    return (weft_message){
        .type = WEFT_MESSAGE_PEERS, .epoch = EPOCH, .offset = offset, .tail = tail};
}

/* In a session of so many ranks, after APPLIED. */
static void reach_decision(bench *b, uint32_t ranks)
{
    bench_begin(b);
    bench_hear(b, start_with_peers(ranks > RANK ? RANK : 1, ranks, LIST_BYTES));
    bench_hear(b, list_piece(0, LIST_BYTES));
    for (int at = AT_DOCUMENT; at <= AT_DECISION; at++) {
        bench_enter(b, (stage)at);
    }
    assert_int_equal(b->core.awaits, WEFT_AWAITS_DECISION);
}

static void reach_doubt(bench *b)
{
    reach_decision(b, RANKS);
    bench_lose(b, 0, WEFT_E_LINK_CLOSED);
    bench_assert_did(b, "ask");
    assert_int_equal(b->core.awaits, WEFT_AWAITS_PEERS);
    assert_int_equal(weft_session_state(&b->core.machine), WEFT_FINISHED);
}

static void hear_outcome(bench *b, uint32_t rank, weft_outcome outcome)
{
    bench_hear_from(b, PEER_LINK,
                    (weft_message){.type = WEFT_MESSAGE_OUTCOME,
                                   .epoch = EPOCH,
                                   .rank = rank,
                                   .outcome = (uint8_t)outcome});
}

static void assert_gone_back(bench *b, weft_outcome outcome)
{
    bench_assert_did(b, "->failed cancel undo");
    bench_result(b, WEFT_INPUT_UNDONE, WEFT_OK);
    bench_assert_did(b, "->idle resume release failed(IN_DOUBT)");
    bench_assert_idle(b);
    bench_assert_holds(b, WEFT_INTACT, VERSION, DIGEST, outcome);
}

/* ---- the list of addresses ---- */

static void test_the_list_comes_before_the_document(void **state)
{
    bench b;

    (void)state;
    bench_begin(&b);
    bench_hear(&b, start_with_peers(RANK, RANKS, LIST_BYTES));
    bench_assert_did(&b, "->started STARTED:0");
    bench_hear(&b, list_piece(0, 30));
    bench_assert_did(&b, "take");
    bench_hear(&b, bench_update_of(0)); /* the announcement may overtake it */
    bench_assert_did(&b, "open");
    bench_hear(&b, list_piece(30, 10));
    bench_assert_did(&b, "take");
    bench_hear(&b, bench_piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 30));
    bench_assert_did(&b, "take");

    const struct {
        weft_message list, next;
        const char *code;
    } wrong[] = {
        {list_piece(0, 30), bench_update_of(0), NULL},
        {list_piece(0, 30), list_piece(29, 10), "PAYLOAD_OFFSET"},
        {list_piece(0, 30), list_piece(30, 11), "PAYLOAD_OFFSET"},
        {list_piece(0, 30), list_piece(30, 0), "UNEXPECTED_MESSAGE"},
        {list_piece(0, 40), list_piece(40, 1), "UNEXPECTED_MESSAGE"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bench_begin(&b);
        bench_hear(&b, start_with_peers(RANK, RANKS, LIST_BYTES));
        bench_hear(&b, wrong[i].list);
        bench_hear(&b, wrong[i].next);
        if (wrong[i].code == NULL) { /* the document before the rest of the list */
            bench_hear(&b, bench_piece_of(WEFT_MESSAGE_DOCUMENT, 0, 0, 30));
        }
        bench_assert_rolled_back(&b, AT_STARTED,
                                 wrong[i].code != NULL ? wrong[i].code : "UNEXPECTED_MESSAGE", true,
                                 WEFT_OUTCOME_ABORTED);
    }
}

/* After the first document has begun no list is due. */
static void test_a_list_that_is_not_due(void **state)
{
    bench b;

    (void)state;
    bench_begin(&b);
    bench_hear(&b, start_with_peers(RANK, RANKS, LIST_BYTES));
    bench_hear(&b, list_piece(0, LIST_BYTES));
    for (int at = AT_DOCUMENT; at <= AT_STAGED; at++) {
        bench_enter(&b, (stage)at);
    }
    bench_hear(&b, list_piece(0, 1));
    bench_assert_rolled_back(&b, AT_STAGED, "UNEXPECTED_MESSAGE", true, WEFT_OUTCOME_ABORTED);
}

static void test_places_that_are_refused(void **state)
{
    const struct {
        uint32_t rank, ranks, bytes;
        bool right;
    } cases[] = {
        {0, 0, 0, true}, /* no peers, no matter */
        {1, 2, 1, true},
        {1, WEFT_WORKERS_MAX + 1, WEFT_PEERS_BYTES_MAX, true},
        {WEFT_WORKERS_MAX, WEFT_WORKERS_MAX + 1, 1, true},
        {0, 2, 1, false},
        {2, 2, 1, false},
        {1, WEFT_WORKERS_MAX + 2, 1, false},
        {1, 2, WEFT_PEERS_BYTES_MAX + 1, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench b;
        bench_begin(&b);
        bench_hear(&b, start_with_peers(cases[i].rank, cases[i].ranks, cases[i].bytes));
        bench_assert_did(&b, cases[i].right ? "->started STARTED:0" : "FAILED(FRAME_MALFORMED):0");
    }
}

/* ---- in doubt ---- */

static void test_a_peer_has_committed(void **state)
{
    bench b;

    (void)state;
    reach_doubt(&b);
    hear_outcome(&b, 3, WEFT_OUTCOME_COMMITTED);
    bench_assert_did(&b, "->idle committed resume release");
    bench_assert_idle(&b);
    bench_assert_holds(&b, WEFT_INTACT, VERSION + 1, TARGET, WEFT_OUTCOME_COMMITTED);
}

static void test_a_peer_has_aborted(void **state)
{
    bench b;

    (void)state;
    reach_doubt(&b);
    hear_outcome(&b, 1, WEFT_OUTCOME_ABORTED);
    assert_gone_back(&b, WEFT_OUTCOME_ABORTED);
}

static void test_all_are_in_doubt(void **state)
{
    bench b;

    (void)state;
    reach_doubt(&b);
    for (unsigned i = 0; i < 3; i++) { /* one of two, however often it says so */
        hear_outcome(&b, 3, WEFT_OUTCOME_IN_DOUBT);
        bench_assert_did(&b, "");
    }
    hear_outcome(&b, 1, WEFT_OUTCOME_IN_DOUBT);
    assert_gone_back(&b, WEFT_OUTCOME_ABORTED);
}

static void test_what_decides_nothing(void **state)
{
    bench b;

    (void)state;
    reach_doubt(&b);
    weft_worker_core before = b.core;
    for (unsigned outcome = 0; outcome < 256; outcome++) {
        bool decides = outcome == WEFT_OUTCOME_COMMITTED || outcome == WEFT_OUTCOME_ABORTED ||
                       outcome == WEFT_OUTCOME_IN_DOUBT;
        if (!decides) {
            hear_outcome(&b, 1, (weft_outcome)outcome);
            bench_assert_did(&b, "");
        }
    }
    const uint32_t nobody[] = {0, RANK, RANKS, UINT32_MAX}; /* the trainer, itself, nobody */
    for (size_t i = 0; i < sizeof nobody / sizeof *nobody; i++) {
        hear_outcome(&b, nobody[i], WEFT_OUTCOME_COMMITTED);
        bench_assert_did(&b, "drop(STALE_EPOCH)");
    }
    bench_hear_from(&b, PEER_LINK,
                    (weft_message){.type = WEFT_MESSAGE_OUTCOME,
                                   .epoch = EPOCH - 1,
                                   .rank = 1,
                                   .outcome = WEFT_OUTCOME_COMMITTED});
    bench_assert_did(&b, "drop(STALE_EPOCH)");
    assert_memory_equal(&b.core, &before, sizeof before);
}

/* An outcome that nobody has asked for, at every stage. */
static void test_an_outcome_without_doubt(void **state)
{
    (void)state;
    for (int at = AT_IDLE; at < STAGES; at++) {
        bench b;
        bench_reach(&b, (stage)at);
        weft_worker_core before = b.core;
        hear_outcome(&b, 1, WEFT_OUTCOME_COMMITTED);
        bench_assert_did(&b, "drop(STALE_EPOCH)");
        assert_memory_equal(&b.core, &before, sizeof before);
    }
}

static void test_nobody_can_tell(void **state)
{
    bench b;

    (void)state;
    reach_doubt(&b);
    hear_outcome(&b, 1, WEFT_OUTCOME_IN_DOUBT);
    bench_pass(&b, 399 * MS);
    bench_assert_did(&b, "");
    bench_pass(&b, 1 * MS);
    assert_gone_back(&b, WEFT_OUTCOME_UNCONFIRMED);
}

/* No addresses came: as before there is only one thing to do, at once. */
static void test_without_addresses(void **state)
{
    bench b;

    (void)state;
    bench_reach(&b, AT_DECISION);
    bench_lose(&b, 0, WEFT_E_LINK_CLOSED);
    assert_gone_back(&b, WEFT_OUTCOME_UNCONFIRMED);
}

/* Alone in its session it knows that nobody has committed. */
static void test_alone(void **state)
{
    bench b;

    (void)state;
    reach_decision(&b, 2);
    bench_lose(&b, 0, WEFT_E_LINK_CLOSED);
    assert_gone_back(&b, WEFT_OUTCOME_ABORTED);
}

/* ---- the trainer's link is still there ---- */

static void test_a_silent_trainer(void **state)
{
    bench b;

    (void)state;
    reach_decision(&b, RANKS);
    bench_pass(&b, 400 * MS);
    bench_assert_did(&b, "ask");
    bench_hear(&b, bench_plain(WEFT_MESSAGE_COMMIT)); /* too late: its peers may count on that */
    bench_assert_did(&b, "drop(IN_DOUBT)");
    assert_int_equal(b.core.awaits, WEFT_AWAITS_PEERS);
    hear_outcome(&b, 1, WEFT_OUTCOME_COMMITTED);
    bench_assert_did(&b, "->idle committed resume release COMMITTED:0"); /* who asked is told */
    bench_assert_holds(&b, WEFT_INTACT, VERSION + 1, TARGET, WEFT_OUTCOME_COMMITTED);
}

static void test_an_abort_in_doubt(void **state)
{
    bench b;

    (void)state;
    reach_decision(&b, RANKS);
    bench_pass(&b, 400 * MS);
    bench_hear(&b, bench_plain(WEFT_MESSAGE_ABORT)); /* who says that has not decided COMMIT */
    bench_assert_did(&b, "->failed cancel undo");
    bench_result(&b, WEFT_INPUT_UNDONE, WEFT_OK);
    bench_assert_did(&b, "->idle resume release ABORTED:0 failed(ABORTED)");
    bench_assert_holds(&b, WEFT_INTACT, VERSION, DIGEST, WEFT_OUTCOME_ABORTED);
}

static void test_a_silent_trainer_that_goes(void **state)
{
    bench b;

    (void)state;
    reach_decision(&b, RANKS);
    bench_pass(&b, 400 * MS);
    uint64_t deadline_ns = b.core.deadline_ns;
    bench_lose(&b, 0, WEFT_E_LINK_CLOSED); /* no second doubt, and no second time for it */
    bench_assert_did(&b, "");
    assert_int_equal(b.core.deadline_ns, deadline_ns);
    bench_pass(&b, 400 * MS);
    assert_gone_back(&b, WEFT_OUTCOME_UNCONFIRMED);
}

/* Another trainer, while it is in doubt. */
static void test_busy_with_doubt(void **state)
{
    weft_message start = bench_start_of(WEFT_BASELINE, 1);
    bench b;

    (void)state;
    reach_doubt(&b);
    weft_worker_core before = b.core;
    start.epoch = EPOCH + 1;
    bench_hear_from(&b, 1, start);
    bench_assert_did(&b, "FAILED(BUSY):1");
    bench_hear_from(&b, 1, bench_plain(WEFT_MESSAGE_ABORT)); /* not from whom the session is */
    bench_assert_did(&b, "FAILED(BUSY):1");
    assert_memory_equal(&b.core, &before, sizeof before);
}

/* ---- what it answers ---- */

static weft_message ask_of(const bench *b, uint32_t rank)
{
    return (weft_message){.type = WEFT_MESSAGE_ASK,
                          .epoch = b->core.last_epoch,
                          .target_version = VERSION + 1,
                          .target_digest = TARGET,
                          .rank = rank};
}

static void assert_answers(const bench *b, weft_message ask, weft_outcome outcome)
{
    bench copy = *b;

    bench_hear_from(&copy, PEER_LINK, ask);
    bench_assert_did(&copy, "OUTCOME:6");
    assert_int_equal(bench_composed(&copy, 0).outcome, outcome);
    assert_int_equal(bench_composed(&copy, 0).epoch, ask.epoch);
    assert_memory_equal(&copy.core, &b->core, sizeof copy.core);
}

static void test_answers_at_every_stage(void **state)
{
    (void)state;
    for (int at = AT_STARTED; at < STAGES; at++) {
        bench b;
        bench_begin(&b);
        bench_hear(&b, start_with_peers(RANK, RANKS, LIST_BYTES));
        bench_hear(&b, list_piece(0, LIST_BYTES));
        for (int next = AT_DOCUMENT; next <= at; next++) {
            bench_enter(&b, (stage)next);
        }
        assert_answers(&b, ask_of(&b, RANK),
                       at == AT_UNDO ? WEFT_OUTCOME_ABORTED : WEFT_OUTCOME_UNDECIDED);
    }
}

static void test_answers_when_it_knows(void **state)
{
    bench b;

    (void)state;
    reach_doubt(&b);
    assert_answers(&b, ask_of(&b, RANK), WEFT_OUTCOME_IN_DOUBT);
    bench_pass(&b, 400 * MS);
    assert_answers(&b, ask_of(&b, RANK), WEFT_OUTCOME_UNCONFIRMED);
    reach_decision(&b, RANKS);
    bench_hear(&b, bench_plain(WEFT_MESSAGE_COMMIT));
    assert_answers(&b, ask_of(&b, RANK), WEFT_OUTCOME_COMMITTED);
}

/* It tells of the newest session only, and only who means that one and this worker. */
static void test_answers_of_one_session_only(void **state)
{
    bench b;

    (void)state;
    bench_begin(&b);
    assert_answers(&b, (weft_message){.type = WEFT_MESSAGE_ASK}, WEFT_OUTCOME_NONE);
    reach_decision(&b, RANKS);
    bench_hear(&b, bench_plain(WEFT_MESSAGE_COMMIT));
    weft_message right = ask_of(&b, RANK), wrong[5] = {right, right, right, right, right};
    wrong[0].epoch--;
    wrong[1].epoch++;
    wrong[2].target_version++;
    wrong[3].target_digest++;
    wrong[4].rank = 1; /* an address that leads somewhere else than it should */
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_answers(&b, wrong[i], WEFT_OUTCOME_NONE);
    }
    assert_answers(&b, right, WEFT_OUTCOME_COMMITTED);
}

/* Of an ABORT whose START never came it knows no rank, and tells all who mean that session. */
static void test_answers_of_an_abort_alone(void **state)
{
    weft_message abort_of = {.type = WEFT_MESSAGE_ABORT,
                             .epoch = EPOCH,
                             .target_version = VERSION + 1,
                             .target_digest = TARGET};
    bench b;

    (void)state;
    bench_begin(&b);
    bench_hear(&b, abort_of);
    bench_assert_did(&b, "ABORTED:0");
    assert_answers(&b, ask_of(&b, 1), WEFT_OUTCOME_ABORTED);
    assert_answers(&b, ask_of(&b, 3), WEFT_OUTCOME_ABORTED);
    weft_message other = ask_of(&b, 1);
    other.target_digest++;
    assert_answers(&b, other, WEFT_OUTCOME_NONE);
}

/* What ASK says. */
static void test_the_question(void **state)
{
    bench b;

    (void)state;
    reach_doubt(&b);
    weft_action ask = {
        .type = WEFT_ACTION_SEND, .message = WEFT_MESSAGE_ASK, .epoch = b.core.epoch};
    weft_message message;
    weft_worker_compose(&b.core, &ask, &message);
    assert_int_equal(message.epoch, EPOCH);
    assert_int_equal(message.target_version, VERSION + 1);
    assert_int_equal(message.target_digest, TARGET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_list_comes_before_the_document),
        cmocka_unit_test(test_a_list_that_is_not_due),
        cmocka_unit_test(test_places_that_are_refused),
        cmocka_unit_test(test_a_peer_has_committed),
        cmocka_unit_test(test_a_peer_has_aborted),
        cmocka_unit_test(test_all_are_in_doubt),
        cmocka_unit_test(test_what_decides_nothing),
        cmocka_unit_test(test_an_outcome_without_doubt),
        cmocka_unit_test(test_nobody_can_tell),
        cmocka_unit_test(test_without_addresses),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_a_silent_trainer),
        cmocka_unit_test(test_an_abort_in_doubt),
        cmocka_unit_test(test_a_silent_trainer_that_goes),
        cmocka_unit_test(test_busy_with_doubt),
        cmocka_unit_test(test_answers_at_every_stage),
        cmocka_unit_test(test_answers_when_it_knows),
        cmocka_unit_test(test_answers_of_one_session_only),
        cmocka_unit_test(test_answers_of_an_abort_alone),
        cmocka_unit_test(test_the_question),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
