/* loop_type.c: the Loop type: running, closing, attributes, task factories. */
#include "turn/loop_type.h"

#include "base/error.h"
#include "loop/ending.h"
#include "loop/fork.h"
#include "loop/readers.h"
#include "loop/watch.h"
#include "poll/uring.h"
#include "task/future.h"
#include "task/task_start.h"
#include "turn/account.h"
#include "turn/turn.h"
#include "turn/view.h"
#include <math.h>

/* ---- futures and tasks ----------------------------------------------------------------------- */

PyDoc_STRVAR(create_future_doc, "create_future($self, /)\n--\n\n"
"Return a new pending fastaio.Future of this loop.");

static PyObject *
loop_create_future(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    return future_new(loop);
}

/* Return the result of asyncio's own create_task(), which knows the keywords of this version and of its task
   factories: a new reference, or NULL with an exception. */
static PyObject *
base_create_task(LoopObject *loop, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    PyObject *method =
        PyObject_GetAttr(loop->st->asyncio_BaseEventLoop, loop->st->str_create_task);
    if (method == NULL) {
        return NULL;
    }
    Py_ssize_t total = count + (keywords ? PyTuple_GET_SIZE(keywords) : 0);
    PyObject **stack = PyMem_New(PyObject *, total + 1);
    PyObject *task = NULL;
    if (stack == NULL) {
        PyErr_NoMemory();
    }
    else {
        stack[0] = (PyObject *)loop;
        memcpy(stack + 1, args, total * sizeof(*args));
        task = PyObject_Vectorcall(method, stack, count + 1, keywords);
    }
    PyMem_Free(stack);
    Py_DECREF(method);
    return task;
}

PyDoc_STRVAR(create_task_doc, "create_task($self, coro, **kwargs)\n--\n\n"
"Schedule a coroutine and return its Task.\n\n"
"coro: the coroutine; TypeError for another object.\n"
"name: the task's name; None: a numbered one.\n"
"context: the contextvars.Context that the coroutine runs in; None: a copy of the current one.\n"
"eager_start: do the first step immediately if the loop runs, where asyncio knows this keyword.\n\n"
"A task factory is called with exactly these arguments; asyncio.eager_task_factory makes native\n"
"tasks. Raises RuntimeError if the loop is closed.");

static inline bool
is_keyword(PyObject *keyword, PyObject *interned)
{
    return keyword == interned || PyUnicode_Compare(keyword, interned) == 0;
}

static PyObject *
loop_create_task(LoopObject *loop, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    fastaio_state *st = loop->st;
    Py_ssize_t keyword_count = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    PyObject *name = NULL, *context = NULL;
    bool factory_is_eager =
        loop->task_factory != NULL && loop->task_factory == st->eager_task_factory;
    int eager = factory_is_eager;
    bool takes_eager_start =
        factory_is_eager ? st->traits.factory_gets_name : st->traits.create_task_passes_all;
    if ((loop->task_factory != NULL && !factory_is_eager) || count != 1) { /* also for coro by keyword */
        return base_create_task(loop, args, count, keywords);
    }
    for (Py_ssize_t i = 0; i < keyword_count; i++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, i);
        if (is_keyword(keyword, st->str_name)) {
            name = args[1 + i];
        }
        else if (is_keyword(keyword, st->str_context)) {
            context = args[1 + i];
        }
        else if (takes_eager_start && is_keyword(keyword, st->str_eager_start)) {
            eager = PyObject_IsTrue(args[1 + i]);
            if (eager < 0) {
                return NULL;
            }
        }
        else {
            return base_create_task(loop, args, count, keywords);
        }
    }
    if (loop_check_closed(loop) < 0) {
        return NULL;
    }
    return factory_is_eager && eager
               ? task_new_eagerly(loop, args[0], name, context)
               : task_new(loop, args[0], name, context, eager);
}

PyDoc_STRVAR(set_task_factory_doc, "set_task_factory($self, factory)\n--\n\n"
"Have create_task() return factory(loop, coro, **kwargs).\n\n"
"factory: a callable; None: make native tasks. TypeError for another object.");

/* Set the task factory; NULL or None: none. Return 0, or -1 with TypeError. */
static int
assign_task_factory(LoopObject *loop, PyObject *factory)
{
    if (factory != NULL && factory != Py_None && !PyCallable_Check(factory)) {
        PyErr_SetString(PyExc_TypeError, "task factory must be a callable or None");
        return -1;
    }
    Section section;
    section_begin(&section, (PyObject *)loop); /* other threads may ask for it */
    PyObject *old = loop->task_factory;
    loop->task_factory = factory == Py_None ? NULL : Py_XNewRef(factory);
    section_end(&section);
    Py_XDECREF(old);
    return 0;
}

static PyObject *
loop_set_task_factory(LoopObject *loop, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"factory", NULL};
    PyObject *factory;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:set_task_factory", names, &factory)
        || assign_task_factory(loop, factory) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
loop_get_task_factory(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    Section section;
    section_begin(&section, (PyObject *)loop);
    PyObject *factory = Py_NewRef(loop->task_factory ? loop->task_factory : Py_None);
    section_end(&section);
    return factory;
}

/* ---- running --------------------------------------------------------------------------------- */

PyDoc_STRVAR(run_doc, "_run($self, /)\n--\n\n"
"Run turns until stop(). The caller has made this the running loop.\n\n"
"Raises RuntimeError if the loop is closed; KeyboardInterrupt, SystemExit and errors of the\n"
"exception handler as callbacks raise them.");

static PyObject *
loop_run_method(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    if (loop_check_closed(loop) < 0 || loop_run(loop) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(run_once_doc, "_run_once($self, /)\n--\n\n"
"Run one turn, which polls. The caller has made this the running loop. Raises like _run().");

static PyObject *
loop_run_once_method(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    if (loop_check_closed(loop) < 0 || loop_run_once(loop) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_doc, "stop($self, /)\n--\n\n"
"End run_forever() after this turn; after its first turn if the loop does not run.");

static PyObject *
loop_stop(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    relaxed_store(&loop->stopping, true);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(is_running_doc, "is_running($self, /)\n--\n\nReturn True while the loop runs.");

static PyObject *
loop_is_running(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(relaxed_load(&loop->thread_id) != 0);
}

PyDoc_STRVAR(is_closed_doc, "is_closed($self, /)\n--\n\nReturn True once the loop is closed.");

static PyObject *
loop_is_closed(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(relaxed_load(&loop->closed));
}

PyDoc_STRVAR(get_debug_doc, "get_debug($self, /)\n--\n\nReturn True in debug mode.");

static PyObject *
loop_get_debug(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(relaxed_load(&loop->watchdog.debug));
}

static PyObject *
loop_write_to_self(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    Poller *poller = loop_borrow_poller(loop);
    if (poller != NULL) {
        atomic_store(&loop->wait.blocked, false);
        poller->methods->wake(poller);
    }
    loop_return_poller(loop, poller);
    Py_RETURN_NONE;
}

static PyObject *
loop_flush_transports(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    if (loop_flush_in_any_thread(loop) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(count_doc, "_count($self, /)\n--\n\n"
"Return the counters since the loop was made, and gauges, as a new dict: see metrics().\n\n"
"Values are ints, times in nanoseconds (*_ns). `lag_histogram` is a list: entry i is the number of\n"
"turns whose callbacks took less than 2**i microseconds, and not less than half of that.");

/* Return the difference of two counters, which other threads may change meanwhile. */
static uint64_t
difference(const uint64_t *begun, const uint64_t *ended)
{
    int64_t count = (int64_t)(relaxed_load(begun) - relaxed_load(ended));
    return count > 0 ? (uint64_t)count : 0;
}

static PyObject *
loop_count(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    const Metrics *metrics = &loop->metrics;
    Poller *poller = loop_borrow_poller(loop);
    Gauges gauges = {
        .ready = loop_queued_count(loop),
        .timers = timers_count(&loop->timers),
        .connections = difference(&metrics->connections_made, &metrics->connections_lost),
        .tasks = difference(&metrics->tasks_started, &metrics->tasks_ended),
        .file_operations = poller != NULL && poller->ring != NULL ? uring_count(poller->ring) : 0,
        .executor_jobs = relaxed_load(&metrics->jobs),
    };
    loop_return_poller(loop, poller);
    return metrics_dict(metrics, &gauges);
}

static PyObject *
loop_process_events(LoopObject *Py_UNUSED(loop), PyObject *Py_UNUSED(events))
{
    Py_RETURN_NONE;
}

static void
clear_queues(LoopObject *loop)
{
    endings_run(loop);
    ready_clear(&loop->ready);
#ifdef Py_GIL_DISABLED
    inbox_close(&loop->inbox);
#endif
    ready_clear(&loop->bulk.queue);
    timers_clear(&loop->timers);
}

/* Drop all that is scheduled, and close the poller. */
static void
close_native(LoopObject *loop)
{
    endings_run(loop);
    shared_store(&loop->closed, true);
    keeper_forget(&loop->output);
    Py_CLEAR(loop->kept_tasks);
    clear_queues(loop);
    if (loop->fds != NULL) {
        fd_table_clear(loop->fds);
    }
    if (loop->poller != NULL) {
        loop_await_wakers(loop); /* they use loop->poller */
        fork_unlisten(loop); /* first: a forked child uses the pollers of the loops that listen */
        Poller *poller = loop_take_poller(loop);
        if (poller->methods->quiesce != NULL) {
            Py_BEGIN_ALLOW_THREADS
            poller->methods->quiesce(poller);
            Py_END_ALLOW_THREADS
        }
        poller->methods->destroy(poller);
    }
    endings_run(loop); /* what other threads have handed over meanwhile */
}

#ifndef NDEBUG
static PyObject *
loop_fail_ring_calls(LoopObject *loop, PyObject *args)
{
    const char *kind;
    int error;
    unsigned times;
    if (!PyArg_ParseTuple(args, "siI:_fail_ring_calls", &kind, &error, &times) ||
        loop_check_closed(loop) < 0) {
        return NULL;
    }
    if (uring_poller_fault(loop->poller, kind, error, times) < 0) {
        PyErr_SetString(PyExc_ValueError, "no ring, or no such call");
        return NULL;
    }
    Py_RETURN_NONE;
}
#endif

PyDoc_STRVAR(close_native_doc, "_close_native($self, /)\n--\n\n"
"Drop all that is scheduled, and close the poller. A second call does nothing.\n\n"
"Raises RuntimeError while the loop runs.");

static PyObject *
loop_close_native(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    if (loop->thread_id != 0 && !loop_is_copy(loop)) {
        PyErr_SetString(PyExc_RuntimeError, "Cannot close a running event loop");
        return NULL;
    }
    close_native(loop);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(claim_doc, "_claim($self, /)\n--\n\n"
"Without a GIL, keep the loop for this thread until as many calls of _unclaim(); else do nothing.\n\n"
"Raises RuntimeError if another thread uses the loop.");

static PyObject *
loop_claim(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    if (claim_begin(&loop->claim) < 0) {
        return NULL;
    }
    loop->claim_count++;
    Py_RETURN_NONE;
}

static PyObject *
loop_unclaim(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    if (!claim_is_mine(&loop->claim) || loop->claim_count == 0) {
        PyErr_SetString(PyExc_RuntimeError, "the loop is not claimed");
        return NULL;
    }
    loop->claim_count--;
    claim_end(&loop->claim);
    Py_RETURN_NONE;
}

/* ---- attributes ------------------------------------------------------------------------------ */

static PyObject *
loop_get_thread_id(LoopObject *loop, void *Py_UNUSED(closure))
{
    unsigned long id = relaxed_load(&loop->thread_id);
    return id ? PyLong_FromUnsignedLong(id) : Py_NewRef(Py_None);
}

static int
loop_set_thread_id(LoopObject *loop, PyObject *value, void *Py_UNUSED(closure))
{
    bool runs = value != NULL && value != Py_None;
    unsigned long id = runs ? PyLong_AsUnsignedLong(value) : 0;
    if (id == (unsigned long)-1 && PyErr_Occurred()) {
        return -1;
    }
    claim_set_runs(&loop->claim, runs); /* first: who sees that the loop does not run may use it */
    shared_store(&loop->thread_id, id);
    return 0;
}

/* Set a flag to the truth of an assigned value; a deletion makes it false. Return 0, or -1 with an
   exception. */
static int
assign_bool(PyObject *value, bool *field)
{
    int truth = value ? PyObject_IsTrue(value) : 0; /* runs code */
    if (truth >= 0) {
        relaxed_store(field, truth);
    }
    return truth < 0 ? -1 : 0;
}

#define LOOP_BOOL(name, field)                                                                     \
    static PyObject *loop_get_##name##_attr(LoopObject *loop, void *Py_UNUSED(closure))            \
    {                                                                                              \
        return PyBool_FromLong(relaxed_load(&loop->field));                                        \
    }                                                                                              \
    static int loop_set_##name##_attr(LoopObject *loop, PyObject *value, void *Py_UNUSED(closure)) \
    {                                                                                              \
        bool truth;                                                                                \
        if (assign_bool(value, &truth) < 0) {                                                      \
            return -1;                                                                             \
        }                                                                                          \
        Py_BEGIN_CRITICAL_SECTION(loop);                                                           \
        shared_store(&loop->field, truth);                                                        \
        Py_END_CRITICAL_SECTION();                                                                 \
        loop_update_watchdog(loop);                                                                \
        return 0;                                                                                  \
    }

PyDoc_STRVAR(watch_stalls_doc, "_watch_stalls($self, seconds, /)\n--\n\n"
"Have the recorder find callbacks that block this loop for `seconds`; 0.0: none.");

static PyObject *
loop_watch_stalls(LoopObject *loop, PyObject *value)
{
    double seconds = PyFloat_AsDouble(value);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    recorder_set_threshold(&loop->stall, seconds_to_ns(seconds));
    if (claim_is_mine(&loop->claim) && loop->run_count != 0
        && loop->thread_id == PyThread_get_thread_ident()) {
        recorder_begin(&loop->stall);
    }
    Py_RETURN_NONE;
}

LOOP_BOOL(debug, watchdog.debug)
LOOP_BOOL(warn_slow, watchdog.warn_slow)
static PyObject *
loop_get_keep_tasks(LoopObject *loop, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(loop->kept_tasks != NULL);
}

static int
loop_set_keep_tasks(LoopObject *loop, PyObject *value, void *Py_UNUSED(closure))
{
    bool keeps;
    if (assign_bool(value, &keeps) < 0) {
        return -1;
    }
    if (keeps == (loop->kept_tasks != NULL)) {
        return 0;
    }
    PyObject *tasks = keeps ? PySet_New(NULL) : NULL;
    if (keeps && tasks == NULL) {
        return -1;
    }
    PyObject *old = loop->kept_tasks;
    loop->kept_tasks = tasks;
    Py_XDECREF(old);
    return 0;
}

static PyObject *
loop_get_accounted(LoopObject *loop, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(relaxed_load(&loop->watchdog.accounted));
}

LOOP_BOOL(closed, closed)
LOOP_BOOL(stopping, stopping)

static PyObject *
loop_get_factory_attr(LoopObject *loop, void *Py_UNUSED(closure))
{
    return loop_get_task_factory(loop, NULL);
}

static int
loop_set_factory_attr(LoopObject *loop, PyObject *value, void *Py_UNUSED(closure))
{
    return assign_task_factory(loop, value);
}

#define SLOW_NEVER INT64_MAX

static PyObject *
loop_get_slow_callback(LoopObject *loop, void *Py_UNUSED(closure))
{
    int64_t ns = relaxed_load(&loop->watchdog.slow_ns);
    return PyFloat_FromDouble(ns == SLOW_NEVER ? (double)INFINITY : (double)ns / NS_PER_SECOND);
}

static int
loop_set_slow_callback(LoopObject *loop, PyObject *value, void *Py_UNUSED(closure))
{
    double seconds = value ? PyFloat_AsDouble(value) : 0.1;
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    relaxed_store(&loop->watchdog.slow_ns, isnan(seconds) ? SLOW_NEVER : seconds_to_ns(seconds));
    return 0;
}

static PyObject *
loop_get_spin_us(LoopObject *loop, void *Py_UNUSED(closure))
{
    int us = loop->wait.spin.forced_us;
    return us == SPIN_MEASURED ? Py_NewRef(Py_None) : PyLong_FromLong(us);
}

static int
loop_set_spin_us(LoopObject *loop, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == Py_None) {
        loop->wait.spin.forced_us = SPIN_MEASURED;
        return 0;
    }
    long us = value ? PyLong_AsLong(value) : 0;
    if (us == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (us < 0 || us > 1000) {
        PyErr_SetString(PyExc_ValueError, "spin_us must be None or from 0 to 1000");
        return -1;
    }
    loop->wait.spin.forced_us = (int)us;
    return 0;
}

static PyObject *
loop_get_backend(LoopObject *loop, void *Py_UNUSED(closure))
{
    const char *name = relaxed_load(&loop->backend);
    return name != NULL ? PyUnicode_InternFromString(name) : Py_NewRef(Py_None);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* Make the poller of that name. Return 0, or -1 with ValueError or OSError. */
static int
make_poller(LoopObject *loop, const char *backend)
{
    static const struct {
        const char *name;
        Poller *(*create)(int *error);
    } backends[] = {{"epoll", epoll_poller_create}, {"io_uring", uring_poller_create}};
    for (size_t i = 0; i < sizeof(backends) / sizeof(*backends); i++) {
        if (strcmp(backend, backends[i].name) == 0) {
            int error = 0;
            loop->poller = backends[i].create(&error);
            if (loop->poller == NULL) {
                return raise_errno(error);
            }
            relaxed_store(&loop->backend, loop->poller->methods->name);
            if (!HAS_GIL || loop->poller->methods->forked != NULL) {
                fork_listen(loop);
            }
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "unknown backend: '%s'", backend);
    return -1;
}

static int
loop_init(LoopObject *loop, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"backend", NULL};
    const char *backend = "epoll";
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|s:Loop", names, &backend)) {
        return -1;
    }
    if (loop->poller != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the loop is initialized already");
        return -1;
    }
    if (loop->fds == NULL) {
        loop->fds = fd_table_new();
    }
    if (loop->fds == NULL || make_poller(loop, backend) < 0) {
        return -1;
    }
    relaxed_store(&loop->fork.count, loop->st->fork_count);
    loop->watchdog.slow_ns = NS_PER_SECOND / 10;
    loop->watchdog.part_mask = LONG_PART - 1;
    loop_refresh_overrides(loop);
    return 0;
}

static PyObject *
loop_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    fastaio_state *st = state_of_type(type);
    LoopObject *loop = st ? (LoopObject *)type->tp_alloc(type, 0) : NULL;
    if (loop == NULL) {
        return NULL;
    }
    loop->st = st;
    atomic_init(&loop->wait.blocked, false);
    flush_list_init(&loop->output, st->keeper);
    loop->stall = (StallWatch){
        .loop = (PyObject *)loop,
        .head = &loop->ready.head,
        .waits = &loop->wait.blocked,
        .turn_ns = &loop->clock.now_ns,
        .stalled = &loop->watchdog.stalled,
        .recorder = st->recorder,
    };
    return (PyObject *)loop;
}

static int
loop_traverse(LoopObject *loop, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(loop));
    Py_VISIT(loop->task_factory);
    Py_VISIT(loop->kept_tasks);
    Py_VISIT(loop->blank_context);
    int result = ready_traverse(&loop->ready, visit, arg);
    if (result == 0) {
        result = ready_traverse(&loop->bulk.queue, visit, arg);
    }
#ifdef Py_GIL_DISABLED
    if (result == 0) {
        result = ready_traverse(&loop->inbox.queue, visit, arg);
    }
#endif
    if (result == 0) {
        result = timers_traverse(&loop->timers, visit, arg);
    }
    if (result == 0 && loop->fds != NULL) {
        result = fd_table_traverse(loop->fds, visit, arg);
    }
    return result;
}

static int
loop_clear(LoopObject *loop)
{
    Py_CLEAR(loop->task_factory);
    Py_CLEAR(loop->kept_tasks);
    Py_CLEAR(loop->blank_context);
    clear_queues(loop);
    if (loop->fds != NULL) {
        fd_table_clear(loop->fds);
    }
    return 0;
}

static void
loop_dealloc(LoopObject *loop)
{
    PyTypeObject *type = Py_TYPE(loop);
    PyObject_GC_UnTrack(loop);
    loop_clear(loop);
    close_native(loop);
    if (loop->fds != NULL) {
        fd_table_free(loop->fds);
    }
    keeper_forget(&loop->output);
    recorder_end(&loop->stall);
    account_free(loop->account);
    loop_free_buffers(loop);
    type->tp_free(loop);
    Py_DECREF(type);
}

static PyMethodDef loop_methods[] = {
    {"create_future", (PyCFunction)loop_create_future, METH_NOARGS, create_future_doc},
    {"create_task", KEYWORDS(loop_create_task), METH_FASTCALL | METH_KEYWORDS, create_task_doc},
    {"set_task_factory", KEYWORDS(loop_set_task_factory), METH_VARARGS | METH_KEYWORDS,
     set_task_factory_doc},
    {"get_task_factory", (PyCFunction)loop_get_task_factory, METH_NOARGS,
     "get_task_factory($self, /)\n--\n\nReturn the task factory; None without one."},
    {"stop", (PyCFunction)loop_stop, METH_NOARGS, stop_doc},
    {"is_running", (PyCFunction)loop_is_running, METH_NOARGS, is_running_doc},
    {"is_closed", (PyCFunction)loop_is_closed, METH_NOARGS, is_closed_doc},
    {"get_debug", (PyCFunction)loop_get_debug, METH_NOARGS, get_debug_doc},
    {"_count", (PyCFunction)loop_count, METH_NOARGS, count_doc},
    {"_watch_stalls", (PyCFunction)loop_watch_stalls, METH_O, watch_stalls_doc},
    {"_run", (PyCFunction)loop_run_method, METH_NOARGS, run_doc},
    {"_run_once", (PyCFunction)loop_run_once_method, METH_NOARGS, run_once_doc},
    {"_write_to_self", (PyCFunction)loop_write_to_self, METH_NOARGS,
     "_write_to_self($self, /)\n--\n\nWake the loop if it waits. May be called in any thread."},
    {"_process_events", (PyCFunction)loop_process_events, METH_O,
     "_process_events($self, event_list, /)\n--\n\n"
     "Do nothing. A subclass's override is called with an empty list after each poll."},
    {"_flush_transports", (PyCFunction)loop_flush_transports, METH_NOARGS,
     "_flush_transports($self, /)\n--\n\nSend the output that transports have queued."},
#ifndef NDEBUG
    {"_fail_ring_calls", (PyCFunction)loop_fail_ring_calls, METH_VARARGS,
     "_fail_ring_calls($self, kind, error, times, /)\n--\n\n"
     "Have the next `times` calls of a kind fail with the errno `error`. For tests, in builds with\n"
     "assertions only. Raises ValueError without a ring, or for an unknown kind."},
#endif
    {"_claim", (PyCFunction)loop_claim, METH_NOARGS, claim_doc},
    {"_unclaim", (PyCFunction)loop_unclaim, METH_NOARGS,
     "_unclaim($self, /)\n--\n\nUndo one _claim(). Raises RuntimeError if there is none to undo."},
    {"_close_native", (PyCFunction)loop_close_native, METH_NOARGS, close_native_doc},
    {NULL, NULL, 0, NULL},
};

#define ATTRIBUTE(name, get, set, doc) {name, (getter)(get), (setter)(set), doc, NULL}

static PyGetSetDef loop_getset[] = {
    ATTRIBUTE("_thread_id", loop_get_thread_id, loop_set_thread_id, NULL),
    ATTRIBUTE("_debug", loop_get_debug_attr, loop_set_debug_attr, NULL),
    ATTRIBUTE("_closed", loop_get_closed_attr, loop_set_closed_attr, NULL),
    ATTRIBUTE("_stopping", loop_get_stopping_attr, loop_set_stopping_attr, NULL),
    ATTRIBUTE("_task_factory", loop_get_factory_attr, loop_set_factory_attr, NULL),
    ATTRIBUTE("slow_callback_duration", loop_get_slow_callback, loop_set_slow_callback,
              "The duration in seconds from which a callback counts as slow, in debug mode or with\n"
              "warn_slow_callbacks. A float; 0.1 at first."),
    ATTRIBUTE("warn_slow_callbacks", loop_get_warn_slow_attr, loop_set_warn_slow_attr,
              "True: log slow callbacks as debug mode does, without the rest of debug mode."),
    ATTRIBUTE("keep_tasks", loop_get_keep_tasks, loop_set_keep_tasks,
              "True: the loop keeps the native tasks alive that are made from now on, until they are done.\n"
              "A task that nobody refers to is not lost then."),
    ATTRIBUTE("_accounted", loop_get_accounted, NULL, NULL),
    ATTRIBUTE("spin_us", loop_get_spin_us, loop_set_spin_us,
              "The microseconds for which a wait polls again and again before it blocks: 0 to 1000, or\n"
              "None: the length, 0 too, that the loop has measured to cost the least CPU time.\n"
              "ValueError for another number."),
    ATTRIBUTE("_ready", loop_get_ready, loop_set_ready,
              "A new deque of the handles that the next turn runs. May be set to an iterable of handles."),
    ATTRIBUTE("_scheduled", loop_get_scheduled, loop_set_scheduled,
              "A new list of the pending timer handles, the earliest first. May be set to an iterable\n"
              "of timer handles of this loop."),
    ATTRIBUTE("backend", loop_get_backend, NULL,
              "The name of the poller, \"epoll\" or \"io_uring\"; None once the loop is closed."),
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(loop_doc, "Loop(backend=\"epoll\")\n--\n\n"
"The native part of fastaio.EventLoop: scheduling, descriptors, sockets, transports.\n\n"
"backend: \"epoll\" or \"io_uring\". Raises ValueError for another name, OSError if the kernel\n"
"refuses the poller.");

static PyType_Slot loop_slots[] = {
    {Py_tp_doc, (void *)loop_doc},
    {Py_tp_new, loop_new},
    {Py_tp_init, loop_init},
    {Py_tp_dealloc, loop_dealloc},
    {Py_tp_traverse, loop_traverse},
    {Py_tp_clear, loop_clear},
    {Py_tp_setattro, loop_setattro},
    {Py_tp_methods, loop_methods},
    {Py_tp_getset, loop_getset},
    {0, NULL},
};

static PyType_Spec loop_spec = {
    .name = "fastaio._fastaio.Loop",
    .basicsize = sizeof(LoopObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = loop_slots,
};

static PyObject *
loop_of_loop(PyObject *self)
{
    return self;
}

/* What any thread may call. */
static const char *const free_names[] = {
    "_account", "_account_clear", "_account_rows", "_accounted", "_claim", "_closed", "_count",
    "_debug", "_flush_transports", "_thread_id", "_unclaim", "_watch_stalls", "_write_to_self",
    "add_reader", "add_writer", "backend", "call_soon_threadsafe", "create_future", "get_debug",
    "get_task_factory", "is_closed", "is_running", "stop", "slow_callback_duration", "time", NULL,
};

static const GuardRules loop_rules = {loop_of_loop, free_names};

int
loop_types_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->LoopType = state_add_type(module, &loop_spec, NULL);
    if (st->LoopType == NULL) {
        return -1;
    }
    return state_add_methods(st->LoopType, loop_call_methods) < 0
                   || state_add_methods(st->LoopType, readers_methods) < 0
                   || state_add_methods(st->LoopType, account_methods) < 0
                   || guard_type(st, st->LoopType, &loop_rules) < 0
                   || loop_overrides_init(st) < 0
               ? -1
               : 0;
}
