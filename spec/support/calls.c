/* calls.c: counts the calls of some functions of the system, to be preloaded. As package.loadlib gives it,
 * lmm_spec_calls(name) tells how often one was called so far. */
#include <dlfcn.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct lua_State;
const char *lua_tolstring(struct lua_State *L, int index, size_t *length);
void lua_pushnumber(struct lua_State *L, double number);

static struct {
  const char *name;
  void *next;
  long count;
} calls[] = {{"getsockname", NULL, 0}, {"getpeername", NULL, 0}, {"getpid", NULL, 0},
             {"epoll_ctl", NULL, 0},   {"epoll_wait", NULL, 0}};

static void *count(int row) {
  calls[row].count++;
  if (calls[row].next == NULL) calls[row].next = dlsym(RTLD_NEXT, calls[row].name);
  return calls[row].next;
}

#define NEXT(row, type) (*(type **)(void *)&(void *){count(row)})

typedef int name_fn(int, struct sockaddr *, socklen_t *);
typedef pid_t pid_fn(void);
typedef int ctl_fn(int, int, int, struct epoll_event *);
typedef int wait_fn(int, struct epoll_event *, int, int);

int getsockname(int fd, struct sockaddr *address, socklen_t *length) { return NEXT(0, name_fn)(fd, address, length); }
int getpeername(int fd, struct sockaddr *address, socklen_t *length) { return NEXT(1, name_fn)(fd, address, length); }
pid_t getpid(void) { return NEXT(2, pid_fn)(); }
int epoll_ctl(int watch, int what, int fd, struct epoll_event *event) { return NEXT(3, ctl_fn)(watch, what, fd, event); }
int epoll_wait(int watch, struct epoll_event *events, int most, int milliseconds) {
  return NEXT(4, wait_fn)(watch, events, most, milliseconds);
}

int lmm_spec_calls(struct lua_State *L);

int lmm_spec_calls(struct lua_State *L) {
  const char *name = lua_tolstring(L, 1, NULL);
  for (size_t row = 0; row < sizeof calls / sizeof *calls; row++)
    if (name != NULL && strcmp(name, calls[row].name) == 0) lua_pushnumber(L, (double)calls[row].count);
  return 1;
}
