/* weft's own form without names: a count for each tensor in canonical order, in strings of many.
 *
 *      "model": "0x...", "first": 2, "counts": ["3 0 12", "1"]     tensors 2, 4 and 5 have patches
 *
 * While the document is read, a count and its place are kept in a patch's place, zeros too: `first`
 * and `model` may come later. Then the patches are made in the same memory, from the front. */
#include "update_parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "model.h"

#define COUNT_BYTES_MIN 2u  /* a digit, and a space or a quote */
#define DIGITS_SURE     19u /* so many fit into 64 bits, whatever they are */

static size_t most_counts(const weft_parse *p)
{
    return p->model != NULL ? weft_model_count(p->model) : WEFT_TENSORS_MAX;
}

static weft_status refuse_number(const weft_parse *p, weft_place at, size_t most)
{
    return weft_reader_refuse(&p->reader, WEFT_E_META_TOO_MANY_TENSORS, at,
                              "expected at most %zu counts, one for each tensor, found more", most);
}

static weft_status reserve_counts(weft_parse *p)
{
    size_t most = p->reader.scan->length / COUNT_BYTES_MIN;
    uint64_t bytes;

    p->slot_capacity = most < most_counts(p) ? most : most_counts(p);
    bytes = p->slot_capacity * sizeof *p->slots;
    p->slots = weft_memory_allocate(p->allocator, bytes, WEFT_MEMORY_HOST);
    return p->slots != NULL || bytes == 0 ? WEFT_OK : weft_parse_no_memory(p, bytes);
}

/* The place of the string's first byte, if every byte of the string stands in the document as it
 * is; otherwise WEFT_ABSENT. */
static weft_place text_place(const weft_parse *p)
{
    const weft_item *item = &p->reader.item;
    weft_place begin = item->at + (item->kind == WEFT_ITEM_QUOTED);

    return p->reader.end - begin == item->length ? begin : WEFT_ABSENT;
}

/* How many bytes of the text are the digits of a count that ends there or before a space; 0 if
 * that is not sure. */
static size_t read_digits(const char *text, size_t length, uint64_t *count)
{
    uint64_t number = 0;
    size_t i = 0;

    while (i < length && text[i] >= '0' && text[i] <= '9') {
        number = number * 10 + (uint64_t)(text[i++] - '0'); /* wraps only where it is not sure */
    }
    *count = number;
    return i > DIGITS_SURE || (i > 1 && text[0] == '0') || (i < length && text[i] != ' ') ? 0 : i;
}

/* Refused as an integer that stands alone would be; what is right after all has DIGITS_SURE + 1
 * digits. */
static weft_status read_odd_count(weft_parse *p, weft_place at, const char *text, size_t length,
                                  uint64_t *count)
{
    const weft_item string = p->reader.item;
    const char *space = memchr(text, ' ', length);
    weft_status status;

    p->reader.item = (weft_item){.kind = WEFT_ITEM_PLAIN,
                                 .text = text,
                                 .length = space != NULL ? (size_t)(space - text) : length,
                                 .at = at};
    status = weft_reader_to_integer(&p->reader, 0, UINT64_MAX, count);
    p->reader.item = string;
    return status;
}

/* The counts of the present item. */
static weft_status take_counts(weft_parse *p)
{
    const char *text = p->reader.item.text;
    size_t length = p->reader.item.length;
    weft_place begin = text_place(p);
    weft_status status = WEFT_OK;

    for (size_t i = 0; i <= length; i++) { /* over the space behind a count, or the end */
        weft_place at = begin != WEFT_ABSENT ? begin + i : p->reader.item.at;
        uint64_t count = 0;
        size_t digits = read_digits(text + i, length - i, &count);
        if (digits == 0) {
            status = read_odd_count(p, at, text + i, length - i, &count);
            digits = DIGITS_SURE + 1;
        }
        if (status == WEFT_OK && p->slot_count == p->slot_capacity) {
            status = refuse_number(p, at, most_counts(p));
        }
        if (status != WEFT_OK) {
            return status;
        }
        p->slots[p->slot_count++] = (weft_slot){.counted = {.count = count, .at = at}};
        i += digits;
    }
    return WEFT_OK;
}

weft_status weft_parse_counts(weft_parse *p)
{
    weft_status status = reserve_counts(p);

    if (status == WEFT_OK) {
        status = weft_reader_list(&p->reader);
    }
    p->root.value_at[KEY_COUNTS] = p->reader.item.at;
    while (status == WEFT_OK) {
        status = weft_reader_next(&p->reader);
        if (status != WEFT_OK || p->reader.item.kind == WEFT_ITEM_END) {
            break;
        }
        status = weft_reader_to_string(&p->reader);
        if (status == WEFT_OK && p->reader.item.length > WEFT_SCAN_SCALAR_MAX) {
            /* as it stands, and maybe not decoded */
            status = weft_reader_refuse_item(&p->reader, WEFT_E_META_NAME_TOO_LONG,
                                             "a string of at most 3072 bytes");
        }
        status = status == WEFT_OK ? take_counts(p) : status;
    }
    return status;
}

static weft_status refuse_count(const weft_parse *p, uint64_t count, weft_place at,
                                const weft_ordered *tensor)
{
    const weft_announced a = {.number = tensor->tensor};
    char expected[40];
    char found[40];

    (void)snprintf(expected, sizeof expected, "at most %" PRIu64, tensor->elements);
    (void)snprintf(found, sizeof found, "%" PRIu64, count);
    return weft_parse_refuse_tensor(p, &a, WEFT_E_META_COUNT_TOO_LARGE, at, expected, found);
}

static weft_status make_patches(weft_parse *p)
{
    const weft_ordered *tensor = weft_model_order(p->model) + p->first;

    for (size_t i = 0; i < p->slot_count; i++, tensor++) {
        uint64_t count = p->slots[i].counted.count;
        if (count > tensor->elements) {
            return refuse_count(p, count, p->slots[i].counted.at, tensor);
        }
        if (count > 0) {
            p->slots[p->update.count++].patch = (weft_patch){.tensor = tensor->tensor,
                                                             .index_bytes = tensor->index_bytes,
                                                             .element_bytes = tensor->element_bytes,
                                                             .count = count};
        }
    }
    return WEFT_OK;
}

static void make_patches_without_model(weft_parse *p)
{
    for (size_t i = 0; i < p->slot_count; i++) {
        uint64_t count = p->slots[i].counted.count;
        if (count > 0) {
            p->slots[p->update.count].patch =
                (weft_patch){.tensor = (uint32_t)p->update.count, .count = count};
            p->update.count++;
        }
    }
}

weft_status weft_parse_counts_finish(weft_parse *p)
{
    size_t most = most_counts(p) - (size_t)p->first; /* which is at most that */
    weft_status status = WEFT_OK;

    if (p->slot_count > most) {
        return refuse_number(p, p->slots[most].counted.at, most);
    }
    if (p->model == NULL) {
        make_patches_without_model(p);
    } else if (p->slot_count > 0) {
        status = make_patches(p);
    }
    p->update.patches = (weft_patch *)p->slots;
    p->update.allocated_bytes = p->slot_capacity * sizeof *p->slots;
    p->slots = NULL;
    return status;
}
