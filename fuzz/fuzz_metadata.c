/* Any bytes as an update's document, with a model and without. What is accepted is written in
 * weft's own form, with counts if it has them, and that must parse to the same update; what is
 * refused must say where. Memory is what spec/metadata.md says, and none is left behind.
 *
 * Covers: src/update*.c src/utf8.c */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "example_model.h"
#include "share_memory.h"
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

#ifdef WEFT_PLANTED_BUG
/* A table that is too small for what only a right document of one form says: at least five patches,
 * in the session's second update or a later one. */
static void planted(const weft_update *update)
{
    char table[4];
    char *at = table;

    if (update->form != WEFT_FORM_WEFT_COUNTS || update->number == 0) {
        return;
    }
    for (size_t i = 0; i < update->count; i++) {
        *at++ = (char)update->patches[i].index_bytes;
    }
    expect(table[0] != 1);
}
#endif

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
#ifdef WEFT_PLANTED_BUG
        planted(&update);
#endif
        if (model != NULL) {
            round_trip(&update, model, &limits, &allocator);
        }
        weft_update_release(&update, &allocator);
        return;
    }
    expect(detail.status == status && detail.line >= 1 && detail.column >= 1 &&
           detail.text[0] != '\0');
}

static void run(const uint8_t *data, size_t size)
{
    static weft_model *model;
    char *document = fuzz_memory_copy(data, size);

    if (model == NULL) {
        model = example_model_create();
    }
    parse(document, size, model);
    parse(document, size, NULL);
    free(document);
}

/* Beside what parsing may take: the document, and the canonical text of as many patches as the
 * model has tensors, parsed again; the sanitizer counts what is asked for, not what an allocator
 * makes of it. */
#define BESIDE 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_memory_checked(run, data, size, (size_t)weft_update_parse_bytes(size) + size + BESIDE);
    return 0;
}
