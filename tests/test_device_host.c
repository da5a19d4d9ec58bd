/* The host device against slow and obvious code: check, gather, put, roll back, digest, diff. */
#include "device.h"
#include "digest.h"
#include "model.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define SEGMENTS 8u

/* ---- slow and obvious ---- */

/* Adds what this element's change does to the digest. */
static uint64_t slow_change(uint64_t seed, uint64_t index, uint64_t before, uint64_t after)
{
    return weft_digest_term(seed, index, after) - weft_digest_term(seed, index, before);
}

static weft_device_result run(weft_device_operation operation, const weft_segment *segments,
                              size_t count)
{
    const weft_device *device = weft_device_host();
    weft_device_result result = {.status = WEFT_E_BUSY};

    assert_int_equal(device->submit(device, operation, segments, count, &result), WEFT_OK);
    assert_int_equal(device->poll(device), WEFT_POLL_DONE);
    return result;
}

/* ---- sparse segments ---- */

/* One segment with blocks of its own, what its target was, and what it must become. */
struct part {
    weft_segment segment;
    test_change change;
    uint8_t *target, *undo; /* one byte into their blocks */
    uint8_t *old, *new;
    uint64_t digest;
};

static uint8_t *block(size_t bytes)
{
    uint8_t *fresh = malloc(bytes + 1);

    assert_non_null(fresh);
    return fresh;
}

static void part_start(struct part *part, test_random *random, uint8_t index_bytes,
                       uint8_t element_bytes)
{
    uint64_t elements = test_random_below(random, 700);
    size_t bytes = (size_t)elements * element_bytes;

    part->change = test_change_create(random, elements, index_bytes, element_bytes,
                                      (unsigned)test_random_below(random, 1001));
    part->target = block(bytes) + 1;
    part->old = block(bytes);
    part->new = block(bytes);
    part->undo = block((size_t)part->change.count * element_bytes) + 1;
    test_random_fill(random, part->target, bytes);
    memcpy(part->old, part->target, bytes);
    memcpy(part->new, part->target, bytes);
    part->digest = 0;
    part->segment = (weft_segment){.target = part->target,
                                   .indices = part->change.indices,
                                   .values = part->change.values,
                                   .undo = part->undo,
                                   .count = part->change.count,
                                   .elements = elements,
                                   .seed = test_random_next(random),
                                   .index_bytes = index_bytes,
                                   .element_bytes = element_bytes};
    for (uint64_t i = 0; i < part->change.count; i++) {
        uint64_t index = test_bits_get(part->change.indices, i, index_bytes);
        uint64_t value = test_bits_get(part->change.values, i, element_bytes);
        part->digest += slow_change(part->segment.seed, index,
                                    test_bits_get(part->old, index, element_bytes), value);
        test_bits_set(part->new, index, element_bytes, value);
    }
}

static void part_finish(struct part *part)
{
    test_change_release(&part->change);
    free(part->target - 1);
    free(part->undo - 1);
    free(part->old);
    free(part->new);
}

static void assert_target(const struct part *part, const uint8_t *expected)
{
    assert_memory_equal(part->target, expected,
                        part->segment.elements * part->segment.element_bytes);
}

/* Segments of all widths in one operation: VERIFY reads only, PUT writes, ROLLBACK restores. */
static void test_sparse_is_the_reference(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        struct part parts[SEGMENTS];
        weft_segment segments[SEGMENTS];
        uint64_t digest = 0;
        weft_device_result result;

        for (unsigned i = 0; i < SEGMENTS; i++) {
            part_start(&parts[i], &random, i < 4 ? 4 : 8, (uint8_t)(1u << (i % 4)));
            segments[i] = parts[i].segment;
            digest += parts[i].digest;
        }
        result = run(WEFT_DEVICE_VERIFY, segments, SEGMENTS);
        assert_int_equal(result.status, WEFT_OK);
        assert_int_equal(result.digest, digest);
        for (unsigned i = 0; i < SEGMENTS; i++) {
            const struct part *part = &parts[i];
            assert_target(part, part->old);
            for (uint64_t j = 0; j < part->change.count; j++) {
                uint64_t index = test_bits_get(part->change.indices, j, part->segment.index_bytes);
                assert_int_equal(test_bits_get(part->undo, j, part->segment.element_bytes),
                                 test_bits_get(part->old, index, part->segment.element_bytes));
            }
        }
        assert_int_equal(run(WEFT_DEVICE_PUT, segments, SEGMENTS).status, WEFT_OK);
        for (unsigned i = 0; i < SEGMENTS; i++) {
            assert_target(&parts[i], parts[i].new);
        }
        assert_int_equal(run(WEFT_DEVICE_ROLLBACK, segments, SEGMENTS).status, WEFT_OK);
        for (unsigned i = 0; i < SEGMENTS; i++) {
            assert_target(&parts[i], parts[i].old);
            part_finish(&parts[i]);
        }
    }
}

static void test_verify_without_undo(void **state)
{
    test_random random = test_random_start();
    struct part part;
    weft_device_result result;

    (void)state;
    part_start(&part, &random, 4, 2);
    part.segment.undo = NULL;
    result = run(WEFT_DEVICE_VERIFY, &part.segment, 1);
    assert_int_equal(result.status, WEFT_OK);
    assert_int_equal(result.digest, part.digest);
    part_finish(&part);
}

/* ---- faulty indices ---- */

/* VERIFY of three segments, of which the second has these indices; the outer ones are sound. */
static weft_device_result verify_indices(const uint64_t *indices, uint64_t count, uint64_t elements,
                                         uint8_t index_bytes, bool *undo_written)
{
    uint8_t target[64] = {0};
    uint8_t values[64] = {0};
    uint8_t undo[3][64];
    uint8_t untouched[64];
    uint8_t encoded[8 * 16];
    const uint8_t sound[8] = {0, 0, 0, 0, 5, 0, 0, 0};
    weft_segment segments[3];
    weft_device_result result;

    memset(undo, 0xee, sizeof undo);
    memset(untouched, 0xee, sizeof untouched);
    for (uint64_t i = 0; i < count; i++) {
        test_bits_set(encoded, i, index_bytes, indices[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        segments[i] = (weft_segment){.target = target,
                                     .indices = i == 1 ? encoded : sound,
                                     .values = values,
                                     .undo = undo[i],
                                     .count = i == 1 ? count : 2,
                                     .elements = elements,
                                     .index_bytes = i == 1 ? index_bytes : 4,
                                     .element_bytes = 1};
    }
    result = run(WEFT_DEVICE_VERIFY, segments, 3);
    *undo_written = memcmp(undo[0], untouched, 64) != 0 || memcmp(undo[1], untouched, 64) != 0 ||
                    memcmp(undo[2], untouched, 64) != 0;
    return result;
}

static void test_faulty_indices_are_named(void **state)
{
    static const struct {
        uint64_t indices[6];
        uint64_t count;
        weft_status status;
        uint64_t position;
    } cases[] = {
        {{0, 1, 2, 3, 4, 9}, 6, WEFT_OK, 0},
        {{9}, 1, WEFT_OK, 0},
        {{10}, 1, WEFT_E_INDEX_OUT_OF_BOUNDS, 0},
        {{0, 1, 2, 3, 4, 10}, 6, WEFT_E_INDEX_OUT_OF_BOUNDS, 5},
        {{0, 11, 12, 13}, 4, WEFT_E_INDEX_OUT_OF_BOUNDS, 1},
        {{0, 4, 4, 5}, 4, WEFT_E_INDEX_ORDER, 2},
        {{0, 0}, 2, WEFT_E_INDEX_ORDER, 1},
        {{3, 2}, 2, WEFT_E_INDEX_ORDER, 1},
        {{0, 5, 4, 10}, 4, WEFT_E_INDEX_ORDER, 2},
        {{0, 11, 4, 4}, 4, WEFT_E_INDEX_OUT_OF_BOUNDS, 1},
        {{1, 0xffffffff, 2}, 3, WEFT_E_INDEX_OUT_OF_BOUNDS, 1},
        {{0, 0x80000000}, 2, WEFT_E_INDEX_OUT_OF_BOUNDS, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (uint8_t index_bytes = 4; index_bytes <= 8; index_bytes = (uint8_t)(index_bytes + 4)) {
            bool undo_written = false;
            weft_device_result result =
                verify_indices(cases[i].indices, cases[i].count, 10, index_bytes, &undo_written);
            assert_int_equal(result.status, cases[i].status);
            assert_int_equal(undo_written, cases[i].status == WEFT_OK);
            if (cases[i].status != WEFT_OK) {
                assert_int_equal(result.segment, 1);
                assert_int_equal(result.position, cases[i].position);
                assert_int_equal(result.found, cases[i].indices[cases[i].position]);
                assert_int_equal(result.digest, 0);
            }
        }
    }
}

/* 64-bit indices that 32 bits would bring back into range. */
static void test_wide_indices_are_not_cut(void **state)
{
    static const uint64_t far[] = {UINT64_C(0x100000003), UINT64_C(0x8000000000000001), UINT64_MAX};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const uint64_t indices[2] = {1, far[i]};
        bool undo_written = false;
        weft_device_result result = verify_indices(indices, 2, 10, 8, &undo_written);

        assert_int_equal(result.status, WEFT_E_INDEX_OUT_OF_BOUNDS);
        assert_int_equal(result.position, 1);
        assert_int_equal(result.found, far[i]);
        assert_false(undo_written);
    }
}

/* One fault at a random place of a long list: the check that is fast finds what the slow one does.
 */
static void test_one_fault_in_many(void **state)
{
    test_random random = test_random_start();
    uint32_t indices[1000];
    uint8_t target[3000];

    (void)state;
    memset(target, 1, sizeof target);
    for (unsigned round = 0; round < 2000; round++) {
        uint32_t at = (uint32_t)test_random_below(&random, 1000);
        bool bounds = test_random_below(&random, 2) == 0;
        weft_segment segment = {.target = target,
                                .indices = indices,
                                .values = target,
                                .count = 1000,
                                .elements = 3000,
                                .index_bytes = 4,
                                .element_bytes = 1};
        weft_device_result result;

        for (uint32_t i = 0; i < 1000; i++) {
            indices[i] = 3 * i;
        }
        indices[at] = bounds ? 3000 + at : (at == 0 ? 3 : 3 * (at - 1));
        result = run(WEFT_DEVICE_VERIFY, &segment, 1);
        assert_int_equal(result.status, bounds ? WEFT_E_INDEX_OUT_OF_BOUNDS : WEFT_E_INDEX_ORDER);
        /* A first index that is the second's equal is found at the second. */
        assert_int_equal(result.position, !bounds && at == 0 ? 1 : at);
        assert_int_equal(result.found, !bounds && at == 0 ? 3 : indices[at]);
    }
}

/* ---- dense segments ---- */

static void test_dense(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        uint8_t element_bytes = (uint8_t)(1u << (round % 4));
        uint64_t elements = 1 + test_random_below(&random, 500);
        size_t bytes = (size_t)elements * element_bytes;
        uint8_t *memory = block(4 * bytes);
        uint8_t *target = memory;
        uint8_t *values = memory + bytes;
        uint8_t *undo = memory + 2 * bytes;
        uint8_t *old = memory + 3 * bytes;
        weft_segment segment = {.target = target,
                                .values = values,
                                .undo = undo,
                                .count = elements,
                                .elements = elements,
                                .seed = round,
                                .element_bytes = element_bytes};
        uint64_t before;
        uint64_t after;

        test_random_fill(&random, memory, 4 * bytes);
        memcpy(old, target, bytes);
        before = weft_digest_elements(target, 0, elements, element_bytes, round);
        after = weft_digest_elements(values, 0, elements, element_bytes, round);
        assert_int_equal(run(WEFT_DEVICE_DIGEST, &segment, 1).digest, before);
        assert_int_equal(run(WEFT_DEVICE_VERIFY, &segment, 1).digest, after);
        assert_memory_equal(undo, old, bytes);
        assert_memory_equal(target, old, bytes);
        (void)run(WEFT_DEVICE_PUT, &segment, 1);
        assert_memory_equal(target, values, bytes);
        assert_int_equal(run(WEFT_DEVICE_DIGEST, &segment, 1).digest, after);
        (void)run(WEFT_DEVICE_ROLLBACK, &segment, 1);
        assert_memory_equal(target, old, bytes);
        segment.undo = NULL;
        assert_int_equal(run(WEFT_DEVICE_VERIFY, &segment, 1).digest, after);
        free(memory);
    }
}

/* ---- segments that are none ---- */

static void assert_refused(weft_device_operation operation, const weft_segment *segment)
{
    const weft_device *device = weft_device_host();
    weft_device_result result = {.status = WEFT_E_BUSY, .digest = 7};
    const uint8_t byte = 9;
    uint8_t target = 3;
    weft_segment segments[2] = {{.target = &target,
                                 .values = &byte,
                                 .undo = &target,
                                 .count = 1,
                                 .elements = 1,
                                 .element_bytes = 1},
                                *segment};

    assert_int_equal(device->submit(device, operation, segments, 2, &result), WEFT_E_DEVICE_FAILED);
    assert_int_equal(result.status, WEFT_E_BUSY);
    assert_int_equal(result.digest, 7);
    assert_int_equal(target, 3);
}

static void test_malformed_segments_begin_nothing(void **state)
{
    uint8_t bytes[32] = {0};
    const weft_segment good = {.target = bytes,
                               .indices = bytes,
                               .values = bytes,
                               .undo = bytes,
                               .count = 1,
                               .elements = 2,
                               .index_bytes = 4,
                               .element_bytes = 2};
    weft_segment bad = good;

    (void)state;
    bad.element_bytes = 3;
    assert_refused(WEFT_DEVICE_VERIFY, &bad);
    assert_refused(WEFT_DEVICE_DIGEST, &bad);
    bad = good;
    bad.index_bytes = 2;
    assert_refused(WEFT_DEVICE_PUT, &bad);
    bad = good;
    bad.values = NULL;
    assert_refused(WEFT_DEVICE_VERIFY, &bad);
    assert_refused(WEFT_DEVICE_PUT, &bad);
    bad = good;
    bad.undo = NULL;
    assert_refused(WEFT_DEVICE_ROLLBACK, &bad);
    bad = good;
    bad.indices = NULL; /* dense, and shorter than the tensor */
    assert_refused(WEFT_DEVICE_PUT, &bad);
}

static void test_empty_segments(void **state)
{
    uint8_t target[6] = {0};
    const weft_segment nothing[2] = {
        {.index_bytes = 4, .element_bytes = 2},
        {.target = target, .elements = 3, .index_bytes = 4, .element_bytes = 2}};

    (void)state;
    for (int operation = WEFT_DEVICE_VERIFY; operation <= WEFT_DEVICE_DIGEST; operation++) {
        weft_device_result result = run((weft_device_operation)operation, nothing, 2);
        assert_int_equal(result.status, WEFT_OK);
        assert_int_equal(result.digest, 0);
    }
    assert_int_equal(run(WEFT_DEVICE_VERIFY, NULL, 0).status, WEFT_OK);
}

static void test_payload_digest(void **state)
{
    const weft_device *device = weft_device_host();
    const uint8_t payload[] = "what arrived in one piece";
    uint64_t digest = 1;

    (void)state;
    assert_int_equal(device->payload_digest(device, payload, sizeof payload, 16, &digest), WEFT_OK);
    assert_int_equal(digest, weft_digest_payload(payload, sizeof payload, 16));
    assert_int_equal(device->payload_digest(device, NULL, 0, 8, &digest), WEFT_OK);
    assert_int_equal(digest, 0);
}

static void test_copy(void **state)
{
    const weft_device *device = weft_device_host();
    uint8_t to[4] = {0};

    (void)state;
    assert_int_equal(device->copy(device, to, "weft", 4), WEFT_OK);
    assert_memory_equal(to, "weft", 4);
    assert_int_equal(device->copy(device, NULL, NULL, 0), WEFT_OK);
    assert_int_equal(device->memory, WEFT_MEMORY_HOST);
    assert_string_equal(device->name, "host");
}

/* ---- tensors of 2^31 elements and more ---- */

/* Address space without memory: pages come into being where they are written. */
static uint8_t *sparse_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

static void test_huge_tensor(void **state)
{
    const uint64_t elements = (UINT64_C(1) << 32) + 4096;
    const uint64_t indices[] = {3, (UINT64_C(1) << 31) - 1, UINT64_C(1) << 31,
                                (UINT64_C(1) << 32) + 3, (UINT64_C(1) << 32) + 4095};
    const uint16_t values[] = {1, 0x8000, 0x7fc1, 0xffff, 5};
    uint16_t undo[5] = {9, 9, 9, 9, 9};
    uint8_t *target = sparse_memory((size_t)elements * 2);
    weft_segment segment = {.target = target,
                            .indices = indices,
                            .values = values,
                            .undo = undo,
                            .count = 5,
                            .elements = elements,
                            .seed = 11,
                            .index_bytes = 8,
                            .element_bytes = 2};
    weft_device_result result;
    uint64_t digest = 0;

    (void)state;
    test_bits_set(target, 3, 2, 0x1234);
    for (unsigned i = 0; i < 5; i++) {
        digest += slow_change(11, indices[i], i == 0 ? 0x1234 : 0, values[i]);
    }
    result = run(WEFT_DEVICE_VERIFY, &segment, 1);
    assert_int_equal(result.status, WEFT_OK);
    assert_int_equal(result.digest, digest);
    assert_int_equal(undo[0], 0x1234);
    assert_int_equal(undo[3], 0);
    (void)run(WEFT_DEVICE_PUT, &segment, 1);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(test_bits_get(target, indices[i], 2), values[i]);
    }
    (void)run(WEFT_DEVICE_ROLLBACK, &segment, 1);
    assert_int_equal(test_bits_get(target, 3, 2), 0x1234);
    assert_int_equal(test_bits_get(target, indices[3], 2), 0);
    segment.elements = indices[4];
    assert_int_equal(run(WEFT_DEVICE_VERIFY, &segment, 1).status, WEFT_E_INDEX_OUT_OF_BOUNDS);
    (void)munmap(target, (size_t)elements * 2);
}

/* ---- diff ---- */

static weft_comparison *compare(const test_model *before, const test_model *after)
{
    weft_comparison *tensors = calloc(before->count + 1, sizeof *tensors);

    assert_non_null(tensors);
    for (size_t i = 0; i < before->count; i++) {
        const weft_tensor *tensor = weft_model_tensor(before->model, i);
        tensors[i] = (weft_comparison){
            .before = tensor->data,
            .after = weft_model_tensor(after->model, i)->data,
            .elements = weft_model_elements(before->model, i),
            .seed = weft_model_seed(before->model, i),
            /* The layout with wide indices too, which no small tensor has in earnest. */
            .index_bytes = i % 3 == 2 ? 8 : weft_model_index_bytes(before->model, i),
            .element_bytes = (uint8_t)weft_dtype_bytes(tensor->dtype)};
    }
    return tensors;
}

/* Appends a number to the payload that is expected, which is large enough. */
static void expect(uint8_t *payload, uint64_t *length, uint64_t value, uint8_t bytes)
{
    test_bits_set(payload + *length, 0, bytes, value);
    *length += bytes;
}

/* The payload by the book: all indices, then all values, each section padded to a multiple of 8. */
static uint8_t *slow_diff(const weft_comparison *tensors, size_t count, uint64_t *length)
{
    uint64_t most = 8;
    uint8_t *payload;

    for (size_t i = 0; i < count; i++) {
        most += 16 * (tensors[i].elements + 1);
    }
    payload = calloc(1, most);
    assert_non_null(payload);
    *length = 0;
    for (unsigned section = 0; section < 2; section++) {
        for (size_t i = 0; i < count; i++) {
            const weft_comparison *t = &tensors[i];
            for (uint64_t j = 0; j < t->elements; j++) {
                uint64_t value = test_bits_get(t->after, j, t->element_bytes);
                if (value != test_bits_get(t->before, j, t->element_bytes)) {
                    expect(payload, length, section == 0 ? j : value,
                           section == 0 ? t->index_bytes : t->element_bytes);
                }
            }
            *length = (*length + 7) / 8 * 8;
        }
    }
    return payload;
}

static weft_status diff(const weft_comparison *tensors, size_t count, test_allocator *allocator,
                        uint64_t budget_bytes, weft_difference *difference)
{
    const weft_device *device = weft_device_host();

    return device->diff(device, tensors, count, &allocator->allocator, budget_bytes, difference);
}

static void release(test_allocator *allocator, const weft_difference *difference)
{
    if (difference->payload != NULL) {
        allocator->allocator.release(allocator, difference->payload, difference->payload_capacity,
                                     WEFT_MEMORY_HOST);
    }
    test_allocator_finish(allocator);
}

/* Random models of every dtype: the payload bit for bit, counts, and old digest + change == new. */
static void test_diff_is_the_reference(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        test_model *before = test_model_create(&random, test_random_below(&random, 40));
        test_model *after = test_model_copy(&random, before);
        uint64_t changed =
            test_model_change(&random, after, round % 4 == 0 ? 1000 : (unsigned)round % 4 * 8);
        weft_comparison *tensors = compare(before, after);
        uint64_t counts[40];
        uint64_t sum = 0;
        uint64_t length = 0;
        uint64_t digest_before = 0;
        uint64_t digest_after = 0;
        uint8_t *expected = slow_diff(tensors, before->count, &length);
        test_allocator allocator;
        weft_difference difference = {.counts = counts};

        test_allocator_start(&allocator, 0);
        assert_int_equal(diff(tensors, before->count, &allocator, UINT64_MAX, &difference),
                         WEFT_OK);
        assert_int_equal(difference.changed, changed);
        assert_int_equal(difference.payload_bytes, length);
        assert_true(difference.payload_capacity >= length);
        assert_true((difference.payload == NULL) == (changed == 0));
        if (changed != 0) {
            assert_memory_equal(difference.payload, expected, length);
        }
        for (size_t i = 0; i < before->count; i++) {
            sum += counts[i];
        }
        assert_int_equal(sum, changed);
        assert_ptr_equal(difference.counts, counts);
        assert_int_equal(weft_model_digest(before->model, weft_device_host(), &digest_before),
                         WEFT_OK);
        assert_int_equal(weft_model_digest(after->model, weft_device_host(), &digest_after),
                         WEFT_OK);
        assert_int_equal(digest_before + difference.digest, digest_after);
        release(&allocator, &difference);
        free(expected);
        free(tensors);
        test_model_destroy(before);
        test_model_destroy(after);
    }
}

/* What floats hold equal differs, and what they hold different (NaN) may be equal. */
static void test_diff_compares_bits(void **state)
{
    const uint32_t before[6] = {0, 0x7fc00000, 0x7fc00001, 1, 0xff800000, 0x3f800000};
    const uint32_t after[6] = {0x80000000, 0x7fc00000, 0x7fc00002,
                               0x80000001, 0xff800000, 0x3f800000};
    /* Indices 0, 2, 3; padding; values 0x80000000, 0x7fc00002, 0x80000001; padding. */
    const uint8_t payload[32] = {0, 0, 0, 0,    2, 0, 0,    0,    3, 0, 0, 0,    0, 0, 0, 0,
                                 0, 0, 0, 0x80, 2, 0, 0xc0, 0x7f, 1, 0, 0, 0x80, 0, 0, 0, 0};
    const weft_comparison tensor = {
        .before = before, .after = after, .elements = 6, .index_bytes = 4, .element_bytes = 4};
    uint64_t count = 0;
    weft_difference difference = {.counts = &count};
    test_allocator allocator;

    (void)state;
    test_allocator_start(&allocator, 0);
    assert_int_equal(diff(&tensor, 1, &allocator, UINT64_MAX, &difference), WEFT_OK);
    assert_int_equal(count, 3);
    assert_int_equal(difference.payload_bytes, 32);
    assert_memory_equal(difference.payload, payload, sizeof payload);
    release(&allocator, &difference);
}

#define BIG    400000u
#define UNSEEN 389120u /* 95 strides of 4096: the sample ends before */

/* Two tensors of BIG bytes. All of it differs from byte `from` on. */
static void big_change(uint8_t *before, uint8_t *after, size_t from, weft_comparison tensors[2])
{
    memset(before, 0, BIG);
    memset(after, 0, BIG);
    memset(after + from, 1, BIG - from);
    tensors[0] = (weft_comparison){
        .before = before, .after = after, .elements = BIG, .index_bytes = 4, .element_bytes = 1};
    tensors[1] = (weft_comparison){.before = before,
                                   .after = after,
                                   .elements = BIG / 2,
                                   .index_bytes = 8,
                                   .element_bytes = 2};
}

static uint64_t big_payload(size_t from)
{
    return (BIG - from) * 5 + (BIG - from) / 2 * 10;
}

/* Where the sample shows the change, one pass and one allocation are enough; where it shows
 * nothing, the second pass fits exactly. The payload is the same. */
static void test_diff_with_right_and_wrong_guess(void **state)
{
    static uint8_t before[BIG];
    static uint8_t after[BIG];
    static const size_t from[] = {0, UNSEEN};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        weft_comparison tensors[2];
        uint64_t counts[2];
        uint64_t length = 0;
        weft_difference difference = {.counts = counts};
        test_allocator allocator;
        uint8_t *expected;

        big_change(before, after, from[i], tensors);
        expected = slow_diff(tensors, 2, &length);
        test_allocator_start(&allocator, 0);
        assert_int_equal(diff(tensors, 2, &allocator, UINT64_MAX, &difference), WEFT_OK);
        assert_int_equal(length, big_payload(from[i]));
        assert_int_equal(difference.payload_bytes, length);
        assert_memory_equal(difference.payload, expected, length);
        assert_int_equal(difference.digest, weft_digest_elements(after, 0, BIG, 1, 0) +
                                                weft_digest_elements(after, 0, BIG / 2, 2, 0));
        assert_int_equal(allocator.calls, i + 1);
        /* A sixteenth more than the sample says, and two small constants. */
        assert_true(allocator.peak_bytes <= length + length / 16 + 131072 + 16);
        release(&allocator, &difference);
        free(expected);
    }
}

/* The least budget is the payload's own size, guessed right or wrong. */
static void test_diff_keeps_its_budget(void **state)
{
    static uint8_t before[BIG];
    static uint8_t after[BIG];
    static const size_t from[] = {0, UNSEEN};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t needed = big_payload(from[i]);
        weft_comparison tensors[2];
        uint64_t counts[2];
        weft_difference difference = {.counts = counts, .changed = 77};
        test_allocator allocator;

        big_change(before, after, from[i], tensors);
        for (unsigned part = 0; part <= 8; part++) {
            uint64_t budget = part == 8 ? needed - 1 : needed * part / 8;
            test_allocator_start(&allocator, 0);
            assert_int_equal(diff(tensors, 2, &allocator, budget, &difference), WEFT_E_OVER_BUDGET);
            assert_true(allocator.peak_bytes <= budget);
            assert_null(difference.payload);
            assert_int_equal(difference.changed, 77);
            test_allocator_finish(&allocator);
        }
        test_allocator_start(&allocator, 0);
        assert_int_equal(diff(tensors, 2, &allocator, needed, &difference), WEFT_OK);
        assert_int_equal(difference.payload_bytes, needed);
        assert_true(allocator.peak_bytes <= needed);
        release(&allocator, &difference);
    }
}

static void test_diff_survives_every_failing_allocation(void **state)
{
    static uint8_t before[BIG];
    static uint8_t after[BIG];

    (void)state;
    /* Two allocations: the guess is wrong. */
    for (uint64_t fail_at = 1; fail_at <= 3; fail_at++) {
        weft_comparison tensors[2];
        uint64_t counts[2];
        weft_difference difference = {.counts = counts};
        test_allocator allocator;

        big_change(before, after, UNSEEN, tensors);
        test_allocator_start(&allocator, fail_at);
        assert_int_equal(diff(tensors, 2, &allocator, UINT64_MAX, &difference),
                         fail_at <= 2 ? WEFT_E_OUT_OF_MEMORY : WEFT_OK);
        assert_true((difference.payload == NULL) == (fail_at <= 2));
        release(&allocator, &difference);
    }
}

/* An allocator that writes to the weights when the second pass gets its memory. */
struct meddler {
    test_allocator inner;
    uint8_t *after;
};

static void *meddling_allocate(void *context, size_t bytes, weft_memory where)
{
    struct meddler *meddler = context;

    if (meddler->inner.calls == 1) {
        memset(meddler->after, 2, BIG);
    }
    return meddler->inner.allocator.allocate(&meddler->inner, bytes, where);
}

static void meddling_release(void *context, void *pointer, size_t bytes, weft_memory where)
{
    struct meddler *meddler = context;

    meddler->inner.allocator.release(&meddler->inner, pointer, bytes, where);
}

static void test_diff_of_weights_that_change_meanwhile(void **state)
{
    static uint8_t before[BIG];
    static uint8_t after[BIG];
    const weft_device *device = weft_device_host();
    weft_comparison tensors[2];
    uint64_t counts[2];
    weft_difference difference = {.counts = counts, .changed = 77};
    struct meddler meddler = {.after = after};
    const weft_allocator allocator = {meddling_allocate, meddling_release, &meddler};

    (void)state;
    big_change(before, after, UNSEEN, tensors);
    test_allocator_start(&meddler.inner, 0);
    assert_int_equal(device->diff(device, tensors, 2, &allocator, UINT64_MAX, &difference),
                     WEFT_E_DEVICE_FAILED);
    assert_int_equal(meddler.inner.calls, 2);
    assert_null(difference.payload);
    assert_int_equal(difference.changed, 77);
    test_allocator_finish(&meddler.inner);
}

static void test_diff_refuses_unknown_widths(void **state)
{
    const uint8_t bytes[8] = {0};
    weft_comparison tensor = {
        .before = bytes, .after = bytes, .elements = 1, .index_bytes = 4, .element_bytes = 5};
    uint64_t count = 0;
    weft_difference difference = {.counts = &count};
    test_allocator allocator;

    (void)state;
    test_allocator_start(&allocator, 0);
    assert_int_equal(diff(&tensor, 1, &allocator, UINT64_MAX, &difference), WEFT_E_DEVICE_FAILED);
    tensor.element_bytes = 4;
    tensor.index_bytes = 0;
    assert_int_equal(diff(&tensor, 1, &allocator, UINT64_MAX, &difference), WEFT_E_DEVICE_FAILED);
    test_allocator_finish(&allocator);
}

/* Reads 4 GiB: half a second when optimised, half a minute under a sanitizer. */
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
#define TEST_DIFF_OF_HUGE_TENSOR
static void test_diff_of_huge_tensor(void **state)
{
    const uint64_t elements = (UINT64_C(1) << 31) + 4099;
    const uint64_t at[] = {5, (UINT64_C(1) << 31) - 1, UINT64_C(1) << 31, elements - 1};
    uint8_t *before = sparse_memory((size_t)elements);
    uint8_t *after = sparse_memory((size_t)elements);
    const weft_comparison tensor = {.before = before,
                                    .after = after,
                                    .elements = elements,
                                    .index_bytes = 8,
                                    .element_bytes = 1};
    uint64_t count = 0;
    weft_difference difference = {.counts = &count};
    test_allocator allocator;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        after[at[i]] = (uint8_t)(i + 1);
    }
    test_allocator_start(&allocator, 0);
    assert_int_equal(diff(&tensor, 1, &allocator, UINT64_MAX, &difference), WEFT_OK);
    assert_int_equal(count, 4);
    assert_int_equal(difference.payload_bytes, 40);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(test_bits_get(difference.payload, i, 8), at[i]);
        assert_int_equal(test_bits_get(difference.payload, 32 + i, 1), i + 1);
    }
    release(&allocator, &difference);
    (void)munmap(before, (size_t)elements);
    (void)munmap(after, (size_t)elements);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sparse_is_the_reference),
        cmocka_unit_test(test_verify_without_undo),
        cmocka_unit_test(test_faulty_indices_are_named),
        cmocka_unit_test(test_wide_indices_are_not_cut),
        cmocka_unit_test(test_one_fault_in_many),
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_malformed_segments_begin_nothing),
        cmocka_unit_test(test_empty_segments),
        cmocka_unit_test(test_payload_digest),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_huge_tensor),
        cmocka_unit_test(test_diff_is_the_reference),
        cmocka_unit_test(test_diff_compares_bits),
        cmocka_unit_test(test_diff_with_right_and_wrong_guess),
        cmocka_unit_test(test_diff_keeps_its_budget),
        cmocka_unit_test(test_diff_survives_every_failing_allocation),
        cmocka_unit_test(test_diff_of_weights_that_change_meanwhile),
        cmocka_unit_test(test_diff_refuses_unknown_widths),
#ifdef TEST_DIFF_OF_HUGE_TENSOR
        cmocka_unit_test(test_diff_of_huge_tensor),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
