/* binding.h: what the parts' Lua bindings share: the names of the userdata types, and how a failure is told. */
#ifndef LMM_BINDING_H
#define LMM_BINDING_H

#include <dlfcn.h>

#include "compat.h"
#include "lmm.h"

#define LMM_MEDIA "lmm.media"
#define LMM_BODY "lmm.body"
#define LMM_SSE "lmm.sse"
#define LMM_ANSWER "lmm.answer"
#define LMM_GROWER "lmm.grower"
#define LMM_ARRAY "lmm.array" /* the metatable of lists that are lists though they are empty */

/* Keeps the module that holds `address` in memory when the state that loaded it closes: libcurl's resolver threads may
 * still be about to return into it. Done here, since LuaRocks passes no linker flags on (-z nodelete). */
static inline void lmm_stay_loaded(const void *address) {
  Dl_info module;
  if (dladdr(address, &module) != 0) (void)dlopen(module.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

/* nil, message; out of memory is a Lua error, as everywhere in Lua. */
static inline int lmm_push_error(lua_State *L, const lmm_error *error) {
  if (error->code == LMM_NOMEM) return luaL_error(L, "not enough memory");
  lua_pushnil(L);
  lua_pushstring(L, error->message);
  return 2;
}

static inline const char *lmm_check_path(lua_State *L, int index) {
  size_t length;
  const char *path = luaL_checklstring(L, index, &length);
  luaL_argcheck(L, strlen(path) == length, index, "a path cannot hold a NUL byte");
  return path;
}

/* The userdata at `index`, where it was made by a module of the same build: its type has the number `abi` under `key`.
 * NULL where it was not. */
static inline void *lmm_to_shared(lua_State *L, int index, const char *key, lua_Integer abi) {
  void *userdata = lua_touserdata(L, index);
  if (userdata == NULL || !luaL_getmetafield(L, index, key)) return NULL;
  bool is_same = lua_tointeger(L, -1) == abi;
  lua_pop(L, 1);
  return is_same ? userdata : NULL;
}

/* The bytes of a buffer, which may never have had any. */
static inline void lmm_push_buf(lua_State *L, const lmm_buf *buf) {
  lua_pushlstring(L, buf->length > 0 ? buf->data : "", buf->length);
}

/* ---- decode: JSON to Lua values --------------------------------------------------------------------------------- */

#define LMM_DEPTH 1000
#define LMM_MAX_DEPTH 1000000
#define LMM_CONTAINER_BYTES 32 /* of a reply's limit for each list and object: they take memory beyond their text */

typedef struct lmm_decoding {
  size_t depth;      /* at most LMM_MAX_DEPTH */
  size_t containers; /* at most so many lists and objects; 0: no limit */
  size_t used;       /* how many there were */
  bool clean;        /* nulls are left out, and whole numbers are integers however they are spelled */
  bool lenient;      /* NaN, Infinity and -Infinity are numbers */
  bool halves;       /* as in lmm_json_unescape */
  bool has_halves;   /* out: there were such halves, kept or not */
} lmm_decoding;

/* Pushes the value of a text that stays where it is meanwhile: 1 result; or nil, a message, where (from 1), and
 * "syntax", "cut" or "limit": 4 results. Raises when memory runs out. */
int lmm_decode(lua_State *L, const char *text, size_t length, lmm_decoding *how);

/* What the two that make values share. */
void lmm_push_number(lua_State *L, const lmm_number *number, bool clean);
/* The name on the top is popped; in the table below it, what was there under that name before is gone. */
void lmm_drop_field(lua_State *L);
size_t lmm_count_option(lua_State *L, int index, const char *name, size_t otherwise, size_t max); /* of the options there */
bool lmm_flag_option(lua_State *L, int index, const char *name);

/* ---- write: Lua values to JSON ---------------------------------------------------------------------------------- */

/* What is written, on its way. A userdata, so that nothing is lost where something raises, as lack of memory does. */
typedef struct lmm_writer {
  lmm_buf text, inserts; /* inserts: of lmm_insert */
  lua_State *L;
  int base;           /* the places below are counted from here */
  int anchored;       /* how many values the table at LMM_WRITER_ANCHORS has */
  bool replaces;      /* broken characters by U+FFFD */
  bool has_path;      /* of a failure */
  const char *before; /* of a failure: what its message begins with, before the path */
  const void *array_type, *body_type; /* metatables */
} lmm_writer;

/* Places on the Lua stack: the writer; tables or nil; what is wrong, which follows the path in a message; the path. */
enum {
  LMM_WRITER_SELF = 1,
  LMM_WRITER_HOOKS,
  LMM_WRITER_MARKS,
  LMM_WRITER_ANCHORS,
  LMM_WRITER_WRONG,
  LMM_WRITER_PATH,
  LMM_WRITER_PLACES = LMM_WRITER_PATH
};

/* What a metatable or a userdata of another library stands for; an integer in the table at LMM_WRITER_MARKS. */
enum { LMM_MARK_NONE, LMM_MARK_NULL, LMM_MARK_ARRAY, LMM_MARK_OBJECT };

/* Writes the value on the top, which stays there; false where JSON cannot hold it. `depth` is how deep it lies. */
bool lmm_writer_value(lmm_writer *w, int depth);
bool lmm_writer_text(lmm_writer *w, int index, const char *before); /* the string at `index` */
void lmm_writer_splice(lmm_writer *w, int index, size_t skip);      /* a body's, without its first bytes of text */
void lmm_writer_anchor(lmm_writer *w);                              /* pops what must live as long as the body */
void lmm_writer_char(lmm_writer *w, char c);
void lmm_writer_check(lmm_writer *w, int code);              /* raises where that is a lack of memory */
bool lmm_writer_fail_in_field(lmm_writer *w, int key);       /* adds the string there to the path; gives false */

/* A body that owns a copy of the text and of the inserts. What keeps their media alive is to be anchored in it. */
lmm_body *lmm_push_body(lua_State *L, const char *text, size_t length, const lmm_insert *inserts, size_t count,
                        bool is_brief);
lmm_body *lmm_check_body(lua_State *L, int index); /* one that is not closed */

/* Sets a field of the table on the top. */
static inline void lmm_set_integer(lua_State *L, const char *key, int64_t value) {
  lmm_push_whole(L, value);
  lua_setfield(L, -2, key);
}

/* A module says which version it is of, so that Lua files of another one notice (lua/lmm/version.lua). */
static inline void lmm_set_version(lua_State *L) {
  lua_pushliteral(L, LMM_VERSION "-" LMM_INTERFACE);
  lua_setfield(L, -2, "version");
}

#endif
