/* Little-endian numbers in bytes, on any machine and at any alignment. */
#ifndef WEFT_SRC_BYTES_H
#define WEFT_SRC_BYTES_H

#include <stdint.h>

static inline void weft_put8(uint8_t *bytes, uint8_t value)
{
    bytes[0] = value;
}

static inline void weft_put16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value & 0xffu);
    bytes[1] = (uint8_t)(value >> 8);
}

static inline void weft_put32(uint8_t *bytes, uint32_t value)
{
    weft_put16(bytes, (uint16_t)(value & 0xffffu));
    weft_put16(bytes + 2, (uint16_t)(value >> 16));
}

static inline void weft_put64(uint8_t *bytes, uint64_t value)
{
    weft_put32(bytes, (uint32_t)(value & 0xffffffffu));
    weft_put32(bytes + 4, (uint32_t)(value >> 32));
}

static inline uint8_t weft_get8(const uint8_t *bytes)
{
    return bytes[0];
}

static inline uint16_t weft_get16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | (uint16_t)(bytes[1] << 8));
}

static inline uint32_t weft_get32(const uint8_t *bytes)
{
    return weft_get16(bytes) | ((uint32_t)weft_get16(bytes + 2) << 16);
}

static inline uint64_t weft_get64(const uint8_t *bytes)
{
    return weft_get32(bytes) | ((uint64_t)weft_get32(bytes + 4) << 32);
}

#endif
