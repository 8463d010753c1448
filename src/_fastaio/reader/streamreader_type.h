/* streamreader_type.h: the class of adopted readers. */
#ifndef FASTAIO_STREAMREADER_TYPE_H
#define FASTAIO_STREAMREADER_TYPE_H

#include "base/state.h"

/* Add the types of stream readers to the module. Return 0, or -1 with an exception. */
int streamreader_types_init(PyObject *module);

#endif
