/* coro.h: the skeleton of a coroutine in C, which is everything but its steps; and what all awaited iterators
 * share: the arguments of throw(), StopIteration.
 *
 * An object begins with a Coro and is zeroed when it is made. Its type defines am_send, which does a step
 * between coro_enter() and coro_leave(), and tp_traverse. CORO_SLOTS gives the type the rest: send(), throw(),
 * close(), the attributes that inspect and asyncio read, the warning of a coroutine never awaited, and the
 * dealloc. There is no tp_clear: the collector runs the finalizer first, and that ends the coroutine.
 */
#ifndef FASTAIO_CORO_H
#define FASTAIO_CORO_H

#include "task/future.h"
#include <sched.h>
#include <structmember.h>

typedef enum { CORO_CREATED, CORO_SUSPENDED, CORO_CLOSED } CoroPhase;

/* The result of an attempt. WAIT: not possible yet. */
typedef enum { FAILED = -1, WAIT, DONE } Outcome;

typedef struct Coro Coro;

typedef struct {
    const char *owner; /* the qualified name in front of the dot; NULL: a function of a module */
    const char *(*name)(const Coro *coro);
    /* Drop all references that the coroutine holds. Called once, with no exception set. */
    void (*finish)(Coro *coro);
    /* Return the pool that keeps freed coroutines. May be NULL. */
    Pool *(*pool)(fastaio_state *st);
    /* Return the iterator that gets the steps now, borrowed; NULL without one. May be NULL itself. */
    PyObject *(*inner)(const Coro *coro);
    /* Take the result of that iterator's step; return that of the coroutine's step, in *result too. */
    PySendResult (*inner_sent)(Coro *coro, PySendResult sent, PyObject **result);
    /* Go on behind a wait with the raised exception, and return like am_send. throw() and close() call it
       for a suspended coroutine. May be NULL: the exception ends the coroutine. */
    PySendResult (*thrown)(Coro *coro, PyObject **result);
    /* Return the loop whose claim guards the coroutine, as GuardRules.loop_of. May be NULL. */
    PyObject *(*loop_of)(PyObject *self);
    /* Drop what stays after the end: for the dealloc. May be NULL. */
    void (*release)(Coro *coro);
} CoroKind;

struct Coro {
    PyObject_HEAD
    const CoroKind *kind;
    PyObject *origin; /* cr_origin: where it was made, in debug mode; or NULL */
    PyObject *weakrefs;
    uint8_t phase; /* a CoroPhase */
    bool running;  /* in a step, throw() or close(): coro_take() */
#ifdef Py_GIL_DISABLED
    bool observed; /* a thread looks at the fields; it sets this before it asks for `running` */
#endif
};

PyObject *coro_iternext(PyObject *self);
/* Return the coroutine, which is its own iterator; NULL with RuntimeError if somebody awaits it already. */
PyObject *coro_await(PyObject *self);

/* Return true for a coroutine of the interpreter or a native one. */
static inline bool
coro_check(PyObject *obj)
{
    return PyCoro_CheckExact(obj) || Py_TYPE(obj)->tp_iternext == coro_iternext;
}

/* Note where the coroutine is made, if the interpreter tracks origins. Return 0, or -1 with an exception. */
int coro_keep_origin(Coro *coro);
/* Raise the error of a use that is not allowed now: a step is running or the coroutine has ended; or, with neither, the
   first step gets a value. */
void coro_refuse(const Coro *coro, bool running);
/* Close the coroutine and drop all that it holds. Keeps the exception that is raised. */
void coro_end(Coro *coro);

/* Own all fields until coro_leave(). Return false if somebody else does. */
static inline bool
coro_take(Coro *coro)
{
#ifdef Py_GIL_DISABLED
    if (__atomic_exchange_n(&coro->running, true, __ATOMIC_SEQ_CST)) {
        return false;
    }
    while (__atomic_load_n(&coro->observed, __ATOMIC_SEQ_CST)) {
        sched_yield(); /* the onlooker makes one reference and leaves */
    }
    return true;
#else
    return shared_take(&coro->running);
#endif
}

static inline void
coro_leave(Coro *coro)
{
    shared_store(&coro->running, false);
}

/* Begin a step with the value that was sent. Return 0, or -1 with an exception. */
static inline int
coro_enter(Coro *coro, PyObject *value, PyObject **result)
{
    *result = NULL;
    if (!coro_take(coro)) {
        coro_refuse(coro, true);
        return -1;
    }
    if (coro->phase == CORO_CLOSED || (coro->phase == CORO_CREATED && value != Py_None)) {
        coro_refuse(coro, false);
        coro_leave(coro);
        return -1;
    }
    return 0;
}

/* Yield a native future if it is pending, as `await` does: return true with a new reference in *result. Return false
   if the future is done, or has been yielded and nobody has taken note of that. */
static inline bool
coro_yield_future(FutureCore *future, PyObject **result)
{
    if (!future_is_pending(future) || shared_load(&future->blocking)) {
        return false;
    }
    shared_store(&future->blocking, true);
    *result = Py_NewRef(future_object(future));
    return true;
}

/* Return the result of the native future that coro_yield_future() does not yield; NULL with the exception of
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

#define CORO_VISIT(coro) Py_VISIT((coro)->origin)

/* ---- slots ----------------------------------------------------------------------------------- */

/* The slots that a type takes as they are. It defines doc, traverse and am_send itself. */
#define CORO_SLOTS                                                                                 \
    {Py_tp_finalize, coro_finalize}, {Py_tp_dealloc, coro_dealloc}, {Py_tp_repr, coro_repr},       \
        {Py_tp_iter, PyObject_SelfIter}, {Py_tp_iternext, coro_iternext},                          \
        {Py_am_await, coro_await}, {Py_tp_methods, coro_methods}, {Py_tp_getset, coro_getset},     \
        {Py_tp_members, coro_members}

void coro_finalize(PyObject *self);
void coro_dealloc(PyObject *self);
PyObject *coro_repr(PyObject *self);
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

/* The same with an exception that is kept and used again, unless somebody else has got hold of it. It keeps the
   result until the next use: for results that live on anyway. From a tp_iternext, whose caller is the
   interpreter as a rule. Without a GIL the exception is a new one, since threads would share the kept one. */
PyObject *coro_stop_for_interpreter(fastaio_state *st, PyObject *result);
/* Drop the result of the kept exception if it is this one. */
void coro_forget_stop(fastaio_state *st, PyObject *result);
/* Drop it whatever it is. An exception that is set stays set. */
void coro_empty_stop(fastaio_state *st);

/* Have the kept exception no result when a step of a task ends: the result may know the task, and the collector
   could not find the two. */
static inline void
coro_end_step(fastaio_state *st)
{
    if (HAS_GIL && st->spare_stop_is_full) {
        coro_empty_stop(st);
    }
}

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
