/* datagram_kind.c: what kind of socket a datagram transport has, and reports of its errors. */
#include "net/datagram_kind.h"

#include "base/error.h"
#include "base/state.h"

#include <errno.h>

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
        self->core.native == NULL) {
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
    self->has_peer = has_peer(fd);
    self->unnamed_peer = !connected && self->family == AF_UNIX && self->has_peer;
    self->plain = intact && type == SOCK_DGRAM &&
                  (self->family == AF_INET || self->family == AF_INET6 || self->family == AF_UNIX);
    self->socket_tag = compat_type_tag((PyTypeObject *)st->socket_type);
    self->core.inspected = self->socket_tag != 0;
    return 0;
}

int
datagram_check_plain(DatagramObject *self, fastaio_state *st)
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

int
datagram_report_errno(DatagramObject *self, fastaio_state *st)
{
    PyErr_SetFromErrno(PyExc_OSError);
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *outer = begin_handling(exc);
    PyObject *result = transport_call_protocol(&self->core, st->str_error_received, exc);
    end_handling(outer);
    Py_DECREF(exc);
    return drop_result(result);
}

static bool
has_plain_socket(const DatagramObject *self, fastaio_state *st)
{
    PyObject *sock = self->core.file;
    return sock != NULL && Py_IS_TYPE(sock, (PyTypeObject *)st->socket_type);
}

int
datagram_fd(const DatagramObject *self, fastaio_state *st)
{
    return has_plain_socket(self, st) ? *compat_socket_fd(self->core.file) : -1;
}

bool
datagram_is_detached(const DatagramObject *self, fastaio_state *st)
{
    return has_plain_socket(self, st) && *compat_socket_fd(self->core.file) < 0;
}
