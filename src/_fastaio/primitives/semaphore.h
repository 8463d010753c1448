/* semaphore.h: Semaphore and BoundedSemaphore. */
#ifndef FASTAIO_SEMAPHORE_H
#define FASTAIO_SEMAPHORE_H

#include "base/compat.h"

int semaphore_types_init(PyObject *module);

#endif
