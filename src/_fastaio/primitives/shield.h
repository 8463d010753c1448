/* shield.h: shield(). */
#ifndef FASTAIO_SHIELD_H
#define FASTAIO_SHIELD_H

#include "base/state.h"

int shield_init(PyObject *module);

#endif
