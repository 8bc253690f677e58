/* Makes calls on the files of a folder fail: preloaded, and told what to do through a file that both sides map.

   Each call of a chosen kind counts down; those that come after `pass` others fail with `error`, `times` of them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 4, READ = 8, LOCK = 16 };

static volatile struct {
    int32_t kinds, error, pass, times, failed;
} *told;
static const char *folder;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("FAULTS_TOLD"), O_RDWR | O_CLOEXEC);
    void *mapped = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || mapped == MAP_FAILED) abort();
    close(file);
    folder = getenv("FAULTS_FOLDER");
    told = mapped;
}

static int fails(int kind, int file) {
    char link[64], path[PATH_MAX];
    if (told == NULL || !(told->kinds & kind) || told->times == 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strncmp(path, folder, strlen(folder)) != 0) return 0;
    if (__atomic_fetch_sub(&told->pass, 1, __ATOMIC_SEQ_CST) > 0) return 0;
    if (__atomic_fetch_sub(&told->times, 1, __ATOMIC_SEQ_CST) <= 0) return 0;
    __atomic_fetch_add(&told->failed, 1, __ATOMIC_SEQ_CST);
    errno = told->error;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAULTY(kind, result, name, parameters, ...)         \
    result name parameters {                                \
        static __typeof__(&name) real;                      \
        if (real == NULL) real = REAL(name);                \
        return fails(kind, file) ? -1 : real(__VA_ARGS__);  \
    }

FAULTY(WRITE, ssize_t, write, (int file, const void *data, size_t size), file, data, size)
FAULTY(WRITE, ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), file, data, size, at)
FAULTY(WRITE, ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), file, data, size, at)
FAULTY(READ, ssize_t, read, (int file, void *data, size_t size), file, data, size)
FAULTY(READ, ssize_t, pread, (int file, void *data, size_t size, off_t at), file, data, size, at)
FAULTY(READ, ssize_t, pread64, (int file, void *data, size_t size, off64_t at), file, data, size, at)
FAULTY(SYNC, int, fsync, (int file), file)
FAULTY(SYNC, int, fdatasync, (int file), file)
FAULTY(TRUNCATE, int, ftruncate, (int file, off_t size), file, size)
FAULTY(TRUNCATE, int, ftruncate64, (int file, off64_t size), file, size)

static int control(const char *name, int file, int command, void *argument) {
    int (*real)(int, int, ...) = (int (*)(int, int, ...))dlsym(RTLD_NEXT, name);
    int unlocks = command == F_SETLK && ((struct flock *)argument)->l_type == F_UNLCK;
    if (command == F_SETLK && !unlocks && fails(LOCK, file)) return -1;
    return real(file, command, argument);
}

int fcntl(int file, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return control("fcntl", file, command, argument);
}

int fcntl64(int file, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return control("fcntl64", file, command, argument);
}
