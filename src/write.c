/* write.c: a Lua value comes in; its JSON text goes to the end of a buffer, with the media that stand in it, in one
 * pass. The value is only read, and without its metamethods. What JSON cannot hold is refused with its path in the
 * value (`messages[1].content[2].text`), which is put together only then. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "binding.h"

#define MAX_DEPTH 1000
#define MAX_SORTED 64 /* of an object with more fields the order is the table's own, */
#define SLOTS 3000    /* and so it is where sorting has taken so much of Lua's stack, which on 5.1 ends at 8000 */

static const char TOO_DEEP[] = "a value for JSON";

/* ---- to the text: out of memory raises -------------------------------------------------------------------------- */

void lmm_writer_check(lmm_writer *w, int code) {
  if (code == LMM_NOMEM || code == LMM_LIMIT) (void)luaL_error(w->L, "not enough memory");
}

static void add(lmm_writer *w, const char *text, size_t count) {
  lmm_writer_check(w, lmm_buf_add(&w->text, text, count));
}

void lmm_writer_char(lmm_writer *w, char c) {
  if (w->text.length == w->text.capacity) lmm_writer_check(w, lmm_buf_reserve(&w->text, 1));
  w->text.data[w->text.length++] = c;
}

#define ADD(w, literal) add(w, literal, sizeof(literal) - 1)

/* ---- failures: each gives false --------------------------------------------------------------------------------- */

/* The message is `before`, the path and the rest; where the path is empty, the value's name stands for it, unless the
 * rest begins with the index of an item. */
static bool fail(lmm_writer *w, const char *before, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)lua_pushvfstring(w->L, format, arguments);
  va_end(arguments);
  lua_replace(w->L, w->base + LMM_WRITER_WRONG);
  lua_pushliteral(w->L, "");
  lua_replace(w->L, w->base + LMM_WRITER_PATH);
  w->before = before;
  w->has_path = true;
  return false;
}

static bool fail_in_item(lmm_writer *w, int index) {
  if (!w->has_path) return false;
  lua_pushfstring(w->L, "[%d]%s", index, lua_tostring(w->L, w->base + LMM_WRITER_PATH));
  lua_replace(w->L, w->base + LMM_WRITER_PATH);
  return false;
}

bool lmm_writer_fail_in_field(lmm_writer *w, int key) {
  if (!w->has_path) return false;
  lua_pushfstring(w->L, ".%s%s", lua_tostring(w->L, key), lua_tostring(w->L, w->base + LMM_WRITER_PATH));
  lua_replace(w->L, w->base + LMM_WRITER_PATH);
  return false;
}

static bool fail_depth(lmm_writer *w) {
  (void)fail(w, "", " is nested more than %d deep: does it hold itself?", MAX_DEPTH);
  w->has_path = false;
  return false;
}

static bool fail_type(lmm_writer *w) {
  return fail(w, "", " is a %s, which JSON cannot hold", luaL_typename(w->L, -1));
}

/* Whether it is a whole number from 1 on that a double holds exactly. */
static bool is_place(lua_Number number) {
  return number >= 1 && number <= 9007199254740992.0 && (lua_Number)(int64_t)number == number;
}

/* A JSON object has strings as its keys, and a list has the places 1 to its length: which of it does not hold? */
static bool fail_keys(lmm_writer *w, int table) {
  lua_State *L = w->L;
  lua_Number count = 0, last = 0;
  bool named = false;
  lua_settop(L, table);
  for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
    lua_Number place = lua_tonumber(L, -2);
    if (lua_type(L, -2) == LUA_TSTRING) {
      named = true;
    } else if (lua_type(L, -2) != LUA_TNUMBER) {
      return fail(w, "", " has a %s as a field name, which JSON cannot hold", luaL_typename(L, -2));
    } else if (!is_place(place)) {
      lua_pushvalue(L, -2);
      return fail(w, "", "[%s] is no place in a list (the keys of an object are strings)", lua_tostring(L, -1));
    } else {
      count++;
      last = place > last ? place : last;
    }
  }
  if (count > 0 && named) return fail(w, "", " has both items and named fields, which JSON cannot hold");
  int hole = 1;
  for (lua_rawgeti(L, table, hole); !lua_isnil(L, -1); lua_rawgeti(L, table, ++hole)) lua_pop(L, 1);
  return fail(w, "", "[%d] is missing: a list has no holes (lmm.null stands for a null; the keys of an object are "
              "strings)", hole);
}

/* ---- values: what is to be written is on the top of the stack, and stays there ----------------------------------- */

/* The string at `index`; `before` as in `fail`. */
bool lmm_writer_text(lmm_writer *w, int index, const char *before) {
  size_t count, bad = 0;
  const char *text = lua_tolstring(w->L, index, &count);
  int code = lmm_literal_text(&w->text, text, count, w->replaces ? NULL : &bad);
  if (code == LMM_OK) return true;
  lmm_writer_check(w, code);
  char wrong[80];
  (void)snprintf(wrong, sizeof wrong, " is not UTF-8: byte %zu is 0x%02X", bad + 1, (unsigned)(unsigned char)text[bad]);
  return fail(w, before, "%s", wrong);
}

static bool write_number(lmm_writer *w) {
  int code;
  lua_Number value = 0;
  if (lua_isinteger(w->L, -1)) {
    code = lmm_literal_integer(&w->text, (int64_t)lua_tointeger(w->L, -1));
  } else {
    value = lua_tonumber(w->L, -1);
    code = lmm_literal_number(&w->text, (double)value);
  }
  if (code == LMM_OK) return true;
  lmm_writer_check(w, code);
  return fail(w, "", " is %s, which JSON cannot hold", value != value ? "nan" : value > 0 ? "inf" : "-inf");
}

/* Keeps the value on the top for as long as the body is there; pops it. */
void lmm_writer_anchor(lmm_writer *w) {
  if (w->anchored == 0) {
    lua_createtable(w->L, 1, 0);
    lua_replace(w->L, w->base + LMM_WRITER_ANCHORS);
  }
  lua_rawseti(w->L, w->base + LMM_WRITER_ANCHORS, ++w->anchored);
}

/* Adds what a body holds, without its first `skip` bytes of text. */
void lmm_writer_splice(lmm_writer *w, int index, size_t skip) {
  lua_State *L = w->L;
  const lmm_body *body = lua_touserdata(L, index);
  if (body->text == NULL) (void)luaL_error(L, "a closed body cannot be written");
  for (size_t i = 0; i < body->count; i++) {
    lmm_insert insert = body->inserts[i];
    insert.at += w->text.length - skip;
    lmm_writer_check(w, lmm_buf_add(&w->inserts, &insert, sizeof insert));
  }
  add(w, body->text + skip, body->length - skip);
  if (body->count == 0) return;
  lmm_push_anchor(L, index);
  lmm_writer_anchor(w);
}

/* What the value on the top stands for; pops it. */
static int pop_mark(lmm_writer *w) {
  lua_rawget(w->L, w->base + LMM_WRITER_MARKS);
  int mark = (int)lua_tointeger(w->L, -1);
  lua_pop(w->L, 1);
  return mark;
}

static bool is_body(lmm_writer *w) {
  if (!lua_getmetatable(w->L, -1)) return false;
  bool is_one = lua_topointer(w->L, -1) == w->body_type;
  lua_pop(w->L, 1);
  return is_one;
}

static bool write_userdata(lmm_writer *w) {
  lua_State *L = w->L;
  if (lua_touserdata(L, -1) == NULL) {
    ADD(w, "null");
  } else if (is_body(w)) {
    lmm_writer_splice(w, lua_gettop(L), 0);
  } else {
    lua_pushvalue(L, -1);
    int mark = pop_mark(w);
    if (mark == LMM_MARK_NONE) return fail_type(w);
    add(w, mark == LMM_MARK_NULL ? "null" : mark == LMM_MARK_ARRAY ? "[]" : "{}", mark == LMM_MARK_NULL ? 4 : 2);
  }
  return true;
}

/* ---- lists and objects ------------------------------------------------------------------------------------------ */

/* The rest of a list, from the place `next` on, whose key and value lua_next gave out of order: on the top. */
static bool write_items_by_place(lmm_writer *w, int table, int next, int depth) {
  lua_State *L = w->L;
  int count = next - 1;
  lua_Number last = 0;
  do {
    lua_Number place = lua_tonumber(L, -2);
    lua_pop(L, 1);
    if (lua_type(L, -1) != LUA_TNUMBER || place < next || !is_place(place)) return fail_keys(w, table);
    last = place > last ? place : last;
    count++;
  } while (lua_next(L, table) != 0);
  if (last != count) return fail_keys(w, table);
  for (int place = next; place <= count; place++) {
    if (place > 1) lmm_writer_char(w, ',');
    lua_rawgeti(L, table, place);
    if (!lmm_writer_value(w, depth)) return fail_in_item(w, place);
    lua_pop(L, 1);
  }
  return true;
}

/* The first key and value are on the top. */
static bool write_list(lmm_writer *w, int table, int depth) {
  lua_State *L = w->L;
  int place = 1;
  lmm_writer_char(w, '[');
  do {
    if (lua_type(L, -2) != LUA_TNUMBER || lua_tonumber(L, -2) != place) {
      if (!write_items_by_place(w, table, place, depth)) return false;
      break;
    }
    if (place > 1) lmm_writer_char(w, ',');
    if (!lmm_writer_value(w, depth)) return fail_in_item(w, place);
    lua_pop(L, 1);
    place++;
  } while (lua_next(L, table) != 0);
  lmm_writer_char(w, ']');
  return true;
}

/* Writes the field whose key and value are at `key` and behind it. */
static bool write_field(lmm_writer *w, int key, int depth) {
  if (!lmm_writer_text(w, key, "a field name in ")) return false;
  lmm_writer_char(w, ':');
  lua_pushvalue(w->L, key + 1);
  if (!lmm_writer_value(w, depth)) return lmm_writer_fail_in_field(w, key);
  lua_pop(w->L, 1);
  return true;
}

static bool is_before(lua_State *L, int one, int other) {
  size_t count, other_count;
  const char *text = lua_tolstring(L, one, &count), *other_text = lua_tolstring(L, other, &other_count);
  int order = memcmp(text, other_text, count < other_count ? count : other_count);
  return order < 0 || (order == 0 && count < other_count);
}

/* The fields as lua_next gives them; the first is on the top. */
static bool write_unsorted(lmm_writer *w, int table, int depth) {
  lua_State *L = w->L;
  bool is_first = true;
  do {
    if (lua_type(L, table + 1) != LUA_TSTRING) return fail_keys(w, table);
    if (!is_first) lmm_writer_char(w, ',');
    is_first = false;
    if (!write_field(w, table + 1, depth)) return false;
    lua_pop(L, 1);
  } while (lua_next(L, table) != 0);
  return true;
}

/* The same in the order of their names, so that equal tables give equal texts. Gives false, with nothing written, where
 * they are too many for that. All fields go to the stack; the order is of their places there. */
static bool write_sorted(lmm_writer *w, int table, int depth, bool *is_written) {
  lua_State *L = w->L;
  unsigned char order[MAX_SORTED];
  int count = 0;
  do {
    int key = table + 1 + 2 * count, at = count;
    if (lua_type(L, key) != LUA_TSTRING) {
      *is_written = fail_keys(w, table);
      return true;
    }
    if (count == MAX_SORTED || key > w->base + SLOTS + 4 * depth) {
      lua_settop(L, table + 2);
      return false;
    }
    for (; at > 0 && is_before(L, key, table + 1 + 2 * order[at - 1]); at--) order[at] = order[at - 1];
    order[at] = (unsigned char)count++;
    lmm_check_stack(L, 16, TOO_DEEP);
    lua_pushvalue(L, key);
  } while (lua_next(L, table) != 0);
  *is_written = true;
  for (int i = 0; i < count && *is_written; i++) {
    if (i > 0) lmm_writer_char(w, ',');
    *is_written = write_field(w, table + 1 + 2 * order[i], depth);
  }
  return true;
}

/* The first key and value are on the top. */
static bool write_object(lmm_writer *w, int table, int depth) {
  bool is_written;
  lmm_writer_char(w, '{');
  if (!write_sorted(w, table, depth, &is_written)) is_written = write_unsorted(w, table, depth);
  if (is_written) lmm_writer_char(w, '}');
  return is_written;
}

/* Writes what the hook on the top gives for the table. */
static bool write_hooked(lmm_writer *w, int table, int depth) {
  lua_pushvalue(w->L, table);
  lua_call(w->L, 1, 1);
  return lmm_writer_value(w, depth + 1);
}

static bool write_plain_table(lmm_writer *w, int table, bool is_array, int depth) {
  lua_pushnil(w->L);
  if (lua_next(w->L, table) == 0) {
    add(w, is_array ? "[]" : "{}", 2);
    return true;
  }
  if (lua_type(w->L, -2) == LUA_TNUMBER) return write_list(w, table, depth + 1);
  return write_object(w, table, depth + 1);
}

/* The table's metatable is on the top. */
static bool write_marked_table(lmm_writer *w, int table, int depth) {
  lua_State *L = w->L;
  bool is_array = lua_topointer(L, -1) == w->array_type;
  if (!is_array) {
    if (!lua_isnil(L, w->base + LMM_WRITER_HOOKS)) {
      lua_pushvalue(L, -1);
      lua_rawget(L, w->base + LMM_WRITER_HOOKS);
      if (!lua_isnil(L, -1)) return write_hooked(w, table, depth);
      lua_pop(L, 1);
    }
    lua_pushliteral(L, "__pairs");
    lua_rawget(L, -2);
    if (!lua_isnil(L, -1)) return fail(w, "", " has a metamethod __pairs, which is not called: pass a plain table");
    lua_pop(L, 1);
    is_array = pop_mark(w) == LMM_MARK_ARRAY;
  }
  lua_settop(L, table);
  return write_plain_table(w, table, is_array, depth);
}

static bool write_table(lmm_writer *w, int depth) {
  int table = lua_gettop(w->L);
  if (depth > MAX_DEPTH) return fail_depth(w);
  lmm_check_stack(w->L, 16, TOO_DEEP);
  bool is_written = lua_getmetatable(w->L, table) ? write_marked_table(w, table, depth)
                                                  : write_plain_table(w, table, false, depth);
  if (is_written) lua_settop(w->L, table);
  return is_written;
}

bool lmm_writer_value(lmm_writer *w, int depth) {
  switch (lua_type(w->L, -1)) {
  case LUA_TSTRING: return lmm_writer_text(w, -1, "");
  case LUA_TNUMBER: return write_number(w);
  case LUA_TTABLE: return write_table(w, depth);
  case LUA_TUSERDATA:
  case LUA_TLIGHTUSERDATA: return write_userdata(w);
  case LUA_TBOOLEAN:
    if (lua_toboolean(w->L, -1))
      ADD(w, "true");
    else
      ADD(w, "false");
    return true;
  default: return fail_type(w);
  }
}

