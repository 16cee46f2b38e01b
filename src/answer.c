/* answer.c: the body of one reply comes in, in pieces, and is kept as it came; what is in it goes out one by one:
 * pieces of text, the events that say more than that, or one whole JSON text. */
#include <string.h>

#include "lmm.h"

#define LEVELS 1024 /* an unfinished event that is nested more deeply counts as whole, and is refused later */

void lmm_answer_init(lmm_answer *answer, size_t max_reply, size_t max_event) {
  memset(answer, 0, sizeof *answer);
  answer->bytes = answer->text.bytes = answer->reasoning.bytes = LMM_BUF(max_reply);
  lmm_sse_init(&answer->sse, max_event);
}

void lmm_answer_free(lmm_answer *answer) {
  lmm_buf_free(&answer->bytes);
  lmm_buf_free(&answer->text.bytes);
  lmm_buf_free(&answer->reasoning.bytes);
  lmm_sse_free(&answer->sse);
}

int lmm_answer_feed(lmm_answer *answer, const char *bytes, size_t count) {
  size_t room = answer->bytes.max - answer->bytes.length;
  answer->is_full = answer->is_full || count > room;
  int code = lmm_buf_add(&answer->bytes, bytes, count < room ? count : room);
  return code == LMM_OK && answer->is_full ? LMM_LIMIT : code;
}

void lmm_answer_finish(lmm_answer *answer) { answer->is_finished = true; }

int lmm_answer_kind(lmm_answer *answer) {
  if (answer->kind != LMM_REPLY_UNKNOWN || answer->bytes.length == 0) return answer->kind;
  answer->kind = lmm_reply_kind(answer->bytes.data, answer->bytes.length, answer->is_finished, &answer->begin);
  answer->sse.at = answer->given = answer->begin;
  answer->sse.begun = true; /* byte order marks are passed */
  return answer->kind;
}

/* ---- a reply that is one JSON text ------------------------------------------------------------------------------ */

static int next_whole(lmm_answer *answer) {
  if (!answer->is_finished || answer->is_ended) return LMM_ANSWER_MORE;
  answer->is_ended = answer->has_current = true;
  answer->given = answer->bytes.length;
  answer->end = lmm_reply_json_end(answer->bytes.data, answer->begin, answer->bytes.length);
  return LMM_ANSWER_WHOLE;
}

/* ---- a reply that is a stream of events ------------------------------------------------------------------------- */

static bool is_whole(const char *data, size_t count) {
  size_t levels[LEVELS];
  lmm_json json;
  lmm_json_init(&json, levels, LEVELS, true);
  lmm_json_feed(&json, data, count, true);
  int token = lmm_json_skip(&json, lmm_json_next(&json));
  if (token > 0) token = lmm_json_next(&json);
  return token == LMM_JSON_END || token == LMM_LIMIT;
}

/* What stands behind the last blank line once the input has ended: an event where it is all there. */
static int last_event(lmm_answer *answer) {
  size_t count;
  answer->is_ended = true;
  int code = lmm_sse_finish(&answer->sse, answer->bytes.data, answer->bytes.length);
  if (code != 1) return code;
  const char *data = lmm_sse_data(&answer->sse, answer->bytes.data, &count);
  int kind = lmm_data_kind(&answer->sse, data, count);
  return kind == LMM_DATA_DONE || (kind == LMM_DATA_EVENT && is_whole(data, count)) ? 1 : 0;
}

static int add_delta(lmm_answer *answer, const char *data, const lmm_delta *delta, bool all, lmm_piece *piece) {
  if (delta->count > 0) {
    lmm_text *text = delta->is_reasoning ? &answer->reasoning : &answer->text;
    answer->has_reasoning_content = answer->has_reasoning_content || delta->is_reasoning_content;
    int code = lmm_text_add(text, data + delta->start, delta->count, delta->escaped, piece);
    if (code != LMM_OK) return code;
    if (piece->count > 0) return delta->is_reasoning ? LMM_ANSWER_REASONING : LMM_ANSWER_TEXT;
  }
  return all ? LMM_ANSWER_EMPTY : LMM_ANSWER_MORE;
}

/* What an event is; LMM_ANSWER_MORE where it is to be skipped. */
static int take_event(lmm_answer *answer, bool all, lmm_piece *piece) {
  size_t count;
  const char *data = lmm_sse_data(&answer->sse, answer->bytes.data, &count);
  int what = lmm_data_kind(&answer->sse, data, count);
  if (what == LMM_DATA_NOTHING) return LMM_ANSWER_MORE;
  if (what == LMM_DATA_DONE) {
    answer->is_done = true;
    return LMM_ANSWER_DONE;
  }
  lmm_delta delta;
  answer->has_current = true;
  bool plain = lmm_delta_read(&delta, data, count) && answer->sse.event.length == 0 && answer->has_first;
  plain = plain && delta.has_id <= answer->has_id && delta.has_model <= answer->has_model;
  answer->has_first = true;
  answer->has_id = answer->has_id || delta.has_id;
  answer->has_model = answer->has_model || delta.has_model;
  return plain ? add_delta(answer, data, &delta, all, piece) : LMM_ANSWER_EVENT;
}

/* A half of a character that the answer ends with is its last piece. */
static int end_texts(lmm_answer *answer, lmm_piece *piece) {
  if (lmm_text_end(&answer->reasoning, piece)) return LMM_ANSWER_REASONING;
  if (lmm_text_end(&answer->text, piece)) return LMM_ANSWER_TEXT;
  if (!answer->is_done) return LMM_ANSWER_MORE;
  answer->is_done = false;
  return LMM_ANSWER_DONE;
}

static int next_event(lmm_answer *answer, bool all, lmm_piece *piece) {
  for (;;) {
    if (answer->is_done) return end_texts(answer, piece);
    int code = lmm_sse_next(&answer->sse, answer->bytes.data, answer->bytes.length);
    if (code == LMM_OK && answer->is_finished && !answer->is_ended) code = last_event(answer);
    if (code == LMM_OK && answer->is_ended) return end_texts(answer, piece);
    if (code != 1) return code;
    answer->given = answer->sse.at;
    code = take_event(answer, all, piece);
    if (code != LMM_ANSWER_MORE && code != LMM_ANSWER_DONE) return code;
    answer->has_current = false;
  }
}

int lmm_answer_next(lmm_answer *answer, bool all, lmm_piece *piece) {
  int kind = lmm_answer_kind(answer);
  answer->has_current = false;
  int code = kind == LMM_REPLY_EVENTS ? next_event(answer, all, piece) : LMM_ANSWER_MORE;
  if (code == LMM_ANSWER_MORE && answer->is_full) return LMM_LIMIT;
  return kind == LMM_REPLY_JSON ? next_whole(answer) : code;
}

const char *lmm_answer_data(const lmm_answer *answer, size_t *count) {
  if (answer->kind == LMM_REPLY_EVENTS) return lmm_sse_data(&answer->sse, answer->bytes.data, count);
  *count = answer->end - answer->begin;
  return answer->bytes.data + answer->begin;
}

int lmm_answer_replay(const lmm_answer *answer, lmm_sse *sse, const char **data, size_t *count) {
  const char *text = answer->bytes.data;
  if (answer->kind != LMM_REPLY_EVENTS) return 0;
  if (sse->at < answer->begin) sse->at = answer->begin, sse->begun = true;
  do {
    int code = lmm_sse_next(sse, text, answer->given);
    if (code == LMM_OK) code = lmm_sse_finish(sse, text, answer->given);
    if (code != 1) return code;
    *data = lmm_sse_data(sse, text, count);
  } while (lmm_data_kind(sse, *data, *count) != LMM_DATA_EVENT);
  return 1;
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

typedef struct handle {
  lmm_sink sink; /* first, so that an answer is a sink */
  lmm_answer answer;
  lmm_sse replay;
  lmm_decoding how;
  bool is_busy; /* Lua values are being made from its bytes; ever after, where memory ran out meanwhile */
} handle;

static handle *check_answer(lua_State *L) { return luaL_checkudata(L, 1, LMM_ANSWER); }

/* The same for what changes it. While values are made a finalizer may run, and it may call anything. */
static handle *check_changeable(lua_State *L) {
  handle *self = check_answer(L);
  if (self->is_busy) luaL_error(L, "the answer is in use");
  return self;
}

static int feed_sink(lmm_sink *sink, const char *bytes, size_t count) {
  handle *self = (handle *)sink;
  if (self->is_busy) return LMM_INVALID;
  int code = lmm_answer_feed(&self->answer, bytes, count);
  return code == LMM_LIMIT ? LMM_OK : code; /* lmm_answer_next tells it, after what came before */
}

static size_t size_option(lua_State *L, const char *name, size_t max) {
  lua_getfield(L, 1, name);
  lua_Number value = luaL_checknumber(L, -1);
  lua_pop(L, 1);
  if (!(value >= 1)) luaL_error(L, "%s: a positive number expected", name);
  return value >= (lua_Number)max ? max : (size_t)value;
}

/* answer{ reply = bytes, event = bytes, depth = levels } -> answer; what the body and each of its events may have */
static int answer_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  size_t reply = size_option(L, "reply", SIZE_MAX / 4), event = size_option(L, "event", SIZE_MAX / 4);
  size_t depth = size_option(L, "depth", LMM_MAX_DEPTH);
  handle *self = lmm_new_userdata(L, sizeof *self);
  self->sink.feed = feed_sink;
  lmm_answer_init(&self->answer, reply, event);
  lmm_sse_init(&self->replay, event);
  self->how = (lmm_decoding){.depth = depth, .containers = reply / LMM_CONTAINER_BYTES + 1, .lenient = true};
  self->is_busy = false;
  luaL_setmetatable(L, LMM_ANSWER);
  return 1;
}

static int push_limit(lua_State *L, const handle *self) {
  lua_pushnil(L);
  lua_pushliteral(L, "limit");
  lua_pushstring(L, self->answer.sse.failed ? "event" : "reply");
  return 3;
}

/* nil, "limit", and which one: "reply" or "event" */
static int push_code(lua_State *L, const handle *self, int code) {
  return code == LMM_LIMIT ? push_limit(L, self) : luaL_error(L, "not enough memory");
}

/* answer:feed(bytes) -> true | nil, "limit", "reply" */
static int answer_feed(lua_State *L) {
  handle *self = check_changeable(L);
  size_t count;
  const char *bytes = luaL_checklstring(L, 2, &count);
  int code = lmm_answer_feed(&self->answer, bytes, count);
  if (code != LMM_OK) return push_code(L, self, code);
  lua_pushboolean(L, true);
  return 1;
}

/* answer:finish(), once the input has ended well */
static int answer_finish(lua_State *L) {
  lmm_answer_finish(&check_changeable(L)->answer);
  return 0;
}

/* answer:kind() -> "json" | "events" | "other" | nil while it cannot be told */
static int answer_kind(lua_State *L) {
  static const char *const names[] = {NULL, "json", "events", "other"};
  lua_pushstring(L, names[lmm_answer_kind(&check_answer(L)->answer)]);
  return 1;
}

/* Before 5.2 the collector, and so a finalizer, runs before the bytes are copied. */
static void push_guarded(lua_State *L, handle *self, const char *bytes, size_t count) {
  bool was_busy = self->is_busy;
  self->is_busy = true;
  lua_pushlstring(L, bytes, count);
  self->is_busy = was_busy;
}

/* answer:next(all?) -> "text", piece | "reasoning", piece | "empty" (only with `all`) | "event", name | "done" |
 * "whole" | false: more bytes are needed, or there is nothing more | nil, "limit", which */
static int answer_next(lua_State *L) {
  bool all = lua_toboolean(L, 2) != 0; /* before anything is pushed to its place */
  handle *self = lua_touserdata(L, 1);
  if (self == NULL || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, lua_upvalueindex(1)) || self->is_busy)
    self = check_changeable(L);
  lmm_piece piece = {"", 0};
  int code = lmm_answer_next(&self->answer, all, &piece);
  if (code < 0) return push_code(L, self, code);
  if (code == LMM_ANSWER_MORE) {
    lua_pushboolean(L, false);
    return 1;
  }
  lua_pushvalue(L, lua_upvalueindex(1 + code)); /* its name */
  if (code == LMM_ANSWER_EVENT)
    lmm_push_buf(L, &self->answer.sse.event);
  else if (code == LMM_ANSWER_TEXT || code == LMM_ANSWER_REASONING)
    push_guarded(L, self, piece.bytes, piece.count);
  else
    return 1;
  return 2;
}

static int decode(lua_State *L, handle *self, const char *data, size_t count, bool clean, bool halves) {
  lmm_decoding how = self->how; /* of its own: a finalizer may decode meanwhile */
  bool was_busy = self->is_busy;
  how.clean = clean;
  how.halves = halves;
  self->is_busy = true;
  int results = lmm_decode(L, data, count, &how);
  self->is_busy = was_busy;
  self->how.has_halves = how.has_halves;
  self->how.used = how.used;
  return results;
}

static const char *check_current(lua_State *L, const handle *self, size_t *count) {
  if (!self->answer.has_current) luaL_error(L, "there is no event now");
  return lmm_answer_data(&self->answer, count);
}

/* answer:value() -> the event given last, without nulls, whole numbers as integers | nil, message, byte, why (as
 * decode)
 *
 * Where a text in it begins or ends with half a character: value, nil, the same value with such halves kept, as three
 * bytes each. Pieces are joined from that one (answer:append, core.join). */
static int answer_value(lua_State *L) {
  handle *self = check_answer(L);
  size_t count;
  const char *data = check_current(L, self, &count);
  int results = decode(L, self, data, count, true, false);
  if (results > 1 || !self->how.has_halves) return results;
  lua_pushnil(L);
  (void)decode(L, self, data, count, true, true);
  return 3;
}

/* answer:exact() -> the same as it came, nulls included | nil, message, byte, why */
static int answer_exact(lua_State *L) {
  handle *self = check_answer(L);
  size_t count;
  const char *data = check_current(L, self, &count);
  return decode(L, self, data, count, false, false);
}

/* answer:data() -> the JSON of the event given last, as it came */
static int answer_data(lua_State *L) {
  handle *self = check_answer(L);
  size_t count;
  const char *data = check_current(L, self, &count);
  push_guarded(L, self, data, count);
  return 1;
}

static int push_text(lua_State *L, handle *self, const lmm_text *text) {
  size_t count = text->bytes.length - (text->has_half ? 3 : 0);
  push_guarded(L, self, text->bytes.length > 0 ? text->bytes.data : "", count);
  return 1;
}

/* answer:text(), answer:reasoning() -> all of it so far; of the latter also the name that plain deltas give it */
static int answer_text(lua_State *L) {
  handle *self = check_answer(L);
  return push_text(L, self, &self->answer.text);
}
static int answer_reasoning(lua_State *L) {
  handle *self = check_answer(L);
  push_text(L, self, &self->answer.reasoning);
  lua_pushstring(L, self->answer.has_reasoning_content ? "reasoning_content" : "reasoning");
  return 2;
}

/* answer:append("text" or "reasoning", bytes) -> what of it is complete now | nil, "limit", "reply" */
static int answer_append(lua_State *L) {
  static const char *const names[] = {"text", "reasoning", NULL};
  handle *self = check_changeable(L);
  int which = luaL_checkoption(L, 2, NULL, names);
  size_t count;
  const char *bytes = luaL_checklstring(L, 3, &count);
  lmm_piece piece;
  int code = lmm_text_add(which == 0 ? &self->answer.text : &self->answer.reasoning, bytes, count, false, &piece);
  if (code != LMM_OK) return push_code(L, self, code);
  push_guarded(L, self, piece.bytes, piece.count);
  return 1;
}

/* answer:raw() -> the list of all events given so far, or the one JSON text, exactly as they came. Raises where they hold
 * more lists and objects in all than one event may. Of a reply that is
 * not JSON: nil, message, byte, why. */
static int answer_raw(lua_State *L) {
  handle *self = check_changeable(L);
  const char *data;
  size_t count;
  int code, length = 0;
  size_t left = self->how.containers;
  if (lmm_answer_kind(&self->answer) != LMM_REPLY_EVENTS) {
    data = lmm_answer_data(&self->answer, &count);
    return decode(L, self, data, self->answer.is_ended ? count : 0, false, false);
  }
  lua_newtable(L);
  lmm_sse_free(&self->replay);
  lmm_sse_init(&self->replay, self->replay.max);
  while ((code = lmm_answer_replay(&self->answer, &self->replay, &data, &count)) == 1) {
    if (decode(L, self, data, count, false, false) == 1)
      lua_rawseti(L, -2, ++length);
    else
      lua_pop(L, 4);
    if (self->how.used > left) return luaL_error(L, "the reply holds too many lists and objects to decode (limits.reply)");
    left -= self->how.used;
  }
  return code == LMM_OK ? 1 : push_code(L, self, code);
}

/* answer:bytes(skipped?) -> all that came, but for so many bytes; answer:rest() -> what stands behind the last event that was given */
static int push_bytes(lua_State *L, handle *self, size_t from) {
  const lmm_buf *bytes = &self->answer.bytes;
  push_guarded(L, self, bytes->length > 0 ? bytes->data + from : "", bytes->length - from);
  return 1;
}
static int answer_bytes(lua_State *L) {
  handle *self = check_answer(L);
  lua_Number skipped = luaL_optnumber(L, 2, 0);
  size_t length = self->answer.bytes.length;
  return push_bytes(L, self, skipped >= (lua_Number)length ? length : skipped > 0 ? (size_t)skipped : 0);
}
static int answer_rest(lua_State *L) {
  handle *self = check_answer(L);
  return push_bytes(L, self, self->answer.given);
}

/* answer:size() -> how many bytes came */
static int answer_size(lua_State *L) {
  lua_pushnumber(L, (lua_Number)check_answer(L)->answer.bytes.length);
  return 1;
}

static int answer_close(lua_State *L) {
  handle *self = check_answer(L);
  size_t max_reply = self->answer.bytes.max, max_event = self->answer.sse.max;
  lmm_answer_free(&self->answer);
  lmm_sse_free(&self->replay);
  lmm_answer_init(&self->answer, max_reply, max_event);
  return 0;
}

int lmm_answer_open(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"feed", answer_feed},     {"finish", answer_finish}, {"kind", answer_kind},
      {"value", answer_value},   {"exact", answer_exact},   {"data", answer_data},
      {"text", answer_text},     {"append", answer_append}, {"reasoning", answer_reasoning},
      {"raw", answer_raw},       {"bytes", answer_bytes},   {"rest", answer_rest},
      {"size", answer_size},     {NULL, NULL}};
  lmm_new_type(L, LMM_ANSWER, methods, answer_close);
  lua_getfield(L, -1, "__index");
  lua_pushvalue(L, -2);
  static const char *const names[] = {"text", "reasoning", "empty", "event", "done", "whole"}; /* LMM_ANSWER_TEXT ... */
  for (int i = 0; i < 6; i++) lua_pushstring(L, names[i]);
  lua_pushcclosure(L, answer_next, 7);
  lua_setfield(L, -2, "next");
  lua_pop(L, 1);
  lmm_set_integer(L, LMM_SINK_KEY, LMM_SINK_ABI);
  lua_pop(L, 1);
  lua_pushcfunction(L, answer_new);
  return 1;
}
