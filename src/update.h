/* Update metadata: one document (YAML 1.2 or JSON) announces one update. This file owns parsing
 * and validation against a model; forms, fields, limits and errors are in spec/metadata.md.
 *
 * A document is parsed before the session holds anything, because libfyaml is not safe when
 * malloc fails. */
#ifndef WEFT_SRC_UPDATE_H
#define WEFT_SRC_UPDATE_H

#include "weft.h"

typedef enum weft_update_form {
    WEFT_FORM_WEFT = 1,    /* weft's own manifest */
    WEFT_FORM_WEFT_COUNTS, /* the same with counts in canonical order in place of patches */
    WEFT_FORM_VLLM_SPARSE, /* names, dtype_names, shapes, num_updates_list */
    WEFT_FORM_VLLM_MVP,    /* the same with update_kind: sparse_flat */
    WEFT_FORM_VLLM_DENSE   /* names, dtype_names, shapes; update_kind absent or dense */
} weft_update_form;

/* One tensor's part. Its sections begin at multiples of 8 in the payload:
 *
 *      | indices of patch 0 | indices of patch 1 | ... | values of patch 0 | values ...
 *
 * Where they begin follows from the patches before it (weft_sections below): an update may have a
 * million patches, and fresh memory for each costs more time than the sum. */
typedef struct weft_patch {
    uint64_t count;
    uint32_t tensor;       /* number in the model */
    uint8_t index_bytes;   /* 4, 8 (2^31 elements or more), or 0: dense, count is the elements */
    uint8_t element_bytes; /* of the tensor's dtype */
    uint16_t zero;         /* no padding, so that patches compare byte by byte */
} weft_patch;
_Static_assert(sizeof(weft_patch) == 16, "small, see above");

typedef struct weft_update {
    weft_update_form form;
    weft_kind kind;
    /* Only in weft's own forms; has_session is false otherwise. */
    bool has_session;
    uint64_t epoch;
    uint32_t number, of; /* this update; updates of the session */
    uint64_t base_version, base_digest;
    uint64_t target_version, target_digest;
    /* All forms. */
    uint64_t payload_bytes; /* follows from the patches; the document says the same */
    uint64_t values_offset; /* where the values of the first patch begin in it; the same */
    uint64_t changed;       /* sum of the counts */
    size_t count;
    weft_patch *patches;      /* allocated; in document order */
    uint64_t allocated_bytes; /* of patches */
} weft_update;

typedef struct weft_update_limits {
    uint64_t document_bytes; /* at most WEFT_DOCUMENT_MAX */
    uint64_t payload_bytes;  /* budget for the payload */
} weft_update_limits;

/* Most memory that parsing a document of this length can take, beyond the document itself: at
 * most 16 times its length (plus a constant), known before the first byte is read. */
uint64_t weft_update_parse_bytes(uint64_t document_length);

/* Parses and validates. On success *update owns its patches: release with weft_update_release.
 * On an error nothing is held and detail (may be NULL) has code, line, column, tensor and
 * sentence.
 * model must be sorted (model.h). It may be NULL (weft check without a model): then every check
 * that needs one is left out, and tensor numbers are the patch's own position. Of counts nothing
 * but these follows then: the payload's bytes are those that the document says, and the patches
 * have no bytes.
 * Returns: every META_*, OUT_OF_MEMORY, SIZE_OVERFLOW. */
weft_status weft_update_parse(const char *document, size_t length, const weft_model *model,
                              const weft_update_limits *limits, const weft_allocator *allocator,
                              weft_update *update, weft_detail *detail);
void weft_update_release(weft_update *update, const weft_allocator *allocator);

/* Computes index_bytes, element_bytes, payload_bytes, values_offset and changed from tensor and
 * count of each patch (and kind).
 * Returns: SIZE_OVERFLOW. */
weft_status weft_update_layout(const weft_model *model, weft_update *update);

/* Where a patch's sections begin in the payload of an update that was laid out, for a walk over its
 * patches in order. */
typedef struct weft_sections {
    uint64_t indices, values;
} weft_sections;

static inline weft_sections weft_sections_begin(const weft_update *update)
{
    return (weft_sections){.indices = 0, .values = update->values_offset};
}

/* Moves on behind this patch. Nothing wraps: the layout found the payload's end. */
static inline void weft_sections_step(weft_sections *sections, const weft_patch *patch)
{
    sections->indices += (patch->count * patch->index_bytes + 7) & ~UINT64_C(7);
    sections->values += (patch->count * patch->element_bytes + 7) & ~UINT64_C(7);
}

/* Writes the update in its form (canonical JSON): weft's with counts or with patches, vLLM's sparse
 * or dense one. Counts need a sparse update with its patches in the canonical order of the model,
 * which must be sorted; vLLM's forms need a patch, and indices of 4 bytes. buffer may be NULL: then
 * only *length is computed.
 * Returns: INVALID_ARGUMENT when capacity is too small, or the form cannot say this update. */
weft_status weft_update_write(const weft_update *update, const weft_model *model, char *buffer,
                              size_t capacity, size_t *length);

#endif
