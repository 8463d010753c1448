/* tls_state.c: what TLS keeps in the module's state, and the start of the room. */
#include "tls/tls_state.h"

#include "tls/tls_object.h"
#include "tls/tls_read.h"
#include "tls/tls_transport.h"
#include "tls/tls_type.h"

/* ---- the start ------------------------------------------------------------------------------- */

/* Take what asyncio.sslproto has. */
static int
take_sslproto(TlsState *tls, PyObject *sslproto)
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
    tls->wire_closing_counts = PyObject_HasAttrString(protocol, "_is_transport_closing");
    Py_DECREF(protocol);
    return 0;
}

/* Take what ssl and _ssl have. A Python without them has no TLS: return 0. */
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
        (tls->again_errors = PyObject_GetAttrString(sslproto, "SSLAgainErrors")) != NULL &&
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

/* Return whether tls_feed() does what the protocol's get_buffer() and buffer_updated() do: 1, 0, or
   -1 with an exception. */
static int
takes_feed(LoopObject *loop, PyObject *protocol)
{
    TlsState *tls = loop->st->tls;
    if (!PyObject_TypeCheck(protocol, tls->ProtocolType) || ((TlsObject *)protocol)->loop != loop) {
        return 0;
    }
    PyObject *method =
        PyObject_GetAttr((PyObject *)Py_TYPE(protocol), loop->st->str_buffer_updated);
    Py_XDECREF(method);
    return method == NULL ? -1 : method == tls->feed_method;
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
    int rc = sslproto != NULL && take_sslproto(st->tls, sslproto) == 0 ? take_ssl(st->tls, sslproto)
                                                                       : -1;
    Py_XDECREF(sslproto);
    if (rc < 0 || tls_protocol_type_init(module) < 0) {
        return -1;
    }
    st->native_feed = (NativeFeed){.takes = takes_feed, .feed = tls_feed};
    return tls_transport_type_init(module);
}

/* ---- the life of the state ------------------------------------------------------------------- */

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
    Py_VISIT(tls->again_errors);
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
    Py_CLEAR(tls->again_errors);
    Py_CLEAR(tls->SSLObject);
    Py_CLEAR(tls->SSLObject_read);
    Py_CLEAR(tls->SSLObject_write);
    Py_CLEAR(tls->SSLObject_pending);
    Py_CLEAR(tls->MemoryBIO);
    Py_CLEAR(tls->SSLSocket);
    openssl_unload(&tls->openssl);
    PyMem_Free(tls);
}
