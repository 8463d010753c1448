/* registry_thread.c: from 3.14 on, tasks in the list of the thread state, and the current one there.
 *
 * The fields are written directly if the layout is known (base/base_layout.h), else by asyncio's functions.
 */
#include "task/registry.h"

#if THREAD_KEEPS_TASKS

#include "task/base_fields.h"

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

#ifdef Py_GIL_DISABLED

/* Each thread has a list, which it edits without a lock. Who edits another thread's or reads a list stops all threads
   first. So a task says in whose list it is. */
static void
note_thread(TaskObject *task, const BaseLayout *layout)
{
    compat_allow_try_incref((PyObject *)task); /* all_tasks() meets tasks that are being freed */
    if (layout->thread) {
        *(uintptr_t *)base_field(task, layout->thread) = _Py_ThreadId();
    }
}

static bool
may_edit_list(TaskObject *task, const BaseLayout *layout)
{
    return layout->node && layout->thread
           && *(uintptr_t *)base_field(task, layout->thread) == _Py_ThreadId();
}

/* Forget the thread of a task that is on no list. */
static void
forget_thread(TaskObject *task, const BaseLayout *layout)
{
    if (layout->thread && base_node(task, layout->node)->next == NULL) {
        *(uintptr_t *)base_field(task, layout->thread) = 0;
    }
}

#else
#define note_thread(task, layout) ((void)0)
#define may_edit_list(task, layout) ((layout)->node != 0)
#define forget_thread(task, layout) ((void)0)
#endif

int
registry_add(TaskObject *task)
{
    fastaio_state *st = task->core.st;
    if (registry_prepare(st) < 0 || base_fields_fill(task) < 0) {
        return -1;
    }
    note_thread(task, &st->layout);
    if (may_edit_list(task, &st->layout)) {
        TaskNode *node = base_node(task, st->layout.node);
        if (node->next == NULL) {
            TaskNode *head = base_node(PyThreadState_Get(), st->layout.tasks_head);
            *node = (TaskNode){.next = head, .prev = head->prev};
            relaxed_store(&head->prev->next, node); /* of a task that another thread may be freeing */
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
    if (may_edit_list(task, layout)) {
        TaskNode *node = base_node(task, layout->node);
        if (node->next != NULL) {
            relaxed_store(&node->next->prev, node->prev);
            relaxed_store(&node->prev->next, node->next);
            *node = (TaskNode){0};
        }
        forget_thread(task, layout);
    }
}

/* ---- current task ---------------------------------------------------------------------------- */

/* Return the place of the thread's current task; NULL if it is not known or `loop` does not run there. */
static PyObject **
current_of_thread(const BaseLayout *layout, PyObject *loop)
{
    if (!shared_load(&layout->thread_checked)) {
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
    if (shared_load(&layout->thread_checked)) {
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
    uint16_t running_task = shared_load(&layout->running_task);
    if (running_task != 0 && task != NULL) {
        PyThreadState *thread = PyThreadState_Get();
        PyObject **current = base_field(thread, running_task);
        if (*current == task && *base_field(thread, layout->running_loop) == (PyObject *)loop) {
            shared_store(&layout->thread_checked, true);
            loop->current_field = current;
        }
        else {
            shared_store(&layout->running_task, 0);
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
    return st->layout.awaited_by != 0 && future_is_exact(st, future);
}

int
registry_await_begins_held(fastaio_state *st, PyObject *future, PyObject *task)
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
registry_await_begins(fastaio_state *st, PyObject *future, PyObject *task)
{
    int result;
    Py_BEGIN_CRITICAL_SECTION(future);
    result = registry_await_begins_held(st, future, task);
    Py_END_CRITICAL_SECTION();
    return result;
}

/* Do registry_await_ends() within the critical section of the future. */
static int
await_ends_held(fastaio_state *st, PyObject *future, PyObject *task)
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

int
registry_await_ends(fastaio_state *st, PyObject *future, PyObject *task)
{
    int result;
    Py_BEGIN_CRITICAL_SECTION(future);
    result = await_ends_held(st, future, task);
    Py_END_CRITICAL_SECTION();
    return result;
}

#endif
