/* What the commands of the tool `weft` share: options and help, output for people and for machines,
 * errors, model files, progress. main.c has the table of commands, cmd_NAME.c one command each. */
#ifndef WEFT_CLI_H
#define WEFT_CLI_H

#include <stdio.h>

#include "device_model.h"
#include "weft.h"

/* Exit status. One number for each thing that a script would do next. */
typedef enum cli_exit {
    CLI_OK = 0,
    CLI_NO = 1,          /* the thing asked about is not so, or the files do not belong together */
    CLI_USAGE = 2,       /* options or arguments */
    CLI_FILE = 3,        /* a file cannot be read or written, or is not what it should be */
    CLI_PEER = 4,        /* network or workers: nothing was committed */
    CLI_UNCONFIRMED = 5, /* committed, but not every worker has confirmed it; or in doubt */
    CLI_OTHER = 6        /* memory, limits, no such device, defects */
} cli_exit;

typedef struct cli_context {
    const char *command;
    bool json;
} cli_context;

/* ---- Options and help (options.c) ---- */

typedef enum cli_value {
    CLI_FLAG = 1,     /* bool */
    CLI_TEXT,         /* const char * */
    CLI_NUMBER,       /* uint64_t, decimal */
    CLI_SIZE,         /* uint64_t, decimal, may end in K, M or G (times 1024) */
    CLI_MILLISECONDS, /* uint32_t, decimal, not 0 */
    CLI_DIGEST,       /* uint64_t, hexadecimal with 0x */
    CLI_DEVICE,       /* cli_device_choice */
    CLI_TRANSPORT     /* cli_transport */
} cli_value;

typedef struct cli_option {
    const char *name;
    int letter; /* 0: it has no short form */
    cli_value value;
    const char *argument; /* what help calls it; NULL for a flag */
    void *to;
    bool *given; /* may be NULL */
    const char *text;
} cli_option;

typedef struct cli_page { /* what --help shows around the list of options */
    const char *synopsis; /* without "weft COMMAND" */
    const char *text;
    const char *json; /* the objects that --json prints */
    const char *examples;
    const char *exits;
} cli_page;

/* Reads the options; the operands stand at argv[optind] afterwards. True: go on. False: help was
 * asked for and printed, or the use is wrong and an error was printed; *result is the exit. */
bool cli_parse(cli_context *cli, const cli_page *page, const cli_option *options, size_t count,
               int operands, int argc, char **argv, cli_exit *result);
/* Prints the error and where help is. */
cli_exit cli_usage(const cli_context *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- Output (output.c) ---- */

#define CLI_NUMBER_TEXT_MAX 32u

/* 3549696 as "3,549,696". Returns text. */
const char *cli_grouped(char text[CLI_NUMBER_TEXT_MAX], uint64_t number);
/* part / whole in percent with two digits that tell something; "0 %" only for none. */
const char *cli_percent(char text[CLI_NUMBER_TEXT_MAX], uint64_t part, uint64_t whole);
/* "BASE_MISMATCH": the name without its prefix. */
const char *cli_status_name(weft_status status);

/* One JSON object on one line of stdout: begin, members, end. */
void cli_json_begin(const char *event);
void cli_json_text(const char *key, const char *text);
void cli_json_number(const char *key, uint64_t number);
void cli_json_digest(const char *key, uint64_t digest);
void cli_json_bool(const char *key, bool value);
void cli_json_shape(const char *key, const uint64_t *shape, uint32_t rank);
void cli_json_status(weft_status status); /* code, name, group, text, mend */
void cli_json_end(void);

/* An error: on stderr as "weft COMMAND: SUBJECT: CODE: sentence" and what to do, or as a JSON
 * object on stdout. subject (a file, an address) and detail may be NULL. Returns the exit of its
 * group. */
cli_exit cli_fail(const cli_context *cli, const char *subject, weft_status status,
                  const weft_detail *detail);
cli_exit cli_exit_of(weft_status status);

/* ---- Text on a terminal (text.c) ---- */

/* Columns that the text takes. */
size_t cli_text_width(const char *text);
/* Prints it; control characters and invalid UTF-8 become U+FFFD, so that no file can send commands
 * to the terminal. */
void cli_text_put(FILE *stream, const char *text);
/* The same, and spaces up to this width. */
void cli_text_pad(FILE *stream, const char *text, size_t width);
/* Quotes a line of a document and puts a caret under a byte of it, as a compiler does. line and
 * column count from 1. Of a long line only the neighbourhood is shown. */
void cli_text_excerpt(FILE *stream, const char *document, size_t length, uint32_t line,
                      uint32_t column);
/* A bar of up to CLI_BAR_CELLS cells for value of most; anything above 0 is visible. */
#define CLI_BAR_CELLS 12u
void cli_text_bar(FILE *stream, double value, double most);

/* ---- Model files (files.c) ---- */

typedef struct cli_model {
    const char *path;
    weft_file *file;
    weft_model *mapped;      /* of the file's mapping */
    weft_device_model moved; /* on a GPU; zeros: nowhere */
    weft_model *model;       /* the one of the two that is worked on */
    uint64_t elements, bytes;
} cli_model;

/* Maps a model file. On an error it is printed, and nothing is held. */
cli_exit cli_model_open(const cli_context *cli, const char *path, cli_model *model);
void cli_model_close(cli_model *model);
/* Do both paths lead to one existing file? */
bool cli_same_file(const char *a, const char *b);

/* ---- Devices (device.c) ---- */

#define CLI_DEVICE_ANY (-1) /* the process's current GPU, which is the first */

typedef struct cli_device_choice { /* zeros: the host */
    bool is_cuda;
    int number;
} cli_device_choice;

/* What carries the payload. */
typedef enum cli_transport {
    CLI_TCP = 0, /* the control connection */
    CLI_NCCL     /* from the memory of one GPU to that of another */
} cli_transport;

#define CLI_DEVICE_TEXT                                                                            \
    "where the weights live: host (default), cuda or cuda:N, the GPU of this\n"                    \
    "number; files are copied there and back"
#define CLI_TRANSPORT_TEXT                                                                         \
    "what carries the payload: tcp (default), the control connection, or\n"                        \
    "nccl, from GPU to GPU; it needs --device cuda and libnccl.so.2"

/* Read the options' texts; false: it is no such thing. */
bool cli_device_parse(const char *text, cli_device_choice *choice);
bool cli_transport_parse(const char *text, cli_transport *transport);
/* The host needs no release; give any to weft_device_destroy. On an error it is printed. */
cli_exit cli_device_open(const cli_context *cli, const cli_device_choice *choice,
                         const weft_device **device);
/* Do the two options fit? Otherwise an error is printed; *result is the exit. */
bool cli_transport_fits(const cli_context *cli, cli_transport choice,
                        const cli_device_choice *device, cli_exit *result);
/* After the device. NULL for tcp, which needs nothing; weft_transport_destroy takes either. On an
 * error it is printed. */
cli_exit cli_transport_open(const cli_context *cli, cli_transport choice, const weft_device *device,
                            const weft_transport **transport);
/* An error that may come from the device: with the device's words, if it has any. */
cli_exit cli_device_fail(const cli_context *cli, const char *subject, weft_status status,
                         const weft_device *device);
/* Copies the tensors to the device and has the model be those. For the host, and for a model that
 * is not open, there is nothing to do. On an error it is printed; close the model all the same. */
cli_exit cli_model_move(const cli_context *cli, const weft_device *device, cli_model *model);
/* Brings what the device holds back into the mapping, where weft_file_save finds it.
 * Returns: WEFT_OK, DEVICE_FAILED. */
weft_status cli_model_fetch(const cli_model *model);

/* ---- Progress on stderr, if that is a terminal (progress.c) ---- */

/* A line that says what goes on until cli_progress_end. */
void cli_progress_stage(const cli_context *cli, const char *text);
/* A bar: done of total bytes. Draws at most ten times a second. */
void cli_progress_bar(const cli_context *cli, const char *text, uint64_t done, uint64_t total);
/* Wipes the line. Call it before anything else is printed. */
void cli_progress_end(void);

/* ---- Signals (signals.c) ---- */

/* From now on SIGINT and SIGTERM only set what cli_interrupted tells, and SIGPIPE is ignored. */
void cli_signals_catch(void);
bool cli_interrupted(void);

/* ---- Commands ---- */

cli_exit cli_serve(cli_context *cli, int argc, char **argv);
cli_exit cli_push(cli_context *cli, int argc, char **argv);
cli_exit cli_diff(cli_context *cli, int argc, char **argv);
cli_exit cli_apply(cli_context *cli, int argc, char **argv);
cli_exit cli_verify(cli_context *cli, int argc, char **argv);
cli_exit cli_check(cli_context *cli, int argc, char **argv);
cli_exit cli_inspect(cli_context *cli, int argc, char **argv);

#endif
