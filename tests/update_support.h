/* What the tests of documents share. Each program uses what it needs of it. */
#ifndef WEFT_TESTS_UPDATE_SUPPORT_H
#define WEFT_TESTS_UPDATE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "update.h"

static const weft_update_limits LIMITS = {.document_bytes = WEFT_DOCUMENT_MAX,
                                          .payload_bytes = UINT64_MAX};

/* Parses and, on success, releases: for tests of the answer alone. */
static inline weft_status answer(const char *document, size_t length, const weft_model *model,
                                 weft_detail *detail)
{
    const weft_allocator allocator = weft_allocator_default();
    weft_update update;
    weft_status status =
        weft_update_parse(document, length, model, &LIMITS, &allocator, &update, detail);

    if (status == WEFT_OK) {
        weft_update_release(&update, &allocator);
    }
    return status;
}

static inline weft_update parsed(const char *document, const weft_model *model)
{
    const weft_allocator allocator = weft_allocator_default();
    weft_update update;
    weft_detail detail;

    if (weft_update_parse(document, strlen(document), model, &LIMITS, &allocator, &update,
                          &detail) != WEFT_OK) {
        fail_msg("%s: %s", weft_status_name(detail.status), detail.text);
    }
    return update;
}

static inline void release(weft_update *update)
{
    const weft_allocator allocator = weft_allocator_default();

    weft_update_release(update, &allocator);
}

static inline bool same(const weft_update *a, const weft_update *b)
{
    return a->kind == b->kind && a->epoch == b->epoch && a->number == b->number && a->of == b->of &&
           a->base_version == b->base_version && a->base_digest == b->base_digest &&
           a->target_version == b->target_version && a->target_digest == b->target_digest &&
           a->payload_bytes == b->payload_bytes && a->changed == b->changed &&
           a->count == b->count &&
           (a->count == 0 || memcmp(a->patches, b->patches, a->count * sizeof *a->patches) == 0);
}

/* The patch of this number, and where its sections begin. */
static inline void expect_patch(const weft_update *update, size_t number, uint32_t tensor,
                                uint8_t index_bytes, uint8_t element_bytes, uint64_t count,
                                uint64_t indices, uint64_t values)
{
    const weft_patch *patch = &update->patches[number];
    weft_sections at = weft_sections_begin(update);

    for (size_t i = 0; i < number; i++) {
        weft_sections_step(&at, &update->patches[i]);
    }
    assert_int_equal(patch->tensor, tensor);
    assert_int_equal(patch->index_bytes, index_bytes);
    assert_int_equal(patch->element_bytes, element_bytes);
    assert_int_equal(patch->count, count);
    assert_int_equal(at.indices, indices);
    assert_int_equal(at.values, values);
}

/* Written in its form (vLLM's MVP in weft's own), the update is the same; and written again, so are
 * the bytes. */
static inline void check_round_trip(weft_update *update, const weft_model *model)
{
    weft_update again;
    size_t length = 0;
    size_t second_length = 0;
    char *text;
    char *second;

    bool kept = update->form == WEFT_FORM_WEFT_COUNTS || update->form == WEFT_FORM_VLLM_SPARSE ||
                update->form == WEFT_FORM_VLLM_DENSE;
    if (update->form == WEFT_FORM_VLLM_MVP) {
        update->epoch = 7;
        update->of = 1;
    }
    assert_int_equal(weft_update_write(update, model, NULL, 0, &length), WEFT_OK);
    text = malloc(length + 1);
    second = malloc(length + 1);
    assert_non_null(text);
    assert_non_null(second);
    assert_int_equal(weft_update_write(update, model, text, length - 1, &second_length),
                     WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(second_length, 0);
    assert_int_equal(weft_update_write(update, model, text, length, &length), WEFT_OK);
    text[length] = '\0';
    again = parsed(text, model);
    assert_true(same(update, &again));
    assert_int_equal(again.form, kept ? update->form : WEFT_FORM_WEFT);
    assert_int_equal(again.has_session, !kept || update->has_session);
    assert_int_equal(weft_update_write(&again, model, second, length, &second_length), WEFT_OK);
    assert_int_equal(second_length, length);
    assert_memory_equal(text, second, length);
    release(&again);
    free(text);
    free(second);
}

#endif
