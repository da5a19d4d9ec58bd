/* weft-demo: real training steps of a real model from a trainer process to three worker processes,
 * with three kills at the worst moments. After each step it compares every worker's saved
 * file with the recorded step, byte for byte. Where a GPU is, all weights live on it, and NCCL
 * carries the payload if it is there. Exit status 0 only if all of it held. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "demo_process.h"
#include "patch.h"

#define WORKERS 3u
#define STEPS   3u

typedef struct demo {
    char folder[64];
    char steps[STEPS + 1][DEMO_PATH_BYTES]; /* the recorded steps, 0 is the base */
    char saves[WORKERS][DEMO_PATH_BYTES];   /* what each worker saved at its last commit */
    char asked[WORKERS][DEMO_PATH_BYTES];   /* what it saved because it was asked to */
    demo_process trainer, workers[WORKERS];
    uint16_t ports[WORKERS];
    weft_worker_info infos[WORKERS];
    unsigned compared; /* files */
    demo_place place;  /* of the weights of all processes */
} demo;

/* ---- files ---- */

static void write_path(char path[DEMO_PATH_BYTES], const char *folder, const char *stem,
                       unsigned number, const char *ending)
{
    int length =
        snprintf(path, DEMO_PATH_BYTES, "%s/%s%u%s.safetensors", folder, stem, number, ending);
    if (length < 0 || (unsigned)length >= DEMO_PATH_BYTES) {
        demo_fail("the path of %s is too long", folder);
    }
}

typedef struct mapping {
    void *bytes;
    size_t length;
} mapping;

static mapping map(const char *path)
{
    struct stat about;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &about) != 0) {
        demo_fail("cannot open %s", path);
    }
    mapping made = {.length = (size_t)about.st_size};
    made.bytes = mmap(NULL, made.length, PROT_READ, MAP_PRIVATE, file, 0);
    (void)close(file);
    if (made.bytes == MAP_FAILED) {
        demo_fail("cannot map %s", path);
    }
    return made;
}

static void compare(demo *d, const char *saved, const char *recorded)
{
    mapping a = map(saved), b = map(recorded);
    if (a.length != b.length || memcmp(a.bytes, b.bytes, a.length) != 0) {
        demo_fail("%s differs from %s", saved, recorded);
    }
    (void)munmap(a.bytes, a.length);
    (void)munmap(b.bytes, b.length);
    d->compared++;
}

/* The recorded steps are a base and patches; each patch checks the digests on both of its sides. */
static void rebuild_steps(demo *d, const char *data)
{
    char patch[DEMO_PATH_BYTES];
    weft_allocator allocator = weft_allocator_default();
    if (snprintf(d->steps[0], DEMO_PATH_BYTES, "%s/base.safetensors", data) >=
        (int)DEMO_PATH_BYTES) {
        demo_fail("the path of %s is too long", data);
    }
    for (unsigned i = 1; i <= STEPS; i++) {
        weft_file *base = NULL, *change = NULL;
        weft_model *model = NULL;
        weft_detail detail = {0};
        write_path(d->steps[i], d->folder, "step", i, "");
        write_path(patch, data, "step", i, ".patch");
        weft_status status = weft_file_open(&base, d->steps[i - 1], NULL, &detail);
        status = status == WEFT_OK ? weft_file_open(&change, patch, NULL, &detail) : status;
        status = status == WEFT_OK ? weft_model_create(&model, NULL) : status;
        status = status == WEFT_OK ? weft_file_add_to_model(base, model) : status;
        status = status == WEFT_OK ? weft_patch_apply(change, model, &allocator, &detail) : status;
        status = status == WEFT_OK ? weft_file_save(base, d->steps[i], &detail) : status;
        if (status != WEFT_OK) {
            demo_fail("%s: %s: %s", patch, weft_status_name(status), detail.text);
        }
        weft_model_destroy(model);
        weft_file_close(change);
        weft_file_close(base);
    }
}

static void remove_files(const demo *d)
{
    for (unsigned i = 0; i < WORKERS; i++) {
        (void)unlink(d->saves[i]);
        (void)unlink(d->asked[i]);
    }
    for (unsigned i = 1; i <= STEPS; i++) {
        (void)unlink(d->steps[i]);
    }
    (void)rmdir(d->folder);
}

/* ---- the table ---- */

static void print_head(void)
{
    (void)printf("%-44s %8s %8s %7s  %-24s %-24s %-24s\n", "what happens", "changed", "bytes", "ms",
                 "worker 1", "worker 2", "worker 3");
}

static void print_worker(const weft_worker_info *info)
{
    char cell[64];
    (void)snprintf(cell, sizeof cell, "v%" PRIu64 " %08" PRIx64 " %s", info->version,
                   info->digest >> 32, weft_outcome_name(info->last_outcome));
    (void)printf(" %-24s", info->state == WEFT_IDLE ? cell : weft_state_name(info->state));
}

static void print_row(const demo *d, const char *what, const weft_push *push)
{
    (void)printf("%-44s ", what);
    if (push != NULL) {
        (void)printf("%8" PRIu64 " %8" PRIu64 " %7.1f ", push->changed,
                     push->payload_bytes + push->document_bytes,
                     (double)(push->diff_ns + push->session_ns) / 1e6);
    } else {
        (void)printf("%8s %8s %7s ", "", "", "");
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        if (d->workers[i].pid == 0) {
            (void)printf(" %-24s", "killed");
        } else {
            print_worker(&d->infos[i]);
        }
    }
    (void)printf("\n");
    (void)fflush(stdout);
}

/* ---- what the demonstration does ---- */

static void ask_worker(demo *d, unsigned number, bool save, demo_death die)
{
    demo_command command = {.order = DEMO_REPORT, .die = die};
    demo_reply reply;
    if (save) {
        (void)snprintf(command.path, sizeof command.path, "%s", d->asked[number]);
    }
    demo_tell(&d->workers[number], &command);
    if (!demo_hear(&d->workers[number], &reply)) {
        demo_fail("worker %u is gone", number + 1);
    }
    d->infos[number] = reply.worker;
}

/* Asks until it is idle. That takes no longer than a state may, and a second for NCCL. */
static void await_idle(demo *d, unsigned number)
{
    uint64_t end_ns = weft_net_now_ns() + (DEMO_TIMEOUT_MS + 1000) * UINT64_C(1000000);
    do {
        ask_worker(d, number, false, DEMO_LIVES);
        if (weft_net_now_ns() > end_ns) {
            demo_fail("worker %u is still %s", number + 1, weft_state_name(d->infos[number].state));
        }
    } while (d->infos[number].state != WEFT_IDLE);
}

/* Everybody who lives is idle, says this version and outcome, and holds exactly this step. */
static void check_workers(demo *d, uint64_t version, weft_outcome outcome, unsigned step)
{
    for (unsigned i = 0; i < WORKERS; i++) {
        if (d->workers[i].pid == 0) {
            continue;
        }
        ask_worker(d, i, true, DEMO_LIVES);
        const weft_worker_info *info = &d->infos[i];
        if (info->state != WEFT_IDLE || info->condition != WEFT_INTACT ||
            info->version != version || info->last_outcome != outcome) {
            demo_fail("worker %u is %s, %s, at version %" PRIu64 " after an epoch that was %s; "
                      "expected idle, intact, at version %" PRIu64 " and %s",
                      i + 1, weft_state_name(info->state), weft_condition_name(info->condition),
                      info->version, weft_outcome_name(info->last_outcome), version,
                      weft_outcome_name(outcome));
        }
        compare(d, d->asked[i], d->steps[step]);
        if (outcome == WEFT_OUTCOME_COMMITTED) {
            compare(d, d->saves[i], d->steps[step]);
        }
    }
}

static void start_worker(demo *d, unsigned number, const char *model, uint64_t version)
{
    demo_reply reply;
    demo_start_worker(&d->workers[number], number + 1, model, version, d->saves[number], d->place);
    if (!demo_hear(&d->workers[number], &reply)) {
        demo_fail("worker %u did not start", number + 1);
    }
    d->ports[number] = reply.port;
    d->infos[number] = reply.worker;
}

static void connect_trainer(demo *d)
{
    demo_command command = {.order = DEMO_CONNECT};
    demo_reply reply;
    memcpy(command.ports, d->ports, sizeof command.ports);
    demo_tell(&d->trainer, &command);
    if (!demo_hear(&d->trainer, &reply)) {
        demo_fail("the trainer is gone");
    }
}

static void order_push(demo *d, unsigned step, uint64_t version, demo_death die)
{
    demo_command command = {.order = DEMO_PUSH, .version = version, .die = die};
    (void)snprintf(command.path, sizeof command.path, "%s", d->steps[step]);
    demo_tell(&d->trainer, &command);
}

/* What a push gives when a worker dies in it. Of a broadcast NCCL may see the end before the link
 * does, on the trainer or on another worker. */
static bool tells_of_a_death(const demo *d, weft_status status)
{
    return status == WEFT_E_LINK_CLOSED ||
           (d->place.over_nccl && (status == WEFT_E_COLLECTIVE || status == WEFT_E_PEER_FAILED));
}

static weft_push push(demo *d, unsigned step, uint64_t version, bool dies)
{
    demo_reply reply;
    order_push(d, step, version, DEMO_LIVES);
    if (!demo_hear(&d->trainer, &reply)) {
        demo_fail("the trainer is gone");
    }
    bool right = dies ? tells_of_a_death(d, reply.push.status) : reply.push.status == WEFT_OK;
    if (!right) {
        demo_fail("the push of version %" PRIu64 " %s gave %s: %s", version,
                  dies ? "in which a worker died" : "that nobody disturbed",
                  weft_status_name(reply.push.status), reply.text);
    }
    return reply.push;
}

static void three_steps(demo *d)
{
    for (unsigned step = 1; step <= STEPS; step++) {
        char what[64];
        weft_push done = push(d, step, step, false);
        check_workers(d, step, WEFT_OUTCOME_COMMITTED, step);
        (void)snprintf(what, sizeof what, "step %u", step);
        print_row(d, what, &done);
    }
}

/* Version 4 is what step 2 was: an optimizer may go back too. */
static void kill_a_worker(demo *d)
{
    ask_worker(d, 2, false, DEMO_DIES_RECEIVING);
    weft_push failed = push(d, 2, 4, true);
    if (!demo_bury(&d->workers[2])) {
        demo_fail("worker 3 was to be killed, and was not");
    }
    check_workers(d, 3, WEFT_OUTCOME_ABORTED, 3);
    print_row(d, "a worker is killed while it receives", &failed);
    start_worker(d, 2, d->saves[2], 3);
    connect_trainer(d);
    print_row(d, "it starts again from its last version", NULL);
    weft_push done = push(d, 2, 4, false);
    check_workers(d, 4, WEFT_OUTCOME_COMMITTED, 2);
    print_row(d, "the same step again", &done);
}

/* The trainer dies in a push, and a new one sends the step after the version that all hold then. */
static void kill_the_trainer(demo *d, unsigned step, uint64_t version, demo_death death)
{
    demo_reply reply;
    order_push(d, step, version, death);
    if (demo_hear(&d->trainer, &reply) || !demo_bury(&d->trainer)) {
        demo_fail("the trainer was to be killed, and was not");
    }
    for (unsigned i = 0; i < WORKERS; i++) { /* each sees its link close, and asks the others */
        await_idle(d, i);
    }
}

static void let_a_new_trainer_push(demo *d, unsigned base, uint64_t version, unsigned step)
{
    demo_start_trainer(&d->trainer, d->steps[base], version, d->place);
    connect_trainer(d);
    weft_push done = push(d, step, version + 1, false);
    check_workers(d, version + 1, WEFT_OUTCOME_COMMITTED, step);
    print_row(d, "a new trainer sends the next step", &done);
}

/* Nobody can have committed: all go back, and know that all do. */
static void kill_it_before_commit(demo *d)
{
    kill_the_trainer(d, 3, 5, DEMO_DIES_DECIDED);
    check_workers(d, 4, WEFT_OUTCOME_ABORTED, 2);
    print_row(d, "the trainer is killed before any COMMIT", NULL);
    let_a_new_trainer_push(d, 2, 4, 3);
}

/* One has committed, so all do. */
static void kill_it_halfway(demo *d)
{
    kill_the_trainer(d, 2, 6, DEMO_DIES_HALFWAY);
    check_workers(d, 6, WEFT_OUTCOME_COMMITTED, 2);
    print_row(d, "it is killed when worker 1 alone has COMMIT", NULL);
    let_a_new_trainer_push(d, 2, 6, 3);
}

typedef struct demo_options {
    char data[DEMO_PATH_BYTES];
    const char *device;    /* NULL: cuda where a GPU is, otherwise host */
    const char *transport; /* NULL: nccl where the device is cuda and NCCL is, otherwise tcp */
    bool keep;
} demo_options;

static bool is(const char *text, const char *word)
{
    return text != NULL && strcmp(text, word) == 0;
}

static bool read_options(demo_options *options, int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        bool more = i + 1 < count;
        if (strcmp(arguments[i], "--keep") == 0) {
            options->keep = true;
        } else if (strcmp(arguments[i], "--data") == 0 && more) {
            (void)snprintf(options->data, sizeof options->data, "%s", arguments[++i]);
        } else if (strcmp(arguments[i], "--device") == 0 && more &&
                   (is(arguments[i + 1], "host") || is(arguments[i + 1], "cuda"))) {
            options->device = arguments[++i];
        } else if (strcmp(arguments[i], "--transport") == 0 && more &&
                   (is(arguments[i + 1], "tcp") || is(arguments[i + 1], "nccl"))) {
            options->transport = arguments[++i];
        } else {
            return false;
        }
    }
    return true;
}

static int print_usage(int count, char **arguments)
{
    (void)printf(
        "usage: weft-demo [--data FOLDER] [--device host|cuda] [--transport tcp|nccl] [--keep]\n"
        "  --data FOLDER     with base.safetensors and step1..3.patch.safetensors; without it\n"
        "                    tests/data/minilm, here or in $WEFT_SOURCE_DIR\n"
        "  --device WHAT     where the weights live; without it cuda (GPU 0, which all four\n"
        "                    processes share) if there is one, and otherwise host\n"
        "  --transport WHAT  what carries the payload; without it nccl if the device is cuda and\n"
        "                    NCCL is found, and otherwise tcp\n"
        "  --keep            keep the workers' files, and say where they are\n");
    return count == 2 && strcmp(arguments[1], "--help") == 0 ? 0 : 2;
}

#define NO_GPU  "there is no GPU that this build can use"
#define NO_NCCL "there is no NCCL that this build can use (libnccl.so.2)"

/* The best that is here and was not excluded. What was asked for and is not here is an error. */
static demo_place choose_place(const demo_options *options)
{
    bool nccl = is(options->transport, "nccl"), host = is(options->device, "host");
    if (nccl && host) {
        demo_fail("--transport nccl moves the memory of GPUs; give it --device cuda, not host");
    }
    demo_place place = host ? (demo_place){.on_gpu = false} : demo_find_place();
    if ((nccl || is(options->device, "cuda")) && !place.on_gpu) {
        demo_fail(NO_GPU "; leave --device and --transport out, or give them host and tcp");
    }
    if (nccl && !place.over_nccl) {
        demo_fail(NO_NCCL "; leave --transport out, or give it tcp");
    }
    const char *why = host || place.on_gpu ? "" : ": " NO_GPU;
    const char *no_nccl =
        place.on_gpu && !place.over_nccl && options->transport == NULL ? "; " NO_NCCL : "";
    place.over_nccl = place.over_nccl && !is(options->transport, "tcp");
    (void)printf("transport %s, device %s%s%s\n\n", place.over_nccl ? "nccl" : "tcp",
                 place.on_gpu ? "cuda: all weights lie on GPU 0" : "host", why, no_nccl);
    return place;
}

int main(int count, char **arguments)
{
    const char *source = getenv("WEFT_SOURCE_DIR");
    demo_options options = {.keep = false};
    (void)snprintf(options.data, sizeof options.data, "%s/tests/data/minilm",
                   source != NULL ? source : ".");
    if (!read_options(&options, count, arguments)) {
        return print_usage(count, arguments);
    }
    static demo d;
    d.place = choose_place(&options);
    (void)snprintf(d.folder, sizeof d.folder, "/tmp/weft-demo-XXXXXX");
    if (mkdtemp(d.folder) == NULL) {
        demo_fail("cannot make a folder in /tmp");
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        write_path(d.saves[i], d.folder, "worker", i + 1, "");
        write_path(d.asked[i], d.folder, "worker", i + 1, ".now");
    }
    rebuild_steps(&d, options.data);
    for (unsigned i = 0; i < WORKERS; i++) {
        start_worker(&d, i, d.steps[0], 0);
    }
    demo_start_trainer(&d.trainer, d.steps[0], 0, d.place);
    connect_trainer(&d);
    print_head();
    print_row(&d, "start", NULL);
    three_steps(&d);
    kill_a_worker(&d);
    kill_it_before_commit(&d);
    kill_it_halfway(&d);
    demo_stop(&d.trainer);
    for (unsigned i = 0; i < WORKERS; i++) {
        demo_stop(&d.workers[i]);
    }
    (void)printf("\nall held: everybody was idle after each row, and %u files of workers equal the "
                 "recorded steps byte for byte\n",
                 d.compared);
    if (options.keep) {
        (void)printf("the files are in %s\n", d.folder);
    } else {
        remove_files(&d);
    }
    return 0;
}
