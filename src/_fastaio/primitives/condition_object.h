/* condition_object.h: the struct of a condition. */
#ifndef FASTAIO_CONDITION_OBJECT_H
#define FASTAIO_CONDITION_OBJECT_H

#include "primitives/bound.h"

typedef struct {
    BoundObject bound;
    PyObject *lock;    /* `_lock` */
    PyObject *acquire; /* this and the next two: the lock's methods */
    PyObject *release;
    PyObject *locked;
    PyObject *waiters;      /* `_waiters`: a deque of futures */
    PyObject *lock_methods; /* what __init__() has put into the first four fields, a tuple, if that is a plain Lock
                               and its methods; or NULL */
} ConditionObject;

static inline bool
condition_is_plain(const fastaio_state *st, PyObject *self)
{
    return primitive_is_plain(&st->primitives->Condition, self);
}

/* Return a new reference to _waiters; NULL with AttributeError. */
static inline PyObject *
condition_waiters(PyObject *self)
{
    return Py_XNewRef(primitive_field(self, ((ConditionObject *)self)->waiters, "_waiters"));
}

#endif
