#include "demo_process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device_model.h"
#include "trace_log.h"

#define SILENCE_MS 15000 /* after which a process is taken for stuck */

enum { MESSAGE_PAYLOAD = 7, MESSAGE_COMMITTED = 12 }; /* spec/frames.yaml */

void demo_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "weft-demo: ");
    (void)vfprintf(stderr, format, arguments);
    (void)fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

static void must(weft_status status, const char *what)
{
    if (status != WEFT_OK) {
        demo_fail("%s: %s (%s)", what, weft_status_text(status), weft_status_name(status));
    }
}

/* ---- both ends of a socket pair ---- */

static bool receive(int socket, void *bytes, size_t length)
{
    ssize_t n = recv(socket, bytes, length, MSG_WAITALL);
    return n == (ssize_t)length;
}

static void transmit(int socket, const void *bytes, size_t length)
{
    if (send(socket, bytes, length, MSG_NOSIGNAL) != (ssize_t)length && errno != EPIPE) {
        demo_fail("cannot talk to a process: %s", strerror(errno));
    }
}

void demo_tell(const demo_process *process, const demo_command *command)
{
    transmit(process->socket, command, sizeof *command);
}

bool demo_hear(const demo_process *process, demo_reply *reply)
{
    struct pollfd waits = {.fd = process->socket, .events = POLLIN};
    if (poll(&waits, 1, SILENCE_MS) == 0) {
        demo_fail("process %d has said nothing for %d ms", (int)process->pid, SILENCE_MS);
    }
    if (!receive(process->socket, reply, sizeof *reply)) {
        return false;
    }
    if (reply->failed) {
        demo_fail("process %d: %s", (int)process->pid, reply->text);
    }
    return true;
}

/* Where the environment has WEFT_TRACE_DIR, all processes write their trace records into one log
 * there, the killed ones until they die. */
static void open_log(trace_log *log)
{
    char path[DEMO_PATH_BYTES];
    const char *folder = getenv("WEFT_TRACE_DIR");
    *log = (trace_log){0};
    if (folder == NULL) {
        return;
    }
    (void)snprintf(path, sizeof path, "%s/weft-demo.trace", folder);
    if (!trace_log_open(log, path)) {
        demo_fail("cannot write %s: %s", path, strerror(errno));
    }
}

/* Forks; returns the child's socket in the child, and -1 in the parent. */
static int start(demo_process *process)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        demo_fail("socketpair: %s", strerror(errno));
    }
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        demo_fail("fork: %s", strerror(errno));
    }
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(pair[0]);
        return pair[1];
    }
    (void)close(pair[1]);
    *process = (demo_process){.pid = pid, .socket = pair[0]};
    return -1;
}

bool demo_bury(demo_process *process)
{
    int status = 0;
    while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR) {
    }
    (void)close(process->socket);
    *process = (demo_process){0};
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

void demo_stop(demo_process *process)
{
    if (process->pid != 0) {
        (void)shutdown(process->socket, SHUT_WR); /* the end of its commands is its end */
        (void)demo_bury(process);
    }
}

static demo_place find_place(void)
{
    const weft_device *device = NULL;
    const weft_transport *transport = NULL;
    weft_cuda_config cuda = WEFT_CUDA_CONFIG_INIT;
    weft_nccl_config nccl = WEFT_NCCL_CONFIG_INIT;
    demo_place place = {.on_gpu = weft_device_cuda_create(&device, &cuda) == WEFT_OK};
    if (place.on_gpu) {
        nccl.device = device;
        place.over_nccl = weft_transport_nccl_create(&transport, &nccl) == WEFT_OK;
    }
    weft_transport_destroy(transport);
    weft_device_destroy(device);
    return place;
}

demo_place demo_find_place(void)
{
    demo_process probe;
    int socket = start(&probe);
    demo_place answer = {.on_gpu = false};
    if (socket >= 0) {
        answer = find_place();
        transmit(socket, &answer, sizeof answer);
        exit(0);
    }
    if (!receive(probe.socket, &answer, sizeof answer)) {
        answer = (demo_place){.on_gpu = false}; /* it died of the question */
    }
    (void)demo_bury(&probe);
    return answer;
}

/* ---- weights: a mapped file, and on a GPU a copy that is worked on ---- */

typedef struct weights {
    weft_file *file;
    weft_model *mapped, *model; /* model: the one that is worked on */
    const weft_device *device;
    weft_device_model on_gpu;        /* zeros: it is not */
    const weft_transport *transport; /* between the GPUs; NULL: tcp only */
} weights;

/* NCCL takes several ranks on one GPU when each says that it is on another host. It reads its
 * environment when it is loaded. */
static void open_nccl(weights *w)
{
    weft_nccl_config config = WEFT_NCCL_CONFIG_INIT;
    char host[32];
    (void)snprintf(host, sizeof host, "demo-%d", (int)getpid());
    (void)setenv("NCCL_HOSTID", host, 1);
    (void)setenv("NCCL_SOCKET_IFNAME", "lo", 1);
    config.device = w->device;
    must(weft_transport_nccl_create(&w->transport, &config), "NCCL");
}

static void open_weights(weights *w, const char *path, demo_place place)
{
    *w = (weights){.device = weft_device_host()};
    must(weft_file_open(&w->file, path, NULL, NULL), path);
    must(weft_model_create(&w->mapped, NULL), "model");
    must(weft_file_add_to_model(w->file, w->mapped), "model");
    w->model = w->mapped;
    if (place.on_gpu) {
        weft_cuda_config config = WEFT_CUDA_CONFIG_INIT;
        must(weft_device_cuda_create(&w->device, &config), "GPU");
        must(weft_device_model_create(&w->on_gpu, w->mapped, w->device, NULL, w->device->memory),
             weft_device_text(w->device));
        w->model = w->on_gpu.model;
    }
    if (place.over_nccl) {
        open_nccl(w);
    }
}

static void save_weights(const weights *w, const char *path)
{
    if (w->on_gpu.model != NULL) {
        must(weft_device_model_fetch(&w->on_gpu, w->mapped), weft_device_text(w->device));
    }
    must(weft_file_save(w->file, path, NULL), path);
}

static void close_weights(weights *w)
{
    weft_transport_destroy(w->transport);
    weft_device_model_destroy(&w->on_gpu);
    weft_device_destroy(w->device);
    weft_model_destroy(w->mapped);
    weft_file_close(w->file);
}

typedef struct serving {
    weights weights;
    weft_worker *worker;
    const char *saves;
    bool die, save;
    unsigned number;
    trace_log log;
} serving;

/* Waits until the net or the commander has something, and lets the net do it; saves what was
 * committed when the workers and the trainer have nothing more to say. False: no more commands. */
static bool wait_for_command(weft_net *net, int socket, demo_command *command, serving *s)
{
    for (;;) {
        struct pollfd waits[2] = {{.fd = weft_net_fd(net), .events = POLLIN},
                                  {.fd = socket, .events = POLLIN}};
        (void)poll(waits, 2, weft_net_next_ms(net));
        must(weft_net_poll(net), "net");
        if (s != NULL && s->save) {
            s->save = false;
            save_weights(&s->weights, s->saves);
        }
        if (waits[1].revents != 0) {
            return receive(socket, command, sizeof *command);
        }
    }
}

/* ---- worker ---- */

/* Not here: inference stands still. */
static void save_later(void *context, uint64_t version, uint64_t digest)
{
    (void)version;
    (void)digest;
    ((serving *)context)->save = true;
}

static void log_and_die_in_the_middle(void *context, const weft_trace *record)
{
    const serving *s = context;
    trace_log_record(&s->log, s->number - 1, TRACE_LOG_NOBODY, record);
    if (s->die && record->kind == WEFT_TRACE_RECEIVED && record->message == MESSAGE_PAYLOAD &&
        (record->offset > 0 || s->weights.transport != NULL)) { /* nccl: one frame begins it all */
        (void)raise(SIGKILL);
    }
}

static void serve(int socket, unsigned number, const char *path, uint64_t version,
                  const char *saves, demo_place place)
{
    serving s = {.saves = saves, .number = number};
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    weft_net *net;
    demo_reply reply = {0};
    demo_command command;
    char name[16];
    (void)snprintf(name, sizeof name, "worker %u", number);
    open_weights(&s.weights, path, place);
    config.model = s.weights.model;
    config.device = s.weights.device;
    config.transport = s.weights.transport;
    config.name = name;
    config.version = version;
    config.timeout_ms = DEMO_TIMEOUT_MS;
    config.hooks =
        (weft_hooks){.context = &s, .committed = save_later, .trace = log_and_die_in_the_middle};
    must(weft_worker_create(&s.worker, &config), "worker");
    must(weft_net_create(&net), "net");
    must(weft_net_listen(net, s.worker, "127.0.0.1:0", &reply.port), "listen");
    weft_worker_get_info(s.worker, &reply.worker);
    open_log(&s.log);
    trace_log_began(&s.log, number - 1, reply.worker.version, reply.worker.digest);
    transmit(socket, &reply, sizeof reply);
    while (wait_for_command(net, socket, &command, &s)) {
        s.die = command.die == DEMO_DIES_RECEIVING;
        if (command.path[0] != '\0') {
            save_weights(&s.weights, command.path);
        }
        weft_worker_get_info(s.worker, &reply.worker);
        transmit(socket, &reply, sizeof reply);
    }
    weft_net_destroy(net);
    weft_worker_destroy(s.worker);
    close_weights(&s.weights);
}

void demo_start_worker(demo_process *process, unsigned number, const char *model, uint64_t version,
                       const char *saves, demo_place place)
{
    int socket = start(process);
    if (socket >= 0) {
        serve(socket, number, model, version, saves, place);
        exit(0);
    }
}

/* ---- trainer ---- */

typedef struct training {
    weights weights;
    weft_trainer *trainer;
    weft_net *net;
    demo_death die;
    uint16_t ports[3];
    trace_log log;
} training;

/* The network fails between this process and all workers but the first. */
static void cut_all_but_the_first(const training *t)
{
    for (int file = 3; file < 256; file++) {
        struct sockaddr_in peer = {0};
        socklen_t length = sizeof peer;
        if (getpeername(file, (struct sockaddr *)&peer, &length) == 0 &&
            peer.sin_family == AF_INET &&
            (ntohs(peer.sin_port) == t->ports[1] || ntohs(peer.sin_port) == t->ports[2])) {
            (void)shutdown(file, SHUT_RDWR);
        }
    }
}

/* Whom the link leads to: its HELLO said "worker 3". */
static uint32_t peer_of(const training *t, uint32_t link)
{
    weft_trainer_worker_info info;
    unsigned number;
    bool known = weft_trainer_worker(t->trainer, link, &info) == WEFT_OK &&
                 sscanf(info.name, "worker %u", &number) == 1; /* NOLINT(cert-err34-c) : our own */
    return known ? number - 1 : TRACE_LOG_NOBODY;
}

static void log_and_die_when_it_hurts(void *context, const weft_trace *record)
{
    const training *t = context;
    bool decided = record->kind == WEFT_TRACE_TRANSITION && record->to == WEFT_FINISHED;
    bool heard = record->kind == WEFT_TRACE_RECEIVED && record->message == MESSAGE_COMMITTED;
    trace_log_record(&t->log, TRACE_LOG_TRAINER, peer_of(t, record->link), record);
    if (t->die == DEMO_DIES_HALFWAY && decided) {
        cut_all_but_the_first(t);
    }
    if ((t->die == DEMO_DIES_DECIDED && decided) || (t->die == DEMO_DIES_HALFWAY && heard)) {
        (void)raise(SIGKILL);
    }
}

/* What an optimizer does to the weights, read from a recorded step. */
static void step_to(const training *t, const char *path)
{
    weft_file *step;
    weft_model *model;
    must(weft_file_open(&step, path, NULL, NULL), path);
    must(weft_model_create(&model, NULL), "model");
    must(weft_file_add_to_model(step, model), "model");
    if (t->weights.on_gpu.model != NULL) {
        must(weft_device_model_fill(&t->weights.on_gpu, model),
             weft_device_text(t->weights.device));
    }
    for (size_t i = 0; t->weights.on_gpu.model == NULL && i < weft_model_count(model); i++) {
        const weft_tensor *from = weft_model_tensor(model, i);
        const weft_tensor *to = weft_model_tensor(t->weights.model, i);
        memcpy(to->data, from->data,
               (size_t)weft_model_elements(model, i) * weft_dtype_bytes(from->dtype));
    }
    weft_model_destroy(model);
    weft_file_close(step);
}

static void connect_to(training *t, const demo_command *command)
{
    char address[32];
    for (size_t i = 0; i < 3; i++) {
        if (t->ports[i] == command->ports[i]) {
            continue;
        }
        if (t->ports[i] != 0) {
            (void)snprintf(address, sizeof address, "127.0.0.1:%u", t->ports[i]);
            must(weft_net_disconnect(t->net, t->trainer, address), address);
        }
        t->ports[i] = command->ports[i];
        (void)snprintf(address, sizeof address, "127.0.0.1:%u", t->ports[i]);
        must(weft_net_connect(t->net, t->trainer, address), address);
    }
    must(weft_net_workers_wait(t->net, t->trainer, 3, (int)DEMO_TIMEOUT_MS), weft_net_text(t->net));
}

static void push(training *t, const demo_command *command, demo_reply *reply)
{
    t->die = command->die;
    step_to(t, command->path);
    weft_status status =
        weft_net_push_wait(t->net, t->trainer, WEFT_SPARSE, command->version, &reply->push);
    (void)snprintf(reply->text, sizeof reply->text, "%s",
                   status == WEFT_OK ? "" : weft_trainer_detail(t->trainer)->text);
    if (reply->push.workers == 0) { /* it did not even begin */
        reply->failed = true;
    }
}

static void train(int socket, const char *path, uint64_t version, demo_place place)
{
    training t = {0};
    weft_trainer_config config = WEFT_TRAINER_CONFIG_INIT;
    demo_command command;
    open_weights(&t.weights, path, place);
    config.model = t.weights.model;
    config.device = t.weights.device;
    config.transport = t.weights.transport;
    config.base_version = version;
    config.timeout_ms = DEMO_TIMEOUT_MS;
    config.hooks = (weft_hooks){.context = &t, .trace = log_and_die_when_it_hurts};
    must(weft_trainer_create(&t.trainer, &config), "trainer");
    weft_trainer_info info;
    weft_trainer_get_info(t.trainer, &info);
    open_log(&t.log);
    trace_log_say(&t.log, place.over_nccl ? "transport nccl" : "transport tcp");
    trace_log_say(&t.log, "sockets");
    trace_log_began(&t.log, TRACE_LOG_TRAINER, info.base_version, info.base_digest);
    must(weft_net_create(&t.net), "net");
    while (wait_for_command(t.net, socket, &command, NULL)) {
        demo_reply reply = {0};
        if (command.order == DEMO_CONNECT) {
            connect_to(&t, &command);
        } else {
            push(&t, &command, &reply);
        }
        transmit(socket, &reply, sizeof reply);
    }
    weft_net_destroy(t.net);
    weft_trainer_destroy(t.trainer);
    close_weights(&t.weights);
}

void demo_start_trainer(demo_process *process, const char *model, uint64_t version,
                        demo_place place)
{
    int socket = start(process);
    if (socket >= 0) {
        train(socket, model, version, place);
        exit(0);
    }
}
