/* Ranges for Nsight Systems and whoever else listens to NVTX, in the domain "weft". Without such a
 * tool a call costs a branch. They are ranges of the process and not of a thread, because a pause
 * begins and ends within states. */
#include "device_cuda.h"

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#include <pthread.h>

static nvtxDomainHandle_t domain;

static void create_domain(void)
{
    domain = nvtxDomainCreateA("weft");
}

void weft_cuda_mark(const weft_device *device, uint64_t *range, const char *name)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)device;
    (void)pthread_once(&once, create_domain);
    if (*range != 0) {
        nvtxDomainRangeEnd(domain, *range - 1);
        *range = 0;
    }
    if (name != NULL) {
        nvtxEventAttributes_t event = {.version = NVTX_VERSION,
                                       .size = NVTX_EVENT_ATTRIB_STRUCT_SIZE,
                                       .messageType = NVTX_MESSAGE_TYPE_ASCII,
                                       .message = {.ascii = name}};
        *range = nvtxDomainRangeStartEx(domain, &event) + 1; /* a tool may number from 0 */
    }
}
#else
/* A toolkit without NVTX, which is a package of its own: no range is ever open. */
void weft_cuda_mark(const weft_device *device, uint64_t *range, const char *name)
{
    (void)device;
    (void)range;
    (void)name;
}
#endif
