/* body.c: texts with tokens, spliced and read, against a reference that writes the whole body at once.
 *
 * The input begins with bytes that say: flags (1: a splice more than the text names; 2: the first file changes after
 * some reads; the rest: to how many 64ths it is cut, but 63: it is written anew), the kernel, the token's length and
 * the token, how many splices there are (up to 7) and for each what it is, its length and its bytes, how many
 * capacities follow (up to 7) that are read with round and round, after how many reads the body starts again, and
 * after how many the file changes. The rest is the text, in which byte 1 stands for a token whole, byte 2 for one in
 * quotes and byte 3 for its name alone; the byte behind 1 or 2 is its number. */
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

#define MOST 7

typedef struct fuzz_plan {
  fuzz_input input;
  const lmm_base64_kernel *kernel;
  char token[16];
  size_t count, capacities, rewind_after, change_after, cut_to;
  bool changes;
  uint8_t capacity[MOST];
  lmm_segment splices[MOST + 1];
  lmm_media media[MOST + 1];
  void *bytes[MOST + 1]; /* of text and media, owned */
  int fd[MOST + 1];      /* where the media is a file, else -1 */
  fuzz_text json;
} fuzz_plan;

/* ---- from the input to a plan ------------------------------------------------------------------------------------ */

static void make_file(fuzz_plan *plan, size_t i, size_t size) {
  char path[32];
  lmm_error error = {LMM_OK, ""};
  plan->fd[i] = memfd_create("media", MFD_CLOEXEC);
  CHECK(plan->fd[i] >= 0 && write(plan->fd[i], plan->bytes[i], size) == (ssize_t)size);
  (void)snprintf(path, sizeof path, "/proc/self/fd/%d", plan->fd[i]);
  CHECK(lmm_media_file(&plan->media[i], path, &error) == LMM_OK);
}

static void make_splice(fuzz_plan *plan, size_t i) {
  unsigned kind = fuzz_byte(&plan->input) % 4; /* 0: text; 1: bytes; 2: a file; 3: many bytes */
  size_t count = fuzz_byte(&plan->input);
  const uint8_t *bytes = fuzz_bytes(&plan->input, &count);
  size_t size = kind == 3 ? 37 * count : count;
  plan->fd[i] = -1;
  if (size == 0) kind = 0;
  plan->bytes[i] = malloc(size);
  CHECK(plan->bytes[i] != NULL);
  for (size_t at = 0; at < size; at++) ((uint8_t *)plan->bytes[i])[at] = (uint8_t)(bytes[at % count] + at / count);
  lmm_error error = {LMM_OK, ""};
  if (kind == 0) {
    plan->splices[i] = (lmm_segment){plan->bytes[i], size, NULL};
    return;
  }
  if (kind == 2)
    make_file(plan, i, size);
  else
    CHECK(lmm_media_bytes(&plan->media[i], plan->bytes[i], size, &error) == LMM_OK);
  plan->splices[i] = (lmm_segment){NULL, 0, &plan->media[i]};
}

static void add_token(fuzz_plan *plan, bool quoted) {
  char token[32];
  int length = snprintf(token, sizeof token, "%s%s%u;%s", quoted ? "\"" : "", plan->token, fuzz_byte(&plan->input),
                        quoted ? "\"" : "");
  fuzz_add(&plan->json, token, (size_t)length);
}

static void make_json(fuzz_plan *plan) {
  while (plan->input.left > 0) {
    char byte = (char)fuzz_byte(&plan->input);
    if (byte == 1 || byte == 2)
      add_token(plan, byte == 2);
    else if (byte == 3)
      fuzz_add(&plan->json, plan->token, strlen(plan->token));
    else
      fuzz_add(&plan->json, &byte, 1);
  }
}

static const lmm_base64_kernel *choose_kernel(unsigned number) {
  const lmm_base64_kernel *kernel = lmm_base64_kernels;
  while (number-- > 0 && kernel[1].name != NULL) kernel++;
  return kernel->supported() ? kernel : lmm_base64_find(NULL);
}

static void make_plan(fuzz_plan *plan, const uint8_t *bytes, size_t count) {
  memset(plan, 0, sizeof *plan);
  plan->input = (fuzz_input){bytes, count};
  unsigned flags = fuzz_byte(&plan->input);
  plan->kernel = choose_kernel(fuzz_byte(&plan->input) % 4);
  size_t length = fuzz_byte(&plan->input) % (sizeof plan->token - 1);
  const uint8_t *token = fuzz_bytes(&plan->input, &length);
  for (size_t i = 0; i < length; i++) plan->token[i] = (char)(token[i] == 0 ? '0' : token[i]);
  if (length == 0) plan->token[0] = '@';
  size_t splices = fuzz_byte(&plan->input) % (MOST + 1);
  for (; plan->count < splices; plan->count++) make_splice(plan, plan->count);
  if (flags & 1) make_splice(plan, plan->count++);
  plan->capacities = fuzz_byte(&plan->input) % (MOST + 1);
  for (size_t i = 0; i < plan->capacities; i++) plan->capacity[i] = (uint8_t)fuzz_byte(&plan->input);
  plan->rewind_after = fuzz_byte(&plan->input);
  plan->change_after = fuzz_byte(&plan->input) % 8;
  plan->changes = (flags & 2) != 0;
  plan->cut_to = flags >> 2;
  make_json(plan);
}

static void free_plan(fuzz_plan *plan) {
  for (size_t i = 0; i < plan->count; i++) {
    lmm_media_free(&plan->media[i]);
    if (plan->fd[i] >= 0) (void)close(plan->fd[i]);
    free(plan->bytes[i]);
  }
  free(plan->json.data);
}

/* ---- the reference ----------------------------------------------------------------------------------------------- */

static void add_base64(fuzz_text *out, const uint8_t *bytes, size_t count) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < count; i += 3) {
    unsigned b = i + 1 < count ? bytes[i + 1] : 0, c = i + 2 < count ? bytes[i + 2] : 0;
    char four[4] = {alphabet[bytes[i] / 4], alphabet[bytes[i] % 4 * 16 + b / 16], alphabet[b % 16 * 4 + c / 64],
                    alphabet[c % 64]};
    if (i + 1 >= count) four[2] = '=';
    if (i + 2 >= count) four[3] = '=';
    fuzz_add(out, four, 4);
  }
}

/* Whether `text`, zeros before its first digit aside, is one of the numbers of the splices and a ';'. How long it is
 * goes to `length`. */
static size_t find_number(const char *text, size_t left, size_t count, size_t *length) {
  for (size_t number = 1; number <= count; number++) {
    char digits[24];
    size_t zeros = 0;
    while (zeros < left && text[zeros] == '0') zeros++;
    *length = (size_t)snprintf(digits, sizeof digits, "%zu;", number);
    if (left - zeros < *length || memcmp(text + zeros, digits, *length) != 0) continue;
    *length += zeros;
    return number;
  }
  return 0;
}

/* The whole body; false where a token is not what it should be. */
static bool reference(const fuzz_plan *plan, fuzz_text *out) {
  size_t used[MOST + 2] = {0}, named = 0, name = strlen(plan->token), literal = 0;
  const char *json = plan->json.data;
  for (size_t at = 0, left; (left = plan->json.length - at) > 0;) {
    if (plan->count == 0 || left < name || memcmp(json + at, plan->token, name) != 0) {
      fuzz_add(out, json + at++, 1);
      literal++; /* bytes of the text since the last splice */
      continue;
    }
    size_t length, number = find_number(json + at + name, left - name, plan->count, &length);
    if (number == 0 || used[number]++ > 0) return false;
    named++;
    at += name + length;
    const lmm_segment *splice = &plan->splices[number - 1];
    if (splice->media != NULL) {
      add_base64(out, plan->bytes[number - 1], (size_t)splice->media->size);
    } else {
      if (literal == 0 || out->data[out->length - 1] != '"' || at == plan->json.length || json[at] != '"') return false;
      out->length--;
      at++;
      fuzz_add(out, splice->text, splice->length);
    }
    literal = 0;
  }
  return named == plan->count;
}

/* ---- the body ---------------------------------------------------------------------------------------------------- */

/* One read into a block of its exact size. */
static ptrdiff_t read_once(lmm_body *body, const fuzz_plan *plan, size_t turn, fuzz_text *got) {
  static const size_t large[] = {64, 255, 1024, 70000};
  unsigned wish = plan->capacities > 0 ? plan->capacity[turn % plan->capacities] : 255;
  size_t capacity = wish < 252 ? wish % 128 + LMM_SOURCE_MIN : large[wish - 252];
  char *out = malloc(capacity);
  lmm_error error = {LMM_OK, ""};
  CHECK(out != NULL);
  ptrdiff_t count = body->source.read(&body->source, out, capacity, &error);
  CHECK(count <= (ptrdiff_t)capacity);
  CHECK(count >= 0 || (error.code == count && error.message[0] != '\0'));
  if (count > 0) fuzz_add(got, out, (size_t)count);
  free(out);
  return count;
}

static void check_whole(lmm_body *body, const fuzz_plan *plan, const fuzz_text *expected) {
  fuzz_text got = {NULL, 0, 0};
  lmm_error error = {LMM_OK, ""};
  for (size_t turn = 0; turn < plan->rewind_after; turn++) CHECK(read_once(body, plan, turn, &got) >= 0);
  CHECK(got.length <= expected->length && (got.length == 0 || memcmp(got.data, expected->data, got.length) == 0));
  CHECK(body->source.rewind(&body->source, &error) == LMM_OK);
  got.length = 0;
  for (size_t turn = 0; read_once(body, plan, turn, &got) > 0; turn++) CHECK(got.length <= expected->length);
  CHECK(fuzz_same(&got, expected));
  CHECK(read_once(body, plan, 0, &got) == 0 && body->source.size(&body->source) == expected->length);
  free(got.data);
}

#define REWRITTEN 63

static void change_file(const fuzz_plan *plan, size_t file) {
  const struct timespec times[2] = {{1, 0}, {1, 0}};
  size_t size = (size_t)plan->media[file].size;
  if (plan->cut_to == REWRITTEN)
    CHECK(pwrite(plan->fd[file], "?", 1, (off_t)size - 1) == 1 && futimens(plan->fd[file], times) == 0);
  else
    CHECK(ftruncate(plan->fd[file], (off_t)(size * plan->cut_to / 64)) == 0);
}

/* The first file changes after some reads: either all of it had been read, or the body never ends well. As long as a
 * file is only cut short, what is given is a beginning of the right body. */
static void check_changed(lmm_body *body, const fuzz_plan *plan, const fuzz_text *expected) {
  fuzz_text got = {NULL, 0, 0};
  lmm_error error = {LMM_OK, ""};
  size_t file = 0;
  while (file < plan->count && plan->fd[file] < 0) file++;
  if (file == plan->count) return;
  CHECK(body->source.rewind(&body->source, &error) == LMM_OK);
  ptrdiff_t count = 1;
  for (size_t turn = 0; count > 0; turn++) {
    if (turn == plan->change_after) change_file(plan, file);
    count = read_once(body, plan, turn, &got);
  }
  CHECK(got.length <= expected->length);
  CHECK(got.length == 0 || memcmp(got.data, expected->data, got.length) == 0 ||
        (count < 0 && plan->cut_to == REWRITTEN));
  CHECK(count < 0 || (got.length == expected->length && plan->change_after > 0));
  for (size_t turn = 0; count < 0 && read_once(body, plan, turn, &got) >= 0; turn++) CHECK(turn < expected->length);
  free(got.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  fuzz_plan plan;
  make_plan(&plan, bytes, count);
  char *json = fuzz_copy(plan.json.data, plan.json.length);
  fuzz_text expected = {NULL, 0, 0}, none = {NULL, 0, 0};
  lmm_body body;
  int code = lmm_body_splice(&body, json, plan.json.length, plan.token, plan.splices, plan.count);
  CHECK(code == (reference(&plan, &expected) ? LMM_OK : LMM_AGAIN));
  if (code == LMM_OK) {
    body.kernel = plan.kernel;
    CHECK(body.source.size(&body.source) == expected.length);
    check_whole(&body, &plan, &expected);
    if (plan.changes) check_changed(&body, &plan, &expected);
    lmm_body_close(&body);
  }
  CHECK(body.segments == NULL && read_once(&body, &plan, 0, &none) == LMM_INVALID);
  free(expected.data);
  free(json);
  free_plan(&plan);
  return 0;
}
