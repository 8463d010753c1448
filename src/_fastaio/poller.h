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

typedef struct {
    uint64_t token; /* as given to watch */
    uint32_t events;
} PollEvent;

typedef struct Poller Poller;

typedef struct {
    const char *name;
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
} PollerMethods;

struct Poller {
    const PollerMethods *methods;
    struct Uring *ring; /* uring.h: for operations that only a ring can do; NULL: there is none */
};

/* epoll.c. NULL with *error set to an errno. */
Poller *epoll_poller_create(int *error);

#endif
