/* What a profiler's timeline is told: a range for each state of a session and for the pause, begun
 * and ended when that begins and ends, on every way through a session. */
#include "device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support.h"
#include "world.h"

#define NAME_BYTES  48u
#define HISTORY_MAX 64u

/* A device of the host that writes down what it is told. Each of the two engines has one. */
typedef struct recorder {
    weft_device device;
    test_world *world;
    bool is_worker;
    uint64_t last, begun, ended;
    struct {
        uint64_t id; /* 0: no range is open here */
        const uint64_t *range;
        char name[NAME_BYTES];
    } open[2];
    char history[HISTORY_MAX][NAME_BYTES];
    size_t count;
} recorder;

static recorder *of(const weft_device *device)
{
    return device->context;
}

static size_t slot_of(const recorder *r, uint64_t id)
{
    size_t slot = 0;
    while (slot < 2 && r->open[slot].id != id) {
        slot++;
    }
    assert_true(slot < 2);
    return slot;
}

/* Inference stands still on the return of the hook pause, and goes on in the hook resume. */
static void check_pause(const recorder *r, const char *name)
{
    if (strcmp(name, "weft pause") == 0) {
        assert_true(r->is_worker);
        assert_true(r->world->workers[0].paused);
    }
}

static void record(const weft_device *device, uint64_t *range, const char *name)
{
    recorder *r = of(device);
    if (*range != 0) {
        size_t slot = slot_of(r, *range);
        assert_ptr_equal(r->open[slot].range, range);
        check_pause(r, r->open[slot].name);
        r->open[slot].id = 0;
        r->ended++;
        *range = 0;
    }
    if (name != NULL) {
        size_t slot = slot_of(r, 0);
        check_pause(r, name);
        *range = ++r->last;
        r->open[slot].id = *range;
        r->open[slot].range = range;
        (void)snprintf(r->open[slot].name, NAME_BYTES, "%s", name);
        (void)snprintf(r->history[r->count % HISTORY_MAX], NAME_BYTES, "%s", name);
        r->count++;
        r->begun++;
    }
}

static bool is_open(const recorder *r, const char *name)
{
    for (size_t i = 0; i < 2; i++) {
        if (r->open[i].id != 0 && strcmp(r->open[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void start(recorder *r, bool is_worker)
{
    *r = (recorder){.device = *weft_device_host(), .is_worker = is_worker};
    r->device.context = r;
    r->device.mark = record;
}

static void check_all_ended(const recorder *r)
{
    assert_int_equal(r->begun, r->ended);
    assert_int_equal(r->open[0].id, 0);
    assert_int_equal(r->open[1].id, 0);
}

typedef struct both {
    recorder trainer, worker;
} both;

/* At each record of a trace the open ranges are those of the state, and of the pause. */
static void watch(test_world *world, world_worker *worker, const weft_trace *seen)
{
    const both *b = world->watch_context;
    const recorder *r = worker == NULL ? &b->trainer : &b->worker;
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "weft %s %s", worker == NULL ? "trainer" : "worker",
                   weft_state_name(seen->to));
    assert_int_equal(is_open(r, name), seen->to != WEFT_IDLE);
    if (worker != NULL) {
        assert_int_equal(is_open(r, "weft pause"), worker->paused);
    }
}

static test_world *create(both *b, world_options options)
{
    start(&b->trainer, false);
    start(&b->worker, true);
    options.workers = 1;
    options.tensors = 12;
    options.trainer_device = &b->trainer.device;
    options.worker_device = &b->worker.device;
    test_world *world = world_create(&options);
    b->trainer.world = b->worker.world = world;
    world->watch = watch;
    world->watch_context = b;
    return world;
}

static void check_history(recorder *r, const char *const *names, size_t count)
{
    assert_int_equal(r->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(r->history[i], names[i]);
    }
    check_all_ended(r);
    r->count = 0;
}

static void test_a_session(void **state)
{
    static const char *const TRAINER[] = {"weft trainer diff", "weft trainer started",
                                          "weft trainer receiving", "weft trainer applying",
                                          "weft trainer finished"};
    static const char *const WORKER[] = {"weft worker started", "weft worker receiving",
                                         "weft worker applying", "weft pause",
                                         "weft worker finished"};
    both b;
    (void)state;
    test_world *world = create(&b, (world_options){0});
    for (uint64_t version = 1; version < 4; version++) {
        world_push_and_check(world, version == 2 ? WEFT_BASELINE : WEFT_SPARSE, 100, version);
        check_history(&b.trainer, TRAINER, sizeof TRAINER / sizeof TRAINER[0]);
        check_history(&b.worker, WORKER, sizeof WORKER / sizeof WORKER[0]);
    }
    world_destroy(world);
}

/* A streamed baseline writes as it arrives, and is paused from the first byte. */
static void test_a_streamed_baseline(void **state)
{
    static const char *const WORKER[] = {"weft worker started", "weft worker receiving",
                                         "weft pause", "weft worker applying",
                                         "weft worker finished"};
    both b;
    (void)state;
    test_world *world = create(&b, (world_options){.baseline = WEFT_BASELINE_STREAMED});
    world_push_and_check(world, WEFT_BASELINE, 100, 1);
    check_history(&b.worker, WORKER, sizeof WORKER / sizeof WORKER[0]);
    world_destroy(world);
}

static void test_a_plan_that_fails(void **state)
{
    static const char *const TRAINER[] = {"weft trainer diff"};
    both b;
    (void)state;
    test_world *world = create(&b, (world_options){.trainer_budget_bytes = 100});
    test_model_change(&world->random, world->current, 1000);
    assert_int_equal(world_push(world, WEFT_SPARSE, 1, NULL), WEFT_E_OVER_BUDGET);
    check_history(&b.trainer, TRAINER, 1);
    assert_int_equal(b.worker.count, 0);
    world_destroy(world);
}

/* Begins a push, and lets so many pieces of bytes move. False: nothing moved any more before. */
static bool go(test_world *world, unsigned turns)
{
    bool moves = true;
    test_model_change(&world->random, world->current, 100);
    assert_int_equal(world_begin_push(world, WEFT_SPARSE, 1), WEFT_OK);
    for (unsigned i = 0; moves && i < turns; i++) {
        moves = world_turn(world);
    }
    return moves;
}

static void test_a_fault_in_every_turn(void **state)
{
    both b;
    uint64_t paused = 0, failed = 0;
    bool moves = true;
    (void)state;
    for (unsigned turns = 0; moves; turns++) {
        test_world *world = create(&b, (world_options){0});
        moves = go(world, turns);
        world_cut(world, 0);
        world_settle(world);
        check_all_ended(&b.worker);
        check_all_ended(&b.trainer);
        for (size_t i = 0; i < b.worker.count; i++) {
            paused += strcmp(b.worker.history[i], "weft pause") == 0 ? 1 : 0;
            failed += strcmp(b.worker.history[i], "weft worker failed") == 0 ? 1 : 0;
        }
        world_destroy(world);
    }
    assert_true(paused > 0 && failed > 0);
}

/* Both are gone in the middle of a session; nothing stays open after them. */
static void test_the_end_in_every_turn(void **state)
{
    both b;
    bool moves = true;
    uint64_t cut_short = 0;
    (void)state;
    for (unsigned turns = 0; moves; turns++) {
        test_world *world = create(&b, (world_options){0});
        moves = go(world, turns);
        cut_short += b.trainer.begun > b.trainer.ended && b.worker.begun > b.worker.ended ? 1 : 0;
        world_destroy(world);
        check_all_ended(&b.worker);
        check_all_ended(&b.trainer);
    }
    assert_true(cut_short > 0);
}

static void test_devices_without_marks(void **state)
{
    uint64_t range = 0;
    (void)state;
    weft_device_mark(weft_device_host(), &range, "a name");
    weft_device_mark_state(weft_device_host(), &range, "worker", WEFT_APPLYING);
    assert_int_equal(range, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_session),
        cmocka_unit_test(test_a_streamed_baseline),
        cmocka_unit_test(test_a_plan_that_fails),
        cmocka_unit_test(test_a_fault_in_every_turn),
        cmocka_unit_test(test_the_end_in_every_turn),
        cmocka_unit_test(test_devices_without_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
