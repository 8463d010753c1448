/* sockobj.c: the count that socket.socket keeps of who holds it open. */
#include "net/sockobj.h"

int
sockobj_lease(fastaio_state *st, PyObject *sock)
{
    if (!PyObject_TypeCheck(sock, (PyTypeObject *)st->socket_type)) {
        return 0;
    }
    PyObject *holders = PyObject_GetAttr(sock, st->str__io_refs);
    long count = holders != NULL ? PyLong_AsLong(holders) : -1;
    Py_XDECREF(holders);
    if (count == -1 && PyErr_Occurred()) {
        return -1;
    }
    PyObject *more = PyLong_FromLong(count + 1);
    int rc = more != NULL ? PyObject_SetAttr(sock, st->str__io_refs, more) : -1;
    Py_XDECREF(more);
    return rc < 0 ? -1 : 1;
}

int
sockobj_end_lease(fastaio_state *st, PyObject *sock)
{
    return drop_result(PyObject_CallMethodNoArgs(sock, st->str__decref_socketios));
}
