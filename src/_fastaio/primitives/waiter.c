/* waiter.c: making, asking and waking the futures by which primitives let tasks wait. */
#include "primitives/waiter.h"

#include "loop/loop.h"
#include "task/future.h"

PyObject *
waiter_new(fastaio_state *st, PyObject *loop)
{
    if (loop_is_native(st, loop) && !(loop_overrides((LoopObject *)loop) & OVERRIDE_CREATE_FUTURE)) {
        return future_new((LoopObject *)loop);
    }
    return PyObject_CallMethodNoArgs(loop, st->str_create_future);
}

/* Return the core of a future of the exact native type; NULL for other objects. */
static FutureCore *
plain_core(fastaio_state *st, PyObject *waiter)
{
    return Py_IS_TYPE(waiter, st->FutureType) ? &((FutureObject *)waiter)->core : NULL;
}

/* Return the truth of waiter.<name>(): 1, 0, or -1 with an exception. */
static int
ask(PyObject *waiter, PyObject *name)
{
    PyObject *answer = PyObject_CallMethodNoArgs(waiter, name);
    int truth = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return truth;
}

int
waiter_is_done(fastaio_state *st, PyObject *waiter)
{
    const FutureCore *core = plain_core(st, waiter);
    return core != NULL ? !future_is_pending(core) : ask(waiter, st->str_done);
}

int
waiter_is_cancelled(fastaio_state *st, PyObject *waiter)
{
    const FutureCore *core = plain_core(st, waiter);
    return core != NULL ? future_state(core) == FUTURE_CANCELLED : ask(waiter, st->str_cancelled);
}

int
waiter_complete(fastaio_state *st, PyObject *waiter, PyObject *result)
{
    FutureCore *core = plain_core(st, waiter);
    if (core == NULL || shared_load(&core->loop) == NULL) {
        PyObject *set = PyObject_CallMethodOneArg(waiter, st->str_set_result, result);
        return drop_result(set) < 0 ? -1 : 1;
    }
    return future_set_result_unless_done(core, result);
}

int
waiter_wake(fastaio_state *st, PyObject *waiter, PyObject *result)
{
    int done = plain_core(st, waiter) == NULL ? ask(waiter, st->str_done) : 0;
    return done < 0 ? -1 : done > 0 ? 0 : waiter_complete(st, waiter, result);
}

int
waiters_wake_first(fastaio_state *st, PyObject *waiters, PyObject *result)
{
    int found = deque_is_true(st, waiters);
    PyObject *waiter;
    if (found <= 0 || (found = deque_first(st, waiters, &waiter)) <= 0) {
        return found;
    }
    int woken = waiter_wake(st, waiter, result);
    Py_DECREF(waiter);
    return woken < 0 ? -1 : 0;
}

int
waiters_are_cancelled(fastaio_state *st, PyObject *waiters)
{
    PyObject *iterator = PyObject_GetIter(waiters), *waiter;
    if (iterator == NULL) {
        return -1;
    }
    int cancelled = 1;
    while (cancelled > 0 && (waiter = PyIter_Next(iterator)) != NULL) {
        cancelled = waiter_is_cancelled(st, waiter);
        Py_DECREF(waiter);
    }
    Py_DECREF(iterator);
    return cancelled > 0 && PyErr_Occurred() ? -1 : cancelled;
}

/* Return 1 if the first waiter is a pending native future, with *waiter; 0; or -1 with an exception. */
static int
first_is_pending(fastaio_state *st, PyObject *waiters, PyObject **waiter)
{
    if (!Py_IS_TYPE(waiters, (PyTypeObject *)st->deque)) {
        return 0;
    }
    int found = deque_first(st, waiters, waiter);
    const FutureCore *core = found > 0 ? plain_core(st, *waiter) : NULL;
    if (core != NULL && future_is_pending(core)) {
        return 1;
    }
    if (found > 0) {
        Py_CLEAR(*waiter);
    }
    return found < 0 ? -1 : 0;
}

int
waiters_first_pending(fastaio_state *st, PyObject *waiters, PyObject **waiter)
{
    int pending = first_is_pending(st, waiters, waiter);
    PyObject *iterator = pending == 0 ? PyObject_GetIter(waiters) : NULL;
    if (iterator == NULL) {
        return pending == 0 ? -1 : pending;
    }
    while ((*waiter = PyIter_Next(iterator)) != NULL) {
        int done = waiter_is_done(st, *waiter);
        if (done <= 0) {
            pending = done < 0 ? -1 : 1;
            break;
        }
        Py_DECREF(*waiter);
    }
    Py_DECREF(iterator);
    if (pending < 0) {
        Py_CLEAR(*waiter);
    }
    return *waiter == NULL && PyErr_Occurred() ? -1 : pending;
}
