/* One block for all tensors: a model has thousands, and memory that is page-locked or asked from a
 * device costs most by the call.
 *
 *      tensor 0 │ to 64 │ tensor 1 │ to 64 │ ...        a tensor without elements has no place
 */
#include "device_model.h"

#include "memory.h"

#define ALIGNMENT 64u /* what allocators give, so that every tensor is as aligned as the block */

static uint64_t tensor_bytes(const weft_model *model, size_t number)
{
    return weft_model_elements(model, number) *
           weft_dtype_bytes(weft_model_tensor(model, number)->dtype);
}

/* Where the tensor after this one begins. */
static weft_status end_of(uint64_t begin, uint64_t bytes, uint64_t *end)
{
    uint64_t sum = 0;
    if (!weft_size_add(begin, bytes, &sum) || !weft_size_add(sum, ALIGNMENT - 1, &sum)) {
        return WEFT_E_SIZE_OVERFLOW;
    }
    *end = sum / ALIGNMENT * ALIGNMENT;
    return WEFT_OK;
}

static weft_status allocate(weft_device_model *made, const weft_model *from)
{
    weft_status status = WEFT_OK;
    for (size_t i = 0; status == WEFT_OK && i < weft_model_count(from); i++) {
        status = end_of(made->bytes, tensor_bytes(from, i), &made->bytes);
    }
    if (status == WEFT_OK && made->bytes > 0) {
        made->memory = weft_memory_allocate(&made->allocator, made->bytes, made->where);
        status = made->memory == NULL ? WEFT_E_OUT_OF_MEMORY : WEFT_OK;
    }
    return status;
}

static weft_status add_tensors(const weft_device_model *made, const weft_model *from)
{
    uint64_t at = 0;
    weft_status status = WEFT_OK;
    for (size_t i = 0; status == WEFT_OK && i < weft_model_count(from); i++) {
        weft_tensor tensor = *weft_model_tensor(from, i);
        uint64_t bytes = tensor_bytes(from, i);
        tensor.data = bytes == 0 ? NULL : (uint8_t *)made->memory + at;
        status = weft_model_add(made->model, &tensor);
        (void)end_of(at, bytes, &at); /* it has not wrapped in allocate */
    }
    return status;
}

weft_status weft_device_model_create(weft_device_model *made, const weft_model *from,
                                     const weft_device *device, const weft_allocator *allocator,
                                     weft_memory where)
{
    static const weft_allocator NONE = {.allocate = NULL};
    weft_device_model fresh = {.device = device, .where = where};
    fresh.allocator = weft_device_allocator(device, allocator != NULL ? allocator : &NONE);
    weft_status status = weft_model_create(&fresh.model, &fresh.allocator);
    status = status == WEFT_OK ? allocate(&fresh, from) : status;
    status = status == WEFT_OK ? add_tensors(&fresh, from) : status;
    status = status == WEFT_OK ? weft_device_model_fill(&fresh, from) : status;
    if (status != WEFT_OK) {
        weft_device_model_destroy(&fresh);
        return status;
    }
    *made = fresh;
    return WEFT_OK;
}

weft_status weft_device_model_fill(const weft_device_model *made, const weft_model *from)
{
    weft_status status = WEFT_OK;
    for (size_t i = 0; status == WEFT_OK && i < weft_model_count(made->model); i++) {
        uint64_t bytes = tensor_bytes(from, i);
        if (bytes > 0) {
            status = made->device->copy(made->device, weft_model_tensor(made->model, i)->data,
                                        weft_model_tensor(from, i)->data, bytes);
        }
    }
    return status;
}

weft_status weft_device_model_fetch(const weft_device_model *made, const weft_model *to)
{
    weft_status status = WEFT_OK;
    for (size_t i = 0; status == WEFT_OK && i < weft_model_count(made->model); i++) {
        uint64_t bytes = tensor_bytes(to, i);
        if (bytes > 0) {
            status = made->device->fetch(made->device, weft_model_tensor(to, i)->data,
                                         weft_model_tensor(made->model, i)->data, bytes);
        }
    }
    return status;
}

void weft_device_model_destroy(weft_device_model *made)
{
    weft_model_destroy(made->model);
    weft_memory_release(&made->allocator, made->memory, made->bytes, made->where);
    *made = (weft_device_model){.model = NULL};
}
