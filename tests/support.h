/* What tests share: random numbers with a printed seed, random models and changes, and an allocator
 * that fails when told to and knows what it gave out. A helper that cannot do its work aborts. */
#ifndef WEFT_TESTS_SUPPORT_H
#define WEFT_TESTS_SUPPORT_H

#include "weft.h"

/* ---- random numbers ---- */

typedef struct test_random {
    uint64_t state;
} test_random;

/* Seeded from the environment's WEFT_SEED, or by a fixed number; prints the seed. */
test_random test_random_start(void);
uint64_t test_random_next(test_random *random);
/* Below limit, which is not 0. */
uint64_t test_random_below(test_random *random, uint64_t limit);
void test_random_fill(test_random *random, void *bytes, size_t length);

/* ---- models ---- */

#define TEST_DTYPES 12u

/* A model and the memory of its tensors. Every tensor's data ends with its block, and begins at an
 * odd address half of the time, so that a sanitizer sees every byte too many. */
typedef struct test_model {
    weft_model *model;
    size_t count;
    void **blocks;
} test_model;

/* `count` tensors "tensor.0", ...: every dtype in turn, ranks from 0, now and then an empty one, at
 * most about 2,000 elements each, random bits. All models here are sorted (model.h). */
test_model *test_model_create(test_random *random, size_t count);
/* The same registry and content in memory of its own. */
test_model *test_model_copy(test_random *random, const test_model *from);
/* The same tensors in memory of its own, added in random order. */
test_model *test_model_shuffle(test_random *random, const test_model *from);
void test_model_destroy(test_model *model);
/* The same tensors with the same content, in whatever order they were added. */
bool test_model_equal(const test_model *a, const test_model *b);
/* Changes each element with a chance of per_mille / 1000, always to other bits; returns how many.
 */
uint64_t test_model_change(test_random *random, const test_model *model, unsigned per_mille);

/* ---- sparse changes ---- */

/* Strictly increasing indices and random values for one tensor; exact blocks at odd addresses. */
typedef struct test_change {
    uint64_t count;
    uint8_t *indices, *values;
    void *blocks[2];
} test_change;

/* Each element is in it with a chance of per_mille / 1000. */
test_change test_change_create(test_random *random, uint64_t elements, uint8_t index_bytes,
                               uint8_t element_bytes, unsigned per_mille);
void test_change_release(test_change *change);

/* ---- bits ---- */

/* Number `index` of an array of little-endian numbers of so many bytes, at any alignment. */
uint64_t test_bits_get(const void *array, uint64_t index, uint8_t bytes);
void test_bits_set(void *array, uint64_t index, uint8_t bytes, uint64_t value);

/* ---- actions ---- */

/* The actions of a step as words, for a comparison that is read at a glance: "->started STARTED:0"
 * is a transition and a message to link 0; "FAILED(BUSY):1", "drop(STALE_EPOCH)", "APPLY:all". */
struct weft_actions;
void test_actions_text(const struct weft_actions *actions, char *text, size_t capacity);

/* ---- allocator ---- */

typedef struct test_allocator {
    weft_allocator allocator; /* pass this on; its context is the test_allocator */
    uint64_t calls;           /* allocations asked for */
    uint64_t fail_at;         /* the call, counted from 1, that gets no memory; 0: none */
    uint64_t live_bytes, peak_bytes;
    uint64_t live_of[3]; /* live bytes by weft_memory */
    struct test_block *blocks;
} test_allocator;

/* In place, because the context points to it. fail_at as above. */
void test_allocator_start(test_allocator *allocator, uint64_t fail_at);
/* Aborts when anything is still held. A release with other bytes or place than the allocation, or
 * of what was never given, aborts at once. */
void test_allocator_finish(const test_allocator *allocator);

#endif
