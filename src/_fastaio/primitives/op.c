/* op.c: the steps and the life of an Op. */
#include "primitives/op.h"

#include "base/error.h"
#include "base/guard.h"
#include "task/future.h"

static const OpSpec *
spec_of(const Op *op)
{
    return (const OpSpec *)op->coro.kind;
}

const char *
op_name(const Coro *coro)
{
    return ((const OpSpec *)coro->kind)->name;
}

/* ---- awaiting -------------------------------------------------------------------------------- */

/* Return 1 for a generator that is awaited as it is, one of types.coroutine(); 0; or -1 with an exception. */
static int
is_iterable_coroutine(PyObject *obj)
{
    if (!PyGen_CheckExact(obj)) {
        return 0;
    }
    PyObject *code = PyObject_GetAttrString(obj, "gi_code");
    int iterable = code ? (((PyCodeObject *)code)->co_flags & CO_ITERABLE_COROUTINE) != 0 : -1;
    Py_XDECREF(code);
    return iterable;
}

/* Return 1 for a coroutine, 0, or -1 with an exception. */
static int
is_coroutine(PyObject *obj)
{
    return PyCoro_CheckExact(obj) ? 1 : is_iterable_coroutine(obj);
}

/* Return 0, or -1 with RuntimeError if something awaits the coroutine of the interpreter already. */
static int
refuse_awaited(fastaio_state *st, PyObject *obj)
{
    PyObject *inner = PyCoro_CheckExact(obj) ? PyObject_GetAttr(obj, st->str_cr_await)
                                             : Py_NewRef(Py_None);
    if (inner != NULL && inner != Py_None) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
    }
    Py_XDECREF(inner);
    return inner == Py_None ? 0 : -1;
}

/* Return the iterator that `await obj` runs, a new reference; NULL with TypeError, or with RuntimeError for a
   coroutine that is awaited already. */
static PyObject *
awaited_iterator(fastaio_state *st, PyObject *obj)
{
    int found = is_coroutine(obj);
    if (found != 0) {
        return found < 0 || refuse_awaited(st, obj) < 0 ? NULL : Py_NewRef(obj);
    }
    const PyAsyncMethods *methods = Py_TYPE(obj)->tp_as_async;
    if (methods == NULL || methods->am_await == NULL) {
        compat_refuse_awaitable(obj);
        return NULL;
    }
    PyObject *iterator = methods->am_await(obj);
    if (iterator == NULL || (found = is_coroutine(iterator)) < 0) {
        Py_CLEAR(iterator);
    }
    else if (found > 0 || !PyIter_Check(iterator)) {
        compat_refuse_await_result(obj, iterator, found > 0);
        Py_CLEAR(iterator);
    }
    return iterator;
}

Outcome
op_await(Op *op, PyObject *awaitable)
{
    if (future_is_exact(op->st, awaitable)) {
        op->awaits_native = true;
        Py_XSETREF(op->awaited, Py_NewRef(awaitable));
        return WAIT;
    }
    PyObject *iterator = awaited_iterator(op->st, awaitable);
    if (iterator == NULL) {
        return FAILED;
    }
    op->awaits_native = false;
    Py_XSETREF(op->awaited, iterator);
    return WAIT;
}

/* Return what is awaited and forget it. */
static PyObject *
take_awaited(Op *op)
{
    PyObject *awaited = op->awaited;
    op->awaited = NULL;
    return awaited;
}

/* ---- steps ----------------------------------------------------------------------------------- */

Pool *
op_pool(fastaio_state *st)
{
    return st->primitives != NULL ? &st->primitives->op_pool : NULL;
}

static void
drop_fields(Op *op)
{
    Section section;
    section_begin(&section, spec_of(op)->shared ? (PyObject *)op : NULL);
    Py_CLEAR(op->awaited);
    Py_CLEAR(op->waiter);
    Py_CLEAR(op->extra);
    Py_CLEAR(op->saved);
    Py_CLEAR(op->self);
    section_end(&section);
}

void
op_finish(Coro *coro)
{
    drop_fields((Op *)coro);
}

/* Return the result of the native future that was awaited, and forget it; NULL with an exception. */
static PyObject *
native_result(Op *op)
{
    PyObject *future = take_awaited(op);
    PyObject *value = coro_future_result(&((FutureObject *)future)->core);
    Py_DECREF(future);
    return value;
}

/* Do a step of an iterator that is awaited. The interpreter counts how deep its own coroutines await each other, and
   not those in C. Return like am_send. */
static PySendResult
step_iterator(PyObject *iterator, PyObject *sent_value, PyObject **value)
{
    if (Py_EnterRecursiveCall(" while awaiting an object")) {
        return PYGEN_ERROR;
    }
    PySendResult sent = PyIter_Send(iterator, sent_value, value);
    Py_LeaveRecursiveCall();
    return sent;
}

/* Begin or continue the wait for op->awaited. Return true with *result if the coroutine yields. Else the wait
   is over: *value is its value, or NULL with an exception. */
static bool
wait_yields(Op *op, PyObject *sent_value, PyObject **value, PyObject **result)
{
    if (op->awaited == NULL) { /* a bare yield */
        *result = Py_NewRef(Py_None);
        return true;
    }
    if (op->awaits_native) {
        FutureCore *core = &((FutureObject *)op->awaited)->core;
        if (future_is_initialized(core) && coro_yield_future(core, result)) {
            return true;
        }
        *value = future_ensure_initialized(core) < 0 ? NULL : native_result(op);
        return false;
    }
    PyObject *iterator = Py_NewRef(op->awaited);
    PySendResult sent = step_iterator(iterator, sent_value, value);
    Py_DECREF(iterator);
    if (sent == PYGEN_NEXT) {
        *result = *value;
        return true;
    }
    if (sent == PYGEN_ERROR) {
        *value = NULL;
    }
    Py_CLEAR(op->awaited);
    return false;
}

/* Return the object whose critical section a step of the Op takes; NULL: none. */
static inline PyObject *
section_of(Op *op)
{
    const OpSpec *spec = spec_of(op);
    return spec->shared ? (PyObject *)op : spec->coro.owner != NULL ? op->self : NULL;
}

/* Call the functions of the spec. */
static Outcome
start(Op *op, PyObject **result)
{
    Section section;
    section_begin(&section, section_of(op));
    Outcome outcome = spec_of(op)->start(op, result);
    section_end(&section);
    return outcome;
}

static Outcome
go_on(Op *op, PyObject *value, PyObject **result)
{
    Section section;
    section_begin(&section, section_of(op));
    Outcome outcome = spec_of(op)->resume(op, value, result);
    section_end(&section);
    return outcome;
}

/* Return the result of a step as am_send does, once the spec's function has returned. */
static PySendResult
settle(Op *op, Outcome outcome, PyObject **result)
{
    while (outcome == WAIT) {
        PyObject *value;
        if (wait_yields(op, Py_None, &value, result)) {
            shared_store(&op->coro.phase, CORO_SUSPENDED);
            return PYGEN_NEXT;
        }
        outcome = go_on(op, value, result);
    }
    if (outcome == DONE) {
        shared_store(&op->coro.phase, CORO_CLOSED);
        drop_fields(op);
        return PYGEN_RETURN;
    }
    *result = NULL;
    coro_end(&op->coro);
    return PYGEN_ERROR;
}

static PySendResult
resume(Op *op, PyObject *sent_value, PyObject **result)
{
    PyObject *value;
    if (op->awaited == NULL) { /* behind a bare yield */
        value = Py_NewRef(Py_None);
    }
    else if (wait_yields(op, sent_value, &value, result)) {
        return PYGEN_NEXT;
    }
    return settle(op, go_on(op, value, result), result);
}

static PySendResult
op_send(PyObject *self, PyObject *value, PyObject **result)
{
    Op *op = (Op *)self;
    if (coro_enter(&op->coro, value, result) < 0) {
        return PYGEN_ERROR;
    }
    PySendResult sent = op->coro.phase == CORO_CREATED
                            ? settle(op, start(op, result), result)
                            : resume(op, value, result);
    coro_leave(&op->coro);
    return sent;
}

PyObject *
op_inner(const Coro *coro)
{
    const Op *op = (const Op *)coro;
    return op->awaits_native ? NULL : op->awaited;
}

PySendResult
op_inner_sent(Coro *coro, PySendResult sent, PyObject **result)
{
    Op *op = (Op *)coro;
    if (sent == PYGEN_NEXT) {
        return PYGEN_NEXT;
    }
    Py_CLEAR(op->awaited);
    PyObject *value = sent == PYGEN_RETURN ? *result : NULL;
    *result = NULL;
    return settle(op, go_on(op, value, result), result);
}

PySendResult
op_thrown(Coro *coro, PyObject **result)
{
    Op *op = (Op *)coro;
    Py_XDECREF(take_awaited(op));
    return settle(op, go_on(op, NULL, result), result);
}

/* ---- cleaning up ----------------------------------------------------------------------------- */

Cleanup
cleanup_begin(PyObject *value)
{
    Cleanup cleanup = {NULL, NULL};
    if (value != NULL) {
        Py_DECREF(value);
        return cleanup;
    }
    cleanup.exc = PyErr_GetRaisedException();
    cleanup.outer = begin_handling(cleanup.exc);
    return cleanup;
}

int
cleanup_end(Cleanup *cleanup, int result)
{
    if (cleanup->exc == NULL) {
        return result;
    }
    end_handling(cleanup->outer);
    if (result < 0) {
        Py_DECREF(cleanup->exc);
    }
    else {
        PyErr_SetRaisedException(cleanup->exc);
    }
    return -1;
}

/* ---- making and freeing ---------------------------------------------------------------------- */

Op *
op_new(fastaio_state *st, const OpSpec *spec, PyObject *self)
{
    Op *op = (Op *)pool_alloc(&st->primitives->op_pool, st->primitives->OpType);
    if (op == NULL) {
        return NULL;
    }
    op->coro.kind = &spec->coro;
    op->st = st;
    op->self = Py_XNewRef(self);
    if (compat_origin_depth() > 0 && coro_keep_origin(&op->coro) < 0) {
        coro_end(&op->coro); /* so that it does not warn that it was never awaited */
        Py_CLEAR(op);
    }
    return op;
}

PyObject *
op_without_arguments(fastaio_state *st, const OpSpec *spec, PyObject *self, Py_ssize_t count,
                     PyObject *keywords)
{
    if (count != 0 || (keywords != NULL && PyTuple_GET_SIZE(keywords) != 0)) {
        const char *owner = spec->coro.owner;
        PyErr_Format(PyExc_TypeError, "%s%s%s() takes no arguments", owner ? owner : "",
                     owner ? "." : "", spec->name);
        return NULL;
    }
    return (PyObject *)op_new(st, spec, self);
}

static int
op_traverse(PyObject *self, visitproc visit, void *arg)
{
    Op *op = (Op *)self;
    Py_VISIT(Py_TYPE(self));
    CORO_VISIT(&op->coro);
    Py_VISIT(op->self);
    Py_VISIT(op->awaited);
    Py_VISIT(op->waiter);
    Py_VISIT(op->extra);
    Py_VISIT(op->saved);
    return 0;
}

static PyType_Slot op_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The coroutine of a native primitive.")},
    {Py_tp_traverse, op_traverse},
    {Py_am_send, op_send},
    CORO_SLOTS,
    {0, NULL},
};

static PyType_Spec op_spec = {
    .name = "fastaio._fastaio.Op",
    .basicsize = sizeof(Op),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = op_slots,
};

int
op_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->primitives->OpType = state_add_type(module, &op_spec, NULL);
    return st->primitives->OpType ? 0 : -1;
}
