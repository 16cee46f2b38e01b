/* sniff.c: the sniffers. The input is a file; the fixtures in spec/media are a corpus, too. */
#include "fuzz.h"

static size_t reads; /* since the last sniff began */

static size_t read_bytes(const void *source, uint64_t at, void *out, size_t count) {
  reads++;
  memcpy(out, (const char *)source + at, count); /* beyond the end the sanitizer stops */
  return count;
}

/* With so much of the file at hand; the rest is read. */
static lmm_sniffed sniff(const void *bytes, size_t count, size_t head) {
  unsigned char *copy = fuzz_copy(bytes, count);
  lmm_file file;
  reads = 0;
  lmm_view_open(&file, copy, head < count ? head : count, count, read_bytes, copy);
  lmm_sniffed type = lmm_sniff(&file);
  free(copy);
  CHECK(reads <= LMM_HOPS);
  CHECK(type.mime == NULL || strchr(type.mime, '/') != NULL);
  CHECK((type.width == 0) == (type.height == 0) && type.orientation <= 8);
  CHECK(type.width == 0 || (type.mime != NULL && strncmp(type.mime, "image/", 6) == 0));
  CHECK(memchr(type.cut, 0, sizeof type.cut) != NULL && (type.cut[0] == 0 || type.mime != NULL));
  return type;
}

static bool same_mime(const lmm_sniffed *one, const lmm_sniffed *other) {
  return one->mime == other->mime || (one->mime != NULL && other->mime != NULL && strcmp(one->mime, other->mime) == 0);
}

static bool same(const lmm_sniffed *one, const lmm_sniffed *other) {
  return same_mime(one, other) && one->width == other->width && one->height == other->height &&
         one->orientation == other->orientation && strcmp(one->cut, other->cut) == 0;
}

/* The types that more of a file can make more exact: what the tag of an MP3 tags, a film that is sound alone, what a
 * TIFF's directories, a JPEG's frame or a ZIP's names say. */
static bool is_vague(const char *mime) {
  static const char *const vague[] = {"audio/mpeg", "image/tiff", "image/jpeg", "application/zip", "video/",
                                      "image/x-raw", "image/x-icon"};
  for (size_t i = 0; i < sizeof vague / sizeof *vague; i++)
    if (strncmp(mime, vague[i], strlen(vague[i])) == 0) return true;
  return false;
}

/* Of a file cut short, what is told must be what the whole file tells, unless it is known to be cut. */
static void check_cut(const uint8_t *bytes, size_t cut, const lmm_sniffed *whole) {
  lmm_sniffed type = sniff(bytes, cut, cut);
  if (type.mime == NULL || type.cut[0] != 0 || is_vague(type.mime) || whole->mime == NULL) return;
  CHECK(same_mime(&type, whole));
  CHECK(type.width == 0 || (type.width == whole->width && type.height == whole->height));
}

static unsigned hash(const uint8_t *bytes, size_t count) {
  unsigned sum = 5381;
  for (size_t i = 0; i < count; i++) sum = 33 * sum ^ bytes[i];
  return sum >> 8;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  lmm_sniffed whole = sniff(bytes, count, count), again = sniff(bytes, count, count);
  CHECK(same(&whole, &again));
  if (count == 0) return 0;
  unsigned sum = hash(bytes, count);
  /* However much of it is at hand; but text is looked for in that alone. */
  lmm_sniffed read = sniff(bytes, count, sum % count), none = sniff(bytes, count, 0);
  if (reads < LMM_HOPS) CHECK(same(&whole, &read) && same(&whole, &none));
  for (size_t cut = 1; cut <= 12 && cut < count; cut++) {
    check_cut(bytes, cut, &whole);
    check_cut(bytes, count - cut, &whole);
  }
  check_cut(bytes, sum / 128 % count, &whole);
  return 0;
}
