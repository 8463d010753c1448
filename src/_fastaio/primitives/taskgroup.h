/* taskgroup.h: the class TaskGroup. */
#ifndef FASTAIO_TASKGROUP_H
#define FASTAIO_TASKGROUP_H

#include "base/state.h"

int taskgroup_type_init(PyObject *module);

#endif
