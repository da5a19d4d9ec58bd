/* What the files of the host device share: elements and indices as 64-bit numbers, at any alignment
 * and with a width that is a constant wherever the call is inlined. */
#ifndef WEFT_SRC_DEVICE_HOST_H
#define WEFT_SRC_DEVICE_HOST_H

#include "device.h"

#include <string.h>

#define WEFT_ALWAYS_INLINE static inline __attribute__((always_inline))

/*@ axiomatic IndexAt {
      logic integer index_at{L}(uint8_t *at, integer number, integer bytes)
        reads at[number * bytes .. number * bytes + bytes - 1];
    }
@*/

/* Little-endian, as digest.c asserts: the bytes that are not loaded are the high ones. */
/*@ requires \valid_read(at + (number * bytes .. number * bytes + bytes - 1));
    assigns \nothing;
    ensures \result == index_at(at, number, bytes);
@*/
WEFT_ALWAYS_INLINE uint64_t weft_host_load(const uint8_t *at, uint64_t number, unsigned bytes)
{
    uint64_t value = 0;

    memcpy(&value, at + number * bytes, bytes);
    return value;
}

WEFT_ALWAYS_INLINE void weft_host_store(uint8_t *at, uint64_t number, unsigned bytes,
                                        uint64_t value)
{
    memcpy(at + number * bytes, &value, bytes);
}

static inline bool weft_host_is_element(uint8_t bytes)
{
    return bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
}

static inline bool weft_host_is_index(uint8_t bytes)
{
    return bytes == 4 || bytes == 8;
}

/* weft_device.diff (device_host_diff.c). */
weft_status weft_host_diff(const weft_device *device, const weft_comparison *tensors, size_t count,
                           const weft_allocator *allocator, uint64_t budget_bytes,
                           weft_difference *difference);

#endif
