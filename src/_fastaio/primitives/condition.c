/* condition.c: what a condition does without a wait: its lock, and notifying.
 *
 * asyncio uses the lock by three attributes of the condition, `acquire`, `release` and `locked`, which __init__()
 * takes from the lock. They are fields here. While they have the methods of a plain Lock that __init__() has set,
 * its functions are called directly.
 */
#include "primitives/condition.h"

#include "base/args.h"
#include "base/asyncio_versions.h"
#include "primitives/lock.h"
#include "primitives/waiter.h"

/* ---- the lock -------------------------------------------------------------------------------- */

/* Return true if the lock and the methods are those that __init__() has set. */
static bool
has_lock_methods(const ConditionObject *cond)
{
    PyObject *set = cond->lock_methods; /* or what a program has put there */
    return set != NULL && PyTuple_CheckExact(set) && PyTuple_GET_SIZE(set) == 4
           && PyTuple_GET_ITEM(set, 0) == cond->lock && cond->lock != NULL
           && PyTuple_GET_ITEM(set, 1) == cond->acquire && PyTuple_GET_ITEM(set, 2) == cond->release
           && PyTuple_GET_ITEM(set, 3) == cond->locked;
}

PyObject *
condition_plain_lock(const fastaio_state *st, PyObject *self)
{
    const ConditionObject *cond = (ConditionObject *)self;
    PyObject *lock = has_lock_methods(cond) ? Py_NewRef(cond->lock) : NULL;
    if (lock != NULL && !primitive_is_plain(&st->primitives->Lock, lock)) { /* this may run code */
        Py_CLEAR(lock);
    }
    return lock;
}

/* Call one of the lock's methods, a field. Return its result, or NULL with an exception. */
static PyObject *
call_field(PyObject *self, PyObject *field, const char *name)
{
    PyObject *method = Py_XNewRef(primitive_field(self, field, name));
    PyObject *result = method ? PyObject_CallNoArgs(method) : NULL;
    Py_XDECREF(method);
    return result;
}

/* Return the truth of self.locked(): 1, 0, or -1 with an exception. */
static int
is_locked(const fastaio_state *st, PyObject *self)
{
    PyObject *lock = condition_plain_lock(st, self), *locked = NULL;
    if (lock != NULL) {
        Py_BEGIN_CRITICAL_SECTION(lock);
        locked = Py_XNewRef(((LockObject *)lock)->locked);
        Py_END_CRITICAL_SECTION();
        Py_DECREF(lock);
    }
    if (locked == NULL) {
        locked = call_field(self, ((ConditionObject *)self)->locked, "locked");
    }
    int truth = locked ? PyObject_IsTrue(locked) : -1;
    Py_XDECREF(locked);
    return truth;
}

int
condition_check_locked(const fastaio_state *st, PyObject *self, const char *action)
{
    int locked = is_locked(st, self);
    if (locked == 0) {
        PyErr_Format(PyExc_RuntimeError, "cannot %s on un-acquired lock", action);
    }
    return locked > 0 ? 0 : -1;
}

/* Do condition_acquire() within the critical section of the condition. */
static Outcome
acquire(Op *op, PyObject *self)
{
    PyObject *lock = condition_plain_lock(op->st, self), *awaitable;
    if (lock != NULL) {
        Outcome outcome = lock_acquire_now(op->st, lock);
        awaitable = outcome == WAIT ? lock_acquire_new(op->st, lock) : NULL;
        Py_DECREF(lock);
        if (outcome != WAIT) {
            return outcome;
        }
    }
    else {
        awaitable = call_field(self, ((ConditionObject *)self)->acquire, "acquire");
    }
    Outcome outcome = awaitable ? op_await(op, awaitable) : FAILED;
    Py_XDECREF(awaitable);
    return outcome;
}

Outcome
condition_acquire(Op *op, PyObject *self)
{
    Outcome outcome;
    Py_BEGIN_CRITICAL_SECTION(self);
    outcome = acquire(op, self);
    Py_END_CRITICAL_SECTION();
    return outcome;
}

int
condition_release_plain(fastaio_state *st, PyObject *self)
{
    PyObject *lock = condition_plain_lock(st, self);
    if (lock == NULL) {
        return drop_result(call_field(self, ((ConditionObject *)self)->release, "release"));
    }
    int result = lock_release(st, lock);
    Py_DECREF(lock);
    return result;
}

int
condition_release(fastaio_state *st, PyObject *self)
{
    if (!condition_is_plain(st, self)) {
        return drop_result(PyObject_CallMethodNoArgs(self, st->str_release));
    }
    int result;
    Py_BEGIN_CRITICAL_SECTION(self);
    result = condition_release_plain(st, self);
    Py_END_CRITICAL_SECTION();
    return result;
}

/* ---- notifying ------------------------------------------------------------------------------- */

/* Wake waiters until `limit` have been woken: a number, and NULL; or any object. Return 0, or -1 with an
   exception. */
static int
wake_waiters(fastaio_state *st, PyObject *waiters, long number, PyObject *limit)
{
    PyObject *iterator = PyObject_GetIter(waiters), *waiter;
    if (iterator == NULL) {
        return -1;
    }
    int enough = 0;
    long woken_count = 0;
    while (enough == 0 && (waiter = PyIter_Next(iterator)) != NULL) {
        if (limit == NULL) {
            enough = woken_count >= number;
        }
        else { /* woken_count >= limit */
            PyObject *count = PyLong_FromLong(woken_count);
            enough = count ? PyObject_RichCompareBool(count, limit, Py_GE) : -1;
            Py_XDECREF(count);
        }
        int woken = enough == 0 ? waiter_wake(st, waiter, Py_False) : 0;
        woken_count += woken > 0;
        enough = woken < 0 ? -1 : enough;
        Py_DECREF(waiter);
    }
    Py_DECREF(iterator);
    return enough < 0 || (enough == 0 && PyErr_Occurred()) ? -1 : 0;
}

int
condition_notify(fastaio_state *st, PyObject *self, long number, PyObject *limit)
{
    PyObject *waiters = condition_waiters(self);
    int found = waiters ? deque_is_true(st, waiters) : -1;
    if (found > 0 && limit == NULL && number == 1) {
        int woken = 0;
        PyObject *waiter = NULL;
        while (woken == 0 && (found = waiters_first_pending(st, waiters, &waiter)) > 0) {
            woken = waiter_complete(st, waiter, Py_False);
            Py_CLEAR(waiter);
        }
        found = woken < 0 ? -1 : found;
    }
    else if (found > 0) {
        found = wake_waiters(st, waiters, number, limit);
    }
    Py_XDECREF(waiters);
    return found < 0 ? -1 : 0;
}

/* Do notify(n); NULL: 1. Return 0, or -1 with an exception. */
static int
notify_some(fastaio_state *st, PyObject *self, PyObject *n)
{
    long number = 1;
    return n == NULL || compat_small_int(n, &number) ? condition_notify(st, self, number, NULL)
                                                     : condition_notify(st, self, 0, n);
}

PyDoc_STRVAR(notify_doc, "notify($self, /, n=1)\n--\n\n"
"Wake up to `n` tasks that wait. Raises RuntimeError if the lock is not held.");

static PyObject *
notify_method(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    fastaio_state *st = primitive_state(self);
    Py_ssize_t total = count + (keywords ? PyTuple_GET_SIZE(keywords) : 0);
    if (st == NULL) {
        return NULL;
    }
    if (total > 1 || !condition_is_plain(st, self)) {
        return primitive_base_call(&st->primitives->Condition, self, "notify", args, count, keywords);
    }
    PyObject *n = total ? only_argument("notify", "n", args, count, keywords) : NULL;
    if ((n == NULL && total) || condition_check_locked(st, self, "notify") < 0
        || notify_some(st, self, n) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Do notify_all() of a plain object. Return 0, or -1 with an exception. */
static int
notify_all(fastaio_state *st, PyObject *self)
{
    PyObject *waiters = condition_waiters(self);
    Py_ssize_t count = waiters ? PyObject_Size(waiters) : -1;
    Py_XDECREF(waiters);
    return count < 0 || condition_check_locked(st, self, "notify") < 0
               ? -1
               : condition_notify(st, self, (long)count, NULL);
}

int
condition_notify_all(fastaio_state *st, PyObject *self)
{
    if (!condition_is_plain(st, self)) {
        return drop_result(PyObject_CallMethodNoArgs(self, st->str_notify_all));
    }
    int result;
    Py_BEGIN_CRITICAL_SECTION(self);
    result = notify_all(st, self);
    Py_END_CRITICAL_SECTION();
    return result;
}

PyDoc_STRVAR(notify_all_doc, "notify_all($self, /)\n--\n\n"
"Wake all tasks that wait. Raises RuntimeError if the lock is not held.");

static PyObject *
notify_all_method(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = primitive_state(self);
    if (st == NULL) {
        return NULL;
    }
    if (!condition_is_plain(st, self)) {
        return primitive_base_call(&st->primitives->Condition, self, "notify_all", NULL, 0, NULL);
    }
    return notify_all(st, self) < 0 ? NULL : Py_NewRef(Py_None);
}

#if CONDITION_PASSES_NOTIFICATION
static PyObject *
condition_notify_unchecked(PyObject *self, PyObject *n)
{
    fastaio_state *st = primitive_state(self);
    return st && notify_some(st, self, n) == 0 ? Py_NewRef(Py_None) : NULL;
}
#endif

PyMethodDef condition_methods[] = {
    {"notify", KEYWORDS(notify_method), METH_FASTCALL | METH_KEYWORDS, notify_doc},
    {"notify_all", notify_all_method, METH_NOARGS, notify_all_doc},
#if CONDITION_PASSES_NOTIFICATION
    {"_notify", condition_notify_unchecked, METH_O,
     PyDoc_STR("_notify($self, n, /)\n--\n\nWake up to `n` tasks that wait.")},
#endif
    {NULL, NULL, 0, NULL},
};
