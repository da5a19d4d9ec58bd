/* vLLM's order on the wire, both ways: a trainer's plan in vLLM's words and a worker under local
 * control, that have nothing but the group in common. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collective.h"
#include "weft.h"

#define TENSORS 9u

typedef struct scene {
    test_random random;
    collective collective;
    const weft_transport *sends, *receives;
    test_model *current, *base, *serving;
    weft_trainer *trainer;
    weft_worker *worker;
    uint64_t now_ns;
} scene;

static void poll_both(const scene *s)
{
    for (unsigned i = 0; i < 100; i++) {
        (void)weft_transport_poll(s->sends);
        (void)weft_transport_poll(s->receives);
    }
}

static void join(scene *s)
{
    char id[WEFT_UNIQUE_ID_MAX + 1];
    assert_int_equal(weft_transport_unique_id(s->sends, id), WEFT_OK);
    assert_int_equal(strlen(id), WEFT_UNIQUE_ID_MAX);
    assert_int_equal(weft_transport_join(s->sends, id, 0, 2), WEFT_OK);
    assert_int_equal(weft_transport_poll(s->sends),
                     WEFT_AGAIN); /* the other one is not there yet */
    assert_int_equal(weft_transport_join(s->receives, id, 1, 2), WEFT_OK);
    poll_both(s);
    assert_int_equal(weft_transport_poll(s->sends), WEFT_OK);
    assert_int_equal(weft_transport_poll(s->receives), WEFT_OK);
}

static scene *begin(void)
{
    scene *s = calloc(1, sizeof *s);
    weft_trainer_config trainer = WEFT_TRAINER_CONFIG_INIT;
    weft_worker_config worker = WEFT_WORKER_CONFIG_INIT;
    assert_non_null(s);
    s->random = test_random_start();
    s->now_ns = 1;
    collective_start(&s->collective, &s->random);
    s->sends = collective_transport(&s->collective, 0);
    s->receives = collective_transport(&s->collective, 1);
    s->current = test_model_create(&s->random, TENSORS);
    s->base = test_model_copy(&s->random, s->current);
    s->serving = test_model_copy(&s->random, s->current);
    trainer.model = s->current->model;
    trainer.base = s->base->model;
    trainer.base_version = 1;
    trainer.transport = s->sends;
    worker.model = s->serving->model;
    worker.version = 1;
    worker.transport = s->receives;
    worker.timeout_ms = 1000;
    assert_int_equal(weft_trainer_create(&s->trainer, &trainer), WEFT_OK);
    assert_int_equal(weft_worker_create(&s->worker, &worker), WEFT_OK);
    return s;
}

static void end(scene *s)
{
    weft_worker_destroy(s->worker);
    weft_trainer_destroy(s->trainer);
    weft_transport_destroy(s->sends);
    weft_transport_destroy(s->receives);
    collective_finish(&s->collective);
    test_model_destroy(s->current);
    test_model_destroy(s->base);
    test_model_destroy(s->serving);
    free(s);
}

static void start(const scene *s, weft_kind kind, uint64_t version)
{
    weft_session session = WEFT_SESSION_INIT;
    session.kind = kind;
    session.target_version = version;
    session.receives = true;
    assert_int_equal(weft_worker_start(s->worker, &session), WEFT_OK);
}

/* Until it is not AGAIN any more, or for so many polls. */
static weft_status await(scene *s, weft_status status)
{
    for (unsigned i = 0; i < 200 && status == WEFT_AGAIN; i++) {
        weft_worker_tick(s->worker, s->now_ns);
        status = weft_worker_poll(s->worker);
        (void)weft_trainer_vllm_poll(s->trainer);
    }
    return status;
}

/* One update from plan to commit, on both sides. */
static weft_status update(scene *s, weft_kind kind, uint64_t version)
{
    const char *info = NULL;
    size_t length = 0;
    assert_int_equal(weft_trainer_vllm_plan(s->trainer, kind, version, &info, &length), WEFT_OK);
    assert_true(length > 0);
    start(s, kind, version);
    assert_int_equal(weft_trainer_vllm_poll(s->trainer), WEFT_E_WRONG_STATE);
    (void)weft_trainer_vllm_send(s->trainer);
    weft_status status = await(s, weft_worker_update_receive(s->worker, info, length));
    if (status == WEFT_OK) {
        status = weft_worker_finish(s->worker);
    }
    bool sent = weft_trainer_vllm_poll(s->trainer) == WEFT_OK;
    assert_int_equal(weft_trainer_vllm_end(s->trainer, sent && status == WEFT_OK), WEFT_OK);
    return status;
}

static void check(const scene *s, uint64_t version)
{
    weft_worker_info info;
    weft_trainer_info trainer;
    weft_worker_get_info(s->worker, &info);
    weft_trainer_get_info(s->trainer, &trainer);
    assert_int_equal(info.state, WEFT_IDLE);
    assert_int_equal(info.version, version);
    assert_int_equal(info.digest, trainer.base_digest);
    assert_int_equal(trainer.base_version, version);
    assert_int_equal(trainer.session_bytes, 0);
    assert_int_equal(info.session_bytes, 0);
    assert_true(test_model_equal(s->serving, s->base));
}

static void test_updates(void **state)
{
    scene *s = begin();
    (void)state;
    join(s);
    for (uint64_t version = 2; version < 30; version++) {
        bool dense = version % 5 == 0;
        test_model_change(&s->random, s->current, 100);
        assert_int_equal(update(s, dense ? WEFT_BASELINE : WEFT_SPARSE, version), WEFT_OK);
        check(s, version);
        assert_true(test_model_equal(s->base, s->current));
    }
    assert_int_equal(s->collective.cancels, 0);
    end(s);
}

/* A receiver that cannot receive goes back; a sender that fails after that says so, and its base
 * stays. */
static void test_faults(void **state)
{
    (void)state;
    for (int place = 0; place < 2; place++) {
        scene *s = begin();
        join(s);
        test_model_change(&s->random, s->current, 100);
        s->collective.breaks = place;
        weft_status status = update(s, WEFT_SPARSE, 2);
        assert_int_equal(status, place == 0 ? WEFT_OK : WEFT_E_COLLECTIVE);
        assert_false(test_model_equal(s->base, s->current));
        assert_int_equal(test_model_equal(s->serving, s->current), place == 0);
        collective_mend(&s->collective);
        poll_both(s);
        join(s);
        assert_int_equal(update(s, WEFT_BASELINE, 3), WEFT_OK); /* whatever was held */
        check(s, 3);
        end(s);
    }
}

/* Nobody sends: the deadline, in the time that tick passes. */
static void test_nobody_sends(void **state)
{
    scene *s = begin();
    const char info[] = "{\"names\": [\"x\"], \"dtype_names\": [\"bool\"], \"shapes\": [[1]], "
                        "\"num_updates_list\": [1]}";
    const char *plan = NULL;
    size_t length = 0;
    (void)state;
    join(s);
    test_model_change(&s->random, s->current, 100);
    assert_int_equal(weft_trainer_vllm_plan(s->trainer, WEFT_SPARSE, 2, &plan, &length), WEFT_OK);
    start(s, WEFT_SPARSE, 2);
    assert_int_equal(weft_worker_update_receive(s->worker, info, sizeof info - 1),
                     WEFT_E_META_UNKNOWN_TENSOR); /* refused, rolled back, idle */
    start(s, WEFT_SPARSE, 2);
    assert_int_equal(weft_worker_update(s->worker, plan, length, NULL, 0), WEFT_E_WRONG_STATE);
    assert_int_equal(weft_worker_update_receive(s->worker, plan, length), WEFT_AGAIN);
    s->now_ns += UINT64_C(7000000000); /* nobody told the time before the call */
    assert_int_equal(await(s, WEFT_AGAIN), WEFT_AGAIN);
    s->now_ns += UINT64_C(1001000000);
    assert_int_equal(await(s, WEFT_AGAIN), WEFT_E_DEADLINE);
    assert_int_equal(weft_trainer_vllm_end(s->trainer, false), WEFT_OK);
    check(s, 1);
    join(s);
    assert_int_equal(update(s, WEFT_SPARSE, 2), WEFT_OK); /* over a new group */
    check(s, 2);
    end(s);
}

static void test_usage(void **state)
{
    scene *s = begin();
    char id[WEFT_UNIQUE_ID_MAX + 1];
    const char *info;
    size_t length;
    weft_session session = WEFT_SESSION_INIT;
    (void)state;
    assert_int_equal(weft_transport_unique_id(s->sends, id), WEFT_OK);
    assert_int_equal(weft_transport_join(s->sends, id, 2, 2), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_transport_join(s->sends, id, 0, 1), WEFT_E_INVALID_ARGUMENT);
    id[0] = '*';
    assert_int_equal(weft_transport_join(s->sends, id, 0, 2), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_transport_poll(s->sends), WEFT_E_COLLECTIVE); /* of no group */
    assert_int_equal(weft_trainer_vllm_send(s->trainer), WEFT_E_WRONG_STATE);
    assert_int_equal(weft_trainer_vllm_end(s->trainer, false), WEFT_E_WRONG_STATE);
    assert_int_equal(weft_trainer_vllm_plan(s->trainer, WEFT_SPARSE, 2, &info, &length), WEFT_OK);
    assert_null(info); /* nothing changed */
    assert_int_equal(weft_trainer_vllm_plan(s->trainer, WEFT_SPARSE, 2, &info, &length),
                     WEFT_E_WRONG_STATE);
    assert_int_equal(weft_trainer_push(s->trainer, WEFT_SPARSE, 2), WEFT_E_WRONG_STATE);
    assert_int_equal(weft_trainer_vllm_end(s->trainer, true), WEFT_E_WRONG_STATE);
    assert_int_equal(weft_trainer_vllm_end(s->trainer, false), WEFT_OK);
    assert_int_equal(weft_worker_start(s->worker, &session), WEFT_OK);
    assert_int_equal(weft_worker_update_receive(s->worker, "{}", 2), WEFT_E_WRONG_STATE);
    assert_int_equal(weft_worker_abort(s->worker), WEFT_OK);
    end(s);
}

/* A plan of nothing is sent by not sending; a transport that refuses says so, and has sent nothing.
 */
static void test_nothing_is_sent(void **state)
{
    scene *s = begin();
    const char *info;
    size_t length;
    (void)state;
    join(s);
    assert_int_equal(weft_trainer_vllm_plan(s->trainer, WEFT_SPARSE, 2, &info, &length), WEFT_OK);
    assert_null(info);
    assert_int_equal(weft_trainer_vllm_send(s->trainer), WEFT_OK);
    assert_int_equal(weft_trainer_vllm_poll(s->trainer), WEFT_OK);
    assert_int_equal(weft_trainer_vllm_end(s->trainer, true), WEFT_OK);
    test_model_change(&s->random, s->current, 100);
    s->collective.refuses = 0;
    assert_int_equal(weft_trainer_vllm_plan(s->trainer, WEFT_SPARSE, 3, &info, &length), WEFT_OK);
    assert_int_equal(weft_trainer_vllm_send(s->trainer), WEFT_E_COLLECTIVE);
    assert_int_equal(weft_trainer_vllm_poll(s->trainer), WEFT_E_COLLECTIVE);
    assert_int_equal(weft_trainer_vllm_end(s->trainer, true), WEFT_E_WRONG_STATE);
    assert_int_equal(weft_trainer_vllm_end(s->trainer, false), WEFT_OK);
    assert_false(test_model_equal(s->base, s->current));
    collective_mend(&s->collective);
    end(s);
}

/* Left while the other rank is missing. */
static void test_leave(void **state)
{
    scene *s = begin();
    char id[WEFT_UNIQUE_ID_MAX + 1];
    (void)state;
    assert_int_equal(weft_transport_unique_id(s->sends, id), WEFT_OK);
    assert_int_equal(weft_transport_join(s->sends, id, 0, 2), WEFT_OK);
    assert_int_equal(weft_transport_join(s->sends, id, 0, 2), WEFT_E_WRONG_STATE);
    weft_transport_leave(s->sends);
    poll_both(s);
    assert_int_equal(weft_transport_poll(s->sends), WEFT_E_COLLECTIVE);
    join(s);
    end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_updates),         cmocka_unit_test(test_faults),
        cmocka_unit_test(test_nobody_sends),    cmocka_unit_test(test_usage),
        cmocka_unit_test(test_nothing_is_sent), cmocka_unit_test(test_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
