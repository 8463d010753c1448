/* half.h: what the native halves of asyncio's datagram and pipe transports share.
 *
 * Such a half is a mixin in front of asyncio's own class (fastaio/transports.py
 * joins them): what happens once is asyncio's code, of the very version that
 * runs, and what repeats with the traffic is C.  The attributes that both need
 * are descriptors into the struct, so there is one truth.
 */
#ifndef FASTAIO_TRANSPORT_H
#define FASTAIO_TRANSPORT_H

#include "loop/loop.h"

/* Slots of asyncio.BaseTransport and asyncio.transports._FlowControlMixin. */
#define TRANSPORT_BASE_SLOTS 5

typedef struct {
    PyObject_HEAD
    PyObject *base_room[TRANSPORT_BASE_SLOTS]; /* asyncio's __slots__ live here */
    PyObject *loop;                            /* as _loop; so are the next ones */
    PyObject *protocol;
    PyObject *file; /* _sock or _pipe */
    PyObject *buffer;
    int fd; /* as _fileno, which only pipes have; -1: None */
    int conn_lost;
    bool closing;
    bool paused;
    bool inspected; /* what depends on `file` is known */
} TransportCore;

/* The descriptors of _loop, _protocol, _conn_lost, _closing and _paused. */
#define TRANSPORT_MEMBERS                                                                          \
    {"_loop", T_OBJECT, offsetof(TransportCore, loop), 0, NULL},                                   \
        {"_protocol", T_OBJECT, offsetof(TransportCore, protocol), 0, NULL},                       \
        {"_conn_lost", T_INT, offsetof(TransportCore, conn_lost), 0, NULL},                        \
        {"_closing", T_BOOL, offsetof(TransportCore, closing), 0, NULL},                           \
        {"_paused", T_BOOL, offsetof(TransportCore, paused), 0, NULL}

/* An object without arguments; its __init__ is asyncio's. */
PyObject *transport_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
int transport_traverse(PyObject *op, visitproc visit, void *arg);
int transport_clear(PyObject *op);
void transport_dealloc(PyObject *op);

/* Getter and setter of the file, which is looked at anew once it has been set. */
PyObject *transport_get_file(PyObject *op, void *closure);
int transport_set_file(PyObject *op, PyObject *value, void *closure);

/* _fileno: a number or None. */
PyObject *transport_get_fileno(PyObject *op, void *closure);
int transport_set_fileno(PyObject *op, PyObject *value, void *closure);

/* The native loop; NULL where there is none (any more), without an exception. */
LoopObject *transport_loop(TransportCore *self, fastaio_state *st);
/* What asyncio's class has under that name, called with self and the arguments. */
PyObject *transport_call_base(PyObject *owner, PyObject *name, PyObject *self,
                              PyObject *const *args, Py_ssize_t count);
/* protocol.name(arg), with references of its own; NULL arg: protocol.name(). */
PyObject *transport_call_protocol(TransportCore *self, PyObject *name, PyObject *arg);
/* self._fatal_error(the raised exception, message): 0, or -1 with an exception, which
   KeyboardInterrupt and SystemExit always are. */
int transport_fatal_error(PyObject *self, const char *message);

/* A mixin in front of asyncio's classes; NULL with an exception, too where the slots of those do
   not lie where the struct has room for them. */
PyTypeObject *transport_add_type(PyObject *module, PyType_Spec *spec, PyObject *base);

#endif
