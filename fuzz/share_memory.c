#include "share_memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The sanitizers' public interface (sanitizer/allocator_interface.h); absent without one. */
/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): theirs to choose */
__attribute__((weak)) int
__sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void *, size_t),
                                          void (*released)(const volatile void *));
__attribute__((weak)) size_t __sanitizer_get_allocated_size(const volatile void *block);
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* A leak is one in each of so many runs: the first may make what is kept, and a thread of the
 * fuzzer may take or give back blocks of its own meanwhile, so that numbers may be below 0 too. */
#define RUNS 4
static long live_blocks, live_bytes, peak_bytes;

static void allocated(const volatile void *block, size_t size)
{
    if (block != NULL) {
        live_blocks++;
        live_bytes += (long)size;
        peak_bytes = live_bytes > peak_bytes ? live_bytes : peak_bytes;
    }
}

static void released(const volatile void *block)
{
    if (block != NULL) {
        live_blocks--;
        live_bytes -= (long)__sanitizer_get_allocated_size(block);
    }
}

static bool counts(void)
{
    static bool installed;

    if (&__sanitizer_install_malloc_and_free_hooks == NULL) {
        return false;
    }
    if (!installed) {
        installed = __sanitizer_install_malloc_and_free_hooks(allocated, released) != 0;
    }
    return installed;
}

/* Blocks that it left behind. */
static long run_counted(void (*run)(const uint8_t *data, size_t size), const uint8_t *data,
                        size_t size, size_t most_bytes)
{
    live_blocks = 0;
    live_bytes = 0;
    peak_bytes = 0;
    run(data, size);
    if (peak_bytes > (long)most_bytes) {
        (void)fprintf(stderr, "memory: %ld bytes at a time for an input of %zu, at most %zu\n",
                      peak_bytes, size, most_bytes);
        abort();
    }
    return live_blocks;
}

void fuzz_memory_checked(void (*run)(const uint8_t *data, size_t size), const uint8_t *data,
                         size_t size, size_t most_bytes)
{
    long left = 0;

    if (!counts()) {
        run(data, size);
        return;
    }
    for (int i = 0; i < RUNS; i++) {
        left = run_counted(run, data, size, most_bytes);
        if (left <= 0) {
            return;
        }
    }
    (void)fprintf(stderr, "memory: %ld blocks are left behind\n", left);
    abort();
}

void *fuzz_memory_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    if (copy == NULL) {
        abort();
    }
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}
