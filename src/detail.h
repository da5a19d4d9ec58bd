/* Filling in a weft_detail: one sentence, cut at WEFT_TEXT_MAX, never in the middle of a UTF-8
 * sequence. */
#ifndef WEFT_SRC_DETAIL_H
#define WEFT_SRC_DETAIL_H

#include "weft.h"

/* Sets status and text, clears the rest. detail may be NULL. Returns status, so that "return
 * weft_detail_set(...)" reads well. */
weft_status weft_detail_set(weft_detail *detail, weft_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void weft_detail_tensor(weft_detail *detail, const char *name, size_t length);

#endif
