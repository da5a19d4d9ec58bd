/* Safetensors files: a length, a header that is a document, and data. */
#ifndef WEFT_FUZZ_DOCUMENT_FILE_H
#define WEFT_FUZZ_DOCUMENT_FILE_H

#include "document.h"

/* Writes header and data; the length now and then a little wrong. Returns the size. */
size_t document_file_write(document *d, const document_node *header, const uint8_t *data,
                           size_t data_size, uint8_t *to, size_t most);

/* Edits the header of a file as a text, and makes its length fit again. */
size_t document_file_edit(document *d, const document_words *words, uint8_t *file, size_t size,
                          size_t most);

#endif
