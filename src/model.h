/* What the library knows of a model beyond weft.h. */
#ifndef WEFT_SRC_MODEL_H
#define WEFT_SRC_MODEL_H

#include "weft.h"

/* A name in a file may be longer than a model's: what a patch file names is a tensor and a suffix
 * (patch.h). */
#define WEFT_FILE_NAME_MAX (WEFT_NAME_MAX + 8u)

/* A registry for the tensors of a file: names of up to WEFT_FILE_NAME_MAX bytes. Returns:
 * OUT_OF_MEMORY. */
weft_status weft_model_create_for_file(weft_model **model, const weft_allocator *allocator);
/* Seed of the tensor's digest keys (digest.h), computed when the tensor is added. */
uint64_t weft_model_seed(const weft_model *model, size_t number);
/* 4, or 8 where the tensor has 2^31 elements or more: an index that was cut to 32 bits could land
 * in range again. */
uint8_t weft_model_index_bytes(const weft_model *model, size_t number);
/* Elements of a tensor of this dtype, rank (at most WEFT_RANK_MAX) and shape. False when elements
 * or bytes do not fit into 64 bits; *elements is then unchanged. */
bool weft_model_count_elements(weft_dtype dtype, uint32_t rank, const uint64_t *shape,
                               uint64_t *elements);

/* A tensor in the canonical order, which is by name, byte by byte: the same for all models of one
 * fingerprint, in whatever order their tensors were added. */
typedef struct weft_ordered {
    void *data;
    uint64_t elements;
    uint64_t seed;   /* weft_model_seed */
    uint32_t tensor; /* its number */
    uint8_t index_bytes, element_bytes;
} weft_ordered;

/* Makes the order, which lasts until a tensor is added: workers and trainers do so before they
 * acquire their model. Returns: OUT_OF_MEMORY. */
weft_status weft_model_sort(weft_model *model);
bool weft_model_is_sorted(const weft_model *model);
/* All tensors in the order; NULL if there is none. The model must have been sorted. */
const weft_ordered *weft_model_order(const weft_model *model);
/* Where the order has the tensor of this number. The same must hold. */
size_t weft_model_position(const weft_model *model, size_t number);

/* Freezes the registry as long as somebody uses it: every acquire needs a release. */
void weft_model_acquire(weft_model *model);
void weft_model_release(weft_model *model);
/* Same count, and for each number the same name, dtype and shape? On false *number is the first
 * difference. */
bool weft_model_same(const weft_model *a, const weft_model *b, size_t *number);

#endif
