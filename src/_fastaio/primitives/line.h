/* line.h: waiting in line: the waiter that a coroutine has in a deque of its object. */
#ifndef FASTAIO_LINE_H
#define FASTAIO_LINE_H

#include "primitives/op.h"

/* Append a new waiter to a deque, a field of op->self, keep it as op->waiter, and await it. `name`: of the field.
   Return WAIT, or FAILED with an exception. */
Outcome line_join(Op *op, PyObject **waiters, const char *name);
/* The same for `_waiters` where that is None until the first wait. */
Outcome line_join_new(Op *op, PyObject **waiters);
/* Remove op->waiter from the deque. Return 0, or -1 with an exception: ValueError if it is not there. */
int line_leave(Op *op, PyObject *const *waiters, const char *name);

/* End acquire(), which returns True, or __aenter__(), whose spec is given and which returns None. Return DONE. */
static inline Outcome
line_acquired(const Op *op, const OpSpec *aenter_spec, PyObject **result)
{
    *result = Py_NewRef(op->coro.kind == &aenter_spec->coro ? Py_None : Py_True);
    return DONE;
}

#endif
