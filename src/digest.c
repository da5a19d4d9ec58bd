/* The sums of digest.h. Whole groups of 8 elements go through one loop that compilers turn into
 * vectors; it is compiled once for each instruction set, and the processor chooses at the call. */
#include "digest.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && defined(__ORDER_LITTLE_ENDIAN__)
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "elements are cut out of 8-byte words, lowest first, as safetensors stores them");
#endif

#define GROUP     8u
#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

const uint64_t WEFT_DIGEST_FACTORS[GROUP] = {WEFT_DIGEST_FACTOR_LIST};

/* Inlined with a constant width, so that every loop over a group unrolls. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE uint64_t load_word(const uint8_t *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof word);
    return word;
}

ALWAYS_INLINE uint64_t sum_group(const uint8_t *at, unsigned element_bytes)
{
    const unsigned in_word = 8 / element_bytes;
    const unsigned bits = 8 * element_bytes;
    const uint64_t mask = UINT64_MAX >> (64 - bits);
    uint64_t sum = 0;

    for (unsigned word = 0; word < element_bytes; word++) {
        uint64_t rest = load_word(at + (size_t)8 * word);
        for (unsigned i = 0; i < in_word; i++) {
            uint64_t element = (rest >> (i * bits)) & mask;
            sum += WEFT_DIGEST_FACTORS[word * in_word + i] * weft_digest_fold(element);
        }
    }
    return sum;
}

ALWAYS_INLINE uint64_t sum_width(const uint8_t *at, uint64_t group, uint64_t groups, uint64_t seed,
                                 unsigned element_bytes)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < groups; i++) {
        sum += weft_digest_group_key(seed, group + i) *
               sum_group(at + i * GROUP * element_bytes, element_bytes);
    }
    return sum;
}

ALWAYS_INLINE uint64_t sum_any(const uint8_t *at, uint64_t group, uint64_t groups, uint64_t seed,
                               unsigned element_bytes)
{
    switch (element_bytes) {
    case 1:
        return sum_width(at, group, groups, seed, 1);
    case 2:
        return sum_width(at, group, groups, seed, 2);
    case 4:
        return sum_width(at, group, groups, seed, 4);
    default:
        return sum_width(at, group, groups, seed, 8);
    }
}

static uint64_t sum_plain(const uint8_t *at, uint64_t group, uint64_t groups, uint64_t seed,
                          unsigned element_bytes)
{
    return sum_any(at, group, groups, seed, element_bytes);
}

#if defined(__x86_64__) && defined(__GNUC__)
/* AVX-512DQ is the first set with a 64-bit multiplication in vectors; before it, the scalar loop is
 * the faster one. */
__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl"))) static uint64_t
sum_avx512(const uint8_t *at, uint64_t group, uint64_t groups, uint64_t seed,
           unsigned element_bytes)
{
    return sum_any(at, group, groups, seed, element_bytes);
}

static uint64_t sum_groups(const uint8_t *at, uint64_t group, uint64_t groups, uint64_t seed,
                           unsigned element_bytes)
{
    return __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vl")
               ? sum_avx512(at, group, groups, seed, element_bytes)
               : sum_plain(at, group, groups, seed, element_bytes);
}
#else
#define sum_groups sum_plain
#endif

/* Elements that do not fill a group. */
static uint64_t sum_single(const uint8_t *at, uint64_t first, uint64_t count, uint64_t seed,
                           unsigned element_bytes)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < count; i++) {
        uint64_t bits = 0;
        memcpy(&bits, at + i * element_bytes, element_bytes);
        sum += weft_digest_term(seed, first + i, bits);
    }
    return sum;
}

uint64_t weft_digest_elements(const void *elements, uint64_t first, uint64_t count,
                              uint8_t element_bytes, uint64_t seed)
{
    const uint8_t *at = elements;
    uint64_t head = (GROUP - first % GROUP) % GROUP;
    uint64_t groups;
    uint64_t sum;

    if (count == 0) {
        return 0;
    }
    if (element_bytes != 1 && element_bytes != 2 && element_bytes != 4 && element_bytes != 8) {
        return 0;
    }
    head = head < count ? head : count;
    groups = (count - head) / GROUP;
    sum = sum_single(at, first, head, seed, element_bytes);
    at += head * element_bytes;
    sum += sum_groups(at, (first + head) / GROUP, groups, seed, element_bytes);
    at += groups * GROUP * element_bytes;
    return sum + sum_single(at, first + head + groups * GROUP, (count - head) % GROUP, seed,
                            element_bytes);
}

uint64_t weft_digest_bytes(const void *bytes, size_t length, uint64_t start)
{
    const uint8_t *at = bytes;
    uint64_t hash = FNV_BASIS ^ start;

    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ at[i]) * FNV_PRIME;
    }
    return weft_digest_mix(hash);
}

uint64_t weft_digest_tensor_seed(const weft_tensor *tensor)
{
    uint8_t form[2 + 8 * WEFT_RANK_MAX];
    size_t length = 0;

    form[length++] = (uint8_t)tensor->dtype;
    form[length++] = (uint8_t)tensor->rank;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        memcpy(form + length, &tensor->shape[i], 8);
        length += 8;
    }
    return weft_digest_bytes(form, length,
                             weft_digest_bytes(tensor->name, strlen(tensor->name), 0));
}

/* A payload is a tensor of 8-byte elements whose last one may be cut short. */
uint64_t weft_digest_payload(const void *bytes, size_t length, uint64_t offset)
{
    uint64_t words = length / 8;
    uint64_t last = 0;

    if (length % 8 != 0) {
        memcpy(&last, (const uint8_t *)bytes + words * 8, length % 8);
    }
    return weft_digest_elements(bytes, offset / 8, words, 8, WEFT_DIGEST_PAYLOAD_SEED) +
           weft_digest_term(WEFT_DIGEST_PAYLOAD_SEED, offset / 8 + words, last);
}
