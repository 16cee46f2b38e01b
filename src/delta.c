/* delta.c: the JSON of one event of a streamed chat comes in; what goes out is whether it is a plain delta, one that
 * adds a piece of text to the only choice and says nothing else, and where in the JSON that piece stands. */
#include <string.h>

#include "lmm.h"

#define LEVELS 32 /* what is nested more deeply is not plain */

/* The fields that matter in an event, in a choice and in a delta, in the order of the tables below. What else stands in
 * an event or in a choice (its time, token numbers, a provider's name) says nothing of the answer; in a delta,
 * everything does. */
enum { EVENT_CHOICES, EVENT_ID, EVENT_MODEL, EVENT_MUST_BE_EMPTY };
enum { CHOICE_DELTA, CHOICE_INDEX, CHOICE_FINISH_REASON, CHOICE_MUST_BE_EMPTY };
enum { DELTA_CONTENT, DELTA_REASONING, DELTA_REASONING_CONTENT, DELTA_ROLE };

typedef struct field {
  const char *name;
  size_t length;
} field;

#define FIELD(name) {name, sizeof(name) - 1}
static const field event_fields[] = {FIELD("choices"), FIELD("id"), FIELD("model"), FIELD("error"), FIELD("usage"),
                                     FIELD("x_groq"), FIELD("citations"), FIELD("search_results"), {NULL, 0}};
static const field choice_fields[] = {FIELD("delta"), FIELD("index"), FIELD("finish_reason"), FIELD("logprobs"),
                                      FIELD("message"), FIELD("text"), FIELD("error"), FIELD("usage"), {NULL, 0}};
static const field delta_fields[] = {FIELD("content"), FIELD("reasoning"), FIELD("reasoning_content"), FIELD("role"),
                                     {NULL, 0}};

/* Fields of an object, and a bit for each that was seen. */
typedef struct fields {
  const field *all;
  unsigned seen;
} fields;

/* The number of the field whose name was just read; -1: none of these. Sets *odd where it stands there again, or is
 * spelled with escapes. */
static int find_field(const lmm_json *json, fields *known, bool *odd) {
  const char *name = json->text + json->start;
  *odd = json->escaped;
  for (int i = 0; known->all[i].name != NULL; i++) {
    if (known->all[i].length != json->count || memcmp(known->all[i].name, name, json->count) != 0) continue;
    *odd = *odd || (known->seen & 1u << i) != 0;
    known->seen |= 1u << i;
    return i;
  }
  return -1;
}

static bool skip_value(lmm_json *json) { return lmm_json_skip(json, lmm_json_next(json)) > 0; }

/* Whether the next value says nothing: null, "", [] or {}. */
static bool is_empty(lmm_json *json) {
  int token = lmm_json_next(json);
  if (token == LMM_JSON_NULL) return true;
  if (token == LMM_JSON_STRING) return json->count == 0;
  if (token == LMM_JSON_LIST) return lmm_json_next(json) == LMM_JSON_LIST_END;
  return token == LMM_JSON_OBJECT && lmm_json_next(json) == LMM_JSON_OBJECT_END;
}

/* Takes the next value as text. False where it is none, or where there is another. */
static bool read_text(lmm_json *json, lmm_delta *delta, int which) {
  int token = lmm_json_next(json);
  if (token == LMM_JSON_NULL) return true;
  if (token != LMM_JSON_STRING) return false;
  if (json->count == 0) return true;
  if (delta->count > 0) return false;
  delta->is_reasoning = which != DELTA_CONTENT;
  delta->is_reasoning_content = which == DELTA_REASONING_CONTENT;
  delta->start = json->start;
  delta->count = json->count;
  delta->escaped = json->escaped;
  return true;
}

static bool read_delta(lmm_json *json, lmm_delta *delta) {
  fields known = {delta_fields, 0};
  bool odd;
  int token = lmm_json_next(json);
  if (token == LMM_JSON_NULL) return true;
  if (token != LMM_JSON_OBJECT) return false;
  while ((token = lmm_json_next(json)) == LMM_JSON_KEY) {
    int which = find_field(json, &known, &odd);
    if (odd) return false;
    bool fine = which == DELTA_ROLE ? skip_value(json)
                : which < 0         ? is_empty(json)
                                   : read_text(json, delta, which);
    if (!fine) return false;
  }
  return token == LMM_JSON_OBJECT_END;
}

static bool read_index(lmm_json *json) {
  int token = lmm_json_next(json);
  if (token == LMM_JSON_NULL) return true;
  return token == LMM_JSON_NUMBER && json->number.is_integer && json->number.integer == 0;
}

/* Servers write "null" for null here, too. */
static bool is_unfinished(lmm_json *json) {
  int token = lmm_json_next(json);
  if (token == LMM_JSON_NULL) return true;
  if (token != LMM_JSON_STRING) return false;
  return json->count == 0 || (json->count == 4 && memcmp(json->text + json->start, "null", 4) == 0);
}

static bool read_choice(lmm_json *json, lmm_delta *delta) {
  fields known = {choice_fields, 0};
  bool odd;
  int token = lmm_json_next(json);
  if (token != LMM_JSON_OBJECT) return false;
  while ((token = lmm_json_next(json)) == LMM_JSON_KEY) {
    int which = find_field(json, &known, &odd);
    if (odd) return false;
    bool fine = which < 0                       ? skip_value(json)
                : which == CHOICE_DELTA         ? read_delta(json, delta)
                : which == CHOICE_INDEX         ? read_index(json)
                : which == CHOICE_FINISH_REASON ? is_unfinished(json)
                                               : is_empty(json);
    if (!fine) return false;
  }
  return token == LMM_JSON_OBJECT_END && (known.seen & 1u << CHOICE_DELTA) != 0;
}

static bool read_choices(lmm_json *json, lmm_delta *delta) {
  return lmm_json_next(json) == LMM_JSON_LIST && read_choice(json, delta) && lmm_json_next(json) == LMM_JSON_LIST_END;
}

/* Notes whether there is a text. */
static bool read_text_field(lmm_json *json, bool *found) {
  int token = lmm_json_next(json);
  *found = token == LMM_JSON_STRING && json->count > 0;
  return lmm_json_skip(json, token) > 0;
}

bool lmm_delta_read(lmm_delta *delta, const char *text, size_t length) {
  size_t levels[LEVELS];
  lmm_json json;
  fields known = {event_fields, 0};
  bool odd;
  *delta = (lmm_delta){.count = 0};
  lmm_json_init(&json, levels, LEVELS, true);
  lmm_json_feed(&json, text, length, true);
  int token = lmm_json_next(&json);
  if (token != LMM_JSON_OBJECT) return false;
  while ((token = lmm_json_next(&json)) == LMM_JSON_KEY) {
    int which = find_field(&json, &known, &odd);
    if (odd) return false;
    bool fine = which < 0                 ? skip_value(&json)
                : which == EVENT_CHOICES  ? read_choices(&json, delta)
                : which == EVENT_ID       ? read_text_field(&json, &delta->has_id)
                : which == EVENT_MODEL    ? read_text_field(&json, &delta->has_model)
                                         : is_empty(&json);
    if (!fine) return false;
  }
  if (token != LMM_JSON_OBJECT_END || lmm_json_next(&json) != LMM_JSON_END) return false;
  return (known.seen & 1u << EVENT_CHOICES) != 0;
}
