/* stream_life.c: a stream connection from its socket to connection_lost().
 *
 * The Python socket is the one owner of the descriptor.  While the transport
 * lives it holds an I/O reference on it, as makefile() does, so that a user
 * who closes the socket does not free the number under the poller.
 */
#include "base/error.h"
#include "net/sockobj.h"
#include "net/stream_impl.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* ---- helpers --------------------------------------------------------------------------------- */

int
stream_run_in(StreamObject *self, PyObject *context, int (*fn)(StreamObject *))
{
    Py_INCREF(context);
    if (PyContext_Enter(context) < 0) {
        /* A nested run of the loop, from within one of our own callbacks. */
        PyErr_Clear();
        Py_SETREF(context, PyContext_Copy(context));
        if (context == NULL || PyContext_Enter(context) < 0) {
            Py_XDECREF(context);
            return -1;
        }
    }
    int rc = fn(self);
    if (PyContext_Exit(context) < 0) {
        rc = -1;
    }
    Py_DECREF(context);
    return rc;
}

static int
debug_log(StreamObject *self, PyObject *kwargs, const char *format, const char *message)
{
    PyObject *debug = PyObject_GetAttr(self->loop->st->logger, self->loop->st->str_debug);
    PyObject *args = message ? Py_BuildValue("(sOs)", format, self, message)
                             : Py_BuildValue("(sO)", format, self);
    PyObject *result = debug && args ? PyObject_Call(debug, args, kwargs) : NULL;
    Py_XDECREF(debug);
    Py_XDECREF(args);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int
stream_debug(StreamObject *self, const char *format)
{
    if (self->loop == NULL || !self->loop->debug) {
        return 0;
    }
    return debug_log(self, NULL, format, NULL);
}

int
stream_report(StreamObject *self, const char *message, PyObject *exc)
{
    if (self->loop == NULL) {
        return 0;
    }
    LoopObject *loop = self->loop;
    PyObject *context =
        Py_BuildValue("{s:s,s:O,s:O,s:O}", "message", message, "exception", exc, "transport", self,
                      "protocol", self->protocol ? self->protocol : Py_None);
    if (context == NULL) {
        return -1;
    }
    PyObject *result =
        PyObject_CallMethodOneArg((PyObject *)loop, loop->st->str_call_exception_handler, context);
    Py_DECREF(context);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int
stream_end_empty_waiter(StreamObject *self, PyObject *exc)
{
    if (self->empty_waiter == NULL || self->loop == NULL) {
        return 0;
    }
    fastaio_state *st = self->loop->st;
    PyObject *waiter = Py_NewRef(self->empty_waiter);
    PyObject *result = NULL;
    PyObject *done = PyObject_CallMethodNoArgs(waiter, st->str_done);
    int is_done = done != NULL ? PyObject_IsTrue(done) : -1;
    Py_XDECREF(done);
    if (is_done == 0) {
        result = exc != NULL ? PyObject_CallMethodOneArg(waiter, st->str_set_exception, exc)
                             : PyObject_CallMethodOneArg(waiter, st->str_set_result, Py_None);
    }
    else if (is_done > 0) {
        result = Py_NewRef(Py_None);
    }
    Py_DECREF(waiter);
    Py_XDECREF(result);
    if (result != NULL && exc == NULL && self->io.fd >= 0) {
        /* sock_sendfile() waits on the descriptor by itself, until _reset_empty_waiter(). */
        self->lent = true;
        stream_update_hold(self);
        io_unwatch(self->loop, &self->io);
    }
    return result != NULL ? 0 : -1;
}

/* ---- watching -------------------------------------------------------------------------------- */

void
stream_update_hold(StreamObject *self)
{
    bool wanted = stream_may_read(self) || (self->pieces.count && !self->writable);
    io_hold(&self->io, wanted && self->io.fd >= 0);
}

int
stream_watch(StreamObject *self)
{
    /* Room to write is asked for once it was missed: on a Unix socket each message that the peer
       reads would be an event otherwise. */
    bool out = self->watched_out || !self->writable;
    uint32_t events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | (out ? EPOLLOUT : 0u);
    if (self->lent) {
        return 0;
    }
    if (io_watch(self->loop, &self->io, stream_fd(self), events, WATCH_EDGE) < 0) {
        return -1;
    }
    self->watched_out = out;
    stream_update_hold(self);
    return 0;
}

int
stream_watch_again(StreamObject *self)
{
    return self->started && self->io.fd >= 0 ? stream_watch(self) : 0;
}

/* Offer the kernel again what it has refused. */
static int
flush_refused(StreamObject *self)
{
    self->has_room = false;
    self->writable = true;
    return stream_flush(self);
}

static int
write_ready(LoopObject *Py_UNUSED(loop), PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    return self->has_room ? stream_run_in(self, self->context, flush_refused) : 0;
}

/* There is room again for output that the kernel has refused. As on asyncio, reading comes first,
   and may end the connection: that output then stays unsent, and cannot hide the cause. */
static int
read_and_flush(StreamObject *self)
{
    /* Where reading raises what leaves the loop, or runs the loop itself, this entry flushes. */
    if (loop_call_native(self->loop, write_ready, (PyObject *)self) < 0 || stream_read(self) < 0) {
        return -1;
    }
    return self->has_room ? flush_refused(self) : 0;
}

/* The connection has ended or failed. Output that the kernel has not been offered comes before the
   read that tells why: on asyncio write() has sent it. */
static int
flush_and_read(StreamObject *self)
{
    return stream_flush(self) < 0 ? -1 : stream_read(self);
}

static bool
stream_lost_fd(PyObject *op)
{
    const StreamObject *self = (StreamObject *)op;
    return stream_fd(self) != self->fd;
}

static int
stream_io(LoopObject *Py_UNUSED(loop), PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    uint32_t events = io_take_events(&self->io);
    bool blocked = !self->writable;
    if (self->conn_lost) {
        return 0;
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        self->readable = true;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        self->hung_up = true;
    }
    /* io_uring reports EPOLLPRI with ordinary data too: that costs a sockatmark() per read there. */
    if (events & EPOLLPRI) {
        self->urgent = true;
    }
    if (blocked && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
        if (self->pieces.count) {
            self->has_room = true;
            return stream_run_in(self, self->context, read_and_flush);
        }
        self->writable = true;
    }
    if (!self->readable || !stream_may_read(self)) {
        return 0;
    }
    /* What the protocol writes now may wait for more of this turn. */
    bool ended = (events & (EPOLLHUP | EPOLLERR)) && self->pieces.count;
    return stream_run_in(self, self->context, ended ? flush_and_read : stream_read);
}

/* connection_made() has been called: now data may come, and the one who connects is told. */
static int
stream_start(LoopObject *loop, PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    int rc = 0;
    if (!self->conn_lost && self->loop != NULL) {
        self->started = true;
        if (stream_watch(self) < 0) {
            rc = stream_fatal_raised(self, "Fatal read error on socket transport");
        }
    }
    if (self->waiter != NULL) {
        PyObject *args[] = {self->waiter, Py_None};
        self->waiter = NULL;
        PyObject *failure = PyErr_GetRaisedException();
        PyObject *result =
            PyObject_Vectorcall(loop->st->set_result_unless_cancelled, args, 2, NULL);
        Py_DECREF(args[0]);
        Py_XDECREF(result);
        if (failure != NULL) {
            PyErr_SetRaisedException(failure);
        }
        else if (result == NULL) {
            rc = -1;
        }
    }
    return rc;
}

/* ---- the end of a connection ----------------------------------------------------------------- */

/* Gives the I/O reference back; the socket closes now if its user has closed it before. */
static int
drop_io_ref(StreamObject *self, PyObject *sock, fastaio_state *st)
{
    if (!self->io_ref) {
        return 0;
    }
    self->io_ref = false;
    return sockobj_release(st, sock);
}

static int
detach_from_server(PyObject *self, PyObject *server, fastaio_state *st)
{
#if PY_VERSION_HEX >= 0x030D0000
    return drop_result(PyObject_CallMethodOneArg(server, st->str__detach, self));
#else
    (void)self;
    return drop_result(PyObject_CallMethodNoArgs(server, st->str__detach));
#endif
}

static int
attach_to_server(PyObject *self, PyObject *server, fastaio_state *st)
{
#if PY_VERSION_HEX >= 0x030D0000
    return drop_result(PyObject_CallMethodOneArg(server, st->str__attach, self));
#else
    (void)self;
    return drop_result(PyObject_CallMethodNoArgs(server, st->str__attach));
#endif
}

int
stream_release(StreamObject *self)
{
    LoopObject *loop = self->loop;
    if (loop == NULL) { /* connection_lost() has been called from within itself */
        return 0;
    }
    fastaio_state *st = loop->st;
    PyObject *sock = self->sock;
    PyObject *server = self->server;
    PyObject *failure = NULL;
    stream_drop_output(self); /* first: the keeper may be using the socket */
    self->sock = NULL;
    self->sock_fd = NULL;
    self->server = NULL;
    self->readable = self->writable = false;
    io_hold(&self->io, false);
    io_unwatch(loop, &self->io);
    loop_io_happened(loop);
    if (sock != NULL) {
        if (drop_io_ref(self, sock, st) < 0) {
            keep_first(&failure, (PyObject *)self);
        }
        if (drop_result(PyObject_CallMethodNoArgs(sock, st->str_close)) < 0) {
            keep_first(&failure, (PyObject *)self);
        }
        Py_DECREF(sock);
    }
    if (server != NULL) {
        if (detach_from_server((PyObject *)self, server, st) < 0) {
            keep_first(&failure, (PyObject *)self);
        }
        Py_DECREF(server);
    }
    if (failure != NULL) {
        PyErr_SetRaisedException(failure);
        return -1;
    }
    return 0;
}

int
stream_call_lost(StreamObject *self)
{
    if (self->loop == NULL) {
        return 0;
    }
    LoopObject *loop = (LoopObject *)Py_NewRef(self->loop);
    PyObject *exc = self->lost_exc != NULL ? Py_NewRef(self->lost_exc) : Py_NewRef(Py_None);
    PyObject *failure = NULL;
    self->closing = true;
    self->conn_lost += self->conn_lost == 0;
    loop->metrics.connections_lost++;
    if (self->protocol != NULL) {
        PyObject *protocol = Py_NewRef(self->protocol);
        PyObject *result = PyObject_CallMethodOneArg(protocol, loop->st->str_connection_lost, exc);
        if (drop_result(result) < 0) {
            keep_first(&failure, (PyObject *)self);
        }
        Py_DECREF(protocol);
    }
    if (stream_release(self) < 0) {
        keep_first(&failure, (PyObject *)self);
    }
    if (self->loop != NULL && self->empty_waiter != NULL) {
        PyObject *gone =
            PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer");
        if (gone == NULL || stream_end_empty_waiter(self, gone) < 0) {
            keep_first(&failure, (PyObject *)self);
        }
        Py_XDECREF(gone);
    }
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->lost_exc);
    Py_CLEAR(self->loop);
    Py_DECREF(exc);
    Py_DECREF(loop);
    if (failure != NULL) {
        PyErr_SetRaisedException(failure);
        return -1;
    }
    return 0;
}

/* Report what connection_lost() has raised as a failure of the handle that asyncio would have queued. */
static int
report_lost(LoopObject *loop, PyObject *op, PyObject *exc, PyObject *context)
{
    if (raised_leaves_loop()) {
        return -1;
    }
    PyObject *failure = PyErr_GetRaisedException();
    PyObject *method = PyObject_GetAttr(op, loop->st->str__call_connection_lost);
    HandleObject *handle = NULL;
    if (method != NULL) {
        handle = handle_new(loop->st, (PyObject *)loop, method, &exc, 1, context, false);
        Py_DECREF(method);
    }
    if (handle == NULL) {
        Py_DECREF(failure);
        return -1;
    }
    handle_track((PyObject *)handle);
    PyErr_SetRaisedException(failure);
    int rc = loop_report_handle(loop, handle);
    Py_DECREF((PyObject *)handle);
    return rc;
}

static int
stream_lost(LoopObject *loop, PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    PyObject *context = self->lost_context;
    if (context == NULL) {
        return 0;
    }
    self->lost_context = NULL;
    PyObject *exc = Py_NewRef(self->lost_exc != NULL ? self->lost_exc : Py_None);
    int rc = stream_run_in(self, context, stream_call_lost);
    if (rc < 0) {
        rc = report_lost(loop, op, exc, context);
    }
    Py_DECREF(exc);
    Py_DECREF(context);
    return rc;
}

int
stream_lose(StreamObject *self, PyObject *exc)
{
    LoopObject *loop = self->loop;
    if (loop == NULL) {
        return 0;
    }
    self->conn_lost++;
    /* Nothing is waited for any more: until the socket is closed its descriptor may be watched by
       others, as on asyncio. */
    io_hold(&self->io, false);
    io_unwatch(loop, &self->io);
    Py_XSETREF(self->lost_exc, exc != Py_None ? Py_NewRef(exc) : NULL);
    if (loop_check_closed(loop) < 0 || (loop->debug && loop_check_thread(loop) < 0)) {
        return -1;
    }
    if (loop_overrides(loop) & OVERRIDE_CALL_SOON) {
        PyObject *method = PyObject_GetAttr((PyObject *)self, loop->st->str__call_connection_lost);
        PyObject *context = CONNECTION_HAS_ONE_CONTEXT ? self->context : NULL;
        int rc = method != NULL ? loop_call_soon_in(loop, context, method, &exc, 1) : -1;
        Py_XDECREF(method);
        return rc;
    }
    Py_XSETREF(self->lost_context,
               CONNECTION_HAS_ONE_CONTEXT ? Py_NewRef(self->context) : PyContext_CopyCurrent());
    if (self->lost_context == NULL) {
        return -1;
    }
    return loop_call_native(loop, stream_lost, (PyObject *)self);
}

int
stream_force_close(StreamObject *self, PyObject *exc)
{
    if (self->conn_lost || self->loop == NULL) {
        return 0;
    }
    /* On asyncio the kernel has it already. A failure here ends the connection itself. */
    if (!self->closing && stream_flush(self) < 0) {
        return -1;
    }
    if (self->conn_lost || self->loop == NULL) {
        return 0;
    }
    stream_drop_output(self);
    self->closing = true;
    return stream_lose(self, exc);
}

static int
log_os_error(StreamObject *self, PyObject *exc, const char *message)
{
    if (self->loop == NULL || !self->loop->debug) {
        return 0;
    }
    PyObject *kwargs = Py_BuildValue("{s:O}", "exc_info", exc);
    int rc = kwargs != NULL ? debug_log(self, kwargs, "%r: %s", message) : -1;
    Py_XDECREF(kwargs);
    return rc;
}

int
stream_fatal_error(StreamObject *self, PyObject *exc, const char *message)
{
    PyObject *failure = NULL;
    int rc = PyObject_TypeCheck(exc, (PyTypeObject *)PyExc_OSError)
                 ? log_os_error(self, exc, message)
                 : stream_report(self, message, exc);
    if (rc < 0) {
        keep_first(&failure, (PyObject *)self);
    }
    if (stream_force_close(self, exc) < 0) {
        keep_first(&failure, (PyObject *)self);
    }
    if (failure != NULL) {
        PyErr_SetRaisedException(failure);
        return -1;
    }
    return 0;
}

int
stream_fatal_raised(StreamObject *self, const char *message)
{
    if (raised_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    int rc = stream_fatal_error(self, exc, message);
    Py_DECREF(exc);
    return rc;
}

int
stream_close(StreamObject *self)
{
    if (self->closing || self->loop == NULL) {
        return 0;
    }
    if (stream_flush(self) < 0) {
        return -1;
    }
    if (self->closing || self->loop == NULL) {
        return 0;
    }
    self->closing = true;
    stream_update_hold(self);
    return self->pieces.count == 0 ? stream_lose(self, Py_None) : 0;
}

/* ---- the beginning --------------------------------------------------------------------------- */

/* extra[key] = sock.method(), or None where that raises OSError. */
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

/* What get_extra_info() knows. Addresses now: they cannot be asked for once the peer is gone. */
static int
fill_extra(fastaio_state *st, PyObject *extra, PyObject *sock)
{
    PyObject *shown = PyObject_CallOneArg(st->TransportSocket, sock);
    int rc = shown != NULL ? PyDict_SetItem(extra, st->str_socket, shown) : -1;
    Py_XDECREF(shown);
    if (rc < 0 || add_address(extra, sock, st->str_sockname, st->str_getsockname) < 0) {
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
socket_option(int fd, int option)
{
    int value;
    socklen_t size = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

/* The kind of a socket whose Python object does not say that it is TCP. */
static SocketKind
ask_kind(int fd)
{
    switch (socket_option(fd, SO_DOMAIN)) {
    case AF_UNIX:
        return socket_option(fd, SO_TYPE) == SOCK_STREAM ? SOCKET_UNIX : SOCKET_OTHER;
    case AF_INET:
    case AF_INET6:
        return socket_option(fd, SO_PROTOCOL) == IPPROTO_TCP ? SOCKET_TCP : SOCKET_OTHER;
    default:
        return SOCKET_OTHER;
    }
}

/* Find out what kind of socket this is. Set TCP_NODELAY where asyncio does. */
static int
inspect_socket(StreamObject *self, fastaio_state *st, PyObject *sock)
{
    long fd, proto;
    if (get_int(sock, st->str_fileno, true, &fd) < 0) {
        return -1;
    }
    self->fd = (int)fd;
    self->foreign = !Py_IS_TYPE(sock, (PyTypeObject *)st->socket_type);
    if (self->foreign || *compat_socket_fd(sock) != self->fd) {
        return drop_result(PyObject_CallOneArg(st->set_nodelay, sock));
    }
    self->sock_fd = compat_socket_fd(sock);
    if (get_int(sock, st->str_proto, false, &proto) < 0) {
        return -1;
    }
    if (proto != IPPROTO_TCP) {
        self->kind = ask_kind(self->fd);
        return 0;
    }
    int on = 1;
    if (setsockopt(self->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    self->kind = SOCKET_TCP;
    return 0;
}

static int
take_io_ref(StreamObject *self, fastaio_state *st, PyObject *sock)
{
    int held = sockobj_hold(st, sock);
    self->io_ref = held > 0;
    return held < 0 ? -1 : 0;
}

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
    self->buffered = buffered;
    self->streams = streams;
    self->feed = takes ? native->feed : NULL;
    Py_XSETREF(self->protocol, Py_NewRef(protocol));
    streamreader_unlink(&self->reader);
    return self->loop != NULL ? streamreader_adopt(self->loop, protocol, &self->reader) : 0;
}

/* Test suites wrap the socket of a living transport to see it fail. */
int
stream_use_socket(StreamObject *self, PyObject *sock)
{
    fastaio_state *st = self->loop->st;
    PyObject *old = self->sock;
    Py_INCREF(sock);
    loop_flush_cancel(&self->flush);
    self->sock = NULL;
    self->sock_fd = NULL;
    int rc = drop_io_ref(self, old, st);
    if (rc == 0) {
        rc = take_io_ref(self, st, sock);
    }
    Py_XDECREF(old);
    self->sock = sock;
    self->foreign = !Py_IS_TYPE(sock, (PyTypeObject *)st->socket_type);
    if (!self->foreign && *compat_socket_fd(sock) == self->fd) {
        self->sock_fd = compat_socket_fd(sock);
    }
    if (self->pieces.count && self->writable) {
        loop_flush_later(self->loop, &self->flush);
    }
    return rc;
}

/* As asyncio's constructor, in its order: connection_made(), reading, the waiter. */
static int
queue_start(StreamObject *self, LoopObject *loop, PyObject *protocol)
{
    PyObject *made = PyObject_GetAttr(protocol, loop->st->str_connection_made);
    if (made == NULL) {
        return -1;
    }
    PyObject *args[] = {(PyObject *)self};
    PyObject *context = CONNECTION_HAS_ONE_CONTEXT ? self->context : NULL;
    int rc = loop_call_soon_in(loop, context, made, args, 1);
    Py_DECREF(made);
    return rc < 0 ? -1 : loop_call_native(loop, stream_start, (PyObject *)self);
}

/* After a failure: as if nothing had been begun; the socket stays the caller's. */
static void
undo_set_up(StreamObject *self, fastaio_state *st)
{
    PyObject *failure = PyErr_GetRaisedException();
    if (self->sock != NULL && drop_io_ref(self, self->sock, st) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    self->closing = true;
    self->conn_lost = 1;
    self->sock_fd = NULL;
    if (self->server != NULL && detach_from_server((PyObject *)self, self->server, st) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    Py_CLEAR(self->sock);
    Py_CLEAR(self->server);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->waiter);
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
    self->io = (IoWatcher){
        .owner = (PyObject *)self, .run = stream_io, .lost_fd = stream_lost_fd, .fd = -1};
    self->flush = (FlushNode){
        .owner = (PyObject *)self, .flush = stream_flush_entry, .keep = stream_keep};
    self->fd = -1;
    self->high_water = STREAM_LARGE;
    self->low_water = STREAM_LARGE / 4;
    self->writable = true;
    if (loop_check_closed(loop) < 0) {
        return -1;
    }
    Py_XSETREF(self->extra, extra != NULL ? Py_NewRef(extra) : PyDict_New());
    self->context = PyContext_CopyCurrent();
    if (self->extra == NULL || self->context == NULL || fill_extra(st, self->extra, sock) < 0 ||
        inspect_socket(self, st, sock) < 0) {
        return -1;
    }
    self->loop = (LoopObject *)Py_NewRef(loop);
    self->sock = Py_NewRef(sock);
    self->waiter = Py_XNewRef(waiter);
    if (stream_use_protocol(self, st, protocol) < 0 || take_io_ref(self, st, sock) < 0) {
        goto error;
    }
    if (server != NULL) {
        if (attach_to_server((PyObject *)self, server, st) < 0) {
            goto error;
        }
        self->server = Py_NewRef(server);
    }
    if (queue_start(self, loop, protocol) < 0) {
        goto error;
    }
    loop->metrics.connections_made++;
    return 0;
error:
    undo_set_up(self, st);
    return -1;
}

PyObject *
stream_transport_new(LoopObject *loop, PyObject *sock, PyObject *protocol, PyObject *waiter,
                     PyObject *extra, PyObject *server)
{
    PyTypeObject *type = loop->st->StreamTransportType;
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL &&
        stream_set_up((StreamObject *)self, loop, sock, protocol, waiter, extra, server) < 0) {
        Py_CLEAR(self);
    }
    return self;
}
