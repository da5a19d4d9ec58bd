/* A patch file: what changed between two versions of a model, itself a safetensors file that
 * anybody's library reads.
 *
 *   tensors       NAME:indices (I32, or I64 where the tensor has 2^31 elements or more; sorted),
 * NAME:values (the model's dtype)
 *   __metadata__  weft_patch "1", kind "sparse", base_version, base_digest, target_version,
 * target_digest, fingerprint (versions decimal; digests 0x and 16 hexadecimal digits) */
#ifndef WEFT_SRC_PATCH_H
#define WEFT_SRC_PATCH_H

#include "weft.h"

typedef struct weft_patch_info {
    uint64_t base_version, base_digest;
    uint64_t target_version, target_digest;
    uint64_t fingerprint;
} weft_patch_info;

typedef struct weft_patch_entry { /* one tensor's part of a patch file */
    size_t tensor;                /* number in the model */
    uint64_t count;
    const void *indices;
    const void *values;
} weft_patch_entry;

/* Writes what differs between two models of the same registry; to a temporary file, synced,
 * renamed. Digests are computed from base's content. allocator, changed and detail may be NULL.
 * Returns: MODEL_MISMATCH, FILE_WRITE, LIMIT, OUT_OF_MEMORY, DEVICE_FAILED. */
weft_status weft_patch_write(const char *path, const weft_model *base, const weft_model *after,
                             uint64_t base_version, uint64_t target_version,
                             const weft_allocator *allocator, uint64_t *changed,
                             weft_detail *detail);
/* Reads and checks the metadata of a mapped patch. Returns: FILE_NOT_A_PATCH, FILE_PATCH. */
weft_status weft_patch_read_info(const weft_file *file, weft_patch_info *info, weft_detail *detail);
/* Finds the entries of a mapped patch in the model, in the model's order. *entries is allocated
 * (count * sizeof), release it with the same allocator; NULL when there are none. Returns:
 * FILE_NOT_A_PATCH, FILE_PATCH, MODEL_MISMATCH, OUT_OF_MEMORY. */
weft_status weft_patch_entries(const weft_file *file, const weft_model *model,
                               const weft_allocator *allocator, weft_patch_entry **entries,
                               size_t *count, weft_detail *detail);
/* Applies a mapped patch: base digest checked, indices checked, written, target digest checked; on
 * any error the model is what it was. Versions are the caller's to compare. allocator and detail
 * may be NULL. Returns: FILE_NOT_A_PATCH, FILE_PATCH, MODEL_MISMATCH, BASE_MISMATCH, INDEX_*,
 * DIGEST_MISMATCH, OUT_OF_MEMORY, DEVICE_FAILED. */
weft_status weft_patch_apply(const weft_file *file, weft_model *model,
                             const weft_allocator *allocator, weft_detail *detail);

#endif
