/* The inline functions of index_check.h are proved once, here. */
#include "../../src/index_check.h"
