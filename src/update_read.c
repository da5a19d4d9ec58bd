/* libfyaml's event stream, made strict. */
#include "update_read.h"

#include <inttypes.h>
#include <libfyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include "decimal.h"
#include "detail.h"
#include "utf8.h"

#define QUOTE_MAX 60u   /* bytes of the document that a sentence repeats */
#define GIVEN_MAX 1024u /* bytes that the parser is given at once */

weft_status weft_reader_refuse(const weft_reader *reader, weft_status status, weft_place at,
                               const char *format, ...)
{
    weft_cursor cursor = weft_scan_begin(reader->scan);
    char sentence[WEFT_TEXT_MAX];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return weft_scan_refuse(reader->scan, reader->detail, status,
                            weft_scan_seek(reader->scan, &cursor, at), "%s", sentence);
}

/* A scalar in words that fit into a sentence and onto a terminal. */
static void describe_scalar(const weft_item *item, char words[QUOTE_MAX + 8])
{
    const char *quote = item->kind == WEFT_ITEM_QUOTED ? "\"" : "";
    size_t length =
        weft_utf8_prefix(item->text, item->length < QUOTE_MAX ? item->length : QUOTE_MAX);

    (void)snprintf(words, QUOTE_MAX + 8, "%s%.*s%s%s", quote, (int)length, item->text,
                   length < item->length ? "..." : "", quote);
    for (char *c = words; *c != '\0'; c++) {
        memset(c, '?', weft_utf8_control(c, strlen(c)));
    }
}

static const char *describe(const weft_item *item, char words[QUOTE_MAX + 8])
{
    switch (item->kind) {
    case WEFT_ITEM_LIST:
        return "a list";
    case WEFT_ITEM_MAPPING:
        return "a mapping";
    case WEFT_ITEM_END:
        return "the end";
    case WEFT_ITEM_PLAIN:
    case WEFT_ITEM_QUOTED:
        break;
    }
    if (item->kind == WEFT_ITEM_PLAIN && item->length == 0) {
        return "nothing";
    }
    describe_scalar(item, words);
    return words;
}

weft_status weft_reader_refuse_item(const weft_reader *reader, weft_status status,
                                    const char *expected)
{
    char words[QUOTE_MAX + 8];

    return weft_reader_refuse(reader, status, reader->item.at, "expected %s, found %s", expected,
                              describe(&reader->item, words));
}

static weft_status refuse_syntax(const weft_reader *reader)
{
    void *iterator = NULL;
    const struct fy_diag_error *error = fy_diag_errors_iterate(reader->diag, &iterator);
    weft_place at = reader->end;
    const char *text = "the parser stopped";

    if (error != NULL) {
        at = weft_place_of(error->line - 1, error->column - 1);
        text = error->msg;
    }
    if (reader->over) {
        return weft_reader_refuse(reader, WEFT_E_META_SECOND_DOCUMENT, at,
                                  "expected the end of the document, found more");
    }
    return weft_reader_refuse(reader, WEFT_E_META_SYNTAX, at,
                              "expected YAML 1.2 or JSON, found: %s", text);
}

/* Gives the rest of the present line, but at most so many bytes (of at least one). Where a byte is
 * only a byte, in blocks. The last line of YAML gets its break if it has none: of a block scalar
 * that ends there libfyaml keeps the break with | and leaves it out with >+, written or not. */
static size_t give_bytes(weft_reader *reader, char *to, size_t most)
{
    const weft_scan *scan = reader->scan;
    size_t left = scan->length - reader->given;
    const char *from = scan->document + reader->given;
    bool over = false;
    size_t i = 0;

    most = most < left ? most : left;
    while (i < most && !over) {
        if (!scan->json || (reader->quotes.inside && !reader->quotes.escaped)) {
            i += weft_scan_plain(from + i, most - i);
        }
        size_t stop = most - i < WEFT_SCAN_BLOCK ? most : i + WEFT_SCAN_BLOCK;
        while (i < stop && !over) {
            reader->break_due = scan->json && weft_scan_breaks(&reader->quotes, from[i]);
            over = reader->break_due || from[i] == '\n';
            i++;
        }
    }
    memcpy(to, from, i);
    reader->given += i;
    if (reader->given == scan->length && !scan->json && from[i - 1] != '\n' &&
        from[i - 1] != '\r') {
        reader->break_due = true;
    }
    return i;
}

/* The parser's input: the rest of the present line, or 0 for the end. A line of JSON ends behind
 * a comma; the break comes first in what is given next. */
static ssize_t give_line(void *user, void *buffer, size_t capacity)
{
    weft_reader *reader = user;
    char *to = buffer;
    size_t most = capacity < GIVEN_MAX ? capacity : GIVEN_MAX;
    size_t given = 0;

    if (reader->ahead > WEFT_READER_AHEAD_MAX) {
        reader->starved = true;
        return 0;
    }
    if (reader->break_due) {
        reader->break_due = false;
        to[given++] = '\n';
    }
    if (reader->given < reader->scan->length) {
        given += give_bytes(reader, to + given, most - given);
    }
    reader->ahead += given;
    return (ssize_t)given;
}

/* Moves to the parser's next event. */
static weft_status advance(weft_reader *reader)
{
    fy_parser_event_free(reader->parser, reader->event);
    reader->event = fy_parser_parse(reader->parser);
    reader->ahead = 0;
    if (reader->starved) {
        return weft_reader_refuse(reader, WEFT_E_META_UNSUPPORTED, reader->end,
                                  "expected a value within %u bytes from here, found none",
                                  WEFT_READER_AHEAD_MAX);
    }
    return reader->event != NULL ? WEFT_OK : refuse_syntax(reader);
}

weft_status weft_reader_open(weft_reader *reader, const weft_scan *scan, weft_detail *detail)
{
    const struct fy_diag_cfg silent = {.level = FYET_ERROR, .module_mask = ~0u};
    struct fy_parse_cfg config = {.flags = FYPCF_QUIET};
    weft_status status;

    *reader = (weft_reader){.scan = scan, .detail = detail, .cursor = weft_scan_begin(scan)};
    reader->diag = fy_diag_create(&silent);
    if (reader->diag != NULL) {
        fy_diag_set_collect_errors(reader->diag, true);
        config.diag = reader->diag;
        reader->parser = fy_parser_create(&config);
    }
    if (reader->parser == NULL ||
        fy_parser_set_input_callback(reader->parser, reader, give_line) != 0) {
        return weft_detail_set(detail, WEFT_E_OUT_OF_MEMORY, "no memory for a parser");
    }
    status = advance(reader); /* the stream's start, which says nothing */
    if (status == WEFT_OK) {
        status = advance(reader);
    }
    if (status == WEFT_OK && reader->event->type == FYET_STREAM_END) {
        return weft_scan_refuse(scan, detail, WEFT_E_META_UNKNOWN_FORM, scan->length,
                                "expected a mapping, found nothing");
    }
    return status;
}

void weft_reader_close(weft_reader *reader)
{
    if (reader->parser != NULL) {
        fy_parser_event_free(reader->parser, reader->event);
        fy_parser_destroy(reader->parser);
    }
    if (reader->diag != NULL) {
        fy_diag_destroy(reader->diag); /* fy_diag_unref would keep the errors */
    }
    *reader = (weft_reader){.scan = NULL};
}

/* Where a value that was left out is: there is no token. */
static weft_place place_of(const weft_reader *reader, const struct fy_mark *mark)
{
    return mark != NULL ? weft_place_of(mark->line, mark->column) : reader->end;
}

static weft_place begin_of(const weft_reader *reader, struct fy_token *token)
{
    return place_of(reader, token != NULL ? fy_token_start_mark(token) : NULL);
}

static weft_place end_of(const weft_reader *reader, struct fy_token *token)
{
    return place_of(reader, token != NULL ? fy_token_end_mark(token) : NULL);
}

static weft_status refuse_decoration(const weft_reader *reader, struct fy_token *anchor,
                                     struct fy_token *tag)
{
    if (anchor != NULL) {
        return weft_reader_refuse(reader, WEFT_E_META_ALIAS, begin_of(reader, anchor) - 1,
                                  "expected a value, found an anchor");
    }
    if (tag != NULL) {
        return weft_reader_refuse(reader, WEFT_E_META_TAG, begin_of(reader, tag),
                                  "expected a value, found a tag");
    }
    return WEFT_OK;
}

static bool has_break(const char *text, size_t length)
{
    return memchr(text, '\n', length) != NULL || memchr(text, '\r', length) != NULL;
}

/* A scalar that is longer as written than any that is accepted is taken as it stands: it matches
 * no key, no dtype and no limit, and decoding it would cost many times its length. One in single
 * quotes with '' in it is refused, and so is one of several lines with an escape in it, because
 * libfyaml 0.7.12 counts some of these too short, and never frees what it decodes of them. */
static weft_status take_unusual(weft_reader *reader, enum fy_scalar_style style, weft_place begin,
                                weft_place end)
{
    size_t from = weft_scan_seek(reader->scan, &reader->cursor, begin);
    size_t length = weft_scan_seek(reader->scan, &reader->cursor, end) - from;

    if (length > WEFT_SCAN_SCALAR_MAX) {
        reader->item.text = reader->scan->document + from;
        reader->item.length = length;
    } else if (style == FYSS_SINGLE_QUOTED &&
               memchr(reader->scan->document + from, '\'', length) != NULL) {
        return weft_reader_refuse(
            reader, WEFT_E_META_UNSUPPORTED, reader->item.at,
            "expected a string in double quotes, as it has a single one, found single quotes");
    } else if (style == FYSS_DOUBLE_QUOTED && has_break(reader->scan->document + from, length) &&
               memchr(reader->scan->document + from, '\\', length) != NULL) {
        return weft_reader_refuse(
            reader, WEFT_E_META_UNSUPPORTED, reader->item.at,
            "expected a string in one line, as it has an escape, found several lines");
    }
    return WEFT_OK;
}

/* Strings of JSON were measured already; and in one line and shorter than this no scalar is too
 * long, whatever bytes its characters have. */
static bool is_short(const weft_reader *reader, enum fy_scalar_style style, weft_place begin,
                     weft_place end)
{
    return (reader->scan->json && style == FYSS_DOUBLE_QUOTED) ||
           end - begin <= WEFT_SCAN_SCALAR_MAX / 4;
}

static weft_status take_text(weft_reader *reader, struct fy_token *token,
                             enum fy_scalar_style style, weft_place begin, weft_place end)
{
    weft_item *item = &reader->item;
    weft_status status = WEFT_OK;

    if (!is_short(reader, style, begin, end) || style == FYSS_SINGLE_QUOTED) {
        status = take_unusual(reader, style, begin, end);
    }
    if (status != WEFT_OK || item->length > 0 || token == NULL) {
        return status;
    }
    item->text = fy_token_get_text(token, &item->length);
    if (item->text == NULL) {
        return weft_detail_set(reader->detail, WEFT_E_OUT_OF_MEMORY, "no memory for a scalar");
    }
    if (memchr(item->text, 0, item->length) != NULL) {
        return weft_reader_refuse(reader, WEFT_E_META_ENCODING, item->at,
                                  "expected text without NUL, found one");
    }
    return WEFT_OK;
}

static weft_status take_scalar(weft_reader *reader)
{
    struct fy_token *token = reader->event->scalar.value;
    enum fy_scalar_style style = token != NULL ? fy_token_scalar_style(token) : FYSS_PLAIN;
    weft_place begin = begin_of(reader, token);
    weft_place end = end_of(reader, token);
    weft_status status;

    reader->item = (weft_item){
        .kind = style == FYSS_PLAIN ? WEFT_ITEM_PLAIN : WEFT_ITEM_QUOTED, .text = "", .at = begin};
    if (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED) {
        reader->item.at--;
    }
    reader->end = end;
    status = take_text(reader, token, style, begin, end);
    return status == WEFT_OK
               ? refuse_decoration(reader, reader->event->scalar.anchor, reader->event->scalar.tag)
               : status;
}

static weft_status take_begin(weft_reader *reader, weft_item_kind kind, struct fy_token *token,
                              struct fy_token *anchor, struct fy_token *tag)
{
    reader->item = (weft_item){.kind = kind, .text = "", .at = begin_of(reader, token)};
    reader->end = end_of(reader, token);
    return refuse_decoration(reader, anchor, tag);
}

weft_status weft_reader_next(weft_reader *reader)
{
    weft_status status = advance(reader);
    struct fy_event *event = reader->event;

    if (status != WEFT_OK) {
        return status;
    }
    switch (event->type) {
    case FYET_SCALAR:
        return take_scalar(reader);
    case FYET_MAPPING_START:
        return take_begin(reader, WEFT_ITEM_MAPPING, event->mapping_start.mapping_start,
                          event->mapping_start.anchor, event->mapping_start.tag);
    case FYET_SEQUENCE_START:
        return take_begin(reader, WEFT_ITEM_LIST, event->sequence_start.sequence_start,
                          event->sequence_start.anchor, event->sequence_start.tag);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        reader->item = (weft_item){.kind = WEFT_ITEM_END, .text = "", .at = reader->end};
        return WEFT_OK;
    case FYET_ALIAS:
        return weft_reader_refuse(reader, WEFT_E_META_ALIAS,
                                  begin_of(reader, event->alias.anchor) - 1,
                                  "expected a value, found an alias");
    case FYET_NONE:
    case FYET_STREAM_START:
    case FYET_STREAM_END:
    case FYET_DOCUMENT_START:
    case FYET_DOCUMENT_END:
        break;
    }
    return weft_reader_refuse(reader, WEFT_E_META_SYNTAX, reader->end,
                              "expected a value, found the end of the document");
}

weft_status weft_reader_finish(weft_reader *reader)
{
    weft_status status = advance(reader); /* the document's end, which may be implied */

    reader->over = true;
    if (status == WEFT_OK) {
        status = advance(reader);
    }
    if (status == WEFT_OK && reader->event->type == FYET_DOCUMENT_START) {
        weft_place at = begin_of(reader, reader->event->document_start.document_start);
        return weft_reader_refuse(reader, WEFT_E_META_SECOND_DOCUMENT, at,
                                  "expected the end of the document, found another");
    }
    return status;
}

weft_status weft_reader_list(weft_reader *reader)
{
    weft_status status = weft_reader_next(reader);

    if (status == WEFT_OK && reader->item.kind != WEFT_ITEM_LIST) {
        return weft_reader_refuse_item(reader, WEFT_E_META_WRONG_TYPE, "a list");
    }
    return status;
}

weft_status weft_reader_mapping(weft_reader *reader, weft_keys *keys, const char *const *names,
                                unsigned count)
{
    *keys = (weft_keys){.names = names, .count = count, .start = reader->item.at};
    for (unsigned i = 0; i < count; i++) {
        keys->key_at[i] = WEFT_ABSENT;
        keys->value_at[i] = WEFT_ABSENT;
    }
    if (reader->item.kind != WEFT_ITEM_MAPPING) {
        return weft_reader_refuse_item(reader, WEFT_E_META_WRONG_TYPE, "a mapping");
    }
    return WEFT_OK;
}

static bool is_one_of(const weft_item *item, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strlen(*words) == item->length && memcmp(*words, item->text, item->length) == 0) {
            return true;
        }
    }
    return false;
}

/* How many of these bytes are digits of the base. */
static size_t digits(const char *text, size_t length, const char *base)
{
    size_t i = 0;

    while (i < length && strchr(base, text[i]) != NULL) {
        i++;
    }
    return i;
}

/* [-+]? ( digits [. digits] | . digits ) ( [eE] [-+]? digits )?, and 0o17 and 0x1F: YAML 1.2,
 * 10.3.2. */
static bool is_number(const char *text, size_t length)
{
    static const char decimal[] = "0123456789";
    size_t i = length > 0 && (text[0] == '-' || text[0] == '+');
    size_t whole = digits(text + i, length - i, decimal);
    size_t fraction = 0;
    size_t exponent;

    if (length > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'o')) {
        return digits(text + 2, length - 2,
                      text[1] == 'x' ? "0123456789abcdefABCDEF" : "01234567") == length - 2;
    }
    i += whole;
    if (i < length && text[i] == '.') {
        fraction = digits(text + i + 1, length - i - 1, decimal);
        i += 1 + fraction;
    }
    if (whole + fraction == 0) {
        return false;
    }
    if (i < length && (text[i] == 'e' || text[i] == 'E')) {
        i += i + 1 < length && (text[i + 1] == '-' || text[i + 1] == '+') ? 2 : 1;
        exponent = digits(text + i, length - i, decimal);
        return exponent > 0 && i + exponent == length;
    }
    return i == length;
}

/* Does YAML's core schema take this plain scalar for a string? */
static bool is_string(const weft_item *item)
{
    static const char *const words[] = {"",      "~",     "null",  "Null",  "NULL",  "true",
                                        "True",  "TRUE",  "false", "False", "FALSE", ".nan",
                                        ".NaN",  ".NAN",  ".inf",  ".Inf",  ".INF",  "-.inf",
                                        "-.Inf", "-.INF", "+.inf", "+.Inf", "+.INF", NULL};

    return !is_one_of(item, words) && !is_number(item->text, item->length);
}

weft_status weft_reader_to_string(const weft_reader *reader)
{
    const weft_item *item = &reader->item;

    if (item->kind == WEFT_ITEM_QUOTED || (item->kind == WEFT_ITEM_PLAIN && is_string(item))) {
        return WEFT_OK;
    }
    return weft_reader_refuse_item(reader, WEFT_E_META_WRONG_TYPE, "a string");
}

weft_status weft_reader_string(weft_reader *reader)
{
    weft_status status = weft_reader_next(reader);

    return status == WEFT_OK ? weft_reader_to_string(reader) : status;
}

weft_status weft_reader_boolean(weft_reader *reader, bool *value)
{
    static const char *const words[] = {"true", "false", NULL};
    weft_status status = weft_reader_next(reader);

    if (status != WEFT_OK) {
        return status;
    }
    if (reader->item.kind != WEFT_ITEM_PLAIN || !is_one_of(&reader->item, words)) {
        return weft_reader_refuse_item(reader, WEFT_E_META_WRONG_TYPE, "true or false");
    }
    *value = reader->item.text[0] == 't';
    return WEFT_OK;
}

static weft_status refuse_integer(const weft_reader *reader, weft_status status, uint64_t least,
                                  uint64_t most)
{
    char expected[80];

    (void)snprintf(expected, sizeof expected, "an integer from %" PRIu64 " to %" PRIu64, least,
                   most);
    return weft_reader_refuse_item(reader, status, expected);
}

weft_status weft_reader_to_integer(const weft_reader *reader, uint64_t least, uint64_t most,
                                   uint64_t *value)
{
    const weft_item *item = &reader->item;
    bool negative = item->length > 1 && item->text[0] == '-';
    size_t i = negative;
    uint64_t number = 0;

    if (item->kind != WEFT_ITEM_PLAIN && item->kind != WEFT_ITEM_QUOTED) {
        return refuse_integer(reader, WEFT_E_META_WRONG_TYPE, least, most);
    }
    if (item->kind == WEFT_ITEM_QUOTED || item->length == 0 ||
        digits(item->text + i, item->length - i, "0123456789") != item->length - i ||
        (item->text[i] == '0' && item->length > 1)) {
        return refuse_integer(reader, WEFT_E_META_NOT_AN_INTEGER, least, most);
    }
    if (negative || weft_decimal_parse(item->text, item->length, &number) != WEFT_OK ||
        number < least || number > most) {
        return refuse_integer(reader, WEFT_E_META_OVERFLOW, least, most);
    }
    *value = number;
    return WEFT_OK;
}

weft_status weft_reader_integer(weft_reader *reader, uint64_t least, uint64_t most, uint64_t *value)
{
    weft_status status = weft_reader_next(reader);

    return status == WEFT_OK ? weft_reader_to_integer(reader, least, most, value) : status;
}

weft_status weft_reader_key(weft_reader *reader, weft_keys *keys, unsigned *key)
{
    weft_status status = weft_reader_next(reader);
    const weft_item *item = &reader->item;

    if (status != WEFT_OK) {
        return status;
    }
    if (item->kind == WEFT_ITEM_END) {
        *key = keys->count;
        return WEFT_OK;
    }
    if (item->kind != WEFT_ITEM_PLAIN && item->kind != WEFT_ITEM_QUOTED) {
        return weft_reader_refuse_item(reader, WEFT_E_META_WRONG_TYPE, "a key");
    }
    for (unsigned i = 0; i < keys->count; i++) {
        if (strlen(keys->names[i]) != item->length ||
            memcmp(keys->names[i], item->text, item->length) != 0) {
            continue;
        }
        if (keys->key_at[i] != WEFT_ABSENT) {
            return weft_reader_refuse_item(reader, WEFT_E_META_DUPLICATE_KEY, "each key once");
        }
        keys->key_at[i] = item->at;
        *key = i;
        return WEFT_OK;
    }
    return weft_reader_refuse_item(reader, WEFT_E_META_UNKNOWN_KEY, "a key of this form");
}

weft_status weft_reader_require(const weft_reader *reader, const weft_keys *keys, unsigned key)
{
    if (keys->key_at[key] != WEFT_ABSENT) {
        return WEFT_OK;
    }
    return weft_reader_refuse(reader, WEFT_E_META_MISSING_KEY, keys->start,
                              "expected the key %s, found none", keys->names[key]);
}
