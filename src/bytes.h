/* Little-endian numbers in bytes, on any machine and at any alignment. Products and sums, no
 * shifts: the provers know these. */
#ifndef WEFT_SRC_BYTES_H
#define WEFT_SRC_BYTES_H

#include <stdint.h>

/* The number that bytes hold, for the proofs. */
/*@ logic integer number8(uint8_t *b) = b[0];
    logic integer number16(uint8_t *b) = b[0] + 256 * b[1];
    logic integer number32(uint8_t *b) =
      b[0] + 256 * b[1] + 65536 * b[2] + 16777216 * b[3];
    logic integer number64(uint8_t *b) =
      b[0] + 256 * b[1] + 65536 * b[2] + 16777216 * b[3] + 4294967296 * b[4] +
      1099511627776 * b[5] + 281474976710656 * b[6] + 72057594037927936 * b[7];
    logic integer signed32(uint8_t *b) = // two's complement
      number32(b) <= INT32_MAX ? number32(b) : number32(b) - 4294967296;
@*/

/*@ requires \valid(bytes + (0));
    assigns bytes[0];
    ensures number8(bytes) == value;
@*/
static inline void weft_put8(uint8_t *bytes, uint8_t value)
{
    bytes[0] = value;
}

/*@ requires \valid(bytes + (0 .. 1));
    assigns bytes[0 .. 1];
    ensures number16(bytes) == value;
@*/
static inline void weft_put16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value % 256);
    bytes[1] = (uint8_t)(value / 256);
}

/*@ requires \valid(bytes + (0 .. 3));
    assigns bytes[0 .. 3];
    ensures number32(bytes) == value;
@*/
static inline void weft_put32(uint8_t *bytes, uint32_t value)
{
    weft_put16(bytes, (uint16_t)(value % 65536));
    weft_put16(bytes + 2, (uint16_t)(value / 65536));
}

/*@ requires \valid(bytes + (0 .. 7));
    assigns bytes[0 .. 7];
    ensures number64(bytes) == value;
@*/
static inline void weft_put64(uint8_t *bytes, uint64_t value)
{
    weft_put32(bytes, (uint32_t)(value % 4294967296));
    weft_put32(bytes + 4, (uint32_t)(value / 4294967296));
}

/*@ requires \valid_read(bytes + (0));
    assigns \nothing;
    ensures \result == number8(bytes);
@*/
static inline uint8_t weft_get8(const uint8_t *bytes)
{
    return bytes[0];
}

/*@ requires \valid_read(bytes + (0 .. 1));
    assigns \nothing;
    ensures \result == number16(bytes);
@*/
static inline uint16_t weft_get16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] + 256 * bytes[1]);
}

/*@ requires \valid_read(bytes + (0 .. 3));
    assigns \nothing;
    ensures \result == number32(bytes);
@*/
static inline uint32_t weft_get32(const uint8_t *bytes)
{
    return weft_get16(bytes) + UINT32_C(65536) * weft_get16(bytes + 2);
}

/*@ requires \valid_read(bytes + (0 .. 7));
    assigns \nothing;
    ensures \result == number64(bytes);
@*/
static inline uint64_t weft_get64(const uint8_t *bytes)
{
    return weft_get32(bytes) + UINT64_C(4294967296) * weft_get32(bytes + 4);
}

/*@ requires \valid(bytes + (0 .. 3));
    assigns bytes[0 .. 3];
    ensures signed32(bytes) == value;
@*/
static inline void weft_put32_signed(uint8_t *bytes, int32_t value)
{
    weft_put32(bytes, value >= 0 ? (uint32_t)value : UINT32_MAX - (uint32_t)(-1 - value));
}

/*@ requires \valid_read(bytes + (0 .. 3));
    assigns \nothing;
    ensures \result == signed32(bytes);
@*/
static inline int32_t weft_get32_signed(const uint8_t *bytes)
{
    uint32_t value = weft_get32(bytes);
    return value <= INT32_MAX ? (int32_t)value : -1 - (int32_t)(UINT32_MAX - value);
}

#endif
