/* coro.h: the skeleton of a coroutine in C, which is everything but its steps; and what all awaited iterators
 * share: the arguments of throw(), StopIteration.
 *
 * An object begins with a Coro and is zeroed when it is made. Its type defines am_send, which does a step
 * between coro_enter() and coro_leave(). CORO_SLOTS gives the type the rest: send(), throw(), close(), the
 * attributes that inspect and asyncio read, and the warning of a coroutine never awaited.
 */
#ifndef FASTAIO_CORO_H
#define FASTAIO_CORO_H

#include "task/future.h"
#include <structmember.h>

typedef enum { CORO_CREATED, CORO_SUSPENDED, CORO_CLOSED } CoroPhase;

/* The result of an attempt. WAIT: not possible yet. */
typedef enum { FAILED = -1, WAIT, DONE } Outcome;

typedef struct Coro Coro;

typedef struct {
    const char *owner; /* the qualified name in front of the dot */
    const char *(*name)(const Coro *coro);
    /* Drop all that the coroutine holds. Called once, with no exception set. */
    void (*finish)(Coro *coro);
    /* Return the iterator that gets the steps now, borrowed; NULL without one. May be NULL itself. */
    PyObject *(*inner)(const Coro *coro);
    /* Take the result of that iterator's step; return that of the coroutine's step, in *result too. */
    PySendResult (*inner_sent)(Coro *coro, PySendResult sent, PyObject **result);
} CoroKind;

struct Coro {
    PyObject_HEAD
    const CoroKind *kind;
    PyObject *origin; /* cr_origin: where it was made, in debug mode; or NULL */
    PyObject *weakrefs;
    uint8_t phase; /* a CoroPhase */
    bool running;
};

/* Note where the coroutine is made, if the interpreter tracks origins. Return 0, or -1 with an exception. */
int coro_keep_origin(Coro *coro);
/* Raise the error of a step that coro_enter() does not allow. */
void coro_refuse(const Coro *coro);
/* Close the coroutine and drop all that it holds. Keeps the exception that is raised. */
void coro_end(Coro *coro);

/* Begin a step with the value that was sent. Return 0, or -1 with an exception. */
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

/* ---- slots ----------------------------------------------------------------------------------- */

/* The slots that a type takes as they are. It defines doc, traverse, clear, dealloc and am_send itself. */
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

/* ---- throw() and StopIteration --------------------------------------------------------------- */

/* Return the exception that throw(type[, value[, traceback]]) is to throw, not raised: a new reference. NULL
   with an exception for wrong arguments; `refusal` is the TypeError's text for an args[0] that is no
   exception, with a %s for its type's name or without. */
PyObject *coro_thrown(PyObject *const *args, Py_ssize_t count, const char *refusal);

/* Raise StopIteration(result). Takes over the reference to the result. Return NULL. */
PyObject *coro_stop(PyObject *result);

/* Return what send() and throw() return for a step's result, which is taken over. */
static inline PyObject *
coro_sent(PySendResult sent, PyObject *result)
{
    return sent == PYGEN_RETURN ? coro_stop(result) : result;
}

/* Return what tp_iternext returns for a step's result, which is taken over. */
static inline PyObject *
coro_next(PySendResult sent, PyObject *result)
{
    if (sent == PYGEN_RETURN && result == Py_None) {
        Py_DECREF(result);
        return NULL; /* without an exception, which means StopIteration() */
    }
    return coro_sent(sent, result);
}

/* If a StopIteration is raised, move its value into *value, a new reference, and return true. Else return
   false. */
static inline bool
coro_take_stop(PyObject **value)
{
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return false;
    }
    PyObject *stop = PyErr_GetRaisedException();
    PyObject *found = ((PyStopIterationObject *)stop)->value;
    *value = Py_NewRef(found ? found : Py_None);
    Py_DECREF(stop);
    return true;
}

#endif
