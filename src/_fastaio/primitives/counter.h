/* counter.h: fields that count: small ints in C, other objects by their operators. */
#ifndef FASTAIO_COUNTER_H
#define FASTAIO_COUNTER_H

#include "primitives/bound.h"

/* counter_compare() for any object. */
int counter_compare_object(PyObject *value, long other, int operation);

/* Return the truth of `value <operation> other`, with an operation like Py_LT: 1, 0, or -1 with an exception. */
static inline int
counter_compare(PyObject *value, long other, int operation)
{
    long number;
    if (compat_small_int(value, &number)) {
        switch (operation) {
        case Py_EQ: return number == other;
        case Py_LT: return number < other;
        case Py_LE: return number <= other;
        case Py_GT: return number > other;
        case Py_GE: return number >= other;
        }
    }
    return counter_compare_object(value, other, operation);
}

/* The same for a field that may be missing: NULL is an AttributeError. */
static inline int
counter_compare_field(PyObject *self, PyObject *value, const char *name, long other, int operation)
{
    return primitive_field(self, value, name) ? counter_compare(value, other, operation) : -1;
}

/* The same for two fields. */
int counter_compare_fields(PyObject *value, PyObject *other, int operation);

/* Add `step`, 1 or -1, to a field, as `self.field += 1` and `self.field -= 1` do. Return 0, or -1 with an
   exception. */
int counter_step(PyObject *self, PyObject **field, const char *name, int step);

#endif
