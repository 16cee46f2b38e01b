/* transfer.c: one HTTP request on one easy handle. A request and a source go in; head, bytes and the way it ended come
 * out. libcurl's callbacks only copy, count or pause: whoever runs the multi handle looks at what they left behind. */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "transport.h"

#if LIBCURL_VERSION_NUM < 0x075000
#error "lmm needs libcurl 7.80 or later (CURLOPT_PREREQFUNCTION)"
#endif

int64_t lmm_transfer_now(void) {
  struct timespec time;
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* ---- the ring of those that are under way ---- */

void lmm_link_insert(lmm_link *place, lmm_link *link) {
  link->previous = place;
  link->next = place->next;
  place->next->previous = link;
  place->next = link;
}

void lmm_link_remove(lmm_link *link) {
  link->previous->next = link->next;
  link->next->previous = link->previous;
}

void lmm_transfer_mark_changed(lmm_transfer *transfer) {
  if (transfer->changed || transfer->ring == NULL) return;
  transfer->changed = true;
  lmm_link_remove(&transfer->link);
  lmm_link_insert(transfer->ring, &transfer->link);
}

/* ---- callbacks ---- */

static size_t on_header(char *line, size_t size, size_t count, void *context) {
  lmm_transfer *transfer = context;
  size_t length = size * count;
  transfer->responded = true;
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
    lmm_transfer_mark_changed(transfer);
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
  transfer->responded = true;
  int code = lmm_buf_add(&transfer->received, bytes, length);
  if (code != LMM_OK) {
    lmm_fail(&transfer->error, code, "not enough memory");
    return 0;
  }
  lmm_transfer_mark_changed(transfer);
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

/* ---- life ---- */

static void set_callbacks(lmm_transfer *transfer) {
  CURL *easy = transfer->easy;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->reason);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_receive);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
}

/* Of a body that is pulled: as large as makes it fast, unless many transfers would have as much at the same time. */
static long upload_buffer(uint64_t size, int running) {
  size_t share = LMM_UPLOAD_BUFFERS / ((size_t)running + 1);
  if (share > LMM_UPLOAD_BUFFER) share = LMM_UPLOAD_BUFFER;
  if (share < LMM_UPLOAD_LEAST) share = LMM_UPLOAD_LEAST;
  return (long)(share < size ? share : size);
}

/* A small body is handed over whole; a large one is pulled as the socket takes it. */
static CURLcode set_body(lmm_transfer *transfer, int running, lmm_error *error) {
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
    return curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, upload_buffer(size, running));
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
  if (code == CURLE_OK && transfer->body != NULL) code = set_body(transfer, request->running, error);
  if (code == CURLE_OK && strcmp(request->method, "HEAD") == 0) code = curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  if (code == CURLE_OK) code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
  return code;
}

int lmm_transfer_open(lmm_transfer *transfer, void *template_easy, const lmm_request *request, lmm_error *error) {
  transfer->head = LMM_BUF(request->max_head);
  transfer->received = LMM_BUF(LMM_RECEIVE_BUFFER + CURL_MAX_WRITE_SIZE);
  transfer->easy = curl_easy_duphandle(template_easy);
  if (transfer->easy == NULL) return lmm_fail(error, LMM_NOMEM, "not enough memory");
  set_callbacks(transfer);
  error->code = LMM_OK;
  CURLcode code = set_request(transfer, request, error);
  if (error->code != LMM_OK || code == CURLE_OK) return error->code;
  return lmm_fail(error, code == CURLE_OUT_OF_MEMORY ? LMM_NOMEM : LMM_INVALID, "%s", curl_easy_strerror(code));
}

void lmm_transfer_close(lmm_transfer *transfer) {
  curl_easy_cleanup(transfer->easy);
  transfer->easy = NULL;
  curl_slist_free_all(transfer->headers);
  transfer->headers = NULL;
  transfer->body = NULL;
  lmm_buf_free(&transfer->head);
  lmm_buf_free(&transfer->received);
}

/* ---- how it goes ---- */

int lmm_transfer_consume(lmm_transfer *transfer, size_t count) {
  lmm_buf *received = &transfer->received;
  received->length -= count;
  if (received->length > 0) memmove(received->data, received->data + count, received->length);
  if (!transfer->paused || transfer->done) return LMM_OK; /* one that has ended refuses to go on */
  transfer->paused = false;
  return curl_easy_pause(transfer->easy, CURLPAUSE_CONT) == CURLE_OK ? LMM_OK : LMM_NOMEM;
}

/* libcurl knows when a phase was over, but only afterwards: what it is doing follows from what it has called. */
const char *lmm_transfer_phase(const lmm_transfer *transfer) {
  curl_off_t value = 0;
  if (transfer->status != 0) return "receive";
  if (transfer->connected) {
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &value);
    return transfer->body != NULL && (uint64_t)value < transfer->body->size(transfer->body) ? "send" : "wait";
  }
  if (transfer->in_handshake) return "tls";
  (void)curl_easy_getinfo(transfer->easy, CURLINFO_NAMELOOKUP_TIME_T, &value);
  return value > 0 ? "connect" : "dns";
}
