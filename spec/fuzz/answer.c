/* answer.c: a reply's body, whole and in pieces: the same must come of it. Which events are plain deltas, and what text
 * they add up to, is held against trees of their JSON.
 *
 * * The input's first byte is the maximum of the reply (0: 1 MiB, else 8 times as many bytes), the second that of an
 * event (0: 1 MiB), the third how many bytes follow (up to 15) that are the lengths of the pieces to cut the text into,
 * taken round and round; its highest bit tells whether the input ends well. */
#include "json.h"

#define BIG ((size_t)1024 * 1024)
#define MOST_PIECES 15
#define DEPTH 32 /* what is nested more deeply is no plain delta */

/* ---- which events are plain deltas ------------------------------------------------------------------------------ */

static bool is_named(const fuzz_node *name, const char *names) {
  char wanted[32];
  int length = snprintf(wanted, sizeof wanted, " %.*s ", (int)(name->text.length < 28 ? name->text.length : 28),
                        name->text.length > 0 ? name->text.data : "");
  return length > 2 && strlen(wanted) == name->text.length + 2 && strchr(wanted + 1, ' ') == wanted + length - 1 &&
         strstr(names, wanted) != NULL;
}

static bool is_nothing(const fuzz_node *node) {
  return node->type == 'n' || (node->type == 's' && node->text.length == 0) ||
         ((node->type == 'l' || node->type == 'o') && node->first == NULL);
}

static bool is_text(const fuzz_node *node) { return node->type == 's' && node->text.length > 0; }

/* Whether a field of the object stands in it twice, or is spelled with escapes. */
static bool is_odd(const fuzz_node *object, const char *names) {
  for (const fuzz_node *name = object->first; name != NULL; name = name->next->next) {
    if (name->escaped) return true;
    for (const fuzz_node *other = name->next->next; other != NULL; other = other->next->next)
      if (is_named(name, names) && fuzz_same(&name->text, &other->text)) return true;
  }
  return false;
}

/* Finds the one text of a delta; `*text` stays NULL where there is none. */
static bool is_plain_delta(const fuzz_node *delta, const fuzz_node **text, bool *is_reasoning) {
  if (delta->type == 'n') return true;
  if (delta->type != 'o' || is_odd(delta, " content reasoning reasoning_content role ")) return false;
  for (const fuzz_node *name = delta->first; name != NULL; name = name->next->next) {
    const fuzz_node *value = name->next;
    bool may_be_text = is_named(name, " content reasoning reasoning_content ");
    if (is_named(name, " role ")) continue;
    if (may_be_text && value->type != 's' && value->type != 'n') return false;
    if (is_nothing(value)) continue;
    if (!may_be_text || *text != NULL) return false;
    *text = value;
    *is_reasoning = !is_named(name, " content ");
  }
  return true;
}

static bool is_plain_choice(const fuzz_node *choice, const fuzz_node **text, bool *is_reasoning) {
  bool has_delta = false;
  if (choice == NULL || choice->next != NULL || choice->type != 'o') return false;
  if (is_odd(choice, " delta index finish_reason logprobs message text error usage ")) return false;
  for (const fuzz_node *name = choice->first; name != NULL; name = name->next->next) {
    const fuzz_node *value = name->next;
    bool no_reason = value->text.length == 0 || is_named(value, " null ");
    bool unfinished = value->type == 'n' || (value->type == 's' && no_reason);
    if (is_named(name, " delta ")) {
      has_delta = true;
      if (!is_plain_delta(value, text, is_reasoning)) return false;
    }
    if (is_named(name, " index ") && value->type != 'n' && !(value->type == 'i' && value->integer == 0)) return false;
    if (is_named(name, " finish_reason ") && (!unfinished || (value->escaped && value->text.length > 0))) return false;
    if (is_named(name, " logprobs message text error usage ") && !is_nothing(value)) return false;
  }
  return has_delta;
}

static bool is_plain(const fuzz_node *event, const fuzz_node **text, bool *is_reasoning, bool *has_id,
                     bool *has_model) {
  bool has_choices = false;
  if (event->type != 'o') return false;
  if (is_odd(event, " choices id model error usage x_groq citations search_results ")) return false;
  for (const fuzz_node *name = event->first; name != NULL; name = name->next->next) {
    const fuzz_node *value = name->next;
    if (is_named(name, " choices ")) {
      has_choices = true;
      if (value->type != 'l' || !is_plain_choice(value->first, text, is_reasoning)) return false;
    }
    if (is_named(name, " id ")) *has_id = is_text(value);
    if (is_named(name, " model ")) *has_model = is_text(value);
    if (is_named(name, " error usage x_groq citations search_results ") && !is_nothing(value)) return false;
  }
  return has_choices;
}

/* ---- what the pieces of a text add up to ------------------------------------------------------------------------ */

typedef struct expected {
  fuzz_text text;
  bool has_half;
} expected;

static bool is_half(const char *at, unsigned char least) {
  const unsigned char *byte = (const unsigned char *)at;
  return byte[0] == 0xED && (byte[1] & 0xF0) == least && (byte[2] & 0xC0) == 0x80;
}

static void end_text(expected *all) {
  if (all->has_half) memcpy(all->text.data + all->text.length - 3, "\xEF\xBF\xBD", 3);
  all->has_half = false;
}

static void add_piece(expected *all, const fuzz_text *piece) {
  const char *at = piece->data;
  size_t count = piece->length;
  if (count >= 3 && is_half(at, 0xB0)) {
    unsigned low = ((unsigned)at[1] & 0xF) << 6 | ((unsigned)at[2] & 0x3F);
    if (all->has_half) {
      const char *high = all->text.data + all->text.length - 3;
      unsigned point = 0x10000 + ((((unsigned)high[1] & 0xF) << 6 | ((unsigned)high[2] & 0x3F)) << 10) + low;
      all->text.length -= 3;
      fuzz_add_point(&all->text, point);
    } else {
      fuzz_add_point(&all->text, 0xFFFD);
    }
    all->has_half = false;
    at += 3;
    count -= 3;
  }
  if (piece->length > 0) end_text(all);
  fuzz_add(&all->text, at, count);
  all->has_half = count >= 3 && is_half(at + count - 3, 0xA0);
}

/* ---- the answer ------------------------------------------------------------------------------------------------- */

typedef struct run {
  lmm_answer answer;
  fuzz_text trace, given; /* all that came; the data of the events that were given */
  fuzz_text pieces[2];
  expected texts[2];
} run;

static void add_string(fuzz_text *trace, const char *bytes, size_t count) {
  fuzz_add(trace, &count, sizeof count);
  fuzz_add(trace, bytes, count);
}

static void check_event(run *self, int code, const lmm_answer *before, const lmm_piece *piece) {
  size_t count;
  const char *data = lmm_answer_data(&self->answer, &count);
  char *copy = fuzz_copy(data, count);
  fuzz_parser parser = {copy, 0, count, DEPTH, true, LMM_OK};
  fuzz_node *tree = fuzz_parse(&parser);
  const fuzz_node *text = NULL;
  bool is_reasoning = false, has_id = false, has_model = false;
  bool plain = tree != NULL && is_plain(tree, &text, &is_reasoning, &has_id, &has_model);
  bool is_new = !before->has_first || (has_id && !before->has_id) || (has_model && !before->has_model);
  plain = plain && !is_new && self->answer.sse.event.length == 0;
  CHECK(plain == (code != LMM_ANSWER_EVENT));
  if (plain) {
    if (text != NULL) add_piece(&self->texts[is_reasoning], &text->text);
    CHECK(code == LMM_ANSWER_EMPTY || code == (is_reasoning ? LMM_ANSWER_REASONING : LMM_ANSWER_TEXT));
    CHECK(code != LMM_ANSWER_EMPTY || text == NULL || piece->count == 0);
  }
  add_string(&self->given, data, count);
  fuzz_free_node(tree);
  free(copy);
}

/* Gives false once it failed. */
static bool drain(run *self) {
  for (;;) {
    lmm_answer before = self->answer;
    lmm_piece piece = {"", 0};
    int code = lmm_answer_next(&self->answer, true, &piece);
    CHECK(code >= 0 || code == LMM_LIMIT);
    if (code == LMM_ANSWER_MORE) return true;
    fuzz_add(&self->trace, &code, sizeof code);
    if (code < 0) return false;
    CHECK(self->answer.has_current || code != LMM_ANSWER_EVENT);
    if (self->answer.has_current && self->answer.kind == LMM_REPLY_EVENTS) check_event(self, code, &before, &piece);
    add_string(&self->trace, self->answer.sse.event.data, self->answer.sse.event.length);
    if (code == LMM_ANSWER_TEXT || code == LMM_ANSWER_REASONING) {
      if (!self->answer.has_current) end_text(&self->texts[code == LMM_ANSWER_REASONING]); /* [DONE], or the end */
      add_string(&self->trace, piece.bytes, piece.count);
      fuzz_add(&self->pieces[code == LMM_ANSWER_REASONING], piece.bytes, piece.count);
    }
  }
}

static void check_text(const lmm_text *text, const fuzz_text *pieces, const expected *all) {
  fuzz_text got = {text->bytes.data, text->bytes.length, 0};
  CHECK(text->has_half == all->has_half && fuzz_same(&got, &all->text));
  if (text->has_half) got.length -= 3;
  CHECK(fuzz_same(&got, pieces));
}

static void check_replay(const run *self) {
  fuzz_text again = {NULL, 0, 0};
  lmm_sse sse;
  const char *data;
  size_t count;
  int code;
  lmm_sse_init(&sse, self->answer.sse.max);
  while ((code = lmm_answer_replay(&self->answer, &sse, &data, &count)) == 1) add_string(&again, data, count);
  CHECK(code == LMM_OK && fuzz_same(&again, &self->given));
  lmm_sse_free(&sse);
  free(again.data);
}

/* Gives the trace. */
static fuzz_text read_pieces(const char *text, size_t count, const size_t max[2], const uint8_t *lengths, size_t pieces,
                             bool ends) {
  run self;
  size_t empty = 0;
  bool more = true;
  memset(&self, 0, sizeof self);
  lmm_answer_init(&self.answer, max[0], max[1]);
  for (size_t i = 0, length; count > 0 && more; i++, text += length, count -= length) {
    length = pieces > 0 ? lengths[i % pieces] : count;
    if (length > count) length = count;
    empty = length == 0 ? empty + 1 : 0;
    if (empty > MOST_PIECES) length = 1; /* so that it ends */
    char *piece = fuzz_copy(text, length);
    int code = lmm_answer_feed(&self.answer, piece, length);
    CHECK(code == LMM_OK || (code == LMM_LIMIT && self.answer.bytes.length == max[0]));
    free(piece);
    more = drain(&self);
  }
  if (ends && more) {
    lmm_answer_finish(&self.answer);
    more = drain(&self);
  }
  check_text(&self.answer.text, &self.pieces[0], &self.texts[0]);
  check_text(&self.answer.reasoning, &self.pieces[1], &self.texts[1]);
  if (more) check_replay(&self);
  int kind = lmm_answer_kind(&self.answer);
  fuzz_add(&self.trace, &kind, sizeof kind);
  fuzz_add(&self.trace, &self.answer.given, sizeof self.answer.given);
  add_string(&self.trace, self.answer.text.bytes.data, self.answer.text.bytes.length);
  add_string(&self.trace, self.answer.reasoning.bytes.data, self.answer.reasoning.bytes.length);
  lmm_answer_free(&self.answer);
  for (int i = 0; i < 2; i++) {
    free(self.pieces[i].data);
    free(self.texts[i].text.data);
  }
  free(self.given.data);
  return self.trace;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  static const uint8_t one = 1;
  fuzz_input input = {bytes, count};
  size_t max[2] = {fuzz_byte(&input) * 8, fuzz_byte(&input)};
  unsigned flags = fuzz_byte(&input);
  size_t pieces = flags % (MOST_PIECES + 1);
  const uint8_t *lengths = fuzz_bytes(&input, &pieces);
  const char *text = (const char *)input.at;
  if (max[0] == 0) max[0] = BIG;
  if (max[1] == 0) max[1] = BIG;

  fuzz_text whole = read_pieces(text, input.left, max, NULL, 0, flags < 128);
  fuzz_text single = read_pieces(text, input.left, max, &one, 1, flags < 128);
  fuzz_text cut = read_pieces(text, input.left, max, lengths, pieces, flags < 128);
  CHECK(fuzz_same(&whole, &single) && fuzz_same(&whole, &cut));
  free(whole.data);
  free(single.data);
  free(cut.data);
  return 0;
}
