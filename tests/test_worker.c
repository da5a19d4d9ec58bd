/* What a worker answers to bad input: every fault ends at idle with the old bits, after which the
 * next session succeeds. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "digest.h"
#include "update.h"
#include "worker_engine.h"
#include "worker_fixture.h"

/* ---- bad input, one test for each ---- */

static void test_commit(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    f->epoch--;
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

static void test_truncated_frame(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    weft_message payload = {.type = WEFT_MESSAGE_PAYLOAD, .epoch = f->epoch, .tail = 24};
    fixture_go(f, READY);
    uint32_t length = weft_frame_encode_head(&payload, head);
    assert_int_equal(weft_worker_receive(f->worker, f->link, head, length), WEFT_OK);
    assert_int_equal(weft_worker_receive(f->worker, f->link, f->payload, 10), WEFT_OK);
    assert_int_equal(weft_worker_link_close(f->worker, f->link, WEFT_E_LINK_CLOSED), WEFT_OK);
    assert_int_equal(f->failed_hook, WEFT_E_FRAME_TRUNCATED);
    fixture_check_old(f);
    fixture_open_link(f);
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

static void test_malformed_frame(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    weft_message commit = {.type = WEFT_MESSAGE_COMMIT, .epoch = f->epoch};
    fixture_go(f, STAGED);
    uint32_t length = weft_frame_encode_head(&commit, head);
    head[0] ^= 1;
    assert_int_equal(weft_worker_receive(f->worker, f->link, head, length), WEFT_E_FRAME_MALFORMED);
    assert_int_equal(weft_worker_link_status(f->worker, f->link), WEFT_E_FRAME_MALFORMED);
    assert_int_equal(weft_worker_link_close(f->worker, f->link, WEFT_E_FRAME_MALFORMED), WEFT_OK);
    assert_int_equal(f->failed_hook, WEFT_E_FRAME_MALFORMED);
    fixture_check_old(f);
    fixture_open_link(f);
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

static void test_other_protocol_version(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    weft_message start = fixture_start_message(f);
    uint32_t length = weft_frame_encode_head(&start, head);
    head[5] = WEFT_PROTOCOL_VERSION + 1;
    assert_int_equal(weft_worker_receive(f->worker, f->link, head, length),
                     WEFT_E_PROTOCOL_VERSION);
    fixture_check_old(f);
    fixture_destroy(f);
}

static void test_old_epoch(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    weft_worker_info info;
    fixture_go(f, STAGED);
    fixture_say_plain(f, WEFT_MESSAGE_ABORT);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_ABORTED);
    assert_int_equal(f->failed_hook, WEFT_E_ABORTED);
    fixture_check_old(f);
    weft_message start = fixture_start_message(f); /* the same epoch again */
    assert_int_equal(fixture_say(f, &start, NULL), WEFT_OK);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_FAILED);
    assert_int_equal((weft_status)f->answer.code, WEFT_E_STALE_EPOCH);
    fixture_say_payload(f); /* what was on its way when the session ended */
    fixture_say_plain(f, WEFT_MESSAGE_COMMIT);
    assert_int_equal(f->answer.type, 0);
    weft_worker_get_info(f->worker, &info);
    assert_int_equal(info.stale_frames, 2);
    fixture_check_old(f);
    f->epoch++;
    fixture_make_payload(f);
    fixture_go(f, READY);
    f->epoch--; /* in the middle of a new session a frame of the old one changes nothing */
    fixture_say_plain(f, WEFT_MESSAGE_COMMIT);
    fixture_say_plain(f, WEFT_MESSAGE_ABORT);
    assert_int_equal(f->answer.type, 0);
    f->epoch++;
    assert_int_equal(fixture_state_of(f), WEFT_RECEIVING);
    fixture_say_plain(f, WEFT_MESSAGE_ABORT);
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

/* Every message that a trainer can send, in every step of a session where it does not belong. */
static void test_illegal_messages(void **state)
{
    (void)state;
    static const weft_message_type TYPES[] = {WEFT_MESSAGE_START,    WEFT_MESSAGE_UPDATE,
                                              WEFT_MESSAGE_DOCUMENT, WEFT_MESSAGE_PAYLOAD,
                                              WEFT_MESSAGE_APPLY,    WEFT_MESSAGE_COMMIT};
    static const weft_message_type LEGAL[] = {[STARTED] = WEFT_MESSAGE_UPDATE,
                                              [UPDATED] = WEFT_MESSAGE_DOCUMENT,
                                              [READY] = WEFT_MESSAGE_PAYLOAD,
                                              [STAGED] = WEFT_MESSAGE_APPLY,
                                              [APPLIED] = WEFT_MESSAGE_COMMIT};
    for (int steps = STARTED; steps <= APPLIED; steps++) {
        for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
            if (TYPES[i] == LEGAL[steps]) {
                continue;
            }
            fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
            fixture_go(f, steps);
            uint8_t tail[8] = {0};
            bool bulk = TYPES[i] == WEFT_MESSAGE_DOCUMENT || TYPES[i] == WEFT_MESSAGE_PAYLOAD;
            weft_message message = {.type = (uint8_t)TYPES[i],
                                    .epoch = f->epoch,
                                    .tail = bulk ? 8 : 0,
                                    .document_bytes = 8};
            assert_int_equal(fixture_say(f, &message, tail), WEFT_OK);
            fixture_check_failed(f, WEFT_E_UNEXPECTED_MESSAGE);
            assert_non_null(strstr(f->text, weft_message_name(message.type)));
            assert_int_equal(f->answer.outcome,
                             steps == APPLIED ? WEFT_OUTCOME_UNCONFIRMED : WEFT_OUTCOME_ABORTED);
            fixture_check_next_commits(f);
            fixture_destroy(f);
        }
    }
}

/* What the hook and the detail say is about the session, not about the START that ended it. */
static void test_second_start_of_the_owner(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    fixture_go(f, STAGED);
    weft_message start = fixture_start_message(f);
    start.epoch = 7;
    assert_int_equal(fixture_say(f, &start, NULL), WEFT_OK);
    fixture_check_failed(f, WEFT_E_UNEXPECTED_MESSAGE);
    assert_int_equal(weft_worker_detail(f->worker)->epoch, f->epoch);
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

static void test_message_without_a_session(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    fixture_say_plain(f, WEFT_MESSAGE_APPLY);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_FAILED);
    assert_int_equal((weft_status)f->answer.code, WEFT_E_UNEXPECTED_MESSAGE);
    fixture_check_old(f);
    /* Of a session that never began here: answered, and its epoch is over. */
    fixture_say_plain(f, WEFT_MESSAGE_ABORT);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_ABORTED);
    weft_message start = fixture_start_message(f);
    assert_int_equal(fixture_say(f, &start, NULL), WEFT_OK);
    assert_int_equal((weft_status)f->answer.code, WEFT_E_STALE_EPOCH);
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

static void test_wrong_payload_digest(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 24 * 8; bit += 7) {
        fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
        fixture_go(f, READY);
        f->payload[bit / 8] = (uint8_t)(f->payload[bit / 8] ^ (1u << (bit % 8)));
        fixture_say_payload(f);
        fixture_check_failed(f, WEFT_E_PAYLOAD_DIGEST);
        fixture_check_next_commits(f);
        fixture_destroy(f);
    }
}

static void fail_with_indices(const uint32_t indices[4], weft_status status, const char *words)
{
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    weft_worker_info info;
    for (size_t i = 0; i < 4; i++) {
        weft_put32(f->payload + 4 * i, indices[i]);
    }
    weft_worker_get_info(f->worker, &info);
    fixture_write_document(
        f, info.digest,
        ""); /* the payload arrives as it was sent; it is what it says that is wrong */
    fixture_go(f, READY);
    fixture_say_payload(f);
    fixture_check_failed(f, status);
    assert_non_null(strstr(f->text, words));
    assert_string_equal(weft_worker_detail(f->worker)->tensor, "w");
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

static void test_bad_indices(void **state)
{
    (void)state;
    fail_with_indices((uint32_t[]){0, 2, 3, 8}, WEFT_E_INDEX_OUT_OF_BOUNDS,
                      "index 8 at position 3");
    fail_with_indices((uint32_t[]){0, 2, 3, UINT32_MAX}, WEFT_E_INDEX_OUT_OF_BOUNDS,
                      "index 4294967295");
    fail_with_indices((uint32_t[]){0, 3, 2, 7}, WEFT_E_INDEX_ORDER, "index 2 at position 2");
    fail_with_indices((uint32_t[]){0, 2, 2, 7}, WEFT_E_INDEX_ORDER, "index 2 at position 2");
}

static void test_wrong_target_digest(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    weft_worker_info info;
    weft_worker_get_info(f->worker, &info);
    f->target_digest ^= 1;
    fixture_write_document(f, info.digest, "");
    fixture_go(f, READY);
    fixture_say_payload(f);
    fixture_check_failed(f, WEFT_E_DIGEST_MISMATCH);
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

static void test_base_mismatch(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    weft_message start = fixture_start_message(f);
    char words[64];
    start.base_version = 9;
    start.base_digest = 0xabc;
    assert_int_equal(fixture_say(f, &start, NULL), WEFT_OK);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_FAILED);
    assert_int_equal((weft_status)f->answer.code, WEFT_E_BASE_MISMATCH);
    assert_int_equal(f->answer.version, 3);
    assert_non_null(strstr(f->text, "version 9 (digest 0x0000000000000abc)"));
    (void)snprintf(words, sizeof words, "version 3 (digest 0x%016" PRIx64 ")", f->answer.digest);
    assert_non_null(strstr(f->text, words));
    fixture_check_old(f);
    start = fixture_start_message(f);
    start.base_version = 2; /* the right content under another name is no base either */
    assert_int_equal(fixture_say(f, &start, NULL), WEFT_OK);
    assert_int_equal((weft_status)f->answer.code, WEFT_E_BASE_MISMATCH);
    fixture_check_old(f);
    fixture_go(f, COMMITTED); /* a refused START does not use up its epoch */
    fixture_destroy(f);
}

static void test_second_trainer(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    fixture_go(f, STAGED);
    uint32_t first = f->link;
    fixture_open_link(f);
    weft_message start = fixture_start_message(f);
    start.epoch = 50;
    assert_int_equal(fixture_say(f, &start, NULL), WEFT_OK);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_FAILED);
    assert_int_equal((weft_status)f->answer.code, WEFT_E_BUSY);
    assert_int_equal(f->answer.epoch, 50);
    fixture_say_plain(
        f, WEFT_MESSAGE_APPLY); /* of the first one's session, from the second one's link */
    assert_int_equal((weft_status)f->answer.code, WEFT_E_BUSY);
    f->epoch = 60; /* of a session that nobody knows */
    fixture_say_plain(f, WEFT_MESSAGE_APPLY);
    assert_int_equal((weft_status)f->answer.code, WEFT_E_BUSY);
    f->epoch = 1;
    assert_int_equal(weft_worker_link_close(f->worker, f->link, WEFT_E_LINK_CLOSED), WEFT_OK);
    assert_int_equal(fixture_state_of(f),
                     WEFT_RECEIVING); /* the first one's session has not noticed */
    f->link = first;
    fixture_say_plain(f, WEFT_MESSAGE_APPLY);
    fixture_say_plain(f, WEFT_MESSAGE_COMMIT);
    assert_int_equal(f->answer.type, WEFT_MESSAGE_COMMITTED);
    fixture_destroy(f);
}

static void test_pieces_out_of_place(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    fixture_go(f, READY);
    weft_message piece = {.type = WEFT_MESSAGE_PAYLOAD, .epoch = f->epoch, .tail = 8, .offset = 8};
    assert_int_equal(fixture_say(f, &piece, f->payload), WEFT_OK); /* a gap */
    fixture_check_failed(f, WEFT_E_PAYLOAD_OFFSET);
    f->epoch++;
    fixture_make_payload(f);
    fixture_go(f, READY);
    piece = (weft_message){.type = WEFT_MESSAGE_PAYLOAD, .epoch = f->epoch, .tail = 25};
    uint8_t more[25] = {0};
    assert_int_equal(fixture_say(f, &piece, more), WEFT_OK); /* more than was announced */
    fixture_check_failed(f, WEFT_E_PAYLOAD_OFFSET);
    f->epoch++;
    fixture_make_payload(f);
    fixture_go(f, UPDATED);
    piece =
        (weft_message){.type = WEFT_MESSAGE_DOCUMENT, .epoch = f->epoch, .tail = 4, .offset = 1};
    assert_int_equal(fixture_say(f, &piece, f->document), WEFT_OK);
    fixture_check_failed(f, WEFT_E_PAYLOAD_OFFSET);
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

/* ---- documents that contradict the session ---- */

static void fail_with_document(const char *find, const char *replacement, weft_status status)
{
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    char changed[512];
    char *at = strstr(f->document, find);
    assert_non_null(at);
    int length = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - f->document), f->document,
                          replacement, at + strlen(find));
    (void)snprintf(f->document, sizeof f->document, "%s", changed);
    f->document_length = (size_t)length;
    fixture_go(f, UPDATED);
    fixture_say_document(f);
    fixture_check_failed(f, status);
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

/* A frame of an epoch that is over, between two pieces of what the session takes: it is dropped,
 * and so is its tail, wherever that says that it belongs. */
static void say_stale(fixture *f, weft_message_type type, uint64_t offset)
{
    uint8_t tail[24] = {0};
    weft_message stale = {
        .type = (uint8_t)type, .epoch = f->epoch - 1, .offset = offset, .tail = sizeof tail};
    assert_int_equal(fixture_say(f, &stale, tail), WEFT_OK);
    assert_int_equal(f->answer.type, 0);
}

static void say_piece(fixture *f, weft_message_type type, const void *bytes, size_t begin,
                      size_t end)
{
    weft_message piece = {
        .type = (uint8_t)type, .epoch = f->epoch, .offset = begin, .tail = (uint32_t)(end - begin)};
    assert_int_equal(fixture_say(f, &piece, (const uint8_t *)bytes + begin), WEFT_OK);
}

static void test_stale_pieces_between_pieces(void **state)
{
    (void)state;
    static const uint64_t OFFSETS[] = {0, 8, 500, UINT64_C(1) << 40};
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    for (size_t i = 0; i < sizeof OFFSETS / sizeof *OFFSETS; i++) {
        f->epoch = 2 + i;
        fixture_make_payload(f);
        fixture_go(f, UPDATED);
        say_piece(f, WEFT_MESSAGE_DOCUMENT, f->document, 0, 50);
        say_stale(f, WEFT_MESSAGE_DOCUMENT, OFFSETS[i]);
        say_stale(f, WEFT_MESSAGE_PAYLOAD, OFFSETS[i]);
        say_piece(f, WEFT_MESSAGE_DOCUMENT, f->document, 50, f->document_length);
        assert_int_equal(f->answer.type, WEFT_MESSAGE_READY);
        say_piece(f, WEFT_MESSAGE_PAYLOAD, f->payload, 0, 8);
        say_stale(f, WEFT_MESSAGE_PAYLOAD, OFFSETS[i]);
        fixture_say_plain(f, WEFT_MESSAGE_PING);
        say_piece(f, WEFT_MESSAGE_PAYLOAD, f->payload, 8, 24);
        assert_int_equal(f->answer.type, WEFT_MESSAGE_STAGED);
        fixture_say_plain(f, WEFT_MESSAGE_ABORT);
        fixture_check_old(f);
    }
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

static void test_document_against_session(void **state)
{
    (void)state;
    fail_with_document("\"epoch\":1", "\"epoch\":2", WEFT_E_META_SESSION_MISMATCH);
    fail_with_document("\"update\":0,\"updates\":1", "\"update\":1,\"updates\":2",
                       WEFT_E_META_SESSION_MISMATCH);
    fail_with_document("\"updates\":1", "\"updates\":2", WEFT_E_META_SESSION_MISMATCH);
    fail_with_document("{\"version\":3", "{\"version\":2", WEFT_E_META_SESSION_MISMATCH);
    fail_with_document("{\"version\":4", "{\"version\":5", WEFT_E_META_SESSION_MISMATCH);
    fail_with_document("\"target\":{\"version\":4,\"digest\":\"0x",
                       "\"target\":{\"version\":4,\"digest\":\"0xf", WEFT_E_META_BAD_DIGEST_TEXT);
    fail_with_document("\"name\":\"w\"", "\"name\":\"v\"", WEFT_E_META_UNKNOWN_TENSOR);
    fail_with_document("[8]", "[4,2]", WEFT_E_META_WRONG_SHAPE);
    fail_with_document("bfloat16", "float16", WEFT_E_META_WRONG_DTYPE);
    fail_with_document("{\"weft\"", "[\"weft\"", WEFT_E_META_SYNTAX);
    fail_with_document("\"bytes\":24", "\"bytes\":32", WEFT_E_META_WRONG_LAYOUT);
}

static void test_vllm_document_of_other_kind(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    f->document_length =
        (size_t)snprintf(f->document, sizeof f->document,
                         "{\"names\":[\"w\"],\"dtype_names\":[\"bfloat16\"],\"shapes\":[[8]]}");
    fixture_go(f, UPDATED);
    fixture_say_document(f);
    fixture_check_failed(f, WEFT_E_META_SESSION_MISMATCH);
    f->epoch++;
    f->document_length = (size_t)snprintf(f->document, sizeof f->document,
                                          "{\"names\":[\"w\"],\"dtype_names\":[\"bfloat16\"],"
                                          "\"shapes\":[[8]],\"num_updates_list\":[5]}");
    fixture_go(f, UPDATED);
    fixture_say_document(f);
    fixture_check_failed(f,
                         WEFT_E_META_WRONG_LAYOUT); /* 40 bytes of patches, and 24 were announced */
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

static void test_document_length(void **state)
{
    (void)state;
    fixture *f = fixture_create(WEFT_BASELINE_AUTO, 1 << 20);
    fixture_go(f, STARTED);
    weft_message update = {
        .type = WEFT_MESSAGE_UPDATE, .epoch = f->epoch, .document_bytes = WEFT_DOCUMENT_MAX + 1};
    assert_int_equal(fixture_say(f, &update, NULL), WEFT_OK);
    fixture_check_failed(f, WEFT_E_META_TOO_LARGE);
    f->epoch++;
    fixture_make_payload(f);
    fixture_go(f, STARTED);
    update =
        (weft_message){.type = WEFT_MESSAGE_UPDATE, .epoch = f->epoch, .document_bytes = 2 << 20};
    assert_int_equal(fixture_say(f, &update, NULL), WEFT_OK);
    fixture_check_failed(f, WEFT_E_OVER_BUDGET);
    fixture_check_next_commits(f);
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commit),
        cmocka_unit_test(test_truncated_frame),
        cmocka_unit_test(test_malformed_frame),
        cmocka_unit_test(test_other_protocol_version),
        cmocka_unit_test(test_old_epoch),
        cmocka_unit_test(test_illegal_messages),
        cmocka_unit_test(test_second_start_of_the_owner),
        cmocka_unit_test(test_message_without_a_session),
        cmocka_unit_test(test_wrong_payload_digest),
        cmocka_unit_test(test_bad_indices),
        cmocka_unit_test(test_wrong_target_digest),
        cmocka_unit_test(test_base_mismatch),
        cmocka_unit_test(test_second_trainer),
        cmocka_unit_test(test_pieces_out_of_place),
        cmocka_unit_test(test_stale_pieces_between_pieces),
        cmocka_unit_test(test_document_against_session),
        cmocka_unit_test(test_vllm_document_of_other_kind),
        cmocka_unit_test(test_document_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
