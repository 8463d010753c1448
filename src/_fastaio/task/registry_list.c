/* registry_list.c: up to 3.13, native tasks in their own list and the current one in asyncio's dict. */
#include "task/registry.h"

#if !THREAD_KEEPS_TASKS

#include "task/base_fields.h"

int
registry_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->current_tasks = state_import("asyncio.tasks", "_current_tasks");
    return st->current_tasks ? 0 : -1;
}

/* asyncio's WeakSet costs as much as a step of a task, so st->tasks is an intrusive list. _registry.py
   shows it to asyncio.all_tasks(). */
int
registry_add(TaskObject *task)
{
    fastaio_state *st = task->core.st;
    if (task->link != NULL) {
        return 0;
    }
    if (registry_prepare(st) < 0 || base_fields_fill(task) < 0) {
        return -1;
    }
    compat_allow_try_incref((PyObject *)task);
    state_lock(st);
    task->next = st->tasks;
    task->link = &st->tasks;
    if (task->next != NULL) {
        task->next->link = &task->next;
    }
    st->tasks = task;
    state_unlock(st);
    return 0;
}

void
registry_remove(TaskObject *task)
{
    if (task->link == NULL) {
        return;
    }
    state_lock(task->core.st);
    *task->link = task->next;
    if (task->next != NULL) {
        task->next->link = task->link;
    }
    task->link = NULL;
    task->next = NULL;
    state_unlock(task->core.st);
}

void
registry_empty_base(TaskObject *task, const BaseLayout *layout)
{
    base_fields_empty(task, layout);
}

int
registry_swap_noted(fastaio_state *st, PyObject *loop, PyObject *task, PyObject **previous)
{
    if (previous != NULL && PyDict_GetItemRef(st->current_tasks, loop, previous) < 0) {
        return -1;
    }
    if (task != NULL) {
        return PyDict_SetItem(st->current_tasks, loop, task);
    }
    if (previous != NULL && *previous == NULL) {
        return 0;
    }
    if (PyDict_DelItem(st->current_tasks, loop) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_KeyError)) {
            return -1;
        }
        PyErr_Clear();
    }
    return 0;
}

int
registry_set_current(LoopObject *loop, PyObject *task)
{
    return registry_swap_noted(loop->st, (PyObject *)loop, task, NULL);
}

#endif
