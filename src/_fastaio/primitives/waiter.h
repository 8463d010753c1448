/* waiter.h: the futures by which primitives let tasks wait, in deques as asyncio keeps them.
 *
 * A waiter is a native future on a native loop, else what the loop's create_future() returns. A program may
 * put other objects into the deque: these are used by the methods of a future.
 */
#ifndef FASTAIO_WAITER_H
#define FASTAIO_WAITER_H

#include "base/deque.h"

/* Return a new future of the loop; NULL with an exception. */
PyObject *waiter_new(fastaio_state *st, PyObject *loop);
/* Return what waiter.done() and waiter.cancelled() say: 1, 0, or -1 with an exception. */
int waiter_is_done(fastaio_state *st, PyObject *waiter);
int waiter_is_cancelled(fastaio_state *st, PyObject *waiter);
/* Set the result unless the waiter is done. Return 1 if the result was set, 0 if not, or -1 with an
   exception. */
int waiter_wake(fastaio_state *st, PyObject *waiter, PyObject *result);

/* Set the result of a waiter that has just been seen pending. Return 1; 0 if another thread was faster; or -1 with an
   exception. */
int waiter_complete(fastaio_state *st, PyObject *waiter, PyObject *result);
/* Return 1 if all waiters of a deque are cancelled, 0, or -1 with an exception. */
int waiters_are_cancelled(fastaio_state *st, PyObject *waiters);
/* Set *waiter to the first waiter that is not done, a new reference. Return 1, 0 if there is none, or -1 with an
   exception. */
int waiters_first_pending(fastaio_state *st, PyObject *waiters, PyObject **waiter);
/* Wake the first waiter of a deque if it is not done. Return 0, or -1 with an exception. */
int waiters_wake_first(fastaio_state *st, PyObject *waiters, PyObject *result);

#endif
