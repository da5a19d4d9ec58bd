/* In the place of transport_nccl.c where CUDA or NCCL's header was not found. */
#include "weft.h"

weft_status weft_transport_nccl_create(const weft_transport **transport,
                                       const weft_nccl_config *config)
{
    bool right = transport != NULL && config != NULL && config->size == sizeof *config;
    return right ? WEFT_E_NO_TRANSPORT : WEFT_E_INVALID_ARGUMENT;
}
