/* The model of spec/examples/model.yaml. Its tensors have no content: parsing a document reads
 * none. */
#ifndef WEFT_FUZZ_EXAMPLE_MODEL_H
#define WEFT_FUZZ_EXAMPLE_MODEL_H

#include <stdlib.h>

#include "model.h"

#define EXAMPLE_TENSORS 9u

/* In the order of model.yaml. */
static inline const weft_tensor *example_tensors(void)
{
    static char content;
    static const weft_tensor tensors[EXAMPLE_TENSORS] = {
        {"model.embed.weight", WEFT_BF16, 2, {16, 8}, &content},
        {"model.norm.weight", WEFT_F32, 1, {8}, &content},
        {"model.head.weight", WEFT_F16, 3, {4, 2, 2}, &content},
        {"model.scale", WEFT_F64, 0, {0}, &content},
        {"model.mask", WEFT_BOOL, 1, {100}, &content},
        {"model.empty", WEFT_I32, 2, {0, 4}, &content},
        {"model.experts", WEFT_F8_E4M3, 2, {65536, 65536}, &content},
        {"0.weight", WEFT_I8, 1, {5}, &content},
        {"model.gr\303\266\303\237e", WEFT_U8, 1, {3}, &content},
    };

    return tensors;
}

static inline weft_model *example_model_create(void)
{
    weft_model *model;

    if (weft_model_create(&model, NULL) != WEFT_OK) {
        abort();
    }
    for (size_t i = 0; i < EXAMPLE_TENSORS; i++) {
        if (weft_model_add(model, &example_tensors()[i]) != WEFT_OK) {
            abort();
        }
    }
    if (weft_model_sort(model) != WEFT_OK) {
        abort();
    }
    return model;
}

#endif
