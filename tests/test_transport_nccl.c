/* Sessions over real NCCL: they commit bit for bit, and after every fault the survivors are idle
 * within the deadline and a second, hold the old bits, and commit the next push within 5 s in the
 * same processes. Without a GPU and NCCL everything is skipped.
 *
 * WEFT_NCCL_WORKERS says how many workers there are (2); with a GPU for each process they talk as
 * NCCL likes best (NVLink), with fewer they share GPUs. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clock.h"
#include "frame.h"
#include "nccl_process.h"

#define NS_PER_MS  UINT64_C(1000000)
#define START_MS   60000 /* a process begins: CUDA, weights */
#define RECOVER_MS 5000  /* the next session, its communicator included */
#define IDLE_MS    (NCCL_TIMEOUT_MS + 1000)

typedef struct group {
    nccl_process trainer, workers[NCCL_WORKERS_MAX];
    uint16_t ports[NCCL_WORKERS_MAX];
    unsigned count;
    uint64_t version, step; /* that all hold */
} group;

static int gpus;
static unsigned workers;

static void start_worker(group *g, unsigned i)
{
    nccl_start(&g->workers[i], 1 + i, gpus, 1 + g->count, g->version, g->step);
}

static void await_worker(group *g, unsigned i)
{
    nccl_reply reply;
    assert_true(nccl_hear(&g->workers[i], &reply, START_MS));
    g->ports[i] = reply.port;
}

static void connect_trainer(group *g)
{
    nccl_reply reply;
    nccl_command command = {.order = NCCL_CONNECT};
    memcpy(command.ports, g->ports, sizeof command.ports);
    nccl_tell(&g->trainer, &command);
    assert_true(nccl_hear(&g->trainer, &reply, START_MS));
}

static void start_trainer(group *g)
{
    nccl_reply reply;
    nccl_start(&g->trainer, 0, gpus, 1 + g->count, g->version, g->step);
    assert_true(nccl_hear(&g->trainer, &reply, START_MS));
}

static group begin(void)
{
    group g = {.count = workers, .version = 1, .step = 1};
    for (unsigned i = 0; i < g.count; i++) {
        start_worker(&g, i);
    }
    start_trainer(&g);
    for (unsigned i = 0; i < g.count; i++) {
        await_worker(&g, i);
    }
    connect_trainer(&g);
    return g;
}

static void end(group *g)
{
    assert_int_equal(nccl_end(&g->trainer), 0);
    for (unsigned i = 0; i < g->count; i++) {
        assert_int_equal(nccl_end(&g->workers[i]), 0);
    }
}

static void arm(const nccl_process *process, nccl_fault fault, nccl_moment moment, uint32_t number)
{
    nccl_reply reply;
    nccl_tell(process, &(nccl_command){
                           .order = NCCL_ARM, .fault = fault, .moment = moment, .number = number});
    assert_true(nccl_hear(process, &reply, START_MS));
}

static void begin_push(const group *g, weft_kind kind)
{
    nccl_tell(&g->trainer, &(nccl_command){.order = NCCL_PUSH,
                                           .kind = kind,
                                           .version = g->version + 1,
                                           .step = g->step + 1});
}

static void push(group *g, weft_kind kind)
{
    nccl_reply reply;
    begin_push(g, kind);
    assert_true(nccl_hear(&g->trainer, &reply, START_MS));
    if (reply.status != WEFT_OK) {
        (void)fprintf(stderr, "push: %s: %s\n", weft_status_name(reply.status), reply.detail.text);
    }
    assert_int_equal(reply.status, WEFT_OK);
    g->version++;
    g->step++;
}

static nccl_reply report_of(const nccl_process *process)
{
    nccl_reply reply;
    nccl_tell(process, &(nccl_command){.order = NCCL_REPORT});
    assert_true(nccl_hear(process, &reply, START_MS));
    return reply;
}

/* Idle, with exactly these bits. */
static void check_worker(const group *g, unsigned i, uint64_t version, uint64_t content)
{
    nccl_reply reply = report_of(&g->workers[i]);
    assert_int_equal(reply.info.state, WEFT_IDLE);
    assert_int_equal(reply.info.condition, WEFT_INTACT);
    assert_int_equal(reply.info.version, version);
    assert_int_equal(reply.info.session_bytes, 0);
    assert_false(reply.paused);
    assert_int_equal(reply.content, content);
}

static void check_all(const group *g)
{
    uint64_t content = nccl_content(g->step);
    for (unsigned i = 0; i < g->count; i++) {
        check_worker(g, i, g->version, content);
    }
}

/* Asks until it is idle; fails when that takes longer than it may since then. */
static void await_idle(const nccl_process *process, uint64_t since_ns)
{
    for (;;) {
        nccl_reply reply = report_of(process);
        if (reply.info.state == WEFT_IDLE) {
            return;
        }
        assert_true(weft_clock_ns() - since_ns < IDLE_MS * NS_PER_MS);
    }
}

/* The next push commits soon. */
static void check_recovery(group *g)
{
    uint64_t before_ns = weft_clock_ns();
    push(g, WEFT_SPARSE);
    uint64_t took_ms = (weft_clock_ns() - before_ns) / NS_PER_MS;
    (void)fprintf(stderr, "  recovered: committed after %u ms\n", (unsigned)took_ms);
    assert_true(took_ms < RECOVER_MS);
    check_all(g);
}

/* The push that is under way ends by a fault, within the deadlines. */
static nccl_reply fail_push(group *g)
{
    nccl_reply reply;
    uint64_t before_ns = weft_clock_ns();
    assert_true(nccl_hear(&g->trainer, &reply, START_MS));
    (void)fprintf(stderr, "  push ended after %u ms: %s: %s\n",
                  (unsigned)((weft_clock_ns() - before_ns) / NS_PER_MS),
                  weft_status_name(reply.status), reply.detail.text);
    assert_true(reply.status < 0);
    assert_int_equal(reply.push.outcome, WEFT_OUTCOME_ABORTED);
    return reply;
}

/* ---- the way forward ---- */

static void test_sessions(void **state)
{
    group g = begin();
    (void)state;
    check_all(&g);
    push(&g, WEFT_SPARSE);
    check_all(&g);
    push(&g, WEFT_SPARSE);
    check_all(&g);
    push(&g, WEFT_BASELINE);
    check_all(&g);
    push(&g, WEFT_SPARSE);
    check_all(&g);
    end(&g);
}

/* ---- the trainer is killed ---- */

static void kill_trainer(nccl_moment moment, uint32_t number, bool stall)
{
    group g = begin();
    push(&g, WEFT_SPARSE); /* the communicator is there already */
    uint64_t content = nccl_content(g.step);
    if (stall) { /* a rank that does not come keeps the broadcast where it is */
        arm(&g.workers[0], NCCL_STOP, NCCL_AT_RECEIVED, WEFT_MESSAGE_PAYLOAD);
    }
    arm(&g.trainer, NCCL_DIE, moment, number);
    begin_push(&g, WEFT_BASELINE);
    if (stall) {
        assert_true(nccl_await_stop(&g.workers[0]));
    }
    assert_int_equal(nccl_bury(&g.trainer), SIGKILL);
    uint64_t since_ns = weft_clock_ns();
    if (stall) {
        assert_int_equal(kill(g.workers[0].pid, SIGCONT), 0);
    }
    for (unsigned i = 0; i < g.count; i++) {
        await_idle(&g.workers[i], since_ns);
        check_worker(&g, i, g.version, content);
    }
    start_trainer(&g);
    connect_trainer(&g);
    check_recovery(&g);
    end(&g);
}

static void test_trainer_killed_before_the_broadcast(void **state)
{
    (void)state;
    kill_trainer(NCCL_AT_SENT, WEFT_MESSAGE_PAYLOAD, false);
}

static void test_trainer_killed_in_the_broadcast(void **state)
{
    (void)state;
    kill_trainer(NCCL_AT_MOVING, 0, true);
}

static void test_trainer_killed_after_the_broadcast(void **state)
{
    (void)state;
    kill_trainer(NCCL_AT_SENT, WEFT_MESSAGE_APPLY, false);
}

/* ---- a worker is killed ---- */

static void kill_worker(nccl_moment moment, uint32_t number, bool commits)
{
    group g = begin();
    nccl_reply reply;
    push(&g, WEFT_SPARSE);
    arm(&g.workers[g.count - 1], NCCL_DIE, moment, number);
    begin_push(&g, WEFT_SPARSE);
    assert_int_equal(nccl_bury(&g.workers[g.count - 1]), SIGKILL);
    uint64_t since_ns = weft_clock_ns();
    assert_true(nccl_hear(&g.trainer, &reply, START_MS));
    (void)fprintf(stderr, "  push: %s: %s\n", weft_status_name(reply.status), reply.detail.text);
    assert_int_equal(reply.push.outcome, commits ? WEFT_OUTCOME_COMMITTED : WEFT_OUTCOME_ABORTED);
    g.version += commits ? 1 : 0;
    g.step += commits ? 1 : 0;
    for (unsigned i = 0; i + 1 < g.count; i++) {
        await_idle(&g.workers[i], since_ns);
        check_worker(&g, i, g.version, nccl_content(g.step));
    }
    start_worker(&g, g.count - 1);
    await_worker(&g, g.count - 1);
    assert_int_equal(nccl_end(&g.trainer), 0); /* it knows the dead worker's address only */
    start_trainer(&g);
    connect_trainer(&g);
    check_recovery(&g);
    end(&g);
}

static void test_worker_killed_when_started(void **state)
{
    (void)state;
    kill_worker(NCCL_AT_STATE, WEFT_STARTED, false);
}

static void test_worker_killed_when_ready(void **state)
{
    (void)state;
    kill_worker(NCCL_AT_STATE, WEFT_RECEIVING, false);
}

static void test_worker_killed_before_it_enters(void **state)
{
    (void)state;
    kill_worker(NCCL_AT_RECEIVED, WEFT_MESSAGE_PAYLOAD, false);
}

static void test_worker_killed_when_staged(void **state)
{
    (void)state;
    kill_worker(NCCL_AT_SENT, WEFT_MESSAGE_STAGED, false);
}

static void test_worker_killed_while_applying(void **state)
{
    (void)state;
    kill_worker(NCCL_AT_STATE, WEFT_APPLYING, false);
}

static void test_worker_killed_when_finished(void **state)
{
    (void)state;
    kill_worker(NCCL_AT_STATE, WEFT_FINISHED, false);
}

static void test_worker_killed_when_committed(void **state)
{
    (void)state;
    if (workers < 2) { /* nobody would be left that could tell */
        skip();
    }
    kill_worker(NCCL_AT_SENT, WEFT_MESSAGE_COMMITTED, true);
}

/* ---- a rank stands still ---- */

static void test_worker_stopped_past_the_deadline(void **state)
{
    group g = begin();
    (void)state;
    push(&g, WEFT_SPARSE);
    arm(&g.workers[0], NCCL_STOP, NCCL_AT_RECEIVED, WEFT_MESSAGE_PAYLOAD);
    begin_push(&g, WEFT_BASELINE);
    assert_true(nccl_await_stop(&g.workers[0]));
    uint64_t since_ns = weft_clock_ns();
    (void)fail_push(&g);
    for (unsigned i = 1; i < g.count; i++) {
        await_idle(&g.workers[i], since_ns);
    }
    assert_int_equal(kill(g.workers[0].pid, SIGCONT), 0);
    await_idle(&g.workers[0], weft_clock_ns());
    check_all(&g);
    check_recovery(&g);
    end(&g);
}

static void test_trainer_stopped_past_the_deadline(void **state)
{
    group g = begin();
    (void)state;
    push(&g, WEFT_SPARSE);
    arm(&g.trainer, NCCL_STOP, NCCL_AT_STATE, WEFT_RECEIVING);
    begin_push(&g, WEFT_BASELINE);
    assert_true(nccl_await_stop(&g.trainer));
    uint64_t since_ns = weft_clock_ns();
    for (unsigned i = 0; i < g.count; i++) {
        nccl_reply reply;
        do {
            reply = report_of(&g.workers[i]);
        } while (reply.info.sessions_failed == 0 &&
                 weft_clock_ns() - since_ns < IDLE_MS * NS_PER_MS);
        assert_int_equal(reply.info.sessions_failed, 1);
        assert_int_equal(reply.info.state, WEFT_IDLE);
    }
    assert_int_equal(kill(g.trainer.pid, SIGCONT), 0);
    (void)fail_push(&g);
    check_all(&g);
    check_recovery(&g);
    end(&g);
}

/* ---- what arrives is not what was announced ---- */

static void fail_by(nccl_fault fault, bool of_trainer, weft_status worker_status)
{
    group g = begin();
    push(&g, WEFT_SPARSE);
    arm(of_trainer ? &g.trainer : &g.workers[0], fault, (nccl_moment)0, 0);
    begin_push(&g, WEFT_SPARSE);
    uint64_t since_ns = weft_clock_ns();
    (void)fail_push(&g);
    bool said = false;
    for (unsigned i = 0; i < g.count; i++) {
        await_idle(&g.workers[i], since_ns);
        nccl_reply reply = report_of(&g.workers[i]);
        (void)fprintf(stderr, "  worker %u: %s: %s\n", i, weft_status_name(reply.detail.status),
                      reply.detail.text);
        said = said || reply.detail.status == worker_status;
    }
    assert_true(said || worker_status == WEFT_OK);
    check_all(&g);
    check_recovery(&g);
    end(&g);
}

static void test_trainer_sends_less_than_it_announced(void **state)
{
    (void)state;
    fail_by(NCCL_SHORT, true, WEFT_OK); /* a hang or a wrong digest: NCCL does not say which */
}

static void test_trainer_does_not_enter(void **state)
{
    (void)state;
    fail_by(NCCL_NO_ENTRY, true, WEFT_E_ABORTED);
}

static void test_worker_does_not_enter(void **state)
{
    (void)state;
    fail_by(NCCL_NO_ENTRY, false, WEFT_E_COLLECTIVE);
}

static void test_bad_index(void **state)
{
    (void)state;
    fail_by(NCCL_BAD_INDEX, true, WEFT_E_INDEX_OUT_OF_BOUNDS);
}

static void test_out_of_memory_while_staging(void **state)
{
    (void)state;
    fail_by(NCCL_NO_MEMORY, false, WEFT_E_OUT_OF_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_trainer_killed_before_the_broadcast),
        cmocka_unit_test(test_trainer_killed_in_the_broadcast),
        cmocka_unit_test(test_trainer_killed_after_the_broadcast),
        cmocka_unit_test(test_worker_killed_when_started),
        cmocka_unit_test(test_worker_killed_when_ready),
        cmocka_unit_test(test_worker_killed_before_it_enters),
        cmocka_unit_test(test_worker_killed_when_staged),
        cmocka_unit_test(test_worker_killed_while_applying),
        cmocka_unit_test(test_worker_killed_when_finished),
        cmocka_unit_test(test_worker_killed_when_committed),
        cmocka_unit_test(test_worker_stopped_past_the_deadline),
        cmocka_unit_test(test_trainer_stopped_past_the_deadline),
        cmocka_unit_test(test_trainer_sends_less_than_it_announced),
        cmocka_unit_test(test_trainer_does_not_enter),
        cmocka_unit_test(test_worker_does_not_enter),
        cmocka_unit_test(test_bad_index),
        cmocka_unit_test(test_out_of_memory_while_staging),
    };
    const char *asked = getenv("WEFT_NCCL_WORKERS");
    bool nccl = false;
    gpus = nccl_count_gpus(&nccl);
    if (gpus == 0 || !nccl) {
        (void)fprintf(stderr, "skipped: there is no %s here\n", gpus == 0 ? "GPU" : "NCCL");
        return 77;
    }
    workers = asked != NULL && asked[0] == '1' ? 1 : 2;
    (void)fprintf(stderr, "%d GPUs, %u workers\n", gpus, workers);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
