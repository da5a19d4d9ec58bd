/* The abstraction: a world in the words of tla/WeightUpdate.tla. */
#include <inttypes.h>
#include <stdio.h>

#include "graph_world.h"

static const char *const WORKERS[GRAPH_WORKERS_MAX] = {"w1", "w2", "w3"};
static const char *const AWAITS[] = {
    [WEFT_AWAITS_NOTHING] = "nothing",   [WEFT_AWAITS_UPDATE] = "update",
    [WEFT_AWAITS_DOCUMENT] = "document", [WEFT_AWAITS_VALIDATION] = "validation",
    [WEFT_AWAITS_PAYLOAD] = "payload",   [WEFT_AWAITS_VERIFICATION] = "verification",
    [WEFT_AWAITS_WRITE] = "write",       [WEFT_AWAITS_DECISION] = "decision",
    [WEFT_AWAITS_UNDO] = "undo",         [WEFT_AWAITS_TRANSFER] = "transfer",
    [WEFT_AWAITS_PEERS] = "peers",
};
static const char *const OWES[] = {
    [0] = "none",
    [WEFT_INPUT_VALIDATED] = "validated",
    [WEFT_INPUT_RECEIVED] = "received",
    [WEFT_INPUT_VERIFIED] = "verified",
    [WEFT_INPUT_WRITTEN] = "written",
    [WEFT_INPUT_UNDONE] = "undone",
    [GRAPH_NEVER] = "nothing, ever",
};
static const char *const PHASES[] = {
    [WEFT_PHASE_NONE] = "none",       [WEFT_PHASE_START] = "start",
    [WEFT_PHASE_PREPARE] = "prepare", [WEFT_PHASE_PAYLOAD] = "payload",
    [WEFT_PHASE_APPLY] = "apply",     [WEFT_PHASE_COMMIT] = "commit",
    [WEFT_PHASE_ABORT] = "abort",
};
static const char *const KINDS[] = {
    [0] = "none", [WEFT_SPARSE] = "sparse", [WEFT_BASELINE] = "baseline"};

static const char *truth(bool value)
{
    return value ? "true" : "false";
}

/* A version whose digest is not its own is none of the model's. */
static int64_t version_of(uint64_t version, uint64_t digest)
{
    return digest == graph_digest_of(version) ? (int64_t)version : -1;
}

static const char *worker_cause(int32_t cause)
{
    return cause == WEFT_OK ? "none" : cause == WEFT_E_ABORTED ? "aborted" : "fault";
}

static const char *trainer_cause(int32_t cause)
{
    return cause == WEFT_OK              ? "none"
           : cause == WEFT_E_UNCONFIRMED ? "unconfirmed"
           : cause == WEFT_E_IN_DOUBT    ? "in doubt"
                                         : "fault";
}

static void print_workers(const char *name, uint32_t workers)
{
    const char *comma = "";

    (void)printf(",\"%s\":[", name);
    for (uint32_t i = 0; i < GRAPH_WORKERS_MAX; i++) {
        if ((workers >> i & 1u) != 0) {
            (void)printf("%s\"%s\"", comma, WORKERS[i]);
            comma = ",";
        }
    }
    (void)printf("]");
}

/* Who was in doubt when it was asked, as workers: bits of the core are ranks. */
static uint32_t doubters_of(const graph_end *e)
{
    uint32_t doubters = 0, rank = 1;

    for (uint32_t i = 0; i < GRAPH_WORKERS_MAX; i++) {
        if ((e->peers >> i & 1u) != 0) {
            doubters |= (e->core.in_doubt[0] >> (rank++ - 1u) & 1u) != 0 ? 1u << i : 0;
        }
    }
    return doubters;
}

static void print_worker(const graph_end *e)
{
    const weft_worker_core *c = &e->core;
    bool idle = c->machine.state == WEFT_IDLE;
    const char *owner = c->owner == WEFT_LINK_NONE ? "nobody"
                        : c->owner == e->number    ? "now"
                                                   : "past";

    (void)printf("{\"state\":\"%s\",\"awaits\":\"%s\",\"kind\":\"%s\",\"cause\":\"%s\",",
                 weft_state_name((weft_state)c->machine.state), AWAITS[c->awaits], KINDS[c->kind],
                 worker_cause(c->cause));
    (void)printf("\"streamed\":%s,\"written\":%s,\"paused\":%s,\"owner\":\"%s\",",
                 truth(c->streamed), truth(c->written), truth(c->paused), owner);
    (void)printf("\"update\":%" PRIu32 ",\"updates\":%" PRIu32 ",\"epoch\":%" PRIu64
                 ",\"target\":%" PRId64 ",\"right\":%s,",
                 c->update, c->updates, c->epoch, version_of(c->target_version, c->target_digest),
                 truth(idle || c->content_digest == graph_content(c, c->update)));
    (void)printf(
        "\"version\":%" PRId64 ",\"condition\":\"%s\",\"last\":%" PRIu64 ",\"outcome\":\"%s\"",
        version_of(c->version, c->digest), weft_condition_name((weft_condition)c->condition),
        c->last_epoch, weft_outcome_name((weft_outcome)c->last_outcome));
    print_workers("peers", e->peers);
    print_workers("doubters", doubters_of(e));
    (void)printf("}");
}

static void print_device(const graph_end *e)
{
    (void)printf("{\"weights\":%u,\"owes\":\"%s\",\"staging\":%s}", (unsigned)e->weights,
                 OWES[e->owes], truth(e->staging));
}

static void print_down(const graph_frame *f)
{
    bool numbered = f->type == WEFT_MESSAGE_UPDATE || f->type == WEFT_MESSAGE_DOCUMENT ||
                    f->type == WEFT_MESSAGE_PAYLOAD;

    (void)printf("{\"type\":\"%s\",\"epoch\":%u,\"target\":%u,\"update\":%u",
                 weft_message_name(f->type), (unsigned)f->epoch, (unsigned)f->target,
                 numbered ? (unsigned)f->update : 0u);
    if (f->type == WEFT_MESSAGE_START) {
        (void)printf(",\"kind\":\"%s\",\"base\":%u,\"updates\":%u", KINDS[f->kind],
                     (unsigned)f->base, (unsigned)f->updates);
        print_workers("peers", f->peers);
    }
    (void)printf("}");
}

static void print_up(const graph_frame *f)
{
    bool numbered = f->type == WEFT_MESSAGE_READY || f->type == WEFT_MESSAGE_STAGED;

    (void)printf("{\"type\":\"%s\",\"epoch\":%u,", weft_message_name(f->type), (unsigned)f->epoch);
    if (f->type == WEFT_MESSAGE_HELLO) {
        (void)printf("\"outcome\":\"%s\",\"version\":%u}",
                     weft_outcome_name((weft_outcome)f->outcome), (unsigned)f->version);
    } else {
        (void)printf("\"update\":%u}", numbered ? (unsigned)f->update : 0u);
    }
}

static void print_queue(const char *name, const graph_queue *q, void (*print)(const graph_frame *))
{
    (void)printf(",\"%s\":[", name);
    for (uint32_t i = 0; i < q->count; i++) {
        (void)printf("%s", i == 0 ? "" : ",");
        print(&q->list[i]);
    }
    (void)printf("]");
}

static void print_link(const graph_end *e)
{
    (void)printf("{\"here\":%s,\"there\":%s,\"half\":%s", truth(e->here), truth(e->there),
                 truth(e->half));
    print_queue("down", &e->down, print_down);
    print_queue("past", &e->past, print_down);
    print_queue("up", &e->up, print_up);
    (void)printf("}");
}

static void print_told(const graph_end *e, uint32_t versions)
{
    (void)printf("[");
    for (uint32_t v = 1; v <= versions; v++) {
        (void)printf("%s\"%s\"", v == 1 ? "" : ",", weft_outcome_name((weft_outcome)e->told[v]));
    }
    (void)printf("]");
}

static void print_slots(const char *name, const bool is[GRAPH_WORKERS_MAX])
{
    const char *comma = "";

    (void)printf(",\"%s\":[", name);
    for (uint32_t i = 0; i < GRAPH_WORKERS_MAX; i++) {
        if (is[i]) {
            (void)printf("%s\"%s\"", comma, WORKERS[i]);
            comma = ",";
        }
    }
    (void)printf("]");
}

/* pending is the model's member \ answered: a core that counts otherwise is fouled. */
static bool counts_right(const weft_trainer_core *c)
{
    uint32_t pending = 0;

    for (uint32_t i = 0; i < GRAPH_WORKERS_MAX; i++) {
        pending += c->slots[i].member && !c->slots[i].answered ? 1 : 0;
    }
    return pending == c->pending;
}

/* What the last session leaves behind in an idle trainer means nothing. */
static void print_trainer(const graph_world *w)
{
    weft_trainer_core c;
    bool known[GRAPH_WORKERS_MAX], member[GRAPH_WORKERS_MAX], answered[GRAPH_WORKERS_MAX];
    graph_trainer_get(w, &c);
    bool runs = c.phase != WEFT_PHASE_NONE;

    (void)printf("{\"state\":\"%s\",\"phase\":\"%s\",\"kind\":\"%s\",\"cause\":\"%s\",",
                 weft_state_name((weft_state)c.machine.state), PHASES[c.phase],
                 KINDS[runs ? c.kind : 0], trainer_cause(c.cause));
    (void)printf("\"outcome\":\"%s\",\"epoch\":%" PRIu64 ",\"highest\":%" PRIu64
                 ",\"doubt\":%" PRIu64 ",",
                 weft_outcome_name((weft_outcome)c.outcome), runs ? c.epoch : 0, c.highest_epoch,
                 c.doubt_epoch);
    (void)printf("\"base\":%" PRId64 ",\"target\":%" PRId64 ",\"update\":%" PRIu32
                 ",\"updates\":%" PRIu32 ",",
                 version_of(c.base_version, c.base_digest),
                 version_of(c.target_version, c.target_digest), runs ? c.update : 0,
                 runs ? c.updates : 0);
    (void)printf("\"members\":%" PRIu32 ",\"committed\":%" PRIu32 ",\"denied\":%" PRIu32,
                 runs ? c.members : 0, runs ? c.committed : 0, runs ? c.denied : 0);
    for (uint32_t i = 0; i < GRAPH_WORKERS_MAX; i++) {
        known[i] = c.slots[i].known;
        member[i] = c.slots[i].member;
        answered[i] = c.slots[i].answered;
    }
    print_slots("known", known);
    print_slots("member", member);
    print_slots("answered", answered);
    (void)printf(",\"fouled\":%s}", truth(w->fouled || !counts_right(&c)));
}

static void print_versions(uint8_t versions)
{
    const char *comma = "";

    (void)printf("[");
    for (unsigned v = 0; v < 8; v++) {
        if (((uint32_t)versions >> v & 1u) != 0) {
            (void)printf("%s%u", comma, v);
            comma = ",";
        }
    }
    (void)printf("]");
}

static void print_each(const char *tab, const graph_world *w, uint32_t workers,
                       void (*print)(const graph_end *))
{
    (void)printf("%s{", tab);
    for (uint32_t i = 0; i < workers; i++) {
        (void)printf("%s\"%s\":", i == 0 ? "" : ",", WORKERS[i]);
        print(&w->ends[i]);
    }
    (void)printf("}");
}

void graph_print(const graph_world *w, uint32_t workers, uint32_t versions)
{
    print_each("", w, workers, print_worker);
    print_each("\t", w, workers, print_device);
    print_each("\t", w, workers, print_link);
    (void)printf("\t");
    print_trainer(w);
    (void)printf("\t{");
    for (uint32_t i = 0; i < workers; i++) {
        (void)printf("%s\"%s\":", i == 0 ? "" : ",", WORKERS[i]);
        print_told(&w->ends[i], versions);
    }
    (void)printf("}\t");
    print_versions(w->kept);
    (void)printf("\t");
    print_versions(w->decided);
    (void)printf("\t%u\t%u\n", (unsigned)w->pushes, (unsigned)w->faults);
}
