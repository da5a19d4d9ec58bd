/* Trace records, for worker and trainer alike: one for each transition, for each frame sent,
 * received and dropped, and for each link that ended. PING and PONG concern the link only and leave
 * none. */
#ifndef WEFT_SRC_TRACE_H
#define WEFT_SRC_TRACE_H

#include "protocol.h"
#include "weft.h"

void weft_trace_transition(const weft_hooks *hooks, uint64_t now_ns, const weft_action *action);
/* state: the session's, while the frame is handled. */
void weft_trace_frame(const weft_hooks *hooks, uint64_t now_ns, weft_state state,
                      weft_trace_kind kind, uint32_t link, const weft_message *message,
                      weft_status status);
void weft_trace_lost(const weft_hooks *hooks, uint64_t now_ns, weft_state state, uint32_t link,
                     weft_status status);

#endif
