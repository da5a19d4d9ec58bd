/* What the tool says: numbers, JSON objects, errors and exit codes. */
#include <inttypes.h>
#include <string.h>

#include "cli.h"
#include "utf8.h"

#define NAME_PREFIX "WEFT_E_"

const char *cli_grouped(char text[CLI_NUMBER_TEXT_MAX], uint64_t number)
{
    char digits[CLI_NUMBER_TEXT_MAX];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, number);
    char *out = text;

    for (int i = 0; i < length; i++) {
        if (i != 0 && (length - i) % 3 == 0) {
            *out++ = ',';
        }
        *out++ = digits[i];
    }
    *out = '\0';
    return text;
}

const char *cli_percent(char text[CLI_NUMBER_TEXT_MAX], uint64_t part, uint64_t whole)
{
    double percent = whole == 0 ? 0 : 100 * (double)part / (double)whole;
    double shown = percent;
    int decimals = percent == 0 || percent >= 100 ? 0 : 2;

    while (shown > 0 && shown < 0.1 && decimals < 12) {
        shown *= 10;
        decimals++;
    }
    (void)snprintf(text, CLI_NUMBER_TEXT_MAX, "%.*f %%", decimals, percent);
    return text;
}

const char *cli_status_name(weft_status status)
{
    const char *name = weft_status_name(status);
    size_t prefix = strlen(NAME_PREFIX);

    return strncmp(name, NAME_PREFIX, prefix) == 0 ? name + prefix : name;
}

/* ---- JSON ---- */

/* In JSON a text is UTF-8; paths and host names need not be. */
static void put_json_string(const char *text)
{
    size_t length = strlen(text);

    putchar('"');
    while (length != 0) {
        size_t whole = weft_utf8_prefix(text, length);
        for (size_t i = 0; i < whole; i++) {
            unsigned char byte = (unsigned char)text[i];
            if (byte == '"' || byte == '\\') {
                printf("\\%c", byte);
            } else if (byte < 0x20 || byte == 0x7f) {
                printf("\\u%04x", byte);
            } else {
                putchar(byte);
            }
        }
        text += whole;
        length -= whole;
        if (length != 0) {
            printf("\\ufffd");
            text++;
            length--;
        }
    }
    putchar('"');
}

void cli_json_begin(const char *event)
{
    printf("{\"event\":\"%s\"", event);
}

void cli_json_text(const char *key, const char *text)
{
    printf(",\"%s\":", key);
    put_json_string(text);
}

void cli_json_number(const char *key, uint64_t number)
{
    printf(",\"%s\":%" PRIu64, key, number);
}

void cli_json_digest(const char *key, uint64_t digest)
{
    printf(",\"%s\":\"0x%016" PRIx64 "\"", key, digest);
}

void cli_json_bool(const char *key, bool value)
{
    printf(",\"%s\":%s", key, value ? "true" : "false");
}

void cli_json_shape(const char *key, const uint64_t *shape, uint32_t rank)
{
    printf(",\"%s\":[", key);
    for (uint32_t i = 0; i < rank; i++) {
        printf("%s%" PRIu64, i == 0 ? "" : ",", shape[i]);
    }
    putchar(']');
}

void cli_json_status(weft_status status)
{
    printf(",\"code\":%d", (int)status);
    cli_json_text("name", weft_status_name(status));
    cli_json_text("group", weft_status_group(status));
    cli_json_text("text", weft_status_text(status));
    cli_json_text("mend", weft_status_mend(status));
}

void cli_json_end(void)
{
    puts("}");
}

/* ---- Errors ---- */

cli_exit cli_exit_of(weft_status status)
{
    static const struct {
        const char *group;
        cli_exit result;
    } GROUPS[] = {{"ok", CLI_OK},          {"usage", CLI_USAGE}, {"metadata", CLI_NO},
                  {"base", CLI_NO},        {"device", CLI_NO},   {"file", CLI_FILE},
                  {"transport", CLI_PEER}, {"peer", CLI_PEER},   {"resource", CLI_OTHER}};
    const char *group = weft_status_group(status);

    if (status == WEFT_E_DEVICE_FAILED || status == WEFT_E_NO_DEVICE) {
        return CLI_OTHER; /* the rest of its group is about what a patch contains */
    }
    if (status == WEFT_E_ADDRESS) {
        return CLI_USAGE; /* the network was not even asked */
    }
    if (status == WEFT_E_UNCONFIRMED || status == WEFT_E_IN_DOUBT) {
        return CLI_UNCONFIRMED;
    }
    for (size_t i = 0; i < sizeof GROUPS / sizeof GROUPS[0]; i++) {
        if (strcmp(group, GROUPS[i].group) == 0) {
            return GROUPS[i].result;
        }
    }
    return CLI_OTHER;
}

/* Some advice of the error list is to read the detail, which is on the screen already. */
static bool tells_something(const char *mend)
{
    return *mend != '\0' && strstr(mend, "detail") == NULL && strstr(mend, "weft_") == NULL;
}

cli_exit cli_fail(const cli_context *cli, const char *subject, weft_status status,
                  const weft_detail *detail)
{
    bool has_detail = detail != NULL && detail->text[0] != '\0';
    const char *sentence = has_detail ? detail->text : weft_status_text(status);

    cli_progress_end();
    if (cli->json) {
        cli_json_begin("error");
        cli_json_status(status);
        cli_json_text("detail", has_detail ? detail->text : "");
        if (subject != NULL) {
            cli_json_text("subject", subject);
        }
        if (detail != NULL && detail->tensor[0] != '\0') {
            cli_json_text("tensor", detail->tensor);
        }
        cli_json_end();
        return cli_exit_of(status);
    }
    (void)fprintf(stderr, "weft %s: ", cli->command);
    if (subject != NULL) {
        cli_text_put(stderr, subject);
        (void)fputs(": ", stderr);
    }
    (void)fprintf(stderr, "%s: ", cli_status_name(status));
    if (detail != NULL && detail->tensor[0] != '\0') {
        (void)fputs("tensor ", stderr);
        cli_text_put(stderr, detail->tensor);
        (void)fputs(": ", stderr);
    }
    cli_text_put(stderr, sentence);
    (void)fputc('\n', stderr);
    if (tells_something(weft_status_mend(status))) {
        (void)fprintf(stderr, "  to mend: %s\n", weft_status_mend(status));
    }
    return cli_exit_of(status);
}
