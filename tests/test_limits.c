/* Limits that stand between parts: at its value each still passes, and one more is refused. Those
 * of one part are tested beside it; SECURITY.md and spec/metadata.md name the test of each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "frame.h"
#include "update_read.h"
#include "update_support.h"
#include "world.h"

static void test_largest_epoch_of_a_frame(void **state)
{
    weft_message message = {.type = WEFT_MESSAGE_STARTED}, decoded;
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    uint32_t fields;

    (void)state;
    message.epoch = WEFT_EPOCH_MAX;
    weft_frame_encode_head(&message, head);
    assert_int_equal(weft_frame_decode_header(head, WEFT_SENDER_WORKER, &decoded, &fields),
                     WEFT_OK);
    assert_int_equal(decoded.epoch, WEFT_EPOCH_MAX);
    message.epoch = WEFT_EPOCH_MAX + 1;
    weft_frame_encode_head(&message, head);
    assert_int_equal(weft_frame_decode_header(head, WEFT_SENDER_WORKER, &decoded, &fields),
                     WEFT_E_FRAME_MALFORMED);
}

/* A session of the worker's own control plane, only to raise its last epoch. */
static void raise_epoch(weft_worker *worker, uint64_t epoch)
{
    weft_session session = WEFT_SESSION_INIT;
    session.epoch = epoch;
    session.target_version = 1;
    assert_int_equal(weft_worker_start(worker, &session), WEFT_OK);
    assert_int_equal(weft_worker_abort(worker), WEFT_OK);
}

/* A worker's epochs only grow. The last one can still be used; then a trainer says that there is
 * none left, instead of beginning one that nobody takes. */
static void test_epochs_are_used_up(void **state)
{
    test_world *world = world_create(&(world_options){.workers = 1, .tensors = 3});
    weft_trainer_info info;

    (void)state;
    world_cut(world, 0);
    world_settle(world);
    raise_epoch(world->workers[0].worker, WEFT_EPOCH_MAX - 1);
    world_connect(world, 0);
    world_settle(world);
    world_push_and_check(world, WEFT_SPARSE, 100, 1);
    weft_trainer_get_info(world->trainer, &info);
    assert_int_equal(info.epoch, WEFT_EPOCH_MAX);
    assert_int_equal(world_push(world, WEFT_SPARSE, 2, NULL), WEFT_E_LIMIT);
    assert_non_null(strstr(weft_trainer_detail(world->trainer)->text, "used up"));
    world_check(world, world->current, 1);
    world_destroy(world);
}

/* ---- documents: what spec/examples shows only from one side ---- */

static void test_sizes_of_a_shape(void **state)
{
    static const char eight[] = "names: [x]\ndtype_names: [bool]\nshapes: [[1,1,1,1,1,1,1,1]]\n";
    static const char nine[] = "names: [x]\ndtype_names: [bool]\nshapes: [[1,1,1,1,1,1,1,1,1]]\n";
    weft_detail detail;

    (void)state;
    assert_int_equal(answer(eight, strlen(eight), NULL, &detail), WEFT_OK);
    assert_int_equal(answer(nine, strlen(nine), NULL, &detail), WEFT_E_META_WRONG_SHAPE);
}

static void test_updates_of_a_session(void **state)
{
    (void)state;
    for (unsigned more = 0; more < 2; more++) {
        char document[400];
        weft_detail detail;
        int length = snprintf(document, sizeof document,
                              "{\"weft\": 1, \"epoch\": 1, \"kind\": \"sparse\", \"update\": %u, "
                              "\"updates\": %u,\n\"base\": {\"version\": 1, \"digest\": "
                              "\"0x0000000000000001\"}, \"target\": {\"version\": 2, \"digest\": "
                              "\"0x0000000000000002\"},\n\"payload\": {\"bytes\": 0}, "
                              "\"patches\": []}\n",
                              WEFT_UPDATES_MAX - 1 + more, WEFT_UPDATES_MAX + more);
        assert_true(length > 0 && (size_t)length < sizeof document);
        assert_int_equal(answer(document, (size_t)length, NULL, &detail),
                         more == 0 ? WEFT_OK : WEFT_E_META_OVERFLOW);
    }
}

/* A comment of so many bytes, its line end among them, between two keys. */
static void test_bytes_without_a_value(void **state)
{
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        char document[WEFT_READER_AHEAD_MAX + 100] = "names: [x]\n";
        size_t comment = WEFT_READER_AHEAD_MAX + more;
        char *at = document + strlen(document);
        weft_detail detail;
        memset(at, '#', comment - 1);
        int rest = snprintf(at + comment - 1, 80, "\ndtype_names: [bool]\nshapes: [[1]]\n");
        assert_true(rest > 0 && rest < 80);
        assert_int_equal(answer(document, strlen(document), NULL, &detail),
                         more == 0 ? WEFT_OK : WEFT_E_META_UNSUPPORTED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_largest_epoch_of_a_frame),
        cmocka_unit_test(test_epochs_are_used_up),
        cmocka_unit_test(test_sizes_of_a_shape),
        cmocka_unit_test(test_updates_of_a_session),
        cmocka_unit_test(test_bytes_without_a_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
