// diff: weft_kernels.h says how. Warps take chunks. In mark, a warp first reads both versions of
// its chunk in whole vectors, and lists the vectors that differ, each with one bit for each element
// that does; most do not differ, so this first loop is short. Then it goes through that list with
// all lanes busy: the elements are still in the cache.
#include "digest.cuh"

namespace weft {
namespace {

constexpr unsigned WARPS = THREADS / WARP;
constexpr unsigned CHUNK_VECTORS = WEFT_KERNEL_DIFF_BYTES / VECTOR_BYTES;
constexpr unsigned SCAN_THREADS = 1024;
constexpr unsigned SCAN = 4 * SCAN_THREADS; // counts that one block of the scan takes

static_assert(CHUNK_VECTORS <= 1u << 16, "the number of a vector fits 16 bits");
static_assert(uint64_t(SCAN) * WEFT_KERNEL_DIFF_BYTES <= UINT32_MAX, "prefixes fit 32 bits");

// What a warp knows of its chunk.
struct chunk {
    const uint8_t *before;
    const uint8_t *after;
    uint64_t first;    // flat index
    uint32_t elements; // 1 to WEFT_KERNEL_DIFF_BYTES / sizeof(element)
    uint64_t seed;
};

// The vectors of a chunk that differ: a mask of elements << 16 | the vector's number.
struct listing {
    uint32_t *entries;
    uint32_t count;  // of all lanes
    uint32_t differ; // elements, of this lane
};

// ---- mark ----

// One bit for each element of a vector that differs.
template <typename Element> __device__ __forceinline__ uint32_t compare(uint4 before, uint4 after)
{
    constexpr unsigned IN_WORD = 8 / sizeof(Element);
    const uint4 x =
        make_uint4(before.x ^ after.x, before.y ^ after.y, before.z ^ after.z, before.w ^ after.w);
    const uint64_t words[2] = {x.x | uint64_t(x.y) << 32, x.z | uint64_t(x.w) << 32};
    uint32_t mask = 0;

    if ((x.x | x.y | x.z | x.w) == 0) {
        return 0;
    }
#pragma unroll
    for (unsigned i = 0; i < IN_VECTOR<Element>; i++) {
        auto bits =
            static_cast<Element>(words[i / IN_WORD] >> (8 * sizeof(Element) * (i % IN_WORD)));
        mask |= uint32_t(bits != 0) << i;
    }
    return mask;
}

// The elements behind the last whole vector.
template <typename Element> __device__ uint32_t compare_rest(const chunk &part, uint32_t begin)
{
    uint32_t mask = 0;

    for (uint32_t at = begin; at < part.elements; at++) {
        mask |= uint32_t(load<Element>(part.before, at) != load<Element>(part.after, at))
                << (at - begin);
    }
    return mask;
}

__device__ __forceinline__ void list(listing *listed, uint32_t vector, uint32_t mask)
{
    const uint32_t below = (1u << threadIdx.x % WARP) - 1;
    const uint32_t lanes = __ballot_sync(ALL_LANES, mask != 0);

    if (mask != 0) {
        listed->entries[listed->count + __popc(lanes & below)] = mask << 16 | vector;
    }
    listed->count += __popc(lanes);
    listed->differ += __popc(mask);
}

template <typename Element, typename Load>
__device__ __forceinline__ void list_chunk(const chunk &part, listing *listed)
{
    const uint32_t whole = part.elements / IN_VECTOR<Element>;
    const uint32_t all = (part.elements + IN_VECTOR<Element> - 1) / IN_VECTOR<Element>;
    uint32_t base = 0; // the same in all lanes

    for (; base + VECTORS * WARP <= whole; base += VECTORS * WARP) {
        uint4 before[VECTORS];
        uint4 after[VECTORS];
        const uint32_t vector = base + threadIdx.x % WARP;
#pragma unroll
        for (unsigned i = 0; i < VECTORS; i++) {
            before[i] = load_vector<Load>(part.before, vector + i * WARP);
            after[i] = load_vector<Load>(part.after, vector + i * WARP);
        }
#pragma unroll
        for (unsigned i = 0; i < VECTORS; i++) {
            list(listed, vector + i * WARP, compare<Element>(before[i], after[i]));
        }
    }
    for (; base < all; base += WARP) {
        const uint32_t vector = base + threadIdx.x % WARP;
        uint32_t mask = 0;
        if (vector < whole) {
            mask = compare<Element>(load_vector<Load>(part.before, vector),
                                    load_vector<Load>(part.after, vector));
        } else if (vector < all) {
            mask = compare_rest<Element>(part, whole * IN_VECTOR<Element>);
        }
        list(listed, vector, mask);
    }
}

template <typename Element>
__device__ __forceinline__ void list_aligned(const chunk &part, listing *listed)
{
    if (is_aligned(part.before, 16) && is_aligned(part.after, 16)) {
        list_chunk<Element, uint4>(part, listed);
    } else if (is_aligned(part.before, 8) && is_aligned(part.after, 8)) {
        list_chunk<Element, uint64_t>(part, listed);
    } else {
        list_chunk<Element, Element>(part, listed);
    }
}

// Writes the listed elements into their piece of the pool; returns what this lane adds to the
// digest.
template <typename Element>
__device__ __forceinline__ uint64_t write_piece(const chunk &part, const listing &listed,
                                                Element *values, uint16_t *positions)
{
    uint64_t digest = 0;
    uint32_t written = 0; // the same in all lanes

    for (uint32_t base = 0; base < listed.count; base += WARP) {
        const uint32_t at = base + threadIdx.x % WARP;
        const uint32_t entry = at < listed.count ? listed.entries[at] : 0;
        const uint32_t count = __popc(entry >> 16);
        const uint32_t upto = scan_warp(count);
        uint32_t to = written + upto - count;

        for (uint32_t mask = entry >> 16; mask != 0; mask &= mask - 1) {
            const uint32_t position =
                (entry & 0xffff) * IN_VECTOR<Element> + (__ffs(int(mask)) - 1);
            const uint64_t index = part.first + position;
            const Element before = load<Element>(part.before, position);
            const Element after = load<Element>(part.after, position);
            values[to] = after;
            positions[to++] = uint16_t(position);
            digest += weft_digest_group_key(part.seed, index / 8) * FACTORS[index % 8] *
                      (weft_digest_fold(after) - weft_digest_fold(before));
        }
        written += __shfl_sync(ALL_LANES, upto, WARP - 1);
    }
    return digest;
}

// One chunk: compares, takes room in the pool, writes there. Returns what the lane adds to the
// digest.
template <typename Element>
__device__ __forceinline__ uint64_t mark_chunk(const weft_kernel_diff &diff, uint64_t number,
                                               const chunk &part, uint32_t *entries)
{
    listing listed = {entries, 0, 0};
    unsigned long long where = 0;

    list_aligned<Element>(part, &listed);
    __syncwarp();
    const uint32_t found = add_warp(listed.differ);
    const uint64_t value_bytes = align8(uint64_t(found) * sizeof(Element));
    const uint64_t bytes = value_bytes + align8(uint64_t(found) * sizeof(uint16_t));
    if (threadIdx.x % WARP == 0) {
        where = found == 0 ? 0 : atomicAdd(&diff.sums->used, bytes);
        diff.found[number] = found;
        diff.where[number] = where;
    }
    where = __shfl_sync(ALL_LANES, where, 0);
    if (found == 0 || where + bytes > diff.pool_bytes) {
        return 0;
    }
    return write_piece(part, listed, reinterpret_cast<Element *>(diff.pool + where),
                       reinterpret_cast<uint16_t *>(diff.pool + where + value_bytes));
}

__device__ __forceinline__ uint64_t mark_any(const weft_kernel_diff &diff, uint64_t number,
                                             uint32_t *entries)
{
    const weft_kernel_work work = diff.work[number];
    const weft_comparison &tensor = diff.tensors[work.segment];
    const uint32_t most = WEFT_KERNEL_DIFF_BYTES / tensor.element_bytes;
    const uint64_t first = uint64_t(work.chunk) * most;
    const uint64_t left = tensor.elements - first;
    const uint64_t begin = uint64_t(work.chunk) * WEFT_KERNEL_DIFF_BYTES;
    const chunk part = {static_cast<const uint8_t *>(tensor.before) + begin,
                        static_cast<const uint8_t *>(tensor.after) + begin, first,
                        left < most ? uint32_t(left) : most, tensor.seed};

    switch (tensor.element_bytes) {
    case 1:
        return mark_chunk<uint8_t>(diff, number, part, entries);
    case 2:
        return mark_chunk<uint16_t>(diff, number, part, entries);
    case 4:
        return mark_chunk<uint32_t>(diff, number, part, entries);
    default:
        return mark_chunk<uint64_t>(diff, number, part, entries);
    }
}

__global__ void __launch_bounds__(THREADS, ROOMY_BLOCKS)
    mark_kernel(const __grid_constant__ weft_kernel_diff diff)
{
    extern __shared__ uint32_t entries[]; // CHUNK_VECTORS for each warp
    const unsigned warp = threadIdx.x / WARP;
    uint64_t own = 0;

    for (uint64_t i = uint64_t(blockIdx.x) * WARPS + warp; i < diff.work_count;
         i += uint64_t(gridDim.x) * WARPS) {
        own += mark_any(diff, i, entries + warp * CHUNK_VECTORS);
        __syncwarp(); // the next chunk writes the list
    }
    __syncwarp();
    add_to(&diff.sums->digest, own);
}

// ---- scan ----

// Sum of the threads before this one; *total is that of all SCAN_THREADS.
__device__ uint64_t scan_block(uint64_t value, uint64_t *total)
{
    __shared__ uint64_t sums[WARP];
    const unsigned lane = threadIdx.x % WARP;
    const uint64_t upto = scan_warp(value);

    __syncthreads(); // the call before may still be reading
    if (lane == WARP - 1) {
        sums[threadIdx.x / WARP] = upto;
    }
    __syncthreads();
    if (threadIdx.x < WARP) {
        sums[lane] = scan_warp(sums[lane]);
    }
    __syncthreads();
    *total = sums[WARP - 1];
    return upto - value + (threadIdx.x < WARP ? 0 : sums[threadIdx.x / WARP - 1]);
}

// Prefixes of the found within blocks of SCAN chunks, and each block's sum.
__global__ void __launch_bounds__(SCAN_THREADS)
    scan_kernel(const __grid_constant__ weft_kernel_diff diff)
{
    const uint64_t begin = uint64_t(blockIdx.x) * SCAN + 4 * threadIdx.x;
    uint32_t found[4];
    uint64_t sum = 0;
    uint64_t total = 0;

#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
        found[i] = begin + i < diff.work_count ? diff.found[begin + i] : 0;
        sum += found[i];
    }
    uint64_t before = scan_block(sum, &total);
#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
        if (begin + i < diff.work_count) {
            diff.prefix[begin + i] = uint32_t(before);
        }
        before += found[i];
    }
    if (threadIdx.x == 0) {
        diff.blocks[blockIdx.x] = total;
    }
}

// Elements found in all chunks before this one; blocks holds prefixes by now.
__device__ __forceinline__ uint64_t found_before(const weft_kernel_diff &diff, uint64_t number,
                                                 uint64_t changed)
{
    return number < diff.work_count ? diff.blocks[number / SCAN] + diff.prefix[number] : changed;
}

// The rest of the scan, by one block: sums of blocks to prefixes, then the place of every tensor.
__global__ void __launch_bounds__(SCAN_THREADS)
    place_kernel(const __grid_constant__ weft_kernel_diff diff, uint64_t blocks)
{
    const uint64_t share = (diff.tensor_count + SCAN_THREADS - 1) / SCAN_THREADS;
    const uint64_t begin = min(share * threadIdx.x, diff.tensor_count);
    const uint64_t end = min(begin + share, diff.tensor_count);
    uint64_t changed = 0;
    uint64_t total = 0;
    uint64_t index_bytes = 0;
    uint64_t value_bytes = 0;

    for (uint64_t base = 0; base < blocks; base += SCAN_THREADS) {
        const uint64_t at = base + threadIdx.x;
        const uint64_t before = scan_block(at < blocks ? diff.blocks[at] : 0, &total);
        if (at < blocks) {
            diff.blocks[at] = changed + before;
        }
        changed += total;
    }
    __syncthreads();
    for (uint64_t i = begin; i < end; i++) {
        const uint64_t before = found_before(diff, diff.first[i], changed);
        const uint64_t count = found_before(diff, diff.first[i + 1], changed) - before;
        diff.counts[i] = count;
        diff.places[i].before = before;
        index_bytes += align8(count * diff.tensors[i].index_bytes);
        value_bytes += align8(count * diff.tensors[i].element_bytes);
    }
    uint64_t all_indices = 0;
    uint64_t all_values = 0;
    index_bytes = scan_block(index_bytes, &all_indices);
    value_bytes = scan_block(value_bytes, &all_values);
    for (uint64_t i = begin; i < end; i++) {
        diff.places[i].indices = index_bytes;
        diff.places[i].values = value_bytes;
        index_bytes += align8(diff.counts[i] * diff.tensors[i].index_bytes);
        value_bytes += align8(diff.counts[i] * diff.tensors[i].element_bytes);
    }
    if (threadIdx.x == 0) {
        *diff.result = {changed, diff.sums->digest, diff.sums->used, all_indices,
                        all_indices + all_values};
    }
}

// ---- emit ----

// Where the parts of one tensor stand in the payload.
struct room {
    uint8_t *indices;
    uint8_t *values;
    uint64_t count;
};

__device__ __forceinline__ void pad(uint8_t *section, uint64_t bytes)
{
    const uint64_t at = bytes + threadIdx.x % WARP;

    if (at < align8(bytes)) {
        section[at] = 0;
    }
}

template <typename Index, typename Element>
__device__ __forceinline__ void copy_piece(const uint8_t *piece, uint32_t found, uint64_t first,
                                           uint64_t before, const room &to)
{
    const uint8_t *positions = piece + align8(uint64_t(found) * sizeof(Element));
    Index *indices = reinterpret_cast<Index *>(to.indices) + before;
    Element *values = reinterpret_cast<Element *>(to.values) + before;

    for (uint32_t at = threadIdx.x % WARP; at < found; at += WARP) {
        indices[at] = Index(first + load<uint16_t>(positions, at));
        values[at] = load<Element>(piece, at);
    }
}

template <typename Index>
__device__ __forceinline__ void emit_chunk(const weft_kernel_diff &diff, uint64_t number,
                                           const weft_kernel_work &work, const room &to)
{
    const unsigned element_bytes = diff.tensors[work.segment].element_bytes;
    const uint64_t first = uint64_t(work.chunk) * (WEFT_KERNEL_DIFF_BYTES / element_bytes);
    const uint8_t *piece = diff.pool + diff.where[number];
    const uint32_t found = diff.found[number];
    const uint64_t before =
        diff.blocks[number / SCAN] + diff.prefix[number] - diff.places[work.segment].before;

    switch (element_bytes) {
    case 1:
        return copy_piece<Index, uint8_t>(piece, found, first, before, to);
    case 2:
        return copy_piece<Index, uint16_t>(piece, found, first, before, to);
    case 4:
        return copy_piece<Index, uint32_t>(piece, found, first, before, to);
    default:
        return copy_piece<Index, uint64_t>(piece, found, first, before, to);
    }
}

__global__ void __launch_bounds__(THREADS)
    emit_kernel(const __grid_constant__ weft_kernel_diff diff, uint8_t *payload, uint64_t capacity)
{
    const uint64_t values_begin = diff.result->index_bytes;

    if (diff.sums->used > diff.pool_bytes || diff.result->payload_bytes > capacity) {
        return;
    }
    for (uint64_t i = uint64_t(blockIdx.x) * WARPS + threadIdx.x / WARP; i < diff.work_count;
         i += uint64_t(gridDim.x) * WARPS) {
        const weft_kernel_work work = diff.work[i];
        const weft_comparison &tensor = diff.tensors[work.segment];
        const weft_kernel_place place = diff.places[work.segment];
        const room to = {payload + place.indices, payload + values_begin + place.values,
                         diff.counts[work.segment]};
        if (work.chunk == 0) {
            pad(to.indices, to.count * tensor.index_bytes);
            pad(to.values, to.count * tensor.element_bytes);
        }
        if (tensor.index_bytes == 4) {
            emit_chunk<uint32_t>(diff, i, work, to);
        } else {
            emit_chunk<uint64_t>(diff, i, work, to);
        }
    }
}

cudaError_t launch_mark(cudaStream_t stream, const weft_kernel_diff &diff)
{
    constexpr unsigned SHARED_BYTES = WARPS * CHUNK_VECTORS * sizeof(uint32_t);
    const unsigned blocks = count_blocks((diff.work_count + WARPS - 1) / WARPS);
    cudaError_t error =
        cudaFuncSetAttribute(reinterpret_cast<const void *>(mark_kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED_BYTES);

    if (error != cudaSuccess) {
        return error;
    }
    mark_kernel<<<blocks, THREADS, SHARED_BYTES, stream>>>(diff);
    error = cudaGetLastError();
    if (error == cudaSuccess) {
        scan_kernel<<<unsigned(weft_kernel_diff_blocks(diff.work_count)), SCAN_THREADS, 0,
                      stream>>>(diff);
        error = cudaGetLastError();
    }
    return error;
}

} // namespace
} // namespace weft

uint64_t weft_kernel_diff_blocks(uint64_t work_count)
{
    return (work_count + weft::SCAN - 1) / weft::SCAN;
}

int weft_kernel_diff_mark(weft_kernel_stream stream, const weft_kernel_diff *diff)
{
    cudaError_t error = cudaMemsetAsync(diff->sums, 0, sizeof *diff->sums, stream);

    if (error == cudaSuccess && diff->work_count != 0) {
        error = weft::launch_mark(stream, *diff);
    }
    if (error == cudaSuccess) {
        weft::place_kernel<<<1, weft::SCAN_THREADS, 0, stream>>>(
            *diff, weft_kernel_diff_blocks(diff->work_count));
        error = cudaGetLastError();
    }
    return error;
}

int weft_kernel_diff_emit(weft_kernel_stream stream, const weft_kernel_diff *diff, void *payload,
                          uint64_t payload_bytes)
{
    if (diff->work_count == 0) {
        return cudaSuccess;
    }
    const unsigned blocks = weft::count_blocks((diff->work_count + weft::WARPS - 1) / weft::WARPS);
    weft::emit_kernel<<<blocks, weft::THREADS, 0, stream>>>(*diff, static_cast<uint8_t *>(payload),
                                                            payload_bytes);
    return cudaGetLastError();
}
