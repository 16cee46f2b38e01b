/* journal.c: lmm.files.journal, files that a run adds whole lines to, and the set of ids that it has met. Lines come in; what
 * is in the file is at every moment whole lines, but perhaps for the last, which opening it again takes away. */
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
  static const char newline = '\n';
  char block[BLOCK];
  while (size > 0) {
    size_t count = size < BLOCK ? (size_t)size : BLOCK;
    ssize_t got = pread(fd, block, count, size - (off_t)count);
    if (got < 0 && errno == EINTR) continue;
    if (got != (ssize_t)count) return -1;
    for (size_t i = count; i > 0; i--)
      if (block[i - 1] == newline) return size - (off_t)(count - i);
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

/* Adds whole lines, by one write where the system takes them so; of those that it does not take nothing stays. */
static int add_lines(journal *self, const char *bytes, size_t length, lmm_error *error) {
  size_t done = 0;
  while (done < length) {
    ssize_t wrote = write(self->fd, bytes + done, length - done);
    if (wrote > 0) done += (size_t)wrote;
    if (wrote >= 0 || errno == EINTR) continue;
    int code = fail(error);
    if (done > 0) (void)!ftruncate(self->fd, self->size); /* else the next one who opens it does it */
    return code;
  }
  self->size += (off_t)length;
  return LMM_OK;
}

static int sync_journal(journal *self, lmm_error *error) {
  int result;
  do result = fsync(self->fd);
  while (result != 0 && errno == EINTR);
  return result != 0 && errno != EINVAL && errno != ENOTSUP ? fail(error) : LMM_OK;
}

/* ---- ids: a set of texts, each with four flags ------------------------------------------------------------------- */

/* A text is known by 60 bits of its hash: two of a million texts are taken for one with a chance of one in two million.
 * So an id costs 16 bytes on average, whatever its length. */
#define FLAGS ((uint64_t)15)
#define MOST_IDS ((size_t)1 << 28)

typedef struct ids {
  uint64_t *slots; /* hash | flags; 0: free */
  size_t capacity; /* a power of 2 */
  size_t count;
} ids;

/* FNV-1a, its bits mixed at the end, since slots are chosen by them. */
static uint64_t hash(const char *text, size_t length) {
  uint64_t h = 14695981039346656037u;
  for (size_t i = 0; i < length; i++) h = (h ^ (unsigned char)text[i]) * 1099511628211u;
  h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
  h = (h ^ (h >> 33)) & ~FLAGS;
  return h != 0 ? h : FLAGS + 1;
}

/* The slot of a hash, or the free one where it belongs. */
static uint64_t *find(const ids *self, uint64_t h) {
  size_t at = (size_t)(h >> 8) & (self->capacity - 1);
  while (self->slots[at] != 0 && (self->slots[at] & ~FLAGS) != h) at = (at + 1) & (self->capacity - 1);
  return &self->slots[at];
}

static int grow(ids *self) {
  ids larger = {NULL, self->capacity > 0 ? 2 * self->capacity : 1024, self->count};
  if (self->count >= MOST_IDS) return LMM_LIMIT;
  larger.slots = calloc(larger.capacity, sizeof *larger.slots);
  if (larger.slots == NULL) return LMM_NOMEM;
  for (size_t i = 0; i < self->capacity; i++)
    if (self->slots[i] != 0) *find(&larger, self->slots[i] & ~FLAGS) = self->slots[i];
  free(self->slots);
  *self = larger;
  return LMM_OK;
}

/* Adds flags to those of a text; `before` becomes what it had. */
static int add_flags(ids *self, const char *text, size_t length, uint64_t flags, uint64_t *before) {
  int code = 4 * (self->count + 1) > 3 * self->capacity ? grow(self) : LMM_OK;
  if (code != LMM_OK) return code;
  uint64_t h = hash(text, length), *slot = find(self, h);
  *before = *slot & FLAGS;
  if (*slot == 0) self->count++;
  *slot = h | *before | flags;
  return LMM_OK;
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

#define LMM_JOURNAL "lmm.journal"
#define LMM_IDS "lmm.ids"

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
  size_t length;
  const char *path = luaL_checklstring(L, 1, &length);
  luaL_argcheck(L, strlen(path) == length, 1, "a path cannot hold a NUL byte");
  journal *self = lmm_new_userdata(L, sizeof *self);
  *self = (journal){-1, 0, 0};
  luaL_getmetatable(L, LMM_JOURNAL);
  lua_setmetatable(L, -2);
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
  int fd = open(luaL_checkstring(L, 1), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
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
  return push_result(L, sync_journal(check_journal(L), &error), &error);
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

static ids *check_ids(lua_State *L) { return luaL_checkudata(L, 1, LMM_IDS); }

/* ids() -> a set of texts, each with flags: a sum of 1, 2, 4 and 8 */
static int ids_new(lua_State *L) {
  ids *self = lmm_new_userdata(L, sizeof *self);
  *self = (ids){NULL, 0, 0};
  luaL_getmetatable(L, LMM_IDS);
  lua_setmetatable(L, -2);
  return 1;
}

/* ids:add(text, flags) -> the flags that it had, 0 where it was not there | nil, message */
static int ids_add(lua_State *L) {
  ids *self = check_ids(L);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  lua_Integer flags = luaL_checkinteger(L, 3);
  uint64_t before = 0;
  luaL_argcheck(L, flags >= 1 && flags <= (lua_Integer)FLAGS, 3, "1 to 15");
  int code = add_flags(self, text, length, (uint64_t)flags, &before);
  if (code == LMM_NOMEM) return luaL_error(L, "not enough memory");
  if (code != LMM_OK) {
    lua_pushnil(L);
    lua_pushliteral(L, "there are more than 268435456 ids");
    return 2;
  }
  lua_pushinteger(L, (lua_Integer)before);
  return 1;
}

/* ids:get(text) -> its flags, 0 where it is not there */
static int ids_get(lua_State *L) {
  const ids *self = check_ids(L);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  lua_pushinteger(L, self->capacity > 0 ? (lua_Integer)(*find(self, hash(text, length)) & FLAGS) : 0);
  return 1;
}

static int ids_close(lua_State *L) {
  ids *self = check_ids(L);
  free(self->slots);
  *self = (ids){NULL, 0, 0};
  return 0;
}

int lmm_journal_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"open", journal_open}, {"is_open", journal_is_open}, {"ids", ids_new}, {NULL, NULL}};
  static const luaL_Reg methods[] = {
      {"add", journal_add}, {"sync", journal_sync}, {"size", journal_size}, {"close", journal_close}, {NULL, NULL}};
  static const luaL_Reg ids_methods[] = {{"add", ids_add}, {"get", ids_get}, {NULL, NULL}};
  lmm_new_type(L, LMM_JOURNAL, methods, journal_close);
  lmm_new_type(L, LMM_IDS, ids_methods, ids_close);
  lua_pop(L, 2);
  luaL_newlib(L, functions);
  return 1;
}
