#include "document_file.h"

#include <string.h>

#define LENGTH_BYTES 8u
#define HEADER_MAX   16384u

static void put_length(document *d, uint8_t *to, uint64_t length)
{
    if (document_chance(d, 32)) {
        length += document_random(d, 16) - 8;
    }
    for (unsigned i = 0; i < LENGTH_BYTES; i++) {
        to[i] = (uint8_t)(length >> (8 * i));
    }
}

size_t document_file_write(document *d, const document_node *header, const uint8_t *data,
                           size_t data_size, uint8_t *to, size_t most)
{
    size_t size;

    if (most < LENGTH_BYTES) {
        return 0;
    }
    d->notation = document_chance(d, 16) ? DOCUMENT_FLOW : DOCUMENT_JSON;
    size = document_write(d, header, to + LENGTH_BYTES, most - LENGTH_BYTES);
    while (size % 8 != 0 && size < most - LENGTH_BYTES) {
        to[LENGTH_BYTES + size++] = ' ';
    }
    put_length(d, to, size);
    size += LENGTH_BYTES;
    data_size = data_size < most - size ? data_size : most - size;
    memcpy(to + size, data, data_size);
    return size + data_size;
}

static size_t header_size(const uint8_t *file, size_t size)
{
    uint64_t length = 0;

    for (unsigned i = 0; i < LENGTH_BYTES; i++) {
        length |= (uint64_t)file[i] << (8 * i);
    }
    return length < size - LENGTH_BYTES ? (size_t)length : size - LENGTH_BYTES;
}

size_t document_file_edit(document *d, const document_words *words, uint8_t *file, size_t size,
                          size_t most)
{
    static uint8_t header[HEADER_MAX];
    size_t before;
    size_t after;

    if (size < LENGTH_BYTES) {
        return size;
    }
    before = header_size(file, size);
    if (before > HEADER_MAX) {
        return size;
    }
    memcpy(header, file + LENGTH_BYTES, before);
    after = before;
    for (uint64_t edits = 1 + document_random(d, 3); edits > 0; edits--) {
        after = document_edit(d, words, header, after, HEADER_MAX);
    }
    if (size - before + after > most) {
        return size;
    }
    memmove(file + LENGTH_BYTES + after, file + LENGTH_BYTES + before,
            size - LENGTH_BYTES - before);
    memcpy(file + LENGTH_BYTES, header, after);
    put_length(d, file, after);
    return size - before + after;
}
