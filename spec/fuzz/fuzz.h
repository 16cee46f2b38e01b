/* fuzz.h: what the fuzz targets share. A target is given bytes, drives one part of lmm with them, and compares what
 * comes out with a reference that is slow, simple and written another way; a difference ends the process.
 *
 * Where a target needs more than a text (a maximum, places to cut at), it takes that from the first bytes of its input
 * and says so at its top. The rest of the input is the text. */
#ifndef LMM_FUZZ_H
#define LMM_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/lmm.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

#define CHECK(condition) ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))

__attribute__((noreturn)) static inline void fuzz_fail(const char *file, int line, const char *condition) {
  (void)fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
  abort();
}

/* A copy in a block of exactly its size, so that AddressSanitizer sees the first byte read or written beyond it. */
static inline void *fuzz_copy(const void *bytes, size_t count) {
  void *copy = malloc(count);
  CHECK(copy != NULL);
  if (count > 0) memcpy(copy, bytes, count);
  return copy;
}

/* ---- what is left of the input ----------------------------------------------------------------------------------- */

typedef struct fuzz_input {
  const uint8_t *at;
  size_t left;
} fuzz_input;

/* The next byte, 0 at the end. */
static inline unsigned fuzz_byte(fuzz_input *input) {
  if (input->left == 0) return 0;
  input->left--;
  return *input->at++;
}

/* The next `*count` bytes, or as many as there are. */
static inline const uint8_t *fuzz_bytes(fuzz_input *input, size_t *count) {
  const uint8_t *bytes = input->at;
  if (*count > input->left) *count = input->left;
  if (*count > 0) input->at += *count;
  input->left -= *count;
  return bytes;
}

/* ---- a text that grows ------------------------------------------------------------------------------------------- */

typedef struct fuzz_text {
  char *data;
  size_t length, capacity;
} fuzz_text;

static inline void fuzz_add(fuzz_text *text, const void *bytes, size_t count) {
  if (text->length + count > text->capacity) {
    text->capacity = 2 * (text->length + count);
    text->data = realloc(text->data, text->capacity);
    CHECK(text->data != NULL);
  }
  if (count > 0) memcpy(text->data + text->length, bytes, count);
  text->length += count;
}

static inline bool fuzz_same(const fuzz_text *one, const fuzz_text *other) {
  return one->length == other->length && (one->length == 0 || memcmp(one->data, other->data, one->length) == 0);
}

#endif
