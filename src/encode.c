/* encode.c: Lua values come in; JSON goes out, as a request body (write, embed, name, known, concat,
 * body:with) or as a string (encode). */
#include <string.h>

#include "binding.h"

#define LMM_WRITER "lmm.writer"
#define KEPT ((size_t)128 * 1024) /* bytes of a buffer that is kept for the next value */

/* Upvalues of each function. The writers that are not in use lie in SHARED, as many as were at work at once, one within
 * the other by a hook; where something raises one is lost, and another is made. */
#define SHARED lua_upvalueindex(1)
#define ALL_MARKS lua_upvalueindex(2)

static int writer_free(lua_State *L) {
  lmm_writer *w = luaL_checkudata(L, 1, LMM_WRITER);
  lmm_buf_free(&w->text);
  lmm_buf_free(&w->inserts);
  w->L = NULL;
  return 0;
}

static lmm_writer *new_writer(lua_State *L) {
  lmm_writer *w = lua_newuserdata(L, sizeof *w);
  memset(w, 0, sizeof *w);
  w->text = w->inserts = LMM_BUF(SIZE_MAX / 4);
  luaL_setmetatable(L, LMM_WRITER);
  luaL_getmetatable(L, LMM_ARRAY);
  luaL_getmetatable(L, LMM_BODY);
  w->array_type = lua_topointer(L, -2);
  w->body_type = lua_topointer(L, -1);
  lua_pop(L, 2);
  return w;
}

/* Takes a writer, and lays what it needs on the stack. `options` is the place of the caller's, or 0. */
static lmm_writer *begin(lua_State *L, int options) {
  lmm_check_stack(L, 24, "a request");
  int base = lua_gettop(L);
  int count = (int)lua_rawlen(L, SHARED);
  lmm_writer *w;
  if (count == 0) {
    w = new_writer(L);
  } else {
    lua_rawgeti(L, SHARED, count);
    w = lua_touserdata(L, -1);
    if (w->L == NULL) luaL_error(L, "the Lua state is being closed");
    lua_pushnil(L);
    lua_rawseti(L, SHARED, count);
  }
  w->replaces = false;
  if (options != 0 && !lua_isnil(L, options)) {
    lua_getfield(L, options, "replace");
    w->replaces = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
    lua_getfield(L, options, "hooks");
    luaL_argcheck(L, lua_isnil(L, -1) || lua_istable(L, -1), options, "hooks: a table expected");
  } else {
    lua_pushnil(L);
  }
  lua_pushvalue(L, ALL_MARKS);
  lua_settop(L, base + LMM_WRITER_PLACES);
  w->L = L;
  w->base = base;
  w->text.length = w->inserts.length = 0;
  w->anchored = 0;
  return w;
}

/* The writer serves again. */
static void end(lmm_writer *w) {
  if (w->text.capacity > KEPT) lmm_buf_free(&w->text);
  if (w->inserts.capacity > KEPT) lmm_buf_free(&w->inserts);
  lua_pushvalue(w->L, w->base + LMM_WRITER_SELF);
  lua_rawseti(w->L, SHARED, (int)lua_rawlen(w->L, SHARED) + 1);
}

static int push_failure(lmm_writer *w, int options) {
  lua_State *L = w->L;
  const char *path = lua_tostring(L, w->base + LMM_WRITER_PATH), *wrong = lua_tostring(L, w->base + LMM_WRITER_WRONG);
  if (*path == '.') path++;
  if (*path == '\0' && *wrong != '[') {
    path = "the value";
    if (options != 0 && !lua_isnil(L, options)) {
      lua_getfield(L, options, "name");
      if (lua_isstring(L, -1)) path = lua_tostring(L, -1);
    }
  }
  lua_pushnil(L);
  lua_pushfstring(L, "%s%s%s", w->before, path, wrong);
  end(w);
  return 2;
}

static void push_body(lmm_writer *w) {
  lua_State *L = w->L;
  (void)lmm_push_body(L, w->text.length > 0 ? w->text.data : "", w->text.length, (const void *)w->inserts.data,
                      w->inserts.length / sizeof(lmm_insert), false);
  if (w->anchored == 0) return;
  lua_pushvalue(L, w->base + LMM_WRITER_ANCHORS);
  lmm_set_anchor(L, -2);
}

static lmm_writer *check_arguments(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) luaL_checktype(L, 2, LUA_TTABLE);
  return begin(L, 2);
}

/* write(value, options?) -> body | nil, message
 * Of the options, `hooks` maps metatables to functions: what one gives for a table is written in its place. `name` is
 * what a message calls the value (the value). With `replace`, text that is not UTF-8 is not refused: a broken character
 * becomes U+FFFD. A body that stands in the value is written as it is. */
static int core_write(lua_State *L) {
  lmm_writer *w = check_arguments(L);
  lua_pushvalue(L, 1);
  if (!lmm_writer_value(w, 1)) return push_failure(w, 2);
  push_body(w);
  end(w);
  return 1;
}

/* All that a body gives, as a string, or nil and a message. */
static int push_all(lua_State *L, lmm_body *body) {
  uint64_t size = lmm_body_size(body);
  if (size > SIZE_MAX / 4) return luaL_error(L, "not enough memory");
  size_t capacity = (size_t)size + LMM_SOURCE_MIN, length = 0;
  char *out = lua_newuserdata(L, capacity);
  lmm_error error = {LMM_OK, ""};
  ptrdiff_t count;
  while ((count = body->source.read(&body->source, out + length, capacity - length, &error)) > 0)
    length += (size_t)count;
  if (count < 0) return lmm_push_error(L, &error);
  lua_pushlstring(L, out, length);
  return 1;
}

/* encode(value, options?) -> string | nil, message */
static int core_encode(lua_State *L) {
  lmm_writer *w = check_arguments(L);
  lua_pushvalue(L, 1);
  if (!lmm_writer_value(w, 1)) return push_failure(w, 2);
  if (w->inserts.length == 0) {
    lmm_push_buf(L, &w->text);
    end(w);
    return 1;
  }
  push_body(w);
  end(w);
  return push_all(L, lua_touserdata(L, -1));
}

static void add_insert(lmm_writer *w, size_t at, int kind, const lmm_media *media, lmm_tap *tap) {
  lmm_insert insert = {at, kind, media, tap};
  lmm_writer_check(w, lmm_buf_add(&w->inserts, &insert, sizeof insert));
}

/* Keeps what stands at `index` for as long as the body is there. */
static void anchor(lmm_writer *w, int index) {
  lua_pushvalue(w->L, index);
  lmm_writer_anchor(w);
}

static lmm_tap *check_tap(lua_State *L, int index) {
  lmm_tap *tap = lmm_to_shared(L, index, LMM_TAP_KEY, LMM_TAP_ABI);
  luaL_argcheck(L, tap != NULL, index, "a digest of this build's lmm.digest expected");
  return tap;
}

/* Adds a place for the media on the top, which it pops, at the end of the text. */
static void add_media(lua_State *L, lmm_writer *w, int kind, lmm_tap *tap) {
  const lmm_media *media = luaL_checkudata(L, -1, LMM_MEDIA);
  luaL_argcheck(L, media->size > 0, 2, "closed media");
  add_insert(w, w->text.length, kind, media, tap);
  lmm_writer_anchor(w);
}

/* embed(prefix, media or { media, ... }, tap?) -> a body: a JSON string of the prefix and the media in base64, with
 * commas between, whose bytes the tap sees as those of one media */
static int core_embed(lua_State *L) {
  size_t count, bad;
  const char *prefix = luaL_checklstring(L, 1, &count);
  bool is_list = lua_istable(L, 2);
  lua_settop(L, 3);
  lmm_tap *tap = lua_isnil(L, 3) ? NULL : check_tap(L, 3);
  lmm_writer *w = begin(L, 0);
  int code = lmm_literal_text(&w->text, prefix, count, &bad);
  lmm_writer_check(w, code);
  luaL_argcheck(L, code == LMM_OK, 1, "not UTF-8");
  w->text.length--; /* the quote, which comes behind the media */
  for (int i = 1; is_list || i == 1; i++) {
    if (is_list) lua_rawgeti(L, 2, i); else lua_pushvalue(L, 2);
    if (is_list && lua_isnil(L, -1)) {
      lua_pop(L, 1);
      break;
    }
    if (i > 1) lmm_writer_char(w, ',');
    add_media(L, w, LMM_INSERT_BASE64, tap);
  }
  lmm_writer_char(w, '"');
  if (tap != NULL) anchor(w, 3);
  push_body(w);
  end(w);
  return 1;
}

/* name(tap) -> a body: a JSON string of the name that the tap has for the media that it sees before */
static int core_name(lua_State *L) {
  lmm_tap *tap = check_tap(L, 1);
  lua_settop(L, 1);
  lmm_writer *w = begin(L, 0);
  lmm_writer_char(w, '"');
  lmm_writer_char(w, '"');
  add_insert(w, 1, LMM_INSERT_NAME, NULL, tap);
  anchor(w, 1);
  push_body(w);
  end(w);
  return 1;
}

/* known(value) -> a body: the value, which the server may have already, see body:brief; none inside of another */
static int core_known(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  lmm_writer *w = begin(L, 0);
  add_insert(w, 0, LMM_INSERT_KNOWN, NULL, NULL);
  lua_pushvalue(L, 1);
  if (!lmm_writer_value(w, 1)) return push_failure(w, 0);
  const lmm_insert *inserts = (const void *)w->inserts.data;
  for (size_t i = 1; i < w->inserts.length / sizeof *inserts; i++)
    luaL_argcheck(L, inserts[i].kind != LMM_INSERT_KNOWN, 1, "a known value stands in it");
  add_insert(w, w->text.length, LMM_INSERT_KNOWN_END, NULL, NULL);
  push_body(w);
  end(w);
  return 1;
}

/* concat{ string or media, ... } -> a body of these one after the other, as they are */
static int core_concat(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lmm_writer *w = begin(L, 0);
  for (int i = 1;; i++) {
    lua_rawgeti(L, 1, i);
    if (lua_isnil(L, -1)) break;
    if (lua_type(L, -1) == LUA_TSTRING) {
      size_t count;
      const char *text = lua_tolstring(L, -1, &count);
      lmm_writer_check(w, lmm_buf_add(&w->text, text, count));
      lua_pop(L, 1);
    } else {
      add_media(L, w, LMM_INSERT_RAW, NULL);
    }
  }
  lua_pop(L, 1);
  push_body(w);
  end(w);
  return 1;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static size_t skip_space(const lmm_body *body, size_t at) {
  while (at < body->length && is_space(body->text[at])) at++;
  return at;
}

/* Where the text ends without white space, and in `}`. */
static size_t closing_brace(const lmm_body *body) {
  size_t after = body->length;
  while (after > 0 && is_space(body->text[after - 1])) after--;
  return after > 0 && body->text[after - 1] == '}' ? after - 1 : body->length;
}

/* body:with(name, value, is_last?) -> a body with this field before or behind those that the object has | nil, message */
static int body_with(lua_State *L) {
  const lmm_body *body = lmm_check_body(L, 1);
  luaL_checktype(L, 2, LUA_TSTRING);
  luaL_checkany(L, 3);
  bool is_last = lua_toboolean(L, 4) != 0;
  size_t brace = skip_space(body, 0), close = closing_brace(body);
  luaL_argcheck(L, brace < close && close < body->length && body->text[brace] == '{', 1, "an object expected");
  bool is_empty = skip_space(body, brace + 1) == close;
  lua_settop(L, 3);
  lmm_writer *w = begin(L, 0);
  lmm_writer_char(w, '{');
  if (is_last) {
    lmm_writer_splice(w, 1, brace + 1);
    w->text.length -= body->length - close;
    if (!is_empty) lmm_writer_char(w, ',');
  }
  if (!lmm_writer_text(w, 2, "a field name in ")) return push_failure(w, 0);
  lmm_writer_char(w, ':');
  lua_pushvalue(L, 3);
  if (!lmm_writer_value(w, 2)) {
    (void)lmm_writer_fail_in_field(w, 2);
    return push_failure(w, 0);
  }
  if (is_last) {
    lmm_writer_char(w, '}');
  } else {
    if (!is_empty) lmm_writer_char(w, ',');
    lmm_writer_splice(w, 1, brace + 1);
  }
  push_body(w);
  end(w);
  return 1;
}

/* mark(value, meaning): what a userdata, or an empty table with this metatable, of another library is written as:
 * "null", "array" or "object" */
static int core_mark(lua_State *L) {
  static const char *const meanings[] = {"null", "array", "object", NULL};
  luaL_argcheck(L, lua_istable(L, 1) || lua_isuserdata(L, 1), 1, "a userdata or a metatable expected");
  int mark = LMM_MARK_NULL + luaL_checkoption(L, 2, NULL, meanings);
  lua_pushvalue(L, 1);
  lua_pushinteger(L, mark);
  lua_rawset(L, ALL_MARKS);
  return 0;
}

/* Takes the two upvalues from the top for a function, which goes to the table below them. */
static void set_function(lua_State *L, int table, const char *name, lua_CFunction function) {
  lua_pushvalue(L, -2);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, function, 2);
  lua_setfield(L, table, name);
}

void lmm_write_open(lua_State *L) {
  int module = lua_gettop(L);
  luaL_newmetatable(L, LMM_WRITER);
  lua_pushcfunction(L, writer_free);
  lua_setfield(L, -2, "__gc");
  luaL_getmetatable(L, LMM_BODY);
  lua_getfield(L, -1, "__index");
  int methods = lua_gettop(L);
  lua_newtable(L);
  lua_newtable(L);
  set_function(L, module, "write", core_write);
  set_function(L, module, "encode", core_encode);
  set_function(L, module, "embed", core_embed);
  set_function(L, module, "name", core_name);
  set_function(L, module, "known", core_known);
  set_function(L, module, "concat", core_concat);
  set_function(L, module, "mark", core_mark);
  set_function(L, methods, "with", body_with);
  lua_settop(L, module);
}
