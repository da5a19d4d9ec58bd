// Full digests: of all targets of a table, and of a payload. Both read every byte once.
#include "digest.cuh"

namespace weft {
namespace {

__device__ __forceinline__ uint64_t digest_chunk(const weft_segment &segment, uint32_t chunk)
{
    const uint32_t most = WEFT_KERNEL_TARGET_BYTES / segment.element_bytes;
    const uint64_t begin = uint64_t(chunk) * most;
    const uint64_t left = segment.elements - begin;

    return digest_range(segment.target, segment.element_bytes, begin,
                        left < most ? uint32_t(left) : most, segment.seed);
}

__global__ void __launch_bounds__(THREADS, BLOCKS_BY_REGISTERS)
    digest_kernel(const __grid_constant__ weft_kernel_table table, weft_kernel_sums *sums)
{
    uint64_t own = 0;

    for (uint64_t i = blockIdx.x; i < table.work_count; i += gridDim.x) {
        const weft_kernel_work work = table.work[i];
        own += digest_chunk(table.segments[work.segment], work.chunk);
    }
    add_to(&sums->digest, own);
}

constexpr uint64_t WORDS = WEFT_KERNEL_TARGET_BYTES / 8;

// The bytes behind the last whole word, as a word filled up with zeros.
__device__ uint64_t digest_tail(const uint8_t *tail, unsigned length, uint64_t word)
{
    uint64_t bits = 0;

    for (unsigned i = 0; i < length; i++) {
        bits |= uint64_t(tail[i]) << (8 * i);
    }
    return weft_digest_group_key(WEFT_DIGEST_PAYLOAD_SEED, word / 8) * FACTORS[word % 8] *
           weft_digest_fold(bits);
}

// Words [begin, end) of the payload from `bytes` on, of which the first whole 16 words stand at
// `first`: a payload's keys go by its own position, and that of a piece may be any.
__device__ uint64_t digest_words(const uint8_t *bytes, uint64_t begin, uint64_t end, uint64_t first)
{
    uint64_t sum = 0;

    for (uint64_t i = begin + threadIdx.x; i < end; i += THREADS) {
        sum += weft_digest_group_key(WEFT_DIGEST_PAYLOAD_SEED, (first + i) / 8) *
               FACTORS[(first + i) % 8] * weft_digest_fold(load<uint64_t>(bytes, i));
    }
    return sum;
}

__global__ void __launch_bounds__(THREADS, BLOCKS_BY_REGISTERS)
    payload_kernel(const uint8_t *bytes, uint64_t length, uint64_t first, weft_kernel_sums *sums)
{
    const uint64_t words = length / 8;
    // Up to the next multiple of 16 words, where vectors and groups begin.
    const uint64_t ahead = min((16 - first % 16) % 16, words);
    uint64_t own = 0;

    for (uint64_t begin = ahead + blockIdx.x * WORDS; begin < words; begin += gridDim.x * WORDS) {
        own += digest_elements<uint64_t>(bytes + begin * 8, first + begin,
                                         uint32_t(min(WORDS, words - begin)),
                                         WEFT_DIGEST_PAYLOAD_SEED);
    }
    if (blockIdx.x == 0) {
        own += digest_words(bytes, 0, ahead, first);
        if (threadIdx.x == 0) {
            own += digest_tail(bytes + words * 8, unsigned(length % 8), first + words);
        }
    }
    add_to(&sums->digest, own);
}

__global__ void report_kernel(const weft_kernel_sums *sums, weft_device_result *result)
{
    weft_device_result found = {};

    found.status = WEFT_OK;
    found.digest = sums->digest;
    *result = found;
}

cudaError_t report(cudaStream_t stream, const weft_kernel_sums *sums, weft_device_result *result)
{
    report_kernel<<<1, 1, 0, stream>>>(sums, result);
    return cudaGetLastError();
}

} // namespace
} // namespace weft

int weft_kernel_digest(weft_kernel_stream stream, const weft_kernel_table *table,
                       weft_kernel_sums *sums, weft_device_result *result)
{
    cudaError_t error = cudaMemsetAsync(sums, 0, sizeof *sums, stream);

    if (error == cudaSuccess && table->work_count != 0) {
        weft::digest_kernel<<<weft::count_blocks(table->work_count), weft::THREADS, 0, stream>>>(
            *table, sums);
        error = cudaGetLastError();
    }
    return error == cudaSuccess ? weft::report(stream, sums, result) : error;
}

int weft_kernel_payload_digest(weft_kernel_stream stream, const void *bytes, uint64_t length,
                               uint64_t offset, weft_kernel_sums *sums, weft_device_result *result)
{
    cudaError_t error = cudaMemsetAsync(sums, 0, sizeof *sums, stream);

    if (error == cudaSuccess) {
        const unsigned blocks = weft::count_blocks(length / WEFT_KERNEL_TARGET_BYTES + 1);
        weft::payload_kernel<<<blocks, weft::THREADS, 0, stream>>>(
            static_cast<const uint8_t *>(bytes), length, offset / 8, sums);
        error = cudaGetLastError();
    }
    return error == cudaSuccess ? weft::report(stream, sums, result) : error;
}
