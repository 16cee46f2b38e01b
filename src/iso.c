/* iso.c: boxes as ISO/IEC 14496-12 has them come in; what a file of them is goes out: a film or the sound alone by its
 * tracks, a picture's size by its properties. The boxes at the top may lie anywhere in the file. */
#include <stdio.h>
#include <string.h>

#include "view.h"

/* Takes the next box off the front of `rest`; false at the end, at a senseless size and at a box that is cut short. */
static bool next_box(lmm_view *rest, lmm_view *name, lmm_view *data) {
  if (!reaches(*rest, 0, 8)) return false;
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

/* The same at the top of a file, where a box of size 0 reaches to the end. */
static bool next_top_box(lmm_view *rest, lmm_view *name, lmm_view *data) {
  if (next_box(rest, name, data)) return true;
  if (!reaches(*rest, 0, 8) || big(*rest, 0, 4) != 0) return false;
  *name = part(*rest, 4, 4);
  *data = after(*rest, 8);
  *rest = part(*rest, rest->count, 0);
  return big(*name, 0, 4) != 0;
}

/* The data of the first box of that name, empty where there is none. */
static lmm_view find_box(lmm_view rest, const char *wanted) {
  lmm_view name, data;
  while (next_box(&rest, &name, &data))
    if (lmm_view_matches(name, wanted, 4)) return data;
  return part(rest, 0, 0);
}

/* ---- pictures ------------------------------------------------------------------------------------------------- */

/* The numbers, counted from 1, of the properties that `item` has, each in `*width` bytes under a flag bit. */
static lmm_view find_properties(lmm_view ipma, uint64_t item, unsigned *width) {
  unsigned id_width = byte(ipma, 0) == 0 ? 2 : 4;
  *width = byte(ipma, 3) & 1 ? 2 : 1;
  for (lmm_view rest = after(ipma, 8); reaches(rest, 0, id_width + 1);) {
    lmm_view list = part(rest, id_width + 1, (uint64_t)byte(rest, id_width) * *width);
    if (big(rest, 0, id_width) == item) return list;
    rest = after(rest, id_width + 1 + list.count);
  }
  return part(ipma, 0, 0);
}

static bool is_listed(lmm_view list, unsigned width, unsigned index) {
  for (uint64_t at = 0; reaches(list, at, width); at += width)
    if ((big(list, at, width) & (width == 1 ? 0x7F : 0x7FFF)) == index) return true;
  return false;
}

/* What irot (quarters of a turn against the clock) and then imir (none, upside down, left to right) make. */
static const unsigned char turns[4][3] = {{1, 4, 2}, {8, 5, 7}, {3, 2, 4}, {6, 7, 5}};

/* A whole number of pixels that is written as a fraction; 0 where it is none. */
static uint64_t fraction(lmm_view data, uint64_t at) {
  uint64_t below = big(data, at + 4, 4);
  return below != 0 && big(data, at, 4) % below == 0 ? big(data, at, 4) / below : 0;
}

/* The primary item's size (ispe), or what a clean aperture (clap) leaves of it where the coder had to pad it: it
 * follows the size. Other items have sizes too: thumbnails, depth maps, and tiles, perhaps larger than the picture. */
static void look_meta(lmm_view meta, lmm_sniffed *type) {
  lmm_view pitm = find_box(meta, "pitm"), iprp = find_box(meta, "iprp");
  lmm_view rest = find_box(iprp, "ipco"), name, data;
  unsigned width, index = 1, turned = 0, mirrored = 0;
  lmm_view list = find_properties(find_box(iprp, "ipma"), big(pitm, 4, byte(pitm, 0) == 0 ? 2 : 4), &width);
  for (; next_box(&rest, &name, &data) && list.count > 0; index++) {
    bool is_wanted = STARTS(name, "ispe") || STARTS(name, "clap") || STARTS(name, "irot") || STARTS(name, "imir");
    if (!is_wanted || !is_listed(list, width, index)) continue;
    if (STARTS(name, "ispe")) set_size(type, big(data, 4, 4), big(data, 8, 4));
    if (STARTS(name, "clap")) set_size(type, fraction(data, 0), fraction(data, 8));
    if (STARTS(name, "irot")) turned = byte(data, 0) & 3;
    if (STARTS(name, "imir")) mirrored = 1 + (byte(data, 0) & 1);
  }
  if (turned != 0 || mirrored != 0) type->orientation = turns[turned][mirrored];
}

/* A minimized box (mini) has all in bits: a version (2), flags (9), the chroma (2), the orientation (3), whether the
 * numbers that follow are large (1), and the size less one. */
static void look_mini(lmm_view data, lmm_sniffed *type) {
  uint64_t bits = big(data, 0, 8);
  if (data.count < 8 || bits >> 62 != 0) return;
  unsigned size = bits >> 47 & 1 ? 15 : 7, at = 47 - size;
  uint64_t mask = ((uint64_t)1 << size) - 1;
  set_size(type, (bits >> at & mask) + 1, (bits >> (at - size) & mask) + 1);
  if ((bits >> 48 & 7) != 0) type->orientation = (bits >> 48 & 7) + 1;
}

/* ---- tracks ------------------------------------------------------------------------------------------------------ */

/* A track of pictures says its size and how its matrix turns them: for a picture of several, which may have no item. */
static void look_track_header(lmm_view tkhd, lmm_sniffed *type) {
  unsigned at = byte(tkhd, 0) == 0 ? 40 : 52;
  uint64_t a = big(tkhd, at, 4), b = big(tkhd, at + 4, 4), one = 0x10000, minus_one = 0xFFFF0000;
  if (type->width != 0) return;
  set_size(type, big(tkhd, at + 36, 4) >> 16, big(tkhd, at + 40, 4) >> 16);
  if (type->width != 0 && (a == minus_one || b == one || b == minus_one))
    type->orientation = a == minus_one ? 3 : b == one ? 6 : 8;
}

static void look_movie(lmm_view rest, lmm_sniffed *type, lmm_sniffed *track) {
  lmm_view name, data;
  while (next_box(&rest, &name, &data)) {
    if (!STARTS(name, "trak")) continue;
    lmm_view handler = after(find_box(find_box(data, "mdia"), "hdlr"), 8);
    bool is_picture = STARTS(handler, "vide") || STARTS(handler, "pict");
    if (is_picture) look_track_header(find_box(data, "tkhd"), track);
    type->has_pictures = type->has_pictures || is_picture;
    type->has_sound = type->has_sound || STARTS(handler, "soun");
  }
}

/* ---- the top of a file ------------------------------------------------------------------------------------------- */

static const char known_boxes[][5] = {"moov", "mdat", "meta", "moof", "mini", "ftyp", "free", "skip", "wide", "jp2c", "jp2h"};

static bool is_known(lmm_view name) {
  for (size_t i = 0; i < sizeof known_boxes / sizeof *known_boxes; i++)
    if (lmm_view_matches(name, known_boxes[i], 4)) return true;
  return false;
}

/* What stands behind the last whole box: a box that reaches beyond the file's end, unless it is something else, such as
 * what some cameras put behind all boxes. */
static void look_end(lmm_view rest, lmm_sniffed *type) {
  uint64_t size = big(rest, 0, 4);
  if (size == 1) size = big(rest, 8, 8);
  lmm_view name = part(rest, 4, 4);
  if (size <= rest.count || !is_known(name)) return;
  char text[5] = {0};
  for (unsigned i = 0; i < 4; i++) text[i] = (char)byte(name, i);
  (void)snprintf(type->cut, sizeof type->cut, "its box '%s' has %llu bytes, and %llu are there", text,
                 (unsigned long long)size, (unsigned long long)rest.count);
}

/* Whether any box at the top is one of these files'. */
static void look_boxes(lmm_view rest, lmm_sniffed *type) {
  lmm_sniffed item = {0}, track = {0};
  lmm_view name, data;
  while (next_top_box(&rest, &name, &data)) {
    if (STARTS(name, "moov")) look_movie(data, type, &track);
    if (STARTS(name, "meta")) look_meta(after(data, 4), &item);
    if (STARTS(name, "mini")) look_mini(data, &item);
    if (STARTS(name, "jp2h")) {
      lmm_view header = find_box(data, "ihdr");
      set_size(&item, big(header, 4, 4), big(header, 0, 4));
    }
  }
  look_end(rest, type);
  if (type->mime == NULL || memcmp(type->mime, "image", 5) != 0) return;
  const lmm_sniffed *told = item.width != 0 ? &item : &track;
  set_size(type, told->width, told->height);
  type->orientation = told->orientation;
  type->has_pictures = type->has_sound = false;
}

typedef struct brand {
  const char *name, *mime;
} brand;

static const brand brands[] = {
    {"avif", "image/avif"},      {"avis", "image/avif"},  {"heic", "image/heic"},  {"heix", "image/heic"},
    {"heim", "image/heic"},      {"heis", "image/heic"},  {"hevc", "image/heic"},  {"hevx", "image/heic"},
    {"mif1", "image/heic"},      {"msf1", "image/heic"},  {"mif3", "image/heic"},  {"M4A.", "audio/mp4"},
    {"M4B ", "audio/mp4"},       {"F4A ", "audio/mp4"},   {"qt  ", "video/quicktime"},
    {"crx ", "image/x-canon-cr3"}, /* which claims isom too */
    {"3gp.", "video/3gpp"},      {"3g2.", "video/3gpp2"}, {"M4V.", "video/mp4"},   {"mp4.", "video/mp4"},
    {"iso.", "video/mp4"},       {"dash", "video/mp4"},   {"avc1", "video/mp4"},   {"MSNV", "video/mp4"},
    {"f4v ", "video/mp4"},       {"F4V ", "video/mp4"},
};

/* The MIME type of the first row that is among `names`. */
static const char *find_brand(lmm_view names) {
  for (size_t i = 0; i < sizeof brands / sizeof *brands; i++)
    for (lmm_view rest = names; reaches(rest, 0, 4); rest = after(rest, 4))
      if (lmm_view_matches(rest, brands[i].name, 4)) return brands[i].mime;
  return NULL;
}

/* What a file calls itself (its major brand) counts before what it is compatible with, unless that says only how the
 * file is built; a minimized one (mif3) has in the place of a version what it is built of. The brands must be there to
 * the last, or the one that decides might be missing. */
void lmm_iso_look(lmm_view head, lmm_sniffed *type) {
  uint64_t size = big(head, 0, 4);
  if (size < 16 || size > head.count || size > LMM_SNIFF_BYTES) return;
  lmm_view major = part(head, 8, 4), minor = part(head, 12, 4), compatible = part(head, 16, size - 16);
  bool vague = STARTS(major, "mif1") || STARTS(major, "msf1");
  if (STARTS(major, "mif3")) type->mime = find_brand(minor);
  if (type->mime == NULL && !vague) type->mime = find_brand(major);
  if (type->mime == NULL) type->mime = find_brand(compatible);
  look_boxes(head, type);
  if (type->mime == NULL && (type->has_pictures || type->has_sound)) type->mime = "video/mp4";
  if (type->mime == NULL) type->cut[0] = '\0';
}

/* Old QuickTime begins with any box. Its name alone is not enough to go by: the movie's tracks must be there, or as
 * much of it as a box that is cut short leaves. */
void lmm_iso_look_quicktime(lmm_view head, lmm_sniffed *type) {
  bool is_text = big(head, 0, 4) >= 0x20000000; /* a letter where a size should be */
  look_boxes(head, type);
  if (type->has_pictures || type->has_sound || (type->cut[0] != '\0' && !is_text))
    type->mime = "video/quicktime";
  else
    type->cut[0] = '\0';
}

void lmm_iso_look_jpeg2000(lmm_view head, lmm_sniffed *type) { look_boxes(head, type); }
