/* task_start.h: making a task, and its first step. */
#ifndef FASTAIO_TASK_START_H
#define FASTAIO_TASK_START_H

#include "task/objects.h"

/* Return a new, started task of a native loop, as loop.create_task() does; NULL with an exception.
   Arguments are those of task_start(). */
PyObject *task_new(LoopObject *loop, PyObject *coro, PyObject *name, PyObject *context,
                   bool eager);

/* Return a new task as loop.create_task() gets it from asyncio.eager_task_factory; NULL with an exception. */
PyObject *task_new_eagerly(LoopObject *loop, PyObject *coro, PyObject *name, PyObject *context);

/* Initialise a task as __init__() does, again too, and start it: do its first step if `eager` is true and
   the loop runs, else queue that. Return 0, or -1 with an exception. loop, name, context: NULL or None for
   the current loop, a number and a copy of the current context. */
int task_start(TaskObject *task, fastaio_state *st, PyObject *loop, PyObject *coro, PyObject *name,
               PyObject *context, bool eager);

#endif
