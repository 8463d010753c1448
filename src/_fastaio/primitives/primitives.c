/* primitives.c: the life of the room's part of the module's state. */
#include "primitives/primitives.h"

#include "base/deque.h"

int
primitives_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    Primitives *primitives = st->primitives = PyMem_Calloc(1, sizeof(*st->primitives));
    if (primitives == NULL) {
        PyErr_NoMemory();
        return -1;
    }
#define X(name, module_name)                                                                       \
    if ((primitives->name.base = state_import(module_name, #name)) == NULL) {                      \
        return -1;                                                                                 \
    }
    PRIMITIVE_CLASSES(X)
#undef X
#define X(name, module_name)                                                                       \
    if ((primitives->name = state_import(module_name, #name)) == NULL) {                           \
        return -1;                                                                                 \
    }
    PRIMITIVE_IMPORTS(X)
#undef X
#define X(name)                                                                                    \
    if ((primitives->name = PyObject_GetAttrString(primitives->_BarrierState, #name)) == NULL) {   \
        return -1;                                                                                 \
    }
    BARRIER_STATES(X)
#undef X
#define X(name)                                                                                    \
    if ((primitives->asyncio_##name = state_import("asyncio.tasks", #name)) == NULL) {             \
        return -1;                                                                                 \
    }
    PRIMITIVE_FUNCTIONS(X)
#undef X
    return deque_init(st);
}

int
primitives_traverse(fastaio_state *st, visitproc visit, void *arg)
{
    Primitives *primitives = st->primitives;
    if (primitives == NULL) {
        return 0;
    }
    Py_VISIT(primitives->FunctionType);
    Py_VISIT(primitives->OpType);
    Py_VISIT(primitives->AsCompletedType);
    Py_VISIT(primitives->TimeoutType);
    Py_VISIT(primitives->ImmediateType);
    Py_VISIT(primitives->spare_immediate);
#define X(name, module) Py_VISIT(primitives->name);
    PRIMITIVE_IMPORTS(X)
#undef X
#define X(name) Py_VISIT(primitives->name);
    BARRIER_STATES(X)
#undef X
#define X(name, module)                                                                            \
    Py_VISIT(primitives->name.type);                                                               \
    Py_VISIT(primitives->name.base);                                                               \
    Py_VISIT(primitives->name.originals);
    PRIMITIVE_CLASSES(X)
#undef X
#define X(name) Py_VISIT(primitives->asyncio_##name);
    PRIMITIVE_FUNCTIONS(X)
#undef X
    return 0;
}

void
primitives_clear(fastaio_state *st)
{
    Primitives *primitives = st->primitives;
    if (primitives == NULL) {
        return;
    }
    pool_close(&primitives->op_pool);
    pool_close(&primitives->timeout_pool);
    st->primitives = NULL;
    Py_CLEAR(primitives->FunctionType);
    Py_CLEAR(primitives->OpType);
    Py_CLEAR(primitives->AsCompletedType);
    Py_CLEAR(primitives->TimeoutType);
    Py_CLEAR(primitives->ImmediateType);
    Py_CLEAR(primitives->spare_immediate);
#define X(name, module) Py_CLEAR(primitives->name);
    PRIMITIVE_IMPORTS(X)
#undef X
#define X(name) Py_CLEAR(primitives->name);
    BARRIER_STATES(X)
#undef X
#define X(name, module)                                                                            \
    Py_CLEAR(primitives->name.type);                                                               \
    Py_CLEAR(primitives->name.base);                                                               \
    Py_CLEAR(primitives->name.originals);
    PRIMITIVE_CLASSES(X)
#undef X
#define X(name) Py_CLEAR(primitives->asyncio_##name);
    PRIMITIVE_FUNCTIONS(X)
#undef X
    PyMem_Free(primitives);
}
