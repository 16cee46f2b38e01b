/* curl.c: lmm.curl, what lmm.core describes put on the wire. connect(options) gives a connection, connection:start{...}
 * a transfer; poll(seconds) moves all of them; watch() and timeout() tell a host's loop when to call it. */
#include <curl/curl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

#include "binding.h"
#include "transport.h"

#define LMM_MULTI "lmm.multi"
#define LMM_CONNECTION "lmm.connection"
#define LMM_TRANSFER "lmm.transfer"

typedef struct connection {
  CURL *easy;          /* the template that every transfer copies; NULL once closed */
  unsigned generation; /* of the process that made it */
} connection;

static int raise_nomem(lua_State *L) { return luaL_error(L, "not enough memory"); }

/* Rounded up, so that a wait never ends just before its time. */
static int milliseconds(lua_Number seconds) {
  if (!(seconds > 0)) return 0;
  if (seconds >= INT_MAX / 1000) return INT_MAX;
  int whole = (int)(seconds * 1000);
  return whole < seconds * 1000 ? whole + 1 : whole;
}

/* ---- the multi: one for each Lua state, and a new one after a fork ---- */

/* In a forked child the parent's sockets are shared: neither closed nor written to, only forgotten. */
static int multi_close(lua_State *L) {
  lmm_multi *multi = luaL_checkudata(L, 1, LMM_MULTI);
  if (lmm_multi_is_ours(multi)) lmm_multi_close(multi);
  return 0;
}

/* Pushes the state's multi. */
static lmm_multi *push_multi(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, LMM_MULTI ".state");
  lmm_multi *multi = lua_touserdata(L, -1);
  if (multi != NULL && lmm_multi_is_ours(multi)) return multi;
  lua_pop(L, 1);
  multi = lmm_new_userdata(L, sizeof *multi);
  memset(multi, 0, sizeof *multi);
  luaL_setmetatable(L, LMM_MULTI);
  if (lmm_multi_open(multi) != LMM_OK) raise_nomem(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, LMM_MULTI ".state");
  return multi;
}

/* poll(seconds) -> whether any transfer is under way; waits at most so long for something to happen to one */
static int curl_poll(lua_State *L) {
  lua_pushboolean(L, lmm_multi_poll(push_multi(L), milliseconds(luaL_checknumber(L, 1))) > 0);
  return 1;
}

/* watch() -> the descriptor that is readable when poll has something to do */
static int curl_watch(lua_State *L) {
  lua_pushinteger(L, push_multi(L)->sockets.watch);
  return 1;
}

/* timeout() -> the seconds after which poll has something to do all the same | nil where it has not */
static int curl_timeout(lua_State *L) {
  int left = lmm_multi_timeout(push_multi(L));
  if (left < 0) return 0;
  lua_pushnumber(L, left / 1000.0);
  return 1;
}

/* changed() -> the owner of a transfer to which something happened since it was given last | nil */
static int curl_changed(lua_State *L) {
  lmm_multi *multi = push_multi(L);
  lmm_transfer *transfer;
  lua_getfield(L, LUA_REGISTRYINDEX, LMM_TRANSFER ".all");
  while ((transfer = lmm_multi_next(multi)) != NULL) {
    lua_pushlightuserdata(L, transfer);
    lua_rawget(L, -2);
    if (!lua_isnil(L, -1)) return 1;
    lua_pop(L, 1); /* nobody waits for it any more; where nobody holds it either, its finalizer comes soon */
  }
  return 0;
}

/* close_idle() closes the connections that are kept for later, where nothing is under way */
static int curl_close_idle(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, LMM_MULTI ".state");
  lmm_multi *multi = lua_touserdata(L, -1);
  if (multi != NULL && lmm_multi_is_ours(multi)) lmm_multi_close_idle(multi);
  return 0;
}

/* ---- connection ---- */

static const struct option {
  const char *name;
  CURLoption option;
  int type;
} options[] = {{"proxy", CURLOPT_PROXY, LUA_TSTRING},
               {"no_proxy", CURLOPT_NOPROXY, LUA_TSTRING},
               {"unix_socket", CURLOPT_UNIX_SOCKET_PATH, LUA_TSTRING},
               {"ca", CURLOPT_CAINFO, LUA_TSTRING},
               {"cert", CURLOPT_SSLCERT, LUA_TSTRING},
               {"key", CURLOPT_SSLKEY, LUA_TSTRING},
               {"verify", CURLOPT_SSL_VERIFYPEER, LUA_TBOOLEAN}};

static CURLcode set_defaults(CURL *easy) {
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, 3L); /* whole seconds: one idle for 4 s is not used again */
#if LIBCURL_VERSION_NUM >= 0x075500
  return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
  return curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

static CURLcode set_option(lua_State *L, CURL *easy, const struct option *row, int index) {
  CURLcode code = row->type == LUA_TSTRING ? curl_easy_setopt(easy, row->option, lua_tostring(L, index))
                                           : curl_easy_setopt(easy, row->option, (long)lua_toboolean(L, index));
  if (code != CURLE_OK) return code;
  if (row->option == CURLOPT_SSL_VERIFYPEER)
    return curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, lua_toboolean(L, index) ? 2L : 0L);
  return CURLE_OK;
}

/* connect{ proxy?, no_proxy?, unix_socket?, ca?, cert?, key?, verify? } -> connection; no I/O */
static int curl_connect(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  connection *new = lmm_new_userdata(L, sizeof *new);
  *new = (connection){NULL, lmm_fork_generation()};
  luaL_setmetatable(L, LMM_CONNECTION);
  new->easy = curl_easy_init();
  CURLcode code = new->easy != NULL ? set_defaults(new->easy) : CURLE_OUT_OF_MEMORY;
  for (size_t i = 0; i < sizeof options / sizeof *options && code == CURLE_OK; i++) {
    lua_getfield(L, 1, options[i].name);
    if (lua_type(L, -1) == options[i].type)
      code = set_option(L, new->easy, &options[i], -1);
    else if (!lua_isnil(L, -1))
      return luaL_error(L, "bad option '%s'", options[i].name);
    lua_pop(L, 1);
  }
  lua_getfield(L, 1, "unix_socket");
  if (code == CURLE_OK) code = (CURLcode)lmm_quirks_set_defaults(new->easy, !lua_isnil(L, -1));
  lua_pop(L, 1);
  return code == CURLE_OK ? 1 : luaL_error(L, "%s", curl_easy_strerror(code));
}

static int connection_close(lua_State *L) {
  connection *self = luaL_checkudata(L, 1, LMM_CONNECTION);
  if (self->easy != NULL) curl_easy_cleanup(self->easy);
  self->easy = NULL;
  return 0;
}

/* The field of the request at index 2, on the stack until the caller returns. */
static const char *request_string(lua_State *L, const char *name) {
  lua_getfield(L, 2, name);
  if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "request.%s: string expected", name);
  return lua_tostring(L, -1);
}

static lua_Number request_number(lua_State *L, const char *name, lua_Number absent) {
  lua_getfield(L, 2, name);
  return luaL_optnumber(L, -1, absent);
}

static lua_Integer request_integer(lua_State *L, const char *name, lua_Integer absent) {
  lua_getfield(L, 2, name);
  lua_Integer value = luaL_optinteger(L, -1, absent);
  if (value < 1) luaL_error(L, "request.%s: a positive number expected", name);
  return value;
}

static void add_header(lua_State *L, lmm_transfer *transfer, const char *line) {
  struct curl_slist *list = curl_slist_append(transfer->headers, line);
  if (list == NULL) raise_nomem(L);
  transfer->headers = list;
}

static void add_headers(lua_State *L, lmm_transfer *transfer) {
  add_header(L, transfer, "Expect:"); /* without a value: libcurl leaves it out, and never waits for a "100 Continue" */
  lua_getfield(L, 2, "headers");
  int count = lua_istable(L, -1) ? (int)lua_rawlen(L, -1) : 0;
  for (int i = 1; i <= count; i++) {
    lua_rawgeti(L, -1, i);
    add_header(L, transfer, luaL_checkstring(L, -1));
    lua_pop(L, 1);
  }
}

/* The request's body, which must be a source made by an lmm.core of the same build; pushes it. */
static lmm_source *push_body(lua_State *L) {
  lua_getfield(L, 2, "body");
  if (lua_isnil(L, -1)) return NULL;
  lmm_source *source = lmm_to_shared(L, -1, LMM_SOURCE_KEY, LMM_SOURCE_ABI);
  if (source == NULL) luaL_error(L, "request.body: a body made by this build's lmm.core expected");
  return source;
}

/* connection:start({ method, url, headers?, body?, connect_timeout?, max_head? }, owner?) -> transfer | nil, message
 * Headers are lines ("Name: value"); the time limit is in seconds and covers DNS, TCP and TLS; the head in bytes. The
 * owner is what changed() gives for it, for as long as somebody else holds that. */
static int connection_start(lua_State *L) {
  connection *self = luaL_checkudata(L, 1, LMM_CONNECTION);
  luaL_argcheck(L, self->easy != NULL, 1, "closed connection");
  if (self->generation != lmm_fork_generation())
    return luaL_error(L, "this client was made before a fork: connect again in the child");
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 3);
  lmm_transfer *transfer = lmm_new_userdata(L, sizeof *transfer); /* index 4 */
  memset(transfer, 0, sizeof *transfer);
  luaL_setmetatable(L, LMM_TRANSFER);

  lua_createtable(L, 2, 0); /* index 5: what must live as long as the transfer */
  lmm_multi *multi = push_multi(L);
  lua_rawseti(L, 5, 1);
  transfer->body = push_body(L);
  lua_rawseti(L, 5, 2);
  lua_pushvalue(L, 5);
  lmm_set_anchor(L, 4);
  add_headers(L, transfer);

  lmm_request request = {
      .method = request_string(L, "method"),
      .url = request_string(L, "url"),
      .connect_ms = milliseconds(request_number(L, "connect_timeout", 0)),
      .max_head = (size_t)request_integer(L, "max_head", 65536),
      .running = multi->running,
  };
  lua_getfield(L, LUA_REGISTRYINDEX, LMM_TRANSFER ".all");
  lua_pushlightuserdata(L, transfer);
  lua_pushvalue(L, 3);
  lua_rawset(L, -3);

  lmm_error error = {LMM_OK, ""};
  int code = lmm_transfer_open(transfer, self->easy, &request, &error);
  if (code == LMM_OK) code = lmm_multi_add(multi, transfer); /* from here on nothing may raise */
  if (code == LMM_NOMEM) return raise_nomem(L);
  if (code != LMM_OK) return lmm_push_error(L, &error);
  lua_pushvalue(L, 4);
  return 1;
}

/* ---- transfer ---- */

static lmm_transfer *check_transfer(lua_State *L) {
  lmm_transfer *transfer = luaL_checkudata(L, 1, LMM_TRANSFER);
  luaL_argcheck(L, transfer->easy != NULL, 1, "closed transfer");
  if (transfer->multi != NULL && !lmm_multi_is_ours(transfer->multi))
    luaL_error(L, "this request was started before a fork: it is the parent's");
  return transfer;
}

/* nil, kind, phase, reason, permanent */
static int push_failure(lua_State *L, const lmm_failure *failure) {
  if (failure->kind == NULL) return raise_nomem(L);
  lua_pushnil(L);
  lua_pushstring(L, failure->kind);
  lua_pushstring(L, failure->phase);
  lua_pushstring(L, failure->reason);
  lua_pushboolean(L, failure->permanent);
  return 5;
}

/* transfer:head() -> status, text | false while it has not come | nil, kind, phase, reason, permanent */
static int transfer_head(lua_State *L) {
  lmm_transfer *transfer = check_transfer(L);
  lmm_failure failure;
  if (transfer->status != 0) {
    lua_pushinteger(L, transfer->status);
    lmm_push_buf(L, &transfer->head);
    return 2;
  }
  if (lmm_failure_of(transfer, &failure)) return push_failure(L, &failure);
  lua_pushboolean(L, false);
  return 1;
}

/* The sink at index 2, which must be one made by an lmm.core of the same build; NULL without one. */
static lmm_sink *check_sink(lua_State *L) {
  if (lua_isnoneornil(L, 2)) return NULL;
  lmm_sink *sink = lmm_to_shared(L, 2, LMM_SINK_KEY, LMM_SINK_ABI);
  if (sink == NULL) luaL_error(L, "a sink made by this build's lmm.core expected");
  return sink;
}

/* transfer:read(sink?) -> bytes, or their number where they went into the sink, nil, and whether the reply ends with them |
 * false while none have come | nil at the end | nil, kind, phase, reason, permanent */
static int transfer_read(lua_State *L) {
  lmm_transfer *transfer = check_transfer(L);
  lmm_sink *sink = check_sink(L);
  lmm_failure failure;
  if (transfer->received.length > 0) {
    int code = LMM_OK;
    size_t count = transfer->received.length;
    char *copy = NULL;
    if (sink != NULL) {
      code = sink->feed(sink, transfer->received.data, count);
    } else {
      copy = lua_newuserdata(L, count); /* a finalizer may run here: poll, read or close */
      if (check_transfer(L)->received.length < count) count = transfer->received.length;
      if (count > 0) memcpy(copy, transfer->received.data, count);
    }
    if (code == LMM_NOMEM) return raise_nomem(L);
    if (code != LMM_OK) return luaL_error(L, "the sink takes nothing now");
    if (lmm_transfer_consume(transfer, count) != LMM_OK) lmm_multi_break(transfer->multi);
    if (sink != NULL)
      lua_pushinteger(L, (lua_Integer)count);
    else
      lua_pushlstring(L, copy, count);
    lua_pushnil(L);
    lua_pushboolean(L, transfer->done && transfer->received.length == 0 && !lmm_failure_of(transfer, &failure));
    return 3;
  }
  if (lmm_failure_of(transfer, &failure)) return push_failure(L, &failure);
  if (transfer->done) return 0;
  lua_pushboolean(L, false);
  return 1;
}

/* transfer:phase() -> "dns" | "connect" | "tls" | "send" | "wait" | "receive" */
static int transfer_phase(lua_State *L) {
  lua_pushstring(L, lmm_transfer_phase(check_transfer(L)));
  return 1;
}

static int transfer_close(lua_State *L) {
  lmm_transfer *transfer = luaL_checkudata(L, 1, LMM_TRANSFER);
  if (transfer->multi != NULL && !lmm_multi_is_ours(transfer->multi)) return 0;
  if (transfer->multi != NULL) lmm_multi_remove(transfer);
  lmm_transfer_close(transfer);
  return 0;
}

/* ---- module ---- */

static int fork_watch = LMM_NOMEM;

static void init_process(void) {
  (void)curl_global_init(CURL_GLOBAL_DEFAULT); /* where it fails, curl_easy_init tries it again */
  fork_watch = lmm_fork_watch();
}

LMM_EXPORT int luaopen_lmm_curl(lua_State *L);

LMM_EXPORT int luaopen_lmm_curl(lua_State *L) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  static const luaL_Reg none[] = {{NULL, NULL}};
  static const luaL_Reg connection_methods[] = {
      {"start", connection_start}, {"close", connection_close}, {NULL, NULL}};
  static const luaL_Reg transfer_methods[] = {{"head", transfer_head},
                                              {"read", transfer_read},
                                              {"phase", transfer_phase},
                                              {"close", transfer_close},
                                              {NULL, NULL}};
  static const luaL_Reg functions[] = {{"connect", curl_connect}, {"poll", curl_poll},
                                       {"watch", curl_watch},     {"timeout", curl_timeout},
                                       {"changed", curl_changed}, {"close_idle", curl_close_idle},
                                       {NULL, NULL}};

  lmm_check_lua(L);
  lmm_stay_loaded(&once);
  (void)pthread_once(&once, init_process);
  if (fork_watch != LMM_OK) return raise_nomem(L);
  lmm_new_type(L, LMM_MULTI, none, multi_close);
  lmm_new_type(L, LMM_CONNECTION, connection_methods, connection_close);
  lmm_new_type(L, LMM_TRANSFER, transfer_methods, transfer_close);
  /* From a transfer's address to its owner, weakly: a transfer that nobody holds any more is cancelled. A module that is
   * loaded again goes on with the transfers under way. */
  lua_getfield(L, LUA_REGISTRYINDEX, LMM_TRANSFER ".all");
  if (lua_isnil(L, -1)) {
    lua_newtable(L);
    lua_newtable(L);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_setfield(L, LUA_REGISTRYINDEX, LMM_TRANSFER ".all");
  }
  luaL_newlib(L, functions);
  lmm_set_version(L);
  return 1;
}
