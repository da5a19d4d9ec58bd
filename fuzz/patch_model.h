/* The model that patches are fuzzed against: small, with every width of element, a name that ends
 * as a section's does, and names that are parts of others. */
#ifndef WEFT_FUZZ_PATCH_MODEL_H
#define WEFT_FUZZ_PATCH_MODEL_H

#include "weft.h"

#define PATCH_TENSORS 5u
#define PATCH_BYTES   128u /* of all content; a tensor begins at a multiple of 8 */

typedef struct patch_model_row {
    const char *name;
    weft_dtype dtype;
    uint32_t rank;
    uint64_t shape[2];
    unsigned at; /* in the content */
} patch_model_row;

static inline const patch_model_row *patch_model_rows(void)
{
    static const patch_model_row rows[PATCH_TENSORS] = {
        {"a", WEFT_BF16, 2, {4, 3}, 0},       {"b", WEFT_F32, 1, {8}, 24},
        {"a:indices", WEFT_I8, 1, {5}, 56},   {"c", WEFT_F64, 0, {0}, 64},
        {"a:values:a", WEFT_U8, 1, {40}, 72},
    };

    return rows;
}

static inline uint64_t patch_model_elements(const patch_model_row *row)
{
    uint64_t product = 1;

    for (uint32_t i = 0; i < row->rank; i++) {
        product *= row->shape[i];
    }
    return product;
}

#endif
