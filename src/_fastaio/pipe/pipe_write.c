/* pipe_write.c: the native half of the transport that writes to a pipe.
 *
 * A mixin in front of asyncio's write pipe transport. write() calls the kernel immediately, like
 * asyncio, and queues the bytes that the kernel does not take. (Gathering the output of a turn is
 * not possible: the child behind a pipe gets signals, and the user may close the file object.
 * Neither tells the loop.)
 */
#include "transport/pieces.h"
#include "base/kernel.h"
#include "pipe/pipe.h"
#include "transport/half.h"

#include <errno.h>
#include <structmember.h>
#include <sys/uio.h>

typedef struct {
    TransportCore core;
    Pieces pieces; /* written after core.buffer */
    PyObject *high_water;
    PyObject *low_water;
    bool protocol_paused;
    bool waiting;   /* the kernel has refused output: the loop watches for room */
    bool may_block; /* the kernel cannot write here without blocking: write_vectors() */
} WritePipeObject;

static const char write_error[] = "Fatal write error on pipe transport";

/* ---- the queue ------------------------------------------------------------------------------- */

/* Return the size of core.buffer, asyncio's bytearray, in bytes. */
static Py_ssize_t
get_buffer_size(const WritePipeObject *self)
{
    PyObject *buffer = self->core.buffer;
    return buffer != NULL && PyByteArray_Check(buffer) ? PyByteArray_GET_SIZE(buffer) : 0;
}

/* Return the number of bytes that the kernel has not taken. */
static inline Py_ssize_t
get_queued_size(const WritePipeObject *self)
{
    return get_buffer_size(self) + self->pieces.size;
}

/* Append a piece to the queue. Take the reference, also on error. NULL stands for a raised
   exception. Return 0, or -1 with an exception. */
static int
push_piece(WritePipeObject *self, fastaio_state *st, PyObject *piece)
{
    pieces_drop_inherited(&self->pieces, st->fork_count);
    return piece != NULL ? pieces_push(&self->pieces, piece, st->fork_count) : -1;
}

/* Move the pieces into core.buffer, asyncio's bytearray. Return 0, or -1 with MemoryError. */
static int
fill_buffer(WritePipeObject *self)
{
    PyObject *buffer = self->core.buffer;
    if (self->pieces.count == 0 || buffer == NULL || !PyByteArray_Check(buffer)) {
        return 0;
    }
    Py_ssize_t size = PyByteArray_GET_SIZE(buffer);
    Py_ssize_t more = self->pieces.size;
    if (PyByteArray_Resize(buffer, size + more) < 0) {
        return -1;
    }
    pieces_copy(&self->pieces, PyByteArray_AS_STRING(buffer) + size, (size_t)more);
    pieces_drop(&self->pieces);
    return 0;
}

/* ---- the system call ------------------------------------------------------------------------- */

/* Write without blocking, whatever mode the pipe is in: a child that shares the open file may have changed it.
   Where the kernel cannot do that (terminals; pipes before Linux 6.4), a pipe in blocking mode blocks. Return the
   count of bytes written, or -1 with errno. */
static ssize_t
write_vectors(WritePipeObject *self, const struct iovec *vectors, size_t count)
{
    if (!self->may_block) {
        ssize_t written = kernel_pwritev2(self->core.fd, vectors, (int)count, -1, RWF_NOWAIT);
        if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EPERM)) {
            return written;
        }
        self->may_block = true; /* EPERM, ENOSYS: a sandbox forbids this call */
    }
    if (count == 1) {
        return kernel_write(self->core.fd, vectors[0].iov_base, vectors[0].iov_len);
    }
    ssize_t written = writev(self->core.fd, vectors, (int)count);
    PROBE2(send, self->core.fd, written);
    return written;
}

/* Write core.buffer and the pieces, as much as one call takes. Store the size offered to the kernel
   in *asked. Return the count of bytes written, or -1 with errno. */
static ssize_t
write_vector(WritePipeObject *self, size_t *asked)
{
    struct iovec vectors[PIECES_VECTORS];
    size_t count = 0;
    *asked = (size_t)get_buffer_size(self);
    if (*asked > 0) {
        vectors[count].iov_base = PyByteArray_AS_STRING(self->core.buffer);
        vectors[count++].iov_len = *asked;
    }
    count = pieces_gather(&self->pieces, 0, vectors, count, asked);
    return write_vectors(self, vectors, count);
}

/* Remove the first `count` bytes of core.buffer. Runs no Python code, also for a subclass of
   bytearray. Return 0, or -1 with an exception. */
static int
trim_buffer(WritePipeObject *self, Py_ssize_t count)
{
    PyObject *buffer = self->core.buffer;
    Py_ssize_t left = PyByteArray_GET_SIZE(buffer) - count;
    if (((PyByteArrayObject *)buffer)->ob_exports == 0 && left > 0) {
        char *data = PyByteArray_AS_STRING(buffer);
        memmove(data, data + count, (size_t)left);
    }
    return PyByteArray_Resize(buffer, left);
}

/* Remove the first `count` bytes of the queue. Return 0, or -1 with an exception. */
static int
note_written(WritePipeObject *self, LoopObject *loop, Py_ssize_t count)
{
    Py_ssize_t first = get_buffer_size(self);
    relaxed_add(&loop->metrics.bytes_sent, (uint64_t)count);
    if (first > 0) {
        first = first < count ? first : count;
        if (trim_buffer(self, first) < 0) {
            return -1;
        }
        count -= first;
    }
    pieces_advance(&self->pieces, (size_t)count);
    return 0;
}

/* Write until the queue is empty or the kernel takes no more. Return 0, or -1 with an exception. */
static int
write_queued(WritePipeObject *self, LoopObject *loop)
{
    loop_io_happened(loop);
    while (get_queued_size(self) > 0) {
        size_t asked;
        ssize_t written = write_vector(self, &asked);
        if (written < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno == EAGAIN || errno == EWOULDBLOCK) {
                return 0;
            }
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        if (note_written(self, loop, written) < 0) {
            return -1;
        }
        if ((size_t)written < asked) {
            return 0;
        }
    }
    return 0;
}

/* ---- flushing -------------------------------------------------------------------------------- */

/* Call loop._add_writer(fd, self._write_ready), or loop._remove_writer(fd) if not `wanted`. Return
   0, or -1 with an exception. */
static int
watch_room(PyObject *op, fastaio_state *st, bool wanted)
{
    WritePipeObject *self = (WritePipeObject *)op;
    if (self->waiting == wanted || self->core.loop == NULL) {
        return 0;
    }
    PyObject *fd = PyLong_FromLong(self->core.fd);
    PyObject *callback = wanted ? PyObject_GetAttr(op, st->str__write_ready) : NULL;
    PyObject *args[] = {self->core.loop, fd, callback};
    PyObject *result = NULL;
    if (fd != NULL && (callback != NULL || !wanted)) {
        result = PyObject_VectorcallMethod(wanted ? st->str__add_writer : st->str__remove_writer,
                                           args, wanted ? 3 : 2, NULL);
    }
    Py_XDECREF(fd);
    Py_XDECREF(callback);
    self->waiting = wanted == (result != NULL);
    return drop_result(result);
}

/* Drop the queue and report the raised exception, like asyncio after a failed write(). Return 0, or
   -1 with what leaves the loop. */
static int
fail_write(PyObject *op, fastaio_state *st)
{
    WritePipeObject *self = (WritePipeObject *)op;
    PyObject *exc = PyErr_GetRaisedException();
    pieces_drop(&self->pieces);
    if (get_buffer_size(self) > 0 && PyByteArray_Resize(self->core.buffer, 0) < 0) {
        PyErr_WriteUnraisable(op);
    }
    if (watch_room(op, st, false) < 0) {
        PyErr_WriteUnraisable(op);
    }
    self->core.conn_lost++;
    PyErr_SetRaisedException(exc);
    return transport_fatal_error(op, write_error);
}

/* Write the queue as far as the kernel takes it, and watch the descriptor for room for the rest.
   Return 0, or -1 with what leaves the loop. */
static int
flush_queue(PyObject *op, fastaio_state *st)
{
    WritePipeObject *self = (WritePipeObject *)op;
    LoopObject *loop = self->core.native;
    pieces_drop_inherited(&self->pieces, st->fork_count);
    if (self->pieces.count == 0 || self->waiting || loop == NULL || self->core.fd < 0) {
        return 0;
    }
    if (write_queued(self, loop) < 0 ||
        (get_queued_size(self) > 0 && watch_room(op, st, true) < 0)) {
        return fail_write(op, st);
    }
    return 0;
}

/* ---- methods --------------------------------------------------------------------------------- */

/* Return whether data is bytes, a bytearray or a memoryview without gaps. What asyncio makes of a
   view with gaps, and of all else, is left to asyncio. */
static inline bool
is_plain_data(PyObject *data)
{
    return PyBytes_Check(data) || PyByteArray_Check(data) ||
           (PyMemoryView_Check(data) &&
            PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(data), 'C'));
}

/* Write exactly bytes while the queue is empty, and queue what the kernel does not take. Return 0, or -1
   with what leaves the loop. */
static int
write_bytes(PyObject *op, LoopObject *loop, PyObject *data)
{
    WritePipeObject *self = (WritePipeObject *)op;
    fastaio_state *st = self->core.st;
    size_t size = (size_t)PyBytes_GET_SIZE(data);
    if (size == 0) {
        return 0;
    }
    loop_io_happened(loop);
    struct iovec vector = {.iov_base = PyBytes_AS_STRING(data), .iov_len = size};
    ssize_t written = write_vectors(self, &vector, 1);
    if (written < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
            PyErr_SetFromErrno(PyExc_OSError);
            return fail_write(op, st);
        }
        written = 0;
    }
    relaxed_add(&loop->metrics.bytes_sent, (uint64_t)written);
    if ((size_t)written == size) {
        return 0;
    }
    if (push_piece(self, st, Py_NewRef(data)) < 0) {
        return -1;
    }
    pieces_advance(&self->pieces, (size_t)written);
    return watch_room(op, st, true) < 0 ? fail_write(op, st) : 0;
}

/* Return whether the pipe takes output. */
static inline bool
is_open(const WritePipeObject *self)
{
    return self->core.loop != NULL && !self->core.conn_lost && !self->core.closing &&
           self->core.fd >= 0;
}

/* Queue data of any type behind what is queued, then write the queue. Return 0, or -1 with what leaves
   the loop. */
static int
write_behind(PyObject *op, PyObject *data)
{
    WritePipeObject *self = (WritePipeObject *)op;
    fastaio_state *st = self->core.st;
    /* Exactly bytes: dropping it runs no code. */
    PyObject *piece = piece_from(data);
    if (piece != NULL && !is_open(self)) { /* the object's own __buffer__() has closed the pipe */
        self->core.conn_lost++;
        Py_DECREF(piece);
        return 0;
    }
    if (piece != NULL && PyBytes_GET_SIZE(piece) == 0) {
        Py_DECREF(piece);
        return 0;
    }
    return push_piece(self, st, piece) < 0 ? -1 : flush_queue(op, st);
}

static PyObject *
pipe_write(PyObject *op, PyObject *data)
{
    WritePipeObject *self = (WritePipeObject *)op;
    fastaio_state *st = self->core.st;
    LoopObject *loop = self->core.native;
    if (loop != NULL && loop_flush_before(loop) < 0) {
        return NULL;
    }
    if (loop == NULL || !is_open(self) || !is_plain_data(data)) {
        return transport_call_base(st->asyncio_WritePipeTransport, st->str_write, op, &data, 1);
    }
    bool empty = get_queued_size(self) == 0 && !self->waiting;
    if ((empty && PyBytes_CheckExact(data) ? write_bytes(op, loop, data)
                                           : write_behind(op, data)) < 0) {
        return NULL;
    }
    if (get_queued_size(self) > 0 && !self->protocol_paused) {
        return PyObject_CallMethodNoArgs(op, st->str__maybe_pause_protocol);
    }
    Py_RETURN_NONE;
}

static PyObject *
pipe_write_ready(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    WritePipeObject *self = (WritePipeObject *)op;
    fastaio_state *st = self->core.st;
    LoopObject *loop = self->core.native;
    if (loop == NULL || self->core.fd < 0) {
        Py_RETURN_NONE;
    }
    self->waiting = true; /* the loop calls this method only while the pipe is watched */
    if (write_queued(self, loop) < 0) {
        return fail_write(op, st) < 0 ? NULL : Py_NewRef(Py_None);
    }
    if (get_queued_size(self) > 0) {
        Py_RETURN_NONE;
    }
    if (watch_room(op, st, false) < 0) {
        return NULL;
    }
    if (self->protocol_paused &&
        drop_result(PyObject_CallMethodNoArgs(op, st->str__maybe_resume_protocol)) < 0) {
        return NULL;
    }
    if (!self->core.closing || self->core.loop == NULL) {
        Py_RETURN_NONE;
    }
    return PyObject_CallMethodNoArgs(op, st->str__write_end);
}

static PyObject *
pipe_get_write_buffer_size(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = ((TransportCore *)op)->st;
    if (flush_queue(op, st) < 0) {
        return NULL;
    }
    return PyLong_FromSsize_t(get_queued_size((WritePipeObject *)op));
}

#ifdef Py_GIL_DISABLED

/* In a thread that does not get the loop's claim: writes nothing. */
static PyObject *
look_buffer_size(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    WritePipeObject *self = (WritePipeObject *)op;
    PyObject *buffer = section_get(op, &self->core.buffer);
    Py_ssize_t size = buffer != NULL && PyByteArray_Check(buffer) ? PyByteArray_GET_SIZE(buffer) : 0;
    Py_XDECREF(buffer);
    return PyLong_FromSsize_t(size + relaxed_load(&self->pieces.size));
}

static PyMethodDef pipe_looks[] = {
    {"get_write_buffer_size", look_buffer_size, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

#endif

BY_KEYWORD_TOO(pipe_write, "write", "data")

/* ---- attributes ------------------------------------------------------------------------------ */

static PyObject *
get_buffer(PyObject *op, void *Py_UNUSED(closure))
{
    WritePipeObject *self = (WritePipeObject *)op;
    fastaio_state *st = ((TransportCore *)op)->st;
    if (flush_queue(op, st) < 0 || fill_buffer(self) < 0) {
        return NULL;
    }
    return Py_NewRef(self->core.buffer != NULL ? self->core.buffer : Py_None);
}

static int
set_buffer(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    section_set(op, &((TransportCore *)op)->buffer, Py_XNewRef(value));
    return 0;
}

/* ---- the type -------------------------------------------------------------------------------- */

static int
pipe_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(((WritePipeObject *)op)->high_water);
    Py_VISIT(((WritePipeObject *)op)->low_water);
    return transport_traverse(op, visit, arg);
}

static int
pipe_clear(PyObject *op)
{
    WritePipeObject *self = (WritePipeObject *)op;
    pieces_drop(&self->pieces);
    section_set(op, &self->high_water, NULL);
    section_set(op, &self->low_water, NULL);
    return transport_clear(op);
}

static void
pipe_dealloc(PyObject *op)
{
    WritePipeObject *self = (WritePipeObject *)op;
    PyObject_GC_UnTrack(op);
    pieces_drop(&self->pieces);
    pieces_free(&self->pieces);
    transport_dealloc(op);
}

GUARD_CLEAR(pipe_clear, transport_loop_of)
GUARD_DEALLOC(pipe_dealloc, transport_loop_of)
ENDING_METHOD(transport_loop_of)

static PyMethodDef pipe_methods[] = {
    {"write", KEYWORDS(pipe_write_call), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "write($self, data)\n--\n\nWrite bytes. Bytes that the kernel does not take are queued.")},
    {"get_write_buffer_size", pipe_get_write_buffer_size, METH_NOARGS,
     PyDoc_STR("get_write_buffer_size($self, /)\n--\n\nReturn the number of bytes that the kernel "
               "has not taken.")},
    {"_write_ready", pipe_write_ready, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef pipe_members[] = {
    {"_protocol", T_OBJECT, offsetof(TransportCore, protocol), 0, NULL},
    {"_conn_lost", T_INT, offsetof(TransportCore, conn_lost), 0, NULL},
    {"_closing", T_BOOL, offsetof(TransportCore, closing), 0, NULL},
    {"_high_water", T_OBJECT, offsetof(WritePipeObject, high_water), 0, NULL},
    {"_low_water", T_OBJECT, offsetof(WritePipeObject, low_water), 0, NULL},
    {"_protocol_paused", T_BOOL, offsetof(WritePipeObject, protocol_paused), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef pipe_getset[] = {
    {"_loop", transport_get_loop, transport_set_loop, NULL, NULL},
    {"_pipe", transport_get_file, transport_set_file, NULL, NULL},
    {"_fileno", transport_get_fileno, transport_set_fileno, NULL, NULL},
    {"_buffer", get_buffer, set_buffer, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot pipe_slots[] = {
    {Py_tp_doc, "The native half of fastaio's transport that writes to a pipe."},
    {Py_tp_new, transport_new},
    {Py_tp_dealloc, GUARDED(pipe_dealloc)},
    {Py_tp_traverse, pipe_traverse},
    {Py_tp_clear, GUARDED(pipe_clear)},
    {Py_tp_methods, pipe_methods},
    {Py_tp_members, pipe_members},
    {Py_tp_getset, pipe_getset},
    {0, NULL},
};

static PyType_Spec pipe_spec = {
    .name = "fastaio._fastaio.WritePipeCore",
    .basicsize = sizeof(WritePipeObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = pipe_slots,
};

static const GuardRules pipe_rules = {
    transport_loop_of, .open_names = transport_open_names, .looks = GUARD_LOOKS(pipe_looks)};

int
pipe_write_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->WritePipeCoreType = transport_add_type(module, &pipe_spec, st->asyncio_Transport);
    if (st->WritePipeCoreType == NULL || guard_type(st, st->WritePipeCoreType, &pipe_rules) < 0) {
        return -1;
    }
    return ENDING_METHOD_ADD(st->WritePipeCoreType);
}
