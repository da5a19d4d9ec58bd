/* One line on stderr that says how far a long command is. Nothing is printed in a pipe, with
 * --json, or where the terminal cannot wipe a line (TERM=dumb). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define WIPE        "\r\x1b[K"
#define PERIOD_NS   UINT64_C(100000000)
#define SHOWN_BYTES (UINT64_C(1) << 20)

static struct {
    bool shown;
    uint64_t drawn_ns;
} line;

static bool is_wanted(const cli_context *cli)
{
    const char *terminal = getenv("TERM");

    return !cli->json && isatty(STDERR_FILENO) == 1 &&
           (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

void cli_progress_stage(const cli_context *cli, const char *text)
{
    if (is_wanted(cli)) {
        (void)fputs(WIPE, stderr);
        cli_text_put(stderr, text);
        (void)fputs(" ...", stderr);
        (void)fflush(stderr);
        line.shown = true;
    }
}

void cli_progress_bar(const cli_context *cli, const char *text, uint64_t done, uint64_t total)
{
    uint64_t now_ns = weft_net_now_ns();

    if (!is_wanted(cli) || total == 0 || now_ns - line.drawn_ns < PERIOD_NS) {
        return;
    }
    line.drawn_ns = now_ns;
    line.shown = true;
    (void)fprintf(stderr, WIPE "%s %3.0f %% of %.1f MiB ", text, 100 * (double)done / (double)total,
                  (double)total / (double)SHOWN_BYTES);
    cli_text_bar(stderr, (double)done, (double)total);
    (void)fflush(stderr);
}

void cli_progress_end(void)
{
    if (line.shown) {
        (void)fputs(WIPE, stderr);
        (void)fflush(stderr);
        line.shown = false;
    }
}
