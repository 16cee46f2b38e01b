/* sse.c: bytes of a text/event-stream come in, however they are cut; events go out one at a time. Only the unfinished
 * line and the event under way are kept. `id` and `retry` serve reconnection, which a POST does not do: both are
 * read over. */
#include <string.h>

#include "lmm.h"

void lmm_sse_init(lmm_sse *sse, size_t max_event) {
  memset(sse, 0, sizeof *sse);
  sse->line = sse->data = sse->event = LMM_BUF(max_event);
}

void lmm_sse_free(lmm_sse *sse) {
  lmm_buf_free(&sse->line);
  lmm_buf_free(&sse->data);
  lmm_buf_free(&sse->event);
}

void lmm_sse_feed(lmm_sse *sse, const char *bytes, size_t count) {
  sse->at = bytes;
  sse->end = bytes + count;
}

static void begin_event(lmm_sse *sse) {
  sse->data.length = sse->event.length = 0;
  sse->has_data = false;
}

static int take_field(lmm_sse *sse, const char *name, size_t name_length, const char *value, size_t value_length) {
  if (name_length == 4 && memcmp(name, "data", 4) == 0) {
    int code = sse->has_data ? lmm_buf_add(&sse->data, "\n", 1) : LMM_OK;
    sse->has_data = true;
    return code == LMM_OK ? lmm_buf_add(&sse->data, value, value_length) : code;
  }
  if (name_length == 5 && memcmp(name, "event", 5) == 0) {
    sse->event.length = 0;
    return lmm_buf_add(&sse->event, value, value_length);
  }
  return LMM_OK;
}

/* Gives 1 when the line completes an event. */
static int take_line(lmm_sse *sse, const char *line, size_t length) {
  if (!sse->begun && length >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) line += 3, length -= 3;
  sse->begun = true;
  if (length == 0) {
    if (sse->has_data) return 1;
    begin_event(sse);
    return 0;
  }
  const char *colon = memchr(line, ':', length);
  if (colon == NULL) return take_field(sse, line, length, "", 0);
  const char *value = colon + 1, *end = line + length;
  if (value < end && *value == ' ') value++;
  return take_field(sse, line, (size_t)(colon - line), value, (size_t)(end - value));
}

/* The end of the line at `from`, or `end` where it is not there yet. */
static const char *find_line_end(const char *from, const char *end) {
  while (from < end && *from != '\n' && *from != '\r') from++;
  return from;
}

/* What went beyond the maximum is lost, so nothing after it can be right: from here on there are no events. */
static int give_up(lmm_sse *sse) {
  lmm_sse_free(sse);
  sse->line.max = 0;
  sse->at = sse->end;
  return LMM_LIMIT;
}

int lmm_sse_next(lmm_sse *sse) {
  int code = 0;
  if (sse->line.max == 0) return give_up(sse);
  if (sse->delivered) begin_event(sse);
  sse->delivered = false;
  while (code == 0 && sse->at < sse->end) {
    if (sse->after_cr && *sse->at == '\n') sse->at++;
    sse->after_cr = false;
    const char *line = sse->at, *stop = find_line_end(line, sse->end);
    sse->at = stop;
    size_t length = (size_t)(stop - line);
    if (length > sse->line.max - sse->line.length) return give_up(sse); /* also where the line is not kept */
    if (stop == sse->end || sse->line.length > 0) {
      code = lmm_buf_add(&sse->line, line, length);
      if (code != LMM_OK || stop == sse->end) return code;
      line = sse->line.data;
      length = sse->line.length;
    }
    sse->after_cr = *stop == '\r';
    sse->at++;
    code = take_line(sse, line, length);
    sse->line.length = 0;
  }
  if (code == LMM_LIMIT) return give_up(sse);
  sse->delivered = code == 1;
  return code;
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

static lmm_sse *check_sse(lua_State *L) { return luaL_checkudata(L, 1, LMM_SSE); }

/* sse(max_event) -> decoder; no line, and no event's data, may be longer than `max_event` bytes */
static int sse_new(lua_State *L) {
  lua_Integer max_event = luaL_checkinteger(L, 1);
  luaL_argcheck(L, max_event > 0, 1, "a positive number of bytes expected");
  lmm_sse *sse = lmm_new_userdata(L, sizeof *sse);
  lmm_sse_init(sse, (size_t)max_event);
  luaL_setmetatable(L, LMM_SSE);
  return 1;
}

/* decoder:feed(bytes), once decoder:next() has given nil for what was fed before */
static int sse_feed(lua_State *L) {
  lmm_sse *sse = check_sse(L);
  size_t count;
  const char *bytes = luaL_checklstring(L, 2, &count);
  luaL_argcheck(L, sse->at == sse->end, 2, "take the events of the bytes before first");
  lua_createtable(L, 1, 0);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, 1);
  lmm_set_anchor(L, 1);
  lmm_sse_feed(sse, bytes, count);
  return 0;
}

/* decoder:next() -> data, event name ("" where none was given) | nil when more bytes are needed | nil, "limit", and so
 * ever after */
static int sse_next(lua_State *L) {
  lmm_sse *sse = check_sse(L);
  int code = lmm_sse_next(sse);
  if (code == 0) return 0;
  if (code == LMM_NOMEM) return luaL_error(L, "not enough memory");
  if (code == LMM_LIMIT) {
    lua_pushnil(L);
    lua_pushliteral(L, "limit");
    return 2;
  }
  lmm_push_buf(L, &sse->data);
  lmm_push_buf(L, &sse->event);
  return 2;
}

static int sse_close(lua_State *L) {
  lmm_sse_free(check_sse(L));
  return 0;
}

int lmm_sse_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"feed", sse_feed}, {"next", sse_next}, {NULL, NULL}};
  lmm_new_type(L, LMM_SSE, methods, sse_close);
  lua_pop(L, 1);
  lua_pushcfunction(L, sse_new);
  return 1;
}
