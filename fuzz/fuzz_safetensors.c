/* Any bytes as a safetensors file. What is accepted must hold what weft_safetensors_read promises:
 * every tensor's data lies in the file, together they cover the data exactly, names are unique and
 * found, and so are the keys of the metadata.
 *
 * Covers: src/safetensors.c src/safetensors_text.c */
#include "safetensors.h"

#include "invariant.h"
#include "share_memory.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length);

/* Data that two tensors have, or none, would make these sums differ. */
static void check_tensors(const weft_safetensors *content, const uint8_t *bytes, size_t length)
{
    const weft_model *tensors = content->tensors;
    uint64_t sum = 0;
    uint64_t places = 0;

    for (size_t i = 0; i < weft_model_count(tensors); i++) {
        const weft_tensor *tensor = weft_model_tensor(tensors, i);
        uint64_t size = weft_model_elements(tensors, i) * weft_dtype_bytes(tensor->dtype);
        const uint8_t *data = tensor->data;
        size_t number = 0;

        weft_invariant(data >= bytes + 8 && size <= length && data + size <= bytes + length);
        weft_invariant(weft_model_find(tensors, tensor->name, strlen(tensor->name), &number) ==
                           WEFT_OK &&
                       number == i);
        for (uint64_t k = 0; k < size; k++) {
            places += (uint64_t)(data + k - bytes);
        }
        sum += size;
    }
    for (size_t i = length - sum; i < length; i++) {
        places -= i;
    }
    weft_invariant(sum <= length && places == 0);
}

static void check_metadata(const weft_safetensors *content)
{
    for (size_t i = 0; i < content->pair_count; i++) {
        weft_invariant(weft_safetensors_metadata(content, content->pairs[i].key) ==
                       content->pairs[i].text);
    }
    weft_invariant(weft_safetensors_metadata(content, "\xff") == NULL);
}

#ifdef WEFT_PLANTED_BUG
/* A table that is too small for what only a right file says: at least three tensors with an
 * element, and metadata. */
static void planted(const weft_safetensors *content)
{
    char table[2];
    char *at = table;

    for (size_t i = 0; content->pair_count > 1 && i < weft_model_count(content->tensors); i++) {
        if (weft_model_elements(content->tensors, i) > 0) {
            *at++ = (char)i;
        }
    }
    weft_invariant(content->pair_count < 2 || table[0] < 100);
}
#endif

static void run(const uint8_t *input, size_t length)
{
    weft_safetensors content;
    weft_detail detail = {.status = WEFT_OK};
    uint8_t *bytes = fuzz_memory_copy(input, length);
    weft_status status = weft_safetensors_read(&content, bytes, length, NULL, &detail);

    if (status == WEFT_OK) {
        check_tensors(&content, bytes, length);
        check_metadata(&content);
#ifdef WEFT_PLANTED_BUG
        planted(&content);
#endif
        weft_safetensors_release(&content);
    } else {
        weft_invariant(detail.status == status && detail.text[0] != '\0');
    }
    free(bytes);
}

/* Tokens that wait in libfyaml, and the registry's first table. */
#define BESIDE (UINT32_C(8) << 20)
/* The copy, the text, names and metadata, twice while they grow; a tensor of the header takes at
 * least 50 bytes of it, and some 400 of memory. */
#define TIMES 32u

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length)
{
    fuzz_memory_checked(run, input, length, TIMES * length + BESIDE);
    return 0;
}
