/* binding.h: what the parts' Lua bindings share: the names of the userdata types, and how a failure is told. */
#ifndef LMM_BINDING_H
#define LMM_BINDING_H

#include <dlfcn.h>

#include "compat.h"
#include "lmm.h"

#define LMM_MEDIA "lmm.media"
#define LMM_BODY "lmm.body"
#define LMM_SSE "lmm.sse"

/* Keeps the module that holds `address` in memory when the state that loaded it closes: libcurl's resolver threads may
 * still be about to return into it. Done here, since LuaRocks passes no linker flags on (-z nodelete). */
static inline void lmm_stay_loaded(const void *address) {
  Dl_info module;
  if (dladdr(address, &module) != 0) (void)dlopen(module.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

/* nil, message; out of memory is a Lua error, as everywhere in Lua. */
static inline int lmm_push_error(lua_State *L, const lmm_error *error) {
  if (error->code == LMM_NOMEM) return luaL_error(L, "not enough memory");
  lua_pushnil(L);
  lua_pushstring(L, error->message);
  return 2;
}

/* The bytes of a buffer, which may never have had any. */
static inline void lmm_push_buf(lua_State *L, const lmm_buf *buf) {
  lua_pushlstring(L, buf->length > 0 ? buf->data : "", buf->length);
}

/* Sets a field of the table on the top. */
static inline void lmm_set_integer(lua_State *L, const char *key, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, key);
}

/* A module says which version it is of, so that Lua files of another one notice (lua/lmm/version.lua). */
static inline void lmm_set_version(lua_State *L) {
  lua_pushliteral(L, LMM_VERSION);
  lua_setfield(L, -2, "version");
}

#endif
