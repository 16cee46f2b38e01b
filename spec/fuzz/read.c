/* read.c: the JSON reader, whole and in pieces, against one that makes a tree.
 *
 * The input's first byte is how deep the text may be nested (its low 7 bits) and whether NaN and infinities are numbers
 * (its highest), the second how many bytes follow (up to 15) that are the lengths of the pieces to cut the text into,
 * taken round and round. */
#include "json.h"

#define MOST_PIECES 15

/* ---- tokens as one text, which tells any two rows of them apart ------------------------------------------------- */

static void add_text(fuzz_text *trace, const char *bytes, size_t count) {
  fuzz_add(trace, &count, sizeof count);
  fuzz_add(trace, bytes, count);
}

static void add_number(fuzz_text *trace, bool is_integer, long long integer, double number) {
  char spelled[64];
  int count = is_integer         ? snprintf(spelled, sizeof spelled, "%lld", integer)
              : number == number ? snprintf(spelled, sizeof spelled, "%a", number)
                                 : snprintf(spelled, sizeof spelled, "nan");
  add_text(trace, spelled, (size_t)count);
}

static void add_nodes(fuzz_text *trace, const fuzz_node *node) {
  for (; node != NULL; node = node->next) {
    char type = (char)(node->type == 'i' ? 'd' : node->type);
    fuzz_add(trace, &type, 1);
    if (type == 's' || type == 'k') add_text(trace, node->text.data, node->text.length);
    if (type == 'd') add_number(trace, node->type == 'i', node->integer, node->number);
    if (type != 'l' && type != 'o') continue;
    add_nodes(trace, node->first);
    fuzz_add(trace, type == 'l' ? "]" : "}", 1);
  }
}

static bool is_half_at(const char *at, unsigned char least) {
  return (unsigned char)at[0] == 0xED && ((unsigned char)at[1] & 0xF0) == least;
}

static void add_string(fuzz_text *trace, const lmm_json *json) {
  char *raw = fuzz_copy(json->text + json->start, json->count), *out = malloc(json->count + 1);
  size_t count = json->count;
  bool halves = false;
  CHECK(out != NULL);
  if (json->escaped) {
    count = lmm_json_unescape(out, raw, json->count, &halves);
    CHECK(count <= json->count);
    add_text(trace, out, count);
    char *same = fuzz_copy(raw, json->count);
    CHECK(lmm_json_unescape(same, same, json->count, NULL) == count); /* in place; U+FFFD has three bytes, too */
    CHECK(halves || memcmp(same, out, count) == 0);
    CHECK(!halves || is_half_at(out, 0xB0) || is_half_at(out + count - 3, 0xA0));
    free(same);
  } else {
    add_text(trace, raw, count);
  }
  free(raw);
  free(out);
}

static void add_token(fuzz_text *trace, const lmm_json *json, int token) {
  static const char types[] = " o}l]ksdtfn";
  fuzz_add(trace, types + token, 1);
  if (token == LMM_JSON_KEY || token == LMM_JSON_STRING) add_string(trace, json);
  if (token == LMM_JSON_NUMBER) add_number(trace, json->number.is_integer, json->number.integer, json->number.value);
}

/* ---- the reader ------------------------------------------------------------------------------------------------- */

typedef struct outcome {
  fuzz_text trace;
  int code;
  size_t fault;
} outcome;

static void check_message(const lmm_json *json) {
  lmm_error error;
  lmm_json_explain(json, &error);
  CHECK(error.code == json->failed && strlen(error.message) > 10 && strpbrk(error.message, "\r\n") == NULL);
}

/* Each piece comes with all before it, in a block of its own that goes afterwards. */
static outcome read_pieces(const char *text, size_t count, const uint8_t *lengths, size_t pieces, size_t depth,
                           bool lenient) {
  size_t *levels = malloc((depth + 1) * sizeof *levels), there = 0, empty = 0;
  outcome got = {{NULL, 0, 0}, LMM_JSON_MORE, 0};
  lmm_json json;
  CHECK(levels != NULL);
  lmm_json_init(&json, levels, depth, lenient);
  for (size_t i = 0; got.code == LMM_JSON_MORE; i++) {
    size_t length = pieces > 0 ? lengths[i % pieces] : count;
    empty = length == 0 ? empty + 1 : 0;
    if (empty > MOST_PIECES) length = 1; /* so that it ends */
    there = length > count - there ? count : there + length;
    char *block = fuzz_copy(text, there);
    lmm_json_feed(&json, block, there, there == count);
    while ((got.code = lmm_json_next(&json)) > 0 && got.code != LMM_JSON_END) add_token(&got.trace, &json, got.code);
    CHECK(got.code != LMM_JSON_MORE || there < count);
    if (got.code < 0) {
      CHECK(lmm_json_next(&json) == got.code && json.fault <= count);
      check_message(&json);
    }
    free(block);
  }
  got.fault = json.fault;
  free(levels);
  return got;
}

static void compare(const outcome *expected, const char *text, size_t count, const uint8_t *lengths, size_t pieces,
                    size_t depth, bool lenient) {
  outcome got = read_pieces(text, count, lengths, pieces, depth, lenient);
  CHECK(got.code == expected->code && got.fault == expected->fault && fuzz_same(&got.trace, &expected->trace));
  free(got.trace.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  static const uint8_t one = 1;
  fuzz_input input = {bytes, count};
  unsigned flags = fuzz_byte(&input);
  size_t pieces = fuzz_byte(&input) % (MOST_PIECES + 1), depth = flags & 0x7F;
  bool lenient = flags >> 7 != 0;
  const uint8_t *lengths = fuzz_bytes(&input, &pieces);
  const char *text = (const char *)input.at;

  fuzz_parser parser = {text, 0, input.left, depth, lenient, LMM_OK};
  fuzz_node *tree = fuzz_parse(&parser);
  outcome whole = read_pieces(text, input.left, NULL, 0, depth, lenient);
  CHECK(whole.code == (tree != NULL ? LMM_JSON_END : parser.code));
  if (tree != NULL) {
    fuzz_text trace = {NULL, 0, 0};
    add_nodes(&trace, tree);
    CHECK(fuzz_same(&trace, &whole.trace));
    free(trace.data);
    fuzz_free_node(tree);
  }
  compare(&whole, text, input.left, &one, 1, depth, lenient);
  compare(&whole, text, input.left, lengths, pieces, depth, lenient);
  free(whole.trace.data);
  return 0;
}
