/* The names that one document has used. */
#include "update_names.h"

#include <string.h>

#include "digest.h"
#include "invariant.h"
#include "memory.h"

static weft_status open_with_model(weft_names *names, const weft_allocator *allocator)
{
    names->seen_bytes = (weft_model_count(names->model) / 64 + 1) * sizeof *names->seen;
    names->seen = weft_memory_allocate(allocator, names->seen_bytes, WEFT_MEMORY_HOST);
    if (names->seen == NULL) {
        return WEFT_E_OUT_OF_MEMORY;
    }
    memset(names->seen, 0, (size_t)names->seen_bytes);
    return WEFT_OK;
}

/* Names that are different take more than one byte each: 128 at most have one, 16384 two, all
 * others three or more, and each has a byte that parts it from the next. So there are at most
 * bytes / 4 + 4160. */
static uint64_t most_names(size_t items, size_t bytes)
{
    uint64_t most = (uint64_t)bytes / 4 + 4160;

    most = items < most ? items : most;
    return most < WEFT_TENSORS_MAX ? most : WEFT_TENSORS_MAX;
}

/* An escape of two bytes can stand for a character of three, and each name has two bytes for its
 * length beside at least one of its own and two that part it from the next: bytes / 2 more cover
 * both. */
static weft_status open_without_model(weft_names *names, size_t items, size_t bytes,
                                      const weft_allocator *allocator)
{
    names->slot_count = 64;
    while (names->slot_count < 2 * most_names(items, bytes)) {
        names->slot_count *= 2;
    }
    names->pool_bytes = 2 * (uint64_t)bytes + 1; /* an empty document has a pool as well */
    names->slots =
        weft_memory_allocate(allocator, names->slot_count * sizeof *names->slots, WEFT_MEMORY_HOST);
    names->pool = weft_memory_allocate(allocator, names->pool_bytes, WEFT_MEMORY_HOST);
    if (names->slots == NULL || names->pool == NULL) {
        return WEFT_E_OUT_OF_MEMORY;
    }
    names->start = weft_digest_mix((uint64_t)(uintptr_t)names->pool);
    memset(names->slots, 0, (size_t)(names->slot_count * sizeof *names->slots));
    return WEFT_OK;
}

weft_status weft_names_open(weft_names *names, const weft_model *model, size_t items, size_t bytes,
                            const weft_allocator *allocator)
{
    *names = (weft_names){.model = model};
    return model != NULL ? open_with_model(names, allocator)
                         : open_without_model(names, items, bytes, allocator);
}

void weft_names_close(weft_names *names, const weft_allocator *allocator)
{
    weft_memory_release(allocator, names->seen, names->seen_bytes, WEFT_MEMORY_HOST);
    weft_memory_release(allocator, names->slots, names->slot_count * sizeof *names->slots,
                        WEFT_MEMORY_HOST);
    weft_memory_release(allocator, names->pool, names->pool_bytes, WEFT_MEMORY_HOST);
    *names = (weft_names){.model = NULL};
}

static weft_status add_to_model(weft_names *names, const char *name, size_t length, size_t *number)
{
    size_t found;
    uint64_t bit;

    if (weft_model_find(names->model, name, length, &found) != WEFT_OK) {
        return WEFT_E_META_UNKNOWN_TENSOR;
    }
    bit = UINT64_C(1) << (found % 64);
    if ((names->seen[found / 64] & bit) != 0) {
        return WEFT_E_META_DUPLICATE_TENSOR;
    }
    names->seen[found / 64] |= bit;
    *number = found;
    return WEFT_OK;
}

static bool is_at(const weft_names *names, uint32_t slot, const char *name, size_t length)
{
    const char *record = names->pool + slot - 1;
    uint16_t stored;

    memcpy(&stored, record, sizeof stored);
    return stored == length && memcmp(record + sizeof stored, name, length) == 0;
}

static weft_status add_to_pool(weft_names *names, const char *name, size_t length, size_t *number)
{
    uint64_t slot = weft_digest_bytes(name, length, names->start) & (names->slot_count - 1);
    uint16_t stored = (uint16_t)length;

    while (names->slots[slot] != 0) {
        if (is_at(names, names->slots[slot], name, length)) {
            return WEFT_E_META_DUPLICATE_TENSOR;
        }
        slot = (slot + 1) & (names->slot_count - 1);
    }
    weft_invariant(names->count < names->slot_count / 2);
    weft_invariant(length <= WEFT_NAME_MAX &&
                   names->pool_used + sizeof stored + length <= names->pool_bytes);
    names->slots[slot] = (uint32_t)names->pool_used + 1;
    memcpy(names->pool + names->pool_used, &stored, sizeof stored);
    memcpy(names->pool + names->pool_used + sizeof stored, name, length);
    names->pool_used += sizeof stored + length;
    *number = names->count++;
    return WEFT_OK;
}

weft_status weft_names_add(weft_names *names, const char *name, size_t length, size_t *number)
{
    return names->model != NULL ? add_to_model(names, name, length, number)
                                : add_to_pool(names, name, length, number);
}

const char *weft_names_text(const weft_names *names, size_t number, size_t *length)
{
    const char *record = names->pool;
    uint16_t stored;

    if (names->model != NULL) {
        const char *name = weft_model_tensor(names->model, number)->name;
        *length = strlen(name);
        return name;
    }
    for (;; number--) {
        memcpy(&stored, record, sizeof stored);
        record += sizeof stored;
        if (number == 0) {
            *length = stored;
            return record;
        }
        record += stored;
    }
}
