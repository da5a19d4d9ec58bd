/* Text on a terminal: how many columns it takes, what of it is safe to print, a quoted line with a
 * caret, a bar. The locale's LC_CTYPE is set by main. */
#include <string.h>
#include <wchar.h>

#include "cli.h"
#include "utf8.h"

#define TAB_COLUMNS     8u
#define EXCERPT_COLUMNS 96u /* of a line that are shown */
#define EXCERPT_BEFORE  60u /* of these, before the caret, when the line is cut */
#define ELLIPSIS        "\xe2\x80\xa6"
#define REPLACEMENT     "\xef\xbf\xbd"

/* One character as a terminal shows it. */
typedef struct text_glyph {
    const char *bytes;
    size_t length;
    size_t columns;
    size_t taken; /* bytes of the text */
} text_glyph;

static wchar_t code_point(const unsigned char *bytes, size_t length)
{
    static const unsigned char LEAD[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = bytes[0] & LEAD[length];

    for (size_t i = 1; i < length; i++) {
        code = code << 6 | (bytes[i] & 0x3fu);
    }
    return (wchar_t)code;
}

static size_t sequence_length(const char *text, size_t left)
{
    unsigned char lead = (unsigned char)text[0];
    size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

    return length <= left && weft_utf8_prefix(text, length) == length ? length : 0;
}

/* The glyph that the text begins with; column is where it will stand, which a tab depends on. */
static text_glyph glyph_at(const char *text, size_t left, size_t column)
{
    static const char SPACES[TAB_COLUMNS + 1] = "        ";
    size_t length = sequence_length(text, left);
    wchar_t code = length == 0 ? 0 : code_point((const unsigned char *)text, length);
    int columns;

    if (code == '\t') {
        size_t spaces = TAB_COLUMNS - column % TAB_COLUMNS;
        return (text_glyph){SPACES, spaces, spaces, 1};
    }
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {
        return (text_glyph){REPLACEMENT, strlen(REPLACEMENT), 1, length == 0 ? 1 : length};
    }
    columns = wcwidth(code);
    return (text_glyph){text, length, columns < 0 ? 1 : (size_t)columns, length};
}

static void put_glyph(FILE *stream, const text_glyph *glyph)
{
    (void)fwrite(glyph->bytes, 1, glyph->length, stream);
}

/* ---- Names and sentences ---- */

static size_t columns_of(const char *text, size_t length)
{
    size_t columns = 0;

    for (size_t i = 0; i < length;) {
        text_glyph glyph = glyph_at(text + i, length - i, columns);
        columns += glyph.columns;
        i += glyph.taken;
    }
    return columns;
}

size_t cli_text_width(const char *text)
{
    return columns_of(text, strlen(text));
}

void cli_text_put(FILE *stream, const char *text)
{
    size_t length = strlen(text);
    size_t columns = 0;

    for (size_t i = 0; i < length;) {
        text_glyph glyph = glyph_at(text + i, length - i, columns);
        put_glyph(stream, &glyph);
        columns += glyph.columns;
        i += glyph.taken;
    }
}

void cli_text_pad(FILE *stream, const char *text, size_t width)
{
    cli_text_put(stream, text);
    for (size_t i = cli_text_width(text); i < width; i++) {
        (void)fputc(' ', stream);
    }
}

/* ---- A quoted line ---- */

/* Where the line of this number begins and how long it is. It ends with LF, CR LF or CR. */
static void find_line(const char *document, size_t length, uint32_t line, size_t *start,
                      size_t *count)
{
    size_t begin = 0;
    size_t i = 0;

    for (uint32_t number = 1; number < line && i < length; i++) {
        bool pair = document[i] == '\r' && i + 1 < length && document[i + 1] == '\n';
        if (document[i] == '\n' || (document[i] == '\r' && !pair)) {
            number++;
            begin = i + 1;
        }
    }
    i = begin;
    while (i < length && document[i] != '\n' && document[i] != '\r') {
        i++;
    }
    *start = begin;
    *count = i - begin;
}

/* The columns from `from` to `to` of a line. What is cut in two there becomes spaces. */
static void put_window(FILE *stream, const char *line, size_t length, size_t from, size_t to)
{
    size_t column = 0;

    for (size_t i = 0; i < length && column < to;) {
        text_glyph glyph = glyph_at(line + i, length - i, column);
        size_t end = column + glyph.columns;
        if (column >= from && end <= to) {
            put_glyph(stream, &glyph);
        } else {
            for (size_t cell = column; cell < end; cell++) {
                if (cell >= from && cell < to) {
                    (void)fputc(' ', stream);
                }
            }
        }
        column = end;
        i += glyph.taken;
    }
}

void cli_text_excerpt(FILE *stream, const char *document, size_t length, uint32_t line,
                      uint32_t column)
{
    size_t start = 0;
    size_t count = 0;
    size_t caret;
    size_t from = 0;
    size_t total;
    int margin;

    find_line(document, length, line, &start, &count);
    total = columns_of(document + start, count);
    caret = columns_of(document + start, column - 1 < count ? column - 1 : count);
    if (total > EXCERPT_COLUMNS && caret > EXCERPT_BEFORE) {
        from = caret - EXCERPT_BEFORE;
    }
    margin = fprintf(stream, "%5u | ", line);
    (void)fputs(from > 0 ? ELLIPSIS : "", stream);
    put_window(stream, document + start, count, from, from + EXCERPT_COLUMNS);
    (void)fputs(total > from + EXCERPT_COLUMNS ? ELLIPSIS "\n" : "\n", stream);
    (void)fprintf(stream, "%*s%*s^\n", margin, "| ", (int)(caret - from + (from > 0 ? 1 : 0)), "");
}

/* ---- Bars ---- */

void cli_text_bar(FILE *stream, double value, double most)
{
    static const char *const EIGHTHS[] = {"",
                                          "\xe2\x96\x8f",
                                          "\xe2\x96\x8e",
                                          "\xe2\x96\x8d",
                                          "\xe2\x96\x8c",
                                          "\xe2\x96\x8b",
                                          "\xe2\x96\x8a",
                                          "\xe2\x96\x89"};
    unsigned eighths = most > 0 ? (unsigned)(value / most * (8 * CLI_BAR_CELLS) + 0.5) : 0;

    eighths = value > 0 && eighths == 0 ? 1 : eighths;
    eighths = eighths > 8 * CLI_BAR_CELLS ? 8 * CLI_BAR_CELLS : eighths;
    for (unsigned i = 0; i < eighths / 8; i++) {
        (void)fputs("\xe2\x96\x88", stream);
    }
    (void)fputs(EIGHTHS[eighths % 8], stream);
}
