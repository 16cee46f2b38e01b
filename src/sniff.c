/* sniff.c: what kind of file its bytes make it. A file comes in; a MIME type and, for an image, its size in pixels go
 * out. The table below knows what files begin with; where that is not enough, one of the looks goes further. What is cut
 * short is either still certain or unknown, never guessed. */
#include <string.h>

#include "view.h"

/* ---- what files begin with --------------------------------------------------------------------------------------- */

typedef struct kind {
  const char *mime; /* NULL where the look decides */
  unsigned at;      /* where the magic stands */
  const char *magic;
  size_t length;
  void (*look)(lmm_view head, lmm_sniffed *type); /* NULL where the magic says it all */
} kind;

static void look_pdf(lmm_view head, lmm_sniffed *type) {
  unsigned version = byte(head, 5);
  if (version < '1' || version > '2') type->mime = NULL;
}

/* XML is a picture where it is SVG. */
static void look_xml(lmm_view head, lmm_sniffed *type) {
  uint64_t at;
  if (lmm_view_find(part(head, 0, 4096), LITERAL("<svg"), &at)) type->mime = "image/svg+xml";
}

static void look_zip(lmm_view head, lmm_sniffed *type) {
  static const char *const office[] = {"word/", "xl/", "ppt/"};
  static const char *const types[] = {
      "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
      "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
      "application/vnd.openxmlformats-officedocument.presentationml.presentation",
  };
  uint64_t at;
  if (!lmm_view_find(part(head, 0, 4096), LITERAL("[Content_Types].xml"), &at)) return;
  for (size_t i = 0; i < sizeof office / sizeof *office; i++)
    if (lmm_view_find(part(head, 0, 8192), office[i], strlen(office[i]), &at)) {
      type->mime = types[i];
      return;
    }
}

static const kind kinds[] = {
    {"image/jpeg", 0, LITERAL("\xFF\xD8\xFF"), lmm_picture_look_jpeg},
    {"image/png", 0, LITERAL("\x89PNG\r\n\x1A\n"), lmm_picture_look_png},
    {"image/gif", 0, LITERAL("GIF87a"), lmm_picture_look_gif},
    {"image/gif", 0, LITERAL("GIF89a"), lmm_picture_look_gif},
    {"image/webp", 0, LITERAL("RIFF....WEBPVP8"), lmm_picture_look_webp},
    {"image/bmp", 0, LITERAL("BM"), lmm_raster_look_bmp},
    {"image/tiff", 0, LITERAL("II*\0"), lmm_tiff_look},
    {"image/tiff", 0, LITERAL("MM\0*"), lmm_tiff_look},
    {"image/tiff", 0, LITERAL("II+\0\x08\0\0\0"), lmm_tiff_look}, /* BigTIFF */
    {"image/tiff", 0, LITERAL("MM\0+\0\x08\0\0"), lmm_tiff_look},
    {"image/x-icon", 0, LITERAL("\0\0\1\0"), lmm_raster_look_icon},
    {"image/x-win-bitmap", 0, LITERAL("\0\0\2\0"), lmm_raster_look_icon}, /* a cursor; or a TGA, see below */
    {"image/jp2", 0, LITERAL("\0\0\0\x0CjP  \r\n\x87\n"), lmm_iso_look_jpeg2000},
    {"image/x-jp2-codestream", 0, LITERAL("\xFF\x4F\xFF\x51"), lmm_raster_look_codestream},
    {"image/vnd.adobe.photoshop", 0, LITERAL("8BPS\0\1\0\0\0\0\0\0"), lmm_raster_look_psd},
    {"image/qoi", 0, LITERAL("qoif"), lmm_raster_look_qoi},
    {"image/fits", 0, LITERAL("SIMPLE  ="), lmm_raster_look_fits},
    {"image/icns", 0, LITERAL("icns\0"), NULL},
    {NULL, 0, LITERAL("\x0A"), lmm_raster_look_pcx},
    {NULL, 0, LITERAL("P"), lmm_raster_look_netpbm},

    {NULL, 4, LITERAL("ftyp"), lmm_iso_look},
    {NULL, 4, LITERAL("moov"), lmm_iso_look_quicktime},
    {NULL, 4, LITERAL("mdat"), lmm_iso_look_quicktime},
    {NULL, 4, LITERAL("wide"), lmm_iso_look_quicktime},
    {NULL, 4, LITERAL("free"), lmm_iso_look_quicktime},
    {NULL, 4, LITERAL("skip"), lmm_iso_look_quicktime},
    {NULL, 4, LITERAL("pnot"), lmm_iso_look_quicktime},
    {NULL, 0, LITERAL("\x1A\x45\xDF\xA3"), lmm_ebml_look},
    {"video/x-msvideo", 0, LITERAL("RIFF....AVI LIST"), lmm_film_look_riff},
    {"video/x-flv", 0, LITERAL("FLV\1"), lmm_film_look_flv},
    {"video/x-ms-wmv", 0, LITERAL("\x30\x26\xB2\x75\x8E\x66\xCF\x11\xA6\xD9\x00\xAA\x00\x62\xCE\x6C"), lmm_film_look_asf},
    {"video/mpeg", 0, LITERAL("\0\0\1\xBA"), lmm_film_look_program},
    {NULL, 0, LITERAL("G"), lmm_film_look_packets},
    {NULL, 4, LITERAL("G"), lmm_film_look_packets},

    {"audio/wav", 0, LITERAL("RIFF....WAVE"), lmm_film_look_riff},
    {"audio/wav", 0, LITERAL("RF64....WAVE"), NULL},
    {"audio/flac", 0, LITERAL("fLaC\0\0\0\x22"), NULL},
    {"audio/flac", 0, LITERAL("fLaC\x80\0\0\x22"), NULL}, /* whose first block is the last one */
    {"audio/mpeg", 0, LITERAL("ID3"), lmm_sound_look_id3},
    {NULL, 0, LITERAL("OggS\0"), lmm_sound_look_ogg},
    {"audio/amr", 0, LITERAL("#!AMR\n"), NULL},
    {"audio/amr-wb", 0, LITERAL("#!AMR-WB\n"), NULL},
    {"audio/x-wavpack", 0, LITERAL("wvpk"), NULL},
    {NULL, 0, LITERAL("\xFF"), lmm_sound_look_frames},
    {NULL, 0, LITERAL("\0\0\0\0"), lmm_sound_look_zeros},

    /* what few or no servers take, named so that it can be told */
    {"image/jxl", 0, LITERAL("\0\0\0\x0CJXL \r\n\x87\n"), NULL},
    {"image/jxl", 0, LITERAL("\xFF\x0A"), NULL},
    {NULL, 0, LITERAL("<svg"), look_xml},
    {NULL, 0, LITERAL("<?xml"), look_xml},
    {NULL, 0, LITERAL("\xEF\xBB\xBF<?xml"), look_xml},
    {NULL, 0, LITERAL("<!DOCTYPE svg"), look_xml},
    {NULL, 0, LITERAL("<!--"), look_xml},
    {"image/x-eps", 0, LITERAL("%!PS-Adobe-... EPSF-"), NULL},
    {"image/x-eps", 0, LITERAL("\xC5\xD0\xD3\xC6"), NULL}, /* a DOS EPS, with a preview */
    {"application/postscript", 0, LITERAL("%!PS"), NULL},
    {"audio/aiff", 0, LITERAL("FORM....AIF"), NULL},
    {"image/x-fuji-raf", 0, LITERAL("FUJIFILMCCD-RAW"), NULL},
    {"image/x-olympus-orf", 0, LITERAL("IIRO\x08"), NULL},
    {"image/x-olympus-orf", 0, LITERAL("IIRS\x08"), NULL},
    {"image/x-olympus-orf", 0, LITERAL("MMOR\0"), NULL},
    {"image/x-panasonic-rw2", 0, LITERAL("IIU\0"), NULL},
    {"image/x-sigma-x3f", 0, LITERAL("FOVb\0"), NULL},
    {"image/x-minolta-mrw", 0, LITERAL("\0MRM"), NULL},
    {"image/x-canon-crw", 0, LITERAL("II\x1A\0\0\0HEAPCCDR"), NULL},
    {"image/jxr", 0, LITERAL("II\xBC\1"), NULL},
    {"image/bpg", 0, LITERAL("BPG\xFB"), NULL},
    {"image/x-exr", 0, LITERAL("\x76\x2F\x31\x01"), NULL},
    {"image/vnd.radiance", 0, LITERAL("#?RADIANCE"), NULL},
    {"image/vnd.ms-dds", 0, LITERAL("DDS |\0\0\0"), NULL},
    {"image/vnd.djvu", 0, LITERAL("AT&TFORM"), NULL},
    {"image/x-xcf", 0, LITERAL("gimp xcf "), NULL},
    {"image/x-portable-arbitrarymap", 0, LITERAL("P7\nWIDTH "), NULL},
    {"application/dicom", 128, LITERAL("DICM"), NULL},
    {"audio/midi", 0, LITERAL("MThd\0\0\0\6"), NULL},
    {"audio/x-caf", 0, LITERAL("caff\0\1\0\0"), NULL},
    {"audio/basic", 0, LITERAL(".snd\0\0\0"), NULL},
    {"application/zip", 0, LITERAL("PK\3\4"), look_zip},
    {"application/gzip", 0, LITERAL("\x1F\x8B\x08"), NULL},
    {"application/x-7z-compressed", 0, LITERAL("7z\xBC\xAF\x27\x1C"), NULL},
    {"application/vnd.rar", 0, LITERAL("Rar!\x1A\x07"), NULL},
    {"application/x-xz", 0, LITERAL("\xFD" "7zXZ\0"), NULL},
    {"application/zstd", 0, LITERAL("\x28\xB5\x2F\xFD"), NULL},
    {"application/x-bzip2", 0, LITERAL("BZh.1AY&SY"), NULL},
    {"application/x-tar", 257, LITERAL("ustar"), NULL},
    {"application/x-ole-storage", 0, LITERAL("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"), NULL},
    {"application/vnd.sqlite3", 0, LITERAL("SQLite format 3\0"), NULL},
    {"application/x-executable", 0, LITERAL("\x7F" "ELF"), NULL},
    {"application/rtf", 0, LITERAL("{\\rtf1"), NULL},
    {"application/x-numpy", 0, LITERAL("\x93NUMPY"), NULL},

    {"application/pdf", 0, LITERAL("%PDF-"), look_pdf},
    {NULL, 0, LITERAL(""), lmm_raster_look_tga},
};

/* Printers' job tickets, lines of a mail and worse may stand before a PDF, which readers look for in the first 1,024
 * bytes. A text that speaks of PDF is none: an object must follow. */
static void look_for_pdf(lmm_view head, lmm_sniffed *type) {
  uint64_t at, object;
  if (!lmm_view_find(part(head, 0, 1024 + 5), LITERAL("%PDF-"), &at)) return;
  lmm_view rest = after(head, at);
  if (byte(rest, 5) < '1' || byte(rest, 5) > '2') return;
  if (lmm_view_find(part(rest, 0, 4096), LITERAL(" obj"), &object)) type->mime = "application/pdf";
}

/* ---- what there is more to say ------------------------------------------------------------------------------------ */

/* Whether the head is text in UTF-8, with more than white space in it; it may end within a character. */
static bool is_text(const lmm_file *file) {
  const char *text = (const char *)file->head;
  size_t count = file->head_count, good = lmm_utf8_check(text, count);
  bool is_cut = good < count && file->size > count && count - good < 4;
  for (size_t i = good + 1; i < count && is_cut; i++) is_cut = ((unsigned char)text[i] & 0xC0) == 0x80;
  if (good < count && (!is_cut || (unsigned char)text[good] < 0xC2 || (unsigned char)text[good] > 0xF4)) return false;
  bool has_words = false;
  for (size_t i = 0; i < good; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c == 127 || (c < ' ' && (c < '\t' || c > '\r'))) return false;
    has_words = has_words || c > ' ';
  }
  return has_words;
}

/* Sound alone, in the files that films have. */
static const char *const sounds[][2] = {
    {"video/mp4", "audio/mp4"},   {"video/quicktime", "audio/quicktime"},   {"video/3gpp", "audio/3gpp"},
    {"video/webm", "audio/webm"}, {"video/x-matroska", "audio/x-matroska"}, {"video/3gpp2", "audio/3gpp2"},
    {"video/x-flv", "audio/x-flv"}, {"video/x-ms-wmv", "audio/x-ms-wma"},
};

static void name_sound(lmm_sniffed *type) {
  if (type->mime == NULL || type->has_pictures || !type->has_sound) return;
  for (size_t i = 0; i < sizeof sounds / sizeof *sounds; i++)
    if (strcmp(type->mime, sounds[i][0]) == 0) {
      type->mime = sounds[i][1];
      return;
    }
}

/* The size as shown: what stands on its side is as wide as it was high. */
static void turn(lmm_sniffed *type) {
  if (type->orientation < 5) return;
  uint32_t width = type->width;
  type->width = type->height;
  type->height = width;
}

lmm_sniffed lmm_sniff(lmm_file *file) {
  lmm_view all = {file, 0, file->size};
  lmm_sniffed type;
  memset(&type, 0, sizeof type);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds && type.mime == NULL; i++) {
    if (!lmm_view_matches(after(all, kinds[i].at), kinds[i].magic, kinds[i].length)) continue;
    memset(&type, 0, sizeof type);
    type.mime = kinds[i].mime;
    if (kinds[i].look != NULL) kinds[i].look(all, &type);
  }
  if (type.mime == NULL) look_for_pdf(all, &type);
  if (type.mime == NULL) memset(&type, 0, sizeof type);
  type.is_text = is_text(file);
  name_sound(&type);
  turn(&type);
  return type;
}
