/* Patch files: made, read, applied, and refused with nothing changed. */
#include "patch.h"

#include "device.h"
#include "file.h"
#include "model.h"
#include "safetensors.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/weft-test-patch-XXXXXX";

static int make_path(void **state)
{
    int file;

    (void)state;
    (void)snprintf(path, sizeof path, "%s", "/tmp/weft-test-patch-XXXXXX");
    file = mkstemp(path);
    return file < 0 ? -1 : close(file);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static uint64_t digest_of(const weft_model *model)
{
    uint64_t digest = 0;

    assert_int_equal(weft_model_digest(model, weft_device_host(), &digest), WEFT_OK);
    return digest;
}

static weft_file *open_patch(void)
{
    weft_file *file = NULL;

    assert_int_equal(weft_file_open(&file, path, NULL, NULL), WEFT_OK);
    return file;
}

/* ---- patches that are right ---- */

static void random_patches_lead_from_one_model_to_the_other(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (int round = 0; round < 40; round++) {
        test_model *base = test_model_create(&random, 1 + (size_t)test_random_below(&random, 30));
        test_model *after = test_model_copy(&random, base);
        uint64_t expected =
            test_model_change(&random, after, (unsigned)test_random_below(&random, 300));
        uint64_t changed = UINT64_MAX;
        weft_patch_info info;
        weft_detail detail;
        weft_file *file;

        assert_int_equal(
            weft_patch_write(path, base->model, after->model, 7, 9, NULL, &changed, &detail),
            WEFT_OK);
        assert_true(changed == expected);
        assert_false(expected != 0 && test_model_equal(base, after));
        file = open_patch();
        assert_int_equal(weft_patch_read_info(file, &info, NULL), WEFT_OK);
        assert_true(info.base_version == 7 && info.target_version == 9);
        assert_true(info.base_digest == digest_of(base->model));
        assert_true(info.target_digest == digest_of(after->model));
        assert_true(info.fingerprint == weft_model_fingerprint(base->model));
        assert_int_equal(weft_patch_apply(file, base->model, NULL, &detail), WEFT_OK);
        assert_int_equal(detail.status, WEFT_OK);
        assert_true(test_model_equal(base, after));
        /* A second time the base is another one, unless nothing changed. */
        assert_int_equal(weft_patch_apply(file, base->model, NULL, &detail),
                         expected == 0 ? WEFT_OK : WEFT_E_BASE_MISMATCH);
        assert_true(test_model_equal(base, after));
        weft_file_close(file);
        test_model_destroy(base);
        test_model_destroy(after);
    }
}

static void a_model_without_tensors_has_a_patch(void **state)
{
    weft_model *model = NULL;
    weft_file *file;
    uint64_t changed = 99;

    (void)state;
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    assert_int_equal(weft_patch_write(path, model, model, 0, 1, NULL, &changed, NULL), WEFT_OK);
    assert_true(changed == 0);
    file = open_patch();
    assert_int_equal(weft_patch_apply(file, model, NULL, NULL), WEFT_OK);
    weft_file_close(file);
    weft_model_destroy(model);
}

/* Names that end like the names of a patch, and one as long as a name may be. */
static void names_may_have_colons(void **state)
{
    enum { COUNT = 6 };
    char longest[WEFT_NAME_MAX + 1];
    const char *const names[COUNT] = {"a",        "a:indices", "a:values", "a:indices:values",
                                      ":indices", longest};
    uint8_t before[COUNT][4] = {{0}};
    uint8_t after[COUNT][4] = {{0}};
    weft_model *models[2] = {NULL, NULL};
    weft_patch_entry *entries = NULL;
    const weft_allocator allocator = weft_allocator_default();
    size_t count = 0;
    weft_file *file;

    (void)state;
    memset(longest, 'n', WEFT_NAME_MAX);
    longest[WEFT_NAME_MAX] = '\0';
    for (int m = 0; m < 2; m++) {
        assert_int_equal(weft_model_create(&models[m], NULL), WEFT_OK);
        for (size_t i = 0; i < COUNT; i++) {
            uint8_t *data = m == 0 ? before[i] : after[i];
            assert_int_equal(
                weft_model_add(models[m], &(weft_tensor){names[i], WEFT_U8, 1, {4}, data}),
                WEFT_OK);
            after[i][i % 4] = (uint8_t)(i + 1);
        }
    }
    assert_int_equal(weft_patch_write(path, models[0], models[1], 0, 1, NULL, NULL, NULL), WEFT_OK);
    file = open_patch();
    assert_int_equal(weft_patch_entries(file, models[0], NULL, &entries, &count, NULL), WEFT_OK);
    assert_int_equal(count, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(entries[i].tensor, i);
        assert_int_equal(entries[i].count, 1);
        assert_int_equal(test_bits_get(entries[i].indices, 0, 4), i % 4);
        assert_int_equal(test_bits_get(entries[i].values, 0, 1), i + 1);
    }
    allocator.release(allocator.context, entries, count * sizeof *entries, WEFT_MEMORY_HOST);
    assert_int_equal(weft_patch_apply(file, models[0], NULL, NULL), WEFT_OK);
    assert_memory_equal(before, after, sizeof before);
    weft_file_close(file);
    weft_model_destroy(models[0]);
    weft_model_destroy(models[1]);
}

/* Four consecutive steps of a real model (tests/data/minilm). */
static void real_steps_follow_each_other(void **state)
{
    const char *source = getenv("WEFT_SOURCE_DIR");
    char name[4096];
    weft_file *base = NULL;
    weft_model *model = NULL;
    uint64_t digest;

    (void)state;
    (void)snprintf(name, sizeof name, "%s/tests/data/minilm/base.safetensors",
                   source == NULL ? "." : source);
    assert_int_equal(weft_file_open(&base, name, NULL, NULL), WEFT_OK);
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    assert_int_equal(weft_file_add_to_model(base, model), WEFT_OK);
    assert_int_equal(weft_model_count(model), 34);
    digest = digest_of(model);
    for (unsigned step = 1; step <= 3; step++) {
        weft_file *patch = NULL;
        weft_patch_info info;
        weft_detail detail;

        (void)snprintf(name, sizeof name, "%s/tests/data/minilm/step%u.patch.safetensors",
                       source == NULL ? "." : source, step);
        assert_int_equal(weft_file_open(&patch, name, NULL, NULL), WEFT_OK);
        assert_int_equal(weft_patch_read_info(patch, &info, NULL), WEFT_OK);
        assert_true(info.base_version == step - 1 && info.target_version == step);
        assert_true(info.base_digest == digest);
        assert_int_equal(weft_patch_apply(patch, model, NULL, &detail), WEFT_OK);
        digest = digest_of(model);
        assert_true(info.target_digest == digest && digest != info.base_digest);
        weft_file_close(patch);
    }
    weft_model_destroy(model);
    weft_file_close(base);
}

static void models_that_differ_have_no_patch(void **state)
{
    static uint8_t data[4];
    weft_model *base = NULL;
    weft_model *after = NULL;
    weft_detail detail;

    (void)state;
    assert_int_equal(weft_model_create(&base, NULL), WEFT_OK);
    assert_int_equal(weft_model_create(&after, NULL), WEFT_OK);
    assert_int_equal(weft_model_add(base, &(weft_tensor){"a", WEFT_U8, 1, {4}, data}), WEFT_OK);
    assert_int_equal(weft_model_add(after, &(weft_tensor){"a", WEFT_I8, 1, {4}, data}), WEFT_OK);
    assert_int_equal(weft_patch_write(path, base, after, 0, 1, NULL, NULL, &detail),
                     WEFT_E_MODEL_MISMATCH);
    assert_int_equal(detail.status, WEFT_E_MODEL_MISMATCH);
    assert_int_equal(weft_patch_write("/proc/none/x", base, base, 0, 1, NULL, NULL, &detail),
                     WEFT_E_FILE_WRITE);
    weft_model_destroy(base);
    weft_model_destroy(after);
}

/* ---- patches that are wrong ---- */

/* A patch for a model of "a", 4 elements of F32, and "b", 2 elements of U8, made by hand. */
typedef struct craft {
    const char *format, *kind;
    char base_version[32], target_version[32], base_digest[32], target_digest[32], fingerprint[32];
    weft_tensor tensors[4];
    size_t count;
} craft;

static float weights[4] = {1, 2, 3, 4};
static uint8_t bytes_of_b[2] = {5, 6};
static uint32_t indices[4] = {1, 3, 0, 0};
static uint64_t wide_indices[2] = {1, 3};
static uint32_t values[4] = {0x7fc00001, 0x80000000, 0, 0};

static weft_model *small_model(void)
{
    weft_model *model = NULL;

    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    assert_int_equal(weft_model_add(model, &(weft_tensor){"a", WEFT_F32, 1, {4}, weights}),
                     WEFT_OK);
    assert_int_equal(weft_model_add(model, &(weft_tensor){"b", WEFT_U8, 1, {2}, bytes_of_b}),
                     WEFT_OK);
    return model;
}

/* A right patch, for tests to spoil. */
static craft start_craft(const weft_model *model)
{
    craft c = {
        .format = "1",
        .kind = "sparse",
        .base_version = "3",
        .target_version = "18446744073709551615",
        .tensors = {{"a:indices", WEFT_I32, 1, {2}, indices},
                    {"a:values", WEFT_F32, 1, {2}, values}},
        .count = 2,
    };
    float kept[4];
    uint64_t after;

    (void)snprintf(c.base_digest, sizeof c.base_digest, "0x%016" PRIx64, digest_of(model));
    (void)snprintf(c.fingerprint, sizeof c.fingerprint, "0x%016" PRIx64,
                   weft_model_fingerprint(model));
    memcpy(kept, weights, sizeof kept);
    memcpy(&weights[1], &values[0], 4);
    memcpy(&weights[3], &values[1], 4);
    after = digest_of(model);
    memcpy(weights, kept, sizeof kept);
    (void)snprintf(c.target_digest, sizeof c.target_digest, "0x%016" PRIx64, after);
    return c;
}

static void write_craft(const craft *c)
{
    const weft_safetensors_pair all[] = {
        {"weft_patch", c->format},         {"kind", c->kind},
        {"base_version", c->base_version}, {"target_version", c->target_version},
        {"base_digest", c->base_digest},   {"target_digest", c->target_digest},
        {"fingerprint", c->fingerprint},
    };
    weft_safetensors_pair pairs[sizeof all / sizeof all[0]];
    size_t count = 0;
    weft_model *tensors = NULL;

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i].text != NULL && strcmp(all[i].text, "absent") != 0) {
            pairs[count++] = all[i];
        }
    }
    assert_int_equal(weft_model_create_for_file(&tensors, NULL), WEFT_OK);
    for (size_t i = 0; i < c->count; i++) {
        assert_int_equal(weft_model_add(tensors, &c->tensors[i]), WEFT_OK);
    }
    assert_int_equal(weft_safetensors_write(path, tensors, pairs, count, NULL, NULL), WEFT_OK);
    weft_model_destroy(tensors);
}

/* Applies the patch to the model, which must be what it was unless it succeeds. */
static void expect_apply(const craft *c, weft_model *model, weft_status expected)
{
    float kept[4];
    weft_detail detail;
    weft_status status;
    weft_file *file;

    memcpy(kept, weights, sizeof kept);
    write_craft(c);
    file = open_patch();
    status = weft_patch_apply(file, model, NULL, &detail);
    if (status != expected || detail.status != expected) {
        fail_msg("%s instead of %s: %s", weft_status_name(status), weft_status_name(expected),
                 detail.text);
    }
    assert_int_equal(weft_patch_apply(file, model, NULL, NULL),
                     expected == WEFT_OK ? WEFT_E_BASE_MISMATCH : expected);
    if (expected == WEFT_OK) {
        assert_memory_not_equal(weights, kept, sizeof kept);
        assert_int_equal(test_bits_get(weights, 1, 4), values[0]);
        assert_int_equal(test_bits_get(weights, 3, 4), values[1]);
        memcpy(weights, kept, sizeof kept);
    }
    assert_memory_equal(weights, kept, sizeof kept);
    weft_file_close(file);
}

static void a_crafted_patch_is_right_until_it_is_spoilt(void **state)
{
    weft_model *model = small_model();
    craft c = start_craft(model);

    (void)state;
    expect_apply(&c, model, WEFT_OK);
    /* An entry without elements is allowed. */
    c.tensors[2] = (weft_tensor){"b:indices", WEFT_I32, 1, {0}, NULL};
    c.tensors[3] = (weft_tensor){"b:values", WEFT_U8, 1, {0}, NULL};
    c.count = 4;
    expect_apply(&c, model, WEFT_OK);
    weft_model_destroy(model);
}

static void metadata_is_checked(void **state)
{
    static const char *const VERSIONS[] = {"absent",
                                           "",
                                           "-1",
                                           "01",
                                           "1.0",
                                           "0x1",
                                           " 1",
                                           "1 ",
                                           "18446744073709551616",
                                           "99999999999999999999"};
    static const char *const DIGESTS[] = {"absent",
                                          "",
                                          "1",
                                          "0x1",
                                          "0x0123456789abcdeF",
                                          "0X0123456789abcdef",
                                          "0x0123456789abcdeg",
                                          "0x0123456789abcdef0",
                                          "1x0123456789abcdef"};
    weft_model *model = small_model();
    const craft good = start_craft(model);
    craft c = good;

    (void)state;
    c.format = NULL;
    expect_apply(&c, model, WEFT_E_FILE_NOT_A_PATCH);
    c.format = "2";
    expect_apply(&c, model, WEFT_E_FILE_PATCH);
    c = good;
    c.kind = NULL;
    expect_apply(&c, model, WEFT_E_FILE_PATCH);
    c.kind = "dense";
    expect_apply(&c, model, WEFT_E_FILE_PATCH);
    for (size_t i = 0; i < sizeof VERSIONS / sizeof VERSIONS[0]; i++) {
        c = good;
        (void)snprintf(c.base_version, sizeof c.base_version, "%s", VERSIONS[i]);
        expect_apply(&c, model, WEFT_E_FILE_PATCH);
        c = good;
        (void)snprintf(c.target_version, sizeof c.target_version, "%s", VERSIONS[i]);
        expect_apply(&c, model, WEFT_E_FILE_PATCH);
    }
    for (size_t i = 0; i < sizeof DIGESTS / sizeof DIGESTS[0]; i++) {
        c = good;
        (void)snprintf(c.base_digest, sizeof c.base_digest, "%s", DIGESTS[i]);
        expect_apply(&c, model, WEFT_E_FILE_PATCH);
        c = good;
        (void)snprintf(c.target_digest, sizeof c.target_digest, "%s", DIGESTS[i]);
        expect_apply(&c, model, WEFT_E_FILE_PATCH);
        c = good;
        (void)snprintf(c.fingerprint, sizeof c.fingerprint, "%s", DIGESTS[i]);
        expect_apply(&c, model, WEFT_E_FILE_PATCH);
    }
    weft_model_destroy(model);
}

static void another_model_or_content_is_told(void **state)
{
    weft_model *model = small_model();
    const craft good = start_craft(model);
    craft c = good;

    (void)state;
    c.fingerprint[17] = c.fingerprint[17] == '0' ? '1' : '0';
    expect_apply(&c, model, WEFT_E_MODEL_MISMATCH);
    c = good;
    c.base_digest[17] = c.base_digest[17] == '0' ? '1' : '0';
    expect_apply(&c, model, WEFT_E_BASE_MISMATCH);
    c = good;
    c.target_digest[17] = c.target_digest[17] == '0' ? '1' : '0';
    expect_apply(&c, model, WEFT_E_DIGEST_MISMATCH);
    weft_model_destroy(model);
}

static void tensors_of_a_patch_are_checked(void **state)
{
    weft_model *model = small_model();
    const craft good = start_craft(model);
    const weft_tensor ok_indices = good.tensors[0];
    const weft_tensor ok_values = good.tensors[1];
    const struct {
        weft_tensor tensors[2];
        size_t count;
        weft_status status;
    } CASES[] = {
        {{{"a", WEFT_I32, 1, {2}, indices}, ok_values}, 2, WEFT_E_FILE_PATCH},
        {{{":indices", WEFT_I32, 1, {2}, indices}, ok_values}, 2, WEFT_E_FILE_PATCH},
        {{{"c:indices", WEFT_I32, 1, {2}, indices}, {"c:values", WEFT_F32, 1, {2}, values}},
         2,
         WEFT_E_MODEL_MISMATCH},
        {{ok_indices}, 1, WEFT_E_FILE_PATCH},
        {{ok_values}, 1, WEFT_E_FILE_PATCH},
        {{ok_indices, {"b:values", WEFT_U8, 1, {2}, values}}, 2, WEFT_E_FILE_PATCH},
        {{{"a:indices", WEFT_I64, 1, {2}, wide_indices}, ok_values}, 2, WEFT_E_FILE_PATCH},
        {{{"a:indices", WEFT_F32, 1, {2}, indices}, ok_values}, 2, WEFT_E_FILE_PATCH},
        {{ok_indices, {"a:values", WEFT_I32, 1, {2}, values}}, 2, WEFT_E_FILE_PATCH},
        {{ok_indices, {"a:values", WEFT_F32, 1, {1}, values}}, 2, WEFT_E_FILE_PATCH},
        {{{"a:indices", WEFT_I32, 2, {1, 2}, indices}, ok_values}, 2, WEFT_E_FILE_PATCH},
        {{ok_indices, {"a:values", WEFT_F32, 2, {1, 2}, values}}, 2, WEFT_E_FILE_PATCH},
        {{{"a:indices", WEFT_I32, 0, {0}, indices}, {"a:values", WEFT_F32, 0, {0}, values}},
         2,
         WEFT_E_FILE_PATCH},
        {{{"b:indices", WEFT_I32, 1, {3}, indices}, {"b:values", WEFT_U8, 1, {3}, values}},
         2,
         WEFT_E_FILE_PATCH},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        craft c = good;
        memcpy(c.tensors, CASES[i].tensors, sizeof CASES[i].tensors);
        c.count = CASES[i].count;
        expect_apply(&c, model, CASES[i].status);
    }
    weft_model_destroy(model);
}

static void indices_of_a_patch_are_checked(void **state)
{
    weft_model *model = small_model();
    craft c = start_craft(model);
    const uint32_t good[2] = {indices[0], indices[1]};

    (void)state;
    indices[1] = 4;
    expect_apply(&c, model, WEFT_E_INDEX_OUT_OF_BOUNDS);
    indices[1] = UINT32_MAX;
    expect_apply(&c, model, WEFT_E_INDEX_OUT_OF_BOUNDS);
    indices[1] = indices[0];
    expect_apply(&c, model, WEFT_E_INDEX_ORDER);
    indices[1] = 0;
    expect_apply(&c, model, WEFT_E_INDEX_ORDER);
    /* In bounds and in order, but others: the digest to come is not the announced one. */
    indices[1] = 2;
    expect_apply(&c, model, WEFT_E_DIGEST_MISMATCH);
    indices[1] = good[1];
    expect_apply(&c, model, WEFT_OK);
    weft_model_destroy(model);
}

/* The tensor's elements are never looked at, so it need not be there. */
static void large_tensors_have_wide_indices(void **state)
{
    static uint8_t data[1];
    const weft_allocator allocator = weft_allocator_default();
    weft_model *model = NULL;
    weft_patch_entry *entries = NULL;
    size_t count = 0;
    craft c = {
        .format = "1", .kind = "sparse", .base_version = "0", .target_version = "1", .count = 2};
    weft_file *file;

    (void)state;
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    assert_int_equal(
        weft_model_add(model, &(weft_tensor){"a", WEFT_U8, 1, {UINT64_C(1) << 31}, data}), WEFT_OK);
    (void)snprintf(c.base_digest, sizeof c.base_digest, "0x%016d", 0);
    (void)snprintf(c.target_digest, sizeof c.target_digest, "0x%016d", 0);
    (void)snprintf(c.fingerprint, sizeof c.fingerprint, "0x%016" PRIx64,
                   weft_model_fingerprint(model));
    c.tensors[0] = (weft_tensor){"a:indices", WEFT_I64, 1, {2}, wide_indices};
    c.tensors[1] = (weft_tensor){"a:values", WEFT_U8, 1, {2}, values};
    write_craft(&c);
    file = open_patch();
    assert_int_equal(weft_patch_entries(file, model, NULL, &entries, &count, NULL), WEFT_OK);
    assert_int_equal(count, 1);
    assert_int_equal(test_bits_get(entries[0].indices, 1, 8), 3);
    allocator.release(allocator.context, entries, sizeof *entries, WEFT_MEMORY_HOST);
    weft_file_close(file);
    c.tensors[0] = (weft_tensor){"a:indices", WEFT_I32, 1, {2}, indices};
    write_craft(&c);
    file = open_patch();
    assert_int_equal(weft_patch_entries(file, model, NULL, &entries, &count, NULL),
                     WEFT_E_FILE_PATCH);
    weft_file_close(file);
    weft_model_destroy(model);
}

/* ---- memory ---- */

static void memory_may_run_out_at_any_call(void **state)
{
    test_random random = test_random_start();
    test_model *base = test_model_create(&random, 20);
    test_model *after = test_model_copy(&random, base);
    test_model *copy = test_model_copy(&random, base);
    weft_status status = WEFT_E_OUT_OF_MEMORY;
    test_allocator memory;
    weft_detail detail;
    weft_file *file;
    uint64_t at = 0;

    (void)state;
    (void)test_model_change(&random, after, 500);
    while (status != WEFT_OK) {
        uint64_t changed = 77;
        test_allocator_start(&memory, ++at);
        status = weft_patch_write(path, base->model, after->model, 0, 1, &memory.allocator,
                                  &changed, &detail);
        test_allocator_finish(&memory);
        assert_true(status == WEFT_OK || status == WEFT_E_OUT_OF_MEMORY);
        assert_int_equal(detail.status, status);
        assert_int_equal(changed == 77, status != WEFT_OK);
    }
    assert_true(at > 8);
    file = open_patch();
    status = WEFT_E_OUT_OF_MEMORY;
    for (at = 0; status != WEFT_OK;) {
        assert_true(test_model_equal(base, copy));
        test_allocator_start(&memory, ++at);
        status = weft_patch_apply(file, base->model, &memory.allocator, &detail);
        test_allocator_finish(&memory);
        assert_true(status == WEFT_OK || status == WEFT_E_OUT_OF_MEMORY);
        assert_int_equal(detail.status, status);
    }
    assert_int_equal(at, 3);
    assert_true(test_model_equal(base, after));
    weft_file_close(file);
    test_model_destroy(base);
    test_model_destroy(after);
    test_model_destroy(copy);
}

#define WITH_PATH(test) cmocka_unit_test_setup_teardown(test, make_path, remove_path)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PATH(random_patches_lead_from_one_model_to_the_other),
        WITH_PATH(a_model_without_tensors_has_a_patch),
        WITH_PATH(names_may_have_colons),
        WITH_PATH(real_steps_follow_each_other),
        WITH_PATH(models_that_differ_have_no_patch),
        WITH_PATH(a_crafted_patch_is_right_until_it_is_spoilt),
        WITH_PATH(metadata_is_checked),
        WITH_PATH(another_model_or_content_is_told),
        WITH_PATH(tensors_of_a_patch_are_checked),
        WITH_PATH(indices_of_a_patch_are_checked),
        WITH_PATH(large_tensors_have_wide_indices),
        WITH_PATH(memory_may_run_out_at_any_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
