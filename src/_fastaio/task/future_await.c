/* future_await.c: the iterators of `await future`. They yield the future once while it is pending, then end
 * with its result.
 *
 * The only state, `blocking`, is in the future. So for the interpreter's `await` a native future is its own
 * iterator, and awaiting allocates nothing. __await__() and iter() give a FutureIter, as asyncio's do, which
 * has send(), throw() and close(). So does the `await` of a future that has attributes, and of an instance
 * of a subclass.
 */
#include "task/future_await.h"

#include "task/coro.h"
#include "task/future.h"

/* ---- the future itself ----------------------------------------------------------------------- */

/* Do a step, as am_send does. */
static PySendResult
core_send(FutureCore *core, PyObject **result)
{
    if (coro_yield_future(core, result)) {
        return PYGEN_NEXT;
    }
    *result = coro_future_result(core);
    return *result ? PYGEN_RETURN : PYGEN_ERROR;
}

PyObject *
core_self(FutureCore *core)
{
    if (future_ensure_initialized(core) < 0) {
        return NULL;
    }
    /* The interpreter looks `throw` and `close` up on the iterator. It must not find attributes of these
       names that a user has set on the future or defined in a class. */
    PyObject *self = future_object(core);
    return future_is_exact(core->st, self) && !compat_may_have_attributes(self) ? Py_NewRef(self) : core_await(core);
}

PyObject *
core_next(FutureCore *core)
{
    PyObject *result;
    if (future_ensure_initialized(core) < 0) {
        return NULL;
    }
    PySendResult status = core_send(core, &result);
    if (status != PYGEN_RETURN || result == Py_None) {
        return coro_next(status, result);
    }
    /* The interpreter takes the exception at once, so there is no need for a __context__. */
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
    Py_DECREF(result);
    if (stop != NULL) {
        PyErr_SetRaisedException(stop);
    }
    return NULL;
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

/* Do a step within the critical section of the iterator. */
static PySendResult
await_send_held(AwaitObject *await, PyObject **result)
{
    if (await->future == NULL) {
        *result = NULL;
        return PYGEN_ERROR; /* ended: StopIteration, as an exhausted iterator */
    }
    PyObject *future = Py_NewRef(await->future);
    PySendResult status = core_send(await->core, result);
    if (!future_is_pending(await->core)) {
        Py_CLEAR(await->future);
    }
    Py_DECREF(future);
    return status;
}

static PySendResult
await_send(AwaitObject *await, PyObject *Py_UNUSED(value), PyObject **result)
{
    PySendResult status;
    Py_BEGIN_CRITICAL_SECTION(await);
    status = await_send_held(await, result);
    Py_END_CRITICAL_SECTION();
    return status;
}

static void
await_end(AwaitObject *await)
{
    Py_BEGIN_CRITICAL_SECTION(await);
    Py_CLEAR(await->future);
    Py_END_CRITICAL_SECTION();
}

static PyObject *
await_iternext(AwaitObject *await)
{
    PyObject *result;
    PySendResult status = await_send(await, Py_None, &result);
    return coro_next(status, result);
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

static PyObject *
await_throw(AwaitObject *await, PyObject *const *args, Py_ssize_t count)
{
    PyObject *thrown = coro_thrown(args, count,
                                   "exceptions must be classes deriving BaseException or instances "
                                   "of such a class");
    if (thrown != NULL) {
        await_end(await);
        PyErr_SetRaisedException(thrown);
    }
    return NULL;
}

static PyObject *
await_close(AwaitObject *await, PyObject *Py_UNUSED(ignored))
{
    await_end(await);
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
