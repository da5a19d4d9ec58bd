/* A worker with silent peers, lost links, failing devices and no memory: idle after each, with the
 * condition that it deserves. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "digest.h"
#include "update.h"
#include "worker_engine.h"
#include "worker_fixture.h"

/* ---- silence, loss, doubt ---- */

static void test_deadline_in_every_step(void **state)
{
    (void)state;
    for (int steps = STARTED; steps <= APPLIED; steps++) {
        fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
        fixture_go(f, steps);
        uint64_t due = weft_worker_next_ns(f->worker);
        assert_int_equal(due, f->now_ns + TIMEOUT_MS * NS_PER_MS);
        weft_worker_tick(f->worker, due - 1);
        assert_int_not_equal(fixture_state_of(f), WEFT_IDLE);
        weft_worker_tick(f->worker, due);
        fixture_listen_to_worker(f);
        fixture_check_failed(f, WEFT_E_DEADLINE);
        assert_int_equal(f->answer.outcome,
                         steps == APPLIED ? WEFT_OUTCOME_UNCONFIRMED : WEFT_OUTCOME_ABORTED);
        assert_int_equal(f->answer.state, weft_worker_detail(f->worker)->state);
        fixture_check_next_commits(f);
        fixture_destroy(f);
    }
}

/* The session ends in the middle of a frame; what is left of the frame belongs to nobody. */
static void test_rest_of_a_frame_after_the_deadline(void **state)
{
    (void)state;
    static const weft_message_type TYPES[] = {WEFT_MESSAGE_DOCUMENT, WEFT_MESSAGE_PAYLOAD};
    for (size_t i = 0; i < 2; i++) {
        fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
        uint8_t head[WEFT_FRAME_HEAD_MAX];
        fixture_go(f, i == 0 ? UPDATED : READY);
        weft_message piece = {.type = (uint8_t)TYPES[i], .epoch = f->epoch, .tail = 24};
        uint32_t length = weft_frame_encode_head(&piece, head);
        assert_int_equal(weft_worker_receive(f->worker, f->link, head, length), WEFT_OK);
        assert_int_equal(weft_worker_receive(f->worker, f->link, f->payload, 10), WEFT_OK);
        weft_worker_tick(f->worker, f->now_ns + TIMEOUT_MS * NS_PER_MS);
        fixture_listen_to_worker(f);
        fixture_check_failed(f, WEFT_E_DEADLINE);
        assert_int_equal(weft_worker_receive(f->worker, f->link, f->payload + 10, 14), WEFT_OK);
        fixture_listen_to_worker(f);
        assert_int_equal(f->answer.type, 0);
        fixture_check_next_commits(f);
        fixture_destroy(f);
    }
}

static void test_start_may_ask_for_less_time(void **state)
{
    (void)state;
    static const uint32_t ASKED[] = {0, 10, TIMEOUT_MS + 1}, GIVEN[] = {TIMEOUT_MS, 10, TIMEOUT_MS};
    for (size_t i = 0; i < 3; i++) {
        fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
        weft_message start = fixture_start_message(f);
        start.timeout_ms = ASKED[i];
        assert_int_equal(fixture_say(f, &start, NULL), WEFT_OK);
        assert_int_equal(weft_worker_next_ns(f->worker), f->now_ns + GIVEN[i] * NS_PER_MS);
        fixture_destroy(f);
    }
}

static void test_link_lost_in_every_step(void **state)
{
    (void)state;
    for (int steps = STARTED; steps <= APPLIED; steps++) {
        fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
        weft_worker_info info;
        fixture_go(f, steps);
        assert_int_equal(weft_worker_link_close(f->worker, f->link, WEFT_E_LINK_CLOSED), WEFT_OK);
        fixture_check_old(f);
        weft_worker_get_info(f->worker, &info);
        assert_int_equal(f->failed_hook, steps == APPLIED ? WEFT_E_IN_DOUBT : WEFT_E_LINK_CLOSED);
        assert_int_equal(info.last_outcome,
                         steps == APPLIED ? WEFT_OUTCOME_UNCONFIRMED : WEFT_OUTCOME_ABORTED);
        fixture_open_link(f);
        assert_int_equal(f->answer.last_epoch, f->epoch);
        assert_int_equal(f->answer.outcome, info.last_outcome); /* HELLO tells it for ever after */
        fixture_check_next_commits(f);
        fixture_destroy(f);
    }
}

static void test_destroyed_in_every_step(void **state)
{
    (void)state;
    for (int steps = 0; steps <= APPLIED; steps++) {
        fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
        fixture_go(f, steps);
        weft_worker_destroy(f->worker);
        f->worker = NULL;
        assert_memory_equal(f->weights, f->before, sizeof f->weights);
        fixture_destroy(f);
    }
}

/* ---- a device that fails ---- */

typedef struct failing_device {
    weft_device device;
    weft_device_operation fails;
    bool at_submit, gone, slow;
    unsigned polls;
} failing_device;

static failing_device *failing;

static weft_status failing_submit(const weft_device *device, weft_device_operation operation,
                                  const weft_segment *segments, size_t count,
                                  weft_device_result *result)
{
    (void)device;
    const weft_device *host = weft_device_host();
    if (operation == failing->fails && failing->at_submit) {
        return WEFT_E_DEVICE_FAILED;
    }
    weft_status status = host->submit(host, operation, segments, count, result);
    if (operation == failing->fails && !failing->gone && !failing->slow) {
        result->status = WEFT_E_DEVICE_FAILED;
        result->segment = UINT32_MAX; /* about no segment */
    }
    failing->polls = operation == failing->fails && failing->slow ? 3 : 0;
    return status;
}

static weft_poll failing_poll(const weft_device *device)
{
    (void)device;
    if (failing->polls > 0) {
        failing->polls--;
        return WEFT_POLL_AGAIN;
    }
    return failing->gone ? WEFT_POLL_GONE : WEFT_POLL_DONE;
}

static fixture *create_with_device(failing_device *device)
{
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    device->device = *weft_device_host();
    device->device.submit = failing_submit;
    device->device.poll = failing_poll;
    failing = device;
    f->worker->device = &device->device;
    f->worker->staging.device = &device->device;
    return f;
}

static void test_verify_fails(void **state)
{
    (void)state;
    for (int at_submit = 0; at_submit < 2; at_submit++) {
        failing_device device = {.fails = WEFT_DEVICE_VERIFY, .at_submit = at_submit != 0};
        fixture *f = create_with_device(&device);
        fixture_go(f, READY);
        fixture_say_payload(f);
        fixture_check_failed(f, WEFT_E_DEVICE_FAILED);
        device.fails = 0;
        fixture_check_next_commits(f);
        fixture_destroy(f);
    }
}

static weft_status reserve_status;
static unsigned forgotten;

static weft_status reserve_or_not(const weft_device *device, const weft_segment *segments,
                                  size_t count)
{
    (void)device;
    assert_non_null(segments);
    assert_int_equal(count, 1);
    return reserve_status;
}

static void count_forgotten(const weft_device *device, const weft_segment *segments)
{
    (void)device;
    assert_non_null(segments);
    forgotten++;
}

static void test_device_cannot_reserve(void **state)
{
    (void)state;
    failing_device device = {.fails = 0};
    fixture *f = create_with_device(&device);
    device.device.reserve = reserve_or_not;
    device.device.forget = count_forgotten;
    reserve_status = WEFT_E_OUT_OF_MEMORY;
    forgotten = 0;
    fixture_go(f, UPDATED);
    fixture_say_document(f);
    fixture_check_failed(f, WEFT_E_OUT_OF_MEMORY);
    assert_int_equal(forgotten, 1);
    reserve_status = WEFT_OK;
    fixture_check_next_commits(f);
    assert_int_equal(forgotten, 2);
    fixture_destroy(f);
}

static void test_put_fails(void **state)
{
    (void)state;
    for (int at_submit = 0; at_submit < 2; at_submit++) {
        failing_device device = {.fails = WEFT_DEVICE_PUT, .at_submit = at_submit != 0};
        fixture *f = create_with_device(&device);
        fixture_go(f, STAGED);
        fixture_say_plain(f, WEFT_MESSAGE_APPLY);
        fixture_check_failed(f, WEFT_E_DEVICE_FAILED);
        device.fails = 0;
        fixture_check_next_commits(f);
        fixture_destroy(f);
    }
}

static void test_rollback_fails(void **state)
{
    (void)state;
    failing_device device = {.fails = WEFT_DEVICE_ROLLBACK};
    fixture *f = create_with_device(&device);
    weft_worker_info info;
    fixture_go(f, APPLIED);
    fixture_say_plain(f, WEFT_MESSAGE_ABORT);
    weft_worker_get_info(f->worker, &info);
    assert_int_equal(info.state, WEFT_IDLE); /* reset cannot fail: the condition tells */
    assert_int_equal(info.condition, WEFT_LOST);
    assert_int_equal(info.version, 0);
    assert_int_equal(info.digest, 0);
    assert_int_equal(info.session_bytes, 0);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_ABORTED);
    assert_int_equal(f->answer.condition, WEFT_LOST);
    f->epoch++;
    weft_message start = fixture_start_message(f);
    assert_int_equal(fixture_say(f, &start, NULL), WEFT_OK);
    assert_int_equal((weft_status)f->answer.code, WEFT_E_LOST);
    start.kind = WEFT_BASELINE;
    assert_int_equal(fixture_say(f, &start, NULL), WEFT_OK);
    assert_int_equal((weft_status)f->answer.code, WEFT_E_LOST);
    fixture_destroy(f);
}

static void test_device_gone(void **state)
{
    (void)state;
    failing_device device = {.fails = WEFT_DEVICE_PUT, .gone = true};
    fixture *f = create_with_device(&device);
    device.gone = false;
    fixture_go(f, STAGED);
    device.gone = true;
    fixture_say_plain(f, WEFT_MESSAGE_APPLY);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_FAILED);
    assert_int_equal((weft_status)f->answer.code, WEFT_E_DEVICE_FAILED);
    assert_int_equal(f->answer.condition, WEFT_LOST);
    assert_int_equal(fixture_state_of(f), WEFT_IDLE);
    fixture_destroy(f);
}

/* Found before anything was written, and the weights are lost all the same. */
static void test_device_gone_while_verifying(void **state)
{
    (void)state;
    for (int at_submit = 0; at_submit < 2; at_submit++) {
        failing_device device = {.fails = WEFT_DEVICE_VERIFY, .at_submit = at_submit != 0};
        fixture *f = create_with_device(&device);
        weft_worker_info info;
        fixture_go(f, READY);
        device.gone = true;
        fixture_say_payload(f);
        assert_int_equal(f->answer.type, WEFT_MESSAGE_FAILED);
        assert_int_equal((weft_status)f->answer.code, WEFT_E_DEVICE_FAILED);
        assert_int_equal(f->answer.condition, WEFT_LOST);
        weft_worker_get_info(f->worker, &info);
        assert_int_equal(info.state, WEFT_IDLE);
        assert_int_equal(info.condition, WEFT_LOST);
        assert_int_equal(info.version, 0);
        fixture_destroy(f);
    }
}

static void test_slow_device_is_polled(void **state)
{
    (void)state;
    static const weft_device_operation SLOW[] = {WEFT_DEVICE_VERIFY, WEFT_DEVICE_PUT,
                                                 WEFT_DEVICE_ROLLBACK};
    for (size_t i = 0; i < 3; i++) {
        failing_device device = {.fails = SLOW[i], .slow = true};
        fixture *f = create_with_device(&device);
        fixture_go(f, READY);
        fixture_say_payload(f);
        while (f->answer.type == 0) {
            assert_int_equal(weft_worker_next_ns(f->worker), f->now_ns); /* poll again at once */
            weft_worker_tick(f->worker, f->now_ns);
            fixture_listen_to_worker(f);
        }
        assert_int_equal(f->answer.type, WEFT_MESSAGE_STAGED);
        fixture_say_plain(f, WEFT_MESSAGE_APPLY);
        while (f->answer.type == 0) {
            weft_worker_tick(f->worker, f->now_ns);
            fixture_listen_to_worker(f);
        }
        assert_int_equal(f->answer.type, WEFT_MESSAGE_APPLIED);
        fixture_say_plain(f, WEFT_MESSAGE_ABORT);
        while (f->answer.type == 0) {
            weft_worker_tick(f->worker, f->now_ns);
            fixture_listen_to_worker(f);
        }
        assert_int_equal(f->answer.type, WEFT_MESSAGE_ABORTED);
        fixture_check_old(f);
        fixture_destroy(f);
    }
}

static void test_undo_that_does_not_end(void **state)
{
    (void)state;
    failing_device device = {.fails = WEFT_DEVICE_ROLLBACK, .slow = true};
    fixture *f = create_with_device(&device);
    fixture_go(f, APPLIED);
    fixture_say_plain(f, WEFT_MESSAGE_ABORT);
    assert_int_equal(fixture_state_of(f), WEFT_FAILED);
    fixture_say_plain(f, WEFT_MESSAGE_COMMIT); /* too late: the undo runs */
    assert_int_equal(f->answer.type, 0);
    device.polls = UINT32_MAX;
    weft_worker_tick(f->worker, f->now_ns + TIMEOUT_MS * NS_PER_MS);
    fixture_listen_to_worker(f);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_ABORTED);
    assert_int_equal(f->answer.condition, WEFT_LOST);
    assert_int_equal(fixture_state_of(f), WEFT_IDLE);
    device.polls = 0;
    fixture_destroy(f);
}

/* While the device undoes, another trainer is refused; what the session failed with is told all the
 * same. */
static void test_refusal_while_the_device_undoes(void **state)
{
    (void)state;
    failing_device device = {.fails = WEFT_DEVICE_ROLLBACK, .slow = true};
    fixture *f = create_with_device(&device);
    uint32_t own = f->link;
    fixture_go(f, APPLIED);
    fixture_say_plain(f, WEFT_MESSAGE_APPLY); /* it is applied already */
    assert_int_equal(fixture_state_of(f), WEFT_FAILED);
    fixture_open_link(f);
    weft_message start = fixture_start_message(f);
    start.epoch = 9;
    assert_int_equal(fixture_say(f, &start, NULL), WEFT_OK);
    assert_int_equal((weft_status)f->answer.code, WEFT_E_BUSY);
    f->link = own;
    while (fixture_state_of(f) != WEFT_IDLE) {
        weft_worker_tick(f->worker, f->now_ns);
    }
    fixture_listen_to_worker(f);
    fixture_check_failed(f, WEFT_E_UNEXPECTED_MESSAGE);
    assert_non_null(strstr(f->text, "APPLY"));
    fixture_destroy(f);
}

static void wait_for_undo(const weft_device *device, const weft_segment *segments)
{
    (void)device;
    assert_non_null(segments);
    failing->polls = 0;
}

static void test_destroyed_while_the_device_undoes(void **state)
{
    (void)state;
    for (int gone = 0; gone < 2; gone++) {
        failing_device device = {.fails = WEFT_DEVICE_ROLLBACK, .slow = true};
        fixture *f = create_with_device(&device);
        device.device.forget = wait_for_undo;
        fixture_go(f, APPLIED);
        device.gone = gone != 0; /* the device is lost: what was held is freed all the same */
        weft_worker_destroy(f->worker);
        f->worker = NULL;
        assert_int_equal(device.polls, 0);
        assert_int_equal(f->failed_hook, WEFT_E_IN_DOUBT); /* APPLIED was said */
        assert_memory_equal(f->weights, f->before, sizeof f->weights);
        fixture_destroy(f);
    }
}

/* ---- memory ---- */

static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
        fixture_go(f, STARTED);
        f->memory.fail_at = f->memory.calls + n;
        fixture_say_update(f);
        if (f->answer.type == 0) {
            fixture_say_document(f);
        }
        failed = f->answer.type == WEFT_MESSAGE_FAILED;
        f->memory.fail_at = 0;
        if (failed) {
            fixture_check_failed(f, WEFT_E_OUT_OF_MEMORY);
        } else {
            assert_true(n > 4);
            fixture_say_plain(f, WEFT_MESSAGE_ABORT);
        }
        fixture_check_next_commits(f);
        fixture_destroy(f);
    }
}

static void test_nothing_is_allocated_after_ready(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    fixture_go(f, READY);
    uint64_t calls = f->memory.calls;
    fixture_say_payload(f);
    fixture_say_plain(f, WEFT_MESSAGE_APPLY);
    fixture_say_plain(f, WEFT_MESSAGE_COMMIT);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_COMMITTED);
    assert_int_equal(f->memory.calls, calls);
    fixture_destroy(f);
}

static void test_creation_with_every_allocation_failing(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    weft_status status = WEFT_E_OUT_OF_MEMORY;
    for (uint64_t n = 1; status != WEFT_OK; n++) {
        test_allocator memory;
        weft_worker *worker = NULL;
        weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
        uint32_t link;
        test_allocator_start(&memory, n);
        config.model = f->model;
        config.allocator = memory.allocator;
        status = weft_worker_create(&worker, &config);
        if (status == WEFT_OK) {
            status = weft_worker_link_open(worker, &link);
        }
        assert_true(status == WEFT_OK || status == WEFT_E_OUT_OF_MEMORY);
        weft_worker_destroy(worker);
        test_allocator_finish(&memory);
    }
    fixture_destroy(f);
}

/* ---- links ---- */

static void test_links(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    uint32_t link;
    weft_span spans[WEFT_SPANS_MAX];
    for (uint32_t i = 1; i < WEFT_LINKS_MAX; i++) {
        assert_int_equal(weft_worker_link_open(f->worker, &link), WEFT_OK);
    }
    assert_int_equal(weft_worker_link_open(f->worker, &link), WEFT_E_TOO_MANY_LINKS);
    assert_int_equal(weft_worker_link_close(f->worker, 3, WEFT_E_LINK_CLOSED), WEFT_OK);
    assert_int_equal(weft_worker_link_close(f->worker, 3, WEFT_E_LINK_CLOSED), WEFT_E_UNKNOWN_LINK);
    assert_int_equal(weft_worker_receive(f->worker, 3, "x", 1), WEFT_E_UNKNOWN_LINK);
    assert_int_equal(weft_worker_link_status(f->worker, 3), WEFT_E_UNKNOWN_LINK);
    assert_int_equal(weft_worker_send(f->worker, 3, spans), 0);
    weft_worker_sent(f->worker, 3, 1);
    assert_int_equal(weft_worker_link_open(f->worker, &link), WEFT_OK);
    assert_int_equal(link, 3);
    fixture_destroy(f);
}

static void test_peer_that_does_not_read(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    weft_message ping = {.type = WEFT_MESSAGE_PING};
    uint32_t length = weft_frame_encode_head(&ping, head);
    weft_status status = WEFT_OK;
    unsigned n = 0;
    while (status == WEFT_OK && n++ < 1000) {
        status = weft_worker_receive(f->worker, f->link, head, length);
    }
    assert_int_equal(status, WEFT_E_LINK_OVERFLOW);
    assert_int_equal(weft_worker_link_status(f->worker, f->link), WEFT_E_LINK_OVERFLOW);
    fixture_destroy(f);
}

static void test_keep_alive(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    uint64_t period = UINT64_C(100) * TIMEOUT_MS * NS_PER_MS;
    assert_int_equal(weft_worker_next_ns(f->worker), f->now_ns + period);
    weft_worker_tick(f->worker, f->now_ns + period);
    fixture_listen_to_worker(f);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_PING);
    weft_message message = {.type = WEFT_MESSAGE_PONG};
    assert_int_equal(fixture_say(f, &message, NULL), WEFT_OK);
    message.type = WEFT_MESSAGE_PING;
    assert_int_equal(fixture_say(f, &message, NULL), WEFT_OK);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_PONG);
    weft_worker_tick(f->worker, f->now_ns + 3 * period);
    assert_int_equal(weft_worker_link_status(f->worker, f->link), WEFT_OK);
    weft_worker_tick(f->worker, f->now_ns + 4 * period);
    assert_int_equal(weft_worker_link_status(f->worker, f->link), WEFT_E_LINK_SILENT);
    fixture_destroy(f);
}

/* ---- usage ---- */

static void test_arguments(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    weft_worker *worker = NULL;
    weft_worker_info info;
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    assert_int_equal(weft_worker_create(&worker, &config), WEFT_E_INVALID_ARGUMENT); /* no model */
    config.model = f->model;
    assert_int_equal(weft_worker_create(NULL, &config), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_create(&worker, NULL), WEFT_E_INVALID_ARGUMENT);
    config.timeout_ms = 0;
    assert_int_equal(weft_worker_create(&worker, &config), WEFT_E_INVALID_ARGUMENT);
    config.timeout_ms = 1;
    config.allocator.allocate = f->memory.allocator.allocate; /* and no release */
    assert_int_equal(weft_worker_create(&worker, &config), WEFT_E_INVALID_ARGUMENT);
    assert_null(worker);
    assert_int_equal(weft_worker_link_open(NULL, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_receive(f->worker, f->link, NULL, 1), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_next_ns(NULL), UINT64_MAX);
    weft_worker_tick(NULL, 1);
    weft_worker_get_info(NULL, &info);
    weft_worker_destroy(NULL);
    assert_null(weft_worker_detail(NULL));
    assert_int_equal(weft_worker_detail(f->worker)->status, WEFT_OK);
    weft_tensor tensor = {.name = "late", .dtype = WEFT_BF16, .rank = 0, .data = f->weights};
    assert_int_equal(weft_model_add(f->model, &tensor), WEFT_E_MODEL_IN_USE);
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deadline_in_every_step),
        cmocka_unit_test(test_rest_of_a_frame_after_the_deadline),
        cmocka_unit_test(test_start_may_ask_for_less_time),
        cmocka_unit_test(test_link_lost_in_every_step),
        cmocka_unit_test(test_destroyed_in_every_step),
        cmocka_unit_test(test_verify_fails),
        cmocka_unit_test(test_device_cannot_reserve),
        cmocka_unit_test(test_put_fails),
        cmocka_unit_test(test_rollback_fails),
        cmocka_unit_test(test_device_gone),
        cmocka_unit_test(test_device_gone_while_verifying),
        cmocka_unit_test(test_slow_device_is_polled),
        cmocka_unit_test(test_undo_that_does_not_end),
        cmocka_unit_test(test_refusal_while_the_device_undoes),
        cmocka_unit_test(test_destroyed_while_the_device_undoes),
        cmocka_unit_test(test_every_allocation_fails_once),
        cmocka_unit_test(test_nothing_is_allocated_after_ready),
        cmocka_unit_test(test_creation_with_every_allocation_failing),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_peer_that_does_not_read),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
