#include "world.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define NS_PER_MS   UINT64_C(1000000)
#define IN_VAIN_MAX 500u /* a collective takes fewer steps, unless it hangs */

/* ---- what the handles report ---- */

static void on_pause(void *context, uint64_t epoch)
{
    world_worker *worker = context;
    assert_true(epoch > 0);
    assert_false(worker->paused);
    worker->paused = true;
    worker->pauses++;
}

static void on_resume(void *context, uint64_t epoch)
{
    world_worker *worker = context;
    assert_true(epoch > 0);
    assert_true(worker->paused);
    worker->paused = false;
    worker->resumes++;
}

static void on_commit(void *context, uint64_t version, uint64_t digest)
{
    world_worker *worker = context;
    weft_worker_info info;
    weft_worker_get_info(worker->worker, &info);
    assert_int_equal(info.version, version);
    assert_int_equal(info.digest, digest);
    assert_true(worker->paused);
    worker->commits++;
}

static void on_failure(void *context, const weft_detail *detail)
{
    world_worker *worker = context;
    assert_true(detail->status < 0);
    assert_true(detail->text[0] != '\0');
    assert_true(detail->epoch > 0);
    assert_false(worker->paused);
    worker->failures++;
}

static void on_worker_trace(void *context, const weft_trace *record)
{
    world_worker *worker = context;
    trace_log_record(&worker->world->log, worker->number, TRACE_LOG_NOBODY, record);
    if (worker->world->watch != NULL) {
        worker->world->watch(worker->world, worker, record);
    }
}

static void on_trainer_commit(void *context, uint64_t version, uint64_t digest)
{
    test_world *world = context;
    weft_trainer_info info;
    weft_trainer_get_info(world->trainer, &info);
    assert_int_equal(info.base_version, version);
    assert_int_equal(info.base_digest, digest);
    world->commits++;
}

static void on_trainer_failure(void *context, const weft_detail *detail)
{
    test_world *world = context;
    assert_true(detail->status < 0);
    assert_true(detail->text[0] != '\0');
    world->failures++;
}

static void on_trainer_trace(void *context, const weft_trace *record)
{
    test_world *world = context;
    uint32_t peer = record->link < WORLD_LINKS_MAX ? world->peers[record->link] : TRACE_LOG_NOBODY;
    trace_log_record(&world->log, TRACE_LOG_TRAINER, peer, record);
    if (world->watch != NULL) {
        world->watch(world, NULL, record);
    }
}

/* ---- the wire ---- */

static void append(world_queue *queue, const void *bytes, size_t length)
{
    if (queue->length + length > queue->capacity) {
        queue->capacity = 2 * (queue->length + length);
        queue->bytes = realloc(queue->bytes, queue->capacity);
        assert_non_null(queue->bytes);
    }
    if (length > 0) {
        memcpy(queue->bytes + queue->length, bytes, length);
    }
    queue->length += length;
}

static void forget(world_queue *queue)
{
    free(queue->bytes);
    *queue = (world_queue){0};
}

/* Some of the bytes that wait, copied so that a sanitizer sees reads past them. */
static uint8_t *take(test_world *world, world_queue *queue, size_t *length)
{
    size_t n = (size_t)test_random_below(&world->random, 3) == 0
                   ? 1 + (size_t)test_random_below(&world->random, 60)
                   : queue->length;
    n = n < queue->length ? n : queue->length;
    uint8_t *bytes = malloc(n);
    assert_non_null(bytes);
    memcpy(bytes, queue->bytes, n);
    memmove(queue->bytes, queue->bytes + n, queue->length - n);
    queue->length -= n;
    *length = n;
    return bytes;
}

/* Puts on the wire what one end wants to send, in partial writes, but never more than a socket's
 * buffer holds. */
static bool drain_worker(test_world *world, world_worker *worker)
{
    weft_span spans[WEFT_SPANS_MAX];
    bool moved = false;
    while (worker->out.length < 200000 &&
           weft_worker_send(worker->worker, worker->here, spans) > 0) {
        size_t n = 1 + (size_t)test_random_below(&world->random, spans[0].length);
        append(&worker->out, spans[0].data, n);
        weft_worker_sent(worker->worker, worker->here, n);
        moved = true;
    }
    return moved;
}

static bool drain_trainer(test_world *world, world_worker *worker)
{
    weft_span spans[WEFT_SPANS_MAX];
    bool moved = false;
    while (worker->in.length < 200000) {
        size_t count = weft_trainer_send(world->trainer, worker->there, spans);
        if (count == 0) {
            break;
        }
        size_t all = spans[0].length + (count > 1 ? spans[1].length : 0);
        size_t n = 1 + (size_t)test_random_below(&world->random, all);
        size_t first = n < spans[0].length ? n : spans[0].length;
        append(&worker->in, spans[0].data, first);
        if (n > first) {
            append(&worker->in, spans[1].data, n - first);
        }
        weft_trainer_sent(world->trainer, worker->there, n);
        moved = true;
    }
    return moved;
}

static void disconnect(test_world *world, world_worker *worker, weft_status here, weft_status there)
{
    worker->connected = false;
    if (worker->worker != NULL) {
        assert_int_equal(weft_worker_link_close(worker->worker, worker->here, here), WEFT_OK);
    }
    assert_int_equal(weft_trainer_link_close(world->trainer, worker->there, there), WEFT_OK);
    forget(&worker->in);
    forget(&worker->out);
}

/* Whoever finds the link broken closes it, and the other end sees that. */
static void close_if_broken(test_world *world, world_worker *worker, weft_status status)
{
    if (status == WEFT_OK) {
        status = weft_trainer_link_status(world->trainer, worker->there);
    }
    if (status == WEFT_OK && !worker->stopped) {
        status = weft_worker_link_status(worker->worker, worker->here);
    }
    if (status != WEFT_OK) {
        disconnect(world, worker, WEFT_E_LINK_CLOSED, status);
    }
}

static bool feed_worker(test_world *world, world_worker *worker)
{
    if (worker->in.length == 0) {
        return false;
    }
    size_t length;
    uint8_t *bytes = take(world, &worker->in, &length);
    close_if_broken(world, worker,
                    weft_worker_receive(worker->worker, worker->here, bytes, length));
    free(bytes);
    return true;
}

static bool feed_trainer(test_world *world, world_worker *worker)
{
    if (worker->out.length == 0) {
        return false;
    }
    size_t length;
    uint8_t *bytes = take(world, &worker->out, &length);
    close_if_broken(world, worker,
                    weft_trainer_receive(world->trainer, worker->there, bytes, length));
    free(bytes);
    return true;
}

static bool move_one(test_world *world, world_worker *worker)
{
    if (!worker->connected) {
        return false;
    }
    return drain_trainer(world, worker) || feed_trainer(world, worker) ||
           (!worker->stopped && (drain_worker(world, worker) || feed_worker(world, worker)));
}

/* ---- workers that ask each other ---- */

typedef struct conversation { /* a connection from one worker to another */
    world_worker *from, *to;
    uint32_t here, there;
} conversation;

static bool move_one_way(weft_worker *from, uint32_t here, weft_worker *to, uint32_t there)
{
    weft_span spans[WEFT_SPANS_MAX];
    bool moved = false;
    while (weft_worker_link_status(to, there) == WEFT_OK &&
           weft_worker_send(from, here, spans) > 0) {
        size_t length = spans[0].length;
        (void)weft_worker_receive(to, there, spans[0].data, length);
        weft_worker_sent(from, here, length);
        moved = true;
    }
    return moved;
}

static void converse(test_world *world, world_worker *from, uint32_t rank, const char *address)
{
    uint32_t number = (uint32_t)strtoul(address + strlen("peer:"), NULL, 10);
    world_worker *to = &world->workers[number];
    conversation c = {.from = from, .to = to};
    assert_ptr_not_equal(from, to);
    if (to->worker == NULL || to->stopped || to->unreachable ||
        weft_worker_link_open(to->worker, &c.there) != WEFT_OK) {
        weft_worker_peer_failed(from->worker, rank);
        return;
    }
    world->conversations++;
    assert_int_equal(weft_worker_peer_open(from->worker, rank, &c.here), WEFT_OK);
    while (move_one_way(to->worker, c.there, from->worker, c.here) ||
           move_one_way(from->worker, c.here, to->worker, c.there)) {
    }
    assert_int_equal(weft_worker_link_status(from->worker, c.here), WEFT_E_CANCELLED);
    assert_int_equal(weft_worker_link_close(from->worker, c.here, WEFT_E_CANCELLED), WEFT_OK);
    assert_int_equal(weft_worker_link_close(to->worker, c.there, WEFT_E_LINK_CLOSED), WEFT_OK);
}

/* As a driver does: a worker that wants to ask another one is connected to it. */
static bool let_one_ask(test_world *world, uint32_t first)
{
    for (uint32_t i = 0; i < world->count; i++) {
        world_worker *worker = &world->workers[(first + i) % world->count];
        uint32_t rank;
        const char *address;
        if (worker->worker != NULL && !worker->stopped &&
            weft_worker_peer_wanted(worker->worker, &rank, &address)) {
            converse(world, worker, rank, address);
            return true;
        }
    }
    return false;
}

bool world_turn(test_world *world)
{
    uint32_t first =
        world->count == 0 ? 0 : (uint32_t)test_random_below(&world->random, world->count);
    for (uint32_t i = 0; i < world->count; i++) {
        if (move_one(world, &world->workers[(first + i) % world->count])) {
            return true;
        }
    }
    return let_one_ask(world, first);
}

static bool is_busy(const test_world *world)
{
    bool busy = weft_trainer_next_ns(world->trainer) <= world->now_ns;
    for (uint32_t i = 0; i < world->count && !busy; i++) {
        const world_worker *worker = &world->workers[i];
        busy = worker->worker != NULL && !worker->stopped &&
               weft_worker_next_ns(worker->worker) <= world->now_ns;
    }
    return busy;
}

static void tick(test_world *world)
{
    weft_trainer_tick(world->trainer, world->now_ns);
    for (uint32_t i = 0; i < world->count; i++) {
        if (world->workers[i].worker != NULL && !world->workers[i].stopped) {
            weft_worker_tick(world->workers[i].worker, world->now_ns);
        }
    }
}

void world_settle(test_world *world)
{
    unsigned in_vain = 0;
    while (in_vain < IN_VAIN_MAX) {
        in_vain = world_turn(world) ? 0 : in_vain + 1;
        if (in_vain > 0 && !is_busy(world)) {
            break;
        }
        tick(world);
    }
}

bool world_step(test_world *world)
{
    bool moves = world_turn(world) || is_busy(world);
    if (moves) {
        tick(world);
    }
    return moves;
}

void world_pass(test_world *world, uint64_t milliseconds)
{
    world->now_ns += milliseconds * NS_PER_MS;
    tick(world);
    for (uint32_t i = 0; i < world->count; i++) {
        if (world->workers[i].connected) {
            close_if_broken(world, &world->workers[i], WEFT_OK);
        }
    }
}

void world_wait(test_world *world, uint64_t milliseconds)
{
    world_pass(world, milliseconds);
    world_settle(world);
}

/* ---- life ---- */

static void open_log(test_world *world, const world_options *options)
{
    static const char *const POLICIES[] = {[WEFT_BASELINE_AUTO] = "either",
                                           [WEFT_BASELINE_STAGED] = "staged",
                                           [WEFT_BASELINE_STREAMED] = "streamed"};
    static unsigned count;
    const char *folder = getenv("WEFT_TRACE_DIR");
    char remark[64];
    for (uint32_t i = 0; i < WORLD_LINKS_MAX; i++) {
        world->peers[i] = TRACE_LOG_NOBODY;
    }
    if (folder == NULL) {
        return;
    }
    int length = snprintf(world->log_path, sizeof world->log_path, "%s/%s-%04u.trace", folder,
                          program_invocation_short_name, count++);
    assert_in_range(length, 1, sizeof world->log_path - 1);
    (void)unlink(world->log_path);
    assert_true(trace_log_open(&world->log, world->log_path));
    (void)snprintf(remark, sizeof remark, "WEFT_SEED=%" PRIu64, world->random.state);
    trace_log_say(&world->log, remark);
    (void)snprintf(remark, sizeof remark, "transport %s", options->collective ? "nccl" : "tcp");
    trace_log_say(&world->log, remark);
    (void)snprintf(remark, sizeof remark, "baselines %s", POLICIES[options->baseline]);
    trace_log_say(&world->log, remark);
}

void world_leave_out_of_traces(test_world *world, const char *why)
{
    char remark[200];
    (void)snprintf(remark, sizeof remark, "left out: %s", why);
    trace_log_say(&world->log, remark);
    trace_log_close(&world->log);
}

static void create_worker(test_world *world, uint32_t number, const world_options *options,
                          uint64_t version)
{
    world_worker *worker = &world->workers[number];
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    char name[16];
    (void)snprintf(name, sizeof name, "worker %u", number);
    config.name = name;
    config.model = worker->model->model;
    if (world->transport != NULL && !options->no_transport) {
        worker->transport = collective_transport(&world->collective, 1 + number);
        config.transport = worker->transport;
    }
    config.device = options->worker_device;
    config.version = version;
    config.allocator = worker->memory.allocator;
    config.baseline = options->baseline;
    config.budget_bytes =
        options->worker_budget_bytes != 0 ? options->worker_budget_bytes : config.budget_bytes;
    config.timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : config.timeout_ms;
    config.keepalive_ms = options->keepalive_ms != 0 ? options->keepalive_ms : config.keepalive_ms;
    config.hooks = (weft_hooks){.context = worker,
                                .pause = on_pause,
                                .resume = on_resume,
                                .committed = on_commit,
                                .failed = on_failure,
                                .trace = on_worker_trace};
    worker->paused = worker->stopped = false;
    assert_int_equal(weft_worker_create(&worker->worker, &config), WEFT_OK);
    weft_worker_info info;
    weft_worker_get_info(worker->worker, &info);
    trace_log_began(&world->log, number, info.version, info.digest);
    weft_worker_tick(worker->worker, world->now_ns);
}

static void create_trainer(test_world *world, const world_options *options, uint64_t version)
{
    weft_trainer_config config = WEFT_TRAINER_CONFIG_INIT;
    config.model = world->current->model;
    if (options->collective) {
        world->transport = collective_transport(&world->collective, 0);
        config.transport = world->transport;
    }
    config.device = options->trainer_device;
    config.base = options->pinned_base ? NULL : world->base->model;
    config.pinned_base = options->pinned_base;
    config.base_version = version;
    config.allocator = world->memory.allocator;
    config.update_bytes = options->update_bytes;
    config.budget_bytes =
        options->trainer_budget_bytes != 0 ? options->trainer_budget_bytes : config.budget_bytes;
    config.timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : config.timeout_ms;
    config.keepalive_ms = options->keepalive_ms != 0 ? options->keepalive_ms : config.keepalive_ms;
    config.hooks = (weft_hooks){.context = world,
                                .committed = on_trainer_commit,
                                .failed = on_trainer_failure,
                                .trace = on_trainer_trace};
    assert_int_equal(weft_trainer_create(&world->trainer, &config), WEFT_OK);
    weft_trainer_info info;
    weft_trainer_get_info(world->trainer, &info);
    trace_log_began(&world->log, TRACE_LOG_TRAINER, info.base_version, info.base_digest);
    weft_trainer_tick(world->trainer, world->now_ns);
}

test_world *world_create(const world_options *options)
{
    test_world *made = calloc(1, sizeof *made);
    assert_non_null(made);
    made->random = test_random_start();
    open_log(made, options);
    made->now_ns = NS_PER_MS;
    made->count = options->workers;
    collective_start(&made->collective, &made->random);
    made->current = test_model_create(&made->random, options->tensors);
    made->base = test_model_copy(&made->random, made->current);
    made->options = malloc(sizeof *made->options);
    assert_non_null(made->options);
    *made->options = *options;
    test_allocator_start(&made->memory, 0);
    create_trainer(made, options, options->version);
    for (uint32_t i = 0; i < options->workers; i++) {
        world_worker *worker = &made->workers[i];
        worker->world = made;
        worker->number = i;
        worker->model = test_model_shuffle(&made->random, made->base);
        test_allocator_start(&worker->memory, 0);
        create_worker(made, i, options, options->version);
        world_connect(made, i);
    }
    world_settle(made);
    return made;
}

void world_destroy(test_world *world)
{
    for (uint32_t i = 0; i < world->count; i++) {
        world_worker *worker = &world->workers[i];
        weft_worker_destroy(worker->worker);
        weft_transport_destroy(worker->transport);
        assert_int_equal(worker->pauses, worker->resumes);
        test_model_destroy(worker->model);
        test_allocator_finish(&worker->memory);
        forget(&worker->in);
        forget(&worker->out);
    }
    weft_trainer_destroy(world->trainer);
    weft_transport_destroy(world->transport);
    collective_finish(&world->collective);
    test_model_destroy(world->current);
    test_model_destroy(world->base);
    test_allocator_finish(&world->memory);
    trace_log_ended(&world->log);
    trace_log_close(&world->log);
    free(world->options);
    free(world);
}

void world_connect(test_world *world, uint32_t number)
{
    world_worker *worker = &world->workers[number];
    assert_false(worker->connected);
    assert_int_equal(weft_worker_link_open(worker->worker, &worker->here), WEFT_OK);
    assert_int_equal(weft_trainer_link_open(world->trainer, &worker->there), WEFT_OK);
    worker->connected = true;
    if (world->options->addresses) {
        char address[16];
        (void)snprintf(address, sizeof address, "peer:%" PRIu32, number);
        assert_int_equal(weft_trainer_link_address(world->trainer, worker->there, address),
                         WEFT_OK);
    }
    assert_true(worker->there < WORLD_LINKS_MAX);
    world->peers[worker->there] = number;
}

void world_cut(test_world *world, uint32_t number)
{
    world_worker *worker = &world->workers[number];
    if (worker->connected) {
        disconnect(world, worker, WEFT_E_LINK_CLOSED, WEFT_E_LINK_CLOSED);
    }
}

void world_kill(test_world *world, uint32_t number)
{
    world_worker *worker = &world->workers[number];
    weft_worker_destroy(
        worker->worker); /* a real process would just vanish; here its memory is checked too */
    worker->worker = NULL;
    weft_transport_destroy(worker->transport);
    worker->transport = NULL;
    world_cut(world, number);
}

void world_restart_trainer(test_world *world)
{
    weft_trainer_info info;
    weft_trainer_get_info(world->trainer, &info);
    weft_trainer_destroy(world->trainer);
    weft_transport_destroy(world->transport);
    world->transport = NULL;
    create_trainer(world, world->options, info.base_version);
    for (uint32_t i = 0; i < world->count; i++) {
        world_worker *worker = &world->workers[i];
        bool open = worker->connected && worker->worker != NULL;
        worker->connected = false;
        forget(&worker->in);
        forget(&worker->out);
        if (open) {
            assert_int_equal(
                weft_worker_link_close(worker->worker, worker->here, WEFT_E_LINK_CLOSED), WEFT_OK);
        }
    }
}

void world_revive(test_world *world, uint32_t number, const test_model *content, uint64_t version)
{
    world_worker *worker = &world->workers[number];
    assert_null(worker->worker);
    test_model_destroy(worker->model);
    worker->model = test_model_shuffle(&world->random, content);
    create_worker(world, number, &(world_options){.baseline = world->options->baseline}, version);
    world_connect(world, number);
    world_settle(world);
}

weft_status world_begin_push(test_world *world, weft_kind kind, uint64_t version)
{
    weft_status status = weft_trainer_push(world->trainer, kind, version);
    weft_trainer_tick(world->trainer, world->now_ns); /* planning took no time */
    return status;
}

weft_status world_push(test_world *world, weft_kind kind, uint64_t version, weft_push *push)
{
    weft_status status = world_begin_push(world, kind, version);
    if (status != WEFT_OK) {
        return status;
    }
    world_settle(world);
    return weft_trainer_result(world->trainer, push);
}

void world_check(test_world *world, const test_model *content, uint64_t version)
{
    uint64_t digest;
    assert_int_equal(weft_model_digest(content->model, weft_device_host(), &digest), WEFT_OK);
    for (uint32_t i = 0; i < world->count; i++) {
        const world_worker *worker = &world->workers[i];
        weft_worker_info info;
        if (worker->worker == NULL || worker->stopped) {
            continue;
        }
        weft_worker_get_info(worker->worker, &info);
        assert_int_equal(info.state, WEFT_IDLE);
        assert_int_equal(info.condition, WEFT_INTACT);
        assert_int_equal(info.version, version);
        assert_int_equal(info.digest, digest);
        assert_int_equal(info.epoch, 0);
        assert_int_equal(info.session_bytes, 0);
        assert_false(worker->paused);
        assert_true(test_model_equal(worker->model, content));
    }
}

void world_check_base(const test_world *world, const test_model *content, uint64_t version)
{
    weft_trainer_info info;
    uint64_t digest;
    weft_trainer_get_info(world->trainer, &info);
    assert_int_equal(info.state, WEFT_IDLE);
    assert_int_equal(info.base_version, version);
    assert_int_equal(weft_model_digest(content->model, weft_device_host(), &digest), WEFT_OK);
    assert_int_equal(info.base_digest, digest);
    assert_true(test_model_equal(world->base, content));
}

static uint64_t count_differences(const test_model *a, const test_model *b)
{
    uint64_t differences = 0;
    for (size_t i = 0; i < weft_model_count(a->model); i++) {
        const weft_tensor *x = weft_model_tensor(a->model, i), *y = weft_model_tensor(b->model, i);
        uint8_t bytes = (uint8_t)weft_dtype_bytes(x->dtype);
        for (uint64_t k = 0; k < weft_model_elements(a->model, i); k++) {
            differences +=
                test_bits_get(x->data, k, bytes) != test_bits_get(y->data, k, bytes) ? 1 : 0;
        }
    }
    return differences;
}

void world_push_and_check(test_world *world, weft_kind kind, unsigned per_mille, uint64_t version)
{
    weft_push push;
    test_model_change(&world->random, world->current, per_mille);
    uint64_t changed = count_differences(world->base, world->current);
    assert_int_equal(world_push(world, kind, version, &push), WEFT_OK);
    assert_int_equal(push.status, WEFT_OK);
    assert_int_equal(push.outcome, WEFT_OUTCOME_COMMITTED);
    assert_int_equal(push.version, version);
    assert_int_equal(push.committed, push.workers);
    assert_int_equal(push.changed, kind == WEFT_SPARSE ? changed : push.elements);
    world_check(world, world->current, version);
    world_check_base(world, world->current, version);
}
