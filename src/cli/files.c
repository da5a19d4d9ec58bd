/* Model files as the commands use them: mapped privately, every tensor in a registry. */
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

cli_exit cli_model_open(const cli_context *cli, const char *path, cli_model *model)
{
    cli_model opened = {.path = path};
    weft_detail detail = {.status = WEFT_OK};
    weft_status status = weft_file_open(&opened.file, path, NULL, &detail);

    if (status != WEFT_OK) {
        return cli_fail(cli, path, status, &detail);
    }
    status = weft_model_create(&opened.mapped, NULL);
    if (status == WEFT_OK) {
        status = weft_file_add_to_model(opened.file, opened.mapped);
    }
    opened.model = opened.mapped;
    if (status != WEFT_OK) {
        cli_exit result = cli_fail(cli, path, status, NULL);
        cli_model_close(&opened);
        return result == CLI_USAGE ? CLI_FILE : result; /* the file's names are at fault */
    }
    for (size_t i = 0; i < weft_model_count(opened.model); i++) {
        uint64_t elements = weft_model_elements(opened.model, i);
        opened.elements += elements;
        opened.bytes += elements * weft_dtype_bytes(weft_model_tensor(opened.model, i)->dtype);
    }
    *model = opened;
    return CLI_OK;
}

void cli_model_close(cli_model *model)
{
    weft_device_model_destroy(&model->moved);
    weft_model_destroy(model->mapped);
    weft_file_close(model->file);
    *model = (cli_model){.path = NULL};
}

bool cli_same_file(const char *a, const char *b)
{
    struct stat first;
    struct stat second;

    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}
