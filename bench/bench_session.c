/* A whole session between a trainer and a worker, bytes handed over in memory: what its memory is,
 * how long each part takes. A 64 Mi-element bf16 model in 64 tensors (128 MiB), 1 % of the elements
 * changed. */
#include <inttypes.h>
#include <string.h>

#include "timing.h"
#include "weft.h"

#define TENSORS  64u
#define ELEMENTS (UINT64_C(1) << 20)
#define STRIDE   100u /* one element of so many changes */

typedef struct setup {
    uint16_t *serving, *training;
    weft_model *served, *trained;
    weft_worker *worker;
    weft_trainer *trainer;
    uint32_t here, there;
    uint64_t version, seed;
} setup;

static void must(weft_status status, const char *what)
{
    if (status != WEFT_OK) {
        (void)fprintf(stderr, "bench_session: %s: %s\n", what, weft_status_name(status));
        exit(1);
    }
}

static weft_model *make_model(uint16_t **weights)
{
    weft_model *model;
    char name[32];
    *weights = calloc(TENSORS * ELEMENTS, sizeof **weights);
    must(*weights == NULL ? WEFT_E_OUT_OF_MEMORY : WEFT_OK, "weights");
    must(weft_model_create(&model, NULL), "model");
    for (uint32_t i = 0; i < TENSORS; i++) {
        (void)snprintf(name, sizeof name, "layers.%u.weight", i);
        must(weft_model_add(model, &(weft_tensor){.name = name,
                                                  .dtype = WEFT_BF16,
                                                  .rank = 2,
                                                  .shape = {1024, ELEMENTS / 1024},
                                                  .data = *weights + i * ELEMENTS}),
             "tensor");
    }
    return model;
}

static void change(setup *s)
{
    for (uint64_t i = 0; i < TENSORS * ELEMENTS; i += STRIDE) {
        s->seed = s->seed * UINT64_C(6364136223846793005) + 1;
        s->training[i + (s->seed >> 33) % STRIDE % (TENSORS * ELEMENTS - i)] ^= 1;
    }
}

/* Hands bytes over until nobody has any. */
static void exchange(setup *s)
{
    weft_span spans[WEFT_SPANS_MAX];
    bool moved = true;
    while (moved) {
        moved = false;
        size_t count;
        while ((count = weft_trainer_send(s->trainer, s->there, spans)) > 0) {
            size_t length = 0;
            for (size_t i = 0; i < count; i++) {
                must(weft_worker_receive(s->worker, s->here, spans[i].data, spans[i].length),
                     "receive");
                length += spans[i].length;
            }
            weft_trainer_sent(s->trainer, s->there, length);
            moved = true;
        }
        while (weft_worker_send(s->worker, s->here, spans) > 0) {
            size_t length = spans[0].length;
            must(weft_trainer_receive(s->trainer, s->there, spans[0].data, length), "receive");
            weft_worker_sent(s->worker, s->here, length);
            moved = true;
        }
    }
}

static void create(setup *s)
{
    *s = (setup){.seed = 7};
    s->served = make_model(&s->serving);
    s->trained = make_model(&s->training);
    weft_worker_config worker = WEFT_WORKER_CONFIG_INIT;
    weft_trainer_config trainer = WEFT_TRAINER_CONFIG_INIT;
    worker.model = s->served;
    trainer.model = s->trained;
    must(weft_worker_create(&s->worker, &worker), "worker");
    must(weft_trainer_create(&s->trainer, &trainer), "trainer");
    must(weft_worker_link_open(s->worker, &s->here), "link");
    must(weft_trainer_link_open(s->trainer, &s->there), "link");
    exchange(s);
}

static void destroy(setup *s)
{
    weft_worker_destroy(s->worker);
    weft_trainer_destroy(s->trainer);
    weft_model_destroy(s->served);
    weft_model_destroy(s->trained);
    free(s->serving);
    free(s->training);
}

int main(int count, char **arguments)
{
    bool json = count > 1 && strcmp(arguments[1], "--json") == 0;
    double times[TIMING_REPEATS], diffs[TIMING_REPEATS];
    weft_push push = {0};
    weft_worker_info info;
    setup s;
    create(&s);
    for (unsigned i = 0; i < TIMING_REPEATS; i++) {
        change(&s);
        double begin = timing_now();
        must(weft_trainer_push(s.trainer, WEFT_SPARSE, ++s.version), "push");
        diffs[i] = timing_now() - begin;
        exchange(&s);
        times[i] = timing_now() - begin;
        must(weft_trainer_result(s.trainer, &push), "result");
        must(memcmp(s.serving, s.training, TENSORS * ELEMENTS * 2) != 0 ? WEFT_E_DIGEST_MISMATCH
                                                                        : WEFT_OK,
             "bits");
    }
    qsort(times, TIMING_REPEATS, sizeof *times, timing_compare);
    qsort(diffs, TIMING_REPEATS, sizeof *diffs, timing_compare);
    weft_worker_get_info(s.worker, &info);
    double beyond = (double)(info.session_bytes_peak - push.payload_bytes) / (double)push.changed;
    double all = times[TIMING_REPEATS / 2] * 1e3, diff = diffs[TIMING_REPEATS / 2] * 1e3;
    if (json) {
        (void)printf("{\"what\": \"session\", \"elements\": %" PRIu64 ", \"changed\": %" PRIu64
                     ", \"payload_bytes\": %" PRIu64 ", \"session_bytes_peak\": %" PRIu64
                     ", \"bytes_an_element_beyond_payload\": %.2f, \"push_ms\": %.2f, "
                     "\"session_ms\": %.2f}\n",
                     push.elements, push.changed, push.payload_bytes, info.session_bytes_peak,
                     beyond, diff, all);
    } else {
        (void)printf("one session in memory, %" PRIu64 " elements, %" PRIu64 " changed\n",
                     push.elements, push.changed);
        (void)printf("  payload                              %10.2f MB\n",
                     (double)push.payload_bytes / 1e6);
        (void)printf("  peak of the worker's session memory  %10.2f MB\n",
                     (double)info.session_bytes_peak / 1e6);
        (void)printf("  beyond the payload                   %10.2f bytes a changed element "
                     "(target 14: %s)\n",
                     beyond, beyond <= 14 ? "met" : "NOT MET");
        (void)printf("  diff and plan                        %10.2f ms\n", diff);
        (void)printf("  START to COMMITTED                   %10.2f ms\n", all - diff);
    }
    destroy(&s);
    return beyond <= 14 ? 0 : 1;
}
