/* What the proof of the index check takes from weft_host_load: the number that stands there,
 * little-endian. WP does not see through memcpy; ESBMC copies byte by byte. */
#include "../../src/bytes.h"
#include "../../src/device_host.h"

extern uint8_t any_byte(void);
extern unsigned any_number(void);
void __ESBMC_assume(_Bool condition);
void __ESBMC_assert(_Bool condition, const char *what);

#define PLACES 3u

int main(void)
{
    uint8_t bytes[PLACES * 8];
    unsigned at = any_number();
    for (unsigned i = 0; i < sizeof bytes; i++) {
        bytes[i] = any_byte();
    }
    __ESBMC_assume(at < PLACES);
    __ESBMC_assert(weft_host_load(bytes, at, 4) == weft_get32(bytes + at * 4), "four bytes");
    __ESBMC_assert(weft_host_load(bytes, at, 8) == weft_get64(bytes + at * 8), "eight bytes");
    return 0;
}
