/* kind.c: the bytes of a reply, or the data of one of its events, come in; what they are, whatever the server says of
 * them, goes out. */
#include <string.h>
#include <strings.h>

#include "lmm.h"

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Whether `count` bytes begin with the text, or, as long as more may come, whether they may yet: *maybe. */
static bool begins(const char *at, size_t count, const char *text, bool *maybe) {
  size_t length = strlen(text), common = count < length ? count : length;
  bool same = memcmp(at, text, common) == 0;
  *maybe = *maybe || (same && common < length);
  return same && common == length;
}

int lmm_reply_kind(const char *bytes, size_t count, bool is_finished, size_t *begin) {
  static const char *const fields[] = {":", "data:", "event:", "id:", "retry:"};
  const char *at = bytes + *begin, *end = bytes + count;
  bool maybe = false, is_events = false, is_bom = false;
  while (at < end && (is_space(*at) || (is_bom = begins(at, (size_t)(end - at), "\xEF\xBB\xBF", &maybe)))) {
    at += is_bom ? 3 : 1;
    is_bom = false;
  }
  *begin = (size_t)(at - bytes);
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    is_events = begins(at, (size_t)(end - at), fields[i], &maybe) || is_events;
  if (at == end || (maybe && !is_events && !is_finished)) return LMM_REPLY_UNKNOWN;
  return *at == '{' || *at == '[' ? LMM_REPLY_JSON : is_events ? LMM_REPLY_EVENTS : LMM_REPLY_OTHER;
}

size_t lmm_reply_json_end(const char *text, size_t begin, size_t end) {
  static const char done[] = "[DONE]", field[] = "data:";
  while (end > begin && is_space(text[end - 1])) end--;
  size_t at = end;
  if (at - begin < sizeof done - 1 || memcmp(text + at - (sizeof done - 1), done, sizeof done - 1) != 0) return end;
  at -= sizeof done - 1;
  if (at > begin && text[at - 1] == ' ') at--;
  if (at - begin < sizeof field - 1 || memcmp(text + at - (sizeof field - 1), field, sizeof field - 1) != 0) return end;
  at -= sizeof field - 1;
  return at > begin && (text[at - 1] == '\n' || text[at - 1] == '\r') ? at : end;
}

static bool is_error(const lmm_sse *sse) {
  return sse->event.length == 5 && strncasecmp(sse->event.data, "error", 5) == 0;
}

static bool is_text(const char *at, size_t count, const char *text) {
  return count == strlen(text) && memcmp(at, text, count) == 0;
}

int lmm_data_kind(const lmm_sse *sse, const char *data, size_t count) {
  if (count > 1 && data[0] == '{') return LMM_DATA_EVENT;
  while (count > 0 && is_space(data[count - 1])) count--;
  while (count > 0 && is_space(*data)) data++, count--;
  if (is_text(data, count, "[DONE]") || is_text(data, count, "\"[DONE]\"")) return LMM_DATA_DONE;
  if (is_error(sse)) return LMM_DATA_EVENT;
  return count == 0 || *data == ':' || is_text(data, count, "null") ? LMM_DATA_NOTHING : LMM_DATA_EVENT;
}
