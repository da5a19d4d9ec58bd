/* Any bytes from up to three workers of a trainer, with pushes, aborts, the clock, the device and
 * the allocator in the input's hands. Whatever comes: the base is the content of a version that a
 * worker said it committed, bit for bit; nothing is decided before every member has said APPLIED;
 * memory stays in its bounds; a push ends within its deadlines; and the next one commits.
 *
 * The input: a byte of options, then records, each a byte that says what (and on which link) and
 * its arguments; RECORDS below lists them. A right answer is what a worker would say to the last
 * message that the trainer sent to it.
 *
 * Covers: src/trainer.c src/trainer_link.c src/protocol_trainer.c src/plan.c src/frame*.c
 * src/link.c src/session.c */
#include <stdint.h>

#include "frame.h"
#include "harness.h"
#include "harness_device.h"
#include "trainer_engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LINKS       3u
#define BUDGET      UINT64_C(16384)
#define NS_PER_MS   UINT64_C(1000000)
#define RECORDS_MAX 256u
#define BACKLOG_MAX 8u /* messages that a worker has heard and not answered */

typedef struct peer {
    bool open;
    uint32_t link;
    weft_link ear;                   /* decodes what the trainer says */
    weft_message heard[BACKLOG_MAX]; /* oldest first */
    uint32_t backlog;
    weft_message said;         /* its last answer; type 0: none */
    uint64_t started, applied; /* epochs: it got START; it was heard to say APPLIED */
} peer;

typedef struct world {
    weft_trainer *trainer;
    fuzz_model current, base;
    fuzz_memory memory;
    fuzz_device device;
    uint64_t now_ns;
    peer peers[LINKS];
    fuzz_content kept, pushed; /* the base as it should be; what the last push leads to */
    uint64_t kept_version, kept_digest, pushed_version;
    uint32_t may_advance; /* a worker has said that it committed the last push */
    bool digest_due;      /* the base has moved, and its digest was not looked at yet */
    weft_state state;     /* as the trace told it */
    bool deaf;            /* nobody reads what the trainer says */
    size_t piece_bytes;   /* given to the trainer at once; 0: all */
} world;

static world w;

/* ---- hooks ---- */

static peer *peer_of(uint32_t link)
{
    for (uint32_t i = 0; i < LINKS; i++) {
        if (w.peers[i].open && w.peers[i].link == link) {
            return &w.peers[i];
        }
    }
    return NULL;
}

/* The decision falls when every member has APPLIED. */
static void check_decision(uint64_t epoch)
{
    for (uint32_t i = 0; i < LINKS; i++) {
        const peer *p = &w.peers[i];
        fuzz_expect(!p->open || p->started != epoch || p->applied == epoch);
    }
}

static void on_trace(void *context, const weft_trace *record)
{
    peer *p = record->kind == WEFT_TRACE_TRANSITION ? NULL : peer_of(record->link);
    (void)context;
    if (record->kind == WEFT_TRACE_TRANSITION) {
        fuzz_expect(record->from == w.state && weft_session_legal(record->from, record->event));
        w.state = record->to;
    } else if (p != NULL && record->kind == WEFT_TRACE_SENT) {
        if (record->message == WEFT_MESSAGE_START) {
            p->started = record->epoch;
        } else if (record->message == WEFT_MESSAGE_COMMIT) {
            check_decision(record->epoch);
        }
    } else if (p != NULL && record->kind == WEFT_TRACE_RECEIVED) {
        if (record->message == WEFT_MESSAGE_APPLIED) {
            p->applied = record->epoch;
        } else if (record->message == WEFT_MESSAGE_COMMITTED ||
                   record->message == WEFT_MESSAGE_HELLO) {
            w.may_advance++;
        }
    }
}

static void on_failed(void *context, const weft_detail *detail)
{
    (void)context;
    fuzz_expect(detail->status < 0 && detail->text[0] != '\0');
}

/* ---- what holds after each record ---- */

/* The base moves to what was pushed, when a worker has said so. */
static void check_base(void)
{
    weft_trainer_info info;
    weft_trainer_get_info(w.trainer, &info);
    fuzz_expect(info.state == w.state && fuzz_guards_hold(&w.base));
    if (info.base_version != w.kept_version || info.base_digest != w.kept_digest) {
        fuzz_expect(w.may_advance > 0 && info.base_version == w.pushed_version);
        w.kept = w.pushed;
        w.kept_version = info.base_version;
        w.kept_digest = info.base_digest;
        w.digest_due = true;
    }
    if (!w.device.gone && !w.device.failed && w.device.count == 0) {
        fuzz_expect(fuzz_model_holds(&w.base, &w.kept));
        fuzz_expect(!w.digest_due || fuzz_model_digest(&w.base) == w.kept_digest);
        w.digest_due = false;
    }
    w.may_advance = 0;
}

static void check(void)
{
    weft_push push;
    weft_status status = weft_trainer_result(w.trainer, &push);
    check_base();
    /* SECURITY.md: the trainer, what it keeps of each worker, the plan of a push */
    fuzz_expect(w.memory.peak_bytes <=
                sizeof(weft_trainer) + 16u + LINKS * sizeof(weft_peer) + 2u * BUDGET);
    if (status == WEFT_OK) {
        fuzz_expect(push.outcome == WEFT_OUTCOME_COMMITTED && push.committed == push.workers);
    }
    if (w.state != WEFT_IDLE) {
        fuzz_expect(weft_trainer_next_ns(w.trainer) <= w.now_ns + FUZZ_TIMEOUT_MS * NS_PER_MS);
    }
}

/* ---- the wire ---- */

static void open_link(peer *p)
{
    if (!p->open && weft_trainer_link_open(w.trainer, &p->link) == WEFT_OK) {
        memset(&p->ear, 0, sizeof p->ear);
        p->open = true;
        p->backlog = 0;
        p->said.type = 0;
        p->started = p->applied = 0;
        weft_link_init(&p->ear, WEFT_SENDER_TRAINER, 0);
    }
}

static void close_link(peer *p, weft_status status)
{
    if (p->open) {
        fuzz_expect(weft_trainer_link_close(w.trainer, p->link, status) == WEFT_OK);
        p->open = false;
    }
}

static void note(peer *p, const weft_message *message)
{
    if (message->type != WEFT_MESSAGE_DOCUMENT && message->type != WEFT_MESSAGE_PING) {
        if (p->backlog == BACKLOG_MAX) {
            p->backlog--;
            memmove(p->heard, p->heard + 1, p->backlog * sizeof *p->heard);
        }
        p->heard[p->backlog++] = *message;
    }
}

/* What the trainer says is frames of a trainer. */
static void hear(peer *p, const weft_span *span)
{
    const uint8_t *bytes = span->data;
    size_t left = span->length;
    weft_link_item item;
    weft_status status;
    while ((status = weft_link_take(&p->ear, &bytes, &left, &item)) == WEFT_OK) {
        if (item.is_message) {
            note(p, item.message);
        }
    }
    fuzz_expect(status == WEFT_AGAIN);
}

static void listen(void)
{
    for (uint32_t i = 0; i < LINKS; i++) {
        peer *p = &w.peers[i];
        weft_span spans[WEFT_SPANS_MAX];
        while (p->open && !w.deaf && weft_trainer_send(w.trainer, p->link, spans) > 0) {
            hear(p, &spans[0]);
            weft_trainer_sent(w.trainer, p->link, spans[0].length);
        }
        weft_status status = p->open ? weft_trainer_link_status(w.trainer, p->link) : WEFT_OK;
        if (status != WEFT_OK) {
            close_link(p, status);
        }
    }
}

static void give(peer *p, const uint8_t *bytes, size_t length)
{
    size_t most = w.piece_bytes > 0 ? w.piece_bytes : length;
    while (p->open && length > 0) {
        size_t n = most < length ? most : length;
        weft_status status = weft_trainer_receive(w.trainer, p->link, bytes, n);
        bytes += n;
        length -= n;
        if (status != WEFT_OK) {
            close_link(p, status);
        }
    }
}

/* ---- right answers ---- */

static weft_message hello(void)
{
    weft_trainer_info info;
    weft_trainer_get_info(w.trainer, &info);
    return (weft_message){.type = WEFT_MESSAGE_HELLO,
                          .protocol = WEFT_PROTOCOL_VERSION,
                          .fingerprint = weft_model_fingerprint(w.current.model),
                          .version = info.base_version,
                          .digest = info.base_digest,
                          .last_epoch = info.epoch,
                          .outcome = WEFT_OUTCOME_ABORTED};
}

static weft_message answer_to(const weft_message *m)
{
    static const uint8_t ANSWERS[WEFT_MESSAGE_TYPE_END] = {
        [WEFT_MESSAGE_START] = WEFT_MESSAGE_STARTED,    [WEFT_MESSAGE_UPDATE] = WEFT_MESSAGE_READY,
        [WEFT_MESSAGE_PAYLOAD] = WEFT_MESSAGE_STAGED,   [WEFT_MESSAGE_APPLY] = WEFT_MESSAGE_APPLIED,
        [WEFT_MESSAGE_COMMIT] = WEFT_MESSAGE_COMMITTED, [WEFT_MESSAGE_ABORT] = WEFT_MESSAGE_ABORTED,
    };
    weft_push push = {0};
    (void)weft_trainer_result(w.trainer, &push);
    return (weft_message){.type = ANSWERS[m->type],
                          .epoch = m->epoch,
                          .update = m->update,
                          .version = push.version,
                          .digest = push.digest};
}

static void say(peer *p, const weft_message *message, uint8_t at, uint8_t flip)
{
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    uint32_t length = weft_frame_encode_head(message, head);
    head[at % length] ^= flip;
    give(p, head, length);
}

/* HELLO of a worker whose last session is the trainer's last one, as if it had committed it. */
static weft_message telling_hello(void)
{
    weft_message message = hello();
    weft_push push = {0};
    (void)weft_trainer_result(w.trainer, &push);
    message.version = push.version;
    message.digest = push.digest;
    message.outcome = WEFT_OUTCOME_COMMITTED;
    return message;
}

/* ---- records ---- */

/* Answers what was heard, oldest first; the pieces of one payload get one answer. */
static bool answer_one(peer *p, uint8_t at, uint8_t flip)
{
    weft_message message;
    if (!p->open || p->backlog == 0) {
        return false;
    }
    weft_message heard = p->heard[0];
    do {
        p->backlog--;
        memmove(p->heard, p->heard + 1, p->backlog * sizeof *p->heard);
    } while (p->backlog > 0 && heard.type == WEFT_MESSAGE_PAYLOAD &&
             p->heard[0].type == WEFT_MESSAGE_PAYLOAD);
    message = answer_to(&heard);
    if (message.type != 0) {
        p->said = message;
        say(p, &message, at, flip);
        listen();
        check();
    }
    return true;
}

static void do_answer(fuzz_input *in, peer *p)
{
    for (uint32_t count = 1u + (fuzz_u8(in) & 31u); count > 0 && answer_one(p, 0, 0); count--) {
    }
}

static void do_answer_all(fuzz_input *in, peer *p)
{
    (void)p;
    for (uint32_t count = 1u + (fuzz_u8(in) & 31u); count > 0; count--) {
        for (uint32_t i = 0; i < LINKS; i++) {
            (void)answer_one(&w.peers[i], 0, 0);
        }
    }
}

static void do_wrong_answer(fuzz_input *in, peer *p)
{
    uint8_t at = fuzz_u8(in);
    (void)answer_one(p, at, fuzz_u8(in));
}

/* The last answer once more. */
static void do_repeat(fuzz_input *in, peer *p)
{
    (void)in;
    if (p->said.type != 0) {
        say(p, &p->said, 0, 0);
    }
}

static void do_hello(fuzz_input *in, peer *p)
{
    uint8_t how = fuzz_u8(in);
    weft_message message = (how & 1u) != 0 ? telling_hello() : hello();
    message.last_epoch += (how >> 1) & 3u;
    message.fingerprint ^= (how & 128u) != 0 ? 1u : 0;
    say(p, &message, 0, 0);
}

/* A frame with a right header, of the present epoch or near it, and any fields and tail. */
static void do_frame(fuzz_input *in, peer *p)
{
    uint8_t type = fuzz_u8(in), near = fuzz_u8(in), head[WEFT_FRAME_HEAD_MAX];
    size_t length = fuzz_u16(in) & 511u;
    weft_trainer_info info;
    if (!weft_message_known(type)) {
        return;
    }
    uint32_t fields = weft_message_fields_bytes(type);
    length += fields;
    uint8_t *body = fuzz_padded(in, length);
    weft_trainer_get_info(w.trainer, &info);
    weft_message message = {.type = type,
                            .epoch = (info.epoch - (near & 3u)) & WEFT_EPOCH_MAX,
                            .tail = (uint32_t)(length - fields)};
    (void)weft_frame_encode_head(&message, head);
    give(p, head, WEFT_FRAME_HEADER_BYTES);
    give(p, body, length);
    free(body);
}

static void do_raw(fuzz_input *in, peer *p)
{
    size_t length = fuzz_u16(in);
    uint8_t *block = fuzz_block(in, &length);
    give(p, block, length);
    free(block);
}

static void change(fuzz_input *in, uint32_t count)
{
    fuzz_content content = {{0}};
    fuzz_model_get(&w.current, &content);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t at = fuzz_u8(in);
        content.bytes[at % FUZZ_BYTES] ^= fuzz_u8(in);
    }
    fuzz_model_set(&w.current, &content);
}

static weft_status push(weft_kind kind)
{
    fuzz_content content = {{0}};
    uint64_t version = w.pushed_version + 1u;
    fuzz_model_get(&w.current, &content);
    weft_status status = weft_trainer_push(w.trainer, kind, version);
    if (status == WEFT_OK) {
        w.pushed = content;
        w.pushed_version = version;
    }
    return status;
}

/* The weights are the user's whenever no push runs. */
static void do_push(fuzz_input *in, peer *p)
{
    uint8_t how = fuzz_u8(in);
    weft_state before = w.state;
    (void)p;
    if (weft_trainer_result(w.trainer, NULL) != WEFT_AGAIN) {
        change(in, (how >> 1) & 7u);
    }
    weft_status status =
        (how & 16u) != 0 ? WEFT_E_BUSY : push((how & 1u) != 0 ? WEFT_BASELINE : WEFT_SPARSE);
    fuzz_expect(status == WEFT_OK || w.state == before);
}

static void do_abort(fuzz_input *in, peer *p)
{
    weft_state before = w.state;
    (void)in;
    (void)p;
    if (weft_trainer_abort(w.trainer) != WEFT_OK) {
        fuzz_expect(w.state == before);
    }
}

static void do_time(fuzz_input *in, peer *p)
{
    (void)p;
    w.now_ns += fuzz_u8(in) * UINT64_C(16) * NS_PER_MS;
    weft_trainer_tick(w.trainer, w.now_ns);
}

static void do_link(fuzz_input *in, peer *p)
{
    uint8_t how = fuzz_u8(in);
    if (p->open) {
        close_link(p, (how & 1u) != 0 ? WEFT_E_LINK_CLOSED : WEFT_E_SYSTEM_CALL);
    }
    if ((how & 2u) == 0) {
        open_link(p);
    }
}

static void do_device(fuzz_input *in, peer *p)
{
    uint8_t how = fuzz_u8(in);
    (void)p;
    w.device.late = how >> 6;
    w.device.refuses = (how & 15u) == 1u;
    w.device.bad = (how & 15u) == 2u;
    w.device.going = w.device.going || (how & 15u) == 3u;
}

static void do_memory(fuzz_input *in, peer *p)
{
    (void)p;
    w.memory.fail_in = fuzz_u8(in) & 15u;
}

static void do_piece(fuzz_input *in, peer *p)
{
    (void)p;
    w.piece_bytes = fuzz_u8(in);
}

static void (*const RECORDS[])(fuzz_input *in, peer *p) = {
    [0] = do_answer_all,
    [FUZZ_TRAINER_PUSH] = do_push,
    [2] = do_hello,
    [3] = do_answer,
    [4] = do_wrong_answer,
    [5] = do_frame,
    [FUZZ_TRAINER_RAW] = do_raw,
    [FUZZ_TRAINER_ABORT] = do_abort,
    [8] = do_time,
    [9] = do_link,
    [10] = do_piece,
    [11] = do_device,
    [12] = do_memory,
    [13] = do_repeat,
};
#define RECORD_COUNT (sizeof RECORDS / sizeof *RECORDS)

/* ---- one execution ---- */

static void begin(uint8_t options)
{
    weft_trainer_config config = WEFT_TRAINER_CONFIG_INIT;
    fuzz_content_first(&w.kept);
    fuzz_model_set(&w.current, &w.kept);
    fuzz_model_set(&w.base, &w.kept);
    w.memory = (fuzz_memory){0};
    fuzz_device_start(&w.device);
#ifdef WEFT_PLANTED_BUG
    w.device.planted = PLANTED_IN_PUT;
#endif
    w.now_ns = NS_PER_MS;
    w.pushed = w.kept;
    w.kept_version = w.pushed_version = FUZZ_FIRST_VERSION;
    w.kept_digest = fuzz_model_digest(&w.base);
    w.may_advance = 0;
    w.digest_due = false;
    w.state = WEFT_IDLE;
    w.deaf = (options & 8u) != 0;
    w.piece_bytes = 0;
    memset(w.peers, 0, sizeof w.peers);
    config.model = w.current.model;
    config.base = w.base.model;
    config.base_version = FUZZ_FIRST_VERSION;
    config.device = &w.device.face;
    config.allocator = fuzz_allocator(&w.memory);
    config.budget_bytes = BUDGET;
    config.update_bytes = UINT64_C(16) * (options & 7u);
    config.timeout_ms = FUZZ_TIMEOUT_MS;
    config.hooks = (weft_hooks){.failed = on_failed, .trace = on_trace};
    fuzz_expect(weft_trainer_create(&w.trainer, &config) == WEFT_OK);
    weft_trainer_tick(w.trainer, w.now_ns);
    for (uint32_t i = 0; i < 1u + (options >> 6) % LINKS; i++) {
        weft_message message = hello();
        open_link(&w.peers[i]);
        if ((options & 32u) == 0) {
            say(&w.peers[i], &message, 0, 0);
        }
    }
}

/* Whatever it was: when the links are gone and the deadlines have passed, it is over. */
static void come_home(bool silent)
{
    for (uint32_t i = 0; i < LINKS && !silent; i++) {
        close_link(&w.peers[i], WEFT_E_LINK_CLOSED);
    }
    for (int i = 0; i < 8; i++) { /* of the phase, of ABORT; and the device takes its time */
        w.now_ns += FUZZ_TIMEOUT_MS * NS_PER_MS;
        weft_trainer_tick(w.trainer, w.now_ns);
        check();
    }
    fuzz_expect(w.state == WEFT_IDLE);
    fuzz_expect(weft_trainer_result(w.trainer, NULL) != WEFT_AGAIN);
}

static void commit_next(void)
{
    weft_trainer_info info;
    weft_trainer_get_info(w.trainer, &info);
    if (w.device.going || w.device.failed || info.epoch >= WEFT_EPOCH_MAX - 8u) {
        return;
    }
    for (uint32_t i = 0; i < LINKS; i++) {
        close_link(&w.peers[i], WEFT_E_LINK_CLOSED);
    }
    weft_message message = hello();
    w.device.late = 0;
    w.device.refuses = w.device.bad = w.deaf = false;
    w.memory.fail_in = 0;
    w.piece_bytes = 0;
    weft_trainer_tick(w.trainer, w.now_ns);
    open_link(&w.peers[0]);
    say(&w.peers[0], &message, 0, 0);
    fuzz_expect(push(WEFT_BASELINE) == WEFT_OK);
    listen();
    while (answer_one(&w.peers[0], 0, 0)) {
    }
    fuzz_expect(weft_trainer_result(w.trainer, NULL) == WEFT_OK);
    fuzz_expect(w.kept_version == w.pushed_version);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    if (w.current.model == NULL) {
        fuzz_model_create(&w.current);
        fuzz_model_create(&w.base);
    }
    uint8_t options = fuzz_u8(&in);
    begin(options);
    for (uint32_t i = 0; i < RECORDS_MAX && in.left > 0; i++) {
        uint8_t what = fuzz_u8(&in);
        RECORDS[(what & 63u) % RECORD_COUNT](&in, &w.peers[(what >> 6) % LINKS]);
        listen();
        check();
    }
    come_home((options & 16u) != 0);
    commit_next();
    weft_trainer_destroy(w.trainer);
    fuzz_expect(w.memory.live_bytes == 0);
    return 0;
}
