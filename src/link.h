/* One connection, without its socket: gathers heads, hands tails through, queues control frames,
 * watches for silence. Worker and trainer use the same one. A link takes a fixed amount of memory,
 * whatever its peer does:
 *
 *   in      the head of the frame that arrives, and a text tail; the tail of DOCUMENT and PAYLOAD
 *           is handed on as it comes
 *   out     a small buffer for control frames; a peer that does not read them loses the link
 *   piece   one DOCUMENT or PAYLOAD frame whose tail is borrowed from the session's own memory, so
 *           that a slow worker costs the trainer nothing but this struct
 */
#ifndef WEFT_SRC_LINK_H
#define WEFT_SRC_LINK_H

#include <string.h>

#include "frame.h"
#include "weft.h"

#define WEFT_LINK_OUT_BYTES 2048u

typedef struct weft_link {
    weft_sender peer;   /* who sends to us */
    weft_status status; /* WEFT_OK, or why the link must be closed */
    uint64_t heard_ns;  /* last sign of life */
    uint64_t asked_ns;  /* last PING */
    /* in */
    uint32_t head_taken, fields_bytes;
    uint32_t tail_taken;
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    weft_message message; /* complete when its head is */
    char text[WEFT_TEXT_TAIL_MAX + 1];
    /* out */
    uint32_t out_begin, out_end;
    uint8_t out[WEFT_LINK_OUT_BYTES];
    uint32_t piece_head_bytes, piece_head_sent;
    uint32_t piece_bytes, piece_sent;
    const uint8_t *piece; /* NULL: zeros, for a frame whose memory is gone (weft_link_drop_piece) */
    uint8_t piece_head[WEFT_FRAME_HEAD_MAX];
} weft_link;

typedef struct weft_link_item {
    bool is_message; /* message is new; for DOCUMENT and PAYLOAD its tail follows as items with
                        bytes */
    const weft_message *message; /* of the frame; valid until the next weft_link_take */
    const char *text;            /* is_message: the text tail, NUL-terminated, "" if it has none */
    const uint8_t *bytes;        /* otherwise: a part of its tail */
    uint32_t length;
    uint64_t offset; /* of this part: message->offset plus what came before */
} weft_link_item;

/*@ // Where the frame that arrives stands. A link that is broken is never asked again.
    predicate weft_link_is_sound(weft_link *link) =
      link->status != WEFT_AGAIN &&
      (link->status == WEFT_OK ==>
        link->head_taken <= WEFT_FRAME_HEADER_BYTES + link->fields_bytes &&
        link->fields_bytes <= WEFT_FRAME_FIELDS_MAX &&
        (link->head_taken < WEFT_FRAME_HEADER_BYTES ==> link->fields_bytes == 0) &&
        (link->head_taken >= WEFT_FRAME_HEADER_BYTES ==>
          link->fields_bytes == fields_of(link->message.type) &&
          link->message.tail <= tail_of(link->message.type)) &&
        (link->head_taken == WEFT_FRAME_HEADER_BYTES + link->fields_bytes ==>
          link->tail_taken < link->message.tail));

    predicate weft_link_out_is_sound(weft_link *link) =
      link->out_begin <= link->out_end <= WEFT_LINK_OUT_BYTES &&
      link->piece_head_sent <= link->piece_head_bytes <= WEFT_FRAME_HEAD_MAX &&
      link->piece_sent <= link->piece_bytes;

    predicate has_piece(weft_link *link) =
      link->piece_head_sent < link->piece_head_bytes || link->piece_sent < link->piece_bytes;
    predicate piece_is_begun(weft_link *link) = has_piece(link) && link->piece_head_sent > 0;

    // Bytes that wait, and how many of them the next spans have.
    logic integer out_left(weft_link *link) = link->out_end - link->out_begin;
    logic integer piece_left(weft_link *link) =
      link->piece_head_bytes - link->piece_head_sent + link->piece_bytes - link->piece_sent;
    logic integer next_left(weft_link *link) =
      link->piece_head_sent > 0 && piece_left(link) > 0 ? piece_left(link) :
      out_left(link) > 0 ? out_left(link) : piece_left(link);
    predicate weft_link_tells(weft_link *link, weft_span *spans, integer count, integer bytes) =
      count == 0 ? bytes == 0 :
      count == 1 ? 0 < spans[0].length == bytes :
      count == 2 && spans[0].length > 0 && spans[1].length > 0 &&
      spans[0].length + spans[1].length == bytes;

    predicate weft_link_gives_message(weft_link *link, weft_link_item *item) =
      item->message == &link->message && item->text == &link->text[0] &&
      \exists integer n; 0 <= n <= WEFT_TEXT_TAIL_MAX && link->text[n] == 0;
@*/

/*@ requires \valid(link);
    assigns *link;
    ensures weft_link_is_sound(link) && link->status == WEFT_OK && link->head_taken == 0;
    ensures weft_link_out_is_sound(link);
@*/
void weft_link_init(weft_link *link, weft_sender peer, uint64_t now_ns);
/* Takes bytes from the front of *bytes and gives the next item. Returns: WEFT_OK and an item;
 * WEFT_AGAIN: all bytes are taken; FRAME_MALFORMED, PROTOCOL_VERSION: the link is broken, and stays
 * so. */
/*@ requires \valid(link) && \valid(bytes) && \valid(length) && \valid(item);
    requires \valid_read(*bytes + (0 .. *length - 1));
    requires \separated(link, bytes, length, item, *bytes + (0 .. *length - 1));
    requires weft_link_is_sound(link);
    assigns *bytes, *length, *item, link->status, link->head_taken, link->fields_bytes,
        link->tail_taken, link->head[0 .. WEFT_FRAME_HEAD_MAX - 1], link->message,
        link->text[0 .. WEFT_TEXT_TAIL_MAX];
    ensures weft_link_is_sound(link);
    ensures *length <= \old(*length);
    ensures *bytes + *length == \old(*bytes + *length);
    ensures \result == WEFT_OK ==> *length < \old(*length);
    ensures \result == WEFT_AGAIN ==> *length == 0;
    ensures \result == WEFT_OK || \result == WEFT_AGAIN ?
            link->status == WEFT_OK : link->status == \result;
    ensures \old(link->status) == WEFT_OK ==> \result == WEFT_OK || \result == WEFT_AGAIN ||
            \result == WEFT_E_FRAME_MALFORMED || \result == WEFT_E_PROTOCOL_VERSION;
    ensures \old(link->status) != WEFT_OK ==> \result == \old(link->status) &&
            *length == \old(*length);
    ensures \result == WEFT_OK && item->is_message ==> weft_link_gives_message(link, item);
    ensures \result == WEFT_OK && !item->is_message ==> item->bytes == \old(*bytes) &&
            item->length == \old(*length) - *length;
@*/
weft_status weft_link_take(weft_link *link, const uint8_t **bytes, size_t *length,
                           weft_link_item *item);
/* A frame or its tail is under way. */
/*@ requires \valid_read(link);
    assigns \nothing;
    ensures \result <==> link->head_taken != 0;
@*/
bool weft_link_in_frame(const weft_link *link);

/* Queues a control frame; text may be NULL, and is cut to what its message allows. On overflow
 * status becomes LINK_OVERFLOW. */
/*@ requires \valid(link) && \valid(message) && \separated(link, message);
    requires text == \null || (valid_read_string(text) &&
             \separated(link, text + (0 .. strlen(text))) &&
             \separated(message, text + (0 .. strlen(text))));
    requires weft_link_is_sound(link) && weft_link_out_is_sound(link);
    assigns message->tail, link->status, link->out_begin, link->out_end,
        link->out[0 .. WEFT_LINK_OUT_BYTES - 1];
    ensures weft_link_is_sound(link);
    ensures weft_link_out_is_sound(link);
    ensures link->status == \old(link->status) || link->status == WEFT_E_LINK_OVERFLOW;
@*/
void weft_link_put(weft_link *link, weft_message *message, const char *text);
/* Begins a DOCUMENT or PAYLOAD frame with a borrowed tail of message->tail bytes; only when
 * weft_link_has_piece is false. */
/*@ requires \valid(link) && \valid_read(message) && \separated(link, message);
    requires !has_piece(link) && message->tail <= tail_of(message->type);
    requires weft_link_out_is_sound(link);
    assigns link->piece_head_bytes, link->piece_head_sent, link->piece_bytes, link->piece_sent,
        link->piece, link->piece_head[0 .. WEFT_FRAME_HEAD_MAX - 1];
    ensures weft_link_out_is_sound(link) && has_piece(link) && !piece_is_begun(link);
@*/
void weft_link_put_piece(weft_link *link, const weft_message *message, const void *tail);
/*@ requires \valid_read(link);
    assigns \nothing;
    ensures \result <==> has_piece(link);
@*/
bool weft_link_has_piece(const weft_link *link);
/* The memory of the tail goes away. A frame that has begun is completed with zeros, for its header
 * told its length; one that has not is forgotten. */
/*@ requires \valid(link) && weft_link_out_is_sound(link);
    assigns link->piece_head_bytes, link->piece_head_sent, link->piece_bytes, link->piece_sent,
        link->piece;
    ensures weft_link_out_is_sound(link);
    ensures \old(piece_is_begun(link)) ==> piece_left(link) == \old(piece_left(link));
    ensures !\old(piece_is_begun(link)) ==> !has_piece(link);
@*/
void weft_link_drop_piece(weft_link *link);
/* What is to be sent next; as weft_worker_send. */
/*@ requires \valid_read(link) && \valid(spans + (0 .. WEFT_SPANS_MAX - 1));
    requires \separated(link, spans + (0 .. WEFT_SPANS_MAX - 1)) && weft_link_out_is_sound(link);
    assigns spans[0 .. WEFT_SPANS_MAX - 1];
    ensures weft_link_tells(link, spans, \result, next_left(link));
@*/
size_t weft_link_spans(const weft_link *link, weft_span spans[WEFT_SPANS_MAX]);
/*@ requires \valid(link) && weft_link_out_is_sound(link) && length <= next_left(link);
    assigns link->out_begin, link->piece_head_sent, link->piece_sent, link->heard_ns;
    ensures weft_link_out_is_sound(link);
    ensures out_left(link) + piece_left(link) ==
            \old(out_left(link) + piece_left(link)) - length;
@*/
void weft_link_sent(weft_link *link, size_t length, uint64_t now_ns);

/* After so much silence a PING; after three times as much LINK_SILENT. */
/*@ requires \valid(link) && weft_link_is_sound(link) && weft_link_out_is_sound(link);
    requires link->heard_ns <= INT64_MAX && link->asked_ns <= INT64_MAX;
    assigns link->status, link->asked_ns, link->out_begin, link->out_end,
        link->out[0 .. WEFT_LINK_OUT_BYTES - 1];
    ensures weft_link_is_sound(link);
    ensures weft_link_out_is_sound(link);
    ensures link->asked_ns == \old(link->asked_ns) || link->asked_ns == now_ns;
@*/
void weft_link_keep_alive(weft_link *link, uint64_t now_ns, uint32_t keepalive_ms);
/*@ requires \valid_read(link);
    requires link->heard_ns <= INT64_MAX && link->asked_ns <= INT64_MAX;
    assigns \nothing;
    ensures link->heard_ns + keepalive_ms * 1000000 <= \result <=
            link->heard_ns + 3 * keepalive_ms * 1000000;
@*/
uint64_t weft_link_next_ns(const weft_link *link, uint32_t keepalive_ms);

#endif
