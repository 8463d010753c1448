/* future.c: the outcome of a future or task, and the life of its core. */
#include "task/future.h"

#include "base/asyncio_versions.h"
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
    if (!future_is_pending(core)) {
        PyErr_SetString(core->st->InvalidStateError, "invalid state");
        return -1;
    }
    return 0;
}

int
future_set_result_held(FutureCore *core, PyObject *result)
{
    if (ensure_pending(core) < 0) {
        return -1;
    }
    core->result = Py_NewRef(result);
    shared_store(&core->state, FUTURE_FINISHED);
    return future_schedule_callbacks(core);
}

int
future_set_result(FutureCore *core, PyObject *result)
{
    int outcome;
    Py_BEGIN_CRITICAL_SECTION(future_object(core));
    outcome = future_set_result_held(core, result);
    Py_END_CRITICAL_SECTION();
    return outcome;
}

int
future_set_result_unless_done(FutureCore *core, PyObject *result)
{
    int outcome;
    Py_BEGIN_CRITICAL_SECTION(future_object(core));
    outcome = !future_is_pending(core)                   ? 0
              : future_set_result_held(core, result) < 0 ? -1
                                                         : 1;
    Py_END_CRITICAL_SECTION();
    return outcome;
}

int
future_set_result_unless_cancelled(FutureCore *core, PyObject *result)
{
    int outcome;
    Py_BEGIN_CRITICAL_SECTION(future_object(core));
    outcome = future_state(core) == FUTURE_CANCELLED ? 0 : future_set_result_held(core, result);
    Py_END_CRITICAL_SECTION();
    return outcome;
}

/* Return a new RuntimeError in place of a StopIteration, which would end the awaiting coroutine as if that
   had returned; NULL with an exception. */
static PyObject *
wrap_stop_iteration(PyObject *exception)
{
    const char *message = "StopIteration interacts badly with generators and cannot be raised into "
                          "a Future";
    if (!future_wraps_stop_iteration()) {
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
    return future_wraps_stop_iteration() ? PyObject_TypeCheck(exception, type)
                                         : Py_IS_TYPE(exception, type);
}

/* End a pending future with an exception, a reference that is taken over. Within the critical section. Return 0, or
   -1 with an exception. */
static int
keep_exception_held(FutureCore *core, PyObject *exception)
{
    if (ensure_pending(core) < 0) { /* the exception's class has run code */
        Py_DECREF(exception);
        return -1;
    }
    core->exception = exception;
    core->exception_tb = PyException_GetTraceback(exception);
    if (!HAS_GIL) { /* first: a thread that finds the future done resets it */
        relaxed_store(&core->log_traceback, true);
    }
    shared_store(&core->state, FUTURE_FINISHED);
    if (future_schedule_callbacks(core) < 0) {
        return -1;
    }
    if (HAS_GIL) {
        relaxed_store(&core->log_traceback, true);
    }
    return 0;
}

/* Return the exception, an instance or a class, as an instance that a future may raise: a new reference, or NULL with
   an exception. */
static PyObject *
make_exception(PyObject *exception)
{
    PyObject *value;
    if (PyExceptionClass_Check(exception)) {
        value = PyObject_CallNoArgs(exception);
        if (value == NULL) {
            return NULL;
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
    return value;
error:
    Py_DECREF(value);
    return NULL;
}

int
future_set_exception(FutureCore *core, PyObject *exception)
{
    int result;
    PyObject *value = ensure_pending(core) < 0 ? NULL : make_exception(exception);
    if (value == NULL) {
        return -1;
    }
    Py_BEGIN_CRITICAL_SECTION(future_object(core));
    result = keep_exception_held(core, value);
    Py_END_CRITICAL_SECTION();
    return result;
}

int
future_set_exception_unless_done(FutureCore *core, PyObject *exception)
{
    int result = 0;
    if (!future_is_pending(core)) {
        return 0;
    }
    PyObject *value = make_exception(exception);
    if (value == NULL) {
        return -1;
    }
    Py_BEGIN_CRITICAL_SECTION(future_object(core));
    if (future_is_pending(core)) {
        result = keep_exception_held(core, value) < 0 ? -1 : 1;
        value = NULL;
    }
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(value);
    return result;
}

int
future_set_exception_unless_cancelled(FutureCore *core, PyObject *exception)
{
    int result = future_set_exception_unless_done(core, exception);
    if (result == 0 && future_state(core) != FUTURE_CANCELLED) {
        return ensure_pending(core);
    }
    return result < 0 ? -1 : 0;
}

int
future_cancel_held(FutureCore *core, PyObject *message)
{
    relaxed_store(&core->log_traceback, false);
    if (!future_is_pending(core)) {
        return 0;
    }
    PyObject *old_message = core->cancel_message;
    core->cancel_message = Py_XNewRef(message);
    shared_store(&core->state, FUTURE_CANCELLED);
    int result = future_schedule_callbacks(core) < 0 ? -1 : 1;
    Py_XDECREF(old_message);
    return result;
}

int
future_cancel(FutureCore *core, PyObject *message)
{
    int result;
    Py_BEGIN_CRITICAL_SECTION(future_object(core));
    result = future_cancel_held(core, message);
    Py_END_CRITICAL_SECTION();
    return result;
}

PyObject *
future_make_cancelled_error(FutureCore *core)
{
    PyObject *exc, *message;
    Py_BEGIN_CRITICAL_SECTION(future_object(core));
    exc = core->cancelled_exc;
    core->cancelled_exc = NULL;
    message = exc != NULL || core->cancel_message == Py_None ? NULL : Py_XNewRef(core->cancel_message);
    Py_END_CRITICAL_SECTION();
    if (exc == NULL) {
        exc = message ? PyObject_CallOneArg(core->st->CancelledError, message)
                      : PyObject_CallNoArgs(core->st->CancelledError);
        Py_XDECREF(message);
    }
    return exc;
}

PyObject *
future_get_exception(FutureCore *core)
{
    if (future_state(core) == FUTURE_CANCELLED) {
        return future_make_cancelled_error(core);
    }
    relaxed_store(&core->log_traceback, false);
    /* Owned here: dropping the old traceback frees frames, which may run code. */
    PyObject *exception = Py_NewRef(core->exception), *tb;
    Py_BEGIN_CRITICAL_SECTION(future_object(core));
    tb = core->exception_tb;
    core->exception_tb = NULL;
    Py_END_CRITICAL_SECTION();
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
    if (future_is_pending(core)) {
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
        debug = relaxed_load(&core->native_loop->watchdog.debug);
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
    Py_BEGIN_CRITICAL_SECTION(future_object(core));
    Py_XSETREF(core->source_tb, stack);
    Py_END_CRITICAL_SECTION();
    return stack ? 0 : -1;
}

/* Return 0, or -1 with RuntimeError for a future that must not be initialised again. */
static int
ensure_uninitialized(FutureCore *core)
{
    if (!FUTURE_INIT_ONCE || shared_load(&core->loop) == NULL) {
        return 0;
    }
    PyErr_Format(PyExc_RuntimeError, "%N object is already initialized", /* %N: 3.13 */
                 Py_TYPE(future_object(core)));
    return -1;
}

/* Make the core that of a new future of the loop, a reference that is taken over. Within the critical section. Return
   0, or -1 with an exception. */
static int
set_loop_held(FutureCore *core, fastaio_state *st, PyObject *loop)
{
    if (ensure_uninitialized(core) < 0) { /* another thread was first */
        Py_DECREF(loop);
        return -1;
    }
    LoopObject *native_loop = loop_is_native(st, loop) ? (LoopObject *)loop : NULL;
    if (core->loop == NULL && core->cancel_message == NULL) { /* nothing else is set before __init__ */
        core->st = st;
        core->native_loop = native_loop;
        shared_store(&core->loop, loop);
    }
    else { /* __init__ is called again */
        FutureCore old = *core;
        *core = (FutureCore){.st = st, .loop = loop, .native_loop = native_loop};
        future_core_drop(&old);
    }
    return 0;
}

int
future_core_init(FutureCore *core, fastaio_state *st, PyObject *loop)
{
    if (ensure_uninitialized(core) < 0) {
        return -1;
    }
    loop = loop == NULL || loop == Py_None ? PyObject_CallNoArgs(st->get_event_loop)
                                           : Py_NewRef(loop);
    if (loop == NULL) {
        return -1;
    }
    int result;
    Py_BEGIN_CRITICAL_SECTION(future_object(core));
    result = set_loop_held(core, st, loop);
    Py_END_CRITICAL_SECTION();
    return result < 0 ? -1 : keep_source_traceback(core);
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
    if ((relaxed_load(&loop->watchdog.debug) || (loop_overrides(loop) & OVERRIDE_GET_DEBUG))
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
#ifdef Py_GIL_DISABLED
    /* all_tasks() in another thread may have got the task, and asks for its loop. The loop's own clearing breaks
       cycles through the loop. */
    *core = (FutureCore){.st = old.st, .loop = old.loop, .native_loop = old.native_loop};
    old.loop = NULL;
#else
    *core = (FutureCore){.st = old.st};
#endif
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
    relaxed_store(&core->log_traceback, false);
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
