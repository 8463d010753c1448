/* sockop.h: the coroutine behind each sock_* method: tries, waits, tries again.
 *
 * A step tries the system call and returns its result at once, or yields a
 * future that is done when the socket is ready, and tries again when it is
 * resumed. Since a resumed coroutine has not been cancelled, what has been
 * received always has a taker. Only an eager one goes on between two steps.
 */
#ifndef FASTAIO_SOCKOP_H
#define FASTAIO_SOCKOP_H

#include "task/coro.h"
#include "loop/loop.h"
#include "loop/watch.h"

#define SOCKOP_MAX_ARGS 4 /* the socket included */

typedef struct SockOp SockOp;

typedef struct {
    const char *name;
    const char *params[SOCKOP_MAX_ARGS + 1];
    int required;
    WatchSide side;
    bool eager; /* goes on as soon as the socket is ready, and the future has its result */
    /* DONE with a result, FAILED with an exception, WAIT: the socket is not ready. */
    Outcome (*attempt)(SockOp *op, PyObject **result);
    /* NULL, or what gives a coroutine whose result, infos as of getaddrinfo(), has the address
       that is to take the place of the second argument; NULL without an exception: no need. */
    PyObject *(*look_up)(SockOp *op);
} OpKind;

struct SockOp {
    Coro coro;
    LoopObject *loop;
    const OpKind *kind;
    PyObject *args[SOCKOP_MAX_ARGS]; /* the socket first; NULL: not given */
    PyObject *future;                /* while it waits: what was yielded */
    PyObject *lookup; /* before that, perhaps: the coroutine of loop._ensure_resolved() */
    Py_buffer view;   /* sock_sendall: held from its first step to its end */
    Py_ssize_t sent;
    int fd;            /* the descriptor that is watched; -1 before the first wait */
    bool has_lease; /* has a lease: counts in sock._io_refs */
    bool connecting;   /* connect() has begun */
};

static inline PyObject *
sockop_sock(const SockOp *op)
{
    return op->args[0];
}

/* Return sock.fileno(): -1 for a closed socket, or -2 with an exception. */
int sockop_fd(SockOp *op);
/* Return a coroutine without its arguments, not yet tracked by the collector; NULL with an exception.
   A coroutine that is not handed out must be closed first, or it warns that it was never awaited. */
SockOp *sockop_new(LoopObject *loop, const OpKind *kind);
int sockop_type_init(PyObject *module);

#endif
