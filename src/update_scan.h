/* The raw bytes of an update's document, before a YAML parser sees them: what is refused at
 * once, and what the parser is given.
 *
 * libfyaml's time grows with the square of a run of white space, so such runs are short. It
 * keeps every token of a line until it knows that the line is no key, and JSON is often one long
 * line: there the parser reads the document's *text*, which has a line break after each comma
 * that stands outside of strings. In YAML the text is the document. */
#ifndef WEFT_SRC_UPDATE_SCAN_H
#define WEFT_SRC_UPDATE_SCAN_H

#include "weft.h"

#define WEFT_SCAN_SPACE_MAX 256u /* bytes of white space in a row */
/* Bytes of a scalar as written: a name, each byte of it an escape of six. */
#define WEFT_SCAN_SCALAR_MAX 3072u

typedef struct weft_scan {
    const char *document;
    size_t length;
    bool json; /* one mapping in JSON's notation and nothing else */
} weft_scan;

/* Where a walk through JSON stands: within a string, behind a backslash. */
typedef struct weft_quotes {
    bool inside, escaped;
} weft_quotes;

/* A place in the text: line << 32 | column, both from 0, the column in characters. That is how
 * the parser tells places (its offsets are those of a window that moves), and only a refusal
 * needs to know where it is in the document. */
typedef uint64_t weft_place;
_Static_assert(WEFT_DOCUMENT_MAX < INT32_MAX / 2, "a line and a column of a text fit into an int");

static inline weft_place weft_place_of(int line, int column)
{
    return (uint64_t)(uint32_t)line << 32 | (uint32_t)column;
}

/* The same place in the document and in the text. */
typedef struct weft_cursor {
    size_t offset; /* in the document */
    weft_place place;
    weft_quotes quotes;
} weft_cursor;

/* Checks encoding, white space and directives; for JSON also the depth and the length of strings.
 * Returns: META_ENCODING, META_UNSUPPORTED, META_NAME_TOO_LONG, META_TOO_DEEP. */
weft_status weft_scan_open(weft_scan *scan, const char *document, size_t length,
                           weft_detail *detail);

/* No list of the document, nor all of them together, can have more items. Looks at every byte. */
size_t weft_scan_items(const weft_scan *scan);

/* How many of the leading bytes stand in whole blocks of WEFT_SCAN_BLOCK without a control
 * character, a quote or a backslash: within a string of JSON no other byte matters, nor does any
 * other end a line. */
#define WEFT_SCAN_BLOCK 32u
size_t weft_scan_plain(const char *text, size_t length);

/* Steps over the next byte of JSON. True if it is a comma outside of strings, which a line break
 * follows in the text. Inline, as it is done for every byte. */
static inline bool weft_scan_breaks(weft_quotes *quotes, char byte)
{
    if (!quotes->inside) {
        quotes->inside = byte == '"';
        return byte == ',';
    }
    if (quotes->escaped) {
        quotes->escaped = false;
    } else if (byte == '\\') {
        quotes->escaped = true;
    } else if (byte == '"') {
        quotes->inside = false;
    }
    return false;
}

/* Where document and text begin. */
weft_cursor weft_scan_begin(const weft_scan *scan);
/* Moves on to a place; takes time in proportion to the way, which is from the beginning if it
 * lies behind. Returns the offset in the document. */
size_t weft_scan_seek(const weft_scan *scan, weft_cursor *cursor, weft_place place);
/* Line and column, in bytes, of an offset in the document; both from 1. A line ends with LF, CR
 * LF or CR. */
void weft_scan_place(const weft_scan *scan, size_t offset, uint32_t *line, uint32_t *column);
/* Fills detail (may be NULL) for a fault at an offset in the document. Returns status. */
weft_status weft_scan_refuse(const weft_scan *scan, weft_detail *detail, weft_status status,
                             size_t offset, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#endif
