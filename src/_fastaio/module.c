/* module.c: the front door: makes the module's state and its types, each room in turn. */
#include "datagram.h"
#include "file_now.h"
#include "file_op.h"
#include "future.h"
#include "handle.h"
#include "loop.h"
#include "pipe.h"
#include "registry.h"
#include "server.h"
#include "signal_pipe.h"
#include "sockops.h"
#include "state.h"
#include "stream.h"
#include "streamreader.h"
#include "task.h"
#include "tls.h"

static PyObject *
after_fork_in_child(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = state_of_module(module);
    st->forks++;
    for (LoopObject *loop = st->forked_loops; loop != NULL; loop = loop->next_forked) {
        loop->poller->methods->forked(loop->poller);
    }
    signal_pipe_after_fork(st);
    Py_RETURN_NONE;
}

static PyMethodDef after_fork_def = {"_after_fork_in_child", after_fork_in_child, METH_NOARGS, NULL};

/* os.fork() tells; a child made otherwise (posix_spawn, vfork) runs no Python. */
static int
register_at_fork(PyObject *module)
{
    PyObject *callback = PyCFunction_New(&after_fork_def, module);
    PyObject *os = callback ? PyImport_ImportModule("os") : NULL;
    PyObject *method = os ? PyObject_GetAttrString(os, "register_at_fork") : NULL;
    PyObject *none = PyTuple_New(0), *kwargs = PyDict_New(), *result = NULL;
    if (method != NULL && none != NULL && kwargs != NULL
        && PyDict_SetItemString(kwargs, "after_in_child", callback) == 0) {
        result = PyObject_Call(method, none, kwargs);
    }
    Py_XDECREF(none);
    Py_XDECREF(kwargs);
    Py_XDECREF(method);
    Py_XDECREF(os);
    Py_XDECREF(callback);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* Each room makes its types and methods, from low to high: a room may add methods to the types of those
   before it. */
static int (*const rooms[])(PyObject *module) = {
    register_at_fork,
    replaced_init,
    registry_init,
    handle_types_init,
    future_types_init,
    task_types_init,
    loop_types_init,
    loop_view_init,
    file_now_init,
    file_op_init,
    streamreader_types_init,
    sockops_types_init,
    stream_types_init,
    server_types_init,
    datagram_types_init,
    pipe_read_type_init,
    pipe_write_type_init,
    tls_types_init,
    signal_pipe_type_init,
};

static int
module_exec(PyObject *module)
{
    if (state_init_names(state_of_module(module)) < 0) {
        return -1;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(rooms); i++) {
        if (rooms[i](module) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    fastaio_state *st = state_of_module(module);
    int result = state_traverse(st, visit, arg);
    return result ? result : tls_state_traverse(st, visit, arg);
}

static int
module_clear(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    tls_state_clear(st);
    state_clear(st);
    return 0;
}

static void
module_free(void *module)
{
    module_clear((PyObject *)module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

PyModuleDef fastaio_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "fastaio._fastaio",
    .m_doc = "The native asyncio core: Future, Task, handles, the event loop and its transports.",
    .m_size = sizeof(fastaio_state),
    .m_methods = registry_functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__fastaio(void)
{
    return PyModuleDef_Init(&fastaio_module);
}
