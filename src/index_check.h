/* Are a segment's indices in bounds and strictly increasing? This is decided before anything is
 * written. */
#ifndef WEFT_SRC_INDEX_CHECK_H
#define WEFT_SRC_INDEX_CHECK_H

#include "device_host.h"
#include "weft_errors.h"

/*@ predicate increases(uint8_t *indices, integer count, integer bytes) =
      \forall integer i; 0 < i < count ==>
        index_at(indices, i - 1, bytes) < index_at(indices, i, bytes);

    predicate in_bounds(uint8_t *indices, integer count, integer bytes, integer elements) =
      \forall integer i; 0 <= i < count ==> index_at(indices, i, bytes) < elements;

    predicate is_width(integer bytes) = bytes == 4 || bytes == 8;
@*/

/* Without a branch on the indices, so that the loop becomes vectors. Indices that increase are in
 * bounds if the last one is. */
/*@ requires count > 0 && is_width(index_bytes) && count * index_bytes <= UINT64_MAX;
    requires \valid_read(indices + (0 .. count * index_bytes - 1));
    assigns \nothing;
    ensures \result ==> increases(indices, count, index_bytes) &&
                        in_bounds(indices, count, index_bytes, elements);
    ensures !\result ==> !increases(indices, count, index_bytes) ||
                         !in_bounds(indices, count, index_bytes, elements);
@*/
WEFT_ALWAYS_INLINE bool weft_indices_are_sound(const uint8_t *indices, uint64_t count,
                                               uint64_t elements, unsigned index_bytes)
{
    bool disorder = false;

    /*@ loop invariant 1 <= i <= count;
        loop invariant disorder ==> !increases(indices, count, index_bytes);
        loop invariant !disorder ==> increases(indices, i, index_bytes);
        loop invariant !disorder ==> \forall integer k; 0 <= k < i ==>
          index_at(indices, k, index_bytes) <= index_at(indices, i - 1, index_bytes);
        loop assigns i, disorder;
        loop variant count - i;
    @*/
    for (uint64_t i = 1; i < count; i++) {
        bool falls =
            weft_host_load(indices, i, index_bytes) <= weft_host_load(indices, i - 1, index_bytes);
        disorder = disorder || falls;
    }
    return !disorder && weft_host_load(indices, count - 1, index_bytes) < elements;
}

/* The first fault: where it is, and what was found there. WEFT_OK when there is none. */
/*@ requires is_width(index_bytes) && count * index_bytes <= UINT64_MAX;
    requires \valid_read(indices + (0 .. count * index_bytes - 1));
    requires \valid(position) && \valid(found);
    requires \separated(position, found, indices + (0 .. count * index_bytes - 1));
    assigns *position, *found;
    ensures \result == WEFT_OK || \result == WEFT_E_INDEX_OUT_OF_BOUNDS ||
            \result == WEFT_E_INDEX_ORDER;
    ensures \result == WEFT_OK ==> \old(increases(indices, count, index_bytes)) &&
            \old(in_bounds(indices, count, index_bytes, elements));
    ensures \result == WEFT_E_INDEX_OUT_OF_BOUNDS ==> *position < count && *found >= elements;
    ensures \result == WEFT_E_INDEX_ORDER ==> 0 < *position < count && *found < elements;
@*/
static inline weft_status weft_indices_fault(const uint8_t *indices, uint64_t count,
                                             uint64_t elements, unsigned index_bytes,
                                             uint64_t *position, uint64_t *found)
{
    uint64_t previous = 0;

    /*@ loop invariant 0 <= i <= count;
        loop invariant i > 0 ==> previous == index_at(indices, i - 1, index_bytes);
        loop invariant increases(indices, i, index_bytes);
        loop invariant in_bounds(indices, i, index_bytes, elements);
        loop assigns i, previous;
        loop variant count - i;
    @*/
    for (uint64_t i = 0; i < count; i++) {
        uint64_t index = weft_host_load(indices, i, index_bytes);
        if (index >= elements || (i > 0 && index <= previous)) {
            *position = i;
            *found = index;
            return index >= elements ? WEFT_E_INDEX_OUT_OF_BOUNDS : WEFT_E_INDEX_ORDER;
        }
        previous = index;
    }
    return WEFT_OK;
}

#endif
