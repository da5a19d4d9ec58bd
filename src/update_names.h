/* Which tensors a document has named already: found in O(1), with a model or without one. */
#ifndef WEFT_SRC_UPDATE_NAMES_H
#define WEFT_SRC_UPDATE_NAMES_H

#include "weft.h"

/* With a model: one bit for each of its tensors. Without: the names themselves, in a table whose
 * size the document's bounds.
 *
 *      slots    offset of a name in pool + 1, or 0; linear probing, at most half full
 *      pool     length (2 bytes) and bytes of each name
 */
typedef struct weft_names {
    const weft_model *model;
    uint64_t *seen;
    uint64_t seen_bytes;
    uint32_t *slots;
    uint64_t slot_count;
    char *pool;
    uint64_t pool_bytes, pool_used;
    /* Where hashes begin: it differs from run to run, so that no document can be made whose names
     * collide. */
    uint64_t start;
    size_t count;
} weft_names;

/* items, bytes: no document can name more tensors than items or have more bytes of names than
 * bytes. Close it whatever the answer. Returns: OUT_OF_MEMORY. */
weft_status weft_names_open(weft_names *names, const weft_model *model, size_t items, size_t bytes,
                            const weft_allocator *allocator);
void weft_names_close(weft_names *names, const weft_allocator *allocator);
/* Number of the tensor in the model; without one: how many were added before.
 * Returns: META_UNKNOWN_TENSOR, META_DUPLICATE_TENSOR. */
weft_status weft_names_add(weft_names *names, const char *name, size_t length, size_t *number);
/* The name of this number; its length goes to *length. Without a model it takes time in
 * proportion to the number. */
const char *weft_names_text(const weft_names *names, size_t number, size_t *length);

#endif
