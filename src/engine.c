/* engine.c: where lmm.vips was found comes in; what prepares pictures by libvips goes out, loaded from beside it. */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prepare.h"

#define FILE_NAME "vips_engine.so"

static char path[PATH_MAX + sizeof FILE_NAME]; /* made absolute at once: the process may go to another folder */

void lmm_engine_find(const void *address) {
  Dl_info module;
  char own[PATH_MAX];
  if (dladdr(address, &module) == 0 || realpath(module.dli_fname, own) == NULL) own[0] = '\0';
  const char *slash = strrchr(own, '/');
  (void)snprintf(path, sizeof path, "%.*s" FILE_NAME, slash != NULL ? (int)(slash - own) + 1 : 0, own);
}

const lmm_engine *lmm_engine_load(char *problem, size_t capacity) {
  void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  const lmm_engine *engine = module != NULL ? dlsym(module, LMM_ENGINE) : NULL;
  if (engine == NULL) {
    (void)snprintf(problem, capacity, "%s", dlerror());
    return NULL;
  }
  if (strcmp(engine->version, LMM_VERSION "-" LMM_INTERFACE) != 0) {
    (void)snprintf(problem, capacity, "%s is of version %s, and not " LMM_VERSION "-" LMM_INTERFACE
                   ": build or install lmm again", path, engine->version);
    return NULL;
  }
  return engine->start(problem, capacity) ? engine : NULL;
}
