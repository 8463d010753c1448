/* job_queue.h: the type JobQueue, what the threads of the default executor wait for. */
#ifndef FASTAIO_JOB_QUEUE_H
#define FASTAIO_JOB_QUEUE_H

#include "base/state.h"

/* Add the type JobQueue. Return 0, or -1 with an exception. */
int job_queue_type_init(PyObject *module);

#endif
