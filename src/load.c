/* load.c: the path of a C module comes in; the module and the libraries that it needs are loaded as a program that is
 * linked with them has them loaded: a symbol is looked up when it is first used, where `require` looks up all of them at
 * once. `require` then finds them there. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

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
  const char *path = luaL_checkstring(L, 1);
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
