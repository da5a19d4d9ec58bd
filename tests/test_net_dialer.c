/* A trainer keeps itself connected, and says to whom it is not and why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "net_fixture.h"

#define MS UINT64_C(1000000)

static void test_names(void **state)
{
    net_fixture *f = net_start(1, NULL, 1000, 1000);
    char address[32];
    uint16_t port;
    (void)state;
    net_until_workers(f, 1);
    assert_int_equal(weft_net_listen(f->members[0].net, f->members[0].worker, "localhost:0", &port),
                     WEFT_OK);
    (void)snprintf(address, sizeof address, "localhost:%u", port);
    assert_int_equal(weft_net_connect(f->net, f->trainer, address), WEFT_OK);
    net_until_workers(f, 2);
    assert_int_equal(weft_net_connect(f->net, f->trainer, "a..b:1"), WEFT_OK);
    assert_int_equal(weft_net_workers_wait(f->net, f->trainer, 3, 100), WEFT_E_CONNECT);
    assert_non_null(strstr(weft_net_text(f->net), "2 of 3 workers are there: a..b:1 ("));
    /* Looked up and given up at once: the resolver's answer finds nobody. */
    assert_int_equal(weft_net_connect(f->net, f->trainer, "localhost:2"), WEFT_OK);
    assert_int_equal(weft_net_poll(f->net), WEFT_OK);
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, "localhost:2"), WEFT_OK);
    net_stop(f);
}

static void test_another_model_is_missing(void **state)
{
    net_fixture *f = net_start(2, NULL, 5000, 5000);
    net_member *m = &f->members[1];
    test_model *other = test_model_create(&f->random, 5);
    (void)state;
    weft_net_destroy(m->net);
    weft_worker_destroy(m->worker);
    test_model_destroy(m->model);
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, m->address), WEFT_OK);
    net_member_start(f, m, other, 5000);
    assert_int_equal(weft_net_connect(f->net, f->trainer, m->address), WEFT_OK);
    for (uint64_t end = net_patience(); m->sent[WEFT_MESSAGE_HELLO] == 0 || net_workers(f) < 1;) {
        net_turn(f);
        assert_true(weft_net_now_ns() < end);
    }
    assert_int_equal(weft_net_workers_wait(f->net, f->trainer, 2, 50), WEFT_E_CONNECT);
    assert_non_null(strstr(weft_net_text(f->net), m->address));
    assert_non_null(strstr(weft_net_text(f->net), weft_status_text(WEFT_E_MODEL_MISMATCH)));
    assert_null(strstr(weft_net_text(f->net), f->members[0].address));
    test_model_destroy(other);
    net_stop(f);
}

static void test_worker_appears_later(void **state)
{
    net_fixture *f = net_start(2, NULL, 5000, 5000);
    net_member *late = &f->members[1];
    (void)state;
    weft_net_destroy(late->net);
    late->net = NULL;
    net_until_workers(f, 1);
    assert_int_equal(weft_net_workers_wait(f->net, f->trainer, 2, 150), WEFT_E_CONNECT);
    assert_non_null(strstr(weft_net_text(f->net), "1 of 2 workers are there"));
    assert_non_null(strstr(weft_net_text(f->net), late->address));
    assert_non_null(strstr(weft_net_text(f->net), "connection refused"));
    assert_true(f->net->dialers->next->backoff_ms > 50);
    assert_true(f->net->dialers->next->backoff_ms <= 2000);
    net_member_listen(late);
    net_until_workers(f, 2);
    assert_int_equal(f->net->dialers->next->backoff_ms, 50);
    net_change_and_push(f, WEFT_SPARSE, 1);
    net_stop(f);
}

static void test_many_missing_are_cut(void **state)
{
    net_fixture *f = net_start(0, NULL, 5000, 5000);
    (void)state;
    for (unsigned i = 0; i < 60; i++) {
        char address[64];
        (void)snprintf(address, sizeof address, "127.0.0.1:%u", 1 + i);
        assert_int_equal(weft_net_connect(f->net, f->trainer, address), WEFT_OK);
    }
    assert_int_equal(weft_net_workers_wait(f->net, f->trainer, 60, 10), WEFT_E_CONNECT);
    const char *text = weft_net_text(f->net);
    assert_non_null(strstr(text, "0 of 60 workers are there: "));
    assert_string_equal(text + strlen(text) - 5, ", ...");
    net_stop(f);
}

static void test_disconnect(void **state)
{
    net_fixture *f = net_start(2, NULL, 5000, 5000);
    weft_trainer *trainer = NULL;
    (void)state;
    net_until_workers(f, 2);
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, "127.0.0.1:1"), WEFT_E_ADDRESS);
    assert_non_null(strstr(weft_net_text(f->net), "127.0.0.1:1"));
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, f->members[1].address), WEFT_OK);
    assert_int_equal(net_workers(f), 1);
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, f->members[1].address),
                     WEFT_E_ADDRESS);
    for (uint64_t end = weft_net_now_ns() + 150 * MS; weft_net_now_ns() < end;) {
        net_turn(f);
        assert_int_equal(net_workers(f), 1); /* it does not come back */
    }
    /* A trainer without connections may go before its net. */
    assert_int_equal(weft_trainer_create(&trainer, &f->config), WEFT_OK);
    assert_int_equal(weft_net_connect(f->net, trainer, f->members[0].address), WEFT_OK);
    assert_int_equal(weft_net_disconnect(f->net, trainer, f->members[0].address), WEFT_OK);
    weft_trainer_destroy(trainer);
    net_turn(f);
    net_stop(f);
}

static void test_disconnect_in_a_session(void **state)
{
    net_fixture *f = net_start(2, NULL, 5000, 5000);
    test_model *before = test_model_copy(&f->random, f->current);
    (void)state;
    net_until_workers(f, 2);
    (void)test_model_change(&f->random, f->current, 500);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_SPARSE, 1), WEFT_OK);
    net_turn(f);
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, f->members[1].address), WEFT_OK);
    assert_int_equal(net_until_pushed(f, NULL), WEFT_E_CANCELLED);
    net_check_all(f, before, 0);
    test_model_destroy(before);
    net_stop(f);
}

static void test_no_descriptor_left(void **state)
{
    net_fixture *f = net_start(1, NULL, 5000, 5000);
    struct rlimit before, none;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(weft_net_workers_wait(f->net, f->trainer, 1, 20), WEFT_E_CONNECT);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_non_null(strstr(weft_net_text(f->net), f->members[0].address));
    assert_non_null(strstr(weft_net_text(f->net), "(too many open files)"));
    net_until_workers(f, 1); /* it goes on trying */
    net_change_and_push(f, WEFT_SPARSE, 1);
    net_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_another_model_is_missing),
        cmocka_unit_test(test_worker_appears_later),
        cmocka_unit_test(test_many_missing_are_cut),
        cmocka_unit_test(test_no_descriptor_left),
        cmocka_unit_test(test_disconnect),
        cmocka_unit_test(test_disconnect_in_a_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
