/* deque.h: operations on a collections.deque, without a look-up by name. Objects of other types are used by
 * the methods of the same names.
 */
#ifndef FASTAIO_DEQUE_H
#define FASTAIO_DEQUE_H

#include "base/state.h"

/* Learn the C functions of deque's methods. Return 0, or -1 with an exception. */
int deque_init(fastaio_state *st);

/* Return a new, empty deque; NULL with an exception. */
static inline PyObject *
deque_new(fastaio_state *st)
{
    return PyObject_CallNoArgs(st->deque);
}

/* queue.append(item). Return 0, or -1 with an exception. */
int deque_append(fastaio_state *st, PyObject *queue, PyObject *item);
/* queue.popleft(). Return a new reference, or NULL with an exception. */
PyObject *deque_popleft(fastaio_state *st, PyObject *queue);
/* queue.remove(item). Return 0, or -1 with an exception: ValueError if the item is not in the queue. */
int deque_remove(fastaio_state *st, PyObject *queue, PyObject *item);

/* Return 1 if the queue is true, as a rule: not empty; 0, or -1 with an exception. */
static inline int
deque_is_true(fastaio_state *st, PyObject *queue)
{
    if (Py_IS_TYPE(queue, (PyTypeObject *)st->deque)) {
        return Py_SIZE(queue) != 0;
    }
    return queue == Py_None ? 0 : PyObject_IsTrue(queue);
}

/* Set *item to the first item, a new reference. Return 1; 0 if there is none; or -1 with an exception. */
int deque_first(fastaio_state *st, PyObject *queue, PyObject **item);

#endif
