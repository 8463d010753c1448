/* loop_type.h: the Loop type. */
#ifndef FASTAIO_LOOP_TYPE_H
#define FASTAIO_LOOP_TYPE_H

#include "base/state.h"

/* Make the type. Return 0, or -1 with an exception. */
int loop_types_init(PyObject *module);

#endif
