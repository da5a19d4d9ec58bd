/* The one table of element types. */
#include "dtype.h"

#include <string.h>

typedef struct dtype_row {
    uint32_t bytes;
    const char *name;      /* torch's */
    const char *file_name; /* safetensors' */
} dtype_row;

static const dtype_row DTYPES[] = {
    [0] = {0, "?", "?"},
    [WEFT_BF16] = {2, "bfloat16", "BF16"},
    [WEFT_F16] = {2, "float16", "F16"},
    [WEFT_F32] = {4, "float32", "F32"},
    [WEFT_F64] = {8, "float64", "F64"},
    [WEFT_F8_E4M3] = {1, "float8_e4m3fn", "F8_E4M3"},
    [WEFT_F8_E5M2] = {1, "float8_e5m2", "F8_E5M2"},
    [WEFT_I8] = {1, "int8", "I8"},
    [WEFT_U8] = {1, "uint8", "U8"},
    [WEFT_I16] = {2, "int16", "I16"},
    [WEFT_I32] = {4, "int32", "I32"},
    [WEFT_I64] = {8, "int64", "I64"},
    [WEFT_BOOL] = {1, "bool", "BOOL"},
};

#define DTYPE_COUNT (sizeof DTYPES / sizeof DTYPES[0])

_Static_assert(DTYPE_COUNT == (size_t)WEFT_BOOL + 1, "a dtype without a row");

static const dtype_row *row_of(weft_dtype dtype)
{
    return (size_t)dtype < DTYPE_COUNT ? &DTYPES[dtype] : &DTYPES[0];
}

static bool same_text(const char *text, const char *name, size_t length)
{
    return strlen(text) == length && memcmp(text, name, length) == 0;
}

uint32_t weft_dtype_bytes(weft_dtype dtype)
{
    return row_of(dtype)->bytes;
}

const char *weft_dtype_name(weft_dtype dtype)
{
    return row_of(dtype)->name;
}

const char *weft_dtype_file_name(weft_dtype dtype)
{
    return row_of(dtype)->file_name;
}

bool weft_dtype_from_file_name(const char *name, size_t length, weft_dtype *dtype)
{
    for (size_t i = 1; i < DTYPE_COUNT; i++) {
        if (same_text(DTYPES[i].file_name, name, length)) {
            *dtype = (weft_dtype)i;
            return true;
        }
    }
    return false;
}

bool weft_dtype_from_name(const char *name, size_t length, weft_dtype *dtype)
{
    for (size_t i = 1; i < DTYPE_COUNT; i++) {
        if (same_text(DTYPES[i].name, name, length)) {
            *dtype = (weft_dtype)i;
            return true;
        }
    }
    return false;
}
