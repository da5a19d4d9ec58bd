#include "frame.h"

#include <string.h>

#include "bytes.h"

/* Where the header's fields stand; spec/frames.yaml, header. */
enum {
    AT_MAGIC = 0,
    AT_TYPE = 4,
    AT_VERSION = 5,
    AT_RESERVED = 6,
    AT_BODY = 8,
    AT_TAIL = 12,
    AT_EPOCH = 16
};

/*@ requires \valid_read(header + (0 .. WEFT_FRAME_HEADER_BYTES - 1));
    assigns \nothing;
    ensures \result == WEFT_OK || \result == WEFT_E_FRAME_MALFORMED ||
            \result == WEFT_E_PROTOCOL_VERSION;
    ensures \result == WEFT_OK ==> may_send(sender, header[4]) &&
            number32(header + 12) <= tail_of(header[4]) &&
            number64(header + 16) <= WEFT_EPOCH_MAX;
@*/
static weft_status check_header(const uint8_t *header, weft_sender sender)
{
    uint8_t type = weft_get8(header + AT_TYPE);
    if (weft_get32(header + AT_MAGIC) != WEFT_FRAME_MAGIC) {
        return WEFT_E_FRAME_MALFORMED;
    }
    if (weft_get8(header + AT_VERSION) != WEFT_PROTOCOL_VERSION) {
        return WEFT_E_PROTOCOL_VERSION;
    }
    bool sent = sender == WEFT_SENDER_WORKER ? weft_message_from_worker(type)
                                             : weft_message_from_trainer(type);
    if (!sent || weft_get16(header + AT_RESERVED) != 0) {
        return WEFT_E_FRAME_MALFORMED;
    }
    uint32_t tail = weft_get32(header + AT_TAIL);
    if (tail > weft_message_tail_max(type) ||
        weft_get32(header + AT_BODY) != weft_message_fields_bytes(type) + tail ||
        weft_get64(header + AT_EPOCH) > WEFT_EPOCH_MAX) {
        return WEFT_E_FRAME_MALFORMED;
    }
    return WEFT_OK;
}

weft_status weft_frame_decode_header(const uint8_t header[WEFT_FRAME_HEADER_BYTES],
                                     weft_sender sender, weft_message *message,
                                     uint32_t *fields_bytes)
{
    weft_status status = check_header(header, sender);
    if (status != WEFT_OK) {
        return status;
    }
    uint8_t type = weft_get8(header + AT_TYPE);
    uint32_t tail = weft_get32(header + AT_TAIL);
    uint64_t epoch = weft_get64(header + AT_EPOCH);
    memset(message, 0, sizeof *message);
    message->type = type;
    message->tail = tail;
    message->epoch = epoch;
    *fields_bytes = weft_message_fields_bytes(type);
    return WEFT_OK;
}

/*@ requires \valid_read(message) && \valid(head + (0 .. WEFT_FRAME_HEADER_BYTES - 1));
    requires \separated(message, head + (0 .. WEFT_FRAME_HEADER_BYTES - 1));
    requires fields + message->tail <= UINT32_MAX;
    assigns head[0 .. WEFT_FRAME_HEADER_BYTES - 1];
@*/
static void put_header(const weft_message *message, uint32_t fields, uint8_t *head)
{
    weft_put32(head + AT_MAGIC, WEFT_FRAME_MAGIC);
    weft_put8(head + AT_TYPE, message->type);
    weft_put8(head + AT_VERSION, WEFT_PROTOCOL_VERSION);
    weft_put16(head + AT_RESERVED, 0);
    weft_put32(head + AT_BODY, fields + message->tail);
    weft_put32(head + AT_TAIL, message->tail);
    weft_put64(head + AT_EPOCH, message->epoch);
}

uint32_t weft_frame_encode_head(const weft_message *message, uint8_t head[WEFT_FRAME_HEAD_MAX])
{
    uint32_t fields = weft_message_fields_bytes(message->type);
    put_header(message, fields, head);
    weft_message_put_fields(message, head + WEFT_FRAME_HEADER_BYTES);
    return WEFT_FRAME_HEADER_BYTES + fields;
}
