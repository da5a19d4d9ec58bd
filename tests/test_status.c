/* Words for numbers. That the generated lists are those of spec/ is shown by test_generated.py. */
#include "weft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void zero_and_again_are_ok(void **state)
{
    (void)state;
    assert_string_equal(weft_status_name(WEFT_OK), "WEFT_OK");
    assert_string_equal(weft_status_group(WEFT_OK), "ok");
    assert_string_equal(weft_status_text(WEFT_OK), "nothing is wrong");
    assert_string_equal(weft_status_mend(WEFT_OK), "");
    assert_string_equal(weft_status_name(WEFT_AGAIN), "WEFT_AGAIN");
    assert_string_equal(weft_status_group(WEFT_AGAIN), "ok");
    assert_string_equal(weft_status_text(WEFT_AGAIN), "not yet");
    assert_string_equal(weft_status_mend(WEFT_AGAIN), "call again later");
}

static void errors_have_their_words(void **state)
{
    (void)state;
    assert_int_equal(WEFT_E_BASE_MISMATCH, -301);
    assert_string_equal(weft_status_name(WEFT_E_BASE_MISMATCH), "WEFT_E_BASE_MISMATCH");
    assert_string_equal(weft_status_group(WEFT_E_BASE_MISMATCH), "base");
    assert_string_equal(weft_status_name(WEFT_E_FILE_PATCH), "WEFT_E_FILE_PATCH");
    assert_string_equal(weft_status_group(WEFT_E_FILE_PATCH), "file");
    assert_string_equal(weft_status_text(WEFT_E_FILE_PATCH),
                        "the patch contradicts itself or its model");
    assert_string_equal(weft_status_mend(WEFT_E_FILE_PATCH),
                        "make it again with weft diff from the right files");
}

/* A code is -(100 * group + number), and nothing else has a name. */
static void codes_and_groups_belong_together(void **state)
{
    static const char *const GROUPS[] = {"?",         "usage",  "metadata", "base",     "peer",
                                         "transport", "device", "resource", "internal", "file"};
    unsigned known = 0;

    (void)state;
    for (int code = -1; code > -1000; code--) {
        weft_status status = (weft_status)code;
        const char *group = weft_status_group(status);
        const char *text = weft_status_text(status);

        if (strcmp(weft_status_name(status), "?") == 0) {
            assert_string_equal(group, "?");
            assert_string_equal(text, "the status is unknown to this version of weft");
            assert_string_equal(weft_status_mend(status),
                                "use the same version of weft on both ends");
            continue;
        }
        known++;
        assert_int_equal(strncmp(weft_status_name(status), "WEFT_E_", 7), 0);
        assert_string_equal(group, GROUPS[-code / 100]);
        assert_true(text[0] != '\0' && text[strlen(text) - 1] != '.');
        assert_true(weft_status_mend(status)[0] != '\0');
    }
    assert_true(known >= 80);
    assert_string_equal(weft_status_name((weft_status)2), "?");
}

static void states_events_conditions_and_outcomes_have_names(void **state)
{
    static const char *const STATES[] = {"idle",     "started", "receiving", "applying",
                                         "finished", "failed",  "?"};
    static const char *const EVENTS[] = {"start",  "update", "apply", "applied",
                                         "commit", "fault",  "reset", "?"};
    static const char *const CONDITIONS[] = {"intact", "torn", "lost", "?"};
    static const char *const OUTCOMES[] = {"none",      "committed", "aborted", "unconfirmed",
                                           "undecided", "in doubt",  "?"};

    (void)state;
    for (int i = 0; i < 7; i++) {
        assert_string_equal(weft_state_name((weft_state)i), STATES[i]);
    }
    for (int i = 0; i < 8; i++) {
        assert_string_equal(weft_event_name((weft_event)i), EVENTS[i]);
    }
    for (int i = 0; i < 4; i++) {
        assert_string_equal(weft_condition_name((weft_condition)i), CONDITIONS[i]);
    }
    for (int i = 0; i < 7; i++) {
        assert_string_equal(weft_outcome_name((weft_outcome)i), OUTCOMES[i]);
    }
    assert_string_equal(weft_state_name((weft_state)-1), "?");
    assert_string_equal(weft_outcome_name((weft_outcome)-1), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_and_again_are_ok),
        cmocka_unit_test(errors_have_their_words),
        cmocka_unit_test(codes_and_groups_belong_together),
        cmocka_unit_test(states_events_conditions_and_outcomes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
