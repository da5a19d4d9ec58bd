/* weft inspect: what is in a patch or a model, tensor by tensor. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "digest.h"
#include "dtype.h"
#include "file.h"
#include "model.h"
#include "patch.h"

#define VALUES_SUFFIX  ":values"
#define SHAPE_TEXT_MAX 192u /* eight sizes of 20 digits, with commas and spaces */

static const cli_page PAGE = {
    .synopsis = "FILE [--model MODEL] [OPTION...]",
    .text =
        "FILE is a patch or a model; its metadata tells which.\n"
        "Of a patch: the elements that change in each tensor, their density (with --model; a\n"
        "patch does not know how large its tensors are) or their share of the patch, and a bar.\n"
        "Of a model: dtype, shape, bytes and digest of each tensor, and its share as a bar. The\n"
        "digests of the tensors add up to the model's, modulo 2^64.",
    .json =
        "  a line for each tensor: {\"event\":\"tensor\", name, dtype, and of a patch: changed,\n"
        "  density (with --model); of a model: elements, bytes, digest; shape unless it is a\n"
        "  patch without --model}\n"
        "  then {\"event\":\"total\", kind: \"patch\" or \"model\", tensors, changed, elements, "
        "bytes,\n"
        "  digest, fingerprint, base_version, base_digest, target_version, target_digest}: those\n"
        "  that apply",
    .examples = "  weft inspect step1.patch.safetensors --model base.safetensors\n"
                "  weft inspect base.safetensors\n"
                "  weft inspect step1.patch.safetensors --json",
    .exits = "  0  shown\n"
             "  1  the patch is not for this MODEL\n"
             "  2  wrong use\n"
             "  3  a file cannot be read, or is not a model or patch\n"
             "  6  memory",
};

typedef enum subject_kind { SUBJECT_MODEL = 1, SUBJECT_PATCH, SUBJECT_PATCH_OF_MODEL } subject_kind;

typedef struct tensor_row {
    const weft_tensor *tensor; /* of the model; of the patch's values where there is no model */
    size_t name_length;        /* without the suffix of a patch's values */
    uint64_t elements;         /* of the tensor; 0 if unknown */
    uint64_t changed;          /* of a patch */
    uint64_t bytes;            /* of a model's tensor */
    uint64_t digest;           /* of a model's tensor */
} tensor_row;

typedef struct inspection {
    subject_kind kind;
    const char *path;
    weft_patch_info info;    /* of a model only the fingerprint */
    const weft_model *model; /* NULL: a patch without one */
    uint64_t elements;       /* of the model */
    tensor_row *rows;
    size_t count;
    uint64_t changed, bytes, digest;
} inspection;

/* ---- Gathering ---- */

static void gather_model(inspection *subject, const weft_model *model)
{
    for (size_t i = 0; i < weft_model_count(model); i++) {
        const weft_tensor *tensor = weft_model_tensor(model, i);
        uint64_t elements = weft_model_elements(model, i);
        uint8_t element_bytes = (uint8_t)weft_dtype_bytes(tensor->dtype);
        tensor_row *row = &subject->rows[subject->count++];
        row->tensor = tensor;
        row->name_length = strlen(tensor->name);
        row->elements = elements;
        row->bytes = elements * element_bytes;
        row->digest = weft_digest_elements(tensor->data, 0, elements, element_bytes,
                                           weft_model_seed(model, i));
        subject->bytes += row->bytes;
        subject->digest += row->digest;
    }
}

/* Without a model: NAME:values says how many elements change, and nothing of the tensor's shape. */
static void gather_patch(inspection *subject, const weft_model *tensors)
{
    for (size_t i = 0; i < weft_model_count(tensors); i++) {
        const weft_tensor *tensor = weft_model_tensor(tensors, i);
        size_t length = strlen(tensor->name);
        size_t suffix = strlen(VALUES_SUFFIX);
        if (length > suffix && strcmp(tensor->name + length - suffix, VALUES_SUFFIX) == 0) {
            tensor_row *row = &subject->rows[subject->count++];
            row->tensor = tensor;
            row->name_length = length - suffix;
            row->changed = weft_model_elements(tensors, i);
            subject->changed += row->changed;
        }
    }
}

static weft_status gather_patch_of_model(inspection *subject, const weft_file *file,
                                         const weft_model *model, weft_detail *detail)
{
    weft_allocator allocator = weft_allocator_default();
    weft_patch_entry *entries = NULL;
    size_t count = 0;
    weft_status status = weft_patch_entries(file, model, &allocator, &entries, &count, detail);

    if (status != WEFT_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        tensor_row *row = &subject->rows[subject->count++];
        row->tensor = weft_model_tensor(model, entries[i].tensor);
        row->name_length = strlen(row->tensor->name);
        row->elements = weft_model_elements(model, entries[i].tensor);
        row->changed = entries[i].count;
        subject->changed += row->changed;
    }
    if (entries != NULL) {
        allocator.release(allocator.context, entries, count * sizeof *entries, WEFT_MEMORY_HOST);
    }
    return WEFT_OK;
}

/* ---- What a row says ---- */

static const char *name_of(const tensor_row *row, char name[WEFT_FILE_NAME_MAX + 1])
{
    memcpy(name, row->tensor->name, row->name_length);
    name[row->name_length] = '\0';
    return name;
}

static const char *shape_of(const tensor_row *row, char text[SHAPE_TEXT_MAX])
{
    size_t length = (size_t)snprintf(text, SHAPE_TEXT_MAX, "[");

    for (uint32_t i = 0; i < row->tensor->rank; i++) {
        length += (size_t)snprintf(text + length, SHAPE_TEXT_MAX - length, "%s%" PRIu64,
                                   i == 0 ? "" : ", ", row->tensor->shape[i]);
    }
    (void)snprintf(text + length, SHAPE_TEXT_MAX - length, "]");
    return text;
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (double)part / (double)whole;
}

/* What the bar shows: density where it is known, otherwise a share. */
static double weight_of(const inspection *subject, const tensor_row *row)
{
    switch (subject->kind) {
    case SUBJECT_MODEL:
        return ratio(row->bytes, subject->bytes);
    case SUBJECT_PATCH:
        return ratio(row->changed, subject->changed);
    case SUBJECT_PATCH_OF_MODEL:
        return ratio(row->changed, row->elements);
    }
    return 0;
}

/* ---- For machines ---- */

static void put_row_json(const inspection *subject, const tensor_row *row)
{
    char name[WEFT_FILE_NAME_MAX + 1];

    cli_json_begin("tensor");
    cli_json_text("name", name_of(row, name));
    cli_json_text("dtype", weft_dtype_file_name(row->tensor->dtype));
    if (subject->kind != SUBJECT_PATCH) {
        cli_json_shape("shape", row->tensor->shape, row->tensor->rank);
        cli_json_number("elements", row->elements);
    }
    if (subject->kind == SUBJECT_MODEL) {
        cli_json_number("bytes", row->bytes);
        cli_json_digest("digest", row->digest);
    } else {
        cli_json_number("changed", row->changed);
    }
    if (subject->kind == SUBJECT_PATCH_OF_MODEL) {
        printf(",\"density\":%.9g", ratio(row->changed, row->elements));
    }
    cli_json_end();
}

static void put_json(const inspection *subject)
{
    for (size_t i = 0; i < subject->count; i++) {
        put_row_json(subject, &subject->rows[i]);
    }
    cli_json_begin("total");
    cli_json_text("kind", subject->kind == SUBJECT_MODEL ? "model" : "patch");
    cli_json_number("tensors", subject->count);
    if (subject->kind != SUBJECT_PATCH) {
        cli_json_number("elements", subject->elements);
    }
    cli_json_digest("fingerprint", subject->info.fingerprint);
    if (subject->kind == SUBJECT_MODEL) {
        cli_json_number("bytes", subject->bytes);
        cli_json_digest("digest", subject->digest);
    } else {
        cli_json_number("changed", subject->changed);
        cli_json_number("base_version", subject->info.base_version);
        cli_json_digest("base_digest", subject->info.base_digest);
        cli_json_number("target_version", subject->info.target_version);
        cli_json_digest("target_digest", subject->info.target_digest);
    }
    cli_json_end();
}

/* ---- For people ---- */

typedef struct column_widths {
    size_t name, shape, number;
    double most;
} column_widths;

static void at_least(size_t *width, size_t columns)
{
    *width = columns > *width ? columns : *width;
}

static column_widths measure(const inspection *subject)
{
    char name[WEFT_FILE_NAME_MAX + 1];
    char shape[SHAPE_TEXT_MAX];
    char number[CLI_NUMBER_TEXT_MAX];
    column_widths widths = {.name = strlen("tensor"), .shape = strlen("shape"), .number = 7};

    for (size_t i = 0; i < subject->count; i++) {
        const tensor_row *row = &subject->rows[i];
        double weight = weight_of(subject, row);
        at_least(&widths.name, cli_text_width(name_of(row, name)));
        at_least(&widths.shape, strlen(shape_of(row, shape)));
        at_least(&widths.number, strlen(cli_grouped(number, row->changed + row->bytes)));
        widths.most = weight > widths.most ? weight : widths.most;
    }
    return widths;
}

static void put_heading(const inspection *subject, const column_widths *widths)
{
    static const char *const NUMBERS[] = {"", "bytes", "changed", "changed"};
    static const char *const LAST[] = {"", "digest", "   share", " density"};

    cli_text_pad(stdout, "tensor", widths->name);
    printf("  dtype    ");
    if (subject->kind != SUBJECT_PATCH) {
        cli_text_pad(stdout, "shape", widths->shape);
        printf("  ");
    }
    printf("%*s  %s\n", (int)widths->number, NUMBERS[subject->kind], LAST[subject->kind]);
}

static void put_row(const inspection *subject, const tensor_row *row, const column_widths *widths)
{
    char name[WEFT_FILE_NAME_MAX + 1];
    char shape[SHAPE_TEXT_MAX];
    char number[CLI_NUMBER_TEXT_MAX];
    char percent[CLI_NUMBER_TEXT_MAX];

    cli_text_pad(stdout, name_of(row, name), widths->name);
    printf("  %-7s  ", weft_dtype_file_name(row->tensor->dtype));
    if (subject->kind != SUBJECT_PATCH) {
        printf("%-*s  ", (int)widths->shape, shape_of(row, shape));
    }
    printf("%*s  ", (int)widths->number, cli_grouped(number, row->changed + row->bytes));
    if (subject->kind == SUBJECT_MODEL) {
        printf("0x%016" PRIx64 "  ", row->digest);
    } else {
        uint64_t whole = subject->kind == SUBJECT_PATCH ? subject->changed : row->elements;
        printf("%8s  ", cli_percent(percent, row->changed, whole));
    }
    cli_text_bar(stdout, weight_of(subject, row), widths->most);
    putchar('\n');
}

static void put_total(const inspection *subject)
{
    char texts[3][CLI_NUMBER_TEXT_MAX];

    putchar('\n');
    if (subject->kind == SUBJECT_MODEL) {
        printf("model: %zu tensors, %s elements, %s bytes\ndigest 0x%016" PRIx64
               ", fingerprint 0x%016" PRIx64 "\n",
               subject->count, cli_grouped(texts[0], subject->elements),
               cli_grouped(texts[1], subject->bytes), subject->digest, subject->info.fingerprint);
        return;
    }
    printf("patch: version %" PRIu64 " (0x%016" PRIx64 ") to %" PRIu64 " (0x%016" PRIx64 ")\n",
           subject->info.base_version, subject->info.base_digest, subject->info.target_version,
           subject->info.target_digest);
    if (subject->kind == SUBJECT_PATCH_OF_MODEL) {
        printf("%zu of %zu tensors change, %s of %s elements (%s)\n", subject->count,
               weft_model_count(subject->model), cli_grouped(texts[0], subject->changed),
               cli_grouped(texts[1], subject->elements),
               cli_percent(texts[2], subject->changed, subject->elements));
    } else {
        printf("%zu tensors change, %s elements; --model MODEL adds shapes and densities\n",
               subject->count, cli_grouped(texts[0], subject->changed));
    }
}

static void put_text(const inspection *subject)
{
    column_widths widths = measure(subject);

    put_heading(subject, &widths);
    for (size_t i = 0; i < subject->count; i++) {
        put_row(subject, &subject->rows[i], &widths);
    }
    put_total(subject);
}

/* ---- The command ---- */

static cli_exit show(const cli_context *cli, inspection *subject, const weft_file *file)
{
    const weft_model *tensors = weft_file_content(file)->tensors;
    weft_detail detail = {.status = WEFT_OK};
    weft_status status = WEFT_OK;

    subject->rows = calloc(weft_model_count(tensors) + 1, sizeof *subject->rows);
    if (subject->rows == NULL) {
        return cli_fail(cli, subject->path, WEFT_E_OUT_OF_MEMORY, NULL);
    }
    switch (subject->kind) {
    case SUBJECT_MODEL:
        gather_model(subject, subject->model);
        break;
    case SUBJECT_PATCH:
        gather_patch(subject, tensors);
        break;
    case SUBJECT_PATCH_OF_MODEL:
        status = gather_patch_of_model(subject, file, subject->model, &detail);
        break;
    }
    if (status == WEFT_OK && cli->json) {
        put_json(subject);
    } else if (status == WEFT_OK) {
        put_text(subject);
    }
    free(subject->rows);
    return status == WEFT_OK ? CLI_OK : cli_fail(cli, subject->path, status, &detail);
}

static cli_exit inspect_patch(const cli_context *cli, const char *path, const weft_file *file,
                              const cli_model *model)
{
    inspection subject = {.kind = SUBJECT_PATCH, .path = path};
    weft_detail detail = {.status = WEFT_OK};
    weft_patch_info info;
    weft_status status = weft_patch_read_info(file, &info, &detail);

    if (status != WEFT_OK) {
        return cli_fail(cli, path, status, &detail);
    }
    subject.info = info;
    if (model->model != NULL) {
        subject.kind = SUBJECT_PATCH_OF_MODEL;
        subject.model = model->model;
        subject.elements = model->elements;
    }
    return show(cli, &subject, file);
}

static cli_exit inspect_model(const cli_context *cli, const char *path)
{
    inspection subject = {.kind = SUBJECT_MODEL, .path = path};
    cli_model model = {.path = NULL};
    cli_exit result = cli_model_open(cli, path, &model);

    if (result == CLI_OK) {
        subject.model = model.model;
        subject.elements = model.elements;
        subject.info.fingerprint = weft_model_fingerprint(model.model);
        result = show(cli, &subject, model.file);
    }
    cli_model_close(&model);
    return result;
}

cli_exit cli_inspect(cli_context *cli, int argc, char **argv)
{
    const char *model_path = NULL;
    const cli_option options[] = {
        {"model", 'm', CLI_TEXT, "MODEL", &model_path, NULL,
         "the model that the patch is for; adds shapes and densities"},
    };
    cli_model model = {.path = NULL};
    weft_file *file = NULL;
    weft_detail detail = {.status = WEFT_OK};
    weft_status status;
    cli_exit result = CLI_OK;

    if (!cli_parse(cli, &PAGE, options, sizeof options / sizeof options[0], 1, argc, argv,
                   &result)) {
        return result;
    }
    status = weft_file_open(&file, argv[optind], NULL, &detail);
    if (status != WEFT_OK) {
        return cli_fail(cli, argv[optind], status, &detail);
    }
    result = model_path == NULL ? CLI_OK : cli_model_open(cli, model_path, &model);
    if (result == CLI_OK && model_path == NULL && weft_file_metadata(file, "weft_patch") == NULL) {
        result = inspect_model(cli, argv[optind]);
    } else if (result == CLI_OK) {
        result = inspect_patch(cli, argv[optind], file, &model);
    }
    cli_model_close(&model);
    weft_file_close(file);
    return result;
}
