/* lmm.h: the C side of lmm, part by part, in the order in which bytes flow.
 *
 *     utf8 -> view -> tiff, iso, ebml, film, picture, raster, sound -> sniff -> media -> fit -> shell -> base64
 *     -> tap -> literal -> body -> transport -> sse, read -> fence -> delta, kind -> answer
 *
 * lmm.core knows no socket and no libcurl: all its parts are here. lmm.curl moves what core describes: its parts are in
 * transport.h. lmm.vips makes of a picture one that a server takes: its parts are in prepare.h. lmm.digest is a tap in a
 * module of its own, for Nettle; lmm.files is what is kept on a disk (files, journal, ids). In each file the part comes
 * first and knows no Lua; its binding follows below a "Lua" banner. A part calls only what is declared above it, so that
 * no two call each other; spec/sources_spec.lua holds them to it.
 *
 * Functions that can fail return LMM_OK or one of the codes below, and say why in an lmm_error where they take one.
 */
#ifndef LMM_H
#define LMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct lua_State;

/* Files may be longer than 2 GiB on systems of 32 bits, too, by -D_FILE_OFFSET_BITS=64. */
typedef char lmm_offsets_are_wide[sizeof(off_t) >= 8 ? 1 : -1];

/* When a file was last changed, of a struct stat. */
#ifdef __APPLE__
#define LMM_MTIME(status) ((status)->st_mtimespec)
#else
#define LMM_MTIME(status) ((status)->st_mtim)
#endif

#if defined(__GNUC__)
#define LMM_EXPORT __attribute__((visibility("default")))
#else
#define LMM_EXPORT
#endif

/* The version of the library: all modules give it as `version`, and lua/lmm/version.lua names the same one. */
#define LMM_VERSION "0.1.0"
#define LMM_INTERFACE "25" /* of the C modules towards the Lua files: raised with each change, see spec/version_spec.lua */

/* ---- results ------------------------------------------------------------------------------------------------- */

enum {
  LMM_OK = 0,
  LMM_NOMEM = -1,   /* no memory: the binding raises */
  LMM_LIMIT = -2,   /* a stated maximum was reached */
  LMM_INVALID = -3, /* the input cannot be used; the message says what was wrong and what to do */
  LMM_CUT = -4      /* the input ended where more of it was needed */
};

typedef struct lmm_error {
  int code;          /* one of the above */
  char message[512]; /* a complete sentence, cut at the end if need be */
} lmm_error;

/* Fills `error` and returns `code`. */
int lmm_fail(lmm_error *error, int code, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;
/* How many bytes of a text there are, at most `most`, cut between characters. */
int lmm_cut(const char *text, size_t most);
/* How much of a path goes into a message, so that what is said of it has room too. */
int lmm_shown(const char *path);

/* ---- buf: a growable byte buffer that names its maximum ------------------------------------------------------- */

typedef struct lmm_buf {
  char *data;
  size_t length, capacity;
  size_t max; /* bytes; lmm_buf_add beyond it is LMM_LIMIT and adds nothing */
} lmm_buf;

#define LMM_BUF(maximum) ((lmm_buf){NULL, 0, 0, (maximum)})

int lmm_buf_reserve(lmm_buf *buf, size_t count); /* makes room for so many more behind `length` */
int lmm_buf_add(lmm_buf *buf, const void *bytes, size_t count);
void lmm_buf_free(lmm_buf *buf); /* empties it and gives its memory back; `max` stays */

/* ---- utf8: what may stand in a JSON text ------------------------------------------------------------------------ */

/* The offset of the first byte that is not part of well-formed UTF-8 (RFC 3629), or `count`. */
size_t lmm_utf8_check(const char *text, size_t count);
/* How many bytes at the beginning of `text` are well-formed characters beyond ASCII. */
size_t lmm_utf8_beyond_ascii(const char *text, size_t count);

/* How many bytes of `text` there are without a character at its end of which bytes are still missing. */
size_t lmm_utf8_whole(const char *text, size_t count);

/* ---- view: a stretch of a file, read where it is looked at ------------------------------------------------------ */

#define LMM_SNIFF_BYTES ((size_t)256 * 1024) /* of a file's beginning: they are at hand */
#define LMM_HOP_BYTES ((size_t)1024)         /* read at once beyond them, */
#define LMM_HOPS 512u                        /* and so many times at most: what lies further is not known */
#define LMM_VIEW_WIDEST (LMM_HOP_BYTES / 2)  /* as much as one look takes in */

typedef struct lmm_file {
  const unsigned char *head; /* borrowed: the first LMM_SNIFF_BYTES, or all of a shorter file */
  size_t head_count;
  uint64_t size;
  /* Reads `count` bytes at `at`, which the file has; gives how many there were, fewer where that fails. */
  size_t (*read)(const void *source, uint64_t at, void *out, size_t count);
  const void *source;
  unsigned char window[LMM_HOP_BYTES]; /* what was read last */
  uint64_t window_at;
  size_t window_count;
  unsigned hops;
  bool is_exhausted; /* something was asked for that could not be read: what was not found may be there all the same */
} lmm_file;

typedef struct lmm_view {
  lmm_file *file;
  uint64_t at, count;
} lmm_view;

/* The head need not be as long as it may: whatever is not in it is read. */
void lmm_view_open(lmm_file *file, const void *head, size_t head_count, uint64_t size,
                   size_t (*read)(const void *, uint64_t, void *, size_t), const void *source);
/* Whether the view has `count` bytes at `at` that can still be read. Each loop over a view asks this, and so ends. */
bool lmm_view_reaches(lmm_view view, uint64_t at, uint64_t count);
/* The number in `width` bytes (at most 8) at `at`; 0 where not all of them are there. */
uint64_t lmm_view_number(lmm_view view, uint64_t at, unsigned width, bool little);
/* Whether the view begins with `text` (at most LMM_VIEW_WIDEST); a '.' in it stands for any byte. */
bool lmm_view_matches(lmm_view view, const char *text, size_t length);
/* Looks for `text` in all of the view; true, and where it begins. */
bool lmm_view_find(lmm_view view, const char *text, size_t length, uint64_t *at);
bool lmm_view_find_last(lmm_view view, const char *text, size_t length, uint64_t *at);

/* What a file is. The looks below fill it; each adds to, corrects or withdraws what the first bytes have claimed. */
typedef struct lmm_sniffed {
  const char *mime;       /* NULL where the type is unknown; static storage */
  uint32_t width, height; /* pixels as shown, in lmm_sniff's result; in a look as stored, and clapped; 0: not told */
  unsigned orientation;   /* how the stored picture is turned to be shown, 1 to 8 as EXIF counts; 0 where not told */
  bool has_pictures;      /* a film's tracks, where they were found */
  bool has_sound;
  bool has_no_end;        /* a JPEG without the marker of its end */
  bool is_text;           /* text in UTF-8, as far as the head goes */
  char cut[96];           /* where its end is surely missing: how that shows, as "it ...", else empty */
} lmm_sniffed;

/* ---- tiff: directories of fields: TIFF, BigTIFF, camera raw, EXIF ------------------------------------------------ */

void lmm_tiff_look(lmm_view head, lmm_sniffed *type);
unsigned lmm_tiff_orientation(lmm_view exif); /* of EXIF data; 0 where it does not tell */

/* ---- iso: boxes (ISO/IEC 14496-12): MP4, QuickTime, HEIF, AVIF, JPEG 2000 ---------------------------------------- */

void lmm_iso_look(lmm_view head, lmm_sniffed *type);           /* that begins with ftyp */
void lmm_iso_look_quicktime(lmm_view head, lmm_sniffed *type); /* that does not */
void lmm_iso_look_jpeg2000(lmm_view head, lmm_sniffed *type);

/* ---- ebml: Matroska and WebM (RFC 8794, RFC 9559) ---------------------------------------------------------------- */

void lmm_ebml_look(lmm_view head, lmm_sniffed *type);

/* ---- film: RIFF, FLV, ASF, MPEG streams ------------------------------------------------------------------------------ */

void lmm_film_look_riff(lmm_view head, lmm_sniffed *type); /* whether all of it is there */
void lmm_film_look_flv(lmm_view head, lmm_sniffed *type);
void lmm_film_look_asf(lmm_view head, lmm_sniffed *type);
void lmm_film_look_packets(lmm_view head, lmm_sniffed *type); /* MPEG-TS */
void lmm_film_look_program(lmm_view head, lmm_sniffed *type); /* MPEG-PS */

/* ---- picture: JPEG, PNG, GIF, WebP -------------------------------------------------------------------------------- */

void lmm_picture_look_jpeg(lmm_view head, lmm_sniffed *type);
void lmm_picture_look_png(lmm_view head, lmm_sniffed *type);
void lmm_picture_look_gif(lmm_view head, lmm_sniffed *type);
void lmm_picture_look_webp(lmm_view head, lmm_sniffed *type);

/* ---- raster: pictures that say their size in a short header ------------------------------------------------------- */

void lmm_raster_look_bmp(lmm_view head, lmm_sniffed *type);
void lmm_raster_look_icon(lmm_view head, lmm_sniffed *type);
void lmm_raster_look_netpbm(lmm_view head, lmm_sniffed *type);
void lmm_raster_look_pcx(lmm_view head, lmm_sniffed *type);
void lmm_raster_look_psd(lmm_view head, lmm_sniffed *type);
void lmm_raster_look_qoi(lmm_view head, lmm_sniffed *type);
void lmm_raster_look_fits(lmm_view head, lmm_sniffed *type);
void lmm_raster_look_codestream(lmm_view head, lmm_sniffed *type); /* JPEG 2000 without boxes */
void lmm_raster_look_tga(lmm_view head, lmm_sniffed *type);

/* ---- sound: MPEG audio, AAC, ID3, Ogg ------------------------------------------------------------------------------ */

void lmm_sound_look_frames(lmm_view head, lmm_sniffed *type); /* MPEG audio or ADTS */
void lmm_sound_look_zeros(lmm_view head, lmm_sniffed *type);  /* the same behind zeros */
void lmm_sound_look_id3(lmm_view head, lmm_sniffed *type);
void lmm_sound_look_ogg(lmm_view head, lmm_sniffed *type);

/* ---- sniff: what kind of file its bytes make it ---------------------------------------------------------------- */

lmm_sniffed lmm_sniff(lmm_file *file);

/* ---- media: the bytes behind a content part, either a file's or the caller's ----------------------------------- */

typedef struct lmm_media {
  char *path;        /* a file, owned; NULL where the bytes are the caller's */
  const char *bytes; /* borrowed: they must outlive the media */
  uint64_t size;     /* bytes, never 0 */
  uint64_t inode;    /* this and the next tell whether the file is still the same */
  struct timespec mtime;
  char first[16]; /* the first bytes, for messages; `size` of them where it is smaller */
  lmm_sniffed type;
} lmm_media;

/* Both look at the source but do not keep it open. A media is not changed by reading it: many bodies may share it. */
int lmm_media_file(lmm_media *media, const char *path, lmm_error *error);
int lmm_media_bytes(lmm_media *media, const char *bytes, size_t count, lmm_error *error);
void lmm_media_free(lmm_media *media);
/* Fails: it is not what it was when the part was made. */
int lmm_media_changed(const lmm_media *media, lmm_error *error);

/* One pass over a media's bytes. Opening and reading a file that is not what it was when the media was made fails. */
typedef struct lmm_reader {
  const lmm_media *media; /* NULL while closed */
  int fd;
  uint64_t offset;
} lmm_reader;

int lmm_reader_open(lmm_reader *reader, const lmm_media *media, lmm_error *error);
/* Fills all of `out` unless the end comes first; gives the count, 0 at the end, or a negative code. */
ptrdiff_t lmm_reader_read(lmm_reader *reader, void *out, size_t capacity, lmm_error *error);
void lmm_reader_close(lmm_reader *reader);

/* ---- fit: how far a picture is to be shrunk ---------------------------------------------------------------------- */

/* Shrinks the size in the same proportion until no side is longer than `max_side` and the picture has no more than
 * `max_pixels`; 0 stands for no limit. Nothing becomes larger, and no side shorter than 1. */
void lmm_fit(uint32_t *width, uint32_t *height, uint32_t max_side, uint64_t max_pixels);

/* ---- shell: programs beside this one ----------------------------------------------------------------------------- */

/* Whether the shell ran a command, and it ended with 0; of what this process has open it gets the first three alone. */
bool lmm_shell_run(const char *command);

/* ---- base64: RFC 4648 section 4, padded, without line breaks --------------------------------------------------- */

#define LMM_BASE64_LENGTH(count) (((count) + 2) / 3 * 4)

/* Encodes the leading whole triples that the kernel can take in its stride (`count` bytes at `in`) and returns how
 * many bytes it consumed, a multiple of 3. May work in place where `out` never overtakes `in`. */
typedef size_t lmm_base64_kernel_fn(char *out, const unsigned char *in, size_t count);

typedef struct lmm_base64_kernel {
  const char *name; /* "avx512", "avx2", "ssse3", "libb64" */
  lmm_base64_kernel_fn *encode;
  bool (*supported)(void); /* by the processor this runs on */
} lmm_base64_kernel;

extern const lmm_base64_kernel lmm_base64_kernels[]; /* best first; ends with a row whose name is NULL */

/* The one named, or NULL where it is unknown or not supported here. For NULL: the one that $LMM_BASE64 named when
 * lmm_base64_open read it, else the best supported. */
const lmm_base64_kernel *lmm_base64_find(const char *name);

/* Writes LMM_BASE64_LENGTH(count) characters. May work in place where `in` lies at or behind out + length - count. */
size_t lmm_base64_encode(const lmm_base64_kernel *kernel, char *out, const unsigned char *in, size_t count);

/* Strict: standard alphabet, full padding, zero trailing bits, nothing else. Writes at most count / 4 * 3 bytes.
 * Gives the number of bytes, or -1 - (offset of the first bad byte; `count` where the text is too short). */
ptrdiff_t lmm_base64_decode(unsigned char *out, const char *in, size_t count);

/* ---- source and sink: what a transfer sends, and where what it receives goes; all that the two modules share ------ */

#define LMM_SOURCE_KEY "lmm.source" /* in the metatable: LMM_SOURCE_ABI */
#define LMM_SOURCE_ABI 1
#define LMM_SOURCE_MIN ((size_t)4) /* the least capacity that `read` takes */

typedef struct lmm_source lmm_source;

struct lmm_source {
  uint64_t (*size)(const lmm_source *source);                                               /* bytes, exact */
  ptrdiff_t (*read)(lmm_source *source, char *out, size_t capacity, lmm_error *error); /* 0 at the end, < 0 a code */
  int (*rewind)(lmm_source *source, lmm_error *error);
};

#define LMM_SINK_KEY "lmm.sink" /* in the metatable: LMM_SINK_ABI */
#define LMM_SINK_ABI 1

typedef struct lmm_sink lmm_sink;

struct lmm_sink {
  int (*feed)(lmm_sink *sink, const char *bytes, size_t count); /* LMM_OK or a code; what is too much, the sink tells */
};

/* ---- tap: what sees the bytes of a media as they are sent, and gives the name that stands behind them ------------- */

#define LMM_TAP_KEY "lmm.tap" /* in the metatable: LMM_TAP_ABI */
#define LMM_TAP_ABI 1
#define LMM_TAP_NAME ((size_t)64) /* characters of a name, which JSON writes as they are */

typedef struct lmm_tap lmm_tap;

/* Each gives LMM_OK or a code. A media that is read again begins again. Of several that stand behind each other it sees
 * the bytes as one's, behind those of each but the last their count, in eight bytes, the least first. */
struct lmm_tap {
  int (*begin)(lmm_tap *tap);
  int (*feed)(lmm_tap *tap, const void *bytes, size_t count);
  int (*end)(lmm_tap *tap);              /* LMM_INVALID where these are not the bytes that it was to see */
  int (*name)(lmm_tap *tap, char *out); /* LMM_INVALID where it is not known before the end */
};

/* ---- literal: text and numbers as JSON (RFC 8259) --------------------------------------------------------------- */

/* Each adds one JSON value to the end of `buf`, and nothing where it fails: LMM_NOMEM, or LMM_INVALID for text that is
 * not UTF-8 (`bad` is then the offset of the first byte that is wrong) and for a number that is not finite. Where `bad`
 * is NULL, a broken character becomes U+FFFD. */
int lmm_literal_text(lmm_buf *buf, const char *text, size_t count, size_t *bad);
int lmm_literal_integer(lmm_buf *buf, int64_t value);
/* In the shortest form that reads back as the same number; whole numbers below 2^63 without a point or exponent. */
int lmm_literal_number(lmm_buf *buf, double value);

/* ---- body: a request body, pulled piece by piece: text, and media in it, as base64 or as they are ----------------- */

enum {
  LMM_INSERT_BASE64, /* a media's bytes in base64, */
  LMM_INSERT_RAW,    /* or as they are */
  LMM_INSERT_NAME,   /* the tap's name for the media that it saw before */
  LMM_INSERT_KNOWN,  /* from here to the end of it stands a value that the server may have already: such a body can be */
  LMM_INSERT_KNOWN_END /* read with a null in its place */
};

typedef struct lmm_insert {
  size_t at; /* the offset in the text before which it goes */
  int kind;
  const lmm_media *media; /* borrowed, as the tap is; NULL where the kind has none */
  lmm_tap *tap;           /* that sees the media's bytes, or gives the name; may be NULL beside a media */
} lmm_insert;

typedef struct lmm_body {
  lmm_source source; /* first, so that a body is a source */
  const lmm_base64_kernel *kernel;
  const char *text; /* borrowed, as the inserts are; NULL once closed */
  size_t length;
  const lmm_insert *inserts; /* `count` of them, in the order of their places */
  size_t count;
  size_t offset; /* in the text: what is read next, */
  size_t next;   /* unless this insert's place is there */
  bool is_brief; /* values that the server may have are read as null */
  char word[LMM_TAP_NAME]; /* a name, or the null: what is read before anything else, */
  size_t word_at, word_count; /* from here up to there */
  lmm_reader reader;
  lmm_buf buffer; /* for a caller that has none of its own, as the Lua binding; freed with the body */
} lmm_body;

/* `is_brief`: values that the server may have are read as null. */
void lmm_body_init(lmm_body *body, const char *text, size_t length, const lmm_insert *inserts, size_t count,
                   bool is_brief);
uint64_t lmm_body_size(const lmm_body *body); /* bytes, of the media as they now are */
void lmm_body_close(lmm_body *body);

/* ---- read: the tokens of a JSON text ---------------------------------------------------------------------------- */

typedef struct lmm_number {
  bool is_integer;
  int64_t integer;
  double value; /* where it is no integer */
} lmm_number;

/* Reads the number at `*at`, as JSON spells it: a whole one that fits becomes an integer. Moves `*at` behind it, or to
 * where it is wrong (LMM_INVALID), or needs more than there is before `end` (LMM_CUT). */
int lmm_number_read(const char **at, const char *end, lmm_number *number);

enum {
  LMM_JSON_MORE = 0, /* the text that was fed is used up */
  LMM_JSON_OBJECT,
  LMM_JSON_OBJECT_END,
  LMM_JSON_LIST,
  LMM_JSON_LIST_END,
  LMM_JSON_KEY,    /* a name in an object; like a string: json->start, count, escaped */
  LMM_JSON_STRING,
  LMM_JSON_NUMBER, /* json->number */
  LMM_JSON_TRUE,
  LMM_JSON_FALSE,
  LMM_JSON_NULL,
  LMM_JSON_END     /* the whole text was read, and nothing follows */
};

typedef struct lmm_json {
  const char *text; /* borrowed */
  size_t length;
  bool is_last;   /* nothing comes behind `length` */
  bool lenient;   /* NaN, Infinity and -Infinity are numbers */
  bool escaped;   /* the string holds escapes: lmm_json_unescape */
  int expect;     /* what may come next */
  int failed;     /* the code, once it did */
  size_t at;      /* where in the text the next token begins */
  size_t scanned; /* up to where that token was looked at before it was all there */
  size_t start, count; /* of the string, without its quotes */
  lmm_number number;
  size_t *levels; /* borrowed: for each list and object around, twice the values begun in it, and 1 for an object */
  size_t depth, max_depth;
  size_t containers;    /* lists and objects begun so far */
  size_t fault;         /* where it failed, and what should have stood there, or what was cut off */
  const char *expected;
} lmm_json;

/* `levels` has room for max_depth entries. */
void lmm_json_init(lmm_json *json, size_t *levels, size_t max_depth, bool lenient);
/* Gives the text from its first byte on, as far as it is there: the same bytes as before, at any place, and more. */
void lmm_json_feed(lmm_json *json, const char *text, size_t length, bool is_last);
/* The next token, or a code, and then ever again: LMM_INVALID, LMM_CUT (after the last byte), LMM_LIMIT (depth). Time
 * is linear in the text, in however many pieces it comes, and no token is given that more bytes could change. */
int lmm_json_next(lmm_json *json);
/* Reads the rest of the value that began with `token`; gives its last token, LMM_JSON_MORE or a code. */
int lmm_json_skip(lmm_json *json, int token);
void lmm_json_explain(const lmm_json *json, lmm_error *error); /* what failed, in a sentence */
/* Writes what a string's bytes stand for, at most `count` of them; `out` may be `raw`. Half a surrogate pair becomes
 * U+FFFD. With `halves`, a low half at the beginning and a high one at the end are kept, as three bytes each, and
 * *halves becomes true: what is before or behind may have the other half. */
size_t lmm_json_unescape(char *out, const char *raw, size_t count, bool *halves);

/* ---- fence: the marks of Markdown's code blocks, which models put around JSON ------------------------------------- */

typedef struct lmm_fence {
  int state;
  size_t at;       /* how far the text was looked at */
  size_t begin;    /* where the JSON begins, once that is told; 0 without a fence */
  unsigned marks;  /* backticks that open it */
  unsigned closing; /* backticks that close it, so far */
  unsigned letters; /* of the language's name */
  bool is_fenced;
} lmm_fence;

/* Both take the text from its first byte on, as far as it is there, and look at no byte twice. A fence is three backticks
 * or more with a name of up to 16 letters ("json"), which white space or the JSON itself ends. */
/* Whether it is told where the JSON begins. A text that begins in another way has no fence. */
bool lmm_fence_open(lmm_fence *fence, const char *text, size_t count, bool is_last);
/* The JSON of a fenced text ended at `end`. Whether what follows is a fence's end and white space, as far as it is there;
 * where it is not, the JSON reader tells from `at` on what does not belong there. A fence that is never closed will do. */
bool lmm_fence_close(lmm_fence *fence, const char *text, size_t end, size_t count, bool is_last);

/* ---- slice: a place in a JSON text ------------------------------------------------------------------------------- */

/* Behind the first token of a list or of an object: go to the item of this number, from 1, or to the last field of this
 * name. Each gives the first token of its value, or 0 where there is none. */
int lmm_json_enter_list(lmm_json *json, size_t number);
int lmm_json_enter_object(lmm_json *json, const char *name, size_t length);

/* ---- header: the lines of a reply's header ------------------------------------------------------------------------ */

typedef struct lmm_header {
  const char *at, *end; /* what is still to be looked at */
  const char *name, *value;
  size_t name_length, value_length;
} lmm_header;

/* Gives the next header, whose name and value are borrowed from the text. The first line, which is the status line, and
 * lines that are no header are passed over. False: there is no more. */
bool lmm_header_next(lmm_header *header);

/* ---- sse: the events in a text/event-stream (WHATWG HTML, section 9.2) ------------------------------------------ */

typedef struct lmm_sse {
  size_t max;        /* bytes, of each line and of each event's data */
  size_t at;         /* where in the text the line under way begins */
  size_t lf, cr;     /* up to where a line end of either kind was looked for */
  size_t data, count; /* the event's data, where it has one line: in the text */
  lmm_buf joined;    /* the same, where it has more lines */
  lmm_buf event;     /* the event's name */
  bool is_joined;
  bool has_data;
  bool begun;     /* the place for a byte order mark has passed */
  bool after_cr;  /* a CR ended the last line: a LF that follows belongs to it */
  bool delivered; /* the event was given by the last lmm_sse_next */
  bool failed;
} lmm_sse;

void lmm_sse_init(lmm_sse *sse, size_t max_event);
/* `text` is the stream from its first byte on, as far as it is there. 1: an event is complete, until the next call. 0:
 * more bytes are needed. < 0: a code. Time is linear in the text, in however many pieces it comes. */
int lmm_sse_next(lmm_sse *sse, const char *text, size_t length);
/* Takes what stands behind the last line end for a line, and the end of the text for an empty one. */
int lmm_sse_finish(lmm_sse *sse, const char *text, size_t length);
const char *lmm_sse_data(const lmm_sse *sse, const char *text, size_t *count); /* the event's data */
/* The beginning of the text that is no longer needed: so many bytes, which the caller takes off. */
int lmm_sse_release(lmm_sse *sse, const char *text, size_t *count);
void lmm_sse_free(lmm_sse *sse);

/* ---- delta: what one event adds to a streamed answer ------------------------------------------------------------ */

typedef struct lmm_delta {
  size_t start, count; /* the piece of text: the bytes of a JSON string, none where the delta says nothing at all */
  bool escaped;        /* it holds escapes: lmm_json_unescape */
  bool is_reasoning;
  bool is_reasoning_content; /* under this name */
  bool has_id, has_model; /* the event names the reply or the model */
} lmm_delta;

/* Whether the event's JSON is well-formed and a plain delta: one choice, with index 0 or none, that has not ended and
 * whose delta holds at most one piece of text or reasoning, and nothing else beside a role; no error, usage, logprobs
 * or citations. Empty texts, lists and objects say nothing, and nor do fields of an event or a choice not named here.
 */
bool lmm_delta_read(lmm_delta *delta, const char *text, size_t length);

/* ---- kind: what came, by its bytes ------------------------------------------------------------------------------ */

enum { LMM_REPLY_UNKNOWN, LMM_REPLY_JSON, LMM_REPLY_EVENTS, LMM_REPLY_OTHER };

/* What a reply is, by its first bytes that are neither white space nor a byte order mark. Those in between are passed:
 * `*begin`, 0 at first, says how far, so that no byte is looked at often however many pieces they come in. */
int lmm_reply_kind(const char *bytes, size_t count, bool is_finished, size_t *begin);
/* Where a JSON text ends behind which servers of streams put `data: [DONE]` and white space. */
size_t lmm_reply_json_end(const char *text, size_t begin, size_t end);

enum { LMM_DATA_NOTHING, LMM_DATA_DONE, LMM_DATA_EVENT };

/* What the data of an event is. Keep-alives come as null, as empty data, and as comments in the place of data; [DONE]
 * comes in quotes, too. Nothing in an event named "error" is a keep-alive. */
int lmm_data_kind(const lmm_sse *sse, const char *data, size_t count);

/* ---- answer: all of one reply's body, and what is in it --------------------------------------------------------- */

/* Text that comes in pieces. A character may come in two halves, in two pieces: the first waits for the other. */
typedef struct lmm_text {
  lmm_buf bytes;
  bool has_half; /* the last three bytes are half of a surrogate pair, as lmm_json_unescape keeps them */
} lmm_text;

/* A part of a text that is now complete; valid until the text grows. */
typedef struct lmm_piece {
  const char *bytes;
  size_t count;
} lmm_piece;

int lmm_text_add(lmm_text *text, const char *bytes, size_t count, bool escaped, lmm_piece *piece);
bool lmm_text_end(lmm_text *text, lmm_piece *piece); /* where a half waits, U+FFFD is the last piece */

enum {
  LMM_ANSWER_MORE = 0,  /* more bytes are needed; when finished: there is nothing more */
  LMM_ANSWER_TEXT,      /* a plain delta with a piece of the text */
  LMM_ANSWER_REASONING, /* a plain delta with a piece of the reasoning */
  LMM_ANSWER_EMPTY,     /* a plain delta that says nothing */
  LMM_ANSWER_EVENT,     /* any other event */
  LMM_ANSWER_DONE,      /* [DONE] */
  LMM_ANSWER_WHOLE      /* the reply is one JSON text, and this is it */
};

typedef struct lmm_answer {
  lmm_buf bytes; /* all that came */
  lmm_sse sse;
  lmm_text text, reasoning;
  int kind;            /* LMM_REPLY_... */
  size_t given;        /* the events up to here were given */
  size_t begin, end;   /* a JSON text */
  bool has_current;    /* lmm_answer_data is the JSON of what was given last */
  bool has_first, has_id, has_model;
  bool has_reasoning_content; /* a plain delta named it so */
  bool is_full;     /* more came than bytes.max */
  bool is_finished; /* no more will come */
  bool is_ended;    /* and what stood behind the last event was looked at */
  bool is_done;     /* [DONE] is to be given next */
} lmm_answer;

void lmm_answer_init(lmm_answer *answer, size_t max_reply, size_t max_event);
/* LMM_LIMIT beyond max_reply; lmm_answer_next gives it, too, after what came before. */
int lmm_answer_feed(lmm_answer *answer, const char *bytes, size_t count);
void lmm_answer_finish(lmm_answer *answer); /* the input ended well */
int lmm_answer_kind(lmm_answer *answer);
/* What comes next, LMM_ANSWER_..., or a code: LMM_LIMIT where an event or (is_full) the reply is too long. Skips what
 * holds nothing: comments, empty data, null, and what LMM_ANSWER_EMPTY is, unless `all`. The first event, and the first
 * that names the reply or its model, are given as LMM_ANSWER_EVENT whatever they hold. */
int lmm_answer_next(lmm_answer *answer, bool all, lmm_piece *piece);
const char *lmm_answer_data(const lmm_answer *answer, size_t *count); /* of what was given last */
/* Goes once more through the events that were given, with a decoder of its own: 1 and the JSON of the next one; 0 at
 * the end; or a code. */
int lmm_answer_replay(const lmm_answer *answer, lmm_sse *sse, const char **data, size_t *count);
void lmm_answer_free(lmm_answer *answer);

/* ---- the parts' Lua bindings: each pushes one value ------------------------------------------------------------- */

int lmm_base64_open(struct lua_State *L); /* { encode, decode, kernels } */
int lmm_media_open(struct lua_State *L);  /* media(source) */
int lmm_body_open(struct lua_State *L);   /* body(text) */
int lmm_slice_open(struct lua_State *L);  /* slice(text, name or number, ...) */
int lmm_slice_list_open(struct lua_State *L); /* slices(text, name or number, ...) */
int lmm_slice_line_open(struct lua_State *L);   /* line(text) */
int lmm_header_open(struct lua_State *L); /* headers(text) */
int lmm_sse_open(struct lua_State *L);    /* sse(max_event) */
int lmm_answer_open(struct lua_State *L); /* answer{ reply, event, depth } */
int lmm_text_open(struct lua_State *L);   /* join(pieces) */
int lmm_decode_open(struct lua_State *L); /* decode(text, opts?) */
int lmm_grow_open(struct lua_State *L);   /* grow(opts) */
int lmm_array_open(struct lua_State *L);  /* the metatable of lists */
int lmm_null_open(struct lua_State *L);   /* what stands for null */
int lmm_load_open(struct lua_State *L);   /* load(path, is_aside) */
int lmm_compiled_open(struct lua_State *L); /* compiled(folder, name) */
int lmm_journal_open(struct lua_State *L); /* of lmm.files: { open, is_open, ids } */
int lmm_ids_open(struct lua_State *L);     /* of lmm.files.journal: ids(path) */
/* write, encode, embed, concat and mark go to the module's table on the top, and `with` to the body's methods. */
void lmm_write_open(struct lua_State *L);

/* ---- files: what is to last, whatever happens to the machine ----------------------------------------------------- */

/* Makes the bytes of a file last, where the file system knows how; -1: errno tells why. */
int lmm_sync(int fd);
/* Reads `count` bytes at `at`, fewer where the file ends before; gives how many, or -1: errno tells why. */
ptrdiff_t lmm_read_at(int fd, uint64_t at, void *out, size_t count);
/* The name of a file in a folder lasts once the folder is written, too. Not every file system knows how, and a folder may
 * be one that nobody can read: both are passed over. */
int lmm_sync_folder_of(const char *path, lmm_error *error);
/* A descriptor of an empty file without a name beside `path`, which is gone with it; -1: errno tells why. */
int lmm_open_temporary(const char *path);

#endif
