/* Any bytes as a safetensors file. What is accepted must hold what weft_safetensors_read promises:
 * every tensor's data lies in the file, and together they cover the data exactly. */
#include "safetensors.h"

#include "invariant.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length)
{
    weft_safetensors content;
    /* A block of the exact length, so that a sanitizer sees a read behind its end. */
    uint8_t *bytes = malloc(length + (length == 0));

    weft_invariant(bytes != NULL);
    memcpy(bytes, input, length);
    if (weft_safetensors_read(&content, bytes, length, NULL, NULL) == WEFT_OK) {
        uint64_t sum = 0;
        for (size_t i = 0; i < weft_model_count(content.tensors); i++) {
            const weft_tensor *tensor = weft_model_tensor(content.tensors, i);
            uint64_t size =
                weft_model_elements(content.tensors, i) * weft_dtype_bytes(tensor->dtype);
            const uint8_t *data = tensor->data;
            weft_invariant(data >= bytes + 8 && size <= length && data + size <= bytes + length);
            sum += size;
        }
        weft_invariant(sum <= length);
        weft_safetensors_release(&content);
    }
    free(bytes);
    return 0;
}
