/* literal.c: answers of getaddrinfo() for numeric addresses that have been asked for before. */
#include "net/literal.h"

#include "base/args.h"

enum { HOST, PORT, FAMILY, TYPE, PROTO, FLAGS, ARG_COUNT };

/* Return the key of a question in the dict of answers, a new reference. NULL without an exception: the arguments
   may be invalid, or may compare as they please. NULL with MemoryError. `numbers`: set to family, type, proto and
   flags. */
static PyObject *
make_key(PyObject *const *args, long *numbers)
{
    if (!PyUnicode_CheckExact(args[HOST])
        || !(args[PORT] == Py_None || PyLong_CheckExact(args[PORT]))) {
        return NULL;
    }
    PyObject *parts[ARG_COUNT] = {NULL};
    PyObject *key = NULL;
    bool valid = true;
    /* Enumerations become plain numbers, whose hash needs no Python code. */
    for (int i = FAMILY; valid && i < ARG_COUNT; i++) {
        numbers[i] = PyLong_Check(args[i]) ? PyLong_AsLong(args[i]) : -1;
        valid = numbers[i] >= 0 && numbers[i] <= INT_MAX;
        parts[i] = valid ? PyLong_FromLong(numbers[i]) : NULL;
        valid = parts[i] != NULL;
    }
    if (valid) {
        key = PyTuple_Pack(ARG_COUNT, args[HOST], args[PORT], parts[FAMILY], parts[TYPE],
                           parts[PROTO], parts[FLAGS]);
    }
    else if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear();
    }
    for (int i = FAMILY; i < ARG_COUNT; i++) {
        Py_XDECREF(parts[i]);
    }
    return key;
}

PyDoc_STRVAR(known_literal_doc,
"known_literal(answers, host, port, family, type, proto, flags, /)\n--\n\n"
"Return a new list of the answer to a question, or None if it is not known.\n\n"
"answers: a dict of lists, whose keys are tuples of the other arguments with plain numbers.\n"
"Raises the audit event of socket.getaddrinfo() if the answer is known.");

static PyObject *
known_literal(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    long numbers[ARG_COUNT];
    if (count != 1 + ARG_COUNT || !PyDict_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "known_literal() takes a dict and six arguments");
        return NULL;
    }
    PyObject *answers = *args++;
    PyObject *key = make_key(args, numbers), *answer = NULL;
    if (key == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    int found = PyDict_GetItemRef(answers, key, &answer);
    Py_DECREF(key);
    if (found == 0) {
        return Py_NewRef(Py_None);
    }
    PyObject *list = NULL;
    if (found > 0
        && PySys_Audit("socket.getaddrinfo", "OOiii", args[HOST], args[PORT], (int)numbers[FAMILY],
                       (int)numbers[TYPE], (int)numbers[PROTO]) == 0) {
        list = PySequence_List(answer);
    }
    Py_XDECREF(answer);
    return list;
}

static PyMethodDef functions[] = {
    {"known_literal", (PyCFunction)(void (*)(void))known_literal, METH_FASTCALL, known_literal_doc},
    {NULL, NULL, 0, NULL},
};

int
literal_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
