/* deque.c: calling the methods of a collections.deque by their C functions. */
#include "base/deque.h"

/* Return the C function of a method that is called with `flags`; NULL, without an exception, for any other
   kind of method: it is called by name then. */
static PyCFunction
find_function(PyObject *type, const char *name, int flags)
{
    PyObject *method = PyDict_GetItemString(((PyTypeObject *)type)->tp_dict, name); /* borrowed */
    if (method == NULL || !Py_IS_TYPE(method, &PyMethodDescr_Type)) {
        return NULL;
    }
    const PyMethodDef *def = ((PyMethodDescrObject *)method)->d_method;
    return def->ml_flags == flags ? def->ml_meth : NULL;
}

int
deque_init(fastaio_state *st)
{
    st->deque_functions = (DequeFunctions){
        .append = find_function(st->deque, "append", METH_O),
        .popleft = find_function(st->deque, "popleft", METH_NOARGS),
        .remove = find_function(st->deque, "remove", METH_O),
    };
    return PyErr_Occurred() ? -1 : 0;
}

static bool
is_deque(fastaio_state *st, PyObject *queue)
{
    return Py_IS_TYPE(queue, (PyTypeObject *)st->deque);
}

int
deque_append(fastaio_state *st, PyObject *queue, PyObject *item)
{
    PyCFunction function = is_deque(st, queue) ? st->deque_functions.append : NULL;
    return drop_result(function != NULL ? function(queue, item)
                                        : PyObject_CallMethodOneArg(queue, st->str_append, item));
}

PyObject *
deque_popleft(fastaio_state *st, PyObject *queue)
{
    PyCFunction function = is_deque(st, queue) ? st->deque_functions.popleft : NULL;
    return function != NULL ? function(queue, NULL)
                            : PyObject_CallMethodNoArgs(queue, st->str_popleft);
}

int
deque_remove(fastaio_state *st, PyObject *queue, PyObject *item)
{
    PyCFunction function = is_deque(st, queue) ? st->deque_functions.remove : NULL;
    return drop_result(function != NULL ? function(queue, item)
                                        : PyObject_CallMethodOneArg(queue, st->str_remove, item));
}

int
deque_first(fastaio_state *st, PyObject *queue, PyObject **item)
{
    if (is_deque(st, queue)) {
        *item = Py_SIZE(queue) != 0 ? PySequence_GetItem(queue, 0) : NULL;
        return *item != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
    }
    PyObject *iterator = PyObject_GetIter(queue);
    *item = iterator ? PyIter_Next(iterator) : NULL;
    Py_XDECREF(iterator);
    return *item != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
}
