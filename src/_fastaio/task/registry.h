/* registry.h: which tasks exist and which one runs, told to asyncio.
 *
 * Up to 3.13 asyncio keeps all tasks in a WeakSet and the current ones in a dict (registry_list.c). From
 * 3.14 on the thread state has a list of tasks and the current one (registry_thread.c).
 */
#ifndef FASTAIO_REGISTRY_H
#define FASTAIO_REGISTRY_H

#include "base/asyncio_versions.h"
#include "loop/loop.h"
#include "task/objects.h"

int registry_init(PyObject *module);

/* Before the first task of an interpreter: show native tasks to asyncio, and learn asyncio's layout and its
   counter of tasks. Return 0, or -1 with an exception. */
int registry_prepare_first(fastaio_state *st);
static inline int
registry_prepare(fastaio_state *st)
{
    return shared_load(&st->registry_ready) ? 0 : registry_prepare_first(st);
}

/* ---- all tasks ------------------------------------------------------------------------------- */

/* Show a task in all_tasks(), and its fields to onlookers. Return 0, or -1 with an exception. */
int registry_add(TaskObject *task);
/* Take a task off st->tasks; no effect if it is not listed. From 3.14 on the list is asyncio's, and a task
   is on it until registry_empty_base() or the base's dealloc. */
#if THREAD_KEEPS_TASKS
static inline void
registry_remove(TaskObject *Py_UNUSED(task))
{
}
#else
void registry_remove(TaskObject *task);
#endif
/* Undo in the base what registry_add() did there, for a task in its dealloc. */
void registry_empty_base(TaskObject *task, const BaseLayout *layout);

/* ---- current task ---------------------------------------------------------------------------- */

/* Make `task` (NULL: none) current in asyncio's note alone. Arguments and result are those of
   registry_swap_current(). */
int registry_swap_noted(fastaio_state *st, PyObject *loop, PyObject *task, PyObject **previous);

/* Make `task` (NULL: none) the current task of `loop`, which must be the running loop. Unless `previous` is
   NULL, set *previous to the task that was current, a new reference, or to NULL. A native loop's
   `current_task` follows. Return 0, or -1 with an exception. */
static inline int
registry_swap_current(fastaio_state *st, PyObject *loop, PyObject *task, PyObject **previous)
{
    LoopObject *native_loop = loop_is_native(st, loop) ? (LoopObject *)loop : NULL;
    PyObject *before = native_loop ? native_loop->current_task : NULL;
    if (native_loop != NULL) {
        native_loop->current_task = task;
    }
    if (registry_swap_noted(st, loop, task, previous) == 0) {
        return 0;
    }
    if (native_loop != NULL) {
        native_loop->current_task = before; /* for example, another thread runs the loop */
    }
    return -1;
}

/* Make `task` current for a native loop in its own turn, which sets `current_task` itself. Sets the loop's
   `current_field` if one write there is enough from then on. Return 0, or -1 with an exception. */
int registry_set_current(LoopObject *loop, PyObject *task);

/* ---- awaited-by ------------------------------------------------------------------------------ */

/* Note in 3.14's graph of awaiting tasks that `task` begins or ends to await `future`. Return 0, or -1 with
   an exception. */
#if FUTURE_KNOWS_AWAITERS
int registry_await_begins(fastaio_state *st, PyObject *future, PyObject *task);
int registry_await_ends(fastaio_state *st, PyObject *future, PyObject *task);
/* Do registry_await_begins() within the critical section of the future. */
int registry_await_begins_held(fastaio_state *st, PyObject *future, PyObject *task);
#else
#define registry_await_begins_held(st, future, task) ((void)(st), 0)
#define registry_await_begins(st, future, task) ((void)(st), 0)
#define registry_await_ends(st, future, task) ((void)(st), (void)(future), (void)(task), 0)
#endif

/* The functions of the module that fastaio/_registry.py calls. */
extern PyMethodDef registry_functions[];

#endif
