/* lock.h: Lock. */
#ifndef FASTAIO_LOCK_H
#define FASTAIO_LOCK_H

#include "primitives/op.h"

typedef struct {
    BoundObject bound;
    PyObject *waiters; /* `_waiters`: a deque of futures, or None */
    PyObject *locked;  /* `_locked`: a bool */
} LockObject;

/* Do acquire() if that need not wait. Return DONE; WAIT if it must wait; or FAILED with an exception. `self`
   must be a Lock. This and lock_release() enter its critical section. */
Outcome lock_acquire_now(fastaio_state *st, PyObject *self);
/* Return the coroutine of acquire(); NULL with an exception. */
PyObject *lock_acquire_new(fastaio_state *st, PyObject *self);
/* Do release(). Return 0, or -1 with an exception. */
int lock_release(fastaio_state *st, PyObject *self);

int lock_type_init(PyObject *module);

#endif
