/* pool.c: tasks come in; threads do them, and end some time after there is nothing more to do. There is one pool for
 * the process, whatever the number of Lua states. A task belongs to whoever has added it and to the pool, and is freed
 * by the one who lets go of it last, so that a Lua state can be closed at any moment. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "prepare.h"

#define IDLE_SECONDS 5 /* that a thread waits for another task */
#define PLACES (4 * LMM_MOST_THREADS) /* for threads, those included that are about to end */
#define EXIT_SECONDS 5 /* that the end of the process waits for the threads */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over all of these */
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;   /* a task was added, or the process ends */
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;  /* a thread has ended */
static lmm_task *first, *last;                           /* that wait for a thread */
static lmm_task *running[LMM_MOST_THREADS];
static unsigned threads, idle, queued;
static struct worker {
  pthread_t thread;
  bool is_used;   /* the thread is still to be joined */
  bool has_ended; /* and will be at once */
} workers[PLACES];
static bool is_ending;

static bool is_started; /* libvips, by the first thread that has a task */

static pthread_rwlock_t vips = PTHREAD_RWLOCK_INITIALIZER; /* held to write by a task that runs alone */
static pid_t process;                                      /* that uses the pool; 0: none does */

static struct timespec seconds_from_now(time_t seconds) {
  struct timespec until;
  (void)clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += seconds;
  return until;
}

/* ---- the end of the process ---- */

/* With the lock held. */
static bool is_busy(void) {
  for (size_t i = 0; i < PLACES; i++)
    if (workers[i].is_used && !workers[i].has_ended) return true;
  return false;
}

/* The libraries below take themselves down as the process ends: nothing may be under way in them then, not even the end
 * of a thread. */
static void end(void) {
  if (process != getpid()) return; /* in a child that was forked, the threads are the parent's */
  struct timespec until = seconds_from_now(EXIT_SECONDS);
  (void)pthread_mutex_lock(&lock);
  is_ending = true;
  for (size_t i = 0; i < LMM_MOST_THREADS; i++)
    if (running[i] != NULL) __atomic_store_n(&running[i]->is_cancelled, true, __ATOMIC_RELAXED);
  (void)pthread_cond_broadcast(&work);
  while (is_busy() && pthread_cond_timedwait(&ended, &lock, &until) == 0) {}
  bool is_over = !is_busy() && is_started;
  is_started = is_started && !is_over;
  (void)pthread_mutex_unlock(&lock);
  for (size_t i = 0; i < PLACES; i++) {
    if (workers[i].has_ended) (void)pthread_join(workers[i].thread, NULL);
    workers[i].is_used = workers[i].is_used && !workers[i].has_ended;
    workers[i].has_ended = false;
  }
  if (is_over) lmm_prepare_end();
}

/* ---- a thread ---- */

/* The next task, or NULL where none came for some time. With the lock held. */
static lmm_task *take(void) {
  struct timespec until = seconds_from_now(IDLE_SECONDS);
  idle++;
  while (first == NULL && !is_ending && pthread_cond_timedwait(&work, &lock, &until) == 0) {}
  idle--;
  lmm_task *task = is_ending ? NULL : first;
  if (task == NULL) return NULL;
  first = task->next;
  if (first == NULL) last = NULL;
  queued--;
  task->is_queued = false;
  return task;
}

/* What was registered last is called first as the process ends: before the libraries that this has loaded are. */
static void start_vips(void) { is_started = lmm_prepare_start() && atexit(end) == 0; }

/* What failed is done once more while no other task is: only then is the reason surely its own. */
static void run(lmm_task *task) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, start_vips);
  if (!is_started) {
    task->failure = LMM_NO_MEMORY;
    return;
  }
  (void)pthread_rwlock_rdlock(&vips);
  lmm_prepare_run(task, false);
  (void)pthread_rwlock_unlock(&vips);
  bool is_told = task->failure == LMM_NO_MEMORY || task->failure == LMM_UNREADABLE ||
                 task->failure == LMM_NO_DECODER || task->failure == LMM_DAMAGED || task->failure == LMM_PASSWORD;
  if (!is_told) return; /* by libvips' text */
  (void)pthread_rwlock_wrlock(&vips);
  lmm_prepare_run(task, true);
  (void)pthread_rwlock_unlock(&vips);
}

static void *work_on(void *argument) {
  struct worker *self = argument;
  lmm_task *task;
  bool has_run = false;
  (void)pthread_mutex_lock(&lock);
  while ((task = take()) != NULL) {
    unsigned place = 0;
    while (running[place] != NULL) place++; /* there are as many places as threads */
    running[place] = task;
    (void)pthread_mutex_unlock(&lock);
    run(task);
    has_run = true;
    (void)pthread_mutex_lock(&lock);
    running[place] = NULL;
    if (task->is_owned)
      __atomic_store_n(&task->is_done, true, __ATOMIC_RELEASE);
    else
      lmm_prepare_free(task);
  }
  threads--; /* with the lock held since `take`: whoever adds a task now starts another one */
  (void)pthread_mutex_unlock(&lock);
  if (has_run) lmm_prepare_end_thread(); /* otherwise libvips may not have been started */
  (void)pthread_mutex_lock(&lock);
  self->has_ended = true;
  (void)pthread_cond_broadcast(&ended);
  (void)pthread_mutex_unlock(&lock);
  return NULL;
}

/* A place for a thread; one that has ended is joined, which does not wait. With the lock held. */
static struct worker *free_place(void) {
  for (struct worker *place = workers; place < workers + PLACES; place++) {
    if (place->has_ended) (void)pthread_join(place->thread, NULL);
    if (!place->is_used || place->has_ended) {
      *place = (struct worker){.is_used = false};
      return place;
    }
  }
  return NULL;
}

/* One that the host's signals do not disturb. With the lock held. */
static bool start_thread(void) {
  sigset_t all, before;
  struct worker *place = free_place();
  if (place == NULL) return false; /* one is about to end: the task waits for another */
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  place->is_used = pthread_create(&place->thread, NULL, work_on, place) == 0;
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (place->is_used) threads++;
  return place->is_used;
}

/* Once in a process. With the lock held. */
static bool begin(void) {
#ifdef __GLIBC__ /* elsewhere a task that runs alone may have to wait until there are no others */
  pthread_rwlockattr_t attributes;
  if (pthread_rwlockattr_init(&attributes) != 0) return false;
  (void)pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  (void)pthread_rwlock_init(&vips, &attributes);
  (void)pthread_rwlockattr_destroy(&attributes);
#endif
  if (atexit(end) != 0) return false;
  process = getpid();
  return true;
}

static unsigned most_threads(void) {
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  if (processors < 1) return 1;
  return processors < (long)LMM_MOST_THREADS ? (unsigned)processors : LMM_MOST_THREADS;
}

/* ---- for whoever has tasks ---- */

int lmm_pool_add(lmm_task *task) {
  if (process != 0 && process != getpid()) return LMM_INVALID;
  (void)pthread_mutex_lock(&lock);
  bool ok = process != 0 || begin();
  if (ok && idle <= queued && threads < most_threads()) ok = start_thread() || threads > 0;
  if (ok) {
    task->next = NULL;
    task->is_owned = task->is_queued = true;
    if (last != NULL) last->next = task; else first = task;
    last = task;
    queued++;
    (void)pthread_cond_signal(&work);
  }
  (void)pthread_mutex_unlock(&lock);
  return ok ? LMM_OK : LMM_NOMEM;
}

bool lmm_pool_is_done(lmm_task *task) { return __atomic_load_n(&task->is_done, __ATOMIC_ACQUIRE); }

/* With the lock held. */
static void remove_from_queue(lmm_task *task) {
  lmm_task *before = NULL;
  for (lmm_task *other = first; other != task; other = other->next) before = other;
  if (before != NULL) before->next = task->next; else first = task->next;
  if (last == task) last = before;
  queued--;
}

void lmm_pool_release(lmm_task *task) {
  if (process != getpid()) return; /* the lock may be held for ever here: what the parent has is left alone */
  (void)pthread_mutex_lock(&lock);
  bool is_free = task->is_queued || task->is_done;
  if (task->is_queued) remove_from_queue(task);
  task->is_owned = false;
  __atomic_store_n(&task->is_cancelled, true, __ATOMIC_RELAXED);
  (void)pthread_mutex_unlock(&lock);
  if (is_free) lmm_prepare_free(task);
}
