/* barrier.h: Barrier. */
#ifndef FASTAIO_BARRIER_H
#define FASTAIO_BARRIER_H

#include "base/compat.h"

int barrier_type_init(PyObject *module);

#endif
