/* retry.c: what a server asks for in Retry-After and Retry-After-Ms (lmm.call.retry), against the C library's numbers and
 * calendar. The input's first line is the one header, its second line, if there is one, the other. */
#include "with_lua.h"

#define NOW 1696004797 /* Fri, 29 Sep 2023 16:26:37 GMT */

static const char setup[] =
    "local retry = require 'lmm.call.retry'\n"
    "require 'lmm.call.retry_after' -- which is loaded when it is needed\n"
    "local policy = retry.new { clock = function() return 1696004797 end, random = function() return 0 end }\n"
    "return { try = function(after, ms)\n"
    "  local headers = { ['retry-after'] = after, ['retry-after-ms'] = ms }\n"
    "  local failures = { { kind = 'http', status = 503 } }\n"
    "  return retry.requested(headers, policy, failures[1]), retry.delay(policy, failures, headers)\n"
    "end }\n";

/* A positive decimal number without sign or exponent, else 0. */
static double number(const char *text, size_t count) {
  size_t digits = 0, points = 0;
  if (count == 0) return 0;
  for (size_t i = 0; i < count; i++) {
    if (text[i] == '.' && digits > 0 && points == 0)
      points++;
    else if (text[i] >= '0' && text[i] <= '9')
      digits++;
    else
      return 0;
  }
  char *copy = strndup(text, count);
  CHECK(copy != NULL);
  double value = strtod(copy, NULL);
  free(copy);
  return value;
}

/* The seconds from now to an IMF-fixdate, else 0. What a date may be is asked of the C library: one that exists is
 * written again as it was, whatever its day of the week says. */
static double date(const char *text, size_t count) {
  char copy[32], again[64];
  struct tm tm;
  if (count != 29 || memchr(text, '\0', count) != NULL) return 0;
  memcpy(copy, text, count);
  copy[count] = '\0';
  memset(&tm, 0, sizeof tm);
  const char *end = strptime(copy, "%a, %d %b %Y %H:%M:%S GMT", &tm);
  if (end == NULL || *end != '\0' || tm.tm_sec > 60) return 0;
  int weekday = tm.tm_wday, second = tm.tm_sec;
  if (second == 60) tm.tm_sec = 59; /* a leap second is the same as the next second */
  struct tm same = tm;
  time_t time = timegm(&tm) + (second == 60);
  if (same.tm_mday != tm.tm_mday || same.tm_mon != tm.tm_mon || same.tm_year != tm.tm_year) return 0;
  same.tm_wday = weekday;
  same.tm_sec = second;
  if (strftime(again, sizeof again, "%a, %d %b %Y %H:%M:%S GMT", &same) != 29) return 0;
  return memcmp(again, copy, 29) == 0 && time > NOW ? (double)(time - NOW) : 0;
}

static double requested(const char *after, size_t after_count, const char *ms, size_t ms_count) {
  double asked = number(ms, ms_count) * 0.001;
  if (asked <= 0) asked = number(after, after_count > 1 && after[after_count - 1] == 's' ? after_count - 1 : after_count);
  return asked > 0 ? asked : date(after, after_count);
}

static lua_State *open_lua(void) {
  lua_State *L = fuzz_lua("lmm.call.retry", "new");
  fuzz_check_lua(L, luaL_loadstring(L, setup));
  fuzz_check_lua(L, lua_pcall(L, 0, 1, 0));
  lua_getfield(L, -1, "try");
  lua_replace(L, 1);
  lua_settop(L, 1);
  return L;
}

static void check(lua_State *L, const char *after, size_t after_count, const char *ms, size_t ms_count) {
  lua_pushvalue(L, 1);
  lua_pushlstring(L, after, after_count);
  if (ms != NULL)
    lua_pushlstring(L, ms, ms_count);
  else
    lua_pushnil(L);
  fuzz_call(L, 2, 2, after_count + ms_count);

  double expected = requested(after, after_count, ms, ms_count);
  if (expected > 0)
    CHECK(lua_type(L, 2) == LUA_TNUMBER && lua_tonumber(L, 2) == expected);
  else
    CHECK(lua_isnil(L, 2));
  if (expected > 120)
    CHECK(lua_isnil(L, 3));
  else
    CHECK(lua_type(L, 3) == LUA_TNUMBER && lua_tonumber(L, 3) == (expected > 0 ? expected : 0.5));
  fuzz_clear(L);
}

/* A date made of the input's numbers, or nearly one. */
static void check_date(lua_State *L, fuzz_input input) {
  static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  unsigned n[8];
  char text[64];
  for (size_t i = 0; i < 8; i++) n[i] = fuzz_byte(&input);
  int count = snprintf(text, sizeof text, "%s, %02u %s %02u%02u %02u:%02u:%02u GMT", days[n[0] % 7], n[1] % 34,
                       months[n[2] % 12], n[3] % 100, n[4] % 100, n[5] % 26, n[6] % 62, n[7] % 63);
  check(L, text, (size_t)count, NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  static lua_State *L;
  if (L == NULL) L = open_lua();
  const char *text = (const char *)bytes, *line_end = count > 0 ? memchr(bytes, '\n', count) : NULL;
  size_t first = line_end == NULL ? count : (size_t)(line_end - text);
  check(L, text, first, line_end == NULL ? NULL : line_end + 1, line_end == NULL ? 0 : count - first - 1);
  check_date(L, (fuzz_input){bytes, count});
  return 0;
}
