/* weft's own form: a session, and a list of patches, each of which is checked when its mapping
 * ends; or counts in its place (update_counts.c). */
#include "update_parse.h"

#include <inttypes.h>
#include <string.h>

#include "invariant.h"
#include "memory.h"
#include "model.h"

#define PATCH_BYTES_MIN 32u /* {name: a,dtype: bool,shape: []}, is the shortest patch */

enum patch_key { KEY_NAME, KEY_DTYPE, KEY_SHAPE, KEY_COUNT, KEY_INDEX, PATCH_KEYS };
static const char *const PATCH_NAMES[PATCH_KEYS] = {"name", "dtype", "shape", "count", "index"};

enum content_key { KEY_VERSION, KEY_DIGEST, CONTENT_KEYS };
static const char *const CONTENT_NAMES[CONTENT_KEYS] = {"version", "digest"};

static const char *const PAYLOAD_NAMES[] = {"bytes"};

static weft_status read_digest(weft_parse *p, uint64_t *digest)
{
    static const char hexadecimal[] = "0123456789abcdef";
    const weft_item *item = &p->reader.item;
    weft_status status = weft_reader_next(&p->reader);
    uint64_t value = 0;
    bool valid =
        item->kind == WEFT_ITEM_QUOTED && item->length == 18 && memcmp(item->text, "0x", 2) == 0;

    if (status != WEFT_OK) {
        return status;
    }
    for (size_t i = 2; valid && i < 18; i++) {
        const char *digit = strchr(hexadecimal, item->text[i]);
        valid = digit != NULL;
        value = valid ? value << 4 | (uint64_t)(digit - hexadecimal) : 0;
    }
    if (!valid) {
        return weft_reader_refuse_item(&p->reader, WEFT_E_META_BAD_DIGEST_TEXT,
                                       "\"0x\" and 16 digits of 0-9 and a-f in quotes");
    }
    *digest = value;
    return WEFT_OK;
}

static weft_status read_content(weft_parse *p, uint64_t *version, uint64_t *digest)
{
    weft_keys keys = {.count = 0};
    unsigned key = 0;
    weft_status status = weft_reader_next(&p->reader);

    if (status == WEFT_OK) {
        status = weft_reader_mapping(&p->reader, &keys, CONTENT_NAMES, CONTENT_KEYS);
    }
    while (status == WEFT_OK) {
        status = weft_reader_key(&p->reader, &keys, &key);
        if (status != WEFT_OK || key == CONTENT_KEYS) {
            break;
        }
        status = key == KEY_VERSION ? weft_reader_integer(&p->reader, 0, UINT64_MAX, version)
                                    : read_digest(p, digest);
    }
    for (key = 0; status == WEFT_OK && key < CONTENT_KEYS; key++) {
        status = weft_reader_require(&p->reader, &keys, key);
    }
    return status;
}

static weft_status read_payload(weft_parse *p)
{
    weft_keys keys = {.count = 0};
    unsigned key = 0;
    weft_status status = weft_reader_next(&p->reader);

    if (status == WEFT_OK) {
        status = weft_reader_mapping(&p->reader, &keys, PAYLOAD_NAMES, 1);
    }
    while (status == WEFT_OK) {
        status = weft_reader_key(&p->reader, &keys, &key);
        if (status != WEFT_OK || key == 1) {
            break;
        }
        status = weft_reader_integer(&p->reader, 0, UINT64_MAX, &p->announced_bytes);
        p->announced_at = p->reader.item.at;
    }
    return status == WEFT_OK ? weft_reader_require(&p->reader, &keys, 0) : status;
}

static weft_status read_index(weft_parse *p, weft_place *index_at, bool *wide)
{
    static const char *const words[2] = {"int32", "int64"};
    unsigned which = 0;
    weft_status status =
        weft_parse_word(p, words, WEFT_E_META_WRONG_LAYOUT, "int32 or int64", &which);

    *index_at = p->reader.item.at;
    *wide = which == 1;
    return status;
}

static weft_status read_patch_value(weft_parse *p, enum patch_key key, weft_announced *a,
                                    weft_place *index_at, bool *wide)
{
    weft_status status = WEFT_OK;

    switch (key) {
    case KEY_NAME:
        status = weft_reader_string(&p->reader);
        return status == WEFT_OK ? weft_parse_name(p, &a->number) : status;
    case KEY_DTYPE:
        status = weft_reader_string(&p->reader);
        a->dtype_at = p->reader.item.at;
        return status == WEFT_OK ? weft_parse_dtype(p, &a->dtype) : status;
    case KEY_SHAPE:
        status = weft_reader_list(&p->reader);
        a->shape_at = p->reader.item.at;
        return status == WEFT_OK ? weft_parse_sizes(p, a->shape, &a->rank) : status;
    case KEY_COUNT:
        status = weft_reader_integer(&p->reader, 0, UINT64_MAX, &a->count);
        a->count_at = p->reader.item.at;
        a->has_count = true;
        return status;
    case KEY_INDEX:
        return read_index(p, index_at, wide);
    case PATCH_KEYS:
        break;
    }
    return status;
}

/* Whether patches must have count and index, the document may say after them: so the first of
 * either sort is remembered. */
static void note_count(weft_parse *p, const weft_keys *keys)
{
    weft_place count = keys->key_at[KEY_COUNT];
    weft_place index = keys->key_at[KEY_INDEX];

    if (p->first_counted == WEFT_ABSENT) {
        p->first_counted = count < index ? count : index;
    }
    if (p->first_uncounted == WEFT_ABSENT && (count == WEFT_ABSENT || index == WEFT_ABSENT)) {
        p->first_uncounted = keys->start;
    }
}

static weft_status read_patch(weft_parse *p, weft_patch *patch)
{
    weft_announced a = {.dtype = WEFT_BF16};
    weft_keys keys = {.count = 0};
    weft_place index_at = 0;
    bool wide = false;
    unsigned key = 0;
    weft_status status = weft_reader_mapping(&p->reader, &keys, PATCH_NAMES, PATCH_KEYS);

    while (status == WEFT_OK) {
        status = weft_reader_key(&p->reader, &keys, &key);
        if (status != WEFT_OK || key == PATCH_KEYS) {
            break;
        }
        status = read_patch_value(p, (enum patch_key)key, &a, &index_at, &wide);
    }
    for (key = KEY_NAME; status == WEFT_OK && key <= KEY_SHAPE; key++) {
        status = weft_reader_require(&p->reader, &keys, key);
    }
    if (status == WEFT_OK) {
        note_count(p, &keys);
        status = weft_parse_patch(p, &a, patch);
    }
    if (status == WEFT_OK && keys.key_at[KEY_INDEX] != WEFT_ABSENT && a.has_count &&
        wide != (patch->index_bytes == 8)) {
        return weft_parse_refuse_tensor(p, &a, WEFT_E_META_WRONG_LAYOUT, index_at,
                                        wide ? "int32" : "int64", wide ? "int64" : "int32");
    }
    return status;
}

static weft_status reserve_patches(weft_parse *p)
{
    size_t most = p->reader.scan->length / PATCH_BYTES_MIN + 1;
    uint64_t bytes;

    p->slot_capacity = most < WEFT_TENSORS_MAX ? most : WEFT_TENSORS_MAX;
    bytes = p->slot_capacity * sizeof *p->slots;
    p->slots = weft_memory_allocate(p->allocator, bytes, WEFT_MEMORY_HOST);
    return p->slots != NULL ? WEFT_OK : weft_parse_no_memory(p, bytes);
}

static weft_status read_patches(weft_parse *p)
{
    weft_status status = reserve_patches(p);

    if (status == WEFT_OK) {
        status = weft_reader_list(&p->reader);
    }
    p->root.value_at[KEY_PATCHES] = p->reader.item.at;
    while (status == WEFT_OK) {
        status = weft_reader_next(&p->reader);
        if (status != WEFT_OK || p->reader.item.kind == WEFT_ITEM_END) {
            break;
        }
        status = weft_parse_number(p, p->slot_count);
        if (status == WEFT_OK) {
            weft_invariant(p->slot_count < p->slot_capacity);
            status = read_patch(p, &p->slots[p->slot_count++].patch);
        }
    }
    return status;
}

static weft_status read_kind(weft_parse *p)
{
    static const char *const words[2] = {"sparse", "baseline"};
    unsigned which = 0;
    weft_status status =
        weft_parse_word(p, words, WEFT_E_META_UNSUPPORTED, "sparse or baseline", &which);

    p->update.kind = which == 0 ? WEFT_SPARSE : WEFT_BASELINE;
    return status;
}

static weft_status read_format(weft_parse *p)
{
    uint64_t format;
    weft_status status = weft_reader_integer(&p->reader, 0, UINT64_MAX, &format);

    if (status == WEFT_OK && format != 1) {
        return weft_reader_refuse_item(&p->reader, WEFT_E_META_UNSUPPORTED,
                                       "version 1 of weft's form");
    }
    return status;
}

static weft_status read_uint32(weft_parse *p, uint64_t least, uint64_t most, uint32_t *value)
{
    uint64_t wide = 0;
    weft_status status = weft_reader_integer(&p->reader, least, most, &wide);

    *value = (uint32_t)wide;
    return status;
}

static weft_status refuse_root_key(const weft_parse *p, weft_root_key key, const char *form)
{
    return weft_parse_refuse_key(p, p->root.key_at[key], WEFT_ROOT_NAMES[key], form);
}

/* The first key of those that stand in place of patches; KEY_NAMES if it has none. */
static weft_root_key counting_key(const weft_parse *p)
{
    weft_root_key key = KEY_MODEL;

    while (key < KEY_NAMES && !weft_parse_has(p, key)) {
        key++;
    }
    return key;
}

/* The model's fingerprint: before anything else is compared. */
static weft_status read_model(weft_parse *p)
{
    uint64_t own = weft_model_fingerprint(p->model);
    uint64_t fingerprint = 0;
    weft_status status = read_digest(p, &fingerprint);

    if (status == WEFT_OK && p->model != NULL && fingerprint != own) {
        return weft_reader_refuse(&p->reader, WEFT_E_MODEL_MISMATCH, p->reader.item.at,
                                  "expected the fingerprint of this model, 0x%016" PRIx64
                                  ", found 0x%016" PRIx64,
                                  own, fingerprint);
    }
    return status;
}

/* model, first or counts. Refused at once beside patches: their memory is one. */
static weft_status read_counting(weft_parse *p, weft_root_key key)
{
    size_t tensors = p->model != NULL ? weft_model_count(p->model) : WEFT_TENSORS_MAX;

    if (weft_parse_has(p, KEY_PATCHES)) {
        return refuse_root_key(p, key, "an update with patches");
    }
    if (key == KEY_MODEL) {
        return read_model(p);
    }
    return key == KEY_FIRST ? weft_reader_integer(&p->reader, 0, tensors, &p->first)
                            : weft_parse_counts(p);
}

/* What a baseline must not have, and a sparse update must. */
static weft_status check_kind(const weft_parse *p)
{
    weft_root_key counting = counting_key(p);

    if (p->update.kind == WEFT_SPARSE) {
        if (p->first_uncounted != WEFT_ABSENT) {
            return weft_reader_refuse(
                &p->reader, WEFT_E_META_MISSING_KEY, p->first_uncounted,
                "expected the keys count and index in a patch of a sparse update");
        }
        return weft_reader_require(&p->reader, &p->root, KEY_BASE);
    }
    if (weft_parse_has(p, KEY_BASE)) {
        return refuse_root_key(p, KEY_BASE, "a baseline");
    }
    if (counting != KEY_NAMES) {
        return refuse_root_key(p, counting, "a baseline");
    }
    if (p->first_counted != WEFT_ABSENT) {
        return weft_parse_refuse_key(p, p->first_counted, "count or index",
                                     "a patch of a baseline");
    }
    if (p->slot_count == 0) {
        return weft_reader_refuse(&p->reader, WEFT_E_META_EMPTY, p->root.value_at[KEY_PATCHES],
                                  "expected at least one patch in a baseline");
    }
    return WEFT_OK;
}

static weft_status check_keys(const weft_parse *p)
{
    bool counts = counting_key(p) != KEY_NAMES;
    weft_status status = WEFT_OK;

    for (unsigned key = KEY_WEFT; status == WEFT_OK && key < KEY_NAMES; key++) {
        bool required = key < KEY_PATCHES ? key != KEY_BASE : (key != KEY_PATCHES) == counts;
        if (required && (key <= KEY_PATCHES || p->update.kind == WEFT_SPARSE)) {
            status = weft_reader_require(&p->reader, &p->root, key);
        }
    }
    return status == WEFT_OK ? check_kind(p) : status;
}

static weft_status copy_patches(weft_parse *p)
{
    weft_status status = weft_parse_allocate(p, p->slot_count);

    if (status == WEFT_OK && p->slot_count > 0) {
        memcpy(p->update.patches, p->slots, p->slot_count * sizeof *p->slots);
    }
    return status;
}

weft_status weft_parse_manifest_finish(weft_parse *p)
{
    bool counts = weft_parse_has(p, KEY_COUNTS);
    weft_status status = check_keys(p);

    if (status == WEFT_OK && p->update.number >= p->update.of) {
        return weft_reader_refuse(&p->reader, WEFT_E_META_OVERFLOW, p->root.value_at[KEY_UPDATE],
                                  "expected an update below %u, found %u", p->update.of,
                                  p->update.number);
    }
    if (status == WEFT_OK) {
        status = counts ? weft_parse_counts_finish(p) : copy_patches(p);
    }
    p->update.form = counts ? WEFT_FORM_WEFT_COUNTS : WEFT_FORM_WEFT;
    p->update.has_session = true;
    return status;
}

weft_status weft_parse_manifest_value(weft_parse *p, weft_root_key key)
{
    weft_update *u = &p->update;

    switch (key) {
    case KEY_WEFT:
        return read_format(p);
    case KEY_EPOCH:
        return weft_reader_integer(&p->reader, 1, UINT64_MAX, &u->epoch);
    case KEY_KIND:
        return read_kind(p);
    case KEY_UPDATE:
        return read_uint32(p, 0, WEFT_UPDATES_MAX - 1, &u->number);
    case KEY_UPDATES:
        return read_uint32(p, 1, WEFT_UPDATES_MAX, &u->of);
    case KEY_BASE:
        return read_content(p, &u->base_version, &u->base_digest);
    case KEY_TARGET:
        return read_content(p, &u->target_version, &u->target_digest);
    case KEY_PAYLOAD:
        return read_payload(p);
    case KEY_PATCHES:
        return counting_key(p) == KEY_NAMES
                   ? read_patches(p)
                   : refuse_root_key(p, key, "an update with model, first or counts");
    case KEY_MODEL:
    case KEY_FIRST:
    case KEY_COUNTS:
        return read_counting(p, key);
    case KEY_NAMES:
    case KEY_DTYPE_NAMES:
    case KEY_SHAPES:
    case KEY_NUM_UPDATES:
    case KEY_UPDATE_KIND:
    case KEY_PACKED:
    case ROOT_KEYS:
        break;
    }
    return WEFT_OK;
}
