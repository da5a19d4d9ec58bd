/* A worker in doubt asks the other workers of its session how it ended (spec/protocol.md, "Doubt").
 *
 *      START ─ memory for the list    PEERS ─ the list    ASK ─ the asking begins    RELEASE ─ ends
 *
 * Each peer is asked on a connection of its own, which this worker makes as a trainer would: it
 * hears HELLO, sends ASK, hears OUTCOME and is done. A few are under way at a time, in turn, and
 * each one again after a pause, until the core has learnt enough or its deadline passes. Nothing is
 * allocated for that, for it happens when memory may be what is missing. */
#include <string.h>

#include "detail.h"
#include "worker_engine.h"

#define NS_PER_MS    UINT64_C(1000000)
#define UNDER_WAY    4u                  /* connections to peers at a time */
#define ANSWER_NS    (1000u * NS_PER_MS) /* from wish to answer; then another one's turn */
#define ASK_AGAIN_NS (100u * NS_PER_MS)  /* after an answer that decides nothing */
#define NOBODY       UINT32_MAX

/* ---- The list ---- */

weft_status weft_worker_reserve_peers(weft_worker *worker, const weft_message *start)
{
    weft_peers *peers = &worker->peers;
    weft_status status = WEFT_OK;
    bool wanted = start->peers_bytes > 0 && start->peers_bytes <= WEFT_PEERS_BYTES_MAX &&
                  start->ranks >= 2 && start->ranks <= WEFT_WORKERS_MAX + 1 &&
                  !weft_session_active(&worker->core.machine);
    if (!wanted) { /* or the core refuses this START */
        return WEFT_OK;
    }
    peers->count = start->ranks - 1;
    peers->bytes = start->peers_bytes;
    peers->list = weft_staging_allocate(&worker->staging, (uint64_t)peers->bytes + 1,
                                        WEFT_MEMORY_HOST, &status);
    if (peers->list != NULL) {
        peers->asked = weft_staging_allocate(&worker->staging, peers->count * sizeof *peers->asked,
                                             WEFT_MEMORY_HOST, &status);
    }
    if (peers->asked == NULL) {
        weft_worker_release_peers(worker);
        return weft_detail_set(&worker->detail, status,
                               "START announces %u bytes of addresses, and there is no memory for "
                               "them",
                               start->peers_bytes);
    }
    return WEFT_OK;
}

/* A link that asks has nothing to ask any more; the driver closes it. */
static void end_link(weft_worker *worker, uint32_t link)
{
    weft_link *ended = worker->links[link];
    ended->status = ended->status == WEFT_OK ? WEFT_E_CANCELLED : ended->status;
    worker->asks[link] = 0;
}

void weft_worker_release_peers(weft_worker *worker)
{
    weft_peers *peers = &worker->peers;
    for (uint32_t link = 0; link < WEFT_LINKS_MAX; link++) {
        if (worker->asks[link] != 0) {
            end_link(worker, link);
        }
    }
    weft_staging_free(&worker->staging, peers->list, (uint64_t)peers->bytes + 1, WEFT_MEMORY_HOST);
    weft_staging_free(&worker->staging, peers->asked, peers->count * sizeof *peers->asked,
                      WEFT_MEMORY_HOST);
    *peers = (weft_peers){0};
}

bool weft_worker_takes_peers(const weft_worker *worker)
{
    return worker->peers.landed < worker->peers.bytes;
}

void weft_worker_take_peers(weft_worker *worker, const uint8_t *bytes, uint32_t length,
                            uint64_t offset)
{
    weft_peers *peers = &worker->peers;
    memcpy(peers->list + offset, bytes, length);
    peers->landed += length;
    if (peers->landed == worker->core.peers_taken) { /* the piece is complete */
        worker->taking = WEFT_LINK_NONE;
    }
}

/* One line for each rank; what is missing is an address that nobody knows. */
static void read_list(weft_peers *peers)
{
    uint32_t at = 0;
    peers->list[peers->bytes] = '\0';
    for (uint32_t i = 0; i < peers->count; i++) {
        char *line = peers->list + at;
        char *end = memchr(line, '\n', peers->bytes - at);
        uint32_t length = end != NULL ? (uint32_t)(end - line) : peers->bytes - at;
        line[length] = '\0';
        peers->asked[i] = (weft_asked){.at = at, .link = WEFT_LINK_NONE};
        at += end != NULL ? length + 1 : length;
    }
}

/* ---- Who is asked next ---- */

void weft_worker_ask(weft_worker *worker)
{
    weft_peers *peers = &worker->peers;
    read_list(peers);
    peers->asking = true;
    peers->next = worker->core.last_rank % peers->count; /* the one after this worker */
}

static bool is_due(const weft_worker *worker, uint32_t i)
{
    const weft_asked *asked = &worker->peers.asked[i];
    return i + 1 != worker->core.last_rank && !asked->under_way &&
           worker->peers.list[asked->at] != '\0' && asked->due_ns <= worker->now_ns;
}

/* Once the core has learnt enough, an undo may still take its time. */
static bool is_asking(const weft_worker *worker)
{
    return worker->peers.asking && worker->core.awaits == WEFT_AWAITS_PEERS;
}

static uint32_t find_due(const weft_worker *worker)
{
    const weft_peers *peers = &worker->peers;
    if (!is_asking(worker) || peers->under_way >= UNDER_WAY) {
        return NOBODY;
    }
    for (uint32_t n = 0; n < peers->count; n++) {
        uint32_t i = (peers->next + n) % peers->count;
        if (is_due(worker, i)) {
            return i;
        }
    }
    return NOBODY;
}

bool weft_worker_peer_wanted(weft_worker *worker, uint32_t *rank, const char **address)
{
    uint32_t i = worker != NULL && rank != NULL && address != NULL ? find_due(worker) : NOBODY;
    if (i == NOBODY) {
        return false;
    }
    weft_peers *peers = &worker->peers;
    weft_asked *asked = &peers->asked[i];
    asked->under_way = true;
    asked->due_ns = worker->now_ns + ANSWER_NS;
    peers->under_way++;
    peers->next = (i + 1) % peers->count;
    *rank = i + 1;
    *address = peers->list + asked->at;
    return true;
}

/* It answered, or did not; its turn comes again. */
static void end_turn(weft_worker *worker, uint32_t rank)
{
    weft_asked *asked = &worker->peers.asked[rank - 1];
    asked->under_way = false;
    asked->link = WEFT_LINK_NONE;
    asked->due_ns = worker->now_ns + ASK_AGAIN_NS;
    worker->peers.under_way--;
}

/* The peer whose connection the driver is making, or NULL. */
static weft_asked *find_connecting(weft_worker *worker, uint32_t rank)
{
    weft_peers *peers = &worker->peers;
    if (!is_asking(worker) || rank == 0 || rank > peers->count) {
        return NULL;
    }
    weft_asked *asked = &peers->asked[rank - 1];
    return asked->under_way && asked->link == WEFT_LINK_NONE ? asked : NULL;
}

weft_status weft_worker_peer_open(weft_worker *worker, uint32_t rank, uint32_t *link)
{
    if (worker == NULL || link == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    weft_asked *asked = find_connecting(worker, rank);
    if (asked == NULL) {
        return WEFT_E_WRONG_STATE;
    }
    weft_status status = weft_worker_add_link(worker, WEFT_SENDER_WORKER, link);
    if (status != WEFT_OK) {
        end_turn(worker, rank);
        return status;
    }
    worker->asks[*link] = rank;
    asked->link = *link;
    return WEFT_OK;
}

void weft_worker_peer_failed(weft_worker *worker, uint32_t rank)
{
    if (worker != NULL && find_connecting(worker, rank) != NULL) {
        end_turn(worker, rank);
    }
}

/* ---- What they say ---- */

static void send_ask(weft_worker *worker, uint32_t link)
{
    weft_message message;
    weft_action action = {.type = WEFT_ACTION_SEND,
                          .message = WEFT_MESSAGE_ASK,
                          .link = link,
                          .epoch = worker->core.epoch};
    weft_worker_compose(&worker->core, &action, &message);
    message.rank = worker->asks[link];
    weft_link_put(worker->links[link], &message, NULL);
    weft_worker_trace(worker, WEFT_TRACE_SENT, link, &message, WEFT_OK);
}

void weft_worker_on_peer_message(weft_worker *worker, uint32_t link, const weft_message *message)
{
    uint32_t rank = worker->asks[link];
    if (rank == 0) { /* the doubt is over */
        return;
    }
    if (message->type == WEFT_MESSAGE_HELLO) {
        send_ask(worker, link);
    } else if (message->type == WEFT_MESSAGE_OUTCOME) {
        weft_input input = {.type = WEFT_INPUT_MESSAGE, .link = link, .message = *message};
        input.message.rank = rank;
        weft_worker_drive(worker, &input);
        if (worker->asks[link] != 0) { /* still in doubt */
            end_turn(worker, rank);
            end_link(worker, link);
        }
    } else {
        worker->links[link]->status = WEFT_E_UNEXPECTED_MESSAGE;
    }
}

void weft_worker_peer_closed(weft_worker *worker, uint32_t link)
{
    if (worker->asks[link] != 0) {
        end_turn(worker, worker->asks[link]);
        worker->asks[link] = 0;
    }
}

/* ---- Time ---- */

void weft_worker_tick_peers(weft_worker *worker)
{
    weft_peers *peers = &worker->peers;
    for (uint32_t i = 0; peers->asking && i < peers->count; i++) {
        weft_asked *asked = &peers->asked[i];
        if (asked->under_way && asked->due_ns <= worker->now_ns) {
            uint32_t link = asked->link;
            end_turn(worker, i + 1);
            if (link != WEFT_LINK_NONE) {
                end_link(worker, link);
            }
        }
    }
}

/* Whose turn has come is wanted already, and needs no tick. */
uint64_t weft_worker_peers_next_ns(const weft_worker *worker)
{
    const weft_peers *peers = &worker->peers;
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; is_asking(worker) && i < peers->count; i++) {
        const weft_asked *asked = &peers->asked[i];
        bool later = asked->due_ns > worker->now_ns && peers->under_way < UNDER_WAY;
        if ((asked->under_way || later) && asked->due_ns < next) {
            next = asked->due_ns;
        }
    }
    return next;
}
