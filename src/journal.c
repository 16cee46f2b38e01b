/* journal.c: lmm.files.journal, files that a run adds whole lines to. Lines come in; what is in the file is at every moment
 * whole lines, but perhaps for the last, which opening it again takes away. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lmm.h"

#define BLOCK 65536

typedef struct journal {
  int fd;        /* -1: closed */
  off_t size;    /* of the whole lines */
  off_t dropped; /* bytes of a line that was cut short, when it was opened */
  bool is_torn;  /* behind the whole lines stands a part of one */
} journal;

static int fail(lmm_error *error) { return lmm_fail(error, LMM_INVALID, "%s", strerror(errno)); }

/* Open file description locks die with their last holder, on NFS, too, and no other descriptor that is closed takes them
 * away, as it does with those of POSIX. */
static int lock(int fd) {
#ifdef F_OFD_SETLK
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  return fcntl(fd, F_OFD_SETLK, &whole);
#else
  return flock(fd, LOCK_EX | LOCK_NB);
#endif
}

/* Where the last whole line ends; -1 where that cannot be told. */
static off_t end_of_lines(int fd, off_t size) {
  char block[BLOCK];
  while (size > 0) {
    size_t count = size < BLOCK ? (size_t)size : BLOCK;
    ptrdiff_t got = lmm_read_at(fd, (uint64_t)size - count, block, count);
    if (got >= 0 && (size_t)got < count) errno = EIO; /* somebody has made it shorter */
    if (got != (ptrdiff_t)count) return -1;
    for (size_t i = count; i > 0; i--)
      if (block[i - 1] == '\n') return size - (off_t)(count - i);
    size -= (off_t)count;
  }
  return 0;
}

static bool is_held(int fd) {
#ifdef F_OFD_SETLK
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  return fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
#else
  return flock(fd, LOCK_SH | LOCK_NB) != 0;
#endif
}

/* `is_locked` tells of a failure that another process holds the lock. */
static int open_journal(journal *self, const char *path, bool *is_locked, lmm_error *error) {
  struct stat status;
  *is_locked = false;
  self->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
  if (self->fd < 0) return fail(error);
  if (fstat(self->fd, &status) != 0) return fail(error);
  if (!S_ISREG(status.st_mode)) return lmm_fail(error, LMM_INVALID, "it is not a file");
  if (lock(self->fd) != 0) {
    *is_locked = errno == EAGAIN || errno == EACCES || errno == EWOULDBLOCK;
    return *is_locked ? lmm_fail(error, LMM_INVALID, "another process writes it")
                      : lmm_fail(error, LMM_INVALID, "it cannot be locked: %s", strerror(errno));
  }
  if (fstat(self->fd, &status) != 0) return fail(error); /* what the last holder wrote before it went */
  self->size = end_of_lines(self->fd, status.st_size);
  if (self->size < 0) return fail(error);
  self->dropped = status.st_size - self->size;
  if (self->dropped > 0 && ftruncate(self->fd, self->size) != 0) return fail(error);
  return self->size == 0 ? lmm_sync_folder_of(path, error) : LMM_OK; /* it may have been made just now */
}

/* Takes away the part of a line that a write has left. */
static int mend(journal *self, lmm_error *error) {
  if (!self->is_torn) return LMM_OK;
  if (ftruncate(self->fd, self->size) != 0) return fail(error);
  self->is_torn = false;
  return LMM_OK;
}

/* Adds whole lines, by one write where the system takes them so; of those that it does not take nothing stays, or, where
 * that cannot be taken away now, nothing is added before it is. */
static int add_lines(journal *self, const char *bytes, size_t length, lmm_error *error) {
  size_t done = 0;
  if (mend(self, error) != LMM_OK) return LMM_INVALID;
  while (done < length) {
    ssize_t wrote = write(self->fd, bytes + done, length - done);
    if (wrote > 0) done += (size_t)wrote;
    if (wrote >= 0 || errno == EINTR) continue;
    int code = fail(error);
    lmm_error ignored;
    self->is_torn = done > 0;
    (void)mend(self, &ignored);
    return code;
  }
  self->size += (off_t)length;
  return LMM_OK;
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

#define LMM_JOURNAL "lmm.journal"

static journal *check_journal(lua_State *L) {
  journal *self = luaL_checkudata(L, 1, LMM_JOURNAL);
  luaL_argcheck(L, self->fd >= 0, 1, "closed journal");
  return self;
}

static int push_result(lua_State *L, int code, const lmm_error *error) {
  if (code != LMM_OK) return lmm_push_error(L, error);
  lua_pushboolean(L, 1);
  return 1;
}

/* open(path) -> journal, bytes of a last line that was cut short | nil, why, whether another process has it
 * The file is made where there is none, so that its name lasts (its folder is synced), and locked until it is closed or
 * the process ends. `why` names no path. */
static int journal_open(lua_State *L) {
  const char *path = lmm_check_path(L, 1);
  journal *self = lmm_new_userdata(L, sizeof *self);
  *self = (journal){-1, 0, 0, false};
  luaL_setmetatable(L, LMM_JOURNAL);
  lmm_error error = {LMM_OK, ""};
  bool is_locked;
  if (open_journal(self, path, &is_locked, &error) != LMM_OK) {
    if (self->fd >= 0) (void)close(self->fd);
    self->fd = -1;
    int results = lmm_push_error(L, &error);
    lua_pushboolean(L, is_locked);
    return results + 1;
  }
  lmm_push_whole(L, self->dropped);
  return 2;
}

/* is_open(path) -> whether a process has the journal open */
static int journal_is_open(lua_State *L) {
  int fd = open(lmm_check_path(L, 1), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  bool is_open = fd >= 0 && is_held(fd);
  if (fd >= 0) (void)close(fd);
  lua_pushboolean(L, is_open);
  return 1;
}

/* journal:add(lines) -> true | nil, why
 * After a failure nothing of them is in the file. */
static int journal_add(lua_State *L) {
  journal *self = check_journal(L);
  size_t length;
  const char *lines = luaL_checklstring(L, 2, &length);
  luaL_argcheck(L, length > 0 && lines[length - 1] == '\n', 2, "whole lines expected");
  lmm_error error = {LMM_OK, ""};
  return push_result(L, add_lines(self, lines, length, &error), &error);
}

/* journal:sync() -> true | nil, why
 * What was added lasts even where the power fails. */
static int journal_sync(lua_State *L) {
  lmm_error error = {LMM_OK, ""};
  int code = lmm_sync(check_journal(L)->fd) == 0 ? LMM_OK : fail(&error);
  return push_result(L, code, &error);
}

/* journal:size() -> bytes */
static int journal_size(lua_State *L) {
  lmm_push_whole(L, check_journal(L)->size);
  return 1;
}

static int journal_close(lua_State *L) {
  journal *self = luaL_checkudata(L, 1, LMM_JOURNAL);
  if (self->fd >= 0) (void)close(self->fd);
  self->fd = -1;
  return 0;
}

int lmm_journal_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"open", journal_open}, {"is_open", journal_is_open}, {NULL, NULL}};
  static const luaL_Reg methods[] = {
      {"add", journal_add}, {"sync", journal_sync}, {"size", journal_size}, {"close", journal_close}, {NULL, NULL}};
  lmm_new_type(L, LMM_JOURNAL, methods, journal_close);
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  (void)lmm_ids_open(L);
  lua_setfield(L, -2, "ids");
  return 1;
}
