/* sockobj.c: sock._io_refs, the count of leases that socket.socket keeps. */
#include "net/sockobj.h"

int
sockobj_lease(fastaio_state *st, PyObject *sock)
{
    if (!PyObject_TypeCheck(sock, (PyTypeObject *)st->socket_type)) {
        return 0;
    }
    PyObject *leases = PyObject_GetAttr(sock, st->str__io_refs);
    long count = leases != NULL ? PyLong_AsLong(leases) : -1;
    Py_XDECREF(leases);
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
