/* transport.h: the parts of lmm.curl, which moves what lmm.core describes; the first two are also lmm.tcp's, for which
 * tcp.c has all the rest. A part calls only what is declared above it:
 *
 *     fork      whether this process is still the one that opened something
 *     watch     epoll or kqueue
 *     sockets   libcurl's sockets, by descriptor and by address
 *     transfer  one request and its response on an easy handle
 *     quirks    what works around faults of libcurl, a section for each
 *     failure   how a transfer failed, in the words of lmm's errors
 *     multi     all transfers of a Lua state on a multi handle
 *     curl      the binding
 */
#ifndef LMM_TRANSPORT_H
#define LMM_TRANSPORT_H

#include "lmm.h"

/* ---- fork: whether this process is still the one that opened something ------------------------------------------- */

int lmm_fork_watch(void);          /* once in a process, before the next; LMM_NOMEM where forks would go unnoticed */
unsigned lmm_fork_generation(void); /* another number in a child than in its parent */

/* ---- watch: one descriptor that is readable when one of many is ready -------------------------------------------- */

enum { LMM_IN = 1, LMM_OUT = 2, LMM_ERROR = 4 };

typedef struct lmm_ready {
  int fd;
  int events; /* LMM_IN, LMM_OUT, LMM_ERROR */
} lmm_ready;

int lmm_watch_open(void); /* the descriptor, to be closed by close(); -1 */
/* Watches for `events`, of which `before` are watched for already as far as is known; 0: not at all. 0 or -1. */
int lmm_watch_set(int watch, int fd, int before, int events);
/* Waits at most so long; gives how many are ready, at most LMM_MOST_READY, or -1 where a signal came. */
int lmm_watch_wait(int watch, lmm_ready *ready, int milliseconds);

#define LMM_MOST_READY 64 /* those that are left over are found by the next call */

/* ---- sockets: those that libcurl has opened, by descriptor and by address ---------------------------------------- */

#define LMM_ADDRESS_BYTES 36 /* both ends of a TCP connection, each 16 bytes of IP and a port */
#define LMM_SOCKET_BUCKETS 1024

typedef struct lmm_address {
  unsigned char bytes[LMM_ADDRESS_BYTES];
} lmm_address;

typedef struct lmm_socket {
  void *user;      /* the transfer that opened it or has it in use; NULL while it is idle */
  lmm_address address;
  int next;        /* the next one of its bucket, or -1 */
  bool known;      /* it is open, as far as libcurl tells */
  bool connected;  /* from here on libcurl tells when it closes it */
  bool has_address;
  bool idle;       /* libcurl wants to hear nothing of it */
  unsigned char watched; /* LMM_IN, LMM_OUT */
} lmm_socket;

typedef struct lmm_sockets {
  int watch;       /* readable when one of them is ready; -1 while closed */
  lmm_socket *all; /* by descriptor */
  int capacity, count;
  int buckets[LMM_SOCKET_BUCKETS]; /* by the local port: a descriptor, or -1 */
} lmm_sockets;

int lmm_sockets_open(lmm_sockets *sockets);
void lmm_sockets_close(lmm_sockets *sockets); /* of the table, not of the sockets */
void lmm_sockets_clear(lmm_sockets *sockets); /* libcurl has closed all of them */
int lmm_sockets_add(lmm_sockets *sockets, int fd, void *user);
lmm_socket *lmm_sockets_get(const lmm_sockets *sockets, int fd); /* NULL: not one of them; valid until the next add */
void *lmm_sockets_remove(lmm_sockets *sockets, int fd);          /* it is about to be closed; gives its user */
/* It is connected; `address` may be NULL where it has none. */
void lmm_sockets_connect(lmm_sockets *sockets, int fd, const lmm_address *address);
int lmm_sockets_find(const lmm_sockets *sockets, const lmm_address *address); /* -1: none is connected so */
/* Watches for `events`, or for none: then libcurl is called for it no more. 0 or -1. */
int lmm_sockets_watch(lmm_sockets *sockets, int fd, int events);
/* As lmm_watch_wait, but only for those that libcurl wants to hear of. */
int lmm_sockets_wait(lmm_sockets *sockets, lmm_ready *ready, int milliseconds);

/* The two ends as libcurl writes them; false where they are no IP addresses. */
bool lmm_address_parse(lmm_address *address, const char *local_ip, int local_port, const char *ip, int port);
bool lmm_address_is_of(const lmm_address *address, int fd); /* as the system tells */

/* ---- transfer: one request and its response; what comes in waits here until it is consumed ----------------------- */

#define LMM_INLINE_BODY ((size_t)64 * 1024)     /* a body up to this size is sent in one piece with the head */
#define LMM_UPLOAD_BUFFER ((size_t)512 * 1024)  /* of what a larger body sends next, at most */
#define LMM_UPLOAD_BUFFERS ((size_t)3 * 1024 * 1024) /* of all transfers together, about */
#define LMM_UPLOAD_LEAST ((size_t)32 * 1024)    /* of each: with less the calls of the system tell */
#define LMM_RECEIVE_BUFFER ((size_t)256 * 1024) /* with so many bytes waiting the transfer pauses */
#define LMM_MOST_ATTEMPTS 8                     /* sockets of one attempt to connect that are remembered */

typedef struct lmm_multi lmm_multi;
typedef struct lmm_transfer lmm_transfer;

/* A ring of transfers; a link of its own is where it begins and ends. */
typedef struct lmm_link {
  struct lmm_link *previous, *next;
} lmm_link;

struct lmm_transfer {
  lmm_link link;    /* first, so that a link of the ring is a transfer */
  lmm_link *ring;   /* that it is in, those that changed first; NULL while it is not under way */
  lmm_multi *multi; /* whose ring that is; of no concern to the parts below it */
  void *easy;       /* CURL */
  struct curl_slist *headers;
  lmm_source *body;  /* borrowed; NULL without one */
  lmm_buf head;      /* the response's status line and header lines as they came */
  lmm_buf received;  /* the response's body, as much as was not consumed yet */
  int status;        /* 0 until the head is complete */
  bool changed;      /* something came in, or it ended, since lmm_multi_next gave it last */
  bool paused;
  bool responded;    /* a byte came back */
  bool done;
  int result;        /* CURLcode, once done */
  lmm_error error;   /* our own reason, where a callback ended the transfer; else its code is LMM_OK */
  char reason[256];  /* libcurl's words for the result (CURL_ERROR_SIZE) */

  /* What quirks.c knows of its connection, since libcurl does not tell. */
  lmm_sockets *sockets;
  bool in_handshake; /* TCP stands, and TLS is begun */
  bool connected;    /* the connection stands, and the request is or was on its way */
  int64_t connected_at;  /* milliseconds, monotonic */
  int socket;            /* on which; before, the last that was opened for it; -1: none that is known */
  int attempts[LMM_MOST_ATTEMPTS], attempt_count; /* the sockets opened for this connection */
  int socket_errno;      /* EMFILE or ENFILE where there were too many open files for a socket, else 0 */
  const char *closed_in; /* the phase in which its socket was closed; NULL while it was not */
};

typedef struct lmm_request {
  const char *method, *url;
  long connect_ms; /* for DNS, TCP and TLS together; 0: no limit of its own */
  size_t max_head; /* bytes */
  int running;     /* transfers that are under way beside it */
} lmm_request;

int64_t lmm_transfer_now(void); /* milliseconds, monotonic */
void lmm_link_insert(lmm_link *place, lmm_link *link); /* behind `place` */
void lmm_link_remove(lmm_link *link);

/* Sets up a transfer, its `headers` and `body` given, on a copy of the connection's template handle; does not start it.
 * After a failure, too, lmm_transfer_close is owed. */
int lmm_transfer_open(lmm_transfer *transfer, void *template_easy, const lmm_request *request, lmm_error *error);
void lmm_transfer_close(lmm_transfer *transfer); /* once it is no longer under way */
void lmm_transfer_mark_changed(lmm_transfer *transfer);
/* All that is in `received` is used. LMM_NOMEM: libcurl could not go on, see lmm_multi_break. */
int lmm_transfer_consume(lmm_transfer *transfer, size_t count);
const char *lmm_transfer_phase(const lmm_transfer *transfer); /* dns, connect, tls, send, wait or receive */

/* ---- quirks: what works around faults of libcurl ----------------------------------------------------------------- */

void *lmm_quirks_multi_init(void);                  /* curl_multi_init */
int lmm_quirks_set_defaults(void *easy, bool unix_socket); /* of a template handle; CURLcode */
void lmm_quirks_attach(lmm_transfer *transfer, lmm_sockets *sockets); /* before it is added to the multi handle */
void lmm_quirks_detach(lmm_transfer *transfer);     /* after it was removed */
bool lmm_quirks_resend(lmm_transfer *transfer, int result); /* whether one that ended so is to be started again */
int lmm_quirks_abandon(void *multi_handle, lmm_link *ring); /* ends all that are under way; gives how many */

/* How a transfer failed, in the words of lmm's errors. */
typedef struct lmm_failure {
  const char *kind; /* NULL: no memory */
  const char *phase, *reason;
  bool permanent; /* the same request would fail the same way again */
} lmm_failure;

/* Whether what libcurl gave as the result, or as success, means this failure instead. */
bool lmm_quirks_failure(const lmm_transfer *transfer, lmm_failure *failure);
bool lmm_quirks_is_success(const lmm_transfer *transfer); /* whether what libcurl gave as a failure is none */

/* ---- failure ----------------------------------------------------------------------------------------------------- */

bool lmm_failure_of(const lmm_transfer *transfer, lmm_failure *failure); /* false: it has not failed (so far) */

/* ---- multi: all transfers of a Lua state, moved together --------------------------------------------------------- */

struct lmm_multi {
  void *handle;        /* CURLM; NULL where there was no memory for it */
  lmm_link ring;       /* of transfers; those that changed come first */
  lmm_sockets sockets; /* its `watch` is what a host's loop is to watch */
  unsigned generation; /* of the process that it belongs to: a forked child leaves it alone */
  int64_t due;         /* milliseconds, monotonic: when libcurl is to be called though no socket is ready; -1: never */
  int running;         /* transfers under way */
  bool broken;         /* libcurl ran out of memory, and is not to go on with what it has */
};

int lmm_multi_open(lmm_multi *multi);
bool lmm_multi_is_ours(const lmm_multi *multi); /* open, and by this process */
int lmm_multi_add(lmm_multi *multi, lmm_transfer *transfer);
void lmm_multi_remove(lmm_transfer *transfer); /* at once, whatever it was doing; a socket in mid-exchange is closed */
void lmm_multi_break(lmm_multi *multi);        /* libcurl ran out of memory: all transfers end with the next poll */
void lmm_multi_close_idle(lmm_multi *multi);   /* where nothing is under way, closes the connections kept for later */
/* Waits at most so long for something to happen, and moves what can be moved; 0 does not wait. Gives how many transfers
 * are still under way. */
int lmm_multi_poll(lmm_multi *multi, int milliseconds);
/* In how many milliseconds lmm_multi_poll is to be called even where `watch` tells nothing; -1: then it is not. */
int lmm_multi_timeout(const lmm_multi *multi);
lmm_transfer *lmm_multi_next(lmm_multi *multi); /* one that changed, or NULL */
void lmm_multi_close(lmm_multi *multi);         /* ends its transfers, too */

#endif
