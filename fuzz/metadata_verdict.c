/* Documents in bulk, for oracle.py: makes them by the grammar of the mutator, or says of each what
 * parsing makes of it.
 *
 *      metadata_verdict --generate SEED COUNT    documents
 *      metadata_verdict                          documents to two lines each: for the example
 * model,
 *                                                and without a model
 *
 * A document is its length in 4 bytes, little-endian, and its bytes. A line is the name of an error
 * group's code, or what was read. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "example_model.h"
#include "mutate_metadata.h"
#include "update.h"

#define GENERATED_MAX 65536u

static void put_document(const uint8_t *bytes, size_t size)
{
    uint8_t length[4];

    for (unsigned i = 0; i < 4; i++) {
        length[i] = (uint8_t)(size >> (8 * i));
    }
    (void)fwrite(length, 1, sizeof length, stdout);
    (void)fwrite(bytes, 1, size, stdout);
}

static void generate(uint64_t seed, uint64_t count)
{
    static uint8_t bytes[GENERATED_MAX];
    static document d;

    for (uint64_t i = 0; i < count; i++) {
        size_t size;
        document_begin(&d, (seed << 32) + i);
        size = metadata_generate(&d, bytes, sizeof bytes);
        if (document_chance(&d, 4)) {
            size = metadata_edit(&d, bytes, size, sizeof bytes);
        }
        put_document(bytes, size);
    }
}

static void print_update(const weft_update *u)
{
    weft_sections at = weft_sections_begin(u);

    printf("%d %d", (int)u->form, (int)u->kind);
    if (u->has_session) {
        printf(" %" PRIu64 " %u %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, u->epoch,
               u->number, u->of, u->base_version, u->base_digest, u->target_version,
               u->target_digest);
    }
    printf(" %" PRIu64 " %" PRIu64, u->payload_bytes, u->changed);
    for (size_t i = 0; i < u->count; i++) {
        const weft_patch *p = &u->patches[i];
        printf(" %u:%" PRIu64 ":%u:%u:%" PRIu64 ":%" PRIu64, p->tensor, p->count, p->index_bytes,
               p->element_bytes, at.indices, at.values);
        weft_sections_step(&at, p);
    }
    printf("\n");
}

static void judge(const char *bytes, size_t size, const weft_model *model)
{
    const weft_update_limits limits = {.document_bytes = WEFT_DOCUMENT_MAX,
                                       .payload_bytes = UINT64_MAX};
    const weft_allocator allocator = weft_allocator_default();
    weft_detail detail = {.status = WEFT_OK};
    weft_update update;

    if (weft_update_parse(bytes, size, model, &limits, &allocator, &update, &detail) != WEFT_OK) {
        printf("refused: %s\n", detail.text);
        return;
    }
    print_update(&update);
    weft_update_release(&update, &allocator);
}

/* The next document, or NULL at the end. */
static char *get_document(size_t *size)
{
    uint8_t length[4];
    char *bytes;

    if (fread(length, 1, sizeof length, stdin) != sizeof length) {
        return NULL;
    }
    *size = (size_t)length[0] | (size_t)length[1] << 8 | (size_t)length[2] << 16 |
            (size_t)length[3] << 24;
    bytes = malloc(*size + 1);
    if (bytes == NULL || fread(bytes, 1, *size, stdin) != *size) {
        abort();
    }
    return bytes;
}

int main(int count, char **arguments)
{
    weft_model *model;
    size_t size = 0;

    if (count == 4 && strcmp(arguments[1], "--generate") == 0) {
        generate(strtoull(arguments[2], NULL, 10), strtoull(arguments[3], NULL, 10));
        return 0;
    }
    model = example_model_create();
    for (char *bytes = get_document(&size); bytes != NULL; bytes = get_document(&size)) {
        judge(bytes, size, model);
        judge(bytes, size, NULL);
        free(bytes);
    }
    weft_model_destroy(model);
    return 0;
}
