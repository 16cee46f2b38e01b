/* prepare.c: a picture, or one page of a PDF, comes in as people have it; bytes that every server takes go out:
 * upright, shrunk, sRGB of 8 bit, without metadata. libvips does it, and shrinks while it decodes where the format
 * allows it.
 *
 * The picture is a stranger's: its pixels are counted before it is decoded, loaders that libvips does not trust with
 * such pictures are blocked, those excepted that are used here, and no more than its seconds are spent. */
#include "prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vips/vips.h>

/* The loaders that are used, by the beginnings of their names. */
static const char *const loaders[] = {"VipsForeignLoadJpeg", "VipsForeignLoadPng",  "VipsForeignLoadWebp",
                                      "VipsForeignLoadNsgif", "VipsForeignLoadTiff", "VipsForeignLoadHeif",
                                      "VipsForeignLoadSvg",  "VipsForeignLoadJxl",  "VipsForeignLoadJp2k"};

/* What libvips says goes into our messages, and nowhere else: a host's standard error is its own. */
static void say_nothing(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer data) {
  (void)domain, (void)level, (void)message, (void)data;
}

/* libvips holds lines of a picture back, in case that they are asked for again: a thousand of them, by the height of
 * the tiles that it otherwise works in. No more than a few dozen ever are here, where one thread goes from top to
 * bottom. */
static void keep_little(void) {
  char name[] = "lmm", height[] = "--vips-tile-height=8", strip[] = "--vips-fatstrip-height=8";
  char *words[] = {name, height, strip, NULL}, **left = words;
  int count = 3;
  GOptionContext *context = g_option_context_new(NULL);
  GOptionGroup *group = g_option_group_new("vips", "", "", NULL, NULL);
  vips_add_option_entries(group);
  g_option_context_set_main_group(context, group);
  (void)g_option_context_parse(context, &count, &left, NULL); /* where it does not know them, it takes more memory */
  g_option_context_free(context);
}

static bool start(char *problem, size_t capacity) {
  static const char *const quiet[] = {"VIPS", "GLib-GObject", "Poppler", "librsvg"};
  static const char *const unblocked[] = {"VipsForeignLoadSvg", "VipsForeignLoadJxl", "VipsForeignLoadJp2k",
                                          "VipsForeignLoadPdf"};
  for (size_t i = 0; i < sizeof quiet / sizeof *quiet; i++)
    g_log_set_handler(quiet[i], G_LOG_LEVEL_WARNING | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_MESSAGE, say_nothing, NULL);
  if (VIPS_INIT("lmm") != 0) {
    (void)snprintf(problem, capacity, "%s", vips_error_buffer());
    return false;
  }
  keep_little();
  vips_concurrency_set(1);
  vips_cache_set_max(0);
  vips_block_untrusted_set(TRUE);
  for (size_t i = 0; i < sizeof unblocked / sizeof *unblocked; i++) vips_operation_block_set(unblocked[i], FALSE);
  return true;
}

/* ---- the source ---- */

static bool fail(lmm_task *task, int failure, const char *detail) {
  task->failure = failure;
  (void)snprintf(task->detail, sizeof task->detail, "%s", detail);
  return false;
}

static bool fail_to_read(lmm_task *task) {
  return fail(task, errno == ENOMEM ? LMM_NO_MEMORY : LMM_UNREADABLE, strerror(errno));
}

/* In pages of its own, which go back to the system with the picture: the C library would keep memory of this size
 * from then on in the heap of each thread. */
static bool read_all(lmm_task *task, int fd, size_t *mapped) {
  struct stat status;
  if (fstat(fd, &status) != 0) return fail_to_read(task);
  if (!S_ISREG(status.st_mode)) return fail(task, LMM_UNREADABLE, "it is no longer a file");
  if ((uint64_t)status.st_size > LMM_MAX_INPUT) return fail(task, LMM_TOO_LONG, "");
  size_t size = (size_t)status.st_size;
  void *pages = mmap(NULL, size > 0 ? size : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return fail(task, LMM_NO_MEMORY, "");
  task->bytes = pages;
  *mapped = size > 0 ? size : 1;
  while (task->count < size) {
    ssize_t got = read(fd, task->bytes + task->count, size - task->count);
    if (got == 0) break;
    if (got > 0) task->count += (size_t)got;
    else if (errno != EINTR) return fail_to_read(task);
  }
  return true;
}

/* Where the source is a file and no PDF; `mapped` becomes how many bytes are to be given back. */
static bool read_file(lmm_task *task, size_t *mapped) {
  if (task->page > 0) return true;
  if (task->path == NULL) return task->count <= LMM_MAX_INPUT || fail(task, LMM_TOO_LONG, "");
  int fd = open(task->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail_to_read(task);
  bool ok = read_all(task, fd, mapped);
  (void)close(fd);
  return ok;
}

static void give_back(lmm_task *task, size_t mapped) {
  if (mapped == 0) return;
  (void)munmap(task->bytes, mapped);
  task->bytes = NULL;
  task->count = 0;
}

/* ---- failures of libvips ---- */

/* What libvips says, in one line without the domain that begins it: the first one, which is nearest to the cause.
 * Seeks beyond the end are none: by them libheif finds out how long a file is. */
static void copy_reason(char *out, size_t capacity, const char *text) {
  static const char seek[] = "bad seek to ";
  out[0] = '\0';
  for (size_t length; *text != '\0' && out[0] == '\0'; text += length + (text[length] != '\0')) {
    length = strcspn(text, "\n");
    const char *colon = strstr(text, ": ");
    const char *reason = colon != NULL && (size_t)(colon - text) < length ? colon + 2 : text;
    if (strncmp(reason, seek, sizeof seek - 1) != 0)
      (void)snprintf(out, capacity, "%.*s", (int)(length - (size_t)(reason - text)), reason);
  }
}

static bool contains(const char *text, const char *word) { return strstr(text, word) != NULL; }

static bool fail_by_vips(lmm_task *task) {
  if (task->failure != LMM_READY) return false; /* `look` has ended it, and said why */
  char *text = vips_error_buffer_copy();
  copy_reason(task->detail, sizeof task->detail, text);
  task->failure = LMM_DAMAGED;
  static const char *const unknown[] = {"Unsupported feature", "No decoding plugin", "undefined bits per pixel",
                                        "class \"pdfload"}; /* libheif's words, and libvips' without poppler */
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
    if (contains(text, unknown[i])) task->failure = LMM_NO_DECODER;
  if (task->page > 0 && (contains(text, "password") || contains(text, "encrypted"))) task->failure = LMM_PASSWORD;
  if (task->page > 0 && contains(text, "unable to open")) {
    task->failure = LMM_UNREADABLE;
    (void)snprintf(task->detail, sizeof task->detail, "it is no longer there");
  }
  if (contains(text, "out of memory")) task->failure = LMM_NO_MEMORY;
  g_free(text);
  return false;
}

/* ---- decoding ---- */

/* The file's own picture, of which only the header has been read; NULL where it fails. */
static VipsImage *open_picture(lmm_task *task, const char *options) {
  const char *loader = vips_foreign_find_load_buffer(task->bytes, task->count);
  bool is_used = false;
  for (size_t i = 0; loader != NULL && i < sizeof loaders / sizeof *loaders; i++)
    is_used = is_used || strncmp(loader, loaders[i], strlen(loaders[i])) == 0;
  if (!is_used) {
    (void)fail(task, LMM_NO_DECODER, loader != NULL ? loader : "");
    return NULL;
  }
  VipsImage *image =
      vips_image_new_from_buffer(task->bytes, task->count, options, "access", VIPS_ACCESS_SEQUENTIAL, NULL);
  if (image == NULL) (void)fail_by_vips(task);
  return image;
}

/* A page of a PDF, of whose file no more is read than it needs. */
static VipsImage *load_page(lmm_task *task, unsigned page, double dpi) {
  VipsImage *image = NULL;
  VipsBlob *blob = vips_blob_new(NULL, task->bytes, task->count);
  const char *password = task->password != NULL ? "password" : NULL;
  int at = (int)page - 1;
  int failed =
      task->path != NULL
          ? vips_call("pdfload", task->path, &image, "page", at, "dpi", dpi, password, task->password, NULL)
          : vips_call("pdfload_buffer", blob, &image, "page", at, "dpi", dpi, password, task->password, NULL);
  vips_area_unref(VIPS_AREA(blob));
  return failed == 0 ? image : NULL;
}

/* How many pages a PDF has; vips_image_get_n_pages does not believe in 10,000 of them. */
static uint32_t count_pages(VipsImage *image) {
  int count = 1;
  if (vips_image_get_typeof(image, VIPS_META_N_PAGES) != 0) (void)vips_image_get_int(image, VIPS_META_N_PAGES, &count);
  return count > 1 ? (uint32_t)count : 1;
}

/* The same; where there is no such page, that is what failed. */
static VipsImage *open_page(lmm_task *task) {
  VipsImage *image = load_page(task, task->page, task->dpi);
  VipsImage *first = image != NULL ? image : load_page(task, 1, task->dpi);
  if (first == NULL) {
    (void)fail_by_vips(task);
    return NULL;
  }
  task->frames = count_pages(first);
  if (image != NULL) return image;
  g_object_unref(first);
  (void)(task->page > task->frames ? fail(task, LMM_NO_PAGE, "") : fail_by_vips(task));
  return NULL;
}

static bool is_drawing(VipsImage *image) {
  const char *loader = NULL;
  return vips_image_get_typeof(image, VIPS_META_LOADER) != 0 &&
         vips_image_get_string(image, VIPS_META_LOADER, &loader) == 0 && strncmp(loader, "svgload", 7) == 0;
}

/* libvips leaves a side of more than 10 million pixels at 1, and says nothing of it: a thousandth of it, which is the
 * smallest that it draws, has more. */
static bool check_sides(lmm_task *task, VipsImage *image) {
  bool is_drawn = task->page > 0 || is_drawing(image);
  if (!is_drawn || (image->Xsize > 1 && image->Ysize > 1)) return true;
  VipsImage *small = task->page > 0 ? load_page(task, task->page, task->dpi / 1000)
                                    : vips_image_new_from_buffer(task->bytes, task->count, "[scale=0.001]", NULL);
  if (small == NULL) return fail_by_vips(task);
  bool is_wide = image->Xsize == 1 && small->Xsize > 1, is_high = image->Ysize == 1 && small->Ysize > 1;
  task->width = is_wide ? (uint32_t)small->Xsize * 1000 : (uint32_t)image->Xsize;
  task->height = is_high ? (uint32_t)small->Ysize * 1000 : (uint32_t)image->Ysize;
  g_object_unref(small);
  return (!is_wide && !is_high) || fail(task, LMM_TOO_LARGE, task->page > 0 ? "" : "scale");
}

/* The page in place of one that has more pixels than are decoded, by a resolution at which it is as large as is wanted;
 * `image` itself where that is too many, too. */
static VipsImage *draw_smaller(lmm_task *task, VipsImage *image) {
  uint32_t width = (uint32_t)image->Xsize, height = (uint32_t)image->Ysize;
  if (task->page == 0 || (uint64_t)width * height <= LMM_MAX_PIXELS) return image;
  lmm_fit(&width, &height, task->max_side, task->max_pixels);
  if ((uint64_t)width * height > LMM_MAX_PIXELS) return image;
  double scale = width > height ? (double)width / image->Xsize : (double)height / image->Ysize;
  VipsImage *small = load_page(task, task->page, task->dpi * scale);
  if (small == NULL) return image;
  g_object_unref(image);
  return small;
}

/* The size as shown, which becomes the task's; false where it is more than is decoded. A drawing is drawn as large as
 * it is wanted, whatever it says. */
static bool check_size(lmm_task *task, VipsImage *image) {
  bool is_turned = task->orient && vips_image_get_orientation_swap(image);
  uint32_t width = (uint32_t)image->Xsize, height = (uint32_t)vips_image_get_page_height(image);
  task->frames = task->page > 0 ? task->frames : (uint32_t)image->Ysize / height;
  task->width = is_turned ? height : width;
  task->height = is_turned ? width : height;
  if (!is_drawing(image))
    return (uint64_t)image->Xsize * (uint64_t)image->Ysize <= LMM_MAX_PIXELS || fail(task, LMM_TOO_LARGE, "");
  lmm_fit(&width, &height, task->max_side, task->max_pixels);
  bool is_tiny = width < (uint32_t)image->Xsize / 1000; /* libvips' least scale; beyond, it would be drawn in full */
  if (is_tiny) return fail(task, LMM_TOO_LARGE, "scale");
  return (uint64_t)width * height <= LMM_MAX_DRAWN || fail(task, LMM_TOO_LARGE, "");
}

/* The picture upright, shrunk and in sRGB, of which nothing has been computed yet. */
static VipsImage *shrink(lmm_task *task, VipsImage *image, const char *options) {
  const char *profile = vips_image_get_typeof(image, VIPS_META_ICC_NAME) != 0 ? "srgb" : NULL;
  VipsImage *out = NULL;
  VipsBlob *blob = vips_blob_new(NULL, task->bytes, task->count);
  int width = (int)task->width, height = (int)task->height, failed;
  lmm_fit(&task->width, &task->height, task->max_side, task->max_pixels);
  bool is_same = task->width == (uint32_t)width && task->height == (uint32_t)height;
  width = (int)task->width;
  height = (int)task->height;
  if (task->page > 0)
    failed = is_same ? vips_copy(image, &out, NULL)
                     : vips_thumbnail_image(image, &out, width, "height", height, "size", VIPS_SIZE_FORCE, NULL);
  else
    failed = vips_call("thumbnail_buffer", blob, &out, width, "height", height, "size", VIPS_SIZE_FORCE, "no_rotate",
                       !task->orient, "option_string", options, profile != NULL ? "export_profile" : NULL, profile,
                       NULL);
  vips_area_unref(VIPS_AREA(blob));
  if (failed != 0) (void)fail_by_vips(task);
  return failed == 0 ? out : NULL;
}

/* Takes one step of several: `in` is given up, what is in `out` goes on; by its address, since the call that fills it
 * is an argument, too, and C evaluates those in any order. */
static VipsImage *step(lmm_task *task, int failed, VipsImage *in, VipsImage *const *out) {
  g_object_unref(in);
  if (failed == 0) return *out;
  (void)fail_by_vips(task);
  return NULL;
}

/* What may still be in the way of an encoder: other spaces and depths, and transparency where there is none. */
static VipsImage *settle(lmm_task *task, VipsImage *image) {
  VipsImage *out = NULL;
  VipsInterpretation space = image->Bands < 3 ? VIPS_INTERPRETATION_B_W : VIPS_INTERPRETATION_sRGB;
  if (image->Type != space) {
    image = step(task, vips_colourspace(image, &out, space, NULL), image, &out);
    if (image == NULL) return NULL;
  }
  if (image->BandFmt != VIPS_FORMAT_UCHAR) {
    image = step(task, vips_cast(image, &out, VIPS_FORMAT_UCHAR, NULL), image, &out);
    if (image == NULL) return NULL;
  }
  if (vips_image_hasalpha(image) && (task->format == LMM_TO_JPEG || task->page > 0)) {
    VipsArrayDouble *white = vips_array_double_newv(1, 255.0);
    int failed = vips_flatten(image, &out, "background", white, NULL);
    vips_area_unref(VIPS_AREA(white));
    image = step(task, failed, image, &out);
  }
  return image;
}

/* ---- encoding ---- */

/* The picture with nothing beside its pixels than what an animation needs: EXIF, XMP, IPTC, profiles, comments, its
 * orientation and whatever a loader may add go. The encoders' "strip" is not enough: that of libvips 8.14 keeps all
 * of them in a WebP. */
static VipsImage *strip_metadata(lmm_task *task, VipsImage *image) {
  static const char *const kept[] = {VIPS_META_PAGE_HEIGHT, "delay", "loop"};
  VipsImage *out = NULL;
  image = step(task, vips_copy(image, &out, NULL), image, &out);
  if (image == NULL) return NULL;
  gchar **fields = vips_image_get_fields(image);
  for (size_t i = 0; fields[i] != NULL; i++) {
    bool is_kept = false;
    for (size_t k = 0; k < sizeof kept / sizeof *kept; k++) is_kept = is_kept || strcmp(fields[i], kept[k]) == 0;
    if (!is_kept) (void)vips_image_remove(image, fields[i]); /* which leaves width, height and their like alone */
  }
  g_strfreev(fields);
  return image;
}

/* libvips calls this every now and then while it computes. */
static void look(VipsImage *image, VipsProgress *progress, lmm_task *task) {
  (void)progress;
  bool is_cancelled = __atomic_load_n(&task->is_cancelled, __ATOMIC_RELAXED);
  if (!is_cancelled && g_get_monotonic_time() < task->until) return;
  task->failure = is_cancelled ? LMM_CANCELLED : LMM_TOO_SLOW;
  vips_image_set_kill(image, TRUE);
}

static bool encode(lmm_task *task, VipsImage *image) {
  vips_image_set_progress(image, TRUE);
  gulong handler = g_signal_connect(image, "eval", G_CALLBACK(look), task);
  int failed;
  if (task->format == LMM_TO_JPEG)
    failed = vips_jpegsave_buffer(image, &task->out, &task->out_count, "Q", task->quality, "strip", TRUE, NULL);
  else if (task->format == LMM_TO_WEBP)
    failed = vips_webpsave_buffer(image, &task->out, &task->out_count, "Q", task->quality, "strip", TRUE, NULL);
  else
    failed = vips_pngsave_buffer(image, &task->out, &task->out_count, "strip", TRUE, NULL);
  g_signal_handler_disconnect(image, handler);
  task->width = (uint32_t)image->Xsize;
  task->height = (uint32_t)vips_image_get_page_height(image);
  return failed == 0 || fail_by_vips(task);
}

static void prepare(lmm_task *task) {
  /* As a loader's options: vips_thumbnail_buffer has one of this name, which libvips 8.14 does not hand on. */
  const char *options = task->lenient ? (task->animated ? "[n=-1]" : "")
                                      : (task->animated ? "[n=-1,fail_on=truncated]" : "[fail_on=truncated]");
  VipsImage *image = task->page > 0 ? open_page(task) : open_picture(task, options);
  if (image == NULL) return;
  if (task->format == LMM_TO_COUNT) {
    g_object_unref(image);
    return;
  }
  bool fits = check_sides(task, image);
  if (fits) {
    image = draw_smaller(task, image);
    fits = check_size(task, image);
  }
  VipsImage *out = fits ? shrink(task, image, options) : NULL;
  if (out != NULL) out = settle(task, out);
  if (out != NULL) out = strip_metadata(task, out);
  if (out != NULL) (void)encode(task, out);
  if (out != NULL) g_object_unref(out);
  g_object_unref(image);
}

static void run(lmm_task *task, bool is_alone) {
  task->failure = LMM_READY;
  task->detail[0] = '\0';
  if (is_alone) vips_error_clear();
  size_t mapped = 0;
  if (read_file(task, &mapped)) prepare(task);
  bool is_empty = task->failure == LMM_READY && task->format != LMM_TO_COUNT && task->out_count == 0;
  if (is_empty) (void)fail(task, LMM_DAMAGED, "the encoder gave no bytes");
  give_back(task, mapped);
  if (is_alone) vips_error_clear();
}

LMM_EXPORT const lmm_engine lmm_engine_table;

const lmm_engine lmm_engine_table = {LMM_VERSION "-" LMM_INTERFACE, start, run, g_free, vips_thread_shutdown,
                                     vips_shutdown};
