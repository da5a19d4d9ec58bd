/* A plan against a builder that is plain and slow: the same payloads, documents that say what
 * stands in them, digests that are right, and nothing held when it cannot be made. */
#include "digest.h"
#include "memory.h"
#include "model.h"
#include "plan.h"
#include "support.h"
#include "update.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EPOCH   77u
#define BASE    5u
#define VERSION 6u

/* Two models and what a push would ask for. */
typedef struct pair {
    test_model *base, *model;
    size_t *order; /* the tensors by name */
    test_allocator allocator;
    weft_plan_request request;
    uint64_t digest; /* of the model */
} pair;

static const weft_model *named; /* whose names are compared */

static int compare_names(const void *a, const void *b)
{
    return strcmp(weft_model_tensor(named, *(const size_t *)a)->name,
                  weft_model_tensor(named, *(const size_t *)b)->name);
}

static size_t *names_in_order(const test_model *model)
{
    size_t *order = calloc(model->count + 1, sizeof *order);

    assert_non_null(order);
    for (size_t i = 0; i < model->count; i++) {
        order[i] = i;
    }
    named = model->model;
    qsort(order, model->count, sizeof *order, compare_names);
    return order;
}

static void pair_begin(test_random *random, pair *p, size_t tensors, weft_kind kind,
                       unsigned per_mille)
{
    p->base = test_model_create(random, tensors);
    p->model = test_model_copy(random, p->base);
    test_model_change(random, p->model, per_mille);
    p->order = names_in_order(p->model);
    test_allocator_start(&p->allocator, 0);
    p->request = (weft_plan_request){.kind = kind,
                                     .model = p->model->model,
                                     .base = p->base->model,
                                     .device = weft_device_host(),
                                     .allocator = &p->allocator.allocator,
                                     .budget_bytes = UINT64_C(1) << 30,
                                     .epoch = EPOCH,
                                     .base_version = BASE,
                                     .target_version = VERSION};
    assert_int_equal(weft_model_digest(p->base->model, weft_device_host(), &p->request.base_digest),
                     WEFT_OK);
    assert_int_equal(weft_model_digest(p->model->model, weft_device_host(), &p->digest), WEFT_OK);
}

static void pair_end(pair *p)
{
    test_allocator_finish(&p->allocator);
    free(p->order);
    test_model_destroy(p->base);
    test_model_destroy(p->model);
}

/* ---- the builder ---- */

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static uint8_t bytes_of(const pair *p, size_t tensor)
{
    return (uint8_t)weft_dtype_bytes(weft_model_tensor(p->model->model, tensor)->dtype);
}

static uint64_t bits_of(const test_model *model, size_t tensor, uint64_t index, uint8_t bytes)
{
    return test_bits_get(weft_model_tensor(model->model, tensor)->data, index, bytes);
}

static bool is_sent(const pair *p, size_t tensor, uint64_t index)
{
    uint8_t bytes = bytes_of(p, tensor);

    return p->request.kind == WEFT_BASELINE ||
           bits_of(p->base, tensor, index, bytes) != bits_of(p->model, tensor, index, bytes);
}

static uint64_t count_sent(const pair *p, size_t tensor)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < weft_model_elements(p->model->model, tensor); i++) {
        count += is_sent(p, tensor, i) ? 1 : 0;
    }
    return count;
}

static uint64_t index_bytes(const pair *p, uint64_t count)
{
    return p->request.kind == WEFT_BASELINE ? 0 : padded(count * 4);
}

static uint64_t patch_bytes(const pair *p, size_t tensor)
{
    uint64_t count = count_sent(p, tensor);

    return index_bytes(p, count) + padded(count * bytes_of(p, tensor));
}

/* Indices of all patches, then values of all patches, each at a multiple of 8. */
static uint8_t *build_payload(const pair *p, const size_t *tensors, size_t count, uint64_t *length)
{
    uint64_t all = 0, value_at = 0, index_at = 0;

    for (size_t i = 0; i < count; i++) {
        all += patch_bytes(p, tensors[i]);
        value_at += index_bytes(p, count_sent(p, tensors[i]));
    }
    uint8_t *payload = calloc(1, (size_t)all + 1);
    assert_non_null(payload);
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes = bytes_of(p, tensors[i]);
        uint64_t sent = 0;
        for (uint64_t k = 0; k < weft_model_elements(p->model->model, tensors[i]); k++) {
            if (!is_sent(p, tensors[i], k)) {
                continue;
            }
            if (p->request.kind == WEFT_SPARSE) {
                test_bits_set(payload + index_at, sent, 4, k);
            }
            test_bits_set(payload + value_at, sent++, bytes,
                          bits_of(p->model, tensors[i], k, bytes));
        }
        index_at += index_bytes(p, sent);
        value_at += padded(sent * bytes);
    }
    *length = all;
    return payload;
}

/* Which tensors the next update has: from *next on in the order of names, until update_bytes would
 * be passed. */
static size_t choose_tensors(const pair *p, size_t *next, size_t *tensors)
{
    uint64_t bytes = 0;
    size_t count = 0;

    for (; *next < p->model->count; (*next)++) {
        size_t tensor = p->order[*next];
        if (p->request.kind == WEFT_SPARSE && count_sent(p, tensor) == 0) {
            continue;
        }
        bytes += patch_bytes(p, tensor);
        if (count > 0 && p->request.update_bytes != 0 && bytes > p->request.update_bytes) {
            break;
        }
        tensors[count++] = tensor;
    }
    return count;
}

/* ---- comparison ---- */

/* Read as a session reads it: in runs, of any length. */
static uint8_t *read_payload(test_random *random, const weft_plan *plan, size_t number)
{
    uint64_t length = plan->updates[number].payload_bytes, offset = 0;
    uint8_t *payload = calloc(1, (size_t)length + 1);

    assert_non_null(payload);
    while (offset < length) {
        uint32_t most = 1 + (uint32_t)test_random_below(random, 700), run = 0;
        const uint8_t *bytes = weft_plan_payload(plan, number, offset, most, &run);
        assert_true(run > 0 && run <= most && run <= length - offset);
        if (bytes != NULL) { /* otherwise padding: zeros */
            memcpy(payload + offset, bytes, run);
        }
        offset += run;
    }
    return payload;
}

static void check_document(const pair *p, const weft_plan *plan, size_t number,
                           const size_t *tensors, size_t count)
{
    const weft_planned_update *planned = &plan->updates[number];
    const weft_update_limits limits = {WEFT_DOCUMENT_MAX, UINT64_MAX};
    weft_allocator allocator = weft_allocator_default();
    weft_update update;
    weft_detail detail;
    weft_status status = weft_update_parse(planned->document, (size_t)planned->document_bytes,
                                           p->base->model, &limits, &allocator, &update, &detail);

    if (status != WEFT_OK) {
        (void)fprintf(stderr, "%s\n%.*s\n", detail.text, (int)planned->document_bytes,
                      planned->document);
    }
    assert_int_equal(status, WEFT_OK);
    assert_int_equal(update.form,
                     p->request.kind == WEFT_SPARSE ? WEFT_FORM_WEFT_COUNTS : WEFT_FORM_WEFT);
    assert_int_equal(update.kind, p->request.kind);
    assert_true(update.has_session);
    assert_int_equal(update.epoch, EPOCH);
    assert_int_equal(update.number, number);
    assert_int_equal(update.of, plan->update_count);
    assert_int_equal(update.base_version, p->request.kind == WEFT_SPARSE ? BASE : 0);
    assert_int_equal(update.base_digest,
                     p->request.kind == WEFT_SPARSE ? p->request.base_digest : 0);
    assert_int_equal(update.target_version, VERSION);
    assert_int_equal(update.target_digest, p->digest);
    assert_int_equal(update.payload_bytes, planned->payload_bytes);
    assert_int_equal(update.count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(update.patches[i].tensor, tensors[i]);
        assert_int_equal(update.patches[i].count, count_sent(p, tensors[i]));
        assert_int_equal(update.patches[i].element_bytes, bytes_of(p, tensors[i]));
        assert_int_equal(update.patches[i].index_bytes, p->request.kind == WEFT_SPARSE ? 4 : 0);
    }
    weft_update_release(&update, &allocator);
}

static void check_update(test_random *random, const pair *p, const weft_plan *plan, size_t number,
                         size_t *next)
{
    const weft_planned_update *planned = &plan->updates[number];
    size_t *tensors = calloc(p->model->count + 1, sizeof *tensors);
    uint64_t length = 0;

    assert_non_null(tensors);
    size_t count = choose_tensors(p, next, tensors);
    uint8_t *expected = build_payload(p, tensors, count, &length);
    uint8_t *payload = read_payload(random, plan, number);
    assert_int_equal(planned->count, count);
    assert_int_equal(planned->payload_bytes, length);
    assert_memory_equal(payload, expected, length + 1);
    check_document(p, plan, number, tensors, count);
    assert_int_equal(planned->payload_digest,
                     weft_digest_bytes(planned->document, (size_t)planned->document_bytes, 0) +
                         weft_digest_payload(expected, (size_t)length, 0));
    free(payload);
    free(expected);
    free(tensors);
}

static void check_segments(const pair *p, const weft_plan *plan)
{
    for (size_t i = 0; i < plan->segment_count; i++) {
        const weft_segment *segment = &plan->segments[i];
        assert_ptr_equal(segment->target, weft_model_tensor(p->base->model, segment->tensor)->data);
        assert_int_equal(segment->seed, weft_model_seed(p->base->model, segment->tensor));
        assert_int_equal(segment->elements, weft_model_elements(p->base->model, segment->tensor));
    }
}

/* Everything about a plan, and that writing its segments makes the base the model. */
static void check_plan(test_random *random, pair *p, weft_plan *plan)
{
    uint64_t changed = 0, payload_bytes = 0, document_bytes = 0;
    size_t next = 0;
    weft_device_result r = {0};

    assert_int_equal(plan->target_digest, p->digest);
    for (size_t i = 0; i < plan->update_count; i++) {
        check_update(random, p, plan, i, &next);
        payload_bytes += plan->updates[i].payload_bytes;
        document_bytes += plan->updates[i].document_bytes;
    }
    for (size_t i = 0; i < p->model->count; i++) {
        changed += count_sent(p, i);
    }
    assert_int_equal(next, p->model->count); /* nothing is left out */
    assert_int_equal(plan->changed, changed);
    assert_int_equal(plan->payload_bytes, payload_bytes);
    assert_int_equal(plan->document_bytes, document_bytes);
    assert_int_equal(plan->held_bytes, p->allocator.live_bytes);
    check_segments(p, plan);
    assert_int_equal(weft_device_run(weft_device_host(), WEFT_DEVICE_PUT, plan->segments,
                                     plan->segment_count, &r),
                     WEFT_OK);
    assert_true(test_model_equal(p->base, p->model));
}

/* ---- tests ---- */

static void test_random_pairs(void **state)
{
    static const unsigned changes[] = {0, 1, 10, 200, 1000};
    test_random random = test_random_start();
    size_t most_updates = 0;

    (void)state;
    for (unsigned round = 0; round < 120; round++) {
        weft_kind kind = round % 3 == 0 ? WEFT_BASELINE : WEFT_SPARSE;
        pair p;
        weft_plan plan;
        pair_begin(&random, &p, 1 + round % 30, kind, changes[round % 5]);
        p.request.update_bytes = round % 4 == 0 ? 0 : 1 + test_random_below(&random, 6000);
        if (round % 4 == 1) { /* exactly what the first patches take */
            p.request.update_bytes =
                patch_bytes(&p, p.order[0]) + (round % 30 > 0 ? patch_bytes(&p, p.order[1]) : 0);
        }
        assert_int_equal(weft_plan_make(&plan, &p.request), WEFT_OK);
        check_plan(&random, &p, &plan);
        most_updates = plan.update_count > most_updates ? plan.update_count : most_updates;
        assert_true(p.request.update_bytes != 0 || plan.update_count == 1);
        weft_plan_release(&plan);
        pair_end(&p);
    }
    assert_true(most_updates > 5);
}

static void test_nothing_changed(void **state)
{
    test_random random = test_random_start();
    pair p;
    weft_plan plan;

    (void)state;
    pair_begin(&random, &p, 6, WEFT_SPARSE, 0);
    p.request.update_bytes = 10;
    assert_int_equal(weft_plan_make(&plan, &p.request), WEFT_OK);
    assert_int_equal(plan.update_count, 1);
    assert_int_equal(plan.updates[0].payload_bytes, 0);
    assert_int_equal(plan.updates[0].count, 0);
    assert_int_equal(plan.changed, 0);
    assert_int_equal(plan.target_digest, p.request.base_digest);
    check_plan(&random, &p, &plan);
    weft_plan_release(&plan);
    weft_plan_release(&plan); /* a plan that holds nothing may be released */
    pair_end(&p);
}

static void test_a_model_without_tensors(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (int kind = WEFT_SPARSE; kind <= WEFT_BASELINE; kind++) {
        pair p;
        weft_plan plan;
        pair_begin(&random, &p, 0, (weft_kind)kind, 0);
        assert_int_equal(weft_plan_make(&plan, &p.request), WEFT_OK);
        assert_int_equal(plan.update_count, 1);
        assert_int_equal(plan.updates[0].payload_bytes, 0);
        weft_plan_release(&plan);
        pair_end(&p);
    }
}

/* Every budget gives the plan or OVER_BUDGET, and is kept either way. */
static void test_budgets(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (int kind = WEFT_SPARSE; kind <= WEFT_BASELINE; kind++) {
        unsigned made = 0, refused = 0;
        weft_status last = WEFT_AGAIN;
        pair p;
        pair_begin(&random, &p, 15, (weft_kind)kind, 100);
        p.request.update_bytes = 3000;
        for (uint64_t budget = 0; budget < 400000; budget += 1 + budget / 40) {
            weft_plan plan;
            p.allocator.peak_bytes = 0;
            p.request.budget_bytes = budget;
            weft_status status = weft_plan_make(&plan, &p.request);
            if (status == WEFT_OK) {
                made++;
                weft_plan_release(&plan);
            } else {
                assert_int_equal(status, WEFT_E_OVER_BUDGET);
                refused++;
            }
            assert_true(p.allocator.peak_bytes <= budget);
            assert_int_equal(p.allocator.live_bytes, 0);
            last = status;
        }
        assert_true(made > 5 && refused > 10);
        assert_int_equal(last, WEFT_OK);
        pair_end(&p);
    }
}

static void test_no_memory(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (int kind = WEFT_SPARSE; kind <= WEFT_BASELINE; kind++) {
        weft_status status = WEFT_E_OUT_OF_MEMORY;
        uint64_t call = 0;
        pair p;
        pair_begin(&random, &p, 12, (weft_kind)kind, 100);
        p.request.update_bytes = 2000;
        while (status != WEFT_OK) {
            weft_plan plan;
            test_allocator_start(&p.allocator, ++call);
            status = weft_plan_make(&plan, &p.request);
            if (status == WEFT_OK) {
                check_plan(&random, &p, &plan);
            } else {
                assert_int_equal(status, WEFT_E_OUT_OF_MEMORY);
                assert_int_equal(p.allocator.live_bytes, 0);
            }
            weft_plan_release(&plan);
        }
        assert_true(call > 6);
        pair_end(&p);
    }
}

/* ---- a device that fails ---- */

static unsigned works; /* so many calls work yet */

static weft_status failing_diff(const weft_device *device, const weft_comparison *tensors,
                                size_t count, const weft_allocator *allocator,
                                uint64_t budget_bytes, weft_difference *difference)
{
    (void)device;
    (void)tensors;
    (void)count;
    (void)allocator;
    (void)budget_bytes;
    (void)difference;
    return WEFT_E_DEVICE_FAILED;
}

static weft_status failing_submit(const weft_device *device, weft_device_operation operation,
                                  const weft_segment *segments, size_t count,
                                  weft_device_result *result)
{
    (void)device;
    (void)operation;
    (void)segments;
    (void)count;
    (void)result;
    return WEFT_E_DEVICE_FAILED;
}

static weft_status failing_digest(const weft_device *device, const void *bytes, uint64_t length,
                                  uint64_t offset, uint64_t *digest)
{
    (void)device;
    return works-- > 0 ? weft_device_host()->payload_digest(weft_device_host(), bytes, length,
                                                            offset, digest)
                       : WEFT_E_DEVICE_FAILED;
}

static void test_a_failing_device(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (int kind = WEFT_SPARSE; kind <= WEFT_BASELINE; kind++) {
        weft_device device = *weft_device_host();
        pair p;
        weft_plan plan;
        pair_begin(&random, &p, 12, (weft_kind)kind, 300);
        p.request.device = &device;
        device.diff = failing_diff;
        device.submit = failing_submit;
        assert_int_equal(weft_plan_make(&plan, &p.request), WEFT_E_DEVICE_FAILED);
        assert_int_equal(p.allocator.live_bytes, 0);
        device = *weft_device_host();
        device.payload_digest = failing_digest;
        works = 1;
        assert_int_equal(weft_plan_make(&plan, &p.request), WEFT_E_DEVICE_FAILED);
        assert_int_equal(p.allocator.live_bytes, 0);
        pair_end(&p);
    }
}

/* ---- very many tensors ---- */

#define MANY 80001u

static weft_model *many_tensors(uint8_t *data, uint8_t first)
{
    weft_model *model;

    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    for (unsigned i = 0; i < MANY; i++) {
        char name[16];
        weft_tensor tensor = {.name = name, .dtype = WEFT_U8, .data = data + i};
        (void)snprintf(name, sizeof name, "t%u", i);
        data[i] = (uint8_t)(first + i);
        assert_int_equal(weft_model_add(model, &tensor), WEFT_OK);
    }
    assert_int_equal(weft_model_sort(model), WEFT_OK);
    return model;
}

static void test_very_many_tensors(void **state)
{
    static uint8_t data[MANY], others[MANY];
    test_allocator allocator;
    weft_plan plan;
    weft_model *model = many_tensors(data, 0);
    weft_model *other = many_tensors(others, 1);

    (void)state;
    weft_allocator plain = weft_allocator_default();
    weft_plan_request request = {.kind = WEFT_BASELINE,
                                 .model = model,
                                 .base = model,
                                 .device = weft_device_host(),
                                 .allocator = &plain,
                                 .budget_bytes = UINT64_C(1) << 30};
    assert_int_equal(weft_plan_make(&plan, &request), WEFT_OK);
    assert_int_equal(plan.update_count, 2); /* so that a document stays below its limit */
    assert_int_equal(plan.updates[0].count, 80000);
    assert_int_equal(plan.updates[1].count, 1);
    assert_int_equal(plan.updates[0].payload_bytes, UINT64_C(8) * 80000);
    weft_plan_release(&plan);
    request.kind = WEFT_SPARSE;
    request.base = other;
    assert_int_equal(weft_plan_make(&plan, &request), WEFT_OK);
    assert_int_equal(plan.update_count, 1); /* one document counts them all */
    assert_int_equal(plan.updates[0].count, MANY);
    assert_true(plan.document_bytes < UINT64_C(3) * MANY);
    weft_plan_release(&plan);
    test_allocator_start(&allocator, 0);
    request.allocator = &allocator.allocator;
    request.update_bytes = 1; /* one tensor in each: more than a session may have */
    assert_int_equal(weft_plan_make(&plan, &request), WEFT_E_LIMIT);
    test_allocator_finish(&allocator);
    weft_model_destroy(model);
    weft_model_destroy(other);
}

/* ---- every cut at small bounds ---- */

#define FEW         4u
#define FEW_LONGEST 5u /* elements of a tensor */

static weft_model *few_tensors(uint16_t data[FEW][FEW_LONGEST], const uint64_t lengths[FEW])
{
    static const char *const NAMES[FEW] = {"a", "b", "c", "d"};
    weft_model *model;

    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    for (size_t i = 0; i < FEW; i++) {
        weft_tensor tensor = {
            .name = NAMES[i], .dtype = WEFT_I16, .rank = 1, .shape = {lengths[i]}, .data = data[i]};
        assert_int_equal(weft_model_add(model, &tensor), WEFT_OK);
    }
    assert_int_equal(weft_model_sort(model), WEFT_OK);
    return model;
}

/* Update behind update, patch behind patch, section behind section: nothing between them, nothing
 * twice, and no update longer than asked for unless it is one patch. */
static void check_cut(const weft_plan *plan, const weft_plan_request *request)
{
    size_t first = 0;
    uint64_t indices = 0, values = 0, wire = 0, all_indices = 0;

    for (size_t i = 0; i < plan->segment_count; i++) {
        all_indices += padded(plan->segments[i].count * plan->segments[i].index_bytes);
    }
    assert_true(plan->update_count >= 1);
    for (size_t i = 0; i < plan->update_count; i++) {
        const weft_planned_update *update = &plan->updates[i];
        uint64_t of_indices = 0, of_values = 0;
        assert_int_equal(update->first, first);
        assert_true(update->count >= 1 || plan->segment_count == 0);
        for (size_t k = first; k < first + update->count; k++) {
            const weft_segment *segment = &plan->segments[k];
            if (plan->kind == WEFT_BASELINE) {
                assert_int_equal(plan->offsets[k], of_values);
            }
            of_indices += padded(segment->count * segment->index_bytes);
            of_values += padded(segment->count * segment->element_bytes);
        }
        assert_int_equal(update->index_begin, indices);
        assert_int_equal(update->index_bytes, of_indices);
        assert_int_equal(update->value_begin, all_indices + values);
        assert_int_equal(update->payload_bytes, of_indices + of_values);
        assert_int_equal(update->wire_begin, wire);
        assert_true(update->count <= 1 || request->update_bytes == 0 ||
                    update->payload_bytes <= request->update_bytes);
        first += update->count;
        indices += of_indices;
        values += of_values;
        wire += update->payload_bytes;
    }
    assert_int_equal(first, plan->segment_count);
    assert_int_equal(plan->payload_bytes, wire);
}

/* Four tensors, each of every length up to five, all of whose elements change, and every length of
 * an update at which the cut can differ. A tensor without elements has no patch, but in a baseline
 * it has one without bytes. */
static void test_every_cut(void **state)
{
    static uint16_t old[FEW][FEW_LONGEST], new[FEW][FEW_LONGEST];
    uint64_t lengths[FEW];
    weft_allocator plain = weft_allocator_default();

    (void)state;
    memset(new, 1, sizeof new);
    for (unsigned number = 0; number < 6 * 6 * 6 * 6; number++) {
        for (unsigned i = 0, rest = number; i < FEW; i++, rest /= 6) {
            lengths[i] = rest % 6;
        }
        weft_model *base = few_tensors(old, lengths), *model = few_tensors(new, lengths);
        weft_plan_request request = {.model = model,
                                     .base = base,
                                     .device = weft_device_host(),
                                     .allocator = &plain,
                                     .budget_bytes = UINT64_C(1) << 20};
        for (unsigned kind = WEFT_SPARSE; kind <= WEFT_BASELINE; kind++) {
            for (uint64_t bytes = 0; bytes <= 168; bytes += bytes == 0 ? 1 : 7) { /* 1, 8, 15 ... */
                weft_plan plan;
                request.kind = (weft_kind)kind;
                request.update_bytes = bytes;
                assert_int_equal(weft_plan_make(&plan, &request), WEFT_OK);
                check_cut(&plan, &request);
                weft_plan_release(&plan);
            }
        }
        weft_model_destroy(base);
        weft_model_destroy(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_pairs),
        cmocka_unit_test(test_nothing_changed),
        cmocka_unit_test(test_a_model_without_tensors),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_a_failing_device),
        cmocka_unit_test(test_very_many_tensors),
        cmocka_unit_test(test_every_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
