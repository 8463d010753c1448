/* future.h: the native Future, and the FutureCore that Task shares with it.
 *
 * Future and Task really subclass asyncio's types: the base's fields (opaque)
 * come first, then a FutureCore of ours. Every method is ours; the base is
 * never initialised.
 */
#ifndef FASTAIO_FUTURE_H
#define FASTAIO_FUTURE_H

#include "base/state.h"
#include "loop/ready.h"

typedef enum { FUTURE_PENDING, FUTURE_CANCELLED, FUTURE_FINISHED } FutureState;

typedef struct {
    fastaio_state *st;    /* NULL until __init__ has run */
    LoopObject *native;   /* the loop, where it is ours; borrowed from the next */
    PyObject *loop;       /* any event loop */
    PyObject *callback;   /* the first: a callable, or the waiting Task itself */
    PyObject *context;    /* of the first callback; NULL for a waiting Task */
    PyObject *callbacks;  /* the others: a list of (callable, context) */
    PyObject *result;
    PyObject *exception;
    PyObject *exception_tb;
    PyObject *cancel_message;
    PyObject *cancelled_exc;
    PyObject *source_tb;
    uint8_t state;        /* a FutureState */
    bool waiter_is_task : 1; /* `callback` is a native Task that awaits this future */
    bool blocking : 1;       /* _asyncio_future_blocking */
    bool log_traceback : 1;  /* an exception was set and nobody has asked for it */
} FutureCore;

/* A Task is one of these, too: its core stands at the same place, behind room for the larger base. So
   whatever takes a native future takes a native task, Python's isinstance() and the methods of
   fastaio.Future included. It costs a future some words. */
typedef struct {
    PyObject_HEAD
    void *base_room[BASE_ROOM_WORDS];
    FutureCore core;
} FutureObject;

static inline PyObject *
future_object(FutureCore *core)
{
    return (PyObject *)((char *)core - offsetof(FutureObject, core));
}

/* The core of a native Future or Task (a Python subclass included), or NULL for anything else. */
FutureCore *future_core(fastaio_state *st, PyObject *obj);

static inline bool
future_is_pending(const FutureCore *core)
{
    return core->state == FUTURE_PENDING;
}

/* A pending future of one of our loops: what loop.create_future() gives. */
PyObject *future_new(LoopObject *loop);
/* These raise InvalidStateError on a future that is done; -1 on error. */
int future_set_result(FutureCore *core, PyObject *result);
int future_set_exception(FutureCore *core, PyObject *exception);
/* 1: cancelled now, 0: was done, -1: error. message may be NULL. */
int future_cancel(FutureCore *core, PyObject *message);
/* The result as a new reference, or NULL with the future's exception raised. */
PyObject *future_get_result(FutureCore *core);
/* Whether the future is cancelled or has an exception. */
static inline bool
future_has_failed(const FutureCore *core)
{
    return core->state == FUTURE_CANCELLED
           || (core->state == FUTURE_FINISHED && core->exception != NULL);
}
/* What a future that has failed raises, not raised: a new reference, or NULL with another error. */
PyObject *future_get_exception(FutureCore *core);
/* The CancelledError of a cancelled future or a task to be cancelled; new reference. */
PyObject *future_make_cancelled_error(FutureCore *core);
/* Makes `task` the future's waiter: no wrapper, no handle. */
int future_add_waiter(FutureCore *core, PyObject *task);

/* For task.c: the shared parts of both types. */
/* Whether a reference to `obj`, which may be NULL, can be dropped without running code of others:
   somebody else has it too, or it is of a type like int or bytes. */
static inline bool
reference_is_inert(PyObject *obj)
{
    return obj == NULL || Py_REFCNT(obj) > 1
           || !(Py_TYPE(obj)->tp_flags & (Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HEAPTYPE));
}
/* Whether dropping the core of a finished future runs no code of others, as far as references go. */
static inline bool
future_core_is_inert(const FutureCore *core)
{
    return !core->log_traceback && reference_is_inert(core->result) && core->exception == NULL
           && core->exception_tb == NULL && core->callback == NULL && core->callbacks == NULL
           && core->cancel_message == NULL && core->cancelled_exc == NULL
           && core->source_tb == NULL;
}
int future_core_init(FutureCore *core, fastaio_state *st, PyObject *loop);
int future_core_traverse(FutureCore *core, visitproc visit, void *arg);
/* Make the core that of an uninitialised future, then drop what it held. */
void future_core_clear(FutureCore *core);
/* Drop the references of a core that nobody can reach any more: a copy, or in a dealloc. */
static inline void
future_core_drop(const FutureCore *core)
{
    Py_XDECREF(core->loop);
    Py_XDECREF(core->callback);
    Py_XDECREF(core->context);
    Py_XDECREF(core->callbacks);
    Py_XDECREF(core->result);
    Py_XDECREF(core->exception);
    Py_XDECREF(core->exception_tb);
    Py_XDECREF(core->cancel_message);
    Py_XDECREF(core->cancelled_exc);
    Py_XDECREF(core->source_tb);
}
/* Reports an exception that nobody retrieved; called by finalizers. */
void future_report_unretrieved(FutureCore *core);
/* Whether entries may go straight into the native queue: 1, or 0 where loop.call_soon() is to be
   called; -1 with the exception that call_soon would raise. */
int future_loop_is_direct(FutureCore *core);

int future_types_init(PyObject *module);

#endif
