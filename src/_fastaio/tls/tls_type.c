/* tls_type.c: the type TlsProtocol: asyncio's SSLProtocol as Python sees it, where C has its data.
 *
 * asyncio's own methods run on these attributes: each is a word of the struct.
 */
#include "tls/tls_impl.h"

#include <structmember.h>

/* ---- making and freeing ---------------------------------------------------------------------- */

static PyObject *
protocol_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    return type->tp_alloc(type, 0);
}

static int
protocol_traverse(PyObject *op, visitproc visit, void *arg)
{
    TlsObject *self = (TlsObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop);
    Py_VISIT(self->extra);
    Py_VISIT(self->transport);
    Py_VISIT(self->app_transport);
    Py_VISIT(self->app_protocol);
    Py_VISIT(self->get_buffer);
    Py_VISIT(self->buffer_updated);
    Py_VISIT(self->state);
    Py_VISIT(self->sslobj);
    Py_VISIT(self->incoming);
    Py_VISIT(self->outgoing);
    Py_VISIT(self->inner);
    Py_VISIT(self->read);
    Py_VISIT(self->write);
    Py_VISIT(self->pending);
    return 0;
}

static int
protocol_clear(PyObject *op)
{
    TlsObject *self = (TlsObject *)op;
    tls_drop_output(self);
    streamreader_unlink(&self->reader);
    self->mode = TLS_UNWRAPPED;
    cipher_unbind(self);
    Py_CLEAR(self->extra);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->app_transport);
    Py_CLEAR(self->app_protocol);
    Py_CLEAR(self->get_buffer);
    Py_CLEAR(self->buffer_updated);
    Py_CLEAR(self->state);
    Py_CLEAR(self->sslobj);
    Py_CLEAR(self->incoming);
    Py_CLEAR(self->outgoing);
    Py_CLEAR(self->loop);
    return 0;
}

static void
protocol_drop(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    protocol_clear(op);
    pieces_free(&((TlsObject *)op)->pieces);
    type->tp_free(op);
    Py_DECREF(type);
}

static void
protocol_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    DEALLOC_BOUNDED(op, protocol_dealloc, protocol_drop);
}

/* ---- methods --------------------------------------------------------------------------------- */

static int
check_ready(TlsObject *self)
{
    if (self->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the TLS protocol is not initialised");
        return -1;
    }
    return 0;
}

/* Runs a function of the data path as a method. */
static PyObject *
run(PyObject *op, int (*fn)(TlsObject *))
{
    TlsObject *self = (TlsObject *)op;
    if (check_ready(self) < 0) {
        return NULL;
    }
    Py_INCREF(op);
    int rc = fn(self);
    Py_DECREF(op);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

#define METHOD(name, fn)                                              \
    static PyObject *name(PyObject *op, PyObject *Py_UNUSED(ignored)) \
    {                                                                 \
        return run(op, fn);                                           \
    }

METHOD(protocol_do_read, tls_read)
METHOD(protocol_do_write, tls_encrypt)
METHOD(protocol_process_outgoing, tls_send)
METHOD(protocol_control_app_writing, tls_control_writing)
METHOD(protocol_control_ssl_reading, tls_control_reading)
METHOD(protocol_resume_reading, tls_resume_reading)
METHOD(protocol_flush, tls_flush)
METHOD(protocol_flush_last, tls_flush_last)

static int
drop_output(TlsObject *self)
{
    tls_drop_output(self);
    return 0;
}

METHOD(protocol_drop_output, drop_output)

static PyObject *
protocol_buffer_updated(PyObject *op, PyObject *number)
{
    Py_ssize_t count = PyNumber_AsSsize_t(number, PyExc_OverflowError);
    if ((count < 0 && PyErr_Occurred()) || check_ready((TlsObject *)op) < 0) {
        return NULL;
    }
    PyObject *buffer = PyObject_GetAttrString(op, "_ssl_buffer_view");
    Py_buffer view;
    if (buffer == NULL || PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE) < 0) {
        Py_XDECREF(buffer);
        return NULL;
    }
    if (count > view.len) {
        count = view.len;
    }
    int rc = tls_feed(op, view.buf, count > 0 ? count : 0);
    PyBuffer_Release(&view);
    Py_DECREF(buffer);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
protocol_write_appdata(PyObject *op, PyObject *list_of_data)
{
    TlsObject *self = (TlsObject *)op;
    if (check_ready(self) < 0) {
        return NULL;
    }
    return tls_write_all(self, list_of_data) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
protocol_queue(PyObject *op, PyObject *data)
{
    TlsObject *self = (TlsObject *)op;
    if (check_ready(self) < 0 || tls_queue(self, data) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
protocol_set_app_protocol(PyObject *op, PyObject *protocol)
{
    TlsObject *self = (TlsObject *)op;
    if (check_ready(self) < 0 || tls_use_protocol(self, protocol) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
protocol_pause_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ((TlsObject *)op)->app_reading_paused = 1;
    Py_RETURN_NONE;
}

/* Whoever asks sees what asyncio would have: all that can be encrypted is with the raw transport. */
static PyObject *
protocol_get_write_buffer_size(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TlsObject *self = (TlsObject *)op;
    if (check_ready(self) < 0 || tls_flush(self) < 0) {
        return NULL;
    }
    Py_ssize_t size = cipher_outgoing(self);
    return size < 0 ? NULL : PyLong_FromSsize_t(size + self->pieces.size);
}

static PyObject *
protocol_get_read_buffer_size(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Py_ssize_t size = check_ready((TlsObject *)op) < 0 ? -1 : cipher_incoming((TlsObject *)op);
    return size < 0 ? NULL : PyLong_FromSsize_t(size);
}

static PyObject *
protocol_get_extra_info(PyObject *op, PyObject *args)
{
    PyObject *name, *fallback = Py_None;
    if (check_ready((TlsObject *)op) < 0 ||
        !PyArg_ParseTuple(args, "O|O:_get_extra_info", &name, &fallback)) {
        return NULL;
    }
    return tls_extra_info((TlsObject *)op, name, fallback);
}

static PyMethodDef protocol_methods[] = {
    {"buffer_updated", protocol_buffer_updated, METH_O,
     PyDoc_STR("buffer_updated($self, nbytes, /)\n--\n\n"
               "So many bytes from the peer are in the buffer that get_buffer() gave.")},
    {"_do_read", protocol_do_read, METH_NOARGS, NULL},
    {"_do_write", protocol_do_write, METH_NOARGS, NULL},
    {"_process_outgoing", protocol_process_outgoing, METH_NOARGS, NULL},
    {"_control_app_writing", protocol_control_app_writing, METH_NOARGS, NULL},
    {"_control_ssl_reading", protocol_control_ssl_reading, METH_NOARGS, NULL},
    {"_pause_reading", protocol_pause_reading, METH_NOARGS, NULL},
    {"_resume_reading", protocol_resume_reading, METH_NOARGS, NULL},
    {"_flush", protocol_flush, METH_NOARGS,
     PyDoc_STR("_flush($self, /)\n--\n\nEncrypt what is written, and hand it on.")},
    {"_flush_last", protocol_flush_last, METH_NOARGS,
     PyDoc_STR("_flush_last($self, /)\n--\n\n"
               "Encrypt what is written as far as possible, before the connection ends.")},
    {"_drop_output", protocol_drop_output, METH_NOARGS,
     PyDoc_STR("_drop_output($self, /)\n--\n\nForget what is written and not encrypted.")},
    {"_queue", protocol_queue, METH_O,
     PyDoc_STR("_queue($self, data, /)\n--\n\n"
               "Put bytes behind what is written, and leave it to others to encrypt them.")},
    {"_write_appdata", protocol_write_appdata, METH_O, NULL},
    {"_set_app_protocol", protocol_set_app_protocol, METH_O, NULL},
    {"_get_write_buffer_size", protocol_get_write_buffer_size, METH_NOARGS, NULL},
    {"_get_read_buffer_size", protocol_get_read_buffer_size, METH_NOARGS, NULL},
    {"_get_extra_info", protocol_get_extra_info, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- attributes ------------------------------------------------------------------------------ */

static int
set_loop(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    TlsObject *self = (TlsObject *)op;
    fastaio_state *st = state_of_type(Py_TYPE(op));
    if (st == NULL) {
        return -1;
    }
    if (value == NULL || !loop_is_native(st, value)) {
        PyErr_SetString(PyExc_TypeError, "native TLS needs a native loop");
        return -1;
    }
    if (self->loop != NULL && self->loop != (LoopObject *)value) {
        PyErr_SetString(PyExc_AttributeError, "the loop of a TLS protocol cannot be changed");
        return -1;
    }
    Py_XSETREF(self->loop, (LoopObject *)Py_NewRef(value));
    return 0;
}

static PyObject *
get_loop(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *loop = (PyObject *)((TlsObject *)op)->loop;
    return Py_NewRef(loop != NULL ? loop : Py_None);
}

/* What the cipher works on: `closure` is the field's offset. */
static PyObject **
field(PyObject *op, void *closure)
{
    return (PyObject **)((char *)op + (Py_ssize_t)(intptr_t)closure);
}

static PyObject *
get_field(PyObject *op, void *closure)
{
    PyObject *value = *field(op, closure);
    return Py_NewRef(value != NULL ? value : Py_None);
}

static int
set_cipher_field(PyObject *op, PyObject *value, void *closure)
{
    cipher_unbind((TlsObject *)op);
    Py_XSETREF(*field(op, closure), Py_XNewRef(value));
    return 0;
}

/* None is nothing, as it is where C looks at these. */
static int
set_field(PyObject *op, PyObject *value, void *closure)
{
    Py_XSETREF(*field(op, closure), value != Py_None ? Py_XNewRef(value) : NULL);
    return 0;
}

static int
set_state(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    TlsObject *self = (TlsObject *)op;
    fastaio_state *st = state_of_type(Py_TYPE(op));
    if (st == NULL) {
        return -1;
    }
    cipher_wait(self); /* at an end asyncio calls ssl's methods next */
    self->mode = TLS_UNWRAPPED;
    for (int mode = 0; mode < TLS_MODES; mode++) {
        if (value == st->tls->modes[mode]) {
            self->mode = (TlsMode)mode;
        }
    }
    Py_XSETREF(self->state, Py_XNewRef(value));
    return 0;
}

static int
set_app_protocol(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    TlsObject *self = (TlsObject *)op;
    return check_ready(self) < 0 ? -1 : tls_use_protocol(self, value != NULL ? value : Py_None);
}

static PyObject *
get_is_buffer(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((TlsObject *)op)->get_buffer != NULL);
}

static PyObject *
get_backlog(PyObject *op, void *Py_UNUSED(closure))
{
    return pieces_list(&((TlsObject *)op)->pieces);
}

static PyObject *
get_queued(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(((TlsObject *)op)->pieces.size);
}

/* asyncio's constructor makes a queue of its own, and a count of its bytes. */
static int
ignore(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(value), void *Py_UNUSED(closure))
{
    return 0;
}

static PyObject *
get_cipher(PyObject *op, void *Py_UNUSED(closure))
{
    static const char *const names[] = {"unknown", "ssl", "openssl"};
    return PyUnicode_FromString(names[((TlsObject *)op)->cipher]);
}

#define FIELD(name) (void *)(intptr_t)offsetof(TlsObject, name)

static PyGetSetDef protocol_getset[] = {
    {"_loop", get_loop, set_loop, NULL, NULL},
    {"_extra", get_field, set_field, NULL, FIELD(extra)},
    {"_transport", get_field, set_field, NULL, FIELD(transport)},
    {"_app_transport", get_field, set_field, NULL, FIELD(app_transport)},
    {"_app_protocol", get_field, set_app_protocol, NULL, FIELD(app_protocol)},
    {"_app_protocol_is_buffer", get_is_buffer, NULL, NULL, NULL},
    {"_app_protocol_get_buffer", get_field, set_field, NULL, FIELD(get_buffer)},
    {"_app_protocol_buffer_updated", get_field, set_field, NULL, FIELD(buffer_updated)},
    {"_state", get_field, set_state, NULL, FIELD(state)},
    {"_sslobj", get_field, set_cipher_field, NULL, FIELD(sslobj)},
    {"_incoming", get_field, set_cipher_field, NULL, FIELD(incoming)},
    {"_outgoing", get_field, set_cipher_field, NULL, FIELD(outgoing)},
    {"_write_backlog", get_backlog, ignore, NULL, NULL},
    {"_write_buffer_size", get_queued, ignore, NULL, NULL},
    {"_cipher", get_cipher, NULL,
     PyDoc_STR("Who encrypts: 'openssl', 'ssl' (Python's module), or 'unknown' before the first\n"
               "byte."),
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef protocol_members[] = {
    {"_conn_lost", T_INT, offsetof(TlsObject, conn_lost), 0, NULL},
    {"_incoming_high_water", T_PYSSIZET, offsetof(TlsObject, incoming_high), 0, NULL},
    {"_incoming_low_water", T_PYSSIZET, offsetof(TlsObject, incoming_low), 0, NULL},
    {"_outgoing_high_water", T_PYSSIZET, offsetof(TlsObject, outgoing_high), 0, NULL},
    {"_outgoing_low_water", T_PYSSIZET, offsetof(TlsObject, outgoing_low), 0, NULL},
    {"_ssl_writing_paused", T_BOOL, offsetof(TlsObject, wire_writing_paused), 0, NULL},
    {"_ssl_reading_paused", T_BOOL, offsetof(TlsObject, wire_reading_paused), 0, NULL},
    {"_app_reading_paused", T_BOOL, offsetof(TlsObject, app_reading_paused), 0, NULL},
    {"_app_writing_paused", T_BOOL, offsetof(TlsObject, app_writing_paused), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot protocol_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The data path of asyncio.sslproto.SSLProtocol.")},
    {Py_tp_new, protocol_new},
    {Py_tp_dealloc, protocol_dealloc},
    {Py_tp_traverse, protocol_traverse},
    {Py_tp_clear, protocol_clear},
    {Py_tp_methods, protocol_methods},
    {Py_tp_getset, protocol_getset},
    {Py_tp_members, protocol_members},
    {0, NULL},
};

static PyType_Spec protocol_spec = {
    .name = "fastaio._fastaio.TlsProtocol",
    .basicsize = sizeof(TlsObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = protocol_slots,
};

int
tls_protocol_type_init(PyObject *module)
{
    TlsState *tls = state_of_module(module)->tls;
    tls->ProtocolType = state_add_type(module, &protocol_spec, NULL);
    if (tls->ProtocolType == NULL) {
        return -1;
    }
    tls->feed_method = PyObject_GetAttrString((PyObject *)tls->ProtocolType, "buffer_updated");
    return tls->feed_method != NULL ? 0 : -1;
}
