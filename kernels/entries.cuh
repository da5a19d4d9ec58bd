// What put and verify share: the part of a segment that a chunk is, the choice of its types, and
// copies of dense segments.
#ifndef WEFT_KERNELS_ENTRIES_CUH
#define WEFT_KERNELS_ENTRIES_CUH

#include "common.cuh"

namespace weft {

struct span {
    uint64_t begin;   // position in the segment's arrays
    uint32_t entries; // 1 to WEFT_KERNEL_ENTRIES, or WEFT_KERNEL_DENSE_ENTRIES
};

__device__ __forceinline__ span span_of(const weft_segment &segment, uint32_t chunk)
{
    uint32_t most = segment.indices != nullptr ? WEFT_KERNEL_ENTRIES : WEFT_KERNEL_DENSE_ENTRIES;
    uint64_t begin = uint64_t(chunk) * most;
    uint64_t left = segment.count - begin;

    return {begin, left < most ? uint32_t(left) : most};
}

// Calls function.run<Index, Element>() for the widths of a sparse segment.
template <typename Index, typename Function>
__device__ __forceinline__ void with_element(unsigned element_bytes, const Function &function)
{
    switch (element_bytes) {
    case 1:
        return function.template run<Index, uint8_t>();
    case 2:
        return function.template run<Index, uint16_t>();
    case 4:
        return function.template run<Index, uint32_t>();
    default:
        return function.template run<Index, uint64_t>();
    }
}

template <typename Function>
__device__ __forceinline__ void with_widths(const weft_segment &segment, const Function &function)
{
    return segment.index_bytes == 4 ? with_element<uint32_t>(segment.element_bytes, function)
                                    : with_element<uint64_t>(segment.element_bytes, function);
}

template <typename T>
__device__ __forceinline__ void copy_by(void *to, const void *from, uint32_t bytes)
{
    T *const out = static_cast<T *>(to);
    const uint32_t whole = bytes / sizeof(T);

#pragma unroll 4
    for (uint32_t at = threadIdx.x; at < whole; at += THREADS) {
        out[at] = load<T>(from, at);
    }
    for (uint32_t at = whole * sizeof(T) + threadIdx.x; at < bytes; at += THREADS) {
        static_cast<uint8_t *>(to)[at] = load<uint8_t>(from, at);
    }
}

// By all threads of a block.
__device__ __forceinline__ void copy_range(void *to, const void *from, uint32_t bytes)
{
    if (is_aligned(to, 16) && is_aligned(from, 16)) {
        copy_by<uint4>(to, from, bytes);
    } else if (is_aligned(to, 8) && is_aligned(from, 8)) {
        copy_by<uint64_t>(to, from, bytes);
    } else if (is_aligned(to, 2) && is_aligned(from, 2)) {
        copy_by<uint16_t>(to, from, bytes);
    } else {
        copy_by<uint8_t>(to, from, bytes);
    }
}

} // namespace weft

#endif
