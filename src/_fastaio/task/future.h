/* future.h: the outcome of a native future or task, and the life of its core. */
#ifndef FASTAIO_FUTURE_H
#define FASTAIO_FUTURE_H

#include "task/objects.h"

/* ---- outcome --------------------------------------------------------------------------------- */

/* Set the result, or an exception (an instance or a class), and queue the callbacks. Return 0, or -1 with
   an exception: InvalidStateError if the future is done. */
int future_set_result(FutureCore *core, PyObject *result);
int future_set_exception(FutureCore *core, PyObject *exception);
/* Set the outcome unless the future is done. Check and set are one step: without a GIL another thread may cancel the
   future in between. Return 1, 0 if the future was done, or -1 with an exception. */
int future_set_result_unless_done(FutureCore *core, PyObject *result);
int future_set_exception_unless_done(FutureCore *core, PyObject *exception);
/* Set the outcome unless the future is cancelled, as one step. Return 0, or -1 with an exception: InvalidStateError if
   the future has an outcome already. */
int future_set_result_unless_cancelled(FutureCore *core, PyObject *result);
int future_set_exception_unless_cancelled(FutureCore *core, PyObject *exception);
/* Cancel a pending future and queue its callbacks. `message` may be NULL. Return 1, 0 if the future was
   done, or -1 with an exception. */
int future_cancel(FutureCore *core, PyObject *message);

/* Do future_set_result() or future_cancel() within the critical section of the future. */
int future_set_result_held(FutureCore *core, PyObject *result);
int future_cancel_held(FutureCore *core, PyObject *message);

/* Raise what is there in place of a result: CancelledError, the future's exception, or InvalidStateError
   for a pending future. Return NULL. */
PyObject *future_raise_failure(FutureCore *core);

/* Return a new reference to the result; NULL with an exception, as result() raises it. */
static inline PyObject *
future_get_result(FutureCore *core)
{
    if (future_state(core) != FUTURE_FINISHED || core->exception != NULL) {
        return future_raise_failure(core);
    }
    return Py_NewRef(core->result);
}

/* Return the exception that the result of a failed future raises; a new reference, or NULL with another
   exception. */
PyObject *future_get_exception(FutureCore *core);
/* Return the CancelledError of a cancelled future, or of a task to be cancelled; a new reference, or NULL
   with an exception. */
PyObject *future_make_cancelled_error(FutureCore *core);

/* ---- life ------------------------------------------------------------------------------------ */

/* Return a new pending future of a native loop, as loop.create_future() does; NULL with an exception. */
PyObject *future_new(LoopObject *loop);

/* Initialise the core as __init__() does, again too. `loop` NULL or None: the current event loop. Return 0,
   or -1 with an exception. */
int future_core_init(FutureCore *core, fastaio_state *st, PyObject *loop);
int future_core_traverse(FutureCore *core, visitproc visit, void *arg);
/* Make the core that of an uninitialised future, then drop the references that it held. May run code. */
void future_core_clear(FutureCore *core);

/* Drop the references of a core that no code can reach any more: of a copy, or in a dealloc. */
static inline void
future_core_drop(const FutureCore *core)
{
    Py_XDECREF(core->loop);
    Py_XDECREF(core->callback);
    Py_XDECREF(core->context);
    Py_XDECREF(core->callbacks);
    Py_XDECREF(core->result);
    Py_XDECREF(core->exception);
    Py_XDECREF(core->exception_tb);
    Py_XDECREF(core->cancel_message);
    Py_XDECREF(core->cancelled_exc);
    Py_XDECREF(core->source_tb);
}

/* Return true if a reference to `obj`, which may be NULL, can be dropped without running code: others have
   the object too, or it is of a type like int or bytes. */
static inline bool
reference_is_inert(PyObject *obj)
{
    return obj == NULL || Py_REFCNT(obj) > 1
           || !(Py_TYPE(obj)->tp_flags & (Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HEAPTYPE));
}

/* Return true if dropping the references of a finished future's core runs no code. */
static inline bool
future_core_is_inert(const FutureCore *core)
{
    return !core->log_traceback && reference_is_inert(core->result) && core->exception == NULL
           && core->exception_tb == NULL && core->callback == NULL && core->callbacks == NULL
           && core->cancel_message == NULL && core->cancelled_exc == NULL
           && core->source_tb == NULL;
}

/* Report an exception that was never retrieved to the exception handler. For finalizers: keeps the
   exception that is raised, and never fails. */
void future_report_unretrieved(FutureCore *core);
/* Call loop.call_exception_handler(context), with the source traceback added to the dict. Return 0, or -1
   with an exception. */
int future_call_exception_handler(FutureCore *core, PyObject *context);

#endif
