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
  uint64_t width = little(head, 18, old ? 2 : 4), height = little(head, old ? 20 : 22, old ? 2 : 4);
  if (height > INT32_MAX) height = ((uint64_t)1 << 32) - height; /* negative: the rows run from the top */
  if (!sound)
    type->mime = NULL;
  else
    set_size(type, width <= INT32_MAX ? width : 0, height);
}

/* The first directory may lie anywhere in the file, often behind the pixels: then the size is not told. */
static void look_tiff(view head, lmm_sniffed *type) {
  bool order = head.bytes[0] == 'I';
  view directory = after(head, number(head, 4, 4, order)), entry = after(directory, 2);
  uint64_t left = number(directory, 0, 2, order), width = 0, height = 0;
  for (; left > 0 && entry.count >= 12; left--, entry = after(entry, 12)) {
    uint64_t tag = number(entry, 0, 2, order);
    uint64_t value = number(entry, 8, number(entry, 2, 2, order) == 3 ? 2 : 4, order); /* a SHORT or a LONG */
    if (tag == 256 && width == 0) width = value; /* the first counts, as for libtiff: what follows may be cut off */
    if (tag == 257 && height == 0) height = value;
  }
  set_size(type, width, height);
}

/* ---- ISO base media (ISO/IEC 14496-12): MP4, QuickTime, HEIF, AVIF ----------------------------------------------- */

/* Takes the next box off the front of `rest`; false at the end, at a senseless size and at a box that is cut short. One
 * of size 0 reaches to the end of the file and holds the pictures, so that it ends the search, too. */
static bool next_box(view *rest, view *name, view *data) {
  if (rest->count < 8) return false;
  uint64_t size = big(*rest, 0, 4), header = 8;
  if (size == 1) {
    header = 16;
    size = big(*rest, 8, 8);
  }
  if (size < header || size > rest->count) return false;
  *name = part(*rest, 4, 4);
  *data = part(after(*rest, header), 0, size - header);
  *rest = after(*rest, size);
  return true;
}

/* The data of the first box of that name, empty where there is none. */
static view find_box(view rest, const char *wanted) {
  view name, data;
  while (next_box(&rest, &name, &data))
    if (matches(name, wanted, 4)) return data;
  return part(rest, 0, 0);
}

/* The numbers, counted from 1, of the properties that `item` has, each in `*width` bytes under a flag bit. */
static view find_properties(view ipma, uint64_t item, unsigned *width) {
  unsigned id_width = big(ipma, 0, 1) == 0 ? 2 : 4;
  *width = big(ipma, 3, 1) & 1 ? 2 : 1;
  for (view rest = after(ipma, 8); rest.count > id_width;) {
    view list = part(rest, id_width + 1, rest.bytes[id_width] * *width);
    if (big(rest, 0, id_width) == item) return list;
    rest = after(rest, id_width + 1 + list.count);
  }
  return part(ipma, 0, 0);
}

/* The primary item's size (ispe), or what a clean aperture (clap) leaves of it where the coder had to pad it: it
 * follows the size. Other items have sizes too: thumbnails, depth maps, and tiles, perhaps larger than the picture. */
static void look_heif(view head, lmm_sniffed *type) {
  view meta = after(find_box(head, "meta"), 4), pitm = find_box(meta, "pitm"), iprp = find_box(meta, "iprp");
  view rest = find_box(iprp, "ipco"), name, data;
  unsigned width, index = 1;
  view list = find_properties(find_box(iprp, "ipma"), big(pitm, 4, big(pitm, 0, 1) == 0 ? 2 : 4), &width);
  for (; next_box(&rest, &name, &data); index++) {
    bool listed = false;
    for (size_t at = 0; at < list.count && !listed; at += width)
      listed = (big(list, at, width) & (width == 1 ? 0x7F : 0x7FFF)) == index;
    if (listed && STARTS(name, "ispe")) set_size(type, big(data, 4, 4), big(data, 8, 4));
    if (listed && STARTS(name, "clap") && big(data, 4, 4) == 1 && big(data, 12, 4) == 1) /* the denominators */
      set_size(type, big(data, 0, 4), big(data, 8, 4));
  }
}

typedef struct brand {
  const char *name, *mime;
} brand;

static const brand brands[] = {
    {"avif", "image/avif"},      {"avis", "image/avif"}, {"heic", "image/heic"}, {"heix", "image/heic"},
    {"heim", "image/heic"},      {"heis", "image/heic"}, {"hevc", "image/heic"}, {"hevx", "image/heic"},
    {"mif1", "image/heic"},      {"msf1", "image/heic"}, {"M4A ", "audio/mp4"},  {"M4B ", "audio/mp4"},
    {"qt  ", "video/quicktime"}, {"crx ", NULL}, /* Canon's raw pictures, which claim isom too */
    {"M4V ", "video/mp4"},       {"mp4.", "video/mp4"},  {"iso.", "video/mp4"},  {"dash", "video/mp4"},
    {"avc1", "video/mp4"},       {"MSNV", "video/mp4"},
};

/* The MIME type of the first row that is among `names`. */
static const char *find_brand(view names) {
  for (size_t i = 0; i < sizeof brands / sizeof *brands; i++)
    for (view rest = names; rest.count >= 4; rest = after(rest, 4))
      if (matches(rest, brands[i].name, 4)) return brands[i].mime;
  return NULL;
}

/* What a file calls itself (its major brand) counts before what it is compatible with, unless that says only how the
 * file is built. The brands must be there to the last, or the one that decides might be missing. */
static void look_iso(view head, lmm_sniffed *type) {
  uint64_t size = big(head, 0, 4);
  if (size < 16 || size > head.count) return;
  view major = part(head, 8, 4), compatible = part(head, 16, size - 16);
  bool vague = STARTS(major, "mif1") || STARTS(major, "msf1");
  if (!vague) type->mime = find_brand(major);
  if (type->mime == NULL) type->mime = find_brand(compatible);
  if (type->mime != NULL && memcmp(type->mime, "image", 5) == 0) look_heif(head, type);
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

static bool is_string(view data, const char *text) { /* one may be padded with zeros */
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

/* Four bytes with a frame's look are common elsewhere (UTF-16 text begins FF FE): a second frame must follow, with the
 * same version, layer and sampling, which a stream keeps. */
static void look_mpeg(view head, lmm_sniffed *type) {
  view second = after(head, mpeg_frame_length(head));
  bool same = ((big(head, 0, 4) ^ big(second, 0, 4)) & 0xFFFE0C00) == 0;
  if (second.count < head.count && same && mpeg_frame_length(second) != 0) type->mime = "audio/mpeg";
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
  bool all_seen = STARTS(page, "OggS.") && page.count >= 6 && (page.bytes[5] & 2) == 0;
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
    {"image/tiff", LITERAL("II+\0\x08\0\0\0"), NULL}, /* BigTIFF: its size is not looked for */
    {"image/tiff", LITERAL("MM\0+\0\x08\0\0"), NULL},
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
