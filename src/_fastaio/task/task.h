/* task.h: the native Task: drives a coroutine, one step per entry of the ready queue. */
#ifndef FASTAIO_TASK_H
#define FASTAIO_TASK_H

#include "task/future.h"

struct TaskObject {
    PyObject_HEAD
    void *base_room[BASE_ROOM_WORDS];
    FutureCore core;      /* where a FutureObject has it */
    PyObject *coro;       /* NULL once done and cleared */
    PyObject *name;       /* a str; NULL: not made yet, "Task-<number>" */
    PyObject *context;
    PyObject *fut_waiter; /* what the task awaits; owned */
    TaskObject *next;     /* registry.c, up to 3.13 */
    TaskObject **link;    /* what points to this task there; NULL: not listed */
    uint64_t number;
    int32_t cancels_requested;
    bool must_cancel : 1;
    bool log_destroy_pending : 1;
};

/* A started task of one of our loops: what loop.create_task(coro) gives. name, context: may be
   NULL. eager: its first step runs here and now, if the loop runs. */
PyObject *task_new(LoopObject *loop, PyObject *coro, PyObject *name, PyObject *context,
                   bool eager);
/* Queues a step that throws `exc` into the coroutine, or sends None. 0 or -1. */
int task_step_soon(TaskObject *task, PyObject *exc);
/* One step: throws `exc` into the coroutine, or sends None. -1 with what must leave the loop. */
int task_step(TaskObject *task, PyObject *exc);
/* The step after the awaited `future` is done. */
int task_wakeup(TaskObject *task, PyObject *future);

/* task_step as a callable object, as asyncio's TaskStepMethWrapper. */
PyObject *task_step_callable(TaskObject *task);
/* Whether dropping a task's entry of the ready queue may run code of others. That code must find no
   current task, as it does where asyncio drops a handle. What cannot be seen from here are weak
   references to the coroutine of a task that is awaited: their callbacks may find another. */
bool task_entry_runs_code(const ReadyEntry *entry);

/* task_wakeup as a callable object, for futures and loops that are not ours; equal to any other
   of the same task. */
PyObject *task_wakeup_callable(TaskObject *task);

int task_types_init(PyObject *module);

#endif
