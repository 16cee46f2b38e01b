/* transfer.c: one HTTP exchange on one easy handle. A request and a source go in; head, bytes and the way it ended come
 * out. libcurl's callbacks only copy, count or pause: whoever runs the multi looks at what they left behind. */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lmm.h"

#if LIBCURL_VERSION_NUM < 0x075000
#error "lmm needs libcurl 7.80 or later (CURLOPT_PREREQFUNCTION)"
#endif

/* ---- callbacks ---- */

static size_t on_header(char *line, size_t size, size_t count, void *context) {
  lmm_transfer *transfer = context;
  size_t length = size * count;
  transfer->heard = true;
  if (transfer->status != 0) return length; /* trailers */
  if (length >= 5 && memcmp(line, "HTTP/", 5) == 0) transfer->head.length = 0; /* what was before was a 1xx */
  int code = lmm_buf_add(&transfer->head, line, length);
  if (code != LMM_OK) {
    lmm_fail(&transfer->error, code, "the reply's header is longer than %zu bytes (limits.header)", transfer->head.max);
    return 0;
  }
  if (line[0] == '\r' || line[0] == '\n') {
    long status = 0;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200) transfer->status = (int)status;
    lmm_multi_touch(transfer);
  }
  return length;
}

static size_t on_receive(char *bytes, size_t size, size_t count, void *context) {
  lmm_transfer *transfer = context;
  size_t length = size * count;
  if (transfer->received.length >= LMM_RECEIVE_BUFFER) {
    transfer->paused = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  transfer->heard = true;
  int code = lmm_buf_add(&transfer->received, bytes, length);
  if (code != LMM_OK) {
    lmm_fail(&transfer->error, code, "not enough memory");
    return 0;
  }
  lmm_multi_touch(transfer);
  return length;
}

static size_t on_send(char *out, size_t size, size_t count, void *context) {
  lmm_transfer *transfer = context;
  size_t capacity = size * count;
  ptrdiff_t length = capacity < LMM_SOURCE_MIN
                         ? lmm_fail(&transfer->error, LMM_INVALID, "the upload buffer is too small")
                         : transfer->body->read(transfer->body, out, capacity, &transfer->error);
  return length < 0 ? CURL_READFUNC_ABORT : (size_t)length;
}

static int on_rewind(void *context, curl_off_t offset, int origin) {
  lmm_transfer *transfer = context;
  if (offset != 0 || origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  return transfer->body->rewind(transfer->body, &transfer->error) == LMM_OK ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

/* What a server sends while nothing is asked belongs to no reply, but libcurl would read it as the next one. So a kept
 * connection with such becomes one that has ended. */
static void end_talkative(int fd) {
  char bytes[4096];
  if (recv(fd, bytes, 1, MSG_PEEK | MSG_DONTWAIT) <= 0) return;
  (void)shutdown(fd, SHUT_RDWR);
  while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
  }
}

/* libcurl sends a request again by itself, up to five times, when a connection that it used before turns out to be
 * dead. Once is what we want, so the second time is on a fresh connection: if that dies, too, it is a failure like any
 * other, and is counted. */
static int before_send(void *context, char *ip, char *local_ip, int port, int local_port) {
  lmm_transfer *transfer = context;
  long connects = 0;
  transfer->sending = true;
  transfer->sent_at = lmm_multi_now();
  transfer->socket =
      local_port > 0 ? lmm_multi_find(transfer->multi, transfer->socket, local_ip, local_port, ip, port) : -1;
  (void)curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
  if (connects == 0 && transfer->socket >= 0) end_talkative(transfer->socket);
  (void)curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, 1L);
  return CURL_PREREQFUNC_OK;
}

#define DEAD_WITHIN 1000 /* milliseconds of sending in which a connection that was dead shows it */

/* A request that is on its way needs another connection only to be sent again. If its own ended late, that was alive,
 * and the server may have worked on the request: that is a failure, and is counted. */
bool lmm_transfer_may_connect(lmm_transfer *transfer) {
  if (transfer->sending && lmm_multi_now() - transfer->sent_at > DEAD_WITHIN) return false;
  transfer->sending = transfer->handshaking = false;
  transfer->lost_in = NULL;
  return true;
}

/* A server may refuse a request as soon as it has the head, and close. Then libcurl may find that it cannot send the
 * rest before it has read what was said. What comes by TLS does not begin so. */
static void overhear(lmm_transfer *transfer) {
  char bytes[CURL_MAX_WRITE_SIZE];
  if (!transfer->sending || transfer->heard || transfer->error.code != LMM_OK) return;
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
  transfer->heard = true;
  if (chunked != NULL && chunked < end) return;
  int code = lmm_buf_add(&transfer->received, bytes + length, (size_t)count - length);
  while (code == LMM_OK && (count = recv(transfer->socket, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
    code = lmm_buf_add(&transfer->received, bytes, (size_t)count);
}

/* libcurl forgets how much was sent as soon as it goes on. */
void lmm_transfer_lost(lmm_transfer *transfer) {
  transfer->lost_in = lmm_transfer_phase(transfer);
  overhear(transfer);
  transfer->socket = -1;
}

/* It sends again where reading tells it that the connection is dead, but not where writing does. */
bool lmm_transfer_begins_anew(lmm_transfer *transfer, int result) {
  long connects = 0;
  (void)curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
  if (result != CURLE_SEND_ERROR || !transfer->sending || transfer->heard || connects > 0) return false;
  if (!lmm_transfer_may_connect(transfer)) return false;
  return transfer->body == NULL || transfer->body->rewind(transfer->body, &transfer->error) == LMM_OK;
}

/* The TLS handshake is about to begin: TCP stands. libcurl's own times tell this only afterwards. */
static CURLcode before_handshake(CURL *easy, void *tls, void *context) {
  lmm_transfer *transfer = context;
  (void)easy, (void)tls;
  transfer->handshaking = true;
  return CURLE_OK;
}

/* ---- life ---- */

static void set_callbacks(lmm_transfer *transfer) {
  CURL *easy = transfer->easy;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->reason);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_receive);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, before_send);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, before_handshake); /* not with every TLS library; then "connect" */
  curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, transfer);
}

/* A small body is handed over whole; a large one is pulled as the socket takes it. */
static CURLcode set_body(lmm_transfer *transfer, lmm_error *error) {
  CURL *easy = transfer->easy;
  uint64_t size = transfer->body->size(transfer->body);
  CURLcode code = curl_easy_setopt(easy, CURLOPT_POST, 1L);
  if (code == CURLE_OK) code = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
  if (code != CURLE_OK || transfer->body->rewind(transfer->body, error) != LMM_OK) return code;
  if (size > LMM_INLINE_BODY) {
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
    curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_rewind);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, transfer);
    return curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 512L * 1024);
  }
  size_t length = 0;
  char whole[LMM_INLINE_BODY + LMM_SOURCE_MIN];
  ptrdiff_t got;
  while ((got = transfer->body->read(transfer->body, whole + length, sizeof whole - length, error)) > 0)
    length += (size_t)got;
  return got < 0 ? code : curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, whole);
}

static CURLcode set_request(lmm_transfer *transfer, const lmm_request *request, lmm_error *error) {
  CURL *easy = transfer->easy;
  CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, request->url);
  if (code == CURLE_OK) code = curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
  if (code == CURLE_OK) code = curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, request->connect_ms);
  if (code == CURLE_OK && transfer->body != NULL) code = set_body(transfer, error);
  if (code == CURLE_OK && strcmp(request->method, "HEAD") == 0) code = curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  if (code == CURLE_OK) code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
  return code;
}

int lmm_transfer_open(lmm_transfer *transfer, void *template_easy, const lmm_request *request, lmm_error *error) {
  transfer->head = LMM_BUF(request->max_head);
  transfer->received = LMM_BUF(LMM_RECEIVE_BUFFER + CURL_MAX_WRITE_SIZE);
  transfer->socket = -1;
  transfer->easy = curl_easy_duphandle(template_easy);
  if (transfer->easy == NULL) return lmm_fail(error, LMM_NOMEM, "not enough memory");
  set_callbacks(transfer);
  error->code = LMM_OK;
  CURLcode code = set_request(transfer, request, error);
  if (error->code != LMM_OK || code == CURLE_OK) return error->code;
  return lmm_fail(error, code == CURLE_OUT_OF_MEMORY ? LMM_NOMEM : LMM_INVALID, "%s", curl_easy_strerror(code));
}

void lmm_transfer_close(lmm_transfer *transfer) {
  if (transfer->multi != NULL) lmm_multi_remove(transfer);
  curl_easy_cleanup(transfer->easy);
  transfer->easy = NULL;
  curl_slist_free_all(transfer->headers);
  transfer->headers = NULL;
  transfer->body = NULL;
  lmm_buf_free(&transfer->head);
  lmm_buf_free(&transfer->received);
}

void lmm_transfer_take(lmm_transfer *transfer, size_t count) {
  lmm_buf *received = &transfer->received;
  memmove(received->data, received->data + count, received->length - count);
  received->length -= count;
  if (!transfer->paused || transfer->done) return; /* one that has ended refuses to go on */
  transfer->paused = false;
  if (curl_easy_pause(transfer->easy, CURLPAUSE_CONT) != CURLE_OK) transfer->multi->broken = true;
}

/* ---- how it goes, and how it went ---- */

static bool has_passed(const lmm_transfer *transfer, CURLINFO time) {
  curl_off_t microseconds = 0;
  (void)curl_easy_getinfo(transfer->easy, time, &microseconds);
  return microseconds > 0;
}

const char *lmm_transfer_phase(const lmm_transfer *transfer) {
  if (transfer->status != 0) return "receive";
  if (transfer->sending) {
    curl_off_t sent = 0;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    return transfer->body != NULL && (uint64_t)sent < transfer->body->size(transfer->body) ? "send" : "wait";
  }
  if (transfer->handshaking) return "tls";
  return has_passed(transfer, CURLINFO_NAMELOOKUP_TIME_T) ? "connect" : "dns";
}

#if LIBCURL_VERSION_NUM >= 0x080600
#define TOO_LARGE CURLE_TOO_LARGE
#else
#define TOO_LARGE CURLE_OUT_OF_MEMORY
#endif

/* What a result means; NULL: it depends on whether anything came back before. */
static const struct {
  CURLcode result;
  const char *kind;
  const char *phase; /* NULL: as far as the transfer had come */
  bool permanent;
} kinds[] = {{CURLE_COULDNT_RESOLVE_HOST, "connect", "dns", false},
             {CURLE_COULDNT_RESOLVE_PROXY, "connect", "dns", false},
             {CURLE_COULDNT_CONNECT, "connect", NULL, false},
             {CURLE_PROXY, "connect", "connect", false},
             {CURLE_SSL_CONNECT_ERROR, "connect", "tls", false},
             {CURLE_SSL_CERTPROBLEM, "connect", "tls", true},
             {CURLE_SSL_CIPHER, "connect", "tls", true},
             {CURLE_PEER_FAILED_VERIFICATION, "connect", "tls", true},
             {CURLE_SSL_CACERT_BADFILE, "connect", "tls", true},
             {CURLE_URL_MALFORMAT, "invalid", NULL, true},
             {CURLE_OPERATION_TIMEDOUT, "timeout", NULL, false},
             {CURLE_PARTIAL_FILE, "truncated", NULL, false},
             {CURLE_SEND_ERROR, NULL, NULL, false},
             {CURLE_RECV_ERROR, NULL, NULL, false},
             {CURLE_GOT_NOTHING, NULL, NULL, false}};

/* Whether TLS ended for a reason that stays, by the words of OpenSSL and GnuTLS: the server refused what it was offered,
 * or it speaks no TLS at all. */
static bool is_tls_refusal(const char *reason) {
  if (strstr(reason, " alert ") != NULL) return strstr(reason, "internal error") == NULL;
  return strstr(reason, "wrong version number") != NULL || strstr(reason, "unexpected TLS packet") != NULL;
}

/* Whether a proxy has refused to open a tunnel for a reason that stays. */
static bool is_proxy_refusal(const lmm_transfer *transfer) {
  long status = 0;
  (void)curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &status);
  return status >= 400 && status < 500 && status != 408 && status != 429;
}

static lmm_failure classify(const lmm_transfer *transfer, CURLcode result, const char *phase) {
  const char *reason = transfer->reason[0] != '\0' ? transfer->reason : curl_easy_strerror(result);
  bool in_head = transfer->status == 0 && has_passed(transfer, CURLINFO_STARTTRANSFER_TIME_T);
  if (result == CURLE_COULDNT_CONNECT && transfer->sending) { /* lmm_transfer_may_connect has refused it */
    bool is_sent = transfer->lost_in == NULL || strcmp(transfer->lost_in, "send") != 0;
    reason = is_sent ? "the server closed it" : "it broke off while the request was sent";
    return (lmm_failure){"connect", is_sent ? "wait" : "send", reason, false};
  }
  if (result == CURLE_COULDNT_CONNECT && transfer->no_socket != 0)
    return (lmm_failure){"connect", "connect", strerror(transfer->no_socket), false};
  bool out_of_memory = result == CURLE_OUT_OF_MEMORY;
  if (out_of_memory && !in_head) return (lmm_failure){NULL, phase, reason, false};
  if (out_of_memory) /* older versions of libcurl say this of a header line that is too long for them, too */
    return (lmm_failure){"limit", phase, "a header line is longer than 100 KB, or there is not enough memory", false};
  if (result == TOO_LARGE || strncmp(reason, "Too large response headers", 26) == 0)
    return (lmm_failure){"limit", phase, "its head is longer than 300 KB, or a line of it than 100 KB", false};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (kinds[i].result != result) continue;
    const char *kind = kinds[i].kind != NULL ? kinds[i].kind : transfer->heard ? "truncated" : "connect";
    if (strcmp(kind, "connect") == 0 && transfer->handshaking && is_tls_refusal(reason))
      return (lmm_failure){kind, "tls", reason, true}; /* with TLS 1.3 the client learns of it only as it reads */
    if (strcmp(kind, "connect") == 0 && is_proxy_refusal(transfer)) return (lmm_failure){kind, phase, reason, true};
    return (lmm_failure){kind, kinds[i].phase != NULL ? kinds[i].phase : phase, reason, kinds[i].permanent};
  }
  if (result == CURLE_UNSUPPORTED_PROTOCOL && transfer->sending) reason = "it does not speak HTTP";
  return (lmm_failure){"protocol", phase, reason, false};
}

bool lmm_transfer_failed(const lmm_transfer *transfer, lmm_failure *failure) {
  const lmm_error *own = &transfer->error;
  const char *phase = lmm_transfer_phase(transfer);
  if (own->code != LMM_OK) {
    const char *kind = own->code == LMM_NOMEM ? NULL : own->code == LMM_LIMIT ? "limit" : "invalid";
    *failure = (lmm_failure){kind, phase, own->message, false};
    return true;
  }
  bool is_refusal = transfer->result == CURLE_SEND_ERROR && transfer->status >= 300; /* see overhear */
  if (!transfer->done || is_refusal || (transfer->result == CURLE_OK && transfer->status != 0)) return false;
  *failure = transfer->result != CURLE_OK ? classify(transfer, (CURLcode)transfer->result, phase)
                                          /* libcurl takes a head without its end for a reply without a body */
                                          : (lmm_failure){"truncated", "wait", "it ended within its head", false};
  return true;
}
