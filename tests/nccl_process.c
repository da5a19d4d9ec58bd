#include "nccl_process.h"

#include <errno.h>
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

#include "clock.h"
#include "trainer_engine.h"
#include "worker_engine.h"

#define NS_PER_MS UINT64_C(1000000)

/* ---- content ---- */

static const uint64_t ELEMENTS[NCCL_TENSORS] = {16000000, 4, 8000000, 1, 4000003, 2000000,
                                                1000000,  7, 500001,  0, 333333,  65536};

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    return x * UINT64_C(0x94d049bb133111eb);
}

/* Of a tensor's elements in this step. */
static void fill(uint16_t *elements, size_t tensor, uint64_t step)
{
    for (uint64_t i = 0; i < ELEMENTS[tensor]; i++) {
        uint64_t old = mix(i + (tensor << 40)), new = mix(old + step);
        elements[i] = (uint16_t)(old >> 16);
        if (new % 100 == 0) {
            elements[i] = (uint16_t)(elements[i] ^ (new >> 32 | 1));
        }
    }
}

static uint64_t hash(const uint16_t *elements, size_t tensor, uint64_t sum)
{
    for (uint64_t i = 0; i < ELEMENTS[tensor]; i++) {
        sum = (sum ^ elements[i]) * UINT64_C(0x100000001b3);
    }
    return sum;
}

static uint16_t *room(void)
{
    uint16_t *elements = malloc(ELEMENTS[0] * sizeof *elements);
    if (elements == NULL) {
        abort();
    }
    return elements;
}

uint64_t nccl_content(uint64_t step)
{
    uint16_t *elements = room();
    uint64_t sum = 0;
    for (size_t i = 0; i < NCCL_TENSORS; i++) {
        fill(elements, i, step);
        sum = hash(elements, i, sum);
    }
    free(elements);
    return sum;
}

/* ---- the process's own view ---- */

typedef struct self {
    int socket;
    unsigned rank;
    weft_net *net;
    weft_model *model;
    const weft_device *device;
    const weft_transport *transport;
    weft_transport doctored; /* the same, with a fault */
    weft_device biased;      /* the device, with a fault */
    weft_worker *worker;
    weft_trainer *trainer;
    nccl_command armed;
    bool paused;
    uint64_t moving_since_ns;
} self;

static self me; /* hooks of a device have no context of their own */

static void die(const char *what, const char *text)
{
    nccl_reply reply = {.status = WEFT_E_ABORTED};
    (void)snprintf(reply.error, sizeof reply.error, "%s: %s", what, text);
    (void)send(me.socket, &reply, sizeof reply, MSG_NOSIGNAL);
    (void)fprintf(stderr, "process %d of rank %u: %s\n", (int)getpid(), me.rank, reply.error);
    _exit(1);
}

static void must(weft_status status, const char *what)
{
    if (status != WEFT_OK) {
        die(what, weft_status_name(status));
    }
}

static void must_cuda(cudaError_t error, const char *what)
{
    if (error != cudaSuccess) {
        die(what, cudaGetErrorString(error));
    }
}

static void misbehave(nccl_moment moment, uint32_t number)
{
    if (me.armed.moment != moment || me.armed.number != number) {
        return;
    }
    nccl_fault fault = me.armed.fault;
    if (fault == NCCL_DIE || fault == NCCL_STOP) {
        me.armed = (nccl_command){0};
        (void)raise(fault == NCCL_DIE ? SIGKILL : SIGSTOP);
    }
}

static bool take_fault(nccl_fault fault)
{
    bool taken = me.armed.fault == fault;
    if (taken) {
        me.armed = (nccl_command){0};
    }
    return taken;
}

static void on_trace(void *context, const weft_trace *record)
{
    (void)context;
    if (record->kind == WEFT_TRACE_TRANSITION) {
        misbehave(NCCL_AT_STATE, (uint32_t)record->to);
    } else if (record->kind == WEFT_TRACE_RECEIVED) {
        misbehave(NCCL_AT_RECEIVED, record->message);
    } else if (record->kind == WEFT_TRACE_SENT) {
        misbehave(NCCL_AT_SENT, record->message);
    }
}

static void on_pause(void *context, uint64_t epoch)
{
    (void)context;
    (void)epoch;
    me.paused = true;
}

static void on_resume(void *context, uint64_t epoch)
{
    (void)context;
    (void)epoch;
    me.paused = false;
}

/* ---- a transport and a device with faults ---- */

static weft_status doctored_begin(const weft_transport *transport, const weft_load *load)
{
    static weft_load less;
    (void)transport;
    if (take_fault(NCCL_NO_ENTRY)) {
        return WEFT_E_COLLECTIVE;
    }
    less = *load;
    if (take_fault(NCCL_SHORT)) {
        less.runs[1].length -= 8;
    }
    return me.transport->begin(me.transport, &less);
}

static weft_status biased_diff(const weft_device *device, const weft_comparison *tensors,
                               size_t count, const weft_allocator *allocator, uint64_t budget_bytes,
                               weft_difference *difference)
{
    (void)device;
    weft_status status =
        me.device->diff(me.device, tensors, count, allocator, budget_bytes, difference);
    if (status == WEFT_OK && take_fault(NCCL_BAD_INDEX)) { /* of the first tensor */
        const uint32_t outside = (uint32_t)ELEMENTS[0] + 3;
        uint8_t *last = (uint8_t *)difference->payload + 4 * (difference->counts[0] - 1);
        must(me.device->copy(me.device, last, &outside, sizeof outside), "copy");
        uint32_t back = 0;
        must(me.device->fetch(me.device, &back, last, sizeof back), "fetch");
    }
    return status;
}

static void *poor_allocate(void *context, size_t bytes, weft_memory where)
{
    (void)context;
    const weft_allocator *own = &me.device->allocator;
    if (where == WEFT_MEMORY_DEVICE && take_fault(NCCL_NO_MEMORY)) {
        return NULL;
    }
    return own->allocate(own->context, bytes, where);
}

static void poor_release(void *context, void *pointer, size_t bytes, weft_memory where)
{
    (void)context;
    me.device->allocator.release(me.device->allocator.context, pointer, bytes, where);
}

/* ---- weights ---- */

static void make_model(void)
{
    must(weft_model_create(&me.model, NULL), "weft_model_create");
    for (size_t i = 0; i < NCCL_TENSORS; i++) {
        char name[16];
        weft_tensor tensor = {.name = name, .dtype = WEFT_BF16, .rank = 1, .shape = {ELEMENTS[i]}};
        (void)snprintf(name, sizeof name, "tensor.%zu", i);
        if (ELEMENTS[i] > 0) {
            must_cuda(cudaMalloc(&tensor.data, ELEMENTS[i] * sizeof(uint16_t)), "cudaMalloc");
        }
        must(weft_model_add(me.model, &tensor), "weft_model_add");
    }
}

static void set_content(uint64_t step)
{
    uint16_t *elements = room();
    for (size_t i = 0; i < NCCL_TENSORS; i++) {
        fill(elements, i, step);
        must_cuda(cudaMemcpy(weft_model_tensor(me.model, i)->data, elements,
                             ELEMENTS[i] * sizeof *elements, cudaMemcpyHostToDevice),
                  "cudaMemcpy");
    }
    free(elements);
}

static uint64_t get_content(void)
{
    uint16_t *elements = room();
    uint64_t sum = 0;
    for (size_t i = 0; i < NCCL_TENSORS; i++) {
        must_cuda(cudaMemcpy(elements, weft_model_tensor(me.model, i)->data,
                             ELEMENTS[i] * sizeof *elements, cudaMemcpyDeviceToHost),
                  "cudaMemcpy");
        sum = hash(elements, i, sum);
    }
    free(elements);
    return sum;
}

/* ---- life of a process ---- */

static void open_gpu(int gpus, unsigned processes)
{
    weft_cuda_config cuda = WEFT_CUDA_CONFIG_INIT;
    weft_nccl_config nccl = WEFT_NCCL_CONFIG_INIT;
    if (processes > (unsigned)gpus) {
        char host[16];
        (void)snprintf(host, sizeof host, "host%u-%d", me.rank, (int)getpid());
        (void)setenv("NCCL_HOSTID", host, 1);
        (void)setenv("NCCL_SOCKET_IFNAME", "lo", 1);
    }
    cuda.number = (int)(me.rank % (unsigned)gpus);
    must_cuda(cudaSetDevice(cuda.number), "cudaSetDevice");
    must(weft_device_cuda_create(&me.device, &cuda), "weft_device_cuda_create");
    nccl.device = me.device;
    must(weft_transport_nccl_create(&me.transport, &nccl), "weft_transport_nccl_create");
    me.doctored = *me.transport;
    me.doctored.begin = doctored_begin;
    me.biased = *me.device;
    me.biased.diff = biased_diff;
    must(weft_net_create(&me.net), "weft_net_create");
    make_model();
}

static uint16_t create_worker(uint64_t version)
{
    weft_worker_config config = WEFT_WORKER_CONFIG_INIT;
    char name[16];
    uint16_t port = 0;
    (void)snprintf(name, sizeof name, "worker %u", me.rank);
    config.name = name;
    config.model = me.model;
    config.device = &me.biased;
    config.transport = &me.doctored;
    config.version = version;
    config.timeout_ms = NCCL_TIMEOUT_MS;
    config.allocator = (weft_allocator){.allocate = poor_allocate, .release = poor_release};
    config.hooks = (weft_hooks){.pause = on_pause, .resume = on_resume, .trace = on_trace};
    must(weft_worker_create(&me.worker, &config), "weft_worker_create");
    must(weft_net_listen(me.net, me.worker, "127.0.0.1:0", &port), "weft_net_listen");
    return port;
}

static void create_trainer(uint64_t version)
{
    weft_trainer_config config = WEFT_TRAINER_CONFIG_INIT;
    config.model = me.model;
    config.device = &me.biased;
    config.transport = &me.doctored;
    config.base_version = version;
    config.timeout_ms = NCCL_TIMEOUT_MS;
    config.hooks = (weft_hooks){.trace = on_trace};
    must(weft_trainer_create(&me.trainer, &config), "weft_trainer_create");
}

static void watch_transfer(void)
{
    bool moving = me.worker != NULL ? me.worker->moving : me.trainer->moving;
    if (!moving) {
        me.moving_since_ns = 0;
    } else if (me.moving_since_ns == 0) {
        me.moving_since_ns = weft_clock_ns();
    } else if (weft_clock_ns() - me.moving_since_ns > NCCL_TIMEOUT_MS * NS_PER_MS / 10) {
        misbehave(NCCL_AT_MOVING, 0);
    }
}

static void report(nccl_reply *reply)
{
    if (me.worker != NULL) {
        weft_worker_get_info(me.worker, &reply->info);
        reply->detail = *weft_worker_detail(me.worker);
    } else {
        reply->detail = *weft_trainer_detail(me.trainer);
    }
    reply->paused = me.paused;
    reply->content = get_content();
}

static void connect_workers(const nccl_command *command)
{
    uint32_t workers = 0;
    for (unsigned i = 0; i < NCCL_WORKERS_MAX; i++) {
        char address[32];
        if (command->ports[i] != 0) {
            (void)snprintf(address, sizeof address, "127.0.0.1:%u", command->ports[i]);
            must(weft_net_connect(me.net, me.trainer, address), "weft_net_connect");
            workers++;
        }
    }
    weft_status status = weft_net_workers_wait(me.net, me.trainer, workers, 20000);
    if (status != WEFT_OK) {
        die("weft_net_workers_wait", weft_net_text(me.net));
    }
}

static void push(const nccl_command *command, nccl_reply *reply)
{
    set_content(command->step);
    (void)weft_net_poll(me.net);
    reply->status = weft_trainer_push(me.trainer, command->kind, command->version);
    while (reply->status == WEFT_OK || reply->status == WEFT_AGAIN) {
        (void)weft_net_poll_wait(me.net, 10);
        watch_transfer();
        reply->status = weft_trainer_result(me.trainer, &reply->push);
        if (reply->status != WEFT_AGAIN) {
            break;
        }
    }
    reply->detail = *weft_trainer_detail(me.trainer);
}

static void obey(const nccl_command *command)
{
    nccl_reply reply = {.status = WEFT_OK};
    switch (command->order) {
    case NCCL_REPORT:
        report(&reply);
        break;
    case NCCL_ARM:
        me.armed = *command;
        break;
    case NCCL_CONNECT:
        connect_workers(command);
        break;
    case NCCL_PUSH:
        push(command, &reply);
        break;
    }
    if (send(me.socket, &reply, sizeof reply, MSG_NOSIGNAL) != (ssize_t)sizeof reply) {
        _exit(0);
    }
}

static void serve(void)
{
    for (;;) {
        struct pollfd waits = {.fd = me.socket, .events = POLLIN};
        nccl_command command;
        (void)weft_net_poll_wait(me.net, 2);
        watch_transfer();
        if (poll(&waits, 1, 0) <= 0) {
            continue;
        }
        if (recv(me.socket, &command, sizeof command, MSG_WAITALL) != (ssize_t)sizeof command) {
            break;
        }
        obey(&command);
    }
    weft_net_destroy(me.net);
    weft_worker_destroy(me.worker);
    weft_trainer_destroy(me.trainer);
    weft_transport_destroy(me.transport);
    weft_device_destroy(me.device);
}

/* ---- the parent's side ---- */

int nccl_count_gpus(bool *nccl)
{
    int pair[2], answer[2] = {0, 0};
    if (pipe(pair) != 0) {
        return 0;
    }
    pid_t pid = fork(); /* CUDA does not survive a fork, so the parent never touches it */
    if (pid == 0) {
        const weft_device *device = NULL;
        weft_cuda_config cuda = WEFT_CUDA_CONFIG_INIT;
        weft_nccl_config config = WEFT_NCCL_CONFIG_INIT;
        const weft_transport *transport;
        if (cudaGetDeviceCount(&answer[0]) != cudaSuccess) {
            answer[0] = 0;
        }
        if (answer[0] > 0 && weft_device_cuda_create(&device, &cuda) == WEFT_OK) {
            config.device = device;
            answer[1] = weft_transport_nccl_create(&transport, &config) == WEFT_OK;
        }
        ssize_t written = write(pair[1], answer, sizeof answer);
        _exit(written == (ssize_t)sizeof answer ? 0 : 1);
    }
    (void)close(pair[1]);
    if (pid < 0 || read(pair[0], answer, sizeof answer) != (ssize_t)sizeof answer) {
        answer[0] = answer[1] = 0;
    }
    (void)close(pair[0]);
    (void)waitpid(pid, NULL, 0);
    *nccl = answer[1] != 0;
    return answer[0];
}

void nccl_start(nccl_process *process, unsigned rank, int gpus, unsigned processes,
                uint64_t version, uint64_t step)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        abort();
    }
    pid_t pid = fork();
    if (pid == 0) {
        nccl_reply reply = {.status = WEFT_OK};
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(pair[0]);
        me = (self){.socket = pair[1], .rank = rank};
        open_gpu(gpus, processes);
        set_content(step);
        if (rank == 0) {
            create_trainer(version);
        } else {
            reply.port = create_worker(version);
        }
        (void)send(me.socket, &reply, sizeof reply, MSG_NOSIGNAL);
        serve();
        _exit(0);
    }
    (void)close(pair[1]);
    *process = (nccl_process){.pid = pid, .socket = pair[0]};
}

void nccl_tell(const nccl_process *process, const nccl_command *command)
{
    (void)send(process->socket, command, sizeof *command, MSG_NOSIGNAL);
}

bool nccl_hear(const nccl_process *process, nccl_reply *reply, int timeout_ms)
{
    struct pollfd waits = {.fd = process->socket, .events = POLLIN};
    *reply = (nccl_reply){.status = WEFT_E_CANCELLED};
    if (poll(&waits, 1, timeout_ms) <= 0) {
        return false;
    }
    return recv(process->socket, reply, sizeof *reply, MSG_WAITALL) == (ssize_t)sizeof *reply &&
           reply->error[0] == '\0';
}

bool nccl_await_stop(const nccl_process *process)
{
    int status = 0;
    while (waitpid(process->pid, &status, WUNTRACED) < 0 && errno == EINTR) {
    }
    return WIFSTOPPED(status);
}

int nccl_bury(nccl_process *process)
{
    int status = 0;
    while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR) {
    }
    (void)close(process->socket);
    *process = (nccl_process){0};
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

int nccl_end(nccl_process *process)
{
    if (process->pid == 0) {
        return 0;
    }
    (void)shutdown(process->socket, SHUT_WR);
    return nccl_bury(process);
}
