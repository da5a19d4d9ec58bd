/* Turns and waits of the driver, over real sockets of 127.0.0.1. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net_fixture.h"

#define MS UINT64_C(1000000)

static void test_one_net_for_all(void **state)
{
    net_fixture *f = net_start(3, NULL, 5000, 5000);
    weft_net *net = NULL;
    weft_trainer *trainer = NULL;
    weft_push push;
    (void)state;
    assert_int_equal(weft_net_create(&net), WEFT_OK);
    assert_int_equal(weft_trainer_create(&trainer, &f->config), WEFT_OK);
    assert_int_equal(weft_net_push_wait(net, trainer, WEFT_SPARSE, 1, &push), WEFT_E_NO_WORKERS);
    for (uint32_t i = 0; i < 3; i++) {
        char address[32];
        uint16_t port;
        assert_int_equal(weft_net_listen(net, f->members[i].worker, "127.0.0.1:0", &port), WEFT_OK);
        (void)snprintf(address, sizeof address, "127.0.0.1:%u", port);
        assert_int_equal(weft_net_connect(net, trainer, address), WEFT_OK);
    }
    assert_int_equal(weft_net_workers_wait(net, trainer, 3, -1), WEFT_OK);
    assert_int_equal(weft_net_workers_wait(net, trainer, 3, 0), WEFT_OK);
    for (uint64_t version = 1; version <= 4; version++) {
        weft_kind kind = version == 3 ? WEFT_BASELINE : WEFT_SPARSE;
        uint64_t changed = test_model_change(&f->random, f->current, 500);
        assert_int_equal(weft_net_push_wait(net, trainer, kind, version, &push), WEFT_OK);
        assert_int_equal(push.status, WEFT_OK);
        assert_int_equal(push.outcome, WEFT_OUTCOME_COMMITTED);
        assert_int_equal(push.changed, kind == WEFT_BASELINE ? push.elements : changed);
        assert_int_equal(push.committed, 3);
        assert_true(push.updates > 1);
        assert_true(push.diff_ns > 0);
        assert_true(push.session_ns > 0);
        net_check_all(f, f->current, version);
    }
    assert_int_equal(weft_net_push_wait(net, trainer, WEFT_SPARSE, 5, NULL), WEFT_OK);
    /* Not without one of them: nobody listens at port 1, and nobody gets version 6. */
    assert_int_equal(weft_net_connect(net, trainer, "127.0.0.1:1"), WEFT_OK);
    uint64_t before_ns = weft_net_now_ns();
    assert_int_equal(weft_net_push_wait(net, trainer, WEFT_SPARSE, 6, NULL), WEFT_E_CONNECT);
    assert_true(weft_net_now_ns() - before_ns >= WEFT_NET_RECONNECT_MS * MS);
    assert_non_null(strstr(weft_net_text(net), "127.0.0.1:1"));
    net_check_all(f, f->current, 5);
    assert_int_equal(weft_net_disconnect(net, trainer, "127.0.0.1:1"), WEFT_OK);
    assert_int_equal(weft_net_push_wait(net, trainer, WEFT_SPARSE, 6, NULL), WEFT_OK);
    net_check_all(f, f->current, 6);
    weft_net_destroy(net);
    weft_trainer_destroy(trainer);
    net_stop(f);
}

static void test_a_loop_of_ones_own(void **state)
{
    net_fixture *f = net_start(1, NULL, 5000, 5000);
    weft_net *nets[] = {f->net, f->members[0].net};
    weft_push push = {.status = WEFT_AGAIN};
    bool pushed = false;
    (void)state;
    for (uint64_t end = net_patience(); push.status == WEFT_AGAIN;) {
        struct pollfd fds[2];
        int wait_ms = 1000;
        for (int i = 0; i < 2; i++) {
            int next_ms = weft_net_next_ms(nets[i]);
            fds[i] = (struct pollfd){.fd = weft_net_fd(nets[i]), .events = POLLIN};
            wait_ms = next_ms >= 0 && next_ms < wait_ms ? next_ms : wait_ms;
        }
        (void)poll(fds, 2, wait_ms);
        for (int i = 0; i < 2; i++) {
            if (fds[i].revents != 0 || weft_net_next_ms(nets[i]) == 0) {
                assert_int_equal(weft_net_poll(nets[i]), WEFT_OK);
            }
        }
        if (!pushed && net_workers(f) == 1) {
            pushed = true;
            (void)test_model_change(&f->random, f->current, 500);
            assert_int_equal(weft_trainer_push(f->trainer, WEFT_SPARSE, 1), WEFT_OK);
            assert_int_equal(weft_net_next_ms(f->net), 0); /* START waits to be sent */
        }
        (void)weft_trainer_result(f->trainer, &push);
        push.status = pushed ? push.status : WEFT_AGAIN;
        assert_true(weft_net_now_ns() < end);
    }
    assert_int_equal(push.status, WEFT_OK);
    net_check_all(f, f->current, 1);
    net_stop(f);
}

static void test_silent_worker_misses_the_deadline(void **state)
{
    net_fixture *f = net_start(3, NULL, 200, 5000);
    test_model *before = test_model_copy(&f->random, f->current);
    weft_push push;
    (void)state;
    net_until_workers(f, 3);
    (void)test_model_change(&f->random, f->current, 500);
    f->members[2].ignored = true;
    uint64_t began_ns = weft_net_now_ns();
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_SPARSE, 1), WEFT_OK);
    assert_int_equal(net_until_pushed(f, &push), WEFT_E_DEADLINE);
    uint64_t took_ns = weft_net_now_ns() - began_ns;
    assert_true(took_ns >= 200 * MS); /* for STARTED; then as long for ABORTED */
    assert_true(took_ns < 2000 * MS);
    assert_int_equal(push.outcome, WEFT_OUTCOME_ABORTED);
    f->members[2].ignored = false;
    net_check_all(f, before, 0);
    net_until_workers(f, 3);
    net_change_and_push(f, WEFT_SPARSE, 2);
    test_model_destroy(before);
    net_stop(f);
}

static void test_second_trainer_finds_it_busy(void **state)
{
    net_fixture *f = net_start(2, NULL, 10000, 10000);
    weft_trainer *second = NULL;
    weft_trainer_worker_info info;
    weft_net *net = NULL;
    (void)state;
    net_until_workers(f, 2);
    assert_int_equal(weft_trainer_create(&second, &f->config), WEFT_OK);
    assert_int_equal(weft_net_create(&net), WEFT_OK);
    assert_int_equal(weft_net_connect(net, second, f->members[0].address), WEFT_OK);
    while (weft_net_workers_wait(net, second, 1, 1) == WEFT_E_CONNECT) {
        net_turn(f);
    }
    f->members[1].ignored = true;
    (void)test_model_change(&f->random, f->current, 500);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_SPARSE, 1), WEFT_OK);
    net_until_sent(f, &f->members[0], WEFT_MESSAGE_STARTED, 1);
    assert_int_equal(weft_trainer_push(second, WEFT_SPARSE, 7), WEFT_OK);
    for (uint64_t end = net_patience(); weft_trainer_result(second, NULL) == WEFT_AGAIN;) {
        assert_int_equal(weft_net_poll_wait(net, 1), WEFT_OK);
        net_turn(f);
        assert_true(weft_net_now_ns() < end);
    }
    assert_int_equal(weft_trainer_result(second, NULL), WEFT_E_PEER_FAILED);
    assert_int_equal(weft_trainer_worker(second, 0, &info), WEFT_OK);
    assert_int_equal(info.status, WEFT_E_BUSY);
    assert_true(info.open);
    f->members[1].ignored = false;
    assert_int_equal(net_until_pushed(f, NULL), WEFT_OK);
    net_check_all(f, f->current, 1);
    weft_net_destroy(net);
    weft_trainer_destroy(second);
    net_stop(f);
}

static void test_destroyed_in_a_session(void **state)
{
    test_random random = test_random_start();
    net_fixture *f = net_start(2, net_big_model(&random, 32u << 20), 5000, 5000);
    test_model *before = test_model_copy(&f->random, f->current);
    (void)state;
    net_until_workers(f, 2);
    (void)test_model_change(&f->random, f->current, 1);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_BASELINE, 1), WEFT_OK);
    net_until_sent(f, &f->members[0], WEFT_MESSAGE_READY, 1);
    f->members[0].ignored = true; /* a write of the trainer's is under way when it goes */
    for (unsigned i = 0; i < 50; i++) {
        net_turn(f);
    }
    weft_net_destroy(f->net);
    f->members[0].ignored = false;
    assert_int_equal(weft_net_create(&f->net), WEFT_OK);
    assert_int_equal(weft_trainer_result(f->trainer, NULL), WEFT_E_CANCELLED);
    net_check_all(f, before, 0);
    test_model_destroy(before);
    net_stop(f);
}

static weft_net *hook_net;
static weft_trainer *hook_trainer;
static unsigned hook_calls;

static void poll_in_a_hook(void *context, const weft_trace *record)
{
    (void)context;
    (void)record;
    if (hook_net != NULL) {
        hook_calls++;
        assert_int_equal(weft_net_poll(hook_net), WEFT_E_WRONG_STATE);
        assert_int_equal(weft_net_workers_wait(hook_net, hook_trainer, 9, 0), WEFT_E_WRONG_STATE);
        assert_int_equal(weft_net_push_wait(hook_net, hook_trainer, WEFT_SPARSE, 9, NULL),
                         WEFT_E_WRONG_STATE);
        assert_int_equal(weft_net_disconnect(hook_net, hook_trainer, "127.0.0.1:1"),
                         WEFT_E_WRONG_STATE);
    }
}

static void test_hooks_do_not_poll(void **state)
{
    net_fixture *f = net_start(1, NULL, 5000, 5000);
    (void)state;
    f->config.hooks.trace = poll_in_a_hook;
    net_restart_trainer(f);
    hook_net = f->net;
    hook_trainer = f->trainer;
    net_until_workers(f, 1);
    hook_net = NULL;
    assert_true(hook_calls > 0);
    net_stop(f);
}

static void test_null(void **state)
{
    net_fixture *f = net_start(1, NULL, 5000, 5000);
    const char *address = f->members[0].address;
    weft_worker *worker = f->members[0].worker;
    (void)state;
    assert_int_equal(weft_net_create(NULL), WEFT_E_INVALID_ARGUMENT);
    weft_net_destroy(NULL);
    assert_int_equal(weft_net_poll(NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_poll_wait(NULL, 0), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_fd(NULL), -1);
    assert_int_equal(weft_net_next_ms(NULL), -1);
    assert_null(weft_net_text(NULL));
    assert_int_equal(weft_net_listen(NULL, worker, address, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_listen(f->net, NULL, address, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_listen(f->net, worker, NULL, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_connect(NULL, f->trainer, address), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_connect(f->net, NULL, address), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_connect(f->net, f->trainer, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_disconnect(NULL, f->trainer, address), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_workers_wait(NULL, f->trainer, 1, 0), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_workers_wait(f->net, NULL, 1, 0), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_push_wait(NULL, f->trainer, WEFT_SPARSE, 1, NULL),
                     WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_push_wait(f->net, NULL, WEFT_SPARSE, 1, NULL),
                     WEFT_E_INVALID_ARGUMENT);
    net_stop(f);
}

static void test_a_net_without_work_does_not_wait(void **state)
{
    weft_net *net = NULL;
    (void)state;
    assert_int_equal(weft_net_create(&net), WEFT_OK);
    assert_true(weft_net_fd(net) >= 0);
    assert_int_equal(weft_net_next_ms(net), -1);
    assert_int_equal(weft_net_poll_wait(net, -1), WEFT_OK);
    weft_net_destroy(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_net_for_all),
        cmocka_unit_test(test_a_loop_of_ones_own),
        cmocka_unit_test(test_silent_worker_misses_the_deadline),
        cmocka_unit_test(test_second_trainer_finds_it_busy),
        cmocka_unit_test(test_destroyed_in_a_session),
        cmocka_unit_test(test_hooks_do_not_poll),
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_a_net_without_work_does_not_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
