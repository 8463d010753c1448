/* as_completed.c: as_completed(). Up to 3.12 it is a generator, and asyncio's own. */
#include "primitives/as_completed.h"

#include "base/args.h"
#include "base/asyncio_versions.h"
#include "base/deque.h"
#include "base/error.h"
#include "base/guard.h"
#include "base/traits.h"
#include "primitives/children.h"
#include "primitives/op.h"
#include "primitives/running.h"
#include "primitives/waiter.h"
#include "task/done_callback.h"
#include "task/future_callbacks.h"

#if AS_COMPLETED_IS_ITERATOR

/* asyncio's _AsCompletedIterator. `done` and `getters` stand for the queue that asyncio has there. */
typedef struct {
    PyObject_HEAD
    fastaio_state *st;
    PyObject *todo;     /* a set: the futures whose callback has not run */
    PyObject *done;     /* a deque: the futures that are done; None for each that was not in time */
    PyObject *getters;  /* a deque: the futures of those that wait for `done` */
    PyObject *loop;     /* the loop of the first wait; or NULL */
    PyObject *timer;    /* the handle of the timeout; or NULL */
    PyObject *callback; /* the DoneCallback, while `todo` has futures; or NULL */
    Py_ssize_t left;    /* iterations that are left */
} IteratorObject;

/* ---- the queue ------------------------------------------------------------------------------- */

/* Wake the first getter that is not done. Return 0, or -1 with an exception. */
static int
wake_getter(IteratorObject *self)
{
    PyObject *getters = self->getters;
    int woken = 0, some;
    while (woken == 0 && (some = deque_is_true(self->st, getters)) > 0) {
        PyObject *getter = deque_popleft(self->st, getters);
        woken = getter ? waiter_wake(self->st, getter, Py_None) : -1;
        Py_XDECREF(getter);
    }
    return woken < 0 ? -1 : 0;
}

/* Add a future, or None, to what is done. Return 0, or -1 with an exception. */
static int
put(IteratorObject *self, PyObject *item)
{
    return deque_append(self->st, self->done, item) < 0 ? -1 : wake_getter(self);
}

/* ---- the end of a future --------------------------------------------------------------------- */

static int
future_done_held(DoneCallback *callback, FutureCore *future)
{
    IteratorObject *self = (IteratorObject *)callback->self;
    PyObject *object = future_object(future);
    if (self->todo == NULL || PySet_GET_SIZE(self->todo) == 0) {
        return 1; /* the timeout was first */
    }
    /* The caller has a reference to the future: the set's is not the last one. */
    if (PySet_Discard(self->todo, object) < 0
        || child_await_ends(future->st, object, callback->extra) < 0 || put(self, object) < 0) {
        return -1;
    }
    if (PySet_GET_SIZE(self->todo) == 0) {
        Py_CLEAR(self->callback);
        if (self->timer != NULL && running_cancel(self->st, self->timer) < 0) {
            return -1;
        }
    }
    return 1;
}

static int
future_done(DoneCallback *callback, FutureCore *future, bool Py_UNUSED(in_context))
{
    int result;
    Py_BEGIN_CRITICAL_SECTION(callback->self);
    result = future_done_held(callback, future);
    Py_END_CRITICAL_SECTION();
    return result;
}

static const DoneCallbackSpec future_done_spec = {"_AsCompletedIterator._handle_completion",
                                                  future_done, NULL};

/* Give up the futures that are not done. `callback`: the iterator's. Return 0, or -1 with an exception. */
static int
give_up(IteratorObject *self, PyObject *callback)
{
    PyObject *futures = PySequence_List(self->todo);
    int result = futures ? PySet_Clear(self->todo) : -1;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(futures); i++) {
        PyObject *future = PyList_GET_ITEM(futures, i);
        if (future_remove_callback(child_core(future), callback) < 0
            || child_await_ends(self->st, future, ((DoneCallback *)callback)->extra) < 0
            || put(self, Py_None) < 0) {
            result = -1;
        }
    }
    Py_XDECREF(futures);
    return result;
}

static PyObject *
iterator_handle_timeout(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    IteratorObject *self = (IteratorObject *)object;
    PyObject *callback = self->callback;
    if (callback == NULL) {
        Py_RETURN_NONE;
    }
    self->callback = NULL;
    int result = give_up(self, callback);
    Py_DECREF(callback);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- waiting for one ------------------------------------------------------------------------- */

/* The uses of an Op's fields: `self` is the iterator, `waiter` the getter that is awaited, or NULL. `count` is 1
   if the coroutine returns the result of the future, 0 if it returns the future. */

/* Return the running loop, to which the iterator belongs from now on: a new reference; NULL with an exception,
   RuntimeError for another loop. */
static PyObject *
loop_of_wait(IteratorObject *self)
{
    PyObject *loop = running_loop(self->st);
    if (loop != NULL && self->loop != NULL && self->loop != loop) {
        Py_DECREF(loop);
        PyErr_Format(PyExc_RuntimeError, "%R is bound to a different event loop", self);
        return NULL;
    }
    if (loop != NULL && self->loop == NULL) {
        self->loop = Py_NewRef(loop);
    }
    return loop;
}

/* Give an iteration that has failed to the next one, if the running asyncio does. */
static void
count_again(Op *op)
{
    if (op->st->primitives->as_completed_counts_again) {
        ((IteratorObject *)op->self)->left++;
    }
}

/* Take the next future, or wait for it. */
static Outcome
take_or_wait(Op *op, PyObject **result)
{
    IteratorObject *self = (IteratorObject *)op->self;
    if (deque_is_true(op->st, self->done) > 0) {
        PyObject *future = deque_popleft(op->st, self->done);
        if (future == Py_None) {
            Py_CLEAR(future);
            PyErr_SetNone(PyExc_TimeoutError);
        }
        if (future != NULL && op->count == 1) {
            FutureCore *core = future_core(op->st, future);
            PyObject *value = core ? future_get_result(core)
                                   : PyObject_CallMethodNoArgs(future, op->st->str_result);
            Py_SETREF(future, value);
        }
        *result = future;
        return future ? DONE : FAILED;
    }
    PyObject *loop = loop_of_wait(self);
    PyObject *getter = loop ? waiter_new(op->st, loop) : NULL;
    Py_XDECREF(loop);
    Py_XSETREF(op->waiter, getter);
    if (getter == NULL || deque_append(op->st, self->getters, getter) < 0) {
        count_again(op);
        return FAILED;
    }
    return op_await(op, getter);
}

/* Leave the line of getters, and pass a wake-up on. Return 0, or -1 with an exception. */
static int
leave_getters(Op *op)
{
    IteratorObject *self = (IteratorObject *)op->self;
    if (drop_result(PyObject_CallMethodNoArgs(op->waiter, op->st->str_cancel)) < 0) {
        return -1;
    }
    if (deque_remove(op->st, self->getters, op->waiter) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError)) {
            return -1;
        }
        PyErr_Clear(); /* the wake-up has taken it out */
    }
    if (deque_is_true(op->st, self->done) <= 0) {
        return 0;
    }
    int cancelled = waiter_is_cancelled(op->st, op->waiter);
    return cancelled < 0 || (cancelled == 0 && wake_getter(self) < 0) ? -1 : 0;
}

/* Go on behind a wait. */
static Outcome
resume_wait(Op *op, PyObject *value, PyObject **result)
{
    if (value != NULL) {
        Py_DECREF(value);
        return take_or_wait(op, result);
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *outer = begin_handling(exc);
    int failed = leave_getters(op) < 0;
    end_handling(outer);
    count_again(op);
    if (failed) {
        Py_DECREF(exc);
    }
    else {
        PyErr_SetRaisedException(exc);
    }
    return FAILED;
}

static const OpSpec one_spec = {OP_KIND("_AsCompletedIterator"), "_wait_for_one", take_or_wait,
                                resume_wait};

static PyObject *
iterator_next(PyObject *object)
{
    IteratorObject *self = (IteratorObject *)object;
    Op *op = NULL;
    Py_BEGIN_CRITICAL_SECTION(object);
    if (self->left > 0 && (op = op_new(self->st, &one_spec, object)) != NULL) {
        self->left--;
        op->count = 1;
    }
    Py_END_CRITICAL_SECTION();
    return (PyObject *)op;
}

static Outcome
start_anext(Op *op, PyObject **result)
{
    IteratorObject *self = (IteratorObject *)op->self;
    if (self->left <= 0) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return FAILED;
    }
    self->left--;
    return take_or_wait(op, result);
}

static const OpSpec anext_spec = {OP_KIND("_AsCompletedIterator"), "__anext__", start_anext,
                                  resume_wait};

static PyObject *
iterator_anext(PyObject *object)
{
    return (PyObject *)op_new(((IteratorObject *)object)->st, &anext_spec, object);
}

/* ---- making ---------------------------------------------------------------------------------- */

/* Return a new set of the futures of native children, which are a list, tuple or set; NULL with an exception. As
   in asyncio, the order of new tasks is that of a set. */
static PyObject *
futures_of(LoopObject *loop, PyObject *children)
{
    PyObject *once = PySet_New(children), *futures = once ? PySet_New(NULL) : NULL, *child;
    PyObject *iterator = futures ? PyObject_GetIter(once) : NULL;
    int failed = iterator == NULL;
    while (!failed && (child = PyIter_Next(iterator)) != NULL) {
        PyObject *future = child_ensure(loop, child);
        failed = future == NULL || PySet_Add(futures, future) < 0;
        Py_XDECREF(future);
        Py_DECREF(child);
    }
    Py_XDECREF(iterator);
    Py_XDECREF(once);
    if (failed || PyErr_Occurred()) {
        Py_CLEAR(futures);
    }
    return futures;
}

/* Add the callback to all futures. Return 0, or -1 with an exception. */
static int
add_callbacks(IteratorObject *self, LoopObject *loop)
{
    PyObject *awaiter, *context, *futures, *callback = NULL;
    if (children_awaiter(loop, &awaiter) < 0) {
        return -1;
    }
    context = PyContext_CopyCurrent();
    futures = context ? PySequence_List(self->todo) : NULL;
    if (futures != NULL) {
        callback = (PyObject *)done_callback_new(self->st, &future_done_spec, (PyObject *)self,
                                                 awaiter);
    }
    int result = callback ? 0 : -1;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(futures); i++) {
        PyObject *future = PyList_GET_ITEM(futures, i);
        if (future_add_callback(child_core(future), callback, context) < 0
            || child_await_begins(self->st, future, awaiter) < 0) {
            result = -1;
        }
    }
    if (result == 0 && PySet_GET_SIZE(self->todo) > 0) {
        Py_XSETREF(self->callback, Py_NewRef(callback));
    }
    Py_XDECREF(callback);
    Py_XDECREF(futures);
    Py_XDECREF(context);
    Py_XDECREF(awaiter);
    return result;
}

/* Have the timeout handled. Return 0, or -1 with an exception. */
static int
start_timer(IteratorObject *self, LoopObject *loop, PyObject *timeout)
{
    if (timeout == Py_None || PySet_GET_SIZE(self->todo) == 0) {
        return 0;
    }
    PyObject *method = PyObject_GetAttrString((PyObject *)self, "_handle_timeout");
    if (method != NULL) {
        self->timer = running_call_later(self->st, (PyObject *)loop, timeout, method, NULL, 0);
        Py_DECREF(method);
    }
    return self->timer ? 0 : -1;
}

/* Do as_completed() for native children. Return the iterator, or NULL with an exception. */
static PyObject *
iterate_native(LoopObject *loop, PyObject *children, PyObject *timeout)
{
    fastaio_state *st = loop->st;
    PyTypeObject *type = st->primitives->AsCompletedType;
    IteratorObject *self = (IteratorObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->st = st;
    if ((self->done = deque_new(st)) == NULL || (self->getters = deque_new(st)) == NULL
        || (self->todo = futures_of(loop, children)) == NULL || add_callbacks(self, loop) < 0
        || start_timer(self, loop, timeout) < 0) {
        Py_CLEAR(self);
        return NULL;
    }
    self->left = PySet_GET_SIZE(self->todo);
    return (PyObject *)self;
}

/* Return true for a list, tuple or set that has only native children. */
static bool
are_native(LoopObject *loop, PyObject *children)
{
    if (PyAnySet_CheckExact(children)) {
        PyObject *item, *iterator = PyObject_GetIter(children);
        bool native = iterator != NULL;
        while (native && (item = PyIter_Next(iterator)) != NULL) {
            native = child_is_native(loop, item);
            Py_DECREF(item);
        }
        Py_XDECREF(iterator);
        PyErr_Clear(); /* asyncio's own function raises it again */
        return native;
    }
    if (!PyList_CheckExact(children) && !PyTuple_CheckExact(children)) {
        return false;
    }
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(children); i++) {
        if (!child_is_native(loop, PySequence_Fast_GET_ITEM(children, i))) {
            return false;
        }
    }
    return true;
}

PyDoc_STRVAR(as_completed_doc, "as_completed(fs, *, timeout=None)\n--\n\n"
"Iterate over awaitables in the order in which they end.\n\n"
"`async for` gives the futures; `for` gives coroutines, each with the outcome of the next one.\n"
"timeout: in seconds, TimeoutError when it is over; None: no limit. asyncio.as_completed() in C.");

static PyObject *
as_completed(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    fastaio_state *st = state_of_module(module);
    PyObject *fs = count > 0 ? args[0] : NULL, *timeout = NULL;
    const NamedArgument known[] = {{"fs", &fs}, {"timeout", &timeout}, {NULL, NULL}};
    int found = 0;
    LoopObject *loop = NULL;
    if (parse_keywords("as_completed", known, keywords, args + count) < 0) {
        PyErr_Clear(); /* asyncio's own function raises */
        fs = NULL;
    }
    timeout = timeout ? timeout : Py_None;
    if (count <= 1 && fs != NULL
        && (timeout == Py_None || PyFloat_CheckExact(timeout) || PyLong_CheckExact(timeout))) {
        found = children_loop(st, &loop);
    }
    if (found < 0) {
        return NULL;
    }
    PyObject *result =
        found && are_native(loop, fs)
            ? iterate_native(loop, fs, timeout)
            : PyObject_Vectorcall(st->primitives->asyncio_as_completed, args, count, keywords);
    Py_XDECREF(loop);
    return result;
}

/* ---- the type -------------------------------------------------------------------------------- */

static int
iterator_traverse(PyObject *object, visitproc visit, void *arg)
{
    IteratorObject *self = (IteratorObject *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->todo);
    Py_VISIT(self->done);
    Py_VISIT(self->getters);
    Py_VISIT(self->loop);
    Py_VISIT(self->timer);
    Py_VISIT(self->callback);
    return 0;
}

/* `done` and `getters` stay: a coroutine that waits uses them, and neither is part of a cycle without one that
   is cleared here or in the coroutine. */
static int
iterator_clear(PyObject *object)
{
    IteratorObject *self = (IteratorObject *)object;
    Py_CLEAR(self->loop);
    Py_CLEAR(self->timer);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->todo);
    return 0;
}

static void
iterator_dealloc(PyObject *object)
{
    IteratorObject *self = (IteratorObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    iterator_clear(object);
    Py_CLEAR(self->done);
    Py_CLEAR(self->getters);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyMethodDef iterator_methods[] = {
    {"_handle_timeout", iterator_handle_timeout, METH_NOARGS,
     PyDoc_STR("_handle_timeout($self, /)\n--\n\nGive up the futures that are not done.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot iterator_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("What as_completed() returns: an iterator of both kinds.")},
    {Py_tp_traverse, iterator_traverse},
    {Py_tp_clear, iterator_clear},
    {Py_tp_dealloc, iterator_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterator_next},
    {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, iterator_anext},
    {Py_tp_methods, iterator_methods},
    {0, NULL},
};

static PyType_Spec iterator_spec = {
    .name = "fastaio._AsCompletedIterator",
    .basicsize = sizeof(IteratorObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = iterator_slots,
};

static PyMethodDef functions[] = {
    {"as_completed", KEYWORDS(as_completed), METH_FASTCALL | METH_KEYWORDS, as_completed_doc},
    {NULL, NULL, 0, NULL},
};

/* Return 1 if a wait that is cancelled leaves its iteration to the next one, as in newer releases of asyncio; 0,
   or -1 with an exception. */
static int
counts_again(void)
{
    PyObject *type = state_import("asyncio.tasks", "_AsCompletedIterator");
    PyObject *names = type ? function_names(type, "_wait_for_one") : NULL;
    int found = names ? has_name(names, "_todo_left") : -1;
    Py_XDECREF(type);
    Py_XDECREF(names);
    return found;
}

static const GuardRules rules = {0};

int
as_completed_init(PyObject *module)
{
    Primitives *primitives = state_of_module(module)->primitives;
    int again = counts_again();
    if (again < 0) {
        return -1;
    }
    primitives->as_completed_counts_again = again;
    primitives->AsCompletedType = state_add_type(module, &iterator_spec, NULL);
    if (primitives->AsCompletedType == NULL
        || guard_type(state_of_module(module), primitives->AsCompletedType, &rules) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, functions);
}

#else

int
as_completed_init(PyObject *module)
{
    return PyModule_AddObjectRef(module, "as_completed",
                                 state_of_module(module)->primitives->asyncio_as_completed);
}

#endif
