/* The header of a safetensors file as libfyaml can read it in bounded memory. libfyaml keeps every
 * token of a line until it knows that the line is no key, and a header is often one line of
 * megabytes. So it reads a copy in which a line ends after each comma that stands outside of
 * strings, and a run of white space is one space. */
#ifndef WEFT_SRC_SAFETENSORS_TEXT_H
#define WEFT_SRC_SAFETENSORS_TEXT_H

#include "weft.h"

typedef struct weft_header_text {
    const char *header;
    size_t header_bytes;
    char *text; /* the copy */
    size_t text_bytes;
} weft_header_text;

/* header has at least one byte. On success release with weft_header_text_release.
 * Returns: FILE_HEADER_SYNTAX for a header in which more tokens follow each other without a comma
 * than the format can need (the detail has the place), OUT_OF_MEMORY. */
weft_status weft_header_text_make(weft_header_text *text, const char *header, size_t header_bytes,
                                  const weft_allocator *allocator, weft_detail *detail);
void weft_header_text_release(weft_header_text *text, const weft_allocator *allocator);

/* Offset in the text of a line and a column (from 1, in characters), as libfyaml gives them. */
size_t weft_header_text_offset(const weft_header_text *text, int line, int column);
/* Sets line and column (from 1, in bytes) of the place in the header that this offset in the text
 * came from. */
void weft_header_text_place(const weft_header_text *text, size_t offset, weft_detail *detail);

#endif
