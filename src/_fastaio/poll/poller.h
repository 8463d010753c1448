/* poller.h: the interface of a poller, which reports that descriptors are ready.
 *
 * A poller knows no Python object. All functions return 0 (or a count) on success and a negative errno on
 * failure.
 */
#ifndef FASTAIO_POLLER_H
#define FASTAIO_POLLER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h> /* EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR: the event bits */

typedef enum {
    WATCH_EDGE,      /* reports changes only: for descriptors that the loop owns and reads until EAGAIN */
    WATCH_LEVEL,     /* reports as long as it is ready: for descriptors of the user */
    WATCH_ONESHOT,   /* reports once, then stays registered but silent until watched again */
    WATCH_EXCLUSIVE, /* level, waking one of several processes: listening sockets */
} WatchMode;

/* Bits of PollEvent.events. POLL_OPERATION: an operation on the poller's ring has completed, and the token
   is the address of its UringOp. POLL_MORE: more completions of it follow. */
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
    /* A registration keeps its file open after the descriptor is closed, so each one must be taken back.
       Without this, a one-shot registration that has fired may stay. */
    bool pins_files;
    void (*destroy)(Poller *poller);
    /* Register fd, or change its registration. `known` is a hint that this poller has fd already; a wrong
       hint costs a system call. */
    int (*watch)(Poller *poller, int fd, uint32_t events, WatchMode mode, uint64_t token,
                 bool known);
    /* Remove the registration. -ENOENT, -EBADF, -EPERM: the kernel does not know fd under this number. */
    int (*unwatch)(Poller *poller, int fd);
    /* Wait for events, at most timeout_ns (-1: without a limit, 0: not at all). A signal ends the wait with 0
       events, as does wake(). Called without the GIL if it may block. */
    int (*wait)(Poller *poller, int64_t timeout_ns, PollEvent *events, int max_events);
    /* Make the wait in progress return, or else the next one. Callable from any thread. */
    int (*wake)(Poller *poller);
    /* Replace the kernel object by a new one that watches nothing. `forked`: also replace the descriptor of
       wake(), since a forked child shares both with its parent. */
    int (*rebuild)(Poller *poller, bool forked);
    /* The following may be NULL. */
    /* End operations in flight: the run has ended, and another thread may run or close the loop next. May
       block; called without the GIL. */
    void (*stopped)(Poller *poller);
    /* End operations and polls, so that destroy() does not block. Called without the GIL. */
    void (*quiesce)(Poller *poller);
    /* Drop, in a forked child, everything that would affect the parent. Called by os.fork(). */
    void (*forked)(Poller *poller);
} PollerMethods;

struct Poller {
    const PollerMethods *methods;
    struct Uring *ring; /* for operations (uring.h); NULL: the poller has none */
};

/* Return an epoll poller (epoll.c); NULL with *error set to an errno. */
Poller *epoll_poller_create(int *error);
/* Return an io_uring poller (uring_poller.c); NULL with *error set to an errno: ENOSYS, EPERM or EINVAL if
   this kernel or sandbox has none. */
Poller *uring_poller_create(int *error);
#ifndef NDEBUG
/* For tests: make the next `times` calls of a kind fail with `error` ("setup", "enter", "register"), take
   no more than `error` requests ("submit"), or make a ring for no more than `error` completions ("queue").
   Return 0, or -EINVAL if there is no ring or no such kind. */
int uring_poller_fault(Poller *poller, const char *kind, int error, unsigned times);
#endif

#endif
