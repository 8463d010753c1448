/* counter.c: counting with objects of any type. */
#include "primitives/counter.h"

int
counter_compare_object(PyObject *value, long other, int operation)
{
    PyObject *number = PyLong_FromLong(other);
    if (number == NULL) {
        return -1;
    }
    Py_INCREF(value); /* the comparison may change the field */
    int result = PyObject_RichCompareBool(value, number, operation);
    Py_DECREF(value);
    Py_DECREF(number);
    return result;
}

int
counter_compare_fields(PyObject *value, PyObject *other, int operation)
{
    long number;
    if (compat_small_int(other, &number)) {
        return counter_compare(value, number, operation);
    }
    Py_INCREF(value);
    Py_INCREF(other);
    int result = PyObject_RichCompareBool(value, other, operation);
    Py_DECREF(value);
    Py_DECREF(other);
    return result;
}

/* Return value + step, or value - 1 for a step of -1; NULL with an exception. */
static PyObject *
stepped(PyObject *value, int step)
{
    PyObject *one = PyLong_FromLong(1);
    if (one == NULL) {
        return NULL;
    }
    Py_INCREF(value);
    PyObject *sum = step > 0 ? PyNumber_InPlaceAdd(value, one)
                             : PyNumber_InPlaceSubtract(value, one);
    Py_DECREF(value);
    Py_DECREF(one);
    return sum;
}

int
counter_step(PyObject *self, PyObject **field, const char *name, int step)
{
    if (primitive_field(self, *field, name) == NULL) {
        return -1;
    }
    long number;
    PyObject *sum = compat_small_int(*field, &number) ? PyLong_FromLong(number + step) : stepped(*field, step);
    if (sum == NULL) {
        return -1;
    }
    Py_XSETREF(*field, sum);
    return 0;
}
