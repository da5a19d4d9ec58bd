/* A trainer and its workers, whole sessions over a wire in memory: what they agree on, whatever
 * fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frame.h"
#include "world.h"

#define DEFAULT_TIMEOUT_MS 60000u

/* ---- all goes well ---- */

static void test_sessions_commit(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 3, .tensors = 40, .version = 7});
    world_check(world, world->base, 7);
    world_push_and_check(world, WEFT_SPARSE, 10, 8);
    world_push_and_check(world, WEFT_SPARSE, 500, 9);
    world_push_and_check(world, WEFT_BASELINE, 1000, 10);
    world_push_and_check(world, WEFT_SPARSE, 0, 11);  /* nothing changed: a session all the same */
    world_push_and_check(world, WEFT_SPARSE, 10, 11); /* versions are the trainer's to choose */
    for (uint32_t i = 0; i < world->count; i++) {
        assert_int_equal(world->workers[i].commits, 5);
        assert_int_equal(world->workers[i].pauses, 5);
        assert_int_equal(world->workers[i].failures, 0);
    }
    assert_int_equal(world->commits, 5);
    assert_int_equal(world->failures, 0);
    world_destroy(world);
}

static void test_several_updates_in_one_session(void **state)
{
    (void)state;
    for (uint64_t bytes = 1; bytes < 100000; bytes *= 10) {
        test_world *world =
            world_create(&(world_options){.workers = 2, .tensors = 30, .update_bytes = bytes});
        weft_push push;
        world_push_and_check(world, WEFT_SPARSE, 100, 1);
        assert_int_equal(weft_trainer_result(world->trainer, &push), WEFT_OK);
        assert_true(bytes > 1000 || push.updates > 1);
        world_push_and_check(world, WEFT_BASELINE, 1000, 2);
        world_destroy(world);
    }
}

static void test_streamed_baseline(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){
        .workers = 2, .tensors = 30, .update_bytes = 5000, .baseline = WEFT_BASELINE_STREAMED});
    world_push_and_check(world, WEFT_BASELINE, 1000, 1);
    world_push_and_check(world, WEFT_SPARSE, 10, 2);
    world_destroy(world);
}

static void test_empty_model(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 1, .tensors = 0});
    world_leave_out_of_traces(world, "an empty model, whose digest is 0 as that of nothing");
    world_push_and_check(world, WEFT_SPARSE, 0, 1);
    world_destroy(world);
}

static void test_own_base(void **state)
{
    (void)state;
    test_random random = test_random_start();
    test_model *model = test_model_create(&random, 20), *copy = test_model_copy(&random, model);
    weft_trainer_config config = WEFT_TRAINER_CONFIG_INIT;
    weft_trainer *trainer;
    weft_trainer_info info;
    uint64_t digest;
    config.model = model->model;
    assert_int_equal(weft_trainer_create(&trainer, &config), WEFT_OK);
    test_model_change(&random, model, 1000);
    weft_trainer_get_info(trainer, &info);
    assert_int_equal(weft_model_digest(copy->model, weft_device_host(), &digest), WEFT_OK);
    assert_int_equal(info.base_digest,
                     digest); /* of what the model held when the trainer was made */
    weft_trainer_destroy(trainer);
    test_model_destroy(model);
    test_model_destroy(copy);
}

/* On the host pinned memory is plain, but it is asked for as what it is, and only for the base. */
static void test_pinned_base(void **state)
{
    (void)state;
    test_world *world =
        world_create(&(world_options){.workers = 2, .tensors = 40, .pinned_base = true});
    const uint64_t *held = world->memory.live_of;
    uint64_t bytes = held[WEFT_MEMORY_PINNED], elements = 0;
    for (size_t i = 0; i < weft_model_count(world->current->model); i++) {
        elements += weft_model_elements(world->current->model, i) *
                    weft_dtype_bytes(weft_model_tensor(world->current->model, i)->dtype);
    }
    assert_true(bytes >= elements && bytes < elements + 40 * UINT64_C(64));
    for (uint64_t version = 1; version <= 3; version++) { /* each diff is against the last put */
        test_model_change(&world->random, world->current, 100);
        assert_int_equal(world_push(world, WEFT_SPARSE, version, NULL), WEFT_OK);
        world_check(world, world->current, version);
        assert_int_equal(held[WEFT_MEMORY_PINNED], bytes);
        assert_int_equal(held[WEFT_MEMORY_DEVICE], 0);
    }
    world_destroy(world);
}

/* ---- as many workers as there may be ---- */

typedef struct worker_crowd {
    uint16_t weights[WEFT_WORKERS_MAX][8];
    weft_model *models[WEFT_WORKERS_MAX];
    weft_worker *workers[WEFT_WORKERS_MAX];
    uint32_t here[WEFT_WORKERS_MAX], there[WEFT_WORKERS_MAX];
} worker_crowd;

static weft_model *make_small_model(uint16_t *weights)
{
    weft_model *model;
    weft_tensor tensor = {
        .name = "w", .dtype = WEFT_BF16, .rank = 1, .shape = {8}, .data = weights};
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    assert_int_equal(weft_model_add(model, &tensor), WEFT_OK);
    return model;
}

static bool exchange(worker_crowd *crowd, weft_trainer *trainer, uint32_t i)
{
    weft_span spans[WEFT_SPANS_MAX];
    bool moved = false;
    while (weft_worker_send(crowd->workers[i], crowd->here[i], spans) > 0) {
        size_t length = spans[0].length;
        assert_int_equal(weft_trainer_receive(trainer, crowd->there[i], spans[0].data, length),
                         WEFT_OK);
        weft_worker_sent(crowd->workers[i], crowd->here[i], length);
        moved = true;
    }
    while (weft_trainer_send(trainer, crowd->there[i], spans) > 0) {
        size_t length = spans[0].length;
        assert_int_equal(
            weft_worker_receive(crowd->workers[i], crowd->here[i], spans[0].data, length), WEFT_OK);
        weft_trainer_sent(trainer, crowd->there[i], length);
        moved = true;
    }
    return moved;
}

static void exchange_with_all(worker_crowd *crowd, weft_trainer *trainer)
{
    bool moved = true;
    while (moved) {
        moved = false;
        for (uint32_t i = 0; i < WEFT_WORKERS_MAX; i++) {
            moved = exchange(crowd, trainer, i) || moved;
        }
    }
}

static void test_most_workers(void **state)
{
    (void)state;
    worker_crowd *crowd = calloc(1, sizeof *crowd);
    uint16_t current[8] = {0};
    weft_trainer *trainer;
    weft_trainer_config config = WEFT_TRAINER_CONFIG_INIT;
    weft_push push;
    uint32_t link;
    assert_non_null(crowd);
    config.model = make_small_model(current);
    assert_int_equal(weft_trainer_create(&trainer, &config), WEFT_OK);
    for (uint32_t i = 0; i < WEFT_WORKERS_MAX; i++) {
        weft_worker_config worker = WEFT_WORKER_CONFIG_INIT;
        worker.model = crowd->models[i] = make_small_model(crowd->weights[i]);
        assert_int_equal(weft_worker_create(&crowd->workers[i], &worker), WEFT_OK);
        assert_int_equal(weft_worker_link_open(crowd->workers[i], &crowd->here[i]), WEFT_OK);
        assert_int_equal(weft_trainer_link_open(trainer, &crowd->there[i]), WEFT_OK);
    }
    assert_int_equal(weft_trainer_link_open(trainer, &link), WEFT_E_TOO_MANY_LINKS);
    exchange_with_all(crowd, trainer);
    current[5] = 0xffff;
    assert_int_equal(weft_trainer_push(trainer, WEFT_SPARSE, 1), WEFT_OK);
    exchange_with_all(crowd, trainer);
    assert_int_equal(weft_trainer_result(trainer, &push), WEFT_OK);
    assert_int_equal(push.committed, WEFT_WORKERS_MAX);
    for (uint32_t i = 0; i < WEFT_WORKERS_MAX; i++) {
        assert_memory_equal(crowd->weights[i], current, sizeof current);
        weft_worker_destroy(crowd->workers[i]);
        weft_model_destroy(crowd->models[i]);
    }
    weft_trainer_destroy(trainer);
    weft_model_destroy(config.model);
    free(crowd);
}

/* ---- refusals before a session ---- */

static void test_push_needs_workers(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 1, .tensors = 5});
    assert_int_equal(weft_trainer_result(world->trainer, NULL), WEFT_E_WRONG_STATE);
    world_cut(world, 0);
    assert_int_equal(weft_trainer_push(world->trainer, WEFT_SPARSE, 1), WEFT_E_NO_WORKERS);
    assert_int_equal(weft_trainer_result(world->trainer, NULL), WEFT_E_WRONG_STATE);
    world_destroy(world);
}

static void test_one_push_at_a_time(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 2, .tensors = 5});
    assert_int_equal(weft_trainer_abort(world->trainer), WEFT_E_WRONG_STATE);
    assert_int_equal(world_begin_push(world, WEFT_SPARSE, 1), WEFT_OK);
    assert_int_equal(weft_trainer_result(world->trainer, NULL), WEFT_AGAIN);
    assert_int_equal(weft_trainer_push(world->trainer, WEFT_SPARSE, 1), WEFT_E_WRONG_STATE);
    world_settle(world);
    assert_int_equal(weft_trainer_result(world->trainer, NULL), WEFT_OK);
    world_destroy(world);
}

static void test_model_mismatch(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 2, .tensors = 5});
    test_model *other = test_model_create(&world->random, 6);
    world_kill(world, 1);
    world_revive(world, 1, other, 0);
    assert_int_equal(weft_trainer_push(world->trainer, WEFT_SPARSE, 1), WEFT_E_MODEL_MISMATCH);
    assert_non_null(strstr(weft_trainer_detail(world->trainer)->text, "worker 1"));
    world_kill(world, 1);
    world_push_and_check(world, WEFT_SPARSE, 100, 1);
    test_model_destroy(other);
    world_destroy(world);
}

/* ---- base mismatch: the answer tells both versions and digests ---- */

static void test_base_mismatch(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 2, .tensors = 8, .version = 4});
    weft_trainer_worker_info info;
    char expected[128];
    uint64_t digest;
    world_kill(world, 1);
    test_model *other = test_model_copy(&world->random, world->base);
    test_model_change(&world->random, other, 300);
    world_revive(world, 1, other, 5);
    assert_int_equal(weft_model_digest(other->model, weft_device_host(), &digest), WEFT_OK);
    test_model_change(&world->random, world->current, 100);
    assert_int_equal(world_push(world, WEFT_SPARSE, 6, NULL), WEFT_E_PEER_FAILED);
    assert_int_equal(weft_trainer_worker(world->trainer, world->workers[1].there, &info), WEFT_OK);
    assert_int_equal(info.status, WEFT_E_BASE_MISMATCH);
    assert_int_equal(info.version, 5);
    assert_int_equal(info.digest, digest);
    (void)snprintf(expected, sizeof expected, "version 5 (digest 0x%016llx)",
                   (unsigned long long)digest);
    assert_non_null(strstr(info.text, expected));
    weft_trainer_info trainer;
    weft_trainer_get_info(world->trainer, &trainer);
    (void)snprintf(expected, sizeof expected, "version 4 (digest 0x%016llx)",
                   (unsigned long long)trainer.base_digest);
    assert_non_null(strstr(info.text, expected));
    assert_int_equal(world_push(world, WEFT_BASELINE, 6, NULL), WEFT_OK);
    world_check(world, world->current, 6);
    test_model_destroy(other);
    world_destroy(world);
}

static void test_same_version_with_other_content_is_a_mismatch(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 1, .tensors = 8, .version = 4});
    world_kill(world, 0);
    test_model *other = test_model_copy(&world->random, world->base);
    test_model_change(&world->random, other, 50);
    world_revive(world, 0, other, 4);
    assert_int_equal(world_push(world, WEFT_SPARSE, 5, NULL), WEFT_E_PEER_FAILED);
    assert_non_null(strstr(weft_trainer_detail(world->trainer)->text, "WEFT_E_BASE_MISMATCH"));
    world_check(world, other, 4);
    test_model_destroy(other);
    world_destroy(world);
}

/* ---- memory ---- */

static void test_over_budget(void **state)
{
    (void)state;
    test_world *world = world_create(
        &(world_options){.workers = 2, .tensors = 20, .version = 1, .worker_budget_bytes = 20000});
    test_model *before = test_model_copy(&world->random, world->base);
    test_model_change(&world->random, world->current, 900);
    assert_int_equal(world_push(world, WEFT_SPARSE, 2, NULL), WEFT_E_PEER_FAILED);
    const char *text = weft_trainer_detail(world->trainer)->text;
    assert_true(strstr(text, "WEFT_E_OVER_BUDGET") != NULL ||
                strstr(text, "WEFT_E_META_PAYLOAD_TOO_LARGE") != NULL);
    world_check(world, before, 1);
    assert_int_equal(world_push(world, WEFT_BASELINE, 2, NULL),
                     WEFT_OK); /* streamed, because staging it would not fit */
    world_check(world, world->current, 2);
    test_model_destroy(before);
    world_destroy(world);
}

static void test_trainer_over_budget(void **state)
{
    (void)state;
    test_world *world = world_create(
        &(world_options){.workers = 1, .tensors = 20, .version = 1, .trainer_budget_bytes = 8000});
    test_model_change(&world->random, world->current, 900);
    assert_int_equal(weft_trainer_push(world->trainer, WEFT_SPARSE, 2), WEFT_E_OVER_BUDGET);
    assert_int_equal(weft_trainer_detail(world->trainer)->status, WEFT_E_OVER_BUDGET);
    world_destroy(world);
}

static void test_every_allocation_of_a_push_fails_once(void **state)
{
    (void)state;
    for (unsigned who = 0; who < 2; who++) {
        bool failed = true;
        for (uint64_t n = 1; failed; n++) {
            test_world *world = world_create(
                &(world_options){.workers = 2, .tensors = 10, .version = 1, .update_bytes = 3000});
            test_model *before = test_model_copy(&world->random, world->base);
            test_allocator *memory = who == 0 ? &world->memory : &world->workers[1].memory;
            test_model_change(&world->random, world->current, 300);
            memory->fail_at = memory->calls + n;
            weft_status status = world_push(world, WEFT_SPARSE, 2, NULL);
            failed = status != WEFT_OK;
            if (failed) {
                assert_int_equal(status, who == 0 ? WEFT_E_OUT_OF_MEMORY : WEFT_E_PEER_FAILED);
                world_check(world, before, 1);
                world_check_base(world, before, 1);
            }
            memory->fail_at = 0;
            world_push_and_check(world, WEFT_SPARSE, 10, 3);
            test_model_destroy(before);
            world_destroy(world);
        }
    }
}

static void test_creation_with_every_allocation_failing(void **state)
{
    (void)state;
    test_random random = test_random_start();
    test_model *model = test_model_create(&random, 10);
    weft_status status = WEFT_E_OUT_OF_MEMORY;
    for (uint64_t n = 1; status != WEFT_OK; n++) {
        test_allocator memory;
        weft_trainer *trainer = NULL;
        weft_trainer_config config = WEFT_TRAINER_CONFIG_INIT;
        test_allocator_start(&memory, n);
        config.model = model->model;
        config.allocator = memory.allocator;
        status = weft_trainer_create(&trainer, &config);
        assert_true(status == WEFT_OK || (status == WEFT_E_OUT_OF_MEMORY && trainer == NULL));
        weft_trainer_destroy(trainer);
        test_allocator_finish(&memory);
    }
    test_model_destroy(model);
}

/* A session's memory: at most 14 bytes a changed element beyond the received payload, and the table
 * of tensors. */
/* The canonical order takes memory of the model's own allocator. */
static void test_creation_without_memory_for_the_order(void **state)
{
    static uint8_t data;
    test_allocator memory;
    weft_model *model;
    weft_trainer *trainer = NULL;
    weft_worker *worker = NULL;
    (void)state;
    test_allocator_start(&memory, 0);
    assert_int_equal(weft_model_create(&model, &memory.allocator), WEFT_OK);
    assert_int_equal(
        weft_model_add(model, &(weft_tensor){.name = "a", .dtype = WEFT_U8, .data = &data}),
        WEFT_OK);
    weft_trainer_config of_trainer = WEFT_TRAINER_CONFIG_INIT;
    weft_worker_config of_worker = WEFT_WORKER_CONFIG_INIT;
    of_trainer.model = of_worker.model = model;
    memory.fail_at = memory.calls + 1;
    assert_int_equal(weft_trainer_create(&trainer, &of_trainer), WEFT_E_OUT_OF_MEMORY);
    memory.fail_at = memory.calls + 1;
    assert_int_equal(weft_worker_create(&worker, &of_worker), WEFT_E_OUT_OF_MEMORY);
    assert_null(trainer);
    assert_null(worker);
    assert_int_equal(weft_trainer_create(&trainer, &of_trainer), WEFT_OK);
    weft_trainer_destroy(trainer);
    assert_int_equal(weft_worker_create(&worker, &of_worker), WEFT_OK);
    weft_worker_destroy(worker);
    weft_model_destroy(model);
    test_allocator_finish(&memory);
}

static void test_session_memory(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 1, .tensors = 60});
    weft_push push;
    weft_worker_info info;
    uint64_t changed = test_model_change(&world->random, world->current, 500);
    assert_int_equal(world_push(world, WEFT_SPARSE, 1, &push), WEFT_OK);
    weft_worker_get_info(world->workers[0].worker, &info);
    assert_true(info.session_bytes_peak - push.payload_bytes <=
                14 * changed + UINT64_C(60) * 96 + 64 + push.document_bytes);
    world_destroy(world);
}

/* ---- a worker that does not follow the protocol ---- */

static void put_frame(test_world *world, uint32_t link, weft_message *message, const char *text)
{
    uint8_t bytes[WEFT_FRAME_HEAD_MAX + WEFT_TEXT_MAX];
    message->tail = text == NULL ? 0 : (uint32_t)strlen(text);
    size_t length = weft_frame_encode_head(message, bytes);
    memcpy(bytes + length, text == NULL ? "" : text, message->tail);
    (void)weft_trainer_receive(world->trainer, link, bytes, length + message->tail);
}

static void test_first_message_must_be_hello(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 1, .tensors = 4});
    world_leave_out_of_traces(world, "a peer that does not follow the protocol");
    uint32_t link;
    assert_int_equal(weft_trainer_link_open(world->trainer, &link), WEFT_OK);
    put_frame(world, link, &(weft_message){.type = WEFT_MESSAGE_STARTED, .epoch = 1}, NULL);
    assert_int_equal(weft_trainer_link_status(world->trainer, link), WEFT_E_HELLO_MISSING);
    assert_int_equal(weft_trainer_link_close(world->trainer, link, WEFT_E_HELLO_MISSING), WEFT_OK);
    world_push_and_check(world, WEFT_SPARSE, 100, 1);
    world_destroy(world);
}

static void test_answer_out_of_phase(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 2, .tensors = 4, .version = 1});
    world_leave_out_of_traces(world, "a peer that does not follow the protocol");
    test_model *before = test_model_copy(&world->random, world->base);
    test_model_change(&world->random, world->current, 200);
    assert_int_equal(world_begin_push(world, WEFT_SPARSE, 2), WEFT_OK);
    uint32_t link = world->workers[0].there;
    put_frame(world, link, &(weft_message){.type = WEFT_MESSAGE_APPLIED, .epoch = 1}, NULL);
    assert_int_equal(weft_trainer_link_status(world->trainer, link), WEFT_E_UNEXPECTED_MESSAGE);
    world_wait(world, 1);
    assert_false(world->workers[0].connected);
    assert_int_equal(weft_trainer_result(world->trainer, NULL), WEFT_E_UNEXPECTED_MESSAGE);
    world_check(world, before, 1);
    world_connect(world, 0);
    world_settle(world);
    world_push_and_check(world, WEFT_SPARSE, 100, 3);
    test_model_destroy(before);
    world_destroy(world);
}

/* A worker that says it has applied something else: nobody may keep it. */
static void test_applied_with_another_digest(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 1, .tensors = 4, .version = 1});
    world_leave_out_of_traces(world, "a peer that does not follow the protocol");
    test_model *before = test_model_copy(&world->random, world->base);
    static const weft_message_type ANSWERS[] = {WEFT_MESSAGE_STARTED, WEFT_MESSAGE_READY,
                                                WEFT_MESSAGE_STAGED};
    uint32_t link;
    assert_int_equal(weft_trainer_link_open(world->trainer, &link), WEFT_OK);
    weft_message message = {.type = WEFT_MESSAGE_HELLO,
                            .fingerprint = weft_model_fingerprint(world->base->model)};
    put_frame(world, link, &message, "liar");
    test_model_change(&world->random, world->current, 200);
    assert_int_equal(world_begin_push(world, WEFT_SPARSE, 2), WEFT_OK);
    for (size_t i = 0; i < 3; i++) {
        world_settle(world);
        put_frame(world, link, &(weft_message){.type = (uint8_t)ANSWERS[i], .epoch = 1}, NULL);
    }
    world_settle(world);
    put_frame(world, link, &(weft_message){.type = WEFT_MESSAGE_APPLIED, .epoch = 1, .digest = 7},
              NULL);
    assert_int_equal(weft_trainer_detail(world->trainer)->status, WEFT_E_DIGEST_MISMATCH);
    assert_non_null(strstr(weft_trainer_detail(world->trainer)->text, "liar"));
    world_settle(world);
    put_frame(world, link, &(weft_message){.type = WEFT_MESSAGE_ABORTED, .epoch = 1}, NULL);
    assert_int_equal(weft_trainer_result(world->trainer, NULL), WEFT_E_DIGEST_MISMATCH);
    world_check(world, before, 1);
    world_check_base(world, before, 1);
    test_model_destroy(before);
    world_destroy(world);
}

static void test_garbage_and_truncation(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 1, .tensors = 4});
    world_leave_out_of_traces(world, "a peer that does not follow the protocol");
    uint32_t link;
    uint8_t bytes[WEFT_FRAME_HEAD_MAX];
    weft_trainer_worker_info info;
    assert_int_equal(weft_trainer_link_open(world->trainer, &link), WEFT_OK);
    memset(bytes, 0x5a, sizeof bytes);
    assert_int_equal(weft_trainer_receive(world->trainer, link, bytes, sizeof bytes),
                     WEFT_E_FRAME_MALFORMED);
    assert_int_equal(weft_trainer_link_close(world->trainer, link, WEFT_E_FRAME_MALFORMED),
                     WEFT_OK);
    assert_int_equal(weft_trainer_link_open(world->trainer, &link), WEFT_OK);
    weft_message hello = {.type = WEFT_MESSAGE_HELLO};
    size_t length = weft_frame_encode_head(&hello, bytes);
    assert_int_equal(weft_trainer_receive(world->trainer, link, bytes, length - 1), WEFT_OK);
    assert_int_equal(weft_trainer_link_close(world->trainer, link, WEFT_E_LINK_CLOSED), WEFT_OK);
    assert_int_equal(weft_trainer_worker(world->trainer, link, &info), WEFT_OK);
    assert_int_equal(info.status, WEFT_E_FRAME_TRUNCATED);
    assert_int_equal(weft_trainer_link_close(world->trainer, link, WEFT_E_LINK_CLOSED),
                     WEFT_E_UNKNOWN_LINK);
    assert_int_equal(weft_trainer_receive(world->trainer, link, bytes, 1), WEFT_E_UNKNOWN_LINK);
    world_destroy(world);
}

/* ---- usage ---- */

static void test_arguments(void **state)
{
    (void)state;
    test_world *world = world_create(&(world_options){.workers = 1, .tensors = 4});
    weft_trainer *trainer = NULL;
    weft_trainer_config config = WEFT_TRAINER_CONFIG_INIT;
    weft_trainer_info info;
    weft_trainer_worker_info worker;
    weft_span spans[WEFT_SPANS_MAX];
    assert_int_equal(weft_trainer_create(&trainer, &config),
                     WEFT_E_INVALID_ARGUMENT); /* no model */
    config.model = world->current->model;
    assert_int_equal(weft_trainer_create(NULL, &config), WEFT_E_INVALID_ARGUMENT);
    config.base = config.model;
    assert_int_equal(weft_trainer_create(&trainer, &config), WEFT_E_INVALID_ARGUMENT);
    test_model *other = test_model_create(&world->random, 3);
    config.base = other->model;
    assert_int_equal(weft_trainer_create(&trainer, &config), WEFT_E_MODEL_MISMATCH);
    config.base = world->base->model;
    config.pinned_base = true; /* of whose memory weft knows nothing */
    assert_int_equal(weft_trainer_create(&trainer, &config), WEFT_E_INVALID_ARGUMENT);
    config.base = NULL;
    config.size--;
    assert_int_equal(weft_trainer_create(&trainer, &config), WEFT_E_INVALID_ARGUMENT);
    assert_null(trainer);
    assert_int_equal(weft_trainer_push(NULL, WEFT_SPARSE, 1), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_push(world->trainer, (weft_kind)7, 1), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_result(NULL, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_abort(NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_worker(world->trainer, 99, &worker), WEFT_E_UNKNOWN_LINK);
    assert_int_equal(weft_trainer_worker(NULL, 0, &worker), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_link_open(NULL, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_receive(world->trainer, 0, NULL, 1), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_trainer_link_status(world->trainer, 99), WEFT_E_UNKNOWN_LINK);
    assert_int_equal(weft_trainer_send(world->trainer, 99, spans), 0);
    assert_int_equal(weft_trainer_next_ns(NULL), UINT64_MAX);
    weft_trainer_sent(world->trainer, 99, 1);
    weft_trainer_tick(NULL, 1);
    weft_trainer_get_info(NULL, &info);
    weft_trainer_destroy(NULL);
    assert_null(weft_trainer_detail(NULL));
    test_model_destroy(other);
    world_destroy(world);
}

/* A diff that takes longer than the deadline is no silence of a worker. */
static void test_time_of_the_plan_does_not_count(void **state)
{
    (void)state;
    test_world *world =
        world_create(&(world_options){.workers = 1, .tensors = 4, .timeout_ms = 200});
    weft_push push;
    assert_int_equal(weft_trainer_push(world->trainer, WEFT_SPARSE, 1), WEFT_OK);
    world_wait(world, 1000); /* the first tick after the diff */
    assert_int_equal(weft_trainer_result(world->trainer, &push), WEFT_OK);
    assert_int_equal(push.session_ns, 0);
    assert_int_equal(weft_trainer_push(world->trainer, WEFT_SPARSE, 2), WEFT_OK);
    world->workers[0].stopped = true;
    world_wait(world, 1000);
    world_wait(world, 199);
    assert_int_equal(weft_trainer_detail(world->trainer)->status, WEFT_OK);
    world_wait(world, 1);
    assert_int_equal(weft_trainer_detail(world->trainer)->status, WEFT_E_DEADLINE);
    world->workers[0].stopped = false;
    world_destroy(world);
}

static void test_next_tick_is_the_nearest_deadline(void **state)
{
    (void)state;
    test_world *world = world_create(
        &(world_options){.workers = 1, .tensors = 4, .timeout_ms = 200, .keepalive_ms = 1000});
    uint64_t ms = UINT64_C(1000000);
    assert_int_equal(weft_trainer_next_ns(world->trainer), world->now_ns + 1000 * ms);
    assert_int_equal(world_begin_push(world, WEFT_SPARSE, 1), WEFT_OK);
    assert_int_equal(weft_trainer_next_ns(world->trainer), world->now_ns + 200 * ms);
    world_cut(world, 0);
    assert_int_equal(weft_trainer_next_ns(world->trainer), UINT64_MAX);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions_commit),
        cmocka_unit_test(test_several_updates_in_one_session),
        cmocka_unit_test(test_streamed_baseline),
        cmocka_unit_test(test_empty_model),
        cmocka_unit_test(test_own_base),
        cmocka_unit_test(test_pinned_base),
        cmocka_unit_test(test_most_workers),
        cmocka_unit_test(test_push_needs_workers),
        cmocka_unit_test(test_one_push_at_a_time),
        cmocka_unit_test(test_model_mismatch),
        cmocka_unit_test(test_base_mismatch),
        cmocka_unit_test(test_same_version_with_other_content_is_a_mismatch),
        cmocka_unit_test(test_over_budget),
        cmocka_unit_test(test_trainer_over_budget),
        cmocka_unit_test(test_every_allocation_of_a_push_fails_once),
        cmocka_unit_test(test_creation_with_every_allocation_failing),
        cmocka_unit_test(test_creation_without_memory_for_the_order),
        cmocka_unit_test(test_session_memory),
        cmocka_unit_test(test_first_message_must_be_hello),
        cmocka_unit_test(test_answer_out_of_phase),
        cmocka_unit_test(test_applied_with_another_digest),
        cmocka_unit_test(test_garbage_and_truncation),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_time_of_the_plan_does_not_count),
        cmocka_unit_test(test_next_tick_is_the_nearest_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
