/* The driver over real sockets of 127.0.0.1, in one thread: each worker and each trainer has a net of
 * its own, so that a test can leave one of them without attention, as a process that hangs would. */
#include "net.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "frame_messages.h"
#include "support.h"

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#define UNDER_ASAN __has_feature(address_sanitizer)
#else
#define UNDER_ASAN 0
#endif
#if UNDER_ASAN /* malloc is the sanitizer's; gcc 12 has this function and not its header */
size_t __sanitizer_get_current_allocated_bytes(void); /* NOLINT */
#endif

#define MS          UINT64_C(1000000)
#define WORKERS_MAX 3u
#define PATIENCE_MS 20000u /* of the tests: a loop that takes longer has failed */

/* ---- Some workers and a trainer ---- */

typedef struct fixture fixture;

typedef struct member {
    fixture *fixture;
    weft_worker *worker;
    test_model *model;
    weft_net *net;
    char address[32];
    bool ignored; /* its net is not polled */
    uint32_t sent[WEFT_MESSAGE_TYPE_END];
    uint64_t payload_seen; /* end of the last PAYLOAD frame that began to arrive */
} member;

struct fixture {
    test_random random;
    uint32_t count;
    member members[WORKERS_MAX];
    test_model *current;
    weft_trainer *trainer;
    weft_net *net;
    weft_trainer_config config;
    size_t heap_at_ready;
};

static size_t heap_bytes(void)
{
#if UNDER_ASAN
    return __sanitizer_get_current_allocated_bytes();
#else
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
#endif
}

static void on_trace(void *context, const weft_trace *record)
{
    member *m = context;
    if (record->kind == WEFT_TRACE_SENT) {
        m->sent[record->message]++;
        if (record->message ==
            WEFT_MESSAGE_READY) { /* with the last one, all staging is reserved */
            m->fixture->heap_at_ready = heap_bytes();
        }
    } else if (record->kind == WEFT_TRACE_RECEIVED && record->message == WEFT_MESSAGE_PAYLOAD) {
        m->payload_seen = record->offset + record->length;
    }
}

/* Listens on the port that it had before, or on any. */
static void member_listen(member *m)
{
    uint16_t port = 0;
    bool first = m->address[0] == '\0';
    assert_int_equal(weft_net_create(&m->net), WEFT_OK);
    assert_int_equal(weft_net_listen(m->net, m->worker, first ? "127.0.0.1:0" : m->address, &port),
                     WEFT_OK);
    assert_int_not_equal(port, 0);
    (void)snprintf(m->address, sizeof m->address, "127.0.0.1:%u", port);
}

static void member_start(fixture *f, member *m, const test_model *content, uint32_t keepalive_ms)
{
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    char name[16];
    (void)snprintf(name, sizeof name, "worker%u", (unsigned)(m - f->members));
    *m = (member){.fixture = f, .model = test_model_copy(&f->random, content)};
    config.name = name;
    config.model = m->model->model;
    config.keepalive_ms = keepalive_ms;
    config.baseline = WEFT_BASELINE_STAGED;
    config.hooks = (weft_hooks){.context = m, .trace = on_trace};
    assert_int_equal(weft_worker_create(&m->worker, &config), WEFT_OK);
    member_listen(m);
}

/* Takes `content` over. */
static fixture *start(uint32_t count, test_model *content, uint32_t timeout_ms,
                      uint32_t keepalive_ms)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->random = test_random_start();
    f->count = count;
    f->current = content != NULL ? content : test_model_create(&f->random, 24);
    for (uint32_t i = 0; i < count; i++) {
        member_start(f, &f->members[i], f->current, keepalive_ms);
    }
    f->config = (weft_trainer_config)WEFT_TRAINER_CONFIG_INIT;
    f->config.model = f->current->model;
    f->config.timeout_ms = timeout_ms;
    f->config.keepalive_ms = keepalive_ms;
    f->config.update_bytes = 4000; /* several updates */
    assert_int_equal(weft_trainer_create(&f->trainer, &f->config), WEFT_OK);
    assert_int_equal(weft_net_create(&f->net), WEFT_OK);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(weft_net_connect(f->net, f->trainer, f->members[i].address), WEFT_OK);
    }
    return f;
}

static void stop(fixture *f)
{
    weft_net_destroy(f->net);
    weft_trainer_destroy(f->trainer);
    for (uint32_t i = 0; i < f->count; i++) {
        weft_net_destroy(f->members[i].net);
        weft_worker_destroy(f->members[i].worker);
        test_model_destroy(f->members[i].model);
    }
    test_model_destroy(f->current);
    free(f);
}

/* ---- Turns ---- */

static void turn(fixture *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        member *m = &f->members[i];
        if (!m->ignored && m->net != NULL) {
            assert_int_equal(weft_net_poll(m->net), WEFT_OK);
        }
    }
    assert_int_equal(weft_net_poll_wait(f->net, 1), WEFT_OK);
}

static uint32_t workers_of(const fixture *f)
{
    weft_trainer_info info;
    weft_trainer_get_info(f->trainer, &info);
    return info.workers;
}

static uint64_t patience(void)
{
    return weft_net_now_ns() + PATIENCE_MS * MS;
}

static void until_workers(fixture *f, uint32_t count)
{
    for (uint64_t end = patience(); workers_of(f) != count;) {
        turn(f);
        assert_true(weft_net_now_ns() < end);
    }
}

static void until_sent(fixture *f, const member *m, weft_message_type type, uint32_t times)
{
    for (uint64_t end = patience(); m->sent[type] < times;) {
        turn(f);
        assert_true(weft_net_now_ns() < end);
    }
}

static weft_status until_pushed(fixture *f, weft_push *push)
{
    weft_status status;
    uint64_t end = patience();
    while ((status = weft_trainer_result(f->trainer, push)) == WEFT_AGAIN) {
        turn(f);
        assert_true(weft_net_now_ns() < end);
    }
    return status;
}

static bool idle(const member *m)
{
    weft_worker_info info;
    weft_worker_get_info(m->worker, &info);
    return info.state == WEFT_IDLE;
}

/* Everybody is idle, or gets there, and holds exactly this. */
static void check_all(fixture *f, const test_model *content, uint64_t version)
{
    for (uint32_t i = 0; i < f->count; i++) {
        weft_worker_info info;
        for (uint64_t end = patience(); !idle(&f->members[i]);) {
            turn(f);
            assert_true(weft_net_now_ns() < end);
        }
        weft_worker_get_info(f->members[i].worker, &info);
        assert_int_equal(info.condition, WEFT_INTACT);
        assert_int_equal(info.version, version);
        assert_true(test_model_equal(f->members[i].model, content));
    }
}

static void change_and_push(fixture *f, weft_kind kind, uint64_t version)
{
    weft_push push;
    (void)test_model_change(&f->random, f->current, 300);
    assert_int_equal(weft_trainer_push(f->trainer, kind, version), WEFT_OK);
    assert_int_equal(until_pushed(f, &push), WEFT_OK);
    assert_int_equal(push.committed, f->count);
    check_all(f, f->current, version);
}

/* One tensor of so many bytes. */
static test_model *big_model(test_random *random, size_t bytes)
{
    test_model *model = malloc(sizeof *model);
    void **blocks = malloc(sizeof *blocks);
    assert_non_null(model);
    assert_non_null(blocks);
    blocks[0] = malloc(bytes);
    assert_non_null(blocks[0]);
    test_random_fill(random, blocks[0], bytes < 4096 ? bytes : 4096);
    memset((char *)blocks[0] + 4096, 0x3c, bytes - 4096);
    *model = (test_model){.count = 1, .blocks = blocks};
    assert_int_equal(weft_model_create(&model->model, NULL), WEFT_OK);
    assert_int_equal(weft_model_add(model->model, &(weft_tensor){.name = "big",
                                                                 .dtype = WEFT_F64,
                                                                 .rank = 1,
                                                                 .shape = {bytes / 8},
                                                                 .data = blocks[0]}),
                     WEFT_OK);
    return model;
}

/* ---- Addresses ---- */

static void test_addresses_that_are_valid(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t number;
        bool numeric;
    } CASES[] = {
        {"127.0.0.1:7070", "127.0.0.1", 7070, true},
        {"[::1]:65535", "::1", 65535, true},
        {"localhost:1", "localhost", 1, false},
        {"[fe80::1%lo]:0", "fe80::1%lo", 0, true},
        {"a-b.example.org:00080", "a-b.example.org", 80, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        weft_address address;
        weft_address_list list = {.count = 0};
        assert_int_equal(weft_address_parse(&address, CASES[i].text), WEFT_OK);
        assert_string_equal(address.text, CASES[i].text);
        assert_string_equal(address.host, CASES[i].host);
        assert_int_equal(address.number, CASES[i].number);
        assert_int_equal(weft_address_is_numeric(&address, &list), CASES[i].numeric);
        assert_int_equal(list.count, CASES[i].numeric ? 1 : 0);
    }
}

static void test_addresses_that_are_not(void **state)
{
    static const char *const CASES[] = {
        "",        "7070",     ":7070",      "host",        "host:",    "host:x",
        "host:+1", "host: 1",  "host:65536", "host:123456", "::1:7070", "[::1]",
        "[]:1",    "[host]:1", "[::1:1",     "::1]:1",      "ho st:1",  "host:-1",
    };
    weft_net *net = NULL;
    fixture *f = start(1, NULL, 1000, 1000);
    char longest[400];
    (void)state;
    memset(longest, 'a', sizeof longest);
    memcpy(longest + sizeof longest - 3, ":1", 3);
    assert_int_equal(weft_net_create(&net), WEFT_OK);
    assert_string_equal(weft_net_text(net), "");
    for (size_t i = 0; i <= sizeof CASES / sizeof CASES[0]; i++) {
        bool last = i == sizeof CASES / sizeof CASES[0];
        const char *text = last ? longest : CASES[i];
        assert_int_equal(weft_net_connect(net, f->trainer, text), WEFT_E_ADDRESS);
        assert_int_equal(weft_net_listen(net, f->members[0].worker, text, NULL), WEFT_E_ADDRESS);
        assert_non_null(strstr(weft_net_text(net), "host:port"));
    }
    assert_int_equal(weft_net_connect(net, f->trainer, "127.0.0.1:0"), WEFT_E_ADDRESS);
    assert_non_null(strstr(weft_net_text(net), "port 0"));
    weft_net_destroy(net);
    stop(f);
}

static void test_port_in_use(void **state)
{
    fixture *f = start(1, NULL, 1000, 1000);
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
    stop(f);
}

static void test_names(void **state)
{
    fixture *f = start(1, NULL, 1000, 1000);
    char address[32];
    uint16_t port;
    (void)state;
    until_workers(f, 1);
    assert_int_equal(weft_net_listen(f->members[0].net, f->members[0].worker, "localhost:0", &port),
                     WEFT_OK);
    (void)snprintf(address, sizeof address, "localhost:%u", port);
    assert_int_equal(weft_net_connect(f->net, f->trainer, address), WEFT_OK);
    until_workers(f, 2);
    assert_int_equal(weft_net_connect(f->net, f->trainer, "a..b:1"), WEFT_OK);
    assert_int_equal(weft_net_workers_wait(f->net, f->trainer, 3, 100), WEFT_E_CONNECT);
    assert_non_null(strstr(weft_net_text(f->net), "2 of 3 workers are there: a..b:1 ("));
    /* Looked up and given up at once: the resolver's answer finds nobody. */
    assert_int_equal(weft_net_connect(f->net, f->trainer, "localhost:2"), WEFT_OK);
    assert_int_equal(weft_net_poll(f->net), WEFT_OK);
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, "localhost:2"), WEFT_OK);
    stop(f);
}

/* ---- Pushes ---- */

static void test_one_net_for_all(void **state)
{
    fixture *f = start(3, NULL, 5000, 5000);
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
        check_all(f, f->current, version);
    }
    assert_int_equal(weft_net_push_wait(net, trainer, WEFT_SPARSE, 5, NULL), WEFT_OK);
    weft_net_destroy(net);
    weft_trainer_destroy(trainer);
    stop(f);
}

static void test_a_loop_of_ones_own(void **state)
{
    fixture *f = start(1, NULL, 5000, 5000);
    weft_net *nets[] = {f->net, f->members[0].net};
    weft_push push = {.status = WEFT_AGAIN};
    bool pushed = false;
    (void)state;
    for (uint64_t end = patience(); push.status == WEFT_AGAIN;) {
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
        if (!pushed && workers_of(f) == 1) {
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
    check_all(f, f->current, 1);
    stop(f);
}

/* ---- A worker that goes away ---- */

static void test_socket_closed_in_the_payload(void **state)
{
    test_random random = test_random_start();
    fixture *f = start(3, big_model(&random, 8u << 20), 10000, 10000);
    test_model *before = test_model_copy(&f->random, f->current);
    member *gone = &f->members[1];
    weft_trainer_worker_info info;
    weft_push push;
    (void)state;
    until_workers(f, 3);
    (void)test_model_change(&f->random, f->current, 500);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_SPARSE, 1), WEFT_OK);
    for (uint64_t end = patience(); gone->payload_seen <= 65536;) {
        turn(f);
        assert_true(weft_net_now_ns() < end);
    }
    assert_false(idle(gone));
    weft_net_destroy(gone->net);
    gone->net = NULL;
    assert_true(idle(gone));
    assert_int_equal(until_pushed(f, &push), WEFT_E_LINK_CLOSED);
    assert_int_equal(push.outcome, WEFT_OUTCOME_ABORTED);
    assert_int_equal(weft_trainer_worker(f->trainer, 1, &info), WEFT_OK);
    assert_false(info.open);
    assert_int_equal(info.status, WEFT_E_LINK_CLOSED);
    assert_non_null(strstr(weft_net_text(f->net), gone->address));
    check_all(f, before, 0);
    member_listen(gone);
    until_workers(f, 3);
    change_and_push(f, WEFT_SPARSE, 2);
    test_model_destroy(before);
    stop(f);
}

/* The worker's socket is closed properly, and the trainer writes two chunks before it looks: the
 * second write raises SIGPIPE, whose default is to end the process. */
static void test_no_sigpipe(void **state)
{
    test_random random = test_random_start();
    fixture *f = start(1, big_model(&random, 1u << 20), 10000, 10000);
    member *gone = &f->members[0];
    sigset_t set;
    (void)state;
    until_workers(f, 1);
    (void)test_model_change(&f->random, f->current, 900);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_BASELINE, 1), WEFT_OK);
    for (uint64_t end = patience(); gone->sent[WEFT_MESSAGE_READY] == 0;) {
        assert_int_equal(weft_net_poll(f->net), WEFT_OK);
        assert_int_equal(weft_net_poll(gone->net), WEFT_OK);
        assert_true(weft_net_now_ns() < end);
    }
    weft_net_destroy(gone->net);
    gone->net = NULL;
    assert_int_equal(until_pushed(f, NULL), WEFT_E_LINK_CLOSED);
    assert_int_equal(sigpending(&set), 0);
    assert_int_equal(sigismember(&set, SIGPIPE), 0);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &set), 0);
    assert_int_equal(sigismember(&set, SIGPIPE), 0);
    stop(f);
}

static void test_silent_worker_misses_the_deadline(void **state)
{
    fixture *f = start(3, NULL, 200, 5000);
    test_model *before = test_model_copy(&f->random, f->current);
    weft_push push;
    (void)state;
    until_workers(f, 3);
    (void)test_model_change(&f->random, f->current, 500);
    f->members[2].ignored = true;
    uint64_t began_ns = weft_net_now_ns();
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_SPARSE, 1), WEFT_OK);
    assert_int_equal(until_pushed(f, &push), WEFT_E_DEADLINE);
    uint64_t took_ns = weft_net_now_ns() - began_ns;
    assert_true(took_ns >= 200 * MS); /* for STARTED; then as long for ABORTED */
    assert_true(took_ns < 2000 * MS);
    assert_int_equal(push.outcome, WEFT_OUTCOME_ABORTED);
    f->members[2].ignored = false;
    check_all(f, before, 0);
    until_workers(f, 3);
    change_and_push(f, WEFT_SPARSE, 2);
    test_model_destroy(before);
    stop(f);
}

static void test_silent_peer_loses_its_link(void **state)
{
    fixture *f = start(2, NULL, 5000, 40);
    weft_trainer_worker_info info;
    (void)state;
    until_workers(f, 2);
    f->members[0].ignored = true;
    until_workers(f, 1);
    assert_int_equal(weft_trainer_worker(f->trainer, 0, &info), WEFT_OK);
    assert_int_equal(info.status, WEFT_E_LINK_SILENT);
    assert_non_null(strstr(weft_net_text(f->net), weft_status_text(WEFT_E_LINK_SILENT)));
    assert_int_equal(weft_trainer_worker(f->trainer, 1, &info), WEFT_OK);
    assert_true(info.open); /* PING and PONG keep it */
    f->members[0].ignored = false;
    until_workers(f, 2);
    change_and_push(f, WEFT_SPARSE, 1);
    stop(f);
}

/* ---- Back-pressure ---- */

static void test_slow_worker_costs_one_chunk(void **state)
{
    const uint64_t bytes = UINT64_C(32) << 20;
    test_random random = test_random_start();
    fixture *f = start(3, big_model(&random, bytes), 20000, 20000);
    member *slow = &f->members[2];
    weft_push push;
    (void)state;
    /* One update, so that the payload is all that the workers wait for. */
    weft_net_destroy(f->net);
    weft_trainer_destroy(f->trainer);
    f->config.update_bytes = 0;
    assert_int_equal(weft_trainer_create(&f->trainer, &f->config), WEFT_OK);
    assert_int_equal(weft_net_create(&f->net), WEFT_OK);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(weft_net_connect(f->net, f->trainer, f->members[i].address), WEFT_OK);
    }
    until_workers(f, 3);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_BASELINE, 1), WEFT_OK);
    until_sent(f, slow, WEFT_MESSAGE_READY, 1);
    slow->ignored = true;
    uint64_t slow_seen = slow->payload_seen;
    until_sent(f, &f->members[0], WEFT_MESSAGE_STAGED, 1);
    until_sent(f, &f->members[1], WEFT_MESSAGE_STAGED, 1);
    size_t after = heap_bytes();
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
    assert_int_equal(until_pushed(f, &push), WEFT_OK);
    assert_int_equal(push.payload_bytes, bytes);
    check_all(f, f->current, 1);
    stop(f);
}

/* ---- Two trainers ---- */

static void test_second_trainer_finds_it_busy(void **state)
{
    fixture *f = start(2, NULL, 10000, 10000);
    weft_trainer *second = NULL;
    weft_trainer_worker_info info;
    weft_net *net = NULL;
    (void)state;
    until_workers(f, 2);
    assert_int_equal(weft_trainer_create(&second, &f->config), WEFT_OK);
    assert_int_equal(weft_net_create(&net), WEFT_OK);
    assert_int_equal(weft_net_connect(net, second, f->members[0].address), WEFT_OK);
    while (weft_net_workers_wait(net, second, 1, 1) == WEFT_E_CONNECT) {
        turn(f);
    }
    f->members[1].ignored = true;
    (void)test_model_change(&f->random, f->current, 500);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_SPARSE, 1), WEFT_OK);
    until_sent(f, &f->members[0], WEFT_MESSAGE_STARTED, 1);
    assert_int_equal(weft_trainer_push(second, WEFT_SPARSE, 7), WEFT_OK);
    for (uint64_t end = patience(); weft_trainer_result(second, NULL) == WEFT_AGAIN;) {
        assert_int_equal(weft_net_poll_wait(net, 1), WEFT_OK);
        turn(f);
        assert_true(weft_net_now_ns() < end);
    }
    assert_int_equal(weft_trainer_result(second, NULL), WEFT_E_PEER_FAILED);
    assert_int_equal(weft_trainer_worker(second, 0, &info), WEFT_OK);
    assert_int_equal(info.status, WEFT_E_BUSY);
    assert_true(info.open);
    f->members[1].ignored = false;
    assert_int_equal(until_pushed(f, NULL), WEFT_OK);
    check_all(f, f->current, 1);
    weft_net_destroy(net);
    weft_trainer_destroy(second);
    stop(f);
}

/* ---- Strangers ---- */

static int dial_raw(const member *m)
{
    weft_address address;
    weft_address_list list;
    int stranger = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(stranger >= 0);
    assert_int_equal(weft_address_parse(&address, m->address), WEFT_OK);
    assert_true(weft_address_is_numeric(&address, &list));
    assert_int_equal(
        connect(stranger, (struct sockaddr *)&list.found[0], sizeof(struct sockaddr_in)), 0);
    return stranger;
}

/* Reads to the end of the stream; the worker is polled meanwhile. */
static size_t read_all(fixture *f, int stranger)
{
    char bytes[4096];
    size_t total = 0;
    for (uint64_t end = patience();;) {
        ssize_t got = recv(stranger, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) {
            break;
        }
        total += got > 0 ? (size_t)got : 0;
        turn(f);
        assert_true(weft_net_now_ns() < end);
    }
    return total;
}

static void test_garbage_for_a_worker(void **state)
{
    fixture *f = start(1, NULL, 5000, 5000);
    static const char GARBAGE[] = "GET / HTTP/1.1\r\nHost: worker\r\n\r\n";
    (void)state;
    until_workers(f, 1);
    int stranger = dial_raw(&f->members[0]);
    assert_int_equal(send(stranger, GARBAGE, sizeof GARBAGE, 0), sizeof GARBAGE);
    assert_true(read_all(f, stranger) >= WEFT_FRAME_HEADER_BYTES); /* HELLO came first */
    assert_non_null(
        strstr(weft_net_text(f->members[0].net), weft_status_text(WEFT_E_FRAME_MALFORMED)));
    (void)close(stranger);
    change_and_push(f, WEFT_SPARSE, 1);
    stop(f);
}

static void test_too_many_trainers(void **state)
{
    fixture *f = start(1, NULL, 5000, 5000);
    int strangers[WEFT_LINKS_MAX];
    (void)state;
    until_workers(f, 1);
    for (uint32_t i = 0; i < WEFT_LINKS_MAX; i++) {
        strangers[i] = dial_raw(&f->members[0]);
        turn(f);
    }
    assert_int_equal(read_all(f, strangers[WEFT_LINKS_MAX - 1]), 0); /* the 17th link */
    assert_non_null(
        strstr(weft_net_text(f->members[0].net), weft_status_text(WEFT_E_TOO_MANY_LINKS)));
    for (uint32_t i = 0; i < WEFT_LINKS_MAX; i++) {
        (void)close(strangers[i]);
    }
    change_and_push(f, WEFT_SPARSE, 1);
    stop(f);
}

/* Something that is no worker listens at the address. */
static void test_garbage_for_a_trainer(void **state)
{
    static const char GARBAGE[] = "220 mail.example.org ESMTP: at your service, 24 hours a day\r\n";
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    fixture *f = start(1, NULL, 5000, 5000);
    weft_trainer_worker_info info = {.open = true};
    char address[32];
    (void)state;
    until_workers(f, 1);
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
    for (uint64_t end = patience(); info.status == WEFT_OK;) {
        turn(f);
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
    change_and_push(f, WEFT_SPARSE, 1);
    stop(f);
}

static void test_another_model_is_missing(void **state)
{
    fixture *f = start(2, NULL, 5000, 5000);
    member *m = &f->members[1];
    test_model *other = test_model_create(&f->random, 5);
    (void)state;
    weft_net_destroy(m->net);
    weft_worker_destroy(m->worker);
    test_model_destroy(m->model);
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, m->address), WEFT_OK);
    member_start(f, m, other, 5000);
    assert_int_equal(weft_net_connect(f->net, f->trainer, m->address), WEFT_OK);
    for (uint64_t end = patience(); m->sent[WEFT_MESSAGE_HELLO] == 0 || workers_of(f) < 1;) {
        turn(f);
        assert_true(weft_net_now_ns() < end);
    }
    assert_int_equal(weft_net_workers_wait(f->net, f->trainer, 2, 50), WEFT_E_CONNECT);
    assert_non_null(strstr(weft_net_text(f->net), m->address));
    assert_non_null(strstr(weft_net_text(f->net), weft_status_text(WEFT_E_MODEL_MISMATCH)));
    assert_null(strstr(weft_net_text(f->net), f->members[0].address));
    test_model_destroy(other);
    stop(f);
}

/* ---- Connections come and go ---- */

static void test_worker_appears_later(void **state)
{
    fixture *f = start(2, NULL, 5000, 5000);
    member *late = &f->members[1];
    (void)state;
    weft_net_destroy(late->net);
    late->net = NULL;
    until_workers(f, 1);
    assert_int_equal(weft_net_workers_wait(f->net, f->trainer, 2, 150), WEFT_E_CONNECT);
    assert_non_null(strstr(weft_net_text(f->net), "1 of 2 workers are there"));
    assert_non_null(strstr(weft_net_text(f->net), late->address));
    assert_non_null(strstr(weft_net_text(f->net), "connection refused"));
    assert_true(f->net->dialers->next->backoff_ms > 50);
    assert_true(f->net->dialers->next->backoff_ms <= 2000);
    member_listen(late);
    until_workers(f, 2);
    assert_int_equal(f->net->dialers->next->backoff_ms, 50);
    change_and_push(f, WEFT_SPARSE, 1);
    stop(f);
}

static void test_many_missing_are_cut(void **state)
{
    fixture *f = start(0, NULL, 5000, 5000);
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
    stop(f);
}

static void test_disconnect(void **state)
{
    fixture *f = start(2, NULL, 5000, 5000);
    weft_trainer *trainer = NULL;
    (void)state;
    until_workers(f, 2);
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, "127.0.0.1:1"), WEFT_E_ADDRESS);
    assert_non_null(strstr(weft_net_text(f->net), "127.0.0.1:1"));
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, f->members[1].address), WEFT_OK);
    assert_int_equal(workers_of(f), 1);
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, f->members[1].address),
                     WEFT_E_ADDRESS);
    for (uint64_t end = weft_net_now_ns() + 150 * MS; weft_net_now_ns() < end;) {
        turn(f);
        assert_int_equal(workers_of(f), 1); /* it does not come back */
    }
    /* A trainer without connections may go before its net. */
    assert_int_equal(weft_trainer_create(&trainer, &f->config), WEFT_OK);
    assert_int_equal(weft_net_connect(f->net, trainer, f->members[0].address), WEFT_OK);
    assert_int_equal(weft_net_disconnect(f->net, trainer, f->members[0].address), WEFT_OK);
    weft_trainer_destroy(trainer);
    turn(f);
    stop(f);
}

static void test_disconnect_in_a_session(void **state)
{
    fixture *f = start(2, NULL, 5000, 5000);
    test_model *before = test_model_copy(&f->random, f->current);
    (void)state;
    until_workers(f, 2);
    (void)test_model_change(&f->random, f->current, 500);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_SPARSE, 1), WEFT_OK);
    turn(f);
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, f->members[1].address), WEFT_OK);
    assert_int_equal(until_pushed(f, NULL), WEFT_E_CANCELLED);
    check_all(f, before, 0);
    test_model_destroy(before);
    stop(f);
}

static void test_destroyed_in_a_session(void **state)
{
    test_random random = test_random_start();
    fixture *f = start(2, big_model(&random, 32u << 20), 5000, 5000);
    test_model *before = test_model_copy(&f->random, f->current);
    (void)state;
    until_workers(f, 2);
    (void)test_model_change(&f->random, f->current, 1);
    assert_int_equal(weft_trainer_push(f->trainer, WEFT_BASELINE, 1), WEFT_OK);
    until_sent(f, &f->members[0], WEFT_MESSAGE_READY, 1);
    f->members[0].ignored = true; /* a write of the trainer's is under way when it goes */
    for (unsigned i = 0; i < 50; i++) {
        turn(f);
    }
    weft_net_destroy(f->net);
    f->members[0].ignored = false;
    assert_int_equal(weft_net_create(&f->net), WEFT_OK);
    assert_int_equal(weft_trainer_result(f->trainer, NULL), WEFT_E_CANCELLED);
    check_all(f, before, 0);
    test_model_destroy(before);
    stop(f);
}

/* ---- Usage ---- */

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
    fixture *f = start(1, NULL, 5000, 5000);
    (void)state;
    weft_net_destroy(f->net);
    weft_trainer_destroy(f->trainer);
    f->config.hooks.trace = poll_in_a_hook;
    assert_int_equal(weft_trainer_create(&f->trainer, &f->config), WEFT_OK);
    assert_int_equal(weft_net_create(&f->net), WEFT_OK);
    assert_int_equal(weft_net_connect(f->net, f->trainer, f->members[0].address), WEFT_OK);
    hook_net = f->net;
    hook_trainer = f->trainer;
    until_workers(f, 1);
    hook_net = NULL;
    assert_true(hook_calls > 0);
    stop(f);
}

static void test_null(void **state)
{
    fixture *f = start(1, NULL, 5000, 5000);
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
    stop(f);
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
        cmocka_unit_test(test_addresses_that_are_valid),
        cmocka_unit_test(test_addresses_that_are_not),
        cmocka_unit_test(test_port_in_use),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_one_net_for_all),
        cmocka_unit_test(test_a_loop_of_ones_own),
        cmocka_unit_test(test_socket_closed_in_the_payload),
        cmocka_unit_test(test_no_sigpipe),
        cmocka_unit_test(test_silent_worker_misses_the_deadline),
        cmocka_unit_test(test_silent_peer_loses_its_link),
        cmocka_unit_test(test_slow_worker_costs_one_chunk),
        cmocka_unit_test(test_second_trainer_finds_it_busy),
        cmocka_unit_test(test_garbage_for_a_worker),
        cmocka_unit_test(test_too_many_trainers),
        cmocka_unit_test(test_garbage_for_a_trainer),
        cmocka_unit_test(test_another_model_is_missing),
        cmocka_unit_test(test_worker_appears_later),
        cmocka_unit_test(test_many_missing_are_cut),
        cmocka_unit_test(test_disconnect),
        cmocka_unit_test(test_disconnect_in_a_session),
        cmocka_unit_test(test_destroyed_in_a_session),
        cmocka_unit_test(test_hooks_do_not_poll),
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_a_net_without_work_does_not_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
