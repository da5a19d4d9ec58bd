/* A transport whose rank 0 is the input: it brings what the script says, piece by piece as it is
 * asked, and refuses, breaks, hangs, corrupts and takes its time with leaving when told to. */
#ifndef WEFT_FUZZ_HARNESS_TRANSPORT_H
#define WEFT_FUZZ_HARNESS_TRANSPORT_H

#include "harness.h"
#include "harness_script.h"
#include "transport.h"

#define FUZZ_MOVED_AT_ONCE 48u /* bytes for each poll */

typedef struct fuzz_transport {
    weft_transport face;
    uint64_t group;
    const script *source;
    const weft_worker_core *core; /* tells which update moves */
    const weft_load *load;        /* moves; NULL: nothing does */
    uint64_t moved;
    uint8_t late; /* polls until it has left */
    bool refuses, breaks, hangs, corrupts;
    bool leaving;
} fuzz_transport;

/* Where a part of the load stands in the payload: segments of a baseline one behind the other, each
 * at a multiple of 8; everything else as its addresses say. */
static inline uint64_t fuzz_part_offset(const weft_load *load, size_t part)
{
    uint64_t offset = 0;
    if (load->segments == NULL || load->segments[0].indices != NULL) {
        const uint8_t *first = weft_load_part(load, 0).bytes;
        return (uint64_t)((const uint8_t *)weft_load_part(load, part).bytes - first);
    }
    for (size_t i = 0; i < (load->vllm_order ? part / 2 : part); i++) {
        offset += (load->segments[i].count * load->segments[i].element_bytes + 7u) & ~UINT64_C(7);
    }
    return offset;
}

/* The next bytes of the load, in order; how many there are. */
static inline uint64_t fuzz_transport_move(fuzz_transport *t)
{
    uint64_t begin = 0, most = FUZZ_MOVED_AT_ONCE, all = 0;
    uint32_t number = t->core->update;
    for (size_t part = 0; part < weft_load_parts(t->load); part++) {
        weft_run run = weft_load_part(t->load, part);
        uint64_t offset = run.length > 0 ? fuzz_part_offset(t->load, part) : 0;
        for (uint64_t i = 0; i < run.length && most > 0; i++) {
            if (begin + i >= t->moved) {
                bool known = number < t->source->updates && offset + i < SCRIPT_PAYLOAD_MAX;
                uint8_t byte = known ? t->source->update[number].payload[offset + i] : 0;
                ((uint8_t *)run.bytes)[i] = (uint8_t)(byte ^ (t->corrupts ? 1u : 0));
                t->moved++;
                most--;
            }
        }
        begin += run.length;
        all += run.length;
    }
    return all;
}

static inline weft_status fuzz_transport_invite(const weft_transport *face,
                                                uint8_t id[WEFT_UNIQUE_ID_BYTES])
{
    (void)face;
    memset(id, 0, WEFT_UNIQUE_ID_BYTES);
    return WEFT_OK;
}

static inline void fuzz_transport_join(const weft_transport *face, const weft_group *group)
{
    fuzz_transport *t = face->context;
    fuzz_expect(t->load == NULL && group->rank < group->ranks);
    t->group = group->number;
}

static inline uint64_t fuzz_transport_group(const weft_transport *face)
{
    return ((fuzz_transport *)face->context)->group;
}

static inline weft_status fuzz_transport_begin(const weft_transport *face, const weft_load *load)
{
    fuzz_transport *t = face->context;
    fuzz_expect(t->load == NULL);
    t->load = load;
    t->moved = 0;
    return t->refuses ? WEFT_E_COLLECTIVE : WEFT_OK;
}

static inline weft_poll fuzz_transport_poll(const weft_transport *face, uint64_t *moved)
{
    fuzz_transport *t = face->context;
    uint64_t all = 0;
    if (t->leaving && t->late > 0) {
        t->late--;
        return WEFT_POLL_AGAIN;
    }
    if (t->leaving || t->load == NULL) {
        t->leaving = false;
        t->load = NULL;
        return WEFT_POLL_DONE;
    }
    if (t->refuses || t->breaks) {
        return WEFT_POLL_GONE;
    }
    all = t->hangs ? UINT64_MAX : fuzz_transport_move(t);
    if (moved != NULL) {
        *moved = t->moved;
    }
    if (t->moved < all) {
        return WEFT_POLL_AGAIN;
    }
    t->load = NULL;
    return WEFT_POLL_DONE;
}

static inline void fuzz_transport_cancel(const weft_transport *face)
{
    fuzz_transport *t = face->context;
    t->leaving = true;
    t->group = 0;
}

static inline void fuzz_transport_start(fuzz_transport *t, const script *source)
{
    *t = (fuzz_transport){.source = source,
                          .face = {.name = "fuzz",
                                   .text = "the input wants it so",
                                   .invite = fuzz_transport_invite,
                                   .join = fuzz_transport_join,
                                   .group = fuzz_transport_group,
                                   .begin = fuzz_transport_begin,
                                   .poll = fuzz_transport_poll,
                                   .cancel = fuzz_transport_cancel}};
    t->face.context = t;
}

#endif
