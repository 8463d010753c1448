/* condition_type.h: the type Condition. */
#ifndef FASTAIO_CONDITION_TYPE_H
#define FASTAIO_CONDITION_TYPE_H

#include "base/compat.h"

int condition_type_init(PyObject *module);

#endif
