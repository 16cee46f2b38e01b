/* raster.c: a picture whose short header says its size comes in; the size goes out. Where the first bytes are too few to
 * go by, what follows must make sense, or the type is withdrawn. */
#include "view.h"

/* "BM" is too little to go by: the header behind it must make sense. Some writers leave any number in the planes. */
void lmm_raster_look_bmp(lmm_view head, lmm_sniffed *type) {
  uint64_t header = little(head, 14, 4), pixels = little(head, 10, 4);
  bool old = header == 12;
  uint64_t planes = little(head, 22, 2), depth = little(head, old ? 24 : 28, 2);
  uint64_t coding = header < 20 ? 0 : little(head, 30, 4);
  bool is_depth = depth <= 2 || depth == 4 || depth == 8 || depth == 16 || depth == 24 || depth == 32;
  bool sound = (old ? planes == 1 : header >= 16 && header <= 124) && pixels >= 14 + header && is_depth && coding <= 13 &&
               reaches(head, 0, old ? 26 : header < 20 ? 30 : 34);
  uint64_t width = little(head, 18, old ? 2 : 4), height = little(head, old ? 20 : 22, old ? 2 : 4);
  if (height > INT32_MAX) height = ((uint64_t)1 << 32) - height; /* negative: the rows run from the top */
  if (!sound)
    type->mime = NULL;
  else
    set_size(type, width <= INT32_MAX ? width : 0, height);
}

/* An icon or a cursor holds pictures of several sizes, 0 for 256: the largest is its own. */
void lmm_raster_look_icon(lmm_view head, lmm_sniffed *type) {
  uint64_t count = little(head, 4, 2), behind = 6 + 16 * count, width = 0, height = 0;
  bool sound = count >= 1 && count <= 1024;
  for (uint64_t i = 0; i < count && sound; i++) {
    lmm_view entry = part(head, 6 + 16 * i, 16);
    uint64_t across = byte(entry, 0) != 0 ? byte(entry, 0) : 256, down = byte(entry, 1) != 0 ? byte(entry, 1) : 256;
    sound = reaches(entry, 0, 16) && little(entry, 8, 4) > 0 && little(entry, 12, 4) >= behind;
    if (across * down <= width * height) continue;
    width = across;
    height = down;
  }
  if (sound)
    set_size(type, width, height);
  else
    type->mime = NULL;
}

static bool is_space(unsigned c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* The number in decimal digits behind white space and comments; 0 where there is none, or it goes too far. */
static uint64_t next_decimal(lmm_view head, uint64_t *at) {
  uint64_t start = *at, value = 0;
  while (*at < 4096 && (is_space(byte(head, *at)) || byte(head, *at) == '#')) {
    if (byte(head, (*at)++) != '#') continue;
    while (*at < 4096 && byte(head, *at) != '\n' && reaches(head, *at, 1)) ++*at;
  }
  if (*at == start) return 0;
  for (; byte(head, *at) >= '0' && byte(head, *at) <= '9' && value < UINT32_MAX; ++*at)
    value = value * 10 + byte(head, *at) - '0';
  return value;
}

/* "P5", a width, a height, unless it is a bitmap the largest value, and white space. */
void lmm_raster_look_netpbm(lmm_view head, lmm_sniffed *type) {
  unsigned kind = byte(head, 1) - '0';
  uint64_t at = 2, width = next_decimal(head, &at), height = next_decimal(head, &at);
  bool is_bitmap = kind == 1 || kind == 4;
  uint64_t most = is_bitmap ? 1 : next_decimal(head, &at);
  if (kind < 1 || kind > 6 || width == 0 || height == 0 || most == 0 || most > 65535 || !is_space(byte(head, at))) return;
  type->mime = is_bitmap             ? "image/x-portable-bitmap"
               : (kind - 1) % 3 == 1 ? "image/x-portable-graymap" : "image/x-portable-pixmap";
  set_size(type, width, height);
}

void lmm_raster_look_pcx(lmm_view head, lmm_sniffed *type) {
  unsigned version = byte(head, 1), depth = byte(head, 3), planes = byte(head, 65);
  uint64_t left = little(head, 4, 2), top = little(head, 6, 2), right = little(head, 8, 2), bottom = little(head, 10, 2);
  bool sound = version <= 5 && version != 1 && byte(head, 2) == 1 && byte(head, 64) == 0 && planes >= 1 && planes <= 4;
  if (!sound || (depth != 1 && depth != 2 && depth != 4 && depth != 8) || right < left || bottom < top) return;
  type->mime = "image/x-pcx";
  set_size(type, right - left + 1, bottom - top + 1);
}

void lmm_raster_look_psd(lmm_view head, lmm_sniffed *type) { set_size(type, big(head, 18, 4), big(head, 14, 4)); }

void lmm_raster_look_qoi(lmm_view head, lmm_sniffed *type) {
  unsigned channels = byte(head, 12);
  if (channels != 3 && channels != 4)
    type->mime = NULL;
  else
    set_size(type, big(head, 4, 4), big(head, 8, 4));
}

/* Cards of 80 characters up to one named END. */
void lmm_raster_look_fits(lmm_view head, lmm_sniffed *type) {
  uint64_t width = 0, height = 0;
  for (uint64_t card = 0; card < 256 && reaches(head, card * 80, 80); card++) {
    lmm_view line = part(head, card * 80, 80);
    uint64_t at = 9;
    if (STARTS(line, "NAXIS1  =")) width = next_decimal(line, &at);
    if (STARTS(line, "NAXIS2  =")) height = next_decimal(line, &at);
    if (STARTS(line, "END     ")) break;
  }
  set_size(type, width, height);
}

void lmm_raster_look_codestream(lmm_view head, lmm_sniffed *type) {
  uint64_t right = big(head, 8, 4), bottom = big(head, 12, 4), left = big(head, 16, 4), top = big(head, 20, 4);
  if (reaches(head, 16, 8) && right > left && bottom > top) set_size(type, right - left, bottom - top);
}

/* A TGA begins with nothing of its own: every field of its header must be one that is written. */
void lmm_raster_look_tga(lmm_view head, lmm_sniffed *type) {
  unsigned has_map = byte(head, 1), kind = byte(head, 2), depth = byte(head, 16), flags = byte(head, 17);
  uint64_t map = little(head, 5, 2), map_depth = byte(head, 7), width = little(head, 12, 2), height = little(head, 14, 2);
  unsigned form = kind & 7; /* 1: by a map, 2: in colour, 3: grey; 8 more: in runs */
  bool sound = has_map <= 1 && (kind & 0xF4) == 0 && form >= 1 && form <= 3 && (form == 1) == (has_map == 1);
  if (has_map == 0) sound = sound && map == 0 && map_depth == 0 && little(head, 3, 2) == 0;
  if (has_map == 1)
    sound = sound && map > 0 && (map_depth == 15 || map_depth == 16 || map_depth == 24 || map_depth == 32);
  sound = sound && (form == 2 ? depth == 15 || depth == 16 || depth == 24 || depth == 32 : depth == 8 || depth == 16);
  uint64_t pixels = width * height, bytes = (depth + 7u) / 8;
  uint64_t least = kind >= 8 ? (pixels + 127) / 128 * (1 + bytes) : pixels * bytes;
  least += 18 + byte(head, 0) + map * ((map_depth + 7) / 8);
  if (!sound || (flags & 0xC0) != 0 || pixels == 0 || head.count < least) return;
  type->mime = "image/x-tga";
  set_size(type, width, height);
}
