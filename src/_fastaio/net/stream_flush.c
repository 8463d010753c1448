/* stream_flush.c: when the queue is sent, and what follows: flow control, a failure, closing.
 *
 * The loop sends the queues of all transports once per turn, in the order of the calls. asyncio
 * sends at once. Where a program could see the difference, the queues are sent at once, too.
 *
 * One recursion: a write that fails ends the connection, and ending flushes first. It ends because
 * the failed write has dropped the queue.
 */
#include "net/stream_flush.h"

#include "base/error.h"
#include "net/stream_base.h"
#include "net/stream_end.h"
#include "net/stream_send.h"

#include <sys/socket.h>

/* ---- flow control ---------------------------------------------------------------------------- */

static int
tell_protocol(StreamObject *self, PyObject *name, const char *failure)
{
    PyObject *protocol = Py_NewRef(self->sink.protocol); /* the callback may set another one */
    PyObject *result = PyObject_CallMethodNoArgs(protocol, name);
    Py_DECREF(protocol);
    if (result != NULL) {
        Py_DECREF(result);
        return 0;
    }
    if (raised_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *outer = begin_handling(exc);
    int rc = stream_report(self, failure, exc);
    end_handling(outer);
    Py_DECREF(exc);
    return rc;
}

int
stream_maybe_pause(StreamObject *self)
{
    if (self->out.pieces.size <= self->out.high_water || self->out.protocol_paused ||
        self->sink.protocol == NULL || self->loop == NULL) {
        return 0;
    }
    self->out.protocol_paused = true;
    return tell_protocol(self, self->loop->st->str_pause_writing,
                         "protocol.pause_writing() failed");
}

static int
maybe_resume(StreamObject *self)
{
    if (!self->out.protocol_paused || self->out.pieces.size > self->out.low_water ||
        self->sink.protocol == NULL) {
        return 0;
    }
    self->out.protocol_paused = false;
    return tell_protocol(self, self->loop->st->str_resume_writing,
                         "protocol.resume_writing() failed");
}

/* ---- failing --------------------------------------------------------------------------------- */

int
stream_force_close(StreamObject *self, PyObject *exc)
{
    if (self->life.conn_lost || self->loop == NULL) {
        return 0;
    }
    /* On asyncio write() has sent the queue already. A flush that fails ends the connection itself. */
    if (!self->life.closing && stream_flush(self) < 0) {
        return -1;
    }
    if (self->life.conn_lost || self->loop == NULL) {
        return 0;
    }
    stream_drop_output(self);
    relaxed_store(&self->life.closing, true);
    return stream_lose(self, exc);
}

int
stream_fatal_error(StreamObject *self, PyObject *exc, const char *message)
{
    PyObject *failure = NULL;
    int rc = PyObject_TypeCheck(exc, (PyTypeObject *)PyExc_OSError)
                 ? stream_debug_error(self, exc, message)
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
    PyObject *outer = begin_handling(exc);
    int rc = stream_fatal_error(self, exc, message);
    end_handling(outer);
    Py_DECREF(exc);
    return rc;
}

static int
fail_write(StreamObject *self)
{
    if (raised_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    stream_drop_output(self);
    PyObject *outer = begin_handling(exc);
    int rc = stream_fatal_error(self, exc, "Fatal write error on socket transport");
    end_handling(outer);
    if (rc == 0) {
        rc = stream_end_empty_waiter(self, exc);
    }
    Py_DECREF(exc);
    return rc;
}

int
stream_fail_scattered(StreamObject *self)
{
    PyErr_SetString(PyExc_BufferError, "memoryview: underlying buffer is not C-contiguous");
    return fail_write(self);
}

/* ---- flushing -------------------------------------------------------------------------------- */

int
stream_shut_down_writing(StreamObject *self)
{
    if (!self->sock.foreign) {
        if (shutdown(stream_fd(self), SHUT_WR) == 0) {
            return 0;
        }
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    PyObject *how = PyLong_FromLong(SHUT_WR);
    PyObject *result = NULL;
    if (how != NULL) {
        result = PyObject_CallMethodOneArg(self->sock.obj, self->loop->st->str_shutdown, how);
        Py_DECREF(how);
    }
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* Do what has waited for the empty queue: end the sendfile() waiter, close, or shut down writing. */
static int
finish_drain(StreamObject *self)
{
    stream_update_hold(self);
    if (stream_end_empty_waiter(self, NULL) < 0) {
        return -1;
    }
    if (self->loop == NULL) {
        return 0;
    }
    if (self->life.closing) {
        return self->life.conn_lost ? 0 : stream_lose(self, Py_None);
    }
    if (self->out.eof && stream_shut_down_writing(self) < 0) {
        return fail_write(self);
    }
    return 0;
}

static int
send_queued(StreamObject *self)
{
    loop_flush_cancel(&self->out.flush);
    bool may_send = self->out.pieces.count != 0 && self->out.writable;
    if (self->life.conn_lost || self->loop == NULL || !(may_send || self->out.flush.kept_sends)) {
        return 0;
    }
    loop_io_happened(self->loop);
    if (pieces_is_inherited(&self->out.pieces, self->loop->st->fork_count)) {
        stream_drop_output(self);
    }
    if (stream_take_kept(self) < 0) {
        return fail_write(self);
    }
    if (self->out.writable && stream_send_queue(self) < 0) {
        return fail_write(self);
    }
    if (self->loop == NULL) { /* a foreign socket's method has ended the connection */
        return 0;
    }
    if (!self->out.writable && self->life.started && !self->out.watched && stream_watch(self) < 0) {
        return fail_write(self);
    }
    if (maybe_resume(self) < 0) { /* which may write more */
        return -1;
    }
    if (self->out.pieces.count == 0 && self->loop != NULL) {
        return finish_drain(self);
    }
    stream_update_hold(self);
    return 0;
}

int
stream_flush(StreamObject *self)
{
    LoopObject *loop = self->loop;
    if (self->out.pieces.count == 0) {
        return 0;
    }
    if (self->out.writable && loop != NULL && loop->output.first != NULL &&
        loop_flush_through(loop, &self->out.flush) < 0) {
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
    if (rc < 0 && !raised_leaves_loop()) {
        PyObject *exc = PyErr_GetRaisedException();
        rc = stream_report(self, "Fatal write error on socket transport", exc);
        Py_DECREF(exc);
    }
    Py_DECREF(op);
    return rc;
}

/* ---- closing --------------------------------------------------------------------------------- */

int
stream_close(StreamObject *self)
{
    if (self->life.closing || self->loop == NULL) {
        return 0;
    }
    if (stream_flush(self) < 0) {
        return -1;
    }
    if (self->life.closing || self->loop == NULL) {
        return 0;
    }
    relaxed_store(&self->life.closing, true);
    stream_update_hold(self);
    return self->out.pieces.count == 0 ? stream_lose(self, Py_None) : 0;
}
