/* running.h: the running loop and its timers, for functions that work on any asyncio loop. */
#ifndef FASTAIO_RUNNING_H
#define FASTAIO_RUNNING_H

#include "base/state.h"

/* Return the running loop, a new reference; NULL with asyncio's RuntimeError if there is none. */
PyObject *running_loop(fastaio_state *st);

/* Do loop.call_later(delay, callback, *args). Return the handle, or NULL with an exception. */
PyObject *running_call_later(fastaio_state *st, PyObject *loop, PyObject *delay,
                             PyObject *callback, PyObject *const *args, Py_ssize_t count);
/* Do loop.call_at(when, callback, *args). Return the handle, or NULL with an exception. */
PyObject *running_call_at(fastaio_state *st, PyObject *loop, PyObject *when, PyObject *callback,
                          PyObject *const *args, Py_ssize_t count);
/* Do handle.cancel(). Return 0, or -1 with an exception. */
int running_cancel(fastaio_state *st, PyObject *handle);

#endif
