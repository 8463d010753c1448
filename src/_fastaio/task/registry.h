/* registry.h: which tasks exist and which one runs, where asyncio looks for them. */
#ifndef FASTAIO_REGISTRY_H
#define FASTAIO_REGISTRY_H

#include "task/task.h"

int registry_init(PyObject *module);
/* Once per interpreter, before its first task: tell asyncio what it is to know, and learn of it what
   is to be known. 0, or -1 with an exception. */
int registry_prepare(fastaio_state *st);
/* all_tasks(): from its first scheduling to its deallocation. */
int registry_add(TaskObject *task);
void registry_remove(TaskObject *task);
/* Takes back what registry_add() has put into the base, where that is known: a task that goes. */
void registry_empty_base(TaskObject *task, const BaseLayout *layout);
/* current_task(): makes `task` (NULL: none) the current task of `loop`, which must be the running
   loop; hands the previous one to *previous (new reference or NULL) unless that is NULL. A native
   loop is told, so its `current_task` holds. */
int registry_swap_current(fastaio_state *st, PyObject *loop, PyObject *task, PyObject **previous);
/* The same without an answer, for a loop of ours in its own turn, which keeps `current_task` itself. Sets
   the loop's `current_field` where one write is enough from then on. */
int registry_set_current(LoopObject *loop, PyObject *task);
/* The task has got another name. */
int registry_name_changed(TaskObject *task);
/* The awaited-by graph of 3.14; there is none before. */
#if PY_VERSION_HEX >= 0x030E0000
int registry_await_begins(fastaio_state *st, PyObject *future, PyObject *task);
int registry_await_ends(fastaio_state *st, PyObject *future, PyObject *task);
#else
#define registry_await_begins(st, future, task) ((void)(st), 0)
#define registry_await_ends(st, future, task) ((void)(st), (void)(future), (void)(task), 0)
#endif

extern PyMethodDef registry_functions[];

#endif
