/* weft verify: the digest of a model file, compared with one that is known or with a patch. */
#include <inttypes.h>
#include <unistd.h>

#include "cli.h"
#include "patch.h"

static const cli_page PAGE = {
    .synopsis = "MODEL [--digest 0xDIGEST | --patch PATCH] [OPTION...]",
    .text =
        "Reads every element of MODEL and prints its digest, by which workers and patches name\n"
        "content, and its fingerprint, which depends on names, dtypes and shapes only. The digest\n"
        "guards against faults, not against an attacker.",
    .json = "  {\"event\":\"verify\", model, digest, fingerprint, tensors, elements, bytes}\n"
            "  and with --digest: expected, ok; with --patch: ok, holds (\"base\", \"target\", "
            "\"both\"\n"
            "  or \"neither\"), base_version, base_digest, target_version, target_digest",
    .examples = "  weft verify step1.safetensors\n"
                "  weft verify step1.safetensors --digest 0x6f172f4d2fb7c405\n"
                "  weft verify model.safetensors --patch step1.patch.safetensors",
    .exits =
        "  0  the digest is the expected one, or none was asked for; with --patch: MODEL is what\n"
        "     the patch builds on or leads to\n"
        "  1  it is not\n"
        "  2  wrong use\n"
        "  3  a file cannot be read, or is not a model or patch\n"
        "  6  memory, or no such device",
};

typedef struct verify_result {
    uint64_t digest, fingerprint;
    bool has_expected;
    uint64_t expected;
    const char *patch; /* NULL: none */
    weft_patch_info info;
    bool ok;
} verify_result;

static const char *held_version(const verify_result *verdict)
{
    bool base = verdict->digest == verdict->info.base_digest;
    bool target = verdict->digest == verdict->info.target_digest;

    return base && target ? "both" : base ? "base" : target ? "target" : "neither";
}

static void judge(verify_result *verdict)
{
    if (verdict->patch != NULL) {
        verdict->ok = verdict->fingerprint == verdict->info.fingerprint &&
                      (verdict->digest == verdict->info.base_digest ||
                       verdict->digest == verdict->info.target_digest);
    } else {
        verdict->ok = !verdict->has_expected || verdict->digest == verdict->expected;
    }
}

static void put_json(const cli_model *model, const verify_result *verdict)
{
    cli_json_begin("verify");
    cli_json_text("model", model->path);
    cli_json_digest("digest", verdict->digest);
    cli_json_digest("fingerprint", verdict->fingerprint);
    cli_json_number("tensors", weft_model_count(model->model));
    cli_json_number("elements", model->elements);
    cli_json_number("bytes", model->bytes);
    if (verdict->has_expected) {
        cli_json_digest("expected", verdict->expected);
    }
    if (verdict->patch != NULL) {
        cli_json_text("holds", held_version(verdict));
        cli_json_number("base_version", verdict->info.base_version);
        cli_json_digest("base_digest", verdict->info.base_digest);
        cli_json_number("target_version", verdict->info.target_version);
        cli_json_digest("target_digest", verdict->info.target_digest);
    }
    if (verdict->has_expected || verdict->patch != NULL) {
        cli_json_bool("ok", verdict->ok);
    }
    cli_json_end();
}

static void put_text(const cli_model *model, const verify_result *verdict)
{
    char texts[2][CLI_NUMBER_TEXT_MAX];

    printf("digest       0x%016" PRIx64 "\n", verdict->digest);
    printf("fingerprint  0x%016" PRIx64 "\n", verdict->fingerprint);
    printf("content      %zu tensors, %s elements, %s bytes\n", weft_model_count(model->model),
           cli_grouped(texts[0], model->elements), cli_grouped(texts[1], model->bytes));
    if (verdict->has_expected) {
        printf("expected     0x%016" PRIx64 ": %s\n", verdict->expected,
               verdict->ok ? "equal" : "DIFFERENT");
    }
    if (verdict->patch != NULL) {
        printf("base         0x%016" PRIx64 ", version %" PRIu64 "\n", verdict->info.base_digest,
               verdict->info.base_version);
        printf("target       0x%016" PRIx64 ", version %" PRIu64 "\n", verdict->info.target_digest,
               verdict->info.target_version);
        printf("model is     %s\n", held_version(verdict));
    }
}

static cli_exit read_patch(const cli_context *cli, verify_result *verdict)
{
    weft_file *patch = NULL;
    weft_detail detail = {.status = WEFT_OK};
    weft_status status = weft_file_open(&patch, verdict->patch, NULL, &detail);

    status = status != WEFT_OK ? status : weft_patch_read_info(patch, &verdict->info, &detail);
    weft_file_close(patch);
    return status == WEFT_OK ? CLI_OK : cli_fail(cli, verdict->patch, status, &detail);
}

static cli_exit verify(const cli_context *cli, const weft_device *device, const cli_model *model,
                       verify_result *verdict)
{
    weft_status status;

    cli_progress_stage(cli, "reading");
    status = weft_model_digest(model->model, device, &verdict->digest);
    cli_progress_end();
    if (status != WEFT_OK) {
        return cli_device_fail(cli, model->path, status, device);
    }
    verdict->fingerprint = weft_model_fingerprint(model->model);
    judge(verdict);
    if (cli->json) {
        put_json(model, verdict);
    } else {
        put_text(model, verdict);
    }
    return verdict->ok ? CLI_OK : CLI_NO;
}

cli_exit cli_verify(cli_context *cli, int argc, char **argv)
{
    verify_result verdict = {.patch = NULL};
    cli_device_choice choice = {.is_cuda = false};
    const cli_option options[] = {
        {"digest", 'd', CLI_DIGEST, "0xDIGEST", &verdict.expected, &verdict.has_expected,
         "the digest that MODEL must have"},
        {"patch", 'p', CLI_TEXT, "PATCH", &verdict.patch, NULL,
         "MODEL must be what this patch builds on or leads to"},
        {"device", 0, CLI_DEVICE, "DEVICE", &choice, NULL, CLI_DEVICE_TEXT},
    };
    const weft_device *device = NULL;
    cli_model model = {.path = NULL};
    cli_exit result = CLI_OK;

    if (!cli_parse(cli, &PAGE, options, sizeof options / sizeof options[0], 1, argc, argv,
                   &result)) {
        return result;
    }
    if (verdict.has_expected && verdict.patch != NULL) {
        return cli_usage(cli, "--digest and --patch exclude each other");
    }
    result = verdict.patch == NULL ? CLI_OK : read_patch(cli, &verdict);
    result = result != CLI_OK ? result : cli_model_open(cli, argv[optind], &model);
    result = result != CLI_OK ? result : cli_device_open(cli, &choice, &device);
    result = result != CLI_OK ? result : cli_model_move(cli, device, &model);
    result = result != CLI_OK ? result : verify(cli, device, &model, &verdict);
    cli_model_close(&model);
    weft_device_destroy(device);
    return result;
}
