/* pieces.c: copies of what a program writes. */
#include "transport/pieces.h"

/* A copy of this size takes longer than other threads should wait for the GIL. */
#define COPY_UNLOCKED_SIZE (64 * 1024)

PyObject *
piece_copy(const char *data, Py_ssize_t size)
{
    if (size < COPY_UNLOCKED_SIZE) {
        return PyBytes_FromStringAndSize(data, size);
    }
    PyObject *piece = PyBytes_FromStringAndSize(NULL, size);
    if (piece != NULL) {
        Py_BEGIN_ALLOW_THREADS
        memcpy(PyBytes_AS_STRING(piece), data, (size_t)size);
        Py_END_ALLOW_THREADS
    }
    return piece;
}

PyObject *
piece_from(PyObject *data)
{
    Py_buffer view;
    if (PyBytes_CheckExact(data)) {
        return Py_NewRef(data);
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear(); /* not contiguous, or no buffer */
        return PyBytes_FromObject(data);
    }
    PyObject *piece = piece_copy(view.buf, view.len);
    PyBuffer_Release(&view);
    return piece;
}
