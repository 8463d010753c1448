/* future.c: the outcome of a future or task, and the life of its core. */
#include "task/future.h"

#include "base/error.h"
#include "loop/loop.h"
#include "task/future_callbacks.h"

/* ---- outcome --------------------------------------------------------------------------------- */

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

/* Return true if a StopIteration is wrapped, as since 3.12.6; before, it is refused. The running version
   decides, not the compiled one: 3.12.6 is a bug-fix release. */
static bool
wraps_stop_iteration(void)
{
    return Py_Version >= 0x030C0600;
}

/* Return a new RuntimeError in place of a StopIteration, which would end the awaiting coroutine as if that
   had returned; NULL with an exception. */
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
    if (ensure_pending(core) < 0) { /* the exception's class has run code */
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

PyObject *
future_get_exception(FutureCore *core)
{
    if (core->state == FUTURE_CANCELLED) {
        return future_make_cancelled_error(core);
    }
    core->log_traceback = false;
    /* Owned here: dropping the old traceback frees frames, which may run code. */
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
future_raise_failure(FutureCore *core)
{
    if (core->state == FUTURE_PENDING) {
        PyErr_SetString(core->st->InvalidStateError, "Result is not set.");
        return NULL;
    }
    PyObject *exception = future_get_exception(core);
    if (exception != NULL) {
        raise_object(exception);
    }
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* In debug mode note where the future was made. Return 0, or -1 with an exception. */
static int
keep_source_traceback(FutureCore *core)
{
    bool debug;
    if (core->native_loop != NULL
        && !(loop_overrides(core->native_loop) & OVERRIDE_GET_DEBUG)) {
        debug = core->native_loop->watchdog.debug;
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
    LoopObject *native_loop = loop_is_native(st, loop) ? (LoopObject *)loop : NULL;
    if (core->loop == NULL && core->cancel_message == NULL) { /* nothing else is set before __init__ */
        core->st = st;
        core->loop = loop;
        core->native_loop = native_loop;
    }
    else { /* __init__ is called again */
        FutureCore old = *core;
        *core = (FutureCore){.st = st, .loop = loop, .native_loop = native_loop};
        future_core_drop(&old);
    }
    return keep_source_traceback(core);
}

PyObject *
future_new(LoopObject *loop)
{
    FutureObject *self =
        (FutureObject *)pool_alloc(&loop->st->future_pool, loop->st->FutureType);
    if (self == NULL) {
        return NULL;
    }
    self->core.st = loop->st;
    self->core.loop = Py_NewRef((PyObject *)loop);
    self->core.native_loop = loop;
    if ((loop->watchdog.debug || (loop_overrides(loop) & OVERRIDE_GET_DEBUG))
        && keep_source_traceback(&self->core) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
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
