/* wait.c: wait(). */
#include "primitives/wait.h"

#include "base/args.h"
#include "base/error.h"
#include "primitives/children.h"
#include "primitives/function.h"
#include "primitives/op.h"
#include "primitives/running.h"
#include "primitives/waiter.h"
#include "task/done_callback.h"
#include "task/future_callbacks.h"

/* The uses of an Op's fields. Before the start: `self` is `fs`, `extra` the timeout, `saved` return_when.
   Later: `self` is the set of futures, `waiter` the future that ends the wait, `extra` the timer's handle,
   `saved` the callback of the futures, `number` how many of these callbacks have not run, `count` how many
   of the futures are pending, `stage` a Stage. */

/* What ends the wait; LEFT_TO_ASYNCIO: the coroutine awaits asyncio's own. */
typedef enum { LEFT_TO_ASYNCIO, ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION } Stage;

/* ---- the end of a future --------------------------------------------------------------------- */

/* Return true if the end of a future ends the wait. */
static bool
ends_wait(const Op *op, FutureCore *future)
{
    if (op->number <= 0 || op->stage == FIRST_COMPLETED) {
        return true;
    }
    return op->stage == FIRST_EXCEPTION && future_state(future) != FUTURE_CANCELLED
           && child_exception(future) != NULL;
}

/* End the wait if it has not ended. Return 0, or -1 with an exception. */
static int
end_wait(Op *op)
{
    if (op->extra != NULL) {
        PyObject *timer = Py_NewRef(op->extra);
        int cancelled = running_cancel(op->st, timer);
        Py_DECREF(timer);
        if (cancelled < 0) {
            return -1;
        }
    }
    if (op->waiter == NULL) {
        return 0; /* the coroutine has ended */
    }
    PyObject *waiter = Py_NewRef(op->waiter);
    int woken = waiter_wake(op->st, waiter, Py_None);
    Py_DECREF(waiter);
    return woken < 0 ? -1 : 0;
}

static int
future_done(DoneCallback *callback, FutureCore *future, bool Py_UNUSED(in_context))
{
    Op *op = (Op *)callback->self;
    int result;
    Py_BEGIN_CRITICAL_SECTION(op);
    op->number -= 1;
    result = ends_wait(op, future) ? end_wait(op) : 0;
    Py_END_CRITICAL_SECTION();
    if (result < 0) {
        return -1;
    }
    return child_await_ends(future->st, future_object(future), callback->extra) < 0 ? -1 : 1;
}

/* A future that does not end the wait has only to be counted. The wait ends a turn after the last future is
   done, so the callback of that must be queued. */
static bool
absorb_future_held(DoneCallback *callback, Op *op, FutureCore *future)
{
    if (--op->count == 0 || op->number <= 1 || op->stage == FIRST_COMPLETED
        || (op->stage == FIRST_EXCEPTION && future_has_failed(future))) {
        return false;
    }
    if (child_await_ends(future->st, future_object(future), callback->extra) < 0) {
        PyErr_Clear(); /* the callback will raise it */
        return false;
    }
    op->number -= 1;
    return true;
}

static bool
absorb_future(DoneCallback *callback, FutureCore *future)
{
    Op *op = (Op *)callback->self;
    bool absorbed;
    if (op == NULL) {
        return false;
    }
    Py_BEGIN_CRITICAL_SECTION(op);
    absorbed = absorb_future_held(callback, op, future);
    Py_END_CRITICAL_SECTION();
    return absorbed;
}

static const DoneCallbackSpec future_done_spec = {"_wait.<locals>._on_completion", future_done,
                                                  absorb_future};

/* ---- beginning ------------------------------------------------------------------------------- */

/* Return what the call's return_when means; LEFT_TO_ASYNCIO for an unknown object. */
static Stage
stage_of(PyObject *return_when)
{
    static const char *const names[] = {NULL, "ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"};
    if (return_when == NULL) {
        return ALL_COMPLETED;
    }
    for (Stage stage = ALL_COMPLETED; stage <= FIRST_EXCEPTION; stage++) {
        if (PyUnicode_CheckExact(return_when)
            && PyUnicode_CompareWithASCIIString(return_when, names[stage]) == 0) {
            return stage;
        }
    }
    return LEFT_TO_ASYNCIO;
}

static bool
is_plain_timeout(PyObject *timeout)
{
    return timeout == NULL || timeout == Py_None || PyFloat_CheckExact(timeout)
           || PyLong_CheckExact(timeout);
}

/* Return true if all items of a list or tuple are native futures of the loop. */
static bool
items_are_native(LoopObject *loop, PyObject *sequence)
{
    PyObject **items = PySequence_Fast_ITEMS(sequence);
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence); i++) {
        if (!child_is_future(loop, items[i])) {
            return false;
        }
    }
    return true;
}

/* Set *fs to a new set of the futures, if all are native and there are some; else to NULL. Return 0, or -1 with
   an exception. */
static int
make_set(LoopObject *loop, PyObject *given, PyObject **fs)
{
    *fs = NULL;
    bool is_set = PyAnySet_CheckExact(given);
    if (!is_set
        && !((PyList_CheckExact(given) || PyTuple_CheckExact(given))
             && items_are_native(loop, given))) {
        return 0;
    }
    PyObject *futures = PySet_New(given);
    if (futures == NULL) {
        return -1;
    }
    int native = PySet_GET_SIZE(futures) > 0;
    if (is_set && native) {
        PyObject *items = PySequence_List(futures);
        native = items ? items_are_native(loop, items) : -1;
        Py_XDECREF(items);
    }
    if (native <= 0) {
        Py_DECREF(futures);
        return native;
    }
    *fs = futures;
    return 0;
}

/* Await asyncio's own wait(). */
static Outcome
leave_to_asyncio(Op *op)
{
    PyObject *timeout = op->extra ? op->extra : Py_None;
    PyObject *kwargs = PyDict_New(), *args = PyTuple_Pack(1, op->self), *coro = NULL;
    if (kwargs != NULL && args != NULL && PyDict_SetItemString(kwargs, "timeout", timeout) == 0
        && (op->saved == NULL || PyDict_SetItemString(kwargs, "return_when", op->saved) == 0)) {
        coro = PyObject_Call(op->st->primitives->asyncio_wait, args, kwargs);
    }
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    Outcome outcome = coro ? op_await(op, coro) : FAILED;
    Py_XDECREF(coro);
    Py_CLEAR(op->extra);
    Py_CLEAR(op->saved);
    return outcome;
}

/* Add the callback to all futures. Return 0, or -1 with an exception. */
static int
add_callbacks(Op *op, PyObject *context)
{
    DoneCallback *callback = (DoneCallback *)op->saved;
    PyObject *iterator = PyObject_GetIter(op->self), *future;
    int result = iterator ? 0 : -1;
    while (result == 0 && (future = PyIter_Next(iterator)) != NULL) {
        FutureCore *core = child_core(future);
        result = future_add_callback(core, op->saved, context);
        if (result == 0) {
            result = child_await_begins(core->st, future, callback->extra);
        }
        Py_DECREF(future);
    }
    Py_XDECREF(iterator);
    return result < 0 || PyErr_Occurred() ? -1 : 0;
}

/* Begin to wait for the set of native futures, which is taken over. */
static Outcome
wait_native(Op *op, LoopObject *loop, PyObject *fs, PyObject *timeout)
{
    PyObject *awaiter = NULL, *context = NULL;
    Outcome outcome = FAILED;
    Py_SETREF(op->self, fs);
    op->number = (double)PySet_GET_SIZE(fs);
    op->count = (uint32_t)PySet_GET_SIZE(fs);
    op->waiter = waiter_new(op->st, (PyObject *)loop);
    if (op->waiter == NULL) {
        return FAILED;
    }
    if (timeout != NULL && timeout != Py_None) {
        op->extra = running_call_later(op->st, (PyObject *)loop, timeout,
                                       op->st->primitives->asyncio__release_waiter, &op->waiter, 1);
        if (op->extra == NULL) {
            return FAILED;
        }
    }
    if (children_awaiter(loop, &awaiter) == 0 && (context = PyContext_CopyCurrent()) != NULL) {
        op->saved = (PyObject *)done_callback_new(op->st, &future_done_spec, (PyObject *)op, awaiter);
        if (op->saved != NULL && add_callbacks(op, context) == 0) {
            outcome = op_await(op, op->waiter);
        }
    }
    Py_XDECREF(awaiter);
    Py_XDECREF(context);
    return outcome;
}

static Outcome
start_wait(Op *op, PyObject **Py_UNUSED(result))
{
    LoopObject *loop = NULL;
    PyObject *fs = NULL;
    int failed = 0;
    op->stage = is_plain_timeout(op->extra) ? stage_of(op->saved) : LEFT_TO_ASYNCIO;
    if (op->stage != LEFT_TO_ASYNCIO) {
        int found = children_loop(op->st, &loop);
        failed = found < 0 || (found > 0 && make_set(loop, op->self, &fs) < 0);
    }
    Outcome outcome = FAILED;
    if (!failed && fs == NULL) {
        op->stage = LEFT_TO_ASYNCIO;
        outcome = leave_to_asyncio(op);
    }
    else if (!failed) {
        PyObject *timeout = op->extra;
        op->extra = NULL;
        Py_CLEAR(op->saved);
        outcome = wait_native(op, loop, fs, timeout);
        Py_XDECREF(timeout);
    }
    Py_XDECREF(loop);
    return outcome;
}

/* ---- ending ---------------------------------------------------------------------------------- */

/* Take the callback from all futures, and cancel the timer. Return 0, or -1 with an exception. */
static int
remove_callbacks(Op *op)
{
    PyObject *awaiter = ((DoneCallback *)op->saved)->extra;
    if (op->extra != NULL && running_cancel(op->st, op->extra) < 0) {
        return -1;
    }
    PyObject *iterator = PyObject_GetIter(op->self), *future;
    int result = iterator ? 0 : -1;
    while (result == 0 && (future = PyIter_Next(iterator)) != NULL) {
        if (future_remove_callback(child_core(future), op->saved) < 0
            || child_await_ends(op->st, future, awaiter) < 0) {
            result = -1;
        }
        Py_DECREF(future);
    }
    Py_XDECREF(iterator);
    return result < 0 || PyErr_Occurred() ? -1 : 0;
}

/* Return a new tuple of the sets of the done and the pending futures; NULL with an exception. */
static PyObject *
sort_futures(Op *op)
{
    PyObject *done = PySet_New(NULL), *pending = PySet_New(NULL), *result = NULL;
    PyObject *iterator = PyObject_GetIter(op->self), *future;
    int failed = done == NULL || pending == NULL || iterator == NULL;
    while (!failed && (future = PyIter_Next(iterator)) != NULL) {
        failed = PySet_Add(future_is_pending(child_core(future)) ? pending : done, future) < 0;
        Py_DECREF(future);
    }
    if (!failed && !PyErr_Occurred()) {
        result = PyTuple_Pack(2, done, pending);
    }
    Py_XDECREF(iterator);
    Py_XDECREF(done);
    Py_XDECREF(pending);
    return result;
}

static Outcome
resume_wait(Op *op, PyObject *value, PyObject **result)
{
    if (op->stage == LEFT_TO_ASYNCIO) {
        *result = value;
        return value ? DONE : FAILED;
    }
    PyObject *exc = value ? NULL : PyErr_GetRaisedException();
    PyObject *outer = exc ? begin_handling(exc) : NULL;
    int failed = remove_callbacks(op) < 0;
    if (exc != NULL) {
        end_handling(outer);
    }
    Py_XDECREF(value);
    if (failed) {
        Py_XDECREF(exc);
        return FAILED;
    }
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
        return FAILED;
    }
    *result = sort_futures(op);
    return *result ? DONE : FAILED;
}

static const OpSpec wait_spec = {OP_KIND(NULL), "wait", start_wait, resume_wait, true};

static PyObject *
wait_call(fastaio_state *st, PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count,
          PyObject *keywords)
{
    PyObject *fs = count > 0 ? args[0] : NULL, *timeout = NULL, *return_when = NULL;
    const NamedArgument known[] = {
        {"fs", &fs}, {"timeout", &timeout}, {"return_when", &return_when}, {NULL, NULL}};
    if (count > 1 || parse_keywords("wait", known, keywords, args + count) < 0 || fs == NULL) {
        PyErr_Clear(); /* asyncio's own raises */
        return PyObject_Vectorcall(st->primitives->asyncio_wait, args, count, keywords);
    }
    Op *op = op_new(st, &wait_spec, fs);
    if (op != NULL) {
        op->extra = Py_XNewRef(timeout);
        op->saved = Py_XNewRef(return_when);
    }
    return (PyObject *)op;
}

static const CoroutineDef functions[] = {
    {"wait", wait_call,
     PyDoc_STR("wait(fs, *, timeout=None, return_when='ALL_COMPLETED')\n--\n\n"
               "Wait for futures and tasks. Return two sets, of those that are done and of those that\n"
               "are pending.\n\n"
               "timeout: in seconds; None: no limit. No error is raised when it is over.\n"
               "return_when: ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION of asyncio.\n"
               "asyncio.wait() in C.")},
    {NULL, NULL, NULL},
};

int
wait_init(PyObject *module)
{
    return coroutine_functions_add(module, functions);
}
