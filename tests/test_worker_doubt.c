/* Workers that lose their trainer after APPLIED, and ask each other: engines and bytes, without
 * sockets. What they make of the answers is test_protocol_doubt.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "link.h"
#include "protocol.h"
#include "worker_fixture.h"
#include "world.h"

#define WORKERS  3u
#define LIST     "peer:1\nself:2\npeer:3\n" /* of ranks 1 to 3; the fixture's worker is 2 */
#define OWN_RANK 2u

/* ---- three workers of one trainer ---- */

typedef struct talk {
    bool hears_commit[WORKERS];
    bool decided;
} talk;

static bool all_idle(const test_world *world)
{
    for (uint32_t i = 0; i < world->count; i++) {
        weft_worker_info info;
        if (world->workers[i].worker != NULL) {
            weft_worker_get_info(world->workers[i].worker, &info);
            if (info.state != WEFT_IDLE) {
                return false;
            }
        }
    }
    return true;
}

static void let_time_pass(test_world *world, unsigned milliseconds)
{
    for (unsigned i = 0; i < milliseconds && !all_idle(world); i++) {
        world_wait(world, 1);
    }
}

static void note_the_decision(test_world *world, world_worker *worker, const weft_trace *record)
{
    talk *t = world->watch_context;
    t->decided |=
        worker == NULL && record->kind == WEFT_TRACE_TRANSITION && record->to == WEFT_FINISHED;
}

static void reach(test_world *world, bool first, bool others)
{
    for (uint32_t i = 0; i < world->count; i++) {
        world->workers[i].unreachable = i == 0 ? !first : !others;
    }
}

/* A push; whoever shall not hear of the decision loses its link when it is made, and reaches nobody
 * yet. */
static weft_status push_and_cut(test_world *world, talk *t)
{
    reach(world, false, false);
    assert_int_equal(world_begin_push(world, WEFT_SPARSE, 1), WEFT_OK);
    while (!t->decided) {
        assert_true(world_turn(world));
    }
    for (uint32_t i = 0; i < world->count; i++) {
        if (!t->hears_commit[i]) {
            world_cut(world, i);
        }
    }
    world_settle(world);
    return weft_trainer_result(world->trainer, NULL);
}

static test_world *begin(talk *t)
{
    test_world *world = world_create(
        &(world_options){.workers = WORKERS, .tensors = 3, .timeout_ms = 1000, .addresses = true});
    world->watch = note_the_decision;
    world->watch_context = t;
    test_model_change(&world->random, world->current, 100);
    return world;
}

static weft_outcome outcome_of(const test_world *world, uint32_t number)
{
    weft_worker_info info;
    weft_worker_get_info(world->workers[number].worker, &info);
    return info.last_outcome;
}

static void assert_outcomes(const test_world *world, weft_outcome expected)
{
    for (uint32_t i = 0; i < world->count; i++) {
        assert_int_equal(outcome_of(world, i), expected);
    }
}

static void test_one_has_heard_commit(void **state)
{
    talk t = {.hears_commit = {true}};
    (void)state;
    test_world *world = begin(&t);
    assert_int_equal(push_and_cut(world, &t), WEFT_E_UNCONFIRMED);
    assert_int_equal(outcome_of(world, 1), WEFT_OUTCOME_IN_DOUBT);
    assert_int_equal(outcome_of(world, 2), WEFT_OUTCOME_IN_DOUBT);
    reach(world, true, true);
    let_time_pass(world, 101);
    world_check(world, world->current, 1);
    assert_outcomes(world, WEFT_OUTCOME_COMMITTED);
    world_check_base(world, world->current, 1);
    for (uint32_t i = 1; i < WORKERS; i++) {
        world_connect(world, i);
    }
    world_settle(world);
    world_push_and_check(world, WEFT_SPARSE, 100, 2);
    world_destroy(world);
}

static void test_nobody_has_heard_commit(void **state)
{
    talk t = {.hears_commit = {false}};
    (void)state;
    test_world *world = begin(&t);
    assert_int_equal(push_and_cut(world, &t), WEFT_E_IN_DOUBT);
    assert_outcomes(world, WEFT_OUTCOME_IN_DOUBT);
    reach(world, true, true);
    let_time_pass(world, 101);
    world_check(world, world->base, 0);
    assert_outcomes(world, WEFT_OUTCOME_ABORTED);
    const weft_detail *detail = weft_worker_detail(world->workers[0].worker);
    assert_int_equal(detail->status, WEFT_E_IN_DOUBT);
    assert_string_equal(detail->text, "the trainer was lost after APPLIED; by the word of the "
                                      "other workers of the session (2) nobody has committed");
    for (uint32_t i = 0; i < WORKERS; i++) { /* the trainer hears how it ended */
        world_connect(world, i);
    }
    world_settle(world);
    world_push_and_check(world, WEFT_SPARSE, 100, 2);
    world_destroy(world);
}

/* Who knows is out of reach for a while, and is asked again and again. */
static void test_who_knows_comes_late(void **state)
{
    talk t = {.hears_commit = {true}};
    (void)state;
    test_world *world = begin(&t);
    assert_int_equal(push_and_cut(world, &t), WEFT_E_UNCONFIRMED);
    reach(world, false, true);
    let_time_pass(world, 500);
    assert_int_equal(outcome_of(world, 1), WEFT_OUTCOME_IN_DOUBT);
    assert_true(world->conversations >= 8 && world->conversations <= 12); /* two each 100 ms */
    reach(world, true, true);
    let_time_pass(world, 101);
    world_check(world, world->current, 1);
    world_destroy(world);
}

static void test_who_knows_stays_away(void **state)
{
    talk t = {.hears_commit = {true}};
    (void)state;
    test_world *world = begin(&t);
    assert_int_equal(push_and_cut(world, &t), WEFT_E_UNCONFIRMED);
    reach(world, false, true);
    let_time_pass(world, 1001);
    assert_int_equal(outcome_of(world, 0), WEFT_OUTCOME_COMMITTED);
    for (uint32_t i = 1; i < WORKERS; i++) {
        assert_int_equal(outcome_of(world, i), WEFT_OUTCOME_UNCONFIRMED);
        const weft_detail *detail = weft_worker_detail(world->workers[i].worker);
        assert_string_equal(detail->text,
                            "the trainer was lost after APPLIED, and of the 2 other workers 1 were "
                            "in doubt as well and none knew the outcome within 1000 ms");
    }
    world_destroy(world);
}

/* A worker that started again has lost what it knew. */
static void test_who_knew_has_started_again(void **state)
{
    talk t = {.hears_commit = {true}};
    (void)state;
    test_world *world = begin(&t);
    assert_int_equal(push_and_cut(world, &t), WEFT_E_UNCONFIRMED);
    world_kill(world, 0);
    world_revive(world, 0, world->current, 1);
    let_time_pass(world, 1001);
    assert_int_equal(outcome_of(world, 1), WEFT_OUTCOME_UNCONFIRMED);
    assert_int_equal(outcome_of(world, 2), WEFT_OUTCOME_UNCONFIRMED);
    world_destroy(world);
}

/* Not all addresses are known, so nobody is told any. */
static void test_an_address_is_missing(void **state)
{
    talk t = {.hears_commit = {true}};
    (void)state;
    test_world *world = begin(&t);
    world->options->addresses = false; /* of those that connect from now on */
    world_cut(world, 2);
    world_connect(world, 2);
    world_settle(world);
    assert_int_equal(push_and_cut(world, &t), WEFT_E_UNCONFIRMED);
    assert_int_equal(outcome_of(world, 1), WEFT_OUTCOME_UNCONFIRMED); /* at once */
    assert_string_equal(weft_worker_detail(world->workers[1].worker)->text,
                        "the trainer was lost after APPLIED, and had not told the addresses of the "
                        "other workers");
    world_destroy(world);
}

static void test_no_memory_for_the_addresses(void **state)
{
    talk t = {.hears_commit = {true, true, true}};
    (void)state;
    test_world *world = begin(&t);
    bool failed = false;
    for (uint64_t i = 1; i < 40 && !failed; i++) { /* the trainer's: one of its calls is the list */
        world->memory.fail_at = world->memory.calls + i;
        weft_status status = weft_trainer_push(world->trainer, WEFT_SPARSE, 1);
        failed = status == WEFT_E_OUT_OF_MEMORY &&
                 strstr(weft_trainer_detail(world->trainer)->text, "addresses of 3 workers") != 0;
        if (status == WEFT_OK) {
            break;
        }
    }
    assert_true(failed);
    world->memory.fail_at = 0;
    world_push_and_check(world, WEFT_SPARSE, 100, 1);
    world_destroy(world);
}

static void test_what_is_no_address(void **state)
{
    talk t = {.hears_commit = {true, true, true}};
    char longest[WEFT_PEER_ADDRESS_MAX + 2];
    (void)state;
    test_world *world = begin(&t);
    uint32_t link = world->workers[0].there;
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(weft_trainer_link_address(world->trainer, link, longest),
                     WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_link_address(world->trainer, link, longest + 1), WEFT_OK);
    assert_int_equal(weft_trainer_link_address(world->trainer, link, "a\nb"),
                     WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_link_address(world->trainer, link, ""), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_link_address(world->trainer, link, NULL),
                     WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_link_address(world->trainer, 77, "a:1"), WEFT_E_UNKNOWN_LINK);
    assert_int_equal(weft_trainer_link_address(NULL, link, "a:1"), WEFT_E_UNKNOWN_LINK);
    world_push_and_check(world, WEFT_SPARSE, 100, 1);
    world_destroy(world);
}

/* ---- one worker, whose trainer and peers the test plays ---- */

static weft_status say_start(fixture *f, uint32_t rank, const char *list)
{
    weft_message start = fixture_start_message(f);
    start.rank = rank;
    start.ranks = 4;
    start.peers_bytes = (uint32_t)strlen(list);
    return fixture_say(f, &start, NULL);
}

static void say_list(fixture *f, const char *list, uint32_t offset, uint32_t length)
{
    weft_message peers = {
        .type = WEFT_MESSAGE_PEERS, .epoch = f->epoch, .offset = offset, .tail = length};
    if (length > 0) {
        assert_int_equal(fixture_say(f, &peers, list + offset), WEFT_OK);
    }
}

static fixture *begin_doubt(const char *list)
{
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    uint32_t length = (uint32_t)strlen(list);
    assert_int_equal(say_start(f, OWN_RANK, list), WEFT_OK);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_STARTED);
    say_list(f, list, 0, length / 2);
    fixture_say_update(f);
    say_list(f, list, length / 2, length - length / 2);
    fixture_say_document(f);
    fixture_say_payload(f);
    fixture_say_plain(f, WEFT_MESSAGE_APPLY);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_APPLIED);
    assert_int_equal(weft_worker_link_close(f->worker, f->link, WEFT_E_LINK_CLOSED), WEFT_OK);
    return f;
}

static void end_doubt(fixture *f)
{
    f->now_ns += (TIMEOUT_MS + 1) * NS_PER_MS;
    weft_worker_tick(f->worker, f->now_ns);
    weft_worker_tick(f->worker, f->now_ns);
    fixture_check_old(f);
    assert_int_equal(f->failed_hook, WEFT_E_IN_DOUBT);
    fixture_open_link(f);
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

/* Who asks speaks as a trainer does. */
static void hear_question(fixture *f)
{
    weft_span spans[WEFT_SPANS_MAX];
    weft_link ear;
    weft_link_item item;
    weft_link_init(&ear, WEFT_SENDER_TRAINER, 0);
    memset(&f->answer, 0, sizeof f->answer);
    while (weft_worker_send(f->worker, f->link, spans) > 0) {
        const uint8_t *bytes = spans[0].data;
        size_t length = spans[0].length, left = length;
        while (weft_link_take(&ear, &bytes, &left, &item) == WEFT_OK) {
            f->answer = *item.message;
        }
        weft_worker_sent(f->worker, f->link, length);
    }
}

static weft_status peer_says(fixture *f, weft_message message)
{
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    uint32_t length = weft_frame_encode_head(&message, head);
    weft_status status = weft_worker_receive(f->worker, f->link, head, length);
    hear_question(f);
    return status;
}

static void want(fixture *f, uint32_t expected, const char *where)
{
    uint32_t rank = 0;
    const char *address = NULL;
    assert_true(weft_worker_peer_wanted(f->worker, &rank, &address));
    assert_int_equal(rank, expected);
    assert_string_equal(address, where);
}

static void want_nobody(fixture *f)
{
    uint32_t rank = 0;
    const char *address = NULL;
    assert_false(weft_worker_peer_wanted(f->worker, &rank, &address));
}

static void pass(fixture *f, uint64_t milliseconds)
{
    f->now_ns += milliseconds * NS_PER_MS;
    weft_worker_tick(f->worker, f->now_ns);
}

static void test_the_question_on_the_wire(void **state)
{
    (void)state;
    fixture *f = begin_doubt(LIST);
    want(f, 3, "peer:3"); /* the next one first, so that not all begin with the same */
    want(f, 1, "peer:1");
    want_nobody(f);
    assert_int_equal(weft_worker_peer_open(f->worker, 3, &f->link), WEFT_OK);
    hear_question(f);
    assert_int_equal(f->answer.type, 0); /* a worker listens until it has heard HELLO */
    assert_int_equal(peer_says(f, (weft_message){.type = WEFT_MESSAGE_HELLO}), WEFT_OK);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_ASK);
    assert_int_equal(f->answer.epoch, f->epoch);
    assert_int_equal(f->answer.target_version, 4);
    assert_int_equal(f->answer.target_digest, f->target_digest);
    assert_int_equal(f->answer.rank, 3);
    weft_message undecided = {
        .type = WEFT_MESSAGE_OUTCOME, .epoch = f->epoch, .outcome = WEFT_OUTCOME_UNDECIDED};
    assert_int_equal(peer_says(f, undecided), WEFT_E_CANCELLED); /* done, for now */
    assert_int_equal(weft_worker_link_close(f->worker, f->link, WEFT_E_CANCELLED), WEFT_OK);
    assert_int_equal(weft_worker_next_ns(f->worker), f->now_ns + 100 * NS_PER_MS);
    pass(f, 99);
    want_nobody(f);
    pass(f, 1);
    want(f, 3, "peer:3");
    end_doubt(f);
}

static void test_a_peer_says_what_it_must_not(void **state)
{
    const uint8_t types[] = {WEFT_MESSAGE_STARTED, WEFT_MESSAGE_COMMITTED, WEFT_MESSAGE_FAILED};
    (void)state;
    for (size_t i = 0; i < sizeof types; i++) {
        fixture *f = begin_doubt(LIST);
        want(f, 3, "peer:3");
        assert_int_equal(weft_worker_peer_open(f->worker, 3, &f->link), WEFT_OK);
        weft_message message = {.type = types[i], .epoch = f->epoch};
        assert_int_equal(peer_says(f, message), WEFT_E_UNEXPECTED_MESSAGE);
        assert_int_equal(weft_worker_link_close(f->worker, f->link, WEFT_E_UNEXPECTED_MESSAGE),
                         WEFT_OK);
        end_doubt(f);
    }
    fixture *f = begin_doubt(LIST); /* and what only a trainer may say */
    want(f, 3, "peer:3");
    assert_int_equal(weft_worker_peer_open(f->worker, 3, &f->link), WEFT_OK);
    weft_message commit = {.type = WEFT_MESSAGE_COMMIT, .epoch = f->epoch};
    assert_int_equal(peer_says(f, commit), WEFT_E_FRAME_MALFORMED);
    assert_int_equal(weft_worker_link_close(f->worker, f->link, WEFT_E_FRAME_MALFORMED), WEFT_OK);
    end_doubt(f);
}

/* One that connects and then says nothing, and one that cannot be connected to for long. */
static void test_a_peer_that_is_silent(void **state)
{
    uint32_t late;
    (void)state;
    fixture *f = begin_doubt(LIST);
    want(f, 3, "peer:3");
    want(f, 1, "peer:1");
    assert_int_equal(weft_worker_peer_open(f->worker, 3, &f->link), WEFT_OK);
    assert_int_equal(weft_worker_next_ns(f->worker), f->now_ns + 1000 * NS_PER_MS);
    pass(f, 999);
    assert_int_equal(weft_worker_link_status(f->worker, f->link), WEFT_OK);
    end_doubt(f);

    f = begin_doubt("");
    fixture_check_old(f); /* no list: back at once */
    assert_int_equal(weft_worker_peer_open(f->worker, 1, &late), WEFT_E_WRONG_STATE);
    fixture_open_link(f);
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

static void test_what_the_driver_may_get_wrong(void **state)
{
    uint32_t link, rank;
    const char *address;
    (void)state;
    fixture *f = begin_doubt(LIST);
    assert_int_equal(weft_worker_peer_open(f->worker, 3, &link), WEFT_E_WRONG_STATE);
    want(f, 3, "peer:3");
    assert_int_equal(weft_worker_peer_open(NULL, 3, &link), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_peer_open(f->worker, 3, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_peer_open(f->worker, 0, &link), WEFT_E_WRONG_STATE);
    assert_int_equal(weft_worker_peer_open(f->worker, 4, &link), WEFT_E_WRONG_STATE);
    assert_int_equal(weft_worker_peer_open(f->worker, 1, &link), WEFT_E_WRONG_STATE);
    weft_worker_peer_failed(f->worker, 0);
    weft_worker_peer_failed(f->worker, 1);
    weft_worker_peer_failed(NULL, 3);
    assert_false(weft_worker_peer_wanted(NULL, &rank, &address));
    assert_false(weft_worker_peer_wanted(f->worker, NULL, &address));
    assert_false(weft_worker_peer_wanted(f->worker, &rank, NULL));
    weft_worker_peer_failed(f->worker, 3);
    weft_worker_peer_failed(f->worker, 3); /* once is enough */
    want(f, 1, "peer:1");
    want_nobody(f);
    pass(f, 100);
    want(f, 3, "peer:3");
    assert_int_equal(weft_worker_peer_open(f->worker, 3, &f->link), WEFT_OK);
    weft_worker_peer_failed(f->worker, 3); /* it did not fail: it has a link */
    assert_int_equal(peer_says(f, (weft_message){.type = WEFT_MESSAGE_HELLO}), WEFT_OK);
    weft_message committed = {
        .type = WEFT_MESSAGE_OUTCOME, .epoch = f->epoch, .outcome = WEFT_OUTCOME_COMMITTED};
    assert_int_equal(peer_says(f, committed), WEFT_E_CANCELLED);
    assert_int_equal(fixture_state_of(f), WEFT_IDLE);
    assert_int_equal(f->weights[0], f->before[0] ^ 1u);
    assert_int_equal(weft_worker_peer_open(f->worker, 1, &link), WEFT_E_WRONG_STATE); /* too late */
    assert_int_equal(peer_says(f, committed), WEFT_E_CANCELLED); /* and so is this */
    assert_int_equal(weft_worker_link_close(f->worker, f->link, WEFT_E_LINK_CLOSED), WEFT_OK);
    fixture_destroy(f);
}

static void test_no_room_for_a_link(void **state)
{
    uint32_t links[WEFT_LINKS_MAX], link;
    (void)state;
    fixture *f = begin_doubt(LIST);
    for (uint32_t i = 0; i < WEFT_LINKS_MAX; i++) {
        assert_int_equal(weft_worker_link_open(f->worker, &links[i]), WEFT_OK);
    }
    want(f, 3, "peer:3");
    assert_int_equal(weft_worker_peer_open(f->worker, 3, &link), WEFT_E_TOO_MANY_LINKS);
    assert_int_equal(weft_worker_link_close(f->worker, links[0], WEFT_E_LINK_CLOSED), WEFT_OK);
    want(f, 1, "peer:1");
    f->memory.fail_at = f->memory.calls + 1;
    assert_int_equal(weft_worker_peer_open(f->worker, 1, &link), WEFT_E_OUT_OF_MEMORY);
    f->memory.fail_at = 0;
    pass(f, 100); /* both have their turn again */
    want(f, 3, "peer:3");
    want(f, 1, "peer:1");
    assert_int_equal(weft_worker_link_close(f->worker, links[1], WEFT_E_LINK_CLOSED), WEFT_OK);
    end_doubt(f);
}

/* The list is text of the trainer's: whatever it is, nothing is read past its end. */
static void test_lists_of_all_kinds(void **state)
{
    const struct {
        const char *list, *first, *third;
    } cases[] = {
        {"a:1\nb:2\nc:3", "a:1", "c:3"}, /* without the last line feed */
        {"a:1\n", "a:1", NULL},
        {"\n\nc:3\n", NULL, "c:3"},
        {"a:1\nb:2\nc:3\nd:4\n", "a:1", "c:3"},
        {"no line feed at all", "no line feed at all", NULL},
        {"\n", NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture *f = begin_doubt(cases[i].list);
        if (cases[i].third != NULL) {
            want(f, 3, cases[i].third);
        }
        if (cases[i].first != NULL) {
            want(f, 1, cases[i].first);
        }
        want_nobody(f);
        end_doubt(f);
    }
}

static void test_the_list_counts_against_the_budget(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 60); /* list and places take more */
    assert_int_equal(say_start(f, OWN_RANK, LIST), WEFT_OK);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_FAILED);
    assert_int_equal(f->answer.code, WEFT_E_OVER_BUDGET);
    assert_string_equal(f->text, "START announces 21 bytes of addresses, and there is no memory "
                                 "for them");
    fixture_check_old(f);
    fixture_destroy(f);

    for (uint64_t i = 1; i <= 2; i++) {
        f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
        f->memory.fail_at = f->memory.calls + i;
        assert_int_equal(say_start(f, OWN_RANK, LIST), WEFT_OK);
        assert_int_equal(f->answer.code, WEFT_E_OUT_OF_MEMORY);
        fixture_check_old(f);
        f->memory.fail_at = 0;
        fixture_check_next_commits(f);
        fixture_destroy(f);
    }
}

/* A START that is refused leaves nothing, and one that comes in a session disturbs nothing. */
static void test_a_start_that_does_not_begin(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    assert_int_equal(say_start(f, 4, LIST), WEFT_OK); /* a rank that is none */
    assert_int_equal(f->answer.code, WEFT_E_FRAME_MALFORMED);
    fixture_check_old(f);
    weft_message start = fixture_start_message(f);
    start.base_version = 2;
    start.rank = 1;
    start.ranks = 3;
    start.peers_bytes = 10;
    assert_int_equal(fixture_say(f, &start, NULL), WEFT_OK);
    assert_int_equal(f->answer.code, WEFT_E_BASE_MISMATCH);
    fixture_check_old(f);
    assert_int_equal(say_start(f, OWN_RANK, LIST), WEFT_OK);
    uint32_t first = f->link, second;
    assert_int_equal(weft_worker_link_open(f->worker, &second), WEFT_OK);
    f->link = second;
    f->epoch++;
    assert_int_equal(say_start(f, OWN_RANK, "other\n"), WEFT_OK);
    assert_int_equal(f->answer.code, WEFT_E_BUSY);
    f->link = first;
    f->epoch--;
    say_list(f, LIST, 0, (uint32_t)strlen(LIST));
    fixture_say_update(f);
    fixture_say_document(f);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_READY);
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_has_heard_commit),
        cmocka_unit_test(test_nobody_has_heard_commit),
        cmocka_unit_test(test_who_knows_comes_late),
        cmocka_unit_test(test_who_knows_stays_away),
        cmocka_unit_test(test_who_knew_has_started_again),
        cmocka_unit_test(test_an_address_is_missing),
        cmocka_unit_test(test_no_memory_for_the_addresses),
        cmocka_unit_test(test_what_is_no_address),
        cmocka_unit_test(test_the_question_on_the_wire),
        cmocka_unit_test(test_a_peer_says_what_it_must_not),
        cmocka_unit_test(test_a_peer_that_is_silent),
        cmocka_unit_test(test_what_the_driver_may_get_wrong),
        cmocka_unit_test(test_no_room_for_a_link),
        cmocka_unit_test(test_lists_of_all_kinds),
        cmocka_unit_test(test_the_list_counts_against_the_budget),
        cmocka_unit_test(test_a_start_that_does_not_begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
