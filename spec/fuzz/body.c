/* body.c: a text with media in it, read, against a reference that writes the whole body at once.
 *
 * The input begins with bytes that say: flags (2: the first file changes after some reads; the rest: to how many 64ths
 * it is cut, but 63: it is written anew), the kernel, how many media there are (up to 7) and for each what it is, its
 * length and its bytes, how many capacities follow (up to 7) that are read with round and round, after how many reads
 * the body starts again, and after how many the file changes. The rest is the text, in which byte 1 stands for the
 * place of the next media; those that are left follow at the end. */
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

#define MOST 7

typedef struct fuzz_plan {
  fuzz_input input;
  const lmm_base64_kernel *kernel;
  size_t count, capacities, rewind_after, change_after, cut_to;
  bool changes;
  uint8_t capacity[MOST];
  lmm_insert inserts[MOST];
  lmm_media media[MOST];
  void *bytes[MOST]; /* owned */
  int fd[MOST];      /* where the media is a file, else -1 */
  fuzz_text text;
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

static void make_media(fuzz_plan *plan, size_t i) {
  unsigned what = fuzz_byte(&plan->input);
  unsigned kind = what % 3; /* 0: bytes; 1: a file; 2: many bytes */
  plan->inserts[i].kind = what / 3 % 2 != 0 ? LMM_INSERT_RAW : LMM_INSERT_BASE64;
  size_t count = fuzz_byte(&plan->input);
  const uint8_t *bytes = fuzz_bytes(&plan->input, &count);
  size_t size = count == 0 ? 1 : kind == 2 ? 37 * count : count;
  uint8_t *copy = calloc(1, size);
  CHECK(copy != NULL);
  for (size_t at = 0; at < size && count > 0; at++) copy[at] = (uint8_t)(bytes[at % count] + at / count);
  plan->bytes[i] = copy;
  plan->fd[i] = -1;
  lmm_error error = {LMM_OK, ""};
  if (kind == 1)
    make_file(plan, i, size);
  else
    CHECK(lmm_media_bytes(&plan->media[i], plan->bytes[i], size, &error) == LMM_OK);
}

static void make_text(fuzz_plan *plan) {
  size_t placed = 0;
  while (plan->input.left > 0) {
    char byte = (char)fuzz_byte(&plan->input);
    if (byte == 1 && placed < plan->count)
      plan->inserts[placed++].at = plan->text.length;
    else
      fuzz_add(&plan->text, &byte, 1);
  }
  for (; placed < plan->count; placed++) plan->inserts[placed].at = plan->text.length;
  for (size_t i = 0; i < plan->count; i++) plan->inserts[i].media = &plan->media[i];
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
  size_t count_of_media = fuzz_byte(&plan->input) % (MOST + 1);
  for (; plan->count < count_of_media; plan->count++) make_media(plan, plan->count);
  plan->capacities = fuzz_byte(&plan->input) % (MOST + 1);
  for (size_t i = 0; i < plan->capacities; i++) plan->capacity[i] = (uint8_t)fuzz_byte(&plan->input);
  plan->rewind_after = fuzz_byte(&plan->input);
  plan->change_after = fuzz_byte(&plan->input) % 8;
  plan->changes = (flags & 2) != 0;
  plan->cut_to = flags >> 2;
  make_text(plan);
}

static void free_plan(fuzz_plan *plan) {
  for (size_t i = 0; i < plan->count; i++) {
    lmm_media_free(&plan->media[i]);
    if (plan->fd[i] >= 0) (void)close(plan->fd[i]);
    free(plan->bytes[i]);
  }
  free(plan->text.data);
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

static void reference(const fuzz_plan *plan, fuzz_text *out) {
  size_t next = 0;
  for (size_t at = 0; at <= plan->text.length; at++) {
    for (; next < plan->count && plan->inserts[next].at == at; next++) {
      if (plan->inserts[next].kind == LMM_INSERT_RAW)
        fuzz_add(out, plan->bytes[next], (size_t)plan->media[next].size);
      else
        add_base64(out, plan->bytes[next], (size_t)plan->media[next].size);
    }
    if (at < plan->text.length) fuzz_add(out, plan->text.data + at, 1);
  }
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
  char *text = fuzz_copy(plan.text.data, plan.text.length);
  fuzz_text expected = {NULL, 0, 0}, none = {NULL, 0, 0};
  lmm_body body;
  lmm_body_init(&body, text, plan.text.length, plan.inserts, plan.count, false);
  reference(&plan, &expected);
  body.kernel = plan.kernel;
  CHECK(body.source.size(&body.source) == expected.length);
  check_whole(&body, &plan, &expected);
  if (plan.changes) check_changed(&body, &plan, &expected);
  lmm_body_close(&body);
  CHECK(read_once(&body, &plan, 0, &none) == LMM_INVALID);
  free(expected.data);
  free(text);
  free_plan(&plan);
  return 0;
}
