/* base64.c: the input is decoded as a text, and encoded as bytes by every kernel that this processor has. */
#include "fuzz.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static unsigned bit(const uint8_t *bytes, size_t count, size_t at) {
  return at / 8 < count ? bytes[at / 8] >> (7 - at % 8) & 1u : 0;
}

/* Six bits at a time, bit by bit. */
static char *encode(const uint8_t *bytes, size_t count) {
  size_t length = LMM_BASE64_LENGTH(count);
  char *out = malloc(length + 1);
  CHECK(out != NULL);
  for (size_t i = 0; i < length; i++) {
    unsigned digit = 0;
    for (size_t at = 6 * i; at < 6 * i + 6; at++) digit = digit << 1 | bit(bytes, count, at);
    out[i] = alphabet[digit];
    if (6 * i >= 8 * count) out[i] = '=';
  }
  out[length] = '\0';
  return out;
}

static int digit_of(uint8_t byte) {
  const char *found = byte == '\0' ? NULL : strchr(alphabet, byte);
  return found == NULL ? -1 : (int)(found - alphabet);
}

/* What lmm_base64_decode must give: reads byte by byte and stops at the first that is out of place. */
static ptrdiff_t judge(const uint8_t *text, size_t count) {
  size_t padding = 0;
  for (size_t i = 0; i < count; i++) {
    size_t place = i % 4;
    bool good = padding == 0 && digit_of(text[i]) >= 0;
    if (text[i] == '=' && padding == 0 && place >= 2) {
      int spare = digit_of(text[i - 1]) & (place == 2 ? 15 : 3);
      if (spare != 0) return -1 - (ptrdiff_t)(i - 1);
      good = true;
    }
    if (text[i] == '=' && padding == 1 && place == 3) good = true;
    if (!good) return -1 - (ptrdiff_t)i;
    if (text[i] == '=') padding++;
  }
  return count % 4 == 0 ? (ptrdiff_t)(count / 4 * 3 - padding) : -1 - (ptrdiff_t)count;
}

static void check_decode(const uint8_t *bytes, size_t count) {
  char *text = fuzz_copy(bytes, count);
  unsigned char *out = malloc(count / 4 * 3);
  CHECK(out != NULL);
  ptrdiff_t length = lmm_base64_decode(out, text, count);
  CHECK(length == judge(bytes, count));
  if (length >= 0) {
    char *again = encode(out, (size_t)length);
    CHECK(LMM_BASE64_LENGTH((size_t)length) == count && memcmp(again, text, count) == 0);
    free(again);
  }
  free(out);
  free(text);
}

#define GUARD 64 /* bytes behind what is written: libb64 itself is not compiled with AddressSanitizer */

/* `shift` bytes before the data change how they are aligned. What is read ends where its block does. */
static void check_encode(const lmm_base64_kernel *kernel, const uint8_t *bytes, size_t count, size_t shift,
                         const char *expected) {
  size_t length = LMM_BASE64_LENGTH(count);
  unsigned char *in = malloc(shift + count);
  char *out = malloc(shift + length + GUARD);
  CHECK(in != NULL && out != NULL);
  if (count > 0) memcpy(in + shift, bytes, count);
  memset(out, '#', shift + length + GUARD);
  CHECK(lmm_base64_encode(kernel, out + shift, in + shift, count) == length);
  CHECK(memcmp(out + shift, expected, length) == 0);
  CHECK(count == 0 || memcmp(in + shift, bytes, count) == 0);
  for (size_t i = 0; i < shift; i++) CHECK(out[i] == '#');
  for (size_t i = shift + length; i < shift + length + GUARD; i++) CHECK(out[i] == '#');
  free(out);
  free(in);
}

static void check_in_place(const lmm_base64_kernel *kernel, const uint8_t *bytes, size_t count, size_t shift,
                           const char *expected) {
  size_t length = LMM_BASE64_LENGTH(count);
  char *out = malloc(shift + length);
  CHECK(out != NULL);
  char *in = out + shift + length - count;
  if (count > 0) memcpy(in, bytes, count);
  CHECK(lmm_base64_encode(kernel, out + shift, (unsigned char *)in, count) == length);
  CHECK(memcmp(out + shift, expected, length) == 0);
  free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  check_decode(bytes, count);
  char *expected = encode(bytes, count);
  size_t shift = count > 0 ? bytes[count - 1] % 64 : 0;
  for (const lmm_base64_kernel *kernel = lmm_base64_kernels; kernel->name != NULL; kernel++) {
    if (kernel->supported()) {
      check_encode(kernel, bytes, count, shift, expected);
      check_in_place(kernel, bytes, count, shift, expected);
    }
  }
  CHECK(judge((const uint8_t *)expected, LMM_BASE64_LENGTH(count)) == (ptrdiff_t)count);
  check_decode((const uint8_t *)expected, LMM_BASE64_LENGTH(count));
  free(expected);
  return 0;
}
