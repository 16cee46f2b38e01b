/* body.c: a text and the media that go into it come in; the request body goes out piece by piece. It knows its exact
 * size, can start again, and holds no media in memory: a media's bytes are read into the caller's own buffer, those that
 * go as base64 into the last three quarters of what they will take there, and encoded forwards in place. A value that the
 * server may have already can be read as null; what a tap calls a media stands behind it. */
#include <string.h>

#include "lmm.h"

static uint64_t body_size(const lmm_source *source) { return lmm_body_size((const lmm_body *)source); }

static int body_rewind(lmm_source *source, lmm_error *error) {
  lmm_body *body = (lmm_body *)source;
  (void)error;
  lmm_reader_close(&body->reader);
  body->offset = 0;
  body->next = 0;
  body->word_at = body->word_count = 0;
  return LMM_OK;
}

/* Up to the place of the next insert. */
static ptrdiff_t read_text(lmm_body *body, char *out, size_t capacity) {
  size_t end = body->next < body->count ? body->inserts[body->next].at : body->length;
  size_t left = end - body->offset;
  size_t count = left < capacity ? left : capacity;
  memcpy(out, body->text + body->offset, count);
  body->offset += count;
  return (ptrdiff_t)count;
}

static ptrdiff_t read_word(lmm_body *body, char *out, size_t capacity) {
  size_t left = body->word_count - body->word_at;
  size_t count = left < capacity ? left : capacity;
  memcpy(out, body->word + body->word_at, count);
  body->word_at += count;
  return (ptrdiff_t)count;
}

static int fail_tap(lmm_error *error, int code) {
  return code == LMM_NOMEM ? lmm_fail(error, code, "no memory")
                           : lmm_fail(error, code, "a media's name stands before its bytes");
}

static bool is_media(const lmm_insert *insert) {
  return insert->kind == LMM_INSERT_BASE64 || insert->kind == LMM_INSERT_RAW;
}

/* Whether the insert before (-1) or behind (1) this one is a media for the same tap, which sees them as one. */
static bool has_neighbour(const lmm_body *body, const lmm_insert *insert, int step) {
  if (step < 0 ? body->next == 0 : body->next + 1 == body->count) return false;
  return insert[step].tap == insert->tap && is_media(&insert[step]);
}

static int open_media(lmm_body *body, const lmm_insert *insert, lmm_error *error) {
  int code = lmm_reader_open(&body->reader, insert->media, error);
  if (code != LMM_OK || insert->tap == NULL || has_neighbour(body, insert, -1)) return code;
  code = insert->tap->begin(insert->tap);
  if (code == LMM_OK) return LMM_OK;
  lmm_reader_close(&body->reader);
  return fail_tap(error, code);
}

/* The media has been read. The tap sees how long each but the last was, so that it knows where the next begins. */
static int end_media(const lmm_body *body, const lmm_insert *insert) {
  lmm_tap *tap = insert->tap;
  if (!has_neighbour(body, insert, 1)) return tap->end(tap);
  unsigned char length[8];
  for (int i = 0; i < 8; i++) length[i] = (unsigned char)(insert->media->size >> (8 * i));
  return tap->feed(tap, length, sizeof length);
}

/* Gives 0 at the end of the media, and a negative code where it fails. */
static ptrdiff_t read_media(lmm_body *body, const lmm_insert *insert, char *out, size_t capacity, lmm_error *error) {
  int code = body->reader.media == NULL ? open_media(body, insert, error) : LMM_OK;
  if (code != LMM_OK) return code;
  bool is_raw = insert->kind == LMM_INSERT_RAW;
  uint64_t left = insert->media->size - body->reader.offset;
  size_t want = is_raw ? capacity : capacity / 4 * 3;
  if (left < want) want = (size_t)left;
  unsigned char *raw = (unsigned char *)out + (is_raw ? 0 : LMM_BASE64_LENGTH(want) - want);
  ptrdiff_t got = lmm_reader_read(&body->reader, raw, want, error);
  if (got < 0) return got; /* after a failure the reader stays where it was */
  if (insert->tap != NULL && got > 0) code = insert->tap->feed(insert->tap, raw, (size_t)got);
  if (insert->tap != NULL && got == 0) code = end_media(body, insert);
  if (code == LMM_INVALID) return lmm_media_changed(insert->media, error);
  if (code != LMM_OK) return fail_tap(error, code);
  if (got > 0) return is_raw ? got : (ptrdiff_t)lmm_base64_encode(body->kernel, out, raw, (size_t)got);
  lmm_reader_close(&body->reader);
  body->next++;
  return 0;
}

/* Where the value that begins with this insert ends. */
static size_t end_of_known(const lmm_body *body, size_t at) {
  while (body->inserts[at].kind != LMM_INSERT_KNOWN_END) at++;
  return at;
}

/* Takes an insert that is no media. */
static int take_mark(lmm_body *body, const lmm_insert *insert, lmm_error *error) {
  if (insert->kind == LMM_INSERT_NAME) {
    int code = insert->tap->name(insert->tap, body->word);
    if (code != LMM_OK) return fail_tap(error, code);
    body->word_at = 0;
    body->word_count = LMM_TAP_NAME;
  } else if (insert->kind == LMM_INSERT_KNOWN && body->is_brief) {
    memcpy(body->word, "null", 4);
    body->word_at = 0;
    body->word_count = 4;
    body->next = end_of_known(body, body->next);
    body->offset = body->inserts[body->next].at;
  }
  body->next++;
  return LMM_OK;
}

/* The one whose place is here, or NULL. */
static const lmm_insert *next_insert(const lmm_body *body) {
  bool is_here = body->next < body->count && body->inserts[body->next].at == body->offset;
  return is_here ? &body->inserts[body->next] : NULL;
}

static ptrdiff_t body_read(lmm_source *source, char *out, size_t capacity, lmm_error *error) {
  lmm_body *body = (lmm_body *)source;
  if (body->text == NULL) return lmm_fail(error, LMM_INVALID, "the request body is closed");
  size_t length = 0;
  while (length < capacity) {
    const lmm_insert *insert = next_insert(body);
    ptrdiff_t wrote;
    if (body->word_at < body->word_count)
      wrote = read_word(body, out + length, capacity - length);
    else if (insert != NULL && !is_media(insert))
      wrote = take_mark(body, insert, error);
    else if (insert != NULL ? capacity - length < LMM_SOURCE_MIN : body->offset == body->length)
      break;
    else if (insert != NULL)
      wrote = read_media(body, insert, out + length, capacity - length, error);
    else
      wrote = read_text(body, out + length, capacity - length);
    if (wrote < 0 && length == 0) return wrote;
    if (wrote < 0) break; /* what was written before is not lost, and the next call fails again */
    length += (size_t)wrote;
  }
  return (ptrdiff_t)length;
}

uint64_t lmm_body_size(const lmm_body *body) {
  uint64_t size = body->length;
  for (size_t i = 0; i < body->count; i++) {
    const lmm_insert *insert = &body->inserts[i];
    if (insert->kind == LMM_INSERT_BASE64) {
      size += LMM_BASE64_LENGTH(insert->media->size);
    } else if (insert->kind == LMM_INSERT_RAW) {
      size += insert->media->size;
    } else if (insert->kind == LMM_INSERT_NAME) {
      size += LMM_TAP_NAME;
    } else if (insert->kind == LMM_INSERT_KNOWN && body->is_brief) {
      i = end_of_known(body, i);
      size -= body->inserts[i].at - insert->at;
      size += 4;
    }
  }
  return size;
}

void lmm_body_init(lmm_body *body, const char *text, size_t length, const lmm_insert *inserts, size_t count,
                   bool is_brief) {
  memset(body, 0, sizeof *body);
  body->source = (lmm_source){body_size, body_read, body_rewind};
  body->reader.fd = -1;
  body->kernel = lmm_base64_find(NULL);
  body->text = text;
  body->length = length;
  body->inserts = inserts;
  body->count = count;
  body->is_brief = is_brief;
}

void lmm_body_close(lmm_body *body) {
  lmm_reader_close(&body->reader);
  lmm_buf_free(&body->buffer);
  body->text = NULL;
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

lmm_body *lmm_push_body(lua_State *L, const char *text, size_t length, const lmm_insert *inserts, size_t count,
                        bool is_brief) {
  size_t before = sizeof(lmm_body) + count * sizeof *inserts;
  lmm_body *body = lmm_new_userdata(L, before + length);
  lmm_insert *places = (lmm_insert *)(body + 1);
  char *copy = (char *)body + before;
  if (count > 0) memcpy(places, inserts, count * sizeof *inserts);
  if (length > 0) memcpy(copy, text, length);
  lmm_body_init(body, copy, length, places, count, is_brief);
  luaL_setmetatable(L, LMM_BODY);
  return body;
}

/* body(text) -> a body of just this text */
static int body_new(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  if (lua_gettop(L) > 1) /* as Lua files call it that are older than core.write, and have nothing that would notice */
    return luaL_error(L, "lmm: the Lua files are older than the C module lmm.core, which is of version %s: "
                         "install lmm again", LMM_VERSION "-" LMM_INTERFACE);
  lmm_body *body = lmm_new_userdata(L, sizeof *body);
  lmm_body_init(body, text, length, NULL, 0, false);
  luaL_setmetatable(L, LMM_BODY);
  lua_createtable(L, 1, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  lmm_set_anchor(L, -2);
  return 1;
}

lmm_body *lmm_check_body(lua_State *L, int index) {
  lmm_body *body = luaL_checkudata(L, index, LMM_BODY);
  luaL_argcheck(L, body->text != NULL, index, "closed body");
  return body;
}

/* body:size() -> bytes */
static int body_get_size(lua_State *L) {
  lmm_push_whole(L, lmm_body_size(lmm_check_body(L, 1)));
  return 1;
}

#define READ_MAX ((size_t)1 << 30)

/* body:read(capacity) -> at most that many bytes (4 or more must be asked for) | nil at the end | nil, message
 * The bytes are read into a buffer that the body keeps until it is closed, so that a long body takes no new one for
 * each of its pieces. */
static int body_get_read(lua_State *L) {
  lmm_body *body = lmm_check_body(L, 1);
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

static bool has_known(const lmm_body *body) {
  for (size_t i = 0; i < body->count; i++)
    if (body->inserts[i].kind == LMM_INSERT_KNOWN) return true;
  return false;
}

/* body:brief() -> the same with a null for each value of core.known | nil where there is none */
static int body_get_brief(lua_State *L) {
  const lmm_body *body = lmm_check_body(L, 1);
  if (!has_known(body)) return 0;
  (void)lmm_push_body(L, body->text, body->length, body->inserts, body->count, true);
  lmm_push_anchor(L, 1);
  lmm_set_anchor(L, -2);
  return 1;
}

static int body_get_rewind(lua_State *L) {
  lmm_error error = {LMM_OK, ""};
  (void)body_rewind(&lmm_check_body(L, 1)->source, &error);
  return 0;
}

static int body_get_close(lua_State *L) {
  lmm_body_close(luaL_checkudata(L, 1, LMM_BODY));
  return 0;
}

int lmm_body_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"size", body_get_size},
                                     {"read", body_get_read},
                                     {"brief", body_get_brief},
                                     {"rewind", body_get_rewind},
                                     {"close", body_get_close},
                                     {NULL, NULL}};
  lmm_new_type(L, LMM_BODY, methods, body_get_close);
  lmm_set_integer(L, LMM_SOURCE_KEY, LMM_SOURCE_ABI);
  lua_pop(L, 1);
  lua_pushcfunction(L, body_new);
  return 1;
}
