/* The grammar of updates' documents, for the mutator and for documents in bulk. */
#ifndef WEFT_FUZZ_MUTATE_METADATA_H
#define WEFT_FUZZ_MUTATE_METADATA_H

#include "document.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* A new document, right in half of the cases. Returns its size. d was begun. */
size_t metadata_generate(document *d, uint8_t *data, size_t most);
/* A few edits of a text. */
size_t metadata_edit(document *d, uint8_t *data, size_t size, size_t most);

#endif
