// verify: checks every index, gathers the old elements into undo, and digests the change, in one
// pass over indices and values. A fault is remembered as the ordinal of its entry in the work list,
// the first one wins, and a second, tiny kernel says what it is.
#include "digest.cuh"
#include "entries.cuh"

namespace weft {
namespace {

struct verify_entries {
    const weft_segment &segment;
    span part;
    uint64_t ordinal; // of the chunk's first entry
    const uint64_t *factors;
    unsigned long long *nearest; // weft_kernel_sums
    uint64_t *digest;

    template <typename Index, typename Element> __device__ __forceinline__ void run() const
    {
        const Index *indices = static_cast<const Index *>(segment.indices) + part.begin;
        const Element *values = static_cast<const Element *>(segment.values) + part.begin;
        const Element *target = static_cast<const Element *>(segment.target);
        Element *undo = static_cast<Element *>(segment.undo);
        const uint64_t elements = segment.elements;
        const uint64_t seed = segment.seed;
        const uint32_t last = part.entries - 1;
        // Index, its predecessor, and two elements are in registers for each entry in flight.
        constexpr unsigned DEPTH = sizeof(Index) + sizeof(Element) <= 8 ? FLIGHT : FLIGHT / 2;

        for (uint32_t base = threadIdx.x; base <= last; base += THREADS * DEPTH) {
            Index index[DEPTH];
            Index previous[DEPTH];
            Element before[DEPTH];
            Element after[DEPTH];
            uint32_t faults = 0; // a bit for each entry
#pragma unroll
            for (unsigned i = 0; i < DEPTH; i++) {
                uint32_t at = min(base + i * THREADS, last);
                bool has_previous = part.begin + at > 0;
                index[i] = load<Index>(indices, at);
                previous[i] = load<Index>(indices - has_previous, at);
                after[i] = load<Element>(values, at);
            }
#pragma unroll
            for (unsigned i = 0; i < DEPTH; i++) {
                before[i] = index[i] < elements ? load<Element>(target, index[i]) : Element(0);
                bool is_first = i == 0 && part.begin + base == 0;
                bool is_faulty = index[i] >= elements || (!is_first && index[i] <= previous[i]);
                faults |= uint32_t(is_faulty && base + i * THREADS <= last) << i;
            }
            if (faults != 0) { // the first one is enough: this thread's ordinals only grow
                uint32_t at = base + (__ffs(int(faults)) - 1) * THREADS;
                atomicMax(nearest, static_cast<unsigned long long>(UINT64_MAX - (ordinal + at)));
            }
#pragma unroll
            for (unsigned i = 0; i < DEPTH; i++) {
                uint32_t at = base + i * THREADS;
                if (at > last) {
                    continue;
                }
                if (undo != nullptr) {
                    undo[part.begin + at] = before[i];
                }
                *digest += weft_digest_group_key(seed, index[i] / 8) * factors[index[i] % 8] *
                           (weft_digest_fold(after[i]) - weft_digest_fold(before[i]));
            }
        }
    }
};

__device__ __forceinline__ void verify_chunk(const weft_segment &segment, uint32_t chunk,
                                             uint64_t ordinal, const uint64_t *factors,
                                             unsigned long long *nearest, uint64_t *digest)
{
    const span part = span_of(segment, chunk);

    if (segment.indices != nullptr) {
        with_widths(segment, verify_entries{segment, part, ordinal, factors, nearest, digest});
        return;
    }
    if (segment.undo != nullptr) {
        const uint64_t begin = part.begin * segment.element_bytes;
        copy_range(static_cast<uint8_t *>(segment.undo) + begin,
                   static_cast<const uint8_t *>(segment.target) + begin,
                   part.entries * segment.element_bytes);
    }
    *digest +=
        digest_range(segment.values, segment.element_bytes, part.begin, part.entries, segment.seed);
}

__global__ void __launch_bounds__(THREADS, ROOMY_BLOCKS)
    verify_kernel(const __grid_constant__ weft_kernel_table table, weft_kernel_sums *sums)
{
    // The lanes of a warp ask for different factors: constant memory would give one at a time.
    __shared__ uint64_t factors[8];
    uint64_t own = 0;

    if (threadIdx.x < 8) {
        factors[threadIdx.x] = FACTORS[threadIdx.x];
    }
    __syncthreads();
    for (uint64_t i = blockIdx.x; i < table.work_count; i += gridDim.x) {
        const weft_kernel_work work = table.work[i];
        verify_chunk(table.segments[work.segment], work.chunk, i * WEFT_KERNEL_ENTRIES, factors,
                     &sums->nearest, &own);
    }
    add_to(&sums->digest, own);
}

__global__ void report_kernel(const __grid_constant__ weft_kernel_table table,
                              const weft_kernel_sums *sums, weft_device_result *result)
{
    weft_device_result found = {};

    found.status = WEFT_OK;
    found.digest = sums->digest;
    if (sums->nearest != 0) {
        const uint64_t ordinal = UINT64_MAX - sums->nearest;
        const weft_kernel_work work = table.work[ordinal / WEFT_KERNEL_ENTRIES];
        const weft_segment &segment = table.segments[work.segment];
        found.segment = work.segment;
        found.position = uint64_t(work.chunk) * WEFT_KERNEL_ENTRIES + ordinal % WEFT_KERNEL_ENTRIES;
        found.found = segment.index_bytes == 4 ? load<uint32_t>(segment.indices, found.position)
                                               : load<uint64_t>(segment.indices, found.position);
        found.status =
            found.found >= segment.elements ? WEFT_E_INDEX_OUT_OF_BOUNDS : WEFT_E_INDEX_ORDER;
        found.digest = 0;
    }
    *result = found;
}

} // namespace
} // namespace weft

int weft_kernel_verify(weft_kernel_stream stream, const weft_kernel_table *table,
                       weft_kernel_sums *sums, weft_device_result *result)
{
    cudaError_t error = cudaMemsetAsync(sums, 0, sizeof *sums, stream);

    if (error == cudaSuccess && table->work_count != 0) {
        weft::verify_kernel<<<weft::count_blocks(table->work_count), weft::THREADS, 0, stream>>>(
            *table, sums);
        error = cudaGetLastError();
    }
    if (error == cudaSuccess) {
        weft::report_kernel<<<1, 1, 0, stream>>>(*table, sums, result);
        error = cudaGetLastError();
    }
    return error;
}
