/* steady.c: takes chance out of what `make check-cost` counts. It is loaded before the C library with LD_PRELOAD and
 * stands in for functions whose results depend on how fast this process and the server run:
 *
 *     time, gettimeofday, clock_gettime   Each look at the clock moves it by a microsecond. libcurl's timers then expire
 *                                         at the same steps in every run, and Lua takes the same seed for its hashes.
 *     send, poll                          Whoever has sent and looks for the answer at once, without waiting, does not
 *                                         find it; so it is with a real server, and not always with ours.
 */
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#define START 1764374400 /* some date in seconds since 1970 */

static long long microseconds;
static int sent_to = -1;

int clock_gettime(clockid_t clock, struct timespec *now) {
  (void)clock;
  microseconds++;
  now->tv_sec = START + (time_t)(microseconds / 1000000);
  now->tv_nsec = (long)(microseconds % 1000000) * 1000;
  return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec time;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &time);
  now->tv_sec = time.tv_sec;
  now->tv_usec = time.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *copy) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (copy != NULL) *copy = now.tv_sec;
  return now.tv_sec;
}

ssize_t send(int fd, const void *bytes, size_t count, int flags) {
  sent_to = fd;
  return sendto(fd, bytes, count, flags, NULL, 0);
}

int poll(struct pollfd *fds, nfds_t count, int milliseconds) {
  struct timespec timeout = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  int ready = ppoll(fds, count, milliseconds < 0 ? NULL : &timeout, NULL);
  if (milliseconds == 0 && count == 1 && ready == 1 && fds->fd == sent_to) {
    fds->revents &= ~(POLLIN | POLLRDNORM);
    ready = fds->revents != 0;
  }
  for (nfds_t i = 0; i < count; i++)
    if (fds[i].fd == sent_to) sent_to = -1;
  return ready;
}
