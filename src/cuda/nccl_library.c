#include "nccl_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SONAME      "libnccl.so.2"
#define VERSION_MIN 21400 /* NCCL_VERSION_CODE of 2.14 */

static weft_nccl_library library;
static bool usable;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The file that the user names; else the one that is in the process already; else any. */
static void *open_library(void)
{
    const char *named = getenv("WEFT_NCCL_LIBRARY");
    if (named != NULL && named[0] != '\0') {
        return dlopen(named, RTLD_NOW | RTLD_LOCAL);
    }
    void *handle = dlopen(SONAME, RTLD_NOW | RTLD_NOLOAD);
    return handle != NULL ? handle : dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);
}

/* POSIX: an object pointer holds a function's. */
static bool find(void *handle, const char *name, void *place)
{
    void *symbol = dlsym(handle, name);
    memcpy(place, &symbol, sizeof symbol);
    return symbol != NULL;
}

static void load(void)
{
    static const char *const names[] = {
        "ncclGetVersion", "ncclGetUniqueId",    "ncclCommInitRankConfig", "ncclCommGetAsyncError",
        "ncclCommAbort",  "ncclGroupStart",     "ncclGroupEnd",           "ncclBroadcast",
        "ncclAllReduce",  "ncclGetErrorString", "ncclGetLastError",
    };
    void *places[] = {
        &library.get_version,
        &library.get_unique_id,
        &library.comm_init_rank_config,
        &library.comm_get_async_error,
        &library.comm_abort,
        &library.group_start,
        &library.group_end,
        &library.broadcast,
        &library.all_reduce,
        &library.get_error_string,
        &library.get_last_error,
    };
    int version = 0;
    void *handle = open_library();
    bool found = handle != NULL;
    for (size_t i = 0; found && i < sizeof names / sizeof *names; i++) {
        found = find(handle, names[i], places[i]);
    }
    usable = found && library.get_version(&version) == ncclSuccess && version >= VERSION_MIN;
}

const weft_nccl_library *weft_nccl_library_get(void)
{
    (void)pthread_once(&once, load);
    return usable ? &library : NULL;
}
