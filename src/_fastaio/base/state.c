/* state.c: filling, traversing and clearing the state of one copy of the module. */
#include "base/state.h"

PyTypeObject *
state_add_type(PyObject *module, PyType_Spec *spec, PyObject *base)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, base);
    if (type != NULL && PyModule_AddType(module, type) < 0) {
        Py_CLEAR(type);
    }
    if (type != NULL) {
        compat_immortalise(type);
    }
    return type;
}

int
state_add_methods(PyTypeObject *type, PyMethodDef *methods)
{
    for (; methods->ml_name != NULL; methods++) {
        PyObject *descriptor = PyDescr_NewMethod(type, methods);
        int result = descriptor ? PyObject_SetAttrString((PyObject *)type, methods->ml_name,
                                                         descriptor)
                                : -1;
        Py_XDECREF(descriptor);
        if (result < 0) {
            return -1;
        }
    }
    return 0;
}

PyObject *
state_import(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return NULL;
    }
    PyObject *attribute = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return attribute;
}

/* As state_import(), but return None if the module lacks the attribute. */
static PyObject *
import_optional(const char *module_name, const char *name)
{
    PyObject *attribute = state_import(module_name, name);
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
    if ((st->field = state_import(module, attribute)) == NULL) {                                   \
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

int
state_init(fastaio_state *st)
{
    if (init_names(st) < 0) {
        return -1;
    }
    bool has_guarded = st->asyncio_ThreadSafeHandle != Py_None;
    return replaced_init(&st->replaced, st->asyncio_TimerHandle,
                         has_guarded ? st->asyncio_ThreadSafeHandle : st->asyncio_Handle,
                         st->asyncio_Transport);
}

int
state_traverse(fastaio_state *st, visitproc visit, void *arg)
{
#ifdef Py_GIL_DISABLED
    Py_VISIT(st->GuardedMethodType);
    Py_VISIT(st->GuardedAttributeType);
#endif
    Py_VISIT(st->FutureType);
    Py_VISIT(st->TaskType);
    Py_VISIT(st->AwaitType);
    Py_VISIT(st->DoneCallbackType);
    Py_VISIT(st->GatheringFutureType);
    Py_VISIT(st->HandleType);
    Py_VISIT(st->TimerHandleType);
    Py_VISIT(st->LoopType);
    Py_VISIT(st->NativeCallType);
    Py_VISIT(st->StreamTransportType);
    Py_VISIT(st->ListenerType);
    Py_VISIT(st->AcceptType);
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
    Py_VISIT(st->loop_hooks);
    Py_VISIT(st->spare_stop);
    Py_VISIT(st->known_loop);
    return replaced_traverse(&st->replaced, visit, arg);
}

void
state_clear(fastaio_state *st)
{
    pool_close(&st->handle_pool);
    pool_close(&st->await_pool);
    pool_close(&st->done_callback_pool);
    pool_close(&st->future_pool);
    pool_close(&st->task_pool);
    pool_close(&st->read_op_pool);
#ifdef Py_GIL_DISABLED
    Py_CLEAR(st->GuardedMethodType);
    Py_CLEAR(st->GuardedAttributeType);
#endif
    Py_CLEAR(st->FutureType);
    Py_CLEAR(st->TaskType);
    Py_CLEAR(st->AwaitType);
    Py_CLEAR(st->DoneCallbackType);
    Py_CLEAR(st->GatheringFutureType);
    Py_CLEAR(st->HandleType);
    Py_CLEAR(st->TimerHandleType);
    Py_CLEAR(st->LoopType);
    Py_CLEAR(st->NativeCallType);
    Py_CLEAR(st->StreamTransportType);
    Py_CLEAR(st->ListenerType);
    Py_CLEAR(st->AcceptType);
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
    Py_CLEAR(st->loop_hooks);
    Py_CLEAR(st->spare_stop);
    Py_CLEAR(st->known_loop);
    replaced_clear(&st->replaced);
    Py_CLEAR(st->current_tasks);
    Py_CLEAR(st->swap_current_task);
    Py_CLEAR(st->register_task);
    Py_CLEAR(st->awaited_by_add);
    Py_CLEAR(st->awaited_by_discard);
}
