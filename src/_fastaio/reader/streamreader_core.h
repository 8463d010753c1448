/* streamreader_core.h: the state of a native stream reader, for the files of this folder.
 *
 * Each file uses only files above it:
 *
 *   streamreader_core.c  the state, the buffer, resuming the transport
 *   streamreader.c       for transports: adopts readers and feeds them
 *   streamreader_op.c    the coroutine of a read
 *   streamreader_type.c  the class of adopted readers
 */
#ifndef FASTAIO_STREAMREADER_CORE_H
#define FASTAIO_STREAMREADER_CORE_H

#include "base/guard.h"
#include "base/state.h"

/* The attributes of asyncio.StreamReader: X(name) for reader._name. */
#define READER_FIELDS(X) \
    X(limit) X(loop) X(buffer) X(eof) X(waiter) X(exception) X(transport) X(paused)

/* The instance dictionary of the reader owns this. The attributes of the reader are descriptors of
   its class into the fields. Code of the user's may set or delete each of them at any time. */
typedef struct ReaderCore {
    PyObject_HEAD
    fastaio_state *st;
#define X(name) PyObject *name;
    READER_FIELDS(X)
#undef X
    /* Received while `buffer` was empty, and not copied: the bytes object from `start` on. Its rest
       is moved into `buffer` when more is received, and before Python code looks there. */
    PyObject *chunk;
    Py_ssize_t start;
    Py_ssize_t buffer_refs;   /* how many references to `buffer` the reader itself has */
    PyObject *reader_ref;     /* the protocol's weak reference to the reader */
    Home home;
    struct ReaderCore **link; /* the transport's pointer to this; or NULL */
    bool altered;             /* asyncio's own methods must do the work from here on */
} ReaderCore;

/* Return the state of a reader of our class, borrowed; NULL with an exception. */
ReaderCore *reader_core(fastaio_state *st, PyObject *reader);

/* Return whether asyncio's two classes have the methods that they were loaded with: 1, 0, or -1
   with an exception. May run code. Callers use reader_classes_are_intact(). */
int reader_compare_classes(fastaio_state *st);
/* Move the chunk into the buffer. Return 0, or -1 with MemoryError or BufferError. */
int reader_fill_buffer(ReaderCore *core);
/* Append to the buffer, after the chunk. Return 0, or -1 with MemoryError or BufferError. */
int reader_append(ReaderCore *core, const char *data, Py_ssize_t size);
/* Remove the first `size` bytes, which the reader must have. Return them, or NULL with an
   exception. */
PyObject *reader_take(ReaderCore *core, Py_ssize_t size);
/* Raise RuntimeError: a field is missing. Return -1. */
int reader_raise_replaced(void);
/* Return true if the native methods can work with this object as _limit. */
bool reader_is_usable_limit(PyObject *limit);
/* Return the limit; PY_SSIZE_T_MAX if it is no usable number. */
Py_ssize_t reader_limit(ReaderCore *core);
/* Call transport.resume_reading() if reading is paused. Return 0, or -1 with an exception. */
int reader_resume(ReaderCore *core);
/* Do the same, but only if no more than the limit is buffered: asyncio's
   _maybe_resume_transport(). */
int reader_maybe_resume(ReaderCore *core);

/* Add the type of the state, and note the methods of asyncio's classes. Return 0, or -1 with an
   exception. */
int reader_core_type_init(PyObject *module);

/* Return the versions of the two classes, in one word whose lowest bit is 0. */
static inline uint64_t
reader_class_tags(fastaio_state *st)
{
    uint64_t reader = compat_type_tag((PyTypeObject *)st->asyncio_StreamReader);
    uint64_t protocol = compat_type_tag((PyTypeObject *)st->asyncio_StreamReaderProtocol);
    return reader << 33 | protocol << 1;
}

/* As reader_compare_classes(), which is called only after a change of a class. */
static inline int
reader_classes_are_intact(fastaio_state *st)
{
    uint64_t look = atomic_load_explicit(&st->reader_classes.look, memory_order_relaxed);
    if ((look & ~(uint64_t)1) == reader_class_tags(st) && look > 1) {
        return (int)(look & 1);
    }
    return reader_compare_classes(st);
}

/* Return whether the native methods may do the work: 1, 0 if asyncio's have to, or -1 with an
   exception. */
static inline int
reader_is_native(ReaderCore *core)
{
    int intact = core->altered ? 0 : reader_classes_are_intact(core->st);
    return core->altered ? 0 : intact; /* looking at the classes may run code */
}

/* Check that no field is missing and `buffer` is a bytearray. Return 0, or -1 with RuntimeError. To
   be called after any code of the user's, before the functions above that use fields. */
static inline int
reader_check(ReaderCore *core)
{
    bool whole = core->buffer != NULL && PyByteArray_CheckExact(core->buffer);
#define X(name) whole = whole && core->name != NULL;
    READER_FIELDS(X)
#undef X
    return whole ? 0 : reader_raise_replaced();
}

/* Return what can be read, and its size. Valid until the buffer changes. */
static inline const char *
reader_view(ReaderCore *core, Py_ssize_t *size)
{
    if (core->chunk != NULL) {
        *size = PyBytes_GET_SIZE(core->chunk) - core->start;
        return PyBytes_AS_STRING(core->chunk) + core->start;
    }
    *size = PyByteArray_GET_SIZE(core->buffer);
    return PyByteArray_AS_STRING(core->buffer);
}

/* Replace the chunk, and take the reference. Other threads may look whether there is one. */
static inline void
reader_set_chunk(ReaderCore *core, PyObject *chunk)
{
    PyObject *old = core->chunk;
    shared_store(&core->chunk, chunk); /* after a move to `buffer` */
    Py_XDECREF(old);
}

/* Make the transport's pointer NULL. */
static inline void
reader_unlink(ReaderCore *core)
{
    if (core->link != NULL) {
        *core->link = NULL;
        core->link = NULL;
    }
}

#endif
