/* error.c: a code and a sentence, from whoever found out what is wrong. */
#include <stdarg.h>
#include <stdio.h>

#include "lmm.h"

int lmm_fail(lmm_error *error, int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  error->code = code;
  (void)vsnprintf(error->message, sizeof error->message, format, arguments);
  va_end(arguments);
  return code;
}
