/* Workers in doubt ask each other over real sockets of 127.0.0.1: who is dialled, when, and that
 * nothing of it stays. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "net_fixture.h"

#define TIMEOUT_MS 3000u

typedef struct cutter { /* cuts trainer's links when the decision is made */
    net_fixture *fixture;
    bool keeps[NET_WORKERS_MAX];
} cutter;

static uint16_t port_of(const net_member *m)
{
    return (uint16_t)strtoul(strrchr(m->address, ':') + 1, NULL, 10);
}

static void cut(const cutter *c)
{
    for (int file = 3; file < 256; file++) {
        struct sockaddr_in peer = {0};
        socklen_t length = sizeof peer;
        if (getpeername(file, (struct sockaddr *)&peer, &length) != 0 ||
            peer.sin_family != AF_INET) {
            continue;
        }
        for (uint32_t i = 0; i < c->fixture->count; i++) {
            if (!c->keeps[i] && ntohs(peer.sin_port) == port_of(&c->fixture->members[i])) {
                (void)shutdown(file, SHUT_RDWR);
            }
        }
    }
}

static void on_trainer_trace(void *context, const weft_trace *record)
{
    if (record->kind == WEFT_TRACE_TRANSITION && record->to == WEFT_FINISHED) {
        cut(context);
    }
}

/* A trainer that knows its workers under `host`, whose links are cut in its first push. */
static net_fixture *begin(cutter *c, const char *host)
{
    net_fixture *f = net_start(NET_WORKERS_MAX, NULL, TIMEOUT_MS, 5000);
    c->fixture = f;
    for (uint32_t i = 0; i < f->count; i++) {
        (void)snprintf(f->members[i].address, sizeof f->members[i].address, "%s:%u", host,
                       port_of(&f->members[i]));
    }
    f->config.hooks = (weft_hooks){.context = c, .trace = on_trainer_trace};
    net_restart_trainer(f);
    net_until_workers(f, NET_WORKERS_MAX);
    return f;
}

static weft_status push(net_fixture *f)
{
    (void)test_model_change(&f->random, f->current, 300);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_SPARSE, 1), WEFT_OK);
    return net_until_pushed(f, NULL);
}

static void check_outcomes(const net_fixture *f, uint32_t first, weft_outcome expected)
{
    for (uint32_t i = first; i < f->count; i++) {
        weft_worker_info info;
        weft_worker_get_info(f->members[i].worker, &info);
        assert_int_equal(info.last_outcome, expected);
    }
}

/* When everybody is idle nobody is dialled any more. */
static void check_nothing_stays(net_fixture *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        bool dials = true;
        for (uint64_t end = net_patience(); dials;) {
            net_turn(f);
            dials = f->members[i].net != NULL && f->members[i].net->dialers != NULL;
            assert_true(weft_net_now_ns() < end);
        }
    }
}

static void test_one_has_heard_commit(void **state)
{
    const char *const hosts[] = {"127.0.0.1", "localhost"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        cutter c = {.keeps = {true}};
        net_fixture *f = begin(&c, hosts[i]);
        assert_int_equal(push(f), WEFT_E_UNCONFIRMED);
        net_check_all(f, f->current, 1);
        check_outcomes(f, 0, WEFT_OUTCOME_COMMITTED);
        check_nothing_stays(f);
        memset(c.keeps, true, sizeof c.keeps);
        net_until_workers(f, NET_WORKERS_MAX);
        net_change_and_push(f, WEFT_SPARSE, 2);
        net_stop(f);
    }
}

static void test_nobody_has_heard_commit(void **state)
{
    cutter c = {.keeps = {false}};
    (void)state;
    net_fixture *f = begin(&c, "127.0.0.1");
    test_model *before = test_model_copy(&f->random, f->current);
    assert_int_equal(push(f), WEFT_E_IN_DOUBT);
    net_check_all(f, before, 0);
    check_outcomes(f, 0, WEFT_OUTCOME_ABORTED);
    check_nothing_stays(f);
    memset(c.keeps, true, sizeof c.keeps);
    net_until_workers(f, NET_WORKERS_MAX);
    net_change_and_push(f, WEFT_SPARSE, 2);
    test_model_destroy(before);
    net_stop(f);
}

/* Its process is gone: connections are refused, again and again, until the deadline. */
static void test_who_has_heard_is_gone(void **state)
{
    cutter c = {.keeps = {true}};
    (void)state;
    net_fixture *f = begin(&c, "127.0.0.1");
    (void)test_model_change(&f->random, f->current, 300);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_SPARSE, 1), WEFT_OK);
    while (f->members[0].sent[WEFT_MESSAGE_COMMITTED] == 0) {
        /* Who has applied notices nothing more until the first one has committed, and is gone. */
        bool applied = f->members[0].sent[WEFT_MESSAGE_APPLIED] > 0;
        f->members[1].ignored = f->members[1].sent[WEFT_MESSAGE_APPLIED] > 0 && applied;
        f->members[2].ignored = f->members[2].sent[WEFT_MESSAGE_APPLIED] > 0 && applied;
        net_turn(f);
    }
    weft_net_destroy(f->members[0].net);
    f->members[0].net = NULL;
    f->members[1].ignored = f->members[2].ignored = false;
    uint64_t began_ns = weft_net_now_ns();
    for (uint64_t end = net_patience(); !net_idle(&f->members[1]) || !net_idle(&f->members[2]);) {
        net_turn(f);
        assert_true(weft_net_now_ns() < end);
    }
    check_outcomes(f, 1, WEFT_OUTCOME_UNCONFIRMED);
    assert_true(weft_net_now_ns() - began_ns >= (TIMEOUT_MS - 100) * UINT64_C(1000000));
    check_nothing_stays(f);
    net_stop(f);
}

/* The net goes away in the middle of the asking. */
static void test_a_net_that_ends_in_doubt(void **state)
{
    cutter c = {.keeps = {true}};
    (void)state;
    net_fixture *f = begin(&c, "localhost");
    (void)test_model_change(&f->random, f->current, 300);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_SPARSE, 1), WEFT_OK);
    bool dials = false;
    for (uint64_t end = net_patience(); !dials;) {
        net_turn(f);
        dials = f->members[1].net->dialers != NULL;
        assert_true(weft_net_now_ns() < end);
    }
    weft_net_destroy(f->members[1].net); /* the worker stays, and waits for its deadline */
    f->members[1].net = NULL;
    assert_false(net_idle(&f->members[1]));
    net_stop(f); /* which ends it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_has_heard_commit),
        cmocka_unit_test(test_nobody_has_heard_commit),
        cmocka_unit_test(test_who_has_heard_is_gone),
        cmocka_unit_test(test_a_net_that_ends_in_doubt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
