/* half.h: the common part of the native halves of asyncio's datagram and pipe transports.
 *
 * A half is a mixin in front of asyncio's own class; fastaio/transports.py joins the two. One-off
 * work runs the code of the installed asyncio. Hot paths are C. Attributes that both need are
 * descriptors into the struct, so each value exists once.
 */
#ifndef FASTAIO_HALF_H
#define FASTAIO_HALF_H

#include "loop/ending.h"

/* The number of slots of asyncio.BaseTransport and asyncio.transports._FlowControlMixin. */
#define TRANSPORT_BASE_SLOTS 5

typedef struct {
    PyObject_HEAD
    PyObject *base_room[TRANSPORT_BASE_SLOTS]; /* asyncio's __slots__ live here */
    PyObject *loop;                            /* as _loop; so are the next ones */
    LoopObject *native;                        /* `loop` if it is a native one, else NULL */
    Home home;                                 /* the first native one */
    fastaio_state *st;                         /* of the module that made the type */
    PyObject *protocol;
    PyObject *file; /* _sock or _pipe */
    PyObject *buffer;
    int fd; /* as _fileno, which only pipes have; -1: None */
    int conn_lost;
    bool closing;
    bool paused;
    bool inspected;     /* the values that depend on `file` are known */
    bool file_is_plain; /* `file` is exactly a socket.socket or a FileIO */
} TransportCore;

/* The descriptors of _protocol, _conn_lost, _closing and _paused. */
#define TRANSPORT_MEMBERS                                                    \
    {"_protocol", T_OBJECT, offsetof(TransportCore, protocol), 0, NULL},     \
        {"_conn_lost", T_INT, offsetof(TransportCore, conn_lost), 0, NULL},  \
        {"_closing", T_BOOL, offsetof(TransportCore, closing), 0, NULL},     \
    {                                                                        \
        "_paused", T_BOOL, offsetof(TransportCore, paused), 0, NULL          \
    }

/* Return a new object, as tp_new; NULL with an exception. Arguments are left to asyncio's __init__. */
PyObject *transport_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
int transport_traverse(PyObject *op, visitproc visit, void *arg);
int transport_clear(PyObject *op);
void transport_dealloc(PyObject *op);
/* Return the loop whose claim guards the transport, borrowed; NULL: none yet. */
PyObject *transport_loop_of(PyObject *op);
/* The attributes that any thread may read: asyncio's methods that look at a transport use these. C code that writes
   the fields does so in the critical section. For GuardRules. */
extern const char *const transport_open_names[];

/* Get and set `file`. Setting clears `inspected`. */
PyObject *transport_get_file(PyObject *op, void *closure);
int transport_set_file(PyObject *op, PyObject *value, void *closure);

/* Get and set _fileno: a number, or None for -1. */
PyObject *transport_get_fileno(PyObject *op, void *closure);
int transport_set_fileno(PyObject *op, PyObject *value, void *closure);

/* Get and set _loop: any loop, or None. Without a GIL a second native loop is served by asyncio's methods. */
PyObject *transport_get_loop(PyObject *op, void *closure);
int transport_set_loop(PyObject *op, PyObject *value, void *closure);

/* Call owner.name(self, *args) with at most two arguments; owner is asyncio's class. Return the
   result, or NULL with an exception. */
PyObject *transport_call_base(PyObject *owner, PyObject *name, PyObject *self,
                              PyObject *const *args, Py_ssize_t count);
/* Call protocol.name(arg), or protocol.name() where arg is NULL. Return the result, None if there
   is no protocol, or NULL with an exception. */
PyObject *transport_call_protocol(TransportCore *self, PyObject *name, PyObject *arg);
/* Call self._fatal_error(the raised exception, message). Return 0, or -1 with an exception.
   KeyboardInterrupt and SystemExit stay raised: -1. */
int transport_fatal_error(PyObject *self, const char *message);

/* Add a type that is a mixin in front of asyncio's classes. Return it, borrowed, or NULL with an
   exception; ImportError if the slots of `base` do not fit into TransportCore. */
PyTypeObject *transport_add_type(PyObject *module, PyType_Spec *spec, PyObject *base);

#endif
