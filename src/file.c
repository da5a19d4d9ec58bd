/* Model files: mapped privately for reading, written to a temporary file and renamed.
 *
 * A private mapping costs memory only for the pages that are written. It shares the others with the
 * file: whoever shortens the file in place while it is mapped takes them away (SIGBUS). weft itself
 * only ever replaces files by renaming. */
#include "file.h"

#include "detail.h"
#include "memory.h"
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY_MAX 64u /* bytes of a temporary file's name */
#define TEMPORARY_TRIES                                                                            \
    1000u /* names, in case that some are left over from processes that died   \
                               */
#define WRITE_BYTES_MAX ((size_t)1 << 30) /* Linux writes less than 2 GiB in one call */

/* Without it a mapping larger than the free memory may be refused, although its pages are hardly
 * ever written. */
#ifdef MAP_NORESERVE
#define MAP_FLAGS (MAP_PRIVATE | MAP_NORESERVE)
#else
#define MAP_FLAGS MAP_PRIVATE
#endif

struct weft_file {
    weft_safetensors content;
    uint8_t *mapping;
    uint64_t bytes;
};

/* The detail of a failed system call; number is errno's value. The path, which may be long, stands
 * last. */
static weft_status system_fault(weft_detail *detail, weft_status status, const char *what,
                                const char *path, int number)
{
    return weft_detail_set(detail, status, "cannot %s (%s): %s", what, strerror(number), path);
}

/* ---- writing ---- */

/* A new file in the folder, with a name that nothing else has. Returns its descriptor, or -1 and
 * errno. */
static int create_temporary(int folder, char name[TEMPORARY_MAX])
{
    for (unsigned try = 0; try < TEMPORARY_TRIES; try++) {
        int file;
        (void)snprintf(name, TEMPORARY_MAX, ".weft.%ld.%u.tmp", (long)getpid(), try);
        file = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file >= 0 || errno != EEXIST) {
            return file;
        }
    }
    return -1;
}

/* All bytes, however few the system takes at once. */
static bool write_all(int file, const uint8_t *bytes, size_t length)
{
    while (length != 0) {
        ssize_t count = write(file, bytes, length < WRITE_BYTES_MAX ? length : WRITE_BYTES_MAX);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            return false;
        }
        bytes += count;
        length -= (size_t)count;
    }
    return true;
}

/* Fills and syncs the file; closes it in any case. Returns what failed, NULL if nothing did. */
static const char *fill_and_close(int file, const weft_span *spans, size_t count)
{
    const char *failed = NULL;
    int cause = 0;

    for (size_t i = 0; i < count && failed == NULL; i++) {
        failed = write_all(file, spans[i].data, spans[i].length) ? NULL : "write";
    }
    if (failed == NULL && fsync(file) != 0) {
        failed = "sync";
    }
    cause = errno;
    if (close(file) != 0 && failed == NULL) {
        return "close";
    }
    errno = cause;
    return failed;
}

/* Writes beside name and renames. Only after the folder is synced too does a power cut not undo the
 * renaming. */
static weft_status replace(int folder, const char *name, const char *path, const weft_span *spans,
                           size_t count, weft_detail *detail)
{
    char temporary[TEMPORARY_MAX];
    int file = create_temporary(folder, temporary);
    const char *failed;

    if (file < 0) {
        return system_fault(detail, WEFT_E_FILE_WRITE, "create a temporary file", path, errno);
    }
    failed = fill_and_close(file, spans, count);
    if (failed == NULL && renameat(folder, temporary, folder, name) != 0) {
        failed = "rename";
    }
    if (failed != NULL) {
        int cause = errno;
        (void)unlinkat(folder, temporary, 0);
        return system_fault(detail, WEFT_E_FILE_WRITE, failed, path, cause);
    }
    if (fsync(folder) != 0) {
        return system_fault(detail, WEFT_E_FILE_WRITE, "sync the folder", path, errno);
    }
    return weft_detail_set(detail, WEFT_OK, "%s", weft_status_text(WEFT_OK));
}

weft_status weft_file_write(const char *path, const weft_span *spans, size_t count,
                            weft_detail *detail)
{
    char folder_path[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    weft_status status;
    int folder;

    if (length >= sizeof folder_path) {
        return system_fault(detail, WEFT_E_FILE_WRITE, "write", path, ENAMETOOLONG);
    }
    if (length != 0) {
        memcpy(folder_path, path, length);
        folder_path[length] = '\0';
    }
    folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        return system_fault(detail, WEFT_E_FILE_WRITE, "open the folder", path, errno);
    }
    status = replace(folder, path + length, path, spans, count, detail);
    (void)close(folder);
    return status;
}

/* ---- reading ---- */

/* Maps a whole regular file. An empty one is no mapping. */
static weft_status map(const char *path, uint8_t **mapping, uint64_t *bytes, weft_detail *detail)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat information;
    void *address;
    int cause;

    if (file < 0) {
        return system_fault(detail, WEFT_E_FILE_OPEN, "open", path, errno);
    }
    if (fstat(file, &information) != 0 || !S_ISREG(information.st_mode)) {
        (void)close(file);
        return weft_detail_set(detail, WEFT_E_FILE_OPEN, "%s is not a regular file", path);
    }
    if (information.st_size == 0) {
        (void)close(file);
        return weft_detail_set(detail, WEFT_E_FILE_TRUNCATED, "%s is empty", path);
    }
    address = mmap(NULL, (size_t)information.st_size, PROT_READ | PROT_WRITE, MAP_FLAGS, file, 0);
    cause = errno;
    (void)close(file);
    if (address == MAP_FAILED) {
        return system_fault(detail, WEFT_E_FILE_OPEN, "map", path, cause);
    }
    *mapping = address;
    *bytes = (uint64_t)information.st_size;
    return WEFT_OK;
}

weft_status weft_file_open(weft_file **file, const char *path, const weft_allocator *allocator,
                           weft_detail *detail)
{
    weft_allocator chosen = weft_memory_allocator(allocator);
    weft_file *fresh;
    weft_status status;

    if (file == NULL || path == NULL) {
        return weft_detail_set(detail, WEFT_E_INVALID_ARGUMENT, "file and path must not be NULL");
    }
    fresh = weft_memory_allocate(&chosen, sizeof *fresh, WEFT_MEMORY_HOST);
    if (fresh == NULL) {
        return weft_detail_set(detail, WEFT_E_OUT_OF_MEMORY, "no memory to open %s", path);
    }
    status = map(path, &fresh->mapping, &fresh->bytes, detail);
    if (status == WEFT_OK) {
        status =
            weft_safetensors_read(&fresh->content, fresh->mapping, fresh->bytes, &chosen, detail);
        if (status != WEFT_OK) {
            (void)munmap(fresh->mapping, (size_t)fresh->bytes);
        }
    }
    if (status != WEFT_OK) {
        weft_memory_release(&chosen, fresh, sizeof *fresh, WEFT_MEMORY_HOST);
        return status;
    }
    *file = fresh;
    return WEFT_OK;
}

void weft_file_close(weft_file *file)
{
    weft_allocator allocator;

    if (file == NULL) {
        return;
    }
    allocator = file->content.allocator;
    weft_safetensors_release(&file->content);
    (void)munmap(file->mapping, (size_t)file->bytes);
    weft_memory_release(&allocator, file, sizeof *file, WEFT_MEMORY_HOST);
}

/* What would refuse a tensor is looked for before the first one is added; only memory can run out
 * in between. */
static weft_status check_room(const weft_model *tensors, const weft_model *model)
{
    size_t number = 0;

    if (weft_model_count(model) + weft_model_count(tensors) > WEFT_TENSORS_MAX) {
        return WEFT_E_LIMIT;
    }
    for (size_t i = 0; i < weft_model_count(tensors); i++) {
        const char *name = weft_model_tensor(tensors, i)->name;
        size_t length = strlen(name);
        if (length > WEFT_NAME_MAX) {
            return WEFT_E_INVALID_ARGUMENT;
        }
        if (weft_model_find(model, name, length, &number) == WEFT_OK) {
            return WEFT_E_DUPLICATE_TENSOR;
        }
    }
    return WEFT_OK;
}

weft_status weft_file_add_to_model(const weft_file *file, weft_model *model)
{
    weft_status status;

    if (file == NULL || model == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    status = check_room(file->content.tensors, model);
    for (size_t i = 0; status == WEFT_OK && i < weft_model_count(file->content.tensors); i++) {
        status = weft_model_add(model, weft_model_tensor(file->content.tensors, i));
    }
    return status;
}

const char *weft_file_metadata(const weft_file *file, const char *key)
{
    return file == NULL || key == NULL ? NULL : weft_safetensors_metadata(&file->content, key);
}

const weft_safetensors *weft_file_content(const weft_file *file)
{
    return &file->content;
}

weft_status weft_file_save(const weft_file *file, const char *path, weft_detail *detail)
{
    weft_span whole;

    if (file == NULL || path == NULL) {
        return weft_detail_set(detail, WEFT_E_INVALID_ARGUMENT, "file and path must not be NULL");
    }
    whole = (weft_span){.data = file->mapping, .length = (size_t)file->bytes};
    return weft_file_write(path, &whole, 1, detail);
}
