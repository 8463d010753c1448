/* datagram.c: the type of the transport of UDP and Unix datagrams.
 *
 * A mixin in front of asyncio's datagram transport. The plain cases are native: exactly
 * socket.socket, a datagram that the kernel takes immediately, an address without a name to look
 * up. asyncio's methods serve all others: another type of socket, a full queue, a wrong argument.
 * The files in order: datagram_object.h < datagram_kind.c < datagram_read.c, datagram_send.c <
 * datagram.c.
 */
#include "net/datagram.h"

#include "net/datagram_read.h"
#include "net/datagram_send.h"

#include <structmember.h>

/* ---- methods --------------------------------------------------------------------------------- */

static PyObject *
datagram_sendto(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    if (keywords == NULL && (count == 1 || count == 2)) {
        return datagram_send(op, args[0], count == 2 ? args[1] : Py_None);
    }
    PyObject *data = count > 0 ? args[0] : NULL, *address = count > 1 ? args[1] : NULL;
    const NamedArgument known[] = {{"data", &data}, {"addr", &address}, {NULL, NULL}};
    if (parse_keywords("sendto", known, keywords, args + count) < 0) {
        return NULL;
    }
    if (count > 2 || data == NULL) {
        PyErr_Format(PyExc_TypeError, "sendto() takes 1 or 2 arguments (%zd given)",
                     count + (keywords != NULL ? PyTuple_GET_SIZE(keywords) : 0));
        return NULL;
    }
    return datagram_send(op, data, address != NULL ? address : Py_None);
}

/* ---- the type -------------------------------------------------------------------------------- */

static PyObject *
datagram_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    DatagramObject *self = (DatagramObject *)transport_new(type, args, kwargs);
    if (self != NULL) {
        self->fork_count = self->core.st->fork_count;
        self->fork_calls = relaxed_load(&self->core.st->fork_calls);
        self->batch.size = 1;
        self->batch.turn = UINT64_MAX; /* no turn */
    }
    return (PyObject *)self;
}

static int
datagram_traverse(PyObject *op, visitproc visit, void *arg)
{
    DatagramObject *self = (DatagramObject *)op;
    Py_VISIT(self->address);
    Py_VISIT(self->buffer_size);
    int rc = address_cache_traverse(&self->cache, visit, arg);
    return rc != 0 ? rc : transport_traverse(op, visit, arg);
}

static int
datagram_clear(PyObject *op)
{
    DatagramObject *self = (DatagramObject *)op;
    datagram_drop_batch(self);
    Py_CLEAR(self->address);
    section_set(op, &self->buffer_size, NULL);
    address_cache_clear(&self->cache);
    return transport_clear(op);
}

GUARD_CLEAR(datagram_clear, transport_loop_of)
GUARD_DEALLOC(datagram_dealloc, transport_loop_of)
ENDING_METHOD(transport_loop_of)

static void
datagram_dealloc(PyObject *op)
{
    DatagramObject *self = (DatagramObject *)op;
    PyObject_GC_UnTrack(op);
    datagram_drop_batch(self);
    PyMem_Free(self->batch.items);
    self->batch.items = NULL;
    transport_dealloc(op);
}

/* Set _sock. At its end the transport drops the socket, and with it what has been received. */
static int
set_sock(PyObject *op, PyObject *value, void *closure)
{
    datagram_drop_batch((DatagramObject *)op);
    return transport_set_file(op, value, closure);
}

static PyMethodDef datagram_methods[] = {
    {"sendto", KEYWORDS(datagram_sendto), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("sendto($self, data, addr=None)\n--\n\n"
               "Send a datagram to addr, or to the peer of the endpoint.")},
    {"resume_reading", datagram_resume_reading, METH_NOARGS,
     PyDoc_STR("resume_reading($self, /)\n--\n\nReceive again after pause_reading().")},
    {"_read_ready", datagram_read_ready, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef datagram_members[] = {
    TRANSPORT_MEMBERS,
    {"_buffer", T_OBJECT, offsetof(TransportCore, buffer), 0, NULL},
    {"_buffer_size", T_OBJECT, offsetof(DatagramObject, buffer_size), 0, NULL},
    {"_address", T_OBJECT, offsetof(DatagramObject, address), 0, NULL},
    {"_unnamed_peer", T_BOOL, offsetof(DatagramObject, unnamed_peer), READONLY, NULL},
    {"_own_socket", T_BOOL, offsetof(DatagramObject, own_socket), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef datagram_getset[] = {
    {"_loop", transport_get_loop, transport_set_loop, NULL, NULL},
    {"_sock", transport_get_file, set_sock, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot datagram_slots[] = {
    {Py_tp_doc, "The native half of fastaio's datagram transport."},
    {Py_tp_new, datagram_new},
    {Py_tp_dealloc, GUARDED(datagram_dealloc)},
    {Py_tp_traverse, datagram_traverse},
    {Py_tp_clear, GUARDED(datagram_clear)},
    {Py_tp_methods, datagram_methods},
    {Py_tp_members, datagram_members},
    {Py_tp_getset, datagram_getset},
    {0, NULL},
};

static PyType_Spec datagram_spec = {
    .name = "fastaio._fastaio.DatagramCore",
    .basicsize = sizeof(DatagramObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = datagram_slots,
};

static const GuardRules datagram_rules = {transport_loop_of, .open_names = transport_open_names};

int
datagram_types_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->DatagramCoreType = transport_add_type(module, &datagram_spec, st->asyncio_Transport);
    if (st->DatagramCoreType == NULL
        || guard_type(st, st->DatagramCoreType, &datagram_rules) < 0) {
        return -1;
    }
    return ENDING_METHOD_ADD(st->DatagramCoreType);
}
