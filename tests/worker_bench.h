/* A worker's core by itself, and what its last step did: what the tests of protocol_worker.c share.
 */
#ifndef WEFT_TESTS_WORKER_BENCH_H
#define WEFT_TESTS_WORKER_BENCH_H

#include "protocol.h"
#include "support.h"

#define MS         UINT64_C(1000000)
#define ELEMENTS   100u
#define VERSION    10u
#define DIGEST     UINT64_C(0xd1)
#define TARGET     UINT64_C(0xe2)
#define TIMEOUT_MS 1000u
#define EPOCH      5u

typedef struct bench {
    weft_worker_core core;
    weft_actions actions;
    uint64_t now_ns;
} bench;

/* Every place in a session. */
typedef enum stage {
    AT_IDLE,
    AT_STARTED,
    AT_DOCUMENT,
    AT_VALIDATION,
    AT_PAYLOAD,
    AT_VERIFICATION,
    AT_STAGED,
    AT_WRITE,
    AT_DECISION,
    AT_UNDO,
    STAGES
} stage;

void bench_begin(bench *b);
void bench_step(bench *b, weft_input input);
void bench_assert_did(const bench *b, const char *expected);
void bench_hear_from(bench *b, uint32_t link, weft_message message);
void bench_hear(bench *b, weft_message message);
void bench_result(bench *b, weft_input_type type, weft_status status);
void bench_verified(bench *b, uint64_t digest, uint64_t changed);
void bench_lose(bench *b, uint32_t link, weft_status status);
void bench_pass(bench *b, uint64_t ns);
weft_message bench_start_of(weft_kind kind, uint32_t updates);
weft_message bench_update_of(uint32_t number);
weft_message bench_piece_of(weft_message_type type, uint32_t number, uint64_t offset,
                            uint32_t tail);
weft_message bench_plain(weft_message_type type);
weft_message bench_composed(const bench *b, uint32_t action);
void bench_assert_idle(const bench *b);
void bench_assert_holds(const bench *b, weft_condition condition, uint64_t version, uint64_t digest,
                        weft_outcome outcome);
void bench_reach(bench *b, stage to);
/* The state of each stage. */
extern const weft_state bench_state_at[STAGES];
void bench_assert_rolled_back(bench *b, stage at, const char *code, bool told,
                              weft_outcome outcome);
weft_message bench_any_message(uint8_t type);
void bench_enter(bench *b, stage to);

#endif
