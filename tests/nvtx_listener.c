#include "nvtx_listener.h"

#include <stdio.h>
#include <stdlib.h>

#include <nvtx3/nvToolsExt.h>

#define VISIBLE __attribute__((visibility("default")))

int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_table);
const nvtx_heard *nvtx_listener_heard(size_t *count);

static nvtx_heard heard[NVTX_LISTENER_EVENTS];
static size_t heard_count;
static uint64_t next_id;

/* The handle is the name. */
static nvtxDomainHandle_t create_domain(const char *name)
{
    char *copy = NULL;
    return asprintf(&copy, "%s", name) < 0 ? NULL : (nvtxDomainHandle_t)(void *)copy;
}

static void hear(nvtxDomainHandle_t domain, uint64_t id, const char *name)
{
    if (heard_count == NVTX_LISTENER_EVENTS) {
        abort();
    }
    nvtx_heard *event = &heard[heard_count++];
    event->id = id;
    (void)snprintf(event->domain, sizeof event->domain, "%s",
                   domain == NULL ? "none" : (const char *)(void *)domain);
    (void)snprintf(event->name, sizeof event->name, "%s", name);
}

static nvtxRangeId_t start_range(nvtxDomainHandle_t domain, const nvtxEventAttributes_t *event)
{
    int is_text = event->version == NVTX_VERSION && event->size == sizeof *event &&
                  event->messageType == NVTX_MESSAGE_TYPE_ASCII;
    hear(domain, next_id, is_text ? event->message.ascii : "not a text");
    return next_id++;
}

static void end_range(nvtxDomainHandle_t domain, nvtxRangeId_t id)
{
    hear(domain, id, "");
}

VISIBLE int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_table)
{
    const NvtxExportTableCallbacks *callbacks = get_table(NVTX_ETID_CALLBACKS);
    NvtxFunctionTable table = NULL;
    unsigned size = 0;
    if (callbacks == NULL ||
        !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) ||
        size <= NVTX_CBID_CORE2_DomainCreateA) {
        return 0;
    }
    *table[NVTX_CBID_CORE2_DomainCreateA] = (NvtxFunctionPointer)create_domain;
    *table[NVTX_CBID_CORE2_DomainRangeStartEx] = (NvtxFunctionPointer)start_range;
    *table[NVTX_CBID_CORE2_DomainRangeEnd] = (NvtxFunctionPointer)end_range;
    return 1;
}

VISIBLE const nvtx_heard *nvtx_listener_heard(size_t *count)
{
    *count = heard_count;
    return heard;
}
