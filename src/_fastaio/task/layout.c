/* layout.c: learning from probes where asyncio keeps the fields of a Task and the counter of tasks. */
#include "task/layout.h"

#include "base/asyncio_versions.h"
#include "base/state.h"

/* ---- fields ---------------------------------------------------------------------------------- */

const char layout_adopt_doc[] =
    "_adopt_layout($module, probe, coro, context, name, waiter, offsets, /)\n--\n\n"
    "Learn where asyncio.Task keeps its fields, from a probe task made with these objects.\n\n"
    "waiter: a native future, noted in the probe for a moment as awaiting it.\n"
    "offsets: the tuple (size, name, awaited_by, is_task, coro, node, running_loop, running_task,\n"
    "tasks_head) from the interpreter's debug section, in bytes, or None. Used only if the probe\n"
    "confirms it.";

/* Return the offset of the one word of the probe that points to `value`; 0 without one, or with several. */
static uint16_t
find_field(PyObject *probe, PyObject *value)
{
    size_t size = Py_TYPE(probe)->tp_basicsize, found = 0;
    for (size_t offset = sizeof(PyObject); offset + sizeof(PyObject *) <= size;
         offset += sizeof(PyObject *)) {
        if (*base_field(probe, offset) == value) {
            if (found) {
                return 0;
            }
            found = offset;
        }
    }
    return (uint16_t)found;
}

/* Return true if a field of that size at the offset is aligned and in the probe. */
static bool
fits(PyObject *probe, size_t offset, size_t size)
{
    return offset >= sizeof(PyObject) && offset % size == 0
           && offset + size <= (size_t)Py_TYPE(probe)->tp_basicsize;
}

/* Have asyncio note in the probe that `waiter` awaits it. Return 1 if the note is at the offset, 0 if not,
   or -1 with an exception. */
static int
awaited_by_is_at(fastaio_state *st, PyObject *probe, PyObject *waiter, size_t offset)
{
    PyObject *added = PyObject_CallFunctionObjArgs(st->awaited_by_add, probe, waiter, NULL);
    int right = added && *base_field(probe, offset) == waiter;
    PyObject *removed =
        added ? PyObject_CallFunctionObjArgs(st->awaited_by_discard, probe, waiter, NULL) : NULL;
    right = removed && right && *base_field(probe, offset) == NULL;
    Py_XDECREF(added);
    Py_XDECREF(removed);
    return removed ? right : -1;
}

/* Adopt the offsets of the list of tasks, if the probe is its last node, as a thread's newest task is. */
static void
adopt_list(fastaio_state *st, PyObject *probe, size_t node_at, size_t head_at)
{
    if (!fits(probe, node_at, sizeof(void *))
        || !fits(probe, node_at + sizeof(void *), sizeof(void *)) || head_at >= UINT16_MAX) {
        return;
    }
    TaskNode *node = base_node(probe, (uint16_t)node_at);
    TaskNode *head = base_node(PyThreadState_Get(), (uint16_t)head_at);
    if (node->next == head && head->prev == node && node->prev != NULL
        && node->prev->next == node) {
        st->layout.node = (uint16_t)node_at;
        st->layout.tasks_head = (uint16_t)head_at;
    }
}

#ifdef Py_GIL_DISABLED
/* Return the offset of the one word behind the object header that has the identity of this thread; 0 without one, or
   with several. */
static uint16_t
find_thread(PyObject *probe)
{
    size_t found = 0;
    for (size_t offset = sizeof(PyObject);
         offset + sizeof(uintptr_t) <= (size_t)Py_TYPE(probe)->tp_basicsize;
         offset += sizeof(uintptr_t)) {
        if (*(uintptr_t *)base_field(probe, (uint16_t)offset) == _Py_ThreadId()) {
            if (found) {
                return 0;
            }
            found = offset;
        }
    }
    return (uint16_t)found;
}
#endif

/* Adopt the offsets of the debug section that the probe confirms. Return 0, or -1 with an exception. */
static int
adopt_debug_section(fastaio_state *st, PyObject *probe, PyObject *name, PyObject *waiter,
                    PyObject *offsets)
{
    Py_ssize_t size, name_at, awaited_by_at, is_task_at, coro_at, node_at, loop_at, task_at,
        head_at;
    if (!PyArg_ParseTuple(offsets, "nnnnnnnnn", &size, &name_at, &awaited_by_at, &is_task_at,
                          &coro_at, &node_at, &loop_at, &task_at, &head_at)) {
        return -1;
    }
    if (size != Py_TYPE(probe)->tp_basicsize || st->layout.coro != coro_at
        || !fits(probe, name_at, sizeof(void *)) || !fits(probe, awaited_by_at, sizeof(void *))
        || !fits(probe, is_task_at, 1) || *base_field(probe, name_at) != name
        || ((char *)probe)[is_task_at] != 1) {
        return 0;
    }
    int right = awaited_by_is_at(st, probe, waiter, awaited_by_at);
    if (right <= 0) {
        return right;
    }
    st->layout.name = (uint16_t)name_at;
    st->layout.awaited_by = (uint16_t)awaited_by_at;
    st->layout.is_task = (uint16_t)is_task_at;
    if (loop_at > 0 && task_at > 0 && loop_at < UINT16_MAX && task_at < UINT16_MAX) {
        st->layout.running_loop = (uint16_t)loop_at;
        st->layout.running_task = (uint16_t)task_at;
    }
#ifdef Py_GIL_DISABLED
    st->layout.thread = find_thread(probe);
#endif
    adopt_list(st, probe, node_at, head_at);
    return 0;
}

PyObject *
layout_adopt(PyObject *module, PyObject *args)
{
    PyObject *probe, *coro, *context, *name, *waiter, *offsets;
    fastaio_state *st = state_of_module(module);
    if (!PyArg_ParseTuple(args, "OOOOOO:_adopt_layout", &probe, &coro, &context, &name,
                          &waiter, &offsets)) {
        return NULL;
    }
    if (!Py_IS_TYPE(probe, (PyTypeObject *)st->asyncio_Task)) {
        PyErr_Format(PyExc_TypeError, "an asyncio.Task was expected, got %R", probe);
        return NULL;
    }
    st->layout.coro = find_field(probe, coro);
    st->layout.context = find_field(probe, context);
    if (HAS_DEBUG_SECTION && offsets != Py_None
        && adopt_debug_section(st, probe, name, waiter, offsets) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- numbers of tasks without a name --------------------------------------------------------- */

const char layout_adopt_numbers_doc[] =
    "_adopt_task_numbers($module, asyncio, number, /)\n--\n\n"
    "Find the counter of unnamed tasks in `asyncio`, the module _asyncio, and use it for native ones.\n\n"
    "number: a function that makes an asyncio task without a name and returns its number.\n"
    "Return False if the counter is not found: native tasks then have numbers of their own.";

/* Return the result of number(); 0 with an exception. */
static uint64_t
next_number(PyObject *number)
{
    PyObject *value = PyObject_CallNoArgs(number);
    uint64_t result = value ? PyLong_AsUnsignedLongLong(value) : 0;
    Py_XDECREF(value);
    return PyErr_Occurred() ? 0 : result;
}

/* The counter is the one word of the module's state that holds the number of each new task. */
PyObject *
layout_adopt_numbers(PyObject *module, PyObject *args)
{
    PyObject *asyncio, *number;
    if (!PyArg_ParseTuple(args, "O!O:_adopt_task_numbers", &PyModule_Type, &asyncio, &number)) {
        return NULL;
    }
    uint64_t *words = PyModule_GetState(asyncio);
    Py_ssize_t count = words ? compat_module_state_size(asyncio) / (Py_ssize_t)sizeof(*words) : 0;
    uint64_t first = next_number(number), second = first ? next_number(number) : 0;
    uint64_t *found = NULL;
    if (second == 0) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_False);
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (words[i] == second) {
            if (found != NULL) {
                Py_RETURN_FALSE;
            }
            found = &words[i];
        }
    }
    uint64_t third = found ? next_number(number) : 0;
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (found == NULL || second != first + 1 || third != second + 1 || *found != third) {
        Py_RETURN_FALSE; /* also where another thread has made tasks meanwhile */
    }
    *found = first - 1; /* the probes have had no names */
    shared_store(&state_of_module(module)->task_numbers, found);
    Py_RETURN_TRUE;
}
