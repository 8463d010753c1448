/* condition_wait.c: wait() and wait_for(). Those of conditions that are not plain are asyncio's own. */
#include "primitives/condition_wait.h"

#include "base/args.h"
#include "base/asyncio_versions.h"
#include "base/error.h"
#include "primitives/condition.h"
#include "primitives/line.h"
#include "primitives/waiter.h"

/* ---- wait() ---------------------------------------------------------------------------------- */

/* The uses of an Op's fields: `waiter` is the future that a notification wakes, `saved` the exception that ended
   the wait for it, `extra` the last CancelledError of acquiring the lock again. */
enum { NOTIFICATION, LOCK };

/* End wait() with the raised exception. It may have been notified: then another task is, in its place. */
static Outcome
fail_wait(Op *op)
{
    if (CONDITION_PASSES_NOTIFICATION) {
        Cleanup cleanup = cleanup_begin(NULL);
        cleanup_end(&cleanup, condition_notify(op->st, op->self, 1, NULL));
    }
    return FAILED;
}

/* Raise what ended the wait. Return false if there is nothing to raise. */
static bool
raise_failure(Op *op)
{
    PyObject *saved = op->saved, *cancelled = op->extra;
    op->saved = op->extra = NULL;
    if (cancelled == NULL) {
        if (saved != NULL) {
            PyErr_SetRaisedException(saved);
        }
        return saved != NULL;
    }
    PyObject *outer = saved ? begin_handling(saved) : NULL;
    if (CONDITION_PASSES_NOTIFICATION) {
        raise_object(cancelled);
    }
    else {
        Py_DECREF(cancelled);
        PyErr_SetNone(op->st->CancelledError);
    }
    if (saved != NULL) {
        end_handling(outer);
        Py_DECREF(saved);
    }
    return true;
}

/* Handle the exception of an attempt to acquire the lock. Return true if it is tried again: for cancellation. */
static bool
is_tried_again(Op *op)
{
    if (!PyErr_ExceptionMatches(op->st->CancelledError)) {
        return false;
    }
    Py_XSETREF(op->extra, PyErr_GetRaisedException());
    return PyErr_CheckSignals() == 0;
}

/* Give the raised exception the exception of the wait as its context: that is being handled. */
static void
add_context(const Op *op)
{
    PyObject *exc = op->saved ? PyErr_GetRaisedException() : NULL;
    if (exc == NULL) {
        return;
    }
    PyObject *context = PyException_GetContext(exc);
    if (context != NULL) {
        Py_DECREF(context);
        PyErr_SetRaisedException(exc);
        return;
    }
    PyObject *outer = begin_handling(op->saved);
    raise_object(exc);
    end_handling(outer);
}

/* Acquire the lock again, which cancellation does not prevent. */
static Outcome
acquire_again(Op *op, PyObject **result)
{
    Outcome outcome;
    op->stage = LOCK;
    do {
        PyObject *saved = Py_XNewRef(op->saved);
        PyObject *outer = saved ? begin_handling(saved) : NULL;
        outcome = condition_acquire(op, op->self);
        if (saved != NULL) {
            end_handling(outer);
            Py_DECREF(saved);
        }
    } while (outcome == FAILED && is_tried_again(op));
    if (outcome == WAIT) {
        return WAIT;
    }
    if (outcome == FAILED || raise_failure(op)) {
        return fail_wait(op);
    }
    *result = Py_NewRef(Py_True);
    return DONE;
}

/* Leave the line with the outcome of the wait, then acquire the lock. */
static Outcome
end_wait(Op *op, PyObject *value, PyObject **result)
{
    Cleanup cleanup = cleanup_begin(value);
    int left = line_leave(op, &((ConditionObject *)op->self)->waiters, "_waiters");
    if (cleanup_end(&cleanup, left) < 0) {
        op->saved = PyErr_GetRaisedException();
    }
    return acquire_again(op, result);
}

/* Make op->waiter, if that has not been done. Return 0, or -1 with an exception. */
static int
make_waiter(Op *op)
{
    if (op->waiter == NULL) {
        PyObject *loop = primitive_loop(op->st, op->self);
        op->waiter = loop ? waiter_new(op->st, loop) : NULL;
        Py_XDECREF(loop);
    }
    return op->waiter ? 0 : -1;
}

/* Append op->waiter to the line. Return 0, or -1 with an exception. */
static int
join(Op *op)
{
    PyObject *waiters = condition_waiters(op->self);
    int result = waiters ? deque_append(op->st, waiters, op->waiter) : -1;
    Py_XDECREF(waiters);
    return result;
}

static Outcome
start_wait(Op *op, PyObject **result)
{
    if (condition_check_locked(op->st, op->self, "wait") < 0
        || (CONDITION_PASSES_NOTIFICATION && make_waiter(op) < 0)
        || condition_release_plain(op->st, op->self) < 0) {
        return FAILED;
    }
    if (make_waiter(op) < 0 || join(op) < 0) {
        op->saved = PyErr_GetRaisedException();
        return acquire_again(op, result);
    }
    op->stage = NOTIFICATION;
    return op_await(op, op->waiter) == WAIT ? WAIT : end_wait(op, NULL, result);
}

static Outcome
resume_wait(Op *op, PyObject *value, PyObject **result)
{
    if (op->stage == NOTIFICATION) {
        return end_wait(op, value, result);
    }
    if (value == NULL) {
        add_context(op);
        return is_tried_again(op) ? acquire_again(op, result) : fail_wait(op);
    }
    Py_DECREF(value);
    if (raise_failure(op)) {
        return fail_wait(op);
    }
    *result = Py_NewRef(Py_True);
    return DONE;
}

static const OpSpec wait_spec = {OP_KIND("Condition"), "wait", start_wait, resume_wait};

Outcome
condition_wait(Op *op, PyObject *cond)
{
    PyObject *awaitable = condition_is_plain(op->st, cond)
                              ? (PyObject *)op_new(op->st, &wait_spec, cond)
                              : PyObject_CallMethodNoArgs(cond, op->st->str_wait);
    Outcome outcome = awaitable ? op_await(op, awaitable) : FAILED;
    Py_XDECREF(awaitable);
    return outcome;
}

PyObject *
condition_wait_method(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
                      PyObject *keywords)
{
    return condition_is_plain(st, self)
               ? op_without_arguments(st, &wait_spec, self, count, keywords)
               : primitive_base_call(&st->primitives->Condition, self, "wait", args, count, keywords);
}

/* ---- wait_for() ------------------------------------------------------------------------------ */

/* Wait until the predicate, op->saved, is true. */
static Outcome
start_wait_for(Op *op, PyObject **result)
{
    PyObject *value = PyObject_CallNoArgs(op->saved);
    int truth = value ? PyObject_IsTrue(value) : -1;
    if (truth > 0) {
        *result = value;
        return DONE;
    }
    Py_XDECREF(value);
    return truth < 0 ? FAILED : condition_wait(op, op->self);
}

static Outcome
resume_wait_for(Op *op, PyObject *value, PyObject **result)
{
    Py_XDECREF(value);
    return value ? start_wait_for(op, result) : FAILED;
}

static const OpSpec wait_for_spec = {OP_KIND("Condition"), "wait_for", start_wait_for, resume_wait_for};

PyObject *
condition_wait_for_method(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
                          PyObject *keywords)
{
    if (!condition_is_plain(st, self)) {
        return primitive_base_call(&st->primitives->Condition, self, "wait_for", args, count,
                                   keywords);
    }
    PyObject *predicate = only_argument("wait_for", "predicate", args, count, keywords);
    Op *op = predicate ? op_new(st, &wait_for_spec, self) : NULL;
    if (op != NULL) {
        op->saved = Py_NewRef(predicate);
    }
    return (PyObject *)op;
}
