/* Weft's own form of an update, in its canonical notation: JSON with keys in the order of
 * spec/metadata.md, a few lines for the session, one for each patch or for each string of counts;
 * and vLLM's forms, a line for each column. The same update gives the same bytes. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model.h"
#include "update.h"

#define COUNTS_MAX 2000u /* bytes of a string of counts */

/* Counts every byte and stores those for which there is room. */
typedef struct writer {
    char *buffer;
    size_t capacity;
    size_t length;
} writer;

static void put_bytes(writer *w, const char *bytes, size_t length)
{
    if (w->buffer != NULL && w->length + length <= w->capacity) {
        memcpy(w->buffer + w->length, bytes, length);
    }
    w->length += length;
}

__attribute__((format(printf, 2, 3))) static void put(writer *w, const char *format, ...)
{
    char text[256];
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    put_bytes(w, text, length > 0 ? (size_t)length : 0);
}

/* DEL is escaped as well, and so is what YAML 1.1 takes for a line break (U+0085, U+2028,
 * U+2029). */
static size_t escaped_bytes(const char *at)
{
    unsigned char c = (unsigned char)at[0];

    if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) {
        return 1;
    }
    if (c == 0xc2 && (unsigned char)at[1] == 0x85) {
        return 2;
    }
    return c == 0xe2 && (unsigned char)at[1] == 0x80 && ((unsigned char)at[2] & 0xfeu) == 0xa8 ? 3
                                                                                               : 0;
}

static void put_string(writer *w, const char *text)
{
    while (*text != '\0') {
        size_t escaped = escaped_bytes(text);
        unsigned last = (unsigned char)text[escaped > 0 ? escaped - 1 : 0];
        if (escaped == 0) {
            put_bytes(w, text++, 1);
            continue;
        }
        put(w, "\\u%04x", escaped == 3 ? 0x2000 + (last & 0x3fu) : last);
        text += escaped;
    }
}

static void put_shape(writer *w, const weft_tensor *tensor)
{
    put(w, "[");
    for (uint32_t i = 0; i < tensor->rank; i++) {
        put(w, "%s%" PRIu64, i > 0 ? ", " : "", tensor->shape[i]);
    }
    put(w, "]");
}

static void put_patch(writer *w, const weft_patch *patch, const weft_tensor *tensor)
{
    put_bytes(w, "{\"name\": \"", 10);
    put_string(w, tensor->name);
    put(w, "\", \"dtype\": \"%s\", \"shape\": ", weft_dtype_name(tensor->dtype));
    put_shape(w, tensor);
    if (patch->index_bytes > 0) {
        put(w, ", \"count\": %" PRIu64 ", \"index\": \"int%d\"", patch->count,
            8 * patch->index_bytes);
    }
    put(w, "}");
}

static void put_patches(writer *w, const weft_update *update, const weft_model *model)
{
    put(w, "\"patches\": [");
    for (size_t i = 0; i < update->count; i++) {
        put(w, "%s\n", i > 0 ? "," : "");
        put_patch(w, &update->patches[i], weft_model_tensor(model, update->patches[i].tensor));
    }
    put(w, "]}\n");
}

/* ---- counts ---- */

static size_t digits_of(uint64_t number)
{
    size_t digits = 1;

    while (number >= 10) {
        number /= 10;
        digits++;
    }
    return digits;
}

/* Appends a count; *string is how many bytes the present string has, 0 before the first one. */
static void put_count(writer *w, size_t *string, uint64_t count)
{
    size_t digits = digits_of(count);

    if (*string > 0 && *string + 1 + digits <= COUNTS_MAX) {
        put_bytes(w, " ", 1);
        *string += 1 + digits;
    } else {
        put_bytes(w, *string > 0 ? "\",\n\"" : "\n\"", *string > 0 ? 4 : 2);
        *string = digits;
    }
    w->length += digits;
    for (size_t i = w->length; w->buffer != NULL && w->length <= w->capacity && digits > 0;
         digits--) {
        w->buffer[--i] = (char)('0' + count % 10);
        count /= 10;
    }
}

/* From the first patch to the last; the tensors between that have none count 0. False if the
 * patches are not in canonical order. */
static bool put_counts(writer *w, const weft_update *update, const weft_model *model)
{
    size_t next = update->count > 0 ? weft_model_position(model, update->patches[0].tensor) : 0;
    size_t string = 0;

    put(w, "\"model\": \"0x%016" PRIx64 "\", \"first\": %zu, \"counts\": [",
        weft_model_fingerprint(model), next);
    for (size_t i = 0; i < update->count; i++) {
        size_t position = weft_model_position(model, update->patches[i].tensor);
        if (position < next) {
            return false;
        }
        for (; next < position; next++) {
            put_count(w, &string, 0);
        }
        put_count(w, &string, update->patches[i].count);
        next++;
    }
    put(w, "%s]}\n", string > 0 ? "\"" : "");
    return true;
}

/* ---- vLLM's columns ---- */

static void put_columns(writer *w, const weft_update *update, const weft_model *model)
{
    static const char *const names[] = {"names", "dtype_names", "shapes", "num_updates_list"};
    unsigned columns = update->form == WEFT_FORM_VLLM_SPARSE ? 4 : 3;
    for (unsigned column = 0; column < columns; column++) {
        put(w, "%s\"%s\": [", column > 0 ? "],\n" : "{", names[column]);
        for (size_t i = 0; i < update->count; i++) {
            const weft_patch *patch = &update->patches[i];
            const weft_tensor *tensor = weft_model_tensor(model, patch->tensor);
            put(w, "%s", i > 0 ? ", " : "");
            if (column == 0) {
                put(w, "\"");
                put_string(w, tensor->name);
                put(w, "\"");
            } else if (column == 1) {
                put(w, "\"%s\"", weft_dtype_name(tensor->dtype));
            } else if (column == 2) {
                put_shape(w, tensor);
            } else {
                put(w, "%" PRIu64, patch->count);
            }
        }
    }
    put(w, "]}\n");
}

static bool is_vllm(weft_update_form form)
{
    return form == WEFT_FORM_VLLM_SPARSE || form == WEFT_FORM_VLLM_DENSE;
}

/* int32 indices, and at least one tensor. */
static bool vllm_can_say(const weft_update *update)
{
    bool valid = update->count > 0 &&
                 (update->form == WEFT_FORM_VLLM_SPARSE) == (update->kind == WEFT_SPARSE);
    for (size_t i = 0; i < update->count; i++) {
        valid = valid && update->patches[i].index_bytes <= 4;
    }
    return valid;
}

weft_status weft_update_write(const weft_update *update, const weft_model *model, char *buffer,
                              size_t capacity, size_t *length)
{
    writer w = {.buffer = buffer, .capacity = capacity};
    if (is_vllm(update->form)) {
        put_columns(&w, update, model);
        if (!vllm_can_say(update) || (buffer != NULL && w.length > capacity)) {
            return WEFT_E_INVALID_ARGUMENT;
        }
        *length = w.length;
        return WEFT_OK;
    }
    bool counts = update->form == WEFT_FORM_WEFT_COUNTS;
    bool valid = !counts || update->kind == WEFT_SPARSE;

    put(&w,
        "{\"weft\": 1, \"epoch\": %" PRIu64
        ", \"kind\": \"%s\", \"update\": %u, \"updates\": %u,\n",
        update->epoch, update->kind == WEFT_SPARSE ? "sparse" : "baseline", update->number,
        update->of);
    if (update->kind == WEFT_SPARSE) {
        put(&w, "\"base\": {\"version\": %" PRIu64 ", \"digest\": \"0x%016" PRIx64 "\"}, ",
            update->base_version, update->base_digest);
    }
    put(&w, "\"target\": {\"version\": %" PRIu64 ", \"digest\": \"0x%016" PRIx64 "\"},\n",
        update->target_version, update->target_digest);
    put(&w, "\"payload\": {\"bytes\": %" PRIu64 "}, ", update->payload_bytes);
    if (counts) {
        valid = valid && put_counts(&w, update, model);
    } else {
        put_patches(&w, update, model);
    }
    if (!valid || (buffer != NULL && w.length > capacity)) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    *length = w.length;
    return WEFT_OK;
}
