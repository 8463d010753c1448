/* condition_type.c: the type Condition. __repr__() is asyncio's own, and so is __aenter__() of conditions that are
 * not plain.
 */
#include "primitives/condition_type.h"

#include "base/deque.h"
#include "primitives/condition.h"
#include "primitives/condition_wait.h"
#include "primitives/immediate.h"
#include "primitives/lock.h"

/* ---- async with ------------------------------------------------------------------------------ */

static Outcome
start_aenter(Op *op, PyObject **result)
{
    Outcome outcome = condition_acquire(op, op->self);
    *result = outcome == DONE ? Py_NewRef(Py_None) : NULL;
    return outcome;
}

static Outcome
resume_aenter(Op *Py_UNUSED(op), PyObject *value, PyObject **result)
{
    Py_XDECREF(value);
    *result = value ? Py_NewRef(Py_None) : NULL;
    return value ? DONE : FAILED;
}

static const OpSpec aenter_spec = {OP_KIND("Condition"), "__aenter__", start_aenter, resume_aenter};

static PyObject *
aenter_method(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
              PyObject *keywords)
{
    if (!condition_is_plain(st, self)) {
        return primitive_base_call(&st->primitives->Condition, self, "__aenter__", args, count,
                                   keywords);
    }
    PyObject *lock = count == 0 && keywords == NULL ? condition_plain_lock(st, self) : NULL;
    Outcome outcome = lock ? lock_acquire_now(st, lock) : WAIT;
    Py_XDECREF(lock);
    if (outcome != WAIT) {
        return outcome == DONE ? immediate_new(st, Py_None) : NULL;
    }
    return op_without_arguments(st, &aenter_spec, self, count, keywords);
}

static PyObject *
aexit_method(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
             PyObject *keywords)
{
    return aexit_exception("Condition", args, count, keywords) == NULL
                   || condition_release(st, self) < 0
               ? NULL
               : immediate_new(st, Py_None);
}

/* ---- the type -------------------------------------------------------------------------------- */

static const CoroutineDef coroutines[] = {
    {"wait", condition_wait_method,
     PyDoc_STR("wait($self, /)\n--\n\n"
               "Release the lock, wait for a notification, and acquire the lock again. Return True.\n\n"
               "Raises RuntimeError if the lock is not held.")},
    {"wait_for", condition_wait_for_method,
     PyDoc_STR("wait_for($self, /, predicate)\n--\n\n"
               "Wait until predicate() is true; return its result.")},
    {"__aenter__", aenter_method,
     PyDoc_STR("__aenter__($self, /)\n--\n\nAcquire the lock. Return None.")},
    {"__aexit__", aexit_method,
     PyDoc_STR("__aexit__($self, exc_type, exc, tb)\n--\n\nRelease the lock.")},
    {NULL, NULL, NULL},
};

/* Set the attribute of a method that is taken from the lock. By name, since a subclass may have a method of the
   same name, which the attribute hides. Return 0, or -1 with an exception. */
static int
take_method(PyObject *self, PyObject *lock, PyObject *name)
{
    PyObject *method = PyObject_GetAttr(lock, name);
    int result = method ? PyObject_GenericSetAttr(self, name, method) : -1;
    Py_XDECREF(method);
    return result;
}

/* Do Condition.__init__(). Return 0, or -1 with an exception. */
static int
init_condition(fastaio_state *st, PyObject *self, PyObject *lock)
{
    ConditionObject *cond = (ConditionObject *)self;
    Py_CLEAR(cond->lock_methods);
    primitive_set(&cond->lock, lock);
    if (take_method(self, lock, st->str_locked) < 0 || take_method(self, lock, st->str_acquire) < 0
        || take_method(self, lock, st->str_release) < 0) {
        return -1;
    }
    PyObject *waiters = deque_new(st);
    if (waiters == NULL) {
        return -1;
    }
    Py_XSETREF(cond->waiters, waiters);
    if (cond->lock != lock || !primitive_is_plain(&st->primitives->Lock, lock)
        || cond->acquire == NULL || cond->release == NULL || cond->locked == NULL) {
        return 0;
    }
    Py_XSETREF(cond->lock_methods,
               PyTuple_Pack(4, lock, cond->acquire, cond->release, cond->locked));
    return cond->lock_methods ? 0 : -1;
}

static int
condition_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    fastaio_state *st = primitive_state(self);
    PyObject *given = st ? primitive_init_argument(args, kwargs, "lock", Py_None) : NULL;
    if (given == NULL) {
        return st ? primitive_base_init(&st->primitives->Condition, self, args, kwargs) : -1;
    }
    PyObject *lock = given != Py_None ? Py_NewRef(given)
                                      : PyObject_CallNoArgs((PyObject *)st->primitives->Lock.type);
    int result = lock ? init_condition(st, self, lock) : -1;
    Py_XDECREF(lock);
    return result;
}

PRIMITIVE_INIT(condition_init)

static PyMemberDef condition_members[] = {
    BOUND_MEMBERS,
    {"_lock", T_OBJECT_EX, offsetof(ConditionObject, lock), 0, NULL},
    {"acquire", T_OBJECT_EX, offsetof(ConditionObject, acquire), 0, NULL},
    {"release", T_OBJECT_EX, offsetof(ConditionObject, release), 0, NULL},
    {"locked", T_OBJECT_EX, offsetof(ConditionObject, locked), 0, NULL},
    {"_waiters", T_OBJECT_EX, offsetof(ConditionObject, waiters), 0, NULL},
    {"_lock_methods", T_OBJECT_EX, offsetof(ConditionObject, lock_methods), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(condition_doc, "Condition(lock=None)\n--\n\n"
"asyncio.Condition in C: tasks that hold a lock wait for others to notify them.");

static PyType_Slot condition_slots[] = {
    {Py_tp_doc, (void *)condition_doc},
    {Py_tp_new, primitive_new},
    {Py_tp_init, condition_init_guarded},
    {Py_tp_members, condition_members},
    {Py_tp_methods, condition_methods},
    {0, NULL},
};

static PyType_Spec condition_spec = {
    .name = "fastaio.Condition",
    .basicsize = sizeof(ConditionObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HEAPTYPE,
    .slots = condition_slots,
};

int
condition_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    return primitive_add_class(module, &st->primitives->Condition, &condition_spec, coroutines);
}
