/* objects.h: the structs of a future and of a task.
 *
 * Both types are real subclasses of asyncio's. The base's fields come first and are never initialised; a
 * FutureCore follows, at the same place in both. Every method is fastaio's own.
 */
#ifndef FASTAIO_OBJECTS_H
#define FASTAIO_OBJECTS_H

#include "base/state.h"
#include "loop/ready.h"

/* Without a GIL any thread may use a future. These are the rules:
 * 1. `st`, `loop` and `native_loop` are set once, and so are `coro` and `context` of a task, except that a task that
 *    ends in its eager start drops its coroutine.
 * 2. `state` is written in the critical section of the object, behind the outcome. An outcome is there for whoever
 *    finds the future done, and does not change. Any thread may ask future_state().
 * 3. `blocking` and `log_traceback` are bytes of their own: they are written without a lock.
 * 4. All other fields belong to the critical section of the object.
 * A call into Python may leave the critical section for a while. So the code behind it looks at the fields again, as
 * it has to with a GIL.
 */

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
    bool waiter_is_task;     /* `callback` is a native Task that awaits this future */
    bool blocking;           /* _asyncio_future_blocking */
    bool log_traceback;      /* an exception was set and has not been retrieved */
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
    bool must_cancel; /* the next step throws CancelledError */
    bool log_destroy_pending;
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

/* Return true for an object of a native type itself, which is awaited as fastaio.Future is. */
static inline bool
future_is_exact(fastaio_state *st, PyObject *obj)
{
    return Py_IS_TYPE(obj, st->FutureType) || Py_IS_TYPE(obj, st->TaskType)
           || Py_IS_TYPE(obj, st->GatheringFutureType);
}

/* Return true once __init__ has run. */
static inline bool
future_is_initialized(const FutureCore *core)
{
    return shared_load(&core->loop) != NULL;
}

/* Return 0, or -1 with RuntimeError before __init__ has run. */
static inline int
future_ensure_initialized(const FutureCore *core)
{
    if (!future_is_initialized(core)) {
        PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
        return -1;
    }
    return 0;
}

/* Return the FutureState. */
static inline uint8_t
future_state(const FutureCore *core)
{
    return shared_load(&core->state);
}

static inline bool
future_is_pending(const FutureCore *core)
{
    return future_state(core) == FUTURE_PENDING;
}

/* Return true if the future is cancelled or has an exception. */
static inline bool
future_has_failed(const FutureCore *core)
{
    uint8_t state = future_state(core);
    return state == FUTURE_CANCELLED || (state == FUTURE_FINISHED && core->exception != NULL);
}

/* Return the wake-up of a task as a callable, for futures and loops of other libraries; a new reference, or
   NULL with an exception. It takes the future that is done. All wake-ups of a task are equal. */
static inline PyObject *
task_wakeup_callable(TaskObject *task)
{
    return PyCFunction_New(task->core.st->task_wakeup, (PyObject *)task);
}

#endif
