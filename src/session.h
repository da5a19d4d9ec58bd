/* The six-state session machine: spec/session.yaml as code. Both ends use it; session.c is the only
 * file that assigns a state. Plain data, pure functions. */
#ifndef WEFT_SRC_SESSION_H
#define WEFT_SRC_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "weft_states.h"

typedef struct weft_machine {
    uint8_t state; /* weft_state */
} weft_machine;

typedef struct weft_transition { /* what a commit did */
    uint8_t from, event, to;
} weft_transition;

void weft_session_init(weft_machine *machine);
weft_state weft_session_state(const weft_machine *machine);
/* Is there a row for this state and event? False too for numbers that are no state or event. */
bool weft_session_legal(weft_state state, weft_event event);
/* Moves along the table and says how. False, and nothing moved, when the event is illegal in this
 * state. */
bool weft_session_commit(weft_machine *machine, weft_event event, weft_transition *transition);

/* A session runs: its deadline counts and its epoch is fenced. */
bool weft_session_active(const weft_machine *machine);
/* The session can still end by a fault: it is neither idle nor failed already. */
bool weft_session_can_fail(const weft_machine *machine);

#endif
