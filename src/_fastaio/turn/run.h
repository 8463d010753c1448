/* run.h: running the entries of the ready queue. */
#ifndef FASTAIO_RUN_H
#define FASTAIO_RUN_H

#include "loop/loop.h"
#include "task/registry.h"

/* Run exactly the entries that are queued now, in order. Return 0, or -1 with what leaves the loop. */
int run_batch(LoopObject *loop);
/* Count slow callbacks at the end of a part of a batch. The clock has been read. */
void run_note_part(LoopObject *loop);

/* Make a task current, or NULL for none. Return 0, or -1 with an exception. */
static inline int
set_current_task(LoopObject *loop, PyObject *task)
{
    if (loop->current_task == task) {
        return 0;
    }
    loop->current_task = task;
    if (loop->current_field != NULL) {
        PyObject *old = *loop->current_field;
        *loop->current_field = Py_XNewRef(task);
        Py_XDECREF(old);
        return 0;
    }
    return registry_set_current(loop, task);
}

#endif
