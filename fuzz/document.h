/* Documents for mutators: a tree of values that is right, damage done to it, and a text of it in
 * one of the notations of JSON and YAML; and edits of a text that came from anywhere, word by word.
 * Byte mutation is blind in a parser that is not instrumented: nearly all it makes is refused at
 * the first wrong byte. */
#ifndef WEFT_FUZZ_DOCUMENT_H
#define WEFT_FUZZ_DOCUMENT_H

#include <stddef.h>
#include <stdint.h>

typedef enum document_kind {
    DOCUMENT_WORD, /* written as it is */
    DOCUMENT_STRING,
    DOCUMENT_LIST,
    DOCUMENT_MAPPING
} document_kind;

typedef struct document_node {
    document_kind kind;
    const char *key; /* in a mapping */
    const char *text;
    unsigned times; /* written so often: 1 */
    struct document_node *child, *next;
} document_node;

#define DOCUMENT_NODES 512u
#define DOCUMENT_ARENA 32768u

typedef enum document_notation { DOCUMENT_JSON, DOCUMENT_FLOW, DOCUMENT_BLOCK } document_notation;

typedef struct document {
    uint64_t random;
    document_notation notation;
    size_t node_count, arena_used;
    document_node nodes[DOCUMENT_NODES];
    char arena[DOCUMENT_ARENA];
} document;

/* What a grammar's own values are replaced by; both end with NULL. */
typedef struct document_words {
    const char *const *words; /* written as they are */
    const char *const *keys;
} document_words;

void document_begin(document *d, uint64_t seed);
/* Below `below`; 0 if that is 0. */
uint64_t document_random(document *d, uint64_t below);
/* One in so many. */
int document_chance(document *d, uint64_t in);
/* Nearly always small, sometimes up to most, sometimes at a bound. */
uint64_t document_draw(document *d, uint64_t most);

/* Never NULL: when the pool is used up they give the last node again, and the text is cut. */
document_node *document_word(document *d, const char *text);
document_node *document_number(document *d, uint64_t number);
document_node *document_string(document *d, const char *text);
document_node *document_list(document *d);
document_node *document_mapping(document *d);
const char *document_text(document *d, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void document_add(document_node *list, document_node *item);
void document_put(document_node *mapping, const char *key, document_node *value);
void document_shuffle(document *d, document_node *parent);

/* One fault in a random node: left out, twice, another key, another value, a number beside it. */
void document_damage(document *d, const document_words *words);

/* Bytes written, at most `most`. */
size_t document_write(document *d, const document_node *root, uint8_t *to, size_t most);

/* One edit of a text: a word, a line or a mark is replaced, doubled, moved or left out. Returns the
 * new size. */
size_t document_edit(document *d, const document_words *words, uint8_t *text, size_t size,
                     size_t most);

#endif
