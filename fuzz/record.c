/* fuzz-record FOLDER: lets a trainer and a worker talk, and writes what each heard as inputs of
 * fuzz_worker_frames and fuzz_trainer_frames, into FOLDER/worker_frames and FOLDER/trainer_frames
 * (which exist). Run it again when the frames change. */
#include <stdint.h>

#include "harness.h"

#define RECORD_BYTES (UINT32_C(1) << 16)
#define TURNS_MAX    100u

typedef struct scenario {
    const char *name;
    weft_kind kind;
    uint8_t worker_options; /* of fuzz_worker_frames */
    uint8_t trainer_options;
    uint64_t worker_version, trainer_version;
    unsigned abort_after; /* turns; 0: never */
    unsigned pushes;
} scenario;

static const scenario SCENARIOS[] = {
    {"recorded-sparse", WEFT_SPARSE, 0, 32, 3, 3, 0, 1},
    {"recorded-baseline", WEFT_BASELINE, 0, 32, 3, 3, 0, 1},
    {"recorded-baseline-streamed", WEFT_BASELINE, 18, 32, 3, 3, 0, 1},
    {"recorded-two-updates", WEFT_SPARSE, 0, 33, 3, 3, 0, 1},
    {"recorded-two-pushes", WEFT_SPARSE, 0, 32, 3, 3, 0, 2},
    {"recorded-abort", WEFT_SPARSE, 16, 32, 3, 3, 2, 1},
    {"recorded-abort-late", WEFT_SPARSE, 16, 32, 3, 3, 3, 1},
    {"recorded-worker-refuses", WEFT_SPARSE, 16, 32, 3, 4, 0, 1},
    {"recorded-other-base", WEFT_SPARSE, 0, 32, 4, 3, 0, 1},
};

static const uint8_t CHANGES[] = {3, 1, 60, 2, 100, 4}; /* places in the content, and what flips */

typedef struct record {
    uint8_t bytes[RECORD_BYTES];
    size_t length;
} record;

typedef struct talk {
    fuzz_model held, current, base;
    weft_worker *worker;
    weft_trainer *trainer;
    uint32_t here, there;
    record to_worker, to_trainer;
} talk;

static talk t;

static void put(record *r, const void *bytes, size_t length)
{
    fuzz_expect(length <= RECORD_BYTES - r->length);
    memcpy(r->bytes + r->length, bytes, length);
    r->length += length;
}

static void put_raw(record *r, uint8_t what, const weft_span *span)
{
    const uint8_t head[] = {what, (uint8_t)(span->length & 0xffu), (uint8_t)(span->length >> 8)};
    fuzz_expect(span->length <= UINT16_MAX);
    put(r, head, sizeof head);
    put(r, span->data, span->length);
}

static void begin(const scenario *s)
{
    weft_worker_config worker = WEFT_WORKER_CONFIG_INIT;
    weft_trainer_config trainer = WEFT_TRAINER_CONFIG_INIT;
    fuzz_content first = {{0}};
    fuzz_content_first(&first);
    fuzz_model_set(&t.held, &first);
    fuzz_model_set(&t.current, &first);
    fuzz_model_set(&t.base, &first);
    worker.model = t.held.model;
    worker.version = s->worker_version;
    worker.baseline = (weft_baseline_policy)((s->worker_options & 3u) % 3u);
    trainer.model = t.current.model;
    trainer.base = t.base.model;
    trainer.base_version = s->trainer_version;
    trainer.timeout_ms = FUZZ_TIMEOUT_MS;
    trainer.update_bytes = UINT64_C(16) * (s->trainer_options & 7u);
    fuzz_expect(weft_worker_create(&t.worker, &worker) == WEFT_OK);
    fuzz_expect(weft_trainer_create(&t.trainer, &trainer) == WEFT_OK);
    fuzz_expect(weft_worker_link_open(t.worker, &t.here) == WEFT_OK);
    fuzz_expect(weft_trainer_link_open(t.trainer, &t.there) == WEFT_OK);
    t.to_worker.length = t.to_trainer.length = 0;
    put(&t.to_worker, &s->worker_options, 1);
    put(&t.to_trainer, &s->trainer_options, 1);
}

/* Each says what it has to say. False: nothing. */
static bool turn(void)
{
    weft_span spans[WEFT_SPANS_MAX];
    bool moved = false;
    while (weft_trainer_send(t.trainer, t.there, spans) > 0) {
        put_raw(&t.to_worker, FUZZ_WORKER_RAW, &spans[0]);
        (void)weft_worker_receive(t.worker, t.here, spans[0].data, spans[0].length);
        weft_trainer_sent(t.trainer, t.there, spans[0].length);
        moved = true;
    }
    while (weft_worker_send(t.worker, t.here, spans) > 0) {
        put_raw(&t.to_trainer, FUZZ_TRAINER_RAW, &spans[0]);
        (void)weft_trainer_receive(t.trainer, t.there, spans[0].data, spans[0].length);
        weft_worker_sent(t.worker, t.here, spans[0].length);
        moved = true;
    }
    return moved;
}

static void push(const scenario *s, uint64_t version)
{
    const uint8_t head[] = {FUZZ_TRAINER_PUSH, (uint8_t)((s->kind == WEFT_BASELINE ? 1u : 0u) |
                                                         sizeof CHANGES / 2u << 1)};
    fuzz_content content = {{0}};
    fuzz_model_get(&t.current, &content);
    for (size_t i = 0; i < sizeof CHANGES; i += 2) {
        content.bytes[CHANGES[i]] ^= CHANGES[i + 1];
    }
    fuzz_model_set(&t.current, &content);
    put(&t.to_trainer, head, sizeof head);
    put(&t.to_trainer, CHANGES, sizeof CHANGES);
    fuzz_expect(weft_trainer_push(t.trainer, s->kind, version) == WEFT_OK);
}

static void play(const scenario *s)
{
    static const uint8_t ABORT[] = {FUZZ_TRAINER_ABORT};
    unsigned turns = 0;
    begin(s);
    (void)turn();
    for (unsigned i = 0; i < s->pushes; i++) {
        push(s, FUZZ_FIRST_VERSION + 1u + i);
        while (turn() && turns < TURNS_MAX) {
            if (++turns == s->abort_after) {
                put(&t.to_trainer, ABORT, sizeof ABORT);
                fuzz_expect(weft_trainer_abort(t.trainer) == WEFT_OK);
            }
        }
    }
    weft_worker_destroy(t.worker);
    weft_trainer_destroy(t.trainer);
}

static void write_file(const char *folder, const char *harness, const char *name, const record *r)
{
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/%s/%s", folder, harness, name);
    fuzz_expect(length > 0 && (size_t)length < sizeof path);
    FILE *file = fopen(path, "wb");
    bool written = file != NULL && fwrite(r->bytes, 1, r->length, file) == r->length;
    if (file == NULL || fclose(file) != 0 || !written) {
        perror(path);
        exit(1);
    }
}

int main(int count, char **words)
{
    if (count != 2) {
        (void)fprintf(stderr, "usage: fuzz-record FOLDER\n");
        return 2;
    }
    fuzz_model_create(&t.held);
    fuzz_model_create(&t.current);
    fuzz_model_create(&t.base);
    for (size_t i = 0; i < sizeof SCENARIOS / sizeof *SCENARIOS; i++) {
        play(&SCENARIOS[i]);
        write_file(words[1], "worker_frames", SCENARIOS[i].name, &t.to_worker);
        write_file(words[1], "trainer_frames", SCENARIOS[i].name, &t.to_trainer);
    }
    weft_model_destroy(t.held.model);
    weft_model_destroy(t.current.model);
    weft_model_destroy(t.base.model);
    return 0;
}
