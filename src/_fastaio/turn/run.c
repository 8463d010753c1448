/* run.c: how a handle's callback is called. */
#include "turn/run.h"

#include "task/future.h"

/* asyncio.sleep() wakes its future by a Python function of two lines; 1: done here instead,
   0: not that case, -1: error. */
static int
run_set_result_unless_cancelled(fastaio_state *st, HandleObject *handle)
{
    if (handle->callback != st->set_result_unless_cancelled || handle->arg_count != 2
        || !Py_IS_TYPE(handle->args[0], st->FutureType)) {
        return 0;
    }
    FutureObject *future = (FutureObject *)handle->args[0];
    if (future->core.state == FUTURE_CANCELLED) {
        return 1;
    }
    /* Its callbacks go to call_soon(), which may cancel this very handle where it is overridden. */
    Py_INCREF(future);
    int result = future_set_result(&future->core, handle->args[1]) < 0 ? -1 : 1;
    Py_DECREF(future);
    return result;
}

static int
call_in_context(fastaio_state *st, HandleObject *handle)
{
    if (handle->cancelled || handle->context == NULL) {
        return 0;
    }
    int native = run_set_result_unless_cancelled(st, handle);
    if (native) {
        return native < 0 ? -1 : 0;
    }
    /* The callback may cancel this very handle, which drops what it is called with. */
    PyObject *callback = Py_NewRef(handle->callback ? handle->callback : Py_None);
    PyObject *context = Py_NewRef(handle->context);
    PyObject *stack[1 + HANDLE_INLINE_ARGS];
    PyObject *result = NULL;
    int count = handle->arg_count;
    bool packed = handle->packed;
    for (int i = 0; i < count; i++) {
        stack[1 + i] = Py_NewRef(handle->args[i]);
    }
    if (PyContext_Enter(context) == 0) {
        result = packed ? PyObject_Call(callback, stack[1], NULL)
                        : PyObject_Vectorcall(callback, stack + 1,
                                              count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        if (PyContext_Exit(context) < 0) {
            Py_CLEAR(result);
        }
    }
    for (int i = 0; i < count; i++) {
        Py_DECREF(stack[1 + i]);
    }
    Py_DECREF(context);
    Py_DECREF(callback);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    return 0;
}

static int
handle_run_guarded(fastaio_state *st, HandleObject *handle)
{
    int entered = handle_enter(handle);
    int result = entered < 0 ? -1 : call_in_context(st, handle);
    if (entered > 0) {
        handle_leave(handle);
    }
    return result;
}

int
handle_run(fastaio_state *st, HandleObject *handle)
{
    /* Nobody waits for what only the loop has. */
    bool shared = Py_REFCNT(handle) > 1 || handle->weakrefs != NULL;
    return handle->guarded && shared ? handle_run_guarded(st, handle)
                                     : call_in_context(st, handle);
}
