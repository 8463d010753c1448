/* task_type.h: the Task type. */
#ifndef FASTAIO_TASK_TYPE_H
#define FASTAIO_TASK_TYPE_H

#include "base/state.h"

/* Make the type. The Future type must have been made. Return 0, or -1 with an exception. */
int task_types_init(PyObject *module);

#endif
