/* Where weights live and what carries the payload: the options --device and --transport, and model
 * files whose tensors are moved to a GPU. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "detail.h"
#include "device_model.h"

/* ---- Options ---- */

bool cli_device_parse(const char *text, cli_device_choice *choice)
{
    const char *digits = text + strlen("cuda:");
    size_t length;
    unsigned long number;

    if (strcmp(text, "host") == 0 || strcmp(text, "cuda") == 0) {
        *choice = (cli_device_choice){.is_cuda = *text == 'c', .number = CLI_DEVICE_ANY};
        return true;
    }
    if (strncmp(text, "cuda:", strlen("cuda:")) != 0) {
        return false;
    }
    length = strspn(digits, "0123456789");
    errno = 0;
    number = strtoul(digits, NULL, 10);
    if (length == 0 || digits[length] != '\0' || errno != 0 || number > INT32_MAX) {
        return false;
    }
    *choice = (cli_device_choice){.is_cuda = true, .number = (int)number};
    return true;
}

bool cli_transport_parse(const char *text, cli_transport *transport)
{
    static const struct {
        const char *name;
        cli_transport transport;
    } TRANSPORTS[] = {{"tcp", CLI_TCP}, {"nccl", CLI_NCCL}};

    for (size_t i = 0; i < sizeof TRANSPORTS / sizeof TRANSPORTS[0]; i++) {
        if (strcmp(text, TRANSPORTS[i].name) == 0) {
            *transport = TRANSPORTS[i].transport;
            return true;
        }
    }
    return false;
}

/* ---- The device ---- */

cli_exit cli_device_fail(const cli_context *cli, const char *subject, weft_status status,
                         const weft_device *device)
{
    weft_detail detail = {.status = status};

    if (weft_device_text(device)[0] != '\0') {
        weft_detail_set(&detail, status, "%s", weft_device_text(device));
    }
    return cli_fail(cli, subject, status, &detail);
}

static cli_exit fail_to_open(const cli_context *cli, const cli_device_choice *choice,
                             weft_status status)
{
    char name[32] = "cuda";
    weft_detail detail = {.status = status};

    if (choice->number != CLI_DEVICE_ANY) {
        (void)snprintf(name, sizeof name, "cuda:%d", choice->number);
    }
    if (status == WEFT_E_NO_DEVICE) {
        weft_detail_set(&detail, status,
                        "--device %s: this machine has no such GPU that CUDA can use, or this "
                        "build of the tool has no CUDA; --device host needs neither",
                        name);
    }
    return cli_fail(cli, name, status, &detail);
}

cli_exit cli_device_open(const cli_context *cli, const cli_device_choice *choice,
                         const weft_device **device)
{
    weft_cuda_config config = WEFT_CUDA_CONFIG_INIT;
    weft_status status;

    if (!choice->is_cuda) {
        *device = weft_device_host();
        return CLI_OK;
    }
    config.number = choice->number;
    cli_progress_stage(cli, "opening the GPU");
    status = weft_device_cuda_create(device, &config);
    cli_progress_end();
    return status == WEFT_OK ? CLI_OK : fail_to_open(cli, choice, status);
}

/* ---- The transport ---- */

bool cli_transport_fits(const cli_context *cli, cli_transport choice,
                        const cli_device_choice *device, cli_exit *result)
{
    if (choice == CLI_NCCL && !device->is_cuda) {
        *result = cli_usage(cli, "option --transport nccl: it moves the memory of GPUs; expected "
                                 "--device cuda or cuda:N beside it, found host");
        return false;
    }
    return true;
}

static cli_exit fail_without_nccl(const cli_context *cli, weft_status status)
{
    const char *named = getenv("WEFT_NCCL_LIBRARY"); /* as weft_transport_nccl_create reads it */
    bool is_named = named != NULL && named[0] != '\0';
    weft_detail detail = {.status = status};

    weft_detail_set(
        &detail, status,
        "--transport nccl: expected NCCL 2.14 or later in %s%.200s, found none, or this "
        "build of the tool has no NCCL; --transport tcp needs none",
        is_named ? "the file that WEFT_NCCL_LIBRARY names, "
                 : "the loader's libnccl.so.2 (LD_LIBRARY_PATH, or WEFT_NCCL_LIBRARY "
                   "for the file itself)",
        is_named ? named : "");
    return cli_fail(cli, "nccl", status, &detail);
}

cli_exit cli_transport_open(const cli_context *cli, cli_transport choice, const weft_device *device,
                            const weft_transport **transport)
{
    weft_nccl_config config = WEFT_NCCL_CONFIG_INIT;
    weft_status status;

    *transport = NULL;
    if (choice == CLI_TCP) {
        return CLI_OK;
    }
    config.device = device;
    cli_progress_stage(cli, "opening NCCL");
    status = weft_transport_nccl_create(transport, &config);
    cli_progress_end();
    if (status == WEFT_E_NO_TRANSPORT) {
        return fail_without_nccl(cli, status);
    }
    return status == WEFT_OK ? CLI_OK : cli_device_fail(cli, "nccl", status, device);
}

/* ---- Models ---- */

/* The host works on the mapping itself. */
cli_exit cli_model_move(const cli_context *cli, const weft_device *device, cli_model *model)
{
    weft_status status;

    if (device == weft_device_host() || model->model == NULL) {
        return CLI_OK;
    }
    cli_progress_stage(cli, "copying to the GPU");
    status = weft_device_model_create(&model->moved, model->mapped, device, NULL, device->memory);
    cli_progress_end();
    if (status != WEFT_OK) {
        return cli_device_fail(cli, model->path, status, device);
    }
    model->model = model->moved.model;
    return CLI_OK;
}

weft_status cli_model_fetch(const cli_model *model)
{
    return model->moved.model == NULL ? WEFT_OK
                                      : weft_device_model_fetch(&model->moved, model->mapped);
}
