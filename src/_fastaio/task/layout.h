/* layout.h: the functions by which fastaio/_registry.py has asyncio's layout learned. */
#ifndef FASTAIO_LAYOUT_H
#define FASTAIO_LAYOUT_H

#include "base/compat.h"

PyObject *layout_adopt(PyObject *module, PyObject *args);
extern const char layout_adopt_doc[];
PyObject *layout_adopt_numbers(PyObject *module, PyObject *args);
extern const char layout_adopt_numbers_doc[];

#endif
