/* args.c: parsing of arguments that may be given by position or by keyword. */
#include "base/args.h"

static int
parse_keyword(const char *method, const NamedArgument *known, PyObject *keyword, PyObject *value)
{
    while (known->name != NULL && PyUnicode_CompareWithASCIIString(keyword, known->name) != 0) {
        known++;
    }
    if (known->name == NULL || *known->slot != NULL) {
        PyErr_Format(PyExc_TypeError,
                     known->name ? "%s() got multiple values for argument '%U'"
                                 : "%s() got an unexpected keyword argument '%U'",
                     method, keyword);
        return -1;
    }
    *known->slot = value;
    return 0;
}

int
parse_keywords(const char *method, const NamedArgument *known, PyObject *keywords,
               PyObject *const *values)
{
    Py_ssize_t count = keywords != NULL ? PyTuple_GET_SIZE(keywords) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (parse_keyword(method, known, PyTuple_GET_ITEM(keywords, i), values[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

int
parse_extra_info(PyObject *const *args, Py_ssize_t count, PyObject *keywords, PyObject **name,
                 PyObject **fallback)
{
    *name = count > 0 ? args[0] : NULL;
    *fallback = count > 1 ? args[1] : NULL;
    const NamedArgument known[] = {{"name", name}, {"default", fallback}, {NULL, NULL}};
    if (parse_keywords("get_extra_info", known, keywords, args + count) < 0) {
        return -1;
    }
    if (*name == NULL || count > 2) {
        PyErr_Format(PyExc_TypeError, "get_extra_info() takes 1 or 2 arguments (%zd given)",
                     count);
        return -1;
    }
    return 0;
}

int
parse_limit(PyObject *obj, Py_ssize_t *limit)
{
    if (PyFloat_Check(obj)) {
        double value = PyFloat_AS_DOUBLE(obj);
        *limit = value >= (double)PY_SSIZE_T_MAX ? PY_SSIZE_T_MAX
                 : value >= 0                    ? (Py_ssize_t)value
                                                 : -1; /* NaN, too */
        return 0;
    }
    Py_ssize_t value = PyNumber_AsSsize_t(obj, NULL);
    if (value == -1 && PyErr_Occurred()) {
        return -1;
    }
    *limit = value;
    return 0;
}
