/* weft-graph: explores the C cores breadth first and prints every state and every labelled edge.
 * tla/graph.py compares them with the graph that TLC finds for the model. Arguments, as in the
 * model's configuration:
 *
 *      weft-graph WORKERS SESSIONS UPDATES KINDS POLICIES FAULTS COUNTED FREE TRANSPORT PEERS
 *
 * Lists have commas; "" is an empty one. Output: "S number", a tab and the variables, and
 * "E from action to". The first state is 0. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph_world.h"
#include "invariant.h"

typedef struct bounds {
    uint32_t workers, sessions;
    uint8_t transport;
    const char *updates, *kinds, *policies, *counted, *free;
} bounds;

typedef struct explorer {
    bounds bounds;
    graph_world *worlds;
    uint32_t count, capacity;
    uint32_t *table; /* number of a world + 1, by hash */
    uint32_t table_size;
    uint32_t present; /* the world that is being explored */
} explorer;

/* Is it a member of the list? */
static bool lists(const char *list, const char *word)
{
    size_t length = strlen(word);
    const char *found = list;

    while ((found = strstr(found, word)) != NULL) {
        bool begins = found == list || found[-1] == ',';
        if (begins && (found[length] == ',' || found[length] == '\0')) {
            return true;
        }
        found += length;
    }
    return false;
}

/* ---- the set of worlds ---- */

static uint64_t hash_of(const graph_world *w)
{
    const uint8_t *bytes = (const uint8_t *)w;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < sizeof *w; i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return hash;
}

static uint32_t *slot_of(const explorer *x, const graph_world *w)
{
    uint32_t at = (uint32_t)hash_of(w) & (x->table_size - 1);

    /* Worlds that differ in padding only would be explored twice, and printed alike.
     * NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c) */
    while (x->table[at] != 0 && memcmp(&x->worlds[x->table[at] - 1], w, sizeof *w) != 0) {
        at = (at + 1) & (x->table_size - 1);
    }
    return &x->table[at];
}

static void grow(explorer *x)
{
    x->capacity *= 2;
    x->table_size *= 2;
    x->worlds = realloc(x->worlds, x->capacity * sizeof *x->worlds);
    free(x->table);
    x->table = calloc(x->table_size, sizeof *x->table);
    weft_invariant(x->worlds != NULL && x->table != NULL);
    for (uint32_t i = 0; i < x->count; i++) {
        *slot_of(x, &x->worlds[i]) = i + 1;
    }
}

static uint32_t number_of(explorer *x, const graph_world *w)
{
    if (x->count == x->capacity) {
        grow(x);
    }
    uint32_t *slot = slot_of(x, w);
    if (*slot == 0) {
        x->worlds[x->count] = *w;
        *slot = ++x->count;
        (void)printf("S %" PRIu32 "\t", x->count - 1);
        graph_print(w, x->bounds.workers, x->bounds.sessions + 1);
    }
    return *slot - 1;
}

static void edge(explorer *x, const char *action, const graph_world *to)
{
    uint32_t number = number_of(x, to);

    (void)printf("E %" PRIu32 " %s %" PRIu32 "\n", x->present, action, number);
}

/* ---- faults ---- */

static bool may(const explorer *x, const graph_world *w, const char *kind)
{
    return lists(x->bounds.free, kind) || (lists(x->bounds.counted, kind) && w->faults > 0);
}

/* Spends one fault of this kind, if there is one. */
static bool spend(const explorer *x, graph_world *w, const char *kind)
{
    bool allowed = may(x, w, kind);

    w->faults = (uint8_t)(w->faults - (allowed && lists(x->bounds.counted, kind) ? 1 : 0));
    return allowed;
}

static bool quiet(const explorer *x, const graph_world *w)
{
    bool silent = true;

    for (uint32_t i = 0; i < x->bounds.workers; i++) {
        const graph_end *e = &w->ends[i];
        silent = silent && e->here == e->there && !e->half && e->down.count == 0 &&
                 e->up.count == 0 && (e->owes == 0 || e->owes == GRAPH_NEVER);
    }
    return silent;
}

static bool time_passes(const explorer *x, graph_world *w)
{
    if (may(x, w, "deadline")) {
        return spend(x, w, "deadline");
    }
    return quiet(x, w) && spend(x, w, "late");
}

/* ---- what can happen to a worker ---- */

static void deliveries(explorer *x, const graph_world *now, uint32_t i)
{
    static const char *const names[WEFT_MESSAGE_TYPE_END] = {
        [WEFT_MESSAGE_START] = "DeliverStart",       [WEFT_MESSAGE_UPDATE] = "DeliverUpdate",
        [WEFT_MESSAGE_DOCUMENT] = "DeliverDocument", [WEFT_MESSAGE_PAYLOAD] = "DeliverPayload",
        [WEFT_MESSAGE_APPLY] = "DeliverApply",       [WEFT_MESSAGE_COMMIT] = "DeliverCommit",
        [WEFT_MESSAGE_ABORT] = "DeliverAbort",
    };
    const graph_queue *queues[] = {&now->ends[i].down, &now->ends[i].past};

    for (uint32_t past = 0; past < 2; past++) {
        if (queues[past]->count > 0) {
            graph_world next = *now;
            graph_deliver(&next, i, past == 1);
            edge(x, names[queues[past]->list[0].type], &next);
        }
    }
}

static void result(explorer *x, const graph_world *now, uint32_t i, const char *action,
                   weft_input input)
{
    graph_world next = *now;

    if (input.status == WEFT_OK ||
        spend(x, &next, input.type == WEFT_INPUT_UNDONE ? "undo" : "device")) {
        graph_result(&next, i, input);
        edge(x, action, &next);
    }
}

static void wrong_result(explorer *x, const graph_world *now, uint32_t i)
{
    graph_world next = *now;

    if (spend(x, &next, "device")) {
        graph_result(&next, i, (weft_input){.type = WEFT_INPUT_VERIFIED, .digest = 1});
        edge(x, "VerifiedWrong", &next);
    }
}

static void validations(explorer *x, const graph_world *now, uint32_t i)
{
    const weft_worker_core *c = &now->ends[i].core;

    for (int streamed = 0; streamed < 2; streamed++) {
        bool allowed = c->kind == WEFT_SPARSE ? streamed == 0
                                              : lists(x->bounds.policies, streamed ? "1" : "0");
        if (allowed && (c->update == 0 || c->streamed == (streamed == 1))) {
            result(x, now, i, "Validated",
                   (weft_input){.type = WEFT_INPUT_VALIDATED, .streamed = streamed == 1});
        }
    }
}

static void good_results(explorer *x, const graph_world *now, uint32_t i)
{
    uint8_t owes = now->ends[i].owes;

    if (owes == WEFT_INPUT_VALIDATED) {
        validations(x, now, i);
    } else if (owes == WEFT_INPUT_RECEIVED) {
        result(x, now, i, "Received", (weft_input){.type = owes});
    } else if (owes == WEFT_INPUT_VERIFIED) {
        result(x, now, i, "Verified", (weft_input){.type = owes});
        wrong_result(x, now, i);
    } else if (owes == WEFT_INPUT_WRITTEN) {
        result(x, now, i, "Written", (weft_input){.type = owes});
    } else if (owes == WEFT_INPUT_UNDONE) {
        result(x, now, i, "Undone", (weft_input){.type = owes});
    }
}

static void bad_results(explorer *x, const graph_world *now, uint32_t i)
{
    uint8_t owes = now->ends[i].owes, awaits = now->ends[i].core.awaits;
    weft_input bad = {.status = WEFT_E_DEVICE_FAILED};

    if (awaits == WEFT_AWAITS_DOCUMENT || awaits == WEFT_AWAITS_VALIDATION) {
        bad.type = WEFT_INPUT_VALIDATED;
        result(x, now, i, "NotValidated", bad);
    }
    if (awaits == WEFT_AWAITS_PAYLOAD || owes == WEFT_INPUT_RECEIVED) {
        bad.type = WEFT_INPUT_RECEIVED;
        result(x, now, i, "NotReceived", bad);
    }
    if (awaits == WEFT_AWAITS_TRANSFER && owes == WEFT_INPUT_RECEIVED) {
        graph_world next = *now;
        if (spend(x, &next, "hang")) {
            next.ends[i].owes = GRAPH_NEVER;
            edge(x, "Hangs", &next);
        }
    }
    bad.type = owes;
    if (owes == WEFT_INPUT_VERIFIED) {
        result(x, now, i, "NotVerified", bad);
    } else if (owes == WEFT_INPUT_WRITTEN) {
        result(x, now, i, "NotWritten", bad);
    } else if (owes == WEFT_INPUT_UNDONE && awaits == WEFT_AWAITS_UNDO) {
        result(x, now, i, "NotUndone", bad);
    }
}

static void worker_losses(explorer *x, const graph_world *now, uint32_t i)
{
    const graph_end *e = &now->ends[i];
    graph_world next = *now;

    if (e->here && (!e->there || spend(x, &next, "cut"))) {
        graph_worker_loses(&next, i, false);
        edge(x, "WorkerLosesLink", &next);
    }
    next = *now;
    if (e->half) {
        graph_worker_loses(&next, i, true);
        edge(x, "WorkerLosesPast", &next);
    }
    next = *now;
    if (spend(x, &next, "worker")) {
        graph_worker_crashes(&next, i);
        edge(x, "WorkerCrashes", &next);
    }
    next = *now;
    if (e->core.machine.state != WEFT_IDLE && time_passes(x, &next)) {
        graph_worker_deadline(&next, i);
        edge(x, "WorkerDeadline", &next);
    }
}

/* Each peer is asked; an answer that decides nothing must change nothing. */
static void answers(explorer *x, const graph_world *now, uint32_t i)
{
    const graph_end *e = &now->ends[i];

    for (uint32_t j = 0; e->core.awaits == WEFT_AWAITS_PEERS && j < x->bounds.workers; j++) {
        if (j == i || (e->peers >> j & 1u) == 0) {
            continue;
        }
        graph_world next = *now;
        weft_outcome said = graph_says(&next, i, j);
        const char *action = said == WEFT_OUTCOME_COMMITTED ? "LearnsCommitted"
                             : said == WEFT_OUTCOME_ABORTED ? "LearnsAborted"
                             : said == WEFT_OUTCOME_IN_DOUBT && !graph_knows_of_doubt(now, i, j)
                                 ? "LearnsOfDoubt"
                                 : "nothing";
        graph_learns(&next, i, j, said);
        /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c) */
        if (strcmp(action, "nothing") != 0 || memcmp(&next, now, sizeof next) != 0) {
            edge(x, action, &next);
        }
    }
}

/* ---- what can happen to the trainer ---- */

static void hearings(explorer *x, const graph_world *now, uint32_t i)
{
    static const char *const names[WEFT_MESSAGE_TYPE_END] = {
        [WEFT_MESSAGE_HELLO] = "HearHello",     [WEFT_MESSAGE_STARTED] = "HearStarted",
        [WEFT_MESSAGE_READY] = "HearReady",     [WEFT_MESSAGE_STAGED] = "HearStaged",
        [WEFT_MESSAGE_APPLIED] = "HearApplied", [WEFT_MESSAGE_COMMITTED] = "HearCommitted",
        [WEFT_MESSAGE_ABORTED] = "HearAborted", [WEFT_MESSAGE_FAILED] = "HearFailed",
    };
    const graph_queue *up = &now->ends[i].up;

    if (up->count > 0) {
        graph_world next = *now;
        graph_hear(&next, i);
        edge(x, names[up->list[0].type], &next);
    }
}

static void connections(explorer *x, const graph_world *now, uint32_t i)
{
    const graph_end *e = &now->ends[i];
    graph_world next = *now;

    if (e->there && (!e->here || spend(x, &next, "cut"))) {
        graph_trainer_loses(&next, i);
        edge(x, "TrainerLosesLink", &next);
    }
    next = *now;
    if (!e->there && !(e->here && e->half) && (!e->here || spend(x, &next, "half"))) {
        graph_connect(&next, i);
        edge(x, "Connect", &next);
    }
}

static void pushes(explorer *x, const graph_world *now)
{
    static const char *const kinds[] = {[WEFT_SPARSE] = "sparse", [WEFT_BASELINE] = "baseline"};

    for (uint32_t kind = WEFT_SPARSE; kind <= WEFT_BASELINE; kind++) {
        for (uint32_t updates = 1; updates <= 2; updates++) {
            graph_world next = *now;
            if (lists(x->bounds.kinds, kinds[kind]) &&
                lists(x->bounds.updates, updates == 1 ? "1" : "2")) {
                graph_push(&next, (weft_kind)kind, updates);
                edge(x, "Push", &next);
            }
        }
    }
}

static void trainer_events(explorer *x, const graph_world *now)
{
    weft_trainer_core core;
    graph_world next = *now;
    graph_trainer_get(now, &core);
    bool decided = core.phase == WEFT_PHASE_COMMIT || core.phase == WEFT_PHASE_ABORT;

    if (core.phase == WEFT_PHASE_NONE && weft_trainer_core_known(&core) > 0 &&
        now->pushes < x->bounds.sessions) {
        pushes(x, now);
    }
    if (core.phase != WEFT_PHASE_NONE && !decided && spend(x, &next, "stop")) {
        graph_stop(&next);
        edge(x, "Stop", &next);
    }
    next = *now;
    if (now->transport == WEFT_TRANSPORT_NCCL && core.phase == WEFT_PHASE_PAYLOAD &&
        spend(x, &next, "transfer")) {
        graph_transfer_fails(&next);
        edge(x, "TransferFails", &next);
    }
    next = *now;
    if (core.phase != WEFT_PHASE_NONE && time_passes(x, &next)) {
        graph_trainer_deadline(&next);
        edge(x, "TrainerDeadline", &next);
    }
    next = *now;
    if (spend(x, &next, "trainer")) {
        graph_trainer_crashes(&next, x->bounds.workers);
        edge(x, "TrainerCrashes", &next);
    }
}

static void explore(explorer *x)
{
    for (x->present = 0; x->present < x->count; x->present++) {
        graph_world now = x->worlds[x->present]; /* the array moves as it grows */
        for (uint32_t i = 0; i < x->bounds.workers; i++) {
            deliveries(x, &now, i);
            good_results(x, &now, i);
            bad_results(x, &now, i);
            worker_losses(x, &now, i);
            answers(x, &now, i);
            hearings(x, &now, i);
            connections(x, &now, i);
        }
        trainer_events(x, &now);
    }
}

int main(int count, char **words)
{
    if (count != 11) {
        (void)fprintf(stderr, "usage: weft-graph WORKERS SESSIONS UPDATES KINDS POLICIES FAULTS "
                              "COUNTED FREE TRANSPORT PEERS (tla/graph.py gives them)\n");
        return 2;
    }
    explorer x = {.bounds = {.workers = (uint32_t)strtoul(words[1], NULL, 10),
                             .sessions = (uint32_t)strtoul(words[2], NULL, 10),
                             .updates = words[3],
                             .kinds = words[4],
                             .policies = words[5],
                             .counted = words[7],
                             .free = words[8],
                             .transport = strcmp(words[9], "nccl") == 0 ? WEFT_TRANSPORT_NCCL
                                                                        : WEFT_TRANSPORT_TCP},
                  .capacity = 2048,
                  .table_size = 8192};
    weft_invariant(x.bounds.workers <= GRAPH_WORKERS_MAX &&
                   x.bounds.sessions + 2 < GRAPH_VERSIONS_MAX);
    graph_world first;

    grow(&x);
    graph_world_begin(&first, x.bounds.workers, x.bounds.transport, strcmp(words[10], "TRUE") == 0);
    first.faults = (uint8_t)strtoul(words[6], NULL, 10);
    (void)number_of(&x, &first);
    explore(&x);
    (void)fprintf(stderr, "%" PRIu32 " worlds\n", x.count);
    free(x.worlds);
    free(x.table);
    return 0;
}
