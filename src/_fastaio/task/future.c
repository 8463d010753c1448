#include "task/future.h"

#include "task/future_methods.h"
#include "loop/loop.h"
#include "task/registry.h"
#include "base/error.h"
#include "task/task.h"

/* ---- small parts ----------------------------------------------------------------------------- */

FutureCore *
future_core(fastaio_state *st, PyObject *obj)
{
    return PyObject_TypeCheck(obj, st->FutureType) ? &((FutureObject *)obj)->core : NULL;
}

int
future_ensure_initialized(FutureCore *core)
{
    if (core->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
        return -1;
    }
    return 0;
}

static int
ensure_pending(FutureCore *core)
{
    if (future_ensure_initialized(core) < 0) {
        return -1;
    }
    if (core->state != FUTURE_PENDING) {
        PyErr_SetString(core->st->InvalidStateError, "invalid state");
        return -1;
    }
    return 0;
}

/* ---- outcome --------------------------------------------------------------------------------- */

int
future_set_result(FutureCore *core, PyObject *result)
{
    if (ensure_pending(core) < 0) {
        return -1;
    }
    core->result = Py_NewRef(result);
    core->state = FUTURE_FINISHED;
    return future_schedule_callbacks(core);
}

/* Since 3.12.6 a StopIteration is wrapped, before that it is refused. A bug fix, so the version that runs
   decides, not the one that this was compiled for. */
static bool
wraps_stop_iteration(void)
{
    return Py_Version >= 0x030C0600;
}

/* StopIteration would end the coroutine that awaits the future as if it had returned. */
static PyObject *
wrap_stop_iteration(PyObject *exception)
{
    const char *message = "StopIteration interacts badly with generators and cannot be raised into "
                          "a Future";
    if (!wraps_stop_iteration()) {
        PyErr_SetString(PyExc_TypeError, message);
        return NULL;
    }
    PyObject *wrapper = PyObject_CallFunction(PyExc_RuntimeError, "s", message);
    if (wrapper != NULL) {
        PyException_SetCause(wrapper, Py_NewRef(exception));
        PyException_SetContext(wrapper, Py_NewRef(exception));
    }
    return wrapper;
}

static inline bool
is_stop_iteration(PyObject *exception)
{
    PyTypeObject *type = (PyTypeObject *)PyExc_StopIteration;
    return wraps_stop_iteration() ? PyObject_TypeCheck(exception, type)
                                  : Py_IS_TYPE(exception, type);
}

int
future_set_exception(FutureCore *core, PyObject *exception)
{
    PyObject *value;
    if (ensure_pending(core) < 0) {
        return -1;
    }
    if (PyExceptionClass_Check(exception)) {
        value = PyObject_CallNoArgs(exception);
        if (value == NULL) {
            return -1;
        }
    }
    else {
        value = Py_NewRef(exception);
    }
    if (!PyExceptionInstance_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "invalid exception object");
        goto error;
    }
    if (is_stop_iteration(value)) {
        PyObject *wrapper = wrap_stop_iteration(value);
        if (wrapper == NULL) {
            goto error;
        }
        Py_SETREF(value, wrapper);
    }
    if (ensure_pending(core) < 0) { /* the exception's class may have been up to something */
        goto error;
    }
    core->exception = value;
    core->exception_tb = PyException_GetTraceback(value);
    core->state = FUTURE_FINISHED;
    if (future_schedule_callbacks(core) < 0) {
        return -1;
    }
    core->log_traceback = true;
    return 0;
error:
    Py_DECREF(value);
    return -1;
}

int
future_cancel(FutureCore *core, PyObject *message)
{
    core->log_traceback = false;
    if (core->state != FUTURE_PENDING) {
        return 0;
    }
    PyObject *old_message = core->cancel_message;
    core->state = FUTURE_CANCELLED;
    core->cancel_message = Py_XNewRef(message);
    int result = future_schedule_callbacks(core) < 0 ? -1 : 1;
    Py_XDECREF(old_message);
    return result;
}

PyObject *
future_make_cancelled_error(FutureCore *core)
{
    if (core->cancelled_exc != NULL) {
        PyObject *exc = core->cancelled_exc;
        core->cancelled_exc = NULL;
        return exc;
    }
    if (core->cancel_message == NULL || core->cancel_message == Py_None) {
        return PyObject_CallNoArgs(core->st->CancelledError);
    }
    return PyObject_CallOneArg(core->st->CancelledError, core->cancel_message);
}

static void
raise_cancelled(FutureCore *core)
{
    PyObject *exc = future_make_cancelled_error(core);
    if (exc != NULL) {
        raise_object(exc);
    }
}

PyObject *
future_get_exception(FutureCore *core)
{
    if (core->state == FUTURE_CANCELLED) {
        return future_make_cancelled_error(core);
    }
    core->log_traceback = false;
    /* References of our own: the old traceback's frames may run code when they go. */
    PyObject *exception = Py_NewRef(core->exception), *tb = core->exception_tb;
    core->exception_tb = NULL;
    int result = PyException_SetTraceback(exception, tb ? tb : Py_None);
    Py_XDECREF(tb);
    if (result < 0) {
        Py_DECREF(exception);
        return NULL;
    }
    return exception;
}

PyObject *
future_get_result(FutureCore *core)
{
    if (core->state == FUTURE_PENDING) {
        PyErr_SetString(core->st->InvalidStateError, "Result is not set.");
        return NULL;
    }
    if (!future_has_failed(core)) {
        core->log_traceback = false;
        return Py_NewRef(core->result);
    }
    PyObject *exception = future_get_exception(core);
    if (exception != NULL) {
        raise_object(exception);
    }
    return NULL;
}

static int
ensure_has_outcome(FutureCore *core)
{
    if (core->loop == NULL) {
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
    if (core->state == FUTURE_CANCELLED) {
        raise_cancelled(core);
        return NULL;
    }
    if (core->state != FUTURE_FINISHED) {
        PyErr_SetString(core->st->InvalidStateError, "Exception is not set.");
        return NULL;
    }
    core->log_traceback = false;
    return Py_NewRef(core->exception ? core->exception : Py_None);
}

const char core_doc_done[] =
    "done($self, /)\n--\n\nReturn True if there is a result or an exception, or it was cancelled.";

PyObject *
core_done(FutureCore *core)
{
    return PyBool_FromLong(core->loop != NULL && core->state != FUTURE_PENDING);
}

const char core_doc_cancelled[] = "cancelled($self, /)\n--\n\nReturn True if it was cancelled.";

PyObject *
core_cancelled(FutureCore *core)
{
    return PyBool_FromLong(core->state == FUTURE_CANCELLED);
}

const char core_doc_get_loop[] = "get_loop($self, /)\n--\n\nReturn the event loop it belongs to.";

PyObject *
core_get_loop(FutureCore *core)
{
    return future_ensure_initialized(core) < 0 ? NULL : Py_NewRef(core->loop);
}

const char core_doc__make_cancelled_error[] =
    "_make_cancelled_error($self, /)\n--\n\nReturn the CancelledError to raise, with its message.";

PyObject *
core__make_cancelled_error(FutureCore *core)
{
    if (core->st != NULL) {
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

PyObject *
core_get__state(FutureCore *core)
{
    static const char *const names[] = {"PENDING", "CANCELLED", "FINISHED"};
    return future_ensure_initialized(core) < 0 ? NULL : PyUnicode_InternFromString(names[core->state]);
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
    return PyBool_FromLong(core->loop != NULL && core->blocking);
}

int
core_set__asyncio_future_blocking(FutureCore *core, PyObject *value)
{
    if (future_ensure_initialized(core) < 0) {
        return -1;
    }
    int blocking = value ? PyObject_IsTrue(value) : -1;
    if (blocking < 0) {
        if (value == NULL) {
            PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        }
        return -1;
    }
    core->blocking = blocking;
    return 0;
}

PyObject *
core_get__log_traceback(FutureCore *core)
{
    return PyBool_FromLong(core->loop != NULL && core->log_traceback);
}

int
core_set__log_traceback(FutureCore *core, PyObject *value)
{
    int wanted = value ? PyObject_IsTrue(value) : -1;
    if (wanted < 0) {
        if (value == NULL) {
            PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        }
        return -1;
    }
    if (wanted) {
        PyErr_SetString(PyExc_ValueError, "_log_traceback can only be set to False");
        return -1;
    }
    core->log_traceback = false;
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

/* ---- life ------------------------------------------------------------------------------------ */

int
future_keep_source_traceback(FutureCore *core)
{
    bool debug;
    if (core->native != NULL && !(loop_overrides(core->native) & OVERRIDE_GET_DEBUG)) {
        debug = core->native->watchdog.debug;
    }
    else {
        PyObject *answer = PyObject_CallMethodNoArgs(core->loop, core->st->str_get_debug);
        int truth = answer ? PyObject_IsTrue(answer) : -1;
        Py_XDECREF(answer);
        if (truth < 0) {
            return -1;
        }
        debug = truth;
    }
    if (!debug) {
        return 0;
    }
    PyObject *stack = PyObject_CallNoArgs(core->st->extract_stack);
    Py_XSETREF(core->source_tb, stack);
    return stack ? 0 : -1;
}

int
future_core_init(FutureCore *core, fastaio_state *st, PyObject *loop)
{
#if PY_VERSION_HEX >= 0x030F0000
    if (core->loop != NULL) {
        PyErr_Format(PyExc_RuntimeError, "%N object is already initialized",
                     Py_TYPE(future_object(core)));
        return -1;
    }
#endif
    loop = loop == NULL || loop == Py_None ? PyObject_CallNoArgs(st->get_event_loop)
                                           : Py_NewRef(loop);
    if (loop == NULL) {
        return -1;
    }
    LoopObject *native = loop_is_native(st, loop) ? (LoopObject *)loop : NULL;
    if (core->loop == NULL && core->cancel_message == NULL) { /* nothing else is set before __init__ */
        core->st = st;
        core->loop = loop;
        core->native = native;
    }
    else { /* __init__ is called again */
        FutureCore old = *core;
        *core = (FutureCore){.st = st, .loop = loop, .native = native};
        future_core_drop(&old);
    }
    return future_keep_source_traceback(core);
}

int
future_core_traverse(FutureCore *core, visitproc visit, void *arg)
{
    Py_VISIT(core->loop);
    Py_VISIT(core->callback);
    Py_VISIT(core->context);
    Py_VISIT(core->callbacks);
    Py_VISIT(core->result);
    Py_VISIT(core->exception);
    Py_VISIT(core->exception_tb);
    Py_VISIT(core->cancel_message);
    Py_VISIT(core->cancelled_exc);
    Py_VISIT(core->source_tb);
    return 0;
}

void
future_core_clear(FutureCore *core)
{
    FutureCore old = *core;
    *core = (FutureCore){.st = old.st};
    future_core_drop(&old);
}

int
future_call_exception_handler(FutureCore *core, PyObject *context)
{
    if (core->source_tb != NULL
        && PyDict_SetItem(context, core->st->str_source_traceback, core->source_tb) < 0) {
        return -1;
    }
    PyObject *result =
        PyObject_CallMethodOneArg(core->loop, core->st->str_call_exception_handler, context);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

void
future_report_unretrieved(FutureCore *core)
{
    if (!core->log_traceback || core->exception == NULL) {
        return;
    }
    core->log_traceback = false;
    PyObject *saved = PyErr_GetRaisedException();
    PyObject *self = future_object(core), *message = NULL, *context = NULL;
    PyObject *name = PyObject_GetAttr((PyObject *)Py_TYPE(self), core->st->str___name__);
    if (name == NULL) {
        goto error;
    }
    message = PyUnicode_FromFormat("%U exception was never retrieved", name);
    context = message ? Py_BuildValue("{sOsOsO}", "message", message, "exception",
                                      core->exception, "future", self)
                      : NULL;
    if (context != NULL && future_call_exception_handler(core, context) == 0) {
        goto done;
    }
error:
    PyErr_WriteUnraisable(self);
done:
    Py_XDECREF(name);
    Py_XDECREF(message);
    Py_XDECREF(context);
    if (saved != NULL) {
        PyErr_SetRaisedException(saved);
    }
}
