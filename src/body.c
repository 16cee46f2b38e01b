/* body.c: a JSON text with tokens and what they stand for come in; the request body goes out piece by piece. It knows
 * its exact size, can start again, and holds no media in memory: a media's bytes are read into the last three quarters
 * of the caller's own buffer and encoded forwards in place. */
#include <stdlib.h>
#include <string.h>

#include "lmm.h"

static uint64_t body_size(const lmm_source *source) { return ((const lmm_body *)source)->size; }

static int body_rewind(lmm_source *source, lmm_error *error) {
  lmm_body *body = (lmm_body *)source;
  (void)error;
  lmm_reader_close(&body->reader);
  body->current = 0;
  body->offset = 0;
  return LMM_OK;
}

/* Each of these gives how much of the current segment it wrote, 0 at the segment's end, or a negative code. */
static ptrdiff_t read_text(lmm_body *body, const lmm_segment *segment, char *out, size_t capacity) {
  size_t left = segment->length - body->offset;
  size_t count = left < capacity ? left : capacity;
  memcpy(out, segment->text + body->offset, count);
  body->offset += count;
  return (ptrdiff_t)count;
}

static ptrdiff_t read_media(lmm_body *body, const lmm_segment *segment, char *out, size_t capacity, lmm_error *error) {
  if (body->reader.media == NULL) {
    int code = lmm_reader_open(&body->reader, segment->media, error);
    if (code != LMM_OK) return code;
  }
  size_t room = capacity / 4 * 4;
  size_t want = room / 4 * 3;
  unsigned char *raw = (unsigned char *)out + (room - want);
  ptrdiff_t got = lmm_reader_read(&body->reader, raw, want, error);
  if (got == 0) lmm_reader_close(&body->reader);
  if (got <= 0) return got; /* after a failure the reader stays where it was */
  return (ptrdiff_t)lmm_base64_encode(body->kernel, out, raw, (size_t)got);
}

static ptrdiff_t body_read(lmm_source *source, char *out, size_t capacity, lmm_error *error) {
  lmm_body *body = (lmm_body *)source;
  if (body->segments == NULL) return lmm_fail(error, LMM_INVALID, "the request body is closed");
  size_t length = 0;
  while (body->current < body->count) {
    const lmm_segment *segment = &body->segments[body->current];
    size_t room = capacity - length;
    if (room == 0 || (segment->media != NULL && room < LMM_SOURCE_MIN)) break;
    ptrdiff_t wrote = segment->media != NULL ? read_media(body, segment, out + length, room, error)
                                             : read_text(body, segment, out + length, room);
    if (wrote < 0 && length == 0) return wrote;
    if (wrote < 0) break; /* what was written before is not lost, and the next call fails again */
    if (wrote == 0) {
      body->current++;
      body->offset = 0;
    }
    length += (size_t)wrote;
  }
  return (ptrdiff_t)length;
}

static void add_segment(lmm_body *body, lmm_segment segment) {
  if (segment.media == NULL && segment.length == 0) return;
  body->segments[body->count++] = segment;
  body->size += segment.media != NULL ? LMM_BASE64_LENGTH(segment.media->size) : segment.length;
}

/* The number of the token that begins at `text`, right behind the token's name, and where it ends; 0 if there is none. */
static size_t token_number(const char *text, const char *end, size_t count, const char **after) {
  size_t number = 0;
  const char *at = text;
  while (at < end && *at >= '0' && *at <= '9' && number <= count) number = number * 10 + (size_t)(*at++ - '0');
  if (at == end || *at != ';' || number > count) return 0;
  *after = at + 1;
  return number;
}

static int cut(lmm_body *body, const char *json, size_t length, const char *token, const lmm_segment *splices,
               size_t count, bool *used) {
  const char *end = json + length, *literal = json, *found;
  size_t left = count, token_length = strlen(token);
  while (count > 0 && (found = memmem(literal, (size_t)(end - literal), token, token_length)) != NULL) {
    const char *after = NULL, *before = found;
    size_t number = token_number(found + token_length, end, count, &after);
    if (number == 0 || used[number - 1]) return LMM_AGAIN;
    const lmm_segment *splice = &splices[number - 1];
    if (splice->media == NULL) { /* the quotes around the token go, too */
      if (before == literal || *--before != '"' || after == end || *after++ != '"') return LMM_AGAIN;
    }
    add_segment(body, (lmm_segment){literal, (size_t)(before - literal), NULL});
    add_segment(body, *splice);
    used[number - 1] = true;
    literal = after;
    left--;
  }
  add_segment(body, (lmm_segment){literal, (size_t)(end - literal), NULL});
  return left == 0 ? LMM_OK : LMM_AGAIN;
}

int lmm_body_splice(lmm_body *body, const char *json, size_t length, const char *token, const lmm_segment *splices,
                    size_t count) {
  memset(body, 0, sizeof *body);
  body->source = (lmm_source){body_size, body_read, body_rewind};
  body->reader.fd = -1;
  body->kernel = lmm_base64_find(NULL);
  bool *used = calloc(count + 1, sizeof *used);
  body->segments = calloc(2 * count + 1, sizeof *body->segments);
  int code = used == NULL || body->segments == NULL ? LMM_NOMEM
                                                    : cut(body, json, length, token, splices, count, used);
  free(used);
  if (code != LMM_OK) lmm_body_close(body);
  return code;
}

void lmm_body_close(lmm_body *body) {
  lmm_reader_close(&body->reader);
  free(body->segments);
  body->segments = NULL;
  lmm_buf_free(&body->buffer);
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

/* Turns the list at index 3 into an array of segments, in a scratch userdata that it leaves on the stack, and copies
 * its values to the table on the top, which keeps them alive. */
static lmm_segment *check_splices(lua_State *L, size_t count) {
  int anchor = lua_gettop(L);
  lmm_segment *splices = lua_newuserdata(L, (count + 1) * sizeof *splices);
  for (size_t i = 0; i < count; i++) {
    splices[i] = (lmm_segment){NULL, 0, NULL};
    lua_rawgeti(L, 3, (int)i + 1);
    const lmm_media *media = luaL_testudata(L, -1, LMM_MEDIA);
    if (media != NULL && media->size > 0)
      splices[i].media = media;
    else if (lua_type(L, -1) == LUA_TSTRING)
      splices[i].text = lua_tolstring(L, -1, &splices[i].length);
    else
      luaL_argerror(L, 3, "a list of strings and media expected");
    lua_rawseti(L, anchor, (int)i + 2);
  }
  return splices;
}

/* body(text) -> body
 * body(json, token, { string or media, ... }) -> body | nil where the token is not unique in the text */
static int body_new(lua_State *L) {
  size_t length;
  const char *json = luaL_checklstring(L, 1, &length);
  const char *token = luaL_optstring(L, 2, "");
  if (!lua_isnoneornil(L, 3)) luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 3);
  size_t count = lua_istable(L, 3) ? lua_rawlen(L, 3) : 0;
  luaL_argcheck(L, count == 0 || *token != '\0', 2, "empty token");

  lmm_body *body = lmm_new_userdata(L, sizeof *body);
  memset(body, 0, sizeof *body);
  body->reader.fd = -1;
  luaL_setmetatable(L, LMM_BODY);
  lua_newtable(L);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  lmm_segment *splices = check_splices(L, count);
  lua_pushvalue(L, -2);
  lmm_set_anchor(L, 4);

  int code = lmm_body_splice(body, json, length, token, splices, count);
  if (code == LMM_NOMEM) return luaL_error(L, "not enough memory");
  if (code == LMM_AGAIN) lua_pushnil(L);
  if (code == LMM_OK) lua_pushvalue(L, 4);
  return 1;
}

static lmm_body *check_body(lua_State *L) {
  lmm_body *body = luaL_checkudata(L, 1, LMM_BODY);
  luaL_argcheck(L, body->segments != NULL, 1, "closed body");
  return body;
}

/* body:size() -> bytes */
static int body_get_size(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check_body(L)->size);
  return 1;
}

#define READ_MAX ((size_t)1 << 30)

/* body:read(capacity) -> at most that many bytes (4 or more must be asked for) | nil at the end | nil, message
 * The bytes are read into a buffer that the body keeps until it is closed, so that a long body takes no new one for each
 * of its pieces. */
static int body_get_read(lua_State *L) {
  lmm_body *body = check_body(L);
  lua_Integer capacity = luaL_optinteger(L, 2, 65536);
  luaL_argcheck(L, capacity >= (lua_Integer)LMM_SOURCE_MIN && capacity <= (lua_Integer)READ_MAX, 2, "4 bytes to 1 GiB");
  body->buffer.max = READ_MAX;
  if (lmm_buf_reserve(&body->buffer, (size_t)capacity) != LMM_OK) return luaL_error(L, "not enough memory");
  lmm_error error = {LMM_OK, ""};
  ptrdiff_t count = body_read(&body->source, body->buffer.data, (size_t)capacity, &error);
  if (count < 0) return lmm_push_error(L, &error);
  if (count == 0) return 0;
  lua_pushlstring(L, body->buffer.data, (size_t)count);
  return 1;
}

static int body_get_rewind(lua_State *L) {
  lmm_error error = {LMM_OK, ""};
  (void)body_rewind(&check_body(L)->source, &error);
  return 0;
}

static int body_get_close(lua_State *L) {
  lmm_body_close(luaL_checkudata(L, 1, LMM_BODY));
  return 0;
}

int lmm_body_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"size", body_get_size},
                                     {"read", body_get_read},
                                     {"rewind", body_get_rewind},
                                     {"close", body_get_close},
                                     {NULL, NULL}};
  lmm_new_type(L, LMM_BODY, methods, body_get_close);
  lmm_set_integer(L, LMM_SOURCE_KEY, LMM_SOURCE_ABI);
  lua_pop(L, 1);
  lua_pushcfunction(L, body_new);
  return 1;
}
