/* diff of the host device.
 *
 * Both versions are read in strides that stay in the first-level cache: first every 64-byte line is
 * reduced to a mask of the bytes that differ, then the lines that differ are looked at more
 * closely. Where about one element in a hundred differs, the first step is nearly all of the work.
 *
 *      payload   | indices of all tensors ...  (room to spare) | values of all tensors ... |
 *
 * How much differs is not known before the end, and memory must not be twice what is needed. So the
 * sizes of the two sections are guessed from a sample of the strides; a pass writes what fits and
 * counts what does not. If all fitted, the values are moved down to where the indices end; if not,
 * the sizes are known now, and a second pass fits exactly. */
#include "device_host.h"

#include "digest.h"
#include "memory.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define LINE          64u   /* bytes */
#define STRIDE        4096u /* bytes of each version that are compared at once */
#define LINES         (STRIDE / LINE)
#define SAMPLE        64u /* one stride of so many is looked at for the guess */
#define SECTION_LEAST UINT64_C(65536)

_Static_assert(STRIDE <= UINT16_MAX, "a position in a stride fits 16 bits");

/* The indices or the values of all tensors. */
struct section {
    uint8_t *bytes;
    uint64_t capacity;
    uint64_t used; /* above capacity: how much it would have been */
};

/* One pass over all tensors. */
struct pass {
    struct section indices, values;
    uint64_t digest; /* right if everything fitted */
};

/* ---- sections ---- */

static uint64_t align8(uint64_t bytes)
{
    return (bytes + 7) & ~UINT64_C(7);
}

static bool fits(const struct section *section)
{
    return section->used <= section->capacity;
}

/* Room for so many bytes (not 0) more, or NULL; they are counted in any case. */
static uint8_t *append(struct section *section, uint64_t bytes)
{
    uint64_t start = section->used;

    section->used += bytes;
    return fits(section) ? section->bytes + start : NULL;
}

/* Zeros up to a multiple of 8, where the part of every tensor begins, and the payload ends. */
static void pad(struct section *section)
{
    uint64_t bytes = align8(section->used) - section->used;
    uint8_t *room = bytes == 0 ? NULL : append(section, bytes);

    if (room != NULL) {
        memset(room, 0, bytes);
    }
}

/* ---- finding what differs ---- */

/* One bit for each byte of a line that differs. */
#if defined(__SSE2__)
WEFT_ALWAYS_INLINE uint64_t mask_bytes(const uint8_t *before, const uint8_t *after)
{
    uint64_t equal = 0;

    for (unsigned i = 0; i < LINE / 16; i++) {
        __m128i a = _mm_loadu_si128((const void *)(before + (size_t)16 * i));
        __m128i b = _mm_loadu_si128((const void *)(after + (size_t)16 * i));
        equal |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(a, b)) << (16 * i);
    }
    return ~equal;
}
#else
WEFT_ALWAYS_INLINE uint64_t mask_bytes(const uint8_t *before, const uint8_t *after)
{
    const uint64_t low7 = UINT64_C(0x7f7f7f7f7f7f7f7f);
    uint64_t mask = 0;

    for (unsigned i = 0; i < LINE / 8; i++) {
        uint64_t difference = weft_host_load(before, i, 8) ^ weft_host_load(after, i, 8);
        /* The highest bit of each byte that is not 0, then these 8 bits side by side. */
        uint64_t high = (((difference & low7) + low7) | difference) & ~low7;
        mask |= ((high >> 7) * UINT64_C(0x0102040810204080) >> 56) << (8 * i);
    }
    return mask;
}
#endif

/* From one bit for each byte to one bit, the lowest, for each element. */
WEFT_ALWAYS_INLINE uint64_t mask_elements(uint64_t mask, unsigned element_bytes)
{
    for (unsigned bytes = 1; bytes < element_bytes; bytes *= 2) {
        mask |= mask >> bytes;
    }
    return mask & (UINT64_MAX / ((UINT64_C(1) << (element_bytes - 1)) * 2 - 1));
}

/* Lists the positions of the elements that differ in a whole stride. The lines are listed first,
 * without a branch: which of them differ, no processor can predict. */
WEFT_ALWAYS_INLINE unsigned find_in_stride(const uint8_t *before, const uint8_t *after,
                                           unsigned element_bytes, uint16_t *positions)
{
    uint64_t masks[LINES];
    unsigned lines[LINES];
    unsigned listed = 0;
    unsigned found = 0;

    for (unsigned line = 0; line < LINES; line++) {
        lines[listed] = line * LINE;
        masks[listed] = mask_bytes(before + lines[listed], after + lines[listed]);
        listed += masks[listed] != 0;
    }
    for (unsigned i = 0; i < listed; i++) {
        uint64_t mask = mask_elements(masks[i], element_bytes);
        for (; mask != 0; mask &= mask - 1) {
            unsigned at = lines[i] + (unsigned)__builtin_ctzll(mask);
            positions[found++] = (uint16_t)(at / element_bytes);
        }
    }
    return found;
}

/* The same for the last stride of a tensor, which has fewer elements. */
WEFT_ALWAYS_INLINE unsigned find_in_rest(const uint8_t *before, const uint8_t *after,
                                         unsigned elements, unsigned element_bytes,
                                         uint16_t *positions)
{
    unsigned found = 0;

    for (unsigned i = 0; i < elements; i++) {
        positions[found] = (uint16_t)i;
        found +=
            weft_host_load(before, i, element_bytes) != weft_host_load(after, i, element_bytes);
    }
    return found;
}

/* ---- one tensor ---- */

/* Part of a tensor that is compared at once. */
struct stride {
    const uint8_t *before, *after;
    uint64_t first;    /* flat index of its first element */
    uint64_t elements; /* from there to the tensor's end, or a whole stride's if that is less */
};

/* The stride of this number, counted from 0. */
WEFT_ALWAYS_INLINE struct stride stride_of(const weft_comparison *tensor, uint64_t number,
                                           unsigned element_bytes)
{
    const uint64_t whole = STRIDE / element_bytes;
    uint64_t left = tensor->elements - number * whole;

    return (struct stride){.before = (const uint8_t *)tensor->before + number * STRIDE,
                           .after = (const uint8_t *)tensor->after + number * STRIDE,
                           .first = number * whole,
                           .elements = left < whole ? left : whole};
}

static uint64_t count_strides(const weft_comparison *tensor)
{
    const uint64_t whole = STRIDE / tensor->element_bytes;

    return tensor->elements / whole + (tensor->elements % whole != 0);
}

WEFT_ALWAYS_INLINE unsigned find(const struct stride *stride, unsigned element_bytes,
                                 uint16_t *positions)
{
    return stride->elements == STRIDE / element_bytes
               ? find_in_stride(stride->before, stride->after, element_bytes, positions)
               : find_in_rest(stride->before, stride->after, (unsigned)stride->elements,
                              element_bytes, positions);
}

WEFT_ALWAYS_INLINE void write_indices(uint8_t *room, uint64_t first, const uint16_t *positions,
                                      unsigned found, unsigned index_bytes)
{
    for (unsigned i = 0; i < found; i++) {
        weft_host_store(room, i, index_bytes, first + positions[i]);
    }
}

/* Writes the new bits, and gives the digest of the change. */
WEFT_ALWAYS_INLINE uint64_t write_values(uint8_t *room, const struct stride *stride, uint64_t seed,
                                         const uint16_t *positions, unsigned found,
                                         unsigned element_bytes)
{
    uint64_t digest = 0;

    for (unsigned i = 0; i < found; i++) {
        uint64_t before = weft_host_load(stride->before, positions[i], element_bytes);
        uint64_t after = weft_host_load(stride->after, positions[i], element_bytes);
        weft_host_store(room, i, element_bytes, after);
        digest += weft_digest_key(seed, stride->first + positions[i]) *
                  (weft_digest_fold(after) - weft_digest_fold(before));
    }
    return digest;
}

WEFT_ALWAYS_INLINE uint64_t compare_tensor(struct pass *pass, const weft_comparison *tensor,
                                           unsigned element_bytes)
{
    const uint64_t strides = count_strides(tensor);
    uint16_t positions[STRIDE];
    uint64_t changed = 0;

    for (uint64_t number = 0; number < strides; number++) {
        struct stride stride = stride_of(tensor, number, element_bytes);
        unsigned found = find(&stride, element_bytes, positions);
        uint8_t *indices;
        uint8_t *values;

        if (found == 0) {
            continue;
        }
        changed += found;
        indices = append(&pass->indices, (uint64_t)found * tensor->index_bytes);
        values = append(&pass->values, (uint64_t)found * element_bytes);
        if (indices == NULL || values == NULL) {
            continue;
        }
        if (tensor->index_bytes == 4) {
            write_indices(indices, stride.first, positions, found, 4);
        } else {
            write_indices(indices, stride.first, positions, found, 8);
        }
        pass->digest +=
            write_values(values, &stride, tensor->seed, positions, found, element_bytes);
    }
    pad(&pass->indices);
    pad(&pass->values);
    return changed;
}

/* What differs in the strides of this tensor that belong to the sample: every SAMPLE-th of all
 * tensors' strides, of which `before` came before. */
WEFT_ALWAYS_INLINE uint64_t sample_tensor(const weft_comparison *tensor, uint64_t before,
                                          unsigned element_bytes)
{
    const uint64_t strides = count_strides(tensor);
    uint16_t positions[STRIDE];
    uint64_t found = 0;

    for (uint64_t i = (SAMPLE - before % SAMPLE) % SAMPLE; i < strides; i += SAMPLE) {
        struct stride stride = stride_of(tensor, i, element_bytes);
        found += find(&stride, element_bytes, positions);
    }
    return found;
}

/* ---- all tensors ---- */

#define WITH_ELEMENT(function, first, second, tensor)                                              \
    ((tensor)->element_bytes == 1   ? function(first, second, 1)                                   \
     : (tensor)->element_bytes == 2 ? function(first, second, 2)                                   \
     : (tensor)->element_bytes == 4 ? function(first, second, 4)                                   \
                                    : function(first, second, 8))

static void run_pass(struct pass *pass, const weft_comparison *tensors, size_t count,
                     uint64_t *counts)
{
    for (size_t i = 0; i < count; i++) {
        const weft_comparison *tensor = &tensors[i];
        counts[i] = WITH_ELEMENT(compare_tensor, pass, tensor, tensor);
    }
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Guesses the capacities. Nothing overflows: all of it is less than some 600 times the memory that
 * holds the tensors. */
static void guess(struct pass *pass, const weft_comparison *tensors, size_t count)
{
    uint64_t strides = 0;
    uint64_t indices = 0;
    uint64_t values = 0;
    uint64_t most_indices = 0;
    uint64_t most_values = 0;

    for (size_t i = 0; i < count; i++) {
        const weft_comparison *tensor = &tensors[i];
        uint64_t found = WITH_ELEMENT(sample_tensor, tensor, strides, tensor);
        indices += found * tensor->index_bytes;
        values += found * tensor->element_bytes;
        most_indices += align8(tensor->elements * tensor->index_bytes);
        most_values += align8(tensor->elements * tensor->element_bytes);
        strides += count_strides(tensor);
    }
    /* A sixteenth more than the sample says: far more than its error where changes are many. */
    indices = align8(SECTION_LEAST + indices * (SAMPLE + SAMPLE / 16));
    values = align8(SECTION_LEAST + values * (SAMPLE + SAMPLE / 16));
    pass->indices.capacity = least(indices, most_indices);
    pass->values.capacity = least(values, most_values);
}

/* ---- the payload ---- */

static weft_status allocate(struct pass *pass, const weft_allocator *allocator)
{
    uint64_t bytes = pass->indices.capacity + pass->values.capacity;

    if (bytes == 0) {
        return WEFT_OK;
    }
    pass->indices.bytes = weft_memory_allocate(allocator, bytes, WEFT_MEMORY_HOST);
    if (pass->indices.bytes == NULL) {
        return WEFT_E_OUT_OF_MEMORY;
    }
    pass->values.bytes = pass->indices.bytes + pass->indices.capacity;
    return WEFT_OK;
}

static void release(const struct pass *pass, const weft_allocator *allocator)
{
    weft_memory_release(allocator, pass->indices.bytes,
                        pass->indices.capacity + pass->values.capacity, WEFT_MEMORY_HOST);
}

/* The second pass, with the sizes that the first one counted. */
static weft_status pass_again(struct pass *pass, const weft_comparison *tensors, size_t count,
                              const weft_allocator *allocator, uint64_t budget_bytes,
                              uint64_t *counts)
{
    struct pass exact = {.indices.capacity = pass->indices.used,
                         .values.capacity = pass->values.used};
    weft_status status;

    release(pass, allocator);
    if (exact.indices.capacity + exact.values.capacity > budget_bytes) {
        return WEFT_E_OVER_BUDGET;
    }
    status = allocate(&exact, allocator);
    if (status != WEFT_OK) {
        return status;
    }
    run_pass(&exact, tensors, count, counts);
    /* Somebody wrote to the weights between the passes. */
    if (!fits(&exact.indices) || !fits(&exact.values)) {
        release(&exact, allocator);
        return WEFT_E_DEVICE_FAILED;
    }
    *pass = exact;
    return WEFT_OK;
}

/* Closes the gap between indices and values, and hands the payload over. */
static void finish(struct pass *pass, const weft_allocator *allocator, const uint64_t *counts,
                   size_t count, weft_difference *difference)
{
    uint8_t *payload = pass->indices.bytes;

    difference->payload_bytes = pass->indices.used + pass->values.used;
    difference->payload_capacity = pass->indices.capacity + pass->values.capacity;
    difference->digest = pass->digest;
    difference->changed = 0;
    for (size_t i = 0; i < count; i++) {
        difference->changed += counts[i];
    }
    /* Nothing changed, whether or not there is memory for what was guessed. */
    if (difference->changed == 0 || payload == NULL) {
        release(pass, allocator);
        payload = NULL;
        difference->payload_capacity = 0;
    } else {
        memmove(payload + pass->indices.used, pass->values.bytes, pass->values.used);
    }
    difference->payload = payload;
}

static bool is_well_formed(const weft_comparison *tensor)
{
    return weft_host_is_element(tensor->element_bytes) && weft_host_is_index(tensor->index_bytes);
}

weft_status weft_host_diff(const weft_device *device, const weft_comparison *tensors, size_t count,
                           const weft_allocator *allocator, uint64_t budget_bytes,
                           weft_difference *difference)
{
    struct pass pass = {.digest = 0};
    weft_status status;

    (void)device;
    for (size_t i = 0; i < count; i++) {
        if (!is_well_formed(&tensors[i])) {
            return WEFT_E_DEVICE_FAILED;
        }
    }
    guess(&pass, tensors, count);
    if (pass.indices.capacity + pass.values.capacity > budget_bytes) {
        pass = (struct pass){.digest = 0}; /* nothing fits: the first pass only counts */
    }
    status = allocate(&pass, allocator);
    if (status != WEFT_OK) {
        return status;
    }
    run_pass(&pass, tensors, count, difference->counts);
    if (!fits(&pass.indices) || !fits(&pass.values)) {
        status = pass_again(&pass, tensors, count, allocator, budget_bytes, difference->counts);
    }
    if (status == WEFT_OK) {
        finish(&pass, allocator, difference->counts, count, difference);
    }
    return status;
}
