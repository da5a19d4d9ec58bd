/* Numbers to words: statuses, states, events, conditions, outcomes. The lists are generated from
 * spec/. */
#include "weft.h"

#include "errors_table.h"
#include "session_names.h"

#define ERROR_COUNT   (sizeof ERRORS / sizeof ERRORS[0])
#define UNKNOWN       "?"
#define WORDS_OF(set) (sizeof(set) / sizeof(set)[0])

static const char *const CONDITION_NAMES[] = {
    [WEFT_INTACT] = "intact",
    [WEFT_TORN] = "torn",
    [WEFT_LOST] = "lost",
};

static const char *const OUTCOME_NAMES[] = {
    [WEFT_OUTCOME_NONE] = "none",           [WEFT_OUTCOME_COMMITTED] = "committed",
    [WEFT_OUTCOME_ABORTED] = "aborted",     [WEFT_OUTCOME_UNCONFIRMED] = "unconfirmed",
    [WEFT_OUTCOME_UNDECIDED] = "undecided", [WEFT_OUTCOME_IN_DOUBT] = "in doubt",
};

/* Position in ERRORS, or ERROR_COUNT. A search, because nobody asks for words on a hot path. */
static size_t find_error(weft_status status)
{
    size_t i = 0;

    while (i < ERROR_COUNT && ERRORS[i].status != status) {
        i++;
    }
    return i;
}

const char *weft_status_name(weft_status status)
{
    size_t i = find_error(status);

    if (i < ERROR_COUNT) {
        return ERRORS[i].name;
    }
    if (status == WEFT_OK) {
        return "WEFT_OK";
    }
    return status == WEFT_AGAIN ? "WEFT_AGAIN" : UNKNOWN;
}

const char *weft_status_group(weft_status status)
{
    size_t i = find_error(status);

    if (i < ERROR_COUNT) {
        return ERRORS[i].group;
    }
    return status == WEFT_OK || status == WEFT_AGAIN ? "ok" : UNKNOWN;
}

const char *weft_status_text(weft_status status)
{
    size_t i = find_error(status);

    if (i < ERROR_COUNT) {
        return ERRORS[i].text;
    }
    if (status == WEFT_OK) {
        return "nothing is wrong";
    }
    return status == WEFT_AGAIN ? "not yet" : "the status is unknown to this version of weft";
}

const char *weft_status_mend(weft_status status)
{
    size_t i = find_error(status);

    if (i < ERROR_COUNT) {
        return ERRORS[i].mend;
    }
    if (status == WEFT_OK) {
        return "";
    }
    return status == WEFT_AGAIN ? "call again later" : "use the same version of weft on both ends";
}

static const char *word(const char *const *words, size_t count, size_t number)
{
    return number < count ? words[number] : UNKNOWN;
}

const char *weft_state_name(weft_state state)
{
    return word(STATE_NAMES, WORDS_OF(STATE_NAMES), (size_t)state);
}

const char *weft_event_name(weft_event event)
{
    return word(EVENT_NAMES, WORDS_OF(EVENT_NAMES), (size_t)event);
}

const char *weft_condition_name(weft_condition condition)
{
    return word(CONDITION_NAMES, WORDS_OF(CONDITION_NAMES), (size_t)condition);
}

const char *weft_outcome_name(weft_outcome outcome)
{
    return word(OUTCOME_NAMES, WORDS_OF(OUTCOME_NAMES), (size_t)outcome);
}
