/* The session machine against spec/session.yaml itself: the file is read here, so that no cell of
 * state and event can be left out, and a table that was generated from another file is seen. */
#include "session.h"
#include "weft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libfyaml.h>

#define ILLEGAL (-1)

/* What the file says. */
static struct fy_document *spec;
static int table[WEFT_STATE_COUNT][WEFT_EVENT_COUNT];

static struct fy_node *at(const char *path)
{
    struct fy_node *node =
        fy_node_by_path(fy_document_root(spec), path, (size_t)-1, FYNWF_DONT_FOLLOW);

    assert_non_null(node);
    return node;
}

/* The position of a scalar among the keys of a mapping of the root: its number. */
static int number_of(const char *mapping, struct fy_node *scalar)
{
    struct fy_node *keys = at(mapping);
    void *iterator = NULL;
    int number = 0;

    for (;;) {
        struct fy_node_pair *pair = fy_node_mapping_iterate(keys, &iterator);
        assert_non_null(pair);
        if (strcmp(fy_node_get_scalar0(fy_node_pair_key(pair)), fy_node_get_scalar0(scalar)) == 0) {
            return number;
        }
        number++;
    }
}

static void read_transition(struct fy_node *transition)
{
    struct fy_node *from = fy_node_mapping_lookup_by_string(transition, "from", (size_t)-1);
    int to = number_of("/states", fy_node_mapping_lookup_by_string(transition, "to", (size_t)-1));
    int event =
        number_of("/events", fy_node_mapping_lookup_by_string(transition, "event", (size_t)-1));

    for (int i = 0; i < fy_node_sequence_item_count(from); i++) {
        int state = number_of("/states", fy_node_sequence_get_by_index(from, i));
        assert_int_equal(table[state][event], ILLEGAL);
        table[state][event] = to;
    }
}

static int read_spec(void **state)
{
    const char *source = getenv("WEFT_SOURCE_DIR");
    char path[4096];
    struct fy_node *transitions;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/spec/session.yaml", source != NULL ? source : ".");
    spec = fy_document_build_from_file(NULL, path);
    if (spec == NULL) {
        (void)fprintf(stderr, "cannot read %s; set WEFT_SOURCE_DIR\n", path);
        return -1;
    }
    memset(table, 0xff, sizeof table); /* ILLEGAL everywhere */
    transitions = at("/transitions");
    for (int i = 0; i < fy_node_sequence_item_count(transitions); i++) {
        read_transition(fy_node_sequence_get_by_index(transitions, i));
    }
    return 0;
}

static int close_spec(void **state)
{
    (void)state;
    fy_document_destroy(spec);
    return 0;
}

/* The names that weft.h tells stand in the order of the file, and nothing follows them. */
static void check_names(const char *mapping, int count, const char *(*name)(int))
{
    struct fy_node *keys = at(mapping);
    void *iterator = NULL;

    assert_int_equal(fy_node_mapping_item_count(keys), count);
    for (int i = 0; i < count; i++) {
        struct fy_node_pair *pair = fy_node_mapping_iterate(keys, &iterator);
        assert_string_equal(fy_node_get_scalar0(fy_node_pair_key(pair)), name(i));
    }
    assert_string_equal(name(count), "?");
    assert_string_equal(name(-1), "?");
}

static const char *state_name(int number)
{
    return weft_state_name((weft_state)number);
}

static const char *event_name(int number)
{
    return weft_event_name((weft_event)number);
}

static void test_names_are_the_files(void **state)
{
    (void)state;
    check_names("/states", WEFT_STATE_COUNT, state_name);
    check_names("/events", WEFT_EVENT_COUNT, event_name);
}

static void test_it_begins_where_the_file_says(void **state)
{
    weft_machine machine = {.state = WEFT_FAILED};

    (void)state;
    weft_session_init(&machine);
    assert_int_equal(weft_session_state(&machine), number_of("/states", at("/initial")));
    assert_int_equal(weft_session_state(&machine), WEFT_IDLE);
}

static void test_every_cell(void **state)
{
    unsigned legal = 0;

    (void)state;
    for (int from = 0; from < WEFT_STATE_COUNT; from++) {
        for (int event = 0; event < WEFT_EVENT_COUNT; event++) {
            weft_machine machine = {.state = (uint8_t)from};
            weft_transition transition = {.from = 99, .event = 99, .to = 99};
            int to = table[from][event];
            bool moved = weft_session_commit(&machine, (weft_event)event, &transition);

            assert_int_equal(weft_session_legal((weft_state)from, (weft_event)event),
                             to != ILLEGAL);
            assert_int_equal(moved, to != ILLEGAL);
            assert_int_equal(machine.state, moved ? to : from);
            assert_int_equal(transition.from, moved ? from : 99);
            assert_int_equal(transition.event, moved ? event : 99);
            assert_int_equal(transition.to, moved ? to : 99);
            legal += moved ? 1 : 0;
        }
    }
    assert_int_equal(legal, 11); /* the pairs that the rows of session.yaml name */
}

static void test_what_is_no_number_of_the_table_is_illegal(void **state)
{
    static const int wrong[] = {-1, WEFT_STATE_COUNT, WEFT_EVENT_COUNT, 255, 256, 1 << 30};

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        for (int right = 0; right < WEFT_STATE_COUNT; right++) {
            weft_machine machine = {.state = (uint8_t)right};
            weft_transition transition = {.to = 99};
            if (wrong[i] == WEFT_STATE_COUNT) {
                assert_false(weft_session_legal((weft_state)wrong[i], (weft_event)right));
                continue; /* 6 is an event */
            }
            assert_false(weft_session_legal((weft_state)wrong[i], (weft_event)right));
            assert_false(weft_session_legal((weft_state)right, (weft_event)wrong[i]));
            assert_false(weft_session_commit(&machine, (weft_event)wrong[i], &transition));
            assert_int_equal(machine.state, right);
            assert_int_equal(transition.to, 99);
        }
    }
    for (int event = 0; event < WEFT_EVENT_COUNT;
         event++) { /* a broken machine stays where it is */
        weft_machine machine = {.state = WEFT_STATE_COUNT};
        weft_transition transition = {.to = 99};
        assert_false(weft_session_commit(&machine, (weft_event)event, &transition));
        assert_int_equal(machine.state, WEFT_STATE_COUNT);
    }
}

static void test_fault_and_reset_lead_home(void **state)
{
    (void)state;
    for (int from = 0; from < WEFT_STATE_COUNT; from++) {
        weft_machine machine = {.state = (uint8_t)from};
        weft_transition transition;

        assert_int_equal(weft_session_active(&machine), from != WEFT_IDLE);
        assert_int_equal(weft_session_can_fail(&machine), from != WEFT_IDLE && from != WEFT_FAILED);
        if (weft_session_can_fail(&machine)) {
            assert_true(weft_session_commit(&machine, WEFT_EVENT_FAULT, &transition));
            assert_int_equal(transition.from, from);
            assert_int_equal(weft_session_state(&machine), WEFT_FAILED);
            assert_true(weft_session_active(&machine));
        }
        if (weft_session_active(&machine)) {
            assert_true(weft_session_commit(&machine, WEFT_EVENT_RESET, &transition));
        }
        assert_int_equal(weft_session_state(&machine), WEFT_IDLE);
    }
}

/* Every way through the table comes by idle again: no state without a way home, whatever happens.
 */
static void test_every_state_reaches_idle_without_a_fault_or_by_one(void **state)
{
    bool home[WEFT_STATE_COUNT] = {[WEFT_IDLE] = true};

    (void)state;
    for (int round = 0; round < WEFT_STATE_COUNT; round++) {
        for (int from = 0; from < WEFT_STATE_COUNT; from++) {
            for (int event = 0; event < WEFT_EVENT_COUNT; event++) {
                home[from] |= table[from][event] != ILLEGAL && home[table[from][event]];
            }
        }
    }
    for (int from = 0; from < WEFT_STATE_COUNT; from++) {
        assert_true(home[from]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_the_files),
        cmocka_unit_test(test_it_begins_where_the_file_says),
        cmocka_unit_test(test_every_cell),
        cmocka_unit_test(test_what_is_no_number_of_the_table_is_illegal),
        cmocka_unit_test(test_fault_and_reset_lead_home),
        cmocka_unit_test(test_every_state_reaches_idle_without_a_fault_or_by_one),
    };

    return cmocka_run_group_tests(tests, read_spec, close_spec) != 0;
}
