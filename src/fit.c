/* fit.c: the size of a picture and what it may have at most come in; the size it is shrunk to goes out. Both modules
 * that need it have this file: lmm.core, to say it beforehand, and lmm.vips, to do it. */
#include "lmm.h"

/* A side in the same proportion as the longest one, which becomes `to`; 1 at least. */
static uint32_t scaled(uint32_t side, uint32_t longest, uint32_t to) {
  uint64_t whole = longest > 0 ? longest : 1;
  uint64_t result = ((uint64_t)side * to + whole / 2) / whole;
  return result > 0 ? (uint32_t)result : 1;
}

/* The longest side of which the picture has few enough pixels; 1 is always taken. */
static uint32_t longest_within(uint32_t width, uint32_t height, uint32_t longest, uint32_t most, uint64_t max_pixels) {
  uint32_t least = 1;
  while (least < most) {
    uint32_t middle = least + (most - least + 1) / 2;
    bool fits = (uint64_t)scaled(width, longest, middle) * scaled(height, longest, middle) <= max_pixels;
    if (fits)
      least = middle;
    else
      most = middle - 1;
  }
  return most;
}

void lmm_fit(uint32_t *width, uint32_t *height, uint32_t max_side, uint64_t max_pixels) {
  uint32_t w = *width, h = *height;
  uint32_t longest = w > h ? w : h;
  if (longest == 0) return;
  uint32_t most = max_side > 0 && max_side < longest ? max_side : longest;
  if (max_pixels > 0) most = longest_within(w, h, longest, most, max_pixels);
  *width = scaled(w, longest, most);
  *height = scaled(h, longest, most);
}
