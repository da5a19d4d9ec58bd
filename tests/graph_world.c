#include "graph_world.h"

#include <string.h>

#include "invariant.h"

#define MODEL_ELEMENTS 50u
#define FINGERPRINT    UINT64_C(0xf0)
#define TIMEOUT_MS     10u
#define NOW_NS         UINT64_C(1000)
#define DEADLINE_NS    (NOW_NS + TIMEOUT_MS * UINT64_C(1000000))
#define PIECE_BYTES    9u /* of every document, payload and list of addresses */
#define LINK_OF_PEER   9u /* of who asks, and of who answers */

uint64_t graph_digest_of(uint64_t version)
{
    return version * UINT64_C(0x100001);
}

uint64_t graph_content(const weft_worker_core *core, uint32_t updates)
{
    uint64_t begin = core->kind == WEFT_SPARSE ? core->digest : 0;

    return updates == core->updates ? core->target_digest : begin + UINT64_C(5) * updates;
}

void graph_trainer_get(const graph_world *w, weft_trainer_core *core)
{
    memset(core, 0, sizeof *core);
    memcpy(core, w->trainer.head, sizeof w->trainer.head);
    memcpy(core->slots, w->trainer.slots, sizeof w->trainer.slots);
}

/* Deadlines are relative to a clock that stands still, so that equal situations are equal bytes. */
static void trainer_set(graph_world *w, weft_trainer_core *core)
{
    w->fouled |= (core->phase != WEFT_PHASE_NONE) != (core->deadline_ns != 0);
    core->deadline_ns = core->deadline_ns == 0 ? 0 : DEADLINE_NS;
    memcpy(w->trainer.head, core, sizeof w->trainer.head);
    memcpy(w->trainer.slots, core->slots, sizeof w->trainer.slots);
}

/* ---- ranks ---- */

static uint32_t count_bits(uint32_t bits)
{
    return bits == 0 ? 0 : (bits & 1u) + count_bits(bits >> 1);
}

/* The rank of a worker in a session of these: from 1, in the order of their links. */
static uint32_t rank_of(uint8_t peers, uint32_t worker)
{
    return count_bits(peers & ((1u << worker) - 1u)) + 1u;
}

/* ---- frames ---- */

static graph_frame frame_of(const weft_message *m)
{
    bool hello = m->type == WEFT_MESSAGE_HELLO;
    bool start = m->type == WEFT_MESSAGE_START;
    graph_frame f = {.type = m->type,
                     .kind = m->kind,
                     .outcome = m->outcome,
                     .updates = (uint8_t)m->updates,
                     .update = (uint8_t)m->update,
                     .epoch = (uint8_t)(hello ? m->last_epoch : m->epoch),
                     .base = (uint8_t)m->base_version,
                     .target = (uint8_t)m->target_version,
                     .version = (uint8_t)m->version,
                     .peers = (uint8_t)(start ? m->ranks : 0)};

    f.digests_differ = (hello && m->digest != graph_digest_of(m->version)) ||
                       (start && (m->base_digest != graph_digest_of(m->base_version) ||
                                  m->target_digest != graph_digest_of(m->target_version)));
    return f;
}

static weft_message message_of(const graph_world *w, uint32_t worker, const graph_frame *f)
{
    bool has_peers = f->peers != 0;
    bool piece = f->type == WEFT_MESSAGE_DOCUMENT ||
                 (f->type == WEFT_MESSAGE_PAYLOAD && w->transport == WEFT_TRANSPORT_TCP);
    bool hello = f->type == WEFT_MESSAGE_HELLO;

    return (weft_message){.type = f->type,
                          .kind = f->kind,
                          .outcome = f->outcome,
                          .transport = w->transport,
                          .fingerprint = FINGERPRINT,
                          .updates = f->updates,
                          .update = f->update,
                          .epoch = hello ? 0 : f->epoch,
                          .last_epoch = hello ? f->epoch : 0,
                          .base_version = f->base,
                          .base_digest = graph_digest_of(f->base),
                          .target_version = f->target,
                          .target_digest = graph_digest_of(f->target),
                          .version = f->version,
                          .digest = graph_digest_of(hello ? f->version : f->target),
                          .timeout_ms = TIMEOUT_MS,
                          .document_bytes = PIECE_BYTES,
                          .payload_bytes = PIECE_BYTES,
                          .rank = has_peers ? rank_of(f->peers, worker) : 0,
                          .ranks = has_peers ? count_bits(f->peers) + 1u : 0,
                          .peers_bytes = has_peers ? PIECE_BYTES : 0,
                          .tail = piece ? PIECE_BYTES : 0};
}

static void enqueue(graph_queue *q, const weft_message *m)
{
    weft_invariant(q->count < GRAPH_FRAMES_MAX);
    q->list[q->count++] = frame_of(m);
}

static graph_frame dequeue(graph_queue *q)
{
    graph_frame first = q->list[0];

    q->count--;
    memmove(q->list, q->list + 1, q->count * sizeof *q->list);
    memset(&q->list[q->count], 0, sizeof *q->list);
    return first;
}

static void clear(graph_queue *q)
{
    memset(q, 0, sizeof *q);
}

/* ---- a worker's engine ---- */

static void worker_send(graph_world *w, graph_end *e, const weft_action *action)
{
    weft_message message;

    weft_worker_compose(&e->core, action, &message);
    if (action->message == WEFT_MESSAGE_APPLIED) { /* a frame here has versions only */
        message.target_version = e->core.target_version;
        w->fouled |= message.digest != e->core.target_digest;
    }
    if (action->link == e->number && e->here && e->there) {
        enqueue(&e->up, &message);
    }
}

static void worker_tell(graph_world *w, graph_end *e, uint64_t target)
{
    e->told[target] = e->core.last_outcome;
    if (e->core.last_outcome == WEFT_OUTCOME_COMMITTED) {
        w->kept = (uint8_t)(w->kept | 1u << target);
    }
}

static void worker_put(graph_end *e, uint8_t owes)
{
    e->before = owes == WEFT_INPUT_WRITTEN ? e->weights : e->before;
    e->weights = 0;
    e->owes = owes;
}

static void worker_action(graph_world *w, graph_end *e, const weft_action *a, uint64_t target)
{
    switch ((weft_action_type)a->type) {
    case WEFT_ACTION_SEND:
        worker_send(w, e, a);
        break;
    case WEFT_ACTION_OPEN:
        e->staging = true;
        break;
    case WEFT_ACTION_TAKE:
        e->owes = e->core.awaits == WEFT_AWAITS_UPDATE       ? 0 /* the list of addresses */
                  : e->core.awaits == WEFT_AWAITS_VALIDATION ? WEFT_INPUT_VALIDATED
                                                             : WEFT_INPUT_RECEIVED;
        break;
    case WEFT_ACTION_TRANSFER:
        e->owes = WEFT_INPUT_RECEIVED;
        break;
    case WEFT_ACTION_VERIFY:
        e->owes = WEFT_INPUT_VERIFIED;
        break;
    case WEFT_ACTION_PUT:
        worker_put(e, WEFT_INPUT_WRITTEN);
        break;
    case WEFT_ACTION_UNDO: /* of a collective too, which wrote to no weights */
        if (e->core.written && !e->core.streamed) {
            worker_put(e, WEFT_INPUT_UNDONE);
        }
        e->owes = WEFT_INPUT_UNDONE;
        break;
    case WEFT_ACTION_CANCEL:
        e->owes = 0;
        break;
    case WEFT_ACTION_PAUSE:
        e->paused = true;
        break;
    case WEFT_ACTION_RESUME:
        e->paused = false;
        break;
    case WEFT_ACTION_RELEASE:
        e->staging = false;
        break;
    case WEFT_ACTION_COMMITTED:
    case WEFT_ACTION_FAILED:
        worker_tell(w, e, target);
        break;
    case WEFT_ACTION_TRANSITION:
    case WEFT_ACTION_DROP:
    case WEFT_ACTION_ASK:
        break;
    case WEFT_ACTION_CLOSE: /* a trainer's */
    case WEFT_ACTION_ADVANCE:
        w->fouled = true;
        break;
    }
}

static void drive_worker(graph_world *w, graph_end *e, weft_input input)
{
    weft_worker_core before = e->core;
    weft_actions actions;

    input.now_ns = input.now_ns == 0 ? NOW_NS : input.now_ns;
    weft_worker_step(&e->core, &input, &actions);
    for (uint32_t i = 0; i < actions.count; i++) {
        worker_action(w, e, &actions.list[i], before.target_version);
    }
    if (before.machine.state == WEFT_IDLE && input.type == WEFT_INPUT_MESSAGE &&
        input.message.type == WEFT_MESSAGE_ABORT && e->core.last_epoch != before.last_epoch) {
        worker_tell(w, e, input.message.target_version); /* it says ABORTED of what it never saw */
    }
    e->wrong = e->wrong && weft_session_active(&e->core.machine);
    e->peers = weft_session_active(&e->core.machine) ? e->peers : 0;
    w->fouled |= weft_session_active(&e->core.machine) != (e->core.deadline_ns != 0);
    w->fouled |= e->paused != e->core.paused;
    e->core.deadline_ns = e->core.deadline_ns == 0 ? 0 : DEADLINE_NS;
}

/* ---- the trainer's engine ---- */

static void send_to_members(graph_world *w, const weft_trainer_core *core, weft_message message)
{
    for (uint32_t i = 0; i < GRAPH_WORKERS_MAX; i++) {
        if (core->slots[i].member && w->ends[i].here) {
            enqueue(&w->ends[i].down, &message);
        }
    }
}

static uint32_t members_of(const weft_trainer_core *core)
{
    uint32_t members = 0;

    for (uint32_t i = 0; i < GRAPH_WORKERS_MAX; i++) {
        members |= core->slots[i].member ? 1u << i : 0;
    }
    return members;
}

static void trainer_send(graph_world *w, const weft_trainer_core *core, const weft_action *action)
{
    weft_message message;

    weft_trainer_compose(core, action, &message);
    if (message.type == WEFT_MESSAGE_START && w->addresses) {
        message.ranks = members_of(core); /* in a frame here: who they are */
    }
    send_to_members(w, core, message);
    if (message.type == WEFT_MESSAGE_UPDATE) {
        message.type = WEFT_MESSAGE_DOCUMENT;
        send_to_members(w, core, message);
    }
}

static void drive_trainer(graph_world *w, weft_input input)
{
    weft_trainer_core core;
    weft_actions actions;
    graph_trainer_get(w, &core);
    uint8_t phase = core.phase;

    input.now_ns = input.now_ns == 0 ? NOW_NS : input.now_ns;
    weft_trainer_step(&core, &input, &actions);
    for (uint32_t i = 0; i < actions.count; i++) {
        if (actions.list[i].type == WEFT_ACTION_SEND) {
            trainer_send(w, &core, &actions.list[i]);
        }
        w->fouled |= actions.list[i].type == WEFT_ACTION_CLOSE;
    }
    if (core.phase == WEFT_PHASE_PAYLOAD && phase != WEFT_PHASE_PAYLOAD &&
        w->transport == WEFT_TRANSPORT_TCP) {
        send_to_members(w, &core,
                        (weft_message){.type = WEFT_MESSAGE_PAYLOAD,
                                       .epoch = core.epoch,
                                       .target_version = core.target_version,
                                       .update = core.update});
    }
    if (core.phase == WEFT_PHASE_COMMIT) {
        w->decided = (uint8_t)(w->decided | 1u << core.target_version);
    }
    trainer_set(w, &core);
}

/* ---- what can happen ---- */

static void begin_worker(graph_end *e)
{
    weft_worker_core_init(&e->core, MODEL_ELEMENTS, GRAPH_FIRST, graph_digest_of(GRAPH_FIRST),
                          TIMEOUT_MS);
    e->weights = GRAPH_FIRST;
}

static void begin_trainer(graph_world *w)
{
    weft_trainer_core core;

    weft_trainer_core_init(&core, FINGERPRINT, GRAPH_FIRST, graph_digest_of(GRAPH_FIRST));
    trainer_set(w, &core);
}

void graph_world_begin(graph_world *w, uint32_t workers, uint8_t transport, bool addresses)
{
    memset(w, 0, sizeof *w);
    w->transport = transport;
    w->addresses = addresses;
    begin_trainer(w);
    for (uint32_t i = 0; i < workers; i++) {
        begin_worker(&w->ends[i]);
    }
}

void graph_deliver(graph_world *w, uint32_t worker, bool past)
{
    graph_end *e = &w->ends[worker];
    graph_frame frame = dequeue(past ? &e->past : &e->down);
    weft_input input = {.type = WEFT_INPUT_MESSAGE,
                        .link = past ? 1u - e->number : e->number,
                        .message = message_of(w, worker, &frame)};
    uint64_t last = e->core.last_epoch;

    w->fouled |= frame.digests_differ;
    drive_worker(w, e, input);
    if (frame.peers != 0 && e->core.epoch == frame.epoch && last < frame.epoch) {
        e->peers = frame.peers; /* the list of addresses is not a frame of its own here */
        input.message =
            (weft_message){.type = WEFT_MESSAGE_PEERS, .epoch = frame.epoch, .tail = PIECE_BYTES};
        drive_worker(w, e, input);
    }
}

/* ---- doubt ---- */

weft_outcome graph_says(graph_world *w, uint32_t worker, uint32_t peer)
{
    const graph_end *e = &w->ends[worker];
    graph_end *asked = &w->ends[peer];
    weft_worker_core before = asked->core;
    weft_input ask = {.type = WEFT_INPUT_MESSAGE, .link = LINK_OF_PEER, .now_ns = NOW_NS};
    weft_actions actions;
    weft_message said;

    weft_worker_compose(&e->core,
                        &(weft_action){.type = WEFT_ACTION_SEND,
                                       .message = WEFT_MESSAGE_ASK,
                                       .epoch = e->core.epoch},
                        &ask.message);
    ask.message.rank = rank_of(e->peers, peer);
    weft_worker_step(&asked->core, &ask, &actions);
    weft_worker_compose(&asked->core, &actions.list[0], &said);
    /* It is the same object, copied: padding too.
     * NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c) */
    bool moved = memcmp(&before, &asked->core, sizeof before) != 0;
    w->fouled |= moved || actions.count != 1 || actions.list[0].link != LINK_OF_PEER ||
                 said.type != WEFT_MESSAGE_OUTCOME || said.epoch != e->core.epoch;
    return (weft_outcome)said.outcome;
}

void graph_learns(graph_world *w, uint32_t worker, uint32_t peer, weft_outcome outcome)
{
    graph_end *e = &w->ends[worker];
    weft_message message = {.type = WEFT_MESSAGE_OUTCOME,
                            .epoch = e->core.epoch,
                            .rank = rank_of(e->peers, peer),
                            .outcome = (uint8_t)outcome};

    drive_worker(
        w, e, (weft_input){.type = WEFT_INPUT_MESSAGE, .link = LINK_OF_PEER, .message = message});
}

bool graph_knows_of_doubt(const graph_world *w, uint32_t worker, uint32_t peer)
{
    const graph_end *e = &w->ends[worker];

    return (e->core.in_doubt[0] >> (rank_of(e->peers, peer) - 1u) & 1u) != 0;
}

/* A streamed baseline writes as its bytes come: from READY on the old content is gone, and when all
 * is verified the new one is there. */
static void stream(graph_end *e, const weft_worker_core *before)
{
    if (e->core.streamed && !before->streamed) {
        e->weights = 0;
    } else if (e->core.streamed && e->core.update != before->update &&
               (e->core.updates == 0 || e->core.update == e->core.updates)) {
        e->weights = (uint8_t)(e->wrong ? 0 : e->core.target_version);
    }
}

void graph_result(graph_world *w, uint32_t worker, weft_input input)
{
    graph_end *e = &w->ends[worker];
    weft_worker_core before = e->core;
    bool good = input.status == WEFT_OK;

    e->owes = 0;
    if (input.type == WEFT_INPUT_VERIFIED && good) {
        /* Each update of local control may be the last one: its first brings the whole change. */
        bool local = before.updates == 0, first = before.update == 0;
        bool last = local || before.update + 1 == before.updates;
        uint64_t begin = before.kind == WEFT_SPARSE ? before.digest : 0;
        uint64_t present = !local  ? graph_content(&before, before.update)
                           : first ? begin
                                   : before.target_digest;
        input.changed = last ? MODEL_ELEMENTS - before.changed : 1;
        e->wrong |= input.digest != 0;
        input.digest +=
            (last ? before.target_digest : graph_content(&before, before.update + 1)) - present;
    } else if (input.type == WEFT_INPUT_WRITTEN && good) {
        e->weights = (uint8_t)(e->wrong ? 0 : before.target_version);
    } else if (input.type == WEFT_INPUT_UNDONE && good && before.awaits == WEFT_AWAITS_UNDO &&
               before.written && !before.streamed) {
        e->weights = e->before;
    }
    drive_worker(w, e, input);
    stream(e, &before);
}

void graph_hear(graph_world *w, uint32_t worker)
{
    graph_frame frame = dequeue(&w->ends[worker].up);

    w->fouled |= frame.digests_differ;
    drive_trainer(w, (weft_input){.type = WEFT_INPUT_MESSAGE,
                                  .link = worker,
                                  .message = message_of(w, worker, &frame)});
}

void graph_push(graph_world *w, weft_kind kind, uint32_t updates)
{
    uint64_t target = w->pushes + GRAPH_FIRST + 1u;
    weft_message message = {.kind = (uint8_t)kind,
                            .transport = w->transport,
                            .target_version = target,
                            .target_digest = graph_digest_of(target),
                            .updates = updates,
                            .timeout_ms = TIMEOUT_MS};

    w->pushes++;
    drive_trainer(w, (weft_input){.type = WEFT_INPUT_PUSH, .message = message});
}

void graph_stop(graph_world *w)
{
    drive_trainer(w, (weft_input){.type = WEFT_INPUT_STOP, .status = WEFT_E_ABORTED});
}

void graph_transfer_fails(graph_world *w)
{
    drive_trainer(w, (weft_input){.type = WEFT_INPUT_STOP, .status = WEFT_E_COLLECTIVE});
}

void graph_worker_deadline(graph_world *w, uint32_t worker)
{
    drive_worker(w, &w->ends[worker],
                 (weft_input){.type = WEFT_INPUT_TIME,
                              .link = WEFT_LINK_NONE,
                              .now_ns = w->ends[worker].core.deadline_ns});
}

void graph_trainer_deadline(graph_world *w)
{
    drive_trainer(w, (weft_input){.type = WEFT_INPUT_TIME, .now_ns = DEADLINE_NS});
}

void graph_worker_loses(graph_world *w, uint32_t worker, bool past)
{
    graph_end *e = &w->ends[worker];
    uint32_t link = past ? 1u - e->number : e->number;

    clear(past ? &e->past : &e->down);
    drive_worker(
        w, e,
        (weft_input){.type = WEFT_INPUT_LINK_LOST, .link = link, .status = WEFT_E_LINK_CLOSED});
    if (past) {
        e->half = false;
    } else {
        e->here = false;
    }
}

void graph_trainer_loses(graph_world *w, uint32_t worker)
{
    graph_end *e = &w->ends[worker];

    e->there = false;
    clear(&e->up);
    drive_trainer(
        w,
        (weft_input){.type = WEFT_INPUT_LINK_LOST, .link = worker, .status = WEFT_E_LINK_CLOSED});
}

void graph_worker_crashes(graph_world *w, uint32_t worker)
{
    graph_end *e = &w->ends[worker];
    graph_end old = *e;

    memset(e, 0, sizeof *e);
    begin_worker(e);
    e->there = old.there;
    e->up = old.up;
}

void graph_trainer_crashes(graph_world *w, uint32_t workers)
{
    begin_trainer(w);
    for (uint32_t i = 0; i < workers; i++) {
        w->ends[i].there = false;
        clear(&w->ends[i].up);
    }
}

/* The calls of worker_local.c as the messages that they become; which of them are legal, the caller
 * knows. */
void graph_local(graph_world *w, uint32_t worker, weft_message_type type, weft_kind kind)
{
    graph_end *e = &w->ends[worker];
    bool start = type == WEFT_MESSAGE_START;
    uint64_t target = start ? w->pushes++ + GRAPH_FIRST + 1u : e->core.target_version;
    graph_frame frame = {.type = (uint8_t)type,
                         .kind = (uint8_t)kind,
                         .update = (uint8_t)e->core.update,
                         .epoch = (uint8_t)(start ? e->core.last_epoch + 1 : e->core.epoch),
                         .base = (uint8_t)e->core.version,
                         .target = (uint8_t)target};

    drive_worker(w, e,
                 (weft_input){.type = WEFT_INPUT_MESSAGE,
                              .link = WEFT_LINK_LOCAL,
                              .message = message_of(w, worker, &frame)});
}

void graph_connect(graph_world *w, uint32_t worker)
{
    graph_end *e = &w->ends[worker];
    weft_action hello = {.type = WEFT_ACTION_SEND, .message = WEFT_MESSAGE_HELLO};
    weft_trainer_core core;
    weft_message message;

    if (e->here) { /* the worker has not noticed yet that this one is gone */
        e->past = e->down;
        e->half = true;
        e->number = (uint8_t)(1 - e->number);
        clear(&e->down);
    }
    e->here = e->there = true;
    weft_worker_compose(&e->core, &hello, &message);
    enqueue(&e->up, &message);
    graph_trainer_get(w, &core);
    weft_trainer_core_open(&core, worker);
    trainer_set(w, &core);
}
