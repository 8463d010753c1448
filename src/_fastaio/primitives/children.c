/* children.c: the loop of native children, and their tasks. */
#include "primitives/children.h"

#include "base/asyncio_versions.h"
#include "base/error.h"
#include "task/task_start.h"

/* Return true if the loop starts new tasks immediately. */
static inline bool
starts_eagerly(LoopObject *loop)
{
    return loop->task_factory != NULL && loop->task_factory == loop->st->eager_task_factory;
}

int
children_loop(fastaio_state *st, LoopObject **loop)
{
    PyObject *running = PyObject_CallNoArgs(st->get_running_loop);
    if (running == NULL) {
        return -1;
    }
    if (loop_is_native(st, running)) {
        LoopObject *native = (LoopObject *)running;
        unsigned overrides = loop_overrides(native);
        if (!(overrides & (OVERRIDE_CREATE_TASK | OVERRIDE_CREATE_FUTURE)) && !relaxed_load(&native->closed)
            && (native->task_factory == NULL || starts_eagerly(native))) {
            *loop = native;
            return 1;
        }
    }
    Py_DECREF(running);
    return 0;
}

/* Close a coroutine for which no task could be made. Keeps the exception that is raised. */
static void
close_coroutine(fastaio_state *st, PyObject *coro)
{
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *outer = begin_handling(raised);
    int closed = drop_result(PyObject_CallMethodNoArgs(coro, st->str_close));
    end_handling(outer);
    if (closed < 0) {
        Py_DECREF(raised);
        return;
    }
    PyErr_SetRaisedException(raised);
}

PyObject *
child_ensure(LoopObject *loop, PyObject *child)
{
    if (!coro_check(child)) {
        return Py_NewRef(child);
    }
    PyObject *task = starts_eagerly(loop) ? task_new_eagerly(loop, child, NULL, NULL)
                                          : task_new(loop, child, NULL, NULL, false);
    if (task == NULL && PyErr_ExceptionMatches(PyExc_RuntimeError)) {
        close_coroutine(loop->st, child);
    }
    return task;
}

int
children_awaiter(LoopObject *loop, PyObject **awaiter)
{
    *awaiter = NULL;
    if (!FUTURE_KNOWS_AWAITERS) {
        return 0;
    }
    *awaiter = PyObject_CallOneArg(loop->st->current_task, (PyObject *)loop);
    if (*awaiter == Py_None) {
        Py_CLEAR(*awaiter);
    }
    else if (*awaiter == NULL) {
        return -1;
    }
    return 0;
}
