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

/* As the interpreter for its own coroutines: with where it was made, where that is known. */
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
    if (coro->phase != CORO_CLOSED) { /* the warning was shown by code of the user's */
        coro_end(coro);
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

/* ---- where it was made ----------------------------------------------------------------------- */

static Py_ssize_t
origin_depth(void)
{
    PyObject *function = PySys_GetObject("get_coroutine_origin_tracking_depth"); /* borrowed */
    PyObject *number = function ? PyObject_CallNoArgs(function) : NULL;
    Py_ssize_t depth = number ? PyLong_AsSsize_t(number) : 0;
    Py_XDECREF(number);
    return depth;
}

/* (file name, line number, function name) */
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

/* ---- steps ----------------------------------------------------------------------------------- */

/* -1 with an exception where it is in the middle of a step. */
static int
check_not_running(const Coro *coro)
{
    if (coro->running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return -1;
    }
    return 0;
}

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

/* What send() and throw() return: what was yielded, or StopIteration with the result. */
static PyObject *
sent_object(PySendResult sent, PyObject *result)
{
    if (sent == PYGEN_RETURN) {
        PyObject *stop = result == Py_None ? PyObject_CallNoArgs(PyExc_StopIteration)
                                           : PyObject_CallOneArg(PyExc_StopIteration, result);
        Py_DECREF(result);
        if (stop != NULL) {
            raise_object(stop);
        }
        return NULL;
    }
    return sent == PYGEN_NEXT ? result : NULL;
}

static PyObject *
coro_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult sent = PyIter_Send(self, value, &result);
    return sent_object(sent, result);
}

PyObject *
coro_iternext(PyObject *self)
{
    PyObject *result;
    PySendResult sent = PyIter_Send(self, Py_None, &result);
    if (sent == PYGEN_RETURN && result == Py_None) {
        Py_DECREF(result);
        return NULL; /* as good as StopIteration() */
    }
    return sent_object(sent, result);
}

static PyObject *
inner_iterator(const Coro *coro)
{
    return coro->kind->inner != NULL ? coro->kind->inner(coro) : NULL;
}

/* Raises what throw(type[, value[, traceback]]) was given; 0 where that is no exception. */
static int
raise_thrown(PyObject *const *args, Py_ssize_t count)
{
    PyObject *value = count > 1 && args[1] != Py_None ? args[1] : NULL;
    if (PyExceptionInstance_Check(args[0]) && value == NULL) {
        raise_object(Py_NewRef(args[0]));
    }
    else if (PyExceptionClass_Check(args[0])) {
        PyErr_SetObject(args[0], value);
    }
    else {
        PyErr_Format(PyExc_TypeError,
                     PyExceptionInstance_Check(args[0])
                         ? "instance exception may not have a separate value"
                         : "exceptions must be classes or instances deriving from "
                           "BaseException, not %s",
                     Py_TYPE(args[0])->tp_name);
        return 0;
    }
    if (count > 2 && args[2] != Py_None) {
        PyObject *exc = PyErr_GetRaisedException();
        if (PyException_SetTraceback(exc, args[2]) < 0) {
            Py_DECREF(exc);
            return 0;
        }
        PyErr_SetRaisedException(exc);
    }
    return 1;
}

static PySendResult
throw_into(Coro *coro, PyObject *inner, PyObject *const *args, Py_ssize_t count, PyObject **result)
{
    PyObject *method = PyObject_GetAttrString(inner, "throw");
    *result = method ? PyObject_Vectorcall(method, args, (size_t)count, NULL) : NULL;
    Py_XDECREF(method);
    PySendResult sent = *result ? PYGEN_NEXT : PYGEN_ERROR;
    if (*result == NULL && PyErr_ExceptionMatches(PyExc_StopIteration)) {
        PyObject *stop = PyErr_GetRaisedException();
        *result = Py_XNewRef(((PyStopIterationObject *)stop)->value);
        Py_DECREF(stop);
        sent = PYGEN_RETURN;
    }
    return coro->kind->inner_sent(coro, sent, result);
}

static PyObject *
coro_throw(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Coro *coro = (Coro *)self;
    if (count < 1 || count > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", count);
        return NULL;
    }
    if (check_usable(coro) < 0) {
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
        return sent_object(sent, result);
    }
    if (raise_thrown(args, count)) {
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

/* ---- looks ----------------------------------------------------------------------------------- */

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
     PyDoc_STR("send($self, value, /)\n--\n\nRun to the next wait; StopIteration has the result.")},
    {"throw", (PyCFunction)(void (*)(void))coro_throw, METH_FASTCALL,
     PyDoc_STR("throw(typ[, val[, tb]])\n\nEnd it with an exception.")},
    {"close", coro_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nEnd it; nothing is raised.")},
    {NULL, NULL, 0, NULL},
};

/* There is no cr_await: asyncio.graph takes what has one for a coroutine with a frame. */
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
