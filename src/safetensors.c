/* Reads the header of a safetensors file. libfyaml's event parser in its JSON mode does the lexing
 * and the grammar: it refuses comments, anchors, tags, other quotes, trailing commas, raw control
 * characters and invalid UTF-8. What it leaves is checked here: keys, types, duplicates, NUL in
 * texts, and whether the offsets cover the data exactly. */
#include "safetensors.h"

#include "bytes.h"
#include "decimal.h"
#include "detail.h"
#include "dtype.h"
#include "memory.h"
#include "model.h"
#include "safetensors_text.h"
#include "utf8.h"

#include <inttypes.h>
#include <libfyaml.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_BYTES  8u
#define METADATA_KEY  "__metadata__"
#define TEXT_CAPACITY 256u /* first; doubled when full */

typedef struct reader {
    weft_safetensors *content;
    weft_detail *detail;
    const char *header;
    size_t header_bytes;
    uint8_t *data;
    uint64_t data_bytes;
    weft_header_text text; /* of the header */
    struct fy_diag *diag;
    struct fy_parser *parser;
    struct fy_event *event;            /* the present one; NULL after a syntax error */
    char name[WEFT_FILE_NAME_MAX + 1]; /* of the tensor that is being read; "" outside of one */
    size_t name_length;
} reader;

/* The fields of one tensor as they come, in any order. */
typedef struct fields {
    unsigned seen;
    weft_tensor tensor;
    uint64_t begin, end;
} fields;

/* Where a tensor's data lies. */
typedef struct range {
    uint64_t begin, end;
    size_t number;
} range;

/* ---- where a fault is ---- */

/* libfyaml's mark of a quoted text stands behind the opening quote. */
static bool is_quoted(const reader *r)
{
    return r->event->type == FYET_SCALAR &&
           fy_token_scalar_style(r->event->scalar.value) == FYSS_DOUBLE_QUOTED;
}

/* Completes a detail that was just set with the tensor and the position of the present event. */
static weft_status here(const reader *r, weft_status status)
{
    const struct fy_mark *mark = fy_event_start_mark(r->event);

    if (r->detail != NULL) {
        weft_detail_tensor(r->detail, r->name, r->name_length);
        if (mark != NULL) {
            weft_header_text_place(&r->text, mark->input_pos - is_quoted(r), r->detail);
        }
    }
    return status;
}

static weft_status syntax(const reader *r, const char *expected)
{
    return here(r, weft_detail_set(r->detail, WEFT_E_FILE_HEADER_SYNTAX, "expected %s", expected));
}

/* What libfyaml found, in its own words. */
static weft_status parser_fault(const reader *r)
{
    void *iterator = NULL;
    const struct fy_diag_error *error = fy_diag_errors_iterate(r->diag, &iterator);

    weft_detail_set(r->detail, WEFT_E_FILE_HEADER_SYNTAX, "the header is not JSON: %s",
                    error != NULL ? error->msg : "it ends too early");
    if (r->detail != NULL && error != NULL) {
        weft_header_text_place(
            &r->text, weft_header_text_offset(&r->text, error->line, error->column), r->detail);
    }
    return WEFT_E_FILE_HEADER_SYNTAX;
}

/* ---- events ---- */

/* Takes the next event, which must not be a syntax error. */
static weft_status next(reader *r)
{
    fy_parser_event_free(r->parser, r->event);
    r->event = fy_parser_parse(r->parser);
    return r->event == NULL || fy_parser_get_stream_error(r->parser) ? parser_fault(r) : WEFT_OK;
}

/* Takes the next event, which must be of this type. */
static weft_status expect(reader *r, enum fy_event_type type, const char *expected)
{
    weft_status status = next(r);

    if (status == WEFT_OK && r->event->type != type) {
        return syntax(r, expected);
    }
    return status;
}

/* The present event as a quoted text of UTF-8 without NUL (JSON can write one: \u0000). */
static weft_status get_text(const reader *r, const char **text, size_t *length,
                            const char *expected)
{
    if (!is_quoted(r)) {
        return syntax(r, expected);
    }
    *text = fy_token_get_text(r->event->scalar.value, length);
    if (*text == NULL) {
        return here(r, weft_detail_set(r->detail, WEFT_E_OUT_OF_MEMORY,
                                       "no memory for a text of the header"));
    }
    if (memchr(*text, '\0', *length) != NULL || weft_utf8_prefix(*text, *length) != *length) {
        return syntax(r, "a text of UTF-8 without NUL");
    }
    return WEFT_OK;
}

/* The present event as an unsigned decimal integer; one that does not fit into 64 bits is an error
 * of its own. */
static weft_status get_integer(const reader *r, weft_status overflow, uint64_t *value)
{
    const char *text = NULL;
    size_t length = 0;
    weft_status status = WEFT_E_META_NOT_AN_INTEGER;

    if (r->event->type == FYET_SCALAR &&
        fy_token_scalar_style(r->event->scalar.value) == FYSS_PLAIN) {
        text = fy_token_get_text(r->event->scalar.value, &length);
    }
    if (text != NULL) {
        status = weft_decimal_parse(text, length, value);
    }
    if (status == WEFT_E_META_OVERFLOW) {
        return here(r, weft_detail_set(r->detail, overflow, "a number does not fit into 64 bits"));
    }
    return status == WEFT_OK ? WEFT_OK : syntax(r, "an unsigned integer");
}

/* ---- __metadata__ ---- */

static weft_status append_text(reader *r, const char *text, size_t length)
{
    weft_safetensors *content = r->content;
    uint64_t need = content->text_bytes + length + 1; /* both are bounded by the header */

    if (need > content->text_capacity) {
        uint64_t capacity = need > TEXT_CAPACITY / 2 ? need * 2 : TEXT_CAPACITY;
        char *grown = weft_memory_allocate(&content->allocator, capacity, WEFT_MEMORY_HOST);
        if (grown == NULL) {
            return weft_detail_set(r->detail, WEFT_E_OUT_OF_MEMORY,
                                   "no memory for the metadata of the file");
        }
        if (content->text_bytes != 0) {
            memcpy(grown, content->text, (size_t)content->text_bytes);
        }
        weft_memory_release(&content->allocator, content->text, content->text_capacity,
                            WEFT_MEMORY_HOST);
        content->text = grown;
        content->text_capacity = capacity;
    }
    memcpy(content->text + content->text_bytes, text, length);
    content->text[need - 1] = '\0';
    content->text_bytes = need;
    return WEFT_OK;
}

static weft_status read_metadata(reader *r)
{
    weft_status status = expect(r, FYET_MAPPING_START, "an object of texts as " METADATA_KEY);

    while (status == WEFT_OK) {
        const char *text = NULL;
        size_t length = 0;

        status = next(r);
        if (status != WEFT_OK || r->event->type == FYET_MAPPING_END) {
            break;
        }
        status = get_text(r, &text, &length, "a quoted key");
        status = status != WEFT_OK ? status : append_text(r, text, length);
        status = status != WEFT_OK ? status : next(r);
        status = status != WEFT_OK ? status : get_text(r, &text, &length, "a quoted text");
        status = status != WEFT_OK ? status : append_text(r, text, length);
        r->content->pair_count++;
    }
    return status;
}

static int compare_pairs(const void *left, const void *right)
{
    const weft_safetensors_pair *a = left;
    const weft_safetensors_pair *b = right;

    return strcmp(a->key, b->key);
}

/* Once the text no longer moves: pairs that point into it, sorted, each key once. */
static weft_status index_metadata(reader *r)
{
    weft_safetensors *content = r->content;
    const char *at = content->text;

    if (content->pair_count == 0) {
        return WEFT_OK;
    }
    content->pairs = weft_memory_allocate(
        &content->allocator, content->pair_count * sizeof *content->pairs, WEFT_MEMORY_HOST);
    if (content->pairs == NULL) {
        return weft_detail_set(r->detail, WEFT_E_OUT_OF_MEMORY,
                               "no memory for the metadata of the file");
    }
    for (size_t i = 0; i < content->pair_count; i++) {
        content->pairs[i].key = at;
        at += strlen(at) + 1;
        content->pairs[i].text = at;
        at += strlen(at) + 1;
    }
    qsort(content->pairs, content->pair_count, sizeof *content->pairs, compare_pairs);
    for (size_t i = 1; i < content->pair_count; i++) {
        if (strcmp(content->pairs[i - 1].key, content->pairs[i].key) == 0) {
            return weft_detail_set(r->detail, WEFT_E_FILE_HEADER_SYNTAX,
                                   "the key \"%s\" stands twice in %s", content->pairs[i].key,
                                   METADATA_KEY);
        }
    }
    return WEFT_OK;
}

/* ---- a tensor ---- */

static weft_status read_dtype(reader *r, fields *f)
{
    const char *text = NULL;
    size_t length = 0;
    weft_status status = next(r);

    status = status != WEFT_OK ? status : get_text(r, &text, &length, "a quoted dtype");
    if (status == WEFT_OK && !weft_dtype_from_file_name(text, length, &f->tensor.dtype)) {
        return here(r, weft_detail_set(r->detail, WEFT_E_FILE_DTYPE, "dtype \"%.*s\" is unknown",
                                       (int)(length < 32 ? length : 32), text));
    }
    return status;
}

static weft_status read_shape(reader *r, fields *f)
{
    weft_status status = expect(r, FYET_SEQUENCE_START, "a list of sizes as shape");

    while (status == WEFT_OK) {
        status = next(r);
        if (status != WEFT_OK || r->event->type == FYET_SEQUENCE_END) {
            break;
        }
        if (f->tensor.rank == WEFT_RANK_MAX) {
            return here(r, weft_detail_set(r->detail, WEFT_E_FILE_SHAPE, "more than %u dimensions",
                                           WEFT_RANK_MAX));
        }
        status = get_integer(r, WEFT_E_FILE_SHAPE, &f->tensor.shape[f->tensor.rank]);
        f->tensor.rank++;
    }
    return status;
}

static weft_status read_offsets(reader *r, fields *f)
{
    weft_status status = expect(r, FYET_SEQUENCE_START, "a list of two numbers as data_offsets");

    status = status != WEFT_OK ? status : next(r);
    status = status != WEFT_OK ? status : get_integer(r, WEFT_E_FILE_OFFSETS, &f->begin);
    status = status != WEFT_OK ? status : next(r);
    status = status != WEFT_OK ? status : get_integer(r, WEFT_E_FILE_OFFSETS, &f->end);
    return status != WEFT_OK ? status
                             : expect(r, FYET_SEQUENCE_END, "exactly two numbers as data_offsets");
}

/* The fields of a tensor; bit i of fields.seen belongs to row i. */
static const struct {
    const char *key;
    weft_status (*read)(reader *r, fields *f);
} FIELDS[] = {
    {"dtype", read_dtype},
    {"shape", read_shape},
    {"data_offsets", read_offsets},
};

#define FIELD_COUNT (sizeof FIELDS / sizeof FIELDS[0])

/* The present event is a key of a tensor's object: reads its value. */
static weft_status read_field(reader *r, fields *f)
{
    const char *key = "";
    size_t length = 0;
    weft_status status = get_text(r, &key, &length, "a quoted key");

    for (unsigned i = 0; status == WEFT_OK && i < FIELD_COUNT; i++) {
        if (strlen(FIELDS[i].key) != length || memcmp(FIELDS[i].key, key, length) != 0) {
            continue;
        }
        if ((f->seen >> i & 1u) != 0) {
            return syntax(r, "each of dtype, shape and data_offsets once");
        }
        f->seen |= 1u << i;
        return FIELDS[i].read(r, f);
    }
    return status != WEFT_OK ? status : syntax(r, "dtype, shape or data_offsets");
}

/* The data is there and as long as dtype and shape say. */
static weft_status check_offsets(const reader *r, const fields *f)
{
    const weft_tensor *tensor = &f->tensor;
    uint64_t elements = 0;

    if (!weft_model_count_elements(tensor->dtype, tensor->rank, tensor->shape, &elements)) {
        return here(r, weft_detail_set(r->detail, WEFT_E_FILE_SHAPE,
                                       "the shape's size does not fit into 64 bits"));
    }
    if (f->begin > f->end || f->end - f->begin != elements * weft_dtype_bytes(tensor->dtype)) {
        return here(r,
                    weft_detail_set(r->detail, WEFT_E_FILE_OFFSETS,
                                    "dtype and shape need %" PRIu64
                                    " bytes, data_offsets are %" PRIu64 " and %" PRIu64,
                                    elements * weft_dtype_bytes(tensor->dtype), f->begin, f->end));
    }
    if (f->end > r->data_bytes) {
        return here(r, weft_detail_set(r->detail, WEFT_E_FILE_TRUNCATED,
                                       "the tensor ends at byte %" PRIu64
                                       " of the data, the file has %" PRIu64,
                                       f->end, r->data_bytes));
    }
    return WEFT_OK;
}

static weft_status add_tensor(const reader *r, fields *f)
{
    weft_status status = check_offsets(r, f);

    if (status != WEFT_OK) {
        return status;
    }
    f->tensor.name = r->name;
    f->tensor.data = r->data + f->begin;
    status = weft_model_add(r->content->tensors, &f->tensor);
    if (status == WEFT_E_DUPLICATE_TENSOR) {
        status = WEFT_E_FILE_DUPLICATE_TENSOR;
    }
    return status == WEFT_OK
               ? status
               : here(r, weft_detail_set(r->detail, status, "%s", weft_status_text(status)));
}

/* The name is read: its object follows. */
static weft_status read_tensor(reader *r)
{
    fields f = {.seen = 0};
    weft_status status =
        expect(r, FYET_MAPPING_START, "an object with dtype, shape and data_offsets");

    while (status == WEFT_OK) {
        status = next(r);
        if (status != WEFT_OK || r->event->type == FYET_MAPPING_END) {
            break;
        }
        status = read_field(r, &f);
    }
    if (status != WEFT_OK) {
        return status;
    }
    if (f.seen != (1u << FIELD_COUNT) - 1) {
        return syntax(r, "dtype, shape and data_offsets");
    }
    return add_tensor(r, &f);
}

/* ---- the header ---- */

/* The present event is a key of the root. */
static weft_status read_entry(reader *r, bool *has_metadata)
{
    const char *name = "";
    size_t length = 0;
    weft_status status = get_text(r, &name, &length, "a quoted name");

    if (status != WEFT_OK) {
        return status;
    }
    if (length == strlen(METADATA_KEY) && memcmp(name, METADATA_KEY, length) == 0) {
        if (*has_metadata) {
            return syntax(r, METADATA_KEY " once");
        }
        *has_metadata = true;
        return read_metadata(r);
    }
    if (length == 0) {
        return syntax(r, "a name that is not empty");
    }
    if (length > WEFT_FILE_NAME_MAX) {
        return here(r, weft_detail_set(r->detail, WEFT_E_LIMIT,
                                       "a name has %zu bytes, at most %u are allowed", length,
                                       WEFT_FILE_NAME_MAX));
    }
    memcpy(r->name, name, length);
    r->name[length] = '\0';
    r->name_length = length;
    status = read_tensor(r);
    r->name_length = 0;
    return status;
}

static weft_status read_root(reader *r)
{
    bool has_metadata = false;
    weft_status status = expect(r, FYET_STREAM_START, "one JSON object");

    status = status != WEFT_OK ? status : expect(r, FYET_DOCUMENT_START, "one JSON object");
    status = status != WEFT_OK ? status : expect(r, FYET_MAPPING_START, "one JSON object");
    while (status == WEFT_OK) {
        status = next(r);
        if (status != WEFT_OK || r->event->type == FYET_MAPPING_END) {
            break;
        }
        status = read_entry(r, &has_metadata);
    }
    status = status != WEFT_OK ? status : expect(r, FYET_DOCUMENT_END, "the end of the object");
    return status != WEFT_OK ? status : expect(r, FYET_STREAM_END, "nothing after the object");
}

/* Diagnostics are collected and not printed, by an object of this parse alone. */
static weft_status parse_header(reader *r)
{
    struct fy_diag_cfg diag_config;
    struct fy_parse_cfg config = {.flags = FYPCF_JSON_FORCE | FYPCF_COLLECT_DIAG};
    weft_status status = WEFT_E_OUT_OF_MEMORY;

    fy_diag_cfg_default(&diag_config);
    diag_config.fp = NULL;
    diag_config.level = FYET_ERROR;
    diag_config.colorize = false;
    r->diag = fy_diag_create(&diag_config);
    if (r->diag != NULL) {
        fy_diag_set_collect_errors(r->diag, true);
        config.diag = r->diag;
        r->parser = fy_parser_create(&config);
    }
    if (r->parser != NULL &&
        fy_parser_set_string(r->parser, r->text.text, r->text.text_bytes) == 0) {
        status = read_root(r);
    } else {
        weft_detail_set(r->detail, status, "no memory for the parser of the header");
    }
    if (r->parser != NULL) {
        fy_parser_event_free(r->parser, r->event);
        fy_parser_destroy(r->parser);
    }
    fy_diag_destroy(r->diag);
    return status;
}

/* ---- the data ---- */

static int compare_ranges(const void *left, const void *right)
{
    const range *a = left;
    const range *b = right;

    if (a->begin != b->begin) {
        return a->begin < b->begin ? -1 : 1;
    }
    return (a->end > b->end) - (a->end < b->end);
}

/* In order of their offsets, each tensor must begin where the one before it ended, and the last end
 * with the file. */
static weft_status check_ranges(const reader *r, range *ranges, size_t count)
{
    uint64_t end = 0;

    for (size_t i = 0; i < count; i++) {
        const weft_tensor *tensor = weft_model_tensor(r->content->tensors, i);
        ranges[i].begin = (uint64_t)((uint8_t *)tensor->data - r->data);
        ranges[i].end = ranges[i].begin + weft_model_elements(r->content->tensors, i) *
                                              weft_dtype_bytes(tensor->dtype);
        ranges[i].number = i;
    }
    if (count != 0) {
        qsort(ranges, count, sizeof *ranges, compare_ranges);
    }
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].begin != end) {
            const char *name = weft_model_tensor(r->content->tensors, ranges[i].number)->name;
            weft_detail_set(r->detail, WEFT_E_FILE_OFFSETS,
                            "the tensor begins at byte %" PRIu64
                            " of the data, the one before it ends at %" PRIu64,
                            ranges[i].begin, end);
            weft_detail_tensor(r->detail, name, strlen(name));
            return WEFT_E_FILE_OFFSETS;
        }
        end = ranges[i].end;
    }
    if (end != r->data_bytes) {
        return weft_detail_set(r->detail, WEFT_E_FILE_OFFSETS,
                               "the tensors end at byte %" PRIu64
                               " of the data, the file has %" PRIu64,
                               end, r->data_bytes);
    }
    return WEFT_OK;
}

static weft_status check_data(const reader *r)
{
    size_t count = weft_model_count(r->content->tensors);
    uint64_t bytes = count * sizeof(range);
    range *ranges = weft_memory_allocate(&r->content->allocator, bytes, WEFT_MEMORY_HOST);
    weft_status status;

    if (ranges == NULL && count != 0) {
        return weft_detail_set(r->detail, WEFT_E_OUT_OF_MEMORY, "no memory for %zu tensors", count);
    }
    status = check_ranges(r, ranges, count);
    weft_memory_release(&r->content->allocator, ranges, bytes, WEFT_MEMORY_HOST);
    return status;
}

/* ---- the file ---- */

/* Splits the bytes into header and data. */
static weft_status split(reader *r, uint8_t *bytes, uint64_t length)
{
    uint64_t header_bytes;

    if (length < LENGTH_BYTES) {
        return weft_detail_set(r->detail, WEFT_E_FILE_TRUNCATED,
                               "the file has %" PRIu64 " bytes and no header", length);
    }
    header_bytes = weft_get64(bytes);
    if (header_bytes < 2 || header_bytes > WEFT_HEADER_MAX) {
        return weft_detail_set(r->detail, WEFT_E_FILE_HEADER_SIZE,
                               "the header's length is %" PRIu64 ", 2 to %" PRIu64 " are allowed",
                               header_bytes, WEFT_HEADER_MAX);
    }
    if (header_bytes > length - LENGTH_BYTES) {
        return weft_detail_set(r->detail, WEFT_E_FILE_TRUNCATED,
                               "the header has %" PRIu64 " bytes, the file %" PRIu64, header_bytes,
                               length);
    }
    r->header = (const char *)bytes + LENGTH_BYTES;
    r->header_bytes = (size_t)header_bytes;
    r->data = bytes + LENGTH_BYTES + header_bytes;
    r->data_bytes = length - LENGTH_BYTES - header_bytes;
    /* The format demands it, and it keeps a byte order mark out, which libfyaml would skip. */
    if (r->header[0] != '{') {
        return weft_detail_set(r->detail, WEFT_E_FILE_HEADER_SYNTAX,
                               "the header does not begin with {");
    }
    return WEFT_OK;
}

weft_status weft_safetensors_read(weft_safetensors *content, uint8_t *bytes, uint64_t length,
                                  const weft_allocator *allocator, weft_detail *detail)
{
    weft_safetensors fresh = {.allocator = weft_memory_allocator(allocator)};
    reader r = {.content = &fresh, .detail = detail};
    weft_status status = split(&r, bytes, length);

    if (status == WEFT_OK) {
        status = weft_model_create_for_file(&fresh.tensors, &fresh.allocator);
        weft_detail_set(detail, status, "%s", weft_status_text(status));
    }
    status = status != WEFT_OK ? status
                               : weft_header_text_make(&r.text, r.header, r.header_bytes,
                                                       &fresh.allocator, detail);
    status = status != WEFT_OK ? status : parse_header(&r);
    weft_header_text_release(&r.text, &fresh.allocator);
    status = status != WEFT_OK ? status : check_data(&r);
    status = status != WEFT_OK ? status : index_metadata(&r);
    if (status != WEFT_OK) {
        weft_safetensors_release(&fresh);
        return status;
    }
    *content = fresh;
    return WEFT_OK;
}

void weft_safetensors_release(weft_safetensors *content)
{
    weft_model_destroy(content->tensors);
    weft_memory_release(&content->allocator, content->text, content->text_capacity,
                        WEFT_MEMORY_HOST);
    weft_memory_release(&content->allocator, content->pairs,
                        content->pair_count * sizeof *content->pairs, WEFT_MEMORY_HOST);
    *content = (weft_safetensors){.allocator = content->allocator};
}

const char *weft_safetensors_metadata(const weft_safetensors *content, const char *key)
{
    weft_safetensors_pair wanted = {.key = key};
    const weft_safetensors_pair *found = NULL;

    if (content->pair_count != 0) {
        found = bsearch(&wanted, content->pairs, content->pair_count, sizeof wanted, compare_pairs);
    }
    return found == NULL ? NULL : found->text;
}
