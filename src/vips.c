/* vips.c: lmm.vips, pictures made into what servers take (see prepare.h). start{...} gives a job, which a thread does;
 * job:result() says whether it is done. Nothing here waits. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "prepare.h"

/* ---- Lua ------------------------------------------------------------------------------------------------------- */

#include "binding.h"

#define LMM_JOB "lmm.job"

typedef struct job {
  lmm_task *task; /* NULL: none, or one that is over */
  bool is_added;  /* the pool has it, too */
} job;

static void release(job *self) {
  lmm_task *task = self->task;
  self->task = NULL;
  if (task == NULL) return;
  if (self->is_added) lmm_pool_release(task); else lmm_pool_free(task);
}

/* Pushes a job without a task. */
static job *push_job(lua_State *L) {
  job *self = lmm_new_userdata(L, sizeof *self);
  *self = (job){NULL, false};
  luaL_setmetatable(L, LMM_JOB);
  return self;
}

/* Pushes a field of the options at index 1; whether it is there. */
static bool get_option(lua_State *L, const char *name, int type) {
  lua_getfield(L, 1, name);
  if (lua_isnil(L, -1)) return false;
  if (lua_type(L, -1) != type) luaL_error(L, "%s: %s expected", name, lua_typename(L, type));
  return true;
}

static lua_Number number_option(lua_State *L, const char *name, lua_Number absent, lua_Number least, lua_Number most) {
  lua_Number value = get_option(L, name, LUA_TNUMBER) ? lua_tonumber(L, -1) : absent;
  lua_pop(L, 1);
  if (!(value >= least && value <= most)) luaL_error(L, "%s is out of range", name);
  return value;
}

static bool flag_option(lua_State *L, const char *name, bool absent) {
  bool value = get_option(L, name, LUA_TBOOLEAN) ? lua_toboolean(L, -1) : absent;
  lua_pop(L, 1);
  return value;
}

/* A copy of a text, which is the task's; NULL where there is none. */
static char *text_option(lua_State *L, const char *name, size_t *length) {
  char *copy = NULL;
  if (get_option(L, name, LUA_TSTRING)) {
    const char *text = lua_tolstring(L, -1, length);
    copy = malloc(*length + 1);
    if (copy == NULL)
      luaL_error(L, "not enough memory");
    else
      memcpy(copy, text, *length + 1);
  }
  lua_pop(L, 1);
  return copy;
}

static int format_option(lua_State *L) {
  static const char *const formats[] = {"jpeg", "png", "webp", "count"}; /* as LMM_TO_... */
  const char *name = get_option(L, "format", LUA_TSTRING) ? lua_tostring(L, -1) : "";
  int format = 0;
  while (format <= LMM_TO_COUNT && strcmp(name, formats[format]) != 0) format++;
  if (format > LMM_TO_COUNT) return luaL_error(L, "format: jpeg, png, webp or count expected");
  lua_pop(L, 1);
  return format;
}

/* start{ path or bytes, format, quality?, max_side?, max_pixels?, orient?, animated?, lenient?, page?, dpi?,
 *   password?, seconds? } -> job | nil, message
 * `format` is "jpeg", "png", "webp", or "count", of a PDF's pages. With `page`, from 1, the source is a PDF, drawn at
 * `dpi`. `orient` (true) turns it upright, `lenient` takes what is cut short as far as it goes.
 * It is given up after `seconds` (60). */
static int vips_start(lua_State *L) {
  size_t length = 0;
  luaL_checktype(L, 1, LUA_TTABLE);
  job *self = push_job(L);
  lmm_task *task = self->task = calloc(1, sizeof *task);
  if (task == NULL) return luaL_error(L, "not enough memory");
  task->format = format_option(L);
  task->quality = (int)number_option(L, "quality", 85, 1, 100);
  task->max_side = (uint32_t)number_option(L, "max_side", 0, 0, INT32_MAX);
  task->max_pixels = (uint64_t)number_option(L, "max_pixels", 0, 0, 1e15);
  task->page = (unsigned)number_option(L, "page", 0, 0, 1e5);
  task->dpi = number_option(L, "dpi", 150, 1, 10000);
  task->seconds = (unsigned)number_option(L, "seconds", 60, 1, 86400);
  task->orient = flag_option(L, "orient", true);
  task->animated = flag_option(L, "animated", false);
  task->lenient = flag_option(L, "lenient", false);
  task->password = text_option(L, "password", &length);
  task->path = text_option(L, "path", &length);
  if (task->path == NULL) task->bytes = (unsigned char *)text_option(L, "bytes", &task->count);
  if (task->path == NULL && task->bytes == NULL) return luaL_error(L, "path or bytes expected");
  int code = lmm_pool_add(task);
  self->is_added = code == LMM_OK;
  if (code == LMM_OK) return 1;
  lua_pushnil(L);
  lua_pushstring(L, code == LMM_INVALID
                        ? "libvips was used before this process was forked, and cannot be used in the child"
                        : "libvips cannot be started: there is no memory or no thread for it");
  return 2;
}

static const char *const failures[] = {NULL,      "memory",   "unreadable", "long", "decoder",  "large",
                                       "damaged", "password", "page",       "slow", "cancelled",
                                       "library", "forked"}; /* as LMM_READY... */

static int push_failure(lua_State *L, int failure, const lmm_task *task) {
  lua_pushnil(L);
  lua_pushstring(L, failures[failure]);
  lua_pushstring(L, task != NULL ? task->detail : "");
  lua_pushinteger(L, task != NULL ? (lua_Integer)task->width : 0);
  lua_pushinteger(L, task != NULL ? (lua_Integer)task->height : 0);
  lua_pushinteger(L, task != NULL ? (lua_Integer)task->frames : 0);
  return 6;
}

/* One that is not over. */
static job *check_job(lua_State *L) {
  job *self = luaL_checkudata(L, 1, LMM_JOB);
  luaL_argcheck(L, self->task != NULL, 1, "this job is over");
  return self;
}

/* job:result() -> false while it is not done | bytes, width, height | pages | nil, failure, detail, width, height,
 *   frames
 * The failure is one word; once something else than false was given, the job is over. */
static int job_result(lua_State *L) {
  job *self = check_job(L);
  int count = 1, state = lmm_pool_state(self->task);
  if (state == LMM_POOL_BUSY) {
    lua_pushboolean(L, false);
    return 1;
  }
  job *held = push_job(L); /* has the task from now on: a finalizer that runs while values are made may close `self` */
  *held = *check_job(L);
  *self = (job){NULL, false};
  const lmm_task *task = held->task;
  if (state == LMM_POOL_LOST) {
    count = push_failure(L, LMM_TOO_SLOW, NULL); /* its thread may still write what else it has */
  } else if (state == LMM_POOL_PARENTS) {
    count = push_failure(L, LMM_FORKED, NULL);
  } else if (task->failure == LMM_READY && task->format == LMM_TO_COUNT) {
    lua_pushinteger(L, (lua_Integer)task->frames);
  } else if (task->failure == LMM_READY) {
    lua_pushlstring(L, task->out, task->out_count);
    lua_pushinteger(L, (lua_Integer)task->width);
    lua_pushinteger(L, (lua_Integer)task->height);
    count = 3;
  } else {
    count = push_failure(L, task->failure, task);
  }
  release(held);
  return count;
}

static int job_close(lua_State *L) {
  release(luaL_checkudata(L, 1, LMM_JOB));
  return 0;
}

static void find_engine(void) { lmm_engine_find(failures); }

LMM_EXPORT int luaopen_lmm_vips(lua_State *L);

LMM_EXPORT int luaopen_lmm_vips(lua_State *L) {
  static const luaL_Reg methods[] = {{"result", job_result}, {"close", job_close}, {NULL, NULL}};
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  static const luaL_Reg functions[] = {{"start", vips_start}, {NULL, NULL}};
  lmm_check_lua(L);
  lmm_stay_loaded(functions);
  (void)pthread_once(&once, find_engine);
  lmm_new_type(L, LMM_JOB, methods, job_close);
  luaL_newlib(L, functions);
  lmm_set_version(L);
  return 1;
}
