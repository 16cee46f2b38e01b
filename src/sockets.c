/* sockets.c: the sockets that libcurl has opened. What becomes of each comes in; who uses one, which one has these
 * addresses, and which are ready go out, each in constant time however many there are. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport.h"

/* ---- the table ---- */

void lmm_sockets_clear(lmm_sockets *sockets) {
  if (sockets->all != NULL) memset(sockets->all, 0, (size_t)sockets->capacity * sizeof *sockets->all);
  sockets->count = 0;
  for (int i = 0; i < LMM_SOCKET_BUCKETS; i++) sockets->buckets[i] = -1;
}

int lmm_sockets_open(lmm_sockets *sockets) {
  sockets->all = NULL;
  sockets->capacity = 0;
  lmm_sockets_clear(sockets);
  sockets->watch = lmm_watch_open();
  return sockets->watch >= 0 ? LMM_OK : LMM_NOMEM;
}

void lmm_sockets_close(lmm_sockets *sockets) {
  if (sockets->watch >= 0) (void)close(sockets->watch);
  sockets->watch = -1;
  free(sockets->all);
  sockets->all = NULL;
  sockets->capacity = 0;
}

lmm_socket *lmm_sockets_get(const lmm_sockets *sockets, int fd) {
  return fd >= 0 && fd < sockets->capacity && sockets->all[fd].known ? &sockets->all[fd] : NULL;
}

static int grow(lmm_sockets *sockets, int fd) {
  int capacity = sockets->capacity > 0 ? sockets->capacity : 32;
  while (capacity <= fd) capacity *= 2;
  if (capacity == sockets->capacity) return LMM_OK;
  lmm_socket *all = realloc(sockets->all, (size_t)capacity * sizeof *all);
  if (all == NULL) return LMM_NOMEM;
  memset(all + sockets->capacity, 0, (size_t)(capacity - sockets->capacity) * sizeof *all);
  sockets->all = all;
  sockets->capacity = capacity;
  return LMM_OK;
}

/* By the local port, of which hardly any two connections have the same. */
static unsigned bucket_of(const lmm_address *address) {
  unsigned port = (unsigned)address->bytes[16] << 8 | address->bytes[17];
  return port % LMM_SOCKET_BUCKETS;
}

int lmm_sockets_add(lmm_sockets *sockets, int fd, void *user) {
  if (lmm_sockets_get(sockets, fd) != NULL) (void)lmm_sockets_remove(sockets, fd); /* it was closed without a word */
  if (grow(sockets, fd) != LMM_OK) return LMM_NOMEM;
  sockets->all[fd] = (lmm_socket){.user = user, .known = true, .next = -1};
  sockets->count++;
  return LMM_OK;
}

void *lmm_sockets_remove(lmm_sockets *sockets, int fd) {
  lmm_socket *socket = lmm_sockets_get(sockets, fd);
  if (socket == NULL) return NULL;
  if (socket->connected && socket->watched != 0) (void)lmm_watch_set(sockets->watch, fd, socket->watched, 0);
  if (socket->has_address) {
    int *place = &sockets->buckets[bucket_of(&socket->address)];
    while (*place != fd) place = &sockets->all[*place].next;
    *place = socket->next;
  }
  socket->known = false;
  sockets->count--;
  return socket->user;
}

void lmm_sockets_connect(lmm_sockets *sockets, int fd, const lmm_address *address) {
  lmm_socket *socket = lmm_sockets_get(sockets, fd);
  if (socket == NULL || socket->connected) return;
  socket->connected = true;
  if (address == NULL) return;
  int *bucket = &sockets->buckets[bucket_of(address)];
  socket->has_address = true;
  socket->address = *address;
  socket->next = *bucket;
  *bucket = fd;
}

int lmm_sockets_find(const lmm_sockets *sockets, const lmm_address *address) {
  int fd = sockets->buckets[bucket_of(address)];
  while (fd >= 0 && memcmp(&sockets->all[fd].address, address, sizeof *address) != 0) fd = sockets->all[fd].next;
  return fd;
}

/* ---- what they are watched for ---- */

/* An idle connection stays watched for what comes in, as it most likely is for its next request. */
int lmm_sockets_watch(lmm_sockets *sockets, int fd, int events) {
  lmm_socket *socket = lmm_sockets_get(sockets, fd);
  if (socket == NULL) return lmm_watch_set(sockets->watch, fd, 0, events);
  socket->idle = events == 0;
  if (socket->connected && (events == socket->watched || (socket->idle && socket->watched == LMM_IN))) return 0;
  if (lmm_watch_set(sockets->watch, fd, socket->watched, events) != 0) return -1;
  socket->watched = (unsigned char)events;
  return 0;
}

int lmm_sockets_wait(lmm_sockets *sockets, lmm_ready *ready, int milliseconds) {
  int count = lmm_watch_wait(sockets->watch, ready, milliseconds);
  int wanted = 0;
  for (int i = 0; i < count; i++) {
    lmm_socket *socket = lmm_sockets_get(sockets, ready[i].fd);
    if (socket == NULL || !socket->idle) {
      ready[wanted++] = ready[i];
    } else { /* its server has closed it or says something: libcurl looks at it before it is used again */
      (void)lmm_watch_set(sockets->watch, ready[i].fd, socket->watched, 0);
      socket->watched = 0;
    }
  }
  return count < 0 ? count : wanted;
}

/* ---- addresses ---- */

static void set_port(unsigned char *end, int port) {
  end[16] = (unsigned char)(port >> 8);
  end[17] = (unsigned char)port;
}

bool lmm_address_parse(lmm_address *address, const char *local_ip, int local_port, const char *ip, int port) {
  unsigned char *local = address->bytes, *remote = address->bytes + LMM_ADDRESS_BYTES / 2;
  memset(address, 0, sizeof *address);
  set_port(local, local_port);
  set_port(remote, port);
  return local_port > 0 && inet_pton(strchr(local_ip, ':') != NULL ? AF_INET6 : AF_INET, local_ip, local) == 1 &&
         inet_pton(strchr(ip, ':') != NULL ? AF_INET6 : AF_INET, ip, remote) == 1;
}

static bool read_end(unsigned char *end, const struct sockaddr_storage *from) {
  if (from->ss_family == AF_INET) {
    const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)from;
    memcpy(end, &four->sin_addr, sizeof four->sin_addr);
    set_port(end, ntohs(four->sin_port));
  } else if (from->ss_family == AF_INET6) {
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)from;
    memcpy(end, &six->sin6_addr, sizeof six->sin6_addr);
    set_port(end, ntohs(six->sin6_port));
  }
  return from->ss_family == AF_INET || from->ss_family == AF_INET6;
}

bool lmm_address_is_of(const lmm_address *address, int fd) {
  struct sockaddr_storage local = {.ss_family = AF_UNSPEC}, remote = {.ss_family = AF_UNSPEC};
  socklen_t local_length = sizeof local, remote_length = sizeof remote;
  lmm_address actual = {{0}};
  if (getsockname(fd, (struct sockaddr *)&local, &local_length) != 0) return false;
  if (getpeername(fd, (struct sockaddr *)&remote, &remote_length) != 0) return false;
  return read_end(actual.bytes, &local) && read_end(actual.bytes + LMM_ADDRESS_BYTES / 2, &remote) &&
         memcmp(&actual, address, sizeof actual) == 0;
}
