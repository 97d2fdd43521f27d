/* Preloaded into a process: the nth call of a kind that concerns a folder fails, or kills the process.
 *
 * FAULT_FOLDER: the real path of the folder.  FAULT_CALL: open, write, fsync, rename, ftruncate, mkdir or unlink.
 * FAULT_NTH: the first call that fails.  FAULT_TIMES: how many fail.  FAULT_ERROR: the errno, or 0 for SIGKILL.
 * FAULT_LOG: a file that gets one byte for each fault.  Python calls these functions of the C library and no others. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_int calls;

static int inside(const char *path) {
  const char *folder = getenv("FAULT_FOLDER");
  size_t length = folder ? strlen(folder) : 0;
  return length && path && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

static int inside_fd(int fd) {
  char link[64], path[PATH_MAX + 1];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX);
  if (length < 0) return 0;
  path[length] = 0;
  return inside(path);
}

static int fails(const char *call, int concerned) {
  const char *wanted = getenv("FAULT_CALL");
  if (!concerned || !wanted || strcmp(wanted, call)) return 0;
  int nth = atoi(getenv("FAULT_NTH")), times = atoi(getenv("FAULT_TIMES")), number = ++calls;
  if (number < nth || number >= nth + times) return 0;
  int log = (int)((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"))(getenv("FAULT_LOG"), O_WRONLY | O_APPEND);
  if (log >= 0) {
    ((ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write"))(log, "x", 1);
    close(log);
  }
  int error = atoi(getenv("FAULT_ERROR"));
  if (!error) kill(getpid(), SIGKILL);
  errno = error;
  return 1;
}

#define REAL(name, type, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                            \
  int name(const char *path, int flags, ...) {                               \
    va_list rest;                                                            \
    va_start(rest, flags);                                                   \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;  \
    va_end(rest);                                                            \
    if (fails("open", inside(path))) return -1;                              \
    return REAL(name, int, const char *, int, ...)(path, flags, mode);       \
  }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *data, size_t size) {
  if (fails("write", inside_fd(fd))) return -1;
  return REAL(write, ssize_t, int, const void *, size_t)(fd, data, size);
}

int fsync(int fd) { return fails("fsync", inside_fd(fd)) ? -1 : REAL(fsync, int, int)(fd); }

int rename(const char *from, const char *to) {
  return fails("rename", inside(to)) ? -1 : REAL(rename, int, const char *, const char *)(from, to);
}

int ftruncate(int fd, off_t size) {
  return fails("ftruncate", inside_fd(fd)) ? -1 : REAL(ftruncate, int, int, off_t)(fd, size);
}

int ftruncate64(int fd, off64_t size) {
  return fails("ftruncate", inside_fd(fd)) ? -1 : REAL(ftruncate64, int, int, off64_t)(fd, size);
}

int mkdir(const char *path, mode_t mode) {
  return fails("mkdir", inside(path)) ? -1 : REAL(mkdir, int, const char *, mode_t)(path, mode);
}

int unlink(const char *path) { return fails("unlink", inside(path)) ? -1 : REAL(unlink, int, const char *)(path); }
