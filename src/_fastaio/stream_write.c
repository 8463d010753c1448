/* stream_write.c: from write() to the kernel.
 *
 * write() queues, and the loop sends the queues of all transports once per turn, in the order of the
 * calls, each by one system call. asyncio sends at once; where a program could see the difference,
 * the queues are sent at once, too: see stream_flush()'s callers. While a callback blocks its thread
 * the keeper sends instead (stream_keep()).
 */
#include "stream_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_VECTORS 64
/* asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES */
#define LOST_WRITES_UNTIL_WARNING 5

/* ---- the queue ------------------------------------------------------------------------------- */

/* Push on a queue that the keeper may be reading. */
static int
push_listed(StreamObject *self, PyObject *piece, unsigned forks)
{
    FlushList *list = &self->flush.loop->output;
    flush_lock(list);
    bool pushed = pieces_try_push(&self->pieces, piece, forks);
    flush_added(list);
    flush_unlock(list);
    flush_call_keeper(list);
    if (!pushed) {
        Py_DECREF(piece);
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* Takes the reference, also on error. */
static int
push_piece(StreamObject *self, PyObject *piece)
{
    unsigned forks = self->loop != NULL ? self->loop->st->forks : self->pieces.forks;
    if (pieces_are_inherited(&self->pieces, forks)) {
        stream_drop_output(self);
    }
    if (piece == NULL) {
        return -1;
    }
    int rc = self->flush.link != NULL ? push_listed(self, piece, forks)
                                      : pieces_push(&self->pieces, piece, forks);
    if (rc == 0) {
        self->queued += PyBytes_GET_SIZE(piece);
    }
    return rc;
}

static void
forget_kept(FlushNode *node)
{
    node->kept_sends = 0;
    node->kept_size = 0;
    node->kept_error = 0;
    node->kept_full = false;
}

void
stream_drop_output(StreamObject *self)
{
    loop_flush_cancel(&self->flush);
    forget_kept(&self->flush);
    self->queued = 0;
    pieces_drop(&self->pieces);
}

static void
note_sent(StreamObject *self, size_t count)
{
    self->queued -= (Py_ssize_t)count;
    if (self->loop != NULL) {
        self->loop->metrics.bytes_sent += count;
    }
    pieces_advance(&self->pieces, count);
}

/* ---- the system call ------------------------------------------------------------------------- */

/* One call for as much as fits in it, without the first `skip` bytes; *asked: how many bytes that
   was. Needs no GIL. */
static ssize_t
send_vector(const Pieces *pieces, size_t skip, int fd, int flags, size_t *asked)
{
    struct iovec vectors[MAX_VECTORS];
    size_t count = 0;
    skip += pieces->offset;
    *asked = 0;
    for (size_t i = 0; i < pieces->count && count < MAX_VECTORS; i++) {
        PyObject *piece = pieces_at(pieces, i);
        size_t size = (size_t)PyBytes_GET_SIZE(piece);
        if (skip >= size) {
            skip -= size;
            continue;
        }
        vectors[count].iov_base = PyBytes_AS_STRING(piece) + skip;
        vectors[count].iov_len = size - skip;
        *asked += vectors[count++].iov_len;
        skip = 0;
    }
    ssize_t sent;
    do {
        if (count == 1) {
            sent = send(fd, vectors[0].iov_base, vectors[0].iov_len, flags);
        }
        else {
            struct msghdr message = {.msg_iov = vectors, .msg_iovlen = count};
            sent = sendmsg(fd, &message, flags);
        }
    } while (sent < 0 && errno == EINTR);
    return sent;
}

/* Until the queue is empty or the kernel takes no more; -1 with OSError. */
static int
send_native(StreamObject *self)
{
    while (self->pieces.count) {
        size_t asked;
        ssize_t sent = send_vector(&self->pieces, 0, stream_fd(self), MSG_NOSIGNAL, &asked);
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        if (sent > 0) {
            note_sent(self, (size_t)sent);
        }
        if (sent < (ssize_t)asked) {
            self->writable = false;
            break;
        }
    }
    return 0;
}

/* What is left of the first piece, for a method that wants an object. */
static PyObject *
first_piece(StreamObject *self)
{
    PyObject *piece = pieces_at(&self->pieces, 0);
    if (self->pieces.offset == 0) {
        return Py_NewRef(piece);
    }
    PyObject *whole = PyMemoryView_FromObject(piece);
    if (whole == NULL) {
        return NULL;
    }
    PyObject *rest = PySequence_GetSlice(whole, (Py_ssize_t)self->pieces.offset, PY_SSIZE_T_MAX);
    Py_DECREF(whole);
    return rest;
}

/* What is queued as a list, for sendmsg(). */
static PyObject *
all_pieces(StreamObject *self)
{
    size_t count = self->pieces.count < MAX_VECTORS ? self->pieces.count : MAX_VECTORS;
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *piece = i ? Py_NewRef(pieces_at(&self->pieces, i)) : first_piece(self);
        if (piece == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, piece);
    }
    return list;
}

/* As asyncio does it: send() for what is new, sendmsg() for what was left over. */
static PyObject *
call_send(StreamObject *self)
{
    fastaio_state *st = self->loop->st;
    PyObject *method = NULL;
    PyObject *data = NULL;
    if (self->leftover && PY_VERSION_HEX >= 0x030C0000) {
        if (PyObject_GetOptionalAttr(self->sock, st->str_sendmsg, &method) < 0) {
            return NULL;
        }
        data = method != NULL ? all_pieces(self) : NULL;
    }
    if (method == NULL) {
        method = PyObject_GetAttr(self->sock, st->str_send);
        data = method != NULL ? first_piece(self) : NULL;
    }
    PyObject *result = data != NULL ? PyObject_CallOneArg(method, data) : NULL;
    Py_XDECREF(method);
    Py_XDECREF(data);
    return result;
}

/* A foreign socket may well take less than there is room for: only "would block", and taking
   nothing, ends this. */
static int
send_foreign(StreamObject *self)
{
    while (self->pieces.count && self->sock != NULL) {
        PyObject *result = call_send(self);
        Py_ssize_t sent = result != NULL ? PyNumber_AsSsize_t(result, PyExc_OverflowError) : -1;
        Py_XDECREF(result);
        if (sent >= 0 && self->pieces.count == 0) {
            return 0; /* the call has closed us */
        }
        if (sent > self->queued || (sent < 0 && !PyErr_Occurred())) {
            PyErr_SetString(PyExc_ValueError, "the socket claims to have sent an impossible count");
            return -1;
        }
        if (sent <= 0) {
            if (sent < 0 && !PyErr_ExceptionMatches(PyExc_BlockingIOError) &&
                !PyErr_ExceptionMatches(PyExc_InterruptedError)) {
                return -1;
            }
            PyErr_Clear();
            self->leftover = true;
            self->writable = false;
            return stream_watch_again(self);
        }
        note_sent(self, (size_t)sent);
        self->leftover = self->pieces.offset != 0;
    }
    return 0;
}

/* ---- the keeper ------------------------------------------------------------------------------ */

/* A socket object's descriptor, which another thread may be taking away. */
static inline int
current_fd(const int *sock_fd)
{
    return *(const volatile int *)sock_fd;
}

/* A descriptor of our own for the socket, -1 with errno: the number may become a stranger's, since
   the user may detach or close the socket object at any moment. That sets the object's field before
   the number is free; so if the field is unchanged behind dup(), what was duplicated is the socket. */
static int
duplicate_fd(const int *sock_fd)
{
    int fd = current_fd(sock_fd);
    int own = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (own >= 0 && current_fd(sock_fd) != fd) {
        close(own);
        own = -1;
        errno = EBADF;
    }
    return own;
}

bool
stream_keep(FlushNode *node)
{
    StreamObject *self = (StreamObject *)node->owner;
    size_t left = (size_t)self->queued - node->kept_size;
    if (left == 0 || self->sock_fd == NULL || node->kept_full || node->kept_error ||
        pieces_are_inherited(&self->pieces, self->loop->st->forks)) {
        return false;
    }
    int fd = duplicate_fd(self->sock_fd);
    if (fd < 0) {
        return errno == EMFILE || errno == ENFILE;
    }
    while (left > 0 && !node->kept_full && !node->kept_error) {
        size_t asked;
        ssize_t sent = send_vector(&self->pieces, node->kept_size, fd,
                                   MSG_NOSIGNAL | MSG_DONTWAIT, &asked);
        node->kept_sends++;
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            node->kept_error = errno;
        }
        else if (sent < (ssize_t)asked) {
            node->kept_full = true;
        }
        if (sent > 0) {
            node->kept_size += (size_t)sent;
            left -= (size_t)sent;
        }
    }
    close(fd);
    return false;
}

/* Apply what the keeper has done for us: as if it had just been done here. The node is off the list.
   -1 with OSError. */
static int
take_kept(StreamObject *self)
{
    FlushNode *node = &self->flush;
    if (node->kept_sends == 0) {
        return 0;
    }
    FlushNode kept = *node;
    forget_kept(node);
    if (self->loop != NULL) {
        self->loop->metrics.keeper_sends += kept.kept_sends;
    }
    note_sent(self, kept.kept_size);
    if (kept.kept_full) {
        self->writable = false;
    }
    if (kept.kept_error) {
        errno = kept.kept_error;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

/* ---- sending --------------------------------------------------------------------------------- */

void
stream_send_last(StreamObject *self)
{
    loop_flush_cancel(&self->flush);
    if (take_kept(self) < 0) {
        PyErr_Clear();
        return;
    }
    if (self->pieces.count && self->writable && !self->foreign && !self->conn_lost &&
        self->sock != NULL && self->loop != NULL &&
        !pieces_are_inherited(&self->pieces, self->loop->st->forks)) {
        if (send_native(self) < 0) {
            PyErr_Clear(); /* nobody is left who could be told */
        }
    }
}

/* ---- flow control ---------------------------------------------------------------------------- */

static int
tell_protocol(StreamObject *self, PyObject *name, const char *failure)
{
    PyObject *protocol = Py_NewRef(self->protocol); /* it may set another one */
    PyObject *result = PyObject_CallMethodNoArgs(protocol, name);
    Py_DECREF(protocol);
    if (result != NULL) {
        Py_DECREF(result);
        return 0;
    }
    if (exception_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    int rc = stream_report(self, failure, exc);
    Py_DECREF(exc);
    return rc;
}

int
stream_maybe_pause(StreamObject *self)
{
    if (self->queued <= self->high_water || self->protocol_paused || self->protocol == NULL) {
        return 0;
    }
    self->protocol_paused = true;
    return tell_protocol(self, self->loop->st->str_pause_writing,
                         "protocol.pause_writing() failed");
}

static int
maybe_resume(StreamObject *self)
{
    if (!self->protocol_paused || self->queued > self->low_water || self->protocol == NULL) {
        return 0;
    }
    self->protocol_paused = false;
    return tell_protocol(self, self->loop->st->str_resume_writing,
                         "protocol.resume_writing() failed");
}

/* ---- flushing -------------------------------------------------------------------------------- */

static int
write_failed(StreamObject *self)
{
    if (exception_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    stream_drop_output(self);
    int rc = stream_fatal_error(self, exc, "Fatal write error on socket transport");
    if (rc == 0) {
        rc = stream_end_empty_waiter(self, exc);
    }
    Py_DECREF(exc);
    return rc;
}

static int
shut_down_writing(StreamObject *self)
{
    if (!self->foreign) {
        if (shutdown(stream_fd(self), SHUT_WR) == 0) {
            return 0;
        }
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    PyObject *how = PyLong_FromLong(SHUT_WR);
    PyObject *result = NULL;
    if (how != NULL) {
        result = PyObject_CallMethodOneArg(self->sock, self->loop->st->str_shutdown, how);
        Py_DECREF(how);
    }
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* The queue has just become empty: what waited for that. */
static int
drained(StreamObject *self)
{
    stream_update_hold(self);
    if (stream_end_empty_waiter(self, NULL) < 0) {
        return -1;
    }
    if (self->loop == NULL) {
        return 0;
    }
    if (self->closing) {
        return self->conn_lost ? 0 : stream_lose(self, Py_None);
    }
    if (self->eof && shut_down_writing(self) < 0) {
        return write_failed(self);
    }
    return 0;
}

static int
send_queued(StreamObject *self)
{
    loop_flush_cancel(&self->flush);
    bool may_send = self->pieces.count != 0 && self->writable;
    if (self->conn_lost || self->loop == NULL || !(may_send || self->flush.kept_sends)) {
        return 0;
    }
    loop_io_happened(self->loop);
    if (pieces_are_inherited(&self->pieces, self->loop->st->forks)) {
        stream_drop_output(self);
    }
    if (take_kept(self) < 0) {
        return write_failed(self);
    }
    if (self->writable && (self->foreign ? send_foreign(self) : send_native(self)) < 0) {
        return write_failed(self);
    }
    if (self->loop == NULL) { /* a foreign socket's method has ended the connection */
        return 0;
    }
    if (!self->writable && self->started && !self->watched_out && stream_watch(self) < 0) {
        return write_failed(self);
    }
    if (maybe_resume(self) < 0) { /* which may write more */
        return -1;
    }
    if (self->pieces.count == 0 && self->loop != NULL) {
        return drained(self);
    }
    stream_update_hold(self);
    return 0;
}

int
stream_flush(StreamObject *self)
{
    LoopObject *loop = self->loop;
    if (self->pieces.count == 0) {
        return 0;
    }
    if (self->writable && loop != NULL && loop->output.first != NULL &&
        loop_flush_through(loop, &self->flush) < 0) {
        return -1;
    }
    return send_queued(self);
}

int
stream_flush_entry(LoopObject *Py_UNUSED(loop), PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    Py_INCREF(op);
    int rc = send_queued(self);
    if (rc < 0 && !exception_leaves_loop()) {
        PyObject *exc = PyErr_GetRaisedException();
        rc = stream_report(self, "Fatal write error on socket transport", exc);
        Py_DECREF(exc);
    }
    Py_DECREF(op);
    return rc;
}

/* Before something is queued: what others have queued behind our last output leaves before this
   does, and so does all of it before what is sent at once. */
static inline int
flush_before(StreamObject *self, bool at_once)
{
    LoopObject *loop = self->loop;
    if (self->flush.next == NULL && !(at_once && loop != NULL && loop->output.first != NULL)) {
        return 0;
    }
    return loop_flush_through(loop, NULL);
}

/* After something was queued. */
static int
flush_soon(StreamObject *self, bool at_once)
{
    LoopObject *loop = self->loop;
    if (loop == NULL) { /* a buffer with methods in Python has ended it */
        stream_drop_output(self);
        return 0;
    }
    /* Where nobody will come by to flush: the loop does not run, or runs in another thread; or where
       nobody could if the callback blocks: only the methods of a foreign socket can send. */
    at_once = at_once || self->queued > self->high_water || self->sock_fd == NULL ||
              loop->thread_id != PyThread_get_thread_ident() || !flush_may_wait(&loop->output);
    if (self->writable && !at_once) {
        loop_flush_later(loop, &self->flush);
        return 0;
    }
    if (self->writable && stream_flush(self) < 0) {
        return -1;
    }
    return stream_maybe_pause(self);
}

/* ---- methods --------------------------------------------------------------------------------- */

/* 1: may write, 0: the connection is lost, -1: error. */
static int
check_alive(StreamObject *self)
{
    if (self->conn_lost == 0 && self->loop != NULL) {
        return 1;
    }
    if (self->conn_lost >= LOST_WRITES_UNTIL_WARNING) {
        fastaio_state *st = state_of_type(Py_TYPE(self));
        PyObject *result =
            st ? PyObject_CallMethod(st->logger, "warning", "s", "socket.send() raised exception.")
               : NULL;
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    self->conn_lost++;
    return 0;
}

static int
check_may_write(StreamObject *self, const char *eof_error, const char *sendfile_error)
{
    if (!self->eof && self->empty_waiter == NULL) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError, self->eof ? eof_error : sendfile_error);
    return -1;
}

/* A large mutable buffer and nothing before it: the kernel copies, we need only what it leaves.
   1: sent or queued, 0: to be queued as always, -1: error. */
static int
send_large(StreamObject *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear(); /* not contiguous: it is to be copied */
        return 0;
    }
    ssize_t sent = -1;
    int rc = 1;
    if (view.len >= STREAM_LARGE) {
        do {
            sent = send(stream_fd(self), view.buf, (size_t)view.len, MSG_NOSIGNAL);
        } while (sent < 0 && errno == EINTR);
    }
    if (sent < 0) {
        rc = 0; /* the ordinary way will meet the error again */
    }
    else {
        loop_io_happened(self->loop);
        self->loop->metrics.bytes_sent += (uint64_t)sent;
        if (sent < view.len) {
            PyObject *rest = PyBytes_FromStringAndSize((char *)view.buf + sent, view.len - sent);
            rc = push_piece(self, rest) < 0 || flush_soon(self, true) < 0 ? -1 : 1;
        }
    }
    PyBuffer_Release(&view);
    return rc;
}

/* What asyncio says to what is not bytes: its words change from version to version. */
static PyObject *
refuse_to_write(PyObject *op, PyObject *data)
{
    fastaio_state *st = state_of_type(Py_TYPE(op));
    return st != NULL ? PyObject_CallMethodObjArgs(st->asyncio_SocketTransport, st->str_write, op,
                                                   data, NULL)
                      : NULL;
}

static PyObject *
stream_write(PyObject *op, PyObject *data)
{
    StreamObject *self = (StreamObject *)op;
    Py_ssize_t size;
    if (PyBytes_Check(data)) {
        size = PyBytes_GET_SIZE(data);
    }
    else if (PyByteArray_Check(data) || PyMemoryView_Check(data)) {
        size = PyObject_Size(data);
        if (size < 0) {
            return NULL;
        }
    }
    else {
        return refuse_to_write(op, data);
    }
    if (check_may_write(self, "Cannot call write() after write_eof()",
                        "unable to write; sendfile is in progress") < 0) {
        return NULL;
    }
    if (size == 0) {
        Py_RETURN_NONE;
    }
    if (flush_before(self, size >= STREAM_LARGE) < 0) {
        return NULL;
    }
    int alive = check_alive(self);
    if (alive <= 0) {
        return alive < 0 ? NULL : Py_NewRef(Py_None);
    }
    bool large = size >= STREAM_LARGE && self->pieces.count == 0;
    if (large && !PyBytes_CheckExact(data) && self->writable && !self->foreign) {
        int sent = send_large(self, data);
        if (sent != 0) {
            return sent < 0 ? NULL : Py_NewRef(Py_None);
        }
    }
    PyObject *piece = PyBytes_FromObject(data); /* exactly bytes: no code runs when it goes */
    if (push_piece(self, piece) < 0 || flush_soon(self, large) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

int
stream_send(fastaio_state *st, PyObject *transport, PyObject *data)
{
    PyObject *result;
    Py_INCREF(transport);
    if (Py_IS_TYPE(transport, st->StreamTransportType) &&
        stream_is_unpatched((StreamObject *)transport)) {
        result = stream_write(transport, data);
    }
    else {
        result = PyObject_CallMethodOneArg(transport, st->str_write, data);
    }
    Py_DECREF(transport);
    return drop_result(result);
}

/* The piece for one of the buffers that writelines() was given: NULL with TypeError for what is
   none. */
static PyObject *
piece_of(PyObject *data)
{
    if (PyBytes_CheckExact(data)) {
        return Py_NewRef(data);
    }
    PyObject *view = PyMemoryView_FromObject(data);
    PyObject *piece = view != NULL ? PyBytes_FromObject(view) : NULL;
    Py_XDECREF(view);
    return piece;
}

static PyObject *
stream_writelines(PyObject *op, PyObject *lines)
{
    StreamObject *self = (StreamObject *)op;
    if (check_may_write(self, "Cannot call writelines() after write_eof()",
                        "unable to writelines; sendfile is in progress") < 0) {
        return NULL;
    }
    int some = PyObject_IsTrue(lines);
    if (some <= 0) {
        return some < 0 ? NULL : Py_NewRef(Py_None);
    }
    if (flush_before(self, false) < 0) {
        return NULL;
    }
    int alive = check_alive(self);
    if (alive <= 0) {
        return alive < 0 ? NULL : Py_NewRef(Py_None);
    }
    /* All or nothing: what is no buffer must not leave half of them queued. */
    PyObject *list = PySequence_List(lines);
    if (list == NULL) {
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(list);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *piece = piece_of(PyList_GET_ITEM(list, i));
        if (piece == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SetItem(list, i, piece);
    }
    int rc = 0;
    for (Py_ssize_t i = 0; i < count && rc == 0 && self->loop != NULL; i++) {
        PyObject *piece = PyList_GET_ITEM(list, i);
        if (PyBytes_GET_SIZE(piece)) {
            rc = push_piece(self, Py_NewRef(piece));
        }
    }
    Py_DECREF(list);
    if (rc == 0 && self->pieces.count) {
        rc = flush_soon(self, false);
    }
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
stream_write_eof(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    if (self->eof || self->loop == NULL || loop_flush_before(self->loop) < 0 ||
        stream_flush(self) < 0) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    if (!self->closing) {
        self->eof = true;
        if (self->pieces.count == 0 && self->sock != NULL && shut_down_writing(self) < 0) {
            return NULL;
        }
        if (self->loop != NULL) {
            loop_io_happened(self->loop);
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
stream_can_write_eof(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_TRUE;
}

static PyObject *
stream_get_write_buffer_size(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    if (stream_flush(self) < 0) {
        return NULL;
    }
    return PyLong_FromSsize_t(self->queued);
}

static PyObject *
stream_get_write_buffer_limits(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    return Py_BuildValue("(nn)", self->low_water, self->high_water);
}

/* A limit in bytes; what no size can reach counts as the largest size. */
static int
parse_limit(PyObject *obj, Py_ssize_t *limit)
{
    if (PyFloat_Check(obj)) {
        double value = PyFloat_AS_DOUBLE(obj);
        *limit = value >= (double)PY_SSIZE_T_MAX ? PY_SSIZE_T_MAX
                 : value < 0                     ? -1
                                                 : (Py_ssize_t)value;
        return 0;
    }
    *limit = PyNumber_AsSsize_t(obj, NULL);
    return *limit == -1 && PyErr_Occurred() ? -1 : 0;
}

static int
set_limits(StreamObject *self, PyObject *high_obj, PyObject *low_obj)
{
    Py_ssize_t high, low = 0;
    if (low_obj != Py_None && parse_limit(low_obj, &low) < 0) {
        return -1;
    }
    if (high_obj != Py_None) {
        if (parse_limit(high_obj, &high) < 0) {
            return -1;
        }
    }
    else if (low_obj == Py_None) {
        high = STREAM_LARGE;
    }
    else {
        high = low > PY_SSIZE_T_MAX / 4 ? PY_SSIZE_T_MAX : 4 * low;
    }
    if (low_obj == Py_None) {
        low = high >= 0 ? high / 4 : -1;
    }
    if (high < low || low < 0) {
        PyErr_Format(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0", high, low);
        return -1;
    }
    self->high_water = high;
    self->low_water = low;
    return 0;
}

static PyObject *
limits_method(StreamObject *self, PyObject *args, PyObject *kwargs, bool pause)
{
    static char *names[] = {"high", "low", NULL};
    PyObject *high = Py_None, *low = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:set_write_buffer_limits", names, &high,
                                     &low) ||
        set_limits(self, high, low) < 0) {
        return NULL;
    }
    if (pause && (stream_flush(self) < 0 || stream_maybe_pause(self) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
stream_set_write_buffer_limits(PyObject *op, PyObject *args, PyObject *kwargs)
{
    return limits_method((StreamObject *)op, args, kwargs, true);
}

static PyObject *
stream_set_limits_only(PyObject *op, PyObject *args, PyObject *kwargs)
{
    return limits_method((StreamObject *)op, args, kwargs, false);
}

BY_KEYWORD_TOO(stream_write, "write", "data")
BY_KEYWORD_TOO(stream_writelines, "writelines", "list_of_data")

PyMethodDef stream_write_methods[] = {
    {"write", KEYWORDS(stream_write_call), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("write($self, data)\n--\n\nSend bytes; what the kernel does not take waits.")},
    {"writelines", KEYWORDS(stream_writelines_call), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("writelines($self, list_of_data)\n--\n\nSend the bytes of all of these, in order.")},
    {"write_eof", stream_write_eof, METH_NOARGS,
     PyDoc_STR("write_eof($self, /)\n--\n\n"
               "Close the sending half, once what is queued is sent; receiving goes on.")},
    {"can_write_eof", stream_can_write_eof, METH_NOARGS,
     PyDoc_STR("can_write_eof($self, /)\n--\n\nTrue: write_eof() works.")},
    {"get_write_buffer_size", stream_get_write_buffer_size, METH_NOARGS,
     PyDoc_STR(
         "get_write_buffer_size($self, /)\n--\n\nHow many bytes the kernel has not taken yet.")},
    {"get_write_buffer_limits", stream_get_write_buffer_limits, METH_NOARGS,
     PyDoc_STR("get_write_buffer_limits($self, /)\n--\n\n(low, high): the marks of flow control.")},
    {"set_write_buffer_limits", KEYWORDS(stream_set_write_buffer_limits),
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("set_write_buffer_limits($self, high=None, low=None)\n--\n\n"
               "Set the marks at which the protocol is told to pause and to resume writing.")},
    {"_set_write_buffer_limits", KEYWORDS(stream_set_limits_only), METH_VARARGS | METH_KEYWORDS,
     NULL},
    {NULL, NULL, 0, NULL},
};
