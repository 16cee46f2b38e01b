/* decode.c: a JSON text comes in, the Lua value that it stands for goes out. All memory is Lua's, so that a raise on
 * the way leaves nothing behind. */
#include "binding.h"

#define LEVELS 1024       /* on the C stack; deeper limits take a block of Lua's */
#define SHORT_STRING 1024 /* likewise */

typedef struct builder {
  lua_State *L;
  lmm_json json;
  const lmm_decoding *how;
  int scratch; /* the stack index of a block for long strings with escapes, or of nil */
  size_t scratch_size;
  bool has_halves;
  char short_string[SHORT_STRING];
} builder;

static void push_string(builder *self) {
  const lmm_json *json = &self->json;
  const char *raw = json->text + json->start;
  if (!json->escaped) {
    lua_pushlstring(self->L, raw, json->count);
    return;
  }
  char *out = self->short_string;
  if (json->count > SHORT_STRING) {
    if (json->count > self->scratch_size) {
      (void)lua_newuserdata(self->L, json->count);
      lua_replace(self->L, self->scratch);
      self->scratch_size = json->count;
    }
    out = lua_touserdata(self->L, self->scratch);
  }
  bool halves = false;
  size_t count = lmm_json_unescape(out, raw, json->count, &halves);
  self->has_halves = self->has_halves || halves;
  if (halves && !self->how->halves) count = lmm_json_unescape(out, raw, json->count, NULL);
  lua_pushlstring(self->L, out, count);
}

void lmm_push_number(lua_State *L, const lmm_number *number, bool clean) {
  if (number->is_integer)
    lmm_push_whole(L, number->integer);
  else
    lmm_push_double(L, number->value, clean);
}

void lmm_drop_field(lua_State *L) {
  lua_pushvalue(L, -1);
  lua_rawget(L, -3);
  bool is_new = lua_isnil(L, -1);
  lua_pop(L, 1);
  if (is_new) {
    lua_pop(L, 1);
  } else {
    lua_pushnil(L);
    lua_rawset(L, -3);
  }
}

/* Puts the value on the top of the stack into the table below it, if it is in one. */
static void store(builder *self) {
  const lmm_json *json = &self->json;
  if (json->depth == 0) return;
  size_t level = json->levels[json->depth - 1];
  if (level & 1)
    lua_rawset(self->L, -3);
  else
    lua_rawseti(self->L, -2, (int)(level >> 1));
}

static void store_null(builder *self) {
  const lmm_json *json = &self->json;
  if (!self->how->clean) {
    lua_pushlightuserdata(self->L, NULL);
    store(self);
  } else if (json->depth == 0) {
    lua_pushnil(self->L);
  } else if (json->levels[json->depth - 1] & 1) {
    lmm_drop_field(self->L); /* a name that was there before and is null now */
  }
}

static void mark_list(lua_State *L) {
  lua_pushnil(L);
  if (lua_next(L, -2) != 0) {
    lua_pop(L, 2);
    return;
  }
  luaL_getmetatable(L, LMM_ARRAY);
  lua_setmetatable(L, -2);
}

/* Pushes the table of what has begun. That it grows costs more than most items do, so it has room from the beginning for
 * what nearly every one holds; an empty one needs none. */
static void push_table(builder *self, bool is_object) {
  const lmm_json *json = &self->json;
  char next = '\0';
  if (json->at < json->length) next = json->text[json->at];
  if (is_object)
    lua_createtable(self->L, 0, next == '}' ? 0 : 2);
  else
    lua_createtable(self->L, next == ']' ? 0 : 1, 0);
}

/* Pushes the value that is next in the text; LMM_JSON_END, or a code and then anything on the stack. */
static int build(builder *self) {
  lua_State *L = self->L;
  lmm_json *json = &self->json;
  for (;;) {
    int token = lmm_json_next(json);
    switch (token) {
      case LMM_JSON_OBJECT:
      case LMM_JSON_LIST:
        if (self->how->containers > 0 && json->containers > self->how->containers) return LMM_LIMIT;
        if (!lmm_grow_stack(L, 8)) return LMM_LIMIT;
        push_table(self, token == LMM_JSON_OBJECT);
        break;
      case LMM_JSON_LIST_END:
        mark_list(L);
        store(self);
        break;
      case LMM_JSON_OBJECT_END: store(self); break;
      case LMM_JSON_KEY: push_string(self); break;
      case LMM_JSON_STRING:
        push_string(self);
        store(self);
        break;
      case LMM_JSON_NUMBER:
        lmm_push_number(L, &json->number, self->how->clean);
        store(self);
        break;
      case LMM_JSON_TRUE:
      case LMM_JSON_FALSE:
        lua_pushboolean(L, token == LMM_JSON_TRUE);
        store(self);
        break;
      case LMM_JSON_NULL: store_null(self); break;
      default: return token;
    }
  }
}

/* nil, message, the byte (from 1) where it failed, and in a word why */
static int push_failure(builder *self, int code) {
  lua_State *L = self->L;
  const lmm_json *json = &self->json;
  lmm_error error;
  if (json->failed != LMM_OK)
    lmm_json_explain(json, &error);
  else if (self->how->containers > 0 && json->containers > self->how->containers)
    (void)lmm_fail(&error, code, "the JSON holds more than %zu lists and objects", self->how->containers);
  else
    (void)lmm_fail(&error, code, "the JSON is nested more deeply than Lua's stack allows");
  lua_settop(L, self->scratch - 1);
  lua_pushnil(L);
  lua_pushstring(L, error.message);
  lua_pushnumber(L, (lua_Number)(json->failed != LMM_OK ? json->fault + 1 : json->at));
  lua_pushstring(L, code == LMM_CUT ? "cut" : code == LMM_LIMIT ? "limit" : "syntax");
  return 4;
}

int lmm_decode(struct lua_State *L, const char *text, size_t length, lmm_decoding *how) {
  builder self;
  size_t here[LEVELS], *levels = here;
  lmm_check_stack(L, 16, "a JSON text");
  self.L = L;
  self.how = how;
  self.has_halves = false;
  self.scratch_size = 0;
  lua_pushnil(L);
  self.scratch = lua_gettop(L);
  if (how->depth > LEVELS) levels = lua_newuserdata(L, how->depth * sizeof *levels);
  lmm_json_init(&self.json, levels, how->depth, how->lenient);
  lmm_json_feed(&self.json, text, length, true);
  int code = build(&self);
  how->has_halves = self.has_halves;
  how->used = self.json.containers;
  if (code != LMM_JSON_END) return push_failure(&self, code);
  lua_replace(L, self.scratch);
  lua_settop(L, self.scratch);
  return 1;
}

bool lmm_flag_option(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  bool value = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return value;
}

size_t lmm_count_option(lua_State *L, int index, const char *name, size_t otherwise, size_t max) {
  lua_getfield(L, index, name);
  bool is_given = !lua_isnil(L, -1);
  lua_Number value = luaL_optnumber(L, -1, (lua_Number)otherwise);
  lua_pop(L, 1);
  if (!is_given) return otherwise;
  if (!(value >= 1)) luaL_error(L, "%s: a positive number expected", name);
  return value >= (lua_Number)max ? max : (size_t)value;
}

/* decode(text, opts?) -> value | nil, message, the byte where it failed, why: "syntax", "cut" (what is there may be the
 * beginning of a JSON text) or "limit"
 *
 * opts.depth       how deep lists and objects may be nested (1000)
 * opts.containers  how many of them there may be, at most 1,000,000 (no limit)
 * opts.clean       nulls are left out, and whole numbers are integers however they are spelled
 * opts.lenient     NaN, Infinity and -Infinity are numbers */
static int core_decode(lua_State *L) {
  size_t length;
  lmm_decoding how = {.depth = LMM_DEPTH};
  const char *text = luaL_checklstring(L, 1, &length);
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    how.depth = lmm_count_option(L, 2, "depth", LMM_DEPTH, LMM_MAX_DEPTH);
    how.containers = lmm_count_option(L, 2, "containers", 0, LMM_MAX_DEPTH);
    how.clean = lmm_flag_option(L, 2, "clean");
    how.lenient = lmm_flag_option(L, 2, "lenient");
  }
  return lmm_decode(L, text, length, &how);
}

int lmm_decode_open(struct lua_State *L) {
  lua_pushcfunction(L, core_decode);
  return 1;
}

int lmm_array_open(struct lua_State *L) {
  luaL_newmetatable(L, LMM_ARRAY);
  lua_pushliteral(L, LMM_ARRAY);
  lua_setfield(L, -2, "__name");
  return 1;
}

int lmm_null_open(struct lua_State *L) {
  lua_pushlightuserdata(L, NULL);
  return 1;
}
