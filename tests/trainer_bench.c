#include "trainer_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

const weft_message_type trainer_bench_answers[WEFT_PHASE_ABORT + 1] = {
    [WEFT_PHASE_NONE] = WEFT_MESSAGE_HELLO,    [WEFT_PHASE_START] = WEFT_MESSAGE_STARTED,
    [WEFT_PHASE_PREPARE] = WEFT_MESSAGE_READY, [WEFT_PHASE_PAYLOAD] = WEFT_MESSAGE_STAGED,
    [WEFT_PHASE_APPLY] = WEFT_MESSAGE_APPLIED, [WEFT_PHASE_COMMIT] = WEFT_MESSAGE_COMMITTED,
    [WEFT_PHASE_ABORT] = WEFT_MESSAGE_ABORTED,
};

void trainer_bench_step(bench *b, weft_input input)
{
    input.now_ns = b->now_ns;
    weft_trainer_step(&b->core, &input, &b->actions);
}

void trainer_bench_hear(bench *b, uint32_t link, weft_message message)
{
    trainer_bench_step(b,
                       (weft_input){.type = WEFT_INPUT_MESSAGE, .link = link, .message = message});
}

weft_message trainer_bench_hello_of(uint64_t last_epoch, weft_outcome outcome)
{
    return (weft_message){.type = WEFT_MESSAGE_HELLO,
                          .fingerprint = FINGERPRINT,
                          .last_epoch = last_epoch,
                          .outcome = (uint8_t)outcome};
}

void trainer_bench_begin(bench *b, uint32_t workers)
{
    memset(b, 0, sizeof *b);
    weft_trainer_core_init(&b->core, FINGERPRINT, BASE, BASE_DIGEST);
    b->now_ns = 7 * MS;
    for (uint32_t link = 0; link < workers; link++) {
        weft_trainer_core_open(&b->core, link);
        trainer_bench_hear(b, link, trainer_bench_hello_of(0, WEFT_OUTCOME_NONE));
    }
    assert_int_equal(weft_trainer_core_known(&b->core), workers);
}
