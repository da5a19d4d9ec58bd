/* Arithmetic on sizes that cannot wrap, or is meant to. */
#ifndef WEFT_SRC_SIZE_H
#define WEFT_SRC_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/* False when the result does not fit into 64 bits; *result is then unchanged. */
/*@ requires \valid(result);
    assigns *result;
    ensures \result <==> a + b <= UINT64_MAX;
    ensures *result == (\result ? a + b : \old(*result));
@*/
bool weft_size_add(uint64_t a, uint64_t b, uint64_t *result);
/*@ requires \valid(result);
    assigns *result;
    ensures \result <==> a * b <= UINT64_MAX;
    ensures *result == (\result ? a * b : \old(*result));
@*/
bool weft_size_multiply(uint64_t a, uint64_t b, uint64_t *result);

/*@ logic integer padded(integer bytes) = (bytes + 7) / 8 * 8; @*/

/* Up to the next multiple of 8, where every section of a payload begins. */
/*@ requires \valid(result);
    assigns *result;
    ensures \result <==> padded(a) <= UINT64_MAX;
    ensures *result == (\result ? padded(a) : \old(*result));
@*/
bool weft_size_align8(uint64_t a, uint64_t *result);

/* Moves *end behind a section of count elements of so many bytes, and its padding. False, and
 * nothing moved, when the end does not fit into 64 bits. */
/*@ requires \valid(end);
    assigns *end;
    ensures \result <==> \old(*end) + padded(count * bytes) <= UINT64_MAX;
    ensures *end == (\result ? \old(*end) + padded(count * bytes) : \old(*end));
@*/
bool weft_size_section(uint64_t count, uint64_t bytes, uint64_t *end);

/* The sum modulo 2^64, where that is what is meant: of digests, and of places that a peer tells. */
/*@ assigns \nothing;
    ensures \result == (a + b) % (UINT64_MAX + 1);
@*/
static inline uint64_t weft_size_wrapped_sum(uint64_t a, uint64_t b)
{
    return a <= UINT64_MAX - b ? a + b : a - (UINT64_MAX - b) - 1;
}

#endif
