/* A worker driven by API calls in the place of a trainer: the same session, the same table, and a
 * failing call has rolled back before it returns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plan.h"
#include "support.h"
#include "update.h"
#include "weft.h"

typedef struct fixture {
    test_random random;
    test_model *held, *before, *wanted; /* the worker's; what it was; what it is to become */
    test_allocator memory;
    weft_worker *worker;
    unsigned pauses, resumes, commits, failures;
} fixture;

static void on_pause(void *context, uint64_t epoch)
{
    (void)epoch;
    ((fixture *)context)->pauses++;
}

static void on_resume(void *context, uint64_t epoch)
{
    (void)epoch;
    ((fixture *)context)->resumes++;
}

static void on_commit(void *context, uint64_t version, uint64_t digest)
{
    (void)version;
    (void)digest;
    ((fixture *)context)->commits++;
}

static void on_failure(void *context, const weft_detail *detail)
{
    (void)detail;
    ((fixture *)context)->failures++;
}

static fixture *create(size_t tensors, weft_baseline_policy baseline)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->random = test_random_start();
    f->held = test_model_create(&f->random, tensors);
    f->before = test_model_copy(&f->random, f->held);
    f->wanted = test_model_copy(&f->random, f->held);
    test_model_change(&f->random, f->wanted, 200);
    test_allocator_start(&f->memory, 0);
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    config.model = f->held->model;
    config.version = 1;
    config.allocator = f->memory.allocator;
    config.baseline = baseline;
    config.hooks = (weft_hooks){.context = f,
                                .pause = on_pause,
                                .resume = on_resume,
                                .committed = on_commit,
                                .failed = on_failure};
    assert_int_equal(weft_worker_create(&f->worker, &config), WEFT_OK);
    return f;
}

static void destroy(fixture *f)
{
    weft_worker_destroy(f->worker);
    assert_int_equal(f->pauses, f->resumes);
    test_model_destroy(f->held);
    test_model_destroy(f->before);
    test_model_destroy(f->wanted);
    test_allocator_finish(&f->memory);
    free(f);
}

static weft_worker_info info_of(const fixture *f)
{
    weft_worker_info info;
    weft_worker_get_info(f->worker, &info);
    return info;
}

static void check_old(const fixture *f)
{
    weft_worker_info info = info_of(f);
    assert_int_equal(info.state, WEFT_IDLE);
    assert_int_equal(info.condition, WEFT_INTACT);
    assert_int_equal(info.version, 1);
    assert_int_equal(info.session_bytes, 0);
    assert_true(test_model_equal(f->held, f->before));
}

/* What a trainer would send to bring `before` to `wanted`, cut into updates. */
static weft_plan plan_for(const fixture *f, weft_kind kind, uint64_t update_bytes)
{
    weft_plan plan;
    weft_allocator allocator = weft_allocator_default();
    weft_worker_info info = info_of(f);
    assert_int_equal(weft_plan_make(&plan, &(weft_plan_request){.kind = kind,
                                                                .model = f->wanted->model,
                                                                .base = f->before->model,
                                                                .device = weft_device_host(),
                                                                .allocator = &allocator,
                                                                .budget_bytes = UINT64_C(1) << 30,
                                                                .update_bytes = update_bytes,
                                                                .epoch = info.last_epoch + 1,
                                                                .base_version = 1,
                                                                .base_digest = info.digest,
                                                                .target_version = 2}),
                     WEFT_OK);
    return plan;
}

static uint8_t *payload_of(const weft_plan *plan, size_t update)
{
    uint64_t bytes = plan->updates[update].payload_bytes;
    uint8_t *payload = calloc(1, bytes + 1);
    uint32_t length;
    assert_non_null(payload);
    for (uint64_t at = 0; at < bytes; at += length) {
        const uint8_t *run = weft_plan_payload(plan, update, at, UINT32_MAX, &length);
        if (run != NULL) {
            memcpy(payload + at, run, length);
        }
    }
    return payload;
}

static weft_status give_update(fixture *f, const weft_plan *plan, size_t update)
{
    uint8_t *payload = payload_of(plan, update);
    const weft_planned_update *planned = &plan->updates[update];
    weft_status status =
        weft_worker_update(f->worker, planned->document, (size_t)planned->document_bytes, payload,
                           (size_t)planned->payload_bytes);
    free(payload);
    return status;
}

static weft_session session_for(weft_kind kind)
{
    weft_session session = WEFT_SESSION_INIT;
    session.kind = kind;
    session.target_version = 2;
    return session;
}

static void commit(weft_kind kind, uint64_t update_bytes, weft_baseline_policy baseline)
{
    fixture *f = create(30, baseline);
    weft_plan plan = plan_for(f, kind, update_bytes);
    weft_session session = session_for(kind);
    session.check_target = true;
    session.target_digest = plan.target_digest;
    session.check_base = kind == WEFT_SPARSE;
    session.base_version = 1;
    session.base_digest = info_of(f).digest;
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_OK);
    for (size_t i = 0; i < plan.update_count; i++) {
        assert_int_equal(give_update(f, &plan, i), WEFT_OK);
        assert_int_equal(info_of(f).state, WEFT_RECEIVING);
        if (baseline != WEFT_BASELINE_STREAMED) {
            assert_true(
                test_model_equal(f->held, f->before)); /* nothing is written before finish */
        }
    }
    assert_int_equal(weft_worker_finish(f->worker), WEFT_OK);
    assert_int_equal(info_of(f).state, WEFT_IDLE);
    assert_int_equal(info_of(f).version, 2);
    assert_int_equal(info_of(f).digest, plan.target_digest);
    assert_true(test_model_equal(f->held, f->wanted));
    assert_int_equal(f->commits, 1);
    assert_int_equal(f->pauses, 1);
    weft_plan_release(&plan);
    destroy(f);
}

static void test_commit(void **state)
{
    (void)state;
    commit(WEFT_SPARSE, 0, WEFT_BASELINE_AUTO);
    commit(WEFT_SPARSE, 1000, WEFT_BASELINE_AUTO);
    commit(WEFT_BASELINE, 0, WEFT_BASELINE_AUTO);
    commit(WEFT_BASELINE, 1000, WEFT_BASELINE_STAGED);
    commit(WEFT_BASELINE, 1000, WEFT_BASELINE_STREAMED);
}

/* The second of two updates is bad: the first is gone too. */
static void test_updates_are_atomic_together(void **state)
{
    (void)state;
    fixture *f = create(30, WEFT_BASELINE_AUTO);
    weft_plan plan = plan_for(f, WEFT_SPARSE, 1000);
    weft_session session = session_for(WEFT_SPARSE);
    assert_true(plan.update_count > 2);
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_OK);
    assert_int_equal(give_update(f, &plan, 0), WEFT_OK);
    assert_int_equal(give_update(f, &plan, 2),
                     WEFT_E_META_SESSION_MISMATCH); /* it is number 2 and not 1 */
    assert_true(strstr(weft_worker_detail(f->worker)->text, "update 2") != NULL);
    check_old(f);
    assert_int_equal(f->failures, 1);
    assert_int_equal(weft_worker_finish(f->worker), WEFT_E_WRONG_STATE);
    assert_int_equal(give_update(f, &plan, 1), WEFT_E_WRONG_STATE);
    weft_plan_release(&plan);
    plan = plan_for(f, WEFT_SPARSE, 0);
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_OK);
    assert_int_equal(give_update(f, &plan, 0), WEFT_OK);
    assert_int_equal(weft_worker_finish(f->worker), WEFT_OK);
    assert_true(test_model_equal(f->held, f->wanted));
    weft_plan_release(&plan);
    destroy(f);
}

/* vLLM's chunks: one tensor in two updates of a session. */
static void test_tensor_in_two_updates(void **state)
{
    (void)state;
    fixture *f = create(1, WEFT_BASELINE_AUTO);
    const weft_tensor *tensor = weft_model_tensor(f->held->model, 0);
    char document[1024], shape[128] = "";
    for (uint32_t i = 0; i < tensor->rank; i++) {
        (void)snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%llu",
                       i > 0 ? "," : "", (unsigned long long)tensor->shape[i]);
    }
    int length = snprintf(
        document, sizeof document,
        "{\"names\":[\"%s\"],\"dtype_names\":[\"%s\"],\"shapes\":[[%s]],\"num_updates_list\":[0]}",
        tensor->name, weft_dtype_name(tensor->dtype), shape);
    weft_session session = session_for(WEFT_SPARSE);
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_OK);
    assert_int_equal(weft_worker_update(f->worker, document, (size_t)length, NULL, 0), WEFT_OK);
    assert_int_equal(weft_worker_update(f->worker, document, (size_t)length, NULL, 0),
                     WEFT_E_META_DUPLICATE_TENSOR);
    assert_string_equal(weft_worker_detail(f->worker)->tensor, tensor->name);
    check_old(f);
    destroy(f);
}

static void test_refused_starts(void **state)
{
    (void)state;
    fixture *f = create(5, WEFT_BASELINE_AUTO);
    weft_session session = session_for(WEFT_SPARSE);
    session.epoch = 5;
    session.check_base = true;
    session.base_version = 1;
    session.base_digest = info_of(f).digest ^ 1;
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_E_BASE_MISMATCH);
    assert_int_equal(info_of(f).last_epoch, 0); /* unchanged */
    session.check_base = false;
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_OK);
    assert_int_equal(info_of(f).epoch, 5);
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_E_WRONG_STATE);
    assert_int_equal(info_of(f).state, WEFT_STARTED);
    assert_int_equal(weft_worker_finish(f->worker), WEFT_E_WRONG_STATE); /* nothing came yet */
    assert_int_equal(info_of(f).state, WEFT_STARTED);
    assert_int_equal(weft_worker_abort(f->worker), WEFT_OK);
    check_old(f);
    assert_int_equal(info_of(f).last_outcome, WEFT_OUTCOME_ABORTED);
    assert_int_equal(weft_worker_abort(f->worker), WEFT_E_WRONG_STATE);
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_E_STALE_EPOCH);
    session.kind = (weft_kind)9;
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_E_INVALID_ARGUMENT);
    session.kind = WEFT_SPARSE;
    session.size = 3;
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_E_INVALID_ARGUMENT);
    destroy(f);
}

static void test_abort_after_update(void **state)
{
    (void)state;
    fixture *f = create(30, WEFT_BASELINE_AUTO);
    weft_plan plan = plan_for(f, WEFT_SPARSE, 0);
    weft_session session = session_for(WEFT_SPARSE);
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_OK);
    assert_int_equal(give_update(f, &plan, 0), WEFT_OK);
    assert_int_equal(weft_worker_abort(f->worker), WEFT_OK);
    check_old(f);
    weft_plan_release(&plan);
    destroy(f);
}

static void test_wrong_target(void **state)
{
    (void)state;
    fixture *f = create(30, WEFT_BASELINE_AUTO);
    weft_plan plan = plan_for(f, WEFT_SPARSE, 0);
    weft_session session = session_for(WEFT_SPARSE);
    session.check_target = true;
    session.target_digest = plan.target_digest ^ 1;
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_OK);
    assert_int_equal(give_update(f, &plan, 0),
                     WEFT_E_META_SESSION_MISMATCH); /* the document knows better */
    check_old(f);
    destroy(f);
    weft_plan_release(&plan);
}

static void test_incomplete_baseline(void **state)
{
    (void)state;
    fixture *f = create(30, WEFT_BASELINE_STAGED);
    weft_plan plan = plan_for(f, WEFT_BASELINE, 2000);
    weft_session session = session_for(WEFT_BASELINE);
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_OK);
    assert_int_equal(give_update(f, &plan, 0), WEFT_OK);
    assert_int_equal(weft_worker_finish(f->worker), WEFT_E_BASELINE_INCOMPLETE);
    assert_true(strstr(weft_worker_detail(f->worker)->text, "elements") != NULL);
    check_old(f);
    weft_plan_release(&plan);
    destroy(f);
}

static void test_payload_of_another_length(void **state)
{
    (void)state;
    fixture *f = create(30, WEFT_BASELINE_AUTO);
    weft_plan plan = plan_for(f, WEFT_SPARSE, 0);
    weft_session session = session_for(WEFT_SPARSE);
    uint8_t *payload = payload_of(&plan, 0);
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_OK);
    assert_int_equal(weft_worker_update(f->worker, plan.updates[0].document,
                                        (size_t)plan.updates[0].document_bytes, payload,
                                        (size_t)plan.updates[0].payload_bytes - 8),
                     WEFT_E_META_WRONG_LAYOUT);
    check_old(f);
    free(payload);
    weft_plan_release(&plan);
    destroy(f);
}

/* A session of this kind excludes trainers. */
static void test_trainers_are_told_that_it_is_busy(void **state)
{
    (void)state;
    fixture *f = create(5, WEFT_BASELINE_AUTO);
    weft_trainer *trainer;
    weft_trainer_config config = WEFT_TRAINER_CONFIG_INIT;
    config.model = f->wanted->model;
    config.base = f->before->model;
    config.base_version = 1;
    assert_int_equal(weft_trainer_create(&trainer, &config), WEFT_OK);
    weft_session session = session_for(WEFT_SPARSE);
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_OK);
    uint32_t here, there;
    weft_span spans[WEFT_SPANS_MAX];
    assert_int_equal(weft_worker_link_open(f->worker, &here), WEFT_OK);
    assert_int_equal(weft_trainer_link_open(trainer, &there), WEFT_OK);
    for (unsigned turn = 0; turn < 20; turn++) {
        if (turn == 1) { /* past HELLO */
            assert_int_equal(weft_trainer_push(trainer, WEFT_SPARSE, 2), WEFT_OK);
        }
        while (weft_worker_send(f->worker, here, spans) > 0) {
            size_t length = spans[0].length;
            assert_int_equal(weft_trainer_receive(trainer, there, spans[0].data, length), WEFT_OK);
            weft_worker_sent(f->worker, here, length);
        }
        while (weft_trainer_send(trainer, there, spans) > 0) {
            size_t length = spans[0].length;
            assert_int_equal(weft_worker_receive(f->worker, here, spans[0].data, length), WEFT_OK);
            weft_trainer_sent(trainer, there, length);
        }
    }
    assert_int_equal(weft_trainer_result(trainer, NULL), WEFT_E_PEER_FAILED);
    assert_non_null(strstr(weft_trainer_detail(trainer)->text, "WEFT_E_BUSY"));
    assert_int_equal(info_of(f).state, WEFT_STARTED);
    assert_int_equal(weft_worker_abort(f->worker), WEFT_OK);
    check_old(f);
    weft_trainer_destroy(trainer);
    destroy(f);
}

static void test_deadline_without_a_trainer(void **state)
{
    (void)state;
    fixture *f = create(5, WEFT_BASELINE_AUTO);
    weft_session session = session_for(WEFT_SPARSE);
    session.timeout_ms = 5;
    weft_worker_tick(f->worker, 1000);
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_OK);
    weft_worker_tick(f->worker, 9000000); /* from here it counts */
    assert_int_equal(info_of(f).state, WEFT_STARTED);
    weft_worker_tick(f->worker, 9000000 + 4999999);
    assert_int_equal(info_of(f).state, WEFT_STARTED);
    weft_worker_tick(f->worker, 9000000 + 5000000);
    check_old(f);
    assert_int_equal(weft_worker_detail(f->worker)->status, WEFT_E_DEADLINE);
    assert_int_equal(weft_worker_finish(f->worker), WEFT_E_WRONG_STATE);
    destroy(f);
}

/* ---- a device that works on while the calls return ---- */

static unsigned polls_left;
static weft_device_operation breaks;

static weft_status submit_slowly(const weft_device *device, weft_device_operation operation,
                                 const weft_segment *segments, size_t count,
                                 weft_device_result *result)
{
    const weft_device *host = weft_device_host();
    (void)device;
    weft_status status = host->submit(host, operation, segments, count, result);
    if (operation == breaks) {
        result->status = WEFT_E_DEVICE_FAILED;
        result->segment = UINT32_MAX;
    }
    polls_left = 3;
    return status;
}

static weft_poll poll_slowly(const weft_device *device)
{
    (void)device;
    return polls_left > 0 && --polls_left > 0 ? WEFT_POLL_AGAIN : WEFT_POLL_DONE;
}

static weft_status wait_for(weft_worker *worker, weft_status status)
{
    unsigned polls = 0;
    while (status == WEFT_AGAIN) {
        assert_int_equal(weft_worker_finish(worker), WEFT_E_WRONG_STATE);
        assert_int_equal(weft_worker_update(worker, "{}", 2, NULL, 0), WEFT_E_WRONG_STATE);
        status = weft_worker_poll(worker);
        polls++;
    }
    assert_true(polls > 0);
    return status;
}

static void test_slow_device(void **state)
{
    static const weft_device_operation BREAKS[] = {0, WEFT_DEVICE_VERIFY, WEFT_DEVICE_PUT};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        fixture *f = create(20, WEFT_BASELINE_AUTO);
        weft_plan plan = plan_for(f, WEFT_SPARSE, 0);
        weft_worker *worker;
        weft_device slow = *weft_device_host();
        weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
        weft_session session = session_for(WEFT_SPARSE);
        slow.submit = submit_slowly;
        slow.poll = poll_slowly;
        breaks = 0;
        config.model = f->held->model;
        config.version = 1;
        config.device = &slow;
        assert_int_equal(weft_worker_create(&worker, &config), WEFT_OK);
        weft_worker_destroy(f->worker);
        f->worker = worker;
        breaks = BREAKS[i];
        assert_int_equal(weft_worker_start(worker, &session), WEFT_OK);
        weft_status status = wait_for(worker, give_update(f, &plan, 0));
        if (status == WEFT_OK) {
            status = wait_for(worker, weft_worker_finish(worker));
        }
        assert_int_equal(status, breaks == 0 ? WEFT_OK : WEFT_E_DEVICE_FAILED);
        assert_int_equal(info_of(f).state, WEFT_IDLE);
        assert_int_equal(info_of(f).version, breaks == 0 ? 2 : 1);
        assert_true(test_model_equal(f->held, breaks == 0 ? f->wanted : f->before));
        breaks = 0;
        weft_plan_release(&plan);
        destroy(f);
    }
    assert_int_equal(weft_worker_poll(NULL), WEFT_E_INVALID_ARGUMENT);
}

/* What the device does for a trainer's session is no answer to a call that was refused. */
static void test_poll_in_a_trainers_session(void **state)
{
    (void)state;
    fixture *f = create(20, WEFT_BASELINE_AUTO);
    weft_device slow = *weft_device_host();
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    weft_trainer_config training = WEFT_TRAINER_CONFIG_INIT;
    weft_session session = session_for(WEFT_SPARSE);
    weft_span spans[WEFT_SPANS_MAX];
    weft_trainer *trainer;
    uint32_t here, there;
    bool slept = false;
    slow.submit = submit_slowly;
    slow.poll = poll_slowly;
    weft_worker_destroy(f->worker);
    config.model = f->held->model;
    config.version = 1;
    config.device = &slow;
    assert_int_equal(weft_worker_create(&f->worker, &config), WEFT_OK);
    training.model = f->wanted->model;
    training.base = f->before->model;
    training.base_version = 1;
    assert_int_equal(weft_trainer_create(&trainer, &training), WEFT_OK);
    assert_int_equal(weft_worker_link_open(f->worker, &here), WEFT_OK);
    assert_int_equal(weft_trainer_link_open(trainer, &there), WEFT_OK);
    for (unsigned turn = 0; turn < 60; turn++) {
        if (turn == 1) { /* past HELLO */
            assert_int_equal(weft_trainer_push(trainer, WEFT_SPARSE, 2), WEFT_OK);
        }
        while (weft_worker_send(f->worker, here, spans) > 0) {
            size_t length = spans[0].length;
            assert_int_equal(weft_trainer_receive(trainer, there, spans[0].data, length), WEFT_OK);
            weft_worker_sent(f->worker, here, length);
        }
        while (weft_trainer_send(trainer, there, spans) > 0) {
            size_t length = spans[0].length;
            assert_int_equal(weft_worker_receive(f->worker, here, spans[0].data, length), WEFT_OK);
            weft_trainer_sent(trainer, there, length);
        }
        if (polls_left > 0) { /* the device works */
            slept = true;
            assert_int_equal(weft_worker_start(f->worker, &session), WEFT_E_BUSY);
            assert_int_equal(weft_worker_poll(f->worker), WEFT_E_BUSY);
        }
        weft_worker_tick(f->worker, turn);
    }
    assert_true(slept);
    assert_int_equal(weft_trainer_result(trainer, NULL), WEFT_OK);
    assert_int_equal(info_of(f).version, 2);
    weft_trainer_destroy(trainer);
    destroy(f);
}

static void test_arguments(void **state)
{
    (void)state;
    fixture *f = create(2, WEFT_BASELINE_AUTO);
    assert_int_equal(weft_worker_start(NULL, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_start(f->worker, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_update(f->worker, NULL, 0, NULL, 0), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_update(f->worker, "{}", 2, NULL, 1), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_finish(NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_abort(NULL), WEFT_E_INVALID_ARGUMENT);
    check_old(f);
    destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commit),
        cmocka_unit_test(test_updates_are_atomic_together),
        cmocka_unit_test(test_tensor_in_two_updates),
        cmocka_unit_test(test_refused_starts),
        cmocka_unit_test(test_abort_after_update),
        cmocka_unit_test(test_wrong_target),
        cmocka_unit_test(test_incomplete_baseline),
        cmocka_unit_test(test_payload_of_another_length),
        cmocka_unit_test(test_trainers_are_told_that_it_is_busy),
        cmocka_unit_test(test_deadline_without_a_trainer),
        cmocka_unit_test(test_slow_device),
        cmocka_unit_test(test_poll_in_a_trainers_session),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
