/* Any bytes as a patch file, read from a file and applied to a small model: as they are, and with
 * the model's own fingerprint and digests in their places, since nobody guesses these. A patch that
 * is refused leaves the model as it was. One that is applied has written what a plain loop over its
 * sections writes, and the digest is the one that it announced.
 *
 * Covers: src/patch.c src/file.c src/safetensors.c src/safetensors_text.c */
#include "patch.h"

#include "device.h"
#include "file.h"
#include "invariant.h"
#include "model.h"
#include "patch_model.h"
#include "share_memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length);

#define DIGITS 16u

typedef struct target {
    weft_model *model;
    _Alignas(8) uint8_t content[PATCH_BYTES];
    uint8_t before[PATCH_BYTES];
    int file;
    char path[32];
} target;

static target *the_target(void)
{
    static target t;

    if (t.model != NULL) {
        return &t;
    }
    for (size_t i = 0; i < PATCH_BYTES; i++) {
        t.before[i] = (uint8_t)(i * 37 + 11);
    }
    weft_invariant(weft_model_create(&t.model, NULL) == WEFT_OK);
    for (size_t i = 0; i < PATCH_TENSORS; i++) {
        const patch_model_row *row = &patch_model_rows()[i];
        weft_tensor tensor = {.name = row->name,
                              .dtype = row->dtype,
                              .rank = row->rank,
                              .shape = {row->shape[0], row->shape[1]},
                              .data = t.content + row->at};
        weft_invariant(weft_model_add(t.model, &tensor) == WEFT_OK);
    }
    weft_invariant(weft_model_sort(t.model) == WEFT_OK);
    t.file = memfd_create("patch", MFD_CLOEXEC);
    weft_invariant(t.file >= 0);
    (void)snprintf(t.path, sizeof t.path, "/proc/self/fd/%d", t.file);
    return &t;
}

/* Null when it is no safetensors file. */
static weft_file *open_file(const target *t, const uint8_t *bytes, size_t length)
{
    weft_file *file = NULL;
    weft_detail detail = {.status = WEFT_OK};
    weft_status status;

    weft_invariant(ftruncate(t->file, 0) == 0 &&
                   pwrite(t->file, bytes, length, 0) == (ssize_t)length);
    status = weft_file_open(&file, t->path, NULL, &detail);
    weft_invariant((status == WEFT_OK) == (file != NULL));
    weft_invariant(status == WEFT_OK || (detail.status == status && detail.text[0] != '\0'));
    return file;
}

static uint64_t index_at(const weft_patch_entry *entry, uint64_t i)
{
    uint32_t index; /* no tensor of this model is wide; sections may be unaligned */

    memcpy(&index, (const uint8_t *)entry->indices + i * sizeof index, sizeof index);
    return index;
}

/* What applying must leave, by a plain loop. Returns how many elements change. */
static uint64_t apply_plainly(const weft_patch_entry *entries, size_t count,
                              uint8_t content[PATCH_BYTES])
{
    uint64_t changed = 0;

    for (size_t i = 0; i < count; i++) {
        const patch_model_row *row = &patch_model_rows()[entries[i].tensor];
        uint32_t bytes = weft_dtype_bytes(row->dtype);
        uint64_t least = 0;
        for (uint64_t k = 0; k < entries[i].count; k++) {
            uint64_t index = index_at(&entries[i], k);
            weft_invariant(index >= least && index < patch_model_elements(row));
            least = index + 1;
            memcpy(content + row->at + index * bytes,
                   (const uint8_t *)entries[i].values + k * bytes, bytes);
            changed++;
        }
    }
    return changed;
}

#ifdef WEFT_PLANTED_BUG
/* A table that is too small for what only a right patch for three tensors says. */
static void planted(size_t tensors, uint64_t changed)
{
    char table[2];
    char *at = table;

    for (size_t i = 0; changed > 8 && i < tensors; i++) {
        *at++ = (char)i;
    }
    weft_invariant(changed <= 8 || table[0] == 0);
}
#endif

/* A patch that was applied: the same as plainly. */
static void check_applied(const target *t, const weft_file *file)
{
    weft_patch_entry *entries = NULL;
    weft_patch_info info;
    size_t count = 0;
    uint64_t digest = 0;
    uint64_t changed;
    uint8_t wanted[PATCH_BYTES];
    weft_allocator allocator = weft_allocator_default();

    memcpy(wanted, t->before, PATCH_BYTES);
    weft_invariant(weft_patch_entries(file, t->model, NULL, &entries, &count, NULL) == WEFT_OK);
    weft_invariant(weft_patch_read_info(file, &info, NULL) == WEFT_OK);
    changed = apply_plainly(entries, count, wanted);
    weft_invariant(memcmp(wanted, t->content, PATCH_BYTES) == 0);
    weft_invariant(weft_model_digest(t->model, weft_device_host(), &digest) == WEFT_OK &&
                   digest == info.target_digest);
#ifdef WEFT_PLANTED_BUG
    planted(count, changed);
#else
    weft_invariant(changed <= PATCH_BYTES);
#endif
    if (entries != NULL) {
        allocator.release(allocator.context, entries, count * sizeof *entries, WEFT_MEMORY_HOST);
    }
}

/* Applies to a fresh model. */
static weft_status apply(target *t, const uint8_t *bytes, size_t length, weft_detail *detail)
{
    weft_file *file = open_file(t, bytes, length);
    weft_status status;

    if (file == NULL) {
        return WEFT_E_FILE_NOT_A_PATCH;
    }
    memcpy(t->content, t->before, PATCH_BYTES);
    status = weft_patch_apply(file, t->model, NULL, detail);
    if (status == WEFT_OK) {
        check_applied(t, file);
    } else {
        weft_invariant(memcmp(t->content, t->before, PATCH_BYTES) == 0);
        weft_invariant(detail->status == status && detail->text[0] != '\0');
    }
    weft_file_close(file);
    return status;
}

/* Puts a number where a key's text has 16 digits, everywhere in the file. */
static void repair(uint8_t *bytes, size_t length, const char *key, uint64_t number)
{
    char digits[DIGITS + 1];
    size_t key_length = strlen(key);

    (void)snprintf(digits, sizeof digits, "%016" PRIx64, number);
    for (size_t i = 0; i + key_length + DIGITS < length; i++) {
        if (memcmp(bytes + i, key, key_length) == 0) {
            memcpy(bytes + i + key_length, digits, DIGITS);
        }
    }
}

/* The digest that a refusal says the result would have: nothing else knows it. */
static bool digest_of_result(const weft_detail *detail, uint64_t *digest)
{
    const char *at = strstr(detail->text, "result would have 0x");

    if (at == NULL) {
        return false;
    }
    *digest = strtoull(at + strlen("result would have "), NULL, 16);
    return true;
}

static void run(const uint8_t *input, size_t length)
{
    target *t = the_target();
    weft_detail detail = {.status = WEFT_OK};
    uint8_t *bytes = fuzz_memory_copy(input, length);
    uint64_t digest = 0;

    if (apply(t, bytes, length, &detail) == WEFT_E_MODEL_MISMATCH) {
        repair(bytes, length, "\"fingerprint\":\"0x", weft_model_fingerprint(t->model));
    }
    memcpy(t->content, t->before, PATCH_BYTES);
    weft_invariant(weft_model_digest(t->model, weft_device_host(), &digest) == WEFT_OK);
    repair(bytes, length, "\"base_digest\":\"0x", digest);
    if (apply(t, bytes, length, &detail) == WEFT_E_DIGEST_MISMATCH &&
        digest_of_result(&detail, &digest)) {
        repair(bytes, length, "\"target_digest\":\"0x", digest);
        (void)apply(t, bytes, length, &detail);
    }
    free(bytes);
}

/* As for safetensors. */
#define BESIDE (UINT32_C(8) << 20)
#define TIMES  32u

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length)
{
    fuzz_memory_checked(run, input, length, TIMES * length + BESIDE);
    return 0;
}
