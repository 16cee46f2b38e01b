/* two_addresses.c: a look-up of the name "two.addresses" gives 127.0.0.2 and then 127.0.0.1; to be preloaded. */
#include <dlfcn.h>
#include <netdb.h>
#include <stddef.h>
#include <string.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  lookup *next = NULL;
  *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
  if (name == NULL || strcmp(name, "two.addresses") != 0) return next(name, service, hints, found);
  int code = next("127.0.0.2", service, hints, found);
  if (code != 0) return code;
  struct addrinfo *last = *found;
  while (last->ai_next != NULL) last = last->ai_next;
  return next("127.0.0.1", service, hints, &last->ai_next);
}
