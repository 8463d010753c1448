#include "registry.h"

#include "loop.h"

/* ---- all tasks ------------------------------------------------------------------------------- */

#if PY_VERSION_HEX >= 0x030E0000

int
registry_add(TaskObject *task)
{
    PyObject *result =
        PyObject_CallOneArg(task->core.st->register_task, (PyObject *)task);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

void
registry_remove(TaskObject *Py_UNUSED(task))
{
    /* the base's dealloc takes it off the interpreter's list */
}

#else

/* asyncio's registry is a WeakSet, which costs as much as a task step: ours is a list that
   asyncio.all_tasks() is shown, once there is a task to see. */
static int
show_to_asyncio(fastaio_state *st)
{
    PyObject *module = PyImport_ImportModule("fastaio._registry");
    PyObject *result = module ? PyObject_CallMethod(module, "show", NULL) : NULL;
    Py_XDECREF(module);
    Py_XDECREF(result);
    st->registry_shown = result != NULL;
    return result ? 0 : -1;
}

int
registry_add(TaskObject *task)
{
    fastaio_state *st = task->core.st;
    if (task->link != NULL) {
        return 0;
    }
    if (!st->registry_shown && show_to_asyncio(st) < 0) {
        return -1;
    }
    task->next = st->tasks;
    task->link = &st->tasks;
    if (task->next != NULL) {
        task->next->link = &task->next;
    }
    st->tasks = task;
    return 0;
}

void
registry_remove(TaskObject *task)
{
    if (task->link == NULL) {
        return;
    }
    *task->link = task->next;
    if (task->next != NULL) {
        task->next->link = task->link;
    }
    task->link = NULL;
    task->next = NULL;
}

#endif

PyDoc_STRVAR(live_tasks_doc, "_live_tasks($module, /)\n--\n\n"
"Return a list of the native tasks that exist (always empty from 3.14 on, where asyncio's own\n"
"registry has them).");

static PyObject *
live_tasks(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    TaskObject *task = state_of_module(module)->tasks;
    for (; list != NULL && task != NULL; task = task->next) {
        /* A task in its own deallocation is still listed, but nobody may hold it any more. */
        if (Py_REFCNT(task) > 0 && PyList_Append(list, (PyObject *)task) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

PyMethodDef registry_functions[] = {
    {"_live_tasks", live_tasks, METH_NOARGS, live_tasks_doc},
    {NULL, NULL, 0, NULL},
};

/* ---- current task ---------------------------------------------------------------------------- */

int
registry_swap_current(fastaio_state *st, PyObject *loop, PyObject *task, PyObject **previous)
{
#if PY_VERSION_HEX >= 0x030E0000
    PyObject *stack[3] = {NULL, loop, task ? task : Py_None};
    PyObject *old = PyObject_Vectorcall(st->swap_current_task, stack + 1,
                                        2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (old == NULL) {
        return -1;
    }
    if (previous != NULL && old != Py_None) {
        *previous = old;
        return 0;
    }
    Py_DECREF(old);
    if (previous != NULL) {
        *previous = NULL;
    }
    return 0;
#else
    if (previous != NULL && PyDict_GetItemRef(st->current_tasks, loop, previous) < 0) {
        return -1;
    }
    if (task != NULL) {
        return PyDict_SetItem(st->current_tasks, loop, task);
    }
    if (PyDict_DelItem(st->current_tasks, loop) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_KeyError)) {
            return -1;
        }
        PyErr_Clear();
    }
    return 0;
#endif
}

/* ---- awaited-by ------------------------------------------------------------------------------ */

int
registry_await_begins(fastaio_state *st, PyObject *future, PyObject *task)
{
    if (st->awaited_by_add == NULL) {
        return 0;
    }
    PyObject *stack[3] = {NULL, future, task};
    PyObject *result = PyObject_Vectorcall(st->awaited_by_add, stack + 1,
                                           2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int
registry_await_ends(fastaio_state *st, PyObject *future, PyObject *task)
{
    if (st->awaited_by_discard == NULL) {
        return 0;
    }
    PyObject *stack[3] = {NULL, future, task};
    PyObject *result = PyObject_Vectorcall(st->awaited_by_discard, stack + 1,
                                           2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int
registry_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    PyObject *tasks = PyImport_ImportModule("asyncio.tasks");
    if (tasks == NULL) {
        return -1;
    }
    int result = -1;
#if PY_VERSION_HEX >= 0x030E0000
    PyObject *native = PyImport_ImportModule("_asyncio");
    if (native != NULL) {
        st->swap_current_task = PyObject_GetAttrString(native, "_swap_current_task");
        st->register_task = PyObject_GetAttrString(native, "_register_task");
        st->awaited_by_add = PyObject_GetAttrString(native, "future_add_to_awaited_by");
        st->awaited_by_discard = PyObject_GetAttrString(native, "future_discard_from_awaited_by");
        Py_DECREF(native);
    }
    if (st->swap_current_task && st->register_task && st->awaited_by_add
        && st->awaited_by_discard) {
        result = 0;
    }
#else
    st->current_tasks = PyObject_GetAttrString(tasks, "_current_tasks");
    result = st->current_tasks ? 0 : -1;
#endif
    Py_DECREF(tasks);
    return result;
}
