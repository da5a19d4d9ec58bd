/* A worker, and a trainer that the test plays frame by frame: what the tests of the worker share.
 */
#ifndef WEFT_TESTS_WORKER_FIXTURE_H
#define WEFT_TESTS_WORKER_FIXTURE_H

#include "frame.h"
#include "support.h"
#include "weft.h"

#define NS_PER_MS  UINT64_C(1000000)
#define TIMEOUT_MS 1000u

/* Four bf16 elements change of eight; the payload is 4 indices (16 bytes) and 4 values (8 bytes).
 */
typedef struct fixture {
    weft_model *model;
    uint16_t weights[8], before[8];
    weft_worker *worker;
    test_allocator memory;
    uint32_t link;
    uint64_t now_ns, epoch;
    weft_status failed_hook;
    /* one valid session */
    uint8_t payload[24];
    char document[512];
    size_t document_length;
    uint64_t target_digest, payload_digest;
    /* the last answer of the worker */
    weft_message answer;
    char text[WEFT_TEXT_MAX + 1];
} fixture;

/* Steps of a session. */
enum { STARTED = 1, UPDATED, READY, STAGED, APPLIED, COMMITTED };

/* A worker with a link, and a valid session made for it. */
fixture *fixture_create(weft_baseline_policy baseline, uint64_t budget_bytes);
/* Checks that nothing leaks. */
void fixture_destroy(fixture *f);
/* A START that is right. */
weft_message fixture_start_message(const fixture *f);
/* Gives a frame to the worker, and hears its answer. Returns what weft_worker_receive does. */
weft_status fixture_say(fixture *f, weft_message *message, const void *tail);
/* What the worker wants to say, into answer and text; type 0 if it says nothing. The last one wins.
 */
void fixture_listen_to_worker(fixture *f);
/* A new link, past HELLO. */
void fixture_open_link(fixture *f);
/* Payload, document and digests of the fixture's session. */
void fixture_make_payload(fixture *f);
/* The document alone, and the payload's digest. */
void fixture_write_document(fixture *f, uint64_t base_digest, const char *extra);
void fixture_say_update(fixture *f);
void fixture_say_document(fixture *f);
void fixture_say_payload(fixture *f);
void fixture_say_plain(fixture *f, weft_message_type type);
/* Does the first `steps` steps of a session, and checks each answer. */
void fixture_go(fixture *f, int steps);
weft_state fixture_state_of(const fixture *f);
/* Idle, intact, the old version, the old bits, nothing held. */
void fixture_check_old(const fixture *f);
/* The session failed with this code: the worker said so, and is idle with the old bits. */
void fixture_check_failed(fixture *f, weft_status status);
/* A session with the next epoch commits. */
void fixture_check_next_commits(fixture *f);

#endif
