/* Parsing and validating a document of 20,000 tensors in each form, beside the same JSON through
 * Python's json; what a sparse update of a model of 18,624 tensors costs from the trainer's patches
 * to the worker's staging; and what hostile documents of 64 KiB take.
 *
 * Memory is the growth of the peak resident size of a child process that parses the document
 * once: it counts what libfyaml allocates as well. The bound is weft_update_parse_bytes. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <malloc.h>

#include "device.h"
#include "model.h"
#include "staging.h"
#include "update.h"

#define TENSORS 20000u
#define MIXTURE 18624u /* tensors of a mixture of experts with 30 B parameters */
#define RUNS    15u
#define HOSTILE 65536u

typedef struct text {
    char *bytes;
    size_t length, capacity;
} text;

static void fail(const char *what)
{
    (void)fprintf(stderr, "bench_update: %s\n", what);
    exit(1);
}

static double now_ms(void)
{
    struct timespec t;

    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) {
        fail("clock_gettime");
    }
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

__attribute__((format(printf, 2, 3))) static void append(text *t, const char *format, ...)
{
    va_list arguments;
    int length;

    if (t->capacity - t->length < 1024) {
        t->capacity = 2 * t->capacity + 4096;
        char *bytes = realloc(t->bytes, t->capacity);
        if (bytes == NULL) {
            fail("no memory");
        }
        t->bytes = bytes;
    }
    va_start(arguments, format);
    length = vsnprintf(t->bytes + t->length, t->capacity - t->length, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= t->capacity - t->length) {
        fail("a piece of a document is too long");
    }
    t->length += (size_t)length;
}

/* ---- documents ---- */

static void name_of(char name[80], unsigned i)
{
    (void)snprintf(name, 80, "model.layers.%u.mlp.experts.%u.down_proj.weight", i / 650, i % 650);
}

static weft_model *make_model(unsigned tensors)
{
    static char content; /* no element is read */
    weft_model *model;

    if (weft_model_create(&model, NULL) != WEFT_OK) {
        fail("no memory");
    }
    for (unsigned i = 0; i < tensors; i++) {
        char name[80];
        weft_tensor tensor = {
            .name = name, .dtype = WEFT_BF16, .rank = 2, .shape = {384, 384}, .data = &content};
        name_of(name, i);
        if (weft_model_add(model, &tensor) != WEFT_OK) {
            fail("weft_model_add");
        }
    }
    if (weft_model_sort(model) != WEFT_OK) {
        fail("weft_model_sort");
    }
    return model;
}

/* vLLM's current form; as YAML's block notation, or as JSON in one line, as json.dumps writes
 * it. */
static text vllm_document(bool yaml)
{
    const char *after = yaml ? "\n" : ", ";
    const char *last = yaml ? "\n" : "], ";
    text t = {.bytes = NULL};

    append(&t, yaml ? "names:\n" : "{\"names\": [");
    for (unsigned i = 0; i < TENSORS; i++) {
        char name[80];
        name_of(name, i);
        append(&t, yaml ? "- %s%s" : "\"%s\"%s", name, i + 1 < TENSORS ? after : last);
    }
    append(&t, yaml ? "dtype_names:\n" : "\"dtype_names\": [");
    for (unsigned i = 0; i < TENSORS; i++) {
        append(&t, yaml ? "- bfloat16%s" : "\"bfloat16\"%s", i + 1 < TENSORS ? after : last);
    }
    append(&t, yaml ? "shapes:\n" : "\"shapes\": [");
    for (unsigned i = 0; i < TENSORS; i++) {
        append(&t, yaml ? "- [384, 384]%s" : "[384, 384]%s", i + 1 < TENSORS ? after : last);
    }
    append(&t, yaml ? "num_updates_list:\n" : "\"num_updates_list\": [");
    for (unsigned i = 0; i < TENSORS; i++) {
        append(&t, yaml ? "- 1474%s" : "1474%s", i + 1 < TENSORS ? after : "");
    }
    append(&t, yaml ? "\n" : "]}\n");
    return t;
}

/* The same without counts: dense. */
static text dense_document(void)
{
    text t = vllm_document(false);
    char *counts = strstr(t.bytes, ", \"num_updates_list\"");

    t.length = (size_t)(counts - t.bytes);
    append(&t, "}\n");
    return t;
}

/* The same with the kind that the MVP has. */
static text mvp_document(void)
{
    text t = vllm_document(false);

    t.length = (size_t)(strrchr(t.bytes, '}') - t.bytes);
    append(&t, ", \"update_kind\": \"sparse_flat\"}\n");
    return t;
}

/* Every tensor changed, in canonical order. Release with free(patches). */
static weft_update full_update(const weft_model *model, weft_update_form form)
{
    size_t count = weft_model_count(model);
    weft_patch *patches = calloc(count, sizeof *patches);
    weft_update update = {
        .form = form, .kind = WEFT_SPARSE, .epoch = 1, .of = 1, .count = count, .patches = patches};

    for (size_t i = 0; patches != NULL && i < count; i++) {
        patches[i].tensor = weft_model_order(model)[i].tensor;
        patches[i].count = 1400 + i % 150;
    }
    if (patches == NULL || weft_update_layout(model, &update) != WEFT_OK) {
        fail("weft_update_layout");
    }
    return update;
}

/* As a trainer writes it: once for the length, once into memory. */
static text write_update(const weft_update *update, const weft_model *model)
{
    text t = {.bytes = NULL};

    if (weft_update_write(update, model, NULL, 0, &t.length) == WEFT_OK) {
        t.bytes = malloc(t.length + 1);
    }
    if (t.bytes == NULL ||
        weft_update_write(update, model, t.bytes, t.length, &t.length) != WEFT_OK) {
        fail("weft_update_write");
    }
    t.bytes[t.length] = '\0';
    return t;
}

static text weft_document(const weft_model *model, weft_update_form form)
{
    weft_update update = full_update(model, form);
    text t = write_update(&update, model);

    free(update.patches);
    return t;
}

static text hostile_document(const char *head, const char *item)
{
    text t = {.bytes = NULL};

    append(&t, "%s", head);
    while (t.length + strlen(item) <= HOSTILE) {
        append(&t, "%s", item);
    }
    return t;
}

/* ---- measuring ---- */

static weft_status parse_once(const text *t, const weft_model *model)
{
    const weft_allocator allocator = weft_allocator_default();
    const weft_update_limits limits = {.document_bytes = WEFT_DOCUMENT_MAX,
                                       .payload_bytes = UINT64_MAX};
    weft_update update;
    weft_status status =
        weft_update_parse(t->bytes, t->length, model, &limits, &allocator, &update, NULL);

    if (status == WEFT_OK) {
        weft_update_release(&update, &allocator);
    }
    return status;
}

static int compare_ms(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;

    return (*x > *y) - (*x < *y);
}

static double median_ms(const text *t, const weft_model *model)
{
    double ms[RUNS];

    for (unsigned i = 0; i < RUNS; i++) {
        double start = now_ms();
        (void)parse_once(t, model);
        ms[i] = now_ms() - start;
    }
    qsort(ms, RUNS, sizeof ms[0], compare_ms);
    return ms[RUNS / 2];
}

/* KiB by which one parse raises the peak of a process that has done nothing else. */
static long peak_kib(const text *t, const weft_model *model)
{
    struct rusage before;
    struct rusage after;
    long grown = -1;
    int ends[2];
    pid_t child = -1;

    (void)malloc_trim(0); /* what earlier runs freed must not hide what this one takes */
    if (pipe(ends) != 0 || (child = fork()) < 0) {
        fail("fork");
    }
    if (child == 0) {
        (void)getrusage(RUSAGE_SELF, &before);
        (void)parse_once(t, model);
        (void)getrusage(RUSAGE_SELF, &after);
        grown = after.ru_maxrss - before.ru_maxrss;
        _exit(write(ends[1], &grown, sizeof grown) == (ssize_t)sizeof grown ? 0 : 1);
    }
    if (read(ends[0], &grown, sizeof grown) != (ssize_t)sizeof grown ||
        waitpid(child, NULL, 0) != child) {
        fail("a child told nothing");
    }
    (void)close(ends[0]);
    (void)close(ends[1]);
    return grown;
}

/* Python's json.loads of the same bytes, median of as many runs; negative when there is no
 * python3. */
static double python_ms(const text *t)
{
    char path[] = "/tmp/bench_update_XXXXXX";
    char command[512];
    double ms = -1;
    int descriptor = mkstemp(path);
    FILE *output;

    if (descriptor < 0 || write(descriptor, t->bytes, t->length) != (ssize_t)t->length ||
        close(descriptor) != 0) {
        fail("a temporary file");
    }
    (void)snprintf(command, sizeof command,
                   "/usr/bin/python3 -c \"import json, statistics, timeit; d = open('%s').read(); "
                   "print(1e3 * statistics.median(timeit.repeat(lambda: json.loads(d), number=1, "
                   "repeat=%u)))\"",
                   path, RUNS);
    output = popen(command, "r"); // NOLINT(cert-env33-c): the command holds nothing from outside
    if (output == NULL || fscanf(output, "%lf", &ms) != 1) { // NOLINT(cert-err34-c)
        ms = -1;
    }
    if (output != NULL) {
        (void)pclose(output);
    }
    (void)unlink(path);
    return ms;
}

static void measure(const char *form, text t, const weft_model *model, bool json)
{
    weft_status status = parse_once(&t, model);

    if (status != WEFT_OK) {
        fail(weft_status_name(status));
    }
    printf("%-22s %9zu %8u %10.1f", form, t.length, TENSORS, median_ms(&t, model));
    if (json) {
        printf(" %12.1f", python_ms(&t));
    } else {
        printf(" %12s", "-");
    }
    printf(" %9ld %9" PRIu64 "\n", peak_kib(&t, model), weft_update_parse_bytes(t.length) / 1024);
    free(t.bytes);
}

/* ---- an update from one end to the other ---- */

typedef struct way {
    double write, parse, reserve, both; /* ms; both ends together */
} way;

static int compare_ways(const void *a, const void *b)
{
    const way *x = a;
    const way *y = b;

    return (x->both > y->both) - (x->both < y->both);
}

static way go_once(const weft_update *update, const weft_model *model)
{
    const weft_allocator allocator = weft_allocator_default();
    const weft_update_limits limits = {.document_bytes = WEFT_DOCUMENT_MAX,
                                       .payload_bytes = UINT64_MAX};
    weft_staging staging;
    weft_update read;
    uint32_t tensor;
    double begin = now_ms();
    text t = write_update(update, model);
    double written = now_ms();
    weft_status status =
        weft_update_parse(t.bytes, t.length, model, &limits, &allocator, &read, NULL);
    double parsed = now_ms();

    weft_staging_init(&staging, &allocator, weft_device_host(), model, UINT64_MAX);
    if (status != WEFT_OK || weft_staging_reserve(&staging, &read, false, &tensor) != WEFT_OK ||
        staging.count != update->count) {
        fail("an update did not arrive");
    }
    double reserved = now_ms();
    weft_staging_destroy(&staging);
    weft_update_release(&read, &allocator);
    free(t.bytes);
    return (way){written - begin, parsed - written, reserved - parsed, reserved - begin};
}

/* The run in the middle of RUNS after one that is not counted. */
static void measure_way(const char *form, weft_update_form number, const weft_model *model)
{
    weft_update update = full_update(model, number);
    text t = write_update(&update, model);
    way ways[RUNS];

    (void)go_once(&update, model);
    for (unsigned i = 0; i < RUNS; i++) {
        ways[i] = go_once(&update, model);
    }
    qsort(ways, RUNS, sizeof ways[0], compare_ways);
    printf("%-22s %9zu %8zu %9.2f %9.2f %9.2f %9.2f\n", form, t.length, update.count,
           ways[RUNS / 2].write, ways[RUNS / 2].parse, ways[RUNS / 2].reserve, ways[RUNS / 2].both);
    free(update.patches);
    free(t.bytes);
}

static void measure_ways(void)
{
    weft_model *model = make_model(MIXTURE);

    printf("\n%-22s %9s %8s %9s %9s %9s %9s\n", "sparse, all changed", "bytes", "tensors",
           "write ms", "parse ms", "stage ms", "sum ms");
    measure_way("weft, patches", WEFT_FORM_WEFT, model);
    measure_way("weft, counts", WEFT_FORM_WEFT_COUNTS, model);
    weft_model_destroy(model);
}

static void measure_hostile(const char *what, const char *head, const char *item)
{
    text t = hostile_document(head, item);
    weft_status status = parse_once(&t, NULL);

    printf("%-34s %10.2f %9ld %9" PRIu64 "  %s\n", what, median_ms(&t, NULL), peak_kib(&t, NULL),
           weft_update_parse_bytes(t.length) / 1024, weft_status_name(status));
    free(t.bytes);
}

int main(void)
{
    weft_model *model = make_model(TENSORS);

    printf("%-22s %9s %8s %10s %12s %9s %9s\n", "form", "bytes", "tensors", "weft ms", "python ms",
           "peak KiB", "bound KiB");
    measure("vLLM sparse, JSON", vllm_document(false), model, true);
    measure("vLLM sparse, YAML", vllm_document(true), model, false);
    measure("vLLM MVP, JSON", mvp_document(), model, true);
    measure("vLLM dense, JSON", dense_document(), model, true);
    measure("weft patches, JSON", weft_document(model, WEFT_FORM_WEFT), model, true);
    measure("weft counts, JSON", weft_document(model, WEFT_FORM_WEFT_COUNTS), model, true);
    measure_ways();
    printf("\n%-34s %10s %9s %9s  %s\n", "hostile, 64 KiB", "weft ms", "peak KiB", "bound KiB",
           "answer");
    measure_hostile("open brackets", "names: ", "[");
    measure_hostile("open mappings with keys", "names: ", "{~");
    measure_hostile("colons in open mappings", "", "{:,");
    measure_hostile("commas without values", "{\"names\":", ",");
    measure_hostile("nested block lists", "", "- ");
    measure_hostile("nested keys", "", "? ");
    measure_hostile("white space after a key", "{\"names\":", " ");
    measure_hostile("blank lines in a string", "names: \"a", "\n");
    measure_hostile("percent signs", "", "%");
    measure_hostile("escapes", "names: \"", "\\x41 \n ");
    measure_hostile("anchors", "", "&a ");
    measure_hostile("comments", "", "# x\n");
    measure_hostile("documents", "", "---\n");
    measure_hostile("items of a list", "num_updates_list: [", "0,");
    measure_hostile("empty shapes", "{\"shapes\": [", "[],");
    measure_hostile("counts of one digit", "{\"counts\": [", "\"1\",");
    measure_hostile("counts in one string", "counts: \"", "1 ");
    weft_model_destroy(model);
    return 0;
}
