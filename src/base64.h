/* Standard base64 (RFC 4648, section 4): for NCCL's unique ids. Strict: no line breaks, padding
 * where it belongs, unused bits zero; so every value has exactly one text. */
#ifndef WEFT_SRC_BASE64_H
#define WEFT_SRC_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Characters of the text of so many bytes, without a NUL. */
#define WEFT_BASE64_LENGTH(bytes) (((bytes) + 2) / 3 * 4)

/*@ logic integer base64_length(integer bytes) = (bytes + 2) / 3 * 4; @*/

/* text must hold WEFT_BASE64_LENGTH(count) characters and a NUL. */
/*@ requires count <= SIZE_MAX / 2 && \valid_read(bytes + (0 .. count - 1));
    requires \valid(text + (0 .. base64_length(count)));
    requires \separated(bytes + (0 .. count - 1), text + (0 .. base64_length(count)));
    assigns text[0 .. base64_length(count)];
    ensures text[base64_length(count)] == 0;
@*/
void weft_base64_encode(const uint8_t *bytes, size_t count, char *text);
/* Exactly `count` bytes, from exactly `length` characters; or false. */
/*@ requires count <= SIZE_MAX / 2 && \valid_read(text + (0 .. length - 1));
    requires \valid(bytes + (0 .. count - 1));
    requires \separated(bytes + (0 .. count - 1), text + (0 .. length - 1));
    assigns bytes[0 .. count - 1];
    ensures \result ==> length == base64_length(count);
@*/
bool weft_base64_decode(const char *text, size_t length, uint8_t *bytes, size_t count);

#endif
