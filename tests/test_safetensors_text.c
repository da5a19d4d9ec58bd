/* The copy of a header that libfyaml reads: what it is, and where its bytes came from. */
#include "safetensors_text.h"

#include "memory.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void lines_end_after_commas_outside_of_strings(void **state)
{
    static const struct {
        const char *header, *text;
    } CASES[] = {
        {"{}", "{}"},
        {"{\"a\":[1,2],\"b\":3}", "{\"a\":[1,\n2],\n\"b\":3}"},
        {"{\"a,b\":\"c , d\"}", "{\"a,b\":\"c , d\"}"},
        {"{\"a\\\",b\\\\\",\"c\":1}", "{\"a\\\",b\\\\\",\n\"c\":1}"},
        {"{ \t\r\n \"a  b\"\n\n:  1 }   ", "{ \"a  b\" : 1 } "},
        {"{\"cut\\", "{\"cut\\"},
    };
    const weft_allocator allocator = weft_allocator_default();

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        weft_header_text text = {.text = NULL};
        assert_int_equal(weft_header_text_make(&text, CASES[i].header, strlen(CASES[i].header),
                                               &allocator, NULL),
                         WEFT_OK);
        assert_int_equal(text.text_bytes, strlen(CASES[i].text));
        assert_memory_equal(text.text, CASES[i].text, text.text_bytes);
        weft_header_text_release(&text, &allocator);
    }
}

static void runs_without_commas_are_refused(void **state)
{
    static const struct {
        const char *header;
        weft_status status;
        uint32_t column;
    } CASES[] = {
        {"{\"__metadata__\":{\"key\":\"text\"},\"a\":{\"shape\":[]}}", WEFT_OK, 0},
        {"[[[[[[[[[[[[[[[[", WEFT_OK, 0},
        {"[[[[[[[[[[[[[[[[[", WEFT_E_FILE_HEADER_SYNTAX, 17},
        {"{}{}{}{}{}{}{}{}\"", WEFT_E_FILE_HEADER_SYNTAX, 17},
        {"{\"a\":::::::::::::::::1}", WEFT_E_FILE_HEADER_SYNTAX, 19},
        {"1,,,,,,,,,,,,,,,,,", WEFT_OK, 0},
        {"1,,,,,,,,,,,,,,,,,,", WEFT_E_FILE_HEADER_SYNTAX, 19},
        {"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19", WEFT_OK, 0},
    };
    const weft_allocator allocator = weft_allocator_default();

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        weft_header_text text = {.text = NULL};
        weft_detail detail = {.column = 0};
        weft_status status = weft_header_text_make(&text, CASES[i].header, strlen(CASES[i].header),
                                                   &allocator, &detail);
        assert_int_equal(status, CASES[i].status);
        assert_int_equal(detail.column, CASES[i].column);
        weft_header_text_release(&text, &allocator);
    }
    assert_int_equal(weft_header_text_make(&(weft_header_text){.text = NULL}, CASES[2].header,
                                           strlen(CASES[2].header), &allocator, NULL),
                     WEFT_E_FILE_HEADER_SYNTAX);
}

static void every_byte_of_the_copy_is_found_in_the_header(void **state)
{
    static const char HEADER[] = "{\"a\\n\": \n  [1,2 ,\t3]\n, \"\xc3\xa9\":4}";
    /* Line and column of each byte of the copy {"a\n": [1,<2 ,< 3] ,< "..":4}, where < is a line
     * end. */
    static const uint32_t PLACES[][2] = {
        {1, 1}, {1, 2}, {1, 3}, {1, 4}, {1, 5}, {1, 6}, {1, 7},  {1, 8},  {2, 3},  {2, 4}, {2, 5},
        {2, 5}, {2, 6}, {2, 7}, {2, 8}, {2, 8}, {2, 9}, {2, 10}, {2, 11}, {2, 12}, {3, 1}, {3, 1},
        {3, 2}, {3, 3}, {3, 4}, {3, 5}, {3, 6}, {3, 7}, {3, 8},  {3, 9},  {3, 10},
    };
    const weft_allocator allocator = weft_allocator_default();
    weft_header_text text = {.text = NULL};

    (void)state;
    assert_int_equal(weft_header_text_make(&text, HEADER, sizeof HEADER - 1, &allocator, NULL),
                     WEFT_OK);
    assert_int_equal(text.text_bytes, sizeof PLACES / sizeof PLACES[0] - 1);
    for (size_t at = 0; at <= text.text_bytes; at++) {
        weft_detail detail;
        weft_header_text_place(&text, at, &detail);
        assert_int_equal(detail.line, PLACES[at][0]);
        assert_int_equal(detail.column, PLACES[at][1]);
    }
    weft_header_text_release(&text, &allocator);
}

static void columns_of_the_parser_are_characters(void **state)
{
    static const char TEXT[] = "{\"a\":\n\"\xc3\xa9\xf0\x9f\x98\x80\":x}";
    /* Only offsets are looked for here, so the text is one that no header becomes. */
    char copy[sizeof TEXT];
    const weft_header_text text = {.text = copy, .text_bytes = sizeof TEXT - 1};

    (void)state;
    memcpy(copy, TEXT, sizeof TEXT);
    assert_int_equal(weft_header_text_offset(&text, 1, 1), 0);
    assert_int_equal(weft_header_text_offset(&text, 1, 3), 2);
    assert_int_equal(weft_header_text_offset(&text, 2, 1), 6);
    assert_int_equal(weft_header_text_offset(&text, 2, 3), 9);
    assert_int_equal(weft_header_text_offset(&text, 2, 4), 13);
    assert_int_equal(weft_header_text_offset(&text, 2, 6), 15);
    assert_int_equal(weft_header_text_offset(&text, 9, 9), sizeof TEXT - 1);
    assert_int_equal(weft_header_text_offset(&text, 2, 99), sizeof TEXT - 1);
}

static void there_may_be_no_memory(void **state)
{
    weft_header_text text = {.text = NULL};
    weft_detail detail;
    test_allocator memory;

    (void)state;
    test_allocator_start(&memory, 1);
    assert_int_equal(weft_header_text_make(&text, "{}", 2, &memory.allocator, &detail),
                     WEFT_E_OUT_OF_MEMORY);
    assert_null(text.text);
    test_allocator_finish(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_after_commas_outside_of_strings),
        cmocka_unit_test(runs_without_commas_are_refused),
        cmocka_unit_test(every_byte_of_the_copy_is_found_in_the_header),
        cmocka_unit_test(columns_of_the_parser_are_characters),
        cmocka_unit_test(there_may_be_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
