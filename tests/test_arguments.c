/* What no function takes: handles and places for results that are not there, configurations in
 * which one thing is wrong. Each is refused with INVALID_ARGUMENT, or UNKNOWN_LINK where a link is
 * asked for, and nothing changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collective.h"
#include "device.h"
#include "device_host.h"
#include "net_fixture.h"
#include "worker_fixture.h"

static void release_only(void *context, void *memory, size_t bytes, weft_memory where)
{
    (void)context;
    (void)memory;
    (void)bytes;
    (void)where;
}

/* ---- configurations ---- */

static void test_worker_config(void **state)
{
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    weft_worker *worker = NULL;
    weft_worker_config good = WEFT_WORKER_CONFIG_INIT;
    good.model = f->model;
    (void)state;
    for (int wrong = 0; wrong < 9; wrong++) {
        weft_worker_config config = good;
        config.size -= wrong == 0;
        config.model = wrong == 1 ? NULL : config.model;
        config.name = wrong == 2 ? NULL : config.name;
        config.budget_bytes = wrong == 3 ? 0 : config.budget_bytes;
        config.timeout_ms = wrong == 4 ? 0 : config.timeout_ms;
        config.keepalive_ms = wrong == 5 ? 0 : config.keepalive_ms;
        config.baseline = wrong == 6 ? WEFT_BASELINE_STREAMED + 1 : config.baseline;
        config.allocator.release = wrong == 7 ? release_only : NULL;
        assert_int_equal(weft_worker_create(&worker, wrong == 8 ? NULL : &config),
                         WEFT_E_INVALID_ARGUMENT);
        assert_null(worker);
    }
    assert_int_equal(weft_worker_create(NULL, &good), WEFT_E_INVALID_ARGUMENT);
    fixture_destroy(f);
}

static void test_trainer_config(void **state)
{
    test_random random = test_random_start();
    test_model *model = test_model_create(&random, 3), *base = test_model_copy(&random, model);
    weft_trainer *trainer = NULL;
    weft_trainer_config good = WEFT_TRAINER_CONFIG_INIT;
    good.model = model->model;
    good.base = base->model;
    (void)state;
    for (int wrong = 0; wrong < 10; wrong++) {
        weft_trainer_config config = good;
        config.size -= wrong == 0;
        config.model = wrong == 1 ? NULL : config.model;
        config.name = wrong == 2 ? NULL : config.name;
        config.budget_bytes = wrong == 3 ? 0 : config.budget_bytes;
        config.timeout_ms = wrong == 4 ? 0 : config.timeout_ms;
        config.keepalive_ms = wrong == 5 ? 0 : config.keepalive_ms;
        config.base = wrong == 6 ? config.model : config.base;
        config.allocator.release = wrong == 7 ? release_only : NULL;
        config.pinned_base = wrong == 8; /* and a base as well */
        assert_int_equal(weft_trainer_create(&trainer, wrong == 9 ? NULL : &config),
                         WEFT_E_INVALID_ARGUMENT);
        assert_null(trainer);
    }
    assert_int_equal(weft_trainer_create(NULL, &good), WEFT_E_INVALID_ARGUMENT);
    test_model_destroy(base);
    test_model_destroy(model);
}

/* ---- handles that are not there ---- */

static void test_no_worker(void **state)
{
    weft_session session = WEFT_SESSION_INIT;
    weft_worker_info info = {.version = 7};
    weft_span spans[WEFT_SPANS_MAX];
    uint32_t link = 7;
    (void)state;
    assert_int_equal(weft_worker_start(NULL, &session), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_update(NULL, "{}", 2, NULL, 0), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_update_receive(NULL, "{}", 2), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_finish(NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_poll(NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_abort(NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_link_open(NULL, &link), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_link_close(NULL, 0, WEFT_OK), WEFT_E_UNKNOWN_LINK);
    assert_int_equal(weft_worker_link_status(NULL, 0), WEFT_E_UNKNOWN_LINK);
    assert_int_equal(weft_worker_send(NULL, 0, spans), 0);
    weft_worker_sent(NULL, 0, 1);
    weft_worker_tick(NULL, 1);
    assert_int_equal(weft_worker_next_ns(NULL), UINT64_MAX);
    weft_worker_get_info(NULL, &info);
    assert_int_equal(info.version, 7);
    assert_null(weft_worker_detail(NULL));
    assert_int_equal(link, 7);
    weft_worker_destroy(NULL);
}

static void test_worker_arguments(void **state)
{
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    weft_session session = WEFT_SESSION_INIT;
    (void)state;
    assert_int_equal(weft_worker_link_open(f->worker, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_link_status(f->worker, WEFT_LINKS_MAX), WEFT_E_UNKNOWN_LINK);
    fixture_go(f, STARTED);
    assert_int_equal(weft_worker_send(f->worker, f->link, NULL), 0);
    weft_worker_get_info(f->worker, NULL);
    /* A trainer's session is none of the control plane's. */
    assert_int_equal(weft_worker_finish(f->worker), WEFT_E_WRONG_STATE);
    assert_non_null(strstr(weft_worker_detail(f->worker)->text, "a trainer's session is in state"));
    fixture_say_plain(f, WEFT_MESSAGE_ABORT);
    assert_int_equal(weft_worker_start(f->worker, NULL), WEFT_E_INVALID_ARGUMENT);
    session.epoch = WEFT_EPOCH_MAX + 1;
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_E_INVALID_ARGUMENT);
    session.epoch = 0;
    session.receives = true;
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_E_TRANSPORT);
    session.receives = false;
    session.target_version = 9;
    assert_int_equal(weft_worker_start(f->worker, &session), WEFT_OK);
    assert_int_equal(weft_worker_update(f->worker, NULL, 2, NULL, 0), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_update(f->worker, "{}", 0, NULL, 0), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_update(f->worker, "{}", 2, NULL, 1), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_update_receive(f->worker, NULL, 2), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_worker_update_receive(f->worker, "{}", 0), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(fixture_state_of(f), WEFT_STARTED); /* none of it ended the session */
    assert_int_equal(weft_worker_abort(f->worker), WEFT_OK);
    fixture_check_old(f);
    fixture_destroy(f);
}

static void test_no_trainer(void **state)
{
    weft_trainer_info info = {.epoch = 7};
    weft_trainer_worker_info worker = {.link = 7};
    weft_span spans[WEFT_SPANS_MAX];
    const char *text = NULL;
    size_t length;
    uint32_t link = 7;
    (void)state;
    assert_int_equal(weft_trainer_push(NULL, WEFT_SPARSE, 1), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_result(NULL, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_abort(NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_link_open(NULL, &link), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_link_close(NULL, 0, WEFT_OK), WEFT_E_UNKNOWN_LINK);
    assert_int_equal(weft_trainer_send(NULL, 0, spans), 0);
    assert_int_equal(weft_trainer_worker(NULL, 0, &worker), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_vllm_plan(NULL, WEFT_SPARSE, 1, &text, &length),
                     WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_vllm_send(NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_vllm_poll(NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_vllm_end(NULL, false), WEFT_E_INVALID_ARGUMENT);
    weft_trainer_get_info(NULL, &info);
    assert_int_equal(info.epoch, 7);
    assert_null(weft_trainer_detail(NULL));
    assert_int_equal(link, 7);
    assert_int_equal(worker.link, 7);
    assert_null(text);
    weft_trainer_destroy(NULL);
}

static void test_trainer_arguments(void **state)
{
    test_random random = test_random_start();
    test_model *model = test_model_create(&random, 3), *base = test_model_copy(&random, model);
    weft_trainer_config config = WEFT_TRAINER_CONFIG_INIT;
    weft_trainer *trainer;
    const char *text;
    size_t length;
    uint32_t link;
    (void)state;
    config.model = model->model;
    config.base = base->model;
    assert_int_equal(weft_trainer_create(&trainer, &config), WEFT_OK);
    assert_int_equal(weft_trainer_push(trainer, (weft_kind)0, 1), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_link_open(trainer, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_link_open(trainer, &link), WEFT_OK);
    assert_int_equal(weft_trainer_send(trainer, link, NULL), 0);
    assert_int_equal(weft_trainer_worker(trainer, link, NULL), WEFT_E_INVALID_ARGUMENT);
    weft_trainer_get_info(trainer, NULL);
    assert_int_equal(weft_trainer_vllm_plan(trainer, (weft_kind)0, 1, &text, &length),
                     WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_vllm_plan(trainer, WEFT_SPARSE, 1, NULL, &length),
                     WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_vllm_plan(trainer, WEFT_SPARSE, 1, &text, NULL),
                     WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_vllm_plan(trainer, WEFT_SPARSE, 1, &text, &length),
                     WEFT_E_TRANSPORT);
    assert_int_equal(weft_trainer_vllm_poll(trainer), WEFT_E_WRONG_STATE);
    weft_trainer_destroy(trainer);
    test_model_destroy(base);
    test_model_destroy(model);
}

static void test_transport_arguments(void **state)
{
    test_random random = test_random_start();
    char id[WEFT_UNIQUE_ID_MAX + 1] = "";
    collective c;
    (void)state;
    collective_start(&c, &random);
    const weft_transport *transport = collective_transport(&c, 0);
    assert_int_equal(weft_transport_join(NULL, id, 0, 2), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_transport_join(transport, NULL, 0, 2), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_transport_join(transport, "", 0, 2), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_transport_poll(NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_transport_unique_id(NULL, id), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_transport_unique_id(transport, NULL), WEFT_E_INVALID_ARGUMENT);
    c.no_invite = true;
    assert_int_equal(weft_transport_unique_id(transport, id), WEFT_E_COLLECTIVE);
    assert_string_equal(id, "");
    assert_null(weft_transport_text(NULL));
    weft_transport_leave(NULL);
    weft_transport_destroy(NULL);
    weft_transport_destroy(transport);
    collective_finish(&c);
}

static void test_device_arguments(void **state)
{
    const weft_device *host = weft_device_host();
    (void)state;
    assert_string_equal(weft_device_text(NULL), "");
    assert_string_equal(weft_device_text(host), "");
    weft_device_destroy(NULL);
    weft_device_destroy(host); /* is nobody's: it stays */
    assert_ptr_equal(weft_device_host(), host);
}

static void test_net_arguments(void **state)
{
    net_fixture *f = net_start(1, NULL, 5000, 5000);
    weft_worker *worker = f->members[0].worker;
    uint16_t port = 7;
    (void)state;
    assert_int_equal(weft_net_create(NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_poll(NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_fd(NULL), -1);
    assert_int_equal(weft_net_next_ms(NULL), -1);
    assert_null(weft_net_text(NULL));
    assert_int_equal(weft_net_listen(NULL, worker, "127.0.0.1:0", &port), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_listen(f->net, NULL, "127.0.0.1:0", &port), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_listen(f->net, worker, NULL, &port), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_connect(NULL, f->trainer, "a:1"), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_connect(f->net, NULL, "a:1"), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_connect(f->net, f->trainer, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_disconnect(NULL, f->trainer, "a:1"), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_disconnect(f->net, NULL, "a:1"), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_net_disconnect(f->net, f->trainer, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(port, 7);
    weft_net_destroy(NULL);
    net_until_workers(f, 1);
    net_change_and_push(f, WEFT_SPARSE, 1);
    net_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worker_config),       cmocka_unit_test(test_trainer_config),
        cmocka_unit_test(test_no_worker),           cmocka_unit_test(test_worker_arguments),
        cmocka_unit_test(test_no_trainer),          cmocka_unit_test(test_trainer_arguments),
        cmocka_unit_test(test_transport_arguments), cmocka_unit_test(test_device_arguments),
        cmocka_unit_test(test_net_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
