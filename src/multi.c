/* multi.c: all transfers of a Lua state on one multi handle. Poll moves them; next gives those to which something
 * happened. */
#include <curl/curl.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lmm.h"

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

int lmm_multi_open(lmm_multi *multi) {
  multi->ring.previous = multi->ring.next = &multi->ring;
  multi->process = (long)getpid();
  multi->handle = init_handle();
  return multi->handle != NULL ? LMM_OK : LMM_NOMEM;
}

bool lmm_multi_is_ours(const lmm_multi *multi) { return multi->handle != NULL && multi->process == (long)getpid(); }

int lmm_multi_add(lmm_multi *multi, lmm_transfer *transfer) {
  if (curl_multi_add_handle(multi->handle, transfer->easy) != CURLM_OK) return LMM_NOMEM;
  insert_behind(multi->ring.previous, &transfer->link);
  transfer->multi = multi;
  return LMM_OK;
}

void lmm_multi_touch(lmm_transfer *transfer) {
  if (transfer->changed || transfer->multi == NULL) return;
  transfer->changed = true;
  unlink_from_ring(&transfer->link);
  insert_behind(&transfer->multi->ring, &transfer->link);
}

void lmm_multi_remove(lmm_transfer *transfer) {
  (void)curl_multi_remove_handle(transfer->multi->handle, transfer->easy);
  unlink_from_ring(&transfer->link);
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
    transfer->done = true;
    transfer->result = (int)result;
    lmm_multi_touch(transfer);
  }
}

int lmm_multi_poll(lmm_multi *multi, int milliseconds) {
  int running = 0;
  CURLMcode code = curl_multi_poll(multi->handle, NULL, 0, milliseconds, NULL);
  if (code == CURLM_OK) code = curl_multi_perform(multi->handle, &running);
  drain(multi);
  return code == CURLM_OK ? running : LMM_NOMEM;
}

lmm_transfer *lmm_multi_next(lmm_multi *multi) {
  lmm_transfer *transfer = (lmm_transfer *)multi->ring.next;
  if (multi->ring.next == &multi->ring || !transfer->changed) return NULL;
  transfer->changed = false;
  unlink_from_ring(&transfer->link);
  insert_behind(multi->ring.previous, &transfer->link);
  return transfer;
}

void lmm_multi_close(lmm_multi *multi) {
  if (multi->handle == NULL) return;
  while (multi->ring.next != &multi->ring) lmm_transfer_close((lmm_transfer *)multi->ring.next);
  (void)curl_multi_cleanup(multi->handle);
  multi->handle = NULL;
}
