/* How long the driver waits, by a clock that this program turns: libuv and weft ask for the time by
 * the function below, which is found before that of the C library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "net_fixture.h"

#define NS_PER_MS 1000000

/* By so much the time moves each time somebody asks for it. */
static long step_ms;
static long skew_ms;

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *time)
{
    long status = syscall(SYS_clock_gettime, clock, time);
    skew_ms += step_ms;
    time->tv_nsec += skew_ms % 1000 * NS_PER_MS;
    time->tv_sec += skew_ms / 1000 + time->tv_nsec / (1000L * NS_PER_MS);
    time->tv_nsec %= 1000L * NS_PER_MS;
    return (int)status;
}

/* Between the start of the timer and libuv's wait the whole time may go by: another process had the
 * core. libuv up to 1.44 then calls the timer, and waits for what is left, which is nothing that
 * would ever wake it. */
static void test_time_passes_before_the_wait(void **state)
{
    net_fixture *f = net_start(1, NULL, 100000, 100000);

    (void)state;
    net_until_workers(f, 1);
    (void)alarm(30); /* rather than wait for ever */
    for (int turn = 0; turn < 100; turn++) {
        step_ms = turn % 3;
        uint64_t before_ns = weft_net_now_ns();
        assert_int_equal(weft_net_poll_wait(f->members[0].net, 1), WEFT_OK);
        assert_true(weft_net_now_ns() - before_ns >= NS_PER_MS);
    }
    (void)alarm(0);
    step_ms = 0;
    net_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_passes_before_the_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
