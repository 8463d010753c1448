/* future_await.h: the iterators of `await future`. */
#ifndef FASTAIO_FUTURE_AWAIT_H
#define FASTAIO_FUTURE_AWAIT_H

#include "task/objects.h"

/* Return the iterator that __await__() and iter() give, a new FutureIter; NULL with an exception. */
PyObject *core_await(FutureCore *core);
/* Return the iterator that `await` uses: the future itself; a FutureIter for a future that has attributes or
   is of a subclass. A new reference, or NULL with an exception. */
PyObject *core_self(FutureCore *core);
/* Do a step of the future as its own iterator. Returns like tp_iternext. */
PyObject *core_next(FutureCore *core);

/* Make the type FutureIter. Return 0, or -1 with an exception. */
int future_await_init(PyObject *module);

#endif
