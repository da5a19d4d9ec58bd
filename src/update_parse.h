/* What the parts of the document parser share: update.c reads the root, update_vllm.c and
 * update_manifest.c the two families of forms, update_tensor.c what both say of a tensor,
 * update_counts.c the form that leaves it out. */
#ifndef WEFT_SRC_UPDATE_PARSE_H
#define WEFT_SRC_UPDATE_PARSE_H

#include "update.h"
#include "update_names.h"
#include "update_read.h"

/* The keys of the root; weft's form has those before KEY_NAMES, vLLM's the others. */
typedef enum weft_root_key {
    KEY_WEFT,
    KEY_EPOCH,
    KEY_KIND,
    KEY_UPDATE,
    KEY_UPDATES,
    KEY_BASE,
    KEY_TARGET,
    KEY_PAYLOAD,
    KEY_PATCHES,
    KEY_MODEL,
    KEY_FIRST,
    KEY_COUNTS,
    KEY_NAMES,
    KEY_DTYPE_NAMES,
    KEY_SHAPES,
    KEY_NUM_UPDATES,
    KEY_UPDATE_KIND,
    KEY_PACKED,
    ROOT_KEYS
} weft_root_key;
extern const char *const WEFT_ROOT_NAMES[ROOT_KEYS];

/* An item of one of vLLM's columns. A shape is an entry with its rank, and one for each size. */
typedef struct weft_entry {
    weft_place at;
    uint64_t value; /* the tensor's number, a dtype, a rank, a size or a count */
} weft_entry;

/* What a list of weft's form is made of: patches, or counts until they become patches in the same
 * memory. */
typedef union weft_slot {
    weft_patch patch;
    struct {
        uint64_t count;
        weft_place at;
    } counted;
} weft_slot;
_Static_assert(sizeof(weft_slot) == sizeof(weft_patch), "slots are an array of patches as well");

typedef struct weft_column {
    size_t first; /* entry */
    size_t count; /* items; a shape is one */
} weft_column;

typedef struct weft_parse {
    weft_reader reader;
    const weft_model *model;
    const weft_update_limits *limits;
    const weft_allocator *allocator;
    weft_names names; /* opened by the first name */
    bool has_names;
    weft_keys root;
    weft_update update;
    /* vLLM's forms */
    weft_entry *entries;
    size_t entry_count, entry_capacity;
    weft_column columns[ROOT_KEYS]; /* by key */
    bool sparse_flat;
    /* weft's form */
    weft_slot *slots; /* patches as they are read, or counts: never both */
    size_t slot_count, slot_capacity;
    uint64_t announced_bytes;
    weft_place announced_at;
    weft_place first_counted;   /* count or index key of the first patch that has one */
    weft_place first_uncounted; /* first patch that lacks one of them */
    uint64_t first;             /* tensor that the first count is for, in canonical order */
} weft_parse;

/* One tensor as the document announces it. */
typedef struct weft_announced {
    size_t number;
    weft_dtype dtype;
    uint32_t rank;
    uint64_t shape[WEFT_RANK_MAX];
    uint64_t count;
    weft_place dtype_at, shape_at, count_at;
    bool has_count;
} weft_announced;

/* ---- update_tensor.c ---- */

weft_status weft_parse_no_memory(const weft_parse *p, uint64_t bytes);
bool weft_parse_has(const weft_parse *p, weft_root_key key);
/* META_UNKNOWN_KEY for a key that is known but not in this form. */
weft_status weft_parse_refuse_key(const weft_parse *p, weft_place at, const char *key,
                                  const char *form);
/* May a list that has so many tensors have one more? Returns: META_TOO_MANY_TENSORS. */
weft_status weft_parse_number(const weft_parse *p, size_t count);
/* The string just read must be a tensor of the model that was not named before.
 * Returns: META_NAME_TOO_LONG, META_UNKNOWN_TENSOR, META_DUPLICATE_TENSOR. */
weft_status weft_parse_name(weft_parse *p, size_t *number);
/* The string just read must be a dtype. Returns: META_WRONG_DTYPE. */
weft_status weft_parse_dtype(const weft_parse *p, weft_dtype *dtype);
/* The sizes of a shape whose list has begun. */
weft_status weft_parse_sizes(weft_parse *p, uint64_t shape[WEFT_RANK_MAX], uint32_t *rank);
/* Reads one of two words; its number goes to *which. `otherwise` is the answer to any other. */
weft_status weft_parse_word(weft_parse *p, const char *const words[2], weft_status otherwise,
                            const char *expected, unsigned *which);
/* A fault of an announced tensor: "expected EXPECTED, found FOUND". */
weft_status weft_parse_refuse_tensor(const weft_parse *p, const weft_announced *a,
                                     weft_status status, weft_place at, const char *expected,
                                     const char *found);
/* Checks an announced tensor against the model and makes a patch of it; one without a count is
 * dense.
 * Returns: META_WRONG_DTYPE, META_WRONG_SHAPE, META_COUNT_TOO_LARGE, SIZE_OVERFLOW. */
weft_status weft_parse_patch(const weft_parse *p, const weft_announced *a, weft_patch *patch);
/* The update's patches, not yet filled in. */
weft_status weft_parse_allocate(weft_parse *p, size_t count);

/* ---- update_counts.c ---- */

/* The value of the key counts. Returns: META_WRONG_TYPE, META_NAME_TOO_LONG, META_NOT_AN_INTEGER,
 * META_OVERFLOW, META_TOO_MANY_TENSORS. */
weft_status weft_parse_counts(weft_parse *p);
/* Makes the update's patches of the counts, when `first` is known.
 * Returns: META_TOO_MANY_TENSORS, META_COUNT_TOO_LARGE. */
weft_status weft_parse_counts_finish(weft_parse *p);

/* ---- update_vllm.c, update_manifest.c: the value of a key, and what must hold when the
 * document was read ---- */

weft_status weft_parse_vllm_value(weft_parse *p, weft_root_key key);
weft_status weft_parse_vllm_finish(weft_parse *p);
weft_status weft_parse_manifest_value(weft_parse *p, weft_root_key key);
weft_status weft_parse_manifest_finish(weft_parse *p);

#endif
