/* json.h: a JSON reader to hold ours against: it goes down the text by recursion and makes a tree of it. */
#ifndef LMM_FUZZ_JSON_H
#define LMM_FUZZ_JSON_H

#include <math.h>

#include "fuzz.h"

typedef struct fuzz_node fuzz_node;
struct fuzz_node {
  int type; /* 'n' null, 't', 'f', 's' string, 'i' integer, 'd' double, 'l' list, 'o' object; 'k' the name of a field */
  fuzz_text text; /* of a string: what it stands for, with halves at its ends kept */
  bool escaped;
  long long integer;
  double number;
  fuzz_node *first, *last, *next; /* what is in a list; in an object, names and values in turn */
};

typedef struct fuzz_parser {
  const char *text;
  size_t at, length, max_depth;
  bool lenient;
  int code; /* LMM_OK, LMM_INVALID, LMM_CUT, LMM_LIMIT */
} fuzz_parser;

static inline fuzz_node *fuzz_fail_at(fuzz_parser *parser, int code) {
  if (parser->code == LMM_OK) parser->code = code;
  return NULL;
}

static inline void fuzz_free_node(fuzz_node *node) {
  while (node != NULL) {
    fuzz_node *next = node->next;
    fuzz_free_node(node->first);
    free(node->text.data);
    free(node);
    node = next;
  }
}

static inline fuzz_node *fuzz_new_node(int type) {
  fuzz_node *node = calloc(1, sizeof *node);
  CHECK(node != NULL);
  node->type = type;
  return node;
}

static inline void fuzz_skip_space(fuzz_parser *parser) {
  while (parser->at < parser->length && memchr(" \t\r\n", parser->text[parser->at], 4) != NULL) parser->at++;
}

/* The next byte; -1 and LMM_CUT at the end. */
static inline int fuzz_peek(fuzz_parser *parser) {
  if (parser->at < parser->length) return (unsigned char)parser->text[parser->at];
  (void)fuzz_fail_at(parser, LMM_CUT);
  return -1;
}

static inline bool fuzz_word(fuzz_parser *parser, const char *word) {
  for (; *word != '\0'; word++, parser->at++) {
    int byte = fuzz_peek(parser);
    if (byte != (unsigned char)*word) return fuzz_fail_at(parser, LMM_INVALID) != NULL;
  }
  return true;
}

static inline bool fuzz_digits(fuzz_parser *parser, fuzz_text *spelled) {
  if (fuzz_peek(parser) < '0' || fuzz_peek(parser) > '9') return fuzz_fail_at(parser, LMM_INVALID) != NULL;
  while (parser->at < parser->length && parser->text[parser->at] >= '0' && parser->text[parser->at] <= '9')
    fuzz_add(spelled, parser->text + parser->at++, 1);
  return true;
}

static inline bool fuzz_accept(fuzz_parser *parser, const char *set, fuzz_text *spelled) {
  if (parser->at == parser->length || parser->text[parser->at] == '\0') return false;
  if (strchr(set, parser->text[parser->at]) == NULL) return false;
  fuzz_add(spelled, parser->text + parser->at++, 1);
  return true;
}

static inline bool fuzz_spell_number(fuzz_parser *parser, fuzz_text *spelled, bool *whole) {
  *whole = true;
  (void)fuzz_accept(parser, "-", spelled);
  if (!fuzz_accept(parser, "0", spelled) && !fuzz_digits(parser, spelled)) return false;
  if (fuzz_accept(parser, ".", spelled)) {
    *whole = false;
    if (!fuzz_digits(parser, spelled)) return false;
  }
  if (fuzz_accept(parser, "eE", spelled)) {
    *whole = false;
    (void)fuzz_accept(parser, "+-", spelled);
    if (!fuzz_digits(parser, spelled)) return false;
  }
  return true;
}

static inline fuzz_node *fuzz_number(fuzz_parser *parser) {
  fuzz_text spelled = {NULL, 0, 0};
  bool whole;
  fuzz_node *node = NULL;
  if (fuzz_spell_number(parser, &spelled, &whole)) {
    node = fuzz_new_node('d');
    fuzz_add(&spelled, "", 1);
    node->number = strtod(spelled.data, NULL);
    char back[32];
    node->integer = strtoll(spelled.data, NULL, 10);
    (void)snprintf(back, sizeof back, "%lld", node->integer);
    if (whole && strcmp(back, spelled.data) == 0) node->type = 'i';
  }
  free(spelled.data);
  return node;
}

static inline int fuzz_unit(fuzz_parser *parser) {
  char digits[5] = "";
  for (int i = 0; i < 4; i++, parser->at++) {
    int byte = fuzz_peek(parser);
    if (byte <= 0 || strchr("0123456789abcdefABCDEF", byte) == NULL) {
      (void)fuzz_fail_at(parser, LMM_INVALID);
      return -1;
    }
    digits[i] = (char)byte;
  }
  return (int)strtol(digits, NULL, 16);
}

static inline void fuzz_add_point(fuzz_text *text, unsigned point) {
  char bytes[4];
  size_t count = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  static const unsigned char marks[] = {0, 0, 0xC0, 0xE0, 0xF0};
  for (size_t i = count; i-- > 1; point >>= 6) bytes[i] = (char)(0x80 | (point & 0x3F));
  bytes[0] = (char)(marks[count] | point);
  fuzz_add(text, bytes, count);
}

/* A string, its units gathered first: bytes as they are, escapes with 0x10000 added. */
static inline bool fuzz_units(fuzz_parser *parser, fuzz_text *units, bool *escaped) {
  static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
  parser->at++;
  for (;;) {
    int byte = fuzz_peek(parser);
    if (byte < 0) return false;
    if (byte < 0x20) return fuzz_fail_at(parser, LMM_INVALID) != NULL;
    parser->at++;
    if (byte == '"') return true;
    int unit = byte;
    if (byte == '\\') {
      *escaped = true;
      byte = fuzz_peek(parser);
      if (byte < 0) return false;
      parser->at++;
      const char *found = byte != 0 ? strchr(names, byte) : NULL;
      if (byte != 'u' && found == NULL) return fuzz_fail_at(parser, LMM_INVALID) != NULL;
      if (byte == 'u' && (unit = fuzz_unit(parser)) < 0) return false;
      unit = 0x10000 + (byte == 'u' ? unit : values[found - names]);
    }
    fuzz_add(units, &unit, sizeof unit);
  }
}

static inline fuzz_node *fuzz_string(fuzz_parser *parser, int type) {
  fuzz_text units = {NULL, 0, 0};
  fuzz_node *node = fuzz_new_node(type);
  bool fine = fuzz_units(parser, &units, &node->escaped);
  size_t count = fine ? units.length / sizeof(int) : 0;
  const int *unit = (const int *)(const void *)units.data;
  for (size_t i = 0; i < count; i++) {
    int value = unit[i] - 0x10000, next = i + 1 < count ? unit[i + 1] - 0x10000 : 0;
    char byte = (char)unit[i];
    if (value < 0) {
      fuzz_add(&node->text, &byte, 1);
    } else if (value >= 0xD800 && value < 0xDC00 && next >= 0xDC00 && next < 0xE000) {
      fuzz_add_point(&node->text, (unsigned)(0x10000 + (value - 0xD800) * 0x400 + (next - 0xDC00)));
      i++;
    } else {
      bool lost = (value >= 0xD800 && value < 0xDC00 && i + 1 < count) || (value >= 0xDC00 && value < 0xE000 && i > 0);
      fuzz_add_point(&node->text, lost ? 0xFFFD : (unsigned)value);
    }
  }
  free(units.data);
  if (fine) return node;
  fuzz_free_node(node);
  return NULL;
}

static inline fuzz_node *fuzz_value(fuzz_parser *parser, size_t depth);

static inline void fuzz_append(fuzz_node *parent, fuzz_node *node) {
  if (parent->last != NULL)
    parent->last->next = node;
  else
    parent->first = node;
  parent->last = node;
}

/* One item of a list or field of an object. */
static inline bool fuzz_item(fuzz_parser *parser, fuzz_node *parent, size_t depth) {
  fuzz_node *name = NULL, *value;
  if (parent->type == 'o') {
    fuzz_skip_space(parser);
    if (fuzz_peek(parser) != '"') return fuzz_fail_at(parser, LMM_INVALID) != NULL;
    name = fuzz_string(parser, 'k');
    if (name == NULL) return false;
    fuzz_append(parent, name);
    fuzz_skip_space(parser);
    if (!fuzz_word(parser, ":")) return false;
  }
  value = fuzz_value(parser, depth);
  if (value == NULL) return false;
  fuzz_append(parent, value);
  fuzz_skip_space(parser);
  return true;
}

static inline fuzz_node *fuzz_container(fuzz_parser *parser, size_t depth, int close) {
  if (depth == parser->max_depth) return fuzz_fail_at(parser, LMM_LIMIT);
  fuzz_node *node = fuzz_new_node(close == ']' ? 'l' : 'o');
  parser->at++;
  fuzz_skip_space(parser);
  bool fine = fuzz_peek(parser) == close || fuzz_item(parser, node, depth + 1);
  while (fine && fuzz_peek(parser) != close)
    fine = fuzz_peek(parser) >= 0 && fuzz_word(parser, ",") && fuzz_item(parser, node, depth + 1);
  parser->at++;
  if (fine && parser->code == LMM_OK) return node;
  fuzz_free_node(node);
  return NULL;
}

static inline fuzz_node *fuzz_named(fuzz_parser *parser, const char *word, int type, double number) {
  if (!fuzz_word(parser, word)) return NULL;
  fuzz_node *node = fuzz_new_node(type);
  node->number = number;
  return node;
}

static inline fuzz_node *fuzz_value(fuzz_parser *parser, size_t depth) {
  fuzz_skip_space(parser);
  const char *at = parser->text + parser->at;
  bool lenient = parser->lenient;
  bool negative_word = lenient && parser->length - parser->at > 1 && at[0] == '-' && at[1] == 'I';
  switch (fuzz_peek(parser)) {
    case '{': return fuzz_container(parser, depth, '}');
    case '[': return fuzz_container(parser, depth, ']');
    case '"': return fuzz_string(parser, 's');
    case 't': return fuzz_named(parser, "true", 't', 0);
    case 'f': return fuzz_named(parser, "false", 'f', 0);
    case 'n': return fuzz_named(parser, "null", 'n', 0);
    case 'N': return lenient ? fuzz_named(parser, "NaN", 'd', NAN) : fuzz_fail_at(parser, LMM_INVALID);
    case 'I': return lenient ? fuzz_named(parser, "Infinity", 'd', INFINITY) : fuzz_fail_at(parser, LMM_INVALID);
    case '-': return negative_word ? fuzz_named(parser, "-Infinity", 'd', -INFINITY) : fuzz_number(parser);
    default: return fuzz_number(parser);
  }
}

/* The tree of a text, or NULL and why in parser->code. */
static inline fuzz_node *fuzz_parse(fuzz_parser *parser) {
  if (parser->length >= 3 && memcmp(parser->text, "\xEF\xBB\xBF", 3) == 0) parser->at = 3;
  fuzz_node *node = fuzz_value(parser, 0);
  if (node == NULL) return NULL;
  fuzz_skip_space(parser);
  if (parser->at == parser->length) return node;
  (void)fuzz_fail_at(parser, LMM_INVALID);
  fuzz_free_node(node);
  return NULL;
}

#endif
