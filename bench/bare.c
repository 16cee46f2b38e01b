/* bare.c: usage: bare URL BUFFER BYTES...: what libcurl alone needs for POSTs of so many bytes, one after the other on
 * one connection, which lie ready in memory and are handed out by a read callback. BUFFER is the size of the upload
 * buffer; 0: as libcurl has it. Prints the seconds of each exchange. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct ready {
  const char *bytes;
  size_t left;
} ready;

static size_t hand_out(char *out, size_t size, size_t count, void *context) {
  ready *rest = context;
  size_t length = size * count < rest->left ? size * count : rest->left;
  memcpy(out, rest->bytes, length);
  rest->bytes += length;
  rest->left -= length;
  return length;
}

static size_t swallow(char *bytes, size_t size, size_t count, void *context) {
  (void)bytes, (void)context;
  return size * count;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int post(CURL *easy, const char *bytes, size_t length) {
  ready rest = {bytes, length};
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
  curl_easy_setopt(easy, CURLOPT_READDATA, &rest);
  double before = now();
  CURLcode code = curl_easy_perform(easy);
  printf("%.6f\n", now() - before);
  if (code != CURLE_OK) fprintf(stderr, "%s\n", curl_easy_strerror(code));
  return code != CURLE_OK;
}

int main(int count, char **words) {
  CURL *easy = curl_easy_init();
  struct curl_slist *headers = curl_slist_append(curl_slist_append(NULL, "Expect:"), "Content-Type: application/json");
  if (count < 4 || easy == NULL || headers == NULL) return 2;
  curl_easy_setopt(easy, CURLOPT_URL, words[1]);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_POST, 1L);
  curl_easy_setopt(easy, CURLOPT_READFUNCTION, hand_out);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, swallow);
  if (atol(words[2]) > 0) curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, atol(words[2]));
  size_t most = 0;
  for (int i = 3; i < count; i++) most = (size_t)atoll(words[i]) > most ? (size_t)atoll(words[i]) : most;
  char *bytes = malloc(most);
  if (bytes == NULL) return 1;
  memset(bytes, 'A', most);
  int failed = 0;
  for (int i = 3; i < count; i++) failed |= post(easy, bytes, (size_t)atoll(words[i]));
  free(bytes);
  curl_easy_cleanup(easy);
  curl_slist_free_all(headers);
  return failed;
}
