/* fit.c: the size of a picture and what it may have at most come in; the size it is shrunk to goes out. Both modules
 * that need it have this file: lmm.core, to say it beforehand, and lmm.vips, to do it. */
#include "lmm.h"

/* A side in the same proportion as the longest one, which becomes `longest`. */
static uint32_t scaled(uint32_t side, uint32_t longest, uint32_t to) {
  uint64_t result = ((uint64_t)side * to + longest / 2) / longest;
  return result > 0 ? (uint32_t)result : 1;
}

void lmm_fit(uint32_t *width, uint32_t *height, uint32_t max_side, uint64_t max_pixels) {
  uint32_t longest = *width > *height ? *width : *height, most = longest, least = 1;
  if (longest == 0) return;
  if (max_side > 0 && max_side < most) most = max_side;
  if (max_pixels > 0) { /* the longest side of which the picture has few enough pixels; 1 is always taken */
    while (least < most) {
      uint32_t middle = least + (most - least + 1) / 2;
      bool fits = (uint64_t)scaled(*width, longest, middle) * scaled(*height, longest, middle) <= max_pixels;
      if (fits) least = middle; else most = middle - 1;
    }
  }
  uint32_t w = scaled(*width, longest, most), h = scaled(*height, longest, most);
  *width = w;
  *height = h;
}
