/* One look at a document's bytes, linear in their number. See update_scan.h for why it is
 * needed. */
#include "update_scan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "detail.h"
#include "utf8.h"

void weft_scan_place(const weft_scan *scan, size_t offset, uint32_t *line, uint32_t *column)
{
    uint32_t lines = 1;
    size_t start = 0;

    for (size_t i = 0; i < offset && i < scan->length; i++) {
        bool pair = i + 1 < scan->length && scan->document[i + 1] == '\n';
        if (scan->document[i] == '\n' || (scan->document[i] == '\r' && !pair)) {
            lines++;
            start = i + 1;
        }
    }
    *line = lines;
    *column = (uint32_t)(offset - start) + 1;
}

weft_status weft_scan_refuse(const weft_scan *scan, weft_detail *detail, weft_status status,
                             size_t offset, const char *format, ...)
{
    char sentence[WEFT_TEXT_MAX];
    uint32_t line;
    uint32_t column;
    va_list arguments;

    if (detail == NULL) {
        return status;
    }
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    weft_scan_place(scan, offset, &line, &column);
    (void)weft_detail_set(detail, status, "line %u, column %u: %s", line, column, sentence);
    detail->line = line;
    detail->column = column;
    return status;
}

static weft_status check_encoding(const weft_scan *scan, weft_detail *detail)
{
    const char *nul = scan->length > 0 ? memchr(scan->document, 0, scan->length) : NULL;
    size_t whole = weft_utf8_prefix(scan->document, scan->length);
    size_t fault = nul != NULL && (size_t)(nul - scan->document) < whole
                       ? (size_t)(nul - scan->document)
                       : whole;

    if (fault == scan->length) {
        return WEFT_OK;
    }
    return weft_scan_refuse(scan, detail, WEFT_E_META_ENCODING, fault,
                            "expected UTF-8 without NUL, found the byte 0x%02x",
                            (unsigned)(unsigned char)scan->document[fault]);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_byte_order_mark(const weft_scan *scan, size_t i)
{
    return scan->length - i >= 3 && memcmp(scan->document + i, "\xef\xbb\xbf", 3) == 0;
}

weft_cursor weft_scan_begin(const weft_scan *scan)
{
    return (weft_cursor){.offset = is_byte_order_mark(scan, 0) ? 3 : 0};
}

/* A byte that JSON has in numbers and in true, false and null. */
static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' ||
           c == '-' || c == '.';
}

/* May `c` follow `before` (the last byte that is no white space; 0 at the start) outside of
 * strings? Only what keeps quotes and commas from meaning something else in YAML: the parser
 * judges the rest. */
static bool json_follows(char before, char c)
{
    bool opens = before == '{' || before == '[' || before == ',' || before == ':';

    if (c == '"') {
        return opens;
    }
    if (c == ':') {
        return before == '"';
    }
    if (is_word(c)) {
        return opens || is_word(before);
    }
    return c == ',' || c == ']' || c == '}' || c == '{' || c == '[';
}

typedef struct json_shape {
    bool json;   /* one mapping in JSON's notation, complete or cut off at its end */
    size_t deep; /* the first bracket beyond WEFT_DEPTH_MAX, or length */
    size_t wide; /* the first string beyond WEFT_SCAN_SCALAR_MAX, or length */
} json_shape;

/* The end of the block that begins at i, or the document's. */
static size_t block_end(const weft_scan *scan, size_t i)
{
    return scan->length - i < WEFT_SCAN_BLOCK ? scan->length : i + WEFT_SCAN_BLOCK;
}

/* Written so that compilers make vectors of it. */
static bool is_plain_block(const char *text)
{
    unsigned char odd = 0;

    for (size_t i = 0; i < WEFT_SCAN_BLOCK; i++) {
        unsigned char c = (unsigned char)text[i];
        odd |= (unsigned char)((c < 0x20) | (c == '"') | (c == '\\'));
    }
    return odd == 0;
}

size_t weft_scan_plain(const char *text, size_t length)
{
    size_t i = 0;

    while (length - i >= WEFT_SCAN_BLOCK && is_plain_block(text + i)) {
        i += WEFT_SCAN_BLOCK;
    }
    return i;
}

/* Where the string that begins at `start` ends: at its closing quote, at a byte that JSON does
 * not allow there, or at the end. */
static size_t string_end(const weft_scan *scan, size_t start)
{
    weft_quotes quotes = {.inside = true};
    size_t i = start + 1;

    while (i < scan->length) {
        i += quotes.escaped ? 0 : weft_scan_plain(scan->document + i, scan->length - i);
        for (size_t stop = block_end(scan, i); i < stop; i++) {
            (void)weft_scan_breaks(&quotes, scan->document[i]);
            if ((unsigned char)scan->document[i] < 0x20 || !quotes.inside) {
                return i;
            }
        }
    }
    return i;
}

static json_shape find_json(const weft_scan *scan)
{
    json_shape shape = {.json = false, .deep = scan->length, .wide = scan->length};
    size_t depth = 0;
    char before = 0;

    for (size_t i = weft_scan_begin(scan).offset; i < scan->length; i++) {
        char c = scan->document[i];
        if (is_space(c)) {
            continue;
        }
        if (before == 0 ? c != '{' : depth == 0 || !json_follows(before, c)) {
            return shape;
        }
        if (c == '"') {
            size_t start = i;
            i = string_end(scan, start);
            if (i < scan->length && scan->document[i] != '"') {
                return shape;
            }
            shape.wide = i - start - 1 > WEFT_SCAN_SCALAR_MAX && shape.wide == scan->length
                             ? start
                             : shape.wide;
        }
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        shape.deep = depth > WEFT_DEPTH_MAX && shape.deep == scan->length ? i : shape.deep;
        before = c;
    }
    shape.json = before != 0;
    return shape;
}

static weft_status check_json(const weft_scan *scan, const json_shape *shape, weft_detail *detail)
{
    if (shape->deep < scan->length) {
        return weft_scan_refuse(scan, detail, WEFT_E_META_TOO_DEEP, shape->deep,
                                "expected at most %u levels, found more", WEFT_DEPTH_MAX);
    }
    if (shape->wide < scan->length) {
        return weft_scan_refuse(scan, detail, WEFT_E_META_NAME_TOO_LONG, shape->wide,
                                "expected a string of at most %u bytes, found a longer one",
                                WEFT_SCAN_SCALAR_MAX);
    }
    return WEFT_OK;
}

/* Without a byte that a directive or a byte order mark begins with. Vectors, as above. */
static bool is_calm_block(const char *text)
{
    unsigned char odd = 0;

    for (size_t i = 0; i < WEFT_SCAN_BLOCK; i++) {
        odd |= (unsigned char)((text[i] == '%') | (text[i] == '\xef'));
    }
    return odd == 0;
}

/* Bytes of white space at the end of a block. */
static size_t spaces_behind(const char *text)
{
    size_t spaces = 0;

    while (spaces < WEFT_SCAN_BLOCK && is_space(text[WEFT_SCAN_BLOCK - 1 - spaces])) {
        spaces++;
    }
    return spaces;
}

/* What check_lines is about, of the bytes from i to stop; *spaces stand before them. */
static weft_status check_bytes(const weft_scan *scan, size_t i, size_t stop, size_t *spaces,
                               weft_detail *detail)
{
    char before = '\n';

    if (i > weft_scan_begin(scan).offset) {
        before = scan->document[i - 1];
    }

    for (; i < stop; i++) {
        char c = scan->document[i];
        *spaces = is_space(c) ? *spaces + 1 : 0;
        if (*spaces > WEFT_SCAN_SPACE_MAX) {
            return weft_scan_refuse(scan, detail, WEFT_E_META_UNSUPPORTED, i,
                                    "expected at most %u bytes of white space in a row, found more",
                                    WEFT_SCAN_SPACE_MAX);
        }
        if (c == '%' && (before == '\n' || before == '\r')) {
            return weft_scan_refuse(scan, detail, WEFT_E_META_UNSUPPORTED, i,
                                    "expected no directive, found %%");
        }
        if (c == '\xef' && is_byte_order_mark(scan, i)) {
            return weft_scan_refuse(
                scan, detail, WEFT_E_META_ENCODING, i,
                "expected a byte order mark at the very beginning only, found another");
        }
        before = c;
    }
    return WEFT_OK;
}

/* Runs of white space, a directive at the start of a line, a byte order mark within the document
 * (libfyaml looks for a directive behind one as well, and its time for a wrong one grows with
 * the square of the length). Block by block, as few have a byte that matters; where the run before
 * a block might become too long in it, byte by byte. */
static weft_status check_lines(const weft_scan *scan, weft_detail *detail)
{
    size_t spaces = 0;
    weft_status status = WEFT_OK;

    for (size_t i = weft_scan_begin(scan).offset; i < scan->length && status == WEFT_OK;) {
        const char *block = scan->document + i;
        size_t stop = block_end(scan, i);
        if (stop - i == WEFT_SCAN_BLOCK && spaces + WEFT_SCAN_BLOCK <= WEFT_SCAN_SPACE_MAX &&
            is_calm_block(block)) {
            size_t behind = spaces_behind(block);
            spaces = behind == WEFT_SCAN_BLOCK ? spaces + behind : behind;
        } else {
            status = check_bytes(scan, i, stop, &spaces, detail);
        }
        i = stop;
    }
    return status;
}

/* Every item of a list follows a bracket, a comma, a line break or a dash, and takes two bytes
 * with it. */
size_t weft_scan_items(const weft_scan *scan)
{
    size_t items = 1;

    for (size_t i = 0; i < scan->length; i++) {
        char c = scan->document[i];
        items += c == '[' || c == ',' || c == '-' || c == '\n' || c == '\r';
    }
    return items < scan->length / 2 + 1 ? items : scan->length / 2 + 1;
}

/* Steps over the next byte of the document. */
static void step(const weft_scan *scan, weft_cursor *cursor)
{
    char c = scan->document[cursor->offset++];
    bool pair =
        c == '\r' && cursor->offset < scan->length && scan->document[cursor->offset] == '\n';
    bool breaks = scan->json && weft_scan_breaks(&cursor->quotes, c);

    if (breaks || c == '\n' || (c == '\r' && !pair)) {
        cursor->place = ((cursor->place >> 32) + 1) << 32;
    } else {
        cursor->place += ((unsigned char)c & 0xc0u) != 0x80u;
    }
}

size_t weft_scan_seek(const weft_scan *scan, weft_cursor *cursor, weft_place place)
{
    if (place < cursor->place) {
        *cursor = weft_scan_begin(scan);
    }
    while (cursor->offset < scan->length) {
        bool within = ((unsigned char)scan->document[cursor->offset] & 0xc0u) == 0x80u;
        if (cursor->place >= place && !within) {
            break;
        }
        step(scan, cursor);
    }
    return cursor->offset;
}

weft_status weft_scan_open(weft_scan *scan, const char *document, size_t length,
                           weft_detail *detail)
{
    json_shape shape;
    weft_status status;

    *scan = (weft_scan){.document = document, .length = length};
    status = check_encoding(scan, detail);
    if (status != WEFT_OK) {
        return status;
    }
    shape = find_json(scan);
    scan->json = shape.json;
    status = shape.json ? check_json(scan, &shape, detail) : WEFT_OK;
    return status == WEFT_OK ? check_lines(scan, detail) : status;
}
