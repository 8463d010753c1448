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
#include "sockops.h"
#include "state.h"
#include "stream.h"
#include "streamreader.h"
#include "task.h"
#include "tls.h"

PyTypeObject *
state_add_type(PyObject *module, PyType_Spec *spec, PyObject *base)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, base);
    if (type != NULL && PyModule_AddType(module, type) < 0) {
        Py_CLEAR(type);
    }
    return type;
}

static PyObject *
import_attribute(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return NULL;
    }
    PyObject *attribute = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return attribute;
}

static PyObject *
import_optional(const char *module_name, const char *name)
{
    PyObject *attribute = import_attribute(module_name, name);
    if (attribute == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        return Py_NewRef(Py_None);
    }
    return attribute;
}

static int
init_names(fastaio_state *st)
{
#define X(name)                                                                                    \
    if ((st->str_##name = PyUnicode_InternFromString(#name)) == NULL) {                            \
        return -1;                                                                                 \
    }
    FASTAIO_NAMES(X)
#undef X
#define X(field, module, attribute)                                                                \
    if ((st->field = import_attribute(module, attribute)) == NULL) {                               \
        return -1;                                                                                 \
    }
    FASTAIO_IMPORTS(X)
#undef X
#define X(field, module, attribute)                                                                \
    if ((st->field = import_optional(module, attribute)) == NULL) {                                \
        return -1;                                                                                 \
    }
    FASTAIO_OPTIONAL_IMPORTS(X)
#undef X
    st->context_kwname = PyTuple_Pack(1, st->str_context);
    return st->context_kwname ? 0 : -1;
}

static PyObject *
after_fork_in_child(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = state_of_module(module);
    st->forks++;
    for (LoopObject *loop = st->forked_loops; loop != NULL; loop = loop->next_forked) {
        loop->poller->methods->forked(loop->poller);
    }
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

static int
module_exec(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    if (init_names(st) < 0 || register_at_fork(module) < 0 || registry_init(module) < 0 || handle_types_init(module) < 0
        || future_types_init(module) < 0 || task_types_init(module) < 0
        || sockops_types_init(module) < 0 || loop_types_init(module) < 0
        || stream_types_init(module) < 0 || streamreader_types_init(module) < 0
        || server_types_init(module) < 0 || tls_types_init(module) < 0
        || file_now_init(module) < 0 || file_op_init(module) < 0
        || datagram_types_init(module) < 0 || pipe_read_type_init(module) < 0
        || pipe_write_type_init(module) < 0) {
        return -1;
    }
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    fastaio_state *st = state_of_module(module);
    Py_VISIT(st->FutureType);
    Py_VISIT(st->TaskType);
    Py_VISIT(st->AwaitType);
    Py_VISIT(st->HandleType);
    Py_VISIT(st->TimerHandleType);
    Py_VISIT(st->LoopType);
    Py_VISIT(st->StreamTransportType);
    Py_VISIT(st->ListenerType);
    Py_VISIT(st->SockOpType);
    Py_VISIT(st->StreamReaderType);
    Py_VISIT(st->ReaderCoreType);
    Py_VISIT(st->ReadOpType);
    Py_VISIT(st->FileOpType);
    Py_VISIT(st->DatagramCoreType);
    Py_VISIT(st->ReadPipeCoreType);
    Py_VISIT(st->WritePipeCoreType);
    Py_VISIT(st->reader_classes.functions);
#define X(field, module, attribute) Py_VISIT(st->field);
    FASTAIO_IMPORTS(X)
    FASTAIO_OPTIONAL_IMPORTS(X)
#undef X
    Py_VISIT(st->current_tasks);
    Py_VISIT(st->swap_current_task);
    Py_VISIT(st->register_task);
    Py_VISIT(st->awaited_by_add);
    Py_VISIT(st->awaited_by_discard);
    return tls_state_traverse(st, visit, arg);
}

static int
module_clear(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    pool_close(&st->handle_pool);
    pool_close(&st->await_pool);
    pool_close(&st->future_pool);
    pool_close(&st->task_pool);
    Py_CLEAR(st->FutureType);
    Py_CLEAR(st->TaskType);
    Py_CLEAR(st->AwaitType);
    Py_CLEAR(st->HandleType);
    Py_CLEAR(st->TimerHandleType);
    Py_CLEAR(st->LoopType);
    Py_CLEAR(st->StreamTransportType);
    Py_CLEAR(st->ListenerType);
    Py_CLEAR(st->SockOpType);
    Py_CLEAR(st->StreamReaderType);
    Py_CLEAR(st->ReaderCoreType);
    Py_CLEAR(st->ReadOpType);
    Py_CLEAR(st->FileOpType);
    Py_CLEAR(st->DatagramCoreType);
    Py_CLEAR(st->ReadPipeCoreType);
    Py_CLEAR(st->WritePipeCoreType);
    Py_CLEAR(st->reader_classes.functions);
#define X(name) Py_CLEAR(st->str_##name);
    FASTAIO_NAMES(X)
#undef X
#define X(field, module, attribute) Py_CLEAR(st->field);
    FASTAIO_IMPORTS(X)
    FASTAIO_OPTIONAL_IMPORTS(X)
#undef X
    Py_CLEAR(st->context_kwname);
    Py_CLEAR(st->current_tasks);
    Py_CLEAR(st->swap_current_task);
    Py_CLEAR(st->register_task);
    Py_CLEAR(st->awaited_by_add);
    Py_CLEAR(st->awaited_by_discard);
    tls_state_clear(st);
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
