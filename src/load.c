/* load.c: what finds and loads modules. The path of a C module comes in; the module and the libraries that it needs are
 * loaded as a program that is linked with them has them loaded: a symbol is looked up when it is first used, where
 * `require` looks up all of them at once. `require` then finds them there. And how large a file is, and how old, for the
 * modules that are compiled beforehand. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

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

/* stat(path) -> how many bytes a file has, and when it was last changed, in seconds; or nil */
static int stat_file(lua_State *L) {
  struct stat status;
  if (stat(lmm_check_path(L, 1), &status) != 0) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushnumber(L, (lua_Number)status.st_size);
  lua_pushnumber(L, (lua_Number)LMM_MTIME(&status).tv_sec + (lua_Number)LMM_MTIME(&status).tv_nsec / 1e9);
  return 2;
}

int lmm_stat_open(lua_State *L) {
  lua_pushcfunction(L, stat_file);
  return 1;
}
