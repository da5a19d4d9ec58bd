/* weft serve: a worker whose model is a file, mapped privately. It follows trainers until a signal
 * ends it, and may write every committed version to a file. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "detail.h"

#define WAIT_MS     100 /* how soon a signal is noticed */
#define LINGER_NS   UINT64_C(250000000)
#define PATH_BYTES  4096u
#define PLACEHOLDER "{version}"

static const cli_page PAGE = {
    .synopsis = "MODEL --listen ADDRESS [OPTION...]",
    .text =
        "Holds a model file in memory as a worker and takes part in the sessions of trainers that\n"
        "connect. MODEL itself is never written. Prints one line when it listens, one for each\n"
        "commit and one for each failed session. SIGINT and SIGTERM end it; a session that runs\n"
        "then is rolled back everywhere.",
    .json = "  {\"event\":\"listening\", name, address, version, digest, pid}\n"
            "  {\"event\":\"committed\", version, digest, changed, pause_ns, path (with --save)}\n"
            "  {\"event\":\"failed\", epoch, state, detail, code, name, group, text, mend}\n"
            "  {\"event\":\"stopped\", condition, version, digest, committed, failed}",
    .examples =
        "  weft serve base.safetensors --listen 0.0.0.0:7070\n"
        "  weft serve base.safetensors --listen 127.0.0.1:0 --save versions --commits 1\n"
        "  weft serve m.safetensors --listen [::1]:7070 --save 'out/m-{version}.safetensors'\n"
        "  weft serve m.safetensors --listen 0.0.0.0:7070 --device cuda:0 --transport nccl",
    .exits = "  0  ended by a signal or by --commits\n"
             "  2  wrong use\n"
             "  3  MODEL cannot be read, or a committed version could not be saved\n"
             "  4  the address cannot be listened on, or there is no NCCL\n"
             "  6  memory, or no such device",
};

typedef struct serve_options {
    const char *address, *save, *name, *baseline;
    uint64_t version, budget_bytes, commits;
    uint32_t timeout_ms, keepalive_ms;
    cli_device_choice device;
    cli_transport transport;
} serve_options;

typedef struct serve_run {
    const cli_context *cli;
    const serve_options *options;
    const cli_model *model;
    const weft_device *device;
    weft_worker *worker;
    uint64_t commits;
    bool is_committed; /* a commit that resume has not yet told of */
    uint64_t version, digest;
    bool save_failed;
} serve_run;

/* ---- Saving ---- */

static bool is_pattern(const char *save)
{
    return strstr(save, PLACEHOLDER) != NULL;
}

/* The file that a version goes to. False when its path would be too long. */
static bool save_path(const char *save, uint64_t version, char path[PATH_BYTES])
{
    const char *placeholder = strstr(save, PLACEHOLDER);
    int length;

    if (placeholder == NULL) {
        length = snprintf(path, PATH_BYTES, "%s/v%" PRIu64 ".safetensors", save, version);
    } else {
        length = snprintf(path, PATH_BYTES, "%.*s%" PRIu64 "%s", (int)(placeholder - save), save,
                          version, placeholder + strlen(PLACEHOLDER));
    }
    return length > 0 && (size_t)length < PATH_BYTES;
}

/* A folder is made if it is not there, so that a wrong --save is found before the first commit. */
static cli_exit prepare_folder(const cli_context *cli, const char *save)
{
    char path[PATH_BYTES];
    weft_detail detail = {.status = WEFT_OK};

    if (save == NULL) {
        return CLI_OK;
    }
    if (!save_path(save, UINT64_MAX, path)) {
        return cli_usage(cli, "option --save: the path is too long");
    }
    if (!is_pattern(save) &&
        ((mkdir(save, 0777) != 0 && errno != EEXIST) || access(save, W_OK | X_OK) != 0)) {
        weft_detail_set(&detail, WEFT_E_FILE_WRITE, "cannot write into the folder: %s",
                        strerror(errno));
        return cli_fail(cli, save, WEFT_E_FILE_WRITE, &detail);
    }
    return CLI_OK;
}

static bool save_version(serve_run *run, char path[PATH_BYTES])
{
    weft_detail detail = {.status = WEFT_OK};
    weft_status status;

    if (run->options->save == NULL) {
        return false;
    }
    (void)save_path(run->options->save, run->version, path);
    status = cli_model_fetch(run->model);
    if (status != WEFT_OK) {
        run->save_failed = true;
        (void)cli_device_fail(run->cli, path, status, run->device);
        return false;
    }
    status = weft_file_save(run->model->file, path, &detail);
    if (status != WEFT_OK) {
        run->save_failed = true;
        (void)cli_fail(run->cli, path, status, &detail);
    }
    return status == WEFT_OK;
}

/* ---- Hooks ---- */

static void on_committed(void *context, uint64_t version, uint64_t digest)
{
    serve_run *run = context;

    run->is_committed = true;
    run->version = version;
    run->digest = digest;
}

/* The pause is over and measured, and the trainer has not heard COMMITTED yet: a version that it
 * takes for confirmed is on disk. */
static void on_resume(void *context, uint64_t epoch)
{
    serve_run *run = context;
    char path[PATH_BYTES];
    char changed[CLI_NUMBER_TEXT_MAX];
    weft_worker_info info;
    bool is_saved;

    (void)epoch;
    if (!run->is_committed) {
        return;
    }
    run->is_committed = false;
    is_saved = save_version(run, path);
    weft_worker_get_info(run->worker, &info);
    if (run->cli->json) {
        cli_json_begin("committed");
        cli_json_number("version", run->version);
        cli_json_digest("digest", run->digest);
        cli_json_number("changed", info.changed);
        cli_json_number("pause_ns", info.pause_ns);
        if (is_saved) {
            cli_json_text("path", path);
        }
        cli_json_end();
    } else {
        printf("committed version %" PRIu64 ", digest 0x%016" PRIx64
               ", %s elements written, pause %.3f ms",
               run->version, run->digest, cli_grouped(changed, info.changed),
               (double)info.pause_ns / 1e6);
        (void)fputs(is_saved ? ", saved to " : "", stdout);
        cli_text_put(stdout, is_saved ? path : "");
        putchar('\n');
    }
    (void)fflush(stdout);
    run->commits++;
}

static void on_failed(void *context, const weft_detail *detail)
{
    const serve_run *run = context;

    if (run->cli->json) {
        cli_json_begin("failed");
        cli_json_number("epoch", detail->epoch);
        cli_json_text("state", weft_state_name(detail->state));
        cli_json_text("detail", detail->text);
        cli_json_status(detail->status);
        cli_json_end();
    } else {
        printf("failed in state %s: %s: ", weft_state_name(detail->state),
               cli_status_name(detail->status));
        cli_text_put(stdout, detail->text);
        putchar('\n');
    }
    (void)fflush(stdout);
}

/* ---- Lines at the beginning and at the end ---- */

static void put_listening(const serve_run *run, uint16_t port)
{
    const char *colon = strrchr(run->options->address, ':');
    int host = (int)(colon - run->options->address);
    char address[PATH_BYTES];
    weft_worker_info info;

    (void)snprintf(address, sizeof address, "%.*s:%u", host, run->options->address, port);
    weft_worker_get_info(run->worker, &info);
    if (run->cli->json) {
        cli_json_begin("listening");
        cli_json_text("name", run->options->name);
        cli_json_text("address", address);
        cli_json_number("version", info.version);
        cli_json_digest("digest", info.digest);
        cli_json_number("pid", (uint64_t)getpid());
        cli_json_end();
    } else {
        printf("listening on %s: worker ", address);
        cli_text_put(stdout, run->options->name);
        printf(", version %" PRIu64 ", digest 0x%016" PRIx64 "\n", info.version, info.digest);
    }
    (void)fflush(stdout);
}

static void put_stopped(const serve_run *run)
{
    weft_worker_info info;

    weft_worker_get_info(run->worker, &info);
    if (run->cli->json) {
        cli_json_begin("stopped");
        cli_json_text("condition", weft_condition_name(info.condition));
        cli_json_number("version", info.version);
        cli_json_digest("digest", info.digest);
        cli_json_number("committed", info.sessions_committed);
        cli_json_number("failed", info.sessions_failed);
        cli_json_end();
    } else {
        printf("stopped: %s, version %" PRIu64 ", digest 0x%016" PRIx64 "\n",
               weft_condition_name(info.condition), info.version, info.digest);
    }
}

/* ---- The loop ---- */

/* After the last commit the trainer still has to hear COMMITTED. */
static weft_status linger(weft_net *net)
{
    uint64_t end_ns = weft_net_now_ns() + LINGER_NS;
    weft_status status = WEFT_OK;

    while (status == WEFT_OK && !cli_interrupted() && weft_net_now_ns() < end_ns) {
        status = weft_net_poll_wait(net, WAIT_MS / 2);
    }
    return status;
}

static cli_exit follow(serve_run *run, weft_net *net)
{
    uint64_t wanted = run->options->commits;
    weft_status status = WEFT_OK;

    while (status == WEFT_OK && !cli_interrupted() && (wanted == 0 || run->commits < wanted)) {
        status = weft_net_poll_wait(net, WAIT_MS);
    }
    if (status == WEFT_OK) {
        status = linger(net);
    }
    if (status != WEFT_OK) {
        weft_detail detail = {.status = status};
        weft_detail_set(&detail, status, "%s", weft_net_text(net));
        return cli_fail(run->cli, NULL, status, &detail);
    }
    return run->save_failed ? CLI_FILE : CLI_OK;
}

static cli_exit listen_and_follow(serve_run *run)
{
    const char *address = run->options->address;
    weft_detail detail = {.status = WEFT_OK};
    weft_net *net = NULL;
    uint16_t port = 0;
    cli_exit result;
    weft_status status = weft_net_create(&net);

    if (status != WEFT_OK) {
        return cli_fail(run->cli, NULL, status, NULL);
    }
    status = weft_net_listen(net, run->worker, address, &port);
    if (status != WEFT_OK) {
        weft_detail_set(&detail, status, "%s", weft_net_text(net));
        result = cli_fail(run->cli, address, status, &detail);
    } else {
        put_listening(run, port);
        result = follow(run, net);
    }
    weft_net_destroy(net); /* closes the links: a running session rolls back */
    if (status == WEFT_OK) {
        put_stopped(run);
    }
    return result;
}

static bool baseline_policy(const char *name, weft_baseline_policy *policy)
{
    static const char *const NAMES[] = {"auto", "staged", "streamed"};

    for (unsigned i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (strcmp(name, NAMES[i]) == 0) {
            *policy = (weft_baseline_policy)i;
            return true;
        }
    }
    return false;
}

static cli_exit serve(const cli_context *cli, const serve_options *options,
                      const weft_device *device, const weft_transport *transport,
                      const cli_model *model)
{
    serve_run run = {.cli = cli, .options = options, .model = model, .device = device};
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    weft_status status;
    cli_exit result;

    config.name = options->name;
    config.model = model->model;
    config.device = device;
    config.transport = transport;
    config.version = options->version;
    config.budget_bytes = options->budget_bytes;
    config.timeout_ms = options->timeout_ms;
    config.keepalive_ms = options->keepalive_ms;
    config.hooks = (weft_hooks){
        .context = &run, .resume = on_resume, .committed = on_committed, .failed = on_failed};
    (void)baseline_policy(options->baseline, &config.baseline);
    status = weft_worker_create(&run.worker, &config);
    if (status != WEFT_OK) {
        return cli_device_fail(cli, model->path, status, device);
    }
    cli_signals_catch();
    result = listen_and_follow(&run);
    weft_worker_destroy(run.worker);
    return result;
}

/* The name by which a trainer's user finds the process. */
static void name_process(char *name, size_t bytes)
{
    char host[65] = "";

    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') {
        (void)snprintf(host, sizeof host, "worker");
    }
    (void)snprintf(name, bytes, "%s/%ld", host, (long)getpid());
}

cli_exit cli_serve(cli_context *cli, int argc, char **argv)
{
    weft_worker_config defaults = WEFT_WORKER_CONFIG_INIT;
    char name[96];
    serve_options values = {.name = name,
                            .baseline = "auto",
                            .budget_bytes = defaults.budget_bytes,
                            .timeout_ms = defaults.timeout_ms,
                            .keepalive_ms = defaults.keepalive_ms};
    const cli_option options[] = {
        {"listen", 'l', CLI_TEXT, "ADDRESS", &values.address, NULL,
         "host:port or [ipv6]:port; port 0 takes any free one; required"},
        {"version", 0, CLI_NUMBER, "N", &values.version, NULL, "version that MODEL is; default 0"},
        {"save", 's', CLI_TEXT, "WHERE", &values.save, NULL,
         "write every committed version, synced, before the trainer hears of\n"
         "the commit: into the folder WHERE as v1.safetensors and so on, or to\n"
         "the path WHERE, if it has {version} in it"},
        {"name", 'n', CLI_TEXT, "NAME", &values.name, NULL,
         "what trainers call this worker; default host/pid"},
        {"budget", 0, CLI_SIZE, "BYTES", &values.budget_bytes, NULL,
         "most memory of one session; K, M, G may follow; default 4G"},
        {"timeout", 0, CLI_MILLISECONDS, "MS", &values.timeout_ms, NULL,
         "longest time in any state but idle; default 60000"},
        {"keepalive", 0, CLI_MILLISECONDS, "MS", &values.keepalive_ms, NULL,
         "a link is lost after three times so much silence; default 5000"},
        {"baseline", 0, CLI_TEXT, "POLICY", &values.baseline, NULL,
         "staged: a baseline is as atomic as any update; streamed: it is written\n"
         "as it arrives; auto (default): staged if it fits the budget"},
        {"device", 0, CLI_DEVICE, "DEVICE", &values.device, NULL, CLI_DEVICE_TEXT},
        {"transport", 0, CLI_TRANSPORT, "NAME", &values.transport, NULL,
         CLI_TRANSPORT_TEXT ";\na worker that has it still takes sessions over tcp"},
        {"commits", 'c', CLI_NUMBER, "N", &values.commits, NULL,
         "end after so many commits; default 0: never"},
    };
    weft_baseline_policy policy;
    const weft_device *device = NULL;
    const weft_transport *transport = NULL;
    cli_model model = {.path = NULL};
    cli_exit result = CLI_OK;

    name_process(name, sizeof name);
    if (!cli_parse(cli, &PAGE, options, sizeof options / sizeof options[0], 1, argc, argv,
                   &result)) {
        return result;
    }
    if (values.address == NULL) {
        return cli_usage(cli, "option --listen is required");
    }
    if (!baseline_policy(values.baseline, &policy)) {
        return cli_usage(cli, "option --baseline: expected auto, staged or streamed, found \"%s\"",
                         values.baseline);
    }
    if (!cli_transport_fits(cli, values.transport, &values.device, &result)) {
        return result;
    }
    result = cli_device_open(cli, &values.device, &device);
    result =
        result != CLI_OK ? result : cli_transport_open(cli, values.transport, device, &transport);
    result = result != CLI_OK ? result : prepare_folder(cli, values.save);
    result = result != CLI_OK ? result : cli_model_open(cli, argv[optind], &model);
    result = result != CLI_OK ? result : cli_model_move(cli, device, &model);
    result = result != CLI_OK ? result : serve(cli, &values, device, transport, &model);
    weft_transport_destroy(transport);
    cli_model_close(&model);
    weft_device_destroy(device);
    return result;
}
