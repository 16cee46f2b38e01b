/* literal.c: text and numbers come in; the JSON that stands for them goes to the end of a buffer. Text is checked and
 * escaped in one pass. Numbers do not depend on the locale. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lmm.h"

#if defined(__SSE2__) && defined(__GNUC__)
#define WITH_SSE2
#include <emmintrin.h>
#endif

/* ---- text ------------------------------------------------------------------------------------------------------- */

/* What stands behind the backslash for a character of ASCII; 0 where it needs none. */
static const char escapes[256] = {
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'b', 't', 'n', 'u', 'f', 'r', 'u', 'u',
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', ['"'] = '"', ['\\'] = '\\'};

static bool is_plain(unsigned char byte) { return byte < 0x80 && escapes[byte] == 0; }

#define REPEAT(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Whether one of eight bytes is not plain. A byte below another becomes negative when that is taken from it. */
static bool has_special(uint64_t eight) {
  uint64_t quote = eight ^ REPEAT('"'), backslash = eight ^ REPEAT('\\');
  uint64_t below = (eight - REPEAT(0x20)) | (quote - REPEAT(1)) | (backslash - REPEAT(1)) | eight;
  return (below & REPEAT(0x80)) != 0;
}

/* Copies the characters at the beginning of `text` that stand in JSON as they are, and gives how many these are. What
 * `out` has room for is at least `count`: up to there it may write more than that. */
static size_t copy_plain(char *out, const char *text, size_t count) {
  size_t done = 0;
#ifdef WITH_SSE2
  for (; count - done >= 16; done += 16) {
    __m128i bytes = _mm_loadu_si128((const void *)(text + done));
    /* As signed numbers, the bytes beyond ASCII are below the space, too. */
    __m128i special = _mm_or_si128(_mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)),
                                   _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')),
                                                _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))));
    int mask = _mm_movemask_epi8(special);
    _mm_storeu_si128((void *)(out + done), bytes);
    if (mask != 0) return done + (size_t)__builtin_ctz((unsigned)mask);
  }
#endif
  for (uint64_t eight; count - done >= sizeof eight; done += sizeof eight) {
    memcpy(&eight, text + done, sizeof eight);
    if (has_special(eight)) break;
    memcpy(out + done, &eight, sizeof eight);
  }
  for (; done < count && is_plain((unsigned char)text[done]); done++) out[done] = text[done];
  return done;
}

#define LONGEST_ESCAPE 6 /* \u001f */

static size_t write_escape(char *out, unsigned char byte) {
  static const char digits[] = "0123456789abcdef";
  out[0] = '\\';
  out[1] = escapes[byte];
  if (escapes[byte] != 'u') return 2;
  out[2] = out[3] = '0';
  out[4] = digits[byte >> 4];
  out[5] = digits[byte & 0xF];
  return LONGEST_ESCAPE;
}

/* Of a broken character, its first byte and all that could go on with it. */
static size_t broken(const char *text, size_t count) {
  size_t length = 1;
  while (length < count && ((unsigned char)text[length] & 0xC0) == 0x80) length++;
  return length;
}

int lmm_literal_text(lmm_buf *buf, const char *text, size_t count, size_t *bad) {
  const size_t begin = buf->length, more = LONGEST_ESCAPE + 2; /* and two quotes */
  int code = lmm_buf_reserve(buf, count + more);
  size_t done = 0;
  if (code == LMM_OK) buf->data[buf->length++] = '"';
  while (code == LMM_OK) {
    char *out = buf->data + buf->length;
    size_t plain = copy_plain(out, text + done, count - done);
    buf->length += plain;
    done += plain;
    if (done == count) break;
    out += plain;
    size_t left = count - done, length = lmm_utf8_beyond_ascii(text + done, left);
    if (length > 0) {
      memcpy(out, text + done, length);
      buf->length += length;
      done += length;
    } else if ((unsigned char)text[done] < 0x80) {
      buf->length += write_escape(out, (unsigned char)text[done++]);
      code = lmm_buf_reserve(buf, left + more);
    } else if (bad == NULL) {
      code = lmm_buf_reserve(buf, left + more);
      if (code == LMM_OK) (void)lmm_buf_add(buf, "\xEF\xBF\xBD", 3);
      done += broken(text + done, left);
    } else {
      code = LMM_INVALID;
    }
  }
  if (code == LMM_OK)
    buf->data[buf->length++] = '"';
  else
    buf->length = begin;
  if (bad != NULL) *bad = done;
  return code;
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

/* Writes `value` before `end`, with at least so many digits, and gives where it begins. */
static char *write_digits(char *end, uint64_t value, int least) {
  for (; value > 0 || least > 0; least--, value /= 10) *--end = (char)('0' + value % 10);
  return end;
}

int lmm_literal_integer(lmm_buf *buf, int64_t value) {
  char text[24], *end = text + sizeof text;
  char *begin = write_digits(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 1);
  if (value < 0) *--begin = '-';
  return lmm_buf_add(buf, begin, (size_t)(end - begin));
}

/* A number that has at most 15 digits and is not far below 1 is a whole number divided by a power of ten, both of which
 * a double holds exactly: the quotient is then the number that its digits are read as, and no shorter digits are. Gives
 * the length, 0 for every other number. */
static size_t write_short(char out[48], double value) {
  double power = 10;
  for (int places = 1; places <= 18 && value * power < 1e15; places++, power *= 10) {
    uint64_t digits = (uint64_t)(value * power + 0.5);
    if ((double)digits / power != value) continue;
    char *end = out + 48, *begin = write_digits(end, digits, places + 1);
    size_t whole = (size_t)(end - begin) - (size_t)places;
    memmove(out, begin, whole);
    out[whole] = '.';
    memmove(out + whole + 1, end - places, (size_t)places);
    return whole + 1 + (size_t)places;
  }
  return 0;
}

typedef struct decimal {
  char digits[18]; /* without zeros at the end */
  int count;
  int exponent; /* of the first digit */
} decimal;

/* Of `count` digits, those that are nearest; whether they are read as `value`. */
static bool try_digits(decimal *out, double value, int count) {
  char text[40];
  (void)snprintf(text, sizeof text, "%.*e", count - 1, value);
  bool same = strtod(text, NULL) == value;
  const char *e = strchr(text, 'e');
  if (!same && count == 16 && e[-1] != '9') {
    /* Above a power of two the doubles lie further apart than below it: the next digits may do where these do not. */
    text[e - text - 1]++;
    same = strtod(text, NULL) == value;
  }
  out->count = 0;
  for (const char *at = text; at < e; at++) /* what stands for the point depends on the locale */
    if (*at >= '0' && *at <= '9') out->digits[out->count++] = *at;
  while (out->count > 1 && out->digits[out->count - 1] == '0') out->count--;
  out->exponent = (int)strtol(e + 1, NULL, 10);
  return same;
}

/* A positive number that is not whole, or 2^63 or more. 15 digits tell every two normal numbers apart that they can
 * write, so fewer need not be tried; 17 do for all. */
static size_t write_long(char out[48], double value) {
  decimal number = {"", 0, 0};
  int count = value < 2.2250738585072014e-308 ? 1 : 15;
  while (!try_digits(&number, value, count) && count < 17) count++;
  int before = number.exponent + 1; /* digits before the point */
  if (before > -4 && before < number.count) {
    static const char zeros[] = "0.000";
    int leading = before > 0 ? 0 : 2 - before, whole = before > 0 ? before : 0;
    return (size_t)snprintf(out, 48, "%.*s%.*s%s%.*s", leading, zeros, whole, number.digits, whole > 0 ? "." : "",
                            number.count - whole, number.digits + whole);
  }
  return (size_t)snprintf(out, 48, "%c%s%.*se%+d", number.digits[0], number.count > 1 ? "." : "", number.count - 1,
                          number.digits + 1, number.exponent);
}

int lmm_literal_number(lmm_buf *buf, double value) {
  const double beyond = 9223372036854775808.0; /* the first whole number that 64 bits with a sign do not hold */
  char text[49], *end = text + sizeof text, *begin = text + 1;
  if (!isfinite(value)) return LMM_INVALID;
  bool negative = signbit(value) != 0;
  if (negative) value = -value;
  if ((value < beyond || (negative && value == beyond)) && (double)(uint64_t)value == value) {
    begin = write_digits(end, (uint64_t)value, 1);
  } else {
    size_t length = value >= 1e-4 ? write_short(begin, value) : 0;
    end = begin + (length > 0 ? length : write_long(begin, value));
  }
  if (negative) *--begin = '-';
  return lmm_buf_add(buf, begin, (size_t)(end - begin));
}
