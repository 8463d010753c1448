/* sockop.h: the coroutine of each sock_*() method of the loop.
 *
 * A step makes the system call. If that would block, the step yields a future, which is done once
 * the socket is ready; the next step makes the call again. A resumed coroutine has not been
 * cancelled, so received data always has a taker. An eager operation makes the call as soon as the
 * socket is ready, without a step, until its future has the result.
 */
#ifndef FASTAIO_SOCKOP_H
#define FASTAIO_SOCKOP_H

#include "task/coro.h"
#include "loop/loop.h"
#include "loop/watch.h"

#define SOCKOP_MAX_ARGS 4 /* the socket included */

typedef struct SockOp SockOp;

typedef struct {
    const char *name;                        /* of the loop's method */
    const char *params[SOCKOP_MAX_ARGS + 1]; /* up to a NULL */
    int required_count;                      /* parameters without a default */
    WatchSide side;
    bool eager; /* the call is made as soon as the socket is ready; the future has its result */
    /* Make the system call. Return DONE with a result, FAILED with an exception, or WAIT if the
       socket is not ready. */
    Outcome (*attempt)(SockOp *op, PyObject **result);
    /* NULL, or: return a coroutine that looks up the second argument, an address. Its result is
       that of getaddrinfo(), and the first address in it replaces the argument. Return NULL without
       an exception if no look-up is needed. */
    PyObject *(*look_up)(SockOp *op);
} OpKind;

struct SockOp {
    Coro coro;
    LoopObject *loop; /* NULL once the operation has ended */
    Home home;
    const OpKind *kind;
    PyObject *args[SOCKOP_MAX_ARGS]; /* the socket first; NULL: not given */
    PyObject *future;                /* yielded, while the operation waits; or NULL */
    PyObject *lookup;                /* the coroutine of `look_up`, while it runs; or NULL */
    Py_buffer view;                  /* sock_sendall: held from the first step to the end */
    Py_ssize_t sent;                 /* sock_sendall: bytes */
    int fd;                          /* the descriptor that is watched; -1 before the first wait */
    bool has_lease;                  /* sockobj_lease() has returned 1 for the socket */
    bool connecting;                 /* sock_connect: connect() has been called */
};

static inline PyObject *
sockop_sock(const SockOp *op)
{
    return op->args[0];
}

/* Return sock.fileno(): -1 for a closed socket; -2 with an exception. */
int sockop_fileno(SockOp *op);
/* Return a coroutine without its arguments, not yet tracked by the collector; NULL with an
   exception. A caller that drops the coroutine sets its phase to CORO_CLOSED first, or it warns
   that it was never awaited. */
SockOp *sockop_new(LoopObject *loop, const OpKind *kind);
/* Add the type SockOp. Return 0, or -1 with an exception. */
int sockop_type_init(PyObject *module);

#endif
