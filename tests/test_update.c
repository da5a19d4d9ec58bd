/* Documents: every example of spec/examples, the limits, the places of errors, round trips,
 * mutations, failing allocations. */
#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../fuzz/example_model.h"
#include "support.h"
#include "update_support.h"

#define DIGEST "\"digest\": \"0x0123456789abcdef\""
#define SESSION                                                                                    \
    "\"weft\": 1, \"epoch\": 12, \"kind\": \"sparse\", \"update\": 0, \"updates\": 1,\n"           \
    "\"base\": {\"version\": 3, " DIGEST "}, \"target\": {\"version\": 4, " DIGEST "},\n"

static weft_model *example;

/* ---- helpers ---- */

static void expect_refused(const char *document, size_t length, const weft_model *model,
                           weft_status status, uint32_t line, uint32_t column)
{
    weft_detail detail;

    assert_int_equal(answer(document, length, model, &detail), status);
    assert_int_equal(detail.status, status);
    assert_int_equal(detail.line, line);
    assert_int_equal(detail.column, column);
    assert_int_equal(answer(document, length, model, NULL), status);
}

static void refused(const char *document, const weft_model *model, weft_status status,
                    uint32_t line, uint32_t column)
{
    expect_refused(document, strlen(document), model, status, line, column);
}

static const char *source_folder(void)
{
    const char *folder = getenv("WEFT_SOURCE_DIR");

    return folder != NULL ? folder : "..";
}

/* The whole file in memory of exactly its length, so that a sanitizer sees a byte too many. */
static char *read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    char *bytes;
    long end = 0;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (end = ftell(file)) < 0) {
        fail_msg("cannot read %s", path);
    }
    rewind(file);
    *length = (size_t)end;
    bytes = malloc(*length > 0 ? *length : 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *length, file), *length);
    (void)fclose(file);
    return bytes;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    size_t tail = strlen(end);

    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* Calls visit for every file of the folder; returns how many there are. */
static size_t walk(const char *folder, void (*visit)(const char *path))
{
    char path[4096];
    const struct dirent *found;
    size_t count = 0;
    DIR *open;

    (void)snprintf(path, sizeof path, "%s/spec/examples/%s", source_folder(), folder);
    open = opendir(path);
    if (open == NULL) {
        fail_msg("cannot open %s", path);
    }
    while ((found = readdir(open)) != NULL) {
        if (found->d_name[0] == '.' || ends_with(found->d_name, ".expect")) {
            continue;
        }
        (void)snprintf(path, sizeof path, "%s/spec/examples/%s/%s", source_folder(), folder,
                       found->d_name);
        visit(path);
        count++;
    }
    (void)closedir(open);
    return count;
}

/* ---- examples ---- */

static void visit_valid(const char *path)
{
    const weft_allocator allocator = weft_allocator_default();
    size_t length;
    char *document = read_file(path, &length);
    weft_update update;
    weft_detail detail;

    if (weft_update_parse(document, length, example, &LIMITS, &allocator, &update, &detail) !=
        WEFT_OK) {
        fail_msg("%s: %s %s", path, weft_status_name(detail.status), detail.text);
    }
    check_round_trip(&update, example);
    weft_update_release(&update, &allocator);
    assert_int_equal(answer(document, length, NULL, NULL), WEFT_OK);
    free(document);
}

/* The model that the examples are for is written down in the specification. */
static void test_example_model(void **state)
{
    char path[4096];
    size_t length;
    char *text;
    size_t lines = 0;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/spec/examples/model.yaml", source_folder());
    text = read_file(path, &length);
    for (size_t i = 0; i < length; i++) {
        lines += text[i] == '\n' && i + 1 < length && text[i + 1] == '-';
    }
    assert_int_equal(lines, weft_model_count(example));
    for (size_t i = 0; i < lines; i++) {
        const weft_tensor *tensor = weft_model_tensor(example, i);
        char line[600];
        int used = snprintf(line, sizeof line, "- {name: %s, dtype: %s, shape: [", tensor->name,
                            weft_dtype_name(tensor->dtype));
        for (uint32_t k = 0; k < tensor->rank; k++) {
            used += snprintf(line + used, sizeof line - (size_t)used, "%s%" PRIu64,
                             k > 0 ? ", " : "", tensor->shape[k]);
        }
        used += snprintf(line + used, sizeof line - (size_t)used, "]}\n");
        assert_non_null(memmem(text, length, line, (size_t)used));
    }
    free(text);
}

static void test_valid_examples(void **state)
{
    (void)state;
    assert_true(walk("valid", visit_valid) >= 12);
}

/* "CODE line L column C", from the first line of the document or from the file beside it. */
static void read_expectation(const char *path, const char *document, size_t length, char code[64],
                             unsigned *line, unsigned *column)
{
    static const char head[] = "# expect: ";
    char words[128] = "";

    if (length > sizeof head && memcmp(document, head, sizeof head - 1) == 0) {
        size_t rest = length - (sizeof head - 1);
        memcpy(words, document + sizeof head - 1,
               rest < sizeof words - 1 ? rest : sizeof words - 1);
    } else {
        char beside[4096];
        size_t size;
        char *text;
        (void)snprintf(beside, sizeof beside, "%.*s.expect", (int)(strrchr(path, '.') - path),
                       path);
        text = read_file(beside, &size);
        memcpy(words, text, size < sizeof words - 1 ? size : sizeof words - 1);
        free(text);
    }
    if (sscanf(words, "%63s line %u column %u", code, line, column) != 3) { // NOLINT(cert-err34-c)
        fail_msg("%s: no expectation", path);
    }
}

static void visit_invalid(const char *path)
{
    size_t length;
    char *document = read_file(path, &length);
    char code[64];
    unsigned line;
    unsigned column;
    weft_detail detail;
    weft_status status;

    read_expectation(path, document, length, code, &line, &column);
    status = answer(document, length, example, &detail);
    if (strcmp(weft_status_name(status) + strlen("WEFT_E_"), code) != 0 || detail.line != line ||
        detail.column != column) {
        fail_msg("%s: expected %s line %u column %u, got %s line %u column %u: %s", path, code,
                 line, column, weft_status_name(status), detail.line, detail.column, detail.text);
    }
    assert_int_equal(detail.status, status);
    free(document);
}

static void test_invalid_examples(void **state)
{
    (void)state;
    assert_true(walk("invalid", visit_invalid) >= 60);
}

/* ---- what is read ---- */

static void test_sparse_layout(void **state)
{
    weft_update u = parsed("names: [model.mask, model.embed.weight, model.scale]\ndtype_names: "
                           "[bool, bfloat16, float64]\n"
                           "shapes: [[100], [16, 8], []]\nnum_updates_list: [3, 5, 0]\n",
                           example);

    (void)state;
    assert_int_equal(u.form, WEFT_FORM_VLLM_SPARSE);
    assert_int_equal(u.kind, WEFT_SPARSE);
    assert_false(u.has_session);
    assert_int_equal(u.count, 3);
    expect_patch(&u, 0, 4, 4, 1, 3, 0, 40);
    expect_patch(&u, 1, 0, 4, 2, 5, 16, 48);
    expect_patch(&u, 2, 3, 4, 8, 0, 40, 64);
    assert_int_equal(u.payload_bytes, 64);
    assert_int_equal(u.changed, 8);
    assert_int_equal(u.allocated_bytes, 3 * sizeof(weft_patch));
    release(&u);
}

static void test_dense_layout(void **state)
{
    weft_update u = parsed("{\"names\": [\"0.weight\", \"model.norm.weight\"], \"dtype_names\": "
                           "[\"int8\", \"float32\"],"
                           "\"shapes\": [[5], [8]], \"update_kind\": \"dense\"}",
                           example);

    (void)state;
    assert_int_equal(u.form, WEFT_FORM_VLLM_DENSE);
    assert_int_equal(u.kind, WEFT_BASELINE);
    expect_patch(&u, 0, 7, 0, 1, 5, 0, 0);
    expect_patch(&u, 1, 1, 0, 4, 8, 0, 8);
    assert_int_equal(u.payload_bytes, 40);
    assert_int_equal(u.changed, 13);
    release(&u);
}

static void test_mvp_form(void **state)
{
    weft_update u = parsed("{\"names\": [\"0.weight\"], \"dtype_names\": [\"int8\"], \"shapes\": "
                           "[[5]], \"packed\": false,"
                           "\"update_kind\": \"sparse_flat\", \"num_updates_list\": [5]}",
                           example);

    (void)state;
    assert_int_equal(u.form, WEFT_FORM_VLLM_MVP);
    assert_int_equal(u.kind, WEFT_SPARSE);
    expect_patch(&u, 0, 7, 4, 1, 5, 0, 24);
    release(&u);
}

static void test_weft_form(void **state)
{
    weft_update u = parsed("{\"weft\": 1, \"epoch\": 18446744073709551615, \"kind\": \"sparse\", "
                           "\"update\": 6, \"updates\": 7,"
                           "\"base\": {\"version\": 1, \"digest\": \"0x00000000000000ff\"},"
                           "\"target\": {\"version\": 2, \"digest\": \"0xfedcba9876543210\"}, "
                           "\"payload\": {\"bytes\": 24},"
                           "\"patches\": [{\"name\": \"model.experts\", \"dtype\": "
                           "\"float8_e4m3fn\", \"shape\": [65536, 65536],"
                           "\"count\": 2, \"index\": \"int64\"}]}",
                           example);

    (void)state;
    assert_int_equal(u.form, WEFT_FORM_WEFT);
    assert_true(u.has_session);
    assert_true(u.epoch == UINT64_MAX);
    assert_int_equal(u.number, 6);
    assert_int_equal(u.of, 7);
    assert_int_equal(u.base_version, 1);
    assert_int_equal(u.base_digest, 0xff);
    assert_int_equal(u.target_version, 2);
    assert_true(u.target_digest == UINT64_C(0xfedcba9876543210));
    assert_int_equal(u.count, 1);
    expect_patch(&u, 0, 6, 8, 1, 2, 0, 16);
    release(&u);
}

static void test_nothing_changed(void **state)
{
    weft_update u = parsed("{" SESSION "\"payload\": {\"bytes\": 0}, \"patches\": []}", example);

    (void)state;
    assert_int_equal(u.count, 0);
    assert_null(u.patches);
    assert_int_equal(u.payload_bytes, 0);
    assert_int_equal(u.changed, 0);
    check_round_trip(&u, example);
    release(&u);
}

/* Without a model a tensor's number is its place, and shapes are taken at their word. */
static void test_without_model(void **state)
{
    weft_update u = parsed("{\"names\": [\"b\", \"a\"], \"dtype_names\": [\"float16\", \"int64\"], "
                           "\"shapes\": [[3, 0], [7]],"
                           "\"num_updates_list\": [0, 7]}",
                           NULL);

    (void)state;
    expect_patch(&u, 0, 0, 4, 2, 0, 0, 32);
    expect_patch(&u, 1, 1, 4, 8, 7, 0, 32);
    release(&u);
    refused("{\"names\": [\"a\", \"b\", \"a\"]}", NULL, WEFT_E_META_DUPLICATE_TENSOR, 1, 22);
    refused(
        "names: [b, a]\ndtype_names: [int8, int8]\nshapes: [[1], [2]]\nnum_updates_list: [0, 3]\n",
        NULL, WEFT_E_META_COUNT_TOO_LARGE, 4, 23);
    refused("names: [b, a]\ndtype_names: [int8, int8]\nshapes: [[1], "
            "[2147483648]]\nnum_updates_list: [0, 3]\n",
            NULL, WEFT_E_META_UNSUPPORTED, 3, 15);
    u = parsed(
        "names: [a]\ndtype_names: [int8]\nshapes: [[2147483647]]\nnum_updates_list: [2147483647]\n",
        NULL);
    assert_int_equal(u.patches[0].index_bytes, 4);
    release(&u);
}

static void test_layout_of_own_patches(void **state)
{
    weft_patch patches[2] = {{.tensor = 6, .count = 1}, {.tensor = 1, .count = 2}};
    weft_update u = {.kind = WEFT_SPARSE, .count = 2, .patches = patches};

    (void)state;
    assert_int_equal(weft_update_layout(example, &u), WEFT_OK);
    expect_patch(&u, 0, 6, 8, 1, 1, 0, 16);
    expect_patch(&u, 1, 1, 4, 4, 2, 8, 24);
    assert_int_equal(u.payload_bytes, 32);
    assert_int_equal(u.changed, 3);
    u.kind = WEFT_BASELINE;
    assert_int_equal(weft_update_layout(example, &u), WEFT_OK);
    expect_patch(&u, 0, 6, 0, 1, 1, 0, 0);
    expect_patch(&u, 1, 1, 0, 4, 2, 0, 8);
    patches[1].count = UINT64_MAX / 4;
    assert_int_equal(weft_update_layout(example, &u), WEFT_E_SIZE_OVERFLOW);
    patches[1].count = UINT64_MAX;
    assert_int_equal(weft_update_layout(example, &u), WEFT_E_SIZE_OVERFLOW);
}

/* The last payload that fits into 64 bits, and the next, whether elements, indices, values or only
 * both together are too many. Tensor 6 has indices of 8 bytes and elements of 1; tensor 7 of 4 and
 * 1. */
static void test_layout_ends_at_64_bits(void **state)
{
    static const struct {
        uint32_t tensors[2];
        uint64_t counts[2];
        weft_status status;
        weft_kind kind;
        uint64_t payload_bytes;
    } cases[] = {
        {{6, 7}, {(UINT64_C(1) << 32) - 1, 0}, WEFT_OK, WEFT_SPARSE, 38654705656},
        {{6, 7}, {UINT64_C(1) << 32, 1}, WEFT_OK, WEFT_SPARSE, 38654705680},
        {{7, 6}, {UINT64_MAX - 15, 8}, WEFT_OK, WEFT_BASELINE, UINT64_MAX - 7},
        {{7, 6}, {UINT64_MAX - 15, 9}, WEFT_E_SIZE_OVERFLOW, WEFT_BASELINE, 0},
        {{7, 6}, {UINT64_MAX - 6, 0}, WEFT_E_SIZE_OVERFLOW, WEFT_BASELINE, 0},
        {{6, 7}, {UINT64_MAX / 8 + 1, 0}, WEFT_E_SIZE_OVERFLOW, WEFT_SPARSE, 0},
        {{6, 6}, {UINT64_MAX / 16 + 1, UINT64_MAX / 16 + 1}, WEFT_E_SIZE_OVERFLOW, WEFT_SPARSE, 0},
        {{6, 7}, {UINT64_C(2049638230412172400), 0}, WEFT_OK, WEFT_SPARSE, UINT64_MAX - 15},
        {{6, 7}, {UINT64_C(2049638230412172401), 0}, WEFT_E_SIZE_OVERFLOW, WEFT_SPARSE, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weft_patch patches[2] = {{.tensor = cases[i].tensors[0], .count = cases[i].counts[0]},
                                 {.tensor = cases[i].tensors[1], .count = cases[i].counts[1]}};
        weft_update u = {.kind = cases[i].kind, .count = 2, .patches = patches};
        assert_int_equal(weft_update_layout(example, &u), cases[i].status);
        if (cases[i].status == WEFT_OK) {
            assert_int_equal(u.payload_bytes, cases[i].payload_bytes);
            assert_int_equal(u.changed, patches[0].count + patches[1].count);
        }
    }
}

/* ---- details ---- */

static void test_detail_names_tensor(void **state)
{
    static const char sparse[] = "names: [model.scale, model.mask]\nnum_updates_list: [1, 101]\n"
                                 "dtype_names: [float64, bool]\nshapes: [[], [100]]\n";
    weft_detail detail;

    (void)state;
    assert_int_equal(answer(sparse, strlen(sparse), example, &detail), WEFT_E_META_COUNT_TOO_LARGE);
    assert_string_equal(detail.tensor, "model.mask");
    assert_string_equal(detail.text, "line 2, column 23: expected at most 100, found 101");
    assert_int_equal(answer(sparse, strlen(sparse), NULL, &detail), WEFT_E_META_COUNT_TOO_LARGE);
    assert_string_equal(detail.tensor, "model.mask");
    assert_int_equal(answer("names: [nobody]", 15, example, &detail), WEFT_E_META_UNKNOWN_TENSOR);
    assert_string_equal(detail.tensor, "nobody");
    assert_string_equal(detail.text,
                        "line 1, column 9: expected a tensor of the model, found nobody");
}

static void test_detail_is_printable(void **state)
{
    static const char controls[] = "names: [\"\\x1b[2J\\u009b\\u00e9\"]";
    char document[400];
    weft_detail detail;

    (void)state;
    assert_int_equal(answer(controls, strlen(controls), example, &detail),
                     WEFT_E_META_UNKNOWN_TENSOR);
    assert_string_equal(
        detail.text, "line 1, column 9: expected a tensor of the model, found \"?[2J??\xc3\xa9\"");
    (void)snprintf(document, sizeof document, "names: [%s]",
                   "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\xc3\xa9!");
    assert_int_equal(answer(document, strlen(document), example, &detail),
                     WEFT_E_META_UNKNOWN_TENSOR);
    assert_string_equal(detail.text,
                        "line 1, column 9: expected a tensor of the model, found "
                        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...");
}

/* Lines end with LF, CR LF or CR; columns are bytes; a comma's line break in the parser's text
 * is none of the document. */
static void test_places(void **state)
{
    (void)state;
    refused("# a\r\n# b\rnames: [7]", example, WEFT_E_META_WRONG_TYPE, 3, 9);
    refused("{\"names\": [\"model.mask\",\"model.gr\xc3\xb6\xc3\x9f"
            "e\",7]}",
            example, WEFT_E_META_WRONG_TYPE, 1, 41);
    refused("{\"names\": [\"model.mask\",\r\n \"0.weight\", 7, 8]}", example,
            WEFT_E_META_WRONG_TYPE, 2, 14);
    refused("{\"names\": [\"model.mask\", \"a,\\\",b\"]}", example, WEFT_E_META_UNKNOWN_TENSOR, 1,
            26);
    refused("{\"names\": [\"model.mask\"], \"\xc3\xa9\": 1 2,}", example, WEFT_E_META_UNKNOWN_KEY,
            1, 27);
    refused("{\"names\": [\"model.mask\"]], \"shapes\": 1}", example, WEFT_E_META_SYNTAX, 1, 25);
    refused("\xef\xbb\xbf{\"names\": [\"model.mask\", 7]}", example, WEFT_E_META_WRONG_TYPE, 1, 29);
    refused("{\"names\":\n[\"model.mask\",\n\"model.scale\"", example, WEFT_E_META_SYNTAX, 3, 14);
}

/* ---- limits ---- */

static void test_document_length(void **state)
{
    const weft_allocator allocator = weft_allocator_default();
    const weft_update_limits small = {.document_bytes = 10, .payload_bytes = 0};
    char *zeros = calloc((size_t)WEFT_DOCUMENT_MAX + 1, 1);
    weft_update update;
    weft_detail detail;

    (void)state;
    assert_non_null(zeros);
    expect_refused(zeros, (size_t)WEFT_DOCUMENT_MAX + 1, example, WEFT_E_META_TOO_LARGE, 1,
                   (uint32_t)WEFT_DOCUMENT_MAX + 1);
    expect_refused(zeros, (size_t)WEFT_DOCUMENT_MAX, example, WEFT_E_META_ENCODING, 1, 1);
    free(zeros);
    assert_int_equal(
        weft_update_parse("names: [\nx]", 11, example, &small, &allocator, &update, &detail),
        WEFT_E_META_TOO_LARGE);
    assert_int_equal(detail.line, 2);
    assert_int_equal(detail.column, 2);
    assert_int_equal(
        weft_update_parse("names: [\nx", 10, NULL, &small, &allocator, &update, &detail),
        WEFT_E_META_SYNTAX);
}

/* A document of one list: head, item count times with a comma between, tail. */
static char *repeat(const char *head, const char *item, size_t count, const char *tail)
{
    size_t size = strlen(head) + count * (strlen(item) + 1) + strlen(tail) + 1;
    char *document = malloc(size);
    char *at = document;

    assert_non_null(document);
    at = stpcpy(at, head);
    for (size_t i = 0; i < count; i++) {
        at = stpcpy(at, item);
        *at++ = i + 1 < count ? ',' : ' ';
    }
    (void)stpcpy(at, tail);
    return document;
}

static void test_number_of_tensors(void **state)
{
    char *document = repeat("{\"num_updates_list\": [", "0", WEFT_TENSORS_MAX, "]}");

    (void)state;
    refused(document, NULL, WEFT_E_META_MISSING_KEY, 1, 1);
    free(document);
    document = repeat("{\"num_updates_list\": [", "0", WEFT_TENSORS_MAX + 1, "]}");
    refused(document, NULL, WEFT_E_META_TOO_MANY_TENSORS, 1, 23 + 2 * WEFT_TENSORS_MAX);
    free(document);
}

static void test_name_length(void **state)
{
    char name[WEFT_NAME_MAX + 2];
    char document[1000];
    weft_update update;

    (void)state;
    memset(name, 'n', sizeof name);
    name[WEFT_NAME_MAX + 1] = '\0';
    (void)snprintf(document, sizeof document, "names: [%s]", name);
    refused(document, NULL, WEFT_E_META_NAME_TOO_LONG, 1, 9);
    (void)snprintf(document, sizeof document, "names: [%s]\ndtype_names: [int8]\nshapes: [[]]\n",
                   name + 1);
    update = parsed(document, NULL);
    assert_int_equal(update.count, 1);
    release(&update);
}

static void test_depth(void **state)
{
    (void)state;
    refused("{\"names\": [[[[[[[1]]]]]]]}", example, WEFT_E_META_WRONG_TYPE, 1, 12);
    refused("{\"names\": [[[[[[[[1]]]]]]]]}", example, WEFT_E_META_TOO_DEEP, 1, 18);
    refused("{\"weft\": [[[[[[[[", example, WEFT_E_META_TOO_DEEP, 1, 17);
}

static void test_size_overflow(void **state)
{
    static const char fits[] = "names: [a, b]\ndtype_names: [int8, int8]\n"
                               "shapes: [[9223372036854775808], [9223372036854775800]]\n";
    /* Nothing has no size, wherever the 0 stands. */
    static const char empty[] = "names: [a, b]\ndtype_names: [int64, int64]\n"
                                "shapes: [[4294967296, 4294967296, 0], [0, 4294967296, "
                                "4294967296]]\n";

    (void)state;
    refused(
        "{\"names\": [\"a\"], \"dtype_names\": [\"int8\"], \"shapes\": [[4294967296, 4294967296]]}",
        NULL, WEFT_E_SIZE_OVERFLOW, 1, 54);
    refused("{\"names\": [\"a\"], \"dtype_names\": [\"int64\"], \"shapes\": [[4294967296, "
            "2147483648]]}",
            NULL, WEFT_E_SIZE_OVERFLOW, 1, 55);
    refused("names: [a]\ndtype_names: [int8]\nshapes: [[18446744073709551615]]\n", NULL,
            WEFT_E_SIZE_OVERFLOW, 3, 9);
    refused("names: [a, b]\ndtype_names: [int8, int8]\nshapes: [[9223372036854775808], "
            "[9223372036854775808]]\n",
            NULL, WEFT_E_SIZE_OVERFLOW, 3, 9);
    assert_int_equal(answer(fits, strlen(fits), NULL, NULL), WEFT_OK);
    assert_int_equal(answer(empty, strlen(empty), NULL, NULL), WEFT_OK);
}

/* A block scalar on the last line has its line break, written or not, unless it is left out. */
static void test_last_line(void **state)
{
#define LAST "names: [model.mask]\ndtype_names: [bool]\nshapes: [[100]]\nupdate_kind: "

    (void)state;
    refused(LAST "|\n  dense", NULL, WEFT_E_META_UNSUPPORTED, 5, 1);
    refused(LAST ">\n  dense", NULL, WEFT_E_META_UNSUPPORTED, 5, 1);
    refused(LAST ">+\n  dense", NULL, WEFT_E_META_UNSUPPORTED, 5, 1);
    refused(LAST ">+\n  dense\n", NULL, WEFT_E_META_UNSUPPORTED, 5, 1);
    assert_int_equal(answer(LAST ">-\n  dense", strlen(LAST ">-\n  dense"), NULL, NULL), WEFT_OK);
#undef LAST
}

static void test_payload_budget(void **state)
{
    static const char vllm[] =
        "names: [model.mask]\ndtype_names: [bool]\nshapes: [[100]]\nnum_updates_list: [9]\n";
    static const char dense[] = "names: [model.mask]\ndtype_names: [bool]\nshapes: [[100]]\n";
    static const char own[] =
        "{" SESSION "\"payload\": {\"bytes\": 56}, \"patches\": [{\"name\": \"model.mask\","
        "\"dtype\": \"bool\", \"shape\": [100], \"count\": 9, \"index\": \"int32\"}]}";
    const weft_allocator allocator = weft_allocator_default();
    weft_update_limits limits = {.document_bytes = 1000, .payload_bytes = 56};
    weft_update update;
    weft_detail detail;

    (void)state;
    assert_int_equal(
        weft_update_parse(vllm, strlen(vllm), example, &limits, &allocator, &update, &detail),
        WEFT_OK);
    assert_int_equal(update.payload_bytes, 56);
    release(&update);
    assert_int_equal(
        weft_update_parse(own, strlen(own), example, &limits, &allocator, &update, &detail),
        WEFT_OK);
    release(&update);
    limits.payload_bytes = 55;
    assert_int_equal(
        weft_update_parse(vllm, strlen(vllm), example, &limits, &allocator, &update, &detail),
        WEFT_E_META_PAYLOAD_TOO_LARGE);
    assert_int_equal(detail.line, 4);
    assert_int_equal(detail.column, 19);
    assert_int_equal(
        weft_update_parse(own, strlen(own), example, &limits, &allocator, &update, &detail),
        WEFT_E_META_PAYLOAD_TOO_LARGE);
    assert_int_equal(detail.line, 3);
    assert_int_equal(detail.column, 22);
    assert_int_equal(
        weft_update_parse(dense, strlen(dense), example, &limits, &allocator, &update, &detail),
        WEFT_E_META_PAYLOAD_TOO_LARGE);
    assert_int_equal(detail.line, 3);
    assert_int_equal(detail.column, 9);
}

/* ---- hostile shapes ---- */

/* Each was seen to cost libfyaml seconds, or hundreds of times its own length, when it was read
 * without limits. */
static void test_hostile_documents(void **state)
{
    static const struct {
        const char *head, *item;
        weft_status status;
    } shapes[] = {
        {"{\"names\": ", " ", WEFT_E_META_UNSUPPORTED},
        {"names: \"a", "\n", WEFT_E_META_UNSUPPORTED},
        {"", "%", WEFT_E_META_UNSUPPORTED},
        {"", "[", WEFT_E_META_UNSUPPORTED},
        {"names: [\n", "[\n", WEFT_E_META_SYNTAX},
        {"names: [", "{~", WEFT_E_META_UNSUPPORTED},
        {"{\"names\":", ",\n", WEFT_E_META_UNSUPPORTED},
        {"", "- ", WEFT_E_META_WRONG_TYPE},
        {"", "? ", WEFT_E_META_WRONG_TYPE},
        {"", ": ", WEFT_E_META_UNKNOWN_KEY},
        {"", "&a ", WEFT_E_META_UNSUPPORTED},
        {"", "!!a ", WEFT_E_META_UNSUPPORTED},
        {"names: '", "''", WEFT_E_META_UNSUPPORTED},
        {"names: \"", "\\n", WEFT_E_META_UNSUPPORTED},
        {"names: \"", " \\x41\n", WEFT_E_META_UNSUPPORTED},
        {"", "# x\n", WEFT_E_META_UNSUPPORTED},
        {"", "---\n", WEFT_E_META_WRONG_TYPE},
        {"names: |\n", " x\n", WEFT_E_META_UNSUPPORTED},
        {"{\"names\": [\"", "x", WEFT_E_META_NAME_TOO_LONG},
        {"a: ", "a: ", WEFT_E_META_UNKNOWN_KEY},
    };

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        char document[65536];
        size_t used = (size_t)snprintf(document, sizeof document, "%s", shapes[i].head);
        size_t item = strlen(shapes[i].item);
        weft_detail detail;
        weft_status status;
        for (; used + item < sizeof document; used += item) {
            memcpy(document + used, shapes[i].item, item);
        }
        status = answer(document, used, NULL, &detail);
        if (status != shapes[i].status || detail.line == 0 || detail.column == 0) {
            fail_msg("shape %zu: %s %s", i, weft_status_name(status), detail.text);
        }
    }
}

/* ---- memory ---- */

static void test_memory_is_bounded(void **state)
{
    const char *heads[] = {"{\"num_updates_list\": [", "{\"shapes\": [", "num_updates_list: [",
                           "{\"names\": [\"a\"], \"shapes\": [["};
    const char *items[] = {"0", "[]", "0", "1"};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        for (unsigned with_model = 0; with_model < 2; with_model++) {
            char *document = repeat(heads[i], items[i], 50000, "");
            test_allocator allocator;
            weft_update update;
            test_allocator_start(&allocator, 0);
            assert_int_not_equal(weft_update_parse(document, strlen(document),
                                                   with_model != 0 ? example : NULL, &LIMITS,
                                                   &allocator.allocator, &update, NULL),
                                 WEFT_OK);
            assert_true(allocator.peak_bytes > 0);
            assert_true(allocator.peak_bytes <= weft_update_parse_bytes(strlen(document)));
            test_allocator_finish(&allocator);
            free(document);
        }
    }
    assert_int_equal(weft_update_parse_bytes(1000) - weft_update_parse_bytes(0), 16000);
    assert_int_equal(weft_update_parse_bytes(UINT64_MAX),
                     weft_update_parse_bytes(WEFT_DOCUMENT_MAX));
}

static void fail_each_allocation(const char *document, const weft_model *model)
{
    uint64_t calls = 1;

    for (uint64_t fail_at = 1; fail_at <= calls; fail_at++) {
        test_allocator allocator;
        weft_update update;
        weft_detail detail;
        test_allocator_start(&allocator, fail_at);
        assert_int_equal(weft_update_parse(document, strlen(document), model, &LIMITS,
                                           &allocator.allocator, &update, &detail),
                         WEFT_E_OUT_OF_MEMORY);
        assert_int_equal(detail.status, WEFT_E_OUT_OF_MEMORY);
        test_allocator_finish(&allocator);
        test_allocator_start(&allocator, 0);
        assert_int_equal(weft_update_parse(document, strlen(document), model, &LIMITS,
                                           &allocator.allocator, &update, NULL),
                         WEFT_OK);
        calls = allocator.calls;
        weft_update_release(&update, &allocator.allocator);
        test_allocator_finish(&allocator);
    }
    assert_true(calls >= 3);
}

static void test_failing_allocations(void **state)
{
    static const char vllm[] =
        "names: [model.mask]\ndtype_names: [bool]\nshapes: [[100]]\nnum_updates_list: [9]\n";
    static const char own[] =
        "{" SESSION "\"payload\": {\"bytes\": 56}, \"patches\": [{\"name\": \"model.mask\","
        "\"dtype\": \"bool\", \"shape\": [100], \"count\": 9, \"index\": \"int32\"}]}";

    (void)state;
    fail_each_allocation(vllm, example);
    fail_each_allocation(vllm, NULL);
    fail_each_allocation(own, example);
    fail_each_allocation(own, NULL);
}

/* ---- random documents ---- */

#define VALID_MAX 64
static char *valid_documents[VALID_MAX];
static size_t valid_lengths[VALID_MAX];
static size_t valid_count;

static void visit_to_keep(const char *path)
{
    assert_true(valid_count < VALID_MAX);
    valid_documents[valid_count] = read_file(path, &valid_lengths[valid_count]);
    valid_count++;
}

/* One to four changes: a byte, a span removed, a span repeated, a token put in. Returns the new
 * length. */
static size_t mutate(test_random *random, char *document, size_t length, size_t capacity)
{
    static const char *const tokens[] = {"[",
                                         "]",
                                         "{",
                                         "}",
                                         ",",
                                         ":",
                                         "\"",
                                         "'",
                                         "&a ",
                                         "*a",
                                         "!!str ",
                                         "- ",
                                         "? ",
                                         "\n",
                                         "#",
                                         "|",
                                         ">",
                                         "%",
                                         "---\n",
                                         "\\",
                                         "\t",
                                         "\\u0000",
                                         "null",
                                         "1",
                                         "-1",
                                         "1e9",
                                         "0x1",
                                         "~",
                                         "\r",
                                         "\xc3",
                                         "\xef\xbb\xbf",
                                         "names",
                                         "18446744073709551616"};

    for (uint64_t changes = 1 + test_random_below(random, 4); changes > 0 && length > 0;
         changes--) {
        size_t at = (size_t)test_random_below(random, length);
        size_t span = 1 + (size_t)test_random_below(random, 8);
        const char *token = tokens[test_random_below(random, sizeof tokens / sizeof tokens[0])];
        span = span < length - at ? span : length - at;
        switch (test_random_below(random, 4)) {
        case 0:
            document[at] = (char)test_random_below(random, 256);
            break;
        case 1:
            memmove(document + at, document + at + span, length - at - span);
            length -= span;
            break;
        case 2:
            token = NULL;
            /* fall through */
        default:
            span = token != NULL ? strlen(token) : span;
            if (length + span <= capacity) {
                memmove(document + at + span, document + at, length - at);
                memcpy(document + at, token != NULL ? token : document + at + span, span);
                length += span;
            }
            break;
        }
    }
    return length;
}

static void test_mutated_documents(void **state)
{
    test_random random = test_random_start();
    size_t accepted = 0;

    (void)state;
    valid_count = 0;
    (void)walk("valid", visit_to_keep);
    for (unsigned i = 0; i < 20000; i++) {
        size_t which = (size_t)test_random_below(&random, valid_count);
        size_t capacity = valid_lengths[which] + 100;
        char *document = malloc(capacity);
        weft_detail detail;
        size_t length;
        assert_non_null(document);
        memcpy(document, valid_documents[which], valid_lengths[which]);
        length = mutate(&random, document, valid_lengths[which], capacity);
        if (answer(document, length, example, &detail) == WEFT_OK) {
            accepted++;
        } else if (detail.line == 0 || detail.column == 0 || detail.text[0] == '\0' ||
                   (detail.status != WEFT_E_MODEL_MISMATCH &&
                    strcmp(weft_status_group(detail.status), "metadata") != 0)) {
            fail_msg("%s without a place: %s\n%.*s", weft_status_name(detail.status), detail.text,
                     (int)length, document);
        }
        free(document);
    }
    assert_true(accepted > 100 && accepted < 10000);
    for (size_t i = 0; i < valid_count; i++) {
        free(valid_documents[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example_model),
        cmocka_unit_test(test_valid_examples),
        cmocka_unit_test(test_invalid_examples),
        cmocka_unit_test(test_sparse_layout),
        cmocka_unit_test(test_dense_layout),
        cmocka_unit_test(test_mvp_form),
        cmocka_unit_test(test_weft_form),
        cmocka_unit_test(test_nothing_changed),
        cmocka_unit_test(test_without_model),
        cmocka_unit_test(test_layout_of_own_patches),
        cmocka_unit_test(test_layout_ends_at_64_bits),
        cmocka_unit_test(test_detail_names_tensor),
        cmocka_unit_test(test_detail_is_printable),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_document_length),
        cmocka_unit_test(test_number_of_tensors),
        cmocka_unit_test(test_name_length),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_size_overflow),
        cmocka_unit_test(test_last_line),
        cmocka_unit_test(test_payload_budget),
        cmocka_unit_test(test_hostile_documents),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_mutated_documents),
    };
    int failed;

    example = example_model_create();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    weft_model_destroy(example);
    return failed != 0;
}
