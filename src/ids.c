/* ids.c: of lmm.files.journal, the set of ids that a run has met, each with four flags. It stands in a file without a
 * name, so that it takes as little memory for a hundred million ids as for ten: what the system keeps of the file in its
 * cache it gives away when memory is wanted.
 *
 * An id is known by 124 bits of its hash: two of a thousand million ids are taken for one with a chance of one in 10^19. The
 * file is a table of slots of 16 bytes, sorted by hash. The first bits of a hash say where its slot is to be; where that
 * is taken, the next ones move on by one. Half of the slots are free, so that a look at a kilobyte nearly always tells,
 * and since the order stays, a table that is full is copied into one of twice its size from its beginning to its end. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lmm.h"

#define FLAGS ((uint64_t)15)
#define FIRST_BITS 10
#define MOST_BITS 40
#define WINDOW 64  /* slots that are read to find one */
#define BLOCK 1024 /* slots that are copied at once */

typedef struct slot {
  uint64_t hash; /* 0: free */
  uint64_t rest; /* of the hash, and the flags in its last bits */
} slot;

typedef struct ids {
  int fd;    /* -1: closed */
  int bits;  /* the table has 2^bits slots, and some behind it, into which the last ones moved on */
  uint64_t count;
  const char *path; /* beside which the file stands */
} ids;

/* FNV-1a twice, the second also by what the first came to; the bits are mixed at the end, since slots are ordered by them. */
static slot hash(const char *text, size_t length) {
  uint64_t a = 14695981039346656037u, b = 0x9e3779b97f4a7c15u;
  for (size_t i = 0; i < length; i++) {
    a = (a ^ (unsigned char)text[i]) * 1099511628211u;
    b = (b ^ (unsigned char)text[i] ^ (a >> 32)) * 0xd6e8feb86659fd93u;
  }
  a ^= b >> 29;
  a = (a ^ (a >> 33)) * 0xff51afd7ed558ccdu;
  a = (a ^ (a >> 33)) * 0xc4ceb9fe1a85ec53u;
  a ^= a >> 33;
  b = (b ^ (b >> 32)) * 0xd6e8feb86659fd93u;
  b ^= b >> 32;
  return (slot){a != 0 ? a : 1, b & ~FLAGS};
}

/* Below, at or above 0: `a` stands before, at or after `b`. */
static int compare(slot a, slot b) {
  if (a.hash != b.hash) return a.hash < b.hash ? -1 : 1;
  uint64_t x = a.rest & ~FLAGS, y = b.rest & ~FLAGS;
  return x < y ? -1 : x > y;
}

static uint64_t home(slot key, int bits) { return key.hash >> (64 - bits); }

static int fail(const ids *self, lmm_error *error) {
  return lmm_fail(error, LMM_INVALID, "the ids of the rows cannot be kept in a file beside '%s': %s", self->path,
    strerror(errno));
}

/* How many slots there are, at most `most`, or -1; the others of `slots` are free. */
static ptrdiff_t read_slots(const ids *self, uint64_t at, slot *slots, size_t most, lmm_error *error) {
  size_t bytes = most * sizeof *slots;
  ptrdiff_t got = lmm_read_at(self->fd, at * sizeof *slots, slots, bytes);
  if (got < 0) return fail(self, error);
  memset((char *)slots + got, 0, bytes - (size_t)got);
  return got / (ptrdiff_t)sizeof *slots;
}

static int write_slots(const ids *self, uint64_t at, const slot *slots, size_t count, lmm_error *error) {
  size_t done = 0, bytes = count * sizeof *slots;
  while (done < bytes) {
    ssize_t wrote = pwrite(self->fd, (const char *)slots + done, bytes - done, (off_t)(at * sizeof *slots + done));
    if (wrote < 0 && errno != EINTR) return fail(self, error);
    if (wrote > 0) done += (size_t)wrote;
  }
  return LMM_OK;
}

/* Where the slot of a key is, or is to be; `found` becomes it, or what stands there. */
static int find(const ids *self, slot key, uint64_t *at, slot *found, lmm_error *error) {
  slot window[WINDOW];
  for (*at = home(key, self->bits);; *at += WINDOW) {
    if (read_slots(self, *at, window, WINDOW, error) < 0) return LMM_INVALID;
    for (size_t i = 0; i < WINDOW; i++) {
      if (window[i].hash != 0 && compare(window[i], key) < 0) continue;
      *at += i;
      *found = window[i];
      return LMM_OK;
    }
  }
}

/* Puts a slot where it is to be; those that stand there move on, up to the next free one. */
static int insert(ids *self, uint64_t at, slot moving, lmm_error *error) {
  slot window[WINDOW];
  int code = LMM_OK;
  while (code == LMM_OK && moving.hash != 0) {
    if (read_slots(self, at, window, WINDOW, error) < 0) return LMM_INVALID;
    size_t count = 0;
    while (count < WINDOW && moving.hash != 0) {
      slot taken = window[count];
      window[count++] = moving;
      moving = taken;
    }
    code = write_slots(self, at, window, count, error);
    at += count;
  }
  return code;
}

/* Copies all slots to where they are in a table of twice the size. */
static int copy(const ids *self, const ids *larger, lmm_error *error) {
  slot from[BLOCK], to[BLOCK] = {{0, 0}};
  uint64_t begin = 0, next = 0; /* where `to` begins, and behind the slot that was copied last */
  int code = LMM_OK;
  ptrdiff_t got;
  for (uint64_t at = 0; (got = read_slots(self, at, from, BLOCK, error)) > 0; at += BLOCK) {
    for (size_t i = 0; i < (size_t)got; i++) {
      if (from[i].hash == 0) continue;
      uint64_t place = home(from[i], larger->bits);
      if (place < next) place = next;
      if (place - begin >= BLOCK) {
        code = write_slots(larger, begin, to, (size_t)(next - begin), error);
        if (code != LMM_OK) return code;
        memset(to, 0, sizeof to);
        begin = place;
      }
      to[place - begin] = from[i];
      next = place + 1;
    }
  }
  return got < 0 ? LMM_INVALID : write_slots(larger, begin, to, (size_t)(next - begin), error);
}

static int grow(ids *self, lmm_error *error) {
  if (self->bits == MOST_BITS) return lmm_fail(error, LMM_LIMIT, "there are too many rows");
  ids larger = *self;
  larger.bits++;
  larger.fd = lmm_open_temporary(self->path);
  if (larger.fd < 0) return fail(self, error);
  int code = copy(self, &larger, error);
  (void)close(code == LMM_OK ? self->fd : larger.fd);
  if (code == LMM_OK) *self = larger;
  return code;
}

/* Adds flags to those of a text; `before` becomes what it had. */
static int add_flags(ids *self, const char *text, size_t length, uint64_t flags, uint64_t *before, lmm_error *error) {
  int code = self->count >> (self->bits - 1) != 0 ? grow(self, error) : LMM_OK;
  uint64_t at;
  slot key = hash(text, length), found;
  if (code == LMM_OK) code = find(self, key, &at, &found, error);
  if (code != LMM_OK) return code;
  bool is_there = found.hash != 0 && compare(found, key) == 0;
  *before = is_there ? found.rest & FLAGS : 0;
  key.rest |= *before | flags;
  if (is_there) return (*before | flags) != *before ? write_slots(self, at, &key, 1, error) : LMM_OK;
  self->count++;
  return insert(self, at, key, error);
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

#define LMM_IDS "lmm.ids"

static ids *check_ids(lua_State *L) {
  ids *self = luaL_checkudata(L, 1, LMM_IDS);
  luaL_argcheck(L, self->fd >= 0, 1, "closed set of ids");
  return self;
}

/* ids(path, count?) -> a set of texts, each with flags: a sum of 1, 2, 4 and 8 | nil, why
 * It stands in a file without a name beside `path`, as long as it is not closed. With `count` it has room for so many from
 * the beginning: to grow takes half a second at two million. */
static int ids_new(lua_State *L) {
  const char *path = lmm_check_path(L, 1);
  lua_Number count = luaL_optnumber(L, 2, 0);
  size_t room = strlen(path) + 1;
  ids *self = lmm_new_userdata(L, sizeof *self + room);
  *self = (ids){-1, FIRST_BITS, 0, memcpy(self + 1, path, room)};
  while (self->bits < MOST_BITS && (lua_Number)((uint64_t)1 << (self->bits - 1)) < count) self->bits++;
  luaL_setmetatable(L, LMM_IDS);
  self->fd = lmm_open_temporary(self->path);
  lmm_error error = {LMM_OK, ""};
  if (self->fd < 0) (void)fail(self, &error);
  return self->fd < 0 ? lmm_push_error(L, &error) : 1;
}

/* ids:add(text, flags) -> the flags that it had, 0 where it was not there | nil, why
 * After a failure, as on a full disk, the set is of no more use. */
static int ids_add(lua_State *L) {
  ids *self = check_ids(L);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  lua_Integer flags = luaL_checkinteger(L, 3);
  uint64_t before = 0;
  lmm_error error = {LMM_OK, ""};
  luaL_argcheck(L, flags >= 1 && flags <= (lua_Integer)FLAGS, 3, "1 to 15");
  if (add_flags(self, text, length, (uint64_t)flags, &before, &error) != LMM_OK) return lmm_push_error(L, &error);
  lua_pushinteger(L, (lua_Integer)before);
  return 1;
}

/* ids:get(text) -> its flags, 0 where it is not there | nil, why */
static int ids_get(lua_State *L) {
  const ids *self = check_ids(L);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  uint64_t at;
  slot key = hash(text, length), found;
  lmm_error error = {LMM_OK, ""};
  if (find(self, key, &at, &found, &error) != LMM_OK) return lmm_push_error(L, &error);
  lua_pushinteger(L, found.hash != 0 && compare(found, key) == 0 ? (lua_Integer)(found.rest & FLAGS) : 0);
  return 1;
}

static int ids_close(lua_State *L) {
  ids *self = luaL_checkudata(L, 1, LMM_IDS);
  if (self->fd >= 0) (void)close(self->fd);
  self->fd = -1;
  return 0;
}

int lmm_ids_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"add", ids_add}, {"get", ids_get}, {"close", ids_close}, {NULL, NULL}};
  lmm_new_type(L, LMM_IDS, methods, ids_close);
  lua_pop(L, 1);
  lua_pushcfunction(L, ids_new);
  return 1;
}
