/* A transport without a network: ranks of one process that broadcast through memory, step by step
 * as they are polled, and that fail, hang and corrupt where a test says so. */
#ifndef WEFT_TESTS_COLLECTIVE_H
#define WEFT_TESTS_COLLECTIVE_H

#include "support.h"
#include "transport.h"

#define COLLECTIVE_RANKS_MAX 10u

typedef struct collective_rank {
    weft_transport face;
    struct collective *collective;
    weft_group group;
    const weft_load *load;
    enum { RANK_QUIET, RANK_WAITING, RANK_MOVING, RANK_BROKEN, RANK_LEAVING } stage;
    uint64_t transfers; /* begun in this group */
    uint64_t moved;
    unsigned leaving; /* polls until it is quiet */
} collective_rank;

typedef struct collective_wire { /* what rank 0 sent: group, transfer, bytes */
    struct collective_wire *next;
    uint8_t unique_id[WEFT_UNIQUE_ID_BYTES];
    uint64_t transfer;
    uint8_t *bytes;
    uint64_t length;
} collective_wire;

typedef struct collective {
    test_random *random;
    collective_rank ranks[COLLECTIVE_RANKS_MAX]; /* 0: the trainer's */
    collective_wire *wires;
    unsigned invites, cancels, completed;
    /* what goes wrong; ranks, or -1 */
    int hangs, breaks, corrupts, refuses, never_quiet;
    bool no_invite;
} collective;

void collective_start(collective *c, test_random *random);
/* A transport of its own for this place (not: rank) in the world; destroyed with its handle's. */
const weft_transport *collective_transport(collective *c, unsigned place);
/* Nothing goes wrong any more. */
void collective_mend(collective *c);
/* Checks that no rank moves. */
void collective_finish(collective *c);

#endif
