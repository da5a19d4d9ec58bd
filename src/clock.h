/* The monotonic clock, for the few places that wait by themselves: destroying a handle whose GPU is
 * busy, and giving memory back. Everywhere else time is passed in. */
#ifndef WEFT_SRC_CLOCK_H
#define WEFT_SRC_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t weft_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

#endif
