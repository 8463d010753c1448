/* objects.h: the structs of a future and of a task.
 *
 * Both types are real subclasses of asyncio's. The base's fields come first and are never initialised; a
 * FutureCore follows, at the same place in both. Every method is fastaio's own.
 */
#ifndef FASTAIO_OBJECTS_H
#define FASTAIO_OBJECTS_H

#include "base/state.h"
#include "loop/ready.h"

typedef enum { FUTURE_PENDING, FUTURE_CANCELLED, FUTURE_FINISHED } FutureState;

typedef struct {
    fastaio_state *st;       /* NULL until __init__ has run */
    LoopObject *native_loop; /* `loop`, if that is a native one; borrowed from it; else NULL */
    PyObject *loop;          /* any event loop; NULL until __init__ has run */
    PyObject *callback;      /* the first: a callable, or the waiting Task itself */
    PyObject *context;       /* of the first callback; NULL for a waiting Task */
    PyObject *callbacks;     /* the others: a list of (callable, context); or NULL */
    PyObject *result;
    PyObject *exception;
    PyObject *exception_tb;
    PyObject *cancel_message;
    PyObject *cancelled_exc; /* the CancelledError that ended a task, to be raised once */
    PyObject *source_tb;
    uint8_t state;           /* a FutureState */
    bool waiter_is_task : 1; /* `callback` is a native Task that awaits this future */
    bool blocking : 1;       /* _asyncio_future_blocking */
    bool log_traceback : 1;  /* an exception was set and has not been retrieved */
} FutureCore;

/* A Task is laid out like a FutureObject up to the core, so whatever takes a native future takes a native
   task: C code, isinstance(), the methods of fastaio.Future. The room is that of the larger base, which
   costs a future some words. */
typedef struct {
    PyObject_HEAD
    void *base_room[BASE_ROOM_WORDS];
    FutureCore core;
} FutureObject;

struct TaskObject {
    PyObject_HEAD
    void *base_room[BASE_ROOM_WORDS];
    FutureCore core;      /* where a FutureObject has it */
    PyObject *coro;       /* NULL once done and cleared */
    PyObject *name;       /* a str; NULL: not made yet, "Task-<number>" */
    PyObject *context;
    PyObject *fut_waiter; /* the future that the task awaits; owned; or NULL */
    TaskObject *next;     /* in st->tasks (registry_list.c) */
    TaskObject **link;    /* the pointer that points to this task there; NULL: not listed */
    uint64_t number;      /* of "Task-<number>"; 0: it got a name instead */
    int32_t cancels_requested;
    bool must_cancel : 1; /* the next step throws CancelledError */
    bool log_destroy_pending : 1;
};

static inline PyObject *
future_object(FutureCore *core)
{
    return (PyObject *)((char *)core - offsetof(FutureObject, core));
}

/* Return the core of a native Future or Task, of a subclass too; NULL, without an exception, for any other
   object. */
static inline FutureCore *
future_core(fastaio_state *st, PyObject *obj)
{
    return PyObject_TypeCheck(obj, st->FutureType) ? &((FutureObject *)obj)->core : NULL;
}

/* Return 0, or -1 with RuntimeError before __init__ has run. */
static inline int
future_ensure_initialized(const FutureCore *core)
{
    if (core->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
        return -1;
    }
    return 0;
}

static inline bool
future_is_pending(const FutureCore *core)
{
    return core->state == FUTURE_PENDING;
}

/* Return true if the future is cancelled or has an exception. */
static inline bool
future_has_failed(const FutureCore *core)
{
    return core->state == FUTURE_CANCELLED
           || (core->state == FUTURE_FINISHED && core->exception != NULL);
}

/* Return the wake-up of a task as a callable, for futures and loops of other libraries; a new reference, or
   NULL with an exception. It takes the future that is done. All wake-ups of a task are equal. */
static inline PyObject *
task_wakeup_callable(TaskObject *task)
{
    return PyCFunction_New(task->core.st->task_wakeup, (PyObject *)task);
}

#endif
