#include "replay_world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "invariant.h"

#define TIMEOUT_MS UINT32_C(1000)
#define NEVER_MS   UINT32_C(2000000000)
#define NS_PER_MS  UINT64_C(1000000)

/* ---- frames ---- */

static replay_frame take_first(replay_queue *q)
{
    replay_frame first = q->list[0];
    weft_invariant(q->count > 0);
    q->count--;
    memmove(q->list, q->list + 1, q->count * sizeof *q->list);
    return first;
}

static void clear(replay_queue *q)
{
    while (q->count > 0) {
        free(take_first(q).bytes);
    }
}

static bool is_bulk(const weft_message *message)
{
    return message->type == WEFT_MESSAGE_DOCUMENT || message->type == WEFT_MESSAGE_PAYLOAD;
}

/* A further piece belongs to the frame before it. */
static bool continues(const replay_frame *last, const weft_message *message)
{
    return is_bulk(message) && message->offset > 0 && last->message.type == message->type &&
           last->message.epoch == message->epoch && last->message.update == message->update;
}

static void put_frame(replay_queue *q, const weft_message *message, const uint8_t *bytes,
                      size_t length)
{
    replay_frame *last = q->count > 0 ? &q->list[q->count - 1] : NULL;
    if (last == NULL || !continues(last, message)) {
        weft_invariant(q->count < REPLAY_FRAMES_MAX);
        last = &q->list[q->count++];
        *last = (replay_frame){.message = *message};
    }
    last->bytes = realloc(last->bytes, last->length + length);
    weft_invariant(last->bytes != NULL);
    memcpy(last->bytes + last->length, bytes, length);
    last->length += length;
}

/* Whole frames, as engines give them when all that they have is taken. */
static void put_bytes(replay_queue *q, weft_sender sender, const uint8_t *bytes, size_t length)
{
    for (size_t at = 0; at < length;) {
        weft_message message;
        uint32_t fields;
        weft_status status = weft_frame_decode_header(bytes + at, sender, &message, &fields);
        weft_invariant(status == WEFT_OK);
        uint32_t tail = message.tail;
        weft_message_get_fields(&message, bytes + at + WEFT_FRAME_HEADER_BYTES);
        size_t whole = WEFT_FRAME_HEADER_BYTES + fields + tail;
        weft_invariant(whole <= length - at);
        put_frame(q, &message, bytes + at, whole);
        at += whole;
    }
}

/* ---- what the engines send ---- */

typedef struct outbox {
    uint8_t bytes[1 << 16];
    size_t length;
} outbox;

static void gather(outbox *box, const weft_span *spans, size_t count, size_t *taken)
{
    *taken = 0;
    for (size_t i = 0; i < count; i++) {
        weft_invariant(spans[i].length <= sizeof box->bytes - box->length);
        memcpy(box->bytes + box->length, spans[i].data, spans[i].length);
        box->length += spans[i].length;
        *taken += spans[i].length;
    }
}

/* To the trainer over the present link; over the past one there is nobody to hear. */
static void drain_worker(replay_worker *e)
{
    weft_span spans[WEFT_SPANS_MAX];
    size_t count, taken;
    for (uint32_t i = 0; i < 2; i++) {
        outbox box = {.length = 0};
        while (e->links[i].open &&
               (count = weft_worker_send(e->worker, e->links[i].number, spans)) > 0) {
            gather(&box, spans, count, &taken);
            weft_worker_sent(e->worker, e->links[i].number, taken);
        }
        if (i == 0 && e->there) {
            put_bytes(&e->up, WEFT_SENDER_WORKER, box.bytes, box.length);
        }
    }
}

static void drain_trainer(replay_world *w, replay_worker *e)
{
    weft_span spans[WEFT_SPANS_MAX];
    size_t count, taken;
    outbox box = {.length = 0};
    while (e->there && (count = weft_trainer_send(w->trainer, e->there_number, spans)) > 0) {
        gather(&box, spans, count, &taken);
        weft_trainer_sent(w->trainer, e->there_number, taken);
    }
    if (e->links[0].open) {
        put_bytes(&e->links[0].down, WEFT_SENDER_TRAINER, box.bytes, box.length);
    }
}

static void drain(replay_world *w)
{
    for (uint32_t i = 0; i < w->workers; i++) {
        drain_trainer(w, &w->list[i]);
        if (w->list[i].worker != NULL) {
            drain_worker(&w->list[i]);
        }
    }
}

/* ---- life ---- */

static void add_tensor(weft_model **model, uint16_t *weights)
{
    weft_status status = weft_model_create(model, NULL);
    status = status != WEFT_OK ? status
                               : weft_model_add(*model, &(weft_tensor){.name = "w",
                                                                       .dtype = WEFT_BF16,
                                                                       .rank = 1,
                                                                       .shape = {REPLAY_ELEMENTS},
                                                                       .data = weights});
    weft_invariant(status == WEFT_OK);
}

static void on_pause(void *context, uint64_t epoch)
{
    (void)epoch;
    ((replay_worker *)context)->paused = true;
}

static void on_resume(void *context, uint64_t epoch)
{
    (void)epoch;
    ((replay_worker *)context)->paused = false;
}

static void begin_worker(replay_world *w, replay_worker *e)
{
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    memcpy(e->weights, w->contents[1], sizeof e->weights);
    add_tensor(&e->model, e->weights);
    stand_in_start(&e->device, &w->random);
    e->device.holds = true;
    e->now_ns = 1;
    e->paused = false;
    config.model = e->model;
    config.version = 1;
    config.device = &e->device.face;
    config.baseline = WEFT_BASELINE_STAGED;
    config.timeout_ms = TIMEOUT_MS;
    config.keepalive_ms = NEVER_MS;
    config.hooks = (weft_hooks){.context = e, .pause = on_pause, .resume = on_resume};
    weft_status status = weft_worker_create(&e->worker, &config);
    weft_invariant(status == WEFT_OK);
    weft_worker_tick(e->worker, e->now_ns);
}

static void close_link(replay_link *link)
{
    clear(&link->down);
    free(link->rest.bytes);
    *link = (replay_link){.open = false};
}

static void end_worker(replay_worker *e)
{
    e->device.holds = false; /* nobody waits any more */
    stand_in_release(&e->device, WEFT_OK, 0);
    weft_worker_destroy(e->worker);
    weft_model_destroy(e->model);
    close_link(&e->links[0]);
    close_link(&e->links[1]);
    e->worker = NULL;
}

static void begin_trainer(replay_world *w)
{
    weft_trainer_config config = WEFT_TRAINER_CONFIG_INIT;
    memcpy(w->current_weights, w->contents[1], sizeof w->current_weights);
    memcpy(w->base_weights, w->contents[1], sizeof w->base_weights);
    config.model = w->current;
    config.base = w->base;
    config.base_version = 1;
    config.timeout_ms = TIMEOUT_MS;
    config.keepalive_ms = NEVER_MS;
    weft_status status = weft_trainer_create(&w->trainer, &config);
    weft_invariant(status == WEFT_OK);
    weft_trainer_tick(w->trainer, w->now_ns);
}

replay_world *replay_begin(uint32_t workers, uint32_t versions)
{
    replay_world *w = calloc(1, sizeof *w);
    weft_invariant(w != NULL && workers <= REPLAY_WORKERS_MAX && versions < REPLAY_VERSIONS_MAX);
    w->workers = workers;
    w->versions = versions;
    w->now_ns = 1;
    add_tensor(&w->current, w->current_weights);
    add_tensor(&w->base, w->base_weights);
    for (uint32_t v = 1; v <= versions; v++) { /* every version differs in every element */
        for (uint32_t k = 0; k < REPLAY_ELEMENTS; k++) {
            w->contents[v][k] = (uint16_t)(k * 257u + v * 7919u);
        }
        memcpy(w->current_weights, w->contents[v], sizeof w->current_weights);
        weft_status status = weft_model_digest(w->current, weft_device_host(), &w->digests[v]);
        weft_invariant(status == WEFT_OK);
    }
    begin_trainer(w);
    for (uint32_t i = 0; i < workers; i++) {
        begin_worker(w, &w->list[i]);
    }
    return w;
}

void replay_end(replay_world *w)
{
    for (uint32_t i = 0; i < w->workers; i++) {
        end_worker(&w->list[i]);
        clear(&w->list[i].up);
    }
    weft_trainer_destroy(w->trainer);
    weft_model_destroy(w->current);
    weft_model_destroy(w->base);
    free(w);
}

/* ---- what can happen to a worker ---- */

static void give(replay_worker *e, replay_link *link, replay_frame *frame, size_t until)
{
    if (until > frame->given) {
        (void)weft_worker_receive(e->worker, link->number, frame->bytes + frame->given,
                                  until - frame->given);
        frame->given = until;
    }
}

/* The last byte of a document or payload. */
static void give_rest(replay_worker *e, replay_link *link)
{
    if (link->rest.bytes != NULL) {
        replay_frame rest = link->rest;
        link->rest = (replay_frame){.bytes = NULL};
        give(e, link, &rest, rest.length);
        free(rest.bytes);
    }
}

static bool deliver(replay_worker *e, replay_link *link, const char *type)
{
    if (!link->open || link->down.count == 0 ||
        strcasecmp(weft_message_name(link->down.list[0].message.type), type) != 0) {
        return false;
    }
    give_rest(e, link);
    replay_frame frame = take_first(&link->down);
    if (is_bulk(&frame.message)) {
        give(e, link, &frame, frame.length - 1);
        link->rest = frame;
    } else {
        give(e, link, &frame, frame.length);
        free(frame.bytes);
    }
    return true;
}

static bool rest_comes(replay_worker *e, bool right)
{
    for (uint32_t i = 0; i < 2; i++) {
        replay_frame *rest = &e->links[i].rest;
        if (rest->bytes != NULL) {
            bool document = rest->message.type == WEFT_MESSAGE_DOCUMENT;
            rest->bytes[rest->length - 1] ^= !right && document ? 1 : 0; /* no "}" at its end */
            e->device.copies_fail = !right && !document;
            give_rest(e, &e->links[i]);
            e->device.copies_fail = false;
            return true;
        }
    }
    return false;
}

/* A piece that cannot be stored, before all of them are here. */
static bool piece_fails(replay_worker *e)
{
    for (uint32_t i = 0; i < 2; i++) {
        replay_link *link = &e->links[i];
        if (link->down.count > 0 && link->down.list[0].message.type == WEFT_MESSAGE_PAYLOAD) {
            give_rest(e, link);
            e->device.copies_fail = true;
            give(e, link, &link->down.list[0], link->down.list[0].length / 2);
            e->device.copies_fail = false;
            return true;
        }
    }
    return false;
}

static bool release(replay_worker *e, weft_status status, uint64_t wrong)
{
    bool held = e->device.held;
    stand_in_release(&e->device, status, wrong);
    weft_worker_tick(e->worker, e->now_ns);
    return held;
}

static bool worker_result(replay_worker *e, const char *action)
{
    bool waits = e->links[0].rest.bytes != NULL || e->links[1].rest.bytes != NULL;
    if (strcmp(action, "Validated") == 0 || strcmp(action, "Received") == 0) {
        return rest_comes(e, true);
    }
    if (strcmp(action, "NotValidated") == 0 || (strcmp(action, "NotReceived") == 0 && waits)) {
        return rest_comes(e, false);
    }
    if (strcmp(action, "NotReceived") == 0) {
        return piece_fails(e);
    }
    if (strcmp(action, "VerifiedWrong") == 0) {
        return release(e, WEFT_OK, 1);
    }
    if (strncmp(action, "Not", 3) == 0) {
        return release(e, WEFT_E_DEVICE_FAILED, 0);
    }
    return release(e, WEFT_OK, 0);
}

static bool worker_loses(replay_worker *e, bool past)
{
    replay_link *link = &e->links[past ? 1 : 0];
    bool was_open = link->open;
    if (was_open) {
        (void)weft_worker_link_close(e->worker, link->number, WEFT_E_LINK_CLOSED);
        close_link(link);
    }
    return was_open;
}

static bool worker_crashes(replay_world *w, replay_worker *e)
{
    end_worker(e);
    begin_worker(w, e);
    return true;
}

static bool worker_deadline(replay_worker *e)
{
    e->now_ns += TIMEOUT_MS * NS_PER_MS;
    weft_worker_tick(e->worker, e->now_ns);
    return true;
}

/* ---- what can happen to the trainer ---- */

static bool hear(replay_world *w, replay_worker *e, const char *type)
{
    if (!e->there || e->up.count == 0 ||
        strcasecmp(weft_message_name(e->up.list[0].message.type), type) != 0) {
        return false;
    }
    replay_frame frame = take_first(&e->up);
    weft_status status =
        weft_trainer_receive(w->trainer, e->there_number, frame.bytes, frame.length);
    free(frame.bytes);
    return status == WEFT_OK;
}

static bool trainer_loses(replay_world *w, replay_worker *e)
{
    bool was_there = e->there;
    e->there = false;
    clear(&e->up);
    return was_there &&
           weft_trainer_link_close(w->trainer, e->there_number, WEFT_E_LINK_CLOSED) == WEFT_OK;
}

static bool trainer_crashes(replay_world *w)
{
    weft_trainer_destroy(w->trainer);
    for (uint32_t i = 0; i < w->workers; i++) {
        w->list[i].there = false;
        clear(&w->list[i].up);
    }
    begin_trainer(w);
    return true;
}

static bool link_up(replay_world *w, replay_worker *e)
{
    if (e->there || (e->links[0].open && e->links[1].open)) {
        return false;
    }
    if (e->links[0].open) { /* the worker has not noticed yet that this one is gone */
        e->links[1] = e->links[0];
    }
    e->links[0] = (replay_link){.open = true};
    e->there = true;
    return weft_worker_link_open(e->worker, &e->links[0].number) == WEFT_OK &&
           weft_trainer_link_open(w->trainer, &e->there_number) == WEFT_OK;
}

static bool push(replay_world *w)
{
    uint64_t version = ++w->pushes + 1;
    if (version > w->versions) {
        return false;
    }
    memcpy(w->current_weights, w->contents[version], sizeof w->current_weights);
    bool begun = weft_trainer_push(w->trainer, WEFT_SPARSE, version) == WEFT_OK;
    weft_trainer_tick(w->trainer, w->now_ns);
    return begun;
}

static bool trainer_deadline(replay_world *w)
{
    w->now_ns += TIMEOUT_MS * NS_PER_MS;
    weft_trainer_tick(w->trainer, w->now_ns);
    return true;
}

static bool act(replay_world *w, const char *action, replay_worker *e, bool past)
{
    if (strncmp(action, "Deliver", 7) == 0) {
        return deliver(e, &e->links[past ? 1 : 0], action + 7);
    }
    if (strncmp(action, "Hear", 4) == 0) {
        return hear(w, e, action + 4);
    }
    static const struct {
        const char *action;
        bool (*of_worker)(replay_world *, replay_worker *);
        bool (*of_trainer)(replay_world *);
    } ACTIONS[] = {{"WorkerCrashes", worker_crashes, NULL},
                   {"TrainerLosesLink", trainer_loses, NULL},
                   {"Connect", link_up, NULL},
                   {"TrainerCrashes", NULL, trainer_crashes},
                   {"Push", NULL, push},
                   {"TrainerDeadline", NULL, trainer_deadline}};
    for (size_t i = 0; i < sizeof ACTIONS / sizeof ACTIONS[0]; i++) {
        if (strcmp(action, ACTIONS[i].action) == 0) {
            return ACTIONS[i].of_worker != NULL ? ACTIONS[i].of_worker(w, e)
                                                : ACTIONS[i].of_trainer(w);
        }
    }
    if (strcmp(action, "WorkerLosesLink") == 0 || strcmp(action, "WorkerLosesPast") == 0) {
        return worker_loses(e, strcmp(action, "WorkerLosesPast") == 0);
    }
    if (strcmp(action, "WorkerDeadline") == 0) {
        return worker_deadline(e);
    }
    return strcmp(action, "Stop") == 0 ? weft_trainer_abort(w->trainer) == WEFT_OK
                                       : worker_result(e, action);
}

bool replay_step(replay_world *w, const char *action, uint32_t worker, bool past)
{
    bool done = act(w, action, &w->list[worker], past);
    drain(w);
    return done;
}

/* ---- what can be seen ---- */

static void say(char text[REPLAY_TEXT_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(char text[REPLAY_TEXT_BYTES], const char *format, ...)
{
    va_list arguments;
    size_t used = strlen(text);
    va_start(arguments, format);
    int length = vsnprintf(text + used, REPLAY_TEXT_BYTES - used, format, arguments);
    va_end(arguments);
    weft_invariant(length >= 0 && (size_t)length < REPLAY_TEXT_BYTES - used);
}

/* The version whose content this is; 0: none's. */
static uint32_t content_of(const replay_world *w, const uint16_t *weights)
{
    uint32_t v = w->versions;
    while (v > 0 && memcmp(weights, w->contents[v], sizeof w->contents[v]) != 0) {
        v--;
    }
    return v;
}

/* A version with another's digest is none. */
static int64_t version_of(const replay_world *w, uint64_t version, uint64_t digest)
{
    bool none = version == 0 && digest == 0;
    bool right = version > 0 && version <= w->versions && digest == w->digests[version];
    return none ? 0 : right ? (int64_t)version : -1;
}

static void say_queue(char *text, const replay_queue *q)
{
    say(text, " (");
    for (uint32_t i = 0; i < q->count; i++) {
        const weft_message *m = &q->list[i].message;
        uint64_t epoch = m->type == WEFT_MESSAGE_HELLO ? m->last_epoch : m->epoch;
        say(text, "%s%s%" PRIu64, i == 0 ? "" : " ", weft_message_name(m->type), epoch);
    }
    say(text, ")");
}

static void say_worker(const replay_world *w, const replay_worker *e, char *text)
{
    weft_worker_info info;
    weft_worker_get_info(e->worker, &info);
    say(text, "%s %s v%" PRId64 " e%" PRIu64 " l%" PRIu64 " %s%s w%" PRIu32,
        weft_state_name(info.state), weft_condition_name(info.condition),
        version_of(w, info.version, info.digest), info.epoch, info.last_epoch,
        weft_outcome_name(info.last_outcome), e->paused ? " paused" : "",
        content_of(w, e->weights));
    say(text, "%s%s%s", e->links[0].open ? " here" : "", e->there ? " there" : "",
        e->links[1].open ? " half" : "");
    say_queue(text, &e->links[0].down);
    say_queue(text, &e->links[1].down);
    say_queue(text, &e->up);
    say(text, "; ");
}

static const char *cause_of(weft_status status)
{
    return status == WEFT_OK              ? "none"
           : status == WEFT_AGAIN         ? "runs"
           : status == WEFT_E_UNCONFIRMED ? "unconfirmed"
           : status == WEFT_E_IN_DOUBT    ? "in doubt"
                                          : "fault";
}

void replay_print(const replay_world *w, char text[REPLAY_TEXT_BYTES])
{
    weft_trainer_info info;
    weft_push last = {.outcome = WEFT_OUTCOME_NONE};
    text[0] = '\0';
    for (uint32_t i = 0; i < w->workers; i++) {
        say_worker(w, &w->list[i], text);
    }
    weft_trainer_get_info(w->trainer, &info);
    weft_status status = weft_trainer_result(w->trainer, &last);
    say(text, "%s v%" PRId64 " e%" PRIu64 " %s %s base w%" PRIu32 " knows",
        weft_state_name(info.state), version_of(w, info.base_version, info.base_digest), info.epoch,
        weft_outcome_name(last.outcome), status == WEFT_E_WRONG_STATE ? "none" : cause_of(status),
        content_of(w, w->base_weights));
    for (uint32_t i = 0; i < w->workers; i++) {
        weft_trainer_worker_info known = {.known = false};
        bool there = w->list[i].there &&
                     weft_trainer_worker(w->trainer, w->list[i].there_number, &known) == WEFT_OK;
        if (there && known.known) {
            say(text, " %" PRIu32, i + 1);
        }
    }
}
