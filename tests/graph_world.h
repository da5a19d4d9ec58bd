/* The world of tla/WeightUpdate.tla around the C cores: one trainer, its workers, their devices and
 * links: plain data that can be copied, compared and hashed. graph_world.c lets something happen,
 * graph_print.c says what the world is in the model's words, graph.c explores. */
#ifndef WEFT_TESTS_GRAPH_WORLD_H
#define WEFT_TESTS_GRAPH_WORLD_H

#include <stddef.h>

#include "protocol.h"

#define GRAPH_WORKERS_MAX  3u
#define GRAPH_VERSIONS_MAX 8u
#define GRAPH_FRAMES_MAX   12u
#define GRAPH_FIRST        1u  /* version that everybody begins with */
#define GRAPH_NEVER        31u /* owed by a collective that hangs */

typedef struct graph_frame { /* what the receiver of a frame looks at */
    uint8_t type, kind, outcome, updates, update;
    uint8_t epoch, base, target, version;
    uint8_t peers; /* START: bit i for worker i, of all that take part; 0: no addresses come */
    bool digests_differ; /* a digest is not that of its version */
} graph_frame;

typedef struct graph_queue {
    uint8_t count;
    graph_frame list[GRAPH_FRAMES_MAX];
} graph_queue;

typedef struct graph_end { /* a worker, its device, and its connections */
    weft_worker_core core;
    uint8_t owes;            /* weft_input_type that the device will give; 0: none */
    uint8_t weights, before; /* version, or 0 for half written; what an undo restores */
    bool wrong;              /* a change was not the announced one */
    bool staging, paused;    /* by OPEN and RELEASE, by PAUSE and RESUME */
    uint8_t peers;           /* of the session, as START said; 0 when idle */
    uint8_t number;          /* of the present connection at the worker: 0 or 1 */
    bool here, there;        /* ends that are open */
    bool half;               /* the past connection is still open here */
    graph_queue down, up, past;
    uint8_t told[GRAPH_VERSIONS_MAX]; /* weft_outcome that the hooks said, by target version */
} graph_end;

/* A trainer's core without the 4,000 slots that nobody uses here. */
typedef struct graph_trainer {
    uint8_t head[offsetof(weft_trainer_core, slots)];
    weft_trainer_slot slots[GRAPH_WORKERS_MAX];
} graph_trainer;

typedef struct graph_world {
    graph_trainer trainer;
    graph_end ends[GRAPH_WORKERS_MAX];
    uint8_t kept;    /* bit v: somebody has committed version v */
    uint8_t decided; /* bit v: a trainer has decided to commit it */
    uint8_t pushes, faults;
    uint8_t transport; /* WEFT_TRANSPORT_ of all sessions */
    bool addresses;    /* the trainer knows its workers' */
    bool fouled;       /* the trainer has cut somebody off, or a core broke a rule of this bench */
} graph_world;

uint64_t graph_digest_of(uint64_t version);
/* The digest that the content has after so many updates of a session. */
uint64_t graph_content(const weft_worker_core *core, uint32_t updates);
void graph_trainer_get(const graph_world *w, weft_trainer_core *core);
void graph_world_begin(graph_world *w, uint32_t workers, uint8_t transport, bool addresses);

/* What can happen. */
void graph_deliver(graph_world *w, uint32_t worker, bool past);
void graph_result(graph_world *w, uint32_t worker, weft_input input);
void graph_hear(graph_world *w, uint32_t worker);
void graph_push(graph_world *w, weft_kind kind, uint32_t updates);
void graph_stop(graph_world *w);
void graph_transfer_fails(graph_world *w);
void graph_worker_deadline(graph_world *w, uint32_t worker);
void graph_trainer_deadline(graph_world *w);
void graph_worker_loses(graph_world *w, uint32_t worker, bool past);
void graph_trainer_loses(graph_world *w, uint32_t worker);
void graph_worker_crashes(graph_world *w, uint32_t worker);
void graph_trainer_crashes(graph_world *w, uint32_t workers);
void graph_local(graph_world *w, uint32_t worker, weft_message_type type, weft_kind kind);
void graph_connect(graph_world *w, uint32_t worker);
/* What a peer says when it is asked how the session of this worker ended; the worker is in doubt.
 */
weft_outcome graph_says(graph_world *w, uint32_t worker, uint32_t peer);
void graph_learns(graph_world *w, uint32_t worker, uint32_t peer, weft_outcome outcome);
bool graph_knows_of_doubt(const graph_world *w, uint32_t worker, uint32_t peer);

/* One line: the variables of the model as JSON, separated by tabs. */
void graph_print(const graph_world *w, uint32_t workers, uint32_t versions);

#endif
