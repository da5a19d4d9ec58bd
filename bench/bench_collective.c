/* Whole sessions between GPUs: a trainer on the first and a worker on each of the others, one
 * process each, from push to the last COMMITTED.
 *
 *   bench_collective [--json] [--sessions N] [--model NAME] [--timeline] [--keep BYTES]
 *
 * Each session's result is compared by the digest of the whole content, which the worker computes
 * anew at the end. The mixture of experts does not fit twice into the trainer's memory, so there
 * the trainer's layers are one and the same memory, which changes nothing of what is sent. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cuda_runtime_api.h>

#include "flip.h"
#include "timing.h"
#include "weft.h"

#define TENSORS_MAX 20000u
#define SESSIONS    20u
#define WORKERS_MAX 7

typedef struct shape {
    const char *name;
    uint32_t layers, per_layer;
    uint64_t layer[12]; /* elements of the tensors of a layer; 0: the expert block of the mixture */
    uint64_t outside[3]; /* of those that are in none */
} shape;

static const shape SHAPES[] = {
    {"qwen0.5b",
     24,
     12,
     {896 * 896, 896, 128 * 896, 128, 128 * 896, 128, 896 * 896, 4864 * 896, 4864 * 896, 4864 * 896,
      896, 896},
     {151936 * 896, 896}},
    {"dense8b",
     36,
     11,
     {4096 * 4096, 1024 * 4096, 1024 * 4096, 4096 * 4096, 128, 128, 12288 * 4096, 12288 * 4096,
      12288 * 4096, 4096, 4096},
     {UINT64_C(151936) * 4096, UINT64_C(151936) * 4096, 4096}},
    {"moe30b", 48, 388, {0}, {0}},
};

static const struct {
    unsigned shape;
    uint64_t one_in;
    double target_ms;
} RUNS[] = {{0, 10000, 1}, {0, 1000, 0}, {0, 100, 0}, {1, 1000, 3}, {1, 100, 12}, {2, 1000, 8}};

typedef struct answer { /* of a worker */
    uint16_t port;
    weft_worker_info info;
    uint64_t audit; /* digest, computed anew */
} answer;

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "bench_collective: %s: %s\n", what, why);
    exit(1);
}

static void must(weft_status status, const char *what)
{
    if (status != WEFT_OK) {
        die(what, weft_status_name(status));
    }
}

static void must_cuda(int error, const char *what)
{
    if (error != 0) {
        die(what, cudaGetErrorString((cudaError_t)error));
    }
}

/* ---- the timeline of the last session: what both ends did when ---- */

#define RECORDS 64u

static bool timeline;
static uint64_t keep_bytes; /* weft_cuda_config; 0: as it is */
static struct {
    uint64_t at_ns;
    weft_trace trace;
} records[RECORDS];
static unsigned record_count;

static void on_trace(void *context, const weft_trace *trace)
{
    (void)context;
    if (trace->kind == WEFT_TRACE_TRANSITION && trace->event == WEFT_EVENT_START) {
        record_count = 0;
    }
    if (record_count < RECORDS) {
        records[record_count].at_ns = weft_net_now_ns();
        records[record_count++].trace = *trace;
    }
}

/* Times are those of one clock: sort the lines of both processes. */
static void print_timeline(const char *who)
{
    static const char *const kinds[] = {"?", "enters", "sends", "receives", "drops"};
    for (unsigned i = 0; timeline && i < record_count; i++) {
        const weft_trace *t = &records[i].trace;
        if (t->kind == WEFT_TRACE_TRANSITION) {
            (void)fprintf(stderr, "%.3f us %s enters %s\n", (double)records[i].at_ns / 1e3, who,
                          weft_state_name(t->to));
        } else {
            (void)fprintf(stderr, "%.3f us %s %s message %u\n", (double)records[i].at_ns / 1e3, who,
                          kinds[t->kind], t->message);
        }
    }
}

/* ---- weights ---- */

static uint64_t expert_elements(uint32_t in_layer)
{
    static const uint64_t attention[] = {4096 * 2048, 512 * 2048, 512 * 2048, 2048 * 4096};
    return in_layer < 384 ? 768 * 2048 : attention[in_layer - 384];
}

static uint64_t elements_of(const shape *s, uint32_t in_layer)
{
    return s->layer[0] == 0 ? expert_elements(in_layer) : s->layer[in_layer];
}

static void *allocate(uint64_t elements)
{
    void *memory = NULL;
    must_cuda(cudaMalloc(&memory, elements * 2), "cudaMalloc");
    must_cuda(cudaMemset(memory, 0x35, elements * 2), "cudaMemset");
    return memory;
}

static void add(weft_model *model, const char *name, uint64_t elements, void *data)
{
    must(weft_model_add(
             model,
             &(weft_tensor){
                 .name = name, .dtype = WEFT_BF16, .rank = 1, .shape = {elements}, .data = data}),
         name);
}

/* aliased: all layers are the first one's memory. */
static weft_model *make_model(const shape *s, bool aliased)
{
    weft_model *model;
    uint64_t per_layer = 0;
    uint8_t *at = NULL;
    char name[80];
    must(weft_model_create(&model, NULL), "weft_model_create");
    for (uint32_t i = 0; i < s->per_layer; i++) {
        per_layer += elements_of(s, i);
    }
    for (uint32_t layer = 0; layer < s->layers; layer++) {
        at = aliased && layer > 0 ? at - per_layer * 2 : allocate(per_layer);
        for (uint32_t i = 0; i < s->per_layer; i++) {
            (void)snprintf(name, sizeof name, "model.layers.%u.mlp.experts.%u.weight", layer, i);
            add(model, name, elements_of(s, i), at);
            at += elements_of(s, i) * 2;
        }
    }
    for (unsigned i = 0; i < 3 && s->outside[i] > 0; i++) {
        (void)snprintf(name, sizeof name, "model.outside.%u.weight", i);
        add(model, name, s->outside[i], allocate(s->outside[i]));
    }
    return model;
}

static void step(const weft_model *model, const shape *s, bool aliased, uint64_t one_in,
                 uint64_t number)
{
    size_t count = weft_model_count(model);
    for (size_t i = 0; i < count; i++) {
        if (!aliased || i < s->per_layer) {
            const weft_tensor *tensor = weft_model_tensor(model, i);
            must_cuda(flip(tensor->data, tensor->shape[0], one_in, number * TENSORS_MAX + i),
                      "flip");
        }
    }
    must_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

/* ---- processes ---- */

static const weft_device *open_device(int number, const weft_transport **transport)
{
    weft_cuda_config cuda = WEFT_CUDA_CONFIG_INIT;
    weft_nccl_config nccl = WEFT_NCCL_CONFIG_INIT;
    const weft_device *device;
    cuda.number = number;
    cuda.keep_bytes = keep_bytes != 0 ? keep_bytes : cuda.keep_bytes;
    must_cuda(cudaSetDevice(number), "cudaSetDevice");
    must(weft_device_cuda_create(&device, &cuda), "weft_device_cuda_create");
    nccl.device = device;
    must(weft_transport_nccl_create(transport, &nccl), "weft_transport_nccl_create");
    return device;
}

static void serve(const shape *s, int number, int socket)
{
    const weft_transport *transport;
    const weft_device *device = open_device(number, &transport);
    weft_model *model = make_model(s, false);
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    weft_worker *worker;
    weft_net *net;
    answer reply = {0};
    config.model = model;
    config.device = device;
    config.transport = transport;
    config.version = 1;
    config.hooks.trace = on_trace;
    must(weft_worker_create(&worker, &config), "weft_worker_create");
    must(weft_net_create(&net), "weft_net_create");
    must(weft_net_listen(net, worker, "127.0.0.1:0", &reply.port), "weft_net_listen");
    for (;;) {
        struct pollfd waits = {.fd = socket, .events = POLLIN};
        char byte;
        if (send(socket, &reply, sizeof reply, MSG_NOSIGNAL) != (ssize_t)sizeof reply) {
            _exit(0);
        }
        while (poll(&waits, 1, 0) == 0) {
            (void)weft_net_poll_wait(net, 1);
        }
        if (recv(socket, &byte, 1, 0) != 1) {
            _exit(0);
        }
        weft_worker_get_info(worker, &reply.info);
        if (byte == '!') {
            print_timeline("worker");
        }
        must(weft_model_digest(model, device, &reply.audit), "weft_model_digest");
    }
}

static answer ask(int socket, bool last)
{
    answer reply;
    if (send(socket, last ? "!" : "?", 1, MSG_NOSIGNAL) != 1 ||
        recv(socket, &reply, sizeof reply, MSG_WAITALL) != (ssize_t)sizeof reply) {
        die("a worker", "gone");
    }
    return reply;
}

typedef struct times {
    double diff[SESSIONS], session[SESSIONS], whole[SESSIONS], pause[SESSIONS];
    uint64_t changed;
    double bytes_an_element;
} times;

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

static void push(weft_net *net, weft_trainer *trainer, uint64_t version, double *diff,
                 double *session, double *whole, uint64_t *changed)
{
    weft_push result;
    uint64_t begin = weft_net_now_ns();
    must(weft_trainer_push(trainer, WEFT_SPARSE, version), "weft_trainer_push");
    uint64_t planned = weft_net_now_ns();
    weft_status status;
    while ((status = weft_trainer_result(trainer, &result)) == WEFT_AGAIN) {
        (void)weft_net_poll_wait(net, -1);
    }
    if (status != WEFT_OK) {
        die(weft_status_name(status), weft_trainer_detail(trainer)->text);
    }
    *whole = (double)(weft_net_now_ns() - begin) / 1e6;
    *diff = (double)(planned - begin) / 1e6;
    *session = (double)result.session_ns / 1e6;
    *changed = result.changed;
}

static void print(bool json, const shape *s, uint64_t one_in, double target, size_t tensors,
                  times *t, unsigned sessions)
{
    double session = median(t->session, sessions), diff = median(t->diff, sessions);
    double whole = median(t->whole, sessions), pause = median(t->pause, sessions);
    const char *met = target == 0 ? "" : session <= target ? "yes" : "no";
    if (json) {
        (void)printf(
            "{\"what\": \"session\", \"model\": \"%s\", \"tensors\": %zu, \"density\": %g, "
            "\"changed\": %llu, \"session_ms\": %.3f, \"diff_ms\": %.3f, \"whole_ms\": "
            "%.3f, \"pause_ms\": %.3f, \"worker_bytes_an_element\": %.2f, \"target_ms\": "
            "%g, \"met\": \"%s\"}\n",
            s->name, tensors, 1.0 / (double)one_in, (unsigned long long)t->changed, session, diff,
            whole, pause, t->bytes_an_element, target, met);
    } else {
        (void)printf("| %s, %zu tensors, %g %% | %.1f M | %.2f | %g | %s | %.2f | %.2f | %.2f | "
                     "%.1f |\n",
                     s->name, tensors, 100.0 / (double)one_in, (double)t->changed / 1e6, session,
                     target, met, pause, diff, whole, t->bytes_an_element);
    }
    (void)fflush(stdout);
}

static void run(const shape *s, int sockets[], int workers, uint64_t one_in, double target,
                unsigned sessions, bool json, weft_net *net, weft_trainer *trainer,
                weft_model *model, uint64_t *version)
{
    static times t;
    bool aliased = s->layer[0] == 0;
    for (unsigned i = 0; i < sessions + 2; i++) { /* two that do not count */
        unsigned at = i < 2 ? 0 : i - 2;
        step(model, s, aliased, one_in, ++*version);
        push(net, trainer, *version, &t.diff[at], &t.session[at], &t.whole[at], &t.changed);
        answer a = ask(sockets[0], false);
        t.pause[at] = (double)a.info.pause_ns / 1e6;
        t.bytes_an_element = (double)a.info.session_bytes_peak / (double)t.changed;
    }
    weft_trainer_info info;
    weft_trainer_get_info(trainer, &info);
    for (int i = 0; i < workers; i++) {
        answer a = ask(sockets[i], true);
        if (a.audit != info.base_digest || a.info.version != *version) {
            die("a worker", "holds something else");
        }
    }
    print_timeline("trainer");
    print(json, s, one_in, target, weft_model_count(model), &t, sessions);
}

static void run_shape(unsigned number, int workers, unsigned sessions, bool json)
{
    const shape *s = &SHAPES[number];
    int sockets[WORKERS_MAX];
    answer hello[WORKERS_MAX];
    pid_t pids[WORKERS_MAX];
    uint64_t version = 1;
    for (int i = 0; i < workers; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
            die("socketpair", "failed");
        }
        pids[i] = fork();
        if (pids[i] == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            (void)close(pair[0]);
            serve(s, 1 + i, pair[1]);
        }
        (void)close(pair[1]);
        sockets[i] = pair[0];
    }
    const weft_transport *transport;
    const weft_device *device = open_device(0, &transport);
    bool aliased = s->layer[0] == 0;
    weft_model *model = make_model(s, aliased), *base = make_model(s, aliased);
    weft_trainer_config config = WEFT_TRAINER_CONFIG_INIT;
    weft_trainer *trainer;
    weft_net *net;
    config.model = model;
    config.base = base;
    config.base_version = 1;
    config.device = device;
    config.transport = transport;
    config.hooks.trace = on_trace;
    must(weft_trainer_create(&trainer, &config), "weft_trainer_create");
    must(weft_net_create(&net), "weft_net_create");
    for (int i = 0; i < workers; i++) {
        char address[32];
        if (recv(sockets[i], &hello[i], sizeof *hello, MSG_WAITALL) != (ssize_t)sizeof *hello) {
            die("a worker", "did not start");
        }
        (void)snprintf(address, sizeof address, "127.0.0.1:%u", hello[i].port);
        must(weft_net_connect(net, trainer, address), "weft_net_connect");
    }
    must(weft_net_workers_wait(net, trainer, (uint32_t)workers, 60000), "weft_net_workers_wait");
    for (size_t i = 0; i < sizeof RUNS / sizeof *RUNS; i++) {
        if (RUNS[i].shape == number) {
            run(s, sockets, workers, RUNS[i].one_in, RUNS[i].target_ms, sessions, json, net,
                trainer, model, &version);
        }
    }
    for (int i = 0; i < workers; i++) {
        (void)kill(pids[i], SIGKILL);
        (void)waitpid(pids[i], NULL, 0);
    }
    _exit(0); /* the device's memory goes with the process */
}

static int count_gpus(void)
{
    int count = 0;
    pid_t pid = fork(); /* CUDA does not survive a fork, so this process never touches it */
    if (pid == 0) {
        _exit(cudaGetDeviceCount(&count) == cudaSuccess ? count : 0);
    }
    (void)waitpid(pid, &count, 0);
    return WIFEXITED(count) ? WEXITSTATUS(count) : 0;
}

int main(int argc, char **argv)
{
    bool json = false;
    unsigned sessions = SESSIONS;
    const char *only = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--timeline") == 0) {
            timeline = true;
        } else if (strcmp(argv[i], "--keep") == 0 && i + 1 < argc) {
            keep_bytes = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--sessions") == 0 && i + 1 < argc) {
            sessions = (unsigned)strtoul(argv[++i], NULL, 10);
            sessions = sessions < 1 || sessions > SESSIONS ? SESSIONS : sessions;
        } else if (strcmp(argv[i], "--model") == 0 && i + 1 < argc) {
            only = argv[++i];
        }
    }
    int gpus = count_gpus();
    if (gpus < 2) {
        (void)printf("bench_collective needs two GPUs, and %d are here\n", gpus);
        return 0;
    }
    if (!json) {
        (void)printf(
            "| model, changed | elements | session ms | target | met | pause ms | diff ms | "
            "push ms | worker bytes an element |\n|---|---|---|---|---|---|---|---|---|\n");
        (void)fflush(stdout);
    }
    for (unsigned i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++) {
        if (only != NULL && strcmp(only, SHAPES[i].name) != 0) {
            continue;
        }
        int status = 0;
        pid_t pid = fork();
        if (pid == 0) {
            run_shape(i, gpus - 1 < WORKERS_MAX ? gpus - 1 : WORKERS_MAX, sessions, json);
        }
        (void)waitpid(pid, &status, 0);
        if (status != 0) {
            return 1;
        }
    }
    return 0;
}
