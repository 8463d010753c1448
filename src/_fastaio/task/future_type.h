/* future_type.h: the Future type. */
#ifndef FASTAIO_FUTURE_TYPE_H
#define FASTAIO_FUTURE_TYPE_H

#include "base/state.h"

/* Make the types Future and FutureIter. Return 0, or -1 with an exception. */
int future_types_init(PyObject *module);

#endif
