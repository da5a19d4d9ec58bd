/* weft diff: what differs between two model files, as a patch. */
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "patch.h"

static const cli_page PAGE = {
    .synopsis = "A B -o PATCH [OPTION...]",
    .text =
        "Compares two model files bit by bit and writes a patch that leads from A to B. Both must\n"
        "have the same tensors with the same dtypes and shapes. A patch is a .safetensors file:\n"
        "NAME:indices and NAME:values for each tensor that changed; versions and digests stand\n"
        "in its metadata. The same files always give the same patch, byte for byte. PATCH is\n"
        "written beside its place, synced and renamed: it is complete or it is not there.",
    .json =
        "  {\"event\":\"diff\", patch, base_version, base_digest, target_version, target_digest,\n"
        "   elements, changed, bytes}",
    .examples = "  weft diff base.safetensors step1.safetensors -o step1.patch.safetensors\n"
                "  weft diff s1.safetensors s2.safetensors -o p.safetensors --base-version 1",
    .exits = "  0  the patch is written, also when nothing changed\n"
             "  1  A and B have different tensors\n"
             "  2  wrong use\n"
             "  3  a file cannot be read or written\n"
             "  6  memory",
};

typedef struct diff_options {
    const char *output;
    uint64_t base_version, version;
    bool has_version;
} diff_options;

static cli_exit report(const cli_context *cli, const cli_model *base, const char *path,
                       uint64_t changed)
{
    char texts[4][CLI_NUMBER_TEXT_MAX];
    weft_patch_info info;
    weft_file *patch = NULL;
    weft_detail detail = {.status = WEFT_OK};
    struct stat information = {.st_size = 0};
    weft_status status = weft_file_open(&patch, path, NULL, &detail);

    status = status != WEFT_OK ? status : weft_patch_read_info(patch, &info, &detail);
    weft_file_close(patch);
    if (status != WEFT_OK) {
        return cli_fail(cli, path, status, &detail);
    }
    (void)stat(path, &information);
    if (cli->json) {
        cli_json_begin("diff");
        cli_json_text("patch", path);
        cli_json_number("base_version", info.base_version);
        cli_json_digest("base_digest", info.base_digest);
        cli_json_number("target_version", info.target_version);
        cli_json_digest("target_digest", info.target_digest);
        cli_json_number("elements", base->elements);
        cli_json_number("changed", changed);
        cli_json_number("bytes", (uint64_t)information.st_size);
        cli_json_end();
        return CLI_OK;
    }
    printf("version %llu to %llu: %s of %s elements changed (%s), patch of %s bytes\n",
           (unsigned long long)info.base_version, (unsigned long long)info.target_version,
           cli_grouped(texts[0], changed), cli_grouped(texts[1], base->elements),
           cli_percent(texts[2], changed, base->elements),
           cli_grouped(texts[3], (uint64_t)information.st_size));
    return CLI_OK;
}

static cli_exit diff(const cli_context *cli, const cli_model *base, const cli_model *after,
                     const diff_options *options)
{
    uint64_t changed = 0;
    weft_detail detail = {.status = WEFT_OK};
    weft_status status;

    cli_progress_stage(cli, "comparing");
    status = weft_patch_write(options->output, base->model, after->model, options->base_version,
                              options->version, NULL, &changed, &detail);
    cli_progress_end();
    if (status != WEFT_OK) {
        return cli_fail(cli, status == WEFT_E_FILE_WRITE ? options->output : after->path, status,
                        &detail);
    }
    return report(cli, base, options->output, changed);
}

cli_exit cli_diff(cli_context *cli, int argc, char **argv)
{
    diff_options values = {.output = NULL};
    const cli_option options[] = {
        {"output", 'o', CLI_TEXT, "PATCH", &values.output, NULL, "the file to write; required"},
        {"base-version", 0, CLI_NUMBER, "N", &values.base_version, NULL,
         "version that A is; default 0"},
        {"version", 0, CLI_NUMBER, "N", &values.version, &values.has_version,
         "version that B is; default: base version + 1"},
    };
    cli_model base = {.path = NULL};
    cli_model after = {.path = NULL};
    cli_exit result = CLI_OK;

    if (!cli_parse(cli, &PAGE, options, sizeof options / sizeof options[0], 2, argc, argv,
                   &result)) {
        return result;
    }
    if (values.output == NULL) {
        return cli_usage(cli, "option --output is required");
    }
    if (cli_same_file(values.output, argv[optind]) ||
        cli_same_file(values.output, argv[optind + 1])) {
        return cli_usage(cli, "%s is one of the two models", values.output);
    }
    values.version = values.has_version ? values.version : values.base_version + 1;
    result = cli_model_open(cli, argv[optind], &base);
    result = result != CLI_OK ? result : cli_model_open(cli, argv[optind + 1], &after);
    result = result != CLI_OK ? result : diff(cli, &base, &after, &values);
    cli_model_close(&after);
    cli_model_close(&base);
    return result;
}
