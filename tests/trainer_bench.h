/* A trainer's core by itself, and what its last step did: what the tests of protocol_trainer.c
 * share. */
#ifndef WEFT_TESTS_TRAINER_BENCH_H
#define WEFT_TESTS_TRAINER_BENCH_H

#include "protocol.h"
#include "support.h"

#define MS             UINT64_C(1000000)
#define FINGERPRINT    UINT64_C(0xf0)
#define BASE           3u
#define BASE_DIGEST    UINT64_C(0xb0)
#define ONE_IN(rnd, n) (test_random_below(rnd, n) == 0)

typedef struct bench {
    weft_trainer_core core;
    weft_actions actions;
    uint64_t now_ns;
} bench;

/* The answer that completes each phase. */
extern const weft_message_type trainer_bench_answers[WEFT_PHASE_ABORT + 1];

void trainer_bench_step(bench *b, weft_input input);
void trainer_bench_hear(bench *b, uint32_t link, weft_message message);
weft_message trainer_bench_hello_of(uint64_t last_epoch, weft_outcome outcome);
/* A trainer with so many workers that have said HELLO. */
void trainer_bench_begin(bench *b, uint32_t workers);

#endif
