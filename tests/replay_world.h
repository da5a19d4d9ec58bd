/* The world of tla/WeightUpdate.tla around the real engines, driven through weft.h only: one
 * trainer, its workers, their devices and links. What can happen in the model is a function here,
 * and makes the engines do just that: frames are taken out of the bytes that they send, kept in
 * order, and delivered one at a time; a document or payload is one frame, whose last byte is kept
 * back until the model's device is through with it. */
#ifndef WEFT_TESTS_REPLAY_WORLD_H
#define WEFT_TESTS_REPLAY_WORLD_H

#include "frame.h"
#include "stand_in.h"

#define REPLAY_WORKERS_MAX  3u
#define REPLAY_VERSIONS_MAX 8u
#define REPLAY_FRAMES_MAX   12u
#define REPLAY_ELEMENTS     24u
#define REPLAY_TEXT_BYTES   2048u

typedef struct replay_frame {
    weft_message message; /* of its first piece */
    uint8_t *bytes;       /* of all its pieces */
    size_t length, given; /* given: to the receiver already */
} replay_frame;

typedef struct replay_queue {
    uint32_t count;
    replay_frame list[REPLAY_FRAMES_MAX];
} replay_queue;

typedef struct replay_link { /* a worker's end */
    bool open;
    uint32_t number;
    replay_queue down;
    replay_frame rest; /* delivered but for its last byte */
} replay_link;

typedef struct replay_worker {
    weft_worker *worker;
    weft_model *model;
    uint16_t weights[REPLAY_ELEMENTS];
    stand_in device;
    uint64_t now_ns;
    bool paused;
    replay_link links[2]; /* the present connection, and the past one */
    bool there;           /* the trainer's end of the present one */
    uint32_t there_number;
    replay_queue up;
} replay_worker;

typedef struct replay_world {
    uint32_t workers, versions, pushes;
    uint16_t contents[REPLAY_VERSIONS_MAX][REPLAY_ELEMENTS];
    uint64_t digests[REPLAY_VERSIONS_MAX];
    test_random random;
    replay_worker list[REPLAY_WORKERS_MAX];
    weft_trainer *trainer;
    weft_model *current, *base;
    uint16_t current_weights[REPLAY_ELEMENTS], base_weights[REPLAY_ELEMENTS];
    uint64_t now_ns; /* the trainer's */
} replay_world;

replay_world *replay_begin(uint32_t workers, uint32_t versions);
void replay_end(replay_world *w);
/* Does what the model's action does, to this worker, on its past link or the present one. False:
 * there is no such action, or the engine's face refused the call. */
bool replay_step(replay_world *w, const char *action, uint32_t worker, bool past);
/* What can be seen from outside, in one line; tla/paths.py writes the model's state alike. */
void replay_print(const replay_world *w, char text[REPLAY_TEXT_BYTES]);

#endif
