/* report.c: reports to the loop's exception handler. */
#include "loop/loop.h"

#include "base/error.h"
#include "loop/handle.h"

/* Return a new context with its first two entries, in asyncio's order; NULL with an exception. */
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

/* Call loop.call_exception_handler(context), as asyncio does, within the handling of the exception. Return 0,
   or -1 with what it raised. */
static int
call_handler(LoopObject *loop, PyObject *context, PyObject *exception)
{
    PyObject *outer = begin_handling(exception);
    PyObject *result = PyObject_CallMethodOneArg(
        (PyObject *)loop, loop->st->str_call_exception_handler, context);
    end_handling(outer);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int
loop_report(LoopObject *loop, const char *message, ...)
{
    if (raised_leaves_loop()) {
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
        result = call_handler(loop, context, exception);
    }
done:
    Py_XDECREF(text);
    Py_XDECREF(context);
    Py_XDECREF(exception);
    return result;
}

/* Return asyncio's description of a callback with its arguments; NULL with an exception. Newer versions show
   arguments in debug mode only. */
static PyObject *
describe_call(LoopObject *loop, PyObject *callback, PyObject *args)
{
    PyObject *describe = loop->st->format_callback_source;
    PyObject *defaults, *debug, *source = NULL;
    if (PyObject_GetOptionalAttr(describe, loop->st->str___kwdefaults__, &defaults) < 0) {
        return NULL;
    }
    bool asks = defaults != NULL && PyDict_Check(defaults)
                && PyDict_Contains(defaults, loop->st->str_debug) > 0;
    Py_XDECREF(defaults);
    if (!asks) {
        return PyObject_CallFunctionObjArgs(describe, callback, args, NULL);
    }
    debug = PyObject_CallMethodNoArgs((PyObject *)loop, loop->st->str_get_debug);
    PyObject *keywords = debug ? PyTuple_Pack(1, loop->st->str_debug) : NULL;
    if (keywords != NULL) {
        PyObject *stack[3] = {callback, args, debug};
        source = PyObject_Vectorcall(describe, stack, 2, keywords);
    }
    Py_XDECREF(keywords);
    Py_XDECREF(debug);
    return source;
}

int
loop_report_handle(LoopObject *loop, HandleObject *handle)
{
    if (raised_leaves_loop()) {
        return -1;
    }
    int result = -1;
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *message = NULL, *context = NULL, *source = NULL, *args = NULL;
    PyObject *made_at = handle_source(handle), *callback = handle_callback(handle);
    /* A callback that cancels its own handle and then raises is described as None. */
    args = PyObject_GetAttrString((PyObject *)handle, "_args");
    if (args == NULL) {
        goto done;
    }
    source = describe_call(loop, callback ? callback : Py_None, args);
    message = source ? PyUnicode_FromFormat("Exception in callback %U", source) : NULL;
    context = message ? new_context(loop, message, exception) : NULL;
    if (context == NULL || PyDict_SetItem(context, loop->st->str_handle, (PyObject *)handle) < 0
        || (made_at != NULL
            && PyDict_SetItem(context, loop->st->str_source_traceback, made_at) < 0)) {
        goto done;
    }
    result = call_handler(loop, context, exception);
done:
    Py_XDECREF(made_at);
    Py_XDECREF(callback);
    Py_XDECREF(args);
    Py_XDECREF(source);
    Py_XDECREF(message);
    Py_XDECREF(context);
    Py_XDECREF(exception);
    return result;
}
