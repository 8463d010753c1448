/* gather.h: gather(). */
#ifndef FASTAIO_GATHER_H
#define FASTAIO_GATHER_H

#include "base/state.h"

int gather_init(PyObject *module);

#endif
