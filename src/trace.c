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

void weft_trace_frame(const weft_hooks *hooks, uint64_t now_ns, weft_state state,
                      weft_trace_kind kind, uint32_t link, const weft_message *message,
                      weft_status status)
{
    emit(hooks, &(weft_trace){.kind = kind,
                              .now_ns = now_ns,
                              .epoch = message->epoch,
                              .from = state,
                              .to = state,
                              .message = message->type,
                              .link = link,
                              .status = status,
                              .offset = message->offset,
                              .length = message->tail});
}
