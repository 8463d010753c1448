/* loop_type.c: the Loop type: running, closing, attributes, task factories. */
#include "turn/loop_type.h"

#include "base/error.h"
#include "loop/fork.h"
#include "loop/readers.h"
#include "loop/watch.h"
#include "task/future.h"
#include "task/task_start.h"
#include "turn/turn.h"
#include "turn/view.h"

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
"eager_start: from 3.13.3 on, do the first step immediately if the loop runs.\n\n"
"A task factory is called with exactly these arguments; asyncio.eager_task_factory makes native\n"
"tasks. Raises RuntimeError if the loop is closed.");

static inline bool
is_keyword(PyObject *keyword, PyObject *interned)
{
    return keyword == interned || PyUnicode_Compare(keyword, interned) == 0;
}

/* Before 3.13.3 a factory does not get the name, and the task gets it after it has been made. */
#define FACTORY_GETS_NAME (Py_Version >= 0x030D0300)
/* From 3.13.3 on create_task() passes eager_start on to Task. */
#define HAS_EAGER_START (Py_Version >= 0x030D0300)

/* Return a new task that is named after its eager start; NULL with an exception. */
static PyObject *
new_task_named_late(LoopObject *loop, PyObject *coro, PyObject *name, PyObject *context)
{
    PyObject *task = task_new(loop, coro, NULL, context, true);
    if (task != NULL && name != NULL && name != Py_None
        && drop_result(PyObject_CallMethod(task, "set_name", "O", name)) < 0) {
        Py_CLEAR(task);
    }
    return task;
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
        else if (HAS_EAGER_START && is_keyword(keyword, st->str_eager_start)) {
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
    return factory_is_eager && !FACTORY_GETS_NAME
               ? new_task_named_late(loop, args[0], name, context)
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
    Py_XSETREF(loop->task_factory, factory == Py_None ? NULL : Py_XNewRef(factory));
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
    return Py_NewRef(loop->task_factory ? loop->task_factory : Py_None);
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
    loop->stopping = true;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(is_running_doc, "is_running($self, /)\n--\n\nReturn True while the loop runs.");

static PyObject *
loop_is_running(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(loop->thread_id != 0);
}

PyDoc_STRVAR(is_closed_doc, "is_closed($self, /)\n--\n\nReturn True once the loop is closed.");

static PyObject *
loop_is_closed(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(loop->closed);
}

PyDoc_STRVAR(get_debug_doc, "get_debug($self, /)\n--\n\nReturn True in debug mode.");

static PyObject *
loop_get_debug(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(loop->watchdog.debug);
}

static PyObject *
loop_write_to_self(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    if (loop->poller != NULL && !loop_is_copy(loop)) {
        atomic_store(&loop->wait.blocked, false);
        loop->poller->methods->wake(loop->poller);
    }
    Py_RETURN_NONE;
}

static PyObject *
loop_flush_transports(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    if (loop_flush_now(loop) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(metrics_doc, "metrics($self, /)\n--\n\n"
"Return the counters since the loop was made, a new dict.\n\n"
"Values are ints, times in nanoseconds (*_ns). `lag_histogram` is a list: entry i is the number of\n"
"turns whose callbacks took less than 2**i microseconds, and not less than half of that.");

static PyObject *
loop_metrics(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    return metrics_dict(&loop->metrics);
}

static PyObject *
loop_process_events(LoopObject *Py_UNUSED(loop), PyObject *Py_UNUSED(events))
{
    Py_RETURN_NONE;
}

/* Drop all that is scheduled, and close the poller. */
static void
close_native(LoopObject *loop)
{
    loop->closed = true;
    keeper_forget(&loop->output);
    ready_clear(&loop->ready);
    ready_clear(&loop->bulk.queue);
    timers_clear(&loop->timers);
    if (loop->fds != NULL) {
        fd_table_clear(loop->fds);
    }
    if (loop->poller != NULL) {
        Poller *poller = loop->poller;
        loop->poller = NULL;
        fork_unlisten(loop);
        if (poller->methods->quiesce != NULL) {
            Py_BEGIN_ALLOW_THREADS
            poller->methods->quiesce(poller);
            Py_END_ALLOW_THREADS
        }
        poller->methods->destroy(poller);
    }
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

/* ---- attributes ------------------------------------------------------------------------------ */

static PyObject *
loop_get_thread_id(LoopObject *loop, void *Py_UNUSED(closure))
{
    return loop->thread_id ? PyLong_FromUnsignedLong(loop->thread_id) : Py_NewRef(Py_None);
}

static int
loop_set_thread_id(LoopObject *loop, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL || value == Py_None) {
        loop->thread_id = 0;
        return 0;
    }
    unsigned long id = PyLong_AsUnsignedLong(value);
    if (id == (unsigned long)-1 && PyErr_Occurred()) {
        return -1;
    }
    loop->thread_id = id;
    return 0;
}

/* Set a flag to the truth of an assigned value; a deletion makes it false. Return 0, or -1 with an
   exception. */
static int
assign_bool(PyObject *value, bool *field)
{
    int truth = value ? PyObject_IsTrue(value) : 0;
    if (truth >= 0) {
        *field = truth;
    }
    return truth < 0 ? -1 : 0;
}

#define LOOP_BOOL(name, field)                                                                     \
    static PyObject *loop_get_##name##_attr(LoopObject *loop, void *Py_UNUSED(closure))            \
    {                                                                                              \
        return PyBool_FromLong(loop->field);                                                       \
    }                                                                                              \
    static int loop_set_##name##_attr(LoopObject *loop, PyObject *value, void *Py_UNUSED(closure)) \
    {                                                                                              \
        int result = assign_bool(value, &loop->field);                                             \
        loop->watchdog.timed = loop->watchdog.debug || loop->watchdog.warn_slow;                   \
        return result;                                                                             \
    }

LOOP_BOOL(debug, watchdog.debug)
LOOP_BOOL(warn_slow, watchdog.warn_slow)
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

static PyObject *
loop_get_slow_callback(LoopObject *loop, void *Py_UNUSED(closure))
{
    return PyFloat_FromDouble((double)loop->watchdog.slow_ns / NS_PER_SECOND);
}

static int
loop_set_slow_callback(LoopObject *loop, PyObject *value, void *Py_UNUSED(closure))
{
    double seconds = value ? PyFloat_AsDouble(value) : 0.1;
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    loop->watchdog.slow_ns = seconds_to_ns(seconds);
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
    if (loop->poller == NULL) {
        Py_RETURN_NONE;
    }
    return PyUnicode_InternFromString(loop->poller->methods->name);
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
            if (loop->poller->methods->forked != NULL) {
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
    loop->fork.count = loop->st->fork_count;
    loop->watchdog.slow_ns = NS_PER_SECOND / 10;
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
    return (PyObject *)loop;
}

static int
loop_traverse(LoopObject *loop, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(loop));
    Py_VISIT(loop->task_factory);
    int result = ready_traverse(&loop->ready, visit, arg);
    if (result == 0) {
        result = ready_traverse(&loop->bulk.queue, visit, arg);
    }
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
    ready_clear(&loop->ready);
    ready_clear(&loop->bulk.queue);
    timers_clear(&loop->timers);
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
    PyMem_RawFree(loop->hot_buffer);
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
    {"metrics", (PyCFunction)loop_metrics, METH_NOARGS, metrics_doc},
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
                   || loop_overrides_init(st) < 0
               ? -1
               : 0;
}
