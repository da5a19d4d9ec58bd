/* The element types by the names that safetensors gives them. */
#ifndef WEFT_SRC_DTYPE_H
#define WEFT_SRC_DTYPE_H

#include "weft.h"

/* "BF16"; "?" for a number that is no dtype. Static. */
const char *weft_dtype_file_name(weft_dtype dtype);
/* False when no dtype has this name (length bytes, no NUL needed): safetensors' "BF16", torch's
 * "bfloat16". */
bool weft_dtype_from_file_name(const char *name, size_t length, weft_dtype *dtype);
bool weft_dtype_from_name(const char *name, size_t length, weft_dtype *dtype);

#endif
