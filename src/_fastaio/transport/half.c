/* half.c: the common part of the native halves of asyncio's datagram and pipe transports. */
#include "transport/half.h"

#include "base/error.h"

/* ---- memory ---------------------------------------------------------------------------------- */

PyObject *
transport_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    fastaio_state *st = state_of_type(type);
    TransportCore *self = st != NULL ? (TransportCore *)type->tp_alloc(type, 0) : NULL;
    if (self != NULL) {
        self->st = st;
        self->fd = -1;
    }
    return (PyObject *)self;
}

/* The collector finalizes all objects that it finds together, in its own order and, without a GIL, while the loop ends
   the transport in another thread. Then two owners would close one descriptor. So the collector does not see a
   transport's reference to a plain socket or file, which lives until the transport drops it. */
int
transport_traverse(PyObject *op, visitproc visit, void *arg)
{
    TransportCore *self = (TransportCore *)op;
    Py_VISIT(Py_TYPE(op));
    for (int i = 0; i < TRANSPORT_BASE_SLOTS; i++) {
        Py_VISIT(self->base_room[i]);
    }
    Py_VISIT(self->loop);
    HOME_VISIT(&self->home);
    Py_VISIT(self->protocol);
    if (!self->file_is_plain) {
        Py_VISIT(self->file);
    }
    Py_VISIT(self->buffer);
    return 0;
}

int
transport_clear(PyObject *op)
{
    TransportCore *self = (TransportCore *)op;
    for (int i = 0; i < TRANSPORT_BASE_SLOTS; i++) {
        Py_CLEAR(self->base_room[i]);
    }
    self->native = NULL;
    section_set(op, &self->loop, NULL);
    section_set(op, &self->protocol, NULL);
    Py_CLEAR(self->file);
    section_set(op, &self->buffer, NULL);
    return 0;
}

/* Never call the base's dealloc: the bases are Python classes, whose dealloc would call this again. */
void
transport_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    type->tp_clear != NULL ? type->tp_clear(op) : transport_clear(op);
    home_drop(&((TransportCore *)op)->home);
    type->tp_free(op);
    Py_DECREF(type);
}

const char *const transport_open_names[] = {
    "_buffer_size", "_closing",    "_conn_lost", "_fileno", "_high_water",
    "_loop",        "_low_water", "_paused",    "_protocol", "_protocol_paused", NULL,
};

PyObject *
transport_loop_of(PyObject *op)
{
    return home_loop(&((TransportCore *)op)->home);
}

/* ---- attributes ------------------------------------------------------------------------------ */

PyObject *
transport_get_file(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *file = ((TransportCore *)op)->file;
    return Py_NewRef(file != NULL ? file : Py_None);
}

int
transport_set_file(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    TransportCore *self = (TransportCore *)op;
    PyObject *type = value ? (PyObject *)Py_TYPE(value) : NULL;
    self->inspected = false;
    self->file_is_plain = type == self->st->socket_type || type == self->st->FileIO;
    Py_XSETREF(self->file, value != Py_None ? Py_XNewRef(value) : NULL);
    return 0;
}

PyObject *
transport_get_fileno(PyObject *op, void *Py_UNUSED(closure))
{
    int fd = ((TransportCore *)op)->fd;
    return fd >= 0 ? PyLong_FromLong(fd) : Py_NewRef(Py_None);
}

int
transport_set_fileno(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    long fd = value == NULL || value == Py_None ? -1 : PyLong_AsLong(value);
    if (fd == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (fd > INT_MAX || fd < -1) {
        PyErr_SetString(PyExc_OverflowError, "file descriptor is out of range");
        return -1;
    }
    ((TransportCore *)op)->fd = (int)fd;
    return 0;
}

PyObject *
transport_get_loop(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *loop = ((TransportCore *)op)->loop;
    return Py_NewRef(loop != NULL ? loop : Py_None);
}

int
transport_set_loop(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    TransportCore *self = (TransportCore *)op;
    self->native =
        value != NULL && loop_is_native(self->st, value) ? (LoopObject *)value : NULL;
    if (self->native != NULL) {
        home_set(&self->home, value);
        if (home_loop(&self->home) != NULL && home_loop(&self->home) != value) {
            self->native = NULL;
        }
    }
    Py_XSETREF(self->loop, Py_XNewRef(value));
    return 0;
}

/* ---- calls ----------------------------------------------------------------------------------- */

PyObject *
transport_call_base(PyObject *owner, PyObject *name, PyObject *self, PyObject *const *args,
                    Py_ssize_t count)
{
    PyObject *function = PyObject_GetAttr(owner, name);
    if (function == NULL) {
        return NULL;
    }
    PyObject *stack[3] = {self};
    for (Py_ssize_t i = 0; i < count && i < 2; i++) {
        stack[i + 1] = args[i];
    }
    PyObject *result = PyObject_Vectorcall(function, stack, (size_t)count + 1, NULL);
    Py_DECREF(function);
    return result;
}

PyObject *
transport_call_protocol(TransportCore *self, PyObject *name, PyObject *arg)
{
    if (self->protocol == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *protocol = Py_NewRef(self->protocol); /* the callback may set another one */
    PyObject *result = arg != NULL ? PyObject_CallMethodOneArg(protocol, name, arg)
                                   : PyObject_CallMethodNoArgs(protocol, name);
    Py_DECREF(protocol);
    return result;
}

int
transport_fatal_error(PyObject *self, const char *message)
{
    if (raised_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *outer = begin_handling(exc);
    PyObject *result = PyObject_CallMethod(self, "_fatal_error", "Os", exc, message);
    end_handling(outer);
    Py_DECREF(exc);
    return drop_result(result);
}

/* ---- the type -------------------------------------------------------------------------------- */

PyTypeObject *
transport_add_type(PyObject *module, PyType_Spec *spec, PyObject *base)
{
    PyTypeObject *type = PyType_Check(base) ? (PyTypeObject *)base : NULL;
    if (type == NULL || type->tp_basicsize > (Py_ssize_t)offsetof(TransportCore, loop) ||
        type->tp_dictoffset != 0 || type->tp_weaklistoffset != 0 || type->tp_itemsize != 0) {
        PyErr_Format(PyExc_ImportError, "fastaio does not know the layout of %R", base);
        return NULL;
    }
    return state_add_type(module, spec, base);
}
