/* error.c: a code and a sentence, from whoever found out what is wrong, and how much of a text goes into one. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lmm.h"

int lmm_fail(lmm_error *error, int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  error->code = code;
  (void)vsnprintf(error->message, sizeof error->message, format, arguments);
  va_end(arguments);
  return code;
}

int lmm_cut(const char *text, size_t most) {
  size_t length = strlen(text);
  if (length <= most) return (int)length;
  while (most > 0 && ((unsigned char)text[most] & 0xC0) == 0x80) most--;
  return (int)most;
}

int lmm_shown(const char *path) { return lmm_cut(path, 300); }
