#include "size.h"

bool weft_size_add(uint64_t a, uint64_t b, uint64_t *result)
{
    if (a > UINT64_MAX - b) {
        return false;
    }
    *result = a + b;
    return true;
}

bool weft_size_multiply(uint64_t a, uint64_t b, uint64_t *result)
{
    if (b != 0 && a > UINT64_MAX / b) {
        return false;
    }
    *result = a * b;
    return true;
}

bool weft_size_align8(uint64_t a, uint64_t *result)
{
    if (a > UINT64_MAX - 7) {
        return false;
    }
    *result = (a + 7) / 8 * 8;
    return true;
}

bool weft_size_section(uint64_t count, uint64_t bytes, uint64_t *end)
{
    uint64_t section = 0;
    return weft_size_multiply(count, bytes, &section) && weft_size_align8(section, &section) &&
           weft_size_add(*end, section, end);
}
