/* files.c: lmm.files, whole files: a path and bytes come in, and what stands at the path is at every moment either what
 * was there before or all of the new bytes, whenever the process is killed, the disk is full or the power fails. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lmm.h"

#define PIECE_BYTES ((size_t)256 * 1024) /* of a source, read at once */
#define TEMPORARY ".lmm-XXXXXX"          /* short, so that it can stand beside a name of any length */

/* Why the last call failed. Its path is the caller's to name. */
static int fail(lmm_error *error) {
  return errno == ENOMEM ? lmm_fail(error, LMM_NOMEM, "not enough memory")
                         : lmm_fail(error, LMM_INVALID, "%s", strerror(errno));
}

static const char *kind_of(const struct stat *status) {
  return S_ISREG(status->st_mode)    ? "file"
         : S_ISDIR(status->st_mode)  ? "directory"
         : S_ISFIFO(status->st_mode) ? "fifo"
         : S_ISSOCK(status->st_mode) ? "socket"
                                     : "device";
}

/* Nothing but a file may be replaced, and anything else may block whoever opens it. */
static int check_regular(const struct stat *status, lmm_error *error) {
  if (S_ISREG(status->st_mode)) return LMM_OK;
  return lmm_fail(error, LMM_INVALID, "it is a %s, not a file", kind_of(status));
}

/* Whether there is a file, or nothing: root could put a file in the place of a device. */
static int check_replaceable(const char *path, lmm_error *error) {
  struct stat status;
  return stat(path, &status) == 0 ? check_regular(&status, error) : LMM_OK;
}

/* Whether nobody but this user and root can write to it. */
static bool is_own(const struct stat *status) {
  return (status->st_uid == geteuid() || status->st_uid == 0) && (status->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static int write_fully(int fd, const char *bytes, size_t count, lmm_error *error) {
  while (count > 0) {
    ssize_t wrote = write(fd, bytes, count);
    if (wrote < 0 && errno != EINTR) return fail(error);
    if (wrote <= 0) continue;
    bytes += wrote;
    count -= (size_t)wrote;
  }
  return LMM_OK;
}

/* All that is left of the source. */
static int write_source(int fd, lmm_source *source, lmm_error *error) {
  char *piece = malloc(PIECE_BYTES);
  if (piece == NULL) return lmm_fail(error, LMM_NOMEM, "not enough memory");
  int code = LMM_OK;
  ptrdiff_t got = 0;
  while (code == LMM_OK && (got = source->read(source, piece, PIECE_BYTES, error)) > 0)
    code = write_fully(fd, piece, (size_t)got, error);
  free(piece);
  return got < 0 ? (int)got : code;
}

int lmm_sync(int fd) {
  int result;
  do result = fsync(fd);
  while (result != 0 && errno == EINTR);
  return result != 0 && (errno == EINVAL || errno == ENOTSUP) ? 0 : result;
}

ptrdiff_t lmm_read_at(int fd, uint64_t at, void *out, size_t count) {
  size_t done = 0;
  while (done < count) {
    ssize_t got = pread(fd, (char *)out + done, count - done, (off_t)(at + done));
    if (got < 0 && errno != EINTR) return -1;
    if (got == 0) break;
    if (got > 0) done += (size_t)got;
  }
  return (ptrdiff_t)done;
}

/* Closes it, and tells what was wrong with the bytes written before, as some network file systems do only here. */
static int close_written(int fd, int code, lmm_error *error) {
  int result = close(fd); /* which has closed it even where a signal came */
  return code == LMM_OK && result != 0 && errno != EINTR ? fail(error) : code;
}

/* The folder of a path, with the slash at its end, and room for `more` bytes behind it; NULL: no memory. */
static char *folder_of(const char *path, size_t more) {
  const char *slash = strrchr(path, '/');
  size_t length = slash != NULL ? (size_t)(slash - path) + 1 : 2;
  char *folder = malloc(length + more + 1);
  if (folder == NULL) return NULL;
  memcpy(folder, slash != NULL ? path : "./", length);
  folder[length] = '\0';
  return folder;
}

static int sync_folder(const char *folder, lmm_error *error) {
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno == EACCES ? LMM_OK : fail(error);
  int code = lmm_sync(fd) == 0 ? LMM_OK : fail(error);
  (void)close(fd);
  return code;
}

int lmm_sync_folder_of(const char *path, lmm_error *error) {
  char *folder = folder_of(path, 0);
  if (folder == NULL) return lmm_fail(error, LMM_NOMEM, "not enough memory");
  int code = sync_folder(folder, error);
  free(folder);
  return code;
}

/* A file that never had a name, which not every file system knows: -1. */
static int open_nameless(const char *folder) {
#ifdef O_TMPFILE
  return open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
#else
  (void)folder;
  return -1;
#endif
}

int lmm_open_temporary(const char *path) {
  char *name = folder_of(path, sizeof TEMPORARY);
  if (name == NULL) return -1;
  int fd = open_nameless(name);
  if (fd < 0) {
    memcpy(name + strlen(name), TEMPORARY, sizeof TEMPORARY);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0) (void)unlink(name);
  }
  int why = errno;
  free(name);
  errno = why;
  return fd;
}

/* Writes the temporary file, whose name `temporary` is made into, and puts it in its place. */
static int write_beside(char *temporary, const char *path, const char *text, size_t length, lmm_source *source,
                        lmm_error *error) {
  int fd = mkostemp(temporary, O_CLOEXEC);
  if (fd < 0) return fail(error);
  int code = fchmod(fd, 0600) == 0 ? LMM_OK : fail(error); /* whatever the umask has taken away */
  if (code == LMM_OK) code = source != NULL ? write_source(fd, source, error) : write_fully(fd, text, length, error);
  if (code == LMM_OK && lmm_sync(fd) != 0) code = fail(error);
  code = close_written(fd, code, error);
  if (code == LMM_OK && rename(temporary, path) != 0) code = fail(error);
  if (code != LMM_OK) (void)unlink(temporary);
  return code;
}

/* Writes `text`, or all of `source` where it is not NULL, into a file of mode 0600 at `path`. */
static int write_file(const char *path, const char *text, size_t length, lmm_source *source, lmm_error *error) {
  int code = check_replaceable(path, error);
  if (code != LMM_OK) return code;
  char *temporary = folder_of(path, sizeof TEMPORARY);
  if (temporary == NULL) return lmm_fail(error, LMM_NOMEM, "not enough memory");
  memcpy(temporary + strlen(temporary), TEMPORARY, sizeof TEMPORARY);
  code = write_beside(temporary, path, text, length, source, error);
  free(temporary);
  return code == LMM_OK ? lmm_sync_folder_of(path, error) : code;
}

/* Puts a file that has been written in the place of another one, see files_replace. */
static int replace_file(const char *from, const char *path, lmm_error *error) {
  int refused = check_replaceable(path, error);
  if (refused != LMM_OK) return refused;
  int fd = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail(error);
  int code = lmm_sync(fd) == 0 ? LMM_OK : fail(error);
  code = close_written(fd, code, error);
  if (code == LMM_OK && rename(from, path) != 0) code = fail(error);
  return code == LMM_OK ? lmm_sync_folder_of(path, error) : code;
}

/* Makes the folders that lead to `path`, which is changed meanwhile, each for its owner alone. */
static int make_folders(char *path, lmm_error *error) {
  if (*path == '\0') return LMM_OK;
  for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    int result = mkdir(path, 0700);
    *slash = '/';
    if (result != 0 && errno != EEXIST) return fail(error);
  }
  return LMM_OK;
}

/* Makes an empty file, see files_create. */
static int create_file(const char *path, lmm_error *error) {
  int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 && errno == ENOENT) {
    char *copy = strdup(path);
    if (copy == NULL) return lmm_fail(error, LMM_NOMEM, "not enough memory");
    int code = make_folders(copy, error);
    free(copy);
    if (code != LMM_OK) return code;
    fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  }
  if (fd < 0 && errno == EEXIST) {
    struct stat status;
    if (stat(path, &status) == 0) return LMM_OK;
    fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600); /* a link to what is not there yet */
  }
  if (fd < 0) return fail(error);
  int code = fchmod(fd, 0600) == 0 ? LMM_OK : fail(error); /* whatever the umask has taken away */
  (void)close(fd);
  return code;
}

/* Reads up to `capacity` bytes from the beginning; `count` becomes how many, and `size` the file's. */
static int read_file(const char *path, char *out, size_t capacity, size_t *count, uint64_t *size, lmm_error *error) {
  struct stat status = {.st_size = 0};
  errno = 0; /* which tells afterwards whether there is no such file */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail(error);
  int code = fstat(fd, &status) == 0 ? check_regular(&status, error) : fail(error);
  ptrdiff_t got = code == LMM_OK ? lmm_read_at(fd, 0, out, capacity) : 0;
  if (got < 0) code = fail(error);
  *count = got > 0 ? (size_t)got : 0;
  *size = (uint64_t)status.st_size;
  (void)close(fd);
  return code;
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

/* What is to be written, where it is no string. */
static lmm_source *check_source(lua_State *L, int index) {
  lmm_source *source = lmm_to_shared(L, index, LMM_SOURCE_KEY, LMM_SOURCE_ABI);
  if (source == NULL) luaL_argerror(L, index, "a string, or a body of this build's lmm.core expected");
  return source;
}

/* write(path, text or body) -> true | nil, why
 * At `path` is afterwards a file of mode 0600 that holds just these bytes, and after a failure what was there before: a
 * file beside it is written, made to last (fsync), and renamed; then its folder is made to last, and where that fails the
 * new file stays. A symbolic link is replaced, not followed; what is no file is refused. `why` names no path. */
static int files_write(lua_State *L) {
  const char *path = lmm_check_path(L, 1);
  bool is_text = lua_type(L, 2) == LUA_TSTRING;
  size_t length = 0;
  const char *text = is_text ? lua_tolstring(L, 2, &length) : NULL;
  lmm_error error = {LMM_OK, ""};
  if (write_file(path, text, length, is_text ? NULL : check_source(L, 2), &error) != LMM_OK)
    return lmm_push_error(L, &error);
  lua_pushboolean(L, 1);
  return 1;
}

/* replace(from, path) -> true | nil, why
 * Gives a file beside `path` its name, once its bytes last (fsync), and makes the folder last. What is no file is
 * refused. `why` names no path. */
static int files_replace(lua_State *L) {
  const char *from = lmm_check_path(L, 1), *path = lmm_check_path(L, 2);
  lmm_error error = {LMM_OK, ""};
  if (replace_file(from, path, &error) != LMM_OK) return lmm_push_error(L, &error);
  lua_pushboolean(L, 1);
  return 1;
}

/* create(path) -> true | nil, why
 * At `path` is afterwards what was there before, or else an empty file of mode 0600, in folders that were made where they
 * were missing, of mode 0700. `why` names no path. */
static int files_create(lua_State *L) {
  const char *path = lmm_check_path(L, 1);
  lmm_error error = {LMM_OK, ""};
  if (create_file(path, &error) != LMM_OK) return lmm_push_error(L, &error);
  lua_pushboolean(L, 1);
  return 1;
}

#define READ_MAX ((lua_Integer)1 << 30)

/* read(path, most) -> at most so many of the first bytes of a file, its size | nil, why, is_missing
 * What is no file is refused, not waited for. `why` names no path. */
static int files_read(lua_State *L) {
  const char *path = lmm_check_path(L, 1);
  lua_Integer most = luaL_checkinteger(L, 2);
  luaL_argcheck(L, most >= 0 && most <= READ_MAX, 2, "0 bytes to 1 GiB");
  lmm_error error = {LMM_OK, ""};
  size_t count = 0;
  uint64_t size = 0;
  char nothing;
  int code = read_file(path, &nothing, 0, &count, &size, &error); /* how much room is needed */
  if (code == LMM_OK) {
    size_t capacity = size < (uint64_t)most ? (size_t)size : (size_t)most;
    char *bytes = lmm_new_userdata(L, capacity > 0 ? capacity : 1);
    code = read_file(path, bytes, capacity, &count, &size, &error);
    if (code == LMM_OK) {
      lua_pushlstring(L, bytes, count);
      lmm_push_whole(L, size);
      return 2;
    }
  }
  bool is_missing = errno == ENOENT || errno == ENOTDIR;
  int results = lmm_push_error(L, &error);
  lua_pushboolean(L, is_missing);
  return results + 1;
}

/* kind(path or descriptor) -> "file", "directory", "fifo", "socket", "terminal" or "device", is_own
 * | nil, why, is_missing
 * `is_own`: nobody but this user and root can write to it. Nothing is opened. */
static int files_kind(lua_State *L) {
  bool is_path = lua_type(L, 1) == LUA_TSTRING;
  struct stat status;
  int fd = is_path ? -1 : (int)luaL_checkinteger(L, 1);
  if ((is_path ? stat(lmm_check_path(L, 1), &status) : fstat(fd, &status)) != 0) {
    int problem = errno;
    lua_pushnil(L);
    lua_pushstring(L, strerror(problem));
    lua_pushboolean(L, problem == ENOENT);
    return 3;
  }
  lua_pushstring(L, !is_path && isatty(fd) ? "terminal" : kind_of(&status));
  lua_pushboolean(L, is_own(&status));
  return 2;
}

/* Pushes a path from the root on without the steps that lead nowhere, "." and empty ones. What ".." leads to, links
 * decide: it stays. */
static void push_tidy(lua_State *L, const char *path) {
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  bool is_root = true;
  for (const char *step = path + 1; step[-1] != '\0'; step += strcspn(step, "/") + 1) {
    size_t length = strcspn(step, "/");
    if (length == 0 || (length == 1 && step[0] == '.')) continue;
    luaL_addchar(&buffer, '/');
    luaL_addlstring(&buffer, step, length);
    is_root = false;
  }
  if (is_root) luaL_addchar(&buffer, '/');
  luaL_pushresult(&buffer);
}

/* absolute(path) -> the same from the root on, without "." and "//" | nil, why */
static int files_absolute(lua_State *L) {
  const char *path = lmm_check_path(L, 1);
  if (path[0] == '/') {
    push_tidy(L, path);
    return 1;
  }
  char folder[4096]; /* PATH_MAX, which not every system has */
  if (getcwd(folder, sizeof folder) == NULL) {
    lua_pushnil(L);
    lua_pushfstring(L, "the working directory cannot be told: %s", strerror(errno));
    return 2;
  }
  push_tidy(L, lua_pushfstring(L, "%s/%s", folder, path));
  return 1;
}

/* target(path) -> where the links lead that it names, or the path itself where it leads to nothing that is there */
static int files_target(lua_State *L) {
  const char *path = lmm_check_path(L, 1);
  char target[4096]; /* PATH_MAX, which not every system has */
  lua_pushstring(L, realpath(path, target) != NULL ? target : path);
  return 1;
}

/* Makes a file or a folder of a path that ends in XXXXXX, which is given another end. */
static bool make_temporary(char *path, bool is_folder) {
  if (is_folder) return mkdtemp(path) != NULL;
  int fd = mkostemp(path, O_CLOEXEC);
  if (fd >= 0) (void)close(fd);
  return fd >= 0;
}

/* temporary(is_folder) -> the path of a new file, or a new folder, of this user's alone, in $TMPDIR, else in /tmp
 * | nil, message
 * A relative $TMPDIR is passed over. */
static int files_temporary(lua_State *L) {
  const char *around = getenv("TMPDIR");
  if (around == NULL || around[0] != '/') around = "/tmp";
  char path[4096];
  if (snprintf(path, sizeof path, "%s/lmm-XXXXXX", around) >= (int)sizeof path) {
    errno = ENAMETOOLONG;
  } else if (make_temporary(path, lua_toboolean(L, 1))) {
    lua_pushstring(L, path);
    return 1;
  }
  const char *why = strerror(errno);
  lua_pushnil(L);
  lua_pushfstring(L, "nothing temporary can be made in %s: %s ($TMPDIR names another place)", around, why);
  return 2;
}

#define LOOKED_AT 4096 /* descriptors; where a process may have more, it hardly has */

/* room() -> how many more files this process may have open at a time */
static int files_room(lua_State *L) {
  struct rlimit limit;
  bool is_limited = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  lua_Number most = is_limited ? (lua_Number)limit.rlim_cur : 1e6;
  for (int fd = 0; fd < LOOKED_AT; fd++)
    if (fcntl(fd, F_GETFD) != -1) most--;
  lua_pushnumber(L, most > 0 ? most : 0);
  return 1;
}

LMM_EXPORT int luaopen_lmm_files(lua_State *L);

LMM_EXPORT int luaopen_lmm_files(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"write", files_write}, {"replace", files_replace}, {"read", files_read}, {"kind", files_kind},
      {"absolute", files_absolute}, {"create", files_create}, {"room", files_room}, {"target", files_target},
      {"temporary", files_temporary}, {NULL, NULL}};
  lmm_check_lua(L);
  luaL_newlib(L, functions);
  lmm_set_version(L);
  (void)lmm_journal_open(L);
  lua_setfield(L, -2, "journal");
  return 1;
}
