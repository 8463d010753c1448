/* lock.c: Lock. The methods that are not here are asyncio's own: locked(), __repr__(). So are all methods of an
 * object that is not plain: they call each other by name.
 */
#include "primitives/lock.h"

#include "primitives/function.h"
#include "primitives/immediate.h"
#include "primitives/line.h"
#include "primitives/waiter.h"

static inline bool
is_plain(fastaio_state *st, PyObject *self)
{
    return primitive_is_plain(&st->primitives->Lock, self);
}

/* ---- acquiring ------------------------------------------------------------------------------- */

/* Do lock_acquire_now() within the critical section of the lock. */
static Outcome
acquire_now(fastaio_state *st, PyObject *self)
{
    LockObject *lock = (LockObject *)self;
    if (primitive_field(self, lock->locked, "_locked") == NULL) {
        return FAILED;
    }
    int refused = primitive_truth(lock->locked);
    if (refused == 0) {
        if (primitive_field(self, lock->waiters, "_waiters") == NULL) {
            return FAILED;
        }
        PyObject *waiters = Py_NewRef(lock->waiters);
        int waiting = deque_is_true(st, waiters);
        int free = waiting > 0 ? waiters_are_cancelled(st, waiters) : waiting < 0 ? -1 : 1;
        Py_DECREF(waiters);
        refused = free < 0 ? -1 : !free;
    }
    if (refused != 0) {
        return refused < 0 ? FAILED : WAIT;
    }
    primitive_set(&lock->locked, Py_True);
    return DONE;
}

Outcome
lock_acquire_now(fastaio_state *st, PyObject *self)
{
    Outcome outcome;
    Py_BEGIN_CRITICAL_SECTION(self);
    outcome = acquire_now(st, self);
    Py_END_CRITICAL_SECTION();
    return outcome;
}

/* Wake the first waiter. Return 0, or -1 with an exception. */
static int
wake_first(fastaio_state *st, PyObject *self)
{
    LockObject *lock = (LockObject *)self;
    if (primitive_field(self, lock->waiters, "_waiters") == NULL) {
        return -1;
    }
    if (lock->waiters == Py_None) {
        return 0;
    }
    PyObject *waiters = Py_NewRef(lock->waiters);
    int result = waiters_wake_first(st, waiters, Py_True);
    Py_DECREF(waiters);
    return result;
}

static const OpSpec aenter_spec;

static Outcome
start_acquire(Op *op, PyObject **result)
{
    Outcome outcome = acquire_now(op->st, op->self);
    if (outcome == WAIT) {
        return line_join_new(op, &((LockObject *)op->self)->waiters);
    }
    return outcome == DONE ? line_acquired(op, &aenter_spec, result) : FAILED;
}

/* A cancelled waiter that had already been woken passes the wake-up on: if the lock is free, wake the next
   one. Return 0, or -1 with an exception. */
static int
pass_on(Op *op)
{
    PyObject *locked = primitive_field(op->self, ((LockObject *)op->self)->locked, "_locked");
    int is_locked = locked ? primitive_truth(locked) : -1;
    return is_locked == 0 ? wake_first(op->st, op->self) : is_locked < 0 ? -1 : 0;
}

static Outcome
resume_acquire(Op *op, PyObject *value, PyObject **result)
{
    LockObject *lock = (LockObject *)op->self;
    Cleanup cleanup = cleanup_begin(value);
    int failed = line_leave(op, &lock->waiters, "_waiters");
    if (failed == 0 && cleanup_has(&cleanup, op->st->CancelledError)) {
        failed = pass_on(op);
    }
    if (cleanup_end(&cleanup, failed) < 0) {
        return FAILED;
    }
    primitive_set(&lock->locked, Py_True);
    return line_acquired(op, &aenter_spec, result);
}

static const OpSpec acquire_spec = {OP_KIND("Lock"), "acquire", start_acquire, resume_acquire};

PyObject *
lock_acquire_new(fastaio_state *st, PyObject *self)
{
    return (PyObject *)op_new(st, &acquire_spec, self);
}

static PyObject *
lock_acquire(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
             PyObject *keywords)
{
    return is_plain(st, self) ? op_without_arguments(st, &acquire_spec, self, count, keywords)
                              : primitive_base_call(&st->primitives->Lock, self, "acquire", args,
                                                    count, keywords);
}

/* ---- releasing ------------------------------------------------------------------------------- */

/* Do lock_release() within the critical section of the lock. */
static int
release(fastaio_state *st, PyObject *self)
{
    LockObject *lock = (LockObject *)self;
    if (primitive_field(self, lock->locked, "_locked") == NULL) {
        return -1;
    }
    int locked = primitive_truth(lock->locked);
    if (locked == 0) {
        PyErr_SetString(PyExc_RuntimeError, "Lock is not acquired.");
    }
    if (locked <= 0) {
        return -1;
    }
    primitive_set(&lock->locked, Py_False);
    return wake_first(st, self);
}

int
lock_release(fastaio_state *st, PyObject *self)
{
    int result;
    Py_BEGIN_CRITICAL_SECTION(self);
    result = release(st, self);
    Py_END_CRITICAL_SECTION();
    return result;
}

PyDoc_STRVAR(release_doc, "release($self, /)\n--\n\n"
"Release the lock, and wake the task that has waited longest.\n\n"
"Raises RuntimeError if the lock is not held.");

static PyObject *
lock_release_method(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = primitive_state(self);
    if (st != NULL && !is_plain(st, self)) {
        return primitive_base_call(&st->primitives->Lock, self, "release", NULL, 0, NULL);
    }
    return st == NULL || release(st, self) < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- async with ------------------------------------------------------------------------------ */

static const OpSpec aenter_spec = {OP_KIND("Lock"), "__aenter__", start_acquire, resume_acquire};

static PyObject *
lock_aenter(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
            PyObject *keywords)
{
    if (!is_plain(st, self)) {
        return primitive_base_call(&st->primitives->Lock, self, "__aenter__", args, count, keywords);
    }
    Outcome outcome = count == 0 && keywords == NULL ? acquire_now(st, self) : WAIT;
    if (outcome == WAIT) {
        return op_without_arguments(st, &aenter_spec, self, count, keywords);
    }
    return outcome == DONE ? immediate_new(st, Py_None) : NULL;
}

static PyObject *
lock_aexit(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
           PyObject *keywords)
{
    if (!is_plain(st, self)) {
        return primitive_base_call(&st->primitives->Lock, self, "__aexit__", args, count, keywords);
    }
    if (aexit_exception("Lock", args, count, keywords) == NULL) {
        return NULL;
    }
    return release(st, self) < 0 ? NULL : immediate_new(st, Py_None);
}

/* ---- the type -------------------------------------------------------------------------------- */

static const CoroutineDef coroutines[] = {
    {"acquire", lock_acquire,
     PyDoc_STR("acquire($self, /)\n--\n\n"
               "Wait until the lock is free, and take it. Tasks get it in the order in which they\n"
               "began to wait. Return True.")},
    {"__aenter__", lock_aenter,
     PyDoc_STR("__aenter__($self, /)\n--\n\nAcquire the lock. Return None.")},
    {"__aexit__", lock_aexit,
     PyDoc_STR("__aexit__($self, exc_type, exc, tb)\n--\n\nRelease the lock.")},
    {NULL, NULL, NULL},
};

static int
lock_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    LockObject *lock = (LockObject *)self;
    if (!primitive_has_no_arguments(args, kwargs)) {
        fastaio_state *st = primitive_state(self);
        return st ? primitive_base_init(&st->primitives->Lock, self, args, kwargs) : -1;
    }
    primitive_set(&lock->waiters, Py_None);
    primitive_set(&lock->locked, Py_False);
    return 0;
}

PRIMITIVE_INIT(lock_init)

static PyMemberDef lock_members[] = {
    BOUND_MEMBERS,
    {"_waiters", T_OBJECT_EX, offsetof(LockObject, waiters), 0, NULL},
    {"_locked", T_OBJECT_EX, offsetof(LockObject, locked), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef lock_methods[] = {
    {"release", lock_release_method, METH_NOARGS, release_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(lock_doc, "Lock()\n--\n\n"
"asyncio.Lock in C: mutual exclusion of tasks, in the order in which they ask.");

static PyType_Slot lock_slots[] = {
    {Py_tp_doc, (void *)lock_doc},
    {Py_tp_new, primitive_new},
    {Py_tp_init, lock_init_guarded},
    {Py_tp_members, lock_members},
    {Py_tp_methods, lock_methods},
    {0, NULL},
};

static PyType_Spec lock_spec = {
    .name = "fastaio.Lock",
    .basicsize = sizeof(LockObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HEAPTYPE,
    .slots = lock_slots,
};

int
lock_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    return primitive_add_class(module, &st->primitives->Lock, &lock_spec, coroutines);
}
