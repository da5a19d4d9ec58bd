// put and rollback: target[indices[i]] = source[i] for all entries of all segments. A write to an
// element costs a burst of the memory read and written. What matters is that the bursts of one time
// fall into few rows of the memory: neighbouring threads take neighbouring entries, each thread only
// one, blocks start in order, and shared memory that nobody uses keeps all but four of them off a
// multiprocessor. With eight entries in flight for each thread the same writes took a fifth longer.
#define WEFT_KERNEL_THREADS 256
#include "entries.cuh"

namespace weft {
namespace {

constexpr unsigned IDLE_SHARED_BYTES = 48 << 10; // a multiprocessor has 227 KiB

struct put_entries {
    const weft_segment &segment;
    const void *source;
    span part;

    template <typename Index, typename Element> __device__ __forceinline__ void run() const
    {
        const Index *indices = static_cast<const Index *>(segment.indices) + part.begin;
        const Element *values = static_cast<const Element *>(source) + part.begin;
        Element *target = static_cast<Element *>(segment.target);

        for (uint32_t at = threadIdx.x; at < part.entries; at += THREADS) {
            target[load<Index>(indices, at)] = load<Element>(values, at);
        }
    }
};

template <bool ROLLBACK>
__device__ __forceinline__ void put_chunk(const weft_segment &segment, uint32_t chunk)
{
    const span part = span_of(segment, chunk);
    const void *source = ROLLBACK ? segment.undo : segment.values;

    if (segment.indices != nullptr) {
        with_widths(segment, put_entries{segment, source, part});
        return;
    }
    const uint64_t begin = part.begin * segment.element_bytes;
    copy_range(static_cast<uint8_t *>(segment.target) + begin,
               static_cast<const uint8_t *>(source) + begin, part.entries * segment.element_bytes);
}

template <bool ROLLBACK>
__global__ void __launch_bounds__(THREADS)
    put_kernel(const __grid_constant__ weft_kernel_table table)
{
    for (uint64_t i = blockIdx.x; i < table.work_count; i += gridDim.x) {
        const weft_kernel_work work = table.work[i];
        put_chunk<ROLLBACK>(table.segments[work.segment], work.chunk);
    }
}

template <bool ROLLBACK> cudaError_t launch(cudaStream_t stream, const weft_kernel_table &table)
{
    if (table.work_count == 0) {
        return cudaSuccess;
    }
    put_kernel<ROLLBACK>
        <<<count_blocks(table.work_count), THREADS, IDLE_SHARED_BYTES, stream>>>(table);
    return cudaGetLastError();
}

} // namespace
} // namespace weft

int weft_kernel_put(weft_kernel_stream stream, const weft_kernel_table *table)
{
    return weft::launch<false>(stream, *table);
}

int weft_kernel_rollback(weft_kernel_stream stream, const weft_kernel_table *table)
{
    return weft::launch<true>(stream, *table);
}
