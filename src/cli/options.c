/* Options, operands and help. A command describes its options once: parsing and --help both read
 * that description. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define OPTIONS_MAX   20u
#define OPTIONS_WIDTH 26

/* Every command has these two. */
#define HELP_LETTER 'h'
#define JSON_LETTER 'j'
/* What getopt_long returns for an option without a letter: above every character. */
#define FIRST_VALUE 256

cli_exit cli_usage(const cli_context *cli, const char *format, ...)
{
    weft_detail detail = {.status = WEFT_E_INVALID_ARGUMENT};
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(detail.text, sizeof detail.text, format, arguments);
    va_end(arguments);
    if (cli->json) {
        return cli_fail(cli, NULL, WEFT_E_INVALID_ARGUMENT, &detail);
    }
    (void)fprintf(stderr, "weft %s: ", cli->command);
    cli_text_put(stderr, detail.text);
    (void)fprintf(stderr, "\n  see: weft %s --help\n", cli->command);
    return CLI_USAGE;
}

/* ---- Help ---- */

/* Prints the text with its later lines indented to the column of its first. */
static void put_indented(const char *text)
{
    for (; *text != '\0'; text++) {
        putchar(*text);
        if (*text == '\n') {
            printf("%*s", OPTIONS_WIDTH + 2, "");
        }
    }
    putchar('\n');
}

static void put_option(const cli_option *option)
{
    char left[80];
    char letter[8] = "    ";

    if (option->letter != 0) {
        (void)snprintf(letter, sizeof letter, "-%c, ", option->letter);
    }
    (void)snprintf(left, sizeof left, "%s--%s%s%s", letter, option->name,
                   option->argument == NULL ? "" : " ",
                   option->argument == NULL ? "" : option->argument);
    printf("  %-*s", OPTIONS_WIDTH, left);
    if (strlen(left) >= OPTIONS_WIDTH) {
        printf("\n  %*s", OPTIONS_WIDTH, "");
    }
    put_indented(option->text);
}

static void put_help(const cli_context *cli, const cli_page *page, const cli_option *options,
                     size_t count)
{
    static const cli_option COMMON[] = {
        {"json", JSON_LETTER, CLI_FLAG, NULL, NULL, NULL,
         "print one JSON object a line on stdout, errors too; nothing on stderr"},
        {"help", HELP_LETTER, CLI_FLAG, NULL, NULL, NULL, "print this and exit"},
    };

    printf("usage: weft %s %s\n\n%s\n\nOptions:\n", cli->command, page->synopsis, page->text);
    for (size_t i = 0; i < count; i++) {
        put_option(&options[i]);
    }
    for (size_t i = 0; i < sizeof COMMON / sizeof COMMON[0]; i++) {
        put_option(&COMMON[i]);
    }
    printf("\nWith --json:\n%s\n\nExamples:\n%s\n\nExit status:\n%s\n", page->json, page->examples,
           page->exits);
}

/* ---- Values ---- */

/* Only digits of this base, at least one, and nothing after them but what *rest then points to. */
static bool parse_digits(const char *text, int base, uint64_t *number, const char **rest)
{
    const char *digits = base == 16 ? "0123456789abcdefABCDEF" : "0123456789";
    size_t length = strspn(text, digits);

    if (length == 0) {
        return false;
    }
    errno = 0;
    *number = strtoull(text, NULL, base);
    *rest = text + length;
    return errno == 0;
}

static bool parse_size(const char *text, uint64_t *bytes)
{
    static const char UNITS[] = "KMG";
    const char *rest = NULL;
    const char *unit;
    uint64_t number = 0;
    unsigned shift;

    if (!parse_digits(text, 10, &number, &rest)) {
        return false;
    }
    unit = *rest == '\0' ? NULL : strchr(UNITS, *rest);
    shift = unit == NULL ? 0 : 10 * (unsigned)(unit - UNITS + 1);
    if ((unit == NULL && *rest != '\0') || (unit != NULL && rest[1] != '\0') ||
        number > UINT64_MAX >> shift) {
        return false;
    }
    *bytes = number << shift;
    return true;
}

/* Takes an option's argument. Returns what belongs there, NULL if that was found. */
static const char *take(const cli_option *option, const char *text)
{
    const char *rest = "";
    uint64_t number = 0;
    bool right = true;

    switch (option->value) {
    case CLI_FLAG:
        *(bool *)option->to = true;
        return NULL;
    case CLI_TEXT:
        *(const char **)option->to = text;
        return *text != '\0' ? NULL : "a text that is not empty";
    case CLI_NUMBER:
        right = parse_digits(text, 10, &number, &rest) && *rest == '\0';
        *(uint64_t *)option->to = number;
        return right ? NULL : "a decimal number below 2^64";
    case CLI_SIZE:
        right = parse_size(text, &number) && number != 0;
        *(uint64_t *)option->to = number;
        return right ? NULL : "bytes: a decimal number above 0, which may end in K, M or G";
    case CLI_MILLISECONDS:
        right = parse_digits(text, 10, &number, &rest) && *rest == '\0' && number != 0 &&
                number <= INT32_MAX;
        *(uint32_t *)option->to = (uint32_t)number;
        return right ? NULL : "milliseconds: a decimal number from 1 to 2147483647";
    case CLI_DIGEST:
        right = strncmp(text, "0x", 2) == 0 && parse_digits(text + 2, 16, &number, &rest) &&
                *rest == '\0';
        *(uint64_t *)option->to = number;
        return right ? NULL : "a digest: 0x and hexadecimal digits";
    case CLI_DEVICE:
        return cli_device_parse(text, option->to) ? NULL
                                                  : "host, cuda or cuda:N with the number of a GPU";
    case CLI_TRANSPORT:
        return cli_transport_parse(text, option->to) ? NULL : "tcp or nccl";
    }
    return NULL;
}

/* ---- Parsing ---- */

typedef struct option_parser {
    struct option table[OPTIONS_MAX + 3];
    char letters[2 * OPTIONS_MAX + 4];
} option_parser;

static void prepare(option_parser *parser, const cli_option *options, size_t count)
{
    char *letter = parser->letters;
    size_t i;

    *letter++ = ':'; /* a missing argument is told from an unknown option */
    for (i = 0; i < count; i++) {
        const cli_option *option = &options[i];
        parser->table[i] = (struct option){
            .name = option->name,
            .has_arg = option->argument == NULL ? no_argument : required_argument,
            .val = option->letter != 0 ? option->letter : FIRST_VALUE + (int)i,
        };
        if (option->letter != 0) {
            *letter++ = (char)option->letter;
        }
        if (option->letter != 0 && option->argument != NULL) {
            *letter++ = ':';
        }
    }
    parser->table[i++] = (struct option){.name = "json", .val = JSON_LETTER};
    parser->table[i++] = (struct option){.name = "help", .val = HELP_LETTER};
    parser->table[i] = (struct option){.name = NULL};
    *letter++ = JSON_LETTER;
    *letter++ = HELP_LETTER;
    *letter = '\0';
}

static const cli_option *option_of(const cli_option *options, size_t count, int value)
{
    for (size_t i = 0; i < count; i++) {
        if (value == FIRST_VALUE + (int)i || (value != 0 && value == options[i].letter)) {
            return &options[i];
        }
    }
    return NULL;
}

/* Errors before --json on the command line are for machines too. */
static bool wants_json(int argc, char **argv)
{
    bool wanted = false;

    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        wanted = wanted || strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "-j") == 0;
    }
    return wanted;
}

bool cli_parse(cli_context *cli, const cli_page *page, const cli_option *options, size_t count,
               int operands, int argc, char **argv, cli_exit *result)
{
    option_parser parser = {.letters = ""};
    int value;

    prepare(&parser, options, count);
    cli->json = wants_json(argc, argv);
    opterr = 0;
    while ((value = getopt_long(argc, argv, parser.letters, parser.table, NULL)) != -1) {
        const cli_option *option = option_of(options, count, value);
        const char *expected = option == NULL ? NULL : take(option, optarg);
        if (value == HELP_LETTER) {
            put_help(cli, page, options, count);
            *result = CLI_OK;
            return false;
        }
        if (value == ':') {
            *result = cli_usage(cli, "option %s needs an argument", argv[optind - 1]);
            return false;
        }
        if (value == '?') {
            *result = cli_usage(cli, "unknown option %s", argv[optind - 1]);
            return false;
        }
        if (expected != NULL) {
            *result = cli_usage(cli, "option --%s: expected %s, found \"%s\"", option->name,
                                expected, optarg);
            return false;
        }
        if (option != NULL && option->given != NULL) {
            *option->given = true;
        }
    }
    if (argc - optind != operands) {
        *result = cli_usage(cli, "expected %d operand%s, found %d: usage: weft %s %s", operands,
                            operands == 1 ? "" : "s", argc - optind, cli->command, page->synopsis);
        return false;
    }
    return true;
}
