/* Standard base64 (RFC 4648, section 4): for NCCL's unique ids. Strict: no line breaks, padding
 * where it belongs, unused bits zero; so every value has exactly one text. */
#ifndef WEFT_SRC_BASE64_H
#define WEFT_SRC_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Characters of the text of so many bytes, without a NUL. */
#define WEFT_BASE64_LENGTH(bytes) (((bytes) + 2) / 3 * 4)

/* text must hold WEFT_BASE64_LENGTH(count) characters and a NUL. */
void weft_base64_encode(const uint8_t *bytes, size_t count, char *text);
/* Exactly `count` bytes, from exactly `length` characters; or false. */
bool weft_base64_decode(const char *text, size_t length, uint8_t *bytes, size_t count);

#endif
