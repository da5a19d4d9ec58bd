/* Fills a weft_detail. A sentence or a name that is too long is cut; a cut, and a byte that is not
 * UTF-8, never leaves half a character behind, because these strings go over the wire and into
 * JSON. */
#include "detail.h"

#include "utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

weft_status weft_detail_set(weft_detail *detail, weft_status status, const char *format, ...)
{
    va_list arguments;

    if (detail == NULL) {
        return status;
    }
    memset(detail, 0, sizeof *detail);
    detail->status = status;
    va_start(arguments, format);
    if (vsnprintf(detail->text, sizeof detail->text, format, arguments) < 0) {
        detail->text[0] = '\0';
    }
    va_end(arguments);
    detail->text[weft_utf8_prefix(detail->text, strlen(detail->text))] = '\0';
    return status;
}

void weft_detail_tensor(weft_detail *detail, const char *name, size_t length)
{
    if (detail == NULL) {
        return;
    }
    if (length > WEFT_NAME_MAX) {
        length = WEFT_NAME_MAX;
    }
    memcpy(detail->tensor, name, length);
    detail->tensor[length] = '\0';
    detail->tensor[weft_utf8_prefix(detail->tensor, length)] = '\0';
}
