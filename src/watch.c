/* watch.c: descriptors and what to watch them for come in; those that are ready go out. All are gathered behind one
 * descriptor, so that a host's loop has one thing to watch: epoll on Linux, kqueue elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>
#else
#include <sys/event.h>
#endif

#include "transport.h"

#ifdef __linux__

int lmm_watch_open(void) { return epoll_create1(EPOLL_CLOEXEC); }

/* What is known may be wrong: a descriptor's number is given again, and libcurl does not tell of all that it closes. */
int lmm_watch_set(int watch, int fd, int before, int events) {
  struct epoll_event event = {.events = (events & LMM_IN ? EPOLLIN : 0u) | (events & LMM_OUT ? EPOLLOUT : 0u),
                              .data = {.fd = fd}};
  if (events == 0) {
    (void)epoll_ctl(watch, EPOLL_CTL_DEL, fd, NULL);
    return 0;
  }
  if (epoll_ctl(watch, before == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) == 0) return 0;
  if (errno != (before == 0 ? EEXIST : ENOENT)) return -1;
  return epoll_ctl(watch, before == 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
}

int lmm_watch_wait(int watch, lmm_ready *ready, int milliseconds) {
  struct epoll_event events[LMM_MOST_READY];
  int count = epoll_wait(watch, events, LMM_MOST_READY, milliseconds);
  for (int i = 0; i < count; i++) {
    unsigned got = events[i].events;
    ready[i].fd = events[i].data.fd;
    ready[i].events = (got & (EPOLLIN | EPOLLHUP) ? LMM_IN : 0) | (got & EPOLLOUT ? LMM_OUT : 0) |
                      (got & EPOLLERR ? LMM_ERROR : 0);
  }
  return count;
}

#else /* kqueue */

int lmm_watch_open(void) {
  int watch = kqueue();
  if (watch >= 0) (void)fcntl(watch, F_SETFD, FD_CLOEXEC);
  return watch;
}

static int change(int watch, int fd, short filter, bool wanted) {
  struct kevent event;
  EV_SET(&event, (uintptr_t)fd, filter, (unsigned short)(wanted ? EV_ADD : EV_DELETE), 0, 0, NULL);
  return kevent(watch, &event, 1, NULL, 0, NULL) == 0 || !wanted ? 0 : -1;
}

int lmm_watch_set(int watch, int fd, int before, int events) {
  (void)before;
  int in = change(watch, fd, EVFILT_READ, (events & LMM_IN) != 0);
  int out = change(watch, fd, EVFILT_WRITE, (events & LMM_OUT) != 0);
  return in != 0 || out != 0 ? -1 : 0;
}

int lmm_watch_wait(int watch, lmm_ready *ready, int milliseconds) {
  struct kevent events[LMM_MOST_READY];
  struct timespec limit = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  int count = kevent(watch, NULL, 0, events, LMM_MOST_READY, &limit);
  for (int i = 0; i < count; i++)
    ready[i] = (lmm_ready){(int)events[i].ident, events[i].filter == EVFILT_READ ? LMM_IN : LMM_OUT};
  return count;
}

#endif
