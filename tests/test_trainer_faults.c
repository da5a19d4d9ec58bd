/* A trainer and its workers when something fails: a blow at every frame, silence, lost links around
 * the decision, interrupted baselines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frame.h"
#include "world.h"

#define DEFAULT_TIMEOUT_MS 60000u

/* ---- a fault at every frame ---- */

typedef enum blow_kind { CUT, STOP, KILL } blow_kind;

typedef struct plan_of_fault {
    blow_kind blow;
    uint32_t victim;
    uint64_t at,
        seen; /* the record at which it happens, counted over everybody; how many there were */
    bool due;
} plan_of_fault;

static void watch_for_blow(test_world *world, world_worker *worker, const weft_trace *record)
{
    plan_of_fault *plan = world->watch_context;
    (void)worker;
    (void)record;
    plan->due = plan->due || ++plan->seen == plan->at;
}

static void strike(test_world *world, const plan_of_fault *plan)
{
    switch (plan->blow) {
    case CUT:
        world_cut(world, plan->victim);
        break;
    case STOP:
        world->workers[plan->victim].stopped = true;
        break;
    case KILL:
        world_kill(world, plan->victim);
        break;
    }
}

/* As world_settle, but the blow falls between two turns. */
static void settle_with_blow(test_world *world, plan_of_fault *plan)
{
    bool struck = false;
    while (world_turn(world)) {
        if (plan->due && !struck) {
            struck = true;
            strike(world, plan);
        }
    }
}

/* After any fault: everybody is idle and holds the old or the new content, all who can know agree,
 * and the trainer's base is what somebody committed. */
static void check_agreement(test_world *world, const test_model *before, weft_status status)
{
    uint32_t committed = 0, unconfirmed = 0, gone = 0;
    weft_trainer_info trainer;
    weft_trainer_get_info(world->trainer, &trainer);
    assert_int_equal(trainer.state, WEFT_IDLE);
    for (uint32_t i = 0; i < world->count; i++) {
        const world_worker *worker = &world->workers[i];
        weft_worker_info info;
        if (worker->worker == NULL) {
            gone++;
            continue;
        }
        weft_worker_get_info(worker->worker, &info);
        assert_int_equal(info.state, WEFT_IDLE);
        assert_int_equal(info.condition, WEFT_INTACT);
        assert_int_equal(info.session_bytes, 0);
        assert_false(worker->paused);
        bool is_new = info.version == 2;
        assert_true(test_model_equal(worker->model, is_new ? world->current : before));
        committed += is_new ? 1 : 0;
        unconfirmed += info.last_outcome == WEFT_OUTCOME_UNCONFIRMED ? 1 : 0;
        assert_int_equal(is_new, info.last_outcome == WEFT_OUTCOME_COMMITTED);
        if (!is_new && info.last_outcome == WEFT_OUTCOME_ABORTED) {
            assert_true(status != WEFT_OK && status != WEFT_E_UNCONFIRMED);
        }
    }
    if (trainer.base_version == 2) {
        assert_true(committed + gone > 0); /* who is gone may have been the one */
        assert_true(test_model_equal(world->base, world->current));
        assert_true(status == WEFT_OK || status == WEFT_E_UNCONFIRMED);
    } else {
        assert_true(test_model_equal(world->base, before));
        assert_true(committed == 0 || status == WEFT_E_IN_DOUBT);
        assert_true(status != WEFT_OK);
    }
    assert_true(unconfirmed == 0 || status != WEFT_OK);
}

/* The next session succeeds in the same processes: sparse where all hold the base, otherwise a
 * baseline. */
static void recover(test_world *world, const plan_of_fault *plan, uint64_t version)
{
    world->watch = NULL;
    if (plan->blow == KILL && world->workers[plan->victim].worker == NULL) {
        world_revive(world, plan->victim, world->base, version);
    }
    for (uint32_t i = 0; i < world->count; i++) {
        world->workers[i].stopped = false;
    }
    world_settle(world);
    for (uint32_t i = 0; i < world->count; i++) {
        if (!world->workers[i].connected) {
            world_connect(world, i);
        }
    }
    world_settle(world);
    weft_push push;
    test_model_change(&world->random, world->current, 20);
    weft_status status = world_push(world, WEFT_SPARSE, 3, &push);
    if (status != WEFT_OK) {
        assert_int_equal(status, WEFT_E_PEER_FAILED);
        assert_non_null(strstr(weft_trainer_detail(world->trainer)->text, "WEFT_E_BASE_MISMATCH"));
        assert_int_equal(world_push(world, WEFT_BASELINE, 3, &push), WEFT_OK);
    }
    world_check(world, world->current, 3);
    world_check_base(world, world->current, 3);
}

static bool run_with_blow(blow_kind blow, uint64_t at)
{
    plan_of_fault plan = {.blow = blow, .at = at};
    test_world *world = world_create(&(world_options){.workers = 3,
                                                      .tensors = 12,
                                                      .version = 1,
                                                      .update_bytes = 4000,
                                                      .keepalive_ms = 10 * DEFAULT_TIMEOUT_MS});
    test_model *before = test_model_copy(&world->random, world->base);
    plan.victim = (uint32_t)test_random_below(&world->random, world->count);
    test_model_change(&world->random, world->current, 200);
    world->watch = watch_for_blow;
    world->watch_context = &plan;
    assert_int_equal(world_begin_push(world, WEFT_SPARSE, 2), WEFT_OK);
    settle_with_blow(world, &plan);
    bool struck = plan.due;
    world_wait(world, DEFAULT_TIMEOUT_MS); /* for those who wait for the silent one */
    world_wait(world, DEFAULT_TIMEOUT_MS);
    if (blow == STOP) { /* it wakes, finds its deadline over and what lies on the wire stale */
        world->workers[plan.victim].stopped = false;
        world_wait(world, 1);
    }
    weft_status status = weft_trainer_result(world->trainer, NULL);
    assert_int_not_equal(status, WEFT_AGAIN);
    check_agreement(world, before, status);
    weft_trainer_info info;
    weft_trainer_get_info(world->trainer, &info);
    recover(world, &plan, info.base_version);
    test_model_destroy(before);
    world_destroy(world);
    return struck;
}

static void test_blow_at_every_frame(void **state)
{
    (void)state;
    static const blow_kind BLOWS[] = {CUT, STOP, KILL};
    for (size_t b = 0; b < 3; b++) {
        uint64_t at = 1;
        while (run_with_blow(BLOWS[b], at)) {
            at++;
        }
        assert_true(at > 40); /* a session has more records than this */
    }
}

/* ---- the way back ---- */

static void test_abort_in_every_phase(void **state)
{
    (void)state;
    for (unsigned turns = 0;; turns++) {
        test_world *world = world_create(
            &(world_options){.workers = 2, .tensors = 8, .version = 1, .update_bytes = 4000});
        test_model *before = test_model_copy(&world->random, world->base);
        test_model_change(&world->random, world->current, 200);
        assert_int_equal(world_begin_push(world, WEFT_SPARSE, 2), WEFT_OK);
        for (unsigned i = 0; i < turns; i++) {
            world_turn(world);
        }
        weft_status aborted = weft_trainer_abort(world->trainer);
        world_settle(world);
        if (aborted == WEFT_OK) {
            assert_int_equal(weft_trainer_result(world->trainer, NULL), WEFT_E_ABORTED);
            world_check(world, before, 1);
            world_check_base(world, before, 1);
            assert_int_equal(world->failures, 1);
        } else {
            assert_int_equal(aborted, WEFT_E_WRONG_STATE);
            assert_int_equal(weft_trainer_result(world->trainer, NULL), WEFT_OK);
        }
        world_push_and_check(world, WEFT_SPARSE, 100, 3);
        test_model_destroy(before);
        world_destroy(world);
        if (aborted != WEFT_OK) {
            assert_true(turns > 10);
            break;
        }
    }
}

static void test_silent_worker_meets_the_deadline(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){
        .workers = 3, .tensors = 8, .version = 1, .timeout_ms = 500, .keepalive_ms = 100000});
    test_model *before = test_model_copy(&world->random, world->base);
    test_model_change(&world->random, world->current, 200);
    world->workers[2].stopped = true;
    assert_int_equal(world_push(world, WEFT_SPARSE, 2, NULL), WEFT_AGAIN);
    world_wait(world, 499);
    assert_int_equal(weft_trainer_result(world->trainer, NULL), WEFT_AGAIN);
    world_wait(world, 1);
    assert_int_equal(weft_trainer_result(world->trainer, NULL),
                     WEFT_AGAIN); /* it waits for ABORTED, not for ever */
    assert_int_equal(weft_trainer_detail(world->trainer)->status, WEFT_E_DEADLINE);
    world_wait(world, 500);
    assert_int_equal(weft_trainer_result(world->trainer, NULL), WEFT_E_DEADLINE);
    assert_non_null(strstr(weft_trainer_detail(world->trainer)->text, "worker 2"));
    world_check(world, before, 1);
    world->workers[2].stopped = false;
    world_settle(world); /* it reads START and ABORT, which are over */
    world_check(world, before, 1);
    world_push_and_check(world, WEFT_SPARSE, 100, 3);
    test_model_destroy(before);
    world_destroy(world);
}

static void test_silent_link_is_lost(void **state)
{
    (void)state;
    test_world *world =
        world_create(&(world_options){.workers = 2, .tensors = 4, .keepalive_ms = 100});
    weft_trainer_info info;
    world->workers[0].stopped = true;
    for (unsigned i = 0; i < 40; i++) {
        world_wait(world, 10);
    }
    weft_trainer_get_info(world->trainer, &info);
    assert_int_equal(info.links, 1);
    assert_true(world->workers[1].connected); /* PING and PONG kept it */
    weft_trainer_worker_info worker;
    assert_int_equal(weft_trainer_worker(world->trainer, world->workers[0].there, &worker),
                     WEFT_OK);
    assert_int_equal(worker.status, WEFT_E_LINK_SILENT);
    assert_false(worker.open);
    world->workers[0].stopped = false;
    world_destroy(world);
}

/* ---- the decision ---- */

static void cut_all_when_finished(test_world *world, world_worker *worker, const weft_trace *record)
{
    bool *due = world->watch_context;
    *due = *due ||
           (worker == NULL && record->kind == WEFT_TRACE_TRANSITION && record->to == WEFT_FINISHED);
}

static void test_every_link_lost_after_the_decision(void **state)
{
    (void)state;
    bool due = false;
    test_world *world = world_create(&(world_options){.workers = 2, .tensors = 8, .version = 1});
    test_model *before = test_model_copy(&world->random, world->base);
    world->watch = cut_all_when_finished;
    world->watch_context = &due;
    test_model_change(&world->random, world->current, 200);
    assert_int_equal(world_begin_push(world, WEFT_SPARSE, 2), WEFT_OK);
    while (!due) {
        assert_true(world_turn(world));
    }
    world_cut(world, 0);
    world_cut(world, 1);
    assert_int_equal(weft_trainer_result(world->trainer, NULL), WEFT_E_IN_DOUBT);
    weft_worker_info info;
    for (uint32_t i = 0; i < 2; i++) {
        weft_worker_get_info(world->workers[i].worker, &info);
        assert_int_equal(info.last_outcome, WEFT_OUTCOME_UNCONFIRMED);
        assert_int_equal(weft_worker_detail(world->workers[i].worker)->status, WEFT_E_IN_DOUBT);
    }
    world_check(world, before, 1);
    world_check_base(world, before, 1);
    world_connect(world, 0);
    world_connect(world, 1);
    world_settle(world);
    world_check_base(world, before, 1);
    world_push_and_check(world, WEFT_SPARSE, 10, 3);
    test_model_destroy(before);
    world_destroy(world);
}

static void stop_when_one_committed(test_world *world, world_worker *worker,
                                    const weft_trace *record)
{
    if (worker != NULL && record->kind == WEFT_TRACE_TRANSITION &&
        record->event == WEFT_EVENT_COMMIT) {
        *(uint32_t *)world->watch_context = worker->number;
    }
}

static void test_a_hello_tells_what_the_trainer_could_not_hear(void **state)
{
    (void)state;
    uint32_t committed = UINT32_MAX;
    weft_push push;
    test_world *world = world_create(&(world_options){.workers = 2, .tensors = 8, .version = 1});
    world->watch = stop_when_one_committed;
    world->watch_context = &committed;
    test_model_change(&world->random, world->current, 200);
    assert_int_equal(world_begin_push(world, WEFT_SPARSE, 2), WEFT_OK);
    while (committed == UINT32_MAX) {
        assert_true(world_turn(world));
    }
    world_cut(world, 0);
    world_cut(world, 1);
    assert_int_equal(weft_trainer_result(world->trainer, &push), WEFT_E_IN_DOUBT);
    assert_int_equal(push.outcome, WEFT_OUTCOME_UNDECIDED);
    world_connect(world, committed);
    world_settle(world);
    assert_int_equal(weft_trainer_result(world->trainer, &push), WEFT_E_UNCONFIRMED);
    assert_int_equal(push.outcome, WEFT_OUTCOME_COMMITTED);
    world_check_base(world, world->current,
                     2); /* the base advances with the first word of a worker that committed */
    world_connect(world, 1 - committed);
    world_settle(world);
    assert_int_equal(world_push(world, WEFT_BASELINE, 3, NULL), WEFT_OK);
    world_check(world, world->current, 3);
    world_destroy(world);
}

/* A baseline in doubt has no values but the current weights. What they are when the worker comes
 * back decides: the base becomes what the worker holds, or stays what it was. */
static void test_a_baseline_in_doubt(void **state)
{
    (void)state;
    for (int changes = 0; changes < 2; changes++) {
        uint32_t committed = UINT32_MAX;
        test_world *world = world_create(&(world_options){.workers = 1, .tensors = 8});
        test_model *before = test_model_copy(&world->random, world->base);
        world->watch = stop_when_one_committed;
        world->watch_context = &committed;
        test_model_change(&world->random, world->current, 200);
        assert_int_equal(world_begin_push(world, WEFT_BASELINE, 2), WEFT_OK);
        while (committed == UINT32_MAX) {
            assert_true(world_turn(world));
        }
        world_cut(world, 0);
        assert_int_equal(weft_trainer_result(world->trainer, NULL), WEFT_E_IN_DOUBT);
        test_model *pushed = test_model_copy(&world->random, world->current);
        if (changes != 0) {
            test_model_change(&world->random, world->current, 20);
        }
        world_connect(world, 0);
        world_settle(world);
        world_check(world, pushed, 2);
        world_check_base(world, changes != 0 ? before : pushed, changes != 0 ? 0 : 2);
        world_push_and_check(world, WEFT_BASELINE, 10, 3);
        test_model_destroy(pushed);
        test_model_destroy(before);
        world_destroy(world);
    }
}

/* One worker confirms, the other is lost before it could: committed, and said so. */
static void test_commit_that_not_everybody_confirmed(void **state)
{
    (void)state;
    uint32_t committed = UINT32_MAX;
    weft_push push;
    test_world *world = world_create(&(world_options){.workers = 2, .tensors = 8, .version = 1});
    world->watch = stop_when_one_committed;
    world->watch_context = &committed;
    test_model_change(&world->random, world->current, 200);
    assert_int_equal(world_begin_push(world, WEFT_SPARSE, 2), WEFT_OK);
    while (committed == UINT32_MAX) {
        assert_true(world_turn(world));
    }
    world->watch = NULL;
    world_cut(world, 1 - committed);
    world_settle(world);
    assert_int_equal(weft_trainer_result(world->trainer, &push), WEFT_E_UNCONFIRMED);
    assert_int_equal(push.outcome, WEFT_OUTCOME_COMMITTED);
    assert_int_equal(push.committed, 1);
    assert_int_equal(push.workers, 2);
    assert_int_equal(weft_trainer_detail(world->trainer)->status, WEFT_E_UNCONFIRMED);
    world_check_base(world, world->current, 2);
    world_destroy(world);
}

/* A trainer that starts anew knows nothing of the epochs that its workers have seen, until they say
 * HELLO. */
static void test_restarted_trainer(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 2, .tensors = 8, .version = 1});
    weft_push push;
    world_push_and_check(world, WEFT_SPARSE, 100, 2);
    world_push_and_check(world, WEFT_SPARSE, 100, 3);
    world_restart_trainer(world);
    world_connect(world, 0);
    world_connect(world, 1);
    world_settle(world);
    world_push_and_check(world, WEFT_SPARSE, 100, 4);
    assert_int_equal(weft_trainer_result(world->trainer, &push), WEFT_OK);
    assert_int_equal(push.epoch, 3);
    world_destroy(world);
}

/* ---- a baseline that is interrupted ---- */

static void test_torn_then_mended(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 2,
                                                      .tensors = 30,
                                                      .version = 1,
                                                      .update_bytes = 3000,
                                                      .baseline = WEFT_BASELINE_STREAMED});
    weft_worker_info info;
    test_model_change(&world->random, world->current, 1000);
    assert_int_equal(world_begin_push(world, WEFT_BASELINE, 2), WEFT_OK);
    do {
        assert_true(world_turn(world));
        weft_worker_get_info(world->workers[0].worker, &info);
    } while (info.condition != WEFT_TORN);
    assert_int_equal(info.version, 0);
    assert_true(world->workers[0].paused);
    world_cut(world, 0);
    world_settle(world);
    assert_int_equal(weft_trainer_result(world->trainer, NULL), WEFT_E_LINK_CLOSED);
    weft_worker_get_info(world->workers[0].worker, &info);
    assert_int_equal(info.state, WEFT_IDLE);
    assert_int_equal(info.condition, WEFT_TORN);
    assert_int_equal(info.digest, 0);
    assert_false(world->workers[0].paused);
    world_connect(world, 0);
    world_settle(world);
    assert_int_equal(world_push(world, WEFT_SPARSE, 2, NULL), WEFT_E_PEER_FAILED);
    assert_non_null(strstr(weft_trainer_detail(world->trainer)->text, "WEFT_E_TORN"));
    assert_int_equal(world_push(world, WEFT_BASELINE, 2, NULL), WEFT_OK);
    world_check(world, world->current, 2);
    world_push_and_check(world, WEFT_SPARSE, 10, 3);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blow_at_every_frame),
        cmocka_unit_test(test_abort_in_every_phase),
        cmocka_unit_test(test_silent_worker_meets_the_deadline),
        cmocka_unit_test(test_silent_link_is_lost),
        cmocka_unit_test(test_every_link_lost_after_the_decision),
        cmocka_unit_test(test_a_hello_tells_what_the_trainer_could_not_hear),
        cmocka_unit_test(test_a_baseline_in_doubt),
        cmocka_unit_test(test_commit_that_not_everybody_confirmed),
        cmocka_unit_test(test_restarted_trainer),
        cmocka_unit_test(test_torn_then_mended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
