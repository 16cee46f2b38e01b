/* digest.c: lmm.digest. Bytes come in, or a file; their SHA-256 goes out, and a name that nobody can make without the
 * secret (HMAC-SHA-256, RFC 2104), under which a server keeps them. As a tap it sees a media's bytes while they are
 * sent, and can insist on what they are. */

#include <errno.h>
#include <fcntl.h>
#include <nettle/hmac.h>
#include <nettle/sha2.h>
#include <nettle/version.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lmm.h"

#define SUM ((size_t)SHA256_DIGEST_SIZE) /* bytes */

/* Writes the sum of all that was added; Nettle 3 is told how much of it. */
#if NETTLE_VERSION_MAJOR < 4
#define FINISH(algorithm, context, sum) algorithm##_digest(context, SUM, sum)
#else
#define FINISH(algorithm, context, sum) algorithm##_digest(context, sum)
#endif

typedef struct digest {
  lmm_tap tap; /* first, so that a digest is a tap */
  struct sha256_ctx context;
  bool is_over;     /* `sum` is there */
  bool is_expected; /* `expected` is: what it sees must have this sum, and has its name before it is seen */
  unsigned char sum[SUM], expected[SUM];
  unsigned char secret[SUM], purpose[SUM]; /* of the name: see `tap_name` */
} digest;

static int tap_begin(lmm_tap *tap) {
  digest *self = (digest *)tap;
  self->is_over = false;
  sha256_init(&self->context);
  return LMM_OK;
}

static int tap_feed(lmm_tap *tap, const void *bytes, size_t count) {
  digest *self = (digest *)tap;
  if (self->is_over) return LMM_INVALID;
  sha256_update(&self->context, count, bytes);
  return LMM_OK;
}

static int tap_end(lmm_tap *tap) {
  digest *self = (digest *)tap;
  if (!self->is_over) FINISH(sha256, &self->context, self->sum);
  self->is_over = true;
  return !self->is_expected || memcmp(self->sum, self->expected, SUM) == 0 ? LMM_OK : LMM_INVALID;
}

static void write_hex(char *out, const unsigned char *sum) {
  for (size_t i = 0; i < SUM; i++) {
    out[2 * i] = "0123456789abcdef"[sum[i] >> 4];
    out[2 * i + 1] = "0123456789abcdef"[sum[i] & 15];
  }
}

/* HMAC(secret, purpose, sum): the same bytes have one name for each purpose. */
static int tap_name(lmm_tap *tap, char *out) {
  const digest *self = (const digest *)tap;
  if (!self->is_expected && !self->is_over) return LMM_INVALID;
  const unsigned char *sum = self->is_expected ? self->expected : self->sum;
  unsigned char message[2 * SUM], code[SUM];
  memcpy(message, self->purpose, SUM);
  memcpy(message + SUM, sum, SUM);
  struct hmac_sha256_ctx context;
  hmac_sha256_set_key(&context, SUM, self->secret);
  hmac_sha256_update(&context, sizeof message, message);
  FINISH(hmac_sha256, &context, code);
  write_hex(out, code);
  return LMM_OK;
}

static void sum_text(const void *text, size_t count, unsigned char *sum) {
  struct sha256_ctx context;
  sha256_init(&context);
  sha256_update(&context, count, text);
  FINISH(sha256, &context, sum);
}

static int cannot_read(const char *path, const char *why, lmm_error *error) {
  return lmm_fail(error, LMM_INVALID, "cannot read '%.*s': %s", lmm_shown(path), path, why);
}

/* Adds all that can be read of a file. What is none may block whoever reads it, or have no end. */
static int feed_file(digest *self, const char *path, int fd, lmm_error *error) {
  struct stat status;
  if (fstat(fd, &status) != 0) return cannot_read(path, strerror(errno), error);
  if (!S_ISREG(status.st_mode)) return cannot_read(path, "it is not a file", error);
  unsigned char bytes[16384];
  for (;;) {
    ssize_t got = read(fd, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return cannot_read(path, strerror(errno), error);
    if (got == 0) return LMM_OK;
    sha256_update(&self->context, (size_t)got, bytes);
  }
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

#define LMM_DIGEST "lmm.digest"

static digest *check_digest(lua_State *L) { return luaL_checkudata(L, 1, LMM_DIGEST); }

/* Pushes a digest that has seen nothing yet; `secret` and `purpose` are places on the stack, or 0. */
static digest *push_digest(lua_State *L, int secret, int purpose) {
  digest *self = lmm_new_userdata(L, sizeof *self);
  memset(self, 0, sizeof *self);
  luaL_setmetatable(L, LMM_DIGEST);
  self->tap = (lmm_tap){tap_begin, tap_feed, tap_end, tap_name};
  size_t count = 0;
  const char *text = secret != 0 ? luaL_optlstring(L, secret, "", &count) : "";
  sum_text(text, count, self->secret);
  text = purpose != 0 ? luaL_optlstring(L, purpose, "", &count) : "";
  sum_text(text, purpose != 0 ? count : 0, self->purpose);
  (void)tap_begin(&self->tap);
  return self;
}

static int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

/* new(secret?, purpose?, hex?) -> digest, of nothing so far
 * The name that it gives depends on both texts; neither can be found from it. A digest is a tap for core.embed: with
 * `hex`, the SHA-256 that the media must have, it refuses other bytes, and gives the name before they are read. */
static int digest_new(lua_State *L) {
  lua_settop(L, 3);
  size_t count = 0;
  const char *hex = luaL_optlstring(L, 3, NULL, &count);
  bool is_sum = hex == NULL || (count == 2 * SUM && strspn(hex, "0123456789abcdef") == count);
  luaL_argcheck(L, is_sum, 3, "a SHA-256 in hex expected");
  digest *self = push_digest(L, 1, 2);
  self->is_expected = hex != NULL;
  for (size_t i = 0; hex != NULL && i < SUM; i++)
    self->expected[i] = (unsigned char)(digit(hex[2 * i]) * 16 + digit(hex[2 * i + 1]));
  return 1;
}

/* digest:update(text) -> digest, of what it has seen and the text; raises once it was asked what it is */
static int digest_update(lua_State *L) {
  digest *self = check_digest(L);
  size_t count;
  const char *text = luaL_checklstring(L, 2, &count);
  luaL_argcheck(L, !self->is_over, 1, "this digest is at its end");
  (void)tap_feed(&self->tap, text, count);
  lua_settop(L, 1);
  return 1;
}

/* digest:finish() -> digest, to which nothing is added any more */
static int digest_finish(lua_State *L) {
  if (tap_end(&check_digest(L)->tap) != LMM_OK) return luaL_error(L, "these are not the bytes of the SHA-256 given");
  lua_settop(L, 1);
  return 1;
}

static int push_hex(lua_State *L, const unsigned char *sum) {
  char text[2 * SUM];
  write_hex(text, sum);
  lua_pushlstring(L, text, sizeof text);
  return 1;
}

/* digest:hex() -> the SHA-256 in hex | nil before the end was seen */
static int digest_hex(lua_State *L) {
  const digest *self = check_digest(L);
  return self->is_over ? push_hex(L, self->sum) : 0;
}

/* digest:name() -> the name of what it has seen, or is to see: 64 characters | nil where neither is known */
static int digest_name(lua_State *L) {
  char name[LMM_TAP_NAME];
  int code = tap_name(&check_digest(L)->tap, name);
  if (code != LMM_OK) return 0;
  lua_pushlstring(L, name, sizeof name);
  return 1;
}

/* file(path) -> the SHA-256 of a file in hex | nil, message */
static int digest_file(lua_State *L) {
  const char *path = lmm_check_path(L, 1);
  digest *self = push_digest(L, 0, 0);
  lmm_error error = {LMM_OK, ""};
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  int code = fd < 0 ? cannot_read(path, strerror(errno), &error) : feed_file(self, path, fd, &error);
  if (fd >= 0) (void)close(fd);
  if (code != LMM_OK) return lmm_push_error(L, &error);
  (void)tap_end(&self->tap);
  return push_hex(L, self->sum);
}

/* random() -> 32 bytes that nobody can guess */
static int digest_random(lua_State *L) {
  unsigned char bytes[SUM];
  if (getentropy(bytes, sizeof bytes) != 0)
    return luaL_error(L, "lmm.digest: the system has no random bytes: %s", strerror(errno));
  lua_pushlstring(L, (const char *)bytes, sizeof bytes);
  return 1;
}

LMM_EXPORT int luaopen_lmm_digest(lua_State *L);

LMM_EXPORT int luaopen_lmm_digest(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"new", digest_new}, {"file", digest_file}, {"random", digest_random}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"update", digest_update},
                                     {"finish", digest_finish},
                                     {"hex", digest_hex},
                                     {"name", digest_name},
                                     {NULL, NULL}};
  lmm_check_lua(L);
  lmm_stay_loaded(functions);
  lmm_new_type(L, LMM_DIGEST, methods, NULL);
  lmm_set_integer(L, LMM_TAP_KEY, LMM_TAP_ABI);
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  lmm_set_version(L);
  return 1;
}
