/* compat.h: one spelling of the Lua API for 5.1 (and LuaJIT) to 5.5. Nothing else tests LUA_VERSION_NUM. */
#ifndef LMM_COMPAT_H
#define LMM_COMPAT_H

#include <dlfcn.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <string.h>

/* A function that some other Lua lacks is weak: it does not keep a module from being loaded into the wrong Lua, so that
 * lmm_check_lua can say which is the right one. */
#if LUA_VERSION_NUM < 502

#pragma weak luaL_prepbuffer
#pragma weak luaL_register
#pragma weak lua_call
#pragma weak lua_objlen
#pragma weak lua_pcall
#pragma weak lua_tointeger
#pragma weak lua_tonumber

/* LuaJIT's headers have some of these: what is built with them must do in PUC 5.1, which has none. */
#undef luaL_newlib
#define lua_rawlen lua_objlen
#define luaL_setfuncs(L, functions, upvalues) ((void)(upvalues), luaL_register(L, NULL, functions))
#define luaL_newlib(L, functions) (lua_newtable(L), luaL_setfuncs(L, functions, 0))
#define luaL_setmetatable(L, name) (luaL_getmetatable(L, name), lua_setmetatable(L, -2))
#define luaL_testudata lmm_testudata

static inline void *lmm_testudata(lua_State *L, int index, const char *name) {
  void *userdata = lua_touserdata(L, index);
  if (userdata == NULL || !lua_getmetatable(L, index)) return NULL;
  luaL_getmetatable(L, name);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same ? userdata : NULL;
}

#else

#pragma weak luaL_checkversion_
#pragma weak luaL_prepbuffsize
#pragma weak luaL_setfuncs
#pragma weak luaL_setmetatable
#pragma weak luaL_testudata
#pragma weak lua_callk
#pragma weak lua_pcallk
#pragma weak lua_rawlen
#pragma weak lua_tointegerx
#pragma weak lua_tonumberx

#endif

#if LUA_VERSION_NUM < 503
#pragma weak lua_replace
#pragma weak lua_insert
#else
#pragma weak lua_copy   /* which lua_replace is a macro over */
#pragma weak lua_rotate /* and lua_insert */
#endif

/* A compiled chunk; 0 where it could be loaded. Pushes the function, or a message. */
#if LUA_VERSION_NUM < 502
#define lmm_load_chunk(L, reader, data, name) lua_load(L, reader, data, name)
#else
#define lmm_load_chunk(L, reader, data, name) lua_load(L, reader, data, name, "b")
#endif

/* Room for a few more values; false where Lua's stack would exceed its maximum. A lack of memory is raised, which
 * lua_checkstack of 5.2 and later also tells as 0: there the maximum is a million. */
static inline bool lmm_grow_stack(lua_State *L, int count) {
  if (lua_checkstack(L, count)) return true;
#if LUA_VERSION_NUM >= 502
  if (lua_gettop(L) < LUAI_MAXSTACK / 2) luaL_error(L, "not enough memory");
#endif
  return false;
}

/* The same, raised as luaL_checkstack does, which would tell a lack of memory as an overflow. */
static inline void lmm_check_stack(lua_State *L, int count, const char *what) {
  if (!lmm_grow_stack(L, count)) luaL_error(L, "stack overflow (%s)", what);
}

/* A whole number: an integer where the language has them. With `clean`, lmm_push_double, too, gives one where it can. */
#if LUA_VERSION_NUM >= 503
#define LMM_TWO_TO_63 9223372036854775808.0
#define lmm_push_whole(L, value) lua_pushinteger(L, (lua_Integer)(value))

static inline void lmm_push_double(lua_State *L, double value, bool clean) {
  bool fits = value >= -LMM_TWO_TO_63 && value < LMM_TWO_TO_63;
  if (clean && fits && (double)(lua_Integer)value == value)
    lua_pushinteger(L, (lua_Integer)value);
  else
    lua_pushnumber(L, value);
}
#else
#define lmm_push_whole(L, value) lua_pushnumber(L, (lua_Number)(value))
#define lmm_push_double(L, value, clean) ((void)(clean), lua_pushnumber(L, value))
#endif

/* Raises in any other Lua than the one whose headers this was built with. Called first of all by a module, with the
 * module's name at index 1; calls only what every Lua has. From 5.2 on the globals are a chunk's upvalue. */
static inline void lmm_check_lua(lua_State *L) {
  static const char here;
  Dl_info module = {.dli_fname = NULL};
  int top = lua_gettop(L);
  const char *running = "Lua 5.1";
  if (luaL_loadstring(L, "") != 0) lua_error(L); /* out of memory */
  if (lua_getupvalue(L, -1, 1) != NULL) {
    lua_getfield(L, -1, "_VERSION");
    running = lua_tolstring(L, -1, NULL);
  }
  if (running != NULL && strcmp(running, LUA_VERSION) != 0) {
    const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, NULL) : "lmm";
    (void)dladdr(&here, &module);
    luaL_error(L, "%s was built for %s, and this is %s: %s (found by LUA_CPATH or package.cpath)", name, LUA_VERSION,
               running, module.dli_fname != NULL ? module.dli_fname : "?");
  }
  lua_settop(L, top);
}

/* Before 5.3 every number is a double. */
#if LUA_VERSION_NUM >= 503
#pragma weak lua_isinteger
#else
#define lua_isinteger(L, index) ((void)(L), (void)(index), false)
#endif

/* A userdata keeps one value alive: lmm_set_anchor pops it from the top and anchors it in the userdata at `index`;
 * lmm_push_anchor pushes it. On 5.1 the value must be a table. */
#if LUA_VERSION_NUM >= 504
#pragma weak lua_newuserdatauv
#pragma weak lua_setiuservalue
#pragma weak lua_getiuservalue
#define lmm_new_userdata(L, size) lua_newuserdatauv(L, size, 1)
#define lmm_set_anchor(L, index) ((void)lua_setiuservalue(L, index, 1))
#define lmm_push_anchor(L, index) ((void)lua_getiuservalue(L, index, 1))
#elif LUA_VERSION_NUM >= 502
#pragma weak lua_newuserdata
#pragma weak lua_setuservalue
#pragma weak lua_getuservalue
#define lmm_new_userdata(L, size) lua_newuserdata(L, size)
#define lmm_set_anchor(L, index) lua_setuservalue(L, index)
#define lmm_push_anchor(L, index) ((void)lua_getuservalue(L, index))
#else
#pragma weak lua_newuserdata
#pragma weak lua_setfenv
#pragma weak lua_getfenv
#define lmm_new_userdata(L, size) lua_newuserdata(L, size)
#define lmm_set_anchor(L, index) ((void)lua_setfenv(L, index))
#define lmm_push_anchor(L, index) lua_getfenv(L, index)
#endif

/* Registers a userdata type: its methods, and `close`, if any, as __gc (and as __close where the language has it),
 * since a value may be closed by hand, by scope or by the collector. Leaves the metatable on the stack. */
static inline void lmm_new_type(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction close) {
  luaL_newmetatable(L, name);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  if (close != NULL) {
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__close");
  }
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
}

#endif
