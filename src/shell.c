/* shell.c: a command comes in; the shell runs it, with none of this process's files and sockets but the first three.
 * The C library's system() hands on whatever a host has open: nginx the connections of its clients, which would stay
 * open for as long as what the command leaves behind runs. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "lmm.h"

extern char **environ;

static bool close_all(posix_spawn_file_actions_t *actions) {
  DIR *list = opendir("/dev/fd");
  if (list == NULL) return true; /* none can be told, as without /proc: the program gets them, as by system() */
  bool ok = true;
  for (struct dirent *entry = readdir(list); ok && entry != NULL; entry = readdir(list)) {
    int fd = atoi(entry->d_name);
    ok = fd < 3 || posix_spawn_file_actions_addclose(actions, fd) == 0;
  }
  (void)closedir(list);
  return ok;
}

/* A host may take the end of any child for itself where it hears of it: SIGCHLD waits until we have taken ours. */
static bool run(char **words, const posix_spawn_file_actions_t *actions) {
  sigset_t child, before;
  posix_spawnattr_t how;
  if (posix_spawnattr_init(&how) != 0) return false;
  (void)sigemptyset(&child);
  (void)sigaddset(&child, SIGCHLD);
  (void)pthread_sigmask(SIG_BLOCK, &child, &before);
  (void)posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK);
  (void)posix_spawnattr_setsigmask(&how, &before);
  pid_t pid, ended = -1;
  int status = -1;
  if (posix_spawn(&pid, "/bin/sh", actions, &how, words, environ) == 0) {
    do ended = waitpid(pid, &status, 0);
    while (ended < 0 && errno == EINTR);
  }
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  (void)posix_spawnattr_destroy(&how);
  return ended >= 0 && status == 0;
}

bool lmm_shell_run(const char *command) {
  char name[] = "sh", option[] = "-c", *text = strdup(command);
  posix_spawn_file_actions_t actions;
  if (text == NULL || posix_spawn_file_actions_init(&actions) != 0) {
    free(text);
    return false;
  }
  char *words[] = {name, option, text, NULL};
  bool ok = close_all(&actions) && run(words, &actions);
  (void)posix_spawn_file_actions_destroy(&actions);
  free(text);
  return ok;
}
