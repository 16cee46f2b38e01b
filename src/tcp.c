/* tcp.c: lmm.tcp, connections over plain TCP, none of which ever waits. An address comes in; a connection goes out that
 * takes and gives bytes, and a watch that tells which of many can go on. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "binding.h"
#include "transport.h"

#define LMM_TCP "lmm.tcp"
#define LMM_TCP_WATCH "lmm.tcp.watch"

#define RECEIVED_AT_ONCE 65536 /* bytes */

#ifndef MSG_NOSIGNAL /* then SO_NOSIGPIPE is there */
#define MSG_NOSIGNAL 0
#endif

/* ---- connections ----------------------------------------------------------------------------------------------- */

/* A connection to an address, or -1, errno being set. It may not stand yet; what is wrong with it is told by the first
 * who sends. */
static int open_connection(const struct addrinfo *to) {
  int fd = socket(to->ai_family, SOCK_STREAM, 0), on = 1;
  if (fd < 0) return -1;
  bool is_ready = fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
#ifdef SO_NOSIGPIPE
  (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
  if (is_ready && (connect(fd, to->ai_addr, to->ai_addrlen) == 0 || errno == EINPROGRESS || errno == EINTR)) return fd;
  int problem = errno;
  (void)close(fd);
  errno = problem;
  return -1;
}

/* Whether a call is to be made again once something has happened. BSD tells in this way, too, that it connects. */
static bool is_for_later(int problem) {
  return problem == EAGAIN || problem == EWOULDBLOCK || problem == EINTR || problem == ENOTCONN;
}

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

/* What both types are. */
typedef struct descriptor {
  int fd;              /* -1 once it is closed */
  unsigned generation; /* of the process that opened it */
} descriptor;

static descriptor *push_descriptor(lua_State *L, const char *type) {
  descriptor *self = lmm_new_userdata(L, sizeof *self);
  *self = (descriptor){-1, lmm_fork_generation()};
  luaL_setmetatable(L, type);
  return self;
}

static int check_descriptor(lua_State *L, int index, const char *type) {
  const descriptor *self = luaL_checkudata(L, index, type);
  luaL_argcheck(L, self->fd >= 0, index, "it is closed");
  return self->fd;
}

/* The connection or the watch at index 1. */
static descriptor *check_either(lua_State *L) {
  descriptor *self = luaL_testudata(L, 1, LMM_TCP);
  return self != NULL ? self : luaL_checkudata(L, 1, LMM_TCP_WATCH);
}

/* close(), of a connection or a watch. In a forked child the parent's stays open. */
static int tcp_close(lua_State *L) {
  descriptor *self = check_either(L);
  if (self->fd >= 0) (void)close(self->fd);
  self->fd = -1;
  return 0;
}

static int push_problem(lua_State *L, int problem) {
  lua_pushnil(L);
  lua_pushstring(L, strerror(problem));
  return 2;
}

/* Gives a result of send or recv that is no number of bytes: false: later | nil, message */
static int push_failure(lua_State *L) {
  int problem = errno;
  if (!is_for_later(problem)) return push_problem(L, problem);
  lua_pushboolean(L, false);
  return 1;
}

/* connect(address, port) -> connection, which may not stand yet | nil, message, whether it is no address of IPv4 or IPv6 */
static int tcp_connect(lua_State *L) {
  static const struct addrinfo wanted = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
  const char *address = luaL_checkstring(L, 1);
  char port[8];
  struct addrinfo *found = NULL;
  (void)snprintf(port, sizeof port, "%d", (int)luaL_checkinteger(L, 2));
  descriptor *self = push_descriptor(L, LMM_TCP);
  int code = getaddrinfo(address, port, &wanted, &found);
  if (code != 0) {
    lua_pushnil(L);
    lua_pushstring(L, code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code));
    lua_pushboolean(L, code == EAI_NONAME);
    return 3;
  }
  self->fd = open_connection(found);
  int problem = errno;
  freeaddrinfo(found);
  return self->fd < 0 ? push_problem(L, problem) : 1;
}

/* connection:send(bytes, from) -> where what was not sent begins | false: it takes none now | nil, message */
static int connection_send(lua_State *L) {
  int fd = check_descriptor(L, 1, LMM_TCP);
  size_t count;
  const char *bytes = luaL_checklstring(L, 2, &count);
  lua_Integer from = luaL_checkinteger(L, 3);
  luaL_argcheck(L, from >= 1 && (size_t)from <= count, 3, "outside of the bytes");
  ssize_t sent = send(fd, bytes + from - 1, count - (size_t)from + 1, MSG_NOSIGNAL);
  if (sent < 0) return push_failure(L);
  lua_pushinteger(L, from + (lua_Integer)sent);
  return 1;
}

/* connection:receive() -> bytes | "" at the end | false: there are none now | nil, message */
static int connection_receive(lua_State *L) {
  int fd = check_descriptor(L, 1, LMM_TCP);
  char bytes[RECEIVED_AT_ONCE];
  ssize_t got = recv(fd, bytes, sizeof bytes, 0);
  if (got < 0) return push_failure(L);
  lua_pushlstring(L, bytes, (size_t)got);
  return 1;
}

/* connection:number(), watch:number() -> the descriptor */
static int tcp_number(lua_State *L) {
  const descriptor *self = check_either(L);
  luaL_argcheck(L, self->fd >= 0, 1, "it is closed");
  lua_pushinteger(L, self->fd);
  return 1;
}

/* watch() -> watch, whose descriptor is readable when there is something to tell | nil, message */
static int tcp_watch(lua_State *L) {
  descriptor *self = push_descriptor(L, LMM_TCP_WATCH);
  self->fd = lmm_watch_open();
  return self->fd < 0 ? push_problem(L, errno) : 1;
}

/* watch:is_ours() -> whether this process made it: a forked child is to leave alone what its parent has under way */
static int watch_is_ours(lua_State *L) {
  const descriptor *self = luaL_checkudata(L, 1, LMM_TCP_WATCH);
  lua_pushboolean(L, self->generation == lmm_fork_generation());
  return 1;
}

/* watch:add(connection, sends): tells once when it has bytes or, with `sends`, takes some. Raises where it cannot. */
static int watch_add(lua_State *L) {
  int watch = check_descriptor(L, 1, LMM_TCP_WATCH), fd = check_descriptor(L, 2, LMM_TCP);
  if (lmm_watch_set(watch, fd, 0, LMM_IN | (lua_toboolean(L, 3) ? LMM_OUT : 0)) == 0) return 0;
  return luaL_error(L, "a connection cannot be watched: %s", strerror(errno));
}

/* watch:ready(seconds) -> the descriptors of those that can go on, which are watched no more: none where a signal came */
static int watch_ready(lua_State *L) {
  int watch = check_descriptor(L, 1, LMM_TCP_WATCH);
  lua_Number seconds = luaL_checknumber(L, 2);
  luaL_argcheck(L, seconds >= 0 && seconds <= 86400, 2, "0 to 86400 seconds");
  lmm_ready ready[LMM_MOST_READY];
  lua_createtable(L, LMM_MOST_READY, 0); /* what is told now is told once: nothing may raise from here on */
  int count = lmm_watch_wait(watch, ready, (int)(seconds * 1000 + 0.999)); /* not sooner than asked */
  for (int i = 0; i < count; i++) {
    (void)lmm_watch_set(watch, ready[i].fd, LMM_IN | LMM_OUT, 0);
    lua_pushinteger(L, ready[i].fd);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static int fork_watch = LMM_NOMEM;

static void watch_forks(void) { fork_watch = lmm_fork_watch(); }

LMM_EXPORT int luaopen_lmm_tcp(lua_State *L);

LMM_EXPORT int luaopen_lmm_tcp(lua_State *L) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  static const luaL_Reg functions[] = {{"connect", tcp_connect}, {"watch", tcp_watch}, {NULL, NULL}};
  static const luaL_Reg connection_methods[] = {{"send", connection_send},
                                                {"receive", connection_receive},
                                                {"number", tcp_number},
                                                {"close", tcp_close},
                                                {NULL, NULL}};
  static const luaL_Reg watch_methods[] = {{"add", watch_add},         {"ready", watch_ready},
                                           {"number", tcp_number},     {"close", tcp_close},
                                           {"is_ours", watch_is_ours}, {NULL, NULL}};
  lmm_check_lua(L);
  lmm_stay_loaded(functions);
  (void)pthread_once(&once, watch_forks);
  if (fork_watch != LMM_OK) return luaL_error(L, "not enough memory");
  lmm_new_type(L, LMM_TCP, connection_methods, tcp_close);
  lmm_new_type(L, LMM_TCP_WATCH, watch_methods, tcp_close);
  luaL_newlib(L, functions);
  lmm_set_version(L);
  return 1;
}
