/* A device in the place of the host's that takes its time and fails where a test says so. The work
 * is the host's. */
#ifndef WEFT_TESTS_STAND_IN_H
#define WEFT_TESTS_STAND_IN_H

#include "device.h"
#include "support.h"

typedef struct stand_in {
    weft_device face; /* pass this on; its context is the stand_in */
    test_random *random;
    unsigned fails_one_in; /* operations, by chance; 0: none fails */
    unsigned slowest;      /* most polls that an operation takes */
    unsigned polls;        /* that the present one still takes */
} stand_in;

void stand_in_start(stand_in *device, test_random *random);

#endif
