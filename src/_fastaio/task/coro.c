/* coro.c: the methods and attributes of a coroutine in C, its end, and what it throws and raises. */
#include "task/coro.h"

#include "base/error.h"

/* ---- the end --------------------------------------------------------------------------------- */

void
coro_end(Coro *coro)
{
    coro->phase = CORO_CLOSED;
    if (!PyErr_Occurred()) {
        coro->kind->finish(coro);
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    coro->kind->finish(coro);
    PyErr_SetRaisedException(raised);
}

/* Warn as the interpreter does for its own coroutines, with the origin if there is one. Return 0, or -1 with
   an exception. */
static int
warn_never_awaited(PyObject *self)
{
    const Coro *coro = (Coro *)self;
    PyObject *module = PyImport_ImportModule("warnings");
    PyObject *warn = module ? PyObject_GetAttrString(module, "_warn_unawaited_coroutine") : NULL;
    Py_XDECREF(module);
    if (warn == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        return PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s.%s' was never awaited",
                                coro->kind->owner, coro->kind->name(coro));
    }
    PyObject *result = warn ? PyObject_CallOneArg(warn, self) : NULL;
    Py_XDECREF(warn);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

void
coro_finalize(PyObject *self)
{
    Coro *coro = (Coro *)self;
    if (coro->phase == CORO_CLOSED) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    if (coro->phase == CORO_CREATED && warn_never_awaited(self) < 0) {
        PyErr_WriteUnraisable(self);
    }
    if (coro->phase != CORO_CLOSED) { /* the warning runs code, which may close the coroutine */
        coro_end(coro);
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

/* ---- origin ---------------------------------------------------------------------------------- */

/* Return how many frames of an origin are to be kept. An exception may be set; then it is 0 or -1. */
static Py_ssize_t
origin_depth(void)
{
    PyObject *function = PySys_GetObject("get_coroutine_origin_tracking_depth"); /* borrowed */
    PyObject *number = function ? PyObject_CallNoArgs(function) : NULL;
    Py_ssize_t depth = number ? PyLong_AsSsize_t(number) : 0;
    Py_XDECREF(number);
    return depth;
}

/* Return a new tuple (file name, line number, function name); NULL with an exception. */
static PyObject *
describe_frame(PyFrameObject *frame)
{
    PyObject *place = NULL, *name = NULL, *code = (PyObject *)PyFrame_GetCode(frame);
    PyObject *file = PyObject_GetAttrString(code, "co_filename");
    if (file != NULL && (name = PyObject_GetAttrString(code, "co_name")) != NULL) {
        place = Py_BuildValue("OiO", file, PyFrame_GetLineNumber(frame), name);
    }
    Py_DECREF(code);
    Py_XDECREF(file);
    Py_XDECREF(name);
    return place;
}

int
coro_keep_origin(Coro *coro)
{
    Py_ssize_t depth = origin_depth();
    PyFrameObject *frame = PyEval_GetFrame(); /* borrowed */
    if (depth <= 0 || frame == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *places = PyList_New(0);
    Py_INCREF(frame);
    int failed = places == NULL;
    while (!failed && frame != NULL && depth-- > 0) {
        PyObject *place = describe_frame(frame);
        failed = place == NULL || PyList_Append(places, place) < 0;
        Py_XDECREF(place);
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_SETREF(frame, back);
    }
    Py_XDECREF(frame);
    coro->origin = failed ? NULL : PyList_AsTuple(places);
    Py_XDECREF(places);
    return coro->origin ? 0 : -1;
}

/* ---- throw() and StopIteration --------------------------------------------------------------- */

static int
check_throw_count(Py_ssize_t count)
{
    if (count < 1 || count > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", count);
        return -1;
    }
    return 0;
}

/* Warn of the old signature of throw(), as 3.12 and later do. Return 0, or -1 with an exception. */
static int
warn_old_throw(Py_ssize_t count)
{
#if PY_VERSION_HEX >= 0x030C0000
    return count == 1 ? 0
                      : PyErr_WarnEx(PyExc_DeprecationWarning,
                                     "the (type, exc, tb) signature of throw() is deprecated, use "
                                     "the single-arg signature instead.", 1);
#else
    (void)count;
    return 0;
#endif
}

PyObject *
coro_thrown(PyObject *const *args, Py_ssize_t count, const char *refusal)
{
    if (check_throw_count(count) < 0 || warn_old_throw(count) < 0) {
        return NULL;
    }
    PyObject *type = args[0];
    PyObject *value = count > 1 && args[1] != Py_None ? args[1] : NULL;
    PyObject *tb = count > 2 && args[2] != Py_None ? args[2] : NULL;
    if (tb != NULL && !PyTraceBack_Check(tb)) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback");
        return NULL;
    }
    if (PyExceptionInstance_Check(type)) {
        if (value != NULL) {
            PyErr_SetString(PyExc_TypeError, "instance exception may not have a separate value");
            return NULL;
        }
        return tb != NULL && PyException_SetTraceback(type, tb) < 0 ? NULL : Py_NewRef(type);
    }
    if (!PyExceptionClass_Check(type)) {
        PyErr_Format(PyExc_TypeError, refusal, Py_TYPE(type)->tp_name);
        return NULL;
    }
    /* The interpreter makes the instance, or finds the error that making one raises. */
    PyErr_Restore(Py_NewRef(type), Py_XNewRef(value), Py_XNewRef(tb));
    return PyErr_GetRaisedException();
}

PyObject *
coro_stop(PyObject *result)
{
    /* Called, not set: a tuple or an exception as result stays one value. */
    PyObject *stop = result == Py_None ? PyObject_CallNoArgs(PyExc_StopIteration)
                                       : PyObject_CallOneArg(PyExc_StopIteration, result);
    Py_DECREF(result);
    if (stop != NULL) {
        raise_object(stop);
    }
    return NULL;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Return 0, or -1 with ValueError during a step. */
static int
check_not_running(const Coro *coro)
{
    if (coro->running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return -1;
    }
    return 0;
}

/* Return 0, or -1 with an exception if the coroutine can take no step now. */
static int
check_usable(const Coro *coro)
{
    if (check_not_running(coro) < 0) {
        return -1;
    }
    if (coro->phase == CORO_CLOSED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return -1;
    }
    return 0;
}

void
coro_refuse(const Coro *coro)
{
    if (check_usable(coro) == 0) {
        PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
    }
}

static PyObject *
coro_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult sent = PyIter_Send(self, value, &result);
    return coro_sent(sent, result);
}

PyObject *
coro_iternext(PyObject *self)
{
    PyObject *result;
    PySendResult sent = PyIter_Send(self, Py_None, &result);
    return coro_next(sent, result);
}

static PyObject *
inner_iterator(const Coro *coro)
{
    return coro->kind->inner != NULL ? coro->kind->inner(coro) : NULL;
}

/* Throw into the inner iterator. Return the result of the coroutine's step, as am_send does. */
static PySendResult
throw_into(Coro *coro, PyObject *inner, PyObject *const *args, Py_ssize_t count, PyObject **result)
{
    PyObject *method = PyObject_GetAttrString(inner, "throw");
    *result = method ? PyObject_Vectorcall(method, args, (size_t)count, NULL) : NULL;
    Py_XDECREF(method);
    PySendResult sent = *result ? PYGEN_NEXT : PYGEN_ERROR;
    if (*result == NULL && coro_take_stop(result)) {
        sent = PYGEN_RETURN;
    }
    return coro->kind->inner_sent(coro, sent, result);
}

static PyObject *
coro_throw(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Coro *coro = (Coro *)self;
    if (check_throw_count(count) < 0 || check_usable(coro) < 0) {
        return NULL;
    }
    PyObject *inner = inner_iterator(coro);
    if (inner != NULL) {
        PyObject *result;
        coro->running = true;
        Py_INCREF(inner);
        PySendResult sent = throw_into(coro, inner, args, count, &result);
        Py_DECREF(inner);
        coro->running = false;
        return coro_sent(sent, result);
    }
    PyObject *thrown = coro_thrown(args, count,
                                   "exceptions must be classes or instances deriving from "
                                   "BaseException, not %s");
    if (thrown != NULL) {
        PyErr_SetRaisedException(thrown); /* throw() sets no __context__ */
        coro_end(coro);
    }
    return NULL;
}

static PyObject *
coro_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Coro *coro = (Coro *)self;
    if (check_not_running(coro) < 0) {
        return NULL;
    }
    PyObject *inner = Py_XNewRef(inner_iterator(coro));
    PyObject *closed = inner ? PyObject_CallMethod(inner, "close", NULL) : Py_NewRef(Py_None);
    Py_XDECREF(inner);
    if (coro->phase != CORO_CLOSED) {
        coro_end(coro);
    }
    return closed;
}

/* ---- attributes ------------------------------------------------------------------------------ */

static PyObject *
coro_get_name(PyObject *self, void *Py_UNUSED(closure))
{
    const Coro *coro = (Coro *)self;
    return PyUnicode_FromString(coro->kind->name(coro));
}

static PyObject *
coro_get_qualname(PyObject *self, void *Py_UNUSED(closure))
{
    const Coro *coro = (Coro *)self;
    return PyUnicode_FromFormat("%s.%s", coro->kind->owner, coro->kind->name(coro));
}

PyObject *
coro_repr(PyObject *self)
{
    const Coro *coro = (Coro *)self;
    return PyUnicode_FromFormat("<coroutine object %s.%s at %p>", coro->kind->owner,
                                coro->kind->name(coro), self);
}

static PyObject *
coro_get_running(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((Coro *)self)->running);
}

static PyObject *
coro_get_suspended(PyObject *self, void *Py_UNUSED(closure))
{
    const Coro *coro = (Coro *)self;
    return PyBool_FromLong(!coro->running && coro->phase == CORO_SUSPENDED);
}

static PyObject *
coro_get_origin(PyObject *self, void *Py_UNUSED(closure))
{
    const Coro *coro = (Coro *)self;
    return Py_NewRef(coro->origin ? coro->origin : Py_None);
}

static PyObject *
coro_get_none(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_NONE;
}

PyMethodDef coro_methods[] = {
    {"send", coro_send, METH_O,
     PyDoc_STR("send($self, value, /)\n--\n\n"
               "Run until the next wait. Raises StopIteration with the result at the end.")},
    {"throw", (PyCFunction)(void (*)(void))coro_throw, METH_FASTCALL,
     PyDoc_STR("throw(typ[, val[, tb]])\n\nRaise an exception in the coroutine, which ends there.")},
    {"close", coro_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nEnd the coroutine without an exception.")},
    {NULL, NULL, 0, NULL},
};

/* There is no cr_await: asyncio.graph takes an object that has one for a coroutine with a frame. */
PyGetSetDef coro_getset[] = {
    {"__name__", coro_get_name, NULL, NULL, NULL},
    {"__qualname__", coro_get_qualname, NULL, NULL, NULL},
    {"cr_running", coro_get_running, NULL, NULL, NULL},
    {"cr_suspended", coro_get_suspended, NULL, NULL, NULL},
    {"cr_frame", coro_get_none, NULL, NULL, NULL},
    {"cr_code", coro_get_none, NULL, NULL, NULL},
    {"cr_origin", coro_get_origin, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyMemberDef coro_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Coro, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
