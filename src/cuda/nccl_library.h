/* NCCL's functions, found at run time: a process has at most one NCCL, and in a serving stack that
 * is the one that its framework loaded. So weft links none, and works where there is none. */
#ifndef WEFT_SRC_CUDA_NCCL_LIBRARY_H
#define WEFT_SRC_CUDA_NCCL_LIBRARY_H

#include <nccl.h>

typedef struct weft_nccl_library {
    ncclResult_t (*get_version)(int *version);
    ncclResult_t (*get_unique_id)(ncclUniqueId *id);
    ncclResult_t (*comm_init_rank_config)(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank,
                                          ncclConfig_t *config);
    ncclResult_t (*comm_get_async_error)(ncclComm_t comm, ncclResult_t *error);
    ncclResult_t (*comm_abort)(ncclComm_t comm);
    ncclResult_t (*group_start)(void);
    ncclResult_t (*group_end)(void);
    ncclResult_t (*broadcast)(const void *from, void *to, size_t count, ncclDataType_t type,
                              int root, ncclComm_t comm, cudaStream_t stream);
    ncclResult_t (*all_reduce)(const void *from, void *to, size_t count, ncclDataType_t type,
                               ncclRedOp_t operation, ncclComm_t comm, cudaStream_t stream);
    const char *(*get_error_string)(ncclResult_t error);
    const char *(*get_last_error)(ncclComm_t comm);
} weft_nccl_library;

/* The same table for every caller, loaded once and never unloaded; NULL if there is no NCCL, or
 * none that has what weft needs (2.14, for non-blocking communicators). Any thread. */
const weft_nccl_library *weft_nccl_library_get(void);

#endif
