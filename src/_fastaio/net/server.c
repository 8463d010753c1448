/* server.c: the type Listener, which accepts the connections of one listening socket and starts a task
 * for each that makes its transport (accept.c).
 *
 * Forked workers may share the socket. The socket is watched level-triggered, and the kernel wakes
 * one of the processes. A turn accepts a bounded number of connections.
 */
#include "net/server.h"
#include "base/error.h"
#include "loop/ending.h"
#include "loop/watch.h"
#include "net/accept.h"
#include "net/inetaddr.h"

#include <errno.h>
#include <structmember.h>
#include <unistd.h>

/* The most connections that a turn accepts, whatever the backlog. */
#define MAX_ACCEPTS 128
/* Seconds, as asyncio.constants.ACCEPT_RETRY_DELAY. */
#define RETRY_DELAY 1

typedef struct {
    PyObject_HEAD
    LoopObject *loop;
    PyObject *sock;
    PyObject *factory; /* makes the protocol of a connection */
    PyObject *server;  /* asyncio.Server, or NULL */
    PyObject *context; /* of start(), NULL before: each connection runs in a copy */
    PyObject *retry;   /* the timer that ends pause_accepting(), or NULL */
    PyObject *family;  /* the arguments of socket.socket() for the connections */
    PyObject *type;
    PyObject *proto;
    PyObject *weakrefs;
    const int *sock_fd; /* where `sock` keeps its descriptor; NULL if that is not known */
    IoWatcher io;
    int fd;             /* the number that is watched */
    int accept_limit;   /* the most accepts in a turn: the backlog, up to MAX_ACCEPTS */
    int accept_count;   /* accepts in this turn: doubles while turn after turn reports the socket */
    uint64_t last_poll; /* metrics.polls when the socket was last reported */
    bool foreign;       /* not exactly socket.socket: its own accept() is called */
    bool serving;       /* start() was called, stop() not since */
} ListenerObject;

/* ---- accepting ------------------------------------------------------------------------------- */

/* The result of one accept(). ERROR: an exception is raised. NOTHING: no connection waits. AGAIN:
   the call was interrupted, or its connection aborted. */
enum { ACCEPT_ERROR = -1, ACCEPT_NOTHING = 0, ACCEPT_DONE = 1, ACCEPT_AGAIN = 2 };

/* Return a socket object for the descriptor of a connection. On error close the descriptor and
   return NULL with an exception. */
static PyObject *
wrap_connection(ListenerObject *self, int fd)
{
    PyObject *number = PyLong_FromLong(fd);
    PyObject *conn = NULL;
    if (number != NULL) {
        PyObject *args[] = {self->family, self->type, self->proto, number};
        conn = PyObject_Vectorcall(self->loop->st->socket_type, args, 4, NULL);
        Py_DECREF(number);
    }
    if (conn == NULL) {
        close(fd);
    }
    return conn;
}

/* Return the peer's address as socket.accept() does; NULL with an exception. */
static PyObject *
get_peer_address(fastaio_state *st, PyObject *conn, const SockAddr *address, socklen_t size)
{
    switch (address->any.sa_family) {
    case AF_INET:
    case AF_INET6:
    case AF_UNIX:
        return address_new(address, size);
    default:
        return PyObject_CallMethodNoArgs(conn, st->str_getpeername);
    }
}

/* Accept by system call. Return an ACCEPT_ value; set *conn and *peer on ACCEPT_DONE. */
static int
accept_native(ListenerObject *self, PyObject **conn, PyObject **peer)
{
    SockAddr address;
    memset(&address, 0, sizeof(address));
    socklen_t length = sizeof(address);
    int fd = accept4(self->sock_fd ? *self->sock_fd : self->fd, &address.any, &length,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return ACCEPT_NOTHING;
        }
        if (errno == EINTR || errno == ECONNABORTED) {
            return ACCEPT_AGAIN;
        }
        PyErr_SetFromErrno(PyExc_OSError);
        return ACCEPT_ERROR;
    }
    *conn = wrap_connection(self, fd);
    *peer = *conn ? get_peer_address(self->loop->st, *conn, &address, length) : NULL;
    if (*peer == NULL) {
        Py_CLEAR(*conn);
        return ACCEPT_ERROR;
    }
    return ACCEPT_DONE;
}

/* Store the two items of what accept() has returned, any iterable. Take over the reference to it. Return 0, or -1
   with an exception. */
static int
unpack_pair(PyObject *pair, PyObject **conn, PyObject **peer)
{
    PyObject *items = PySequence_Fast(pair, "accept() did not return a connection and an address");
    Py_DECREF(pair);
    if (items == NULL) {
        return -1;
    }
    Py_ssize_t count = PySequence_Fast_GET_SIZE(items);
    if (count == 2) {
        *conn = Py_NewRef(PySequence_Fast_GET_ITEM(items, 0));
        *peer = Py_NewRef(PySequence_Fast_GET_ITEM(items, 1));
    }
    else {
        PyErr_Format(PyExc_ValueError, "accept() returned %zd items in place of 2", count);
    }
    Py_DECREF(items);
    return count == 2 ? 0 : -1;
}

/* Accept by the socket's own method. Return like accept_native(). */
static int
accept_foreign(ListenerObject *self, PyObject **conn, PyObject **peer)
{
    fastaio_state *st = self->loop->st;
    PyObject *pair = PyObject_CallMethodNoArgs(self->sock, st->str_accept);
    if (pair == NULL) {
        if (PyErr_ExceptionMatches(PyExc_BlockingIOError)) {
            PyErr_Clear();
            return ACCEPT_NOTHING;
        }
        if (PyErr_ExceptionMatches(PyExc_InterruptedError) ||
            PyErr_ExceptionMatches(PyExc_ConnectionAbortedError)) {
            PyErr_Clear();
            return ACCEPT_AGAIN;
        }
        return ACCEPT_ERROR;
    }
    if (unpack_pair(pair, conn, peer) < 0) {
        return ACCEPT_ERROR;
    }
    if (drop_result(PyObject_CallMethodOneArg(*conn, st->str_setblocking, Py_False)) < 0) {
        Py_CLEAR(*conn);
        Py_CLEAR(*peer);
        return ACCEPT_ERROR;
    }
    return ACCEPT_DONE;
}

/* Log a new connection, as asyncio does in debug mode. Return 0, or -1 with an exception. */
static int
log_accepted(ListenerObject *self, PyObject *conn, PyObject *peer)
{
    return drop_result(PyObject_CallMethod(self->loop->st->logger, "debug", "sOOO",
                                           "%r got a new connection from %r: %r",
                                           self->server ? self->server : Py_None, peer, conn));
}

/* Start a task that sets up a connection, in a copy of the listener's context. Return 0, or -1 with an
   exception. */
static int
start_connection(ListenerObject *self, PyObject *conn, PyObject *peer)
{
    LoopObject *loop = self->loop;
    PyObject *accept = NULL, *task = NULL, *context = PyContext_Copy(self->context);
    PyObject *extra = context != NULL ? PyDict_New() : NULL;
    if (extra != NULL && PyDict_SetItem(extra, loop->st->str_peername, peer) == 0) {
        accept = accept_new(loop, self->factory, conn, extra, self->server);
    }
    if (accept != NULL && PyContext_Enter(context) == 0) {
        task = PyObject_CallMethodOneArg((PyObject *)loop, loop->st->str_create_task, accept);
        if (PyContext_Exit(context) < 0) {
            Py_CLEAR(task);
        }
    }
    Py_XDECREF(accept);
    Py_XDECREF(extra);
    Py_XDECREF(context);
    return drop_result(task);
}

/* ---- watching -------------------------------------------------------------------------------- */

static int accept_waiting(LoopObject *loop, PyObject *op);

static int
listener_watch(ListenerObject *self)
{
    if (io_watch(self->loop, &self->io, self->fd, EPOLLIN, WATCH_EXCLUSIVE) < 0) {
        return -1;
    }
    io_hold(&self->io, true);
    return 0;
}

static void
listener_unwatch(ListenerObject *self)
{
    if (self->io.fd >= 0) {
        io_unwatch(self->loop, &self->io);
    }
    io_hold(&self->io, false);
}

/* Report the raised exception, and stop watching the socket for RETRY_DELAY. Used when descriptors
   or memory are exhausted: the kernel would report the socket as ready in every turn. Return 0, or
   -1 with an exception. */
static int
pause_accepting(ListenerObject *self)
{
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *shown = PyObject_CallOneArg(self->loop->st->TransportSocket, self->sock);
    int rc = -1;
    if (shown == NULL) {
        Py_DECREF(exc);
    }
    else {
        PyErr_SetRaisedException(exc);
        rc = loop_report(self->loop, "socket.accept() out of system resource", "socket", shown, NULL);
        Py_DECREF(shown);
    }
    if (!self->serving) {
        return rc; /* the handler has closed the server */
    }
    listener_unwatch(self);
    PyObject *again = PyObject_GetAttrString((PyObject *)self, "_retry");
    if (again == NULL) {
        return -1;
    }
    Py_XSETREF(self->retry,
               PyObject_CallMethod((PyObject *)self->loop, "call_later", "iO", RETRY_DELAY, again));
    Py_DECREF(again);
    return self->retry != NULL ? rc : -1;
}

/* Return whether the raised exception is an OSError that stands for exhausted descriptors or
   memory. */
static bool
raised_exhaustion(void)
{
    if (!PyErr_ExceptionMatches(PyExc_OSError)) {
        return false;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *number = PyObject_GetAttrString(exc, "errno");
    long error = number != NULL && PyLong_Check(number) ? PyLong_AsLong(number) : 0;
    Py_XDECREF(number);
    PyErr_Clear();
    PyErr_SetRaisedException(exc);
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* Accept one connection and start to set it up. Return an ACCEPT_ value. */
static int
accept_one(ListenerObject *self)
{
    PyObject *conn = NULL, *peer = NULL;
    int rc = self->foreign ? accept_foreign(self, &conn, &peer) : accept_native(self, &conn, &peer);
    if (rc != ACCEPT_DONE) {
        return rc == ACCEPT_ERROR && raised_exhaustion() && pause_accepting(self) == 0
                   ? ACCEPT_NOTHING
                   : rc;
    }
    if ((relaxed_load(&self->loop->watchdog.debug) && log_accepted(self, conn, peer) < 0) ||
        start_connection(self, conn, peer) < 0) {
        rc = ACCEPT_ERROR;
    }
    Py_DECREF(conn);
    Py_DECREF(peer);
    return rc;
}

/* IoWatcher.lost_fd: return whether the user has closed or detached the socket. */
static bool
listener_has_lost_fd(PyObject *op)
{
    const ListenerObject *self = (ListenerObject *)op;
    return self->sock_fd != NULL && *self->sock_fd != self->fd;
}

/* IoWatcher.run: accept connections of the backlog. Return 0, or -1 with what leaves the loop. */
static int
accept_waiting(LoopObject *loop, PyObject *op)
{
    ListenerObject *self = (ListenerObject *)op;
    (void)io_take_events(&self->io);
    /* After a quiet poll one accept() is enough: a second one would mostly find no connection, and
       the next poll reports the rest. If polls in a row report the socket, each turn accepts twice
       as many. */
    uint64_t poll = loop->metrics.polls;
    bool in_a_row = poll - self->last_poll <= 1;
    self->last_poll = poll;
    self->accept_count = !in_a_row                                     ? 1
                         : 2 * self->accept_count < self->accept_limit ? 2 * self->accept_count
                                                                       : self->accept_limit;
    for (int i = 0; i < self->accept_count && self->serving; i++) {
        int rc = accept_one(self);
        if (rc == ACCEPT_ERROR || rc == ACCEPT_NOTHING) {
            return rc;
        }
    }
    return 0;
}

/* ---- the type -------------------------------------------------------------------------------- */

/* Return an int attribute with `flags` set; NULL with an exception. */
static PyObject *
get_int(PyObject *obj, PyObject *name, long flags)
{
    PyObject *value = PyObject_GetAttr(obj, name);
    long number = value != NULL ? PyLong_AsLong(value) : -1;
    Py_XDECREF(value);
    if (number == -1 && PyErr_Occurred()) {
        return NULL;
    }
    return PyLong_FromLong(number | flags);
}

/* Get the arguments of socket.socket() for the connections. SOCK_NONBLOCK in the type tells
   socket.socket() that the descriptor does not block, which spares a system call. Return 0, or -1
   with an exception. */
static int
learn_kind(ListenerObject *self, fastaio_state *st)
{
    return (self->family = get_int(self->sock, st->str_family, 0)) == NULL ||
                   (self->type = get_int(self->sock, st->str_type, SOCK_NONBLOCK)) == NULL ||
                   (self->proto = get_int(self->sock, st->str_proto, 0)) == NULL
               ? -1
               : 0;
}

static PyObject *
listener_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"loop", "sock", "protocol_factory", "server", "backlog", NULL};
    fastaio_state *st = state_of_type(type);
    PyObject *loop, *sock, *factory, *server;
    int backlog;
    if (st == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOOi:Listener", names, st->LoopType, &loop,
                                     &sock, &factory, &server, &backlog)) {
        return NULL;
    }
    ListenerObject *self = (ListenerObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    try_ref_enable((PyObject *)self);
    self->io = (IoWatcher){.owner = (PyObject *)self,
                           .run = accept_waiting,
                           .lost_fd = listener_has_lost_fd,
                           .fd = -1};
    self->fd = -1;
    self->loop = (LoopObject *)Py_NewRef(loop);
    self->sock = Py_NewRef(sock);
    self->factory = Py_NewRef(factory);
    self->server = server != Py_None ? Py_NewRef(server) : NULL;
    self->accept_limit = backlog < 1 ? 1 : backlog < MAX_ACCEPTS ? backlog : MAX_ACCEPTS;
    PyObject *number = PyObject_CallMethodNoArgs(sock, st->str_fileno);
    long fd = number != NULL ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    if ((fd == -1 && PyErr_Occurred()) || learn_kind(self, st) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->fd = (int)fd;
    self->foreign = !Py_IS_TYPE(sock, (PyTypeObject *)st->socket_type);
    if (!self->foreign && *compat_socket_fd(sock) == self->fd) {
        self->sock_fd = compat_socket_fd(sock);
    }
    return (PyObject *)self;
}

/* Return the loop whose claim guards the listener, borrowed. */
static PyObject *
loop_of(PyObject *op)
{
    return (PyObject *)((ListenerObject *)op)->loop;
}

static int
listener_traverse(PyObject *op, visitproc visit, void *arg)
{
    ListenerObject *self = (ListenerObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop);
    Py_VISIT(self->sock);
    Py_VISIT(self->factory);
    Py_VISIT(self->server);
    Py_VISIT(self->context);
    Py_VISIT(self->retry);
    return 0;
}

static int
listener_clear(PyObject *op)
{
    ListenerObject *self = (ListenerObject *)op;
    self->serving = false;
    if (self->loop != NULL) {
        listener_unwatch(self);
    }
    self->sock_fd = NULL;
    Py_CLEAR(self->loop);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->factory);
    Py_CLEAR(self->server);
    Py_CLEAR(self->context);
    Py_CLEAR(self->retry);
    return 0;
}

GUARD_CLEAR(listener_clear, loop_of)
GUARD_DEALLOC(listener_dealloc, loop_of)

static void
listener_drop(PyObject *op)
{
    ListenerObject *self = (ListenerObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    if (shared_load(&self->weakrefs) != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    listener_clear(op);
    Py_CLEAR(self->family);
    Py_CLEAR(self->type);
    Py_CLEAR(self->proto);
    type->tp_free(op);
    Py_DECREF(type);
}

static void
listener_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    DEALLOC_BOUNDED(op, GUARDED(listener_dealloc), listener_drop);
}

static PyObject *
listener_start(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ListenerObject *self = (ListenerObject *)op;
    if (self->serving) {
        Py_RETURN_NONE;
    }
    if (self->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the listener is gone");
        return NULL;
    }
    Py_XSETREF(self->context, PyContext_CopyCurrent());
    if (self->context == NULL || listener_watch(self) < 0) {
        return NULL;
    }
    self->serving = true;
    Py_RETURN_NONE;
}

static PyObject *
listener_stop(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ListenerObject *self = (ListenerObject *)op;
    self->serving = false;
    if (self->loop == NULL) {
        Py_RETURN_NONE;
    }
    listener_unwatch(self);
    PyObject *retry = self->retry;
    self->retry = NULL;
    if (retry == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *result = PyObject_CallMethodNoArgs(retry, self->loop->st->str_cancel);
    Py_DECREF(retry);
    return result;
}

/* Watch the socket again. The timer of pause_accepting() calls this. */
static PyObject *
listener_retry(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ListenerObject *self = (ListenerObject *)op;
    Py_CLEAR(self->retry);
    if (self->serving && self->loop != NULL && listener_watch(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef listener_methods[] = {
    {"start", listener_start, METH_NOARGS,
     PyDoc_STR("start($self, /)\n--\n\nStart to accept connections.")},
    {"stop", listener_stop, METH_NOARGS,
     PyDoc_STR("stop($self, /)\n--\n\nAccept no more connections. The socket stays open.")},
    {"_retry", listener_retry, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef listener_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ListenerObject, weakrefs), READONLY, NULL},
    {"fd", T_INT, offsetof(ListenerObject, fd), READONLY, "The listening descriptor."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot listener_slots[] = {
    {Py_tp_doc, "Accepts the connections of one listening socket."},
    {Py_tp_new, listener_new},
    {Py_tp_dealloc, GUARDED(listener_dealloc)},
    {Py_tp_traverse, listener_traverse},
    {Py_tp_clear, GUARDED(listener_clear)},
    {Py_tp_methods, listener_methods},
    {Py_tp_members, listener_members},
    {0, NULL},
};

static PyType_Spec listener_spec = {
    .name = "fastaio._fastaio.Listener",
    .basicsize = sizeof(ListenerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = listener_slots,
};

static const GuardRules listener_rules = {loop_of, NULL};

int
server_types_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->ListenerType = state_add_type(module, &listener_spec, NULL);
    if (st->ListenerType == NULL || guard_type(st, st->ListenerType, &listener_rules) < 0) {
        return -1;
    }
    return accept_type_init(module);
}
