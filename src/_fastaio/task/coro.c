/* coro.c: the methods and attributes of a coroutine in C, its end, and what it throws and raises. */
#include "task/coro.h"

#include "base/error.h"
#include "loop/ending.h"
#include <frameobject.h>

/* Return the qualified name, a new str; NULL with an exception. */
static PyObject *
qualified_name(const Coro *coro)
{
    const char *owner = coro->kind->owner, *name = coro->kind->name(coro);
    return owner != NULL ? PyUnicode_FromFormat("%s.%s", owner, name) : PyUnicode_FromString(name);
}

/* ---- the end --------------------------------------------------------------------------------- */

void
coro_end(Coro *coro)
{
    shared_store(&coro->phase, CORO_CLOSED);
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
    if (warn == NULL && (PyErr_ExceptionMatches(PyExc_AttributeError)
                         || PyErr_ExceptionMatches(PyExc_ImportError))) { /* the interpreter ends */
        PyErr_Clear();
        PyObject *name = qualified_name(coro);
        int result = name ? PyErr_WarnFormat(PyExc_RuntimeWarning, 1,
                                             "coroutine '%U' was never awaited", name)
                          : -1;
        Py_XDECREF(name);
        return result;
    }
    PyObject *result = warn ? PyObject_CallOneArg(warn, self) : NULL;
    Py_XDECREF(warn);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* Go on behind a wait with the raised exception. Return like am_send. */
static PySendResult
resume_with_error(Coro *coro, PyObject **result)
{
    *result = NULL;
    return coro->kind->thrown(coro, result);
}

/* Return the iterator that gets the steps now, borrowed; NULL without one. */
static PyObject *
inner_iterator(const Coro *coro)
{
    return coro->kind->inner != NULL ? coro->kind->inner(coro) : NULL;
}

/* Set *method to an optional method of an iterator. Return 1, 0 if there is none, or -1 with an exception. */
static int
find_method(PyObject *iterator, const char *name, PyObject **method)
{
    *method = PyObject_GetAttrString(iterator, name);
    if (*method != NULL) {
        return 1;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

/* Call close() of the inner iterator, if there is one that has that. Return 0, or -1 with an exception. */
static int
close_inner(Coro *coro)
{
    PyObject *inner = Py_XNewRef(inner_iterator(coro)), *method = NULL;
    int result = inner ? find_method(inner, "close", &method) : 0;
    if (result > 0) {
        result = drop_result(PyObject_CallNoArgs(method));
    }
    Py_XDECREF(method);
    Py_XDECREF(inner);
    return result;
}

/* Let a suspended coroutine that goes on behind exceptions end by a GeneratorExit, as close() does. Return 0,
   or -1 with an exception. */
static int
close_suspended(Coro *coro)
{
    if (coro->kind->thrown == NULL) {
        return 0;
    }
    PyObject *result;
    if (!PyErr_Occurred()) { /* else closing the inner iterator has raised */
        PyErr_SetNone(PyExc_GeneratorExit);
    }
    PySendResult sent = resume_with_error(coro, &result);
    if (sent == PYGEN_ERROR) {
        if (!PyErr_ExceptionMatches(PyExc_GeneratorExit)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    Py_DECREF(result);
    if (sent == PYGEN_NEXT) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
        return -1;
    }
    return 0;
}

/* Do close() for a coroutine that has been taken. Return 0, or -1 with an exception. */
static int
close_coroutine(Coro *coro)
{
    int result = close_inner(coro);
    if (coro->phase == CORO_SUSPENDED && coro->kind->thrown != NULL) {
        result = close_suspended(coro);
    }
    if (coro->phase != CORO_CLOSED) {
        coro_end(coro);
    }
    return result;
}

/* Return the loop whose claim guards a coroutine, borrowed; NULL without one. */
Py_GCC_ATTRIBUTE((unused)) /* with a GIL */
static PyObject *
loop_of(PyObject *self)
{
    const CoroKind *kind = ((Coro *)self)->kind;
    return kind->loop_of != NULL ? kind->loop_of(self) : NULL;
}

static void
finalize(PyObject *self)
{
    Coro *coro = (Coro *)self;
    if (coro->phase == CORO_CLOSED) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    if (coro->phase == CORO_CREATED && warn_never_awaited(self) < 0) {
        PyErr_WriteUnraisable(self);
    }
    /* The warning runs code, which may close the coroutine. */
    if (coro->phase != CORO_CLOSED && coro_take(coro)) {
        if (close_coroutine(coro) < 0) {
            PyErr_WriteUnraisable(self);
        }
        coro_leave(coro);
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

GUARD_FINALIZE(finalize, loop_of)

void
coro_finalize(PyObject *self)
{
    GUARDED(finalize)(self);
}

/* Do coro_dealloc() for an untracked coroutine. */
static void
drop(PyObject *self)
{
    Coro *coro = (Coro *)self;
    if (coro->phase != CORO_CLOSED && dealloc_finalize(self) < 0) {
        return; /* resurrected */
    }
    if (shared_load(&coro->weakrefs) != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    Py_CLEAR(coro->origin); /* the end has dropped all else */
    if (coro->kind->release != NULL) {
        coro->kind->release(coro);
    }
    PyTypeObject *type = Py_TYPE(self);
    fastaio_state *st = coro->kind->pool != NULL ? state_of_dying(type) : NULL;
    pool_give(st != NULL ? coro->kind->pool(st) : NULL, self);
    Py_DECREF(type);
}

GUARD_DEALLOC(dealloc, loop_of)

static void
dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    DEALLOC_BOUNDED(self, coro_dealloc, drop);
}

void
coro_dealloc(PyObject *self)
{
    GUARDED(dealloc)(self);
}

/* ---- origin ---------------------------------------------------------------------------------- */

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
    int depth = compat_origin_depth();
    PyFrameObject *frame = PyEval_GetFrame(); /* borrowed */
    if (depth <= 0 || frame == NULL) {
        return 0;
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

/* Warn of the old signature of throw() where the interpreter does. Return 0, or -1 with an exception. */
static int
warn_old_throw(Py_ssize_t count)
{
    return count == 1 || !OLD_THROW_WARNS
               ? 0
               : PyErr_WarnEx(PyExc_DeprecationWarning,
                              "the (type, exc, tb) signature of throw() is deprecated, use the "
                              "single-arg signature instead.", 1);
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

/* Return a new StopIteration(result), as calling the class makes it; NULL with MemoryError. */
static PyObject *
new_stop(PyObject *result)
{
    PyTypeObject *type = (PyTypeObject *)PyExc_StopIteration;
    PyStopIterationObject *stop = (PyStopIterationObject *)type->tp_alloc(type, 0);
    if (stop == NULL) {
        return NULL;
    }
    stop->args = result == Py_None ? PyTuple_New(0) : PyTuple_Pack(1, result);
    stop->value = Py_NewRef(result);
    if (stop->args == NULL) {
        Py_CLEAR(stop);
    }
    return (PyObject *)stop;
}

PyObject *
coro_stop(PyObject *result)
{
    PyObject *stop = new_stop(result);
    Py_DECREF(result);
    if (stop != NULL) {
        raise_object(stop);
    }
    return NULL;
}

#ifdef Py_GIL_DISABLED

PyObject *
coro_stop_for_interpreter(fastaio_state *Py_UNUSED(st), PyObject *result)
{
    PyObject *stop = new_stop(result);
    Py_DECREF(result);
    if (stop != NULL) {
        PyErr_SetRaisedException(stop);
    }
    return NULL;
}

void
coro_forget_stop(fastaio_state *Py_UNUSED(st), PyObject *Py_UNUSED(result))
{
}

void
coro_empty_stop(fastaio_state *Py_UNUSED(st))
{
}

#else

/* Return true if nobody else has the exception, or any part of it, and nobody has changed it: a trace function
   may. */
static bool
stop_is_unused(PyObject *spare)
{
    const PyStopIterationObject *stop = (PyStopIterationObject *)spare;
    return Py_REFCNT(spare) == 1 && Py_REFCNT(stop->args) == 1
           && PyTuple_GET_SIZE(stop->args) == 1 && stop->value != NULL && stop->dict == NULL
           && stop->traceback == NULL && stop->context == NULL && stop->cause == NULL
           && stop->notes == NULL && !stop->suppress_context;
}

/* Put None in the place of the result that the exception has; the old result may run code. */
static void
empty_stop(fastaio_state *st)
{
    PyStopIterationObject *stop = (PyStopIterationObject *)st->spare_stop;
    st->spare_stop_is_full = false;
    if (stop == NULL) {
        return; /* the module is at its end */
    }
    if (!stop_is_unused((PyObject *)stop)) {
        Py_CLEAR(st->spare_stop);
        return;
    }
    PyObject *old = PyTuple_GET_ITEM(stop->args, 0);
    PyTuple_SET_ITEM(stop->args, 0, Py_NewRef(Py_None));
    Py_DECREF(old);
    Py_SETREF(stop->value, Py_NewRef(Py_None));
}

PyObject *
coro_stop_for_interpreter(fastaio_state *st, PyObject *result)
{
    PyObject *spare = st->spare_stop;
    if (spare == NULL || !stop_is_unused(spare)) {
        spare = new_stop(result);
        if (spare == NULL) {
            Py_DECREF(result);
            return NULL;
        }
        Py_XSETREF(st->spare_stop, spare);
    }
    PyStopIterationObject *stop = (PyStopIterationObject *)spare;
    PyObject *old = PyTuple_GET_ITEM(stop->args, 0);
    PyTuple_SET_ITEM(stop->args, 0, Py_NewRef(result));
    PyErr_SetRaisedException(Py_NewRef(spare));
    st->spare_stop_is_full = true;
    Py_DECREF(old);
    Py_SETREF(stop->value, result);
    return NULL;
}

void
coro_empty_stop(fastaio_state *st)
{
    PyObject *raised = PyErr_GetRaisedException();
    empty_stop(st);
    PyErr_SetRaisedException(raised);
}

void
coro_forget_stop(fastaio_state *st, PyObject *result)
{
    PyStopIterationObject *stop = (PyStopIterationObject *)st->spare_stop;
    if (stop != NULL && stop->value == result) {
        empty_stop(st);
    }
}

#endif

/* ---- steps ----------------------------------------------------------------------------------- */

void
coro_refuse(const Coro *coro, bool running)
{
    if (shared_load(&coro->phase) == CORO_CLOSED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    }
    else if (running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    }
    else {
        PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
    }
}

PyObject *
coro_await(PyObject *self)
{
    const Coro *coro = (Coro *)self;
    if (shared_load(&coro->phase) == CORO_SUSPENDED && !shared_load(&coro->running)) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
        return NULL;
    }
    return Py_NewRef(self);
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
    if (sent == PYGEN_RETURN && PyBool_Check(result)) {
        fastaio_state *st = state_of_dying(Py_TYPE(self));
        return st ? coro_stop_for_interpreter(st, result) : coro_stop(result);
    }
    return coro_next(sent, result);
}

#define NOT_AN_EXCEPTION "exceptions must be classes or instances deriving from BaseException, not %s"

/* Throw into the inner iterator. Return the result of the coroutine's step, as am_send does. */
static PySendResult
throw_into(Coro *coro, PyObject *inner, PyObject *const *args, Py_ssize_t count, PyObject **result)
{
    PyObject *method;
    int found = find_method(inner, "throw", &method);
    *result = found > 0 ? PyObject_Vectorcall(method, args, (size_t)count, NULL) : NULL;
    Py_XDECREF(method);
    if (found == 0) { /* the exception is raised where the coroutine awaits */
        PyObject *thrown = coro_thrown(args, count, NOT_AN_EXCEPTION);
        if (thrown != NULL) {
            PyErr_SetRaisedException(thrown);
        }
    }
    PySendResult sent = *result ? PYGEN_NEXT : PYGEN_ERROR;
    if (*result == NULL && found != 0 && coro_take_stop(result)) {
        sent = PYGEN_RETURN;
    }
    return coro->kind->inner_sent(coro, sent, result);
}

/* Do throw() for a coroutine that has been taken and has not ended. Return like am_send. */
static PySendResult
throw_taken(Coro *coro, PyObject *const *args, Py_ssize_t count, PyObject **result)
{
    *result = NULL;
    PyObject *inner = inner_iterator(coro);
    if (inner != NULL && !PyErr_GivenExceptionMatches(args[0], PyExc_GeneratorExit)) {
        Py_INCREF(inner);
        PySendResult sent = throw_into(coro, inner, args, count, result);
        Py_DECREF(inner);
        return sent;
    }
    PyObject *thrown = coro_thrown(args, count, NOT_AN_EXCEPTION);
    if (thrown == NULL) {
        return PYGEN_ERROR;
    }
    if (close_inner(coro) < 0) { /* there is one only for GeneratorExit, which closes it as close() does */
        Py_DECREF(thrown);
    }
    else {
        PyErr_SetRaisedException(thrown); /* throw() sets no __context__ */
    }
    if (coro->phase == CORO_SUSPENDED && coro->kind->thrown != NULL) {
        return resume_with_error(coro, result);
    }
    coro_end(coro);
    return PYGEN_ERROR;
}

static PyObject *
coro_throw(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Coro *coro = (Coro *)self;
    PyObject *result = NULL;
    PySendResult sent = PYGEN_ERROR;
    if (check_throw_count(count) < 0) {
        return NULL;
    }
    if (!coro_take(coro)) {
        coro_refuse(coro, true);
        return NULL;
    }
    if (coro->phase == CORO_CLOSED) {
        coro_refuse(coro, false);
    }
    else {
        sent = throw_taken(coro, args, count, &result);
    }
    coro_leave(coro);
    return coro_sent(sent, result);
}

static PyObject *
coro_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Coro *coro = (Coro *)self;
    if (!coro_take(coro)) {
        if (shared_load(&coro->phase) == CORO_CLOSED) {
            Py_RETURN_NONE;
        }
        coro_refuse(coro, true);
        return NULL;
    }
    int result = close_coroutine(coro);
    coro_leave(coro);
    return result < 0 ? NULL : Py_NewRef(Py_None);
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
    return qualified_name((Coro *)self);
}

PyObject *
coro_repr(PyObject *self)
{
    PyObject *name = qualified_name((Coro *)self);
    PyObject *repr = name ? PyUnicode_FromFormat("<coroutine object %U at %p>", name, self) : NULL;
    Py_XDECREF(name);
    return repr;
}

static PyObject *
coro_get_running(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(shared_load(&((Coro *)self)->running));
}

static PyObject *
coro_get_suspended(PyObject *self, void *Py_UNUSED(closure))
{
    const Coro *coro = (Coro *)self;
    return PyBool_FromLong(!shared_load(&coro->running)
                           && shared_load(&coro->phase) == CORO_SUSPENDED);
}

#if COROUTINE_HAS_STATE
static PyObject *
coro_get_state(PyObject *self, void *Py_UNUSED(closure))
{
    static const char *const names[] = {"CORO_CREATED", "CORO_SUSPENDED", "CORO_CLOSED"};
    const Coro *coro = (Coro *)self;
    return PyUnicode_FromString(shared_load(&coro->running) ? "CORO_RUNNING"
                                                            : names[shared_load(&coro->phase)]);
}
#endif

static PyObject *
coro_get_origin(PyObject *self, void *Py_UNUSED(closure))
{
    const Coro *coro = (Coro *)self;
    return Py_NewRef(coro->origin ? coro->origin : Py_None);
}

/* What frames and code objects name as their file. */
#define CODE_FILE "<fastaio>"

/* Set a code object's co_qualname. Takes over the reference; returns a new code object, or NULL with an exception. */
static PyObject *
with_qualname(PyObject *code, PyObject *qualname)
{
    PyObject *replace = PyObject_GetAttrString(code, "replace");
    PyObject *args = replace ? PyTuple_New(0) : NULL;
    PyObject *kwargs = args ? Py_BuildValue("{sO}", "co_qualname", qualname) : NULL;
    PyObject *result = kwargs ? PyObject_Call(replace, args, kwargs) : NULL;
    Py_DECREF(code);
    Py_XDECREF(replace);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    return result;
}

/* Return a code object that has only the coroutine's name. */
static PyObject *
coro_get_code(PyObject *self, void *Py_UNUSED(closure))
{
    const Coro *coro = (Coro *)self;
    PyObject *code = (PyObject *)PyCode_NewEmpty(CODE_FILE, coro->kind->name(coro), 1);
    if (code == NULL || coro->kind->owner == NULL) {
        return code;
    }
    PyObject *qualname = qualified_name(coro);
    if (qualname == NULL) {
        Py_DECREF(code);
        return NULL;
    }
    code = with_qualname(code, qualname);
    Py_DECREF(qualname);
    return code;
}

/* Return a new frame, by which stacks and call graphs show the coroutine; None once it has ended. */
static PyObject *
coro_get_frame(PyObject *self, void *Py_UNUSED(closure))
{
    if (shared_load(&((Coro *)self)->phase) == CORO_CLOSED) {
        Py_RETURN_NONE;
    }
    PyObject *code = coro_get_code(self, NULL), *globals = code ? PyDict_New() : NULL;
    PyObject *frame = globals ? (PyObject *)PyFrame_New(PyThreadState_Get(), (PyCodeObject *)code,
                                                        globals, NULL)
                              : NULL;
    Py_XDECREF(code);
    Py_XDECREF(globals);
    return frame;
}

/* Return the iterator that gets the steps now, as a rule a coroutine; None while there is none, or the coroutine
   runs. */
static PyObject *
coro_get_await(PyObject *self, void *Py_UNUSED(closure))
{
    Coro *coro = (Coro *)self;
    PyObject *inner = NULL;
#ifdef Py_GIL_DISABLED
    while (__atomic_exchange_n(&coro->observed, true, __ATOMIC_SEQ_CST)) {
        sched_yield(); /* another onlooker */
    }
    if (!__atomic_load_n(&coro->running, __ATOMIC_SEQ_CST)) {
        inner = Py_XNewRef(inner_iterator(coro));
    }
    shared_store(&coro->observed, false);
#else
    if (!coro->running) {
        inner = Py_XNewRef(inner_iterator(coro));
    }
#endif
    return inner ? inner : Py_NewRef(Py_None);
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

PyGetSetDef coro_getset[] = {
    {"__name__", coro_get_name, NULL, NULL, NULL},
    {"__qualname__", coro_get_qualname, NULL, NULL, NULL},
    {"cr_running", coro_get_running, NULL, NULL, NULL},
    {"cr_suspended", coro_get_suspended, NULL, NULL, NULL},
#if COROUTINE_HAS_STATE
    {"cr_state", coro_get_state, NULL, NULL, NULL},
#endif
    {"cr_await", coro_get_await, NULL, NULL, NULL},
    {"cr_frame", coro_get_frame, NULL, NULL, NULL},
    {"cr_code", coro_get_code, NULL, NULL, NULL},
    {"cr_origin", coro_get_origin, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyMemberDef coro_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Coro, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
