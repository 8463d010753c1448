/* call.c: the methods that schedule a callback: call_soon(), call_later() and their kin; time(). */
#include "loop/loop.h"

#include "loop/handle.h"

/* Check a callback as asyncio's debug mode does. Return 0, or -1 with TypeError. */
static int
check_callback(LoopObject *loop, PyObject *callback, const char *method)
{
    PyObject *result =
        PyObject_CallMethod((PyObject *)loop, "_check_callback", "Os", callback, method);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* ---- call_soon and its kin ------------------------------------------------------------------- */

/* Queue a handle, with a new reference. Return 0, or -1 with MemoryError; without a GIL also with RuntimeError, if
   another thread has closed the loop meanwhile. */
static int
push_handle(LoopObject *loop, HandleObject *handle)
{
    return loop_push(loop, (ReadyEntry){.kind = READY_HANDLE, .obj = (PyObject *)handle});
}

/* The signature of a call_*() method: (callback, *args), or (time, callback, *args). */
typedef struct {
    const char *method;
    const char *time; /* the name of the time, its first argument; NULL: it has none */
} CallSignature;

#define CLASS "BaseEventLoop." /* as asyncio names its methods */
static const CallSignature sig_call_soon = {CLASS "call_soon", NULL};
static const CallSignature sig_call_soon_threadsafe = {CLASS "call_soon_threadsafe", NULL};
static const CallSignature sig_call_later = {CLASS "call_later", "delay"};
static const CallSignature sig_call_at = {CLASS "call_at", "when"};

/* The arguments of a call, borrowed. */
typedef struct {
    PyObject *time;
    PyObject *callback;
    PyObject *const *args;
    Py_ssize_t arg_count;
    PyObject *context;
} Call;

/* Parse the arguments of a call, given by position or by keyword. Return 0, or -1 with TypeError. */
static int
parse_call(const CallSignature *sig, Call *call, PyObject *const *args, Py_ssize_t count,
           PyObject *keywords)
{
    PyObject *const *values = args + count;
    *call = (Call){0};
    if (sig->time != NULL && count > 0) {
        call->time = *args++;
        count--;
    }
    if (count > 0) {
        call->callback = *args++;
        count--;
    }
    call->args = args;
    call->arg_count = count;
    if (keywords != NULL) {
        const NamedArgument known[] = {{"callback", &call->callback},
                                       {"context", &call->context},
                                       {sig->time, &call->time},
                                       {NULL, NULL}};
        if (parse_keywords(sig->method, known, keywords, values) < 0) {
            return -1;
        }
        if (call->context == Py_None) {
            call->context = NULL;
        }
    }
    if (sig->time != NULL && call->time == NULL) {
        PyErr_Format(PyExc_TypeError,
                     call->callback
                         ? "%s() missing 1 required positional argument: '%s'"
                         : "%s() missing 2 required positional arguments: '%s' and "
                           "'callback'",
                     sig->method, sig->time);
        return -1;
    }
    if (call->callback == NULL) {
        PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: 'callback'",
                     sig->method);
        return -1;
    }
    return 0;
}

/* Return a new handle for a call; NULL with an exception. `method`: the name in messages of debug mode. */
static HandleObject *
make_handle(LoopObject *loop, const char *method, const Call *call, bool check_thread)
{
    if (loop_check_closed(loop) < 0) {
        return NULL;
    }
    if (relaxed_load(&loop->watchdog.debug)
        && ((check_thread && loop_check_thread(loop) < 0)
            || check_callback(loop, call->callback, method) < 0)) {
        return NULL;
    }
    HandleObject *handle = handle_new(loop->st, (PyObject *)loop, call->callback, call->args,
                                      call->arg_count, call->context, call->time != NULL);
    if (handle != NULL && relaxed_load(&loop->watchdog.debug) && handle_keep_source(loop->st, handle) < 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

PyDoc_STRVAR(call_soon_doc, "call_soon($self, callback, *args, context=None)\n--\n\n"
"Call callback(*args) in the next turn of the loop; return a Handle that can cancel it.\n\n"
"context: the contextvars.Context to run it in; None: a copy of the current one.\n"
"Raises RuntimeError if the loop is closed. Not for other threads: call_soon_threadsafe().");

static PyObject *
loop_call_soon_method(LoopObject *loop, PyObject *const *args, Py_ssize_t count,
                      PyObject *keywords)
{
    Call call;
    if (parse_call(&sig_call_soon, &call, args, count, keywords) < 0) {
        return NULL;
    }
    HandleObject *handle = make_handle(loop, "call_soon", &call, true);
    if (handle != NULL && push_handle(loop, handle) < 0) {
        Py_CLEAR(handle);
    }
    return (PyObject *)handle;
}

/* A thread that has queued this many callbacks behind each other lets the loop run. */
#define BACKLOG_COUNT 128

/* Offer the GIL if another thread than the loop's has made a backlog. Otherwise threads that call without
   end queue more than the loop can run: asyncio's call_soon_threadsafe() releases the GIL each time. */
static void
let_loop_run(LoopObject *loop)
{
    unsigned long runner = relaxed_load(&loop->thread_id);
    if (ready_len_elsewhere(&loop->ready) < BACKLOG_COUNT || runner == 0
        || runner == PyThread_get_thread_ident()) {
        return;
    }
    GilShare share = {0};
    int64_t now_ns = 0;
    gil_offer(&share, &now_ns);
}

PyDoc_STRVAR(call_soon_threadsafe_doc,
"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\n"
"As call_soon(), from any thread: a waiting loop wakes up.");

static PyObject *
loop_call_soon_threadsafe(LoopObject *loop, PyObject *const *args, Py_ssize_t count,
                          PyObject *keywords)
{
    Call call;
    if (parse_call(&sig_call_soon_threadsafe, &call, args, count, keywords) < 0) {
        return NULL;
    }
    HandleObject *handle = make_handle(loop, "call_soon_threadsafe", &call, false);
    if (handle == NULL) {
        return NULL;
    }
    handle_guard(loop->st, handle);
    /* The GIL guards the queue. There is one queue, so callbacks run in the order of the calls,
       whichever threads make them. */
    if (push_handle(loop, handle) < 0 || loop_wake(loop) < 0) {
        Py_CLEAR(handle);
    }
    else {
        let_loop_run(loop);
    }
    return (PyObject *)handle;
}

/* Call loop.call_soon(callback, arg, context=context), which a program has replaced. */
static int
call_replaced_call_soon(LoopObject *loop, PyObject *context, PyObject *callback, PyObject *arg)
{
    PyObject *stack[] = {(PyObject *)loop, callback, arg, context};
    PyObject *handle = PyObject_VectorcallMethod(loop->st->str_call_soon, stack, 3,
                                                 context ? loop->st->context_kwname : NULL);
    Py_XDECREF(handle);
    return handle ? 0 : -1;
}

int
loop_call_soon_in(LoopObject *loop, PyObject *context, PyObject *callback, PyObject *arg)
{
    if (loop_overrides(loop) & OVERRIDE_CALL_SOON) {
        return call_replaced_call_soon(loop, context, callback, arg);
    }
    HandleObject *handle =
        handle_new(loop->st, (PyObject *)loop, callback, &arg, 1, context, false);
    if (handle == NULL) {
        return -1;
    }
    int rc = relaxed_load(&loop->watchdog.debug) ? handle_keep_source(loop->st, handle) : 0;
    if (rc == 0) {
        rc = push_handle(loop, handle);
    }
    Py_DECREF((PyObject *)handle);
    return rc;
}

/* ---- timers ---------------------------------------------------------------------------------- */

/* Set *seconds to loop.time(). Return 0, or -1 with an exception. */
static int
loop_seconds(LoopObject *loop, double *seconds)
{
    if (!(loop_time_overrides(loop) & OVERRIDE_TIME)) {
        *seconds = (double)clock_ns() / NS_PER_SECOND;
        return 0;
    }
    PyObject *now = PyObject_CallMethodNoArgs((PyObject *)loop, loop->st->str_time);
    *seconds = now ? PyFloat_AsDouble(now) : -1.0;
    Py_XDECREF(now);
    return *seconds == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* Schedule a timer. Takes over the handle. Return it, or NULL with MemoryError. */
static PyObject *
schedule_timer(LoopObject *loop, HandleObject *handle, double when)
{
    handle->when = when;
    if (timers_push(&loop->timers, when, (PyObject *)handle) < 0) {
        Py_CLEAR(handle);
    }
    return (PyObject *)handle;
}

/* Schedule a timer at a deadline of any numeric type, as asyncio does. Takes over the handle. Return it, or
   NULL with an exception. */
static PyObject *
schedule_timer_at(LoopObject *loop, HandleObject *handle, PyObject *when)
{
    double seconds = PyFloat_AsDouble(when);
    if (seconds == -1.0 && PyErr_Occurred()) {
        Py_DECREF(handle);
        return NULL;
    }
    if (!PyFloat_CheckExact(when)) {
        HandleNotes *notes = handle_notes(handle);
        if (notes == NULL) {
            Py_DECREF(handle);
            return NULL;
        }
        notes->when = Py_NewRef(when);
    }
    return schedule_timer(loop, handle, seconds);
}

PyDoc_STRVAR(call_later_doc, "call_later($self, delay, callback, *args, context=None)\n--\n\n"
"Call callback(*args) in `delay` seconds; return a TimerHandle that can cancel it.\n\n"
"Timers that are due together run in order of their deadline, then of creation.");

/* Call a replaced self.call_at(when, callback, *args, context=context), or call_later() likewise. */
static PyObject *
call_replaced(LoopObject *loop, PyObject *method, const Call *call, PyObject *when)
{
    PyObject *timer = NULL;
    PyObject **stack = PyMem_New(PyObject *, call->arg_count + 4);
    if (stack == NULL) {
        return PyErr_NoMemory();
    }
    stack[0] = (PyObject *)loop;
    stack[1] = when;
    stack[2] = call->callback;
    memcpy(stack + 3, call->args, call->arg_count * sizeof(*stack));
    stack[3 + call->arg_count] = call->context;
    timer = PyObject_VectorcallMethod(method, stack, 3 + call->arg_count,
                                      call->context ? loop->st->context_kwname : NULL);
    PyMem_Free(stack);
    return timer;
}

/* Do call_later() for a delay that is not a float, or with a replaced call_at(). */
static PyObject *
call_later_by_objects(LoopObject *loop, const Call *call, double now)
{
    PyObject *timer = NULL, *start = PyFloat_FromDouble(now);
    PyObject *when = start ? PyNumber_Add(start, call->time) : NULL;
    Py_XDECREF(start);
    if (when == NULL) {
        return NULL;
    }
    if (loop_overrides(loop) & OVERRIDE_CALL_AT) {
        timer = call_replaced(loop, loop->st->str_call_at, call, when);
    }
    else {
        HandleObject *handle = make_handle(loop, "call_at", call, true);
        timer = handle ? schedule_timer_at(loop, handle, when) : NULL;
    }
    Py_DECREF(when);
    return timer;
}

static PyObject *
do_call_later(LoopObject *loop, const Call *call)
{
    double now;
    if (call->time == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        return NULL;
    }
    if (loop_seconds(loop, &now) < 0) {
        return NULL;
    }
    if (!PyFloat_CheckExact(call->time) || (loop_overrides(loop) & OVERRIDE_CALL_AT)) {
        return call_later_by_objects(loop, call, now);
    }
    HandleObject *handle = make_handle(loop, "call_at", call, true);
    return handle ? schedule_timer(loop, handle, now + PyFloat_AS_DOUBLE(call->time)) : NULL;
}

static PyObject *
loop_call_later_method(LoopObject *loop, PyObject *const *args, Py_ssize_t count,
                       PyObject *keywords)
{
    Call call;
    return parse_call(&sig_call_later, &call, args, count, keywords) < 0
               ? NULL
               : do_call_later(loop, &call);
}

PyDoc_STRVAR(call_at_doc, "call_at($self, when, callback, *args, context=None)\n--\n\n"
"As call_later(), at an absolute time of loop.time(), in seconds.");

static PyObject *
do_call_at(LoopObject *loop, const Call *call)
{
    if (call->time == Py_None) {
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
        return NULL;
    }
    HandleObject *handle = make_handle(loop, "call_at", call, true);
    return handle ? schedule_timer_at(loop, handle, call->time) : NULL;
}

static PyObject *
loop_call_at_method(LoopObject *loop, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    Call call;
    return parse_call(&sig_call_at, &call, args, count, keywords) < 0 ? NULL
                                                                      : do_call_at(loop, &call);
}

/* Return the context for callbacks that need none, borrowed; NULL with MemoryError. */
static PyObject *
blank_context(LoopObject *loop)
{
    if (loop->blank_context == NULL) {
        loop->blank_context = PyContext_New();
    }
    return loop->blank_context;
}

PyObject *
loop_call_later(LoopObject *loop, PyObject *delay, PyObject *callback, PyObject *const *args,
                Py_ssize_t count)
{
    Call call = {.time = delay, .callback = callback, .args = args, .arg_count = count};
    if (loop_overrides(loop) & OVERRIDE_CALL_LATER) {
        return call_replaced(loop, loop->st->str_call_later, &call, delay);
    }
    call.context = blank_context(loop);
    return call.context ? do_call_later(loop, &call) : NULL;
}

PyObject *
loop_call_at(LoopObject *loop, PyObject *when, PyObject *callback, PyObject *const *args,
             Py_ssize_t count)
{
    Call call = {.time = when, .callback = callback, .args = args, .arg_count = count};
    if (loop_overrides(loop) & OVERRIDE_CALL_AT) {
        return call_replaced(loop, loop->st->str_call_at, &call, when);
    }
    call.context = blank_context(loop);
    return call.context ? do_call_at(loop, &call) : NULL;
}

PyDoc_STRVAR(time_doc, "time($self, /)\n--\n\n"
"Return the loop's clock (CLOCK_MONOTONIC) in seconds, a float.");

/* Call asyncio's own time(), which looks time.monotonic() up each time. */
static PyObject *
replaced_time(LoopObject *loop)
{
    fastaio_state *st = loop->st;
    PyObject *method = bind_attribute(st->asyncio_SelectorLoop, st->str_time, (PyObject *)loop);
    PyObject *time = method ? PyObject_CallNoArgs(method) : NULL;
    Py_XDECREF(method);
    return time;
}

static PyObject *
loop_time(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    if (loop_time_overrides(loop) & OVERRIDE_CLOCK) {
        return replaced_time(loop);
    }
    return PyFloat_FromDouble((double)clock_ns() / NS_PER_SECOND);
}

PyMethodDef loop_call_methods[] = {
    {"call_soon", KEYWORDS(loop_call_soon_method), METH_FASTCALL | METH_KEYWORDS, call_soon_doc},
    {"call_soon_threadsafe", KEYWORDS(loop_call_soon_threadsafe), METH_FASTCALL | METH_KEYWORDS,
     call_soon_threadsafe_doc},
    {"call_later", KEYWORDS(loop_call_later_method), METH_FASTCALL | METH_KEYWORDS, call_later_doc},
    {"call_at", KEYWORDS(loop_call_at_method), METH_FASTCALL | METH_KEYWORDS, call_at_doc},
    {"time", (PyCFunction)loop_time, METH_NOARGS, time_doc},
    {NULL, NULL, 0, NULL},
};
