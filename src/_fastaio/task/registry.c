#include "task/registry.h"

#include "loop/loop.h"

/* ---- all tasks ------------------------------------------------------------------------------- */

/* Once per interpreter, before its first task: what asyncio is to be told, and what is to be known
   of it. */
static int
prepare(fastaio_state *st)
{
    st->registry_ready = true; /* preparing makes no native task */
    PyObject *module = PyImport_ImportModule("fastaio._registry");
    PyObject *result = module ? PyObject_CallMethod(module, "prepare", NULL) : NULL;
    Py_XDECREF(module);
    Py_XDECREF(result);
    st->registry_ready = result != NULL;
    if (result != NULL && st->task_numbers == NULL) {
        st->task_numbers = &st->own_task_numbers;
    }
    return result ? 0 : -1;
}

int
registry_prepare(fastaio_state *st)
{
    return st->registry_ready ? 0 : prepare(st);
}

/* The fields of the base that onlookers read. */
static int
fill_base(TaskObject *task)
{
    const BaseLayout *layout = &task->core.st->layout;
    base_field_set(task, layout->coro, task->coro);
    base_field_set(task, layout->context, task->context);
    if (layout->is_task) {
        ((char *)task)[layout->is_task] = 1;
    }
    return registry_name_changed(task);
}

int
registry_name_changed(TaskObject *task)
{
    uint16_t offset = task->core.st->layout.name;
    if (offset == 0) {
        return 0;
    }
    /* As in asyncio, a number stands for "Task-<number>". */
    PyObject *name = task->name ? Py_NewRef(task->name) : PyLong_FromUnsignedLongLong(task->number);
    if (name == NULL) {
        return -1;
    }
    Py_XSETREF(*base_field(task, offset), name);
    return 0;
}

#if PY_VERSION_HEX >= 0x030E0000

#ifdef Py_GIL_DISABLED
#define LIST_IS_OURS_TO_EDIT 0 /* other threads may be at it: asyncio has the locks */
#else
#define LIST_IS_OURS_TO_EDIT 1
#endif

int
registry_add(TaskObject *task)
{
    fastaio_state *st = task->core.st;
    if (registry_prepare(st) < 0) {
        return -1;
    }
    if (fill_base(task) < 0) {
        return -1;
    }
    if (LIST_IS_OURS_TO_EDIT && st->layout.node) {
        TaskNode *node = base_node(task, st->layout.node);
        if (node->next == NULL) {
            TaskNode *head = base_node(PyThreadState_Get(), st->layout.tasks_head);
            *node = (TaskNode){.next = head, .prev = head->prev};
            head->prev->next = node;
            head->prev = node;
        }
        return 0;
    }
    PyObject *result = PyObject_CallOneArg(st->register_task, (PyObject *)task);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

void
registry_remove(TaskObject *Py_UNUSED(task))
{
    /* registry_empty_base() or the base's dealloc takes it off the interpreter's list */
}

#else

/* asyncio's registry is a WeakSet, which costs as much as a task step: ours is a list that
   asyncio.all_tasks() is shown. */
int
registry_add(TaskObject *task)
{
    fastaio_state *st = task->core.st;
    if (task->link != NULL) {
        return 0;
    }
    if (registry_prepare(st) < 0) {
        return -1;
    }
    if (fill_base(task) < 0) {
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

void
registry_empty_base(TaskObject *task, const BaseLayout *layout)
{
    if (layout->coro) {
        Py_CLEAR(*base_field(task, layout->coro));
    }
    if (layout->context) {
        Py_CLEAR(*base_field(task, layout->context));
    }
    if (layout->name) {
        Py_CLEAR(*base_field(task, layout->name));
        ((char *)task)[layout->is_task] = 0;
    }
#if PY_VERSION_HEX >= 0x030E0000
    if (LIST_IS_OURS_TO_EDIT && layout->node) {
        TaskNode *node = base_node(task, layout->node);
        if (node->next != NULL) {
            node->next->prev = node->prev;
            node->prev->next = node->next;
            *node = (TaskNode){0};
        }
    }
#endif
}

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
    {"_adopt_layout", base_layout_adopt, METH_VARARGS, base_layout_adopt_doc},
    {"_adopt_task_numbers", base_layout_adopt_numbers, METH_VARARGS, base_layout_adopt_numbers_doc},
    {NULL, NULL, 0, NULL},
};

/* ---- current task ---------------------------------------------------------------------------- */

#if PY_VERSION_HEX >= 0x030E0000
/* The thread's current task, where `loop` runs in it and it is known where that stands; else NULL. */
static PyObject **
current_of_thread(const BaseLayout *layout, PyObject *loop)
{
    if (!layout->thread_checked) {
        return NULL;
    }
    PyThreadState *thread = PyThreadState_Get();
    return *base_field(thread, layout->running_loop) == loop
               ? base_field(thread, layout->running_task) : NULL;
}
#endif

static int
swap_current(fastaio_state *st, PyObject *loop, PyObject *task, PyObject **previous)
{
#if PY_VERSION_HEX >= 0x030E0000
    PyObject **current = current_of_thread(&st->layout, loop);
    if (current != NULL) {
        PyObject *was = *current;
        *current = Py_XNewRef(task);
        if (previous != NULL) {
            *previous = was;
        }
        else {
            Py_XDECREF(was);
        }
        return 0;
    }
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
#endif
}

int
registry_swap_current(fastaio_state *st, PyObject *loop, PyObject *task, PyObject **previous)
{
    LoopObject *native = loop_is_native(st, loop) ? (LoopObject *)loop : NULL;
    PyObject *before = native ? native->current_task : NULL;
    if (native != NULL) {
        native->current_task = task;
    }
    if (swap_current(st, loop, task, previous) == 0) {
        return 0;
    }
    if (native != NULL) {
        native->current_task = before; /* for example, another thread runs the loop */
    }
    return -1;
}

/* From 3.14 on the current task is one word of the thread state. That it is the right one is seen at the
   first call, which asyncio's function makes. */
int
registry_set_current(LoopObject *loop, PyObject *task)
{
    fastaio_state *st = loop->st;
#if PY_VERSION_HEX >= 0x030E0000
    BaseLayout *layout = &st->layout;
    if (swap_current(st, (PyObject *)loop, task, NULL) < 0) {
        return -1;
    }
    if (layout->running_task != 0 && task != NULL) {
        PyThreadState *thread = PyThreadState_Get();
        PyObject **current = base_field(thread, layout->running_task);
        if (*current == task && *base_field(thread, layout->running_loop) == (PyObject *)loop) {
            layout->thread_checked = true;
            loop->current_field = current;
        }
        else {
            layout->running_task = 0;
        }
    }
    return 0;
#else
    return swap_current(st, (PyObject *)loop, task, NULL);
#endif
}

/* ---- awaited-by ------------------------------------------------------------------------------ */

#if PY_VERSION_HEX >= 0x030E0000
static int
call_awaited_by(PyObject *function, PyObject *future, PyObject *task)
{
    PyObject *stack[3] = {NULL, future, task};
    PyObject *result =
        PyObject_Vectorcall(function, stack + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static inline bool
field_is_known(fastaio_state *st, PyObject *future)
{
    return st->layout.awaited_by != 0
           && (Py_IS_TYPE(future, st->FutureType) || Py_IS_TYPE(future, st->TaskType));
}

int
registry_await_begins(fastaio_state *st, PyObject *future, PyObject *task)
{
    if (field_is_known(st, future)) {
        PyObject **waiter = base_field(future, st->layout.awaited_by);
        if (*waiter == NULL) {
            *waiter = Py_NewRef(task);
            return 0;
        }
    }
    return call_awaited_by(st->awaited_by_add, future, task);
}

int
registry_await_ends(fastaio_state *st, PyObject *future, PyObject *task)
{
    if (field_is_known(st, future)) {
        PyObject **waiter = base_field(future, st->layout.awaited_by);
        if (*waiter == task) { /* alone: several would stand in a set */
            Py_CLEAR(*waiter);
            return 0;
        }
    }
    return call_awaited_by(st->awaited_by_discard, future, task);
}
#endif

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
