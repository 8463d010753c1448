/* condition_wait.h: waiting for a notification. */
#ifndef FASTAIO_CONDITION_WAIT_H
#define FASTAIO_CONDITION_WAIT_H

#include "primitives/op.h"

/* Await cond.wait(), by name if the condition is not plain. Return WAIT, or FAILED with an exception. */
Outcome condition_wait(Op *op, PyObject *cond);

/* The methods wait() and wait_for(); see CoroutineDef. */
PyObject *condition_wait_method(fastaio_state *st, PyObject *self, PyObject *const *args,
                                Py_ssize_t count, PyObject *keywords);
PyObject *condition_wait_for_method(fastaio_state *st, PyObject *self, PyObject *const *args,
                                    Py_ssize_t count, PyObject *keywords);

#endif
