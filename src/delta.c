/* delta.c: the JSON of one event of a streamed chat comes in; what goes out is whether it is a plain delta, one that adds
 * a piece of text to the only choice and says nothing else, and where in the JSON that piece stands. */
#include <string.h>

#include "lmm.h"

#define LEVELS 32 /* what is nested more deeply is not plain */

/* The names that matter in an event, in a choice and in a delta. What else stands in an event or in a choice (its time,
 * token numbers, a provider's name) does not matter to an answer; in a delta, everything does. */
enum { EVENT_CHOICES, EVENT_ID, EVENT_MODEL, EVENT_MUST_BE_EMPTY };
enum { CHOICE_DELTA, CHOICE_INDEX, CHOICE_FINISH_REASON, CHOICE_MUST_BE_EMPTY };
enum { DELTA_CONTENT, DELTA_REASONING, DELTA_REASONING_CONTENT, DELTA_ROLE };

static const char *const event_names[] = {"choices", "id", "model", "error", "usage", "x_groq", "citations",
                                          "search_results", NULL};
static const char *const choice_names[] = {"delta", "index", "finish_reason", "logprobs", "message", "text", "error",
                                           "usage", NULL};
static const char *const delta_names[] = {"content", "reasoning", "reasoning_content", "role", NULL};

typedef struct names {
  const char *const *all;
  unsigned seen; /* a bit for each */
} names;

/* The number of the name that was just read; -1: none of these. Sets *odd where it stands there again, or is spelled
 * with escapes. */
static int find_name(const lmm_json *json, names *known, bool *odd) {
  const char *name = json->text + json->start;
  *odd = json->escaped;
  for (int i = 0; known->all[i] != NULL; i++) {
    if (known->all[i][0] != *name) continue;
    if (strncmp(known->all[i], name, json->count) != 0 || known->all[i][json->count] != '\0') continue;
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
static bool read_text(lmm_json *json, lmm_delta *delta, bool is_reasoning) {
  int token = lmm_json_next(json);
  if (token == LMM_JSON_NULL) return true;
  if (token != LMM_JSON_STRING) return false;
  if (json->count == 0) return true;
  if (delta->count > 0) return false;
  delta->is_reasoning = is_reasoning;
  delta->start = json->start;
  delta->count = json->count;
  delta->escaped = json->escaped;
  return true;
}

static bool read_delta(lmm_json *json, lmm_delta *delta) {
  names known = {delta_names, 0};
  bool odd;
  int token = lmm_json_next(json);
  if (token == LMM_JSON_NULL) return true;
  if (token != LMM_JSON_OBJECT) return false;
  while ((token = lmm_json_next(json)) == LMM_JSON_KEY) {
    int name = find_name(json, &known, &odd);
    if (odd) return false;
    bool fine = name == DELTA_ROLE ? skip_value(json)
                : name < 0         ? is_empty(json)
                                   : read_text(json, delta, name != DELTA_CONTENT);
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
  return token == LMM_JSON_STRING && (json->count == 0 || (json->count == 4 && memcmp(json->text + json->start, "null", 4) == 0));
}

static bool read_choice(lmm_json *json, lmm_delta *delta) {
  names known = {choice_names, 0};
  bool odd;
  int token = lmm_json_next(json);
  if (token != LMM_JSON_OBJECT) return false;
  while ((token = lmm_json_next(json)) == LMM_JSON_KEY) {
    int name = find_name(json, &known, &odd);
    if (odd) return false;
    bool fine = name < 0                       ? skip_value(json)
                : name == CHOICE_DELTA         ? read_delta(json, delta)
                : name == CHOICE_INDEX         ? read_index(json)
                : name == CHOICE_FINISH_REASON ? is_unfinished(json)
                                               : is_empty(json);
    if (!fine) return false;
  }
  return token == LMM_JSON_OBJECT_END && (known.seen & 1u << CHOICE_DELTA) != 0;
}

static bool read_choices(lmm_json *json, lmm_delta *delta) {
  return lmm_json_next(json) == LMM_JSON_LIST && read_choice(json, delta) && lmm_json_next(json) == LMM_JSON_LIST_END;
}

/* Notes whether there is a text. */
static bool read_name(lmm_json *json, bool *found) {
  int token = lmm_json_next(json);
  *found = token == LMM_JSON_STRING && json->count > 0;
  return lmm_json_skip(json, token) > 0;
}

bool lmm_delta_read(lmm_delta *delta, const char *text, size_t length) {
  size_t levels[LEVELS];
  lmm_json json;
  names known = {event_names, 0};
  bool odd;
  *delta = (lmm_delta){.count = 0};
  lmm_json_init(&json, levels, LEVELS, true);
  lmm_json_feed(&json, text, length, true);
  int token = lmm_json_next(&json);
  if (token != LMM_JSON_OBJECT) return false;
  while ((token = lmm_json_next(&json)) == LMM_JSON_KEY) {
    int name = find_name(&json, &known, &odd);
    if (odd) return false;
    bool fine = name < 0                 ? skip_value(&json)
                : name == EVENT_CHOICES  ? read_choices(&json, delta)
                : name == EVENT_ID       ? read_name(&json, &delta->has_id)
                : name == EVENT_MODEL    ? read_name(&json, &delta->has_model)
                                         : is_empty(&json);
    if (!fine) return false;
  }
  return token == LMM_JSON_OBJECT_END && lmm_json_next(&json) == LMM_JSON_END && (known.seen & 1u << EVENT_CHOICES) != 0;
}
