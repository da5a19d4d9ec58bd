/* Bytes to messages and back: spec/protocol.md. Pure functions of plain data; they see only the
 * head of a frame (header and fields), because a tail is delivered as it arrives and is never
 * gathered.
 *
 *      | header, 24 bytes | fields, fixed for each type | tail, up to a limit for each type |
 *      '------------------ head -----------------------'
 */
#ifndef WEFT_SRC_FRAME_H
#define WEFT_SRC_FRAME_H

#include "frame_messages.h"
#include "weft_errors.h"

/* Epochs only grow, so that one frame with the largest number would use up all that are left. */
#define WEFT_EPOCH_MAX (UINT64_MAX >> 1)

#define WEFT_FRAME_HEAD_MAX (WEFT_FRAME_HEADER_BYTES + WEFT_FRAME_FIELDS_MAX)

typedef enum weft_sender { WEFT_SENDER_WORKER = 0, WEFT_SENDER_TRAINER = 1 } weft_sender;

/*@ predicate may_send(integer sender, integer type) =
      sender == WEFT_SENDER_WORKER ? is_from_worker(type) : is_from_trainer(type);
@*/

/* Reads the header of a frame from `sender` and sets *message to its type, epoch and tail, all
 * fields zero. *fields_bytes is how many bytes of fields follow. Returns: WEFT_OK, FRAME_MALFORMED,
 * PROTOCOL_VERSION; on an error nothing is written. */
/*@ requires \valid_read(header + (0 .. WEFT_FRAME_HEADER_BYTES - 1));
    requires \valid(message) && \valid(fields_bytes);
    requires \separated(message, fields_bytes, header + (0 .. WEFT_FRAME_HEADER_BYTES - 1));
    assigns *message, *fields_bytes;
    ensures \result == WEFT_OK || \result == WEFT_E_FRAME_MALFORMED ||
            \result == WEFT_E_PROTOCOL_VERSION;
    ensures \result == WEFT_OK ==> may_send(sender, message->type);
    ensures \result == WEFT_OK ==> message->tail <= tail_of(message->type) &&
            message->epoch <= WEFT_EPOCH_MAX && *fields_bytes == fields_of(message->type);
    ensures \result != WEFT_OK ==> *message == \old(*message) &&
            *fields_bytes == \old(*fields_bytes);
@*/
weft_status weft_frame_decode_header(const uint8_t header[WEFT_FRAME_HEADER_BYTES],
                                     weft_sender sender, weft_message *message,
                                     uint32_t *fields_bytes);
/* Writes the head of a frame and returns its length, at most WEFT_FRAME_HEAD_MAX. message->type
 * must be known and message->tail within the type's limit. */
/*@ requires \valid_read(message) && \valid(head + (0 .. WEFT_FRAME_HEAD_MAX - 1));
    requires \separated(message, head + (0 .. WEFT_FRAME_HEAD_MAX - 1));
    requires message->tail <= tail_of(message->type);
    assigns head[0 .. WEFT_FRAME_HEADER_BYTES + fields_of(message->type) - 1];
    ensures \result == WEFT_FRAME_HEADER_BYTES + fields_of(\old(message->type));
@*/
uint32_t weft_frame_encode_head(const weft_message *message, uint8_t head[WEFT_FRAME_HEAD_MAX]);

#endif
