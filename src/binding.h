/* binding.h: what the parts' Lua bindings share: the names of the userdata types, and how a failure is told. */
#ifndef LMM_BINDING_H
#define LMM_BINDING_H

#include "compat.h"
#include "lmm.h"

#define LMM_MEDIA "lmm.media"
#define LMM_BODY "lmm.body"
#define LMM_SSE "lmm.sse"

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

#endif
