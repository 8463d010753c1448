/* registry.c: what is done before an interpreter's first task, and fastaio._registry's functions. */
#include "task/registry.h"

#include "task/layout.h"

int
registry_prepare_first(fastaio_state *st)
{
    st->registry_ready = true; /* preparing makes no native task */
    PyObject *module = PyImport_ImportModule("fastaio._registry");
    PyObject *result = module ? PyObject_CallMethod(module, "prepare", NULL) : NULL;
    Py_XDECREF(module);
    st->registry_ready = result != NULL;
    if (result != NULL && st->task_numbers == NULL) {
        st->task_numbers = &st->own_task_numbers;
    }
    return drop_result(result);
}

PyDoc_STRVAR(live_tasks_doc, "_live_tasks($module, /)\n--\n\n"
"Return a list of the native tasks that exist; an empty one from 3.14 on, where they are in asyncio's\n"
"own list.");

static PyObject *
live_tasks(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    TaskObject *task = state_of_module(module)->tasks;
    for (; list != NULL && task != NULL; task = task->next) {
        if (!is_dying((PyObject *)task) && PyList_Append(list, (PyObject *)task) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

PyMethodDef registry_functions[] = {
    {"_live_tasks", live_tasks, METH_NOARGS, live_tasks_doc},
    {"_adopt_layout", layout_adopt, METH_VARARGS, layout_adopt_doc},
    {"_adopt_task_numbers", layout_adopt_numbers, METH_VARARGS, layout_adopt_numbers_doc},
    {NULL, NULL, 0, NULL},
};
