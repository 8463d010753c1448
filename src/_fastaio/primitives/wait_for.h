/* wait_for.h: wait_for(). */
#ifndef FASTAIO_WAIT_FOR_H
#define FASTAIO_WAIT_FOR_H

#include "base/compat.h"

int wait_for_init(PyObject *module);

#endif
