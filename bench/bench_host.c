/* The host device against the plainest code that could do the same, in one run on one core.
 *
 *      bench_host [--json] [--mib N]      N: size of the tensor, default 1024 */
#include "timing.h"

#include "device.h"
#include "digest.h"

#include <stdint.h>
#include <string.h>

#define SEED UINT64_C(0x5eed)

/* Two versions of one bf16 tensor, a third buffer that equals the first, and a sparse update. */
struct world {
    size_t bytes;
    uint64_t elements;
    uint8_t *before, *after, *same;
    uint64_t count; /* of the update */
    uint32_t *indices;
    uint16_t *values, *undo;
    uint8_t element_bytes; /* of the digest that is measured */
    const uint8_t *other;  /* what before is compared with */
    uint64_t payload_bytes, held, peak;
    bool pooled; /* kept is handed out again, as a pool does it */
    void *kept;
    size_t kept_bytes;
    volatile uint64_t sink;
};

static void *must(void *pointer)
{
    if (pointer == NULL) {
        (void)fputs("bench_host: not enough memory\n", stderr);
        exit(1);
    }
    return pointer;
}

static void must_be_ok(weft_status status)
{
    if (status != WEFT_OK) {
        (void)fprintf(stderr, "bench_host: status %d\n", (int)status);
        exit(1);
    }
}

/* ---- an allocator that counts, and may keep the last block ---- */

static void *counting_allocate(void *context, size_t bytes, weft_memory where)
{
    struct world *world = context;
    weft_allocator plain = weft_allocator_default();
    void *kept = world->kept;

    world->held += bytes;
    world->peak = world->peak > world->held ? world->peak : world->held;
    if (kept != NULL && world->kept_bytes == bytes) {
        world->kept = NULL;
        return kept;
    }
    return plain.allocate(plain.context, bytes, where);
}

static void counting_release(void *context, void *pointer, size_t bytes, weft_memory where)
{
    struct world *world = context;
    weft_allocator plain = weft_allocator_default();

    world->held -= bytes;
    if (world->pooled && world->kept == NULL) {
        world->kept = pointer;
        world->kept_bytes = bytes;
        return;
    }
    plain.release(plain.context, pointer, bytes, where);
}

/* ---- what is measured ---- */

static void weft_diff(void *context)
{
    struct world *world = context;
    const weft_device *device = weft_device_host();
    const weft_allocator allocator = {counting_allocate, counting_release, world};
    const weft_comparison tensor = {.before = world->before,
                                    .after = world->other,
                                    .elements = world->elements,
                                    .seed = SEED,
                                    .index_bytes = 4,
                                    .element_bytes = 2};
    uint64_t count = 0;
    weft_difference difference = {.counts = &count};

    must_be_ok(device->diff(device, &tensor, 1, &allocator, UINT64_MAX, &difference));
    world->payload_bytes = difference.payload_bytes;
    world->sink = difference.digest;
    if (difference.payload != NULL) {
        counting_release(world, difference.payload, difference.payload_capacity, WEFT_MEMORY_HOST);
    }
}

/* memcmp stops at the first difference, so it gets two buffers that have none. */
static void peer_memcmp(void *context)
{
    struct world *world = context;

    world->sink = (uint64_t)memcmp(world->before, world->same, world->bytes);
}

static void submit(struct world *world, weft_device_operation operation)
{
    const weft_device *device = weft_device_host();
    const weft_segment segment = {.target = world->before,
                                  .indices = world->indices,
                                  .values = world->values,
                                  .undo = world->undo,
                                  .count = world->count,
                                  .elements = world->elements,
                                  .seed = SEED,
                                  .index_bytes = 4,
                                  .element_bytes = 2};
    weft_device_result result;

    must_be_ok(device->submit(device, operation, &segment, 1, &result));
    must_be_ok(result.status);
    world->sink = result.digest;
}

static void weft_put(void *context)
{
    submit(context, WEFT_DEVICE_PUT);
}

static void peer_put(void *context)
{
    struct world *world = context;
    uint16_t *target = (void *)world->before;
    const uint32_t *indices = world->indices;
    const uint16_t *values = world->values;

    for (uint64_t i = 0; i < world->count; i++) {
        target[indices[i]] = values[i];
    }
}

static void weft_verify(void *context)
{
    submit(context, WEFT_DEVICE_VERIFY);
}

static void peer_gather(void *context)
{
    struct world *world = context;
    const uint16_t *target = (const void *)world->before;
    const uint32_t *indices = world->indices;
    uint16_t *undo = world->undo;

    for (uint64_t i = 0; i < world->count; i++) {
        undo[i] = target[indices[i]];
    }
}

static void weft_digest(void *context)
{
    struct world *world = context;

    world->sink = weft_digest_elements(world->before, 0, world->bytes / world->element_bytes,
                                       world->element_bytes, SEED);
}

static void peer_read(void *context)
{
    struct world *world = context;
    const uint64_t *words = (const void *)world->before;
    uint64_t sum = 0;

    for (size_t i = 0; i < world->bytes / 8; i++) {
        sum += words[i];
    }
    world->sink = sum;
}

/* ---- the world ---- */

static void fill(uint8_t *bytes, size_t length, uint64_t seed)
{
    for (size_t i = 0; i < length / 8; i++) {
        uint64_t word = weft_digest_mix(seed + i);
        memcpy(bytes + 8 * i, &word, 8);
    }
}

/* One element in a hundred, anywhere, takes other bits. */
static void change(struct world *world)
{
    uint16_t *after = (void *)world->after;

    for (uint64_t i = 0; i < world->elements / 100; i++) {
        uint64_t random = weft_digest_mix(UINT64_C(0xc4a46e) + i);
        after[random % world->elements] ^= (uint16_t)(1 + random / world->elements % 0xffff);
    }
}

/* Sorted random indices: one in each of `count` equal parts of the tensor. */
static void make_update(struct world *world, uint64_t count)
{
    uint64_t part = world->elements / count;

    world->count = count;
    world->indices = must(malloc(count * sizeof world->indices[0]));
    world->values = must(malloc(count * sizeof world->values[0]));
    world->undo = must(malloc(count * sizeof world->undo[0]));
    for (uint64_t i = 0; i < count; i++) {
        world->indices[i] = (uint32_t)(i * part + weft_digest_mix(i) % part);
        world->values[i] = (uint16_t)weft_digest_mix(~i);
    }
}

static void world_start(struct world *world, size_t mib)
{
    *world = (struct world){.bytes = mib << 20, .elements = (uint64_t)mib << 19};
    world->before = must(malloc(world->bytes));
    world->after = must(malloc(world->bytes));
    world->same = must(malloc(world->bytes));
    fill(world->before, world->bytes, 1);
    memcpy(world->same, world->before, world->bytes);
    memcpy(world->after, world->before, world->bytes);
    change(world);
    make_update(world, world->elements * 10000000 / (UINT64_C(1) << 29));
}

static void world_finish(struct world *world)
{
    free(world->kept);
    free(world->before);
    free(world->after);
    free(world->same);
    free(world->indices);
    free(world->values);
    free(world->undo);
}

static void measure(struct world *world, timing_row row, timing_run weft, timing_run peer,
                    bool json)
{
    timing_measure(&row, weft, peer, world);
    timing_print(&row, json);
}

static void measure_diff(struct world *world, bool json)
{
    world->other = world->after;
    measure(world, (timing_row){"diff, 1 % changed", "memcmp, nothing changed", 0, 0, 0.6},
            weft_diff, peer_memcmp, json);
    if (!json) {
        (void)printf("    payload %.1f MB, peak memory %.2f times the payload\n",
                     (double)world->payload_bytes * 1e-6,
                     (double)world->peak / (double)world->payload_bytes);
    }
    world->pooled = true;
    measure(world,
            (timing_row){"diff, 1 % changed, pooled memory", "memcmp, nothing changed", 0, 0, 0.6},
            weft_diff, peer_memcmp, json);
    world->pooled = false;
    world->other = world->same;
    measure(world, (timing_row){"diff, nothing changed", "memcmp, nothing changed", 0, 0, 0},
            weft_diff, peer_memcmp, json);
}

int main(int count, char **arguments)
{
    static const char *const digests[] = {[1] = "digest, 1-byte elements",
                                          [2] = "digest, 2-byte elements",
                                          [4] = "digest, 4-byte elements",
                                          [8] = "digest, 8-byte elements"};
    struct world world;
    bool json = false;
    size_t mib = 1024;

    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--json") == 0) {
            json = true;
        } else if (strcmp(arguments[i], "--mib") == 0 && i + 1 < count) {
            mib = strtoul(arguments[++i], NULL, 10);
        }
    }
    if (mib == 0 || mib > 4096) {
        (void)fputs("usage: bench_host [--json] [--mib 1..4096]\n", stderr);
        return 2;
    }
    world_start(&world, mib);
    timing_print_head(json);
    measure_diff(&world, json);
    /* before is written from here on; memcmp is over. */
    measure(&world, (timing_row){"put, 10 M random elements", "plain loop", 0, 0, 0.9}, weft_put,
            peer_put, json);
    measure(&world, (timing_row){"verify, 10 M random elements", "plain gather loop", 0, 0, 0},
            weft_verify, peer_gather, json);
    for (uint8_t bytes = 1; bytes <= 8; bytes = (uint8_t)(bytes * 2)) {
        world.element_bytes = bytes;
        measure(&world, (timing_row){digests[bytes], "sum of the words", 0, 0, 0}, weft_digest,
                peer_read, json);
    }
    world_finish(&world);
    return 0;
}
