/* wait.h: wait(). */
#ifndef FASTAIO_WAIT_H
#define FASTAIO_WAIT_H

#include "base/state.h"

int wait_init(PyObject *module);

#endif
