/* What one input does with memory, checked: it leaves nothing behind, and never holds more than it
 * may. Counted in the sanitizer's allocator, so that libfyaml is counted too; without a sanitizer
 * nothing is checked. One thread. */
#ifndef WEFT_FUZZ_SHARE_MEMORY_H
#define WEFT_FUZZ_SHARE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Calls run(data, size), and aborts when it leaked or had more than most_bytes at a time. What it
 * makes once and keeps (a static model) is no leak: only what every run leaves behind is. */
void fuzz_memory_checked(void (*run)(const uint8_t *data, size_t size), const uint8_t *data,
                         size_t size, size_t most_bytes);

/* The input in a block of exactly its length, so that a sanitizer sees a read behind its end. For
 * an empty input it has one byte. Release with free. */
void *fuzz_memory_copy(const uint8_t *data, size_t size);

#endif
