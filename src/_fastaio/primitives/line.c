/* line.c: joining a line of waiters, and leaving it. */
#include "primitives/line.h"

#include "primitives/waiter.h"

/* Return a new reference to the deque; NULL with AttributeError if the field is not set. */
static PyObject *
deque_of(const Op *op, PyObject *const *waiters, const char *name)
{
    return Py_XNewRef(primitive_field(op->self, *waiters, name));
}

Outcome
line_join(Op *op, PyObject **waiters, const char *name)
{
    PyObject *loop = primitive_loop(op->st, op->self);
    Py_XSETREF(op->waiter, loop ? waiter_new(op->st, loop) : NULL);
    Py_XDECREF(loop);
    PyObject *deque = op->waiter ? deque_of(op, waiters, name) : NULL;
    int result = deque ? deque_append(op->st, deque, op->waiter) : -1;
    Py_XDECREF(deque);
    return result < 0 ? FAILED : op_await(op, op->waiter);
}

Outcome
line_join_new(Op *op, PyObject **waiters)
{
    if (*waiters == Py_None) {
        PyObject *deque = deque_new(op->st);
        if (deque == NULL) {
            return FAILED;
        }
        Py_XSETREF(*waiters, deque);
    }
    return line_join(op, waiters, "_waiters");
}

int
line_leave(Op *op, PyObject *const *waiters, const char *name)
{
    PyObject *deque = deque_of(op, waiters, name);
    int result = deque ? deque_remove(op->st, deque, op->waiter) : -1;
    Py_XDECREF(deque);
    return result;
}
