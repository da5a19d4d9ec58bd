/* The session's functions once more, by ESBMC: any state, any event, any start of memory. */
#include "../../src/session.c"

extern uint8_t any_byte(void);
extern unsigned any_number(void);
void __ESBMC_assume(_Bool condition);
void __ESBMC_assert(_Bool condition, const char *what);

static void move_follows_the_table(weft_machine machine, weft_event event)
{
    weft_machine before = machine;
    weft_transition transition = {any_byte(), any_byte(), any_byte()};
    bool moved = weft_session_commit(&machine, event, &transition);
    __ESBMC_assert(moved == weft_session_legal(before.state, event), "moved if legal");
    __ESBMC_assert(moved || machine.state == before.state, "unmoved if illegal");
    __ESBMC_assert(!moved || (transition.from == before.state && transition.event == event &&
                              transition.to == machine.state),
                   "the move is told");
    __ESBMC_assert(!moved || SESSION_TABLE[before.state][event] == machine.state, "by the table");
    __ESBMC_assert(machine.state < WEFT_STATE_COUNT, "a state");
}

static void fault_then_reset(weft_machine machine)
{
    weft_transition transition;
    if (weft_session_can_fail(&machine)) {
        __ESBMC_assert(weft_session_commit(&machine, WEFT_EVENT_FAULT, &transition), "can fail");
        __ESBMC_assert(machine.state == WEFT_FAILED, "fails");
    }
    if (weft_session_active(&machine)) {
        __ESBMC_assert(weft_session_commit(&machine, WEFT_EVENT_RESET, &transition), "can reset");
    }
    __ESBMC_assert(machine.state == WEFT_IDLE, "back to idle");
}

int main(void)
{
    weft_machine machine = {any_byte()};
    __ESBMC_assume(machine.state < WEFT_STATE_COUNT);
    move_follows_the_table(machine, (weft_event)any_number());
    fault_then_reset(machine);
    return 0;
}
