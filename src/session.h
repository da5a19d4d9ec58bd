/* The six-state session machine: spec/session.yaml as code. Both ends use it; session.c is the only
 * file that assigns a state. Plain data, pure functions. The
 * contracts are in ACSL, and proved by ./dev prove (spec/proofs.md). */
#ifndef WEFT_SRC_SESSION_H
#define WEFT_SRC_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "session_contract.h"
#include "weft_states.h"

typedef struct weft_machine {
    uint8_t state; /* weft_state */
} weft_machine;

typedef struct weft_transition { /* what a commit did */
    uint8_t from, event, to;
} weft_transition;

/*@ requires \valid(machine);
    assigns machine->state;
    ensures machine->state == WEFT_IDLE;
@*/
void weft_session_init(weft_machine *machine);
/*@ requires \valid_read(machine) && is_state(machine->state);
    assigns \nothing;
    ensures \result == machine->state;
@*/
weft_state weft_session_state(const weft_machine *machine);
/* Is there a row for this state and event? False too for numbers that are no state or event. */
/*@ assigns \nothing;
    ensures \result <==> session_next(state, event) != -1;
@*/
bool weft_session_legal(weft_state state, weft_event event);
/* Moves along the table and says how. False, and nothing moved, when the event is illegal in this
 * state. */
/*@ requires \valid(machine) && is_state(machine->state) && \valid(transition);
    requires \separated(machine, transition);
    assigns machine->state, *transition;
    ensures \result <==> session_next(\old(machine->state), event) != -1;
    ensures \result ==> machine->state == session_next(\old(machine->state), event);
    ensures \result ==> transition->from == \old(machine->state) && transition->event == event &&
                        transition->to == machine->state;
    ensures !\result ==> machine->state == \old(machine->state) && *transition == \old(*transition);
    ensures is_state(machine->state);
@*/
bool weft_session_commit(weft_machine *machine, weft_event event, weft_transition *transition);

/* A session runs: its deadline counts and its epoch is fenced. */
/*@ requires \valid_read(machine);
    assigns \nothing;
    ensures \result <==> machine->state != WEFT_IDLE;
@*/
bool weft_session_active(const weft_machine *machine);
/* The session can still end by a fault: it is neither idle nor failed already. */
/*@ requires \valid_read(machine) && is_state(machine->state);
    assigns \nothing;
    ensures \result <==> machine->state != WEFT_IDLE && machine->state != WEFT_FAILED;
@*/
bool weft_session_can_fail(const weft_machine *machine);

#endif
