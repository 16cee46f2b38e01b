/* compat.h: one spelling of the Lua API for 5.1 (and LuaJIT) to 5.4. Nothing else tests LUA_VERSION_NUM. */
#ifndef LMM_COMPAT_H
#define LMM_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

#if defined(__GNUC__)
#define LMM_EXPORT __attribute__((visibility("default")))
#else
#define LMM_EXPORT
#endif

#if LUA_VERSION_NUM < 502

#define lua_rawlen lua_objlen
#define luaL_setfuncs(L, functions, upvalues) ((void)(upvalues), luaL_register(L, NULL, functions))
#define luaL_newlib(L, functions) (lua_newtable(L), luaL_setfuncs(L, functions, 0))
#define luaL_setmetatable(L, name) (luaL_getmetatable(L, name), lua_setmetatable(L, -2))

static inline void *luaL_testudata(lua_State *L, int index, const char *name) {
  void *userdata = lua_touserdata(L, index);
  if (userdata == NULL || !lua_getmetatable(L, index)) return NULL;
  luaL_getmetatable(L, name);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same ? userdata : NULL;
}

#endif

/* A userdata keeps one value alive: pops it from the top and anchors it in the userdata at `index`. On 5.1 the value
 * must be a table. */
#if LUA_VERSION_NUM >= 504
#define lmm_new_userdata(L, size) lua_newuserdatauv(L, size, 1)
#define lmm_set_anchor(L, index) ((void)lua_setiuservalue(L, index, 1))
#elif LUA_VERSION_NUM >= 502
#define lmm_new_userdata(L, size) lua_newuserdata(L, size)
#define lmm_set_anchor(L, index) lua_setuservalue(L, index)
#else
#define lmm_new_userdata(L, size) lua_newuserdata(L, size)
#define lmm_set_anchor(L, index) ((void)lua_setfenv(L, index))
#endif

/* Registers a userdata type: its methods, and `close` as __gc (and as __close where the language has it), since a
 * value may be closed by hand, by scope or by the collector. Leaves the metatable on the stack. */
static inline void lmm_new_type(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction close) {
  luaL_newmetatable(L, name);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "__close");
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
}

#endif
