/* An update's document from its bytes to its patches, and where these lie in the payload. */
#include "update.h"

#include <inttypes.h>

#include "detail.h"
#include "invariant.h"
#include "memory.h"
#include "model.h"
#include "update_parse.h"

#define PARSER_BYTES (UINT64_C(8) << 20) /* libfyaml's own, whatever the document says */

const char *const WEFT_ROOT_NAMES[ROOT_KEYS] = {
    "weft",        "epoch",       "kind",   "update",
    "updates",     "base",        "target", "payload",
    "patches",     "model",       "first",  "counts",
    "names",       "dtype_names", "shapes", "num_updates_list",
    "update_kind", "packed"};

_Static_assert(ROOT_KEYS <= WEFT_KEYS_MAX, "weft_keys holds the keys of the root");

/* ---- layout ---- */

/* One patch behind those that end at *end and have *changed elements. */
static bool append_patch(const weft_patch *patch, weft_sections *end, uint64_t *changed)
{
    return weft_size_add(*changed, patch->count, changed) &&
           weft_size_section(patch->count, patch->index_bytes, &end->indices) &&
           weft_size_section(patch->count, patch->element_bytes, &end->values);
}

/* Sums over the patches; false if one does not fit into 64 bits. */
static bool sum_checked(const weft_update *update, weft_sections *end, uint64_t *changed)
{
    bool fits = true;

    *end = (weft_sections){.indices = 0};
    *changed = 0;
    for (size_t i = 0; i < update->count && fits; i++) {
        fits = append_patch(&update->patches[i], end, changed);
    }
    return fits;
}

/* With counts below this no sum can leave 64 bits: an update has at most 2^20 patches, and an
 * element at most 8 bytes. */
#define COUNT_SMALL (UINT64_C(1) << 32)
_Static_assert(WEFT_TENSORS_MAX <= 1u << 20, "so 2^20 sections of 2^35 bytes at most");

/* The same for small counts, as nearly all are, without a check for each; false for others. */
static bool sum_small(const weft_update *update, weft_sections *end, uint64_t *changed)
{
    uint64_t sum = 0;
    uint64_t any = 0;

    *end = (weft_sections){.indices = 0};
    for (size_t i = 0; i < update->count; i++) {
        any |= update->patches[i].count;
        sum += update->patches[i].count;
        weft_sections_step(end, &update->patches[i]);
    }
    *changed = sum;
    return any < COUNT_SMALL && update->count <= WEFT_TENSORS_MAX;
}

/* From index_bytes, element_bytes and count of each patch. */
static weft_status lay_out(weft_update *update)
{
    weft_sections end;
    uint64_t changed;

    if (!sum_small(update, &end, &changed) && !sum_checked(update, &end, &changed)) {
        return WEFT_E_SIZE_OVERFLOW;
    }
    if (!weft_size_add(end.indices, end.values, &update->payload_bytes)) {
        return WEFT_E_SIZE_OVERFLOW;
    }
    update->values_offset = end.indices;
    update->changed = changed;
    return WEFT_OK;
}

weft_status weft_update_layout(const weft_model *model, weft_update *update)
{
    for (size_t i = 0; i < update->count; i++) {
        weft_patch *patch = &update->patches[i];
        patch->element_bytes =
            (uint8_t)weft_dtype_bytes(weft_model_tensor(model, patch->tensor)->dtype);
        patch->index_bytes =
            update->kind == WEFT_SPARSE ? weft_model_index_bytes(model, patch->tensor) : 0;
    }
    return lay_out(update);
}

/* Where the document speaks of the payload's size. */
static weft_place payload_place(const weft_parse *p)
{
    if (p->update.has_session) {
        return p->announced_at;
    }
    return p->root.value_at[weft_parse_has(p, KEY_NUM_UPDATES) ? KEY_NUM_UPDATES : KEY_SHAPES];
}

static weft_status check_payload(weft_parse *p)
{
    weft_status status = lay_out(&p->update);
    uint64_t bytes = p->update.payload_bytes;

    if (status == WEFT_OK && p->update.form == WEFT_FORM_WEFT_COUNTS && p->model == NULL) {
        bytes = p->update.payload_bytes = p->announced_bytes; /* dtypes are the model's to know */
    }
    if (status != WEFT_OK) {
        return weft_reader_refuse(&p->reader, status, payload_place(p),
                                  "expected a payload that fits into 64 bits, found more");
    }
    if (p->update.has_session && p->announced_bytes != bytes) {
        return weft_reader_refuse(&p->reader, WEFT_E_META_WRONG_LAYOUT, p->announced_at,
                                  "expected %" PRIu64
                                  " bytes, which follow from the patches, found %" PRIu64,
                                  bytes, p->announced_bytes);
    }
    if (bytes > p->limits->payload_bytes) {
        return weft_reader_refuse(&p->reader, WEFT_E_META_PAYLOAD_TOO_LARGE, payload_place(p),
                                  "expected a payload of at most %" PRIu64 " bytes, found %" PRIu64,
                                  p->limits->payload_bytes, bytes);
    }
    return WEFT_OK;
}

/* ---- the document ---- */

/* The first key decides between weft's form and vLLM's; the other's keys are then unknown. */
static weft_status read_root(weft_parse *p, bool *is_weft)
{
    unsigned key = 0;
    unsigned first = ROOT_KEYS;
    weft_status status = weft_reader_mapping(&p->reader, &p->root, WEFT_ROOT_NAMES, ROOT_KEYS);

    while (status == WEFT_OK) {
        status = weft_reader_key(&p->reader, &p->root, &key);
        if (status != WEFT_OK || key == ROOT_KEYS) {
            break;
        }
        first = first == ROOT_KEYS ? key : first;
        if ((first < KEY_NAMES) != (key < KEY_NAMES)) {
            return weft_parse_refuse_key(p, p->root.key_at[key], WEFT_ROOT_NAMES[key],
                                         first < KEY_NAMES ? "weft's form" : "vLLM's form");
        }
        status = key < KEY_NAMES ? weft_parse_manifest_value(p, (weft_root_key)key)
                                 : weft_parse_vllm_value(p, (weft_root_key)key);
        if (p->root.value_at[key] == WEFT_ABSENT) {
            p->root.value_at[key] = p->reader.item.at;
        }
    }
    if (status == WEFT_OK && first == ROOT_KEYS) {
        return weft_reader_refuse(&p->reader, WEFT_E_META_UNKNOWN_FORM, p->root.start,
                                  "expected keys, found an empty mapping");
    }
    *is_weft = first < KEY_NAMES;
    return status;
}

static weft_status read_document(weft_parse *p)
{
    bool is_weft = false;
    weft_status status = weft_reader_next(&p->reader);

    if (status == WEFT_OK) {
        status = read_root(p, &is_weft);
    }
    if (status == WEFT_OK) {
        status = weft_reader_finish(&p->reader);
    }
    if (status == WEFT_OK) {
        status = is_weft ? weft_parse_manifest_finish(p) : weft_parse_vllm_finish(p);
    }
    return status == WEFT_OK ? check_payload(p) : status;
}

static weft_status parse_scanned(weft_parse *p, const weft_scan *scan, weft_detail *detail)
{
    weft_status status = weft_reader_open(&p->reader, scan, detail);

    return status == WEFT_OK ? read_document(p) : status;
}

static void release_parse(weft_parse *p)
{
    weft_reader_close(&p->reader);
    if (p->has_names) {
        weft_names_close(&p->names, p->allocator);
    }
    weft_memory_release(p->allocator, p->entries, p->entry_capacity * sizeof *p->entries,
                        WEFT_MEMORY_HOST);
    weft_memory_release(p->allocator, p->slots, p->slot_capacity * sizeof *p->slots,
                        WEFT_MEMORY_HOST);
}

uint64_t weft_update_parse_bytes(uint64_t document_length)
{
    uint64_t length = document_length < WEFT_DOCUMENT_MAX ? document_length : WEFT_DOCUMENT_MAX;

    return 16 * length + PARSER_BYTES;
}

static weft_status check_length(const char *document, size_t length,
                                const weft_update_limits *limits, weft_detail *detail)
{
    const weft_scan scan = {.document = document, .length = length};
    uint64_t most =
        limits->document_bytes < WEFT_DOCUMENT_MAX ? limits->document_bytes : WEFT_DOCUMENT_MAX;

    if (length <= most) {
        return WEFT_OK;
    }
    return weft_scan_refuse(&scan, detail, WEFT_E_META_TOO_LARGE, (size_t)most,
                            "expected at most %" PRIu64 " bytes, found %zu", most, length);
}

weft_status weft_update_parse(const char *document, size_t length, const weft_model *model,
                              const weft_update_limits *limits, const weft_allocator *allocator,
                              weft_update *update, weft_detail *detail)
{
    weft_parse p = {.model = model,
                    .names = {.model = model},
                    .limits = limits,
                    .allocator = allocator,
                    .first_counted = WEFT_ABSENT,
                    .first_uncounted = WEFT_ABSENT};
    weft_scan scan;
    weft_status status = check_length(document, length, limits, detail);

    /* Whatever the form: a caller that forgot shall not wait for the first document with counts. */
    weft_invariant(model == NULL || weft_model_is_sorted(model));
    if (status == WEFT_OK) {
        status = weft_scan_open(&scan, document, length, detail);
    }
    if (status != WEFT_OK) {
        return status;
    }
    status = parse_scanned(&p, &scan, detail);
    release_parse(&p);
    if (status == WEFT_OK) {
        *update = p.update;
    } else {
        weft_update_release(&p.update, allocator);
    }
    return status;
}

void weft_update_release(weft_update *update, const weft_allocator *allocator)
{
    weft_memory_release(allocator, update->patches, update->allocated_bytes, WEFT_MEMORY_HOST);
    *update = (weft_update){.patches = NULL};
}
