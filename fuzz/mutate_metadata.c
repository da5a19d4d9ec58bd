/* Updates' documents in every form and notation, right or with a few faults, for the example model;
 * or edits of the input, word by word and now and then byte by byte. */
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "document.h"
#include "example_model.h"
#include "mutate_metadata.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

#define ODD                                                                                        \
    "null", "~", "", "0", "1", "-1", "-0", "+1", "01", "1.0", "1e3", "0x10", "0o7", "1_000",       \
        ".inf", ".nan", "true", "false", "True", "18446744073709551615", "18446744073709551616",   \
        "4294967296", "2147483648", "65536", "65537", "\"1\"", "'1'", "[]", "{}", "[[]]", "{a: b}"

static const char *const odd_words[] = {ODD,
                                        "*a",
                                        "&a 1",
                                        "&a",
                                        "!!str x",
                                        "!t",
                                        "<<",
                                        "? x",
                                        "- x",
                                        "''",
                                        "\"\"",
                                        "'a''b'",
                                        "\"\\u0000\"",
                                        "\"\\ud83d\\ude00\"",
                                        "\"\\ud83d\"",
                                        "\"\\x41\"",
                                        "\"\\/\"",
                                        "\xef\xbb\xbf",
                                        "\xff",
                                        "%YAML 1.2",
                                        "---",
                                        "...",
                                        "# c",
                                        "\t",
                                        "\r",
                                        "\xc2\x85",
                                        "\xe2\x80\xa8",
                                        "@",
                                        "`",
                                        "a: b",
                                        "a #b",
                                        "0 1",
                                        "0  1",
                                        "1 ",
                                        "\"3 0 0 0 0 0 1\"",
                                        "\"0xa1ca1aa52026f76f\"",
                                        "\"0x0123456789ABCDEF\"",
                                        "0x0123456789abcdef",
                                        "model.mask",
                                        "model.gr\303\266\303\237e",
                                        "0.weight",
                                        "0.5",
                                        "bool",
                                        "float8_e4m3fn",
                                        "sparse",
                                        "baseline",
                                        "sparse_flat",
                                        "dense",
                                        "int32",
                                        "int64",
                                        "[[[[[[[[[1]]]]]]]]]",
                                        "[1, 2, 3, 4, 5, 6, 7, 8, 9]",
                                        "|\n  x",
                                        ">-\n  x\n  y",
                                        NULL};
static const char *const odd_keys[] = {"weft",        "epoch",       "kind",    "update",
                                       "updates",     "base",        "target",  "payload",
                                       "patches",     "model",       "first",   "counts",
                                       "names",       "dtype_names", "shapes",  "num_updates_list",
                                       "update_kind", "packed",      "version", "digest",
                                       "bytes",       "name",        "dtype",   "shape",
                                       "count",       "index",       "<<",      "Epoch",
                                       "epoch ",      "x",           "1",       NULL};
static const document_words words = {odd_words, odd_keys};

/* Tensors of the model in the order of their names. */
static const uint8_t CANONICAL[EXAMPLE_TENSORS] = {7, 0, 5, 6, 8, 2, 4, 1, 3};

typedef struct announced {
    unsigned tensor;
    uint64_t count;
} announced;

/* A choice of tensors with a count for each. */
typedef struct choice {
    announced items[EXAMPLE_TENSORS];
    unsigned count;
    uint64_t bytes; /* of their payload */
} choice;

static uint64_t elements(const weft_tensor *tensor)
{
    uint64_t product = 1;

    for (uint32_t i = 0; i < tensor->rank; i++) {
        product *= tensor->shape[i];
    }
    return product;
}

static bool is_wide(unsigned tensor)
{
    return elements(&example_tensors()[tensor]) >= UINT64_C(1) << 31;
}

static uint64_t section(uint64_t count, uint64_t bytes)
{
    return (count * bytes + 7) & ~UINT64_C(7);
}

static void choose(document *d, choice *c, bool wide, bool dense)
{
    unsigned most = (unsigned)document_random(d, EXAMPLE_TENSORS + 1);

    *c = (choice){.count = 0};
    for (unsigned i = 0; i < EXAMPLE_TENSORS && c->count < most; i++) {
        const weft_tensor *tensor = &example_tensors()[CANONICAL[i]];
        uint64_t index = is_wide(CANONICAL[i]) ? 8 : 4;
        uint64_t count;
        if ((is_wide(CANONICAL[i]) && !wide) || document_chance(d, 3)) {
            continue;
        }
        count = dense ? elements(tensor) : document_draw(d, elements(tensor));
        c->items[c->count++] = (announced){CANONICAL[i], count};
        c->bytes +=
            section(count, weft_dtype_bytes(tensor->dtype)) + (dense ? 0 : section(count, index));
    }
}

static document_node *shape_of(document *d, const weft_tensor *tensor)
{
    document_node *shape = document_list(d);

    for (uint32_t i = 0; i < tensor->rank; i++) {
        document_add(shape, document_number(d, tensor->shape[i]));
    }
    return shape;
}

static document_node *digest(document *d)
{
    return document_string(d, document_text(d, "0x%016" PRIx64, document_random(d, UINT64_MAX)));
}

static document_node *version(document *d)
{
    document_node *both = document_mapping(d);

    document_put(both, "version", document_number(d, document_draw(d, UINT64_MAX)));
    document_put(both, "digest", digest(d));
    return both;
}

static document_node *session(document *d, const choice *c, const char *kind)
{
    document_node *root = document_mapping(d);
    document_node *payload = document_mapping(d);
    uint64_t updates = 1 + document_draw(d, 65535);

    document_put(root, "weft", document_number(d, 1));
    document_put(root, "epoch", document_number(d, 1 + document_draw(d, UINT64_MAX - 1)));
    document_put(root, "kind", document_string(d, kind));
    document_put(root, "update", document_number(d, document_random(d, updates)));
    document_put(root, "updates", document_number(d, updates));
    if (strcmp(kind, "sparse") == 0) {
        document_put(root, "base", version(d));
    }
    document_put(root, "target", version(d));
    document_put(payload, "bytes", document_number(d, c->bytes));
    document_put(root, "payload", payload);
    return root;
}

static document_node *manifest(document *d, bool sparse)
{
    choice c;
    document_node *root;
    document_node *patches = document_list(d);

    choose(d, &c, true, !sparse);
    root = session(d, &c, sparse ? "sparse" : "baseline");
    for (unsigned i = 0; i < c.count; i++) {
        const weft_tensor *tensor = &example_tensors()[c.items[i].tensor];
        document_node *patch = document_mapping(d);
        document_put(patch, "name", document_string(d, tensor->name));
        document_put(patch, "dtype", document_string(d, weft_dtype_name(tensor->dtype)));
        document_put(patch, "shape", shape_of(d, tensor));
        if (sparse) {
            document_put(patch, "count", document_number(d, c.items[i].count));
            document_put(patch, "index",
                         document_string(d, is_wide(c.items[i].tensor) ? "int64" : "int32"));
        }
        document_add(patches, patch);
    }
    document_shuffle(d, patches);
    document_put(root, "patches", patches);
    return root;
}

/* The counts of tensors `from` to `to`, some in each string. */
static document_node *count_strings(document *d, const uint64_t *counts, unsigned from, unsigned to)
{
    document_node *list = document_list(d);

    while (from < to) {
        unsigned stop = from + 1 + (unsigned)document_random(d, to - from);
        const char *text = document_text(d, "%" PRIu64, counts[from++]);
        for (; from < stop; from++) {
            text = document_text(d, "%s %" PRIu64, text, counts[from]);
        }
        document_add(list, document_string(d, text));
    }
    return list;
}

static document_node *counted(document *d)
{
    uint64_t counts[EXAMPLE_TENSORS] = {0};
    unsigned first = 0;
    unsigned last = 0;
    choice c;
    document_node *root;

    choose(d, &c, true, false);
    for (unsigned i = 0, k = 0; i < EXAMPLE_TENSORS; i++) {
        if (k < c.count && c.items[k].tensor == CANONICAL[i]) {
            counts[i] = c.items[k++].count;
            last = i + 1;
        }
    }
    while (first < last && counts[first] == 0 && !document_chance(d, 4)) {
        first++;
    }
    root = session(d, &c, "sparse");
    document_put(root, "model", document_string(d, "0xa1ca1aa52026f76f"));
    document_put(root, "first", document_number(d, first));
    document_put(root, "counts", count_strings(d, counts, first, last));
    return root;
}

static document_node *vllm(document *d, bool sparse, bool mvp)
{
    document_node *root = document_mapping(d);
    document_node *columns[4] = {document_list(d), document_list(d), document_list(d),
                                 document_list(d)};
    static const char *const keys[4] = {"names", "dtype_names", "shapes", "num_updates_list"};
    choice c;

    choose(d, &c, !sparse, !sparse);
    if (mvp || (!sparse && document_chance(d, 2))) {
        document_put(root, "update_kind", document_string(d, mvp ? "sparse_flat" : "dense"));
    }
    if ((mvp || !sparse) && document_chance(d, 2)) {
        document_put(root, "packed", document_word(d, "false"));
    }
    for (unsigned i = 0; i < c.count; i++) {
        const weft_tensor *tensor = &example_tensors()[c.items[i].tensor];
        document_add(columns[0], document_string(d, tensor->name));
        document_add(columns[1], document_string(d, weft_dtype_name(tensor->dtype)));
        document_add(columns[2], shape_of(d, tensor));
        document_add(columns[3], document_number(d, c.items[i].count));
    }
    for (unsigned i = 0; i < (sparse ? 4 : 3); i++) {
        document_put(root, keys[i], columns[i]);
    }
    return root;
}

static document_node *any_form(document *d)
{
    switch (document_random(d, 6)) {
    case 0:
        return vllm(d, true, false);
    case 1:
        return vllm(d, true, true);
    case 2:
        return vllm(d, false, false);
    case 3:
        return manifest(d, false);
    case 4:
        return manifest(d, true);
    default:
        return counted(d);
    }
}

size_t metadata_generate(document *d, uint8_t *data, size_t most)
{
    document_node *root = any_form(d);

    d->notation = (document_notation)document_random(d, 3);
    if (document_chance(d, 2)) {
        document_shuffle(d, root);
    }
    for (uint64_t faults = document_chance(d, 2) ? 0 : 1 + document_random(d, 2); faults > 0;
         faults--) {
        document_damage(d, &words);
    }
    return document_write(d, root, data, most);
}

size_t metadata_edit(document *d, uint8_t *data, size_t size, size_t most)
{
    for (uint64_t edits = 1 + document_random(d, 4); edits > 0; edits--) {
        size = document_edit(d, &words, data, size, most);
    }
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static document d;

    document_begin(&d, seed);
    switch (document_random(&d, 8)) {
    case 0:
    case 1:
    case 2:
        return metadata_generate(&d, data, max_size);
    case 3:
        return LLVMFuzzerMutate(data, size, max_size);
    default:
        return metadata_edit(&d, data, size, max_size);
    }
}
