/* running.c: asking for the running loop; timers of native loops in C, of other loops by their methods. */
#include "primitives/running.h"

#include "loop/handle.h"
#include "loop/loop.h"

PyObject *
running_loop(fastaio_state *st)
{
    PyObject *loop = PyCFunction_Check(st->get_running_loop)
                             && PyCFunction_GET_FLAGS(st->get_running_loop) == METH_NOARGS
                         ? PyCFunction_GET_FUNCTION(st->get_running_loop)(
                               PyCFunction_GET_SELF(st->get_running_loop), NULL)
                         : PyObject_CallNoArgs(st->get_running_loop);
    if (loop == Py_None) {
        Py_CLEAR(loop);
        PyErr_SetString(PyExc_RuntimeError, "no running event loop");
    }
    return loop;
}

#define TIMER_MAX_ARGS 2

/* Call loop.<method>(time, callback, *args) by name. Return the result, or NULL with an exception. */
static PyObject *
call_by_name(PyObject *loop, PyObject *method, PyObject *time, PyObject *callback,
             PyObject *const *args, Py_ssize_t count)
{
    PyObject *stack[3 + TIMER_MAX_ARGS] = {loop, time, callback};
    assert(count <= TIMER_MAX_ARGS);
    for (Py_ssize_t i = 0; i < count; i++) {
        stack[3 + i] = args[i];
    }
    return PyObject_VectorcallMethod(method, stack, 3 + count, NULL);
}

typedef PyObject *NativeTimer(LoopObject *loop, PyObject *time, PyObject *callback,
                              PyObject *const *args, Py_ssize_t count);

/* Make a timer: by `native` on a native loop, else by the loop's method of that name. Any thread may resume a
   coroutine, so the loop need not be this thread's: `native` needs the claim that the method would take. */
static PyObject *
make_timer(fastaio_state *st, PyObject *loop, NativeTimer *native, PyObject *method, PyObject *time,
           PyObject *callback, PyObject *const *args, Py_ssize_t count)
{
    Guard guard;
    if (!loop_is_native(st, loop)) {
        return call_by_name(loop, method, time, callback, args, count);
    }
    if (guard_begin(&guard, loop, loop) < 0) {
        return NULL;
    }
    PyObject *handle = native((LoopObject *)loop, time, callback, args, count);
    guard_end(&guard);
    return handle;
}

PyObject *
running_call_later(fastaio_state *st, PyObject *loop, PyObject *delay, PyObject *callback,
                   PyObject *const *args, Py_ssize_t count)
{
    return make_timer(st, loop, loop_call_later, st->str_call_later, delay, callback, args, count);
}

PyObject *
running_call_at(fastaio_state *st, PyObject *loop, PyObject *when, PyObject *callback,
                PyObject *const *args, Py_ssize_t count)
{
    return make_timer(st, loop, loop_call_at, st->str_call_at, when, callback, args, count);
}

int
running_cancel(fastaio_state *st, PyObject *handle)
{
    Guard guard;
    if (!Py_IS_TYPE(handle, st->TimerHandleType) && !Py_IS_TYPE(handle, st->HandleType)) {
        return drop_result(PyObject_CallMethodNoArgs(handle, st->str_cancel));
    }
    if (guard_begin(&guard, handle, handle_guarding_loop((HandleObject *)handle)) < 0) {
        return -1;
    }
    int result = handle_cancel((HandleObject *)handle);
    guard_end(&guard);
    return result;
}
