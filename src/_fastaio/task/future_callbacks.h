/* future_callbacks.h: what a future calls once it is done: the task that awaits it, and callbacks. */
#ifndef FASTAIO_FUTURE_CALLBACKS_H
#define FASTAIO_FUTURE_CALLBACKS_H

#include "task/objects.h"

/* Return 1 if entries may be pushed on the native ready queue; 0 if loop.call_soon() must be called, which
   is overridden or another library's; or -1 with the exception that call_soon() would raise. */
int future_loop_is_direct(FutureCore *core);

/* Queue all callbacks of a future that is done, and forget them. Within the critical section of the future. Return 0, or -1 with an exception. */
int future_schedule_callbacks(FutureCore *core);
/* Have a native task woken once the future is done; at once if it is done. Within the critical section of the
   future. Return 0, or -1 with an exception. */
int future_add_waiter_held(FutureCore *core, PyObject *task);

/* Have `callback` called in `context` once the future is done; soon if it is done. Return 0, or -1 with an
   exception. */
int future_add_callback(FutureCore *core, PyObject *callback, PyObject *context);
/* Remove every callback that equals `callback`. Return their number, or -1 with an exception. */
Py_ssize_t future_remove_callback(FutureCore *core, PyObject *callback);

/* Methods and an attribute of Future and Task. */
PyObject *core_add_done_callback(FutureCore *core, PyObject *const *args, Py_ssize_t count,
                                 PyObject *keywords);
extern const char core_doc_add_done_callback[];
PyObject *core_remove_done_callback(FutureCore *core, PyObject *callback);
extern const char core_doc_remove_done_callback[];
PyObject *core_get__callbacks(FutureCore *core);

#endif
