/* What the benchmarks share: a clock, the median of repeats, and rows that compare two timings. */
#ifndef WEFT_BENCH_TIMING_H
#define WEFT_BENCH_TIMING_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TIMING_REPEATS 9u

/* One row: what was measured, seconds of weft and of its peer; larger ratios are better. */
typedef struct timing_row {
    const char *what, *peer_name;
    double weft, peer; /* seconds, medians */
    double target;     /* least ratio peer / weft; 0: none */
} timing_row;

typedef void (*timing_run)(void *context);

static inline double timing_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline int timing_compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static inline double timing_once(timing_run run, void *context)
{
    double start = timing_now();

    run(context);
    return timing_now() - start;
}

/* Medians of both, taken in turn, so that what else the machine does hits both alike. The first run
 * of each pays for page faults and is not counted. */
static inline void timing_measure(timing_row *row, timing_run weft, timing_run peer, void *context)
{
    double of_weft[TIMING_REPEATS];
    double of_peer[TIMING_REPEATS];

    (void)timing_once(weft, context);
    (void)timing_once(peer, context);
    for (unsigned i = 0; i < TIMING_REPEATS; i++) {
        of_weft[i] = timing_once(weft, context);
        of_peer[i] = timing_once(peer, context);
    }
    qsort(of_weft, TIMING_REPEATS, sizeof of_weft[0], timing_compare);
    qsort(of_peer, TIMING_REPEATS, sizeof of_peer[0], timing_compare);
    row->weft = of_weft[TIMING_REPEATS / 2];
    row->peer = of_peer[TIMING_REPEATS / 2];
}

static inline const char *timing_verdict(const timing_row *row)
{
    if (row->target == 0) {
        return "";
    }
    return row->peer / row->weft >= row->target ? "yes" : "NO";
}

static inline void timing_print_head(bool json)
{
    if (!json) {
        (void)printf("%-34s %9s  %-26s %9s  %5s %6s  %s\n", "what", "weft ms", "peer", "peer ms",
                     "ratio", "target", "met");
    }
}

static inline void timing_print(const timing_row *row, bool json)
{
    if (json) {
        (void)printf("{\"what\": \"%s\", \"peer\": \"%s\", \"weft_ms\": %.3f, \"peer_ms\": %.3f, "
                     "\"ratio\": %.3f, \"target\": %.2f}\n",
                     row->what, row->peer_name, row->weft * 1e3, row->peer * 1e3,
                     row->peer / row->weft, row->target);
    } else {
        (void)printf("%-34s %9.2f  %-26s %9.2f  %5.2f ", row->what, row->weft * 1e3, row->peer_name,
                     row->peer * 1e3, row->peer / row->weft);
        if (row->target != 0) {
            (void)printf("%6.2f  %s", row->target, timing_verdict(row));
        }
        (void)printf("\n");
    }
    (void)fflush(stdout);
}

#endif
