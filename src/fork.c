/* fork.c: in a forked child the parent's sockets and libcurl's handles are shared, and are to be left alone. A number
 * goes out that differs in the child, without a system call each time somebody asks. */
#include <pthread.h>

#include "transport.h"

static unsigned generation;

static void in_child(void) { generation++; }

int lmm_fork_watch(void) { return pthread_atfork(NULL, NULL, in_child) == 0 ? LMM_OK : LMM_NOMEM; }

unsigned lmm_fork_generation(void) { return generation; }
