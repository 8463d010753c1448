/* queue_type.c: the coroutines of queues, and the types Queue, PriorityQueue and LifoQueue. shutdown(),
 * __repr__() and the property `maxsize` are asyncio's own.
 */
#include "primitives/queue_type.h"

#include "base/args.h"
#include "base/asyncio_versions.h"
#include "primitives/counter.h"
#include "primitives/event.h"
#include "primitives/line.h"
#include "primitives/queue.h"
#include "primitives/queue_items.h"
#include "primitives/waiter.h"

/* What put() and get() wait for. */
typedef struct {
    int (*must_wait)(fastaio_state *st, PyObject *self); /* full() or empty() */
    size_t waiters;                                      /* the offset of the deque in a QueueObject */
    const char *name;
} Side;

static const Side putting = {queue_is_full, offsetof(QueueObject, putters), "_putters"};
static const Side getting = {queue_is_empty, offsetof(QueueObject, getters), "_getters"};

static PyObject **
waiters_of(const Side *side, PyObject *self)
{
    return (PyObject **)((char *)self + side->waiters);
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Wait if the queue is full or empty. Return WAIT, DONE if there is nothing to wait for, or FAILED with an
   exception. */
static Outcome
wait_for_side(Op *op, const Side *side)
{
    int waits = side->must_wait(op->st, op->self);
    int ended = waits > 0 ? queue_is_shutdown(op->self) : 0;
    if (ended > 0 && side == &getting) {
        ended = side->must_wait(op->st, op->self);
    }
    if (ended > 0) {
        queue_raise_shutdown(op->st);
    }
    if (waits < 0 || ended != 0) {
        return FAILED;
    }
    return waits ? line_join(op, waiters_of(side, op->self), side->name) : DONE;
}

/* Take the waiter out of the deque, unless it has been taken out already. Return 0, or -1 with an exception. */
static int
leave(Op *op, const Side *side)
{
    if (drop_result(PyObject_CallMethodNoArgs(op->waiter, op->st->str_cancel)) < 0) {
        return -1;
    }
    if (line_leave(op, waiters_of(side, op->self), side->name) == 0) {
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_ValueError)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

/* Wake the next waiter if this one was woken and does not take its turn. Return 0, or -1 with an exception. */
static int
pass_on(Op *op, const Side *side)
{
    int waits = side->must_wait(op->st, op->self);
    if (waits != 0) {
        return waits < 0 ? -1 : 0;
    }
    int cancelled = waiter_is_cancelled(op->st, op->waiter);
    if (cancelled != 0) {
        return cancelled < 0 ? -1 : 0;
    }
    return queue_wake_next(op->st, op->self, waiters_of(side, op->self), side->name);
}

/* End a wait with the raised exception. */
static Outcome
fail_wait(Op *op, const Side *side)
{
    Cleanup cleanup = cleanup_begin(NULL);
    cleanup_end(&cleanup, leave(op, side) < 0 ? -1 : pass_on(op, side));
    return FAILED;
}

/* ---- put() and get() ------------------------------------------------------------------------- */

static Outcome
start_put(Op *op, PyObject **result)
{
    Outcome outcome = wait_for_side(op, &putting);
    if (outcome == DONE) {
        *result = queue_put_into_room(op->st, op->self, op->saved);
        return *result ? DONE : FAILED;
    }
    return outcome;
}

static Outcome
resume_put(Op *op, PyObject *value, PyObject **result)
{
    if (value == NULL) {
        return fail_wait(op, &putting);
    }
    Py_DECREF(value);
    return start_put(op, result);
}

static const OpSpec put_spec = {OP_KIND("Queue"), "put", start_put, resume_put};

static PyObject *
queue_put(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
          PyObject *keywords)
{
    PyObject *item = only_argument("put", "item", args, count, keywords);
    Op *op = item ? op_new(st, &put_spec, self) : NULL;
    if (op != NULL) {
        op->saved = Py_NewRef(item);
    }
    return (PyObject *)op;
}

static Outcome
start_get(Op *op, PyObject **result)
{
    Outcome outcome = wait_for_side(op, &getting);
    if (outcome == DONE) {
        *result = queue_get_present(op->st, op->self);
        return *result ? DONE : FAILED;
    }
    return outcome;
}

static Outcome
resume_get(Op *op, PyObject *value, PyObject **result)
{
    if (value == NULL) {
        return fail_wait(op, &getting);
    }
    Py_DECREF(value);
    return start_get(op, result);
}

static const OpSpec get_spec = {OP_KIND("Queue"), "get", start_get, resume_get};

static PyObject *
queue_get(fastaio_state *st, PyObject *self, PyObject *const *Py_UNUSED(args), Py_ssize_t count,
          PyObject *keywords)
{
    return op_without_arguments(st, &get_spec, self, count, keywords);
}

/* ---- join() ---------------------------------------------------------------------------------- */

static Outcome
start_join(Op *op, PyObject **result)
{
    const QueueObject *queue = (QueueObject *)op->self;
    int waits = counter_compare_field(op->self, queue->unfinished, "_unfinished_tasks", 0, Py_GT);
    if (waits <= 0) {
        *result = waits < 0 ? NULL : Py_NewRef(Py_None);
        return waits < 0 ? FAILED : DONE;
    }
    PyObject *finished = Py_XNewRef(primitive_field(op->self, queue->finished, "_finished"));
    PyObject *wait = finished ? PyObject_CallMethodNoArgs(finished, op->st->str_wait) : NULL;
    Outcome outcome = wait ? op_await(op, wait) : FAILED;
    Py_XDECREF(finished);
    Py_XDECREF(wait);
    return outcome;
}

static Outcome
resume_join(Op *Py_UNUSED(op), PyObject *value, PyObject **result)
{
    Py_XDECREF(value);
    *result = value ? Py_NewRef(Py_None) : NULL;
    return value ? DONE : FAILED;
}

static const OpSpec join_spec = {OP_KIND("Queue"), "join", start_join, resume_join};

static PyObject *
queue_join(fastaio_state *st, PyObject *self, PyObject *const *Py_UNUSED(args), Py_ssize_t count,
           PyObject *keywords)
{
    return op_without_arguments(st, &join_spec, self, count, keywords);
}

/* ---- the types ------------------------------------------------------------------------------- */

static const CoroutineDef coroutines[] = {
    {"put", queue_put,
     PyDoc_STR("put($self, /, item)\n--\n\n"
               "Put an item into the queue; wait for room if the queue is full.")},
    {"get", queue_get,
     PyDoc_STR("get($self, /)\n--\n\n"
               "Take an item out of the queue, and return it; wait if the queue is empty.")},
    {"join", queue_join,
     PyDoc_STR("join($self, /)\n--\n\n"
               "Wait until task_done() has been called for each item that was put.")},
    {NULL, NULL, NULL},
};

/* Set the fields but _queue and _is_shutdown. Return 0, or -1 with an exception. */
static int
init_fields(fastaio_state *st, QueueObject *queue, PyObject *maxsize)
{
    PyObject *finished = NULL, *putters = NULL, *getters = deque_new(st), *zero = PyLong_FromLong(0);
    int failed = getters == NULL || zero == NULL || (putters = deque_new(st)) == NULL
                 || (finished = PyObject_CallNoArgs((PyObject *)st->primitives->Event.type)) == NULL
                 || event_set(st, finished) < 0;
    if (!failed) {
        primitive_set(&queue->maxsize, maxsize);
        primitive_set(&queue->getters, getters);
        primitive_set(&queue->putters, putters);
        primitive_set(&queue->unfinished, zero);
        primitive_set(&queue->finished, finished);
    }
    Py_XDECREF(getters);
    Py_XDECREF(putters);
    Py_XDECREF(zero);
    Py_XDECREF(finished);
    return failed ? -1 : 0;
}

/* Do Queue.__init__(). Return 0, or -1 with an exception. */
static int
init_queue(fastaio_state *st, PyObject *self, PyObject *maxsize)
{
    if (init_fields(st, (QueueObject *)self, maxsize) < 0) {
        return -1;
    }
    QueueKind kind = queue_kind(st, self);
    int made = kind != QUEUE_OTHER
                   ? queue_make_items(st, self, kind)
                   : drop_result(PyObject_CallMethodOneArg(self, st->str__init, maxsize));
#if QUEUE_HAS_SHUTDOWN
    if (made == 0) {
        primitive_set(&((QueueObject *)self)->is_shutdown, Py_False);
    }
#endif
    return made;
}

static int
queue_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    fastaio_state *st = primitive_state(self);
    PyObject *zero = st ? PyLong_FromLong(0) : NULL;
    if (zero == NULL) {
        return -1;
    }
    PyObject *maxsize = primitive_init_argument(args, kwargs, "maxsize", zero);
    int result = maxsize ? init_queue(st, self, maxsize)
                         : primitive_base_init(&st->primitives->Queue, self, args, kwargs);
    Py_DECREF(zero);
    return result;
}

PRIMITIVE_INIT(queue_init)

static PyMemberDef queue_members[] = {
    BOUND_MEMBERS,
    {"_maxsize", T_OBJECT_EX, offsetof(QueueObject, maxsize), 0, NULL},
    {"_getters", T_OBJECT_EX, offsetof(QueueObject, getters), 0, NULL},
    {"_putters", T_OBJECT_EX, offsetof(QueueObject, putters), 0, NULL},
    {"_unfinished_tasks", T_OBJECT_EX, offsetof(QueueObject, unfinished), 0, NULL},
    {"_finished", T_OBJECT_EX, offsetof(QueueObject, finished), 0, NULL},
    {"_queue", T_OBJECT_EX, offsetof(QueueObject, queue), 0, NULL},
#if QUEUE_HAS_SHUTDOWN
    {"_is_shutdown", T_OBJECT_EX, offsetof(QueueObject, is_shutdown), 0, NULL},
#endif
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef priority_methods[] = {
    QUEUE_ITEM_METHODS(priority),
    {NULL, NULL, 0, NULL},
};

static PyMethodDef lifo_methods[] = {
    QUEUE_ITEM_METHODS(lifo),
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(queue_doc, "Queue(maxsize=0)\n--\n\n"
"asyncio.Queue in C: items from tasks to tasks, first in, first out. `maxsize`: the largest number of\n"
"items in the queue; 0 or less: no limit.");
PyDoc_STRVAR(priority_doc, "PriorityQueue(maxsize=0)\n--\n\n"
"asyncio.PriorityQueue in C: a queue that gives the smallest item first.");
PyDoc_STRVAR(lifo_doc, "LifoQueue(maxsize=0)\n--\n\n"
"asyncio.LifoQueue in C: a queue that gives the newest item first.");

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, (void *)queue_doc},
    {Py_tp_new, primitive_new},
    {Py_tp_init, queue_init_guarded},
    {Py_tp_members, queue_members},
    {Py_tp_methods, queue_methods},
    {0, NULL},
};

static PyType_Slot priority_slots[] = {
    {Py_tp_doc, (void *)priority_doc},
    {Py_tp_methods, priority_methods},
    {0, NULL},
};

static PyType_Slot lifo_slots[] = {
    {Py_tp_doc, (void *)lifo_doc},
    {Py_tp_methods, lifo_methods},
    {0, NULL},
};

#define QUEUE_SPEC(name_, slots_)                                                                  \
    {.name = "fastaio." name_, .basicsize = sizeof(QueueObject),                                   \
     .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HEAPTYPE, .slots = slots_}

static PyType_Spec queue_spec = QUEUE_SPEC("Queue", queue_slots);
static PyType_Spec priority_spec = QUEUE_SPEC("PriorityQueue", priority_slots);
static PyType_Spec lifo_spec = QUEUE_SPEC("LifoQueue", lifo_slots);

int
queue_types_init(PyObject *module)
{
    Primitives *primitives = state_of_module(module)->primitives;
    PrimitiveClass *queue = &primitives->Queue;
    if (primitive_add_class(module, queue, &queue_spec, coroutines) < 0) {
        return -1;
    }
    return primitive_add_subclass(module, &primitives->PriorityQueue, &priority_spec, queue) < 0
                   || primitive_add_subclass(module, &primitives->LifoQueue, &lifo_spec, queue) < 0
               ? -1
               : 0;
}
