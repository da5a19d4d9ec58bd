/* One trainer and some workers of one process, connected by queues of bytes, with a clock that only
 * the test moves. No sockets and no threads: every schedule can be replayed from its seed. */
#ifndef WEFT_TESTS_WORLD_H
#define WEFT_TESTS_WORLD_H

#include "collective.h"
#include "support.h"
#include "trace_log.h"
#include "weft.h"

#define WORLD_WORKERS_MAX 8u
#define WORLD_LINKS_MAX   64u

typedef struct world_queue { /* bytes on the wire, in one direction */
    uint8_t *bytes;
    size_t length, capacity;
} world_queue;

typedef struct world_worker {
    struct test_world *world;
    uint32_t number;
    weft_worker *worker;
    test_model *model; /* its tensors were added in an order of their own */
    test_allocator memory;
    const weft_transport *transport; /* or NULL */
    bool connected, stopped; /* stopped: its bytes lie on the wire, and it does not see the time */
    bool unreachable;        /* for other workers, when they are in doubt */
    uint32_t here, there;    /* the link's number on the worker and on the trainer */
    world_queue in, out;
    unsigned pauses, resumes, commits, failures;
    bool paused;
} world_worker;

typedef struct test_world {
    test_random random;
    weft_trainer *trainer;
    test_model *current, *base;
    test_allocator memory; /* the trainer's */
    uint32_t count;
    world_worker workers[WORLD_WORKERS_MAX];
    uint64_t now_ns;
    unsigned commits, failures, conversations;
    struct world_options *options; /* of the trainer */
    collective collective;
    const weft_transport *transport; /* the trainer's, or NULL */
    /* Called for each record of anybody; worker is NULL for the trainer's. May cut and stop. */
    void (*watch)(struct test_world *world, world_worker *worker, const weft_trace *record);
    void *watch_context;
    trace_log log; /* of everybody's records, if the environment asks for it */
    char log_path[256];
    uint32_t peers[WORLD_LINKS_MAX]; /* worker that the trainer's link leads or led to */
} test_world;

typedef struct world_options {
    uint32_t workers;
    size_t tensors;
    uint64_t version;
    uint64_t update_bytes;
    uint64_t worker_budget_bytes, trainer_budget_bytes; /* 0: the default */
    weft_baseline_policy baseline;
    bool collective;                                   /* payloads move by world->collective */
    bool no_transport;                                 /* the workers have none */
    uint32_t timeout_ms, keepalive_ms;                 /* 0: the default */
    const weft_device *trainer_device, *worker_device; /* NULL: the host */
    bool pinned_base; /* the trainer's base is a copy of its own; world->base stays as it began */
    bool addresses;   /* the trainer knows where its workers reach each other: "peer:NUMBER" */
} world_options;

/* Where the environment has WEFT_TRACE_DIR, every world leaves a trace there, PROGRAM-NUMBER.trace,
 * for tla/trace.py. */
test_world *world_create(const world_options *options);
/* What follows is no behaviour of the protocol's model; the trace is given up, with the reason. */
void world_leave_out_of_traces(test_world *world, const char *why);
/* Checks that nothing leaks. */
void world_destroy(test_world *world);

void world_connect(test_world *world, uint32_t worker);
/* Both ends learn that the link is gone. Safe within watch: it takes effect at the next turn. */
void world_cut(test_world *world, uint32_t worker);
/* The process is gone: its memory too; the trainer sees the link close. */
void world_kill(test_world *world, uint32_t worker);
/* A new process with this content and version, connected. */
void world_revive(test_world *world, uint32_t worker, const test_model *content, uint64_t version);
/* The trainer's process is gone, and another one begins with the same base. Every worker sees its
 * link close; nobody is connected. */
void world_restart_trainer(test_world *world);
/* Moves one piece of bytes one step further; false when there is none. */
bool world_turn(test_world *world);
/* Moves bytes, and asks whoever is busy, until nothing moves any more or is busy for ever. */
void world_settle(test_world *world);
/* One round of world_settle; false when nothing moves and nobody is busy. */
bool world_step(test_world *world);
/* Moves the clock only. */
void world_pass(test_world *world, uint64_t milliseconds);
/* Moves the clock and then the bytes. */
void world_wait(test_world *world, uint64_t milliseconds);
/* Only begins a push. */
weft_status world_begin_push(test_world *world, weft_kind kind, uint64_t version);
/* Push, and settle; the answer is weft_trainer_result's, or weft_trainer_push's refusal. */
weft_status world_push(test_world *world, weft_kind kind, uint64_t version, weft_push *push);
/* Everybody connected is idle, intact, not paused, and holds exactly this content and version. */
void world_check(test_world *world, const test_model *content, uint64_t version);
/* The trainer is idle and its base has this content and version. */
void world_check_base(const test_world *world, const test_model *content, uint64_t version);
/* Changes the current weights, pushes them, and checks that everybody holds them. */
void world_push_and_check(test_world *world, weft_kind kind, unsigned per_mille, uint64_t version);

#endif
