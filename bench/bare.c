/* bare.c: what libcurl alone needs, as somebody writes it who has nothing else to do with the bytes.
 *
 *     bare upload URL BUFFER BYTES...   POSTs of so many bytes, ready in memory, one after the other; BUFFER is the size
 *                                       of the upload buffer, 0: as libcurl has it. Prints the seconds of each.
 *     bare asks URL COUNT AT_ONCE       small POSTs; prints the CPU seconds of all but the first ones
 *     bare pictures URL FILE COUNT AT_ONCE   POSTs of a picture's file, which is read and encoded each time by lmm's
 *                                       own encoder; prints the CPU seconds of all but the first ones
 *     bare stream URL                   one POST, whose reply is counted and dropped; prints its CPU seconds
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "lmm.h"

#define MOST_AT_ONCE 4096

static const char question[] =
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Say hello.\"}]}";

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

static double cpu(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

static CURL *new_easy(const char *url) {
  static struct curl_slist *headers;
  if (headers == NULL)
    headers = curl_slist_append(curl_slist_append(NULL, "Expect:"), "Content-Type: application/json");
  CURL *easy = curl_easy_init();
  if (easy == NULL || headers == NULL) exit(1);
  curl_easy_setopt(easy, CURLOPT_URL, url);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_POST, 1L);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, swallow);
  return easy;
}

static int upload(int count, char **words) {
  CURL *easy = new_easy(words[2]);
  size_t most = 0;
  int failed = 0;
  curl_easy_setopt(easy, CURLOPT_READFUNCTION, hand_out);
  if (atol(words[3]) > 0) curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, atol(words[3]));
  for (int i = 4; i < count; i++) most = (size_t)atoll(words[i]) > most ? (size_t)atoll(words[i]) : most;
  char *bytes = malloc(most);
  if (bytes == NULL) return 1;
  memset(bytes, 'A', most);
  for (int i = 4; i < count; i++) {
    ready rest = {bytes, (size_t)atoll(words[i])};
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)rest.left);
    curl_easy_setopt(easy, CURLOPT_READDATA, &rest);
    double before = now();
    CURLcode code = curl_easy_perform(easy);
    printf("%.6f\n", now() - before);
    failed |= code != CURLE_OK;
  }
  free(bytes);
  return failed;
}

static const char *picture; /* the path of what is to be sent, or NULL for the question */

/* The body of the next POST: the picture is read and encoded anew. */
static void prepare(CURL *easy) {
  static const char before[] = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
                               "\"What is this?\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/jpeg;base64,";
  static const char after[] = "\"}}]}]}";
  if (picture == NULL) return;
  static unsigned char bytes[1 << 20];
  FILE *file = fopen(picture, "rb");
  size_t count = file != NULL ? fread(bytes, 1, sizeof bytes, file) : 0;
  if (file != NULL) fclose(file);
  size_t length = sizeof before - 1 + LMM_BASE64_LENGTH(count) + sizeof after - 1;
  char *body = NULL;
  curl_easy_getinfo(easy, CURLINFO_PRIVATE, &body);
  free(body);
  body = malloc(length);
  if (body == NULL) exit(1);
  memcpy(body, before, sizeof before - 1);
  lmm_base64_encode(lmm_base64_find(NULL), body + sizeof before - 1, bytes, count);
  memcpy(body + length - (sizeof after - 1), after, sizeof after - 1);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, body);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)length);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
}

/* Runs `total` POSTs, as many at once as there are handles; 0 when all went well. */
static int run(CURLM *multi, CURL **easies, int at_once, long total) {
  long started = 0, ended = 0;
  int running, left, failed = 0;
  CURLMsg *message;
  for (; started < at_once && started < total; started++) {
    prepare(easies[started]);
    curl_multi_add_handle(multi, easies[started]);
  }
  while (ended < total) {
    curl_multi_perform(multi, &running);
    while ((message = curl_multi_info_read(multi, &left)) != NULL) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL *easy = message->easy_handle;
      failed |= message->data.result != CURLE_OK;
      ended++;
      curl_multi_remove_handle(multi, easy);
      if (started++ >= total) continue;
      prepare(easy);
      curl_multi_add_handle(multi, easy);
    }
    if (ended < total) curl_multi_poll(multi, NULL, 0, 1000, NULL);
  }
  return failed;
}

static int asks(const char *url, long total, int at_once) {
  static CURL *easies[MOST_AT_ONCE];
  CURLM *multi = curl_multi_init();
  if (multi == NULL || at_once > MOST_AT_ONCE) return 1;
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)at_once);
  for (int i = 0; i < at_once; i++) {
    easies[i] = new_easy(url);
    curl_easy_setopt(easies[i], CURLOPT_POSTFIELDS, question);
  }
  int failed = run(multi, easies, at_once, 2 * at_once);
  double before = cpu();
  failed |= run(multi, easies, at_once, total);
  printf("%.6f\n", cpu() - before);
  return failed;
}

static int stream(const char *url) {
  CURL *easy = new_easy(url);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, question);
  double before = cpu();
  CURLcode code = curl_easy_perform(easy);
  printf("%.6f\n", cpu() - before);
  return code != CURLE_OK;
}

int main(int count, char **words) {
  if (count > 4 && strcmp(words[1], "upload") == 0) return upload(count, words);
  if (count == 5 && strcmp(words[1], "asks") == 0) return asks(words[2], atol(words[3]), atoi(words[4]));
  if (count == 6 && strcmp(words[1], "pictures") == 0) {
    picture = words[3];
    return asks(words[2], atol(words[4]), atoi(words[5]));
  }
  if (count == 3 && strcmp(words[1], "stream") == 0) return stream(words[2]);
  fprintf(stderr, "usage: bare upload URL BUFFER BYTES... | asks URL COUNT AT_ONCE |\n"
                  "       pictures URL FILE COUNT AT_ONCE | stream URL\n");
  return 2;
}
