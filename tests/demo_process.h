/* The processes of the demonstration: a worker and a trainer, each forked, each told what to do
 * over a socket pair. They use weft.h only, as a serving stack or a trainer would, but for
 * device_model.h: there a framework would allocate its tensors. */
#ifndef WEFT_TESTS_DEMO_PROCESS_H
#define WEFT_TESTS_DEMO_PROCESS_H

#include <sys/types.h>

#include "weft.h"

#define DEMO_PATH_BYTES 512u
#define DEMO_TIMEOUT_MS 5000u /* of each state of a session */

typedef enum demo_order {
    DEMO_REPORT = 1, /* worker: say what you hold, and save it to `path` if that is not empty */
    DEMO_CONNECT,    /* trainer: to the workers at `ports` and to nobody else */
    DEMO_PUSH /* trainer: take the content of the file `path` for an optimizer step, push it */
} demo_order;

typedef enum demo_death {
    DEMO_LIVES = 0,
    DEMO_DIES_RECEIVING, /* REPORT: in the middle of the next payload, over nccl when all ranks but
                            this one enter the broadcast */
    DEMO_DIES_DECIDED,   /* PUSH: when all workers have applied, before any COMMIT leaves */
    DEMO_DIES_HALFWAY    /* PUSH: when worker 1 has committed; the others' links were cut first */
} demo_death;

typedef struct demo_command {
    demo_order order;
    demo_death die;
    uint64_t version;
    uint16_t ports[3];
    char path[DEMO_PATH_BYTES];
} demo_command;

typedef struct demo_reply {
    bool failed;   /* the process could not do it; text says why */
    uint16_t port; /* a worker's first reply: where it listens */
    weft_worker_info worker;
    weft_push push;
    char text[WEFT_TEXT_MAX + 1];
} demo_reply;

typedef struct demo_process {
    pid_t pid; /* 0: none */
    int socket;
} demo_process;

typedef struct demo_place { /* of weights, and how they get there */
    bool on_gpu;            /* in the memory of GPU 0, which all processes share */
    bool over_nccl;         /* the payload is broadcast; otherwise it goes over tcp */
} demo_place;

/* The best place that this machine and build have. Asks a process of its own, because CUDA does not
 * survive a fork. */
demo_place demo_find_place(void);
/* A worker that holds a model file there, and saves each version that it commits to `saves`. Its
 * first reply comes by itself. */
void demo_start_worker(demo_process *process, unsigned number, const char *model, uint64_t version,
                       const char *saves, demo_place place);
/* A trainer whose weights and base begin as the content of a model file. */
void demo_start_trainer(demo_process *process, const char *model, uint64_t version,
                        demo_place place);
void demo_tell(const demo_process *process, const demo_command *command);
/* False when the process is gone; ends the demonstration when it is silent. */
bool demo_hear(const demo_process *process, demo_reply *reply);
/* Waits for its end; true if it was killed by SIGKILL. */
bool demo_bury(demo_process *process);
/* Ends it. */
void demo_stop(demo_process *process);
/* Says why, and ends the demonstration with status 1; its processes die with it. */
void demo_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
