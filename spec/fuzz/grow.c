/* grow.c: the value that grows with its text, in pieces, against core.decode of the whole text.
 *
 * The input's first byte is how deep the text may be nested (its low 7 bits) and whether NaN and infinities are numbers
 * (its highest). The second is how many bytes follow (its low 4 bits) that are the lengths of the pieces to cut the text
 * into, taken round and round; whether nulls are left out (16); and whether the text is put into a fence (32) of so many
 * backticks beyond three (its highest 2 bits). */
#include <lauxlib.h>
#include <lua.h>

#include "fuzz.h"

#define MOST_PIECES 15

/* On the Lua stack: the two functions, their options, what decode gave. */
enum { DECODE = 1, GROW, OPTIONS, EXPECTED, MESSAGE, BYTE, WHY, GROWER };

static lua_State *new_state(void) {
  lua_State *L = luaL_newstate();
  CHECK(L != NULL);
  (void)lmm_array_open(L);
  lua_settop(L, 0);
  (void)lmm_decode_open(L);
  (void)lmm_grow_open(L);
  return L;
}

static void call(lua_State *L, int arguments, int results) {
  if (lua_pcall(L, arguments, results, 0) == 0) return;
  (void)fprintf(stderr, "raised: %s\n", lua_tostring(L, -1));
  abort();
}

static void call_method(lua_State *L, const char *name, int results) {
  lua_getfield(L, GROWER, name);
  lua_pushvalue(L, GROWER);
  call(L, 1, results);
}

static void check_same(lua_State *L, int one, int other, int depth);

static void check_same_table(lua_State *L, int one, int other, int depth) {
  int top = lua_gettop(L), fields = 0;
  CHECK(lua_checkstack(L, 8));
  CHECK(lua_getmetatable(L, one) == lua_getmetatable(L, other));
  if (lua_gettop(L) > top) CHECK(lua_rawequal(L, -1, -2));
  lua_settop(L, top);
  for (lua_pushnil(L); lua_next(L, one) != 0; lua_pop(L, 1), fields++) {
    lua_pushvalue(L, top + 1);
    lua_rawget(L, other);
    check_same(L, top + 2, top + 3, depth + 1);
    lua_pop(L, 1);
  }
  for (lua_pushnil(L); lua_next(L, other) != 0; lua_pop(L, 1)) fields--;
  CHECK(fields == 0);
}

static void check_same(lua_State *L, int one, int other, int depth) {
  CHECK(lua_type(L, one) == lua_type(L, other) && depth < 1000);
  if (lua_type(L, one) == LUA_TTABLE) {
    check_same_table(L, one, other, depth);
  } else if (lua_type(L, one) == LUA_TNUMBER) {
    double number = lua_tonumber(L, one);
    CHECK(lua_rawequal(L, one, other) || (number != number && lua_tonumber(L, other) != lua_tonumber(L, other)));
  } else {
    CHECK(lua_rawequal(L, one, other));
  }
}

static bool is_one_table(lua_State *L, int one, int other) {
  return lua_type(L, one) != LUA_TTABLE || lua_rawequal(L, one, other);
}

/* Leaves a grower that got the text in such pieces at its place. What it gives of a list or an object is one table. */
static void grow(lua_State *L, const char *text, size_t count, const uint8_t *lengths, size_t pieces) {
  size_t empty = 0, begin = 0;
  lua_settop(L, WHY);
  lua_pushvalue(L, GROW);
  lua_pushvalue(L, OPTIONS);
  call(L, 1, 1);
  call_method(L, "value", 1);
  for (size_t i = 0, length; begin < count; i++, begin += length) {
    length = pieces > 0 ? lengths[i % pieces] : count;
    empty = length == 0 ? empty + 1 : 0;
    if (empty > MOST_PIECES) length = 1; /* so that it ends */
    if (length > count - begin) length = count - begin;
    lua_getfield(L, GROWER, "feed");
    lua_pushvalue(L, GROWER);
    lua_pushlstring(L, text + begin, length);
    call(L, 2, 1);
    call_method(L, "value", 1);
    CHECK(is_one_table(L, GROWER + 1, GROWER + 3) && lua_type(L, GROWER + 2) == LUA_TBOOLEAN);
    CHECK(lua_toboolean(L, GROWER + 2) || lua_type(L, GROWER + 1) == lua_type(L, GROWER + 3));
    lua_replace(L, GROWER + 1);
    lua_settop(L, GROWER + 1);
  }
  call_method(L, "finish", 0);
  lua_settop(L, GROWER);
}

static void compare(lua_State *L, const char *text, size_t count, const uint8_t *lengths, size_t pieces,
                    bool is_fenced) {
  grow(L, text, count, lengths, pieces);
  bool failed = lua_isstring(L, WHY);
  call_method(L, "failure", 3);
  CHECK(failed == !lua_isnil(L, GROWER + 1));
  for (int i = 0; failed && !is_fenced && i < 3; i++) CHECK(lua_rawequal(L, MESSAGE + i, GROWER + 1 + i));
  lua_settop(L, GROWER);
  call_method(L, "value", 1);
  if (!failed) check_same(L, EXPECTED, GROWER + 1, 0);
}

static void set_flag(lua_State *L, const char *name, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, OPTIONS, name);
}

static void add_fence(fuzz_text *text, const char *inside, size_t count, unsigned more) {
  static const char marks[] = "``````";
  fuzz_add(text, marks, 3 + more);
  fuzz_add(text, "json\n", 5);
  fuzz_add(text, inside, count);
  fuzz_add(text, "\n", 1);
  fuzz_add(text, marks, 3 + more);
  fuzz_add(text, "\n", more % 2);
}

/* A text with a fence of its own is none that decode takes. */
static bool begins_with_mark(const char *text, size_t count) {
  while (count > 0 && memchr(" \t\r\n\xEF\xBB\xBF", *text, 7) != NULL) text++, count--;
  return count > 0 && *text == '`';
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  static lua_State *L;
  static const uint8_t one = 1;
  if (L == NULL) L = new_state();
  fuzz_input input = {bytes, count};
  unsigned first = fuzz_byte(&input), second = fuzz_byte(&input);
  size_t pieces = second % (MOST_PIECES + 1), depth = (first & 0x7F) + 1;
  const uint8_t *lengths = fuzz_bytes(&input, &pieces);
  const char *text = (const char *)input.at;
  bool is_fenced = (second & 32) != 0;
  if (begins_with_mark(text, input.left)) return 0;
  if (is_fenced && input.left >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) return 0; /* a mark of byte order is first */

  lua_settop(L, GROW);
  lua_newtable(L);
  lua_pushnumber(L, (lua_Number)depth);
  lua_setfield(L, OPTIONS, "depth");
  set_flag(L, "lenient", first >> 7 != 0);
  set_flag(L, "clean", (second & 16) != 0);
  lua_pushvalue(L, DECODE);
  lua_pushlstring(L, text, input.left);
  lua_pushvalue(L, OPTIONS);
  call(L, 2, 4);

  fuzz_text whole = {NULL, 0, 0};
  if (is_fenced)
    add_fence(&whole, text, input.left, second >> 6);
  else
    fuzz_add(&whole, text, input.left);
  compare(L, whole.data, whole.length, NULL, 0, is_fenced);
  compare(L, whole.data, whole.length, &one, 1, is_fenced);
  compare(L, whole.data, whole.length, lengths, pieces, is_fenced);
  free(whole.data);
  lua_settop(L, GROW);
  return 0;
}
