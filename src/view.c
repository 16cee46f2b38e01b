/* view.c: files come in, of which the beginning is at hand; numbers and texts at any place in them go out. The bytes are
 * a stranger's and may lie: a view gives zeros beyond its end, and what lies beyond the file's beginning is read in a
 * bounded number of hops, so that no file takes long. */
#include <string.h>

#include "view.h"

void lmm_view_open(lmm_file *file, const void *head, size_t head_count, uint64_t size,
                   size_t (*read)(const void *, uint64_t, void *, size_t), const void *source) {
  memset(file, 0, sizeof *file);
  file->head = head;
  file->head_count = head_count < LMM_SNIFF_BYTES ? head_count : LMM_SNIFF_BYTES;
  file->size = size;
  file->read = read;
  file->source = source;
  file->hops = LMM_HOPS;
}

bool lmm_view_reaches(lmm_view view, uint64_t at, uint64_t count) {
  if (at > view.count || count > view.count - at) return false;
  return !view.file->is_exhausted || view.at + at + count <= view.file->head_count;
}

/* The file's bytes at `at`, `count` of them (at most LMM_VIEW_WIDEST, and the file has them); NULL where they cannot be
 * read any more. They hold until the next call. */
static const unsigned char *bytes_at(lmm_file *file, uint64_t at, size_t count) {
  if (at + count <= file->head_count) return file->head + at;
  if (at < file->window_at || at + count > file->window_at + file->window_count) {
    if (file->hops == 0) file->is_exhausted = true;
    if (file->is_exhausted) return NULL;
    file->hops--;
    file->window_at = at - at % LMM_VIEW_WIDEST; /* so that to go backwards costs no hop for each byte */
    uint64_t left = file->size - file->window_at;
    size_t wanted = left < LMM_HOP_BYTES ? (size_t)left : LMM_HOP_BYTES;
    file->window_count = file->read(file->source, file->window_at, file->window, wanted);
    if (file->window_count < wanted) file->is_exhausted = true;
  }
  return file->is_exhausted ? NULL : file->window + (at - file->window_at);
}

uint64_t lmm_view_number(lmm_view view, uint64_t at, unsigned width, bool little) {
  if (!lmm_view_reaches(view, at, width)) return 0;
  const unsigned char *bytes = bytes_at(view.file, view.at + at, width);
  uint64_t value = 0;
  for (unsigned i = 0; bytes != NULL && i < width; i++) value = value << 8 | bytes[little ? width - 1 - i : i];
  return value;
}

bool lmm_view_matches(lmm_view view, const char *text, size_t length) {
  if (!lmm_view_reaches(view, 0, length)) return false;
  const unsigned char *bytes = bytes_at(view.file, view.at, length);
  for (size_t i = 0; bytes != NULL && i < length; i++)
    if (text[i] != '.' && bytes[i] != (unsigned char)text[i]) return false;
  return bytes != NULL;
}

bool lmm_view_find(lmm_view view, const char *text, size_t length, uint64_t *at) {
  for (*at = 0; lmm_view_reaches(view, *at, length); ++*at)
    if (lmm_view_matches(after(view, *at), text, length)) return true;
  return false;
}

bool lmm_view_find_last(lmm_view view, const char *text, size_t length, uint64_t *at) {
  if (view.count < length) return false;
  for (*at = view.count - length + 1; *at > 0 && lmm_view_reaches(view, *at - 1, length);)
    if (lmm_view_matches(after(view, --*at), text, length)) return true;
  return false;
}
