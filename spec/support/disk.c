/* disk.c: a slow and failing disk, to be preloaded. $LMM_SPEC_DISK says what befalls the files that are named .lmm-*:
 *
 *     short     write takes one byte at a time, and every other call of write and fsync is interrupted
 *     full      write fails after its first byte: ENOSPC
 *     lost      fsync fails: EIO
 *     late      close fails: EIO
 *     folder    fsync of a folder fails: EIO; "nowhere": EINVAL, as on file systems that do not know it
 *     killed    the process is killed where it renames a file
 *     log       pwrite into log.db, or its WAL, fails: ENOSPC
 *     readonly  the file log.db cannot be opened for writing: EROFS
 *     torn      the second write to a file named torn ends after a byte, with ENOSPC, and that byte cannot be taken away: EIO
 *     few       pread gives one byte at a time, and every other call of it is interrupted
 *     bad       read takes 64 bytes of a file named bad, and then fails: EIO
 *     told      each name that is synced or renamed, of whatever file, is a line on standard error
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_mode(const char *mode) {
  const char *given = getenv("LMM_SPEC_DISK");
  return given != NULL && strcmp(given, mode) == 0;
}

/* The path of what a descriptor is open for. */
static const char *path_of(int fd) {
  static __thread char path[4096];
  char link[64];
  (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  path[length > 0 ? length : 0] = '\0';
  return path;
}

/* Whether a descriptor is a temporary file's. */
static int is_ours(int fd) { return strstr(path_of(fd), "/.lmm-") != NULL; }

static const char *base(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL ? slash + 1 : path;
}

static int fail_with(int code) {
  errno = code;
  return -1;
}

static unsigned calls;

typedef ssize_t read_fn(int, void *, size_t);
typedef ssize_t pread_fn(int, void *, size_t, off64_t);
typedef ssize_t write_fn(int, const void *, size_t);
typedef ssize_t pwrite_fn(int, const void *, size_t, off64_t);
typedef int open_fn(const char *, int, ...);
typedef int truncate_fn(int, off64_t);
typedef int fd_fn(int);
typedef int rename_fn(const char *, const char *);
#define NEXT(name, type) (*(type **)(void *)&(void *){dlsym(RTLD_NEXT, name)})

ssize_t read(int fd, void *bytes, size_t count) {
  if (is_mode("bad") && strcmp(base(path_of(fd)), "bad") == 0) {
    if (lseek(fd, 0, SEEK_CUR) > 0) return fail_with(EIO);
    count = 64;
  }
  return NEXT("read", read_fn)(fd, bytes, count);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t offset) {
  if (is_mode("few") && ++calls % 2 == 0) return fail_with(EINTR);
  return NEXT("pread64", pread_fn)(fd, bytes, is_mode("few") && count > 0 ? 1 : count, offset);
}

ssize_t write(int fd, const void *bytes, size_t count) {
  if (is_mode("torn") && strcmp(base(path_of(fd)), "torn") == 0) {
    calls++;
    if (calls == 3) return fail_with(ENOSPC);
    if (calls == 2) count = 1;
  }
  if (count > 0 && is_ours(fd)) {
    if (is_mode("short") && ++calls % 2 == 0) return fail_with(EINTR);
    if (is_mode("full") && ++calls > 1) return fail_with(ENOSPC);
    if (is_mode("short") || is_mode("full")) count = 1;
  }
  return NEXT("write", write_fn)(fd, bytes, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
  const char *name = base(path_of(fd));
  if (is_mode("log") && strncmp(name, "log.db", 6) == 0 && strstr(name, "-shm") == NULL) return fail_with(ENOSPC);
  return NEXT("pwrite64", pwrite_fn)(fd, bytes, count, offset);
}

int ftruncate64(int fd, off64_t length) {
  if (is_mode("torn") && calls == 3) {
    calls++;
    return fail_with(EIO);
  }
  return NEXT("ftruncate64", truncate_fn)(fd, length);
}

int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  int mode = (flags & O_CREAT) != 0 ? va_arg(more, int) : 0;
  va_end(more);
  int is_log = strcmp(base(path), "log.db") == 0;
  if (is_mode("readonly") && is_log && (flags & O_ACCMODE) == O_RDWR) return fail_with(EROFS);
  return NEXT("open64", open_fn)(path, flags, mode);
}

int fsync(int fd) {
  struct stat status;
  int is_folder = fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
  if (is_mode("told")) (void)fprintf(stderr, "sync %s\n", base(path_of(fd)));
  if (is_mode("lost") && is_ours(fd)) return fail_with(EIO);
  if (is_mode("folder") && is_folder) return fail_with(EIO);
  if (is_mode("nowhere") && is_folder) return fail_with(EINVAL);
  if (is_mode("short") && ++calls % 2 == 0) return fail_with(EINTR);
  return NEXT("fsync", fd_fn)(fd);
}

int close(int fd) {
  int fails = is_mode("late") && is_ours(fd);
  int result = NEXT("close", fd_fn)(fd);
  return fails ? fail_with(EIO) : result;
}

int rename(const char *from, const char *to) {
  if (is_mode("killed")) (void)kill(getpid(), SIGKILL);
  if (is_mode("told")) (void)fprintf(stderr, "rename %s %s\n", base(from), base(to));
  return NEXT("rename", rename_fn)(from, to);
}
