/* weft-traces FOLDER COUNT [SEED]: runs COUNT schedules of a trainer and its workers, each from a
 * seed of its own, and leaves the trace of each in FOLDER. The engines are the real ones; what goes
 * wrong, and when, is drawn: links are cut, processes die and come back, sleep and wake up late,
 * devices fail, deadlines pass, the user aborts. At the end of each everybody must be idle. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "stand_in.h"
#include "world.h"

#define TIMEOUT_MS  1000u
#define PUSHES_MAX  4u
#define STEPS_MAX   4000u
#define VERSION     1u
#define SEED_FIRST  1u
#define TURNS_ALIKE 4u /* rounds in which all who are broken may come back */

typedef struct schedule {
    test_random random; /* of what goes wrong; the world has one of its own */
    test_world *world;
    stand_in device;
    unsigned trouble; /* one step in so many; 0: none */
    uint64_t version;
} schedule;

static struct {
    uint64_t first, count;
} asked;

static bool one_in(schedule *s, uint64_t n)
{
    return test_random_below(&s->random, n) == 0;
}

static world_worker *any_worker(schedule *s)
{
    return &s->world->workers[test_random_below(&s->random, s->world->count)];
}

/* ---- what goes wrong ---- */

static void kill_or_cut(schedule *s, world_worker *worker)
{
    if (one_in(s, 3) && worker->worker != NULL) {
        world_kill(s->world, worker->number);
    } else {
        world_cut(s->world, worker->number);
    }
}

static void make_trouble(schedule *s)
{
    world_worker *worker = any_worker(s);
    switch (test_random_below(&s->random, 8)) {
    case 0:
    case 1:
    case 2:
        kill_or_cut(s, worker);
        break;
    case 3:
        worker->stopped = true;
        break;
    case 4:
        world_pass(s->world, TIMEOUT_MS);
        break;
    case 5:
        (void)weft_trainer_abort(s->world->trainer);
        break;
    case 6:
        worker->unreachable = one_in(s, 2);
        if (worker->worker != NULL && !worker->connected) {
            world_connect(s->world, worker->number);
        }
        break;
    case 7:
        if (one_in(s, 3)) {
            world_restart_trainer(s->world);
        }
        break;
    }
}

/* ---- what goes well again ---- */

static bool is_lost(const world_worker *worker)
{
    weft_worker_info info;
    weft_worker_get_info(worker->worker, &info);
    return info.condition == WEFT_LOST;
}

static void mend(schedule *s, world_worker *worker)
{
    weft_trainer_info trainer;
    weft_trainer_get_info(s->world->trainer, &trainer);
    worker->stopped = false;
    if (worker->worker != NULL && is_lost(worker)) {
        world_kill(s->world, worker->number);
    }
    if (worker->worker == NULL) {
        world_revive(s->world, worker->number, s->world->base, trainer.base_version);
    } else if (!worker->connected) {
        world_connect(s->world, worker->number);
    }
}

static void run(schedule *s, unsigned trouble)
{
    for (unsigned i = 0; i < STEPS_MAX && world_step(s->world); i++) {
        if (trouble > 0 && one_in(s, trouble)) {
            make_trouble(s);
        }
    }
}

/* Deadlines end what nothing else ends. */
static void calm_down(schedule *s)
{
    weft_worker_info info;
    weft_trainer_info trainer;
    for (unsigned i = 0; i < 3; i++) {
        world_pass(s->world, TIMEOUT_MS);
        run(s, 0);
    }
    weft_trainer_get_info(s->world->trainer, &trainer);
    assert_int_equal(trainer.state, WEFT_IDLE);
    for (uint32_t i = 0; i < s->world->count; i++) {
        if (s->world->workers[i].worker != NULL && !s->world->workers[i].stopped) {
            weft_worker_get_info(s->world->workers[i].worker, &info);
            assert_int_equal(info.state, WEFT_IDLE);
        }
    }
}

/* ---- schedules ---- */

static void push(schedule *s)
{
    bool again = one_in(s, 4); /* the same content once more, under the same name */
    if (!again) {
        test_model_change(&s->world->random, s->world->current, 60);
        s->version++;
    }
    weft_kind kind = one_in(s, 3) ? WEFT_BASELINE : WEFT_SPARSE;
    if (world_begin_push(s->world, kind, s->version) == WEFT_OK) {
        run(s, s->trouble);
    }
}

static world_options draw_options(schedule *s)
{
    static const weft_baseline_policy POLICIES[] = {WEFT_BASELINE_STAGED, WEFT_BASELINE_STREAMED};
    bool several = one_in(s, 3);
    return (world_options){.workers = 1 + (uint32_t)test_random_below(&s->random, 3),
                           .tensors = 2 + (size_t)test_random_below(&s->random, 3),
                           .version = VERSION,
                           .update_bytes = several ? 2500 : 0,
                           .baseline = POLICIES[test_random_below(&s->random, 2)],
                           .collective = one_in(s, 4),
                           .addresses = one_in(s, 2),
                           .timeout_ms = TIMEOUT_MS,
                           .keepalive_ms = one_in(s, 8) ? 400 : 100 * TIMEOUT_MS,
                           .worker_device = &s->device.face};
}

static void run_schedule(uint64_t seed)
{
    schedule *s = calloc(1, sizeof *s);
    char text[32];
    assert_non_null(s);
    (void)snprintf(text, sizeof text, "%" PRIu64, seed);
    assert_int_equal(setenv("WEFT_SEED", text, 1), 0);
    s->random = (test_random){.state = ~seed};
    s->version = VERSION;
    stand_in_start(&s->device, &s->random);
    world_options options = draw_options(s);
    s->world = world_create(&options);
    s->trouble = one_in(s, 4) ? 0 : 10 + (unsigned)test_random_below(&s->random, 80);
    s->device.slowest = one_in(s, 2) ? 0 : 4;
    s->device.fails_one_in = one_in(s, 3) ? 12 : 0;
    uint64_t pushes = 1 + test_random_below(&s->random, PUSHES_MAX);
    for (uint64_t i = 0; i < pushes; i++) {
        push(s);
        calm_down(s);
        for (uint32_t k = 0; k < s->world->count; k++) {
            if (!one_in(s, TURNS_ALIKE)) {
                mend(s, &s->world->workers[k]);
            }
        }
        run(s, 0);
    }
    world_destroy(s->world);
    free(s);
}

static void test_schedules(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < asked.count; i++) {
        run_schedule(asked.first + i);
    }
}

int main(int count, char **words)
{
    if (count < 3 || count > 4) {
        (void)fprintf(stderr, "usage: weft-traces FOLDER COUNT [SEED] (tla/trace.py gives them)\n");
        return 2;
    }
    asked.count = strtoull(words[2], NULL, 10);
    asked.first = count > 3 ? strtoull(words[3], NULL, 10) : SEED_FIRST;
    if (setenv("WEFT_TRACE_DIR", words[1], 1) != 0) {
        return 2;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schedules)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
