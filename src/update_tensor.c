/* What every form says of a tensor (name, dtype, shape, count), checked against the model. */
#include "update_parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "detail.h"
#include "dtype.h"
#include "memory.h"
#include "model.h"

/* From here on an index that was cut to 32 bits could land in range again. */
#define INDEX_32_ELEMENTS (UINT64_C(1) << 31)

weft_status weft_parse_no_memory(const weft_parse *p, uint64_t bytes)
{
    return weft_detail_set(p->reader.detail, WEFT_E_OUT_OF_MEMORY,
                           "no memory for %" PRIu64 " bytes", bytes);
}

weft_status weft_parse_number(const weft_parse *p, size_t count)
{
    if (count < WEFT_TENSORS_MAX) {
        return WEFT_OK;
    }
    return weft_reader_refuse_item(&p->reader, WEFT_E_META_TOO_MANY_TENSORS,
                                   "at most 1048576 tensors");
}

/* Without a model the table takes six bytes for each byte of the document, and a document that
 * counts has no names. */
static weft_status open_names(weft_parse *p)
{
    const weft_scan *scan = p->reader.scan;

    if (p->has_names) {
        return WEFT_OK;
    }
    p->has_names = true;
    if (weft_names_open(&p->names, p->model, weft_scan_items(scan), scan->length, p->allocator) !=
        WEFT_OK) {
        return weft_detail_set(p->reader.detail, WEFT_E_OUT_OF_MEMORY,
                               "no memory for a table of names");
    }
    return WEFT_OK;
}

weft_status weft_parse_name(weft_parse *p, size_t *number)
{
    const weft_item *item = &p->reader.item;
    weft_status status;

    if (item->length == 0 || item->length > WEFT_NAME_MAX) {
        return weft_reader_refuse_item(&p->reader, WEFT_E_META_NAME_TOO_LONG,
                                       "a name of 1 to 512 bytes");
    }
    status = open_names(p);
    if (status != WEFT_OK) {
        return status;
    }
    status = weft_names_add(&p->names, item->text, item->length, number);
    if (status == WEFT_OK) {
        return WEFT_OK;
    }
    (void)weft_reader_refuse_item(&p->reader, status,
                                  status == WEFT_E_META_UNKNOWN_TENSOR ? "a tensor of the model"
                                                                       : "each tensor once");
    weft_detail_tensor(p->reader.detail, item->text, item->length);
    return status;
}

weft_status weft_parse_dtype(const weft_parse *p, weft_dtype *dtype)
{
    if (weft_dtype_from_name(p->reader.item.text, p->reader.item.length, dtype)) {
        return WEFT_OK;
    }
    return weft_reader_refuse_item(&p->reader, WEFT_E_META_WRONG_DTYPE, "a dtype");
}

weft_status weft_parse_sizes(weft_parse *p, uint64_t shape[WEFT_RANK_MAX], uint32_t *rank)
{
    uint32_t sizes = 0;
    weft_status status = weft_reader_next(&p->reader);

    while (status == WEFT_OK && p->reader.item.kind != WEFT_ITEM_END) {
        if (sizes == WEFT_RANK_MAX) {
            return weft_reader_refuse_item(&p->reader, WEFT_E_META_WRONG_SHAPE, "at most 8 sizes");
        }
        status = weft_reader_to_integer(&p->reader, 0, UINT64_MAX, &shape[sizes++]);
        if (status == WEFT_OK) {
            status = weft_reader_next(&p->reader);
        }
    }
    *rank = sizes;
    return status;
}

weft_status weft_parse_word(weft_parse *p, const char *const words[2], weft_status otherwise,
                            const char *expected, unsigned *which)
{
    weft_status status = weft_reader_string(&p->reader);
    const weft_item *item = &p->reader.item;

    for (unsigned i = 0; status == WEFT_OK && i < 2; i++) {
        if (strlen(words[i]) == item->length && memcmp(words[i], item->text, item->length) == 0) {
            *which = i;
            return WEFT_OK;
        }
    }
    return status != WEFT_OK ? status : weft_reader_refuse_item(&p->reader, otherwise, expected);
}

weft_status weft_parse_refuse_tensor(const weft_parse *p, const weft_announced *a,
                                     weft_status status, weft_place at, const char *expected,
                                     const char *found)
{
    size_t length = 0;
    const char *name = weft_names_text(&p->names, a->number, &length);

    (void)weft_reader_refuse(&p->reader, status, at, "expected %s, found %s", expected, found);
    weft_detail_tensor(p->reader.detail, name, length);
    return status;
}

static void print_shape(char text[200], uint32_t rank, const uint64_t *shape)
{
    size_t used = (size_t)snprintf(text, 200, "[");

    for (uint32_t i = 0; i < rank; i++) {
        used +=
            (size_t)snprintf(text + used, 200 - used, "%s%" PRIu64, i > 0 ? ", " : "", shape[i]);
    }
    (void)snprintf(text + used, 200 - used, "]");
}

static weft_status check_against_model(const weft_parse *p, const weft_announced *a)
{
    const weft_tensor *tensor = weft_model_tensor(p->model, a->number);
    char expected[200];
    char found[200];

    if (tensor->dtype != a->dtype) {
        return weft_parse_refuse_tensor(p, a, WEFT_E_META_WRONG_DTYPE, a->dtype_at,
                                        weft_dtype_name(tensor->dtype), weft_dtype_name(a->dtype));
    }
    if (tensor->rank != a->rank ||
        memcmp(tensor->shape, a->shape, a->rank * sizeof a->shape[0]) != 0) {
        print_shape(expected, tensor->rank, tensor->shape);
        print_shape(found, a->rank, a->shape);
        return weft_parse_refuse_tensor(p, a, WEFT_E_META_WRONG_SHAPE, a->shape_at, expected,
                                        found);
    }
    return WEFT_OK;
}

static weft_status count_elements(const weft_parse *p, const weft_announced *a, uint64_t *elements)
{
    if (weft_model_count_elements(a->dtype, a->rank, a->shape, elements)) {
        return WEFT_OK;
    }
    return weft_parse_refuse_tensor(p, a, WEFT_E_SIZE_OVERFLOW, a->shape_at,
                                    "a size that fits into 64 bits", "more bytes");
}

weft_status weft_parse_patch(const weft_parse *p, const weft_announced *a, weft_patch *patch)
{
    uint64_t elements = 0;
    char expected[40];
    char found[40];
    weft_status status = p->model != NULL ? check_against_model(p, a) : WEFT_OK;

    if (status == WEFT_OK) {
        status = count_elements(p, a, &elements);
    }
    if (status != WEFT_OK) {
        return status;
    }
    *patch = (weft_patch){.tensor = (uint32_t)a->number,
                          .element_bytes = (uint8_t)weft_dtype_bytes(a->dtype)};
    patch->count = a->has_count ? a->count : elements;
    if (a->has_count) {
        patch->index_bytes = elements < INDEX_32_ELEMENTS ? 4 : 8;
    }
    if (a->has_count && a->count > elements) {
        (void)snprintf(expected, sizeof expected, "at most %" PRIu64, elements);
        (void)snprintf(found, sizeof found, "%" PRIu64, a->count);
        return weft_parse_refuse_tensor(p, a, WEFT_E_META_COUNT_TOO_LARGE, a->count_at, expected,
                                        found);
    }
    return WEFT_OK;
}

weft_status weft_parse_allocate(weft_parse *p, size_t count)
{
    uint64_t bytes = (uint64_t)count * sizeof *p->update.patches;

    p->update.count = count;
    if (count == 0) {
        return WEFT_OK;
    }
    p->update.patches = weft_memory_allocate(p->allocator, bytes, WEFT_MEMORY_HOST);
    if (p->update.patches == NULL) {
        return weft_parse_no_memory(p, bytes);
    }
    p->update.allocated_bytes = bytes;
    return WEFT_OK;
}

bool weft_parse_has(const weft_parse *p, weft_root_key key)
{
    return p->root.key_at[key] != WEFT_ABSENT;
}

weft_status weft_parse_refuse_key(const weft_parse *p, weft_place at, const char *key,
                                  const char *form)
{
    return weft_reader_refuse(&p->reader, WEFT_E_META_UNKNOWN_KEY, at, "expected no key %s in %s",
                              key, form);
}
