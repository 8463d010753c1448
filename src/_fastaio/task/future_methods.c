/* future_methods.c: result(), done(), cancel()'s argument, and the attributes. */
#include "task/future_methods.h"

#include "task/future.h"

/* ---- methods --------------------------------------------------------------------------------- */

/* Return 0, or -1 with InvalidStateError before __init__ has run, as asyncio's result() has it. */
static int
ensure_has_outcome(FutureCore *core)
{
    if (!future_is_initialized(core)) {
        fastaio_state *st = state_of_type(Py_TYPE(future_object(core)));
        if (st != NULL) {
            PyErr_SetString(st->InvalidStateError, "Future object is not initialized.");
        }
        return -1;
    }
    return 0;
}

const char core_doc_result[] =
    "result($self, /)\n--\n\n"
    "Return the result, or raise the exception that was set.\n\n"
    "Raises CancelledError if the future was cancelled, InvalidStateError if it is not done.";

PyObject *
core_result(FutureCore *core)
{
    return ensure_has_outcome(core) < 0 ? NULL : future_get_result(core);
}

const char core_doc_exception[] =
    "exception($self, /)\n--\n\n"
    "Return the exception that was set, or None.\n\n"
    "Raises CancelledError if the future was cancelled, InvalidStateError if it is not done.";

PyObject *
core_exception(FutureCore *core)
{
    if (ensure_has_outcome(core) < 0) {
        return NULL;
    }
    uint8_t state = future_state(core);
    if (state == FUTURE_CANCELLED) {
        return future_raise_failure(core);
    }
    if (state != FUTURE_FINISHED) {
        PyErr_SetString(core->st->InvalidStateError, "Exception is not set.");
        return NULL;
    }
    relaxed_store(&core->log_traceback, false);
    return Py_NewRef(core->exception ? core->exception : Py_None);
}

const char core_doc_done[] =
    "done($self, /)\n--\n\nReturn True if the future has a result or an exception, or was cancelled.";

PyObject *
core_done(FutureCore *core)
{
    return PyBool_FromLong(future_is_initialized(core) && !future_is_pending(core));
}

const char core_doc_cancelled[] = "cancelled($self, /)\n--\n\nReturn True if the future was cancelled.";

PyObject *
core_cancelled(FutureCore *core)
{
    return PyBool_FromLong(future_state(core) == FUTURE_CANCELLED);
}

const char core_doc_get_loop[] =
    "get_loop($self, /)\n--\n\nReturn the event loop that the future belongs to.";

PyObject *
core_get_loop(FutureCore *core)
{
    return future_ensure_initialized(core) < 0 ? NULL : Py_NewRef(core->loop);
}

const char core_doc__make_cancelled_error[] =
    "_make_cancelled_error($self, /)\n--\n\nReturn the CancelledError that result() raises.";

PyObject *
core__make_cancelled_error(FutureCore *core)
{
    if (future_is_initialized(core)) {
        return future_make_cancelled_error(core);
    }
    fastaio_state *st = state_of_type(Py_TYPE(future_object(core)));
    return st ? PyObject_CallNoArgs(st->CancelledError) : NULL;
}

PyObject *
core_cancel_argument(PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    Py_ssize_t keyword_count = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    if (count + keyword_count > 1) {
        PyErr_Format(PyExc_TypeError, "cancel() takes at most 1 argument (%zd given)",
                     count + keyword_count);
        return NULL;
    }
    if (keyword_count
        && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0), "msg") != 0) {
        PyErr_Format(PyExc_TypeError, "cancel() got an unexpected keyword argument '%U'",
                     PyTuple_GET_ITEM(keywords, 0));
        return NULL;
    }
    return count + keyword_count ? args[0] : Py_None;
}

/* ---- attributes ------------------------------------------------------------------------------ */

int
core_assigned_truth(PyObject *value)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        return -1;
    }
    return PyObject_IsTrue(value);
}

PyObject *
core_get__state(FutureCore *core)
{
    static const char *const names[] = {"PENDING", "CANCELLED", "FINISHED"};
    return future_ensure_initialized(core) < 0 ? NULL : PyUnicode_InternFromString(names[future_state(core)]);
}

PyObject *
core_get__loop(FutureCore *core)
{
    return Py_NewRef(core->loop ? core->loop : Py_None);
}

PyObject *
core_get__result(FutureCore *core)
{
    return Py_NewRef(core->result ? core->result : Py_None);
}

PyObject *
core_get__exception(FutureCore *core)
{
    return Py_NewRef(core->exception ? core->exception : Py_None);
}

PyObject *
core_get__source_traceback(FutureCore *core)
{
    return Py_NewRef(core->source_tb ? core->source_tb : Py_None);
}

PyObject *
core_get__asyncio_future_blocking(FutureCore *core)
{
    return PyBool_FromLong(future_is_initialized(core) && shared_load(&core->blocking));
}

int
core_set__asyncio_future_blocking(FutureCore *core, PyObject *value)
{
    if (future_ensure_initialized(core) < 0) {
        return -1;
    }
    int blocking = core_assigned_truth(value);
    if (blocking < 0) {
        return -1;
    }
    shared_store(&core->blocking, blocking);
    return 0;
}

PyObject *
core_get__log_traceback(FutureCore *core)
{
    return PyBool_FromLong(future_is_initialized(core) && relaxed_load(&core->log_traceback));
}

int
core_set__log_traceback(FutureCore *core, PyObject *value)
{
    int wanted = core_assigned_truth(value);
    if (wanted > 0) {
        PyErr_SetString(PyExc_ValueError, "_log_traceback can only be set to False");
    }
    if (wanted != 0) {
        return -1;
    }
    relaxed_store(&core->log_traceback, false);
    return 0;
}

PyObject *
core_get__cancel_message(FutureCore *core)
{
    return Py_NewRef(core->cancel_message ? core->cancel_message : Py_None);
}

int
core_set__cancel_message(FutureCore *core, PyObject *value)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        return -1;
    }
    Py_XSETREF(core->cancel_message, Py_XNewRef(value));
    return 0;
}
