/* fork.c: fork for a program of Lua: as package.loadlib gives it, it forks each time it is called. It needs no header
 * of Lua's, and so no folder of one version's. */
#include <unistd.h>

struct lua_State;
void lua_pushnumber(struct lua_State *L, double number);

int lmm_spec_fork(struct lua_State *L);

int lmm_spec_fork(struct lua_State *L) {
  lua_pushnumber(L, (double)fork());
  return 1;
}
