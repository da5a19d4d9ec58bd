/* Patch files for the model of patch_model.h: sections of some tensors and the metadata, right or
 * with a few faults. Digests and fingerprint are any: the harness puts the right ones in. */
#include <inttypes.h>
#include <string.h>

#include "document_file.h"
#include "dtype.h"
#include "patch_model.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

#define DATA_MAX 1024u

static const char *const odd_words[] = {"0",
                                        "1",
                                        "-1",
                                        "\"1\"",
                                        "\"2\"",
                                        "\"01\"",
                                        "\"\"",
                                        "\"dense\"",
                                        "\"sparse\"",
                                        "\"18446744073709551615\"",
                                        "\"18446744073709551616\"",
                                        "\"0x0123456789abcdef\"",
                                        "\"0x0123456789ABCDEF\"",
                                        "\"I32\"",
                                        "\"I64\"",
                                        "\"U8\"",
                                        "[]",
                                        "{}",
                                        "[1,1]",
                                        "[0]",
                                        "4294967295",
                                        NULL};
static const char *const odd_keys[] = {"__metadata__",
                                       "weft_patch",
                                       "kind",
                                       "base_version",
                                       "base_digest",
                                       "target_version",
                                       "target_digest",
                                       "fingerprint",
                                       "a:indices",
                                       "a:values",
                                       "a:indices:indices",
                                       "a:indices:values",
                                       "b:indices",
                                       "c:values",
                                       "x:values",
                                       ":indices",
                                       "a",
                                       "dtype",
                                       "shape",
                                       "data_offsets",
                                       NULL};
static const document_words words = {odd_words, odd_keys};

typedef struct sections {
    uint8_t bytes[DATA_MAX];
    uint64_t size;
} sections;

static document_node *section(document *d, const sections *s, weft_dtype dtype, uint64_t count)
{
    document_node *node = document_mapping(d);
    document_node *shape = document_list(d);
    document_node *offsets = document_list(d);

    document_add(shape, document_number(d, count));
    document_add(offsets, document_number(d, s->size));
    document_add(offsets, document_number(d, s->size + count * weft_dtype_bytes(dtype)));
    document_put(node, "dtype", document_string(d, weft_dtype_file_name(dtype)));
    document_put(node, "shape", shape);
    document_put(node, "data_offsets", offsets);
    return node;
}

/* Increasing indices below the elements, but for one in 32. Returns how many. */
static uint64_t put_indices(document *d, sections *s, uint64_t elements)
{
    uint64_t count = 0;

    for (uint64_t index = 0; index < elements; index++) {
        if (document_chance(d, 2)) {
            uint64_t said = document_chance(d, 32) ? document_random(d, 64) - 8 : index;
            for (unsigned i = 0; i < 4; i++) {
                s->bytes[s->size + 4 * count + i] = (uint8_t)(said >> (8 * i));
            }
            count++;
        }
    }
    return count;
}

static void put_tensor(document *d, document_node *root, sections *s, const patch_model_row *row)
{
    uint64_t count = put_indices(d, s, patch_model_elements(row));
    const char *indices = document_text(d, "%s:indices", row->name);
    const char *values = document_text(d, "%s:values", row->name);

    document_put(root, indices, section(d, s, WEFT_I32, count));
    s->size += 4 * count;
    document_put(root, values, section(d, s, row->dtype, count));
    for (uint64_t i = count * weft_dtype_bytes(row->dtype); i > 0; i--) {
        s->bytes[s->size++] = (uint8_t)document_random(d, 256);
    }
}

static document_node *metadata(document *d)
{
    static const char *const digests[] = {"base_digest", "target_digest", "fingerprint"};
    static const char *const versions[] = {"base_version", "target_version"};
    document_node *node = document_mapping(d);

    document_put(node, "weft_patch", document_string(d, "1"));
    document_put(node, "kind", document_string(d, "sparse"));
    for (unsigned i = 0; i < 2; i++) {
        uint64_t version = document_draw(d, UINT64_MAX);
        document_put(node, versions[i], document_string(d, document_text(d, "%" PRIu64, version)));
    }
    for (unsigned i = 0; i < 3; i++) {
        document_put(node, digests[i], document_string(d, "0x0123456789abcdef"));
    }
    return node;
}

static size_t generate(document *d, uint8_t *to, size_t most)
{
    static sections s;
    document_node *root = document_mapping(d);

    s.size = 0;
    document_put(root, "__metadata__", metadata(d));
    for (unsigned i = 0; i < PATCH_TENSORS; i++) {
        if (document_chance(d, 2)) {
            put_tensor(d, root, &s, &patch_model_rows()[i]);
        }
    }
    if (document_chance(d, 2)) {
        document_shuffle(d, root);
    }
    if (document_chance(d, 2)) {
        document_damage(d, &words);
    }
    return document_file_write(d, root, s.bytes, (size_t)s.size, to, most);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static document d;

    document_begin(&d, seed);
    switch (document_random(&d, 8)) {
    case 0:
    case 1:
        return generate(&d, data, max_size);
    case 2:
    case 3:
        return LLVMFuzzerMutate(data, size, max_size);
    default:
        return document_file_edit(&d, &words, data, size, max_size);
    }
}
