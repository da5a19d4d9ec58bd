/* Work lists for the kernels: every tensor's part cut into chunks, in the order of the tensors. */
#include "weft_kernels.h"

/* Chunks of one segment behind the `count` that are there; returns how many there are then. */
static uint64_t append(weft_kernel_work *work, uint64_t count, uint32_t segment, uint64_t elements,
                       uint64_t elements_a_chunk)
{
    uint64_t chunks = elements / elements_a_chunk + (elements % elements_a_chunk != 0);

    for (uint64_t chunk = 0; work != NULL && chunk < chunks; chunk++) {
        work[count + chunk] = (weft_kernel_work){.segment = segment, .chunk = (uint32_t)chunk};
    }
    return count + chunks;
}

uint64_t weft_kernel_work_entries(const weft_segment *segments, size_t count,
                                  uint32_t first_segment, weft_kernel_work *work)
{
    uint64_t chunks = 0;

    for (size_t i = 0; i < count; i++) {
        bool dense = segments[i].indices == NULL;
        chunks = append(work, chunks, first_segment + (uint32_t)i, segments[i].count,
                        dense ? WEFT_KERNEL_DENSE_ENTRIES : WEFT_KERNEL_ENTRIES);
    }
    return chunks;
}

uint64_t weft_kernel_work_targets(const weft_segment *segments, size_t count,
                                  uint32_t first_segment, weft_kernel_work *work)
{
    uint64_t chunks = 0;

    for (size_t i = 0; i < count; i++) {
        chunks = append(work, chunks, first_segment + (uint32_t)i, segments[i].elements,
                        WEFT_KERNEL_TARGET_BYTES / segments[i].element_bytes);
    }
    return chunks;
}

uint64_t weft_kernel_work_comparisons(const weft_comparison *tensors, size_t count,
                                      weft_kernel_work *work, uint64_t *first)
{
    uint64_t chunks = 0;

    for (size_t i = 0; i < count; i++) {
        if (first != NULL) {
            first[i] = chunks;
        }
        chunks = append(work, chunks, (uint32_t)i, tensors[i].elements,
                        WEFT_KERNEL_DIFF_BYTES / tensors[i].element_bytes);
    }
    if (first != NULL) {
        first[count] = chunks;
    }
    return chunks;
}
