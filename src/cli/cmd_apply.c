/* weft apply: the model file that a patch leads to. */
#include <inttypes.h>
#include <unistd.h>

#include "cli.h"
#include "patch.h"

static const cli_page PAGE = {
    .synopsis = "PATCH MODEL -o OUT [OPTION...]",
    .text =
        "Checks that MODEL is what PATCH builds on, applies the patch, checks that the result is\n"
        "what PATCH leads to, and writes it. Nothing is written unless every check passed. OUT is\n"
        "written beside its place, synced and renamed; it may be MODEL itself. Its header is\n"
        "MODEL's.",
    .json = "  {\"event\":\"apply\", output, version, digest}",
    .examples = "  weft apply step1.patch.safetensors base.safetensors -o step1.safetensors\n"
                "  weft apply step2.patch.safetensors model.safetensors -o model.safetensors",
    .exits = "  0  OUT is written\n"
             "  1  PATCH is not for this MODEL, or its content is damaged\n"
             "  2  wrong use\n"
             "  3  a file cannot be read or written, or is not a patch or model\n"
             "  6  memory",
};

static cli_exit report(const cli_context *cli, const char *output, const weft_patch_info *info)
{
    if (cli->json) {
        cli_json_begin("apply");
        cli_json_text("output", output);
        cli_json_number("version", info->target_version);
        cli_json_digest("digest", info->target_digest);
        cli_json_end();
        return CLI_OK;
    }
    printf("version %" PRIu64 ", digest 0x%016" PRIx64 ": ", info->target_version,
           info->target_digest);
    cli_text_put(stdout, output);
    putchar('\n');
    return CLI_OK;
}

static cli_exit apply(const cli_context *cli, const char *path, const weft_file *patch,
                      cli_model *model, const char *output)
{
    weft_detail detail = {.status = WEFT_OK};
    weft_patch_info info;
    weft_status status = weft_patch_read_info(patch, &info, &detail);

    if (status == WEFT_OK) {
        cli_progress_stage(cli, "applying");
        status = weft_patch_apply(patch, model->model, NULL, &detail);
    }
    if (status != WEFT_OK) {
        return cli_fail(cli, path, status, &detail);
    }
    cli_progress_stage(cli, "writing");
    status = weft_file_save(model->file, output, &detail);
    cli_progress_end();
    return status != WEFT_OK ? cli_fail(cli, output, status, &detail) : report(cli, output, &info);
}

cli_exit cli_apply(cli_context *cli, int argc, char **argv)
{
    const char *output = NULL;
    const cli_option options[] = {
        {"output", 'o', CLI_TEXT, "OUT", &output, NULL, "the file to write; required"},
    };
    cli_model model = {.path = NULL};
    weft_file *patch = NULL;
    weft_detail detail = {.status = WEFT_OK};
    weft_status status;
    cli_exit result = CLI_OK;

    if (!cli_parse(cli, &PAGE, options, sizeof options / sizeof options[0], 2, argc, argv,
                   &result)) {
        return result;
    }
    if (output == NULL) {
        return cli_usage(cli, "option --output is required");
    }
    status = weft_file_open(&patch, argv[optind], NULL, &detail);
    if (status != WEFT_OK) {
        return cli_fail(cli, argv[optind], status, &detail);
    }
    result = cli_model_open(cli, argv[optind + 1], &model);
    result = result != CLI_OK ? result : apply(cli, argv[optind], patch, &model, output);
    cli_model_close(&model);
    weft_file_close(patch);
    return result;
}
