/* slice.c: a JSON text and a place in it come in; the JSON of what stands there goes out, as it was spelled. */
#include <string.h>

#include "lmm.h"

#define LONGEST_NAME 256

/* Whether the name that was just read is this one. */
static bool is_name(const lmm_json *json, const char *name, size_t length) {
  char plain[LONGEST_NAME];
  if (!json->escaped) return json->count == length && memcmp(json->text + json->start, name, length) == 0;
  if (json->count > sizeof plain) return false;
  bool halves = false;
  return lmm_json_unescape(plain, json->text + json->start, json->count, &halves) == length &&
         memcmp(plain, name, length) == 0;
}

int lmm_json_enter_list(lmm_json *json, size_t number) {
  int token;
  while ((token = lmm_json_next(json)) > 0 && token != LMM_JSON_LIST_END && --number > 0)
    if (lmm_json_skip(json, token) <= 0) return 0;
  return token > 0 && token != LMM_JSON_LIST_END ? token : 0;
}

int lmm_json_enter_object(lmm_json *json, const char *name, size_t length) {
  lmm_json found = {.text = NULL};
  while (lmm_json_next(json) == LMM_JSON_KEY) {
    if (is_name(json, name, length)) found = *json;
    if (lmm_json_skip(json, lmm_json_next(json)) <= 0) return 0;
  }
  if (found.text == NULL) return 0;
  *json = found;
  int token = lmm_json_next(json);
  return token > 0 ? token : 0;
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

#define LINE_LEVELS 256 /* what is nested more deeply is no line */
#define MOST_LEVELS 2500 /* as deep as limits.depth may be */

/* Begins to read the text at index 1, and goes to the place that the arguments behind it name; gives the first token there,
 * or 0 where there is nothing such. */
static int go_to(lua_State *L, lmm_json *json) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  int last = lua_gettop(L);
  size_t *levels = lua_newuserdata(L, MOST_LEVELS * sizeof *levels);
  lmm_json_init(json, levels, MOST_LEVELS, true);
  lmm_json_feed(json, text, length, true);
  int token = lmm_json_next(json);
  for (int i = 2; i <= last && token > 0; i++) {
    if (token == LMM_JSON_LIST && lua_type(L, i) == LUA_TNUMBER && lua_tonumber(L, i) >= 1) {
      token = lmm_json_enter_list(json, (size_t)lua_tonumber(L, i));
    } else if (token == LMM_JSON_OBJECT && lua_type(L, i) == LUA_TSTRING) {
      const char *name = lua_tolstring(L, i, &length);
      token = lmm_json_enter_object(json, name, length);
    } else {
      token = 0;
    }
  }
  return token > 0 ? token : 0;
}

/* Where the value begins whose first token was just read. */
static size_t begin_of(const lmm_json *json, int token) {
  if (token == LMM_JSON_OBJECT || token == LMM_JSON_LIST) return json->at - 1;
  if (token == LMM_JSON_STRING) return json->start - 1;
  size_t begin = json->at; /* of a number or a word: behind what separates values */
  while (begin > 0 && strchr(" \t\r\n,:[", json->text[begin - 1]) == NULL) begin--;
  return begin;
}

/* Pushes the JSON of the value that begins with `token`; false where it is none. */
static bool push_value(lua_State *L, lmm_json *json, int token) {
  if (token <= 0) return false;
  size_t begin = begin_of(json, token);
  if (lmm_json_skip(json, token) <= 0) return false;
  lua_pushlstring(L, json->text + begin, json->at - begin);
  return true;
}

/* slice(text, name or number, ...) -> the JSON of the value at that place, as it is spelled | nil where there is none. Of
 * names that are repeated the last one counts, as for decode. */
static int core_slice(lua_State *L) {
  lmm_json json;
  int token = go_to(L, &json);
  return push_value(L, &json, token) ? 1 : 0;
}

/* slices(text, name or number, ...) -> { the JSON of each value in the list at that place } */
static int core_slices(lua_State *L) {
  lmm_json json;
  int token = go_to(L, &json), number = 0;
  lua_newtable(L);
  if (token != LMM_JSON_LIST) return 1;
  while ((token = lmm_json_next(&json)) > 0 && token != LMM_JSON_LIST_END)
    if (push_value(L, &json, token)) lua_rawseti(L, -2, ++number);
  return 1;
}

/* Whether a JSON text may hold an escape of a surrogate, which could be a half of a character. */
static bool may_have_half(const char *text, size_t count) {
  for (const char *end = text + count; (text = memchr(text, '\\', (size_t)(end - text))) != NULL; text += 2)
    if (text[1] == 'u' && (text[2] | 0x20) == 'd' && text[3] >= '8') return true;
  return false;
}

static bool is_space(char byte) { return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n'; }

/* In JSON a line end is white space: a string has none. */
static int push_line(lua_State *L, const char *text, size_t count) {
  luaL_Buffer line;
  luaL_buffinit(L, &line);
  for (size_t i = 0, length; i < count; i += length + 1) {
    length = 0;
    while (i + length < count && text[i + length] != '\n' && text[i + length] != '\r') length++;
    luaL_addlstring(&line, text + i, length);
    if (i + length < count) luaL_addchar(&line, ' ');
  }
  luaL_pushresult(&line);
  return 1;
}

/* line(text) -> the JSON text without white space around it, and spaces in the place of its line ends, where it is JSON
 * to the letter of RFC 8259, in UTF-8 and without escapes of surrogates; else nil */
static int core_line(lua_State *L) {
  size_t count, levels[LINE_LEVELS];
  const char *text = luaL_checklstring(L, 1, &count);
  while (count > 0 && is_space(text[count - 1])) count--;
  for (; count > 0 && is_space(text[0]); count--) text++;
  lmm_json json;
  lmm_json_init(&json, levels, LINE_LEVELS, false);
  lmm_json_feed(&json, text, count, true);
  int token = lmm_json_next(&json);
  while (token > 0 && token != LMM_JSON_END) token = lmm_json_next(&json);
  bool is_exact = token == LMM_JSON_END && (unsigned char)text[0] != 0xEF && lmm_utf8_check(text, count) == count;
  if (!is_exact || may_have_half(text, count)) return 0;
  return push_line(L, text, count);
}

int lmm_slice_line_open(lua_State *L) {
  lua_pushcfunction(L, core_line);
  return 1;
}

int lmm_slice_open(lua_State *L) {
  lua_pushcfunction(L, core_slice);
  return 1;
}

int lmm_slice_list_open(lua_State *L) {
  lua_pushcfunction(L, core_slices);
  return 1;
}
