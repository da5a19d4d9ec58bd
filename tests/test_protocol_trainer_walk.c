/* A trainer's half of the protocol in long random walks, and what must hold after every step. */
#include "trainer_bench.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STEPS 300000u
#define LINKS 4u
#define WALK  3000u

static weft_message walk_message(test_random *random, const weft_trainer_core *core)
{
    static const uint8_t others[] = {WEFT_MESSAGE_FAILED, WEFT_MESSAGE_HELLO, WEFT_MESSAGE_ABORTED,
                                     WEFT_MESSAGE_COMMITTED, WEFT_MESSAGE_APPLIED};
    weft_message m = {.type = (uint8_t)trainer_bench_answers[core->phase],
                      .epoch = ONE_IN(random, 40) ? test_random_below(random, core->epoch + 2)
                                                  : core->epoch,
                      .fingerprint = ONE_IN(random, 20) ? 1 : FINGERPRINT,
                      .update = core->update + (ONE_IN(random, 80) ? 1u : 0u),
                      .digest = core->target_digest + (ONE_IN(random, 60) ? 1 : 0),
                      .last_epoch = test_random_below(random, core->highest_epoch + 2),
                      .outcome = (uint8_t)test_random_below(random, WEFT_OUTCOME_UNDECIDED)};

    if (core->doubt_epoch != 0 && ONE_IN(random, 3)) {
        m.last_epoch = core->doubt_epoch;
        m.version = core->target_version;
        m.digest = core->target_digest;
    }
    if (ONE_IN(random, 40)) {
        m.type = others[test_random_below(random, sizeof others)];
    } else if (ONE_IN(random, 100)) {
        m.type = (uint8_t)(1 + test_random_below(random, WEFT_MESSAGE_TYPE_END - 1));
    }
    return m;
}

static uint32_t first_open_question(const weft_trainer_core *core)
{
    uint32_t link = 0;

    while (link + 1 < LINKS && core->slots[link].answered) {
        link++;
    }
    return link;
}

/* Opens a link now and then; gives an input that an engine could give. */
static weft_input walk_input(test_random *random, bench *b)
{
    uint32_t link = (uint32_t)test_random_below(random, LINKS);
    bool idle = b->core.phase == WEFT_PHASE_NONE;
    weft_input input = {.type = WEFT_INPUT_MESSAGE, .link = link};

    if (b->core.slots[link].answered && !ONE_IN(random, 20)) {
        input.link = link = first_open_question(&b->core);
    }
    if (!b->core.slots[link].open) {
        weft_trainer_core_open(&b->core, link);
    }
    input.message = walk_message(random, &b->core);
    if (!b->core.slots[link].known && !b->core.slots[link].refused && !ONE_IN(random, 5)) {
        input.message.type = WEFT_MESSAGE_HELLO;
    } else if (idle && weft_trainer_core_known(&b->core) > 0 &&
               ONE_IN(random, b->core.doubt_epoch != 0 ? 30 : 3)) {
        input.type = WEFT_INPUT_PUSH;
        input.message = (weft_message){.kind = (uint8_t)(1 + test_random_below(random, 2)),
                                       .transport = (uint8_t)(1 + test_random_below(random, 2)),
                                       .target_version = test_random_below(random, 9),
                                       .target_digest = test_random_below(random, 3),
                                       .updates = 1 + (uint32_t)test_random_below(random, 3),
                                       .timeout_ms = 5};
    } else if (ONE_IN(random, b->core.phase == WEFT_PHASE_COMMIT ? 3 : 60)) {
        input.type = WEFT_INPUT_LINK_LOST;
        input.status = WEFT_E_LINK_CLOSED;
    } else if (ONE_IN(random, 15)) {
        input.type = WEFT_INPUT_TIME;
    } else if (ONE_IN(random, 100)) {
        input.type = WEFT_INPUT_STOP;
        input.status = WEFT_E_ABORTED;
    }
    return input;
}

static const weft_state state_of[] = {
    [WEFT_PHASE_NONE] = WEFT_IDLE,         [WEFT_PHASE_START] = WEFT_STARTED,
    [WEFT_PHASE_PREPARE] = WEFT_RECEIVING, [WEFT_PHASE_PAYLOAD] = WEFT_RECEIVING,
    [WEFT_PHASE_APPLY] = WEFT_APPLYING,    [WEFT_PHASE_COMMIT] = WEFT_FINISHED,
    [WEFT_PHASE_ABORT] = WEFT_FAILED,
};

/* What the steps of a session have told. */
typedef struct shadow {
    bool applied[LINKS]; /* has said APPLIED with the right digest */
    bool decided, stopped;
    unsigned ends, advances;
} shadow;

typedef struct totals {
    uint32_t most_actions;
    unsigned phases[WEFT_PHASE_ABORT + 1], outcomes[WEFT_OUTCOME_UNDECIDED + 1];
    unsigned doubts_resolved, unconfirmed;
} totals;

static void check_actions(const bench *b, const weft_trainer_core *before, const weft_input *input,
                          shadow *s)
{
    for (uint32_t i = 0; i < b->actions.count; i++) {
        const weft_action *action = &b->actions.list[i];
        if (action->type == WEFT_ACTION_SEND) {
            assert_int_equal(action->link, WEFT_LINK_ALL);
            assert_int_equal(action->epoch, b->core.epoch);
            if (action->message == WEFT_MESSAGE_COMMIT) { /* only when all have applied */
                assert_false(s->decided || s->stopped);
                s->decided = true;
                for (uint32_t link = 0; link < LINKS; link++) {
                    assert_true(!b->core.slots[link].member || s->applied[link]);
                }
            } else if (action->message == WEFT_MESSAGE_ABORT) {
                assert_false(s->decided || s->stopped);
                s->stopped = true;
            }
        } else if (action->type == WEFT_ACTION_COMMITTED || action->type == WEFT_ACTION_FAILED) {
            s->ends++;
            assert_int_equal(action->type == WEFT_ACTION_COMMITTED,
                             b->core.outcome == WEFT_OUTCOME_COMMITTED);
        } else if (action->type == WEFT_ACTION_ADVANCE) {
            s->advances++;
            assert_true(s->decided);
            assert_true(input->message.type == WEFT_MESSAGE_COMMITTED ||
                        (input->message.type == WEFT_MESSAGE_HELLO && before->doubt_epoch != 0));
        } else if (action->type == WEFT_ACTION_TRANSITION) {
            assert_true(weft_session_legal((weft_state)action->transition.from,
                                           (weft_event)action->transition.event));
        }
    }
}

static void check_core(const bench *b, const weft_trainer_core *before, const shadow *s,
                       unsigned advances)
{
    const weft_trainer_core *core = &b->core;
    uint32_t pending = 0;

    for (uint32_t link = 0; link < LINKS; link++) {
        weft_trainer_slot slot = core->slots[link];
        pending += slot.member && !slot.answered ? 1 : 0;
        assert_true(!slot.answered || slot.member);
        assert_true(!slot.member || slot.known);
        assert_true(!slot.member || core->phase != WEFT_PHASE_NONE);
    }
    assert_int_equal(core->pending, pending);
    assert_int_equal(core->machine.state, state_of[core->phase]);
    assert_int_equal(core->deadline_ns != 0, core->phase != WEFT_PHASE_NONE);
    assert_true(core->phase == WEFT_PHASE_NONE || pending > 0);
    assert_true(core->committed <= core->members);
    assert_true(core->highest_epoch >= before->highest_epoch);
    assert_true(core->epoch <= core->highest_epoch);
    assert_int_equal(advances, s->advances <= 1 ? advances : 0); /* once in a session at most */
    if (advances == 0) {
        assert_int_equal(core->base_version, before->base_version);
        assert_int_equal(core->base_digest, before->base_digest);
    } else {
        assert_int_equal(core->base_version, core->target_version);
        assert_int_equal(core->base_digest, core->target_digest);
    }
}

static void check_way_home(const bench *b)
{
    bench copy = *b;

    for (unsigned i = 0; i < 2 && copy.core.phase != WEFT_PHASE_NONE; i++) {
        copy.now_ns = copy.core.deadline_ns;
        trainer_bench_step(&copy, (weft_input){.type = WEFT_INPUT_TIME});
    }
    assert_int_equal(copy.core.phase, WEFT_PHASE_NONE);
    assert_int_equal(copy.core.machine.state, WEFT_IDLE);
}

static void walk_step(test_random *random, bench *b, shadow *s, totals *t)
{
    weft_input input = walk_input(random, b);
    weft_trainer_core before = b->core;
    unsigned advances = s->advances, ends = s->ends;

    if (input.type == WEFT_INPUT_PUSH) {
        *s = (shadow){0};
        advances = ends = 0;
    } else if (input.type == WEFT_INPUT_MESSAGE && input.message.type == WEFT_MESSAGE_APPLIED &&
               input.message.epoch == before.epoch &&
               input.message.digest == before.target_digest) {
        s->applied[input.link] = true;
    }
    b->now_ns += test_random_below(random, MS / (ONE_IN(random, 20) ? 1 : 100));
    trainer_bench_step(b, input);
    check_actions(b, &before, &input, s);
    check_core(b, &before, s, s->advances - advances);
    assert_int_equal(s->ends - ends,
                     before.phase != WEFT_PHASE_NONE && b->core.phase == WEFT_PHASE_NONE ? 1 : 0);
    t->most_actions = b->actions.count > t->most_actions ? b->actions.count : t->most_actions;
    t->phases[b->core.phase]++;
    t->outcomes[b->core.outcome]++;
    t->unconfirmed += b->core.cause == WEFT_E_UNCONFIRMED ? 1 : 0;
    t->doubts_resolved += before.doubt_epoch != 0 && s->advances > advances ? 1 : 0;
}

static void test_random_walks(void **state)
{
    test_random random = test_random_start();
    totals t = {0};
    shadow s = {0};
    bench b;

    (void)state;
    trainer_bench_begin(&b, 0);
    for (unsigned i = 0; i < STEPS; i++) {
        if (i % WALK == 0) {
            trainer_bench_begin(&b, 0);
            s = (shadow){0};
        }
        walk_step(&random, &b, &s, &t);
        if (i % 8 == 0) {
            check_way_home(&b);
        }
    }
    for (unsigned i = 0; i <= WEFT_PHASE_ABORT; i++) {
        assert_true(t.phases[i] > 100);
    }
    assert_true(t.outcomes[WEFT_OUTCOME_COMMITTED] > 100);
    assert_true(t.outcomes[WEFT_OUTCOME_ABORTED] > 100);
    assert_true(t.unconfirmed > 100 && t.doubts_resolved > 0);
    assert_true(t.most_actions < WEFT_ACTIONS_MAX);
    (void)fprintf(stderr, "%u steps, at most %" PRIu32 " actions, %u doubts resolved\n", STEPS,
                  t.most_actions, t.doubts_resolved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_walks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
