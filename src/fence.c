/* fence.c: the text of an answer comes in, as far as it is there; where in it the JSON begins, and whether what stands
 * behind the JSON may stand there, goes out. No memory of its own. */
#include <string.h>

#include "lmm.h"

enum { BEFORE, OPENING, NAME, TOLD, BEHIND, CLOSING, CLOSED };

#define LEAST_MARKS 3u
#define MOST_MARKS 16u
#define MOST_LETTERS 16u

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* One byte before the JSON; what it says, the state tells. */
static void look_before(lmm_fence *fence, char c) {
  static const char mark[] = "\xEF\xBB\xBF";
  if (fence->state == BEFORE) {
    bool is_mark = fence->at < 3 && c == mark[fence->at];
    if (is_mark || is_space(c)) return;
    fence->state = c == '`' ? OPENING : TOLD;
  }
  if (fence->state == OPENING) {
    if (c == '`' && ++fence->marks <= MOST_MARKS) return;
    fence->state = c != '`' && fence->marks >= LEAST_MARKS ? NAME : TOLD;
  }
  if (fence->state == NAME) {
    if (is_letter(c) && ++fence->letters <= MOST_LETTERS) return;
    fence->is_fenced = !is_letter(c);
    fence->begin = fence->is_fenced ? fence->at : 0;
    fence->state = TOLD;
  }
}

bool lmm_fence_open(lmm_fence *fence, const char *text, size_t count, bool is_last) {
  for (; fence->state < TOLD && fence->at < count; fence->at++) look_before(fence, text[fence->at]);
  if (fence->state < TOLD && is_last) fence->state = TOLD;
  return fence->state >= TOLD;
}

/* Whether one byte behind the JSON may stand there. */
static bool look_behind(lmm_fence *fence, char c) {
  if (c == '`' && fence->state != CLOSED) {
    fence->state = CLOSING;
    fence->closing++;
    return true;
  }
  if (fence->state == CLOSING && fence->closing >= fence->marks) fence->state = CLOSED;
  return is_space(c) && fence->state != CLOSING;
}

bool lmm_fence_close(lmm_fence *fence, const char *text, size_t end, size_t count, bool is_last) {
  if (fence->state == TOLD) {
    fence->state = BEHIND;
    fence->at = end;
  }
  while (fence->at < count && look_behind(fence, text[fence->at])) fence->at++;
  bool is_cut = is_last && fence->state == CLOSING && fence->closing < fence->marks;
  if (fence->at == count && !is_cut) return true;
  if (fence->state != CLOSED) fence->at = end;
  return false;
}
