/* Files on a disk: mapping, changing in memory, saving, and disks that refuse. */
#include "file.h"

#include "model.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char HEADER[] = "{\"__metadata__\":{\"k\":\"t\"},\"a\":{\"dtype\":\"U8\",\"shape\":[4]"
                             ",\"data_offsets\":[0,4]}} ";

static char folder[] = "/tmp/weft-test-file-XXXXXX";

/* The path of a name in the test's folder; good until the next call but one. */
static const char *in_folder(const char *name)
{
    static char paths[2][300 + sizeof folder];
    static unsigned turn;

    turn ^= 1;
    (void)snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
    return paths[turn];
}

static void write_plain(const char *name, const void *bytes, size_t length)
{
    FILE *file = fopen(in_folder(name), "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static size_t read_plain(const char *name, char *bytes, size_t capacity)
{
    FILE *file = fopen(in_folder(name), "rb");
    size_t length;

    assert_non_null(file);
    length = fread(bytes, 1, capacity, file);
    assert_int_equal(fclose(file), 0);
    return length;
}

/* A file of four bytes of data: w e f t. Returns its length. */
static size_t write_model(const char *name)
{
    char bytes[8 + sizeof HEADER - 1 + 4] = {sizeof HEADER - 1};
    const uint8_t content[4] = {'w', 'e', 'f', 't'};

    memcpy(bytes + 8, HEADER, sizeof HEADER - 1);
    memcpy(bytes + 8 + sizeof HEADER - 1, content, sizeof content);
    write_plain(name, bytes, sizeof bytes);
    return sizeof bytes;
}

static size_t count_files(void)
{
    DIR *entries = opendir(folder);
    size_t count = 0;

    assert_non_null(entries);
    for (const struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    assert_int_equal(closedir(entries), 0);
    return count;
}

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "%s", "/tmp/weft-test-file-XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    DIR *entries = opendir(folder);

    (void)state;
    for (const struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        if (entry->d_name[0] != '.') {
            (void)remove(in_folder(entry->d_name));
        }
    }
    (void)closedir(entries);
    /* Fails, and the test with it, when a temporary file was left. */
    return rmdir(folder);
}

static void a_change_in_memory_does_not_reach_the_file(void **state)
{
    size_t length = write_model("model");
    char before[200];
    char after[200];
    weft_file *file = NULL;
    weft_model *model = NULL;
    weft_detail detail;

    (void)state;
    assert_int_equal(weft_file_open(&file, in_folder("model"), NULL, &detail), WEFT_OK);
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    assert_int_equal(weft_file_add_to_model(file, model), WEFT_OK);
    assert_int_equal(weft_model_count(model), 1);
    assert_memory_equal(weft_model_tensor(model, 0)->data, "weft", 4);
    assert_string_equal(weft_file_metadata(file, "k"), "t");
    assert_null(weft_file_metadata(file, "l"));
    memcpy(weft_model_tensor(model, 0)->data, "WEFT", 4);
    assert_int_equal(weft_file_save(file, in_folder("saved"), &detail), WEFT_OK);
    assert_int_equal(detail.status, WEFT_OK);
    assert_int_equal(read_plain("model", before, sizeof before), length);
    assert_memory_equal(before + length - 4, "weft", 4);
    assert_int_equal(read_plain("saved", after, sizeof after), length);
    assert_memory_equal(after, before, length - 4);
    assert_memory_equal(after + length - 4, "WEFT", 4);
    /* Over the file that is mapped. */
    assert_int_equal(weft_file_save(file, in_folder("model"), NULL), WEFT_OK);
    assert_int_equal(read_plain("model", before, sizeof before), length);
    assert_memory_equal(before, after, length);
    assert_int_equal(count_files(), 2);
    weft_model_destroy(model);
    weft_file_close(file);
}

static void what_cannot_be_opened_is_refused(void **state)
{
    weft_file *file = NULL;
    weft_detail detail;

    (void)state;
    write_plain("empty", "", 0);
    write_plain("short", "\2\0\0\0", 4);
    write_plain("text", "hello, this is no model file", 28);
    assert_int_equal(weft_file_open(&file, in_folder("missing"), NULL, &detail), WEFT_E_FILE_OPEN);
    assert_non_null(strstr(detail.text, "No such file"));
    assert_int_equal(weft_file_open(&file, in_folder("missing"), NULL, NULL), WEFT_E_FILE_OPEN);
    assert_int_equal(weft_file_open(&file, folder, NULL, &detail), WEFT_E_FILE_OPEN);
    assert_int_equal(weft_file_open(&file, "/dev/null", NULL, &detail), WEFT_E_FILE_OPEN);
    assert_int_equal(weft_file_open(&file, in_folder("empty"), NULL, &detail),
                     WEFT_E_FILE_TRUNCATED);
    assert_int_equal(weft_file_open(&file, in_folder("short"), NULL, &detail),
                     WEFT_E_FILE_TRUNCATED);
    assert_int_equal(weft_file_open(&file, in_folder("text"), NULL, &detail),
                     WEFT_E_FILE_HEADER_SIZE);
    assert_null(file);
}

/* Addresses are limited here, so this file of a terabyte, all holes, cannot be mapped. */
static void what_cannot_be_mapped_is_refused(void **state)
{
    weft_file *file = NULL;
    weft_detail detail;

    (void)state;
    write_plain("huge", "", 0);
    if (truncate(in_folder("huge"), (off_t)1 << 43) != 0) {
        skip(); /* the file system has no such sizes */
    }
    /* More than the addresses of a process, or a header of no length. */
    assert_in_range((unsigned)-weft_file_open(&file, in_folder("huge"), NULL, &detail), 901, 904);
    assert_null(file);
}

static void null_is_refused(void **state)
{
    weft_file *file = NULL;
    weft_model *model = NULL;

    (void)state;
    write_model("model");
    assert_int_equal(weft_file_open(NULL, "x", NULL, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_file_open(&file, NULL, NULL, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_file_open(&file, in_folder("model"), NULL, NULL), WEFT_OK);
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    assert_int_equal(weft_file_add_to_model(NULL, model), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_file_add_to_model(file, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_file_save(NULL, "x", NULL), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_file_save(file, NULL, NULL), WEFT_E_INVALID_ARGUMENT);
    assert_null(weft_file_metadata(NULL, "k"));
    assert_null(weft_file_metadata(file, NULL));
    weft_model_destroy(model);
    weft_file_close(NULL);
    weft_file_close(file);
}

static void a_model_takes_all_tensors_or_none(void **state)
{
    static char data[4];
    char name[WEFT_FILE_NAME_MAX + 1];
    weft_file *file = NULL;
    weft_model *model = NULL;
    weft_model *longer = NULL;

    (void)state;
    write_model("model");
    assert_int_equal(weft_file_open(&file, in_folder("model"), NULL, NULL), WEFT_OK);
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    weft_model_acquire(model);
    assert_int_equal(weft_file_add_to_model(file, model), WEFT_E_MODEL_IN_USE);
    weft_model_release(model);
    assert_int_equal(weft_file_add_to_model(file, model), WEFT_OK);
    assert_int_equal(weft_file_add_to_model(file, model), WEFT_E_DUPLICATE_TENSOR);
    assert_int_equal(weft_model_count(model), 1);
    weft_file_close(file);

    /* A name that only a file may have. */
    memset(name, 'n', sizeof name);
    name[WEFT_FILE_NAME_MAX] = '\0';
    assert_int_equal(weft_model_create_for_file(&longer, NULL), WEFT_OK);
    assert_int_equal(weft_model_add(longer, &(weft_tensor){"b", WEFT_U8, 1, {4}, data}), WEFT_OK);
    assert_int_equal(weft_model_add(longer, &(weft_tensor){name, WEFT_U8, 1, {4}, data}), WEFT_OK);
    assert_int_equal(weft_safetensors_write(in_folder("long"), longer, NULL, 0, NULL, NULL),
                     WEFT_OK);
    assert_int_equal(weft_file_open(&file, in_folder("long"), NULL, NULL), WEFT_OK);
    assert_int_equal(weft_file_add_to_model(file, model), WEFT_E_INVALID_ARGUMENT);
    assert_int_equal(weft_model_count(model), 1);
    weft_model_destroy(longer);
    weft_model_destroy(model);
    weft_file_close(file);
}

static void a_full_model_takes_no_file(void **state)
{
    static char data[1];
    weft_model *model = NULL;
    weft_file *file = NULL;

    (void)state;
    write_model("model");
    assert_int_equal(weft_file_open(&file, in_folder("model"), NULL, NULL), WEFT_OK);
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    for (unsigned i = 0; i < WEFT_TENSORS_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%u", i);
        if (weft_model_add(model, &(weft_tensor){name, WEFT_U8, 0, {0}, data}) != WEFT_OK) {
            fail_msg("tensor %u is refused", i);
        }
    }
    assert_int_equal(weft_file_add_to_model(file, model), WEFT_E_LIMIT);
    weft_model_destroy(model);
    weft_file_close(file);
}

static void spans_are_joined_and_old_files_replaced(void **state)
{
    const weft_span spans[] = {{"one ", 4}, {NULL, 0}, {"two", 3}};
    char bytes[16];

    (void)state;
    write_plain("target", "old", 3);
    assert_int_equal(weft_file_write(in_folder("target"), spans, 3, NULL), WEFT_OK);
    assert_int_equal(read_plain("target", bytes, sizeof bytes), 7);
    assert_memory_equal(bytes, "one two", 7);
    assert_int_equal(count_files(), 1);
}

static void a_path_without_a_folder_is_relative(void **state)
{
    const weft_span span = {"x", 1};
    char old[4096];
    char bytes[4];

    (void)state;
    assert_non_null(getcwd(old, sizeof old));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(weft_file_write("target", &span, 1, NULL), WEFT_OK);
    assert_int_equal(chdir(old), 0);
    assert_int_equal(read_plain("target", bytes, sizeof bytes), 1);
}

static void a_link_is_replaced_and_not_followed(void **state)
{
    const weft_span span = {"new", 3};
    char bytes[8];
    struct stat information;

    (void)state;
    write_plain("behind", "old", 3);
    assert_int_equal(symlink("behind", in_folder("link")), 0);
    assert_int_equal(weft_file_write(in_folder("link"), &span, 1, NULL), WEFT_OK);
    assert_int_equal(read_plain("behind", bytes, sizeof bytes), 3);
    assert_memory_equal(bytes, "old", 3);
    assert_int_equal(lstat(in_folder("link"), &information), 0);
    assert_true(S_ISREG(information.st_mode));
}

static void names_of_dead_processes_are_stepped_over(void **state)
{
    const weft_span span = {"new", 3};
    char name[64];

    (void)state;
    (void)snprintf(name, sizeof name, ".weft.%ld.0.tmp", (long)getpid());
    write_plain(name, "left over", 9);
    assert_int_equal(weft_file_write(in_folder("target"), &span, 1, NULL), WEFT_OK);
    assert_int_equal(count_files(), 2);
    for (unsigned i = 1; i < 1000; i++) {
        (void)snprintf(name, sizeof name, ".weft.%ld.%u.tmp", (long)getpid(), i);
        write_plain(name, "", 0);
    }
    assert_int_equal(weft_file_write(in_folder("target"), &span, 1, NULL), WEFT_E_FILE_WRITE);
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, ".weft.%ld.%u.tmp", (long)getpid(), i);
        assert_int_equal(unlink(in_folder(name)), 0);
    }
}

static void a_folder_that_refuses_is_told(void **state)
{
    const weft_span span = {"x", 1};
    char long_path[6000];
    weft_detail detail;

    (void)state;
    write_plain("plain", "x", 1);
    assert_int_equal(weft_file_write(in_folder("missing/target"), &span, 1, &detail),
                     WEFT_E_FILE_WRITE);
    assert_non_null(strstr(detail.text, "No such file"));
    assert_int_equal(weft_file_write(in_folder("plain/target"), &span, 1, &detail),
                     WEFT_E_FILE_WRITE);
    assert_non_null(strstr(detail.text, "Not a directory"));
    assert_int_equal(weft_file_write("/proc/self/target", &span, 1, &detail), WEFT_E_FILE_WRITE);
    memset(long_path, '/', sizeof long_path);
    long_path[sizeof long_path - 1] = '\0';
    assert_int_equal(weft_file_write(long_path, &span, 1, &detail), WEFT_E_FILE_WRITE);
    assert_non_null(strstr(detail.text, "name too long"));
    assert_int_equal(count_files(), 1);
}

static void a_rename_that_fails_leaves_nothing(void **state)
{
    const weft_span span = {"x", 1};
    weft_detail detail;

    (void)state;
    assert_int_equal(mkdir(in_folder("target"), 0700), 0);
    assert_int_equal(weft_file_write(in_folder("target"), &span, 1, &detail), WEFT_E_FILE_WRITE);
    assert_non_null(strstr(detail.text, "rename"));
    assert_int_equal(weft_file_write(in_folder(""), &span, 1, &detail), WEFT_E_FILE_WRITE);
    assert_int_equal(count_files(), 1);
}

/* A limit on the size of files stands for a full disk: the first write is cut short, the next one
 * fails. */
static void a_disk_that_fills_up_leaves_the_old_file(void **state)
{
    static char large[100000];
    const weft_span spans[] = {{"head", 4}, {large, sizeof large}};
    char bytes[8];
    struct rlimit before;
    struct rlimit limit;
    weft_detail detail;
    weft_status status;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

    (void)state;
    write_plain("target", "old", 3);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){.rlim_cur = 50000, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    status = weft_file_write(in_folder("target"), spans, 2, &detail);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(status, WEFT_E_FILE_WRITE);
    assert_non_null(strstr(detail.text, "File too large"));
    assert_int_equal(read_plain("target", bytes, sizeof bytes), 3);
    assert_memory_equal(bytes, "old", 3);
    assert_int_equal(count_files(), 1);
    assert_int_equal(weft_file_write(in_folder("target"), spans, 2, NULL), WEFT_OK);
}

static void memory_may_run_out_at_any_call(void **state)
{
    weft_status status = WEFT_E_OUT_OF_MEMORY;
    uint64_t at = 0;

    (void)state;
    write_model("model");
    while (status != WEFT_OK) {
        test_allocator memory;
        weft_file *file = NULL;

        test_allocator_start(&memory, ++at);
        status = weft_file_open(&file, in_folder("model"), &memory.allocator, NULL);
        assert_true(status == WEFT_OK || status == WEFT_E_OUT_OF_MEMORY);
        assert_int_equal(file == NULL, status != WEFT_OK);
        weft_file_close(file);
        test_allocator_finish(&memory);
    }
    assert_true(at >= 9);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_change_in_memory_does_not_reach_the_file),
        IN_FOLDER(what_cannot_be_opened_is_refused),
        IN_FOLDER(what_cannot_be_mapped_is_refused),
        IN_FOLDER(null_is_refused),
        IN_FOLDER(a_model_takes_all_tensors_or_none),
        IN_FOLDER(a_full_model_takes_no_file),
        IN_FOLDER(spans_are_joined_and_old_files_replaced),
        IN_FOLDER(a_path_without_a_folder_is_relative),
        IN_FOLDER(a_link_is_replaced_and_not_followed),
        IN_FOLDER(names_of_dead_processes_are_stepped_over),
        IN_FOLDER(a_folder_that_refuses_is_told),
        IN_FOLDER(a_rename_that_fails_leaves_nothing),
        IN_FOLDER(a_disk_that_fills_up_leaves_the_old_file),
        IN_FOLDER(memory_may_run_out_at_any_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
