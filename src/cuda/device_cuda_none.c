/* In the place of device_cuda.c where CUDA was not found. */
#include "weft.h"

weft_status weft_device_cuda_create(const weft_device **device, const weft_cuda_config *config)
{
    bool right = device != NULL && config != NULL && config->size == sizeof *config;
    return right ? WEFT_E_NO_DEVICE : WEFT_E_INVALID_ARGUMENT;
}
