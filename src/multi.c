/* multi.c: all transfers of a Lua state on one multi handle. Poll moves them; next gives those to which something
 * happened. libcurl's sockets are gathered behind one descriptor, so that a host's loop has one thing to watch. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>
#else
#include <sys/event.h>
#endif

#include "lmm.h"

/* ---- the watch: a descriptor that is readable when a socket is ready ---- */

#define MOST_READY 64 /* sockets that one step looks at; the others are found by the next */
#define MOST_STEPS 16 /* of one poll */

typedef struct ready_socket {
  int fd;
  int events; /* CURL_CSELECT_... */
} ready_socket;

#ifdef __linux__

static int watch_open(void) { return epoll_create1(EPOLL_CLOEXEC); }

static int watch_socket(int watch, int fd, bool in, bool out) {
  struct epoll_event event = {.events = (in ? EPOLLIN : 0u) | (out ? EPOLLOUT : 0u), .data = {.fd = fd}};
  if (epoll_ctl(watch, EPOLL_CTL_MOD, fd, &event) == 0) return 0;
  return epoll_ctl(watch, EPOLL_CTL_ADD, fd, &event);
}

static void unwatch_socket(int watch, int fd) { (void)epoll_ctl(watch, EPOLL_CTL_DEL, fd, NULL); }

static int watch_wait(int watch, ready_socket *ready, int milliseconds) {
  struct epoll_event events[MOST_READY];
  int count = epoll_wait(watch, events, MOST_READY, milliseconds);
  for (int i = 0; i < count; i++) {
    unsigned got = events[i].events;
    ready[i].fd = events[i].data.fd;
    ready[i].events = (got & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) | (got & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                      (got & EPOLLERR ? CURL_CSELECT_ERR : 0);
  }
  return count;
}

#else /* kqueue */

static int watch_open(void) {
  int watch = kqueue();
  if (watch >= 0) (void)fcntl(watch, F_SETFD, FD_CLOEXEC);
  return watch;
}

static int change(int watch, int fd, short filter, bool wanted) {
  struct kevent event;
  EV_SET(&event, (uintptr_t)fd, filter, (unsigned short)(wanted ? EV_ADD : EV_DELETE), 0, 0, NULL);
  return kevent(watch, &event, 1, NULL, 0, NULL) == 0 || !wanted ? 0 : -1;
}

static int watch_socket(int watch, int fd, bool in, bool out) {
  return change(watch, fd, EVFILT_READ, in) | change(watch, fd, EVFILT_WRITE, out);
}

static void unwatch_socket(int watch, int fd) { (void)watch_socket(watch, fd, false, false); }

static int watch_wait(int watch, ready_socket *ready, int milliseconds) {
  struct kevent events[MOST_READY];
  struct timespec limit = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  int count = kevent(watch, NULL, 0, events, MOST_READY, &limit);
  for (int i = 0; i < count; i++)
    ready[i] = (ready_socket){(int)events[i].ident, events[i].filter == EVFILT_READ ? CURL_CSELECT_IN : CURL_CSELECT_OUT};
  return count;
}

#endif

/* ---- when libcurl is to be called ---- */

int64_t lmm_multi_now(void) {
  struct timespec time;
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static int on_timer(CURLM *handle, long milliseconds, void *context) {
  lmm_multi *multi = context;
  (void)handle;
  multi->due = milliseconds < 0 ? -1 : lmm_multi_now() + milliseconds;
  return 0;
}

/* ---- the connections' sockets ---- */

static int *find_socket(const lmm_multi *multi, int fd) {
  int *all = (int *)(void *)multi->sockets.data;
  for (size_t i = 0; i < multi->sockets.length / sizeof *all; i++)
    if (all[i] == fd) return &all[i];
  return NULL;
}

static curl_socket_t on_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address) {
  lmm_transfer *transfer = context;
  lmm_multi *multi = transfer->multi;
  (void)purpose;
  if (!lmm_transfer_may_connect(transfer)) return CURL_SOCKET_BAD;
#ifdef SOCK_CLOEXEC
  int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
  int fd = socket(address->family, address->socktype, address->protocol);
  if (fd >= 0) (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
  /* It may be known: 7.88 tells nothing of one that it closes while it connects. Where memory for it is wanting, it is
   * not looked at before it is used again. */
  if (fd >= 0 && find_socket(multi, fd) == NULL) (void)lmm_buf_add(&multi->sockets, &fd, sizeof fd);
  transfer->socket = fd;
  transfer->no_socket = fd < 0 && (errno == EMFILE || errno == ENFILE) ? errno : 0;
  return fd;
}

static int on_close_socket(void *context, curl_socket_t fd) {
  lmm_multi *multi = context;
  for (lmm_link *link = multi->ring.next; link != &multi->ring; link = link->next) {
    lmm_transfer *transfer = (lmm_transfer *)link;
    if (transfer->socket == fd && !transfer->done) lmm_transfer_lost(transfer);
  }
  int *known = find_socket(multi, fd);
  if (known != NULL) {
    multi->sockets.length -= sizeof fd;
    *known = *(const int *)(const void *)(multi->sockets.data + multi->sockets.length);
  }
  return close(fd);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known) {
  const lmm_multi *multi = context;
  (void)easy, (void)known;
  if (what != CURL_POLL_REMOVE)
    return watch_socket(multi->watch, fd, (what & CURL_POLL_IN) != 0, (what & CURL_POLL_OUT) != 0);
  unwatch_socket(multi->watch, fd);
  return 0;
}

typedef int name_fn(int fd, struct sockaddr *address, socklen_t *length);

/* Whether a socket's own address (getsockname) or its peer's (getpeername) is this one, as libcurl writes it. */
static bool has_address(int fd, name_fn *name, const char *ip, int port) {
  struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
  socklen_t length = sizeof address;
  unsigned char wanted[sizeof(struct in6_addr)];
  if (name(fd, (struct sockaddr *)&address, &length) != 0) return false;
  if (inet_pton(address.ss_family, ip, wanted) != 1) return false;
  if (address.ss_family == AF_INET) {
    const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)&address;
    return ntohs(four->sin_port) == port && memcmp(&four->sin_addr, wanted, sizeof four->sin_addr) == 0;
  }
  const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)&address;
  return ntohs(six->sin6_port) == port && memcmp(&six->sin6_addr, wanted, sizeof six->sin6_addr) == 0;
}

int lmm_multi_find(const lmm_multi *multi, int likely, const char *local_ip, int local_port, const char *ip, int port) {
  const int *all = (const int *)(const void *)multi->sockets.data;
  for (size_t i = 0; i <= multi->sockets.length / sizeof *all; i++) {
    int fd = i == 0 ? likely : all[i - 1];
    if (fd < 0 || !has_address(fd, getsockname, local_ip, local_port)) continue;
    if (has_address(fd, getpeername, ip, port)) return fd;
  }
  return -1;
}

/* ---- the multi ---- */

static void unlink_from_ring(lmm_link *link) {
  link->previous->next = link->next;
  link->next->previous = link->previous;
}

static void insert_behind(lmm_link *place, lmm_link *link) {
  link->previous = place;
  link->next = place->next;
  place->next->previous = link;
  place->next = link;
}

/* libcurl leaves the pair of sockets by which it wakes itself open across exec. They get the lowest two descriptors that
 * are free. */
static CURLM *init_handle(void) {
  int pair[2];
  struct stat about;
  for (int i = 0; i < 2; i++) pair[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
  for (int i = 0; i < 2; i++)
    if (pair[i] >= 0) (void)close(pair[i]);
  CURLM *handle = curl_multi_init();
  for (int i = 0; i < 2; i++)
    if (pair[i] >= 0 && fstat(pair[i], &about) == 0 && S_ISSOCK(about.st_mode))
      (void)fcntl(pair[i], F_SETFD, FD_CLOEXEC);
  return handle;
}

static int begin(lmm_multi *multi) {
  multi->due = -1;
  multi->handle = init_handle();
  if (multi->handle == NULL) return LMM_NOMEM;
  curl_multi_setopt(multi->handle, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(multi->handle, CURLMOPT_SOCKETDATA, multi);
  curl_multi_setopt(multi->handle, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(multi->handle, CURLMOPT_TIMERDATA, multi);
  return LMM_OK;
}

static void renew(lmm_multi *multi) {
  (void)curl_multi_cleanup(multi->handle);
  multi->sockets.length = 0;
  multi->broken = false;
  (void)begin(multi); /* or else when the next transfer is added */
}

int lmm_multi_open(lmm_multi *multi) {
  multi->ring.previous = multi->ring.next = &multi->ring;
  multi->process = (long)getpid();
  multi->sockets = LMM_BUF(sizeof(int) * 65536);
  multi->watch = watch_open();
  if (multi->watch >= 0 && begin(multi) == LMM_OK) return LMM_OK;
  if (multi->watch >= 0) (void)close(multi->watch);
  multi->watch = -1;
  return LMM_NOMEM;
}

bool lmm_multi_is_ours(const lmm_multi *multi) {
  return multi->process == (long)getpid() && multi->watch >= 0;
}

int lmm_multi_add(lmm_multi *multi, lmm_transfer *transfer) {
  curl_easy_setopt(transfer->easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
  curl_easy_setopt(transfer->easy, CURLOPT_OPENSOCKETDATA, transfer);
  curl_easy_setopt(transfer->easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
  curl_easy_setopt(transfer->easy, CURLOPT_CLOSESOCKETDATA, multi);
  if (multi->handle == NULL && begin(multi) != LMM_OK) return LMM_NOMEM;
  if (curl_multi_add_handle(multi->handle, transfer->easy) != CURLM_OK) return LMM_NOMEM;
  insert_behind(multi->ring.previous, &transfer->link);
  transfer->multi = multi;
  multi->running++;
  return LMM_OK;
}

void lmm_multi_touch(lmm_transfer *transfer) {
  if (transfer->changed || transfer->multi == NULL) return;
  transfer->changed = true;
  unlink_from_ring(&transfer->link);
  insert_behind(&transfer->multi->ring, &transfer->link);
}

void lmm_multi_remove(lmm_transfer *transfer) {
  if (!transfer->done) transfer->multi->running--;
  unlink_from_ring(&transfer->link);
  (void)curl_multi_remove_handle(transfer->multi->handle, transfer->easy);
  transfer->multi = NULL;
}

/* Completions are asked for after every step: the last transfer may end when no handle runs any more. */
static void drain(lmm_multi *multi) {
  int left;
  CURLMsg *message;
  while ((message = curl_multi_info_read(multi->handle, &left)) != NULL) {
    lmm_transfer *transfer = NULL;
    if (message->msg != CURLMSG_DONE) continue;
    CURLcode result = message->data.result;
    (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
    if (lmm_transfer_begins_anew(transfer, (int)result)) {
      (void)curl_multi_remove_handle(multi->handle, transfer->easy);
      if (curl_multi_add_handle(multi->handle, transfer->easy) == CURLM_OK) continue;
      result = CURLE_OUT_OF_MEMORY;
    }
    transfer->done = true;
    multi->running--;
    transfer->result = (int)result;
    lmm_multi_touch(transfer);
  }
}

/* Where memory ran out in the middle of something, libcurl 7.88 crashes when it is asked to go on with it. So all
 * transfers end, and it begins anew. */
static void restart(lmm_multi *multi) {
  lmm_link *next;
  for (lmm_link *link = multi->ring.next; link != &multi->ring; link = next) {
    lmm_transfer *transfer = (lmm_transfer *)link;
    next = link->next;
    if (!transfer->done) transfer->error.code = LMM_NOMEM; /* so nothing more is heard as its socket is closed */
    (void)curl_multi_remove_handle(multi->handle, transfer->easy);
    if (transfer->done) continue;
    transfer->done = true;
    multi->running--;
    lmm_multi_touch(transfer);
  }
  renew(multi);
}

int lmm_multi_timeout(const lmm_multi *multi) {
  if (multi->broken) return 0;
  if (multi->due < 0) return -1;
  int64_t left = multi->due - lmm_multi_now();
  return left < 0 ? 0 : left < INT_MAX ? (int)left : INT_MAX;
}

/* Waits at most so long, lets libcurl do what there is to do, and gives how many sockets were ready. */
static int step(lmm_multi *multi, int milliseconds) {
  ready_socket ready[MOST_READY];
  int own = lmm_multi_timeout(multi);
  int count = watch_wait(multi->watch, ready, own >= 0 && own < milliseconds ? own : milliseconds);
  if (multi->handle == NULL) return 0; /* for want of memory: nothing is under way */
  int running; /* by libcurl's count, which is only told when it is called */
  CURLMcode code = CURLM_OK;
  if (lmm_multi_timeout(multi) == 0) {
    multi->due = -1;
    code = curl_multi_socket_action(multi->handle, CURL_SOCKET_TIMEOUT, 0, &running);
  }
  for (int i = 0; i < count && code == CURLM_OK; i++)
    code = curl_multi_socket_action(multi->handle, ready[i].fd, ready[i].events, &running);
  drain(multi);
  if (code != CURLM_OK || multi->broken) restart(multi);
  return count;
}

static bool has_changed(const lmm_multi *multi) {
  return multi->ring.next != &multi->ring && ((const lmm_transfer *)multi->ring.next)->changed;
}

/* An upload goes on for some steps without the caller, who would learn nothing from each of them. */
int lmm_multi_poll(lmm_multi *multi, int milliseconds) {
  int ready = step(multi, milliseconds);
  for (int i = 1; i < MOST_STEPS && ready > 0 && !has_changed(multi); i++) ready = step(multi, 0);
  return multi->running;
}

void lmm_multi_rest(lmm_multi *multi) {
  if (multi->sockets.length > 0 && multi->ring.next == &multi->ring) renew(multi);
}

lmm_transfer *lmm_multi_next(lmm_multi *multi) {
  lmm_transfer *transfer = (lmm_transfer *)multi->ring.next;
  if (!has_changed(multi)) return NULL;
  transfer->changed = false;
  unlink_from_ring(&transfer->link);
  insert_behind(multi->ring.previous, &transfer->link);
  return transfer;
}

void lmm_multi_close(lmm_multi *multi) {
  while (multi->ring.next != &multi->ring) lmm_transfer_close((lmm_transfer *)multi->ring.next);
  (void)curl_multi_cleanup(multi->handle);
  multi->handle = NULL;
  (void)close(multi->watch);
  multi->watch = -1;
  lmm_buf_free(&multi->sockets);
}
