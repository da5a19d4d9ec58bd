#include "trace.h"

static void emit(const weft_hooks *hooks, const weft_trace *record)
{
    if (hooks->trace != NULL) {
        hooks->trace(hooks->context, record);
    }
}

void weft_trace_transition(const weft_hooks *hooks, uint64_t now_ns, const weft_action *action)
{
    const weft_transition *transition = &action->transition;
    emit(hooks, &(weft_trace){.kind = WEFT_TRACE_TRANSITION,
                              .now_ns = now_ns,
                              .epoch = action->epoch,
                              .from = (weft_state)transition->from,
                              .to = (weft_state)transition->to,
                              .event = (weft_event)transition->event,
                              .status = (weft_status)action->status,
                              .link = WEFT_LINK_NONE});
}

/* What a frame's type gives a meaning to; the rest of a message may hold anything. */
static void add_fields(weft_trace *record, const weft_message *message)
{
    switch ((weft_message_type)message->type) {
    case WEFT_MESSAGE_HELLO:
        record->epoch = message->last_epoch;
        record->version = message->version;
        record->digest = message->digest;
        break;
    case WEFT_MESSAGE_START:
        record->session = (weft_kind)message->kind;
        record->update = message->updates;
        record->version = message->target_version;
        record->digest = message->target_digest;
        record->length = message->peers_bytes;
        break;
    case WEFT_MESSAGE_ASK:
        record->version = message->target_version;
        record->digest = message->target_digest;
        break;
    case WEFT_MESSAGE_PEERS:
        record->offset = message->offset;
        record->length = message->tail;
        break;
    case WEFT_MESSAGE_UPDATE:
        record->update = message->update;
        record->offset = message->document_bytes;
        record->length = message->payload_bytes;
        break;
    case WEFT_MESSAGE_DOCUMENT:
    case WEFT_MESSAGE_PAYLOAD:
        record->update = message->update;
        record->offset = message->offset;
        record->length = message->tail;
        break;
    case WEFT_MESSAGE_READY:
    case WEFT_MESSAGE_STAGED:
        record->update = message->update;
        break;
    case WEFT_MESSAGE_COMMITTED:
    case WEFT_MESSAGE_ABORTED:
    case WEFT_MESSAGE_FAILED:
        record->version = message->version;
        record->digest = message->digest;
        break;
    case WEFT_MESSAGE_STARTED:
    case WEFT_MESSAGE_APPLY:
    case WEFT_MESSAGE_APPLIED:
    case WEFT_MESSAGE_COMMIT:
    case WEFT_MESSAGE_ABORT:
    case WEFT_MESSAGE_OUTCOME:
    case WEFT_MESSAGE_PING:
    case WEFT_MESSAGE_PONG:
        break;
    }
}

void weft_trace_frame(const weft_hooks *hooks, uint64_t now_ns, weft_state state,
                      weft_trace_kind kind, uint32_t link, const weft_message *message,
                      weft_status status)
{
    weft_trace record = {.kind = kind,
                         .now_ns = now_ns,
                         .epoch = message->epoch,
                         .from = state,
                         .to = state,
                         .message = message->type,
                         .link = link,
                         .status = status};
    add_fields(&record, message);
    emit(hooks, &record);
}

void weft_trace_lost(const weft_hooks *hooks, uint64_t now_ns, weft_state state, uint32_t link,
                     weft_status status)
{
    emit(hooks, &(weft_trace){.kind = WEFT_TRACE_LOST,
                              .now_ns = now_ns,
                              .from = state,
                              .to = state,
                              .link = link,
                              .status = status});
}
