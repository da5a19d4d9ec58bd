/* The two digests, both sums modulo 2^64 that can be computed in pieces, in any order and on any
 * device.
 *
 * Model digest: D = sum over tensors and flat indices of key(tensor, index) * fold(bits).
 *
 *   key(tensor, index) = group_key(seed(tensor), index / 8) * WEFT_DIGEST_FACTORS[index % 8]
 *   group_key(seed, g) = mix(seed + g * GOLDEN) | 1
 *   fold(bits)         = b ^ (b >> 16), where b = bits ^ (bits >> 32)
 *
 * so the pseudo-random part is computed once for 8 neighbours, and the factor within the group is
 * a constant: D = sum over groups of group_key * (sum of FACTORS[i] * fold(bits[i])).
 *
 * Why it sees what it sees:
 *   - One element: fold is a bijection (two xorshifts) and the key is odd, hence invertible modulo
 *     2^64, so the change key * (fold(new) - fold(old)) is never 0. A lost element of an update is
 *     such a fault: its old bits stand in the place of its new ones.
 *   - Why fold: an odd key times 2^63 is 2^63 whatever the key is. Without fold, two flipped sign
 *     bits of float64 would cancel always, two of float32 in one case of 2^32. The lowest bit that
 *     a flip of bit k changes after fold is k % 16. For 1 and 2 bytes fold is the identity.
 *   - One bit position flipped in any set of elements of one group: never 0, because no signed sum
 *     of FACTORS is a multiple of 2^16 (test_digest.c tries all 3^8).
 *   - Two elements of one group exchanged: (FACTOR[i] - FACTOR[j]) * (fold(b) - fold(a)), where the
 *     first has at most three factors of two and the second, below 8 bytes, at most 31: never 0.
 *   - Anything over several groups: a sum with pseudo-random odd keys; 0 in one case of 2^48 or
 *     fewer where the lowest changed bit after fold is below 2^16.
 *
 * Payload digest: P = hash of the document + sum over 8-byte words of key(PAYLOAD, position) *
 *   fold(word), the last word padded with zeros. Pieces that begin at multiples of 8 add up.
 *
 * They guard against faults, not against an attacker. */
#ifndef WEFT_SRC_DIGEST_H
#define WEFT_SRC_DIGEST_H

#include "weft.h"

/* 8 odd constants, pairwise different modulo 16, chosen so that, beyond what is asked for above, no
 * signed sum of any of them is a multiple of 2^10: mix(424 + i) with the lowest four bits replaced
 * by 7, 1, 11, 5, 15, 9, 3, 13. A list, because device code needs an array of its own. */
#define WEFT_DIGEST_FACTOR_LIST                                                                    \
    UINT64_C(0x707885fca9c9e607), UINT64_C(0xb99df86f492a68b1), UINT64_C(0xfca03d6975bb5a5b),      \
        UINT64_C(0xc7210c7853f2b495), UINT64_C(0xdf561ea6c33e009f), UINT64_C(0xdca2a83abead40c9),  \
        UINT64_C(0x4a185780ac6c6fe3), UINT64_C(0x930d0cbe5a41c8bd)
extern const uint64_t WEFT_DIGEST_FACTORS[8];

/* No tensor's seed: it is no hash. */
#define WEFT_DIGEST_PAYLOAD_SEED UINT64_C(0x7061796c6f616421)

/* The kernels compile these functions for the device as well. */
#if defined(__CUDACC__)
#define WEFT_DIGEST_INLINE static inline __host__ __device__
#else
#define WEFT_DIGEST_INLINE static inline
#endif

/* Bijective avalanche mix (the finalizer of splitmix64, Steele et al. 2014). */
WEFT_DIGEST_INLINE uint64_t weft_digest_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Brings the high bits of an element down, so that no change stands in the high bits alone. */
WEFT_DIGEST_INLINE uint64_t weft_digest_fold(uint64_t bits)
{
    bits ^= bits >> 32;
    return bits ^ (bits >> 16);
}

/* Odd key of the group of 8 elements that begins at 8 * group. */
WEFT_DIGEST_INLINE uint64_t weft_digest_group_key(uint64_t seed, uint64_t group)
{
    return weft_digest_mix(seed + group * UINT64_C(0x9e3779b97f4a7c15)) | 1u;
}

static inline uint64_t weft_digest_key(uint64_t seed, uint64_t index)
{
    return weft_digest_group_key(seed, index >> 3) * WEFT_DIGEST_FACTORS[index & 7];
}

/* What the element at this index adds to the digest. */
static inline uint64_t weft_digest_term(uint64_t seed, uint64_t index, uint64_t bits)
{
    return weft_digest_key(seed, index) * weft_digest_fold(bits);
}

/* Hash of length bytes (FNV-1a 64, then mixed): names, documents. start is 0, or the hash of what
 * stands before. */
uint64_t weft_digest_bytes(const void *bytes, size_t length, uint64_t start);
/* Seed of a tensor's keys, and its part of the fingerprint: a hash of name, dtype, rank, shape. */
uint64_t weft_digest_tensor_seed(const weft_tensor *tensor);
/* Sum over `count` elements of 1, 2, 4 or 8 bytes that stand at flat index `first` of their tensor;
 * 0 for any other width. */
uint64_t weft_digest_elements(const void *elements, uint64_t first, uint64_t count,
                              uint8_t element_bytes, uint64_t seed);
/* Sum for `length` bytes that stand at `offset` (a multiple of 8) of a payload. */
uint64_t weft_digest_payload(const void *bytes, size_t length, uint64_t offset);

#endif
