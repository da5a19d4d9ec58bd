#include "collective.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static collective_rank *of(const weft_transport *transport)
{
    return transport->context;
}

static int place_of(const collective_rank *rank)
{
    return (int)(rank - rank->collective->ranks);
}

/* ---- the bytes of a load, one behind the other ---- */

static uint64_t bytes_of(const weft_load *load)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < weft_load_parts(load); i++) {
        bytes += weft_load_part(load, i).length;
    }
    return bytes;
}

/* Copies `length` bytes at `offset` of the whole, out of the load or into it. */
static void move_bytes(const weft_load *load, uint64_t offset, uint64_t length, uint8_t *wire,
                       bool into)
{
    uint64_t begin = 0;
    for (size_t i = 0; i < weft_load_parts(load); i++) {
        weft_run run = weft_load_part(load, i);
        uint64_t from = offset > begin ? offset : begin;
        uint64_t to = offset + length < begin + run.length ? offset + length : begin + run.length;
        if (from < to) {
            uint8_t *memory = (uint8_t *)run.bytes + (from - begin);
            memcpy(into ? memory : wire + from, into ? wire + from : memory, (size_t)(to - from));
        }
        begin += run.length;
    }
}

/* ---- the wire ---- */

static collective_wire *find(const collective_rank *rank)
{
    for (collective_wire *w = rank->collective->wires; w != NULL; w = w->next) {
        if (w->transfer == rank->transfers &&
            memcmp(w->unique_id, rank->group.unique_id, sizeof w->unique_id) == 0) {
            return w;
        }
    }
    return NULL;
}

static void send(collective_rank *rank)
{
    collective_wire *w = calloc(1, sizeof *w);
    assert_non_null(w);
    *w = (collective_wire){.next = rank->collective->wires,
                           .transfer = rank->transfers,
                           .length = bytes_of(rank->load)};
    memcpy(w->unique_id, rank->group.unique_id, sizeof w->unique_id);
    w->bytes = malloc((size_t)w->length + 1);
    assert_non_null(w->bytes);
    move_bytes(rank->load, 0, w->length, w->bytes, false);
    rank->collective->wires = w;
}

/* Every rank of the group has come as far: only then does anything move. */
static bool all_there(const collective_rank *rank)
{
    uint32_t there = 0;
    for (unsigned i = 0; i < COLLECTIVE_RANKS_MAX; i++) {
        const collective_rank *other = &rank->collective->ranks[i];
        there +=
            other->collective != NULL && other->transfers >= rank->transfers &&
                    other->stage != RANK_LEAVING &&
                    memcmp(other->group.unique_id, rank->group.unique_id, WEFT_UNIQUE_ID_BYTES) == 0
                ? 1
                : 0;
    }
    return there == rank->group.ranks;
}

/* ---- the transport ---- */

static weft_status invite(const weft_transport *transport, uint8_t id[WEFT_UNIQUE_ID_BYTES])
{
    collective *c = of(transport)->collective;
    if (c->no_invite) {
        of(transport)->face.text = "no unique id for you";
        return WEFT_E_COLLECTIVE;
    }
    test_random_fill(c->random, id, WEFT_UNIQUE_ID_BYTES);
    c->invites++;
    return WEFT_OK;
}

static void join(const weft_transport *transport, const weft_group *group)
{
    collective_rank *rank = of(transport);
    assert_true(rank->stage == RANK_QUIET);
    assert_true(group->rank < group->ranks && group->number > 0);
    if (rank->group.number != group->number ||
        memcmp(rank->group.unique_id, group->unique_id, sizeof group->unique_id) != 0) {
        rank->group = *group;
        rank->transfers = 0;
    }
}

static uint64_t group_number(const weft_transport *transport)
{
    return of(transport)->group.number;
}

static weft_status begin(const weft_transport *transport, const weft_load *load)
{
    collective_rank *rank = of(transport);
    assert_true(rank->stage == RANK_QUIET);
    assert_true(rank->group.number != 0);
    if (rank->collective->refuses == place_of(rank)) {
        rank->face.text = "refused";
        rank->stage = RANK_BROKEN;
        return WEFT_E_COLLECTIVE;
    }
    rank->load = load;
    rank->transfers++;
    rank->moved = 0;
    rank->stage = RANK_WAITING;
    if (rank->group.rank == 0) {
        send(rank);
    }
    return WEFT_OK;
}

static void receive(collective_rank *rank)
{
    collective_wire *w = find(rank);
    assert_non_null(w);
    assert_int_equal(w->length, bytes_of(rank->load)); /* agreed on before anybody came here */
    uint64_t left = w->length - rank->moved;
    uint64_t n = 1 + test_random_below(rank->collective->random, left);
    if (rank->collective->corrupts == place_of(rank)) {
        w->bytes[rank->moved + n - 1] ^= 0x10;
    }
    move_bytes(rank->load, rank->moved, n, w->bytes, true);
    if (rank->collective->corrupts == place_of(rank)) {
        w->bytes[rank->moved + n - 1] ^= 0x10;
    }
    rank->moved += n;
}

static weft_poll leave(collective_rank *rank)
{
    if (rank->collective->never_quiet == place_of(rank) || rank->leaving-- > 0) {
        return WEFT_POLL_AGAIN;
    }
    rank->stage = RANK_QUIET;
    return WEFT_POLL_DONE;
}

static weft_poll poll(const weft_transport *transport, uint64_t *moved)
{
    collective_rank *rank = of(transport);
    collective *c = rank->collective;
    if (moved != NULL) {
        *moved = rank->moved;
    }
    switch (rank->stage) {
    case RANK_QUIET:
        return WEFT_POLL_DONE;
    case RANK_BROKEN:
        return WEFT_POLL_GONE;
    case RANK_LEAVING:
        return leave(rank);
    case RANK_WAITING:
        rank->stage = all_there(rank) ? RANK_MOVING : RANK_WAITING;
        return WEFT_POLL_AGAIN;
    case RANK_MOVING:
        break;
    }
    if (c->breaks == place_of(rank)) {
        rank->face.text = "a rank of the group is gone";
        rank->stage = RANK_BROKEN;
        return WEFT_POLL_GONE;
    }
    if (c->hangs == place_of(rank)) {
        return WEFT_POLL_AGAIN;
    }
    uint64_t all = bytes_of(rank->load);
    if (rank->group.rank != 0 && rank->moved < all) {
        receive(rank);
        return WEFT_POLL_AGAIN;
    }
    rank->stage = RANK_QUIET;
    c->completed++;
    if (moved != NULL) {
        *moved = all;
    }
    return WEFT_POLL_DONE;
}

static void cancel(const weft_transport *transport)
{
    collective_rank *rank = of(transport);
    rank->group = (weft_group){0};
    rank->stage = RANK_LEAVING;
    rank->leaving = (unsigned)test_random_below(rank->collective->random, 4);
    rank->collective->cancels++;
}

static void destroy(const weft_transport *transport)
{
    collective_rank *rank = of(transport);
    *rank = (collective_rank){0};
}

void collective_start(collective *c, test_random *random)
{
    *c = (collective){.random = random};
    collective_mend(c);
}

void collective_mend(collective *c)
{
    c->hangs = c->breaks = c->corrupts = c->refuses = c->never_quiet = -1;
    c->no_invite = false;
}

const weft_transport *collective_transport(collective *c, unsigned place)
{
    collective_rank *rank = &c->ranks[place];
    assert_true(place < COLLECTIVE_RANKS_MAX && rank->collective == NULL);
    *rank = (collective_rank){.collective = c,
                              .face = {.name = "fake",
                                       .text = "",
                                       .context = rank,
                                       .invite = invite,
                                       .join = join,
                                       .group = group_number,
                                       .begin = begin,
                                       .poll = poll,
                                       .cancel = cancel,
                                       .destroy = destroy}};
    return &rank->face;
}

void collective_finish(collective *c)
{
    while (c->wires != NULL) {
        collective_wire *next = c->wires->next;
        free(c->wires->bytes);
        free(c->wires);
        c->wires = next;
    }
    for (unsigned i = 0; i < COLLECTIVE_RANKS_MAX; i++) {
        assert_null(c->ranks[i].collective);
    }
}
