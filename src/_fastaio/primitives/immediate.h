/* immediate.h: Immediate, an awaitable whose `await` does not wait: what __aenter__() and __aexit__() return
 * once they have done their work.
 *
 * Most do their work when they are called: `async with` awaits the result of the call at once, so nothing can
 * happen in between.
 */
#ifndef FASTAIO_IMMEDIATE_H
#define FASTAIO_IMMEDIATE_H

#include "base/state.h"

/* Return an awaitable with a result; NULL with MemoryError. */
PyObject *immediate_new(fastaio_state *st, PyObject *result);

/* What is done when an awaitable is awaited. Return 1 in a step of a native task, which makes the interpreter forget the
   result at its end (coro_end_step()); 0; or -1 with an exception. */
typedef int (*immediate_fn)(fastaio_state *st, PyObject *obj);

/* Return an awaitable that calls fn(st, obj) when it is awaited, and whose result is obj. */
PyObject *immediate_call(fastaio_state *st, immediate_fn fn, PyObject *obj);

/* Return the exception that __aexit__(exc_type, exc, tb) of a class is called with, or None, borrowed; NULL with
   TypeError for other arguments. */
PyObject *aexit_exception(const char *owner, PyObject *const *args, Py_ssize_t count,
                          PyObject *keywords);

int immediate_type_init(PyObject *module);

#endif
