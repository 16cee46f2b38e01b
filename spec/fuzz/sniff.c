/* sniff.c: the sniffers. The input is a file's beginning; the fixtures in spec/media are a corpus, too. */
#include "fuzz.h"

static const char *const known[] = {
    "image/jpeg", "image/png",  "image/gif",       "image/webp", "image/bmp",        "image/tiff",
    "image/avif", "image/heic", "video/mp4",       "video/webm", "video/x-matroska", "video/quicktime",
    "video/ogg",  "audio/mp4",  "video/x-msvideo", "audio/wav",  "audio/flac",       "audio/mpeg",
    "audio/ogg",  "application/pdf",
};

static bool is_known(const char *mime) {
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strcmp(mime, known[i]) == 0) return true;
  return false;
}

static lmm_sniffed sniff(const void *bytes, size_t count) {
  unsigned char *head = fuzz_copy(bytes, count);
  lmm_sniffed type = lmm_sniff(head, count);
  free(head);
  CHECK(type.mime == NULL || is_known(type.mime));
  CHECK((type.width == 0) == (type.height == 0));
  CHECK(type.width == 0 || (type.mime != NULL && strncmp(type.mime, "image/", 6) == 0));
  return type;
}

static bool same_mime(const lmm_sniffed *one, const lmm_sniffed *other) {
  return one->mime == other->mime || (one->mime != NULL && other->mime != NULL && strcmp(one->mime, other->mime) == 0);
}

static bool same(const lmm_sniffed *one, const lmm_sniffed *other) {
  return same_mime(one, other) && one->width == other->width && one->height == other->height;
}

/* Of a file cut short, what is told must be what the whole file tells. An ID3 tag alone is the exception: it is taken
 * for an MP3's until what it tags can be seen. */
static void check_cut(const uint8_t *bytes, size_t cut, const lmm_sniffed *whole) {
  lmm_sniffed type = sniff(bytes, cut);
  bool tagged = cut >= 3 && memcmp(bytes, "ID3", 3) == 0;
  CHECK(type.mime == NULL || tagged || same_mime(&type, whole));
  CHECK(type.width == 0 || (type.width == whole->width && type.height == whole->height));
}

/* A long file: the input, zeros, and the input once more across the border at LMM_SNIFF_BYTES. What lies beyond does
 * not count, whether it is there or not. */
static void check_long(const uint8_t *bytes, size_t count, size_t across) {
  static unsigned char file[LMM_SNIFF_BYTES + 8192];
  if (count > 8192) count = 8192;
  memset(file, 0, sizeof file);
  memcpy(file + LMM_SNIFF_BYTES - across % count, bytes, count);
  memcpy(file, bytes, count);
  lmm_sniffed whole = sniff(file, LMM_SNIFF_BYTES), longer = sniff(file, sizeof file);
  memset(file + LMM_SNIFF_BYTES, 0xFF, sizeof file - LMM_SNIFF_BYTES);
  lmm_sniffed other = sniff(file, LMM_SNIFF_BYTES + bytes[0] + 1);
  CHECK(same(&whole, &longer) && same(&whole, &other));
}

static unsigned hash(const uint8_t *bytes, size_t count) {
  unsigned sum = 5381;
  for (size_t i = 0; i < count; i++) sum = 33 * sum ^ bytes[i];
  return sum >> 8;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  lmm_sniffed whole = sniff(bytes, count), again = sniff(bytes, count);
  CHECK(same(&whole, &again));
  if (count == 0) return 0;
  unsigned sum = hash(bytes, count);
  for (size_t cut = 1; cut <= 12 && cut < count; cut++) {
    check_cut(bytes, cut, &whole);
    check_cut(bytes, count - cut, &whole);
  }
  check_cut(bytes, sum / 128 % count, &whole);
  if (sum % 128 == 0) check_long(bytes, count, sum / 128); /* it takes as long as a hundred others */
  return 0;
}
