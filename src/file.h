/* Files beyond weft.h: the durable write that every file of weft goes through, and what a mapped
 * file holds. */
#ifndef WEFT_SRC_FILE_H
#define WEFT_SRC_FILE_H

#include "safetensors.h"
#include "weft.h"

/* Writes the spans, one after another, into a new file beside path, syncs it, renames it over path
 * and syncs the folder. On an error before the rename path is what it was and nothing is left
 * beside it. A link at path is replaced, not followed. Returns: FILE_WRITE. */
weft_status weft_file_write(const char *path, const weft_span *spans, size_t count,
                            weft_detail *detail);

const weft_safetensors *weft_file_content(const weft_file *file);

#endif
