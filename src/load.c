/* load.c: what finds and loads modules. The path of a C module comes in; the module and the libraries that it needs are
 * loaded as a program that is linked with them has them loaded: a symbol is looked up when it is first used, where
 * `require` looks up all of them at once. `require` then finds them there. And modules of Lua that were compiled
 * beforehand (.ci/compile.lua): a folder and a name come in; what the file of that name holds goes out, unless it is
 * out of date. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "binding.h"

/* What cannot be loaded is told by `require`. */
static void load(const char *path) { (void)dlopen(path, RTLD_LAZY | RTLD_LOCAL); }

static void *load_in_thread(void *path) {
  load(path);
  free(path);
  return NULL;
}

/* Has a thread load it while the program goes on; whoever requires it meanwhile waits for the lock of the dynamic
 * linker. Where there is no such thread, it is not loaded. */
static void load_aside(const char *path) {
  char *copy = strdup(path);
  if (copy == NULL) return;
  sigset_t all, before;
  pthread_t thread;
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the program's own thread */
  if (pthread_create(&thread, NULL, load_in_thread, copy) == 0)
    (void)pthread_detach(thread);
  else
    free(copy);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* A compiled module while it is read. Its file begins with a line that says how many bytes the plain file has, and
 * where that is, seen from the folder. */
typedef struct compiled {
  int descriptor;
  const char *piece; /* in `bytes`: what has been read and not been given out */
  size_t length;
  char bytes[8192];
} compiled;

/* Whether the plain file is still the one that was compiled. */
static bool is_current(const char *folder, const char *plain, long long size, const struct stat *made) {
  char path[4096];
  struct stat now;
  int length = plain[0] == '/' ? snprintf(path, sizeof path, "%s", plain)
                               : snprintf(path, sizeof path, "%s/%s", folder, plain);
  if (length >= (int)sizeof path || stat(path, &now) != 0 || now.st_size != size) return false;
  const struct timespec changed = LMM_MTIME(&now), then = LMM_MTIME(made);
  return changed.tv_sec < then.tv_sec || (changed.tv_sec == then.tv_sec && changed.tv_nsec <= then.tv_nsec);
}

/* Reads the first piece; whether what follows the line is to be loaded. A text, even an empty one, is no compiled
 * chunk, but Lua 5.1 would take it. */
static bool read_head(compiled *file, const char *folder) {
  struct stat made;
  ssize_t length = read(file->descriptor, file->bytes, sizeof file->bytes);
  char *end = length > 0 ? memchr(file->bytes, '\n', (size_t)length) : NULL, *plain;
  if (end == NULL || fstat(file->descriptor, &made) != 0) return false;
  *end = '\0';
  long long size = strtoll(file->bytes, &plain, 10);
  file->piece = end + 1;
  file->length = (size_t)(file->bytes + length - file->piece);
  bool is_chunk = file->length > 0 && *file->piece == LUA_SIGNATURE[0];
  return is_chunk && *plain == ' ' && is_current(folder, plain + 1, size, &made);
}

static bool open_compiled(compiled *file, const char *folder, const char *name) {
  char path[4096];
  if (snprintf(path, sizeof path, "%s/%s.luac", folder, name) >= (int)sizeof path) return false;
  file->descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (file->descriptor < 0) return false;
  if (read_head(file, folder)) return true;
  (void)close(file->descriptor);
  return false;
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

/* A lua_Reader. */
static const char *read_compiled(lua_State *L, void *data, size_t *length) {
  (void)L;
  compiled *file = data;
  if (file->length == 0) {
    ssize_t got = read(file->descriptor, file->bytes, sizeof file->bytes);
    file->piece = file->bytes;
    file->length = got > 0 ? (size_t)got : 0;
  }
  *length = file->length;
  file->length = 0;
  return file->piece;
}

/* load(path, is_aside): loads a C module, which stays in memory; aside: in a thread of its own. */
static int load_module(lua_State *L) {
  const char *path = lmm_check_path(L, 1);
  if (lua_toboolean(L, 2))
    load_aside(path);
  else
    load(path);
  return 0;
}

int lmm_load_open(lua_State *L) {
  lua_pushcfunction(L, load_module);
  return 1;
}

/* Gives the module, or nothing, of a file and a name. LuaJIT raises here what a finalizer raises. */
static int load_chunk(lua_State *L) {
  return lmm_load_chunk(L, read_compiled, lua_touserdata(L, 1), lua_tostring(L, 2)) == 0 ? 1 : 0;
}

/* compiled(folder, name) -> the module of this name that stands compiled in the folder; nil where there is none, where
 * it is another Lua's, and where its plain file has another size than when it was compiled, or is newer, since somebody
 * has changed it */
static int load_compiled(lua_State *L) {
  const char *folder = lmm_check_path(L, 1), *name = lmm_check_path(L, 2);
  compiled file;
  lua_pushcfunction(L, load_chunk);
  lua_pushlightuserdata(L, &file);
  lua_pushvalue(L, 2);
  if (!open_compiled(&file, folder, name)) return 0;
  int status = lua_pcall(L, 2, 1, 0);
  (void)close(file.descriptor);
  return status == 0 ? 1 : lua_error(L);
}

int lmm_compiled_open(lua_State *L) {
  lua_pushcfunction(L, load_compiled);
  return 1;
}
