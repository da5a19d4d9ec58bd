#include "flip.h"

namespace {

__device__ uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9;
    x ^= x >> 27;
    return x * 0x94d049bb133111eb;
}

__global__ void flip_kernel(uint16_t *elements, uint64_t count, uint64_t one_in, uint64_t step)
{
    const uint64_t stride = uint64_t(gridDim.x) * blockDim.x;

    for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
        const uint64_t random = mix(i * 0x9e3779b97f4a7c15 + mix(step));
        if ((random >> 16) % one_in == 0) {
            elements[i] ^= uint16_t(random | 1);
        }
    }
}

} // namespace

int flip(void *elements, uint64_t count, uint64_t one_in, uint64_t step)
{
    if (count > 0) {
        flip_kernel<<<2048, 256>>>(static_cast<uint16_t *>(elements), count, one_in, step);
    }
    return cudaGetLastError();
}
