/* semaphore.c: Semaphore and BoundedSemaphore. acquire() of objects that are not plain is asyncio's own, as is
 * __repr__().
 */
#include "primitives/semaphore.h"

#include "base/asyncio_versions.h"
#include "primitives/counter.h"
#include "primitives/immediate.h"
#include "primitives/line.h"
#include "primitives/waiter.h"

typedef struct {
    BoundObject bound;
    PyObject *waiters; /* `_waiters`: a deque of futures, or None */
    PyObject *value;   /* `_value`: an int */
} SemaphoreObject;

typedef struct {
    SemaphoreObject semaphore;
    PyObject *bound_value; /* `_bound_value`: the largest value */
} BoundedSemaphoreObject;

static bool
is_plain(const fastaio_state *st, PyObject *self)
{
    return primitive_is_plain(&st->primitives->Semaphore, self)
           || primitive_is_plain(&st->primitives->BoundedSemaphore, self);
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* Return the truth of `_value <operation> number`: 1, 0, or -1 with an exception. */
static int
compare_value(PyObject *self, long number, int operation)
{
    return counter_compare_field(self, ((SemaphoreObject *)self)->value, "_value", number, operation);
}

/* Add 1 or -1 to _value. Return 0, or -1 with an exception. */
static int
step_value(PyObject *self, int step)
{
    return counter_step(self, &((SemaphoreObject *)self)->value, "_value", step);
}

/* Return a new reference to _waiters; NULL with AttributeError. */
static PyObject *
waiters_of(PyObject *self)
{
    return Py_XNewRef(primitive_field(self, ((SemaphoreObject *)self)->waiters, "_waiters"));
}

/* Return 1 if acquire() has to wait, 0, or -1 with an exception. */
static int
is_locked(fastaio_state *st, PyObject *self)
{
    int is_zero = compare_value(self, 0, Py_EQ);
    PyObject *waiters = is_zero == 0 ? waiters_of(self) : NULL;
    if (waiters == NULL) {
        return is_zero > 0 ? 1 : -1;
    }
    int waiting = deque_is_true(st, waiters);
    if (waiting > 0) {
        int cancelled = waiters_are_cancelled(st, waiters);
        waiting = cancelled < 0 ? -1 : !cancelled;
    }
    Py_DECREF(waiters);
    return waiting;
}

PyDoc_STRVAR(locked_doc, "locked($self, /)\n--\n\n"
"Return True if acquire() would wait.");

static PyObject *
semaphore_locked(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = primitive_state(self);
    int locked = st ? is_locked(st, self) : -1;
    return locked < 0 ? NULL : PyBool_FromLong(locked);
}

/* ---- waking ---------------------------------------------------------------------------------- */

/* Wake the first waiter that is not done. Return 1, 0 if there is none, or -1 with an exception. */
static int
wake_next(fastaio_state *st, PyObject *self)
{
    PyObject *waiters = waiters_of(self), *waiter = NULL;
    int found = waiters ? deque_is_true(st, waiters) : -1, woken = 0;
    while (found > 0 && woken == 0 && (found = waiters_first_pending(st, waiters, &waiter)) > 0) {
        woken = step_value(self, -1) < 0 ? -1 : waiter_complete(st, waiter, Py_True);
        if (woken == 0 && step_value(self, 1) < 0) {
            woken = -1;
        }
        Py_DECREF(waiter);
    }
    Py_XDECREF(waiters);
    return woken < 0 ? -1 : found;
}

/* The same by name if the object is not plain. */
static int
call_wake_next(fastaio_state *st, PyObject *self)
{
    if (is_plain(st, self)) {
        return wake_next(st, self);
    }
    PyObject *woken = PyObject_CallMethodNoArgs(self, st->str__wake_up_next);
    int result = woken ? PyObject_IsTrue(woken) : -1;
    Py_XDECREF(woken);
    return result;
}

static PyObject *
semaphore_wake_up_next(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = primitive_state(self);
    int woken = st ? wake_next(st, self) : -1;
    if (woken >= 0 && !SEMAPHORE_WAKES_ALL) {
        Py_RETURN_NONE;
    }
    return woken < 0 ? NULL : PyBool_FromLong(woken);
}

/* ---- acquiring ------------------------------------------------------------------------------- */

static const OpSpec aenter_spec;

static Outcome
start_acquire(Op *op, PyObject **result)
{
    int locked = is_locked(op->st, op->self);
    if (locked > 0) {
        return line_join_new(op, &((SemaphoreObject *)op->self)->waiters);
    }
    return locked < 0 || step_value(op->self, -1) < 0 ? FAILED : line_acquired(op, &aenter_spec, result);
}

/* A cancelled waiter that had already been woken gives back what it got. Return 0, or -1 with an exception. */
static int
give_back(Op *op)
{
    int cancelled = waiter_is_cancelled(op->st, op->waiter);
    if (cancelled != 0) {
        return cancelled < 0 ? -1 : 0;
    }
    int done = SEMAPHORE_WAKES_ALL ? waiter_is_done(op->st, op->waiter) : 1;
    if (done <= 0) {
        return done;
    }
    if (step_value(op->self, 1) < 0) {
        return -1;
    }
    return SEMAPHORE_WAKES_ALL || call_wake_next(op->st, op->self) >= 0 ? 0 : -1;
}

/* Wake tasks for which there is a value. They could not take it before this one left the line. Return 0, or -1
   with an exception. */
static int
wake_others(Op *op)
{
    int more;
    do {
        more = compare_value(op->self, 0, Py_GT);
        if (more > 0) {
            more = call_wake_next(op->st, op->self);
        }
    } while (more > 0 && SEMAPHORE_WAKES_ALL);
    return more < 0 ? -1 : 0;
}

static Outcome
resume_acquire(Op *op, PyObject *value, PyObject **result)
{
    Cleanup cleanup = cleanup_begin(value);
    int failed = line_leave(op, &((SemaphoreObject *)op->self)->waiters, "_waiters");
    if (failed == 0 && cleanup_has(&cleanup, op->st->CancelledError)) {
        failed = give_back(op);
    }
    if (SEMAPHORE_WAKES_ALL && failed < 0) {
        Cleanup inner = cleanup_begin(NULL);
        failed = cleanup_end(&inner, wake_others(op));
    }
    else if (SEMAPHORE_WAKES_ALL || (failed == 0 && cleanup.exc == NULL)) {
        failed = wake_others(op);
    }
    return cleanup_end(&cleanup, failed) < 0 ? FAILED : line_acquired(op, &aenter_spec, result);
}

static const OpSpec acquire_spec = {OP_KIND("Semaphore"), "acquire", start_acquire, resume_acquire};
static const OpSpec aenter_spec = {OP_KIND("Semaphore"), "__aenter__", start_acquire, resume_acquire};

static PyObject *
semaphore_acquire(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
                  PyObject *keywords)
{
    return is_plain(st, self) ? op_without_arguments(st, &acquire_spec, self, count, keywords)
                              : primitive_base_call(&st->primitives->Semaphore, self, "acquire", args,
                                                    count, keywords);
}

static PyObject *
semaphore_aenter(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
                 PyObject *keywords)
{
    if (!is_plain(st, self)) {
        return primitive_base_call(&st->primitives->Semaphore, self, "__aenter__", args, count,
                                   keywords);
    }
    int locked = count == 0 && keywords == NULL ? is_locked(st, self) : 1;
    if (locked > 0) {
        return op_without_arguments(st, &aenter_spec, self, count, keywords);
    }
    return locked < 0 || step_value(self, -1) < 0 ? NULL : immediate_new(st, Py_None);
}

/* ---- releasing ------------------------------------------------------------------------------- */

/* Do Semaphore.release(). Return 0, or -1 with an exception. */
static int
release(fastaio_state *st, PyObject *self)
{
    return step_value(self, 1) < 0 || call_wake_next(st, self) < 0 ? -1 : 0;
}

PyDoc_STRVAR(release_doc, "release($self, /)\n--\n\n"
"Add 1 to the value, and wake the task that has waited longest.");

static PyObject *
semaphore_release(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = primitive_state(self);
    return st == NULL || release(st, self) < 0 ? NULL : Py_NewRef(Py_None);
}

/* Return true if super() of a bounded semaphore leads to Semaphore, which has its own methods. */
static bool
has_plain_super(const fastaio_state *st, PyObject *self)
{
    return primitive_is_plain(&st->primitives->BoundedSemaphore, self)
           && primitive_is_intact(&st->primitives->Semaphore);
}

/* Call super().<name>() of BoundedSemaphore, with an argument unless that is NULL. Return 0, or -1 with an exception. */
static int
call_super(const fastaio_state *st, PyObject *self, const char *name, PyObject *argument)
{
    PyObject *type = (PyObject *)st->primitives->BoundedSemaphore.type;
    PyObject *super = PyObject_CallFunctionObjArgs((PyObject *)&PySuper_Type, type, self, NULL);
    PyObject *method = super ? PyObject_GetAttrString(super, name) : NULL;
    PyObject *result = method ? PyObject_CallFunctionObjArgs(method, argument, NULL) : NULL;
    Py_XDECREF(super);
    Py_XDECREF(method);
    return drop_result(result);
}

/* Do BoundedSemaphore.release(). Return 0, or -1 with an exception. */
static int
release_bounded(fastaio_state *st, PyObject *self)
{
    PyObject *value = primitive_field(self, ((SemaphoreObject *)self)->value, "_value");
    PyObject *bound = value ? primitive_field(self, ((BoundedSemaphoreObject *)self)->bound_value,
                                              "_bound_value")
                            : NULL;
    if (bound == NULL) {
        return -1;
    }
    int full = counter_compare_fields(value, bound, Py_GE);
    if (full > 0) {
        PyErr_SetString(PyExc_ValueError, "BoundedSemaphore released too many times");
    }
    return full != 0                    ? -1
           : has_plain_super(st, self) ? release(st, self)
                                       : call_super(st, self, "release", NULL);
}

PyDoc_STRVAR(release_bounded_doc, "release($self, /)\n--\n\n"
"Add 1 to the value, and wake the task that has waited longest.\n\n"
"Raises ValueError if the value would become larger than it was at first.");

static PyObject *
bounded_release(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = primitive_state(self);
    return st == NULL || release_bounded(st, self) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
semaphore_aexit(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
                PyObject *keywords)
{
    int released;
    if (aexit_exception("Semaphore", args, count, keywords) == NULL) {
        return NULL;
    }
    if (primitive_is_plain(&st->primitives->Semaphore, self)) {
        released = release(st, self);
    }
    else if (primitive_is_plain(&st->primitives->BoundedSemaphore, self)) {
        released = release_bounded(st, self);
    }
    else {
        released = drop_result(PyObject_CallMethodNoArgs(self, st->str_release));
    }
    return released < 0 ? NULL : immediate_new(st, Py_None);
}

/* ---- the types ------------------------------------------------------------------------------- */

static const CoroutineDef coroutines[] = {
    {"acquire", semaphore_acquire,
     PyDoc_STR("acquire($self, /)\n--\n\n"
               "Wait until the value is larger than 0, and subtract 1 from it. Tasks get it in the\n"
               "order in which they began to wait. Return True.")},
    {"__aenter__", semaphore_aenter,
     PyDoc_STR("__aenter__($self, /)\n--\n\nAcquire the semaphore. Return None.")},
    {"__aexit__", semaphore_aexit,
     PyDoc_STR("__aexit__($self, exc_type, exc, tb)\n--\n\nRelease the semaphore.")},
    {NULL, NULL, NULL},
};

/* Do Semaphore.__init__(). Return 0, or -1 with an exception. */
static int
init_value(PyObject *self, PyObject *value)
{
    SemaphoreObject *semaphore = (SemaphoreObject *)self;
    int negative = counter_compare(value, 0, Py_LT);
    if (negative > 0) {
        PyErr_SetString(PyExc_ValueError, "Semaphore initial value must be >= 0");
    }
    if (negative != 0) {
        return -1;
    }
    primitive_set(&semaphore->waiters, Py_None);
    primitive_set(&semaphore->value, value);
    return 0;
}

static int
semaphore_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    fastaio_state *st = primitive_state(self);
    PyObject *one = st ? PyLong_FromLong(1) : NULL;
    if (one == NULL) {
        return -1;
    }
    PyObject *value = primitive_init_argument(args, kwargs, "value", one);
    int result = value ? init_value(self, value)
                       : primitive_base_init(&st->primitives->Semaphore, self, args, kwargs);
    Py_DECREF(one);
    return result;
}

PRIMITIVE_INIT(semaphore_init)

static int
bounded_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    fastaio_state *st = primitive_state(self);
    PyObject *one = st ? PyLong_FromLong(1) : NULL;
    if (one == NULL) {
        return -1;
    }
    PyObject *value = primitive_init_argument(args, kwargs, "value", one);
    int result;
    if (value != NULL) {
        primitive_set(&((BoundedSemaphoreObject *)self)->bound_value, value);
        result = has_plain_super(st, self) ? init_value(self, value)
                                           : call_super(st, self, "__init__", value);
    }
    else {
        result = primitive_base_init(&st->primitives->BoundedSemaphore, self, args, kwargs);
    }
    Py_DECREF(one);
    return result;
}

PRIMITIVE_INIT(bounded_init)

static PyMemberDef semaphore_members[] = {
    BOUND_MEMBERS,
    {"_waiters", T_OBJECT_EX, offsetof(SemaphoreObject, waiters), 0, NULL},
    {"_value", T_OBJECT_EX, offsetof(SemaphoreObject, value), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef bounded_members[] = {
    {"_bound_value", T_OBJECT_EX, offsetof(BoundedSemaphoreObject, bound_value), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef semaphore_methods[] = {
    {"locked", semaphore_locked, METH_NOARGS, locked_doc},
    {"release", semaphore_release, METH_NOARGS, release_doc},
    {"_wake_up_next", semaphore_wake_up_next, METH_NOARGS,
     PyDoc_STR("_wake_up_next($self, /)\n--\n\n"
               "Wake the first waiter that is not done. From 3.13 on return whether there is one.")},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef bounded_methods[] = {
    {"release", bounded_release, METH_NOARGS, release_bounded_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(semaphore_doc, "Semaphore(value=1)\n--\n\n"
"asyncio.Semaphore in C: lets as many tasks in at a time as its value allows.");

PyDoc_STRVAR(bounded_doc, "BoundedSemaphore(value=1)\n--\n\n"
"asyncio.BoundedSemaphore in C: a semaphore that refuses to be released too often.");

static PyType_Slot semaphore_slots[] = {
    {Py_tp_doc, (void *)semaphore_doc},
    {Py_tp_new, primitive_new},
    {Py_tp_init, semaphore_init_guarded},
    {Py_tp_members, semaphore_members},
    {Py_tp_methods, semaphore_methods},
    {0, NULL},
};

static PyType_Slot bounded_slots[] = {
    {Py_tp_doc, (void *)bounded_doc},
    {Py_tp_init, bounded_init_guarded},
    {Py_tp_members, bounded_members},
    {Py_tp_methods, bounded_methods},
    {0, NULL},
};

static PyType_Spec semaphore_spec = {
    .name = "fastaio.Semaphore",
    .basicsize = sizeof(SemaphoreObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HEAPTYPE,
    .slots = semaphore_slots,
};

static PyType_Spec bounded_spec = {
    .name = "fastaio.BoundedSemaphore",
    .basicsize = sizeof(BoundedSemaphoreObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HEAPTYPE,
    .slots = bounded_slots,
};

int
semaphore_types_init(PyObject *module)
{
    Primitives *primitives = state_of_module(module)->primitives;
    PrimitiveClass *plain = &primitives->Semaphore;
    if (primitive_add_class(module, plain, &semaphore_spec, coroutines) < 0) {
        return -1;
    }
    return primitive_add_subclass(module, &primitives->BoundedSemaphore, &bounded_spec, plain);
}
