/* Engines of a trainer and its workers whose payload moves by a collective that completes, fails,
 * hangs and corrupts (collective.h). After everything that goes wrong all are idle, hold the old
 * content to the bit, and the next push commits in the same processes over a new group. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base64.h"
#include "frame.h"
#include "world.h"

#define WORKERS 3u
#define TENSORS 9u

static test_world *begin(const world_options *more)
{
    world_options options = *more;
    options.workers = WORKERS;
    options.tensors = TENSORS;
    options.version = 1;
    options.collective = true;
    options.timeout_ms = 1000;
    return world_create(&options);
}

static void change(test_world *w)
{
    test_model_change(&w->random, w->current, 100);
}

/* Whoever hangs is awaited until the deadline, and the group is left. */
static weft_status push_through(test_world *w, weft_kind kind, uint64_t version, weft_push *push)
{
    weft_status status = world_push(w, kind, version, push);
    for (unsigned i = 0; i < 4 && status == WEFT_AGAIN; i++) {
        world_wait(w, 1001);
        status = weft_trainer_result(w->trainer, push);
    }
    return status;
}

/* What went wrong left no trace: the next push of the same change commits. */
static void check_recovery(test_world *w, const test_model *old, uint64_t version)
{
    unsigned invites = w->collective.invites;
    world_check(w, old, version);
    world_check_base(w, old, version);
    collective_mend(&w->collective);
    assert_int_equal(world_push(w, WEFT_SPARSE, version + 1, NULL), WEFT_OK);
    world_check(w, w->current, version + 1);
    world_check_base(w, w->current, version + 1);
    assert_int_equal(w->collective.invites, invites + 1); /* the old group is gone for good */
}

/* ---- the way forward ---- */

static void test_sessions_over_one_group(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        test_world *w = begin(
            &(world_options){.update_bytes = i == 0 ? 0 : 200,
                             .baseline = i == 2 ? WEFT_BASELINE_STREAMED : WEFT_BASELINE_STAGED});
        for (uint64_t version = 2; version < 12; version++) {
            world_push_and_check(w, version % 4 == 0 ? WEFT_BASELINE : WEFT_SPARSE, 50, version);
        }
        assert_int_equal(world_push(w, WEFT_SPARSE, 12, NULL), WEFT_OK); /* of no byte */
        assert_int_equal(w->collective.invites, 1);
        assert_int_equal(w->collective.cancels, 0);
        world_destroy(w);
    }
}

static void test_a_new_group_for_other_members(void **state)
{
    test_world *w = begin(&(world_options){0});
    (void)state;
    world_push_and_check(w, WEFT_SPARSE, 50, 2);
    world_cut(w, 1); /* the same worker on a new link: it may have lost what it had */
    world_connect(w, 1);
    world_settle(w);
    world_push_and_check(w, WEFT_SPARSE, 50, 3);
    assert_int_equal(w->collective.invites, 2);
    world_kill(w, 0);
    world_push_and_check(w, WEFT_SPARSE, 50, 4);
    assert_int_equal(w->collective.invites, 3);
    world_revive(w, 0, w->current, 4);
    world_push_and_check(w, WEFT_SPARSE, 50, 5);
    assert_int_equal(w->collective.invites, 4);
    world_push_and_check(w, WEFT_BASELINE, 50, 6);
    assert_int_equal(w->collective.invites, 4);
    world_destroy(w);
}

/* ---- what goes wrong ---- */

typedef struct fault {
    int place; /* 0: the trainer */
    int *(*knob)(collective *c);
    weft_status worker, push;
} fault;

static int *hangs(collective *c)
{
    return &c->hangs;
}

static int *breaks(collective *c)
{
    return &c->breaks;
}

static int *corrupts(collective *c)
{
    return &c->corrupts;
}

static int *refuses(collective *c)
{
    return &c->refuses;
}

static void test_every_fault_at_every_rank(void **state)
{
    static const fault faults[] = {
        {0, breaks, WEFT_E_ABORTED, WEFT_E_COLLECTIVE},
        {0, refuses, WEFT_E_ABORTED, WEFT_E_COLLECTIVE},
        {1, hangs, WEFT_E_DEADLINE, WEFT_E_PEER_FAILED},
        {3, hangs, WEFT_E_DEADLINE, WEFT_E_PEER_FAILED},
        {2, breaks, WEFT_E_COLLECTIVE, WEFT_E_PEER_FAILED},
        {1, refuses, WEFT_E_COLLECTIVE, WEFT_E_PEER_FAILED},
        {2, corrupts, WEFT_E_PAYLOAD_DIGEST, WEFT_E_PEER_FAILED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        const fault *f = &faults[i];
        test_world *w = begin(&(world_options){0});
        weft_push push;
        world_push_and_check(w, WEFT_SPARSE, 50, 2);
        test_model *old = test_model_copy(&w->random, w->base);
        change(w);
        *f->knob(&w->collective) = f->place;
        weft_status status = push_through(w, WEFT_SPARSE, 3, &push);
        assert_true(status == f->push ||
                    (f->worker == WEFT_E_DEADLINE && status == WEFT_E_DEADLINE));
        assert_int_equal(push.outcome, WEFT_OUTCOME_ABORTED);
        if (f->place > 0) {
            weft_status why = weft_worker_detail(w->workers[f->place - 1].worker)->status;
            assert_true(why == f->worker || why == WEFT_E_ABORTED);
        }
        check_recovery(w, old, 2);
        test_model_destroy(old);
        world_destroy(w);
    }
}

/* The root has sent and is done before everybody has received. */
static void test_a_root_that_hangs_after_all_have_received(void **state)
{
    test_world *w = begin(&(world_options){0});
    (void)state;
    change(w);
    w->collective.hangs = 0;
    assert_int_equal(world_push(w, WEFT_SPARSE, 2, NULL),
                     WEFT_AGAIN); /* it still reads the payload */
    assert_int_equal(weft_trainer_push(w->trainer, WEFT_SPARSE, 3), WEFT_E_WRONG_STATE);
    world_check(w, w->current, 2); /* the workers committed */
    collective_mend(&w->collective);
    world_settle(w);
    assert_int_equal(weft_trainer_result(w->trainer, NULL), WEFT_OK);
    world_push_and_check(w, WEFT_SPARSE, 50, 3);
    world_destroy(w);
}

static void test_no_unique_id(void **state)
{
    test_world *w = begin(&(world_options){0});
    (void)state;
    change(w);
    w->collective.no_invite = true;
    assert_int_equal(world_push(w, WEFT_SPARSE, 2, NULL), WEFT_E_COLLECTIVE);
    assert_string_equal(weft_trainer_detail(w->trainer)->text, "no unique id for you");
    world_check(w, w->base, 1);
    collective_mend(&w->collective);
    assert_int_equal(world_push(w, WEFT_SPARSE, 2, NULL), WEFT_OK);
    world_destroy(w);
}

/* What a collective still writes to cannot be given back: the worker says that it is done for. */
static void test_a_collective_that_cannot_be_left(void **state)
{
    test_world *w = begin(&(world_options){0});
    weft_worker_info info;
    (void)state;
    change(w);
    w->collective.hangs = w->collective.never_quiet = 2;
    assert_true(push_through(w, WEFT_SPARSE, 2, NULL) < 0);
    world_wait(w, 1001);
    weft_worker_get_info(w->workers[1].worker, &info);
    assert_int_equal(info.state, WEFT_IDLE);
    assert_int_equal(info.condition, WEFT_LOST);
    weft_worker_get_info(w->workers[0].worker, &info);
    assert_int_equal(info.condition, WEFT_INTACT);
    collective_mend(&w->collective);
    world_kill(w, 1);
    assert_int_equal(world_push(w, WEFT_SPARSE, 3, NULL), WEFT_OK); /* the others go on */
    world_destroy(w);
}

/* On the trainer too: the push is over at the deadline all the same. */
static void test_a_root_that_cannot_leave(void **state)
{
    test_world *w = begin(&(world_options){0});
    weft_push push;
    (void)state;
    change(w);
    w->collective.breaks = w->collective.never_quiet = 0;
    assert_int_equal(world_push(w, WEFT_SPARSE, 2, &push), WEFT_AGAIN);
    world_wait(w, 999);
    assert_int_equal(weft_trainer_result(w->trainer, &push), WEFT_AGAIN);
    world_wait(w, 2);
    assert_int_equal(weft_trainer_result(w->trainer, &push), WEFT_E_COLLECTIVE);
    assert_int_equal(push.outcome, WEFT_OUTCOME_ABORTED);
    assert_non_null(strstr(weft_trainer_detail(w->trainer)->text, "a rank of the group is gone"));
    world_check(w, w->base, 1);
    collective_mend(&w->collective);
    for (unsigned i = 0; i < 10; i++) {
        (void)weft_transport_poll(w->transport);
    }
    assert_int_equal(world_push(w, WEFT_SPARSE, 3, NULL), WEFT_OK);
    world_check(w, w->current, 3);
    world_destroy(w);
}

/* A streamed baseline that is cut off by the collective is torn, and the next one mends it. */
static void test_a_streamed_baseline_cut_off(void **state)
{
    test_world *w = begin(&(world_options){.baseline = WEFT_BASELINE_STREAMED});
    weft_worker_info info;
    (void)state;
    change(w);
    w->collective.breaks = 1;
    assert_int_equal(world_push(w, WEFT_BASELINE, 2, NULL), WEFT_E_PEER_FAILED);
    weft_worker_get_info(w->workers[0].worker, &info);
    assert_int_equal(info.condition, WEFT_TORN);
    assert_false(w->workers[0].paused);
    collective_mend(&w->collective);
    assert_int_equal(world_push(w, WEFT_BASELINE, 3, NULL), WEFT_OK);
    world_check(w, w->current, 3);
    world_destroy(w);
}

/* ---- at every moment ---- */

typedef struct moment {
    unsigned left; /* records until it happens */
    unsigned kind; /* of what happens */
    bool came;
} moment;

enum { CUT, ABORT, BREAK, KINDS };

static void on_record(test_world *w, world_worker *worker, const weft_trace *record)
{
    moment *m = w->watch_context;
    (void)worker;
    (void)record;
    if (m->left-- != 0) {
        return;
    }
    m->came = true;
    if (m->kind == BREAK) {
        w->collective.breaks = 2;
    }
}

static bool once(unsigned at, unsigned kind)
{
    test_world *w = begin(&(world_options){.update_bytes = 300});
    moment m = {.left = at, .kind = kind};
    weft_push push = {.status = WEFT_AGAIN};
    world_push_and_check(w, WEFT_SPARSE, 50, 2);
    test_model *old = test_model_copy(&w->random, w->base);
    change(w);
    w->watch = on_record;
    w->watch_context = &m;
    assert_int_equal(world_begin_push(w, WEFT_SPARSE, 3), WEFT_OK);
    while (!m.came && world_turn(w)) {
        world_wait(w, 0);
    }
    w->watch = NULL;
    if (m.came && kind == CUT) {
        world_cut(w, 1);
    } else if (m.came && kind == ABORT) {
        (void)weft_trainer_abort(w->trainer);
    }
    world_settle(w);
    for (unsigned i = 0; i < 4 && weft_trainer_result(w->trainer, &push) == WEFT_AGAIN; i++) {
        world_wait(w, 1001);
    }
    collective_mend(&w->collective);
    if (!w->workers[1].connected) {
        world_connect(w, 1);
        world_settle(w);
    }
    bool committed = push.outcome == WEFT_OUTCOME_COMMITTED;
    assert_true(push.outcome == WEFT_OUTCOME_ABORTED || committed);
    for (uint32_t i = 0; i < WORKERS; i++) { /* one of two contents, and it knows which */
        weft_worker_info info;
        weft_worker_get_info(w->workers[i].worker, &info);
        assert_int_equal(info.state, WEFT_IDLE);
        assert_int_equal(info.condition, WEFT_INTACT);
        bool is_new = info.version == 3;
        assert_true(is_new ? committed : info.version == 2);
        assert_true(test_model_equal(w->workers[i].model, is_new ? w->current : old));
    }
    weft_status status = world_push(w, WEFT_BASELINE, 4, NULL);
    assert_int_equal(status, WEFT_OK);
    world_check(w, w->current, 4);
    test_model_destroy(old);
    world_destroy(w);
    return m.came;
}

static void test_at_every_record(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        unsigned at = 0;
        while (once(at, kind)) {
            at++;
        }
        assert_true(at > 50);
    }
}

/* Its memory is given back only when the collective has left it. */
static void test_destroyed_while_it_moves(void **state)
{
    (void)state;
    for (int place = 0; place < 3; place++) {
        test_world *w = begin(&(world_options){0});
        change(w);
        w->collective.hangs = place;
        (void)world_push(w, WEFT_SPARSE, 2, NULL);
        world_destroy(w);
    }
}

/* ---- START ---- */

static void test_a_worker_without_a_transport(void **state)
{
    test_world *w = begin(&(world_options){.no_transport = true});
    (void)state;
    change(w);
    assert_int_equal(world_push(w, WEFT_SPARSE, 2, NULL), WEFT_E_PEER_FAILED);
    assert_int_equal(weft_worker_detail(w->workers[0].worker)->status, WEFT_E_TRANSPORT);
    assert_string_equal(weft_worker_detail(w->workers[0].worker)->text,
                        "START names the transport nccl, and worker worker 0 has tcp only");
    world_check(w, w->base, 1);
    world_destroy(w);
}

static void test_malformed_groups(void **state)
{
    static const struct {
        uint32_t rank, ranks;
        size_t cut;
    } wrong[] = {{0, 2, 0}, {2, 2, 0}, {3, 2, 0}, {1, 1, 0}, {1, 0, 0}, {1, 2, 1}, {1, 2, 172}};
    test_world *w = begin(&(world_options){0});
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const uint8_t id[WEFT_UNIQUE_ID_BYTES] = {1, 2, 3};
        uint8_t frame[WEFT_FRAME_HEAD_MAX + WEFT_UNIQUE_ID_MAX + 1];
        weft_message start = {.type = WEFT_MESSAGE_START,
                              .epoch = 9,
                              .kind = WEFT_BASELINE,
                              .transport = 2,
                              .updates = 1,
                              .group = 9,
                              .rank = wrong[i].rank,
                              .ranks = wrong[i].ranks,
                              .tail = (uint32_t)(WEFT_UNIQUE_ID_MAX - wrong[i].cut)};
        uint32_t link;
        weft_worker *worker = w->workers[0].worker;
        size_t head = weft_frame_encode_head(&start, frame);
        weft_base64_encode(id, sizeof id, (char *)frame + head);
        assert_int_equal(weft_worker_link_open(worker, &link), WEFT_OK);
        assert_int_equal(weft_worker_receive(worker, link, frame, head + start.tail), WEFT_OK);
        assert_int_equal(weft_worker_detail(worker)->status, WEFT_E_FRAME_MALFORMED);
        assert_int_equal(weft_worker_link_close(worker, link, WEFT_E_LINK_CLOSED), WEFT_OK);
    }
    world_push_and_check(w, WEFT_SPARSE, 50, 2); /* nothing of it was kept */
    world_destroy(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions_over_one_group),
        cmocka_unit_test(test_a_new_group_for_other_members),
        cmocka_unit_test(test_every_fault_at_every_rank),
        cmocka_unit_test(test_a_root_that_hangs_after_all_have_received),
        cmocka_unit_test(test_no_unique_id),
        cmocka_unit_test(test_a_collective_that_cannot_be_left),
        cmocka_unit_test(test_a_root_that_cannot_leave),
        cmocka_unit_test(test_a_streamed_baseline_cut_off),
        cmocka_unit_test(test_at_every_record),
        cmocka_unit_test(test_destroyed_while_it_moves),
        cmocka_unit_test(test_a_worker_without_a_transport),
        cmocka_unit_test(test_malformed_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
