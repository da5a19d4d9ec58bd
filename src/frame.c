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

weft_status weft_frame_decode_header(const uint8_t header[WEFT_FRAME_HEADER_BYTES],
                                     weft_sender sender, weft_message *message,
                                     uint32_t *fields_bytes)
{
    uint8_t type = weft_get8(header + AT_TYPE);
    if (weft_get32(header + AT_MAGIC) != WEFT_FRAME_MAGIC) {
        return WEFT_E_FRAME_MALFORMED;
    }
    if (weft_get8(header + AT_VERSION) != WEFT_PROTOCOL_VERSION) {
        return WEFT_E_PROTOCOL_VERSION;
    }
    bool may_send = sender == WEFT_SENDER_WORKER ? weft_message_from_worker(type)
                                                 : weft_message_from_trainer(type);
    if (!may_send || weft_get16(header + AT_RESERVED) != 0) {
        return WEFT_E_FRAME_MALFORMED;
    }
    uint32_t body = weft_get32(header + AT_BODY);
    uint32_t tail = weft_get32(header + AT_TAIL);
    uint32_t fields = weft_message_fields_bytes(type);
    if (tail > weft_message_tail_max(type) || body != fields + tail ||
        weft_get64(header + AT_EPOCH) > WEFT_EPOCH_MAX) {
        return WEFT_E_FRAME_MALFORMED;
    }
    memset(message, 0, sizeof *message);
    message->type = type;
    message->tail = tail;
    message->epoch = weft_get64(header + AT_EPOCH);
    *fields_bytes = fields;
    return WEFT_OK;
}

uint32_t weft_frame_encode_head(const weft_message *message, uint8_t head[WEFT_FRAME_HEAD_MAX])
{
    uint32_t fields = weft_message_fields_bytes(message->type);
    weft_put32(head + AT_MAGIC, WEFT_FRAME_MAGIC);
    weft_put8(head + AT_TYPE, message->type);
    weft_put8(head + AT_VERSION, WEFT_PROTOCOL_VERSION);
    weft_put16(head + AT_RESERVED, 0);
    weft_put32(head + AT_BODY, fields + message->tail);
    weft_put32(head + AT_TAIL, message->tail);
    weft_put64(head + AT_EPOCH, message->epoch);
    weft_message_put_fields(message, head + WEFT_FRAME_HEADER_BYTES);
    return WEFT_FRAME_HEADER_BYTES + fields;
}
