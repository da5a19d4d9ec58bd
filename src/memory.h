/* Allocation through weft_allocator, and size arithmetic that cannot wrap. */
#ifndef WEFT_SRC_MEMORY_H
#define WEFT_SRC_MEMORY_H

#include "weft.h"

/* A copy of the allocator, or the default one where it is NULL or leaves allocate NULL. */
weft_allocator weft_memory_allocator(const weft_allocator *allocator);

/* NULL for zero bytes or when there is none. */
void *weft_memory_allocate(const weft_allocator *allocator, uint64_t bytes, weft_memory where);
/* NULL is allowed. */
void weft_memory_release(const weft_allocator *allocator, void *pointer, uint64_t bytes,
                         weft_memory where);

/* False when the result does not fit into 64 bits; *result is then unchanged. */
bool weft_size_add(uint64_t a, uint64_t b, uint64_t *result);
bool weft_size_multiply(uint64_t a, uint64_t b, uint64_t *result);
/* Up to the next multiple of 8, where every section of a payload begins. */
bool weft_size_align8(uint64_t a, uint64_t *result);

#endif
