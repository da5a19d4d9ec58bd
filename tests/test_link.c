/* A link without its socket: any way of cutting a stream gives the same items, and whatever is sent
 * in whatever portions is a stream of whole frames. */
#include "link.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FRAMES     40u
#define STREAM_MAX (1u << 18)
#define BULK_MAX   3000u
#define MS         UINT64_C(1000000)

static weft_message control(weft_message_type type, uint64_t epoch)
{
    return (weft_message){.type = (uint8_t)type, .epoch = epoch};
}

/* ---- a random stream ---- */

typedef struct frame {
    weft_message message;
    uint8_t head[WEFT_FRAME_HEAD_MAX]; /* compared in the place of the fields */
    uint32_t head_bytes;
    const uint8_t *tail; /* in the stream */
} frame;

typedef struct stream {
    frame frames[FRAMES];
    size_t length;
    uint8_t bytes[STREAM_MAX];
} stream;

static bool is_bulk(uint8_t type)
{
    return type == WEFT_MESSAGE_DOCUMENT || type == WEFT_MESSAGE_PAYLOAD ||
           type == WEFT_MESSAGE_PEERS;
}

static void append(stream *s, const void *bytes, size_t length)
{
    assert_true(length <= STREAM_MAX - s->length);
    memcpy(s->bytes + s->length, bytes, length);
    s->length += length;
}

static uint8_t random_type(test_random *random, weft_sender sender)
{
    for (;;) {
        uint8_t type = (uint8_t)(1 + test_random_below(random, WEFT_MESSAGE_TYPE_END - 1));
        bool may = sender == WEFT_SENDER_WORKER ? weft_message_from_worker(type)
                                                : weft_message_from_trainer(type);
        if (may) {
            return type;
        }
    }
}

/* Tails of every length that matters: none, one, the most, and what lies between. */
static uint32_t random_tail(test_random *random, uint8_t type)
{
    uint32_t most = weft_message_tail_max(type);

    most = most > BULK_MAX ? BULK_MAX : most;
    switch (test_random_below(random, 4)) {
    case 0:
        return 0;
    case 1:
        return most;
    case 2:
        return most > 0 ? 1 : 0;
    }
    return (uint32_t)test_random_below(random, most + UINT64_C(1));
}

static stream *random_stream(test_random *random, weft_sender sender)
{
    stream *s = calloc(1, sizeof *s);
    uint8_t tail[BULK_MAX];

    assert_non_null(s);
    for (unsigned i = 0; i < FRAMES; i++) {
        frame *f = &s->frames[i];
        test_random_fill(random, &f->message, sizeof f->message);
        f->message.epoch &= WEFT_EPOCH_MAX;
        f->message.type = random_type(random, sender);
        f->message.tail = random_tail(random, f->message.type);
        f->head_bytes = weft_frame_encode_head(&f->message, f->head);
        append(s, f->head, f->head_bytes);
        test_random_fill(random, tail, f->message.tail);
        for (uint32_t k = 0; k < f->message.tail && !is_bulk(f->message.type); k++) {
            tail[k] = (uint8_t)(' ' + tail[k] % 95); /* a text is printable */
        }
        f->tail = s->bytes + s->length;
        append(s, tail, f->message.tail);
    }
    return s;
}

/* ---- its reader ---- */

typedef struct reader {
    weft_link link;
    const stream *stream;
    size_t frames;   /* whose message came */
    uint32_t landed; /* bytes of the present bulk tail */
} reader;

static void check_message(reader *r, const weft_link_item *item)
{
    const frame *f;
    uint8_t head[WEFT_FRAME_HEAD_MAX];

    assert_true(r->frames < FRAMES);
    f = &r->stream->frames[r->frames++];
    assert_int_equal(item->message->tail, f->message.tail);
    assert_int_equal(weft_frame_encode_head(item->message, head), f->head_bytes);
    assert_memory_equal(head, f->head, f->head_bytes);
    if (is_bulk(f->message.type)) {
        assert_string_equal(item->text, "");
    } else {
        assert_int_equal(strlen(item->text), f->message.tail);
        assert_memory_equal(item->text, f->tail, f->message.tail);
    }
    r->landed = 0;
}

/* A part of a tail is handed through: it points into what was fed. */
static void check_part(reader *r, const weft_link_item *item, const uint8_t *from,
                       const uint8_t *until)
{
    const frame *f = &r->stream->frames[r->frames - 1];

    assert_true(is_bulk(f->message.type));
    assert_true(item->length > 0 && item->length <= f->message.tail - r->landed);
    assert_int_equal(item->offset, f->message.offset + r->landed);
    assert_int_equal(item->message->type, f->message.type);
    assert_true(item->bytes >= from && item->bytes + item->length == until);
    assert_memory_equal(item->bytes, f->tail + r->landed, item->length);
    r->landed += item->length;
}

static void feed(reader *r, const uint8_t *bytes, size_t length)
{
    const uint8_t *chunk = bytes;

    for (;;) {
        weft_link_item item;
        weft_status status = weft_link_take(&r->link, &bytes, &length, &item);
        if (status == WEFT_AGAIN) {
            break;
        }
        assert_int_equal(status, WEFT_OK);
        if (item.is_message) {
            assert_null(item.bytes);
            check_message(r, &item);
        } else {
            check_part(r, &item, chunk, bytes);
        }
    }
    assert_int_equal(length, 0);
}

/* Feeds the stream in portions of at most `most` bytes (exactly so many if `exact`), each in memory
 * of its own, so that a byte too many is seen. */
static void read_in_portions(test_random *random, const stream *s, weft_sender sender, size_t most,
                             bool exact)
{
    reader r = {.stream = s};
    size_t at = 0;

    weft_link_init(&r.link, sender, 0);
    while (at < s->length) {
        size_t n = exact ? most : 1 + (size_t)test_random_below(random, most);
        uint8_t *portion;
        n = n < s->length - at ? n : s->length - at;
        portion = malloc(n);
        assert_non_null(portion);
        memcpy(portion, s->bytes + at, n);
        feed(&r, portion, n);
        free(portion);
        at += n;
    }
    assert_int_equal(r.frames, FRAMES);
    assert_false(weft_link_in_frame(&r.link));
    assert_int_equal(r.landed, is_bulk(s->frames[FRAMES - 1].message.type)
                                   ? s->frames[FRAMES - 1].message.tail
                                   : 0);
}

static void test_any_split_gives_the_same(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        weft_sender sender = round % 2 == 0 ? WEFT_SENDER_TRAINER : WEFT_SENDER_WORKER;
        stream *s = random_stream(&random, sender);
        read_in_portions(&random, s, sender, s->length, true);
        read_in_portions(&random, s, sender, 1, true);
        read_in_portions(&random, s, sender, 1 + round, true);
        read_in_portions(&random, s, sender, 60, false);
        read_in_portions(&random, s, sender, 5000, false);
        free(s);
    }
}

/* One frame of each kind, cut in two at every place. */
static void test_every_cut_of_one_frame(void **state)
{
    static const uint8_t types[] = {WEFT_MESSAGE_HELLO, WEFT_MESSAGE_FAILED, WEFT_MESSAGE_STARTED,
                                    WEFT_MESSAGE_ABORTED};

    (void)state;
    for (size_t i = 0; i < sizeof types; i++) {
        weft_link from, to;
        weft_message message = {.type = types[i], .epoch = 5, .digest = 6};
        weft_span spans[WEFT_SPANS_MAX];
        const char *text = weft_message_tail_max(types[i]) > 0 ? "who and why" : "";

        weft_link_init(&from, WEFT_SENDER_TRAINER, 0);
        weft_link_put(&from, &message, text);
        assert_int_equal(message.tail, strlen(text));
        assert_int_equal(weft_link_spans(&from, spans), 1);
        for (size_t cut = 0; cut <= spans[0].length; cut++) {
            const uint8_t *bytes = spans[0].data;
            size_t length = cut;
            weft_link_item item;
            weft_link_init(&to, WEFT_SENDER_WORKER, 0);
            if (cut < spans[0].length) {
                assert_int_equal(weft_link_take(&to, &bytes, &length, &item), WEFT_AGAIN);
                assert_int_equal(length, 0);
                assert_int_equal(weft_link_in_frame(&to), cut > 0);
                length = spans[0].length - cut;
            }
            assert_int_equal(weft_link_take(&to, &bytes, &length, &item), WEFT_OK);
            assert_true(item.is_message);
            assert_int_equal(item.message->epoch, 5);
            assert_int_equal(item.message->digest, types[i] == WEFT_MESSAGE_STARTED ? 0 : 6);
            assert_string_equal(item.text, text);
            assert_int_equal(length, 0);
            assert_int_equal(weft_link_take(&to, &bytes, &length, &item), WEFT_AGAIN);
            assert_false(weft_link_in_frame(&to));
        }
    }
}

static void test_a_broken_link_stays_broken(void **state)
{
    static const struct {
        unsigned at;
        uint8_t byte;
        weft_status status;
    } cases[] = {{0, 'V', WEFT_E_FRAME_MALFORMED},
                 {4, WEFT_MESSAGE_APPLY, WEFT_E_FRAME_MALFORMED},
                 {5, 2, WEFT_E_PROTOCOL_VERSION},
                 {13, 1, WEFT_E_FRAME_MALFORMED}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weft_message message = control(WEFT_MESSAGE_STARTED, 3);
        uint8_t head[WEFT_FRAME_HEAD_MAX];
        weft_link link;
        weft_link_item item;
        const uint8_t *bytes = head;
        size_t length = WEFT_FRAME_HEADER_BYTES;

        weft_frame_encode_head(&message, head);
        weft_link_init(&link, WEFT_SENDER_WORKER, 0);
        head[cases[i].at] = cases[i].byte;
        assert_int_equal(weft_link_take(&link, &bytes, &length, &item), cases[i].status);
        assert_int_equal(link.status, cases[i].status);
        weft_frame_encode_head(&message, head); /* what follows is right again, and is not read */
        bytes = head;
        length = WEFT_FRAME_HEADER_BYTES;
        assert_int_equal(weft_link_take(&link, &bytes, &length, &item), cases[i].status);
        assert_int_equal(length, WEFT_FRAME_HEADER_BYTES);
        weft_link_keep_alive(&link, UINT64_C(1000) * MS, 1); /* and no other cause replaces it */
        for (unsigned k = 0; k < 100; k++) {
            weft_link_put(&link, &message, NULL);
        }
        assert_int_equal(link.status, cases[i].status);
    }
}

/* ---- control frames out ---- */

static void test_put_until_it_overflows(void **state)
{
    const unsigned fit = WEFT_LINK_OUT_BYTES / WEFT_FRAME_HEADER_BYTES;
    weft_link link;
    weft_span spans[WEFT_SPANS_MAX];
    weft_message message;

    (void)state;
    weft_link_init(&link, WEFT_SENDER_WORKER, 0);
    assert_int_equal(weft_link_spans(&link, spans), 0);
    for (unsigned i = 0; i < fit; i++) {
        message = control(WEFT_MESSAGE_APPLY, i);
        weft_link_put(&link, &message, NULL);
    }
    assert_int_equal(link.status, WEFT_OK);
    weft_link_sent(&link, WEFT_FRAME_HEADER_BYTES - 1, 0); /* not yet room for one more */
    weft_link_sent(&link, 1, 0);                           /* now there is */
    message = control(WEFT_MESSAGE_APPLY, fit);
    weft_link_put(&link, &message, NULL);
    assert_int_equal(link.status, WEFT_OK);
    assert_int_equal(weft_link_spans(&link, spans), 1);
    assert_int_equal(spans[0].length, fit * WEFT_FRAME_HEADER_BYTES);
    weft_link_put(&link, &message, NULL);
    assert_int_equal(link.status, WEFT_E_LINK_OVERFLOW);
    weft_link_sent(&link, spans[0].length / 2, 0);
    weft_link_put(&link, &message,
                  NULL); /* there is room again; but a frame is missing before it */
    assert_int_equal(weft_link_spans(&link, spans), 1);
    assert_int_equal(spans[0].length, fit * WEFT_FRAME_HEADER_BYTES / 2);
}

static void test_a_text_is_cut_to_its_limit(void **state)
{
    char text[1001];
    const uint8_t *bytes;
    size_t length;
    weft_link from, to;
    weft_link_item item;
    weft_span spans[WEFT_SPANS_MAX];
    weft_message failed = control(WEFT_MESSAGE_FAILED, 1),
                 started = control(WEFT_MESSAGE_STARTED, 2);

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    weft_link_init(&from, WEFT_SENDER_TRAINER, 0);
    weft_link_init(&to, WEFT_SENDER_WORKER, 0);
    weft_link_put(&from, &failed, text);
    weft_link_put(&from, &started, text); /* has no text at all */
    assert_int_equal(failed.tail, WEFT_TEXT_TAIL_MAX);
    assert_int_equal(started.tail, 0);
    assert_int_equal(weft_link_spans(&from, spans), 1);
    bytes = spans[0].data;
    length = spans[0].length;
    assert_int_equal(weft_link_take(&to, &bytes, &length, &item), WEFT_OK);
    assert_int_equal(strlen(item.text), WEFT_TEXT_TAIL_MAX);
    assert_int_equal(weft_link_take(&to, &bytes, &length, &item), WEFT_OK);
    assert_int_equal(item.message->type, WEFT_MESSAGE_STARTED);
    assert_string_equal(item.text, "");
}

/* A text ends up in logs: what is not printable UTF-8 does not come through. */
static void test_a_text_is_cleaned(void **state)
{
    static const char *const cases[][2] = {
        {"disk full", "disk full"},
        {"a\tb\nc\x1b[2Jd\x7f", "a?b?c?[2Jd?"},
        {"\xc2\x9b"
         "2J\xc2\xa0\xc2\x80",
         "??2J\xc2\xa0??"},
        {"gr\xc3\xb6\xc3\x9f"
         "er \xe2\x88\x92",
         "gr\xc3\xb6\xc3\x9f"
         "er \xe2\x88\x92"},
        {"\xc3\xb6 and \xff", "?? and ?"},
        {"\xc3", "?"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weft_message failed = control(WEFT_MESSAGE_FAILED, 1);
        weft_span spans[WEFT_SPANS_MAX];
        weft_link from, to;
        weft_link_item item;

        weft_link_init(&from, WEFT_SENDER_TRAINER, 0);
        weft_link_init(&to, WEFT_SENDER_WORKER, 0);
        weft_link_put(&from, &failed, cases[i][0]);
        assert_int_equal(weft_link_spans(&from, spans), 1);
        const uint8_t *bytes = spans[0].data;
        size_t length = spans[0].length;
        assert_int_equal(weft_link_take(&to, &bytes, &length, &item), WEFT_OK);
        assert_string_equal(item.text, cases[i][1]);
    }
}

/* ---- pieces out ---- */

#define TAIL  20u
#define PIECE (36u + TAIL)

/* Sends up to `most` bytes onto the wire, `step` at a time. */
static void send_some(weft_link *link, stream *wire, size_t most, size_t step)
{
    weft_span spans[WEFT_SPANS_MAX];

    while (most > 0) {
        size_t count = weft_link_spans(link, spans);
        size_t want = step < most ? step : most, sent = 0;
        for (size_t i = 0; i < count && want > sent; i++) {
            size_t n = spans[i].length < want - sent ? spans[i].length : want - sent;
            append(wire, spans[i].data, n);
            sent += n;
        }
        if (sent == 0) {
            return;
        }
        weft_link_sent(link, sent, 0);
        most -= sent;
    }
}

/* The types of the frames on the wire, which must be whole; tail gets the bytes of bulk frames. */
static size_t types_on(const stream *wire, uint8_t *types, uint8_t *tail)
{
    const uint8_t *bytes = wire->bytes;
    size_t length = wire->length, count = 0, landed = 0;
    weft_link link;
    weft_link_item item;
    weft_status status;

    weft_link_init(&link, WEFT_SENDER_TRAINER, 0);
    while ((status = weft_link_take(&link, &bytes, &length, &item)) == WEFT_OK) {
        if (item.is_message) {
            types[count++] = item.message->type;
        } else {
            memcpy(tail + landed, item.bytes, item.length);
            landed += item.length;
        }
    }
    assert_int_equal(status, WEFT_AGAIN);
    assert_false(weft_link_in_frame(&link));
    return count;
}

static void put_piece(weft_link *link, const uint8_t *tail)
{
    weft_message piece = {.type = WEFT_MESSAGE_PAYLOAD, .epoch = 7, .tail = TAIL};

    weft_link_init(link, WEFT_SENDER_WORKER, 0);
    assert_false(weft_link_has_piece(link));
    weft_link_put_piece(link, &piece, tail);
    assert_true(weft_link_has_piece(link));
}

static void test_no_frame_in_the_middle_of_a_piece(void **state)
{
    test_random random = test_random_start();
    uint8_t tail[TAIL], got[TAIL], types[4];
    stream *wire = malloc(sizeof *wire);
    weft_link link;

    (void)state;
    assert_non_null(wire);
    test_random_fill(&random, tail, sizeof tail);
    for (size_t boundary = 0; boundary <= PIECE; boundary++) {
        for (size_t step = 1; step <= PIECE; step++) {
            weft_message apply = control(WEFT_MESSAGE_APPLY, 7);
            bool first = boundary == 0;
            wire->length = 0;
            put_piece(&link, tail);
            send_some(&link, wire, boundary, step);
            assert_int_equal(wire->length, boundary);
            assert_int_equal(weft_link_has_piece(&link), boundary < PIECE);
            weft_link_put(&link, &apply, NULL);
            send_some(&link, wire, SIZE_MAX, step);
            assert_int_equal(types_on(wire, types, got), 2);
            assert_int_equal(types[0], first ? WEFT_MESSAGE_APPLY : WEFT_MESSAGE_PAYLOAD);
            assert_int_equal(types[1], first ? WEFT_MESSAGE_PAYLOAD : WEFT_MESSAGE_APPLY);
            assert_memory_equal(got, tail, TAIL);
            assert_false(weft_link_has_piece(&link));
        }
    }
    free(wire);
}

/* The other way round: a control frame that is sent in part goes on before the piece begins. */
static void test_no_piece_in_the_middle_of_a_frame(void **state)
{
    const uint8_t tail[TAIL] = {1, 2, 3};
    uint8_t got[TAIL], types[4];
    stream *wire = malloc(sizeof *wire);

    (void)state;
    assert_non_null(wire);
    for (size_t boundary = 0; boundary <= WEFT_FRAME_HEADER_BYTES; boundary++) {
        weft_message apply = control(WEFT_MESSAGE_APPLY, 7);
        weft_message piece = {.type = WEFT_MESSAGE_DOCUMENT, .epoch = 7, .tail = TAIL};
        weft_link link;
        wire->length = 0;
        weft_link_init(&link, WEFT_SENDER_WORKER, 0);
        weft_link_put(&link, &apply, NULL);
        send_some(&link, wire, boundary, 5);
        weft_link_put_piece(&link, &piece, tail);
        send_some(&link, wire, SIZE_MAX, 5);
        assert_int_equal(types_on(wire, types, got), 2);
        assert_int_equal(types[0], WEFT_MESSAGE_APPLY);
        assert_int_equal(types[1], WEFT_MESSAGE_DOCUMENT);
        assert_memory_equal(got, tail, TAIL);
    }
    free(wire);
}

/* The tail's memory is freed at every boundary: a frame that has begun is completed with zeros. */
static void test_drop_piece(void **state)
{
    stream *wire = malloc(sizeof *wire);

    (void)state;
    assert_non_null(wire);
    for (size_t boundary = 0; boundary <= PIECE; boundary++) {
        uint8_t *tail = malloc(TAIL);
        uint8_t got[TAIL], expected[TAIL] = {0}, types[4];
        weft_message apply = control(WEFT_MESSAGE_APPLY, 7);
        size_t of_tail = boundary < 36 ? 0 : boundary - 36;
        size_t frames = boundary == 0 ? 0 : 1;
        weft_link link;

        assert_non_null(tail);
        memset(tail, 0x5a, TAIL);
        memset(expected, 0x5a, of_tail);
        wire->length = 0;
        put_piece(&link, tail);
        send_some(&link, wire, boundary, 7);
        weft_link_drop_piece(&link);
        free(tail);
        assert_int_equal(weft_link_has_piece(&link), boundary > 0 && boundary < PIECE);
        weft_link_put(&link, &apply, NULL);
        send_some(&link, wire, SIZE_MAX, 7);
        assert_int_equal(types_on(wire, types, got), frames + 1);
        assert_int_equal(types[frames], WEFT_MESSAGE_APPLY);
        if (frames == 1) {
            assert_int_equal(types[0], WEFT_MESSAGE_PAYLOAD);
            assert_memory_equal(got, expected, TAIL);
        }
        assert_false(weft_link_has_piece(&link));
    }
    free(wire);
}

/* A piece without memory is zeros (padding of a payload); an empty one is a head alone. */
static void test_pieces_of_zeros_and_of_nothing(void **state)
{
    stream *wire = malloc(sizeof *wire);
    uint8_t *got = malloc(WEFT_PAYLOAD_TAIL_MAX);
    weft_message piece = {.type = WEFT_MESSAGE_PAYLOAD, .tail = WEFT_PAYLOAD_TAIL_MAX};
    uint8_t types[4];
    weft_link link;

    (void)state;
    assert_non_null(wire);
    assert_non_null(got);
    memset(got, 1, WEFT_PAYLOAD_TAIL_MAX);
    wire->length = 0;
    weft_link_init(&link, WEFT_SENDER_WORKER, 0);
    weft_link_put_piece(&link, &piece, NULL);
    send_some(&link, wire, SIZE_MAX, 10000);
    piece.tail = 0;
    weft_link_put_piece(&link, &piece, NULL);
    assert_true(weft_link_has_piece(&link));
    send_some(&link, wire, SIZE_MAX, 10000);
    assert_false(weft_link_has_piece(&link));
    assert_int_equal(types_on(wire, types, got), 2);
    for (uint32_t i = 0; i < WEFT_PAYLOAD_TAIL_MAX; i++) {
        assert_int_equal(got[i], 0);
    }
    assert_int_equal(wire->length, 2 * 36 + WEFT_PAYLOAD_TAIL_MAX);
    free(got);
    free(wire);
}

/* ---- silence ---- */

static size_t queued(const weft_link *link)
{
    weft_span spans[WEFT_SPANS_MAX];
    size_t count = weft_link_spans(link, spans);

    return count == 0 ? 0 : spans[0].length;
}

static void test_silence(void **state)
{
    const uint64_t t0 = 1000 * MS;
    weft_link link;

    (void)state;
    weft_link_init(&link, WEFT_SENDER_WORKER, t0);
    assert_int_equal(weft_link_next_ns(&link, 10), t0 + 10 * MS);
    weft_link_keep_alive(&link, t0 + 10 * MS - 1, 10);
    assert_int_equal(queued(&link), 0);
    weft_link_keep_alive(&link, t0 + 10 * MS, 10); /* PING */
    assert_int_equal(queued(&link), WEFT_FRAME_HEADER_BYTES);
    assert_int_equal(weft_link_next_ns(&link, 10), t0 + 20 * MS);
    weft_link_keep_alive(&link, t0 + 20 * MS - 1, 10);
    assert_int_equal(queued(&link), WEFT_FRAME_HEADER_BYTES);
    weft_link_keep_alive(&link, t0 + 25 * MS, 10); /* the second, late */
    assert_int_equal(queued(&link), 2 * WEFT_FRAME_HEADER_BYTES);
    assert_int_equal(weft_link_next_ns(&link, 10), t0 + 30 * MS);
    weft_link_keep_alive(&link, t0 + 30 * MS - 1, 10);
    assert_int_equal(link.status, WEFT_OK);
    weft_link_keep_alive(&link, t0 + 30 * MS, 10);
    assert_int_equal(link.status, WEFT_E_LINK_SILENT);
    assert_int_equal(queued(&link), 2 * WEFT_FRAME_HEADER_BYTES);
}

static void test_a_sign_of_life_counts_anew(void **state)
{
    const uint8_t tail[TAIL] = {0};
    weft_link link;

    (void)state;
    put_piece(&link, tail);
    weft_link_keep_alive(&link, 10 * MS, 10); /* PING stands before the piece */
    weft_link_sent(&link, WEFT_FRAME_HEADER_BYTES, 11 * MS);
    assert_int_equal(link.heard_ns, 0); /* that a few bytes leave here says nothing of the peer */
    weft_link_sent(&link, 0, 12 * MS);
    assert_int_equal(link.heard_ns, 0);
    weft_link_sent(&link, 10, 25 * MS); /* that it takes bulk data does */
    assert_int_equal(link.heard_ns, 25 * MS);
    weft_link_keep_alive(&link, 35 * MS - 1, 10);
    assert_int_equal(link.status, WEFT_OK);
    assert_int_equal(weft_link_next_ns(&link, 10), 35 * MS);
    weft_link_keep_alive(&link, 55 * MS - 1, 10);
    assert_int_equal(link.status, WEFT_OK);
    weft_link_keep_alive(&link, 55 * MS, 10);
    assert_int_equal(link.status, WEFT_E_LINK_SILENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_split_gives_the_same),
        cmocka_unit_test(test_every_cut_of_one_frame),
        cmocka_unit_test(test_a_broken_link_stays_broken),
        cmocka_unit_test(test_put_until_it_overflows),
        cmocka_unit_test(test_a_text_is_cut_to_its_limit),
        cmocka_unit_test(test_a_text_is_cleaned),
        cmocka_unit_test(test_no_frame_in_the_middle_of_a_piece),
        cmocka_unit_test(test_no_piece_in_the_middle_of_a_frame),
        cmocka_unit_test(test_drop_piece),
        cmocka_unit_test(test_pieces_of_zeros_and_of_nothing),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_a_sign_of_life_counts_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
