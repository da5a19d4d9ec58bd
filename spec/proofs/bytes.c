/* The inline functions of bytes.h are proved once, here. */
#include "../../src/bytes.h"
