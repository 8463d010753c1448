/* done_callback.c: the type DoneCallback. */
#include "task/done_callback.h"

#include <structmember.h>

DoneCallback *
done_callback_new(fastaio_state *st, const DoneCallbackSpec *spec, PyObject *self, PyObject *extra)
{
    DoneCallback *callback =
        (DoneCallback *)pool_take(&st->done_callback_pool, st->DoneCallbackType);
    if (callback == NULL) {
        return NULL;
    }
    callback->spec = spec;
    callback->self = Py_NewRef(self);
    callback->extra = Py_XNewRef(extra);
    PyObject_GC_Track(callback);
    return callback;
}

static PyObject *
callback_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    DoneCallback *callback = (DoneCallback *)self;
    fastaio_state *st = state_of_type(Py_TYPE(self));
    PyObject *future;
    if (st == NULL || !PyArg_UnpackTuple(args, callback->spec->name, 1, 1, &future)) {
        return NULL;
    }
    FutureCore *core = future_core(st, future);
    if (core == NULL || (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0)) {
        PyErr_Format(PyExc_TypeError, "%s() takes one argument, a future of fastaio",
                     callback->spec->name);
        return NULL;
    }
    if (callback->self == NULL || future_ensure_initialized(core) < 0) {
        return callback->self == NULL ? Py_NewRef(Py_None) : NULL;
    }
    return callback->spec->call(callback, core, true) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
callback_get_qualname(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(((DoneCallback *)self)->spec->name);
}

static PyObject *
callback_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<callback %s at %p>", ((DoneCallback *)self)->spec->name, self);
}

static int
callback_traverse(PyObject *self, visitproc visit, void *arg)
{
    DoneCallback *callback = (DoneCallback *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(callback->self);
    Py_VISIT(callback->extra);
    return 0;
}

static int
callback_clear(PyObject *self)
{
    DoneCallback *callback = (DoneCallback *)self;
    Py_CLEAR(callback->self);
    Py_CLEAR(callback->extra);
    return 0;
}

static void
callback_drop(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    callback_clear(self);
    fastaio_state *st = state_of_dying(type);
    pool_give(st ? &st->done_callback_pool : NULL, self);
    Py_DECREF(type);
}

static void
callback_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    DEALLOC_BOUNDED(self, callback_dealloc, callback_drop);
}

static PyMemberDef callback_members[] = {
    {"__self__", T_OBJECT, offsetof(DoneCallback, self), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef callback_getset[] = {
    {"__qualname__", callback_get_qualname, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot callback_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A callback of native futures, in C.")},
    {Py_tp_traverse, callback_traverse},
    {Py_tp_clear, callback_clear},
    {Py_tp_dealloc, callback_dealloc},
    {Py_tp_call, callback_call},
    {Py_tp_repr, callback_repr},
    {Py_tp_members, callback_members},
    {Py_tp_getset, callback_getset},
    {0, NULL},
};

static PyType_Spec callback_spec = {
    .name = "fastaio._fastaio.DoneCallback",
    .basicsize = sizeof(DoneCallback),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = callback_slots,
};

int
done_callback_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->DoneCallbackType = state_add_type(module, &callback_spec, NULL);
    return st->DoneCallbackType ? 0 : -1;
}
