/* head.c: the parser of a reply's head (src/header.c), against one that looks behind each line end for a header. */
#include "with_lua.h"

typedef struct span {
  const char *at;
  size_t length;
} span;

typedef struct header {
  span name, value;
} header;

static bool is_one_of(char byte, const char *set) { return byte != '\0' && strchr(set, byte) != NULL; }

/* The header at the beginning of a line, if there is one. */
static bool find_header(const char *line, size_t left, header *found) {
  size_t colon = 0, from, to;
  while (colon < left && !is_one_of(line[colon], ":\r\n")) colon++;
  if (colon == left || line[colon] != ':' || colon == 0) return false;
  to = from = colon + 1;
  while (to < left && !is_one_of(line[to], "\r\n")) to++;
  while (from < to && is_one_of(line[from], " \t")) from++;
  while (to > from && is_one_of(line[to - 1], " \t\v\f")) to--;
  *found = (header){{line, colon}, {line + from, to - from}};
  return true;
}

/* All headers, as they stand in the text. */
static header *find_headers(const char *text, size_t count, size_t *headers) {
  header *list = malloc((count + 1) * sizeof *list);
  CHECK(list != NULL);
  for (size_t i = 0; i < count; i++)
    if (text[i] == '\n' && find_header(text + i + 1, count - i - 1, &list[*headers])) (*headers)++;
  return list;
}

static char lower(char byte) { return (char)(byte >= 'A' && byte <= 'Z' ? byte - 'A' + 'a' : byte); }

static bool same_name(span one, span other) {
  for (size_t i = 0; i < one.length && one.length == other.length; i++)
    if (lower(one.at[i]) != lower(other.at[i])) return false;
  return one.length == other.length;
}

static bool is_repeated(const header *list, size_t at) {
  for (size_t i = 0; i < at; i++)
    if (same_name(list[i].name, list[at].name)) return true;
  return false;
}

/* The table at index 2 has the name of list[at] in lower case, with all its values. */
static void check_header(lua_State *L, const header *list, size_t headers, size_t at) {
  fuzz_text name = {NULL, 0, 0}, values = {NULL, 0, 0};
  for (size_t i = 0; i < list[at].name.length; i++) fuzz_add(&name, &(char){lower(list[at].name.at[i])}, 1);
  for (size_t i = at; i < headers; i++) {
    if (!same_name(list[i].name, list[at].name)) continue;
    if (i > at) fuzz_add(&values, ", ", 2);
    fuzz_add(&values, list[i].value.at, list[i].value.length);
  }
  lua_pushlstring(L, name.data, name.length);
  lua_rawget(L, 2);
  size_t length;
  CHECK(lua_type(L, -1) == LUA_TSTRING);
  const char *value = lua_tolstring(L, -1, &length);
  CHECK(length == values.length && (length == 0 || memcmp(value, values.data, length) == 0));
  lua_pop(L, 1);
  free(name.data);
  free(values.data);
}

static size_t count_fields(lua_State *L) {
  size_t fields = 0;
  for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) fields++;
  return fields;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  static lua_State *L;
  size_t headers = 0, names = 0;
  if (L == NULL) L = fuzz_lua("lmm.core", "headers");
  lua_pushvalue(L, 1);
  lua_pushlstring(L, (const char *)bytes, count);
  fuzz_call(L, 1, 1, count);

  CHECK(lua_type(L, 2) == LUA_TTABLE);
  header *list = find_headers((const char *)bytes, count, &headers);
  for (size_t i = 0; i < headers; i++) {
    if (is_repeated(list, i)) continue;
    check_header(L, list, headers, i);
    names++;
  }
  CHECK(names == count_fields(L));
  free(list);
  fuzz_clear(L);
  return 0;
}
