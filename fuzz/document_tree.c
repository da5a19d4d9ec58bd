/* The tree of a document, and what is done to it. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "document.h"

void document_begin(document *d, uint64_t seed)
{
    *d = (document){.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
    for (int i = 0; i < 3; i++) {
        (void)document_random(d, 1);
    }
}

/* splitmix64 */
uint64_t document_random(document *d, uint64_t below)
{
    uint64_t z = d->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return below > 0 ? (z ^ (z >> 31)) % below : 0;
}

int document_chance(document *d, uint64_t in)
{
    return document_random(d, in) == 0;
}

uint64_t document_draw(document *d, uint64_t most)
{
    uint64_t small = most < 4 ? most : 4;

    switch (document_random(d, 8)) {
    case 0:
        return most;
    case 1:
        return 0;
    case 2:
        return most == UINT64_MAX ? document_random(d, most) : document_random(d, most + 1);
    default:
        return document_random(d, small + 1);
    }
}

static document_node *new_node(document *d, document_kind kind, const char *text)
{
    document_node *node = &d->nodes[d->node_count];

    d->node_count += d->node_count + 1 < DOCUMENT_NODES;
    *node = (document_node){.kind = kind, .text = text, .times = 1};
    return node;
}

const char *document_text(document *d, const char *format, ...)
{
    char *text = d->arena + d->arena_used;
    size_t left = DOCUMENT_ARENA - d->arena_used;
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(text, left, format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length + 1 < left) {
        d->arena_used += (size_t)length + 1;
    }
    return text;
}

document_node *document_word(document *d, const char *text)
{
    return new_node(d, DOCUMENT_WORD, text);
}

document_node *document_number(document *d, uint64_t number)
{
    return document_word(d, document_text(d, "%" PRIu64, number));
}

document_node *document_string(document *d, const char *text)
{
    return new_node(d, DOCUMENT_STRING, text);
}

document_node *document_list(document *d)
{
    return new_node(d, DOCUMENT_LIST, "");
}

document_node *document_mapping(document *d)
{
    return new_node(d, DOCUMENT_MAPPING, "");
}

/* A node that is there already would make a circle. */
void document_add(document_node *list, document_node *item)
{
    document_node **end = &list->child;

    while (*end != NULL && *end != item) {
        end = &(*end)->next;
    }
    if (*end == NULL && item != list) {
        *end = item;
        item->next = NULL;
    }
}

void document_put(document_node *mapping, const char *key, document_node *value)
{
    value->key = key;
    document_add(mapping, value);
}

/* Takes a random child and puts it in front, often enough. */
void document_shuffle(document *d, document_node *parent)
{
    size_t count = 0;

    for (const document_node *n = parent->child; n != NULL; n = n->next) {
        count++;
    }
    for (size_t i = 0; i < 2 * count; i++) {
        document_node **at = &parent->child;
        document_node *taken;
        for (uint64_t skip = document_random(d, count); skip > 0; skip--) {
            at = &(*at)->next;
        }
        taken = *at;
        *at = taken->next;
        taken->next = parent->child;
        parent->child = taken;
    }
}

static const char *pick(document *d, const char *const *list)
{
    size_t count = 0;

    while (list[count] != NULL) {
        count++;
    }
    return list[document_random(d, count)];
}

/* One more or less; a digit lost, a zero in front. */
static const char *nearby(document *d, const char *text)
{
    uint64_t number = 0;

    if (sscanf(text, "%" SCNu64, &number) != 1) { /* NOLINT(cert-err34-c): a wrapped one will do */
        return document_text(d, "%s ", text);
    }
    switch (document_random(d, 5)) {
    case 0:
        return document_text(d, "0%s", text);
    case 1:
        return document_text(d, "%" PRIu64, number / 10);
    case 2:
        return document_text(d, "%" PRIu64, number + 8);
    case 3:
        return document_text(d, "%" PRIu64, number - 1);
    default:
        return document_text(d, "%" PRIu64, number + 1);
    }
}

static void replace(document *d, document_node *node, const document_words *words)
{
    node->child = NULL;
    node->kind = DOCUMENT_WORD;
    node->text = pick(d, words->words);
}

void document_damage(document *d, const document_words *words)
{
    document_node *node = &d->nodes[document_random(d, d->node_count)];

    switch (document_random(d, 8)) {
    case 0:
        node->times = 0;
        break;
    case 1:
        node->times = 2;
        break;
    case 2:
        node->key = node->key != NULL ? pick(d, words->keys) : NULL;
        break;
    case 3:
        replace(d, node, words);
        break;
    case 4:
        node->kind = node->kind == DOCUMENT_WORD     ? DOCUMENT_STRING
                     : node->kind == DOCUMENT_STRING ? DOCUMENT_WORD
                                                     : node->kind;
        break;
    case 5:
        document_add(node, document_word(d, pick(d, words->words)));
        break;
    default: /* most faults are small */
        if (node->kind == DOCUMENT_WORD || node->kind == DOCUMENT_STRING) {
            node->text = nearby(d, node->text);
        } else {
            document_shuffle(d, node);
        }
        break;
    }
}
