/* UTF-8, against an independent encoder: every code point's sequence is valid, and nothing else. */
#include "utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

/* Encodes by RFC 3629's table, without a check. */
static size_t reference_encode(uint32_t c, char out[4])
{
    size_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t LEADS[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 + c % 64);
        c /= 64;
    }
    out[0] = (char)(LEADS[length] + c);
    return length;
}

static void every_code_point_is_accepted(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x110100; c++) {
        char expected[4] = {0};
        bool exists = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
        size_t length = reference_encode(c, expected);

        assert_int_equal(weft_utf8_prefix(expected, length), exists ? length : 0);
        if (exists) {
            assert_int_equal(weft_utf8_prefix(expected, length - 1), 0);
        }
    }
}

static void a_fault_is_found_where_it_begins(void **state)
{
    static const struct {
        const char *text;
        size_t prefix;
    } CASES[] = {
        {"", 0},
        {"plain", 5},
        {"\xc3\xa9t\xc3\xa9", 5},
        {"a\x80", 1},             /* continuation without a lead */
        {"a\xc0\x80", 1},         /* overlong */
        {"a\xc1\xbf", 1},         /* overlong */
        {"a\xe0\x9f\xbf", 1},     /* overlong */
        {"a\xf0\x8f\xbf\xbf", 1}, /* overlong */
        {"a\xed\xa0\x80", 1},     /* surrogate */
        {"a\xf4\x90\x80\x80", 1}, /* above U+10FFFF */
        {"a\xf5\x80\x80\x80", 1},
        {"a\xff", 1},
        {"ab\xe2\x82", 2},  /* cut */
        {"ab\xe2\x82z", 2}, /* broken */
        {"ab\xf0\x9f\x98z", 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(weft_utf8_prefix(CASES[i].text, strlen(CASES[i].text)), CASES[i].prefix);
    }
    assert_int_equal(weft_utf8_prefix("a\0b", 3), 3);
}

/* Long texts are looked at in blocks: a sequence may stand across two of them, and a fault
 * anywhere. */
static void a_fault_is_found_in_any_place(void **state)
{
    static const char face[4] = {'\xf0', '\x9f', '\x98', '\x80'};
    char text[100];

    (void)state;
    for (size_t at = 0; at + 4 <= sizeof text; at++) {
        memset(text, '0', sizeof text); /* no bit that a lead has and 0x80 has not */
        text[at] = '\x80';
        assert_int_equal(weft_utf8_prefix(text, sizeof text), at);
        memcpy(text + at, face, sizeof face);
        assert_int_equal(weft_utf8_prefix(text, sizeof text), sizeof text);
        for (size_t length = 0; length <= sizeof text; length++) {
            size_t whole = length > at && length < at + 4 ? at : length;
            assert_int_equal(weft_utf8_prefix(text, length), whole);
        }
        text[at + 3] = 'z';
        assert_int_equal(weft_utf8_prefix(text, sizeof text), at);
    }
}

static void control_characters_are_known(void **state)
{
    char text[2] = "x";

    (void)state;
    assert_int_equal(weft_utf8_control(text, 0), 0);
    for (int byte = 0; byte < 0x80; byte++) {
        text[0] = (char)byte;
        assert_int_equal(weft_utf8_control(text, 2), byte < 0x20 || byte == 0x7f ? 1 : 0);
    }
    text[0] = '\xc2';
    assert_int_equal(weft_utf8_control(text, 1), 0);
    for (int byte = 0x80; byte < 0xc0; byte++) {
        text[1] = (char)byte;
        assert_int_equal(weft_utf8_control(text, 2), byte < 0xa0 ? 2 : 0);
    }
    text[0] = '\xc3';
    text[1] = '\x9b';
    assert_int_equal(weft_utf8_control(text, 2), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_is_accepted),
        cmocka_unit_test(a_fault_is_found_where_it_begins),
        cmocka_unit_test(a_fault_is_found_in_any_place),
        cmocka_unit_test(control_characters_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
