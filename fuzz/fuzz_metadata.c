/* Any bytes as an update's document, with a model and without. What is accepted is written in
 * weft's own form, with counts if it has them, and that must parse to the same update; what is
 * refused must say where. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "example_model.h"
#include "update.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool condition)
{
    if (!condition) {
        abort();
    }
}

static bool same(const weft_update *a, const weft_update *b)
{
    return a->kind == b->kind && a->epoch == b->epoch && a->number == b->number && a->of == b->of &&
           a->base_version == b->base_version && a->base_digest == b->base_digest &&
           a->target_version == b->target_version && a->target_digest == b->target_digest &&
           a->payload_bytes == b->payload_bytes && a->changed == b->changed &&
           a->count == b->count &&
           (a->count == 0 || memcmp(a->patches, b->patches, a->count * sizeof *a->patches) == 0);
}

/* vLLM's MVP form is written in weft's own, and says nothing of a session: any will do. */
static void round_trip(weft_update *update, const weft_model *model,
                       const weft_update_limits *limits, const weft_allocator *allocator)
{
    weft_update again;
    size_t length;
    char *text;

    bool mvp = update->form == WEFT_FORM_VLLM_MVP;
    if (mvp) {
        update->epoch = 1;
        update->of = 1;
    }
    expect(weft_update_write(update, model, NULL, 0, &length) == WEFT_OK);
    text = malloc(length);
    expect(text != NULL && weft_update_write(update, model, text, length, &length) == WEFT_OK);
    expect(weft_update_parse(text, length, model, limits, allocator, &again, NULL) == WEFT_OK);
    expect(again.form == (mvp ? WEFT_FORM_WEFT : update->form) && same(update, &again));
    weft_update_release(&again, allocator);
    free(text);
}

static void parse(const char *document, size_t length, const weft_model *model)
{
    const weft_update_limits limits = {.document_bytes = WEFT_DOCUMENT_MAX,
                                       .payload_bytes = UINT64_MAX};
    const weft_allocator allocator = weft_allocator_default();
    weft_update update;
    weft_detail detail = {.status = WEFT_OK};
    weft_status status =
        weft_update_parse(document, length, model, &limits, &allocator, &update, &detail);

    if (status == WEFT_OK) {
        if (model != NULL) {
            round_trip(&update, model, &limits, &allocator);
        }
        weft_update_release(&update, &allocator);
        return;
    }
    expect(detail.status == status && detail.line >= 1 && detail.column >= 1 &&
           detail.text[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static weft_model *model;
    char *document =
        malloc(size > 0 ? size : 1); /* exactly as long, so that a sanitizer sees a byte too many */

    if (document == NULL) {
        return 0;
    }
    if (model == NULL) {
        model = example_model_create();
    }
    if (size > 0) {
        memcpy(document, data, size);
    }
    parse(document, size, model);
    parse(document, size, NULL);
    free(document);
    return 0;
}
