/* queue.h: what a queue does without a wait. */
#ifndef FASTAIO_QUEUE_H
#define FASTAIO_QUEUE_H

#include "primitives/queue_object.h"

/* Do empty() or full(), by name if the object is not plain. Return 1, 0, or -1 with an exception. */
int queue_is_empty(fastaio_state *st, PyObject *self);
int queue_is_full(fastaio_state *st, PyObject *self);
/* Return 1 if the queue has been shut down, 0, or -1 with an exception. */
int queue_is_shutdown(PyObject *self);
/* Raise QueueShutDown. */
void queue_raise_shutdown(fastaio_state *st);
/* Wake the first waiter of a deque, a field of the queue, that is not done; by name if the object is not plain.
   Return 0, or -1 with an exception. */
int queue_wake_next(fastaio_state *st, PyObject *self, PyObject *const *waiters, const char *name);
/* Do put_nowait() on a queue that has just been seen not full, or get_nowait() on one that is not empty; by name if
   the object is not plain. Return the result, or NULL with an exception. */
PyObject *queue_put_into_room(fastaio_state *st, PyObject *self, PyObject *item);
PyObject *queue_get_present(fastaio_state *st, PyObject *self);

/* The methods of Queue that do not wait. */
extern PyMethodDef queue_methods[];

#endif
