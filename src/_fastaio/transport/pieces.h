/* pieces.h: a queue of bytes objects on their way out, of which the first may have gone in part.
 *
 * What a transport, a pipe or a TLS connection has been given to write and has
 * not passed on yet.
 */
#ifndef FASTAIO_PIECES_H
#define FASTAIO_PIECES_H

#include "base/compat.h"

#define PIECES_MIN  8
#define PIECES_KEEP 64 /* an empty queue with more room than this gives it back */

typedef struct {
    PyObject **items; /* bytes objects, from head on */
    size_t capacity;
    size_t head;
    size_t count;
    size_t offset; /* how much of the first has gone */
    unsigned forks; /* st->forks when the first was pushed: whose output it is */
} Pieces;

/* Whether a forked child has here what its parent will send. forks: st->forks. */
static inline bool
pieces_are_inherited(const Pieces *pieces, unsigned forks)
{
    return pieces->count && pieces->forks != forks;
}

static inline PyObject *
pieces_at(const Pieces *pieces, size_t index)
{
    return pieces->items[pieces->head + index];
}

/* Gives the memory of an empty queue back. */
static inline void
pieces_free(Pieces *pieces)
{
    PyMem_Free(pieces->items);
    *pieces = (Pieces){0};
}

/* Makes room for one more; false where there is no memory. */
static inline bool
pieces_reserve(Pieces *pieces)
{
    if (pieces->head + pieces->count < pieces->capacity) {
        return true;
    }
    if (pieces->head > pieces->count) {
        memcpy(pieces->items, pieces->items + pieces->head,
               pieces->count * sizeof(*pieces->items));
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

/* Takes the reference; on false (no memory) the caller keeps it. Runs no code of Python. forks:
   st->forks. */
static inline bool
pieces_try_push(Pieces *pieces, PyObject *piece, unsigned forks)
{
    if (!pieces_reserve(pieces)) {
        return false;
    }
    if (pieces->count == 0) {
        pieces->forks = forks;
    }
    pieces->items[pieces->head + pieces->count++] = piece;
    return true;
}

/* Takes the reference, also on error. 0, or -1 with MemoryError. */
static inline int
pieces_push(Pieces *pieces, PyObject *piece, unsigned forks)
{
    if (pieces_try_push(pieces, piece, forks)) {
        return 0;
    }
    Py_DECREF(piece);
    PyErr_NoMemory();
    return -1;
}

/* Drops the first. */
static inline void
pieces_pop(Pieces *pieces)
{
    PyObject *piece = pieces->items[pieces->head++];
    pieces->offset = 0;
    if (--pieces->count == 0) {
        pieces->head = 0;
        if (pieces->capacity > PIECES_KEEP) {
            pieces_free(pieces);
        }
    }
    Py_DECREF(piece);
}

/* The next size bytes have gone: drops what has gone whole. */
static inline void
pieces_advance(Pieces *pieces, size_t size)
{
    while (size) {
        size_t left = (size_t)PyBytes_GET_SIZE(pieces_at(pieces, 0)) - pieces->offset;
        if (size < left) {
            pieces->offset += size;
            return;
        }
        size -= left;
        pieces_pop(pieces);
    }
}

/* A list of them all, of the first only what has not gone; for whoever looks. */
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

static inline void
pieces_drop(Pieces *pieces)
{
    while (pieces->count) {
        pieces_pop(pieces);
    }
}

#endif
