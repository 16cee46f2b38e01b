/* sse.c: a text/event-stream comes in, as far as it is there; its events go out one at a time. Data of one line stays
 * where it stands in the text. `id` and `retry` serve reconnection, which a POST does not do: both are read over. */
#include <string.h>

#include "lmm.h"

void lmm_sse_init(lmm_sse *sse, size_t max_event) {
  memset(sse, 0, sizeof *sse);
  sse->max = max_event;
  sse->joined = sse->event = LMM_BUF(max_event);
}

void lmm_sse_free(lmm_sse *sse) {
  lmm_buf_free(&sse->joined);
  lmm_buf_free(&sse->event);
}

static void begin_event(lmm_sse *sse) {
  sse->joined.length = sse->event.length = 0;
  sse->has_data = sse->is_joined = false;
}

/* Copies the data of one line out of the text. */
static int join_data(lmm_sse *sse, const char *text) {
  if (sse->is_joined || !sse->has_data) return LMM_OK;
  sse->joined.length = 0;
  sse->is_joined = true;
  return lmm_buf_add(&sse->joined, text + sse->data, sse->count);
}

static int take_data(lmm_sse *sse, const char *text, const char *value, size_t length) {
  if (!sse->has_data) {
    sse->has_data = true;
    sse->data = (size_t)(value - text);
    sse->count = length;
    return LMM_OK;
  }
  int code = join_data(sse, text);
  if (code == LMM_OK) code = lmm_buf_add(&sse->joined, "\n", 1);
  return code == LMM_OK ? lmm_buf_add(&sse->joined, value, length) : code;
}

static int take_field(lmm_sse *sse, const char *text, const char *line, size_t name, const char *value, size_t length) {
  if (name == 4 && memcmp(line, "data", 4) == 0) return take_data(sse, text, value, length);
  if (name == 5 && memcmp(line, "event", 5) == 0) {
    sse->event.length = 0;
    return lmm_buf_add(&sse->event, value, length);
  }
  return LMM_OK;
}

/* Gives 1 when the line completes an event. */
static int take_line(lmm_sse *sse, const char *text, const char *line, size_t length) {
  if (!sse->begun && length >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) line += 3, length -= 3;
  sse->begun = true;
  if (length == 0) {
    if (sse->has_data) return 1;
    begin_event(sse);
    return LMM_OK;
  }
  const char *end = line + length, *colon = memchr(line, ':', length);
  if (colon == NULL) return take_field(sse, text, line, length, end, 0);
  const char *value = colon + 1;
  if (value < end && *value == ' ') value++;
  return take_field(sse, text, line, (size_t)(colon - line), value, (size_t)(end - value));
}

/* The first `byte` in the text between `*from` and `end`, or `end`; `*from` remembers it, so that each byte is looked
 * at once. */
static size_t find(const char *text, size_t *from, size_t at, size_t end, char byte) {
  if (*from < at) *from = at;
  if (*from >= end) return end;
  const char *found = memchr(text + *from, byte, end - *from);
  *from = found != NULL ? (size_t)(found - text) : end;
  return *from;
}

/* What went beyond the maximum is lost, so nothing after it can be right: from here on there are no events. */
static int give_up(lmm_sse *sse) {
  lmm_sse_free(sse);
  begin_event(sse);
  sse->failed = true;
  return LMM_LIMIT;
}

static int deliver(lmm_sse *sse, int code) {
  if (code == LMM_LIMIT) return give_up(sse);
  sse->delivered = code == 1;
  return code;
}

int lmm_sse_next(lmm_sse *sse, const char *text, size_t length) {
  int code = LMM_OK;
  if (sse->failed) return LMM_LIMIT;
  if (sse->delivered) begin_event(sse);
  sse->delivered = false;
  while (code == LMM_OK && sse->at < length) {
    if (sse->after_cr && text[sse->at] == '\n') sse->at++;
    sse->after_cr = false;
    size_t line = sse->at;
    size_t end = find(text, &sse->cr, line, find(text, &sse->lf, line, length, '\n'), '\r');
    if (end - line > sse->max) return give_up(sse); /* also where its end is not there yet */
    if (end == length) return LMM_OK;
    sse->after_cr = text[end] == '\r';
    sse->at = end + 1;
    code = take_line(sse, text, text + line, end - line);
  }
  return deliver(sse, code);
}

int lmm_sse_finish(lmm_sse *sse, const char *text, size_t length) {
  int code = LMM_OK;
  if (sse->failed) return LMM_LIMIT;
  if (sse->at < length) {
    size_t line = sse->at;
    sse->at = length;
    code = take_line(sse, text, text + line, length - line);
  }
  return deliver(sse, code == LMM_OK && sse->has_data ? 1 : code);
}

const char *lmm_sse_data(const lmm_sse *sse, const char *text, size_t *count) {
  *count = sse->is_joined ? sse->joined.length : sse->count;
  if (!sse->is_joined) return text + sse->data;
  return *count > 0 ? sse->joined.data : "";
}

int lmm_sse_release(lmm_sse *sse, const char *text, size_t *count) {
  int code = join_data(sse, text);
  *count = 0;
  if (code == LMM_LIMIT) return give_up(sse);
  if (code != LMM_OK) return code;
  *count = sse->at;
  sse->lf = sse->lf > sse->at ? sse->lf - sse->at : 0;
  sse->cr = sse->cr > sse->at ? sse->cr - sse->at : 0;
  sse->at = 0;
  return LMM_OK;
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

typedef struct decoder {
  lmm_sse sse;
  lmm_buf text; /* what the events so far leave over, and what was fed since */
  bool waiting; /* all that was fed is used */
} decoder;

static decoder *check_sse(lua_State *L) { return luaL_checkudata(L, 1, LMM_SSE); }

/* sse(max_event) -> decoder; no line, and no event's data, may be longer than `max_event` bytes */
static int sse_new(lua_State *L) {
  lua_Integer max_event = luaL_checkinteger(L, 1);
  luaL_argcheck(L, max_event > 0, 1, "a positive number of bytes expected");
  decoder *self = lmm_new_userdata(L, sizeof *self);
  lmm_sse_init(&self->sse, (size_t)max_event);
  self->text = LMM_BUF(SIZE_MAX);
  self->waiting = true;
  luaL_setmetatable(L, LMM_SSE);
  return 1;
}

/* decoder:feed(bytes), once decoder:next() has given nil for what was fed before */
static int sse_feed(lua_State *L) {
  decoder *self = check_sse(L);
  size_t count, used;
  const char *bytes = luaL_checklstring(L, 2, &count);
  luaL_argcheck(L, self->waiting, 2, "take the events of the bytes before first");
  if (self->sse.failed || count == 0) return 0;
  if (lmm_sse_release(&self->sse, self->text.data, &used) != LMM_OK) return luaL_error(L, "not enough memory");
  if (used > 0) memmove(self->text.data, self->text.data + used, self->text.length - used);
  self->text.length -= used;
  if (lmm_buf_add(&self->text, bytes, count) != LMM_OK) return luaL_error(L, "not enough memory");
  self->waiting = false;
  return 0;
}

/* decoder:next() -> data, event name ("" where none was given) | nil when more bytes are needed | nil, "limit", and so
 * ever after */
static int sse_next(lua_State *L) {
  decoder *self = check_sse(L);
  int code = lmm_sse_next(&self->sse, self->text.data, self->text.length);
  if (code == LMM_NOMEM) return luaL_error(L, "not enough memory");
  self->waiting = code != 1;
  if (code == LMM_OK) return 0;
  if (code == LMM_LIMIT) {
    lmm_buf_free(&self->text);
    lua_pushnil(L);
    lua_pushliteral(L, "limit");
    return 2;
  }
  size_t count;
  const char *data = lmm_sse_data(&self->sse, self->text.data, &count);
  lua_pushlstring(L, data, count);
  lmm_push_buf(L, &self->sse.event);
  return 2;
}

static int sse_close(lua_State *L) {
  decoder *self = check_sse(L);
  lmm_sse_free(&self->sse);
  lmm_buf_free(&self->text);
  lmm_sse_init(&self->sse, self->sse.max);
  return 0;
}

int lmm_sse_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"feed", sse_feed}, {"next", sse_next}, {NULL, NULL}};
  lmm_new_type(L, LMM_SSE, methods, sse_close);
  lua_pop(L, 1);
  lua_pushcfunction(L, sse_new);
  return 1;
}
