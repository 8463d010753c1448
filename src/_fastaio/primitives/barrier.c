/* barrier.c: Barrier. Native is wait() of a plain barrier whose condition is plain. All else is asyncio's own. */
#include "primitives/barrier.h"

#include "primitives/condition.h"
#include "primitives/condition_wait.h"
#include "primitives/counter.h"

typedef struct {
    BoundObject bound;
    PyObject *cond;    /* `_cond`: a Condition, by which all changes are told */
    PyObject *parties; /* `_parties`: an int */
    PyObject *state;   /* `_state`: a member of asyncio's _BarrierState */
    PyObject *count;   /* `_count`: how many tasks are in wait(), an int */
} BarrierObject;

/* ---- the state ------------------------------------------------------------------------------- */

/* Return 1 if _state equals the member of _BarrierState, 0, or -1 with an exception. */
static int
is_in_state(const Op *op, PyObject *member)
{
    PyObject *state = primitive_field(op->self, ((BarrierObject *)op->self)->state, "_state");
    if (state == NULL || Py_TYPE(state) == Py_TYPE(member)) {
        return state ? state == member : -1;
    }
    Py_INCREF(state);
    int equal = PyObject_RichCompareBool(state, member, Py_EQ);
    Py_DECREF(state);
    return equal;
}

/* The same for either of two members. */
static int
is_in_either_state(const Op *op, PyObject *first, PyObject *second)
{
    int found = is_in_state(op, first);
    return found != 0 ? found : is_in_state(op, second);
}

/* Return 1 if _state is the very member, 0, or -1 with an exception. */
static int
has_state(const Op *op, PyObject *member)
{
    PyObject *state = primitive_field(op->self, ((BarrierObject *)op->self)->state, "_state");
    return state ? state == member : -1;
}

static void
set_state(const Op *op, PyObject *member)
{
    primitive_set(&((BarrierObject *)op->self)->state, member);
}

/* Tell all tasks that something has changed. Return 0, or -1 with an exception. */
static int
tell_all(const Op *op)
{
    PyObject *cond = Py_XNewRef(
        primitive_field(op->self, ((BarrierObject *)op->self)->cond, "_cond"));
    int result = cond ? condition_notify_all(op->st, cond) : -1;
    Py_XDECREF(cond);
    return result;
}

/* Wait until something changes. Return WAIT, or FAILED with an exception. */
static Outcome
wait_for_change(Op *op)
{
    PyObject *cond = Py_XNewRef(
        primitive_field(op->self, ((BarrierObject *)op->self)->cond, "_cond"));
    Outcome outcome = cond ? condition_wait(op, cond) : FAILED;
    Py_XDECREF(cond);
    return outcome;
}

/* ---- wait() ---------------------------------------------------------------------------------- */

/* The stages are what wait() waits for: the condition's lock, the end of draining, the other tasks. The uses of an
   Op's fields: `extra` is the condition whose lock it holds, `saved` the index that it returns. */
enum { ENTERING, BLOCKED, FILLING };

/* Release the lock, and end with the exception that is raised, or with the index. */
static Outcome
leave(Op *op, bool failed, PyObject **result)
{
    Cleanup cleanup = cleanup_begin(failed ? NULL : Py_NewRef(Py_None));
    if (cleanup_end(&cleanup, condition_release(op->st, op->extra)) < 0) {
        return FAILED;
    }
    *result = Py_NewRef(op->saved);
    return DONE;
}

/* Take this task from the count, and make the barrier ready again if it is the last one. Return 0, or -1 with an
   exception. */
static int
count_out(Op *op)
{
    BarrierObject *barrier = (BarrierObject *)op->self;
    const Primitives *primitives = op->st->primitives;
    if (counter_step(op->self, &barrier->count, "_count", -1) < 0) {
        return -1;
    }
    int last = counter_compare_field(op->self, barrier->count, "_count", 0, Py_EQ);
    if (last <= 0) {
        return last;
    }
    int over = is_in_either_state(op, primitives->RESETTING, primitives->DRAINING);
    if (over > 0) {
        set_state(op, primitives->FILLING);
    }
    return over < 0 ? -1 : tell_all(op);
}

static Outcome
finish(Op *op, bool failed, PyObject **result)
{
    Cleanup cleanup = cleanup_begin(failed ? NULL : Py_NewRef(Py_None));
    return leave(op, cleanup_end(&cleanup, count_out(op)) < 0, result);
}

/* Wait until the barrier fills. */
static Outcome
wait_for_others(Op *op, PyObject **result)
{
    const Primitives *primitives = op->st->primitives;
    int filling = has_state(op, primitives->FILLING);
    if (filling > 0) {
        op->stage = FILLING;
        return wait_for_change(op) == WAIT ? WAIT : finish(op, true, result);
    }
    int broken = filling < 0 ? -1 : is_in_either_state(op, primitives->BROKEN, primitives->RESETTING);
    if (broken > 0) {
        PyErr_SetString(primitives->BrokenBarrierError, "Abort or reset of barrier");
    }
    return finish(op, broken != 0, result);
}

/* Return 1 if this task, which has been counted, is the last one; 0; or -1 with an exception. */
static int
fills_barrier(Op *op)
{
    BarrierObject *barrier = (BarrierObject *)op->self;
    PyObject *parties = primitive_field(op->self, barrier->parties, "_parties");
    long index, number;
    if (parties != NULL && compat_small_int(op->saved, &index) && compat_small_int(parties, &number)) {
        return index + 1 == number;
    }
    PyObject *next = parties ? Py_NewRef(op->saved) : NULL;
    if (next == NULL || counter_step(op->self, &next, "_count", 1) < 0) {
        Py_XDECREF(next);
        return -1;
    }
    parties = primitive_field(op->self, barrier->parties, "_parties");
    int equal = parties ? counter_compare_fields(next, parties, Py_EQ) : -1;
    Py_DECREF(next);
    return equal;
}

/* Be counted. The last task lets all go. */
static Outcome
arrive(Op *op, PyObject **result)
{
    BarrierObject *barrier = (BarrierObject *)op->self;
    op->saved = Py_XNewRef(primitive_field(op->self, barrier->count, "_count"));
    if (op->saved == NULL || counter_step(op->self, &barrier->count, "_count", 1) < 0) {
        return finish(op, true, result);
    }
    int full = fills_barrier(op);
    if (full == 0) {
        return wait_for_others(op, result);
    }
    if (full > 0) {
        set_state(op, op->st->primitives->DRAINING);
        full = tell_all(op) < 0 ? -1 : 1;
    }
    return finish(op, full < 0, result);
}

/* Wait until tasks of the last round have left. */
static Outcome
enter(Op *op, PyObject **result)
{
    const Primitives *primitives = op->st->primitives;
    int blocked = is_in_either_state(op, primitives->DRAINING, primitives->RESETTING);
    if (blocked > 0) {
        op->stage = BLOCKED;
        return wait_for_change(op) == WAIT ? WAIT : leave(op, true, result);
    }
    int broken = blocked < 0 ? -1 : has_state(op, primitives->BROKEN);
    if (broken > 0) {
        PyErr_SetString(primitives->BrokenBarrierError, "Barrier aborted");
    }
    return broken != 0 ? leave(op, true, result) : arrive(op, result);
}

static Outcome
start_wait(Op *op, PyObject **result)
{
    Outcome outcome = condition_acquire(op, op->extra);
    op->stage = ENTERING;
    return outcome == DONE ? enter(op, result) : outcome;
}

static Outcome
resume_wait(Op *op, PyObject *value, PyObject **result)
{
    Py_XDECREF(value);
    if (value == NULL) {
        return op->stage == ENTERING  ? FAILED
               : op->stage == BLOCKED ? leave(op, true, result)
                                      : finish(op, true, result);
    }
    return op->stage == FILLING ? wait_for_others(op, result) : enter(op, result);
}

static const OpSpec wait_spec = {OP_KIND("Barrier"), "wait", start_wait, resume_wait};
static const OpSpec aenter_spec = {OP_KIND("Barrier"), "__aenter__", start_wait, resume_wait};

/* Return the coroutine of wait() or __aenter__(); NULL with an exception. */
static PyObject *
new_wait(fastaio_state *st, const OpSpec *spec, PyObject *self, PyObject *const *args,
         Py_ssize_t count, PyObject *keywords)
{
    PyObject *cond = Py_XNewRef(((BarrierObject *)self)->cond);
    if (cond == NULL || !primitive_is_plain(&st->primitives->Barrier, self)
        || !primitive_is_plain(&st->primitives->Condition, cond)) {
        Py_XDECREF(cond);
        return primitive_base_call(&st->primitives->Barrier, self, spec->name, args, count, keywords);
    }
    Op *op = (Op *)op_without_arguments(st, spec, self, count, keywords);
    if (op == NULL) {
        Py_DECREF(cond);
        return NULL;
    }
    op->extra = cond;
    return (PyObject *)op;
}

static PyObject *
barrier_wait(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
             PyObject *keywords)
{
    return new_wait(st, &wait_spec, self, args, count, keywords);
}

static PyObject *
barrier_aenter(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
               PyObject *keywords)
{
    return new_wait(st, &aenter_spec, self, args, count, keywords);
}

/* ---- the type -------------------------------------------------------------------------------- */

static const CoroutineDef coroutines[] = {
    {"wait", barrier_wait,
     PyDoc_STR("wait($self, /)\n--\n\n"
               "Wait until as many tasks wait as the barrier has parties. Return a number from 0 to\n"
               "parties - 1, another one for each task.\n\n"
               "Raises BrokenBarrierError if the barrier is aborted or reset.")},
    {"__aenter__", barrier_aenter,
     PyDoc_STR("__aenter__($self, /)\n--\n\nWait; return the number that wait() returns.")},
    {NULL, NULL, NULL},
};

/* Do Barrier.__init__(). Return 0, or -1 with an exception. */
static int
init_barrier(fastaio_state *st, BarrierObject *barrier, PyObject *parties)
{
    PyObject *cond = PyObject_CallNoArgs((PyObject *)st->primitives->Condition.type);
    PyObject *zero = cond ? PyLong_FromLong(0) : NULL;
    if (zero != NULL) {
        primitive_set(&barrier->cond, cond);
        primitive_set(&barrier->parties, parties);
        primitive_set(&barrier->state, st->primitives->FILLING);
        primitive_set(&barrier->count, zero);
    }
    Py_XDECREF(cond);
    Py_XDECREF(zero);
    return zero ? 0 : -1;
}

static int
barrier_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    fastaio_state *st = primitive_state(self);
    if (st == NULL) {
        return -1;
    }
    PyObject *parties = primitive_init_argument(args, kwargs, "parties", NULL);
    long number;
    return parties != NULL && compat_small_int(parties, &number) && number >= 1
               ? init_barrier(st, (BarrierObject *)self, parties)
               : primitive_base_init(&st->primitives->Barrier, self, args, kwargs);
}

PRIMITIVE_INIT(barrier_init)

static PyMemberDef barrier_members[] = {
    BOUND_MEMBERS,
    {"_cond", T_OBJECT_EX, offsetof(BarrierObject, cond), 0, NULL},
    {"_parties", T_OBJECT_EX, offsetof(BarrierObject, parties), 0, NULL},
    {"_state", T_OBJECT_EX, offsetof(BarrierObject, state), 0, NULL},
    {"_count", T_OBJECT_EX, offsetof(BarrierObject, count), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(barrier_doc, "Barrier(parties)\n--\n\n"
"asyncio.Barrier in C: tasks wait until there are as many of them as parties.");

static PyType_Slot barrier_slots[] = {
    {Py_tp_doc, (void *)barrier_doc},
    {Py_tp_new, primitive_new},
    {Py_tp_init, barrier_init_guarded},
    {Py_tp_members, barrier_members},
    {0, NULL},
};

static PyType_Spec barrier_spec = {
    .name = "fastaio.Barrier",
    .basicsize = sizeof(BarrierObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HEAPTYPE,
    .slots = barrier_slots,
};

int
barrier_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    return primitive_add_class(module, &st->primitives->Barrier, &barrier_spec, coroutines);
}
