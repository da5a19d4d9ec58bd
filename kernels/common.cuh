// What the kernels share: the shape of a launch, loads of any width, sums over a warp.
#ifndef WEFT_KERNELS_COMMON_CUH
#define WEFT_KERNELS_COMMON_CUH

#include "weft_kernels.h"

#include <cuda_runtime.h>

// The shapes of launch that were the fastest on an H100 (bench/README.md). A file that wants another
// says so before it includes this one.
#ifndef WEFT_KERNEL_THREADS
#define WEFT_KERNEL_THREADS 128
#endif
#ifndef WEFT_KERNEL_FLIGHT
#define WEFT_KERNEL_FLIGHT 4 // entries of a thread that are loaded before the first is used
#endif
#ifndef WEFT_KERNEL_VECTORS
#define WEFT_KERNEL_VECTORS 8 // the same for vectors of 16 bytes
#endif
#ifndef WEFT_KERNEL_RESIDENT
#define WEFT_KERNEL_RESIDENT 512 // threads of a multiprocessor that registers are shared among
#endif

namespace weft {

constexpr unsigned WARP = 32;
constexpr unsigned THREADS = WEFT_KERNEL_THREADS;
constexpr unsigned FLIGHT = WEFT_KERNEL_FLIGHT;
constexpr unsigned VECTORS = WEFT_KERNEL_VECTORS;
constexpr unsigned BLOCKS_BY_REGISTERS = WEFT_KERNEL_RESIDENT / THREADS;
// For kernels that hold more: a quarter fewer threads, so that nothing is spilled.
constexpr unsigned ROOMY_BLOCKS = WEFT_KERNEL_RESIDENT * 3 / 4 / THREADS;
constexpr unsigned VECTOR_BYTES = 16;
constexpr unsigned ALL_LANES = 0xffffffffu;

static_assert(THREADS % WARP == 0 && THREADS <= 1024, "whole warps, and what a block can hold");
static_assert(sizeof(unsigned long long) == sizeof(uint64_t), "atomics add digests");

// One for each part, as far as a grid goes: blocks start in order, so that those that run at one
// time work on neighbours. A loop in each block takes what is beyond.
inline unsigned count_blocks(uint64_t parts)
{
    return (unsigned)(parts < INT32_MAX ? parts : INT32_MAX);
}

// Number `at` of an array that no thread of the launch writes.
template <typename T> __device__ __forceinline__ T load(const void *array, uint64_t at)
{
    return __ldg(static_cast<const T *>(array) + at);
}

// 16 bytes from an address of which no more is known than that it is aligned to T.
template <typename T> __device__ __forceinline__ uint4 load_vector(const void *array, uint64_t at)
{
    constexpr unsigned PARTS = VECTOR_BYTES / sizeof(T);
    constexpr unsigned IN_WORD = PARTS / 2;
    uint64_t words[2] = {0, 0};

#pragma unroll
    for (unsigned i = 0; i < PARTS; i++) {
        uint64_t part = load<T>(array, at * PARTS + i);
        words[i / IN_WORD] |= part << (8 * sizeof(T) * (i % IN_WORD));
    }
    return make_uint4((unsigned)words[0], (unsigned)(words[0] >> 32), (unsigned)words[1],
                      (unsigned)(words[1] >> 32));
}

template <> __device__ __forceinline__ uint4 load_vector<uint4>(const void *array, uint64_t at)
{
    return load<uint4>(array, at);
}

__device__ __forceinline__ bool is_aligned(const void *pointer, unsigned bytes)
{
    return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

__device__ __forceinline__ uint64_t align8(uint64_t bytes)
{
    return (bytes + 7) & ~uint64_t(7);
}

template <typename T> __device__ __forceinline__ T add_warp(T value)
{
    for (unsigned distance = WARP / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    }
    return value;
}

// Sum of the lanes up to and with this one.
template <typename T> __device__ __forceinline__ T scan_warp(T value)
{
    for (unsigned distance = 1; distance < WARP; distance *= 2) {
        T below = __shfl_up_sync(ALL_LANES, value, distance);
        value += threadIdx.x % WARP >= distance ? below : 0;
    }
    return value;
}

// Called by all threads of a block, once.
__device__ __forceinline__ void add_to(unsigned long long *sum, uint64_t value)
{
    value = add_warp(value);
    if (threadIdx.x % WARP == 0 && value != 0) {
        atomicAdd(sum, static_cast<unsigned long long>(value));
    }
}

} // namespace weft

#endif
