/* stream_looks.h: what a thread sees of a stream transport while another thread has the loop. */
#ifndef FASTAIO_STREAM_LOOKS_H
#define FASTAIO_STREAM_LOOKS_H

#include "net/stream_object.h"

/* Look `name` up in the dict of get_extra_info(). Return a new reference, or NULL with an exception. Takes the
   reference to `extra`, which may be NULL. */
static inline PyObject *
stream_find_extra(PyObject *extra, PyObject *name, PyObject *fallback)
{
    PyObject *value;
    if (extra == NULL) {
        return Py_NewRef(fallback);
    }
    if (!PyDict_CheckExact(extra)) {
        value = PyObject_CallMethod(extra, "get", "OO", name, fallback);
    }
    else if (PyDict_GetItemRef(extra, name, &value) == 0) {
        value = Py_NewRef(fallback);
    }
    Py_DECREF(extra);
    return value;
}

#ifdef Py_GIL_DISABLED
PyObject *stream_look_closing(PyObject *op, PyObject *ignored);
/* For GuardRules. */
extern PyMethodDef stream_looks[];
#endif

#endif
