/* The transport `nccl`. Nothing here waits: every call of NCCL is non-blocking, and each poll goes
 * on from where the last one stood.
 *
 *      quiet ──begin──▶ connecting ──▶ (greeting) ──▶ enqueueing ──▶ moving ──▶ quiet
 *        ▲                  │               │             │            │
 *        └── cancelling ◀── cancel ─────────┴─────────────┴────────────┘
 *
 * A non-blocking call may answer "in progress"; until the communicator says otherwise its stream
 * does not hold the collective, so the event behind it is recorded only then. Abort is the one
 * call that blocks (up to a second, in a hanging collective), so a thread of its own makes it;
 * memory is the collective's until that thread is done and the event behind the collective has
 * come.
 *
 * A transfer is a row of broadcasts of at most CHUNK_BYTES; at most SLOTS of them are in the
 * stream, each with an event behind it, so that what has landed is known piece by piece. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "device_cuda.h"
#include "memory.h"
#include "nccl_library.h"
#include "transport.h"

/* The same on all ranks: spec/protocol.md, "Broadcasts". */
#define CHUNK_BYTES (UINT64_C(256) << 20)
#define GROUP_MAX   256u /* broadcasts in one group call */
#define SLOTS       8u

typedef enum stage { QUIET, CONNECTING, GREETING, ENQUEUEING, MOVING, FAILED, CANCELLING } stage;

typedef struct slot { /* a piece in the stream */
    cudaEvent_t event;
    uint64_t end; /* bytes of the runs that are here when it is */
} slot;

typedef struct cursor { /* the next byte to be enqueued */
    size_t part;        /* a run, then the segments' parts */
    uint64_t offset;    /* in it */
    uint64_t run_bytes; /* of runs, so far */
} cursor;

typedef struct reaper { /* aborts one communicator */
    struct reaper *next;
    pthread_t thread;
    const weft_nccl_library *nccl;
    ncclComm_t comm;
    int device;
    atomic_bool done;
} reaper;

typedef struct weft_nccl {
    weft_transport face;
    weft_allocator allocator;
    const weft_cuda_device *device;
    const weft_nccl_library *nccl;
    weft_group group; /* number 0: none */
    ncclComm_t comm;  /* of the group; NULL until it is first used */
    cudaStream_t stream;
    float *greeting; /* device: one element, for vLLM's all-reduce */
    stage stage;
    const weft_load *load;
    cursor next;
    slot slots[SLOTS];
    uint64_t begun, landed; /* pieces: entered in the stream; seen to be over */
    uint64_t moved;
    bool greeted;
    reaper *reapers;
    char text[256];
} weft_nccl;

static weft_nccl *of(const weft_transport *transport)
{
    return transport->context;
}

/* ---- NCCL's and CUDA's answers ---- */

static bool check(weft_nccl *n, ncclResult_t result, const char *what)
{
    if (result == ncclSuccess || result == ncclInProgress) {
        return true;
    }
    const char *last = n->nccl->get_last_error(NULL);
    (void)snprintf(n->text, sizeof n->text, "%s: %s (%.160s)", what,
                   n->nccl->get_error_string(result), last != NULL ? last : "");
    return false;
}

static bool check_cuda(weft_nccl *n, cudaError_t error, const char *what)
{
    if (error != cudaSuccess) {
        (void)snprintf(n->text, sizeof n->text, "%s: %s (%s)", what, cudaGetErrorString(error),
                       cudaGetErrorName(error));
    }
    return error == cudaSuccess;
}

/* What the communicator says of itself: ncclInProgress, ncclSuccess, or what broke it. */
static ncclResult_t ask(const weft_nccl *n)
{
    ncclResult_t state = ncclSuccess;
    ncclResult_t result = n->nccl->comm_get_async_error(n->comm, &state);
    return result != ncclSuccess ? result : state;
}

/* ---- Giving a communicator up ---- */

static void *abort_comm(void *context)
{
    reaper *r = context;
    (void)cudaSetDevice(r->device);
    (void)r->nccl->comm_abort(r->comm);
    atomic_store_explicit(&r->done, true, memory_order_release);
    return NULL;
}

static void give_up(weft_nccl *n)
{
    if (n->comm == NULL) {
        return;
    }
    reaper *r = weft_memory_allocate(&n->allocator, sizeof *r, WEFT_MEMORY_HOST);
    if (r != NULL) {
        *r = (reaper){.nccl = n->nccl, .comm = n->comm, .device = n->device->number};
        atomic_init(&r->done, false);
        if (pthread_create(&r->thread, NULL, abort_comm, r) == 0) {
            r->next = n->reapers;
            n->reapers = r;
            n->comm = NULL;
            return;
        }
        weft_memory_release(&n->allocator, r, sizeof *r, WEFT_MEMORY_HOST);
    }
    (void)n->nccl->comm_abort(n->comm); /* no thread to be had: this one waits for it */
    n->comm = NULL;
}

/* Joins the threads that are done. True when none is left. */
static bool reap(weft_nccl *n)
{
    for (reaper **at = &n->reapers; *at != NULL;) {
        reaper *r = *at;
        if (!atomic_load_explicit(&r->done, memory_order_acquire)) {
            at = &r->next;
            continue;
        }
        (void)pthread_join(r->thread, NULL);
        *at = r->next;
        weft_memory_release(&n->allocator, r, sizeof *r, WEFT_MEMORY_HOST);
    }
    return n->reapers == NULL;
}

/* ---- What moves ---- */

/* One broadcast: the next piece. False when NCCL refuses. */
static bool enqueue_piece(weft_nccl *n, const weft_run *run)
{
    uint64_t left = run->length - n->next.offset;
    uint64_t bytes = left < CHUNK_BYTES || n->load->vllm_order ? left : CHUNK_BYTES;
    uint8_t *at = (uint8_t *)run->bytes + n->next.offset;
    ncclResult_t result = n->nccl->broadcast(at, at, bytes, ncclUint8, 0, n->comm, n->stream);
    n->next.offset += bytes;
    n->next.run_bytes += n->load->segments == NULL ? bytes : 0;
    return check(n, result, "ncclBroadcast");
}

/* The next group of broadcasts: one large piece, or many small ones. All ranks must group alike. */
static bool enqueue_group(weft_nccl *n)
{
    uint64_t bytes = 0;
    unsigned most = n->load->vllm_order ? 1 : GROUP_MAX;
    bool fine = check(n, n->nccl->group_start(), "ncclGroupStart");
    for (unsigned count = 0; fine && count < most && bytes < CHUNK_BYTES;) {
        if (n->next.part == weft_load_parts(n->load)) {
            break;
        }
        weft_run run = weft_load_part(n->load, n->next.part);
        if (n->next.offset == run.length) {
            n->next.part++;
            n->next.offset = 0;
            continue;
        }
        uint64_t before = n->next.offset;
        fine = enqueue_piece(n, &run);
        bytes += n->next.offset - before;
        count++;
    }
    return check(n, n->nccl->group_end(), "ncclGroupEnd") && fine;
}

static bool all_enqueued(const weft_nccl *n)
{
    cursor at = n->next;
    while (at.part < weft_load_parts(n->load) &&
           at.offset == weft_load_part(n->load, at.part).length) {
        at.part++;
        at.offset = 0;
    }
    return at.part == weft_load_parts(n->load);
}

/* ---- Stages ---- */

static weft_poll fail(weft_nccl *n)
{
    n->stage = FAILED;
    return WEFT_POLL_GONE;
}

/* The communicator is made when it is first used, when every rank of the group is ready. */
static bool connect(weft_nccl *n)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id;
    _Static_assert(sizeof id == WEFT_UNIQUE_ID_BYTES, "an ncclUniqueId has 128 bytes");
    config.blocking = 0;
    memcpy(&id, n->group.unique_id, sizeof id);
    return check(n,
                 n->nccl->comm_init_rank_config(&n->comm, (int)n->group.ranks, id,
                                                (int)n->group.rank, &config),
                 "ncclCommInitRankConfig");
}

/* vLLM's ranks wait for it after they have connected. */
static bool greet(weft_nccl *n)
{
    bool fine =
        n->greeting != NULL ||
        check_cuda(n, cudaMallocAsync((void **)&n->greeting, sizeof *n->greeting, n->stream),
                   "cudaMallocAsync");
    n->greeted = true;
    return fine &&
           check_cuda(n, cudaMemsetAsync(n->greeting, 0, sizeof *n->greeting, n->stream),
                      "cudaMemsetAsync") &&
           check(n,
                 n->nccl->all_reduce(n->greeting, n->greeting, 1, ncclFloat32, ncclSum, n->comm,
                                     n->stream),
                 "ncclAllReduce");
}

/* The group call is in the stream: an event behind it tells when its bytes are here. */
static bool record(weft_nccl *n)
{
    slot *s = &n->slots[n->begun % SLOTS];
    s->end = n->next.run_bytes;
    n->begun++;
    return check_cuda(n, cudaEventRecord(s->event, n->stream), "cudaEventRecord");
}

/* Takes note of the pieces that are here. False when CUDA broke. */
static bool watch(weft_nccl *n)
{
    while (n->landed < n->begun) {
        const slot *s = &n->slots[n->landed % SLOTS];
        cudaError_t error = cudaEventQuery(s->event);
        if (error == cudaErrorNotReady) {
            return true;
        }
        if (!check_cuda(n, error, "a broadcast")) {
            return false;
        }
        n->moved = s->end;
        n->landed++;
    }
    return true;
}

/* One step; AGAIN with *moved_on set means that the next one may follow at once. */
static weft_poll step(weft_nccl *n, bool *moved_on)
{
    ncclResult_t state = n->comm != NULL ? ask(n) : ncclSuccess;
    *moved_on = false;
    if (!check(n, state, "the communicator") || !watch(n)) {
        return fail(n);
    }
    if (state == ncclInProgress) {
        return WEFT_POLL_AGAIN;
    }
    bool fine = true;
    if (n->stage == CONNECTING && n->group.greets && !n->greeted) {
        n->stage = GREETING;
        fine = greet(n);
    } else if (n->stage == ENQUEUEING) {
        n->stage = MOVING;
        fine = record(n);
    } else if (!all_enqueued(n)) {
        if (n->begun - n->landed == SLOTS) {
            return WEFT_POLL_AGAIN;
        }
        n->stage = ENQUEUEING;
        fine = enqueue_group(n);
    } else if (n->landed == n->begun) {
        n->stage = QUIET;
        return WEFT_POLL_DONE;
    } else {
        return WEFT_POLL_AGAIN;
    }
    *moved_on = fine;
    return fine ? WEFT_POLL_AGAIN : fail(n);
}

static weft_poll poll_cancelled(weft_nccl *n)
{
    if (!reap(n)) {
        return WEFT_POLL_AGAIN;
    }
    if (cudaStreamQuery(n->stream) == cudaErrorNotReady) {
        return WEFT_POLL_AGAIN;
    }
    cudaError_t error = cudaStreamQuery(n->stream);
    n->stage = QUIET;
    return check_cuda(n, error, "after ncclCommAbort") ? WEFT_POLL_DONE : WEFT_POLL_GONE;
}

static weft_poll poll(const weft_transport *transport, uint64_t *moved)
{
    weft_nccl *n = of(transport);
    weft_poll answer = WEFT_POLL_AGAIN;
    int before = weft_cuda_enter(n->device);
    bool moved_on = true;
    if (n->stage == CANCELLING) {
        answer = poll_cancelled(n);
    } else if (n->stage == QUIET) {
        (void)reap(n);
        answer = WEFT_POLL_DONE;
    } else if (n->stage == FAILED) {
        answer = WEFT_POLL_GONE;
    } else {
        while (moved_on) {
            answer = step(n, &moved_on);
        }
    }
    if (moved != NULL) {
        *moved = n->moved;
    }
    weft_cuda_leave(n->device, before);
    return answer;
}

/* ---- The rest of the face ---- */

static weft_status invite(const weft_transport *transport, uint8_t id[WEFT_UNIQUE_ID_BYTES])
{
    weft_nccl *n = of(transport);
    ncclUniqueId unique;
    int before = weft_cuda_enter(n->device);
    bool fine = check(n, n->nccl->get_unique_id(&unique), "ncclGetUniqueId");
    weft_cuda_leave(n->device, before);
    if (!fine) {
        return WEFT_E_COLLECTIVE;
    }
    memcpy(id, &unique, sizeof unique);
    return WEFT_OK;
}

static void join(const weft_transport *transport, const weft_group *group)
{
    weft_nccl *n = of(transport);
    bool same = n->group.number == group->number && n->group.rank == group->rank &&
                n->group.ranks == group->ranks &&
                memcmp(n->group.unique_id, group->unique_id, WEFT_UNIQUE_ID_BYTES) == 0;
    if (!same) {
        give_up(n);
        n->group = *group;
        n->greeted = false;
    }
}

static uint64_t group_number(const weft_transport *transport)
{
    return of(transport)->group.number;
}

static weft_status begin(const weft_transport *transport, const weft_load *load)
{
    weft_nccl *n = of(transport);
    if (n->stage != QUIET || n->group.number == 0) {
        (void)snprintf(n->text, sizeof n->text, "%s",
                       n->stage != QUIET ? "a transfer runs already" : "there is no group");
        return WEFT_E_COLLECTIVE;
    }
    int before = weft_cuda_enter(n->device);
    n->load = load;
    n->next = (cursor){0};
    n->begun = n->landed = n->moved = 0;
    n->stage = CONNECTING;
    bool fine = n->comm != NULL || connect(n);
    if (!fine) {
        n->stage = FAILED;
    }
    weft_cuda_leave(n->device, before);
    return fine ? WEFT_OK : WEFT_E_COLLECTIVE;
}

static void cancel(const weft_transport *transport)
{
    weft_nccl *n = of(transport);
    int before = weft_cuda_enter(n->device);
    give_up(n);
    n->group.number = 0;
    n->stage = CANCELLING;
    weft_cuda_leave(n->device, before);
}

static void destroy(const weft_transport *transport)
{
    weft_nccl *n = of(transport);
    int before = weft_cuda_enter(n->device);
    give_up(n);
    for (reaper *r = n->reapers; r != NULL;) {
        reaper *next = r->next;
        (void)pthread_join(r->thread, NULL);
        weft_memory_release(&n->allocator, r, sizeof *r, WEFT_MEMORY_HOST);
        r = next;
    }
    if (n->stream != NULL) {
        (void)cudaFreeAsync(n->greeting, n->stream);
        (void)cudaStreamSynchronize(n->stream);
        (void)cudaStreamDestroy(n->stream);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        if (n->slots[i].event != NULL) {
            (void)cudaEventDestroy(n->slots[i].event);
        }
    }
    weft_cuda_leave(n->device, before);
    weft_memory_release(&n->allocator, n, sizeof *n, WEFT_MEMORY_HOST);
}

static weft_status open_streams(weft_nccl *n)
{
    cudaError_t error = cudaStreamCreateWithFlags(&n->stream, cudaStreamNonBlocking);
    for (size_t i = 0; error == cudaSuccess && i < SLOTS; i++) {
        error = cudaEventCreateWithFlags(&n->slots[i].event, cudaEventDisableTiming);
    }
    return check_cuda(n, error, "opening the transport") ? WEFT_OK : WEFT_E_DEVICE_FAILED;
}

static const weft_transport FACE = {.name = "nccl",
                                    .invite = invite,
                                    .join = join,
                                    .group = group_number,
                                    .begin = begin,
                                    .poll = poll,
                                    .cancel = cancel,
                                    .destroy = destroy};

weft_status weft_transport_nccl_create(const weft_transport **transport,
                                       const weft_nccl_config *config)
{
    if (transport == NULL || config == NULL || config->size != sizeof *config ||
        config->device == NULL || strcmp(config->device->name, "cuda") != 0) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    const weft_nccl_library *nccl = weft_nccl_library_get();
    if (nccl == NULL) {
        return WEFT_E_NO_TRANSPORT;
    }
    weft_allocator allocator = weft_allocator_default();
    weft_nccl *n = weft_memory_allocate(&allocator, sizeof *n, WEFT_MEMORY_HOST);
    if (n == NULL) {
        return WEFT_E_OUT_OF_MEMORY;
    }
    *n = (weft_nccl){
        .face = FACE, .allocator = allocator, .device = config->device->context, .nccl = nccl};
    n->face.context = n;
    n->face.text = n->text;
    int before = weft_cuda_enter(n->device);
    weft_status status = open_streams(n);
    weft_cuda_leave(n->device, before);
    if (status != WEFT_OK) {
        destroy(&n->face);
        return status;
    }
    *transport = &n->face;
    return WEFT_OK;
}
