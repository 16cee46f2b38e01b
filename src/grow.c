/* grow.c: a JSON text comes in, in pieces; the Lua value that it stands for grows with each of them. At the end it is
 * what decode.c makes of the whole text. A fence of Markdown around the JSON is passed over.
 *
 * Lists and objects are in the value from their first byte on, and names, numbers and words once they are whole. A
 * string that is still coming is given as far as it came, but is copied only when it is a quarter longer than when it
 * was copied last: all copies of it together take at most five times its length, so that the time is linear in the
 * text. */
#include "binding.h"

#define MOST_BYTES (SIZE_MAX / 4)
#define DEFAULT_BYTES ((size_t)64 * 1024 * 1024)

typedef struct grower {
  lmm_buf text;    /* all that came */
  lmm_buf scratch; /* for a string with escapes */
  lmm_fence fence;
  lmm_json json;
  lmm_decoding how;
  size_t shown;       /* of the string that is still coming: how many of its bytes were looked at when it was copied */
  bool has_key;       /* a name was read, and its value was not */
  bool is_whole;      /* the value is there to its end */
  bool is_busy;       /* Lua values are being made; ever after, where memory ran out meanwhile */
  int failed;
  size_t path_length; /* names on the way to the list whose items are counted */
  size_t on_path;     /* how many of the lists and objects that are open now, from the outermost, lie on that way */
  size_t finished;    /* items of that list that are whole */
  size_t levels[];
} grower;

/* In the table that is anchored in the reader. The lists and objects that are open stand behind these, by their depth. */
enum { ROOT = 1, KEY, LIST, PATH, OPEN = PATH };

/* On the Lua stack while values are made: that table, the innermost list or object, and the name read last in it. */
enum { SELF = 1, PIECE, ANCHOR, INNERMOST, NAME, PLACES = NAME };

/* ---- one value --------------------------------------------------------------------------------------------------- */

static size_t innermost_level(const grower *self) { return self->json.levels[self->json.depth - 1]; }

/* Puts the value on the top in its place: the root, under the name, or at this number of the list. */
static void store(lua_State *L, const grower *self, size_t depth, size_t number) {
  if (depth == 0) {
    lua_rawseti(L, ANCHOR, ROOT);
  } else if (self->json.levels[depth - 1] & 1) {
    lua_pushvalue(L, NAME);
    lua_insert(L, -2);
    lua_rawset(L, INNERMOST);
  } else {
    lua_rawseti(L, INNERMOST, (int)number);
  }
}

/* The same for a value that was just read, which its list has counted. */
static void store_read(lua_State *L, const grower *self, size_t depth) {
  store(L, self, depth, depth > 0 ? self->json.levels[depth - 1] >> 1 : 0);
}

static void store_null(lua_State *L, const grower *self) {
  size_t depth = self->json.depth;
  if (!self->how.clean) {
    lua_pushlightuserdata(L, NULL);
    store_read(L, self, depth);
  } else if (depth > 0 && (innermost_level(self) & 1)) {
    lua_pushvalue(L, INNERMOST);
    lua_pushvalue(L, NAME);
    lmm_drop_field(L);
    lua_pop(L, 1);
  }
}

static bool ends_with_high_half(const char *text, size_t count) {
  return count >= 3 && text[count - 3] == '\xED' && (text[count - 2] & 0xF0) == 0xA0;
}

/* Pushes what a string's bytes stand for; with `is_begun`, as far as no more bytes can change it. */
static void push_string(lua_State *L, grower *self, size_t start, size_t count, bool is_begun) {
  const char *raw = self->text.data + start;
  if (self->json.escaped) {
    if (count > self->scratch.capacity && lmm_buf_reserve(&self->scratch, count) != LMM_OK)
      luaL_error(L, "not enough memory");
    char *out = self->scratch.data;
    bool halves = false;
    size_t length = lmm_json_unescape(out, raw, count, &halves);
    bool waits = is_begun && halves && ends_with_high_half(out, length) && count >= 6 && raw[count - 6] == '\\';
    if (halves) length = lmm_json_unescape(out, raw, waits ? count - 6 : count, NULL);
    raw = out;
    count = length;
  }
  if (is_begun) count = lmm_utf8_whole(raw, count);
  lua_pushlstring(L, raw, count);
}

/* The string that is still coming, where the text ends within one that is no name; whether it is shown anew. */
static bool show_begun(lua_State *L, grower *self) {
  const lmm_json *json = &self->json;
  bool in_object = json->depth > 0 && (innermost_level(self) & 1) != 0;
  bool is_string = json->at < json->length && json->text[json->at] == '"' && json->scanned > json->at;
  if (!is_string || self->is_whole || (in_object && !self->has_key)) return false;
  size_t start = json->at + 1, count = json->scanned - start;
  if (count <= self->shown + self->shown / 4) return false;
  self->shown = count;
  push_string(L, self, start, count, true);
  store(L, self, json->depth, json->depth > 0 ? (innermost_level(self) >> 1) + 1 : 0);
  return true;
}

/* ---- lists and objects ------------------------------------------------------------------------------------------- */

/* Whether the list or object that was just opened lies on the path. */
static bool continues_path(lua_State *L, const grower *self) {
  size_t outside = self->json.depth - 1;
  if (self->on_path != outside || outside > self->path_length) return false;
  if (outside == 0) return true;
  if (!(self->json.levels[outside - 1] & 1)) return false;
  lua_rawgeti(L, ANCHOR, PATH);
  lua_rawgeti(L, -1, (int)outside);
  bool same = lua_rawequal(L, -1, NAME) != 0;
  lua_pop(L, 2);
  return same;
}

/* Whether the innermost list is the one whose items are counted. */
static bool is_in_list(const grower *self) {
  size_t depth = self->json.depth;
  return depth == self->path_length + 1 && self->on_path == depth && !(innermost_level(self) & 1);
}

static void open_level(lua_State *L, grower *self, bool is_list) {
  size_t depth = self->json.depth;
  lua_createtable(L, 0, 0);
  if (is_list) luaL_setmetatable(L, LMM_ARRAY);
  lua_pushvalue(L, -1);
  store_read(L, self, depth - 1);
  lua_pushvalue(L, -1);
  lua_rawseti(L, ANCHOR, OPEN + (int)depth);
  if (continues_path(L, self)) self->on_path = depth;
  if (is_in_list(self)) {
    self->finished = 0;
    lua_pushvalue(L, -1);
    lua_rawseti(L, ANCHOR, LIST);
  }
  lua_replace(L, INNERMOST);
}

/* Only a list that stays empty is marked as one. */
static void unmark_list(lua_State *L) {
  lua_pushnil(L);
  if (lua_next(L, INNERMOST) == 0) return;
  lua_pop(L, 2);
  lua_pushnil(L);
  lua_setmetatable(L, INNERMOST);
}

static void close_level(lua_State *L, grower *self, bool is_list) {
  size_t depth = self->json.depth;
  if (is_list) unmark_list(L);
  if (self->on_path > depth) self->on_path = depth;
  if (depth > 0)
    lua_rawgeti(L, ANCHOR, OPEN + (int)depth);
  else
    lua_pushnil(L);
  lua_replace(L, INNERMOST);
}

/* ---- all of the text --------------------------------------------------------------------------------------------- */

static int next_token(grower *self) {
  lmm_json *json = &self->json;
  lmm_fence *fence = &self->fence;
  if (!lmm_fence_open(fence, json->text, json->length, json->is_last)) return LMM_JSON_MORE;
  if (json->at < fence->begin) json->at = fence->begin;
  if (self->is_whole && fence->is_fenced) {
    if (lmm_fence_close(fence, json->text, json->at, json->length, json->is_last)) return LMM_JSON_MORE;
    json->at = fence->at;
  }
  return lmm_json_next(json);
}

/* What a token adds to the value; false where that stays as it was. */
static bool add_token(lua_State *L, grower *self, int token) {
  lmm_json *json = &self->json;
  self->shown = 0;
  self->has_key = token == LMM_JSON_KEY;
  switch (token) {
    case LMM_JSON_KEY:
      push_string(L, self, json->start, json->count, false);
      lua_replace(L, NAME);
      return false;
    case LMM_JSON_OBJECT:
    case LMM_JSON_LIST: open_level(L, self, token == LMM_JSON_LIST); return true;
    case LMM_JSON_OBJECT_END:
    case LMM_JSON_LIST_END: close_level(L, self, token == LMM_JSON_LIST_END); break;
    case LMM_JSON_STRING:
      push_string(L, self, json->start, json->count, false);
      store_read(L, self, json->depth);
      break;
    case LMM_JSON_NUMBER:
      lmm_push_number(L, &json->number, self->how.clean);
      store_read(L, self, json->depth);
      break;
    case LMM_JSON_NULL: store_null(L, self); break;
    default:
      lua_pushboolean(L, token == LMM_JSON_TRUE);
      store_read(L, self, json->depth);
  }
  self->is_whole = json->depth == 0;
  if (is_in_list(self)) self->finished = innermost_level(self) >> 1;
  return token != LMM_JSON_OBJECT_END && token != LMM_JSON_LIST_END;
}

/* Whether the value has changed. */
static bool add_tokens(lua_State *L, grower *self) {
  bool changed = false;
  for (;;) {
    int token = next_token(self);
    if (token < 0) self->failed = token;
    if (token <= LMM_JSON_MORE || token == LMM_JSON_END) break;
    if (self->json.containers > self->how.containers) {
      self->failed = LMM_LIMIT;
      break;
    }
    bool added = add_token(L, self, token);
    changed = changed || added;
  }
  if (self->failed != LMM_OK) return changed;
  return show_begun(L, self) || changed;
}

static grower *check_grower(lua_State *L) { return luaL_checkudata(L, 1, LMM_GROWER); }

/* Looks at what has come, and remembers in the anchored table where it stopped. */
static int grow_on(lua_State *L, grower *self, bool is_last) {
  lua_settop(L, PIECE);
  lmm_push_anchor(L, SELF);
  if (self->json.depth > 0)
    lua_rawgeti(L, ANCHOR, OPEN + (int)self->json.depth);
  else
    lua_pushnil(L);
  lua_rawgeti(L, ANCHOR, KEY);
  self->is_busy = true;
  lmm_json_feed(&self->json, self->text.length > 0 ? self->text.data : "", self->text.length, is_last);
  bool changed = add_tokens(L, self);
  lua_pushvalue(L, NAME);
  lua_rawseti(L, ANCHOR, KEY);
  self->is_busy = false;
  lua_pushboolean(L, changed);
  return 1;
}

/* For what changes it. While values are made a finalizer may run, and it may call anything. */
static grower *check_changeable(lua_State *L) {
  grower *self = check_grower(L);
  if (self->is_busy) luaL_error(L, "the reader is in use");
  return self;
}

/* grower:feed(piece) -> whether the value has changed, which is told of a failure, too */
static int grow_feed(lua_State *L) {
  grower *self = check_changeable(L);
  size_t count;
  const char *piece = luaL_checklstring(L, PIECE, &count);
  if (self->failed != LMM_OK || self->json.is_last || count == 0) {
    lua_pushboolean(L, false);
    return 1;
  }
  int code = lmm_buf_add(&self->text, piece, count);
  if (code == LMM_NOMEM) return luaL_error(L, "not enough memory");
  if (code != LMM_OK) {
    self->failed = code;
    lua_pushboolean(L, false);
    return 1;
  }
  return grow_on(L, self, false);
}

/* grower:finish() -> whether the value has changed; once the text has ended */
static int grow_finish(lua_State *L) {
  grower *self = check_changeable(L);
  if (self->failed == LMM_OK && !self->json.is_last) return grow_on(L, self, true);
  lua_pushboolean(L, false);
  return 1;
}

static int push_anchored(lua_State *L, int place) {
  (void)check_grower(L);
  lmm_push_anchor(L, SELF);
  lua_rawgeti(L, -1, place);
  return 1;
}

/* grower:value() -> the value as far as it came, the same table each time; nil before anything did */
static int grow_value(lua_State *L) { return push_anchored(L, ROOT); }

/* grower:list() -> the list at opts.path, and how many of its items are whole | nil, 0 where there is none so far */
static int grow_list(lua_State *L) {
  (void)push_anchored(L, LIST);
  lmm_push_whole(L, check_grower(L)->finished);
  return 2;
}

/* grower:failure() -> nil | message, the byte where it failed, why: as decode gives them */
static int grow_failure(lua_State *L) {
  const grower *self = check_grower(L);
  lmm_error error;
  if (self->failed == LMM_OK) return 0;
  if (self->json.failed != LMM_OK)
    lmm_json_explain(&self->json, &error);
  else if (self->json.containers > self->how.containers)
    (void)lmm_fail(&error, LMM_LIMIT, "the JSON holds more than %zu lists and objects", self->how.containers);
  else
    (void)lmm_fail(&error, LMM_LIMIT, "the JSON is longer than %zu bytes", self->text.max);
  lua_pushstring(L, error.message);
  lua_pushnumber(L, (lua_Number)(self->json.failed != LMM_OK ? self->json.fault + 1 : self->json.at));
  lua_pushstring(L, self->failed == LMM_CUT ? "cut" : self->failed == LMM_LIMIT ? "limit" : "syntax");
  return 3;
}

/* grow(opts?) -> grower, which makes a value of a JSON text that comes in pieces
 *
 * opts.depth, clean, lenient  as for decode
 * opts.bytes                  how long the text may be (64 MiB); a 32nd of it is how many lists and objects it may hold
 * opts.path                   a list of names that lead to the list whose items are counted: none for the outermost */
static int grow_new(lua_State *L) {
  size_t depth = LMM_DEPTH, bytes = DEFAULT_BYTES;
  lmm_decoding how = {.clean = false};
  lua_settop(L, 1);
  if (!lua_isnil(L, 1)) {
    luaL_checktype(L, 1, LUA_TTABLE);
    depth = lmm_count_option(L, 1, "depth", LMM_DEPTH, LMM_MAX_DEPTH);
    bytes = lmm_count_option(L, 1, "bytes", DEFAULT_BYTES, MOST_BYTES);
    how.clean = lmm_flag_option(L, 1, "clean");
    how.lenient = lmm_flag_option(L, 1, "lenient");
    lua_getfield(L, 1, "path");
    if (!lua_isnil(L, -1) && !lua_istable(L, -1)) return luaL_error(L, "path: a list of names expected");
  }
  lua_newtable(L); /* anchored below */
  grower *self = lmm_new_userdata(L, sizeof *self + depth * sizeof self->levels[0]);
  memset(self, 0, sizeof *self);
  self->text = self->scratch = LMM_BUF(bytes);
  self->how = how;
  self->how.containers = bytes / LMM_CONTAINER_BYTES + 1;
  lmm_json_init(&self->json, self->levels, depth, how.lenient);
  luaL_setmetatable(L, LMM_GROWER);
  lua_insert(L, -2);
  if (lua_istable(L, 2)) {
    self->path_length = lua_rawlen(L, 2);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, PATH);
  }
  lmm_set_anchor(L, -2);
  return 1;
}

static int grow_close(lua_State *L) {
  grower *self = check_grower(L);
  lmm_buf_free(&self->text);
  lmm_buf_free(&self->scratch);
  self->failed = LMM_OK;
  lmm_json_init(&self->json, self->levels, self->json.max_depth, self->json.lenient);
  self->json.is_last = true; /* nothing is read any more */
  return 0;
}

int lmm_grow_open(struct lua_State *L) {
  static const luaL_Reg methods[] = {{"feed", grow_feed}, {"finish", grow_finish},   {"value", grow_value},
                                     {"list", grow_list}, {"failure", grow_failure}, {NULL, NULL}};
  lmm_new_type(L, LMM_GROWER, methods, grow_close);
  lua_pop(L, 1);
  lua_pushcfunction(L, grow_new);
  return 1;
}
