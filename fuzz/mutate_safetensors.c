/* Safetensors files: a few tensors whose data lie behind each other in any order, and metadata;
 * right or with a few faults. */
#include <inttypes.h>

#include "document_file.h"
#include "dtype.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

#define TENSORS_MAX 6u
#define DATA_MAX    2048u

static const char *const odd_words[] = {"null",
                                        "0",
                                        "1",
                                        "-1",
                                        "01",
                                        "1.0",
                                        "1e3",
                                        "true",
                                        "18446744073709551615",
                                        "18446744073709551616",
                                        "4294967296",
                                        "\"1\"",
                                        "'a'",
                                        "[]",
                                        "{}",
                                        "[[]]",
                                        "[0]",
                                        "[0,0,0]",
                                        "[1,1,1,1,1,1,1,1,1]",
                                        "\"\\u0000\"",
                                        "\"\\ud83d\\ude00\"",
                                        "\"\\ud83d\"",
                                        "\"\"",
                                        "\"F8_E4M3\"",
                                        "\"I64\"",
                                        "\"F4\"",
                                        "\xef\xbb\xbf",
                                        "\xff",
                                        "# c\n",
                                        "&a 1",
                                        "*a",
                                        "!t 1",
                                        "{\"a\":{\"a\":{}}}",
                                        ",",
                                        ":",
                                        " ",
                                        NULL};
static const char *const odd_keys[] = {
    "__metadata__", "dtype", "shape", "data_offsets", "a", "b", "", "name:indices", NULL};
static const document_words words = {odd_words, odd_keys};

/* A shape of few elements; their number goes to *elements. */
static document_node *small_shape(document *d, uint64_t *elements)
{
    document_node *shape = document_list(d);

    *elements = 1;
    for (uint64_t rank = document_random(d, document_chance(d, 8) ? 9 : 3); rank > 0; rank--) {
        uint64_t size = document_random(d, *elements > 16 ? 2 : 5);
        *elements *= size;
        document_add(shape, document_number(d, size));
    }
    return shape;
}

/* The tensor of this number, its data behind those before it. */
static document_node *any_tensor(document *d, uint64_t *end)
{
    document_node *tensor = document_mapping(d);
    document_node *offsets = document_list(d);
    weft_dtype dtype = (weft_dtype)(1 + document_random(d, WEFT_BOOL));
    uint64_t elements;

    document_put(tensor, "dtype", document_string(d, weft_dtype_file_name(dtype)));
    document_put(tensor, "shape", small_shape(d, &elements));
    document_add(offsets, document_number(d, *end));
    *end += elements * weft_dtype_bytes(dtype);
    document_add(offsets, document_number(d, *end));
    document_put(tensor, "data_offsets", offsets);
    return tensor;
}

static document_node *any_metadata(document *d)
{
    static const char *const texts[] = {"format", "pt",       "weft_patch",       "1",   "",
                                        "k",      "\xc3\xb6", "\xf0\x9f\x98\x80", "\"\\"};
    document_node *metadata = document_mapping(d);

    for (uint64_t pairs = document_random(d, 5); pairs > 0; pairs--) {
        const char *key =
            document_text(d, "%s%" PRIu64, texts[document_random(d, 9)], document_random(d, 3));
        document_put(metadata, key, document_string(d, texts[document_random(d, 9)]));
    }
    return metadata;
}

static size_t generate(document *d, uint8_t *to, size_t most)
{
    static uint8_t data[DATA_MAX];
    document_node *root = document_mapping(d);
    uint64_t end = 0;

    if (document_chance(d, 2)) {
        document_put(root, "__metadata__", any_metadata(d));
    }
    for (uint64_t i = document_random(d, TENSORS_MAX); i > 0; i--) {
        const char *name = document_text(d, "%c%" PRIu64, (int)('a' + document_random(d, 3)), i);
        document_put(root, name, any_tensor(d, &end));
    }
    if (document_chance(d, 2)) {
        document_shuffle(d, root);
    }
    for (uint64_t faults = document_chance(d, 2) ? 0 : 1 + document_random(d, 2); faults > 0;
         faults--) {
        document_damage(d, &words);
    }
    return document_file_write(d, root, data, end < DATA_MAX ? (size_t)end : DATA_MAX, to, most);
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
