/* future_type.c: the Future type: methods, attributes, deallocation. */
#include "task/future_type.h"

#include "base/guard.h"
#include "task/future.h"
#include "task/future_base.h"
#include "task/future_methods.h"

#define X(name) FUTURE_WRAP_NOARGS(FutureObject, future, name)
FUTURE_NOARGS(X)
#undef X
#define X(name) FUTURE_WRAP_GETTER(FutureObject, future, name)
FUTURE_GETTERS(X)
FUTURE_ACCESSORS(X)
#undef X
#define X(name) FUTURE_WRAP_SETTER(FutureObject, future, name)
FUTURE_ACCESSORS(X)
#undef X
FUTURE_WRAP_REST(FutureObject, future)

PyDoc_STRVAR(future_set_result_doc, "set_result($self, result, /)\n--\n\n"
"Mark the future done and set its result.\n\n"
"Raises InvalidStateError if the future is done.");

static PyObject *
future_set_result_method(FutureObject *self, PyObject *result)
{
    if (future_set_result(&self->core, result) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(future_set_exception_doc, "set_exception($self, exception, /)\n--\n\n"
"Mark the future done and set an exception, an instance or a class.\n\n"
"Raises InvalidStateError if the future is done.");

static PyObject *
future_set_exception_method(FutureObject *self, PyObject *exception)
{
    if (future_set_exception(&self->core, exception) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(future_cancel_doc, "cancel($self, /, msg=None)\n--\n\n"
"Cancel the future and schedule its callbacks.\n\n"
"msg: the argument of the CancelledError.\n"
"Return False if the future is done, else True.");

static PyObject *
future_cancel_method(FutureObject *self, PyObject *const *args, Py_ssize_t count,
                     PyObject *keywords)
{
    PyObject *message = core_cancel_argument(args, count, keywords);
    if (message == NULL || future_ensure_initialized(&self->core) < 0) {
        return NULL;
    }
    int cancelled = future_cancel(&self->core, message);
    return cancelled < 0 ? NULL : PyBool_FromLong(cancelled);
}

static PyObject *
future_repr(PyObject *self)
{
    FutureCore *core = &((FutureObject *)self)->core;
    PyObject *repr = NULL;
    if (future_ensure_initialized(core) == 0) {
        Py_BEGIN_CRITICAL_SECTION(self); /* asyncio's code reads some fields twice */
        repr = PyObject_CallOneArg(core->st->future_repr, self);
        Py_END_CRITICAL_SECTION();
    }
    return repr;
}

static int
future_init(FutureObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"loop", NULL};
    PyObject *loop = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$O:Future", names, &loop)) {
        return -1;
    }
    fastaio_state *st = state_of_type(Py_TYPE(self));
    if (st == NULL) {
        return -1;
    }
    return future_core_init(&self->core, st, loop);
}

static PyObject *
future_alloc(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    return type->tp_alloc(type, 0);
}

static void future_dealloc(PyObject *self);

static void
future_finalize(PyObject *self)
{
    future_report_unretrieved(&((FutureObject *)self)->core);
}

static int
future_traverse(PyObject *self, visitproc visit, void *arg)
{
    int result = future_core_traverse(&((FutureObject *)self)->core, visit, arg);
    return result ? result : future_base_traverse(self, future_dealloc, visit, arg);
}

static int
future_clear(PyObject *self)
{
    future_core_clear(&((FutureObject *)self)->core);
    return future_base_clear(self, future_dealloc);
}

static void future_free(void *self);

/* Do future_dealloc() for an untracked future. */
static void
future_drop(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    FutureCore *core = &((FutureObject *)self)->core;
    bool exact = type->tp_free == future_free;
    if ((!exact || core->log_traceback) && dealloc_finalize(self) < 0) {
        return; /* resurrected */
    }
    bool blank = future_base_is_blank(self);
    if (!blank) { /* as in asyncio: callbacks of weak references run before the future's fields are freed */
        PyObject_ClearWeakRefs(self);
    }
    future_core_drop(core);
    if (exact && blank) {
        future_free(self);
        Py_DECREF(type);
    }
    else {
        future_base_dealloc(self, future_dealloc);
    }
}

/* Return true if dropping the references of a core may deallocate an object that holds others. */
static inline bool
holds_containers(const FutureCore *core)
{
    return (core->result != NULL && core->result != Py_None) || core->exception != NULL
           || core->callback != NULL || core->callbacks != NULL || core->cancelled_exc != NULL
           || (core->cancel_message != NULL && core->cancel_message != Py_None);
}

static void
future_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    FutureCore *core = &((FutureObject *)self)->core;
    PyObject_GC_UnTrack(self);
    if (type->tp_free == future_free && !core->log_traceback && !holds_containers(core)
        && future_base_is_blank(self)) {
        future_core_drop(core);
        future_free(self);
        Py_DECREF(type);
        return;
    }
    DEALLOC_BOUNDED(self, future_dealloc, future_drop);
}

/* tp_free of the exact type; subclasses have another. The base's dealloc calls it last. */
static void
future_free(void *self)
{
    fastaio_state *st = state_of_dying(Py_TYPE((PyObject *)self));
    bool reusable = st != NULL && compat_inline_values_are_blank(self);
    pool_give(reusable ? &st->future_pool : NULL, self);
}

static PyMethodDef future_methods[] = {
#define X(name) {#name, future_##name, METH_NOARGS, core_doc_##name},
    FUTURE_NOARGS(X)
#undef X
    FUTURE_METHOD_ENTRIES(future),
    {"set_result", (PyCFunction)future_set_result_method, METH_O, future_set_result_doc},
    {"set_exception", (PyCFunction)future_set_exception_method, METH_O, future_set_exception_doc},
    {"cancel", (PyCFunction)(void (*)(void))future_cancel_method, METH_FASTCALL | METH_KEYWORDS,
     future_cancel_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef future_getset[] = {
#define X(name) {#name, future_get_##name, NULL, NULL, NULL},
    FUTURE_GETTERS(X)
#undef X
#define X(name) {#name, future_get_##name, future_set_##name, NULL, NULL},
    FUTURE_ACCESSORS(X)
#undef X
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(future_doc, "Future(*, loop=None)\n--\n\n"
"A result that is set later; a native asyncio.Future.\n\n"
"loop: the event loop that calls the callbacks; None: the current one.");

static PyType_Slot future_slots[] = {
    {Py_tp_doc, (void *)future_doc},
    {Py_tp_new, future_alloc},
    {Py_tp_init, future_init},
    {Py_tp_dealloc, future_dealloc},
    {Py_tp_free, future_free},
    {Py_tp_finalize, future_finalize},
    {Py_tp_traverse, future_traverse},
    {Py_tp_clear, future_clear},
    {Py_tp_repr, future_repr},
    {Py_tp_iter, future_iter},
    {Py_am_await, future_await},
    {Py_tp_methods, future_methods},
    {Py_tp_getset, future_getset},
    {0, NULL},
};

static PyType_Spec future_spec = {
    .name = "fastaio.Future",
    .basicsize = sizeof(FutureObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = future_slots,
};

static const char *const free_names[] = {FUTURE_FREE_NAMES, NULL};
static const GuardRules rules = {.free_names = free_names};

int
future_types_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    if (future_base_check(st->asyncio_Future, offsetof(FutureObject, core)) < 0) {
        return -1;
    }
    st->FutureType = state_add_type(module, &future_spec, st->asyncio_Future);
    if (st->FutureType == NULL) {
        return -1;
    }
    /* Not a slot of the spec, which would add __next__(): only `await` iterates the future itself. */
    st->FutureType->tp_iternext = future_next;
    return guard_type(st, st->FutureType, &rules) < 0 ? -1 : future_await_init(module);
}
