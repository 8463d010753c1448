/* task.h: the steps of a native Task, each an entry of the ready queue. */
#ifndef FASTAIO_TASK_H
#define FASTAIO_TASK_H

#include "task/objects.h"

/* Queue a step, which throws `exc` into the coroutine or, if that is NULL, sends None. Return 0, or -1 with
   an exception. */
int task_step_soon(TaskObject *task, PyObject *exc);
/* Do a step: throw `exc` into the coroutine or, if that is NULL, send None. The task must be current, and
   its context entered. Return 0, or -1 with what leaves the loop. */
int task_step(TaskObject *task, PyObject *exc);
/* Do the step after the awaited future, a native one, is done. Returns like task_step(). */
int task_wakeup(TaskObject *task, PyObject *future);

/* Return a task's step as a callable, like asyncio's TaskStepMethWrapper: a new reference, or NULL with an
   exception. It takes an exception to throw, or nothing. */
PyObject *task_step_callable(TaskObject *task);
/* The method of task_wakeup_callable(): for st->task_wakeup. */
extern PyMethodDef task_wakeup_def;

/* Return true if dropping a task's entry of the ready queue may run code. That code must find no current
   task, as when asyncio drops a handle. Weak references to the coroutine of an awaited task are not seen:
   their callbacks may find another task. */
bool task_entry_runs_code(const ReadyEntry *entry);

#endif
