/* weft push: one session that brings workers from one model file to another. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "detail.h"
#include "frame_messages.h"

#define WAIT_MS          100 /* how soon a signal is noticed */
#define NS_PER_MS        UINT64_C(1000000)
#define WORKER_WIDTH_MIN 6u /* "worker" */

static const cli_page PAGE = {
    .synopsis = "--base A --new B --to ADDRESS[,ADDRESS...] [OPTION...]",
    .text =
        "Connects to every worker, computes what differs between the model files A and B, and\n"
        "runs one session: every worker ends with B, or every worker keeps A. Workers must hold A\n"
        "at --base-version. With --baseline all of B is sent: the workers may hold anything, and\n"
        "--base is not needed. SIGINT and SIGTERM abort the session as long as it is not decided.\n"
        "Ends with a table of the workers: what each holds now, and how the session ended there.",
    .json =
        "  a line for each worker: {\"event\":\"worker\", name, connected, condition, version, "
        "digest,\n"
        "  outcome, error: null or {code, name, group, text, mend, detail}}; outcome is one of\n"
        "  \"committed\", \"aborted\", \"unconfirmed\", \"undecided\", \"refused\", \"lost\", "
        "\"none\"\n"
        "  then {\"event\":\"push\", outcome, epoch, version, digest, elements, changed, "
        "payload_bytes,\n"
        "  document_bytes, updates, workers, committed, diff_ns, session_ns, code, name, "
        "group, text,\n"
        "  mend}, and {\"event\":\"error\", ...} if it did not succeed",
    .examples =
        "  weft push --base s0.safetensors --new s1.safetensors --to 10.0.0.7:7070,10.0.0.8:7070\n"
        "  weft push --base s1.safetensors --new s2.safetensors --base-version 1 --to [::1]:7070\n"
        "  weft push --baseline --new s2.safetensors --version 2 --to 10.0.0.9:7070\n"
        "  weft push --base s0.safetensors --new s1.safetensors --to 10.0.0.7:7070 --device cuda:0 "
        "\\\n"
        "    --transport nccl",
    .exits =
        "  0  every worker has committed\n"
        "  1  A and B have different tensors\n"
        "  2  wrong use\n"
        "  3  a file cannot be read\n"
        "  4  a worker could not be reached, refused, failed or was lost, or there is no NCCL:\n"
        "     nothing was committed\n"
        "  5  committed, but not every worker has confirmed it; or in doubt: look at the workers\n"
        "  6  memory, the update is above the budget, or there is no such device",
};

typedef struct push_options {
    const char *base, *after, *addresses, *name;
    bool is_baseline, has_version;
    uint64_t base_version, version, budget_bytes, update_bytes;
    uint32_t timeout_ms, keepalive_ms;
    cli_device_choice device;
    cli_transport transport;
} push_options;

typedef struct push_run {
    const cli_context *cli;
    const push_options *options;
    const weft_device *device;
    const weft_transport *transport;
    weft_trainer *trainer;
    weft_net *net;
    char **addresses; /* into text */
    uint32_t count;
    char *text;
    uint64_t sent_bytes, total_bytes;
} push_run;

/* ---- Addresses ---- */

/* Cuts the list at its commas. */
static cli_exit split_addresses(push_run *run)
{
    const char *list = run->options->addresses;
    uint32_t commas = 0;
    char *next;

    for (const char *c = list; *c != '\0'; c++) {
        commas += *c == ',' ? 1 : 0;
    }
    if (commas >= WEFT_WORKERS_MAX) {
        return cli_usage(run->cli, "option --to: at most %u addresses", WEFT_WORKERS_MAX);
    }
    run->text = strdup(list);
    run->addresses = calloc(commas + 1, sizeof *run->addresses);
    if (run->text == NULL || run->addresses == NULL) {
        return cli_fail(run->cli, NULL, WEFT_E_OUT_OF_MEMORY, NULL);
    }
    next = run->text;
    while (next != NULL) {
        char *address = strsep(&next, ",");
        for (uint32_t i = 0; i < run->count; i++) {
            if (strcmp(address, run->addresses[i]) == 0) {
                return cli_usage(run->cli, "option --to: %s stands there twice", address);
            }
        }
        run->addresses[run->count++] = address;
    }
    return CLI_OK;
}

static cli_exit connect_all(push_run *run)
{
    for (uint32_t i = 0; i < run->count; i++) {
        weft_status status = weft_net_connect(run->net, run->trainer, run->addresses[i]);
        if (status != WEFT_OK) {
            weft_detail detail = {.status = status};
            weft_detail_set(&detail, status, "%s", weft_net_text(run->net));
            return cli_fail(run->cli, run->addresses[i], status, &detail);
        }
    }
    return CLI_OK;
}

/* ---- Progress ---- */

static void on_trace(void *context, const weft_trace *record)
{
    push_run *run = context;

    if (record->kind == WEFT_TRACE_SENT && run->transport != NULL &&
        record->message == WEFT_MESSAGE_PAYLOAD) {
        cli_progress_stage(run->cli, "broadcasting");
    } else if (record->kind == WEFT_TRACE_SENT && record->length != 0) {
        run->sent_bytes += record->length;
        cli_progress_bar(run->cli, "sending", run->sent_bytes, run->total_bytes);
    }
}

/* ---- The table of workers ---- */

/* The worker did not take part: the outcome that its FAILED tells is that of an older session. */
static bool is_refusal(weft_status status)
{
    static const weft_status REFUSALS[] = {WEFT_E_BASE_MISMATCH, WEFT_E_STALE_EPOCH,
                                           WEFT_E_BUSY,          WEFT_E_TORN,
                                           WEFT_E_LOST,          WEFT_E_TRANSPORT};

    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        if (status == REFUSALS[i]) {
            return true;
        }
    }
    return false;
}

/* How the session ended on a worker, as far as it said. */
static const char *outcome_of(const weft_trainer_worker_info *worker, uint64_t epoch)
{
    if (worker->last_epoch != epoch || epoch == 0) {
        return worker->open ? "none" : "lost";
    }
    return is_refusal(worker->status) ? "refused" : weft_outcome_name(worker->last_outcome);
}

static void put_worker_json(const weft_trainer_worker_info *worker, uint64_t epoch)
{
    cli_json_begin("worker");
    cli_json_text("name", worker->name);
    cli_json_bool("connected", worker->open);
    cli_json_text("condition", weft_condition_name(worker->condition));
    cli_json_number("version", worker->version);
    cli_json_digest("digest", worker->digest);
    cli_json_text("outcome", outcome_of(worker, epoch));
    if (worker->status == WEFT_OK) {
        printf(",\"error\":null");
    } else {
        printf(",\"error\":{\"code\":%d", (int)worker->status);
        cli_json_text("name", weft_status_name(worker->status));
        cli_json_text("group", weft_status_group(worker->status));
        cli_json_text("text", weft_status_text(worker->status));
        cli_json_text("mend", weft_status_mend(worker->status));
        cli_json_text("detail", worker->text);
        putchar('}');
    }
    cli_json_end();
}

static void put_worker(const weft_trainer_worker_info *worker, uint64_t epoch, size_t width)
{
    cli_text_pad(stdout, worker->name[0] == '\0' ? "?" : worker->name, width);
    printf("  %7" PRIu64 "  0x%016" PRIx64 "  %-9s  %s", worker->version, worker->digest,
           weft_condition_name(worker->condition), outcome_of(worker, epoch));
    if (worker->status != WEFT_OK) {
        printf(": %s", cli_status_name(worker->status));
    }
    putchar('\n');
}

static void put_workers(const push_run *run, uint64_t epoch)
{
    size_t width = WORKER_WIDTH_MIN;
    weft_trainer_worker_info worker;

    for (uint32_t i = 0; weft_trainer_worker(run->trainer, i, &worker) == WEFT_OK; i++) {
        size_t columns = cli_text_width(worker.name);
        width = columns > width ? columns : width;
    }
    if (!run->cli->json) {
        cli_text_pad(stdout, "worker", width);
        puts("  version  digest              condition  outcome");
    }
    for (uint32_t i = 0; weft_trainer_worker(run->trainer, i, &worker) == WEFT_OK; i++) {
        if (run->cli->json) {
            put_worker_json(&worker, epoch);
        } else {
            put_worker(&worker, epoch, width);
        }
    }
}

/* What to do about a worker that keeps the others from going on. */
static void advise(const weft_trainer_worker_info *worker, const weft_push *push,
                   const weft_trainer_info *info)
{
    if (worker->status != WEFT_E_BASE_MISMATCH && worker->condition == WEFT_INTACT) {
        return;
    }
    (void)fputs("  worker ", stderr);
    cli_text_put(stderr, worker->name);
    if (worker->condition != WEFT_INTACT) {
        (void)fprintf(stderr, " is %s: %s\n", weft_condition_name(worker->condition),
                      worker->condition == WEFT_TORN ? "send it a baseline (--baseline)"
                                                     : "restart it from a model file");
    } else if (worker->digest == push->digest && worker->version == push->version) {
        (void)fputs(" holds the new version already: leave it out of --to\n", stderr);
    } else if (worker->digest == info->base_digest) {
        (void)fprintf(stderr,
                      " holds the base as version %" PRIu64 ": use --base-version %" PRIu64 "\n",
                      worker->version, worker->version);
    } else {
        (void)fprintf(stderr,
                      " holds version %" PRIu64 " with digest 0x%016" PRIx64
                      ", the base is version %" PRIu64 " with 0x%016" PRIx64
                      ": use that version as --base, or send it a baseline (--baseline)\n",
                      worker->version, worker->digest, info->base_version, info->base_digest);
    }
}

static void advise_all(const push_run *run, const weft_push *push)
{
    weft_trainer_worker_info worker;
    weft_trainer_info info;

    weft_trainer_get_info(run->trainer, &info);
    for (uint32_t i = 0; weft_trainer_worker(run->trainer, i, &worker) == WEFT_OK; i++) {
        advise(&worker, push, &info);
    }
}

/* ---- The session ---- */

static void put_push(const cli_context *cli, const weft_push *push)
{
    char texts[4][CLI_NUMBER_TEXT_MAX];

    if (cli->json) {
        cli_json_begin("push");
        cli_json_text("outcome", weft_outcome_name(push->outcome));
        cli_json_number("epoch", push->epoch);
        cli_json_number("version", push->version);
        cli_json_digest("digest", push->digest);
        cli_json_number("elements", push->elements);
        cli_json_number("changed", push->changed);
        cli_json_number("payload_bytes", push->payload_bytes);
        cli_json_number("document_bytes", push->document_bytes);
        cli_json_number("updates", push->updates);
        cli_json_number("workers", push->workers);
        cli_json_number("committed", push->committed);
        cli_json_number("diff_ns", push->diff_ns);
        cli_json_number("session_ns", push->session_ns);
        cli_json_status(push->status);
        cli_json_end();
        return;
    }
    printf("\n%s: version %" PRIu64 ", digest 0x%016" PRIx64 ", on %u of %u workers\n",
           weft_outcome_name(push->outcome), push->version, push->digest, push->committed,
           push->workers);
    printf("%s of %s elements (%s), payload of %s bytes for each worker, session %.1f ms\n",
           cli_grouped(texts[0], push->changed), cli_grouped(texts[1], push->elements),
           cli_percent(texts[2], push->changed, push->elements),
           cli_grouped(texts[3], push->payload_bytes), (double)push->session_ns / 1e6);
}

static cli_exit fail_with_net_text(const push_run *run, weft_status status)
{
    weft_detail detail = {.status = status};

    weft_detail_set(&detail, status, "%s", weft_net_text(run->net));
    return cli_fail(run->cli, NULL, status, &detail);
}

/* Did a worker say HELLO with another model? Then waiting longer is of no use. */
static bool is_refused(const push_run *run)
{
    weft_trainer_worker_info worker;

    for (uint32_t i = 0; weft_trainer_worker(run->trainer, i, &worker) == WEFT_OK; i++) {
        if (worker.open && !worker.known && worker.name[0] != '\0') {
            return true;
        }
    }
    return false;
}

static cli_exit wait_for_workers(const push_run *run)
{
    uint64_t end_ns = weft_net_now_ns() + (uint64_t)run->options->timeout_ms * NS_PER_MS;
    uint64_t now_ns = weft_net_now_ns();
    weft_status status = WEFT_E_CONNECT;

    cli_progress_stage(run->cli, "connecting");
    while (status == WEFT_E_CONNECT && now_ns < end_ns && !cli_interrupted() && !is_refused(run)) {
        uint64_t left_ms = (end_ns - now_ns) / NS_PER_MS + 1;
        status = weft_net_workers_wait(run->net, run->trainer, run->count,
                                       left_ms < WAIT_MS ? (int)left_ms : WAIT_MS);
        now_ns = weft_net_now_ns();
    }
    if (status == WEFT_OK || is_refused(run)) {
        return CLI_OK; /* weft_trainer_push names the worker that holds another model */
    }
    cli_progress_end();
    put_workers(run, 0);
    return cli_interrupted() ? cli_fail(run->cli, NULL, WEFT_E_ABORTED, NULL)
                             : fail_with_net_text(run, status);
}

/* Polls until the session is over; a signal aborts it as long as that is possible. */
static weft_status finish(push_run *run, weft_push *push)
{
    bool is_aborted = false;
    weft_status status;

    while ((status = weft_trainer_result(run->trainer, push)) == WEFT_AGAIN) {
        if (cli_interrupted() && !is_aborted) {
            is_aborted = true;
            (void)weft_trainer_abort(run->trainer); /* or it is decided already */
        }
        status = weft_net_poll_wait(run->net, WAIT_MS);
        if (status != WEFT_OK) {
            return status;
        }
    }
    return status;
}

/* The links were lost after the decision. Workers that come back tell how it ended; when all are
 * back and none knows of a commit, nobody will. */
static weft_status resolve(push_run *run, weft_push *push)
{
    uint64_t end_ns = weft_net_now_ns() + (uint64_t)run->options->timeout_ms * NS_PER_MS;
    weft_trainer_info info;
    weft_status status = WEFT_OK;

    cli_progress_stage(run->cli, "in doubt, waiting for workers to come back");
    weft_trainer_get_info(run->trainer, &info);
    while (status == WEFT_OK && weft_net_now_ns() < end_ns && !cli_interrupted() &&
           info.workers < run->count &&
           weft_trainer_result(run->trainer, push) == WEFT_E_IN_DOUBT) {
        status = weft_net_poll_wait(run->net, WAIT_MS);
        weft_trainer_get_info(run->trainer, &info);
    }
    return status == WEFT_OK ? weft_trainer_result(run->trainer, push) : status;
}

static cli_exit run_session(push_run *run)
{
    const push_options *options = run->options;
    weft_push push = {.status = WEFT_OK};
    weft_status status;
    cli_exit result;

    cli_progress_stage(run->cli, "comparing");
    status = weft_trainer_push(run->trainer, options->is_baseline ? WEFT_BASELINE : WEFT_SPARSE,
                               options->version);
    if (status != WEFT_OK) {
        result = cli_fail(run->cli, NULL, status, weft_trainer_detail(run->trainer));
        return status == WEFT_E_MODEL_MISMATCH || status == WEFT_E_NO_WORKERS ? CLI_PEER : result;
    }
    (void)weft_trainer_result(run->trainer, &push);
    run->total_bytes = push.document_bytes * push.workers;
    if (run->transport == NULL) { /* otherwise no payload goes over the connections */
        run->total_bytes += push.payload_bytes * push.workers;
    }
    status = finish(run, &push);
    if (status == WEFT_E_IN_DOUBT) {
        status = resolve(run, &push);
    }
    cli_progress_end();
    put_workers(run, push.epoch);
    put_push(run->cli, &push);
    if (status == WEFT_OK) {
        return CLI_OK;
    }
    result = cli_fail(run->cli, NULL, status, weft_trainer_detail(run->trainer));
    if (!run->cli->json) {
        advise_all(run, &push);
    }
    return result == CLI_UNCONFIRMED ? result : CLI_PEER;
}

/* ---- The command ---- */

static cli_exit create_trainer(push_run *run, const cli_model *base, const cli_model *after)
{
    const push_options *options = run->options;
    weft_trainer_config config = WEFT_TRAINER_CONFIG_INIT;
    weft_detail detail = {.status = WEFT_OK};
    weft_status status;

    config.name = options->name;
    config.model = after->model;
    config.device = run->device;
    config.transport = run->transport;
    config.base = base->model;
    config.base_version = options->base_version;
    config.budget_bytes = options->budget_bytes;
    config.update_bytes = options->update_bytes;
    config.timeout_ms = options->timeout_ms;
    config.keepalive_ms = options->keepalive_ms;
    config.hooks = (weft_hooks){.context = run, .trace = on_trace};
    cli_progress_stage(run->cli, "reading");
    status = weft_trainer_create(&run->trainer, &config);
    if (status == WEFT_E_MODEL_MISMATCH) {
        weft_detail_set(&detail, status, "%s and %s have different tensors", base->path,
                        after->path);
        return cli_fail(run->cli, NULL, status, &detail);
    }
    return status == WEFT_OK ? CLI_OK : cli_device_fail(run->cli, NULL, status, run->device);
}

static cli_exit push(const cli_context *cli, const push_options *options, const weft_device *device,
                     const weft_transport *transport, const cli_model *base, const cli_model *after)
{
    push_run run = {.cli = cli, .options = options, .device = device, .transport = transport};
    weft_status status;
    cli_exit result = split_addresses(&run);

    result = result != CLI_OK ? result : create_trainer(&run, base, after);
    if (result == CLI_OK) {
        status = weft_net_create(&run.net);
        result = status == WEFT_OK ? CLI_OK : cli_fail(cli, NULL, status, NULL);
    }
    cli_signals_catch();
    result = result != CLI_OK ? result : connect_all(&run);
    result = result != CLI_OK ? result : wait_for_workers(&run);
    result = result != CLI_OK ? result : run_session(&run);
    cli_progress_end();
    weft_net_destroy(run.net);
    weft_trainer_destroy(run.trainer);
    free(run.addresses);
    free(run.text);
    return result;
}

/* What no single option can tell. */
static bool is_complete(const cli_context *cli, push_options *values, cli_exit *result)
{
    if (values->after == NULL || values->addresses == NULL) {
        *result = cli_usage(cli, "options --new and --to are required");
        return false;
    }
    if (values->base == NULL && !values->is_baseline) {
        *result = cli_usage(cli, "one of --base and --baseline is required");
        return false;
    }
    if (!values->has_version) {
        values->version = values->base_version + 1;
    }
    return cli_transport_fits(cli, values->transport, &values->device, result);
}

cli_exit cli_push(cli_context *cli, int argc, char **argv)
{
    weft_trainer_config defaults = WEFT_TRAINER_CONFIG_INIT;
    push_options values = {.name = defaults.name,
                           .budget_bytes = defaults.budget_bytes,
                           .timeout_ms = defaults.timeout_ms,
                           .keepalive_ms = defaults.keepalive_ms};
    const cli_option options[] = {
        {"base", 'a', CLI_TEXT, "A", &values.base, NULL,
         "model file that the workers hold; required without --baseline"},
        {"new", 'b', CLI_TEXT, "B", &values.after, NULL,
         "model file that they shall hold; required"},
        {"to", 't', CLI_TEXT, "ADDRESSES", &values.addresses, NULL,
         "host:port or [ipv6]:port of every worker, with commas; required"},
        {"baseline", 0, CLI_FLAG, NULL, &values.is_baseline, NULL, "send all of B"},
        {"base-version", 0, CLI_NUMBER, "N", &values.base_version, NULL,
         "version that A is; default 0"},
        {"version", 0, CLI_NUMBER, "N", &values.version, &values.has_version,
         "version that B is; default: base version + 1"},
        {"update-bytes", 'u', CLI_SIZE, "BYTES", &values.update_bytes, NULL,
         "cut the session into updates of about so many payload bytes; default:\n"
         "one update; K, M, G may follow"},
        {"budget", 0, CLI_SIZE, "BYTES", &values.budget_bytes, NULL,
         "most memory for the differences; K, M, G may follow; default 4G"},
        {"timeout", 0, CLI_MILLISECONDS, "MS", &values.timeout_ms, NULL,
         "longest wait for the workers to answer, and longest time in any state\n"
         "of the session; default 60000"},
        {"keepalive", 0, CLI_MILLISECONDS, "MS", &values.keepalive_ms, NULL,
         "a link is lost after three times so much silence; default 5000"},
        {"device", 0, CLI_DEVICE, "DEVICE", &values.device, NULL, CLI_DEVICE_TEXT},
        {"transport", 0, CLI_TRANSPORT, "NAME", &values.transport, NULL, CLI_TRANSPORT_TEXT},
        {"name", 'n', CLI_TEXT, "NAME", &values.name, NULL,
         "what this trainer is called; default trainer"},
    };
    const weft_device *device = NULL;
    const weft_transport *transport = NULL;
    cli_model base = {.path = NULL};
    cli_model after = {.path = NULL};
    cli_exit result = CLI_OK;

    if (!cli_parse(cli, &PAGE, options, sizeof options / sizeof options[0], 0, argc, argv,
                   &result) ||
        !is_complete(cli, &values, &result)) {
        return result;
    }
    result = cli_device_open(cli, &values.device, &device);
    result =
        result != CLI_OK ? result : cli_transport_open(cli, values.transport, device, &transport);
    result =
        result != CLI_OK || values.base == NULL ? result : cli_model_open(cli, values.base, &base);
    result = result != CLI_OK ? result : cli_model_open(cli, values.after, &after);
    result = result != CLI_OK ? result : cli_model_move(cli, device, &base);
    result = result != CLI_OK ? result : cli_model_move(cli, device, &after);
    result = result != CLI_OK ? result : push(cli, &values, device, transport, &base, &after);
    weft_transport_destroy(transport);
    cli_model_close(&after);
    cli_model_close(&base);
    weft_device_destroy(device);
    return result;
}
