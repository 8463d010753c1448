/* error.h: raising, classifying and keeping exceptions. */
#ifndef FASTAIO_ERROR_H
#define FASTAIO_ERROR_H

#include "base/compat.h"
#include <errno.h>

/* Return true if an exception, an instance or a class, ends the run of the loop instead of being reported. */
static inline bool
exception_leaves_loop(PyObject *exception)
{
    return PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt)
           || PyErr_GivenExceptionMatches(exception, PyExc_SystemExit);
}

/* Return the same of the raised exception. */
static inline bool
raised_leaves_loop(void)
{
    return exception_leaves_loop(PyErr_Occurred());
}

/* Raise OSError for an errno. Return -1. */
static inline int
raise_errno(int error)
{
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* Raise an exception object as the statement `raise` does: the exception that is being handled becomes its
   __context__, unlike with PyErr_SetRaisedException(). Takes over the reference. */
static inline void
raise_object(PyObject *exception)
{
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
}

/* Begin to handle an exception, as an `except` block does: sys.exc_info() shows it, and it becomes the
   __context__ of what is raised. Return what was handled before, or NULL, for end_handling(). */
static inline PyObject *
begin_handling(PyObject *exception)
{
    PyObject *outer = PyErr_GetHandledException();
    PyErr_SetHandledException(exception);
    return outer;
}

/* Undo begin_handling(), and drop its result. Keeps the raised exception. */
static inline void
end_handling(PyObject *outer)
{
    PyErr_SetHandledException(outer);
    Py_XDECREF(outer);
}

/* Move the raised exception to *first if that is NULL. Otherwise write the exception as unraisable in
   `where`, or drop it if `where` is NULL. */
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
