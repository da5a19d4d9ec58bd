/* weft: weight updates that happen everywhere or nowhere.
 *
 * A trainer changes about one percent of a model in each step of reinforcement learning, and its
 * inference workers must follow. weft moves such a change as one session: every worker ends with
 * exactly the new weights or exactly the old ones, knows which, and is back at idle within a
 * bounded time, whatever failed.
 *
 *      trainer                          worker (one of many)
 *      ───────                          ────────────────────
 *      diff: what changed?
 *      START  ───────────────────────▶  epoch new? base held?
 *      UPDATE + document ────────────▶  valid against the model? staging reserved?
 *      payload ══════════════════════▶  digest, bounds, order; old values into the undo log
 *      APPLY  ───────────────────────▶  pause inference, write
 *      COMMIT ───────────────────────▶  drop the undo log, resume: the new version serves
 *
 * A fault anywhere before COMMIT takes every worker back to the bit, and to idle; the next session
 * succeeds in the same process. Messages, states and errors are data: spec/protocol.md,
 * spec/session.yaml, spec/errors.yaml.
 *
 * How to read this header:
 *
 *      1 words    2 memory    3 model    4 device and transport    5 worker    6 trainer
 *      7 sans-IO  8 driver    9 files
 *
 * A serving process needs 3, 5 and 8; a trainer 3, 6 and 8.
 *
 * Rules that hold for every function here:
 *
 *   - It returns WEFT_OK (0) or a negative weft_status; results go through pointers, and are
 *     written only on success. WEFT_AGAIN (1) means: not yet. "Returns:" lists every code that a
 *     function gives, without its WEFT_E_; INVALID_ARGUMENT for a null handle or pointer is not
 *     repeated there. Getters without a status give nothing, 0 or NULL for a null handle.
 *   - A usage error changes nothing. What a fault leaves is said at the call; weft_worker_detail
 *     and weft_trainer_detail say what it was.
 *   - A handle and what hangs on it (model, links) belongs to one thread at a time; different
 *     handles are independent.
 *   - Nothing blocks unless its name says wait, except the files of section 9.
 *   - Bits are moved and compared, never values: NaN payloads, −0 and denormals survive.
 */
#ifndef WEFT_H
#define WEFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft_errors.h" /* enum weft_status: generated from spec/errors.yaml */
#include "weft_states.h" /* enum weft_state, enum weft_event: generated from spec/session.yaml */

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_VERSION_MAJOR 0
#define WEFT_VERSION_MINOR 1
#define WEFT_VERSION_PATCH 0

#if defined(__GNUC__)
#define WEFT_API __attribute__((visibility("default")))
#else
#define WEFT_API
#endif

/* ---- 1. Words ---------------------------------------------------------------------------- */

/* Limits that no configuration moves. spec/metadata.md and SECURITY.md say what each guards
 * against. */
#define WEFT_NAME_MAX     512u                 /* bytes of a tensor's name, without its NUL */
#define WEFT_RANK_MAX     8u                   /* dimensions of a tensor */
#define WEFT_TENSORS_MAX  (1u << 20)           /* tensors of a model, and of a document */
#define WEFT_DOCUMENT_MAX (UINT64_C(64) << 20) /* bytes of a document */
#define WEFT_DEPTH_MAX    8u                   /* nesting of a document */
#define WEFT_UPDATES_MAX  65536u               /* updates of a session */
#ifndef WEFT_WORKERS_MAX                       /* a build of the library may lower it */
#define WEFT_WORKERS_MAX  4096u                /* workers of a trainer */
#endif
#define WEFT_LINKS_MAX    16u                  /* trainers that may be connected to one worker */
#define WEFT_TEXT_MAX     400u                 /* bytes of an error's sentence */

/* Element types: torch's name, safetensors' name, bytes. The numbers are weft's own. */
typedef enum weft_dtype {
    WEFT_BF16 = 1, /* bfloat16       BF16     2 */
    WEFT_F16,      /* float16        F16      2 */
    WEFT_F32,      /* float32        F32      4 */
    WEFT_F64,      /* float64        F64      8 */
    WEFT_F8_E4M3,  /* float8_e4m3fn  F8_E4M3  1 */
    WEFT_F8_E5M2,  /* float8_e5m2    F8_E5M2  1 */
    WEFT_I8,       /* int8           I8       1 */
    WEFT_U8,       /* uint8          U8       1 */
    WEFT_I16,      /* int16          I16      2 */
    WEFT_I32,      /* int32          I32      4 */
    WEFT_I64,      /* int64          I64      8 */
    WEFT_BOOL      /* bool           BOOL     1 */
} weft_dtype;

/* Bytes of one element; 0 for a number that is no dtype. */
WEFT_API uint32_t weft_dtype_bytes(weft_dtype dtype);
/* torch's name after the last dot, for instance "bfloat16"; "?" for a number that is no dtype. */
WEFT_API const char *weft_dtype_name(weft_dtype dtype);

typedef enum weft_kind {
    WEFT_SPARSE = 1,  /* only changed elements: flat indices and new values; needs the exact base */
    WEFT_BASELINE = 2 /* every element; needs no base; the only way out of torn */
} weft_kind;

typedef enum weft_condition {
    WEFT_INTACT = 0, /* holds exactly one version */
    WEFT_TORN,       /* a streamed baseline was interrupted: only a baseline mends it */
    WEFT_LOST        /* the device context died or a roll-back failed: only a restart mends it */
} weft_condition;

/* How an epoch ended. */
typedef enum weft_outcome {
    WEFT_OUTCOME_NONE = 0,    /* there was none yet */
    WEFT_OUTCOME_COMMITTED,   /* the new version serves */
    WEFT_OUTCOME_ABORTED,     /* the old version serves, and nobody committed */
    WEFT_OUTCOME_UNCONFIRMED, /* the old version serves here; somebody else may have committed */
    WEFT_OUTCOME_UNDECIDED,   /* the session still runs; for a push: nobody could tell yet */
    WEFT_OUTCOME_IN_DOUBT     /* it still runs, its trainer is gone, and the worker asks its peers */
} weft_outcome;

/* What a status means. All strings are static, English, without a final full stop. */
WEFT_API const char *weft_status_name(weft_status status);  /* "WEFT_E_BUSY"; "?" if unknown */
WEFT_API const char *weft_status_group(weft_status status); /* "base"; "ok" for 0 and AGAIN */
WEFT_API const char *weft_status_text(weft_status status);  /* what is wrong, one sentence */
WEFT_API const char *weft_status_mend(weft_status status);  /* what to do; "" for WEFT_OK */

/* "?" for a number that is none. */
WEFT_API const char *weft_state_name(weft_state state);
WEFT_API const char *weft_event_name(weft_event event);
WEFT_API const char *weft_condition_name(weft_condition condition);
WEFT_API const char *weft_outcome_name(weft_outcome outcome);

/* What is known about the last fault or refusal of a handle. */
typedef struct weft_detail {
    weft_status status;
    weft_state state;               /* the session's state in which it was found */
    uint64_t epoch;                 /* of the session or of the refused message; 0 if none */
    uint32_t line, column;          /* of the document, from 1, in bytes; 0 if not about one */
    char tensor[WEFT_NAME_MAX + 1]; /* the tensor it is about; "" if none */
    char text[WEFT_TEXT_MAX + 1];   /* one sentence: what was expected, what was found, where */
} weft_detail;

/* ---- 2. Memory --------------------------------------------------------------------------- */

typedef enum weft_memory {
    WEFT_MEMORY_HOST = 0,
    WEFT_MEMORY_DEVICE = 1,
    WEFT_MEMORY_PINNED = 2 /* host memory, page-locked, that the device reads and writes itself;
                              asked for only where a configuration says so */
} weft_memory;

/* Where staging, undo log, registries and bases come from, so that a serving stack can hand out
 * its own pool.
 * allocate: at least `bytes` (never 0), aligned to 64; NULL means that there is none, which is an
 *           error and never a crash.
 * release:  takes what allocate gave, with the same bytes and place.
 * Both are called on the thread that uses the handle. */
typedef struct weft_allocator {
    void *(*allocate)(void *context, size_t bytes, weft_memory where);
    void (*release)(void *context, void *pointer, size_t bytes, weft_memory where);
    void *context;
} weft_allocator;

/* The C library's: it has no device memory, and its PINNED is HOST. Used where a configuration
 * leaves allocate NULL. */
WEFT_API weft_allocator weft_allocator_default(void);

/* ---- 3. Model ---------------------------------------------------------------------------- */

/* The registry of one process's tensors. It holds names and shapes and borrows the data. */
typedef struct weft_model weft_model;

typedef struct weft_tensor {
    const char *name; /* UTF-8, 1 to WEFT_NAME_MAX bytes; weft copies it */
    weft_dtype dtype;
    uint32_t rank;                 /* 0 (one element) to WEFT_RANK_MAX */
    uint64_t shape[WEFT_RANK_MAX]; /* the full shape, row-major; a size of 0 is allowed */
    void *data; /* contiguous elements; borrowed, must outlive the model; may be unaligned */
} weft_tensor;

/* allocator: NULL for the default. Returns: OUT_OF_MEMORY. */
WEFT_API weft_status weft_model_create(weft_model **model, const weft_allocator *allocator);
/* NULL is allowed. Destroy workers and trainers of the model first. */
WEFT_API void weft_model_destroy(weft_model *model);
/* Adds a tensor; its number is the count before the call. Average O(1).
 * Returns: INVALID_ARGUMENT (name, dtype, rank, data), SIZE_OVERFLOW, DUPLICATE_TENSOR,
 * MODEL_IN_USE, LIMIT, OUT_OF_MEMORY. */
WEFT_API weft_status weft_model_add(weft_model *model, const weft_tensor *tensor);
WEFT_API size_t weft_model_count(const weft_model *model);
/* The tensor of this number, or NULL. Its name is the model's copy; valid as long as the model.
 * O(1). */
WEFT_API const weft_tensor *weft_model_tensor(const weft_model *model, size_t number);
/* Finds by name (length bytes, no NUL needed), average O(1). Returns: UNKNOWN_TENSOR_NAME. */
WEFT_API weft_status weft_model_find(const weft_model *model, const char *name, size_t length,
                                     size_t *number);
/* Elements of the tensor of this number; 0 if there is none. */
WEFT_API uint64_t weft_model_elements(const weft_model *model, size_t number);
/* Sum over the tensors of a hash of name, dtype and shape: independent of their order. Two models
 * that can exchange updates have the same. */
WEFT_API uint64_t weft_model_fingerprint(const weft_model *model);

/* ---- 4. Device and transport ------------------------------------------------------------- */

/* Where the weights live and who checks, writes and digests them. */
typedef struct weft_device weft_device;

/* Plain C on the calling thread; the reference for every other device. Static, needs no release. */
WEFT_API const weft_device *weft_device_host(void);

/* An NVIDIA GPU. Tensors, staging and undo log live in its memory; one launch of a kernel applies
 * an update to all tensors. Tensor data must be aligned to its elements. */
typedef struct weft_cuda_config {
    size_t size;      /* sizeof(weft_cuda_config): INIT sets it */
    int number;       /* of the device, as cudaSetDevice takes it; -1: the thread's current one */
    void *put_stream; /* cudaStream_t in which inference runs: what was enqueued there before sees
                         the old weights, what is enqueued after it the new ones, and no thread
                         waits. NULL: a stream of weft's own */
    uint64_t keep_bytes; /* of device memory that a session gave back: so much stays with weft for
                            the next one (mapping memory anew takes 1.7 ms for 650 MB); 0: none */
} weft_cuda_config;

#define WEFT_CUDA_CONFIG_INIT                                                                      \
    {                                                                                              \
        .size = sizeof(weft_cuda_config), .number = -1, .keep_bytes = UINT64_C(1) << 30            \
    }

/* Every entry point of weft restores the thread's current device. Without an allocator of the
 * user's, device memory comes from a pool of its own (cudaMallocFromPoolAsync), and pinned memory
 * from cudaHostAlloc. Profilers see NVTX ranges in the domain "weft": "weft worker receiving" and
 * so on for each state, "weft trainer diff", "weft pause".
 * Returns: INVALID_ARGUMENT, NO_DEVICE (this build or this machine has none), OUT_OF_MEMORY,
 * DEVICE_FAILED. */
WEFT_API weft_status weft_device_cuda_create(const weft_device **device,
                                             const weft_cuda_config *config);
/* Destroy its workers and trainers first. NULL and the host device are allowed. */
WEFT_API void weft_device_destroy(const weft_device *device);
/* The last failure of CUDA in words, or "". Valid until the next call that uses the device. */
WEFT_API const char *weft_device_text(const weft_device *device);

/* How a payload travels. Without one it stands in frames of the control connection ("tcp"). */
typedef struct weft_transport weft_transport;

/* NCCL: the payload is broadcast from the trainer's device memory straight into the staging of
 * every worker, in a few large pieces. Only control messages, of a few hundred bytes, use the
 * control connection; sizes, dtypes and counts are agreed there before any rank enters a
 * collective. The communicator is non-blocking, is made when a payload first moves, and is kept
 * from session to session as long as the group stays the same. Every wait has the session's
 * deadline; then the communicator is aborted (on a thread of its own, for that takes NCCL up to a
 * second), and the next session makes a new one in the same process. NCCL is loaded when the
 * transport is created: the libnccl.so.2 that the process has already, else the one that the
 * loader finds, or the file that WEFT_NCCL_LIBRARY names. What must be the same on all ranks
 * (NCCL_CUMEM_ENABLE, say) is NCCL's own environment, which weft does not touch. */
typedef struct weft_nccl_config {
    size_t size;               /* sizeof(weft_nccl_config): INIT sets it */
    const weft_device *device; /* of weft_device_cuda_create; borrowed */
} weft_nccl_config;

#define WEFT_NCCL_CONFIG_INIT                                                                      \
    {                                                                                              \
        .size = sizeof(weft_nccl_config)                                                           \
    }

/* For one worker or one trainer, or by itself. Returns: INVALID_ARGUMENT, NO_TRANSPORT (this build
 * or this machine has no NCCL), OUT_OF_MEMORY, DEVICE_FAILED. */
WEFT_API weft_status weft_transport_nccl_create(const weft_transport **transport,
                                                const weft_nccl_config *config);
/* Destroy its worker or trainer first, and its device after it. Waits for communicators that are
 * being aborted. NULL is allowed. */
WEFT_API void weft_transport_destroy(const weft_transport *transport);
/* The last failure in words, with NCCL's text, or "". Valid until the next call that uses the
 * transport. */
WEFT_API const char *weft_transport_text(const weft_transport *transport);

/* vLLM's rendezvous, for sessions that a control plane of the process's own drives (section 5) and
 * for receivers that are not weft's (section 6): every rank joins with the same unique id, at the
 * same time, and a one-element all-reduce follows. Begins, and does not wait: weft_transport_poll.
 * A weft trainer's START, which names a group of its own, takes the transport out of this one.
 * unique_id: nccl_unique_id_b64, the base64 of the 128 bytes of an ncclUniqueId.
 * Returns: INVALID_ARGUMENT (unique_id; rank is not below ranks; ranks < 2), WRONG_STATE (something
 * moves), COLLECTIVE. */
WEFT_API weft_status weft_transport_join(const weft_transport *transport, const char *unique_id,
                                         uint32_t rank, uint32_t ranks);
/* Returns: WEFT_AGAIN while it connects; WEFT_OK: all ranks are there; COLLECTIVE: it failed, or
 * was left. Who waits too long calls weft_transport_leave. */
WEFT_API weft_status weft_transport_poll(const weft_transport *transport);
/* Gives the group up, whatever moves; after it poll until something else than WEFT_AGAIN comes. Not
 * while a session of its worker or trainer moves something: abort that. */
WEFT_API void weft_transport_leave(const weft_transport *transport);
/* A unique id for weft_transport_join, for rank 0 to hand out; NUL-terminated.
 * Returns: COLLECTIVE. */
#define WEFT_UNIQUE_ID_MAX 172u /* characters */
WEFT_API weft_status weft_transport_unique_id(const weft_transport *transport,
                                              char unique_id[WEFT_UNIQUE_ID_MAX + 1]);

/* Digest of the whole content, every element read once. Formula and strength: spec/protocol.md,
 * "Model digest". Digests of the parts of a model add up to that of the whole.
 * Returns: DEVICE_FAILED. */
WEFT_API weft_status weft_model_digest(const weft_model *model, const weft_device *device,
                                       uint64_t *digest);

/* ---- 5. Worker --------------------------------------------------------------------------- */

/* A worker holds one model and takes part in sessions. */
typedef struct weft_worker weft_worker;

/* What happened: one record for each transition, for each frame sent, received and dropped (PING
 * and PONG leave none), and for each link that ended. They are what a log or a model checker reads
 * (tla/README.md): first what came, then the transitions that it caused, then what was sent. */
typedef enum weft_trace_kind {
    WEFT_TRACE_TRANSITION = 1,
    WEFT_TRACE_SENT,
    WEFT_TRACE_RECEIVED,
    WEFT_TRACE_DROPPED, /* after its RECEIVED: the frame is of an epoch that is over */
    WEFT_TRACE_LOST     /* the link, and whatever was on its way */
} weft_trace_kind;

/* What a record's kind and message do not name is 0, and link is UINT32_MAX. */
typedef struct weft_trace {
    weft_trace_kind kind;
    uint64_t now_ns;
    uint64_t epoch;      /* of the session or the frame; HELLO: the highest one seen; LOST: 0 */
    weft_state from, to; /* TRANSITION; otherwise both are the present state */
    weft_event event;    /* TRANSITION */
    uint8_t message;     /* of a frame: number in spec/frames.yaml */
    uint32_t link;       /* of a frame, and LOST */
    weft_status status;  /* cause of a fault, an ABORT and a FAILED; reason of a drop and a loss */
    weft_kind session;   /* START */
    uint32_t update;     /* UPDATE, DOCUMENT, PAYLOAD, READY, STAGED: its number; START: how many */
    uint64_t version, digest; /* START, ASK: that it leads to; HELLO, COMMITTED, ABORTED, FAILED:
                                 held */
    uint64_t offset, length;  /* PEERS, DOCUMENT, PAYLOAD: where the piece belongs; UPDATE: bytes of
                                 the document and of the payload; START: 0 and of the addresses */
} weft_trace;

/* Called on the thread that drives the handle. They must not call weft on the same handle, except
 * getters; what their pointers point to is valid during the call only. Any may be NULL. */
typedef struct weft_hooks {
    void *context;
    void (*pause)(void *context, uint64_t epoch);  /* inference stands still on its return ... */
    void (*resume)(void *context, uint64_t epoch); /* ... until this */
    /* Before resume: drop caches that depend on weights. */
    void (*committed)(void *context, uint64_t version, uint64_t digest);
    /* Idle again, and what the cause was. */
    void (*failed)(void *context, const weft_detail *detail);
    void (*trace)(void *context, const weft_trace *record);
} weft_hooks;

typedef enum weft_baseline_policy {
    WEFT_BASELINE_AUTO = 0, /* staged whole if that fits the budget, otherwise streamed */
    WEFT_BASELINE_STAGED,   /* staged whole, as atomic as a sparse session; or OVER_BUDGET */
    WEFT_BASELINE_STREAMED  /* written as it arrives, paused from the first byte; torn if cut off */
} weft_baseline_policy;

typedef struct weft_worker_config {
    size_t size;               /* sizeof(weft_worker_config): INIT sets it */
    const char *name;          /* in HELLO and in the trainer's messages; copied */
    weft_model *model;         /* borrowed; its registry is frozen as long as the worker lives */
    const weft_device *device; /* NULL: weft_device_host() */
    const weft_transport *transport; /* that START may name beside tcp; borrowed; NULL: none */
    weft_allocator allocator;
    uint64_t version;      /* of what the model holds now */
    uint64_t budget_bytes; /* staging, undo log, document and tables of one session */
    uint32_t timeout_ms;   /* longest time in any state but idle; START may ask for less */
    uint32_t keepalive_ms; /* a PING after so much silence; lost after three times as much */
    weft_baseline_policy baseline;
    weft_hooks hooks;
} weft_worker_config;

#define WEFT_WORKER_CONFIG_INIT                                                                    \
    {                                                                                              \
        .size = sizeof(weft_worker_config), .name = "worker", .budget_bytes = UINT64_C(4) << 30,   \
        .timeout_ms = 60000, .keepalive_ms = 5000                                                  \
    }

/* Computes the digest of the whole model once (reads every element).
 * Returns: INVALID_ARGUMENT (size, model, name, half an allocator, a time or budget of 0),
 * OUT_OF_MEMORY, DEVICE_FAILED. */
WEFT_API weft_status weft_worker_create(weft_worker **worker, const weft_worker_config *config);
/* Rolls a running session back and frees everything; on a GPU it waits for that, at most
 * timeout_ms. NULL is allowed. */
WEFT_API void weft_worker_destroy(weft_worker *worker);

typedef struct weft_worker_info {
    weft_state state;
    weft_condition condition;
    uint64_t version, digest; /* what is held; 0 while torn or lost */
    uint64_t epoch;           /* of the running session; 0 when idle */
    uint64_t last_epoch;      /* highest epoch seen */
    weft_outcome last_outcome;
    uint64_t sessions_committed, sessions_failed;
    uint64_t stale_frames;       /* frames of an epoch that was over, dropped */
    uint64_t session_bytes;      /* memory that the running session holds */
    uint64_t session_bytes_peak; /* most that any session held */
    uint64_t pause_ns;           /* last pause of inference, in the time that tick passed */
    uint64_t changed;            /* elements written by the last session that committed */
} weft_worker_info;
WEFT_API void weft_worker_get_info(const weft_worker *worker, weft_worker_info *info);
/* The last fault or refusal; status WEFT_OK if there was none. Valid until the next call on this
 * worker. */
WEFT_API const weft_detail *weft_worker_detail(const weft_worker *worker);

/* Drive a worker from a control plane of your own (an HTTP or RPC stack), instead of a weft
 * trainer. Same session, same table: start, update (one or more), finish. Several updates are
 * atomic together: nothing is written before finish (except by a streamed baseline), finish writes
 * and commits, and a call that fails has rolled back and returned to idle before it returns. A
 * tensor belongs to at most one update of a session. A session of this kind excludes trainers, and
 * the other way round: BUSY. Its deadlines count from the first weft_worker_tick after a call. */
typedef struct weft_session {
    size_t size; /* sizeof(weft_session): INIT sets it */
    weft_kind kind;
    uint64_t epoch;          /* above every epoch seen, or 0: the next */
    uint64_t target_version; /* what the new content is called; may repeat */
    bool check_base;         /* sparse: compare the next two with what is held */
    uint64_t base_version, base_digest;
    bool check_target;      /* before anything is written, compare the content that would be ... */
    uint64_t target_digest; /* ... with this */
    uint32_t timeout_ms;    /* 0: the worker's own */
    bool receives;          /* payloads come by the worker's transport, and are announced by
                               weft_worker_update_receive in place of weft_worker_update */
} weft_session;

#define WEFT_SESSION_INIT                                                                          \
    {                                                                                              \
        .size = sizeof(weft_session), .kind = WEFT_SPARSE                                          \
    }

/* Returns: WRONG_STATE, BUSY, STALE_EPOCH, BASE_MISMATCH, TORN, LOST, TRANSPORT (receives, and the
 * worker has none), INVALID_ARGUMENT. After any of them nothing has changed. */
WEFT_API weft_status weft_worker_start(weft_worker *worker, const weft_session *session);
/* document: any form of spec/metadata.md. payload: host memory in the layout of spec/metadata.md,
 * "Payload": the indices of all patches, then the values of all patches. Both are read during the
 * call only.
 * Returns: WRONG_STATE and INVALID_ARGUMENT (nothing has changed); every META_*, INDEX_*,
 * OVER_BUDGET, OUT_OF_MEMORY, SIZE_OVERFLOW, LIMIT, DEVICE_FAILED (rolled back, idle); WEFT_AGAIN
 * (see weft_worker_poll). */
WEFT_API weft_status weft_worker_update(weft_worker *worker, const char *document,
                                        size_t document_length, const void *payload,
                                        size_t payload_length);
/* As weft_worker_update, but the payload is broadcast by rank 0 of the group of
 * weft_transport_join, in vLLM's order: for each tensor of the document its indices (int32), then
 * its values, each in a broadcast of its own. It is staged, checked and kept back like any other.
 * Always begins with WEFT_AGAIN (see weft_worker_poll), and needs weft_worker_tick for its
 * deadline; after a fault the group is gone, and a new one must be joined.
 * Returns: as weft_worker_update, and COLLECTIVE. */
WEFT_API weft_status weft_worker_update_receive(weft_worker *worker, const char *document,
                                                size_t document_length);
/* Writes, checks and commits.
 * Returns: WRONG_STATE (nothing has changed); DIGEST_MISMATCH, BASELINE_INCOMPLETE, DEVICE_FAILED
 * (rolled back, idle; condition says if even that failed); WEFT_AGAIN (see weft_worker_poll). */
WEFT_API weft_status weft_worker_finish(weft_worker *worker);
/* On a GPU update and finish may return WEFT_AGAIN: they have begun, and the device still checks or
 * writes. Then call this until it returns something else, which is the answer of that call; until
 * then update and finish are WRONG_STATE. On the host it is never needed.
 * Returns: WEFT_AGAIN; WEFT_OK; what update and finish return. */
WEFT_API weft_status weft_worker_poll(weft_worker *worker);
/* Back to the base and to idle. Returns: WRONG_STATE if no session of this control plane runs. */
WEFT_API weft_status weft_worker_abort(weft_worker *worker);

/* ---- 6. Trainer -------------------------------------------------------------------------- */

/* A trainer holds the current weights and the base, which is what its workers hold, and brings the
 * one to the other. */
typedef struct weft_trainer weft_trainer;

typedef struct weft_trainer_config {
    size_t size; /* sizeof(weft_trainer_config): INIT sets it */
    const char *name;
    weft_model *model; /* the current weights; borrowed; registry frozen; read during a push only */
    weft_model *base;  /* what workers hold: same tensors in the same order; borrowed, written on
                          commit. NULL: weft keeps a copy of the model's present content */
    bool pinned_base; /* the copy lies in page-locked host memory (WEFT_MEMORY_PINNED): for trainers
                          short of device memory. The diff then reads it at the speed of the bus */
    uint64_t base_version;
    const weft_device *device;       /* NULL: weft_device_host() */
    const weft_transport *transport; /* of payloads; borrowed; NULL: the control connection */
    weft_allocator allocator;
    uint64_t budget_bytes; /* diff and payload of one push */
    uint64_t update_bytes; /* cut a session into updates of about so much payload; 0: do not */
    uint32_t timeout_ms;   /* longest wait for an answer, and longest time in a worker's state */
    uint32_t keepalive_ms; /* as in weft_worker_config */
    weft_hooks hooks;      /* committed, failed, trace */
} weft_trainer_config;

#define WEFT_TRAINER_CONFIG_INIT                                                                   \
    {                                                                                              \
        .size = sizeof(weft_trainer_config), .name = "trainer", .budget_bytes = UINT64_C(4) << 30, \
        .timeout_ms = 60000, .keepalive_ms = 5000                                                  \
    }

/* Computes the digest of the base once.
 * Returns: INVALID_ARGUMENT (as weft_worker_create; pinned_base with a base of the user's),
 * MODEL_MISMATCH (model and base), OUT_OF_MEMORY, SIZE_OVERFLOW, DEVICE_FAILED. */
WEFT_API weft_status weft_trainer_create(weft_trainer **trainer, const weft_trainer_config *config);
WEFT_API void weft_trainer_destroy(weft_trainer *trainer); /* NULL is allowed */

typedef struct weft_push { /* what a push did */
    weft_status status;    /* as weft_trainer_result returned it */
    weft_outcome outcome;  /* COMMITTED: the base is the new version */
    uint64_t epoch, version, digest;
    uint64_t elements, changed;  /* of the model; of the update */
    uint64_t payload_bytes;      /* for each worker */
    uint64_t document_bytes;     /* for each worker */
    uint32_t updates;            /* that the session was cut into */
    uint32_t workers, committed; /* that took part; that confirmed the commit */
    uint64_t diff_ns;            /* by weft_net_push_wait: diff and plan; otherwise 0 */
    uint64_t session_ns;         /* from START to the last answer, in the time of tick */
} weft_push;

/* Begins a session with every worker that has said HELLO: diff (for WEFT_SPARSE), then the phases.
 * Nothing of the current weights may be written until weft_trainer_result stops saying WEFT_AGAIN.
 * An update without changes is a session too.
 * Returns: WRONG_STATE (a push runs), NO_WORKERS, MODEL_MISMATCH (a worker's fingerprint differs),
 * INVALID_ARGUMENT, OVER_BUDGET, OUT_OF_MEMORY, SIZE_OVERFLOW, LIMIT, DEVICE_FAILED, COLLECTIVE.
 * After any of them nothing has changed. */
WEFT_API weft_status weft_trainer_push(weft_trainer *trainer, weft_kind kind, uint64_t version);
/* How the last push stands; push may be NULL.
 * Returns: WEFT_AGAIN while it runs; WEFT_OK: committed everywhere; UNCONFIRMED: committed, but a
 * worker was lost before it could confirm; IN_DOUBT: every link was lost after the decision, and
 * the next HELLO tells (of a baseline: as long as the current weights are what was pushed);
 * WRONG_STATE: there was no push yet; anything else: rolled back everywhere, and the base is what
 * it was (PEER_FAILED, LINK_CLOSED, LINK_SILENT, SYSTEM_CALL, CANCELLED, DEADLINE, COLLECTIVE,
 * DIGEST_MISMATCH, FRAME_*, UNEXPECTED_MESSAGE, PROTOCOL_VERSION, LINK_OVERFLOW, ABORTED). */
WEFT_API weft_status weft_trainer_result(const weft_trainer *trainer, weft_push *push);
/* Ends the running push: everybody back to the base. Returns: WRONG_STATE if none runs or it is
 * decided already. */
WEFT_API weft_status weft_trainer_abort(weft_trainer *trainer);

/* A push to receivers that are not weft's: they speak vLLM's order on the wire (reference: vLLM's
 * sparse_nccl and nccl weight transfer), and their control plane is the caller's business. They
 * give no answer, so this is no session: nobody but the caller can say whether they hold the
 * update.
 *
 *      weft_transport_join(transport, id, 0, ranks), while they get init_info
 *      weft_trainer_vllm_plan(trainer, kind, version, &update_info, &length)
 *      POST /update_weights {"update_info": ...}
 *      weft_trainer_vllm_send(trainer), then weft_trainer_vllm_poll until it is over
 *      POST /finish_weight_update
 *      weft_trainer_vllm_end(trainer, true): the base advances; or false, and it is what it was
 *
 * plan: diff. *update_info is JSON, the trainer's, until end; NULL and 0 if nothing changed. vLLM's
 * indices are int32: a tensor of 2^31 elements or more that changed is LIMIT.
 * Returns: WRONG_STATE (a push runs), TRANSPORT (the trainer has none), LIMIT, OVER_BUDGET,
 * OUT_OF_MEMORY, SIZE_OVERFLOW, DEVICE_FAILED, INVALID_ARGUMENT. After any of them nothing has
 * changed. */
WEFT_API weft_status weft_trainer_vllm_plan(weft_trainer *trainer, weft_kind kind, uint64_t version,
                                            const char **update_info, size_t *length);
/* Begins to broadcast. Returns: WRONG_STATE, COLLECTIVE. */
WEFT_API weft_status weft_trainer_vllm_send(weft_trainer *trainer);
/* Returns: WEFT_AGAIN; WEFT_OK: all is sent; COLLECTIVE; WRONG_STATE: nothing was sent. Who waits
 * too long calls weft_trainer_vllm_end. */
WEFT_API weft_status weft_trainer_vllm_poll(weft_trainer *trainer);
/* Ends it. What still moves is cancelled, and with it the group; that waits, at most timeout_ms.
 * Returns: WRONG_STATE (there was no plan; or kept, and not all of it was sent), DEVICE_FAILED. */
WEFT_API weft_status weft_trainer_vllm_end(weft_trainer *trainer, bool kept);

typedef struct weft_trainer_info {
    weft_state state;
    uint64_t base_version, base_digest;
    uint64_t epoch;          /* highest epoch used or heard of */
    uint32_t links, workers; /* connected; connected and past HELLO */
    uint64_t session_bytes;  /* memory that the running push holds */
} weft_trainer_info;
WEFT_API void weft_trainer_get_info(const weft_trainer *trainer, weft_trainer_info *info);
WEFT_API const weft_detail *weft_trainer_detail(const weft_trainer *trainer); /* as the worker's */

typedef struct weft_trainer_worker_info { /* what was last heard from the worker on a link */
    uint32_t link;
    bool open, known; /* the link is open; HELLO came and the model matches */
    const char *name; /* valid until the slot is reused */
    weft_condition condition;
    uint64_t version, digest;
    uint64_t last_epoch;
    weft_outcome last_outcome;
    weft_status status; /* the code of its last FAILED, or why its link ended */
    const char *text;   /* its sentence, "" if none */
} weft_trainer_worker_info;
/* index: from 0; slots of closed links keep the last word until they are reused.
 * Returns: UNKNOWN_LINK past the last slot ever used. */
WEFT_API weft_status weft_trainer_worker(const weft_trainer *trainer, uint32_t index,
                                         weft_trainer_worker_info *info);

/* ---- 7. Sans-IO: bytes in, bytes out, time in -------------------------------------------- */

/* For those who own their sockets and loop; section 8 does this with libuv. Worker and trainer are
 * alike: a link is one ordered connection to one peer; tell when it opens and closes, feed what
 * arrives, send what is asked, pass the time.
 *
 *      weft_worker_tick(w, now)             first in each turn, and at weft_worker_next_ns
 *      weft_worker_link_open(w, &link)      a connection was accepted
 *      weft_worker_receive(w, link, bytes, length)
 *      while (weft_worker_send(w, link, spans) > 0)
 *          weft_worker_sent(w, link, writev(...))
 *      weft_worker_link_close(w, link, WEFT_E_LINK_CLOSED)
 */
typedef struct weft_span {
    const void *data;
    size_t length;
} weft_span;
#define WEFT_SPANS_MAX 2

/* Returns: TOO_MANY_LINKS, OUT_OF_MEMORY. */
WEFT_API weft_status weft_worker_link_open(weft_worker *worker, uint32_t *link);
/* The connection is gone; status says why (LINK_CLOSED, SYSTEM_CALL ...). A session that it carried
 * rolls back before this returns. Returns: UNKNOWN_LINK. */
WEFT_API weft_status weft_worker_link_close(weft_worker *worker, uint32_t link, weft_status status);
/* Takes all bytes. A negative answer says that the link is broken or refused: send what
 * weft_worker_send still has, then close the connection and call weft_worker_link_close. The
 * session's own faults are no answer of this call.
 * Returns: UNKNOWN_LINK, FRAME_MALFORMED, PROTOCOL_VERSION, LINK_OVERFLOW. */
WEFT_API weft_status weft_worker_receive(weft_worker *worker, uint32_t link, const void *bytes,
                                         size_t length);
/* Up to two spans that want to be sent, in order; valid until the next call on this worker. Returns
 * how many: 0 for nothing. */
WEFT_API size_t weft_worker_send(weft_worker *worker, uint32_t link,
                                 weft_span spans[WEFT_SPANS_MAX]);
/* The first length bytes of these were sent. */
WEFT_API void weft_worker_sent(weft_worker *worker, uint32_t link, size_t length);
/* Passes the time (monotonic nanoseconds, any origin): deadlines, keep-alive, device progress.
 * After it, weft_worker_link_status tells of links that fell silent. */
WEFT_API void weft_worker_tick(weft_worker *worker, uint64_t now_ns);
/* When the next tick is due at the latest; UINT64_MAX if nothing waits for time. */
WEFT_API uint64_t weft_worker_next_ns(const weft_worker *worker);
/* WEFT_OK for a healthy link; otherwise the driver must close it.
 * Returns: UNKNOWN_LINK, FRAME_MALFORMED, PROTOCOL_VERSION, LINK_OVERFLOW, LINK_SILENT. */
WEFT_API weft_status weft_worker_link_status(const weft_worker *worker, uint32_t link);

/* In doubt (spec/protocol.md), a worker asks the other workers of its session, whose addresses the
 * trainer has sent, how it ended. Call peer_wanted after each of the calls above until it is false:
 * it gives one that the worker wants to be connected to now; *address is valid until the next call.
 * Connect to it, open the link with peer_open, carry its bytes as any link's and close it when
 * weft_worker_link_status says so (CANCELLED: the worker is done with it). Where no connection can
 * be made, call peer_failed. Without these calls a worker in doubt waits for its deadline.
 * peer_open returns: INVALID_ARGUMENT, WRONG_STATE (it does not want this one any more: close the
 * connection), TOO_MANY_LINKS, OUT_OF_MEMORY. */
WEFT_API bool weft_worker_peer_wanted(weft_worker *worker, uint32_t *rank, const char **address);
WEFT_API weft_status weft_worker_peer_open(weft_worker *worker, uint32_t rank, uint32_t *link);
WEFT_API void weft_worker_peer_failed(weft_worker *worker, uint32_t rank);

/* The same for a trainer; weft_trainer_send hands out the payload without a copy, and
 * weft_trainer_receive and weft_trainer_link_status also give HELLO_MISSING and
 * UNEXPECTED_MESSAGE. */
WEFT_API weft_status weft_trainer_link_open(weft_trainer *trainer, uint32_t *link);
WEFT_API weft_status weft_trainer_link_close(weft_trainer *trainer, uint32_t link,
                                             weft_status status);
/* Where other workers reach the one on this link: they ask it when they are in doubt. A session has
 * that only if the addresses of all its workers are known. address: what the workers' driver can
 * connect to, at most WEFT_PEER_ADDRESS_MAX bytes, no line feed; copied.
 * Returns: UNKNOWN_LINK, INVALID_ARGUMENT. */
#define WEFT_PEER_ADDRESS_MAX 255u
WEFT_API weft_status weft_trainer_link_address(weft_trainer *trainer, uint32_t link,
                                               const char *address);
WEFT_API weft_status weft_trainer_receive(weft_trainer *trainer, uint32_t link, const void *bytes,
                                          size_t length);
WEFT_API size_t weft_trainer_send(weft_trainer *trainer, uint32_t link,
                                  weft_span spans[WEFT_SPANS_MAX]);
WEFT_API void weft_trainer_sent(weft_trainer *trainer, uint32_t link, size_t length);
WEFT_API void weft_trainer_tick(weft_trainer *trainer, uint64_t now_ns);
WEFT_API uint64_t weft_trainer_next_ns(const weft_trainer *trainer);
WEFT_API weft_status weft_trainer_link_status(const weft_trainer *trainer, uint32_t link);

/* ---- 8. Driver: libweft-net (libuv) ------------------------------------------------------ */

/* Sockets and timers for any number of workers and trainers of one thread; link with
 * -lweft-net. */
typedef struct weft_net weft_net;

WEFT_API weft_status weft_net_create(weft_net **net); /* Returns: OUT_OF_MEMORY, SYSTEM_CALL. */
/* Closes every connection. Destroy it before the workers and trainers that it drives. NULL is
 * allowed. */
WEFT_API void weft_net_destroy(weft_net *net);
/* Accepts trainers for a worker. address: "host:port" or "[ipv6]:port"; port 0 takes any free one,
 * *port tells which (port may be NULL). Returns: ADDRESS, LISTEN, OUT_OF_MEMORY. */
WEFT_API weft_status weft_net_listen(weft_net *net, weft_worker *worker, const char *address,
                                     uint16_t *port);
/* Connects a trainer to a worker, and again whenever the connection is lost, until
 * weft_net_disconnect. Returns: ADDRESS, OUT_OF_MEMORY. Whether it worked, weft_trainer_worker and
 * weft_net_workers_wait tell. */
WEFT_API weft_status weft_net_connect(weft_net *net, weft_trainer *trainer, const char *address);
/* Ends the connection to this address and does not renew it. A push that it carries fails with
 * CANCELLED. Returns: ADDRESS if there is none, WRONG_STATE within a hook. */
WEFT_API weft_status weft_net_disconnect(weft_net *net, weft_trainer *trainer, const char *address);
/* Does what is due and returns, without waiting: between two forward steps, say.
 * A link is lost at its other end when nobody polls here for three times its keepalive_ms.
 * Returns: WRONG_STATE within a hook. */
WEFT_API weft_status weft_net_poll(weft_net *net);
/* The same, but first waits up to timeout_ms (< 0: without end) for something to do.
 * Returns: WRONG_STATE within a hook. */
WEFT_API weft_status weft_net_poll_wait(weft_net *net, int timeout_ms);
/* A descriptor that is readable when weft_net_poll has something to do, for your own epoll; timers
 * are due in weft_net_next_ms milliseconds (-1: none). */
WEFT_API int weft_net_fd(const weft_net *net);
WEFT_API int weft_net_next_ms(const weft_net *net);
/* The last failure in words, with the system's text; "" if none. Valid until the next call. */
WEFT_API const char *weft_net_text(const weft_net *net);
WEFT_API uint64_t weft_net_now_ns(void); /* the monotonic clock that the driver passes in */
/* Waits until `workers` workers are connected and have said HELLO.
 * Returns: CONNECT when timeout_ms passed (text says who is missing and why), WRONG_STATE. */
WEFT_API weft_status weft_net_workers_wait(weft_net *net, weft_trainer *trainer, uint32_t workers,
                                           int timeout_ms);
/* weft_trainer_push, and weft_net_poll_wait until it is over; the deadlines bound it. First it
 * waits until every worker that weft_net_connect named is connected and has said HELLO, for at most
 * WEFT_NET_RECONNECT_MS: links may have been lost while the caller was busy, and a push without one
 * of them would leave two versions. push may be NULL.
 * Returns: CONNECT (text says who is missing; nothing was begun), WRONG_STATE within a hook, what
 * weft_trainer_push and weft_trainer_result return. */
#define WEFT_NET_RECONNECT_MS 5000u
WEFT_API weft_status weft_net_push_wait(weft_net *net, weft_trainer *trainer, weft_kind kind,
                                        uint64_t version, weft_push *push);

/* ---- 9. Files ---------------------------------------------------------------------------- */

/* A .safetensors file, mapped privately: its tensors can be written in memory, and the file on
 * disk does not change. Format: https://huggingface.co/docs/safetensors. */
typedef struct weft_file weft_file;

/* Maps a model file and checks every byte of its header. detail may be NULL.
 * Returns: FILE_OPEN, FILE_TRUNCATED, FILE_HEADER_SIZE, FILE_HEADER_SYNTAX, FILE_DTYPE, FILE_SHAPE,
 * FILE_OFFSETS, FILE_DUPLICATE_TENSOR, LIMIT, OUT_OF_MEMORY. */
WEFT_API weft_status weft_file_open(weft_file **file, const char *path,
                                    const weft_allocator *allocator, weft_detail *detail);
WEFT_API void weft_file_close(weft_file *file); /* NULL is allowed; after its models are gone */
/* Adds every tensor of the file to the model; the data stays the file's.
 * Returns: what weft_model_add returns. */
WEFT_API weft_status weft_file_add_to_model(const weft_file *file, weft_model *model);
/* The text of this key in the header's __metadata__, NUL-terminated, or NULL. Valid until
 * weft_file_close. */
WEFT_API const char *weft_file_metadata(const weft_file *file, const char *key);
/* Writes header and present content of the mapping to path: into a temporary file beside it,
 * synced, then renamed over it; the folder is synced too. Returns: FILE_WRITE, OUT_OF_MEMORY. */
WEFT_API weft_status weft_file_save(const weft_file *file, const char *path, weft_detail *detail);

#ifdef __cplusplus
}
#endif
#endif
