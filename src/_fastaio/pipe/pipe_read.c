/* pipe_read.c: the native half of the transport that reads from a pipe.
 *
 * A mixin in front of asyncio's read pipe transport. Data is read into the loop's receive buffer,
 * or straight into a bytes object where reads are large. It goes to the protocol, or natively to
 * the reader of a plain stream protocol.
 */
#include "pipe/pipe.h"
#include "base/kernel.h"
#include "transport/half.h"
#include "transport/sink.h"

#include <errno.h>
#include <structmember.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* After a read of this size the next one reads straight into a bytes object. */
#define LARGE (32 * 1024)

typedef struct {
    TransportCore core;
    ReaderCore *reader; /* of a stream protocol whose reader is fed natively; borrowed, or NULL */
    ssize_t last_read;  /* bytes */
    bool adopted;       /* `reader` is what streamreader_adopt() has found for the protocol */
} ReadPipeObject;

static const char read_error[] = "Fatal read error on pipe transport";

/* ---- reading --------------------------------------------------------------------------------- */

/* Read through the loop's receive buffer. Return the data, or NULL: with an exception, or without
   one where read() has returned no data. *count is the result of read(): 0 at the end, -1 with
   errno. */
static PyObject *
read_copying(ReadPipeObject *self, LoopObject *loop, ssize_t *count)
{
    char *buffer = loop_hot_buffer(loop);
    if (buffer == NULL) {
        return NULL;
    }
    *count = kernel_read(self->core.fd, buffer, HOT_BUFFER_SIZE);
    return *count > 0 ? PyBytes_FromStringAndSize(buffer, *count) : NULL;
}

/* Read into a bytes object of the size that is available. Return like read_copying(). */
static PyObject *
read_straight(ReadPipeObject *self, LoopObject *loop, ssize_t *count)
{
    int available;
    if (ioctl(self->core.fd, FIONREAD, &available) < 0 || available < LARGE) {
        return read_copying(self, loop, count);
    }
    Py_ssize_t size = available < HOT_BUFFER_SIZE ? available : HOT_BUFFER_SIZE;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes == NULL) {
        return NULL;
    }
    *count = kernel_read(self->core.fd, PyBytes_AS_STRING(bytes), (size_t)size);
    int error = errno;
    if (*count <= 0) {
        Py_CLEAR(bytes);
    }
    else if (*count < size && _PyBytes_Resize(&bytes, *count) < 0) {
        bytes = NULL;
    }
    errno = error;
    return bytes;
}

/* Pass data to the protocol. Return 0, or -1 with an exception. */
static int
deliver_data(ReadPipeObject *self, fastaio_state *st, LoopObject *loop, PyObject *data)
{
    if (!self->adopted) {
        self->adopted = true;
        if (streamreader_adopt(loop, self->core.protocol, &self->reader) < 0) {
            return -1;
        }
    }
    return sink_deliver(st, &self->core.protocol, self->reader, data);
}

/* End the transport with the raised exception, or with the OSError of errno; EAGAIN and EINTR are
   no error. Return 0, or -1 with what leaves the loop. */
static int
fail_read(PyObject *op)
{
    if (!PyErr_Occurred()) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
            return 0;
        }
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return transport_fatal_error(op, read_error);
}

/* Read once, and deliver the data or the end. Return 0, or -1 with an exception. */
static int
read_once(PyObject *op, fastaio_state *st, LoopObject *loop)
{
    ReadPipeObject *self = (ReadPipeObject *)op;
    ssize_t count = -1;
    PyObject *data = self->last_read >= LARGE ? read_straight(self, loop, &count)
                                              : read_copying(self, loop, &count);
    if (data != NULL) {
        self->last_read = count;
        relaxed_add(&loop->metrics.bytes_received, (uint64_t)count);
        int rc = deliver_data(self, st, loop, data);
        Py_DECREF(data);
        return rc;
    }
    if (count != 0) {
        return fail_read(op);
    }
    PyObject *result = PyObject_CallMethodNoArgs(op, st->str__read_eof);
    return drop_result(result);
}

static PyObject *
pipe_read_ready(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ReadPipeObject *self = (ReadPipeObject *)op;
    fastaio_state *st = self->core.st;
    LoopObject *loop = self->core.native;
    if (loop == NULL || self->core.fd < 0 || self->core.protocol == NULL) {
        return transport_call_base(st->asyncio_ReadPipeTransport, st->str__read_ready, op, NULL, 0);
    }
    return read_once(op, st, loop) < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- attributes ------------------------------------------------------------------------------ */

static PyObject *
get_protocol(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *protocol = ((TransportCore *)op)->protocol;
    return Py_NewRef(protocol != NULL ? protocol : Py_None);
}

static int
set_protocol(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    ReadPipeObject *self = (ReadPipeObject *)op;
    streamreader_unlink(&self->reader);
    self->adopted = false;
    Py_XSETREF(self->core.protocol, value != Py_None ? Py_XNewRef(value) : NULL);
    return 0;
}

/* ---- the type -------------------------------------------------------------------------------- */

static int
pipe_clear(PyObject *op)
{
    streamreader_unlink(&((ReadPipeObject *)op)->reader);
    return transport_clear(op);
}

static void
pipe_dealloc(PyObject *op)
{
    transport_dealloc(op);
}

GUARD_CLEAR(pipe_clear, transport_loop_of)
GUARD_DEALLOC(pipe_dealloc, transport_loop_of)
ENDING_METHOD(transport_loop_of)

static PyMethodDef pipe_methods[] = {
    {"_read_ready", pipe_read_ready, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef pipe_members[] = {
    {"_closing", T_BOOL, offsetof(TransportCore, closing), 0, NULL},
    {"_paused", T_BOOL, offsetof(TransportCore, paused), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef pipe_getset[] = {
    {"_loop", transport_get_loop, transport_set_loop, NULL, NULL},
    {"_pipe", transport_get_file, transport_set_file, NULL, NULL},
    {"_fileno", transport_get_fileno, transport_set_fileno, NULL, NULL},
    {"_protocol", get_protocol, set_protocol, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot pipe_slots[] = {
    {Py_tp_doc, "The native half of fastaio's transport that reads from a pipe."},
    {Py_tp_new, transport_new},
    {Py_tp_dealloc, GUARDED(pipe_dealloc)},
    {Py_tp_traverse, transport_traverse},
    {Py_tp_clear, GUARDED(pipe_clear)},
    {Py_tp_methods, pipe_methods},
    {Py_tp_members, pipe_members},
    {Py_tp_getset, pipe_getset},
    {0, NULL},
};

static PyType_Spec pipe_spec = {
    .name = "fastaio._fastaio.ReadPipeCore",
    .basicsize = sizeof(ReadPipeObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = pipe_slots,
};

static const GuardRules pipe_rules = {transport_loop_of, .open_names = transport_open_names};

int
pipe_read_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->ReadPipeCoreType = transport_add_type(module, &pipe_spec, st->asyncio_ReadTransport);
    if (st->ReadPipeCoreType == NULL || guard_type(st, st->ReadPipeCoreType, &pipe_rules) < 0) {
        return -1;
    }
    return ENDING_METHOD_ADD(st->ReadPipeCoreType);
}
