/* tls_transport.c: the type TlsTransport: a mixin in front of asyncio's transport over TLS.
 *
 * What a protocol calls for each message is C. All else is asyncio's.
 */
#include "tls/tls_transport.h"

#include "loop/ending.h"
#include "net/stream.h"
#include "tls/tls_type.h"
#include "tls/tls_write.h"

#include <structmember.h>

typedef struct {
    PyObject_HEAD
    PyObject *extra;    /* here asyncio.BaseTransport has its slot _extra */
    void *base_room[4]; /* _FlowControlMixin's slots, never used: getters of ours hide these */
    PyObject *loop;
    Home home;          /* `loop`, the first one */
    PyObject *protocol; /* as _ssl_protocol: a TlsObject, or any other object, or NULL */
    bool closed;
} TlsTransportObject;

/* ---- making and freeing ---------------------------------------------------------------------- */

static int
transport_traverse(PyObject *op, visitproc visit, void *arg)
{
    TlsTransportObject *self = (TlsTransportObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->extra);
    Py_VISIT(self->loop);
    HOME_VISIT(&self->home);
    Py_VISIT(self->protocol);
    return 0;
}

static int
transport_clear(PyObject *op)
{
    TlsTransportObject *self = (TlsTransportObject *)op;
    Py_CLEAR(self->extra);
    section_set(op, &self->loop, NULL);
    section_set(op, &self->protocol, NULL);
    return 0;
}

static PyObject *
transport_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    TlsTransportObject *self = (TlsTransportObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->closed = true; /* before asyncio's constructor there is nothing to close */
    }
    return (PyObject *)self;
}

/* Return the loop whose claim guards the transport, borrowed; NULL before __init__(). */
static PyObject *
loop_of(PyObject *op)
{
    return home_loop(&((TlsTransportObject *)op)->home);
}

GUARD_CLEAR(transport_clear, loop_of)
GUARD_DEALLOC(transport_dealloc, loop_of)
ENDING_METHOD(loop_of)

static void
transport_drop(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    transport_clear(op);
    home_drop(&((TlsTransportObject *)op)->home);
    type->tp_free(op);
    Py_DECREF(type);
}

static void
transport_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    DEALLOC_BOUNDED(op, GUARDED(transport_dealloc), transport_drop);
}

/* ---- methods --------------------------------------------------------------------------------- */

/* Return the protocol, borrowed, if it is a native one. Return NULL without an exception
   otherwise. */
static TlsObject *
native_protocol(TlsTransportObject *self, fastaio_state *st)
{
    if (self->protocol == NULL || !PyObject_TypeCheck(self->protocol, st->tls->ProtocolType) ||
        ((TlsObject *)self->protocol)->loop == NULL ||
        home_loop(&((TlsObject *)self->protocol)->home) != home_loop(&self->home)) {
        return NULL;
    }
    return (TlsObject *)self->protocol;
}

/* Call protocol.method(arg), or protocol.method() where arg is NULL. */
static PyObject *
call_protocol(TlsTransportObject *self, const char *method, PyObject *arg)
{
    PyObject *protocol = Py_NewRef(self->protocol != NULL ? self->protocol : Py_None);
    PyObject *result = arg != NULL ? PyObject_CallMethod(protocol, method, "(O)", arg)
                                   : PyObject_CallMethod(protocol, method, NULL);
    Py_DECREF(protocol);
    return result;
}

static PyObject *
transport_write(PyObject *op, PyObject *data)
{
    TlsTransportObject *self = (TlsTransportObject *)op;
    fastaio_state *st = state_of_type(Py_TYPE(op));
    if (st == NULL) {
        return NULL;
    }
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyObject *name = PyType_GetName(Py_TYPE(data));
        if (name != NULL) {
            PyErr_Format(PyExc_TypeError, "data: expecting a bytes-like instance, got %U", name);
            Py_DECREF(name);
        }
        return NULL;
    }
    Py_ssize_t size = PyObject_Size(data);
    if (size <= 0) {
        return size < 0 ? NULL : Py_NewRef(Py_None);
    }
    TlsObject *protocol = native_protocol(self, st);
    if (protocol == NULL) {
        PyObject *tuple = PyTuple_Pack(1, data);
        PyObject *result = tuple != NULL ? call_protocol(self, "_write_appdata", tuple) : NULL;
        Py_XDECREF(tuple);
        return result;
    }
    Py_INCREF(protocol);
    int rc = tls_write(protocol, data);
    Py_DECREF(protocol);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
transport_writelines(PyObject *op, PyObject *list_of_data)
{
    return call_protocol((TlsTransportObject *)op, "_write_appdata", list_of_data);
}

#ifdef Py_GIL_DISABLED

/* What a thread sees that does not get the loop's claim. */

static PyObject *
look_closing(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TlsTransportObject *self = (TlsTransportObject *)op;
    fastaio_state *st = state_of_type(Py_TYPE(op));
    if (st == NULL) {
        return NULL;
    }
    Section section;
    section_begin(&section, op);
    bool closed = self->closed;
    PyObject *protocol = Py_XNewRef(self->protocol);
    section_end(&section);
    PyObject *closing =
        closed || !st->tls->wire_closing_counts ? PyBool_FromLong(closed)
        : protocol == NULL                      ? Py_NewRef(Py_False)
        : PyObject_TypeCheck(protocol, st->tls->ProtocolType)
            ? tls_look_wire_closing((TlsObject *)protocol)
            : PyObject_CallMethod(protocol, "_is_transport_closing", NULL);
    Py_XDECREF(protocol);
    return closing;
}

static PyObject *
look_extra_info(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    TlsTransportObject *self = (TlsTransportObject *)op;
    fastaio_state *st = state_of_type(Py_TYPE(op));
    PyObject *name, *fallback;
    if (st == NULL || parse_extra_info(args, count, keywords, &name, &fallback) < 0) {
        return NULL;
    }
    if (fallback == NULL) {
        fallback = Py_None;
    }
    PyObject *protocol = section_get(op, &self->protocol);
    PyObject *value = protocol == NULL ? Py_NewRef(fallback)
                      : PyObject_TypeCheck(protocol, st->tls->ProtocolType)
                          ? tls_look_extra_info((TlsObject *)protocol, name, fallback)
                          : PyObject_CallMethod(protocol, "_get_extra_info", "OO", name, fallback);
    Py_XDECREF(protocol);
    return value;
}

static PyMethodDef transport_looks[] = {
    {"get_extra_info", KEYWORDS(look_extra_info), METH_FASTCALL | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

#endif

GUARD_IS_CLOSING(transport_is_closing, loop_of, look_closing)

/* StreamWriter.drain() calls this, and must find what was written offered to the kernel. In the
   last releases of 3.14 a closing wire closes this transport, too. */
static PyObject *
transport_is_closing(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TlsTransportObject *self = (TlsTransportObject *)op;
    fastaio_state *st = state_of_type(Py_TYPE(op));
    if (st == NULL) {
        return NULL;
    }
    TlsObject *protocol = native_protocol(self, st);
    if (protocol != NULL && protocol->app.streams && loop_flush_before(protocol->loop) < 0) {
        return NULL;
    }
    if (self->closed || !st->tls->wire_closing_counts) {
        return PyBool_FromLong(self->closed);
    }
    protocol = native_protocol(self, st);
    int closing = protocol == NULL || protocol->wire.transport == NULL
                      ? -1
                      : stream_query_closing(st, protocol->wire.transport);
    return closing >= 0 ? PyBool_FromLong(closing)
                        : call_protocol(self, "_is_transport_closing", NULL);
}

static PyObject *
transport_pause_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return call_protocol((TlsTransportObject *)op, "_pause_reading", NULL);
}

static PyObject *
transport_resume_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return call_protocol((TlsTransportObject *)op, "_resume_reading", NULL);
}

static PyObject *
transport_get_extra_info(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    TlsTransportObject *self = (TlsTransportObject *)op;
    fastaio_state *st = state_of_type(Py_TYPE(op));
    PyObject *name, *fallback;
    if (st == NULL || parse_extra_info(args, count, keywords, &name, &fallback) < 0) {
        return NULL;
    }
    if (fallback == NULL) {
        fallback = Py_None;
    }
    TlsObject *protocol = native_protocol(self, st);
    if (protocol == NULL) {
        PyObject *other = Py_NewRef(self->protocol != NULL ? self->protocol : Py_None);
        PyObject *value = PyObject_CallMethod(other, "_get_extra_info", "OO", name, fallback);
        Py_DECREF(other);
        return value;
    }
    Py_INCREF(protocol);
    PyObject *value = tls_extra_info(protocol, name, fallback);
    Py_DECREF(protocol);
    return value;
}

BY_KEYWORD_TOO(transport_write, "write", "data")
BY_KEYWORD_TOO(transport_writelines, "writelines", "list_of_data")

static PyMethodDef transport_methods[] = {
    {"write", KEYWORDS(transport_write_call), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("write($self, data)\n--\n\nEncrypt and send bytes. Bytes that cannot be sent yet "
               "are queued.")},
    {"writelines", KEYWORDS(transport_writelines_call), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("writelines($self, list_of_data)\n--\n\nWrite the bytes of each item, in order.")},
    {"is_closing", GUARDED(transport_is_closing), METH_NOARGS,
     PyDoc_STR("is_closing($self, /)\n--\n\nTell whether the connection closes or is closed.")},
    {"pause_reading", transport_pause_reading, METH_NOARGS,
     PyDoc_STR(
         "pause_reading($self, /)\n--\n\nDeliver nothing to the protocol until resume_reading().")},
    {"resume_reading", transport_resume_reading, METH_NOARGS,
     PyDoc_STR("resume_reading($self, /)\n--\n\nDeliver to the protocol again.")},
    {"get_extra_info", KEYWORDS(transport_get_extra_info), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("get_extra_info($self, name, default=None)\n--\n\n"
               "Return information on the connection: 'ssl_object', 'sslcontext', 'peercert',\n"
               "'cipher', 'compression', or a name of the transport below.")},
    {NULL, NULL, 0, NULL},
};

static PyObject *
get_loop(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *loop = ((TlsTransportObject *)op)->loop;
    return Py_NewRef(loop != NULL ? loop : Py_None);
}

static int
set_loop(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    TlsTransportObject *self = (TlsTransportObject *)op;
    fastaio_state *st = state_of_type(Py_TYPE(op));
    if (st == NULL) {
        return -1;
    }
    if (value != NULL && loop_is_native(st, value)) {
        home_set(&self->home, value);
    }
    Py_XSETREF(self->loop, Py_XNewRef(value));
    return 0;
}

static PyGetSetDef transport_getset[] = {
    {"_loop", get_loop, set_loop, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef transport_members[] = {
    {"_ssl_protocol", T_OBJECT, offsetof(TlsTransportObject, protocol), 0, NULL},
    {"_closed", T_BOOL, offsetof(TlsTransportObject, closed), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot transport_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The native half of fastaio's transport over TLS.")},
    {Py_tp_new, transport_new},
    {Py_tp_dealloc, GUARDED(transport_dealloc)},
    {Py_tp_traverse, transport_traverse},
    {Py_tp_clear, GUARDED(transport_clear)},
    {Py_tp_methods, transport_methods},
    {Py_tp_members, transport_members},
    {Py_tp_getset, transport_getset},
    {0, NULL},
};

static PyType_Spec transport_spec = {
    .name = "fastaio._fastaio.TlsTransport",
    .basicsize = sizeof(TlsTransportObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = transport_slots,
};

static const char *const free_names[] = {"is_closing", NULL}; /* GUARD_IS_CLOSING() */

static const char *const open_names[] = {"_closed", "_loop", "_ssl_protocol", NULL};

static const GuardRules transport_rules = {
    loop_of, free_names, open_names, GUARD_LOOKS(transport_looks)};

int
tls_transport_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    PyTypeObject *base = (PyTypeObject *)st->asyncio_Transport;
    if (base->tp_basicsize != (Py_ssize_t)offsetof(TlsTransportObject, loop)) {
        PyErr_SetString(PyExc_ImportError,
                        "fastaio does not know the layout of asyncio's transports");
        return -1;
    }
    st->tls->TransportType = state_add_type(module, &transport_spec, st->asyncio_Transport);
    if (st->tls->TransportType == NULL
        || guard_type(st, st->tls->TransportType, &transport_rules) < 0) {
        return -1;
    }
    return ENDING_METHOD_ADD(st->tls->TransportType);
}
