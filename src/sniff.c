/* sniff.c: what kind of file its first bytes make it. Bytes come in; a MIME type and, for an image, its size in pixels
 * go out. The bytes are a stranger's and may lie: everything is read through a `view`, which gives zeros beyond its
 * end, and every loop takes at least one byte off a view, so that the time is linear. What is cut short is either
 * still certain or unknown, never guessed. */
#include <string.h>

#include "lmm.h"

/* ---- views: bounded bytes --------------------------------------------------------------------------------------- */

typedef struct view {
  const unsigned char *bytes;
  size_t count;
} view;

static view part(view all, uint64_t at, uint64_t count) {
  if (at > all.count) at = all.count;
  if (count > all.count - at) count = all.count - at;
  return (view){all.bytes + at, (size_t)count};
}

static view after(view all, uint64_t at) { return part(all, at, all.count); }

static bool reaches(view all, uint64_t at, uint64_t count) { return at <= all.count && count <= all.count - at; }

/* The number in `width` bytes (at most 8) at `at`; 0 where not all of them are there. */
static uint64_t number(view all, uint64_t at, unsigned width, bool little) {
  uint64_t value = 0;
  if (!reaches(all, at, width)) return 0;
  for (unsigned i = 0; i < width; i++) value = value << 8 | all.bytes[at + (little ? width - 1 - i : i)];
  return value;
}

static uint64_t big(view all, uint64_t at, unsigned width) { return number(all, at, width, false); }
static uint64_t little(view all, uint64_t at, unsigned width) { return number(all, at, width, true); }

/* `text` may contain NUL; a '.' in it stands for any byte. */
static bool matches(view all, const char *text, size_t length) {
  if (length > all.count) return false;
  for (size_t i = 0; i < length; i++)
    if (text[i] != '.' && all.bytes[i] != (unsigned char)text[i]) return false;
  return true;
}

#define LITERAL(text) text, sizeof(text) - 1
#define STARTS(all, text) matches(all, LITERAL(text))

/* A size is told as a whole or not at all. */
static void set_size(lmm_sniffed *type, uint64_t width, uint64_t height) {
  if (width == 0 || height == 0 || width > UINT32_MAX || height > UINT32_MAX) return;
  type->width = (uint32_t)width;
  type->height = (uint32_t)height;
}

/* ---- images. Each look_ function adds to, corrects or withdraws what the file's first bytes have claimed. -------- */

/* The frame header may stand behind any number of segments. Bytes between segments and fill bytes are passed over, as
 * libjpeg does. A height of 0 is told later in the file, by a DNL segment. */
static void look_jpeg(view head, lmm_sniffed *type) {
  size_t at = 2;
  while (at < head.count) {
    if (head.bytes[at++] != 0xFF) continue;
    while (at < head.count && head.bytes[at] == 0xFF) at++;
    unsigned marker = (unsigned)big(head, at++, 1);
    if (marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD8)) continue; /* these have no length */
    uint64_t length = big(head, at, 2);
    if (marker == 0xD9 || marker == 0xDA || length < 2) return; /* the end, or the picture itself */
    if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC) {
      set_size(type, big(head, at + 5, 2), big(head, at + 3, 2));
      return;
    }
    at += (size_t)length;
  }
}

static void look_png(view head, lmm_sniffed *type) {
  if (STARTS(after(head, 12), "IHDR")) set_size(type, big(head, 16, 4), big(head, 20, 4));
}

static void look_gif(view head, lmm_sniffed *type) { set_size(type, little(head, 6, 2), little(head, 8, 2)); }

static void look_webp(view head, lmm_sniffed *type) {
  view chunk = after(head, 12), data = after(head, 20);
  if (STARTS(chunk, "VP8 ") && STARTS(data, "...\x9D\x01\x2A")) { /* the upper two bits are a scale for display */
    set_size(type, little(data, 6, 2) & 0x3FFF, little(data, 8, 2) & 0x3FFF);
  } else if (STARTS(chunk, "VP8L") && STARTS(data, "\x2F....")) {
    uint64_t bits = little(data, 1, 4);
    set_size(type, (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1);
  } else if (STARTS(chunk, "VP8X") && reaches(data, 4, 6)) {
    set_size(type, little(data, 4, 3) + 1, little(data, 7, 3) + 1);
  }
}

/* "BM" is too little to go by: the header behind it must make sense. */
static void look_bmp(view head, lmm_sniffed *type) {
  uint64_t header = little(head, 14, 4), pixels = little(head, 10, 4);
  bool old = header == 12;
  uint64_t planes = little(head, old ? 22 : 26, 2), depth = little(head, old ? 24 : 28, 2);
  bool sound = (old || (header >= 16 && header <= 124)) && pixels >= 14 + header && planes == 1 && depth <= 32 &&
               reaches(head, old ? 24 : 28, 2);
  if (!sound) {
    type->mime = NULL;
  } else if (old) {
    set_size(type, little(head, 18, 2), little(head, 20, 2));
  } else {
    uint64_t width = little(head, 18, 4), height = little(head, 22, 4);
    if (height > INT32_MAX) height = ((uint64_t)1 << 32) - height; /* negative: the rows run from the top */
    set_size(type, width <= INT32_MAX ? width : 0, height);
  }
}

/* A field of an image file directory: BYTE, SHORT, LONG or LONG8, its one value in the entry itself. */
static uint64_t tiff_value(view entry, bool wide, bool order) {
  uint64_t kind = number(entry, 2, 2, order);
  unsigned width = kind == 1 ? 1 : kind == 3 ? 2 : kind == 4 ? 4 : kind == 16 && wide ? 8 : 0;
  return number(entry, wide ? 12 : 8, width, order);
}

/* The first directory may lie anywhere in the file, often behind the pixels: then the size is not told. */
static void look_tiff(view head, lmm_sniffed *type) {
  bool order = head.bytes[0] == 'I', wide = number(head, 2, 2, order) == 43;
  if (wide && (number(head, 4, 2, order) != 8 || number(head, 6, 2, order) != 0)) {
    type->mime = NULL;
    return;
  }
  unsigned entry_size = wide ? 20 : 12, count_size = wide ? 8 : 2;
  view directory = after(head, wide ? number(head, 8, 8, order) : number(head, 4, 4, order));
  uint64_t left = number(directory, 0, count_size, order), width = 0, height = 0;
  view rest = after(directory, count_size);
  for (; left > 0 && rest.count >= entry_size; left--, rest = after(rest, entry_size)) {
    view entry = part(rest, 0, entry_size);
    uint64_t tag = number(entry, 0, 2, order);
    if (tag == 256) width = tiff_value(entry, wide, order);
    if (tag == 257) height = tiff_value(entry, wide, order);
  }
  set_size(type, width, height);
}

/* ---- ISO base media (ISO/IEC 14496-12): MP4, QuickTime, HEIF, AVIF ----------------------------------------------- */

typedef struct box {
  view name, data; /* the data may be cut short */
} box;

/* Takes the next box off the front of `rest`; false at the end, or where its size cannot be. */
static bool next_box(view *rest, box *found) {
  if (rest->count < 8) return false;
  uint64_t size = big(*rest, 0, 4), header = 8;
  if (size == 0) size = rest->count; /* up to the end of the file */
  if (size == 1) {
    header = 16;
    size = big(*rest, 8, 8);
  }
  if (size < header) return false;
  *found = (box){part(*rest, 4, 4), part(after(*rest, header), 0, size - header)};
  *rest = after(*rest, size);
  return true;
}

/* The data of the first box of that name, empty where there is none. */
static view find_box(view rest, const char *name) {
  box found;
  while (next_box(&rest, &found))
    if (matches(found.name, name, 4)) return found.data;
  return part(rest, 0, 0);
}

/* The picture's size is the largest one stated: tiles, thumbnails and depth maps are smaller. */
static void look_heif(view head, lmm_sniffed *type) {
  view meta = after(find_box(head, "meta"), 4); /* behind its version and flags */
  view properties = find_box(find_box(meta, "iprp"), "ipco");
  uint64_t best = 0;
  box found;
  while (next_box(&properties, &found)) {
    if (!STARTS(found.name, "ispe")) continue;
    uint64_t width = big(found.data, 4, 4), height = big(found.data, 8, 4);
    if (width * height <= best) continue;
    best = width * height;
    set_size(type, width, height);
  }
}

/* What a file calls itself (its major brand) counts before what it is compatible with. */
typedef struct brand {
  const char *name;
  const char *mime;
  bool vague; /* says how the file is built, not what is in it: asked last */
} brand;

static const brand brands[] = {
    {"avif", "image/avif", false},      {"avis", "image/avif", false},      {"heic", "image/heic", false},
    {"heix", "image/heic", false},      {"heim", "image/heic", false},      {"heis", "image/heic", false},
    {"hevc", "image/heic", false},      {"hevx", "image/heic", false},      {"qt  ", "video/quicktime", false},
    {"M4A ", "audio/mp4", false},       {"M4B ", "audio/mp4", false},       {"M4P ", "audio/mp4", false},
    {"crx ", NULL, false}, /* Canon's raw pictures, which claim isom too */ {"M4V ", "video/mp4", false},
    {"mp4.", "video/mp4", false},       {"iso.", "video/mp4", false},       {"dash", "video/mp4", false},
    {"avc1", "video/mp4", false},       {"MSNV", "video/mp4", false},       {"mif1", "image/heic", true},
    {"msf1", "image/heic", true},       {NULL, NULL, false},
};

static const brand *find_brand(view names, bool vague) {
  for (const brand *row = brands; row->name != NULL; row++) {
    if (row->vague && !vague) continue;
    for (view rest = names; rest.count >= 4; rest = after(rest, 4))
      if (matches(rest, row->name, 4)) return row;
  }
  return NULL;
}

static void look_iso(view head, lmm_sniffed *type) {
  uint64_t size = big(head, 0, 4);
  if (size < 16 || size > head.count) return; /* unknown: the brands must be there to the last */
  const brand *found = find_brand(part(head, 8, 4), false);
  if (found == NULL) found = find_brand(part(head, 16, size - 16), false);
  if (found == NULL) found = find_brand(part(head, 8, size - 8), true);
  if (found == NULL || found->mime == NULL) return;
  type->mime = found->mime;
  if (memcmp(found->mime, "image", 5) == 0) look_heif(head, type);
}

/* ---- Matroska and WebM (RFC 8794) -------------------------------------------------------------------------------- */

/* Takes a variable-length number off the front of `rest`, with the marker bit for an identifier; false at the end. */
static bool next_vint(view *rest, bool identifier, uint64_t *value) {
  unsigned first = (unsigned)big(*rest, 0, 1), length = 1;
  if (first == 0) return false; /* nothing left, or longer than 8 bytes */
  while ((first << (length - 1) & 0x80) == 0) length++;
  if (!reaches(*rest, 0, length)) return false;
  *value = big(*rest, 0, length);
  if (!identifier) *value -= (uint64_t)1 << (7 * length);
  *rest = after(*rest, length);
  return true;
}

/* A string may be padded with zeros. */
static bool is_string(view data, const char *text) {
  size_t length = strlen(text);
  return matches(data, text, length) && (data.count == length || data.bytes[length] == 0);
}

static void look_ebml(view head, lmm_sniffed *type) {
  view rest = after(head, 4);
  uint64_t identifier, size;
  if (!next_vint(&rest, false, &size)) return;
  rest = part(rest, 0, size);
  while (next_vint(&rest, true, &identifier) && next_vint(&rest, false, &size) && reaches(rest, 0, size)) {
    view data = part(rest, 0, size);
    rest = after(rest, size);
    if (identifier != 0x4282) continue; /* DocType */
    if (is_string(data, "webm")) type->mime = "video/webm";
    if (is_string(data, "matroska")) type->mime = "video/x-matroska";
    return;
  }
}

/* ---- audio ------------------------------------------------------------------------------------------------------- */

static bool is_same_stream(view one, view other) { /* version, layer and sample rate, which a stream keeps */
  return other.count >= 4 && other.bytes[0] == 0xFF && one.bytes[1] >> 1 == other.bytes[1] >> 1 &&
         (one.bytes[2] & 0x0C) == (other.bytes[2] & 0x0C);
}

/* The length of the MPEG audio frame at the front, 0 where there is none, with ISO 11172-3's bit rates in kbit/s: the
 * rows are version 1's layers I, II and III, then version 2's layer I, and II and III. */
static size_t mpeg_frame_length(view frame) {
  static const unsigned short rates[5][16] = {
      {0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 0},
      {0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0},
      {0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0},
      {0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 0},
      {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0},
  };
  static const unsigned samplings[4] = {44100, 48000, 32000, 0};
  uint64_t bits = big(frame, 0, 4);
  unsigned version = bits >> 19 & 3, layer = 4 - (bits >> 17 & 3); /* version: 3 is 1, 2 is 2, 0 is 2.5 */
  if (bits >> 21 != 0x7FF || version == 1 || layer == 4) return 0;
  unsigned row = version == 3 ? layer - 1 : layer == 1 ? 3 : 4;
  unsigned rate = rates[row][bits >> 12 & 15] * 1000u, padding = bits >> 9 & 1;
  unsigned sampling = samplings[bits >> 10 & 3] >> (version == 3 ? 0 : version == 2 ? 1 : 2);
  if (rate == 0 || sampling == 0) return 0;
  if (layer == 1) return (12 * rate / sampling + padding) * 4;
  return (version != 3 && layer == 3 ? 72 : 144) * rate / sampling + padding;
}

/* Four bytes with a frame's look are common elsewhere (UTF-16 text begins FF FE): a second frame must follow. */
static void look_mpeg(view head, lmm_sniffed *type) {
  size_t length = mpeg_frame_length(head);
  if (length == 0 || !is_same_stream(head, after(head, length))) return;
  if (mpeg_frame_length(after(head, length)) != 0) type->mime = "audio/mpeg";
}

/* The tag says nothing of what it tags, but is nearly always an MP3's; where what follows can be seen, it decides. */
static void look_id3(view head, lmm_sniffed *type) {
  uint64_t bytes = big(head, 6, 4), version = big(head, 3, 1);
  bool sound = head.count >= 10 && version >= 2 && version <= 4 && (bytes & 0x80808080) == 0;
  uint64_t size = (bytes >> 3 & 0xFE00000) | (bytes >> 2 & 0x1FC000) | (bytes >> 1 & 0x3F80) | (bytes & 0x7F);
  view rest = after(head, 10 + size + (big(head, 5, 1) & 0x10 ? 10 : 0)); /* a footer repeats the header */
  if (!sound)
    type->mime = NULL;
  else if (STARTS(rest, "fLaC"))
    type->mime = "audio/flac";
  else if (big(rest, 0, 2) >> 4 == 0xFFF && (big(rest, 1, 1) & 6) == 0) /* AAC in ADTS */
    type->mime = NULL;
}

/* A file's streams all begin before any of them goes on: the first pages say what is in it. */
static void look_ogg(view head, lmm_sniffed *type) {
  const char *mime = NULL;
  view page = head;
  while (STARTS(page, "OggS") && page.count >= 27 && (page.bytes[5] & 2) != 0) {
    view lengths = part(page, 27, page.bytes[26]), data = after(page, 27 + (uint64_t)page.bytes[26]);
    size_t size = 0;
    for (size_t i = 0; i < lengths.count; i++) size += lengths.bytes[i];
    if (STARTS(data, "\x80theora")) mime = "video/ogg";
    bool audio = STARTS(data, "\x01vorbis") || STARTS(data, "OpusHead") || STARTS(data, "\x7F" "FLAC") ||
                 STARTS(data, "Speex   ");
    if (audio && mime == NULL) mime = "audio/ogg";
    page = after(data, size);
  }
  bool all_seen = STARTS(page, "OggS.") && page.count >= 6;
  if (all_seen || (mime != NULL && mime[0] == 'v')) type->mime = mime;
}

/* ---- what files begin with --------------------------------------------------------------------------------------- */

typedef struct kind {
  const char *mime; /* NULL where the look decides */
  const char *magic;
  size_t length;
  void (*look)(view head, lmm_sniffed *type); /* NULL where the magic says it all */
} kind;

static const kind kinds[] = {
    {"image/jpeg", LITERAL("\xFF\xD8\xFF"), look_jpeg},
    {"image/png", LITERAL("\x89PNG\r\n\x1A\n"), look_png},
    {"image/gif", LITERAL("GIF87a"), look_gif},
    {"image/gif", LITERAL("GIF89a"), look_gif},
    {"image/webp", LITERAL("RIFF....WEBPVP8"), look_webp},
    {"image/bmp", LITERAL("BM"), look_bmp},
    {"image/tiff", LITERAL("II*\0"), look_tiff},
    {"image/tiff", LITERAL("MM\0*"), look_tiff},
    {"image/tiff", LITERAL("II+\0"), look_tiff}, /* BigTIFF */
    {"image/tiff", LITERAL("MM\0+"), look_tiff},
    {NULL, LITERAL("....ftyp"), look_iso},
    {NULL, LITERAL("\x1A\x45\xDF\xA3"), look_ebml},
    {"video/x-msvideo", LITERAL("RIFF....AVI LIST"), NULL},
    {"audio/wav", LITERAL("RIFF....WAVE"), NULL},
    {"audio/wav", LITERAL("RF64....WAVE"), NULL},
    {"audio/flac", LITERAL("fLaC\0\0\0\x22"), NULL},
    {"audio/mpeg", LITERAL("ID3"), look_id3},
    {NULL, LITERAL("OggS\0"), look_ogg},
    {"application/pdf", LITERAL("%PDF-1"), NULL},
    {"application/pdf", LITERAL("%PDF-2"), NULL},
    {NULL, LITERAL("\xFF"), look_mpeg},
};

lmm_sniffed lmm_sniff(const unsigned char *head, size_t count) {
  view all = {head, count < LMM_SNIFF_BYTES ? count : LMM_SNIFF_BYTES};
  lmm_sniffed type = {NULL, 0, 0};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (!matches(all, kinds[i].magic, kinds[i].length)) continue;
    type.mime = kinds[i].mime;
    if (kinds[i].look != NULL) kinds[i].look(all, &type);
    break;
  }
  return type;
}
