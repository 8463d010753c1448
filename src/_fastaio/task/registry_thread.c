/* registry_thread.c: from 3.14 on, tasks in the list of the thread state, and the current one there.
 *
 * The fields are written directly if the layout is known (base/base_layout.h), else by asyncio's functions.
 */
#include "task/registry.h"

#if PY_VERSION_HEX >= 0x030E0000

#include "task/base_fields.h"

#ifdef Py_GIL_DISABLED
#define MAY_EDIT_LIST 0 /* other threads edit the list too, and only asyncio has its locks */
#else
#define MAY_EDIT_LIST 1
#endif

int
registry_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    if ((st->swap_current_task = state_import("_asyncio", "_swap_current_task")) == NULL
        || (st->register_task = state_import("_asyncio", "_register_task")) == NULL
        || (st->awaited_by_add = state_import("_asyncio", "future_add_to_awaited_by")) == NULL) {
        return -1;
    }
    st->awaited_by_discard = state_import("_asyncio", "future_discard_from_awaited_by");
    return st->awaited_by_discard ? 0 : -1;
}

/* ---- all tasks ------------------------------------------------------------------------------- */

int
registry_add(TaskObject *task)
{
    fastaio_state *st = task->core.st;
    if (registry_prepare(st) < 0 || base_fields_fill(task) < 0) {
        return -1;
    }
    if (MAY_EDIT_LIST && st->layout.node) {
        TaskNode *node = base_node(task, st->layout.node);
        if (node->next == NULL) {
            TaskNode *head = base_node(PyThreadState_Get(), st->layout.tasks_head);
            *node = (TaskNode){.next = head, .prev = head->prev};
            head->prev->next = node;
            head->prev = node;
        }
        return 0;
    }
    return drop_result(PyObject_CallOneArg(st->register_task, (PyObject *)task));
}

void
registry_empty_base(TaskObject *task, const BaseLayout *layout)
{
    base_fields_empty(task, layout);
    if (MAY_EDIT_LIST && layout->node) {
        TaskNode *node = base_node(task, layout->node);
        if (node->next != NULL) {
            node->next->prev = node->prev;
            node->prev->next = node->next;
            *node = (TaskNode){0};
        }
    }
}

/* ---- current task ---------------------------------------------------------------------------- */

/* Return the place of the thread's current task; NULL if it is not known or `loop` does not run there. */
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

/* Do registry_swap_noted() by asyncio's function. */
static int
call_swap(fastaio_state *st, PyObject *loop, PyObject *task, PyObject **previous)
{
    PyObject *stack[3] = {NULL, loop, task ? task : Py_None};
    PyObject *old = PyObject_Vectorcall(st->swap_current_task, stack + 1,
                                        2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (old == NULL) {
        return -1;
    }
    if (previous != NULL) {
        *previous = old == Py_None ? NULL : Py_NewRef(old);
    }
    Py_DECREF(old);
    return 0;
}

int
registry_swap_noted(fastaio_state *st, PyObject *loop, PyObject *task, PyObject **previous)
{
    PyObject **current = current_of_thread(&st->layout, loop);
    if (current == NULL) {
        return call_swap(st, loop, task, previous);
    }
    PyObject *old = *current;
    *current = Py_XNewRef(task);
    if (previous != NULL) {
        *previous = old;
    }
    else {
        Py_XDECREF(old);
    }
    return 0;
}

/* asyncio's function makes the first note, which shows whether the layout names the right word. Later ones
   go straight to that word, even where asyncio's own functions for the running loop are replaced. */
int
registry_set_current(LoopObject *loop, PyObject *task)
{
    fastaio_state *st = loop->st;
    BaseLayout *layout = &st->layout;
    if (layout->thread_checked) {
        PyObject **current = base_field(PyThreadState_Get(), layout->running_task);
        PyObject *old = *current;
        *current = Py_XNewRef(task);
        loop->current_field = current;
        Py_XDECREF(old);
        return 0;
    }
    if (registry_swap_noted(st, (PyObject *)loop, task, NULL) < 0) {
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
}

/* ---- awaited-by ------------------------------------------------------------------------------ */

static int
call_awaited_by(PyObject *function, PyObject *future, PyObject *task)
{
    PyObject *stack[3] = {NULL, future, task};
    return drop_result(
        PyObject_Vectorcall(function, stack + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL));
}

/* Return true if the layout of `future` is known. */
static inline bool
has_known_field(fastaio_state *st, PyObject *future)
{
    return st->layout.awaited_by != 0
           && (Py_IS_TYPE(future, st->FutureType) || Py_IS_TYPE(future, st->TaskType));
}

int
registry_await_begins(fastaio_state *st, PyObject *future, PyObject *task)
{
    if (has_known_field(st, future)) {
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
    if (has_known_field(st, future)) {
        PyObject **waiter = base_field(future, st->layout.awaited_by);
        if (*waiter == task) { /* the only one: asyncio keeps several in a set */
            Py_CLEAR(*waiter);
            return 0;
        }
    }
    return call_awaited_by(st->awaited_by_discard, future, task);
}

#endif
