/* A device in the place of the host's. It takes its time and fails by chance, or it holds what it
 * was given until a test releases it. The work is the host's. */
#ifndef WEFT_TESTS_STAND_IN_H
#define WEFT_TESTS_STAND_IN_H

#include "device.h"
#include "support.h"

typedef struct stand_in {
    weft_device face; /* pass this on; its context is the stand_in */
    /* by chance */
    test_random *random;
    unsigned fails_one_in; /* operations; 0: none fails */
    unsigned slowest;      /* most polls that an operation takes */
    unsigned polls;        /* that the present one still takes */
    /* as told */
    bool holds;       /* operations of a session are not over before stand_in_release */
    bool copies_fail; /* bytes that arrive cannot be stored */
    bool held;        /* something is not over */
    bool alive;       /* and its memory is still there */
    weft_device_operation operation;
    const weft_segment *segments;
    size_t count;
    weft_device_result *result;
} stand_in;

void stand_in_start(stand_in *device, test_random *random);
/* What is held is over: it failed if status is not WEFT_OK; what it says of the content is wrong by
 * so much. Until then weights that are written are neither old nor new. */
void stand_in_release(stand_in *device, weft_status status, uint64_t wrong);

#endif
