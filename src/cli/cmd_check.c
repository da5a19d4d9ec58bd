/* weft check: the metadata document of an update, as a worker would judge it. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "detail.h"
#include "model.h"
#include "update.h"

/* One byte more than the limit is enough to see that a document is too long. */
#define READ_MAX   ((size_t)WEFT_DOCUMENT_MAX + 1)
#define READ_FIRST ((size_t)1 << 16)

static const cli_page PAGE = {
    .synopsis = "DOCUMENT [--model MODEL] [OPTION...]",
    .text =
        "Checks a document that announces an update, in any form that a worker accepts: weft's\n"
        "own manifest, vLLM's sparse and dense forms; YAML 1.2 or JSON. DOCUMENT may be - for\n"
        "standard input. With --model, names, dtypes, shapes and counts are compared with the\n"
        "model's. The first error is shown as FILE:LINE:COLUMN: CODE: sentence, with the line\n"
        "quoted and a caret under the place; columns count bytes.",
    .json =
        "  {\"event\":\"check\", document, ok: true, form, kind, tensors, changed, payload_bytes}\n"
        "  or {\"event\":\"check\", document, ok: false, line, column, tensor, detail, code, "
        "name,\n"
        "  group, text, mend}; line and column are 0 where the error is not at a place",
    .examples = "  weft check update.json\n"
                "  weft check update.yaml --model base.safetensors\n"
                "  curl -s http://trainer/update | weft check - --json",
    .exits = "  0  a worker would accept the document\n"
             "  1  it would refuse it\n"
             "  2  wrong use\n"
             "  3  a file cannot be read, or MODEL is not a model\n"
             "  6  memory",
};

typedef struct text {
    char *bytes;
    size_t length;
} text;

/* Reads up to READ_MAX bytes. */
static weft_status read_stream(FILE *stream, text *read, weft_detail *detail)
{
    size_t capacity = 0;

    do {
        size_t larger = capacity == 0 ? READ_FIRST : capacity * 2;
        char *bytes = realloc(read->bytes, larger < READ_MAX ? larger : READ_MAX);
        if (bytes == NULL) {
            return weft_detail_set(detail, WEFT_E_OUT_OF_MEMORY, "no memory for the document");
        }
        read->bytes = bytes;
        capacity = larger < READ_MAX ? larger : READ_MAX;
        read->length += fread(bytes + read->length, 1, capacity - read->length, stream);
    } while (read->length == capacity && capacity < READ_MAX);
    if (ferror(stream)) {
        return weft_detail_set(detail, WEFT_E_FILE_OPEN, "cannot read: %s", strerror(errno));
    }
    return WEFT_OK;
}

/* On success and on an error read->bytes is the caller's to free. */
static weft_status read_document(const char *path, text *read, weft_detail *detail)
{
    weft_status status;
    FILE *stream;

    if (strcmp(path, "-") == 0) {
        return read_stream(stdin, read, detail);
    }
    stream = fopen(path, "rbe");
    if (stream == NULL) {
        return weft_detail_set(detail, WEFT_E_FILE_OPEN, "cannot open it: %s", strerror(errno));
    }
    status = read_stream(stream, read, detail);
    (void)fclose(stream);
    return status;
}

static const char *form_name(weft_update_form form)
{
    switch (form) {
    case WEFT_FORM_WEFT:
        return "weft";
    case WEFT_FORM_WEFT_COUNTS:
        return "weft_counts";
    case WEFT_FORM_VLLM_SPARSE:
        return "vllm_sparse";
    case WEFT_FORM_VLLM_MVP:
        return "vllm_sparse_flat";
    case WEFT_FORM_VLLM_DENSE:
        return "vllm_dense";
    }
    return "?";
}

static void put_accepted(const cli_context *cli, const char *path, const weft_update *update)
{
    char texts[3][CLI_NUMBER_TEXT_MAX];
    const char *kind = update->kind == WEFT_SPARSE ? "sparse" : "baseline";

    if (cli->json) {
        cli_json_begin("check");
        cli_json_text("document", path);
        cli_json_bool("ok", true);
        cli_json_text("form", form_name(update->form));
        cli_json_text("kind", kind);
        cli_json_number("tensors", update->count);
        cli_json_number("changed", update->changed);
        cli_json_number("payload_bytes", update->payload_bytes);
        cli_json_end();
        return;
    }
    cli_text_put(stdout, path);
    printf(": accepted: form %s, %s, %s tensors, %s elements, payload of %s bytes\n",
           form_name(update->form), kind, cli_grouped(texts[0], update->count),
           cli_grouped(texts[1], update->changed), cli_grouped(texts[2], update->payload_bytes));
}

/* The detail's sentence without the place that it begins with: that stands before it already. */
static const char *sentence_of(const weft_detail *detail)
{
    char place[64];
    int length = snprintf(place, sizeof place, "line %" PRIu32 ", column %" PRIu32 ": ",
                          detail->line, detail->column);

    return strncmp(detail->text, place, (size_t)length) == 0 ? detail->text + length : detail->text;
}

static void put_refused_json(const char *path, const weft_detail *detail)
{
    cli_json_begin("check");
    cli_json_text("document", path);
    cli_json_bool("ok", false);
    cli_json_number("line", detail->line);
    cli_json_number("column", detail->column);
    cli_json_text("tensor", detail->tensor);
    cli_json_text("detail", sentence_of(detail));
    cli_json_status(detail->status);
    cli_json_end();
}

static void put_refused(const char *path, const text *document, const weft_detail *detail)
{
    cli_text_put(stderr, strcmp(path, "-") == 0 ? "<stdin>" : path);
    if (detail->line != 0) {
        (void)fprintf(stderr, ":%" PRIu32 ":%" PRIu32, detail->line, detail->column);
    }
    (void)fprintf(stderr, ": %s: ", cli_status_name(detail->status));
    cli_text_put(stderr, sentence_of(detail));
    (void)fputc('\n', stderr);
    if (detail->line != 0) {
        cli_text_excerpt(stderr, document->bytes, document->length, detail->line, detail->column);
    }
    (void)fprintf(stderr, "note: %s\n", weft_status_mend(detail->status));
}

static cli_exit check(const cli_context *cli, const char *path, const text *document,
                      const weft_model *model)
{
    weft_update_limits limits = {.document_bytes = WEFT_DOCUMENT_MAX, .payload_bytes = UINT64_MAX};
    weft_allocator allocator = weft_allocator_default();
    weft_detail detail = {.status = WEFT_OK};
    weft_update update;
    weft_status status = weft_update_parse(document->bytes, document->length, model, &limits,
                                           &allocator, &update, &detail);

    if (status == WEFT_OK) {
        put_accepted(cli, path, &update);
        weft_update_release(&update, &allocator);
        return CLI_OK;
    }
    if (status == WEFT_E_OUT_OF_MEMORY) {
        return cli_fail(cli, path, status, &detail);
    }
    if (cli->json) {
        put_refused_json(path, &detail);
    } else {
        put_refused(path, document, &detail);
    }
    return CLI_NO;
}

cli_exit cli_check(cli_context *cli, int argc, char **argv)
{
    const char *model_path = NULL;
    const cli_option options[] = {
        {"model", 'm', CLI_TEXT, "MODEL", &model_path, NULL,
         "a model file that the document must fit"},
    };
    cli_model model = {.path = NULL};
    text document = {.bytes = NULL};
    weft_detail detail = {.status = WEFT_OK};
    weft_status status;
    cli_exit result = CLI_OK;

    if (!cli_parse(cli, &PAGE, options, sizeof options / sizeof options[0], 1, argc, argv,
                   &result)) {
        return result;
    }
    if (model_path != NULL) {
        result = cli_model_open(cli, model_path, &model);
    }
    if (result == CLI_OK && model.model != NULL) {
        status = weft_model_sort(model.model);
        result = status == WEFT_OK ? CLI_OK : cli_fail(cli, model_path, status, NULL);
    }
    if (result == CLI_OK) {
        status = read_document(argv[optind], &document, &detail);
        result = status != WEFT_OK ? cli_fail(cli, argv[optind], status, &detail)
                                   : check(cli, argv[optind], &document, model.model);
    }
    free(document.bytes);
    cli_model_close(&model);
    return result;
}
