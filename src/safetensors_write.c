/* Writes a new safetensors file: lays out the data, makes the header, and hands both to the durable
 * write. */
#include "safetensors.h"

#include "bytes.h"
#include "detail.h"
#include "dtype.h"
#include "file.h"
#include "memory.h"
#include "model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LENGTH_BYTES 8u
#define NUMBER_MAX   24u /* decimal digits of 64 bits, and a NUL */

/* A header that is measured (bytes is NULL) or written. */
typedef struct output {
    char *bytes;
    uint64_t used;
} output;

static const uint32_t WIDTHS[] = {8, 4, 2, 1};
#define WIDTH_COUNT (sizeof WIDTHS / sizeof WIDTHS[0])

static void put(output *out, const char *text, size_t length)
{
    if (out->bytes != NULL) {
        memcpy(out->bytes + out->used, text, length);
    }
    out->used += length;
}

static void put_text(output *out, const char *text)
{
    put(out, text, strlen(text));
}

static void put_number(output *out, uint64_t number)
{
    char digits[NUMBER_MAX];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, number);

    put(out, digits, (size_t)length);
}

/* JSON must escape the quote, the backslash and what is below a space; the rest of UTF-8 stands as
 * it is. */
static void put_quoted(output *out, const char *text)
{
    put_text(out, "\"");
    for (; *text != '\0'; text++) {
        uint8_t byte = (uint8_t)*text;
        if (byte < 0x20) {
            char escape[NUMBER_MAX];
            put(out, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", byte));
        } else {
            if (byte == '"' || byte == '\\') {
                put_text(out, "\\");
            }
            put(out, text, 1);
        }
    }
    put_text(out, "\"");
}

static void put_metadata(output *out, const weft_safetensors_pair *pairs, size_t count)
{
    put_text(out, "\"__metadata__\":{");
    for (size_t i = 0; i < count; i++) {
        put_text(out, i == 0 ? "" : ",");
        put_quoted(out, pairs[i].key);
        put_text(out, ":");
        put_quoted(out, pairs[i].text);
    }
    put_text(out, "}");
}

static void put_tensor(output *out, const weft_tensor *tensor, uint64_t begin, uint64_t end)
{
    put_quoted(out, tensor->name);
    put_text(out, ":{\"dtype\":\"");
    put_text(out, weft_dtype_file_name(tensor->dtype));
    put_text(out, "\",\"shape\":[");
    for (uint32_t i = 0; i < tensor->rank; i++) {
        put_text(out, i == 0 ? "" : ",");
        put_number(out, tensor->shape[i]);
    }
    put_text(out, "],\"data_offsets\":[");
    put_number(out, begin);
    put_text(out, ",");
    put_number(out, end);
    put_text(out, "]}");
}

/* Header and, where spans is not NULL, one span for each tensor, in the same order. False when the
 * data's size wraps. */
static bool put_all(output *out, weft_span *spans, const weft_model *tensors,
                    const weft_safetensors_pair *pairs, size_t pair_count)
{
    uint64_t begin = 0;
    size_t written = 0;

    put_text(out, "{");
    if (pair_count != 0) {
        put_metadata(out, pairs, pair_count);
    }
    for (size_t i = 0; i < WIDTH_COUNT * weft_model_count(tensors); i++) {
        size_t number = i % weft_model_count(tensors);
        const weft_tensor *tensor = weft_model_tensor(tensors, number);
        uint32_t width = weft_dtype_bytes(tensor->dtype);
        uint64_t end = 0;
        if (width != WIDTHS[i / weft_model_count(tensors)]) {
            continue;
        }
        if (!weft_size_add(begin, weft_model_elements(tensors, number) * width, &end)) {
            return false;
        }
        put_text(out, written == 0 && pair_count == 0 ? "" : ",");
        put_tensor(out, tensor, begin, end);
        if (spans != NULL) {
            spans[written] = (weft_span){.data = tensor->data, .length = (size_t)(end - begin)};
        }
        written++;
        begin = end;
    }
    put_text(out, "}");
    return true;
}

/* Both passes over the tensors, with the memory for them: spans has room for the header and every
 * tensor. */
static weft_status write_file(const char *path, const weft_model *tensors,
                              const weft_safetensors_pair *pairs, size_t pair_count,
                              weft_span *spans, char *header, uint64_t header_bytes,
                              weft_detail *detail)
{
    output out = {.bytes = header + LENGTH_BYTES};

    memset(header, ' ', (size_t)header_bytes);
    weft_put64((uint8_t *)header, header_bytes - LENGTH_BYTES);
    (void)put_all(&out, spans + 1, tensors, pairs, pair_count);
    spans[0] = (weft_span){.data = header, .length = (size_t)header_bytes};
    return weft_file_write(path, spans, weft_model_count(tensors) + 1, detail);
}

weft_status weft_safetensors_write(const char *path, const weft_model *tensors,
                                   const weft_safetensors_pair *pairs, size_t pair_count,
                                   const weft_allocator *allocator, weft_detail *detail)
{
    weft_allocator chosen = weft_memory_allocator(allocator);
    uint64_t span_bytes = (weft_model_count(tensors) + 1) * sizeof(weft_span);
    output measured = {.bytes = NULL};
    weft_status status = WEFT_E_OUT_OF_MEMORY;
    uint64_t header_bytes = 0;
    weft_span *spans;
    char *header;

    if (!put_all(&measured, NULL, tensors, pairs, pair_count)) {
        return weft_detail_set(detail, WEFT_E_SIZE_OVERFLOW,
                               "the tensors' bytes do not fit into 64 bits");
    }
    if (measured.used > WEFT_HEADER_MAX ||
        !weft_size_align8(LENGTH_BYTES + measured.used, &header_bytes)) {
        return weft_detail_set(detail, WEFT_E_LIMIT,
                               "the header would have %" PRIu64 " bytes, %" PRIu64 " are allowed",
                               measured.used, WEFT_HEADER_MAX);
    }
    spans = weft_memory_allocate(&chosen, span_bytes, WEFT_MEMORY_HOST);
    header = weft_memory_allocate(&chosen, header_bytes, WEFT_MEMORY_HOST);
    if (spans != NULL && header != NULL) {
        status = write_file(path, tensors, pairs, pair_count, spans, header, header_bytes, detail);
    } else {
        weft_detail_set(detail, status, "no memory for the header of %s", path);
    }
    weft_memory_release(&chosen, header, header_bytes, WEFT_MEMORY_HOST);
    weft_memory_release(&chosen, spans, span_bytes, WEFT_MEMORY_HOST);
    return status;
}
