/* read.c: the bytes of a JSON text come in, all at once or more and more of them; its tokens go out one at a time.
 *
 * RFC 8259 to the letter, but for what servers send all the same: a leading byte order mark, halves of surrogate pairs,
 * bytes in strings that are not UTF-8, and NaN and infinities where the caller allows them. No memory of its own. */
#include <math.h>
#include <string.h>

#include "lmm.h"

enum {
  EXPECT_VALUE,
  EXPECT_VALUE_OR_END,
  EXPECT_KEY,
  EXPECT_KEY_OR_END,
  EXPECT_COLON,
  EXPECT_COMMA_OR_END,
  EXPECT_END
};

void lmm_json_init(lmm_json *json, size_t *levels, size_t max_depth, bool lenient) {
  memset(json, 0, sizeof *json);
  json->levels = levels;
  json->max_depth = max_depth;
  json->lenient = lenient;
}

void lmm_json_feed(lmm_json *json, const char *text, size_t length, bool is_last) {
  json->text = text;
  json->length = length;
  json->is_last = is_last;
}

/* ---- failures -------------------------------------------------------------------------------------------------- */

static int fail(lmm_json *json, int code, const char *at, const char *expected) {
  json->failed = code;
  json->fault = (size_t)(at - json->text);
  json->expected = expected;
  return code;
}

static bool is_in_object(const lmm_json *json) { return json->depth > 0 && (json->levels[json->depth - 1] & 1) != 0; }

static const char *expected_now(const lmm_json *json) {
  switch (json->expect) {
    case EXPECT_VALUE: return "a value";
    case EXPECT_VALUE_OR_END: return "a value or ]";
    case EXPECT_KEY: return "a name in quotes";
    case EXPECT_KEY_OR_END: return "a name in quotes or }";
    case EXPECT_COLON: return "a colon";
    case EXPECT_COMMA_OR_END: return is_in_object(json) ? "a comma or }" : "a comma or ]";
    default: return "the end";
  }
}

/* The text stops here: more is to come, or it was cut off in what `within` names; NULL: before anything. */
static int stop(lmm_json *json, const char *within) {
  return json->is_last ? fail(json, LMM_CUT, json->text + json->length, within) : LMM_JSON_MORE;
}

static int unexpected(lmm_json *json, const char *at) { return fail(json, LMM_INVALID, at, expected_now(json)); }

void lmm_json_explain(const lmm_json *json, lmm_error *error) {
  size_t place = json->fault + 1;
  if (json->failed == LMM_LIMIT) {
    (void)lmm_fail(error, LMM_LIMIT, "the JSON is nested more than %zu deep, at byte %zu", json->max_depth, place);
  } else if (json->failed == LMM_CUT && json->expected == NULL) {
    (void)lmm_fail(error, LMM_CUT, "the JSON ended before it began, after byte %zu", json->fault);
  } else if (json->failed == LMM_CUT) {
    (void)lmm_fail(error, LMM_CUT, "the JSON ended within %s, after byte %zu", json->expected, json->fault);
  } else {
    unsigned char byte = (unsigned char)json->text[json->fault];
    const char *format = byte > ' ' && byte < 0x7F ? "%s expected at byte %zu of the JSON, not %c"
                                                   : "%s expected at byte %zu of the JSON, not the byte 0x%02x";
    (void)lmm_fail(error, LMM_INVALID, format, json->expected, place, byte);
  }
}

/* ---- strings --------------------------------------------------------------------------------------------------- */

#if defined(__GNUC__) && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define EACH(byte) (UINT64_MAX / 255 * (byte))

/* Eight bytes at a time: the lowest bit set in the mask belongs to the first quote, backslash or control character. */
static const char *skip_plain(const char *at, const char *end) {
  for (; end - at >= 8; at += 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    uint64_t quote = word ^ EACH('"'), backslash = word ^ EACH('\\');
    uint64_t mask = ((word - EACH(0x20)) & ~word) | ((quote - EACH(1)) & ~quote) | ((backslash - EACH(1)) & ~backslash);
    mask &= EACH(0x80);
    if (mask != 0) return at + (__builtin_ctzll(mask) >> 3);
  }
  while (at < end && (unsigned char)*at >= 0x20 && *at != '"' && *at != '\\') at++;
  return at;
}
#else
static const char *skip_plain(const char *at, const char *end) {
  while (at < end && (unsigned char)*at >= 0x20 && *at != '"' && *at != '\\') at++;
  return at;
}
#endif

/* 1 more than what a hexadecimal digit counts; 0 for any other byte. */
static const unsigned char hex[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

static unsigned hex_of(char c) { return hex[(unsigned char)c]; }

/* What a backslash and this letter stand for; NUL where they stand for nothing. */
static char escaped_by(char letter) {
  switch (letter) {
    case '"':
    case '\\':
    case '/': return letter;
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    default: return '\0';
  }
}

/* Moves behind the escape at `*at`, or to what is wrong in it. LMM_CUT where its end is not there. */
static int skip_escape(const char **at, const char *end) {
  const char *p = *at + 1;
  if (p == end) return LMM_CUT;
  if (*p != 'u') {
    bool known = escaped_by(*p) != '\0';
    *at = known ? p + 1 : p;
    return known ? LMM_OK : LMM_INVALID;
  }
  for (int i = 1; i <= 4; i++) {
    if (p + i == end) return LMM_CUT;
    if (hex_of(p[i]) == 0) {
      *at = p + i;
      return LMM_INVALID;
    }
  }
  *at = p + 5;
  return LMM_OK;
}

/* Reads on in the string that begins with the quote at json->at; json->scanned says how far it was looked at. */
static int read_string(lmm_json *json, int token) {
  const char *start = json->text + json->at + 1, *end = json->text + json->length, *p = start;
  if (json->scanned > json->at)
    p = json->text + json->scanned;
  else
    json->escaped = false;
  for (;;) {
    p = skip_plain(p, end);
    json->scanned = (size_t)(p - json->text);
    if (p == end) return stop(json, "a string");
    if (*p == '"') break;
    if (*p != '\\') return fail(json, LMM_INVALID, p, "no control character");
    json->escaped = true;
    int code = skip_escape(&p, end);
    if (code == LMM_CUT) return stop(json, "a string");
    if (code != LMM_OK) return fail(json, LMM_INVALID, p, "an escape as in JSON");
  }
  json->start = (size_t)(start - json->text);
  json->count = (size_t)(p - start);
  json->at = json->start + json->count + 1;
  json->expect = token == LMM_JSON_KEY ? EXPECT_COLON : json->depth > 0 ? EXPECT_COMMA_OR_END : EXPECT_END;
  return token;
}

static unsigned code_unit(const char *escape) {
  return (hex_of(escape[2]) - 1) << 12 | (hex_of(escape[3]) - 1) << 8 | (hex_of(escape[4]) - 1) << 4 |
         (hex_of(escape[5]) - 1);
}

static bool is_high(unsigned unit) { return unit >= 0xD800 && unit <= 0xDBFF; }
static bool is_low(unsigned unit) { return unit >= 0xDC00 && unit <= 0xDFFF; }

static char *write_utf8(char *out, unsigned point) {
  if (point < 0x80) {
    *out++ = (char)point;
    return out;
  }
  if (point < 0x800) {
    *out++ = (char)(0xC0 | point >> 6);
  } else {
    if (point < 0x10000) {
      *out++ = (char)(0xE0 | point >> 12);
    } else {
      *out++ = (char)(0xF0 | point >> 18);
      *out++ = (char)(0x80 | (point >> 12 & 0x3F));
    }
    *out++ = (char)(0x80 | (point >> 6 & 0x3F));
  }
  *out++ = (char)(0x80 | (point & 0x3F));
  return out;
}

/* Writes what the \u escape at `at` stands for, with the one behind it where both are one character. */
static const char *write_escaped(const char *first, const char *at, const char *end, char **out, bool *halves) {
  unsigned point = code_unit(at);
  const char *next = at + 6;
  if (is_high(point) && end - next >= 6 && next[0] == '\\' && next[1] == 'u' && is_low(code_unit(next))) {
    point = 0x10000 + ((point - 0xD800) << 10) + (code_unit(next) - 0xDC00);
    next += 6;
  } else if (is_high(point) || is_low(point)) {
    bool may_join = is_high(point) ? next == end : at == first;
    if (halves != NULL && may_join)
      *halves = true;
    else
      point = 0xFFFD;
  }
  *out = write_utf8(*out, point);
  return next;
}

size_t lmm_json_unescape(char *out, const char *raw, size_t count, bool *halves) {
  const char *at = raw, *end = raw + count;
  char *to = out;
  while (at < end) {
    if (*at != '\\') {
      const char *backslash = memchr(at, '\\', (size_t)(end - at));
      size_t plain = (size_t)((backslash != NULL ? backslash : end) - at);
      memmove(to, at, plain);
      to += plain;
      at += plain;
    } else if (at[1] == 'u') {
      at = write_escaped(raw, at, end, &to, halves);
    } else {
      *to++ = escaped_by(at[1]);
      at += 2;
    }
  }
  return (size_t)(to - out);
}

/* ---- numbers and words ----------------------------------------------------------------------------------------- */

static int end_of_value(lmm_json *json, const char *behind, int token) {
  json->at = (size_t)(behind - json->text);
  json->expect = json->depth > 0 ? EXPECT_COMMA_OR_END : EXPECT_END;
  return token;
}

/* Whether a number that is fed in pieces has its end before `end`; what was looked at is not looked at again. */
static bool is_number_there(lmm_json *json, const char *end) {
  const char *p = json->text + (json->scanned > json->at ? json->scanned : json->at);
  while (p < end && ((*p >= '0' && *p <= '9') || *p == '-' || *p == '+' || *p == '.' || *p == 'e' || *p == 'E')) p++;
  json->scanned = (size_t)(p - json->text);
  return p < end;
}

static int read_number(lmm_json *json, const char *p, const char *end) {
  if (!json->is_last && !is_number_there(json, end)) return LMM_JSON_MORE;
  int code = lmm_number_read(&p, end, &json->number);
  if (code == LMM_CUT) return fail(json, LMM_CUT, end, "a number");
  if (code != LMM_OK) return fail(json, LMM_INVALID, p, "a digit");
  return end_of_value(json, p, LMM_JSON_NUMBER);
}

static int read_word(lmm_json *json, const char *p, const char *end, const char *word, size_t length, int token) {
  size_t there = (size_t)(end - p) < length ? (size_t)(end - p) : length, same = 0;
  while (same < there && p[same] == word[same]) same++;
  if (same == length) return end_of_value(json, p + length, token);
  if (same == there) return stop(json, word);
  return same == 0 ? unexpected(json, p) : fail(json, LMM_INVALID, p + same, word);
}
#define WORD(word) word, sizeof(word) - 1

static int read_constant(lmm_json *json, const char *p, const char *end, const char *word, size_t length,
                         double value) {
  if (!json->lenient) return unexpected(json, p);
  json->number = (lmm_number){.is_integer = false, .value = value};
  return read_word(json, p, end, word, length, LMM_JSON_NUMBER);
}

/* ---- lists and objects ----------------------------------------------------------------------------------------- */

static int open_level(lmm_json *json, const char *p, bool is_object) {
  if (json->depth == json->max_depth) return fail(json, LMM_LIMIT, p, "");
  json->levels[json->depth++] = is_object;
  json->containers++;
  json->at = (size_t)(p - json->text) + 1;
  json->expect = is_object ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END;
  return is_object ? LMM_JSON_OBJECT : LMM_JSON_LIST;
}

static int close_level(lmm_json *json, const char *p, int token) {
  json->depth--;
  return end_of_value(json, p + 1, token);
}

static int read_value(lmm_json *json, const char *p, const char *end) {
  switch (*p) {
    case '"': return read_string(json, LMM_JSON_STRING);
    case '{': return open_level(json, p, true);
    case '[': return open_level(json, p, false);
    case 't': return read_word(json, p, end, WORD("true"), LMM_JSON_TRUE);
    case 'f': return read_word(json, p, end, WORD("false"), LMM_JSON_FALSE);
    case 'n': return read_word(json, p, end, WORD("null"), LMM_JSON_NULL);
    case 'N': return read_constant(json, p, end, WORD("NaN"), NAN);
    case 'I': return read_constant(json, p, end, WORD("Infinity"), INFINITY);
    case '-':
      if (json->lenient && p + 1 < end && p[1] == 'I') return read_constant(json, p, end, WORD("-Infinity"), -INFINITY);
      return read_number(json, p, end);
    default: return *p >= '0' && *p <= '9' ? read_number(json, p, end) : unexpected(json, p);
  }
}

/* ---- tokens ---------------------------------------------------------------------------------------------------- */

static int read_counted(lmm_json *json, const char *p, const char *end) {
  size_t depth = json->depth;
  int token = read_value(json, p, end);
  if (token > 0 && depth > 0) json->levels[depth - 1] += 2;
  return token;
}

/* Behind a value in a list or an object: gives a token where that ends, else 0. */
static int read_separator(lmm_json *json, const char *p) {
  bool in_object = is_in_object(json);
  if (*p == (in_object ? '}' : ']')) return close_level(json, p, in_object ? LMM_JSON_OBJECT_END : LMM_JSON_LIST_END);
  if (*p != ',') return unexpected(json, p);
  json->expect = in_object ? EXPECT_KEY : EXPECT_VALUE;
  return 0;
}

/* 1: there is none, or it was passed. 0: its first bytes may be one. */
static int skip_bom(lmm_json *json) {
  static const char mark[] = "\xEF\xBB\xBF";
  if (json->length < 3) return json->is_last || memcmp(json->text, mark, json->length) != 0;
  if (memcmp(json->text, mark, 3) == 0) json->at = 3;
  return 1;
}

int lmm_json_next(lmm_json *json) {
  if (json->failed != LMM_OK) return json->failed;
  if (json->at == 0 && json->length > 0 && skip_bom(json) == 0) return LMM_JSON_MORE;
  const char *p = json->text + json->at, *end = json->text + json->length;
  for (;; p++) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    json->at = (size_t)(p - json->text);
    if (p == end && json->expect == EXPECT_END) return json->is_last ? LMM_JSON_END : LMM_JSON_MORE;
    if (p == end) return stop(json, json->depth == 0 ? NULL : is_in_object(json) ? "an object" : "a list");
    switch (json->expect) {
      case EXPECT_VALUE_OR_END:
        if (*p == ']') return close_level(json, p, LMM_JSON_LIST_END);
        return read_counted(json, p, end);
      case EXPECT_VALUE: return read_counted(json, p, end);
      case EXPECT_KEY_OR_END:
        if (*p == '}') return close_level(json, p, LMM_JSON_OBJECT_END);
        return *p == '"' ? read_string(json, LMM_JSON_KEY) : unexpected(json, p);
      case EXPECT_KEY: return *p == '"' ? read_string(json, LMM_JSON_KEY) : unexpected(json, p);
      case EXPECT_COLON:
        if (*p != ':') return unexpected(json, p);
        json->expect = EXPECT_VALUE;
        break;
      case EXPECT_COMMA_OR_END: {
        int token = read_separator(json, p);
        if (token != 0) return token;
        break;
      }
      default: return unexpected(json, p);
    }
  }
}

int lmm_json_skip(lmm_json *json, int token) {
  if (token != LMM_JSON_OBJECT && token != LMM_JSON_LIST) return token;
  size_t outside = json->depth - 1;
  do token = lmm_json_next(json);
  while (token > 0 && json->depth > outside);
  return token;
}
