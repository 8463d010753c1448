/* as_completed.h: as_completed(). */
#ifndef FASTAIO_AS_COMPLETED_H
#define FASTAIO_AS_COMPLETED_H

#include "base/state.h"

int as_completed_init(PyObject *module);

#endif
