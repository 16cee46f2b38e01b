/* utf8.c: text in; the offset of the first byte that cannot stand in UTF-8 out. */
#include "lmm.h"

/* The length of the well-formed sequence at `text`, or 0. */
static size_t sequence(const unsigned char *text, size_t left) {
  unsigned char first = text[0];
  if (first < 0x80) return 1;
  size_t length = first >= 0xC2 && first <= 0xDF ? 2 : first >= 0xE0 && first <= 0xEF ? 3 : first >= 0xF0 && first <= 0xF4 ? 4 : 0;
  if (length == 0 || length > left) return 0;
  /* The second byte rules out overlong forms, surrogates and what lies beyond U+10FFFF. */
  unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (text[1] < low || text[1] > high) return 0;
  for (size_t i = 2; i < length; i++)
    if ((text[i] & 0xC0) != 0x80) return 0;
  return length;
}

size_t lmm_utf8_check(const char *text, size_t count) {
  size_t offset = 0;
  while (offset < count) {
    size_t length = sequence((const unsigned char *)text + offset, count - offset);
    if (length == 0) break;
    offset += length;
  }
  return offset;
}
