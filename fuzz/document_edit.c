/* Edits of a text whose tree nobody knows: an input of the corpus, say. */
#include <string.h>

#include "document.h"

typedef struct span {
    size_t from, to;
} span;

static int in_word(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '.' || c == '-' || c == '+' || c >= 0x80;
}

/* A word, a mark, or a whole line. */
static span pick_span(document *d, const uint8_t *text, size_t size)
{
    span s = {.from = (size_t)document_random(d, size)};

    s.to = s.from + 1;
    if (document_chance(d, 4)) {
        while (s.from > 0 && text[s.from - 1] != '\n') {
            s.from--;
        }
        while (s.to < size && text[s.to - 1] != '\n') {
            s.to++;
        }
    } else if (in_word(text[s.from])) {
        while (s.from > 0 && in_word(text[s.from - 1])) {
            s.from--;
        }
        while (s.to < size && in_word(text[s.to])) {
            s.to++;
        }
    }
    return s;
}

/* Puts bytes in place of a span; they must not lie behind it. */
static size_t splice(uint8_t *text, size_t size, size_t most, span s, const void *bytes,
                     size_t length)
{
    size_t left = size - (s.to - s.from);

    if (length > most - left) {
        return size;
    }
    memmove(text + s.from + length, text + s.to, size - s.to);
    memcpy(text + s.from, bytes, length);
    return left + length;
}

static const char *pick(document *d, const char *const *list)
{
    size_t count = 0;

    while (list[count] != NULL) {
        count++;
    }
    return list[document_random(d, count)];
}

#define COPY_MAX 4096u

size_t document_edit(document *d, const document_words *words, uint8_t *text, size_t size,
                     size_t most)
{
    uint8_t copy[COPY_MAX];
    const char *word = pick(d, document_chance(d, 3) ? words->keys : words->words);
    span s = {0, 0};
    span other;
    size_t length;

    if (size > 0) {
        s = pick_span(d, text, size);
    }
    length = s.to - s.from < COPY_MAX ? s.to - s.from : COPY_MAX;
    memcpy(copy, text + s.from, length);
    switch (document_random(d, 6)) {
    case 0: /* left out */
        return splice(text, size, most, s, "", 0);
    case 1: /* twice */
        s.to = s.from;
        return splice(text, size, most, s, copy, length);
    case 2: /* to another place */
        other = size > 0 ? pick_span(d, text, size) : s;
        return splice(text, size, most, other, copy, length);
    case 3: /* a word before it */
        s.to = s.from;
        return splice(text, size, most, s, word, strlen(word));
    default:
        return splice(text, size, most, s, word, strlen(word));
    }
}
