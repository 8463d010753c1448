/* tls_type.c: the type TlsProtocol: a mixin in front of asyncio's SSLProtocol.
 *
 * The attributes that asyncio's methods use are descriptors into the struct, so each value exists
 * once.
 */
#include "tls/tls_type.h"

#include "base/args.h"
#include "loop/ending.h"
#include "tls/tls_cipher.h"
#include "tls/tls_read.h"
#include "tls/tls_write.h"

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
    HOME_VISIT(&self->home);
    Py_VISIT(self->extra);
    Py_VISIT(self->wire.transport);
    Py_VISIT(self->app.transport);
    Py_VISIT(self->app.protocol);
    Py_VISIT(self->app.get_buffer);
    Py_VISIT(self->app.buffer_updated);
    Py_VISIT(self->state);
    Py_VISIT(self->cipher.sslobj);
    Py_VISIT(self->cipher.incoming);
    Py_VISIT(self->cipher.outgoing);
    Py_VISIT(self->cipher.inner);
    Py_VISIT(self->cipher.read);
    Py_VISIT(self->cipher.write);
    Py_VISIT(self->cipher.pending);
    return 0;
}

static int
protocol_clear(PyObject *op)
{
    TlsObject *self = (TlsObject *)op;
    tls_drop_output(self);
    streamreader_unlink(&self->app.reader);
    self->mode = TLS_UNWRAPPED;
    cipher_unbind(self);
    section_set(op, &self->extra, NULL);
    section_set(op, &self->wire.transport, NULL);
    section_set(op, &self->app.transport, NULL);
    section_set(op, &self->app.protocol, NULL);
    Py_CLEAR(self->app.get_buffer);
    Py_CLEAR(self->app.buffer_updated);
    section_set(op, &self->state, NULL);
    Py_CLEAR(self->cipher.sslobj);
    Py_CLEAR(self->cipher.incoming);
    Py_CLEAR(self->cipher.outgoing);
    Py_CLEAR(self->loop);
    return 0;
}

/* Return the loop whose claim guards the connection, borrowed; NULL before __init__(). */
static PyObject *
loop_of(PyObject *op)
{
    return home_loop(&((TlsObject *)op)->home);
}

GUARD_CLEAR(protocol_clear, loop_of)
GUARD_DEALLOC(protocol_dealloc, loop_of)

static void
protocol_drop(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    protocol_clear(op);
    pieces_free(&((TlsObject *)op)->pieces);
    home_drop(&((TlsObject *)op)->home);
    type->tp_free(op);
    Py_DECREF(type);
}

static void
protocol_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    DEALLOC_BOUNDED(op, GUARDED(protocol_dealloc), protocol_drop);
}

/* ---- methods --------------------------------------------------------------------------------- */

/* Return 0, or -1 with RuntimeError before __init__. */
static int
check_ready(TlsObject *self)
{
    if (self->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the TLS protocol is not initialised");
        return -1;
    }
    return 0;
}

/* Call a function of the data path for a method without arguments. */
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
protocol_call_alone(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    if (count < 1) {
        PyErr_SetString(PyExc_TypeError, "_call_alone() needs a function");
        return NULL;
    }
    if (check_ready((TlsObject *)op) < 0) {
        return NULL;
    }
    return cipher_call_alone((TlsObject *)op, args[0], args + 1, (size_t)count - 1);
}

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
    tls_set_reading_paused((TlsObject *)op, true);
    Py_RETURN_NONE;
}

/* Flush first: on asyncio, too, only what cannot be encrypted or sent is left here. */
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

#ifdef Py_GIL_DISABLED

/* In a thread that does not get the loop's claim: encrypts and sends nothing. */
static PyObject *
look_write_buffer_size(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TlsObject *self = (TlsObject *)op;
    return PyLong_FromSsize_t(relaxed_load(&self->pieces.size) + relaxed_load(&self->outgoing_size));
}

PyObject *
tls_look_extra_info(TlsObject *self, PyObject *name, PyObject *fallback)
{
    PyObject *extra = section_get((PyObject *)self, &self->extra);
    if (extra != NULL) {
        PyObject *value = PyObject_GetItem(extra, name);
        Py_DECREF(extra);
        if (value != NULL || !PyErr_ExceptionMatches(PyExc_KeyError)) {
            return value;
        }
        PyErr_Clear();
    }
    PyObject *wire = section_get((PyObject *)self, &self->wire.transport);
    if (wire == NULL) {
        return Py_NewRef(fallback);
    }
    PyObject *value = PyObject_CallMethod(wire, "get_extra_info", "OO", name, fallback);
    Py_DECREF(wire);
    return value;
}

PyObject *
tls_look_wire_closing(TlsObject *self)
{
    PyObject *wire = section_get((PyObject *)self, &self->wire.transport);
    if (wire == NULL) {
        return PyObject_CallMethod((PyObject *)self, "_is_transport_closing", NULL);
    }
    PyObject *closing = PyObject_CallMethod(wire, "is_closing", NULL);
    Py_DECREF(wire);
    return closing;
}

#endif

PyObject *
tls_extra_info(TlsObject *self, PyObject *name, PyObject *fallback)
{
    if (self->extra != NULL) {
        PyObject *extra = Py_NewRef(self->extra); /* the name's __eq__ may set another one */
        PyObject *value = PyObject_GetItem(extra, name);
        Py_DECREF(extra);
        if (value != NULL || !PyErr_ExceptionMatches(PyExc_KeyError)) {
            return value;
        }
        PyErr_Clear();
    }
    if (self->wire.transport == NULL) {
        return Py_NewRef(fallback);
    }
    /* The caller may write to the socket: what was written here goes first. */
    if (self->pieces.count && PyUnicode_Check(name) &&
        PyUnicode_CompareWithASCIIString(name, "socket") == 0 && tls_flush(self) < 0) {
        return NULL;
    }
    if (self->wire.transport == NULL) {
        return Py_NewRef(fallback);
    }
    PyObject *args[] = {Py_NewRef(self->wire.transport), name, fallback};
    PyObject *value = PyObject_VectorcallMethod(self->loop->st->str_get_extra_info, args, 3, NULL);
    Py_DECREF(args[0]);
    return value;
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
               "Take `nbytes` bytes from the peer out of the buffer of get_buffer().")},
    {"_do_read", protocol_do_read, METH_NOARGS, NULL},
    {"_do_write", protocol_do_write, METH_NOARGS, NULL},
    {"_process_outgoing", protocol_process_outgoing, METH_NOARGS, NULL},
    {"_control_app_writing", protocol_control_app_writing, METH_NOARGS, NULL},
    {"_control_ssl_reading", protocol_control_ssl_reading, METH_NOARGS, NULL},
    {"_pause_reading", protocol_pause_reading, METH_NOARGS, NULL},
    {"_resume_reading", protocol_resume_reading, METH_NOARGS, NULL},
    {"_flush", protocol_flush, METH_NOARGS,
     PyDoc_STR("_flush($self, /)\n--\n\nEncrypt and send what was written.")},
    {"_flush_last", protocol_flush_last, METH_NOARGS,
     PyDoc_STR(
         "_flush_last($self, /)\n--\n\n"
         "Encrypt and send what was written as far as possible, before the connection ends.")},
    {"_drop_output", protocol_drop_output, METH_NOARGS,
     PyDoc_STR("_drop_output($self, /)\n--\n\nForget what was written and not encrypted.")},
    {"_call_alone", (PyCFunction)(void (*)(void))protocol_call_alone, METH_FASTCALL,
     PyDoc_STR("_call_alone($self, function, /, *args)\n--\n\n"
               "Call a function that uses the objects of ssl while no other thread uses them.")},
    {"_queue", protocol_queue, METH_O,
     PyDoc_STR("_queue($self, data, /)\n--\n\n"
               "Append bytes to what was written, and encrypt nothing.")},
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
    home_set(&self->home, value);
    return 0;
}

static PyObject *
get_loop(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *loop = (PyObject *)((TlsObject *)op)->loop;
    return Py_NewRef(loop != NULL ? loop : Py_None);
}

/* Return the address of a field; `closure` is the field's offset. */
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

/* Set an object that the cipher works on. None stays None: the cipher reports it as any other
   object. */
static int
set_cipher_field(PyObject *op, PyObject *value, void *closure)
{
    cipher_unbind((TlsObject *)op);
    Py_XSETREF(*field(op, closure), Py_XNewRef(value));
    return 0;
}

/* Set a field; None becomes NULL. */
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
    cipher_wait(self); /* asyncio calls methods of ssl next */
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

/* Get and set a limit of flow control; `closure` is the field's offset. */
static PyObject *
get_limit(PyObject *op, void *closure)
{
    return PyLong_FromSsize_t(*(Py_ssize_t *)field(op, closure));
}

static int
set_limit(PyObject *op, PyObject *value, void *closure)
{
    Py_ssize_t limit;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a limit cannot be deleted");
        return -1;
    }
    if (parse_limit(value, &limit) < 0) {
        return -1;
    }
    Section section;
    section_begin(&section, op); /* other threads may look at it */
    *(Py_ssize_t *)field(op, closure) = limit;
    section_end(&section);
    return 0;
}

static PyObject *
get_is_buffer(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((TlsObject *)op)->app.get_buffer != NULL);
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

/* Ignore the queue and the count that asyncio's constructor sets: `pieces` has both. */
static int
ignore(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(value), void *Py_UNUSED(closure))
{
    return 0;
}

static PyObject *
get_cipher(PyObject *op, void *Py_UNUSED(closure))
{
    static const char *const names[] = {"unknown", "ssl", "openssl"};
    return PyUnicode_FromString(names[((TlsObject *)op)->cipher.kind]);
}

#define FIELD(name) (void *)(intptr_t)offsetof(TlsObject, name)

static PyGetSetDef protocol_getset[] = {
    {"_loop", get_loop, set_loop, NULL, NULL},
    {"_extra", get_field, set_field, NULL, FIELD(extra)},
    {"_transport", get_field, set_field, NULL, FIELD(wire.transport)},
    {"_app_transport", get_field, set_field, NULL, FIELD(app.transport)},
    {"_app_protocol", get_field, set_app_protocol, NULL, FIELD(app.protocol)},
    {"_app_protocol_is_buffer", get_is_buffer, NULL, NULL, NULL},
    {"_app_protocol_get_buffer", get_field, set_field, NULL, FIELD(app.get_buffer)},
    {"_app_protocol_buffer_updated", get_field, set_field, NULL, FIELD(app.buffer_updated)},
    {"_state", get_field, set_state, NULL, FIELD(state)},
    {"_sslobj", get_field, set_cipher_field, NULL, FIELD(cipher.sslobj)},
    {"_incoming", get_field, set_cipher_field, NULL, FIELD(cipher.incoming)},
    {"_outgoing", get_field, set_cipher_field, NULL, FIELD(cipher.outgoing)},
    {"_incoming_high_water", get_limit, set_limit, NULL, FIELD(incoming_high)},
    {"_incoming_low_water", get_limit, set_limit, NULL, FIELD(incoming_low)},
    {"_outgoing_high_water", get_limit, set_limit, NULL, FIELD(outgoing_high)},
    {"_outgoing_low_water", get_limit, set_limit, NULL, FIELD(outgoing_low)},
    {"_write_backlog", get_backlog, ignore, NULL, NULL},
    {"_write_buffer_size", get_queued, ignore, NULL, NULL},
    {"_cipher", get_cipher, NULL,
     PyDoc_STR("What encrypts: 'openssl', 'ssl' (Python's module), or 'unknown' before the first\n"
               "byte."),
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef protocol_members[] = {
    {"_conn_lost", T_INT, offsetof(TlsObject, conn_lost), 0, NULL},
    {"_ssl_writing_paused", T_BOOL, offsetof(TlsObject, wire.writing_paused), 0, NULL},
    {"_ssl_reading_paused", T_BOOL, offsetof(TlsObject, wire.reading_paused), 0, NULL},
    {"_app_reading_paused", T_BOOL, offsetof(TlsObject, app.reading_paused), 0, NULL},
    {"_app_writing_paused", T_BOOL, offsetof(TlsObject, app.writing_paused), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot protocol_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The data path of asyncio.sslproto.SSLProtocol.")},
    {Py_tp_new, protocol_new},
    {Py_tp_dealloc, GUARDED(protocol_dealloc)},
    {Py_tp_traverse, protocol_traverse},
    {Py_tp_clear, GUARDED(protocol_clear)},
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

#ifdef Py_GIL_DISABLED

static PyObject *
look_extra_info(PyObject *op, PyObject *args)
{
    PyObject *name, *fallback = Py_None;
    return PyArg_ParseTuple(args, "O|O:_get_extra_info", &name, &fallback)
               ? tls_look_extra_info((TlsObject *)op, name, fallback)
               : NULL;
}

static PyMethodDef protocol_looks[] = {
    {"_get_extra_info", look_extra_info, METH_VARARGS, NULL},
    {"_get_write_buffer_size", look_write_buffer_size, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

#endif

/* What asyncio's methods use that look at a connection. C code that writes these does so in the critical section. */
static const char *const open_names[] = {
    "_app_protocol",        "_app_reading_paused", "_app_transport", "_extra", "_loop",
    "_outgoing_high_water", "_outgoing_low_water", "_state",         "_transport", NULL,
};

static const GuardRules protocol_rules = {
    loop_of, .open_names = open_names, .looks = GUARD_LOOKS(protocol_looks)};

int
tls_protocol_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    TlsState *tls = st->tls;
    tls->ProtocolType = state_add_type(module, &protocol_spec, NULL);
    if (tls->ProtocolType == NULL || guard_type(st, tls->ProtocolType, &protocol_rules) < 0) {
        return -1;
    }
    tls->feed_method = PyObject_GetAttrString((PyObject *)tls->ProtocolType, "buffer_updated");
    return tls->feed_method != NULL ? 0 : -1;
}
