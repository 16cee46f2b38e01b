/* one_port.c: connections to IPv4 hosts that all come from the same port of this machine, to be preloaded. The kernel
 * does so by itself now and then, for it gives a port again to those who connect elsewhere. */
#include <dlfcn.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

typedef int connector(int, const struct sockaddr *, socklen_t);

int connect(int fd, const struct sockaddr *to, socklen_t length) {
  static struct sockaddr_in own = {.sin_family = AF_INET}; /* its port is 0 before the first */
  socklen_t size = sizeof own;
  int yes = 1;
  if (to->sa_family == AF_INET) {
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (const struct sockaddr *)&own, sizeof own) == 0) (void)getsockname(fd, (struct sockaddr *)&own, &size);
  }
  connector *next = NULL;
  *(void **)&next = dlsym(RTLD_NEXT, "connect");
  return next(fd, to, length);
}
