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

void weft_link_init(weft_link *link, weft_sender peer, uint64_t now_ns);
/* Takes bytes from the front of *bytes and gives the next item. Returns: WEFT_OK and an item;
 * WEFT_AGAIN: all bytes are taken; FRAME_MALFORMED, PROTOCOL_VERSION: the link is broken, and stays
 * so. */
weft_status weft_link_take(weft_link *link, const uint8_t **bytes, size_t *length,
                           weft_link_item *item);
/* A frame or its tail is under way. */
bool weft_link_in_frame(const weft_link *link);

/* Queues a control frame; text may be NULL, and is cut to what its message allows. On overflow
 * status becomes LINK_OVERFLOW. */
void weft_link_put(weft_link *link, weft_message *message, const char *text);
/* Begins a DOCUMENT or PAYLOAD frame with a borrowed tail of message->tail bytes; only when
 * weft_link_has_piece is false. */
void weft_link_put_piece(weft_link *link, const weft_message *message, const void *tail);
bool weft_link_has_piece(const weft_link *link);
/* The memory of the tail goes away. A frame that has begun is completed with zeros, for its header
 * told its length; one that has not is forgotten. */
void weft_link_drop_piece(weft_link *link);
/* What is to be sent next; as weft_worker_send. */
size_t weft_link_spans(const weft_link *link, weft_span spans[WEFT_SPANS_MAX]);
void weft_link_sent(weft_link *link, size_t length, uint64_t now_ns);

/* After so much silence a PING; after three times as much LINK_SILENT. */
void weft_link_keep_alive(weft_link *link, uint64_t now_ns, uint32_t keepalive_ms);
uint64_t weft_link_next_ns(const weft_link *link, uint32_t keepalive_ms);

#endif
