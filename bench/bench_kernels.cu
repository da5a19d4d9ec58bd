// Times the kernels on whole models, against what the memory allows.
//
//   bench_kernels [--json] [--model NAME]
//
// Models as in the usual benchmarks of sparse updates:
// bf16, positions stratified (one in each stride), all tensors in one buffer. Times are medians of
// 11 runs between events, after 2 warm ones; before the timing every operation is checked against
// the others: digests before and after put must differ by what verify found, and so on.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cuda_runtime.h>
#include <string>
#include <vector>

#include "digest.h"
#include "weft_kernels.h"

namespace {

#define CUDA(call)                                                                                 \
    do {                                                                                           \
        int error = int(call);                                                                     \
        if (error != 0) {                                                                          \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,                          \
                    cudaGetErrorString(cudaError_t(error)));                                       \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)
#define CHECK(condition)                                                                           \
    ((condition) ? (void)0                                                                         \
                 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), exit(1)))

bool json;
std::string device_name;
double copy_rate; // bytes a second, read plus written
double read_rate;

// ---- models ----

typedef std::vector<uint64_t> model; // elements of each tensor

void add(model *to, std::initializer_list<uint64_t> elements)
{
    to->insert(to->end(), elements);
}

model make_model(const std::string &name)
{
    model made;

    if (name == "qwen0.5b") {
        add(&made, {151936ull * 896});
        for (int i = 0; i < 24; i++) {
            add(&made, {896 * 896, 896, 128 * 896, 128, 128 * 896, 128, 896 * 896, 4864 * 896,
                        4864 * 896, 896 * 4864, 896, 896});
        }
        add(&made, {896});
    } else if (name == "dense1b") {
        for (int i = 0; i < 8; i++) {
            add(&made, {1ull << 27});
        }
    } else if (name == "dense8b") {
        add(&made, {151936ull * 4096, 151936ull * 4096});
        for (int i = 0; i < 36; i++) {
            add(&made, {4096 * 4096, 1024 * 4096, 1024 * 4096, 4096 * 4096, 128, 128, 12288 * 4096,
                        12288 * 4096, 4096 * 12288, 4096, 4096});
        }
        add(&made, {4096});
    } else {
        CHECK(name == "moe30b");
        for (int i = 0; i < 48; i++) {
            for (int expert = 0; expert < 128; expert++) {
                add(&made, {768 * 2048, 768 * 2048, 2048 * 768});
            }
            add(&made, {4096 * 2048, 512 * 2048, 512 * 2048, 2048 * 4096});
        }
    }
    return made;
}

// ---- device memory ----

void *allocate(uint64_t bytes)
{
    void *pointer = nullptr;
    CUDA(cudaMalloc(&pointer, bytes == 0 ? 8 : bytes));
    return pointer;
}

template <typename T> T *upload(const std::vector<T> &from)
{
    T *pointer = static_cast<T *>(allocate(from.size() * sizeof(T)));
    CUDA(cudaMemcpy(pointer, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice));
    return pointer;
}

__global__ void fill_kernel(uint64_t *to, uint64_t words, uint64_t seed)
{
    for (uint64_t i = blockIdx.x * uint64_t(blockDim.x) + threadIdx.x; i < words;
         i += uint64_t(gridDim.x) * blockDim.x) {
        to[i] = weft_digest_mix(seed + i);
    }
}

// One position in each stride, and a value there that differs from the old one.
__global__ void change_kernel(weft_kernel_table table)
{
    for (uint64_t i = blockIdx.x; i < table.work_count; i += gridDim.x) {
        const weft_segment &segment = table.segments[table.work[i].segment];
        const uint64_t begin = uint64_t(table.work[i].chunk) * WEFT_KERNEL_ENTRIES;
        const uint64_t end = min(begin + WEFT_KERNEL_ENTRIES, segment.count);
        const uint64_t stride = segment.elements / segment.count;
        for (uint64_t at = begin + threadIdx.x; at < end; at += blockDim.x) {
            const uint64_t drawn = weft_digest_mix(segment.seed + at);
            const uint64_t index = at * stride + drawn % stride;
            ((uint32_t *)segment.indices)[at] = uint32_t(index);
            ((uint16_t *)segment.values)[at] = uint16_t(((uint16_t *)segment.target)[index] ^ 1);
        }
    }
}

__global__ void read_kernel(const uint4 *from, uint64_t vectors, unsigned *never)
{
    const uint64_t step = uint64_t(gridDim.x) * blockDim.x;
    uint64_t i = blockIdx.x * uint64_t(blockDim.x) + threadIdx.x;
    unsigned sum = 0;

    for (; i + 7 * step < vectors; i += 8 * step) {
        uint4 loaded[8];
#pragma unroll
        for (int k = 0; k < 8; k++) {
            loaded[k] = __ldg(from + i + k * step);
        }
#pragma unroll
        for (int k = 0; k < 8; k++) {
            sum ^= loaded[k].x ^ loaded[k].y ^ loaded[k].z ^ loaded[k].w;
        }
    }
    if (sum == 0x12345678u) {
        *never = sum;
    }
}

// ---- timing ----

template <typename Run> double milliseconds(const Run &run)
{
    std::vector<float> times;
    cudaEvent_t begin, end;

    CUDA(cudaEventCreate(&begin));
    CUDA(cudaEventCreate(&end));
    for (int i = 0; i < 13; i++) {
        float time = 0;
        CUDA(cudaEventRecord(begin));
        run();
        CUDA(cudaEventRecord(end));
        CUDA(cudaEventSynchronize(end));
        CUDA(cudaEventElapsedTime(&time, begin, end));
        if (i >= 2) {
            times.push_back(time);
        }
    }
    CUDA(cudaEventDestroy(begin));
    CUDA(cudaEventDestroy(end));
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

void report(const char *what, const std::string &model, uint64_t tensors, uint64_t changed,
            double time, double limit, const char *of, double reach)
{
    if (json) {
        printf("{\"device\": \"%s\", \"what\": \"%s\", \"model\": \"%s\", "
               "\"tensors\": %llu, \"changed\": %llu, \"milliseconds\": %.4f, \"limit\": %.4f, "
               "\"limit_of\": \"%s\", \"ratio\": %.3f, \"reach\": %.2f}\n",
               device_name.c_str(), what, model.c_str(), (unsigned long long)tensors,
               (unsigned long long)changed, time, limit, of, time / limit, reach);
    } else {
        printf("%-9s %-9s %6llu %10llu  %9.4f ms  %9.4f ms %-10s %6.3f x  (reach %.2f)%s\n", what,
               model.c_str(), (unsigned long long)tensors, (unsigned long long)changed, time, limit,
               of, time / limit, reach, reach > 0 && time > reach * limit ? "  MISSED" : "");
    }
    fflush(stdout);
}

void measure_rates()
{
    const uint64_t bytes = 2ull << 30;
    char *a = static_cast<char *>(allocate(bytes));
    char *b = static_cast<char *>(allocate(bytes));

    fill_kernel<<<2048, 256>>>(reinterpret_cast<uint64_t *>(a), bytes / 8, 1);
    double copy =
        milliseconds([&] { CUDA(cudaMemcpyAsync(b, a, bytes, cudaMemcpyDeviceToDevice)); });
    double read = 1e9;
    for (int blocks : {132 * 2, 132 * 4, 132 * 8, 132 * 32}) {
        read =
            std::min(read, milliseconds([&] {
                         read_kernel<<<blocks, 256>>>(reinterpret_cast<const uint4 *>(a),
                                                      bytes / 16, reinterpret_cast<unsigned *>(b));
                     }));
    }
    CUDA(cudaGetLastError());
    copy_rate = 2.0 * double(bytes) / (copy / 1e3);
    read_rate = double(bytes) / (read / 1e3);
    if (json) {
        printf("{\"device\": \"%s\", \"what\": \"rates\", \"copy_gigabytes_per_second\": %.0f, "
               "\"read_gigabytes_per_second\": %.0f}\n",
               device_name.c_str(), copy_rate / 1e9, read_rate / 1e9);
    } else {
        printf("%s: copy %.0f GB/s (read plus written), read %.0f GB/s\n", device_name.c_str(),
               copy_rate / 1e9, read_rate / 1e9);
        printf("%-9s %-9s %6s %10s  %12s  %12s\n", "what", "model", "tensors", "changed", "time",
               "limit");
    }
    CUDA(cudaFree(a));
    CUDA(cudaFree(b));
}

// ---- a model on the device ----

struct world {
    std::string name;
    uint64_t bytes = 0; // of the weights
    uint64_t changed = 0;
    char *weights = nullptr;
    char *payload = nullptr; // indices, values, undo
    std::vector<weft_segment> segments;
    weft_kernel_table entries = {}, targets = {};
    weft_kernel_sums *sums = nullptr;
    weft_device_result *result = nullptr; // pinned
};

weft_kernel_table table_of(const world &world, const weft_segment *segments,
                           decltype(weft_kernel_work_entries) *build)
{
    std::vector<weft_kernel_work> work(
        build(world.segments.data(), world.segments.size(), 0, nullptr));
    build(world.segments.data(), world.segments.size(), 0, work.data());
    return {segments, upload(work), work.size()};
}

world make_world(const std::string &name, double density)
{
    const model tensors = make_model(name);
    world made;
    uint64_t payload_bytes = 0;

    made.name = name;
    for (uint64_t elements : tensors) {
        weft_segment segment = {};
        segment.elements = elements;
        segment.count = std::max<uint64_t>(1, uint64_t(double(elements) * density));
        segment.seed = weft_digest_mix(made.segments.size());
        segment.index_bytes = 4;
        segment.element_bytes = 2;
        segment.target = reinterpret_cast<void *>(made.bytes);
        made.bytes += (elements * 2 + 255) / 256 * 256;
        made.changed += segment.count;
        made.segments.push_back(segment);
    }
    // Indices of all tensors, then values, then undo.
    for (weft_segment &segment : made.segments) {
        segment.indices = reinterpret_cast<void *>(payload_bytes);
        payload_bytes += (segment.count * 4 + 7) / 8 * 8;
    }
    for (weft_segment &segment : made.segments) {
        segment.values = reinterpret_cast<void *>(payload_bytes);
        payload_bytes += (segment.count * 2 + 7) / 8 * 8;
    }
    for (weft_segment &segment : made.segments) {
        segment.undo = reinterpret_cast<void *>(payload_bytes);
        payload_bytes += (segment.count * 2 + 7) / 8 * 8;
    }
    made.weights = static_cast<char *>(allocate(made.bytes));
    made.payload = static_cast<char *>(allocate(payload_bytes));
    for (weft_segment &segment : made.segments) {
        segment.target = made.weights + uintptr_t(segment.target);
        segment.indices = made.payload + uintptr_t(segment.indices);
        segment.values = made.payload + uintptr_t(segment.values);
        segment.undo = made.payload + uintptr_t(segment.undo);
    }
    const weft_segment *table = upload(made.segments);
    made.entries = table_of(made, table, weft_kernel_work_entries);
    made.targets = table_of(made, table, weft_kernel_work_targets);
    made.sums = static_cast<weft_kernel_sums *>(allocate(sizeof *made.sums));
    CUDA(cudaHostAlloc(&made.result, sizeof *made.result, cudaHostAllocDefault));
    fill_kernel<<<4096, 256>>>(reinterpret_cast<uint64_t *>(made.weights), made.bytes / 8, 7);
    change_kernel<<<4096, 256>>>(made.entries);
    CUDA(cudaGetLastError());
    CUDA(cudaDeviceSynchronize());
    return made;
}

void release(world *world)
{
    CUDA(cudaFree(world->weights));
    CUDA(cudaFree(world->payload));
    CUDA(cudaFree(const_cast<weft_segment *>(world->entries.segments)));
    CUDA(cudaFree(const_cast<weft_kernel_work *>(world->entries.work)));
    CUDA(cudaFree(const_cast<weft_kernel_work *>(world->targets.work)));
    CUDA(cudaFree(world->sums));
    CUDA(cudaFreeHost(world->result));
}

uint64_t digest(const world &world)
{
    CUDA(weft_kernel_digest(nullptr, &world.targets, world.sums, world.result));
    CUDA(cudaDeviceSynchronize());
    return world.result->digest;
}

// The operations agree with each other.
void check(const world &world)
{
    uint64_t before = digest(world);

    CUDA(weft_kernel_verify(nullptr, &world.entries, world.sums, world.result));
    CUDA(cudaDeviceSynchronize());
    CHECK(world.result->status == WEFT_OK);
    uint64_t change = world.result->digest;
    CUDA(weft_kernel_put(nullptr, &world.entries));
    CHECK(change != 0 && digest(world) == before + change);
    CUDA(weft_kernel_rollback(nullptr, &world.entries));
    CHECK(digest(world) == before);
}

void bench_world(const std::string &name, double density)
{
    world world = make_world(name, density);
    const uint64_t tensors = world.segments.size();
    const double limit = double(world.changed) * (2 * 64 + 6) / copy_rate * 1e3;
    const double reading = double(world.bytes) / read_rate * 1e3;

    {
        check(world);
        double put = milliseconds([&] { CUDA(weft_kernel_put(nullptr, &world.entries)); });
        report("put", name, tensors, world.changed, put, limit, "bursts", 1.25);
        report("rollback", name, tensors, world.changed,
               milliseconds([&] { CUDA(weft_kernel_rollback(nullptr, &world.entries)); }), put,
               "put", 1.1);
        report("verify", name, tensors, world.changed, milliseconds([&] {
                   CUDA(weft_kernel_verify(nullptr, &world.entries, world.sums, world.result));
               }),
               put, "put", 1.5);
        report("digest", name, tensors, 0, milliseconds([&] {
                   CUDA(weft_kernel_digest(nullptr, &world.targets, world.sums, world.result));
               }),
               reading, "reading", 1.5);
    }
    const uint64_t payload_bytes = std::min<uint64_t>(world.bytes, 1ull << 30);
    report("payload", name, tensors, 0, milliseconds([&] {
               CUDA(weft_kernel_payload_digest(nullptr, world.weights, payload_bytes, 0, world.sums,
                                               world.result));
           }),
           double(payload_bytes) / read_rate * 1e3, "reading", 1.5);
    release(&world);
}

// ---- diff ----

template <typename T> T *allocate_array(uint64_t count)
{
    return static_cast<T *>(allocate(count * sizeof(T)));
}

void bench_diff(const std::string &name, double density)
{
    world world = make_world(name, density);
    char *after = static_cast<char *>(allocate(world.bytes));
    std::vector<weft_comparison> tensors;
    weft_kernel_diff diff = {};
    const uint64_t before_digest = digest(world);

    for (const weft_segment &segment : world.segments) {
        const char *target = static_cast<const char *>(segment.target);
        tensors.push_back(
            {target, after + (target - world.weights), segment.elements, segment.seed, 4, 2});
    }
    CUDA(cudaMemcpy(after, world.weights, world.bytes, cudaMemcpyDeviceToDevice));
    // The changed version becomes the old one: the digests differ all the same.
    CUDA(weft_kernel_put(nullptr, &world.entries));
    std::vector<uint64_t> first(tensors.size() + 1);
    std::vector<weft_kernel_work> work(
        weft_kernel_work_comparisons(tensors.data(), tensors.size(), nullptr, nullptr));
    weft_kernel_work_comparisons(tensors.data(), tensors.size(), work.data(), first.data());
    diff.tensors = upload(tensors);
    diff.work = upload(work);
    diff.first = upload(first);
    diff.tensor_count = tensors.size();
    diff.work_count = work.size();
    diff.pool_bytes = world.changed * 4 + work.size() * 16;
    diff.pool = allocate_array<uint8_t>(diff.pool_bytes);
    diff.where = allocate_array<uint64_t>(work.size());
    diff.found = allocate_array<uint32_t>(work.size());
    diff.prefix = allocate_array<uint32_t>(work.size());
    diff.blocks = allocate_array<uint64_t>(weft_kernel_diff_blocks(work.size()));
    diff.places = allocate_array<weft_kernel_place>(tensors.size());
    diff.counts = allocate_array<uint64_t>(tensors.size());
    diff.sums = world.sums;
    CUDA(cudaHostAlloc(&diff.result, sizeof *diff.result, cudaHostAllocDefault));
    const uint64_t payload_bytes = world.changed * 6 + tensors.size() * 16;
    void *payload = allocate(payload_bytes);
    const uint64_t changed_digest = digest(world);

    {
        const double reading = 2 * double(world.bytes) / read_rate * 1e3;
        CUDA(weft_kernel_diff_mark(nullptr, &diff));
        CUDA(weft_kernel_diff_emit(nullptr, &diff, payload, payload_bytes));
        CUDA(cudaDeviceSynchronize());
        CHECK(diff.result->changed == world.changed);
        CHECK(diff.result->digest == before_digest - changed_digest);
        CHECK(diff.result->pool_bytes <= diff.pool_bytes);
        CHECK(diff.result->payload_bytes <= payload_bytes);
        double mark = milliseconds([&] { CUDA(weft_kernel_diff_mark(nullptr, &diff)); });
        double both = milliseconds([&] {
            CUDA(weft_kernel_diff_mark(nullptr, &diff));
            CUDA(weft_kernel_diff_emit(nullptr, &diff, payload, payload_bytes));
        });
        report("diff", name, tensors.size(), world.changed, both, reading, "reading", 1.25);
        report("diff.mark", name, tensors.size(), world.changed, mark, reading, "reading", 0);
    }
    CUDA(cudaFree(const_cast<weft_comparison *>(diff.tensors)));
    CUDA(cudaFree(const_cast<weft_kernel_work *>(diff.work)));
    CUDA(cudaFree(const_cast<uint64_t *>(diff.first)));
    CUDA(cudaFree(diff.pool));
    CUDA(cudaFree(diff.where));
    CUDA(cudaFree(diff.found));
    CUDA(cudaFree(diff.prefix));
    CUDA(cudaFree(diff.blocks));
    CUDA(cudaFree(diff.places));
    CUDA(cudaFree(diff.counts));
    CUDA(cudaFreeHost(diff.result));
    CUDA(cudaFree(payload));
    CUDA(cudaFree(after));
    release(&world);
}

} // namespace

int main(int count, char **arguments)
{
    std::string only;
    cudaDeviceProp properties;

    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--json") == 0) {
            json = true;
        } else if (strcmp(arguments[i], "--model") == 0 && i + 1 < count) {
            only = arguments[++i];
        } else {
            fprintf(stderr, "usage: bench_kernels [--json] [--model NAME]\n");
            return 2;
        }
    }
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        printf("bench_kernels: skipped, for there is no GPU here\n");
        return 0;
    }
    CUDA(cudaGetDeviceProperties(&properties, 0));
    device_name = properties.name;
    measure_rates();
    if (only.empty() || only == "dense8b") {
        bench_world("dense8b", 0.01);
        bench_world("dense8b", 0.001);
        bench_world("dense8b", 0.03);
    }
    if (only.empty() || only == "dense1b") {
        bench_diff("dense1b", 0.01);
        bench_diff("dense1b", 0.001);
    }
    if (only.empty() || only == "moe30b") {
        bench_world("moe30b", 0.001);
    }
    if (only.empty() || only == "qwen0.5b") {
        bench_world("qwen0.5b", 0.01);
        bench_world("qwen0.5b", 0.001);
        bench_diff("qwen0.5b", 0.01);
    }
    if (only.empty() || only == "dense8b") {
        bench_diff("dense8b", 0.01);
    }
    return 0;
}
