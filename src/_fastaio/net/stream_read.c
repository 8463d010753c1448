/* stream_read.c: from the kernel to the protocol.
 *
 * The descriptor is watched edge-triggered. A turn reads a connection once. A read that does not
 * exhaust the input leaves `readable` set, and the next read is queued.
 *
 * `readable` is cleared only by proof that the input is exhausted.  EAGAIN is
 * proof on every socket.  A short read is proof where nothing but the end of
 * the data can have cut it:
 *
 * - TCP: a read stops early only at urgent data.  The poller reports urgent
 *   data (EPOLLPRI) before or with what lies behind it, and sockatmark() tells
 *   whether the read stopped there.  (Kernel TLS also stops before a record
 *   that is not data.  The next read would fail there and brings no data.)
 * - Unix stream sockets: a read stops early at urgent data, as above, and at
 *   ancillary data: descriptors, or another writer's credentials or security
 *   label.  recvmsg() without room for ancillary data sets MSG_CTRUNC then.
 * - All other sockets (messages, MPTCP, vsock, a subclass of socket.socket):
 *   a short read proves nothing.
 *
 * Data that arrives after the read makes an event of its own.
 */
#include "net/stream_read.h"

#include "base/kernel.h"
#include "net/stream_base.h"
#include "net/stream_flush.h"
#include "transport/sink.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { READ_ERROR = -1, READ_NOTHING = 0, READ_DONE = 1 };

/* ---- the system call ------------------------------------------------------------------------- */

/* Receive up to `size` bytes without blocking, whatever mode the socket is in: others who share the
   open file may have changed it. Set *cut where ancillary data may have ended the read. */
static ssize_t
receive(StreamObject *self, void *buffer, size_t size, bool *cut)
{
    int fd = stream_fd(self);
    ssize_t count;
    *cut = false;
    if (self->sock.kind != SOCKET_UNIX) {
        do {
            count = kernel_recv(fd, buffer, size, MSG_DONTWAIT);
        } while (count < 0 && errno == EINTR);
        return count;
    }
    struct iovec vector = {.iov_base = buffer, .iov_len = size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    do {
        count = recvmsg(fd, &message, MSG_DONTWAIT);
    } while (count < 0 && errno == EINTR);
    PROBE2(receive, fd, count);
    *cut = count >= 0 && (message.msg_flags & MSG_CTRUNC);
    return count;
}

static int
fail_recv(StreamObject *self)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        self->in.readable = false;
        return READ_NOTHING;
    }
    PyErr_SetFromErrno(PyExc_OSError);
    return READ_ERROR;
}

/* Return whether a read that ended early proves that the input is exhausted, by the rules at the
   top of this file. */
static bool
is_input_exhausted(const StreamObject *self, bool cut)
{
    /* Once the end has been reported there is no further event: EOF is found by reading on. */
    if (self->in.hung_up || cut || self->sock.kind == SOCKET_OTHER) {
        return false;
    }
    return !self->in.urgent || sockatmark(stream_fd(self)) != 1;
}

/* Record a read of `count` bytes and decide whether the input is exhausted. ended_early: the buffer
   had room for more, or FIONREAD had counted no more. */
static void
conclude_read(StreamObject *self, ssize_t count, bool ended_early, bool cut)
{
    self->in.last_read = count;
    relaxed_add(&self->loop->metrics.bytes_received, (uint64_t)count);
    if (ended_early && is_input_exhausted(self, cut)) {
        self->in.readable = false;
    }
}

/* Receive into the loop's hot buffer, then make a bytes object of exactly the right size. */
static int
recv_copying(StreamObject *self, PyObject **data)
{
    char *buffer = loop_hot_buffer(self->loop);
    if (buffer == NULL) {
        return READ_ERROR;
    }
    bool cut;
    ssize_t count = receive(self, buffer, HOT_BUFFER_SIZE, &cut);
    if (count < 0) {
        return fail_recv(self);
    }
    conclude_read(self, count, count < HOT_BUFFER_SIZE, cut);
    *data = PyBytes_FromStringAndSize(buffer, count);
    return *data != NULL ? READ_DONE : READ_ERROR;
}

/* Receive straight into a bytes object. Used when reads bring much at a time. */
static int
recv_straight(StreamObject *self, PyObject **data)
{
    int available;
    if (ioctl(stream_fd(self), FIONREAD, &available) < 0 || available < STREAM_LARGE) {
        return recv_copying(self, data);
    }
    bool all = available <= HOT_BUFFER_SIZE;
    Py_ssize_t size = all ? available : HOT_BUFFER_SIZE;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes == NULL) {
        return READ_ERROR;
    }
    bool cut;
    ssize_t count = receive(self, PyBytes_AS_STRING(bytes), (size_t)size, &cut);
    if (count < 0) {
        int error = errno;
        Py_DECREF(bytes);
        errno = error;
        return fail_recv(self);
    }
    conclude_read(self, count, all, cut);
    if (count < size && _PyBytes_Resize(&bytes, count) < 0) {
        return READ_ERROR;
    }
    *data = bytes;
    return READ_DONE;
}

/* Call a method of a foreign socket. READ_NOTHING where it would block. */
static int
call_foreign(StreamObject *self, PyObject *name, PyObject *arg, PyObject **result)
{
    PyObject *sock = Py_NewRef(self->sock.obj);
    *result = PyObject_CallMethodOneArg(sock, name, arg);
    Py_DECREF(sock);
    if (self->loop == NULL && *result != NULL) { /* the method has ended the connection */
        Py_CLEAR(*result);
        return READ_NOTHING;
    }
    if (*result != NULL) {
        return READ_DONE;
    }
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
        PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
        self->in.readable = false;
        return stream_watch_again(self) < 0 ? READ_ERROR : READ_NOTHING;
    }
    return READ_ERROR;
}

static int
recv_foreign(StreamObject *self, PyObject **data)
{
    PyObject *size = PyLong_FromLong(HOT_BUFFER_SIZE);
    if (size == NULL) {
        return READ_ERROR;
    }
    int rc = call_foreign(self, self->loop->st->str_recv, size, data);
    Py_DECREF(size);
    if (rc == READ_DONE && PyBytes_Check(*data)) {
        conclude_read(self, PyBytes_GET_SIZE(*data), false, false);
    }
    return rc;
}

/* ---- the end --------------------------------------------------------------------------------- */

static int
handle_eof(StreamObject *self)
{
    self->in.eof = true;
    self->in.readable = false;
    if (stream_debug(self, "%r received EOF") < 0) {
        return -1;
    }
    if (self->loop == NULL || self->sink.protocol == NULL) {
        return 0;
    }
    PyObject *protocol = Py_NewRef(self->sink.protocol); /* the callback may set another one */
    PyObject *result = PyObject_CallMethodNoArgs(protocol, self->loop->st->str_eof_received);
    Py_DECREF(protocol);
    int keep_open = result != NULL ? PyObject_IsTrue(result) : -1;
    Py_XDECREF(result);
    if (keep_open < 0) {
        return stream_fatal_raised(self, "Fatal error: protocol.eof_received() call failed.");
    }
    if (!keep_open) {
        return stream_close(self);
    }
    /* As on asyncio nothing is read any more, also if the callback has paused and resumed reading. */
    self->in.eof = true;
    self->in.readable = false;
    stream_update_hold(self);
    return 0;
}

/* After an error of the socket nothing more is sent: a failure to send would hide the cause. */
static int
fail_read(StreamObject *self)
{
    if (PyErr_ExceptionMatches(PyExc_OSError)) {
        PyObject *exc = PyErr_GetRaisedException();
        stream_drop_output(self);
        PyErr_SetRaisedException(exc);
    }
    return stream_fatal_raised(self, "Fatal read error on socket transport");
}

/* ---- Protocol -------------------------------------------------------------------------------- */

static int
read_data(StreamObject *self)
{
    PyObject *data = NULL;
    int rc;
    if (self->sock.foreign) {
        rc = recv_foreign(self, &data);
    }
    else if (self->in.last_read >= STREAM_LARGE) {
        rc = recv_straight(self, &data);
    }
    else {
        rc = recv_copying(self, &data);
    }
    if (rc != READ_DONE) {
        return rc == READ_ERROR ? fail_read(self) : 0;
    }
    int some = PyBytes_Check(data) ? PyBytes_GET_SIZE(data) != 0 : PyObject_IsTrue(data);
    if (some <= 0) {
        Py_DECREF(data);
        return some < 0 ? fail_read(self) : handle_eof(self);
    }
    if (self->loop == NULL) { /* a method of a foreign socket has ended the connection */
        Py_DECREF(data);
        return 0;
    }
    rc = sink_deliver(self->loop->st, &self->sink.protocol, self->sink.reader, data);
    Py_DECREF(data);
    return rc == 0
               ? 0
               : stream_fatal_raised(self, "Fatal error: protocol.data_received() call failed.");
}

/* ---- BufferedProtocol ------------------------------------------------------------------------ */

static PyObject *
get_buffer(StreamObject *self)
{
    PyObject *hint = PyLong_FromLong(-1);
    if (hint == NULL) {
        return NULL;
    }
    PyObject *protocol = Py_NewRef(self->sink.protocol);
    PyObject *buffer = PyObject_CallMethodOneArg(protocol, self->loop->st->str_get_buffer, hint);
    Py_DECREF(protocol);
    Py_DECREF(hint);
    Py_ssize_t size = buffer != NULL ? PyObject_Size(buffer) : -1;
    if (size == 0) {
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
    }
    if (size <= 0) {
        Py_CLEAR(buffer);
    }
    return buffer;
}

static int
recv_into(StreamObject *self, PyObject *buffer, Py_ssize_t *count)
{
    Py_buffer view;
    if (PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE) < 0) {
        if (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_BufferError)) {
            PyErr_Clear();
            PyErr_Format(PyExc_TypeError,
                         "recv_into() argument 1 must be read-write bytes-like object, not %.50s",
                         Py_TYPE(buffer)->tp_name);
        }
        return READ_ERROR;
    }
    /* get_buffer() may have paused reading or closed the transport. As on asyncio, this read still takes
       place: connection_lost() comes later. A __buffer__() that runs the loop may have released the socket. */
    if (self->loop == NULL || self->sock.obj == NULL) {
        PyBuffer_Release(&view);
        return READ_NOTHING;
    }
    bool cut;
    *count = receive(self, view.buf, (size_t)view.len, &cut);
    int rc = READ_DONE;
    if (*count < 0) {
        rc = fail_recv(self);
    }
    else {
        conclude_read(self, *count, *count < view.len, cut);
    }
    PyBuffer_Release(&view);
    return rc;
}

static int
recv_into_foreign(StreamObject *self, PyObject *buffer, Py_ssize_t *count)
{
    PyObject *result;
    int rc = call_foreign(self, self->loop->st->str_recv_into, buffer, &result);
    if (rc != READ_DONE) {
        return rc;
    }
    *count = PyNumber_AsSsize_t(result, PyExc_OverflowError);
    Py_DECREF(result);
    if (*count < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "recv_into() returned a negative count");
        }
        return READ_ERROR;
    }
    if (self->loop == NULL) { /* an object that stands for the count has ended the connection */
        return READ_NOTHING;
    }
    conclude_read(self, *count, false, false);
    return READ_DONE;
}

static int
read_into_protocol(StreamObject *self)
{
    PyObject *buffer = get_buffer(self);
    if (buffer == NULL) {
        return stream_fatal_raised(self, "Fatal error: protocol.get_buffer() call failed.");
    }
    if (self->loop == NULL ||
        self->sink.protocol == NULL) { /* a nested run has ended the connection */
        Py_DECREF(buffer);
        return 0;
    }
    Py_ssize_t count = 0;
    int rc = self->sock.foreign ? recv_into_foreign(self, buffer, &count)
                                : recv_into(self, buffer, &count);
    Py_DECREF(buffer);
    if (rc != READ_DONE) {
        return rc == READ_ERROR ? fail_read(self) : 0;
    }
    if (self->loop == NULL || self->sink.protocol == NULL) { /* so has dropping the buffer */
        return 0;
    }
    if (count == 0) {
        return handle_eof(self);
    }
    PyObject *number = PyLong_FromSsize_t(count);
    PyObject *result = NULL;
    if (number != NULL) {
        PyObject *protocol = Py_NewRef(self->sink.protocol);
        result = PyObject_CallMethodOneArg(protocol, self->loop->st->str_buffer_updated, number);
        Py_DECREF(protocol);
        Py_DECREF(number);
    }
    if (result == NULL) {
        return stream_fatal_raised(self, "Fatal error: protocol.buffer_updated() call failed.");
    }
    Py_DECREF(result);
    return 0;
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static int
read_into_native(StreamObject *self)
{
    char *buffer = loop_hot_buffer(self->loop);
    if (buffer == NULL) {
        return fail_read(self);
    }
    bool cut;
    ssize_t count = receive(self, buffer, HOT_BUFFER_SIZE, &cut);
    if (count < 0) {
        return fail_recv(self) == READ_ERROR ? fail_read(self) : 0;
    }
    conclude_read(self, count, count < HOT_BUFFER_SIZE, cut);
    if (count == 0) {
        return handle_eof(self);
    }
    PyObject *protocol = Py_NewRef(self->sink.protocol); /* feed() may drop it */
    int rc = self->sink.feed(protocol, buffer, count);
    Py_DECREF(protocol);
    return rc == 0
               ? 0
               : stream_fatal_raised(self, "Fatal error: protocol.buffer_updated() call failed.");
}

/* ---- turns -----------------------------------------------------------------------------------
 *
 * A turn reads each connection once. A connection with more data is read again in the next turn.
 *
 * A task uses the data of its stream reader one turn later. The data costs least while it is in the
 * CPU's cache. So connections whose readers get much at a time share one queue. A turn serves the
 * connection that has waited longest, then further ones until the turn has read STREAM_LARGE bytes. A
 * connection with more data is queued at the end, so equal senders get equal shares.
 */

static bool
is_bulk(const StreamObject *self)
{
    return self->sink.reader != NULL && self->in.last_read >= STREAM_LARGE;
}

/* Return whether this turn may read more ahead of the tasks behind stream readers. */
static bool
has_bulk_budget(const LoopObject *loop)
{
    return loop->bulk.turn != loop->metrics.iterations || loop->bulk.size < STREAM_LARGE;
}

static void
spend_bulk_budget(LoopObject *loop, Py_ssize_t size)
{
    if (loop->bulk.turn != loop->metrics.iterations) {
        loop->bulk.turn = loop->metrics.iterations;
        loop->bulk.size = 0;
    }
    loop->bulk.size += size;
}

static int
read_once(StreamObject *self)
{
    bool bulk = is_bulk(self);
    int rc = self->sink.feed != NULL && !self->sock.foreign ? read_into_native(self)
             : self->sink.buffered                          ? read_into_protocol(self)
                                                            : read_data(self);
    if (bulk && self->loop != NULL) { /* the protocol may have ended the connection */
        spend_bulk_budget(self->loop, self->in.last_read);
    }
    if (self->in.readable && stream_may_read(self) && stream_read_later(self) < 0) {
        return -1;
    }
    return rc;
}

int
stream_read(StreamObject *self)
{
    if (!self->in.readable || !stream_may_read(self)) {
        return 0;
    }
    if (is_bulk(self) && (ready_len(&self->loop->bulk.queue) || !has_bulk_budget(self->loop))) {
        return stream_read_later(self);
    }
    return read_once(self);
}

static int
read_again(LoopObject *Py_UNUSED(loop), PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    self->in.read_queued = false;
    if (!self->in.readable || !stream_may_read(self)) {
        return 0;
    }
    return stream_run_in(self, self->context, stream_read);
}

static int
read_bulk(LoopObject *Py_UNUSED(loop), PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    self->in.read_queued = false;
    if (!self->in.readable || !stream_may_read(self)) {
        return 0;
    }
    return stream_run_in(self, self->context, read_once);
}

static int serve_bulk(LoopObject *loop, PyObject *op);

/* Queue an entry that serves the bulk queue, unless there is one. Return 0, or -1 with an
   exception. */
static int
schedule_bulk(LoopObject *loop)
{
    ReadyQueue *queue = &loop->bulk.queue;
    if (loop->bulk.scheduled || ready_len(queue) == 0) {
        return 0;
    }
    /* The first in the queue is named, so that a failure is reported with its transport. */
    if (loop_call_native(loop, serve_bulk, ready_at(queue, queue->head)->obj) < 0) {
        return -1;
    }
    loop->bulk.scheduled = true;
    return 0;
}

static int
serve_bulk(LoopObject *loop, PyObject *Py_UNUSED(op))
{
    ReadyQueue *queue = &loop->bulk.queue;
    int rc = 0;
    loop->bulk.scheduled = false;
    for (size_t count = ready_len(queue); rc == 0 && count && ready_len(queue); count--) {
        ReadyEntry entry = ready_pop(queue);
        rc = entry.fn(loop, entry.obj);
        ready_drop(&entry);
        if (!has_bulk_budget(loop)) {
            break;
        }
    }
    /* Behind the tasks that the reads have woken: these find their data in the cache. */
    PyObject *failure = rc < 0 ? PyErr_GetRaisedException() : NULL;
    rc = schedule_bulk(loop);
    if (failure != NULL) {
        PyErr_SetRaisedException(failure);
        rc = -1;
    }
    return rc;
}

int
stream_read_later(StreamObject *self)
{
    LoopObject *loop = self->loop;
    if (self->in.read_queued || loop == NULL) {
        return 0;
    }
    bool bulk = is_bulk(self);
    if (ready_push_native(bulk ? &loop->bulk.queue : &loop->ready, bulk ? read_bulk : read_again,
                          (PyObject *)self) < 0) {
        return -1;
    }
    self->in.read_queued = true;
    return bulk ? schedule_bulk(loop) : 0;
}
