/* A worker accepts trainers, as many as it can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "net_fixture.h"

static void test_port_in_use(void **state)
{
    net_fixture *f = net_start(1, NULL, 1000, 1000);
    uint16_t port = 7;
    (void)state;
    assert_int_equal(weft_net_listen(f->net, f->members[0].worker, f->members[0].address, &port),
                     WEFT_E_LISTEN);
    assert_int_equal(port, 7);
    assert_non_null(strstr(weft_net_text(f->net), f->members[0].address));
    assert_non_null(strstr(weft_net_text(f->net), "address already in use"));
    /* An address of no interface of this machine, and a name that cannot be one. */
    assert_int_equal(weft_net_listen(f->net, f->members[0].worker, "192.0.2.1:0", NULL),
                     WEFT_E_LISTEN);
    assert_int_equal(weft_net_listen(f->net, f->members[0].worker, "a..b:0", NULL), WEFT_E_LISTEN);
    assert_non_null(strstr(weft_net_text(f->net), "cannot listen on a..b:0"));
    net_stop(f);
}

static void test_too_many_trainers(void **state)
{
    net_fixture *f = net_start(1, NULL, 5000, 5000);
    int strangers[WEFT_LINKS_MAX];
    (void)state;
    net_until_workers(f, 1);
    for (uint32_t i = 0; i < WEFT_LINKS_MAX; i++) {
        strangers[i] = net_dial_raw(&f->members[0]);
        net_turn(f);
    }
    assert_int_equal(net_read_all(f, strangers[WEFT_LINKS_MAX - 1]), 0); /* the 17th link */
    assert_non_null(
        strstr(weft_net_text(f->members[0].net), weft_status_text(WEFT_E_TOO_MANY_LINKS)));
    for (uint32_t i = 0; i < WEFT_LINKS_MAX; i++) {
        (void)close(strangers[i]);
    }
    net_change_and_push(f, WEFT_SPARSE, 1);
    net_stop(f);
}

/* A process without a free descriptor turns a trainer away, and goes on. */
static void test_no_descriptor_left(void **state)
{
    net_fixture *f = net_start(1, NULL, 5000, 5000);
    struct rlimit before, few;
    int taken[64];
    unsigned count = 0;
    (void)state;
    net_until_workers(f, 1);
    int stranger = net_dial_raw(&f->members[0]);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = (struct rlimit){.rlim_cur = 64, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (count < 64 && (taken[count] = dup(stranger)) >= 0) {
        count++;
    }
    assert_true(count < 64);
    assert_int_equal(net_read_all(f, stranger), 0); /* not even HELLO */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    while (count > 0) {
        (void)close(taken[--count]);
    }
    (void)close(stranger);
    net_change_and_push(f, WEFT_SPARSE, 1);
    net_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_port_in_use),
        cmocka_unit_test(test_too_many_trainers),
        cmocka_unit_test(test_no_descriptor_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
