/* The registry of a model's tensors, and the digest of their content.
 *
 *      chunks   table of pointers to CHUNK entries each: an entry never moves, so a weft_tensor
 *               pointer lives as long as the model
 *      blocks   the names, NUL-terminated, packed into blocks that never move
 *      slots    open addressing with linear probing over tensor number + 1; 0 is empty; at most
 *               half full
 *      order    the tensors by name, and for each number where it stands there; once sorted
 */
#include "model.h"

#include "device.h"
#include "digest.h"
#include "invariant.h"
#include "memory.h"
#include "utf8.h"

#include <string.h>

#define CHUNK        512u
#define CHUNKS       (WEFT_TENSORS_MAX / CHUNK)
#define BLOCK_BYTES  16384u
#define SLOTS_FIRST  64u
#define DIGEST_BATCH 64u

_Static_assert(WEFT_TENSORS_MAX % CHUNK == 0, "the table of chunks holds exactly the limit");
_Static_assert(WEFT_TENSORS_MAX < UINT32_MAX / 2, "a slot holds a tensor's number + 1");
_Static_assert((SLOTS_FIRST & (SLOTS_FIRST - 1)) == 0, "the number of slots is a power of two");

typedef struct entry {
    weft_tensor tensor;
    uint64_t elements;
    uint64_t seed;
    uint64_t name_hash;
    size_t name_length;
} entry;

typedef struct block {
    struct block *next;
    size_t used;
    char names[BLOCK_BYTES];
} block;

_Static_assert(BLOCK_BYTES > WEFT_FILE_NAME_MAX, "every name fits into a block");

struct weft_model {
    weft_allocator allocator;
    size_t count;
    size_t users;
    size_t name_max;
    uint64_t hash_start; /* differs from run to run, so that no file can be made whose names all
                            collide */
    uint64_t fingerprint;
    block *blocks;
    uint32_t *slots;
    size_t slot_count; /* 0 or a power of two */
    bool sorted;
    weft_ordered *order; /* NULL unless sorted, and of a model without tensors */
    uint32_t *positions;
    entry *chunks[CHUNKS];
};

static entry *entry_of(const weft_model *model, size_t number)
{
    return &model->chunks[number / CHUNK][number % CHUNK];
}

static const char *name_of(const weft_model *model, size_t number)
{
    return entry_of(model, number)->tensor.name;
}

/* The slot that holds this name, or the empty one where it belongs. */
static size_t find_slot(const weft_model *model, const char *name, size_t length, uint64_t hash)
{
    size_t mask = model->slot_count - 1;
    size_t slot = (size_t)hash & mask;

    while (model->slots[slot] != 0) {
        const entry *e = entry_of(model, model->slots[slot] - 1);
        if (e->name_hash == hash && e->name_length == length &&
            memcmp(e->tensor.name, name, length) == 0) {
            break;
        }
        slot = (slot + 1) & mask;
    }
    return slot;
}

static uint64_t slot_bytes(size_t slot_count)
{
    return (uint64_t)slot_count * sizeof(uint32_t);
}

/* Makes room for one more tensor with the table still half empty. */
static bool reserve_slot(weft_model *model)
{
    size_t count = model->slot_count == 0 ? SLOTS_FIRST : model->slot_count * 2;
    uint32_t *slots;

    if (model->count < model->slot_count / 2) {
        return true;
    }
    slots = weft_memory_allocate(&model->allocator, slot_bytes(count), WEFT_MEMORY_HOST);
    if (slots == NULL) {
        return false;
    }
    memset(slots, 0, (size_t)slot_bytes(count));
    for (size_t number = 0; number < model->count; number++) {
        size_t slot = (size_t)entry_of(model, number)->name_hash & (count - 1);
        while (slots[slot] != 0) {
            slot = (slot + 1) & (count - 1);
        }
        slots[slot] = (uint32_t)number + 1;
    }
    weft_memory_release(&model->allocator, model->slots, slot_bytes(model->slot_count),
                        WEFT_MEMORY_HOST);
    model->slots = slots;
    model->slot_count = count;
    return true;
}

static bool reserve_entry(weft_model *model)
{
    entry **chunk = &model->chunks[model->count / CHUNK];

    if (*chunk == NULL) {
        *chunk = weft_memory_allocate(&model->allocator, CHUNK * sizeof(entry), WEFT_MEMORY_HOST);
    }
    return *chunk != NULL;
}

static bool reserve_name(weft_model *model, size_t length)
{
    block *fresh;

    if (model->blocks != NULL && BLOCK_BYTES - model->blocks->used > length) {
        return true;
    }
    fresh = weft_memory_allocate(&model->allocator, sizeof *fresh, WEFT_MEMORY_HOST);
    if (fresh == NULL) {
        return false;
    }
    fresh->next = model->blocks;
    fresh->used = 0;
    model->blocks = fresh;
    return true;
}

/* Into the room that reserve_name made. */
static const char *copy_name(weft_model *model, const char *name, size_t length)
{
    char *copy = model->blocks->names + model->blocks->used;

    memcpy(copy, name, length);
    copy[length] = '\0';
    model->blocks->used += length + 1;
    return copy;
}

static uint64_t order_bytes(const weft_model *model)
{
    return (uint64_t)model->count * sizeof *model->order;
}

static uint64_t number_bytes(const weft_model *model)
{
    return (uint64_t)model->count * sizeof *model->positions;
}

static void drop_order(weft_model *model)
{
    weft_memory_release(&model->allocator, model->order, order_bytes(model), WEFT_MEMORY_HOST);
    weft_memory_release(&model->allocator, model->positions, number_bytes(model), WEFT_MEMORY_HOST);
    model->order = NULL;
    model->positions = NULL;
    model->sorted = false;
}

static weft_status create(weft_model **model, const weft_allocator *allocator, size_t name_max)
{
    weft_allocator chosen = weft_memory_allocator(allocator);
    weft_model *fresh;

    fresh = weft_memory_allocate(&chosen, sizeof *fresh, WEFT_MEMORY_HOST);
    if (fresh == NULL) {
        return WEFT_E_OUT_OF_MEMORY;
    }
    memset(fresh, 0, sizeof *fresh);
    fresh->allocator = chosen;
    fresh->name_max = name_max;
    fresh->hash_start = weft_digest_mix((uint64_t)(uintptr_t)fresh);
    *model = fresh;
    return WEFT_OK;
}

weft_status weft_model_create(weft_model **model, const weft_allocator *allocator)
{
    return model == NULL ? WEFT_E_INVALID_ARGUMENT : create(model, allocator, WEFT_NAME_MAX);
}

weft_status weft_model_create_for_file(weft_model **model, const weft_allocator *allocator)
{
    return create(model, allocator, WEFT_FILE_NAME_MAX);
}

void weft_model_destroy(weft_model *model)
{
    weft_allocator allocator;

    if (model == NULL) {
        return;
    }
    allocator = model->allocator;
    drop_order(model);
    for (size_t i = 0; i < CHUNKS && model->chunks[i] != NULL; i++) {
        weft_memory_release(&allocator, model->chunks[i], CHUNK * sizeof(entry), WEFT_MEMORY_HOST);
    }
    while (model->blocks != NULL) {
        block *next = model->blocks->next;
        weft_memory_release(&allocator, model->blocks, sizeof *model->blocks, WEFT_MEMORY_HOST);
        model->blocks = next;
    }
    weft_memory_release(&allocator, model->slots, slot_bytes(model->slot_count), WEFT_MEMORY_HOST);
    weft_memory_release(&allocator, model, sizeof *model, WEFT_MEMORY_HOST);
}

bool weft_model_count_elements(weft_dtype dtype, uint32_t rank, const uint64_t *shape,
                               uint64_t *elements)
{
    uint64_t product = 1;
    uint64_t bytes = 0;

    /* A size of 0 makes an empty tensor, whatever the other sizes and wherever it stands. */
    for (uint32_t i = 0; i < rank; i++) {
        if (shape[i] == 0) {
            *elements = 0;
            return true;
        }
    }
    for (uint32_t i = 0; i < rank; i++) {
        if (!weft_size_multiply(product, shape[i], &product)) {
            return false;
        }
    }
    if (!weft_size_multiply(product, weft_dtype_bytes(dtype), &bytes)) {
        return false;
    }
    *elements = product;
    return true;
}

/* Checks what weft_model_add promises, and counts the name's bytes and the elements. */
static weft_status check_tensor(const weft_tensor *tensor, size_t name_max, size_t *length,
                                uint64_t *elements)
{
    if (tensor->name == NULL || weft_dtype_bytes(tensor->dtype) == 0 ||
        tensor->rank > WEFT_RANK_MAX) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    *length = strnlen(tensor->name, name_max + 1);
    if (*length == 0 || *length > name_max || weft_utf8_prefix(tensor->name, *length) != *length) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (!weft_model_count_elements(tensor->dtype, tensor->rank, tensor->shape, elements)) {
        return WEFT_E_SIZE_OVERFLOW;
    }
    return tensor->data == NULL && *elements != 0 ? WEFT_E_INVALID_ARGUMENT : WEFT_OK;
}

/* Everything that can fail comes before the first change that a caller could see. */
weft_status weft_model_add(weft_model *model, const weft_tensor *tensor)
{
    size_t length = 0;
    uint64_t elements = 0;
    uint64_t hash;
    weft_status status;
    size_t slot;
    entry *e;

    if (model == NULL || tensor == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    status = check_tensor(tensor, model->name_max, &length, &elements);
    if (status != WEFT_OK) {
        return status;
    }
    if (model->users != 0) {
        return WEFT_E_MODEL_IN_USE;
    }
    hash = weft_digest_bytes(tensor->name, length, model->hash_start);
    if (model->slot_count != 0 && model->slots[find_slot(model, tensor->name, length, hash)] != 0) {
        return WEFT_E_DUPLICATE_TENSOR;
    }
    if (model->count == WEFT_TENSORS_MAX) {
        return WEFT_E_LIMIT;
    }
    if (!reserve_slot(model) || !reserve_entry(model) || !reserve_name(model, length)) {
        return WEFT_E_OUT_OF_MEMORY;
    }
    drop_order(model);
    slot = find_slot(model, tensor->name, length, hash);
    e = entry_of(model, model->count);
    *e = (entry){.tensor = *tensor, .elements = elements, .name_hash = hash, .name_length = length};
    e->tensor.name = copy_name(model, tensor->name, length);
    /* Sizes past the rank are not part of the tensor. */
    memset(e->tensor.shape + tensor->rank, 0,
           (WEFT_RANK_MAX - tensor->rank) * sizeof tensor->shape[0]);
    e->seed = weft_digest_tensor_seed(&e->tensor);
    model->fingerprint += e->seed;
    model->count++;
    model->slots[slot] = (uint32_t)model->count;
    return WEFT_OK;
}

size_t weft_model_count(const weft_model *model)
{
    return model == NULL ? 0 : model->count;
}

const weft_tensor *weft_model_tensor(const weft_model *model, size_t number)
{
    return number < weft_model_count(model) ? &entry_of(model, number)->tensor : NULL;
}

weft_status weft_model_find(const weft_model *model, const char *name, size_t length,
                            size_t *number)
{
    size_t slot;

    if (model == NULL || name == NULL || number == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    /* The limit also bounds the hashing of a name that cannot be here. */
    if (model->count == 0 || length > model->name_max) {
        return WEFT_E_UNKNOWN_TENSOR_NAME;
    }
    slot = find_slot(model, name, length, weft_digest_bytes(name, length, model->hash_start));
    if (model->slots[slot] == 0) {
        return WEFT_E_UNKNOWN_TENSOR_NAME;
    }
    *number = model->slots[slot] - 1;
    return WEFT_OK;
}

uint64_t weft_model_elements(const weft_model *model, size_t number)
{
    return number < weft_model_count(model) ? entry_of(model, number)->elements : 0;
}

uint64_t weft_model_fingerprint(const weft_model *model)
{
    return model == NULL ? 0 : model->fingerprint;
}

uint64_t weft_model_seed(const weft_model *model, size_t number)
{
    return number < weft_model_count(model) ? entry_of(model, number)->seed : 0;
}

uint8_t weft_model_index_bytes(const weft_model *model, size_t number)
{
    return weft_model_elements(model, number) >= UINT64_C(1) << 31 ? 8 : 4;
}

/* ---- the canonical order ---- */

/* Merges the sorted runs of `from` that begin at begin and at middle; no two names are equal. */
static void merge(const weft_model *model, const uint32_t *from, uint32_t *to, size_t begin,
                  size_t middle, size_t end)
{
    size_t left = begin;
    size_t right = middle;

    for (size_t i = begin; i < end; i++) {
        bool take_left = left < middle && (right == end || strcmp(name_of(model, from[left]),
                                                                  name_of(model, from[right])) < 0);
        to[i] = take_left ? from[left++] : from[right++];
    }
}

/* The numbers 0 to count - 1 sorted by name; they end in one of the two arrays, which is told. */
static const uint32_t *sort(const weft_model *model, uint32_t *numbers, uint32_t *spare)
{
    for (size_t i = 0; i < model->count; i++) {
        numbers[i] = (uint32_t)i;
    }
    for (size_t run = 1; run < model->count; run *= 2) {
        uint32_t *from = numbers;
        for (size_t begin = 0; begin < model->count; begin += 2 * run) {
            size_t left = model->count - begin;
            merge(model, from, spare, begin, begin + (run < left ? run : left),
                  begin + (2 * run < left ? 2 * run : left));
        }
        numbers = spare;
        spare = from;
    }
    return numbers;
}

static void fill_order(weft_model *model, const uint32_t *numbers)
{
    for (size_t i = 0; i < model->count; i++) {
        const entry *e = entry_of(model, numbers[i]);
        model->order[i] = (weft_ordered){
            .data = e->tensor.data,
            .elements = e->elements,
            .seed = e->seed,
            .tensor = numbers[i],
            .index_bytes = weft_model_index_bytes(model, numbers[i]),
            .element_bytes = (uint8_t)weft_dtype_bytes(e->tensor.dtype),
        };
    }
    for (size_t i = 0; i < model->count; i++) { /* numbers may stand in the same memory */
        model->positions[model->order[i].tensor] = (uint32_t)i;
    }
}

weft_status weft_model_sort(weft_model *model)
{
    uint32_t *spare;

    if (model->sorted || model->count == 0) {
        model->sorted = true;
        return WEFT_OK;
    }
    spare = weft_memory_allocate(&model->allocator, number_bytes(model), WEFT_MEMORY_HOST);
    model->order = weft_memory_allocate(&model->allocator, order_bytes(model), WEFT_MEMORY_HOST);
    model->positions =
        weft_memory_allocate(&model->allocator, number_bytes(model), WEFT_MEMORY_HOST);
    if (spare != NULL && model->order != NULL && model->positions != NULL) {
        fill_order(model, sort(model, model->positions, spare));
        model->sorted = true;
    } else {
        drop_order(model);
    }
    weft_memory_release(&model->allocator, spare, number_bytes(model), WEFT_MEMORY_HOST);
    return model->sorted ? WEFT_OK : WEFT_E_OUT_OF_MEMORY;
}

bool weft_model_is_sorted(const weft_model *model)
{
    return model->sorted;
}

const weft_ordered *weft_model_order(const weft_model *model)
{
    weft_invariant(model->sorted);
    return model->order;
}

size_t weft_model_position(const weft_model *model, size_t number)
{
    weft_invariant(model->sorted && number < model->count);
    return model->positions[number];
}

void weft_model_acquire(weft_model *model)
{
    model->users++;
}

void weft_model_release(weft_model *model)
{
    weft_invariant(model->users != 0);
    model->users--;
}

static bool same_tensor(const entry *a, const entry *b)
{
    return a->name_length == b->name_length &&
           memcmp(a->tensor.name, b->tensor.name, a->name_length) == 0 &&
           a->tensor.dtype == b->tensor.dtype && a->tensor.rank == b->tensor.rank &&
           memcmp(a->tensor.shape, b->tensor.shape, sizeof a->tensor.shape) == 0;
}

bool weft_model_same(const weft_model *a, const weft_model *b, size_t *number)
{
    size_t common = a->count < b->count ? a->count : b->count;

    for (size_t i = 0; i < common; i++) {
        if (!same_tensor(entry_of(a, i), entry_of(b, i))) {
            *number = i;
            return false;
        }
    }
    if (a->count != b->count) {
        *number = common;
        return false;
    }
    return true;
}

/* The digest is a sum, so the tensors are taken in batches that need no allocation. */
weft_status weft_model_digest(const weft_model *model, const weft_device *device, uint64_t *digest)
{
    weft_segment segments[DIGEST_BATCH];
    size_t used = 0;
    uint64_t sum = 0;

    if (model == NULL || device == NULL || digest == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    for (size_t number = 0; number < model->count; number++) {
        const entry *e = entry_of(model, number);
        if (e->elements != 0) {
            segments[used++] = (weft_segment){
                .target = e->tensor.data,
                .elements = e->elements,
                .seed = e->seed,
                .tensor = (uint32_t)number,
                .element_bytes = (uint8_t)weft_dtype_bytes(e->tensor.dtype),
            };
        }
        if (used == DIGEST_BATCH || (number + 1 == model->count && used != 0)) {
            weft_device_result result = {.status = WEFT_OK};
            weft_status status =
                weft_device_run(device, WEFT_DEVICE_DIGEST, segments, used, &result);
            if (status != WEFT_OK) {
                return status;
            }
            sum += result.digest;
            used = 0;
        }
    }
    *digest = sum;
    return WEFT_OK;
}
