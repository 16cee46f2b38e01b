/* text.c: pieces of text come in, plain or with JSON's escapes; the whole text grows, and what is complete of each
 * piece goes out. */
#include <string.h>

#include "lmm.h"

static const char replacement[3] = {'\xEF', '\xBF', '\xBD'};

/* Whether three bytes are half of a surrogate pair: the high one, which comes first, or the low one. */
static bool is_half(const char *at, unsigned char least) {
  const unsigned char *byte = (const unsigned char *)at;
  return byte[0] == 0xED && (byte[1] & 0xF0) == least && (byte[2] & 0xC0) == 0x80;
}
#define HIGH 0xA0
#define LOW 0xB0

static unsigned half_value(const char *at) { return ((unsigned)at[1] & 0x0F) << 6 | ((unsigned)at[2] & 0x3F); }

/* Makes of two halves, at `at` and behind it, the one character of four bytes that they are. */
static void join_halves(char *at) {
  unsigned point = 0x10000 + (half_value(at) << 10) + half_value(at + 3);
  at[0] = (char)(0xF0 | point >> 18);
  at[1] = (char)(0x80 | (point >> 12 & 0x3F));
  at[2] = (char)(0x80 | (point >> 6 & 0x3F));
  at[3] = (char)(0x80 | (point & 0x3F));
}

int lmm_text_add(lmm_text *text, const char *bytes, size_t count, bool escaped, lmm_piece *piece) {
  *piece = (lmm_piece){"", 0};
  if (count == 0) return LMM_OK;
  int code = lmm_buf_reserve(&text->bytes, count);
  if (code != LMM_OK) return code;
  char *to = text->bytes.data + text->bytes.length, *from = to;
  bool halves = false;
  if (escaped)
    count = lmm_json_unescape(to, bytes, count, &halves);
  else
    memcpy(to, bytes, count);
  bool is_low = count >= 3 && is_half(to, LOW);
  if (text->has_half) {
    from = to - 3;
    if (is_low) {
      join_halves(from);
      count -= 3;
      memmove(from + 4, to + 3, count);
      to = from + 4;
    } else {
      memcpy(from, replacement, 3);
    }
  } else if (is_low) {
    memcpy(to, replacement, 3);
  }
  char *end = to + count;
  text->has_half = count >= 3 && is_half(end - 3, HIGH);
  text->bytes.length = (size_t)(end - text->bytes.data);
  *piece = (lmm_piece){from, (size_t)(end - from) - (text->has_half ? 3 : 0)};
  return LMM_OK;
}

bool lmm_text_end(lmm_text *text, lmm_piece *piece) {
  if (!text->has_half) return false;
  text->has_half = false;
  *piece = (lmm_piece){memcpy(text->bytes.data + text->bytes.length - 3, replacement, 3), 3};
  return true;
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

/* join(pieces) -> the text that a list of strings adds up to. Halves of a character, as answer:value() keeps them at
 * the ends of pieces, become that character, or U+FFFD. */
static int text_join(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  size_t total = 0, count;
  int pieces = (int)lua_rawlen(L, 1);
  for (int i = 1; i <= pieces; i++) {
    lua_rawgeti(L, 1, i);
    if (lua_type(L, -1) != LUA_TSTRING) return luaL_error(L, "piece %d is no string", i);
    total += lua_rawlen(L, -1);
    lua_pop(L, 1);
  }
  lmm_text text = {LMM_BUF(total), false};
  text.bytes.data = lua_newuserdata(L, total > 0 ? total : 1);
  text.bytes.capacity = total; /* so that it never grows: the block is Lua's */
  lmm_piece piece;
  for (int i = 1; i <= pieces; i++) {
    lua_rawgeti(L, 1, i);
    const char *bytes = lua_tolstring(L, -1, &count);
    (void)lmm_text_add(&text, bytes, count, false, &piece);
    lua_pop(L, 1);
  }
  (void)lmm_text_end(&text, &piece);
  lua_pushlstring(L, text.bytes.data, text.bytes.length);
  return 1;
}

int lmm_text_open(lua_State *L) {
  lua_pushcfunction(L, text_join);
  return 1;
}
