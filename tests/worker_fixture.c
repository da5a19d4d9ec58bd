#include "worker_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "digest.h"
#include "link.h"

static void on_failed(void *context, const weft_detail *detail)
{
    ((fixture *)context)->failed_hook = detail->status;
}

static void create_worker(fixture *f, weft_baseline_policy baseline, uint64_t budget_bytes)
{
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    config.model = f->model;
    config.version = 3;
    config.allocator = f->memory.allocator;
    config.timeout_ms = TIMEOUT_MS;
    config.keepalive_ms = 100 * TIMEOUT_MS;
    config.baseline = baseline;
    config.budget_bytes = budget_bytes;
    config.hooks = (weft_hooks){.context = f, .failed = on_failed};
    assert_int_equal(weft_worker_create(&f->worker, &config), WEFT_OK);
}

void fixture_write_document(fixture *f, uint64_t base_digest, const char *extra)
{
    f->document_length = (size_t)snprintf(
        f->document, sizeof f->document,
        "{\"weft\":1,\"epoch\":%" PRIu64 ",\"kind\":\"sparse\",\"update\":0,\"updates\":1,"
        "\"base\":{\"version\":3,\"digest\":\"0x%016" PRIx64 "\"},"
        "\"target\":{\"version\":4,\"digest\":\"0x%016" PRIx64 "\"},\"payload\":{\"bytes\":24},"
        "\"patches\":[{\"name\":\"w\",\"dtype\":\"bfloat16\",\"shape\":[8],\"count\":4,\"index\":"
        "\"int32\"}]%s}",
        f->epoch, base_digest, f->target_digest, extra);
    f->payload_digest = weft_digest_bytes(f->document, f->document_length, 0) +
                        weft_digest_payload(f->payload, 24, 0);
}

void fixture_make_payload(fixture *f)
{
    static const uint32_t INDICES[4] = {0, 2, 3, 7};
    uint64_t digest = 0, seed;
    weft_worker_info info;
    seed = weft_digest_tensor_seed(weft_model_tensor(f->model, 0));
    for (size_t i = 0; i < 4; i++) {
        uint16_t value = (uint16_t)(f->weights[INDICES[i]] ^ (1u + i));
        weft_put32(f->payload + 4 * i, INDICES[i]);
        weft_put16(f->payload + 16 + 2 * i, value);
        digest += weft_digest_term(seed, INDICES[i], value) -
                  weft_digest_term(seed, INDICES[i], f->weights[INDICES[i]]);
    }
    weft_worker_get_info(f->worker, &info);
    f->target_digest = info.digest + digest;
    fixture_write_document(f, info.digest, "");
}

/* Sends what the worker wants to say into f->answer; type 0 if it says nothing. The last one wins.
 */
void fixture_listen_to_worker(fixture *f)
{
    weft_span spans[WEFT_SPANS_MAX];
    weft_link ear;
    weft_link_item item;
    weft_link_init(&ear, WEFT_SENDER_WORKER, 0);
    memset(&f->answer, 0, sizeof f->answer);
    f->text[0] = '\0';
    while (weft_worker_send(f->worker, f->link, spans) > 0) {
        const uint8_t *bytes = spans[0].data;
        size_t length = spans[0].length, left = length;
        while (weft_link_take(&ear, &bytes, &left, &item) == WEFT_OK) {
            f->answer = *item.message;
            (void)snprintf(f->text, sizeof f->text, "%s", item.text);
        }
        weft_worker_sent(f->worker, f->link, length);
    }
}

weft_status fixture_say(fixture *f, weft_message *message, const void *tail)
{
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    uint32_t length = weft_frame_encode_head(message, head);
    weft_status status = weft_worker_receive(f->worker, f->link, head, length);
    if (status == WEFT_OK && message->tail > 0) {
        status = weft_worker_receive(f->worker, f->link, tail, message->tail);
    }
    fixture_listen_to_worker(f);
    return status;
}

void fixture_open_link(fixture *f)
{
    assert_int_equal(weft_worker_link_open(f->worker, &f->link), WEFT_OK);
    fixture_listen_to_worker(f);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_HELLO);
}

fixture *fixture_create(weft_baseline_policy baseline, uint64_t budget_bytes)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    for (unsigned i = 0; i < 8; i++) {
        f->weights[i] = f->before[i] =
            (uint16_t)(0x7fc0 + i); /* NaNs with payloads: bits, not values */
    }
    test_allocator_start(&f->memory, 0);
    assert_int_equal(weft_model_create(&f->model, NULL), WEFT_OK);
    weft_tensor tensor = {
        .name = "w", .dtype = WEFT_BF16, .rank = 1, .shape = {8}, .data = f->weights};
    assert_int_equal(weft_model_add(f->model, &tensor), WEFT_OK);
    create_worker(f, baseline, budget_bytes);
    f->epoch = 1;
    f->now_ns = NS_PER_MS;
    weft_worker_tick(f->worker, f->now_ns);
    fixture_open_link(f);
    fixture_make_payload(f);
    return f;
}

void fixture_destroy(fixture *f)
{
    weft_worker_destroy(f->worker);
    weft_model_destroy(f->model);
    test_allocator_finish(&f->memory);
    free(f);
}

/* ---- the trainer's part of a session, up to where a test wants it ---- */

weft_message fixture_start_message(const fixture *f)
{
    weft_worker_info info;
    weft_worker_get_info(f->worker, &info);
    return (weft_message){.type = WEFT_MESSAGE_START,
                          .epoch = f->epoch,
                          .kind = WEFT_SPARSE,
                          .transport = 1,
                          .base_version = 3,
                          .base_digest = info.digest,
                          .target_version = 4,
                          .target_digest = f->target_digest,
                          .updates = 1};
}

static void say_start(fixture *f)
{
    weft_message start = fixture_start_message(f);
    assert_int_equal(fixture_say(f, &start, NULL), WEFT_OK);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_STARTED);
    assert_int_equal(f->answer.epoch, f->epoch);
}

void fixture_say_update(fixture *f)
{
    weft_message update = {.type = WEFT_MESSAGE_UPDATE,
                           .epoch = f->epoch,
                           .document_bytes = f->document_length,
                           .payload_bytes = 24,
                           .payload_digest = f->payload_digest};
    assert_int_equal(fixture_say(f, &update, NULL), WEFT_OK);
}

void fixture_say_document(fixture *f)
{
    weft_message document = {
        .type = WEFT_MESSAGE_DOCUMENT, .epoch = f->epoch, .tail = (uint32_t)f->document_length};
    assert_int_equal(fixture_say(f, &document, f->document), WEFT_OK);
}

void fixture_say_payload(fixture *f)
{
    weft_message payload = {.type = WEFT_MESSAGE_PAYLOAD, .epoch = f->epoch, .tail = 24};
    assert_int_equal(fixture_say(f, &payload, f->payload), WEFT_OK);
}

void fixture_say_plain(fixture *f, weft_message_type type)
{
    weft_message message = {.type = (uint8_t)type, .epoch = f->epoch};
    assert_int_equal(fixture_say(f, &message, NULL), WEFT_OK);
}

void fixture_go(fixture *f, int steps)
{
    if (steps >= STARTED) {
        say_start(f);
    }
    if (steps >= UPDATED) {
        fixture_say_update(f);
        assert_int_equal(f->answer.type, 0);
    }
    if (steps >= READY) {
        fixture_say_document(f);
        assert_int_equal(f->answer.type, WEFT_MESSAGE_READY);
    }
    if (steps >= STAGED) {
        fixture_say_payload(f);
        assert_int_equal(f->answer.type, WEFT_MESSAGE_STAGED);
        assert_int_equal(f->answer.changed, 4);
        assert_memory_equal(f->weights, f->before, sizeof f->weights); /* only read so far */
    }
    if (steps >= APPLIED) {
        fixture_say_plain(f, WEFT_MESSAGE_APPLY);
        assert_int_equal(f->answer.type, WEFT_MESSAGE_APPLIED);
        assert_int_equal(f->answer.digest, f->target_digest);
    }
    if (steps >= COMMITTED) {
        fixture_say_plain(f, WEFT_MESSAGE_COMMIT);
        assert_int_equal(f->answer.type, WEFT_MESSAGE_COMMITTED);
    }
}

weft_state fixture_state_of(const fixture *f)
{
    weft_worker_info info;
    weft_worker_get_info(f->worker, &info);
    return info.state;
}

void fixture_check_old(const fixture *f)
{
    weft_worker_info info;
    weft_worker_get_info(f->worker, &info);
    assert_int_equal(info.state, WEFT_IDLE);
    assert_int_equal(info.condition, WEFT_INTACT);
    assert_int_equal(info.version, 3);
    assert_int_equal(info.session_bytes, 0);
    assert_memory_equal(f->weights, f->before, sizeof f->weights);
}

/* The session failed with this code: the worker said so, is idle and holds the old bits; and the
 * next session commits. */
void fixture_check_failed(fixture *f, weft_status status)
{
    assert_int_equal(f->answer.type, WEFT_MESSAGE_FAILED);
    assert_int_equal((weft_status)f->answer.code, status);
    assert_int_equal(f->answer.epoch, f->epoch);
    assert_int_equal(f->answer.version, 3);
    assert_true(f->text[0] != '\0');
    assert_int_equal(f->failed_hook, status);
    assert_int_equal(weft_worker_detail(f->worker)->status, status);
    assert_string_equal(weft_worker_detail(f->worker)->text, f->text);
    fixture_check_old(f);
}

void fixture_check_next_commits(fixture *f)
{
    f->epoch++;
    fixture_make_payload(f);
    fixture_go(f, COMMITTED);
    assert_int_equal(fixture_state_of(f), WEFT_IDLE);
    assert_int_equal(f->weights[0], f->before[0] ^ 1u);
    assert_int_equal(f->weights[1], f->before[1]);
    assert_int_equal(f->weights[7], f->before[7] ^ 4u);
}
