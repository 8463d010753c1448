/* poller.h: what the loop asks of the kernel, and nothing else.
 *
 * A poller reports readiness of descriptors; it knows no Python object. All
 * functions return 0 (or a count) on success and a negative errno on failure.
 */
#ifndef FASTAIO_POLLER_H
#define FASTAIO_POLLER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h> /* EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR: the event bits */

typedef enum {
    WATCH_EDGE,      /* reports changes only: what the loop owns and drains */
    WATCH_LEVEL,     /* reports as long as it is ready: what the user owns */
    WATCH_ONESHOT,   /* reports once, then stays registered but silent until watched again */
    WATCH_EXCLUSIVE, /* level, waking one of several processes: listening sockets */
} WatchMode;

/* In PollEvent.events, of an operation on the poller's ring: its token is the address of a UringOp;
   there are more completions to come. */
#define POLL_OPERATION (1u << 24)
#define POLL_MORE      (1u << 25)

typedef struct {
    uint64_t token; /* as given to watch */
    uint32_t events;
    int32_t result; /* of an operation */
} PollEvent;

typedef struct Poller Poller;

typedef struct {
    const char *name;
    /* A registration keeps its file open after the descriptor is closed: it must always be taken
       back, where otherwise one that has fired once would be left to itself. */
    bool pins_files;
    void (*destroy)(Poller *poller);
    /* Registers fd, or changes its registration. `known` says whether this poller is believed to
       have fd already; a wrong belief is put right. */
    int (*watch)(Poller *poller, int fd, uint32_t events, WatchMode mode, uint64_t token,
                 int known);
    /* -ENOENT, -EBADF, -EPERM: the kernel does not know fd (any more) under this number. */
    int (*unwatch)(Poller *poller, int fd);
    /* Waits at most timeout_ns (-1: for ever, 0: not at all); never returns -EINTR as an error
       but 0 events. The wake-up itself is not reported. Called without the GIL if it may block. */
    int (*wait)(Poller *poller, int64_t timeout_ns, PollEvent *events, int max_events);
    /* Makes a wait in another thread return; callable from any thread. */
    int (*wake)(Poller *poller);
    /* A fresh kernel object in place of the old one, with nothing watched; in a forked child, which
       shares the old one with its parent, also what wake() needs. */
    int (*rebuild)(Poller *poller, bool forked);
    /* The rest is NULL where there is nothing to do. The loop has stopped running; it may be run, and
       closed, by other threads. Called without the GIL: may block. */
    void (*stopped)(Poller *poller);
    /* Ends what is in flight; before destroy, which then does not block. Without the GIL. */
    void (*quiesce)(Poller *poller);
    /* In a forked child, at once: what it holds must not matter to its parent. */
    void (*forked)(Poller *poller);
} PollerMethods;

struct Poller {
    const PollerMethods *methods;
    struct Uring *ring; /* uring.h: for operations that only a ring can do; NULL: there is none */
};

/* epoll.c. NULL with *error set to an errno. */
Poller *epoll_poller_create(int *error);
/* uring_poller.c. NULL with *error set to an errno: ENOSYS, EPERM, EINVAL where it is not to be had. */
Poller *uring_poller_create(int *error);
#ifndef NDEBUG
/* For tests: the next `times` calls of a kind ("setup", "enter", "register") fail with `error`; of
   "submit": take no more than `error` requests; "queue": a new ring has room for no more than
   `error` completions. -EINVAL: no ring, or no such kind. */
int uring_poller_fault(Poller *poller, const char *kind, int error, unsigned times);
#endif

#endif
