/* film.c: files of films that are neither boxes nor EBML come in: RIFF, FLV, ASF, MPEG streams. What they hold goes out,
 * and whether all of it is there. */
#include <inttypes.h>
#include <stdio.h>

#include "view.h"

/* Who writes into a pipe cannot go back to fill in the size, and leaves 0 or about the largest. */
#define RIFF_OPEN 0x7FFFF000u

/* A size that counts the header in as well, or an even one of which the last byte was not written, cuts nothing off. */
void lmm_film_look_riff(lmm_view head, lmm_sniffed *type) {
  uint64_t size = little(head, 4, 4), slack = STARTS(after(head, 8), "WEBP") ? 1 : 8;
  if (size >= RIFF_OPEN || size + 8 <= head.count + slack || head.count < 12) return;
  (void)snprintf(type->cut, sizeof type->cut, "its RIFF header tells of %" PRIu64 " bytes, and %" PRIu64 " are there",
                 size + 8, head.count);
}

void lmm_film_look_flv(lmm_view head, lmm_sniffed *type) {
  unsigned flags = byte(head, 4);
  if ((flags & 0xFA) != 0 || big(head, 5, 4) < 9) {
    type->mime = NULL;
    return;
  }
  type->has_pictures = (flags & 1) != 0;
  type->has_sound = (flags & 4) != 0;
}

/* The header is an object of objects, each with its GUID and its size. */
void lmm_film_look_asf(lmm_view head, lmm_sniffed *type) {
  static const char stream[] = "\x91\x07\xDC\xB7\xB7\xA9\xCF\x11\x8E\xE6\x00\xC0\x0C\x20\x53\x65";
  static const char sound[] = "\x40\x9E\x69\xF8\x4D\x5B\xCF\x11\xA8\xFD\x00\x80\x5F\x5C\x44\x2B";
  static const char pictures[] = "\xC0\xEF\x19\xBC\x4D\x5B\xCF\x11\xA8\xFD\x00\x80\x5F\x5C\x44\x2B";
  uint64_t all = little(head, 16, 8);
  if (all < 30 || all > head.count) return;
  for (lmm_view rest = part(head, 30, all - 30); reaches(rest, 0, 24);) {
    uint64_t size = little(rest, 16, 8);
    if (size < 24) return;
    lmm_view kind = after(rest, 24);
    if (lmm_view_matches(rest, stream, 16)) {
      type->has_sound = type->has_sound || lmm_view_matches(kind, sound, 16);
      type->has_pictures = type->has_pictures || lmm_view_matches(kind, pictures, 16);
    }
    rest = after(rest, size);
  }
}

/* Packets of 188 bytes, each of which begins with G; on discs each has four bytes more before it. */
void lmm_film_look_packets(lmm_view head, lmm_sniffed *type) {
  for (unsigned before = 0; before <= 4; before += 4) {
    bool all = true;
    for (unsigned i = 0; i < 4; i++) all = all && byte(head, before + i * (188u + before)) == 'G';
    if (all) type->mime = "video/mp2t";
  }
}

void lmm_film_look_program(lmm_view head, lmm_sniffed *type) {
  unsigned version = byte(head, 4);
  if ((version & 0xC4) != 0x44 && (version & 0xF1) != 0x21) type->mime = NULL;
}
