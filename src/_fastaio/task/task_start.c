/* task_start.c: making a task, and its first step. */
#include "task/task_start.h"

#include "loop/loop.h"
#include "task/future.h"
#include "task/registry.h"
#include "task/task.h"

/* ---- fields ---------------------------------------------------------------------------------- */

/* Set the name, None or NULL: a number. Return 0, or -1 with an exception. */
static int
set_name(TaskObject *task, PyObject *name)
{
    fastaio_state *st = task->core.st;
    if (name == NULL || name == Py_None) {
        if (st->task_numbers == NULL && registry_prepare(st) < 0) {
            return -1;
        }
        /* Without a counter: another thread is about to prepare. */
        task->number = ++*(st->task_numbers ? st->task_numbers : &st->own_task_numbers);
        Py_CLEAR(task->name); /* of an earlier __init__() */
        return 0;
    }
    PyObject *text = PyUnicode_CheckExact(name) ? Py_NewRef(name) : PyObject_Str(name);
    if (text == NULL) {
        return -1;
    }
    Py_XSETREF(task->name, text);
    return 0;
}

/* Return 0, or -1 with an exception: TypeError if `coro` is no coroutine. */
static int
check_coroutine(TaskObject *task, PyObject *coro)
{
    if (PyCoro_CheckExact(coro)) {
        return 0;
    }
    PyObject *answer = PyObject_CallOneArg(task->core.st->iscoroutine, coro);
    int is_coroutine = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (is_coroutine > 0) {
        return 0;
    }
    if (is_coroutine == 0) {
        PyErr_Format(PyExc_TypeError, "a coroutine was expected, got %R", coro);
    }
    return -1;
}

/* Set all fields but the core. Return 0, or -1 with an exception. */
static int
set_fields(TaskObject *task, PyObject *coro, PyObject *name, PyObject *context)
{
    task->log_destroy_pending = false;
    task->must_cancel = false;
    task->cancels_requested = 0;
    if (check_coroutine(task, coro) < 0) {
        return -1;
    }
#if PY_VERSION_HEX >= 0x030F0000
    if (context != NULL && context != Py_None && !PyContext_CheckExact(context)) {
        PyErr_Format(PyExc_TypeError, "a contextvars.Context was expected, got %T", context);
        return -1;
    }
#endif
    context = context == NULL || context == Py_None ? PyContext_CopyCurrent()
                                                    : Py_NewRef(context);
    if (context == NULL) {
        return -1;
    }
    Py_XSETREF(task->context, context);
    Py_CLEAR(task->fut_waiter);
    Py_XSETREF(task->coro, Py_NewRef(coro));
    task->log_destroy_pending = true;
    return set_name(task, name);
}

/* ---- the first step -------------------------------------------------------------------------- */

/* Do the first step now, as the current task. Return 0, or -1 with an exception. */
static int
start_eagerly(TaskObject *task)
{
    fastaio_state *st = task->core.st;
    PyObject *self = (PyObject *)task, *previous;
    if (registry_swap_current(st, task->core.loop, self, &previous) < 0) {
        return -1;
    }
    /* The coroutine may call its own task's __init__. */
    PyObject *loop = Py_NewRef(task->core.loop), *context = Py_NewRef(task->context);
    int result = registry_add(task);
    if (result == 0 && (result = PyContext_Enter(context)) == 0) {
        result = task_step(task, NULL);
        PyObject *error = result < 0 ? PyErr_GetRaisedException() : NULL;
        if (PyContext_Exit(context) < 0) {
            Py_XDECREF(error);
            error = NULL;
            result = -1;
        }
        if (error != NULL) {
            PyErr_SetRaisedException(error);
        }
    }
    PyObject *error = result < 0 ? PyErr_GetRaisedException() : NULL;
    if (registry_swap_current(st, loop, previous, NULL) < 0) {
        result = -1;
        Py_CLEAR(error);
    }
    if (error != NULL) {
        PyErr_SetRaisedException(error);
    }
    Py_XDECREF(previous);
    Py_DECREF(context);
    Py_DECREF(loop);
    if (task->core.state != FUTURE_PENDING) {
        Py_CLEAR(task->coro);
    }
    return result;
}

/* Return 1 if the loop of a future or task runs, 0, or -1 with an exception. */
static int
has_running_loop(FutureCore *core)
{
    if (core->native_loop != NULL && !loop_overrides(core->native_loop)) {
        return core->native_loop->thread_id != 0;
    }
    PyObject *answer = PyObject_CallMethodNoArgs(core->loop, core->st->str_is_running);
    int running = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return running;
}

int
task_start(TaskObject *task, fastaio_state *st, PyObject *loop, PyObject *coro, PyObject *name,
           PyObject *context, bool eager)
{
    if (future_core_init(&task->core, st, loop) < 0 || set_fields(task, coro, name, context) < 0) {
        return -1;
    }
    if (eager) {
        int running = has_running_loop(&task->core);
        if (running) {
            return running < 0 ? -1 : start_eagerly(task);
        }
    }
    return task_step_soon(task, NULL) < 0 ? -1 : registry_add(task);
}

PyObject *
task_new(LoopObject *loop, PyObject *coro, PyObject *name, PyObject *context, bool eager)
{
    fastaio_state *st = loop->st;
    TaskObject *task = (TaskObject *)pool_alloc(&st->task_pool, st->TaskType);
    if (task != NULL && task_start(task, st, (PyObject *)loop, coro, name, context, eager) < 0) {
        Py_CLEAR(task);
    }
    return (PyObject *)task;
}
