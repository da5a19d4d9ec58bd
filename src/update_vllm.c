/* vLLM's forms: columns (names, shapes, ...) of one length, kept as entries until the end, as
 * keys come in any order.
 *
 *      entries   | names ... | dtype_names ... | rank, sizes, rank, sizes, ... | counts ... |
 */
#include "update_parse.h"

#include "invariant.h"
#include "memory.h"

static weft_entry *add_entry(weft_parse *p)
{
    weft_invariant(p->entry_count < p->entry_capacity);
    return &p->entries[p->entry_count++];
}

static weft_status take_shape_entry(weft_parse *p)
{
    uint64_t shape[WEFT_RANK_MAX];
    uint32_t rank = 0;
    weft_entry *e = add_entry(p);
    weft_status status;

    *e = (weft_entry){.at = p->reader.item.at};
    if (p->reader.item.kind != WEFT_ITEM_LIST) {
        return weft_reader_refuse_item(&p->reader, WEFT_E_META_WRONG_TYPE,
                                       "a shape, which is a list");
    }
    status = weft_parse_sizes(p, shape, &rank);
    e->value = rank;
    for (uint32_t i = 0; status == WEFT_OK && i < rank; i++) {
        *add_entry(p) = (weft_entry){.value = shape[i]};
    }
    return status;
}

static weft_status take_entry(weft_parse *p, weft_root_key key)
{
    weft_entry *e;
    size_t number = 0;
    weft_status status;

    if (key == KEY_SHAPES) {
        return take_shape_entry(p);
    }
    e = add_entry(p);
    *e = (weft_entry){.at = p->reader.item.at};
    if (key == KEY_NUM_UPDATES) {
        return weft_reader_to_integer(&p->reader, 0, UINT64_MAX, &e->value);
    }
    status = weft_reader_to_string(&p->reader);
    if (status == WEFT_OK && key == KEY_NAMES) {
        status = weft_parse_name(p, &number);
        e->value = number;
    } else if (status == WEFT_OK) {
        weft_dtype dtype = WEFT_BF16;
        status = weft_parse_dtype(p, &dtype);
        e->value = dtype;
    }
    return status;
}

static weft_status reserve_entries(weft_parse *p)
{
    uint64_t bytes;

    if (p->entries != NULL) {
        return WEFT_OK;
    }
    p->entry_capacity = weft_scan_items(p->reader.scan);
    bytes = p->entry_capacity * sizeof *p->entries;
    p->entries = weft_memory_allocate(p->allocator, bytes, WEFT_MEMORY_HOST);
    return p->entries != NULL ? WEFT_OK : weft_parse_no_memory(p, bytes);
}

static weft_status read_column(weft_parse *p, weft_root_key key)
{
    weft_column *c = &p->columns[key];
    weft_status status = reserve_entries(p);

    if (status == WEFT_OK) {
        status = weft_reader_list(&p->reader);
    }
    p->root.value_at[key] = p->reader.item.at;
    c->first = p->entry_count;
    for (; status == WEFT_OK; c->count++) {
        status = weft_reader_next(&p->reader);
        if (status == WEFT_OK && p->reader.item.kind == WEFT_ITEM_END) {
            break;
        }
        if (status == WEFT_OK) {
            status = weft_parse_number(p, c->count);
        }
        if (status == WEFT_OK) {
            status = take_entry(p, key);
        }
    }
    if (status == WEFT_OK && c->count == 0) {
        return weft_reader_refuse(&p->reader, WEFT_E_META_EMPTY, p->root.value_at[key],
                                  "expected at least one item in %s", WEFT_ROOT_NAMES[key]);
    }
    return status;
}

static weft_status read_update_kind(weft_parse *p)
{
    static const char *const words[2] = {"dense", "sparse_flat"};
    unsigned which = 0;
    weft_status status =
        weft_parse_word(p, words, WEFT_E_META_UNSUPPORTED, "dense or sparse_flat", &which);

    p->sparse_flat = which == 1;
    return status;
}

static weft_status read_packed(weft_parse *p)
{
    bool packed = false;
    weft_status status = weft_reader_boolean(&p->reader, &packed);

    if (status == WEFT_OK && packed) {
        return weft_reader_refuse_item(&p->reader, WEFT_E_META_UNSUPPORTED, "packed to be false");
    }
    return status;
}

static weft_status check_vllm_form(weft_parse *p)
{
    weft_status status = WEFT_OK;

    for (unsigned key = KEY_NAMES; status == WEFT_OK && key <= KEY_SHAPES; key++) {
        status = weft_reader_require(&p->reader, &p->root, key);
    }
    if (status == WEFT_OK && p->sparse_flat) {
        status = weft_reader_require(&p->reader, &p->root, KEY_NUM_UPDATES);
    }
    if (status != WEFT_OK) {
        return status;
    }
    if (weft_parse_has(p, KEY_UPDATE_KIND) && !p->sparse_flat &&
        weft_parse_has(p, KEY_NUM_UPDATES)) {
        return weft_parse_refuse_key(p, p->root.key_at[KEY_NUM_UPDATES],
                                     WEFT_ROOT_NAMES[KEY_NUM_UPDATES], "a dense update");
    }
    if (!weft_parse_has(p, KEY_UPDATE_KIND) && weft_parse_has(p, KEY_NUM_UPDATES) &&
        weft_parse_has(p, KEY_PACKED)) {
        return weft_parse_refuse_key(p, p->root.key_at[KEY_PACKED], WEFT_ROOT_NAMES[KEY_PACKED],
                                     "a sparse update");
    }
    p->update.kind = weft_parse_has(p, KEY_NUM_UPDATES) ? WEFT_SPARSE : WEFT_BASELINE;
    p->update.form = weft_parse_has(p, KEY_NUM_UPDATES)
                         ? (p->sparse_flat ? WEFT_FORM_VLLM_MVP : WEFT_FORM_VLLM_SPARSE)
                         : WEFT_FORM_VLLM_DENSE;
    return WEFT_OK;
}

static weft_status check_lengths(const weft_parse *p)
{
    size_t names = p->columns[KEY_NAMES].count;

    for (unsigned key = KEY_DTYPE_NAMES; key <= KEY_NUM_UPDATES; key++) {
        if (weft_parse_has(p, key) && p->columns[key].count != names) {
            return weft_reader_refuse(&p->reader, WEFT_E_META_LENGTHS_DIFFER, p->root.value_at[key],
                                      "expected %zu items in %s, found %zu", names,
                                      WEFT_ROOT_NAMES[key], p->columns[key].count);
        }
    }
    return WEFT_OK;
}

/* The tensor in row i of the columns; *shape is the entry of its shape and moves on to the next
 * one's. */
static weft_announced announced_in_row(const weft_parse *p, size_t i, size_t *shape)
{
    const weft_entry *name = &p->entries[p->columns[KEY_NAMES].first + i];
    const weft_entry *dtype = &p->entries[p->columns[KEY_DTYPE_NAMES].first + i];
    const weft_entry *rank = &p->entries[*shape];
    weft_announced a = {.number = (size_t)name->value,
                        .dtype = (weft_dtype)dtype->value,
                        .dtype_at = dtype->at,
                        .rank = (uint32_t)rank->value,
                        .shape_at = rank->at,
                        .has_count = weft_parse_has(p, KEY_NUM_UPDATES)};

    for (uint32_t k = 0; k < a.rank; k++) {
        a.shape[k] = rank[1 + k].value;
    }
    *shape += 1 + (size_t)a.rank;
    if (a.has_count) {
        a.count = p->entries[p->columns[KEY_NUM_UPDATES].first + i].value;
        a.count_at = p->entries[p->columns[KEY_NUM_UPDATES].first + i].at;
    }
    return a;
}

weft_status weft_parse_vllm_finish(weft_parse *p)
{
    size_t shape = p->columns[KEY_SHAPES].first;
    weft_status status = check_vllm_form(p);

    if (status == WEFT_OK) {
        status = check_lengths(p);
    }
    if (status == WEFT_OK) {
        status = weft_parse_allocate(p, p->columns[KEY_NAMES].count);
    }
    for (size_t i = 0; status == WEFT_OK && i < p->update.count; i++) {
        weft_announced a = announced_in_row(p, i, &shape);
        status = weft_parse_patch(p, &a, &p->update.patches[i]);
        if (status == WEFT_OK && p->update.patches[i].index_bytes == 8) {
            return weft_parse_refuse_tensor(p, &a, WEFT_E_META_UNSUPPORTED, a.shape_at,
                                            "fewer than 2147483648 elements, as indices are int32",
                                            "more");
        }
    }
    return status;
}

weft_status weft_parse_vllm_value(weft_parse *p, weft_root_key key)
{
    if (key == KEY_UPDATE_KIND) {
        return read_update_kind(p);
    }
    return key == KEY_PACKED ? read_packed(p) : read_column(p, key);
}
