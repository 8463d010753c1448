/* coro.h: the skeleton of a coroutine in C: all of it but its steps.
 *
 * An object begins with a Coro and is zeroed when it is made. Its type brings
 * am_send, a step between coro_enter() and coro_leave(), and takes from
 * CORO_SLOTS what is the same for all: send(), throw(), close(), the attributes
 * that inspect and asyncio look at, and the warning where it was never awaited.
 */
#ifndef FASTAIO_CORO_H
#define FASTAIO_CORO_H

#include "task/future.h"
#include <structmember.h>

typedef enum { CORO_CREATED, CORO_SUSPENDED, CORO_CLOSED } CoroPhase;

/* What came of an attempt; WAIT: not yet. */
typedef enum { FAILED = -1, WAIT, DONE } Outcome;

typedef struct Coro Coro;

typedef struct {
    const char *owner; /* what stands before the dot of its qualified name */
    const char *(*name)(const Coro *coro);
    /* Lets go of all that it holds; once, and with no exception set. */
    void (*finish)(Coro *coro);
    /* NULL, or the iterator (borrowed) that it passes its steps on to; NULL: none, just now. */
    PyObject *(*inner)(const Coro *coro);
    /* What the iterator's step has come to, and what comes of that. */
    PySendResult (*inner_sent)(Coro *coro, PySendResult sent, PyObject **result);
} CoroKind;

struct Coro {
    PyObject_HEAD
    const CoroKind *kind;
    PyObject *origin; /* in debug mode: where it was made, a cr_origin; or NULL */
    PyObject *weakrefs;
    uint8_t phase; /* a CoroPhase */
    bool running;
};

/* In debug mode: keeps where it was made, if origins are tracked. */
int coro_keep_origin(Coro *coro);
/* Raises what is wrong with a step that coro_enter() does not allow. */
void coro_refuse(const Coro *coro);
/* The end: closed, and all let go of; keeps a raised exception. */
void coro_end(Coro *coro);

/* The begin of a step; -1 with an exception. */
static inline int
coro_enter(Coro *coro, PyObject *value, PyObject **result)
{
    *result = NULL;
    if (coro->running || coro->phase == CORO_CLOSED ||
        (coro->phase == CORO_CREATED && value != Py_None)) {
        coro_refuse(coro);
        return -1;
    }
    coro->running = true;
    return 0;
}

static inline void
coro_leave(Coro *coro)
{
    coro->running = false;
}

/* Return the result of the native future that the last step yielded; NULL with the exception of
   the future, or with RuntimeError if the future is pending: something else has resumed the
   coroutine. */
static inline PyObject *
coro_future_result(FutureCore *future)
{
    if (future_is_pending(future)) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        return NULL;
    }
    return future_get_result(future);
}

/* Begin to free a coroutine: run its finalizer and clear its weak references. Return false if the
   finalizer has brought it back to life. */
static inline bool
coro_begin_dealloc(PyObject *self)
{
    Coro *coro = (Coro *)self;
    if (coro->phase != CORO_CLOSED && dealloc_finalize(self) < 0) {
        return false;
    }
    if (coro->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    return true;
}

#define CORO_VISIT(coro) Py_VISIT((coro)->origin)
#define CORO_CLEAR(coro) Py_CLEAR((coro)->origin)

/* The slots that a type takes as they are; the others: doc, traverse, clear, dealloc, am_send. */
#define CORO_SLOTS                                                                                 \
    {Py_tp_finalize, coro_finalize}, {Py_tp_repr, coro_repr}, {Py_tp_iter, PyObject_SelfIter},     \
        {Py_tp_iternext, coro_iternext}, {Py_am_await, PyObject_SelfIter},                         \
        {Py_tp_methods, coro_methods}, {Py_tp_getset, coro_getset}, {Py_tp_members, coro_members}

void coro_finalize(PyObject *self);
PyObject *coro_repr(PyObject *self);
PyObject *coro_iternext(PyObject *self);
extern PyMethodDef coro_methods[];
extern PyGetSetDef coro_getset[];
extern PyMemberDef coro_members[];

#endif
