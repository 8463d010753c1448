/* traits.c: what differs between the releases of one version of Python. */
#include "base/traits.h"

#include "base/asyncio_versions.h"

/* Return the code of a Python function, an attribute of an object; NULL without an exception if there is no such
   function; NULL with one on an error. */
static PyCodeObject *
function_code(PyObject *owner, const char *name)
{
    PyObject *function = PyObject_GetAttrString(owner, name);
    if (function == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
        }
        return NULL;
    }
    PyObject *code = PyFunction_Check(function) ? Py_NewRef(PyFunction_GET_CODE(function)) : NULL;
    Py_DECREF(function);
    return (PyCodeObject *)code;
}

PyObject *
function_names(PyObject *type, const char *function)
{
    PyCodeObject *code = function_code(type, function);
    if (code == NULL) {
        return PyErr_Occurred() ? NULL : PyTuple_New(0);
    }
    PyObject *names = Py_NewRef(code->co_names);
    Py_DECREF(code);
    return names;
}

bool
has_name(PyObject *names, const char *name)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), name) == 0) {
            return true;
        }
    }
    return false;
}

/* Look at loop.create_task(). A function that somebody has put in its place tells nothing: what the version does as a
   rule counts. Return 0, or -1 with an exception. */
static int
look_at_create_task(Traits *traits, PyObject *loop_type)
{
    PyCodeObject *code = function_code(loop_type, "create_task");
    if (code == NULL && PyErr_Occurred()) {
        return -1;
    }
    if (code == NULL) {
        traits->create_task_passes_all = CREATE_TASK_USUALLY_PASSES_ALL;
        traits->factory_gets_name = FACTORY_USUALLY_GETS_NAME;
        traits->factory_task_always_named = FACTORY_TASK_USUALLY_NAMED;
        return 0;
    }
    traits->create_task_passes_all = (code->co_flags & CO_VARKEYWORDS) != 0;
    traits->factory_gets_name = code->co_kwonlyargcount == 0;
    traits->factory_task_always_named =
        !traits->factory_gets_name && has_name(code->co_names, "set_name");
    Py_DECREF(code);
    return 0;
}

/* Look at Task.__init__() of asyncio's tasks in Python, which checks what those in C check. Return 0, or -1 with an
   exception. */
static int
look_at_task(Traits *traits)
{
    PyObject *tasks = PyImport_ImportModule("asyncio.tasks");
    PyObject *type = tasks ? PyObject_GetAttrString(tasks, "_PyTask") : NULL;
    PyCodeObject *code = type ? function_code(type, "__init__") : NULL;
    if (code != NULL) {
        traits->task_checks_context = has_name(code->co_names, "Context");
        /* It has one `try`, around the first step. */
        traits->failed_start_is_silent =
            FAILED_START_IS_ALIKE && PyObject_Size(code->co_exceptiontable) > 0;
    }
    else if (tasks != NULL && type == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        traits->task_checks_context = TASK_USUALLY_CHECKS_CONTEXT;
        traits->failed_start_is_silent = FAILED_START_USUALLY_SILENT;
    }
    Py_XDECREF(code);
    Py_XDECREF(type);
    Py_XDECREF(tasks);
    return PyErr_Occurred() ? -1 : 0;
}

int
traits_init(fastaio_state *st)
{
    return look_at_create_task(&st->traits, st->asyncio_BaseEventLoop) < 0 ? -1
                                                                          : look_at_task(&st->traits);
}
