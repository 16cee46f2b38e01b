/* header.c: the header of a reply, its lines as they came, comes in; the names and values in it go out, one by one. */
#include <string.h>

#include "lmm.h"

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool lmm_header_next(lmm_header *header) {
  const char *end = header->end;
  while (header->at < end) {
    const char *feed = memchr(header->at, '\n', (size_t)(end - header->at));
    if (feed == NULL) break;
    const char *line = feed + 1;
    const char *stop = line;
    while (stop < end && *stop != '\n' && *stop != '\r') stop++;
    header->at = stop;
    const char *colon = memchr(line, ':', (size_t)(stop - line));
    if (colon == NULL || colon == line) continue;
    const char *value = colon + 1;
    while (value < stop && (*value == ' ' || *value == '\t')) value++;
    while (stop > value && is_space(stop[-1])) stop--;
    header->name = line;
    header->name_length = (size_t)(colon - line);
    header->value = value;
    header->value_length = (size_t)(stop - value);
    return true;
  }
  return false;
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

static void push_lower(lua_State *L, const char *name, size_t length) {
  luaL_Buffer buffer;
  char lower[64];
  size_t filled = 0;
  luaL_buffinit(L, &buffer);
  for (size_t i = 0; i < length; i++) {
    if (filled == sizeof lower) {
      luaL_addlstring(&buffer, lower, filled);
      filled = 0;
    }
    lower[filled++] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
  }
  luaL_addlstring(&buffer, lower, filled);
  luaL_pushresult(&buffer);
}

/* Joins the list on the top by ", " and takes its place. */
static void join(lua_State *L) {
  int list = lua_gettop(L), count = (int)lua_rawlen(L, list);
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (int i = 1; i <= count; i++) {
    if (i > 1) luaL_addlstring(&buffer, ", ", 2);
    lua_rawgeti(L, list, i);
    luaL_addvalue(&buffer);
  }
  luaL_pushresult(&buffer);
  lua_replace(L, list);
}

/* The values of a name that is repeated are a list until all are there, so that the time is linear. */
static void add_again(lua_State *L, int headers, const lmm_header *header) { /* the name and what it has are on the top */
  if (lua_type(L, -1) == LUA_TSTRING) {
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, 1);
    lua_replace(L, -2);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, headers);
  }
  lua_pushlstring(L, header->value, header->value_length);
  lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
  lua_pop(L, 2);
}

/* headers(text) -> { [name in lower case] = value }; a repeated one keeps all its values, joined by ", " (RFC 9110,
 * section 5.3) */
static int header_parse(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  lmm_header header = {.at = text, .end = text + length};
  bool repeated = false;
  lua_settop(L, 1);
  lua_createtable(L, 0, 8);
  while (lmm_header_next(&header)) {
    push_lower(L, header.name, header.name_length);
    lua_pushvalue(L, -1);
    lua_rawget(L, 2);
    if (!lua_isnil(L, -1)) {
      add_again(L, 2, &header);
      repeated = true;
      continue;
    }
    lua_pop(L, 1);
    lua_pushlstring(L, header.value, header.value_length);
    lua_rawset(L, 2);
  }
  if (!repeated) return 1;
  for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
    if (lua_type(L, -1) != LUA_TTABLE) continue;
    join(L);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 2);
  }
  return 1;
}

int lmm_header_open(lua_State *L) {
  lua_pushcfunction(L, header_parse);
  return 1;
}
