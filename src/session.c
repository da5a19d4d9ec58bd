/* The only file that assigns a session's state. */
#include "session.h"

#include "session_table.h"

void weft_session_init(weft_machine *machine)
{
    machine->state = WEFT_STATE_INITIAL;
}

weft_state weft_session_state(const weft_machine *machine)
{
    return (weft_state)machine->state;
}

bool weft_session_legal(weft_state state, weft_event event)
{
    return (unsigned)state < WEFT_STATE_COUNT && (unsigned)event < WEFT_EVENT_COUNT &&
           SESSION_TABLE[state][event] != WEFT_STATE_ILLEGAL;
}

bool weft_session_commit(weft_machine *machine, weft_event event, weft_transition *transition)
{
    if (!weft_session_legal(weft_session_state(machine), event)) {
        return false;
    }
    transition->from = machine->state;
    transition->event = (uint8_t)event;
    transition->to = SESSION_TABLE[machine->state][event];
    machine->state = transition->to;
    return true;
}

bool weft_session_active(const weft_machine *machine)
{
    return machine->state != WEFT_IDLE;
}

bool weft_session_can_fail(const weft_machine *machine)
{
    return weft_session_legal(weft_session_state(machine), WEFT_EVENT_FAULT);
}
