/* timeout.h: Timeout, timeout() and timeout_at(). */
#ifndef FASTAIO_TIMEOUT_H
#define FASTAIO_TIMEOUT_H

#include "base/state.h"

/* Return a new Timeout as timeout(delay) does; NULL with an exception. */
PyObject *timeout_new(fastaio_state *st, PyObject *delay);
/* Do what __aenter__() does. Return 0, or -1 with an exception. */
int timeout_enter(fastaio_state *st, PyObject *self);
/* Do what __aexit__() does. `exc`: the exception that leaves the block, or None. Return 0, or -1 with an
   exception, TimeoutError for one. */
int timeout_exit(fastaio_state *st, PyObject *self, PyObject *exc);

int timeout_type_init(PyObject *module);

#endif
