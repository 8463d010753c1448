/* datagram.c: the native half of the transport of UDP and Unix datagrams.
 *
 * A mixin in front of asyncio's datagram transport. The plain cases are native: exactly
 * socket.socket, a datagram that the kernel takes immediately, an address without a name to look
 * up. asyncio's methods serve all others: another type of socket, a full queue, a wrong argument.
 */
#include "net/datagram.h"
#include "base/error.h"
#include "base/kernel.h"
#include "net/inetaddr.h"
#include "transport/half.h"

#include <errno.h>
#include <structmember.h>

/* The most datagrams that a turn receives, so that a flood of them does not starve other work. */
#define MAX_PER_TURN 32

typedef struct {
    TransportCore core;
    PyObject *address;     /* _address: the only one that may be sent to; NULL or None: any */
    PyObject *buffer_size; /* _buffer_size: asyncio's; the native half does not use it */
    unsigned socket_tag;   /* the version of the type socket.socket when the socket was inspected */
    int family;            /* AF_ */
    int burst_count;       /* datagrams to receive in a turn: as many as lately came together */
    bool plain;            /* the native methods serve the socket */
    bool connected;        /* extra["peername"] is set: asyncio sends by send() */
    char unnamed_peer;     /* the peer has no name, as in a socketpair: sendto() needs no address */
    AddressCache cache;
} DatagramObject;

/* ---- the kind of socket ---------------------------------------------------------------------- */

/* Return 1 if socket.socket still has the methods of the class that it extends, 0 if one is
   replaced, -1 with an exception. */
static int
is_socket_type_intact(fastaio_state *st)
{
    PyObject *names[] = {st->str_recvfrom, st->str_send, st->str_sendto};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(names); i++) {
        PyObject *now, *native;
        if (PyObject_GetOptionalAttr(st->socket_type, names[i], &now) < 0) {
            return -1;
        }
        if (PyObject_GetOptionalAttr(st->socket_base, names[i], &native) < 0) {
            Py_XDECREF(now);
            return -1;
        }
        Py_XDECREF(now);
        Py_XDECREF(native);
        if (now != native) {
            return 0;
        }
    }
    return 1;
}

/* Return 1 if extra["peername"] is true, else 0; -1 with an exception. asyncio calls send() in the
   first case, sendto() in the second. */
static int
has_peername(PyObject *op, fastaio_state *st)
{
    PyObject *extra, *peer = NULL;
    if (PyObject_GetOptionalAttr(op, st->str__extra, &extra) < 0) {
        return -1;
    }
    int rc = extra != NULL && PyDict_Check(extra)
                 ? PyDict_GetItemRef(extra, st->str_peername, &peer)
                 : 0;
    Py_XDECREF(extra);
    if (rc > 0) {
        rc = PyObject_IsTrue(peer);
        Py_DECREF(peer);
    }
    return rc;
}

/* Return whether the kernel knows a peer of the socket. */
static bool
has_peer(int fd)
{
    SockAddr peer;
    socklen_t size = sizeof(peer);
    return getpeername(fd, &peer.any, &size) == 0;
}

/* Find out what kind of socket the transport has. Return 0, or -1 with an exception. */
static int
inspect_socket(DatagramObject *self, fastaio_state *st)
{
    PyObject *sock = self->core.file;
    int type = 0;
    socklen_t size = sizeof(int);
    self->plain = false;
    if (!Py_IS_TYPE(sock, (PyTypeObject *)st->socket_type) ||
        transport_loop(&self->core, st) == NULL) {
        return 0;
    }
    int fd = *compat_socket_fd(sock);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &self->family, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0) {
        return 0;
    }
    int intact = is_socket_type_intact(st);
    int connected = intact < 0 ? -1 : has_peername((PyObject *)self, st);
    if (connected < 0) {
        return -1;
    }
    self->connected = connected;
    self->unnamed_peer = !connected && self->family == AF_UNIX && has_peer(fd);
    self->plain = intact && type == SOCK_DGRAM &&
                  (self->family == AF_INET || self->family == AF_INET6 || self->family == AF_UNIX);
    self->socket_tag = compat_type_tag((PyTypeObject *)st->socket_type);
    self->core.inspected = self->socket_tag != 0;
    return 0;
}

/* Inspect the socket if it, or its type, has changed. Return 1 if the native methods can serve it,
   0 if asyncio's are to, -1 with an exception. */
static int
check_plain(DatagramObject *self, fastaio_state *st)
{
    if (self->core.file == NULL) {
        return 0;
    }
    if (!self->core.inspected ||
        self->socket_tag != compat_type_tag((PyTypeObject *)st->socket_type)) {
        if (inspect_socket(self, st) < 0) {
            return -1;
        }
        PyObject *sock = self->core.file;
        if (sock == NULL || !Py_IS_TYPE(sock, (PyTypeObject *)st->socket_type)) {
            return 0; /* Python code that the inspection ran has set another socket */
        }
    }
    return self->plain;
}

/* ---- receiving ------------------------------------------------------------------------------- */

typedef enum { FAILED = -1, NOTHING, RECEIVED } Received;

/* Call protocol.error_received() with the OSError of errno. Return 0, or -1 with an exception. */
static int
report_errno(DatagramObject *self, fastaio_state *st)
{
    PyErr_SetFromErrno(PyExc_OSError);
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *outer = begin_handling(exc);
    PyObject *result = transport_call_protocol(&self->core, st->str_error_received, exc);
    end_handling(outer);
    Py_DECREF(exc);
    return drop_result(result);
}

/* Return whether the user has detached or closed the socket. */
static bool
is_detached(const DatagramObject *self, fastaio_state *st)
{
    PyObject *sock = self->core.file;
    return sock != NULL && Py_IS_TYPE(sock, (PyTypeObject *)st->socket_type) &&
           *compat_socket_fd(sock) < 0;
}

/* End a transport whose socket is detached. The descriptor has another owner now, and the transport
   does not read what it reports: the events would never end. Return 0, or -1 with what leaves the
   loop. */
static int
fail_detached(DatagramObject *self)
{
    errno = EBADF;
    PyErr_SetFromErrno(PyExc_OSError);
    return transport_fatal_error((PyObject *)self, "Fatal read error on datagram transport");
}

/* Pass a datagram to the protocol. Return 0, or -1 with an exception. */
static int
deliver_datagram(DatagramObject *self, fastaio_state *st, const char *data, ssize_t count,
        const SockAddr *from, socklen_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize(data, count);
    PyObject *address = bytes ? address_to_python(&self->cache, from, size) : NULL;
    if (address == NULL) {
        Py_XDECREF(bytes);
        return transport_fatal_error((PyObject *)self, "Fatal read error on datagram transport");
    }
    /* Own the protocol: the callback may set another one. */
    PyObject *protocol = self->core.protocol;
    PyObject *args[] = {Py_NewRef(protocol ? protocol : Py_None), bytes, address};
    PyObject *result = PyObject_VectorcallMethod(st->str_datagram_received, args, 3, NULL);
    Py_DECREF(args[0]);
    Py_DECREF(bytes);
    Py_DECREF(address);
    return drop_result(result);
}

/* Receive one datagram and deliver it, or report the error of recvfrom(). RECEIVED stands for both,
   NOTHING for EAGAIN, FAILED for an exception. */
static Received
receive_datagram(DatagramObject *self, fastaio_state *st, LoopObject *loop)
{
    SockAddr from;
    socklen_t size = sizeof(from);
    char *buffer = loop_hot_buffer(loop);
    int fd = *compat_socket_fd(self->core.file);
    if (buffer == NULL) {
        return FAILED;
    }
    memset(&from, 0, sizeof(from.any));
    ssize_t count = kernel_recvfrom(fd, buffer, HOT_BUFFER_SIZE, MSG_DONTWAIT, &from.any, &size);
    if (count >= 0) {
        loop->metrics.bytes_received += (uint64_t)count;
        return deliver_datagram(self, st, buffer, count, &from, size) < 0 ? FAILED : RECEIVED;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        return NOTHING;
    }
    return report_errno(self, st) < 0 ? FAILED : RECEIVED;
}

static PyObject *
datagram_read_ready(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    DatagramObject *self = (DatagramObject *)op;
    fastaio_state *st = state_of_type(Py_TYPE(op));
    if (st == NULL) {
        return NULL;
    }
    if (self->core.conn_lost) {
        Py_RETURN_NONE;
    }
    int received = 0, most = self->burst_count > 1 ? self->burst_count : 1;
    Received last = RECEIVED;
    while (last == RECEIVED && received < most && !self->core.conn_lost && !self->core.closing &&
           !self->core.paused) {
        if (is_detached(self, st)) {
            return fail_detached(self) < 0 ? NULL : Py_NewRef(Py_None);
        }
        int plain = check_plain(self, st);
        LoopObject *loop = plain > 0 ? transport_loop(&self->core, st) : NULL;
        if (loop == NULL || self->core.protocol == NULL) {
            return plain < 0 ? NULL
                             : transport_call_base(st->asyncio_DatagramTransport,
                                                   st->str__read_ready, op, NULL, 0);
        }
        last = receive_datagram(self, st, loop);
        received += last == RECEIVED;
    }
    if (last == NOTHING) {
        self->burst_count = received;
    }
    else if (received == most) { /* the poller reports the rest again: it is level-triggered */
        self->burst_count = most < MAX_PER_TURN / 2 ? 2 * most : MAX_PER_TURN;
    }
    return last == FAILED ? NULL : Py_NewRef(Py_None);
}

/* ---- sending --------------------------------------------------------------------------------- */

/* Find the target of a datagram for *address. Set *address to the transport's own address if that
   is the only one. Set *to and *size; *size 0 stands for the peer of the socket. Return false,
   without an exception, if asyncio's method has to look at the address. */
static bool
find_target(DatagramObject *self, PyObject **address, SockAddr *to, socklen_t *size)
{
    PyObject *only = self->address;
    if (only != NULL && only != Py_None && only != *address) {
        if (*address != Py_None) {
            return false; /* an equal address, or one that asyncio refuses */
        }
        *address = only;
    }
    *size = 0;
    if (self->connected || (self->unnamed_peer && *address == Py_None)) {
        return true;
    }
    *size = address_from_python(&self->cache, self->family, *address, to);
    return *size != 0;
}

/* Handle the raised exception of an audit hook as asyncio handles one of sock.sendto(). Return 0,
   or -1 with an exception. */
static int
report_hook_error(DatagramObject *self, fastaio_state *st)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    bool reported = PyErr_ExceptionMatches(PyExc_OSError);
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *outer = begin_handling(exc);
    PyObject *result =
        reported ? transport_call_protocol(&self->core, st->str_error_received, exc)
                 : PyObject_CallMethod((PyObject *)self, "_fatal_error", "Os", exc,
                                       "Fatal write error on datagram transport");
    end_handling(outer);
    Py_DECREF(exc);
    return drop_result(result);
}

/* Raise the audit event of sock.sendto(). Return 0, or -1 with the exception of a hook. */
static int
audit_sendto(DatagramObject *self, PyObject *address)
{
    PyObject *sock = Py_NewRef(self->core.file); /* a hook may close the transport */
    Py_INCREF(address);
    int rc = PySys_Audit("socket.sendto", "OO", sock, address);
    Py_DECREF(address);
    Py_DECREF(sock);
    return rc;
}

/* Send a datagram. Return 1 if it is sent, or refused and reported; 0 if asyncio's method is to
   send it; -1 with an exception. */
static int
send_now(DatagramObject *self, fastaio_state *st, LoopObject *loop, PyObject *data,
         PyObject *address)
{
    SockAddr to;
    socklen_t size;
    Py_buffer view;
    int fd = *compat_socket_fd(self->core.file);
    if (fd < 0 || !find_target(self, &address, &to, &size)) {
        return 0;
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear(); /* not contiguous */
        return 0;
    }
    if (size != 0 && audit_sendto(self, address) < 0) { /* as in CPython, send() has no event */
        PyBuffer_Release(&view);
        return report_hook_error(self, st) < 0 ? -1 : 1;
    }
    PyObject *sock = self->core.file;
    bool same = sock != NULL && Py_IS_TYPE(sock, (PyTypeObject *)st->socket_type);
    fd = same ? *compat_socket_fd(sock) : -1;
    ssize_t sent =
        kernel_sendto(fd, view.buf, (size_t)view.len, MSG_DONTWAIT, size ? &to.any : NULL, size);
    int error = errno;
    PyBuffer_Release(&view);
    if (sent >= 0) {
        loop->metrics.bytes_sent += (uint64_t)sent;
        loop_io_happened(loop);
        return 1;
    }
    if (error == EAGAIN || error == EWOULDBLOCK || error == EINTR) {
        return 0;
    }
    errno = error;
    return report_errno(self, st) < 0 ? -1 : 1;
}

/* Return whether the transport is open, nothing is queued, and data is of a type that asyncio
   takes. */
static bool
may_send_now(DatagramObject *self, PyObject *data)
{
    if (self->core.conn_lost || self->core.buffer == NULL) {
        return false;
    }
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        return false;
    }
#if PY_VERSION_HEX < 0x030D0000
    if (PyObject_Size(data) <= 0) { /* from 3.13 on asyncio sends an empty datagram */
        PyErr_Clear();
        return false;
    }
#endif
    Py_ssize_t queued = PyObject_Size(self->core.buffer);
    PyErr_Clear();
    return queued == 0;
}

/* transport.sendto(data, address). Return None, or NULL with an exception. */
static PyObject *
send_datagram(PyObject *op, PyObject *data, PyObject *address)
{
    DatagramObject *self = (DatagramObject *)op;
    fastaio_state *st = state_of_type(Py_TYPE(op));
    if (st == NULL) {
        return NULL;
    }
    LoopObject *ours = transport_loop(&self->core, st);
    if (ours != NULL && loop_flush_before(ours) < 0) { /* earlier output goes first */
        return NULL;
    }
    if (may_send_now(self, data)) {
        int plain = check_plain(self, st);
        LoopObject *loop = plain > 0 ? transport_loop(&self->core, st) : NULL;
        int sent = loop != NULL ? send_now(self, st, loop, data, address) : plain < 0 ? -1 : 0;
        if (sent != 0) {
            return sent < 0 ? NULL : Py_NewRef(Py_None);
        }
    }
    if (self->unnamed_peer && address == Py_None) {
        return PyObject_CallMethod(op, "_sendto_peer", "O", data);
    }
    PyObject *args[] = {data, address};
    return transport_call_base(st->asyncio_DatagramTransport, st->str_sendto, op, args, 2);
}

static PyObject *
datagram_sendto(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    if (keywords == NULL && (count == 1 || count == 2)) {
        return send_datagram(op, args[0], count == 2 ? args[1] : Py_None);
    }
    PyObject *data = count > 0 ? args[0] : NULL, *address = count > 1 ? args[1] : NULL;
    const NamedArgument known[] = {{"data", &data}, {"addr", &address}, {NULL, NULL}};
    if (parse_keywords("sendto", known, keywords, args + count) < 0) {
        return NULL;
    }
    if (count > 2 || data == NULL) {
        PyErr_Format(PyExc_TypeError, "sendto() takes 1 or 2 arguments (%zd given)",
                     count + (keywords != NULL ? PyTuple_GET_SIZE(keywords) : 0));
        return NULL;
    }
    return send_datagram(op, data, address != NULL ? address : Py_None);
}

/* ---- the type -------------------------------------------------------------------------------- */

static int
datagram_traverse(PyObject *op, visitproc visit, void *arg)
{
    DatagramObject *self = (DatagramObject *)op;
    Py_VISIT(self->address);
    Py_VISIT(self->buffer_size);
    int rc = address_cache_traverse(&self->cache, visit, arg);
    return rc != 0 ? rc : transport_traverse(op, visit, arg);
}

static int
datagram_clear(PyObject *op)
{
    DatagramObject *self = (DatagramObject *)op;
    Py_CLEAR(self->address);
    Py_CLEAR(self->buffer_size);
    address_cache_clear(&self->cache);
    return transport_clear(op);
}

static PyMethodDef datagram_methods[] = {
    {"sendto", KEYWORDS(datagram_sendto), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("sendto($self, data, addr=None)\n--\n\n"
               "Send a datagram to addr, or to the peer of the endpoint.")},
    {"_read_ready", datagram_read_ready, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef datagram_members[] = {
    TRANSPORT_MEMBERS,
    {"_buffer", T_OBJECT, offsetof(TransportCore, buffer), 0, NULL},
    {"_buffer_size", T_OBJECT, offsetof(DatagramObject, buffer_size), 0, NULL},
    {"_address", T_OBJECT, offsetof(DatagramObject, address), 0, NULL},
    {"_unnamed_peer", T_BOOL, offsetof(DatagramObject, unnamed_peer), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef datagram_getset[] = {
    {"_sock", transport_get_file, transport_set_file, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot datagram_slots[] = {
    {Py_tp_doc, "The native half of fastaio's datagram transport."},
    {Py_tp_new, transport_new},
    {Py_tp_dealloc, transport_dealloc},
    {Py_tp_traverse, datagram_traverse},
    {Py_tp_clear, datagram_clear},
    {Py_tp_methods, datagram_methods},
    {Py_tp_members, datagram_members},
    {Py_tp_getset, datagram_getset},
    {0, NULL},
};

static PyType_Spec datagram_spec = {
    .name = "fastaio._fastaio.DatagramCore",
    .basicsize = sizeof(DatagramObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = datagram_slots,
};

int
datagram_types_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->DatagramCoreType = transport_add_type(module, &datagram_spec, st->asyncio_Transport);
    return st->DatagramCoreType != NULL ? 0 : -1;
}
