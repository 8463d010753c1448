/* args.h: parsing of arguments that may be given by position or by keyword, as to asyncio's methods. */
#ifndef FASTAIO_ARGS_H
#define FASTAIO_ARGS_H

#include "base/compat.h"

/* An argument that may be given by keyword. *slot is NULL until the argument is known. */
typedef struct {
    const char *name; /* NULL ends a list of arguments */
    PyObject **slot;
} NamedArgument;

/* Put keyword arguments into the slots of their names, as borrowed references. `keywords`: a tuple of names,
   or NULL for none. Return 0; or -1 with TypeError for an unknown name, or a slot that has a value. */
int parse_keywords(const char *method, const NamedArgument *known, PyObject *keywords,
                   PyObject *const *values);

/* Return the only argument of a METH_FASTCALL | METH_KEYWORDS method, borrowed; NULL with TypeError. `name`:
   the keyword that asyncio has for the argument. */
static inline PyObject *
only_argument(const char *method, const char *name, PyObject *const *args, Py_ssize_t count,
              PyObject *keywords)
{
    Py_ssize_t total = count + (keywords ? PyTuple_GET_SIZE(keywords) : 0);
    if (total != 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes exactly one argument (%zd given)", method, total);
        return NULL;
    }
    if (count == 0
        && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0), name) != 0) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", method,
                     PyTuple_GET_ITEM(keywords, 0));
        return NULL;
    }
    return args[0];
}

/* Define function_call(), the METH_FASTCALL | METH_KEYWORDS form of a METH_O function. */
#define BY_KEYWORD_TOO(function, method, name)                                                     \
    static PyObject *function##_call(PyObject *self, PyObject *const *args, Py_ssize_t count,      \
                                     PyObject *keywords)                                           \
    {                                                                                              \
        PyObject *argument = only_argument(method, name, args, count, keywords);                   \
        return argument ? function(self, argument) : NULL;                                         \
    }

/* Cast a METH_FASTCALL | METH_KEYWORDS function for a PyMethodDef. */
#define KEYWORDS(function) (PyCFunction)(void (*)(void))(function)

/* Parse get_extra_info(name, default=None) into borrowed references; *fallback is NULL if the call gives no
   default. Return 0, or -1 with TypeError. */
int parse_extra_info(PyObject *const *args, Py_ssize_t count, PyObject *keywords, PyObject **name,
                     PyObject **fallback);

/* Store a limit of flow control in bytes. asyncio takes any number: one above PY_SSIZE_T_MAX becomes that, a
   fraction is cut off. Return 0, or -1 with an exception. */
int parse_limit(PyObject *obj, Py_ssize_t *limit);

#endif
