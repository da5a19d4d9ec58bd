/* Patch files: made from two models, read, and applied to a model. Everything is checked before the
 * first element is written, and the host device cannot fail to write, so a patch needs no undo log.
 */
#include "patch.h"

#include "decimal.h"
#include "detail.h"
#include "device.h"
#include "file.h"
#include "memory.h"
#include "model.h"
#include "safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FORMAT         "1"
#define INDICES_SUFFIX ":indices"
#define VALUES_SUFFIX  ":values"
#define NUMBER_MAX     24u /* 20 decimal digits, or 0x and 16 hexadecimal ones, and a NUL */
#define DIGEST_LENGTH  18u

_Static_assert(WEFT_NAME_MAX + sizeof INDICES_SUFFIX - 1 <= WEFT_FILE_NAME_MAX,
               "every name has room for its suffix");
_Static_assert(sizeof VALUES_SUFFIX <= sizeof INDICES_SUFFIX, "the longer suffix sets the limit");

/* Metadata that is a number: its key, its place in weft_patch_info, and how it is written. */
static const struct {
    const char *key;
    size_t offset;
    bool is_digest;
} NUMBERS[] = {
    {"base_version", offsetof(weft_patch_info, base_version), false},
    {"base_digest", offsetof(weft_patch_info, base_digest), true},
    {"target_version", offsetof(weft_patch_info, target_version), false},
    {"target_digest", offsetof(weft_patch_info, target_digest), true},
    {"fingerprint", offsetof(weft_patch_info, fingerprint), true},
};

#define NUMBER_COUNT (sizeof NUMBERS / sizeof NUMBERS[0])

/* Writes NAME and a suffix; returns the length. */
static size_t join(char joined[WEFT_FILE_NAME_MAX + 1], const char *name, const char *suffix)
{
    return (size_t)snprintf(joined, WEFT_FILE_NAME_MAX + 1, "%s%s", name, suffix);
}

static weft_status no_memory(weft_detail *detail)
{
    return weft_detail_set(detail, WEFT_E_OUT_OF_MEMORY, "no memory for the patch");
}

/* A detail of one tensor that was just set. */
static weft_status at_tensor(weft_detail *detail, weft_status status, const char *name)
{
    weft_detail_tensor(detail, name, strlen(name));
    return status;
}

/* ---- writing ---- */

static weft_status write_content(const char *path, const weft_model *tensors,
                                 const weft_patch_info *info, const weft_allocator *allocator,
                                 weft_detail *detail)
{
    char texts[NUMBER_COUNT][NUMBER_MAX];
    weft_safetensors_pair pairs[NUMBER_COUNT + 2] = {{"weft_patch", FORMAT}, {"kind", "sparse"}};

    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        uint64_t number = 0;
        memcpy(&number, (const char *)info + NUMBERS[i].offset, sizeof number);
        if (NUMBERS[i].is_digest) {
            (void)snprintf(texts[i], NUMBER_MAX, "0x%016" PRIx64, number);
        } else {
            (void)snprintf(texts[i], NUMBER_MAX, "%" PRIu64, number);
        }
        pairs[i + 2] = (weft_safetensors_pair){NUMBERS[i].key, texts[i]};
    }
    return weft_safetensors_write(path, tensors, pairs, NUMBER_COUNT + 2, allocator, detail);
}

/* Adds one section of the payload to the file's tensors. */
static weft_status add_section(weft_model *tensors, const char *name, const char *suffix,
                               weft_dtype dtype, uint64_t count, uint8_t *payload, uint64_t *offset)
{
    char joined[WEFT_FILE_NAME_MAX + 1];
    weft_tensor section = {
        .name = joined, .dtype = dtype, .rank = 1, .shape = {count}, .data = payload + *offset};

    (void)join(joined, name, suffix);
    /* The payload is in memory, so its sections' sizes do not wrap. */
    (void)weft_size_align8(*offset + count * weft_dtype_bytes(dtype), offset);
    return weft_model_add(tensors, &section);
}

/* Names the sections of a difference: indices of all tensors that changed, then their values. */
static weft_status add_sections(weft_model *tensors, const weft_model *model,
                                const weft_difference *difference)
{
    weft_status status = WEFT_OK;
    uint64_t offset = 0;

    for (size_t i = 0; status == WEFT_OK && i < 2 * weft_model_count(model); i++) {
        size_t number = i % weft_model_count(model);
        bool is_value = i >= weft_model_count(model);
        const weft_tensor *tensor = weft_model_tensor(model, number);
        weft_dtype index_dtype = weft_model_index_bytes(model, number) == 8 ? WEFT_I64 : WEFT_I32;

        if (difference->counts[number] != 0) {
            status = add_section(tensors, tensor->name, is_value ? VALUES_SUFFIX : INDICES_SUFFIX,
                                 is_value ? tensor->dtype : index_dtype, difference->counts[number],
                                 difference->payload, &offset);
        }
    }
    return status;
}

static weft_status write_difference(const char *path, const weft_model *base,
                                    const weft_difference *difference, const weft_patch_info *info,
                                    const weft_allocator *allocator, weft_detail *detail)
{
    weft_model *tensors = NULL;
    weft_status status = weft_model_create_for_file(&tensors, allocator);

    status = status != WEFT_OK ? status : add_sections(tensors, base, difference);
    if (status == WEFT_OK) {
        status = write_content(path, tensors, info, allocator, detail);
    } else {
        weft_detail_set(detail, status, "cannot name the patch's tensors: %s",
                        weft_status_text(status));
    }
    weft_model_destroy(tensors);
    return status;
}

/* Compares the two models with memory for the list of tensors, which is given back here. */
static weft_status diff(const weft_model *base, const weft_model *after,
                        const weft_allocator *allocator, weft_difference *difference)
{
    const weft_device *device = weft_device_host();
    uint64_t bytes = (weft_model_count(base) + 1) * sizeof(weft_comparison); /* never 0 */
    weft_comparison *tensors = weft_memory_allocate(allocator, bytes, WEFT_MEMORY_HOST);
    weft_status status;

    if (tensors == NULL) {
        return WEFT_E_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < weft_model_count(base); i++) {
        const weft_tensor *tensor = weft_model_tensor(base, i);
        tensors[i] = (weft_comparison){
            .before = tensor->data,
            .after = weft_model_tensor(after, i)->data,
            .elements = weft_model_elements(base, i),
            .seed = weft_model_seed(base, i),
            .index_bytes = weft_model_index_bytes(base, i),
            .element_bytes = (uint8_t)weft_dtype_bytes(tensor->dtype),
        };
    }
    status =
        device->diff(device, tensors, weft_model_count(base), allocator, UINT64_MAX, difference);
    weft_memory_release(allocator, tensors, bytes, WEFT_MEMORY_HOST);
    return status;
}

/* The models are the same; counts has room for every tensor. */
static weft_status write_patch(const char *path, const weft_model *base, const weft_model *after,
                               weft_patch_info info, const weft_allocator *allocator,
                               weft_difference *difference, weft_detail *detail)
{
    weft_status status = weft_model_digest(base, weft_device_host(), &info.base_digest);

    status = status != WEFT_OK ? status : diff(base, after, allocator, difference);
    if (status != WEFT_OK) {
        return weft_detail_set(detail, status, "cannot compare the models: %s",
                               weft_status_text(status));
    }
    info.target_digest = info.base_digest + difference->digest;
    info.fingerprint = weft_model_fingerprint(base);
    status = write_difference(path, base, difference, &info, allocator, detail);
    weft_memory_release(allocator, difference->payload, difference->payload_capacity,
                        WEFT_MEMORY_HOST);
    return status;
}

weft_status weft_patch_write(const char *path, const weft_model *base, const weft_model *after,
                             uint64_t base_version, uint64_t target_version,
                             const weft_allocator *allocator, uint64_t *changed,
                             weft_detail *detail)
{
    weft_allocator chosen = weft_memory_allocator(allocator);
    weft_patch_info info = {.base_version = base_version, .target_version = target_version};
    weft_difference difference = {.payload = NULL};
    uint64_t count_bytes = (weft_model_count(base) + 1) * sizeof *difference.counts; /* never 0 */
    size_t number = 0;
    weft_status status;

    if (!weft_model_same(base, after, &number)) {
        return weft_detail_set(detail, WEFT_E_MODEL_MISMATCH,
                               "the models differ in name, dtype or shape of tensor %zu", number);
    }
    difference.counts = weft_memory_allocate(&chosen, count_bytes, WEFT_MEMORY_HOST);
    if (difference.counts == NULL) {
        return no_memory(detail);
    }
    status = write_patch(path, base, after, info, &chosen, &difference, detail);
    weft_memory_release(&chosen, difference.counts, count_bytes, WEFT_MEMORY_HOST);
    if (status == WEFT_OK && changed != NULL) {
        *changed = difference.changed;
    }
    return status;
}

/* ---- reading ---- */

/* A decimal number without sign or leading zeros. */
static bool parse_version(const char *text, uint64_t *number)
{
    bool zeros = text[0] == '0' && text[1] != '\0';

    return !zeros && weft_decimal_parse(text, strlen(text), number) == WEFT_OK;
}

/* 0x and 16 lower-case hexadecimal digits. */
static bool parse_digest(const char *text, uint64_t *number)
{
    static const char DIGITS[] = "0123456789abcdef";
    uint64_t sum = 0;

    if (strlen(text) != DIGEST_LENGTH || text[0] != '0' || text[1] != 'x') {
        return false;
    }
    for (size_t i = 2; i < DIGEST_LENGTH; i++) {
        const char *digit = strchr(DIGITS, text[i]);
        if (digit == NULL) {
            return false;
        }
        sum = sum << 4 | (uint64_t)(digit - DIGITS);
    }
    *number = sum;
    return true;
}

weft_status weft_patch_read_info(const weft_file *file, weft_patch_info *info, weft_detail *detail)
{
    const char *format = weft_file_metadata(file, "weft_patch");
    const char *kind = weft_file_metadata(file, "kind");
    weft_patch_info read = {.base_version = 0};

    if (format == NULL) {
        return weft_detail_set(detail, WEFT_E_FILE_NOT_A_PATCH,
                               "the metadata has no key weft_patch");
    }
    if (strcmp(format, FORMAT) != 0) {
        return weft_detail_set(detail, WEFT_E_FILE_PATCH, "weft_patch is \"%s\", expected \"%s\"",
                               format, FORMAT);
    }
    if (kind == NULL || strcmp(kind, "sparse") != 0) {
        return weft_detail_set(detail, WEFT_E_FILE_PATCH, "kind must be \"sparse\"");
    }
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        const char *text = weft_file_metadata(file, NUMBERS[i].key);
        uint64_t number = 0;
        if (text == NULL || !(NUMBERS[i].is_digest ? parse_digest : parse_version)(text, &number)) {
            return weft_detail_set(detail, WEFT_E_FILE_PATCH, "%s is missing or not a %s",
                                   NUMBERS[i].key,
                                   NUMBERS[i].is_digest ? "digest" : "decimal number");
        }
        memcpy((char *)&read + NUMBERS[i].offset, &number, sizeof number);
    }
    *info = read;
    return WEFT_OK;
}

/* The file's tensor NAME and suffix, or NULL. */
static const weft_tensor *find_section(const weft_model *tensors, const char *name,
                                       const char *suffix)
{
    char joined[WEFT_FILE_NAME_MAX + 1];
    size_t number = 0;

    if (weft_model_find(tensors, joined, join(joined, name, suffix), &number) != WEFT_OK) {
        return NULL;
    }
    return weft_model_tensor(tensors, number);
}

/* Fills the entry of a tensor that has indices in the file. */
static weft_status check_entry(const weft_model *tensors, const weft_model *model, size_t number,
                               const weft_tensor *indices, weft_patch_entry *entry,
                               weft_detail *detail)
{
    const weft_tensor *tensor = weft_model_tensor(model, number);
    const weft_tensor *values = find_section(tensors, tensor->name, VALUES_SUFFIX);
    weft_dtype index_dtype = weft_model_index_bytes(model, number) == 8 ? WEFT_I64 : WEFT_I32;

    if (values == NULL || indices->rank != 1 || values->rank != 1 ||
        indices->shape[0] != values->shape[0]) {
        weft_detail_set(detail, WEFT_E_FILE_PATCH,
                        "indices and values must be two lists of the same length");
        return at_tensor(detail, WEFT_E_FILE_PATCH, tensor->name);
    }
    if (indices->dtype != index_dtype || values->dtype != tensor->dtype) {
        weft_detail_set(detail, WEFT_E_FILE_PATCH,
                        "expected indices of %s and values of %s, found %s and %s",
                        weft_dtype_name(index_dtype), weft_dtype_name(tensor->dtype),
                        weft_dtype_name(indices->dtype), weft_dtype_name(values->dtype));
        return at_tensor(detail, WEFT_E_FILE_PATCH, tensor->name);
    }
    if (indices->shape[0] > weft_model_elements(model, number)) {
        weft_detail_set(detail, WEFT_E_FILE_PATCH,
                        "%" PRIu64 " elements change, the tensor has %" PRIu64, indices->shape[0],
                        weft_model_elements(model, number));
        return at_tensor(detail, WEFT_E_FILE_PATCH, tensor->name);
    }
    *entry = (weft_patch_entry){.tensor = number,
                                .count = indices->shape[0],
                                .indices = indices->data,
                                .values = values->data};
    return WEFT_OK;
}

/* The suffix that a name ends with, or NULL. The name's own colons do not matter. */
static const char *suffix_of(const char *name, size_t length)
{
    static const char *const SUFFIXES[] = {INDICES_SUFFIX, VALUES_SUFFIX};

    for (size_t i = 0; i < 2; i++) {
        size_t suffix = strlen(SUFFIXES[i]);
        if (length > suffix && memcmp(name + length - suffix, SUFFIXES[i], suffix) == 0) {
            return SUFFIXES[i];
        }
    }
    return NULL;
}

/* Every tensor of the file is one of a pair that belongs to a tensor of the model. */
static weft_status check_pairs(const weft_model *tensors, const weft_model *model,
                               weft_detail *detail)
{
    for (size_t i = 0; i < weft_model_count(tensors); i++) {
        const char *name = weft_model_tensor(tensors, i)->name;
        size_t length = strlen(name);
        const char *suffix = suffix_of(name, length);
        const char *other =
            suffix != NULL && strcmp(suffix, VALUES_SUFFIX) == 0 ? INDICES_SUFFIX : VALUES_SUFFIX;
        size_t number = 0;

        if (suffix == NULL) {
            weft_detail_set(detail, WEFT_E_FILE_PATCH,
                            "a name ends neither with " INDICES_SUFFIX " nor " VALUES_SUFFIX);
            return at_tensor(detail, WEFT_E_FILE_PATCH, name);
        }
        if (weft_model_find(model, name, length - strlen(suffix), &number) != WEFT_OK) {
            weft_detail_set(detail, WEFT_E_MODEL_MISMATCH,
                            "the patch has a tensor that the model has not");
            return at_tensor(detail, WEFT_E_MODEL_MISMATCH, name);
        }
        if (find_section(tensors, weft_model_tensor(model, number)->name, other) == NULL) {
            weft_detail_set(detail, WEFT_E_FILE_PATCH,
                            "it has no tensor that ends with %s beside it", other);
            return at_tensor(detail, WEFT_E_FILE_PATCH, name);
        }
    }
    return WEFT_OK;
}

/* entries has room for every pair that check_pairs has seen. */
static weft_status fill_entries(const weft_model *tensors, const weft_model *model,
                                weft_patch_entry *entries, weft_detail *detail)
{
    weft_status status = WEFT_OK;
    size_t found = 0;

    for (size_t number = 0; status == WEFT_OK && number < weft_model_count(model); number++) {
        const weft_tensor *indices =
            find_section(tensors, weft_model_tensor(model, number)->name, INDICES_SUFFIX);
        if (indices != NULL) {
            status = check_entry(tensors, model, number, indices, &entries[found], detail);
            found++;
        }
    }
    return status;
}

weft_status weft_patch_entries(const weft_file *file, const weft_model *model,
                               const weft_allocator *allocator, weft_patch_entry **entries,
                               size_t *count, weft_detail *detail)
{
    const weft_model *tensors = weft_file_content(file)->tensors;
    size_t pairs = weft_model_count(tensors) / 2;
    uint64_t bytes = pairs * sizeof(weft_patch_entry);
    weft_allocator chosen = weft_memory_allocator(allocator);
    weft_patch_entry *list = NULL;
    weft_patch_info info = {.base_version = 0};
    weft_status status = weft_patch_read_info(file, &info, detail);

    if (status == WEFT_OK && info.fingerprint != weft_model_fingerprint(model)) {
        status = weft_detail_set(detail, WEFT_E_MODEL_MISMATCH,
                                 "the patch is for a model with fingerprint 0x%016" PRIx64
                                 ", this one has 0x%016" PRIx64,
                                 info.fingerprint, weft_model_fingerprint(model));
    }
    status = status != WEFT_OK ? status : check_pairs(tensors, model, detail);
    if (status == WEFT_OK && pairs != 0) {
        list = weft_memory_allocate(&chosen, bytes, WEFT_MEMORY_HOST);
        status = list == NULL ? no_memory(detail) : fill_entries(tensors, model, list, detail);
    }
    if (status != WEFT_OK) {
        weft_memory_release(&chosen, list, bytes, WEFT_MEMORY_HOST);
        return status;
    }
    *entries = list;
    *count = pairs;
    return WEFT_OK;
}

/* ---- applying ---- */

static weft_segment segment_of(const weft_model *model, const weft_patch_entry *entry)
{
    const weft_tensor *tensor = weft_model_tensor(model, entry->tensor);

    return (weft_segment){
        .target = tensor->data,
        .indices = entry->indices,
        .values = entry->values,
        .count = entry->count,
        .elements = weft_model_elements(model, entry->tensor),
        .seed = weft_model_seed(model, entry->tensor),
        .tensor = (uint32_t)entry->tensor,
        .index_bytes = weft_model_index_bytes(model, entry->tensor),
        .element_bytes = (uint8_t)weft_dtype_bytes(tensor->dtype),
    };
}

/* Checks the base, the indices and the digest to come, then writes. The base was read in full, so
 * the digest of the change is computed from what is really there, and the sum is the digest of what
 * the write leaves. */
static weft_status check_and_put(const weft_model *model, const weft_patch_info *info,
                                 const weft_segment *segments, size_t count, weft_detail *detail)
{
    const weft_device *device = weft_device_host();
    weft_device_result result = {.status = WEFT_OK};
    uint64_t digest = 0;
    weft_status status = weft_model_digest(model, device, &digest);

    if (status == WEFT_OK && digest != info->base_digest) {
        return weft_detail_set(detail, WEFT_E_BASE_MISMATCH,
                               "the patch builds on version %" PRIu64 " with digest 0x%016" PRIx64
                               ", the model has digest 0x%016" PRIx64,
                               info->base_version, info->base_digest, digest);
    }
    status = status != WEFT_OK
                 ? status
                 : weft_device_run(device, WEFT_DEVICE_VERIFY, segments, count, &result);
    if (status != WEFT_OK) {
        weft_detail_set(detail, status, "index %" PRIu64 " is %" PRIu64 ": %s", result.position,
                        result.found, weft_status_text(status));
        return count == 0
                   ? status
                   : at_tensor(detail, status,
                               weft_model_tensor(model, segments[result.segment].tensor)->name);
    }
    if (digest + result.digest != info->target_digest) {
        return weft_detail_set(detail, WEFT_E_DIGEST_MISMATCH,
                               "the patch announces digest 0x%016" PRIx64
                               ", the result would have 0x%016" PRIx64,
                               info->target_digest, digest + result.digest);
    }
    status = weft_device_run(device, WEFT_DEVICE_PUT, segments, count, &result);
    return weft_detail_set(detail, status, "%s", weft_status_text(status));
}

weft_status weft_patch_apply(const weft_file *file, weft_model *model,
                             const weft_allocator *allocator, weft_detail *detail)
{
    weft_allocator chosen = weft_memory_allocator(allocator);
    weft_patch_entry *entries = NULL;
    weft_segment *segments = NULL;
    weft_patch_info info = {.base_version = 0};
    size_t count = 0;
    weft_status status = weft_patch_read_info(file, &info, detail);

    status = status != WEFT_OK ? status
                               : weft_patch_entries(file, model, &chosen, &entries, &count, detail);
    if (status != WEFT_OK) {
        return status;
    }
    segments = weft_memory_allocate(&chosen, count * sizeof *segments, WEFT_MEMORY_HOST);
    if (segments == NULL && count != 0) {
        status = no_memory(detail);
    } else {
        for (size_t i = 0; i < count; i++) {
            segments[i] = segment_of(model, &entries[i]);
        }
        status = check_and_put(model, &info, segments, count, detail);
    }
    weft_memory_release(&chosen, segments, count * sizeof *segments, WEFT_MEMORY_HOST);
    weft_memory_release(&chosen, entries, count * sizeof *entries, WEFT_MEMORY_HOST);
    return status;
}
