/* The default allocator, and the two calls through which the library asks for memory. */
#include "memory.h"

#include <stdlib.h>
#include <sys/mman.h>

#define ALIGNMENT      64u
#define HUGE_ALIGNMENT ((size_t)2 << 20)    /* of a large page */
#define HUGE_FROM      (2 * HUGE_ALIGNMENT) /* bytes; less has no whole large page for certain */

/* Large blocks ask for large pages: a diff writes its payload once, and half of its time would be
 * page faults of 4 KiB. The C library knows of no device memory: a device that needs it brings an
 * allocator of its own. Where there is no device, nothing reads pinned memory but the processor. */
static void *default_allocate(void *context, size_t bytes, weft_memory where)
{
    (void)context;
    void *pointer = NULL;
    bool huge = bytes >= HUGE_FROM;
    if (where == WEFT_MEMORY_DEVICE || bytes > PTRDIFF_MAX ||
        posix_memalign(&pointer, huge ? HUGE_ALIGNMENT : ALIGNMENT, bytes) != 0) {
        return NULL;
    }
    if (huge) {
        (void)madvise(pointer, bytes, MADV_HUGEPAGE); /* a wish: without it only time is lost */
    }
    return pointer;
}

static void default_release(void *context, void *pointer, size_t bytes, weft_memory where)
{
    (void)context;
    (void)bytes;
    (void)where;
    free(pointer);
}

weft_allocator weft_allocator_default(void)
{
    return (weft_allocator){.allocate = default_allocate, .release = default_release};
}

weft_allocator weft_memory_allocator(const weft_allocator *allocator)
{
    return allocator != NULL && allocator->allocate != NULL ? *allocator : weft_allocator_default();
}

void *weft_memory_allocate(const weft_allocator *allocator, uint64_t bytes, weft_memory where)
{
    if (bytes == 0 || bytes > SIZE_MAX) {
        return NULL;
    }
    return allocator->allocate(allocator->context, (size_t)bytes, where);
}

void weft_memory_release(const weft_allocator *allocator, void *pointer, uint64_t bytes,
                         weft_memory where)
{
    if (pointer != NULL) {
        allocator->release(allocator->context, pointer, (size_t)bytes, where);
    }
}
