/* stuck_decoder.c: a decoder of JPEG whose first $STUCK calls do not return, to be preloaded. Each of them makes the
 * file $STUCK_FILE. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

typedef unsigned read_scanlines(void *, void *, unsigned);

unsigned jpeg_read_scanlines(void *decoder, void *lines, unsigned count) {
  static int calls;
  const char *stuck = getenv("STUCK");
  if (__atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED) < atoi(stuck != NULL ? stuck : "0")) {
    const char *name = getenv("STUCK_FILE");
    if (name != NULL) (void)open(name, O_CREAT, 0600);
    (void)sleep(3600);
  }
  read_scanlines *next = NULL;
  *(void **)&next = dlsym(RTLD_NEXT, "jpeg_read_scanlines");
  if (next == NULL) *(void **)&next = dlsym(dlopen("libjpeg.so.62", RTLD_NOW), "jpeg_read_scanlines");
  return next(decoder, lines, count);
}
