/* queue_type.h: the types Queue, PriorityQueue and LifoQueue. */
#ifndef FASTAIO_QUEUE_TYPE_H
#define FASTAIO_QUEUE_TYPE_H

#include "base/compat.h"

int queue_types_init(PyObject *module);

#endif
