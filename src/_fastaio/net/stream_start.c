/* stream_start.c: the beginning of a stream connection, and what the poller reports of it. */
#include "net/stream_start.h"

#include "base/asyncio_versions.h"
#include "net/sockobj.h"
#include "net/stream_base.h"
#include "net/stream_flush.h"
#include "net/stream_read.h"
#include "net/stream_send.h"
#include "task/future.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* ---- events ---------------------------------------------------------------------------------- */

/* Offer the kernel again what it has refused. */
static int
flush_refused(StreamObject *self)
{
    self->out.has_room = false;
    if (self->out.scattered) {
        return stream_fail_scattered(self);
    }
    self->out.writable = true;
    return stream_flush(self);
}

static int
flush_if_room(LoopObject *Py_UNUSED(loop), PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    return self->out.has_room ? stream_run_in(self, self->context, flush_refused) : 0;
}

/* Read, then offer the kernel the output that it has refused. As on asyncio, a read that ends the
   connection leaves the output unsent, so a failed send cannot hide the cause of the end. */
static int
read_and_flush(StreamObject *self)
{
    /* This entry flushes if the read raises what leaves the loop, or runs the loop itself. */
    if (loop_call_native(self->loop, flush_if_room, (PyObject *)self) < 0 ||
        stream_read(self) < 0) {
        return -1;
    }
    return self->out.has_room ? flush_refused(self) : 0;
}

/* Send new output, then read. Used when the connection has ended or failed: on asyncio write() has
   sent that output before the read finds the cause. */
static int
flush_and_read(StreamObject *self)
{
    return stream_flush(self) < 0 ? -1 : stream_read(self);
}

static bool
stream_has_lost_fd(PyObject *op)
{
    const StreamObject *self = (StreamObject *)op;
    return stream_fd(self) != self->sock.fd;
}

static int
stream_io(LoopObject *Py_UNUSED(loop), PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    uint32_t events = io_take_events(&self->sock.io);
    bool blocked = !self->out.writable;
    if (self->life.conn_lost) {
        return 0;
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        self->in.readable = true;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        self->in.hung_up = true;
    }
    /* io_uring reports EPOLLPRI with ordinary data too: that costs a sockatmark() per read there. */
    if (events & EPOLLPRI) {
        self->in.urgent = true;
    }
    if (blocked && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
        if (self->out.pieces.count) {
            self->out.has_room = true;
            return stream_run_in(self, self->context, read_and_flush);
        }
        self->out.writable = true;
    }
    if (!self->in.readable || !stream_may_read(self)) {
        return 0;
    }
    /* After the end of the connection, output that is queued already is sent before the read. */
    bool ended = (events & (EPOLLHUP | EPOLLERR)) && self->out.pieces.count;
    return stream_run_in(self, self->context, ended ? flush_and_read : stream_read);
}

/* ---- what the socket is ---------------------------------------------------------------------- */

/* Set extra[key] to sock.method(), or to None if the method raises OSError. */
static int
add_address(PyObject *extra, PyObject *sock, PyObject *key, PyObject *method)
{
    PyObject *address = PyObject_CallMethodNoArgs(sock, method);
    if (address == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_OSError)) {
            return -1;
        }
        PyErr_Clear();
        address = Py_NewRef(Py_None);
    }
    int rc = PyDict_SetItem(extra, key, address);
    Py_DECREF(address);
    return rc;
}

/* Fill the dict of get_extra_info(). Addresses are read now: the kernel does not know them once the
   peer is gone. */
static int
fill_extra(StreamObject *self, fastaio_state *st, PyObject *sock)
{
    PyObject *extra = self->extra;
    Py_XSETREF(self->sock.shown, PyObject_CallOneArg(st->TransportSocket, sock));
    if (self->sock.shown == NULL ||
        PyDict_SetItem(extra, st->str_socket, self->sock.shown) < 0 ||
        add_address(extra, sock, st->str_sockname, st->str_getsockname) < 0) {
        return -1;
    }
    int known = PyDict_Contains(extra, st->str_peername);
    if (known != 0) {
        return known < 0 ? -1 : 0;
    }
    return add_address(extra, sock, st->str_peername, st->str_getpeername);
}

static int
get_int(PyObject *obj, PyObject *name, bool call, long *value)
{
    PyObject *number = call ? PyObject_CallMethodNoArgs(obj, name) : PyObject_GetAttr(obj, name);
    *value = number != NULL ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    return *value == -1 && PyErr_Occurred() ? -1 : 0;
}

static int
get_socket_option(int fd, int option)
{
    int value;
    socklen_t size = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

/* Ask the kernel for the kind of a socket whose Python object does not say that it is TCP. */
static SocketKind
ask_kind(int fd)
{
    switch (get_socket_option(fd, SO_DOMAIN)) {
    case AF_UNIX:
        return get_socket_option(fd, SO_TYPE) == SOCK_STREAM ? SOCKET_UNIX : SOCKET_OTHER;
    case AF_INET:
    case AF_INET6:
        return get_socket_option(fd, SO_PROTOCOL) == IPPROTO_TCP ? SOCKET_TCP : SOCKET_OTHER;
    default:
        return SOCKET_OTHER;
    }
}

/* Find the kind of the socket. Set TCP_NODELAY where asyncio does. Return 0, or -1 with an
   exception. */
static int
inspect_socket(StreamObject *self, fastaio_state *st, PyObject *sock)
{
    long fd, proto;
    if (get_int(sock, st->str_fileno, true, &fd) < 0) {
        return -1;
    }
    self->sock.fd = (int)fd;
    self->sock.foreign = !Py_IS_TYPE(sock, (PyTypeObject *)st->socket_type);
    if (self->sock.foreign || *compat_socket_fd(sock) != self->sock.fd) {
        return drop_result(PyObject_CallOneArg(st->set_nodelay, sock));
    }
    self->sock.fd_ptr = compat_socket_fd(sock);
    if (get_int(sock, st->str_proto, false, &proto) < 0) {
        return -1;
    }
    if (proto != IPPROTO_TCP) {
        self->sock.kind = ask_kind(self->sock.fd);
        return 0;
    }
    int on = 1;
    if (setsockopt(self->sock.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    self->sock.kind = SOCKET_TCP;
    return 0;
}

/* ---- another protocol, another socket -------------------------------------------------------- */

int
stream_use_protocol(StreamObject *self, fastaio_state *st, PyObject *protocol)
{
    int buffered = PyObject_IsInstance(protocol, st->asyncio_BufferedProtocol);
    const NativeFeed *native = &st->native_feed;
    int takes = buffered > 0 && self->loop != NULL ? native->takes(self->loop, protocol) : 0;
    if (buffered < 0 || takes < 0) {
        return -1;
    }
    int streams = PyObject_IsInstance(protocol, st->asyncio_FlowControlMixin);
    if (streams < 0) {
        return -1;
    }
    self->sink.buffered = buffered;
    self->sink.streams = streams;
    self->sink.feed = takes ? native->feed : NULL;
    /* The end of the old protocol may run code that sets another one: drop it last. */
    PyObject *old = section_swap((PyObject *)self, &self->sink.protocol, Py_NewRef(protocol));
    streamreader_unlink(&self->sink.reader);
    int rc = self->loop != NULL ? streamreader_adopt(self->loop, protocol, &self->sink.reader) : 0;
    Py_XDECREF(old);
    return rc;
}

/* Test suites wrap the socket of a living transport to see it fail. */
int
stream_use_socket(StreamObject *self, PyObject *sock)
{
    fastaio_state *st = self->loop->st;
    PyObject *old = self->sock.obj;
    Py_INCREF(sock);
    loop_flush_cancel(&self->out.flush);
    self->sock.obj = NULL;
    self->sock.fd_ptr = NULL;
    int rc = stream_drop_io_ref(self, st, old);
    if (rc == 0) {
        rc = stream_take_io_ref(self, st, sock);
    }
    Py_XDECREF(old);
    Py_CLEAR(self->sock.shown);
    self->sock.obj = sock;
    self->sock.foreign = !Py_IS_TYPE(sock, (PyTypeObject *)st->socket_type);
    if (!self->sock.foreign && *compat_socket_fd(sock) == self->sock.fd) {
        self->sock.fd_ptr = compat_socket_fd(sock);
    }
    if (self->out.pieces.count && self->out.writable) {
        loop_flush_later(self->loop, &self->out.flush);
    }
    return rc;
}

/* ---- setting up ------------------------------------------------------------------------------ */

/* Set the waiter's result unless it is cancelled. Return 0, or -1 with an exception. */
static int
complete_waiter(fastaio_state *st, PyObject *waiter)
{
    if (Py_IS_TYPE(waiter, st->FutureType)) {
        return future_set_result_unless_cancelled(&((FutureObject *)waiter)->core, Py_None);
    }
    PyObject *args[] = {waiter, Py_None};
    return drop_result(PyObject_Vectorcall(st->set_result_unless_cancelled, args, 2, NULL));
}

/* Start to read, then set the waiter's result. connection_made() has been called. */
static int
stream_start(LoopObject *loop, PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    int rc = 0;
    if (!self->life.conn_lost && self->loop != NULL) {
        self->life.started = true;
        if (stream_watch(self) < 0) {
            rc = stream_fatal_raised(self, "Fatal read error on socket transport");
        }
    }
    if (self->life.waiter != NULL) {
        PyObject *waiter = self->life.waiter;
        self->life.waiter = NULL;
        PyObject *failure = PyErr_GetRaisedException();
        int set = complete_waiter(loop->st, waiter);
        Py_DECREF(waiter);
        if (failure != NULL) {
            PyErr_SetRaisedException(failure);
        }
        else if (set < 0) {
            rc = -1;
        }
    }
    return rc;
}

/* Queue connection_made(), then reading and the waiter: the order of asyncio's constructor. */
static int
queue_start(StreamObject *self, LoopObject *loop, PyObject *protocol)
{
    PyObject *made = PyObject_GetAttr(protocol, loop->st->str_connection_made);
    if (made == NULL) {
        return -1;
    }
    PyObject *context = CONNECTION_HAS_ONE_CONTEXT ? self->context : NULL;
    int rc = loop_call_soon_in(loop, context, made, (PyObject *)self);
    Py_DECREF(made);
    return rc < 0 ? -1 : loop_call_native(loop, stream_start, (PyObject *)self);
}

/* Undo a set-up that has failed. The raised exception stays raised, and the socket the caller's. */
static void
undo_set_up(StreamObject *self, fastaio_state *st)
{
    PyObject *failure = PyErr_GetRaisedException();
    stream_drop_output(self); /* first: the server or the protocol may have written */
    if (self->sock.obj != NULL && stream_drop_io_ref(self, st, self->sock.obj) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    relaxed_store(&self->life.closing, true);
    self->life.conn_lost = 1;
    self->sock.fd_ptr = NULL;
    if (self->server != NULL && stream_detach(self, st, self->server) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    Py_CLEAR(self->sock.obj);
    Py_CLEAR(self->sock.shown);
    Py_CLEAR(self->server);
    section_set((PyObject *)self, &self->sink.protocol, NULL);
    Py_CLEAR(self->life.waiter);
    Py_CLEAR(self->loop);
    PyErr_SetRaisedException(failure);
}

int
stream_set_up(StreamObject *self, LoopObject *loop, PyObject *sock, PyObject *protocol,
              PyObject *waiter, PyObject *extra, PyObject *server)
{
    fastaio_state *st = loop->st;
    if (self->context != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the transport is initialised already");
        return -1;
    }
    Section section;
    section_begin(&section, (PyObject *)self); /* other threads may look at these */
    self->out.high_water = STREAM_LARGE;
    self->out.low_water = STREAM_LARGE / 4;
    section_end(&section);
    try_ref_enable((PyObject *)self);
    self->sock.io = (IoWatcher){
        .owner = (PyObject *)self, .run = stream_io, .lost_fd = stream_has_lost_fd, .fd = -1};
    self->out.flush =
        (FlushNode){.owner = (PyObject *)self, .flush = stream_flush_entry, .keep = stream_keep};
    self->sock.fd = -1;
    self->out.writable = true;
    if (loop_check_closed(loop) < 0) {
        return -1;
    }
    section_set((PyObject *)self, &self->extra, extra != NULL ? Py_NewRef(extra) : PyDict_New());
    self->context = PyContext_CopyCurrent();
    if (self->extra == NULL || self->context == NULL || fill_extra(self, st, sock) < 0 ||
        inspect_socket(self, st, sock) < 0) {
        return -1;
    }
    self->loop = (LoopObject *)Py_NewRef(loop);
    home_set(&self->home, (PyObject *)loop);
    self->sock.obj = Py_NewRef(sock);
    self->life.waiter = Py_XNewRef(waiter);
    if (stream_use_protocol(self, st, protocol) < 0 || stream_take_io_ref(self, st, sock) < 0) {
        goto error;
    }
    if (server != NULL) {
        if (stream_attach(self, st, server) < 0) {
            goto error;
        }
        self->server = Py_NewRef(server);
    }
    if (queue_start(self, loop, protocol) < 0) {
        goto error;
    }
    relaxed_add(&loop->metrics.connections_made, 1);
    return 0;
error:
    undo_set_up(self, st);
    return -1;
}
