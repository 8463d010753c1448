/* error.h: what rooms share in dealing with raised exceptions. */
#ifndef FASTAIO_ERROR_H
#define FASTAIO_ERROR_H

#include "base/compat.h"
#include <errno.h>

/* Return true if the raised exception ends the run of the loop instead of being reported. */
static inline bool
raised_leaves_loop(void)
{
    return PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)
           || PyErr_ExceptionMatches(PyExc_SystemExit);
}

/* Raise OSError for an errno. Return -1. */
static inline int
raise_errno(int error)
{
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* Raise an exception object, whose reference is taken over, as the statement `raise` does: what is
   being handled becomes its __context__. PyErr_SetRaisedException() puts back what was raised. */
static inline void
raise_object(PyObject *exception)
{
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
}

/* Take the raised exception into *first, unless an earlier one is there. A later one is written as
   unraisable in `where`, or dropped where that is NULL. */
static inline void
keep_first(PyObject **first, PyObject *where)
{
    if (*first == NULL) {
        *first = PyErr_GetRaisedException();
    }
    else if (where != NULL) {
        PyErr_WriteUnraisable(where);
    }
    else {
        PyErr_Clear();
    }
}

#endif
