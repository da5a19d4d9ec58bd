/* Transport ops: how a payload moves between ranks outside of the control connection. A transport
 * is a table of functions and a context; `nccl` (cuda/transport_nccl.c) is the one that there is.
 * Tcp needs none: its payload stands in frames.
 *
 * Nothing here waits. A transport takes part in one group at a time (join), connects when it first
 * moves something (begin), and keeps the connection until it joins another group or a transfer is
 * cancelled. Whoever uses it watches the deadline and cancels. */
#ifndef WEFT_SRC_TRANSPORT_H
#define WEFT_SRC_TRANSPORT_H

#include "device.h"
#include "weft.h"

#define WEFT_UNIQUE_ID_BYTES 128u /* of an ncclUniqueId */

/* The ranks that move something together. */
typedef struct weft_group {
    uint64_t number; /* another number is another group; weft's: the epoch that it was made for */
    uint32_t rank, ranks;
    uint8_t unique_id[WEFT_UNIQUE_ID_BYTES];
    bool greets; /* vLLM: a one-element all-reduce follows the connecting */
} weft_group;

typedef struct weft_run { /* bytes in the device's memory */
    void *bytes;
    uint64_t length;
} weft_run;

/* What moves: the runs; or, where there are segments, the values of each. Every rank must describe
 * the same lengths. Must live until poll says that nothing moves. */
typedef struct weft_load {
    weft_run runs[2];
    const weft_segment *segments;
    size_t count;
    bool vllm_order; /* of each segment its indices too, and one call for each part */
} weft_load;

/* The load as a row of runs, some of which may be empty. */
size_t weft_load_parts(const weft_load *load);
weft_run weft_load_part(const weft_load *load, size_t part);

struct weft_transport {
    const char *name;
    const char *text; /* the last failure in words, or "" */
    void *context;
    /* A unique id for a new group. Returns: COLLECTIVE. */
    weft_status (*invite)(const weft_transport *transport, uint8_t id[WEFT_UNIQUE_ID_BYTES]);
    /* From now on of this group; if it is another one than before, the old connection is given up.
     * Only when nothing moves. */
    void (*join)(const weft_transport *transport, const weft_group *group);
    /* The number of the group that it is in; 0: none. */
    uint64_t (*group)(const weft_transport *transport);
    /* Begins: rank 0 sends, the others receive. Only when nothing moves.
     * Returns: COLLECTIVE; it must then be cancelled. */
    weft_status (*begin)(const weft_transport *transport, const weft_load *load);
    /* AGAIN: it moves, or what was cancelled still touches memory; DONE: nothing moves; GONE: it
     * failed and must be cancelled. *moved (may be NULL): bytes of the runs that are here, in
     * order. */
    weft_poll (*poll)(const weft_transport *transport, uint64_t *moved);
    /* Gives up what moves, and the group with it; then poll until DONE. */
    void (*cancel)(const weft_transport *transport);
    void (*destroy)(const weft_transport *transport);
};

/* Cancels, and waits until nothing touches memory any more, but not longer than that. */
void weft_transport_settle(const weft_transport *transport, uint32_t timeout_ms);

#endif
