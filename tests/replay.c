/* weft-replay WORKERS VERSIONS: walks the paths that tla/paths.py finds in the model's graph, with
 * the real engines, and compares after each step all that can be seen of them with the model's
 * state. Reads from standard input:
 *
 *      S TEXT                      a state, numbered from 0
 *      P                           a path begins, in the first state
 *      ACTION WORKER LINK STATE    a step of it: worker from 0, link 1 is the past one
 *
 * Stops at the first difference, with exit status 1. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "invariant.h"
#include "replay_world.h"

#define LINE_BYTES 4096u

typedef struct replay {
    replay_world *world;
    uint32_t workers, versions;
    char **states;
    size_t count, capacity;
    uint64_t paths, steps, line;
} replay;

static void add_state(replay *r, const char *text)
{
    if (r->count == r->capacity) {
        r->capacity = r->capacity == 0 ? 1024 : 2 * r->capacity;
        r->states = realloc(r->states, r->capacity * sizeof *r->states);
        weft_invariant(r->states != NULL);
    }
    r->states[r->count] = strdup(text);
    weft_invariant(r->states[r->count] != NULL);
    r->count++;
}

static void finish(replay *r)
{
    if (r->world != NULL) {
        replay_end(r->world);
        r->world = NULL;
    }
}

static bool is_in(const replay *r, size_t state, const char *after)
{
    char text[REPLAY_TEXT_BYTES];
    replay_print(r->world, text);
    bool same = state < r->count && strcmp(text, r->states[state]) == 0;
    if (!same) {
        (void)printf(
            "line %" PRIu64 ", path %" PRIu64 ", after %s\n  the model: %s\n  the engines: %s\n",
            r->line, r->paths, after, state < r->count ? r->states[state] : "no such state", text);
    }
    return same;
}

static bool begin(replay *r)
{
    finish(r);
    r->world = replay_begin(r->workers, r->versions);
    r->paths++;
    return is_in(r, 0, "nothing");
}

static bool step(replay *r, char *line)
{
    char *end, *action = strtok_r(line, " ", &end);
    const char *worker = strtok_r(NULL, " ", &end), *link = strtok_r(NULL, " ", &end);
    const char *state = strtok_r(NULL, " ", &end);
    weft_invariant(state != NULL && r->world != NULL);
    uint32_t number = (uint32_t)strtoul(worker, NULL, 10);
    weft_invariant(number < r->workers);
    r->steps++;
    if (!replay_step(r->world, action, number, link[0] == '1')) {
        (void)printf("line %" PRIu64 ", path %" PRIu64 ": %s of worker %" PRIu32
                     " could not be made to happen\n",
                     r->line, r->paths, action, number + 1);
        return false;
    }
    return is_in(r, strtoul(state, NULL, 10), action);
}

int main(int count, char **words)
{
    static char line[LINE_BYTES];
    replay r = {.world = NULL};
    bool good = count == 3;
    if (!good) {
        (void)fprintf(stderr, "usage: weft-replay WORKERS VERSIONS (tla/paths.py gives them)\n");
        return 2;
    }
    r.workers = (uint32_t)strtoul(words[1], NULL, 10);
    r.versions = (uint32_t)strtoul(words[2], NULL, 10);
    while (good && fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        r.line++;
        if (strncmp(line, "S ", 2) == 0) {
            add_state(&r, line + 2);
        } else {
            good = strcmp(line, "P") == 0 ? begin(&r) : step(&r, line);
        }
    }
    finish(&r);
    for (size_t i = 0; i < r.count; i++) {
        free(r.states[i]);
    }
    free(r.states);
    (void)printf("%" PRIu64 " paths, %" PRIu64 " steps\n", r.paths, r.steps);
    return good ? 0 : 1;
}
