/* The look at a document's bytes goes block by block: whatever matters is seen wherever it stands
 * in a block, and where a run or a string goes on from one to the next. */
#include "model.h"
#include "support.h"
#include "update_scan.h"
#include "update_support.h"

#include <stdio.h>

/* In memory of exactly the length, so that a sanitizer sees a byte too many. */
static char *exact(const char *text, size_t length)
{
    char *copy = malloc(length > 0 ? length : 1);

    assert_non_null(copy);
    memcpy(copy, text, length);
    return copy;
}

static void test_plain_blocks(void **state)
{
    char text[3 * WEFT_SCAN_BLOCK];

    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        bool odd = byte < 0x20 || byte == '"' || byte == '\\';
        for (size_t at = 0; at < sizeof text; at++) {
            memset(text, 'a', sizeof text);
            text[at] = (char)byte;
            size_t plain = odd ? at / WEFT_SCAN_BLOCK * WEFT_SCAN_BLOCK : sizeof text;
            assert_int_equal(weft_scan_plain(text, sizeof text), plain);
        }
    }
    memset(text, 'a', sizeof text);
    for (size_t length = 0; length <= sizeof text; length++) {
        char *copy = exact(text, length);
        size_t plain = length / WEFT_SCAN_BLOCK * WEFT_SCAN_BLOCK;
        assert_int_equal(weft_scan_plain(copy, length), plain);
        free(copy);
    }
}

/* ---- white space, directives, byte order marks ---- */

static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The rules of spec/metadata.md, one byte after the other. */
static weft_status expected_answer(const char *text, size_t length, size_t *fault)
{
    size_t spaces = 0;

    for (size_t i = 0; i < length; i++) {
        bool begins = i == 0 || text[i - 1] == '\n' || text[i - 1] == '\r';
        spaces = is_white(text[i]) ? spaces + 1 : 0;
        *fault = i;
        if (spaces > WEFT_SCAN_SPACE_MAX || (text[i] == '%' && begins)) {
            return WEFT_E_META_UNSUPPORTED;
        }
        if (length - i >= 3 && memcmp(text + i, "\xef\xbb\xbf", 3) == 0) {
            return WEFT_E_META_ENCODING;
        }
    }
    return WEFT_OK;
}

static void check_answer(const char *text, size_t length)
{
    char *copy = exact(text, length);
    size_t fault = 0;
    weft_status expected = expected_answer(copy, length, &fault);
    weft_detail detail = {.status = WEFT_OK};
    weft_scan scan;

    assert_int_equal(weft_scan_open(&scan, copy, length, &detail), expected);
    if (expected != WEFT_OK) {
        uint32_t line;
        uint32_t column;
        weft_scan_place(&scan, fault, &line, &column);
        assert_int_equal(detail.line, line);
        assert_int_equal(detail.column, column);
    }
    free(copy);
}

static size_t add_piece(test_random *random, char *text, size_t length)
{
    static const char *const pieces[] = {"%", "\n", "\r", "\n%", "\xef\xbc\x81", "\xef\xbb\xbf"};
    uint64_t which = test_random_below(random, 40);

    if (which < 6 && (which != 3 || test_random_below(random, 8) == 0) &&
        (which != 5 || test_random_below(random, 8) == 0)) {
        memcpy(text + length, pieces[which], strlen(pieces[which]));
        return length + strlen(pieces[which]);
    }
    size_t run = 1 + (size_t)test_random_below(random, which < 12 ? 270 : 40);
    for (size_t i = 0; i < run; i++) {
        static const char white[4] = {' ', '\t', '\n', '\r'};
        text[length + i] = 'b';
        if (which < 20) {
            text[length + i] = white[test_random_below(random, 4)];
        }
    }
    return length + run;
}

static void test_lines(void **state)
{
    test_random random = test_random_start();
    size_t refused = 0;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        char text[3000] = "a";
        size_t length = 1;
        size_t fault;
        for (uint64_t pieces = test_random_below(&random, 10); pieces > 0; pieces--) {
            length = add_piece(&random, text, length);
        }
        check_answer(text, length);
        refused += expected_answer(text, length, &fault) != WEFT_OK;
    }
    assert_true(refused > 2000 && refused < 18000);
}

/* Runs at the limit, from every place in a block on. */
static void test_longest_run(void **state)
{
    char text[400];

    (void)state;
    for (size_t before = 1; before < 70; before++) {
        for (size_t run = WEFT_SCAN_SPACE_MAX - 1; run < WEFT_SCAN_SPACE_MAX + 3; run++) {
            memset(text, 'a', sizeof text);
            memset(text + before, ' ', run);
            check_answer(text, sizeof text);
            check_answer(text, before + run);
        }
    }
}

/* ---- strings of JSON ---- */

/* Zeros, something, and zeros again, in a string; then another string. */
static bool is_json_string(int before, const char *middle, int after)
{
    char text[300];
    char *copy;
    weft_scan scan;
    int length =
        snprintf(text, sizeof text, "{\"%0*d%s%0*d\": \"a\"}", before, 0, middle, after, 0);

    assert_true(length > 0 && (size_t)length < sizeof text);
    copy = exact(text, (size_t)length);
    assert_int_equal(weft_scan_open(&scan, copy, (size_t)length, NULL), WEFT_OK);
    free(copy);
    return scan.json;
}

static bool is_json(int before, const char *middle)
{
    return is_json_string(before, middle, 90 - before);
}

static void test_strings(void **state)
{
    (void)state;
    for (int before = 1; before < 90; before++) {
        assert_true(is_json(before, ""));
        assert_true(is_json(before, ","));
        assert_true(is_json(before, "\\\""));
        assert_true(is_json(before, "\\\\"));
        assert_true(is_json(before, "\\\\\\\","));
        assert_false(is_json(before, "\""));
        assert_false(is_json(before, "\\\\\""));
        assert_false(is_json(before, "\n"));
        assert_false(is_json(before, "\x1f"));
        assert_false(is_json(before, "\\\n"));
        for (int after = 1; after < 90; after++) { /* an escape ends where it ends */
            assert_true(is_json_string(before, "\\n", after));
        }
    }
}

static void add_tensor(weft_model *model, const char *name)
{
    static char content;
    weft_tensor tensor = {
        .name = name, .dtype = WEFT_U8, .rank = 1, .shape = {1}, .data = &content};

    assert_int_equal(weft_model_add(model, &tensor), WEFT_OK);
}

/* The parser gets a name as it stands: a line break that it was given behind a comma within would
 * make a space of itself. */
static void test_names_with_quotes(void **state)
{
    weft_model *model;

    (void)state;
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    for (int before = 1; before < 90; before++) {
        char name[200];
        (void)snprintf(name, sizeof name, "%0*d\",\"\\,%0*d", before, 0, 90 - before, 0);
        add_tensor(model, name);
    }
    assert_int_equal(weft_model_sort(model), WEFT_OK);
    for (int before = 1; before < 90; before++) {
        char text[400];
        (void)snprintf(text, sizeof text,
                       "{\"names\": [\"%0*d\\\",\\\"\\\\,%0*d\"], \"dtype_names\": [\"uint8\"], "
                       "\"shapes\": [[1]]}",
                       before, 0, 90 - before, 0);
        weft_update update = parsed(text, model);
        assert_int_equal(update.patches[0].tensor, before - 1);
        release(&update);
    }
    weft_model_destroy(model);
}

/* The same behind a string that has an escape, wherever that stands and however far its end is. */
static void test_names_behind_escapes(void **state)
{
    (void)state;
    for (int before = 1; before < 70; before++) {
        weft_model *model;
        assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
        add_tensor(model, "b,c");
        for (int after = 1; after < 70; after++) {
            char name[200];
            (void)snprintf(name, sizeof name, "%0*d/%0*d", before, 0, after, 0);
            add_tensor(model, name);
        }
        assert_int_equal(weft_model_sort(model), WEFT_OK);
        for (int after = 1; after < 70; after++) {
            char text[400];
            (void)snprintf(text, sizeof text,
                           "{\"names\": [\"%0*d\\/%0*d\", \"b,c\"], "
                           "\"dtype_names\": [\"uint8\", \"uint8\"], \"shapes\": [[1], [1]]}",
                           before, 0, after, 0);
            weft_update update = parsed(text, model);
            assert_int_equal(update.patches[0].tensor, after);
            assert_int_equal(update.patches[1].tensor, 0);
            release(&update);
        }
        weft_model_destroy(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_blocks),      cmocka_unit_test(test_lines),
        cmocka_unit_test(test_longest_run),       cmocka_unit_test(test_strings),
        cmocka_unit_test(test_names_with_quotes), cmocka_unit_test(test_names_behind_escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
