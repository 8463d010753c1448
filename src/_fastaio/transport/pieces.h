/* pieces.h: a queue of bytes objects that are to be sent, written or encrypted.
 *
 * A prefix of the first object may have been consumed already. The queue runs no Python code: its
 * items are exactly bytes.
 */
#ifndef FASTAIO_PIECES_H
#define FASTAIO_PIECES_H

#include "base/compat.h"
#include <sys/uio.h>

#define PIECES_MIN     8
#define PIECES_KEEP    64 /* an empty queue with more capacity is freed */
#define PIECES_VECTORS 64 /* one system call takes at most this many pieces */

typedef struct {
    PyObject **items; /* the queue is items[head] to items[head + count - 1] */
    size_t capacity;
    size_t head;
    size_t count;
    size_t offset;   /* how many bytes of the first piece are consumed */
    Py_ssize_t size; /* bytes that are not consumed */
    /* st->fork_count when the first piece was pushed: tells the process that owns the queue. */
    unsigned fork_count;
} Pieces;

/* Return a new bytes object with a copy of the data; NULL with MemoryError. A large copy releases the GIL:
   other threads run meanwhile, and the caller keeps the memory in place. */
PyObject *piece_copy(const char *data, Py_ssize_t size);
/* Return exactly bytes with the content of a buffer: `data` itself, or a copy like piece_copy()'s. NULL
   with an exception. */
PyObject *piece_from(PyObject *data);

/* Return true in a forked child if the queue is the parent's, who sends it. fork_count: the present
   st->fork_count. */
static inline bool
pieces_is_inherited(const Pieces *pieces, unsigned fork_count)
{
    return pieces->count && pieces->fork_count != fork_count;
}

/* Return the piece, borrowed. */
static inline PyObject *
pieces_at(const Pieces *pieces, size_t index)
{
    return pieces->items[pieces->head + index];
}

/* Free the memory of an empty queue. */
static inline void
pieces_free(Pieces *pieces)
{
    PyMem_Free(pieces->items);
    *pieces = (Pieces){0};
}

/* Make room for one more. Return false if there is no memory. */
static inline bool
pieces_reserve(Pieces *pieces)
{
    if (pieces->head + pieces->count < pieces->capacity) {
        return true;
    }
    if (pieces->head > pieces->count) {
        memcpy(pieces->items, pieces->items + pieces->head, pieces->count * sizeof(*pieces->items));
        pieces->head = 0;
        return true;
    }
    size_t capacity = pieces->capacity ? 2 * pieces->capacity : PIECES_MIN;
    PyObject **items = PyMem_Realloc(pieces->items, capacity * sizeof(*items));
    if (items == NULL) {
        return false;
    }
    pieces->items = items;
    pieces->capacity = capacity;
    return true;
}

/* Append a piece and take the reference. Return false if there is no memory: the caller keeps the
   reference then. Runs no Python code. fork_count: st->fork_count. */
static inline bool
pieces_try_push(Pieces *pieces, PyObject *piece, unsigned fork_count)
{
    if (!pieces_reserve(pieces)) {
        return false;
    }
    if (pieces->count == 0) {
        pieces->fork_count = fork_count;
    }
    pieces->items[pieces->head + pieces->count++] = piece;
    relaxed_add(&pieces->size, PyBytes_GET_SIZE(piece));
    return true;
}

/* Append a piece and take the reference, also on error. Return 0, or -1 with MemoryError. */
static inline int
pieces_push(Pieces *pieces, PyObject *piece, unsigned fork_count)
{
    if (pieces_try_push(pieces, piece, fork_count)) {
        return 0;
    }
    Py_DECREF(piece);
    PyErr_NoMemory();
    return -1;
}

/* Remove the first piece. */
static inline void
pieces_pop(Pieces *pieces)
{
    PyObject *piece = pieces->items[pieces->head++];
    relaxed_add(&pieces->size, (Py_ssize_t)pieces->offset - PyBytes_GET_SIZE(piece));
    pieces->offset = 0;
    if (--pieces->count == 0) {
        pieces->head = 0;
        if (pieces->capacity > PIECES_KEEP) {
            pieces_free(pieces);
        }
    }
    Py_DECREF(piece);
}

/* Consume the next `size` bytes, which the queue must have. */
static inline void
pieces_advance(Pieces *pieces, size_t size)
{
    while (size) {
        size_t left = (size_t)PyBytes_GET_SIZE(pieces_at(pieces, 0)) - pieces->offset;
        if (size < left) {
            pieces->offset += size;
            relaxed_add(&pieces->size, -(Py_ssize_t)size);
            return;
        }
        size -= left;
        pieces_pop(pieces);
    }
}

/* Fill `vectors`, of which `count` of PIECES_VECTORS are in use, with the queue without its
   first `skip` bytes. Return the new count. Add the size of what was filled in to *asked. Needs
   no GIL. */
static inline size_t
pieces_gather(const Pieces *pieces, size_t skip, struct iovec *vectors, size_t count, size_t *asked)
{
    skip += pieces->offset;
    for (size_t i = 0; i < pieces->count && count < PIECES_VECTORS; i++) {
        PyObject *piece = pieces_at(pieces, i);
        size_t size = (size_t)PyBytes_GET_SIZE(piece);
        if (skip >= size) {
            skip -= size;
            continue;
        }
        vectors[count].iov_base = PyBytes_AS_STRING(piece) + skip;
        vectors[count].iov_len = size - skip;
        *asked += vectors[count++].iov_len;
        skip = 0;
    }
    return count;
}

/* Copy up to `room` bytes from the front of the queue to `target`. Return their number. */
static inline size_t
pieces_copy(const Pieces *pieces, char *target, size_t room)
{
    size_t done = 0, offset = pieces->offset;
    for (size_t i = 0; i < pieces->count && done < room; i++) {
        PyObject *piece = pieces_at(pieces, i);
        size_t part = (size_t)PyBytes_GET_SIZE(piece) - offset;
        if (part > room - done) {
            part = room - done;
        }
        memcpy(target + done, PyBytes_AS_STRING(piece) + offset, part);
        done += part;
        offset = 0;
    }
    return done;
}

/* Return a list of copies of the pieces, without what is consumed of the first; NULL with an
   exception. For attributes that Python code reads. */
static inline PyObject *
pieces_list(const Pieces *pieces)
{
    PyObject *list = PyList_New((Py_ssize_t)pieces->count);
    for (size_t i = 0; list != NULL && i < pieces->count; i++) {
        PyObject *piece = pieces_at(pieces, i);
        Py_ssize_t start = i == 0 ? (Py_ssize_t)pieces->offset : 0;
        PyObject *rest = PyBytes_FromStringAndSize(PyBytes_AS_STRING(piece) + start,
                                                   PyBytes_GET_SIZE(piece) - start);
        if (rest == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, rest);
    }
    return list;
}

/* Remove all pieces. */
static inline void
pieces_drop(Pieces *pieces)
{
    while (pieces->count) {
        pieces_pop(pieces);
    }
}

/* Remove all pieces in a forked child if they are the parent's. fork_count: st->fork_count. */
static inline void
pieces_drop_inherited(Pieces *pieces, unsigned fork_count)
{
    if (pieces_is_inherited(pieces, fork_count)) {
        pieces_drop(pieces);
    }
}

#endif
