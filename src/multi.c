/* multi.c: all transfers of a Lua state on one multi handle. Poll moves them; next gives those to which something
 * happened. */
#include <curl/curl.h>
#include <limits.h>
#include <string.h>

#include "transport.h"

#define MOST_STEPS 16 /* of one poll */

/* ---- when libcurl is to be called ---- */

static int on_timer(CURLM *handle, long milliseconds, void *context) {
  lmm_multi *multi = context;
  (void)handle;
  multi->due = milliseconds < 0 ? -1 : lmm_transfer_now() + milliseconds;
  return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known) {
  lmm_multi *multi = context;
  (void)easy, (void)known;
  int in = what == CURL_POLL_IN || what == CURL_POLL_INOUT ? LMM_IN : 0;
  int out = what == CURL_POLL_OUT || what == CURL_POLL_INOUT ? LMM_OUT : 0;
  return lmm_sockets_watch(&multi->sockets, fd, in | out);
}

int lmm_multi_timeout(const lmm_multi *multi) {
  if (multi->broken) return 0;
  if (multi->due < 0) return -1;
  int64_t left = multi->due - lmm_transfer_now();
  return left < 0 ? 0 : left < INT_MAX ? (int)left : INT_MAX;
}

/* ---- the handle ---- */

static int init_handle(lmm_multi *multi) {
  multi->due = -1;
  multi->handle = lmm_quirks_multi_init();
  if (multi->handle == NULL) return LMM_NOMEM;
  curl_multi_setopt(multi->handle, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(multi->handle, CURLMOPT_SOCKETDATA, multi);
  curl_multi_setopt(multi->handle, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(multi->handle, CURLMOPT_TIMERDATA, multi);
  return LMM_OK;
}

static void replace_handle(lmm_multi *multi) {
  (void)curl_multi_cleanup(multi->handle);
  lmm_sockets_clear(&multi->sockets);
  multi->broken = false;
  (void)init_handle(multi); /* or else when the next transfer is added */
}

static void restart(lmm_multi *multi) {
  multi->running -= lmm_quirks_abandon(multi->handle, &multi->ring);
  replace_handle(multi);
}

int lmm_multi_open(lmm_multi *multi) {
  multi->ring.previous = multi->ring.next = &multi->ring;
  multi->generation = lmm_fork_generation();
  if (lmm_sockets_open(&multi->sockets) == LMM_OK && init_handle(multi) == LMM_OK) return LMM_OK;
  lmm_sockets_close(&multi->sockets);
  return LMM_NOMEM;
}

bool lmm_multi_is_ours(const lmm_multi *multi) {
  return multi->generation == lmm_fork_generation() && multi->sockets.watch >= 0;
}

void lmm_multi_break(lmm_multi *multi) { multi->broken = true; }

void lmm_multi_close_idle(lmm_multi *multi) {
  if (multi->sockets.count > 0 && multi->ring.next == &multi->ring) replace_handle(multi);
}

void lmm_multi_close(lmm_multi *multi) {
  while (multi->ring.next != &multi->ring) {
    lmm_transfer *transfer = (lmm_transfer *)multi->ring.next;
    lmm_multi_remove(transfer);
    lmm_transfer_close(transfer);
  }
  (void)curl_multi_cleanup(multi->handle);
  multi->handle = NULL;
  lmm_sockets_close(&multi->sockets);
}

/* ---- its transfers ---- */

int lmm_multi_add(lmm_multi *multi, lmm_transfer *transfer) {
  lmm_quirks_attach(transfer, &multi->sockets);
  if (multi->handle == NULL && init_handle(multi) != LMM_OK) return LMM_NOMEM;
  if (curl_multi_add_handle(multi->handle, transfer->easy) != CURLM_OK) return LMM_NOMEM;
  lmm_link_insert(multi->ring.previous, &transfer->link);
  transfer->ring = &multi->ring;
  transfer->multi = multi;
  multi->running++;
  return LMM_OK;
}

void lmm_multi_remove(lmm_transfer *transfer) {
  lmm_multi *multi = transfer->multi;
  if (!transfer->done) multi->running--;
  lmm_link_remove(&transfer->link);
  (void)curl_multi_remove_handle(multi->handle, transfer->easy);
  lmm_quirks_detach(transfer);
  transfer->ring = NULL;
  transfer->multi = NULL;
}

/* ---- moving them ---- */

static void collect_completions(lmm_multi *multi) {
  int left;
  CURLMsg *message;
  while ((message = curl_multi_info_read(multi->handle, &left)) != NULL) {
    lmm_transfer *transfer = NULL;
    if (message->msg != CURLMSG_DONE) continue;
    CURLcode result = message->data.result;
    (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
    if (lmm_quirks_resend(transfer, (int)result)) {
      (void)curl_multi_remove_handle(multi->handle, transfer->easy);
      if (curl_multi_add_handle(multi->handle, transfer->easy) == CURLM_OK) continue;
      result = CURLE_OUT_OF_MEMORY;
    }
    transfer->done = true;
    multi->running--;
    transfer->result = (int)result;
    lmm_transfer_mark_changed(transfer);
  }
}

static bool has_changed(const lmm_multi *multi) {
  return multi->ring.next != &multi->ring && ((const lmm_transfer *)multi->ring.next)->changed;
}

/* Runs what is due. What is made broken by it is ended, and libcurl begins anew. */
static void run_due(lmm_multi *multi) {
  int running; /* by libcurl's count, which is only told when it is called */
  if (lmm_multi_timeout(multi) != 0) return;
  multi->due = -1;
  if (!multi->broken && curl_multi_socket_action(multi->handle, CURL_SOCKET_TIMEOUT, 0, &running) == CURLM_OK)
    collect_completions(multi);
  else
    multi->broken = true;
  if (multi->broken) restart(multi);
}

/* Waits at most so long for sockets, and lets libcurl do what there is to do on them; gives how many were ready, or -1
 * where a signal came. */
static int run_ready(lmm_multi *multi, int milliseconds) {
  lmm_ready ready[LMM_MOST_READY];
  int own = lmm_multi_timeout(multi);
  int count = lmm_sockets_wait(&multi->sockets, ready, own >= 0 && own < milliseconds ? own : milliseconds);
  if (multi->handle == NULL) return count; /* for want of memory: nothing is under way */
  CURLMcode code = CURLM_OK;
  for (int i = 0; i < count && code == CURLM_OK; i++) {
    int events = ready[i].events, running;
    int bits = ((events & LMM_IN) != 0 ? CURL_CSELECT_IN : 0) | ((events & LMM_OUT) != 0 ? CURL_CSELECT_OUT : 0) |
               ((events & LMM_ERROR) != 0 ? CURL_CSELECT_ERR : 0);
    code = curl_multi_socket_action(multi->handle, ready[i].fd, bits, &running);
  }
  collect_completions(multi);
  if (code != CURLM_OK || multi->broken) restart(multi);
  return count;
}

/* Most steps of a transfer tell the caller nothing: an upload that goes on, a connection that is made. So several are
 * done in a row, but not so many that the caller is held up. */
int lmm_multi_poll(lmm_multi *multi, int milliseconds) {
  int64_t end = lmm_transfer_now() + milliseconds;
  int left = milliseconds;
  for (int i = 0; i < MOST_STEPS; i++) {
    run_due(multi);
    int ready = run_ready(multi, has_changed(multi) ? 0 : left);
    if (ready < 0 || has_changed(multi)) break;
    if (left > 0) left = (int)(end - lmm_transfer_now());
    if (left <= 0 && ready == 0) break;
    if (left < 0) left = 0;
  }
  return multi->running;
}

lmm_transfer *lmm_multi_next(lmm_multi *multi) {
  lmm_transfer *transfer = (lmm_transfer *)multi->ring.next;
  if (!has_changed(multi)) return NULL;
  transfer->changed = false;
  lmm_link_remove(&transfer->link);
  lmm_link_insert(multi->ring.previous, &transfer->link);
  return transfer;
}
