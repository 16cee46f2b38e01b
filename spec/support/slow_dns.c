/* slow_dns.c: a look-up of names ending in ".slow" that does not end, to be preloaded. */
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

typedef int look_up(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  size_t length = name != NULL ? strlen(name) : 0;
  if (length >= 5 && strcmp(name + length - 5, ".slow") == 0) (void)sleep(3600);
  look_up *next = NULL;
  *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
  return next(name, service, hints, found);
}
