/* stream.c: the type StreamTransport, and the functions that other rooms call.
 *
 * The type is a subclass of asyncio's transport. Of the base's fields only _extra is used; it is the
 * first of our struct. The bases are Python classes: their dealloc would call ours again, so no slot
 * here calls the slot of a base.
 */
#include "net/stream.h"

#include "base/asyncio_versions.h"
#include "loop/ending.h"
#include "net/stream_base.h"
#include "net/stream_end.h"
#include "net/stream_flush.h"
#include "net/stream_looks.h"
#include "net/stream_read.h"
#include "net/stream_send.h"
#include "net/stream_start.h"
#include "net/stream_write.h"

#include <structmember.h>

/* Return the loop whose claim guards the transport, borrowed; NULL before __init__(). */
static PyObject *
loop_of(PyObject *op)
{
    return home_loop(&((StreamObject *)op)->home);
}

/* ---- making and freeing ---------------------------------------------------------------------- */

static PyObject *
none_as_null(PyObject *obj)
{
    return obj == Py_None ? NULL : obj;
}

static int
stream_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"loop", "sock", "protocol", "waiter", "extra", "server", NULL};
    fastaio_state *st = state_of_type(Py_TYPE(op));
    PyObject *loop, *sock, *protocol, *waiter = NULL, *extra = NULL, *server = NULL;
    if (st == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O!OO|OOO:StreamTransport", names, st->LoopType,
                                     &loop, &sock, &protocol, &waiter, &extra, &server)) {
        return -1;
    }
    extra = none_as_null(extra);
    if (extra != NULL && !PyDict_Check(extra)) {
        PyErr_Format(PyExc_TypeError, "extra must be a dict or None, not %R", Py_TYPE(extra));
        return -1;
    }
    Guard guard;
    if (guard_begin(&guard, op, loop) < 0) {
        return -1;
    }
    int rc = stream_set_up((StreamObject *)op, (LoopObject *)loop, sock, protocol,
                           none_as_null(waiter), extra, none_as_null(server));
    guard_end(&guard);
    return rc;
}

static PyObject *
stream_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    StreamObject *self = (StreamObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->sock.fd = self->sock.io.fd = -1;
    }
    return (PyObject *)self;
}

PyObject *
stream_transport_new(LoopObject *loop, PyObject *sock, PyObject *protocol, PyObject *waiter,
                     PyObject *extra, PyObject *server)
{
    PyTypeObject *type = loop->st->StreamTransportType;
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL &&
        stream_set_up((StreamObject *)self, loop, sock, protocol, waiter, extra, server) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

static int
stream_traverse(PyObject *op, visitproc visit, void *arg)
{
    StreamObject *self = (StreamObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->extra);
    Py_VISIT(self->dict);
    Py_VISIT(self->loop);
    HOME_VISIT(&self->home);
    Py_VISIT(self->sink.protocol);
    if (self->sock.foreign) { /* else it leads to nothing else: see transport_traverse() */
        Py_VISIT(self->sock.obj);
    }
    Py_VISIT(self->sock.shown);
    Py_VISIT(self->server);
    Py_VISIT(self->life.waiter);
    Py_VISIT(self->context);
    Py_VISIT(self->life.lost_context);
    Py_VISIT(self->life.lost_exc);
    Py_VISIT(self->out.empty_waiter);
    for (size_t i = 0; i < self->out.pieces.count; i++) {
        Py_VISIT(pieces_at(&self->out.pieces, i));
    }
    return 0;
}

static int
stream_clear(PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    loop_flush_cancel(&self->out.flush);
    if (self->loop != NULL && self->sock.io.fd >= 0) {
        io_unwatch(self->loop, &self->sock.io);
        io_hold(&self->sock.io, false);
    }
    relaxed_store(&self->life.closing, true);
    self->life.conn_lost += self->life.conn_lost == 0;
    self->sock.fd_ptr = NULL;
    stream_drop_output(self);
    streamreader_unlink(&self->sink.reader);
    section_set(op, &self->extra, NULL);
    Py_CLEAR(self->dict);
    section_set((PyObject *)self, &self->sink.protocol, NULL);
    Py_CLEAR(self->sock.obj);
    Py_CLEAR(self->sock.shown);
    Py_CLEAR(self->server);
    Py_CLEAR(self->life.waiter);
    Py_CLEAR(self->context);
    Py_CLEAR(self->life.lost_context);
    Py_CLEAR(self->life.lost_exc);
    Py_CLEAR(self->out.empty_waiter);
    Py_CLEAR(self->loop);
    return 0;
}

GUARD_CLEAR(stream_clear, loop_of)

/* Like asyncio's __del__: warn about the missing close(), then close the socket. */
static void
stream_finalize(PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    if (self->sock.obj == NULL) {
        return;
    }
    PyObject *pending = PyErr_GetRaisedException();
    stream_send_last(self);
    stream_drop_output(self);
    if (PyErr_ResourceWarning(op, 1, "unclosed transport %R", op) < 0) {
        PyErr_WriteUnraisable(op);
    }
    relaxed_store(&self->life.closing, true);
    self->life.conn_lost += self->life.conn_lost == 0;
    if (self->loop != NULL && stream_release(self) < 0) {
        PyErr_WriteUnraisable(op);
    }
    if (pending != NULL) {
        PyErr_SetRaisedException(pending);
    }
}

GUARD_FINALIZE(stream_finalize, loop_of)
GUARD_DEALLOC(stream_dealloc, loop_of)

static void
stream_drop(PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    if (dealloc_finalize(op) < 0) {
        return;
    }
    if (shared_load(&self->weakrefs) != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    stream_clear(op);
    pieces_free(&self->out.pieces);
    home_drop(&self->home);
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static void
stream_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    DEALLOC_BOUNDED(op, GUARDED(stream_dealloc), stream_drop);
}

/* ---- methods --------------------------------------------------------------------------------- */

static PyObject *
none_or_error(int rc)
{
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
stream_close_method(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(stream_close((StreamObject *)op));
}

static PyObject *
stream_abort(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(stream_force_close((StreamObject *)op, Py_None));
}

static PyObject *
stream_force_close_method(PyObject *op, PyObject *exc)
{
    return none_or_error(stream_force_close((StreamObject *)op, exc));
}

static PyObject *
stream_fatal_error_method(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"exc", "message", NULL};
    PyObject *exc;
    const char *message = "Fatal error on transport";
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|s:_fatal_error", names, &exc, &message)) {
        return NULL;
    }
    return none_or_error(stream_fatal_error((StreamObject *)op, exc, message));
}

static PyObject *
stream_call_connection_lost(PyObject *op, PyObject *exc)
{
    StreamObject *self = (StreamObject *)op;
    Py_XSETREF(self->life.lost_exc, exc != Py_None ? Py_NewRef(exc) : NULL);
    return none_or_error(stream_call_lost(self));
}

GUARD_IS_CLOSING(stream_is_closing, loop_of, stream_look_closing)

/* Flush first where StreamWriter.drain() asks: on asyncio the kernel has been offered the output by
   then. */
static PyObject *
stream_is_closing(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    if (self->sink.streams) {
        self->out.drains_each = self->out.undrained == 1;
        self->out.undrained = 0;
        if (self->out.flush.link != NULL && stream_flush(self) < 0) {
            return NULL;
        }
    }
    return PyBool_FromLong(self->life.closing);
}

static PyObject *
stream_is_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    return PyBool_FromLong(!self->life.closing && !self->in.paused);
}

static PyObject *
stream_pause_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    if (self->life.closing || self->in.paused) {
        Py_RETURN_NONE;
    }
    relaxed_store(&self->in.paused, true);
    stream_update_hold(self);
    return none_or_error(stream_debug(self, "%r pauses reading"));
}

static PyObject *
stream_resume_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    if (self->life.closing || !self->in.paused || self->loop == NULL) {
        Py_RETURN_NONE;
    }
    if (!CONNECTION_HAS_ONE_CONTEXT) {
        PyObject *context = PyContext_CopyCurrent();
        if (context == NULL) {
            return NULL;
        }
        Py_XSETREF(self->context, context);
    }
    relaxed_store(&self->in.paused, false);
    if (self->in.eof) { /* each further read meets the end again */
        self->in.eof = false;
        self->in.readable = true;
    }
    stream_update_hold(self);
    if (self->in.readable && stream_may_read(self) && stream_read_later(self) < 0) {
        return NULL;
    }
    return none_or_error(stream_debug(self, "%r resumes reading"));
}

static PyObject *
stream_read_ready(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    self->in.readable = true;
    return none_or_error(stream_read(self));
}

static PyObject *
stream_set_protocol(PyObject *op, PyObject *protocol)
{
    StreamObject *self = (StreamObject *)op;
    fastaio_state *st = state_of_type(Py_TYPE(op));
    if (st == NULL || stream_flush(self) < 0) {
        return NULL;
    }
    return none_or_error(stream_use_protocol(self, st, protocol));
}

static PyObject *
stream_get_protocol(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *protocol = ((StreamObject *)op)->sink.protocol;
    return Py_NewRef(protocol != NULL ? protocol : Py_None);
}

/* Call get_extra_info() of asyncio's class. Used when a program has replaced that method. */
static PyObject *
replaced_extra_info(PyObject *op, fastaio_state *st, PyObject *const *args, Py_ssize_t count,
                    PyObject *keywords)
{
    PyObject *method = bind_attribute(st->asyncio_Transport, st->str_get_extra_info, op);
    PyObject *value = method ? PyObject_Vectorcall(method, args, count, keywords) : NULL;
    Py_XDECREF(method);
    return value;
}

/* Flush before the socket is given away: the caller may write to it, and the queue comes first. */
static PyObject *
stream_get_extra_info(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    StreamObject *self = (StreamObject *)op;
    PyObject *name, *fallback;
    fastaio_state *st = state_of_type(Py_TYPE(op));
    if (st == NULL) {
        return NULL;
    }
    if (watched_name_is_replaced(&st->replaced.extra_info)) {
        return replaced_extra_info(op, st, args, count, keywords);
    }
    if (parse_extra_info(args, count, keywords, &name, &fallback) < 0) {
        return NULL;
    }
    if (fallback == NULL) {
        fallback = Py_None;
    }
    if (self->out.pieces.count && PyUnicode_Check(name) &&
        PyUnicode_CompareWithASCIIString(name, "socket") == 0 && stream_flush(self) < 0) {
        return NULL;
    }
    /* A reference, since the name's __eq__ may set another dict. */
    return stream_find_extra(Py_XNewRef(self->extra), name, fallback);
}

static PyObject *
stream_make_empty_waiter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    if (self->out.empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    if (stream_flush(self) < 0) {
        return NULL;
    }
    if (self->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the transport is closed");
        return NULL;
    }
    PyObject *waiter =
        PyObject_CallMethodNoArgs((PyObject *)self->loop, self->loop->st->str_create_future);
    if (waiter == NULL) {
        return NULL;
    }
    Py_XSETREF(self->out.empty_waiter, Py_NewRef(waiter));
    if (self->out.pieces.count == 0 && stream_end_empty_waiter(self, NULL) < 0) {
        Py_CLEAR(waiter);
    }
    return waiter;
}

static PyObject *
stream_reset_empty_waiter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    Py_CLEAR(self->out.empty_waiter);
    if (!self->sock.lent) {
        Py_RETURN_NONE;
    }
    self->sock.lent = false;
    if (self->life.conn_lost || self->loop == NULL || !self->life.started) {
        Py_RETURN_NONE;
    }
    return none_or_error(stream_watch(self));
}

static PyObject *
describe_state(StreamObject *self)
{
    return PyUnicode_FromFormat(" read=%s write=<%s, bufsize=%zd>",
                                self->sock.io.fd >= 0 && stream_may_read(self) ? "polling" : "idle",
                                self->out.pieces.count && !self->out.writable ? "polling" : "idle",
                                self->out.pieces.size);
}

static PyObject *
stream_repr(PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    if (stream_flush(self) < 0) {
        return NULL;
    }
    bool open = self->loop != NULL && !relaxed_load(&self->loop->closed);
    PyObject *name = PyType_GetName(Py_TYPE(op));
    PyObject *state = open ? describe_state(self) : PyUnicode_FromString("");
    PyObject *repr = NULL;
    if (name != NULL && state != NULL) {
        const char *word = self->sock.obj == NULL ? " closed"
                           : self->life.closing   ? " closing"
                                                  : "";
        repr = PyUnicode_FromFormat("<%U%s fd=%d%U>", name, word, self->sock.fd, state);
    }
    Py_XDECREF(name);
    Py_XDECREF(state);
    return repr;
}

GUARD_REPR(stream_repr, loop_of)

int
stream_call_write(fastaio_state *st, PyObject *transport, PyObject *data)
{
    PyObject *result;
    Py_INCREF(transport);
    if (Py_IS_TYPE(transport, st->StreamTransportType) &&
        stream_is_unpatched((StreamObject *)transport) &&
        home_is_mine(&((StreamObject *)transport)->home)) {
        result = stream_write(transport, data);
    }
    else {
        result = PyObject_CallMethodOneArg(transport, st->str_write, data);
    }
    Py_DECREF(transport);
    return drop_result(result);
}

int
stream_query_closing(fastaio_state *st, PyObject *transport)
{
    StreamObject *self = (StreamObject *)transport;
    bool plain = Py_IS_TYPE(transport, st->StreamTransportType) && stream_is_unpatched(self);
    return plain ? self->life.closing : -1;
}

BY_KEYWORD_TOO(stream_set_protocol, "set_protocol", "protocol")

static PyMethodDef stream_methods[] = {
    {"close", stream_close_method, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nClose the connection after the queue is sent.")},
    {"abort", stream_abort, METH_NOARGS,
     PyDoc_STR("abort($self, /)\n--\n\nClose the connection now. Bytes that the kernel has not "
               "taken are lost.")},
    {"is_closing", GUARDED(stream_is_closing), METH_NOARGS,
     PyDoc_STR("is_closing($self, /)\n--\n\nReturn whether the connection is closing or closed.")},
    {"is_reading", stream_is_reading, METH_NOARGS,
     PyDoc_STR("is_reading($self, /)\n--\n\nReturn whether the protocol receives data.")},
    {"pause_reading", stream_pause_reading, METH_NOARGS,
     PyDoc_STR(
         "pause_reading($self, /)\n--\n\nPass no data to the protocol until resume_reading().")},
    {"resume_reading", stream_resume_reading, METH_NOARGS,
     PyDoc_STR("resume_reading($self, /)\n--\n\nPass data to the protocol again.")},
    {"set_protocol", KEYWORDS(stream_set_protocol_call), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("set_protocol($self, protocol)\n--\n\nReplace the protocol.")},
    {"get_protocol", stream_get_protocol, METH_NOARGS,
     PyDoc_STR("get_protocol($self, /)\n--\n\nReturn the protocol.")},
    {"get_extra_info", KEYWORDS(stream_get_extra_info), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("get_extra_info($self, name, default=None)\n--\n\n"
               "Return what is known of the connection: 'socket', 'sockname', 'peername'.")},
    {"_read_ready", stream_read_ready, METH_NOARGS, NULL},
    {"_force_close", stream_force_close_method, METH_O, NULL},
    {"_fatal_error", (PyCFunction)(void (*)(void))stream_fatal_error_method,
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"_call_connection_lost", stream_call_connection_lost, METH_O, NULL},
    {"_make_empty_waiter", stream_make_empty_waiter, METH_NOARGS, NULL},
    {"_reset_empty_waiter", stream_reset_empty_waiter, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- attributes ------------------------------------------------------------------------------ */

static PyObject *
get_sock(PyObject *op, void *Py_UNUSED(closure))
{
    StreamObject *self = (StreamObject *)op;
    if (stream_flush(self) < 0) {
        return NULL;
    }
    return Py_NewRef(self->sock.obj != NULL ? self->sock.obj : Py_None);
}

static int
set_protocol_attribute(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_protocol cannot be deleted");
        return -1;
    }
    PyObject *result = stream_set_protocol(op, value);
    return drop_result(result);
}

static PyObject *
get_protocol_attribute(PyObject *op, void *Py_UNUSED(closure))
{
    return stream_get_protocol(op, NULL);
}

static int
set_sock(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    StreamObject *self = (StreamObject *)op;
    if (stream_flush(self) < 0) {
        return -1;
    }
    if (value == NULL || value == Py_None || self->sock.obj == NULL || self->loop == NULL) {
        PyErr_SetString(PyExc_AttributeError, "an open transport's _sock can be replaced only");
        return -1;
    }
    return stream_use_socket(self, value);
}

/* Return the method that reads; None once the transport closes, as in asyncio (libraries test it). */
static PyObject *
get_read_callback(PyObject *op, void *Py_UNUSED(closure))
{
    StreamObject *self = (StreamObject *)op;
    return self->life.closing ? Py_NewRef(Py_None) : PyObject_GetAttrString(op, "_read_ready");
}

static PyObject *
get_buffer(PyObject *op, void *Py_UNUSED(closure))
{
    StreamObject *self = (StreamObject *)op;
    if (stream_flush(self) < 0) {
        return NULL;
    }
    return pieces_list(&self->out.pieces);
}

static PyGetSetDef stream_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_sock", get_sock, set_sock, NULL, NULL},
    {"_read_ready_cb", get_read_callback, NULL, NULL, NULL},
    {"_protocol", get_protocol_attribute, set_protocol_attribute, NULL, NULL},
    {"_buffer", get_buffer, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef stream_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(StreamObject, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(StreamObject, weakrefs), READONLY, NULL},
    {"_loop", T_OBJECT, offsetof(StreamObject, loop), READONLY, NULL},
    {"_server", T_OBJECT, offsetof(StreamObject, server), READONLY, NULL},
    {"_empty_waiter", T_OBJECT, offsetof(StreamObject, out.empty_waiter), READONLY, NULL},
    {"_sock_fd", T_INT, offsetof(StreamObject, sock.fd), READONLY, NULL},
    {"_conn_lost", T_UINT, offsetof(StreamObject, life.conn_lost), READONLY, NULL},
    {"_closing", T_BOOL, offsetof(StreamObject, life.closing), READONLY, NULL},
    {"_eof", T_BOOL, offsetof(StreamObject, out.eof), READONLY, NULL},
    {"_paused", T_BOOL, offsetof(StreamObject, in.paused), READONLY, NULL},
    {"_protocol_paused", T_BOOL, offsetof(StreamObject, out.protocol_paused), 0, NULL},
    {"_high_water", T_PYSSIZET, offsetof(StreamObject, out.high_water), 0, NULL},
    {"_low_water", T_PYSSIZET, offsetof(StreamObject, out.low_water), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc, "A connected stream socket as an asyncio transport."},
    {Py_tp_new, stream_new},
    {Py_tp_init, stream_init},
    {Py_tp_dealloc, GUARDED(stream_dealloc)},
    {Py_tp_finalize, GUARDED(stream_finalize)},
    {Py_tp_traverse, stream_traverse},
    {Py_tp_clear, GUARDED(stream_clear)},
    {Py_tp_repr, GUARDED(stream_repr)},
    {Py_tp_methods, stream_methods},
    {Py_tp_getset, stream_getset},
    {Py_tp_members, stream_members},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "fastaio._fastaio.StreamTransport",
    .basicsize = sizeof(StreamObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = stream_slots,
};

/* Check that the slots of the base lie where our struct has room for them. */
static int
check_base(PyTypeObject *base)
{
    Py_ssize_t expected = (Py_ssize_t)offsetof(StreamObject, dict);
    if (base->tp_basicsize != expected || base->tp_dictoffset != 0 ||
        base->tp_weaklistoffset != 0 || base->tp_itemsize != 0) {
        PyErr_Format(
            PyExc_ImportError,
            "fastaio does not know the layout of this interpreter's %s (%zd bytes, not %zd)",
            base->tp_name, base->tp_basicsize, expected);
        return -1;
    }
    return 0;
}

/* Add the methods of stream_write.c, and the constants that loops look for. */
static int
complete_type(fastaio_state *st, PyTypeObject *type)
{
    for (PyMethodDef *def = stream_write_methods; def->ml_name != NULL; def++) {
        PyObject *method = PyDescr_NewMethod(type, def);
        int rc = method ? PyObject_SetAttrString((PyObject *)type, def->ml_name, method) : -1;
        Py_XDECREF(method);
        if (rc < 0) {
            return -1;
        }
    }
    PyObject *mode = PyObject_GetAttrString(st->sendfile_mode, "TRY_NATIVE");
    PyObject *size = PyLong_FromLong(HOT_BUFFER_SIZE);
    int rc = -1;
    if (mode != NULL && size != NULL &&
        PyObject_SetAttrString((PyObject *)type, "_sendfile_compatible", mode) == 0 &&
        PyObject_SetAttrString((PyObject *)type, "max_size", size) == 0) {
        rc = PyObject_SetAttrString((PyObject *)type, "_start_tls_compatible", Py_True);
    }
    Py_XDECREF(mode);
    Py_XDECREF(size);
    return rc;
}

PyDoc_STRVAR(
    make_stream_transport_doc,
    "_make_stream_transport($self, sock, protocol, waiter=None, extra=None, server=None)\n--\n\n"
    "Return a native transport over a connected, non-blocking socket.");

static PyObject *
loop_make_stream_transport(LoopObject *loop, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"sock", "protocol", "waiter", "extra", "server", NULL};
    PyObject *sock, *protocol, *waiter = Py_None, *extra = Py_None, *server = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OOO:_make_stream_transport", names, &sock,
                                     &protocol, &waiter, &extra, &server)) {
        return NULL;
    }
    return stream_transport_new(loop, sock, protocol, waiter == Py_None ? NULL : waiter,
                                extra == Py_None ? NULL : extra, server == Py_None ? NULL : server);
}

static PyMethodDef loop_methods[] = {
    {"_make_stream_transport", KEYWORDS(loop_make_stream_transport), METH_VARARGS | METH_KEYWORDS,
     make_stream_transport_doc},
    {NULL, NULL, 0, NULL},
};

/* is_closing(): GUARD_IS_CLOSING() */
static const char *const free_names[] = {"is_closing", "can_write_eof", NULL};

/* Looks read the limits. */
static const char *const open_names[] = {"_high_water", "_low_water", NULL};

static const GuardRules stream_rules = {
    loop_of, free_names, open_names, GUARD_LOOKS(stream_looks)};

int
stream_types_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    if (!PyType_Check(st->asyncio_Transport) ||
        check_base((PyTypeObject *)st->asyncio_Transport) < 0) {
        return -1;
    }
    st->StreamTransportType = state_add_type(module, &stream_spec, st->asyncio_Transport);
    if (st->StreamTransportType == NULL || complete_type(st, st->StreamTransportType) < 0
        || guard_type(st, st->StreamTransportType, &stream_rules) < 0) {
        return -1;
    }
    return state_add_methods(st->LoopType, loop_methods);
}
