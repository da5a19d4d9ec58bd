/* Allocation through weft_allocator. */
#ifndef WEFT_SRC_MEMORY_H
#define WEFT_SRC_MEMORY_H

#include "size.h"
#include "weft.h"

/* A copy of the allocator, or the default one where it is NULL or leaves allocate NULL. */
weft_allocator weft_memory_allocator(const weft_allocator *allocator);

/* NULL for zero bytes or when there is none. */
void *weft_memory_allocate(const weft_allocator *allocator, uint64_t bytes, weft_memory where);
/* NULL is allowed. */
void weft_memory_release(const weft_allocator *allocator, void *pointer, uint64_t bytes,
                         weft_memory where);

#endif
