// Sums of digest.h over a range of elements by one block. A vector of 16 bytes is loaded whole, and
// one key serves all of it; where a vector is a part of a group, each thread's vectors stand at the
// same place of their groups, so that its factors are chosen once.
#ifndef WEFT_KERNELS_DIGEST_CUH
#define WEFT_KERNELS_DIGEST_CUH

#include "common.cuh"
#include "digest.h"

namespace weft {

static __constant__ const uint64_t FACTORS[8] = {WEFT_DIGEST_FACTOR_LIST};

template <typename Element> constexpr unsigned IN_VECTOR = VECTOR_BYTES / sizeof(Element);
template <typename Element>
constexpr unsigned KEYED = IN_VECTOR<Element> < 8 ? IN_VECTOR<Element> : 8; // elements of one key

// Elements of one key: they stand at `first` of the words.
template <typename Element>
__device__ __forceinline__ uint64_t sum_keyed(const uint64_t *words, const uint64_t *factors)
{
    constexpr unsigned IN_WORD = 8 / sizeof(Element);
    uint64_t sum = 0;

#pragma unroll
    for (unsigned i = 0; i < KEYED<Element>; i++) {
        uint64_t bits = words[i / IN_WORD] >> (8 * sizeof(Element) * (i % IN_WORD));
        sum += weft_digest_fold(static_cast<Element>(bits)) * factors[i];
    }
    return sum;
}

// The vector of this number, of elements that begin at a multiple of 16.
template <typename Element>
__device__ __forceinline__ uint64_t digest_vector(uint4 vector, uint64_t number, uint64_t seed,
                                                  const uint64_t *factors)
{
    const uint64_t words[2] = {vector.x | (uint64_t)vector.y << 32,
                               vector.z | (uint64_t)vector.w << 32};
    const uint64_t group = number * IN_VECTOR<Element> / 8;
    uint64_t sum = weft_digest_group_key(seed, group) * sum_keyed<Element>(words, factors);

    if (sizeof(Element) == 1) {
        sum += weft_digest_group_key(seed, group + 1) * sum_keyed<Element>(words + 1, factors);
    }
    return sum;
}

// What this thread adds for `count` elements at flat index `first`, a multiple of 16. Loads are as
// wide as Load.
template <typename Element, typename Load>
__device__ __forceinline__ uint64_t digest_by(const void *elements, uint64_t first, uint32_t count,
                                              uint64_t seed)
{
    const uint32_t vectors = count / IN_VECTOR<Element>;
    const uint64_t first_vector = first / IN_VECTOR<Element>;
    const uint32_t rest = vectors * IN_VECTOR<Element> + threadIdx.x;
    uint64_t factors[KEYED<Element>];
    uint64_t sum = 0;
    uint32_t at = threadIdx.x;

#pragma unroll
    for (unsigned i = 0; i < KEYED<Element>; i++) {
        factors[i] =
            KEYED<Element> == 8 ? FACTORS[i] : FACTORS[(threadIdx.x * KEYED<Element> + i) % 8];
    }
    for (; at + (VECTORS - 1) * THREADS < vectors; at += VECTORS * THREADS) {
        uint4 loaded[VECTORS];
#pragma unroll
        for (unsigned i = 0; i < VECTORS; i++) {
            loaded[i] = load_vector<Load>(elements, at + i * THREADS);
        }
#pragma unroll
        for (unsigned i = 0; i < VECTORS; i++) {
            sum +=
                digest_vector<Element>(loaded[i], first_vector + at + i * THREADS, seed, factors);
        }
    }
    for (; at < vectors; at += THREADS) {
        sum += digest_vector<Element>(load_vector<Load>(elements, at), first_vector + at, seed,
                                      factors);
    }
    if (rest < count) { // fewer than a vector, hence than a block
        sum += weft_digest_group_key(seed, (first + rest) / 8) * FACTORS[(first + rest) % 8] *
               weft_digest_fold(load<Element>(elements, rest));
    }
    return sum;
}

template <typename Element>
__device__ __forceinline__ uint64_t digest_elements(const void *elements, uint64_t first,
                                                    uint32_t count, uint64_t seed)
{
    if (is_aligned(elements, 16)) {
        return digest_by<Element, uint4>(elements, first, count, seed);
    }
    if (is_aligned(elements, 8)) {
        return digest_by<Element, uint64_t>(elements, first, count, seed);
    }
    return digest_by<Element, Element>(elements, first, count, seed);
}

// Elements [first, first + count) of a tensor that begins at `tensor`.
__device__ __forceinline__ uint64_t digest_range(const void *tensor, unsigned element_bytes,
                                                 uint64_t first, uint32_t count, uint64_t seed)
{
    const uint8_t *elements = static_cast<const uint8_t *>(tensor) + first * element_bytes;

    switch (element_bytes) {
    case 1:
        return digest_elements<uint8_t>(elements, first, count, seed);
    case 2:
        return digest_elements<uint16_t>(elements, first, count, seed);
    case 4:
        return digest_elements<uint32_t>(elements, first, count, seed);
    default:
        return digest_elements<uint64_t>(elements, first, count, seed);
    }
}

} // namespace weft

#endif
