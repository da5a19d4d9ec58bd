/* Staging: what arrives in any portions stands where it belongs, staged and streamed alike, and
 * whatever is refused leaves nothing behind. */
#include "digest.h"
#include "model.h"
#include "staging.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TENSORS 14u

/* An update and the payload that belongs to it. */
typedef struct made {
    weft_update update;
    weft_patch patches[TENSORS];
    uint8_t *payload;
} made;

static uint8_t *exact(size_t bytes)
{
    uint8_t *block = calloc(1, bytes + (bytes == 0));

    assert_non_null(block);
    return block;
}

/* Random changes of the tensors first .. first + count, or all their elements. */
static made make(test_random *random, const test_model *model, weft_kind kind, uint32_t first,
                 uint32_t count)
{
    made m = {.update = {.kind = kind, .count = count}};
    test_change changes[TENSORS];

    for (uint32_t i = 0; i < count; i++) {
        uint64_t elements = weft_model_elements(model->model, first + i);
        uint32_t bytes = weft_dtype_bytes(weft_model_tensor(model->model, first + i)->dtype);
        changes[i] = test_change_create(random, elements, 4, (uint8_t)bytes,
                                        kind == WEFT_BASELINE ? 1000 : 200);
        m.patches[i] = (weft_patch){.tensor = first + i, .count = changes[i].count};
    }
    m.update.patches = m.patches;
    assert_int_equal(weft_update_layout(model->model, &m.update), WEFT_OK);
    m.payload = exact((size_t)m.update.payload_bytes);
    weft_sections at = weft_sections_begin(&m.update);
    for (uint32_t i = 0; i < count; i++) {
        const weft_patch *patch = &m.patches[i];
        memcpy(m.payload + at.indices, changes[i].indices,
               (size_t)(patch->count * patch->index_bytes));
        memcpy(m.payload + at.values, changes[i].values,
               (size_t)(patch->count * patch->element_bytes));
        weft_sections_step(&at, patch);
        test_change_release(&changes[i]);
    }
    return m;
}

static void reserve(weft_staging *staging, made *m, bool streamed)
{
    uint32_t tensor = 99;

    m->update.patches = m->patches; /* m may have been copied */
    assert_int_equal(weft_staging_reserve(staging, &m->update, streamed, &tensor), WEFT_OK);
    assert_int_equal(tensor, 99);
}

/* In portions of at most `most` bytes, each in memory of its own. */
static void take(test_random *random, weft_staging *staging, const made *m, uint64_t most)
{
    uint64_t offset = 0;

    while (offset < m->update.payload_bytes) {
        uint64_t left = m->update.payload_bytes - offset;
        uint64_t length = 1 + test_random_below(random, most);
        length = length < left ? length : left;
        uint8_t *portion = exact((size_t)length);
        memcpy(portion, m->payload + offset, (size_t)length);
        assert_int_equal(weft_staging_take(staging, offset, portion, length), WEFT_OK);
        free(portion);
        offset += length;
    }
}

/* A staged payload is digested in pieces, as they land. */
static uint64_t digest_of(const weft_staging *staging, const made *m)
{
    uint64_t digest = 0, bytes = m->update.payload_bytes;

    if (staging->streamed) {
        assert_int_equal(weft_staging_streamed_digest(staging, &digest), WEFT_OK);
        return digest;
    }
    for (uint64_t begin = 0, end; begin < bytes; begin = end) {
        weft_device_result result = {.status = WEFT_E_DEVICE_FAILED};
        uint64_t words = 1 + bytes / 8 / 3;
        end = bytes - begin > 8 * words ? begin + 8 * words : bytes;
        assert_int_equal(weft_staging_digest(staging, begin, end, &result), WEFT_OK);
        assert_int_equal(result.status, WEFT_OK);
        digest += result.digest;
    }
    return digest;
}

static uint64_t right_digest(const made *m)
{
    return weft_digest_payload(m->payload, (size_t)m->update.payload_bytes, 0);
}

static void check_staged(const weft_staging *staging, const made *m, const test_model *model)
{
    size_t count = 0;
    const weft_segment *first = weft_staging_newest(staging, &count), *segments = first;
    weft_sections at = weft_sections_begin(&m->update);

    assert_int_equal(weft_staging_newest_changed(staging), m->update.changed);
    for (size_t i = 0; i < m->update.count; i++) {
        const weft_segment *segment = segments;
        const weft_patch *patch = &m->patches[i];
        if (patch->count == 0) {
            continue; /* no segment */
        }
        segments++;
        assert_ptr_equal(segment->target, weft_model_tensor(model->model, patch->tensor)->data);
        assert_int_equal(segment->tensor, patch->tensor);
        assert_int_equal(segment->count, patch->count);
        assert_int_equal(segment->elements, weft_model_elements(model->model, patch->tensor));
        assert_int_equal(segment->seed, weft_model_seed(model->model, patch->tensor));
        assert_int_equal(segment->index_bytes, patch->index_bytes);
        assert_int_equal(segment->element_bytes, patch->element_bytes);
        assert_int_equal(segment->indices == NULL, m->update.kind == WEFT_BASELINE);
        if (segment->indices != NULL) {
            assert_memory_equal(segment->indices, m->payload + at.indices,
                                patch->count * patch->index_bytes);
        }
        assert_memory_equal(segment->values, m->payload + at.values,
                            patch->count * patch->element_bytes);
        weft_sections_step(&at, patch);
    }
    assert_int_equal(segments - first, count);
}

/* The tensors hold what the payload says. */
static void check_written(const made *m, const test_model *model)
{
    weft_sections at = weft_sections_begin(&m->update);

    for (size_t i = 0; i < m->update.count; i++) {
        const weft_patch *patch = &m->patches[i];
        const void *data = weft_model_tensor(model->model, patch->tensor)->data;
        for (uint64_t k = 0; k < patch->count; k++) {
            uint64_t index = patch->index_bytes == 0
                                 ? k
                                 : test_bits_get(m->payload + at.indices, k, patch->index_bytes);
            assert_int_equal(test_bits_get(data, index, patch->element_bytes),
                             test_bits_get(m->payload + at.values, k, patch->element_bytes));
        }
        weft_sections_step(&at, patch);
    }
}

static void run_all(const weft_staging *staging, weft_device_operation operation)
{
    weft_device_result r = {0};

    assert_int_equal(
        weft_device_run(staging->device, operation, staging->segments, staging->count, &r),
        WEFT_OK);
}

/* ---- tests ---- */

static void test_two_updates_staged(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        weft_kind kind = round % 3 == 0 ? WEFT_BASELINE : WEFT_SPARSE;
        test_model *model = test_model_create(&random, TENSORS);
        test_model *before = test_model_copy(&random, model);
        made a = make(&random, model, kind, 0, 8), b = make(&random, model, kind, 8, 6);
        test_allocator allocator;
        weft_staging staging;

        test_allocator_start(&allocator, 0);
        weft_staging_init(&staging, &allocator.allocator, weft_device_host(), model->model,
                          UINT64_C(1) << 30);
        reserve(&staging, &a, false);
        take(&random, &staging, &a, 1 + round * 7);
        check_staged(&staging, &a, model);
        assert_int_equal(digest_of(&staging, &a), right_digest(&a));
        reserve(&staging, &b, false);
        take(&random, &staging, &b, UINT64_C(1) << 20);
        check_staged(&staging, &b, model);
        assert_int_equal(digest_of(&staging, &b), right_digest(&b));
        assert_int_equal(weft_staging_changed(&staging), a.update.changed + b.update.changed);
        assert_int_equal(staging.held_bytes, allocator.live_bytes);
        assert_true(test_model_equal(model, before)); /* so far the weights were only read */

        run_all(&staging, WEFT_DEVICE_VERIFY);
        assert_true(test_model_equal(model, before));
        run_all(&staging, WEFT_DEVICE_PUT);
        check_written(&a, model);
        check_written(&b, model);
        run_all(&staging, WEFT_DEVICE_ROLLBACK);
        assert_true(test_model_equal(model, before));

        weft_staging_destroy(&staging);
        assert_int_equal(staging.held_bytes, 0);
        assert_true(staging.peak_bytes >= a.update.payload_bytes + b.update.payload_bytes);
        test_allocator_finish(&allocator);
        free(a.payload);
        free(b.payload);
        test_model_destroy(before);
        test_model_destroy(model);
    }
}

static void test_a_streamed_baseline(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (unsigned round = 0; round < 80; round++) {
        test_model *model = test_model_create(&random, TENSORS);
        made parts[2] = {make(&random, model, WEFT_BASELINE, 0, 1 + round % 13),
                         make(&random, model, WEFT_BASELINE, 1 + round % 13, 13 - round % 13)};
        test_allocator allocator;
        weft_staging staging;

        test_allocator_start(&allocator, 0);
        weft_staging_init(&staging, &allocator.allocator, weft_device_host(), model->model,
                          UINT64_C(1) << 16);
        for (unsigned i = 0; i < 2; i++) {
            reserve(&staging, &parts[i], true);
            take(&random, &staging, &parts[i], round % 4 == 0 ? 1 : 1 + round * 50);
            check_staged(&staging, &parts[i], model);
            check_written(&parts[i], model);
            assert_int_equal(digest_of(&staging, &parts[i]),
                             right_digest(&parts[i])); /* as if staged */
        }
        check_written(&parts[0], model);
        weft_staging_destroy(&staging);
        assert_int_equal(staging.held_bytes, 0);
        test_allocator_finish(&allocator);
        free(parts[0].payload);
        free(parts[1].payload);
        test_model_destroy(model);
    }
}

static void test_a_tensor_once_in_a_session(void **state)
{
    test_random random = test_random_start();
    test_model *model = test_model_create(&random, TENSORS);
    made a = make(&random, model, WEFT_SPARSE, 0, 5), b = make(&random, model, WEFT_SPARSE, 4, 5);
    test_allocator allocator;
    weft_staging staging;
    uint32_t tensor = 99;

    (void)state;
    test_allocator_start(&allocator, 0);
    weft_staging_init(&staging, &allocator.allocator, weft_device_host(), model->model, 1u << 30);
    reserve(&staging, &a, false);
    take(&random, &staging, &a, 100);
    uint64_t held = staging.held_bytes;
    b.update.patches = b.patches;
    assert_int_equal(weft_staging_reserve(&staging, &b.update, false, &tensor),
                     WEFT_E_META_DUPLICATE_TENSOR);
    assert_int_equal(tensor, 4);
    assert_int_equal(staging.held_bytes, held);
    check_staged(&staging, &a, model); /* what was there is untouched */
    weft_staging_destroy(&staging);
    reserve(&staging, &b, false); /* a new session knows nothing of the old one */
    weft_staging_destroy(&staging);
    test_allocator_finish(&allocator);
    free(a.payload);
    free(b.payload);
    test_model_destroy(model);
}

/* Each budget below what it takes is refused, each call of the allocator may fail; nothing of the
 * update stays, and the session can go on with what fits. */
static void test_refusals_leave_nothing(void **state)
{
    test_random random = test_random_start();
    test_model *model = test_model_create(&random, TENSORS);
    made a = make(&random, model, WEFT_SPARSE, 0, 9),
         none = make(&random, model, WEFT_SPARSE, 0, 0);
    test_allocator allocator;
    weft_staging staging;
    uint32_t tensor;
    uint64_t needed, table, calls;

    (void)state;
    a.update.patches = a.patches;
    test_allocator_start(&allocator, 0);
    weft_staging_init(&staging, &allocator.allocator, weft_device_host(), model->model, 1u << 30);
    reserve(&staging, &none, false);
    table = staging.held_bytes;
    weft_staging_destroy(&staging);
    reserve(&staging, &a, false);
    needed = staging.held_bytes;
    weft_staging_destroy(&staging);
    calls = allocator.calls;
    assert_int_equal(calls,
                     3 + 5); /* table, seen, update; and for a payload: it and its undo log */

    for (uint64_t budget = 0; budget < needed; budget += 1 + needed / 500) {
        staging.budget_bytes = budget;
        assert_int_equal(weft_staging_reserve(&staging, &a.update, false, &tensor),
                         WEFT_E_OVER_BUDGET);
        assert_true(staging.held_bytes <= budget && staging.held_bytes <= table);
        assert_int_equal(staging.count, 0);
        if (budget >= table) {
            reserve(&staging, &none, false);
        }
        weft_staging_destroy(&staging);
        assert_int_equal(staging.held_bytes, 0);
        assert_int_equal(allocator.live_bytes, 0);
    }
    staging.budget_bytes = needed;
    reserve(&staging, &a, false);
    assert_int_equal(weft_staging_budget_left(&staging), 0);
    weft_staging_destroy(&staging);

    for (uint64_t call = 1; call <= 5; call++) {
        test_allocator_start(&allocator, call);
        assert_int_equal(weft_staging_reserve(&staging, &a.update, false, &tensor),
                         WEFT_E_OUT_OF_MEMORY);
        reserve(&staging, &a, false); /* there is memory again, in the same session */
        weft_staging_destroy(&staging);
        assert_int_equal(staging.held_bytes, 0);
        test_allocator_finish(&allocator);
    }
    free(a.payload);
    free(none.payload);
    test_model_destroy(model);
}

static void test_memory_for_documents(void **state)
{
    test_random random = test_random_start();
    test_model *model = test_model_create(&random, 1);
    test_allocator allocator;
    weft_staging staging;
    weft_status status = WEFT_OK;

    (void)state;
    test_allocator_start(&allocator, 2);
    weft_staging_init(&staging, &allocator.allocator, weft_device_host(), model->model, 1000);
    void *document = weft_staging_allocate(&staging, 600, WEFT_MEMORY_HOST, &status);
    assert_non_null(document);
    assert_int_equal(status, WEFT_OK);
    assert_int_equal(weft_staging_budget_left(&staging), 400);
    assert_null(weft_staging_allocate(&staging, 401, WEFT_MEMORY_HOST, &status));
    assert_int_equal(status, WEFT_E_OVER_BUDGET);
    assert_null(weft_staging_allocate(&staging, UINT64_MAX, WEFT_MEMORY_HOST, &status));
    assert_int_equal(status, WEFT_E_OVER_BUDGET);
    assert_null(weft_staging_allocate(&staging, 400, WEFT_MEMORY_HOST, &status));
    assert_int_equal(status, WEFT_E_OUT_OF_MEMORY);
    assert_int_equal(staging.held_bytes, 600);
    weft_staging_free(&staging, NULL, 77, WEFT_MEMORY_HOST);
    assert_int_equal(staging.held_bytes, 600);
    weft_staging_free(&staging, document, 600, WEFT_MEMORY_HOST);
    assert_int_equal(staging.held_bytes, 0);
    assert_int_equal(staging.peak_bytes, 600);
    test_allocator_finish(&allocator);
    test_model_destroy(model);
}

static void test_updates_without_elements(void **state)
{
    test_random random = test_random_start();
    test_model *model = test_model_create(&random, TENSORS);
    made none = make(&random, model, WEFT_SPARSE, 0, 0);
    weft_allocator allocator = weft_allocator_default();
    weft_staging staging;
    size_t count = 9;

    (void)state;
    for (unsigned streamed = 0; streamed < 2; streamed++) {
        weft_staging_init(&staging, &allocator, weft_device_host(), model->model, 1u << 20);
        reserve(&staging, &none, streamed == 1);
        assert_int_equal(digest_of(&staging, &none), 0);
        (void)weft_staging_newest(&staging, &count);
        assert_int_equal(count, 0);
        assert_int_equal(weft_staging_newest_changed(&staging), 0);
        assert_int_equal(weft_staging_changed(&staging), 0);
        weft_staging_destroy(&staging);
    }
    free(none.payload);
    test_model_destroy(model);
}

/* A document may name a tensor with a count of 0, and a model may have no tensor at all. */
static void test_patches_without_elements(void **state)
{
    test_random random = test_random_start();
    test_model *model = test_model_create(&random, 3), *empty = test_model_create(&random, 0);
    test_model *before = test_model_copy(&random, model);
    weft_patch patches[3] = {{.tensor = 0}, {.tensor = 1}, {.tensor = 2}};
    weft_update update = {.kind = WEFT_SPARSE, .count = 3, .patches = patches};
    weft_update nothing = {.kind = WEFT_SPARSE};
    weft_allocator allocator = weft_allocator_default();
    weft_staging staging;
    uint32_t tensor;

    (void)state;
    assert_int_equal(weft_update_layout(model->model, &update), WEFT_OK);
    weft_staging_init(&staging, &allocator, weft_device_host(), model->model, 1u << 20);
    assert_int_equal(weft_staging_reserve(&staging, &update, false, &tensor), WEFT_OK);
    assert_int_equal(staging.count, 0); /* and yet each is taken */
    assert_int_equal(weft_staging_reserve(&staging, &update, false, &tensor),
                     WEFT_E_META_DUPLICATE_TENSOR);
    run_all(&staging, WEFT_DEVICE_VERIFY);
    run_all(&staging, WEFT_DEVICE_PUT);
    run_all(&staging, WEFT_DEVICE_ROLLBACK);
    assert_true(test_model_equal(model, before));
    weft_staging_destroy(&staging);
    weft_staging_init(&staging, &allocator, weft_device_host(), empty->model, 1u << 20);
    assert_int_equal(weft_staging_reserve(&staging, &nothing, false, &tensor), WEFT_OK);
    weft_staging_destroy(&staging);
    assert_int_equal(staging.held_bytes, 0);
    test_model_destroy(before);
    test_model_destroy(empty);
    test_model_destroy(model);
}

/* ---- a device that fails ---- */

static unsigned works; /* so many calls work yet */

static weft_status failing_copy(const weft_device *device, void *to, const void *from,
                                uint64_t bytes)
{
    (void)device;
    return works-- > 0 ? weft_device_host()->copy(weft_device_host(), to, from, bytes)
                       : WEFT_E_DEVICE_FAILED;
}

static weft_status failing_digest(const weft_device *device, const void *bytes, uint64_t length,
                                  uint64_t offset, uint64_t *digest)
{
    (void)device;
    return works-- > 0 ? weft_device_host()->payload_digest(weft_device_host(), bytes, length,
                                                            offset, digest)
                       : WEFT_E_DEVICE_FAILED;
}

static weft_status failing_submit_digest(const weft_device *device, const void *bytes,
                                         uint64_t length, uint64_t offset,
                                         weft_device_result *result)
{
    return failing_digest(device, bytes, length, offset, &result->digest);
}

static void test_a_failing_device(void **state)
{
    test_random random = test_random_start();
    test_model *model = test_model_create(&random, TENSORS);
    made a = make(&random, model, WEFT_BASELINE, 0, TENSORS);
    weft_device device = *weft_device_host();
    weft_allocator allocator = weft_allocator_default();

    (void)state;
    device.copy = failing_copy;
    device.payload_digest = failing_digest;
    device.submit_payload_digest = failing_submit_digest;
    for (unsigned streamed = 0; streamed < 2; streamed++) {
        weft_staging staging;
        uint64_t digest = 42;
        weft_staging_init(&staging, &allocator, &device, model->model, 1u << 30);
        for (unsigned n = 0; n < 1 + 2 * streamed; n++) { /* the first and later tensors */
            reserve(&staging, &a, streamed == 1);
            works = n;
            assert_int_equal(weft_staging_take(&staging, 0, a.payload, a.update.payload_bytes),
                             WEFT_E_DEVICE_FAILED);
            works = n;
            if (streamed == 1) {
                assert_int_equal(weft_staging_streamed_digest(&staging, &digest),
                                 WEFT_E_DEVICE_FAILED);
                assert_int_equal(digest, 42);
            } else {
                weft_device_result result;
                assert_int_equal(weft_staging_digest(&staging, 0, 8, &result),
                                 WEFT_E_DEVICE_FAILED);
            }
            weft_staging_destroy(&staging);
        }
    }
    free(a.payload);
    test_model_destroy(model);
}

/* The table is kept for the next session, and counts only while one runs. */
static void test_the_table_stays(void **state)
{
    test_random random = test_random_start();
    test_model *model = test_model_create(&random, TENSORS);
    made a = make(&random, model, WEFT_SPARSE, 0, 9);
    test_allocator allocator;
    weft_staging staging;
    uint32_t tensor;

    (void)state;
    test_allocator_start(&allocator, 0);
    weft_staging_init(&staging, &allocator.allocator, weft_device_host(), model->model, 1u << 30);
    reserve(&staging, &a, false);
    uint64_t held = staging.held_bytes, calls = allocator.calls;
    for (unsigned i = 0; i < 3; i++) {
        weft_staging_release(&staging);
        assert_int_equal(staging.held_bytes, 0);
        reserve(&staging, &a, false); /* `seen` begins anew, or the tensors would be twice there */
        assert_int_equal(staging.held_bytes, held);
        assert_int_equal(allocator.calls,
                         calls + UINT64_C(3) * (i + 1)); /* update, payload, undo log */
    }
    weft_staging_release(&staging);
    staging.budget_bytes = 100; /* less than the table */
    assert_int_equal(weft_staging_reserve(&staging, &a.update, false, &tensor), WEFT_E_OVER_BUDGET);
    assert_int_equal(staging.held_bytes, 0);
    weft_staging_destroy(&staging);
    assert_int_equal(allocator.live_bytes, 0);
    free(a.payload);
    test_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_updates_staged),
        cmocka_unit_test(test_the_table_stays),
        cmocka_unit_test(test_a_streamed_baseline),
        cmocka_unit_test(test_a_tensor_once_in_a_session),
        cmocka_unit_test(test_refusals_leave_nothing),
        cmocka_unit_test(test_memory_for_documents),
        cmocka_unit_test(test_updates_without_elements),
        cmocka_unit_test(test_patches_without_elements),
        cmocka_unit_test(test_a_failing_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
