/* sleep.h: sleep(). */
#ifndef FASTAIO_SLEEP_H
#define FASTAIO_SLEEP_H

#include "base/compat.h"

int sleep_init(PyObject *module);

#endif
