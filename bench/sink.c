/* sink.c: a server that reads requests as fast as it can, counts, and answers each with the same small reply. It prints
 * its port and ends when its standard input does. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char reply[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 81\r\n\r\n"
    "{\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":{\"content\":\"received\"}}]}";

static char buffer[1 << 16];

/* Reads one request; gives 0 when the connection has ended. */
static int take_request(int client) {
  size_t length = 0;
  char *end = NULL;
  while (end == NULL) {
    ssize_t got = read(client, buffer + length, sizeof buffer - 1 - length);
    if (got <= 0) return 0;
    length += (size_t)got;
    buffer[length] = '\0';
    end = strstr(buffer, "\r\n\r\n");
  }
  const char *field = strcasestr(buffer, "\r\nContent-Length:");
  long long left = field != NULL && field < end ? atoll(field + 17) : 0;
  left -= (long long)(buffer + length - (end + 4));
  while (left > 0) {
    ssize_t got = read(client, buffer, sizeof buffer);
    if (got <= 0) return 0;
    left -= got;
  }
  return write(client, reply, sizeof reply - 1) > 0;
}

int main(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 16) != 0) return 1;
  if (getsockname(listener, (struct sockaddr *)&address, &size) != 0) return 1;
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  for (;;) {
    struct pollfd ready[] = {{.fd = listener, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    if (poll(ready, 2, -1) < 0 || ready[1].revents != 0) return 0;
    int client = accept(listener, NULL, NULL);
    while (client >= 0 && take_request(client)) continue;
    close(client);
  }
}
