/* quirks.c: what works around faults of libcurl, a section for each: how the fault shows, which versions have it, the
 * spec that would fail without the remedy, and when it can go. "7.88 at least" means that other versions were not
 * tried. A transfer comes in; callbacks are set on its easy handle, and what they learn stands in the transfer.
 *
 * Two need the multi handle's owner and stand in multi.c: that completions are asked for after every step, since the
 * last transfer may end when libcurl no longer counts any as running; and that the idle connections are closed by
 * making another multi handle, since no call closes them before 8.16.0 (CURLMOPT_NETWORK_CHANGED). */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport.h"

/* ---- which socket a transfer uses -----------------------------------------------------------------------------------
 * Shows:    CURLINFO_ACTIVESOCKET gives none before a transfer has ended, and the callback before the request tells
 *           addresses only. The sections below need the socket.
 * Versions: all so far (curl issue 5299).
 * Remedy:   a fresh connection has one of the sockets that were opened for it, a kept one that with its addresses.
 * Spec:     network_spec "two hosts on one port", and those of the sections below.
 * Can go:   with the sections below. */

static int socket_of(lmm_transfer *transfer, const lmm_address *address, bool is_fresh) {
  lmm_sockets *sockets = transfer->sockets;
  int count = transfer->attempt_count < LMM_MOST_ATTEMPTS ? transfer->attempt_count : LMM_MOST_ATTEMPTS;
  if (!is_fresh) return address != NULL ? lmm_sockets_find(sockets, address) : -1;
  for (int i = 0; i < count; i++) {
    int fd = transfer->attempts[i];
    const lmm_socket *socket = lmm_sockets_get(sockets, fd);
    if (socket == NULL || socket->user != transfer) continue;
    if (transfer->attempt_count > 1 && (address == NULL || !lmm_address_is_of(address, fd))) continue;
    lmm_sockets_connect(sockets, fd, address);
    return fd;
  }
  return -1;
}

/* The transfer has nothing to do any more with the sockets that it opened or uses. */
static void release_sockets(lmm_transfer *transfer) {
  int count = transfer->attempt_count < LMM_MOST_ATTEMPTS ? transfer->attempt_count : LMM_MOST_ATTEMPTS;
  for (int i = -1; i < count; i++) {
    lmm_socket *socket = lmm_sockets_get(transfer->sockets, i < 0 ? transfer->socket : transfer->attempts[i]);
    if (socket != NULL && socket->user == transfer) socket->user = NULL;
  }
  transfer->socket = -1;
  transfer->attempt_count = 0;
}

static void use_socket(lmm_transfer *transfer, int fd) {
  lmm_socket *socket = lmm_sockets_get(transfer->sockets, fd);
  release_sockets(transfer); /* those that lost the race to connect */
  transfer->socket = socket != NULL ? fd : -1;
  if (socket != NULL) socket->user = transfer;
}

/* ---- connections that talk while nothing is asked -------------------------------------------------------------------
 * Shows:    what a server sends after its response is read as the response to the next request on that connection.
 * Versions: before 8.0.0 (curl pull request 10690).
 * Remedy:   such a connection is shut down before the request is sent, so that it becomes one that has ended.
 * Spec:     network_spec "what a server says ... is not taken for the next one".
 * Can go:   with libcurl 7. */

static void drop_unsolicited(int fd, const lmm_address *address) {
  char bytes[4096];
  if (recv(fd, bytes, 1, MSG_PEEK | MSG_DONTWAIT) <= 0) return;
  if (!lmm_address_is_of(address, fd)) return; /* libcurl has closed it without a word */
  (void)shutdown(fd, SHUT_RDWR);
  while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
  }
}

/* And nothing tells which connection is about to be used again where it has no addresses: on a Unix socket. So none is.
 * Spec:     network_spec "what a server says on a Unix socket". */

static CURLcode forbid_reuse(CURL *easy) { return curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L); }

/* ---- requests that are sent again -----------------------------------------------------------------------------------
 * Shows:    when a kept connection turns out to be dead, libcurl sends the request again, up to five times, also a
 *           POST, and also when the connection lived long enough for the server to have worked on it.
 * Versions: all so far; five times since 7.70.0 (curl pull requests 5074, 5800; 18417 proposes an option).
 * Remedy:   the second time is on a fresh connection, so that its end is a failure like any other, and is counted. And
 *           no connection is made for it unless the first one ended soon after the request was begun.
 * Spec:     curl_spec "sent at most twice", resend_spec "a kept connection that ends after a while".
 * Can go:   when libcurl can be told not to. */

#define DEAD_WITHIN 1000 /* milliseconds in which a connection that was dead shows it */

static bool may_reconnect(lmm_transfer *transfer) {
  if (transfer->connected && lmm_transfer_now() - transfer->connected_at > DEAD_WITHIN) return false;
  transfer->connected = transfer->in_handshake = false;
  transfer->closed_in = NULL;
  return true;
}

static int before_request(void *context, char *ip, char *local_ip, int port, int local_port) {
  lmm_transfer *transfer = context;
  lmm_address address = {{0}};
  bool has_address = lmm_address_parse(&address, local_ip, local_port, ip, port);
  long connects = 0;
  (void)curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
  transfer->connected = true;
  transfer->connected_at = lmm_transfer_now();
  use_socket(transfer, socket_of(transfer, has_address ? &address : NULL, connects > 0));
  if (connects == 0 && transfer->socket >= 0) drop_unsolicited(transfer->socket, &address);
  (void)curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, 1L);
  return CURL_PREREQFUNC_OK;
}

/* ---- requests that are not sent again -------------------------------------------------------------------------------
 * Shows:    CURLE_SEND_ERROR where writing, and not reading, tells that a kept connection is dead.
 * Versions: 7.65.3 (curl issue 4246) and 7.88 at least.
 * Remedy:   the transfer is started once more, as libcurl does in the other case.
 * Spec:     resend_spec "one that dies while the request is still going out".
 * Can go:   not soon. */

bool lmm_quirks_resend(lmm_transfer *transfer, int result) {
  long connects = 0;
  (void)curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
  if (result != CURLE_SEND_ERROR || !transfer->connected || transfer->responded || connects > 0) return false;
  if (!may_reconnect(transfer)) return false;
  return transfer->body == NULL || transfer->body->rewind(transfer->body, &transfer->error) == LMM_OK;
}

/* ---- responses that come while the body is still being sent ---------------------------------------------------------
 * Shows:    a server refuses a request as soon as it has the head (413, 401), and closes. libcurl finds that it cannot
 *           send the rest, and closes the socket without having read what was said.
 * Versions: 7.88 at least.
 * Remedy:   what is there is read as the socket is closed. What comes by TLS does not begin as it should, and is left.
 * Spec:     resend_spec "a refusal that comes while a body is still being sent".
 * Can go:   when libcurl reads before it gives up. */

static void read_early_response(lmm_transfer *transfer) {
  char bytes[CURL_MAX_WRITE_SIZE];
  if (!transfer->connected || transfer->responded || transfer->error.code != LMM_OK) return;
  ssize_t count = recv(transfer->socket, bytes, sizeof bytes - 1, MSG_DONTWAIT);
  if (count < 12 || memcmp(bytes, "HTTP/1.", 7) != 0) return;
  bytes[count] = '\0';
  const char *end = strstr(bytes, "\r\n\r\n");
  const char *chunked = strcasestr(bytes, "\ntransfer-encoding:");
  long status = strtol(bytes + 9, NULL, 10);
  if (end == NULL || status < 300 || status > 599) return;
  size_t length = (size_t)(end - bytes) + 4;
  if (lmm_buf_add(&transfer->head, bytes, length) != LMM_OK) return;
  transfer->status = (int)status;
  transfer->responded = true;
  if (chunked != NULL && chunked < end) return;
  int code = lmm_buf_add(&transfer->received, bytes + length, (size_t)count - length);
  while (code == LMM_OK && (count = recv(transfer->socket, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
    code = lmm_buf_add(&transfer->received, bytes, (size_t)count);
}

bool lmm_quirks_is_success(const lmm_transfer *transfer) {
  return transfer->result == CURLE_SEND_ERROR && transfer->status >= 300;
}

/* libcurl also forgets how much was sent, so the phase is kept for lmm_quirks_failure. */
static int on_close_socket(void *context, curl_socket_t fd) {
  lmm_transfer *transfer = lmm_sockets_remove(context, fd);
  if (transfer != NULL && !transfer->done && transfer->socket == fd) {
    transfer->closed_in = lmm_transfer_phase(transfer);
    read_early_response(transfer);
    transfer->socket = -1;
  }
  return close(fd);
}

/* ---- descriptors that stay open across exec -------------------------------------------------------------------------
 * Shows:    a process that is started meanwhile inherits connections, and the pair by which a multi handle wakes
 *           itself.
 * Versions: all so far (curl issues 2252, 13618). The pair is two sockets in 7.88, later a pipe or an eventfd.
 * Remedy:   sockets are opened here; and the pair gets the lowest descriptors that are free, so these are looked at.
 * Spec:     network_spec "a process that is started meanwhile inherits no socket".
 * Can go:   when libcurl sets FD_CLOEXEC. */

static curl_socket_t on_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address) {
  lmm_transfer *transfer = context;
  (void)purpose;
  if (!may_reconnect(transfer)) return CURL_SOCKET_BAD;
#ifdef SOCK_CLOEXEC
  int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
  int fd = socket(address->family, address->socktype, address->protocol);
  if (fd >= 0) (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
  transfer->socket_errno = fd < 0 && (errno == EMFILE || errno == ENFILE) ? errno : 0;
  if (fd >= 0 && lmm_sockets_add(transfer->sockets, fd, transfer) != LMM_OK) {
    lmm_fail(&transfer->error, LMM_NOMEM, "not enough memory");
    (void)close(fd);
    return CURL_SOCKET_BAD;
  }
  if (fd >= 0) transfer->attempts[transfer->attempt_count++ % LMM_MOST_ATTEMPTS] = fd;
  transfer->socket = fd;
  return fd;
}

static bool is_wake_descriptor(int fd) {
  struct stat about;
  if (fd < 0 || fstat(fd, &about) != 0) return false;
  return S_ISSOCK(about.st_mode) || S_ISFIFO(about.st_mode) || (about.st_mode & S_IFMT) == 0;
}

void *lmm_quirks_multi_init(void) {
  int pair[2];
  for (int i = 0; i < 2; i++) pair[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
  for (int i = 0; i < 2; i++)
    if (pair[i] >= 0) (void)close(pair[i]);
  CURLM *handle = curl_multi_init();
  for (int i = 0; i < 2; i++)
    if (is_wake_descriptor(pair[i])) (void)fcntl(pair[i], F_SETFD, FD_CLOEXEC);
  return handle;
}

/* ---- sockets that are closed without a word -------------------------------------------------------------------------
 * Shows:    CURLOPT_CLOSESOCKETFUNCTION is not called for a socket that never was connected.
 * Versions: 7.88.0 to 8.1.2 (curl pull request 11439).
 * Remedy:   lmm_sockets_add takes a descriptor that it knows for a new one, and nothing is done to a socket that was
 *           not connected: its descriptor may be somebody else's by now.
 * Spec:     phase_spec "timeout.connect in the phase connect".
 * Can go:   with 8.1. */

void lmm_quirks_detach(lmm_transfer *transfer) { release_sockets(transfer); }

/* ---- what a transfer is doing ---------------------------------------------------------------------------------------
 * Shows:    libcurl tells when TCP stood or TLS was done only afterwards, as a time; a limit that is reached before
 *           then could not be told by its phase.
 * Versions: all so far. CURLOPT_SSL_CTX_FUNCTION is not called with every TLS library: then the phase is "connect".
 * Spec:     phase_spec, curl_spec "TLS that is never answered".
 * Can go:   when there is a callback for each phase. */

static CURLcode before_handshake(CURL *easy, void *tls, void *context) {
  lmm_transfer *transfer = context;
  (void)easy, (void)tls;
  transfer->in_handshake = true;
  return CURLE_OK;
}

void lmm_quirks_attach(lmm_transfer *transfer, lmm_sockets *sockets) {
  CURL *easy = transfer->easy;
  transfer->sockets = sockets;
  transfer->socket = -1;
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, sockets); /* it outlives the transfer: the connection is kept */
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, before_request);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, before_handshake);
  curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, transfer);
}

/* ---- results that mean something else -------------------------------------------------------------------------------
 * Shows:    a header line of more than 100 KB is CURLE_OUT_OF_MEMORY before 8.6.0 (curl pull request 12269); a head of
 *           more than 300 KB is CURLE_RECV_ERROR from 8.3.0 on; a head without its end is a success with no status
 *           (7.88 at least); and a reconnection that may_reconnect refuses is one that was not possible.
 * Spec:     curl_spec "how a transfer fails", resend_spec "a kept connection that ends after a while".
 * Can go:   with 8.5; the others stay. */

#if LIBCURL_VERSION_NUM >= 0x080600
#define TOO_LARGE CURLE_TOO_LARGE
#else
#define TOO_LARGE CURLE_OUT_OF_MEMORY
#endif

bool lmm_quirks_failure(const lmm_transfer *transfer, lmm_failure *failure) {
  curl_off_t begun = 0;
  int result = transfer->result;
  const char *phase = lmm_transfer_phase(transfer);
  (void)curl_easy_getinfo(transfer->easy, CURLINFO_STARTTRANSFER_TIME_T, &begun);
  bool in_head = transfer->status == 0 && begun > 0;
  if (result == CURLE_OK && transfer->status == 0) {
    *failure = (lmm_failure){"truncated", "wait", "it ended within its head", false};
  } else if (result == CURLE_COULDNT_CONNECT && transfer->connected) {
    bool is_sent = transfer->closed_in == NULL || strcmp(transfer->closed_in, "send") != 0;
    const char *reason = is_sent ? "the server closed it" : "it broke off while the request was sent";
    *failure = (lmm_failure){"connect", is_sent ? "wait" : "send", reason, false};
  } else if (result == CURLE_OUT_OF_MEMORY && in_head) {
    const char *reason = "a header line is longer than 100 KB, or there is not enough memory";
    *failure = (lmm_failure){"limit", phase, reason, false};
  } else if ((result == TOO_LARGE && result != CURLE_OUT_OF_MEMORY) ||
             strncmp(transfer->reason, "Too large response headers", 26) == 0) {
    const char *reason = "its head is longer than 300 KB, or a line of it than 100 KB";
    *failure = (lmm_failure){"limit", phase, reason, false};
  } else {
    return false;
  }
  return true;
}

/* ---- a multi handle that memory has run out for ---------------------------------------------------------------------
 * Shows:    curl_multi_socket_action gives an error, or curl_easy_pause does; asked to go on, libcurl crashes.
 * Versions: 7.88 at least.
 * Remedy:   all transfers are ended, and its owner makes another multi handle.
 * Spec:     `make oom`.
 * Can go:   not soon. */

int lmm_quirks_abandon(void *multi_handle, lmm_link *ring) {
  lmm_link *next;
  int count = 0;
  for (lmm_link *link = ring->next; link != ring; link = next) {
    lmm_transfer *transfer = (lmm_transfer *)link;
    next = link->next;
    if (!transfer->done) transfer->error.code = LMM_NOMEM; /* so nothing more is read as its socket is closed */
    (void)curl_multi_remove_handle(multi_handle, transfer->easy);
    if (transfer->done) continue;
    transfer->done = true;
    count++;
    lmm_transfer_mark_changed(transfer);
  }
  return count;
}

/* ---- defaults that a library cannot have ----------------------------------------------------------------------------
 * Shows:    OpenSSL asks the terminal for the pass phrase of a key, and waits; closing a transfer waits for its DNS
 *           look-up.
 * Versions: all so far; the second before 7.87.0, which has an option.
 * Spec:     tls_spec "nobody at the terminal", close_spec "looking up a name".
 * Can go:   never. */

int lmm_quirks_set_defaults(void *easy, bool unix_socket) {
  CURLcode code = curl_easy_setopt(easy, CURLOPT_KEYPASSWD, "");
#if LIBCURL_VERSION_NUM >= 0x075700
  (void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
  return (int)(code == CURLE_OK && unix_socket ? forbid_reuse(easy) : code);
}
