/* AFL++'s interface of a custom mutator around libFuzzer's, so that one mutate_NAME.c serves both.
 * libFuzzer has LLVMFuzzerMutate for a mutator that wants plain bytes changed; AFL++ has nothing
 * like it (it does that in stages of its own), so a small one is here. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
void *afl_custom_init(void *afl, unsigned seed);
size_t afl_custom_fuzz(void *state, uint8_t *data, size_t size, uint8_t **out, uint8_t *other,
                       size_t other_size, size_t max_size);
void afl_custom_deinit(void *state);

/* AFL++ allows a megabyte; no input that finds anything new is that long, and each costs time. */
#define SIZE_MAX_BYTES 65536u

typedef struct mutator {
    uint8_t *bytes;
    uint64_t random;
} mutator;

static uint64_t byte_random = 1; /* LLVMFuzzerMutate has no argument for it */

static uint64_t next(uint64_t *random) /* xorshift64 */
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size)
{
    uint64_t r = next(&byte_random);
    size_t at = size > 0 ? (size_t)(r >> 8) % size : 0;

    if (size == 0 || (r % 4 == 0 && size < max_size)) { /* one byte more */
        if (max_size == 0) {
            return 0;
        }
        memmove(data + at + 1, data + at, size - at);
        data[at] = (uint8_t)(r >> 40);
        return size + 1;
    }
    if (r % 4 == 1 && size > 1) { /* one fewer */
        memmove(data + at, data + at + 1, size - at - 1);
        return size - 1;
    }
    data[at] = (uint8_t)(r % 4 == 2 ? r >> 40 : data[at] ^ (UINT64_C(1) << (r >> 40) % 8));
    return size;
}

void *afl_custom_init(void *afl, unsigned seed)
{
    mutator *m = calloc(1, sizeof *m);

    (void)afl;
    if (m == NULL || (m->bytes = malloc(SIZE_MAX_BYTES)) == NULL) {
        abort();
    }
    m->random = (uint64_t)seed << 32 | 1;
    byte_random = m->random;
    return m;
}

size_t afl_custom_fuzz(void *state, uint8_t *data, size_t size, uint8_t **out, uint8_t *other,
                       size_t other_size, size_t max_size)
{
    mutator *m = state;
    size_t most = max_size < SIZE_MAX_BYTES ? max_size : SIZE_MAX_BYTES;

    (void)other;
    (void)other_size;
    size = size < most ? size : most;
    memcpy(m->bytes, data, size);
    *out = m->bytes;
    return LLVMFuzzerCustomMutator(m->bytes, size, most, (unsigned)(next(&m->random) >> 32));
}

void afl_custom_deinit(void *state)
{
    mutator *m = state;

    free(m->bytes);
    free(m);
}
