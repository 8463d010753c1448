/* file_op.c: FileOp, and the functions of the module that put one in flight. */
#include "files/file_op.h"
#include "task/future.h"
#include "loop/loop.h"
#include "poll/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <structmember.h>
#include <sys/uio.h>
#include <unistd.h>

/* A request moves at most this much; the rest follows as after any other short answer. Several pieces
   are written by one request, whatever their size. */
#define LARGEST_PART (1u << 20)
#define MOST_PIECES  1024 /* in one request: UIO_MAXIOV */
/* The kernel copies while the request is submitted, and the loop and the GIL wait for it. A thread of
   the kernel copies more than this. */
#define LARGEST_INLINE (64u << 10)

typedef struct {
    PyObject_HEAD
    UringOp op;
    UringSqe request;   /* as it is submitted, or again submitted */
    LoopObject *loop;
    PyObject *future;
    PyObject *data;     /* bytes that are read into or written from, or NULL */
    PyObject *pieces;   /* a tuple of bytes that are written one behind the other, or NULL */
    struct iovec *rest; /* what of them is not written yet: to the end of `vectors` */
    struct iovec *vectors;
    Py_ssize_t size;    /* of data, or of the pieces together */
    PyObject *path;     /* bytes, as the next */
    PyObject *path2;
    PyObject *filename; /* for the exception, or NULL */
    PyObject *filename2;
    Py_ssize_t done;    /* bytes so far */
    bool once;          /* a short read is an answer, too */
    bool cancelled;     /* somebody has asked for it */
} FileOp;

static inline FileOp *
file_op_of(UringOp *op)
{
    return (FileOp *)((char *)op - offsetof(FileOp, op));
}

/* What of the data, or of the pieces, is still to be moved. */
static void
fill_in(const FileOp *self, UringSqe *sqe)
{
    Py_ssize_t left = self->size - self->done;
    if (self->data != NULL) {
        sqe->addr = (uint64_t)(uintptr_t)(PyBytes_AS_STRING(self->data) + self->done);
        sqe->len = left < LARGEST_PART ? (uint32_t)left : LARGEST_PART;
    }
    else {
        Py_ssize_t count = self->vectors + PyTuple_GET_SIZE(self->pieces) - self->rest;
        sqe->addr = (uint64_t)(uintptr_t)self->rest;
        sqe->len = count < MOST_PIECES ? (uint32_t)count : MOST_PIECES;
    }
    if (sqe->off != UINT64_MAX) {
        sqe->off += (uint64_t)self->done;
        sqe->flags |= left > LARGEST_INLINE ? URING_SQE_ASYNC : 0u;
    }
}

/* Puts the request in flight: 0, or an errno. */
static int
submit(FileOp *self)
{
    Poller *poller = self->loop->poller;
    UringSqe *sqe = poller && poller->ring ? uring_sqe(poller->ring) : NULL;
    if (sqe == NULL) {
        return poller && poller->ring ? errno : ENOSYS;
    }
    *sqe = self->request;
    if (self->size > 0) {
        fill_in(self, sqe);
    }
    Py_INCREF(self); /* the kernel's */
    uring_submit(poller->ring, sqe, &self->op);
    loop_io_happened(self->loop);
    return 0;
}

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

/* What the future is to give. */
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

static void
settle(FileOp *self, int32_t result)
{
    FutureCore *core = future_core(self->loop->st, self->future);
    if (!future_is_pending(core)) {
        return; /* cancelled: nobody waits any more */
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
    rc = value ? future_set_result(core, value) : future_set_exception(core, exc);
    Py_XDECREF(value);
    Py_XDECREF(exc);
    if (rc < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
}

static void
advance(FileOp *self, size_t written)
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

/* Whether there is more to be read or written; takes note of what has been. */
static bool
falls_short(FileOp *self, int32_t result)
{
    if (self->size == 0 || result <= 0) {
        return false;
    }
    self->done += result;
    if (self->pieces != NULL) {
        advance(self, (size_t)result);
    }
    return self->done < self->size && !self->once;
}

static void
op_done(UringOp *op, int32_t result, uint32_t flags)
{
    FileOp *self = file_op_of(op);
    if (flags & URING_LOST) {
        return; /* the kernel may still use what this owns: it is never freed */
    }
    bool again = falls_short(self, result);
    if (flags & URING_CLOSING) {
        Py_CLEAR(self->future); /* nobody can be told; `done` says how far it has come */
        Py_DECREF(self);
        return;
    }
    bool retry = result == -EINTR || result == -EAGAIN || result == -ECANCELED;
    if ((again || retry) && !self->cancelled) {
        int error = submit(self);
        if (error == 0) {
            Py_DECREF(self); /* what submit() has taken remains */
            return;
        }
        result = -error;
    }
    settle(self, result);
    Py_DECREF(self);
}

/* ---- putting one in flight ------------------------------------------------------------------- */

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

/* The loop of the call, if it has a ring that knows the opcode: 1, else 0, or -1. */
static int
ring_of(PyObject *module, PyObject *obj, long opcode, LoopObject **loop)
{
    fastaio_state *st = state_of_module(module);
    if (!loop_is_native(st, obj)) {
        return 0;
    }
    *loop = (LoopObject *)obj;
    if ((*loop)->poller == NULL || (*loop)->poller->ring == NULL || loop_is_copy(*loop)) {
        return 0;
    }
    return uring_supports((*loop)->poller->ring, (unsigned)opcode) ? 1 : 0;
}

static PyObject *
launch(FileOp *self)
{
    int error = submit(self);
    if (error != 0) {
        Py_DECREF(self);
        Py_RETURN_NONE; /* a thread can do it too */
    }
    return (PyObject *)self;
}

/* Bytes to be read into, of a size. */
static int
take_size(FileOp *self, PyObject *what)
{
    self->size = PyLong_AsSsize_t(what);
    if (self->size < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "negative size");
        }
        return -1;
    }
    self->data = PyBytes_FromStringAndSize(NULL, self->size);
    return self->data ? 0 : -1;
}

/* A list of bytes to be written. */
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

/* Bytes to be written, or a list of them. */
static int
take_data(FileOp *self, PyObject *what)
{
    if (PyList_CheckExact(what)) {
        self->request.opcode = URING_OP_WRITEV;
        return take_pieces(self, what);
    }
    self->data = PyBytes_CheckExact(what) ? Py_NewRef(what) : PyBytes_FromObject(what);
    self->size = self->data ? PyBytes_GET_SIZE(self->data) : 0;
    return self->data ? 0 : -1;
}

/* Whether there is no such thing as an offset: a ring would read or write a pipe all the same. */
static bool
is_stream(int fd)
{
    return lseek(fd, 0, SEEK_CUR) < 0 && errno == ESPIPE;
}

/* (loop, fd, size or data, offset, once=False) */
static PyObject *
transfer(PyObject *module, PyObject *args, uint8_t opcode)
{
    PyObject *obj, *what;
    int fd, once = 0;
    long long offset;
    LoopObject *loop;
    if (!PyArg_ParseTuple(args, "OiOL|p", &obj, &fd, &what, &offset, &once)) {
        return NULL;
    }
    if (!ring_of(module, obj, opcode, &loop) || (offset >= 0 && is_stream(fd))) {
        Py_RETURN_NONE; /* a thread says what is wrong with it */
    }
    FileOp *self = file_op_new(state_of_module(module), loop);
    if (self == NULL) {
        return NULL;
    }
    self->once = once;
    self->request.opcode = opcode;
    self->request.fd = fd;
    self->request.off = (uint64_t)offset; /* -1: the file's own position */
    if ((opcode == URING_OP_READ ? take_size(self, what) : take_data(self, what)) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    if (self->size == 0) {
        Py_DECREF(self);
        Py_RETURN_NONE;
    }
    return launch(self);
}

static PyObject *
ring_read(PyObject *module, PyObject *args)
{
    return transfer(module, args, URING_OP_READ);
}

static PyObject *
ring_write(PyObject *module, PyObject *args)
{
    return transfer(module, args, URING_OP_WRITE);
}

/* An optional path, as bytes that stay where they are. */
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

/* (loop, opcode, fd, path, path2, length, flags) */
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
    if (!ring_of(module, obj, opcode, &loop)) {
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
    return launch(self);
}

/* ---- the type -------------------------------------------------------------------------------- */

static PyObject *
op_cancel(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FileOp *self = (FileOp *)obj;
    Poller *poller = self->loop->poller;
    self->cancelled = true;
    if (poller != NULL && poller->ring != NULL && uring_in_flight(&self->op)) {
        uring_cancel(poller->ring, &self->op); /* if it cannot be asked, it takes its time */
        loop_io_happened(self->loop);
    }
    Py_RETURN_NONE;
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

/* Only what is not in flight is ever collected: the kernel's reference is one that nobody sees. */
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
    DEALLOC_BOUNDED(obj, op_dealloc, op_drop);
}

static PyMethodDef op_methods[] = {
    {"cancel", op_cancel, METH_NOARGS,
     PyDoc_STR("cancel($self, /)\n--\n\n"
               "Ask the kernel to give it up. The future is left to whoever waits.")},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef op_members[] = {
    {"future", T_OBJECT_EX, offsetof(FileOp, future), READONLY,
     PyDoc_STR("Done when the operation is: the bytes that were read, or the kernel's answer.")},
    {"done", T_PYSSIZET, offsetof(FileOp, done), READONLY,
     PyDoc_STR("How many bytes have been read or written so far.")},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot op_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("An operation on a file, in flight on a loop's io_uring.")},
    {Py_tp_traverse, op_traverse},
    {Py_tp_clear, op_clear},
    {Py_tp_dealloc, op_dealloc},
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

/* (loop, opcode) */
static PyObject *
ring_knows(PyObject *module, PyObject *args)
{
    PyObject *obj;
    int opcode;
    LoopObject *loop;
    if (!PyArg_ParseTuple(args, "Oi", &obj, &opcode)) {
        return NULL;
    }
    return PyBool_FromLong(ring_of(module, obj, opcode, &loop));
}

static PyMethodDef functions[] = {
    {"_ring_read", ring_read, METH_VARARGS,
     PyDoc_STR("_ring_read(loop, fd, size, offset, once=False)\n\n"
               "The FileOp of a read, or None where the loop has no io_uring.")},
    {"_ring_write", ring_write, METH_VARARGS,
     PyDoc_STR("_ring_write(loop, fd, data, offset)\n\n"
               "The same for a write of bytes, or of a list of bytes one behind the other.")},
    {"_ring_knows", ring_knows, METH_VARARGS,
     PyDoc_STR("_ring_knows(loop, opcode)\n\n"
               "Whether the loop has an io_uring, and its kernel this request.")},
    {"_ring_call", ring_call, METH_VARARGS,
     PyDoc_STR("_ring_call(loop, opcode, fd, path, path2, length, flags)\n\n"
               "The same for a request that moves no data.")},
    {NULL, NULL, 0, NULL},
};

int
file_op_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->FileOpType = state_add_type(module, &op_spec, NULL);
    return st->FileOpType ? PyModule_AddFunctions(module, functions) : -1;
}
