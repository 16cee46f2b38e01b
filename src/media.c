/* media.c: the bytes behind a content part. A path or the caller's bytes come in; what they are goes out, and a reader
 * gives the bytes once more each time a body is sent. A file is never held in memory, and never sent if it has changed
 * since it was looked at. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lmm.h"

#define BRIEF_BYTES 4096 /* of a file's beginning that are looked at before more of it is read, */
#define BRIEF_HOPS 8u    /* and so many times something further on */

static int cannot_read(const char *path, lmm_error *error) {
  if (errno == ENOMEM) return lmm_fail(error, LMM_NOMEM, "not enough memory");
  if (errno == ENAMETOOLONG) /* maybe a picture itself, which does not belong in a message */
    return lmm_fail(error, LMM_INVALID, "cannot read '%.*s...': %s (if this is the picture itself, pass { bytes = ... })",
                    lmm_cut(path, 16), path, strerror(errno));
  return lmm_fail(error, LMM_INVALID, "cannot read '%.*s': %s", lmm_shown(path), path, strerror(errno));
}

int lmm_media_changed(const lmm_media *media, lmm_error *error) {
  if (media->path == NULL) return lmm_fail(error, LMM_INVALID, "the data in bytes is not what the part's digest says");
  return lmm_fail(error, LMM_INVALID, "'%.*s' has changed since the part was made: make the part again",
                  lmm_shown(media->path), media->path);
}

/* Only a regular file has a size to announce and can be read again for a retry. */
static int check_regular(const char *path, const struct stat *status, lmm_error *error) {
  if (S_ISREG(status->st_mode) && status->st_size > 0) return LMM_OK;
  if (S_ISREG(status->st_mode)) return lmm_fail(error, LMM_INVALID, "'%.*s' is empty", lmm_shown(path), path);
  if (S_ISDIR(status->st_mode))
    return lmm_fail(error, LMM_INVALID, "'%.*s' is a directory, not a file", lmm_shown(path), path);
  return lmm_fail(error, LMM_INVALID,
                  "'%.*s' is a %s, not a file: read it and pass { bytes = ... }, or '-' to lmm ask", lmm_shown(path), path,
                  S_ISFIFO(status->st_mode) ? "fifo" : S_ISSOCK(status->st_mode) ? "socket" : "device");
}

static bool is_unchanged(const lmm_media *media, int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && (uint64_t)status.st_ino == media->inode &&
         (uint64_t)status.st_size == media->size && LMM_MTIME(&status).tv_sec == media->mtime.tv_sec &&
         LMM_MTIME(&status).tv_nsec == media->mtime.tv_nsec;
}

/* Reads from `offset` until `capacity` or the end of the file; gives the count, or -1 with errno. */
static ptrdiff_t read_fully(int fd, uint64_t offset, void *out, size_t capacity) {
  size_t length = 0;
  while (length < capacity) {
    ssize_t got = pread(fd, (char *)out + length, capacity - length, (off_t)(offset + length));
    if (got == 0) break;
    if (got > 0)
      length += (size_t)got;
    else if (errno != EINTR)
      return -1;
  }
  return (ptrdiff_t)length;
}

static size_t read_file(const void *source, uint64_t at, void *out, size_t count) {
  ptrdiff_t got = read_fully(*(const int *)source, at, out, count);
  return got > 0 ? (size_t)got : 0;
}

static size_t read_bytes(const void *source, uint64_t at, void *out, size_t count) {
  memcpy(out, (const char *)source + at, count);
  return count;
}

static void look_at(lmm_media *media, const void *head, size_t count, lmm_file *file) {
  memcpy(media->first, head, count < sizeof media->first ? count : sizeof media->first);
  media->type = lmm_sniff(file);
}

/* Looks at a file of which `capacity` bytes from the beginning are read into `head`, and so many hops are made beyond
 * them; gives how many bytes there were, or -1 with errno. */
static ptrdiff_t look_at_head(lmm_media *media, int fd, void *head, size_t capacity, unsigned hops, lmm_file *file) {
  ptrdiff_t got = read_fully(fd, 0, head, capacity);
  if (got <= 0) return got;
  lmm_view_open(file, head, (size_t)got, media->size, read_file, &fd);
  file->hops = hops;
  look_at(media, head, (size_t)got, file);
  return got;
}

/* A few bytes tell what most files are. Where something else was asked for that was not at hand, or where it matters
 * whether all of the head is text, the whole of it is read. */
static ptrdiff_t look(lmm_media *media, int fd) {
  unsigned char brief[BRIEF_BYTES];
  lmm_file file;
  size_t capacity = media->size < LMM_SNIFF_BYTES ? (size_t)media->size : LMM_SNIFF_BYTES;
  ptrdiff_t got = look_at_head(media, fd, brief, capacity < sizeof brief ? capacity : sizeof brief, BRIEF_HOPS, &file);
  if (got <= 0 || (size_t)got == capacity) return got;
  bool is_told = media->type.mime != NULL && !media->type.is_text && !file.is_exhausted;
  if (is_told) return got;
  void *head = malloc(capacity);
  got = head != NULL ? look_at_head(media, fd, head, capacity, LMM_HOPS, &file) : -1;
  free(head);
  return got;
}

static int look_at_file(lmm_media *media, const char *path, int fd, lmm_error *error) {
  struct stat status;
  if (fstat(fd, &status) != 0) return cannot_read(path, error);
  int code = check_regular(path, &status, error);
  if (code != LMM_OK) return code;
  media->size = (uint64_t)status.st_size;
  media->inode = (uint64_t)status.st_ino;
  media->mtime = LMM_MTIME(&status);

  media->path = strdup(path);
  ptrdiff_t got = media->path != NULL ? look(media, fd) : -1;
  if (got < 0) code = cannot_read(path, error);
  if (got == 0) code = lmm_fail(error, LMM_INVALID, "'%.*s' is empty", lmm_shown(path), path);
  return code;
}

int lmm_media_file(lmm_media *media, const char *path, lmm_error *error) {
  struct stat status;
  if (stat(path, &status) != 0) return cannot_read(path, error);
  int code = check_regular(path, &status, error); /* before the open: opening a fifo or a device has effects */
  if (code != LMM_OK) return code;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return cannot_read(path, error);
  code = look_at_file(media, path, fd, error);
  (void)close(fd);
  if (code != LMM_OK) lmm_media_free(media);
  return code;
}

int lmm_media_bytes(lmm_media *media, const char *bytes, size_t count, lmm_error *error) {
  if (count == 0) return lmm_fail(error, LMM_INVALID, "the data in bytes is empty: there is nothing to send");
  media->bytes = bytes;
  media->size = count;
  lmm_file file;
  lmm_view_open(&file, bytes, count, count, read_bytes, bytes);
  look_at(media, bytes, count, &file);
  return LMM_OK;
}

void lmm_media_free(lmm_media *media) {
  free(media->path);
  memset(media, 0, sizeof *media);
}

int lmm_reader_open(lmm_reader *reader, const lmm_media *media, lmm_error *error) {
  *reader = (lmm_reader){media, -1, 0};
  if (media->path == NULL) return LMM_OK;
  reader->fd = open(media->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  int code = reader->fd < 0 ? cannot_read(media->path, error)
             : is_unchanged(media, reader->fd) ? LMM_OK : lmm_media_changed(media, error);
  if (code != LMM_OK) lmm_reader_close(reader);
  return code;
}

ptrdiff_t lmm_reader_read(lmm_reader *reader, void *out, size_t capacity, lmm_error *error) {
  const lmm_media *media = reader->media;
  uint64_t left = media->size > reader->offset ? media->size - reader->offset : 0;
  size_t count = left < capacity ? (size_t)left : capacity;
  if (count == 0) return 0;
  if (media->path == NULL) {
    memcpy(out, media->bytes + reader->offset, count);
  } else {
    ptrdiff_t got = read_fully(reader->fd, reader->offset, out, count);
    if (got < 0) return cannot_read(media->path, error);
    /* The last bytes are given only when all that were read before them were the file's own, too. */
    if ((size_t)got < count || (count == left && !is_unchanged(media, reader->fd))) return lmm_media_changed(media, error);
  }
  reader->offset += count;
  return (ptrdiff_t)count;
}

void lmm_reader_close(lmm_reader *reader) {
  if (reader->media != NULL && reader->fd >= 0) (void)close(reader->fd);
  *reader = (lmm_reader){NULL, -1, 0};
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

static lmm_media *check_media(lua_State *L) {
  lmm_media *media = luaL_checkudata(L, 1, LMM_MEDIA);
  luaL_argcheck(L, media->size > 0, 1, "closed media");
  return media;
}

/* media(path or { bytes = string }) -> media | nil, message */
static int media_new(lua_State *L) {
  bool is_file = lua_type(L, 1) == LUA_TSTRING;
  if (!is_file) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "bytes");
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 1, "a path or { bytes = string } expected");
  } else {
    (void)lmm_check_path(L, 1);
    lua_pushvalue(L, 1);
  }
  size_t length;
  const char *text = lua_tolstring(L, -1, &length);

  lmm_media *media = lmm_new_userdata(L, sizeof *media);
  memset(media, 0, sizeof *media);
  luaL_setmetatable(L, LMM_MEDIA);
  lmm_error error = {LMM_OK, ""};
  int code;
  if (is_file) {
    code = lmm_media_file(media, text, &error);
  } else {
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, -3);
    lua_rawseti(L, -2, 1);
    lmm_set_anchor(L, -2);
    code = lmm_media_bytes(media, text, length, &error);
  }
  return code == LMM_OK ? 1 : lmm_push_error(L, &error);
}

static void set_flag(lua_State *L, const char *name, bool value) {
  if (!value) return;
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, name);
}

/* media:info() -> { size, first, mtime?, mime?, width?, height?, orientation?, cut?, has_no_end?, is_text?,
 *   has_pictures?, has_sound? } with the size in bytes, the first (up to 16) bytes, and when a file was changed last, in
 *   seconds since 1970, to a quarter of a microsecond; the rest as in lmm_sniffed */
static int media_info(lua_State *L) {
  lmm_media *media = check_media(L);
  const lmm_sniffed *type = &media->type;
  lua_createtable(L, 0, 6);
  lmm_set_integer(L, "size", (int64_t)media->size);
  lua_pushlstring(L, media->first, media->size < sizeof media->first ? (size_t)media->size : sizeof media->first);
  lua_setfield(L, -2, "first");
  if (media->path != NULL) {
    lua_pushnumber(L, (lua_Number)media->mtime.tv_sec + (lua_Number)media->mtime.tv_nsec * 1e-9);
    lua_setfield(L, -2, "mtime");
  }
  if (type->mime != NULL) {
    lua_pushstring(L, type->mime);
    lua_setfield(L, -2, "mime");
  }
  if (type->width > 0) lmm_set_integer(L, "width", type->width);
  if (type->height > 0) lmm_set_integer(L, "height", type->height);
  if (type->orientation > 0) lmm_set_integer(L, "orientation", type->orientation);
  if (type->cut[0] != '\0') {
    lua_pushstring(L, type->cut);
    lua_setfield(L, -2, "cut");
  }
  set_flag(L, "has_no_end", type->has_no_end);
  set_flag(L, "is_text", type->is_text);
  set_flag(L, "has_pictures", type->has_pictures);
  set_flag(L, "has_sound", type->has_sound);
  return 1;
}

/* media:replace(bytes): from now on it has these bytes, whatever it had before. Nobody may be reading it. */
static int media_replace(lua_State *L) {
  lmm_media *media = check_media(L);
  lmm_error error = {LMM_OK, ""};
  size_t length;
  const char *bytes = luaL_checklstring(L, 2, &length);
  luaL_argcheck(L, length > 0, 2, "bytes expected");
  lua_createtable(L, 1, 0);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, 1);
  lmm_set_anchor(L, 1);
  lmm_media_free(media);
  (void)lmm_media_bytes(media, bytes, length, &error);
  return 0;
}

/* A body may still be reading this media when the state closes: its reader has its own descriptor, and the memory of
 * both outlives every finalizer. */
static int media_close(lua_State *L) {
  lmm_media_free(luaL_checkudata(L, 1, LMM_MEDIA));
  return 0;
}

int lmm_media_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"info", media_info}, {"replace", media_replace}, {NULL, NULL}};
  lmm_new_type(L, LMM_MEDIA, methods, media_close);
  lua_pop(L, 1);
  lua_pushcfunction(L, media_new);
  return 1;
}
