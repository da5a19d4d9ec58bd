/* Changes weights in device memory as an optimizer's step would: about one element in `one_in`, at
 * places that depend on the step. */
#ifndef WEFT_BENCH_FLIP_H
#define WEFT_BENCH_FLIP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* elements: 2 bytes each, in device memory. Waits. Returns CUDA's error. */
int flip(void *elements, uint64_t count, uint64_t one_in, uint64_t step);

#ifdef __cplusplus
}
#endif
#endif
