/* sse.c: the decoder of event streams, against one that sees the whole text at once.
 *
 * The input's first byte is the maximum (0: 1 MiB), the second how many bytes follow (up to 15) that are the lengths
 * of the pieces to cut the text into, taken round and round. */
#include "fuzz.h"

#define BIG ((size_t)1024 * 1024)
#define MOST_PIECES 15

/* ---- a list of events, as one text that tells any two lists apart ------------------------------------------------ */

static void add_string(fuzz_text *events, const char *bytes, size_t count) {
  fuzz_add(events, &count, sizeof count);
  fuzz_add(events, bytes, count);
}

static void add_event(fuzz_text *events, const char *name, size_t name_length, const char *data, size_t length) {
  fuzz_add(events, "E", 1);
  add_string(events, name, name_length);
  add_string(events, data, length);
}

static void add_limit(fuzz_text *events) { fuzz_add(events, "L", 1); }

/* ---- the reference: WHATWG HTML, sections 9.2.5 and 9.2.6, to the letter ----------------------------------------- */

typedef struct fuzz_stream {
  fuzz_text data, name, *events;
} fuzz_stream;

static void dispatch(fuzz_stream *stream) {
  if (stream->data.length > 0)
    add_event(stream->events, stream->name.data, stream->name.length, stream->data.data, stream->data.length - 1);
  stream->data.length = stream->name.length = 0;
}

static void process(fuzz_stream *stream, const char *line, size_t length) {
  char field[6] = "";
  size_t colon = 0, value = length;
  while (colon < length && line[colon] != ':') colon++;
  if (colon < length) value = colon + 1 < length && line[colon + 1] == ' ' ? colon + 2 : colon + 1;
  if (colon > 5 || memchr(line, '\0', colon) != NULL) return;
  memcpy(field, line, colon);
  if (strcmp(field, "event") == 0) {
    stream->name.length = 0;
    fuzz_add(&stream->name, line + value, length - value);
  } else if (strcmp(field, "data") == 0) {
    fuzz_add(&stream->data, line + value, length - value);
    fuzz_add(&stream->data, "\n", 1);
  }
}

/* Every line end becomes LF. */
static fuzz_text normalise(const char *text, size_t count) {
  fuzz_text lines = {NULL, 0, 0};
  for (size_t i = 0; i < count; i++) {
    bool crlf = text[i] == '\r' && i + 1 < count && text[i + 1] == '\n';
    if (!crlf) fuzz_add(&lines, text[i] == '\r' ? "\n" : text + i, 1);
  }
  return lines;
}

static void reference(fuzz_text *events, const char *text, size_t count, size_t max) {
  fuzz_text lines = normalise(text, count);
  fuzz_stream stream = {{NULL, 0, 0}, {NULL, 0, 0}, events};
  for (size_t from = 0; from < lines.length;) {
    size_t length = 0, mark = 0;
    while (from + length < lines.length && lines.data[from + length] != '\n') length++;
    if (length > max) {
      add_limit(events);
      break;
    }
    if (from + length == lines.length) break;
    if (from == 0 && length >= 3 && memcmp(lines.data, "\xEF\xBB\xBF", 3) == 0) mark = 3;
    if (length == mark)
      dispatch(&stream);
    else
      process(&stream, lines.data + from + mark, length - mark);
    if (stream.data.length > max + 1) { /* its last LF is taken off again */
      add_limit(events);
      break;
    }
    from += length + 1;
  }
  free(lines.data);
  free(stream.data.data);
  free(stream.name.data);
}

/* ---- the decoder ------------------------------------------------------------------------------------------------- */

/* A text that grows: each time another block, of its exact size. What the decoder needs no longer is taken off. */
typedef struct fuzz_window {
  char *bytes;
  size_t count;
} fuzz_window;

static void put(fuzz_window *window, const char *bytes, size_t count) {
  char *block = malloc(window->count + count);
  CHECK(block != NULL);
  if (window->count > 0) memcpy(block, window->bytes, window->count);
  if (count > 0) memcpy(block + window->count, bytes, count);
  free(window->bytes);
  *window = (fuzz_window){block, window->count + count};
}

static void take_off(fuzz_window *window, size_t count) {
  CHECK(count <= window->count);
  char *block = fuzz_copy(window->bytes + count, window->count - count);
  free(window->bytes);
  *window = (fuzz_window){block, window->count - count};
}

static bool is_bounded(const lmm_buf *buf, size_t max) {
  return buf->length <= max && buf->capacity <= (max < 128 ? 256 : 2 * max);
}

/* Gives false once the maximum was reached; then nothing may come any more. */
static bool take_events(lmm_sse *sse, const fuzz_window *window, fuzz_text *events, size_t max) {
  int code;
  while ((code = lmm_sse_next(sse, window->bytes, window->count)) == 1) {
    size_t length;
    const char *data = lmm_sse_data(sse, window->bytes, &length);
    add_event(events, sse->event.data, sse->event.length, data, length);
    CHECK(is_bounded(&sse->joined, max) && is_bounded(&sse->event, max));
  }
  CHECK(code == 0 || code == LMM_LIMIT);
  if (code == LMM_LIMIT) {
    add_limit(events);
    CHECK(lmm_sse_next(sse, window->bytes, window->count) == LMM_LIMIT);
    CHECK(sse->joined.data == NULL && sse->event.data == NULL);
  }
  return code == 0;
}

static void decode(fuzz_text *events, const char *text, size_t count, size_t max, const uint8_t *lengths,
                   size_t pieces, bool releases) {
  fuzz_window window = {NULL, 0};
  lmm_sse sse;
  lmm_sse_init(&sse, max);
  size_t empty = 0;
  bool more = true;
  for (size_t i = 0, length; count > 0 && more; i++, text += length, count -= length) {
    length = pieces > 0 ? lengths[i % pieces] : count;
    if (length > count) length = count;
    empty = length == 0 ? empty + 1 : 0;
    if (empty > MOST_PIECES) length = 1; /* so that it ends */
    put(&window, text, length);
    more = take_events(&sse, &window, events, max);
    size_t used = 0;
    if (more && releases) CHECK(lmm_sse_release(&sse, window.bytes, &used) == LMM_OK);
    take_off(&window, used);
  }
  free(window.bytes);
  lmm_sse_free(&sse);
}

static void check(const fuzz_text *expected, const char *text, size_t count, size_t max, const uint8_t *lengths,
                  size_t pieces) {
  for (int releases = 0; releases < 2; releases++) {
    fuzz_text events = {NULL, 0, 0};
    decode(&events, text, count, max, lengths, pieces, releases != 0);
    CHECK(fuzz_same(&events, expected));
    free(events.data);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  static const uint8_t one = 1;
  fuzz_input input = {bytes, count};
  size_t max = fuzz_byte(&input), pieces = fuzz_byte(&input) % (MOST_PIECES + 1);
  if (max == 0) max = BIG;
  const uint8_t *lengths = fuzz_bytes(&input, &pieces);
  const char *text = (const char *)input.at;

  fuzz_text expected = {NULL, 0, 0};
  reference(&expected, text, input.left, max);
  check(&expected, text, input.left, max, NULL, 0);
  check(&expected, text, input.left, max, &one, 1);
  check(&expected, text, input.left, max, lengths, pieces);
  free(expected.data);
  return 0;
}
