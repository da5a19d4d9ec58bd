/* A worker's part in a collective, and the digest of what arrived. The payload's pieces are
 * digested while the next ones move. */
#include <inttypes.h>
#include <string.h>

#include "base64.h"
#include "detail.h"
#include "worker_engine.h"

/* ---- Invitation ---- */

/* What START says of its group. Returns: WEFT_OK, TRANSPORT (this worker has none),
 * FRAME_MALFORMED. */
static weft_status read_group(weft_worker *worker, const weft_message *start, const char *text,
                              weft_group *group)
{
    if (worker->transport == NULL) {
        return weft_detail_set(&worker->detail, WEFT_E_TRANSPORT,
                               "START names the transport nccl, and worker %s has tcp only",
                               worker->name);
    }
    *group = (weft_group){.number = start->group, .rank = start->rank, .ranks = start->ranks};
    bool ranks = group->rank >= 1 && group->rank < group->ranks;
    if (!ranks || !weft_base64_decode(text, strlen(text), group->unique_id, WEFT_UNIQUE_ID_BYTES)) {
        return weft_detail_set(&worker->detail, WEFT_E_FRAME_MALFORMED,
                               "START has rank %u of %u and a unique id of %zu characters; a rank "
                               "from 1 below the number of ranks and %u characters of base64 are "
                               "expected",
                               group->rank, group->ranks, strlen(text), WEFT_UNIQUE_ID_MAX);
    }
    return WEFT_OK;
}

void weft_worker_on_start(weft_worker *worker, uint32_t link, const weft_message *start,
                          const char *text)
{
    weft_group group;
    weft_input input = {.type = WEFT_INPUT_MESSAGE, .link = link, .message = *start};
    bool collective = start->transport == WEFT_TRANSPORT_NCCL;
    if (collective) {
        input.status = read_group(worker, start, text, &group);
    }
    bool idle = !weft_session_active(&worker->core.machine);
    if (input.status == WEFT_OK) {
        input.status = weft_worker_reserve_peers(worker, start);
    }
    worker->detail_is_fresh = input.status != WEFT_OK;
    weft_worker_drive(worker, &input);
    bool accepted = idle && weft_session_active(&worker->core.machine);
    if (collective && accepted) {
        worker->transport->join(worker->transport, &group);
    }
    if (idle && !accepted) {
        weft_worker_release_peers(worker);
    }
}

/* ---- Transfer ---- */

/* The bytes between the parts of a staged baseline do not move; they count as zeros. */
static weft_status clear_padding(weft_worker *worker)
{
    static const uint8_t zeros[8];
    size_t count;
    const weft_segment *segments = weft_staging_newest(&worker->staging, &count);
    for (size_t i = 0; i < count && !worker->staging.streamed; i++) {
        const weft_segment *segment = &segments[i];
        uint64_t bytes = segment->count * segment->element_bytes, rest = (8 - bytes % 8) % 8;
        uint8_t *values = weft_staging_writable(&worker->staging, segment->values);
        weft_status status =
            rest == 0 ? WEFT_OK : worker->device->copy(worker->device, values + bytes, zeros, rest);
        if (status != WEFT_OK) {
            return status;
        }
    }
    return WEFT_OK;
}

static void transfer_failed(weft_worker *worker)
{
    weft_detail_set(&worker->detail, WEFT_E_COLLECTIVE, "%s",
                    weft_transport_text(worker->transport));
    worker->detail_is_fresh = true;
    weft_worker_make_ready(worker, WEFT_INPUT_RECEIVED, WEFT_E_COLLECTIVE);
}

void weft_worker_transfer(weft_worker *worker)
{
    weft_status status = WEFT_OK;
    weft_staging_load(&worker->staging, worker->core.owner == WEFT_LINK_LOCAL, &worker->load);
    if (worker->load.segments != NULL && worker->core.owner != WEFT_LINK_LOCAL) {
        status = clear_padding(worker);
    }
    if (status != WEFT_OK || weft_staging_newest_changed(&worker->staging) == 0) {
        weft_worker_make_ready(worker, WEFT_INPUT_RECEIVED, status); /* nothing moves */
        return;
    }
    worker->moving = true;
    if (worker->transport->begin(worker->transport, &worker->load) != WEFT_OK) {
        transfer_failed(worker);
    } else {
        weft_worker_poll_transfer(worker);
    }
}

void weft_worker_cancel_transfer(weft_worker *worker)
{
    if (worker->moving) {
        worker->transport->cancel(worker->transport);
    }
}

/* ---- Digest ---- */

/* Whole words that have landed and are in no digest yet. */
static void digest_moved(weft_worker *worker, uint64_t moved)
{
    weft_worker_digest *digest = &worker->digest;
    if (worker->core.owner == WEFT_LINK_LOCAL || worker->load.segments != NULL) {
        return; /* nothing was announced; or digested when all is here */
    }
    if (digest->piece_runs && worker->device->poll(worker->device) != WEFT_POLL_AGAIN) {
        digest->sum += digest->piece.digest;
        digest->piece_runs = false;
    }
    moved &= ~UINT64_C(7);
    if (!digest->piece_runs && moved > digest->begun) {
        digest->piece_runs =
            weft_staging_digest(&worker->staging, digest->begun, moved, &digest->piece) == WEFT_OK;
        digest->begun = digest->piece_runs ? moved : digest->begun;
    }
}

/* What is still missing, before VERIFY is submitted: one wait is enough for both. */
weft_status weft_worker_begin_digest(weft_worker *worker)
{
    weft_worker_digest *digest = &worker->digest;
    uint64_t end = worker->core.payload_bytes;
    if (worker->core.owner == WEFT_LINK_LOCAL) {
        return WEFT_OK;
    }
    if (worker->staging.streamed) {
        return weft_staging_streamed_digest(&worker->staging, &digest->sum);
    }
    if (digest->begun == end) {
        return WEFT_OK;
    }
    weft_status status = weft_staging_digest(&worker->staging, digest->begun, end, &digest->last);
    digest->last_runs = status == WEFT_OK;
    return status;
}

weft_status weft_worker_check_digest(weft_worker *worker)
{
    weft_worker_digest *digest = &worker->digest;
    uint64_t sum = worker->document.hash + digest->sum;
    sum += digest->piece_runs ? digest->piece.digest : 0;
    sum += digest->last_runs ? digest->last.digest : 0;
    digest->piece_runs = digest->last_runs = false;
    if (worker->core.owner == WEFT_LINK_LOCAL || sum == worker->core.payload_digest) {
        return WEFT_OK;
    }
    worker->detail_is_fresh = true;
    return weft_detail_set(&worker->detail, WEFT_E_PAYLOAD_DIGEST,
                           "the payload has digest 0x%016" PRIx64 ", and 0x%016" PRIx64
                           " was announced",
                           sum, worker->core.payload_digest);
}

/* ---- Progress ---- */

void weft_worker_poll_transfer(weft_worker *worker)
{
    uint64_t moved = 0;
    if (!worker->moving) {
        return;
    }
    bool cancelled = worker->core.awaits != WEFT_AWAITS_TRANSFER;
    weft_poll poll = worker->transport->poll(worker->transport, &moved);
    if (poll == WEFT_POLL_AGAIN) {
        if (!cancelled) {
            digest_moved(worker, moved);
        }
        return;
    }
    if (cancelled) {
        worker->moving = false;
        if (poll == WEFT_POLL_GONE) { /* who knows what is written to */
            weft_worker_make_ready(worker, WEFT_INPUT_UNDONE, WEFT_E_DEVICE_FAILED);
        } else {
            weft_worker_undo(worker);
        }
    } else if (poll == WEFT_POLL_DONE) {
        worker->moving = false;
        weft_worker_make_ready(worker, WEFT_INPUT_RECEIVED, WEFT_OK);
    } else { /* it moves until it is cancelled */
        transfer_failed(worker);
    }
}
