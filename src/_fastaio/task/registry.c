/* registry.c: what is done before an interpreter's first task, and fastaio._registry's functions. */
#include "task/registry.h"

#include "task/layout.h"

/* Call fastaio._registry.prepare(). Return 0, or -1 with an exception. */
static int
prepare(fastaio_state *st)
{
    PyObject *module = PyImport_ImportModule("fastaio._registry");
    PyObject *result = module ? PyObject_CallMethod(module, "prepare", NULL) : NULL;
    Py_XDECREF(module);
    if (result != NULL && st->task_numbers == NULL) {
        shared_store(&st->task_numbers, &st->own_task_numbers);
    }
    return drop_result(result);
}

int
registry_prepare_first(fastaio_state *st)
{
#ifdef Py_GIL_DISABLED
    /* Threads use what is learned without a lock, so all wait until it is there. */
    unsigned long here = PyThread_get_thread_ident();
    if (__atomic_load_n(&st->preparing_thread, __ATOMIC_RELAXED) == here) {
        return 0;
    }
    PyMutex_Lock(&st->prepare_lock);
    int result = 0;
    if (!shared_load(&st->registry_ready)) {
        __atomic_store_n(&st->preparing_thread, here, __ATOMIC_RELAXED);
        result = prepare(st);
        __atomic_store_n(&st->preparing_thread, 0, __ATOMIC_RELAXED);
        shared_store(&st->registry_ready, result == 0);
    }
    PyMutex_Unlock(&st->prepare_lock);
    return result;
#else
    st->registry_ready = true; /* preparing makes no native task */
    int result = prepare(st);
    st->registry_ready = result == 0;
    return result;
#endif
}

#ifdef Py_GIL_DISABLED

/* Make references to all tasks, in an array for PyMem_RawFree(), and set *count. Other threads drop tasks meanwhile, so
   no memory of Python is used while the list is locked. Return NULL without memory. */
static PyObject **
take_all(fastaio_state *st, size_t *count)
{
    size_t capacity = 0;
    PyObject **tasks;
    state_lock(st);
    for (const TaskObject *task = st->tasks; task != NULL; task = task->next) {
        capacity++;
    }
    *count = 0;
    tasks = PyMem_RawMalloc((capacity + 1) * sizeof(*tasks));
    for (TaskObject *task = st->tasks; tasks != NULL && task != NULL; task = task->next) {
        if (compat_try_incref((PyObject *)task)) {
            tasks[(*count)++] = (PyObject *)task;
        }
    }
    state_unlock(st);
    return tasks;
}

/* Return a new list of the tasks on st->tasks; NULL with an exception. */
static PyObject *
list_tasks(fastaio_state *st)
{
    size_t count;
    PyObject **tasks = take_all(st, &count);
    PyObject *list = tasks ? PyList_New((Py_ssize_t)count) : PyErr_NoMemory();
    for (size_t i = 0; tasks != NULL && i < count; i++) {
        if (list != NULL) {
            PyList_SET_ITEM(list, (Py_ssize_t)i, tasks[i]);
        }
        else {
            Py_DECREF(tasks[i]);
        }
    }
    PyMem_RawFree(tasks);
    return list;
}

#else

static PyObject *
list_tasks(fastaio_state *st)
{
    PyObject *list = PyList_New(0);
    for (TaskObject *task = st->tasks; list != NULL && task != NULL; task = task->next) {
        if (!is_dying((PyObject *)task) && PyList_Append(list, (PyObject *)task) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

#endif

PyDoc_STRVAR(live_tasks_doc, "_live_tasks($module, /)\n--\n\n"
"Return a list of the native tasks that exist; an empty one from 3.14 on, where they are in asyncio's\n"
"own list.");

static PyObject *
live_tasks(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    return list_tasks(state_of_module(module));
}

PyMethodDef registry_functions[] = {
    {"_live_tasks", live_tasks, METH_NOARGS, live_tasks_doc},
    {"_adopt_layout", layout_adopt, METH_VARARGS, layout_adopt_doc},
    {"_adopt_task_numbers", layout_adopt_numbers, METH_VARARGS, layout_adopt_numbers_doc},
    {NULL, NULL, 0, NULL},
};
