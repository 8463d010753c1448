/* streamreader_impl.h: what the rooms of the stream reader share: its state, and the coroutine.
 *
 * streamreader.c has the state and what feeds it, streamreader_type.c the class
 * that readers get, streamreader_op.c the coroutine that a read is. Nobody else
 * includes this.
 */
#ifndef FASTAIO_STREAMREADER_IMPL_H
#define FASTAIO_STREAMREADER_IMPL_H

#include "task/future.h"
#include "reader/streamreader.h"

/* The attributes of asyncio.StreamReader: X(name) for reader._name. */
#define READER_FIELDS(X)                                                                           \
    X(limit) X(loop) X(buffer) X(eof) X(waiter) X(exception) X(transport) X(paused)

/* The state of a reader; its instance dictionary owns it. The attributes of the object are
   descriptors of its class that look in here. */
struct ReaderCore {
    PyObject_HEAD
    fastaio_state *st;
#define X(name) PyObject *name;
    READER_FIELDS(X)
#undef X
    /* What was received while `buffer` was empty, not copied: a bytes object from `start` on. It is
       moved to `buffer` when more comes, and before anybody else looks there. */
    PyObject *chunk;
    Py_ssize_t start;
    Py_ssize_t buffer_refs; /* references to `buffer` that are no onlooker's */
    PyObject *reader_ref;   /* the protocol's weak reference to the reader */
    ReaderCore **link;      /* where the transport points to this; or NULL */
    bool altered;           /* there is something that asyncio's own methods are to deal with */
};

/* The state of a reader of our class: borrowed; NULL with an exception. */
ReaderCore *reader_core(fastaio_state *st, PyObject *reader);
/* 1 where all is as asyncio made it, on a loop of ours, and our methods may do its work; 0 where
   not; -1: error. */
int reader_is_native(ReaderCore *core);
/* Moves the chunk to the buffer. */
int reader_gather(ReaderCore *core);
/* What there is to read. Before it: reader_check(). */
const char *reader_view(ReaderCore *core, Py_ssize_t *size);
/* -1 with RuntimeError where somebody has put something else in the buffer's place. */
int reader_check(ReaderCore *core);
/* Takes the first `size` bytes, of which there are as many. */
PyObject *reader_take(ReaderCore *core, Py_ssize_t size);
/* As _maybe_resume_transport(). */
int reader_maybe_resume(ReaderCore *core);
/* Resumes reading, if it is paused. */
int reader_resume(ReaderCore *core);
Py_ssize_t reader_limit(ReaderCore *core);

/* streamreader_op.c */

typedef enum { READ_SOME, READ_EXACTLY, READ_UNTIL, READ_LINE, READ_NEXT } ReadKind;

/* The coroutine of one read of a native reader; separator: bytes, or NULL. */
PyObject *read_op_new(ReaderCore *core, PyObject *reader, ReadKind kind, Py_ssize_t size,
                      PyObject *separator);
int read_op_type_init(PyObject *module);

/* streamreader_type.c */

int reader_type_init(PyObject *module);

#endif
