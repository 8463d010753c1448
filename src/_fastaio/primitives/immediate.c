/* immediate.c: Immediate. Of those that are not in use the room keeps one for the next call. */
#include "primitives/immediate.h"

#include "base/args.h"
#include "primitives/primitives.h"
#include "task/coro.h"

typedef struct {
    PyObject_HEAD
    fastaio_state *st; /* lives as long as the type */
    PyObject *result;  /* NULL once it has been given */
    immediate_fn fn;   /* to be called with the result before it is given; NULL: none */
} ImmediateObject;

/* Return the result, and forget it; NULL with an exception: of `fn`, or RuntimeError if the result has been given
   before. Unless `in_step` is NULL, set *in_step to what `fn` returns, 0 without one. */
static PyObject *
take_result(ImmediateObject *self, int *in_step)
{
    immediate_fn fn = self->fn;
    PyObject *result = shared_clear(&self->result);
    if (result == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return NULL;
    }
    int done = fn != NULL ? fn(self->st, result) : 0;
    if (done < 0) {
        Py_CLEAR(result);
        return NULL;
    }
    if (in_step != NULL) {
        *in_step = done;
    }
    return result;
}

/* Return an Immediate that nobody else has, whose fields may be set already; NULL with MemoryError. */
static ImmediateObject *
unused_immediate(fastaio_state *st)
{
    Primitives *primitives = st->primitives;
#ifndef Py_GIL_DISABLED /* threads would share the spare one */
    ImmediateObject *spare = (ImmediateObject *)primitives->spare_immediate;
    if (spare != NULL && Py_REFCNT(spare) == 1) {
        Py_INCREF(spare);
        return spare;
    }
#endif
    ImmediateObject *self =
        (ImmediateObject *)primitives->ImmediateType->tp_alloc(primitives->ImmediateType, 0);
    if (self == NULL) {
        return NULL;
    }
    self->st = st;
#ifndef Py_GIL_DISABLED
    Py_XSETREF(primitives->spare_immediate, Py_NewRef((PyObject *)self));
#endif
    return self;
}

PyObject *
immediate_new(fastaio_state *st, PyObject *result)
{
    ImmediateObject *self = unused_immediate(st);
    if (self == NULL) {
        return NULL;
    }
    self->fn = NULL;
    Py_XSETREF(self->result, Py_NewRef(result));
    return (PyObject *)self;
}

PyObject *
immediate_call(fastaio_state *st, immediate_fn fn, PyObject *obj)
{
    PyObject *self = immediate_new(st, obj);
    if (self != NULL) {
        ((ImmediateObject *)self)->fn = fn;
    }
    return self;
}

PyObject *
aexit_exception(const char *owner, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    PyObject *type = count > 0 ? args[0] : NULL, *exc = count > 1 ? args[1] : NULL;
    PyObject *tb = count > 2 ? args[2] : NULL;
    const NamedArgument known[] = {{"exc_type", &type}, {"exc", &exc}, {"exc_val", &exc},
                                   {"tb", &tb},         {"exc_tb", &tb}, {NULL, NULL}};
    if (keywords != NULL && parse_keywords("__aexit__", known, keywords, args + count) < 0) {
        return NULL;
    }
    if (count > 3 || type == NULL || exc == NULL || tb == NULL) {
        PyErr_Format(PyExc_TypeError, "%s.__aexit__() takes 3 arguments", owner);
        return NULL;
    }
    return exc;
}

/* ---- the protocol of iterators --------------------------------------------------------------- */

static PySendResult
immediate_am_send(PyObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    *result = take_result((ImmediateObject *)self, NULL);
    return *result ? PYGEN_RETURN : PYGEN_ERROR;
}

static PyObject *
immediate_iternext(PyObject *obj)
{
    ImmediateObject *self = (ImmediateObject *)obj;
    int in_step = 0;
    PyObject *result = take_result(self, &in_step);
    if (result == NULL || result == Py_None) {
        Py_XDECREF(result);
        return NULL;
    }
    return in_step ? coro_stop_for_interpreter(self->st, result) : coro_stop(result);
}

static PyObject *
immediate_send(PyObject *self, PyObject *Py_UNUSED(value))
{
    PyObject *result = take_result((ImmediateObject *)self, NULL);
    return result ? coro_stop(result) : NULL;
}

static PyObject *
immediate_throw(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    PyObject *thrown = coro_thrown(args, count,
                                   "exceptions must be classes or instances deriving from "
                                   "BaseException, not %s");
    if (thrown != NULL) {
        PyErr_SetRaisedException(thrown);
    }
    return NULL;
}

static PyObject *
immediate_close(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_NONE;
}

/* ---- the type -------------------------------------------------------------------------------- */

static int
immediate_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((ImmediateObject *)self)->result);
    return 0;
}

static int
immediate_clear(PyObject *self)
{
    Py_CLEAR(((ImmediateObject *)self)->result);
    return 0;
}

static void
immediate_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    immediate_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef immediate_methods[] = {
    {"send", immediate_send, METH_O,
     PyDoc_STR("send($self, value, /)\n--\n\nRaise StopIteration with the result.")},
    {"throw", (PyCFunction)(void (*)(void))immediate_throw, METH_FASTCALL,
     PyDoc_STR("throw(typ[, val[, tb]])\n\nRaise the exception.")},
    {"close", immediate_close, METH_NOARGS, PyDoc_STR("close($self, /)\n--\n\nDo nothing.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot immediate_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("An awaitable that is done.")},
    {Py_tp_traverse, immediate_traverse},
    {Py_tp_clear, immediate_clear},
    {Py_tp_dealloc, immediate_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, immediate_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, immediate_am_send},
    {Py_tp_methods, immediate_methods},
    {0, NULL},
};

static PyType_Spec immediate_spec = {
    .name = "fastaio._fastaio.Immediate",
    .basicsize = sizeof(ImmediateObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = immediate_slots,
};

int
immediate_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->primitives->ImmediateType = state_add_type(module, &immediate_spec, NULL);
    return st->primitives->ImmediateType ? 0 : -1;
}
