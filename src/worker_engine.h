/* A worker's engine: turns bytes and results into inputs of weft_worker_step and carries out its
 * actions on staging, device, transport and links. worker.c owns the life of a worker and its
 * actions, worker_link.c the sans-IO side, worker_transfer.c its part in collectives,
 * worker_doubt.c what it asks its peers, worker_local.c the calls that take the place of a trainer.
 */
#ifndef WEFT_SRC_WORKER_ENGINE_H
#define WEFT_SRC_WORKER_ENGINE_H

#include "link.h"
#include "protocol.h"
#include "staging.h"
#include "transport.h"
#include "weft.h"

typedef struct weft_document { /* of the update that is being received */
    char *bytes;
    uint64_t length, taken;
    uint64_t hash;
} weft_document;

typedef struct weft_worker_digest { /* of the payload that is being received */
    uint64_t begun; /* bytes from its start that stand in a digest that was submitted */
    uint64_t sum;   /* of those that are over */
    weft_device_result piece, last;
    bool piece_runs, last_runs;
} weft_worker_digest;

typedef struct weft_asked { /* another worker of the session */
    uint64_t due_ns;        /* under way: until then at most; otherwise its turn comes then */
    uint32_t at;            /* where its address begins in the list; an empty one is not known */
    uint32_t link;          /* that asks it, or WEFT_LINK_NONE while the driver connects */
    bool under_way;
} weft_asked;

typedef struct weft_peers { /* of the session; all zero if START named none */
    char *list;             /* an address and a line feed for each rank from 1 */
    weft_asked *asked;      /* by rank - 1 */
    uint32_t bytes, landed; /* of the list */
    uint32_t count;
    uint32_t under_way, next; /* being asked; where the next turn begins */
    bool asking;              /* in doubt */
} weft_peers;

struct weft_worker {
    weft_worker_core core;
    weft_worker_core before; /* as it was before the present step, for the words of an error */
    weft_staging staging;
    weft_document document;
    char *name;
    size_t name_bytes;
    weft_model *model;
    const weft_device *device;
    const weft_transport *transport; /* or NULL */
    weft_allocator allocator;
    weft_hooks hooks;
    weft_baseline_policy baseline;
    uint32_t keepalive_ms;
    uint64_t now_ns;
    uint64_t fingerprint;
    weft_link *links[WEFT_LINKS_MAX];
    uint32_t asks[WEFT_LINKS_MAX]; /* rank of the peer that is asked on this link; 0: a trainer's */
    weft_peers peers;
    /* what is under way */
    uint32_t taking;         /* link whose tail flows into document or payload, or WEFT_LINK_NONE */
    uint64_t payload_landed; /* bytes of the newest update's payload */
    uint8_t device_input;    /* weft_input_type that the device's completion gives; 0: the device is
                                not busy */
    weft_device_result result; /* of the device's operation */
    weft_worker_digest digest;
    weft_load load;
    bool moving;              /* the transport has begun, or it was cancelled and may still write */
    weft_input ready;         /* a result that has not been given to the core yet; type 0: none */
    weft_status local_status; /* what local control was answered last */
    bool local_finish;        /* it has said finish, and the device still writes */
    bool local_called;    /* it moved the session, and no tick has told since what time that was */
    bool detail_is_fresh; /* the present fault is described already */
    weft_detail detail;
    weft_detail fault;     /* why the present session failed */
    weft_worker_info info; /* counters; the rest is filled in by weft_worker_get_info */
    uint64_t pause_began_ns;
    uint64_t state_range, pause_range; /* weft_device_mark */
};

/* Gives an input to the core and carries out what follows, until nothing is ready any more. */
void weft_worker_drive(weft_worker *worker, const weft_input *input);
/* The connection is gone, or the session's control plane (WEFT_LINK_LOCAL). */
void weft_worker_lose_link(weft_worker *worker, uint32_t link, weft_status status);
/* A part of the tail that the core has let in. */
void weft_worker_take_tail(weft_worker *worker, const uint8_t *bytes, uint32_t length,
                           uint64_t offset);
/* Asks transport and device; what they have done becomes ready. */
void weft_worker_poll_work(weft_worker *worker);
/* One of them is busy, and wants to be asked again at once. */
bool weft_worker_is_busy(const weft_worker *worker);
void weft_worker_make_ready(weft_worker *worker, weft_input_type type, weft_status status);
/* Replays the undo log if anything was written; then UNDONE. */
void weft_worker_undo(weft_worker *worker);

/* ---- worker_transfer.c ---- */

/* START came: joins its group if the session begins. */
void weft_worker_on_start(weft_worker *worker, uint32_t link, const weft_message *start,
                          const char *text);
/* Takes part in the collective; then RECEIVED. */
void weft_worker_transfer(weft_worker *worker);
void weft_worker_cancel_transfer(weft_worker *worker);
void weft_worker_poll_transfer(weft_worker *worker);
/* Of the bytes that are in no digest yet. Returns: DEVICE_FAILED. */
weft_status weft_worker_begin_digest(weft_worker *worker);
/* After the device is done. Returns: PAYLOAD_DIGEST, described. */
weft_status weft_worker_check_digest(weft_worker *worker);
/* Gives what is ready to the core. */
void weft_worker_drive_ready(weft_worker *worker);
/* Opens a link to whom `peer` says. Returns: TOO_MANY_LINKS, OUT_OF_MEMORY. */
weft_status weft_worker_add_link(weft_worker *worker, weft_sender peer, uint32_t *link);

/* ---- worker_doubt.c ---- */

/* START came: memory for the addresses that it announces, if its session can begin. Returns:
 * OUT_OF_MEMORY, OVER_BUDGET, described. */
weft_status weft_worker_reserve_peers(weft_worker *worker, const weft_message *start);
/* Ends the asking, too. */
void weft_worker_release_peers(weft_worker *worker);
/* The tail that comes next is of the list. */
bool weft_worker_takes_peers(const weft_worker *worker);
void weft_worker_take_peers(weft_worker *worker, const uint8_t *bytes, uint32_t length,
                            uint64_t offset);
void weft_worker_ask(weft_worker *worker);
void weft_worker_on_peer_message(weft_worker *worker, uint32_t link, const weft_message *message);
/* Before its link goes. */
void weft_worker_peer_closed(weft_worker *worker, uint32_t link);
void weft_worker_tick_peers(weft_worker *worker);
uint64_t weft_worker_peers_next_ns(const weft_worker *worker);

/* A trace record about a frame on a link. */
void weft_worker_trace(const weft_worker *worker, weft_trace_kind kind, uint32_t link,
                       const weft_message *message, weft_status status);

#endif
