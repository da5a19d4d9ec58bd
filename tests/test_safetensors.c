/* Headers of safetensors files: every kind of malformed one gets its own error, at its place. */
#include "safetensors.h"

#include "bytes.h"
#include "model.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file in a block of its exact length. */
typedef struct image {
    uint8_t *bytes;
    uint64_t length;
} image;

static image make_image(const char *header, size_t header_bytes, size_t data_bytes)
{
    image file = {.length = 8 + header_bytes + data_bytes};

    file.bytes = malloc((size_t)file.length);
    assert_non_null(file.bytes);
    weft_put64(file.bytes, header_bytes);
    memcpy(file.bytes + 8, header, header_bytes);
    for (size_t i = 0; i < data_bytes; i++) {
        file.bytes[8 + header_bytes + i] = (uint8_t)i;
    }
    return file;
}

static weft_status read_header(const char *header, size_t header_bytes, size_t data_bytes,
                               weft_detail *detail)
{
    image file = make_image(header, header_bytes, data_bytes);
    weft_safetensors content;
    weft_status status;

    status = weft_safetensors_read(&content, file.bytes, file.length, NULL, detail);
    if (status == WEFT_OK) {
        weft_safetensors_release(&content);
    }
    free(file.bytes);
    return status;
}

#define TENSOR(name, begin, end)                                                                   \
    "\"" name "\":{\"dtype\":\"U8\",\"shape\":[" #end "],\"data_offsets\":[" #begin "," #end "]}"

static void a_file_is_read(void **state)
{
    static const char HEADER[] =
        "{\"__metadata__\":{\"format\":\"pt\",\"empty\":\"\",\"\":\"no key\"},"
        "\"second\":{\"data_offsets\":[4,12],\"shape\":[2,1,2],\"dtype\":\"BF16\"},"
        "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
        "\"nothing\":{\"dtype\":\"F64\",\"shape\":[0,7],\"data_offsets\":[4,4]}}   ";
    image file = make_image(HEADER, sizeof HEADER - 1, 12);
    weft_safetensors content;
    weft_detail detail;
    const weft_tensor *tensor;

    (void)state;
    assert_int_equal(weft_safetensors_read(&content, file.bytes, file.length, NULL, &detail),
                     WEFT_OK);
    assert_int_equal(detail.status, WEFT_OK);
    assert_int_equal(weft_model_count(content.tensors), 3);
    tensor = weft_model_tensor(content.tensors, 0);
    assert_string_equal(tensor->name, "second");
    assert_int_equal(tensor->dtype, WEFT_BF16);
    assert_int_equal(tensor->rank, 3);
    assert_int_equal(tensor->shape[2], 2);
    assert_int_equal(*(const uint8_t *)tensor->data, 4);
    tensor = weft_model_tensor(content.tensors, 1);
    assert_string_equal(tensor->name, "scalar");
    assert_int_equal(tensor->rank, 0);
    assert_int_equal(*(const uint8_t *)tensor->data, 0);
    assert_int_equal(weft_model_elements(content.tensors, 2), 0);
    assert_string_equal(weft_safetensors_metadata(&content, "format"), "pt");
    assert_string_equal(weft_safetensors_metadata(&content, "empty"), "");
    assert_string_equal(weft_safetensors_metadata(&content, ""), "no key");
    assert_null(weft_safetensors_metadata(&content, "other"));
    weft_safetensors_release(&content);
    free(file.bytes);
}

static void every_dtype_is_known(void **state)
{
    static const char *const NAMES[] = {"BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2",
                                        "I8",   "U8",  "I16", "I32", "I64",     "BOOL"};

    (void)state;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        char header[200];
        uint32_t bytes = weft_dtype_bytes((weft_dtype)(i + 1));
        int length = snprintf(header, sizeof header,
                              "{\"a\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%u]}}",
                              NAMES[i], 3 * bytes);
        assert_int_equal(read_header(header, (size_t)length, (size_t)3 * bytes, NULL), WEFT_OK);
    }
}

static void escapes_in_names_are_decoded(void **state)
{
    static const char HEADER[] =
        "{\"\\u0061\\/\\\\\\\"\\b\\f\\n\\r\\t\\u00e9\\u20AC\\ud83d\\ude00\xc3\xa9\":"
        "{\"\\u0064type\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
    image file = make_image(HEADER, sizeof HEADER - 1, 1);
    weft_safetensors content;

    (void)state;
    assert_int_equal(weft_safetensors_read(&content, file.bytes, file.length, NULL, NULL), WEFT_OK);
    assert_string_equal(weft_model_tensor(content.tensors, 0)->name,
                        "a/\\\"\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa9");
    weft_safetensors_release(&content);
    free(file.bytes);
}

static void white_space_and_order_are_free(void **state)
{
    static const char *const HEADERS[] = {
        "{" TENSOR("a", 0, 2) "}",
        "{ \t\r\n" TENSOR("a", 0, 2) "\n} \n\t ",
        "{\"a\"\n:\n{\n\"data_offsets\"\n:\n[\n0\n,\n2\n]\n,\n\"dtype\"\n:\n\"U8\"\n,\n\"shape\"\n:"
        "\n[\n2\n]\n}\n}",
        "{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},"
        "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof HEADERS / sizeof HEADERS[0]; i++) {
        assert_int_equal(read_header(HEADERS[i], strlen(HEADERS[i]), 2, NULL), WEFT_OK);
    }
    assert_int_equal(read_header("{}", 2, 0, NULL), WEFT_OK);
    assert_int_equal(read_header("{ }      ", 9, 0, NULL), WEFT_OK);
}

#define OBJECT            "{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}"
#define WITH_DTYPE(dtype) "{\"a\":{\"dtype\":" dtype ",\"shape\":[2],\"data_offsets\":[0,2]}}"
#define WITH_SHAPE(shape) "{\"a\":{\"dtype\":\"U8\",\"shape\":" shape ",\"data_offsets\":[0,2]}}"
#define WITH_OFFSETS(offsets)                                                                      \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":" offsets "}}"

#define SYNTAX WEFT_E_FILE_HEADER_SYNTAX

/* Each with two bytes of data. column 0: not compared. */
static const struct {
    const char *header;
    weft_status status;
    uint32_t line, column;
} MALFORMED[] = {
    /* JSON */
    {"[]", SYNTAX, 0, 0},
    {" {}", SYNTAX, 0, 0},
    {"\xef\xbb\xbf{}", SYNTAX, 0, 0},
    {"\"a\"", SYNTAX, 0, 0},
    {"{\"a\":" OBJECT, SYNTAX, 0, 0},
    {"{\"a\":" OBJECT ",", SYNTAX, 0, 0},
    {"{\"a\":" OBJECT ",}", SYNTAX, 1, 0},
    {"{\"a\":" OBJECT "}}", SYNTAX, 1, 0},
    {"{\"a\":" OBJECT "} {}", SYNTAX, 1, 0},
    {"{\"a\":" OBJECT "}\n---\n{}", SYNTAX, 2, 1},
    {"{\"a\":" OBJECT "} # comment", SYNTAX, 1, 55},
    {"{\"a\":" OBJECT "} x", SYNTAX, 1, 55},
    {"{,}", SYNTAX, 0, 0},
    {"{\"a\"}", SYNTAX, 0, 0},
    {"{\"a\":}", SYNTAX, 0, 0},
    {"{\"a\" " OBJECT "}", SYNTAX, 0, 0},
    {"{a:" OBJECT "}", SYNTAX, 1, 2},
    {"{'a':" OBJECT "}", SYNTAX, 1, 0},
    {"{1:" OBJECT "}", SYNTAX, 1, 2},
    {"{\"a\":&x " OBJECT "}", SYNTAX, 1, 0},
    {"{\"a\":*x}", SYNTAX, 1, 0},
    {"{\"a\":!!map " OBJECT "}", SYNTAX, 1, 0},
    {"{? \"a\":" OBJECT "}", SYNTAX, 1, 0},
    {"{\"a\":\n" OBJECT "\n,\n\n  b:1}", SYNTAX, 5, 3},
    {"{\"a\":[[[[[[[[[[[[[[[[[[[[1", SYNTAX, 1, 19},
    /* texts */
    {"{\"\":" OBJECT "}", SYNTAX, 1, 2},
    {"{\"a\\u0000\":" OBJECT "}", SYNTAX, 1, 2},
    {"{\"a\\x41\":" OBJECT "}", SYNTAX, 1, 0},
    {"{\"a\\ud83d\":" OBJECT "}", SYNTAX, 1, 0},
    {"{\"a\\ude00\":" OBJECT "}", SYNTAX, 1, 0},
    {"{\"a\\ud83d\\u0041\":" OBJECT "}", SYNTAX, 1, 0},
    {"{\"a\\u12\":" OBJECT "}", SYNTAX, 1, 0},
    {"{\"a\xff\":" OBJECT "}", SYNTAX, 1, 0},
    {"{\"a\xed\xa0\x80\":" OBJECT "}", SYNTAX, 1, 0},
    {"{\"a\xc0\x80\":" OBJECT "}", SYNTAX, 1, 0},
    {"{\"a\n\":" OBJECT "}", SYNTAX, 1, 0},
    {"{\"a\t\":" OBJECT "}", SYNTAX, 1, 0},
    {"{\"a\x01\":" OBJECT "}", SYNTAX, 1, 0},
    {"{\"a", SYNTAX, 1, 0},
    {"{\"a\\", SYNTAX, 1, 0},
    /* keys */
    {"{\"a\":1}", SYNTAX, 1, 6},
    {"{\"a\":[]}", SYNTAX, 1, 6},
    {"{\"a\":null}", SYNTAX, 1, 6},
    {"{\"a\":{}}", SYNTAX, 1, 7},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2]}}", SYNTAX, 1, 31},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,2]}}", SYNTAX, 1, 0},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,2]}}", SYNTAX, 1, 0},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", SYNTAX, 1,
     20},
    {"{\"a\":{\"shape\":[2],\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", SYNTAX, 1,
     32},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2],\"more\":1}}", SYNTAX, 1, 53},
    {"{\"a\":{\"dtypes\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", SYNTAX, 1, 7},
    {"{\"a\":" OBJECT ",\"a\":" OBJECT "}", WEFT_E_FILE_DUPLICATE_TENSOR, 1, 0},
    {"{\"a\":" OBJECT ",\"\\u0061\":" OBJECT "}", WEFT_E_FILE_DUPLICATE_TENSOR, 1, 0},
    /* metadata */
    {"{\"__metadata__\":1}", SYNTAX, 1, 17},
    {"{\"__metadata__\":\"x\"}", SYNTAX, 1, 17},
    {"{\"__metadata__\":[]}", SYNTAX, 1, 17},
    {"{\"__metadata__\":{\"a\":1}}", SYNTAX, 1, 22},
    {"{\"__metadata__\":{\"a\":null}}", SYNTAX, 1, 22},
    {"{\"__metadata__\":{\"a\":{}}}", SYNTAX, 1, 22},
    {"{\"__metadata__\":{\"a\":[\"b\"]}}", SYNTAX, 1, 22},
    {"{\"__metadata__\":{\"a\":\"\\u0000\"}}", SYNTAX, 1, 0},
    {"{\"__metadata__\":{\"a\\u0000\":\"b\"}}", SYNTAX, 1, 0},
    {"{\"__metadata__\":{\"a\":\"b\"},\"__metadata__\":{}," TENSOR("a", 0, 2) "}", SYNTAX, 1, 27},
    {"{\"__metadata__\":{\"a\":\"b\",\"c\":\"d\",\"a\":\"b\"}," TENSOR("a", 0, 2) "}", SYNTAX, 0,
     0},
    /* dtype */
    {WITH_DTYPE("\"U9\""), WEFT_E_FILE_DTYPE, 1, 15},
    {WITH_DTYPE("\"u8\""), WEFT_E_FILE_DTYPE, 1, 15},
    {WITH_DTYPE("\"\""), WEFT_E_FILE_DTYPE, 1, 0},
    {WITH_DTYPE("\"F4aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""), WEFT_E_FILE_DTYPE, 1,
     0},
    {WITH_DTYPE("U8"), SYNTAX, 1, 0},
    {WITH_DTYPE("8"), SYNTAX, 1, 15},
    {WITH_DTYPE("[\"U8\"]"), SYNTAX, 1, 15},
    /* shape */
    {WITH_SHAPE("2"), SYNTAX, 1, 28},
    {WITH_SHAPE("\"2\""), SYNTAX, 1, 28},
    {WITH_SHAPE("{}"), SYNTAX, 1, 28},
    {WITH_SHAPE("[\"2\"]"), SYNTAX, 1, 29},
    {WITH_SHAPE("[-2]"), SYNTAX, 1, 29},
    {WITH_SHAPE("[2.0]"), SYNTAX, 1, 29},
    {WITH_SHAPE("[2e0]"), SYNTAX, 1, 29},
    {WITH_SHAPE("[02]"), SYNTAX, 1, 0},
    {WITH_SHAPE("[+2]"), SYNTAX, 1, 0},
    {WITH_SHAPE("[0x2]"), SYNTAX, 1, 0},
    {WITH_SHAPE("[2 2]"), SYNTAX, 1, 0},
    {WITH_SHAPE("[true]"), SYNTAX, 1, 29},
    {WITH_SHAPE("[null]"), SYNTAX, 1, 29},
    {WITH_SHAPE("[[2]]"), SYNTAX, 1, 29},
    {WITH_SHAPE("[2,]"), SYNTAX, 1, 0},
    {WITH_SHAPE("[1,1,1,1,1,1,1,1,2]"), WEFT_E_FILE_SHAPE, 1, 45},
    {WITH_SHAPE("[18446744073709551616]"), WEFT_E_FILE_SHAPE, 1, 29},
    {WITH_SHAPE("[18446744073709551615,2]"), WEFT_E_FILE_SHAPE, 1, 0},
    {WITH_SHAPE("[99999999999999999999999999999999]"), WEFT_E_FILE_SHAPE, 1, 29},
    /* data_offsets */
    {WITH_OFFSETS("2"), SYNTAX, 1, 47},
    {WITH_OFFSETS("[]"), SYNTAX, 1, 48},
    {WITH_OFFSETS("[0]"), SYNTAX, 1, 49},
    {WITH_OFFSETS("[0,2,2]"), SYNTAX, 1, 52},
    {WITH_OFFSETS("[\"0\",2]"), SYNTAX, 1, 48},
    {WITH_OFFSETS("[0,-2]"), SYNTAX, 1, 50},
    {WITH_OFFSETS("[0,18446744073709551616]"), WEFT_E_FILE_OFFSETS, 1, 50},
    {WITH_OFFSETS("[18446744073709551614,0]"), WEFT_E_FILE_OFFSETS, 1, 0},
    {WITH_OFFSETS("[2,0]"), WEFT_E_FILE_OFFSETS, 1, 0},
    {WITH_OFFSETS("[0,1]"), WEFT_E_FILE_OFFSETS, 1, 0},
    {WITH_OFFSETS("[0,3]"), WEFT_E_FILE_OFFSETS, 1, 0},
    {WITH_OFFSETS("[1,3]"), WEFT_E_FILE_TRUNCATED, 1, 0},
    {WITH_OFFSETS("[18446744073709551613,18446744073709551615]"), WEFT_E_FILE_TRUNCATED, 1, 0},
    /* data that is not covered exactly */
    {"{}", WEFT_E_FILE_OFFSETS, 0, 0},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", WEFT_E_FILE_OFFSETS, 0, 0},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", WEFT_E_FILE_OFFSETS, 0, 0},
    {"{\"a\":" OBJECT ",\"b\":" OBJECT "}", WEFT_E_FILE_OFFSETS, 0, 0},
    {"{\"a\":" OBJECT ",\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
     WEFT_E_FILE_OFFSETS, 0, 0},
    {"{\"a\":" OBJECT ",\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]}}",
     WEFT_E_FILE_OFFSETS, 0, 0},
};

static void every_malformed_header_has_its_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof MALFORMED / sizeof MALFORMED[0]; i++) {
        const char *header = MALFORMED[i].header;
        weft_detail detail = {.status = WEFT_OK};
        weft_status status = read_header(header, strlen(header), 2, &detail);

        if (status != MALFORMED[i].status || detail.status != status || detail.text[0] == '\0' ||
            (MALFORMED[i].line != 0 && detail.line != MALFORMED[i].line) ||
            (MALFORMED[i].column != 0 && detail.column != MALFORMED[i].column)) {
            fail_msg("%s\n gives %s at %u:%u (%s)", header, weft_status_name(status), detail.line,
                     detail.column, detail.text);
        }
        assert_int_equal(read_header(header, strlen(header), 2, NULL), status);
    }
}

static void a_fault_names_its_tensor(void **state)
{
    static const char OVERLAP[] = "{\"a.b\":" OBJECT ",\"c.d\":" OBJECT "}";
    weft_detail detail;

    (void)state;
    assert_int_equal(read_header(WITH_DTYPE("\"U9\""), sizeof WITH_DTYPE("\"U9\"") - 1, 2, &detail),
                     WEFT_E_FILE_DTYPE);
    assert_string_equal(detail.tensor, "a");
    assert_string_equal(detail.text, "dtype \"U9\" is unknown");
    assert_int_equal(read_header(OVERLAP, sizeof OVERLAP - 1, 2, &detail), WEFT_E_FILE_OFFSETS);
    assert_true(strcmp(detail.tensor, "a.b") == 0 || strcmp(detail.tensor, "c.d") == 0);
    assert_string_equal(detail.text,
                        "the tensor begins at byte 0 of the data, the one before it ends at 2");
}

static void a_raw_nul_is_refused_anywhere(void **state)
{
    char header[] = "{\"a\":" OBJECT "} ";

    (void)state;
    assert_int_equal(read_header(header, sizeof header - 1, 2, NULL), WEFT_OK);
    for (size_t i = 0; i < sizeof header - 1; i++) {
        char kept = header[i];
        header[i] = '\0';
        assert_int_equal(read_header(header, sizeof header - 1, 2, NULL),
                         WEFT_E_FILE_HEADER_SYNTAX);
        header[i] = kept;
    }
}

static void names_have_a_limit(void **state)
{
    char header[WEFT_FILE_NAME_MAX + 100];
    char name[WEFT_FILE_NAME_MAX + 2];
    weft_detail detail;
    int length;

    (void)state;
    memset(name, 'n', sizeof name);
    name[WEFT_FILE_NAME_MAX] = '\0';
    length = snprintf(header, sizeof header, "{\"%s\":%s}", name, OBJECT);
    assert_int_equal(read_header(header, (size_t)length, 2, &detail), WEFT_OK);
    name[WEFT_FILE_NAME_MAX] = 'n';
    name[WEFT_FILE_NAME_MAX + 1] = '\0';
    length = snprintf(header, sizeof header, "{\"%s\":%s}", name, OBJECT);
    assert_int_equal(read_header(header, (size_t)length, 2, &detail), WEFT_E_LIMIT);
    assert_int_equal(detail.column, 2);
}

static void the_length_of_the_header_is_checked(void **state)
{
    static const struct {
        uint64_t header_bytes;
        size_t length;
        weft_status status;
    } CASES[] = {
        {2, 10, WEFT_OK},
        {2, 7, WEFT_E_FILE_TRUNCATED},
        {0, 8, WEFT_E_FILE_HEADER_SIZE},
        {1, 10, WEFT_E_FILE_HEADER_SIZE},
        {3, 10, WEFT_E_FILE_TRUNCATED},
        {WEFT_HEADER_MAX, 10, WEFT_E_FILE_TRUNCATED},
        {WEFT_HEADER_MAX + 1, 10, WEFT_E_FILE_HEADER_SIZE},
        {UINT64_MAX, 10, WEFT_E_FILE_HEADER_SIZE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        image file = make_image("{}", 2, 0);
        weft_safetensors content;
        weft_detail detail;
        weft_status status;

        weft_put64(file.bytes, CASES[i].header_bytes);
        status = weft_safetensors_read(&content, file.bytes, CASES[i].length, NULL, &detail);
        assert_int_equal(status, CASES[i].status);
        if (status == WEFT_OK) {
            weft_safetensors_release(&content);
        }
        free(file.bytes);
    }
}

/* Every cut of a good file, and every byte of its header in turn replaced: an error or not, but
 * never a crash. What is accepted covers the data exactly. */
static void damaged_headers_are_survived(void **state)
{
    static const char HEADER[] = "{\"__metadata__\":{\"k\":\"t\"},\"a\":{\"dtype\":\"U8\","
                                 "\"shape\":[2],\"data_offsets\":[0,2]}}";
    static const char BYTES[] = "{}[]\",:\\ 0a\xff\n-'#";
    image file = make_image(HEADER, sizeof HEADER - 1, 2);
    unsigned accepted = 0;

    (void)state;
    for (uint64_t cut = 0; cut < file.length; cut++) {
        weft_safetensors content;
        assert_int_not_equal(weft_safetensors_read(&content, file.bytes, cut, NULL, NULL), WEFT_OK);
    }
    for (size_t i = 8; i < 8 + sizeof HEADER - 1; i++) {
        uint8_t kept = file.bytes[i];
        for (size_t b = 0; b < sizeof BYTES - 1; b++) {
            weft_safetensors content;
            file.bytes[i] = (uint8_t)BYTES[b];
            if (weft_safetensors_read(&content, file.bytes, file.length, NULL, NULL) == WEFT_OK) {
                accepted++;
                assert_int_equal(weft_model_elements(content.tensors, 0), 2);
                weft_safetensors_release(&content);
            }
        }
        file.bytes[i] = kept;
    }
    /* Inside of the three one-letter texts most bytes are as good as another; elsewhere hardly any
     * is. */
    assert_in_range(accepted, 3, 100);
    free(file.bytes);
}

static void memory_may_run_out_at_any_call(void **state)
{
    char metadata[600];
    char header[1000];
    weft_status status = WEFT_E_OUT_OF_MEMORY;
    image file;
    uint64_t at = 0;
    int length;

    (void)state;
    memset(metadata, 'm', sizeof metadata);
    metadata[sizeof metadata - 1] = '\0';
    length = snprintf(header, sizeof header,
                      "{\"__metadata__\":{\"k\":\"t\",\"l\":\"%s\"},\"a\":%s}", metadata, OBJECT);
    file = make_image(header, (size_t)length, 2);
    while (status != WEFT_OK) {
        weft_safetensors content;
        weft_detail detail;
        test_allocator memory;

        test_allocator_start(&memory, ++at);
        status =
            weft_safetensors_read(&content, file.bytes, file.length, &memory.allocator, &detail);
        if (status == WEFT_OK) {
            assert_string_equal(weft_safetensors_metadata(&content, "l"), metadata);
            weft_safetensors_release(&content);
        } else {
            assert_int_equal(status, WEFT_E_OUT_OF_MEMORY);
            assert_int_equal(detail.status, WEFT_E_OUT_OF_MEMORY);
        }
        test_allocator_finish(&memory);
    }
    assert_true(at >= 9);
    free(file.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read),
        cmocka_unit_test(every_dtype_is_known),
        cmocka_unit_test(escapes_in_names_are_decoded),
        cmocka_unit_test(white_space_and_order_are_free),
        cmocka_unit_test(every_malformed_header_has_its_error),
        cmocka_unit_test(a_fault_names_its_tensor),
        cmocka_unit_test(a_raw_nul_is_refused_anywhere),
        cmocka_unit_test(names_have_a_limit),
        cmocka_unit_test(the_length_of_the_header_is_checked),
        cmocka_unit_test(damaged_headers_are_survived),
        cmocka_unit_test(memory_may_run_out_at_any_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
