/* datagram_send.c: sending datagrams.
 *
 * Each datagram is sent immediately, like asyncio's: its error belongs to the call that sends it. To gather
 * several for one sendmmsg() would save an eighth of a send (see docs/architecture.md), and would report
 * errors after the call, lose pending errors of connected sockets, and lose the datagrams of a program that
 * ends in the same callback.
 */
#include "net/datagram_send.h"

#include "base/asyncio_versions.h"
#include "base/error.h"
#include "base/kernel.h"
#include "net/datagram_kind.h"

#include <errno.h>

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

/* Send a datagram to an address that the caller keeps; size 0: to the peer of `sock`. Return 1 if it is sent,
   or refused and reported; 0 if asyncio's method is to send it; -1 with an exception. */
static int
send_to(DatagramObject *self, fastaio_state *st, PyObject *sock, PyObject *data, PyObject *address,
        const SockAddr *to, socklen_t size)
{
    LoopObject *loop = self->core.native;
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear(); /* not contiguous */
        return 0;
    }
    /* As in CPython, send() has no event. */
    if (size != 0 && PySys_Audit("socket.sendto", "OO", sock, address) < 0) {
        PyBuffer_Release(&view);
        return report_hook_error(self, st) < 0 ? -1 : 1;
    }
    /* A __buffer__() or a hook may have closed the transport. */
    int fd = datagram_fd(self, st);
    ssize_t sent = kernel_sendto(fd, view.buf, (size_t)view.len, MSG_DONTWAIT,
                                 size ? &to->any : NULL, size);
    int error = errno;
    PyBuffer_Release(&view);
    if (sent >= 0) {
        relaxed_add(&loop->metrics.bytes_sent, (uint64_t)sent);
        loop_io_happened(loop);
        return 1;
    }
    if (error == EAGAIN || error == EWOULDBLOCK || error == EINTR) {
        return 0;
    }
    errno = error;
    return datagram_report_errno(self, st) < 0 ? -1 : 1;
}

/* Send a datagram. Return as send_to() does. */
static int
send_now(DatagramObject *self, fastaio_state *st, PyObject *data, PyObject *address)
{
    SockAddr to;
    socklen_t size;
    if (datagram_fd(self, st) < 0 || !find_target(self, &address, &to, &size)) {
        return 0;
    }
    /* The data may have methods in Python, which may drop these. */
    PyObject *loop = Py_NewRef(self->core.loop), *sock = Py_NewRef(self->core.file);
    Py_INCREF(address);
    int sent = send_to(self, st, sock, data, address, &to, size);
    Py_DECREF(address);
    Py_DECREF(sock);
    Py_DECREF(loop);
    return sent;
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
    if (!EMPTY_DATAGRAM_IS_SENT && PyObject_Size(data) <= 0) {
        PyErr_Clear();
        return false;
    }
    Py_ssize_t queued = PyObject_Size(self->core.buffer);
    PyErr_Clear();
    return queued == 0;
}

PyObject *
datagram_send(PyObject *op, PyObject *data, PyObject *address)
{
    DatagramObject *self = (DatagramObject *)op;
    fastaio_state *st = self->core.st;
    LoopObject *ours = self->core.native;
    if (ours != NULL && loop_flush_before(ours) < 0) { /* earlier output goes first */
        return NULL;
    }
    if (may_send_now(self, data)) {
        int plain = datagram_check_plain(self, st);
        bool native = plain > 0 && self->core.native != NULL;
        int sent = native ? send_now(self, st, data, address) : plain < 0 ? -1 : 0;
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
