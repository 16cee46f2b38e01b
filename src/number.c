/* number.c: a number as JSON spells it comes in; an integer where it is one that fits, else the nearest double, goes
 * out. Nothing here depends on the locale, and the time is linear in the number's length. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lmm.h"

/* A double is decided by at most 767 significant digits and whether anything follows them. */
#define SIGNIFICANT 800
#define LARGEST_EXACT ((uint64_t)1 << 53)
#define LARGEST_EXPONENT 1000000 /* with 800 digits before it, anything beyond is zero or infinity */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* The digits between `first` and `last` that count: those behind leading zeros. */
static size_t count_digits(const char *first, const char *last) {
  const char *point = memchr(first, '.', (size_t)(last - first));
  while (first < last && (*first == '0' || *first == '.')) first++;
  return (size_t)(last - first) - (point != NULL && point >= first);
}

static const char *skip_digits(const char *at, const char *end, uint64_t *value) {
  uint64_t sum = *value;
  for (; at < end && is_digit(*at); at++) sum = sum * 10 + (uint64_t)(*at - '0');
  *value = sum;
  return at;
}

static void write_exponent(char *out, int exponent) {
  char digits[16];
  int count = 0;
  *out++ = 'e';
  if (exponent < 0) *out++ = '-';
  exponent = abs(exponent);
  do digits[count++] = (char)('0' + exponent % 10);
  while ((exponent /= 10) > 0);
  while (count > 0) *out++ = digits[--count];
  *out = '\0';
}

/* The number again without its point, which strtod takes for the locale's. */
static double convert_slowly(const char *at, const char *end, int64_t exponent) {
  char digits[SIGNIFICANT + 32];
  size_t count = 0;
  bool more = false;
  for (; at < end; at++) {
    if (*at == '.' || (count == 0 && *at == '0')) continue;
    if (count < SIGNIFICANT) {
      digits[count++] = *at;
    } else {
      exponent++;
      more = more || *at != '0';
    }
  }
  if (count == 0) return 0;
  if (more) {
    digits[count++] = '1';
    exponent--;
  }
  if (exponent > LARGEST_EXPONENT) exponent = LARGEST_EXPONENT;
  if (exponent < -LARGEST_EXPONENT) exponent = -LARGEST_EXPONENT;
  write_exponent(digits + count, (int)exponent);
  return strtod(digits, NULL);
}

#if defined(__SIZEOF_INT128__)
/* mantissa / 10^places, rounded once: the quotient has at least 57 bits, and its last one says whether anything is left
 * over. */
static double divide(uint64_t mantissa, int places) {
  __extension__ typedef unsigned __int128 wide;
  wide divisor = 1, quotient;
  int shift = 64 + __builtin_clzll(mantissa);
  for (int i = 0; i < places; i++) divisor *= 10;
  wide dividend = (wide)mantissa << shift;
  quotient = dividend / divisor;
  bool rest = dividend % divisor != 0;
  for (; quotient >> 64 != 0; quotient >>= 1, shift--) rest = rest || (quotient & 1) != 0;
  return ldexp((double)((uint64_t)quotient | rest), -shift);
}
#define MOST_PLACES 21
#else
#define divide(mantissa, places) 0
#define MOST_PLACES 0
#endif

static double convert(const char *first, const char *end, uint64_t mantissa, size_t digits, int64_t exponent) {
  static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  /* Both are exact in a double, so that one operation rounds once. */
  bool exact = FLT_EVAL_METHOD == 0 && digits <= 19 && mantissa <= LARGEST_EXACT;
  if (exact && exponent >= 0 && exponent <= 22) return (double)mantissa * powers[exponent];
  if (exact && exponent < 0 && exponent >= -22) return (double)mantissa / powers[-exponent];
  if (digits <= 19 && mantissa > 0 && exponent < 0 && exponent >= -MOST_PLACES) return divide(mantissa, (int)-exponent);
  return convert_slowly(first, end, exponent);
}

/* Reads the exponent behind the `e`; more than any double has is as good as any. */
static int read_exponent(const char **at, const char *end, int64_t *exponent) {
  const char *p = *at;
  bool negative = p < end && *p == '-';
  if (p < end && (*p == '-' || *p == '+')) p++;
  const char *first = p;
  int64_t value = 0;
  for (; p < end && is_digit(*p); p++)
    if (value < INT64_MAX / 100) value = value * 10 + (*p - '0');
  *at = p;
  *exponent += negative ? -value : value;
  return p > first ? LMM_OK : p == end ? LMM_CUT : LMM_INVALID;
}

int lmm_number_read(const char **at, const char *end, lmm_number *number) {
  const char *p = *at;
  bool negative = p < end && *p == '-', whole = true;
  if (negative) p++;
  const char *first = p;
  uint64_t mantissa = 0;
  if (p < end && *p == '0')
    p++;
  else
    p = skip_digits(p, end, &mantissa);
  size_t digits = (size_t)(p - first);
  *at = p;
  if (digits == 0) return p == end ? LMM_CUT : LMM_INVALID;
  int64_t exponent = 0;
  if (p < end && *p == '.') {
    const char *fraction = p + 1;
    whole = false;
    *at = p = skip_digits(fraction, end, &mantissa);
    if (p == fraction) return p == end ? LMM_CUT : LMM_INVALID;
    exponent = fraction - p;
    digits = count_digits(first, p);
  }
  const char *last = p;
  if (p < end && (*p == 'e' || *p == 'E')) {
    whole = false;
    *at = p + 1;
    int code = read_exponent(at, end, &exponent);
    if (code != LMM_OK) return code;
  }
  /* Minus zero is no integer. */
  bool fits = digits <= 19 && mantissa <= (uint64_t)INT64_MAX + negative && (mantissa > 0 || !negative);
  number->is_integer = whole && fits;
  if (number->is_integer) {
    number->integer = negative ? (int64_t)(0 - mantissa) : (int64_t)mantissa;
    return LMM_OK;
  }
  double value = convert(first, last, mantissa, digits, exponent);
  number->value = negative ? -value : value;
  return LMM_OK;
}
