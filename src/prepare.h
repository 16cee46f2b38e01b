/* prepare.h: the parts of lmm.vips, which makes of a picture one that a server takes. A part calls only what is
 * declared above it, in lmm.h or here:
 *
 *     prepare   one picture, or one page of a PDF: bytes in, bytes out, with libvips
 *     engine    loads the one above
 *     pool      the threads that do it
 *     vips      the binding
 *
 * They are two shared objects. lmm/vips.so, which Lua loads, has all but the first, and needs nothing;
 * lmm/vips_engine.so beside it has the first, and libvips, which brings some sixty libraries with it: tens of
 * milliseconds, which a thread of the pool spends and not the one that runs the loop.
 */
#ifndef LMM_PREPARE_H
#define LMM_PREPARE_H

#include "lmm.h"

/* ---- prepare: decode, turn upright, shrink, convert to sRGB of 8 bit, encode ------------------------------------- */

#define LMM_MAX_INPUT ((uint64_t)256 * 1024 * 1024) /* bytes of a source */
#define LMM_MAX_PIXELS ((uint64_t)100 * 1000 * 1000) /* before decoding, all frames together */
#define LMM_MAX_DRAWN ((uint64_t)25 * 1000 * 1000)   /* of an SVG, as it is drawn: its filters take that many times */

enum { LMM_TO_JPEG, LMM_TO_PNG, LMM_TO_WEBP, LMM_TO_COUNT /* nothing: the pages of a PDF are counted */ };

/* Why it failed; LMM_READY is none. */
enum {
  LMM_READY,
  LMM_NO_MEMORY,
  LMM_UNREADABLE, /* the file: detail says why */
  LMM_TOO_LONG,   /* more than LMM_MAX_INPUT */
  LMM_NO_DECODER, /* detail: libvips' name of the loader that is not used, or empty */
  LMM_TOO_LARGE,  /* more than LMM_MAX_PIXELS or LMM_MAX_DRAWN: width, height and frames say how many;
                   * detail is "scale" where a drawing would be made less than a thousandth as large */
  LMM_DAMAGED,    /* detail: what libvips says */
  LMM_PASSWORD,
  LMM_NO_PAGE,    /* frames says how many there are */
  LMM_TOO_SLOW,   /* more than its seconds */
  LMM_CANCELLED,
  LMM_NO_LIBRARY, /* libvips is not there, or cannot be used: detail says why */
  LMM_FORKED      /* this is the child of the process that does it */
};

typedef struct lmm_task {
  /* What is to be done; the task owns all of it. */
  char *path;                     /* of the file; or NULL, and these are the bytes: */
  unsigned char *bytes;
  size_t count;
  char *password;                 /* of a PDF; or NULL */
  uint32_t max_side;              /* 0: no limit */
  uint64_t max_pixels;
  int format, quality;            /* LMM_TO_..., 1 to 100 */
  unsigned page;                  /* of a PDF, from 1; 0: it is a picture */
  double dpi;
  unsigned seconds;               /* that it may take */
  bool orient, animated, lenient; /* lenient: what is cut short is taken as far as it goes */

  /* What came of it. */
  int failure; /* one of the above */
  char detail[256];
  void *out; /* by libvips' allocator: lmm_engine.release */
  size_t out_count;
  uint32_t width, height, frames; /* as encoded; frames: a PDF's pages */

  /* The pool's. */
  struct lmm_task *next;
  int64_t until;                     /* when it is to be over, in microseconds of the monotonic clock */
  bool is_owned, is_queued, is_lost; /* owned: somebody wants to know what comes of it */
  bool is_done, is_cancelled;        /* read and written as atomics */
} lmm_task;

typedef struct lmm_engine {
  const char *version; /* of this header: another one is not called */
  /* Once in a process, before the first task, in any thread; false and why. */
  bool (*start)(char *problem, size_t capacity);
  /* Does it, in the thread that calls, until `task->until`. libvips keeps the text of its errors for all threads
   * together: only with `is_alone`, while no other task is under way, is `detail` surely of this task. */
  void (*run)(lmm_task *task, bool is_alone);
  void (*release)(void *out);
  void (*end_thread)(void); /* a thread that has run tasks is about to end */
  void (*end)(void);        /* the process is, and no task is under way: libvips' own threads end */
} lmm_engine;

/* ---- engine: the part above, with libvips ------------------------------------------------------------------------ */

#define LMM_ENGINE "lmm_engine_table" /* by which name vips_engine.so has it */

/* Once in a process, before the next one: `address` is in the module beside which it is. */
void lmm_engine_find(const void *address);
/* Loads it; NULL and why. Takes its time. */
const lmm_engine *lmm_engine_load(char *problem, size_t capacity);

/* ---- pool: the threads that do it --------------------------------------------------------------------------------- */

#define LMM_MOST_THREADS 4u /* and no more than processors */

/* Takes the task over, and does it as soon as a thread is free: LMM_OK, LMM_NOMEM, or LMM_INVALID in the child of a
 * process that has used the pool: its threads are gone, and libvips' locks may be held for ever. */
int lmm_pool_add(lmm_task *task);
/* LMM_POOL_LOST: its time is long over and it has not come back: it is in a call of a decoder that does not return. Its
 * thread is left alone, and another one takes its place. LMM_POOL_PARENTS: it was under way when this process was
 * forked, and will never be done here. */
enum { LMM_POOL_BUSY, LMM_POOL_DONE, LMM_POOL_LOST, LMM_POOL_PARENTS };
int lmm_pool_state(lmm_task *task);
/* Whoever has added the task wants nothing more of it: it is ended if need be, and freed. */
void lmm_pool_release(lmm_task *task);
void lmm_pool_free(lmm_task *task); /* one that was not added */

#endif
