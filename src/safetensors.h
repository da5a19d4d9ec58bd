/* The safetensors format (https://huggingface.co/docs/safetensors): reading a header and writing a
 * file.
 *
 *      | length of the header, 8 bytes little-endian | header: one JSON object, padded with spaces
 * | data |
 *
 *   header   {"__metadata__": {KEY: TEXT, ...}, NAME: {"dtype": D, "shape": [...], "data_offsets":
 * [begin, end]}, ...} data     the tensors' elements; their offsets cover it exactly, without gap
 * or overlap, in any order
 */
#ifndef WEFT_SRC_SAFETENSORS_H
#define WEFT_SRC_SAFETENSORS_H

#include "weft.h"

#define WEFT_HEADER_MAX                                                                            \
    UINT64_C(100000000) /* bytes of a header: the limit of the reference implementation */

typedef struct weft_safetensors_pair {
    const char *key;
    const char *text;
} weft_safetensors_pair;

/* What a file says and holds. */
typedef struct weft_safetensors {
    weft_allocator allocator;
    weft_model *tensors; /* in the order of the header; data points into the bytes that were read */
    char *text;          /* KEY NUL TEXT NUL KEY NUL ... */
    uint64_t text_capacity, text_bytes;
    weft_safetensors_pair *pairs; /* into text, sorted by key */
    size_t pair_count;
} weft_safetensors;

/* Reads a whole file that lies in memory and checks every byte of its header. The bytes must
 * outlive *content. On success release it with weft_safetensors_release. detail may be NULL.
 * Returns: FILE_TRUNCATED, FILE_HEADER_SIZE, FILE_HEADER_SYNTAX, FILE_DTYPE, FILE_SHAPE,
 * FILE_OFFSETS, FILE_DUPLICATE_TENSOR, LIMIT, OUT_OF_MEMORY. */
weft_status weft_safetensors_read(weft_safetensors *content, uint8_t *bytes, uint64_t length,
                                  const weft_allocator *allocator, weft_detail *detail);
void weft_safetensors_release(weft_safetensors *content);
/* The text of a key of __metadata__, or NULL. */
const char *weft_safetensors_metadata(const weft_safetensors *content, const char *key);

/* Writes a file of these tensors (a model or a registry for a file) with this metadata, durably
 * (file.h). Wider elements come first, so that every tensor is aligned to its elements. Keys and
 * texts must be UTF-8. allocator and detail may be NULL. Returns: FILE_WRITE, LIMIT, SIZE_OVERFLOW,
 * OUT_OF_MEMORY. */
weft_status weft_safetensors_write(const char *path, const weft_model *tensors,
                                   const weft_safetensors_pair *pairs, size_t pair_count,
                                   const weft_allocator *allocator, weft_detail *detail);

#endif
