/* tiff.c: directories of fields as TIFF 6.0 has them come in; the size and the turn of a picture go out, and whether it
 * is a camera's raw picture, whose first directory may hold no more than a thumbnail. EXIF data is such a directory. */
#include <stddef.h>

#include "view.h"

/* How a file's numbers are written: BigTIFF has 8 bytes where TIFF has 4. */
typedef struct layout {
  lmm_view file;
  bool little, is_big;
} layout;

enum { MAX_CHILDREN = 8 }; /* further directories that are looked into */

typedef struct directory {
  bool is_whole; /* all its fields were there */
  bool is_raw, is_dng;
  uint64_t width, height, orientation;
  lmm_view make;     /* the maker of the camera */
  lmm_view children; /* where further directories stand: offsets, */
  unsigned child_width; /* in so many bytes each */
} directory;

static uint64_t read_number(const layout *tiff, lmm_view at, uint64_t offset, unsigned width) {
  return number(at, offset, width, tiff->little);
}

static layout read_layout(lmm_view file) {
  layout tiff = {file, byte(file, 0) == 'I', false};
  tiff.is_big = read_number(&tiff, file, 2, 2) == 43;
  return tiff;
}

/* The bytes of one item of a field of this type; 0 where that is no number. */
static unsigned width_of(uint64_t kind) {
  switch (kind) {
    case 3: return 2;                    /* SHORT */
    case 4: case 13: return 4;           /* LONG, IFD */
    case 16: case 18: return 8;          /* LONG8, IFD8 */
    default: return 0;
  }
}

/* The first field of a kind counts, as for libtiff. */
static void set_once(uint64_t *field, uint64_t value) {
  if (*field == 0) *field = value;
}

static void read_field(const layout *tiff, lmm_view entry, directory *found) {
  unsigned room = tiff->is_big ? 8 : 4;
  uint64_t tag = read_number(tiff, entry, 0, 2), kind = read_number(tiff, entry, 2, 2);
  uint64_t count = read_number(tiff, entry, 4, room);
  lmm_view field = after(entry, 4 + room);
  unsigned width = width_of(kind);
  uint64_t value = read_number(tiff, field, 0, width > 0 && width < room ? width : room);
  uint64_t bytes = count < UINT32_MAX ? count * (width > 0 ? width : 1) : UINT32_MAX;
  lmm_view data = bytes <= room ? part(field, 0, bytes) : part(after(tiff->file, read_number(tiff, field, 0, room)), 0, bytes);
  switch (tag) {
    case 256: set_once(&found->width, value); break;
    case 257: set_once(&found->height, value); break;
    case 274: set_once(&found->orientation, value); break;
    case 262: found->is_raw = found->is_raw || value == 32803 || value == 34892; break; /* a mosaic, or linear */
    case 271: found->make = data; break;
    case 330:
      found->children = data;
      found->child_width = width;
      break;
    case 50706: found->is_dng = true; break;
    default: break;
  }
}

static directory read_directory(const layout *tiff, uint64_t offset) {
  unsigned head = tiff->is_big ? 8 : 2, size = tiff->is_big ? 20 : 12;
  directory found = {0};
  found.make = found.children = part(tiff->file, 0, 0);
  lmm_view all = after(tiff->file, offset), entry = after(all, head);
  if (offset < 8 || !reaches(all, 0, head)) return found;
  uint64_t left = read_number(tiff, all, 0, head);
  for (; left > 0 && reaches(entry, 0, size); left--, entry = after(entry, size)) read_field(tiff, entry, &found);
  found.is_whole = left == 0 && !tiff->file.file->is_exhausted;
  return found;
}

static directory read_first(const layout *tiff) {
  return read_directory(tiff, read_number(tiff, tiff->file, tiff->is_big ? 8 : 4, tiff->is_big ? 8 : 4));
}

unsigned lmm_tiff_orientation(lmm_view exif) {
  if (STARTS(exif, "Exif")) exif = after(exif, 6);
  if (!STARTS(exif, "II*\0") && !STARTS(exif, "MM\0*")) return 0;
  layout tiff = read_layout(exif);
  uint64_t orientation = read_first(&tiff).orientation;
  return orientation >= 1 && orientation <= 8 ? (unsigned)orientation : 0;
}

static const struct maker {
  const char *name;
  size_t length;
  const char *mime;
} makers[] = {
    {LITERAL("NIKON"), "image/x-nikon-nef"},  {LITERAL("Canon"), "image/x-canon-cr2"}, {LITERAL("SONY"), "image/x-sony-arw"},
    {LITERAL("PENTAX"), "image/x-pentax-pef"}, {LITERAL("RICOH"), "image/x-pentax-pef"},
};

static const char *raw_type(const directory *first) {
  for (size_t i = 0; !first->is_dng && i < sizeof makers / sizeof *makers; i++)
    if (lmm_view_matches(first->make, makers[i].name, makers[i].length)) return makers[i].mime;
  return first->is_dng ? "image/x-adobe-dng" : "image/x-raw";
}

void lmm_tiff_look(lmm_view head, lmm_sniffed *type) {
  layout tiff = read_layout(head);
  if (STARTS(after(head, 8), "CR\2")) {
    type->mime = "image/x-canon-cr2";
    return;
  }
  directory first = read_first(&tiff);
  bool is_raw = first.is_raw || first.is_dng;
  for (unsigned i = 0; i < MAX_CHILDREN && !is_raw && first.child_width >= 4; i++) {
    uint64_t offset = read_number(&tiff, first.children, i * first.child_width, first.child_width);
    is_raw = offset != 0 && read_directory(&tiff, offset).is_raw;
  }
  if (is_raw) {
    type->mime = raw_type(&first);
  } else if (first.is_whole) {
    set_size(type, first.width, first.height);
    if (first.orientation <= 8) type->orientation = (unsigned)first.orientation;
  }
}
