/* ebml.c: a Matroska or WebM file comes in; its type goes out, and whether its tracks are pictures or sound. */
#include <string.h>

#include "view.h"

enum { EBML_DOCTYPE = 0x4282, SEGMENT = 0x18538067, TRACKS = 0x1654AE6B, TRACK = 0xAE, TRACK_TYPE = 0x83 };

/* Takes a variable-length number off the front of `rest`, with the marker bit for an identifier; false at the end. */
static bool next_vint(lmm_view *rest, bool identifier, uint64_t *value) {
  unsigned first = byte(*rest, 0), length = 1;
  if (first == 0) return false; /* nothing left, or longer than 8 bytes */
  while ((first << (length - 1) & 0x80) == 0) length++;
  if (!reaches(*rest, 0, length)) return false;
  *value = big(*rest, 0, length);
  if (!identifier) {
    *value -= (uint64_t)1 << (7 * length);
    if (*value == ((uint64_t)1 << (7 * length)) - 1) *value = UINT64_MAX; /* of unknown length */
  }
  *rest = after(*rest, length);
  return true;
}

/* Takes the next element off the front of `rest`; false at the end and where one is cut short. */
static bool next_element(lmm_view *rest, uint64_t *identifier, lmm_view *data) {
  uint64_t size;
  if (!next_vint(rest, true, identifier) || !next_vint(rest, false, &size)) return false;
  *data = part(*rest, 0, size);
  if (*identifier != SEGMENT && (size > rest->count || !reaches(*rest, 0, 0))) return false;
  *rest = after(*rest, size);
  return true;
}

static bool is_string(lmm_view data, const char *text) { /* one may be padded with zeros */
  size_t length = strlen(text);
  return lmm_view_matches(data, text, length) && (data.count == length || byte(data, length) == 0);
}

static void look_track(lmm_view track, lmm_sniffed *type) {
  uint64_t identifier;
  lmm_view data;
  while (next_element(&track, &identifier, &data)) {
    if (identifier != TRACK_TYPE || data.count > 8) continue;
    uint64_t kind = big(data, 0, (unsigned)data.count);
    if (kind == 1) type->has_pictures = true;
    if (kind == 2) type->has_sound = true;
  }
}

static void look_tracks(lmm_view segment, lmm_sniffed *type) {
  uint64_t identifier;
  lmm_view data, track;
  while (next_element(&segment, &identifier, &data)) {
    if (identifier != TRACKS) continue;
    while (next_element(&data, &identifier, &track))
      if (identifier == TRACK) look_track(track, type);
    return;
  }
}

void lmm_ebml_look(lmm_view head, lmm_sniffed *type) {
  lmm_view rest = after(head, 4), data;
  uint64_t identifier, size;
  if (!next_vint(&rest, false, &size)) return;
  lmm_view header = part(rest, 0, size), body = after(rest, size);
  while (next_element(&header, &identifier, &data)) {
    if (identifier != EBML_DOCTYPE) continue;
    if (is_string(data, "webm")) type->mime = "video/webm";
    if (is_string(data, "matroska")) type->mime = "video/x-matroska";
    break;
  }
  if (type->mime != NULL && next_element(&body, &identifier, &data) && identifier == SEGMENT) look_tracks(data, type);
}
