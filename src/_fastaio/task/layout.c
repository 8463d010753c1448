#include "base/base_layout.h"

#include "base/state.h"

const char base_layout_adopt_doc[] =
    "_adopt_layout($module, probe, coro, context, name, waiter, offsets, /)\n--\n\n"
    "Learn where asyncio.Task keeps its fields, from a probe task made with these objects.\n\n"
    "waiter: a native future, to be noted in the probe as awaiting it and taken out again.\n"
    "offsets: None, or what the interpreter's debug section says: (size, name, awaited_by,\n"
    "is_task, coro, node, running_loop, running_task, tasks_head), in bytes; not believed unless it\n"
    "fits the probe.";

/* The one word of the probe that points to `value`; 0 where there is none or more than one. */
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

#if PY_VERSION_HEX >= 0x030E0000
static bool
fits(PyObject *probe, size_t offset, size_t size)
{
    return offset >= sizeof(PyObject) && offset % size == 0
           && offset + size <= (size_t)Py_TYPE(probe)->tp_basicsize;
}

/* Lets asyncio note in the probe who awaits it, and looks whether it stands where it should. */
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

/* The newest task of a thread is the last of its list. */
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
    adopt_list(st, probe, node_at, head_at);
    return 0;
}
#endif

PyObject *
base_layout_adopt(PyObject *module, PyObject *args)
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
#if PY_VERSION_HEX >= 0x030E0000
    if (offsets != Py_None && adopt_debug_section(st, probe, name, waiter, offsets) < 0) {
        return NULL;
    }
#endif
    Py_RETURN_NONE;
}

/* ---- the numbers of tasks without a name ----------------------------------------------------- */

const char base_layout_adopt_numbers_doc[] =
    "_adopt_task_numbers($module, asyncio, number, /)\n--\n\n"
    "Find the counter of `asyncio`, the module _asyncio, by which it names tasks, and use it.\n\n"
    "number: a function that makes a task of asyncio's without a name, and returns its number.\n"
    "Return False where the counter is not found: native tasks then have numbers of their own.";

static Py_ssize_t
state_size(PyObject *module)
{
#if PY_VERSION_HEX >= 0x030F0000
    Py_ssize_t size;
    return PyModule_GetStateSize(module, &size) < 0 ? -1 : size;
#else
    const PyModuleDef *def = PyModule_GetDef(module);
    return def != NULL ? def->m_size : -1;
#endif
}

/* Call number(); 0 with an exception. */
static uint64_t
next_number(PyObject *number)
{
    PyObject *value = PyObject_CallNoArgs(number);
    uint64_t result = value ? PyLong_AsUnsignedLongLong(value) : 0;
    Py_XDECREF(value);
    return PyErr_Occurred() ? 0 : result;
}

/* The words of the module's state that hold a number come down to one after a few tasks. */
PyObject *
base_layout_adopt_numbers(PyObject *module, PyObject *args)
{
    PyObject *asyncio, *number;
    if (!PyArg_ParseTuple(args, "O!O:_adopt_task_numbers", &PyModule_Type, &asyncio, &number)) {
        return NULL;
    }
    uint64_t *words = PyModule_GetState(asyncio);
    Py_ssize_t count = words ? state_size(asyncio) / (Py_ssize_t)sizeof(*words) : 0;
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
    state_of_module(module)->task_numbers = found;
    Py_RETURN_TRUE;
}
