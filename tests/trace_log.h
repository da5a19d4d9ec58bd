/* Writes what the trace hooks of a whole system say, one record a line, in one order, for
 * tla/trace.py. Several processes may write into one log: a line is one write to the end of the
 * file, done before the hook returns, so that a frame stands there before anybody can have received
 * it, and a process that is killed leaves all that it did.
 *
 *      who kind now_ns epoch from to event message link status session update version digest offset
 *      length peer
 *
 * who: "trainer" or a worker's "w1"; peer: whom a trainer's link leads to, "-" if unknown. Beside
 * the kinds of weft_trace: BEGAN, a process that starts, again if it was there before (version and
 * digest are what it begins with), and ENDED, nothing more will come of anybody. Lines with # say
 * something to the reader, "# left out: why" that this is no behaviour of the model. */
#ifndef WEFT_TESTS_TRACE_LOG_H
#define WEFT_TESTS_TRACE_LOG_H

#include "weft.h"

#define TRACE_LOG_TRAINER UINT32_MAX /* who; workers are numbered from 0 */
#define TRACE_LOG_NOBODY  UINT32_MAX /* peer */

typedef struct trace_log {
    int file;
    bool open;
} trace_log;

/* Makes the file, or opens the one that is there. False: it cannot be written. */
bool trace_log_open(trace_log *log, const char *path);
void trace_log_close(trace_log *log);
/* These do nothing when the log is not open. */
void trace_log_say(const trace_log *log, const char *remark);
void trace_log_began(const trace_log *log, uint32_t who, uint64_t version, uint64_t digest);
void trace_log_record(const trace_log *log, uint32_t who, uint32_t peer, const weft_trace *record);
void trace_log_ended(const trace_log *log);

#endif
