/* buf.c: bytes in, one growing block out; never more of them than `max`. */
#include <stdlib.h>
#include <string.h>

#include "lmm.h"

int lmm_buf_reserve(lmm_buf *buf, size_t count) {
  if (count > buf->max - buf->length) return LMM_LIMIT;
  size_t needed = buf->length + count;
  if (needed > buf->capacity) {
    size_t capacity = buf->capacity < 256 ? 256 : buf->capacity;
    while (capacity < needed) capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    char *data = realloc(buf->data, capacity);
    if (data == NULL) return LMM_NOMEM;
    buf->data = data;
    buf->capacity = capacity;
  }
  return LMM_OK;
}

int lmm_buf_add(lmm_buf *buf, const void *bytes, size_t count) {
  int code = lmm_buf_reserve(buf, count);
  if (code != LMM_OK || count == 0) return code;
  memcpy(buf->data + buf->length, bytes, count);
  buf->length += count;
  return LMM_OK;
}

void lmm_buf_free(lmm_buf *buf) {
  free(buf->data);
  *buf = LMM_BUF(buf->max);
}
