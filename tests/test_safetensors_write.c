/* Files that weft makes: their bytes, their alignment, and that they are read back as they were. */
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
#include <unistd.h>

static char path[] = "/tmp/weft-test-write-XXXXXX";

static int make_path(void **state)
{
    int file;

    (void)state;
    (void)snprintf(path, sizeof path, "%s", "/tmp/weft-test-write-XXXXXX");
    file = mkstemp(path);
    return file < 0 ? -1 : close(file);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static void the_bytes_are_as_expected(void **state)
{
    static const char HEADER[] =
        "{\"__metadata__\":{\"a\\\"\\\\\\u000a\\u001f\xc3\xa9\":\"text\",\"b\":\"\"},"
        "\"wide\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
        "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[8,12]},"
        "\"narrow\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[12,15]},"
        "\"empty\":{\"dtype\":\"BOOL\",\"shape\":[2,0],\"data_offsets\":[15,15]}}";
    static char narrow[] = "abc";
    static char wide[] = "ABCDEFGH";
    static char scalar[] = "0123";
    const weft_safetensors_pair pairs[] = {{"a\"\\\n\x1f\xc3\xa9", "text"}, {"b", ""}};
    weft_model *model = NULL;
    uint8_t bytes[600] = {0};
    FILE *file;
    size_t header;

    (void)state;
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    assert_int_equal(weft_model_add(model, &(weft_tensor){"narrow", WEFT_U8, 1, {3}, narrow}),
                     WEFT_OK);
    assert_int_equal(weft_model_add(model, &(weft_tensor){"wide", WEFT_I64, 1, {1}, wide}),
                     WEFT_OK);
    assert_int_equal(weft_model_add(model, &(weft_tensor){"scalar", WEFT_F32, 0, {0}, scalar}),
                     WEFT_OK);
    assert_int_equal(weft_model_add(model, &(weft_tensor){"empty", WEFT_BOOL, 2, {2, 0}, NULL}),
                     WEFT_OK);
    assert_int_equal(weft_safetensors_write(path, model, pairs, 2, NULL, NULL), WEFT_OK);
    file = fopen(path, "rb");
    assert_non_null(file);
    header = fread(bytes, 1, sizeof bytes, file) - 15;
    assert_int_equal(fclose(file), 0);
    assert_int_equal(header % 8, 0);
    assert_int_equal(weft_get64(bytes), header - 8);
    assert_in_range(header - 8 - (sizeof HEADER - 1), 0, 7);
    assert_memory_equal(bytes + 8, HEADER, sizeof HEADER - 1);
    for (size_t i = 8 + sizeof HEADER - 1; i < header; i++) {
        assert_int_equal(bytes[i], ' ');
    }
    assert_memory_equal(bytes + header, "ABCDEFGH0123abc", 15);
    weft_model_destroy(model);
}

static void a_model_without_tensors_is_a_file(void **state)
{
    weft_model *model = NULL;
    weft_file *file = NULL;

    (void)state;
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    assert_int_equal(weft_safetensors_write(path, model, NULL, 0, NULL, NULL), WEFT_OK);
    assert_int_equal(weft_file_open(&file, path, NULL, NULL), WEFT_OK);
    assert_null(weft_file_metadata(file, "a"));
    weft_file_close(file);
    assert_int_equal(
        weft_safetensors_write(path, model, &(weft_safetensors_pair){"a", "b"}, 1, NULL, NULL),
        WEFT_OK);
    assert_int_equal(weft_file_open(&file, path, NULL, NULL), WEFT_OK);
    assert_string_equal(weft_file_metadata(file, "a"), "b");
    weft_file_close(file);
    weft_model_destroy(model);
}

static void random_models_come_back(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (int round = 0; round < 30; round++) {
        test_model *model = test_model_create(&random, 1 + (size_t)test_random_below(&random, 40));
        weft_model *back = NULL;
        weft_file *file = NULL;

        assert_int_equal(weft_safetensors_write(path, model->model, NULL, 0, NULL, NULL), WEFT_OK);
        assert_int_equal(weft_file_open(&file, path, NULL, NULL), WEFT_OK);
        assert_int_equal(weft_model_create(&back, NULL), WEFT_OK);
        assert_int_equal(weft_file_add_to_model(file, back), WEFT_OK);
        assert_int_equal(weft_model_count(back), model->count);
        assert_true(weft_model_fingerprint(back) == weft_model_fingerprint(model->model));
        for (size_t i = 0; i < model->count; i++) {
            const weft_tensor *tensor = weft_model_tensor(model->model, i);
            uint32_t width = weft_dtype_bytes(tensor->dtype);
            const weft_tensor *found;
            size_t number = 0;

            assert_int_equal(weft_model_find(back, tensor->name, strlen(tensor->name), &number),
                             WEFT_OK);
            found = weft_model_tensor(back, number);
            assert_int_equal(found->dtype, tensor->dtype);
            assert_int_equal((uintptr_t)found->data % width, 0);
            if (weft_model_elements(back, number) != 0) {
                assert_memory_equal(found->data, tensor->data,
                                    weft_model_elements(back, number) * width);
            }
        }
        weft_model_destroy(back);
        weft_file_close(file);
        test_model_destroy(model);
    }
}

static void sizes_that_cannot_be_are_refused(void **state)
{
    static char data[1];
    static char key[1 << 20];
    weft_safetensors_pair pairs[100];
    weft_model *model = NULL;
    weft_detail detail;

    (void)state;
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    memset(key, 'k', sizeof key - 1);
    for (size_t i = 0; i < 100; i++) {
        pairs[i] = (weft_safetensors_pair){key, "text"};
    }
    assert_int_equal(weft_safetensors_write(path, model, pairs, 100, NULL, &detail), WEFT_E_LIMIT);
    assert_int_equal(weft_model_add(model, &(weft_tensor){"a", WEFT_U8, 1, {UINT64_MAX}, data}),
                     WEFT_OK);
    assert_int_equal(weft_model_add(model, &(weft_tensor){"b", WEFT_U8, 1, {1}, data}), WEFT_OK);
    assert_int_equal(weft_safetensors_write(path, model, NULL, 0, NULL, &detail),
                     WEFT_E_SIZE_OVERFLOW);
    weft_model_destroy(model);
}

static void memory_may_run_out_at_any_call(void **state)
{
    weft_model *model = NULL;
    weft_detail detail;
    test_allocator memory;

    (void)state;
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    for (uint64_t at = 1; at <= 3; at++) {
        weft_status status;
        test_allocator_start(&memory, at);
        status = weft_safetensors_write(path, model, NULL, 0, &memory.allocator, &detail);
        assert_int_equal(status, at <= 2 ? WEFT_E_OUT_OF_MEMORY : WEFT_OK);
        assert_int_equal(detail.status, status);
        test_allocator_finish(&memory);
    }
    weft_model_destroy(model);
}

#define WITH_PATH(test) cmocka_unit_test_setup_teardown(test, make_path, remove_path)

/* The header's bytes are those of the text, then as many as the text grows. */
static void the_longest_header_is_written(void **state)
{
    char *text = malloc(WEFT_HEADER_MAX);
    weft_safetensors_pair pair = {"k", text};
    weft_model *model = NULL;
    weft_detail detail;
    uint8_t length[8];
    FILE *file;

    (void)state;
    assert_non_null(text);
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    size_t around = strlen("{\"__metadata__\":{\"k\":\"\"}}");
    memset(text, 't', WEFT_HEADER_MAX);
    text[WEFT_HEADER_MAX - around + 1] = '\0';
    assert_int_equal(weft_safetensors_write(path, model, &pair, 1, NULL, &detail), WEFT_E_LIMIT);
    text[WEFT_HEADER_MAX - around] = '\0';
    assert_int_equal(weft_safetensors_write(path, model, &pair, 1, NULL, &detail), WEFT_OK);
    file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(length, 1, sizeof length, file), sizeof length);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(weft_get64(length), WEFT_HEADER_MAX);
    weft_model_destroy(model);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PATH(the_bytes_are_as_expected),      WITH_PATH(a_model_without_tensors_is_a_file),
        WITH_PATH(random_models_come_back),        WITH_PATH(sizes_that_cannot_be_are_refused),
        WITH_PATH(memory_may_run_out_at_any_call), cmocka_unit_test(the_longest_header_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
