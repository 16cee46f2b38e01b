/* view.h: short names of what lmm.h has for looking into files, for those who look. */
#ifndef LMM_VIEW_H
#define LMM_VIEW_H

#include "lmm.h"

#define LITERAL(text) text, sizeof(text) - 1
#define STARTS(view, text) lmm_view_matches(view, LITERAL(text))

static inline lmm_view part(lmm_view all, uint64_t at, uint64_t count) {
  if (at > all.count) at = all.count;
  if (count > all.count - at) count = all.count - at;
  return (lmm_view){all.file, all.at + at, count};
}

static inline lmm_view after(lmm_view all, uint64_t at) { return part(all, at, all.count); }

static inline bool reaches(lmm_view all, uint64_t at, uint64_t count) { return lmm_view_reaches(all, at, count); }

static inline uint64_t number(lmm_view all, uint64_t at, unsigned width, bool little) {
  return lmm_view_number(all, at, width, little);
}

static inline uint64_t big(lmm_view all, uint64_t at, unsigned width) { return number(all, at, width, false); }
static inline uint64_t little(lmm_view all, uint64_t at, unsigned width) { return number(all, at, width, true); }
static inline unsigned byte(lmm_view all, uint64_t at) { return (unsigned)number(all, at, 1, false); }

/* A size is told as a whole or not at all. */
static inline void set_size(lmm_sniffed *type, uint64_t width, uint64_t height) {
  if (width == 0 || height == 0 || width > UINT32_MAX || height > UINT32_MAX) return;
  type->width = (uint32_t)width;
  type->height = (uint32_t)height;
}

#endif
