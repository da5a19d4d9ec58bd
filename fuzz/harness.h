/* What the harnesses of the protocol share: the input as a row of numbers, an allocator that counts
 * and fails, and a small model in memory with guard zones. */
#ifndef WEFT_FUZZ_HARNESS_H
#define WEFT_FUZZ_HARNESS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "weft.h"

#if defined(__SANITIZE_ADDRESS__)
#define FUZZ_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUZZ_POISONS 1
#endif
#endif
#if defined(FUZZ_POISONS)
#include <sanitizer/asan_interface.h>
#endif

#define fuzz_expect(condition)                                                                     \
    ((condition)                                                                                   \
         ? (void)0                                                                                 \
         : (fprintf(stderr, "fuzz: broken at %s:%d: %s\n", __FILE__, __LINE__, #condition),        \
            abort()))

/* ---- the input ---- */

typedef struct fuzz_input {
    const uint8_t *bytes;
    size_t left;
} fuzz_input;

/* The next number; 0 when the input is over, so that every input means something. */
static inline uint8_t fuzz_u8(fuzz_input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->bytes++;
}

static inline uint32_t fuzz_u16(fuzz_input *in)
{
    uint32_t low = fuzz_u8(in);
    return low | (uint32_t)fuzz_u8(in) << 8;
}

/* So many bytes, or as many as there are, in a block of exactly that length, so that a sanitizer
 * sees a byte too many; free it. */
static inline uint8_t *fuzz_block(fuzz_input *in, size_t *length)
{
    *length = *length < in->left ? *length : in->left;
    uint8_t *block = malloc(*length > 0 ? *length : 1);
    fuzz_expect(block != NULL);
    if (*length > 0) {
        memcpy(block, in->bytes, *length);
    }
    in->bytes += *length;
    in->left -= *length;
    return block;
}

/* Exactly so many bytes; where the input is over, 'A' takes its place. */
static inline uint8_t *fuzz_padded(fuzz_input *in, size_t length)
{
    size_t there = length;
    uint8_t *given = fuzz_block(in, &there);
    uint8_t *block = malloc(length > 0 ? length : 1);
    fuzz_expect(block != NULL);
    memset(block, 'A', length);
    memcpy(block, given, there);
    free(given);
    return block;
}

/* Records of fuzz_worker_frames and fuzz_trainer_frames that record.c writes: places in their
 * tables. */
enum {
    FUZZ_WORKER_RAW = 3, /* length (2 bytes), bytes */
    FUZZ_TRAINER_PUSH = 1,
    FUZZ_TRAINER_RAW = 6,
    FUZZ_TRAINER_ABORT = 7
};
#define FUZZ_FIRST_VERSION 3u
#define FUZZ_TIMEOUT_MS    1000u

/* ---- memory ---- */

typedef struct fuzz_memory {
    uint64_t live_bytes, peak_bytes;
    uint32_t fail_in; /* the allocation, counted from 1, that gets none; 0: all get theirs */
} fuzz_memory;

static inline void *fuzz_allocate(void *context, size_t bytes, weft_memory where)
{
    fuzz_memory *memory = context;
    void *pointer = NULL;
    (void)where;
    fuzz_expect(bytes > 0);
    if (memory->fail_in > 0 && --memory->fail_in == 0) {
        return NULL;
    }
    fuzz_expect(posix_memalign(&pointer, 64, bytes) == 0);
    memory->live_bytes += bytes;
    if (memory->live_bytes > memory->peak_bytes) {
        memory->peak_bytes = memory->live_bytes;
    }
    return pointer;
}

static inline void fuzz_release(void *context, void *pointer, size_t bytes, weft_memory where)
{
    fuzz_memory *memory = context;
    (void)where;
    fuzz_expect(memory->live_bytes >= bytes);
    memory->live_bytes -= bytes;
    free(pointer);
}

static inline weft_allocator fuzz_allocator(fuzz_memory *memory)
{
    return (weft_allocator){.allocate = fuzz_allocate, .release = fuzz_release, .context = memory};
}

/* ---- a model ---- */

#define FUZZ_TENSORS     5u
#define FUZZ_GUARD       32u /* bytes before, between and behind the tensors */
#define FUZZ_BYTES       (48u + 48u + 40u + 8u)
#define FUZZ_ARENA_BYTES (FUZZ_BYTES + (FUZZ_TENSORS + 1u) * FUZZ_GUARD)
#define FUZZ_GUARD_BYTE  0xc5u

/* Every width of an element, ranks 0 to 2, an empty tensor. They are laid out in the order of
 * their names. */
static const weft_tensor FUZZ_TENSOR_LIST[FUZZ_TENSORS] = {
    {.name = "a.weight", .dtype = WEFT_BF16, .rank = 1, .shape = {24}},
    {.name = "b.weight", .dtype = WEFT_F32, .rank = 2, .shape = {3, 4}},
    {.name = "c", .dtype = WEFT_U8, .rank = 1, .shape = {40}},
    {.name = "d.scale", .dtype = WEFT_F64, .rank = 0},
    {.name = "e.empty", .dtype = WEFT_I32, .rank = 2, .shape = {0, 4}},
};
static const uint32_t FUZZ_TENSOR_BYTES[FUZZ_TENSORS] = {48, 48, 40, 8, 0};

typedef struct fuzz_content { /* the tensors, one behind the other */
    uint8_t bytes[FUZZ_BYTES];
} fuzz_content;

typedef struct fuzz_model {
    weft_model *model;
    uint8_t arena[FUZZ_ARENA_BYTES];
} fuzz_model;

static inline uint8_t *fuzz_tensor(fuzz_model *model, uint32_t number)
{
    uint8_t *at = model->arena + FUZZ_GUARD;
    for (uint32_t i = 0; i < number; i++) {
        at += FUZZ_TENSOR_BYTES[i] + FUZZ_GUARD;
    }
    return at;
}

/* Made once: an execution only sets the content. */
static inline void fuzz_model_create(fuzz_model *model)
{
    memset(model->arena, FUZZ_GUARD_BYTE, sizeof model->arena);
    fuzz_expect(weft_model_create(&model->model, NULL) == WEFT_OK);
    for (uint32_t i = 0; i < FUZZ_TENSORS; i++) {
        weft_tensor tensor = FUZZ_TENSOR_LIST[i];
        tensor.data = fuzz_tensor(model, i);
        fuzz_expect(weft_model_add(model->model, &tensor) == WEFT_OK);
    }
    fuzz_expect(weft_model_sort(model->model) == WEFT_OK);
#if defined(FUZZ_POISONS) /* so that what is only read there is seen too */
    ASAN_POISON_MEMORY_REGION(model->arena, sizeof model->arena);
    for (uint32_t i = 0; i < FUZZ_TENSORS; i++) {
        ASAN_UNPOISON_MEMORY_REGION(fuzz_tensor(model, i), FUZZ_TENSOR_BYTES[i]);
    }
#endif
}

static inline void fuzz_model_set(fuzz_model *model, const fuzz_content *content)
{
    const uint8_t *from = content->bytes;
    for (uint32_t i = 0; i < FUZZ_TENSORS; from += FUZZ_TENSOR_BYTES[i++]) {
        memcpy(fuzz_tensor(model, i), from, FUZZ_TENSOR_BYTES[i]);
    }
}

static inline void fuzz_model_get(fuzz_model *model, fuzz_content *content)
{
    uint8_t *to = content->bytes;
    for (uint32_t i = 0; i < FUZZ_TENSORS; to += FUZZ_TENSOR_BYTES[i++]) {
        memcpy(to, fuzz_tensor(model, i), FUZZ_TENSOR_BYTES[i]);
    }
}

static inline bool fuzz_model_holds(fuzz_model *model, const fuzz_content *content)
{
    fuzz_content present = {{0}};
    fuzz_model_get(model, &present);
    return memcmp(&present, content, sizeof present) == 0;
}

/* Nobody has written beside a tensor. */
static inline bool fuzz_guards_hold(fuzz_model *model)
{
    bool hold = true;
#if defined(FUZZ_POISONS) /* it would have been seen */
    (void)model;
#else
    uint8_t guard[FUZZ_GUARD];
    memset(guard, FUZZ_GUARD_BYTE, sizeof guard);
    for (uint32_t i = 0; i < FUZZ_TENSORS; i++) {
        const uint8_t *tensor = fuzz_tensor(model, i);
        hold = hold && memcmp(tensor - FUZZ_GUARD, guard, FUZZ_GUARD) == 0 &&
               memcmp(tensor + FUZZ_TENSOR_BYTES[i], guard, FUZZ_GUARD) == 0;
    }
#endif
    return hold;
}

static inline void fuzz_content_first(fuzz_content *content)
{
    for (uint32_t i = 0; i < FUZZ_BYTES; i++) {
        content->bytes[i] = (uint8_t)(i * 37u + 11u);
    }
}

static inline uint64_t fuzz_model_digest(const fuzz_model *model)
{
    uint64_t digest = 0;
    fuzz_expect(weft_model_digest(model->model, weft_device_host(), &digest) == WEFT_OK);
    return digest;
}

#endif
