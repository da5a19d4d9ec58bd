/* Processes for the tests of real NCCL: a trainer and workers on GPUs, each forked before CUDA is
 * touched, each told what to do (and how to misbehave) over a socket pair. Where there are fewer
 * GPUs than processes they share them: every process then says that it is a host of its own
 * (NCCL_HOSTID), and they talk over the loopback device. */
#ifndef WEFT_TESTS_NCCL_PROCESS_H
#define WEFT_TESTS_NCCL_PROCESS_H

#include <sys/types.h>

#include "weft.h"

#define NCCL_TIMEOUT_MS  2000u /* of each state of a session */
#define NCCL_WORKERS_MAX 4u
#define NCCL_TENSORS     12u

/* Happens once, after a command has armed it. */
typedef enum nccl_fault {
    NCCL_NO_FAULT = 0,
    NCCL_DIE,       /* SIGKILL to itself, at `moment` */
    NCCL_STOP,      /* SIGSTOP to itself, at `moment` */
    NCCL_NO_MEMORY, /* worker: the next allocation of device memory fails */
    NCCL_SHORT,     /* trainer: sends less than it announced */
    NCCL_BAD_INDEX, /* trainer: the last index of a tensor is out of bounds */
    NCCL_NO_ENTRY   /* never enters the collective */
} nccl_fault;

typedef enum nccl_moment {
    NCCL_AT_STATE = 1, /* number: weft_state that the process enters */
    NCCL_AT_RECEIVED,  /* number: message of spec/frames.yaml that it received ... */
    NCCL_AT_SENT,      /* ... or is about to send */
    NCCL_AT_MOVING     /* it has been in a collective for a tenth of the deadline */
} nccl_moment;

typedef enum nccl_order {
    NCCL_REPORT = 1,
    NCCL_ARM,     /* fault, moment, number */
    NCCL_CONNECT, /* trainer: to the workers at `ports` */
    NCCL_PUSH     /* trainer: kind, version: content of `step`; replies when it is over */
} nccl_order;

typedef struct nccl_command {
    nccl_order order;
    nccl_fault fault;
    nccl_moment moment;
    uint32_t number;
    weft_kind kind;
    uint64_t version, step;
    uint16_t ports[NCCL_WORKERS_MAX];
} nccl_command;

typedef struct nccl_reply {
    weft_status status; /* PUSH: its result */
    uint16_t port;      /* a worker's first reply */
    weft_worker_info info;
    weft_push push;
    uint64_t content; /* hash of what the weights hold, bit by bit */
    bool paused;
    weft_detail detail;
    char error[WEFT_TEXT_MAX + 1]; /* "" unless the process cannot go on */
} nccl_reply;

typedef struct nccl_process {
    pid_t pid; /* 0: none */
    int socket;
} nccl_process;

/* How many GPUs there are, asked in a process of its own; *nccl: NCCL is there too. */
int nccl_count_gpus(bool *nccl);
/* Hash of the content of this step: 2 % of the elements differ from one step to another. */
uint64_t nccl_content(uint64_t step);
/* rank: 0 for a trainer; it chooses the GPU, and the host if ranks share GPUs. */
void nccl_start(nccl_process *process, unsigned rank, int gpus, unsigned processes,
                uint64_t version, uint64_t step);
void nccl_tell(const nccl_process *process, const nccl_command *command);
/* False: it is gone, or said nothing for so long. */
bool nccl_hear(const nccl_process *process, nccl_reply *reply, int timeout_ms);
/* Waits until it is stopped by SIGSTOP; false if it ended. */
bool nccl_await_stop(const nccl_process *process);
/* Waits for its end; the signal that ended it, or 0. */
int nccl_bury(nccl_process *process);
/* Ends it the friendly way. */
int nccl_end(nccl_process *process);

#endif
