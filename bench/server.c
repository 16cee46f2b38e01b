/* server.c: an HTTP server that answers as fast as it can, for the benchmarks. It prints its port on 127.0.0.1 and ends
 * when its standard input does. The path says what comes back; its end (/v1/chat/completions) is not looked at:
 *
 *     /stream/COUNT/BYTES/...   COUNT events with a piece of text each, BYTES long, all different
 *     /json/COUNT/BYTES/...     COUNT events with BYTES of one JSON text each: a list of rows, and a long string behind it
 *     /hold/...                 the head and the role of a stream, and then nothing more
 *     /text/BYTES/...           a whole answer with so much text
 *     anything else             a whole answer of one word
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_CONNECTIONS 65536
#define REQUEST_HEAD 65536

typedef struct connection {
  char head[REQUEST_HEAD];
  size_t length;       /* of the head so far */
  long long left;      /* bytes of the request's body that are still to come */
  const char *out;     /* what is to be written, and how much of it */
  size_t out_length;
  char status[256];    /* the head of the reply */
  size_t status_length, status_at;
  int reading_body, writing;
} connection;

static connection *connections[MOST_CONNECTIONS];
static char scratch[1 << 20];

/* A text made once and kept: streams and long answers are made before they are timed. */
typedef struct made {
  char path[64];
  char *text;
  size_t length;
  struct made *next;
} made;
static made *all_made;

static const char *words[] = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"};

static char *piece_of(char *at, const char *text, long bytes) {
  char line[4096];
  int length = sprintf(line, "data: {\"id\":\"chatcmpl-7d2f6a4e9b\",\"object\":\"chat.completion.chunk\",\"created\":1764374400,"
    "\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":null,"
    "\"token_ids\":null}],\"padding\":\"", text);
  while (length < bytes - 5 && length < 4000) line[length++] = 'x';
  length += sprintf(line + length, "\"}\n\n");
  memcpy(at, line, (size_t)length);
  return at + length;
}

static const char role[] = "data: {\"id\":\"chatcmpl-7d2f6a4e9b\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":"
  "{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
static const char last[] = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

static char *word_of(char *at, long number, long bytes) {
  char text[64];
  sprintf(text, "%s%ld ", words[number % 8], number * 2654435761 % 1000003);
  return piece_of(at, text, bytes);
}

/* The JSON text of /json: the first half of its bytes are rows. */
static char *json_of(long length) {
  char *text = malloc((size_t)length + 256), *at = text + sprintf(text, "{\"rows\":[");
  for (long row = 0; at - text < length / 2; row++)
    at += sprintf(at, "%s{\"id\":%ld,\"name\":\"%s\",\"price\":%ld.5,\"tags\":[\"%s\",null]}", row > 0 ? "," : "", row,
      words[row % 8], row * 7, words[row % 5]);
  at += sprintf(at, "],\"text\":\"");
  for (long word = 0; at - text < length - 2 - 7; word++) at += sprintf(at, "%s ", words[word % 4]);
  while (at - text < length - 2) *at++ = 'x';
  sprintf(at, "\"}");
  return text;
}

/* The text in pieces, quotes escaped. */
static char *pieces_of(char *at, const char *text, long count, long bytes) {
  for (long i = 0; i < count; i++) {
    char piece[512], *to = piece;
    for (long j = 0; j < bytes; j++, text++) {
      if (*text == '"') *to++ = '\\';
      *to++ = *text;
    }
    *to = '\0';
    at = piece_of(at, piece, 0);
  }
  return at;
}

static made *make(const char *path, long count, long bytes) {
  for (made *m = all_made; m != NULL; m = m->next)
    if (strcmp(m->path, path) == 0) return m;
  made *m = calloc(1, sizeof *m);
  snprintf(m->path, sizeof m->path, "%s", path);
  if (count > 0) {
    m->text = malloc((size_t)count * (size_t)(bytes + 300) + 4096);
    char *at = m->text + sprintf(m->text, "%s", role);
    if (strncmp(path, "/json/", 6) == 0) {
      char *text = json_of(count * bytes);
      at = pieces_of(at, text, count, bytes);
      free(text);
    } else {
      for (long i = 0; i < count; i++) at = word_of(at, i, bytes);
    }
    at += sprintf(at, "%s", last);
    m->length = (size_t)(at - m->text);
  } else {
    m->text = malloc((size_t)bytes + 256);
    char *at = m->text + sprintf(m->text, "{\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":{\"content\":\"");
    for (long i = 0; i < bytes; i++) *at++ = "the quick brown fox jumps over the lazy dog. "[i % 45];
    at += sprintf(at, "\"}}]}");
    m->length = (size_t)(at - m->text);
  }
  m->next = all_made;
  return all_made = m;
}

static void answer(connection *c) {
  static const char small[] = "{\"id\":\"chatcmpl-7d2f6a4e9b\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":"
    "{\"role\":\"assistant\",\"content\":\"received\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,"
    "\"completion_tokens\":1,\"total_tokens\":6}}";
  long count = 0, bytes = 0;
  char path[64] = "";
  const char *type = "application/json";
  sscanf(c->head, "%*s %63[^ ]", path);
  c->out = small, c->out_length = sizeof small - 1;
  if (sscanf(path, "/stream/%ld/%ld", &count, &bytes) == 2 || sscanf(path, "/json/%ld/%ld", &count, &bytes) == 2 ||
      sscanf(path, "/text/%ld", &bytes) == 1) {
    made *m = make(path, count, bytes);
    c->out = m->text, c->out_length = m->length;
    if (count > 0) type = "text/event-stream";
  }
  if (strncmp(path, "/hold/", 6) == 0) {
    c->out = role, c->out_length = sizeof role - 1;
    c->status_length = (size_t)sprintf(c->status, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
  } else {
    c->status_length = (size_t)sprintf(c->status, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", type,
      c->out_length);
  }
  c->status_at = 0;
  c->writing = 1;
}

/* Each gives 0 when the connection has ended. */
static int take_bytes(connection *c, const char *bytes, size_t count) {
  while (count > 0) {
    if (c->reading_body) {
      size_t used = (long long)count < c->left ? count : (size_t)c->left;
      c->left -= (long long)used, bytes += used, count -= used;
    } else {
      size_t room = sizeof c->head - 1 - c->length, used = count < room ? count : room;
      memcpy(c->head + c->length, bytes, used);
      c->length += used;
      c->head[c->length] = '\0';
      char *end = strstr(c->head, "\r\n\r\n");
      if (end == NULL) return c->length < sizeof c->head - 1;
      const char *field = strcasestr(c->head, "\r\nContent-Length:");
      c->left = field != NULL && field < end ? atoll(field + 17) : 0;
      size_t behind = c->length - (size_t)(end + 4 - c->head);
      c->reading_body = 1;
      bytes += used - behind, count -= used - behind;
      if (behind > 0) continue;
    }
    if (c->left == 0) break;
  }
  if (c->reading_body && c->left == 0) {
    answer(c);
    c->reading_body = 0, c->length = 0;
  }
  return 1;
}

static int flush(int fd, connection *c) {
  while (c->status_at < c->status_length) {
    ssize_t sent = send(fd, c->status + c->status_at, c->status_length - c->status_at, MSG_NOSIGNAL | MSG_MORE);
    if (sent < 0) return errno == EAGAIN;
    c->status_at += (size_t)sent;
  }
  while (c->out_length > 0) {
    ssize_t sent = send(fd, c->out, c->out_length, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN;
    c->out += sent, c->out_length -= (size_t)sent;
  }
  c->writing = 0;
  return 1;
}

static void drop(int fd) {
  free(connections[fd]);
  connections[fd] = NULL;
  close(fd);
}

static int receive(int fd, connection *c) {
  ssize_t got = read(fd, scratch, sizeof scratch);
  if (got < 0) return errno == EAGAIN;
  return got > 0 && take_bytes(c, scratch, (size_t)got);
}

static void serve(int watch, int fd, unsigned events) {
  connection *c = connections[fd];
  int was_writing = c->writing;
  int alive = events & EPOLLIN ? receive(fd, c) : (events & (EPOLLHUP | EPOLLERR)) == 0;
  if (!alive || (c->writing && !flush(fd, c))) {
    drop(fd);
    return;
  }
  if (was_writing != c->writing) {
    struct epoll_event event = {.events = EPOLLIN | (c->writing ? EPOLLOUT : 0u), .data = {.fd = fd}};
    epoll_ctl(watch, EPOLL_CTL_MOD, fd, &event);
  }
}

int main(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), watch = epoll_create1(0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 4096) != 0) return 1;
  if (getsockname(listener, (struct sockaddr *)&address, &size) != 0) return 1;
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  int sources[] = {listener, STDIN_FILENO};
  for (int i = 0; i < 2; i++) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = sources[i]}};
    epoll_ctl(watch, EPOLL_CTL_ADD, sources[i], &event);
  }
  for (;;) {
    struct epoll_event ready[256];
    int count = epoll_wait(watch, ready, 256, -1);
    for (int i = 0; i < count; i++) {
      int fd = ready[i].data.fd, client, one = 1;
      if (fd == STDIN_FILENO) return 0;
      if (fd != listener) {
        serve(watch, fd, ready[i].events);
        continue;
      }
      while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (client >= MOST_CONNECTIONS) {
          close(client);
          continue;
        }
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        connections[client] = calloc(1, sizeof(connection));
        struct epoll_event event = {.events = EPOLLIN, .data = {.fd = client}};
        epoll_ctl(watch, EPOLL_CTL_ADD, client, &event);
      }
    }
  }
}
