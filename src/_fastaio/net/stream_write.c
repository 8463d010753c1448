/* stream_write.c: write(), writelines() and the limits of flow control. */
#include "net/stream_write.h"

#include "base/args.h"
#include "base/asyncio_versions.h"
#include "base/kernel.h"
#include "net/stream_base.h"
#include "net/stream_flush.h"

#include <errno.h>
#include <sys/socket.h>

/* asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES */
#define LOST_WRITES_UNTIL_WARNING 5

/* ---- the queue ------------------------------------------------------------------------------- */

/* Append a piece to a queue that the keeper may be reading. Take the reference, also on error. */
static int
push_listed(StreamObject *self, PyObject *piece, unsigned fork_count)
{
    FlushList *list = &self->out.flush.loop->output;
    flush_lock(list);
    bool pushed = pieces_try_push(&self->out.pieces, piece, fork_count);
    flush_added(list);
    flush_unlock(list);
    keeper_call(list);
    if (!pushed) {
        Py_DECREF(piece);
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* Append a piece to the queue. Take the reference, also on error. NULL stands for a raised
   exception. Return 0, or -1 with an exception. */
static int
push_piece(StreamObject *self, PyObject *piece)
{
    unsigned fork_count =
        self->loop != NULL ? self->loop->st->fork_count : self->out.pieces.fork_count;
    if (pieces_is_inherited(&self->out.pieces, fork_count)) {
        stream_drop_output(self);
    }
    if (piece == NULL) {
        return -1;
    }
    return self->out.flush.link != NULL ? push_listed(self, piece, fork_count)
                                        : pieces_push(&self->out.pieces, piece, fork_count);
}

/* Keep the order of output among transports. Call it before a piece is queued. Output that others
   queued after this transport's last output is sent now, so that the new piece follows it. Before
   an immediate send all queued output is sent. */
static inline int
flush_before(StreamObject *self, bool at_once)
{
    LoopObject *loop = self->loop;
    if (self->out.flush.next == NULL && !(at_once && loop != NULL && loop->output.first != NULL)) {
        return 0;
    }
    return loop_flush_through(loop, NULL);
}

/* Send the queue, or list it to be sent at the end of the turn. Call it after a piece was queued.
   Return 0, or -1 with an exception. */
static int
flush_soon(StreamObject *self, bool at_once)
{
    LoopObject *loop = self->loop;
    if (loop == NULL) { /* a buffer with methods in Python has ended the connection */
        stream_drop_output(self);
        return 0;
    }
    if (self->sink.streams) {
        /* Queueing costs more than it spares where each write() is drained, which sends it. */
        at_once = at_once || (self->out.drains_each && self->out.undrained == 0);
        self->out.undrained++;
    }
    /* Send now where no flush follows: the loop does not run, or runs in another thread. Send now
       where the keeper cannot: only the methods of a foreign socket can send. Send now where others
       may use the socket behind the transport's back. */
    at_once = at_once || self->out.pieces.size > self->out.high_water ||
              self->sock.fd_ptr == NULL || stream_socket_is_shared(self) ||
              relaxed_load(&loop->thread_id) != PyThread_get_thread_ident() ||
              !keeper_is_ready(&loop->output);
    if (self->out.writable && !at_once) {
        loop_flush_later(loop, &self->out.flush);
        return 0;
    }
    if (self->out.writable && stream_flush(self) < 0) {
        return -1;
    }
    return stream_maybe_pause(self);
}

/* ---- methods --------------------------------------------------------------------------------- */

/* Return 1 if the connection is alive. Return 0 and count the write if it is lost, or -1 with an
   exception of the logger. */
static int
admit_write(StreamObject *self)
{
    if (self->life.conn_lost == 0 && self->loop != NULL) {
        return 1;
    }
    if (self->life.conn_lost >= LOST_WRITES_UNTIL_WARNING) {
        fastaio_state *st = state_of_type(Py_TYPE(self));
        PyObject *result =
            st ? PyObject_CallMethod(st->logger, "warning", "s", "socket.send() raised exception.")
               : NULL;
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    self->life.conn_lost++;
    return 0;
}

#define EOF_ERROR(method)      "Cannot call " method "() after write_eof()"
#define SENDFILE_ERROR(method) "unable to " method "; sendfile is in progress"

static int
check_may_write(StreamObject *self, const char *eof_error, const char *sendfile_error)
{
    if (!self->out.eof && self->out.empty_waiter == NULL) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError, self->out.eof ? eof_error : sendfile_error);
    return -1;
}

/* Send a large mutable buffer directly; the queue must be empty. Only the bytes that the kernel
   does not take are copied. Return 1 if the data is sent or queued, 0 if the caller is to queue it,
   -1 with an exception. */
static int
send_large(StreamObject *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear(); /* not contiguous: the caller copies it */
        return 0;
    }
    if (self->loop == NULL || self->life.conn_lost || self->out.pieces.count) {
        PyBuffer_Release(&view); /* a __buffer__() has written, or ended it */
        return 0;
    }
    ssize_t sent = -1;
    int rc = 1;
    if (view.len >= STREAM_LARGE) {
        do {
            sent = kernel_send(stream_fd(self), view.buf, (size_t)view.len,
                               MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (sent < 0 && errno == EINTR);
    }
    if (sent < 0) {
        rc = 0; /* the flush will meet the error again */
    }
    else {
        loop_io_happened(self->loop);
        relaxed_add(&self->loop->metrics.bytes_sent, (uint64_t)sent);
        if (sent < view.len) {
            PyObject *rest = piece_copy((char *)view.buf + sent, view.len - sent);
            rc = push_piece(self, rest) < 0 || flush_soon(self, true) < 0 ? -1 : 1;
        }
    }
    PyBuffer_Release(&view);
    return rc;
}

/* Return whether a memoryview has gaps. sock.send() raises BufferError for such a view. */
static bool
is_scattered(PyObject *view)
{
    return !PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(view), 'C');
}

/* Write a view with gaps. As on asyncio, write() ends the connection where it calls sock.send(). Where refused
   output waits, the next send ends it, or write() raises TypeError if output is not gathered. Take the
   reference to `copy`, the bytes of the view. Return 0, or -1 with an exception. */
static int
write_scattered(StreamObject *self, PyObject *copy)
{
    int alive = stream_flush(self) < 0 ? -1 : admit_write(self);
    if (alive > 0 && self->out.pieces.count != 0 && !OUTPUT_IS_GATHERED) {
        PyErr_SetString(PyExc_TypeError, "can't set bytearray slice from memoryview");
        alive = -1;
    }
    if (alive <= 0) {
        Py_DECREF(copy);
        return alive;
    }
    if (self->out.pieces.count == 0) {
        Py_DECREF(copy);
        return stream_fail_scattered(self);
    }
    int rc = push_piece(self, copy);
    self->out.scattered = !self->out.writable;
    return rc < 0 ? -1 : flush_soon(self, true);
}

/* Raise what asyncio raises for an object that is not bytes. The message depends on the version. */
static PyObject *
refuse_to_write(PyObject *op, PyObject *data)
{
    fastaio_state *st = state_of_type(Py_TYPE(op));
    return st != NULL ? PyObject_CallMethodObjArgs(st->asyncio_SocketTransport, st->str_write, op,
                                                   data, NULL)
                      : NULL;
}

PyObject *
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
    if (check_may_write(self, EOF_ERROR("write"), SENDFILE_ERROR("write")) < 0) {
        return NULL;
    }
    if (size == 0) {
        Py_RETURN_NONE;
    }
    if (flush_before(self, size >= STREAM_LARGE) < 0) {
        return NULL;
    }
    int alive = admit_write(self);
    if (alive <= 0) {
        return alive < 0 ? NULL : Py_NewRef(Py_None);
    }
    bool large = size >= STREAM_LARGE && self->out.pieces.count == 0;
    if (large && !PyBytes_CheckExact(data) && self->out.writable && !self->sock.foreign) {
        int sent = send_large(self, data);
        if (sent != 0) {
            return sent < 0 ? NULL : Py_NewRef(Py_None);
        }
    }
    PyObject *piece = piece_from(data); /* exactly bytes: dropping it runs no code */
    if (piece != NULL && !PyBytes_CheckExact(data)) {
        alive = admit_write(self); /* the object's own __buffer__() may have ended the connection */
        if (alive <= 0) {
            Py_DECREF(piece);
            return alive < 0 ? NULL : Py_NewRef(Py_None);
        }
        if (PyMemoryView_Check(data) && is_scattered(data)) {
            return write_scattered(self, piece) < 0 ? NULL : Py_NewRef(Py_None);
        }
    }
    if (push_piece(self, piece) < 0 || flush_soon(self, large) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Raise what bytes.join() raises, by which asyncio's writelines() joins the items where output is not gathered.
   Return NULL. */
static PyObject *
refuse_to_join(Py_ssize_t index, PyObject *item)
{
    return PyErr_Format(PyExc_TypeError,
                        "sequence item %zd: expected a bytes-like object, %.80s found", index,
                        Py_TYPE(item)->tp_name);
}

/* Return the bytes of an item of writelines(), or NULL with TypeError for an item that is no
   buffer. Set *scattered to whether the item has gaps. */
static PyObject *
get_piece(PyObject *data, Py_ssize_t index, bool *scattered)
{
    *scattered = false;
    if (PyBytes_CheckExact(data)) {
        return Py_NewRef(data);
    }
    if (!OUTPUT_IS_GATHERED && !PyObject_CheckBuffer(data)) {
        return refuse_to_join(index, data);
    }
    PyObject *view = PyMemoryView_FromObject(data);
    if (view == NULL) {
        return NULL;
    }
    *scattered = is_scattered(view);
    PyObject *piece = *scattered && !OUTPUT_IS_GATHERED ? refuse_to_join(index, data)
                                                        : piece_from(view);
    Py_DECREF(view);
    return piece;
}

/* Fail as asyncio's writelines() does for an item with gaps: one sendmsg() gets all items. Return 0, or -1 with
   an exception. */
static int
writelines_scattered(StreamObject *self)
{
    int alive = stream_flush(self) < 0 ? -1 : admit_write(self);
    return alive > 0 ? stream_fail_scattered(self) : alive;
}

static PyObject *
stream_writelines(PyObject *op, PyObject *lines)
{
    StreamObject *self = (StreamObject *)op;
    if (OUTPUT_IS_GATHERED
            ? check_may_write(self, EOF_ERROR("writelines"), SENDFILE_ERROR("writelines")) < 0
            : check_may_write(self, EOF_ERROR("write"), SENDFILE_ERROR("write")) < 0) {
        return NULL;
    }
    int some = PyObject_IsTrue(lines);
    if (some <= 0) {
        return some < 0 ? NULL : Py_NewRef(Py_None);
    }
    if (flush_before(self, false) < 0) {
        return NULL;
    }
    int alive = admit_write(self);
    if (alive <= 0) {
        return alive < 0 ? NULL : Py_NewRef(Py_None);
    }
    /* Check every item first, so that a bad one leaves nothing queued. */
    PyObject *list = PySequence_List(lines);
    if (list == NULL) {
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(list);
    bool any_scattered = false;
    for (Py_ssize_t i = 0; i < count; i++) {
        bool scattered;
        PyObject *piece = get_piece(PyList_GET_ITEM(list, i), i, &scattered);
        if (piece == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SetItem(list, i, piece);
        any_scattered = any_scattered || scattered;
    }
    if (any_scattered) {
        Py_DECREF(list);
        return writelines_scattered(self) < 0 ? NULL : Py_NewRef(Py_None);
    }
    alive = admit_write(self); /* an item's own __buffer__() may have ended the connection */
    if (alive <= 0) {
        Py_DECREF(list);
        return alive < 0 ? NULL : Py_NewRef(Py_None);
    }
    int rc = 0;
    for (Py_ssize_t i = 0; i < count && rc == 0 && self->loop != NULL; i++) {
        PyObject *piece = PyList_GET_ITEM(list, i);
        if (PyBytes_GET_SIZE(piece)) {
            rc = push_piece(self, Py_NewRef(piece));
        }
    }
    Py_DECREF(list);
    if (rc == 0 && self->out.pieces.count) {
        rc = flush_soon(self, false);
    }
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
stream_write_eof(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    if (self->out.eof || self->loop == NULL || loop_flush_before(self->loop) < 0 ||
        stream_flush(self) < 0) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    if (!self->life.closing) {
        self->out.eof = true;
        if (self->out.pieces.count == 0 && self->sock.obj != NULL &&
            stream_shut_down_writing(self) < 0) {
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
    return PyLong_FromSsize_t(self->out.pieces.size);
}

static PyObject *
stream_get_write_buffer_limits(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    return Py_BuildValue("(nn)", self->out.low_water, self->out.high_water);
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
    Section section;
    section_begin(&section, (PyObject *)self); /* other threads may look at both */
    self->out.high_water = high;
    self->out.low_water = low;
    section_end(&section);
    return 0;
}

static PyObject *
call_set_limits(StreamObject *self, PyObject *args, PyObject *kwargs, bool pause)
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
    return call_set_limits((StreamObject *)op, args, kwargs, true);
}

static PyObject *
stream_set_limits_only(PyObject *op, PyObject *args, PyObject *kwargs)
{
    return call_set_limits((StreamObject *)op, args, kwargs, false);
}

BY_KEYWORD_TOO(stream_write, "write", "data")
BY_KEYWORD_TOO(stream_writelines, "writelines", "list_of_data")

PyMethodDef stream_write_methods[] = {
    {"write", KEYWORDS(stream_write_call), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "write($self, data)\n--\n\nSend bytes. Bytes that the kernel does not take are queued.")},
    {"writelines", KEYWORDS(stream_writelines_call), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("writelines($self, list_of_data)\n--\n\nSend the bytes of all items, in order.")},
    {"write_eof", stream_write_eof, METH_NOARGS,
     PyDoc_STR("write_eof($self, /)\n--\n\n"
               "Close the sending half after the queue is sent. Receiving continues.")},
    {"can_write_eof", stream_can_write_eof, METH_NOARGS,
     PyDoc_STR("can_write_eof($self, /)\n--\n\nTrue: write_eof() works.")},
    {"get_write_buffer_size", stream_get_write_buffer_size, METH_NOARGS,
     PyDoc_STR("get_write_buffer_size($self, /)\n--\n\nReturn the number of bytes that the kernel "
               "has not taken.")},
    {"get_write_buffer_limits", stream_get_write_buffer_limits, METH_NOARGS,
     PyDoc_STR("get_write_buffer_limits($self, /)\n--\n\nReturn (low, high), the limits of flow "
               "control.")},
    {"set_write_buffer_limits", KEYWORDS(stream_set_write_buffer_limits),
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("set_write_buffer_limits($self, high=None, low=None)\n--\n\n"
               "Set the sizes of the queue at which the protocol pauses and resumes writing.")},
    {"_set_write_buffer_limits", KEYWORDS(stream_set_limits_only), METH_VARARGS | METH_KEYWORDS,
     NULL},
    {NULL, NULL, 0, NULL},
};
