/* tls_transport.c: the transport that an application over TLS writes to, and the rooms' state.
 *
 * What is asked once stays asyncio's, in fastaio/tls.py's class; here is what a
 * protocol calls for every message.
 */
#include "tls/tls_impl.h"

#include "net/stream.h"

#include <structmember.h>

/* ---- making and freeing ---------------------------------------------------------------------- */

static int
transport_traverse(PyObject *op, visitproc visit, void *arg)
{
    TlsTransportObject *self = (TlsTransportObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->extra);
    Py_VISIT(self->loop);
    Py_VISIT(self->protocol);
    return 0;
}

static int
transport_clear(PyObject *op)
{
    TlsTransportObject *self = (TlsTransportObject *)op;
    Py_CLEAR(self->extra);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->protocol);
    return 0;
}

static PyObject *
transport_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    TlsTransportObject *self = (TlsTransportObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->closed = 1; /* until asyncio's constructor has run there is nothing to close */
    }
    return (PyObject *)self;
}

static void
transport_drop(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    transport_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static void
transport_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    DEALLOC_BOUNDED(op, transport_dealloc, transport_drop);
}

/* ---- methods --------------------------------------------------------------------------------- */

/* The native protocol, borrowed; NULL where there is another, or none: then asyncio's way. */
static TlsObject *
native(TlsTransportObject *self, fastaio_state *st)
{
    if (self->protocol == NULL || !PyObject_TypeCheck(self->protocol, st->tls->ProtocolType) ||
        ((TlsObject *)self->protocol)->loop == NULL) {
        return NULL;
    }
    return (TlsObject *)self->protocol;
}

static PyObject *
ask_protocol(TlsTransportObject *self, const char *method, PyObject *arg)
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
    TlsObject *protocol = native(self, st);
    if (protocol == NULL) {
        PyObject *tuple = PyTuple_Pack(1, data);
        PyObject *result = tuple != NULL ? ask_protocol(self, "_write_appdata", tuple) : NULL;
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
    return ask_protocol((TlsTransportObject *)op, "_write_appdata", list_of_data);
}

/* StreamWriter.drain() asks, and behind it the kernel has been offered what was written. From 3.14's
   last releases on, what closes below closes here. */
static PyObject *
transport_is_closing(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TlsTransportObject *self = (TlsTransportObject *)op;
    fastaio_state *st = state_of_type(Py_TYPE(op));
    if (st == NULL) {
        return NULL;
    }
    TlsObject *protocol = native(self, st);
    if (protocol != NULL && protocol->streams && loop_flush_before(protocol->loop) < 0) {
        return NULL;
    }
    if (self->closed || !st->tls->asks_wire) {
        return PyBool_FromLong(self->closed);
    }
    protocol = native(self, st);
    int closing = protocol == NULL || protocol->transport == NULL
                      ? -1
                      : stream_query_closing(st, protocol->transport);
    return closing >= 0 ? PyBool_FromLong(closing)
                        : ask_protocol(self, "_is_transport_closing", NULL);
}

static PyObject *
transport_pause_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return ask_protocol((TlsTransportObject *)op, "_pause_reading", NULL);
}

static PyObject *
transport_resume_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return ask_protocol((TlsTransportObject *)op, "_resume_reading", NULL);
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
    TlsObject *protocol = native(self, st);
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
     PyDoc_STR("write($self, data)\n--\n\nEncrypt and send bytes; what cannot go yet waits.")},
    {"writelines", KEYWORDS(transport_writelines_call), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("writelines($self, list_of_data)\n--\n\nSend the bytes of all of these, in order.")},
    {"is_closing", transport_is_closing, METH_NOARGS,
     PyDoc_STR("is_closing($self, /)\n--\n\nTell whether the connection closes or is closed.")},
    {"pause_reading", transport_pause_reading, METH_NOARGS,
     PyDoc_STR("pause_reading($self, /)\n--\n\nGive the protocol nothing until resume_reading().")},
    {"resume_reading", transport_resume_reading, METH_NOARGS,
     PyDoc_STR(
         "resume_reading($self, /)\n--\n\nGive the protocol what arrives, and what has arrived.")},
    {"get_extra_info", KEYWORDS(transport_get_extra_info), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "get_extra_info($self, name, default=None)\n--\n\n"
         "What is known of the connection: 'ssl_object', 'sslcontext', 'peercert', 'cipher',\n"
         "'compression', and what the transport below knows.")},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef transport_members[] = {
    {"_loop", T_OBJECT, offsetof(TlsTransportObject, loop), 0, NULL},
    {"_ssl_protocol", T_OBJECT, offsetof(TlsTransportObject, protocol), 0, NULL},
    {"_closed", T_BOOL, offsetof(TlsTransportObject, closed), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot transport_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("What asyncio's transport over TLS does for each message.")},
    {Py_tp_new, transport_new},
    {Py_tp_dealloc, transport_dealloc},
    {Py_tp_traverse, transport_traverse},
    {Py_tp_clear, transport_clear},
    {Py_tp_methods, transport_methods},
    {Py_tp_members, transport_members},
    {0, NULL},
};

static PyType_Spec transport_spec = {
    .name = "fastaio._fastaio.TlsTransport",
    .basicsize = sizeof(TlsTransportObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = transport_slots,
};

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
    return st->tls->TransportType != NULL ? 0 : -1;
}

/* ---- the rooms' state ------------------------------------------------------------------------ */

static int
take_modes(TlsState *tls, PyObject *sslproto)
{
    static const char *const names[TLS_MODES] = {
        [TLS_UNWRAPPED] = "UNWRAPPED", [TLS_HANDSHAKE] = "DO_HANDSHAKE", [TLS_WRAPPED] = "WRAPPED",
        [TLS_FLUSHING] = "FLUSHING",   [TLS_SHUTDOWN] = "SHUTDOWN",
    };
    PyObject *states = PyObject_GetAttrString(sslproto, "SSLProtocolState");
    if (states == NULL) {
        return -1;
    }
    for (int mode = 0; mode < TLS_MODES; mode++) {
        tls->modes[mode] = PyObject_GetAttrString(states, names[mode]);
        if (tls->modes[mode] == NULL) {
            Py_DECREF(states);
            return -1;
        }
    }
    Py_DECREF(states);
    PyObject *protocol = PyObject_GetAttrString(sslproto, "SSLProtocol");
    if (protocol == NULL) {
        return -1;
    }
    tls->asks_wire = PyObject_HasAttrString(protocol, "_is_transport_closing");
    Py_DECREF(protocol);
    return 0;
}

/* What ssl has; a Python without it has no TLS. */
static int
take_ssl(TlsState *tls, PyObject *sslproto)
{
    PyObject *ssl = PyImport_ImportModule("ssl");
    if (ssl == NULL) {
        if (PyErr_ExceptionMatches(PyExc_ImportError)) {
            PyErr_Clear();
            return 0;
        }
        return -1;
    }
    PyObject *inner = PyImport_ImportModule("_ssl");
    int rc = -1;
    if (inner != NULL &&
        (tls->again = PyObject_GetAttrString(sslproto, "SSLAgainErrors")) != NULL &&
        (tls->SSLObject = PyObject_GetAttrString(ssl, "SSLObject")) != NULL &&
        (tls->SSLObject_read = PyObject_GetAttrString(tls->SSLObject, "read")) != NULL &&
        (tls->SSLObject_write = PyObject_GetAttrString(tls->SSLObject, "write")) != NULL &&
        (tls->SSLObject_pending = PyObject_GetAttrString(tls->SSLObject, "pending")) != NULL &&
        (tls->MemoryBIO = PyObject_GetAttrString(ssl, "MemoryBIO")) != NULL &&
        (tls->SSLSocket = PyObject_GetAttrString(inner, "_SSLSocket")) != NULL) {
        rc = 0;
    }
    Py_XDECREF(inner);
    Py_DECREF(ssl);
    return rc;
}

int
tls_types_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->tls = PyMem_Calloc(1, sizeof(*st->tls));
    if (st->tls == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyObject *sslproto = PyImport_ImportModule("asyncio.sslproto");
    int rc =
        sslproto != NULL && take_modes(st->tls, sslproto) == 0 ? take_ssl(st->tls, sslproto) : -1;
    Py_XDECREF(sslproto);
    if (rc < 0 || tls_protocol_type_init(module) < 0) {
        return -1;
    }
    st->native_feed = (NativeFeed){.takes = tls_takes_feed, .feed = tls_feed};
    return tls_transport_type_init(module);
}

int
tls_state_traverse(fastaio_state *st, visitproc visit, void *arg)
{
    TlsState *tls = st->tls;
    if (tls == NULL) {
        return 0;
    }
    Py_VISIT(tls->ProtocolType);
    Py_VISIT(tls->TransportType);
    Py_VISIT(tls->feed_method);
    for (int mode = 0; mode < TLS_MODES; mode++) {
        Py_VISIT(tls->modes[mode]);
    }
    Py_VISIT(tls->again);
    Py_VISIT(tls->SSLObject);
    Py_VISIT(tls->SSLObject_read);
    Py_VISIT(tls->SSLObject_write);
    Py_VISIT(tls->SSLObject_pending);
    Py_VISIT(tls->MemoryBIO);
    Py_VISIT(tls->SSLSocket);
    return 0;
}

void
tls_state_clear(fastaio_state *st)
{
    TlsState *tls = st->tls;
    if (tls == NULL) {
        return;
    }
    st->tls = NULL;
    Py_CLEAR(tls->ProtocolType);
    Py_CLEAR(tls->TransportType);
    Py_CLEAR(tls->feed_method);
    for (int mode = 0; mode < TLS_MODES; mode++) {
        Py_CLEAR(tls->modes[mode]);
    }
    Py_CLEAR(tls->again);
    Py_CLEAR(tls->SSLObject);
    Py_CLEAR(tls->SSLObject_read);
    Py_CLEAR(tls->SSLObject_write);
    Py_CLEAR(tls->SSLObject_pending);
    Py_CLEAR(tls->MemoryBIO);
    Py_CLEAR(tls->SSLSocket);
    openssl_unload(&tls->openssl);
    PyMem_Free(tls);
}
