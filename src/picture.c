/* picture.c: a JPEG, PNG, GIF or WebP comes in; its size goes out, how it is turned to be shown, and whether its end is
 * there. */
#include <stdio.h>

#include "view.h"

/* How far from a JPEG's end its end is looked for: other things may follow, as a second picture does. */
#define JPEG_TAIL 32768

/* No two bytes within the picture itself look like its end. */
static void look_jpeg_end(lmm_view scan, lmm_sniffed *type) {
  lmm_view tail = scan.count > JPEG_TAIL ? after(scan, scan.count - JPEG_TAIL) : scan;
  uint64_t at;
  bool has_end = lmm_view_find_last(tail, LITERAL("\xFF\xD9"), &at);
  type->has_no_end = !has_end && !scan.file->is_exhausted;
}

/* The frame header may stand behind any number of segments. Bytes between segments and fill bytes are passed over, as
 * libjpeg does. A height of 0 is told later in the file, by a DNL segment. EXIF data stands before the frame. */
void lmm_picture_look_jpeg(lmm_view head, lmm_sniffed *type) {
  uint64_t at = 2;
  bool has_frame = false;
  while (reaches(head, at, 1)) {
    if (byte(head, at++) != 0xFF) continue;
    while (byte(head, at) == 0xFF) at++;
    unsigned marker = byte(head, at++);
    if (marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD8)) continue; /* these have no length */
    uint64_t length = big(head, at, 2);
    if (marker == 0xD9 || length < 2) break;
    if (marker == 0xDA) { /* the picture itself */
      look_jpeg_end(after(head, at), type);
      return;
    }
    lmm_view segment = part(head, at + 2, length - 2);
    bool is_frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (marker == 0xF7) type->mime = "image/jls"; /* JPEG-LS */
    if (marker == 0xE1 && !has_frame && type->orientation == 0 && STARTS(segment, "Exif"))
      type->orientation = lmm_tiff_orientation(segment);
    if (!has_frame && (is_frame || marker == 0xF7)) set_size(type, big(segment, 3, 2), big(segment, 1, 2));
    has_frame = has_frame || is_frame || marker == 0xF7;
    at += length;
  }
  type->has_no_end = has_frame && !head.file->is_exhausted;
}

void lmm_picture_look_png(lmm_view head, lmm_sniffed *type) {
  if (STARTS(after(head, 12), "IHDR")) set_size(type, big(head, 16, 4), big(head, 20, 4));
  lmm_view rest = after(head, 8);
  while (reaches(rest, 0, 12)) {
    uint64_t length = big(rest, 0, 4);
    lmm_view name = part(rest, 4, 4);
    if (STARTS(name, "IEND")) return;
    if (STARTS(name, "eXIf")) type->orientation = lmm_tiff_orientation(part(rest, 8, length));
    rest = after(rest, 12 + length);
  }
  if (!head.file->is_exhausted)
    (void)snprintf(type->cut, sizeof type->cut, "it has no IEND, with which a PNG ends");
}

/* Behind the blocks of an extension or of a picture. */
static lmm_view skip_blocks(lmm_view rest) {
  while (reaches(rest, 0, 1)) {
    unsigned length = byte(rest, 0);
    rest = after(rest, 1 + (uint64_t)length);
    if (length == 0) break;
  }
  return rest;
}

/* A first frame that is larger than the screen makes it as large. */
void lmm_picture_look_gif(lmm_view head, lmm_sniffed *type) {
  uint64_t width = little(head, 6, 2), height = little(head, 8, 2);
  unsigned flags = byte(head, 10);
  lmm_view rest = after(head, 13 + (flags & 0x80 ? (uint64_t)3 << ((flags & 7) + 1) : 0));
  while (byte(rest, 0) == 0x21) rest = skip_blocks(after(rest, 2));
  if (byte(rest, 0) != 0x2C || !reaches(rest, 0, 9)) return;
  uint64_t right = little(rest, 1, 2) + little(rest, 5, 2), below = little(rest, 3, 2) + little(rest, 7, 2);
  set_size(type, right > width ? right : width, below > height ? below : height);
}

void lmm_picture_look_webp(lmm_view head, lmm_sniffed *type) {
  lmm_view chunk = after(head, 12), data = after(head, 20);
  if (STARTS(chunk, "VP8 ") && STARTS(data, "...\x9D\x01\x2A")) { /* the upper two bits are a scale for display */
    set_size(type, little(data, 6, 2) & 0x3FFF, little(data, 8, 2) & 0x3FFF);
  } else if (STARTS(chunk, "VP8L") && STARTS(data, "\x2F....")) {
    uint64_t bits = little(data, 1, 4);
    set_size(type, (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1);
  } else if (STARTS(chunk, "VP8X") && reaches(data, 4, 6)) {
    set_size(type, little(data, 4, 3) + 1, little(data, 7, 3) + 1);
    bool has_exif = (byte(data, 0) & 8) != 0;
    while (has_exif && reaches(chunk, 0, 8)) {
      uint64_t length = little(chunk, 4, 4);
      if (STARTS(chunk, "EXIF")) type->orientation = lmm_tiff_orientation(part(chunk, 8, length));
      chunk = after(chunk, 8 + length + length % 2);
    }
  }
  lmm_film_look_riff(head, type);
}
