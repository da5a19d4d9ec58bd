/* What is encoded is decoded, to the field: any message of any type, from either sender. */
#include "../../src/frame.c"
#include "../../src/frame_messages.c"

extern uint8_t any_byte(void);
extern uint32_t any_number(void);
extern uint64_t any_large_number(void);
void __ESBMC_assume(_Bool condition);
void __ESBMC_assert(_Bool condition, const char *what);

static void fill(uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bytes[i] = any_byte();
    }
}

/* Bytes are taken to a message and written again: the same bytes. So no field is lost or mixed up with
 * another, and what a message can say is all that its bytes can. */
static void fields_survive(uint8_t type)
{
    uint8_t before[WEFT_FRAME_FIELDS_MAX], after[WEFT_FRAME_FIELDS_MAX];
    weft_message message = {.type = type};
    fill(before, sizeof before);
    fill(after, sizeof after);
    weft_message_get_fields(&message, before);
    weft_message_put_fields(&message, after);
    for (uint32_t i = 0; i < weft_message_fields_bytes(type); i++) {
        __ESBMC_assert(before[i] == after[i], "fields survive");
    }
    __ESBMC_assert(message.type == type && message.tail == 0 && message.epoch == 0, "only fields");
}

static void header_survives(const weft_message *message, weft_sender sender)
{
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    weft_message decoded;
    uint32_t fields = 0;
    uint32_t bytes = weft_frame_encode_head(message, head);
    weft_status status = weft_frame_decode_header(head, sender, &decoded, &fields);
    __ESBMC_assert(status == WEFT_OK, "decodes");
    __ESBMC_assert(WEFT_FRAME_HEADER_BYTES + fields == bytes, "length survives");
    __ESBMC_assert(decoded.type == message->type && decoded.tail == message->tail &&
                       decoded.epoch == message->epoch,
                   "header survives");
}

int main(void)
{
    weft_message message = {.type = any_byte(), .tail = any_number(), .epoch = any_large_number()};
    bool worker = any_byte() != 0;
    fields_survive(message.type);
    __ESBMC_assume(worker ? weft_message_from_worker(message.type)
                          : weft_message_from_trainer(message.type));
    __ESBMC_assume(message.tail <= weft_message_tail_max(message.type));
    __ESBMC_assume(message.epoch <= WEFT_EPOCH_MAX);
    header_survives(&message, worker ? WEFT_SENDER_WORKER : WEFT_SENDER_TRAINER);
    return 0;
}
