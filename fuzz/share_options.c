/* How much freed memory AddressSanitizer keeps poisoned: with its own 256 MiB every input takes
 * fresh pages, which is half of the time of a harness that allocates. What one input frees fits in
 * 2 MiB many times. */

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the sanitizer's name */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "quarantine_size_mb=2:thread_local_quarantine_size_kb=64";
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
