/* A listener to NVTX, as a profiler is one: NVTX loads it because NVTX_INJECTION64_PATH names it.
 * It writes down every range of every domain; the test looks the function below up in it. */
#ifndef WEFT_TESTS_NVTX_LISTENER_H
#define WEFT_TESTS_NVTX_LISTENER_H

#include <stddef.h>
#include <stdint.h>

#define NVTX_LISTENER_EVENTS 4096u

typedef struct nvtx_heard {
    uint64_t id; /* of the range, counted from 0 */
    char domain[16];
    char name[48]; /* "" for an end */
} nvtx_heard;

/* "nvtx_listener_heard": what was heard so far, and how much. */
typedef const nvtx_heard *(*nvtx_listener_heard_function)(size_t *count);

#endif
