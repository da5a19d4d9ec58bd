#include "link.h"

#include "invariant.h"
#include "size.h"
#include "utf8.h"

#define NS_PER_MS        UINT64_C(1000000)
#define SILENCES_TO_LOSS 3u
#define LARGEST_TAIL     WEFT_PAYLOAD_TAIL_MAX

_Static_assert(WEFT_DOCUMENT_TAIL_MAX <= LARGEST_TAIL && WEFT_PEERS_TAIL_MAX <= LARGEST_TAIL,
               "zeros must cover every tail");
_Static_assert(WEFT_LINK_OUT_BYTES >= 2 * (WEFT_FRAME_HEAD_MAX + WEFT_TEXT_TAIL_MAX),
               "two frames with texts must fit");

void weft_link_init(weft_link *link, weft_sender peer, uint64_t now_ns)
{
    memset(link, 0, sizeof *link);
    link->peer = peer;
    link->heard_ns = link->asked_ns = now_ns;
}

/* ---- In ---- */

/*@ predicate is_bulk_type(integer type) =
      type == WEFT_MESSAGE_DOCUMENT || type == WEFT_MESSAGE_PAYLOAD || type == WEFT_MESSAGE_PEERS;

    // The head is here to its last byte.
    predicate head_is_complete(weft_link *link) =
      link->head_taken >= WEFT_FRAME_HEADER_BYTES &&
      link->head_taken == WEFT_FRAME_HEADER_BYTES + link->fields_bytes;

    predicate knows_its_frame(weft_link *link) =
      link->fields_bytes == fields_of(link->message.type) <= WEFT_FRAME_FIELDS_MAX &&
      link->message.tail <= tail_of(link->message.type);

    // What is given to every function below that takes bytes.
    predicate takes_from{L}(weft_link *link, uint8_t **bytes, size_t *length) =
      \valid(link) && \valid(bytes) && \valid(length) &&
      \valid_read(*bytes + (0 .. *length - 1)) &&
      \separated(link, bytes, length, *bytes + (0 .. *length - 1));
@*/

/*@ requires \valid_read(message);
    assigns \nothing;
    ensures \result <==> is_bulk_type(message->type);
@*/
static bool is_bulk(const weft_message *message)
{
    return message->type == WEFT_MESSAGE_DOCUMENT || message->type == WEFT_MESSAGE_PAYLOAD ||
           message->type == WEFT_MESSAGE_PEERS;
}

/*@ assigns \nothing;
    ensures \result == (a < b ? a : b);
@*/
static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/*@ requires takes_from(link, bytes, length);
    requires link->head_taken <= until <= WEFT_FRAME_HEAD_MAX;
    assigns *bytes, *length, link->head_taken, link->head[0 .. WEFT_FRAME_HEAD_MAX - 1];
    ensures \old(link->head_taken) <= link->head_taken <= until;
    ensures *length == \old(*length) - (link->head_taken - \old(link->head_taken));
    ensures *bytes + *length == \old(*bytes + *length);
    ensures link->head_taken < until ==> *length == 0;
@*/
static void take_head_bytes(weft_link *link, const uint8_t **bytes, size_t *length, uint32_t until)
{
    size_t n = smaller(*length, until - link->head_taken);
    memcpy(link->head + link->head_taken, *bytes, n);
    link->head_taken += (uint32_t)n;
    *bytes += n;
    *length -= n;
}

/*@ requires takes_from(link, bytes, length) && *length > 0;
    requires weft_link_is_sound(link) && link->status == WEFT_OK && !head_is_complete(link);
    assigns *bytes, *length, link->status, link->head_taken, link->fields_bytes,
        link->tail_taken, link->head[0 .. WEFT_FRAME_HEAD_MAX - 1], link->message;
    ensures *length < \old(*length);
    ensures *bytes + *length == \old(*bytes + *length);
    ensures \result == WEFT_AGAIN ==> *length == 0;
    ensures \result == WEFT_AGAIN ==> weft_link_is_sound(link);
    ensures \result == WEFT_OK ==> head_is_complete(link) && knows_its_frame(link) &&
            link->tail_taken == 0;
    ensures \result == WEFT_OK || \result == WEFT_AGAIN ==> link->status == WEFT_OK;
    ensures \result == WEFT_OK || \result == WEFT_AGAIN || \result == link->status;
    ensures \result == WEFT_OK || \result == WEFT_AGAIN ||
            \result == WEFT_E_FRAME_MALFORMED || \result == WEFT_E_PROTOCOL_VERSION;
@*/
static weft_status take_head(weft_link *link, const uint8_t **bytes, size_t *length)
{
    if (link->head_taken < WEFT_FRAME_HEADER_BYTES) {
        take_head_bytes(link, bytes, length, WEFT_FRAME_HEADER_BYTES);
        if (link->head_taken < WEFT_FRAME_HEADER_BYTES) {
            return WEFT_AGAIN;
        }
        link->status =
            weft_frame_decode_header(link->head, link->peer, &link->message, &link->fields_bytes);
        if (link->status != WEFT_OK) {
            return link->status;
        }
    }
    take_head_bytes(link, bytes, length, WEFT_FRAME_HEADER_BYTES + link->fields_bytes);
    if (link->head_taken < WEFT_FRAME_HEADER_BYTES + link->fields_bytes) {
        return WEFT_AGAIN;
    }
    weft_message_get_fields(&link->message, link->head + WEFT_FRAME_HEADER_BYTES);
    link->tail_taken = 0;
    return WEFT_OK;
}

/*@ requires \valid(link);
    assigns link->head_taken, link->fields_bytes;
    ensures link->head_taken == 0 && link->fields_bytes == 0;
@*/
static void begin_next_frame(weft_link *link)
{
    link->head_taken = link->fields_bytes = 0;
}

/*@ requires \valid_read(link) && link->fields_bytes <= WEFT_FRAME_FIELDS_MAX;
    assigns \nothing;
    ensures \result <==> head_is_complete(link);
@*/
static bool head_complete(const weft_link *link)
{
    return link->head_taken >= WEFT_FRAME_HEADER_BYTES &&
           link->head_taken == WEFT_FRAME_HEADER_BYTES + link->fields_bytes;
}

/* A text of the peer ends up in logs and on terminals: what is no printable UTF-8 becomes '?'. */
/*@ requires \valid(text + (0 .. length)) && length < SIZE_MAX;
    assigns text[0 .. length];
    ensures text[length] == 0;
@*/
static void clean_text(char *text, size_t length)
{
    bool valid = weft_utf8_prefix(text, length) == length;
    /*@ loop invariant 0 <= i <= length;
        loop assigns i, text[0 .. length - 1];
        loop variant length - i;
    @*/
    for (size_t i = 0; i < length; i++) {
        bool high = (unsigned char)text[i] >= 0x80;
        size_t bytes = high && !valid ? 1 : weft_utf8_control(text + i, length - i);
        memset(text + i, '?', bytes);
    }
    text[length] = '\0';
}

/*@ requires \valid(link) && \valid(item) && \separated(link, item);
    requires link->status == WEFT_OK && head_is_complete(link) && knows_its_frame(link);
    requires is_bulk_type(link->message.type) ==> link->tail_taken == 0;
    assigns *item, link->text[0 .. WEFT_TEXT_TAIL_MAX], link->head_taken, link->fields_bytes;
    ensures weft_link_is_sound(link) && \result == WEFT_OK;
    ensures item->is_message && weft_link_gives_message(link, item);
@*/
static weft_status give_message(weft_link *link, weft_link_item *item)
{
    clean_text(link->text, is_bulk(&link->message) ? 0 : link->message.tail);
    *item = (weft_link_item){.is_message = true, .message = &link->message, .text = link->text};
    if (!is_bulk(&link->message) || link->message.tail == 0) {
        begin_next_frame(link);
    }
    return WEFT_OK;
}

/*@ requires \valid(to + (0 .. length - 1)) && \valid_read(from + (0 .. length - 1));
    assigns to[0 .. length - 1];
@*/
static void copy_text(char *to, const uint8_t *from, size_t length)
{
    /*@ loop invariant 0 <= i <= length;
        loop assigns i, to[0 .. length - 1];
        loop variant length - i;
    @*/
    for (size_t i = 0; i < length; i++) {
        to[i] = (char)from[i];
    }
}

/*@ requires takes_from(link, bytes, length) && *length > 0;
    requires \valid(item) && \separated(item, link, bytes, length, *bytes + (0 .. *length - 1));
    requires link->status == WEFT_OK && head_is_complete(link) && knows_its_frame(link);
    requires link->tail_taken < link->message.tail;
    assigns *bytes, *length, *item, link->head_taken, link->fields_bytes, link->tail_taken,
        link->text[0 .. WEFT_TEXT_TAIL_MAX];
    ensures weft_link_is_sound(link);
    ensures *length < \old(*length);
    ensures *bytes + *length == \old(*bytes + *length);
    ensures \result == WEFT_OK || (\result == WEFT_AGAIN && *length == 0);
    ensures \result == WEFT_OK && item->is_message ==> weft_link_gives_message(link, item);
    ensures \result == WEFT_OK && !item->is_message ==> item->bytes == \old(*bytes) &&
            item->length == \old(*length) - *length;
    ensures \old(is_bulk_type(link->message.type)) ==> \result == WEFT_OK && !item->is_message;
    ensures !\old(is_bulk_type(link->message.type)) && \result == WEFT_OK ==> item->is_message;
@*/
static weft_status take_tail(weft_link *link, const uint8_t **bytes, size_t *length,
                             weft_link_item *item)
{
    uint32_t n = (uint32_t)smaller(*length, link->message.tail - link->tail_taken);
    const uint8_t *part = *bytes;
    *bytes += n;
    *length -= n;
    if (is_bulk(&link->message)) {
        /* a peer may tell any offset, and what it leads to is checked by who lands it */
        *item = (weft_link_item){.message = &link->message,
                                 .text = "",
                                 .bytes = part,
                                 .length = n,
                                 .offset =
                                     weft_size_wrapped_sum(link->message.offset, link->tail_taken)};
    } else {
        copy_text(link->text + link->tail_taken, part, n);
    }
    link->tail_taken += n;
    /*@ assert *bytes + *length == \at(*bytes + *length, Pre); @*/
    bool complete = link->tail_taken == link->message.tail;
    if (is_bulk(&link->message)) {
        if (complete) {
            begin_next_frame(link);
        }
        return WEFT_OK;
    }
    weft_status status = complete ? give_message(link, item) : WEFT_AGAIN;
    /*@ assert *bytes + *length == \at(*bytes + *length, Pre); @*/
    return status;
}

weft_status weft_link_take(weft_link *link, const uint8_t **bytes, size_t *length,
                           weft_link_item *item)
{
    if (link->status != WEFT_OK) {
        return link->status;
    }
    if (*length == 0) {
        return WEFT_AGAIN;
    }
    if (head_complete(link)) {
        return take_tail(link, bytes, length, item);
    }
    weft_status status = take_head(link, bytes, length);
    if (status != WEFT_OK) {
        return status;
    }
    if (is_bulk(&link->message) || link->message.tail == 0) {
        return give_message(link, item);
    }
    return *length == 0 ? WEFT_AGAIN : take_tail(link, bytes, length, item);
}

bool weft_link_in_frame(const weft_link *link)
{
    return link->head_taken != 0;
}

/* ---- Out ---- */

static const uint8_t ZEROS[LARGEST_TAIL];

/*@ requires \valid(to + (0 .. length - 1)) && \valid_read(from + (0 .. length - 1));
    requires \separated(to + (0 .. length - 1), from + (0 .. length - 1));
    assigns to[0 .. length - 1];
@*/
static void put_text(uint8_t *to, const char *from, size_t length)
{
    /*@ loop invariant 0 <= i <= length;
        loop assigns i, to[0 .. length - 1];
        loop variant length - i;
    @*/
    for (size_t i = 0; i < length; i++) {
        to[i] = (uint8_t)from[i];
    }
}

void weft_link_put(weft_link *link, weft_message *message, const char *text)
{
    size_t tail = text == NULL ? 0 : smaller(strlen(text), weft_message_tail_max(message->type));
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    message->tail = (uint32_t)tail;
    size_t head_bytes = weft_frame_encode_head(message, head);
    if (link->out_begin > 0) { /* what is sent makes room */
        memmove(link->out, link->out + link->out_begin, link->out_end - link->out_begin);
        link->out_end -= link->out_begin;
        link->out_begin = 0;
    }
    /*@ assert link->message.type == \at(link->message.type, Pre); @*/
    if (link->status == WEFT_E_LINK_OVERFLOW) {
        return; /* a frame was lost, and none may follow it */
    }
    if (head_bytes + tail > WEFT_LINK_OUT_BYTES - link->out_end) {
        link->status = link->status == WEFT_OK ? WEFT_E_LINK_OVERFLOW : link->status;
        return;
    }
    memcpy(link->out + link->out_end, head, head_bytes);
    /*@ assert link->message.type == \at(link->message.type, Pre); @*/
    if (tail > 0) {
        put_text(link->out + link->out_end + head_bytes, text, tail);
    }
    /*@ assert link->message.type == \at(link->message.type, Pre); @*/
    link->out_end += (uint32_t)(head_bytes + tail);
}

void weft_link_put_piece(weft_link *link, const weft_message *message, const void *tail)
{
    weft_invariant(!weft_link_has_piece(link));
    link->piece_head_bytes = weft_frame_encode_head(message, link->piece_head);
    link->piece_head_sent = link->piece_sent = 0;
    link->piece_bytes = message->tail;
    link->piece = tail;
}

bool weft_link_has_piece(const weft_link *link)
{
    return link->piece_head_sent < link->piece_head_bytes || link->piece_sent < link->piece_bytes;
}

/*@ requires \valid_read(link);
    assigns \nothing;
    ensures \result <==> piece_is_begun(link);
@*/
static bool piece_begun(const weft_link *link)
{
    return weft_link_has_piece(link) && link->piece_head_sent > 0;
}

void weft_link_drop_piece(weft_link *link)
{
    if (piece_begun(link)) {
        link->piece = NULL;
    } else {
        link->piece_head_bytes = link->piece_head_sent = 0;
        link->piece_bytes = link->piece_sent = 0;
    }
}

/*@ requires \valid_read(link) && \valid(spans + (0 .. WEFT_SPANS_MAX - 1));
    requires \separated(link, spans + (0 .. WEFT_SPANS_MAX - 1)) && weft_link_out_is_sound(link);
    assigns spans[0 .. WEFT_SPANS_MAX - 1];
    ensures weft_link_tells(link, spans, \result, piece_left(link));
@*/
static size_t piece_spans(const weft_link *link, weft_span spans[WEFT_SPANS_MAX])
{
    size_t count = 0;
    if (link->piece_head_sent < link->piece_head_bytes) {
        spans[count++] = (weft_span){link->piece_head + link->piece_head_sent,
                                     link->piece_head_bytes - link->piece_head_sent};
    }
    if (link->piece_sent < link->piece_bytes) {
        const uint8_t *tail = link->piece != NULL ? link->piece : ZEROS;
        spans[count++] = (weft_span){tail + link->piece_sent, link->piece_bytes - link->piece_sent};
    }
    return count;
}

/* A frame that has begun goes first: nothing may stand in its middle. Then control frames, then the
 * next piece. */
size_t weft_link_spans(const weft_link *link, weft_span spans[WEFT_SPANS_MAX])
{
    if (!piece_begun(link) && link->out_begin < link->out_end) {
        spans[0] = (weft_span){link->out + link->out_begin, link->out_end - link->out_begin};
        return 1;
    }
    return piece_spans(link, spans);
}

void weft_link_sent(weft_link *link, size_t length, uint64_t now_ns)
{
    if (!piece_begun(link) && link->out_begin < link->out_end) {
        weft_invariant(length <= link->out_end - link->out_begin);
        link->out_begin += (uint32_t)length;
        return;
    }
    size_t of_head = smaller(length, link->piece_head_bytes - link->piece_head_sent);
    link->piece_head_sent += (uint32_t)of_head;
    weft_invariant(length - of_head <= link->piece_bytes - link->piece_sent);
    link->piece_sent += (uint32_t)(length - of_head);
    if (length >
        0) { /* a peer that only reads has nothing to say; that it makes room is a sign of life */
        link->heard_ns = now_ns;
    }
}

/* ---- Silence ---- */

void weft_link_keep_alive(weft_link *link, uint64_t now_ns, uint32_t keepalive_ms)
{
    uint64_t period_ns = keepalive_ms * NS_PER_MS;
    if (link->status != WEFT_OK || now_ns < link->heard_ns + period_ns) {
        return;
    }
    if (now_ns >= link->heard_ns + SILENCES_TO_LOSS * period_ns) {
        link->status = WEFT_E_LINK_SILENT;
    } else if (now_ns >= link->asked_ns + period_ns) {
        weft_message ping = {.type = WEFT_MESSAGE_PING};
        link->asked_ns = now_ns;
        weft_link_put(link, &ping, NULL);
    }
}

uint64_t weft_link_next_ns(const weft_link *link, uint32_t keepalive_ms)
{
    uint64_t period_ns = keepalive_ms * NS_PER_MS;
    uint64_t last = link->asked_ns > link->heard_ns ? link->asked_ns : link->heard_ns;
    uint64_t loss = link->heard_ns + SILENCES_TO_LOSS * period_ns;
    return last + period_ns < loss ? last + period_ns : loss;
}
