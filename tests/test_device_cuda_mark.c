/* What NVTX hears of a session. It needs no GPU: sessions on the host, marks as the CUDA device
 * makes them, and a listener in the place of a profiler. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "device_cuda.h"
#include "nvtx_listener.h"
#include "world.h"

static const nvtx_heard *heard(size_t *count)
{
    /* It is loaded already, by NVTX; this finds the same one. */
    void *library = dlopen(getenv("NVTX_INJECTION64_PATH"), RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(library);
    void *symbol = dlsym(library, "nvtx_listener_heard");
    nvtx_listener_heard_function function;
    assert_non_null(symbol);
    memcpy(&function, &symbol, sizeof function);
    const nvtx_heard *events = function(count);
    (void)dlclose(library);
    return events;
}

static void check(const nvtx_heard *event, uint64_t id, const char *name)
{
    assert_string_equal(event->domain, "weft");
    assert_int_equal(event->id, id);
    assert_string_equal(event->name, name);
}

static void test_ranges(void **state)
{
    uint64_t outer = 0, inner = 0;
    size_t count;
    (void)state;
    weft_cuda_mark(NULL, &inner, NULL); /* nothing is open */
    weft_cuda_mark(NULL, &outer, "first");
    weft_cuda_mark(NULL, &inner, "within");
    weft_cuda_mark(NULL, &outer, "second");
    weft_cuda_mark(NULL, &inner, NULL);
    weft_cuda_mark(NULL, &outer, NULL);
    weft_cuda_mark(NULL, &outer, NULL);
    assert_int_equal(outer, 0);
    assert_int_equal(inner, 0);
    const nvtx_heard *events = heard(&count);
    assert_int_equal(count, 6);
    check(&events[0], 0, "first");
    check(&events[1], 1, "within");
    check(&events[2], 0, "");
    check(&events[3], 2, "second");
    check(&events[4], 1, "");
    check(&events[5], 2, "");
}

static size_t find(const nvtx_heard *events, size_t from, size_t count, const char *name)
{
    while (from < count && strcmp(events[from].name, name) != 0) {
        from++;
    }
    assert_true(from < count);
    return from;
}

static size_t end_of(const nvtx_heard *events, size_t begin, size_t count)
{
    size_t end = begin + 1;
    while (end < count && (events[end].name[0] != '\0' || events[end].id != events[begin].id)) {
        end++;
    }
    assert_true(end < count);
    return end;
}

/* The pause begins in applying and ends after finished has begun, on what a profiler draws. */
static void test_a_session(void **state)
{
    weft_device device = *weft_device_host();
    size_t before, count, open = 0;
    (void)state;
    device.mark = weft_cuda_mark;
    (void)heard(&before);
    test_world *world = world_create(&(world_options){
        .workers = 1, .tensors = 12, .trainer_device = &device, .worker_device = &device});
    world_push_and_check(world, WEFT_SPARSE, 100, 1);
    const nvtx_heard *events = heard(&count);
    for (size_t i = before; i < count; i++) {
        assert_string_equal(events[i].domain, "weft");
        open += events[i].name[0] != '\0' ? 1 : 0;
        open -= events[i].name[0] == '\0' ? 1 : 0;
    }
    assert_int_equal(open, 0);
    size_t pause = find(events, before, count, "weft pause");
    size_t applying = find(events, before, count, "weft worker applying");
    size_t finished = find(events, before, count, "weft worker finished");
    assert_true(find(events, before, count, "weft trainer diff") < applying);
    assert_true(applying < pause && pause < end_of(events, applying, count));
    assert_true(finished < end_of(events, pause, count));
    world_destroy(world);
}

/* The path of the listener is the program's argument. */
int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_a_session),
    };
    if (count != 2 || setenv("NVTX_INJECTION64_PATH", arguments[1], 1) != 0) {
        (void)fprintf(stderr, "usage: test_device_cuda_mark LISTENER.so\n");
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
