/* core.c: lmm.core, all that describes a request and reads a reply: no socket, no libcurl. */
#include <poll.h>
#include <unistd.h>

#include "binding.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

/* now() -> seconds on a clock that never jumps */
static int core_now(lua_State *L) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec * 1e-9);
  return 1;
}

#define MOST_WATCHED 8

/* sleep(seconds, descriptor...), or less where one of the descriptors is readable or a signal comes */
static int core_sleep(lua_State *L) {
  lua_Number seconds = luaL_checknumber(L, 1);
  luaL_argcheck(L, seconds >= 0 && seconds <= 86400, 1, "0 to 86400 seconds");
  struct pollfd watched[MOST_WATCHED];
  int count = lua_gettop(L) - 1;
  luaL_argcheck(L, count <= MOST_WATCHED, MOST_WATCHED + 2, "too many descriptors");
  for (int i = 0; i < count; i++)
    watched[i] = (struct pollfd){.fd = (int)luaL_checkinteger(L, i + 2), .events = POLLIN};
  if (count > 0) {
    (void)poll(watched, (nfds_t)count, (int)(seconds * 1000 + 0.999)); /* milliseconds, and not sooner than asked */
    return 0;
  }
  struct timespec time = {.tv_sec = (time_t)seconds};
  time.tv_nsec = (long)((seconds - (lua_Number)time.tv_sec) * 1e9);
  (void)nanosleep(&time, NULL);
  return 0;
}

/* pid() -> the number of this process */
static int core_pid(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)getpid());
  return 1;
}

/* shell(command) -> whether the shell ran it, and it ended with 0; of what this process has open it gets the first
   three files alone */
static int core_shell(lua_State *L) {
  lua_pushboolean(L, lmm_shell_run(luaL_checkstring(L, 1)));
  return 1;
}

/* give_back(): what the C library keeps of memory that was freed goes back to the system. In a large heap it takes tens of
   milliseconds. */
static int core_give_back(lua_State *L) {
  (void)L;
#ifdef __GLIBC__
  (void)malloc_trim(0);
#endif
  return 0;
}

/* utf8(text, init?) -> nil | offset of the first byte at or behind `init` that is not UTF-8, both counted from 1 */
static int core_utf8(lua_State *L) {
  size_t count;
  const char *text = luaL_checklstring(L, 1, &count);
  lua_Integer init = luaL_optinteger(L, 2, 1);
  luaL_argcheck(L, init >= 1 && (size_t)init - 1 <= count, 2, "outside of the text");
  size_t start = (size_t)init - 1;
  size_t offset = start + lmm_utf8_check(text + start, count - start);
  if (offset == count) return 0;
  lua_pushinteger(L, (lua_Integer)offset + 1);
  return 1;
}

/* fit(width, height, max_side, max_pixels) -> the width and height that a picture is shrunk to; 0: no limit */
static int core_fit(lua_State *L) {
  uint32_t size[2];
  for (int i = 0; i < 2; i++) {
    lua_Integer side = luaL_checkinteger(L, i + 1);
    luaL_argcheck(L, side > 0 && side <= INT32_MAX, i + 1, "out of range");
    size[i] = (uint32_t)side;
  }
  lua_Number max_side = luaL_checknumber(L, 3), max_pixels = luaL_checknumber(L, 4);
  luaL_argcheck(L, max_side >= 0 && max_side <= INT32_MAX, 3, "out of range");
  luaL_argcheck(L, max_pixels >= 0 && max_pixels <= 1e15, 4, "out of range");
  lmm_fit(&size[0], &size[1], (uint32_t)max_side, (uint64_t)max_pixels);
  lua_pushinteger(L, (lua_Integer)size[0]);
  lua_pushinteger(L, (lua_Integer)size[1]);
  return 2;
}

LMM_EXPORT int luaopen_lmm_core(lua_State *L);

LMM_EXPORT int luaopen_lmm_core(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"now", core_now},   {"sleep", core_sleep}, {"pid", core_pid},     {"give_back", core_give_back},
      {"utf8", core_utf8}, {"fit", core_fit},     {"shell", core_shell}, {NULL, NULL}};
  static const luaL_Reg parts[] = {{"base64", lmm_base64_open},
                                   {"media", lmm_media_open},
                                   {"body", lmm_body_open},
                                   {"slice", lmm_slice_open},
                                   {"slices", lmm_slice_list_open},
                                   {"line", lmm_slice_line_open},
                                   {"headers", lmm_header_open},
                                   {"sse", lmm_sse_open},
                                   {"answer", lmm_answer_open},
                                   {"join", lmm_text_open},
                                   {"decode", lmm_decode_open},
                                   {"grow", lmm_grow_open},
                                   {"array_mt", lmm_array_open},
                                   {"null", lmm_null_open},
                                   {"load", lmm_load_open},
                                   {"compiled", lmm_compiled_open},
                                   {NULL, NULL}};
  lmm_check_lua(L);
  lmm_stay_loaded(functions);
  luaL_newlib(L, functions);
  lmm_set_version(L);
  for (const luaL_Reg *part = parts; part->name != NULL; part++) {
    (void)part->func(L);
    lua_setfield(L, -2, part->name);
  }
  lmm_write_open(L);
  return 1;
}
