/* children.h: the futures and coroutines that gather(), wait() and their kin are given.
 *
 * These functions are native if all of their arguments are: coroutines, and native futures of a native loop
 * that runs. Any other call is asyncio's own function, so whatever it is given, it behaves as in asyncio.
 */
#ifndef FASTAIO_CHILDREN_H
#define FASTAIO_CHILDREN_H

#include "loop/loop.h"
#include "primitives/primitives.h"
#include "task/coro.h"
#include "task/registry.h"

/* Set *loop to the running loop, a new reference, if it is a native one that makes native futures and tasks.
   Return 1, 0 if it is not, or -1 with an exception. */
int children_loop(fastaio_state *st, LoopObject **loop);

/* Return true for a native future or task of the loop. */
static inline bool
child_is_future(LoopObject *loop, PyObject *obj)
{
    fastaio_state *st = loop->st;
    return (Py_IS_TYPE(obj, st->TaskType) || Py_IS_TYPE(obj, st->FutureType)
            || Py_IS_TYPE(obj, st->GatheringFutureType))
           && ((FutureObject *)obj)->core.loop == (PyObject *)loop;
}

/* Return true for a child that is handled in C. */
static inline bool
child_is_native(LoopObject *loop, PyObject *obj)
{
    return coro_check(obj) || child_is_future(loop, obj);
}

static inline FutureCore *
child_core(PyObject *child)
{
    return &((FutureObject *)child)->core;
}

/* Return a native child itself, or the new task of a coroutine: a new reference, or NULL with an exception. */
PyObject *child_ensure(LoopObject *loop, PyObject *child);

/* Set *awaiter to the task that 3.14's graph is told of, a new reference: the current one. NULL if there is
   none, and before 3.14. Return 0, or -1 with an exception. */
int children_awaiter(LoopObject *loop, PyObject **awaiter);
/* Tell the graph that `awaiter`, which may be NULL, waits for a child, or no longer does. Return 0, or -1 with
   an exception. */
static inline int
child_await_begins(fastaio_state *st, PyObject *child, PyObject *awaiter)
{
    return awaiter == NULL ? 0 : registry_await_begins(st, child, awaiter);
}
static inline int
child_await_ends(fastaio_state *st, PyObject *child, PyObject *awaiter)
{
    return awaiter == NULL ? 0 : registry_await_ends(st, child, awaiter);
}

/* Return what fut.exception() returns for a done, not cancelled child, borrowed: NULL for None. The exception
   counts as retrieved. */
static inline PyObject *
child_exception(FutureCore *core)
{
    relaxed_store(&core->log_traceback, false);
    return core->exception;
}

#endif
