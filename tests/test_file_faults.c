/* System calls that fail under file.c: whatever does, the file is the old one or the new one, and
 * nothing lies beside it. The calls below are found before those of the C library. */
#include "file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FOUND_FIRST __attribute__((visibility("default")))

typedef enum call { CALL_NONE, CALL_WRITE, CALL_SYNC, CALL_CLOSE, CALL_STAT, CALL_MAP } call;

/* The call that fails, how many of its kind go well before it, and errno then. */
static call failing;
static unsigned good_calls;
static int failure;

static bool fails(call which)
{
    if (failing != which || good_calls-- > 0) {
        return false;
    }
    failing = CALL_NONE;
    errno = failure;
    return true;
}

FOUND_FIRST ssize_t write(int file, const void *bytes, size_t length)
{
    return fails(CALL_WRITE) ? -1 : syscall(SYS_write, file, bytes, length);
}

FOUND_FIRST int fsync(int file)
{
    return fails(CALL_SYNC) ? -1 : (int)syscall(SYS_fsync, file);
}

FOUND_FIRST int close(int file)
{
    bool failed = fails(CALL_CLOSE);
    int cause = errno;
    int status = (int)syscall(SYS_close, file); /* closed also then, as Linux does */
    errno = failed ? cause : errno;
    return failed ? -1 : status;
}

FOUND_FIRST int fstat(int file, struct stat *information)
{
    return fails(CALL_STAT) ? -1 : (int)syscall(SYS_fstat, file, information);
}

FOUND_FIRST void *mmap(void *at, size_t length, int protection, int flags, int file, off_t offset)
{
    return fails(CALL_MAP) ? MAP_FAILED
                           : (void *)syscall(SYS_mmap, at, length, protection, flags, file, offset);
}

static char folder[] = "/tmp/weft-test-file-faults-XXXXXX";
static char path[sizeof folder + 8];

static void fail_next(call which, unsigned good, int number)
{
    failing = which;
    good_calls = good;
    failure = number;
}

static weft_status write_words(const char *first, const char *second, weft_detail *detail)
{
    const weft_span spans[] = {{first, strlen(first)}, {second, strlen(second)}};
    return weft_file_write(path, spans, 2, detail);
}

static void check_holds(const char *expected)
{
    char text[64] = "";
    unsigned entries = 0;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    (void)fread(text, 1, sizeof text - 1, file);
    assert_int_equal(fclose(file), 0);
    assert_string_equal(text, expected);
    DIR *listing = opendir(folder);
    assert_non_null(listing);
    while (readdir(listing) != NULL) {
        entries++;
    }
    assert_int_equal(closedir(listing), 0);
    assert_int_equal(entries, 3); /* ".", "..", and the file */
}

static void test_a_call_fails_before_the_rename(void **state)
{
    static const struct {
        call which;
        unsigned good;
        const char *text;
    } cases[] = {
        {CALL_WRITE, 0, "cannot write (Input/output error)"},
        {CALL_WRITE, 1, "cannot write (Input/output error)"},
        {CALL_SYNC, 0, "cannot sync (Input/output error)"},
        {CALL_CLOSE, 0, "cannot close (Input/output error)"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weft_detail detail;
        assert_int_equal(write_words("old ", "words", &detail), WEFT_OK);
        fail_next(cases[i].which, cases[i].good, EIO);
        assert_int_equal(write_words("new ", "text", &detail), WEFT_E_FILE_WRITE);
        assert_int_equal(failing, CALL_NONE);
        assert_non_null(strstr(detail.text, cases[i].text));
        assert_non_null(strstr(detail.text, path));
        check_holds("old words");
    }
}

/* What failed first is what is told. */
static void test_two_calls_fail(void **state)
{
    weft_detail detail;

    (void)state;
    assert_int_equal(write_words("old ", "words", &detail), WEFT_OK);
    fail_next(CALL_CLOSE, 0, EIO);
    assert_int_equal(weft_file_write(path, &(weft_span){NULL, 1}, 1, &detail), WEFT_E_FILE_WRITE);
    assert_int_equal(failing, CALL_NONE);
    assert_non_null(strstr(detail.text, "cannot write (Bad address)"));
    check_holds("old words");
}

/* The new file is there, but a power cut might take it away again: that is no success. */
static void test_the_folder_is_not_synced(void **state)
{
    weft_detail detail;

    (void)state;
    assert_int_equal(write_words("old ", "words", &detail), WEFT_OK);
    fail_next(CALL_SYNC, 1, ENOSPC);
    assert_int_equal(write_words("new ", "text", &detail), WEFT_E_FILE_WRITE);
    assert_non_null(strstr(detail.text, "cannot sync the folder (No space left on device)"));
    check_holds("new text");
}

static void test_an_interrupted_write_goes_on(void **state)
{
    weft_detail detail;

    (void)state;
    fail_next(CALL_WRITE, 1, EINTR);
    assert_int_equal(write_words("one ", "two", &detail), WEFT_OK);
    assert_int_equal(failing, CALL_NONE);
    check_holds("one two");
}

static void test_a_file_that_cannot_be_mapped(void **state)
{
    static const struct {
        call which;
        const char *text;
    } cases[] = {{CALL_STAT, "is not a regular file"},
                 {CALL_MAP, "cannot map (Cannot allocate memory)"}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        weft_file *file = NULL;
        weft_detail detail;
        assert_int_equal(write_words("some ", "words", &detail), WEFT_OK);
        fail_next(cases[i].which, 0, ENOMEM);
        assert_int_equal(weft_file_open(&file, path, NULL, &detail), WEFT_E_FILE_OPEN);
        assert_int_equal(failing, CALL_NONE);
        assert_non_null(strstr(detail.text, cases[i].text));
        assert_null(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_call_fails_before_the_rename),
        cmocka_unit_test(test_two_calls_fail),
        cmocka_unit_test(test_the_folder_is_not_synced),
        cmocka_unit_test(test_an_interrupted_write_goes_on),
        cmocka_unit_test(test_a_file_that_cannot_be_mapped),
    };

    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    (void)snprintf(path, sizeof path, "%s/file", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    (void)rmdir(folder);
    return failed != 0;
}
