/* utf8.c: the check for UTF-8, against one that decodes a character and asks whether this is how it is written. */
#include "fuzz.h"

/* Writes a character and gives its length. */
static size_t encode(uint32_t character, unsigned char *out) {
  static const struct {
    uint32_t below;
    unsigned char lead;
  } forms[] = {{0x80, 0}, {0x800, 0xC0}, {0x10000, 0xE0}, {0x200000, 0xF0}};
  size_t length = 1;
  while (character >= forms[length - 1].below) length++;
  for (size_t i = length - 1; i > 0; i--, character >>= 6) out[i] = (unsigned char)(0x80 | (character & 0x3F));
  out[0] = (unsigned char)(forms[length - 1].lead | character);
  return length;
}

/* The length of the character at the front; 0 where there is none. */
static size_t character_length(const uint8_t *bytes, size_t count) {
  static const unsigned char payload[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
  for (size_t length = 1; length <= 4 && length <= count; length++) {
    unsigned char again[4];
    uint32_t character = bytes[0] & payload[length];
    for (size_t i = 1; i < length; i++) character = character << 6 | (bytes[i] & 0x3F);
    if (character > 0x10FFFF || (character >= 0xD800 && character <= 0xDFFF)) continue;
    if (encode(character, again) == length && memcmp(again, bytes, length) == 0) return length;
  }
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  size_t expected = 0, length;
  while ((length = character_length(bytes + expected, count - expected)) > 0) expected += length;
  char *text = fuzz_copy(bytes, count);
  CHECK(lmm_utf8_check(text, count) == expected);
  CHECK(lmm_utf8_check(text, expected) == expected);
  free(text);
  return 0;
}
