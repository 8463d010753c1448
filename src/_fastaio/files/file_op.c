/* file_op.c: the type FileOp, and the functions of the module that submit one. */
#include "files/file_op.h"
#include "task/future.h"
#include "loop/ending.h"
#include "poll/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <structmember.h>
#include <sys/uio.h>
#include <unistd.h>

/* The most bytes of one request, unless it writes pieces. The rest follows as after a short count. */
#define PART_MAX (1u << 20)
/* The most pieces of one request, whatever their size: UIO_MAXIOV. */
#define PIECES_MAX 1024
/* The kernel copies cached data while the request is submitted, and the loop and the GIL wait. A
   thread of the kernel copies more bytes than this. */
#define INLINE_MAX (64u << 10)

typedef struct {
    PyObject_HEAD
    UringOp op;
    UringSqe request;      /* each submission starts from this one */
    LoopObject *loop;
    PyObject *future;      /* done when the operation is; NULL once the loop is closed */
    PyObject *data;        /* bytes to read into or to write from, or NULL */
    PyObject *pieces;      /* a tuple of bytes to write in order, or NULL */
    struct iovec *vectors; /* of `pieces` */
    struct iovec *rest;    /* the first of `vectors` that is not written completely */
    Py_ssize_t size;       /* bytes of `data`, or of all pieces; 0: the request moves no data */
    PyObject *path;        /* bytes, or NULL */
    PyObject *path2;
    PyObject *filename;    /* the path as the user gave it, for the exception; or NULL */
    PyObject *filename2;
    Py_ssize_t done;       /* bytes that the kernel has moved */
    bool once;             /* a short read is the answer, and not submitted again */
    bool cancelled;        /* cancel() was called */
} FileOp;

static inline FileOp *
file_op_of(UringOp *op)
{
    return (FileOp *)((char *)op - offsetof(FileOp, op));
}

/* Fill a request in with the part of the data, or of the pieces, that is left to move. */
static void
fill_request(const FileOp *self, UringSqe *sqe)
{
    Py_ssize_t left = self->size - self->done;
    if (self->data != NULL) {
        sqe->addr = (uint64_t)(uintptr_t)(PyBytes_AS_STRING(self->data) + self->done);
        sqe->len = left < PART_MAX ? (uint32_t)left : PART_MAX;
    }
    else {
        Py_ssize_t count = self->vectors + PyTuple_GET_SIZE(self->pieces) - self->rest;
        sqe->addr = (uint64_t)(uintptr_t)self->rest;
        sqe->len = count < PIECES_MAX ? (uint32_t)count : PIECES_MAX;
    }
    if (sqe->off != UINT64_MAX) {
        sqe->off += (uint64_t)self->done;
        sqe->flags |= left > INLINE_MAX ? URING_SQE_ASYNC : 0u;
    }
}

/* Submit the request. Return 0, or an errno. */
static int
submit_request(FileOp *self)
{
    Poller *poller = self->loop->poller;
    UringSqe *sqe = poller && poller->ring ? uring_sqe(poller->ring) : NULL;
    if (sqe == NULL) {
        return poller && poller->ring ? errno : ENOSYS;
    }
    *sqe = self->request;
    if (self->size > 0) {
        fill_request(self, sqe);
    }
    Py_INCREF(self); /* the kernel's reference; op_done() drops it */
    uring_submit(poller->ring, sqe, &self->op);
    loop_io_happened(self->loop);
    return 0;
}

/* Return the OSError of an errno, as the function of os raises it; NULL with an exception. */
static PyObject *
make_error(FileOp *self, int error)
{
    PyObject *text = PyUnicode_DecodeLocale(strerror(error), "surrogateescape");
    PyObject *exc = NULL;
    if (text != NULL && self->filename2 != NULL) {
        exc = PyObject_CallFunction(PyExc_OSError, "iOOOO", error, text, self->filename, Py_None,
                                    self->filename2);
    }
    else if (text != NULL && self->filename != NULL) {
        exc = PyObject_CallFunction(PyExc_OSError, "iOO", error, text, self->filename);
    }
    else if (text != NULL) {
        exc = PyObject_CallFunction(PyExc_OSError, "iO", error, text);
    }
    Py_XDECREF(text);
    if (exc != NULL && self->done > 0) {
        PyObject *done = PyLong_FromSsize_t(self->done);
        if (done == NULL || PyObject_SetAttrString(exc, "characters_written", done) < 0) {
            Py_CLEAR(exc);
        }
        Py_XDECREF(done);
    }
    return exc;
}

/* Return the result of the future; NULL with an exception. result: the kernel's, not negative. */
static PyObject *
make_result(FileOp *self, int32_t result)
{
    if (self->size == 0) {
        return PyLong_FromLong(result);
    }
    if (self->request.opcode != URING_OP_READ) {
        return PyLong_FromSsize_t(self->done);
    }
    PyObject *data = self->data;
    self->data = NULL;
    if (self->done < self->size) {
        _PyBytes_Resize(&data, self->done);
    }
    return data;
}

/* End the future with the kernel's result, an errno if negative. */
static void
settle_future(FileOp *self, int32_t result)
{
    FutureCore *core = future_core(self->loop->st, self->future);
    if (!future_is_pending(core)) {
        return; /* the waiting task was cancelled */
    }
    PyObject *value = NULL, *exc = NULL;
    int rc = -1;
    if (result >= 0) {
        value = make_result(self, result);
    }
    else {
        exc = make_error(self, -result);
    }
    if (value == NULL && exc == NULL) {
        exc = PyErr_GetRaisedException();
    }
    rc = value ? future_set_result_unless_done(core, value)
               : future_set_exception_unless_done(core, exc);
    Py_XDECREF(value);
    Py_XDECREF(exc);
    if (rc < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
}

/* Remove the first `written` bytes from the vectors. */
static void
advance_vectors(FileOp *self, size_t written)
{
    while (written > 0 && written >= self->rest->iov_len) {
        written -= self->rest->iov_len;
        self->rest++;
    }
    if (written > 0) {
        self->rest->iov_base = (char *)self->rest->iov_base + written;
        self->rest->iov_len -= written;
    }
}

/* Record the count; return true if more can be read or written now. */
static bool
record_count(FileOp *self, int32_t result)
{
    if (self->size == 0 || result <= 0) {
        return false;
    }
    self->done += result;
    if (self->pieces != NULL) {
        advance_vectors(self, (size_t)result);
    }
    return self->done < self->size && !self->once;
}

/* UringOp.done: submit the rest of a short or interrupted operation, or end the future. */
static void
op_done(UringOp *op, int32_t result, uint32_t flags)
{
    FileOp *self = file_op_of(op);
    if (flags & URING_LOST) {
        return; /* the kernel may still use the memory of this object, so it is never freed */
    }
    bool is_short = record_count(self, result);
    if (flags & URING_CLOSING) {
        Py_CLEAR(self->future); /* a closed loop runs no callback; `done` keeps the count */
        Py_DECREF(self);
        return;
    }
    bool retry = result == -EINTR || result == -EAGAIN || result == -ECANCELED;
    if ((is_short || retry) && !self->cancelled) {
        int error = submit_request(self);
        if (error == 0) {
            Py_DECREF(self); /* the new request has a reference of its own */
            return;
        }
        result = -error;
    }
    settle_future(self, result);
    Py_DECREF(self);
}

/* ---- submitting ------------------------------------------------------------------------------ */

/* Return a new operation, not yet submitted; NULL with an exception. */
static FileOp *
file_op_new(fastaio_state *st, LoopObject *loop)
{
    FileOp *self = PyObject_GC_New(FileOp, st->FileOpType);
    if (self == NULL) {
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, sizeof(*self) - sizeof(PyObject));
    self->loop = (LoopObject *)Py_NewRef(loop);
    self->op.done = op_done;
    self->request.fd = -1;
    PyObject_GC_Track(self);
    self->future = future_new(loop);
    if (self->future == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

/* Return true, and set *loop, if `obj` is a native loop with a ring that supports the opcode. */
static bool
get_ring_loop(PyObject *module, PyObject *obj, long opcode, LoopObject **loop)
{
    fastaio_state *st = state_of_module(module);
    if (!loop_is_native(st, obj)) {
        return false;
    }
    *loop = (LoopObject *)obj;
    if ((*loop)->poller == NULL || (*loop)->poller->ring == NULL || loop_is_copy(*loop)) {
        return false;
    }
    return uring_supports((*loop)->poller->ring, (unsigned)opcode);
}

/* Submit a new operation. Take the reference. Return the operation, or None if it was not
   submitted. */
static PyObject *
launch_op(FileOp *self)
{
    int error = submit_request(self);
    if (error != 0) {
        Py_DECREF(self);
        Py_RETURN_NONE; /* the caller uses a thread */
    }
    return (PyObject *)self;
}

/* Make bytes of the given size to read into. Return 0, or -1 with an exception. */
static int
take_size(FileOp *self, PyObject *number)
{
    self->size = PyLong_AsSsize_t(number);
    if (self->size < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "negative size");
        }
        return -1;
    }
    self->data = PyBytes_FromStringAndSize(NULL, self->size);
    return self->data ? 0 : -1;
}

/* Take a list of bytes to write. Return 0, or -1 with an exception. */
static int
take_pieces(FileOp *self, PyObject *list)
{
    self->pieces = PyList_AsTuple(list);
    if (self->pieces == NULL) {
        return -1;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(self->pieces);
    self->vectors = self->rest = PyMem_New(struct iovec, (size_t)count);
    if (self->vectors == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *piece = PyTuple_GET_ITEM(self->pieces, i);
        if (!PyBytes_CheckExact(piece)) {
            PyErr_SetString(PyExc_TypeError, "pieces must be bytes");
            return -1;
        }
        Py_ssize_t size = PyBytes_GET_SIZE(piece);
        self->vectors[i] = (struct iovec){PyBytes_AS_STRING(piece), (size_t)size};
        self->size += size;
    }
    return 0;
}

/* Take bytes, another buffer, or a list of bytes to write. Return 0, or -1 with an exception. */
static int
take_data(FileOp *self, PyObject *data)
{
    if (PyList_CheckExact(data)) {
        self->request.opcode = URING_OP_WRITEV;
        return take_pieces(self, data);
    }
    self->data = PyBytes_CheckExact(data) ? Py_NewRef(data) : PyBytes_FromObject(data);
    self->size = self->data ? PyBytes_GET_SIZE(self->data) : 0;
    return self->data ? 0 : -1;
}

/* Return whether the descriptor has no position. pread() refuses such a file, but a ring ignores
   the offset. */
static bool
is_stream(int fd)
{
    return lseek(fd, 0, SEEK_CUR) < 0 && errno == ESPIPE;
}

/* Parse (loop, fd, size or data, offset, once=False) and submit a read or a write. Return the
   operation, None if a thread is to do it, or NULL with an exception. */
static PyObject *
submit_transfer(PyObject *module, PyObject *args, uint8_t opcode)
{
    PyObject *obj, *operand;
    int fd, once = 0;
    long long offset;
    LoopObject *loop;
    if (!PyArg_ParseTuple(args, "OiOL|p", &obj, &fd, &operand, &offset, &once)) {
        return NULL;
    }
    if (!get_ring_loop(module, obj, opcode, &loop) || (offset >= 0 && is_stream(fd))) {
        Py_RETURN_NONE; /* the function of os raises in a thread */
    }
    FileOp *self = file_op_new(state_of_module(module), loop);
    if (self == NULL) {
        return NULL;
    }
    self->once = once;
    self->request.opcode = opcode;
    self->request.fd = fd;
    self->request.off = (uint64_t)offset; /* -1: the file's own position */
    if ((opcode == URING_OP_READ ? take_size(self, operand) : take_data(self, operand)) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    if (self->size == 0) {
        Py_DECREF(self);
        Py_RETURN_NONE;
    }
    return launch_op(self);
}

static PyObject *
ring_read(PyObject *module, PyObject *args)
{
    return submit_transfer(module, args, URING_OP_READ);
}

static PyObject *
ring_write(PyObject *module, PyObject *args)
{
    return submit_transfer(module, args, URING_OP_WRITE);
}

/* Set *path to a path as bytes, whose address the kernel gets, and *filename to the path itself.
   Set nothing for None. Return 0, or -1 with an exception. */
static int
take_path(PyObject *object, PyObject **path, PyObject **filename)
{
    if (object == Py_None) {
        return 0;
    }
    if (!PyUnicode_FSConverter(object, path)) {
        return -1;
    }
    *filename = Py_NewRef(object);
    return 0;
}

static inline uint64_t
address_of(PyObject *path)
{
    return path ? (uint64_t)(uintptr_t)PyBytes_AS_STRING(path) : 0;
}

/* Parse (loop, opcode, fd, path, path2, length, flags) and submit the request. Return like
   submit_transfer(). */
static PyObject *
ring_call(PyObject *module, PyObject *args)
{
    PyObject *obj, *path, *path2;
    int opcode, fd, length;
    unsigned int flags;
    LoopObject *loop;
    if (!PyArg_ParseTuple(args, "OiiOOiI", &obj, &opcode, &fd, &path, &path2, &length, &flags)) {
        return NULL;
    }
    if (!get_ring_loop(module, obj, opcode, &loop)) {
        Py_RETURN_NONE;
    }
    FileOp *self = file_op_new(state_of_module(module), loop);
    if (self == NULL) {
        return NULL;
    }
    if (take_path(path, &self->path, &self->filename) < 0
        || take_path(path2, &self->path2, &self->filename2) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->request = (UringSqe){.opcode = (uint8_t)opcode,
                               .fd = fd,
                               .addr = address_of(self->path),
                               .off = address_of(self->path2),
                               .len = (uint32_t)length,
                               .op_flags = flags};
    return launch_op(self);
}

/* ---- the type -------------------------------------------------------------------------------- */

static PyObject *
op_cancel(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FileOp *self = (FileOp *)obj;
    Poller *poller = self->loop->poller;
    self->cancelled = true;
    if (poller != NULL && poller->ring != NULL && uring_in_flight(&self->op)) {
        /* If the ring has no room for the cancellation, the operation completes. */
        uring_cancel(poller->ring, &self->op);
        loop_io_happened(self->loop);
    }
    Py_RETURN_NONE;
}

/* Return the loop whose claim guards the operation, borrowed. */
static PyObject *
loop_of(PyObject *obj)
{
    return (PyObject *)((FileOp *)obj)->loop;
}

static int
op_traverse(PyObject *obj, visitproc visit, void *arg)
{
    FileOp *self = (FileOp *)obj;
    Py_VISIT(Py_TYPE(obj));
    Py_VISIT(self->loop);
    Py_VISIT(self->future);
    Py_VISIT(self->filename);
    Py_VISIT(self->filename2);
    return 0;
}

/* An operation in flight is never collected: the kernel's reference is none that the collector
   sees. */
static int
op_clear(PyObject *obj)
{
    FileOp *self = (FileOp *)obj;
    Py_CLEAR(self->future);
    Py_CLEAR(self->data);
    Py_CLEAR(self->pieces);
    PyMem_Free(self->vectors);
    self->vectors = self->rest = NULL;
    Py_CLEAR(self->path);
    Py_CLEAR(self->path2);
    Py_CLEAR(self->filename);
    Py_CLEAR(self->filename2);
    Py_CLEAR(self->loop);
    return 0;
}

GUARD_CLEAR(op_clear, loop_of)
GUARD_DEALLOC(op_dealloc, loop_of)

static void
op_drop(PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);
    op_clear(obj);
    PyObject_GC_Del(obj);
    Py_DECREF(type);
}

static void
op_dealloc(PyObject *obj)
{
    PyObject_GC_UnTrack(obj);
    DEALLOC_BOUNDED(obj, GUARDED(op_dealloc), op_drop);
}

static PyMethodDef op_methods[] = {
    {"cancel", op_cancel, METH_NOARGS,
     PyDoc_STR("cancel($self, /)\n--\n\n"
               "Ask the kernel to end the operation. The future is not cancelled.")},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef op_members[] = {
    {"future", T_OBJECT_EX, offsetof(FileOp, future), READONLY,
     PyDoc_STR("The future of the bytes that were read, or of the kernel's result.")},
    {"done", T_PYSSIZET, offsetof(FileOp, done), READONLY,
     PyDoc_STR("The number of bytes that have been read or written.")},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot op_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("An operation on a file, in flight on a loop's io_uring.")},
    {Py_tp_traverse, op_traverse},
    {Py_tp_clear, GUARDED(op_clear)},
    {Py_tp_dealloc, GUARDED(op_dealloc)},
    {Py_tp_methods, op_methods},
    {Py_tp_members, op_members},
    {0, NULL},
};

static PyType_Spec op_spec = {
    .name = "fastaio._fastaio.FileOp",
    .basicsize = sizeof(FileOp),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = op_slots,
};

/* Parse (loop, opcode). Return whether get_ring_loop() finds a ring. */
static PyObject *
ring_knows(PyObject *module, PyObject *args)
{
    PyObject *obj;
    int opcode;
    LoopObject *loop;
    if (!PyArg_ParseTuple(args, "Oi", &obj, &opcode)) {
        return NULL;
    }
    return PyBool_FromLong(get_ring_loop(module, obj, opcode, &loop));
}

/* Call a function of (loop, ...) within the claim of the loop. */
static PyObject *
call_claimed(PyObject *module, PyObject *args, PyCFunction function)
{
    PyObject *loop = PyTuple_GET_SIZE(args) ? PyTuple_GET_ITEM(args, 0) : NULL;
    Guard guard;
    if (HAS_GIL || loop == NULL || !loop_is_native(state_of_module(module), loop)) {
        return function(module, args);
    }
    if (guard_begin(&guard, module, loop) < 0) {
        return NULL;
    }
    PyObject *result = function(module, args);
    guard_end(&guard);
    return result;
}

#define CLAIMED(function)                                                                          \
    static PyObject *claimed_##function(PyObject *module, PyObject *args)                          \
    {                                                                                              \
        return call_claimed(module, args, function);                                               \
    }

CLAIMED(ring_read)
CLAIMED(ring_write)
CLAIMED(ring_knows)
CLAIMED(ring_call)

static PyMethodDef functions[] = {
    {"_ring_read", claimed_ring_read, METH_VARARGS,
     PyDoc_STR("_ring_read(loop, fd, size, offset, once=False)\n\n"
               "Submit a read. Return its FileOp, or None if the loop has no io_uring.\n"
               "once: a short read is the answer.")},
    {"_ring_write", claimed_ring_write, METH_VARARGS,
     PyDoc_STR("_ring_write(loop, fd, data, offset)\n\n"
               "Submit a write of bytes, or of a list of bytes. Return like _ring_read().")},
    {"_ring_knows", claimed_ring_knows, METH_VARARGS,
     PyDoc_STR("_ring_knows(loop, opcode)\n\n"
               "Return whether the loop has an io_uring whose kernel knows the request.")},
    {"_ring_call", claimed_ring_call, METH_VARARGS,
     PyDoc_STR("_ring_call(loop, opcode, fd, path, path2, length, flags)\n\n"
               "Submit a request that moves no data. Return like _ring_read().")},
    {NULL, NULL, 0, NULL},
};

static const GuardRules op_rules = {loop_of, NULL};

int
file_op_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->FileOpType = state_add_type(module, &op_spec, NULL);
    if (st->FileOpType == NULL || guard_type(st, st->FileOpType, &op_rules) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, functions);
}
