/* A connection that is cut, stands still, is slow, or has a stranger at its other end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "net_fixture.h"

static void test_socket_closed_in_the_payload(void **state)
{
    test_random random = test_random_start();
    net_fixture *f = net_start(3, net_big_model(&random, 8u << 20), 10000, 10000);
    test_model *before = test_model_copy(&f->random, f->current);
    net_member *gone = &f->members[1];
    weft_trainer_worker_info info;
    weft_push push;
    (void)state;
    net_until_workers(f, 3);
    (void)test_model_change(&f->random, f->current, 500);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_SPARSE, 1), WEFT_OK);
    for (uint64_t end = net_patience(); gone->payload_seen <= 65536;) {
        net_turn(f);
        assert_true(weft_net_now_ns() < end);
    }
    assert_false(net_idle(gone));
    weft_net_destroy(gone->net);
    gone->net = NULL;
    assert_true(net_idle(gone));
    assert_int_equal(net_until_pushed(f, &push), WEFT_E_LINK_CLOSED);
    assert_int_equal(push.outcome, WEFT_OUTCOME_ABORTED);
    assert_int_equal(weft_trainer_worker(f->trainer, 1, &info), WEFT_OK);
    assert_false(info.open);
    assert_int_equal(info.status, WEFT_E_LINK_CLOSED);
    assert_non_null(strstr(weft_net_text(f->net), gone->address));
    net_check_all(f, before, 0);
    net_member_listen(gone);
    net_until_workers(f, 3);
    net_change_and_push(f, WEFT_SPARSE, 2);
    test_model_destroy(before);
    net_stop(f);
}

/* The worker's socket is closed properly, and the trainer writes two chunks before it looks: the
 * second write raises SIGPIPE, whose default is to end the process. */
static void test_no_sigpipe(void **state)
{
    test_random random = test_random_start();
    net_fixture *f = net_start(1, net_big_model(&random, 1u << 20), 10000, 10000);
    net_member *gone = &f->members[0];
    sigset_t set;
    (void)state;
    net_until_workers(f, 1);
    (void)test_model_change(&f->random, f->current, 900);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_BASELINE, 1), WEFT_OK);
    for (uint64_t end = net_patience(); gone->sent[WEFT_MESSAGE_READY] == 0;) {
        assert_int_equal(weft_net_poll(f->net), WEFT_OK);
        assert_int_equal(weft_net_poll(gone->net), WEFT_OK);
        assert_true(weft_net_now_ns() < end);
    }
    weft_net_destroy(gone->net);
    gone->net = NULL;
    assert_int_equal(net_until_pushed(f, NULL), WEFT_E_LINK_CLOSED);
    assert_int_equal(sigpending(&set), 0);
    assert_int_equal(sigismember(&set, SIGPIPE), 0);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &set), 0);
    assert_int_equal(sigismember(&set, SIGPIPE), 0);
    net_stop(f);
}

static void test_silent_peer_loses_its_link(void **state)
{
    net_fixture *f = net_start(2, NULL, 5000, 40);
    weft_trainer_worker_info info;
    (void)state;
    net_until_workers(f, 2);
    f->members[0].ignored = true;
    net_until_workers(f, 1);
    assert_int_equal(weft_trainer_worker(f->trainer, 0, &info), WEFT_OK);
    assert_int_equal(info.status, WEFT_E_LINK_SILENT);
    assert_non_null(strstr(weft_net_text(f->net), weft_status_text(WEFT_E_LINK_SILENT)));
    assert_int_equal(weft_trainer_worker(f->trainer, 1, &info), WEFT_OK);
    assert_true(info.open); /* PING and PONG keep it */
    f->members[0].ignored = false;
    net_until_workers(f, 2);
    net_change_and_push(f, WEFT_SPARSE, 1);
    net_stop(f);
}

static void test_slow_worker_costs_one_chunk(void **state)
{
    const uint64_t bytes = UINT64_C(32) << 20;
    test_random random = test_random_start();
    net_fixture *f = net_start(3, net_big_model(&random, bytes), 20000, 20000);
    net_member *slow = &f->members[2];
    weft_push push;
    (void)state;
    f->config.update_bytes = 0; /* one update: its payload is all that the workers wait for */
    net_restart_trainer(f);
    net_until_workers(f, 3);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_BASELINE, 1), WEFT_OK);
    net_until_sent(f, slow, WEFT_MESSAGE_READY, 1);
    slow->ignored = true;
    uint64_t slow_seen = slow->payload_seen;
    net_until_sent(f, &f->members[0], WEFT_MESSAGE_STAGED, 1);
    net_until_sent(f, &f->members[1], WEFT_MESSAGE_STAGED, 1);
    size_t after = net_heap_bytes();
    assert_int_equal(slow->payload_seen, slow_seen);
    assert_int_equal(slow->sent[WEFT_MESSAGE_STAGED], 0);
    assert_int_equal(weft_trainer_result(f->trainer, NULL), WEFT_AGAIN);
    /* A buffer for each connection, at most; and libuv's own small change. */
    size_t before = f->heap_at_ready;
    assert_true(after > before);
    assert_true(after <= before + 3 * (size_t)WEFT_NET_REST_BYTES_MAX + 4096);
    print_message("heap while one of three workers stands still and %u MiB are sent: +%zd bytes\n",
                  (unsigned)(bytes >> 20), (ssize_t)(after - before));
    slow->ignored = false;
    assert_int_equal(net_until_pushed(f, &push), WEFT_OK);
    assert_int_equal(push.payload_bytes, bytes);
    net_check_all(f, f->current, 1);
    net_stop(f);
}

static void test_garbage_for_a_worker(void **state)
{
    net_fixture *f = net_start(1, NULL, 5000, 5000);
    static const char GARBAGE[] = "GET / HTTP/1.1\r\nHost: worker\r\n\r\n";
    (void)state;
    net_until_workers(f, 1);
    int stranger = net_dial_raw(&f->members[0]);
    assert_int_equal(send(stranger, GARBAGE, sizeof GARBAGE, 0), sizeof GARBAGE);
    assert_true(net_read_all(f, stranger) >= WEFT_FRAME_HEADER_BYTES); /* HELLO came first */
    assert_non_null(
        strstr(weft_net_text(f->members[0].net), weft_status_text(WEFT_E_FRAME_MALFORMED)));
    (void)close(stranger);
    net_change_and_push(f, WEFT_SPARSE, 1);
    net_stop(f);
}

/* Something that is no worker listens at the address. */
static void test_garbage_for_a_trainer(void **state)
{
    static const char GARBAGE[] = "220 mail.example.org ESMTP: at your service, 24 hours a day\r\n";
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    net_fixture *f = net_start(1, NULL, 5000, 5000);
    weft_trainer_worker_info info = {.open = true};
    char address[32];
    (void)state;
    net_until_workers(f, 1);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, length), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &length), 0);
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(name.sin_port));
    assert_int_equal(weft_net_connect(f->net, f->trainer, address), WEFT_OK);
    assert_int_equal(weft_net_workers_wait(f->net, f->trainer, 2, 20), WEFT_E_CONNECT);
    assert_non_null(strstr(weft_net_text(f->net), "no HELLO came"));
    int stranger = accept(listener, NULL, NULL);
    assert_true(stranger >= 0);
    assert_int_equal(send(stranger, GARBAGE, sizeof GARBAGE, 0), sizeof GARBAGE);
    for (uint64_t end = net_patience(); info.status == WEFT_OK;) {
        net_turn(f);
        assert_int_equal(weft_trainer_worker(f->trainer, 1, &info), WEFT_OK);
        assert_true(weft_net_now_ns() < end);
    }
    assert_int_equal(info.status, WEFT_E_FRAME_MALFORMED);
    assert_false(info.open);
    assert_int_equal(weft_net_workers_wait(f->net, f->trainer, 2, 0), WEFT_E_CONNECT);
    assert_non_null(strstr(weft_net_text(f->net), weft_status_text(WEFT_E_FRAME_MALFORMED)));
    (void)close(stranger);
    (void)close(listener);
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, address), WEFT_OK);
    net_change_and_push(f, WEFT_SPARSE, 1);
    net_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_socket_closed_in_the_payload),
        cmocka_unit_test(test_no_sigpipe),
        cmocka_unit_test(test_silent_peer_loses_its_link),
        cmocka_unit_test(test_slow_worker_costs_one_chunk),
        cmocka_unit_test(test_garbage_for_a_worker),
        cmocka_unit_test(test_garbage_for_a_trainer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
