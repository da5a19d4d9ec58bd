/* Any bytes on any of three links of a worker, of trainers or of peers that it asks in doubt, in
 * pieces of any size, with the clock, the device, the transport, the allocator and local control
 * in the input's hands. Whatever comes: the weights are those of a version that was committed, bit
 * for bit, unless a streamed baseline or the device took them; nothing beside the tensors is
 * touched; memory stays in its bounds; the session ends at idle; and the next one commits.
 *
 * The input: a byte of options, then records, each a byte that says what (and on which link) and
 * its arguments. RECORDS below lists them. A script is the frames of a right session, made from
 * what the worker holds at that moment (harness_script.h).
 *
 * Covers: src/worker*.c src/protocol_worker.c src/frame*.c src/link.c src/staging.c
 * src/session.c */
#include <stdint.h>

#include "harness.h"
#include "harness_device.h"
#include "harness_script.h"
#include "harness_transport.h"
#include "update.h"
#include "worker_engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LINKS       3u
#define LARGE       UINT64_C(65536) /* budgets; AUTO stages a baseline with the large one */
#define SMALL       UINT64_C(1200)
#define NS_PER_MS   UINT64_C(1000000)
#define RECORDS_MAX 256u

typedef struct world {
    weft_worker *worker;
    fuzz_model held, wanted;
    fuzz_memory memory;
    fuzz_device device;
    fuzz_transport transport;
    uint64_t budget_bytes, memory_most, now_ns;
    fuzz_content kept; /* of the version that was committed last */
    uint64_t kept_version, committed;
    weft_state state; /* as the trace told it */
    bool paused;
    bool local_again; /* a call of local control has begun something */
    bool deaf;        /* nobody reads what the worker says */
    bool open[LINKS];
    uint32_t link[LINKS];
    weft_link ear[LINKS]; /* decodes what the worker says */
    size_t piece_bytes;   /* given to the worker at once; 0: all */
    script script;
} world;

static world w; /* large, and the models live as long as the process */

/* ---- hooks ---- */

static void on_pause(void *context, uint64_t epoch)
{
    (void)context;
    fuzz_expect(epoch > 0 && !w.paused);
    w.paused = true;
}

static void on_resume(void *context, uint64_t epoch)
{
    (void)context;
    fuzz_expect(epoch > 0 && w.paused);
    w.paused = false;
}

static void on_committed(void *context, uint64_t version, uint64_t digest)
{
    (void)context;
    fuzz_expect(w.paused && fuzz_guards_hold(&w.held));
    fuzz_expect(fuzz_model_digest(&w.held) == digest);
    fuzz_model_get(&w.held, &w.kept);
    w.kept_version = version;
    w.committed++;
}

static void on_failed(void *context, const weft_detail *detail)
{
    (void)context;
    fuzz_expect(detail->status < 0 && detail->text[0] != '\0' && detail->epoch > 0 && !w.paused);
}

static void on_trace(void *context, const weft_trace *record)
{
    (void)context;
    if (record->kind == WEFT_TRACE_TRANSITION) {
        fuzz_expect(record->from == w.state && weft_session_legal(record->from, record->event));
        w.state = record->to;
    }
}

/* ---- what holds after each record ---- */

static void check_weights(const weft_worker_info *info)
{
    bool written =
        info->state == WEFT_APPLYING || info->state == WEFT_FINISHED || info->state == WEFT_FAILED;
    fuzz_expect(fuzz_guards_hold(&w.held));
    if (info->condition == WEFT_INTACT && !written) {
        fuzz_expect(fuzz_model_holds(&w.held, &w.kept) && info->version == w.kept_version);
    }
    if (info->condition == WEFT_INTACT) {
        fuzz_expect(!w.paused || written);
    } else {
        fuzz_expect(info->version == 0 && info->digest == 0);
    }
}

static void check(void)
{
    weft_worker_info info;
    weft_worker_get_info(w.worker, &info);
    fuzz_expect(info.state == w.state);
    fuzz_expect(w.memory.peak_bytes <= w.memory_most && info.session_bytes <= w.budget_bytes);
    check_weights(&info);
    if (info.state == WEFT_IDLE) {
        fuzz_expect(info.session_bytes == 0 && info.epoch == 0 && !w.paused);
    } else {
        fuzz_expect(weft_worker_next_ns(w.worker) <= w.now_ns + FUZZ_TIMEOUT_MS * NS_PER_MS);
    }
}

/* ---- the wire ---- */

static void open_link(uint32_t i)
{
    if (!w.open[i] && weft_worker_link_open(w.worker, &w.link[i]) == WEFT_OK) {
        w.open[i] = true;
        weft_link_init(&w.ear[i], WEFT_SENDER_WORKER, 0);
    }
}

/* To another worker, if this one is in doubt and wants to ask it: there it speaks as a trainer. */
static void open_link_to_peer(uint32_t i, bool reached)
{
    uint32_t rank;
    const char *address;
    if (w.open[i] || !weft_worker_peer_wanted(w.worker, &rank, &address)) {
        return;
    }
    fuzz_expect(rank >= 1 && rank <= WEFT_WORKERS_MAX && address[0] != '\0');
    if (!reached) {
        weft_worker_peer_failed(w.worker, rank);
    } else if (weft_worker_peer_open(w.worker, rank, &w.link[i]) == WEFT_OK) {
        w.open[i] = true;
        weft_link_init(&w.ear[i], WEFT_SENDER_TRAINER, 0);
    }
}

static void close_link(uint32_t i, weft_status status)
{
    if (w.open[i]) {
        w.open[i] = false;
        fuzz_expect(weft_worker_link_close(w.worker, w.link[i], status) == WEFT_OK);
    }
}

/* What the worker says is frames of a worker, and complete. */
static void hear(uint32_t i, const weft_span *span)
{
    const uint8_t *bytes = span->data;
    size_t left = span->length;
    weft_link_item item;
    weft_status status;
    while ((status = weft_link_take(&w.ear[i], &bytes, &left, &item)) == WEFT_OK) {
        fuzz_expect(item.message->type != WEFT_MESSAGE_FAILED || item.text[0] != '\0');
    }
    fuzz_expect(status == WEFT_AGAIN);
}

static void listen(void)
{
    for (uint32_t i = 0; i < LINKS; i++) {
        weft_span spans[WEFT_SPANS_MAX];
        while (w.open[i] && !w.deaf && weft_worker_send(w.worker, w.link[i], spans) > 0) {
            hear(i, &spans[0]);
            weft_worker_sent(w.worker, w.link[i], spans[0].length);
        }
        weft_status status = w.open[i] ? weft_worker_link_status(w.worker, w.link[i]) : WEFT_OK;
        if (status != WEFT_OK) {
            close_link(i, status);
        }
    }
}

static void give(uint32_t i, const uint8_t *bytes, size_t length)
{
    size_t most = w.piece_bytes > 0 ? w.piece_bytes : length;
    while (w.open[i] && length > 0) {
        size_t n = most < length ? most : length;
        weft_status status = weft_worker_receive(w.worker, w.link[i], bytes, n);
        bytes += n;
        length -= n;
        if (status != WEFT_OK) {
            listen();
            close_link(i, status);
        }
    }
}

/* ---- records ---- */

/* The script's session, from what is held now to a few changed bytes of it; then a few bytes of its
 * documents and payloads are changed, and their digests are right all the same. */
static void write_script(fuzz_input *in, uint8_t options, uint32_t changes, uint32_t edits,
                         bool peers)
{
    weft_worker_info info;
    fuzz_content content = {{0}};
    weft_worker_get_info(w.worker, &info);
    fuzz_model_get(&w.held, &content);
    for (uint32_t i = 0; i < changes; i++) {
        uint8_t at = fuzz_u8(in);
        content.bytes[at % FUZZ_BYTES] ^= fuzz_u8(in);
    }
    fuzz_model_set(&w.wanted, &content);
    script_request request = {.kind = (options & 1u) != 0 ? WEFT_BASELINE : WEFT_SPARSE,
                              .held = &w.held,
                              .wanted = &w.wanted,
                              .epoch = info.last_epoch + 1u + (options >> 6),
                              .base_version = info.version,
                              .base_digest = info.digest,
                              .target_version = FUZZ_FIRST_VERSION + 1u + w.committed,
                              .update_bytes = UINT64_C(16) * ((options >> 1) & 7u),
                              .peers = peers,
                              .piece_bytes = (options & 16u) != 0 ? 40u : SCRIPT_DOCUMENT_MAX,
                              .transport =
                                  (options & 32u) != 0 ? WEFT_TRANSPORT_NCCL : WEFT_TRANSPORT_TCP};
    w.script.frames = 0;
    bool fits = info.last_epoch < WEFT_EPOCH_MAX - 8u && script_plan(&w.script, &request);
    for (uint32_t i = 0; i < edits && fits; i++) {
        uint8_t which = fuzz_u8(in);
        uint32_t at = fuzz_u16(in);
        script_update *update = &w.script.update[(which >> 1) % w.script.updates];
        bool document = (which & 1u) != 0;
        uint32_t length = document ? update->document_bytes : update->payload_bytes;
        uint8_t *bytes = document ? (uint8_t *)update->document : update->payload;
        uint8_t value = fuzz_u8(in);
        if (length > 0) {
            bytes[at % length] = value;
        }
    }
    if (fits) {
        script_write(&w.script, &request);
    }
}

static void do_script(fuzz_input *in, uint32_t link)
{
    uint8_t options = fuzz_u8(in), numbers = fuzz_u8(in);
    (void)link;
    write_script(in, options, numbers & 15u, (numbers >> 4) & 7u, (numbers & 128u) != 0);
}

static void do_step(fuzz_input *in, uint32_t link)
{
    for (uint32_t count = 1u + (fuzz_u8(in) & 63u); count > 0; count--) {
        if (w.script.next >= w.script.frames) {
            return;
        }
        uint32_t at = w.script.begin[w.script.next], end = w.script.begin[w.script.next + 1u];
        w.script.next++;
        give(link, w.script.bytes + at, end - at);
        listen();
        check();
    }
}

static void do_jump(fuzz_input *in, uint32_t link)
{
    (void)link;
    w.script.next = fuzz_u8(in) % SCRIPT_FRAMES_MAX;
}

/* A byte of a frame of the script, its head included. */
static void do_edit(fuzz_input *in, uint32_t link)
{
    uint32_t frame = fuzz_u8(in), at = fuzz_u16(in);
    uint8_t value = fuzz_u8(in);
    (void)link;
    if (frame < w.script.frames) {
        uint32_t begin = w.script.begin[frame], length = w.script.begin[frame + 1u] - begin;
        w.script.bytes[begin + at % length] = value;
    }
}

static void do_raw(fuzz_input *in, uint32_t link)
{
    size_t length = fuzz_u16(in);
    uint8_t *block = fuzz_block(in, &length);
    give(link, block, length);
    free(block);
}

/* A frame with a right header, of the present epoch or near it, and any fields and tail. */
static void do_frame(fuzz_input *in, uint32_t link)
{
    uint8_t type = fuzz_u8(in), near = fuzz_u8(in);
    size_t length = fuzz_u16(in) & 511u;
    weft_worker_info info;
    if (!weft_message_known(type)) {
        return;
    }
    uint32_t fields = weft_message_fields_bytes(type);
    weft_worker_get_info(w.worker, &info);
    length += fields;
    uint8_t *body = fuzz_padded(in, length);
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    weft_message message = {.type = type,
                            .epoch = (info.last_epoch + (near & 3u)) & WEFT_EPOCH_MAX,
                            .tail = (uint32_t)(length - fields)};
    (void)weft_frame_encode_head(&message, head);
    give(link, head, WEFT_FRAME_HEADER_BYTES);
    give(link, body, length);
    free(body);
}

static void do_time(fuzz_input *in, uint32_t link)
{
    (void)link;
    w.now_ns += fuzz_u8(in) * UINT64_C(16) * NS_PER_MS;
    weft_worker_tick(w.worker, w.now_ns);
}

static void do_link(fuzz_input *in, uint32_t link)
{
    uint8_t how = fuzz_u8(in);
    if (w.open[link]) {
        close_link(link, (how & 1u) != 0 ? WEFT_E_LINK_CLOSED : WEFT_E_SYSTEM_CALL);
    } else {
        open_link(link);
    }
}

static void do_device(fuzz_input *in, uint32_t link)
{
    uint8_t how = fuzz_u8(in);
    (void)link;
    w.device.late = (uint8_t)((how >> 4) * (how >> 4));
    w.device.refuses = (how & 15u) == 1u;
    w.device.bad = (how & 15u) == 2u;
    w.device.going = w.device.going || (how & 15u) == 3u;
}

static void do_transport(fuzz_input *in, uint32_t link)
{
    uint8_t how = fuzz_u8(in);
    (void)link;
    w.transport.late = (uint8_t)((how >> 4) * (how >> 4));
    w.transport.refuses = (how & 15u) == 1u;
    w.transport.breaks = (how & 15u) == 2u;
    w.transport.hangs = (how & 15u) == 3u;
    w.transport.corrupts = (how & 15u) == 4u;
}

static void do_memory(fuzz_input *in, uint32_t link)
{
    (void)link;
    w.memory.fail_in = fuzz_u8(in) & 15u;
}

static void do_piece(fuzz_input *in, uint32_t link)
{
    (void)link;
    w.piece_bytes = fuzz_u8(in);
}

/* ---- local control ---- */

static weft_status local_start(uint8_t how)
{
    weft_session session = WEFT_SESSION_INIT;
    weft_worker_info info;
    weft_worker_get_info(w.worker, &info);
    session.kind = w.script.kind;
    session.epoch = (how & 1u) != 0 ? w.script.epoch : 0;
    session.target_version = w.script.target_version;
    session.check_target = (how & 2u) != 0;
    session.target_digest = w.script.target_digest;
    session.check_base = (how & 4u) != 0;
    session.base_version = info.version;
    session.base_digest = info.digest ^ ((how & 8u) != 0 ? 1u : 0);
    session.timeout_ms = (how & 16u) != 0 ? 100u : 0;
    session.receives = (how & 32u) != 0;
    return weft_worker_start(w.worker, &session);
}

static weft_status local_update(uint8_t how)
{
    if (w.script.updates == 0) {
        return WEFT_OK;
    }
    const script_update *update = &w.script.update[how % w.script.updates];
    if ((how & 128u) != 0) {
        return weft_worker_update_receive(w.worker, update->document, update->document_bytes);
    }
    uint32_t payload_bytes = update->payload_bytes - ((how & 64u) != 0 ? 1u : 0);
    return weft_worker_update(w.worker, update->document, update->document_bytes, update->payload,
                              update->payload_bytes == 0 ? 0 : payload_bytes);
}

static weft_status local_call(uint8_t which, uint8_t how)
{
    switch (which % 5u) {
    case 0:
        return local_start(how);
    case 1:
        return local_update(how);
    case 2:
        return weft_worker_finish(w.worker);
    case 3:
        return weft_worker_abort(w.worker);
    default:
        return weft_worker_poll(w.worker);
    }
}

static void do_local(fuzz_input *in, uint32_t link)
{
    uint8_t which = fuzz_u8(in), how = fuzz_u8(in);
    weft_state before = w.state;
    bool began = w.local_again || which % 5u != 4u; /* poll repeats the last answer for ever */
    (void)link;
    weft_status status = local_call(which, how);
    fuzz_expect(status <= WEFT_AGAIN);
    w.local_again = status == WEFT_AGAIN;
    bool refused = status == WEFT_E_WRONG_STATE || status == WEFT_E_INVALID_ARGUMENT;
    if (began && (refused || (status < 0 && which % 5u == 0))) {
        fuzz_expect(w.state == before); /* a usage error, or a START that was refused */
    } else if (began && status < 0) {   /* a GPU may take its time with the way back */
        bool trainers =
            w.worker->core.owner < WEFT_LINKS_MAX; /* which began after that one's end */
        fuzz_expect(w.state == WEFT_IDLE || w.state == WEFT_FAILED || trainers);
    }
}

static void (*const RECORDS[])(fuzz_input *in, uint32_t link) = {
    [0] = do_step,       [1] = do_script, [2] = do_edit,    [FUZZ_WORKER_RAW] = do_raw,
    [4] = do_frame,      [5] = do_time,   [6] = do_link,    [7] = do_jump,
    [8] = do_local,      [9] = do_piece,  [10] = do_device, [11] = do_memory,
    [12] = do_transport,
};
#define RECORD_COUNT (sizeof RECORDS / sizeof *RECORDS)
#define RECORD_PEER  63u /* the last number that the six bits have */

static void do_record(fuzz_input *in, uint8_t what)
{
    uint32_t link = (what >> 6) % LINKS;
    if ((what & 63u) == RECORD_PEER) {
        open_link_to_peer(link, (fuzz_u8(in) & 3u) != 0);
    } else {
        RECORDS[(what & 63u) % RECORD_COUNT](in, link);
    }
}

/* ---- one execution ---- */

static void begin(uint8_t options)
{
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    fuzz_content_first(&w.kept);
    fuzz_model_set(&w.held, &w.kept);
    w.memory = (fuzz_memory){0};
    fuzz_device_start(&w.device);
#ifdef WEFT_PLANTED_BUG
    w.device.planted = PLANTED_IN_CHECK;
#endif
    fuzz_transport_start(&w.transport, &w.script);
    w.budget_bytes = (options & 4u) != 0 ? SMALL : LARGE;
    /* SECURITY.md: the worker, a link for each trainer, a session, a document while it is parsed */
    w.memory_most = sizeof(weft_worker) + 16u + LINKS * sizeof(weft_link) + w.budget_bytes +
                    weft_update_parse_bytes(w.budget_bytes);
    w.now_ns = NS_PER_MS;
    w.kept_version = FUZZ_FIRST_VERSION;
    w.committed = 0;
    w.state = WEFT_IDLE;
    w.paused = w.local_again = false;
    w.deaf = (options & 8u) != 0;
    w.piece_bytes = 0;
    w.script.frames = w.script.next = w.script.updates = 0;
    w.script.kind = WEFT_SPARSE;
    w.script.epoch = w.script.target_version = w.script.target_digest = 0;
    config.model = w.held.model;
    config.device = &w.device.face;
    config.transport = &w.transport.face;
    config.allocator = fuzz_allocator(&w.memory);
    config.version = FUZZ_FIRST_VERSION;
    config.budget_bytes = w.budget_bytes;
    config.timeout_ms = FUZZ_TIMEOUT_MS;
    config.baseline = (weft_baseline_policy)((options & 3u) % 3u);
    config.hooks = (weft_hooks){.pause = on_pause,
                                .resume = on_resume,
                                .committed = on_committed,
                                .failed = on_failed,
                                .trace = on_trace};
    fuzz_expect(weft_worker_create(&w.worker, &config) == WEFT_OK);
    w.transport.core = &w.worker->core;
    weft_worker_tick(w.worker, w.now_ns);
    memset(w.open, 0, sizeof w.open);
    open_link(0);
}

/* Whatever it was: when the links are gone and the deadlines have passed, it is over. */
static void come_home(void)
{
    for (uint32_t i = 0; i < LINKS; i++) {
        close_link(i, WEFT_E_LINK_CLOSED);
    }
    for (int i = 0; i < 3; i++) { /* of the state, and of the way back */
        w.now_ns += FUZZ_TIMEOUT_MS * NS_PER_MS;
        weft_worker_tick(w.worker, w.now_ns);
        check();
    }
    fuzz_expect(w.state == WEFT_IDLE);
}

/* After any failure the next session commits, in the same process. */
static void commit_next(void)
{
    static const uint8_t CHANGE[] = {5, 1, 100, 2};
    fuzz_input in = {CHANGE, sizeof CHANGE};
    weft_worker_info info;
    uint64_t committed = w.committed;
    weft_worker_get_info(w.worker, &info);
    if (info.condition == WEFT_LOST || w.device.going || w.budget_bytes != LARGE ||
        info.last_epoch >= WEFT_EPOCH_MAX - 8u) {
        return;
    }
    w.device.late = w.transport.late = 0;
    w.transport.refuses = w.transport.breaks = w.transport.hangs = w.transport.corrupts = false;
    w.device.refuses = w.device.bad = w.deaf = false;
    w.memory.fail_in = 0;
    w.piece_bytes = 0;
    open_link(0);
    write_script(&in, info.condition == WEFT_TORN ? 1u : 0, 2, 0, false);
    fuzz_input steps = {(const uint8_t[]){63}, 1};
    do_step(&steps, 0);
    fuzz_expect(w.committed == committed + 1u && w.state == WEFT_IDLE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    if (w.held.model == NULL) {
        fuzz_model_create(&w.held);
        fuzz_model_create(&w.wanted);
    }
    uint8_t options = fuzz_u8(&in);
    begin(options);
    for (uint32_t i = 0; i < RECORDS_MAX && in.left > 0; i++) {
        do_record(&in, fuzz_u8(&in));
        listen();
        check();
    }
    come_home();
    if ((options & 16u) != 0) { /* not always: it takes as long as all the rest */
        commit_next();
    }
    weft_worker_destroy(w.worker);
    fuzz_expect(w.memory.live_bytes == 0);
    return 0;
}
