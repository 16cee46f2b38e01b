/* with_lua.h: what the targets of functions written in Lua share: a state that counts what it does. Run from the
 * project's folder. A function that raises, runs on and on, or takes more memory than a multiple of its input's length
 * ends the process. */
#ifndef LMM_FUZZ_WITH_LUA_H
#define LMM_FUZZ_WITH_LUA_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "fuzz.h"

#define STEPS_AT_LEAST 1000 /* instructions of Lua's machine */
#define STEPS_PER_BYTE 20
#define BYTES_AT_LEAST 40000 /* now and then the table of all strings grows */
#define BYTES_PER_BYTE 100

static size_t fuzz_allocated;

static inline void *fuzz_allocate(void *user, void *block, size_t old, size_t size) {
  (void)user;
  (void)old;
  if (size == 0) {
    free(block);
    return NULL;
  }
  fuzz_allocated += size;
  return realloc(block, size);
}

static inline void fuzz_out_of_steps(lua_State *L, lua_Debug *record) {
  (void)record;
  (void)luaL_error(L, "too many steps");
}

static inline void fuzz_check_lua(lua_State *L, int code) {
  if (code == 0) return;
  const char *message = lua_tostring(L, -1);
  (void)fprintf(stderr, "raised: %s\n", message != NULL ? message : "no string");
  abort();
}

int luaopen_lmm_core(lua_State *L);

/* A state with the module's function on its stack. Its lmm.core is the one that is in this program. */
static inline lua_State *fuzz_lua(const char *module, const char *function) {
  lua_State *L = lua_newstate(fuzz_allocate, NULL);
  CHECK(L != NULL);
  luaL_openlibs(L);
  lua_getglobal(L, "package");
  lua_pushliteral(L, "lua/?.lua;lua/?/init.lua");
  lua_setfield(L, -2, "path");
  lua_getfield(L, -1, "preload");
  lua_pushcfunction(L, luaopen_lmm_core);
  lua_setfield(L, -2, "lmm.core");
  lua_getglobal(L, "require");
  lua_pushstring(L, module);
  fuzz_check_lua(L, lua_pcall(L, 1, 1, 0));
  lua_getfield(L, -1, function);
  lua_replace(L, 1);
  lua_settop(L, 1);
  return L;
}

/* Calls the function below its arguments, which were made of `count` bytes of input. */
static inline void fuzz_call(lua_State *L, int arguments, int results, size_t count) {
  size_t before = fuzz_allocated;
  lua_sethook(L, fuzz_out_of_steps, LUA_MASKCOUNT, (int)(STEPS_AT_LEAST + STEPS_PER_BYTE * count));
  fuzz_check_lua(L, lua_pcall(L, arguments, results, 0));
  lua_sethook(L, NULL, 0, 0);
  CHECK(fuzz_allocated - before <= BYTES_AT_LEAST + BYTES_PER_BYTE * count);
}

/* Forgets all but the function. */
static inline void fuzz_clear(lua_State *L) {
  lua_settop(L, 1);
  (void)lua_gc(L, LUA_GCCOLLECT, 0);
}

#endif
