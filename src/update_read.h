/* The items of an update's document, one after the other: libfyaml's events with types, places
 * and refusals. No tree is built.
 *
 * What no accepted form needs is refused here: anchors, aliases, tags, NUL, a second document.
 * Depth needs no limit: nobody reads on into a value of the wrong type. */
#ifndef WEFT_SRC_UPDATE_READ_H
#define WEFT_SRC_UPDATE_READ_H

#include "update_scan.h"

typedef enum weft_item_kind {
    WEFT_ITEM_PLAIN = 1, /* a scalar without quotes */
    WEFT_ITEM_QUOTED,    /* in quotes or in block notation: always a string */
    WEFT_ITEM_LIST,      /* begins; its items and an END follow */
    WEFT_ITEM_MAPPING,   /* begins; keys and values in turn and an END follow */
    WEFT_ITEM_END
} weft_item_kind;

typedef struct weft_item {
    weft_item_kind kind;
    const char *text; /* of a scalar; valid until the next call */
    size_t length;
    weft_place at; /* of the opening quote if there is one */
} weft_item;

/* The parser is given the text line by line, and no more than this until it makes an item of it:
 * that bounds its memory, whatever the bytes say. */
#define WEFT_READER_AHEAD_MAX 8192u

typedef struct weft_reader {
    const weft_scan *scan;
    weft_detail *detail;
    struct fy_diag *diag;
    struct fy_parser *parser;
    struct fy_event *event;
    size_t given;       /* bytes of the document that the parser was given */
    weft_quotes quotes; /* where these end */
    bool break_due;     /* and a line break is next */
    size_t ahead;       /* bytes that it was given since the last event */
    bool starved;       /* it wanted more than WEFT_READER_AHEAD_MAX */
    weft_cursor cursor; /* to follow tokens into the document */
    weft_item item;     /* the present one */
    weft_place end;     /* where the last scalar or bracket ended */
    bool over;          /* the document ended */
} weft_reader;

/* The keys of one mapping. */
#define WEFT_KEYS_MAX 18u
#define WEFT_ABSENT   UINT64_MAX
typedef struct weft_keys {
    const char *const *names;
    unsigned count;
    weft_place start;                 /* where the mapping begins */
    weft_place key_at[WEFT_KEYS_MAX]; /* WEFT_ABSENT until the key was read */
    weft_place value_at[WEFT_KEYS_MAX];
} weft_keys;

/* Begins to read. Close the reader whatever the answer. Returns: OUT_OF_MEMORY, META_SYNTAX,
 * META_UNKNOWN_FORM (an empty document). */
weft_status weft_reader_open(weft_reader *reader, const weft_scan *scan, weft_detail *detail);
void weft_reader_close(weft_reader *reader);
/* Reads the next item into reader->item. Returns: META_SYNTAX, META_SECOND_DOCUMENT, META_ALIAS,
 * META_TAG, META_ENCODING (a NUL that an escape made), META_UNSUPPORTED (no item in
 * WEFT_READER_AHEAD_MAX bytes, or a single quote within single quotes). */
weft_status weft_reader_next(weft_reader *reader);
/* After the root's END: nothing may follow. Returns: META_SYNTAX, META_SECOND_DOCUMENT. */
weft_status weft_reader_finish(weft_reader *reader);

/* Fills the detail for a fault at a place. Returns status. */
weft_status weft_reader_refuse(const weft_reader *reader, weft_status status, weft_place at,
                               const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same for the present item: "expected EXPECTED, found THE ITEM". */
weft_status weft_reader_refuse_item(const weft_reader *reader, weft_status status,
                                    const char *expected);

/* The next item must be this. WRONG_TYPE if it is not. */
weft_status weft_reader_list(weft_reader *reader);
weft_status weft_reader_mapping(weft_reader *reader, weft_keys *keys, const char *const *names,
                                unsigned count);
/* A string: in quotes, or a plain scalar that YAML's core schema does not take for anything
 * else. Returns: META_WRONG_TYPE. */
weft_status weft_reader_string(weft_reader *reader);
weft_status weft_reader_to_string(const weft_reader *reader); /* the present item */
weft_status weft_reader_boolean(weft_reader *reader, bool *value);
/* Decimal digits without sign or leading zero, in [least, most].
 * Returns: META_WRONG_TYPE, META_NOT_AN_INTEGER, META_OVERFLOW. */
weft_status weft_reader_integer(weft_reader *reader, uint64_t least, uint64_t most,
                                uint64_t *value);
/* The present item as such an integer. */
weft_status weft_reader_to_integer(const weft_reader *reader, uint64_t least, uint64_t most,
                                   uint64_t *value);
/* The next key of a mapping; keys->count when the mapping ends.
 * Returns: META_WRONG_TYPE, META_UNKNOWN_KEY, META_DUPLICATE_KEY. */
weft_status weft_reader_key(weft_reader *reader, weft_keys *keys, unsigned *key);
/* META_MISSING_KEY unless the mapping had it. */
weft_status weft_reader_require(const weft_reader *reader, const weft_keys *keys, unsigned key);

#endif
