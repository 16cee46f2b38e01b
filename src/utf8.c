/* utf8.c: text in; the offset of the first byte that cannot stand in UTF-8 out. */
#include <string.h>

#include "lmm.h"

/* The length of the well-formed sequence of two bytes or more at `text`, or 0. */
static size_t sequence(const unsigned char *text, size_t left) {
  unsigned char first = text[0];
  size_t length = first < 0xC2 ? 0 : first <= 0xDF ? 2 : first <= 0xEF ? 3 : first <= 0xF4 ? 4 : 0;
  if (length == 0 || length > left) return 0;
  /* The second byte rules out overlong forms, surrogates and what lies beyond U+10FFFF. */
  unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (text[1] < low || text[1] > high) return 0;
  for (size_t i = 2; i < length; i++)
    if ((text[i] & 0xC0) != 0x80) return 0;
  return length;
}

size_t lmm_utf8_beyond_ascii(const char *text, size_t count) {
  size_t offset = 0, length;
  while (offset < count && (length = sequence((const unsigned char *)text + offset, count - offset)) > 0)
    offset += length;
  return offset;
}

/* How many bytes at the beginning of `text` are ASCII, eight at a time while it is so. */
static size_t ascii(const char *text, size_t count) {
  size_t offset = 0;
  for (uint64_t eight; count - offset >= sizeof eight; offset += sizeof eight) {
    memcpy(&eight, text + offset, sizeof eight);
    if ((eight & UINT64_C(0x8080808080808080)) != 0) break;
  }
  while (offset < count && (unsigned char)text[offset] < 0x80) offset++;
  return offset;
}

size_t lmm_utf8_check(const char *text, size_t count) {
  size_t offset = 0, length;
  do {
    offset += ascii(text + offset, count - offset);
    length = lmm_utf8_beyond_ascii(text + offset, count - offset);
    offset += length;
  } while (length > 0);
  return offset;
}

size_t lmm_utf8_whole(const char *text, size_t count) {
  size_t behind = 0; /* bytes at the end that only continue a character */
  while (behind < 3 && behind < count && ((unsigned char)text[count - 1 - behind] & 0xC0) == 0x80) behind++;
  if (behind == count) return count;
  unsigned char first = (unsigned char)text[count - 1 - behind];
  size_t needed = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC0 ? 1 : 0;
  return behind < needed ? count - behind - 1 : count;
}
