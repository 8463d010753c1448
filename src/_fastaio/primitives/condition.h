/* condition.h: what a condition does without a wait. */
#ifndef FASTAIO_CONDITION_H
#define FASTAIO_CONDITION_H

#include "primitives/condition_object.h"
#include "primitives/op.h"

/* Return a new reference to the lock if its functions may be called directly; else NULL, without an exception. */
PyObject *condition_plain_lock(const fastaio_state *st, PyObject *self);
/* Return 0, or -1 with an exception: RuntimeError, which names the action, if the lock is not held. */
int condition_check_locked(const fastaio_state *st, PyObject *self, const char *action);
/* Do self.release() of a plain condition. Return 0, or -1 with an exception. */
int condition_release_plain(fastaio_state *st, PyObject *self);
/* Do self.acquire() of a plain condition, as far as that need not wait, or await it: return DONE, WAIT, or FAILED
   with an exception. Enters the critical section of the condition. */
Outcome condition_acquire(Op *op, PyObject *self);
/* Wake `number` waiters; or, if `limit` is not NULL, as many as it says. Return 0, or -1 with an exception. */
int condition_notify(fastaio_state *st, PyObject *self, long number, PyObject *limit);

/* Do self.release() or self.notify_all(), by name if the condition is not plain. Both enter the critical section of the
   condition. Return 0, or -1 with an exception. */
int condition_release(fastaio_state *st, PyObject *self);
int condition_notify_all(fastaio_state *st, PyObject *self);

/* The methods of Condition that do not wait. */
extern PyMethodDef condition_methods[];

#endif
