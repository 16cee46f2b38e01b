/* replay.c: runs a fuzz target over files, without libFuzzer. Usage: TARGET FILE... Each name is printed before its
 * file is tried, so that the last one is the file that failed. */
#include "fuzz.h"

static void *read_file(const char *name, size_t *count) {
  fuzz_text text = {NULL, 0, 0};
  char piece[4096];
  FILE *file = fopen(name, "rb");
  CHECK(file != NULL);
  while ((*count = fread(piece, 1, sizeof piece, file)) > 0) fuzz_add(&text, piece, *count);
  CHECK(ferror(file) == 0);
  (void)fclose(file);
  *count = text.length;
  void *bytes = fuzz_copy(text.data, text.length);
  free(text.data);
  return bytes;
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    size_t count;
    (void)puts(argv[i]);
    (void)fflush(stdout);
    uint8_t *bytes = read_file(argv[i], &count);
    (void)LLVMFuzzerTestOneInput(bytes, count);
    free(bytes);
  }
  return 0;
}
