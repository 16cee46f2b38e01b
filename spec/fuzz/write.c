/* write.c: Lua values made of the input, written by core.write and core.encode, against the input itself: the text is
 * read again along it, step by step. What JSON cannot hold must be refused, and nothing else.
 *
 * Each value is a byte that says its kind, and then: a string's length and bytes; eight bytes of an integer or a
 * double; a list's flags (1: it is filled from its end; 2: it has a hole), how many values a list or an object has, and
 * these, an object's each with the length and the bytes of its name; the length and the bytes of a media or of a text
 * that is spliced. */
#include <lauxlib.h>
#include <lua.h>
#include <math.h>

#include "fuzz.h"

#define DEEPEST 60
#define MOST 7

enum { TEXT, INTEGER, DOUBLE, TRUE, FALSE, NONE, LIST, OBJECT, EMPTY, BODY, EMBEDDED, KINDS };

/* ---- slow references --------------------------------------------------------------------------------------------- */

/* The length of the character at `text`, by the value that its bits have; 0 where it is none. */
static size_t character(const uint8_t *text, size_t left) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (*text < 0x80) return 1;
  size_t length = *text >> 5 == 6 ? 2 : *text >> 4 == 14 ? 3 : *text >> 3 == 30 ? 4 : 0;
  if (length == 0 || length > left) return 0;
  uint32_t point = *text & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; i++) {
    if (text[i] >> 6 != 2) return 0;
    point = point << 6 | (text[i] & 0x3F);
  }
  return point < least[length] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000) ? 0 : length;
}

static bool is_utf8(const uint8_t *text, size_t count) {
  for (size_t at = 0, length; at < count; at += length)
    if ((length = character(text + at, count - at)) == 0) return false;
  return true;
}

static void add_text(fuzz_text *out, const uint8_t *text, size_t count) {
  static const char *const named[] = {"\bb", "\ff", "\nn", "\rr", "\tt", "\"\"", "\\\\"};
  for (size_t i = 0; i < count; i++) {
    char escape[8] = "", byte = (char)text[i];
    for (size_t n = 0; n < sizeof named / sizeof *named; n++)
      if (byte == named[n][0]) (void)snprintf(escape, sizeof escape, "\\%c", named[n][1]);
    if (*escape == '\0' && text[i] < 32) (void)snprintf(escape, sizeof escape, "\\u%04x", text[i]);
    fuzz_add(out, *escape != '\0' ? escape : &byte, *escape != '\0' ? strlen(escape) : 1);
  }
}

/* ---- the input as a value: it goes to the Lua stack, or, where there is a text, that is compared with it --------- */

typedef struct fuzz_walk {
  fuzz_input input;
  lua_State *L;
  bool refused; /* JSON cannot hold it */
  const char *at, *end; /* of the text; NULL while the value is made */
} fuzz_walk;

static void expect(fuzz_walk *walk, const char *text, size_t count) {
  if (walk->at == NULL) return;
  CHECK((size_t)(walk->end - walk->at) >= count && (count == 0 || memcmp(walk->at, text, count) == 0));
  walk->at += count;
}

static void expect_string(fuzz_walk *walk, const char *prefix, const uint8_t *text, size_t count) {
  fuzz_text out = {NULL, 0, 0};
  if (walk->at == NULL) return;
  fuzz_add(&out, prefix, strlen(prefix));
  add_text(&out, text, count);
  fuzz_add(&out, "\"", 1);
  expect(walk, out.data, out.length);
  free(out.data);
}

/* The text of a double reads back as it, and no digits less do. */
static void expect_double(fuzz_walk *walk, double value) {
  char text[400], digits[400];
  size_t length = 0, count = 0;
  if (walk->at == NULL) return;
  while (walk->at + length < walk->end && strchr("+-.0123456789e", walk->at[length]) != NULL) length++;
  CHECK(length > 0 && length < sizeof text);
  memcpy(text, walk->at, length);
  text[length] = '\0';
  walk->at += length;
  CHECK(strtod(text, NULL) == value);
  if (value == floor(value) && fabs(value) < 9e18) {
    (void)snprintf(digits, sizeof digits, "%.0f", value);
    CHECK(strcmp(text, digits) == 0);
    return;
  }
  CHECK(strchr(text, '.') != NULL || strchr(text, 'e') != NULL);
  for (const char *at = text; *at != '\0' && *at != 'e'; at++)
    if (*at >= '0' && *at <= '9' && (count > 0 || *at != '0')) digits[count++] = *at;
  while (count > 1 && digits[count - 1] == '0') count--;
  for (int less = 1; less < (int)count; less++) {
    (void)snprintf(text, sizeof text, "%.*e", less - 1, value);
    CHECK(strtod(text, NULL) != value);
  }
}

static void visit(fuzz_walk *walk, unsigned depth);

static void visit_list(fuzz_walk *walk, unsigned depth) {
  lua_State *L = walk->L;
  unsigned flags = fuzz_byte(&walk->input), count = fuzz_byte(&walk->input) % MOST;
  if (walk->at == NULL) lua_newtable(L);
  expect(walk, count > 0 ? "[" : "{", 1);
  for (unsigned i = 0; i < count; i++) {
    if (i > 0) expect(walk, ",", 1);
    visit(walk, depth + 1);
    if (walk->at == NULL && (flags & 1) == 0) lua_rawseti(L, -2, (int)i + 1);
  }
  if (walk->at == NULL && (flags & 1) != 0)
    for (unsigned i = count; i > 0; i--) lua_rawseti(L, -(int)i - 1, (int)i);
  expect(walk, count > 0 ? "]" : "}", 1);
  if (walk->at != NULL || (flags & 2) == 0 || count < 2) return;
  lua_pushnil(L);
  lua_rawseti(L, -2, 1);
  walk->refused = true;
}

static void visit_object(fuzz_walk *walk, unsigned depth) {
  unsigned count = fuzz_byte(&walk->input) % MOST;
  if (walk->at == NULL) lua_newtable(walk->L);
  expect(walk, "{", 1);
  for (unsigned i = 0; i < count; i++) {
    size_t length = fuzz_byte(&walk->input);
    const uint8_t *bytes = fuzz_bytes(&walk->input, &length);
    char prefix[] = {i > 0 ? ',' : '"', i > 0 ? '"' : (char)('a' + i), i > 0 ? (char)('a' + i) : '\0', '\0'};
    expect_string(walk, prefix, bytes, length);
    expect(walk, ":", 1);
    if (walk->at == NULL) {
      fuzz_text name = {NULL, 0, 0};
      char first = (char)('a' + i);
      fuzz_add(&name, &first, 1);
      fuzz_add(&name, bytes, length);
      lua_pushlstring(walk->L, name.data, name.length);
      free(name.data);
      walk->refused = walk->refused || !is_utf8(bytes, length);
    }
    visit(walk, depth + 1);
    if (walk->at == NULL) lua_rawset(walk->L, -3);
  }
  expect(walk, "}", 1);
}

static void visit_number(fuzz_walk *walk, bool is_integer) {
  uint8_t bytes[8] = {0};
  size_t count = sizeof bytes;
  const uint8_t *given = fuzz_bytes(&walk->input, &count);
  if (count > 0) memcpy(bytes, given, count);
  int64_t integer;
  double value;
  memcpy(&integer, bytes, sizeof integer);
  memcpy(&value, bytes, sizeof value);
  if (is_integer && LUA_VERSION_NUM >= 503) {
    char text[32];
    (void)snprintf(text, sizeof text, "%lld", (long long)integer);
    if (walk->at == NULL) lua_pushinteger(walk->L, (lua_Integer)integer);
    expect(walk, text, strlen(text));
  } else {
    if (walk->at == NULL) lua_pushnumber(walk->L, value);
    walk->refused = walk->refused || !isfinite(value);
    expect_double(walk, value);
  }
}

/* A string, a body of such bytes, or a media of them. */
static void visit_bytes(fuzz_walk *walk, unsigned kind) {
  lua_State *L = walk->L;
  size_t count = fuzz_byte(&walk->input);
  const uint8_t *bytes = fuzz_bytes(&walk->input, &count);
  if (kind == TEXT) expect_string(walk, "\"", bytes, count);
  if (kind == TEXT && !is_utf8(bytes, count)) walk->refused = true;
  if (kind == BODY) expect(walk, (const char *)bytes, count);
  if (kind == EMBEDDED && walk->at != NULL) {
    char *base64 = malloc(LMM_BASE64_LENGTH(count + 1));
    uint8_t *copy = malloc(count + 1);
    CHECK(base64 != NULL && copy != NULL);
    if (count > 0) memcpy(copy, bytes, count);
    copy[count] = 'x';
    size_t length = lmm_base64_encode(lmm_base64_find("libb64"), base64, copy, count + 1);
    expect(walk, "\"p:", 3);
    expect(walk, base64, length);
    expect(walk, "\"", 1);
    free(base64);
    free(copy);
  }
  if (walk->at != NULL) return;
  if (kind == TEXT) {
    lua_pushlstring(L, (const char *)bytes, count);
    return;
  }
  lua_getfield(L, 1, kind == BODY ? "body" : "embed");
  if (kind == BODY) {
    lua_pushlstring(L, (const char *)bytes, count);
    lua_call(L, 1, 1);
    return;
  }
  lua_pushliteral(L, "p:");
  lua_getfield(L, 1, "media");
  lua_newtable(L);
  lua_pushlstring(L, (const char *)bytes, count);
  lua_pushliteral(L, "x");
  lua_concat(L, 2);
  lua_setfield(L, -2, "bytes");
  lua_call(L, 1, 1);
  lua_call(L, 2, 1);
}

static void push(fuzz_walk *walk, const char *name, const char *text) {
  expect(walk, text, strlen(text));
  if (walk->at != NULL) return;
  if (name == NULL) lua_pushboolean(walk->L, text[0] == 't');
  if (name != NULL && strcmp(name, "null") == 0) lua_getfield(walk->L, 1, name);
  if (name == NULL || strcmp(name, "null") == 0) return;
  lua_newtable(walk->L);
  lua_getfield(walk->L, 1, name);
  lua_setmetatable(walk->L, -2);
}

static void visit(fuzz_walk *walk, unsigned depth) {
  if (walk->at == NULL) luaL_checkstack(walk->L, 20, "depth");
  unsigned kind = depth > DEEPEST ? NONE : fuzz_byte(&walk->input) % KINDS;
  switch (kind) {
  case INTEGER: visit_number(walk, true); break;
  case DOUBLE: visit_number(walk, false); break;
  case LIST: visit_list(walk, depth); break;
  case OBJECT: visit_object(walk, depth); break;
  case TRUE: push(walk, NULL, "true"); break;
  case FALSE: push(walk, NULL, "false"); break;
  case NONE: push(walk, "null", "null"); break;
  case EMPTY: push(walk, "array_mt", "[]"); break;
  default: visit_bytes(walk, kind); break;
  }
}

/* ---- the writer -------------------------------------------------------------------------------------------------- */

/* A state with what of lmm.core is needed at index 1. */
static lua_State *open_state(void) {
  lua_State *L = luaL_newstate();
  CHECK(L != NULL);
  lua_newtable(L);
  static const luaL_Reg parts[] = {{"media", lmm_media_open}, {"body", lmm_body_open}, {"array_mt", lmm_array_open},
                                   {"null", lmm_null_open}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    (void)parts[i].func(L);
    lua_setfield(L, 1, parts[i].name);
  }
  lmm_write_open(L);
  return L;
}

/* The text of a body, read in pieces. */
static void read_body(lmm_body *body, size_t capacity, fuzz_text *out) {
  char piece[256];
  lmm_error error = {LMM_OK, ""};
  ptrdiff_t count;
  while ((count = body->source.read(&body->source, piece, capacity, &error)) > 0) fuzz_add(out, piece, (size_t)count);
  CHECK(count == 0 && out->length == body->source.size(&body->source));
}

static void check_text(const fuzz_walk *made, const uint8_t *bytes, size_t count, const char *text, size_t length) {
  fuzz_walk walk = {{bytes, count}, made->L, false, text, text + length};
  visit(&walk, 0);
  CHECK(walk.at == walk.end);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  static lua_State *L;
  static unsigned runs;
  if (L == NULL) L = open_state();
  fuzz_walk made = {{bytes, count}, L, false, NULL, NULL};
  lua_settop(L, 1);
  visit(&made, 0);
  CHECK(lua_gettop(L) == 2);
  for (int i = 0; i < 2; i++) {
    lua_getfield(L, 1, i == 0 ? "write" : "encode");
    lua_pushvalue(L, 2);
    lua_call(L, 1, 2);
    CHECK(lua_isnil(L, 3 + 2 * i) == made.refused && lua_isstring(L, 4 + 2 * i) == (int)made.refused);
  }
  if (!made.refused) {
    size_t length;
    const char *text = lua_tolstring(L, 5, &length);
    fuzz_text read = {NULL, 0, 0};
    check_text(&made, bytes, count, text, length);
    read_body(lua_touserdata(L, 3), 4 + count % 250, &read);
    CHECK(read.length == length && (length == 0 || memcmp(read.data, text, length) == 0));
    free(read.data);
  } else {
    CHECK(lua_rawequal(L, 4, 6)); /* the same message */
  }
  lua_settop(L, 1);
  if (++runs % 64 == 0) (void)lua_gc(L, LUA_GCCOLLECT, 0);
  return 0;
}
