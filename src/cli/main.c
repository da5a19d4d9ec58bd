/* The tool `weft`: the table of its commands. */
#include <locale.h>
#include <string.h>

#include "cli.h"

static const struct {
    const char *name;
    const char *summary;
    cli_exit (*run)(cli_context *cli, int argc, char **argv);
} COMMANDS[] = {
    {"serve", "hold a model file and follow a trainer", cli_serve},
    {"push", "bring workers from one model file to another", cli_push},
    {"diff", "write what differs between two model files as a patch", cli_diff},
    {"apply", "write the model file that a patch leads to", cli_apply},
    {"verify", "compute a model file's digest and compare it", cli_verify},
    {"check", "check the metadata document of an update", cli_check},
    {"inspect", "show the tensors of a patch or a model", cli_inspect},
};
#define COMMAND_COUNT (sizeof COMMANDS / sizeof COMMANDS[0])

static void put_version(void)
{
    printf("weft %d.%d.%d\n", WEFT_VERSION_MAJOR, WEFT_VERSION_MINOR, WEFT_VERSION_PATCH);
}

static void put_help(void)
{
    puts("usage: weft COMMAND [OPTION...] [OPERAND...]\n"
         "\n"
         "weft moves weight updates from a trainer to inference workers as sessions that happen\n"
         "everywhere or nowhere. Models are .safetensors files; a patch is a .safetensors file "
         "too.\n"
         "\n"
         "Commands:");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        printf("  %-9s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    }
    puts("  help      show this, or the help of a command: weft help push\n"
         "\n"
         "Options:\n"
         "  --version, -V   print the version and exit\n"
         "  --help, -h      print this and exit; after a command: its own help\n"
         "  --json, -j      after a command: one JSON object a line on stdout, errors too\n"
         "\n"
         "Examples:\n"
         "  weft serve base.safetensors --listen 127.0.0.1:7070 --save versions\n"
         "  weft push --base base.safetensors --new step1.safetensors --to 127.0.0.1:7070\n"
         "  weft diff base.safetensors step1.safetensors -o step1.patch.safetensors\n"
         "  weft apply step1.patch.safetensors base.safetensors -o step1.safetensors\n"
         "\n"
         "Exit status:\n"
         "  0  done\n"
         "  1  the thing asked about is not so: another digest, a refused document, files that do\n"
         "     not belong together\n"
         "  2  wrong use: options or arguments\n"
         "  3  a file cannot be read or written, or is not what it should be\n"
         "  4  network or workers: nothing was committed, every worker has what it had\n"
         "  5  committed, but not every worker has confirmed it; or in doubt\n"
         "  6  memory, a limit, no such device, a defect of weft\n"
         "\n"
         "In scripts, branch on the exit status, or on \"group\" of the error that --json prints.\n"
         "A progress bar is shown on a terminal only. No colours are used.");
}

static cli_exit run(const char *name, int argc, char **argv)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(name, COMMANDS[i].name) == 0) {
            cli_context cli = {.command = COMMANDS[i].name};
            return COMMANDS[i].run(&cli, argc, argv);
        }
    }
    (void)fputs("weft: unknown command ", stderr);
    cli_text_put(stderr, name);
    (void)fputs("\n  see: weft --help\n", stderr);
    return CLI_USAGE;
}

static bool is_one_of(const char *text, const char *a, const char *b, const char *c)
{
    return strcmp(text, a) == 0 || strcmp(text, b) == 0 || strcmp(text, c) == 0;
}

static cli_exit dispatch(int argc, char **argv)
{
    static char help[] = "--help";

    if (argc < 2) {
        (void)fputs("weft: a command is missing\n  see: weft --help\n", stderr);
        return CLI_USAGE;
    }
    if (is_one_of(argv[1], "--version", "-V", "version")) {
        put_version();
        return CLI_OK;
    }
    if (is_one_of(argv[1], "--help", "-h", "help")) {
        if (argc > 2) {
            return run(argv[2], 2, (char *[]){argv[2], help, NULL});
        }
        put_help();
        return CLI_OK;
    }
    return run(argv[1], argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    cli_exit result;

    /* Widths of characters need a UTF-8 locale; numbers stay those of the C locale. */
    if (setlocale(LC_CTYPE, "C.UTF-8") == NULL) {
        (void)setlocale(LC_CTYPE, "");
    }
    result = dispatch(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fputs("weft: FILE_WRITE: standard output cannot be written\n", stderr);
        return result == CLI_OK ? CLI_FILE : (int)result;
    }
    return (int)result;
}
