/* pool.c: tasks come in; threads do them, and end some time after there is nothing more to do. There is one pool for
 * the process, whatever the number of Lua states. A task belongs to whoever has added it and to the pool, and is freed
 * by the one who lets go of it last, so that a Lua state can be closed at any moment. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "prepare.h"

#define IDLE_SECONDS 5 /* that a thread waits for another task */
#define PLACES (4 * LMM_MOST_THREADS) /* for threads, those included that are about to end or are lost */
#define EXIT_SECONDS 5  /* that the end of the process waits for the threads */
#define ALONE_SECONDS 5 /* that a task which is to run alone waits for the others */
#define LOST_AFTER 1000000 /* microseconds after the end of its time, a task is lost */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over all of these */
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;   /* a task was added, or the process ends */
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;  /* a thread has ended */
static lmm_task *first, *last;                           /* that wait for a thread */
static unsigned threads, idle, queued, lost;             /* threads: without those that are lost */
static struct worker {
  pthread_t thread;
  lmm_task *task; /* under way; NULL: none */
  bool is_used;   /* the thread is still to be joined */
  bool has_ended; /* and will be at once */
} workers[PLACES];
static bool is_ending;

static const lmm_engine *engine; /* loaded by the first thread that has a task; NULL: not yet, or why it is not there: */
static char problem[256];

static pthread_rwlock_t vips = PTHREAD_RWLOCK_INITIALIZER; /* held to write by a task that runs alone */
static pid_t process;                                      /* that uses the pool; 0: none does */

static struct timespec seconds_from_now(time_t seconds) {
  struct timespec until;
  (void)clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += seconds;
  return until;
}

static int64_t microseconds(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void lmm_pool_free(lmm_task *task) {
  free(task->path);
  free(task->bytes);
  free(task->password);
  if (task->out != NULL && engine != NULL) engine->release(task->out); /* as the process ends, it may be gone */
  free(task);
}

/* ---- the end of the process ---- */

/* Whether there is a thread that is about to end by itself. With the lock held. */
static bool is_busy(void) {
  for (size_t i = 0; i < PLACES; i++)
    if (workers[i].is_used && !workers[i].has_ended && (workers[i].task == NULL || !workers[i].task->is_lost))
      return true;
  return false;
}

/* The libraries below take themselves down as the process ends: nothing may be under way in them then, not even the end
 * of a thread. It is called twice where they were loaded (see `load`), and waits once. */
static void end(void) {
  if (process != getpid() || is_ending) return; /* in a child that was forked, the threads are the parent's */
  struct timespec until = seconds_from_now(EXIT_SECONDS);
  (void)pthread_mutex_lock(&lock);
  is_ending = true;
  for (size_t i = 0; i < PLACES; i++)
    if (workers[i].task != NULL) __atomic_store_n(&workers[i].task->is_cancelled, true, __ATOMIC_RELAXED);
  (void)pthread_cond_broadcast(&work);
  while (is_busy() && pthread_cond_timedwait(&ended, &lock, &until) == 0) {}
  const lmm_engine *to_end = is_busy() || lost > 0 ? NULL : engine;
  if (to_end != NULL) engine = NULL;
  for (size_t i = 0; i < PLACES; i++) {
    if (workers[i].has_ended) (void)pthread_join(workers[i].thread, NULL);
    workers[i].is_used = workers[i].is_used && !workers[i].has_ended;
    workers[i].has_ended = false;
  }
  (void)pthread_mutex_unlock(&lock);
  if (to_end != NULL) to_end->end();
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
  task->until = microseconds() + (int64_t)task->seconds * 1000000;
  return task;
}

/* What was registered last is called first as the process ends: before the libraries that this has loaded are. */
static void load(void) {
  const lmm_engine *loaded = lmm_engine_load(problem, sizeof problem);
  if (loaded != NULL && atexit(end) != 0) loaded = NULL;
  (void)pthread_mutex_lock(&lock);
  if (!is_ending) engine = loaded;
  (void)pthread_mutex_unlock(&lock);
}

/* Whether no other task is under way now, nor will be until the lock is given back; not where that takes long. */
static bool lock_alone(void) {
  struct timespec until = seconds_from_now(ALONE_SECONDS);
  (void)pthread_mutex_lock(&lock);
  bool can_be = lost == 0;
  (void)pthread_mutex_unlock(&lock);
  return can_be && pthread_rwlock_timedwrlock(&vips, &until) == 0;
}

/* What failed is done once more while no other task is: only then is the reason surely its own. */
static void run(lmm_task *task) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, load);
  if (engine == NULL) {
    task->failure = LMM_NO_LIBRARY;
    (void)snprintf(task->detail, sizeof task->detail, "%s", problem);
    return;
  }
  (void)pthread_rwlock_rdlock(&vips);
  engine->run(task, false);
  (void)pthread_rwlock_unlock(&vips);
  bool is_told = task->failure == LMM_NO_MEMORY || task->failure == LMM_UNREADABLE ||
                 task->failure == LMM_NO_DECODER || task->failure == LMM_DAMAGED || task->failure == LMM_PASSWORD;
  if (!is_told || !lock_alone()) return; /* by libvips' text */
  engine->run(task, true);
  (void)pthread_rwlock_unlock(&vips);
}

/* A task is over. Whether its thread goes on to the next one. With the lock held. */
static bool hand_back(lmm_task *task) {
  bool is_lost = task->is_lost;
  if (is_lost) lost--;
  if (task->is_owned)
    __atomic_store_n(&task->is_done, true, __ATOMIC_RELEASE);
  else
    lmm_pool_free(task);
  return !is_lost; /* another thread has taken its place */
}

static void *work_on(void *argument) {
  struct worker *self = argument;
  bool has_run = false, goes_on = true;
  (void)pthread_mutex_lock(&lock);
  while (goes_on && (self->task = take()) != NULL) {
    (void)pthread_mutex_unlock(&lock);
    run(self->task);
    has_run = true;
    (void)pthread_mutex_lock(&lock);
    goes_on = hand_back(self->task);
    self->task = NULL;
  }
  if (goes_on) threads--; /* with the lock held since `take`: whoever adds a task now starts another one */
  const lmm_engine *used = has_run ? engine : NULL;
  (void)pthread_mutex_unlock(&lock);
  if (used != NULL) used->end_thread();
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

/* With the lock held. */
static bool start_another(void) {
  return !(idle <= queued && threads < most_threads()) || start_thread() || threads > 0;
}

int lmm_pool_add(lmm_task *task) {
  if (process != 0 && process != getpid()) return LMM_INVALID;
  (void)pthread_mutex_lock(&lock);
  bool ok = (process != 0 || begin()) && start_another();
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

/* Gives up the threads whose task should be over since long: others take their places. With the lock held. */
static void give_up_lost(void) {
  int64_t now = microseconds();
  for (struct worker *place = workers; place < workers + PLACES; place++) {
    lmm_task *task = place->task;
    if (task == NULL || task->is_lost || now < task->until + LOST_AFTER) continue;
    task->is_lost = true;
    __atomic_store_n(&task->is_cancelled, true, __ATOMIC_RELAXED);
    threads--;
    lost++;
    if (queued > 0) (void)start_another();
  }
}

int lmm_pool_state(lmm_task *task) {
  if (__atomic_load_n(&task->is_done, __ATOMIC_ACQUIRE)) return LMM_POOL_DONE;
  if (process != getpid()) return LMM_POOL_PARENTS; /* the lock may be held for ever here */
  (void)pthread_mutex_lock(&lock);
  give_up_lost();
  bool is_lost = task->is_lost;
  (void)pthread_mutex_unlock(&lock);
  return is_lost ? LMM_POOL_LOST : LMM_POOL_BUSY;
}

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
  if (is_free) lmm_pool_free(task);
}
