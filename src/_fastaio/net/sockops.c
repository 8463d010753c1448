/* sockops.c: the loop's methods sock_recv(), sock_sendall() and their kin, and their system calls. */
#include "net/sockops.h"
#include "base/kernel.h"
#include "net/sockop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

/* ---- calls of the socket's own methods ------------------------------------------------------- */

/* Return true, and clear the raised exception, if that says that the call would block. */
static bool
clear_would_block(void)
{
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
        PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
        return true;
    }
    return false;
}

/* Call sock.name(*args). args[0] is the socket, `count` includes it. Return the outcome; set
   *result. */
static Outcome
call_method(PyObject *name, PyObject *const *args, size_t count, PyObject **result)
{
    *result = PyObject_VectorcallMethod(name, args, count, NULL);
    if (*result != NULL) {
        return DONE;
    }
    return clear_would_block() ? WAIT : FAILED;
}

/* ---- system calls ---------------------------------------------------------------------------- */

/* Return whether sock.name is the socket module's own method: the type is exactly socket.socket,
   and nobody has replaced the method. */
static bool
is_method_native(SockOp *op, PyObject *name)
{
    PyObject *type = op->loop->st->socket_type;
    if ((PyObject *)Py_TYPE(sockop_sock(op)) != type) {
        return false;
    }
    PyObject *method = PyObject_GetAttr(type, name);
    if (method == NULL) {
        PyErr_Clear();
        return false;
    }
    bool native = Py_IS_TYPE(method, &PyMethodDescr_Type);
    Py_DECREF(method);
    return native;
}

/* Return the outcome of a system call by its result: DONE for 0 and more. Set *repeat if a signal
   has interrupted the call. */
static Outcome
system_outcome(ssize_t count, bool *repeat)
{
    *repeat = false;
    if (count >= 0) {
        return DONE;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return WAIT;
    }
    if (errno == EINTR) {
        *repeat = true;
        return PyErr_CheckSignals() < 0 ? FAILED : WAIT;
    }
    PyErr_SetFromErrno(PyExc_OSError);
    return FAILED;
}

/* Receive without blocking, whatever mode the socket is in. Return the outcome; set *count. */
static Outcome
system_recv(SockOp *op, char *buffer, size_t size, ssize_t *count)
{
    int fd = sockop_fileno(op);
    Outcome outcome;
    bool repeat;
    do {
        if (fd == -2) {
            return FAILED;
        }
        *count = kernel_recv(fd, buffer, size, MSG_DONTWAIT);
        outcome = system_outcome(*count, &repeat);
    } while (outcome == WAIT && repeat);
    if (outcome == DONE) {
        relaxed_add(&op->loop->metrics.bytes_received, (uint64_t)*count);
        loop_io_happened(op->loop);
    }
    return outcome;
}

/* Send like system_recv(). */
static Outcome
system_send(SockOp *op, const char *data, size_t size, ssize_t *count)
{
    int fd = sockop_fileno(op);
    Outcome outcome;
    bool repeat;
    do {
        if (fd == -2) {
            return FAILED;
        }
        *count = kernel_send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        outcome = system_outcome(*count, &repeat);
    } while (outcome == WAIT && repeat);
    if (outcome == DONE) {
        relaxed_add(&op->loop->metrics.bytes_sent, (uint64_t)*count);
        loop_io_happened(op->loop);
    }
    return outcome;
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Return whether the bytes that a read leaves are there for the next read. The rest of a datagram
   is lost. */
static bool
is_stream(SockOp *op)
{
    int type;
    socklen_t size = sizeof(type);
    return getsockopt(*compat_socket_fd(sockop_sock(op)), SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
           type == SOCK_STREAM;
}

static Outcome
attempt_recv(SockOp *op, PyObject **result)
{
    fastaio_state *st = op->loop->st;
    Py_ssize_t size = PyLong_CheckExact(op->args[1]) ? PyLong_AsSsize_t(op->args[1]) : -1;
    if (size == -1) {
        PyErr_Clear();
    }
    /* sock.recv() raises its own exception for a size that is no size. */
    if (size < 0 || !is_method_native(op, st->str_recv) ||
        (size > HOT_BUFFER_SIZE && !is_stream(op))) {
        return call_method(st->str_recv, op->args, 2, result);
    }
    ssize_t count = 0;
    char *buffer = loop_hot_buffer(op->loop);
    if (buffer == NULL) {
        return FAILED;
    }
    /* A read of size 0 makes no system call, as in sock.recv(). */
    if (size > 0) {
        size = size < HOT_BUFFER_SIZE ? size : HOT_BUFFER_SIZE;
        Outcome outcome = system_recv(op, buffer, (size_t)size, &count);
        if (outcome != DONE) {
            return outcome;
        }
    }
    *result = PyBytes_FromStringAndSize(buffer, count);
    return *result ? DONE : FAILED;
}

static Outcome
attempt_recv_into(SockOp *op, PyObject **result)
{
    fastaio_state *st = op->loop->st;
    if (!is_method_native(op, st->str_recv_into)) {
        return call_method(st->str_recv_into, op->args, 2, result);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(op->args[1], &view, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        return call_method(st->str_recv_into, op->args, 2, result);
    }
    ssize_t count = 0;
    Outcome outcome = DONE;
    if (view.len > 0) {
        outcome = system_recv(op, view.buf, (size_t)view.len, &count);
    }
    PyBuffer_Release(&view);
    if (outcome == DONE) {
        *result = PyLong_FromSsize_t(count);
        return *result ? DONE : FAILED;
    }
    return outcome;
}

static Outcome
attempt_recvfrom(SockOp *op, PyObject **result)
{
    return call_method(op->loop->st->str_recvfrom, op->args, 2, result);
}

static Outcome
attempt_recvfrom_into(SockOp *op, PyObject **result)
{
    PyObject *given = op->args[2];
    int some = given ? PyObject_IsTrue(given) : 0;
    if (some < 0) {
        return FAILED;
    }
    PyObject *size = Py_XNewRef(given);
    if (!some) {
        Py_XDECREF(size);
        Py_ssize_t length = PyObject_Length(op->args[1]);
        size = length < 0 ? NULL : PyLong_FromSsize_t(length);
        if (size == NULL) {
            return FAILED;
        }
    }
    PyObject *args[] = {sockop_sock(op), op->args[1], size};
    Outcome outcome = call_method(op->loop->st->str_recvfrom_into, args, 3, result);
    Py_DECREF(size);
    return outcome;
}

/* ---- sending --------------------------------------------------------------------------------- */

/* Send by sock.send(), like asyncio: sizes are those of len(). */
static Outcome
sendall_by_method(SockOp *op, PyObject **result)
{
    Py_ssize_t length = PyObject_Length(op->args[1]);
    PyObject *rest = NULL;
    if (length < 0) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError)) {
            return FAILED;
        }
        PyErr_Clear(); /* send() raises for it */
    }
    if (op->sent == 0) {
        rest = Py_NewRef(op->args[1]);
    }
    else {
        PyObject *whole = PyMemoryView_FromObject(op->args[1]);
        rest = whole ? PySequence_GetSlice(whole, op->sent, length) : NULL;
        Py_XDECREF(whole);
        if (rest == NULL) {
            return FAILED;
        }
    }
    PyObject *args[] = {sockop_sock(op), rest};
    PyObject *count;
    Outcome outcome = call_method(op->loop->st->str_send, args, 2, &count);
    Py_DECREF(rest);
    if (outcome != DONE) {
        return outcome;
    }
    Py_ssize_t sent = PyNumber_AsSsize_t(count, PyExc_OverflowError);
    Py_DECREF(count);
    if (sent == -1 && PyErr_Occurred()) {
        return FAILED;
    }
    op->sent += sent;
    if (op->sent < length) {
        return WAIT;
    }
    *result = Py_NewRef(Py_None);
    return DONE;
}

static Outcome
attempt_sendall(SockOp *op, PyObject **result)
{
    if (op->view.obj == NULL) {
        /* A method that has since been put back may have claimed an impossible count. */
        if (op->sent != 0 || !is_method_native(op, op->loop->st->str_send)) {
            return sendall_by_method(op, result);
        }
        if (PyObject_GetBuffer(op->args[1], &op->view, PyBUF_SIMPLE) < 0) {
            PyErr_Clear();
            return sendall_by_method(op, result);
        }
    }
    ssize_t count;
    Outcome outcome = system_send(op, (const char *)op->view.buf + op->sent,
                                  (size_t)(op->view.len - op->sent), &count);
    if (outcome != DONE) {
        return outcome;
    }
    op->sent += count;
    if (op->sent < op->view.len) {
        return WAIT;
    }
    *result = Py_NewRef(Py_None);
    return DONE;
}

static Outcome
attempt_sendto(SockOp *op, PyObject **result)
{
    return call_method(op->loop->st->str_sendto, op->args, 3, result);
}

/* ---- accepting and connecting ---------------------------------------------------------------- */

static Outcome
attempt_accept(SockOp *op, PyObject **result)
{
    fastaio_state *st = op->loop->st;
    Outcome outcome = call_method(st->str_accept, op->args, 1, result);
    if (outcome != DONE) {
        return outcome;
    }
    loop_io_happened(op->loop);
    PyObject *conn = PySequence_GetItem(*result, 0);
    PyObject *done = conn ? PyObject_CallMethodOneArg(conn, st->str_setblocking, Py_False) : NULL;
    Py_XDECREF(conn);
    if (done == NULL) {
        Py_CLEAR(*result);
        return FAILED;
    }
    Py_DECREF(done);
    return DONE;
}

/* Get the result of a connect() that was in progress. */
static Outcome
finish_connect(SockOp *op, PyObject **result)
{
    PyObject *level = PyLong_FromLong(SOL_SOCKET);
    PyObject *option = level ? PyLong_FromLong(SO_ERROR) : NULL;
    PyObject *number = NULL;
    Outcome outcome = FAILED;
    if (option != NULL) {
        PyObject *args[] = {sockop_sock(op), level, option};
        outcome = call_method(op->loop->st->str_getsockopt, args, 3, &number);
    }
    Py_XDECREF(level);
    Py_XDECREF(option);
    if (outcome != DONE) {
        return outcome;
    }
    long error = PyLong_AsLong(number);
    if (error != 0 && !PyErr_Occurred()) {
        PyObject *message = PyUnicode_FromFormat("Connect call failed %S", op->args[1]);
        PyObject *exc =
            message ? PyObject_CallFunction(PyExc_OSError, "OO", number, message) : NULL;
        if (exc != NULL) {
            PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        }
        Py_XDECREF(exc);
        Py_XDECREF(message);
    }
    Py_DECREF(number);
    if (error != 0) {
        return FAILED;
    }
    *result = Py_NewRef(Py_None);
    return DONE;
}

static Outcome
attempt_connect(SockOp *op, PyObject **result)
{
    if (op->connecting) {
        return finish_connect(op, result);
    }
    Outcome outcome = call_method(op->loop->st->str_connect, op->args, 2, result);
    op->connecting = true;
    loop_io_happened(op->loop);
    if (outcome == DONE) {
        Py_SETREF(*result, Py_NewRef(Py_None));
    }
    return outcome;
}

/* Return an address whose host is a literal of the family, with the fields that asyncio's
   resolution adds: (host, port), or (host, port, flowinfo, scope_id) for IPv6. Return NULL without
   an exception for any other address, NULL with MemoryError. */
static PyObject *
complete_literal(PyObject *address, long family)
{
    if (!PyTuple_CheckExact(address)) {
        return NULL;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(address);
    if (count < 2 || count > (family == AF_INET6 ? 4 : 2) ||
        !PyUnicode_CheckExact(PyTuple_GET_ITEM(address, 0)) ||
        !PyLong_CheckExact(PyTuple_GET_ITEM(address, 1))) {
        return NULL;
    }
    char binary[sizeof(struct in6_addr)];
    const char *host = PyUnicode_AsUTF8(PyTuple_GET_ITEM(address, 0));
    if (host == NULL || inet_pton((int)family, host, binary) != 1) {
        PyErr_Clear();
        return NULL;
    }
    if (family == AF_INET || count == 4) {
        return Py_NewRef(address);
    }
    PyObject *zero = PyLong_FromLong(0);
    if (zero == NULL) {
        return NULL;
    }
    PyObject *whole = PyTuple_Pack(4, PyTuple_GET_ITEM(address, 0), PyTuple_GET_ITEM(address, 1),
                                   count > 2 ? PyTuple_GET_ITEM(address, 2) : zero, zero);
    Py_DECREF(zero);
    return whole;
}

/* Call loop._ensure_resolved(address, family=, type=, proto=, loop=). Return its coroutine, or the
   iterator of another awaitable; NULL with an exception. */
static PyObject *
ensure_resolved(SockOp *op, PyObject *family)
{
    fastaio_state *st = op->loop->st;
    PyObject *type = NULL, *proto = NULL, *names = NULL, *coro = NULL;
    if ((type = PyObject_GetAttr(sockop_sock(op), st->str_type)) != NULL &&
        (proto = PyObject_GetAttr(sockop_sock(op), st->str_proto)) != NULL &&
        (names = PyTuple_Pack(4, st->str_family, st->str_type, st->str_proto, st->str_loop))) {
        PyObject *args[] = {(PyObject *)op->loop, op->args[1], family, type, proto,
                            (PyObject *)op->loop};
        coro = PyObject_VectorcallMethod(st->str__ensure_resolved, args, 2, names);
    }
    Py_XDECREF(type);
    Py_XDECREF(proto);
    Py_XDECREF(names);
    if (coro != NULL && !PyCoro_CheckExact(coro)) {
        PyObject *awaitable = coro;
        coro = PyObject_CallMethodNoArgs(awaitable, st->str___await__);
        Py_DECREF(awaitable);
    }
    return coro;
}

/* OpKind.look_up of sock_connect(): look up host names for IPv4 and IPv6 sockets. Literals need no
   look-up. */
static PyObject *
look_up_connect(SockOp *op)
{
    PyObject *family;
    int found = PyObject_GetOptionalAttr(sockop_sock(op), op->loop->st->str_family, &family);
    if (found <= 0) {
        return NULL;
    }
    long number = PyLong_Check(family) ? PyLong_AsLong(family) : AF_UNSPEC;
    PyObject *coro = NULL;
    if (number == AF_INET || number == AF_INET6) {
        PyObject *literal = complete_literal(op->args[1], number);
        if (literal != NULL) {
            Py_SETREF(op->args[1], literal);
        }
        else if (!PyErr_Occurred()) {
            coro = ensure_resolved(op, family);
        }
    }
    Py_DECREF(family);
    return coro;
}

/* ---- the loop's methods ---------------------------------------------------------------------- */

/* Return the index of a parameter, or -1 with TypeError. */
static int
find_param(const OpKind *kind, PyObject *name)
{
    for (int i = 0; kind->params[i] != NULL; i++) {
        if (PyUnicode_CompareWithASCIIString(name, kind->params[i]) == 0) {
            return i;
        }
    }
    PyErr_Format(PyExc_TypeError, "Loop.%s() got an unexpected keyword argument '%U'", kind->name,
                 name);
    return -1;
}

/* Store the arguments of a call, `count` by position and those of `names` by keyword. Return 0, or
   -1 with TypeError. */
static int
take_args(SockOp *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    const OpKind *kind = op->kind;
    int known = 0;
    while (kind->params[known] != NULL) {
        known++;
    }
    if (count > known) {
        PyErr_Format(PyExc_TypeError,
                     "Loop.%s() takes at most %d positional arguments but %zd were given",
                     kind->name, known, count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        op->args[i] = Py_NewRef(args[i]);
    }
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        int index = find_param(kind, name);
        if (index >= 0 && op->args[index] != NULL) {
            PyErr_Format(PyExc_TypeError, "Loop.%s() got multiple values for argument '%U'",
                         kind->name, name);
            index = -1;
        }
        if (index < 0) {
            return -1;
        }
        op->args[index] = Py_NewRef(args[count + i]);
    }
    for (int i = 0; i < kind->required_count; i++) {
        if (op->args[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "Loop.%s() missing required argument: '%s'", kind->name,
                         kind->params[i]);
            return -1;
        }
    }
    return 0;
}

/* Return the coroutine of a sock_*() method; NULL with an exception. */
static PyObject *
make_op(PyObject *self, const OpKind *kind, PyObject *const *args, Py_ssize_t count,
        PyObject *names)
{
    SockOp *op = sockop_new((LoopObject *)self, kind);
    if (op == NULL) {
        return NULL;
    }
    if (take_args(op, args, count, names) < 0 ||
        (relaxed_load(&op->loop->watchdog.debug) && coro_keep_origin(&op->coro) < 0)) {
        coro_end(&op->coro); /* no warning that it was never awaited */
        Py_DECREF(op);
        return NULL;
    }
    PyObject_GC_Track(op);
    return (PyObject *)op;
}

/* X(name, required arguments, side, eager, look_up, parameters) */
#define SOCKET_OPERATIONS(X)                                             \
    X(recv, 2, SIDE_READ, false, NULL, "sock", "n")                      \
    X(recv_into, 2, SIDE_READ, false, NULL, "sock", "buf")               \
    X(recvfrom, 2, SIDE_READ, false, NULL, "sock", "bufsize")            \
    X(recvfrom_into, 2, SIDE_READ, false, NULL, "sock", "buf", "nbytes") \
    X(sendall, 2, SIDE_WRITE, true, NULL, "sock", "data")                \
    X(sendto, 3, SIDE_WRITE, false, NULL, "sock", "data", "address")     \
    X(connect, 2, SIDE_WRITE, false, look_up_connect, "sock", "address") \
    X(accept, 1, SIDE_READ, false, NULL, "sock")

#define X(op_name, needed, wait_side, goes_on, look_up_fn, ...)                              \
    static const OpKind op_name##_kind = {                                                   \
        .name = "sock_" #op_name,                                                            \
        .params = {__VA_ARGS__},                                                             \
        .required_count = needed,                                                                  \
        .side = wait_side,                                                                   \
        .eager = goes_on,                                                                    \
        .attempt = attempt_##op_name,                                                        \
        .look_up = look_up_fn,                                                               \
    };                                                                                       \
    static PyObject *sock_##op_name(PyObject *self, PyObject *const *args, Py_ssize_t count, \
                                    PyObject *names)                                         \
    {                                                                                        \
        return make_op(self, &op_name##_kind, args, count, names);                           \
    }
SOCKET_OPERATIONS(X)
#undef X

#define METHOD(name, text)                                                                      \
    {                                                                                           \
        "sock_" #name, (PyCFunction)(void (*)(void))sock_##name, METH_FASTCALL | METH_KEYWORDS, \
            PyDoc_STR(text)                                                                     \
    }

static PyMethodDef sockops_methods[] = {
    METHOD(recv, "sock_recv($self, sock, n)\n--\n\nReceive at most n bytes."),
    METHOD(recv_into, "sock_recv_into($self, sock, buf)\n--\n\n"
                      "Receive into a buffer; return the number of bytes."),
    METHOD(recvfrom, "sock_recvfrom($self, sock, bufsize)\n--\n\n"
                     "Receive a datagram; return (bytes, address)."),
    METHOD(recvfrom_into, "sock_recvfrom_into($self, sock, buf, nbytes=0)\n--\n\n"
                          "Receive a datagram into a buffer; return (number of bytes, address)."),
    METHOD(sendall, "sock_sendall($self, sock, data)\n--\n\nSend all of data."),
    METHOD(sendto, "sock_sendto($self, sock, data, address)\n--\n\n"
                   "Send a datagram; return the number of bytes."),
    METHOD(connect, "sock_connect($self, sock, address)\n--\n\nConnect to address."),
    METHOD(accept, "sock_accept($self, sock)\n--\n\nAccept a connection; return (sock, address)."),
    {NULL, NULL, 0, NULL},
};

int
sockops_types_init(PyObject *module)
{
    if (sockop_type_init(module) < 0) {
        return -1;
    }
    return state_add_methods(state_of_module(module)->LoopType, sockops_methods);
}
