/* entry_report.c: what the loop tells its user: exceptions of callbacks, slow callbacks. */
#include "loop/loop.h"

#include "task/task.h"

static bool
leaves_the_loop(void)
{
    return PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)
           || PyErr_ExceptionMatches(PyExc_SystemExit);
}

/* The context's first two entries, in asyncio's order. */
static PyObject *
new_context(LoopObject *loop, PyObject *message, PyObject *exception)
{
    PyObject *context = PyDict_New();
    if (context != NULL
        && (PyDict_SetItem(context, loop->st->str_message, message) < 0
            || PyDict_SetItem(context, loop->st->str_exception, exception) < 0)) {
        Py_CLEAR(context);
    }
    return context;
}

static int
call_handler(LoopObject *loop, PyObject *context)
{
    PyObject *result = PyObject_CallMethodOneArg(
        (PyObject *)loop, loop->st->str_call_exception_handler, context);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int
loop_report(LoopObject *loop, const char *message, ...)
{
    if (leaves_the_loop()) {
        return -1;
    }
    int result = -1;
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *text = PyUnicode_FromString(message);
    PyObject *context = text ? new_context(loop, text, exception) : NULL;
    if (context == NULL) {
        goto done;
    }
    va_list pairs;
    va_start(pairs, message);
    result = 0;
    for (const char *key; result == 0 && (key = va_arg(pairs, const char *)) != NULL;) {
        PyObject *value = va_arg(pairs, PyObject *);
        result = PyDict_SetItemString(context, key, value ? value : Py_None);
    }
    va_end(pairs);
    if (result == 0) {
        result = call_handler(loop, context);
    }
done:
    Py_XDECREF(text);
    Py_XDECREF(context);
    Py_XDECREF(exception);
    return result;
}

int
loop_report_entry(LoopObject *loop, ReadyEntry *entry)
{
    if (leaves_the_loop()) {
        return -1;
    }
    int result = -1;
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *message = NULL, *context = NULL, *source = NULL, *args = NULL, *callback = NULL;
    HandleObject *handle = loop_entry_handle(loop, entry);
    if (handle == NULL) {
        goto done;
    }
    /* A callback that cancels its own handle and then raises has no name left. */
    args = PyObject_GetAttrString((PyObject *)handle, "_args");
    if (args == NULL) {
        goto done;
    }
    callback = Py_NewRef(handle->callback ? handle->callback : Py_None);
    source =
        PyObject_CallFunctionObjArgs(loop->st->format_callback_source, callback, args, NULL);
    message = source ? PyUnicode_FromFormat("Exception in callback %U", source) : NULL;
    context = message ? new_context(loop, message, exception) : NULL;
    if (context == NULL || PyDict_SetItem(context, loop->st->str_handle, (PyObject *)handle) < 0
        || (handle->notes != NULL && handle->notes->source_tb != NULL
            && PyDict_SetItem(context, loop->st->str_source_traceback, handle->notes->source_tb)
                   < 0)) {
        goto done;
    }
    result = call_handler(loop, context);
done:
    Py_XDECREF(callback);
    Py_XDECREF(args);
    Py_XDECREF(source);
    Py_XDECREF(message);
    Py_XDECREF(context);
    Py_XDECREF((PyObject *)handle);
    Py_XDECREF(exception);
    return result;
}

/* ---- slow callbacks -------------------------------------------------------------------------- */

static int
warn_slow(LoopObject *loop, ReadyEntry *entry, int64_t spent_ns)
{
    int result = -1;
    PyObject *what = NULL, *logged = NULL;
    /* Looked up each time, as it is in asyncio: tests and log set-ups exchange it. */
    PyObject *module = PyImport_ImportModule("asyncio.base_events");
    PyObject *logger = module ? PyObject_GetAttrString(module, "logger") : NULL;
    if (logger == NULL) {
        goto done;
    }
    if (entry->kind == READY_TASK_STEP || entry->kind == READY_TASK_WAKEUP) {
        what = PyObject_Repr(entry->obj);
    }
    else {
        HandleObject *handle = loop_entry_handle(loop, entry);
        what = handle ? PyObject_Str((PyObject *)handle) : NULL;
        Py_XDECREF((PyObject *)handle);
    }
    if (what != NULL) {
        logged = PyObject_CallMethod(logger, "warning", "sOd",
                                     "Executing %s took %.3f seconds", what,
                                     (double)spent_ns / NS_PER_SECOND);
    }
    if (logged != NULL) {
        result = 0;
    }
done:
    Py_XDECREF(module);
    Py_XDECREF(logger);
    Py_XDECREF(what);
    Py_XDECREF(logged);
    return result;
}

int
loop_run_timed(LoopObject *loop, ReadyEntry *entry,
               int (*run)(LoopObject *loop, ReadyEntry *entry), bool reports)
{
    PyObject *self = (PyObject *)loop;
    PyObject *handle = entry->kind == READY_HANDLE ? entry->obj : Py_None;
    if (PyObject_SetAttrString(self, "_current_handle", handle) < 0) {
        return -1;
    }
    int64_t begin = clock_ns();
    int result = run(loop, entry);
    int64_t spent = clock_ns() - begin;
    PyObject *error = result < 0 ? PyErr_GetRaisedException() : NULL;
    if (spent >= loop->slow_callback_ns) {
        loop->metrics.slow_callbacks++;
        if (warn_slow(loop, entry, spent) < 0) {
            PyErr_WriteUnraisable(self);
        }
    }
    if (error != NULL && reports) {
        PyErr_SetRaisedException(error);
        if (loop_report_entry(loop, entry) < 0) {
            result = -1;
            error = PyErr_GetRaisedException();
        }
        else {
            result = 0;
            error = NULL;
        }
    }
    if (PyObject_SetAttrString(self, "_current_handle", Py_None) < 0) {
        PyErr_WriteUnraisable(self);
    }
    if (error != NULL) {
        PyErr_SetRaisedException(error);
    }
    return result;
}
