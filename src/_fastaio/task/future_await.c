/* future_await.c: what `await future` iterates: it yields the future once while that is pending,
 * then it ends with the result.
 *
 * All that has to be remembered stands in the future (`blocking`), so for the interpreter's `await`
 * a native future is its own iterator, and awaiting allocates nothing. Who asks for __await__() or
 * iter() gets a FutureIter, as asyncio's: it has send(), throw() and close(). So does the `await` of
 * a future that has attributes, and of an instance of a subclass.
 */
#include "base/error.h"
#include "task/future_methods.h"

/* ---- the future itself ----------------------------------------------------------------------- */

static PySendResult
core_send(FutureCore *core, PyObject **result)
{
    *result = NULL;
    if (core->state != FUTURE_PENDING) {
        *result = future_get_result(core);
        return *result ? PYGEN_RETURN : PYGEN_ERROR;
    }
    if (core->blocking) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        return PYGEN_ERROR;
    }
    core->blocking = true;
    *result = Py_NewRef(future_object(core));
    return PYGEN_NEXT;
}

/* What core_send() gave, as tp_iternext has it. */
static PyObject *
as_next(PySendResult status, PyObject *result)
{
    if (status != PYGEN_RETURN) {
        return result;
    }
    if (result != Py_None) { /* an end without an exception means None */
        /* Called, so that a tuple or an exception as result stays one value. */
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        if (stop != NULL) {
            raise_object(stop);
        }
    }
    Py_DECREF(result);
    return NULL;
}

PyObject *
core_self(FutureCore *core)
{
    if (future_ensure_initialized(core) < 0) {
        return NULL;
    }
    /* The interpreter asks what it iterates for `throw` and `close`: it must not find what a user has
       set on the future under these names, or a class has. */
    PyObject *self = future_object(core);
    bool plain = Py_IS_TYPE(self, core->st->FutureType) || Py_IS_TYPE(self, core->st->TaskType);
    return plain && !compat_may_have_attributes(self) ? Py_NewRef(self) : core_await(core);
}

PyObject *
core_next(FutureCore *core)
{
    PyObject *result;
    if (future_ensure_initialized(core) < 0) {
        return NULL;
    }
    PySendResult status = core_send(core, &result);
    return as_next(status, result);
}

/* ---- FutureIter ------------------------------------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    PyObject *future; /* NULL once ended */
    FutureCore *core;
} AwaitObject;

PyObject *
core_await(FutureCore *core)
{
    if (future_ensure_initialized(core) < 0) {
        return NULL;
    }
    fastaio_state *st = core->st;
    AwaitObject *await = (AwaitObject *)pool_take(&st->await_pool, st->AwaitType);
    if (await == NULL) {
        return NULL;
    }
    await->future = Py_NewRef(future_object(core));
    await->core = core;
    PyObject_GC_Track(await);
    return (PyObject *)await;
}

static PySendResult
await_send(AwaitObject *await, PyObject *Py_UNUSED(value), PyObject **result)
{
    if (await->future == NULL) {
        *result = NULL;
        return PYGEN_ERROR; /* ended: StopIteration, as an exhausted iterator */
    }
    PyObject *future = Py_NewRef(await->future);
    PySendResult status = core_send(await->core, result);
    if (await->core->state != FUTURE_PENDING) {
        Py_CLEAR(await->future);
    }
    Py_DECREF(future);
    return status;
}

static PyObject *
await_iternext(AwaitObject *await)
{
    PyObject *result;
    PySendResult status = await_send(await, Py_None, &result);
    return as_next(status, result);
}

static PyObject *
await_send_method(AwaitObject *await, PyObject *Py_UNUSED(value))
{
    PyObject *result = await_iternext(await);
    if (result == NULL && !PyErr_Occurred()) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    return result;
}

/* throw(exception), or the older throw(type, value, traceback). */
static PyObject *
await_throw(AwaitObject *await, PyObject *const *args, Py_ssize_t count)
{
    if (count < 1 || count > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", count);
        return NULL;
    }
#if PY_VERSION_HEX >= 0x030C0000
    if (count > 1
        && PyErr_WarnEx(PyExc_DeprecationWarning,
                        "the (type, exc, tb) signature of throw() is deprecated, use the "
                        "single-arg signature instead.", 1) < 0) {
        return NULL;
    }
#endif
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
        PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(type)), Py_NewRef(type),
                      tb ? Py_NewRef(tb) : PyException_GetTraceback(type));
    }
    else if (PyExceptionClass_Check(type)) {
        PyErr_Restore(Py_NewRef(type), Py_XNewRef(value), Py_XNewRef(tb));
    }
    else {
        PyErr_SetString(PyExc_TypeError, "exceptions must be classes deriving BaseException or "
                                         "instances of such a class");
        return NULL;
    }
    Py_CLEAR(await->future);
    return NULL;
}

static PyObject *
await_close(AwaitObject *await, PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(await->future);
    Py_RETURN_NONE;
}

static int
await_traverse(AwaitObject *await, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(await));
    Py_VISIT(await->future);
    return 0;
}

static int
await_clear(AwaitObject *await)
{
    Py_CLEAR(await->future);
    return 0;
}

static void
await_drop(AwaitObject *await)
{
    PyTypeObject *type = Py_TYPE(await);
    Py_CLEAR(await->future);
    fastaio_state *st = state_of_dying(type);
    pool_give(st ? &st->await_pool : NULL, (PyObject *)await);
    Py_DECREF(type);
}

static void
await_dealloc(AwaitObject *await)
{
    PyObject_GC_UnTrack(await);
    DEALLOC_BOUNDED(await, await_dealloc, await_drop);
}

static PyMethodDef await_methods[] = {
    {"send", (PyCFunction)await_send_method, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))await_throw, METH_FASTCALL, NULL},
    {"close", (PyCFunction)await_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot await_slots[] = {
    {Py_tp_dealloc, await_dealloc},
    {Py_tp_traverse, await_traverse},
    {Py_tp_clear, await_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, await_iternext},
    {Py_tp_methods, await_methods},
    {Py_am_send, await_send},
    {0, NULL},
};

static PyType_Spec await_spec = {
    .name = "fastaio._fastaio.FutureIter",
    .basicsize = sizeof(AwaitObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = await_slots,
};

int
future_await_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->AwaitType = state_add_type(module, &await_spec, NULL);
    return st->AwaitType ? 0 : -1;
}
