/* The text of a tree: JSON, YAML's flow notation or its block notation, with every freedom that
 * these leave. */
#include <stdio.h>
#include <string.h>

#include "document.h"

typedef struct writer {
    document *d;
    uint8_t *to;
    size_t size, most;
    const char *line_end;
    unsigned space; /* style of white space in flow: 0 none, 1 one, 2 any */
} writer;

static void put_bytes(writer *w, const char *bytes, size_t length)
{
    size_t left = w->most - w->size;
    size_t taken = length < left ? length : left;

    memcpy(w->to + w->size, bytes, taken);
    w->size += taken;
}

static void put(writer *w, const char *text)
{
    put_bytes(w, text, strlen(text));
}

static void put_repeated(writer *w, const char *text, uint64_t times)
{
    for (; times > 0; times--) {
        put(w, text);
    }
}

static void put_line_end(writer *w, unsigned indent)
{
    put(w, w->line_end);
    put_repeated(w, " ", indent);
}

static int is_json(const writer *w)
{
    return w->d->notation == DOCUMENT_JSON;
}

/* Where any white space may stand. */
static void put_space(writer *w, int wanted)
{
    /* A tab is rare in YAML: other parsers than ours stumble over it, and could not be compared. */
    static const char *const spaces[] = {" ", "\n", "\r\n", "\r", "  ", "\t"};

    if (w->space == 0 || (w->space == 1 && wanted)) {
        put(w, w->space == 1 ? " " : "");
        return;
    }
    if (w->space < 2 || !document_chance(w->d, 4)) {
        return;
    }
    put(w, spaces[document_random(w->d, is_json(w) || document_chance(w->d, 32) ? 6 : 5)]);
    if (document_chance(w->d, 64)) {
        put_repeated(w, " ", 200 + document_random(w->d, 64));
    }
    if (!is_json(w) && document_chance(w->d, 8)) {
        put(w, " # x");
        put(w, w->line_end);
        put(w, " ");
    }
}

/* Bytes of the character that begins there. */
static size_t character(const char *text)
{
    size_t length = 1;

    while (((unsigned char)text[length] & 0xc0u) == 0x80u) {
        length++;
    }
    return length;
}

static unsigned code_point(const char *text, size_t length)
{
    unsigned char first = (unsigned char)text[0];
    unsigned code = length == 1 ? first : first & (0xffu >> (length + 1));

    for (size_t i = 1; i < length; i++) {
        code = code << 6 | ((unsigned char)text[i] & 0x3fu);
    }
    return code;
}

static void put_escape(writer *w, unsigned code)
{
    char text[16];

    if (code >= 0x10000) {
        (void)snprintf(text, sizeof text, "\\u%04X\\u%04x", 0xd7c0 + (code >> 10),
                       0xdc00 + (code & 0x3ff));
    } else {
        (void)snprintf(text, sizeof text, "\\u%04x", code);
    }
    put(w, text);
}

static void put_double(writer *w, const char *text)
{
    uint64_t escapes = document_chance(w->d, 4) ? 3 : 0;

    put(w, "\"");
    while (*text != '\0') {
        size_t length = character(text);
        if (*text == '"' || *text == '\\') {
            put(w, "\\");
            put_bytes(w, text, 1);
        } else if ((unsigned char)*text < 0x20 || (escapes > 0 && document_chance(w->d, escapes))) {
            put_escape(w, code_point(text, length));
        } else {
            put_bytes(w, text, length);
        }
        text += length;
    }
    put(w, "\"");
}

static void put_block_scalar(writer *w, const char *text, unsigned indent)
{
    static const char *const heads[] = {"|", "|-", "|+", ">", ">+", ">1"};

    put(w, document_chance(w->d, 16) ? heads[document_random(w->d, 6)] : ">-");
    put_line_end(w, indent + 2);
    for (; *text != '\0'; text++) {
        if (*text == ' ' && document_chance(w->d, 2)) { /* folded to a space again */
            put_line_end(w, indent + 2);
        } else {
            put_bytes(w, text, 1);
        }
    }
}

/* Would YAML take it for a string without quotes? Not exactly: now and then for any text. */
static int is_plain(writer *w, const char *text)
{
    int worded =
        strpbrk(text, " abcdefghijklmnopqrstuvwxyz") != NULL && strncmp(text, "0x", 2) != 0;

    return worded || document_chance(w->d, 16);
}

/* block: may a block scalar stand here? */
static void put_string(writer *w, const char *text, unsigned indent, int block)
{
    switch (is_json(w) ? 0 : document_random(w->d, block ? 5 : 3)) {
    case 1:
    case 2:
        if (is_plain(w, text)) {
            put(w, text);
            break;
        }
        put_double(w, text);
        break;
    case 3:
        put(w, "'");
        put(w, text);
        put(w, "'");
        break;
    case 4:
        put_block_scalar(w, text, indent);
        break;
    default:
        put_double(w, text);
        break;
    }
}

static void put_key(writer *w, const char *key)
{
    put_string(w, key, 0, 0);
}

static void put_flow(writer *w, const document_node *node, unsigned depth);

static void put_flow_items(writer *w, const document_node *node, unsigned depth)
{
    int any = 0;

    for (const document_node *n = node->child; n != NULL; n = n->next) {
        for (unsigned i = 0; i < n->times; i++) {
            if (any) {
                put(w, ",");
            }
            put_space(w, any);
            if (node->kind == DOCUMENT_MAPPING) {
                put_key(w, n->key != NULL ? n->key : "x");
                if (is_json(w) || document_chance(w->d, 16)) {
                    put_space(w, 0);
                }
                put(w, ":");
                put_space(w, 1);
                put(w, is_json(w) || w->space != 0 ? "" : " ");
            }
            put_flow(w, n, depth + 1);
            put_space(w, 0);
            any = 1;
        }
    }
    if (any && !is_json(w) && document_chance(w->d, 32)) {
        put(w, ",");
    }
}

static void put_flow(writer *w, const document_node *node, unsigned depth)
{
    if (node->kind == DOCUMENT_WORD || depth > 12) {
        put(w, node->text);
    } else if (node->kind == DOCUMENT_STRING) {
        put_string(w, node->text, 0, 0);
    } else {
        put(w, node->kind == DOCUMENT_LIST ? "[" : "{");
        put_flow_items(w, node, depth);
        put(w, node->kind == DOCUMENT_LIST ? "]" : "}");
    }
}

static void put_block(writer *w, const document_node *node, unsigned indent);

static void put_block_value(writer *w, const document_node *n, unsigned indent, int in_list)
{
    int nested = n->kind >= DOCUMENT_LIST && n->child != NULL && indent < 24;

    if (nested && document_chance(w->d, in_list ? 2 : 4)) {
        nested = 0; /* flow within block */
    }
    if (nested && in_list) {
        put(w, " ");
        put_block(w, n, indent + 2);
    } else if (nested) {
        put_line_end(w, indent + 2);
        put_block(w, n, indent + 2);
    } else if (n->kind == DOCUMENT_STRING) {
        put(w, " ");
        put_string(w, n->text, indent, 1);
    } else {
        put(w, " ");
        put_flow(w, n, indent / 2);
    }
}

/* The first line's indent stands already. */
static void put_block(writer *w, const document_node *node, unsigned indent)
{
    int any = 0;

    for (const document_node *n = node->child; n != NULL; n = n->next) {
        for (unsigned i = 0; i < n->times; i++) {
            if (any) {
                if (document_chance(w->d, 16)) {
                    put(w, document_chance(w->d, 2) ? " # comment" : w->line_end);
                }
                put_line_end(w, indent);
            }
            if (node->kind == DOCUMENT_MAPPING) {
                put_key(w, n->key != NULL ? n->key : "x");
                put(w, ":");
                put_block_value(w, n, indent, 0);
            } else {
                put(w, "-");
                put_block_value(w, n, indent, 1);
            }
            any = 1;
        }
    }
}

/* What may stand before and behind a document. */
static void put_head(writer *w)
{
    if (document_chance(w->d, 16)) {
        put(w, "\xef\xbb\xbf");
    }
    if (!is_json(w) && document_chance(w->d, 8)) {
        put(w, document_chance(w->d, 2) ? "---\n" : "# head\n---\n");
    }
}

static void put_foot(writer *w)
{
    static const char *const feet[] = {"\n...\n", "\n# foot\n", "\n---\n", "\n...\nx: 1\n",
                                       "{}",      "\n\n",       " # foot", "\n...",
                                       "]",       "}"};

    if (document_chance(w->d, 2)) {
        put(w, w->line_end);
    }
    if (document_chance(w->d, 24)) {
        put(w, feet[document_random(w->d, sizeof feet / sizeof feet[0])]);
    }
}

size_t document_write(document *d, const document_node *root, uint8_t *to, size_t most)
{
    static const char *const line_ends[] = {"\n", "\n", "\n", "\r\n", "\r"};
    writer w = {.d = d,
                .to = to,
                .most = most,
                .line_end = line_ends[document_random(d, 5)],
                .space = (unsigned)document_random(d, 3)};

    put_head(&w);
    if (d->notation == DOCUMENT_BLOCK && root->child != NULL) {
        put_block(&w, root, 0);
    } else {
        put_flow(&w, root, 0);
    }
    put_foot(&w);
    return w.size;
}
