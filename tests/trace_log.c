#include "trace_log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "frame_messages.h"
#include "protocol.h"

#define LINE_BYTES 512u

bool trace_log_open(trace_log *log, const char *path)
{
    log->file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    log->open = log->file >= 0;
    return log->open;
}

void trace_log_close(trace_log *log)
{
    if (log->open) {
        (void)close(log->file);
        log->open = false;
    }
}

/* A log with a hole proves nothing, so nobody goes on without it. */
static void put_line(const trace_log *log, const char *line, int length)
{
    bool whole = length > 0 && (unsigned)length < LINE_BYTES &&
                 write(log->file, line, (size_t)length) == (ssize_t)length;
    if (!whole) {
        perror("a line of a trace log was not written");
        abort();
    }
}

static void name_of(char text[16], uint32_t who)
{
    if (who == TRACE_LOG_TRAINER) {
        (void)snprintf(text, 16, "trainer");
    } else {
        (void)snprintf(text, 16, "w%" PRIu32, who + 1);
    }
}

void trace_log_say(const trace_log *log, const char *remark)
{
    char line[LINE_BYTES];
    if (log->open) {
        put_line(log, line, snprintf(line, sizeof line, "# %s\n", remark));
    }
}

static void put_record(const trace_log *log, uint32_t who, const char *kind, const char *peer,
                       const weft_trace *r)
{
    static const char *const SESSIONS[] = {"none", "sparse", "baseline"};
    char line[LINE_BYTES], name[16], link[16] = "none";
    name_of(name, who);
    if (r->link != WEFT_LINK_NONE) {
        (void)snprintf(link, sizeof link, "%" PRIu32, r->link);
    }
    int length =
        snprintf(line, sizeof line,
                 "%s %s %" PRIu64 " %" PRIu64 " %s %s %s %s %s %s %s %" PRIu32 " %" PRIu64
                 " 0x%016" PRIx64 " %" PRIu64 " %" PRIu64 " %s\n",
                 name, kind, r->now_ns, r->epoch, weft_state_name(r->from), weft_state_name(r->to),
                 weft_event_name(r->event), weft_message_name(r->message), link,
                 weft_status_name(r->status), (unsigned)r->session < 3 ? SESSIONS[r->session] : "?",
                 r->update, r->version, r->digest, r->offset, r->length, peer);
    put_line(log, line, length);
}

void trace_log_record(const trace_log *log, uint32_t who, uint32_t peer, const weft_trace *record)
{
    static const char *const KINDS[] = {[WEFT_TRACE_TRANSITION] = "TRANSITION",
                                        [WEFT_TRACE_SENT] = "SENT",
                                        [WEFT_TRACE_RECEIVED] = "RECEIVED",
                                        [WEFT_TRACE_DROPPED] = "DROPPED",
                                        [WEFT_TRACE_LOST] = "LOST"};
    char name[16] = "-";
    if (peer != TRACE_LOG_NOBODY) {
        name_of(name, peer);
    }
    if (log->open) {
        put_record(log, who, KINDS[record->kind], name, record);
    }
}

void trace_log_began(const trace_log *log, uint32_t who, uint64_t version, uint64_t digest)
{
    if (log->open) {
        put_record(log, who, "BEGAN", "-",
                   &(weft_trace){.link = WEFT_LINK_NONE, .version = version, .digest = digest});
    }
}

void trace_log_ended(const trace_log *log)
{
    if (log->open) {
        put_record(log, TRACE_LOG_TRAINER, "ENDED", "-", &(weft_trace){.link = WEFT_LINK_NONE});
    }
}
