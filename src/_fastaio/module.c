/* module.c: the front door: makes the module's state and its types, each room in turn. */
#include "net/datagram.h"
#include "files/file_now.h"
#include "files/file_op.h"
#include "task/future.h"
#include "loop/handle.h"
#include "loop/loop.h"
#include "pipe/pipe.h"
#include "task/registry.h"
#include "net/server.h"
#include "signals/signal_pipe.h"
#include "net/sockops.h"
#include "base/state.h"
#include "net/stream.h"
#include "reader/streamreader.h"
#include "task/task.h"
#include "tls/tls.h"
#include "turn/turn.h"

/* ---- forks and the end ----------------------------------------------------------------------- */

static PyObject *
before_fork(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    Keeper *keeper = state_of_module(module)->keeper;
    int rc = flush_before_fork(keeper);
    keeper_before_fork(keeper);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
after_fork_in_parent(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    keeper_after_fork_in_parent(state_of_module(module)->keeper);
    Py_RETURN_NONE;
}

static PyObject *
after_fork_in_child(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = state_of_module(module);
    st->forks++;
    keeper_after_fork_in_child(st->keeper);
    for (LoopObject *loop = st->forked_loops; loop != NULL; loop = loop->next_forked) {
        loop->poller->methods->forked(loop->poller);
    }
    signal_pipe_after_fork(st);
    Py_RETURN_NONE;
}

/* Finalizers may still write; nobody looks at what they leave behind. */
static PyObject *
at_exit(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    keeper_end(state_of_module(module)->keeper);
    Py_RETURN_NONE;
}

/* os.fork() tells, and prints what a hook raises; a child made otherwise (posix_spawn, vfork) runs no
   Python. */
static PyMethodDef fork_hooks[] = {
    {"before", before_fork, METH_NOARGS, NULL},
    {"after_in_parent", after_fork_in_parent, METH_NOARGS, NULL},
    {"after_in_child", after_fork_in_child, METH_NOARGS, NULL},
};

static PyMethodDef at_exit_def = {"_at_exit", at_exit, METH_NOARGS, NULL};

static int
add_hook(PyObject *hooks, PyMethodDef *def, PyObject *module)
{
    PyObject *callback = PyCFunction_New(def, module);
    int rc = callback != NULL ? PyDict_SetItemString(hooks, def->ml_name, callback) : -1;
    Py_XDECREF(callback);
    return rc;
}

static int
register_at_fork(PyObject *module)
{
    PyObject *method = state_import("os", "register_at_fork");
    PyObject *none = PyTuple_New(0), *hooks = PyDict_New(), *result = NULL;
    int rc = method != NULL && none != NULL && hooks != NULL ? 0 : -1;
    for (size_t i = 0; i < sizeof(fork_hooks) / sizeof(*fork_hooks) && rc == 0; i++) {
        rc = add_hook(hooks, &fork_hooks[i], module);
    }
    if (rc == 0) {
        result = PyObject_Call(method, none, hooks);
    }
    Py_XDECREF(none);
    Py_XDECREF(hooks);
    Py_XDECREF(method);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int
register_at_exit(PyObject *module)
{
    PyObject *method = state_import("atexit", "register");
    PyObject *callback = method != NULL ? PyCFunction_New(&at_exit_def, module) : NULL;
    PyObject *result = callback != NULL ? PyObject_CallOneArg(method, callback) : NULL;
    Py_XDECREF(method);
    Py_XDECREF(callback);
    return drop_result(result);
}

static int
keeper_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->keeper = keeper_new();
    return st->keeper == NULL || register_at_fork(module) < 0 ? -1 : register_at_exit(module);
}

/* Each room makes its types and methods, from low to high: a room may add methods to the types of those
   before it. */
static int (*const rooms[])(PyObject *module) = {
    keeper_init,
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
    fastaio_state *st = state_of_module(module);
    module_clear((PyObject *)module);
    keeper_free(st->keeper);
    st->keeper = NULL;
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
