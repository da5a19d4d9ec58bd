#include "net_fixture.h"

#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#define UNDER_ASAN __has_feature(address_sanitizer)
#else
#define UNDER_ASAN 0
#endif
#if UNDER_ASAN /* malloc is the sanitizer's; gcc 12 has this function and not its header */
size_t __sanitizer_get_current_allocated_bytes(void); /* NOLINT: the name is the sanitizer's */
#endif

#define PATIENCE_NS UINT64_C(20000000000) /* a loop that takes longer has failed */

size_t net_heap_bytes(void)
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
    net_member *m = context;
    if (record->kind == WEFT_TRACE_SENT) {
        m->sent[record->message]++;
        if (record->message == WEFT_MESSAGE_READY) {
            m->fixture->heap_at_ready = net_heap_bytes();
        }
    } else if (record->kind == WEFT_TRACE_RECEIVED && record->message == WEFT_MESSAGE_PAYLOAD) {
        m->payload_seen = record->offset + record->length;
    }
}

void net_member_listen(net_member *m)
{
    uint16_t port = 0;
    bool first = m->address[0] == '\0';
    assert_int_equal(weft_net_create(&m->net), WEFT_OK);
    assert_int_equal(weft_net_listen(m->net, m->worker, first ? "127.0.0.1:0" : m->address, &port),
                     WEFT_OK);
    assert_int_not_equal(port, 0);
    (void)snprintf(m->address, sizeof m->address, "127.0.0.1:%u", port);
}

void net_member_start(net_fixture *f, net_member *m, const test_model *content,
                      uint32_t keepalive_ms)
{
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    char name[16];
    (void)snprintf(name, sizeof name, "worker%u", (unsigned)(m - f->members));
    *m = (net_member){.fixture = f, .model = test_model_copy(&f->random, content)};
    config.name = name;
    config.model = m->model->model;
    config.keepalive_ms = keepalive_ms;
    config.baseline = WEFT_BASELINE_STAGED;
    config.hooks = (weft_hooks){.context = m, .trace = on_trace};
    assert_int_equal(weft_worker_create(&m->worker, &config), WEFT_OK);
    net_member_listen(m);
}

void net_restart_trainer(net_fixture *f)
{
    weft_net_destroy(f->net);
    weft_trainer_destroy(f->trainer);
    assert_int_equal(weft_trainer_create(&f->trainer, &f->config), WEFT_OK);
    assert_int_equal(weft_net_create(&f->net), WEFT_OK);
    for (uint32_t i = 0; i < f->count; i++) {
        assert_int_equal(weft_net_connect(f->net, f->trainer, f->members[i].address), WEFT_OK);
    }
}

net_fixture *net_start(uint32_t count, test_model *content, uint32_t timeout_ms,
                       uint32_t keepalive_ms)
{
    net_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->random = test_random_start();
    f->count = count;
    f->current = content != NULL ? content : test_model_create(&f->random, 24);
    for (uint32_t i = 0; i < count; i++) {
        net_member_start(f, &f->members[i], f->current, keepalive_ms);
    }
    f->config = (weft_trainer_config)WEFT_TRAINER_CONFIG_INIT;
    f->config.model = f->current->model;
    f->config.timeout_ms = timeout_ms;
    f->config.keepalive_ms = keepalive_ms;
    f->config.update_bytes = 4000; /* several updates */
    net_restart_trainer(f);
    return f;
}

void net_stop(net_fixture *f)
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

void net_turn(net_fixture *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        net_member *m = &f->members[i];
        if (!m->ignored && m->net != NULL) {
            assert_int_equal(weft_net_poll(m->net), WEFT_OK);
        }
    }
    assert_int_equal(weft_net_poll_wait(f->net, 1), WEFT_OK);
}

uint32_t net_workers(const net_fixture *f)
{
    weft_trainer_info info;
    weft_trainer_get_info(f->trainer, &info);
    return info.workers;
}

uint64_t net_patience(void)
{
    return weft_net_now_ns() + PATIENCE_NS;
}

void net_until_workers(net_fixture *f, uint32_t count)
{
    for (uint64_t end = net_patience(); net_workers(f) != count;) {
        net_turn(f);
        assert_true(weft_net_now_ns() < end);
    }
}

void net_until_sent(net_fixture *f, const net_member *m, weft_message_type type, uint32_t times)
{
    for (uint64_t end = net_patience(); m->sent[type] < times;) {
        net_turn(f);
        assert_true(weft_net_now_ns() < end);
    }
}

weft_status net_until_pushed(net_fixture *f, weft_push *push)
{
    weft_status status;
    uint64_t end = net_patience();
    while ((status = weft_trainer_result(f->trainer, push)) == WEFT_AGAIN) {
        net_turn(f);
        assert_true(weft_net_now_ns() < end);
    }
    return status;
}

bool net_idle(const net_member *m)
{
    weft_worker_info info;
    weft_worker_get_info(m->worker, &info);
    return info.state == WEFT_IDLE;
}

void net_check_all(net_fixture *f, const test_model *content, uint64_t version)
{
    for (uint32_t i = 0; i < f->count; i++) {
        weft_worker_info info;
        for (uint64_t end = net_patience(); !net_idle(&f->members[i]);) {
            net_turn(f);
            assert_true(weft_net_now_ns() < end);
        }
        weft_worker_get_info(f->members[i].worker, &info);
        assert_int_equal(info.condition, WEFT_INTACT);
        assert_int_equal(info.version, version);
        assert_true(test_model_equal(f->members[i].model, content));
    }
}

void net_change_and_push(net_fixture *f, weft_kind kind, uint64_t version)
{
    weft_push push;
    (void)test_model_change(&f->random, f->current, 300);
    assert_int_equal(weft_trainer_push(f->trainer, kind, version), WEFT_OK);
    assert_int_equal(net_until_pushed(f, &push), WEFT_OK);
    assert_int_equal(push.committed, f->count);
    net_check_all(f, f->current, version);
}

test_model *net_big_model(test_random *random, size_t bytes)
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

int net_dial_raw(const net_member *m)
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

size_t net_read_all(net_fixture *f, int stranger)
{
    char bytes[4096];
    size_t total = 0;
    for (uint64_t end = net_patience();;) {
        ssize_t got = recv(stranger, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) {
            break;
        }
        total += got > 0 ? (size_t)got : 0;
        net_turn(f);
        assert_true(weft_net_now_ns() < end);
    }
    return total;
}
