/* job.h: a call that a thread makes for a loop: run_in_executor() with the default executor. */
#ifndef FASTAIO_JOB_H
#define FASTAIO_JOB_H

#include "loop/loop.h"

/* Return a new job: func(*args), whose outcome becomes that of `future`, a native future of the loop. `args` is
   a tuple. NULL with MemoryError. */
PyObject *job_new(LoopObject *loop, PyObject *future, PyObject *func, PyObject *args);

/* Make the call, unless the future is cancelled, and queue the outcome in the loop. Called in any thread. Set
   *sleeper to the loop if it has to be woken: by loop_wake_claimed(), as soon as this thread releases the
   GIL. Otherwise set *sleeper to NULL. */
void job_run(PyObject *job, LoopObject **sleeper);

/* Cancel the future of a job that has not begun, from any thread. Return 0, or -1 with an exception. */
int job_cancel(PyObject *job);

static inline bool
job_check(fastaio_state *st, PyObject *obj)
{
    return Py_IS_TYPE(obj, st->JobType);
}

/* Add the type of jobs. Return 0, or -1 with an exception. */
int job_type_init(PyObject *module);

#endif
