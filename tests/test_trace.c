/* Trace records say what a session did, in order, at both ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "frame.h"
#include "trace.h"
#include "world.h"

typedef struct story {
    char worker[2048], trainer[2048];
    uint64_t last_ns;
} story;

static void tell(test_world *world, world_worker *worker, const weft_trace *record)
{
    story *s = world->watch_context;
    char *text = worker != NULL ? s->worker : s->trainer;
    size_t used = strlen(text), left = sizeof s->worker - used;
    assert_true(record->now_ns >= s->last_ns);
    s->last_ns = record->now_ns;
    bool lost = record->kind == WEFT_TRACE_LOST;
    assert_int_equal(record->epoch, lost || record->message == WEFT_MESSAGE_HELLO ? 0 : 1);
    if (lost) {
        assert_int_equal(record->link, 0);
        assert_int_equal(record->status, WEFT_E_LINK_CLOSED);
        (void)snprintf(text + used, left, "!lost ");
    } else if (record->kind == WEFT_TRACE_TRANSITION) {
        assert_int_equal(record->link, WEFT_LINK_NONE);
        (void)snprintf(text + used, left, "%s>%s ", weft_state_name(record->from),
                       weft_state_name(record->to));
    } else {
        assert_int_equal(record->from, record->to);
        (void)snprintf(text + used, left, "%s%s ",
                       record->kind == WEFT_TRACE_SENT       ? "+"
                       : record->kind == WEFT_TRACE_RECEIVED ? "-"
                                                             : "!",
                       weft_message_name(record->message));
    }
}

static void test_a_session_in_records(void **state)
{
    (void)state;
    story s = {.last_ns = 0};
    test_world *world = world_create(&(world_options){.workers = 1, .tensors = 3});
    world->watch = tell;
    world->watch_context = &s;
    test_model_change(&world->random, world->current, 100);
    assert_int_equal(world_push(world, WEFT_SPARSE, 1, NULL), WEFT_OK);
    assert_string_equal(s.worker, "-START idle>started +STARTED -UPDATE -DOCUMENT "
                                  "started>receiving +READY -PAYLOAD +STAGED -APPLY "
                                  "receiving>applying applying>finished +APPLIED -COMMIT "
                                  "finished>idle +COMMITTED ");
    assert_string_equal(s.trainer, "idle>started +START -STARTED started>receiving +UPDATE "
                                   "+DOCUMENT -READY +PAYLOAD -STAGED receiving>applying +APPLY "
                                   "-APPLIED applying>finished +COMMIT -COMMITTED "
                                   "finished>idle ");
    world_destroy(world);
}

static void test_a_fault_in_records(void **state)
{
    (void)state;
    story s = {.last_ns = 0};
    test_world *world = world_create(&(world_options){.workers = 1, .tensors = 3});
    world->watch = tell;
    world->watch_context = &s;
    test_model_change(&world->random, world->current, 100);
    assert_int_equal(world_begin_push(world, WEFT_SPARSE, 1), WEFT_OK);
    while (strstr(s.trainer, "-STAGED") == NULL) {
        assert_true(world_turn(world));
    }
    world_cut(world, 0);
    assert_non_null(strstr(s.worker, "!lost receiving>failed failed>idle "));
    assert_non_null(strstr(s.trainer, "!lost applying>failed failed>idle "));
    world->watch = NULL;
    world_destroy(world);
}

static void test_without_a_hook(void **state)
{
    (void)state;
    weft_hooks none = {0};
    weft_trace_transition(&none, 1, &(weft_action){.epoch = 1});
    weft_trace_frame(&none, 1, WEFT_IDLE, WEFT_TRACE_SENT, 0,
                     &(weft_message){.type = WEFT_MESSAGE_START}, WEFT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_session_in_records),
        cmocka_unit_test(test_a_fault_in_records),
        cmocka_unit_test(test_without_a_hook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
