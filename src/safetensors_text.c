/* Copies a header for libfyaml, and finds places of the copy again in the original. */
#include "safetensors_text.h"

#include "detail.h"
#include "memory.h"

/* The longest run without a comma in a valid header is seven: {"__metadata__":{"key":"text" */
#define TOKENS_MAX 16u

/* A header while it is gone through. */
typedef struct walk {
    const char *header;
    size_t length;
    size_t at;
    unsigned tokens; /* since the last comma that followed something */
    bool after_comma;
    bool in_string;
} walk;

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

/* Takes the next piece of the header and gives the one or two bytes that stand for it in the copy.
 */
static size_t step(walk *w, char bytes[2])
{
    char byte = w->header[w->at++];

    bytes[0] = byte;
    if (w->in_string) {
        if (byte == '\\' && w->at < w->length) {
            bytes[1] = w->header[w->at++];
            return 2;
        }
        w->in_string = byte != '"';
        return 1;
    }
    if (is_space(byte)) {
        while (w->at < w->length && is_space(w->header[w->at])) {
            w->at++;
        }
        bytes[0] = ' ';
        return 1;
    }
    if (byte == ',') {
        w->tokens = w->after_comma ? w->tokens + 1 : 0;
        w->after_comma = true;
        bytes[1] = '\n';
        return 2;
    }
    w->after_comma = false;
    w->in_string = byte == '"';
    if (byte == '"' || byte == '{' || byte == '}' || byte == '[' || byte == ']' || byte == ':') {
        w->tokens++;
    }
    return 1;
}

/* Line and column of a byte of the header. */
static void set_place(const char *header, size_t at, weft_detail *detail)
{
    size_t line_begin = 0;
    uint32_t line = 1;

    for (size_t i = 0; i < at; i++) {
        if (header[i] == '\n') {
            line++;
            line_begin = i + 1;
        }
    }
    detail->line = line;
    detail->column = (uint32_t)(at - line_begin) + 1;
}

/* Counts the copy's bytes and refuses what would make libfyaml collect tokens without end. */
static weft_status measure(walk w, size_t *text_bytes, weft_detail *detail)
{
    char bytes[2];
    size_t sum = 0;

    while (w.at < w.length) {
        sum += step(&w, bytes);
        if (w.tokens > TOKENS_MAX) {
            weft_detail_set(detail, WEFT_E_FILE_HEADER_SYNTAX,
                            "expected a comma: more than %u tokens without one", TOKENS_MAX);
            if (detail != NULL) {
                set_place(w.header, w.at - 1, detail);
            }
            return WEFT_E_FILE_HEADER_SYNTAX;
        }
    }
    *text_bytes = sum;
    return WEFT_OK;
}

weft_status weft_header_text_make(weft_header_text *text, const char *header, size_t header_bytes,
                                  const weft_allocator *allocator, weft_detail *detail)
{
    walk w = {.header = header, .length = header_bytes};
    weft_header_text fresh = {.header = header, .header_bytes = header_bytes};
    weft_status status = measure(w, &fresh.text_bytes, detail);
    size_t written = 0;

    if (status != WEFT_OK) {
        return status;
    }
    fresh.text = weft_memory_allocate(allocator, fresh.text_bytes, WEFT_MEMORY_HOST);
    if (fresh.text == NULL) {
        return weft_detail_set(detail, WEFT_E_OUT_OF_MEMORY, "no memory for a header of %zu bytes",
                               header_bytes);
    }
    while (w.at < w.length) {
        char bytes[2];
        size_t count = step(&w, bytes);
        for (size_t i = 0; i < count; i++) {
            fresh.text[written++] = bytes[i];
        }
    }
    *text = fresh;
    return WEFT_OK;
}

void weft_header_text_release(weft_header_text *text, const weft_allocator *allocator)
{
    weft_memory_release(allocator, text->text, text->text_bytes, WEFT_MEMORY_HOST);
    text->text = NULL;
}

size_t weft_header_text_offset(const weft_header_text *text, int line, int column)
{
    size_t at = 0;

    for (int l = 1; l < line && at < text->text_bytes; at++) {
        l += text->text[at] == '\n';
    }
    for (int c = 1; c < column && at < text->text_bytes; c++) {
        do {
            at++;
        } while (at < text->text_bytes && ((uint8_t)text->text[at] & 0xc0) == 0x80);
    }
    return at;
}

void weft_header_text_place(const weft_header_text *text, size_t offset, weft_detail *detail)
{
    walk w = {.header = text->header, .length = text->header_bytes};
    char bytes[2];
    size_t begin = 0; /* in the text, of the piece that begins at w.at */

    while (w.at < w.length) {
        walk ahead = w;
        size_t count = step(&ahead, bytes);
        if (begin + count > offset) {
            /* The second byte of an escape has a place of its own; an inserted line end has not. */
            w.at += w.in_string ? offset - begin : 0;
            break;
        }
        begin += count;
        w = ahead;
    }
    set_place(text->header, w.at, detail);
}
