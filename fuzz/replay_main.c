/* Feeds every file that is named, and every file in every folder that is named, to a fuzz target
 * once: so that a compiler without libFuzzer can replay a corpus. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int fail(const char *path)
{
    perror(path);
    return 1;
}

static int replay_stream(const char *path, FILE *stream)
{
    size_t capacity = 4096;
    size_t size = 0;
    uint8_t *data = malloc(capacity);

    while (data != NULL) {
        size += fread(data + size, 1, capacity - size, stream);
        if (size < capacity) {
            break;
        }
        capacity *= 2;
        uint8_t *larger = realloc(data, capacity);
        if (larger == NULL) {
            free(data);
        }
        data = larger;
    }
    if (data == NULL || ferror(stream)) {
        free(data);
        return fail(path);
    }
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

static int replay_file(const char *path)
{
    FILE *stream = fopen(path, "rb");
    int failed;

    if (stream == NULL) {
        return fail(path);
    }
    failed = replay_stream(path, stream);
    (void)fclose(stream);
    return failed;
}

static int replay_folder(const char *path, DIR *folder)
{
    const struct dirent *found;
    int failed = 0;

    while ((found = readdir(folder)) != NULL) {
        char name[4096];
        int length = snprintf(name, sizeof name, "%s/%s", path, found->d_name);
        if (found->d_name[0] != '.' && length > 0 && (size_t)length < sizeof name) {
            failed |= replay_file(name);
        }
    }
    return failed;
}

int main(int count, char **paths)
{
    int failed = 0;

    for (int i = 1; i < count; i++) {
        DIR *folder = opendir(paths[i]);
        failed |= folder != NULL ? replay_folder(paths[i], folder) : replay_file(paths[i]);
        if (folder != NULL) {
            (void)closedir(folder);
        }
    }
    return failed;
}
