/* oom.c: the host of `make oom`. Lua scenarios come in; each is run again and again in a Lua state of its own, and each
 * time another of its allocations fails. What goes out: how many failed, and every case in which that did harm.
 *
 *     oom MODULES [SCENARIO...]      MODULES: the folder of lmm/core.so and lmm/curl.so, linked as the Makefile does
 *
 * Three sources of allocations can fail: Lua's, through the allocator of its state; those of lmm's own C, which is
 * linked with --wrap, so that its malloc is a function of this program; and libcurl's, through curl_global_init_mem.
 * lua-cjson's own cannot: it ends the process when memory runs out. All three are counted, so that after lua_close
 * nothing may be left; and the whole is built with AddressSanitizer.
 */
#include <curl/curl.h>
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE 60 /* seconds that one run may take, on a slow machine, too */
#define SCRIPT "spec/oom/scenarios.lua"
#define URL "oom.url"

/* Before it gives up, Lua collects all garbage and asks for the same memory a second time (5.2 and later). */
#if LUA_VERSION_NUM >= 502
#define ASKS 2
#else
#define ASKS 1
#endif

enum source { LUA, OWN, LIBCURL, SOURCES };

/* Which allocations fail: of Lua, or of C; from the `first` on, `count` of them. */
static struct {
  bool armed, lua;
  long first, count, seen;
  long failed[SOURCES], total[SOURCES];
  long live[SOURCES]; /* blocks; of Lua: bytes */
} now;

static char label[256]; /* of the run under way */
static int problems;

static void complain(const char *what) {
  if (++problems <= 20) printf("  FAILED: %s: %s\n", label, what);
}

static void too_late(int number) {
  (void)number;
  (void)!write(1, label, strlen(label));
  (void)!write(1, ": hangs\n", 8);
  _exit(2);
}

/* libcurl's resolver runs in a thread of its own, so all counts are atomic. */
static void count_live(enum source source, long change) {
  (void)__atomic_add_fetch(&now.live[source], change, __ATOMIC_RELAXED);
}

static bool fails(enum source source) {
  if (!now.armed || (source == LUA) != now.lua) return false;
  long number = __atomic_add_fetch(&now.seen, 1, __ATOMIC_RELAXED);
  if (number < now.first || number - now.first >= now.count) return false;
  (void)__atomic_add_fetch(&now.failed[source], 1, __ATOMIC_RELAXED);
  errno = ENOMEM;
  return true;
}

/* ---- the three allocators ---- */

static void *lua_allocate(void *context, void *block, size_t before, size_t size) {
  (void)context;
  if (block == NULL) before = 0; /* a kind of object, since 5.2 */
  if (size > before && fails(LUA)) return NULL;
  if (size == 0) {
    free(block);
  } else {
    block = realloc(block, size);
    if (block == NULL) abort();
  }
  count_live(LUA, (long)size - (long)before);
  return size == 0 ? NULL : block;
}

static void *counted(enum source source, void *block) {
  if (block != NULL) count_live(source, 1);
  return block;
}

static void release(enum source source, void *block) {
  if (block != NULL) count_live(source, -1);
  free(block);
}

static void *resize(enum source source, void *block, size_t size) {
  if (fails(source)) return NULL;
  return block == NULL ? counted(source, malloc(size)) : realloc(block, size);
}

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *block);

void *__wrap_malloc(size_t size) { return fails(OWN) ? NULL : counted(OWN, malloc(size)); }
void *__wrap_calloc(size_t count, size_t size) { return fails(OWN) ? NULL : counted(OWN, calloc(count, size)); }
void *__wrap_realloc(void *block, size_t size) { return resize(OWN, block, size); }
char *__wrap_strdup(const char *text) { return fails(OWN) ? NULL : counted(OWN, strdup(text)); }
void __wrap_free(void *block) { release(OWN, block); }

static void *curl_malloc(size_t size) { return fails(LIBCURL) ? NULL : counted(LIBCURL, malloc(size)); }
static void *curl_calloc(size_t count, size_t size) {
  return fails(LIBCURL) ? NULL : counted(LIBCURL, calloc(count, size));
}
static void *curl_realloc(void *block, size_t size) { return resize(LIBCURL, block, size); }
static char *curl_strdup(const char *text) { return fails(LIBCURL) ? NULL : counted(LIBCURL, strdup(text)); }
static void curl_release(void *block) { release(LIBCURL, block); }

/* lua-cjson loses its scratch buffer when a table cannot be made while it decodes. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:cjson\n"; }
const char *__lsan_default_options(void);
const char *__lsan_default_options(void) { return "print_suppressions=0"; }

/* ---- one run ---- */

/* Calls the function on the top, below its arguments; the results, or the error, stay there. */
static bool call(lua_State *L, int arguments, int results) {
  if (lua_pcall(L, arguments, results, 0) == 0) return true;
  complain(lua_isstring(L, -1) ? lua_tostring(L, -1) : "an error that is no text");
  return false;
}

static lua_State *open_state(const char *modules, const char *url) {
  lua_State *L = lua_newstate(lua_allocate, NULL);
  luaL_openlibs(L);
  lua_getglobal(L, "package");
  lua_pushfstring(L, "%s/?.so;", modules);
  lua_getfield(L, -2, "cpath");
  lua_concat(L, 2);
  lua_setfield(L, -2, "cpath");
  lua_pop(L, 1);
  lua_pushstring(L, url);
  lua_setglobal(L, "url");
  return L;
}

/* Runs a scenario. The script prepares it, unharmed, and gives two functions: one that judges, and the scenario itself,
 * which is run armed. How it ended, in the form of pcall, is what the judge is told. */
static void run_in(lua_State *L, const char *scenario) {
  if (luaL_loadfile(L, SCRIPT) != 0) {
    complain(lua_tostring(L, -1));
    return;
  }
  lua_pushstring(L, scenario);
  if (!call(L, 1, 2)) return; /* judge, run */
  now.seen = 0;
  now.armed = true;
  bool went_well = lua_pcall(L, 0, 3, 0) == 0;
  now.armed = false;
  lua_pushboolean(L, went_well);
  lua_insert(L, 2);
  (void)call(L, lua_gettop(L) - 1, 0);
}

/* Gives whether any allocation failed. */
static bool run(const char *modules, const char *url, const char *scenario) {
  long live[SOURCES];
  memcpy(live, now.live, sizeof live);
  memset(now.failed, 0, sizeof now.failed);
  (void)alarm(PATIENCE);
  lua_State *L = open_state(modules, url);
  run_in(L, scenario);
  lua_close(L);
  (void)alarm(0);
  static const char *const names[SOURCES] = {"bytes of Lua's", "blocks of lmm's", "blocks of libcurl's"};
  for (int source = 0; source < SOURCES; source++) {
    char text[80];
    now.total[source] += now.failed[source];
    if (now.live[source] == live[source]) continue;
    (void)snprintf(text, sizeof text, "%ld %s are left", now.live[source] - live[source], names[source]);
    complain(text);
  }
  return now.failed[LUA] + now.failed[OWN] + now.failed[LIBCURL] > 0;
}

/* ---- all runs ---- */

static const struct mode {
  const char *name;
  bool lua;
  long count;
} modes[] = {
#if ASKS > 1
    {"one of Lua's, had after a collection", true, 1},
#endif
    {"one of Lua's", true, ASKS},
    {"one of C's", false, 1},
    {"all of Lua's from one on", true, 1000000000},
    {"all of C's from one on", false, 1000000000},
};

static void run_all(const char *modules, const char *url, const char *scenario, long stride) {
  now.count = 0;
  (void)snprintf(label, sizeof label, "%s, unharmed", scenario);
  (void)run(modules, url, scenario); /* what stays for good, as libcurl's own, is there now */
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    memset(now.total, 0, sizeof now.total);
    now.lua = modes[i].lua;
    now.count = modes[i].count;
    bool harmed;
    long places = -1, step = modes[i].lua ? stride : 1;
    now.first = 1 - step;
    do {
      now.first += step;
      places++;
      (void)snprintf(label, sizeof label, "%s, %s, number %ld", scenario, modes[i].name, now.first);
      harmed = run(modules, url, scenario);
    } while (harmed && problems <= 20);
    printf("  %-8s %-38s %6ld places; failed: %ld of Lua's, %ld of lmm's, %ld of libcurl's\n", scenario, modes[i].name,
           places, now.total[LUA], now.total[OWN], now.total[LIBCURL]);
    (void)fflush(stdout);
  }
}

int main(int count, char **words) {
  if (count < 2) return 64;
  (void)signal(SIGALRM, too_late);
  (void)signal(SIGPIPE, SIG_IGN);
  if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, curl_malloc, curl_release, curl_realloc, curl_strdup, curl_calloc) != 0)
    return 70;
  /* The server is a child process, held by a state that lives as long as this program and uses the plain modules. */
  static lua_State *holder;
  holder = luaL_newstate();
  luaL_openlibs(holder);
  if (luaL_dostring(holder, "require 'cjson' " /* to stay loaded, or the suppression above does not know its name */
                            "server = assert(require('lmm').mock { delay = 0, interpreter = '" LUA_PROGRAM "' }) "
                            "return server.url, server.stop") != 0) {
    printf("  FAILED: %s\n", lua_tostring(holder, -1));
    return 70;
  }
  const char *url = lua_tostring(holder, -2);
  if (count == 2) {
    run_all(words[1], url, "ask", 1);
    run_all(words[1], url, "tcp", 1);
    run_all(words[1], url, "stream", 1);
    run_all(words[1], url, "write", 1);
    run_all(words[1], url, "gather", 1);
    run_all(words[1], url, "kept", 1);
    run_all(words[1], url, "read", 1);
    run_all(words[1], url, "grow", 1);
    run_all(words[1], url, "load", 23); /* there are thousands, in Lua's compiler most of them */
  }
  for (int i = 2; i < count; i++) run_all(words[1], url, words[i], 1);
  (void)lua_pcall(holder, 0, 0, 0);
  printf("  %d failed\n", problems);
  return problems == 0 ? 0 : 1;
}
