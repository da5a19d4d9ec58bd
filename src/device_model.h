/* The content of a model in other memory: in that of a GPU for a file whose tensors are to live
 * there, or beside the weights for a trainer's base. */
#ifndef WEFT_SRC_DEVICE_MODEL_H
#define WEFT_SRC_DEVICE_MODEL_H

#include "device.h"

typedef struct weft_device_model {
    weft_model *model; /* the same tensors in the same order; NULL: none */
    const weft_device *device;
    weft_allocator allocator;
    weft_memory where;
    void *memory; /* of all tensors, one block */
    uint64_t bytes;
} weft_device_model;

/* Makes a registry and memory for what `from` has, and fills it. allocator: NULL for the device's.
 * Returns: WEFT_OK, OUT_OF_MEMORY, SIZE_OVERFLOW, DEVICE_FAILED; on an error nothing is held. */
weft_status weft_device_model_create(weft_device_model *made, const weft_model *from,
                                     const weft_device *device, const weft_allocator *allocator,
                                     weft_memory where);
/* From a model of the same tensors, in host memory or in the device's. Ordered like an operation.
 * Returns: WEFT_OK, DEVICE_FAILED. */
weft_status weft_device_model_fill(const weft_device_model *made, const weft_model *from);
/* Into a model of the same tensors in host memory, after everything submitted before. Waits.
 * Returns: WEFT_OK, DEVICE_FAILED. */
weft_status weft_device_model_fetch(const weft_device_model *made, const weft_model *to);
/* Also of one that is all zeros. */
void weft_device_model_destroy(weft_device_model *made);

#endif
